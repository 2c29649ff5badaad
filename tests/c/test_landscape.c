/*
 * test_landscape.c - every fixed point of small networks, against a look at each state alone.
 *
 * The oracle sums each field afresh in long double. Words around the answer are guarded; threads,
 * repetition and what was in the buffer before change nothing; bad sizes and numbers are refused.
 */
#include <math.h>

#include "check.h"

enum { MOST = 15 };

static double weights[30 * 30], bias[30];
static uint64_t stable[(1 << MOST) / 64 + 2], again[(1 << MOST) / 64];

/* True if no unit of the state disagrees with its field. */
static bool rests(size_t n, bool has_bias, uint32_t state) {
    for (size_t i = 0; i < n; i++) {
        long double h = has_bias ? bias[i] : 0;
        for (size_t j = 0; j < n; j++)
            h += (state >> j & 1) ? weights[i * n + j] : -weights[i * n + j];
        if (((state >> i & 1) ? h : -h) < 0) return false;
    }
    return true;
}

typedef enum content { WHOLE, REAL, LARGE, TINY } content;

static double number(rng *r, content what) {
    const double x = (double)((int64_t)(rng_next(r) >> 43) - (1 << 20)); /* |x| <= 2^20 */
    switch (what) {
    case WHOLE: return (double)(int64_t)(x / (1 << 18)); /* -4 .. 4: ties abound */
    case LARGE: return x * 0x1p26;                       /* whole, sums below 2^52 */
    case TINY: return x * 0x1p-1060;                     /* subnormal sums are exact too */
    default: return x / 3;
    }
}

static void fill_network(rng *r, size_t n, content what, bool symmetric) {
    for (size_t i = 0; i < n; i++) {
        bias[i] = number(r, what);
        for (size_t j = 0; j < n; j++)
            weights[i * n + j] = symmetric && j < i ? weights[j * n + i] : number(r, what);
    }
}

static void test_every_state(void) {
    rng r = {.state = 1};
    const uhn_run runs[2] = {{.n_threads = 1}, {.n_threads = 3}};
    for (size_t n = 1; n <= MOST; n++)
        for (int what = WHOLE; what <= TINY; what++)
            for (int variant = 0; variant < 4; variant++) {
                const bool has_bias = variant & 1;
                const size_t n_states = (size_t)1 << n, n_words = (n_states + 63) / 64;
                fill_network(&r, n, (content)what, variant & 2);
                memset(stable, 0xa5, sizeof stable);
                CHECK_OK(uhn_fixed_points(weights, has_bias ? bias : NULL, n,
                                          &runs[variant / 2], stable + 1, NULL));
                CHECK(stable[0] == 0xa5a5a5a5a5a5a5a5u &&
                          stable[n_words + 1] == 0xa5a5a5a5a5a5a5a5u,
                      "%zu units: words beside the answer were written", n);
                size_t n_wrong = 0;
                for (uint32_t s = 0; s < n_states; s++)
                    n_wrong += (stable[1 + s / 64] >> s % 64 & 1) != rests(n, has_bias, s);
                CHECK(n_wrong == 0, "%zu units, content %d: %zu states wrong", n, what,
                      n_wrong);
                if (n < 6)
                    CHECK(stable[1] >> n_states == 0, "%zu units: bits beyond the states", n);
                memset(again, 0x5a, sizeof again);
                CHECK_OK(uhn_fixed_points(weights, has_bias ? bias : NULL, n,
                                          &runs[1 - variant / 2], again, NULL));
                CHECK(!memcmp(again, stable + 1, n_words * sizeof *again), "threads decide");
            }
}

/* Hebb's weights of a few patterns, and the same times a number that is not exact: ties stay ties. */
static void test_scaled_ties(void) {
    rng r = {.state = 2};
    size_t n_ties = 0;
    for (int round = 0; round < 120; round++) {
        const size_t n = 6 + rng_below(&r, 7), n_words = (((size_t)1 << n) + 63) / 64;
        memset(weights, 0, sizeof weights);
        for (int k = 0; k < 3 + round % 4; k++) {
            const uint64_t pattern = rng_next(&r);
            for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < n; j++)
                    if (i != j)
                        weights[i * n + j] += (pattern >> i & 1) == (pattern >> j & 1) ? 1 : -1;
        }
        CHECK_OK(uhn_fixed_points(weights, NULL, n, NULL, stable, NULL));
        for (uint32_t s = 0; s < 1u << n; s++)
            if (stable[s / 64] >> s % 64 & 1) {
                double h = 0;
                for (size_t j = 0; j < n; j++) h += (s >> j & 1) ? weights[j] : -weights[j];
                n_ties += h == 0;
            }
        const double scales[] = {1.0 / (double)n, 0.1, 1e-300, 1e200};
        double whole[30 * 30];
        memcpy(whole, weights, sizeof whole);
        for (size_t c = 0; c < sizeof scales / sizeof *scales; c++) {
            for (size_t i = 0; i < n * n; i++) weights[i] = whole[i] * scales[c];
            CHECK_OK(uhn_fixed_points(weights, NULL, n, NULL, again, NULL));
            CHECK(!memcmp(again, stable, n_words * sizeof *again), "scale %g", scales[c]);
        }
    }
    CHECK(n_ties > 40, "%zu ties: the case decides nothing", n_ties);
}

/* A field of 2^-40 beside weights of 1 is below what a Gray code may lose, and yet decides. */
static void test_fields_just_off_zero(void) {
    for (int sign = -1; sign <= 1; sign++) {
        memset(weights, 0, sizeof weights);
        weights[1] = 1;
        weights[2] = 1 + sign * 0x1p-40;
        CHECK_OK(uhn_fixed_points(weights, NULL, 3, NULL, stable, NULL));
        /* Units 1 and 2 apart: the field of unit 0 is -sign 2^-40 where unit 1 is +1. */
        for (uint32_t s = 0; s < 8; s++) {
            const bool up = s & 1, one = s >> 1 & 1, two = s >> 2 & 1;
            const bool rest =
                one == two ? up == one : sign == 0 || up == (sign < 0 ? one : two);
            CHECK((stable[0] >> s & 1) == rest, "state %u, sign %d", s, sign);
        }
    }
}

static int stop_at_once(void *context) {
    ++*(int *)context;
    return 1;
}

static void test_refusals(void) {
    uhn_error error;
    memset(weights, 0, sizeof weights);
    CHECK_STATUS(uhn_fixed_points(weights, NULL, 0, NULL, stable, &error), UHN_BAD_SHAPE);
    CHECK_STATUS(uhn_fixed_points(weights, NULL, 31, NULL, stable, &error), UHN_BAD_SHAPE);
    CHECK(strstr(error.message, "30 units") != NULL, "%s", error.message);
    CHECK_STATUS(uhn_fixed_points(weights, NULL, (size_t)-1, NULL, stable, NULL),
                 UHN_BAD_SHAPE);
    const double bad[] = {NAN, INFINITY, -INFINITY, 1e308};
    for (size_t i = 0; i < 4; i++) {
        weights[5] = bad[i];
        CHECK_STATUS(uhn_fixed_points(weights, NULL, 3, NULL, stable, &error), UHN_BAD_DATA);
        CHECK(strstr(error.message, "unit 1") != NULL, "%s", error.message);
        weights[5] = 0;
        bias[2] = bad[i];
        CHECK_STATUS(uhn_fixed_points(weights, bias, 3, NULL, stable, &error), UHN_BAD_DATA);
        CHECK(strstr(error.message, "unit 2") != NULL, "%s", error.message);
        bias[2] = 0;
    }
    int n_asked = 0;
    const uhn_run run = {.n_threads = 1, .stop = stop_at_once, .stop_context = &n_asked};
    CHECK_STATUS(uhn_fixed_points(weights, NULL, MOST, &run, stable, NULL), UHN_STOPPED);
    CHECK(n_asked >= 1, "nobody asked whether to stop");
    CHECK_OK(uhn_fixed_points(weights, NULL, 2, NULL, stable, NULL));
    CHECK(stable[0] == 15, "without weights everything rests");
}

int main(void) {
    test_every_state();
    test_scaled_ties();
    test_fields_just_off_zero();
    test_refusals();
    return check_done();
}
