/*
 * scalar.c - powers and logarithms of one double, with the same bits on every compiler and CPU.
 *
 * Layer 1. Includes scalar.h and the standard headers; calls no function of the C library but
 * memcpy. Only + - * / are used, which IEEE 754 rounds in one way everywhere, and no fused
 * multiply-add, so that it does not matter whether the CPU has one.
 *
 * x^y = 2^(y log2 x) needs more than a double on the way: at y log2 x near 1000 the result's
 * last bit is 2^-63 of the exponent's size. So logarithms are computed as a `pair`, an
 * unevaluated sum hi + lo of two doubles with |lo| <= ulp(hi) / 2, which is good for about 100
 * bits. Every function ends by rounding such a pair once: logarithms and integer powers are as
 * good as correctly rounded, the others within 0.62 ulp, as the term r^2 P(r) below is not a
 * pair.
 *
 * Logarithm. With x = 2^e m, m in [sqrt(1/2), sqrt(2)), f = m - 1 (exact), s = f / (2 + f) and
 * z = s^2:
 *
 *     ln m = 2 atanh s = 2 s (1 + z/3 + z^2/5 + z^3/7 + ...),    z <= 0.02944
 *
 * The terms from z^3/7 on make up less than 2^-18 of the sum and are added in double; the first
 * three in pairs. The series is its own best documentation: 12 terms leave out less than 2^-78
 * of it, and no fitted coefficient is involved.
 *
 * Power of two. x = n + r with n an integer and |r| <= 1/2:
 *
 *     2^r = 1 + r ln 2 + r^2 P(r)
 *
 * r ln 2 is formed as a pair; P has degree 10 and was fitted (Remez exchange in 400 bits, then
 * the coefficients rounded to double one by one from the lowest, the others refitted after
 * each) for the smallest error relative to 2^r, which is 2^-63.5.
 */
#include "scalar.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* With wider intermediates or reassociation the error terms of the sums and products below are
 * not what they should be, and the results would be quietly wrong. */
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0
#error "scalar.c needs double arithmetic in double: use -mfpmath=sse -msse2 on 32-bit x86"
#endif
#if defined(__FAST_MATH__)
#error "scalar.c must be compiled without -ffast-math"
#endif

/* --------------------------------------------------------------------------------- pairs -- */

typedef struct pair {
    double hi, lo;
} pair;

static const pair LN2 = {0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56};
static const pair INVERSE_LN2 = {0x1.71547652b82fep+0, 0x1.777d0ffda0d24p-56};
static const pair THIRD = {0x1.5555555555555p-2, 0x1.5555555555555p-56};
static const pair FIFTH = {0x1.999999999999ap-3, -0x1.999999999999ap-57};

/* a + b exactly, for |a| >= |b| or a = 0. */
static pair quick_sum(double a, double b) {
    double hi = a + b;
    return (pair){hi, b - (hi - a)};
}

/* a + b exactly. */
static pair sum(double a, double b) {
    double hi = a + b;
    double b_seen = hi - a;
    return (pair){hi, (a - (hi - b_seen)) + (b - b_seen)};
}

/* The upper 26 bits of a, so that products of such halves are exact. |a| < 2^996. */
static double upper_half(double a) {
    double shifted = 0x1.0000002p27 * a;
    return shifted - (shifted - a);
}

/* a * b exactly, unless the error term underflows. */
static pair product(double a, double b) {
    double hi = a * b;
    double a1 = upper_half(a), a2 = a - a1;
    double b1 = upper_half(b), b2 = b - b1;
    return (pair){hi, ((a1 * b1 - hi) + a1 * b2 + a2 * b1) + a2 * b2};
}

static pair pair_sum(pair a, pair b) {
    pair s = sum(a.hi, b.hi);
    return quick_sum(s.hi, s.lo + (a.lo + b.lo));
}

static pair pair_product(pair a, pair b) {
    pair p = product(a.hi, b.hi);
    return quick_sum(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
}

/* ---------------------------------------------------------------------------------- bits -- */

static uint64_t to_bits(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double from_bits(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* 2^n for -1022 <= n <= 1023. */
static double power_of_two(int n) { return from_bits((uint64_t)(n + 1023) << 52); }

#define SQRT_HALF_BITS UINT64_C(0x3fe6a09e667f3bcd)
#define ONE_BITS UINT64_C(0x3ff0000000000000)
#define MANTISSA_BITS UINT64_C(0x000fffffffffffff)

/* x = 2^exponent * mantissa with the mantissa in [sqrt(1/2), sqrt(2)), for finite x > 0. */
static double split(double x, int *exponent) {
    int shift = 0;
    if (x < DBL_MIN) {
        x *= 0x1p54; /* exact: a subnormal number has no exponent to read off */
        shift = 54;
    }
    /* The offset carries mantissas from sqrt(2) on into the exponent field. */
    uint64_t bits = to_bits(x) + (ONE_BITS - SQRT_HALF_BITS);
    *exponent = (int)(bits >> 52) - 1023 - shift;
    return from_bits((bits & MANTISSA_BITS) + SQRT_HALF_BITS);
}

/* The nearest integer, ties to even, for |x| < 2^51. */
static double nearest_integer(double x) { return (x + 0x1.8p52) - 0x1.8p52; }

/* (p.hi + p.lo) 2^n rounded once, for p in (1/2, 2) and |n| <= 1100. */
static double scaled(pair p, int n) {
    double value = p.hi + p.lo;
    if (n > 1023) {
        return value * 0x1p1023 * power_of_two(n - 1023);
    }
    if (n > -1022) {
        return value * power_of_two(n);
    }
    /* The result may be subnormal. Its last place, 2^-1074, is that of the numbers in [c, 2c)
     * before the scaling, so adding c rounds where the result must be rounded; as the sum's
     * error term is added before the one rounding that counts, there is only one. */
    double c = power_of_two(-1022 - n);
    if (value < c) {
        pair s = quick_sum(c, p.hi);
        value = (s.hi + (s.lo + p.lo)) - c;
    }
    return value * 0x1p-1000 * power_of_two(n + 1000);
}

/* ---------------------------------------------------------------------------- logarithms -- */

/* ln(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)]. Relative error below 2^-68. */
static pair ln_near_one(pair f) {
    /* s = f / (2 + f): the quotient of the leading parts, corrected by its exact remainder. */
    pair d = sum(2.0, f.hi);
    d.lo += f.lo;
    double quotient = f.hi / d.hi;
    pair back = product(quotient, d.hi);
    double remainder = (f.hi - back.hi) - back.lo + f.lo - quotient * d.lo;
    pair s = quick_sum(quotient, remainder / d.hi);
    pair z = pair_product(s, s);

    /* Terms z/7 + z^2/9 + ... + z^12/29 of the bracket divided by z^2. */
    double w = z.hi;
    double tail = 1.0 / 29.0;
    tail = tail * w + 1.0 / 27.0;
    tail = tail * w + 1.0 / 25.0;
    tail = tail * w + 1.0 / 23.0;
    tail = tail * w + 1.0 / 21.0;
    tail = tail * w + 1.0 / 19.0;
    tail = tail * w + 1.0 / 17.0;
    tail = tail * w + 1.0 / 15.0;
    tail = tail * w + 1.0 / 13.0;
    tail = tail * w + 1.0 / 11.0;
    tail = tail * w + 1.0 / 9.0;
    tail = tail * w + 1.0 / 7.0;
    tail *= w;

    pair bracket = pair_sum(FIFTH, (pair){tail, 0.0});
    bracket = pair_sum(THIRD, pair_product(z, bracket));
    bracket = pair_product(z, bracket);
    pair twice_s = {2.0 * s.hi, 2.0 * s.lo};
    return pair_sum(twice_s, pair_product(twice_s, bracket));
}

/* log2 x for finite x > 0. Relative error below 2^-68. */
static pair log2_pair(double x) {
    int exponent;
    double m = split(x, &exponent);
    pair fraction = pair_product(ln_near_one((pair){m - 1.0, 0.0}), INVERSE_LN2);
    return pair_sum((pair){exponent, 0.0}, fraction);
}

double uhn_log2(double x) {
    if (!(x > 0.0)) {
        return x == 0.0 ? -INFINITY : NAN;
    }
    if (x == INFINITY) {
        return x;
    }
    return log2_pair(x).hi;
}

double uhn_log1p(double x) {
    if (!(x > -1.0)) {
        return x == -1.0 ? -INFINITY : NAN;
    }
    if (x == INFINITY) {
        return x;
    }
    if (x > -0x1p-54 && x < 0x1p-54) {
        return x; /* the next term, -x^2 / 2, is below a quarter of the last place; keeps -0 */
    }
    pair u = sum(1.0, x); /* what 1 + x rounds away is kept in u.lo */
    int exponent;
    double m = split(u.hi, &exponent);
    /* From 2^64 on u.lo is far below the precision needed, and 2^-exponent may not exist. */
    double rest = exponent < 64 ? u.lo * power_of_two(-exponent) : 0.0;
    pair fraction = ln_near_one(sum(m - 1.0, rest));
    pair whole = pair_product((pair){exponent, 0.0}, LN2);
    return pair_sum(whole, fraction).hi;
}

/* -------------------------------------------------------------------------------- powers -- */

/* 2^(n + r.hi + r.lo) for an integer n, |n| <= 1100, and |r| barely above 1/2 at most. */
static double exp2_split(int n, pair r) {
    double x = r.hi;
    double p = 0x1.c04e8cbbdbf38p-36;
    p = p * x + 0x1.e9e7cf3e87700p-32;
    p = p * x + 0x1.e4d2678d1422cp-28;
    p = p * x + 0x1.b524ef0b011abp-24;
    p = p * x + 0x1.62c02149d4a0bp-20;
    p = p * x + 0x1.ffcbfc6be7e80p-17;
    p = p * x + 0x1.430912f8aebffp-13;
    p = p * x + 0x1.5d87fe78a461cp-10;
    p = p * x + 0x1.3b2ab6fba4d72p-7;
    p = p * x + 0x1.c6b08d704a0c4p-5;
    p = p * x + 0x1.ebfbdff82c58fp-3;
    double curved = x * x * p;

    pair linear = product(x, LN2.hi);
    linear.lo += x * LN2.lo;
    pair s = quick_sum(1.0, linear.hi);
    /* r.lo moves the result by r.lo ln 2 times the result itself. */
    double nudge = r.lo * LN2.hi * (s.hi + curved);
    return scaled(quick_sum(s.hi, curved + (s.lo + (linear.lo + nudge))), n);
}

double uhn_exp2(double x) {
    if (x >= 1024.0) {
        return INFINITY;
    }
    if (x <= -1075.0) {
        return 0.0; /* at -1075, halfway between 0 and the smallest number, the even one is 0 */
    }
    if (x != x) {
        return NAN;
    }
    double n = nearest_integer(x);
    return exp2_split((int)n, (pair){x - n, 0.0});
}

double uhn_pow(double x, double y) {
    if (y == 0.0 || x == 1.0) {
        return 1.0;
    }
    if (!(x >= 0.0) || y != y) {
        return NAN;
    }
    if (x == 0.0 || x == INFINITY) {
        return (x == 0.0) == (y > 0.0) ? 0.0 : INFINITY;
    }
    pair logarithm = log2_pair(x);
    /* Infinite y come out right too: the logarithm is not 0. */
    double estimate = y * logarithm.hi;
    if (estimate > 1025.0) {
        return INFINITY;
    }
    if (estimate < -1076.0) {
        return 0.0;
    }
    pair exponent = product(y, logarithm.hi); /* |log2 x| > 2^-53, so |y| < 2^64 here */
    exponent.lo += y * logarithm.lo;
    double n = nearest_integer(exponent.hi);
    return exp2_split((int)n, sum(exponent.hi - n, exponent.lo));
}

/* A positive number of any size: value 2^exponent with the value in [sqrt(1/2), sqrt(2)]. */
typedef struct scaled_pair {
    pair value;
    int64_t exponent;
} scaled_pair;

/* Far outside the exponents of doubles; 64 additions of it stay far inside an int64_t. */
#define EXPONENT_LIMIT 100000

static scaled_pair scaled_product(scaled_pair a, scaled_pair b) {
    scaled_pair p = {pair_product(a.value, b.value), a.exponent + b.exponent};
    int shift;
    split(p.value.hi, &shift);
    double back = power_of_two(-shift);
    p.value.hi *= back;
    p.value.lo *= back;
    p.exponent += shift;
    /* An exponent beyond the limit has decided the result: all factors are on one side of 1. */
    if (p.exponent > EXPONENT_LIMIT) {
        p.exponent = EXPONENT_LIMIT;
    } else if (p.exponent < -EXPONENT_LIMIT) {
        p.exponent = -EXPONENT_LIMIT;
    }
    return p;
}

double uhn_powi(double x, unsigned long n) {
    if (n == 0) {
        return 1.0;
    }
    if (x != x) {
        return NAN;
    }
    int negative = (int)(to_bits(x) >> 63) & (int)(n & 1);
    double magnitude = from_bits(to_bits(x) & (UINT64_MAX >> 1));
    if (magnitude > 0.0 && magnitude < INFINITY) {
        int exponent;
        double m = split(magnitude, &exponent);
        scaled_pair square = {{m, 0.0}, exponent};
        scaled_pair result = {{1.0, 0.0}, 0};
        for (;;) {
            if (n & 1) {
                result = scaled_product(result, square);
            }
            n >>= 1;
            if (n == 0) {
                break;
            }
            square = scaled_product(square, square);
        }
        if (result.exponent > 1025) {
            magnitude = INFINITY;
        } else if (result.exponent < -1076) {
            magnitude = 0.0;
        } else {
            magnitude = scaled(result.value, (int)result.exponent);
        }
    }
    return negative ? -magnitude : magnitude;
}
