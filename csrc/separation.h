/*
 * separation.h - weights from scores, and how they merge (layer 2).
 *
 * May include: kernels.h, scalar.h.
 *
 * Five families. Three keep sums, per query: the largest key seen (`top`), a reference that follows
 * from it, the sum of the weights' magnitudes and the sum of weighted values, both in units of the
 * reference:
 *
 *     exp     key beta log2(e) s + log2 prior, weight 2^(key - reference), reference the key rounded
 *     power   key |s| (or max(s, 0)), weight s^degree / 2^reference, reference log2(key^degree) rounded
 *     plain   weight f(s), reference 0
 *
 * References are integers, so that changing one is exact. Where the key is +infinity (an exact
 * match under `inverse`) the reference is too: such patterns share the weight equally and all others
 * have none. A weight under 2^-cutoff of its reference is 0, and so is a side of a merge that lies
 * that far below the other.
 *
 * Two keep candidates, per query: `best` the k largest scores, `support` every score that may still
 * have weight.
 */
#ifndef UHN_SEPARATION_H
#define UHN_SEPARATION_H

#include "kernels.h"

typedef enum uhn_family {
    UHN_FAMILY_plain,
    UHN_FAMILY_power,
    UHN_FAMILY_exp,
    UHN_FAMILY_best,
    UHN_FAMILY_support
} uhn_family;

typedef struct uhn_separation_plan {
    uhn_separation row;
    uhn_family family;
    uhn_normalize normalize;
    int cutoff;
    double factor; /* exp: beta log2(e), kept where products stay finite */
    double beta, degree, theta, alpha;
    bool whole;        /* degree is a whole number */
    bool non_negative; /* negative scores are refused, whatever the row */
    size_t k;
    uhn_weigh_fn weigh;
    void *weigh_context;
} uhn_separation_plan;

uhn_separation_plan uhn_separation_plan_of(const uhn_equation *equation, uhn_dtype dtype);

UHN_INLINE bool uhn_keeps_sums(const uhn_separation_plan *plan) {
    return plan->family <= UHN_FAMILY_exp;
}

/* The reference that belongs to a largest key; -infinity where nothing has weight yet. */
double uhn_reference(const uhn_separation_plan *plan, double top);

/* What a sum in units of `from` is multiplied by to be in units of `to` >= from; 0 below the cutoff. */
double uhn_rescale(const uhn_separation_plan *plan, double from, double to);

/* Keys of n_rows x lanes scores: top[lane] = max(top[lane], keys). Families plain and power. */
void uhn_keys(const uhn_separation_plan *plan, const double *scores, size_t n_rows,
              size_t lanes, double *top);

/* Weights in place, in units of reference[lane]; sum[lane] += magnitudes, in row order. Families plain
 * and power. `prior` (n_rows) may be NULL; with `lagrangian`, lagrangian[lane] += the rows' terms of
 * the Lagrangian, in the same units. False where a score is outside the row's domain. */
bool uhn_weigh(const uhn_separation_plan *plan, const double *reference, const double *prior,
               size_t n_rows, size_t lanes, double *scores, double *sum, double *lagrangian);

/* The Lagrangian of finished sums: of the reference and the sum alone in the family exp, of the terms
 * gathered by uhn_weigh in the others. Infinite if it overflows. */
double uhn_lagrangian(const uhn_separation_plan *plan, double reference, double sum,
                      double gathered);

/* What to multiply and divide finished sums by. */
void uhn_conclusion(const uhn_separation_plan *plan, double reference, double sum,
                    double *factor, double *divisor);

/* --------------------------------------------------------------------------------- candidates -- */

typedef struct uhn_candidate {
    double score;
    double prior;
    int64_t index; /* global row number */
} uhn_candidate;

typedef struct uhn_candidates {
    uhn_candidate *items;
    size_t n, capacity;
    double floor; /* scores at or below it need not be kept */
    size_t check; /* prune when n gets here */
} uhn_candidates;

void uhn_candidates_init(uhn_candidates *list);
void uhn_candidates_free(uhn_candidates *list);

/* Adds scores[r * lanes] for r < n_rows, numbered from `index`; rows must come in ascending order for
 * ties to go to the lowest index. */
uhn_status uhn_candidates_absorb(const uhn_separation_plan *plan, uhn_candidates *list,
                                 const double *scores, size_t lanes, size_t n_rows,
                                 const double *prior, int64_t index);

/* Adds all of `from`; afterwards the list is pruned. */
uhn_status uhn_candidates_merge(const uhn_separation_plan *plan, uhn_candidates *list,
                                const uhn_candidate *from, size_t n);

/* Prunes and sorts: best first, ties by index. */
void uhn_candidates_sort(const uhn_separation_plan *plan, uhn_candidates *list);

/* Weights of a sorted list (n numbers). False if nothing can answer. */
bool uhn_candidates_weights(const uhn_separation_plan *plan, const uhn_candidates *list,
                            double *weights);

/* The Lagrangian of a sorted list with its weights. */
double uhn_candidates_lagrangian(const uhn_separation_plan *plan, const uhn_candidates *list,
                                 const double *weights);

#endif
