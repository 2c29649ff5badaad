/*
 * test_dense.c - the dense associative memory against the textbook's formula in whole numbers,
 * and its kernels against loops over bits.
 */
#include "check.h"

#include "../../csrc/kernels.h"

/* ------------------------------------------------------------------------------- kernels -- */

static void fill_signs(int8_t *out, size_t n, rng *r) {
    for (size_t i = 0; i < n; i++) out[i] = rng_next(r) >> 63 ? 1 : -1;
}

static void kernels_of(const char *path, const uhn_bit_kernels *kernels, rng *r) {
    enum { MOST = 2100, WORDS = (MOST + 31) / 32, TABLE = 97 };
    static uint32_t bits[WORDS];
    static int32_t values[WORDS * 32] __attribute__((aligned(64)));
    static int32_t counts[WORDS * 32] __attribute__((aligned(64)));
    static int32_t wanted[WORDS * 32];
    int32_t table[TABLE];
    static const size_t sizes[] = {1, 5, 31, 32, 33, 63, 64, 65, 500, 1023, 1024, 1025, 2100};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t n = sizes[s], n_words = (n + 31) / 32;
        const uint32_t last = ~0u >> (32 * n_words - n);
        for (int turn = 0; turn < 6; turn++) {
            const int32_t step = turn % 3 - 1;
            uhn_turn found, want = {0, 0, INT32_MIN, INT32_MAX};
            int64_t total = 0;
            for (size_t w = 0; w < n_words; w++) bits[w] = (uint32_t)rng_next(r);
            bits[n_words - 1] &= last;
            /* At the bounds, so that a sum kept too narrow overflows. */
            for (int i = 0; i < TABLE; i++)
                table[i] =
                    turn < 3 ? (1 << 25) - i : (int32_t)rng_below(r, 1 << 26) - (1 << 25);
            memset(counts, 0, sizeof counts);
            memset(values, 0x55, sizeof values);
            for (size_t p = 0; p < n; p++)
                counts[p] = wanted[p] = 1 + (int32_t)rng_below(r, TABLE - 2);
            kernels->turn(bits, n_words, last, step, table, counts, values, &found);
            for (size_t p = 0; p < n; p++) {
                const bool set = bits[p / 32] >> (p % 32) & 1;
                wanted[p] += set ? -step : step;
                CHECK(counts[p] == wanted[p] && values[p] == table[wanted[p]],
                      "%s, %zu patterns, step %d, pattern %zu", path, n, step, p);
                want.sum += table[wanted[p]];
                want.set += set ? table[wanted[p]] : 0;
                want.most = want.most > wanted[p] ? want.most : wanted[p];
                want.least = want.least < wanted[p] ? want.least : wanted[p];
                total += set ? values[p] : 0;
            }
            for (size_t p = n; p < 32 * n_words; p++)
                CHECK(counts[p] == 0 && values[p] == 0, "%s, place %zu of %zu", path, p, n);
            CHECK(found.sum == want.sum && found.set == want.set && found.most == want.most &&
                      found.least == want.least,
                  "%s, %zu patterns, step %d", path, n, step);
            CHECK(kernels->masked_sum(bits, n_words, values) == total, "%s, %zu patterns", path,
                  n);
        }
    }
}

static void test_kernels(rng *r) {
    const char *available = uhn_cpu_available();
    kernels_of("generic", &uhn_bits_generic, r);
#if defined(__x86_64__)
    if (strstr(available, "avx2")) kernels_of("avx2", &uhn_bits_avx2, r);
    if (strstr(available, "avx512")) {
        kernels_of("avx512", &uhn_bits_avx512, r);
        if (__builtin_cpu_supports("avx512vpopcntdq"))
            kernels_of("avx512popcnt", &uhn_bits_avx512popcnt, r);
    }
#elif defined(__aarch64__)
    if (strstr(available, "neon")) kernels_of("neon", &uhn_bits_neon, r);
#endif
}

/* Bits of rows and columns, at sizes with every kind of remainder. */
static void test_packing(rng *r) {
    enum { MOST = 140 };
    for (int round = 0; round < 400; round++) {
        const size_t k = rng_below(r, MOST), n = rng_below(r, MOST);
        const size_t row_words = (n + 63) / 64, column_words = (k + 31) / 32;
        /* Exactly as large as they must be, so that a sanitizer sees what goes beyond. */
        int8_t *rows = must_alloc(k * n);
        uint64_t *by_rows = must_alloc(k * row_words * sizeof *by_rows);
        uint32_t *by_columns = must_alloc(n * column_words * sizeof *by_columns);
        fill_signs(rows, k * n, r);
        memset(by_rows, 0x55, k * row_words * sizeof *by_rows);
        memset(by_columns, 0x55, n * column_words * sizeof *by_columns);
        uhn_pack_rows(rows, k, n, by_rows);
        uhn_pack_columns(rows, k, n, by_columns);
        bool right = true;
        for (size_t p = 0; p < k; p++)
            for (size_t i = 0; i < 64 * row_words; i++)
                right &= (by_rows[p * row_words + i / 64] >> (i % 64) & 1) ==
                         (i < n && rows[p * n + i] > 0);
        CHECK(right, "%zu rows of %zu", k, n);
        right = true;
        for (size_t i = 0; i < n; i++)
            for (size_t p = 0; p < 32 * column_words; p++)
                right &= (by_columns[i * column_words + p / 32] >> (p % 32) & 1) ==
                         (p < k && rows[p * n + i] > 0);
        CHECK(right, "%zu columns of %zu", n, k);
        free(rows);
        free(by_rows);
        free(by_columns);
    }
}

/* -------------------------------------------------------------------------- the textbook -- */

enum { MOST_UNITS = 40, MOST_PATTERNS = 70 };

static int64_t f(int64_t x, int degree, bool rectified) {
    int64_t power = 1;
    if (rectified && x < 0) return 0;
    for (int i = 0; i < degree; i++) power *= x;
    return power;
}

static int64_t overlap(const int8_t *a, const int8_t *b, size_t n) {
    int64_t m = 0;
    for (size_t i = 0; i < n; i++) m += a[i] * b[i];
    return m;
}

static int64_t energy(const int8_t *patterns, size_t k, size_t n, const int8_t *state,
                      int degree, bool rectified) {
    int64_t sum = 0;
    for (size_t p = 0; p < k; p++)
        sum -= f(overlap(patterns + p * n, state, n), degree, rectified);
    return sum;
}

/* Random networks whose energies fit 63 bits: one sweep, unit by unit, with every tie rule. */
static void test_textbook(rng *r) {
    static int8_t patterns[MOST_PATTERNS * MOST_UNITS], states[3 * MOST_UNITS];
    static int8_t wanted[3 * MOST_UNITS], before[3 * MOST_UNITS];
    double energies[3], differences[3 * MOST_UNITS];
    int64_t order[MOST_UNITS], sweeps[3];
    uint8_t reasons[3], changed[3];
    for (int round = 0; round < 3000; round++) {
        const size_t n = 1 + rng_below(r, MOST_UNITS), k = 1 + rng_below(r, MOST_PATTERNS);
        const int degree = 2 + (int)rng_below(r, 5);
        const bool rectified = rng_below(r, 2);
        const uhn_tie tie = (uhn_tie)rng_below(r, UHN_N_TIES);
        uhn_dense *dense;
        fill_signs(patterns, k * n, r);
        fill_signs(states, 3 * n, r);
        if (k > 1 && round % 3 == 0)
            for (size_t i = 0; i < n; i++) patterns[n + i] = (int8_t)-patterns[i];
        memcpy(states, patterns, n);
        memcpy(wanted, states, 3 * n);
        CHECK_OK(uhn_dense_new(patterns, k, n,
                               rectified ? UHN_RECTIFIED_POLYNOMIAL : UHN_POLYNOMIAL, degree,
                               false, NULL, &dense, NULL));
        CHECK(uhn_dense_n_units(dense) == n);
        CHECK_OK(uhn_dense_energies(dense, states, 3, NULL, energies, NULL));
        CHECK_OK(uhn_dense_differences(dense, states, 3, NULL, differences, NULL));
        for (size_t s = 0; s < 3; s++) {
            int8_t *state = wanted + s * n;
            const int64_t e = energy(patterns, k, n, state, degree, rectified);
            CHECK(energies[s] == (double)e);
            for (size_t i = 0; i < n; i++) {
                state[i] = (int8_t)-state[i];
                const int64_t rise = energy(patterns, k, n, state, degree, rectified) - e;
                state[i] = (int8_t)-state[i];
                CHECK(differences[s * n + i] == (double)rise);
            }
        }
        for (size_t i = 0; i < n; i++) {
            const size_t j = rng_below(r, i + 1);
            order[i] = order[j];
            order[j] = (int64_t)i;
        }
        for (size_t s = 0; s < 3; s++)
            for (size_t c = 0; c < n; c++) {
                int8_t *state = wanted + s * n, *unit = state + order[c];
                *unit = 1;
                const int64_t up = energy(patterns, k, n, state, degree, rectified);
                *unit = -1;
                const int64_t down = energy(patterns, k, n, state, degree, rectified);
                if (up != down) *unit = up < down ? 1 : -1;
                else if (tie == UHN_TIE_KEEP) *unit = states[s * n + (size_t)order[c]];
                else *unit = tie == UHN_TIE_PLUS ? 1 : -1;
            }
        const uhn_schedule schedule = {
            .order = UHN_ORDER_GIVEN, .given = order, .n_given = n, .n_sweeps = 1, .tie = tie};
        CHECK_OK(uhn_dense_settle(dense, &schedule, states, 3, NULL, before, sweeps, reasons,
                                  changed, NULL));
        CHECK(!memcmp(states, wanted, 3 * n), "%zu units, %zu patterns, degree %d, %s", n, k,
              degree, rectified ? "rectified" : "plain");
        for (size_t s = 0; s < 3; s++)
            CHECK(sweeps[s] == 1 &&
                  changed[s] == (memcmp(states + s * n, before + s * n, n) != 0));
        uhn_dense_free(dense);
    }
}

/* --------------------------------------------------------------------------------- calls -- */

static int stop_at_once(void *context) {
    ++*(int *)context;
    return 1;
}

static int stop_after(void *context) { return --*(long *)context < 0; }

/* Threads, buffers left out, calls that are stopped or wrong. */
static void test_calls(rng *r) {
    enum { N = 300, K = 900, B = 60 };
    int8_t *patterns = must_alloc(K * N), *states = must_alloc(B * N);
    int8_t *alone = must_alloc(B * N), *start = must_alloc(B * N);
    double *energies = must_alloc(B * sizeof *energies);
    uhn_dense *dense = NULL;
    uhn_error error;
    fill_signs(patterns, K * N, r);
    fill_signs(start, B * N, r);
    static const struct {
        uhn_interaction interaction;
        double degree;
    } kinds[] = {{UHN_RECTIFIED_POLYNOMIAL, 3},
                 {UHN_RECTIFIED_POLYNOMIAL, 2.5},
                 {UHN_POLYNOMIAL, 300},
                 {UHN_EXPONENTIAL, 0}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        CHECK_OK(uhn_dense_new(patterns, K, N, kinds[i].interaction, kinds[i].degree,
                               kinds[i].interaction != UHN_EXPONENTIAL, NULL, &dense, NULL));
        for (int order = 0; order < UHN_ORDER_GIVEN; order++) {
            const uhn_schedule schedule = {.order = (uhn_order)order,
                                           .seed = 5,
                                           .n_sweeps = 20};
            const uhn_run one = {.n_threads = 1}, three = {.n_threads = 3};
            memcpy(alone, start, B * N);
            memcpy(states, start, B * N);
            for (size_t s = 0; s < B; s++)
                CHECK_OK(uhn_dense_settle(dense, &schedule, alone + s * N, 1, &one, NULL, NULL,
                                          NULL, NULL, NULL));
            CHECK_OK(uhn_dense_settle(dense, &schedule, states, B, &three, NULL, NULL, NULL,
                                      NULL, NULL));
            CHECK(!memcmp(states, alone, B * N), "kind %zu, order %d", i, order);
        }
        CHECK_OK(uhn_dense_energies(dense, states, B, NULL, energies, NULL));
        CHECK_OK(uhn_dense_settle(dense, &(uhn_schedule){.n_sweeps = 1}, states, 0, NULL, NULL,
                                  NULL, NULL, NULL, NULL));
        if (i + 1 < sizeof kinds / sizeof *kinds) uhn_dense_free(dense);
    }
    int asked = 0;
    const uhn_run stopped = {.n_threads = 1, .stop = stop_at_once, .stop_context = &asked};
    const double temperatures[50] = {1e9};
    uhn_schedule schedule = {.order = UHN_ORDER_SEQUENTIAL,
                             .n_sweeps = 50,
                             .temperatures = temperatures};
    CHECK_STATUS(uhn_dense_settle(dense, &schedule, states, B, &stopped, NULL, NULL, NULL, NULL,
                                  &error),
                 UHN_STOPPED);
    CHECK(asked == 1 && error.status == UHN_STOPPED);
    schedule.order = UHN_ORDER_SYNC;
    CHECK_STATUS(uhn_dense_settle(dense, &schedule, states, B, &stopped, NULL, NULL, NULL, NULL,
                                  NULL),
                 UHN_STOPPED);
    CHECK_STATUS(uhn_dense_energies(dense, states, B, &stopped, energies, NULL), UHN_STOPPED);
    schedule.order = UHN_N_ORDERS;
    CHECK_STATUS(uhn_dense_settle(dense, &schedule, states, B, NULL, NULL, NULL, NULL, NULL,
                                  &error),
                 UHN_BAD_NAME);
    uhn_dense_free(dense);
    CHECK_STATUS(uhn_dense_new(patterns, K, N, UHN_EXPONENTIAL, 0, false, &stopped, &dense,
                               NULL),
                 UHN_STOPPED);
    CHECK(!dense);
    /* 300^200 does not fit. */
    CHECK_OK(uhn_dense_new(patterns, K, N, UHN_POLYNOMIAL, 200, false, NULL, &dense, NULL));
    CHECK_STATUS(uhn_dense_energies(dense, patterns, 1, NULL, energies, &error), UHN_OVERFLOW);
    CHECK(strstr(error.message, "float64"));
    uhn_dense_free(dense);
    uhn_dense_free(NULL);
    static const struct {
        size_t k, n;
        int interaction;
        double degree;
        bool scaled;
        uhn_status status;
    } wrong[] = {{0, 3, UHN_POLYNOMIAL, 3, false, UHN_EMPTY},
                 {3, 0, UHN_POLYNOMIAL, 3, false, UHN_BAD_SHAPE},
                 {1, SIZE_MAX, UHN_POLYNOMIAL, 3, false, UHN_BAD_SHAPE},
                 {SIZE_MAX, 1, UHN_POLYNOMIAL, 3, false, UHN_BAD_SHAPE},
                 {3, 3, UHN_N_INTERACTIONS, 3, false, UHN_BAD_NAME},
                 {3, 3, -1, 3, false, UHN_BAD_NAME},
                 {3, 3, UHN_POLYNOMIAL, 1, false, UHN_BAD_PARAMETER},
                 {3, 3, UHN_POLYNOMIAL, 2.5, false, UHN_BAD_PARAMETER},
                 {3, 3, UHN_RECTIFIED_POLYNOMIAL, 2e6, false, UHN_BAD_PARAMETER},
                 {3, 3, UHN_EXPONENTIAL, 0, true, UHN_BAD_PARAMETER}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        error.message[0] = 0;
        CHECK_STATUS(uhn_dense_new(patterns, wrong[i].k, wrong[i].n,
                                   (uhn_interaction)wrong[i].interaction, wrong[i].degree,
                                   wrong[i].scaled, NULL, &dense, &error),
                     wrong[i].status);
        CHECK(!dense && error.message[0]);
    }
    free(patterns);
    free(states);
    free(alone);
    free(start);
    free(energies);
}

static int count_polls(void *context) {
    ++*(long *)context;
    return 0;
}

/* One pattern, but tables of as many places as there are units. */
static void test_polls_of_tables(rng *r) {
    enum { N = 300000 };
    int8_t *pattern = must_alloc(N);
    fill_signs(pattern, N, r);
    for (int kind = 0; kind < UHN_N_INTERACTIONS; kind++) {
        long n_polls = 0;
        uhn_dense *dense = NULL;
        uhn_run run = {.n_threads = 1, .stop = count_polls, .stop_context = &n_polls};
        CHECK_OK(
            uhn_dense_new(pattern, 1, N, (uhn_interaction)kind, 3, false, &run, &dense, NULL));
        uhn_dense_free(dense);
        CHECK(n_polls > 20, "%ld polls", n_polls);
        long left = n_polls / 2;
        run = (uhn_run){.n_threads = 1, .stop = stop_after, .stop_context = &left};
        CHECK_STATUS(uhn_dense_new(pattern, 1, N, (uhn_interaction)kind, 3, false, &run, &dense,
                                   NULL),
                     UHN_STOPPED);
        CHECK(!dense);
    }
    free(pattern);
}

int main(void) {
    rng r = {.state = 2016};
    test_kernels(&r);
    test_packing(&r);
    test_textbook(&r);
    test_calls(&r);
    test_polls_of_tables(&r);
    return check_done();
}
