/*
 * test_sdm.c - sparse distributed memory against loops that anybody can read.
 *
 * The bit kernels of every table this CPU can run are compared with counting bit by bit, on
 * buffers that end at a page that faults; the calls with a model that keeps its counters in
 * int64.
 */
#define _DEFAULT_SOURCE
#include <sys/mman.h>
#include <unistd.h>

#include "../../csrc/kernels.h"
#include "check.h"

static int bit(const uint64_t *row, size_t i) { return (int)(row[i / 64] >> (i % 64) & 1); }

static size_t hamming(const uint64_t *a, const uint64_t *b, size_t n_bits) {
    size_t d = 0;
    for (size_t i = 0; i < n_bits; i++) d += bit(a, i) != bit(b, i);
    return d;
}

/* n bytes whose end is the end of a page, before one that faults. */
typedef struct guarded {
    char *map, *data;
    size_t n_map;
} guarded;

static guarded guard(const void *bytes, size_t n) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    guarded g = {.n_map = (n + page - 1) / page * page + page};
    g.map = mmap(NULL, g.n_map, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.map == MAP_FAILED) exit(2);
    mprotect(g.map + g.n_map - page, page, PROT_NONE);
    g.data = g.map + g.n_map - page - n;
    memcpy(g.data, bytes, n);
    return g;
}

/* ------------------------------------------------------------------------------- kernels -- */

static void fill_words(uint64_t *words, size_t n, rng *r) {
    for (size_t i = 0; i < n; i++) words[i] = rng_next(r);
}

static void try_kernels(const char *name, const uhn_bit_kernels *kernels, rng *r) {
    for (int round = 0; round < 60; round++) {
        const size_t n_rows = 1 + rng_below(r, 11);
        const size_t n_words = round < 40 ? 1 + (size_t)round : 1 + rng_below(r, 90);
        const size_t n_queries = 1 + rng_below(r, round % 3 ? 64 : 5), lanes = kernels->lanes;
        const size_t n_bits = 64 * n_words;
        uint64_t *rows = must_alloc(n_rows * n_words * 8);
        uint64_t *queries = must_alloc(n_queries * n_words * 8);
        uint64_t *panels = aligned_alloc(64, 64 * n_words * 8);
        fill_words(rows, n_rows * n_words, r);
        fill_words(queries, n_queries * n_words, r);
        memset(panels, 0, 64 * n_words * 8);
        /* A query that is a row, and one that is its opposite: no bit, and every bit. */
        memcpy(queries, rows, n_words * 8);
        if (n_queries > 1)
            for (size_t w = 0; w < n_words; w++) queries[n_words + w] = ~rows[w];
        for (size_t q = 0; q < n_queries; q++)
            for (size_t w = 0; w < n_words; w++)
                panels[(q / lanes * n_words + w) * lanes + q % lanes] =
                    queries[q * n_words + w];
        guarded g = guard(rows, n_rows * n_words * 8);
        uint32_t distances[11], found[11];
        uint64_t masks[11];
        const size_t middle = hamming(rows, queries + (n_queries - 1) * n_words, n_bits);
        const size_t radii[] = {0, middle, middle ? middle - 1 : 0, n_bits - 1, n_bits};
        for (size_t q = 0; q < n_queries; q++) {
            kernels->distances((uint64_t *)g.data, n_rows, n_words, queries + q * n_words,
                               distances);
            for (size_t k = 0; k < n_rows; k++)
                CHECK(distances[k] ==
                          hamming(rows + k * n_words, queries + q * n_words, n_bits),
                      "%s, %zu words", name, n_words);
        }
        for (size_t i = 0; i < sizeof radii / sizeof *radii; i++) {
            const size_t n_found = kernels->within((uint64_t *)g.data, n_rows, n_words,
                                                   n_queries <= kernels->few ? queries : panels,
                                                   n_queries, radii[i], found, masks);
            size_t at = 0;
            for (size_t k = 0; k < n_rows; k++) {
                uint64_t wanted = 0;
                for (size_t q = 0; q < n_queries; q++)
                    wanted |= (uint64_t)(hamming(rows + k * n_words, queries + q * n_words,
                                                 n_bits) <= radii[i])
                              << q;
                if (wanted == 0) continue;
                CHECK(at < n_found && found[at] == k && masks[at] == wanted,
                      "%s, %zu words, %zu queries, radius %zu", name, n_words, n_queries,
                      radii[i]);
                at++;
            }
            CHECK(at == n_found, "%s, %zu words, %zu rows", name, n_words, n_found);
        }
        munmap(g.map, g.n_map);
        free(rows), free(queries), free(panels);
    }
    for (size_t n = 0; n < 100; n++) {
        int16_t steps[100], counters[100], wanted[100];
        for (size_t i = 0; i < n; i++) {
            static const int16_t starts[] = {0, -1, 1, 32766, 32767, -32766, -32767, 1234};
            steps[i] = rng_next(r) & 1 ? 1 : -1;
            counters[i] = starts[rng_below(r, 8)];
            int sum = counters[i] + steps[i];
            wanted[i] = (int16_t)(sum > 32767 ? 32767 : sum < -32767 ? -32767 : sum);
        }
        guarded g = guard(counters, n * 2);
        kernels->count_up(steps, n, (int16_t *)g.data);
        CHECK(!memcmp(g.data, wanted, n * 2), "%s, %zu counters", name, n);
        munmap(g.map, g.n_map);
    }
}

static void test_kernels(rng *r) {
    const char *can = uhn_cpu_available();
    try_kernels("generic", &uhn_bits_generic, r);
#if defined(__x86_64__)
    if (strstr(can, "avx2")) try_kernels("avx2", &uhn_bits_avx2, r);
    if (strstr(can, "avx512")) {
        try_kernels("avx512", &uhn_bits_avx512, r);
        if (__builtin_cpu_supports("avx512vpopcntdq"))
            try_kernels("avx512popcnt", &uhn_bits_avx512popcnt, r);
    }
#elif defined(__aarch64__)
    if (strstr(can, "neon")) try_kernels("neon", &uhn_bits_neon, r);
#endif
}

/* --------------------------------------------------------------------------------- model -- */

typedef struct model {
    uhn_sdm sdm;
    uint64_t *addresses;
    int64_t *counters; /* the twin's */
} model;

static void fill_signs(int8_t *rows, size_t n, rng *r) {
    for (size_t i = 0; i < n; i++) rows[i] = rng_next(r) & 1 ? 1 : -1;
}

static model model_new(size_t n_locations, size_t n_features, size_t n_values, uint64_t seed) {
    const size_t n_words = (n_features + 63) / 64;
    model m = {.addresses = must_alloc(n_locations * n_words * 8)};
    uhn_sdm_addresses(seed, 0, n_locations, n_features, m.addresses);
    m.counters = calloc(n_locations * n_values, sizeof *m.counters);
    m.sdm = (uhn_sdm){.n_locations = n_locations,
                      .n_features = n_features,
                      .n_values = n_values,
                      .addresses = m.addresses,
                      .counters = calloc(n_locations * n_values, sizeof(int16_t))};
    if (!m.counters || !m.sdm.counters) exit(2);
    return m;
}

static void model_free(model *m) {
    free(m->addresses), free(m->counters), free(m->sdm.counters);
}

static bool active(const model *m, size_t k, const uint64_t *query, size_t radius) {
    const size_t n_words = (m->sdm.n_features + 63) / 64;
    size_t d = 0;
    for (size_t w = 0; w < n_words; w++)
        d += (size_t)__builtin_popcountll(m->addresses[k * n_words + w] ^ query[w]);
    return d <= radius;
}

/* Bits of a row, in an array that lasts until the next call. */
static const uint64_t *packed(const int8_t *row, size_t n) {
    static uint64_t words[4];
    memset(words, 0, sizeof words);
    for (size_t i = 0; i < n; i++)
        if (row[i] == 1) words[i / 64] |= UINT64_C(1) << (i % 64);
    return words;
}

static size_t twin_write(model *m, size_t radius, const int8_t *address, const int8_t *word) {
    const uint64_t *bits = packed(address, m->sdm.n_features);
    size_t n = 0;
    for (size_t k = 0; k < m->sdm.n_locations; k++) {
        if (!active(m, k, bits, radius)) continue;
        n++;
        for (size_t j = 0; j < m->sdm.n_values; j++) {
            int64_t *c = &m->counters[k * m->sdm.n_values + j];
            *c += word[j];
            if (*c > 32767) *c = 32767;
            if (*c < -32767) *c = -32767;
        }
    }
    return n;
}

static bool same_counters(const model *m) {
    for (size_t i = 0; i < m->sdm.n_locations * m->sdm.n_values; i++)
        if (m->sdm.counters[i] != m->counters[i]) return false;
    return true;
}

static void twin_read(const model *m, size_t radius, const int8_t *query, int64_t *sums,
                      int64_t *n_active) {
    const uint64_t *bits = packed(query, m->sdm.n_features);
    memset(sums, 0, m->sdm.n_values * sizeof *sums);
    *n_active = 0;
    for (size_t k = 0; k < m->sdm.n_locations; k++) {
        if (!active(m, k, bits, radius)) continue;
        ++*n_active;
        for (size_t j = 0; j < m->sdm.n_values; j++)
            sums[j] += m->counters[k * m->sdm.n_values + j];
    }
}

static void test_model(rng *r) {
    static const size_t shapes[][4] = {/* locations, features, values, rows */
                                       {1, 1, 1, 3},       {5, 7, 3, 9},
                                       {300, 64, 64, 70},  {257, 65, 10, 2},
                                       {1000, 130, 5, 65}, {20011, 96, 4, 70}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const size_t h = shapes[s][0], n = shapes[s][1], u = shapes[s][2], t = shapes[s][3];
        const size_t radius = n / 2 - n / 16, big = radius + 2 > n ? n : radius + 2;
        model m = model_new(h, n, u, s);
        int8_t *x = must_alloc(t * n), *y = must_alloc(t * u), *z = must_alloc(t * u);
        int64_t *sums = must_alloc(t * u * 8), *all = must_alloc(t * u * 8);
        int64_t *found = must_alloc(t * 8), *found_all = must_alloc(t * 8);
        uint8_t *flags = must_alloc(t * h);
        fill_signs(x, t * n, r);
        fill_signs(y, t * u, r);
        size_t done;
        /* Counters close to their bounds, so that the order of the rows matters. */
        for (size_t i = 0; i < h * u; i++) {
            m.counters[i] = (int64_t)rng_below(r, 3) * 32766 - 32766;
            m.sdm.counters[i] = (int16_t)m.counters[i];
        }
        uhn_run run = {.n_threads = 3};
        CHECK_OK(uhn_sdm_write(&m.sdm, radius, x, y, t, &run, &done, found, NULL));
        CHECK(done == t, "%zu of %zu rows", done, t);
        for (size_t i = 0; i < t; i++)
            CHECK((size_t)found[i] == twin_write(&m, radius, x + i * n, y + i * u), "row %zu",
                  i);
        CHECK(same_counters(&m), "shape %zu", s);
        /* One row after the other, one thread. */
        run.n_threads = 1;
        for (size_t i = 0; i < t; i++) {
            CHECK_OK(uhn_sdm_write(&m.sdm, radius, x + i * n, y + i * u, 1, &run, &done, NULL,
                                   NULL));
            twin_write(&m, radius, x + i * n, y + i * u);
        }
        CHECK(same_counters(&m), "shape %zu, row by row", s);

        CHECK_OK(uhn_sdm_read(&m.sdm, big, x, t, UHN_TIE_PLUS, NULL, z, all, found_all, NULL));
        CHECK_OK(uhn_sdm_active(&m.sdm, big, x, t, NULL, flags, NULL));
        for (size_t i = 0; i < t; i++) {
            int64_t n_found, n_flags = 0;
            twin_read(&m, big, x + i * n, sums, &n_found);
            CHECK(n_found == found_all[i] && !memcmp(sums, all + i * u, u * 8), "query %zu", i);
            size_t wrong = 0;
            for (size_t k = 0; k < h; k++) {
                wrong += flags[i * h + k] != active(&m, k, packed(x + i * n, n), big);
                n_flags += flags[i * h + k];
            }
            CHECK(n_flags == n_found && wrong == 0, "query %zu", i);
            for (size_t j = 0; j < u; j++)
                CHECK(z[i * u + j] == (sums[j] >= 0 ? 1 : -1), "tie");
        }
        /* Any batch, any number of threads, any subset of the results. */
        for (int threads = 1; threads <= 4; threads++) {
            run.n_threads = threads;
            for (size_t i = 0, b; i < t; i += b) {
                b = 1 + rng_below(r, t - i);
                CHECK_OK(uhn_sdm_read(&m.sdm, big, x + i * n, b, UHN_TIE_MINUS, &run, z, sums,
                                      found, NULL));
                CHECK(!memcmp(sums, all + i * u, b * u * 8), "%zu queries, %d threads", b,
                      threads);
                CHECK(!memcmp(found, found_all + i, b * 8), "%zu queries, %d threads", b,
                      threads);
                for (size_t j = 0; j < b * u; j++)
                    CHECK(z[j] == (all[i * u + j] > 0 ? 1 : -1), "tie");
                memset(found, 0, b * 8);
                CHECK_OK(uhn_sdm_read(&m.sdm, big, x + i * n, b, UHN_TIE_MINUS, &run, NULL,
                                      NULL, found, NULL));
                CHECK(!memcmp(found, found_all + i, b * 8), "counts alone");
            }
        }
        free(x), free(y), free(z), free(sums), free(all), free(found), free(found_all);
        free(flags);
        model_free(&m);
    }
}

/* ---------------------------------------------------------------------------- the bounds -- */

/* More rows of full counters than int32 can add up, and more writes than int16 can count. */
static void test_large_sums(void) {
    enum { N = 70001 };
    const uint64_t one = 1;
    uint64_t *addresses = calloc(N, sizeof *addresses);
    int16_t *counters = must_alloc(2 * N * sizeof *counters);
    const int8_t query = -1;
    int64_t sums[2], n_active;
    for (size_t k = 0; k < N; k++) counters[2 * k] = 32767, counters[2 * k + 1] = -32767;
    if (!addresses) exit(2);
    uhn_sdm sdm = {.n_locations = N,
                   .n_features = 1,
                   .n_values = 2,
                   .addresses = addresses,
                   .counters = counters};
    for (int threads = 1; threads <= 2; threads++) {
        const uhn_run run = {.n_threads = threads};
        CHECK_OK(
            uhn_sdm_read(&sdm, 0, &query, 1, UHN_TIE_PLUS, &run, NULL, sums, &n_active, NULL));
        CHECK(sums[0] == 32767ll * N && sums[1] == -32767ll * N && n_active == N,
              "%lld %lld %lld", (long long)sums[0], (long long)sums[1], (long long)n_active);
    }
    enum { WRITES = 33000 };
    int8_t *up = must_alloc(2 * WRITES), *at = must_alloc(WRITES);
    size_t done;
    for (size_t i = 0; i < WRITES; i++) up[2 * i] = 1, up[2 * i + 1] = -1, at[i] = 1;
    counters[0] = counters[1] = 0;
    sdm = (uhn_sdm){.n_locations = 1,
                    .n_features = 1,
                    .n_values = 2,
                    .addresses = &one,
                    .counters = counters};
    CHECK_OK(uhn_sdm_write(&sdm, 0, at, up, WRITES, NULL, &done, NULL, NULL));
    CHECK(done == WRITES && counters[0] == 32767 && counters[1] == -32767, "%d %d", counters[0],
          counters[1]);
    free(addresses), free(counters), free(up), free(at);
}

static void test_ties(void) {
    /* Two locations at opposite corners, with opposite counters. */
    const uint64_t addresses[] = {0, 7};
    int16_t counters[] = {5, -3, 1, -5, 4, -1};
    const uhn_sdm sdm = {2, 3, 3, addresses, counters};
    const int8_t queries[] = {1, -1, 1, -1, -1, -1};
    static const int8_t wanted[UHN_N_TIES] = {0, 1, -1};
    for (int tie = 0; tie < (int)UHN_N_TIES; tie++) {
        int8_t words[6];
        int64_t n_active[2];
        /* Both active: 5 - 5, -3 + 4, 1 - 1. */
        CHECK_OK(
            uhn_sdm_read(&sdm, 3, queries, 1, (uhn_tie)tie, NULL, words, NULL, n_active, NULL));
        CHECK(n_active[0] == 2, "%lld", (long long)n_active[0]);
        CHECK(words[1] == 1, "no tie");
        CHECK(words[0] == (wanted[tie] ? wanted[tie] : queries[0]), "tie %d", tie);
        CHECK(words[2] == (wanted[tie] ? wanted[tie] : queries[2]), "tie %d", tie);
        /* None active for the first, one for the second. */
        CHECK_OK(
            uhn_sdm_read(&sdm, 0, queries, 2, (uhn_tie)tie, NULL, words, NULL, n_active, NULL));
        CHECK(n_active[0] == 0 && n_active[1] == 1, "the radius is inclusive");
        for (int j = 0; j < 3; j++)
            CHECK(words[j] == (wanted[tie] ? wanted[tie] : queries[j]), "tie %d", tie);
        CHECK(words[3] == 1 && words[4] == -1 && words[5] == 1, "one location");
    }
}

static int stop_after(void *context) { return --*(long *)context < 0; }

static void test_stop(rng *r) {
    enum { H = 9000, N = 64, U = 3, T = 150 };
    int8_t *x = must_alloc(T * N), *y = must_alloc(T * U);
    int64_t *sums = must_alloc(T * U * 8);
    int stopped = 0;
    fill_signs(x, T * N, r);
    fill_signs(y, T * U, r);
    for (long polls = 0;; polls += 1 + polls / 4) {
        model m = model_new(H, N, U, 5);
        long left = polls;
        size_t done;
        uhn_run run = {.n_threads = 1, .stop = stop_after, .stop_context = &left};
        uhn_status status = uhn_sdm_write(&m.sdm, 24, x, y, T, &run, &done, NULL, NULL);
        CHECK(status == UHN_OK || status == UHN_STOPPED, "%s", uhn_status_string(status));
        CHECK(done <= T && (status == UHN_STOPPED || done == T), "%zu rows", done);
        for (size_t i = 0; i < done; i++) twin_write(&m, 24, x + i * N, y + i * U);
        CHECK(same_counters(&m), "stopped after %ld polls: not %zu whole rows", polls, done);
        left = polls;
        const uhn_status read =
            uhn_sdm_read(&m.sdm, 24, x, T, UHN_TIE_PLUS, &run, NULL, sums, NULL, NULL);
        CHECK(read == UHN_OK || read == UHN_STOPPED, "%s", uhn_status_string(read));
        model_free(&m);
        if (status == UHN_OK && read == UHN_OK) break;
        stopped++;
    }
    CHECK(stopped > 5, "%d", stopped);
    free(x), free(y), free(sums);
}

static void test_errors(void) {
    model m = model_new(3, 10, 4, 1);
    const int8_t x[10] = {1, 1, 1, 1, 1, -1, -1, -1, -1, -1};
    int8_t z[10];
    int64_t sums[10];
    size_t done;
    uhn_error e;
    CHECK_STATUS(uhn_sdm_read(&m.sdm, 11, x, 1, UHN_TIE_PLUS, NULL, z, sums, NULL, &e),
                 UHN_BAD_PARAMETER);
    CHECK(strstr(e.message, "11"), "%s", e.message);
    CHECK_STATUS(uhn_sdm_read(&m.sdm, 3, x, 1, UHN_TIE_KEEP, NULL, z, sums, NULL, &e),
                 UHN_BAD_SHAPE);
    CHECK(strstr(e.message, "10"), "%s", e.message);
    /* Sums alone have no ties. */
    CHECK_OK(uhn_sdm_read(&m.sdm, 3, x, 1, UHN_TIE_KEEP, NULL, NULL, sums, NULL, &e));
    CHECK_STATUS(uhn_sdm_read(&m.sdm, 3, x, 1, UHN_N_TIES, NULL, z, sums, NULL, &e),
                 UHN_BAD_NAME);
    CHECK_STATUS(uhn_sdm_write(&m.sdm, 11, x, x, 1, NULL, &done, NULL, &e), UHN_BAD_PARAMETER);
    CHECK_STATUS(uhn_sdm_active(&m.sdm, 11, x, 1, NULL, (uint8_t *)z, &e), UHN_BAD_PARAMETER);
    CHECK_OK(uhn_sdm_read(&m.sdm, 3, x, 0, UHN_TIE_PLUS, NULL, z, sums, NULL, &e));
    CHECK_OK(uhn_sdm_write(&m.sdm, 3, x, x, 0, NULL, &done, NULL, &e));
    CHECK_OK(uhn_sdm_active(&m.sdm, 3, x, 0, NULL, (uint8_t *)z, &e));
    const size_t huge = SIZE_MAX / 3;
    const uhn_sdm bad[] = {{0, 10, 4, m.addresses, m.sdm.counters},
                           {3, 0, 4, m.addresses, m.sdm.counters},
                           {3, 10, 0, m.addresses, m.sdm.counters},
                           {huge, 10, 4, m.addresses, m.sdm.counters},
                           {3, 10, huge, m.addresses, m.sdm.counters},
                           {3, huge, 4, m.addresses, m.sdm.counters}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_STATUS(uhn_sdm_read(&bad[i], 0, x, 1, UHN_TIE_PLUS, NULL, z, sums, NULL, &e),
                     UHN_BAD_SHAPE);
        CHECK_STATUS(uhn_sdm_write(&bad[i], 0, x, x, 1, NULL, &done, NULL, &e), UHN_BAD_SHAPE);
        CHECK(done == 0, "%zu", done);
    }
    CHECK_STATUS(uhn_sdm_read(&m.sdm, 0, x, huge, UHN_TIE_PLUS, NULL, z, sums, NULL, &e),
                 UHN_BAD_SHAPE);
    model_free(&m);
}

static void test_addresses(void) {
    enum { N = 100, H = 20000 };
    uint64_t *all = must_alloc(H * 2 * 8), some[14];
    uhn_sdm_addresses(3, 0, H, N, all);
    uhn_sdm_addresses(3, 123, 7, N, some);
    CHECK(!memcmp(some, all + 246, sizeof some), "a location depends on its number alone");
    size_t ones = 0;
    for (size_t k = 0; k < H; k++) {
        CHECK(all[2 * k + 1] >> (N - 64) == 0, "bits beyond the last");
        for (size_t i = 0; i < N; i++) ones += (size_t)bit(all + 2 * k, i);
    }
    /* Binomial(2e6, 1/2): five standard deviations are 3536. */
    CHECK(ones > 1000000 - 3536 && ones < 1000000 + 3536, "%zu", ones);
    uhn_sdm_addresses(4, 123, 7, N, some);
    CHECK(memcmp(some, all + 246, sizeof some), "the seed matters");
    free(all);
}

int main(void) {
    rng r = {.state = 8};
    test_kernels(&r);
    test_model(&r);
    test_large_sums();
    test_ties();
    test_stop(&r);
    test_errors();
    test_addresses();
    return check_done();
}
