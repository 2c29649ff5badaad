/*
 * elementary.h - coefficients of 2^x and ln x for the vector kernels.
 *
 * Layer 1. Included by the kernel template; includes nothing and holds nothing but numbers.
 * Every CPU path evaluates them with the same fused multiply-adds in the same order, written
 * fma(a, b, c) = a b + c rounded once below, so every path has the same bits. No other
 * operation than those written may be used, and the compiler may not contract any
 * (-ffp-contract=off).
 *
 * How they were found. A Remez exchange in 400-bit arithmetic gives the polynomial of the
 * smallest largest error relative to the function; the coefficients are then rounded to the
 * format one by one from the lowest power, and after each rounding the remaining ones are
 * fitted again (a linear programme on the residual), for both neighbours of the first three.
 * Errors called "of the polynomial" are those of the rounded coefficients in exact arithmetic.
 * Errors in ulp are those of the whole recipe in the format itself, in units in the last place
 * of the true value (0.5 is a correctly rounded function): over every float, and over 2e7
 * doubles against 64-bit significands.
 *
 * In the lists the highest power comes first, which is the order of Horner's rule.
 */
#ifndef UHN_ELEMENTARY_H
#define UHN_ELEMENTARY_H

/* ----------------------------------------------------------------------------------- 2^x -- */

/* 2^x on [-1/2, 1/2]. The constant term is 1 exactly, so that 2^0 = 1; the caller splits its
 * argument t into n = rint(t) and x = t - n (both exact) and multiplies by 2^n.
 *
 *     p = fma(C[d], x, C[d-1]);  p = fma(p, x, C[d-2]);  ...  p = fma(p, x, C0)
 *
 * float, degree 6: relative error of the polynomial 2^-28.3 (degree 5: 2^-23.4, too much);
 * 0.800 ulp over every x. Adjacent x may be out of order by one last place (in 8e4 of
 * 2e9 pairs).
 *
 * double, degree 11: 2^-57.7 (degree 10: 2^-52.0); 0.790 ulp. */
#define UHN_EXP2_F32_DEGREE 6
#define UHN_EXP2_F32_C6 0x1.417d74p-13f
#define UHN_EXP2_F32_C5 0x1.5f0952p-10f
#define UHN_EXP2_F32_C4 0x1.3b2dd0p-7f
#define UHN_EXP2_F32_C3 0x1.c6af7ap-5f
#define UHN_EXP2_F32_C2 0x1.ebfbdcp-3f
#define UHN_EXP2_F32_C1 0x1.62e430p-1f
#define UHN_EXP2_F32_C0 0x1.000000p+0f
#define UHN_EXP2_F32_COEFFS                                                                    \
    UHN_EXP2_F32_C6, UHN_EXP2_F32_C5, UHN_EXP2_F32_C4, UHN_EXP2_F32_C3, UHN_EXP2_F32_C2,       \
        UHN_EXP2_F32_C1, UHN_EXP2_F32_C0

#define UHN_EXP2_F64_DEGREE 11
#define UHN_EXP2_F64_C11 0x1.e80ee7d95c5fdp-32
#define UHN_EXP2_F64_C10 0x1.e6119fc0a904bp-28
#define UHN_EXP2_F64_C9 0x1.b5260d9fbd016p-24
#define UHN_EXP2_F64_C8 0x1.62bfcddeda450p-20
#define UHN_EXP2_F64_C7 0x1.ffcbfbf8c7255p-17
#define UHN_EXP2_F64_C6 0x1.4309130c00f1bp-13
#define UHN_EXP2_F64_C5 0x1.5d87fe78b3b9dp-10
#define UHN_EXP2_F64_C4 0x1.3b2ab6fba11f6p-7
#define UHN_EXP2_F64_C3 0x1.c6b08d704a0d4p-5
#define UHN_EXP2_F64_C2 0x1.ebfbdff82c59cp-3
#define UHN_EXP2_F64_C1 0x1.62e42fefa39efp-1
#define UHN_EXP2_F64_C0 0x1.0000000000000p+0
#define UHN_EXP2_F64_COEFFS                                                                    \
    UHN_EXP2_F64_C11, UHN_EXP2_F64_C10, UHN_EXP2_F64_C9, UHN_EXP2_F64_C8, UHN_EXP2_F64_C7,     \
        UHN_EXP2_F64_C6, UHN_EXP2_F64_C5, UHN_EXP2_F64_C4, UHN_EXP2_F64_C3, UHN_EXP2_F64_C2,   \
        UHN_EXP2_F64_C1, UHN_EXP2_F64_C0

/* ---------------------------------------------------------------------------------- ln x -- */

/* For normal x > 0; the caller deals with 0 and infinity, and multiplies subnormal x by 2^24
 * (double: 2^54) first and subtracts 24 (54) from e. The exponent is split off with integers:
 *
 *     b = bits(x) + OFFSET;  e = (b >> SHIFT) - BIAS
 *     m = from_bits((b & MANTISSA) + SQRT_HALF)
 *
 * makes x = 2^e m with m in [sqrt(1/2), sqrt(2)): OFFSET = bits(1) - SQRT_HALF carries
 * mantissas from sqrt(2) on into the exponent. b is below 2^31 (2^63), so the shift may be
 * arithmetic or logical. A path without a conversion from 64-bit integers gets e as
 * from_bits((b >> 52) | 0x4330000000000000) - (0x1p52 + 1023), which is exact. LN2_HI ends in
 * so many zeros that e LN2_HI is exact for every |e| < 2048 (float: 512); LN2_HI + LN2_LO is ln
 * 2 to 2^-102 (float: 2^-44).
 *
 * float: ln(1 + f) = f - f^2/2 + f^3 P(f), no division. Relative error of the polynomial
 * 2^-27.3; 0.876 ulp over every normal x, exactly 0 at 1, never decreasing from one float to
 * the next.
 *
 *     f = m - 1;  y = f * f
 *     p = fma(P[7], f, P[6]);  ...  p = fma(p, f, P[0])
 *     q = fma(f, p, -0.5f)
 *     r = fma(y, q, e * LN2_LO)
 *     ln x = fma(e, LN2_HI, f + r)
 */
#define UHN_LOG_F32_OFFSET 0x004afb0d
#define UHN_LOG_F32_SHIFT 23
#define UHN_LOG_F32_BIAS 127
#define UHN_LOG_F32_MANTISSA 0x007fffff
#define UHN_LOG_F32_SQRT_HALF 0x3f3504f3
#define UHN_LOG_F32_LN2_HI 0x1.62e400p-1f
#define UHN_LOG_F32_LN2_LO 0x1.7f7d1cp-20f
#define UHN_LOG_F32_DEGREE 7
#define UHN_LOG_F32_P7 (-0x1.38c97ep-4f)
#define UHN_LOG_F32_P6 0x1.055eb0p-3f
#define UHN_LOG_F32_P5 (-0x1.0d8246p-3f)
#define UHN_LOG_F32_P4 0x1.22d930p-3f
#define UHN_LOG_F32_P3 (-0x1.54728ap-3f)
#define UHN_LOG_F32_P2 0x1.99a01cp-3f
#define UHN_LOG_F32_P1 (-0x1.000226p-2f)
#define UHN_LOG_F32_P0 0x1.555554p-2f
#define UHN_LOG_F32_COEFFS                                                                     \
    UHN_LOG_F32_P7, UHN_LOG_F32_P6, UHN_LOG_F32_P5, UHN_LOG_F32_P4, UHN_LOG_F32_P3,            \
        UHN_LOG_F32_P2, UHN_LOG_F32_P1, UHN_LOG_F32_P0

/* A quicker logarithm for float where only its absolute error counts, as in u ln u. With i the five
 * leading bits of the fraction of x = 2^e m, m in [1, 2), and tables C[i] = 1 / (1 + (i + 1/2) / 32)
 * and L[i] = -ln C[i], both rounded,
 *
 *     f = fma(m, C[i], -1);  p = fma(f, A2, A1);  p = fma(f, p, 1);  p = fma(f, p, L[i])
 *     ln x = fma(e, ln 2, p)
 *
 * is off by at most 1.6 * 2^-24 max(1, |ln x|): over every float in [1/2, 2) and 1.2e7 others. A1 and
 * A2 minimise the largest error of f + A1 f^2 + A2 f^3 for |f| <= 1/63, which is 2^-28.4. */
#define UHN_LOG_TABLE_A1 -0x1.0006e4p-1f
#define UHN_LOG_TABLE_A2 0x1.556254p-2f
#define UHN_LOG_TABLE_LN2 0x1.62e43p-1f
#define UHN_LOG_TABLE_C                                                                        \
    0x1.f81f82p-1f, 0x1.e9131ap-1f, 0x1.dae608p-1f, 0x1.cd8568p-1f, 0x1.c0e07p-1f,             \
        0x1.b4e81cp-1f, 0x1.a98ef6p-1f, 0x1.9ec8eap-1f, 0x1.948b1p-1f, 0x1.8acb9p-1f,          \
        0x1.818182p-1f, 0x1.78a4c8p-1f, 0x1.702e06p-1f, 0x1.681682p-1f, 0x1.605816p-1f,        \
        0x1.58ed24p-1f, 0x1.51d07ep-1f, 0x1.4afd6ap-1f, 0x1.446f86p-1f, 0x1.3e22ccp-1f,        \
        0x1.381382p-1f, 0x1.323e34p-1f, 0x1.2c9fb4p-1f, 0x1.27350cp-1f, 0x1.21fb78p-1f,        \
        0x1.1cf06ap-1f, 0x1.181182p-1f, 0x1.135c82p-1f, 0x1.0ecf56p-1f, 0x1.0a681p-1f,         \
        0x1.0624dep-1f, 0x1.020408p-1f
#define UHN_LOG_TABLE_L                                                                        \
    0x1.fc0a8ap-7f, 0x1.77459cp-5f, 0x1.341d74p-4f, 0x1.a926d8p-4f, 0x1.0d77e8p-3f,            \
        0x1.44d2b4p-3f, 0x1.7ab89p-3f, 0x1.af3c92p-3f, 0x1.e27076p-3f, 0x1.0a325p-2f,          \
        0x1.22941ep-2f, 0x1.3a64c6p-2f, 0x1.51aad8p-2f, 0x1.686c8p-2f, 0x1.7eaf84p-2f,         \
        0x1.94793ep-2f, 0x1.a9ceccp-2f, 0x1.beb4dap-2f, 0x1.d32fe8p-2f, 0x1.e74426p-2f,        \
        0x1.faf586p-2f, 0x1.0723e6p-1f, 0x1.109f3cp-1f, 0x1.19ee6ap-1f, 0x1.23130ep-1f,        \
        0x1.2c0eap-1f, 0x1.34e288p-1f, 0x1.3d9024p-1f, 0x1.4618bep-1f, 0x1.4e7d82p-1f,         \
        0x1.56bf9cp-1f, 0x1.5ee02ap-1f

/* double: with s = f / (2 + f) and z = s^2, ln(1 + f) = 2 atanh s = 2 s + s z R(z); since 2 s =
 * f - s f, this is f - y + s (y + z R) with y = f^2/2, in which the error of the division
 * counts only in the small last term. A polynomial in f would need more than twice the degree.
 * Relative error of the polynomial 2^-59.5; 0.868 ulp, exactly 0 at 1; no decrease seen in 1e7
 * pairs of neighbours.
 *
 *     f = m - 1;  s = f / (2 + f);  z = s * s
 *     p = fma(R[6], z, R[5]);  ...  p = fma(p, z, R[0])
 *     y = (0.5 * f) * f
 *     t = fma(z, p, y)
 *     c = fma(s, t, fma(e, LN2_LO, -y))
 *     ln x = fma(e, LN2_HI, f + c)
 */
#define UHN_LOG_F64_OFFSET 0x00095f619980c433
#define UHN_LOG_F64_SHIFT 52
#define UHN_LOG_F64_BIAS 1023
#define UHN_LOG_F64_MANTISSA 0x000fffffffffffff
#define UHN_LOG_F64_SQRT_HALF 0x3fe6a09e667f3bcd
#define UHN_LOG_F64_LN2_HI 0x1.62e42fefa3800p-1
#define UHN_LOG_F64_LN2_LO 0x1.ef35793c76730p-45
#define UHN_LOG_F64_DEGREE 6
#define UHN_LOG_F64_R6 0x1.2f03b373d1101p-3
#define UHN_LOG_F64_R5 0x1.39a1e97a38541p-3
#define UHN_LOG_F64_R4 0x1.74663ce6763e3p-3
#define UHN_LOG_F64_R3 0x1.c71c5214722e8p-3
#define UHN_LOG_F64_R2 0x1.24924941e1306p-2
#define UHN_LOG_F64_R1 0x1.999999997ff1bp-2
#define UHN_LOG_F64_R0 0x1.5555555555592p-1
#define UHN_LOG_F64_COEFFS                                                                     \
    UHN_LOG_F64_R6, UHN_LOG_F64_R5, UHN_LOG_F64_R4, UHN_LOG_F64_R3, UHN_LOG_F64_R2,            \
        UHN_LOG_F64_R1, UHN_LOG_F64_R0

#endif
