/*
 * network.c - networks of two-state units with couplings between pairs (layer 4).
 *
 * May include: order.h, cpu.h, scalar.h, threads.h.
 *
 *     h_i = scale a_i + b_i,   a_i = sum_j C_ij s_j,   s_i := sign(h_i)
 *
 * The sums a_i are kept: a unit that does not flip costs one comparison, one that does adds 2 s_j C_.j to
 * all of them. In pattern form, C = sum xi xi^T, the overlaps m_mu = sum_j xi_mu,j s_j are kept
 * instead, and a_i = sum_mu xi_mu,i m_mu is added up for whoever is asked; no matrix is needed.
 *
 * States are independent of one another. They are taken in groups, which share the order of each sweep and
 * the reading of the couplings, and groups are shared out among threads.
 *
 * Whole numbers are exact in any order. Doubles are added up four units at a time, ((w0 s0 + w1 s1) +
 * (w2 s2 + w3 s3)), those groups in ascending order, and afresh before each sweep.
 */
#include "cpu.h"
#include "order.h"
#include "scalar.h"
#include "threads.h"

typedef enum network_form { COUNTS16, COUNTS32, WEIGHTS, COLUMNS } network_form;

/* 2 / ln 2: e^(-2 x) = 2^(-TWICE_LOG2E x). */
#define TWICE_LOG2E 0x1.71547652b82fep+1

enum {
    MOST_STATES = 256,        /* of a group, */
    GROUP_BYTES = 1 << 25,    /* and bytes of their sums */
    MANY_STATES = 8,          /* for which tables of sums are worth making */
    WORK_OF_THREAD = 1 << 18, /* operations that are worth a thread */
    WORK_OF_POLL = 1 << 19,   /* operations between two polls */
    FEW_COLUMNS = 2048,       /* sums that few states make at once, */
    MANY_COLUMNS = 512        /* and many */
};

/* ---------------------------------------------------------------------------------- checks -- */

static uhn_status check_network(const uhn_network *network, network_form *form,
                                uhn_error *error) {
    const int n_forms = (network->counts16 != NULL) + (network->counts32 != NULL) +
                        (network->weights != NULL) + (network->columns != NULL);
    if (n_forms != 1)
        return uhn_fail(error, UHN_BAD_PARAMETER,
                        "a network has couplings in exactly one form, not in %d", n_forms);
    if (network->n_units == 0)
        return uhn_fail(error, UHN_BAD_SHAPE, "a network needs at least one unit");
    if (!(network->scale > 0 && isfinite(network->scale)))
        return uhn_fail(error, UHN_BAD_PARAMETER, "scale must be finite and > 0, got %g",
                        network->scale);
    for (size_t i = 0; network->bias && i < network->n_units; i++)
        if (!isfinite(network->bias[i]))
            return uhn_fail(error, UHN_BAD_DATA, "bias[%zu] is not finite", i);
    *form = network->counts16   ? COUNTS16
            : network->counts32 ? COUNTS32
            : network->weights  ? WEIGHTS
                                : COLUMNS;
    /* Sums of int16 counts are int32, and overlaps must not leave what masked_sum takes. */
    const size_t limit = *form == COUNTS16  ? (size_t)1 << 16
                         : *form == COLUMNS ? (size_t)1 << 21
                                            : (size_t)1 << 31;
    if (network->n_units >= limit)
        return uhn_fail(error, UHN_BAD_SHAPE,
                        "couplings in this form are for fewer than %zu units, not %zu", limit,
                        network->n_units);
    return UHN_OK;
}

/* UHN_OK if every unit is +1 or -1. */
static uhn_status check_states(const int8_t *states, size_t n_rows, size_t n_units,
                               const char *what, const uhn_run *run, uhn_error *error) {
    for (size_t r = 0; r < n_rows; r++) {
        const int8_t *row = states + r * n_units;
        uint8_t wrong = 0;
        for (size_t i = 0; i < n_units; i++) wrong |= (uint8_t)((row[i] + 1) & ~2);
        for (size_t i = 0; wrong && i < n_units; i++)
            if (row[i] != 1 && row[i] != -1)
                return uhn_fail(error, UHN_BAD_DATA, "%s[%zu, %zu] is %d, neither 1 nor -1",
                                what, r, i, row[i]);
        if (r % 64 == 63 && uhn_run_stopped(run)) return UHN_STOPPED;
    }
    return UHN_OK;
}

/* ---------------------------------------------------------------------------------- engine -- */

/* What is the same for all states of a call. */
typedef struct engine {
    const uhn_network *network;
    const uhn_bit_kernels *kernels;
    network_form form;
    bool wide;               /* overlaps need int32 */
    size_t n_units, n_words; /* words of a column */
    size_t stride;           /* bytes of the sums of one state */
    size_t look, step;       /* operations for the sum of one unit of columns, and for a flip */
    size_t work;             /* for all sums of a state */
    const uhn_run *run;
    int spare_threads; /* that a task may use; 1 if there are several tasks */
    int32_t *diagonal; /* of counts, if it is to be left out; else NULL */
} engine;

/* The sums a_i of one state, or the overlaps that give them. */
typedef struct sums {
    union {
        void *at;
        int16_t *i16; /* overlaps of columns, */
        int32_t *i32; /* if wide; counts16 */
        int64_t *i64; /* counts32 */
        double *f64;  /* weights */
    };
    int64_t total;  /* of the overlaps */
    int64_t *whole; /* a_i of columns, where all of them are made; else NULL */
} sums;

static uhn_status engine_begin(engine *e, const uhn_network *network, const uhn_run *run,
                               uhn_error *error) {
    *e = (engine){.network = network,
                  .run = run,
                  .spare_threads = 1,
                  .kernels = uhn_bit_kernels_of_cpu(),
                  .n_units = network->n_units,
                  .n_words = (network->n_patterns + 31) / 32,
                  .wide = network->n_units > INT16_MAX};
    const uhn_status status = check_network(network, &e->form, error);
    if (status != UHN_OK) return status;
    const bool columns = e->form == COLUMNS;
    const size_t n = columns ? 32 * e->n_words : e->n_units;
    const size_t size = columns ? (e->wide ? 4 : 2) : e->form == COUNTS16 ? 4 : 8;
    /* An odd number of panels, so that the same panel of many states does not fall into one cache set. */
    e->stride =
        (uhn_round_up(UHN_MAX(n, (size_t)1) * size, UHN_PANEL) / UHN_PANEL | 1) * UHN_PANEL;
    e->look = columns ? e->n_words + 4 : 1;
    e->step = columns ? e->n_words + 4 : e->n_units / 8 + 4;
    e->work = e->n_units * (columns ? e->n_words + 4 : e->n_units / 16 + 1);
    if (network->keep_diagonal || columns || e->form == WEIGHTS) return UHN_OK;
    e->diagonal = uhn_alloc(e->n_units, 1, sizeof *e->diagonal);
    if (!e->diagonal) return uhn_no_memory(error);
    for (size_t i = 0; i < e->n_units; i++)
        e->diagonal[i] = network->counts16 ? network->counts16[i * (e->n_units + 1)]
                                           : network->counts32[i * (e->n_units + 1)];
    return UHN_OK;
}

static void engine_end(engine *e) { free(e->diagonal); }

/* What a group of states makes its sums with. */
typedef struct bench {
    void *table;
    /* (states x n_groups): UHN_PANEL times four bits, of which bit k of number g says that unit 4 g + k
     * is +1. */
    uint16_t *offsets;
    size_t n_groups;
    const uint16_t *offsets_of[MOST_STATES];
    void *sums_of[MOST_STATES];
} bench;

static bool bench_begin(bench *b, const engine *e, size_t n_states) {
    const bool many = e->form != COLUMNS && n_states >= MANY_STATES;
    b->n_groups = (e->n_units + 3) / 4;
    b->table = uhn_alloc(many ? UHN_TABLE : 0, 1, 1);
    b->offsets = uhn_alloc(many ? n_states : 0, b->n_groups, sizeof *b->offsets);
    return b->table && b->offsets;
}

static void bench_end(bench *b) {
    free(b->table);
    free(b->offsets);
}

/* The sums of few states, all rows of some columns at a time. */
typedef struct few_job {
    const engine *e;
    const int8_t *const *states;
    sums *const *sums;
    size_t n_states, width; /* columns of a task */
} few_job;

static uhn_status few_columns(void *context, size_t task, int worker, uhn_loop *loop) {
    const few_job *job = context;
    const engine *e = job->e;
    const size_t n = e->n_units, begin = task * job->width;
    const size_t end = UHN_MIN(begin + job->width, n);
    /* One state has no use for what stays in cache. */
    const size_t width = job->n_states == 1 ? end - begin : FEW_COLUMNS;
    const size_t work = (end - begin) * job->n_states / 2 + 1;
    const size_t often = UHN_MAX(WORK_OF_POLL / work, (size_t)1);
    for (size_t j = 0, block = 0; j < n; j += UHN_FEW_ROWS, block++) {
        const size_t n_rows = UHN_MIN(n - j, (size_t)UHN_FEW_ROWS);
        if (block % often == 0 && uhn_loop_poll(loop, worker) != UHN_OK) return UHN_STOPPED;
        for (size_t i = begin; i < end; i += width) {
            const size_t n_columns = UHN_MIN(width, end - i), from = j * n + i;
            for (size_t k = 0; k < job->n_states; k++) {
                const int8_t *signs = job->states[k] + j;
                sums *to = job->sums[k];
                if (e->form == COUNTS16)
                    e->kernels->few_i16(e->network->counts16 + from, n, signs, n_rows,
                                        n_columns, to->i32 + i);
                else if (e->form == COUNTS32)
                    e->kernels->few_i32(e->network->counts32 + from, n, signs, n_rows,
                                        n_columns, to->i64 + i);
                else
                    e->kernels->few_f64(e->network->weights + from, n, signs, n_rows, n_columns,
                                        to->f64 + i);
            }
        }
    }
    return UHN_OK;
}

/* A single group leaves the other threads idle: they take a share of the columns. */
static uhn_status few_sums(const engine *e, const int8_t *const *states, sums *const *sums,
                           size_t n_states, uhn_loop *loop, int worker) {
    few_job job = {e, states, sums, n_states, e->n_units};
    if (e->spare_threads == 1) return few_columns(&job, 0, worker, loop);
    const size_t n_parts = 4 * (size_t)e->spare_threads;
    job.width = uhn_round_up((e->n_units + n_parts - 1) / n_parts, UHN_PANEL);
    return uhn_parallel_for((e->n_units + job.width - 1) / job.width, e->spare_threads, e->run,
                            few_columns, &job);
}

/* The same through tables of the sums of four rows. */
static uhn_status many_sums(const engine *e, bench *b, const int8_t *const *states,
                            sums *const *sums, size_t n_states, uhn_loop *loop, int worker) {
    const size_t n = e->n_units;
    const size_t panel = UHN_PANEL / (e->form == COUNTS16 ? sizeof(int32_t) : sizeof(double));
    for (size_t k = 0; k < n_states; k++) {
        uint16_t *offset = b->offsets + k * b->n_groups;
        const int8_t *s = states[k];
        for (size_t g = 0; g < b->n_groups; g++, s += 4) {
            const size_t n_here = UHN_MIN(n - 4 * g, (size_t)4);
            unsigned bits = 0;
            for (size_t j = 0; j < n_here; j++) bits |= (s[j] > 0 ? 1u : 0u) << j;
            offset[g] = (uint16_t)(bits * UHN_PANEL);
        }
        b->offsets_of[k] = offset;
        b->sums_of[k] = sums[k]->at;
    }
    for (size_t from = 0; from < n; from += MANY_COLUMNS) {
        const size_t to = UHN_MIN(from + MANY_COLUMNS, n);
        for (size_t j = 0; j < n; j += UHN_MANY_ROWS) {
            const size_t n_rows = UHN_MIN(n - j, (size_t)UHN_MANY_ROWS);
            if (uhn_loop_poll(loop, worker) != UHN_OK) return UHN_STOPPED;
            for (size_t i = from; i < to; i += panel) {
                const size_t n_columns = UHN_MIN(panel, to - i), at = j * n + i;
                const bool right = i + panel < to, down = j + 2 * UHN_MANY_ROWS <= n;
                const size_t next = right ? at + panel : (j + UHN_MANY_ROWS) * n + from;
                const bool more = (right || down) && n_columns == panel;
                if (e->form == COUNTS16)
                    e->kernels->many_i16(e->network->counts16 + at, n, n_rows, n_columns,
                                         more ? e->network->counts16 + next : NULL, b->table,
                                         b->offsets_of, j / 4, n_states,
                                         (int32_t *const *)b->sums_of, i);
                else if (e->form == COUNTS32)
                    e->kernels->many_i32(e->network->counts32 + at, n, n_rows, n_columns,
                                         more ? e->network->counts32 + next : NULL, b->table,
                                         b->offsets_of, j / 4, n_states,
                                         (int64_t *const *)b->sums_of, i);
                else
                    e->kernels->many_f64(e->network->weights + at, n, n_rows, n_columns,
                                         more ? e->network->weights + next : NULL, b->table,
                                         b->offsets_of, j / 4, n_states,
                                         (double *const *)b->sums_of, i);
            }
        }
    }
    return UHN_OK;
}

/* Overlaps of a state, their total and, if asked for, the sums of all units. */
static uhn_status column_sums(const engine *e, const int8_t *s, sums *sums, uhn_loop *loop,
                              int worker) {
    const uint32_t *columns = e->network->columns;
    const size_t n = e->n_units, n_words = e->n_words;
    const size_t piece = UHN_MAX(WORK_OF_POLL / e->look, (size_t)8) / 8 * 8;
    for (size_t j = 0; j < n; j += piece) {
        const size_t here = UHN_MIN(piece, n - j);
        const uint32_t *at = columns + j * n_words;
        if (uhn_loop_poll(loop, worker) != UHN_OK) return UHN_STOPPED;
        if (e->wide) e->kernels->overlaps32(at, n_words, here, n - j - here, s + j, sums->i32);
        else e->kernels->overlaps16(at, n_words, here, n - j - here, s + j, sums->i16);
    }
    int64_t total = 0;
    for (size_t m = 0; m < e->network->n_patterns; m++)
        total += e->wide ? sums->i32[m] : sums->i16[m];
    sums->total = total;
    if (!sums->whole) return UHN_OK;
    const int64_t own = e->network->keep_diagonal ? 0 : (int64_t)e->network->n_patterns;
    for (size_t j = 0; j < n; j += piece) {
        const size_t stop = UHN_MIN(j + piece, n);
        const uint32_t *at = columns + j * n_words;
        if (uhn_loop_poll(loop, worker) != UHN_OK) return UHN_STOPPED;
        if (e->wide)
            e->kernels->masked_sums32(at, n_words, sums->i32, stop - j, sums->whole + j);
        else e->kernels->masked_sums16(at, n_words, sums->i16, stop - j, sums->whole + j);
        for (size_t i = j; i < stop; i++)
            sums->whole[i] = 2 * sums->whole[i] - total - own * s[i];
    }
    return UHN_OK;
}

/* The sums of n_states states from nothing. */
static uhn_status make_sums(const engine *e, bench *b, const int8_t *const *states,
                            sums *const *sums, size_t n_states, uhn_loop *loop, int worker) {
    uhn_status status = UHN_OK;
    for (size_t k = 0; k < n_states; k++) memset(sums[k]->at, 0, e->stride);
    if (e->form == COLUMNS) {
        for (size_t k = 0; k < n_states && status == UHN_OK; k++)
            status = column_sums(e, states[k], sums[k], loop, worker);
        return status;
    }
    status = n_states < MANY_STATES ? few_sums(e, states, sums, n_states, loop, worker)
                                    : many_sums(e, b, states, sums, n_states, loop, worker);
    if (e->form == WEIGHTS || e->network->keep_diagonal || status != UHN_OK) return status;
    for (size_t k = 0; k < n_states; k++) {
        const int8_t *s = states[k];
        int32_t *i32 = sums[k]->i32;
        int64_t *i64 = sums[k]->i64;
        if (e->form == COUNTS16)
            for (size_t i = 0; i < e->n_units; i++) i32[i] -= e->diagonal[i] * s[i];
        else
            for (size_t i = 0; i < e->n_units; i++) i64[i] -= (int64_t)e->diagonal[i] * s[i];
    }
    return UHN_OK;
}

/* Turns unit i round. */
static void flip(const engine *e, int8_t *s, sums *sums, size_t i) {
    const uhn_network *network = e->network;
    const size_t n = e->n_units;
    const int step = -2 * s[i];
    const int32_t own = e->diagonal ? e->diagonal[i] : 0;
    s[i] = (int8_t)-s[i];
    switch (e->form) {
    case COUNTS16:
        e->kernels->flip_i16(network->counts16 + i * n, step < 0, n, sums->i32);
        sums->i32[i] -= step * own;
        return;
    case COUNTS32:
        e->kernels->flip_i32(network->counts32 + i * n, step < 0, n, sums->i64);
        sums->i64[i] -= step * (int64_t)own;
        return;
    case WEIGHTS:
        e->kernels->flip_f64(network->weights + i * n, step < 0, n, sums->f64);
        return;
    case COLUMNS: {
        const uint32_t *column = network->columns + i * e->n_words;
        const int64_t set = (int64_t)e->kernels->count_bits(column, e->n_words);
        if (e->wide) e->kernels->masked_step(column, e->n_words, step, sums->i32);
        else e->kernels->masked_step16(column, e->n_words, step, sums->i16);
        sums->total += step * (2 * set - (int64_t)network->n_patterns);
    }
    }
}

/* ----------------------------------------------------------------------------------- looks -- */

/* A sequence of looks, and what decides them. */
typedef struct looks {
    const uint32_t *units;
    const double *luck; /* one a look; for a temperature alone */
    double temperature;
    int tie; /* 0: keep, else what a unit becomes */
} looks;

/* a_i of whole numbers. `form` is a constant wherever this is inlined. */
UHN_INLINE int64_t whole_sum(const engine *e, network_form form, const int8_t *s,
                             const sums *sums, size_t i) {
    if (form == COUNTS16) return sums->i32[i];
    if (form == COUNTS32) return sums->i64[i];
    if (sums->whole) return sums->whole[i];
    const uint32_t *column = e->network->columns + i * e->n_words;
    const int64_t set = e->wide ? e->kernels->masked_sum(column, e->n_words, sums->i32)
                                : e->kernels->masked_sum16(column, e->n_words, sums->i16);
    const int64_t own = e->network->keep_diagonal ? 0 : (int64_t)e->network->n_patterns;
    return 2 * set - sums->total - own * s[i];
}

UHN_INLINE double field(const engine *e, network_form form, const int8_t *s, const sums *sums,
                        size_t i) {
    const double a = form == WEIGHTS ? sums->f64[i] : (double)whole_sum(e, form, s, sums, i);
    const double h = e->network->scale * a;
    return e->network->bias ? h + e->network->bias[i] : h;
}

static double field_of_unit(const engine *e, const int8_t *s, const sums *sums, size_t i) {
    switch (e->form) {
    case COUNTS16: return field(e, COUNTS16, s, sums, i);
    case COUNTS32: return field(e, COUNTS32, s, sums, i);
    case WEIGHTS: return field(e, WEIGHTS, s, sums, i);
    default: return field(e, COLUMNS, s, sums, i);
    }
}

/* Glauber: +1 with probability 1 / (1 + e^(-2 h / T)). */
static int glauber(double h, double temperature, double luck) {
    return luck < 1 / (1 + uhn_exp2(h / temperature * -TWICE_LOG2E)) ? 1 : -1;
}

UHN_INLINE int wish(const looks *l, size_t c, double h, int s) {
    if (l->temperature > 0) return glauber(h, l->temperature, l->luck[c]);
    return h > 0 ? 1 : h < 0 ? -1 : l->tie ? l->tie : s;
}

/* The first of looks [c, stop) at which the unit wants to flip. Where nothing but the sign of a whole
 * number counts, 2 a + tie has the sign of the wish, and is 0 where a tie is to be kept. */
UHN_INLINE size_t walk_of(const engine *e, network_form form, const looks *l, size_t c,
                          size_t stop, const int8_t *s, const sums *sums) {
    const bool plain = form != WEIGHTS && !e->network->bias && !(l->temperature > 0);
    if (plain) {
        for (; c < stop; c++) {
            const size_t i = l->units[c];
            if ((2 * whole_sum(e, form, s, sums, i) + l->tie) * s[i] < 0) break;
        }
    } else {
        for (; c < stop; c++) {
            const size_t i = l->units[c];
            if (wish(l, c, field(e, form, s, sums, i), s[i]) != s[i]) break;
        }
    }
    return c;
}

static size_t walk(const engine *e, const looks *l, size_t c, size_t stop, const int8_t *s,
                   const sums *sums) {
    const uhn_network *network = e->network;
    switch (e->form) {
    case COUNTS16: return walk_of(e, COUNTS16, l, c, stop, s, sums);
    case COUNTS32: return walk_of(e, COUNTS32, l, c, stop, s, sums);
    case WEIGHTS: return walk_of(e, WEIGHTS, l, c, stop, s, sums);
    default: break;
    }
    if (sums->whole || network->bias || l->temperature > 0)
        return walk_of(e, COLUMNS, l, c, stop, s, sums);
    const int64_t own = network->keep_diagonal ? 0 : (int64_t)network->n_patterns;
    return c + (e->wide
                    ? e->kernels->walk32(network->columns, e->n_words, sums->i32, sums->total,
                                         own, l->units + c, stop - c, s, l->tie)
                    : e->kernels->walk16(network->columns, e->n_words, sums->i16, sums->total,
                                         own, l->units + c, stop - c, s, l->tie));
}

/* ---------------------------------------------------------------------------------- settle -- */

typedef struct settle_job {
    engine engine;
    const uhn_schedule *schedule;
    size_t n_looks; /* of a sweep */
    int tie;
    uint32_t
        *visited; /* units that the schedule can visit, none twice, without those clamped */
    size_t n_visited;
    size_t n_states, group;
    int8_t *states;
    int64_t *sweeps;
    uint8_t *codes, *changed;
} settle_job;

/* What one group of states needs. */
typedef struct party {
    bench bench;
    char *sums;      /* group x stride */
    int64_t *whole;  /* synchronous, columns: group x n_units */
    int64_t *order;  /* n_looks */
    uint32_t *units; /* those of `order` that are not clamped, */
    double *luck;    /* and theirs */
    int8_t *before;  /* synchronous: group x 2 x n_units, one and two steps ago */
    size_t n_looks;
    /* Whose sums are to be made from nothing before they are asked again. */
    const int8_t *stale_states[MOST_STATES];
    sums *stale[MOST_STATES];
    size_t n_stale;
} party;

/* False if there is no memory. */
static bool list_visited(settle_job *job) {
    const uhn_schedule *schedule = job->schedule;
    const size_t n = job->engine.n_units;
    uint8_t *listed = uhn_alloc(n, 1, 1);
    job->visited = uhn_alloc(n, 1, sizeof *job->visited);
    const bool done = listed && job->visited;
    if (done) {
        memset(listed, schedule->order != UHN_ORDER_GIVEN, n);
        if (schedule->order == UHN_ORDER_GIVEN)
            for (size_t i = 0; i < schedule->n_given; i++) listed[schedule->given[i]] = 1;
        for (size_t i = 0; i < n; i++)
            if (listed[i] && !uhn_schedule_clamps(schedule, i))
                job->visited[job->n_visited++] = (uint32_t)i;
    }
    free(listed);
    return done;
}

/* The looks of a sweep. */
static looks make_looks(const settle_job *job, party *party, size_t t) {
    const uhn_schedule *schedule = job->schedule;
    const size_t sweep = schedule->first_sweep + t;
    const uint64_t stream = uhn_luck_stream(schedule->seed, sweep);
    const double temperature = uhn_schedule_temperature(schedule, t);
    const bool sync = schedule->order == UHN_ORDER_SYNC;
    size_t n = 0;
    if (!sync) uhn_schedule_sweep(schedule, job->engine.n_units, sweep, party->order);
    for (size_t c = 0; c < job->n_looks; c++) {
        const size_t i = sync ? c : (size_t)party->order[c];
        if (uhn_schedule_clamps(schedule, i)) continue;
        if (temperature > 0) party->luck[n] = uhn_uniform(uhn_random(stream, c));
        party->units[n++] = (uint32_t)i;
    }
    party->n_looks = n;
    return (looks){party->units, party->luck, temperature, job->tie};
}

/* One sweep; *after becomes the number of the look after the last that flipped its unit, or 0. */
static uhn_status sweep(const engine *e, const looks *l, size_t n_looks, int8_t *s, sums *sums,
                        size_t *after, uhn_loop *loop, int worker) {
    const size_t piece = UHN_MAX(WORK_OF_POLL / e->look, (size_t)1);
    size_t c = 0, work = 0;
    *after = 0;
    while (c < n_looks) {
        const size_t stop = UHN_MIN(c + piece, n_looks);
        const size_t found = walk(e, l, c, stop, s, sums);
        work += (found - c + 1) * e->look;
        if (found < stop) {
            flip(e, s, sums, l->units[found]);
            *after = found + 1;
            work += e->step;
        }
        c = found < stop ? found + 1 : stop;
        if (work >= WORK_OF_POLL) {
            if (uhn_loop_poll(loop, worker) != UHN_OK) return UHN_STOPPED;
            work = 0;
        }
    }
    return UHN_OK;
}

/* All units at once: `next` from `s` and the sums of all units. */
UHN_INLINE void step_of(const engine *e, network_form form, const looks *l, const int8_t *s,
                        const sums *sums, int8_t *next) {
    const int tie = l->tie;
    if (form != WEIGHTS && !e->network->bias) {
        for (size_t i = 0; i < e->n_units; i++) {
            const int64_t a = form == COUNTS16   ? sums->i32[i]
                              : form == COUNTS32 ? sums->i64[i]
                                                 : sums->whole[i];
            next[i] = (int8_t)(a > 0 ? 1 : a < 0 ? -1 : tie ? tie : s[i]);
        }
    } else {
        for (size_t i = 0; i < e->n_units; i++) {
            const double h = field(e, form, s, sums, i);
            next[i] = (int8_t)(h > 0 ? 1 : h < 0 ? -1 : tie ? tie : s[i]);
        }
    }
}

static void step(const engine *e, const uint8_t *clamped, const looks *l, size_t n_looks,
                 const int8_t *s, const sums *sums, int8_t *next) {
    if (l->temperature > 0) {
        memcpy(next, s, e->n_units);
        for (size_t c = 0; c < n_looks; c++) {
            const size_t i = l->units[c];
            next[i] = (int8_t)glauber(field_of_unit(e, s, sums, i), l->temperature, l->luck[c]);
        }
        return;
    }
    switch (e->form) {
    case COUNTS16: step_of(e, COUNTS16, l, s, sums, next); break;
    case COUNTS32: step_of(e, COUNTS32, l, s, sums, next); break;
    case WEIGHTS: step_of(e, WEIGHTS, l, s, sums, next); break;
    case COLUMNS: step_of(e, COLUMNS, l, s, sums, next);
    }
    for (size_t i = 0; clamped && i < e->n_units; i++) next[i] = clamped[i] ? s[i] : next[i];
}

/* Whether a state rests after a sweep at temperature 0. Units that were looked at after the last flip agree
 * with their fields; if every unit was looked at, the looks before are all there is to see. */
static uhn_status rests(const settle_job *job, const party *party, const int8_t *s,
                        const sums *sums, size_t after, bool *answer, uhn_loop *loop,
                        int worker) {
    const engine *e = &job->engine;
    const uhn_order order = job->schedule->order;
    const bool all =
        order == UHN_ORDER_SYNC || order == UHN_ORDER_REPLACEMENT || e->form == WEIGHTS;
    const looks l = {all ? job->visited : party->units, NULL, 0, job->tie};
    const size_t n = all ? job->n_visited : after;
    const size_t piece = UHN_MAX(WORK_OF_POLL / e->look, (size_t)1);
    *answer = true;
    for (size_t c = 0; c < n && *answer; c += piece) {
        const size_t stop = UHN_MIN(c + piece, n);
        if (c > 0 && uhn_loop_poll(loop, worker) != UHN_OK) return UHN_STOPPED;
        *answer = walk(e, &l, c, stop, s, sums) == stop;
    }
    return UHN_OK;
}

static void mark_stale(party *party, const int8_t *s, sums *sums) {
    party->stale_states[party->n_stale] = s;
    party->stale[party->n_stale++] = sums;
}

static uhn_status make_stale(const engine *e, party *party, uhn_loop *loop, int worker) {
    const size_t n = party->n_stale;
    party->n_stale = 0;
    return n == 0 ? UHN_OK
                  : make_sums(e, &party->bench, party->stale_states, party->stale, n, loop,
                              worker);
}

/* Runs states [first, first + n) to their end. */
static uhn_status settle_party(const settle_job *job, party *party, size_t first, size_t n,
                               uhn_loop *loop, int worker) {
    const engine *e = &job->engine;
    const uhn_schedule *schedule = job->schedule;
    const bool sync = schedule->order == UHN_ORDER_SYNC;
    const size_t n_units = e->n_units;
    sums all[MOST_STATES];
    size_t after[MOST_STATES], n_moving = n;
    bool moving[MOST_STATES];
    for (size_t k = 0; k < n; k++) {
        all[k] = (sums){.at = party->sums + k * e->stride,
                        .whole = party->whole ? party->whole + k * n_units : NULL};
        moving[k] = true;
        mark_stale(party, job->states + (first + k) * n_units, &all[k]);
    }
    for (size_t t = 0; t < schedule->n_sweeps && n_moving > 0; t++) {
        /* A sweep may be too little work to poll on its own, and there may be millions. */
        if (uhn_loop_poll(loop, worker) != UHN_OK) return UHN_STOPPED;
        const bool cold_before = t > 0 && !(uhn_schedule_temperature(schedule, t - 1) > 0);
        const looks l = make_looks(job, party, t);
        const bool cold = !(l.temperature > 0);
        uhn_status status = make_stale(e, party, loop, worker);
        if (status != UHN_OK) return status;
        for (size_t k = 0; k < n; k++) {
            if (!moving[k]) continue;
            int8_t *s = job->states + (first + k) * n_units;
            if (sync) {
                int8_t *old = party->before + (2 * k + (t & 1)) * n_units;
                memcpy(old, s, n_units);
                step(e, schedule->clamped, &l, party->n_looks, old, &all[k], s);
                after[k] = memcmp(old, s, n_units) != 0;
                status = uhn_loop_poll(loop, worker);
            } else {
                status = sweep(e, &l, party->n_looks, s, &all[k], &after[k], loop, worker);
            }
            if (status != UHN_OK) return status;
            job->sweeps[first + k] = (int64_t)t + 1;
            job->changed[first + k] = after[k] > 0;
            if (after[k] > 0 && (sync || e->form == WEIGHTS)) mark_stale(party, s, &all[k]);
        }
        if (!cold) continue;
        status = make_stale(e, party, loop, worker);
        if (status != UHN_OK) return status;
        for (size_t k = 0; k < n; k++) {
            if (!moving[k]) continue;
            const int8_t *s = job->states + (first + k) * n_units;
            const int8_t *before = sync ? party->before + (2 * k + (~t & 1)) * n_units : NULL;
            bool rest;
            status = rests(job, party, s, &all[k], after[k], &rest, loop, worker);
            if (status != UHN_OK) return status;
            if (rest) job->codes[first + k] = UHN_FIXED_POINT;
            else if (sync && cold_before && memcmp(s, before, n_units) == 0)
                job->codes[first + k] = UHN_TWO_CYCLE;
            else continue;
            moving[k] = false;
            n_moving--;
        }
    }
    return UHN_OK;
}

static uhn_status settle_group(void *context, size_t task, int worker, uhn_loop *loop) {
    const settle_job *job = context;
    const engine *e = &job->engine;
    const bool sync = job->schedule->order == UHN_ORDER_SYNC;
    const size_t first = task * job->group;
    const size_t n = UHN_MIN(job->group, job->n_states - first);
    party party = {.sums = uhn_alloc(n, e->stride, 1),
                   .order = uhn_alloc(sync ? 0 : job->n_looks, 1, sizeof *party.order),
                   .units = uhn_alloc(job->n_looks, 1, sizeof *party.units),
                   .luck = uhn_alloc(job->schedule->temperatures ? job->n_looks : 0, 1,
                                     sizeof *party.luck),
                   .before = uhn_alloc(sync ? n : 0, 2, e->n_units)};
    const bool whole = sync && e->form == COLUMNS;
    if (whole) party.whole = uhn_alloc(n, e->n_units, sizeof *party.whole);
    const bool ready = bench_begin(&party.bench, e, n) && (party.whole || !whole);
    uhn_status status = UHN_NO_MEMORY;
    if (ready && party.sums && party.order && party.units && party.luck && party.before)
        status = settle_party(job, &party, first, n, loop, worker);
    bench_end(&party.bench);
    free(party.sums);
    free(party.whole);
    free(party.order);
    free(party.units);
    free(party.luck);
    free(party.before);
    return status;
}

/* Threads that this much work deserves. */
static int threads_for(const uhn_run *run, size_t n_parts, size_t work_of_part) {
    const size_t least = UHN_MAX(WORK_OF_THREAD / UHN_MAX(work_of_part, (size_t)1), (size_t)1);
    const size_t most = UHN_MAX(n_parts / least, (size_t)1);
    return (int)UHN_MIN((size_t)uhn_run_threads(run), most);
}

/* States of a group: as many as there may be, but two groups for each of several threads. */
static size_t group_of(const engine *e, size_t n_states, int n_threads, bool all_sums) {
    const size_t columns = e->form == COLUMNS && all_sums ? 8 * e->n_units : 0;
    const size_t fit = GROUP_BYTES / (e->stride + columns);
    const size_t parts = n_threads > 1 ? 2 * (size_t)n_threads : 1;
    const size_t share = (n_states + parts - 1) / parts;
    return UHN_MAX(UHN_MIN(UHN_MIN(share, (size_t)MOST_STATES),
                           UHN_MAX(fit, (size_t)MANY_STATES)),
                   (size_t)1);
}

uhn_status uhn_network_settle(const uhn_network *network, const uhn_schedule *schedule,
                              const int8_t *start, size_t n_states, const uhn_run *run,
                              int8_t *states, int64_t *sweeps, uint8_t *codes, uint8_t *changed,
                              uhn_error *error) {
    if (error) *error = (uhn_error){.status = UHN_OK};
    settle_job job = {.schedule = schedule,
                      .n_states = n_states,
                      .states = states,
                      .sweeps = sweeps,
                      .codes = codes,
                      .changed = changed};
    engine *e = &job.engine;
    uhn_status status = engine_begin(e, network, run, error);
    if (status == UHN_OK) status = uhn_schedule_check(schedule, e->n_units, error);
    if (status == UHN_OK)
        status = check_states(start, n_states, e->n_units, "states", run, error);
    if (status != UHN_OK) {
        engine_end(e);
        return status;
    }
    job.n_looks = uhn_schedule_looks(schedule, e->n_units);
    job.tie = schedule->tie == UHN_TIE_PLUS ? 1 : schedule->tie == UHN_TIE_MINUS ? -1 : 0;
    if (!list_visited(&job)) {
        free(job.visited);
        engine_end(e);
        return uhn_no_memory(error);
    }
    memmove(states, start, n_states * e->n_units);
    memset(sweeps, 0, n_states * sizeof *sweeps);
    memset(codes, UHN_STEP_LIMIT, n_states);
    memset(changed, 0, n_states);
    const int n_threads = threads_for(run, n_states, e->work);
    e->spare_threads = n_threads > 1 ? 1 : threads_for(run, e->n_units, e->n_units / 16);
    job.group = group_of(e, n_states, n_threads, schedule->order == UHN_ORDER_SYNC);
    status = uhn_parallel_for((n_states + job.group - 1) / job.group, n_threads, run,
                              settle_group, &job);
    free(job.visited);
    engine_end(e);
    return status == UHN_NO_MEMORY ? uhn_no_memory(error) : status;
}

/* ---------------------------------------------------------------------- fields and energies -- */

typedef struct read_job {
    engine engine;
    const int8_t *states;
    size_t n_states, group;
    bool energies;
    double *out;
} read_job;

/* s^T C s, exact for whole numbers. */
static double quadratic(const engine *e, const int8_t *s, const sums *sums) {
    double sum = 0;
    __int128 whole = 0;
    switch (e->form) {
    case COUNTS16:
        for (size_t i = 0; i < e->n_units; i++) whole += s[i] * (int64_t)sums->i32[i];
        break;
    case COUNTS32:
        for (size_t i = 0; i < e->n_units; i++) whole += s[i] * sums->i64[i];
        break;
    case WEIGHTS:
        for (size_t i = 0; i < e->n_units; i++) sum += s[i] * sums->f64[i];
        return sum;
    case COLUMNS:
        for (size_t m = 0; m < e->network->n_patterns; m++) {
            const int64_t overlap = e->wide ? sums->i32[m] : sums->i16[m];
            whole += overlap * overlap;
        }
        if (!e->network->keep_diagonal) whole -= (__int128)e->network->n_patterns * e->n_units;
    }
    return (double)whole;
}

static double energy(const engine *e, const int8_t *s, const sums *sums) {
    double pull = 0;
    for (size_t i = 0; e->network->bias && i < e->n_units; i++)
        pull += e->network->bias[i] * s[i];
    return -0.5 * (e->network->scale * quadratic(e, s, sums)) - pull;
}

static void fields(const engine *e, const int8_t *s, const sums *sums, double *out) {
    for (size_t i = 0; i < e->n_units; i++) out[i] = field_of_unit(e, s, sums, i);
}

static uhn_status read_group(void *context, size_t task, int worker, uhn_loop *loop) {
    const read_job *job = context;
    const engine *e = &job->engine;
    const size_t first = task * job->group;
    const size_t n = UHN_MIN(job->group, job->n_states - first);
    const bool whole = e->form == COLUMNS && !job->energies;
    bench bench = {.table = NULL};
    char *space = uhn_alloc(n, e->stride, 1);
    int64_t *wholes = whole ? uhn_alloc(n, e->n_units, sizeof *wholes) : NULL;
    sums all[MOST_STATES], *list[MOST_STATES] = {NULL};
    const int8_t *states[MOST_STATES] = {NULL};
    uhn_status status = UHN_NO_MEMORY;
    if (bench_begin(&bench, e, n) && space && (wholes || !whole)) {
        for (size_t k = 0; k < n; k++) {
            all[k] = (sums){.at = space + k * e->stride,
                            .whole = whole ? wholes + k * e->n_units : NULL};
            list[k] = &all[k];
            states[k] = job->states + (first + k) * e->n_units;
        }
        status = make_sums(e, &bench, states, list, n, loop, worker);
        for (size_t k = 0; k < n && status == UHN_OK; k++) {
            if (job->energies) job->out[first + k] = energy(e, states[k], &all[k]);
            else fields(e, states[k], &all[k], job->out + (first + k) * e->n_units);
            status = uhn_loop_poll(loop, worker);
        }
    }
    bench_end(&bench);
    free(space);
    free(wholes);
    return status;
}

static uhn_status read_states(const uhn_network *network, const int8_t *states, size_t n_states,
                              const uhn_run *run, bool energies, double *out,
                              uhn_error *error) {
    if (error) *error = (uhn_error){.status = UHN_OK};
    read_job job = {.states = states, .n_states = n_states, .energies = energies, .out = out};
    engine *e = &job.engine;
    uhn_status status = engine_begin(e, network, run, error);
    if (status == UHN_OK)
        status = check_states(states, n_states, e->n_units, "states", run, error);
    if (status != UHN_OK) {
        engine_end(e);
        return status;
    }
    const int n_threads = threads_for(run, n_states, e->work);
    e->spare_threads = n_threads > 1 ? 1 : threads_for(run, e->n_units, e->n_units / 16);
    job.group = group_of(e, n_states, n_threads, !energies);
    status = uhn_parallel_for((n_states + job.group - 1) / job.group, n_threads, run,
                              read_group, &job);
    engine_end(e);
    return status == UHN_NO_MEMORY ? uhn_no_memory(error) : status;
}

uhn_status uhn_network_fields(const uhn_network *network, const int8_t *states, size_t n_states,
                              const uhn_run *run, double *out, uhn_error *error) {
    return read_states(network, states, n_states, run, false, out, error);
}

uhn_status uhn_network_energies(const uhn_network *network, const int8_t *states,
                                size_t n_states, const uhn_run *run, double *out,
                                uhn_error *error) {
    return read_states(network, states, n_states, run, true, out, error);
}

/* ------------------------------------------------------------------------------------ Hebb -- */

/* Rows of the counts are shared out among threads; a row's number i asks for sum_mu xi_mu,i xi_mu, a
 * sum of the patterns under the signs that unit i has in them. */

enum {
    HEBB_ROWS = 256, /* of a task */
    HEBB_FEW = 8     /* patterns that are added as they come */
};

typedef struct hebb_job {
    int32_t *counts;
    size_t n_units;
    const int8_t *patterns;
    size_t n_patterns;
    int sign;
    size_t n_nibbles; /* of a unit: one for four patterns */
    size_t *done;     /* columns that each task has changed */
    int16_t *sums;    /* of each thread: HEBB_ROWS x UHN_BYTES */
    char *table;      /* of each thread: UHN_TABLE */
    uint8_t *nibbles; /* of each thread: HEBB_ROWS x n_nibbles */
    bool undo;
} hebb_job;

/* counts += sign sums over n numbers; false if one left its type (and went round). */
static bool add_counts(int32_t *counts, const int16_t *sums, int sign, size_t n) {
    int32_t over = 0;
    for (size_t i = 0; i < n; i++) {
        const int32_t a = counts[i], b = sign * sums[i];
        const int32_t c = (int32_t)((uint32_t)a + (uint32_t)b);
        over |= (a ^ c) & (b ^ c);
        counts[i] = c;
    }
    return over >= 0;
}

/* Columns [from, to) of rows [first, stop) by tables. */
static bool hebb_many(const hebb_job *job, const uint8_t *nibbles, size_t first, size_t stop,
                      size_t from, size_t to, int sign, void *table, int16_t *sums) {
    const uhn_bit_kernels *kernels = uhn_bit_kernels_of_cpu();
    const size_t n = job->n_units;
    const size_t most = INT16_MAX / UHN_BYTE_ROWS * UHN_BYTE_ROWS; /* whose sums fit int16 */
    bool fits = true;
    for (size_t begin = 0; begin < job->n_patterns; begin += most) {
        const size_t end = UHN_MIN(begin + most, job->n_patterns);
        memset(sums, 0, (stop - first) * UHN_BYTES * sizeof *sums);
        for (size_t m = begin; m < end; m += UHN_BYTE_ROWS)
            kernels->many_i8(job->patterns + m * n + from, n,
                             UHN_MIN(end - m, (size_t)UHN_BYTE_ROWS), to - from, table,
                             nibbles + m / 4, job->n_nibbles, stop - first, sums);
        for (size_t row = first; row < stop; row++)
            fits &= add_counts(job->counts + row * n + from, sums + (row - first) * UHN_BYTES,
                               sign, to - from);
    }
    return fits;
}

/* The same, pattern by pattern. */
static bool hebb_few(const hebb_job *job, size_t first, size_t stop, size_t from, size_t to,
                     int sign, int16_t *sums) {
    const size_t n = job->n_units;
    bool fits = true;
    for (size_t row = first; row < stop; row++) {
        for (size_t m = 0; m < job->n_patterns; m++) {
            const int8_t *pattern = job->patterns + m * n;
            const int own = pattern[row];
            for (size_t i = from; i < to; i++)
                sums[i - from] = (int16_t)((m ? sums[i - from] : 0) + own * pattern[i]);
        }
        fits &= add_counts(job->counts + row * n + from, sums, sign, to - from);
    }
    return fits;
}

/* The signs that units [first, stop) have in patterns 4 g to 4 g + 3 as bits of number g of each. */
static uhn_status hebb_nibbles(const hebb_job *job, size_t first, size_t stop, uint8_t *nibbles,
                               uhn_loop *loop, int worker) {
    const size_t n = job->n_units;
    for (size_t g = 0; g < job->n_nibbles; g++) {
        const size_t n_here = UHN_MIN(job->n_patterns - 4 * g, (size_t)4);
        uint8_t bits[HEBB_ROWS] = {0};
        for (size_t k = 0; k < n_here; k++) {
            const int8_t *row = job->patterns + (4 * g + k) * n + first;
            for (size_t i = 0; i < stop - first; i++) bits[i] |= (uint8_t)((row[i] > 0) << k);
        }
        for (size_t i = 0; i < stop - first; i++) nibbles[i * job->n_nibbles + g] = bits[i];
        if (g % 1024 == 1023 && uhn_loop_poll(loop, worker) != UHN_OK) return UHN_STOPPED;
    }
    return UHN_OK;
}

/* One task: changes its rows some columns at a time, or changes back what it has changed (in a loop that
 * nothing stops). */
static uhn_status hebb_rows(void *context, size_t task, int worker, uhn_loop *loop) {
    const hebb_job *job = context;
    const size_t n = job->n_units, first = task * HEBB_ROWS;
    const size_t stop = UHN_MIN(first + HEBB_ROWS, n);
    const bool few = job->n_patterns < HEBB_FEW;
    const size_t width = few ? (size_t)HEBB_ROWS * UHN_BYTES : UHN_BYTES;
    const size_t end = job->undo ? job->done[task] : n;
    const int sign = job->undo ? -job->sign : job->sign;
    int16_t *sums = job->sums + (size_t)worker * HEBB_ROWS * UHN_BYTES;
    char *table = job->table + (size_t)worker * UHN_TABLE;
    uint8_t *nibbles = job->nibbles + (size_t)worker * HEBB_ROWS * job->n_nibbles;
    if (!few && end > 0 && hebb_nibbles(job, first, stop, nibbles, loop, worker) != UHN_OK)
        return UHN_STOPPED;
    for (size_t from = 0; from < end; from += width) {
        const size_t to = UHN_MIN(from + width, end);
        if (uhn_loop_poll(loop, worker) != UHN_OK) return UHN_STOPPED;
        const bool fits =
            few ? hebb_few(job, first, stop, from, to, sign, sums)
                : hebb_many(job, nibbles, first, stop, from, to, sign, table, sums);
        if (job->undo) continue;
        job->done[task] = to;
        if (!fits) return UHN_OVERFLOW;
    }
    return UHN_OK;
}

uhn_status uhn_network_hebb(int32_t *counts, size_t n_units, const int8_t *patterns,
                            size_t n_patterns, int sign, const uhn_run *run, uhn_error *error) {
    if (error) *error = (uhn_error){.status = UHN_OK};
    if (sign != 1 && sign != -1)
        return uhn_fail(error, UHN_BAD_PARAMETER, "sign must be 1 or -1, got %d", sign);
    if (n_patterns > INT32_MAX)
        return uhn_fail(error, UHN_OVERFLOW, "%zu patterns do not fit counts of int32",
                        n_patterns);
    uhn_status status = check_states(patterns, n_patterns, n_units, "patterns", run, error);
    if (status != UHN_OK || n_patterns == 0 || n_units == 0) return status;
    const bool few = n_patterns < HEBB_FEW;
    const size_t n_tasks = (n_units + HEBB_ROWS - 1) / HEBB_ROWS;
    const size_t work = n_units / 64 * HEBB_ROWS * (n_patterns / 4 + 8);
    const int n_threads = threads_for(run, n_tasks, work);
    hebb_job job = {.counts = counts,
                    .n_units = n_units,
                    .patterns = patterns,
                    .n_patterns = n_patterns,
                    .sign = sign,
                    .n_nibbles = (n_patterns + 3) / 4};
    job.nibbles = uhn_alloc(few ? 0 : (size_t)n_threads * HEBB_ROWS, job.n_nibbles, 1);
    job.done = uhn_alloc(n_tasks, 1, sizeof *job.done);
    job.sums = uhn_alloc((size_t)n_threads, HEBB_ROWS * UHN_BYTES, sizeof *job.sums);
    job.table = uhn_alloc(few ? 0 : (size_t)n_threads, UHN_TABLE, 1);
    status = UHN_NO_MEMORY;
    if (job.nibbles && job.done && job.sums && job.table) {
        memset(job.done, 0, n_tasks * sizeof *job.done);
        status = uhn_parallel_for(n_tasks, n_threads, run, hebb_rows, &job);
        job.undo = true;
        if (status != UHN_OK) uhn_parallel_for(n_tasks, n_threads, NULL, hebb_rows, &job);
    }
    free(job.nibbles);
    free(job.done);
    free(job.sums);
    free(job.table);
    if (status == UHN_NO_MEMORY) return uhn_no_memory(error);
    if (status == UHN_OVERFLOW)
        return uhn_fail(error, status, "with %zu more patterns a count leaves int32",
                        n_patterns);
    return status;
}
