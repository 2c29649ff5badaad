/*
 * pass.h - the pass over the patterns that every call is made of (layer 3).
 *
 * May include: tree.h, memory.h, missing.h, similarity.h, separation.h, threads.h.
 *
 * A pass takes blocks of queries over ranges of rows. What it leaves is a forest of nodes per block of
 * queries (separations that keep sums), a list of candidates per query (those that keep the best), or
 * a matrix (scores, weights).
 */
#ifndef UHN_PASS_H
#define UHN_PASS_H

#include "threads.h"
#include "tree.h"

/* Where the scores of a pass come from: rows of a list against queries, or a matrix of scores as it
 * is (`given`, n_queries x list->n_rows). */
typedef struct uhn_problem {
    uhn_list *list;
    size_t first_row;   /* global number of the list's row 0 */
    size_t start, stop; /* rows of the list that take part */
    const char *queries;
    size_t n_queries;
    const char *given;
    const uhn_memory *look; /* looks at rows that were stored unseen; NULL: there are none */
    const uint8_t *mask;    /* per query and row, 0 where the row has no say; NULL: all have */
    size_t mask_stride;
    const double *score_sums; /* per query, what scores are divided by; NULL: nothing */
    char *out;                /* NULL: nothing is finished */
    uint8_t *answered;
    uint8_t *heard; /* whether any row has a say, be its weight 0: families that keep sums */
    double *lagrangians; /* per query, the Lagrangian at its scores; NULL: not asked for */
    /* Values of so many components of which one is asked for (0: all are): the shape has one value,
     * and rows that do not know it have no say. */
    size_t width, column;
    /* Candidates of single components: query i has a list for each of open[open_start[i]] to
     * open[open_start[i + 1] - 1], of rows that know it. NULL: a list a query. One problem only. */
    const size_t *open_start;
    const uint32_t *open;
    bool clamp; /* of answers only the components that a query lacks will be read */
} uhn_problem;

/* What one call does with one or more problems of one shape. */
typedef struct uhn_pass uhn_pass;
struct uhn_pass {
    uhn_shape shape;
    uhn_problem *problems;
    size_t n_problems;
    const uhn_run *run;
    uhn_error *error;
    bool empty_is_zero;
    /* Sums: called on any thread when all rows of a block of queries are in; owns the forest. */
    uhn_status (*conclude)(uhn_pass *pass, uhn_problem *problem, size_t first_query,
                           size_t n_queries, uhn_forest *forest);
    void *context;
    /* The plan, filled in when it runs. */
    size_t block_queries, n_query_blocks, n_ranges, range_blocks;
    bool by_ranges; /* all queries before the next range of rows */
};

/* Runs a pass of a separation that keeps sums; every block of queries ends in `conclude`. */
uhn_status uhn_pass_sums(uhn_pass *pass);

/* Runs a pass that keeps candidates: lists[problem * n_queries + query], or one for each of `open`,
 * initialised by the caller. */
uhn_status uhn_pass_candidates(uhn_pass *pass, uhn_candidates *lists);

/* Writes the scores of every problem (n_queries x (stop - start)) to its out. */
uhn_status uhn_pass_scores(uhn_pass *pass);

/* Writes the weights of a pass with one problem to its out, given each query's reference and sum. */
uhn_status uhn_pass_weights(uhn_pass *pass, const double *references, const double *sums);

/* Threads that a pass is worth. */
int uhn_pass_threads(const uhn_pass *pass);

/* What every call on a memory does first: parameters and data checked, statistics made ready. Patterns
 * are looked at only where the similarity asks more of them than being finite. */
uhn_status uhn_pass_check(const uhn_memory *memory, uhn_list *list,
                          const uhn_equation *equation, const void *queries, size_t n_queries,
                          const uhn_run *run, uhn_error *error);

#endif
