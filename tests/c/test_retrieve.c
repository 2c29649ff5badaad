/*
 * test_retrieve.c - the answers against a slow twin in long double, within bounds that are
 * derived.
 *
 * The twin shares nothing with the library but the header: it writes every similarity and
 * separation as the formula stands in the tables. With u the unit round-off of the dtype and
 * gamma(k) = k u / (1 - k u):
 *
 *   score    k roundings on top of a sum of terms t_j are worth at most gamma(k) sum |t_j|. A
 *            logarithm or a power of the library is taken to be good to 8 u of its value.
 *   weight   w(s) is monotone in s or even, so the weights of s - e, s and s + e bracket what the
 *            score's error e does; the function's own rounding comes on top.
 *   answer   a sum over n patterns in any order: sum dw |P| + gamma(n + 16) sum (w + dw) |P|;
 *            after division by W = sum |w| the error is (dN + |z| dW) / (W - dW).
 *   simplex  moving every z by at most m moves tau by at most m, and so each z - tau by at most
 *            2 m, which brackets the weight.
 *
 * The largest error / bound is printed: above 1 is a failure, near 0 everywhere would be an
 * idle bound.
 */
#include <float.h>
#include <math.h>

#include "check.h"

typedef long double real;

enum { MAX_FEATURES = 640, MAX_PATTERNS = 2700 };

static real unit; /* unit round-off of the dtype under test */
static real worst_ratio;
static unsigned long n_bounded, n_informative;

static real gamma_of(real k) { return k * unit / (1 - k * unit); }

/* ---------------------------------------------------------------------------------- twin -- */

/* KL(a, b) = sum a log(a / b) with 0 log 0 = 0. */
static real kl_of(const real *a, const real *b, size_t d) {
    real sum = 0;
    for (size_t j = 0; j < d; j++)
        if (a[j] > 0) sum += a[j] * logl(a[j] / b[j]);
    return sum;
}

/* The score of one pattern and, in *error, how far the library may be from it. */
static real twin_score(const uhn_equation *e, const real *m, const real *q, size_t d,
                       real *error) {
    real dot = 0, dot_abs = 0, mm = 0, qq = 0, msum = 0, qsum = 0;
    real l1 = 0, l2 = 0, largest = 0, differ = 0, distance = 0, off = 0;
    const real k = (real)d + 8;

    for (size_t j = 0; j < d; j++) {
        real gap = fabsl(m[j] - q[j]);
        dot += m[j] * q[j];
        dot_abs += fabsl(m[j] * q[j]);
        mm += m[j] * m[j];
        qq += q[j] * q[j];
        msum += m[j];
        qsum += q[j];
        l1 += gap;
        l2 += gap * gap;
        largest = gap > largest ? gap : largest;
        differ += gap != 0;
    }
    switch (e->similarity) {
    case UHN_SIM_dot: *error = gamma_of(k) * dot_abs; return dot;
    case UHN_SIM_cosine: {
        real norms = sqrtl(mm) * sqrtl(qq);
        if (norms == 0) {
            *error = 0;
            return 0;
        }
        *error = (gamma_of(k) * dot_abs + gamma_of(2 * k) * fabsl(dot)) / norms;
        return dot / norms;
    }
    case UHN_SIM_normalized_dot:
        if (msum == 0 || qsum == 0) {
            *error = 0;
            return 0;
        }
        *error = gamma_of(3 * k) * dot / (msum * qsum);
        return dot / (msum * qsum);
    case UHN_SIM_euclidean: distance = sqrtl(l2), off = gamma_of(k) * distance; break;
    case UHN_SIM_sqeuclidean: distance = l2, off = gamma_of(k) * l2; break;
    case UHN_SIM_manhattan: distance = l1, off = gamma_of(k) * l1; break;
    case UHN_SIM_chebyshev: distance = largest, off = gamma_of(2) * largest; break;
    case UHN_SIM_hamming: distance = differ, off = 0; break;
    default: {
        /* The library may take logarithms of p, of m or of the sums, in any of the usual forms,
         * so the bound charges every one of them. */
        real p[MAX_FEATURES], r[MAX_FEATURES], u[MAX_FEATURES], logs = 0;
        real pseudo = (real)e->eps;
        for (size_t j = 0; j < d; j++) {
            p[j] = (m[j] / msum + pseudo) / (1 + (real)d * pseudo);
            r[j] = (q[j] / qsum + pseudo) / (1 + (real)d * pseudo);
            u[j] = (p[j] + r[j]) / 2;
            real mass = p[j] + r[j];
            logs += mass * (fabsl(logl(p[j])) + fabsl(logl(r[j])) + fabsl(logl(u[j])) +
                            fabsl(logl(msum)) + fabsl(logl(qsum)) + 4);
        }
        off = gamma_of(2 * k + 64) * logs;
        if (e->similarity == UHN_SIM_kl) distance = kl_of(p, r, d);
        else if (e->similarity == UHN_SIM_reverse_kl) distance = kl_of(r, p, d);
        else distance = (kl_of(p, u, d) + kl_of(r, u, d)) / 2;
    }
    }
    if (e->transform == UHN_INVERSE) {
        real s = 1 / (distance + (real)e->eps);
        *error = s * (off / (distance - off + (real)e->eps) + gamma_of(4));
        return s;
    }
    if (e->transform == UHN_RBF) {
        real power = e->similarity == UHN_SIM_sqeuclidean ? distance : distance * distance;
        real power_off =
            e->similarity == UHN_SIM_sqeuclidean ? off : off * (2 * distance + off);
        real s = expl(-(real)e->gamma * power);
        real exponent = (real)e->gamma * (power_off + gamma_of(4) * power);
        *error = s * (expm1l(exponent) + gamma_of(8));
        return s;
    }
    *error = off;
    return -distance;
}

/* The weight of a score for the separations that sum weights; the exponentials relative to a
 * reference that the caller divides out again. */
static real twin_weight(const uhn_equation *e, real s, real reference) {
    switch (e->separation) {
    case UHN_SEP_identity: return s;
    case UHN_SEP_polynomial: return powl(s, (real)e->degree);
    case UHN_SEP_rectified_polynomial: return s > 0 ? powl(s, (real)e->degree) : 0;
    case UHN_SEP_sqrt: return s > 0 ? sqrtl(s) : 0;
    case UHN_SEP_log1p: return s > 0 ? log1pl(s) : 0;
    case UHN_SEP_threshold: return s >= (real)e->theta;
    default: return expl((real)e->beta * s - reference);
    }
}

/* Roundings inside the weight itself, relative to it. */
static real twin_weight_rounding(const uhn_equation *e, real s) {
    switch (e->separation) {
    case UHN_SEP_identity:
    case UHN_SEP_threshold: return 0;
    case UHN_SEP_polynomial:
    case UHN_SEP_rectified_polynomial:
        /* s^a = 2^(a log2 s): the exponent's rounding grows with it. */
        return gamma_of(16 + 8 * (real)e->degree * (1 + fabsl(log2l(fabsl(s) + 1e-30L))));
    case UHN_SEP_sqrt:
    case UHN_SEP_log1p: return gamma_of(12);
    default: return gamma_of(12 + 4 * fabsl((real)e->beta * s));
    }
}

typedef struct problem {
    const workload *w;
    uhn_dtype dtype;
    size_t n, d, v, b;
    void *patterns, *values, *prior, *queries;
} problem;

static real value_at(const problem *p, size_t i, size_t j) {
    return p->v ? get(p->dtype, p->values, i * p->v + j)
                : get(p->dtype, p->patterns, i * p->d + j);
}

static void compare(const problem *p, const char *what, size_t query, size_t column, real got,
                    real wanted, real bound, real scale) {
    real ratio = fabsl(got - wanted) / (bound > 0 ? bound : LDBL_MIN);
    if (got == wanted) ratio = 0;
    if (ratio > worst_ratio && ratio <= 1) worst_ratio = ratio;
    n_bounded++;
    n_informative += bound <= 0.01L * scale;
    CHECK(ratio <= 1,
          "%s %s f%d (n %zu d %zu v %zu): query %zu column %zu: got %.9Lg wanted %.9Lg "
          "bound %.3Lg",
          p->w->name, what, p->dtype ? 8 : 4, p->n, p->d, p->v, query, column, got, wanted,
          bound);
}

/* The tau at which sum prior (z - tau)_+^(1 / (alpha - 1)) = 1, by halving an interval: sparsemax for
 * alpha = 2, entmax else; z = (alpha - 1) beta s. */
static real twin_tau(const problem *p, const real *z, size_t n, real alpha) {
    real high = -INFINITY, low, tau = 0;
    for (size_t i = 0; i < n; i++) high = fmaxl(high, z[i]);
    /* There the best pattern alone reaches 1, for a prior of 2^-20 and more. */
    low = high - powl(0x1p20L, alpha - 1) - 1;
    for (int step = 0; step < 200; step++) {
        real sum = 0;
        tau = (low + high) / 2;
        for (size_t i = 0; i < n; i++)
            if (z[i] > tau)
                sum += (p->prior ? (real)get(p->dtype, p->prior, i) : 1) *
                       powl(z[i] - tau, 1 / (alpha - 1));
        if (sum >= 1) low = tau;
        else high = tau;
    }
    return tau;
}

/* Wanted weights and the bound on each, and the answer with its bound, for one query. */
static void check_query(const problem *p, size_t query, const real *s, const real *off,
                        const void *weights, const void *answer) {
    const uhn_equation *e = &p->w->equation;
    const size_t n = p->n, width = p->v ? p->v : p->d;
    const real count = (real)n + 16;
    real *w = must_alloc(n * sizeof *w), *dw = must_alloc(n * sizeof *dw);
    real total = 0, dtotal = 0;
    bool divide = e->normalize == UHN_NORMALIZE_SUM;
    real extra = 0; /* the 1 of softmax1 */

    for (size_t i = 0; i < n; i++) w[i] = dw[i] = 0;
    if (e->separation == UHN_SEP_max || e->separation == UHN_SEP_topk ||
        e->separation == UHN_SEP_topk_softmax) {
        /* Which patterns are chosen is settled by the library's own weights, but each must
         * deserve it. */
        size_t k = e->separation == UHN_SEP_max ? 1 : e->k < n ? e->k : n, chosen = 0;
        real best_left_out = -INFINITY, worst_chosen = INFINITY, top = -INFINITY;
        for (size_t i = 0; i < n; i++) {
            if (get(p->dtype, weights, i) > 0) {
                chosen++;
                top = fmaxl(top, s[i]);
                worst_chosen = fminl(worst_chosen, s[i] + off[i]);
                w[i] = 1;
            } else {
                best_left_out = fmaxl(best_left_out, s[i] - off[i]);
            }
        }
        CHECK(chosen == k, "%s query %zu: %zu patterns have weight", p->w->name, query, chosen);
        CHECK(worst_chosen >= best_left_out, "%s query %zu: a better one was left out",
              p->w->name, query);
        for (size_t i = 0; i < n; i++) {
            if (w[i] == 0) continue;
            if (e->separation == UHN_SEP_topk_softmax) {
                real b = (real)e->beta;
                w[i] = expl(b * (s[i] - top));
                dw[i] = w[i] * (expm1l(b * off[i]) + twin_weight_rounding(e, s[i]));
            }
        }
        divide = true;
    } else if (e->separation == UHN_SEP_sparsemax ||
               (e->separation == UHN_SEP_entmax && e->alpha > 1)) {
        real alpha = e->separation == UHN_SEP_sparsemax ? 2 : (real)e->alpha, moved = 0;
        for (size_t i = 0; i < n; i++) {
            w[i] = (alpha - 1) * (real)e->beta * s[i];
            moved =
                fmaxl(moved, (alpha - 1) * (real)e->beta * off[i] + gamma_of(4) * fabsl(w[i]));
        }
        real tau = twin_tau(p, w, n, alpha), power = 1 / (alpha - 1);
        for (size_t i = 0; i < n; i++) {
            real prior = p->prior ? get(p->dtype, p->prior, i) : 1, gap = w[i] - tau;
            real here = gap > 0 ? powl(gap, power) : 0;
            real above = gap + 2 * moved > 0 ? powl(gap + 2 * moved, power) : 0;
            real below = gap - 2 * moved > 0 ? powl(gap - 2 * moved, power) : 0;
            w[i] = prior * here;
            dw[i] = prior * (fmaxl(above - here, here - below) + gamma_of(16) * here);
        }
        divide = true; /* the library's last step, too; the sum is 1 but for rounding */
    } else {
        bool exponential = e->separation == UHN_SEP_exponential ||
                           e->separation == UHN_SEP_softmax ||
                           e->separation == UHN_SEP_softmax1 || e->separation == UHN_SEP_entmax;
        real reference = 0, largest = 0;
        if (exponential && e->separation != UHN_SEP_exponential) {
            for (size_t i = 0; i < n; i++)
                reference = fmaxl(i ? reference : -INFINITY, (real)e->beta * s[i]);
            divide = true;
            extra = e->separation == UHN_SEP_softmax1 ? expl(-reference) : 0;
        }
        for (size_t i = 0; i < n; i++) {
            real prior = p->prior ? get(p->dtype, p->prior, i) : 1;
            real here = twin_weight(e, s[i], reference);
            real below = twin_weight(e, s[i] - off[i], reference);
            real above = twin_weight(e, s[i] + off[i], reference);
            w[i] = prior * here;
            dw[i] = prior * (fmaxl(fabsl(above - here), fabsl(below - here)) +
                             fabsl(here) * (twin_weight_rounding(e, s[i]) + gamma_of(4)));
            largest = fmaxl(largest, fabsl(w[i]));
        }
        /* Weights below 2^-64 (2^-96 for double) of a power of two near the largest may be 0. A
         * prior of at least 2^-20 may have made the largest that much smaller. */
        bool cut = exponential || e->separation == UHN_SEP_polynomial ||
                   e->separation == UHN_SEP_rectified_polynomial;
        if (cut)
            for (size_t i = 0; i < n; i++)
                dw[i] += ldexpl(largest, p->dtype == UHN_FLOAT32 ? -43 : -75);
    }
    for (size_t i = 0; i < n; i++) {
        total += fabsl(w[i]);
        dtotal += dw[i];
    }
    total += extra;
    dtotal += gamma_of(count) * (total + dtotal);
    for (size_t i = 0; i < n; i++) {
        real wanted = w[i], bound = dw[i];
        if (divide) {
            wanted /= total;
            bound = (dw[i] + fabsl(wanted) * dtotal) / (total - dtotal) +
                    gamma_of(4) * fabsl(wanted);
        }
        compare(p, "weight", query, i, get(p->dtype, weights, i), wanted, bound,
                divide ? 1 : total);
    }
    for (size_t j = 0; j < width; j++) {
        real sum = 0, sum_abs = 0, dsum = 0;
        for (size_t i = 0; i < n; i++) {
            real value = value_at(p, i, j);
            sum += w[i] * value;
            sum_abs += (fabsl(w[i]) + dw[i]) * fabsl(value);
            dsum += dw[i] * fabsl(value);
        }
        real bound = dsum + gamma_of(count) * sum_abs, wanted = sum;
        if (divide) {
            wanted = sum / total;
            bound = (bound + fabsl(wanted) * dtotal) / (total - dtotal) +
                    gamma_of(4) * fabsl(wanted);
        }
        compare(p, "answer", query, j, get(p->dtype, answer, j), wanted, bound,
                divide ? 1 : sum_abs);
    }
    free(w);
    free(dw);
}

/* k best of the library's own scores, ties to the lowest index. */
static void check_nearest(const problem *p, const uhn_memory *memory, const void *scores) {
    const size_t k = p->n < 5 ? p->n : 5;
    int64_t *indices = must_alloc(p->b * k * sizeof *indices);
    void *best = must_alloc(p->b * k * item_size(p->dtype));
    CHECK_OK(
        uhn_nearest(memory, &p->w->equation, p->queries, p->b, k, NULL, indices, best, NULL));
    for (size_t b = 0; b < p->b; b++) {
        int64_t last = -1;
        double last_score = INFINITY;
        for (size_t i = 0; i < k; i++) {
            int64_t index = indices[b * k + i];
            double s = get(p->dtype, best, b * k + i);
            if (!CHECK(index >= 0 && (size_t)index < p->n, "%s: index %lld", p->w->name,
                       (long long)index))
                continue;
            CHECK(s == get(p->dtype, scores, b * p->n + (size_t)index), "%s: score of %lld",
                  p->w->name, (long long)index);
            CHECK(s < last_score || (s == last_score && index > last), "%s: order", p->w->name);
            last_score = s;
            last = index;
        }
        size_t better = 0;
        for (size_t i = 0; i < p->n; i++) {
            double s = get(p->dtype, scores, b * p->n + i);
            better += s > last_score || (s == last_score && (int64_t)i <= last);
        }
        CHECK(better == k, "%s: %zu patterns are as near as the %zu given", p->w->name, better,
              k);
    }
    free(indices);
    free(best);
}

static void check_problem(const workload *w, uhn_dtype dtype, size_t n, size_t d, size_t v,
                          size_t b, uint64_t seed) {
    rng r = {.state = seed};
    const size_t item = item_size(dtype), width = v ? v : d;
    problem p = {.w = w, .dtype = dtype, .n = n, .d = d, .v = v, .b = b};
    uhn_memory *memory = NULL;
    uhn_error error = {.message = ""};

    unit = dtype == UHN_FLOAT32 ? ldexpl(1, -24) : ldexpl(1, -53);
    p.patterns = must_alloc(n * d * item);
    p.values = must_alloc(n * width * item);
    p.prior = w->prior ? must_alloc(n * item) : NULL;
    p.queries = must_alloc(b * d * item);
    fill(dtype, p.patterns, n * d, &r, w->kind);
    fill(dtype, p.values, n * width, &r, FILL_SIGNED);
    fill(dtype, p.queries, b * d, &r, w->kind);
    if (p.prior) fill(dtype, p.prior, n, &r, FILL_POSITIVE);
    void *out = must_alloc(b * width * item), *scores = must_alloc(b * n * item);
    void *weights = must_alloc(b * n * item), *again = must_alloc(b * n * item);
    uint8_t *answered = must_alloc(b);

    uhn_rows rows = {.patterns = p.patterns,
                     .values = v ? p.values : NULL,
                     .prior = p.prior,
                     .n_rows = n};
    CHECK_OK(uhn_memory_new(dtype, d, v, 0, &memory));
    CHECK_OK(uhn_memory_store(memory, &rows, NULL));
    const uhn_equation *e = &w->equation;
    uhn_status status = uhn_retrieve(memory, e, p.queries, b, NULL, out, answered, &error);
    if (!CHECK(status == UHN_OK, "%s: %s", w->name, error.message)) goto done;
    CHECK_OK(uhn_scores(memory, e, p.queries, b, NULL, scores, NULL));
    CHECK_OK(uhn_weights(memory, e, p.queries, b, NULL, weights, NULL));

    real m[MAX_FEATURES], q[MAX_FEATURES];
    real *s = must_alloc(n * sizeof *s), *off = must_alloc(n * sizeof *off);
    for (size_t query = 0; query < b; query++) {
        real sum = 0, dsum = 0;
        for (size_t j = 0; j < d; j++) q[j] = get(dtype, p.queries, query * d + j);
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < d; j++) m[j] = get(dtype, p.patterns, i * d + j);
            s[i] = twin_score(e, m, q, d, &off[i]);
            if (!e->normalize_scores)
                compare(&p, "score", query, i, get(dtype, scores, query * n + i), s[i], off[i],
                        1 + fabsl(s[i]));
            sum += s[i];
            dsum += off[i];
        }
        if (e->normalize_scores) {
            dsum += gamma_of((real)n + 16) * (sum + dsum);
            for (size_t i = 0; i < n; i++) {
                off[i] = (off[i] + s[i] / sum * dsum) / (sum - dsum) + gamma_of(4) * s[i] / sum;
                s[i] /= sum;
            }
        }
        check_query(&p, query, s, off, (char *)weights + query * n * item,
                    (char *)out + query * width * item);
        bool any = false; /* has weight */
        for (size_t i = 0; i < n; i++) any |= get(dtype, weights, query * n + i) != 0;
        CHECK(answered[query] == any, "%s: answered", w->name);
    }
    if (!e->normalize_scores) {
        check_nearest(&p, memory, scores);
        /* Separating the scores by hand gives the weights of the whole equation; a prior is the
         * memory's, so it is left out. */
        if (!p.prior) {
            CHECK_OK(uhn_separate(dtype, e, scores, b, n, NULL, again, NULL));
            CHECK(!memcmp(again, weights, b * n * item), "%s: separate", w->name);
        }
    }
    free(s);
    free(off);
done:
    uhn_memory_free(memory);
    free(p.patterns), free(p.values), free(p.prior), free(p.queries);
    free(out), free(scores), free(weights), free(again), free(answered);
}

/* ------------------------------------------------------------------------ special values -- */

static void test_known_numbers(void) {
    /* By hand: rows (1, -1, -1, 1) and (-1, 1, -1, -1), the query is the first of them. */
    const double patterns[8] = {1, -1, -1, 1, -1, 1, -1, -1};
    const double images[12] = {.9, .1, .4, .6, .2, .8, .5, .5, .7, .3, .1, .9};
    const double image[4] = {.8, .2, .4, .5};
    static const struct {
        uhn_similarity similarity;
        double wanted[3];
    } golden[] = {
        {UHN_SIM_dot, {1.2, 0.77, 1.11}},
        {UHN_SIM_cosine, {0.992923062, 0.6789479362, 0.8985571659}},
        {UHN_SIM_sqeuclidean, {-0.03, -0.73, -0.27}},
        {UHN_SIM_euclidean, {-0.1732050808, -0.8544003745, -0.5196152423}},
        {UHN_SIM_manhattan, {-0.3, -1.3, -0.9}},
        {UHN_SIM_chebyshev, {-0.1, -0.6, -0.4}},
        {UHN_SIM_kl, {-0.0217481797, -0.4203809018, -0.1579797656}},
        {UHN_SIM_reverse_kl, {-0.0266839413, -0.4420928713, -0.2020072441}},
        {UHN_SIM_jensen_shannon, {-0.0059379805, -0.0999477302, -0.0425849412}},
    };
    uhn_memory *memory = NULL;
    uhn_equation e = uhn_equation_default();
    double out[8];

    CHECK_OK(uhn_memory_new(UHN_FLOAT64, 4, 0, 0, &memory));
    CHECK_OK(uhn_memory_store(memory, &(uhn_rows){.patterns = patterns, .n_rows = 2}, NULL));
    CHECK_OK(uhn_scores(memory, &e, patterns, 1, NULL, out, NULL));
    CHECK(out[0] == 4 && out[1] == -2, "dot %g %g", out[0], out[1]);
    e.similarity = UHN_SIM_hamming;
    CHECK_OK(uhn_scores(memory, &e, patterns, 1, NULL, out, NULL));
    CHECK(out[0] == 0 && out[1] == -3, "hamming %g %g", out[0], out[1]);
    uhn_memory_free(memory);

    CHECK_OK(uhn_memory_new(UHN_FLOAT64, 4, 0, 0, &memory));
    CHECK_OK(uhn_memory_store(memory, &(uhn_rows){.patterns = images, .n_rows = 3}, NULL));
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        e.similarity = golden[i].similarity;
        CHECK_OK(uhn_scores(memory, &e, image, 1, NULL, out, NULL));
        for (int j = 0; j < 3; j++)
            CHECK(fabs(out[j] - golden[i].wanted[j]) < 1e-9, "%s %d: %.12g",
                  uhn_similarity_info(e.similarity)->name, j, out[j]);
    }
    uhn_memory_free(memory);
}

/* 1 / d with a stored pattern as the query scores +inf there: exact matches share the weight.
 */
static void test_exact_match(void) {
    const float patterns[6] = {1, 2, 5, 6, 1, 2};
    uhn_memory *memory = NULL;
    uhn_equation e = uhn_equation_default();
    float out[2], weights[3];

    e.similarity = UHN_SIM_manhattan;
    e.transform = UHN_INVERSE;
    CHECK_OK(uhn_memory_new(UHN_FLOAT32, 2, 0, 0, &memory));
    CHECK_OK(uhn_memory_store(memory, &(uhn_rows){.patterns = patterns, .n_rows = 3}, NULL));
    CHECK_OK(uhn_weights(memory, &e, patterns, 1, NULL, weights, NULL));
    CHECK(weights[0] == 0.5f && weights[1] == 0 && weights[2] == 0.5f, "%g %g %g", weights[0],
          weights[1], weights[2]);
    CHECK_OK(uhn_retrieve(memory, &e, patterns, 1, NULL, out, NULL, NULL));
    CHECK(out[0] == 1 && out[1] == 2, "%g %g", out[0], out[1]);
    e.separation = UHN_SEP_identity;
    CHECK(uhn_retrieve(memory, &e, patterns, 1, NULL, out, NULL, NULL) != UHN_OK,
          "an infinite weight was summed");
    e.normalize = UHN_NORMALIZE_SUM;
    CHECK_OK(uhn_retrieve(memory, &e, patterns, 1, NULL, out, NULL, NULL));
    CHECK(out[0] == 1 && out[1] == 2, "%g %g", out[0], out[1]);
    uhn_memory_free(memory);
}

static void test_recall(void) {
    enum { N = 40, D = 16 };
    double patterns[N * D], states[3 * D], by_hand[3 * D], next[3 * D], changes[3];
    int64_t steps[3];
    uint8_t reasons[3];
    uhn_memory *memory = NULL;
    uhn_equation e = uhn_equation_default();
    rng r = {.state = 5};

    fill(UHN_FLOAT64, patterns, N * D, &r, FILL_SIGNED);
    CHECK_OK(uhn_memory_new(UHN_FLOAT64, D, 0, 0, &memory));
    CHECK_OK(uhn_memory_store(memory, &(uhn_rows){.patterns = patterns, .n_rows = N}, NULL));
    memcpy(by_hand, patterns, sizeof by_hand);
    e.beta = 2;
    for (int step = 0; step < 4; step++) {
        CHECK_OK(uhn_retrieve(memory, &e, by_hand, 3, NULL, next, NULL, NULL));
        memcpy(by_hand, next, sizeof next);
    }
    CHECK_OK(uhn_recall(memory, &e, patterns, 3, 4, -1, NULL, states, NULL, steps, reasons,
                        changes, NULL));
    CHECK(!memcmp(states, by_hand, sizeof states), "four steps differ from four retrievals");
    for (int i = 0; i < 3; i++)
        CHECK(steps[i] == 4 && reasons[i] == UHN_STEP_LIMIT, "%lld steps, reason %d",
              (long long)steps[i], reasons[i]);
    CHECK_OK(uhn_recall(memory, &e, patterns, 3, 0, 1e-9, NULL, states, NULL, steps, NULL, NULL,
                        NULL));
    CHECK(!memcmp(states, patterns, sizeof states) && steps[0] == 0, "no step is no change");
    /* `max` is at rest after it has found a stored pattern: one step, and one to see it. */
    e.separation = UHN_SEP_max;
    CHECK_OK(uhn_recall(memory, &e, patterns, 3, 50, 0, NULL, states, NULL, steps, reasons,
                        changes, NULL));
    for (int i = 0; i < 3; i++)
        CHECK(reasons[i] == UHN_FIXED_POINT && changes[i] == 0 && steps[i] <= 50, "reason %d",
              reasons[i]);
    /* -1 and its mirror: the image of each under s -> -s is the other, for ever. */
    const double mirror[1] = {-1}, start[1] = {1};
    uhn_memory *flip = NULL;
    e = uhn_equation_default();
    e.separation = UHN_SEP_identity;
    double value[1] = {1};
    CHECK_OK(uhn_memory_new(UHN_FLOAT64, 1, 1, 0, &flip));
    CHECK_OK(uhn_memory_store(flip,
                              &(uhn_rows){.patterns = mirror, .values = value, .n_rows = 1},
                              NULL));
    CHECK_OK(uhn_recall(flip, &e, start, 1, 9, 1e-9, NULL, states, NULL, steps, reasons,
                        changes, NULL));
    CHECK(reasons[0] == UHN_TWO_CYCLE && changes[0] == 2 && steps[0] == 2,
          "reason %d after %lld", reasons[0], (long long)steps[0]);
    uhn_memory_free(flip);
    /* Nothing is near enough. */
    e.separation = UHN_SEP_threshold;
    e.theta = 1e9;
    uint8_t answered[3] = {9, 9, 9};
    CHECK_OK(uhn_retrieve(memory, &e, patterns, 3, NULL, states, answered, NULL));
    for (int i = 0; i < 3; i++)
        CHECK(answered[i] == 0 && states[i * D] == 0, "answered %d", answered[i]);
    CHECK_OK(uhn_recall(memory, &e, patterns, 3, 9, 0, NULL, states, NULL, steps, reasons, NULL,
                        NULL));
    CHECK(reasons[0] == UHN_NONE_ACTIVE, "reason %d", reasons[0]);
    uhn_memory_free(memory);
}

/* Attention is retrieval by the dot product with softmax, head by head; a masked key is not
 * there. */
static void test_attention(void) {
    enum { L = 5, S = 300, E = 12, V = 7 };
    float queries[L * E], keys[S * E], values[S * V], out[L * V], wanted[L * V];
    static float kept_keys[S * E], kept_values[S * V];
    uint8_t mask[S];
    uhn_equation e = uhn_equation_default();
    rng r = {.state = 99};
    size_t kept = 0;

    fill(UHN_FLOAT32, queries, L * E, &r, FILL_SIGNED);
    fill(UHN_FLOAT32, keys, S * E, &r, FILL_SIGNED);
    fill(UHN_FLOAT32, values, S * V, &r, FILL_SIGNED);
    for (size_t i = 0; i < S; i++)
        if ((mask[i] = rng_below(&r, 4) != 0)) {
            memcpy(kept_keys + kept * E, keys + i * E, sizeof(float) * E);
            memcpy(kept_values + kept * V, values + i * V, sizeof(float) * V);
            kept++;
        }
    for (int masked = 0; masked < 2; masked++) {
        uhn_memory *memory = NULL;
        uhn_rows rows = {.patterns = masked ? kept_keys : keys,
                         .values = masked ? kept_values : values,
                         .n_rows = masked ? kept : S};
        CHECK_OK(uhn_memory_new(UHN_FLOAT32, E, V, 0, &memory));
        CHECK_OK(uhn_memory_store(memory, &rows, NULL));
        CHECK_OK(uhn_retrieve(memory, &e, queries, L, NULL, wanted, NULL, NULL));
        uhn_head head = {.queries = queries,
                         .keys = keys,
                         .values = values,
                         .mask = masked ? mask : NULL,
                         .out = out};
        CHECK_OK(uhn_attention(UHN_FLOAT32, &e, &head, 1, L, S, E, V, NULL, NULL));
        /* Without a mask the sums are the same sums; with one, weights of 0 stand between, and
         * the blocks are cut elsewhere: n roundings of weights that sum to 1 and values
         * below 1. */
        if (!masked) CHECK(!memcmp(out, wanted, sizeof out), "attention is not retrieval");
        for (size_t i = 0; i < L * V; i++)
            CHECK(fabsf(out[i] - wanted[i]) <= 2 * (S + 50) * ldexpf(1, -24),
                  "masked %d: %g %g", masked, out[i], wanted[i]);
        uhn_memory_free(memory);
    }
    memset(mask, 0, sizeof mask);
    uhn_head head = {
        .queries = queries, .keys = keys, .values = values, .mask = mask, .out = out};
    CHECK_OK(uhn_attention(UHN_FLOAT32, &e, &head, 1, L, S, E, V, NULL, NULL));
    for (size_t i = 0; i < L * V; i++)
        CHECK(out[i] == 0, "nothing may be attended to: %g", out[i]);
}

static void test_memory(void) {
    const double patterns[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    const double values[6] = {1, 2, 3, 4, 5, 6}, prior[6] = {1, 1, 2, 1, 1, 1};
    uhn_rows first = {.patterns = patterns, .values = values, .n_rows = 2, .borrow = true};
    uhn_rows rest = {.patterns = patterns + 4,
                     .values = values + 2,
                     .prior = prior + 2,
                     .n_rows = 4};
    uhn_memory *memory = NULL, *copy = NULL;
    double p[12], v[6], w[6];
    size_t owned = 99;

    CHECK_OK(uhn_memory_new(UHN_FLOAT64, 2, 1, 1000, &memory));
    CHECK(uhn_memory_n_patterns(memory) == 0 && !uhn_memory_has_prior(memory), "a new memory");
    CHECK_OK(uhn_memory_store(memory, &first, NULL));
    CHECK(uhn_memory_view(memory, 0, 2) == patterns, "borrowed rows lie where they lay");
    CHECK_OK(uhn_memory_copy(memory, &copy));
    CHECK_OK(uhn_memory_store(memory, &rest, NULL));
    CHECK(uhn_memory_n_patterns(memory) == 6 && uhn_memory_n_patterns(copy) == 2, "rows");
    CHECK(uhn_memory_dtype(memory) == UHN_FLOAT64 && uhn_memory_n_features(memory) == 2 &&
              uhn_memory_n_values(memory) == 1 && uhn_memory_first_row(memory) == 1000 &&
              !uhn_memory_is_autoassociative(memory) && uhn_memory_has_prior(memory),
          "properties");
    CHECK_OK(uhn_memory_read(memory, 0, 6, p, v, w));
    CHECK(!memcmp(p, patterns, sizeof p) && !memcmp(v, values, sizeof v) &&
              !memcmp(w, prior, sizeof w),
          "rows come back as they went in, prior 1 where none was given");
    CHECK_OK(uhn_memory_read(memory, 1, 3, p, NULL, NULL));
    CHECK(!memcmp(p, patterns + 2, 6 * sizeof *p), "rows across two chunks");
    CHECK_STATUS(uhn_memory_read(memory, 1, 6, p, NULL, NULL), UHN_BAD_SHAPE);
    CHECK_STATUS(uhn_memory_read(memory, SIZE_MAX, 2, p, NULL, NULL), UHN_BAD_SHAPE);
    CHECK_OK(uhn_memory_read(memory, 6, 0, p, v, w));
    CHECK(uhn_memory_view(memory, 1, 2) == NULL, "rows of two chunks do not lie together");
    const double *view = uhn_memory_view(memory, 2, 4);
    CHECK(view && view != patterns + 4 && !memcmp(view, patterns + 4, 8 * sizeof *view),
          "copied rows");
    size_t bytes = uhn_memory_bytes(memory, &owned);
    CHECK(bytes >= 18 * sizeof(double) && owned <= bytes && bytes - owned == 6 * sizeof(double),
          "%zu bytes, %zu owned", bytes, owned);
    uhn_memory_free(memory);
    CHECK_OK(uhn_memory_read(copy, 0, 2, p, v, w));
    CHECK(!memcmp(p, patterns, 4 * sizeof *p), "a copy outlives its source");
    uhn_memory_free(copy);
    uhn_memory_free(NULL);
    uhn_partial_free(NULL);
}

int main(void) {
    static const size_t rows[] = {1, 2, 31, 127, 128, 129, 260};
    static const size_t features[] = {1, 3, 8, 17, 40};
    rng r = {.state = 7};

    test_known_numbers();
    test_exact_match();
    test_recall();
    test_attention();
    test_memory();
    for (int dtype = 0; dtype < 2; dtype++) {
        for (int i = 0; i < (int)UHN_N_SIMILARITIES; i++)
            for (int j = 0; j < (int)UHN_N_SEPARATIONS; j++) {
                size_t n = rows[rng_below(&r, 7)], d = features[rng_below(&r, 5)];
                workload w = workload_of((uhn_similarity)i, (uhn_separation)j, d);
                check_problem(&w, (uhn_dtype)dtype, n, d,
                              rng_below(&r, 2) ? 0 : 1 + rng_below(&r, 20),
                              1 + rng_below(&r, 6), rng_next(&r));
            }
        workload *list;
        size_t n = all_workloads(&list, 37);
        for (size_t i = 0; i < n; i++)
            check_problem(&list[i], (uhn_dtype)dtype, 1300, 37, i % 2 ? 0 : 9, 2, 1000 + i);
        free(list);
        /* Past the feature block and past two row blocks. */
        workload w = workload_of(UHN_SIM_dot, UHN_SEP_softmax, 600);
        w.equation.beta = 0.125;
        check_problem(&w, (uhn_dtype)dtype, 200, 600, 0, 3, 11);
        w = workload_of(UHN_SIM_manhattan, UHN_SEP_sparsemax, 257);
        w.equation.beta = 0.125;
        check_problem(&w, (uhn_dtype)dtype, 200, 257, 3, 3, 12);
        w = workload_of(UHN_SIM_euclidean, UHN_SEP_softmax, 5);
        check_problem(&w, (uhn_dtype)dtype, 2600, 5, 0, 2, 13);
    }
    printf("%lu numbers, largest error / bound %.3Lf, %lu bounds below one percent\n",
           n_bounded, worst_ratio, n_informative);
    CHECK(worst_ratio > 0.01L, "idle bounds");
    CHECK(n_informative * 10 > n_bounded * 9, "wide bounds");
    return check_done();
}
