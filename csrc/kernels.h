/*
 * kernels.h - the loops over features, one table of functions per CPU path and dtype (layer 1).
 *
 * May include: platform.h. Implemented by kernels.inc.h, which each kernels_<path>.c
 * includes twice, and kernels_bits.inc.h, which it includes once.
 *
 * Two layouts. Patterns, values and results are row-major as the caller keeps them. Queries are
 * packed into *panels* of `lanes` queries (1 to `panel_vectors` vectors side by side), feature by
 * feature, so that one vector load fetches the same feature of many queries; a tile's scores come
 * out as S[row][lane], which is the layout the projection reads its weights in.
 *
 * Every function computes the same bits on every path: lanes never mix, each number is one chain of
 * operations in the order the comments give, and rounding is that of IEEE 754.
 *
 * Kernels never allocate, lock or print. Pointers to S, panels and accumulators are aligned to
 * UHN_ALIGNMENT; rows may lie anywhere. Buffers for S have UHN_STRIP spare rows.
 */
#ifndef UHN_KERNELS_H
#define UHN_KERNELS_H

#include "platform.h"

/* Rows of a tile: the unit in which scores become weights. Part of the definition of the result. */
#define UHN_TILE 128
/* Features of one chain of fused multiply-adds. Part of the definition of the result. */
#define UHN_CHAIN 256
/* At most this many rows are scored at once; S has this many spare rows. */
#define UHN_STRIP 16
/* Panels are at most this many lanes wide. */
#define UHN_MAX_LANES 64

/* Sums of rows of couplings: rows at once for few states and for many, bytes of sums that many states
 * make at once, and of the table that serves them; the same with rows of bytes. */
#define UHN_FEW_ROWS 8
#define UHN_MANY_ROWS 32
#define UHN_PANEL 256
#define UHN_TABLE (4 * UHN_MANY_ROWS * UHN_PANEL)
#define UHN_BYTE_ROWS 124
#define UHN_BYTES 64

typedef enum uhn_score_kernel {
    UHN_SCORE_dot,
    UHN_SCORE_sqdiff,
    UHN_SCORE_absdiff,
    UHN_SCORE_maxdiff,
    UHN_SCORE_differ,
    UHN_SCORE_known_sqdiff,  /* the four before it over the features that both sides know: */
    UHN_SCORE_known_absdiff, /* NaN stands for one that is not known */
    UHN_SCORE_known_maxdiff,
    UHN_SCORE_known_differ,
    UHN_SCORE_kl,
    UHN_SCORE_reverse_kl,
    UHN_SCORE_jensen_shannon,
    UHN_N_SCORE_KERNELS
} uhn_score_kernel;

/* What happens to a raw number on its way to a score. */
typedef enum uhn_finish_kernel {
    UHN_FINISH_none,
    UHN_FINISH_scale,    /* raw / row_scale[row], 0 where that is 0 */
    UHN_FINISH_negative, /* -d, d = max(raw, 0) */
    UHN_FINISH_inverse,  /* 1 / (d + eps) */
    UHN_FINISH_rbf       /* exp(-gamma d^2), or exp(-gamma d) with `squared` */
} uhn_finish_kernel;

typedef struct uhn_finish {
    uhn_finish_kernel kind;
    bool root;    /* d = sqrt(raw) */
    bool squared; /* raw is a square already (rbf) */
    double eps, gamma;
} uhn_finish;

typedef struct uhn_kernels {
    const char *path;
    size_t vector;        /* elements of a vector */
    size_t panel_vectors; /* most vectors of a panel */
    size_t few;           /* score_few serves at most this many queries */

    /* panel[j * lanes + i] = queries[i * stride + j] for i < n_queries, else 0. */
    void (*pack)(const void *queries, size_t stride, size_t n_queries, size_t n_features,
                 size_t lanes, void *panel);

    /* Raw scores of n_rows patterns against one panel: S[row * lanes + lane]. With `fetch` rows are
     * called into cache ahead of their use. `logs` are what
     * `prepare` left for the rows, panel_logs what it left for the queries (kl and its kin alone). */
    void (*score[UHN_N_SCORE_KERNELS])(const void *rows, const void *logs, size_t stride,
                                       size_t n_rows, const void *panel, const void *panel_logs,
                                       size_t n_features, size_t lanes, bool fetch, void *S);

    /* The same numbers, bit for bit, for at most `few` queries as they lie (row-major, no gaps):
     * lanes hold patterns. NULL where a kernel has no such form. */
    void (*score_few[UHN_N_SCORE_KERNELS])(const void *rows, size_t stride, size_t n_rows,
                                           const void *queries, size_t n_queries,
                                           size_t n_features, size_t lanes, void *S);

    /* One row to a distribution, and the logarithms the kernel wants beside it:
     * p = (x / scale + eps) / (1 + n eps) and log p, or with `halves` p / 2 and (p / 2) log p. */
    void (*prepare)(const void *row, double scale, double eps, bool halves, size_t n_features,
                    void *p, void *logs);

    /* out = row / divisor, 0 where the divisor is 0. */
    void (*divide_row)(const void *row, double divisor, size_t n_features, void *out);

    /* A row that may lack features (NaN): `known` is 1 where there is one, else 0; `numbers` are the
     * features, 0 where there is none, with `scaled` times the power of two that makes the largest of
     * them less than 1; `squares` (may be NULL) are the squares of those. Returns how many there are. */
    size_t (*part_row)(const void *row, bool scaled, size_t n_features, void *numbers,
                       void *known, void *squares);

    /* Divergences of rows against one panel over the features that both know: kernel is kl or one of
     * its kin. Both sides come as `part_row` leaves them; sums, sums_q and counts (n_rows x lanes) are
     * the sums of either over what both know, and how many features these are. */
    void (*part_divergence)(uhn_score_kernel kernel, double eps, const void *rows,
                            const void *known, size_t n_rows, const void *panel,
                            const void *panel_known, size_t n_features, size_t lanes,
                            const void *sums, const void *sums_q, const void *counts, void *S);

    /* S = S n_features / counts, n numbers of either; where the count is 0, S as it is. */
    void (*part_scale)(const void *counts, size_t n_features, size_t n, void *S);

    /* S = -infinity where the count is 0. */
    void (*part_none)(const void *counts, size_t n, void *S);

    /* S = S / a / b, with `root` S / sqrt(a) / sqrt(b); 0 where a or b is 0. */
    void (*part_divide)(const void *a, const void *b, bool root, size_t n, void *S);

    /* Raw numbers to scores, in place. */
    void (*finish)(const uhn_finish *finish, const void *row_scale, size_t n_rows, size_t lanes,
                   void *S);

    /* S = S / divisor[lane]. */
    void (*divide)(const void *divisor, size_t n_rows, size_t lanes, void *S);

    /* top[lane] = max over rows of S. */
    void (*tops)(size_t n_rows, size_t lanes, const void *S, void *top);

    /* S = factor * S + bias[row] (no bias if NULL), kept inside the finite range but for infinities;
     * then tops. */
    void (*exponents)(double factor, const void *bias, size_t n_rows, size_t lanes, void *S,
                      void *top);

    /* S = 2^(S - reference[lane]), 0 below 2^-cutoff; sum[lane] = their sum in row order. True if
     * any weight is not 0. */
    bool (*exponentials)(const void *reference, int cutoff, size_t n_rows, size_t lanes,
                         void *S, void *sum);

    /* out[i * out_stride + j] += sum over rows, in order, of W[row * lanes + i] * values[row][j], one
     * chain of fused multiply-adds, for i < n_lanes and j < n_columns. `tail` is scratch for
     * UHN_TILE vectors. `ahead`, if not NULL, is fetched into cache meanwhile. */
    void (*project)(const void *W, size_t lanes, size_t n_lanes, const void *values,
                    size_t stride, size_t n_rows, size_t n_columns, void *tail, void *out,
                    size_t out_stride, const void *ahead);

    /* a = a * fa + b * fb; a factor of 0 leaves its side out, infinities included. */
    void (*combine)(void *a, double fa, const void *b, double fb, size_t n);

    /* out = a * factor / divisor, -0 becoming +0. False if a result is not finite. */
    bool (*conclude)(const void *a, double factor, double divisor, size_t n, void *out);

    /* sums += weight * row, in double. */
    void (*gather)(double *sums, double weight, const void *row, size_t n);
    bool (*narrow)(const double *in, size_t n, void *out); /* false if a result is not finite */
    void (*widen)(const void *in, size_t n, double *out);

    /* Sum, and Euclidean norm, of a row, in double whatever the dtype. */
    double (*row_sum)(const void *row, size_t n);
    double (*row_norm)(const void *row, size_t n);

    /* The first element that is NaN or infinite (or, with `negative`, below 0); n if there is none. */
    size_t (*find_bad)(const void *row, size_t n, bool negative);

    /* max |a - b| of finite rows. */
    double (*distance)(const void *a, const void *b, size_t n);
} uhn_kernels;

/* What `turn` found on its way: the sum of all values, the sum of those whose bit is set, the largest and
 * the smallest count. */
typedef struct uhn_turn {
    int64_t sum, set;
    int32_t most, least;
} uhn_turn;

/* Loops over packed bits and whole numbers (kernels_bits.inc.h), which are exact in any order. Words of
 * 32 patterns are those of uhn_pack_columns; arrays that
 * go with them have 32 elements a word, 0 beyond the last pattern, aligned to UHN_ALIGNMENT. */
typedef struct uhn_bit_kernels {
    /* Sum of m where the bit is set. |m| <= 2^25. */
    int64_t (*masked_sum)(const uint32_t *bits, size_t n_words, const int32_t *m);

    /* m += step where the bit is set, m -= step elsewhere, the places beyond the last pattern included. */
    void (*masked_step)(const uint32_t *bits, size_t n_words, int32_t step, int32_t *m);

    /* counts -= step where the bit is set, counts += step elsewhere; then values = table[counts].
     * n_words >= 1. Places of the last word whose bit of `last` is not set are beyond the last pattern:
     * their counts, which must be places of the table, stay as they are, their values become 0.
     * |table| <= 2^25. */
    void (*turn)(const uint32_t *bits, size_t n_words, uint32_t last, int32_t step,
                 const int32_t *table, int32_t *counts, int32_t *values, uhn_turn *out);

    /* out[row] = the number of bits in which a row of n_words words differs from the query. */
    void (*distances)(const uint64_t *rows, size_t n_rows, size_t n_words,
                      const uint64_t *query, uint32_t *out);

    /* For sdm.c: the rows that differ from any of n_queries (1 to 64) in at most `radius`
     * bits, in their order. found[i] is the number of the row, bit q of masks[i] says that
     * it is query q; both have room for n_rows. Returns how many there are. Up to `few`
     * queries lie as rows do; more come in panels of `lanes`, aligned to UHN_ALIGNMENT: word
     * w of query q is number (q / lanes * n_words + w) * lanes + q % lanes, and 0 in the
     * lanes without a query. */
    size_t lanes, few;
    size_t (*within)(const uint64_t *rows, size_t n_rows, size_t n_words,
                     const uint64_t *queries, size_t n_queries, uint64_t radius,
                     uint32_t *found, uint64_t *masks);

    /* counters += steps (+1 or -1), kept from -32767 to 32767. */
    void (*count_up)(const int16_t *steps, size_t n, int16_t *counters);

    /* sums += counters. */
    void (*add_up)(const int16_t *counters, size_t n, int32_t *sums);

    /* ---- networks with couplings between pairs (kernels_network.inc.h) ---- */

    /* As masked_sum and masked_step, with m as int16. */
    int64_t (*masked_sum16)(const uint32_t *bits, size_t n_words, const int16_t *m);
    void (*masked_step16)(const uint32_t *bits, size_t n_words, int32_t step, int16_t *m);

    /* Bits that are set. */
    size_t (*count_bits)(const uint32_t *bits, size_t n_words);

    /* m += the sum over n columns of s_j where bit j is set, -s_j elsewhere. n_after more columns
     * follow those n and may be read. n < 2^24. */
    void (*overlaps16)(const uint32_t *columns, size_t n_words, size_t n, size_t n_after,
                       const int8_t *s, int16_t *m);
    void (*overlaps32)(const uint32_t *columns, size_t n_words, size_t n, size_t n_after,
                       const int8_t *s, int32_t *m);

    /* The first of n looks whose unit i wants to flip, n if none: with a = 2 masked_sum(column i) -
     * total - own s_i, where a s_i < 0, or a is 0 and tie s_i < 0. */
    size_t (*walk16)(const uint32_t *columns, size_t n_words, const int16_t *m, int64_t total,
                     int64_t own, const uint32_t *units, size_t n, const int8_t *s, int tie);
    size_t (*walk32)(const uint32_t *columns, size_t n_words, const int32_t *m, int64_t total,
                     int64_t own, const uint32_t *units, size_t n, const int8_t *s, int tie);

    /* masked_sum of n columns, one after the other. */
    void (*masked_sums16)(const uint32_t *columns, size_t n_words, const int16_t *m, size_t n,
                          int64_t *out);
    void (*masked_sums32)(const uint32_t *columns, size_t n_words, const int32_t *m, size_t n,
                          int64_t *out);

    /* sums += 2 row, or sums -= 2 row if `down`. */
    void (*flip_i16)(const int16_t *row, bool down, size_t n, int32_t *sums);
    void (*flip_i32)(const int32_t *row, bool down, size_t n, int64_t *sums);
    void (*flip_f64)(const double *row, bool down, size_t n, double *sums);

    /* sums += sum of n_rows <= UHN_FEW_ROWS rows under signs of +1 and -1. Doubles are added four
     * rows at a time, ((r0 + r1) + (r2 + r3)), missing rows counting 0. */
    void (*few_i16)(const int16_t *rows, size_t stride, const int8_t *signs, size_t n_rows,
                    size_t n, int32_t *sums);
    void (*few_i32)(const int32_t *rows, size_t stride, const int8_t *signs, size_t n_rows,
                    size_t n, int64_t *sums);
    void (*few_f64)(const double *rows, size_t stride, const int8_t *signs, size_t n_rows,
                    size_t n, double *sums);

    /* The same for n_states states and n_rows <= UHN_MANY_ROWS, in UHN_PANEL bytes of sums: n columns
     * of them, those beyond counting 0, are added at sums[k] + column. The signs of rows 4 g to 4 g + 3
     * are the four bits of offsets[k][first + g] / UHN_PANEL, + where one is set. `next` (may
     * be NULL) is where the next call's rows begin; `table` has UHN_TABLE bytes. */
    void (*many_i16)(const int16_t *rows, size_t stride, size_t n_rows, size_t n,
                     const int16_t *next, void *table, const uint16_t *const *offsets,
                     size_t first, size_t n_states, int32_t *const *sums, size_t column);
    void (*many_i32)(const int32_t *rows, size_t stride, size_t n_rows, size_t n,
                     const int32_t *next, void *table, const uint16_t *const *offsets,
                     size_t first, size_t n_states, int64_t *const *sums, size_t column);
    void (*many_f64)(const double *rows, size_t stride, size_t n_rows, size_t n,
                     const double *next, void *table, const uint16_t *const *offsets,
                     size_t first, size_t n_states, double *const *sums, size_t column);

    /* The same for n_rows <= UHN_BYTE_ROWS rows of +1 and -1, n <= UHN_BYTES columns of them; the bits
     * themselves (n_states x n_nibbles) and sums (n_states x UHN_BYTES) lie together. */
    void (*many_i8)(const int8_t *rows, size_t stride, size_t n_rows, size_t n, void *table,
                    const uint8_t *nibbles, size_t n_nibbles, size_t n_states, int16_t *sums);
} uhn_bit_kernels;

/* By uhn_dtype. */
extern const uhn_kernels *const uhn_kernels_generic[2];
extern const uhn_bit_kernels uhn_bits_generic;
#if defined(__x86_64__)
extern const uhn_kernels *const uhn_kernels_avx2[2];
extern const uhn_kernels *const uhn_kernels_avx512[2];
extern const uhn_bit_kernels uhn_bits_avx2, uhn_bits_avx512, uhn_bits_avx512popcnt;
#elif defined(__aarch64__)
extern const uhn_kernels *const uhn_kernels_neon[2];
extern const uhn_bit_kernels uhn_bits_neon;
#endif

#endif
