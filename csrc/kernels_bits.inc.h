/*
 * kernels_bits.inc.h - loops over packed bits and whole numbers, in plain C over vector types.
 *
 * Included once by each kernels_<path>.c, after it has set
 *
 *     BITS         the name of the table
 *     BITS_VECTOR  bytes of a vector: 16, 32 or 64
 *
 * and, if the path has better than what is below,
 *
 *     PAIRS(x)               the int32 sums of neighbours among the int16 lanes of x
 *     PRODUCTS(x, y)         the int32 sums of neighbouring products
 *     CHOOSE(word, v, x)     the int16 lanes of x, vector v of a word's 32, whose bits are set
 *     BITS_KEEP(word, v, x)  x in the int32 lanes whose bit of `word` is set, 0 in the others; lane l of
 *                            vector v asks for bit v * INTS + l
 *     BITS_GATHER(table, i)  table[i] in every lane
 *     WIDEN_I16(p), WIDEN_I32(p)  a vector of int32 (int64) from int16 (int32) that lie anywhere
 *
 * Whole numbers are exact, so that any order of additions gives the same result; sums of doubles keep
 * an order that does not depend on the width of a vector.
 */

#define INTS (BITS_VECTOR / 4)
#define LONGS (BITS_VECTOR / 8)
#define SHORTS (BITS_VECTOR / 2)

typedef int16_t bits_shorts __attribute__((vector_size(BITS_VECTOR)));
typedef uint32_t bits_words __attribute__((vector_size(BITS_VECTOR)));
typedef int32_t bits_ints __attribute__((vector_size(BITS_VECTOR)));
typedef int64_t bits_longs __attribute__((vector_size(BITS_VECTOR)));
typedef uint64_t bits_ulongs __attribute__((vector_size(BITS_VECTOR)));
typedef double bits_doubles __attribute__((vector_size(BITS_VECTOR)));

/* Place p of a word asks for bit p. */
static const int32_t bit_ints[32] __attribute__((aligned(64))) = {
    1 << 0,  1 << 1,  1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
    1 << 8,  1 << 9,  1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15,
    1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 21, 1 << 22, 1 << 23,
    1 << 24, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30, (int32_t)(1u << 31)};

static int64_t masked_sum(const uint32_t *bits, size_t n_words, const int32_t *m) {
    enum { VECTORS = 32 / INTS, CHUNK = 512 };
    int64_t total = 0;
    for (size_t first = 0; first < n_words; first += CHUNK) {
        const size_t n = UHN_MIN((size_t)CHUNK, n_words - first);
        bits_ints sums[VECTORS] = {{0}};
        for (size_t w = 0; w < n; w++) {
            const int32_t word = (int32_t)bits[first + w];
            const bits_ints *at = (const bits_ints *)(m + 32 * (first + w));
            UHN_UNROLL
            for (int v = 0; v < VECTORS; v++) {
                const bits_ints bit = ((const bits_ints *)bit_ints)[v];
                sums[v] += at[v] & ((word & bit) != 0);
            }
        }
        for (int v = 0; v < VECTORS; v++)
            for (int i = 0; i < INTS; i++) total += sums[v][i];
    }
    return total;
}

static void masked_step(const uint32_t *bits, size_t n_words, int32_t step, int32_t *m) {
    enum { VECTORS = 32 / INTS };
    for (size_t w = 0; w < n_words; w++) {
        const int32_t word = (int32_t)bits[w];
        bits_ints *at = (bits_ints *)(m + 32 * w);
        UHN_UNROLL
        for (int v = 0; v < VECTORS; v++) {
            const bits_ints set = (word & ((const bits_ints *)bit_ints)[v]) != 0;
            at[v] += (2 * step & set) - step;
        }
    }
}

#ifndef BITS_KEEP
#define BITS_KEEP(word, v, x) ((x) & (((int32_t)(word)&one_bit[v]) != 0))
#endif

/* Neighbouring lanes added up, as their sum may be more than a lane can hold: the lower half of each
 * long is moved up, so that its sign is carried down again. */
UHN_INLINE bits_longs pair_sums(bits_ints x) {
    return ((bits_longs)x >> 32) + ((bits_longs)((bits_ulongs)x << 32) >> 32);
}

UHN_INLINE int64_t lane_total(bits_longs x) {
    int64_t total = 0;
    for (int i = 0; i < LONGS; i++) total += x[i];
    return total;
}

static int64_t masked_total(const uint32_t *bits, size_t n_words, const int32_t *a) {
    enum { VECTORS = 32 / INTS, CHUNK = 32 };
    const bits_ints *const one_bit UHN_UNUSED = (const bits_ints *)bit_ints;
    bits_longs totals = {0};
    for (size_t first = 0; first < n_words; first += CHUNK) {
        const size_t n = UHN_MIN((size_t)CHUNK, n_words - first);
        bits_ints sums[VECTORS] = {{0}};
        for (size_t w = 0; w < n; w++) {
            const uint32_t word = bits[first + w];
            const bits_ints *at = (const bits_ints *)(a + 32 * (first + w));
            UHN_UNROLL
            for (int v = 0; v < VECTORS; v++) sums[v] += BITS_KEEP(word, v, at[v]);
        }
        UHN_UNROLL
        for (int v = 0; v < VECTORS; v++) totals += pair_sums(sums[v]);
    }
    return lane_total(totals);
}

#ifndef BITS_GATHER
UHN_INLINE bits_ints gather_lanes(const int32_t *table, bits_ints index) {
    int32_t lanes[INTS];
    bits_ints found;
    memcpy(lanes, &index, sizeof lanes);
    for (int i = 0; i < INTS; i++) lanes[i] = table[lanes[i]];
    memcpy(&found, lanes, sizeof found);
    return found;
}
#define BITS_GATHER(table, i) gather_lanes(table, i)
#endif

UHN_INLINE bits_ints larger(bits_ints a, bits_ints b) {
    const bits_ints greater = a > b;
    return (a & greater) | (b & ~greater);
}

/* Sums of one chunk; extremes so far, the smallest with its sign turned. */
typedef struct turn_lanes {
    bits_ints sum, set, most, least;
} turn_lanes;

UHN_INLINE void turn_word(uint32_t word, uint32_t valid, bits_ints step, const int32_t *table,
                          int32_t *counts, int32_t *values, turn_lanes *lanes) {
    enum { VECTORS = 32 / INTS };
    const bits_ints *const one_bit UHN_UNUSED = (const bits_ints *)bit_ints;
    const bits_ints zero = {0};
    UHN_UNROLL
    for (int v = 0; v < VECTORS; v++) {
        bits_ints by = step - BITS_KEEP(word, v, step + step), beyond = zero;
        if (valid != ~0u) {
            by = BITS_KEEP(valid, v, by);
            beyond = BITS_KEEP(~valid, v, zero + INT32_MIN / 2);
        }
        const bits_ints count = ((bits_ints *)counts)[v] + by;
        ((bits_ints *)counts)[v] = count;
        lanes->most = larger(lanes->most, beyond + count);
        lanes->least = larger(lanes->least, beyond - count);
        bits_ints value = BITS_GATHER(table, count);
        if (valid != ~0u) value = BITS_KEEP(valid, v, value);
        ((bits_ints *)values)[v] = value;
        lanes->sum += value;
        lanes->set += BITS_KEEP(word, v, value);
    }
}

static void turn(const uint32_t *bits, size_t n_words, uint32_t last, int32_t step,
                 const int32_t *table, int32_t *counts, int32_t *values, uhn_turn *out) {
    enum { CHUNK = INTS }; /* all vectors of a word go into one: at most 32 values a lane */
    const bits_ints zero = {0}, by = zero + step;
    turn_lanes lanes = {zero, zero, zero + INT32_MIN / 2, zero + INT32_MIN / 2};
    bits_longs sum = {0}, set = {0};
    for (size_t first = 0; first < n_words; first += CHUNK) {
        const size_t stop = UHN_MIN(first + CHUNK, n_words);
        for (size_t w = first; w < UHN_MIN(stop, n_words - 1); w++)
            turn_word(bits[w], ~0u, by, table, counts + 32 * w, values + 32 * w, &lanes);
        if (stop == n_words)
            turn_word(bits[stop - 1], last, by, table, counts + 32 * (stop - 1),
                      values + 32 * (stop - 1), &lanes);
        sum += pair_sums(lanes.sum);
        set += pair_sums(lanes.set);
        lanes.sum = lanes.set = zero;
    }
    *out = (uhn_turn){lane_total(sum), lane_total(set), lanes.most[0], -lanes.least[0]};
    for (int i = 0; i < INTS; i++) {
        out->most = UHN_MAX(out->most, lanes.most[i]);
        out->least = UHN_MIN(out->least, -lanes.least[i]);
    }
}

static void add_i16(const int16_t *row, int32_t step, size_t n, int32_t *h) {
    for (size_t i = 0; i < n; i++) h[i] += step * row[i];
}

static void add_i32(const int32_t *row, int32_t step, size_t n, int64_t *h) {
    for (size_t i = 0; i < n; i++) h[i] += (int64_t)step * row[i];
}

static void add_f64(const double *row, double step, size_t n, double *h) {
    for (size_t i = 0; i < n; i++) h[i] += step * row[i];
}

#include "kernels_network.inc.h"
#include "kernels_sdm.inc.h"

const uhn_bit_kernels BITS = {
    .masked_sum = masked_sum,
    .masked_step = masked_step,
    .masked_total = masked_total,
    .turn = turn,
    .distances = distances,
    .lanes = LONGS,
    .few = FEW_QUERIES,
    .within = within,
    .count_up = count_up,
    .add_i16 = add_i16,
    .add_i32 = add_i32,
    .add_f64 = add_f64,
    .flip_i16 = flip_i16,
    .flip_i32 = flip_i32,
    .masked_sum16 = masked_sum16,
    .masked_step16 = masked_step16,
    .count_bits = count_bits,
    .overlaps16 = overlaps16,
    .overlaps32 = overlaps32,
    .walk16 = walk16,
    .walk32 = walk32,
    .masked_sums16 = masked_sums16,
    .masked_sums32 = masked_sums32,
    .few_i16 = few_i16,
    .few_i32 = few_i32,
    .few_f64 = few_f64,
    .many_i16 = many_i16,
    .many_i32 = many_i32,
    .many_f64 = many_f64,
    .many_i8 = many_i8,
};

#undef INTS
#undef LONGS
#undef SHORTS
