/*
 * learning.c - rules that learn couplings pattern by pattern (layer 4).
 *
 * May include: platform.h, threads.h, order.h, cpu.h.
 *
 *     Storkey      w_ij += (x_i x_j - x_i h_ji - h_ij x_j) / n,  h_ij = sum_{k != i,j} w_ik x_k
 *     perceptron   w_ij += x_i x_j of the pattern on which unit i is least stable, until
 *                  x_i sum_j w_ij x_j >= kappa |w_i| on every pattern
 *     unlearning   w_ij -= step s_i s_j of a state s that a random state has settled to
 *
 * Sums run over the units in ascending order, whatever the number of threads: a thread owns columns
 * (Storkey) or units (perceptron), never a part of a sum.
 */
#include "cpu.h"
#include "order.h"
#include "threads.h"

/* ----------------------------------------------------------------------------------- Storkey -- */

/* Columns of one task: the pieces of its vectors stay in the nearest cache. */
enum { COLUMNS = 256, ROWS_PER_POLL = 64 };

typedef struct storkey {
    double *weights;
    const uint8_t *mask;
    size_t n_units;
    const double *now, *fields; /* the pattern to learn and its fields; NULL: only add up */
    const double *next;         /* the pattern whose fields are added up; NULL: none */
    double *next_fields;
} storkey;

/* Row j of the weights, columns [first, last): w_ji takes in the pattern, then w_ji x'_j is added to
 * the field of i under the next one. As w_ij = w_ji the rows serve as columns. Both h are without
 * w_ij's own part, x_i h_ji = x_i h_j - w_ij, and what is added is the same number for (i, j) and
 * (j, i) to the last bit. */
static void storkey_row(const storkey *self, size_t j, size_t first, size_t last) {
    const double n = (double)self->n_units;
    double *row = self->weights + j * self->n_units;
    if (self->now) {
        const double *x = self->now, *h = self->fields;
        const double xj = x[j], hj = h[j];
        for (size_t i = first; i < last; i++) {
            const double w = row[i];
            row[i] = w + (xj * x[i] - ((xj * h[i] - w) + (x[i] * hj - w))) / n;
        }
        if (first <= j && j < last) row[j] = 0;
        if (self->mask) {
            const uint8_t *mask = self->mask + j * self->n_units;
            for (size_t i = first; i < last; i++)
                if (!mask[i]) row[i] = 0;
        }
    }
    if (self->next) {
        const double xj = self->next[j];
        double *sum = self->next_fields;
        for (size_t i = first; i < last; i++) sum[i] += xj * row[i];
    }
}

static uhn_status storkey_task(void *context, size_t task, int worker, uhn_loop *loop) {
    const storkey *self = context;
    const size_t first = task * COLUMNS, last = UHN_MIN(first + COLUMNS, self->n_units);
    for (size_t j = 0; j < self->n_units; j++) {
        if (j % ROWS_PER_POLL == 0) {
            const uhn_status status = uhn_loop_poll(loop, worker);
            if (status != UHN_OK) return status;
        }
        storkey_row(self, j, first, last);
    }
    return UHN_OK;
}

uhn_status uhn_learn_storkey(const int8_t *patterns, size_t n_patterns, size_t n_units,
                             const uint8_t *mask, const uhn_run *run, double *weights,
                             uhn_error *error) {
    if (error) *error = (uhn_error){0};
    /* Two patterns and their fields, in turns. */
    double *buffer = uhn_alloc(n_units, 4, sizeof *buffer);
    if (!buffer) return uhn_no_memory(error);
    double *x[2] = {buffer, buffer + n_units},
           *h[2] = {buffer + 2 * n_units, buffer + 3 * n_units};
    const size_t n_tasks = (n_units + COLUMNS - 1) / COLUMNS;
    /* Threads are made for each pattern: small matrices are done before they are. */
    const int n_threads = n_units < 2 * COLUMNS ? 1 : uhn_run_threads(run);
    uhn_status status = UHN_OK;
    /* Step 0 adds up the fields of the first pattern; step k learns pattern k - 1 and adds up those
     * of the next on the way. */
    for (size_t k = 0; k <= n_patterns && n_patterns > 0 && status == UHN_OK; k++) {
        double *next = k < n_patterns ? x[k % 2] : NULL;
        if (next)
            for (size_t i = 0; i < n_units; i++) {
                next[i] = patterns[k * n_units + i];
                h[k % 2][i] = 0;
            }
        storkey self = {
            .weights = weights,
            .mask = mask,
            .n_units = n_units,
            .now = k > 0 ? x[(k + 1) % 2] : NULL,
            .fields = h[(k + 1) % 2],
            .next = next,
            .next_fields = h[k % 2],
        };
        status = uhn_parallel_for(n_tasks, n_threads, run, storkey_task, &self);
    }
    free(buffer);
    return status;
}

/* -------------------------------------------------------------------------------- perceptron -- */

/* Unit i keeps, instead of its weights, how often each pattern was raised: with a_m times pattern m,
 * w_ij = sum_m a_m x_i^m x_j^m, and all that is asked of it follows from the overlaps C of the
 * patterns over the unit's inputs,
 *
 *     F_m = x_i^m sum_j w_ij x_j^m = sum_l a_l x_i^l x_i^m C_lm,   |w_i|^2 = sum_m a_m F_m,
 *
 * so that a raise costs n_patterns additions of whole numbers. */
typedef struct perceptron {
    const int8_t *patterns;
    const uint64_t *bits;    /* the patterns, by rows */
    const int32_t *overlaps; /* over all units; NULL where a mask makes them each unit's own */
    const uint8_t *mask;
    size_t n_patterns, n_units, n_words, max_raises;
    double kappa;
    int32_t *weights;
    double *stabilities;
} perceptron;

/* Overlaps of one pattern with all, over n_inputs units; of other units all bits are 0. */
static void overlaps_of_pattern(const uint64_t *bits, size_t n_patterns, size_t n_words,
                                size_t n_inputs, size_t pattern, int32_t *out) {
    /* Distances are written where the overlaps will be: both have four bytes. */
    uhn_bit_kernels_of_cpu()->distances(bits, n_patterns, n_words, bits + pattern * n_words,
                                        (uint32_t *)out);
    for (size_t m = 0; m < n_patterns; m++)
        out[m] = (int32_t)((int64_t)n_inputs - 2 * (int64_t)out[m]);
}

static uhn_status learn_unit(const perceptron *self, size_t i, int worker, uhn_loop *loop) {
    const size_t K = self->n_patterns, N = self->n_units;
    int64_t *fields = uhn_alloc(K, 1, sizeof *fields);
    int32_t *raises = uhn_alloc(K, 1, sizeof *raises);
    int32_t *signs = uhn_alloc(K, 1, sizeof *signs);
    uint64_t *inputs = uhn_alloc(self->n_words, 1, sizeof *inputs);
    uint64_t *bits = self->mask ? uhn_alloc(K, self->n_words, sizeof *bits) : NULL;
    int32_t *own = self->mask ? uhn_alloc(K, K, sizeof *own) : NULL;
    uhn_status status = UHN_NO_MEMORY;
    if (!fields || !raises || !signs || !inputs || (self->mask && !(bits && own))) goto done;
    const uint8_t *mask = self->mask ? self->mask + i * N : NULL;
    size_t n_inputs = N - 1;
    if (mask) {
        n_inputs = 0;
        memset(inputs, 0, self->n_words * sizeof *inputs);
        for (size_t j = 0; j < N; j++)
            if (mask[j] && j != i) {
                inputs[j / 64] |= UINT64_C(1) << (j % 64);
                n_inputs++;
            }
        for (size_t m = 0; m < K; m++)
            for (size_t w = 0; w < self->n_words; w++)
                bits[m * self->n_words + w] = self->bits[m * self->n_words + w] & inputs[w];
        for (size_t m = 0; m < K; m++) {
            overlaps_of_pattern(bits, K, self->n_words, n_inputs, m, own + m * K);
            status = uhn_loop_poll(loop, worker);
            if (status != UHN_OK) goto done;
        }
    }
    for (size_t m = 0; m < K; m++) {
        fields[m] = 0;
        raises[m] = 0;
        signs[m] = self->patterns[m * N + i];
    }
    const int32_t *overlaps = mask ? own : self->overlaps;
    /* Overlaps over all units hold the unit itself too, x_i^l x_i^m, which the signs make 1. */
    const int64_t itself = mask ? 0 : 1;
    const size_t raises_per_poll = 1 + 8192 / (K + 1);
    double square = 0;
    size_t least = 0;
    for (size_t step = 0; n_inputs > 0; step++) {
        if (step % raises_per_poll == 0) {
            status = uhn_loop_poll(loop, worker);
            if (status != UHN_OK) goto done;
        }
        least = 0;
        for (size_t m = 1; m < K; m++)
            if (fields[m] < fields[least]) least = m;
        const double lowest = (double)fields[least];
        if (lowest > 0 && lowest * lowest >= self->kappa * self->kappa * square) break;
        if (step == self->max_raises) break;
        const int32_t *row = overlaps + least * K;
        const int64_t sign = signs[least];
        square += 2 * lowest + (double)n_inputs;
        raises[least]++;
        for (size_t m = 0; m < K; m++) fields[m] += sign * signs[m] * row[m] - itself;
    }
    self->stabilities[i] = square > 0 ? (double)fields[least] / sqrt(square) : 0;
    int32_t *weights = self->weights + i * N;
    memset(weights, 0, N * sizeof *weights);
    for (size_t m = 0; m < K; m++) {
        if (raises[m] == 0) continue;
        const int32_t step = raises[m] * signs[m];
        const int8_t *pattern = self->patterns + m * N;
        for (size_t j = 0; j < N; j++) weights[j] += step * pattern[j];
    }
    weights[i] = 0;
    for (size_t j = 0; mask && j < N; j++)
        if (!mask[j]) weights[j] = 0;
    status = uhn_loop_poll(loop, worker);
done:
    free(fields);
    free(raises);
    free(signs);
    free(inputs);
    free(bits);
    free(own);
    return status;
}

static uhn_status perceptron_task(void *context, size_t task, int worker, uhn_loop *loop) {
    return learn_unit(context, task, worker, loop);
}

/* One row of the overlaps over all units. */
typedef struct overlaps {
    const uint64_t *bits;
    size_t n_patterns, n_units, n_words;
    int32_t *out;
} overlaps;

static uhn_status overlaps_task(void *context, size_t task, int worker, uhn_loop *loop) {
    const overlaps *self = context;
    overlaps_of_pattern(self->bits, self->n_patterns, self->n_words, self->n_units, task,
                        self->out + task * self->n_patterns);
    return uhn_loop_poll(loop, worker);
}

uhn_status uhn_learn_perceptron(const int8_t *patterns, size_t n_patterns, size_t n_units,
                                const uint8_t *mask, double kappa, size_t max_raises,
                                const uhn_run *run, int32_t *weights, double *stabilities,
                                uhn_error *error) {
    if (error) *error = (uhn_error){0};
    if (!(kappa >= 0 && isfinite(kappa)))
        return uhn_fail(error, UHN_BAD_PARAMETER, "kappa must be finite and >= 0, got %g",
                        kappa);
    if (n_patterns == 0 || n_units == 0 || n_units > INT32_MAX / 2)
        return uhn_fail(error, UHN_BAD_SHAPE, "%zu patterns of %zu units cannot be learned",
                        n_patterns, n_units);
    if (max_raises > INT32_MAX)
        return uhn_fail(error, UHN_BAD_PARAMETER,
                        "%zu raises may not fit a weight of 32 bits: ask for fewer epochs",
                        max_raises);
    const size_t n_words = (n_units + 63) / 64;
    uint64_t *bits = uhn_alloc(n_patterns, n_words, sizeof *bits);
    int32_t *all = mask ? NULL : uhn_alloc(n_patterns, n_patterns, sizeof *all);
    uhn_status status = UHN_OK;
    if (!bits || (!mask && !all)) status = uhn_no_memory(error);
    const int n_threads = uhn_run_threads(run);
    if (status == UHN_OK) {
        uhn_pack_rows(patterns, n_patterns, n_units, bits);
        overlaps self = {bits, n_patterns, n_units, n_words, all};
        if (all) status = uhn_parallel_for(n_patterns, n_threads, run, overlaps_task, &self);
    }
    if (status == UHN_OK) {
        perceptron self = {patterns, bits,       all,   mask,    n_patterns, n_units,
                           n_words,  max_raises, kappa, weights, stabilities};
        status = uhn_parallel_for(n_units, n_threads, run, perceptron_task, &self);
        if (status == UHN_NO_MEMORY) uhn_no_memory(error);
    }
    free(bits);
    free(all);
    return status;
}

/* -------------------------------------------------------------------------------- unlearning -- */

void uhn_learn_start(uint64_t seed, uint64_t dream, size_t n_units, int8_t *state) {
    /* Sweeps have the streams from 0 upwards, dreams those from the top down. */
    const uint64_t stream = uhn_stream(seed, ~dream);
    for (size_t i = 0; i < n_units; i++)
        state[i] = (uhn_random(stream, i / 64) >> (i % 64)) & 1 ? 1 : -1;
}

void uhn_learn_dream(const int8_t *state, size_t n_units, double step, const uint8_t *mask,
                     double *weights) {
    for (size_t i = 0; i < n_units; i++) {
        double *row = weights + i * n_units;
        const double of_row = state[i] > 0 ? step : -step, own = row[i];
        if (mask) {
            const uint8_t *linked = mask + i * n_units;
            for (size_t j = 0; j < n_units; j++) row[j] -= linked[j] ? of_row * state[j] : 0.0;
        } else {
            for (size_t j = 0; j < n_units; j++) row[j] -= of_row * state[j];
        }
        row[i] = own;
    }
}
