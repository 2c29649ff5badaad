/*
 * test_scalar.c - tests of scalar.h, and of the coefficients of elementary.h by their recipes.
 *
 * Build and run, in this directory:
 *
 *     cc -std=c11 -O2 -ffp-contract=off -I../../csrc test_scalar.c ../../csrc/scalar.c -lm
 *     ./a.out
 *
 * Results are compared with the C library's long double functions under the bounds the headers
 * state. Where long double is no wider than double (MSVC, Apple silicon), the reference itself
 * may be off by an ulp or two, and the bounds are widened by as much. The checksum at the end
 * pins the bits of a sweep: it must be the same on every compiler and CPU, and changes only
 * when a formula in scalar.c is changed on purpose.
 */
#include "elementary.h"
#include "scalar.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if LDBL_MANT_DIG >= 64
#define SLACK 0.01 /* the reference is good for about 2^-10 ulp of double */
#else
#define SLACK 2.0
#endif

static int n_passed, n_failed;

static void check(int ok, const char *what) {
    if (ok) {
        n_passed++;
    } else {
        n_failed++;
        printf("FAILED: %s\n", what);
    }
}

static void check_below(double worst, double bound, double at, const char *what) {
    if (worst <= bound) {
        n_passed++;
    } else {
        n_failed++;
        printf("FAILED: %s: %.4f ulp at %a, allowed %.4f\n", what, worst, at, bound);
    }
}

/* ------------------------------------------------------------------------------- helpers -- */

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

static uint32_t to_bits_f32(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float from_bits_f32(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* xorshift64: the same arguments on every system. */
static uint64_t random_state;

static uint64_t random_bits(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static double uniform(double low, double high) {
    return low + (high - low) * ((double)(random_bits() >> 11) * 0x1p-53);
}

/* 1 + a random number of random size, for arguments close to 1 on either side. */
static double near_one(void) {
    return 1.0 + ldexp(uniform(-1.0, 1.0), -(int)(random_bits() % 53));
}

/* |got - truth| in units in the last place of the truth, in a format of `digits` bits whose
 * smallest normal exponent is `least` (as frexp counts). */
static double error_in(double got, long double truth, int digits, int least) {
    if (isnan(got) || isnan(truth)) {
        return isnan(got) && isnan(truth) ? 0.0 : HUGE_VAL;
    }
    if (isinf(got) || isinf(truth)) {
        /* A truth within half a place of overflow may be either. */
        long double limit = digits == 24 ? (long double)FLT_MAX : (long double)DBL_MAX;
        return (isinf(got) && fabsl(truth) >= limit && (got > 0) == (truth > 0)) ? 0.0
                                                                                 : HUGE_VAL;
    }
    int exponent = least;
    if (truth != 0.0L) {
        (void)frexpl(truth, &exponent);
    }
    if (exponent < least) {
        exponent = least;
    }
    return (double)ldexpl(fabsl((long double)got - truth), digits - exponent);
}

static double error_f64(double got, long double truth) {
    return error_in(got, truth, 53, -1021);
}

static double error_f32(float got, long double truth) {
    return error_in((double)got, truth, 24, -125);
}

typedef struct worst {
    double error, at;
} worst;

static void see(worst *w, double error, double at) {
    if (!(error <= w->error)) {
        w->error = error;
        w->at = at;
    }
}

#define N_RANDOM 200000

/* ------------------------------------------------------------------------------ scalar.h -- */

static void test_exp2(void) {
    worst w = {0.0, 0.0};
    for (int i = 0; i < N_RANDOM; i++) {
        double x[3] = {uniform(-1.0, 1.0), uniform(-1022.0, 1024.0), uniform(-1076.0, -1021.0)};
        for (int j = 0; j < 3; j++) {
            see(&w, error_f64(uhn_exp2(x[j]), exp2l(x[j])), x[j]);
        }
    }
    check_below(w.error, 0.62 + SLACK, w.at, "uhn_exp2 within 0.62 ulp");

    int exact = 1;
    for (int n = -1074; n < 1024; n++) {
        exact &= uhn_exp2(n) == ldexp(1.0, n);
    }
    check(exact, "uhn_exp2 of an integer is exact");
    check(uhn_exp2(1024.0) == INFINITY && uhn_exp2(1e300) == INFINITY, "uhn_exp2 overflows");
    check(uhn_exp2(INFINITY) == INFINITY && uhn_exp2(-INFINITY) == 0.0, "uhn_exp2 of infinity");
    check(uhn_exp2(-1075.0) == 0.0 && uhn_exp2(-1e300) == 0.0, "uhn_exp2 underflows to 0");
    check(uhn_exp2(nextafter(-1075.0, 0.0)) == 0x1p-1074,
          "uhn_exp2 rounds just above -1075 up");
    check(uhn_exp2(nextafter(1024.0, 0.0)) <= DBL_MAX, "uhn_exp2 just below 1024 is finite");
    check(isnan(uhn_exp2(NAN)), "uhn_exp2(NaN)");
}

static void test_log2(void) {
    worst w = {0.0, 0.0};
    for (int i = 0; i < N_RANDOM; i++) {
        double any = from_bits(random_bits() >> 1);
        double x[4] = {isfinite(any) ? any : 3.0, uniform(0.3, 3.0), near_one(),
                       ldexp(uniform(0.0, 1.0), -1022)};
        for (int j = 0; j < 4; j++) {
            if (x[j] > 0.0) {
                see(&w, error_f64(uhn_log2(x[j]), log2l(x[j])), x[j]);
            }
        }
    }
    check_below(w.error, 0.51 + SLACK, w.at, "uhn_log2 within 0.51 ulp");

    int exact = 1;
    for (int n = -1074; n < 1024; n++) {
        exact &= uhn_log2(ldexp(1.0, n)) == n;
    }
    check(exact, "uhn_log2 of a power of two is exact");
    check(uhn_log2(0.0) == -INFINITY && uhn_log2(-0.0) == -INFINITY, "uhn_log2(0)");
    check(uhn_log2(INFINITY) == INFINITY, "uhn_log2(infinity)");
    check(isnan(uhn_log2(-1.0)) && isnan(uhn_log2(-INFINITY)), "uhn_log2 of negative numbers");
    check(isnan(uhn_log2(NAN)), "uhn_log2(NaN)");
}

static void test_log1p(void) {
    worst w = {0.0, 0.0};
    for (int i = 0; i < N_RANDOM; i++) {
        double any = from_bits(random_bits() >> 1);
        double x[4] = {isfinite(any) ? any : 3.0, uniform(-1.0, 3.0),
                       ldexp(uniform(-1.0, 1.0), -(int)(random_bits() % 70)),
                       -1.0 + ldexp(uniform(0.0, 1.0), -(int)(random_bits() % 53))};
        for (int j = 0; j < 4; j++) {
            if (x[j] > -1.0) {
                see(&w, error_f64(uhn_log1p(x[j]), log1pl(x[j])), x[j]);
            }
        }
    }
    check_below(w.error, 0.51 + SLACK, w.at, "uhn_log1p within 0.51 ulp");
    check(uhn_log1p(-1.0) == -INFINITY, "uhn_log1p(-1)");
    check(uhn_log1p(INFINITY) == INFINITY, "uhn_log1p(infinity)");
    check(isnan(uhn_log1p(-1.5)) && isnan(uhn_log1p(-INFINITY)), "uhn_log1p below -1");
    check(isnan(uhn_log1p(NAN)), "uhn_log1p(NaN)");
    check(uhn_log1p(0x1p-1074) == 0x1p-1074, "uhn_log1p of the smallest number");
    check(to_bits(uhn_log1p(-0.0)) == to_bits(-0.0), "uhn_log1p(-0) is -0");
}

static void test_pow(void) {
    worst w = {0.0, 0.0}, large = {0.0, 0.0};
    for (int i = 0; i < N_RANDOM; i++) {
        double x = uniform(0.0, 100.0), y = uniform(0.0, 200.0);
        see(&w, error_f64(uhn_pow(x, y), powl(x, y)), x);
        x = from_bits(random_bits() >> 1);
        y = uniform(0.0, 4.0);
        if (isfinite(x)) {
            see(&w, error_f64(uhn_pow(x, y), powl(x, y)), x);
        }
        x = near_one();
        if (x != 1.0) {
            y = uniform(-1074.0, 1024.0) / uhn_log2(x);
            see(&large, error_f64(uhn_pow(x, y), powl(x, y)), x);
        }
    }
    check_below(w.error, 0.62 + SLACK, w.at, "uhn_pow within 0.62 ulp");
    check_below(large.error, 0.62 + 2.0 * SLACK, large.at, "uhn_pow within 0.62 ulp, large y");

    int exact = 1;
    for (int x = 0; x <= 30; x++) {
        double product = 1.0;
        for (int y = 0; y <= 10; y++) {
            exact &= uhn_pow(x, y) == product; /* 30^10 < 2^53 */
            product *= x;
        }
        exact &= uhn_pow(x * x, 0.5) == x;
    }
    check(exact, "uhn_pow is exact where the result is a double");
    check(uhn_pow(0.0, 0.0) == 1.0 && uhn_pow(NAN, 0.0) == 1.0, "uhn_pow(x, 0)");
    check(uhn_pow(1.0, 1e300) == 1.0 && uhn_pow(1.0, NAN) == 1.0, "uhn_pow(1, y)");
    check(uhn_pow(0.0, 2.5) == 0.0 && uhn_pow(0.0, -2.5) == INFINITY, "uhn_pow(0, y)");
    check(uhn_pow(INFINITY, 0.1) == INFINITY && uhn_pow(INFINITY, -1.0) == 0.0,
          "uhn_pow(infinity, y)");
    check(uhn_pow(2.0, INFINITY) == INFINITY && uhn_pow(0.5, INFINITY) == 0.0,
          "uhn_pow(x, infinity)");
    check(uhn_pow(nextafter(1.0, 2.0), 1e300) == INFINITY, "uhn_pow overflows");
    check(uhn_pow(nextafter(1.0, 0.0), 1e300) == 0.0, "uhn_pow underflows");
    check(uhn_pow(2.0, 0x1p-1074) == 1.0, "uhn_pow, the smallest exponent");
    check(uhn_pow(0x1p-1074, 1.0) == 0x1p-1074 && uhn_pow(DBL_MAX, 1.0) == DBL_MAX,
          "uhn_pow(x, 1) at both ends");
    check(isnan(uhn_pow(-1.0, 2.0)) && isnan(uhn_pow(NAN, 1.0)) && isnan(uhn_pow(2.0, NAN)),
          "uhn_pow outside its domain");
}

static void test_powi(void) {
    worst w = {0.0, 0.0};
    for (int i = 0; i < N_RANDOM; i++) {
        double x = uniform(-10.0, 10.0);
        unsigned long n = (unsigned long)(random_bits() % 320);
        see(&w, error_f64(uhn_powi(x, n), powl(x, (long double)n)), x);
        x = from_bits(random_bits());
        n = (unsigned long)(random_bits() % 5);
        if (isfinite(x)) {
            see(&w, error_f64(uhn_powi(x, n), powl(x, (long double)n)), x);
        }
    }
    check_below(w.error, 0.51 + SLACK, w.at, "uhn_powi within 0.51 ulp");

    int exact = 1;
    for (int x = -30; x <= 30; x++) {
        double product = 1.0;
        for (unsigned long n = 0; n <= 10; n++) {
            exact &= uhn_powi(x, n) == product;
            product *= x;
        }
    }
    check(exact, "uhn_powi is exact where the result is a double");
    check(uhn_powi(0.0, 0) == 1.0 && uhn_powi(NAN, 0) == 1.0, "uhn_powi(x, 0)");
    check(to_bits(uhn_powi(-0.0, 3)) == to_bits(-0.0) && to_bits(uhn_powi(-0.0, 2)) == 0,
          "uhn_powi(-0, n)");
    check(uhn_powi(-INFINITY, 3) == -INFINITY && uhn_powi(-INFINITY, 2) == INFINITY,
          "uhn_powi(-infinity, n)");
    check(uhn_powi(-3.0, 4294967295UL) == -INFINITY, "uhn_powi overflows, largest n");
    check(to_bits(uhn_powi(-0.3, 4294967295UL)) == to_bits(-0.0), "uhn_powi underflows");
    check(uhn_powi(-2.0, 1023) == -0x1p1023 && uhn_powi(0.5, 1074) == 0x1p-1074,
          "uhn_powi at both ends of the range");
    check(isnan(uhn_powi(NAN, 3)), "uhn_powi(NaN, n)");
}

/* FNV-1a over the bits of a sweep, NaN counted as one value. */
static uint64_t checksum;

static void mix(double x) {
    checksum = (checksum ^ (x != x ? 1 : to_bits(x))) * UINT64_C(1099511628211);
}

static void test_same_bits(void) {
    random_state = UINT64_C(88172645463325252);
    checksum = UINT64_C(1469598103934665603);
    for (int i = 0; i < 50000; i++) {
        double a = from_bits(random_bits());
        double u = uniform(0.0, 1.0);
        double v = uniform(0.0, 1.0);
        mix(uhn_exp2(2200.0 * (u - 0.5)));
        mix(uhn_exp2(u - v));
        mix(uhn_log2(a));
        mix(uhn_log2(1.0 + (u - v)));
        mix(uhn_log1p(a));
        mix(uhn_log1p(u - v));
        mix(uhn_pow(3.0 * u, 400.0 * v));
        mix(uhn_pow(a, v));
        mix(uhn_powi(4.0 * (u - v), (unsigned long)(random_bits() & 255)));
    }
    check(checksum == UINT64_C(0x972a0453cb8e7893), "the bits of a sweep are the pinned ones");
    if (n_failed) {
        printf("checksum of the sweep: 0x%016llx\n", (unsigned long long)checksum);
    }
}

/* -------------------------------------------------------------------------- elementary.h -- */

/* Each of the next four is the recipe of elementary.h, one lane wide. */

static float exp2_f32(float x) {
    static const float c[] = {UHN_EXP2_F32_COEFFS};
    float p = c[0];
    for (int i = 1; i <= UHN_EXP2_F32_DEGREE; i++) {
        p = fmaf(p, x, c[i]);
    }
    return p;
}

static double exp2_f64(double x) {
    static const double c[] = {UHN_EXP2_F64_COEFFS};
    double p = c[0];
    for (int i = 1; i <= UHN_EXP2_F64_DEGREE; i++) {
        p = fma(p, x, c[i]);
    }
    return p;
}

static float log_f32(float x) {
    static const float c[] = {UHN_LOG_F32_COEFFS};
    uint32_t b = to_bits_f32(x) + UHN_LOG_F32_OFFSET;
    float e = (float)((int)(b >> UHN_LOG_F32_SHIFT) - UHN_LOG_F32_BIAS);
    float m = from_bits_f32((b & UHN_LOG_F32_MANTISSA) + UHN_LOG_F32_SQRT_HALF);
    float f = m - 1.0f;
    float y = f * f;
    float p = c[0];
    for (int i = 1; i <= UHN_LOG_F32_DEGREE; i++) {
        p = fmaf(p, f, c[i]);
    }
    float q = fmaf(f, p, -0.5f);
    float r = fmaf(y, q, e * UHN_LOG_F32_LN2_LO);
    return fmaf(e, UHN_LOG_F32_LN2_HI, f + r);
}

static double log_f64(double x) {
    static const double c[] = {UHN_LOG_F64_COEFFS};
    uint64_t b = to_bits(x) + UHN_LOG_F64_OFFSET;
    double e = (double)((int)(b >> UHN_LOG_F64_SHIFT) - UHN_LOG_F64_BIAS);
    double m = from_bits((b & UHN_LOG_F64_MANTISSA) + UHN_LOG_F64_SQRT_HALF);
    double f = m - 1.0;
    double s = f / (2.0 + f);
    double z = s * s;
    double p = c[0];
    for (int i = 1; i <= UHN_LOG_F64_DEGREE; i++) {
        p = fma(p, z, c[i]);
    }
    double y = (0.5 * f) * f;
    double t = fma(z, p, y);
    double d = fma(s, t, fma(e, UHN_LOG_F64_LN2_LO, -y));
    return fma(e, UHN_LOG_F64_LN2_HI, f + d);
}

static void test_elementary_f32(void) {
    worst w = {0.0, 0.0};
    for (uint32_t bits = 0; bits <= 0x3f000000u; bits += 1009) {
        float x = from_bits_f32(bits);
        see(&w, error_f32(exp2_f32(x), exp2l(x)), x);
        see(&w, error_f32(exp2_f32(-x), exp2l(-x)), -x);
    }
    check_below(w.error, 0.81, w.at, "2^x in float within 0.80 ulp");
    check(exp2_f32(0.0f) == 1.0f, "2^0 in float is 1");

    w = (worst){0.0, 0.0};
    int rising = 1;
    float before = -INFINITY;
    for (uint32_t bits = 0x00800000u; bits < 0x7f800000u; bits += 1009) {
        float x = from_bits_f32(bits), got = log_f32(x);
        see(&w, error_f32(got, logl(x)), x);
        rising &= got >= before;
        before = got;
    }
    check_below(w.error, 0.89, w.at, "ln x in float within 0.88 ulp");
    check(rising, "ln x in float never decreases");
    check(to_bits_f32(log_f32(1.0f)) == 0, "ln 1 in float is 0");
}

static void test_elementary_f64(void) {
    worst exponential = {0.0, 0.0}, logarithm = {0.0, 0.0};
    for (int i = 0; i < N_RANDOM; i++) {
        double x = uniform(-0.5, 0.5);
        see(&exponential, error_f64(exp2_f64(x), exp2l(x)), x);
        double any = from_bits(random_bits() >> 1);
        double y[3] = {isfinite(any) && any >= DBL_MIN ? any : 2.0, uniform(0.3, 3.0),
                       near_one()};
        for (int j = 0; j < 3; j++) {
            see(&logarithm, error_f64(log_f64(y[j]), logl(y[j])), y[j]);
        }
    }
    check_below(exponential.error, 0.80 + SLACK, exponential.at,
                "2^x in double within 0.80 ulp");
    check_below(logarithm.error, 0.88 + SLACK, logarithm.at, "ln x in double within 0.88 ulp");
    check(exp2_f64(0.0) == 1.0, "2^0 in double is 1");
    check(to_bits(log_f64(1.0)) == 0, "ln 1 in double is 0");
}

int main(void) {
    random_state = UINT64_C(0x9e3779b97f4a7c15);
    test_exp2();
    test_log2();
    test_log1p();
    test_pow();
    test_powi();
    test_same_bits();
    test_elementary_f32();
    test_elementary_f64();
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed != 0;
}
