/*
 * kernels_avx2.c - the kernels for x86-64 with AVX2 and FMA: parameters, then the bodies.
 */
#include "elementary.h"
#include "kernels.h"

#include <immintrin.h>

#define UHN_PATH "avx2"

#define PIECES 2
#define MR 6
#define NV 2
#define MX 3
#define PR 6
#define PV 2

#define IS_FLOAT 1
#define F(name) name##_f32
#define SET1(x) _mm256_set1_ps(x)
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define MINUS(a, b) _mm256_fmsub_ps(a, SET1(1), b)
#define MAXV(a, b) _mm256_max_ps(a, b)
#define ROUND(a) _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define LOOK_UP(table, i) _mm256_i32gather_ps(table, (__m256i)((i)&31), 4)
#include "kernels.inc.h"

#define IS_FLOAT 0
#define F(name) name##_f64
#define SET1(x) _mm256_set1_pd(x)
#define FMA(a, b, c) _mm256_fmadd_pd(a, b, c)
#define MINUS(a, b) _mm256_fmsub_pd(a, SET1(1), b)
#define MAXV(a, b) _mm256_max_pd(a, b)
#define ROUND(a) _mm256_round_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#include "kernels.inc.h"

const uhn_kernels *const uhn_kernels_avx2[2] = {&table_f32, &table_f64};

/* Bits are counted by two look-ups a byte. */
UHN_INLINE __m256i counts_of_bytes(__m256i x) {
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1,
                                           1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(15);
    return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(x, low)),
                           _mm256_shuffle_epi8(table,
                                               _mm256_and_si256(_mm256_srli_epi16(x, 4), low)));
}
#define COUNTS(x) (bits_ulongs) counts_of_bytes((__m256i)(x))
#define SUM_COUNTS(x) (bits_ulongs) _mm256_sad_epu8((__m256i)(x), _mm256_setzero_si256())
#define SIGN_MASK(x) (uint64_t) _mm256_movemask_pd((__m256d)(x))
#define SCALAR_POPCOUNT
#define BITS uhn_bits_avx2
#define BITS_VECTOR 32
#define PAIRS(x) ((bits_ints)_mm256_madd_epi16((__m256i)(x), _mm256_set1_epi16(1)))
#define PRODUCTS(x, y) ((bits_ints)_mm256_madd_epi16((__m256i)(x), (__m256i)(y)))
#define BITS_GATHER(table, i) ((bits_ints)_mm256_i32gather_epi32(table, (__m256i)(i), 4))
#define WIDEN_I16(p)                                                                           \
    ((bits_ints)_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p))))
#define WIDEN_I32(p)                                                                           \
    ((bits_longs)_mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i *)(const void *)(p))))
#include "kernels_bits.inc.h"
