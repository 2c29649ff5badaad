/*
 * retrieve.c - the calls of uhn.h that ask a memory something (layer 4).
 *
 * Each is one pass, or two where the first finds what the second divides by.
 */
#include "retrieve.h"

static uhn_status conclude_answers(uhn_pass *pass, uhn_problem *problem, size_t first, size_t n,
                                   uhn_forest *forest) {
    const uhn_node *node = uhn_forest_fold(&pass->shape, n, forest);
    uhn_error error = {0};
    for (size_t i = 0; problem->lagrangians && i < n; i++)
        problem->lagrangians[first + i] =
            node ? uhn_lagrangian(&pass->shape.separation, node->reference[i], node->sum[i],
                                  node->lagrangian[i])
                 : 0;
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
    uhn_status status = uhn_pass_begin(memory, equation, queries, n_queries, run, out, error,
                                       &problem, &pass, &sums);
    if (status != UHN_OK) return status;
    problem.answered = answered;
    if (n_queries) status = uhn_pass_answer(&pass);
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
            if (states[n + i] == 0 && shape->separation.row == UHN_SEP_softmax)
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
        else if (!uhn_candidates_weights(&shape->separation, &lists[i], w))
            status = uhn_fail_no_answer(i, pass->error);
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
