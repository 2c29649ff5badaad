/*
 * dense.c - the dense associative memory: dynamics of its units, energies (layer 4).
 *
 * May include: cpu.h, order.h, scalar.h, threads.h.
 *
 * A pattern xi agrees with the state s in a units, so that xi . s = 2 a - N. Let
 * f(a) = F(2 a - N) and d(a) = f(a + 1) - f(a). Turning over unit i takes one unit from the
 * patterns that agree there (x = +1) and gives one to the others (x = -1), which adds to the
 * energy, E = -sum f(a),
 *
 *     G_i = sum_{x = +1} d(a - 1) - sum_{x = -1} d(a) = sum_{x = +1} A - C,
 *     A = d(a) + d(a - 1),   C = sum over all of d(a).
 *
 * A and C change with a flip alone, so that a look is one masked sum of A. After a flip
 * G_i has become -G_i, which gives the new C for one more masked sum.
 *
 * Exactness. Turning over is decided by the sign of G_i, and a sum of doubles would get ties
 * wrong, and with F steep much more. So d is kept as whole multiples of a power of two, the
 * grid, which is chosen from the largest share any pattern has now, and the sums are exact.
 * Each share is off by half a grid step, G_i by half of one for each pattern, the slack. Where
 * G_i is within the slack, the sum is taken again in another way: patterns are counted by what
 * they share, equal shares of opposite sign cancel exactly, and what is left is added up from
 * the largest share down, however small it is. Where F takes whole numbers and the grid step is
 * 1 there is no slack: ties are ties.
 *
 * Leaders. When one pattern's share exceeds all others' together, its bits decide. If F is
 * steep that stays so for some flips whatever they are: then nothing is added up at all.
 */
#include "cpu.h"
#include "order.h"
#include "scalar.h"
#include "threads.h"

enum {
    GRID_BITS = 24, /* |d| < 2^GRID_BITS grid steps, so that |A| <= 2^25 */
    GRID_ROOM = 2,  /* bits by which d may grow until the grid is chosen again */
    GRID_LOSS = 10, /* bits by which it may shrink */
    MAX_UNITS = 1 << 24,
    MAX_PATTERNS = 1 << 30,
    MAX_DEGREE = 1000000,
    NOTHING = -(1 << 29), /* exponent of 0 */
    SHORTEST_REIGN = 32,  /* flips worth counting agreements anew at the end */
    ORDERS = 4,           /* sweeps whose order a thread keeps for its next state */
    POLL_WORDS = 1 << 16  /* words looked at between two polls: some 50 us */
};

/* ------------------------------------------------------------------------------- numbers -- */

/* m 2^e with 1/2 <= |m| < 1; 0 is 0 2^NOTHING. */
typedef struct number {
    double m;
    int32_t e;
} number;

static number number_of(double x, int64_t e) {
    int shift;
    const double m = frexp(x, &shift);
    return m == 0 ? (number){0, NOTHING} : (number){m, (int32_t)(e + shift)};
}

/* x 2^e for any e. */
static double scale(double x, int64_t e) {
    return ldexp(x, (int)UHN_MAX(UHN_MIN(e, (int64_t)5000), (int64_t)-5000));
}

static number product(number a, number b) { return number_of(a.m * b.m, (int64_t)a.e + b.e); }

static number difference(number a, number b) {
    const int32_t e = UHN_MAX(a.e, b.e);
    return number_of(scale(a.m, (int64_t)a.e - e) - scale(b.m, (int64_t)b.e - e), e);
}

/* x^n; exact where the result has at most 53 bits. In pieces that do not leave the doubles. */
static number power(number x, uint64_t n) {
    enum { PIECE = 1000 };
    if (n <= PIECE)
        return number_of(uhn_powi(x.m, (unsigned long)n), (int64_t)x.e * (int64_t)n);
    const number piece = power(x, PIECE);
    return product(power(piece, n / PIECE), power(x, n % PIECE));
}

/* e^x for a whole number x. log2(e) is cut in two, of which the first part times x is exact. */
static number power_of_e(int64_t x) {
    const double high = 0x1.715476p+0, low = 0x1.4ae0bf85ddf44p-26;
    const double t = (double)x * high, n = rint(t);
    return number_of(uhn_exp2((t - n) + (double)x * low), (int64_t)n);
}

/* A function of the number of units that agree. `reach` says how large the numbers are from
 * which m was made, in units of 2^e: its error is that of theirs. */
typedef struct function {
    double *m, *reach;
    int32_t *e;
    size_t n;
} function;

static bool function_new(function *f, size_t n) {
    f->n = n;
    f->m = uhn_alloc(n, 1, sizeof *f->m);
    f->reach = uhn_alloc(n, 1, sizeof *f->reach);
    f->e = uhn_alloc(n, 1, sizeof *f->e);
    return f->m && f->reach && f->e;
}

static void function_free(function *f) {
    free(f->m);
    free(f->reach);
    free(f->e);
}

static number at(const function *f, size_t i) { return (number){f->m[i], f->e[i]}; }

static void put(function *f, size_t i, number x, double reach) {
    f->m[i] = x.m;
    f->e[i] = x.e;
    f->reach[i] = reach;
}

/* -------------------------------------------------------------------------------- memory -- */

struct uhn_dense {
    size_t n_units, n_patterns;
    size_t row_words, column_words;
    uint32_t last;     /* places of the last word of a column that hold a pattern */
    uint64_t *rows;    /* n_patterns x row_words */
    uint32_t *columns; /* n_units x column_words */
    uhn_interaction interaction;
    bool whole;    /* F of whole numbers is a whole number */
    int mirror;    /* F(-x) = mirror F(x); 0 if neither */
    int64_t slack; /* grid steps, if there is any */
    double doubt;  /* relative error of a number and of what is added up from them */
    int log_patterns;
    function energy; /* f, n_units + 1 places */
    function change; /* d, n_units places */
    function slope;  /* F', n_units + 1 places */
    number unit;     /* what energies are divided by */
    double *fading;  /* exp(-2 i), for UHN_EXPONENTIAL */
    const uhn_bit_kernels *kernels;
};

/* F of a whole number. */
static number interact(const uhn_dense *dense, double degree, int64_t x) {
    if (dense->interaction == UHN_EXPONENTIAL) return power_of_e(x);
    if (x == 0 || (x < 0 && dense->mirror == 0)) return (number){0, NOTHING};
    const double size = (double)(x < 0 ? -x : x), rest = degree - floor(degree);
    number f = power(number_of(size, 0), (uint64_t)degree);
    if (rest > 0) f = product(f, number_of(uhn_pow(size, rest), 0));
    if (x < 0) f.m *= dense->mirror;
    return f;
}

/* False if the run was stopped. */
static bool tabulate(uhn_dense *dense, double degree, const uhn_run *run) {
    enum { PLACES_PER_POLL = 4096 };
    const size_t n = dense->n_units;
    for (size_t a = 0; a <= n; a++) {
        if (a % PLACES_PER_POLL == 0 && uhn_run_stopped(run)) return false;
        const int64_t x = 2 * (int64_t)a - (int64_t)n;
        const number f = interact(dense, degree, x);
        put(&dense->energy, a, f, fabs(f.m));
        number slope = f;
        /* F' = n F / x, for whole numbers exact as far as F is. */
        if (dense->interaction != UHN_EXPONENTIAL && x != 0)
            slope = number_of(f.m / (double)x * degree, f.e);
        const double reach = scale(fabs(f.m), (int64_t)f.e - slope.e);
        put(&dense->slope, a, slope, UHN_MAX(fabs(slope.m), reach));
        if (dense->fading) {
            const number w = power_of_e(-2 * (int64_t)a);
            dense->fading[a] = scale(w.m, w.e);
        }
    }
    for (size_t a = 0; a < n; a++) {
        if (a % PLACES_PER_POLL == 0 && uhn_run_stopped(run)) return false;
        const number up = at(&dense->energy, a + 1), down = at(&dense->energy, a);
        const number d = difference(up, down);
        double reach = 0;
        if (d.m != 0)
            reach = scale(fabs(up.m), (int64_t)up.e - d.e) +
                    scale(fabs(down.m), (int64_t)down.e - d.e);
        put(&dense->change, a, d, reach);
    }
    return true;
}

void uhn_dense_free(uhn_dense *dense) {
    if (!dense) return;
    free(dense->rows);
    free(dense->columns);
    function_free(&dense->energy);
    function_free(&dense->change);
    function_free(&dense->slope);
    free(dense->fading);
    free(dense);
}

uhn_status uhn_dense_new(const int8_t *patterns, size_t n_patterns, size_t n_units,
                         uhn_interaction interaction, double degree, bool scaled,
                         const uhn_run *run, uhn_dense **out, uhn_error *error) {
    const bool exponential = interaction == UHN_EXPONENTIAL;
    *out = NULL;
    if ((unsigned)interaction >= UHN_N_INTERACTIONS)
        return uhn_fail(error, UHN_BAD_NAME, "interaction %d is not one of the table",
                        (int)interaction);
    if (n_patterns == 0) return uhn_fail(error, UHN_EMPTY, "patterns has no rows");
    if (n_units == 0) return uhn_fail(error, UHN_BAD_SHAPE, "patterns has no columns");
    if (n_units > MAX_UNITS || n_patterns > MAX_PATTERNS)
        return uhn_fail(error, UHN_BAD_SHAPE,
                        "patterns has shape (%zu, %zu); at most (%d, %d) can be kept",
                        n_patterns, n_units, MAX_PATTERNS, MAX_UNITS);
    if (!exponential && !(degree >= 2 && degree <= MAX_DEGREE))
        return uhn_fail(error, UHN_BAD_PARAMETER, "degree is %g; it must be from 2 to %d",
                        degree, MAX_DEGREE);
    if (interaction == UHN_POLYNOMIAL && degree != floor(degree))
        return uhn_fail(error, UHN_BAD_PARAMETER,
                        "degree is %g, but a negative overlap has no such power; rectify, or "
                        "take a whole number",
                        degree);
    if (exponential && scaled)
        return uhn_fail(
            error, UHN_BAD_PARAMETER,
            "scaled is for polynomials: of an exponential it would be another model");
    uhn_dense *dense = calloc(1, sizeof *dense);
    if (!dense) return uhn_no_memory(error);
    dense->n_units = n_units;
    dense->n_patterns = n_patterns;
    dense->row_words = (n_units + 63) / 64;
    dense->column_words = (n_patterns + 31) / 32;
    dense->last = ~0u >> (32 * dense->column_words - n_patterns);
    dense->interaction = interaction;
    dense->whole = !exponential && degree == floor(degree);
    if (interaction == UHN_POLYNOMIAL) dense->mirror = fmod(degree, 2) == 0 ? 1 : -1;
    /* A share is off by half a step and by the rounding of the numbers it is the difference of,
     * which MAX_UNITS and MAX_DEGREE keep below 1/64. */
    dense->slack = (int64_t)(n_patterns / 2 + n_patterns / 64 + 1);
    dense->doubt = !exponential && degree > 1000 ? 0x1p-42 : 0x1p-50;
    while (((size_t)1 << dense->log_patterns) < n_patterns) dense->log_patterns++;
    dense->unit = number_of(1, 0);
    dense->kernels = uhn_bit_kernels_of_cpu();
    dense->rows = uhn_alloc(n_patterns, dense->row_words, sizeof *dense->rows);
    dense->columns = uhn_alloc(n_units, dense->column_words, sizeof *dense->columns);
    if (exponential) dense->fading = uhn_alloc(n_units + 1, 1, sizeof *dense->fading);
    bool made = function_new(&dense->energy, n_units + 1);
    made &= function_new(&dense->change, n_units);
    made &= function_new(&dense->slope, n_units + 1);
    if (!made || !dense->rows || !dense->columns || (exponential && !dense->fading)) {
        uhn_dense_free(dense);
        return uhn_no_memory(error);
    }
    bool stopped = !tabulate(dense, degree, run);
    if (scaled) dense->unit = interact(dense, degree, (int64_t)n_units);
    /* Some milliseconds at a time. */
    const size_t piece = 32 * (1 + (1 << 18) / n_units);
    for (size_t first = 0; first < n_patterns && !stopped; first += piece) {
        const size_t n = UHN_MIN(piece, n_patterns - first);
        const int8_t *rows = patterns + first * n_units;
        uhn_pack_rows(rows, n, n_units, dense->rows + first * dense->row_words);
        uhn_pack_words(rows, n, n_units, dense->column_words, dense->columns + first / 32);
        stopped = uhn_run_stopped(run);
    }
    if (stopped) {
        uhn_dense_free(dense);
        return uhn_fail(error, UHN_STOPPED, "stopped");
    }
    *out = dense;
    return UHN_OK;
}

size_t uhn_dense_n_units(const uhn_dense *dense) { return dense->n_units; }

/* ----------------------------------------------------------------------------- one state -- */

/* What a thread works with. */
typedef struct scratch {
    uint64_t *bits;      /* the state, row_words */
    uint32_t *distances; /* n_patterns */
    int32_t *agree;      /* units in which each pattern agrees with the state */
    int32_t *values;     /* A of each pattern */
    int32_t *shares;     /* d on the grid, by the number of units that agree */
    int32_t *pulls;      /* A on the grid */
    int32_t *counts;     /* patterns by their share; 0 between calls */
    int8_t *older;       /* the state two steps ago, and the next one */
    int8_t *next;
    int64_t *orders[ORDERS];
    bool ordered[ORDERS];
    int64_t *order; /* of a later sweep */
} scratch;

static void scratch_free(scratch *s) {
    free(s->bits);
    free(s->distances);
    free(s->agree);
    free(s->values);
    free(s->shares);
    free(s->pulls);
    free(s->counts);
    free(s->older);
    free(s->next);
    for (int i = 0; i < ORDERS; i++) free(s->orders[i]);
    free(s->order);
}

static bool scratch_new(scratch *s, const uhn_dense *dense, const uhn_schedule *schedule) {
    const size_t n = dense->n_units;
    *s = (scratch){.bits = uhn_alloc(dense->row_words, 1, sizeof *s->bits),
                   .distances = uhn_alloc(dense->n_patterns, 1, sizeof *s->distances),
                   .agree = uhn_alloc(dense->column_words, 32, sizeof *s->agree),
                   .values = uhn_alloc(dense->column_words, 32, sizeof *s->values),
                   .shares = uhn_alloc(n + 1, 1, sizeof *s->shares),
                   .pulls = uhn_alloc(n + 1, 1, sizeof *s->pulls),
                   .counts = uhn_alloc(n + 1, 1, sizeof *s->counts)};
    bool made =
        s->bits && s->distances && s->agree && s->values && s->shares && s->pulls && s->counts;
    if (schedule && schedule->order == UHN_ORDER_SYNC) {
        s->older = uhn_alloc(n, 1, 1);
        s->next = uhn_alloc(n, 1, 1);
        made = made && s->older && s->next;
    } else if (schedule) {
        const size_t looks = uhn_schedule_looks(schedule, n);
        for (size_t i = 0; i < UHN_MIN(schedule->n_sweeps, (size_t)ORDERS); i++) {
            s->orders[i] = uhn_alloc(looks, 1, sizeof **s->orders);
            made &= s->orders[i] != NULL;
        }
        s->order = uhn_alloc(looks, 1, sizeof *s->order);
        made &= s->order != NULL;
    }
    if (made) {
        memset(s->agree, 0, dense->column_words * 32 * sizeof *s->agree);
        memset(s->values, 0, dense->column_words * 32 * sizeof *s->values);
        memset(s->counts, 0, (n + 1) * sizeof *s->counts);
    }
    return made;
}

/* One state on its way. */
typedef struct walk {
    const uhn_dense *dense;
    const uhn_schedule *schedule;
    scratch *s;
    int8_t *state;
    int32_t most, least; /* units in which the patterns agree, at most and at least */
    int64_t grid;        /* a grid step is 2^grid */
    int64_t slack;
    int64_t sum, constant; /* sum of A; C */
    bool led;              /* one pattern decides, */
    size_t leader;         /* this one, */
    int64_t reign;         /* for so many flips without anything being added up, if >= 0 */
    int rest;              /* flips until the next try to find such a number */
    double temperature;
    number partition; /* sum of F: of an exponential at a temperature */
    size_t words;     /* looked at since the last poll */
} walk;

/* Counts for each pattern the units in which it agrees with the state. */
static void count_agreements(const uhn_dense *dense, const int8_t *state, scratch *s,
                             int32_t *most, int32_t *least) {
    const int32_t n = (int32_t)dense->n_units;
    int32_t high = 0, low = n;
    uhn_pack_rows(state, 1, dense->n_units, s->bits);
    dense->kernels->distances(dense->rows, dense->n_patterns, dense->row_words, s->bits,
                              s->distances);
    for (size_t p = 0; p < dense->n_patterns; p++) {
        const int32_t a = n - (int32_t)s->distances[p];
        s->agree[p] = a;
        high = UHN_MAX(high, a);
        low = UHN_MIN(low, a);
    }
    *most = high;
    *least = low;
}

/* True if pattern p is +1 at unit i. */
UHN_INLINE bool bit(const uhn_dense *dense, size_t p, size_t i) {
    return dense->rows[p * dense->row_words + i / 64] >> (i % 64) & 1;
}

UHN_INLINE const uint32_t *column(const uhn_dense *dense, size_t i) {
    return dense->columns + i * dense->column_words;
}

/* ---------------------------------------------------------------------------- exact sums -- */

/* sum over a of counts[a] f(a), as m 2^e, where counts are 0 outside [low, high]; they are
 * cleared. True if m has the sign of the exact sum: a smaller m may be rounding alone. */
static bool add_up(const uhn_dense *dense, const function *f, int sign, int32_t *counts,
                   int32_t low, int32_t high, number *out) {
    const int32_t end = (int32_t)f->n - 1;
    /* Shares f(a) and f(end - a) = sign f(a) are counted as one. */
    const int32_t start = sign ? UHN_MIN(UHN_MAX(end - low, high), end) : high;
    const int32_t stop = sign ? (end + 1) / 2 : low;
    double sum = 0, rest = 0, reach = 0;
    int64_t e = NOTHING;
    for (int32_t a = start; a >= stop; a--) {
        int64_t count = a >= low && a <= high ? counts[a] : 0;
        const int32_t b = end - a;
        if (sign && b != a && b >= low && b <= high) count += (int64_t)sign * counts[b];
        if (count == 0 || f->m[a] == 0) continue;
        if (e == NOTHING) e = f->e[a];
        if (f->e[a] - e < -1000) break;
        const double share = scale((double)count * f->m[a], f->e[a] - e);
        reach += scale(fabs((double)count) * f->reach[a], f->e[a] - e);
        /* What an addition rounds away is kept (Neumaier 1974). */
        const double next = sum + share;
        rest += fabs(sum) >= fabs(share) ? (sum - next) + share : (share - next) + sum;
        sum = next;
    }
    if (low <= high) memset(counts + low, 0, (size_t)(high - low + 1) * sizeof *counts);
    sum += rest;
    *out = number_of(sum, e);
    if (dense->whole && scale(reach, e) < 0x1p53) return true;
    return fabs(sum) > reach * dense->doubt;
}

/* Counts the patterns by their shares in turning over unit i, and gives the range of those. */
static void count_shares(const walk *w, size_t i, int32_t *low, int32_t *high) {
    const uhn_dense *dense = w->dense;
    int32_t *counts = w->s->counts;
    const bool up = w->state[i] > 0;
    for (size_t p = 0; p < dense->n_patterns; p++) {
        const int32_t x = bit(dense, p, i) == up;
        counts[w->s->agree[p] - x] += 2 * x - 1;
    }
    *low = UHN_MAX(w->least - 1, 0);
    *high = UHN_MIN(w->most, (int32_t)dense->n_units - 1);
}

/* G_i; true if its sign is certain. */
static bool exact_change(const walk *w, size_t i, number *out) {
    int32_t low, high;
    count_shares(w, i, &low, &high);
    return add_up(w->dense, &w->dense->change, -w->dense->mirror, w->s->counts, low, high, out);
}

/* The same for sum x F'(xi . s), whose sign is the next state of a synchronous unit i. */
static bool exact_field(const walk *w, size_t i, number *out) {
    const uhn_dense *dense = w->dense;
    for (size_t p = 0; p < dense->n_patterns; p++)
        w->s->counts[w->s->agree[p]] += bit(dense, p, i) ? 1 : -1;
    return add_up(dense, &dense->slope, -dense->mirror, w->s->counts, w->least, w->most, out);
}

/* sum F, of the counts of agreements. */
static number exact_energy(const uhn_dense *dense, scratch *s, int32_t least, int32_t most) {
    number out;
    for (size_t p = 0; p < dense->n_patterns; p++) s->counts[s->agree[p]]++;
    add_up(dense, &dense->energy, dense->mirror, s->counts, least, most, &out);
    return out;
}

/* ------------------------------------------------------------------------ sums on a grid -- */

/* The exponent of the largest share that patterns with so many agreements can have. */
static int64_t share_exponent(const uhn_dense *dense, int32_t least, int32_t most) {
    const int32_t n = (int32_t)dense->n_units;
    const int32_t high = dense->change.e[UHN_MIN(UHN_MAX(most, 0), n - 1)];
    const int32_t low = dense->change.e[UHN_MIN(UHN_MAX(least - 1, 0), n - 1)];
    return UHN_MAX(high, low);
}

/* f on the grid; places too large for it are 0 and must not be asked for. */
static void to_grid(const function *f, int64_t grid, int32_t *out) {
    for (size_t a = 0; a < f->n; a++) {
        const int64_t e = f->e[a] - grid;
        const double steps = e < 0 || e > GRID_BITS ? 0 : f->m[a] * (double)(1 << e);
        out[a] = (int32_t)(steps + (steps < 0 ? -0.5 : 0.5));
    }
}

/* Chooses the grid for shares of up to 2^exponent, and whether there is slack. If all shares
 * are 0, the grid is one that the first other share leaves. */
static void choose_grid(walk *w, int64_t exponent) {
    const bool whole = w->dense->whole;
    w->grid = exponent + GRID_ROOM - GRID_BITS;
    if (whole) w->grid = UHN_MAX(w->grid, 0);
    if (exponent == NOTHING) w->grid = NOTHING;
    w->slack = exponent == NOTHING || (whole && w->grid == 0) ? 0 : w->dense->slack;
}

/* Looks up what every pattern's agreement is worth. */
static void gather(const walk *w, const int32_t *table, uhn_turn *out) {
    const uhn_dense *dense = w->dense;
    dense->kernels->turn(column(dense, 0), dense->column_words, dense->last, 0, table,
                         w->s->agree, w->s->values, out);
}

/* The number of flips, whatever they are, after which the leader's share still exceeds the
 * others' together, if it gains by all of them: -1 if none. Exponents alone are compared. */
static int64_t find_reign(const walk *w) {
    const uhn_dense *dense = w->dense;
    const int32_t n = (int32_t)dense->n_units, own = dense->change.e[w->most - 1] - 2;
    scratch *s = w->s;
    uhn_turn others;
    if (dense->n_patterns == 1) return n;
    s->agree[w->leader] = s->agree[w->leader == 0];
    gather(w, s->pulls, &others);
    s->agree[w->leader] = w->most;
    s->values[w->leader] = s->pulls[w->most];
    int32_t r = 0;
    while (r < n &&
           share_exponent(dense, others.least - r, others.most + r) + dense->log_patterns <=
               own)
        r++;
    return r - 1;
}

/* Makes the leader a pattern that agrees in most units; most often it is the one it was. */
static void find_most(walk *w) {
    if (w->s->agree[w->leader] == w->most) return;
    w->leader = 0;
    while (w->s->agree[w->leader] != w->most) w->leader++;
}

/* Looks for a pattern whose share exceeds all others' together. */
static void find_leader(walk *w) {
    const uhn_dense *dense = w->dense;
    const int32_t most = w->most, n = (int32_t)dense->n_units;
    const int32_t *shares = w->s->shares;
    w->led = false;
    w->reign = -1;
    if (w->temperature > 0 || dense->mirror > 0 || most == 0) return;
    /* What a pattern takes or gives is at most d(a), whose sum is C, where d grows all the way;
     * at most A where F is odd; and neither where F is even, as d has both signs. */
    const int64_t own = most < n ? UHN_MIN(shares[most - 1], shares[most]) : shares[most - 1];
    const int64_t others =
        dense->mirror == 0 ? w->constant - shares[most] : w->sum - w->s->pulls[most];
    if (others + 2 * w->slack >= own) return;
    w->led = true;
    find_most(w);
    if (w->rest-- > 0) return;
    w->reign = find_reign(w);
    if (w->reign < SHORTEST_REIGN) {
        w->reign = -1;
        w->rest = SHORTEST_REIGN / 2;
    }
}

/* Everything that depends on the agreements, from them. */
static void refresh(walk *w) {
    const uhn_dense *dense = w->dense;
    uhn_turn found;
    choose_grid(w, share_exponent(dense, w->least, w->most));
    to_grid(&dense->change, w->grid, w->s->shares);
    w->s->shares[dense->n_units] = 0;
    w->s->pulls[0] = w->s->shares[0];
    for (size_t a = 1; a <= dense->n_units; a++)
        w->s->pulls[a] = w->s->shares[a] + w->s->shares[a - 1];
    gather(w, w->s->shares, &found);
    w->constant = found.sum;
    gather(w, w->s->pulls, &found);
    w->sum = found.sum;
    if (w->temperature > 0 && dense->interaction == UHN_EXPONENTIAL) {
        double sum = 0;
        for (size_t p = 0; p < dense->n_patterns; p++)
            sum += dense->fading[w->most - w->s->agree[p]];
        w->partition = product(at(&dense->energy, (size_t)w->most), number_of(sum, 0));
    }
    w->words += 8 * dense->column_words;
    find_leader(w);
}

/* G_i in grid steps. A is 0 beyond the last pattern, so that what is not set is the rest. */
static int64_t change_on_grid(const walk *w, size_t i) {
    const uhn_dense *dense = w->dense;
    const int64_t set =
        dense->kernels->masked_sum(column(dense, i), dense->column_words, w->s->values);
    return (w->state[i] > 0 ? set : w->sum - set) - w->constant;
}

/* Turns unit i over. */
static void turn_over(walk *w, size_t i) {
    const uhn_dense *dense = w->dense;
    const bool up = w->state[i] > 0;
    const int64_t change = w->reign < 0 ? change_on_grid(w, i) : 0;
    w->state[i] = up ? -1 : 1;
    if (w->reign > 0) {
        w->reign--;
        return;
    }
    if (w->reign == 0) {
        count_agreements(dense, w->state, w->s, &w->most, &w->least);
        w->words += dense->row_words * dense->n_patterns / 8;
        w->rest = 0;
        refresh(w);
        return;
    }
    const bool fits = share_exponent(dense, w->least - 1, w->most + 1) <= w->grid + GRID_BITS;
    uhn_turn found;
    dense->kernels->turn(column(dense, i), dense->column_words, dense->last, up ? 1 : -1,
                         w->s->pulls, w->s->agree, w->s->values, &found);
    w->most = found.most;
    w->least = found.least;
    w->sum = found.sum;
    /* What coming took is given back for going. */
    w->constant = (up ? found.sum - found.set : found.set) + change;
    w->words += 8 * dense->column_words;
    const bool coarse = w->slack > 0 && share_exponent(dense, w->least, w->most) <
                                            w->grid + GRID_BITS - GRID_LOSS;
    if (!fits || coarse || (w->temperature > 0 && dense->interaction == UHN_EXPONENTIAL))
        refresh(w);
    else find_leader(w);
}

/* ----------------------------------------------------------------------------- decisions -- */

/* True if a unit that nothing pulls either way turns over. */
static bool tie_turns(const walk *w, bool up) {
    if (w->schedule->tie == UHN_TIE_KEEP) return false;
    return (w->schedule->tie == UHN_TIE_PLUS) != up;
}

/* True if unit i turns over by the sign of G_i. */
static bool cold_turns(walk *w, size_t i) {
    if (w->led) return bit(w->dense, w->leader, i) != (w->state[i] > 0);
    w->words += w->dense->column_words;
    const int64_t change = change_on_grid(w, i);
    if (change < -w->slack) return true;
    if (change > w->slack) return false;
    number exact = {0, 0};
    if (w->slack > 0) {
        w->words += 16 * w->dense->column_words;
        if (!exact_change(w, i, &exact)) exact.m = 0;
    }
    return exact.m == 0 ? tie_turns(w, w->state[i] > 0) : exact.m < 0;
}

/* log((1 - u) / u): -1 turns +1 if the change is less than T times this, u uniform in
 * [0, 1). */
static double log_odds(uint64_t stream, size_t look) {
    const double u = uhn_uniform(uhn_random(stream, look)), ln2 = 0x1.62e42fefa39efp-1;
    return u == 0 ? INFINITY : (uhn_log2(1 - u) - uhn_log2(u)) * ln2;
}

/* Where an energy difference of `threshold`, as users see it, lies among sums of F. The energy
 * of an exponential is a logarithm: -log(Z - G) + log Z < t is G < Z (1 - e^-t). */
static number threshold_of(const uhn_dense *dense, number partition, double threshold) {
    const double largest = 0x1p1000;
    double t = UHN_MAX(UHN_MIN(threshold, largest), -largest);
    if (dense->interaction != UHN_EXPONENTIAL) return product(number_of(t, 0), dense->unit);
    t = 1 - UHN_MIN(uhn_exp2(-t * 0x1.71547652b82fep+0), largest);
    return product(number_of(t, 0), partition);
}

/* x < y, for numbers of any size. */
static bool less(number x, number y) {
    const int32_t e = UHN_MAX(x.e, y.e);
    return scale(x.m, (int64_t)x.e - e) < scale(y.m, (int64_t)y.e - e);
}

/* True if unit i turns over at a temperature. */
static bool hot_turns(walk *w, size_t i, double odds) {
    const bool up = w->state[i] > 0;
    const number y =
        threshold_of(w->dense, w->partition, (up ? -w->temperature : w->temperature) * odds);
    const double steps = scale(y.m, (int64_t)y.e - w->grid);
    const double change = (double)change_on_grid(w, i), slack = (double)w->slack;
    w->words += w->dense->column_words;
    if (change < steps - slack) return true;
    if (change > steps + slack) return false;
    number exact;
    exact_change(w, i, &exact);
    w->words += 16 * w->dense->column_words;
    return up ? !less(y, exact) : less(exact, y);
}

/* ------------------------------------------------------------------------------ dynamics -- */

typedef struct job {
    const uhn_dense *dense;
    const uhn_schedule *schedule;
    scratch *scratches;
    int8_t *states, *before;
    int64_t *sweeps;
    uint8_t *reasons, *changed;
} job;

static const int64_t *order_of(const walk *w, size_t sweep) {
    const size_t n = w->dense->n_units, i = sweep - w->schedule->first_sweep;
    if (w->schedule->order == UHN_ORDER_GIVEN) return w->schedule->given;
    if (i >= ORDERS) {
        uhn_schedule_sweep(w->schedule, n, sweep, w->s->order);
        return w->s->order;
    }
    if (!w->s->ordered[i]) uhn_schedule_sweep(w->schedule, n, sweep, w->s->orders[i]);
    w->s->ordered[i] = true;
    return w->s->orders[i];
}

static uhn_status poll(walk *w, uhn_loop *loop, int worker) {
    if (w->words < POLL_WORDS) return UHN_OK;
    w->words = 0;
    return uhn_loop_poll(loop, worker);
}

/* One sweep; `flips` counts the units that turned over. */
static uhn_status sweep_units(walk *w, size_t sweep, uhn_loop *loop, int worker,
                              size_t *flips) {
    const uhn_schedule *schedule = w->schedule;
    const size_t looks = uhn_schedule_looks(schedule, w->dense->n_units);
    const int64_t *order = order_of(w, sweep);
    const uint64_t luck = uhn_luck_stream(schedule->seed, sweep);
    *flips = 0;
    for (size_t look = 0; look < looks; look++) {
        const size_t i = (size_t)order[look];
        if (uhn_schedule_clamps(schedule, i)) continue;
        const bool turns =
            w->temperature > 0 ? hot_turns(w, i, log_odds(luck, look)) : cold_turns(w, i);
        if (turns) {
            turn_over(w, i);
            ++*flips;
        }
        w->words++;
        if (poll(w, loop, worker) != UHN_OK) return UHN_STOPPED;
    }
    return UHN_OK;
}

/* Whether none of the units that the order may visit would turn over. */
static uhn_status all_rest(walk *w, uhn_loop *loop, int worker, bool *rests) {
    const uhn_schedule *schedule = w->schedule;
    const bool given = schedule->order == UHN_ORDER_GIVEN;
    const size_t looks = uhn_schedule_looks(schedule, w->dense->n_units);
    *rests = false;
    for (size_t look = 0; look < looks; look++) {
        const size_t i = given ? (size_t)schedule->given[look] : look;
        if (uhn_schedule_clamps(schedule, i)) continue;
        if (cold_turns(w, i)) return UHN_OK;
        w->words++;
        if (poll(w, loop, worker) != UHN_OK) return UHN_STOPPED;
    }
    *rests = true;
    return UHN_OK;
}

/* One synchronous step. */
static uhn_status step_units(walk *w, const int8_t *before, size_t sweep, int8_t *after,
                             uhn_loop *loop, int worker) {
    const uhn_dense *dense = w->dense;
    const uhn_schedule *schedule = w->schedule;
    const uint64_t luck = uhn_luck_stream(schedule->seed, sweep);
    uhn_turn found;
    count_agreements(dense, before, w->s, &w->most, &w->least);
    choose_grid(w, UHN_MAX(dense->slope.e[w->most], dense->slope.e[w->least]));
    to_grid(&dense->slope, w->grid, w->s->pulls);
    gather(w, w->s->pulls, &found);
    if (w->temperature > 0 && dense->interaction == UHN_EXPONENTIAL)
        w->partition = exact_energy(dense, w->s, w->least, w->most);
    /* One pattern may pull more than all others together; none pulls backwards if rectified. */
    const bool led = w->temperature == 0 && dense->mirror == 0 &&
                     2 * (int64_t)w->s->pulls[w->most] > found.sum + 2 * w->slack;
    if (led) find_most(w);
    for (size_t i = 0; i < dense->n_units; i++) {
        after[i] = before[i];
        if (uhn_schedule_clamps(schedule, i)) continue;
        if (led) {
            after[i] = bit(dense, w->leader, i) ? 1 : -1;
            continue;
        }
        const int64_t field =
            2 * dense->kernels->masked_sum(column(dense, i), dense->column_words,
                                           w->s->values) -
            found.sum;
        bool up = before[i] > 0;
        number exact = number_of((double)field, w->grid), least = {0, NOTHING};
        double steps = 0;
        if (w->temperature > 0) {
            /* To first order turning -1 into +1 adds -2 times the field to the energy; the unit
             * becomes +1 if that is less than T times the odds. */
            const double odds = log_odds(luck, i);
            number scaled = dense->unit;
            if (dense->interaction == UHN_EXPONENTIAL) scaled = w->partition;
            const double t = UHN_MAX(-w->temperature / 2 * odds, -0x1p1000);
            least = product(number_of(t, 0), scaled);
            steps = scale(least.m, (int64_t)least.e - w->grid);
        }
        w->words += dense->column_words + 1;
        if (w->slack > 0 && fabs((double)field - steps) <= (double)w->slack) {
            w->words += 16 * dense->column_words;
            if (!exact_field(w, i, &exact) && w->temperature == 0) exact.m = 0;
        }
        if (w->temperature > 0) up = less(least, exact);
        else if (exact.m != 0) up = exact.m > 0;
        else up = up != tie_turns(w, up);
        after[i] = up ? 1 : -1;
        if (poll(w, loop, worker) != UHN_OK) return UHN_STOPPED;
    }
    return UHN_OK;
}

/* Sweep after sweep; `before` is left as the state was before the last one. */
static uhn_status run_async(walk *w, int8_t *before, uhn_loop *loop, int worker, size_t *done,
                            uhn_stop_reason *reason) {
    const uhn_schedule *schedule = w->schedule;
    for (*done = 0; *done < schedule->n_sweeps && *reason == UHN_STEP_LIMIT; ++*done) {
        const double was = w->temperature;
        size_t flips;
        bool rests = true;
        w->temperature = uhn_schedule_temperature(schedule, *done);
        if (*done == 0 || w->temperature != was) {
            count_agreements(w->dense, w->state, w->s, &w->most, &w->least);
            refresh(w);
        }
        memcpy(before, w->state, w->dense->n_units);
        uhn_status status = sweep_units(w, schedule->first_sweep + *done, loop, worker, &flips);
        if (status != UHN_OK) return status;
        if (w->temperature > 0) continue;
        /* A sweep without a flip has asked everybody, unless it drew units at random. */
        if (flips > 0 || schedule->order == UHN_ORDER_REPLACEMENT)
            status = all_rest(w, loop, worker, &rests);
        if (status != UHN_OK) return status;
        if (rests) *reason = UHN_FIXED_POINT;
    }
    return UHN_OK;
}

/* Step after step. Whether a state rests is seen from the next one, which is kept till then. */
static uhn_status run_sync(walk *w, int8_t *before, uhn_loop *loop, int worker, size_t *done,
                           uhn_stop_reason *reason) {
    const uhn_schedule *schedule = w->schedule;
    const size_t n = w->dense->n_units;
    bool ahead = false;
    for (*done = 0; *done < schedule->n_sweeps && *reason == UHN_STEP_LIMIT; ++*done) {
        const size_t sweep = schedule->first_sweep + *done;
        const bool was_cold = *done > 0 && w->temperature == 0;
        uhn_status status = UHN_OK;
        w->temperature = uhn_schedule_temperature(schedule, *done);
        memcpy(w->s->older, before, n);
        memcpy(before, w->state, n);
        if (ahead && w->temperature == 0) memcpy(w->state, w->s->next, n);
        else status = step_units(w, before, sweep, w->state, loop, worker);
        if (status == UHN_OK && w->temperature == 0)
            status = step_units(w, w->state, sweep, w->s->next, loop, worker);
        if (status != UHN_OK) return status;
        ahead = w->temperature == 0;
        if (!ahead) continue;
        if (memcmp(w->s->next, w->state, n) == 0) *reason = UHN_FIXED_POINT;
        else if (was_cold && memcmp(w->state, w->s->older, n) == 0) *reason = UHN_TWO_CYCLE;
    }
    return UHN_OK;
}

static uhn_status settle_task(void *context, size_t task, int worker, uhn_loop *loop) {
    const job *j = context;
    const size_t n = j->dense->n_units;
    int8_t *state = j->states + task * n, *before = j->before + task * n;
    walk w = {.dense = j->dense, .schedule = j->schedule, .s = &j->scratches[worker]};
    uhn_stop_reason reason = UHN_STEP_LIMIT;
    size_t done;
    uhn_status status = uhn_loop_poll(loop, worker);
    if (status != UHN_OK) return status;
    w.state = state;
    memcpy(before, state, n);
    status =
        (j->schedule->order == UHN_ORDER_SYNC ? run_sync : run_async)(&w, before, loop, worker,
                                                                      &done, &reason);
    if (status != UHN_OK) return status;
    if (j->sweeps) j->sweeps[task] = (int64_t)done;
    if (j->reasons) j->reasons[task] = (uint8_t)reason;
    if (j->changed) j->changed[task] = memcmp(state, before, n) != 0;
    return UHN_OK;
}

/* --------------------------------------------------------------------------- whole calls -- */

/* Threads worth their making, for about so many words in all. */
static int threads_for(const uhn_run *run, size_t n_states, double words) {
    const double each = 500000; /* 0.3 ms */
    int n = uhn_run_threads(run);
    if ((double)n > words / each) n = (int)(words / each);
    return (int)UHN_MIN((size_t)UHN_MAX(n, 1), UHN_MAX(n_states, (size_t)1));
}

static scratch *scratches_new(const uhn_dense *dense, const uhn_schedule *schedule, int n) {
    scratch *s = calloc((size_t)n, sizeof *s);
    bool made = s != NULL;
    for (int i = 0; made && i < n; i++) made = scratch_new(&s[i], dense, schedule);
    if (s && !made) {
        for (int i = 0; i < n; i++) scratch_free(&s[i]);
        free(s);
    }
    return made ? s : NULL;
}

static void scratches_free(scratch *s, int n) {
    for (int i = 0; i < n; i++) scratch_free(&s[i]);
    free(s);
}

uhn_status uhn_dense_settle(const uhn_dense *dense, const uhn_schedule *schedule,
                            int8_t *states, size_t n_states, const uhn_run *run, int8_t *before,
                            int64_t *sweeps, uint8_t *reasons, uint8_t *changed,
                            uhn_error *error) {
    uhn_status status = uhn_schedule_check(schedule, dense->n_units, error);
    if (status != UHN_OK) return status;
    if (n_states == 0) return UHN_OK;
    const int n_threads =
        threads_for(run, n_states,
                    2.0 * (double)n_states * (double)dense->n_units *
                        (double)dense->column_words * (schedule->n_sweeps > 0));
    job j = {.dense = dense, .schedule = schedule, .states = states, .before = before};
    j.sweeps = sweeps;
    j.reasons = reasons;
    j.changed = changed;
    int8_t *own = NULL;
    if (!before) j.before = own = uhn_alloc(n_states, dense->n_units, 1);
    j.scratches = scratches_new(dense, schedule, n_threads);
    if (!j.scratches || !j.before) status = uhn_no_memory(error);
    else status = uhn_parallel_for(n_states, n_threads, run, settle_task, &j);
    if (j.scratches) scratches_free(j.scratches, n_threads);
    free(own);
    if (status == UHN_STOPPED) return uhn_fail(error, status, "stopped");
    return status;
}

/* ------------------------------------------------------------------------------ energies -- */

typedef struct energy_job {
    const uhn_dense *dense;
    scratch *scratches;
    const int8_t *states;
    bool differences;
    double *out;
} energy_job;

/* a / b as a double. */
static double quotient(number a, number b) { return scale(a.m / b.m, (int64_t)a.e - b.e); }

static uhn_status energy_task(void *context, size_t task, int worker, uhn_loop *loop) {
    const energy_job *j = context;
    const uhn_dense *dense = j->dense;
    const size_t n = dense->n_units;
    const double ln2 = 0x1.62e42fefa39efp-1;
    const bool exponential = dense->interaction == UHN_EXPONENTIAL;
    scratch *s = &j->scratches[worker];
    /* The state is only read. */
    walk w = {.dense = dense, .s = s, .state = (int8_t *)j->states + task * n};
    count_agreements(dense, w.state, s, &w.most, &w.least);
    number sum = {0, NOTHING};
    if (exponential || !j->differences) sum = exact_energy(dense, s, w.least, w.most);
    if (!j->differences) {
        double *energy = j->out + task;
        /* The whole part apart, so that large energies keep their digits. */
        if (exponential) *energy = -((double)sum.e + uhn_log2(sum.m)) * ln2;
        else *energy = 0 - quotient(sum, dense->unit);
        if (!isfinite(*energy)) return UHN_OVERFLOW;
        return uhn_loop_poll(loop, worker);
    }
    for (size_t i = 0; i < n; i++) {
        double *change = j->out + task * n + i;
        number exact;
        exact_change(&w, i, &exact);
        if (exponential) *change = 0 - uhn_log1p(-quotient(exact, sum));
        else *change = quotient(exact, dense->unit);
        if (!isfinite(*change)) return UHN_OVERFLOW;
        w.words += 16 * dense->column_words + 1;
        if (poll(&w, loop, worker) != UHN_OK) return UHN_STOPPED;
    }
    return UHN_OK;
}

static uhn_status energies(const uhn_dense *dense, const int8_t *states, size_t n_states,
                           bool differences, const uhn_run *run, double *out,
                           uhn_error *error) {
    if (n_states == 0) return UHN_OK;
    const double words =
        (double)n_states * (double)dense->column_words *
        (differences ? 16.0 * (double)dense->n_units : (double)dense->row_words);
    const int n_threads = threads_for(run, n_states, words);
    energy_job j = {.dense = dense, .states = states, .differences = differences, .out = out};
    j.scratches = scratches_new(dense, NULL, n_threads);
    if (!j.scratches) return uhn_no_memory(error);
    const uhn_status status = uhn_parallel_for(n_states, n_threads, run, energy_task, &j);
    scratches_free(j.scratches, n_threads);
    if (status == UHN_OVERFLOW)
        return uhn_fail(error, status,
                        "the energy exceeds float64; with scale='neurons' it is that of "
                        "overlaps divided by n_features, which fits");
    if (status == UHN_STOPPED) return uhn_fail(error, status, "stopped");
    return status;
}

uhn_status uhn_dense_energies(const uhn_dense *dense, const int8_t *states, size_t n_states,
                              const uhn_run *run, double *out, uhn_error *error) {
    return energies(dense, states, n_states, false, run, out, error);
}

uhn_status uhn_dense_differences(const uhn_dense *dense, const int8_t *states, size_t n_states,
                                 const uhn_run *run, double *out, uhn_error *error) {
    return energies(dense, states, n_states, true, run, out, error);
}
