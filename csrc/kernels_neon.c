/*
 * kernels_neon.c - the kernels for AArch64: parameters, then the bodies.
 */
#include "elementary.h"
#include "kernels.h"

#include <arm_neon.h>

#define UHN_PATH "neon"

#define PIECES 1
#define MR 8
#define NV 2
#define MX 4
#define PR 6
#define PV 2

#define IS_FLOAT 1
#define F(name) name##_f32
#define SET1(x) vdupq_n_f32(x)
#define FMA(a, b, c) vfmaq_f32(c, a, b)
#define MINUS(a, b) (a - b)
#define MAXV(a, b) vbslq_f32(vcgtq_f32(a, b), a, b)
#define ROUND(a) vrndnq_f32(a)
#define LOOK_UP(table, i)                                                                      \
    ((vec){(table)[(i)[0] & 31], (table)[(i)[1] & 31], (table)[(i)[2] & 31],                   \
           (table)[(i)[3] & 31]})
#include "kernels.inc.h"

#define IS_FLOAT 0
#define F(name) name##_f64
#define SET1(x) vdupq_n_f64(x)
#define FMA(a, b, c) vfmaq_f64(c, a, b)
#define MINUS(a, b) (a - b)
#define MAXV(a, b) vbslq_f64(vcgtq_f64(a, b), a, b)
#define ROUND(a) vrndnq_f64(a)
#include "kernels.inc.h"

const uhn_kernels *const uhn_kernels_neon[2] = {&table_f32, &table_f64};

#define BITS uhn_bits_neon
#define BITS_VECTOR 16
#include "kernels_bits.inc.h"
