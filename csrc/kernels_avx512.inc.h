/*
 * kernels_avx512.inc.h - what both tables of bit kernels for AVX-512 do better than the vector types
 * say. Included by kernels_avx512.c and kernels_avx512popcnt.c before kernels_bits.inc.h.
 */
#include <immintrin.h>

#define PAIRS(x) ((bits_ints)_mm512_madd_epi16((__m512i)(x), _mm512_set1_epi16(1)))
#define PRODUCTS(x, y) ((bits_ints)_mm512_madd_epi16((__m512i)(x), (__m512i)(y)))
#define CHOOSE(word, v, x)                                                                     \
    ((bits_shorts)_mm512_maskz_mov_epi16((__mmask32)(word), (__m512i)(x)))
#define BITS_KEEP(word, v, x)                                                                  \
    ((bits_ints)_mm512_maskz_mov_epi32(_mm512_test_epi32_mask(_mm512_set1_epi32((int)(word)),  \
                                                              (__m512i)one_bit[v]),            \
                                       (__m512i)(x)))
#define BITS_GATHER(table, i) ((bits_ints)_mm512_i32gather_epi32((__m512i)(i), table, 4))
#define WIDEN_I16(p)                                                                           \
    ((bits_ints)_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(p))))
#define WIDEN_I32(p)                                                                           \
    ((bits_longs)_mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i *)(const void *)(p))))
