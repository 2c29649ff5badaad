/*
 * test_errors.c - every status is provoked, every message is a sentence, and nothing hostile
 * crashes.
 *
 * Each wrong call is made twice, with an error record and with NULL in its place. Afterwards the
 * memory must answer as before.
 */
#include <math.h>

#include "check.h"

enum { N = 300, D = 5, B = 3, V = 4 };

static float patterns[N * D], values[N * V], queries[B * D], out[B * N], answer[B * D];
static uhn_memory *memory;
static bool seen[16];

/* `call` uses `error`, which is NULL the second time round. */
#define REFUSED(call, wanted, word)                                                            \
    do {                                                                                       \
        uhn_error record = {.message = "untouched"}, *error = &record;                         \
        uhn_status status = (call);                                                            \
        seen[-(wanted)] = true;                                                                \
        CHECK(status == (wanted), "%s: got '%s' (%s), wanted '%s'", #call,                     \
              uhn_status_string(status), record.message, uhn_status_string(wanted));           \
        if (status == (wanted)) {                                                              \
            CHECK(record.status == (wanted), "%s: status in the record", #call);               \
            CHECK(strlen(record.message) > 5 &&                                                \
                      strlen(record.message) < sizeof record.message,                          \
                  "%s: message '%s'", #call, record.message);                                  \
            CHECK(strstr(record.message, word) != NULL, "%s: '%s' lacks '%s'", #call,          \
                  record.message, word);                                                       \
        }                                                                                      \
        error = NULL;                                                                          \
        status = (call);                                                                       \
        CHECK(status == (wanted), "%s: without a record", #call);                              \
        still_answers(#call);                                                                  \
    } while (0)

static void still_answers(const char *after) {
    uhn_equation e = uhn_equation_default();
    float now[B * D];
    CHECK_OK(uhn_retrieve(memory, &e, queries, B, NULL, now, NULL, NULL));
    CHECK(!memcmp(now, answer, sizeof now), "another answer after %s", after);
    CHECK(uhn_memory_n_patterns(memory) == N, "%zu patterns after %s",
          uhn_memory_n_patterns(memory), after);
}

static void test_strings(void) {
    for (int status = 0; status >= -12; status--) {
        const char *text = uhn_status_string((uhn_status)status);
        CHECK(text && *text && text[strlen(text) - 1] != '.', "status %d: '%s'", status,
              text ? text : "(null)");
        for (int other = 0; other > status && status >= UHN_STOPPED; other--)
            CHECK(strcmp(text, uhn_status_string((uhn_status)other)), "%d and %d read alike",
                  status, other);
    }
    for (int i = -1; i <= (int)UHN_N_SIMILARITIES + 1; i++) {
        const uhn_row_info *info = uhn_similarity_info((uhn_similarity)i);
        bool in_range = i >= 0 && i < (int)UHN_N_SIMILARITIES;
        CHECK((info != NULL) == in_range, "similarity %d", i);
        if (info) CHECK(*info->name && *info->doc && info->parameters, "similarity %d", i);
    }
    for (int i = -1; i <= (int)UHN_N_SEPARATIONS + 1; i++) {
        const uhn_row_info *info = uhn_separation_info((uhn_separation)i);
        bool in_range = i >= 0 && i < (int)UHN_N_SEPARATIONS;
        CHECK((info != NULL) == in_range, "separation %d", i);
        if (info) CHECK(*info->name && *info->doc && info->parameters, "separation %d", i);
    }
    CHECK(strstr(uhn_cpu_available(), uhn_cpu_path()), "'%s' is not among '%s'", uhn_cpu_path(),
          uhn_cpu_available());
}

static void test_equation(void) {
    const double huge[] = {NAN, INFINITY, -INFINITY, -1};
#define WRONG(field, value, word)                                                              \
    do {                                                                                       \
        e.field = value;                                                                       \
        REFUSED(uhn_equation_check(&e, error), UHN_BAD_PARAMETER, word);                       \
        REFUSED(uhn_retrieve(memory, &e, queries, B, NULL, out, NULL, error),                  \
                UHN_BAD_PARAMETER, word);                                                      \
    } while (0)
    for (int i = 0; i < 4; i++) {
        uhn_equation e = uhn_equation_default();
        WRONG(beta, huge[i], "beta");
        e = uhn_equation_default();
        e.separation = UHN_SEP_polynomial;
        WRONG(degree, huge[i], "degree");
        e = uhn_equation_default();
        e.separation = UHN_SEP_entmax;
        WRONG(alpha, huge[i], "alpha");
        e = uhn_equation_default();
        e.similarity = UHN_SIM_euclidean;
        e.transform = UHN_INVERSE;
        WRONG(eps, huge[i], "eps");
        e.transform = UHN_RBF;
        e.eps = 0;
        WRONG(gamma, huge[i], "gamma");
        e = uhn_equation_default();
        e.similarity = UHN_SIM_kl;
        WRONG(eps, huge[i], "eps");
    }
    uhn_equation e = uhn_equation_default();
    e.separation = UHN_SEP_threshold;
    WRONG(theta, NAN, "theta");
    e = uhn_equation_default();
    e.separation = UHN_SEP_topk;
    WRONG(k, 0, "k");
    e = uhn_equation_default();
    WRONG(transform, UHN_RBF, "transform"); /* of a dot product */
    e = uhn_equation_default();
    WRONG(normalize, UHN_NORMALIZE_SUM, "normalize"); /* softmax already sums to 1 */

    e = uhn_equation_default();
    e.similarity = (uhn_similarity)((int)UHN_SIM_custom + 1);
    REFUSED(uhn_equation_check(&e, error), UHN_BAD_NAME, "similarity");
    e = uhn_equation_default();
    e.separation = UHN_N_SEPARATIONS;
    REFUSED(uhn_equation_check(&e, error), UHN_BAD_NAME, "separation");
    e = uhn_equation_default();
    e.transform = (uhn_transform)99;
    REFUSED(uhn_equation_check(&e, error), UHN_BAD_NAME, "transform");
    e = uhn_equation_default();
    e.normalize = (uhn_normalize)99;
    REFUSED(uhn_equation_check(&e, error), UHN_BAD_NAME, "normalize");
    /* The caller's own rows without a function. */
    e = uhn_equation_default();
    e.similarity = UHN_SIM_custom;
    REFUSED(uhn_equation_check(&e, error), UHN_BAD_PARAMETER, "similarity");
    e = uhn_equation_default();
    e.separation = UHN_SEP_custom;
    REFUSED(uhn_equation_check(&e, error), UHN_BAD_PARAMETER, "separation");
#undef WRONG
}

static void test_shapes(void) {
    uhn_memory *none = (uhn_memory *)&none;
    uhn_equation e = uhn_equation_default();
    uhn_partial *partial = NULL;
    const size_t huge[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 4 + 1, SIZE_MAX / 16,
                           (size_t)1 << 60};

    CHECK_STATUS(uhn_memory_new(UHN_FLOAT32, 0, 0, 0, &none), UHN_BAD_SHAPE);
    CHECK_STATUS(uhn_memory_new((uhn_dtype)7, 3, 0, 0, &none), UHN_BAD_PARAMETER);
    seen[-UHN_BAD_SHAPE] = true;
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        /* Sizes whose bytes do not fit size_t are refused before anything is read or allocated.
         */
        uhn_rows rows = {.patterns = patterns, .n_rows = huge[i]};
        CHECK(uhn_memory_new(UHN_FLOAT32, huge[i], 0, 0, &none) != UHN_OK ||
                  (uhn_memory_free(none), 1),
              "a memory of %zu features", huge[i]);
        rows.values = values;
        uhn_error record;
        uhn_status status = uhn_memory_store(memory, &rows, &record);
        CHECK(status == UHN_BAD_SHAPE || status == UHN_NO_MEMORY, "store of %zu rows: %s",
              huge[i], uhn_status_string(status));
        status = uhn_retrieve(memory, &e, queries, huge[i], NULL, out, NULL, &record);
        CHECK(status == UHN_BAD_SHAPE || status == UHN_NO_MEMORY, "%zu queries: %s", huge[i],
              uhn_status_string(status));
        status = uhn_scores(memory, &e, queries, huge[i], NULL, out, &record);
        CHECK(status == UHN_BAD_SHAPE || status == UHN_NO_MEMORY, "scores of %zu queries: %s",
              huge[i], uhn_status_string(status));
        status = uhn_partial_new(memory, &e, queries, huge[i], 0, N, NULL, &partial, &record);
        CHECK(status == UHN_BAD_SHAPE || status == UHN_NO_MEMORY, "partial of %zu queries: %s",
              huge[i], uhn_status_string(status));
        status = uhn_separate(UHN_FLOAT32, &e, out, huge[i], huge[i], NULL, out, &record);
        CHECK(status == UHN_BAD_SHAPE || status == UHN_NO_MEMORY, "separate %zu: %s", huge[i],
              uhn_status_string(status));
        uhn_head head = {.queries = queries, .keys = patterns, .values = patterns, .out = out};
        status = uhn_attention(UHN_FLOAT32, &e, &head, 1, huge[i], N, D, D, NULL, &record);
        CHECK(status == UHN_BAD_SHAPE || status == UHN_NO_MEMORY,
              "attention of %zu queries: %s", huge[i], uhn_status_string(status));
        REFUSED(uhn_partial_new(memory, &e, queries, B, 0, huge[i], NULL, &partial, error),
                UHN_BAD_SHAPE, "");
        REFUSED(uhn_partial_new(memory, &e, queries, B, huge[i], huge[i], NULL, &partial,
                                error),
                UHN_BAD_SHAPE, "");
        still_answers("a huge size");
    }
    int64_t indices[B];
    REFUSED(uhn_partial_new(memory, &e, queries, B, 2, 1, NULL, &partial, error), UHN_BAD_SHAPE,
            "");
    REFUSED(uhn_nearest(memory, &e, queries, B, N + 1, NULL, indices, out, error),
            UHN_BAD_PARAMETER, "k");
    REFUSED(uhn_nearest(memory, &e, queries, B, 0, NULL, indices, out, error),
            UHN_BAD_PARAMETER, "k");
    /* A shard whose rows would pass the largest row number, at once or when they are stored. */
    const size_t last_rows[] = {SIZE_MAX, SIZE_MAX - 1, INT64_MAX, (size_t)INT64_MAX - 1,
                                SIZE_MAX - 1024};
    uhn_rows rows = {.patterns = patterns, .n_rows = 5};
    for (size_t i = 0; i < sizeof last_rows / sizeof *last_rows; i++) {
        uhn_memory *last = NULL;
        uhn_status status = uhn_memory_new(UHN_FLOAT32, D, 0, last_rows[i], &last);
        if (status == UHN_OK) status = uhn_memory_store(last, &rows, NULL);
        CHECK(status == UHN_BAD_SHAPE, "first row %zu: %s", last_rows[i],
              uhn_status_string(status));
        uhn_memory_free(last);
    }
    /* Values where none belong, and none where they do. */
    rows.values = values;
    REFUSED(uhn_memory_store(memory, &rows, error), UHN_BAD_SHAPE, "values");
    uhn_memory *hetero = NULL;
    CHECK_OK(uhn_memory_new(UHN_FLOAT32, D, V, 0, &hetero));
    rows.values = NULL;
    REFUSED(uhn_memory_store(hetero, &rows, error), UHN_BAD_SHAPE, "values");
    rows.values = values;
    CHECK_OK(uhn_memory_store(hetero, &rows, NULL));
    /* Iteration needs values that are queries again. */
    REFUSED(uhn_recall(hetero, &e, queries, B, 2, 0, NULL, out, NULL, NULL, NULL, NULL, error),
            UHN_BAD_SHAPE, "");
    uhn_memory_free(hetero);
    /* No rows, no queries: nothing to do, no error. */
    rows = (uhn_rows){.patterns = patterns, .n_rows = 0};
    CHECK_OK(uhn_memory_store(memory, &rows, NULL));
    CHECK_OK(uhn_retrieve(memory, &e, queries, 0, NULL, out, NULL, NULL));
    CHECK_OK(uhn_scores(memory, &e, queries, 0, NULL, out, NULL));
    CHECK_OK(uhn_recall(memory, &e, queries, 0, 5, 0, NULL, out, NULL, NULL, NULL, NULL, NULL));
    still_answers("nothing");
    CHECK_STATUS(uhn_set_num_threads(0), UHN_BAD_PARAMETER);
    CHECK_STATUS(uhn_set_num_threads(-3), UHN_BAD_PARAMETER);
    CHECK(uhn_num_threads() >= 1, "%d threads", uhn_num_threads());
    int before = uhn_num_threads();
    CHECK_OK(uhn_set_num_threads(3));
    CHECK(uhn_num_threads() == 3, "%d threads", uhn_num_threads());
    CHECK_OK(uhn_set_num_threads(before));
}

static void count_release(void *owner) { ++*(int *)owner; }

static void test_data(void) {
    const double bad[] = {NAN, INFINITY, -INFINITY};
    uhn_equation e = uhn_equation_default();
    static float copy[N * D];
    float prior[N];

    for (int i = 0; i < 3; i++)
        for (int at_end = 0; at_end < 2; at_end++)
            for (int borrow = 0; borrow < 2; borrow++) {
                int releases = 0;
                uhn_rows rows = {.patterns = copy,
                                 .n_rows = N,
                                 .borrow = borrow,
                                 .release = count_release,
                                 .owner = &releases};
                memcpy(copy, patterns, sizeof copy);
                copy[at_end ? N * D - 1 : 7] = (float)bad[i];
                REFUSED(uhn_memory_store(memory, &rows, error), UHN_BAD_DATA, "patterns");
                REFUSED(uhn_memory_store(memory, &rows, error), UHN_BAD_DATA,
                        at_end ? "[299, 4]" : "[1, 2]");
                CHECK(releases == 0, "rows that were refused were given back");
                float spoilt[B * D];
                memcpy(spoilt, queries, sizeof spoilt);
                spoilt[at_end ? B * D - 1 : 7] = (float)bad[i];
                REFUSED(uhn_check_rows(UHN_FLOAT32, spoilt, B, D, &e, "queries", NULL, error),
                        UHN_BAD_DATA, "queries");
            }
    uhn_rows rows = {.patterns = patterns, .prior = prior, .n_rows = N};
    const double bad_prior[] = {NAN, INFINITY, 0, -1};
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < N; j++) prior[j] = 1;
        prior[N - 1] = (float)bad_prior[i];
        REFUSED(uhn_memory_store(memory, &rows, error), UHN_BAD_DATA, "prior");
    }
    /* Domains: negative entries for distributions; a row that sums to 0 for the kl kin. */
    static const uhn_similarity distributions[] = {UHN_SIM_normalized_dot, UHN_SIM_kl,
                                                   UHN_SIM_reverse_kl, UHN_SIM_jensen_shannon};
    const float negative[3] = {1, 1, -1}, zero[3] = {0, 0, 0}, fine[3] = {1, 0, 2};
    for (int i = 0; i < 4; i++) {
        e = uhn_equation_default();
        e.similarity = distributions[i];
        REFUSED(uhn_check_rows(UHN_FLOAT32, negative, 1, 3, &e, "rows", NULL, error),
                UHN_BAD_DATA, "rows");
        CHECK_OK(uhn_check_rows(UHN_FLOAT32, fine, 1, 3, &e, "rows", NULL, NULL));
        if (i == 0) continue;
        REFUSED(uhn_check_rows(UHN_FLOAT32, zero, 1, 3, &e, "rows", NULL, error), UHN_BAD_DATA,
                "rows");
        e.eps = 0.5;
        CHECK_OK(uhn_check_rows(UHN_FLOAT32, zero, 1, 3, &e, "rows", NULL, NULL));
    }
    e = uhn_equation_default();
    CHECK_OK(uhn_check_rows(UHN_FLOAT32, negative, 1, 3, &e, "rows", NULL, NULL));
    CHECK_OK(uhn_check_rows(UHN_FLOAT32, negative, 0, 3, &e, "rows", NULL, NULL));
    /* Roots and logarithms of negative scores, and odd powers of them. */
    e.separation = UHN_SEP_sqrt;
    REFUSED(uhn_retrieve(memory, &e, queries, B, NULL, out, NULL, error), UHN_BAD_DATA, "");
    e.separation = UHN_SEP_log1p;
    REFUSED(uhn_retrieve(memory, &e, queries, B, NULL, out, NULL, error), UHN_BAD_DATA, "");
    e.separation = UHN_SEP_polynomial;
    e.degree = 2.5;
    REFUSED(uhn_retrieve(memory, &e, queries, B, NULL, out, NULL, error), UHN_BAD_DATA, "");
}

/* Rows that are borrowed unseen are looked at by who asks them; all others at once. */
static void test_unseen(void) {
    uhn_equation e = uhn_equation_default();
    static float copy[N * D];
    int releases = 0;
    uhn_rows rows = {.patterns = copy,
                     .n_rows = N,
                     .borrow = true,
                     .unseen = true,
                     .release = count_release,
                     .owner = &releases};
    uhn_memory *mapped = NULL, *whole = NULL, *second = NULL;
    uhn_partial *partial = NULL;
    memcpy(copy, patterns, sizeof copy);
    copy[N * D - 1] = NAN;
    CHECK_OK(uhn_memory_new(UHN_FLOAT32, D, 0, 0, &mapped));
    CHECK_OK(uhn_memory_store(mapped, &rows, NULL));
    for (int again = 0; again < 2; again++) {
        REFUSED(uhn_retrieve(mapped, &e, queries, B, NULL, out, NULL, error), UHN_BAD_DATA,
                "patterns[299, 4]");
        REFUSED(uhn_partial_new(mapped, &e, queries, B, 290, N, NULL, &partial, error),
                UHN_BAD_DATA, "patterns[299, 4]");
        CHECK_OK(uhn_partial_new(mapped, &e, queries, B, 0, 200, NULL, &partial, NULL));
        uhn_partial_free(partial);
        partial = NULL;
    }
    CHECK_OK(uhn_memory_copy(mapped, &second));
    REFUSED(uhn_retrieve(second, &e, queries, B, NULL, out, NULL, error), UHN_BAD_DATA,
            "patterns[299, 4]");
    /* Values, too. */
    rows.values = copy;
    rows.patterns = patterns;
    CHECK_OK(uhn_memory_new(UHN_FLOAT32, D, D, 0, &whole));
    CHECK_OK(uhn_memory_store(whole, &rows, NULL));
    REFUSED(uhn_retrieve(whole, &e, queries, B, NULL, out, NULL, error), UHN_BAD_DATA,
            "values[299, 4]");
    /* A few rows more are copied, and so is what is not borrowed: that is seen at once. */
    REFUSED(uhn_memory_store(whole, &rows, error), UHN_BAD_DATA, "values[299, 4]");
    rows.borrow = false;
    REFUSED(uhn_memory_store(whole, &rows, error), UHN_BAD_DATA, "values[299, 4]");
    uhn_memory_free(mapped);
    CHECK(releases == 0, "%d releases while a copy has the rows", releases);
    uhn_memory_free(second);
    uhn_memory_free(whole);
    CHECK(releases == 2, "%d releases", releases);
}

static void test_empty(void) {
    uhn_memory *empty = NULL;
    uhn_equation e = uhn_equation_default();
    int64_t indices[B];

    CHECK_OK(uhn_memory_new(UHN_FLOAT32, D, 0, 0, &empty));
    REFUSED(uhn_retrieve(empty, &e, queries, B, NULL, out, NULL, error), UHN_EMPTY, "");
    REFUSED(uhn_recall(empty, &e, queries, B, 3, 0, NULL, out, NULL, NULL, NULL, NULL, error),
            UHN_EMPTY, "");
    CHECK(uhn_nearest(empty, &e, queries, B, 1, NULL, indices, out, NULL) != UHN_OK,
          "the nearest of none");
    uhn_memory_free(empty);
    /* KL is infinite where the query has no mass and the pattern has: no pattern can answer. */
    uhn_memory *apart = NULL;
    const float left[2] = {1, 0}, right[2] = {0, 1};
    e.similarity = UHN_SIM_kl;
    CHECK_OK(uhn_memory_new(UHN_FLOAT32, 2, 0, 0, &apart));
    CHECK_OK(uhn_memory_store(apart, &(uhn_rows){.patterns = left, .n_rows = 1}, NULL));
    REFUSED(uhn_retrieve(apart, &e, right, 1, NULL, out, NULL, error), UHN_EMPTY, "0");
    e.eps = 0.125;
    CHECK_OK(uhn_retrieve(apart, &e, right, 1, NULL, out, NULL, NULL));
    CHECK(out[0] == 1 && out[1] == 0, "%g %g", (double)out[0], (double)out[1]);
    uhn_memory_free(apart);
}

static void test_overflow(void) {
    uhn_memory *large = NULL;
    const float rows[4] = {3e19f, 3e19f, 1, 2}, query[2] = {1e19f, 1e19f};
    uhn_equation e = uhn_equation_default();

    CHECK_OK(uhn_memory_new(UHN_FLOAT32, 2, 0, 0, &large));
    CHECK_OK(uhn_memory_store(large, &(uhn_rows){.patterns = rows, .n_rows = 2}, NULL));
    e.separation = UHN_SEP_exponential;
    REFUSED(uhn_retrieve(large, &e, query, 1, NULL, out, NULL, error), UHN_OVERFLOW, "");
    e.separation = UHN_SEP_polynomial;
    e.degree = 9;
    REFUSED(uhn_retrieve(large, &e, query, 1, NULL, out, NULL, error), UHN_OVERFLOW, "");
    uhn_memory_free(large);
    /* Softmax never overflows, whatever beta is. */
    e = uhn_equation_default();
    e.beta = 1e300;
    CHECK_OK(uhn_retrieve(memory, &e, queries, B, NULL, out, NULL, NULL));
    for (int i = 0; i < B * D; i++) CHECK(isfinite(out[i]), "%g", (double)out[i]);
}

static int failing_score(void *context, size_t first_row, const void *p, size_t n_rows,
                         const void *q, size_t n_queries, void *scores) {
    (void)p, (void)q;
    memset(scores, 0, n_rows * n_queries * sizeof(float));
    return first_row + n_rows > *(size_t *)context;
}

static int failing_weigh(void *context, size_t first_row, size_t n_rows, size_t n_queries,
                         void *scores) {
    (void)first_row, (void)n_rows, (void)n_queries, (void)scores;
    return *(int *)context;
}

static int stop_after(void *context) { return --*(int *)context < 0; }

static void test_callbacks(void) {
    uhn_equation e = uhn_equation_default();
    size_t last = 200;
    int yes = 1;
    e.similarity = UHN_SIM_custom;
    e.score = failing_score;
    e.score_context = &last;
    REFUSED(uhn_retrieve(memory, &e, queries, B, NULL, out, NULL, error), UHN_CALLBACK, "");
    last = 0;
    REFUSED(uhn_scores(memory, &e, queries, B, NULL, out, error), UHN_CALLBACK, "");
    e = uhn_equation_default();
    e.separation = UHN_SEP_custom;
    e.weigh = failing_weigh;
    e.weigh_context = &yes;
    REFUSED(uhn_retrieve(memory, &e, queries, B, NULL, out, NULL, error), UHN_CALLBACK, "");
    REFUSED(uhn_weights(memory, &e, queries, B, NULL, out, error), UHN_CALLBACK, "");

    /* Stopping, at once and later; the memory is large enough for several polls. */
    enum { ROWS = 40000 };
    float *many = must_alloc(sizeof(float) * ROWS * D);
    uhn_memory *large = NULL;
    rng r = {.state = 8};
    fill(UHN_FLOAT32, many, ROWS * D, &r, FILL_SIGNED);
    CHECK_OK(uhn_memory_new(UHN_FLOAT32, D, 0, 0, &large));
    CHECK_OK(uhn_memory_store(large,
                              &(uhn_rows){.patterns = many, .n_rows = ROWS, .borrow = true},
                              NULL));
    e = uhn_equation_default();
    for (int threads = 1; threads <= 2; threads++) {
        int left = 0;
        uhn_run run = {.n_threads = threads, .stop = stop_after, .stop_context = &left};
        uhn_partial *partial = NULL;
        REFUSED((left = 0, uhn_retrieve(large, &e, queries, B, &run, out, NULL, error)),
                UHN_STOPPED, "");
        if (threads == 1)
            REFUSED((left = 3, uhn_retrieve(large, &e, queries, B, &run, out, NULL, error)),
                    UHN_STOPPED, "");
        REFUSED((left = 0,
                 uhn_partial_new(large, &e, queries, B, 0, ROWS, &run, &partial, error)),
                UHN_STOPPED, "");
        left = 1 << 30;
        CHECK_OK(uhn_retrieve(large, &e, queries, B, &run, out, NULL, NULL));
        /* Storing looks at every row, and a stop leaves the memory as it was. */
        const uhn_rows more = {.patterns = many, .n_rows = ROWS, .run = &run};
        REFUSED((left = 0, uhn_memory_store(large, &more, error)), UHN_STOPPED, "");
        CHECK(uhn_memory_n_patterns(large) == ROWS, "%zu patterns after a stopped store",
              uhn_memory_n_patterns(large));
    }
    uhn_memory_free(large);
    free(many);
}

/* ------------------------------------------------------------------------------ partials -- */

static uhn_partial *partial_of(const uhn_equation *e, size_t n_queries, size_t start,
                               size_t stop) {
    uhn_partial *partial = NULL;
    CHECK_OK(uhn_partial_new(memory, e, queries, n_queries, start, stop, NULL, &partial, NULL));
    return partial;
}

static void test_mismatch(void) {
    uhn_equation e = uhn_equation_default(), other = e, best = e, shares = e;
    other.beta = 2;
    best.separation = UHN_SEP_max;
    shares.normalize_scores = true;
    uhn_partial *parts[] = {partial_of(&e, B, 0, 100),     partial_of(&e, B, 99, N),
                            partial_of(&other, B, 100, N), partial_of(&best, B, 100, N),
                            partial_of(&e, B - 1, 100, N), partial_of(&e, B, 200, N)};
    uhn_partial *merged = NULL;
    for (size_t i = 1; i <= 4; i++) {
        const uhn_partial *pair[2] = {parts[0], parts[i]};
        REFUSED(uhn_partial_merge(pair, 2, &merged, error), UHN_MISMATCH, "");
    }
    const uhn_partial *twice[2] = {parts[0], parts[0]};
    REFUSED(uhn_partial_merge(twice, 2, &merged, error), UHN_MISMATCH, "");
    /* A gap is no error: the rest may come later. */
    const uhn_partial *gap[2] = {parts[5], parts[0]};
    CHECK_OK(uhn_partial_merge(gap, 2, &merged, NULL));
    CHECK(uhn_partial_n_patterns(merged) == 200, "%zu rows", uhn_partial_n_patterns(merged));
    uhn_partial *between = partial_of(&e, B, 150, 201);
    const uhn_partial *overlap[2] = {merged, between};
    uhn_partial *never = NULL;
    REFUSED(uhn_partial_merge(overlap, 2, &never, error), UHN_MISMATCH, "");
    uhn_partial_free(between);
    uhn_partial_free(merged);
    REFUSED(uhn_partial_new(memory, &shares, queries, B, 0, N, NULL, &merged, error),
            UHN_BAD_PARAMETER, "normalize");
    for (size_t i = 0; i < 6; i++) uhn_partial_free(parts[i]);
    /* Nothing at all was seen. */
    uhn_partial *nothing = partial_of(&e, B, 0, 0);
    REFUSED(uhn_partial_finish(nothing, out, NULL, error), UHN_EMPTY, "");
    uhn_partial_free(nothing);
}

static unsigned long n_wires, n_accepted;

/* Reads a buffer that may be anything; whatever is accepted must then be usable. */
static void try_wire(const unsigned char *wire, size_t n_bytes, const uhn_partial *friendly) {
    /* An allocation of the exact size, so that a sanitizer sees any byte read past the end. */
    unsigned char *exact = must_alloc(n_bytes);
    memcpy(exact, wire, n_bytes);
    uhn_partial *partial = NULL, *merged = NULL;
    uhn_error error = {.message = ""};
    uhn_status status = uhn_partial_read(exact, n_bytes, &partial, &error);
    free(exact);
    n_wires++;
    if (status != UHN_OK) {
        CHECK(partial == NULL && *error.message, "a refused wire: '%s'", error.message);
        return;
    }
    n_accepted++;
    size_t n_queries = uhn_partial_n_queries(partial), n_values = uhn_partial_n_values(partial);
    /* A partial cannot promise more numbers than its wire could hold. */
    if (CHECK(n_queries == 0 || n_values <= n_bytes / n_queries, "%zu queries of %zu values",
              n_queries, n_values)) {
        void *answers =
            must_alloc(n_queries * n_values * item_size(uhn_partial_dtype(partial)));
        uint8_t *answered = must_alloc(n_queries);
        (void)uhn_partial_finish(partial, answers, answered, &error);
        free(answers);
        free(answered);
    }
    const uhn_partial *pair[2] = {friendly, partial};
    if (friendly && uhn_partial_merge(pair, 2, &merged, &error) == UHN_OK) {
        size_t size = uhn_partial_wire_size(merged);
        void *again = must_alloc(size);
        uhn_partial_write(merged, again);
        free(again);
        uhn_partial_free(merged);
    }
    uhn_partial_free(partial);
}

static void test_wire(void) {
    static const uhn_separation families[] = {UHN_SEP_identity,  UHN_SEP_softmax,
                                              UHN_SEP_max,       UHN_SEP_topk,
                                              UHN_SEP_sparsemax, UHN_SEP_threshold};
    rng r = {.state = 17};
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        uhn_equation e = uhn_equation_default();
        e.separation = families[f];
        e.k = 3;
        uhn_partial *partial = partial_of(&e, 2, 100, N), *friendly = partial_of(&e, 2, 0, 100);
        size_t size = uhn_partial_wire_size(partial);
        unsigned char *wire = must_alloc(size + 64), *mutant = must_alloc(size + 64);
        memset(wire, 0xee, size + 64);
        uhn_partial_write(partial, wire);
        for (size_t i = size; i < size + 64; i++) CHECK(wire[i] == 0xee, "wrote past the wire");
        /* Every cut, and more than there is. */
        unsigned long good = n_accepted;
        for (size_t i = 0; i < size; i++) try_wire(wire, i, friendly);
        CHECK(n_accepted == good, "a cut wire was accepted");
        uhn_partial *back = NULL;
        CHECK(uhn_partial_read(wire, size + 1, &back, NULL) != UHN_OK,
              "a longer wire was accepted");
        try_wire(wire, size, friendly);
        CHECK(n_accepted == good + 1, "the wire itself was refused");
        /* Every byte, in five ways; every word, with sizes that overflow. */
        for (size_t i = 0; i < size; i++) {
            const unsigned char other[] = {0, 0xff, (unsigned char)(wire[i] ^ 1),
                                           (unsigned char)(wire[i] ^ 0x80),
                                           (unsigned char)rng_next(&r)};
            memcpy(mutant, wire, size);
            for (size_t j = 0; j < sizeof other; j++) {
                mutant[i] = other[j];
                try_wire(mutant, size, friendly);
            }
        }
        const uint64_t words[] = {0,
                                  1,
                                  2,
                                  UINT64_MAX,
                                  UINT64_MAX / 2,
                                  UINT64_MAX / 4 + 1,
                                  UINT64_MAX / 8 + 1,
                                  (uint64_t)1 << 32,
                                  (uint64_t)1 << 48,
                                  0x7ff8000000000000u, /* NaN */
                                  0x7ff0000000000000u};
        for (size_t i = 0; i + 8 <= size; i += 4)
            for (size_t j = 0; j < sizeof words / sizeof *words; j++) {
                memcpy(mutant, wire, size);
                memcpy(mutant + i, &words[j], 8);
                try_wire(mutant, size, friendly);
            }
        for (int i = 0; i < 3000; i++) {
            memcpy(mutant, wire, size);
            for (size_t hits = 1 + rng_below(&r, 6); hits; hits--)
                mutant[rng_below(&r, size)] = (unsigned char)rng_next(&r);
            try_wire(mutant, size, friendly);
        }
        uhn_partial_free(partial);
        uhn_partial_free(friendly);
        free(wire);
        free(mutant);
    }
    for (int i = 0; i < 3000; i++) { /* noise */
        unsigned char noise[256];
        for (size_t j = 0; j < sizeof noise; j++) noise[j] = (unsigned char)rng_next(&r);
        try_wire(noise, rng_below(&r, sizeof noise), NULL);
    }
    printf("%lu hostile wires, %lu of them readable\n", n_wires, n_accepted);
}

/* Random equations out of hostile numbers: any status, no crash. */
static void test_random_equations(void) {
    const double numbers[] = {0,   1, -1,       2,         0.5,   1e-300, 1e300, 1e38,
                              NAN, 3, INFINITY, -INFINITY, 1e-40, 709,    88.8,  1.0000001};
    const size_t ks[] = {0, 1, 2, 128, 300, 301, SIZE_MAX};
    rng r = {.state = 4};
    uint8_t answered[B];
    for (int i = 0; i < 4000; i++) {
        uhn_equation e = uhn_equation_default();
        e.similarity = (uhn_similarity)rng_below(&r, UHN_N_SIMILARITIES);
        e.separation = (uhn_separation)rng_below(&r, UHN_N_SEPARATIONS);
        e.transform = (uhn_transform)rng_below(&r, 4);
        e.normalize = (uhn_normalize)rng_below(&r, 3);
        e.normalize_scores = rng_below(&r, 5) == 0;
#define ANY(field)                                                                             \
    if (rng_below(&r, 3) == 0) e.field = numbers[rng_below(&r, 16)]
        ANY(eps);
        ANY(gamma);
        ANY(beta);
        ANY(degree);
        ANY(theta);
        ANY(alpha);
#undef ANY
        e.k = ks[rng_below(&r, 7)];
        uhn_error error = {.message = ""};
        uhn_status status = uhn_retrieve(memory, &e, queries, B, NULL, out, answered, &error);
        CHECK(status <= UHN_OK && status >= UHN_STOPPED, "status %d", status);
        if (status == UHN_OK) {
            CHECK_OK(uhn_equation_check(&e, NULL));
            for (int j = 0; j < B * D; j++)
                CHECK(isfinite(out[j]), "%s %s: %g", uhn_similarity_info(e.similarity)->name,
                      uhn_separation_info(e.separation)->name, (double)out[j]);
        } else {
            CHECK(*error.message && error.status == status, "no message for '%s'",
                  uhn_status_string(status));
        }
        (void)uhn_weights(memory, &e, queries, B, NULL, out, &error);
        (void)uhn_separate(UHN_FLOAT32, &e, patterns, B, 100, NULL, out, &error);
    }
    still_answers("random equations");
}

int main(void) {
    rng r = {.state = 6};
    uhn_equation e = uhn_equation_default();

    fill(UHN_FLOAT32, patterns, N * D, &r, FILL_SIGNED);
    fill(UHN_FLOAT32, values, N * V, &r, FILL_SIGNED);
    fill(UHN_FLOAT32, queries, B * D, &r, FILL_SIGNED);
    CHECK_OK(uhn_memory_new(UHN_FLOAT32, D, 0, 0, &memory));
    CHECK_OK(uhn_memory_store(memory, &(uhn_rows){.patterns = patterns, .n_rows = N}, NULL));
    CHECK_OK(uhn_retrieve(memory, &e, queries, B, NULL, answer, NULL, NULL));
    test_strings();
    test_equation();
    test_shapes();
    test_data();
    test_unseen();
    test_empty();
    test_overflow();
    test_callbacks();
    test_mismatch();
    test_wire();
    test_random_equations();
    uhn_memory_free(memory);
    /* UHN_NO_MEMORY has a program of its own: test_alloc.c. */
    for (int status = UHN_BAD_SHAPE; status >= UHN_STOPPED; status--)
        CHECK(seen[-status], "'%s' was never provoked", uhn_status_string((uhn_status)status));
    return check_done();
}
