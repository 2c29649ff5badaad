/*
 * missing.c - two to four passes of the plain kernels instead of one.
 *
 * With x the features and 0 where there is none, and k their indicator, sums over what both sides know
 * are dot products: sum m q = x_m . x_q, |K| = k_m . k_q, sum m = x_m . k_q, sum m^2 = x_m^2 . k_q, and
 * the same the other way round. Differences have kernels that leave out what is NaN; only divergences
 * must go feature by feature for every pair, as what they divide by is a matter of the pair.
 */
#include "missing.h"

bool uhn_part_normalizes(const uhn_similarity_plan *plan) {
    return plan->statistic != UHN_STATISTIC_none;
}

bool uhn_part_squares(const uhn_similarity_plan *plan) {
    return plan->statistic == UHN_STATISTIC_norm;
}

/* One pass of a kernel over one form of the rows and one of the queries. */
static void run(const uhn_kernels *kernels, uhn_score_kernel kernel, const uhn_part *rows,
                const char *row_form, const uhn_part *panel, const char *query_form,
                size_t n_features, size_t lanes, char *S) {
    if (panel->few)
        kernels->score_few[kernel](row_form, n_features, rows->n, query_form, panel->n,
                                   n_features, lanes, S);
    else
        kernels->score[kernel](row_form, NULL, n_features, rows->n, query_form, NULL,
                               n_features, lanes, false, S);
}

/* How many features each pair shares, as numbers of the dtype. */
static void count(const uhn_kernels *kernels, uhn_dtype dtype, const uhn_part *rows,
                  const uhn_part *panel, size_t n_features, size_t lanes, char *counts) {
    if (rows->n_whole < rows->n && panel->n_whole < panel->n) {
        run(kernels, UHN_SCORE_dot, rows, rows->known, panel, panel->known, n_features, lanes,
            counts);
        return;
    }
    const bool whole = rows->n_whole == rows->n;
    for (size_t r = 0; r < rows->n; r++)
        for (size_t i = 0; i < lanes; i++)
            uhn_put(dtype, counts, r * lanes + i,
                    i >= panel->n ? 0 : (double)(whole ? panel->counts[i] : rows->counts[r]));
}

/* Cosine or normalized_dot of one pair, each side scaled to what it shares: what `part_row` scaled to
 * the whole row may have lost. */
static double normalize_pair(uhn_dtype dtype, const char *m, const char *q, size_t n_features,
                             bool norm) {
    double largest_m = 0, largest_q = 0, dot = 0, a = 0, b = 0;
    for (size_t j = 0; j < n_features; j++) {
        const double x = uhn_get(dtype, m, j), y = uhn_get(dtype, q, j);
        if (isnan(x) || isnan(y)) continue;
        largest_m = UHN_MAX(largest_m, fabs(x));
        largest_q = UHN_MAX(largest_q, fabs(y));
    }
    if (largest_m == 0 || largest_q == 0) return 0;
    int exponent_m, exponent_q;
    frexp(largest_m, &exponent_m);
    frexp(largest_q, &exponent_q);
    for (size_t j = 0; j < n_features; j++) {
        double x = uhn_get(dtype, m, j), y = uhn_get(dtype, q, j);
        if (isnan(x) || isnan(y)) continue;
        x = ldexp(x, -exponent_m);
        y = ldexp(y, -exponent_q);
        dot += x * y;
        a += norm ? x * x : x;
        b += norm ? y * y : y;
    }
    return norm ? dot / __builtin_sqrt(a) / __builtin_sqrt(b) : dot / a / b;
}

/* Pairs whose shared features are so much smaller than the rest of their rows that squares or products
 * of them leave the range of the dtype; those that share nothing but zeros are among them. */
static void normalize_small(uhn_dtype dtype, const uhn_part *rows, const uhn_part *panel,
                            size_t n_features, size_t lanes, bool norm, const char *a,
                            const char *b, char *S) {
    const size_t row = n_features * uhn_dtype_size(dtype);
    const int bits = dtype == UHN_FLOAT32 ? 100 : 900;
    const double least = ldexp(1, norm ? -bits : -bits / 2);
    for (size_t r = 0; r < rows->n; r++)
        for (size_t i = 0; i < panel->n; i++) {
            const size_t at = r * lanes + i;
            if (uhn_get(dtype, a, at) < least || uhn_get(dtype, b, at) < least)
                uhn_put(dtype, S, at,
                        normalize_pair(dtype, rows->rows + r * row, panel->rows + i * row,
                                       n_features, norm));
        }
}

void uhn_part_scores(const uhn_kernels *kernels, uhn_dtype dtype,
                     const uhn_similarity_plan *plan, const uhn_part *rows,
                     const uhn_part *panel, size_t n_features, size_t lanes, char *scratch,
                     char *S) {
    const size_t n = rows->n * lanes, size = uhn_dtype_size(dtype);
    const size_t bytes = (UHN_TILE + UHN_STRIP) * lanes * size;
    char *counts = scratch, *a = scratch + bytes, *b = a + bytes, *scores = b + bytes;
    count(kernels, dtype, rows, panel, n_features, lanes, counts);
    if (!uhn_part_normalizes(plan)) {
        const bool dot = plan->kernel == UHN_SCORE_dot;
        const uhn_score_kernel kernel =
            dot ? plan->kernel : plan->kernel - UHN_SCORE_sqdiff + UHN_SCORE_known_sqdiff;
        run(kernels, kernel, rows, dot ? rows->numbers : rows->raw, panel,
            dot ? panel->numbers : panel->raw, n_features, lanes, S);
        if (plan->kernel != UHN_SCORE_maxdiff) kernels->part_scale(counts, n_features, n, S);
        kernels->finish(&plan->finish, NULL, rows->n, lanes, S);
        kernels->part_none(counts, n, S);
        return;
    }
    const uhn_kernels *k = kernels;
    const bool norm = plan->statistic == UHN_STATISTIC_norm;
    run(k, UHN_SCORE_dot, rows, norm ? rows->squares : rows->numbers, panel, panel->known,
        n_features, lanes, a);
    run(k, UHN_SCORE_dot, rows, rows->known, panel, norm ? panel->squares : panel->numbers,
        n_features, lanes, b);
    if (plan->logs) {
        k->part_divergence(plan->kernel, plan->eps, rows->numbers, rows->known, rows->n,
                           panel->numbers, panel->known, n_features, lanes, a, b, counts,
                           scores);
        k->finish(&plan->finish, NULL, rows->n, lanes, scores);
        if (plan->eps == 0) {
            k->part_none(a, n, scores);
            k->part_none(b, n, scores);
        }
    } else {
        run(k, UHN_SCORE_dot, rows, rows->numbers, panel, panel->numbers, n_features, lanes,
            scores);
        k->part_divide(a, b, norm, n, scores);
        normalize_small(dtype, rows, panel, n_features, lanes, norm, a, b, scores);
    }
    k->part_none(counts, n, scores);
    /* Whole pairs have their scores; lanes without a query want numbers as well. */
    for (size_t r = 0; r < rows->n; r++) {
        const bool whole = rows->counts[r] == n_features;
        for (size_t i = 0; i < lanes; i++)
            if (!whole || i >= panel->n || panel->counts[i] < n_features)
                memcpy(S + (r * lanes + i) * size, scores + (r * lanes + i) * size, size);
    }
}

void uhn_fill_missing(uhn_dtype dtype, size_t n, void *out) {
    for (size_t j = 0; j < n; j++) uhn_put(dtype, out, j, NAN);
}

void uhn_clamp(uhn_dtype dtype, const void *query, size_t n, void *state) {
    for (size_t j = 0; j < n; j++) {
        const double x = uhn_get(dtype, query, j);
        if (!isnan(x)) uhn_put(dtype, state, j, x);
    }
}
