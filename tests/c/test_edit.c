/*
 * test_edit.c - rows taken out, exchanged, given other priors: the rows are those of a plain array that
 * is edited alike, the answers those of a new memory, bit for bit, and what is kept is bounded.
 */
#include "check.h"

#include <math.h>
#include <pthread.h>

enum { MOST = 6000, WIDTH = 5, VALUES = 3, QUERIES = 3 };

typedef struct model {
    size_t n;
    double patterns[MOST][WIDTH], values[MOST][VALUES], prior[MOST];
    bool has_prior;
} model;

static size_t n_released;
static void count_release(void *owner) {
    n_released++;
    free(owner);
}

static void random_rows(rng *r, model *m, size_t at, size_t n, bool prior) {
    fill(UHN_FLOAT64, m->patterns[at], n * WIDTH, r, FILL_SIGNED);
    fill(UHN_FLOAT64, m->values[at], n * VALUES, r, FILL_SIGNED);
    if (prior) fill(UHN_FLOAT64, m->prior + at, n, r, FILL_POSITIVE);
    else
        for (size_t i = at; i < at + n; i++) m->prior[i] = 1;
}

/* Distinct rows of n, in random order. */
static size_t choose(rng *r, size_t n, size_t most, size_t *rows) {
    static bool taken[MOST];
    size_t k = 0;
    memset(taken, 0, sizeof taken);
    const size_t wanted = rng_below(r, most < n ? most + 1 : n + 1);
    if (wanted && rng_below(r, 3) == 0) { /* together */
        const size_t start = rng_below(r, n - wanted + 1);
        while (k < wanted) rows[k] = start + k, k++;
        return k;
    }
    while (k < wanted) {
        const size_t row = rng_below(r, n);
        if (!taken[row]) rows[k++] = row;
        taken[row] = true;
    }
    return k;
}

static void compare(const uhn_memory *memory, const model *m, rng *r) {
    static double p[MOST][WIDTH], v[MOST][VALUES], w[MOST];
    double queries[QUERIES][WIDTH], out[QUERIES][VALUES], wanted[QUERIES][VALUES];
    if (!CHECK(uhn_memory_n_patterns(memory) == m->n, "%zu rows", m->n)) return;
    CHECK_OK(uhn_memory_read(memory, 0, m->n, p, v, w));
    CHECK(!memcmp(p, m->patterns, m->n * sizeof *p), "patterns");
    CHECK(!memcmp(v, m->values, m->n * sizeof *v), "values");
    CHECK(!memcmp(w, m->prior, m->n * sizeof *w), "priors");
    const size_t held = uhn_memory_held(memory), row = (WIDTH + VALUES + 1) * sizeof(double);
    /* Two and a half times, the slack of rows twice over, and the spare room of the priors. */
    CHECK(held <= (2 * m->n + m->n / 2 + 16) * row + m->n * 8 + 3 * (1 << 16) + 64 * 8,
          "%zu bytes are held for %zu rows", held, m->n);
    if (m->n == 0) return;
    uhn_memory *fresh;
    uhn_rows rows = {.patterns = m->patterns,
                     .values = m->values,
                     .prior = m->has_prior ? m->prior : NULL,
                     .n_rows = m->n};
    const uhn_similarity similarities[] = {UHN_SIM_dot, UHN_SIM_cosine, UHN_SIM_manhattan};
    uhn_equation equation = uhn_equation_default();
    equation.similarity = similarities[rng_below(r, 3)];
    if (rng_below(r, 3) == 0) equation.separation = UHN_SEP_entmax;
    fill(UHN_FLOAT64, queries, QUERIES * WIDTH, r, FILL_SIGNED);
    CHECK_OK(uhn_memory_new(UHN_FLOAT64, WIDTH, VALUES, 0, &fresh));
    CHECK_OK(uhn_memory_store(fresh, &rows, NULL));
    CHECK_OK(uhn_retrieve(memory, &equation, queries, QUERIES, NULL, out, NULL, NULL));
    CHECK_OK(uhn_retrieve(fresh, &equation, queries, QUERIES, NULL, wanted, NULL, NULL));
    CHECK(!memcmp(out, wanted, sizeof out), "an edited memory answers as a new one");
    uhn_memory_free(fresh);
}

static void remove_from_model(model *m, const size_t *rows, size_t k) {
    static bool gone[MOST];
    size_t kept = 0;
    memset(gone, 0, sizeof gone);
    for (size_t i = 0; i < k; i++) gone[rows[i]] = true;
    for (size_t i = 0; i < m->n; i++) {
        if (gone[i]) continue;
        memmove(m->patterns[kept], m->patterns[i], sizeof *m->patterns);
        memmove(m->values[kept], m->values[i], sizeof *m->values);
        m->prior[kept++] = m->prior[i];
    }
    m->n = kept;
    if (kept == 0) m->has_prior = false;
}

static void test_histories(uint64_t seed, size_t n_edits, size_t many) {
    static model m, old;
    static size_t rows[MOST];
    rng r = {.state = seed};
    uhn_memory *memory, *copy = NULL;
    m.n = 0;
    m.has_prior = false;
    CHECK_OK(uhn_memory_new(UHN_FLOAT64, WIDTH, VALUES, 0, &memory));
    for (size_t edit = 0; edit < n_edits; edit++) {
        const size_t what = rng_below(&r, 8);
        if (what < 3) {
            const size_t n = rng_below(&r, many < MOST - m.n ? many : MOST - m.n);
            const bool prior = rng_below(&r, 4) == 0;
            random_rows(&r, &m, m.n, n, prior);
            uhn_rows more = {.patterns = m.patterns[m.n],
                             .values = m.values[m.n],
                             .prior = prior ? m.prior + m.n : NULL,
                             .n_rows = n};
            if (rng_below(&r, 2)) { /* borrowed from one buffer */
                double *lent = must_alloc(n * (WIDTH + VALUES) * sizeof *lent);
                memcpy(lent, more.patterns, n * WIDTH * sizeof *lent);
                memcpy(lent + n * WIDTH, more.values, n * VALUES * sizeof *lent);
                more.patterns = lent;
                more.values = lent + n * WIDTH;
                more.borrow = true;
                more.release = count_release;
                more.owner = lent;
            }
            CHECK_OK(uhn_memory_store(memory, &more, NULL));
            m.n += n;
            m.has_prior |= prior && n;
        } else if (what < 5) {
            size_t k = choose(&r, m.n, what == 3 ? 7 : many, rows);
            if (rng_below(&r, 3) == 0)
                for (size_t i = 0; i < k; i++) rows[i] = i; /* the oldest */
            if (rng_below(&r, 12) == 0)
                for (k = 0; k < m.n; k++) rows[k] = k;
            CHECK_OK(uhn_memory_remove(memory, rows, k, NULL));
            remove_from_model(&m, rows, k);
        } else if (what == 5) {
            const size_t k = choose(&r, m.n, 40, rows);
            const bool prior = rng_below(&r, 2);
            model *scratch = must_alloc(sizeof *scratch);
            random_rows(&r, scratch, 0, k, prior);
            uhn_rows with = {.patterns = scratch->patterns,
                             .values = scratch->values,
                             .prior = prior ? scratch->prior : NULL,
                             .n_rows = k,
                             .borrow = true,
                             .release = count_release,
                             .owner = scratch};
            for (size_t i = 0; i < k; i++) {
                memcpy(m.patterns[rows[i]], scratch->patterns[i], sizeof *m.patterns);
                memcpy(m.values[rows[i]], scratch->values[i], sizeof *m.values);
                if (prior) m.prior[rows[i]] = scratch->prior[i];
            }
            m.has_prior |= prior && k;
            const size_t before = n_released;
            CHECK_OK(uhn_memory_replace(memory, rows, &with, NULL));
            CHECK(n_released > before, "what replaces is given back at once");
        } else if (what == 6) {
            const bool all = rng_below(&r, 2);
            const size_t k = all ? m.n : choose(&r, m.n, 40, rows);
            static double prior[MOST];
            fill(UHN_FLOAT64, prior, k, &r, FILL_POSITIVE);
            CHECK_OK(uhn_memory_set_prior(memory, all ? NULL : rows, k, prior, NULL));
            for (size_t i = 0; i < k; i++) m.prior[all ? i : rows[i]] = prior[i];
            m.has_prior |= k > 0;
        } else if (copy) {
            compare(copy, &old, &r);
            uhn_memory_free(copy);
            copy = NULL;
        } else {
            CHECK_OK(uhn_memory_copy(memory, &copy));
            old = m;
        }
        if (edit % 4 == 0) compare(memory, &m, &r);
    }
    compare(memory, &m, &r);
    if (copy) compare(copy, &old, &r);
    uhn_memory_free(copy);
    uhn_memory_free(memory);
}

/* A ring: the oldest rows leave as new ones come. */
static void test_ring(void) {
    rng r = {.state = 3};
    uhn_memory *memory;
    size_t most = 0, oldest[64];
    double batch[64][WIDTH];
    for (size_t i = 0; i < 64; i++) oldest[i] = i;
    CHECK_OK(uhn_memory_new(UHN_FLOAT64, WIDTH, 0, 0, &memory));
    for (size_t turn = 0; turn < 20000; turn++) {
        const size_t n = 1 + rng_below(&r, 64);
        fill(UHN_FLOAT64, batch, n * WIDTH, &r, FILL_SIGNED);
        CHECK_OK(uhn_memory_store(memory, &(uhn_rows){.patterns = batch, .n_rows = n}, NULL));
        const size_t now = uhn_memory_n_patterns(memory);
        if (now > 3000) CHECK_OK(uhn_memory_remove(memory, oldest, now - 3000, NULL));
        const size_t held = uhn_memory_held(memory);
        most = held > most ? held : most;
    }
    double last[WIDTH];
    CHECK_OK(uhn_memory_read(memory, 2999, 1, last, NULL, NULL));
    const size_t n = uhn_memory_n_patterns(memory);
    CHECK(n == 3000 && most < 5 * 3000 * WIDTH * sizeof(double) / 2 + 3 * (1 << 16),
          "%zu rows, up to %zu bytes", n, most);
    uhn_memory_free(memory);
}

/* Rows that are looked at when they are asked: a bad one that was removed is nobody's affair. */
static void test_unseen(void) {
    enum { N = 1000 };
    double *rows = must_alloc(N * 2 * sizeof *rows), out[2];
    rng r = {.state = 5};
    fill(UHN_FLOAT64, rows, N * 2, &r, FILL_POSITIVE);
    rows[2 * 700] = (double)NAN;
    rows[2 * 10] = -1;
    uhn_memory *memory;
    uhn_error error;
    const size_t before = n_released;
    uhn_rows lent = {.patterns = rows,
                     .n_rows = N,
                     .borrow = true,
                     .unseen = true,
                     .release = count_release,
                     .owner = rows};
    const double query[2] = {0.5, 0.25};
    uhn_equation equation = uhn_equation_default();
    equation.similarity = UHN_SIM_kl;
    CHECK_OK(uhn_memory_new(UHN_FLOAT64, 2, 0, 0, &memory));
    CHECK_OK(uhn_memory_store(memory, &lent, NULL));
    size_t gone[] = {0, 1, 2, 10};
    CHECK_OK(uhn_memory_remove(memory, gone, 3, NULL));
    CHECK_STATUS(uhn_retrieve(memory, &equation, query, 1, NULL, out, NULL, &error),
                 UHN_BAD_DATA);
    CHECK(strstr(error.message, "patterns[7, 0] is -1") ||
              strstr(error.message, "patterns[697, 0] is NaN"),
          "%s", error.message);
    equation.similarity = UHN_SIM_dot;
    CHECK_STATUS(uhn_retrieve(memory, &equation, query, 1, NULL, out, NULL, &error),
                 UHN_BAD_DATA);
    CHECK(strstr(error.message, "patterns[697, 0] is NaN"), "%s", error.message);
    gone[0] = 697;
    CHECK_OK(uhn_memory_remove(memory, gone, 1, NULL));
    CHECK_OK(uhn_retrieve(memory, &equation, query, 1, NULL, out, NULL, &error));
    equation.similarity = UHN_SIM_kl;
    CHECK_STATUS(uhn_retrieve(memory, &equation, query, 1, NULL, out, NULL, &error),
                 UHN_BAD_DATA);
    CHECK(strstr(error.message, "patterns[7, 0] is -1"), "%s", error.message);
    gone[0] = 7;
    CHECK_OK(uhn_memory_remove(memory, gone, 1, NULL));
    for (int i = 0; i < 2; i++)
        CHECK_OK(uhn_retrieve(memory, &equation, query, 1, NULL, out, NULL, &error));
    CHECK(n_released == before, "still lent");
    for (size_t left = N - 5; left > 0; left--) {
        gone[0] = left / 2;
        CHECK_OK(uhn_memory_remove(memory, gone, 1, NULL));
        CHECK(n_released == before + (left == 1), "given back with the last row");
    }
    CHECK_STATUS(uhn_retrieve(memory, &equation, query, 1, NULL, out, NULL, &error), UHN_EMPTY);
    uhn_memory_free(memory);
}

/* Checks patterns and priors of a memory of one feature, whose patterns and priors are one number. */
static void check_numbers(const uhn_memory *memory, const double *wanted, size_t n) {
    double patterns[64], prior[64];
    if (!CHECK(uhn_memory_n_patterns(memory) == n, "%zu rows", n)) return;
    CHECK_OK(uhn_memory_read(memory, 0, n, patterns, NULL, prior));
    CHECK(!memcmp(patterns, wanted, n * sizeof *wanted), "patterns");
    CHECK(!memcmp(prior, wanted, n * sizeof *wanted), "priors");
}

/* Room behind the last row is filled by whoever comes first, and never where a row was removed. */
static void test_spare(void) {
    double first[] = {1, 2, 3, 4}, more[] = {5, 6}, other[] = {7, 8};
    const double left[] = {1, 2, 3, 5, 6}, ours[] = {1, 2, 3, 5, 6, 5, 6},
                 theirs[] = {1, 2, 3, 5, 6, 7, 8, 7, 8};
    const size_t last = 3;
    uhn_memory *memory, *copy;
    CHECK_OK(uhn_memory_new(UHN_FLOAT64, 1, 0, 0, &memory));
    for (int i = 0; i < 2; i++) /* two rows each: the second store leaves room */
        CHECK_OK(uhn_memory_store(
            memory, &(uhn_rows){.patterns = first + 2 * i, .prior = first + 2 * i, .n_rows = 2},
            NULL));
    const uhn_rows five = {.patterns = more, .prior = more, .n_rows = 2};
    const uhn_rows seven = {.patterns = other, .prior = other, .n_rows = 2};
    CHECK_OK(uhn_memory_remove(memory, &last, 1, NULL));
    CHECK_OK(uhn_memory_store(memory, &five, NULL));
    check_numbers(memory, left, 5);
    CHECK_OK(uhn_memory_copy(memory, &copy));
    CHECK_OK(uhn_memory_store(memory, &five, NULL));
    CHECK_OK(uhn_memory_store(copy, &seven, NULL));
    check_numbers(memory, ours, 7);
    CHECK_OK(uhn_memory_store(copy, &seven, NULL));
    check_numbers(memory, ours, 7);
    check_numbers(copy, theirs, 9);
    uhn_memory_free(memory);
    check_numbers(copy, theirs, 9);
    uhn_memory_free(copy);
}

/* A row that sums to 0 is refused under the number it has, and not once it is gone. */
static void test_zero_sums(void) {
    double rows[600][2];
    rng r = {.state = 6};
    fill(UHN_FLOAT64, rows, 1200, &r, FILL_POSITIVE);
    memset(rows[400], 0, sizeof rows[400]);
    uhn_memory *memory;
    uhn_error error;
    const double query[2] = {0.5, 0.25};
    double out[2];
    size_t gone[300];
    uhn_equation equation = uhn_equation_default();
    equation.similarity = UHN_SIM_kl;
    for (size_t i = 0; i < 300; i++) gone[i] = i;
    CHECK_OK(uhn_memory_new(UHN_FLOAT64, 2, 0, 0, &memory));
    CHECK_OK(uhn_memory_store(memory, &(uhn_rows){.patterns = rows, .n_rows = 600}, NULL));
    CHECK_STATUS(uhn_retrieve(memory, &equation, query, 1, NULL, out, NULL, &error),
                 UHN_BAD_DATA);
    CHECK(strstr(error.message, "patterns[400] sums to 0"), "%s", error.message);
    CHECK_OK(uhn_memory_remove(memory, gone, 300, NULL));
    CHECK_STATUS(uhn_retrieve(memory, &equation, query, 1, NULL, out, NULL, &error),
                 UHN_BAD_DATA);
    CHECK(strstr(error.message, "patterns[100] sums to 0"), "%s", error.message);
    CHECK_OK(uhn_memory_remove(memory, gone + 100, 1, NULL));
    CHECK_OK(uhn_retrieve(memory, &equation, query, 1, NULL, out, NULL, &error));
    uhn_memory_free(memory);
}

/* Rows removed one by one leave few pieces, and most rows removed leave little room. */
static void test_pieces(void) {
    enum { N = 30000 };
    static double rows[N];
    static size_t gone[N];
    uhn_memory *memory;
    rng r = {.state = 7};
    for (size_t i = 0; i < N; i++) rows[i] = (double)i;
    CHECK_OK(uhn_memory_new(UHN_FLOAT64, 1, 0, 0, &memory));
    CHECK_OK(uhn_memory_store(memory, &(uhn_rows){.patterns = rows, .n_rows = N}, NULL));
    size_t most = 0;
    for (size_t left = N; left > N - 1000; left--) {
        gone[0] = rng_below(&r, left);
        CHECK_OK(uhn_memory_remove(memory, gone, 1, NULL));
        size_t n_pieces = 1;
        for (size_t i = 1; left % 50 == 0 && i < left - 1; i++)
            n_pieces += uhn_memory_view(memory, i - 1, 2) == NULL;
        most = n_pieces > most ? n_pieces : most;
    }
    CHECK(most > 5 && most <= N / 4096 + 16, "%zu pieces", most);
    const size_t n = uhn_memory_n_patterns(memory) - 500;
    for (size_t i = 0; i < n; i++) gone[i] = i; /* what is left is one piece */
    CHECK_OK(uhn_memory_remove(memory, gone, n, NULL));
    CHECK(uhn_memory_held(memory) <= 2 * 500 * sizeof(double) + (1 << 16), "%zu bytes",
          uhn_memory_held(memory));
    uhn_memory_free(memory);
}

/* Readers while rows are stored, exchanged and removed: an answer is that of a moment. */
typedef struct reading {
    uhn_memory *memory;
    atomic_bool done;
    atomic_ulong n_asked, n_wrong;
} reading;

static void *read_on(void *context) {
    reading *shared = context;
    uhn_equation equation = uhn_equation_default();
    equation.separation = UHN_SEP_identity;
    equation.similarity = UHN_SIM_cosine; /* row statistics are made by whoever asks first */
    const double query[2] = {3, 4};
    while (!atomic_load(&shared->done)) {
        /* Every row weighs 1; there are always as many, and their values add up to nothing. */
        double out;
        if (uhn_retrieve(shared->memory, &equation, query, 1, NULL, &out, NULL, NULL) !=
                UHN_OK ||
            out != 0)
            atomic_fetch_add(&shared->n_wrong, 1);
        atomic_fetch_add(&shared->n_asked, 1);
    }
    return NULL;
}

static void test_readers(void) {
    enum { N = 200, BATCH = 10 };
    static double patterns[N][2], values[N], prior[N];
    size_t rows[N];
    reading shared = {0};
    pthread_t readers[2];
    rng r = {.state = 8};
    for (size_t i = 0; i < N; i++) {
        patterns[i][0] = 3;
        patterns[i][1] = 4;
        values[i] = i % 2 ? 1 : -1; /* pairs cancel */
        prior[i] = 2;
    }
    CHECK_OK(uhn_memory_new(UHN_FLOAT64, 2, 1, 0, &shared.memory));
    const uhn_rows all = {.patterns = patterns, .values = values, .n_rows = N};
    CHECK_OK(uhn_memory_store(shared.memory, &all, NULL));
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&readers[i], NULL, read_on, &shared) == 0, "a thread");
    for (size_t turn = 0; turn < 300; turn++) {
        const size_t n = uhn_memory_n_patterns(shared.memory);
        const size_t start = 2 * rng_below(&r, (n - BATCH) / 2);
        for (size_t i = 0; i < BATCH; i++) rows[i] = start + i;
        uhn_rows some = {.patterns = patterns, .values = values, .n_rows = BATCH};
        const size_t what = rng_below(&r, 4);
        if (what == 0) CHECK_OK(uhn_memory_store(shared.memory, &some, NULL));
        if (what == 1 && n > N / 2)
            CHECK_OK(uhn_memory_remove(shared.memory, rows, BATCH, NULL));
        if (what == 2) CHECK_OK(uhn_memory_replace(shared.memory, rows, &some, NULL));
        if (what == 3 && n <= N)
            CHECK_OK(uhn_memory_set_prior(shared.memory, NULL, n, prior, NULL));
    }
    atomic_store(&shared.done, true);
    for (int i = 0; i < 2; i++) pthread_join(readers[i], NULL);
    CHECK(atomic_load(&shared.n_asked) > 0 && atomic_load(&shared.n_wrong) == 0,
          "%lu of %lu answers are of no moment", atomic_load(&shared.n_wrong),
          atomic_load(&shared.n_asked));
    uhn_memory_free(shared.memory);
}

static void test_errors(void) {
    double rows[3][2] = {{1, 2}, {3, 4}, {5, 6}}, bad[2] = {1, (double)INFINITY};
    double prior[3] = {1, 2, 0};
    uhn_memory *memory;
    uhn_error error;
    CHECK_OK(uhn_memory_new(UHN_FLOAT64, 2, 0, 0, &memory));
    CHECK_OK(uhn_memory_store(memory, &(uhn_rows){.patterns = rows, .n_rows = 3}, NULL));
    const size_t twice[] = {2, 0, 2}, beyond[] = {0, 3};
    CHECK_STATUS(uhn_memory_remove(memory, twice, 3, &error), UHN_BAD_SHAPE);
    CHECK(!strcmp(error.message, "rows[0] and rows[2] are both 2; name each row once"), "%s",
          error.message);
    CHECK_STATUS(uhn_memory_remove(memory, beyond, 2, &error), UHN_BAD_SHAPE);
    CHECK(!strcmp(error.message, "rows[1] is 3, but the memory holds 3 patterns"), "%s",
          error.message);
    CHECK_STATUS(uhn_memory_replace(memory, beyond, &(uhn_rows){.patterns = bad, .n_rows = 1},
                                    &error),
                 UHN_BAD_DATA);
    CHECK_STATUS(uhn_memory_replace(memory, twice, &(uhn_rows){.patterns = rows, .n_rows = 3},
                                    &error),
                 UHN_BAD_SHAPE);
    CHECK_STATUS(uhn_memory_replace(memory, beyond,
                                    &(uhn_rows){.patterns = rows, .values = rows, .n_rows = 1},
                                    &error),
                 UHN_BAD_SHAPE);
    CHECK_STATUS(uhn_memory_set_prior(memory, NULL, 3, prior, &error), UHN_BAD_DATA);
    CHECK_STATUS(uhn_memory_set_prior(memory, NULL, 2, prior, &error), UHN_BAD_SHAPE);
    CHECK_STATUS(uhn_memory_set_prior(memory, beyond, 2, prior, &error), UHN_BAD_SHAPE);
    CHECK_OK(uhn_memory_remove(memory, NULL, 0, NULL));
    CHECK_OK(uhn_memory_set_prior(memory, twice, 0, prior, NULL));
    CHECK(uhn_memory_n_patterns(memory) == 3 && !uhn_memory_has_prior(memory) &&
              !memcmp(uhn_memory_view(memory, 0, 3), rows, sizeof rows),
          "nothing changed");
    uhn_memory_free(memory);
}

int main(void) {
    for (uint64_t seed = 0; seed < 40; seed++) test_histories(seed, 60, 50);
    for (uint64_t seed = 0; seed < 6; seed++) test_histories(100 + seed, 60, 2500);
    test_ring();
    test_unseen();
    test_spare();
    test_zero_sums();
    test_pieces();
    test_readers();
    test_errors();
    printf("%zu buffers given back\n", n_released);
    return check_done();
}
