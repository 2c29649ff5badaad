/*
 * landscape.c - every fixed point of a small two-state network (layer 4).
 *
 * May include: platform.h, threads.h.
 *
 * A state s is a fixed point when no unit disagrees with its field: s_i h_i >= 0 for all i,
 * h = W s + b. All 2^n_units states are visited in blocks of 2^12, a block being the states that
 * share their upper units; within it the lower units go through a Gray code, one flip at a time,
 * and a flip of unit k adds 2 s_k W[:, k] to the fields.
 *
 * Where every weight is a whole number (and sums stay below 2^52) this is exact. Elsewhere fields
 * along a Gray code gather rounding errors: a state that seems a fixed point to within their bound
 * is looked at again, its fields summed afresh in a fixed order, and a field that is 0 but for the
 * rounding of the weights and of that sum counts as 0, which is a tie and keeps the state. So an
 * answer depends neither on the way to a state nor on the threads.
 */
#include "platform.h"
#include "threads.h"

enum { BLOCK = 12, LANES = 8, MAX_UNITS = UHN_LANDSCAPE_UNITS, MAX_VECTORS = 4 };

typedef double vector __attribute__((vector_size(LANES * sizeof(double))));
typedef int64_t mask __attribute__((vector_size(LANES * sizeof(int64_t))));

typedef struct landscape {
    const double *weights, *bias;
    size_t n_units;
    bool exact;
    /* twice W[:, k] for each k, in vectors that end in zeros */
    vector columns[MAX_UNITS][MAX_VECTORS];
    /* how far below 0 s_i h_i may be: on the way, and when summed afresh */
    vector slack[MAX_VECTORS];
    double tie[MAX_UNITS];
    /* +1 and -1 for the bits of a byte */
    vector signs[256];
    uint64_t *stable;
} landscape;

/* Field of unit i in a state, summed in the order of the units. */
static double field(const landscape *self, uint32_t state, size_t i) {
    const double *row = self->weights + i * self->n_units;
    double h = 0;
    for (size_t j = 0; j < self->n_units; j++) h += (state >> j & 1) ? row[j] : -row[j];
    return self->bias ? h + self->bias[i] : h;
}

static bool rests(const landscape *self, uint32_t state) {
    for (size_t i = 0; i < self->n_units; i++) {
        const double h = field(self, state, i);
        if (((state >> i & 1) ? h : -h) < -self->tie[i]) return false;
    }
    return true;
}

/* True if no lane is below 0. */
UHN_INLINE bool none_negative(const mask *bits) {
    int64_t all = 0;
    UHN_UNROLL
    for (int i = 0; i < LANES; i++) all |= (*bits)[i];
    return all >= 0;
}

/* The states of one block, for networks of n_vectors vectors. */
UHN_INLINE void walk(const landscape *self, uint32_t first, size_t n_low, int n_vectors) {
    vector h[MAX_VECTORS] = {{0}};
    for (size_t i = 0; i < self->n_units; i++) h[i / LANES][i % LANES] = field(self, first, i);
    const uint32_t n_states = UINT32_C(1) << n_low;
    for (uint32_t t = 0;;) {
        const uint32_t state = first | (t ^ t >> 1);
        mask bits = {0};
        for (int v = 0; v < n_vectors; v++) {
            const vector s = self->signs[state >> LANES * v & 255];
            /* -0 + 0 is +0: the sign says "below 0" and nothing else. */
            bits |= (mask)(s * h[v] + self->slack[v]);
        }
        if (none_negative(&bits) && (self->exact || rests(self, state)))
            self->stable[state / 64] |= UINT64_C(1) << state % 64;
        if (++t == n_states) return;
        const int k = __builtin_ctz(t);
        const bool up = (t ^ t >> 1) >> k & 1;
        for (int v = 0; v < n_vectors; v++)
            h[v] = up ? h[v] + self->columns[k][v] : h[v] - self->columns[k][v];
    }
}

/* A block begins at a multiple of 64 states, or is the only one: no two write one word. */
static uhn_status block(void *context, size_t task, int worker, uhn_loop *loop) {
    const landscape *self = context;
    const size_t n_low = UHN_MIN(self->n_units, (size_t)BLOCK);
    const uint32_t first = (uint32_t)(task << n_low);
    const uhn_status status = uhn_loop_poll(loop, worker);
    if (status != UHN_OK) return status;
    switch ((self->n_units + LANES - 1) / LANES) {
    case 1: walk(self, first, n_low, 1); break;
    case 2: walk(self, first, n_low, 2); break;
    case 3: walk(self, first, n_low, 3); break;
    default: walk(self, first, n_low, 4);
    }
    return UHN_OK;
}

/* Bounds of the rounding errors of row i's field; false if the row is not finite, or its sums may
 * not be. */
static bool measure(landscape *self, size_t i, double *magnitude) {
    const double *row = self->weights + i * self->n_units;
    double a = self->bias ? fabs(self->bias[i]) : 0;
    bool whole = !self->bias || self->bias[i] == nearbyint(self->bias[i]);
    for (size_t j = 0; j < self->n_units; j++) {
        a += fabs(row[j]);
        whole = whole && row[j] == nearbyint(row[j]);
    }
    *magnitude = a;
    self->exact = self->exact && whole && a <= 0x1p52;
    return isfinite(4 * a);
}

uhn_status uhn_fixed_points(const double *weights, const double *bias, size_t n_units,
                            const uhn_run *run, uint64_t *stable, uhn_error *error) {
    if (n_units < 1 || n_units > MAX_UNITS)
        return uhn_fail(error, UHN_BAD_SHAPE,
                        "a landscape has from 1 to %d units, not %zu: there are 2^n states",
                        (int)MAX_UNITS, n_units);
    landscape *self = uhn_alloc(1, 1, sizeof *self);
    if (!self) return uhn_no_memory(error);
    memset(self, 0, sizeof *self);
    self->weights = weights;
    self->bias = bias;
    self->n_units = n_units;
    self->exact = true;
    self->stable = stable;
    double magnitude[MAX_UNITS];
    for (size_t i = 0; i < n_units; i++)
        if (!measure(self, i, &magnitude[i])) {
            free(self);
            return uhn_fail(error, UHN_BAD_DATA,
                            "the weights and the bias of unit %zu must be finite, and so must "
                            "four times the sum of their magnitudes",
                            i);
        }
    const double u = 0x1p-53, n = (double)n_units;
    for (size_t i = 0; i < n_units && !self->exact; i++) {
        /* A chain of n additions is off by n u, and weights that were rounded once or twice by 2 u
         * more; a Gray code adds one addition a flip. Twice that leaves room for the bound's own. */
        self->tie[i] = (n + 4) * u * magnitude[i];
        self->slack[i / LANES][i % LANES] =
            2 * (n + (double)(1 << BLOCK)) * u * magnitude[i] + self->tie[i];
    }
    for (size_t k = 0; k < n_units; k++)
        for (size_t i = 0; i < n_units; i++)
            self->columns[k][i / LANES][i % LANES] = 2 * weights[i * n_units + k];
    for (int byte = 0; byte < 256; byte++)
        for (int i = 0; i < LANES; i++) self->signs[byte][i] = (byte >> i & 1) ? 1 : -1;
    const size_t n_low = UHN_MIN(n_units, (size_t)BLOCK);
    memset(stable, 0, ((UINT64_C(1) << n_units) + 63) / 64 * sizeof *stable);
    const uhn_status status = uhn_parallel_for((size_t)1 << (n_units - n_low),
                                               uhn_run_threads(run), run, block, self);
    free(self);
    return status;
}
