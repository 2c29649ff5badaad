/*
 * kernels_bits.inc.h - loops over packed bits and whole numbers, in plain C over vector types.
 *
 * Included once by each kernels_<path>.c, after it has set
 *
 *     BITS         the name of the table
 *     BITS_VECTOR  bytes of a vector: 16, 32 or 64
 *
 * Whole numbers are exact, so that any order of additions gives the same result; sums of doubles keep
 * an order that does not depend on the width of a vector.
 */

#define INTS (BITS_VECTOR / 4)
#define LONGS (BITS_VECTOR / 8)

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

static void add_i16(const int16_t *row, int32_t step, size_t n, int32_t *h) {
    for (size_t i = 0; i < n; i++) h[i] += step * row[i];
}

static void add_f64(const double *row, double step, size_t n, double *h) {
    for (size_t i = 0; i < n; i++) h[i] += step * row[i];
}

#include "kernels_dense.inc.h"
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
