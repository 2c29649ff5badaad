/*
 * retrieve.c - the calls of uhn.h that ask a memory something (layer 4).
 *
 * Each is one pass, or two where the first finds what the second divides by. Where values lack entries,
 * what the first pass left open is asked once more of the rows that know it.
 */
#include "retrieve.h"

#include "missing.h"

static uhn_status conclude_answers(uhn_pass *pass, uhn_problem *problem, size_t first, size_t n,
                                   uhn_forest *forest) {
    const uhn_node *node = uhn_forest_fold(&pass->shape, n, forest);
    uhn_error error = {0};
    for (size_t i = 0; problem->lagrangians && i < n; i++)
        problem->lagrangians[first + i] =
            node ? uhn_lagrangian(&pass->shape.separation, node->reference[i], node->sum[i],
                                  node->lagrangian[i])
                 : 0;
    for (size_t i = 0; problem->heard && i < n; i++)
        problem->heard[first + i] = uhn_node_heard(node, i);
    if (!problem->out) return UHN_OK;
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
    copy.shape.known = false;
    copy.context = &(sums_context){references, sums};
    copy.conclude = conclude_totals;
    return uhn_pass_sums(&copy);
}

double uhn_score_sum(double reference, double sum) {
    return reference == INFINITY ? -sum : sum;
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
    for (size_t i = 0; i < n; i++) sums[i] = uhn_score_sum(sums[n + i], sums[i]);
    *out = sums;
    return UHN_OK;
}

const void *uhn_list_row(const void *context, int64_t index) {
    const uhn_rows_context *rows = context;
    const size_t row = (size_t)index - rows->first_row;
    const uhn_span *span = uhn_list_span(rows->list, row);
    return span->chunk->values + uhn_span_at(span, row) * rows->bytes + rows->offset;
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
    const size_t width = problem->width ? problem->width : pass->shape.n_values;
    const uhn_rows_context rows = {problem->list, problem->first_row, width * pass->shape.size,
                                   problem->column * pass->shape.size};
    uhn_status status = uhn_loop_poll(loop, worker);
    if (status != UHN_OK) return status;
    uhn_error error = {0};
    status = uhn_candidates_finish(&pass->shape, &f->lists[task], uhn_list_row, &rows,
                                   task % n_queries, pass->empty_is_zero, problem->out,
                                   problem->answered, problem->lagrangians, &error);
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

uhn_status uhn_pass_answer(uhn_pass *pass) {
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
        status = uhn_parallel_for(n, uhn_pass_threads(pass), pass->run, finish_task, &f);
        pthread_mutex_destroy(&f.lock);
        if (status != UHN_OK && pass->error && pass->error->status == UHN_OK)
            uhn_fail(pass->error, status, "%s", uhn_status_string(status));
    }
    lists_free(f.lists, n);
    return status;
}

uhn_status uhn_pass_begin(const uhn_memory *memory, const uhn_equation *equation,
                          const void *queries, size_t n_queries, const uhn_run *run, void *out,
                          uhn_error *error, uhn_problem *problem, uhn_pass *pass,
                          double **sums) {
    uhn_list *list = uhn_memory_list(memory);
    *sums = NULL;
    if (error) *error = (uhn_error){0};
    uhn_status status = uhn_pass_check(memory, list, equation, queries, n_queries, run, error);
    if (status != UHN_OK) {
        uhn_list_release(list);
        return status;
    }
    *problem = (uhn_problem){.list = list,
                             .first_row = memory->first_row,
                             .stop = list->n_rows,
                             .queries = queries,
                             .n_queries = n_queries,
                             .look = memory,
                             .out = out};
    *pass = (uhn_pass){.shape = uhn_shape_of(equation, memory->dtype, memory->n_features,
                                             memory->n_values),
                       .problems = problem,
                       .n_problems = 1,
                       .run = run,
                       .error = error};
    pass->shape.missing |= list->missing;
    if (equation->normalize_scores && n_queries) {
        status = sum_scores(pass, sums);
        if (status != UHN_OK) uhn_list_release(list);
        problem->score_sums = *sums;
    }
    return status;
}

/* Asks once more for every value that was left open, as NaN: one component after the other, of the rows
 * that know it. */
static uhn_status ask_columns(uhn_pass *pass) {
    const uhn_problem *problem = pass->problems;
    const uhn_shape *shape = &pass->shape;
    const size_t n = problem->n_queries, nv = shape->n_values, size = shape->size;
    const size_t row = shape->n_features * size;
    uhn_pass one = *pass;
    one.shape.n_values = 1;
    one.shape.value_stride = UHN_ALIGNMENT / size;
    one.shape.known = false;
    char *queries = uhn_alloc(n, row, 1), *answers = uhn_alloc(n, size, 1);
    size_t *open = uhn_alloc(n, 1, sizeof *open);
    uhn_status status = UHN_OK;
    if (!queries || !answers || !open) status = uhn_no_memory(pass->error);
    for (size_t j = 0; j < nv && status == UHN_OK; j++) {
        size_t m = 0;
        for (size_t i = 0; i < n; i++) {
            if (!problem->heard[i] || !isnan(uhn_get(shape->dtype, problem->out, i * nv + j)))
                continue;
            memcpy(queries + m * row, problem->queries + i * row, row);
            open[m++] = i;
        }
        if (m == 0) continue;
        uhn_problem column = *problem;
        column.queries = queries;
        column.n_queries = m;
        column.score_sums = NULL;
        column.out = answers;
        column.answered = column.heard = NULL;
        column.width = nv;
        column.column = j;
        one.problems = &column;
        double *sums = NULL;
        if (shape->equation->normalize_scores) status = sum_scores(&one, &sums);
        column.score_sums = sums;
        if (status == UHN_OK) status = uhn_pass_answer(&one);
        free(sums);
        for (size_t i = 0; i < m && status == UHN_OK; i++)
            memcpy(problem->out + (open[i] * nv + j) * size, answers + i * size, size);
    }
    free(queries);
    free(answers);
    free(open);
    return status;
}

typedef struct open_context {
    uhn_shape shape; /* of one component */
    const uhn_problem *problem;
    uhn_candidates *lists;
    char *answers;
    uint8_t *found;
    uhn_error *error;
    pthread_mutex_t lock;
} open_context;

static uhn_status open_task(void *context, size_t task, int worker, uhn_loop *loop) {
    open_context *c = context;
    const uhn_problem *problem = c->problem;
    const uhn_rows_context rows = {.list = problem->list,
                                   .first_row = problem->first_row,
                                   .bytes = problem->width * c->shape.size,
                                   .offset = problem->open[task] * c->shape.size};
    uhn_status status = uhn_loop_poll(loop, worker);
    if (status != UHN_OK) return status;
    uhn_error error = {0};
    status = uhn_candidates_finish(&c->shape, &c->lists[task], uhn_list_row, &rows, task, false,
                                   c->answers, c->found, NULL, &error);
    if (status != UHN_OK && c->error) {
        pthread_mutex_lock(&c->lock);
        if (c->error->status == UHN_OK) *c->error = error;
        pthread_mutex_unlock(&c->lock);
    }
    return status;
}

/* Fills what queries [first, first + n) have left open, given where it is. */
static uhn_status ask_open_of(uhn_pass *pass, size_t first, size_t n, const size_t *open_start,
                              const uint32_t *open) {
    const uhn_problem *problem = pass->problems;
    const size_t size = pass->shape.size, nv = pass->shape.n_values, n_open = open_start[n];
    uhn_problem part = *problem;
    part.queries += first * pass->shape.n_features * size;
    part.n_queries = n;
    if (part.score_sums) part.score_sums += first;
    part.width = nv;
    part.open_start = open_start;
    part.open = open;
    uhn_pass asked = *pass;
    asked.problems = &part;
    open_context c = {.shape = pass->shape,
                      .problem = &part,
                      .lists = lists_new(n_open),
                      .answers = uhn_alloc(n_open, size, 1),
                      .found = uhn_alloc(n_open, 1, 1),
                      .error = pass->error};
    c.shape.n_values = 1;
    uhn_status status = c.lists && c.answers && c.found ? UHN_OK : uhn_no_memory(pass->error);
    if (status == UHN_OK) status = uhn_pass_candidates(&asked, c.lists);
    if (status == UHN_OK) {
        pthread_mutex_init(&c.lock, NULL);
        status = uhn_parallel_for(n_open, uhn_pass_threads(pass), pass->run, open_task, &c);
        pthread_mutex_destroy(&c.lock);
        if (status != UHN_OK && pass->error && pass->error->status == UHN_OK)
            uhn_fail(pass->error, status, "%s", uhn_status_string(status));
    }
    for (size_t i = 0; i < n && status == UHN_OK; i++)
        for (size_t k = open_start[i]; k < open_start[i + 1]; k++) {
            problem->answered[first + i] |= c.found[k];
            memcpy(problem->out + ((first + i) * nv + open[k]) * size, c.answers + k * size,
                   size);
        }
    lists_free(c.lists, n_open);
    free(c.answers);
    free(c.found);
    return status;
}

/* Asks for every value that is NaN in `out`, a list of candidates for each, a bounded number of lists
 * at once. Queries that nobody answered are left alone unless `all`. */
static uhn_status ask_open(uhn_pass *pass, bool all) {
    enum { MOST = 1 << 18 };
    const uhn_problem *problem = pass->problems;
    const uhn_shape *shape = &pass->shape;
    const size_t n = problem->n_queries, nv = shape->n_values;
    const size_t room = UHN_MAX((size_t)MOST, nv);
    size_t *open_start = uhn_alloc(n + 1, 1, sizeof *open_start);
    uint32_t *open = uhn_alloc(room, 1, sizeof *open);
    uhn_status status = open_start && open ? UHN_OK : uhn_no_memory(pass->error);
    for (size_t first = 0, i = 0; first < n && status == UHN_OK; first = i) {
        size_t n_open = 0;
        for (i = first; i < n && room - n_open >= nv; i++) {
            open_start[i - first] = n_open;
            for (size_t j = 0; (all || problem->answered[i]) && j < nv; j++)
                if (isnan(uhn_get(shape->dtype, problem->out, i * nv + j)))
                    open[n_open++] = (uint32_t)j;
        }
        open_start[i - first] = n_open;
        if (n_open) status = ask_open_of(pass, first, i - first, open_start, open);
    }
    free(open_start);
    free(open);
    return status;
}

/* Answers where values lack entries; `heard` has room for a byte a query. */
static uhn_status answer_missing(uhn_pass *pass, uint8_t *heard) {
    uhn_problem *problem = pass->problems;
    const uhn_shape *shape = &pass->shape;
    const size_t n = problem->n_queries, nf = shape->n_features, nv = shape->n_values;
    const bool keeps_sums = uhn_keeps_sums(&shape->separation);
    const bool normalized = shape->equation->normalize_scores;
    uhn_status status;
    /* Of a list of candidates the best has a weight if it has a score. */
    if (!keeps_sums && !problem->answered) problem->answered = heard;
    if (!keeps_sums && !normalized) {
        if (problem->clamp) {
            memcpy(problem->out, problem->queries, n * nf * shape->size);
            for (size_t i = 0; i < n; i++) {
                size_t j = 0;
                while (j < nf && !isnan(uhn_get(shape->dtype, problem->out, i * nf + j))) j++;
                problem->answered[i] = j == nf;
            }
            return ask_open(pass, true);
        }
        status = uhn_pass_answer(pass);
        return status == UHN_OK ? ask_open(pass, false) : status;
    }
    pass->shape.known = keeps_sums;
    problem->heard = keeps_sums ? heard : NULL;
    status = uhn_pass_answer(pass);
    pass->shape.known = false;
    if (status != UHN_OK) return status;
    if (!keeps_sums && problem->answered != heard) memcpy(heard, problem->answered, n);
    problem->heard = heard;
    /* Those who know a value have a sum of scores of their own. */
    if (normalized) uhn_fill_missing(shape->dtype, n * nv, problem->out);
    if (problem->clamp) uhn_clamp(shape->dtype, problem->queries, n * nf, problem->out);
    return ask_columns(pass);
}

uhn_status uhn_retrieve(const uhn_memory *memory, const uhn_equation *equation,
                        const void *queries, size_t n_queries, const uhn_run *run, void *out,
                        uint8_t *answered, uhn_error *error) {
    uhn_problem problem;
    uhn_pass pass;
    double *sums;
    uhn_status status = uhn_pass_begin(memory, equation, queries, n_queries, run, out, error,
                                       &problem, &pass, &sums);
    if (status != UHN_OK) return status;
    const bool missing_values = problem.list->missing_values;
    uint8_t *heard = missing_values ? uhn_alloc(n_queries, 1, 1) : NULL;
    if (missing_values && !heard) status = uhn_no_memory(error);
    problem.answered = answered;
    problem.clamp = equation->missing && equation->clamp && memory->autoassociative;
    if (n_queries && status == UHN_OK)
        status = missing_values ? answer_missing(&pass, heard) : uhn_pass_answer(&pass);
    if (status == UHN_OK && problem.clamp && !missing_values)
        uhn_clamp(memory->dtype, queries, n_queries * memory->n_features, out);
    free(heard);
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
    uhn_status status = uhn_pass_begin(memory, &plain, queries, n_queries, run, out, error,
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
            if (states[n + i] == 0 && shape->separation.row == UHN_SEP_softmax &&
                !shape->missing)
                status = uhn_fail_no_answer(i, pass->error);
        if (status == UHN_OK) status = uhn_pass_weights(pass, states, states + n);
        if (status == UHN_OVERFLOW) uhn_fail_overflow(shape, 0, pass->error);
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
        else if (!uhn_candidates_weights(&shape->separation, &lists[i], w)) {
            if (!shape->missing) status = uhn_fail_no_answer(i, pass->error);
            lists[i].n = 0;
        }
        for (size_t j = 0; status == UHN_OK && j < lists[i].n; j++)
            uhn_put(shape->dtype, problem->out,
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
    uhn_status status = uhn_pass_begin(memory, equation, queries, n_queries, run, out, error,
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
    /* Priors weigh answers and move no pattern nearer: to the checks this is a call for scores. */
    uhn_equation scored = *equation;
    scored.separation = UHN_SEP_identity;
    scored.normalize = UHN_NORMALIZE_NONE;
    scored.normalize_scores = false;
    uhn_equation best = scored;
    best.separation = UHN_SEP_topk;
    best.k = k;
    uhn_problem problem;
    uhn_pass pass;
    double *sums;
    uhn_status status = uhn_pass_begin(memory, &scored, queries, n_queries, run, NULL, error,
                                       &problem, &pass, &sums);
    if (status != UHN_OK) return status;
    if (k < 1 || k > problem.list->n_rows) {
        status = uhn_fail(error, UHN_BAD_PARAMETER,
                          "k must be from 1 to the %zu patterns stored, got %zu",
                          problem.list->n_rows, k);
        uhn_list_release(problem.list);
        return status;
    }
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
            uhn_put(memory->dtype, scores, i * k + j, lists[i].items[j].score);
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
        if (isnan(uhn_get(dtype, scores, i)))
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
            status = uhn_check_rows(dtype, head->keys, n_keys, n_features, equation, "keys",
                                    run, error);
        if (status == UHN_OK)
            status = uhn_check_rows(dtype, head->values, n_keys, n_values, NULL, "values", run,
                                    error);
        if (status == UHN_OK)
            status =
                uhn_pass_check(&sizes, list, equation, head->queries, n_queries, run, error);
    }
    if (status == UHN_OK) {
        uhn_pass pass = {.shape = uhn_shape_of(equation, dtype, n_features, n_values),
                         .problems = problems,
                         .n_problems = n_heads,
                         .run = run,
                         .error = error,
                         .empty_is_zero = true};
        status = uhn_pass_answer(&pass);
    }
    for (size_t i = 0; i < n_heads; i++) uhn_list_release(problems[i].list);
    free(problems);
    return status;
}
