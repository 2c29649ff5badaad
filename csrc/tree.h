/*
 * tree.h - what queries have retrieved from blocks of rows, and how it merges (layer 3).
 *
 * May include: memory.h, separation.h.
 *
 * Blocks of UHN_BLOCK rows are the leaves of a perfect binary tree over the block number. A forest
 * holds the nodes that can be told so far, side by side; siblings merge as they meet, and what is left
 * at the end is folded from the smallest.
 */
#ifndef UHN_TREE_H
#define UHN_TREE_H

#include "memory.h"
#include "separation.h"

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
    double *lagrangian;            /* per query: terms gathered so far, where the shape asks */
    double *known; /* per query and value: sums of those who know it, where the shape asks */
    char *values;  /* n_queries x value_stride elements, NULL if nothing is projected */
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
    bool lagrangian; /* gather the terms of the Lagrangian (families plain and power) */
    bool missing;    /* features may be missing: who cannot answer answers NaN */
    bool known;      /* values may be missing: gather who knows them */
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

/* True if any row of the node has a score above -infinity, be its weight 0. */
bool uhn_node_heard(const uhn_node *node, size_t query);

/* An answer from a list of candidates, which it sorts; `row` fetches a value by global row number. With
 * out NULL nothing but answered and lagrangians (each may be NULL) is written. */
typedef const void *(*uhn_row_fn)(const void *context, int64_t index);
typedef struct uhn_rows_context {
    const uhn_list *list;
    size_t first_row, bytes; /* global number of row 0, bytes of a value */
    size_t offset;           /* bytes of the value before what is asked for */
} uhn_rows_context;
const void *uhn_list_row(const void *rows_context, int64_t index); /* a uhn_row_fn */
uhn_status uhn_candidates_finish(const uhn_shape *shape, uhn_candidates *list, uhn_row_fn row,
                                 const void *context, size_t query, bool empty_is_zero,
                                 void *out, uint8_t *answered, double *lagrangians,
                                 uhn_error *error);

/* The errors of an answer that cannot be given, and of one that does not fit its type. */
uhn_status uhn_fail_no_answer(size_t query, uhn_error *error);
uhn_status uhn_fail_overflow(const uhn_shape *shape, size_t query, uhn_error *error);

#endif
