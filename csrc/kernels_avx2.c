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

#define BITS uhn_bits_avx2
#define BITS_VECTOR 32
#include "kernels_bits.inc.h"
