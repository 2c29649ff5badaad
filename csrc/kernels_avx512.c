/*
 * kernels_avx512.c - the kernels for x86-64 with AVX-512 F, BW, DQ and VL: parameters, then the bodies.
 */
#include "elementary.h"
#include "kernels.h"

#include <immintrin.h>

#define UHN_PATH "avx512"

/* Four 16-byte loads into one register: masked broadcasts need no shuffle unit. */
#define QUAD_F32(a, b, c, d)                                                                   \
    _mm512_mask_broadcast_f32x4(                                                               \
        _mm512_mask_broadcast_f32x4(_mm512_mask_broadcast_f32x4(_mm512_castps128_ps512(a),     \
                                                                0x00f0, b),                    \
                                    0x0f00, c),                                                \
        0xf000, d)
#define QUAD_F64(a, b, c, d)                                                                   \
    _mm512_mask_broadcast_f64x2(                                                               \
        _mm512_mask_broadcast_f64x2(_mm512_mask_broadcast_f64x2(_mm512_castpd128_pd512(a),     \
                                                                0x0c, b),                      \
                                    0x30, c),                                                  \
        0xc0, d)

#define PIECES 4
#define MR 8
#define NV 3
#define MX 4
#define PR 6
#define PV 4

#define IS_FLOAT 1
#define QUAD QUAD_F32
#define F(name) name##_f32
#define SET1(x) _mm512_set1_ps(x)
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define MINUS(a, b) _mm512_fmsub_ps(a, SET1(1), b)
#define MAXV(a, b) _mm512_max_ps(a, b)
#define ROUND(a) _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define EXPONENT(x) _mm512_getexp_ps(x)
#define FRACTION(x) _mm512_getmant_ps(x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src)
#define LOOK_UP(table, i)                                                                      \
    _mm512_permutex2var_ps(_mm512_loadu_ps(table), (__m512i)(i), _mm512_loadu_ps((table) + 16))
#include "kernels.inc.h"

#define IS_FLOAT 0
#define QUAD QUAD_F64
#define F(name) name##_f64
#define SET1(x) _mm512_set1_pd(x)
#define FMA(a, b, c) _mm512_fmadd_pd(a, b, c)
#define MINUS(a, b) _mm512_fmsub_pd(a, SET1(1), b)
#define MAXV(a, b) _mm512_max_pd(a, b)
#define ROUND(a) _mm512_roundscale_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#include "kernels.inc.h"

const uhn_kernels *const uhn_kernels_avx512[2] = {&table_f32, &table_f64};

#define BITS uhn_bits_avx512
#define BITS_VECTOR 64
#include "kernels_bits.inc.h"
