/*
 * retrieve.h - a pass over all of a memory, for the calls that ask it for answers or energies (layer 4).
 *
 * May include: pass.h.
 */
#ifndef UHN_RETRIEVE_H
#define UHN_RETRIEVE_H

#include "pass.h"

/* Answers all problems (of equally many queries): out, answered and lagrangians, each where it is not
 * NULL. With `lagrangians` the shape must gather them. */
uhn_status uhn_pass_answer(uhn_pass *pass);

/* A pass over all of a memory with one problem, everything checked; the list is to be released and
 * `sums` freed. */
uhn_status uhn_pass_begin(const uhn_memory *memory, const uhn_equation *equation,
                          const void *queries, size_t n_queries, const uhn_run *run, void *out,
                          uhn_error *error, uhn_problem *problem, uhn_pass *pass,
                          double **sums);

/* What scores are divided by (uhn_problem.score_sums), from the reference and the sum of a finished pass
 * of the identity. */
double uhn_score_sum(double reference, double sum);

/* UHN_OK, or UHN_NO_ENERGY and the reason. */
uhn_status uhn_energy_check(const uhn_memory *memory, const uhn_equation *equation,
                            uhn_error *error);

/* Energies of states in place of their Lagrangians; the equation has one. */
uhn_status uhn_energies_of(uhn_dtype dtype, const uhn_equation *equation, const void *states,
                           size_t n_states, size_t n_features, double *out, uhn_error *error);

#endif
