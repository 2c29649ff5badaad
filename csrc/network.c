/*
 * network.c - networks of two-state units with couplings between pairs (layer 4).
 *
 * May include: order.h, cpu.h, scalar.h, threads.h.
 *
 *     h_i = scale a_i + b_i,   a_i = sum_j C_ij s_j,   s_i := sign(h_i)
 *
 * What a unit does is read off sums a_i that are kept: a unit that does not flip costs one comparison, and
 * one that does adds 2 s_j C_.j to all of them. In pattern form, C = sum xi xi^T, the overlaps
 * m_mu = sum_j xi_mu,j s_j are kept instead, and a_i = sum_mu xi_mu,i m_mu is two additions a pattern
 * for whoever is asked; no matrix is needed.
 *
 * States are independent of one another. They are taken in groups, which share the order of each sweep and
 * the reading of the couplings, and groups are shared out among threads.
 */
#include "cpu.h"
#include "order.h"
#include "scalar.h"
#include "threads.h"

typedef enum network_form { COUNTS16, COUNTS32, WEIGHTS, COLUMNS } network_form;

/* 2 / ln 2: e^(-2 x) = 2^(-TWICE_LOG2E x). */
#define TWICE_LOG2E 0x1.71547652b82fep+1

enum {
    MOST_STATES = 32,         /* of a group */
    WORK_OF_THREAD = 1 << 18, /* additions that are worth a thread */
    POLL_WORK = 1 << 21       /* additions between two polls */
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
    /* Fields of int16 counts are int32, and overlaps are added in int32 a few hundred at a time. */
    const size_t limit = *form == COUNTS16  ? (size_t)1 << 16
                         : *form == COLUMNS ? (size_t)1 << 21
                                            : (size_t)1 << 31;
    if (network->n_units >= limit)
        return uhn_fail(error, UHN_BAD_SHAPE,
                        "this form of couplings is for fewer than %zu units", limit);
    return UHN_OK;
}

/* UHN_OK if every unit is +1 or -1. */
static uhn_status check_states(const int8_t *states, size_t n_rows, size_t n_units,
                               const char *what, uhn_error *error) {
    for (size_t r = 0; r < n_rows; r++) {
        const int8_t *row = states + r * n_units;
        unsigned wrong = 0;
        for (size_t i = 0; i < n_units; i++) wrong |= (row[i] != 1) & (row[i] != -1);
        for (size_t i = 0; wrong && i < n_units; i++)
            if (row[i] != 1 && row[i] != -1)
                return uhn_fail(error, UHN_BAD_DATA, "%s[%zu, %zu] is %d, neither 1 nor -1",
                                what, r, i, row[i]);
    }
    return UHN_OK;
}

/* ------------------------------------------------------------------------------------ sums -- */

/* What is the same for all states of a call. */
typedef struct engine {
    const uhn_network *network;
    const uhn_bit_kernels *kernels;
    network_form form;
    size_t n_units, n_words; /* words of a column */
    size_t stride;           /* bytes of the sums of one state */
} engine;

/* The sums of one state: a_i as the form has them, or overlaps and their total. */
typedef struct sums {
    union {
        void *at;
        int32_t *i32; /* counts16; overlaps of columns */
        int64_t *i64; /* counts32 */
        double *f64;  /* weights */
    };
    int64_t total; /* of the overlaps */
} sums;

static uhn_status engine_begin(engine *e, const uhn_network *network, uhn_error *error) {
    *e = (engine){.network = network,
                  .kernels = uhn_bit_kernels_of_cpu(),
                  .n_units = network->n_units,
                  .n_words = (network->n_patterns + 31) / 32};
    const uhn_status status = check_network(network, &e->form, error);
    if (status != UHN_OK) return status;
    const size_t n = e->form == COLUMNS ? 32 * e->n_words : e->n_units;
    const size_t size = e->form == COUNTS16 || e->form == COLUMNS ? 4 : 8;
    e->stride = uhn_round_up(UHN_MAX(n, (size_t)1) * size, UHN_ALIGNMENT);
    return UHN_OK;
}

/* Additions that the sums of one state take. */
static size_t engine_work(const engine *e) {
    const size_t width = e->form == COLUMNS ? e->n_words : e->n_units;
    return e->n_units * UHN_MAX(width, (size_t)1);
}

/* C_ii, whole numbers alone. */
static int64_t diagonal(const engine *e, size_t i) {
    switch (e->form) {
    case COUNTS16: return e->network->counts16[i * (e->n_units + 1)];
    case COUNTS32: return e->network->counts32[i * (e->n_units + 1)];
    default: return (int64_t)e->network->n_patterns;
    }
}

/* Adds `step` times what unit j does to the others, step being 1, -1, 2 or -2. A diagonal that does not
 * count is left out at the end of a sum (finish_sums), and here put right for a flip. */
static void add_unit(const engine *e, sums *sums, size_t j, int step) {
    const size_t n = e->n_units;
    switch (e->form) {
    case COUNTS16: e->kernels->add_i16(e->network->counts16 + j * n, step, n, sums->i32); break;
    case COUNTS32: e->kernels->add_i32(e->network->counts32 + j * n, step, n, sums->i64); break;
    case WEIGHTS: e->kernels->add_f64(e->network->weights + j * n, step, n, sums->f64); break;
    case COLUMNS:
        e->kernels->masked_step(e->network->columns + j * e->n_words, e->n_words, step,
                                sums->i32);
    }
}

/* Overlaps beyond the last pattern have moved with the others: back to 0, and the total anew. */
static void total_overlaps(const engine *e, sums *sums) {
    int64_t total = 0;
    for (size_t m = 0; m < e->network->n_patterns; m++) total += sums->i32[m];
    for (size_t m = e->network->n_patterns; m < 32 * e->n_words; m++) sums->i32[m] = 0;
    sums->total = total;
}

/* The sums of a state from nothing. */
static uhn_status make_sums(const engine *e, const int8_t *s, sums *sums, uhn_loop *loop,
                            int worker) {
    const size_t n = e->n_units;
    const size_t often = UHN_MAX(POLL_WORK / UHN_MAX(engine_work(e) / n, (size_t)1), (size_t)1);
    memset(sums->at, 0, e->stride);
    for (size_t j = 0; j < n; j++) {
        if (j % often == often - 1 && uhn_loop_poll(loop, worker) != UHN_OK) return UHN_STOPPED;
        add_unit(e, sums, j, s[j]);
    }
    if (e->form == COLUMNS) total_overlaps(e, sums);
    if (!e->network->keep_diagonal)
        for (size_t i = 0; i < n; i++) {
            if (e->form == COUNTS16) sums->i32[i] -= (int32_t)diagonal(e, i) * s[i];
            if (e->form == COUNTS32) sums->i64[i] -= diagonal(e, i) * s[i];
        }
    return UHN_OK;
}

/* Unit i, which is s_i, is turned round. */
static void flip(const engine *e, int8_t *s, sums *sums, size_t i) {
    s[i] = (int8_t)-s[i];
    add_unit(e, sums, i, 2 * s[i]);
    if (e->form == COLUMNS) total_overlaps(e, sums);
    if (!e->network->keep_diagonal) {
        if (e->form == COUNTS16) sums->i32[i] -= 2 * s[i] * (int32_t)diagonal(e, i);
        if (e->form == COUNTS32) sums->i64[i] -= 2 * s[i] * diagonal(e, i);
    }
}

/* a_i of whole numbers. */
static int64_t whole_sum(const engine *e, const int8_t *s, const sums *sums, size_t i) {
    switch (e->form) {
    case COUNTS16: return sums->i32[i];
    case COUNTS32: return sums->i64[i];
    default: {
        const int64_t set =
            e->kernels->masked_sum(e->network->columns + i * e->n_words, e->n_words, sums->i32);
        const int64_t own = e->network->keep_diagonal ? 0 : diagonal(e, i) * s[i];
        return 2 * set - sums->total - own;
    }
    }
}

static double field(const engine *e, const int8_t *s, const sums *sums, size_t i) {
    const double a = e->form == WEIGHTS ? sums->f64[i] : (double)whole_sum(e, s, sums, i);
    const double h = e->network->scale * a;
    return e->network->bias ? h + e->network->bias[i] : h;
}

/* ---------------------------------------------------------------------------------- settle -- */

typedef struct settle_job {
    engine engine;
    const uhn_schedule *schedule;
    size_t n_looks; /* of a sweep */
    int tie;        /* 0: keep, else what a unit becomes */
    uint32_t *visited;
    size_t
        n_visited; /* units that the schedule can visit, none twice, those that are clamped left out */
    size_t n_states, group;
    int8_t *states;
    int64_t *sweeps;
    uint8_t *codes, *changed;
} settle_job;

/* What one group of states needs. */
typedef struct party {
    char *sums;      /* group x stride */
    int64_t *order;  /* n_looks */
    uint32_t *looks; /* those of `order` that are not clamped */
    double *luck;    /* one a look */
    int8_t *before;  /* synchronous: group x n_units, two steps ago */
    int8_t *next;    /* synchronous: n_units */
    size_t n_looks;
} party;

/* True if a unit with this field does not want to flip. */
UHN_INLINE bool agrees(double h, int s, int tie) {
    return h > 0 ? s > 0 : h < 0 ? s < 0 : tie * s >= 0;
}

/* Glauber: +1 with probability 1 / (1 + e^(-2 h / T)). */
static int glauber(double h, double temperature, double luck) {
    const double p = 1 / (1 + uhn_exp2(h / temperature * -TWICE_LOG2E));
    return luck < p ? 1 : -1;
}

static int wish(double h, int s, int tie) { return h > 0 ? 1 : h < 0 ? -1 : tie ? tie : s; }

/* Marks visited units; false if there is no memory. */
static bool list_visited(settle_job *job) {
    const uhn_schedule *schedule = job->schedule;
    const size_t n = job->engine.n_units;
    uint8_t *listed = uhn_alloc(n, 1, 1);
    job->visited = uhn_alloc(n, 1, sizeof *job->visited);
    if (listed && job->visited) {
        memset(listed, schedule->order != UHN_ORDER_GIVEN, n);
        if (schedule->order == UHN_ORDER_GIVEN)
            for (size_t i = 0; i < schedule->n_given; i++) listed[schedule->given[i]] = 1;
        for (size_t i = 0; i < n; i++)
            if (listed[i] && !(schedule->clamped && schedule->clamped[i]))
                job->visited[job->n_visited++] = (uint32_t)i;
    }
    const bool done = listed && job->visited;
    free(listed);
    return done;
}

/* The looks of a sweep, and their luck if there is a temperature. */
static void make_looks(const settle_job *job, party *party, size_t sweep, bool hot) {
    const uhn_schedule *schedule = job->schedule;
    const uint64_t stream = uhn_luck_stream(schedule->seed, sweep);
    const bool sync = schedule->order == UHN_ORDER_SYNC;
    if (!sync) uhn_schedule_sweep(schedule, job->engine.n_units, sweep, party->order);
    party->n_looks = 0;
    for (size_t c = 0; c < job->n_looks; c++) {
        const size_t i = sync ? c : (size_t)party->order[c];
        if (schedule->clamped && schedule->clamped[i]) continue;
        if (hot) party->luck[party->n_looks] = uhn_uniform(uhn_random(stream, c));
        party->looks[party->n_looks++] = (uint32_t)i;
    }
}

/* One sweep over one state. */
static uhn_status sweep_async(const settle_job *job, const party *party, double temperature,
                              int8_t *s, sums *sums, bool *changed, uhn_loop *loop,
                              int worker) {
    const engine *e = &job->engine;
    const size_t often = UHN_MAX(POLL_WORK / (engine_work(e) / e->n_units), (size_t)1);
    *changed = false;
    for (size_t c = 0; c < party->n_looks; c++) {
        if (c % often == often - 1 && uhn_loop_poll(loop, worker) != UHN_OK) return UHN_STOPPED;
        const size_t i = party->looks[c];
        const double h = field(e, s, sums, i);
        const int wanted =
            temperature > 0 ? glauber(h, temperature, party->luck[c]) : wish(h, s[i], job->tie);
        if (wanted == s[i]) continue;
        flip(e, s, sums, i);
        *changed = true;
    }
    return UHN_OK;
}

/* All units at once; the sums are left as they were. */
static uhn_status step_sync(const settle_job *job, const party *party, double temperature,
                            int8_t *s, const sums *sums, bool *changed, uhn_loop *loop,
                            int worker) {
    const engine *e = &job->engine;
    const size_t often = UHN_MAX(POLL_WORK / (engine_work(e) / e->n_units), (size_t)1);
    *changed = false;
    memcpy(party->next, s, e->n_units);
    for (size_t c = 0; c < party->n_looks; c++) {
        if (c % often == often - 1 && uhn_loop_poll(loop, worker) != UHN_OK) return UHN_STOPPED;
        const size_t i = party->looks[c];
        const double h = field(e, s, sums, i);
        const int wanted =
            temperature > 0 ? glauber(h, temperature, party->luck[c]) : wish(h, s[i], job->tie);
        party->next[i] = (int8_t)wanted;
        *changed |= wanted != s[i];
    }
    memcpy(s, party->next, e->n_units);
    return UHN_OK;
}

static uhn_status rests(const settle_job *job, const int8_t *s, const sums *sums, bool *answer,
                        uhn_loop *loop, int worker) {
    const engine *e = &job->engine;
    const size_t often = UHN_MAX(POLL_WORK / (engine_work(e) / e->n_units), (size_t)1);
    *answer = true;
    for (size_t v = 0; v < job->n_visited && *answer; v++) {
        if (v % often == often - 1 && uhn_loop_poll(loop, worker) != UHN_OK) return UHN_STOPPED;
        const size_t i = job->visited[v];
        *answer = agrees(field(e, s, sums, i), s[i], job->tie);
    }
    return UHN_OK;
}

/* Runs states [first, first + n) to their end. */
static uhn_status settle_party(const settle_job *job, party *party, size_t first, size_t n,
                               uhn_loop *loop, int worker) {
    const engine *e = &job->engine;
    const uhn_schedule *schedule = job->schedule;
    const bool sync = schedule->order == UHN_ORDER_SYNC;
    const size_t n_units = e->n_units;
    sums sums[MOST_STATES];
    bool moving[MOST_STATES];
    size_t n_moving = n;
    uhn_status status = UHN_OK;
    for (size_t k = 0; k < n; k++) {
        sums[k].at = party->sums + k * e->stride;
        moving[k] = true;
        if (schedule->n_sweeps == 0) continue;
        status = make_sums(e, job->states + (first + k) * n_units, &sums[k], loop, worker);
        if (status != UHN_OK) return status;
    }
    for (size_t t = 0; t < schedule->n_sweeps && n_moving > 0; t++) {
        const double temperature = schedule->temperatures ? schedule->temperatures[t] : 0;
        const bool cold_before =
            t > 0 && !(schedule->temperatures && schedule->temperatures[t - 1] > 0);
        const bool last = t + 1 == schedule->n_sweeps;
        make_looks(job, party, schedule->first_sweep + t, temperature > 0);
        for (size_t k = 0; k < n; k++) {
            if (!moving[k]) continue;
            int8_t *s = job->states + (first + k) * n_units;
            int8_t *before = sync ? party->before + 2 * k * n_units : NULL;
            bool changed, cycles = false, rest = false;
            if (sync) memcpy(before + (t & 1) * n_units, s, n_units);
            status =
                sync
                    ? step_sync(job, party, temperature, s, &sums[k], &changed, loop, worker)
                    : sweep_async(job, party, temperature, s, &sums[k], &changed, loop, worker);
            if (status != UHN_OK) return status;
            if (sync && changed && t > 0 && temperature == 0 && cold_before)
                cycles = memcmp(s, before + (~t & 1) * n_units, n_units) == 0;
            if (changed && (sync || e->form == WEIGHTS) && !(last && temperature > 0)) {
                status = make_sums(e, s, &sums[k], loop, worker);
                if (status != UHN_OK) return status;
            }
            if (temperature == 0) {
                rest = !changed && schedule->order != UHN_ORDER_REPLACEMENT;
                if (!rest) status = rests(job, s, &sums[k], &rest, loop, worker);
                if (status != UHN_OK) return status;
            }
            job->sweeps[first + k] = (int64_t)t + 1;
            job->changed[first + k] = changed;
            if (rest) job->codes[first + k] = UHN_FIXED_POINT;
            else if (cycles) job->codes[first + k] = UHN_TWO_CYCLE;
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
                   .looks = uhn_alloc(job->n_looks, 1, sizeof *party.looks),
                   .luck = uhn_alloc(job->schedule->temperatures ? job->n_looks : 0, 1,
                                     sizeof *party.luck),
                   .before = uhn_alloc(sync ? n : 0, 2, e->n_units),
                   .next = uhn_alloc(sync ? e->n_units : 0, 1, 1)};
    uhn_status status = UHN_NO_MEMORY;
    if (party.sums && party.order && party.looks && party.luck && party.before && party.next)
        status = settle_party(job, &party, first, n, loop, worker);
    free(party.sums);
    free(party.order);
    free(party.looks);
    free(party.luck);
    free(party.before);
    free(party.next);
    return status;
}

/* Threads that this much work deserves. */
static int threads_for(const uhn_run *run, size_t n_states, size_t work) {
    const size_t least = UHN_MAX(WORK_OF_THREAD / UHN_MAX(work, (size_t)1), (size_t)1);
    const size_t most = UHN_MAX(n_states / least, (size_t)1);
    return (int)UHN_MIN((size_t)uhn_run_threads(run), most);
}

static size_t group_of(size_t n_states, int n_threads) {
    const size_t share = n_states / (4 * (size_t)n_threads);
    return UHN_MIN(UHN_MAX(share, (size_t)1), (size_t)MOST_STATES);
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
    uhn_status status = engine_begin(&job.engine, network, error);
    if (status == UHN_OK) status = uhn_schedule_check(schedule, network->n_units, error);
    if (status == UHN_OK)
        status = check_states(start, n_states, network->n_units, "states", error);
    if (status != UHN_OK) return status;
    job.n_looks = uhn_schedule_looks(schedule, network->n_units);
    job.tie = schedule->tie == UHN_TIE_PLUS ? 1 : schedule->tie == UHN_TIE_MINUS ? -1 : 0;
    if (!list_visited(&job)) {
        free(job.visited);
        return uhn_no_memory(error);
    }
    memmove(states, start, n_states * network->n_units);
    memset(sweeps, 0, n_states * sizeof *sweeps);
    memset(codes, UHN_STEP_LIMIT, n_states);
    memset(changed, 0, n_states);
    const int n_threads = threads_for(run, n_states, engine_work(&job.engine));
    job.group = group_of(n_states, n_threads);
    status = uhn_parallel_for((n_states + job.group - 1) / job.group, n_threads, run,
                              settle_group, &job);
    free(job.visited);
    return status == UHN_NO_MEMORY ? uhn_no_memory(error) : status;
}

/* ---------------------------------------------------------------------- fields and energies -- */

typedef struct read_job {
    engine engine;
    const int8_t *states;
    double *out;
    bool energies;
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
        for (size_t m = 0; m < e->network->n_patterns; m++)
            whole += (int64_t)sums->i32[m] * sums->i32[m];
        if (!e->network->keep_diagonal) whole -= (__int128)e->network->n_patterns * e->n_units;
    }
    return (double)whole;
}

static uhn_status read_state(void *context, size_t task, int worker, uhn_loop *loop) {
    const read_job *job = context;
    const engine *e = &job->engine;
    const int8_t *s = job->states + task * e->n_units;
    sums sums = {.at = uhn_alloc(e->stride, 1, 1)};
    if (!sums.at) return UHN_NO_MEMORY;
    uhn_status status = make_sums(e, s, &sums, loop, worker);
    if (status == UHN_OK && job->energies) {
        double pull = 0;
        for (size_t i = 0; e->network->bias && i < e->n_units; i++)
            pull += e->network->bias[i] * s[i];
        job->out[task] = -0.5 * (e->network->scale * quadratic(e, s, &sums)) - pull;
    } else if (status == UHN_OK) {
        const size_t often = UHN_MAX(POLL_WORK / (engine_work(e) / e->n_units), (size_t)1);
        for (size_t i = 0; i < e->n_units && status == UHN_OK; i++) {
            if (i % often == often - 1) status = uhn_loop_poll(loop, worker);
            job->out[task * e->n_units + i] = field(e, s, &sums, i);
        }
    }
    free(sums.at);
    return status;
}

static uhn_status read_states(const uhn_network *network, const int8_t *states, size_t n_states,
                              const uhn_run *run, bool energies, double *out,
                              uhn_error *error) {
    if (error) *error = (uhn_error){.status = UHN_OK};
    read_job job = {.states = states, .out = out, .energies = energies};
    uhn_status status = engine_begin(&job.engine, network, error);
    if (status == UHN_OK)
        status = check_states(states, n_states, network->n_units, "states", error);
    if (status != UHN_OK) return status;
    const int n_threads = threads_for(run, n_states, engine_work(&job.engine));
    status = uhn_parallel_for(n_states, n_threads, run, read_state, &job);
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

enum { HEBB_ROWS = 16 }; /* of a task */

typedef struct hebb_job {
    int32_t *counts;
    const int8_t *patterns;
    size_t n_units, n_patterns;
    int sign;
    uint8_t *done; /* one a task: 1 if its rows are changed */
} hebb_job;

/* Adds to one row of counts; with `undo` what was added is taken away, and nothing can overflow. */
static bool hebb_row(const hebb_job *job, size_t row, int sign, int32_t *sum) {
    const size_t n = job->n_units;
    int32_t *counts = job->counts + row * n;
    memset(sum, 0, n * sizeof *sum);
    for (size_t m = 0; m < job->n_patterns; m++) {
        const int8_t *pattern = job->patterns + m * n;
        const int32_t own = sign * pattern[row];
        for (size_t i = 0; i < n; i++) sum[i] += own * pattern[i];
    }
    int32_t over = 0;
    for (size_t i = 0; i < n; i++) {
        const int32_t a = counts[i], b = sum[i], c = (int32_t)((uint32_t)a + (uint32_t)b);
        over |= (a ^ c) & (b ^ c);
        counts[i] = c;
    }
    return over >= 0;
}

static uhn_status hebb_rows(void *context, size_t task, int worker, uhn_loop *loop) {
    hebb_job *job = context;
    const size_t first = task * HEBB_ROWS;
    const size_t stop = UHN_MIN(first + HEBB_ROWS, job->n_units);
    int32_t *sum = uhn_alloc(job->n_units, 1, sizeof *sum);
    if (!sum) return UHN_NO_MEMORY;
    uhn_status status = UHN_OK;
    size_t row = first;
    while (status == UHN_OK && row < stop) {
        status = uhn_loop_poll(loop, worker);
        if (status == UHN_OK && !hebb_row(job, row++, job->sign, sum)) status = UHN_OVERFLOW;
    }
    /* A task that fails leaves its rows as they were; one that does not is undone by the caller. */
    while (status != UHN_OK && row > first) hebb_row(job, --row, -job->sign, sum);
    job->done[task] = status == UHN_OK;
    free(sum);
    return status;
}

static uhn_status hebb_undo(void *context, size_t task, int worker, uhn_loop *loop) {
    hebb_job *job = context;
    (void)worker;
    (void)loop;
    if (!job->done[task]) return UHN_OK;
    const size_t first = task * HEBB_ROWS;
    const size_t stop = UHN_MIN(first + HEBB_ROWS, job->n_units);
    for (size_t row = first; row < stop; row++) {
        int32_t *counts = job->counts + row * job->n_units;
        for (size_t m = 0; m < job->n_patterns; m++) {
            const int8_t *pattern = job->patterns + m * job->n_units;
            const uint32_t own = (uint32_t)(-job->sign * pattern[row]);
            for (size_t i = 0; i < job->n_units; i++)
                counts[i] = (int32_t)((uint32_t)counts[i] + own * (uint32_t)pattern[i]);
        }
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
    uhn_status status = check_states(patterns, n_patterns, n_units, "patterns", error);
    if (status != UHN_OK || n_patterns == 0 || n_units == 0) return status;
    const size_t n_tasks = (n_units + HEBB_ROWS - 1) / HEBB_ROWS;
    hebb_job job = {.counts = counts,
                    .patterns = patterns,
                    .n_units = n_units,
                    .n_patterns = n_patterns,
                    .sign = sign,
                    .done = uhn_alloc(n_tasks, 1, 1)};
    if (!job.done) return uhn_no_memory(error);
    memset(job.done, 0, n_tasks);
    const int n_threads = threads_for(run, n_units, n_units * n_patterns / 8);
    status = uhn_parallel_for(n_tasks, n_threads, run, hebb_rows, &job);
    if (status != UHN_OK) uhn_parallel_for(n_tasks, n_threads, NULL, hebb_undo, &job);
    free(job.done);
    if (status == UHN_NO_MEMORY) return uhn_no_memory(error);
    if (status == UHN_OVERFLOW)
        return uhn_fail(error, status,
                        "a count would leave the range of int32 with %zu more patterns",
                        n_patterns);
    return status;
}
