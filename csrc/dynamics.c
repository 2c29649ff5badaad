/*
 * dynamics.c - a state that becomes its own query, until it rests (layer 4).
 *
 * Each query stops for itself: those still moving are gathered into a smaller batch, which by the
 * same-bits law changes nothing for any of them.
 *
 * A query that lacks features is asked for them once; from then on it is a state like others, of which
 * what it knew stays clamped.
 */
#include "memory.h"
#include "missing.h"

/* The largest change of a component; one that nobody answers does not change, one that was missing
 * changes infinitely. */
static double change_of(const uhn_kernels *kernels, uhn_dtype dtype, const void *a,
                        const void *b, size_t n, bool missing) {
    if (!missing) return kernels->distance(a, b, n);
    double largest = 0;
    for (size_t j = 0; j < n; j++) {
        const double x = uhn_get(dtype, a, j), y = uhn_get(dtype, b, j);
        if (isnan(x) && isnan(y)) continue;
        largest = UHN_MAX(largest, isnan(x) || isnan(y) ? INFINITY : fabs(x - y));
    }
    return largest;
}

uhn_status uhn_recall(const uhn_memory *memory, const uhn_equation *equation,
                      const void *queries, size_t n_queries, size_t n_steps, double tol,
                      const uhn_run *run, void *states, void *asked, int64_t *steps,
                      uint8_t *reasons, double *changes, uhn_error *error) {
    const uhn_kernels *kernels = uhn_kernels_for(memory->dtype);
    const size_t nf = memory->n_features, size = uhn_dtype_size(memory->dtype);
    const size_t row = nf * size;
    if (error) *error = (uhn_error){0};
    if (n_steps > 0 && memory->n_values != nf)
        return uhn_fail(
            error, UHN_BAD_SHAPE,
            "a state becomes the next query, but values have %zu features and patterns %zu; "
            "use n_steps=1 with retrieve, or values of the patterns' width",
            memory->n_values, nf);
    if (isnan(tol)) return uhn_fail(error, UHN_BAD_PARAMETER, "tol must be a number, got NaN");
    uhn_status status = uhn_equation_check(equation, error);
    if (status == UHN_OK)
        status = uhn_check_rows(memory->dtype, queries, n_queries, nf, equation, "queries", run,
                                error);
    if (status != UHN_OK) return status;
    /* All steps see the rows as they are now. */
    uhn_memory *rows;
    if (uhn_memory_copy(memory, &rows) != UHN_OK) return uhn_no_memory(error);
    const bool missing = equation->missing || uhn_memory_has_missing(rows);
    const bool clamped = equation->missing && equation->clamp && memory->autoassociative;
    uhn_equation later = *equation;
    later.clamp = false;
    /* Now, next and before: three states of every query that still moves; and the queries. */
    char *buffer = uhn_alloc(n_queries, 3 + clamped, row ? row : 1);
    size_t *movers = uhn_alloc(n_queries, 1, sizeof *movers); /* their places in the batch */
    uint8_t *answered = uhn_alloc(n_queries, 1, 1);
    if (!buffer || !movers || !answered) {
        free(buffer);
        free(movers);
        free(answered);
        uhn_memory_free(rows);
        return uhn_no_memory(error);
    }
    char *now = buffer, *next = now + n_queries * row, *before = next + n_queries * row;
    char *first = before + n_queries * row;
    memcpy(now, queries, n_queries * row);
    if (clamped) memcpy(first, queries, n_queries * row);
    size_t n = n_queries;
    for (size_t i = 0; i < n; i++) {
        movers[i] = i;
        if (steps) steps[i] = 0;
        if (reasons) reasons[i] = UHN_STEP_LIMIT;
        if (changes) changes[i] = 0;
    }
    /* Callers may hand in the same buffer for queries and states. */
    memmove(states, now, n_queries * row);
    if (asked) memcpy(asked, now, n_queries * row);
    for (size_t step = 1; step <= n_steps && n > 0; step++) {
        status = uhn_retrieve(rows, step == 1 ? equation : &later, now, n, run, next, answered,
                              error);
        if (status != UHN_OK) break;
        size_t kept = 0;
        for (size_t i = 0; i < n; i++) {
            const size_t query = movers[i];
            char *a = now + i * row, *b = next + i * row, *c = before + i * row;
            if (clamped) uhn_clamp(memory->dtype, first + query * row, nf, b);
            const double change = change_of(kernels, memory->dtype, a, b, nf, missing);
            int reason = -1;
            if (tol >= 0) {
                if (!answered[i]) reason = UHN_NONE_ACTIVE;
                else if (change <= tol) reason = UHN_FIXED_POINT;
                else if (step > 1 && memcmp(b, c, row) == 0) reason = UHN_TWO_CYCLE;
            } else if (step == n_steps && change == 0) {
                reason = UHN_FIXED_POINT;
            }
            if (steps) steps[query] = (int64_t)step;
            if (changes) changes[query] = change;
            if (reason >= 0 && reasons) reasons[query] = (uint8_t)reason;
            if (reason >= 0 || step == n_steps) {
                memcpy((char *)states + query * row, b, row);
                if (asked) memcpy((char *)asked + query * row, a, row);
            }
            if (reason >= 0) continue;
            /* Its states move up: `now` becomes what was before, `next` what is now. */
            memmove(before + kept * row, a, row);
            memmove(now + kept * row, b, row);
            movers[kept++] = movers[i];
        }
        n = kept;
    }
    free(buffer);
    free(movers);
    free(answered);
    uhn_memory_free(rows);
    return status;
}
