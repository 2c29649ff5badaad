/*
 * test_bits.c - the same query, the same bits: however the batch, the threads, the stores, the
 * shards and the buffers are cut.
 *
 * Each workload is answered once in the plainest way (one store, one thread, one call) and then
 * in other ways that must agree to the last bit. Buffers of the second kind end, or begin, at a
 * page that faults when it is touched, and inputs lie in pages that cannot be written.
 */
#define _DEFAULT_SOURCE
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

enum { N_ROWS = 2333, N_FEATURES = 37, N_QUERIES = 13, N_VALUES = 11 };

static unsigned long n_compared;
static int rounds = 2; /* random cuts a law and workload */
static bool quick;     /* for emulators: fewer sizes and threads, every law */

/* One workload with its plain answers. */
typedef struct base {
    const workload *w;
    uhn_dtype dtype;
    size_t n, d, v, b, width; /* v = 0: autoassociative, width is what comes out */
    void *patterns, *values, *prior, *queries;
    void *answer, *scores, *weights, *best;
    uint8_t *answered;
    int64_t *nearest;
    size_t k;
} base;

static size_t bytes_of(const base *t, size_t n) { return n * item_size(t->dtype); }

static void same(const base *t, const char *law, const void *got, const void *wanted,
                 size_t n_bytes) {
    n_compared++;
    CHECK(!memcmp(got, wanted, n_bytes), "%s f%d n %zu: %s", t->w->name, t->dtype ? 8 : 4, t->n,
          law);
}

static uhn_rows rows_of(const base *t, size_t start, size_t n, bool borrow) {
    return (uhn_rows){.patterns = at(t->dtype, t->patterns, start * t->d),
                      .values = t->v ? at(t->dtype, t->values, start * t->v) : NULL,
                      .prior = t->prior ? at(t->dtype, t->prior, start) : NULL,
                      .n_rows = n,
                      .borrow = borrow};
}

/* Rows [start, start + n) in one memory, stored in `n_stores` pieces of any size. */
static uhn_memory *memory_of(const base *t, size_t start, size_t n, size_t n_stores,
                             size_t first_row, rng *r) {
    uhn_memory *memory = NULL;
    size_t done = 0;
    CHECK_OK(uhn_memory_new(t->dtype, t->d, t->v, first_row, &memory));
    for (size_t i = 1; i <= n_stores && done < n; i++) {
        size_t m =
            i == n_stores ? n - done : rng_below(r, 2 * (n - done) / (n_stores - i + 1) + 1);
        uhn_rows rows =
            rows_of(t, start + done, m < n - done ? m : n - done, r && rng_next(r) & 1);
        if (rows.n_rows == 0) continue;
        CHECK_OK(uhn_memory_store(memory, &rows, NULL));
        done += rows.n_rows;
    }
    return memory;
}

static base *base_new(const workload *w, uhn_dtype dtype, size_t n, size_t d, size_t v,
                      size_t b) {
    base *t = must_alloc(sizeof *t);
    rng r = {.state = 31 * n + d};
    *t = (base){.w = w, .dtype = dtype, .n = n, .d = d, .v = v, .b = b, .width = v ? v : d};
    t->k = n < 9 ? n : 9;
    t->patterns = must_alloc(bytes_of(t, n * d));
    t->values = must_alloc(bytes_of(t, n * t->width));
    t->prior = w->prior ? must_alloc(bytes_of(t, n)) : NULL;
    t->queries = must_alloc(bytes_of(t, b * d));
    t->answer = must_alloc(bytes_of(t, b * t->width));
    t->scores = must_alloc(bytes_of(t, b * n));
    t->weights = must_alloc(bytes_of(t, b * n));
    t->best = must_alloc(bytes_of(t, b * t->k));
    t->answered = must_alloc(b);
    t->nearest = must_alloc(b * t->k * sizeof *t->nearest);
    fill(dtype, t->patterns, n * d, &r, w->kind);
    fill(dtype, t->values, n * t->width, &r, FILL_SIGNED);
    fill(dtype, t->queries, b * d, &r, w->kind);
    if (t->prior) fill(dtype, t->prior, n, &r, FILL_POSITIVE);

    uhn_memory *memory = memory_of(t, 0, n, 1, 0, &r);
    const uhn_run run = {.n_threads = 1};
    const uhn_equation *e = &w->equation;
    CHECK_OK(uhn_retrieve(memory, e, t->queries, b, &run, t->answer, t->answered, NULL));
    CHECK_OK(uhn_scores(memory, e, t->queries, b, &run, t->scores, NULL));
    CHECK_OK(uhn_weights(memory, e, t->queries, b, &run, t->weights, NULL));
    CHECK_OK(uhn_nearest(memory, e, t->queries, b, t->k, &run, t->nearest, t->best, NULL));
    uhn_memory_free(memory);
    return t;
}

static void base_free(base *t) {
    free(t->patterns), free(t->values), free(t->prior), free(t->queries), free(t->answer);
    free(t->scores), free(t->weights), free(t->best), free(t->answered), free(t->nearest),
        free(t);
}

/* All four answers of a memory against the plain ones. */
static void same_answers(const base *t, const uhn_memory *memory, const uhn_run *run,
                         const char *law) {
    const uhn_equation *e = &t->w->equation;
    const size_t most = t->n > t->width ? t->n : t->width;
    void *out = must_alloc(bytes_of(t, t->b * most));
    uint8_t *answered = must_alloc(t->b);
    int64_t *indices = must_alloc(t->b * t->k * sizeof *indices);

    CHECK_OK(uhn_retrieve(memory, e, t->queries, t->b, run, out, answered, NULL));
    same(t, law, out, t->answer, bytes_of(t, t->b * t->width));
    same(t, law, answered, t->answered, t->b);
    CHECK_OK(uhn_scores(memory, e, t->queries, t->b, run, out, NULL));
    same(t, law, out, t->scores, bytes_of(t, t->b * t->n));
    CHECK_OK(uhn_weights(memory, e, t->queries, t->b, run, out, NULL));
    same(t, law, out, t->weights, bytes_of(t, t->b * t->n));
    CHECK_OK(uhn_nearest(memory, e, t->queries, t->b, t->k, run, indices, out, NULL));
    same(t, law, indices, t->nearest, t->b * t->k * sizeof *indices);
    same(t, law, out, t->best, bytes_of(t, t->b * t->k));
    free(out), free(answered), free(indices);
}

static void law_batches(const base *t, rng *r) {
    uhn_memory *memory = memory_of(t, 0, t->n, 1, 0, r);
    void *out = must_alloc(bytes_of(t, t->b * (t->n > t->width ? t->n : t->width)));
    for (int round = 0; round <= rounds; round++)
        for (size_t done = 0, m; done < t->b; done += m) {
            m = round ? 1 + rng_below(r, t->b - done) : 1;
            const void *queries = at(t->dtype, t->queries, done * t->d);
            CHECK_OK(uhn_retrieve(memory, &t->w->equation, queries, m, NULL, out, NULL, NULL));
            same(t, "part of a batch", out, at(t->dtype, t->answer, done * t->width),
                 bytes_of(t, m * t->width));
            CHECK_OK(uhn_weights(memory, &t->w->equation, queries, m, NULL, out, NULL));
            same(t, "weights of part of a batch", out, at(t->dtype, t->weights, done * t->n),
                 bytes_of(t, m * t->n));
        }
    uhn_memory_free(memory);
    free(out);
}

static void law_threads(const base *t, rng *r) {
    uhn_memory *memory = memory_of(t, 0, t->n, 1, 0, r);
    for (int threads = 1; threads <= (quick ? 3 : 8); threads++) {
        void *out = must_alloc(bytes_of(t, t->b * t->width));
        uhn_run run = {.n_threads = threads};
        if (threads == 3 || threads == 8) {
            same_answers(t, memory, &run, "threads");
        } else {
            CHECK_OK(
                uhn_retrieve(memory, &t->w->equation, t->queries, t->b, &run, out, NULL, NULL));
            same(t, "threads", out, t->answer, bytes_of(t, t->b * t->width));
            /* One query: the threads must share the patterns. */
            CHECK_OK(
                uhn_retrieve(memory, &t->w->equation, t->queries, 1, &run, out, NULL, NULL));
            same(t, "threads on one query", out, t->answer, bytes_of(t, t->width));
        }
        free(out);
    }
    uhn_memory_free(memory);
}

static void law_stores(const base *t, rng *r) {
    for (int round = 0; round < rounds; round++) {
        uhn_memory *memory = memory_of(t, 0, t->n, 2 + rng_below(r, 40), 0, r), *copy = NULL;
        same_answers(t, memory, NULL, "history of stores");
        CHECK_OK(uhn_memory_copy(memory, &copy));
        uhn_memory_free(memory);
        same_answers(t, copy, NULL, "copy");
        uhn_memory_free(copy);
    }
    /* One row at a time across the first block's end. */
    if (t->n > 1030) {
        uhn_memory *memory = memory_of(t, 0, 1020, 1, 0, r);
        for (size_t i = 1020; i < 1030; i++) {
            uhn_rows rows = rows_of(t, i, 1, i & 1);
            CHECK_OK(uhn_memory_store(memory, &rows, NULL));
        }
        uhn_rows rest = rows_of(t, 1030, t->n - 1030, true);
        CHECK_OK(uhn_memory_store(memory, &rest, NULL));
        same_answers(t, memory, NULL, "row by row");
        uhn_memory_free(memory);
    }
}

/* Folds parts[0 .. n) in a random tree, each merge of two to four, some nodes by way of the
 * wire. */
static uhn_partial *fold(uhn_partial **parts, size_t n, rng *r) {
    while (n > 1) {
        const uhn_partial *some[4];
        size_t m = 2 + rng_below(r, 3);
        m = m < n ? m : n;
        for (size_t i = 0; i < m; i++) { /* any parts, in any order, neighbours or not */
            size_t j = i + rng_below(r, n - i);
            uhn_partial *swap = parts[i];
            parts[i] = parts[j];
            parts[j] = swap;
            some[i] = parts[i];
        }
        uhn_partial *merged = NULL;
        CHECK_OK(uhn_partial_merge(some, m, &merged, NULL));
        for (size_t i = 0; i < m; i++) uhn_partial_free(parts[i]);
        if (rng_next(r) & 1) {
            size_t size = uhn_partial_wire_size(merged);
            void *wire = must_alloc(size);
            uhn_partial *copy = NULL;
            uhn_partial_write(merged, wire);
            CHECK_OK(uhn_partial_read(wire, size, &copy, NULL));
            uhn_partial_free(merged);
            free(wire);
            merged = copy;
        }
        parts[0] = merged;
        memmove(parts + 1, parts + m, (n - m) * sizeof *parts);
        n -= m - 1;
    }
    return parts[0];
}

static void law_partials(const base *t, rng *r) {
    if (t->w->equation.normalize_scores) return; /* refused: test_errors.c */
    enum { MOST = 12 };
    void *out = must_alloc(bytes_of(t, t->b * t->width));
    uint8_t *answered = must_alloc(t->b);
    uhn_memory *memory = memory_of(t, 0, t->n, 3, 0, r);

    for (int round = 0; round < 2 * rounds; round++) {
        size_t n_parts = round == 0 ? 1 : 2 + rng_below(r, MOST - 1), cuts[MOST + 1] = {0};
        uhn_partial *parts[MOST];
        bool shards =
            round & 1; /* memories of their own with a first row, or one memory's ranges */
        for (size_t i = 1; i < n_parts; i++) {
            /* Some cuts fall on blocks, some on tiles, most anywhere; empty parts happen. */
            size_t grain = rng_below(r, 3) == 0 ? 1024 : rng_below(r, 3) == 0 ? 128 : 1;
            cuts[i] = rng_below(r, t->n + 1) / grain * grain;
        }
        cuts[n_parts] = t->n;
        for (size_t i = 1; i < n_parts; i++)
            for (size_t j = i; j > 1 && cuts[j] < cuts[j - 1]; j--) {
                size_t swap = cuts[j];
                cuts[j] = cuts[j - 1];
                cuts[j - 1] = swap;
            }
        for (size_t i = 0; i < n_parts; i++) {
            size_t start = cuts[i], stop = cuts[i + 1];
            uhn_run run = {.n_threads = 1 + (int)rng_below(r, 3)};
            parts[i] = NULL;
            if (shards && stop > start) { /* a memory without rows has no partial */
                uhn_memory *shard = memory_of(t, start, stop - start, 2, start, r);
                CHECK_OK(uhn_partial_new(shard, &t->w->equation, t->queries, t->b, 0,
                                         stop - start, &run, &parts[i], NULL));
                uhn_memory_free(shard);
            } else {
                CHECK_OK(uhn_partial_new(memory, &t->w->equation, t->queries, t->b, start, stop,
                                         &run, &parts[i], NULL));
            }
            if (!parts[i]) goto done;
            CHECK(uhn_partial_n_patterns(parts[i]) == stop - start, "%s: %zu rows of %zu",
                  t->w->name, uhn_partial_n_patterns(parts[i]), stop - start);
        }
        uhn_partial *whole = fold(parts, n_parts, r);
        CHECK(uhn_partial_n_patterns(whole) == t->n && uhn_partial_n_queries(whole) == t->b &&
                  uhn_partial_n_values(whole) == t->width &&
                  uhn_partial_dtype(whole) == t->dtype,
              "%s: sizes of the merged partial", t->w->name);
        CHECK_OK(uhn_partial_finish(whole, out, answered, NULL));
        same(t, shards ? "shards" : "partials", out, t->answer, bytes_of(t, t->b * t->width));
        same(t, "answered by partials", answered, t->answered, t->b);
        uhn_partial_free(whole);
    }
done:
    uhn_memory_free(memory);
    free(out);
    free(answered);
}

/* --------------------------------------------------------------------------- guard pages -- */

typedef struct guarded {
    char *pages;
    size_t n_pages; /* between the two that fault */
    void *data;
    size_t n_bytes;
} guarded;

static size_t page;

/* n_bytes that end right before a faulting page (`high`), or begin right after one. */
static guarded guarded_new(size_t n_bytes, bool high) {
    guarded g = {.n_pages = n_bytes / page + 1, .n_bytes = n_bytes};
    g.pages = mmap(NULL, (g.n_pages + 2) * page, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.pages == MAP_FAILED || mprotect(g.pages, page, PROT_NONE) ||
        mprotect(g.pages + (g.n_pages + 1) * page, page, PROT_NONE)) {
        fprintf(stderr, "no guard pages\n");
        exit(2);
    }
    memset(g.pages + page, 0xa5, g.n_pages * page);
    g.data = high ? g.pages + (g.n_pages + 1) * page - n_bytes : g.pages + page;
    return g;
}

static guarded guarded_copy(const void *data, size_t n_bytes, bool high) {
    guarded g = guarded_new(n_bytes, high);
    if (n_bytes) memcpy(g.data, data, n_bytes);
    mprotect(g.pages + page, g.n_pages * page, PROT_READ);
    return g;
}

/* The bytes beside the buffer, inside its pages, are as they were. */
static bool guarded_clean(const guarded *g) {
    const char *begin = g->pages + page, *end = begin + g->n_pages * page;
    for (const char *p = begin; p < end; p++) {
        if (p == (const char *)g->data) p += g->n_bytes;
        if (p < end && (unsigned char)*p != 0xa5) return false;
    }
    return true;
}

static void guarded_free(guarded *g) { munmap(g->pages, (g->n_pages + 2) * page); }

static void law_guards(const base *t) {
    const uhn_equation *e = &t->w->equation;
    for (int high = 0; high < 2; high++) {
        guarded patterns = guarded_copy(t->patterns, bytes_of(t, t->n * t->d), high);
        guarded values = guarded_copy(t->values, t->v ? bytes_of(t, t->n * t->v) : 0, high);
        guarded prior = guarded_copy(t->prior, t->prior ? bytes_of(t, t->n) : 0, high);
        guarded queries = guarded_copy(t->queries, bytes_of(t, t->b * t->d), high);
        guarded answer = guarded_new(bytes_of(t, t->b * t->width), high);
        guarded scores = guarded_new(bytes_of(t, t->b * t->n), high);
        guarded best = guarded_new(bytes_of(t, t->b * t->k), high);
        guarded indices = guarded_new(t->b * t->k * sizeof(int64_t), high);
        guarded answered = guarded_new(t->b, high);
        uhn_memory *memory = NULL;
        uhn_rows rows = {.patterns = patterns.data,
                         .values = t->v ? values.data : NULL,
                         .prior = t->prior ? prior.data : NULL,
                         .n_rows = t->n,
                         .borrow = true};
        CHECK_OK(uhn_memory_new(t->dtype, t->d, t->v, 0, &memory));
        CHECK_OK(uhn_memory_store(memory, &rows, NULL));
        for (int threads = 1; threads <= 2; threads++) {
            uhn_run run = {.n_threads = threads};
            CHECK_OK(uhn_retrieve(memory, e, queries.data, t->b, &run, answer.data,
                                  answered.data, NULL));
            same(t, "guarded answer", answer.data, t->answer, answer.n_bytes);
            same(t, "guarded flags", answered.data, t->answered, answered.n_bytes);
            CHECK_OK(uhn_scores(memory, e, queries.data, t->b, &run, scores.data, NULL));
            same(t, "guarded scores", scores.data, t->scores, scores.n_bytes);
            CHECK_OK(uhn_weights(memory, e, queries.data, t->b, &run, scores.data, NULL));
            same(t, "guarded weights", scores.data, t->weights, scores.n_bytes);
            CHECK_OK(uhn_nearest(memory, e, queries.data, t->b, t->k, &run, indices.data,
                                 best.data, NULL));
            same(t, "guarded nearest", indices.data, t->nearest, indices.n_bytes);
        }
        if (!e->normalize_scores) {
            uhn_partial *partial = NULL, *back = NULL;
            CHECK_OK(
                uhn_partial_new(memory, e, queries.data, t->b, 0, t->n, NULL, &partial, NULL));
            size_t size = uhn_partial_wire_size(partial);
            /* Wire bytes may lie at any address, so they are put where a word cannot. */
            guarded wire = guarded_new(size, high);
            uhn_partial_write(partial, wire.data);
            CHECK(guarded_clean(&wire), "%s: wrote beside the wire", t->w->name);
            CHECK_OK(uhn_partial_read(wire.data, size, &back, NULL));
            CHECK_OK(uhn_partial_finish(back, answer.data, NULL, NULL));
            same(t, "guarded wire", answer.data, t->answer, answer.n_bytes);
            uhn_partial_free(partial);
            uhn_partial_free(back);
            guarded_free(&wire);
        }
        CHECK(guarded_clean(&answer) && guarded_clean(&scores) && guarded_clean(&best) &&
                  guarded_clean(&indices) && guarded_clean(&answered),
              "%s: wrote beside an output", t->w->name);
        uhn_memory_free(memory);
        guarded *all[] = {&patterns, &values, &prior,   &queries, &answer,
                          &scores,   &best,   &indices, &answered};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) guarded_free(all[i]);
    }
}

/* Every buffer at every multiple of the element size within a cache line and one more. */
static void law_alignment(const base *t) {
    const size_t item = item_size(t->dtype), slack = 64 + item;
    const size_t sizes[] = {bytes_of(t, t->n * t->d), t->v ? bytes_of(t, t->n * t->v) : 0,
                            bytes_of(t, t->b * t->d), bytes_of(t, t->b * t->width)};
    char *raw[4], *buffers[4];
    for (int i = 0; i < 4; i++) {
        raw[i] = must_alloc(sizes[i] + 2 * slack);
        buffers[i] = raw[i] + (64 - (uintptr_t)raw[i] % 64) % 64;
    }
    for (size_t shift = 0; shift <= 64; shift += item) {
        /* Each buffer its own shift, so that no two keep the same distance. */
        char *patterns = buffers[0] + shift, *values = buffers[1] + (64 - shift);
        char *queries = buffers[2] + 3 * shift % (64 + item) / item * item,
             *out = buffers[3] + shift;
        uhn_memory *memory = NULL;
        memcpy(patterns, t->patterns, sizes[0]);
        memcpy(values, t->values, sizes[1]);
        memcpy(queries, t->queries, sizes[2]);
        uhn_rows rows = {.patterns = patterns,
                         .values = t->v ? values : NULL,
                         .prior = t->prior,
                         .n_rows = t->n,
                         .borrow = true};
        CHECK_OK(uhn_memory_new(t->dtype, t->d, t->v, 0, &memory));
        CHECK_OK(uhn_memory_store(memory, &rows, NULL));
        CHECK_OK(uhn_retrieve(memory, &t->w->equation, queries, t->b, NULL, out, NULL, NULL));
        same(t, "alignment", out, t->answer, sizes[3]);
        uhn_memory_free(memory);
    }
    for (int i = 0; i < 4; i++) free(raw[i]);
}

/* ------------------------------------------------------------------------- odds and ends -- */

static int releases;

static void count_release(void *owner) { (*(int *)owner)++; }

/* Borrowed rows are given back once, when the last memory that shares them is gone; rows of a
 * later store may be given back sooner, if the memory took a copy. */
static void test_release(void) {
    const float patterns[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    uhn_memory *a = NULL, *b = NULL;
    uhn_rows rows = {.patterns = patterns,
                     .n_rows = 2,
                     .borrow = true,
                     .release = count_release,
                     .owner = &releases};
    CHECK_OK(uhn_memory_new(UHN_FLOAT32, 4, 0, 0, &a));
    CHECK_OK(uhn_memory_store(a, &rows, NULL));
    CHECK_OK(uhn_memory_copy(a, &b));
    uhn_memory_free(a);
    CHECK(releases == 0, "given back while a copy has them");
    uhn_memory_free(b);
    CHECK(releases == 1, "%d releases of one borrowing", releases);
    CHECK_OK(uhn_memory_new(UHN_FLOAT32, 4, 0, 0, &a));
    for (int i = 0; i < 3; i++) CHECK_OK(uhn_memory_store(a, &rows, NULL));
    uhn_memory_free(a);
    CHECK(releases == 4, "%d releases of four borrowings", releases);
    rows.borrow = false;
    CHECK_OK(uhn_memory_new(UHN_FLOAT32, 4, 0, 0, &a));
    CHECK_OK(uhn_memory_store(a, &rows, NULL));
    uhn_memory_free(a);
    CHECK(releases == 4, "copied rows are not given back");
}

static int own_score(void *context, size_t first_row, const void *patterns, size_t n_rows,
                     const void *queries, size_t n_queries, void *scores) {
    const double *p = patterns, *q = queries;
    double *s = scores;
    (void)first_row;
    ++*(int *)context;
    CHECK(n_rows >= 1 && n_rows <= 128, "a tile of %zu rows", n_rows);
    for (size_t b = 0; b < n_queries; b++)
        for (size_t i = 0; i < n_rows; i++) {
            s[b * n_rows + i] = 0;
            for (size_t j = 0; j < 3; j++) s[b * n_rows + i] += p[i * 3 + j] * q[b * 3 + j];
        }
    return 0;
}

static int own_weigh(void *context, size_t first_row, size_t n_rows, size_t n_queries,
                     void *scores) {
    double *s = scores;
    (void)first_row;
    ++*(int *)context;
    for (size_t i = 0; i < n_rows * n_queries; i++) s[i] = s[i] > 0 ? s[i] * s[i] : 0;
    return 0;
}

/* The caller's own rows merge like any other: cut, or not, the same bits. Small integers make
 * every sum exact, so they also equal the built-in rows. */
static void test_custom(void) {
    enum { N = 1500, D = 3, B = 4 };
    static double patterns[N * D], queries[B * D], out[B * D], wanted[B * D], weights[B * N];
    int n_score = 0, n_weigh = 0;
    rng r = {.state = 3};
    uhn_memory *memory = NULL;
    uhn_equation built_in = uhn_equation_default(), own = built_in;
    uhn_partial *parts[2] = {NULL, NULL}, *whole = NULL;

    fill(UHN_FLOAT64, patterns, N * D, &r, FILL_LEVELS);
    fill(UHN_FLOAT64, queries, B * D, &r, FILL_LEVELS);
    built_in.separation = UHN_SEP_rectified_polynomial;
    own.similarity = UHN_SIM_custom;
    own.score = own_score;
    own.score_context = &n_score;
    own.separation = UHN_SEP_custom;
    own.weigh = own_weigh;
    own.weigh_context = &n_weigh;
    CHECK_OK(uhn_memory_new(UHN_FLOAT64, D, 0, 0, &memory));
    CHECK_OK(uhn_memory_store(memory, &(uhn_rows){.patterns = patterns, .n_rows = N}, NULL));
    CHECK_OK(uhn_retrieve(memory, &built_in, queries, B, NULL, wanted, NULL, NULL));
    CHECK_OK(uhn_retrieve(memory, &own, queries, B, NULL, out, NULL, NULL));
    CHECK(!memcmp(out, wanted, sizeof out), "own rows, %g and %g", out[0], wanted[0]);
    CHECK(n_score > 1 && n_weigh > 1, "%d and %d calls", n_score, n_weigh);
    CHECK_OK(uhn_weights(memory, &own, queries, B, NULL, weights, NULL));
    CHECK_OK(uhn_partial_new(memory, &own, queries, B, 0, 700, NULL, &parts[0], NULL));
    CHECK_OK(uhn_partial_new(memory, &own, queries, B, 700, N, NULL, &parts[1], NULL));
    CHECK_OK(uhn_partial_merge((const uhn_partial *const *)parts, 2, &whole, NULL));
    CHECK_OK(uhn_partial_finish(whole, out, NULL, NULL));
    CHECK(!memcmp(out, wanted, sizeof out), "own rows, merged");
    uhn_partial_free(parts[0]);
    uhn_partial_free(parts[1]);
    uhn_partial_free(whole);
    uhn_memory_free(memory);
}

int main(int argc, char **argv) {
    rng r = {.state = 12345};
    workload *list;
    size_t n = all_workloads(&list, N_FEATURES);

    page = (size_t)sysconf(_SC_PAGESIZE);
    quick = argc > 1 && !strcmp(argv[1], "--quick");
    if (quick) rounds = 1;
    test_release();
    test_custom();
    for (size_t i = 0; i < n; i++)
        for (int dtype = 0; dtype < 2; dtype++) {
            if (quick && (i + (size_t)dtype) % 2) continue;
            /* Each workload is auto- or heteroassociative in turn, so that each row is seen
             * both ways over the two dtypes. */
            base *t =
                base_new(&list[i], (uhn_dtype)dtype, quick ? 1100 : N_ROWS, N_FEATURES,
                         (i / 2 + (size_t)dtype) % 2 ? N_VALUES : 0, quick ? 3 : N_QUERIES);
            law_batches(t, &r);
            law_threads(t, &r);
            law_stores(t, &r);
            law_partials(t, &r);
            base_free(t);
            /* Sizes with every kind of remainder, small enough to try at every address. */
            static const size_t shapes[][4] = {{1, 1, 0, 1}, {5, 19, 1, 2}, {131, 33, 17, 5}};
            for (size_t s = 0; s < 3; s++) {
                workload w = workload_of(list[i].equation.similarity,
                                         list[i].equation.separation, shapes[s][1]);
                t = base_new(&w, (uhn_dtype)dtype, shapes[s][0], shapes[s][1], shapes[s][2],
                             shapes[s][3]);
                law_guards(t);
                law_alignment(t);
                base_free(t);
            }
        }
    free(list);
    printf("%lu comparisons of bits\n", n_compared);
    return check_done();
}
