/*
 * retrieve.h - the pass over the patterns that everything above reads (layer 3).
 *
 * May include: memory.h, similarity.h, separation.h, threads.h.
 *
 * A pass takes blocks of queries over ranges of rows. What it leaves per block of queries is either a
 * forest of nodes (separations that keep sums), lists of candidates (those that keep the best), or a
 * matrix (scores, weights).
 */
#ifndef UHN_RETRIEVE_H
#define UHN_RETRIEVE_H

#include "memory.h"
#include "separation.h"
#include "threads.h"

/* Rows of a block: the leaves of the tree of merges, counted from global row 0. Part of the definition
 * of the result. */
#define UHN_BLOCK 1024

/* What a block of queries has retrieved from the rows of one node of the tree: level l, index i covers
 * blocks i 2^l to (i + 1) 2^l - 1. Sums are in units of the references (separation.h). */
typedef struct uhn_node {
    struct uhn_node *below; /* the node before it in a forest */
    unsigned level;
    size_t index;
    double *top, *reference, *sum; /* per query */
    char *values; /* n_queries x value_stride elements, NULL if nothing is projected */
} uhn_node;

/* Nodes side by side, the last one first; `spare` are nodes whose memory can serve again, each with
 * room for `capacity` queries (0: for as many as the first call asks). */
typedef struct uhn_forest {
    uhn_node *last, *spare;
    size_t capacity;
} uhn_forest;

/* One similarity, one separation, sizes: what every task of a pass shares. */
typedef struct uhn_shape {
    const uhn_kernels *kernels;
    uhn_dtype dtype;
    size_t size; /* of an element */
    uhn_similarity_plan similarity;
    uhn_separation_plan separation;
    const uhn_equation *equation;
    size_t n_features, n_values, value_stride;
    bool project;
} uhn_shape;

uhn_shape uhn_shape_of(const uhn_equation *equation, uhn_dtype dtype, size_t n_features,
                       size_t n_values);

/* An empty node, from the forest's spare ones if there are any; NULL if out of memory. */
uhn_node *uhn_node_new(const uhn_shape *shape, size_t n_queries, unsigned level, size_t index,
                       uhn_forest *forest);
void uhn_forest_free(uhn_forest *forest);

/* Puts a node behind the last and merges siblings as they meet. Takes the node. */
void uhn_forest_push(const uhn_shape *shape, size_t n_queries, uhn_forest *forest,
                     uhn_node *node);

/* Folds the whole forest into one node, smallest first, and leaves it there; NULL if it is empty. */
uhn_node *uhn_forest_fold(const uhn_shape *shape, size_t n_queries, uhn_forest *forest);

/* Answers from a folded node (NULL: nothing was retrieved) to out and answered (may be NULL, unless
 * `empty_is_zero`). */
uhn_status uhn_node_finish(const uhn_shape *shape, const uhn_node *node, size_t n_queries,
                           size_t first_query, bool empty_is_zero, void *out, uint8_t *answered,
                           uhn_error *error);

/* An answer from a list of candidates, which it sorts; `row` fetches a value by global row number. */
typedef const void *(*uhn_row_fn)(const void *context, int64_t index);
typedef struct uhn_rows_context {
    const uhn_list *list;
    size_t first_row, bytes; /* global number of row 0, bytes of a value */
} uhn_rows_context;
const void *uhn_list_row(const void *rows_context, int64_t index); /* a uhn_row_fn */
uhn_status uhn_candidates_finish(const uhn_shape *shape, uhn_candidates *list, uhn_row_fn row,
                                 const void *context, size_t query, bool empty_is_zero,
                                 void *out, uint8_t *answered, uhn_error *error);

/* Where the scores of a pass come from: rows of a list against queries, or a matrix of scores as it
 * is (`given`, n_queries x list->n_rows). */
typedef struct uhn_problem {
    uhn_list *list;
    size_t first_row;   /* global number of the list's row 0 */
    size_t start, stop; /* rows of the list that take part */
    const char *queries;
    size_t n_queries;
    const char *given;
    const uint8_t
        *mask; /* a byte per query and row, 0 where the row has no say; NULL: all have */
    size_t mask_stride;
    const double *score_sums; /* per query, what scores are divided by; NULL: nothing */
    char *out;
    uint8_t *answered;
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
    /* The plan, filled in by uhn_pass_run. */
    size_t block_queries, n_query_blocks, n_ranges, range_blocks;
};

/* Runs a pass of a separation that keeps sums; every block of queries ends in `conclude`. */
uhn_status uhn_pass_sums(uhn_pass *pass);

/* Runs a pass that keeps candidates: lists[problem * n_queries + query], initialised by the caller. */
uhn_status uhn_pass_candidates(uhn_pass *pass, uhn_candidates *lists);

/* Writes the scores of every problem (n_queries x (stop - start)) to its out. */
uhn_status uhn_pass_scores(uhn_pass *pass);

/* What every call on a memory does first: parameters and data checked, statistics made ready. Patterns
 * are looked at only where the similarity asks more of them than being finite. */
uhn_status uhn_pass_check(const uhn_memory *memory, uhn_list *list,
                          const uhn_equation *equation, const void *queries, size_t n_queries,
                          uhn_error *error);

#endif
