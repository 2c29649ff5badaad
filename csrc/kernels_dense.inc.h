/*
 * kernels_dense.inc.h - loops of the dense associative memory over packed bits and whole
 * numbers.
 *
 * Included by kernels_bits.inc.h, whose vector types and parameters it uses.
 */

/* BITS_GATHER(table, i): table[i] in every lane. */
#if defined(__AVX512BW__) && BITS_VECTOR == 64
#include <immintrin.h>
#define BITS_GATHER(table, i) ((bits_ints)_mm512_i32gather_epi32((__m512i)(i), table, 4))
#elif defined(__AVX2__) && BITS_VECTOR == 32
#include <immintrin.h>
#define BITS_GATHER(table, i) ((bits_ints)_mm256_i32gather_epi32(table, (__m256i)(i), 4))
#else
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
