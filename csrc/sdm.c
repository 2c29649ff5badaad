/*
 * sdm.c - sparse distributed memory: hard locations and counters (layer 4; Kanerva 1988).
 *
 * May include: cpu.h, order.h, threads.h.
 *
 *     active(x) = {k : hamming(A_k, x) <= r}
 *     write (x, y):  C_k += y            for k in active(x)
 *     read (q):      z = sign(sum of C_k over k in active(q))
 *
 * Comparing addresses is bound by the memory they are read from, so up to 64 queries share each
 * look at them, and come out of it as a word for every location that is active, whose bit q
 * stands for query q. Tasks of the parallel loop own ranges of locations. Counts and sums are
 * whole numbers, exact in any order; writes to one counter happen in the order of the rows,
 * whoever owns it. So neither threads nor batches nor the CPU path can change a result.
 */
#include "cpu.h"
#include "order.h"
#include "threads.h"

enum {
    BLOCK = 64,           /* queries that share a look at the addresses: bits of a mask */
    CHUNK = 256,          /* locations between two polls, at most: what is found stays in L1 */
    TASK = 4096,          /* locations of a task */
    FLUSH = 1 << 16,      /* rows of int16 counters whose sum fits int32 */
    CHUNK_WORK = 1 << 21, /* words compared between two polls, at most (a few ms everywhere) */
    SUMS_WORK = 1 << 22,  /* sums that a worker keeps, at most: wide words make small blocks */
    WRITE_WORK =
        1 << 25, /* counters that are changed between two polls, unless one row has more */
    SOLO_WORK = 1 << 20 /* words compared that are not worth a second thread */
};

/* Number of the stream that addresses come from: far from those of any sweep. */
#define ADDRESS_STREAM UINT64_MAX

void uhn_sdm_addresses(uint64_t seed, size_t first, size_t n_locations, size_t n_features,
                       uint64_t *out) {
    const size_t n_words = (n_features + 63) / 64;
    const uint64_t stream = uhn_stream(seed, ADDRESS_STREAM);
    const uint64_t last = n_features % 64 ? (UINT64_C(1) << n_features % 64) - 1 : UINT64_MAX;
    for (size_t i = 0; i < n_locations * n_words; i++)
        out[i] = uhn_random(stream, first * n_words + i);
    for (size_t k = 0; k < n_locations; k++) out[k * n_words + n_words - 1] &= last;
}

/* ------------------------------------------------------------------------------- queries -- */

/* Up to BLOCK queries, ready to be compared with addresses. */
typedef struct block {
    const uhn_bit_kernels *kernels;
    const uhn_sdm *sdm;
    size_t radius, n_words, n_queries;
    uint64_t *rows;   /* n_queries x n_words */
    uint64_t *panels; /* the same as the kernel `within` reads them */
} block;

static void block_free(block *b) {
    free(b->rows);
    free(b->panels);
}

/* Room for n_queries of them. */
static bool block_new(const uhn_sdm *sdm, size_t radius, size_t n_queries, block *b) {
    const uhn_bit_kernels *kernels = uhn_bit_kernels_of_cpu();
    const size_t n_words = (sdm->n_features + 63) / 64;
    const size_t padded = uhn_round_up(n_queries, kernels->lanes);
    *b = (block){.kernels = kernels,
                 .sdm = sdm,
                 .radius = radius,
                 .n_words = n_words,
                 .rows = uhn_alloc(n_queries, n_words, sizeof *b->rows),
                 .panels = uhn_alloc(padded, n_words, sizeof *b->panels)};
    if (b->rows && b->panels) return true;
    block_free(b);
    return false;
}

static void block_fill(block *b, const int8_t *queries, size_t n_queries) {
    const size_t n_words = b->n_words, lanes = b->kernels->lanes;
    b->n_queries = n_queries;
    uhn_pack_rows(queries, n_queries, b->sdm->n_features, b->rows);
    if (n_queries <= b->kernels->few) return;
    memset(b->panels, 0, uhn_round_up(n_queries, lanes) * n_words * sizeof *b->panels);
    for (size_t q = 0; q < n_queries; q++)
        for (size_t w = 0; w < n_words; w++)
            b->panels[(q / lanes * n_words + w) * lanes + q % lanes] = b->rows[q * n_words + w];
}

/* Locations of a chunk, if for each active one n_values counters are looked at. */
static size_t block_chunk(const block *b, size_t n_values) {
    const size_t most = CHUNK_WORK / (b->n_queries * (b->n_words + n_values / 16));
    return UHN_MIN(UHN_MAX(most, (size_t)1), (size_t)CHUNK);
}

/* Active locations of a chunk, in their order. */
typedef struct hit_list {
    size_t n;
    uint32_t found[CHUNK]; /* counted from the first of the chunk */
    uint64_t masks[CHUNK]; /* for which queries */
} hit_list;

/* Compares the locations [first, first + n), n <= CHUNK, with the queries. */
static void block_compare(const block *b, size_t first, size_t n, hit_list *out) {
    const bool few = b->n_queries <= b->kernels->few;
    out->n = b->kernels->within(b->sdm->addresses + first * b->n_words, n, b->n_words,
                                few ? b->rows : b->panels, b->n_queries, b->radius, out->found,
                                out->masks);
}

static size_t task_count(const uhn_sdm *sdm) { return (sdm->n_locations + TASK - 1) / TASK; }

/* Of the workers there are, those for a block: few comparisons are done before a second
 * thread has started. */
static int block_threads(const block *b, int n_workers) {
    const size_t each = b->n_words * b->n_queries;
    return b->sdm->n_locations < SOLO_WORK / each ? 1 : n_workers;
}

/* Threads that this call may use: asked once, as the answer may change. */
static int count_workers(const uhn_sdm *sdm, const uhn_run *run) {
    return (int)UHN_MIN((size_t)uhn_run_threads(run), task_count(sdm));
}

static uhn_status check(const uhn_sdm *sdm, size_t radius, size_t n_rows, uhn_error *error) {
    size_t bytes;
    const size_t n_words = sdm->n_features / 64 + 1;
    if (error) *error = (uhn_error){0};
    if (sdm->n_features < 1 || sdm->n_values < 1 || sdm->n_locations < 1)
        return uhn_fail(error, UHN_BAD_SHAPE,
                        "a sparse distributed memory needs a location, a feature and a value; "
                        "it has %zu, %zu and %zu",
                        sdm->n_locations, sdm->n_features, sdm->n_values);
    if (sdm->n_features > INT32_MAX)
        return uhn_fail(error, UHN_BAD_SHAPE, "addresses of %zu bits are longer than 2^31 - 1",
                        sdm->n_features);
    if (radius > sdm->n_features)
        return uhn_fail(error, UHN_BAD_PARAMETER,
                        "radius is %zu, but addresses of %zu bits are never farther apart than "
                        "that",
                        radius, sdm->n_features);
    if (!uhn_mul(sdm->n_locations, n_words, sizeof(uint64_t), &bytes) ||
        !uhn_mul(sdm->n_locations, sdm->n_values, sizeof(int16_t), &bytes) ||
        !uhn_mul(n_rows, sdm->n_features, 1, &bytes) ||
        !uhn_mul(n_rows, sdm->n_values, sizeof(int64_t), &bytes))
        return uhn_fail(error, UHN_BAD_SHAPE, "these sizes are more than can be addressed");
    return UHN_OK;
}

/* ---------------------------------------------------------------------------------- read -- */

/* What one worker has added up. Rows of counters are added in int32 until they could
 * overflow. */
typedef struct tally {
    int32_t *narrow;         /* n_queries x n_values */
    int64_t *wide;           /* the same, once it has been flushed */
    int64_t n_active[BLOCK]; /* locations */
    size_t n_pending;        /* of any query in `narrow`, at most */
} tally;

typedef struct reading {
    block queries;
    bool sums; /* counters are wanted, not only how many */
    tally *tallies;
} reading;

static void tally_flush(tally *t, size_t n) {
    for (size_t i = 0; i < n; i++) t->wide[i] += t->narrow[i];
    memset(t->narrow, 0, n * sizeof *t->narrow);
    t->n_pending = 0;
}

/* Rows of counters lie far apart: they are called into cache before their turn. */
UHN_INLINE void fetch(const int16_t *counters, size_t n) {
    for (size_t i = 0; i < n; i += UHN_ALIGNMENT / sizeof *counters)
        __builtin_prefetch(counters + i, 0, 3);
}

static uhn_status read_task(void *context, size_t task, int worker, uhn_loop *loop) {
    const reading *r = context;
    const block *b = &r->queries;
    const uhn_sdm *sdm = b->sdm;
    tally *t = &r->tallies[worker];
    const size_t n_values = sdm->n_values, step = block_chunk(b, r->sums ? n_values : 0);
    const size_t stop = UHN_MIN((task + 1) * TASK, sdm->n_locations);
    hit_list hits;
    for (size_t first = task * TASK; first < stop; first += step) {
        const size_t n = UHN_MIN(step, stop - first);
        if (uhn_loop_poll(loop, worker) != UHN_OK) return UHN_STOPPED;
        block_compare(b, first, n, &hits);
        if (r->sums && t->n_pending + hits.n > FLUSH) tally_flush(t, b->n_queries * n_values);
        t->n_pending += hits.n;
        for (size_t i = 0; i < hits.n; i++) {
            const int16_t *counters =
                r->sums ? sdm->counters + (first + hits.found[i]) * n_values : NULL;
            if (r->sums && i + 1 < hits.n)
                fetch(sdm->counters + (first + hits.found[i + 1]) * n_values, n_values);
            for (uint64_t mask = hits.masks[i]; mask; mask &= mask - 1) {
                const int q = __builtin_ctzll(mask);
                t->n_active[q]++;
                if (r->sums)
                    b->kernels->add_up(counters, n_values, t->narrow + (size_t)q * n_values);
            }
        }
    }
    return UHN_OK;
}

static void reading_free(reading *r, int n_workers) {
    for (int i = 0; r->tallies && i < n_workers; i++) {
        free(r->tallies[i].narrow);
        free(r->tallies[i].wide);
    }
    free(r->tallies);
    block_free(&r->queries);
}

static bool reading_new(const uhn_sdm *sdm, size_t radius, size_t n_queries, bool sums,
                        int n_workers, reading *r) {
    *r = (reading){.sums = sums};
    if (!block_new(sdm, radius, n_queries, &r->queries)) return false;
    r->tallies = calloc((size_t)n_workers, sizeof *r->tallies);
    bool done = r->tallies;
    for (int i = 0; done && sums && i < n_workers; i++) {
        tally *t = &r->tallies[i];
        t->narrow = uhn_alloc(n_queries, sdm->n_values, sizeof *t->narrow);
        t->wide = uhn_alloc(n_queries, sdm->n_values, sizeof *t->wide);
        done = t->narrow && t->wide;
    }
    if (!done) reading_free(r, n_workers);
    return done;
}

/* The sums of one query over all workers, and what becomes of them. */
static void finish(const reading *r, int n_workers, size_t q, uhn_tie tie, const int8_t *query,
                   int8_t *word, int64_t *sums) {
    const size_t n_values = r->queries.sdm->n_values;
    int64_t *total = r->tallies[0].wide + q * n_values;
    for (int i = 1; i < n_workers; i++)
        for (size_t j = 0; j < n_values; j++) total[j] += r->tallies[i].wide[q * n_values + j];
    if (sums) memcpy(sums, total, n_values * sizeof *sums);
    if (!word) return;
    const int8_t otherwise = tie == UHN_TIE_PLUS ? 1 : -1;
    for (size_t j = 0; j < n_values; j++) {
        const int8_t at_zero = tie == UHN_TIE_KEEP ? query[j] : otherwise;
        word[j] = total[j] > 0 ? 1 : total[j] < 0 ? -1 : at_zero;
    }
}

uhn_status uhn_sdm_read(const uhn_sdm *sdm, size_t radius, const int8_t *queries,
                        size_t n_queries, uhn_tie tie, const uhn_run *run, int8_t *words,
                        int64_t *sums, int64_t *n_active, uhn_error *error) {
    uhn_status status = check(sdm, radius, n_queries, error);
    if (status != UHN_OK) return status;
    if ((unsigned)tie >= UHN_N_TIES)
        return uhn_fail(error, UHN_BAD_NAME, "tie %d is not one of keep, plus, minus",
                        (int)tie);
    if (words && tie == UHN_TIE_KEEP && sdm->n_values != sdm->n_features)
        return uhn_fail(error, UHN_BAD_SHAPE,
                        "a tie keeps the query's bit only where words are as long as "
                        "addresses: words have %zu bits, addresses %zu",
                        sdm->n_values, sdm->n_features);
    if (n_queries == 0) return UHN_OK;
    const bool counters = words || sums;
    const size_t n_values = sdm->n_values;
    size_t most = UHN_MIN(n_queries, (size_t)BLOCK);
    if (counters) most = UHN_MIN(most, UHN_MAX((size_t)SUMS_WORK / n_values, (size_t)1));
    const int n_workers = count_workers(sdm, run);
    reading r;
    if (!reading_new(sdm, radius, most, counters, n_workers, &r)) return uhn_no_memory(error);
    for (size_t first = 0; first < n_queries && status == UHN_OK; first += most) {
        const size_t n = UHN_MIN(most, n_queries - first);
        block_fill(&r.queries, queries + first * sdm->n_features, n);
        const int n_threads = block_threads(&r.queries, n_workers);
        for (int i = 0; i < n_threads; i++) {
            tally *t = &r.tallies[i];
            memset(t->n_active, 0, sizeof t->n_active);
            t->n_pending = 0;
            if (!counters) continue;
            memset(t->narrow, 0, n * n_values * sizeof *t->narrow);
            memset(t->wide, 0, n * n_values * sizeof *t->wide);
        }
        status = uhn_parallel_for(task_count(sdm), n_threads, run, read_task, &r);
        for (int i = 0; i < n_threads && counters && status == UHN_OK; i++)
            tally_flush(&r.tallies[i], n * n_values);
        for (size_t q = 0; q < n && status == UHN_OK; q++) {
            const size_t at = first + q;
            if (counters)
                finish(&r, n_threads, q, tie, queries + at * sdm->n_features,
                       words ? words + at * n_values : NULL,
                       sums ? sums + at * n_values : NULL);
            if (!n_active) continue;
            n_active[at] = 0;
            for (int i = 0; i < n_threads; i++) n_active[at] += r.tallies[i].n_active[q];
        }
    }
    reading_free(&r, n_workers);
    return status;
}

/* -------------------------------------------------------------------------------- active -- */

typedef struct listing {
    block queries;
    uint8_t *active; /* of the block's first query */
} listing;

static uhn_status list_task(void *context, size_t task, int worker, uhn_loop *loop) {
    const listing *l = context;
    const block *b = &l->queries;
    const size_t n_locations = b->sdm->n_locations, step = block_chunk(b, 0);
    const size_t stop = UHN_MIN((task + 1) * TASK, n_locations);
    hit_list hits;
    for (size_t first = task * TASK; first < stop; first += step) {
        const size_t n = UHN_MIN(step, stop - first);
        if (uhn_loop_poll(loop, worker) != UHN_OK) return UHN_STOPPED;
        block_compare(b, first, n, &hits);
        for (size_t q = 0; q < b->n_queries; q++)
            memset(l->active + q * n_locations + first, 0, n);
        for (size_t i = 0; i < hits.n; i++)
            for (uint64_t mask = hits.masks[i]; mask; mask &= mask - 1) {
                const size_t q = (size_t)__builtin_ctzll(mask);
                l->active[q * n_locations + first + hits.found[i]] = 1;
            }
    }
    return UHN_OK;
}

uhn_status uhn_sdm_active(const uhn_sdm *sdm, size_t radius, const int8_t *queries,
                          size_t n_queries, const uhn_run *run, uint8_t *active,
                          uhn_error *error) {
    size_t bytes;
    uhn_status status = check(sdm, radius, n_queries, error);
    if (status != UHN_OK) return status;
    if (!uhn_mul(n_queries, sdm->n_locations, 1, &bytes))
        return uhn_fail(error, UHN_BAD_SHAPE, "%zu x %zu flags are more than can be addressed",
                        n_queries, sdm->n_locations);
    if (n_queries == 0) return UHN_OK;
    const int n_workers = count_workers(sdm, run);
    listing l;
    if (!block_new(sdm, radius, UHN_MIN(n_queries, (size_t)BLOCK), &l.queries))
        return uhn_no_memory(error);
    for (size_t first = 0; first < n_queries && status == UHN_OK; first += BLOCK) {
        block_fill(&l.queries, queries + first * sdm->n_features,
                   UHN_MIN((size_t)BLOCK, n_queries - first));
        l.active = active + first * sdm->n_locations;
        status = uhn_parallel_for(task_count(sdm), block_threads(&l.queries, n_workers), run,
                                  list_task, &l);
    }
    block_free(&l.queries);
    return status;
}

/* --------------------------------------------------------------------------------- write -- */

/* A block is written in two steps, so that a call may be stopped between whole rows: the
 * first finds out who is active and may be given up at any time, the second, which is not
 * interrupted, changes counters for as many rows as keep it short. */
typedef struct writing {
    block rows;
    uint64_t *masks;            /* n_locations */
    int16_t *steps;             /* the words of the block, (n_rows x n_values) */
    uint64_t now;               /* the rows of the block that are being written */
    int64_t (*n_active)[BLOCK]; /* for each worker */
} writing;

static uhn_status find_task(void *context, size_t task, int worker, uhn_loop *loop) {
    const writing *w = context;
    const block *b = &w->rows;
    const size_t stop = UHN_MIN((task + 1) * TASK, b->sdm->n_locations);
    const size_t step = block_chunk(b, 0);
    hit_list hits;
    for (size_t first = task * TASK; first < stop; first += step) {
        const size_t n = UHN_MIN(step, stop - first);
        if (uhn_loop_poll(loop, worker) != UHN_OK) return UHN_STOPPED;
        block_compare(b, first, n, &hits);
        memset(w->masks + first, 0, n * sizeof *w->masks);
        for (size_t i = 0; i < hits.n; i++) {
            w->masks[first + hits.found[i]] = hits.masks[i];
            for (uint64_t mask = hits.masks[i]; mask; mask &= mask - 1)
                w->n_active[worker][__builtin_ctzll(mask)]++;
        }
    }
    return UHN_OK;
}

static uhn_status count_task(void *context, size_t task, int worker, uhn_loop *loop) {
    const writing *w = context;
    const uhn_sdm *sdm = w->rows.sdm;
    const size_t n_values = sdm->n_values, stop = UHN_MIN((task + 1) * TASK, sdm->n_locations);
    (void)worker;
    (void)loop;
    for (size_t k = task * TASK; k < stop; k++)
        for (uint64_t mask = w->masks[k] & w->now; mask; mask &= mask - 1)
            w->rows.kernels->count_up(w->steps + (size_t)__builtin_ctzll(mask) * n_values,
                                      n_values, sdm->counters + k * n_values);
    return UHN_OK;
}

static void writing_free(writing *w) {
    free(w->masks);
    free(w->steps);
    free(w->n_active);
    block_free(&w->rows);
}

static bool writing_new(const uhn_sdm *sdm, size_t radius, size_t n_rows, int n_workers,
                        writing *w) {
    *w = (writing){0};
    if (!block_new(sdm, radius, n_rows, &w->rows)) return false;
    w->masks = uhn_alloc(sdm->n_locations, 1, sizeof *w->masks);
    w->steps = uhn_alloc(n_rows, sdm->n_values, sizeof *w->steps);
    w->n_active = calloc((size_t)n_workers, sizeof *w->n_active);
    if (w->masks && w->steps && w->n_active) return true;
    writing_free(w);
    return false;
}

uhn_status uhn_sdm_write(const uhn_sdm *sdm, size_t radius, const int8_t *addresses,
                         const int8_t *words, size_t n_rows, const uhn_run *run,
                         size_t *n_written, int64_t *n_active, uhn_error *error) {
    uhn_status status = check(sdm, radius, n_rows, error);
    *n_written = 0;
    if (status != UHN_OK || n_rows == 0) return status;
    const size_t n_values = sdm->n_values;
    const size_t most =
        UHN_MIN(n_rows,
                UHN_MIN((size_t)BLOCK, UHN_MAX((size_t)SUMS_WORK / n_values, (size_t)1)));
    const int n_workers = count_workers(sdm, run);
    writing w;
    if (!writing_new(sdm, radius, most, n_workers, &w)) return uhn_no_memory(error);
    for (size_t first = 0; first < n_rows && status == UHN_OK; first += most) {
        const size_t n = UHN_MIN(most, n_rows - first);
        block_fill(&w.rows, addresses + first * sdm->n_features, n);
        for (size_t i = 0; i < n * n_values; i++) w.steps[i] = words[first * n_values + i];
        const int n_threads = block_threads(&w.rows, n_workers);
        memset(w.n_active, 0, (size_t)n_workers * sizeof *w.n_active);
        status = uhn_parallel_for(task_count(sdm), n_threads, run, find_task, &w);
        /* Nothing of this block is written yet. */
        for (size_t row = 0; row < n && status == UHN_OK;) {
            const size_t begin = row;
            uint64_t work = 0;
            w.now = 0;
            do {
                uint64_t found = 0;
                for (int i = 0; i < n_threads; i++) found += (uint64_t)w.n_active[i][row];
                if (row > begin && work + found * n_values > WRITE_WORK) break;
                work += found * n_values;
                if (n_active) n_active[first + row] = (int64_t)found;
                w.now |= UINT64_C(1) << row;
            } while (++row < n);
            /* Without a stop callback it cannot be stopped. */
            const int n_writers = work < SOLO_WORK ? 1 : n_threads;
            status = uhn_parallel_for(task_count(sdm), n_writers, NULL, count_task, &w);
            *n_written += row - begin;
            if (uhn_run_stopped(run)) status = UHN_STOPPED;
        }
    }
    writing_free(&w);
    return status;
}
