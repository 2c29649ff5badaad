/*
 * tree.c - nodes, forests, and the answers they end in.
 */
#include "tree.h"

#include "missing.h"

uhn_shape uhn_shape_of(const uhn_equation *equation, uhn_dtype dtype, size_t n_features,
                       size_t n_values) {
    uhn_shape shape = {
        .kernels = uhn_kernels_for(dtype),
        .dtype = dtype,
        .size = uhn_dtype_size(dtype),
        .similarity = uhn_similarity_plan_of(equation),
        .separation = uhn_separation_plan_of(equation, dtype),
        .equation = equation,
        .n_features = n_features,
        .n_values = n_values,
        .project = true,
        .missing = equation->missing,
    };
    /* Rows of accumulators begin on cache lines. */
    shape.value_stride = uhn_round_up(n_values, UHN_ALIGNMENT / shape.size);
    return shape;
}

/* ------------------------------------------------------------------------------ nodes and forests */

uhn_node *uhn_node_new(const uhn_shape *shape, size_t n_queries, unsigned level, size_t index,
                       uhn_forest *forest) {
    uhn_node *node = forest->spare;
    const size_t n_bytes = shape->project ? n_queries * shape->value_stride * shape->size : 0;
    if (node) {
        forest->spare = node->below;
    } else {
        const size_t room = UHN_MAX(forest->capacity, n_queries);
        size_t bytes = 0;
        if (shape->project && !uhn_mul(room, shape->value_stride, shape->size, &bytes))
            return NULL;
        const size_t n_doubles = 4 + (shape->known ? shape->n_values : 0);
        size_t head;
        if (!uhn_mul(n_doubles, room, sizeof(double), &head) || head > PTRDIFF_MAX / 2 ||
            bytes > PTRDIFF_MAX / 2)
            return NULL;
        head = uhn_round_up(head, UHN_ALIGNMENT);
        node = malloc(sizeof *node);
        char *memory = node ? uhn_alloc(head + bytes, 1, 1) : NULL;
        if (!memory) {
            free(node);
            return NULL;
        }
        node->top = (double *)memory;
        node->reference = node->top + room;
        node->sum = node->reference + room;
        node->lagrangian = node->sum + room;
        node->known = shape->known ? node->lagrangian + room : NULL;
        node->values = shape->project ? memory + head : NULL;
    }
    node->below = NULL;
    node->level = level;
    node->index = index;
    for (size_t i = 0; i < n_queries; i++) {
        node->top[i] = -INFINITY;
        node->reference[i] = uhn_reference(&shape->separation, -INFINITY);
        node->sum[i] = 0;
        node->lagrangian[i] = 0;
    }
    if (node->values) memset(node->values, 0, n_bytes);
    if (node->known) memset(node->known, 0, n_queries * shape->n_values * sizeof(double));
    return node;
}

static void node_free(uhn_node *node) {
    if (!node) return;
    free(node->top);
    free(node);
}

void uhn_forest_free(uhn_forest *forest) {
    for (int i = 0; i < 2; i++) {
        uhn_node **list = i ? &forest->spare : &forest->last;
        while (*list) {
            uhn_node *node = *list;
            *list = node->below;
            node_free(node);
        }
    }
}

/* a = a (+) b, where b's rows come after a's. */
static void node_merge(const uhn_shape *shape, size_t n_queries, uhn_node *a,
                       const uhn_node *b) {
    const uhn_separation_plan *plan = &shape->separation;
    const size_t stride = shape->value_stride * shape->size;
    for (size_t i = 0; i < n_queries; i++) {
        const double reference = UHN_MAX(a->reference[i], b->reference[i]);
        const double fa = uhn_rescale(plan, a->reference[i], reference);
        const double fb = uhn_rescale(plan, b->reference[i], reference);
        a->sum[i] = fa * a->sum[i] + fb * b->sum[i];
        if (shape->lagrangian) a->lagrangian[i] = fa * a->lagrangian[i] + fb * b->lagrangian[i];
        for (size_t j = 0; a->known && j < shape->n_values; j++) {
            const size_t at = i * shape->n_values + j;
            a->known[at] = fa * a->known[at] + fb * b->known[at];
        }
        a->top[i] = UHN_MAX(a->top[i], b->top[i]);
        a->reference[i] = reference;
        if (a->values)
            shape->kernels->combine(a->values + i * stride, fa, b->values + i * stride, fb,
                                    shape->n_values);
    }
}

static void forest_merge_last(const uhn_shape *shape, size_t n_queries, uhn_forest *forest) {
    uhn_node *b = forest->last, *a = b->below;
    node_merge(shape, n_queries, a, b);
    forest->last = a;
    b->below = forest->spare;
    forest->spare = b;
}

void uhn_forest_push(const uhn_shape *shape, size_t n_queries, uhn_forest *forest,
                     uhn_node *node) {
    node->below = forest->last;
    forest->last = node;
    for (;;) {
        uhn_node *b = forest->last, *a = b->below;
        if (!a || a->level != b->level || a->index % 2 != 0 || a->index + 1 != b->index) return;
        forest_merge_last(shape, n_queries, forest);
        a->level++;
        a->index /= 2;
    }
}

uhn_node *uhn_forest_fold(const uhn_shape *shape, size_t n_queries, uhn_forest *forest) {
    while (forest->last && forest->last->below) forest_merge_last(shape, n_queries, forest);
    return forest->last;
}

/* ------------------------------------------------------------------------------------- finishing */

uhn_status uhn_fail_no_answer(size_t query, uhn_error *error) {
    return uhn_fail(
        error, UHN_EMPTY,
        "no pattern can answer query %zu: every score is -infinity; with kl and its kin "
        "pass eps > 0, which keeps them finite",
        query);
}

uhn_status uhn_fail_overflow(const uhn_shape *shape, size_t query, uhn_error *error) {
    const uhn_row_info *info = uhn_separation_info(shape->separation.row);
    return uhn_fail(
        error, UHN_OVERFLOW,
        "the answer to query %zu is not finite in %s: scores or weights overflow, or a "
        "distance of 0 was inverted; %suse float64, or eps > 0 with transform='inverse'",
        query, shape->dtype == UHN_FLOAT32 ? "float32" : "float64",
        info && info->has_normalize ? "use normalize='sum', " : "");
}

bool uhn_node_heard(const uhn_node *node, size_t query) {
    return node && node->top[query] > -INFINITY;
}

/* One query whose values may be missing in some rows. Each value is divided by the sum of those who know
 * it. Where these have next to nothing, in units of the reference, weights that count among them were
 * dropped: the value is left open, as NaN. */
static bool finish_known(const uhn_shape *shape, const uhn_node *node, size_t i, char *to) {
    const size_t n = shape->n_values, size = shape->size;
    const char *values = node->values + i * shape->value_stride * size;
    const double *known = node->known + i * n;
    const double least = shape->separation.family == UHN_FAMILY_plain ? 0 : 0x1p-20;
    bool good = true;
    for (size_t j = 0, end; j < n; j = end) {
        for (end = j + 1; end < n && known[end] == known[j];) end++;
        if (!(known[j] > least)) {
            uhn_fill_missing(shape->dtype, end - j, to + j * size);
            continue;
        }
        double factor, divisor;
        uhn_conclusion(&shape->separation, node->reference[i], known[j], &factor, &divisor);
        good &= shape->kernels->conclude(values + j * size, factor, divisor, end - j,
                                         to + j * size);
    }
    return good;
}

uhn_status uhn_node_finish(const uhn_shape *shape, const uhn_node *node, size_t n_queries,
                           size_t first_query, bool empty_is_zero, void *out, uint8_t *answered,
                           uhn_error *error) {
    const size_t row = shape->n_values * shape->size,
                 stride = shape->value_stride * shape->size;
    const bool simplex = shape->separation.row == UHN_SEP_softmax;
    for (size_t i = 0; i < n_queries; i++) {
        char *to = (char *)out + (first_query + i) * row;
        const bool found = node && node->sum[i] != 0;
        if (answered) answered[first_query + i] = found;
        if (!found) {
            if (shape->missing && (shape->known || !uhn_node_heard(node, i))) {
                uhn_fill_missing(shape->dtype, shape->n_values, to);
                continue;
            }
            if (simplex && !empty_is_zero) return uhn_fail_no_answer(first_query + i, error);
            memset(to, 0, row);
            continue;
        }
        if (shape->known) {
            if (!finish_known(shape, node, i, to))
                return uhn_fail_overflow(shape, first_query + i, error);
            continue;
        }
        double factor, divisor;
        uhn_conclusion(&shape->separation, node->reference[i], node->sum[i], &factor, &divisor);
        if (!shape->kernels->conclude(node->values + i * stride, factor, divisor,
                                      shape->n_values, to))
            return uhn_fail_overflow(shape, first_query + i, error);
    }
    return UHN_OK;
}

uhn_status uhn_candidates_finish(const uhn_shape *shape, uhn_candidates *list, uhn_row_fn row,
                                 const void *context, size_t query, bool empty_is_zero,
                                 void *out, uint8_t *answered, double *lagrangians,
                                 uhn_error *error) {
    const size_t bytes = shape->n_values * shape->size;
    char *to = out ? (char *)out + query * bytes : NULL;
    uhn_candidates_sort(&shape->separation, list);
    double *weights = uhn_alloc(list->n + shape->n_values, 1, sizeof *weights);
    if (!weights) return uhn_no_memory(error);
    double *sums = weights + list->n;
    const bool found = uhn_candidates_weights(&shape->separation, list, weights);
    if (answered) answered[query] = found;
    if (lagrangians)
        lagrangians[query] =
            found ? uhn_candidates_lagrangian(&shape->separation, list, weights) : -INFINITY;
    uhn_status status = UHN_OK;
    if (!to) {
        /* The Lagrangian was all that was asked for. */
    } else if (!found && shape->missing) {
        uhn_fill_missing(shape->dtype, shape->n_values, to);
    } else if (!found) {
        memset(to, 0, bytes);
        if (!empty_is_zero) status = uhn_fail_no_answer(query, error);
    } else if (weights[0] == 1) {
        memcpy(to, row(context, list->items[0].index), bytes);
    } else {
        memset(sums, 0, shape->n_values * sizeof *sums);
        for (size_t i = 0; i < list->n; i++)
            if (weights[i] != 0)
                shape->kernels->gather(sums, weights[i], row(context, list->items[i].index),
                                       shape->n_values);
        bool good = shape->kernels->narrow(sums, shape->n_values, to);
        if (!good && shape->missing) {
            /* NaN where one of those with a weight does not know the value. */
            good = true;
            for (size_t j = 0; j < shape->n_values; j++)
                good &= isfinite(uhn_get(shape->dtype, to, j)) || isnan(sums[j]);
        }
        if (!good) status = uhn_fail_overflow(shape, query, error);
    }
    free(weights);
    return status;
}
