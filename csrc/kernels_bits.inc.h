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

/* BITS_KEEP(word, v, x): x in the lanes whose bit of `word` is set, 0 in the others; lane l of vector v
 * asks for bit v * INTS + l, which one_bit[v] has. */
#if defined(__AVX512BW__) && BITS_VECTOR == 64
#include <immintrin.h>
#define BITS_KEEP(word, v, x)                                                                  \
    ((bits_ints)_mm512_maskz_mov_epi32(_mm512_test_epi32_mask(_mm512_set1_epi32((int)(word)),  \
                                                              (__m512i)one_bit[v]),            \
                                       (__m512i)(x)))
#else
#define BITS_KEEP(word, v, x) ((x) & (((int32_t)(word)&one_bit[v]) != 0))
#endif

/* Neighbouring lanes added up, as their sum may be more than a lane can hold: the lower half of
 * each long is moved up, so that its sign is carried down again. */
UHN_INLINE bits_longs pair_sums(bits_ints x) {
    return ((bits_longs)x >> 32) + ((bits_longs)((bits_ulongs)x << 32) >> 32);
}

UHN_INLINE int64_t lane_total(bits_longs x) {
    int64_t total = 0;
    for (int i = 0; i < LONGS; i++) total += x[i];
    return total;
}

/* Lanes hold at most 32 values of 2^25 before they are added up in 64 bits. */
static int64_t masked_sum(const uint32_t *bits, size_t n_words, const int32_t *m) {
    enum { VECTORS = 32 / INTS, CHUNK = 32 };
    const bits_ints *const one_bit UHN_UNUSED = (const bits_ints *)bit_ints;
    bits_longs totals = {0};
    for (size_t first = 0; first < n_words; first += CHUNK) {
        const size_t n = UHN_MIN((size_t)CHUNK, n_words - first);
        bits_ints sums[VECTORS] = {{0}};
        for (size_t w = 0; w < n; w++) {
            const uint32_t word = bits[first + w];
            const bits_ints *at = (const bits_ints *)(m + 32 * (first + w));
            UHN_UNROLL
            for (int v = 0; v < VECTORS; v++) sums[v] += BITS_KEEP(word, v, at[v]);
        }
        UHN_UNROLL
        for (int v = 0; v < VECTORS; v++) totals += pair_sums(sums[v]);
    }
    return lane_total(totals);
}

#include "kernels_dense.inc.h"
#include "kernels_network.inc.h"
#include "kernels_sdm.inc.h"

const uhn_bit_kernels BITS = {
    .masked_sum = masked_sum,
    .masked_step = masked_step,
    .turn = turn,
    .distances = distances,
    .lanes = LONGS,
    .few = FEW_QUERIES,
    .within = within,
    .count_up = count_up,
    .add_up = add_up,
    .flip_i16 = flip_i16,
    .flip_i32 = flip_i32,
    .flip_f64 = flip_f64,
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
