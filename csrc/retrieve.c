/*
 * retrieve.c - the pass: tiles of patterns against blocks of queries.
 *
 * Same bits. A result is defined by the global row numbers alone: tiles of UHN_TILE rows and blocks of
 * UHN_BLOCK rows are counted from row 0, a block takes its tiles in order, and blocks are merged by
 * the perfect binary tree over the block number. Inside, no sum ever depends on another query, on the
 * width of a vector or on where a chunk ends. So threads, blocks of queries, chunks and shards are
 * free to be whatever is fast.
 *
 * Within a block, a tile first raises each query's reference to its own largest key, and what was
 * gathered before is rescaled; then its weights are made and its values added.
 */
#include "retrieve.h"

#include "scalar.h"

#include <stdatomic.h>

static double get(uhn_dtype dtype, const void *p, size_t i) {
    return dtype == UHN_FLOAT32 ? (double)((const float *)p)[i] : ((const double *)p)[i];
}

static void put(uhn_dtype dtype, void *p, size_t i, double x) {
    if (dtype == UHN_FLOAT32) ((float *)p)[i] = (float)x;
    else ((double *)p)[i] = x;
}

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
        node = malloc(sizeof *node);
        char *memory =
            node ? uhn_alloc(uhn_round_up(3 * room * sizeof(double), UHN_ALIGNMENT) + bytes, 1,
                             1)
                 : NULL;
        if (!memory) {
            free(node);
            return NULL;
        }
        node->top = (double *)memory;
        node->reference = node->top + room;
        node->sum = node->reference + room;
        node->values = shape->project
                           ? memory + uhn_round_up(3 * room * sizeof(double), UHN_ALIGNMENT)
                           : NULL;
    }
    node->below = NULL;
    node->level = level;
    node->index = index;
    const double nothing = shape->separation.family == UHN_FAMILY_exp ? -INFINITY : 0;
    for (size_t i = 0; i < n_queries; i++) {
        node->top[i] = nothing;
        node->reference[i] = uhn_reference(&shape->separation, nothing);
        node->sum[i] = 0;
    }
    if (node->values) memset(node->values, 0, n_bytes);
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

static uhn_status no_answer(size_t query, uhn_error *error) {
    return uhn_fail(
        error, UHN_EMPTY,
        "no pattern can answer query %zu: every score is -infinity; with kl and its kin "
        "pass eps > 0, which keeps them finite",
        query);
}

static uhn_status overflow(const uhn_shape *shape, size_t query, uhn_error *error) {
    const uhn_row_info *info = uhn_separation_info(shape->separation.row);
    return uhn_fail(
        error, UHN_OVERFLOW,
        "the answer to query %zu is not finite in %s: scores or weights overflow, or a "
        "distance of 0 was inverted; %suse float64, or eps > 0 with transform='inverse'",
        query, shape->dtype == UHN_FLOAT32 ? "float32" : "float64",
        info && info->has_normalize ? "use normalize='sum', " : "");
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
            if (simplex && !empty_is_zero) return no_answer(first_query + i, error);
            memset(to, 0, row);
            continue;
        }
        double factor, divisor;
        uhn_conclusion(&shape->separation, node->reference[i], node->sum[i], &factor, &divisor);
        if (!shape->kernels->conclude(node->values + i * stride, factor, divisor,
                                      shape->n_values, to))
            return overflow(shape, first_query + i, error);
    }
    return UHN_OK;
}

uhn_status uhn_candidates_finish(const uhn_shape *shape, uhn_candidates *list, uhn_row_fn row,
                                 const void *context, size_t query, bool empty_is_zero,
                                 void *out, uint8_t *answered, uhn_error *error) {
    const size_t bytes = shape->n_values * shape->size;
    char *to = (char *)out + query * bytes;
    uhn_candidates_sort(&shape->separation, list);
    double *weights = uhn_alloc(list->n + shape->n_values, 1, sizeof *weights);
    if (!weights) return uhn_no_memory(error);
    double *sums = weights + list->n;
    const bool found = uhn_candidates_weights(&shape->separation, list, weights);
    if (answered) answered[query] = found;
    uhn_status status = UHN_OK;
    if (!found) {
        memset(to, 0, bytes);
        if (!empty_is_zero) status = no_answer(query, error);
    } else if (weights[0] == 1) {
        memcpy(to, row(context, list->items[0].index), bytes);
    } else {
        memset(sums, 0, shape->n_values * sizeof *sums);
        for (size_t i = 0; i < list->n; i++)
            if (weights[i] != 0)
                shape->kernels->gather(sums, weights[i], row(context, list->items[i].index),
                                       shape->n_values);
        if (!shape->kernels->narrow(sums, shape->n_values, to))
            status = overflow(shape, query, error);
    }
    free(weights);
    return status;
}

/* ----------------------------------------------------------------------------------------- plan */

/* Splits the work. Blocks of queries are as large as leaves their features and sums in the second
 * level of cache together; ranges of rows are cut, at powers of two so that each is one node, until
 * there are enough tasks to keep the threads equally busy. */
static void plan(uhn_pass *pass, int n_threads) {
    enum { CACHE = 320 << 10, MOST = 192, TASKS_A_THREAD = 8 };
    const uhn_shape *shape = &pass->shape;
    const size_t V = shape->kernels->vector, panel = V * shape->kernels->panel_vectors;
    size_t n_queries = 1, n_blocks = 1;
    for (size_t i = 0; i < pass->n_problems; i++) {
        const uhn_problem *p = &pass->problems[i];
        n_queries = UHN_MAX(n_queries, p->n_queries);
        n_blocks = UHN_MAX(n_blocks, (p->first_row + p->stop) / UHN_BLOCK -
                                         (p->first_row + p->start) / UHN_BLOCK + 1);
    }
    const size_t width = shape->n_features * (shape->similarity.logs ? 2 : 1) +
                         (shape->project ? shape->value_stride : 0) + UHN_TILE + UHN_STRIP;
    size_t block = CACHE / (width * shape->size) / panel * panel;
    block = UHN_MIN(UHN_MAX(block, panel), (size_t)MOST / panel * panel);
    pass->block_queries = UHN_MIN(block, n_queries);
    pass->n_query_blocks = (n_queries + pass->block_queries - 1) / pass->block_queries;

    pass->range_blocks = 1;
    while (pass->range_blocks < n_blocks) pass->range_blocks *= 2;
    pass->n_ranges = 1;
    if (n_threads > 1) {
        const size_t wanted = (size_t)n_threads * TASKS_A_THREAD;
        while (pass->range_blocks > 1 && pass->n_problems * pass->n_query_blocks *
                                                 ((n_blocks - 1) / pass->range_blocks + 1) <
                                             wanted)
            pass->range_blocks /= 2;
        pass->n_ranges = (n_blocks - 1) / pass->range_blocks + 2;
    }
}

static int threads_of(const uhn_pass *pass) {
    const uhn_equation *e = pass->shape.equation;
    double work = 0;
    for (size_t i = 0; i < pass->n_problems; i++)
        work += (double)pass->problems[i].n_queries *
                (double)(pass->problems[i].stop - pass->problems[i].start);
    /* Starting a thread costs as much as some ten million multiplications. */
    if (work * (double)(pass->shape.n_features + pass->shape.n_values) < 1e7) return 1;
    if (e->similarity == UHN_SIM_custom || e->separation == UHN_SEP_custom) return 1;
    return uhn_run_threads(pass->run);
}

/* -------------------------------------------------------------------------------------- scratch */

typedef struct panel {
    size_t first, n, lanes; /* queries of the block: from `first`, n of them */
    char *packed, *logs, *S;
} panel;

/* What one thread works with; sized once by the plan. */
typedef struct scratch {
    char *memory;
    panel *panels;
    size_t n_panels;
    char *queries, *query_logs;  /* prepared, row-major */
    const char *few;             /* the queries where they are too few for panels, else NULL */
    char *rows, *row_logs;       /* a tile, prepared */
    char *patterns, *values;     /* a tile that lies across chunks */
    char *scales, *prior, *bias; /* per row of a tile */
    double *priors;              /* the same as `prior`, in double */
    double *wide;                /* S in double */
    char *tail;                  /* for project() */
    char *top, *reference, *sum; /* per lane */
    char *custom;                /* for callers' functions */
    uhn_node *spare;             /* nodes to use again */
} scratch;

typedef struct piece {
    char **at;
    size_t a, b;
} piece;

static uhn_status scratch_new(const uhn_pass *pass, scratch *s) {
    const uhn_shape *shape = &pass->shape;
    const size_t size = shape->size, V = shape->kernels->vector;
    const size_t lanes = uhn_round_up(pass->block_queries, V) + V;
    const size_t n_panels = lanes / V;
    const size_t nf = shape->n_features, nv = shape->n_values, tile = UHN_TILE + UHN_STRIP;
    const bool logs = shape->similarity.logs;
    char *panels, *packed, *packed_logs, *S, *priors, *wide;
    const piece pieces[] = {
        {&panels, n_panels, sizeof(panel)},
        {&packed, lanes * size, nf},
        {&packed_logs, logs ? lanes * size : 0, nf},
        {&S, lanes * size, tile},
        {&s->queries, pass->block_queries * size, nf},
        {&s->query_logs, logs ? pass->block_queries * size : 0, nf},
        {&s->rows, logs ? UHN_TILE * size : 0, nf},
        {&s->row_logs, logs ? UHN_TILE * size : 0, nf},
        {&s->patterns, UHN_TILE * size, nf},
        {&s->values, UHN_TILE * size, nv},
        {&s->scales, tile, size},
        {&s->prior, tile, size},
        {&s->bias, tile, size},
        {&priors, tile, sizeof(double)},
        {&wide, UHN_MAX_LANES * sizeof(double), tile},
        {&s->tail, UHN_TILE * V, size},
        {&s->top, UHN_MAX_LANES, size},
        {&s->reference, UHN_MAX_LANES, size},
        {&s->sum, UHN_MAX_LANES, size},
        {&s->custom, lanes * size, tile},
    };
    enum { N = sizeof pieces / sizeof *pieces };
    size_t offsets[N], total = 0;
    for (int i = 0; i < N; i++) {
        size_t bytes;
        if (!uhn_mul(pieces[i].a, pieces[i].b, 1, &bytes)) return UHN_NO_MEMORY;
        offsets[i] = total;
        total += uhn_round_up(bytes, UHN_ALIGNMENT);
        if (total > PTRDIFF_MAX / 2) return UHN_NO_MEMORY;
    }
    s->memory = uhn_alloc(total, 1, 1);
    if (!s->memory) return UHN_NO_MEMORY;
    for (int i = 0; i < N; i++) *pieces[i].at = s->memory + offsets[i];
    s->panels = (panel *)panels;
    s->priors = (double *)priors;
    s->wide = (double *)wide;
    /* Every panel's buffers follow from where it begins. */
    s->panels[0] = (panel){.packed = packed, .logs = packed_logs, .S = S};
    return UHN_OK;
}

/* Packs a block of queries into panels of equal widths. */
static void load_queries(const uhn_pass *pass, const uhn_problem *problem, size_t first,
                         size_t n, scratch *s) {
    const uhn_shape *shape = &pass->shape;
    const uhn_kernels *kernels = shape->kernels;
    const size_t size = shape->size, nf = shape->n_features, V = kernels->vector;
    const size_t vectors = (n + V - 1) / V;
    s->n_panels = (vectors + kernels->panel_vectors - 1) / kernels->panel_vectors;
    const size_t each = (vectors + s->n_panels - 1) / s->n_panels;
    char *packed = s->panels[0].packed, *logs = s->panels[0].logs, *S = s->panels[0].S;
    const bool built_in = !problem->given && shape->equation->similarity != UHN_SIM_custom;
    const bool prepared = built_in && (shape->similarity.logs ||
                                       shape->similarity.statistic != UHN_STATISTIC_none);
    const char *queries = problem->queries + (problem->given ? 0 : first * nf * size);
    if (prepared) {
        for (size_t i = 0; i < n; i++)
            uhn_prepare_query(kernels, shape->dtype, &shape->similarity,
                              queries + i * nf * size, nf, s->queries + i * nf * size,
                              s->query_logs + i * nf * size);
        queries = s->queries;
    }
    s->few = built_in && n <= kernels->few && kernels->score_few[shape->similarity.kernel]
                 ? queries
                 : NULL;
    for (size_t p = 0, done = 0; p < s->n_panels; p++) {
        const size_t wide = UHN_MIN(each, vectors - done / V) * V;
        panel *panel = &s->panels[p];
        panel->first = done;
        panel->n = UHN_MIN(wide, n - done);
        panel->lanes = wide;
        panel->packed = packed + done * nf * size;
        panel->logs = logs + done * nf * size;
        panel->S = S + done * (UHN_TILE + UHN_STRIP) * size;
        if (built_in && !s->few) {
            kernels->pack(queries + done * nf * size, nf, panel->n, nf, wide, panel->packed);
            if (shape->similarity.logs)
                kernels->pack(s->query_logs + done * nf * size, nf, panel->n, nf, wide,
                              panel->logs);
        }
        done += wide;
    }
}

/* ---------------------------------------------------------------------------------------- tiles */

typedef struct tile {
    size_t row, n;  /* of the list */
    int64_t global; /* number of its first row */
    const char *patterns, *values;
    const char *scales;
    const double *priors; /* NULL: all 1 */
    const char *ahead;    /* values of the rows after it, where they follow */
} tile;

static tile load_tile(const uhn_pass *pass, const uhn_problem *problem, size_t row, size_t n,
                      scratch *s) {
    const uhn_shape *shape = &pass->shape;
    const size_t size = shape->size, nf = shape->n_features * size, nv = shape->n_values * size;
    const uhn_statistic statistic = shape->similarity.statistic;
    tile t = {.row = row, .n = n, .global = (int64_t)(problem->first_row + row)};
    const uhn_list *list = problem->list;
    const uhn_span *span = uhn_list_span(list, row);
    size_t at = row - span->first;
    if (problem->given) {
        /* One chunk, whose patterns nobody needs. */
        t.values = span->chunk->values ? span->chunk->values + at * nv : NULL;
        if (list->has_prior) {
            shape->kernels->widen(span->chunk->prior + at * size, n, s->priors);
            t.priors = s->priors;
        }
        return t;
    }
    if (at + n <= span->n_rows) {
        const uhn_chunk *chunk = span->chunk;
        t.patterns = chunk->patterns + at * nf;
        t.values = chunk->values + at * nv;
        if (statistic) t.scales = chunk->scales[statistic] + at * size;
        if (list->has_prior && chunk->prior) {
            shape->kernels->widen(chunk->prior + at * size, n, s->priors);
            t.priors = s->priors;
        }
        if (at + n + UHN_TILE <= span->n_rows) t.ahead = t.values + UHN_TILE * nv;
    } else {
        for (size_t done = 0; done < n; span++, at = 0) {
            const uhn_chunk *chunk = span->chunk;
            const size_t m = UHN_MIN(span->n_rows - at, n - done);
            memcpy(s->patterns + done * nf, chunk->patterns + at * nf, m * nf);
            if (chunk->values != chunk->patterns)
                memcpy(s->values + done * nv, chunk->values + at * nv, m * nv);
            if (statistic)
                memcpy(s->scales + done * size, chunk->scales[statistic] + at * size, m * size);
            for (size_t r = 0; list->has_prior && r < m; r++)
                s->priors[done + r] =
                    chunk->prior ? get(shape->dtype, chunk->prior, at + r) : 1;
            if (done == 0)
                t.values = chunk->values != chunk->patterns ? s->values : s->patterns;
            done += m;
        }
        t.patterns = s->patterns;
        if (statistic) t.scales = s->scales;
        if (list->has_prior) t.priors = s->priors;
    }
    if (shape->similarity.logs)
        for (size_t r = 0; r < n; r++)
            shape->kernels->prepare(t.patterns + r * nf, get(shape->dtype, t.scales, r),
                                    shape->similarity.eps, shape->similarity.halves,
                                    shape->n_features, s->rows + r * nf, s->row_logs + r * nf);
    return t;
}

/* Scores of a tile from the caller's own function, into all panels. */
static uhn_status custom_scores(const uhn_pass *pass, const uhn_problem *problem, size_t first,
                                size_t n, const tile *t, scratch *s) {
    const uhn_equation *e = pass->shape.equation;
    const uhn_shape *shape = &pass->shape;
    const char *queries = problem->queries + first * shape->n_features * shape->size;
    if (e->score(e->score_context, (size_t)t->global, t->patterns, t->n, queries, n,
                 s->custom) != 0)
        return UHN_CALLBACK;
    for (size_t p = 0; p < s->n_panels; p++) {
        const panel *panel = &s->panels[p];
        for (size_t r = 0; r < t->n; r++)
            for (size_t i = 0; i < panel->lanes; i++)
                put(shape->dtype, panel->S, r * panel->lanes + i,
                    i < panel->n ? get(shape->dtype, s->custom, (panel->first + i) * t->n + r)
                                 : 0);
    }
    return UHN_OK;
}

/* Scores of a tile against one panel, in panel->S. */
static void score(const uhn_pass *pass, const uhn_problem *problem, size_t first, const tile *t,
                  const panel *panel, scratch *s) {
    const uhn_shape *shape = &pass->shape;
    const uhn_kernels *kernels = shape->kernels;
    const uhn_dtype dtype = shape->dtype;
    const size_t lanes = panel->lanes, nf = shape->n_features;
    if (problem->given) {
        const size_t n_columns = problem->list->n_rows;
        for (size_t i = 0; i < lanes; i++)
            for (size_t r = 0; r < t->n; r++)
                put(dtype, panel->S, r * lanes + i,
                    i < panel->n ? get(dtype, problem->given,
                                       (first + panel->first + i) * n_columns + t->row + r)
                                 : 0);
    } else if (shape->equation->similarity != UHN_SIM_custom) {
        const uhn_score_kernel kernel = shape->similarity.kernel;
        const bool logs = shape->similarity.logs;
        if (s->few)
            kernels->score_few[kernel](t->patterns, nf, t->n, s->few, panel->n, nf, lanes,
                                       panel->S);
        else
            kernels->score[kernel](logs ? s->rows : t->patterns, s->row_logs, nf, t->n,
                                   panel->packed, panel->logs, nf, lanes, panel->first == 0,
                                   panel->S);
        kernels->finish(&shape->similarity.finish, t->scales, t->n, lanes, panel->S);
    }
    for (size_t i = 0; problem->mask && i < panel->n; i++) {
        const uint8_t *mask =
            problem->mask + (first + panel->first + i) * problem->mask_stride + t->row;
        for (size_t r = 0; r < t->n; r++)
            if (!mask[r]) put(dtype, panel->S, r * lanes + i, -INFINITY);
    }
    if (problem->score_sums) {
        const double *sums = problem->score_sums + first + panel->first;
        for (size_t i = 0; i < lanes; i++) {
            /* A negative sum stands for: that many exact matches, each with an infinite score. */
            const bool exact = i < panel->n && sums[i] < 0;
            put(dtype, s->reference, i, i < panel->n && sums[i] != 0 ? fabs(sums[i]) : 1);
            for (size_t r = 0; exact && r < t->n; r++)
                put(dtype, panel->S, r * lanes + i,
                    get(dtype, panel->S, r * lanes + i) == INFINITY);
        }
        kernels->divide(s->reference, t->n, lanes, panel->S);
    }
}

/* -------------------------------------------------------------------------------- scores to sums */

/* Weights of a tile in units of `reference` (per query of the panel), in place of its scores. False if
 * none is above 0. */
static uhn_status weigh(const uhn_pass *pass, const tile *t, const panel *panel,
                        const double *reference, scratch *s, double *sums, bool *any) {
    const uhn_shape *shape = &pass->shape;
    const uhn_kernels *kernels = shape->kernels;
    const size_t lanes = panel->lanes;
    if (shape->separation.family == UHN_FAMILY_exp) {
        for (size_t i = 0; i < lanes; i++) {
            double r = i < panel->n ? reference[i] : -INFINITY;
            if (r == INFINITY) {
                /* Exact matches share the weight. */
                for (size_t k = 0; k < t->n; k++) {
                    const bool exact = get(shape->dtype, panel->S, k * lanes + i) == INFINITY;
                    put(shape->dtype, panel->S, k * lanes + i,
                        exact ? t->priors ? uhn_log2(t->priors[k]) : 0 : -INFINITY);
                }
                r = 0;
            } else if (r == -INFINITY) {
                r = 0x1p100; /* far above any score: no weight */
            }
            put(shape->dtype, s->reference, i, r);
        }
        *any = kernels->exponentials(s->reference, shape->separation.cutoff, t->n, lanes,
                                     panel->S, s->sum);
        for (size_t i = 0; i < panel->n; i++) sums[i] += get(shape->dtype, s->sum, i);
        return UHN_OK;
    }
    double references[UHN_MAX_LANES], totals[UHN_MAX_LANES] = {0};
    for (size_t i = 0; i < lanes; i++) references[i] = i < panel->n ? reference[i] : 0;
    if (!uhn_weigh(&shape->separation, references, t->priors, t->n, lanes, s->wide, totals))
        return UHN_BAD_DATA;
    kernels->narrow(s->wide, t->n * lanes, panel->S);
    *any = false;
    for (size_t i = 0; i < panel->n; i++) {
        sums[i] += totals[i];
        *any |= totals[i] != 0;
    }
    return UHN_OK;
}

/* The caller's own separation, into s->wide. */
static uhn_status custom_weights(const uhn_pass *pass, const tile *t, const panel *panel,
                                 scratch *s) {
    const uhn_equation *e = pass->shape.equation;
    const uhn_dtype dtype = pass->shape.dtype;
    const size_t lanes = panel->lanes;
    for (size_t r = 0; r < t->n; r++)
        for (size_t i = 0; i < panel->n; i++)
            put(dtype, s->custom, i * t->n + r, get(dtype, panel->S, r * lanes + i));
    if (e->weigh(e->weigh_context, (size_t)t->global, t->n, panel->n, s->custom) != 0)
        return UHN_CALLBACK;
    for (size_t r = 0; r < t->n; r++)
        for (size_t i = 0; i < lanes; i++)
            s->wide[r * lanes + i] = i < panel->n ? get(dtype, s->custom, i * t->n + r) : 0;
    return UHN_OK;
}

/* Largest keys of a tile, raised into `top` (per query of the panel); S becomes keys for exp, s->wide
 * holds the scores for the others. */
static uhn_status keys(const uhn_pass *pass, const tile *t, const panel *panel, scratch *s,
                       double *top) {
    const uhn_shape *shape = &pass->shape;
    const uhn_kernels *kernels = shape->kernels;
    const size_t lanes = panel->lanes;
    double tops[UHN_MAX_LANES];
    if (shape->separation.family == UHN_FAMILY_exp) {
        for (size_t r = 0; t->priors && r < t->n; r++)
            put(shape->dtype, s->bias, r, uhn_log2(t->priors[r]));
        kernels->exponents(shape->separation.factor, t->priors ? s->bias : NULL, t->n, lanes,
                           panel->S, s->top);
        kernels->widen(s->top, panel->n, tops);
    } else {
        if (shape->equation->separation == UHN_SEP_custom) {
            const uhn_status status = custom_weights(pass, t, panel, s);
            if (status != UHN_OK) return status;
        } else {
            kernels->widen(panel->S, t->n * lanes, s->wide);
        }
        for (size_t i = 0; i < lanes; i++) tops[i] = 0;
        uhn_keys(&shape->separation, s->wide, t->n, lanes, tops);
    }
    for (size_t i = 0; i < panel->n; i++) top[i] = UHN_MAX(top[i], tops[i]);
    return UHN_OK;
}

/* Adds one tile to a node. */
static uhn_status absorb(const uhn_pass *pass, const uhn_problem *problem, size_t first,
                         const tile *t, scratch *s, uhn_node *node) {
    const uhn_shape *shape = &pass->shape;
    const uhn_kernels *kernels = shape->kernels;
    const size_t stride = shape->value_stride * shape->size;
    for (size_t p = 0; p < s->n_panels; p++) {
        const panel *panel = &s->panels[p];
        double *top = node->top + panel->first, *reference = node->reference + panel->first;
        double *sum = node->sum + panel->first;
        score(pass, problem, first, t, panel, s);
        uhn_status status = keys(pass, t, panel, s, top);
        if (status != UHN_OK) return status;
        for (size_t i = 0; i < panel->n; i++) {
            const double now = uhn_reference(&shape->separation, top[i]);
            if (now == reference[i]) continue;
            const double factor = uhn_rescale(&shape->separation, reference[i], now);
            sum[i] *= factor;
            if (node->values)
                kernels->combine(node->values + (panel->first + i) * stride, factor, NULL, 0,
                                 shape->n_values);
            reference[i] = now;
        }
        bool any;
        status = weigh(pass, t, panel, reference, s, sum, &any);
        if (status != UHN_OK) return status;
        if (any && node->values)
            kernels->project(panel->S, panel->lanes, panel->n, t->values, shape->n_values, t->n,
                             shape->n_values, s->tail, node->values + panel->first * stride,
                             shape->value_stride, panel->n <= kernels->few ? t->ahead : NULL);
    }
    return UHN_OK;
}

/* -------------------------------------------------------------------------------------- the loop */

typedef enum purpose { SUMS, CANDIDATES, SCORES, WEIGHTS } purpose;

typedef struct walk {
    uhn_pass *pass;
    purpose purpose;
    scratch *scratches;                /* one a worker */
    uhn_forest *forests;               /* one a task: SUMS */
    atomic_size_t *pending;            /* tasks left of each block of queries: SUMS */
    uhn_candidates *lists;             /* one a query: CANDIDATES */
    const double *references, *totals; /* one a query: WEIGHTS */
    pthread_mutex_t lock;              /* of `lists` and of the error */
} walk;

static uhn_status walk_fail(walk *w, uhn_status status) {
    uhn_error *error = w->pass->error;
    if (!error) return status;
    pthread_mutex_lock(&w->lock);
    if (error->status == UHN_OK) {
        const uhn_row_info *info = uhn_separation_info(w->pass->shape.separation.row);
        if (status == UHN_BAD_DATA)
            uhn_fail(error, status,
                     "a score is negative, and %s%s%s needs scores >= 0; for distances use "
                     "transform='inverse' or 'rbf'",
                     w->pass->shape.separation.non_negative ? "" : "separation '",
                     w->pass->shape.separation.non_negative ? "normalize_scores" : info->name,
                     w->pass->shape.separation.non_negative ? "" : "'");
        else if (status == UHN_NO_MEMORY) uhn_no_memory(error);
        else uhn_fail(error, status, "%s", uhn_status_string(status));
    }
    pthread_mutex_unlock(&w->lock);
    return status;
}

/* A tile's scores or weights to the rows of out, one a query. */
static uhn_status write_out(walk *w, const uhn_problem *problem, size_t first, const tile *t,
                            scratch *s) {
    const uhn_pass *pass = w->pass;
    const uhn_shape *shape = &pass->shape;
    const uhn_dtype dtype = shape->dtype;
    const size_t n_columns = problem->stop - problem->start;
    for (size_t p = 0; p < s->n_panels; p++) {
        const panel *panel = &s->panels[p];
        score(pass, problem, first, t, panel, s);
        if (w->purpose == WEIGHTS) {
            double top[UHN_MAX_LANES], ignored[UHN_MAX_LANES] = {0};
            bool any;
            for (size_t i = 0; i < panel->n; i++) top[i] = -INFINITY;
            uhn_status status = keys(pass, t, panel, s, top);
            if (status == UHN_OK)
                status = weigh(pass, t, panel, w->references + first + panel->first, s, ignored,
                               &any);
            if (status != UHN_OK) return status;
        }
        for (size_t i = 0; i < panel->n; i++) {
            const size_t query = first + panel->first + i;
            double factor = 1, divisor = 1;
            if (w->purpose == WEIGHTS)
                uhn_conclusion(&shape->separation, w->references[query], w->totals[query],
                               &factor, &divisor);
            for (size_t r = 0; r < t->n; r++) {
                double x = get(dtype, panel->S, r * panel->lanes + i);
                if (w->purpose == WEIGHTS && x != 0) x = x * factor / divisor;
                put(dtype, problem->out, query * n_columns + t->row - problem->start + r, x);
                if (w->purpose == WEIGHTS
                        ? !isfinite(get(dtype, problem->out,
                                        query * n_columns + t->row - problem->start + r))
                        : isnan(x))
                    return UHN_OVERFLOW;
            }
        }
    }
    return UHN_OK;
}

static uhn_status collect(walk *w, const tile *t, scratch *s, uhn_candidates *lists) {
    const uhn_shape *shape = &w->pass->shape;
    for (size_t p = 0; p < s->n_panels; p++) {
        const panel *panel = &s->panels[p];
        double tops[UHN_MAX_LANES];
        bool any = false;
        shape->kernels->tops(t->n, panel->lanes, panel->S, s->top);
        shape->kernels->widen(s->top, panel->n, tops);
        for (size_t i = 0; i < panel->n; i++) {
            const double floor = lists[panel->first + i].floor;
            any |= floor == -INFINITY || tops[i] > floor;
        }
        if (!any) continue;
        shape->kernels->widen(panel->S, t->n * panel->lanes, s->wide);
        for (size_t i = 0; i < panel->n; i++) {
            const double floor = lists[panel->first + i].floor;
            if (floor != -INFINITY && !(tops[i] > floor)) continue;
            const uhn_status status =
                uhn_candidates_absorb(&shape->separation, &lists[panel->first + i], s->wide + i,
                                      panel->lanes, t->n, t->priors, t->global);
            if (status != UHN_OK) return status;
        }
    }
    return UHN_OK;
}

/* One block of queries over one range of rows. */
static uhn_status walk_range(walk *w, uhn_problem *problem, size_t first, size_t n,
                             size_t start, size_t stop, int worker, uhn_loop *loop, scratch *s,
                             uhn_forest *forest, uhn_candidates *lists) {
    uhn_pass *pass = w->pass;
    const uhn_shape *shape = &pass->shape;
    /* Row numbers here are global; the list's begin at first_row. */
    const size_t begin = problem->first_row;
    for (size_t row = start; row < stop;) {
        uhn_node *node = NULL;
        const size_t block = row / UHN_BLOCK,
                     block_end = UHN_MIN((block + 1) * UHN_BLOCK, stop);
        if (w->purpose == SUMS) {
            node = uhn_node_new(shape, n, 0, block, forest);
            if (!node) return UHN_NO_MEMORY;
        }
        uhn_status status = UHN_OK;
        while (row < block_end && status == UHN_OK) {
            const size_t end = UHN_MIN((row / UHN_TILE + 1) * UHN_TILE, block_end);
            const tile t = load_tile(pass, problem, row - begin, end - row, s);
            status = uhn_loop_poll(loop, worker);
            if (status == UHN_OK && !problem->given &&
                shape->equation->similarity == UHN_SIM_custom)
                status = custom_scores(pass, problem, first, n, &t, s);
            if (status != UHN_OK) break;
            if (w->purpose == SUMS) {
                status = absorb(pass, problem, first, &t, s, node);
            } else if (w->purpose == CANDIDATES) {
                for (size_t p = 0; p < s->n_panels; p++)
                    score(pass, problem, first, &t, &s->panels[p], s);
                status = collect(w, &t, s, lists);
            } else {
                status = write_out(w, problem, first, &t, s);
            }
            row = end;
        }
        if (node) {
            node->below = NULL;
            uhn_forest_push(shape, n, forest, node);
        }
        if (status != UHN_OK) return status;
    }
    return UHN_OK;
}

/* Moves nodes to where the next task of this thread finds them. */
static void keep_spare(scratch *s, uhn_node **nodes) {
    while (*nodes) {
        uhn_node *node = *nodes;
        *nodes = node->below;
        node->below = s->spare;
        s->spare = node;
    }
}

static uhn_status walk_task(void *context, size_t task, int worker, uhn_loop *loop) {
    walk *w = context;
    uhn_pass *pass = w->pass;
    const size_t block = task / pass->n_ranges, range = task % pass->n_ranges;
    const size_t query_block = block % pass->n_query_blocks;
    uhn_problem *problem = &pass->problems[block / pass->n_query_blocks];
    const size_t first = query_block * pass->block_queries;
    scratch *s = &w->scratches[worker];
    uhn_forest *forest = w->forests ? &w->forests[task] : NULL;
    uhn_status status = UHN_OK;
    if (first >= problem->n_queries) return UHN_OK;
    const size_t n = UHN_MIN(pass->block_queries, problem->n_queries - first);
    if (!s->memory) {
        status = scratch_new(pass, s);
        if (status != UHN_OK) return walk_fail(w, status);
    }
    /* Ranges are counted from the one that holds the first row; a single one holds them all. */
    const size_t rows = pass->range_blocks * UHN_BLOCK;
    const size_t low = problem->first_row + problem->start;
    const size_t high = problem->first_row + problem->stop;
    size_t start = low, stop = high;
    if (pass->n_ranges > 1) {
        start = UHN_MAX((low / rows + range) * rows, low);
        stop = UHN_MIN((low / rows + range + 1) * rows, high);
    }
    uhn_candidates *lists = NULL;
    if (start < stop) {
        load_queries(pass, problem, first, n, s);
        if (w->purpose == CANDIDATES) {
            lists = malloc(n * sizeof *lists);
            if (!lists) return walk_fail(w, UHN_NO_MEMORY);
            for (size_t i = 0; i < n; i++) uhn_candidates_init(&lists[i]);
        }
        if (forest) *forest = (uhn_forest){.spare = s->spare, .capacity = pass->block_queries};
        if (forest) s->spare = NULL;
        status = walk_range(w, problem, first, n, start, stop, worker, loop, s, forest, lists);
        if (forest) keep_spare(s, &forest->spare);
        if (status != UHN_OK && status != UHN_STOPPED) walk_fail(w, status);
    }
    if (lists) {
        uhn_candidates *all =
            w->lists + (size_t)(problem - pass->problems) * problem->n_queries + first;
        pthread_mutex_lock(&w->lock);
        for (size_t i = 0; i < n; i++) {
            if (status == UHN_OK)
                status = uhn_candidates_merge(&pass->shape.separation, &all[i], lists[i].items,
                                              lists[i].n);
            uhn_candidates_free(&lists[i]);
        }
        pthread_mutex_unlock(&w->lock);
        free(lists);
    }
    if (status != UHN_OK || w->purpose != SUMS) return status;
    /* Whoever finishes a block of queries last joins its ranges, in the order of their rows. */
    if (atomic_fetch_sub(&w->pending[block], 1) != 1) return UHN_OK;
    uhn_forest joined = {0}, *parts = &w->forests[block * pass->n_ranges];
    for (size_t i = 0; i < pass->n_ranges; i++) {
        uhn_node *reversed = NULL;
        while (parts[i].last) {
            uhn_node *node = parts[i].last;
            parts[i].last = node->below;
            node->below = reversed;
            reversed = node;
        }
        while (reversed) {
            uhn_node *node = reversed;
            reversed = node->below;
            uhn_forest_push(&pass->shape, n, &joined, node);
        }
    }
    status = pass->conclude(pass, problem, first, n, &joined);
    keep_spare(s, &joined.last);
    keep_spare(s, &joined.spare);
    return status;
}

static uhn_status run_walk(walk *w) {
    uhn_pass *pass = w->pass;
    if (pass->error) *pass->error = (uhn_error){0};
    const int n_threads = threads_of(pass);
    plan(pass, n_threads);
    const size_t n_blocks = pass->n_problems * pass->n_query_blocks;
    const size_t n_tasks = n_blocks * pass->n_ranges;
    uhn_status status = UHN_NO_MEMORY;
    pthread_mutex_init(&w->lock, NULL);
    w->scratches = calloc((size_t)n_threads, sizeof *w->scratches);
    if (w->purpose == SUMS) {
        w->forests = calloc(n_tasks, sizeof *w->forests);
        w->pending = calloc(n_blocks, sizeof *w->pending);
    }
    if (w->scratches && (w->purpose != SUMS || (w->forests && w->pending))) {
        for (size_t i = 0; w->pending && i < n_blocks; i++)
            atomic_init(&w->pending[i], pass->n_ranges);
        status = uhn_parallel_for(n_tasks, n_threads, pass->run, walk_task, w);
    }
    for (int i = 0; w->scratches && i < n_threads; i++) {
        free(w->scratches[i].memory);
        uhn_forest_free(&(uhn_forest){.spare = w->scratches[i].spare});
    }
    for (size_t i = 0; w->forests && i < n_tasks; i++) uhn_forest_free(&w->forests[i]);
    free(w->scratches);
    free(w->forests);
    free(w->pending);
    pthread_mutex_destroy(&w->lock);
    if (status != UHN_OK && pass->error && pass->error->status == UHN_OK)
        uhn_fail(pass->error, status, "%s", uhn_status_string(status));
    return status;
}

uhn_status uhn_pass_sums(uhn_pass *pass) {
    return run_walk(&(walk){.pass = pass, .purpose = SUMS});
}

uhn_status uhn_pass_candidates(uhn_pass *pass, uhn_candidates *lists) {
    return run_walk(&(walk){.pass = pass, .purpose = CANDIDATES, .lists = lists});
}

uhn_status uhn_pass_scores(uhn_pass *pass) {
    return run_walk(&(walk){.pass = pass, .purpose = SCORES});
}

/* ------------------------------------------------------------------------------- the public calls */

uhn_status uhn_pass_check(const uhn_memory *memory, uhn_list *list,
                          const uhn_equation *equation, const void *queries, size_t n_queries,
                          uhn_error *error) {
    const uhn_row_info *similarity = uhn_similarity_info(equation->similarity);
    const uhn_row_info *separation = uhn_separation_info(equation->separation);
    size_t bytes;
    uhn_status status = uhn_equation_check(equation, error);
    if (status != UHN_OK) return status;
    if (list->n_rows == 0)
        return uhn_fail(error, UHN_EMPTY,
                        "the memory is empty; store patterns before asking it");
    if (!uhn_mul(n_queries, UHN_MAX(memory->n_features, memory->n_values), 8, &bytes))
        return uhn_fail(error, UHN_BAD_SHAPE, "%zu queries are more than can be addressed",
                        n_queries);
    if (list->has_prior && separation && !separation->has_prior)
        return uhn_fail(
            error, UHN_BAD_PARAMETER,
            "separation '%s' has no meaning for prior weights; use softmax, sparsemax, entmax "
            "or a sum",
            separation->name);
    status = uhn_check_rows(memory->dtype, queries, n_queries, memory->n_features, equation,
                            "queries", error);
    if (status != UHN_OK || !similarity) return status;
    const uhn_statistic statistic = uhn_similarity_plan_of(equation).statistic;
    if (statistic != UHN_STATISTIC_none) {
        status = uhn_list_scales(list, statistic, memory->dtype, memory->n_features);
        if (status != UHN_OK) return uhn_no_memory(error);
    }
    if (similarity->non_negative) return uhn_list_check(list, memory, equation, error);
    return UHN_OK;
}

static uhn_status conclude_answers(uhn_pass *pass, uhn_problem *problem, size_t first, size_t n,
                                   uhn_forest *forest) {
    const uhn_node *node = uhn_forest_fold(&pass->shape, n, forest);
    uhn_error error = {0};
    const uhn_status status = uhn_node_finish(&pass->shape, node, n, first, pass->empty_is_zero,
                                              problem->out, problem->answered, &error);
    /* Another block's error may be on its way too; any of them will do, but whole. */
    if (status != UHN_OK && pass->error) {
        static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        pthread_mutex_lock(&lock);
        if (pass->error->status == UHN_OK) *pass->error = error;
        pthread_mutex_unlock(&lock);
    }
    return status;
}

typedef struct sums_context {
    double *references, *totals;
} sums_context;

static uhn_status conclude_totals(uhn_pass *pass, uhn_problem *problem, size_t first, size_t n,
                                  uhn_forest *forest) {
    (void)problem;
    const sums_context *out = pass->context;
    const uhn_node *node = uhn_forest_fold(&pass->shape, n, forest);
    for (size_t i = 0; i < n; i++) {
        out->references[first + i] = node ? node->reference[i] : -INFINITY;
        out->totals[first + i] = node ? node->sum[i] : 0;
    }
    return UHN_OK;
}

/* References and totals of every query of a pass with one problem, nothing projected. */
static uhn_status totals(uhn_pass *pass, double *references, double *sums) {
    uhn_pass copy = *pass;
    copy.shape.project = false;
    copy.context = &(sums_context){references, sums};
    copy.conclude = conclude_totals;
    return uhn_pass_sums(&copy);
}

/* What each query's scores are divided by (uhn_problem.score_sums): NULL if out of memory. */
static uhn_status sum_scores(uhn_pass *pass, double **out) {
    const size_t n = pass->problems[0].n_queries;
    double *sums = uhn_alloc(n, 2, sizeof *sums);
    if (!sums) return uhn_no_memory(pass->error);
    uhn_pass copy = *pass;
    uhn_equation equation = *pass->shape.equation;
    equation.separation = UHN_SEP_identity;
    equation.normalize = UHN_NORMALIZE_NONE;
    copy.shape.equation = &equation;
    copy.shape.separation = uhn_separation_plan_of(&equation, pass->shape.dtype);
    copy.shape.separation.non_negative = true;
    const uhn_status status = totals(&copy, sums + n, sums);
    if (status != UHN_OK) {
        free(sums);
        return status;
    }
    for (size_t i = 0; i < n; i++)
        if (sums[n + i] == INFINITY) sums[i] = -sums[i];
    *out = sums;
    return UHN_OK;
}

const void *uhn_list_row(const void *context, int64_t index) {
    const uhn_rows_context *rows = context;
    const size_t row = (size_t)index - rows->first_row;
    const uhn_span *span = uhn_list_span(rows->list, row);
    return span->chunk->values + (row - span->first) * rows->bytes;
}

typedef struct finish_context {
    uhn_pass *pass;
    uhn_candidates *lists;
    pthread_mutex_t lock;
} finish_context;

static uhn_status finish_task(void *context, size_t task, int worker, uhn_loop *loop) {
    finish_context *f = context;
    uhn_pass *pass = f->pass;
    const size_t n_queries = pass->problems[0].n_queries;
    const uhn_problem *problem = &pass->problems[task / n_queries];
    const uhn_rows_context rows = {problem->list, problem->first_row,
                                   pass->shape.n_values * pass->shape.size};
    uhn_status status = uhn_loop_poll(loop, worker);
    if (status != UHN_OK) return status;
    uhn_error error = {0};
    status = uhn_candidates_finish(&pass->shape, &f->lists[task], uhn_list_row, &rows,
                                   task % n_queries, pass->empty_is_zero, problem->out,
                                   problem->answered, &error);
    if (status != UHN_OK && pass->error) {
        pthread_mutex_lock(&f->lock);
        if (pass->error->status == UHN_OK) *pass->error = error;
        pthread_mutex_unlock(&f->lock);
    }
    return status;
}

static uhn_candidates *lists_new(size_t n) {
    uhn_candidates *lists = malloc(UHN_MAX(n, (size_t)1) * sizeof *lists);
    for (size_t i = 0; lists && i < n; i++) uhn_candidates_init(&lists[i]);
    return lists;
}

static void lists_free(uhn_candidates *lists, size_t n) {
    for (size_t i = 0; lists && i < n; i++) uhn_candidates_free(&lists[i]);
    free(lists);
}

/* Answers all problems (of equally many queries). */
static uhn_status answer(uhn_pass *pass) {
    if (uhn_keeps_sums(&pass->shape.separation)) {
        pass->conclude = conclude_answers;
        return uhn_pass_sums(pass);
    }
    const size_t n = pass->n_problems * pass->problems[0].n_queries;
    finish_context f = {.pass = pass, .lists = lists_new(n)};
    if (!f.lists) return uhn_no_memory(pass->error);
    uhn_status status = uhn_pass_candidates(pass, f.lists);
    if (status == UHN_OK) {
        pthread_mutex_init(&f.lock, NULL);
        status = uhn_parallel_for(n, threads_of(pass), pass->run, finish_task, &f);
        pthread_mutex_destroy(&f.lock);
        if (status != UHN_OK && pass->error && pass->error->status == UHN_OK)
            uhn_fail(pass->error, status, "%s", uhn_status_string(status));
    }
    lists_free(f.lists, n);
    return status;
}

/* A pass over all of a memory, checked; the list is to be released. */
static uhn_status memory_pass(const uhn_memory *memory, const uhn_equation *equation,
                              const void *queries, size_t n_queries, const uhn_run *run,
                              void *out, uhn_error *error, uhn_problem *problem, uhn_pass *pass,
                              double **sums) {
    uhn_list *list = uhn_memory_list(memory);
    *sums = NULL;
    if (error) *error = (uhn_error){0};
    uhn_status status = uhn_pass_check(memory, list, equation, queries, n_queries, error);
    if (status != UHN_OK) {
        uhn_list_release(list);
        return status;
    }
    *problem = (uhn_problem){.list = list,
                             .first_row = memory->first_row,
                             .stop = list->n_rows,
                             .queries = queries,
                             .n_queries = n_queries,
                             .out = out};
    *pass = (uhn_pass){.shape = uhn_shape_of(equation, memory->dtype, memory->n_features,
                                             memory->n_values),
                       .problems = problem,
                       .n_problems = 1,
                       .run = run,
                       .error = error};
    if (equation->normalize_scores && n_queries) {
        status = sum_scores(pass, sums);
        if (status != UHN_OK) uhn_list_release(list);
        problem->score_sums = *sums;
    }
    return status;
}

uhn_status uhn_retrieve(const uhn_memory *memory, const uhn_equation *equation,
                        const void *queries, size_t n_queries, const uhn_run *run, void *out,
                        uint8_t *answered, uhn_error *error) {
    uhn_problem problem;
    uhn_pass pass;
    double *sums;
    uhn_status status = memory_pass(memory, equation, queries, n_queries, run, out, error,
                                    &problem, &pass, &sums);
    if (status != UHN_OK) return status;
    problem.answered = answered;
    if (n_queries) status = answer(&pass);
    free(sums);
    uhn_list_release(problem.list);
    return status;
}

uhn_status uhn_scores(const uhn_memory *memory, const uhn_equation *equation,
                      const void *queries, size_t n_queries, const uhn_run *run, void *out,
                      uhn_error *error) {
    uhn_problem problem;
    uhn_pass pass;
    double *sums;
    uhn_equation plain = *equation;
    plain.normalize_scores = false;
    uhn_status status = memory_pass(memory, &plain, queries, n_queries, run, out, error,
                                    &problem, &pass, &sums);
    if (status != UHN_OK) return status;
    if (n_queries) status = uhn_pass_scores(&pass);
    uhn_list_release(problem.list);
    return status;
}

/* Weights of a pass with one problem, to its out. */
static uhn_status weights(uhn_pass *pass) {
    uhn_problem *problem = pass->problems;
    const size_t n = problem->n_queries, n_rows = problem->stop - problem->start;
    const uhn_shape *shape = &pass->shape;
    uhn_status status;
    if (uhn_keeps_sums(&shape->separation)) {
        double *states = uhn_alloc(n, 2, sizeof *states);
        if (!states) return uhn_no_memory(pass->error);
        status = totals(pass, states, states + n);
        for (size_t i = 0; status == UHN_OK && i < n; i++)
            if (states[n + i] == 0 && shape->separation.row == UHN_SEP_softmax)
                status = no_answer(i, pass->error);
        if (status == UHN_OK)
            status = run_walk(&(walk){
                .pass = pass, .purpose = WEIGHTS, .references = states, .totals = states + n});
        if (status == UHN_OVERFLOW) overflow(shape, 0, pass->error);
        free(states);
        return status;
    }
    uhn_candidates *lists = lists_new(n);
    if (!lists) return uhn_no_memory(pass->error);
    status = uhn_pass_candidates(pass, lists);
    memset(problem->out, 0, n * n_rows * shape->size);
    for (size_t i = 0; i < n && status == UHN_OK; i++) {
        uhn_candidates_sort(&shape->separation, &lists[i]);
        double *w = uhn_alloc(lists[i].n, 1, sizeof *w);
        if (!w) status = uhn_no_memory(pass->error);
        else if (!uhn_candidates_weights(&shape->separation, &lists[i], w))
            status = no_answer(i, pass->error);
        for (size_t j = 0; status == UHN_OK && j < lists[i].n; j++)
            put(shape->dtype, problem->out,
                i * n_rows + (size_t)lists[i].items[j].index - problem->first_row, w[j]);
        free(w);
    }
    lists_free(lists, n);
    return status;
}

uhn_status uhn_weights(const uhn_memory *memory, const uhn_equation *equation,
                       const void *queries, size_t n_queries, const uhn_run *run, void *out,
                       uhn_error *error) {
    uhn_problem problem;
    uhn_pass pass;
    double *sums;
    uhn_status status = memory_pass(memory, equation, queries, n_queries, run, out, error,
                                    &problem, &pass, &sums);
    if (status != UHN_OK) return status;
    if (n_queries) status = weights(&pass);
    free(sums);
    uhn_list_release(problem.list);
    return status;
}

uhn_status uhn_nearest(const uhn_memory *memory, const uhn_equation *equation,
                       const void *queries, size_t n_queries, size_t k, const uhn_run *run,
                       int64_t *indices, void *scores, uhn_error *error) {
    uhn_equation best = *equation;
    best.separation = UHN_SEP_topk;
    best.normalize = UHN_NORMALIZE_NONE;
    best.normalize_scores = false;
    best.k = k;
    uhn_problem problem;
    uhn_pass pass;
    double *sums;
    uhn_list *list = uhn_memory_list(memory);
    const bool has_prior = list->has_prior;
    const size_t n_patterns = list->n_rows;
    uhn_list_release(list);
    if (n_patterns && (k < 1 || k > n_patterns))
        return uhn_fail(error, UHN_BAD_PARAMETER,
                        "k must be from 1 to the %zu patterns stored, got %zu", n_patterns, k);
    if (k < 1) best.k = 1;
    /* Priors weigh answers; they do not move patterns nearer. */
    if (has_prior) best.separation = UHN_SEP_identity;
    uhn_status status = memory_pass(memory, &best, queries, n_queries, run, NULL, error,
                                    &problem, &pass, &sums);
    if (status != UHN_OK) return status;
    best.separation = UHN_SEP_topk;
    pass.shape.separation = uhn_separation_plan_of(&best, memory->dtype);
    uhn_candidates *lists = lists_new(n_queries);
    if (!lists) status = uhn_no_memory(error);
    else if (n_queries) status = uhn_pass_candidates(&pass, lists);
    for (size_t i = 0; i < n_queries && status == UHN_OK; i++) {
        uhn_candidates_sort(&pass.shape.separation, &lists[i]);
        if (lists[i].n < k) {
            status =
                uhn_fail(error, UHN_OVERFLOW,
                         "scores of query %zu are not numbers: the similarity overflows", i);
            break;
        }
        for (size_t j = 0; j < k; j++) {
            indices[i * k + j] = lists[i].items[j].index - (int64_t)memory->first_row;
            put(memory->dtype, scores, i * k + j, lists[i].items[j].score);
        }
    }
    lists_free(lists, n_queries);
    uhn_list_release(problem.list);
    return status;
}

uhn_status uhn_separate(uhn_dtype dtype, const uhn_equation *equation, const void *scores,
                        size_t n_queries, size_t n_patterns, const uhn_run *run, void *out,
                        uhn_error *error) {
    size_t bytes;
    if (error) *error = (uhn_error){0};
    uhn_equation e = *equation;
    e.similarity = UHN_SIM_dot;
    e.transform = UHN_NEGATIVE;
    uhn_status status = uhn_equation_check(&e, error);
    if (status != UHN_OK) return status;
    if (!uhn_mul(n_queries, n_patterns, uhn_dtype_size(dtype), &bytes))
        return uhn_fail(error, UHN_BAD_SHAPE, "%zu x %zu scores are more than can be addressed",
                        n_queries, n_patterns);
    if (n_patterns == 0)
        return uhn_fail(error, UHN_EMPTY,
                        "scores have no columns: there is no pattern to weigh");
    if (n_queries == 0) return UHN_OK;
    for (size_t i = 0; i < n_queries * n_patterns; i++)
        if (isnan(get(dtype, scores, i)))
            return uhn_fail(error, UHN_BAD_DATA,
                            "scores[%zu, %zu] is NaN; replace or remove it", i / n_patterns,
                            i % n_patterns);
    uhn_list *list = uhn_list_borrow(NULL, NULL, n_patterns);
    if (!list) return uhn_no_memory(error);
    uhn_problem problem = {
        .list = list, .stop = n_patterns, .n_queries = n_queries, .given = scores, .out = out};
    uhn_pass pass = {.shape = uhn_shape_of(&e, dtype, 1, 1),
                     .problems = &problem,
                     .n_problems = 1,
                     .run = run,
                     .error = error};
    double *sums = NULL;
    if (e.normalize_scores) status = sum_scores(&pass, &sums);
    problem.score_sums = sums;
    if (status == UHN_OK) status = weights(&pass);
    free(sums);
    uhn_list_release(list);
    return status;
}

uhn_status uhn_attention(uhn_dtype dtype, const uhn_equation *equation, const uhn_head *heads,
                         size_t n_heads, size_t n_queries, size_t n_keys, size_t n_features,
                         size_t n_values, const uhn_run *run, uhn_error *error) {
    uhn_memory sizes = {.dtype = dtype, .n_features = n_features, .n_values = n_values};
    if (error) *error = (uhn_error){0};
    if (equation->normalize_scores)
        return uhn_fail(error, UHN_BAD_PARAMETER,
                        "normalize_scores does not apply to attention");
    if (n_features < 1 || n_values < 1)
        return uhn_fail(error, UHN_BAD_SHAPE, "heads need at least one feature and one value");
    if (n_heads == 0 || n_queries == 0) return UHN_OK;
    if (n_keys == 0) {
        /* Nothing to attend to. */
        for (size_t i = 0; i < n_heads; i++)
            memset(heads[i].out, 0, n_queries * n_values * uhn_dtype_size(dtype));
        return uhn_equation_check(equation, error);
    }
    uhn_problem *problems = calloc(n_heads, sizeof *problems);
    if (!problems) return uhn_no_memory(error);
    uhn_status status = UHN_OK;
    for (size_t i = 0; i < n_heads && status == UHN_OK; i++) {
        const uhn_head *head = &heads[i];
        uhn_list *list = uhn_list_borrow(head->keys, head->values, n_keys);
        problems[i] = (uhn_problem){.list = list,
                                    .stop = n_keys,
                                    .queries = head->queries,
                                    .n_queries = n_queries,
                                    .mask = head->mask,
                                    .mask_stride = head->mask_stride,
                                    .out = head->out};
        if (!list) status = uhn_no_memory(error);
        if (status == UHN_OK)
            status =
                uhn_check_rows(dtype, head->keys, n_keys, n_features, equation, "keys", error);
        if (status == UHN_OK)
            status =
                uhn_check_rows(dtype, head->values, n_keys, n_values, NULL, "values", error);
        if (status == UHN_OK)
            status = uhn_pass_check(&sizes, list, equation, head->queries, n_queries, error);
    }
    if (status == UHN_OK) {
        uhn_pass pass = {.shape = uhn_shape_of(equation, dtype, n_features, n_values),
                         .problems = problems,
                         .n_problems = n_heads,
                         .run = run,
                         .error = error,
                         .empty_is_zero = true};
        status = answer(&pass);
    }
    for (size_t i = 0; i < n_heads; i++) uhn_list_release(problems[i].list);
    free(problems);
    return status;
}
