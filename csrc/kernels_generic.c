/*
 * kernels_generic.c - the kernels for any CPU: parameters, then the bodies.
 */
#include "elementary.h"
#include "kernels.h"

/* 16-byte vectors, which every compiler lowers to whatever there is. fma() rounds once by the C
 * standard, in hardware or not; max and rounding are spelled out so as to treat NaN and halves as
 * the vector instructions of the other paths do. */
typedef float float4 __attribute__((vector_size(16)));
typedef int32_t int4 __attribute__((vector_size(16)));
typedef double double2 __attribute__((vector_size(16)));
typedef int64_t long2 __attribute__((vector_size(16)));

UHN_INLINE float4 fma4(float4 a, float4 b, float4 c) {
    return (float4){fmaf(a[0], b[0], c[0]), fmaf(a[1], b[1], c[1]), fmaf(a[2], b[2], c[2]),
                    fmaf(a[3], b[3], c[3])};
}
UHN_INLINE double2 fma2(double2 a, double2 b, double2 c) {
    return (double2){fma(a[0], b[0], c[0]), fma(a[1], b[1], c[1])};
}
UHN_INLINE float4 max4(float4 a, float4 b) {
    const int4 greater = a > b;
    return (float4)(((int4)a & greater) | ((int4)b & ~greater));
}
UHN_INLINE double2 max2(double2 a, double2 b) {
    const long2 greater = a > b;
    return (double2)(((long2)a & greater) | ((long2)b & ~greater));
}
UHN_INLINE float4 round4(float4 a) {
    return (float4){rintf(a[0]), rintf(a[1]), rintf(a[2]), rintf(a[3])};
}
UHN_INLINE double2 round2(double2 a) { return (double2){rint(a[0]), rint(a[1])}; }
UHN_INLINE float4 set4(float x) { return (float4){x, x, x, x}; }
UHN_INLINE double2 set2(double x) { return (double2){x, x}; }

#define UHN_PATH "generic"

#define PIECES 1
#define MR 2
#define NV 2
#define MX 2
#define PR 4
#define PV 2

#define IS_FLOAT 1
#define F(name) name##_f32
#define SET1(x) set4(x)
#define FMA(a, b, c) fma4(a, b, c)
#define MINUS(a, b) (a - b)
#define MAXV(a, b) max4(a, b)
#define ROUND(a) round4(a)
#define LOOK_UP(table, i)                                                                      \
    ((vec){(table)[(i)[0] & 31], (table)[(i)[1] & 31], (table)[(i)[2] & 31],                   \
           (table)[(i)[3] & 31]})
#include "kernels.inc.h"

#define IS_FLOAT 0
#define F(name) name##_f64
#define SET1(x) set2(x)
#define FMA(a, b, c) fma2(a, b, c)
#define MINUS(a, b) (a - b)
#define MAXV(a, b) max2(a, b)
#define ROUND(a) round2(a)
#include "kernels.inc.h"

const uhn_kernels *const uhn_kernels_generic[2] = {&table_f32, &table_f64};

#define BITS uhn_bits_generic
#define BITS_VECTOR 16
#include "kernels_bits.inc.h"
