/*
 * partial.c - what queries have retrieved from some of the rows, as an object to keep, send and merge
 * (layer 4).
 *
 * Sums. Whole blocks are nodes of the tree of tree.h. A block of which only some rows are here
 * cannot be summed yet, since its sum is one chain from its first row to its last; so it is kept as
 * a fragment, the scores of its rows and their values, until the rest comes or the partial is
 * finished. That is what makes any cut, and any order of merging, give the same bits.
 *
 * Candidates. The lists of all queries, and the values of the rows that they name.
 *
 * Energies, nearest patterns and sums of scores need no values: their partials have n_values = 0,
 * project nothing, and gather the terms of the Lagrangian beside the sums.
 */
#include "retrieve.h"

typedef struct fragment {
    size_t first, n_rows; /* global rows, all of one block */
    char *scores;         /* n_queries x n_rows; a caller's own separation is applied already */
    char *values;         /* n_rows x n_values */
    char *prior;          /* n_rows */
} fragment;

typedef struct range {
    uint64_t start, stop;
} range;

struct uhn_partial {
    uhn_dtype dtype;
    size_t n_queries, n_values;
    uhn_equation equation;
    uhn_shape shape; /* of given scores: one feature, n_values values */
    size_t n_ranges, n_nodes, n_fragments, n_rows;
    range *ranges;       /* global rows, sorted */
    uhn_node **nodes;    /* sorted by where they begin */
    fragment *fragments; /* sorted by first */
    uhn_candidates *lists;
    int64_t *rows; /* sorted; the values of */
    char *row_values;
};

static uhn_partial *partial_new(uhn_dtype dtype, const uhn_equation *equation, size_t n_queries,
                                size_t n_values) {
    uhn_partial *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->dtype = dtype;
    p->n_queries = n_queries;
    p->n_values = n_values;
    p->equation = *equation;
    /* Scores and a caller's own weights are made already when a partial meets another. */
    p->equation.score = NULL;
    p->equation.weigh = NULL;
    p->shape = uhn_shape_of(&p->equation, dtype, 1, n_values);
    p->shape.similarity = (uhn_similarity_plan){0};
    p->shape.project = n_values > 0;
    p->shape.lagrangian = n_values == 0;
    if (!uhn_keeps_sums(&p->shape.separation)) {
        p->lists = malloc(UHN_MAX(n_queries, (size_t)1) * sizeof *p->lists);
        if (!p->lists) {
            free(p);
            return NULL;
        }
        for (size_t i = 0; i < n_queries; i++) uhn_candidates_init(&p->lists[i]);
    }
    return p;
}

static void node_free(uhn_node *node) { uhn_forest_free(&(uhn_forest){.last = node}); }

void uhn_partial_free(uhn_partial *p) {
    if (!p) return;
    for (size_t i = 0; i < p->n_nodes; i++) node_free(p->nodes[i]);
    for (size_t i = 0; i < p->n_fragments; i++) {
        free(p->fragments[i].scores);
        free(p->fragments[i].values);
        free(p->fragments[i].prior);
    }
    for (size_t i = 0; p->lists && i < p->n_queries; i++) uhn_candidates_free(&p->lists[i]);
    free(p->lists);
    free(p->ranges);
    free(p->nodes);
    free(p->fragments);
    free(p->rows);
    free(p->row_values);
    free(p);
}

uhn_dtype uhn_partial_dtype(const uhn_partial *p) { return p->dtype; }
size_t uhn_partial_n_queries(const uhn_partial *p) { return p->n_queries; }
size_t uhn_partial_n_values(const uhn_partial *p) { return p->n_values; }

size_t uhn_partial_n_patterns(const uhn_partial *p) {
    size_t n = 0;
    for (size_t i = 0; i < p->n_ranges; i++)
        n += (size_t)(p->ranges[i].stop - p->ranges[i].start);
    return n;
}

/* ---------------------------------------------------------------------------------- small arrays */

/* Room for one more element at the end of an array of n; NULL if out of memory, the array kept. */
static void *grow(void *array, size_t n, size_t size) { return realloc(array, (n + 1) * size); }

static bool add_node(uhn_partial *p, uhn_node *node) {
    uhn_node **nodes = node ? grow(p->nodes, p->n_nodes, sizeof *nodes) : NULL;
    if (!nodes) {
        if (node) node_free(node);
        return false;
    }
    p->nodes = nodes;
    node->below = NULL;
    nodes[p->n_nodes++] = node;
    return true;
}

static bool add_range(uhn_partial *p, uint64_t start, uint64_t stop) {
    if (start == stop) return true;
    range *ranges = grow(p->ranges, p->n_ranges, sizeof *ranges);
    if (!ranges) return false;
    p->ranges = ranges;
    ranges[p->n_ranges++] = (range){start, stop};
    return true;
}

/* A new fragment with room for its rows, at the end; NULL if out of memory. */
static fragment *add_fragment(uhn_partial *p, size_t first, size_t n_rows) {
    const size_t size = p->shape.size;
    fragment *fragments = grow(p->fragments, p->n_fragments, sizeof *fragments);
    if (!fragments) return NULL;
    p->fragments = fragments;
    fragment f = {.first = first,
                  .n_rows = n_rows,
                  .scores = uhn_alloc(p->n_queries, n_rows, size),
                  .values = uhn_alloc(n_rows, p->n_values, size),
                  .prior = uhn_alloc(n_rows, 1, size)};
    if (!f.scores || !f.values || !f.prior) {
        free(f.scores);
        free(f.values);
        free(f.prior);
        return NULL;
    }
    fragments[p->n_fragments] = f;
    return &fragments[p->n_fragments++];
}

static bool add_fragment_copy(uhn_partial *p, const fragment *from) {
    fragment *to = add_fragment(p, from->first, from->n_rows);
    if (!to) return false;
    const size_t size = p->shape.size;
    memcpy(to->scores, from->scores, p->n_queries * from->n_rows * size);
    memcpy(to->values, from->values, from->n_rows * p->n_values * size);
    memcpy(to->prior, from->prior, from->n_rows * size);
    return true;
}

static uhn_node *node_empty(const uhn_partial *p, unsigned level, size_t index) {
    return uhn_node_new(&p->shape, p->n_queries, level, index, &(uhn_forest){0});
}

/* Copies n queries of a node to their places in one that holds them all. */
static void node_write(const uhn_partial *p, const uhn_node *from, size_t first, size_t n,
                       uhn_node *to) {
    const size_t stride = p->shape.value_stride * p->shape.size;
    memcpy(to->top + first, from->top, n * sizeof *to->top);
    memcpy(to->reference + first, from->reference, n * sizeof *to->reference);
    memcpy(to->sum + first, from->sum, n * sizeof *to->sum);
    memcpy(to->lagrangian + first, from->lagrangian, n * sizeof *to->lagrangian);
    if (to->values) memcpy(to->values + first * stride, from->values, n * stride);
}

static uhn_node *node_copy(const uhn_partial *p, const uhn_node *from) {
    uhn_node *to = node_empty(p, from->level, from->index);
    if (to) node_write(p, from, 0, p->n_queries, to);
    return to;
}

/* A pass over blocks of queries leaves its nodes in the partial's. */
static uhn_status conclude_nodes(uhn_pass *pass, uhn_problem *problem, size_t first, size_t n,
                                 uhn_forest *forest) {
    (void)problem;
    uhn_partial *p = pass->context;
    for (const uhn_node *node = forest->last; node; node = node->below)
        for (size_t i = 0; i < p->n_nodes; i++)
            if (p->nodes[i]->level == node->level && p->nodes[i]->index == node->index)
                node_write(p, node, first, n, p->nodes[i]);
    return UHN_OK;
}

/* Fragments [i, j) of one block as a node; rows that are missing have no weight. */
static uhn_status reduce(const uhn_partial *p, size_t i, size_t j, uhn_node **out,
                         uhn_error *error) {
    const size_t size = p->shape.size, bytes = p->n_values * size;
    const size_t first = p->fragments[i].first;
    const size_t n = p->fragments[j - 1].first + p->fragments[j - 1].n_rows - first;
    uhn_node *node = node_empty(p, 0, first / UHN_BLOCK);
    char *scores = uhn_alloc(p->n_queries, n, size), *values = uhn_alloc(n, bytes, 1);
    char *prior = uhn_alloc(n, 1, size);
    uhn_list *list = uhn_list_borrow(NULL, values, n);
    uhn_status status = UHN_OK;
    if (!node || !scores || !values || !prior || !list) {
        status = uhn_no_memory(error);
    } else {
        for (size_t k = 0; k < p->n_queries * n; k++) {
            if (p->dtype == UHN_FLOAT32) ((float *)scores)[k] = -INFINITY;
            else ((double *)scores)[k] = -INFINITY;
        }
        memset(values, 0, n * bytes);
        memset(prior, 0, n * size);
        for (; i < j; i++) {
            const fragment *f = &p->fragments[i];
            const size_t at = f->first - first;
            for (size_t q = 0; q < p->n_queries; q++)
                memcpy(scores + (q * n + at) * size, f->scores + q * f->n_rows * size,
                       f->n_rows * size);
            memcpy(values + at * bytes, f->values, f->n_rows * bytes);
            memcpy(prior + at * size, f->prior, f->n_rows * size);
        }
        bool ones = true;
        for (size_t r = 0; r < n; r++)
            ones &= (p->dtype == UHN_FLOAT32 ? (double)((float *)prior)[r]
                                             : ((double *)prior)[r]) == 1;
        list->prior = ones ? NULL : prior;
        uhn_partial holder = {.n_nodes = 1,
                              .nodes = &node,
                              .n_queries = p->n_queries,
                              .shape = p->shape};
        uhn_equation equation = p->equation;
        equation.similarity = UHN_SIM_dot;
        /* A caller's own weights are made; they are added up as they are. */
        if (equation.separation == UHN_SEP_custom) equation.separation = UHN_SEP_identity;
        uhn_problem problem = {.list = list,
                               .first_row = first,
                               .stop = n,
                               .n_queries = p->n_queries,
                               .given = scores};
        uhn_pass pass = {.shape = p->shape,
                         .problems = &problem,
                         .n_problems = 1,
                         .error = error,
                         .conclude = conclude_nodes,
                         .context = &holder};
        pass.shape.equation = &equation;
        status = uhn_pass_sums(&pass);
    }
    uhn_list_release(list);
    free(scores);
    free(values);
    free(prior);
    if (status == UHN_OK) *out = node;
    else if (node) node_free(node);
    return status;
}

/* ------------------------------------------------------------------------------------------- new */

/* Scores and values of rows [start, stop) of the list, inside one block, as a fragment. */
static uhn_status make_fragment(uhn_partial *p, uhn_pass *pass, uhn_problem *problem,
                                size_t start, size_t stop) {
    const size_t n = stop - start, size = p->shape.size, bytes = p->n_values * size;
    fragment *f = add_fragment(p, problem->first_row + start, n);
    if (!f) return uhn_no_memory(pass->error);
    uhn_problem rows = *problem;
    rows.start = start;
    rows.stop = stop;
    rows.out = f->scores;
    pass->problems = &rows;
    const uhn_status status = uhn_pass_scores(pass);
    pass->problems = problem;
    if (status != UHN_OK) return status;
    const uhn_equation *e = pass->shape.equation;
    for (size_t done = 0; e->separation == UHN_SEP_custom && done < n;) {
        /* A tile at a time, through a buffer of its own shape. */
        const size_t m = UHN_MIN(n - done, (size_t)UHN_TILE);
        char *tile = uhn_alloc(p->n_queries, m, size);
        if (!tile) return uhn_no_memory(pass->error);
        for (size_t i = 0; i < p->n_queries; i++)
            memcpy(tile + i * m * size, f->scores + (i * n + done) * size, m * size);
        const int failed = e->weigh(e->weigh_context, f->first + done, m, p->n_queries, tile);
        for (size_t i = 0; i < p->n_queries; i++)
            for (size_t r = 0; r < m; r++) {
                const size_t at = i * n + done + r;
                const bool silent =
                    p->shape.missing && uhn_get(p->dtype, f->scores, at) == -INFINITY;
                uhn_put(p->dtype, f->scores, at,
                        silent ? -INFINITY : uhn_get(p->dtype, tile, i * m + r));
            }
        free(tile);
        if (failed)
            return uhn_fail(pass->error, UHN_CALLBACK, "%s", uhn_status_string(UHN_CALLBACK));
        done += m;
    }
    const uhn_rows_context context = {problem->list, problem->first_row, bytes, 0};
    for (size_t r = 0; r < n; r++)
        memcpy(f->values + r * bytes, uhn_list_row(&context, (int64_t)(f->first + r)), bytes);
    uhn_list_priors(problem->list, p->dtype, start, n, f->prior);
    return UHN_OK;
}

/* Weighs the last fragment once, for nothing but the errors: a score outside the domain of its
 * separation is told to whoever asked, not to whoever finishes or merges the partial later. */
static uhn_status try_last(uhn_partial *p, uhn_error *error) {
    if (p->equation.separation != UHN_SEP_sqrt && p->equation.separation != UHN_SEP_log1p &&
        !p->shape.separation.non_negative)
        return UHN_OK;
    uhn_node *node = NULL;
    const uhn_status status = reduce(p, p->n_fragments - 1, p->n_fragments, &node, error);
    if (node) node_free(node);
    return status;
}

static uhn_status new_sums(uhn_partial *p, uhn_pass *pass, uhn_problem *problem) {
    const size_t begin = problem->first_row;
    const size_t low = begin + problem->start, high = begin + problem->stop;
    /* Whole blocks are [first, last). */
    const size_t first = (low + UHN_BLOCK - 1) / UHN_BLOCK, last = high / UHN_BLOCK;
    uhn_status status = UHN_OK;
    if (first < last) {
        for (size_t b = first; b < last;) {
            unsigned level = 0;
            while (b % ((size_t)2 << level) == 0 && b + ((size_t)2 << level) <= last) level++;
            if (!add_node(p, node_empty(p, level, b >> level)))
                return uhn_no_memory(pass->error);
            b += (size_t)1 << level;
        }
        uhn_problem rows = *problem;
        rows.start = first * UHN_BLOCK - begin;
        rows.stop = last * UHN_BLOCK - begin;
        pass->problems = &rows;
        pass->conclude = conclude_nodes;
        pass->context = p;
        status = uhn_pass_sums(pass);
        pass->problems = problem;
    }
    /* The rows before and behind them, cut where a block ends. */
    for (size_t row = low; row < high && status == UHN_OK;) {
        const size_t end = UHN_MIN((row / UHN_BLOCK + 1) * UHN_BLOCK, high);
        if (end - row < UHN_BLOCK)
            status = make_fragment(p, pass, problem, row - begin, end - begin);
        if (end - row < UHN_BLOCK && status == UHN_OK) status = try_last(p, pass->error);
        row = end;
    }
    return status;
}

static int by_index(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static const void *partial_row(const void *context, int64_t index) {
    const uhn_partial *p = context;
    if (p->n_rows == 0) return NULL;
    const int64_t *at = bsearch(&index, p->rows, p->n_rows, sizeof *p->rows, by_index);
    return at ? p->row_values + (size_t)(at - p->rows) * p->n_values * p->shape.size : NULL;
}

/* Fills rows and row_values with what the lists name; `row` knows the values. */
static uhn_status keep_rows(uhn_partial *p, uhn_row_fn row, const void *context,
                            uhn_error *error) {
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < p->n_queries; i++) {
        uhn_candidates_sort(&p->shape.separation, &p->lists[i]);
        n += p->lists[i].n;
    }
    if (p->n_values == 0) return UHN_OK;
    p->rows = uhn_alloc(n, 1, sizeof *p->rows);
    if (!p->rows) return uhn_no_memory(error);
    n = 0;
    for (size_t i = 0; i < p->n_queries; i++)
        for (size_t j = 0; j < p->lists[i].n; j++) p->rows[n++] = p->lists[i].items[j].index;
    if (n) qsort(p->rows, n, sizeof *p->rows, by_index);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || p->rows[i] != p->rows[kept - 1]) p->rows[kept++] = p->rows[i];
    const size_t bytes = p->n_values * p->shape.size;
    p->row_values = uhn_alloc(kept, bytes, 1);
    if (!p->row_values) return uhn_no_memory(error);
    for (size_t i = 0; i < kept; i++)
        memcpy(p->row_values + i * bytes, row(context, p->rows[i]), bytes);
    p->n_rows = kept;
    return UHN_OK;
}

uhn_status uhn_partial_new(const uhn_memory *memory, const uhn_equation *equation,
                           const void *queries, size_t n_queries, size_t start, size_t stop,
                           const uhn_run *run, uhn_partial **out, uhn_error *error) {
    return uhn_partial_for(UHN_FOR_ANSWERS, memory, equation, queries, n_queries, start, stop,
                           NULL, run, out, error);
}

uhn_status uhn_partial_for(uhn_purpose purpose, const uhn_memory *memory,
                           const uhn_equation *equation, const void *queries, size_t n_queries,
                           size_t start, size_t stop, const double *score_sums,
                           const uhn_run *run, uhn_partial **out, uhn_error *error) {
    if (error) *error = (uhn_error){0};
    uhn_equation e = *equation, checked;
    uhn_status status = UHN_OK;
    if (purpose == UHN_FOR_ENERGIES) status = uhn_energy_check(memory, equation, error);
    if (status != UHN_OK) return status;
    if (purpose == UHN_FOR_ENERGIES) e.missing = false;
    if (purpose == UHN_FOR_NEAREST || purpose == UHN_FOR_SCORE_SUMS) {
        e.separation = UHN_SEP_identity;
        e.normalize = UHN_NORMALIZE_NONE;
        e.normalize_scores = false;
    }
    checked = e;
    if (purpose == UHN_FOR_NEAREST) e.separation = UHN_SEP_topk;
    if (score_sums) e.normalize_scores = checked.normalize_scores = false;
    uhn_list *list = uhn_memory_list(memory);
    uhn_partial *p = NULL;
    status = uhn_pass_check(memory, list, &checked, queries, n_queries, run, error);
    if (status == UHN_OK && e.normalize_scores)
        status = uhn_fail(
            error, UHN_BAD_PARAMETER,
            "a partial cannot normalize scores: their sum over all shards is not known yet");
    if (status == UHN_OK && list->missing_values && purpose == UHN_FOR_ANSWERS)
        status = uhn_fail(error, UHN_BAD_PARAMETER,
                          "a partial cannot be made of values with missing entries: which rows "
                          "answer for one is known only when all rows are there; ask the whole "
                          "memory, or fill the entries first");
    if (status == UHN_OK) status = uhn_equation_check(&e, error);
    if (status == UHN_OK && (start > stop || stop > list->n_rows))
        status = uhn_fail(error, UHN_BAD_SHAPE, "rows [%zu, %zu) are not within the %zu stored",
                          start, stop, list->n_rows);
    const bool bare = purpose != UHN_FOR_ANSWERS;
    if (status == UHN_OK) {
        p = partial_new(memory->dtype, &e, n_queries, bare ? 0 : memory->n_values);
        if (!p || !add_range(p, memory->first_row + start, memory->first_row + stop))
            status = uhn_no_memory(error);
    }
    if (status == UHN_OK && start < stop && n_queries) {
        uhn_problem problem = {.list = list,
                               .first_row = memory->first_row,
                               .start = start,
                               .stop = stop,
                               .queries = queries,
                               .n_queries = n_queries,
                               .score_sums = score_sums,
                               .look = memory};
        uhn_pass pass = {.shape = uhn_shape_of(&e, memory->dtype, memory->n_features,
                                               memory->n_values),
                         .problems = &problem,
                         .n_problems = 1,
                         .run = run,
                         .error = error};
        pass.shape.missing |= list->missing;
        p->shape.missing |= list->missing;
        pass.shape.project = !bare;
        pass.shape.lagrangian = bare;
        if (purpose == UHN_FOR_SCORE_SUMS)
            pass.shape.separation.non_negative = p->shape.separation.non_negative = true;
        if (p->lists) {
            const uhn_rows_context context = {list, memory->first_row,
                                              memory->n_values * p->shape.size, 0};
            status = uhn_pass_candidates(&pass, p->lists);
            if (status == UHN_OK) status = keep_rows(p, uhn_list_row, &context, error);
        } else {
            status = new_sums(p, &pass, &problem);
        }
    }
    uhn_list_release(list);
    if (status != UHN_OK) uhn_partial_free(p);
    else *out = p;
    return status;
}

/* ----------------------------------------------------------------------------------------- merge */

static bool same_equation(const uhn_equation *a, const uhn_equation *b) {
    return a->similarity == b->similarity && a->transform == b->transform && a->eps == b->eps &&
           a->gamma == b->gamma && a->separation == b->separation &&
           a->normalize == b->normalize && a->beta == b->beta && a->degree == b->degree &&
           a->theta == b->theta && a->alpha == b->alpha && a->k == b->k;
}

static int by_start(const void *a_, const void *b_) {
    const range *a = a_, *b = b_;
    return a->start < b->start ? -1 : a->start > b->start;
}

static uint64_t node_start(const uhn_node *node) {
    return (uint64_t)node->index << node->level;
}

static int by_node_start(const void *a, const void *b) {
    const uint64_t x = node_start(*(uhn_node *const *)a), y = node_start(*(uhn_node *const *)b);
    return x < y ? -1 : x > y;
}

static int by_first(const void *a_, const void *b_) {
    const fragment *a = a_, *b = b_;
    return a->first < b->first ? -1 : a->first > b->first;
}

/* Where the fragments of the block of fragment i end, and whether all its rows are among them. */
static size_t fragments_of_block(const uhn_partial *p, size_t i, bool *whole) {
    const size_t block = p->fragments[i].first / UHN_BLOCK;
    size_t j = i, n_rows = 0;
    for (; j < p->n_fragments && p->fragments[j].first / UHN_BLOCK == block; j++)
        n_rows += p->fragments[j].n_rows;
    *whole = n_rows == UHN_BLOCK;
    return j;
}

static uhn_status merge_sums(uhn_partial *all, const uhn_partial *const *parts, size_t n_parts,
                             uhn_error *error) {
    for (size_t i = 0; i < n_parts; i++) {
        for (size_t j = 0; j < parts[i]->n_nodes; j++)
            if (!add_node(all, node_copy(all, parts[i]->nodes[j]))) return uhn_no_memory(error);
        for (size_t j = 0; j < parts[i]->n_fragments; j++)
            if (!add_fragment_copy(all, &parts[i]->fragments[j])) return uhn_no_memory(error);
    }
    if (all->n_fragments)
        qsort(all->fragments, all->n_fragments, sizeof *all->fragments, by_first);
    size_t kept = 0, n_fragments = all->n_fragments;
    for (size_t i = 0; i < n_fragments;) {
        bool whole;
        const size_t j = fragments_of_block(all, i, &whole);
        uhn_node *node = NULL;
        uhn_status status = whole ? reduce(all, i, j, &node, error) : UHN_OK;
        if (whole && status == UHN_OK && !add_node(all, node)) status = uhn_no_memory(error);
        if (status != UHN_OK) {
            /* Those before i have moved down; nothing may be freed twice. */
            memmove(all->fragments + kept, all->fragments + i,
                    (n_fragments - i) * sizeof(fragment));
            all->n_fragments = kept + n_fragments - i;
            return status;
        }
        for (; i < j; i++) {
            if (whole) {
                free(all->fragments[i].scores);
                free(all->fragments[i].values);
                free(all->fragments[i].prior);
            } else {
                all->fragments[kept++] = all->fragments[i];
            }
        }
    }
    all->n_fragments = kept;
    if (all->n_nodes == 0) return UHN_OK;
    qsort(all->nodes, all->n_nodes, sizeof *all->nodes, by_node_start);
    uhn_forest forest = {0};
    for (size_t i = 0; i < all->n_nodes; i++)
        uhn_forest_push(&all->shape, all->n_queries, &forest, all->nodes[i]);
    all->n_nodes = 0;
    for (const uhn_node *node = forest.last; node; node = node->below) all->n_nodes++;
    for (size_t i = all->n_nodes; forest.last; i--) {
        all->nodes[i - 1] = forest.last;
        forest.last = forest.last->below;
        all->nodes[i - 1]->below = NULL;
    }
    uhn_forest_free(&forest);
    return UHN_OK;
}

typedef struct parts_context {
    const uhn_partial *const *parts;
    size_t n_parts;
} parts_context;

static const void *parts_row(const void *context, int64_t index) {
    const parts_context *c = context;
    const void *row = NULL;
    for (size_t i = 0; i < c->n_parts && !row; i++) row = partial_row(c->parts[i], index);
    return row;
}

uhn_status uhn_partial_merge(const uhn_partial *const *parts, size_t n_parts, uhn_partial **out,
                             uhn_error *error) {
    if (error) *error = (uhn_error){0};
    if (n_parts < 1) return uhn_fail(error, UHN_BAD_SHAPE, "there are no parts to merge");
    const uhn_partial *one = parts[0];
    for (size_t i = 1; i < n_parts; i++) {
        const uhn_partial *p = parts[i];
        if (p->dtype != one->dtype || p->n_queries != one->n_queries ||
            p->n_values != one->n_values)
            return uhn_fail(
                error, UHN_MISMATCH,
                "parts[%zu] is of %zu queries and %zu values in float%d, parts[0] of %zu and "
                "%zu in float%d",
                i, p->n_queries, p->n_values, p->dtype == UHN_FLOAT32 ? 32 : 64, one->n_queries,
                one->n_values, one->dtype == UHN_FLOAT32 ? 32 : 64);
        if (!same_equation(&p->equation, &one->equation))
            return uhn_fail(
                error, UHN_MISMATCH,
                "parts[%zu] has another similarity, separation or parameter than parts[0]", i);
    }
    uhn_partial *all = partial_new(one->dtype, &one->equation, one->n_queries, one->n_values);
    if (!all) return uhn_no_memory(error);
    uhn_status status = UHN_OK;
    for (size_t i = 0; i < n_parts; i++)
        for (size_t j = 0; j < parts[i]->n_ranges; j++)
            if (!add_range(all, parts[i]->ranges[j].start, parts[i]->ranges[j].stop))
                status = uhn_no_memory(error);
    if (status == UHN_OK && all->n_ranges) {
        qsort(all->ranges, all->n_ranges, sizeof *all->ranges, by_start);
        size_t kept = 1;
        for (size_t i = 1; i < all->n_ranges && status == UHN_OK; i++) {
            const range r = all->ranges[i];
            if (r.start < all->ranges[kept - 1].stop)
                status = uhn_fail(
                    error, UHN_MISMATCH,
                    "row %llu is in more than one part; give each shard its own first_row",
                    (unsigned long long)r.start);
            else if (r.start == all->ranges[kept - 1].stop) all->ranges[kept - 1].stop = r.stop;
            else all->ranges[kept++] = r;
        }
        if (status == UHN_OK) all->n_ranges = kept;
    }
    if (status == UHN_OK && all->lists) {
        for (size_t i = 0; i < n_parts && status == UHN_OK; i++)
            for (size_t q = 0; q < all->n_queries && status == UHN_OK; q++)
                status = uhn_candidates_merge(&all->shape.separation, &all->lists[q],
                                              parts[i]->lists[q].items, parts[i]->lists[q].n);
        if (status == UHN_OK)
            status = keep_rows(all, parts_row, &(parts_context){parts, n_parts}, error);
        else uhn_no_memory(error);
    } else if (status == UHN_OK) {
        status = merge_sums(all, parts, n_parts, error);
    }
    for (size_t i = 0; i < n_parts; i++) all->shape.missing |= parts[i]->shape.missing;
    if (status != UHN_OK) uhn_partial_free(all);
    else *out = all;
    return status;
}

/* ---------------------------------------------------------------------------------------- finish */

/* The list of one query, sorted: finishing sorts, and a partial does not change. */
static uhn_status sorted_list(const uhn_partial *p, size_t query, uhn_candidates *list,
                              uhn_error *error) {
    uhn_candidates_init(list);
    if (uhn_candidates_merge(&p->shape.separation, list, p->lists[query].items,
                             p->lists[query].n) != UHN_OK)
        return uhn_no_memory(error);
    uhn_candidates_sort(&p->shape.separation, list);
    return UHN_OK;
}

/* One node of all that is here, nodes and what fragments there are in the order of their blocks; it
 * belongs to the forest. NULL if there is nothing. */
static uhn_status fold(const uhn_partial *p, uhn_forest *forest, const uhn_node **out,
                       uhn_error *error) {
    uhn_status status = UHN_OK;
    for (size_t n = 0, f = 0; (n < p->n_nodes || f < p->n_fragments) && status == UHN_OK;) {
        uhn_node *node = NULL;
        if (f == p->n_fragments ||
            (n < p->n_nodes && node_start(p->nodes[n]) < p->fragments[f].first / UHN_BLOCK)) {
            node = node_copy(p, p->nodes[n++]);
            if (!node) status = uhn_no_memory(error);
        } else {
            bool whole;
            const size_t end = fragments_of_block(p, f, &whole);
            status = reduce(p, f, end, &node, error);
            f = end;
        }
        if (status == UHN_OK) uhn_forest_push(&p->shape, p->n_queries, forest, node);
    }
    *out = status == UHN_OK ? uhn_forest_fold(&p->shape, p->n_queries, forest) : NULL;
    return status;
}

/* What every way of finishing asks first. */
static uhn_status check_finish(const uhn_partial *p, bool values, uhn_error *error) {
    if (error) *error = (uhn_error){0};
    if ((p->n_values > 0) != values)
        return uhn_fail(error, UHN_MISMATCH, "this partial was made for %s",
                        values ? "a question that needs no values" : "answers");
    if (uhn_partial_n_patterns(p) == 0)
        return uhn_fail(error, UHN_EMPTY,
                        "the partial holds no rows; merge it with others first");
    return UHN_OK;
}

/* Answers or Lagrangians of every query, where not NULL. */
static uhn_status conclude(const uhn_partial *p, void *out, uint8_t *answered,
                           double *lagrangians, uhn_error *error) {
    uhn_status status = UHN_OK;
    if (p->lists) {
        for (size_t q = 0; q < p->n_queries && status == UHN_OK; q++) {
            uhn_candidates list;
            status = sorted_list(p, q, &list, error);
            if (status == UHN_OK)
                status = uhn_candidates_finish(&p->shape, &list, partial_row, p, q, false, out,
                                               answered, lagrangians, error);
            uhn_candidates_free(&list);
        }
        return status;
    }
    uhn_forest forest = {0};
    const uhn_node *node;
    status = fold(p, &forest, &node, error);
    for (size_t i = 0; lagrangians && status == UHN_OK && i < p->n_queries; i++)
        lagrangians[i] = node ? uhn_lagrangian(&p->shape.separation, node->reference[i],
                                               node->sum[i], node->lagrangian[i])
                              : 0;
    if (status == UHN_OK && out)
        status = uhn_node_finish(&p->shape, node, p->n_queries, 0, false, out, answered, error);
    uhn_forest_free(&forest);
    return status;
}

uhn_status uhn_partial_finish(const uhn_partial *p, void *out, uint8_t *answered,
                              uhn_error *error) {
    const uhn_status status = check_finish(p, true, error);
    return status == UHN_OK ? conclude(p, out, answered, NULL, error) : status;
}

uhn_status uhn_partial_energies(const uhn_partial *p, const void *states, size_t n_features,
                                double *out, uhn_error *error) {
    uhn_status status = check_finish(p, false, error);
    if (status == UHN_OK) status = conclude(p, NULL, NULL, out, error);
    if (status != UHN_OK) return status;
    return uhn_energies_of(p->dtype, &p->equation, states, p->n_queries, n_features, out,
                           error);
}

uhn_status uhn_partial_nearest(const uhn_partial *p, int64_t *indices, void *scores,
                               uhn_error *error) {
    uhn_status status = check_finish(p, false, error);
    const size_t k = p->equation.k;
    if (status == UHN_OK && p->equation.separation != UHN_SEP_topk)
        return uhn_fail(error, UHN_MISMATCH, "this partial does not hold the nearest patterns");
    for (size_t q = 0; q < p->n_queries && status == UHN_OK; q++) {
        uhn_candidates list;
        status = sorted_list(p, q, &list, error);
        if (status == UHN_OK && list.n < k)
            status =
                uhn_fail(error, UHN_OVERFLOW,
                         "scores of query %zu are not numbers: the similarity overflows", q);
        for (size_t j = 0; j < k && status == UHN_OK; j++) {
            indices[q * k + j] = list.items[j].index;
            uhn_put(p->dtype, scores, q * k + j, list.items[j].score);
        }
        uhn_candidates_free(&list);
    }
    return status;
}

size_t uhn_partial_k(const uhn_partial *p) { return p->equation.k; }

uhn_status uhn_partial_score_sums(const uhn_partial *p, double *out, uhn_error *error) {
    uhn_status status = check_finish(p, false, error);
    if (status == UHN_OK && p->equation.separation != UHN_SEP_identity)
        status = uhn_fail(error, UHN_MISMATCH, "this partial does not hold sums of scores");
    uhn_forest forest = {0};
    const uhn_node *node = NULL;
    if (status == UHN_OK) status = fold(p, &forest, &node, error);
    for (size_t i = 0; status == UHN_OK && i < p->n_queries; i++)
        out[i] = uhn_score_sum(node ? node->reference[i] : -INFINITY, node ? node->sum[i] : 0);
    uhn_forest_free(&forest);
    return status;
}

/* ------------------------------------------------------------------------------------- wire form */

typedef struct wire_header {
    char magic[8];
    uint32_t version, dtype, similarity, transform, separation, normalize;
    double eps, gamma, beta, degree, theta, alpha;
    uint64_t k, missing, n_queries, n_values, n_ranges, n_nodes, n_fragments, n_rows;
} wire_header;

static const char MAGIC[8] = "uhnpart";
enum { VERSION = 2 };

/* Writes when there is a buffer, and counts in any case. */
typedef struct wire {
    char *buffer;
    size_t at;
} wire;

static void wire_put(wire *w, const void *data, size_t n) {
    if (w->buffer && n) memcpy(w->buffer + w->at, data, n);
    w->at += n;
}

static void wire_all(const uhn_partial *p, wire *w) {
    const size_t size = p->shape.size, row = p->n_values * size;
    wire_header h;
    memset(&h, 0, sizeof h);
    const uhn_equation *e = &p->equation;
    memcpy(h.magic, MAGIC, sizeof h.magic);
    h.version = VERSION;
    h.dtype = p->dtype;
    h.similarity = e->similarity;
    h.transform = e->transform;
    h.separation = e->separation;
    h.normalize = e->normalize;
    h.eps = e->eps;
    h.gamma = e->gamma;
    h.beta = e->beta;
    h.degree = e->degree;
    h.theta = e->theta;
    h.alpha = e->alpha;
    h.k = e->k;
    h.missing = p->shape.missing;
    h.n_queries = p->n_queries;
    h.n_values = p->n_values;
    h.n_ranges = p->n_ranges;
    h.n_nodes = p->n_nodes;
    h.n_fragments = p->n_fragments;
    h.n_rows = p->n_rows;
    wire_put(w, &h, sizeof h);
    wire_put(w, p->ranges, p->n_ranges * sizeof *p->ranges);
    for (size_t i = 0; i < p->n_nodes; i++) {
        const uhn_node *node = p->nodes[i];
        const uint64_t place[2] = {node->level, node->index};
        wire_put(w, place, sizeof place);
        wire_put(w, node->top, p->n_queries * sizeof *node->top);
        wire_put(w, node->reference, p->n_queries * sizeof *node->reference);
        wire_put(w, node->sum, p->n_queries * sizeof *node->sum);
        if (p->shape.lagrangian)
            wire_put(w, node->lagrangian, p->n_queries * sizeof *node->lagrangian);
        for (size_t q = 0; q < p->n_queries; q++)
            wire_put(w, node->values + q * p->shape.value_stride * size, row);
    }
    for (size_t i = 0; i < p->n_fragments; i++) {
        const fragment *f = &p->fragments[i];
        const uint64_t place[2] = {f->first, f->n_rows};
        wire_put(w, place, sizeof place);
        wire_put(w, f->scores, p->n_queries * f->n_rows * size);
        wire_put(w, f->values, f->n_rows * row);
        wire_put(w, f->prior, f->n_rows * size);
    }
    for (size_t q = 0; p->lists && q < p->n_queries; q++) {
        const uint64_t n = p->lists[q].n;
        wire_put(w, &n, sizeof n);
        wire_put(w, p->lists[q].items, n * sizeof *p->lists[q].items);
    }
    wire_put(w, p->rows, p->n_rows * sizeof *p->rows);
    wire_put(w, p->row_values, p->n_rows * row);
}

size_t uhn_partial_wire_size(const uhn_partial *p) {
    wire w = {0};
    wire_all(p, &w);
    return w.at;
}

void uhn_partial_write(const uhn_partial *p, void *buffer) {
    wire_all(p, &(wire){.buffer = buffer});
}

typedef struct reader {
    const char *at;
    size_t left;
    bool no_memory; /* why a false was returned */
} reader;

static bool out_of_memory(reader *r) {
    r->no_memory = true;
    return false;
}

/* Copies n x size bytes; false if there are not so many. */
static bool take(reader *r, void *to, size_t n, size_t size) {
    size_t bytes;
    if (!uhn_mul(n, size, 1, &bytes) || bytes > r->left) return false;
    if (bytes) memcpy(to, r->at, bytes);
    r->at += bytes;
    r->left -= bytes;
    return true;
}

/* True if n x size bytes are still to come: asked before anything of that size is allocated. */
static bool holds(const reader *r, uint64_t n, size_t size) {
    size_t bytes;
    return n <= SIZE_MAX / 2 && uhn_mul((size_t)n, size, 1, &bytes) && bytes <= r->left;
}

static bool read_node(uhn_partial *p, reader *r, uint64_t *end) {
    uint64_t place[2];
    if (!take(r, place, 2, sizeof *place) || place[0] > 40 ||
        place[1] > UINT64_MAX >> 20 >> place[0] || place[1] << place[0] < *end)
        return false;
    *end = (place[1] + 1) << place[0];
    const size_t row = p->n_values * p->shape.size;
    const size_t doubles = p->shape.lagrangian ? 4 : 3;
    if (!holds(r, p->n_queries, doubles * sizeof(double) + row)) return false;
    uhn_node *node = node_empty(p, (unsigned)place[0], (size_t)place[1]);
    if (!add_node(p, node)) return out_of_memory(r);
    bool good =
        take(r, node->top, p->n_queries, sizeof(double)) &&
        take(r, node->reference, p->n_queries, sizeof(double)) &&
        take(r, node->sum, p->n_queries, sizeof(double)) &&
        (!p->shape.lagrangian || take(r, node->lagrangian, p->n_queries, sizeof(double)));
    for (size_t q = 0; good && q < p->n_queries; q++)
        good = take(r, node->values + q * p->shape.value_stride * p->shape.size, row, 1);
    return good;
}

static bool read_fragment(uhn_partial *p, reader *r, uint64_t *end) {
    uint64_t place[2];
    if (!take(r, place, 2, sizeof *place) || place[0] < *end || place[0] > INT64_MAX / 2 ||
        place[1] < 1 || place[1] > UHN_BLOCK ||
        place[0] / UHN_BLOCK != (place[0] + place[1] - 1) / UHN_BLOCK)
        return false;
    *end = place[0] + place[1];
    const size_t size = p->shape.size, n = (size_t)place[1];
    if (!holds(r, n, (p->n_queries + p->n_values + 1) * size)) return false;
    fragment *f = add_fragment(p, (size_t)place[0], n);
    if (!f) return out_of_memory(r);
    return take(r, f->scores, p->n_queries * n, size) &&
           take(r, f->values, n * p->n_values, size) && take(r, f->prior, n, size);
}

static bool read_list(uhn_partial *p, reader *r, size_t query) {
    uint64_t n;
    if (!take(r, &n, 1, sizeof n) || !holds(r, n, sizeof(uhn_candidate))) return false;
    uhn_candidate *items = uhn_alloc((size_t)n, 1, sizeof *items);
    if (!items) return out_of_memory(r);
    const bool good = take(r, items, (size_t)n, sizeof *items);
    if (good && uhn_candidates_merge(&p->shape.separation, &p->lists[query], items,
                                     (size_t)n) != UHN_OK)
        r->no_memory = true;
    free(items);
    return good && !r->no_memory;
}

static bool read_rows(uhn_partial *p, reader *r, uint64_t n) {
    const size_t row = p->n_values * p->shape.size;
    if (!holds(r, n, sizeof *p->rows + row)) return false;
    p->rows = uhn_alloc((size_t)n, 1, sizeof *p->rows);
    p->row_values = uhn_alloc((size_t)n, row, 1);
    p->n_rows = (size_t)n;
    if (!p->rows || !p->row_values) return out_of_memory(r);
    if (!take(r, p->rows, p->n_rows, sizeof *p->rows) ||
        !take(r, p->row_values, p->n_rows, row))
        return false;
    for (size_t i = 1; i < p->n_rows; i++)
        if (p->rows[i] <= p->rows[i - 1]) return false;
    for (size_t q = 0; p->lists && q < p->n_queries; q++)
        for (size_t j = 0; j < p->lists[q].n; j++) {
            const uhn_candidate *c = &p->lists[q].items[j];
            if ((p->n_values && !partial_row(p, c->index)) || isnan(c->score) ||
                !(c->prior > 0))
                return false;
        }
    return true;
}

static bool read_all(uhn_partial *p, reader *r, const wire_header *h) {
    uint64_t end = 0;
    if (!holds(r, h->n_ranges, sizeof(range))) return false;
    for (uint64_t i = 0; i < h->n_ranges; i++) {
        range x;
        if (!take(r, &x, 1, sizeof x) || x.start < end || x.stop <= x.start ||
            x.stop > INT64_MAX / 2)
            return false;
        if (!add_range(p, x.start, x.stop)) return out_of_memory(r);
        end = x.stop;
    }
    if (p->lists && (h->n_nodes || h->n_fragments)) return false;
    end = 0;
    for (uint64_t i = 0; i < h->n_nodes; i++)
        if (!read_node(p, r, &end)) return false;
    end = 0;
    for (uint64_t i = 0; i < h->n_fragments; i++)
        if (!read_fragment(p, r, &end)) return false;
    for (size_t q = 0; p->lists && q < p->n_queries; q++)
        if (!read_list(p, r, q)) return false;
    return read_rows(p, r, h->n_rows) && r->left == 0;
}

uhn_status uhn_partial_read(const void *buffer, size_t n_bytes, uhn_partial **out,
                            uhn_error *error) {
    wire_header h;
    reader r = {.at = buffer, .left = n_bytes};
    if (error) *error = (uhn_error){0};
    if (!take(&r, &h, 1, sizeof h) || memcmp(h.magic, MAGIC, sizeof h.magic) != 0)
        return uhn_fail(error, UHN_BAD_DATA,
                        "this is not a partial, or only the beginning of one");
    if (h.version != VERSION)
        return uhn_fail(error, UHN_BAD_DATA,
                        "this partial has version %u; this library reads version %d",
                        (unsigned)h.version, VERSION);
    uhn_equation e = uhn_equation_default();
    e.similarity = (uhn_similarity)h.similarity;
    e.transform = (uhn_transform)h.transform;
    e.separation = (uhn_separation)h.separation;
    e.normalize = (uhn_normalize)h.normalize;
    e.eps = h.eps;
    e.gamma = h.gamma;
    e.beta = h.beta;
    e.degree = h.degree;
    e.theta = h.theta;
    e.alpha = h.alpha;
    e.k = (size_t)h.k;
    e.missing = h.missing != 0;
    uhn_equation built_in = e;
    if (e.similarity == UHN_SIM_custom) built_in.similarity = UHN_SIM_dot;
    if (e.separation == UHN_SEP_custom) {
        built_in.separation = UHN_SEP_identity;
    }
    size_t bytes;
    if ((h.dtype != UHN_FLOAT32 && h.dtype != UHN_FLOAT64) ||
        uhn_equation_check(&built_in, NULL) ||
        !uhn_mul((size_t)h.n_queries, UHN_MAX((size_t)h.n_values, (size_t)1), 64, &bytes) ||
        /* Every query has bytes of its own, in nodes, fragments or lists, unless nothing is held. */
        (h.n_ranges && h.n_queries > r.left))
        return uhn_fail(error, UHN_BAD_DATA, "the header of this partial is damaged");
    if (h.n_ranges == 0 && h.n_queries > r.left + 4096)
        return uhn_fail(error, UHN_BAD_DATA, "the header of this partial is damaged");
    uhn_partial *p =
        partial_new((uhn_dtype)h.dtype, &e, (size_t)h.n_queries, (size_t)h.n_values);
    if (!p) return uhn_no_memory(error);
    if (!read_all(p, &r, &h)) {
        uhn_partial_free(p);
        if (r.no_memory) return uhn_no_memory(error);
        return uhn_fail(error, UHN_BAD_DATA, "this partial is damaged or cut short");
    }
    *out = p;
    return UHN_OK;
}
