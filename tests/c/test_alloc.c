/*
 * test_alloc.c - every allocation made to fail, once and from there on.
 *
 * Linked with --wrap for the allocating functions, so that only calls from the library's own
 * objects come here. A scenario runs with failure at its first allocation, at its second, ...
 * until it ends without having met one. Each time it must return UHN_NO_MEMORY or the right
 * answer, leave nothing allocated behind, and the memory must answer as before. Threads that
 * cannot be made count the same.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>

#include "check.h"

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
int __real_posix_memalign(void **p, size_t alignment, size_t n);
void *__real_aligned_alloc(size_t alignment, size_t n);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *), void *argument);

static atomic_bool armed;
static bool persistent;
static atomic_long countdown, n_failed, n_alive;

/* True if this call is to fail. */
static bool fails(void) {
    if (!atomic_load(&armed)) return false;
    long left = atomic_fetch_sub(&countdown, 1);
    if (left == 0 || (persistent && left < 0)) {
        atomic_fetch_add(&n_failed, 1);
        return true;
    }
    return false;
}

static void *counted(void *p) {
    if (p) atomic_fetch_add(&n_alive, 1);
    return p;
}

void *__wrap_malloc(size_t n) { return fails() ? NULL : counted(__real_malloc(n)); }

void *__wrap_calloc(size_t n, size_t size) {
    return fails() ? NULL : counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n) {
    if (fails()) return NULL;
    return p ? __real_realloc(p, n) : counted(__real_realloc(p, n));
}

int __wrap_posix_memalign(void **p, size_t alignment, size_t n) {
    if (fails()) return ENOMEM;
    int result = __real_posix_memalign(p, alignment, n);
    if (!result) counted(*p);
    return result;
}

void *__wrap_aligned_alloc(size_t alignment, size_t n) {
    return fails() ? NULL : counted(__real_aligned_alloc(alignment, n));
}

void __wrap_free(void *p) {
    if (p) atomic_fetch_sub(&n_alive, 1);
    __real_free(p);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *), void *argument) {
    return fails() ? EAGAIN : __real_pthread_create(thread, attributes, run, argument);
}

/* ----------------------------------------------------------------------------- scenarios -- */

enum { N = 1300, D = 11, B = 3 };

static float patterns[N * D], queries[B * D], prior[N], answer[B * D], out[B * N];
static float wanted_scores[B * N], wanted_weights[B * N];
static const workload *at_work;
static uhn_memory *memory;
static const uhn_run two_threads = {.n_threads = 2};
static uhn_run one_thread = {.n_threads = 1};

static bool same_answer(void) { return !memcmp(out, answer, sizeof answer); }

/* A scenario returns a status, and whether the answer was right if that is UHN_OK. */
typedef uhn_status (*scenario)(bool *right);

static uhn_status do_retrieve(bool *right) {
    uhn_status status =
        uhn_retrieve(memory, &at_work->equation, queries, B, &two_threads, out, NULL, NULL);
    *right = same_answer();
    return status;
}

static uhn_status do_retrieve_alone(bool *right) {
    uhn_status status =
        uhn_retrieve(memory, &at_work->equation, queries, B, &one_thread, out, NULL, NULL);
    *right = same_answer();
    return status;
}

static uhn_status do_scores(bool *right) {
    uhn_status status =
        uhn_scores(memory, &at_work->equation, queries, B, &two_threads, out, NULL);
    *right = !memcmp(out, wanted_scores, sizeof out);
    return status;
}

static uhn_status do_weights(bool *right) {
    uhn_status status =
        uhn_weights(memory, &at_work->equation, queries, B, &two_threads, out, NULL);
    *right = !memcmp(out, wanted_weights, sizeof out);
    return status;
}

static uhn_status do_nearest(bool *right) {
    int64_t indices[B * 3];
    uhn_status status = uhn_nearest(memory, &at_work->equation, queries, B, 3, &two_threads,
                                    indices, out, NULL);
    *right = status != UHN_OK || wanted_scores[indices[0]] == out[0];
    return status;
}

static uhn_status do_recall(bool *right) {
    uhn_status status = uhn_recall(memory, &at_work->equation, queries, B, 1, -1, &two_threads,
                                   out, NULL, NULL, NULL, NULL, NULL);
    *right = same_answer();
    return status;
}

static uhn_status do_separate(bool *right) {
    uhn_status status = uhn_separate(UHN_FLOAT32, &at_work->equation, wanted_scores, B, N,
                                     &two_threads, out, NULL);
    *right = at_work->prior || at_work->equation.normalize_scores ||
             !memcmp(out, wanted_weights, sizeof out);
    return status;
}

/* Everything a shard does: build, store, copy, cut, write, read, merge, finish. */
static uhn_status do_life(bool *right) {
    uhn_memory *fresh = NULL, *copy = NULL;
    uhn_partial *parts[2] = {NULL, NULL}, *read = NULL, *merged = NULL;
    void *wire = NULL;
    uhn_rows first = {.patterns = patterns,
                      .prior = at_work->prior ? prior : NULL,
                      .n_rows = 700};
    uhn_rows rest = {.patterns = patterns + 700 * D,
                     .prior = at_work->prior ? prior + 700 : NULL,
                     .n_rows = N - 700,
                     .borrow = true};
    uhn_status status = uhn_memory_new(UHN_FLOAT32, D, 0, 0, &fresh);
    *right = true;
    if (status == UHN_OK) status = uhn_memory_store(fresh, &first, NULL);
    if (status == UHN_OK) {
        status = uhn_memory_store(fresh, &rest, NULL);
        if (status != UHN_OK)
            CHECK(uhn_memory_n_patterns(fresh) == 700, "a store that failed left rows behind");
    }
    if (status == UHN_OK) status = uhn_memory_copy(fresh, &copy);
    if (status == UHN_OK && !at_work->equation.normalize_scores) {
        status = uhn_partial_new(copy, &at_work->equation, queries, B, 0, 333, &one_thread,
                                 &parts[0], NULL);
        if (status == UHN_OK)
            status = uhn_partial_new(copy, &at_work->equation, queries, B, 333, N, &two_threads,
                                     &parts[1], NULL);
        if (status == UHN_OK) {
            size_t size = uhn_partial_wire_size(parts[1]);
            wire = __real_malloc(size); /* the test's own memory must not fail */
            uhn_partial_write(parts[1], wire);
            status = uhn_partial_read(wire, size, &read, NULL);
        }
        if (status == UHN_OK) {
            const uhn_partial *both[2] = {read, parts[0]};
            status = uhn_partial_merge(both, 2, &merged, NULL);
        }
        if (status == UHN_OK) {
            status = uhn_partial_finish(merged, out, NULL, NULL);
            *right = same_answer();
        }
    }
    __real_free(wire);
    uhn_partial_free(parts[0]);
    uhn_partial_free(parts[1]);
    uhn_partial_free(read);
    uhn_partial_free(merged);
    uhn_memory_free(copy);
    uhn_memory_free(fresh);
    return status;
}

/* A partial without values for each purpose that the equation has: cut, written, read, merged,
 * finished. */
static uhn_status do_bare(bool *right) {
    static const uhn_purpose purposes[] = {UHN_FOR_ENERGIES, UHN_FOR_NEAREST,
                                           UHN_FOR_SCORE_SUMS};
    double numbers[B];
    int64_t indices[B * 3];
    uhn_equation e = at_work->equation;
    uhn_status status = UHN_OK;
    *right = true;
    e.k = 3;
    for (int i = 0; i < 3 && status == UHN_OK; i++) {
        uhn_partial *parts[2] = {NULL, NULL}, *read = NULL, *merged = NULL;
        void *wire = NULL;
        for (size_t j = 0; j < 2 && status == UHN_OK; j++)
            status = uhn_partial_for(purposes[i], memory, &e, queries, B, j ? 333 : 0,
                                     j ? N : 333, NULL, &two_threads, &parts[j], NULL);
        if (status == UHN_OK) {
            size_t size = uhn_partial_wire_size(parts[1]);
            wire = __real_malloc(size);
            uhn_partial_write(parts[1], wire);
            status = uhn_partial_read(wire, size, &read, NULL);
        }
        const uhn_partial *both[2] = {read, parts[0]};
        if (status == UHN_OK) status = uhn_partial_merge(both, 2, &merged, NULL);
        if (status == UHN_OK && purposes[i] == UHN_FOR_ENERGIES)
            status = uhn_partial_energies(merged, queries, D, numbers, NULL);
        if (status == UHN_OK && purposes[i] == UHN_FOR_SCORE_SUMS)
            status = uhn_partial_score_sums(merged, numbers, NULL);
        if (status == UHN_OK && purposes[i] == UHN_FOR_NEAREST) {
            status = uhn_partial_nearest(merged, indices, out, NULL);
            *right = status != UHN_OK || wanted_scores[indices[0]] == out[0];
        }
        /* No energy, or scores that may not be divided by their sum. */
        if (status == UHN_NO_ENERGY || status == UHN_BAD_DATA) status = UHN_OK;
        __real_free(wire);
        uhn_partial_free(parts[0]);
        uhn_partial_free(parts[1]);
        uhn_partial_free(read);
        uhn_partial_free(merged);
    }
    return status;
}

static uhn_status do_attention(bool *right) {
    uhn_equation e = uhn_equation_default();
    uint8_t mask[N];
    memset(mask, 1, sizeof mask);
    mask[3] = 0;
    uhn_head heads[2];
    for (int i = 0; i < 2; i++)
        heads[i] = (uhn_head){.queries = queries,
                              .keys = patterns,
                              .values = patterns,
                              .mask = i ? mask : NULL,
                              .out = out + i * B * D};
    uhn_status status =
        uhn_attention(UHN_FLOAT32, &e, heads, 2, B, N, D, D, &two_threads, NULL);
    *right = true;
    return status;
}

/* Networks in two forms and two kinds of dynamics, their fields and energies, and Hebb's rule: as they
 * were the first time, and counts that are all or nothing. */
static uhn_status do_network(bool *right) {
    enum { K = 9, UNITS = 70, STATES = 11, RUNS = 4 };
    static int8_t rows[K * UNITS], states[2][RUNS][STATES * UNITS];
    static double fields[2][RUNS][STATES * UNITS], energies[2][RUNS][STATES];
    static int32_t counts[2][UNITS * UNITS];
    static uint32_t columns[UNITS];
    static bool known;
    int64_t sweeps[STATES];
    uint8_t codes[STATES], changed[STATES];
    for (int i = 0; i < K * UNITS; i++) rows[i] = (i * i + i / 3) % 7 < 3 ? 1 : -1;
    uhn_pack_columns(rows, K, UNITS, columns);
    memset(counts[known], 0, sizeof counts[known]);
    uhn_status status = uhn_network_hebb(counts[known], UNITS, rows, K, 1, &two_threads, NULL);
    if (status != UHN_OK)
        for (int i = 0; i < UNITS * UNITS; i++)
            CHECK(counts[known][i] == 0, "counts after a failure");
    for (int i = 0; i < RUNS && status == UHN_OK; i++) {
        const uhn_network network = {.n_units = UNITS,
                                     .counts32 = i % 2 ? NULL : counts[known],
                                     .columns = i % 2 ? columns : NULL,
                                     .n_patterns = i % 2 ? K : 0,
                                     .scale = 1};
        const uhn_schedule schedule = {.order = i / 2 ? UHN_ORDER_SYNC : UHN_ORDER_PERMUTATION,
                                       .n_sweeps = 6};
        int8_t *out = states[known][i];
        for (int j = 0; j < STATES * UNITS; j++) out[j] = j % 5 * j % 3 ? 1 : -1;
        status =
            uhn_network_fields(&network, out, STATES, &two_threads, fields[known][i], NULL);
        if (status == UHN_OK)
            status = uhn_network_energies(&network, out, STATES, &two_threads,
                                          energies[known][i], NULL);
        if (status == UHN_OK)
            status = uhn_network_settle(&network, &schedule, out, STATES, &two_threads, out,
                                        sweeps, codes, changed, NULL);
    }
    *right = !known || (!memcmp(states[0], states[1], sizeof states[0]) &&
                        !memcmp(fields[0], fields[1], sizeof fields[0]) &&
                        !memcmp(energies[0], energies[1], sizeof energies[0]) &&
                        !memcmp(counts[0], counts[1], sizeof counts[0]));
    known = known || status == UHN_OK;
    return status;
}

static uhn_status do_landscape(bool *right) {
    enum { UNITS = 14, WORDS = (1 << UNITS) / 64 };
    double weights[UNITS * UNITS];
    static uint64_t wanted[WORDS], stable[WORDS];
    static bool known;
    for (int i = 0; i < UNITS; i++)
        for (int j = 0; j < UNITS; j++) weights[i * UNITS + j] = i == j ? 0 : (i * j) % 5 - 2;
    uhn_status status = uhn_fixed_points(weights, NULL, UNITS, &two_threads, stable, NULL);
    if (!known) memcpy(wanted, stable, sizeof stable);
    known = true;
    *right = !memcmp(stable, wanted, sizeof stable);
    return status;
}

/* Storkey's rule, and the perceptron's with and without a mask: as they were the first time. */
static uhn_status do_learn(bool *right) {
    enum { K = 9, UNITS = 70 };
    static int8_t rows[K * UNITS];
    static uint8_t mask[UNITS * UNITS];
    static double weights[2][UNITS * UNITS], stabilities[UNITS];
    static int32_t raised[2][2][UNITS * UNITS];
    static bool known;
    for (int i = 0; i < K * UNITS; i++) rows[i] = (i * i + i / 3) % 7 < 3 ? 1 : -1;
    for (int i = 0; i < UNITS * UNITS; i++) mask[i] = i % 5 > 0;
    memset(weights[known], 0, sizeof weights[known]);
    uhn_status status =
        uhn_learn_storkey(rows, K, UNITS, NULL, &two_threads, weights[known], NULL);
    for (int masked = 0; masked < 2 && status == UHN_OK; masked++)
        status = uhn_learn_perceptron(rows, K, UNITS, masked ? mask : NULL, 0.5, 900,
                                      &two_threads, raised[known][masked], stabilities, NULL);
    *right = !known || (!memcmp(weights[0], weights[1], sizeof weights[0]) &&
                        !memcmp(raised[0], raised[1], sizeof raised[0]));
    known = known || status == UHN_OK;
    return status;
}

/* A dense associative memory: made, run in both ways, asked for energies. */
static uhn_status do_dense(bool *right) {
    static const int8_t rows[3 * 4] = {1, -1, 1, 1, -1, 1, 1, -1, 1, 1, -1, -1};
    static const double temperatures[2] = {0};
    int8_t states[3 * 4];
    double energies[3], differences[3 * 4];
    uhn_dense *dense = NULL;
    uhn_schedule schedule = {.order = UHN_ORDER_PERMUTATION, .n_sweeps = 9};
    memcpy(states, rows, sizeof states);
    uhn_status status =
        uhn_dense_new(rows, 3, 4, UHN_EXPONENTIAL, 0, false, &one_thread, &dense, NULL);
    if (status == UHN_OK)
        status = uhn_dense_settle(dense, &schedule, states, 3, &one_thread, NULL, NULL, NULL,
                                  NULL, NULL);
    schedule = (uhn_schedule){.n_sweeps = 2, .temperatures = temperatures};
    if (status == UHN_OK)
        status = uhn_dense_settle(dense, &schedule, states, 3, &two_threads, NULL, NULL, NULL,
                                  NULL, NULL);
    if (status == UHN_OK)
        status = uhn_dense_energies(dense, states, 3, &one_thread, energies, NULL);
    if (status == UHN_OK)
        status = uhn_dense_differences(dense, states, 3, &one_thread, differences, NULL);
    *right = !memcmp(states, rows, sizeof states);
    uhn_dense_free(dense);
    return status;
}

/* Sparse distributed memory: a write that fails writes nothing, a read that fails changes nothing. */
static uhn_status do_sdm(bool *right) {
    enum { H = 17000, T = 64 };
    static uint64_t addresses[H];
    static int16_t counters[H * 2];
    static int8_t rows[T * 64], words[T * 2], answer_words[T * 2];
    static uint8_t active[T * H];
    static int64_t sums[T * 2];
    size_t written;
    uhn_sdm sdm = {H, 64, 2, addresses, counters};
    uhn_sdm_addresses(1, 0, H, 64, addresses);
    memset(counters, 0, sizeof counters);
    for (int i = 0; i < T * 64; i++) rows[i] = (addresses[i / 64] >> (i % 64) & 1) ? 1 : -1;
    for (int i = 0; i < T * 2; i++) words[i] = i % 3 ? 1 : -1;
    *right = true;
    uhn_status status =
        uhn_sdm_write(&sdm, 8, rows, words, T, &two_threads, &written, NULL, NULL);
    if (status != UHN_OK) {
        for (int k = 0; k < H * 2; k++)
            if (counters[k]) *right = false;
        CHECK(*right && written == 0, "a write that failed has written");
        return status;
    }
    status = uhn_sdm_read(&sdm, 8, rows, T, UHN_TIE_PLUS, &two_threads, answer_words, sums,
                          NULL, NULL);
    if (status != UHN_OK) return status;
    *right = !memcmp(answer_words, words, sizeof words);
    return uhn_sdm_active(&sdm, 8, rows, T, &two_threads, active, NULL);
}

/* Edits: one that fails changes nothing, one that cannot tidy up is done all the same. */
static uhn_status do_edit(bool *right) {
    enum { ROWS = 3000 };
    static float rows[ROWS], left[ROWS], weights[2] = {2, 3};
    static size_t gone[ROWS];
    uhn_memory *edited = NULL;
    for (size_t i = 0; i < ROWS; i++) rows[i] = (float)i;
    uhn_status status = uhn_memory_new(UHN_FLOAT32, 1, 0, 0, &edited);
    if (status == UHN_OK)
        status = uhn_memory_store(edited, &(uhn_rows){.patterns = rows, .n_rows = ROWS}, NULL);
    if (status != UHN_OK) {
        uhn_memory_free(edited);
        return status;
    }
    size_t n = ROWS;
    /* In 40 pieces, then with priors, then all but 20 rows gone. */
    for (size_t i = 0; i < 40; i++) gone[i] = 70 * i + 5;
    status = uhn_memory_remove(edited, gone, 40, NULL);
    if (status == UHN_OK) {
        n -= 40;
        gone[0] = 17;
        gone[1] = 2;
        status =
            uhn_memory_replace(edited, gone,
                               &(uhn_rows){.patterns = weights, .prior = weights, .n_rows = 2},
                               NULL);
    }
    if (status == UHN_OK) status = uhn_memory_set_prior(edited, gone, 2, weights, NULL);
    if (status == UHN_OK) {
        for (size_t i = 0; i < n - 20; i++) gone[i] = i + 20;
        status = uhn_memory_remove(edited, gone, n - 20, NULL);
        if (status == UHN_OK) n = 20;
    }
    *right = uhn_memory_n_patterns(edited) == n &&
             uhn_memory_read(edited, 0, n, left, NULL, NULL) == UHN_OK &&
             (n == ROWS ? left[5] == 5 : left[5] == 6) && left[2] == (n == 20 ? 3.f : left[2]);
    CHECK(*right, "%zu rows after an edit that may have failed", n);
    uhn_memory_free(edited);
    return status;
}

/* Rows that lack features: answers with columns left open, of every family, as they were the first
 * time; the first column of a sharp softmax is that of the one row that knows it. */
static uhn_status do_missing(bool *right) {
    enum { R = 150, F = 4, RUNS = 4 };
    static float rows[R * F], asked[B * F], found[2][RUNS][B * F];
    static bool known;
    uhn_memory *gappy = NULL;
    for (int i = 0; i < R * F; i++) rows[i] = i * i % 5 == 4 ? NAN : (float)(1 + i * i % 11);
    for (int r = 0; r < R; r++) rows[r * F] = r == 7 ? 4 : NAN;
    for (int i = 0; i < B * F; i++) asked[i] = i % 3 == 0 ? NAN : (float)(1 + i % 5);
    const uhn_rows all = {.patterns = rows, .n_rows = R, .missing = true};
    uhn_status status = uhn_memory_new(UHN_FLOAT32, F, 0, 0, &gappy);
    if (status == UHN_OK) status = uhn_memory_store(gappy, &all, NULL);
    if (status == UHN_OK) CHECK(uhn_memory_has_missing(gappy), "gaps that nobody saw");
    for (int i = 0; i < RUNS && status == UHN_OK; i++) {
        uhn_equation e = uhn_equation_default();
        e.missing = true;
        e.clamp = i == 3;
        e.similarity = i == 2 ? UHN_SIM_cosine : UHN_SIM_sqeuclidean;
        e.separation = i == 1 ? UHN_SEP_sparsemax : UHN_SEP_softmax;
        e.normalize_scores = i == 2;
        e.beta = 1000;
        status = i == 3 ? uhn_recall(gappy, &e, asked, B, 3, -1, &two_threads, found[known][i],
                                     NULL, NULL, NULL, NULL, NULL)
                        : uhn_retrieve(gappy, &e, asked, B, &one_thread, found[known][i], NULL,
                                       NULL);
        for (int q = 0; status == UHN_OK && q < B; q++)
            CHECK(found[known][i][q * F] == (i == 3 && !isnan(asked[q * F]) ? asked[q * F] : 4),
                  "the answer of the one row that knows, run %d, query %d", i, q);
    }
    *right = !known || !memcmp(found[0], found[1], sizeof found[0]);
    known = known || status == UHN_OK;
    uhn_memory_free(gappy);
    return status;
}

/* Returns how many allocations the scenario makes. */
static long sweep(const char *name, scenario run) {
    bool right = false;
    /* Once unarmed: what is made on first use and kept is made here. */
    CHECK(run(&right) == UHN_OK && right, "%s %s, nothing failing", at_work->name, name);
    long sites = 0;
    for (int mode = 0; mode < 2; mode++) {
        persistent = mode;
        for (long k = 0;; k++) {
            if (!CHECK(k < 5000, "%s %s: no end to the allocations", at_work->name, name))
                break;
            long alive = atomic_load(&n_alive);
            atomic_store(&n_failed, 0);
            atomic_store(&countdown, k);
            atomic_store(&armed, true);
            uhn_status status = run(&right);
            atomic_store(&armed, false);
            long failed = atomic_load(&n_failed);
            CHECK(status == UHN_NO_MEMORY || (status == UHN_OK && right),
                  "%s %s, allocation %ld%s: %s%s", at_work->name, name, k, mode ? " on" : "",
                  uhn_status_string(status), right ? "" : ", wrong answer");
            CHECK(status == UHN_OK || failed > 0, "%s %s: no failure but '%s'", at_work->name,
                  name, uhn_status_string(status));
            CHECK(atomic_load(&n_alive) == alive, "%s %s, allocation %ld%s: %ld blocks leaked",
                  at_work->name, name, k, mode ? " on" : "", atomic_load(&n_alive) - alive);
            bool fine = false;
            CHECK(do_retrieve_alone(&fine) == UHN_OK && fine,
                  "%s %s, allocation %ld: memory spoilt", at_work->name, name, k);
            if (failed == 0) {
                sites = k;
                break;
            }
        }
    }
    return sites;
}

int main(void) {
    static const struct {
        const char *name;
        scenario run;
    } scenarios[] = {{"retrieve", do_retrieve},    {"weights", do_weights},
                     {"life of a shard", do_life}, {"retrieve alone", do_retrieve_alone},
                     {"scores", do_scores},        {"nearest", do_nearest},
                     {"recall", do_recall},        {"separate", do_separate},
                     {"attention", do_attention},  {"landscape", do_landscape},
                     {"learning", do_learn},       {"dense", do_dense},
                     {"bare partials", do_bare}};
    rng r = {.state = 21};
    workload *list;
    size_t n = all_workloads(&list, D);
    long total = 0;

    for (size_t i = 0; i < n; i++) {
        at_work = &list[i];
        fill(UHN_FLOAT32, patterns, N * D, &r, at_work->kind);
        fill(UHN_FLOAT32, queries, B * D, &r, at_work->kind);
        fill(UHN_FLOAT32, prior, N, &r, FILL_POSITIVE);
        const uhn_equation *e = &at_work->equation;
        uhn_rows rows = {.patterns = patterns,
                         .prior = at_work->prior ? prior : NULL,
                         .n_rows = N,
                         .borrow = true};
        CHECK_OK(uhn_memory_new(UHN_FLOAT32, D, 0, 0, &memory));
        CHECK_OK(uhn_memory_store(memory, &rows, NULL));
        CHECK_OK(uhn_retrieve(memory, e, queries, B, &one_thread, answer, NULL, NULL));
        CHECK_OK(uhn_scores(memory, e, queries, B, &one_thread, wanted_scores, NULL));
        CHECK_OK(uhn_weights(memory, e, queries, B, &one_thread, wanted_weights, NULL));
        /* The later scenarios allocate in the same places whatever the equation is. */
        for (size_t j = 0; j < sizeof scenarios / sizeof *scenarios; j++)
            if (j < 3 || i % 5 == 0) total += sweep(scenarios[j].name, scenarios[j].run);
        if (i == 0) total += sweep("sparse distributed memory", do_sdm);
        if (i == 0) total += sweep("network", do_network);
        if (i == 0) total += sweep("edit", do_edit);
        if (i == 0) total += sweep("missing features", do_missing);
        uhn_memory_free(memory);
    }
    free(list);
    CHECK(total > 100, "%ld allocations: is the library linked with --wrap?", total);
    printf("%ld allocations failed in turn, once and from there on\n", total);
    return check_done();
}
