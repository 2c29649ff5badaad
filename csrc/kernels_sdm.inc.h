/*
 * kernels_sdm.inc.h - loops over packed addresses: who is how far from whom.
 *
 * Included by kernels_bits.inc.h, whose vector types it uses.
 */

/* What an instruction set has a word of its own for:
 *
 *     COUNTS(x)        counts of the bits of a vector that SUM_COUNTS can sum: those of each byte, in
 *                      that byte, unless the machine does better
 *     SUM_COUNTS(x)    the sum of at most 31 counts, for each 64-bit place
 *     SIGN_MASK(x)     the signs of the 64-bit places as bits, lowest place first
 *     SCALAR_POPCOUNT  defined if counting the bits of one word is one instruction
 *     FEW_QUERIES      one by one these are faster than in panels: 1 if not defined
 *
 * Where there is no instruction bits are counted by two look-ups a byte. */
#if defined(__AVX512BW__) && BITS_VECTOR == 64
#include <immintrin.h>
#define SIGN_MASK(x) (uint64_t) _mm512_movepi64_mask((__m512i)(x))
#if defined(__AVX512VPOPCNTDQ__)
#define COUNTS(x) (bits_ulongs) _mm512_popcnt_epi64((__m512i)(x))
#define SUM_COUNTS(x) (x)
#else
UHN_INLINE __m512i counts_of_bytes(__m512i x) {
    const __m512i table =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const __m512i low = _mm512_set1_epi8(15);
    const __m512i high = _mm512_and_si512(_mm512_srli_epi16(x, 4), low);
    return _mm512_add_epi8(_mm512_shuffle_epi8(table, _mm512_and_si512(x, low)),
                           _mm512_shuffle_epi8(table, high));
}
#define COUNTS(x) (bits_ulongs) counts_of_bytes((__m512i)(x))
#define SUM_COUNTS(x) (bits_ulongs) _mm512_sad_epu8((__m512i)(x), _mm512_setzero_si512())
#define SCALAR_POPCOUNT
#define FEW_QUERIES 3
#endif
#elif defined(__AVX2__) && BITS_VECTOR == 32
#include <immintrin.h>
UHN_INLINE __m256i counts_of_bytes(__m256i x) {
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1,
                                           1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(15);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(x, 4), low);
    return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(x, low)),
                           _mm256_shuffle_epi8(table, high));
}
#define COUNTS(x) (bits_ulongs) counts_of_bytes((__m256i)(x))
#define SUM_COUNTS(x) (bits_ulongs) _mm256_sad_epu8((__m256i)(x), _mm256_setzero_si256())
#define SIGN_MASK(x) (uint64_t) _mm256_movemask_pd((__m256d)(x))
#define SCALAR_POPCOUNT
#elif defined(__ARM_NEON) && BITS_VECTOR == 16
#include <arm_neon.h>
#define COUNTS(x) (bits_ulongs) vcntq_u8((uint8x16_t)(x))
#define SUM_COUNTS(x) (bits_ulongs) vpaddlq_u32(vpaddlq_u16(vpaddlq_u8((uint8x16_t)(x))))
#endif

#ifndef COUNTS
/* Neighbours are added in pairs, pairs in fours, fours in bytes. */
UHN_INLINE bits_ulongs byte_counts(bits_ulongs x) {
    const bits_ulongs m1 = (bits_ulongs){0} + UINT64_C(0x5555555555555555);
    const bits_ulongs m2 = (bits_ulongs){0} + UINT64_C(0x3333333333333333);
    const bits_ulongs m4 = (bits_ulongs){0} + UINT64_C(0x0f0f0f0f0f0f0f0f);
    x -= (x >> 1) & m1;
    x = (x & m2) + ((x >> 2) & m2);
    return (x + ((x >> 4) & m4)) & m4;
}
#define COUNTS(x) byte_counts(x)
#endif

#ifndef SUM_COUNTS
UHN_INLINE bits_ulongs sum_bytes(bits_ulongs x) {
    const bits_ulongs m8 = (bits_ulongs){0} + UINT64_C(0x00ff00ff00ff00ff);
    x = (x & m8) + ((x >> 8) & m8);
    x += x >> 16;
    x += x >> 32;
    return x & 0xffff;
}
#define SUM_COUNTS(x) sum_bytes(x)
#endif

#ifndef SIGN_MASK
UHN_INLINE uint64_t sign_mask(bits_longs x) {
    uint64_t mask = 0;
    for (int i = 0; i < LONGS; i++) mask |= (uint64_t)(x[i] < 0) << i;
    return mask;
}
#define SIGN_MASK(x) sign_mask(x)
#endif

#ifndef FEW_QUERIES
#define FEW_QUERIES 1
#endif

/* A byte has ROOM for so many counts of at most 8. Rows are called into cache PREFETCH bytes
 * ahead: a reader with so little to do to each of them is otherwise slower than the memory. */
enum { ROOM = 31, PREFETCH = 4096 };

UHN_INLINE void fetch_ahead(const uint64_t *rows, size_t n_words) {
    for (size_t w = 0; w < n_words; w += 8)
        __builtin_prefetch((const char *)(rows + w) + PREFETCH, 0, 3);
}

UHN_INLINE uint64_t row_distance(const uint64_t *row, const uint64_t *query, size_t n_words) {
    enum { STEP = 8 };
    uint64_t differ = 0;
    size_t w = 0;
#ifdef SCALAR_POPCOUNT
    for (; w + STEP <= n_words; w += STEP) {
        __builtin_prefetch((const char *)(row + w) + PREFETCH, 0, 3);
        UHN_UNROLL
        for (int i = 0; i < STEP; i++)
            differ += (uint64_t)__builtin_popcountll(row[w + i] ^ query[w + i]);
    }
#else
    bits_ulongs total = {0};
    while (w + LONGS <= n_words) {
        bits_ulongs counts = {0};
        for (int i = 0; i < ROOM && w + LONGS <= n_words; i++, w += LONGS) {
            bits_ulongs a, b;
            memcpy(&a, row + w, sizeof a);
            memcpy(&b, query + w, sizeof b);
            if (w % STEP == 0) __builtin_prefetch((const char *)(row + w) + PREFETCH, 0, 3);
            counts += COUNTS(a ^ b);
        }
        total += SUM_COUNTS(counts);
    }
    for (int i = 0; i < LONGS; i++) differ += total[i];
#endif
    for (; w < n_words; w++) differ += (uint64_t)__builtin_popcountll(row[w] ^ query[w]);
    return differ;
}

static void distances(const uint64_t *rows, size_t n_rows, size_t n_words,
                      const uint64_t *query, uint32_t *out) {
    for (size_t r = 0; r < n_rows; r++)
        out[r] = (uint32_t)row_distance(rows + r * n_words, query, n_words);
}

/* n (known where it is called) rows against one panel: a word of a row meets the same word
 * of as many queries as a vector has places, so that counts need no sum across places. */
UHN_INLINE void panel_hits(const uint64_t *rows, int n, size_t n_words,
                           const bits_ulongs *panel, uint64_t radius, uint64_t *hits) {
    bits_ulongs totals[4] = {{0}};
    for (size_t first = 0; first < n_words; first += ROOM) {
        const size_t last = UHN_MIN(first + ROOM, n_words);
        bits_ulongs counts[4] = {{0}};
        for (size_t w = first; w < last; w++) {
            const bits_ulongs query = panel[w];
            UHN_UNROLL
            for (int r = 0; r < n; r++)
                counts[r] += COUNTS(query ^ rows[(size_t)r * n_words + w]);
        }
        UHN_UNROLL
        for (int r = 0; r < n; r++) totals[r] += SUM_COUNTS(counts[r]);
    }
    UHN_UNROLL
    for (int r = 0; r < n; r++) hits[r] = SIGN_MASK(totals[r] <= radius);
}

static size_t within(const uint64_t *rows, size_t n_rows, size_t n_words,
                     const uint64_t *queries, size_t n_queries, uint64_t radius,
                     uint32_t *found, uint64_t *masks) {
    size_t n_found = 0, r = 0;
    /* A row is always noted, and the next one overwrites it if there was nothing in it: most
     * are like that, and a branch on it would be guessed wrong at each of the others. */
    if (n_queries <= FEW_QUERIES) {
        for (; r < n_rows; r++) {
            uint64_t mask = 0;
            for (size_t q = 0; q < n_queries; q++) {
                const uint64_t *query = queries + q * n_words;
                mask |= (uint64_t)(row_distance(rows + r * n_words, query, n_words) <= radius)
                        << q;
            }
            found[n_found] = (uint32_t)r;
            masks[n_found] = mask;
            n_found += mask != 0;
        }
        return n_found;
    }
    const size_t n_panels = (n_queries + LONGS - 1) / LONGS;
    const uint64_t used = n_queries < 64 ? (UINT64_C(1) << n_queries) - 1 : ~UINT64_C(0);
    const bits_ulongs *panels = (const bits_ulongs *)queries;
    for (; r + 4 <= n_rows; r += 4) {
        uint64_t four[4] = {0};
        fetch_ahead(rows + r * n_words, 4 * n_words);
        for (size_t p = 0; p < n_panels; p++) {
            uint64_t hits[4];
            panel_hits(rows + r * n_words, 4, n_words, panels + p * n_words, radius, hits);
            for (int i = 0; i < 4; i++) four[i] |= hits[i] << (p * LONGS);
        }
        for (size_t i = 0; i < 4; i++) {
            found[n_found] = (uint32_t)(r + i);
            masks[n_found] = four[i] & used;
            n_found += masks[n_found] != 0;
        }
    }
    for (; r < n_rows; r++) {
        uint64_t mask = 0;
        for (size_t p = 0; p < n_panels; p++) {
            uint64_t hits;
            panel_hits(rows + r * n_words, 1, n_words, panels + p * n_words, radius, &hits);
            mask |= hits << (p * LONGS);
        }
        found[n_found] = (uint32_t)r;
        masks[n_found] = mask & used;
        n_found += masks[n_found] != 0;
    }
    return n_found;
}

/* A counter at its bound stays there; `step` is +1 or -1. */
static void count_up(const int16_t *steps, size_t n, int16_t *counters) {
    for (size_t i = 0; i < n; i++) {
        const int16_t step = steps[i], now = counters[i];
        const bool full = step > 0 ? now >= INT16_MAX : now <= -INT16_MAX;
        counters[i] = (int16_t)(now + (full ? 0 : step));
    }
}

static void add_up(const int16_t *counters, size_t n, int32_t *sums) {
    for (size_t i = 0; i < n; i++) sums[i] += counters[i];
}
