/*
 * test_network.c - networks of couplings between pairs against a slow twin, and the laws: the same
 * bits for any batch, any number of threads and any form of the same couplings.
 *
 * The twin adds every field up afresh at every look, so that it knows nothing of sums that are
 * kept. Whole numbers leave it no room: states, sweeps, codes and fields must be equal. With doubles
 * it shares the order of additions that network.c promises, but not the running sums; the couplings
 * here are multiples of 2^-8, with which no order makes a difference.
 *
 * Inputs end at a page that faults when it is touched, and lie in pages that cannot be written.
 */
#define _DEFAULT_SOURCE
#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

enum { MOST_UNITS = 150, MOST_STATES = 40, MOST_PATTERNS = 140, MOST_SWEEPS = 12 };

/* ---------------------------------------------------------------------------- guard pages -- */

typedef struct guarded {
    char *pages, *data;
    size_t n_pages;
} guarded;

/* A copy whose last byte is the last before a page that faults. */
static guarded guard(const void *data, size_t n_bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    guarded g = {.n_pages = n_bytes / page + 2};
    g.pages = mmap(NULL, g.n_pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                   -1, 0);
    if (g.pages == MAP_FAILED) {
        fprintf(stderr, "no guard pages\n");
        exit(2);
    }
    g.data = g.pages + (g.n_pages - 1) * page - n_bytes;
    if (n_bytes) memcpy(g.data, data, n_bytes);
    mprotect(g.pages, (g.n_pages - 1) * page, PROT_READ);
    mprotect(g.pages + (g.n_pages - 1) * page, page, PROT_NONE);
    return g;
}

static void unguard(guarded *g) {
    munmap(g->pages, g->n_pages * (size_t)sysconf(_SC_PAGESIZE));
}

/* ----------------------------------------------------------------------------------- twin -- */

/* One network in every form it has, and a schedule. */
typedef struct problem {
    size_t n, n_patterns, n_states;
    int64_t c[MOST_UNITS * MOST_UNITS]; /* as it stands in memory, diagonal included */
    bool hebbian, keep_diagonal;
    double scale, bias[MOST_UNITS], temperatures[MOST_SWEEPS];
    bool has_bias;
    int8_t patterns[MOST_PATTERNS * MOST_UNITS], start[MOST_STATES * MOST_UNITS];
    int64_t given[2 * MOST_UNITS];
    uint8_t clamped[MOST_UNITS];
    uhn_schedule schedule;
} problem;

typedef struct answer {
    int8_t states[MOST_STATES * MOST_UNITS];
    int64_t sweeps[MOST_STATES];
    uint8_t codes[MOST_STATES], changed[MOST_STATES];
} answer;

static int64_t twin_sum(const problem *p, const int8_t *s, size_t i) {
    int64_t sum = 0;
    for (size_t j = 0; j < p->n; j++)
        if (j != i || p->keep_diagonal) sum += p->c[j * p->n + i] * s[j];
    return sum;
}

static double twin_field(const problem *p, const int8_t *s, size_t i) {
    const double h = p->scale * (double)twin_sum(p, s, i);
    return p->has_bias ? h + p->bias[i] : h;
}

static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static double luck(uint64_t seed, size_t sweep, size_t look) {
    const uint64_t stream =
        mix(mix(seed + 0x9e3779b97f4a7c15u) ^ mix(2 * sweep + 1 + 0xd1b54a32d192ed03u));
    return (double)(mix(stream + (look + 1) * 0x9e3779b97f4a7c15u) >> 11) * 0x1p-53;
}

static int twin_wish(const problem *p, double h, int s) {
    const int tie = p->schedule.tie == UHN_TIE_PLUS    ? 1
                    : p->schedule.tie == UHN_TIE_MINUS ? -1
                                                       : s;
    return h > 0 ? 1 : h < 0 ? -1 : tie;
}

static bool twin_rests(const problem *p, const int8_t *s) {
    bool listed[MOST_UNITS];
    for (size_t i = 0; i < p->n; i++) listed[i] = p->schedule.order != UHN_ORDER_GIVEN;
    for (size_t i = 0; i < p->schedule.n_given; i++) listed[p->given[i]] = true;
    for (size_t i = 0; i < p->n; i++)
        if (listed[i] && !(p->schedule.clamped && p->clamped[i]) &&
            twin_wish(p, twin_field(p, s, i), s[i]) != s[i])
            return false;
    return true;
}

static void twin_settle(const problem *p, size_t k, answer *out) {
    const uhn_schedule *schedule = &p->schedule;
    const bool sync = schedule->order == UHN_ORDER_SYNC;
    int8_t *s = out->states + k * p->n, old[MOST_UNITS], before[MOST_UNITS];
    int64_t order[2 * MOST_UNITS];
    memcpy(s, p->start + k * p->n, p->n);
    out->sweeps[k] = 0, out->codes[k] = UHN_STEP_LIMIT, out->changed[k] = 0;
    for (size_t t = 0; t < schedule->n_sweeps; t++) {
        const size_t sweep = schedule->first_sweep + t;
        const size_t n_looks = schedule->order == UHN_ORDER_GIVEN ? schedule->n_given : p->n;
        const double temperature = schedule->temperatures ? p->temperatures[t] : 0;
        memcpy(before, old, p->n);
        memcpy(old, s, p->n);
        if (!sync) uhn_schedule_sweep(schedule, p->n, sweep, order);
        out->changed[k] = 0;
        for (size_t c = 0; c < n_looks; c++) {
            const size_t i = sync ? c : (size_t)order[c];
            if (schedule->clamped && p->clamped[i]) continue;
            const double h = twin_field(p, sync ? old : s, i);
            int new = twin_wish(p, h, s[i]);
            if (temperature > 0)
                new = luck(schedule->seed, sweep, c) < 1 / (1 + exp(-2 * h / temperature)) ? 1
                                                                                           : -1;
            if (new != s[i]) out->changed[k] = 1;
            s[i] = (int8_t) new;
        }
        out->sweeps[k] = (int64_t)t + 1;
        if (temperature > 0) continue;
        const bool cold = t > 0 && !(schedule->temperatures && p->temperatures[t - 1] > 0);
        if (twin_rests(p, s)) out->codes[k] = UHN_FIXED_POINT;
        else if (sync && cold && !memcmp(s, before, p->n)) out->codes[k] = UHN_TWO_CYCLE;
        if (out->codes[k] != UHN_STEP_LIMIT) return;
    }
}

/* ------------------------------------------------------------------------------- problems -- */

static int8_t sign_of(rng *r) { return rng_next(r) >> 63 ? 1 : -1; }

static void make_problem(problem *p, rng *r, unsigned long number) {
    const size_t n = p->n = 1 + rng_below(r, number % 4 ? 24 : MOST_UNITS);
    p->n_patterns = rng_below(r, number % 3 ? 12 : MOST_PATTERNS + 1);
    p->n_states = 1 + rng_below(r, number % 5 ? 4 : MOST_STATES);
    p->hebbian = number % 3 < 2;
    p->keep_diagonal = rng_next(r) & 1;
    for (size_t i = 0; i < p->n_patterns * n; i++) p->patterns[i] = sign_of(r);
    for (size_t i = 0; i < p->n_states * n; i++) p->start[i] = sign_of(r);
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i < n; i++) {
            int64_t c = 0;
            for (size_t m = 0; m < p->n_patterns; m++)
                c += p->patterns[m * n + i] * p->patterns[m * n + j];
            /* Not symmetric, now and then as large as there is, but for doubles small. */
            if (!p->hebbian) c = (int64_t)rng_below(r, 9) - 4;
            if (!p->hebbian && number % 7 == 2 && rng_below(r, 50) == 0) c = INT16_MIN;
            p->c[j * n + i] = c;
        }
    p->scale = rng_next(r) & 1 ? 1 : 0x1p-8;
    p->has_bias = rng_next(r) & 1;
    for (size_t i = 0; i < n; i++) p->bias[i] = ((double)rng_below(r, 5) - 2) * p->scale;
    for (size_t i = 0; i < 2 * n; i++) p->given[i] = (int64_t)rng_below(r, n);
    for (size_t i = 0; i < n; i++) p->clamped[i] = rng_below(r, 4) == 0;
    for (int t = 0; t < MOST_SWEEPS; t++)
        p->temperatures[t] = rng_next(r) & 1 ? 0 : 3 * p->scale;
    p->schedule = (uhn_schedule){.order = (uhn_order)(number % UHN_N_ORDERS),
                                 .seed = rng_next(r),
                                 .first_sweep = rng_below(r, 3),
                                 .n_sweeps = rng_below(r, MOST_SWEEPS + 1),
                                 .tie = (uhn_tie)rng_below(r, UHN_N_TIES),
                                 .clamped = rng_next(r) & 1 ? p->clamped : NULL,
                                 .temperatures = rng_below(r, 3) ? NULL : p->temperatures};
    if (p->schedule.order == UHN_ORDER_GIVEN) {
        p->schedule.given = p->given;
        p->schedule.n_given = 1 + rng_below(r, 2 * n);
    }
}

typedef enum form { INT16, INT32, DOUBLE, PATTERNS, N_FORMS } form;

/* The problem in one form, in guarded memory. */
static guarded make_network(const problem *p, form form, uhn_network *out) {
    static int16_t counts16[MOST_UNITS * MOST_UNITS];
    static int32_t counts32[MOST_UNITS * MOST_UNITS];
    static double weights[MOST_UNITS * MOST_UNITS];
    static uint32_t columns[MOST_UNITS * (MOST_PATTERNS / 32 + 1)];
    const size_t n = p->n, size = n * n;
    for (size_t i = 0; i < size; i++) {
        counts16[i] = (int16_t)p->c[i];
        counts32[i] = (int32_t)p->c[i];
        weights[i] = i % (n + 1) || p->keep_diagonal ? (double)p->c[i] / 256 : 0;
    }
    uhn_pack_columns(p->patterns, p->n_patterns, n, columns);
    *out = (uhn_network){.n_units = n,
                         .keep_diagonal = p->keep_diagonal,
                         .scale = form == DOUBLE ? 256 * p->scale : p->scale,
                         .bias = p->has_bias ? p->bias : NULL};
    guarded g;
    switch (form) {
    case INT16:
        g = guard(counts16, size * sizeof *counts16);
        out->counts16 = (const int16_t *)(const void *)g.data;
        break;
    case INT32:
        g = guard(counts32, size * sizeof *counts32);
        out->counts32 = (const int32_t *)(const void *)g.data;
        break;
    case DOUBLE:
        g = guard(weights, size * sizeof *weights);
        out->weights = (const double *)(const void *)g.data;
        break;
    default:
        g = guard(columns, n * ((p->n_patterns + 31) / 32) * sizeof *columns);
        out->columns = (const uint32_t *)(const void *)g.data;
        out->n_patterns = p->n_patterns;
    }
    return g;
}

static void same(const problem *p, const answer *got, const answer *wanted, size_t first,
                 size_t n, const char *law, form form) {
    const size_t b = n * p->n;
    CHECK(
        !memcmp(got->states, wanted->states + first * p->n, b) &&
            !memcmp(got->sweeps, wanted->sweeps + first, n * sizeof *got->sweeps) &&
            !memcmp(got->codes, wanted->codes + first, n) &&
            !memcmp(got->changed, wanted->changed + first, n),
        "%s, form %d: %zu units, %zu patterns, order %d, tie %d%s%s, state 0: sweeps %lld not "
        "%lld, code %d not %d",
        law, form, p->n, p->n_patterns, p->schedule.order, p->schedule.tie,
        p->schedule.clamped ? ", clamped" : "", p->schedule.temperatures ? ", hot" : "",
        (long long)got->sweeps[0], (long long)wanted->sweeps[first], got->codes[0],
        wanted->codes[first]);
}

static void settle(const uhn_network *network, const uhn_schedule *schedule,
                   const int8_t *start, size_t n, int n_threads, answer *out) {
    const uhn_run run = {.n_threads = n_threads};
    CHECK_OK(uhn_network_settle(network, schedule, start, n, &run, out->states, out->sweeps,
                                out->codes, out->changed, NULL));
}

static void test_problem(const problem *p, rng *r) {
    static answer wanted, got, more;
    static double fields[MOST_STATES * MOST_UNITS], energies[MOST_STATES];
    const size_t n = p->n;
    for (size_t k = 0; k < p->n_states; k++) twin_settle(p, k, &wanted);
    guarded start = guard(p->start, p->n_states * n);
    const int8_t *states = (const int8_t *)start.data;
    for (form form = INT16; form < N_FORMS; form++) {
        if (form == PATTERNS && !p->hebbian) continue;
        uhn_network network;
        guarded g = make_network(p, form, &network);
        settle(&network, &p->schedule, states, p->n_states, 1, &got);
        same(p, &got, &wanted, 0, p->n_states, "twin", form);
        settle(&network, &p->schedule, states, p->n_states, 3, &got);
        same(p, &got, &wanted, 0, p->n_states, "threads", form);
        const size_t k = rng_below(r, p->n_states), m = 1 + rng_below(r, p->n_states - k);
        settle(&network, &p->schedule, states + k * n, m, 1, &got);
        same(p, &got, &wanted, k, m, "part of a batch", form);

        /* Cut in two: where the first part has not come to rest the second goes on. */
        uhn_schedule part = p->schedule;
        part.n_sweeps = rng_below(r, p->schedule.n_sweeps + 1);
        settle(&network, &part, states, p->n_states, 1, &got);
        part.first_sweep += part.n_sweeps;
        part.n_sweeps = p->schedule.n_sweeps - part.n_sweeps;
        if (part.temperatures) part.temperatures += p->schedule.n_sweeps - part.n_sweeps;
        for (size_t i = 0; i < p->n_states; i++)
            if (got.codes[i] == UHN_STEP_LIMIT && wanted.codes[i] != UHN_TWO_CYCLE) {
                settle(&network, &part, got.states + i * n, 1, 1, &more);
                CHECK(!memcmp(more.states, wanted.states + i * n, n) &&
                          more.codes[0] == wanted.codes[i],
                      "cut in two, form %d, order %d", form, p->schedule.order);
            }

        CHECK_OK(uhn_network_fields(&network, states, p->n_states, NULL, fields, NULL));
        CHECK_OK(uhn_network_energies(&network, states, p->n_states, NULL, energies, NULL));
        for (size_t i = 0; i < p->n_states; i++) {
            const int8_t *s = p->start + i * n;
            int64_t quadratic = 0;
            double pull = 0;
            bool equal = true;
            for (size_t u = 0; u < n; u++) {
                equal &= fields[i * n + u] == twin_field(p, s, u);
                quadratic += s[u] * twin_sum(p, s, u);
                if (p->has_bias) pull += p->bias[u] * s[u];
            }
            CHECK(equal, "fields, form %d: %zu units, %zu patterns", form, n, p->n_patterns);
            CHECK(energies[i] == -0.5 * p->scale * (double)quadratic - pull,
                  "energy, form %d: %g", form, energies[i]);
        }
        unguard(&g);
    }
    unguard(&start);
}

/* ----------------------------------------------------------------------------------- hebb -- */

static void test_hebb(rng *r, unsigned long number) {
    static problem p;
    static int32_t counts[MOST_UNITS * MOST_UNITS], old[MOST_UNITS * MOST_UNITS];
    make_problem(&p, r, 3 * number); /* Hebbian */
    const uhn_run run = {.n_threads = 1 + (int)(number % 3)};
    const size_t n = p.n, size = n * n;
    guarded g = guard(p.patterns, p.n_patterns * n);
    const int8_t *patterns = (const int8_t *)g.data;
    for (size_t i = 0; i < size; i++) old[i] = counts[i] = (int32_t)rng_below(r, 99) - 49;
    CHECK_OK(uhn_network_hebb(counts, n, patterns, p.n_patterns, 1, &run, NULL));
    bool equal = true;
    for (size_t i = 0; i < size; i++) equal &= counts[i] == old[i] + p.c[i];
    CHECK(equal, "Hebb: %zu units, %zu patterns", n, p.n_patterns);
    CHECK_OK(uhn_network_hebb(counts, n, patterns, p.n_patterns, -1, &run, NULL));
    CHECK(!memcmp(counts, old, size * sizeof *counts), "forgetting is not the opposite");
    if (p.n_patterns > 0) {
        const size_t unit = rng_below(r, n);
        old[unit * (n + 1)] = counts[unit * (n + 1)] = INT32_MAX - (int32_t)p.n_patterns + 1;
        uhn_error error;
        CHECK_STATUS(uhn_network_hebb(counts, n, patterns, p.n_patterns, 1, &run, &error),
                     UHN_OVERFLOW);
        CHECK(strstr(error.message, "int32"), "message '%s'", error.message);
        CHECK(!memcmp(counts, old, size * sizeof *counts), "counts after an overflow");
        old[unit * (n + 1)] = counts[unit * (n + 1)] = INT32_MAX - (int32_t)p.n_patterns;
        CHECK_OK(uhn_network_hebb(counts, n, patterns, p.n_patterns, 1, &run, NULL));
        CHECK(counts[unit * (n + 1)] == INT32_MAX, "the largest count there is");
    }
    unguard(&g);
}

/* -------------------------------------------------------------------- large, wrong, stopped -- */

/* More units than int16 overlaps hold, more patterns than a word of counters. */
static void test_wide(rng *r) {
    enum { UNITS = 33000, PATTERNS_ = 45, STATES = 2 };
    int8_t *patterns = must_alloc(PATTERNS_ * UNITS), *states = must_alloc(STATES * UNITS);
    uint32_t *columns = must_alloc(UNITS * 2 * sizeof *columns);
    double *fields = must_alloc(STATES * UNITS * sizeof *fields);
    int64_t overlaps[STATES][PATTERNS_] = {{0}};
    for (size_t i = 0; i < PATTERNS_ * UNITS; i++) patterns[i] = sign_of(r);
    /* Two patterns and their negatives: the largest overlaps. */
    memcpy(states, patterns, UNITS);
    for (size_t i = 0; i < UNITS; i++) states[UNITS + i] = (int8_t)-patterns[UNITS + i];
    for (int k = 0; k < STATES; k++)
        for (int m = 0; m < PATTERNS_; m++)
            for (size_t i = 0; i < UNITS; i++)
                overlaps[k][m] += patterns[m * UNITS + i] * states[k * UNITS + i];
    uhn_pack_columns(patterns, PATTERNS_, UNITS, columns);
    uhn_network network = {.n_units = UNITS, .columns = columns, .n_patterns = PATTERNS_};
    network.scale = 1;
    network.keep_diagonal = true;
    CHECK_OK(uhn_network_fields(&network, states, STATES, NULL, fields, NULL));
    bool equal = true;
    for (int k = 0; k < STATES; k++)
        for (size_t i = 0; i < UNITS; i++) {
            int64_t sum = 0;
            for (int m = 0; m < PATTERNS_; m++) sum += patterns[m * UNITS + i] * overlaps[k][m];
            equal &= fields[k * UNITS + i] == (double)sum;
        }
    CHECK(equal, "fields of a wide network");
    /* Some units turned round come back. */
    int64_t sweeps[STATES];
    uint8_t codes[STATES], changed[STATES];
    int8_t *ends = must_alloc(STATES * UNITS);
    memcpy(ends, states, STATES * UNITS);
    for (size_t i = 0; i < STATES * UNITS; i += 9) ends[i] = (int8_t)-ends[i];
    const uhn_schedule schedule = {.order = UHN_ORDER_PERMUTATION, .seed = 3, .n_sweeps = 9};
    CHECK_OK(uhn_network_settle(&network, &schedule, ends, STATES, NULL, ends, sweeps, codes,
                                changed, NULL));
    CHECK(!memcmp(ends, states, STATES * UNITS), "a wide network does not retrieve");
    CHECK(codes[0] == UHN_FIXED_POINT && codes[1] == UHN_FIXED_POINT, "codes");
    free(patterns), free(states), free(columns), free(fields), free(ends);
}

/* Couplings whose sums are rounded, and often 0 but for that: a run sweep by sweep is the run in one
 * piece, as sums are made afresh before each sweep. */
static void test_rounded(rng *r) {
    enum { N = 13, SWEEPS = 5 };
    static const uhn_order orders[] = {UHN_ORDER_PERMUTATION, UHN_ORDER_REPLACEMENT,
                                       UHN_ORDER_SEQUENTIAL};
    double weights[N * N];
    int8_t start[N], whole[N], parts[N];
    int64_t sweeps;
    uint8_t code, changed;
    for (int round = 0; round < 2000; round++) {
        for (size_t i = 0; i < N * N; i++) weights[i] = ((double)rng_below(r, 7) - 3) / 10;
        for (size_t i = 0; i < N; i++) start[i] = parts[i] = sign_of(r);
        const uhn_network network = {.n_units = N, .weights = weights, .scale = 1};
        uhn_schedule schedule = {.order = orders[round % 3], .seed = 7, .n_sweeps = SWEEPS};
        CHECK_OK(uhn_network_settle(&network, &schedule, start, 1, NULL, whole, &sweeps, &code,
                                    &changed, NULL));
        const size_t n_done = (size_t)sweeps;
        schedule.n_sweeps = 1;
        for (size_t t = 0; t < n_done; t++) {
            schedule.first_sweep = t;
            CHECK_OK(uhn_network_settle(&network, &schedule, parts, 1, NULL, parts, &sweeps,
                                        &code, &changed, NULL));
        }
        CHECK(!memcmp(whole, parts, N), "round %d: %zu sweeps in one piece", round, n_done);
    }
}

/* The largest counts there are: sums and energies that leave 32 bits. */
static void test_large_counts(void) {
    enum { N = 5 };
    int32_t counts[N * N];
    const int8_t state[N] = {1, 1, 1, 1, 1};
    double fields[N], energy;
    const uhn_network network = {.n_units = N,
                                 .counts32 = counts,
                                 .keep_diagonal = true,
                                 .scale = 1};
    for (size_t i = 0; i < N * N; i++) counts[i] = INT32_MAX;
    CHECK_OK(uhn_network_fields(&network, state, 1, NULL, fields, NULL));
    CHECK_OK(uhn_network_energies(&network, state, 1, NULL, &energy, NULL));
    for (size_t i = 0; i < N; i++) CHECK(fields[i] == N * (double)INT32_MAX, "%g", fields[i]);
    CHECK(energy == -0.5 * N * N * (double)INT32_MAX, "%g", energy);
}

#define REFUSED(call, wanted, word)                                                            \
    do {                                                                                       \
        uhn_error record = {.message = "untouched"}, *error = &record;                         \
        CHECK_STATUS(call, wanted);                                                            \
        CHECK(strstr(record.message, word), "%s: '%s' lacks '%s'", #call, record.message,      \
              word);                                                                           \
        error = NULL;                                                                          \
        CHECK_STATUS(call, wanted);                                                            \
    } while (0)

static void test_wrong(void) {
    enum { N = 4 };
    const int16_t counts[N * N] = {0};
    const double weights[N * N] = {0};
    const double bias[N] = {0, NAN, 0, 0}, cold[2] = {1, -1};
    const int8_t good[N] = {1, -1, 1, -1}, bad[N] = {1, -1, 0, 1};
    int8_t states[N];
    int64_t sweeps[1];
    uint8_t codes[1], changed[1];
    double out[N];
    int32_t sums[N * N] = {0};
    const uhn_network network = {.n_units = N, .counts16 = counts, .scale = 1};
    const uhn_schedule schedule = {.order = UHN_ORDER_SEQUENTIAL, .n_sweeps = 2};
    const int64_t beyond[1] = {N};
    uhn_network w;
    uhn_schedule s;
#define SETTLE(network, schedule, start)                                                       \
    uhn_network_settle(network, schedule, start, 1, NULL, states, sweeps, codes, changed, error)
    REFUSED(SETTLE(&network, &schedule, bad), UHN_BAD_DATA, "states[0, 2] is 0");
    REFUSED(uhn_network_fields(&network, bad, 1, NULL, out, error), UHN_BAD_DATA, "states");
    REFUSED(uhn_network_energies(&network, bad, 1, NULL, out, error), UHN_BAD_DATA, "states");
    w = network, w.weights = weights;
    REFUSED(SETTLE(&w, &schedule, good), UHN_BAD_PARAMETER, "exactly one form");
    w = network, w.counts16 = NULL;
    REFUSED(SETTLE(&w, &schedule, good), UHN_BAD_PARAMETER, "exactly one form");
    w = network, w.n_units = 0;
    REFUSED(SETTLE(&w, &schedule, good), UHN_BAD_SHAPE, "at least one unit");
    w = network, w.n_units = 65536;
    REFUSED(SETTLE(&w, &schedule, good), UHN_BAD_SHAPE, "fewer than 65536");
    w = network, w.scale = 0;
    REFUSED(SETTLE(&w, &schedule, good), UHN_BAD_PARAMETER, "scale");
    w = network, w.bias = bias;
    REFUSED(SETTLE(&w, &schedule, good), UHN_BAD_DATA, "bias[1]");
    s = schedule, s.order = UHN_ORDER_GIVEN, s.given = beyond, s.n_given = 1;
    REFUSED(SETTLE(&network, &s, good), UHN_BAD_PARAMETER, "order[0] is 4");
    s = schedule, s.temperatures = cold;
    REFUSED(SETTLE(&network, &s, good), UHN_BAD_PARAMETER, "temperature");
    REFUSED(uhn_network_hebb(sums, N, good, 1, 2, NULL, error), UHN_BAD_PARAMETER, "sign");
    REFUSED(uhn_network_hebb(sums, N, bad, 1, 1, NULL, error), UHN_BAD_DATA, "patterns[0, 2]");
    CHECK_OK(uhn_network_settle(&network, &schedule, good, 0, NULL, states, sweeps, codes,
                                changed, NULL));
#undef SETTLE
}

static int stop_later(void *context) {
    long *left = context;
    return (*left)-- <= 0;
}

/* Stopped at any poll, a call says so, and Hebb's rule leaves the counts as they were. */
static void test_stop(rng *r) {
    static problem p;
    static answer out;
    static int32_t counts[MOST_UNITS * MOST_UNITS], zero[MOST_UNITS * MOST_UNITS];
    do make_problem(&p, r, 60);
    while (p.n < 100 || p.n_patterns < 100 || p.n_states < 10);
    p.schedule = (uhn_schedule){.order = UHN_ORDER_REPLACEMENT, .n_sweeps = 3};
    p.temperatures[0] = p.temperatures[1] = p.temperatures[2] = 1;
    p.schedule.temperatures = p.temperatures;
    for (form form = INT16; form <= N_FORMS; form++) {
        uhn_network network;
        guarded g = make_network(&p, form < N_FORMS ? form : INT16, &network);
        bool ended = false;
        for (long k = 0; k < 3000 && !ended; k += 1 + k / 5) {
            long left = k;
            uhn_run run = {.n_threads = 1, .stop = stop_later, .stop_context = &left};
            const uhn_status status =
                form < N_FORMS
                    ? uhn_network_settle(&network, &p.schedule, p.start, p.n_states, &run,
                                         out.states, out.sweeps, out.codes, out.changed, NULL)
                    : uhn_network_hebb(counts, p.n, p.patterns, p.n_patterns, 1, &run, NULL);
            ended = status == UHN_OK;
            CHECK(ended || status == UHN_STOPPED, "%s", uhn_status_string(status));
            CHECK(k > 0 || status == UHN_STOPPED, "form %d: never polled", form);
            CHECK(ended || !memcmp(counts, zero, sizeof counts), "counts after a stop");
        }
        CHECK(ended, "form %d: thousands of polls for very little", form);
        unguard(&g);
    }
}

static int count_polls(void *context) {
    ++*(long *)context;
    return 0;
}

/* Patterns are compared in pairs, for each unit anew if there is a mask: long before the first raise. */
static void test_polls_of_overlaps(rng *r) {
    enum { K = 1500, N = 3 };
    int8_t *patterns = must_alloc(K * N);
    uint8_t mask[N * N];
    int32_t weights[N * N];
    double stabilities[N];
    long n_polls = 0;
    const uhn_run run = {.n_threads = 1, .stop = count_polls, .stop_context = &n_polls};
    for (size_t i = 0; i < K * N; i++) patterns[i] = sign_of(r);
    memset(mask, 1, sizeof mask);
    CHECK_OK(
        uhn_learn_perceptron(patterns, K, N, mask, 0, 0, &run, weights, stabilities, NULL));
    /* More than a million pairs a unit, which should be less than fifty thousand a poll. */
    CHECK(n_polls > 20 * N, "%ld polls", n_polls);
    long left = n_polls / 2;
    const uhn_run stopped = {.n_threads = 1, .stop = stop_later, .stop_context = &left};
    CHECK_STATUS(uhn_learn_perceptron(patterns, K, N, mask, 0, 0, &stopped, weights,
                                      stabilities, NULL),
                 UHN_STOPPED);
    free(patterns);
}

int main(void) {
    static problem p;
    rng r = {.state = 5};
    for (unsigned long number = 0; number < 900; number++) {
        make_problem(&p, &r, number);
        test_problem(&p, &r);
    }
    for (unsigned long number = 0; number < 60; number++) test_hebb(&r, number);
    test_wide(&r);
    test_rounded(&r);
    test_large_counts();
    test_wrong();
    test_stop(&r);
    test_polls_of_overlaps(&r);
    return check_done();
}
