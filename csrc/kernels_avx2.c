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

#define T float
#define I int32_t
#define V 8
#define IS_FLOAT 1
#define MANTISSA 23
#define BIAS 127
#define F(name) name##_f32
#define SET1(x) _mm256_set1_ps(x)
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define MINUS(a, b) _mm256_fmsub_ps(a, SET1(1), b)
#define MAXV(a, b) _mm256_max_ps(a, b)
#define ROUND(a) _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define SQRT(x) __builtin_sqrtf(x)
#define EXPONENT(x) __builtin_convertvector(((ivec)(x) >> 23) - 127, vec)
#define FRACTION(x) ((vec)(((ivec)(x)&0x7fffff) | 0x3f800000))
#define LOOK_UP(table, i) _mm256_i32gather_ps(table, (__m256i)((i)&31), 4)
#include "kernels.inc.h"
#undef EXPONENT
#undef FRACTION
#undef LOOK_UP
#undef T
#undef I
#undef V
#undef IS_FLOAT
#undef MANTISSA
#undef BIAS
#undef F
#undef SET1
#undef FMA
#undef MINUS
#undef MAXV
#undef ROUND
#undef SQRT

#define T double
#define I int64_t
#define V 4
#define IS_FLOAT 0
#define MANTISSA 52
#define BIAS 1023
#define F(name) name##_f64
#define SET1(x) _mm256_set1_pd(x)
#define FMA(a, b, c) _mm256_fmadd_pd(a, b, c)
#define MINUS(a, b) _mm256_fmsub_pd(a, SET1(1), b)
#define MAXV(a, b) _mm256_max_pd(a, b)
#define ROUND(a) _mm256_round_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define SQRT(x) __builtin_sqrt(x)
#include "kernels.inc.h"
#undef T
#undef I
#undef V
#undef IS_FLOAT
#undef MANTISSA
#undef BIAS
#undef F
#undef SET1
#undef FMA
#undef MINUS
#undef MAXV
#undef ROUND
#undef SQRT

const uhn_kernels *const uhn_kernels_avx2[2] = {&table_f32, &table_f64};
