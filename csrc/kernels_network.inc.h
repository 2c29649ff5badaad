/*
 * kernels_network.inc.h - loops of networks with couplings between pairs (layer 1).
 *
 * Included by kernels_bits.inc.h, whose vector types and macros it uses. Three ideas:
 *
 * Overlaps with many packed columns are counted in bit planes: a full adder takes three planes to two
 * with five operations on all patterns of a vector at once (Harley and Seal), so that a column costs
 * three or four operations a vector instead of two for every few patterns.
 *
 * A sum of rows under signs is looked up for four rows at a time: of four rows there are 16 sums,
 * which are made once and serve every state of a group (Arlazarov, Dinic, Kronrod, Faradzhev 1970).
 *
 * For few states rows are added as they come, eight at a time.
 */

#define SHORTS (BITS_VECTOR / 2)

typedef int16_t bits_shorts __attribute__((vector_size(BITS_VECTOR)));
typedef uint16_t bits_ushorts __attribute__((vector_size(BITS_VECTOR)));
typedef uint32_t bits_uints __attribute__((vector_size(BITS_VECTOR)));

/* What an instruction set has a word of its own for:
 *
 *     PAIRS(x)            the int32 sums of neighbours among int16 lanes
 *     PRODUCTS(x, y)      the int32 sums of neighbouring products
 *     CHOOSE(word, v, x)  the int16 lanes of x, vector v of a word's 32, whose bits are set
 *     WIDEN_I16(p), WIDEN_I32(p)  a vector of int32 (int64) from int16 (int32) that lie anywhere
 */
#if defined(__AVX512BW__) && BITS_VECTOR == 64
#include <immintrin.h>
#define PAIRS(x) ((bits_ints)_mm512_madd_epi16((__m512i)(x), _mm512_set1_epi16(1)))
#define PRODUCTS(x, y) ((bits_ints)_mm512_madd_epi16((__m512i)(x), (__m512i)(y)))
#define CHOOSE(word, v, x)                                                                     \
    ((bits_shorts)_mm512_maskz_mov_epi16((__mmask32)(word), (__m512i)(x)))
#define WIDEN_I16(p)                                                                           \
    ((bits_ints)_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(p))))
#define WIDEN_I32(p)                                                                           \
    ((bits_longs)_mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i *)(const void *)(p))))
#elif defined(__AVX2__) && BITS_VECTOR == 32
#include <immintrin.h>
#define PAIRS(x) ((bits_ints)_mm256_madd_epi16((__m256i)(x), _mm256_set1_epi16(1)))
#define PRODUCTS(x, y) ((bits_ints)_mm256_madd_epi16((__m256i)(x), (__m256i)(y)))
#define WIDEN_I16(p)                                                                           \
    ((bits_ints)_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p))))
#define WIDEN_I32(p)                                                                           \
    ((bits_longs)_mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i *)(const void *)(p))))
#elif defined(__ARM_NEON) && BITS_VECTOR == 16
#include <arm_neon.h>
#define PAIRS(x) ((bits_ints)vpaddlq_s16((int16x8_t)(x)))
#elif BITS_VECTOR > 32
#error "a vector of 32 lanes of int16 cannot choose them by a bit of its own in each"
#endif

#ifndef CHOOSE
/* A vector of 8 or 16 lanes: its part of the word fits int16. */
static const int16_t bit_shorts[16]
    __attribute__((aligned(64))) = {1 << 0,  1 << 1,  1 << 2,  1 << 3,   1 << 4,  1 << 5,
                                    1 << 6,  1 << 7,  1 << 8,  1 << 9,   1 << 10, 1 << 11,
                                    1 << 12, 1 << 13, 1 << 14, INT16_MIN};
#define CHOOSE(word, v, x)                                                                     \
    ((x) & ((((bits_shorts){0} + (int16_t)((word) >> (SHORTS * (v)))) &                        \
             *(const bits_shorts *)bit_shorts) != 0))
#endif
#ifndef PAIRS
#define PAIRS(x) (((bits_ints)((bits_uints)(x) << 16) >> 16) + ((bits_ints)(x) >> 16))
#endif

/* The sum of all lanes, which fits int32. */
UHN_INLINE int32_t add_lanes(bits_ints x) {
#if BITS_VECTOR == 64
    typedef int32_t half __attribute__((vector_size(32)));
    const half y = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) +
                   __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
#elif BITS_VECTOR == 32
    const bits_ints y = x;
#endif
    typedef int32_t four __attribute__((vector_size(16)));
#if BITS_VECTOR > 16
    four z =
        __builtin_shufflevector(y, y, 0, 1, 2, 3) + __builtin_shufflevector(y, y, 4, 5, 6, 7);
#else
    four z = x;
#endif
    z += __builtin_shufflevector(z, z, 2, 3, 0, 1);
    z += __builtin_shufflevector(z, z, 1, 0, 3, 2);
    return z[0];
}

/* Vectors that may lie anywhere. */
typedef struct {
    bits_uints v;
} __attribute__((packed, may_alias)) loose_uints;
typedef struct {
    bits_shorts v;
} __attribute__((packed, may_alias)) loose_shorts;
typedef struct {
    bits_ints v;
} __attribute__((packed, may_alias)) loose_ints;
typedef struct {
    bits_longs v;
} __attribute__((packed, may_alias)) loose_longs;
typedef struct {
    bits_doubles v;
} __attribute__((packed, may_alias)) loose_doubles;
#define LOOSE(type, p) (((const loose_##type *)(p))->v)

#if defined(PRODUCTS) && BITS_VECTOR == 64
#define INTERLEAVE_LOW(a, b)                                                                   \
    __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define INTERLEAVE_HIGH(a, b)                                                                  \
    __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif defined(PRODUCTS)
#define INTERLEAVE_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define INTERLEAVE_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#endif

/* Lanes that become a vector of twice their width. */
#ifndef WIDEN_I16
typedef struct {
    int16_t v __attribute__((vector_size(BITS_VECTOR / 2)));
} __attribute__((packed, may_alias)) loose_half_shorts;
typedef struct {
    int32_t v __attribute__((vector_size(BITS_VECTOR / 2)));
} __attribute__((packed, may_alias)) loose_half_ints;
#define WIDEN_I16(p) __builtin_convertvector(((const loose_half_shorts *)(p))->v, bits_ints)
#define WIDEN_I32(p) __builtin_convertvector(((const loose_half_ints *)(p))->v, bits_longs)
#endif
#define WIDEN_F64(p) (((const loose_doubles *)(p))->v)

/* -------------------------------------------------------------------------------- overlaps -- */

enum { PLANES = 32, WORDS = BITS_VECTOR / 4 };

UHN_INLINE void full_adder(bits_uints *high, bits_uints *low, bits_uints a, bits_uints b) {
    const bits_uints c = *low, u = a ^ b;
    *high = (a & b) | (u & c);
    *low = u ^ c;
}

/* Eight columns, with the bits turned over where s is -1; `n` of them are there, and of these
 * `n_safe` may be read to the end of the vector, the others for n_bytes. */
UHN_INLINE void load_columns(const uint32_t *columns, size_t stride, size_t n, size_t n_safe,
                             size_t n_bytes, const int8_t *s, bits_uints *x) {
    UHN_UNROLL
    for (size_t i = 0; i < 8; i++) {
        x[i] = (bits_uints){0};
        if (i < n_safe) x[i] = LOOSE(uints, columns + i * stride);
        else if (i < n) memcpy(&x[i], columns + i * stride, n_bytes);
        if (i < n) x[i] ^= (bits_uints){0} + (uint32_t)((s[i] - 1) >> 1);
    }
}

/* How often s_j agrees with each bit of a vector of words, as bit planes. */
UHN_INLINE void count_agreements(const uint32_t *columns, size_t stride, size_t n,
                                 size_t n_safe, size_t n_bytes, const int8_t *s,
                                 bits_uints *planes) {
    bits_uints ones = {0}, twos = {0}, fours = {0}, wait[PLANES] = {{0}};
    for (int k = 0; k < PLANES; k++) planes[k] = (bits_uints){0};
    for (size_t j = 0; j < n; j += 8) {
        bits_uints x[8], a, b, c, d, carry;
        const uint32_t *at = columns + j * stride;
        if (j + 8 <= n_safe) load_columns(at, stride, 8, 8, n_bytes, s + j, x);
        else load_columns(at, stride, n - j, n_safe > j ? n_safe - j : 0, n_bytes, s + j, x);
        full_adder(&a, &ones, x[0], x[1]);
        full_adder(&b, &ones, x[2], x[3]);
        full_adder(&c, &twos, a, b);
        full_adder(&a, &ones, x[4], x[5]);
        full_adder(&b, &ones, x[6], x[7]);
        full_adder(&d, &twos, a, b);
        full_adder(&carry, &fours, c, d);
        /* Every second carry meets the one that waits, and what they carry moves up. */
        int k = 3;
        for (size_t t = j / 8; t & 1; t >>= 1, k++) {
            bits_uints up;
            full_adder(&up, &planes[k], wait[k], carry);
            carry = up;
        }
        wait[k] = carry;
    }
    planes[0] = ones;
    planes[1] = twos;
    planes[2] = fours;
    int k = 3;
    for (size_t t = (n + 7) / 8; t; t >>= 1, k++) {
        bits_uints carry = t & 1 ? wait[k] : (bits_uints){0};
        for (int up = k; up < PLANES; up++) {
            const bits_uints old = planes[up];
            planes[up] = old ^ carry;
            carry &= old;
        }
    }
}

/* For every vector of words: count, then m += 2 count - n by ADD(word of a plane, step). */
#define OVERLAPS(columns, n_words, n, n_after, s, AT)                                          \
    for (size_t first = 0; first < n_words; first += WORDS) {                                  \
        bits_uints planes[PLANES];                                                             \
        const size_t n_here = UHN_MIN((size_t)WORDS, n_words - first);                         \
        const size_t n_read = (n + n_after) * n_words;                                         \
        const size_t n_safe =                                                                  \
            n_read < first + WORDS ? 0 : (n_read - first - WORDS) / n_words + 1;               \
        count_agreements(columns + first, n_words, n, UHN_MIN(n_safe, n), 4 * n_here, s,       \
                         planes);                                                              \
        for (size_t w = 0; w < n_here; w++) AT(first + w, w);                                  \
    }

static void overlaps16(const uint32_t *columns, size_t n_words, size_t n, size_t n_after,
                       const int8_t *s, int16_t *m) {
    enum { VECTORS = 32 / SHORTS };
#define AT(word, w)                                                                            \
    for (int v = 0; v < VECTORS; v++) {                                                        \
        bits_ushorts *at = (bits_ushorts *)(m + 32 * (word)) + v;                              \
        bits_ushorts sum = *at - (uint16_t)n;                                                  \
        for (int k = 0; n >> k; k++) {                                                         \
            const uint32_t plane = planes[k][w];                                               \
            const bits_ushorts step = (bits_ushorts){0} + (uint16_t)(2u << k);                 \
            sum += (bits_ushorts)CHOOSE(plane, v, (bits_shorts)step);                          \
        }                                                                                      \
        *at = sum;                                                                             \
    }
    OVERLAPS(columns, n_words, n, n_after, s, AT)
#undef AT
}

static void overlaps32(const uint32_t *columns, size_t n_words, size_t n, size_t n_after,
                       const int8_t *s, int32_t *m) {
    enum { VECTORS = 32 / INTS };
#define AT(word, w)                                                                            \
    for (int v = 0; v < VECTORS; v++) {                                                        \
        const bits_ints bit = ((const bits_ints *)bit_ints)[v];                                \
        bits_ints *at = (bits_ints *)(m + 32 * (word)) + v;                                    \
        bits_ints sum = *at - (int32_t)n;                                                      \
        for (int k = 0; n >> k; k++)                                                           \
            sum += (((int32_t)planes[k][w] & bit) != 0) & (int32_t)(2u << k);                  \
        *at = sum;                                                                             \
    }
    OVERLAPS(columns, n_words, n, n_after, s, AT)
#undef AT
}

/* For at most SHORT_WORDS words, whose sum fits int32. */
enum { SHORT_WORDS = 1024 };
UHN_INLINE int32_t short_sum16(const uint32_t *bits, size_t n_words, const int16_t *m) {
    enum { VECTORS = 32 / SHORTS };
    bits_ints sum = {0};
    for (size_t w = 0; w < n_words; w++) {
        const uint32_t word = bits[w];
        UHN_UNROLL
        for (int v = 0; v < VECTORS; v++)
            sum += PAIRS(CHOOSE(word, v, ((const bits_shorts *)(m + 32 * w))[v]));
    }
    return add_lanes(sum);
}

static int64_t masked_sum16(const uint32_t *bits, size_t n_words, const int16_t *m) {
    int64_t total = 0;
    for (size_t w = 0; w < n_words; w += SHORT_WORDS)
        total += short_sum16(bits + w, UHN_MIN((size_t)SHORT_WORDS, n_words - w), m + 32 * w);
    return total;
}

static size_t count_bits(const uint32_t *bits, size_t n_words) {
    size_t n = 0;
    for (size_t w = 0; w < n_words; w++) n += (size_t)__builtin_popcount(bits[w]);
    return n;
}

static void masked_step16(const uint32_t *bits, size_t n_words, int32_t step, int16_t *m) {
    enum { VECTORS = 32 / SHORTS };
    const bits_shorts one = (bits_shorts){0} + (int16_t)step, two = one + one;
    for (size_t w = 0; w < n_words; w++) {
        const uint32_t word = bits[w];
        bits_shorts *at = (bits_shorts *)(m + 32 * w);
        UHN_UNROLL
        for (int v = 0; v < VECTORS; v++) at[v] += CHOOSE(word, v, two) - one;
    }
}

static void masked_step(const uint32_t *bits, size_t n_words, int32_t step, int32_t *m) {
    enum { VECTORS = 32 / INTS };
    for (size_t w = 0; w < n_words; w++) {
        const int32_t word = (int32_t)bits[w];
        bits_ints *at = (bits_ints *)(m + 32 * w);
        UHN_UNROLL
        for (int v = 0; v < VECTORS; v++) {
            const bits_ints set = (word & ((const bits_ints *)bit_ints)[v]) != 0;
            at[v] += (2 * step & set) - step;
        }
    }
}

enum { AHEAD = 12 }; /* looks whose columns are on their way */

#define WALK(SUM)                                                                              \
    for (size_t c = 0; c < n; c++) {                                                           \
        const size_t i = units[c];                                                             \
        if (c + AHEAD < n) __builtin_prefetch(columns + units[c + AHEAD] * n_words);           \
        const int64_t set = SUM(columns + i * n_words, n_words, m);                            \
        if ((2 * (2 * set - total - own * s[i]) + tie) * s[i] < 0) return c;                   \
    }                                                                                          \
    return n;

/* n_words is a constant where it is small. */
UHN_INLINE size_t walk_short16(const uint32_t *columns, size_t n_words, const int16_t *m,
                               int64_t total, int64_t own, const uint32_t *units, size_t n,
                               const int8_t *s, int tie) {
    WALK(short_sum16)
}

static size_t walk16(const uint32_t *columns, size_t n_words, const int16_t *m, int64_t total,
                     int64_t own, const uint32_t *units, size_t n, const int8_t *s, int tie) {
    if (n_words == 1) return walk_short16(columns, 1, m, total, own, units, n, s, tie);
    if (n_words == 2) return walk_short16(columns, 2, m, total, own, units, n, s, tie);
    if (n_words <= SHORT_WORDS)
        return walk_short16(columns, n_words, m, total, own, units, n, s, tie);
    WALK(masked_sum16)
}

static size_t walk32(const uint32_t *columns, size_t n_words, const int32_t *m, int64_t total,
                     int64_t own, const uint32_t *units, size_t n, const int8_t *s, int tie) {
    WALK(masked_sum)
}
#undef WALK

static void masked_sums16(const uint32_t *columns, size_t n_words, const int16_t *m, size_t n,
                          int64_t *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = n_words <= SHORT_WORDS ? short_sum16(columns + i * n_words, n_words, m)
                                        : masked_sum16(columns + i * n_words, n_words, m);
}

static void masked_sums32(const uint32_t *columns, size_t n_words, const int32_t *m, size_t n,
                          int64_t *out) {
    for (size_t i = 0; i < n; i++) out[i] = masked_sum(columns + i * n_words, n_words, m);
}

/* ---------------------------------------------------------------------------- sums of rows -- */

/* A flip: sums += 2 row, or -= with `down`. */
static void flip_i16(const int16_t *row, bool down, size_t n, int32_t *sums) {
    size_t i = 0;
    if (down)
        for (; i + INTS <= n; i += INTS)
            ((loose_ints *)(sums + i))->v -= WIDEN_I16(row + i) << 1;
    else
        for (; i + INTS <= n; i += INTS)
            ((loose_ints *)(sums + i))->v += WIDEN_I16(row + i) << 1;
    for (; i < n; i++) sums[i] += (down ? -2 : 2) * row[i];
}

static void flip_i32(const int32_t *row, bool down, size_t n, int64_t *sums) {
    size_t i = 0;
    if (down)
        for (; i + LONGS <= n; i += LONGS)
            ((loose_longs *)(sums + i))->v -= WIDEN_I32(row + i) << 1;
    else
        for (; i + LONGS <= n; i += LONGS)
            ((loose_longs *)(sums + i))->v += WIDEN_I32(row + i) << 1;
    for (; i < n; i++) sums[i] += (down ? -2 : 2) * (int64_t)row[i];
}

static void flip_f64(const double *row, bool down, size_t n, double *sums) {
    const double step = down ? -2 : 2;
    for (size_t i = 0; i < n; i++) sums[i] += step * row[i];
}

/* Eight rows, or what is left of them. */
static void few_i32(const int32_t *rows, size_t stride, const int8_t *signs, size_t n_rows,
                    size_t n, int64_t *sums) {
    size_t i = 0;
    for (; n_rows == UHN_FEW_ROWS && i + LONGS <= n; i += LONGS) {
        loose_longs *at = (loose_longs *)(sums + i);
        bits_longs sum = at->v;
        UHN_UNROLL
        for (size_t k = 0; k < UHN_FEW_ROWS; k++) {
            const int64_t negative = signs[k] >> 1;
            __builtin_prefetch(rows + (k + UHN_FEW_ROWS) * stride + i);
            sum += (WIDEN_I32(rows + k * stride + i) ^ negative) - negative;
        }
        at->v = sum;
    }
    for (; i < n; i++)
        for (size_t k = 0; k < n_rows; k++) sums[i] += signs[k] * (int64_t)rows[k * stride + i];
}

/* Four at a time in this order: ((r0 + r1) + (r2 + r3)). */
static void few_f64(const double *rows, size_t stride, const int8_t *signs, size_t n_rows,
                    size_t n, double *sums) {
    const double *r[UHN_FEW_ROWS];
    double g[UHN_FEW_ROWS];
    for (size_t k = 0; k < UHN_FEW_ROWS; k++) {
        r[k] = rows + (k < n_rows ? k : 0) * stride;
        g[k] = k < n_rows ? signs[k] : 0;
    }
    size_t i = 0;
    for (; i + LONGS <= n; i += LONGS) {
        loose_doubles *at = (loose_doubles *)(sums + i);
        bits_doubles x[UHN_FEW_ROWS];
        UHN_UNROLL
        for (size_t k = 0; k < UHN_FEW_ROWS; k++) x[k] = WIDEN_F64(r[k] + i) * g[k];
        at->v = (at->v + ((x[0] + x[1]) + (x[2] + x[3]))) + ((x[4] + x[5]) + (x[6] + x[7]));
    }
    for (; i < n; i++) {
        double x[UHN_FEW_ROWS];
        for (size_t k = 0; k < UHN_FEW_ROWS; k++) x[k] = r[k][i] * g[k];
        sums[i] = (sums[i] + ((x[0] + x[1]) + (x[2] + x[3]))) + ((x[4] + x[5]) + (x[6] + x[7]));
    }
}

static void few_i16(const int16_t *rows, size_t stride, const int8_t *signs, size_t n_rows,
                    size_t n, int32_t *sums) {
    size_t i = 0;
#ifdef PRODUCTS
    /* Lanes of even and of odd columns, each multiplied by the sign and its neighbour by 0. */
    bits_shorts even_sign[UHN_FEW_ROWS], odd_sign[UHN_FEW_ROWS];
    for (size_t k = 0; k < n_rows; k++) {
        even_sign[k] = (bits_shorts)((bits_ints){0} + (uint16_t)signs[k]);
        odd_sign[k] = (bits_shorts)((bits_uints){0} + ((uint32_t)signs[k] << 16));
    }
    for (; n_rows == UHN_FEW_ROWS && i + SHORTS <= n; i += SHORTS) {
        bits_ints even = {0}, odd = {0};
        UHN_UNROLL
        for (size_t k = 0; k < UHN_FEW_ROWS; k++) {
            const bits_shorts x = LOOSE(shorts, rows + k * stride + i);
            __builtin_prefetch(rows + (k + UHN_FEW_ROWS) * stride + i);
            even += PRODUCTS(x, even_sign[k]);
            odd += PRODUCTS(x, odd_sign[k]);
        }
        loose_ints *at = (loose_ints *)(sums + i);
        at[0].v += INTERLEAVE_LOW(even, odd);
        at[1].v += INTERLEAVE_HIGH(even, odd);
    }
#else
    for (; n_rows == UHN_FEW_ROWS && i + INTS <= n; i += INTS) {
        loose_ints *at = (loose_ints *)(sums + i);
        bits_ints sum = at->v;
        UHN_UNROLL
        for (size_t k = 0; k < UHN_FEW_ROWS; k++) {
            const int32_t negative = signs[k] >> 1;
            sum += (WIDEN_I16(rows + k * stride + i) ^ negative) - negative;
        }
        at->v = sum;
    }
#endif
    for (; i < n; i++)
        for (size_t k = 0; k < n_rows; k++) sums[i] += signs[k] * rows[k * stride + i];
}

/* Rows in groups of four: entry b of a group's table is ((+-r0 +- r1) + (+-r2 +- r3)) with + where
 * bit k of b is set; a row that is not there is 0. */
#define MANY(NAME, ROW, ACC, VEC, WIDEN)                                                       \
    static void NAME(const ROW *rows, size_t stride, size_t n_rows, size_t n, const ROW *next, \
                     void *table, const uint16_t *const *offsets, size_t first,                \
                     size_t n_states, ACC *const *sums, size_t column) {                       \
        typedef VEC vec;                                                                       \
        enum { LANES = sizeof(VEC) / sizeof(ACC) };                                            \
        enum { VECTORS = UHN_PANEL / BITS_VECTOR, WIDTH = UHN_PANEL / sizeof(ACC) };           \
        enum { AT_ONCE = VECTORS < 4 ? VECTORS : 4 };                                          \
        const size_t n_groups = (n_rows + 3) / 4;                                              \
        for (size_t g = 0; g < n_groups; g++) {                                                \
            ROW buffer[4][WIDTH];                                                              \
            const ROW *r[4];                                                                   \
            for (size_t k = 0; k < 4; k++) {                                                   \
                r[k] = rows + (4 * g + k) * stride;                                            \
                if (4 * g + k < n_rows && n == WIDTH) continue;                                \
                memset(buffer[k], 0, sizeof buffer[k]);                                        \
                if (4 * g + k < n_rows) memcpy(buffer[k], r[k], n * sizeof(ROW));              \
                r[k] = buffer[k];                                                              \
            }                                                                                  \
            vec *entry = (vec *)table + 16 * VECTORS * g;                                      \
            for (size_t v = 0; v < VECTORS; v++) {                                             \
                const vec a = WIDEN(r[0] + LANES * v), b = WIDEN(r[1] + LANES * v);            \
                const vec c = WIDEN(r[2] + LANES * v), d = WIDEN(r[3] + LANES * v);            \
                const vec low[4] = {-a - b, a - b, b - a, a + b};                              \
                const vec high[4] = {-c - d, c - d, d - c, c + d};                             \
                UHN_UNROLL                                                                     \
                for (size_t e = 0; e < 16; e++)                                                \
                    entry[VECTORS * e + v] = low[e % 4] + high[e / 4];                         \
            }                                                                                  \
        }                                                                                      \
        for (size_t k = 0; k < n_states; k++) {                                                \
            for (size_t i = 0; next && k < UHN_MANY_ROWS && i < WIDTH; i += 64 / sizeof(ROW))  \
                __builtin_prefetch(next + k * stride + i);                                     \
            const uint16_t *offset = offsets[k] + first;                                       \
            vec *at = (vec *)(sums[k] + column);                                               \
            for (size_t v = 0; v < VECTORS; v += AT_ONCE) {                                    \
                const char *entry = (const char *)table + v * sizeof(vec);                     \
                vec sum[AT_ONCE];                                                              \
                UHN_UNROLL                                                                     \
                for (size_t u = 0; u < AT_ONCE; u++) sum[u] = at[v + u];                       \
                if (n_groups == UHN_MANY_ROWS / 4) {                                           \
                    UHN_UNROLL                                                                 \
                    for (size_t g = 0; g < UHN_MANY_ROWS / 4; g++) UHN_UNROLL                  \
                    for (size_t u = 0; u < AT_ONCE; u++)                                       \
                        sum[u] += ((const vec *)(entry + 16 * UHN_PANEL * g + offset[g]))[u];  \
                } else {                                                                       \
                    for (size_t g = 0; g < n_groups; g++) UHN_UNROLL                           \
                    for (size_t u = 0; u < AT_ONCE; u++)                                       \
                        sum[u] += ((const vec *)(entry + 16 * UHN_PANEL * g + offset[g]))[u];  \
                }                                                                              \
                UHN_UNROLL                                                                     \
                for (size_t u = 0; u < AT_ONCE; u++) at[v + u] = sum[u];                       \
            }                                                                                  \
        }                                                                                      \
    }
MANY(many_i16, int16_t, int32_t, bits_ints, WIDEN_I16)
MANY(many_i32, int32_t, int64_t, bits_longs, WIDEN_I32)
MANY(many_f64, double, double, bits_doubles, WIDEN_F64)
#undef MANY

/* The same with bytes: sums of UHN_BYTE_ROWS times +1 or -1 fit int8. */
static void many_i8(const int8_t *rows, size_t stride, size_t n_rows, size_t n, void *table,
                    const uint8_t *nibbles, size_t n_nibbles, size_t n_states, int16_t *sums) {
    typedef int8_t bytes __attribute__((vector_size(BITS_VECTOR)));
    enum { PARTS = UHN_BYTES / BITS_VECTOR };
    const size_t n_groups = (n_rows + 3) / 4;
    for (size_t g = 0; g < n_groups; g++) {
        bytes r[4][PARTS];
        memset(r, 0, sizeof r);
        for (size_t k = 0; k < 4 && 4 * g + k < n_rows; k++)
            memcpy(r[k], rows + (4 * g + k) * stride, n);
        bytes *entry = (bytes *)table + 16 * PARTS * g;
        for (size_t p = 0; p < PARTS; p++) {
            const bytes a = r[0][p], b = r[1][p], c = r[2][p], d = r[3][p];
            const bytes low[4] = {-a - b, a - b, b - a, a + b};
            const bytes high[4] = {-c - d, c - d, d - c, c + d};
            UHN_UNROLL
            for (size_t e = 0; e < 16; e++) entry[PARTS * e + p] = low[e % 4] + high[e / 4];
        }
    }
    for (size_t k = 0; k < n_states; k++) {
        const uint8_t *nibble = nibbles + k * n_nibbles;
        bytes sum[PARTS];
        int8_t flat[UHN_BYTES] __attribute__((aligned(64)));
        UHN_UNROLL
        for (size_t p = 0; p < PARTS; p++) sum[p] = (bytes){0};
        const char *entry = table;
        for (size_t g = 0; g < n_groups; g++, entry += 16 * UHN_BYTES) {
            const bytes *at = (const bytes *)(entry + UHN_BYTES * nibble[g]);
            UHN_UNROLL
            for (size_t p = 0; p < PARTS; p++) sum[p] += at[p];
        }
        UHN_UNROLL
        for (size_t p = 0; p < PARTS; p++) ((bytes *)flat)[p] = sum[p];
        int16_t *at = sums + k * UHN_BYTES;
        for (size_t i = 0; i < UHN_BYTES; i++) at[i] = (int16_t)(at[i] + flat[i]);
    }
}

#undef SHORTS
