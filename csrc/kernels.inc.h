/*
 * kernels.inc.h - the bodies of every kernel, in plain C over a vector type (layer 1).
 *
 * Included by kernels_<path>.c once per dtype, after it has defined, for the path,
 *
 *     PIECES      16-byte pieces of a vector: 1, 2 or 4
 *     MR, NV      rows and vectors of the score kernel's block of registers
 *     MX          rows for the kernels that need more registers a row
 *     PR, PV      queries and vectors of the projection's block of registers: PR at least 4, PV 2 or 4
 *
 * and for the dtype,
 *
 *     IS_FLOAT    1 for float, 0 for double
 *     F(name)     the name of a function of this path and dtype
 *     SET1(x)     a vector of copies
 *     FMA(a,b,c)  a * b + c, rounded once
 *     MINUS(a,b)  a - b, by whichever unit is idle beside additions
 *     MAXV(a,b)   the larger, b where either is NaN
 *     ROUND(a)    to the nearest integer, ties to even
 *     QUAD(a,b,c,d)      a vector of four pieces, where PIECES is 4
 *     LOOK_UP(table, i)  a table of 32 floats at the low five bits of each lane (float alone)
 *     EXPONENT(x), FRACTION(x)  e and m of x = 2^e m with 1 <= m < 2, if the path has better than
 *                 integer arithmetic (float alone)
 *
 * It leaves F(table), for kernels_<path>.c to publish, and takes the macros of the dtype back.
 *
 * Only the sizes differ between paths, and no size changes a result: lanes hold different queries (or
 * patterns, or columns), never parts of one sum.
 */

#if IS_FLOAT
#define T float
#define I int32_t
#define MANTISSA 23 /* bits of the stored fraction, */
#define BIAS 127    /* and the bias of the exponent */
#define SQRT(x) __builtin_sqrtf(x)
#else
#define T double
#define I int64_t
#define MANTISSA 52
#define BIAS 1023
#define SQRT(x) __builtin_sqrt(x)
#endif
#define V (16 * PIECES / (IS_FLOAT ? 4 : 8)) /* elements of a vector */
#ifndef EXPONENT
#define EXPONENT(x) __builtin_convertvector(((ivec)(x) >> 23) - 127, vec)
#define FRACTION(x) ((vec)(((ivec)(x)&0x7fffff) | 0x3f800000))
#endif

typedef T F(vec) __attribute__((vector_size(V * sizeof(T)), may_alias));
typedef I F(ivec) __attribute__((vector_size(V * sizeof(T)), may_alias));
typedef struct {
    F(vec) v;
} __attribute__((packed, may_alias)) F(loose); /* a vector that may lie anywhere */

#define vec F(vec)
#define ivec F(ivec)
#define LINE (UHN_ALIGNMENT / sizeof(T))
#define LOAD(p) (*(const vec *)(p))
#define STORE(p, x) (*(vec *)(p) = (x))
#define LOADU(p) (((const F(loose) *)(p))->v)
#define AND(x, mask) ((vec)((ivec)(x) & (mask)))
#define ABS(x) AND(x, (ivec)SET1((T)-0.0) ^ -1)

/* a[0] x^(n-1) + ... + a[n-1] by Horner's rule. */
#define HORNER(x, a)                                                                           \
    ({                                                                                         \
        vec h_ = SET1((a)[0]);                                                                 \
        UHN_UNROLL for (size_t i_ = 1; i_ < sizeof(a) / sizeof *(a); i_++) h_ =                \
            FMA(h_, x, SET1((a)[i_]));                                                         \
        h_;                                                                                    \
    })

/* The natural logarithm of positive normal numbers; elementary.h has the recipe and its error. */
UHN_INLINE vec F(log)(vec x) {
#if IS_FLOAT
    static const T a[] = {UHN_LOG_F32_COEFFS};
    const ivec b = (ivec)x + UHN_LOG_F32_OFFSET;
    const vec e = __builtin_convertvector((b >> 23) - 127, vec);
    const vec f = (vec)((b & UHN_LOG_F32_MANTISSA) + UHN_LOG_F32_SQRT_HALF) - SET1(1);
    const vec y = f * f, p = HORNER(f, a), q = FMA(f, p, SET1(-0.5f));
    const vec r = FMA(y, q, e * SET1(UHN_LOG_F32_LN2_LO));
    return FMA(e, SET1(UHN_LOG_F32_LN2_HI), f + r);
#else
    static const T a[] = {UHN_LOG_F64_COEFFS};
    const ivec b = (ivec)x + UHN_LOG_F64_OFFSET;
    const vec e = (vec)((b >> 52) | 0x4330000000000000) - SET1(0x1p52 + 1023);
    const vec f = (vec)((b & UHN_LOG_F64_MANTISSA) + UHN_LOG_F64_SQRT_HALF) - SET1(1);
    const vec s = f / (SET1(2) + f), z = s * s, p = HORNER(z, a);
    const vec y = (SET1(0.5) * f) * f, t = FMA(z, p, y);
    const vec c = FMA(s, t, FMA(e, SET1(UHN_LOG_F64_LN2_LO), SET1(0) - y));
    return FMA(e, SET1(UHN_LOG_F64_LN2_HI), f + c);
#endif
}

/* The logarithm with a small absolute error, for u log u; elementary.h has the recipe. Numbers under
 * the least normal one count as that. */
UHN_INLINE vec F(log_absolute)(vec x) {
    const vec tiny = SET1((T)(IS_FLOAT ? 0x1p-126 : 0x1p-1022));
    x = MAXV(x, tiny);
#if IS_FLOAT
    static const T c[32] = {UHN_LOG_TABLE_C}, l[32] = {UHN_LOG_TABLE_L};
    const ivec index = (ivec)x >> (MANTISSA - 5);
    const vec f = FMA(FRACTION(x), LOOK_UP(c, index), SET1(-1));
    vec p = FMA(f, SET1(UHN_LOG_TABLE_A2), SET1(UHN_LOG_TABLE_A1));
    p = FMA(f, p, SET1(1));
    p = FMA(f, p, LOOK_UP(l, index));
    return FMA(EXPONENT(x), SET1(UHN_LOG_TABLE_LN2), p);
#else
    return F(log)(x);
#endif
}

/* ------------------------------------------------------------------------------------- scores -- */

/*
 * One strip is MR patterns against one panel. The accumulators of a chain live in registers; when a
 * chain of UHN_CHAIN features ends they are added to S, in order. A strip at the end of a tile reads
 * its last row several times instead of running past it, and S has room for what that writes. The
 * first panel to meet a tile fetches the next strip meanwhile.
 *
 * STEP sees a (accumulator), m and ml (the pattern's feature and its logarithm, broadcast), q and ql
 * (the queries'). JOIN adds a chain to the chains before it.
 */
#define SCORE_KERNEL(name, ROWS, STEP, JOIN, LOGS)                                             \
    UHN_INLINE void F(strip_##name)(const T *const *rows, const T *const *logs,                \
                                    const T *panel, const T *panel_logs, size_t n_features,    \
                                    const int nv, size_t ahead, T *S) {                        \
        const size_t lanes = (size_t)nv * V;                                                   \
        for (size_t start = 0; start < n_features; start += UHN_CHAIN) {                       \
            const size_t end = UHN_MIN(start + UHN_CHAIN, n_features);                         \
            vec acc[ROWS][NV];                                                                 \
            UHN_UNROLL for (int r = 0; r < ROWS; r++) UHN_UNROLL for (int v = 0; v < nv; v++)  \
                acc[r][v] = SET1(0);                                                           \
            for (size_t j = start; j < end; j++) {                                             \
                vec qs[NV], qls[NV];                                                           \
                UHN_UNROLL for (int v = 0; v < nv; v++) {                                      \
                    qs[v] = LOAD(panel + j * lanes + (size_t)v * V);                           \
                    qls[v] = qs[v];                                                            \
                    if (LOGS) qls[v] = LOAD(panel_logs + j * lanes + (size_t)v * V);           \
                }                                                                              \
                if (ahead && j % LINE == 0)                                                    \
                    UHN_UNROLL for (int r = 0; r < ROWS; r++)                                  \
                        __builtin_prefetch(rows[r] + j + ahead, 0, 2);                         \
                UHN_UNROLL for (int r = 0; r < ROWS; r++) {                                    \
                    const vec m = SET1(rows[r][j]);                                            \
                    vec ml UHN_UNUSED = m;                                                     \
                    if (LOGS) ml = SET1(logs[r][j]);                                           \
                    UHN_UNROLL for (int v = 0; v < nv; v++) {                                  \
                        const vec a = acc[r][v], q UHN_UNUSED = qs[v], ql UHN_UNUSED = qls[v]; \
                        acc[r][v] = STEP;                                                      \
                    }                                                                          \
                }                                                                              \
            }                                                                                  \
            UHN_UNROLL for (int r = 0; r < ROWS; r++)                                          \
                UHN_UNROLL for (int v = 0; v < nv; v++) {                                      \
                T *at = S + (size_t)r * lanes + (size_t)v * V;                                 \
                const vec a = acc[r][v];                                                       \
                if (start == 0) STORE(at, a);                                                  \
                else {                                                                         \
                    const vec b = LOAD(at);                                                    \
                    STORE(at, JOIN);                                                           \
                }                                                                              \
            }                                                                                  \
        }                                                                                      \
    }                                                                                          \
    static void F(score_##name)(const void *rows_, const void *logs_, size_t stride,           \
                                size_t n_rows, const void *panel, const void *panel_logs,      \
                                size_t n_features, size_t lanes, bool fetch, void *S_) {       \
        const T *rows = rows_, *logs = logs_;                                                  \
        for (size_t first = 0; first < n_rows; first += ROWS) {                                \
            const T *row[ROWS], *log[ROWS];                                                    \
            for (size_t r = 0; r < ROWS; r++) {                                                \
                const size_t at = UHN_MIN(first + r, n_rows - 1) * stride;                     \
                row[r] = rows + at;                                                            \
                log[r] = LOGS ? logs + at : NULL;                                              \
            }                                                                                  \
            T *S = (T *)S_ + first * lanes;                                                    \
            const size_t ahead = fetch ? ROWS * stride : 0;                                    \
            if (lanes == V)                                                                    \
                F(strip_##name)(row, log, panel, panel_logs, n_features, 1, ahead, S);         \
            else if (lanes == 2 * V)                                                           \
                F(strip_##name)(row, log, panel, panel_logs, n_features, 2, ahead, S);         \
            else F(strip_##name)(row, log, panel, panel_logs, n_features, NV, ahead, S);       \
        }                                                                                      \
    }

/* With halves P = p / 2 and R = r / 2, so that u = P + R: P log p + R log r - u log u. Products are
 * rounded, so that p = r gives exactly 0. */
UHN_INLINE vec F(divergence)(vec half_p, vec p_term, vec half_r, vec r_term) {
    const vec u = half_p + half_r;
    return (p_term + r_term) - u * F(log_absolute)(u);
}

#define DIFFERENCE (m - q)
#define STEP_dot FMA(m, q, a)
#define STEP_sqdiff FMA(DIFFERENCE, DIFFERENCE, a)
#define STEP_absdiff (a + ABS(MINUS(m, q)))
#define STEP_maxdiff MAXV(a, ABS(MINUS(m, q)))
#define STEP_differ (a + AND(SET1(1), m != q))
/* A difference that is NaN counts as 0. */
#define KNOWN(x)                                                                               \
    ({                                                                                         \
        const vec x_ = (x);                                                                    \
        AND(x_, x_ == x_);                                                                     \
    })
UHN_INLINE vec F(add_square)(vec d, vec a) { return FMA(d, d, a); }
#define STEP_known_sqdiff F(add_square)(KNOWN(DIFFERENCE), a)
#define STEP_known_absdiff (a + ABS(KNOWN(MINUS(m, q))))
#define STEP_known_maxdiff MAXV(a, ABS(KNOWN(MINUS(m, q))))
#define STEP_known_differ (a + AND(SET1(1), (m < q) | (m > q)))

SCORE_KERNEL(dot, MR, STEP_dot, b + a, 0)
SCORE_KERNEL(sqdiff, MR, STEP_sqdiff, b + a, 0)
SCORE_KERNEL(absdiff, MR, STEP_absdiff, b + a, 0)
SCORE_KERNEL(maxdiff, MR, STEP_maxdiff, MAXV(b, a), 0)
SCORE_KERNEL(differ, MR, STEP_differ, b + a, 0)
SCORE_KERNEL(known_sqdiff, MR, STEP_known_sqdiff, b + a, 0)
SCORE_KERNEL(known_absdiff, MR, STEP_known_absdiff, b + a, 0)
SCORE_KERNEL(known_maxdiff, MR, STEP_known_maxdiff, MAXV(b, a), 0)
SCORE_KERNEL(known_differ, MR, STEP_known_differ, b + a, 0)
/* 0 log 0 = 0: the mask removes the term, whatever the logarithm of the other side is. */
SCORE_KERNEL(kl, MX, FMA(m, AND(ml - ql, m > SET1(0)), a), b + a, 1)
SCORE_KERNEL(reverse_kl, MX, FMA(q, AND(ql - ml, q > SET1(0)), a), b + a, 1)
SCORE_KERNEL(jensen_shannon, MX, a + F(divergence)(m, ml, q, ql), b + a, 1)

/*
 * Few queries: V patterns at a time are transposed in registers, so that lanes hold patterns and each
 * lane runs the very chain that the panel kernels run. The memory is read once, front to back.
 *
 * PIECE features of V rows are loaded as PIECE vectors, each of V / PIECE pieces of 16 bytes from rows
 * PIECE apart; transposing inside every 16 bytes then leaves lane r with row r.
 */
#define PIECE (16 / sizeof(T))
typedef T F(piece) __attribute__((vector_size(16), may_alias));
typedef struct {
    F(piece) v;
} __attribute__((packed, may_alias)) F(loose_piece);
#define LOADP(p) (((const F(loose_piece) *)(p))->v)

#if IS_FLOAT && V == 16
#define LOW_1 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define HIGH_1 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#define LOW_2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define HIGH_2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#elif IS_FLOAT && V == 8
#define LOW_1 0, 8, 1, 9, 4, 12, 5, 13
#define HIGH_1 2, 10, 3, 11, 6, 14, 7, 15
#define LOW_2 0, 1, 8, 9, 4, 5, 12, 13
#define HIGH_2 2, 3, 10, 11, 6, 7, 14, 15
#elif IS_FLOAT
#define LOW_1 0, 4, 1, 5
#define HIGH_1 2, 6, 3, 7
#define LOW_2 0, 1, 4, 5
#define HIGH_2 2, 3, 6, 7
#elif V == 8
#define LOW_1 0, 8, 2, 10, 4, 12, 6, 14
#define HIGH_1 1, 9, 3, 11, 5, 13, 7, 15
#elif V == 4
#define LOW_1 0, 4, 2, 6
#define HIGH_1 1, 5, 3, 7
#else
#define LOW_1 0, 2
#define HIGH_1 1, 3
#endif
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#if IS_FLOAT
#define PAIR 0, 1, 2, 3, 4, 5, 6, 7
#else
#define PAIR 0, 1, 2, 3
#endif

/* Features j .. j + PIECE - 1 of V rows: out[f] holds feature j + f, lane r row r. */
UHN_INLINE void F(load_transposed)(const T *const *rows, size_t j, vec *out) {
    vec m[PIECE];
    UHN_UNROLL for (size_t i = 0; i < PIECE; i++) {
#define AT(g) LOADP(rows[i + (g)*PIECE] + j)
#if PIECES == 4
        m[i] = QUAD(AT(0), AT(1), AT(2), AT(3));
#elif PIECES == 2
        m[i] = SHUFFLE(AT(0), AT(1), PAIR);
#else
        m[i] = AT(0);
#endif
    }
#if IS_FLOAT
    const vec a = SHUFFLE(m[0], m[1], LOW_1), b = SHUFFLE(m[0], m[1], HIGH_1);
    const vec c = SHUFFLE(m[2], m[3], LOW_1), d = SHUFFLE(m[2], m[3], HIGH_1);
    out[0] = SHUFFLE(a, c, LOW_2);
    out[1] = SHUFFLE(a, c, HIGH_2);
    out[2] = SHUFFLE(b, d, LOW_2);
    out[3] = SHUFFLE(b, d, HIGH_2);
#else
    out[0] = SHUFFLE(m[0], m[1], LOW_1);
    out[1] = SHUFFLE(m[0], m[1], HIGH_1);
#endif
}

#define FEW 4

#define FEW_KERNEL(name, STEP, JOIN)                                                           \
    UHN_INLINE void F(group_##name)(const T *const *rows, const T *queries, size_t n_features, \
                                    const int nq, const T *next, vec *total) {                 \
        for (size_t start = 0; start < n_features; start += UHN_CHAIN) {                       \
            const size_t end = UHN_MIN(start + UHN_CHAIN, n_features);                         \
            vec acc[FEW];                                                                      \
            UHN_UNROLL for (int i = 0; i < nq; i++) acc[i] = SET1(0);                          \
            size_t j = start;                                                                  \
            for (; j + PIECE <= end; j += PIECE) {                                             \
                vec block[PIECE];                                                              \
                F(load_transposed)(rows, j, block);                                            \
                UHN_UNROLL for (size_t l = 0; l < V * PIECE; l += LINE)                        \
                    __builtin_prefetch(next + j * V + l, 0, 2);                                \
                UHN_UNROLL for (size_t f = 0; f < PIECE; f++)                                  \
                    UHN_UNROLL for (int i = 0; i < nq; i++) {                                  \
                    const vec m = block[f], a = acc[i];                                        \
                    const vec q = SET1(queries[(size_t)i * n_features + j + f]);               \
                    acc[i] = STEP;                                                             \
                }                                                                              \
            }                                                                                  \
            for (; j < end; j++) {                                                             \
                vec m = SET1(0);                                                               \
                UHN_UNROLL for (int r = 0; r < V; r++) m[r] = rows[r][j];                      \
                UHN_UNROLL for (int i = 0; i < nq; i++) {                                      \
                    const vec a = acc[i], q = SET1(queries[(size_t)i * n_features + j]);       \
                    acc[i] = STEP;                                                             \
                }                                                                              \
            }                                                                                  \
            UHN_UNROLL for (int i = 0; i < nq; i++) {                                          \
                const vec a = acc[i], b = total[i];                                            \
                if (start == 0) total[i] = a;                                                  \
                else total[i] = JOIN;                                                          \
            }                                                                                  \
        }                                                                                      \
    }                                                                                          \
    static void F(few_##name)(const void *rows_, size_t stride, size_t n_rows,                 \
                              const void *queries, size_t n_queries, size_t n_features,        \
                              size_t lanes, void *S_) {                                        \
        const T *rows = rows_;                                                                 \
        T *S = S_;                                                                             \
        for (size_t first = 0; first < n_rows; first += V) {                                   \
            const T *row[V];                                                                   \
            for (size_t r = 0; r < V; r++)                                                     \
                row[r] = rows + UHN_MIN(first + r, n_rows - 1) * stride;                       \
            vec total[FEW];                                                                    \
            UHN_UNROLL for (int i = 0; i < FEW; i++) total[i] = SET1(0);                       \
            switch (n_queries) {                                                               \
            case 1:                                                                            \
                F(group_##name)                                                                \
                (row, queries, n_features, 1, rows + (first + V) * stride, total);             \
                break;                                                                         \
            case 2:                                                                            \
                F(group_##name)                                                                \
                (row, queries, n_features, 2, rows + (first + V) * stride, total);             \
                break;                                                                         \
            case 3:                                                                            \
                F(group_##name)                                                                \
                (row, queries, n_features, 3, rows + (first + V) * stride, total);             \
                break;                                                                         \
            default:                                                                           \
                F(group_##name)                                                                \
                (row, queries, n_features, 4, rows + (first + V) * stride, total);             \
            }                                                                                  \
            for (size_t r = 0; r < V; r++) {                                                   \
                T *at = S + (first + r) * lanes;                                               \
                for (size_t lane = 0; lane < lanes; lane += V) STORE(at + lane, SET1(0));      \
                for (size_t i = 0; i < n_queries; i++) at[i] = total[i][r];                    \
            }                                                                                  \
        }                                                                                      \
    }

FEW_KERNEL(dot, STEP_dot, b + a)
FEW_KERNEL(sqdiff, STEP_sqdiff, b + a)
FEW_KERNEL(absdiff, STEP_absdiff, b + a)
FEW_KERNEL(maxdiff, STEP_maxdiff, MAXV(b, a))
FEW_KERNEL(differ, STEP_differ, b + a)
FEW_KERNEL(known_sqdiff, STEP_known_sqdiff, b + a)
FEW_KERNEL(known_absdiff, STEP_known_absdiff, b + a)
FEW_KERNEL(known_maxdiff, STEP_known_maxdiff, MAXV(b, a))
FEW_KERNEL(known_differ, STEP_known_differ, b + a)

/* ----------------------------------------------------------------------------------- queries -- */

static void F(pack)(const void *queries_, size_t stride, size_t n_queries, size_t n_features,
                    size_t lanes, void *panel_) {
    const T *queries = queries_;
    T *panel = panel_;
    for (size_t j = 0; j < n_features; j++) {
        T *at = panel + j * lanes;
        for (size_t i = 0; i < n_queries; i++) at[i] = queries[i * stride + j];
        for (size_t i = n_queries; i < lanes; i++) at[i] = 0;
    }
}

static void F(prepare)(const void *row_, double scale, double eps, bool halves,
                       size_t n_features, void *p_, void *logs_) {
    const T *row = row_;
    T *out = p_, *logs = logs_;
    /* A row of zeros has nothing but the pseudo-counts. */
    const double total = (scale != 0) + (double)n_features * eps;
    const vec s = SET1(scale == 0 ? 1 : (T)scale), e = SET1((T)eps);
    const vec t = SET1(total == 0 ? 1 : (T)(1 / total));
    const vec tiny = SET1((T)(sizeof(T) == 4 ? 0x1p-126 : 0x1p-1022));
    for (size_t j = 0; j < n_features; j += V) {
        const size_t n = UHN_MIN((size_t)V, n_features - j);
        T in[V] = {0};
        memcpy(in, row + j, n * sizeof(T));
        const vec p = (LOADU(in) / s + e) * t;
        /* The logarithm takes normal numbers; below them p counts as 0. */
        const ivec positive = p >= tiny;
        const vec l = F(log)(MAXV(p, tiny));
        const vec minus_infinity = SET1((T)-INFINITY);
        vec kept = AND(p, positive);
        vec log_p = (vec)(((ivec)l & positive) | ((ivec)minus_infinity & ~positive));
        if (halves) {
            kept = kept * SET1((T)0.5);
            log_p = kept * F(log_absolute)(p);
        }
        memcpy(out + j, &kept, n * sizeof(T));
        memcpy(logs + j, &log_p, n * sizeof(T));
    }
}

static void F(divide_row)(const void *row_, double divisor, size_t n_features, void *out_) {
    const T *row = row_;
    T *out = out_;
    for (size_t j = 0; j < n_features; j++)
        out[j] = divisor == 0 ? 0 : (T)((double)row[j] / divisor);
}

/* ----------------------------------------------------------------------------- missing features -- */

/* Stores the first n elements of a vector. */
UHN_INLINE void F(store_some)(vec x, size_t n, T *out) { memcpy(out, &x, n * sizeof(T)); }

static size_t F(part_row)(const void *row_, bool scaled, size_t n_features, void *numbers_,
                          void *known_, void *squares_) {
    const T *row = row_;
    T *numbers = numbers_, *known = known_, *squares = squares_;
    vec scale = SET1(1);
    ivec gaps = (ivec)SET1(0);
    if (scaled) {
        vec top = SET1(0);
        for (size_t j = 0; j < n_features; j += V) {
            vec x = SET1(0);
            memcpy(&x, row + j, UHN_MIN((size_t)V, n_features - j) * sizeof(T));
            top = MAXV(top, ABS(KNOWN(x)));
        }
        T largest = 0;
        for (int v = 0; v < V; v++) largest = UHN_MAX(largest, top[v]);
        int exponent = 0;
        if (largest > 0) frexp((double)largest, &exponent);
        const int most = sizeof(T) == 4 ? 120 : 1000;
        scale = SET1((T)ldexp(1, UHN_MAX(UHN_MIN(-exponent, most), -most)));
    }
    for (size_t j = 0; j < n_features; j += V) {
        const size_t n = UHN_MIN((size_t)V, n_features - j);
        vec x = SET1(0);
        if (n == V) x = LOADU(row + j);
        else memcpy(&x, row + j, n * sizeof(T));
        const ivec there = x == x;
        const vec number = AND(x * scale, there), is = AND(SET1(1), there);
        gaps += ~there; /* -1 where there is none */
        if (n == V) {
            F(store_some)(number, V, numbers + j);
            F(store_some)(is, V, known + j);
            if (squares) F(store_some)(number * number, V, squares + j);
        } else {
            F(store_some)(number, n, numbers + j);
            F(store_some)(is, n, known + j);
            if (squares) F(store_some)(number * number, n, squares + j);
        }
    }
    size_t n_gaps = 0;
    for (int v = 0; v < V; v++) n_gaps += (size_t)-gaps[v];
    return n_features - n_gaps;
}

static void F(part_scale)(const void *counts_, size_t n_features, size_t n, void *S_) {
    const T *counts = counts_;
    T *S = S_;
    const vec one = SET1(1), all = SET1((T)n_features);
    for (size_t i = 0; i < n; i += V)
        STORE(S + i, LOAD(S + i) * (all / MAXV(LOAD(counts + i), one)));
}

static void F(part_none)(const void *counts_, size_t n, void *S_) {
    const T *counts = counts_;
    T *S = S_;
    const ivec nothing = (ivec)SET1((T)-INFINITY);
    for (size_t i = 0; i < n; i += V) {
        const ivec none = LOAD(counts + i) == SET1(0);
        STORE(S + i, (vec)(((ivec)LOAD(S + i) & ~none) | (nothing & none)));
    }
}

static void F(part_divide)(const void *a_, const void *b_, bool root, size_t n, void *S_) {
    const T *a = a_, *b = b_;
    T *S = S_;
    const vec zero = SET1(0), one = SET1(1);
    for (size_t i = 0; i < n; i += V) {
        const ivec none = (LOAD(a + i) == zero) | (LOAD(b + i) == zero);
        T x[V] __attribute__((aligned(UHN_ALIGNMENT)));
        T y[V] __attribute__((aligned(UHN_ALIGNMENT)));
        STORE(x, (vec)(((ivec)LOAD(a + i) & ~none) | ((ivec)one & none)));
        STORE(y, (vec)(((ivec)LOAD(b + i) & ~none) | ((ivec)one & none)));
        for (int v = 0; root && v < V; v++) {
            x[v] = SQRT(x[v]);
            y[v] = SQRT(y[v]);
        }
        STORE(S + i, AND(LOAD(S + i) / LOAD(x) / LOAD(y), ~none));
    }
}

/* The logarithm of a probability, -infinity where it is under the least normal number. */
UHN_INLINE vec F(log_probability)(vec p) {
    const vec tiny = SET1((T)(sizeof(T) == 4 ? 0x1p-126 : 0x1p-1022));
    const ivec positive = p >= tiny;
    const vec l = F(log)(MAXV(p, tiny));
    return (vec)(((ivec)l & positive) | ((ivec)SET1((T)-INFINITY) & ~positive));
}

/* x / sum + eps, divided by what that adds up to over `count` features; a sum of 0 leaves eps alone. */
UHN_INLINE vec F(probability)(vec x, vec sum, vec eps, vec total) {
    const vec one = SET1(1), tiny = SET1((T)(sizeof(T) == 4 ? 0x1p-126 : 0x1p-1022));
    const ivec none = sum == SET1(0);
    const vec divisor = (vec)(((ivec)sum & ~none) | ((ivec)one & none));
    const vec p = (x / divisor + eps) / total;
    return AND(p, p >= tiny);
}

static void F(part_divergence)(uhn_score_kernel kernel, double eps_, const void *rows_,
                               const void *known_, size_t n_rows, const void *panel_,
                               const void *panel_known_, size_t n_features, size_t lanes,
                               const void *sums_, const void *sums_q_, const void *counts_,
                               void *S_) {
    const T *rows = rows_, *known = known_, *panel = panel_, *panel_known = panel_known_;
    const T *sums = sums_, *sums_q = sums_q_, *counts = counts_;
    T *S = S_;
    const vec zero = SET1(0), one = SET1(1), half = SET1((T)0.5), eps = SET1((T)eps_);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < lanes; i += V) {
            const vec a = LOAD(sums + r * lanes + i), b = LOAD(sums_q + r * lanes + i);
            const vec pseudo = LOAD(counts + r * lanes + i) * eps;
            vec total_p = AND(one, a != zero) + pseudo, total_r = AND(one, b != zero) + pseudo;
            total_p = total_p + AND(one, total_p == zero);
            total_r = total_r + AND(one, total_r == zero);
            vec sum = zero;
            for (size_t j = 0; j < n_features; j++) {
                if (known[r * n_features + j] == 0) continue;
                const ivec both = LOAD(panel_known + j * lanes + i) != zero;
                const vec m = SET1(rows[r * n_features + j]), q = LOAD(panel + j * lanes + i);
                const vec p = F(probability)(m, a, eps, total_p);
                const vec x = F(probability)(q, b, eps, total_r);
                vec term;
                if (kernel == UHN_SCORE_kl)
                    term = p * AND(F(log_probability)(p) - F(log_probability)(x), p > zero);
                else if (kernel == UHN_SCORE_reverse_kl)
                    term = x * AND(F(log_probability)(x) - F(log_probability)(p), x > zero);
                else {
                    const vec hp = p * half, hx = x * half;
                    term =
                        F(divergence)(hp, hp * F(log_absolute)(p), hx, hx * F(log_absolute)(x));
                }
                sum = sum + AND(term, both);
            }
            STORE(S + r * lanes + i, sum);
        }
}

/* ------------------------------------------------------------------------ scores into weights -- */

/* 2^x for x - reference in [-cutoff, 0], 0 below: 2^(round x - reference) times a polynomial in the
 * rest, which is exact to subtract. */
UHN_INLINE vec F(exp2_above)(vec x, vec reference, vec lowest) {
    const vec whole = ROUND(x), rest = x - whole, k = whole - reference;
#if IS_FLOAT
    static const T a[] = {UHN_EXP2_F32_COEFFS};
    const vec rounder = SET1(0x1.8p23f);
#else
    static const T a[] = {UHN_EXP2_F64_COEFFS};
    const vec rounder = SET1(0x1.8p52);
#endif
    const vec p = HORNER(rest, a);
    /* Adding 1.5 * 2^MANTISSA leaves the whole number k in the low bits. */
    const ivec exponent = ((ivec)(MAXV(k, lowest) + rounder) + BIAS) << MANTISSA;
    return AND(p * (vec)exponent, k >= lowest);
}

static void F(finish)(const uhn_finish *finish, const void *row_scale_, size_t n_rows,
                      size_t lanes, void *S_) {
    const T *row_scale = row_scale_;
    T *S = S_;
    const size_t n = n_rows * lanes;
    const vec zero = SET1(0), eps = SET1((T)finish->eps);
    if (finish->kind == UHN_FINISH_none) return;
    if (finish->kind == UHN_FINISH_scale) {
        for (size_t r = 0; r < n_rows; r++) {
            const vec scale = SET1(row_scale[r] == 0 ? 1 : row_scale[r]);
            for (size_t i = 0; i < lanes; i += V) {
                T *at = S + r * lanes + i;
                STORE(at, LOAD(at) / scale);
            }
        }
        return;
    }
    /* Rounding may take a divergence an ulp below 0. */
    if (finish->root)
        for (size_t i = 0; i < n; i += V) {
            T x[V] __attribute__((aligned(UHN_ALIGNMENT)));
            STORE(x, LOAD(S + i));
            for (int v = 0; v < V; v++) x[v] = SQRT(x[v]);
            STORE(S + i, LOAD(x));
        }
    if (finish->kind == UHN_FINISH_negative)
        for (size_t i = 0; i < n; i += V) STORE(S + i, zero - MAXV(LOAD(S + i), zero));
    else if (finish->kind == UHN_FINISH_inverse)
        for (size_t i = 0; i < n; i += V)
            STORE(S + i, SET1(1) / (MAXV(LOAD(S + i), zero) + eps));
    else {
        const vec factor = SET1((T)(-finish->gamma * 1.4426950408889634074));
        const vec lowest = SET1((T)(1 - BIAS));
        const bool squared = finish->squared;
        for (size_t i = 0; i < n; i += V) {
            const vec d = MAXV(LOAD(S + i), zero);
            vec x = d * factor;
            if (!squared) x = d * x;
            STORE(S + i, F(exp2_above)(x, zero, lowest));
        }
    }
}

static void F(divide)(const void *divisor_, size_t n_rows, size_t lanes, void *S_) {
    const T *divisor = divisor_;
    T *S = S_;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < lanes; i += V) {
            T *at = S + r * lanes + i;
            STORE(at, LOAD(at) / LOAD(divisor + i));
        }
}

static void F(tops)(size_t n_rows, size_t lanes, const void *S_, void *top_) {
    const T *S = S_;
    T *top = top_;
    for (size_t i = 0; i < lanes; i += V) {
        vec t = SET1((T)-INFINITY);
        for (size_t r = 0; r < n_rows; r++) t = MAXV(LOAD(S + r * lanes + i), t);
        STORE(top + i, t);
    }
}

static void F(exponents)(double factor_, const void *bias_, size_t n_rows, size_t lanes,
                         void *S_, void *top_) {
    const T *bias = bias_;
    T *S = S_, *top = top_;
    const vec factor = SET1((T)factor_), lowest = SET1((T)-INFINITY);
    for (size_t i = 0; i < lanes; i += V) {
        vec t = lowest;
        for (size_t r = 0; r < n_rows; r++) {
            T *at = S + r * lanes + i;
            vec x = factor * LOAD(at);
            /* 0 times infinity: whoever can answer answers alike. */
            if (factor_ == 0) x = (vec)((ivec)lowest & ~(LOAD(at) > lowest));
            if (bias) x = x + SET1(bias[r]);
            STORE(at, x);
            t = MAXV(x, t);
        }
        STORE(top + i, t);
    }
}

static bool F(exponentials)(const void *reference_, int cutoff, size_t n_rows, size_t lanes,
                            void *S_, void *sum_) {
    const T *reference = reference_;
    T *S = S_, *sum = sum_;
    const vec lowest = SET1((T)-cutoff);
    ivec any = (ivec)SET1(0);
    for (size_t i = 0; i < lanes; i += V) {
        const vec ref = LOAD(reference + i);
        vec total = SET1(0);
        for (size_t r = 0; r < n_rows; r++) {
            T *at = S + r * lanes + i;
            const vec w = F(exp2_above)(LOAD(at), ref, lowest);
            STORE(at, w);
            total += w;
        }
        any |= (ivec)total;
        STORE(sum + i, total);
    }
    I found = 0;
    for (int v = 0; v < V; v++) found |= any[v];
    return found != 0;
}

/* --------------------------------------------------------------------------------- projection -- */

/*
 * PR queries by PV vectors of columns stay in registers while the rows of a tile go by. Columns are
 * the outer loop, so that a slice of the tile stays in L1 while every query of the panel passes; the
 * first group of queries fetches the slice after it.
 */
UHN_INLINE void F(project_block)(const T *W, size_t lanes, const T *values, size_t stride,
                                 size_t n_rows, T *out, size_t out_stride, const int pr,
                                 const int pv, const bool fetch, const T *ahead) {
    vec acc[PR][PV];
    UHN_UNROLL for (int i = 0; i < pr; i++) UHN_UNROLL for (int v = 0; v < pv; v++) acc[i][v] =
        LOAD(out + (size_t)i * out_stride + (size_t)v * V);
    for (size_t k = 0; k < n_rows; k++) {
        const T *row = values + k * stride;
        vec p[PV];
        UHN_UNROLL for (int v = 0; v < pv; v++) p[v] = LOADU(row + (size_t)v * V);
        if (fetch) {
            UHN_UNROLL for (int v = 0; v < pv; v++) {
                __builtin_prefetch(row + (size_t)(pv + v) * V, 0, 3);
                if (ahead) __builtin_prefetch(ahead + (k * (size_t)pv + (size_t)v) * V, 0, 2);
            }
        }
        UHN_UNROLL for (int i = 0; i < pr; i++) {
            const vec w = SET1(W[k * lanes + (size_t)i]);
            UHN_UNROLL for (int v = 0; v < pv; v++) acc[i][v] = FMA(w, p[v], acc[i][v]);
        }
    }
    UHN_UNROLL for (int i = 0; i < pr; i++) UHN_UNROLL for (int v = 0; v < pv; v++)
        STORE(out + (size_t)i * out_stride + (size_t)v * V, acc[i][v]);
}

/* Two queries alone would leave half of the registers idle: PR + 2 of them go as 4 and 4. */
#define GROUPS(pr, pv)                                                                         \
    while (i + (pr) <= n_lanes && ((pr) != PR || n_lanes - i != PR + 2)) {                     \
        F(project_block)                                                                       \
        (W + i, lanes, values, stride, n_rows, out + i * out_stride, out_stride, pr, pv,       \
         i == 0, ahead);                                                                       \
        i += (pr);                                                                             \
    }
#define PROJECT_SLICE(pv)                                                                      \
    static void F(project_slice_##pv)(const T *W, size_t lanes, size_t n_lanes,                \
                                      const T *values, size_t stride, size_t n_rows, T *out,   \
                                      size_t out_stride, const T *ahead) {                     \
        size_t i = 0;                                                                          \
        GROUPS(PR, pv)                                                                         \
        GROUPS(4, pv)                                                                          \
        GROUPS(2, pv)                                                                          \
        GROUPS(1, pv)                                                                          \
    }

PROJECT_SLICE(1)
PROJECT_SLICE(2)
#if PV == 4
PROJECT_SLICE(4)
#endif

/*
 * One query: its sums stay in L1 and the rows go by in the order they lie, four at a time. The chain of
 * each column is the same.
 */
UHN_INLINE void F(project_one)(const T *W, size_t lanes, const T *values, size_t stride,
                               size_t n_rows, size_t n_columns, T *out, const T *ahead) {
    size_t k = 0;
    for (; k + 4 <= n_rows; k += 4) {
        const T *row = values + k * stride;
        const vec a = SET1(W[k * lanes]), b = SET1(W[(k + 1) * lanes]);
        const vec c = SET1(W[(k + 2) * lanes]), d = SET1(W[(k + 3) * lanes]);
        for (size_t j = 0; j + V <= n_columns; j += V) {
            UHN_UNROLL for (size_t l = 0; l < 4 * V; l += LINE) if (ahead)
                __builtin_prefetch(ahead + k * stride + 4 * j + l, 0, 2);
            vec sum = FMA(a, LOADU(row + j), LOAD(out + j));
            sum = FMA(b, LOADU(row + stride + j), sum);
            sum = FMA(c, LOADU(row + 2 * stride + j), sum);
            STORE(out + j, FMA(d, LOADU(row + 3 * stride + j), sum));
        }
    }
    for (; k < n_rows; k++)
        for (size_t j = 0; j + V <= n_columns; j += V)
            STORE(out + j,
                  FMA(SET1(W[k * lanes]), LOADU(values + k * stride + j), LOAD(out + j)));
}

static void F(project)(const void *W_, size_t lanes, size_t n_lanes, const void *values_,
                       size_t stride, size_t n_rows, size_t n_columns, void *tail_, void *out_,
                       size_t out_stride, const void *ahead_) {
    const T *W = W_, *values = values_, *ahead = ahead_;
    T *out = out_, *tail = tail_;
    size_t c = 0;
    if (n_lanes == 1) {
        F(project_one)(W, lanes, values, stride, n_rows, n_columns, out, ahead);
        c = n_columns / V * V;
    }
#define SLICES(pv)                                                                             \
    while (c + (pv)*V <= n_columns) {                                                          \
        F(project_slice_##pv)                                                                  \
        (W, lanes, n_lanes, values + c, stride, n_rows, out + c, out_stride,                   \
         ahead ? ahead + c * n_rows : NULL);                                                   \
        c += (pv)*V;                                                                           \
    }
#if PV == 4
    SLICES(4)
#endif
    SLICES(2)
    SLICES(1)
#undef SLICES
    if (c < n_columns) {
        for (size_t k = 0; k < n_rows; k++) {
            STORE(tail + k * V, SET1(0));
            memcpy(tail + k * V, values + k * stride + c, (n_columns - c) * sizeof(T));
        }
        F(project_slice_1)(W, lanes, n_lanes, tail, V, n_rows, out + c, out_stride, NULL);
    }
}

/* --------------------------------------------------------------------------------- accumulators */

static void F(combine)(void *a_, double fa, const void *b_, double fb, size_t n) {
    T *a = a_;
    const T *b = b_;
    const T x = (T)fa, y = (T)fb;
    if (y == 0) {
        if (x != 1)
            for (size_t i = 0; i < n; i++) a[i] = x == 0 ? 0 : a[i] * x;
    } else if (x == 0) {
        for (size_t i = 0; i < n; i++) a[i] = b[i] * y;
    } else if (x == 1 && y == 1) {
        for (size_t i = 0; i < n; i++) a[i] += b[i];
    } else {
        for (size_t i = 0; i < n; i++) a[i] = a[i] * x + b[i] * y;
    }
}

static bool F(conclude)(const void *a_, double factor, double divisor, size_t n, void *out_) {
    const T *a = a_;
    T *out = out_;
    T bad = 0;
    for (size_t i = 0; i < n; i++) {
        out[i] = (T)((double)a[i] * factor / divisor) + (T)0;
        bad += out[i] * 0; /* NaN or infinity makes it NaN */
    }
    return bad == 0;
}

static void F(gather)(double *sums, double weight, const void *row_, size_t n) {
    const T *row = row_;
    for (size_t i = 0; i < n; i++) sums[i] += weight * (double)row[i];
}

static bool F(narrow)(const double *in, size_t n, void *out_) {
    T *out = out_;
    T bad = 0;
    const double tiny = sizeof(T) == 4 ? 0x1p-126 : 0x1p-1022;
    for (size_t i = 0; i < n; i++) {
        /* Denormals cost a hundred cycles each wherever they are used. */
        out[i] = in[i] < tiny && in[i] > -tiny ? 0 : (T)in[i];
        bad += out[i] * 0;
    }
    return bad == 0;
}

static void F(widen)(const void *in_, size_t n, double *out) {
    const T *in = in_;
    for (size_t i = 0; i < n; i++) out[i] = (double)in[i];
}

/* ---------------------------------------------------------------------------------- statistics */

/* Eight sums side by side whatever the path, so that the order of the additions is one and the same. */
#define EIGHT_SUMS(term)                                                                       \
    double s[8] = {0};                                                                         \
    size_t j = 0;                                                                              \
    for (; j + 8 <= n; j += 8)                                                                 \
        for (size_t i = 0; i < 8; i++) {                                                       \
            const double x = (double)row[j + i] * scale;                                       \
            s[i] += (term);                                                                    \
        }                                                                                      \
    for (size_t i = 0; j < n; j++, i++) {                                                      \
        const double x = (double)row[j] * scale;                                               \
        s[i] += (term);                                                                        \
    }                                                                                          \
    const double sum = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));

static double F(row_sum)(const void *row_, size_t n) {
    const T *row = row_;
    const double scale = 1;
    EIGHT_SUMS(x)
    return sum;
}

static double F(row_norm)(const void *row_, size_t n) {
    const T *row = row_;
    /* A power of two keeps the squares of the largest and the smallest doubles in range. */
    T largest = 0;
    for (size_t i = 0; i < n; i++) {
        const T x = row[i] < 0 ? -row[i] : row[i];
        largest = x > largest ? x : largest;
    }
    if (largest == 0) return 0;
    int exponent;
    frexp((double)largest, &exponent);
    exponent = UHN_MAX(UHN_MIN(exponent, 1000), -1000);
    const double scale = ldexp(1, -exponent);
    EIGHT_SUMS(x * x)
    return ldexp(__builtin_sqrt(sum), exponent);
}

static size_t F(find_bad)(const void *row_, size_t n, bool negative) {
    const T *row = row_;
    const T largest = (T)(sizeof(T) == 4 ? 0x1.fffffep127 : 0x1.fffffffffffffp1023);
    const T lowest = negative ? 0 : -largest;
    for (size_t j = 0; j < n;) {
        const size_t end = UHN_MIN(j + 256, n);
        I good = -1;
        for (size_t i = j; i < end; i++) good &= -(I)((row[i] >= lowest) & (row[i] <= largest));
        if (!good)
            for (size_t i = j; i < end; i++)
                if (!(row[i] >= lowest && row[i] <= largest)) return i;
        j = end;
    }
    return n;
}

static double F(distance)(const void *a_, const void *b_, size_t n) {
    const T *a = a_, *b = b_;
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= largest)) largest = d;
    }
    return largest;
}

static const uhn_kernels F(table) = {
    .path = UHN_PATH,
    .vector = V,
    .panel_vectors = NV,
    .few = FEW,
    .pack = F(pack),
    .score = {[UHN_SCORE_dot] = F(score_dot),
              [UHN_SCORE_sqdiff] = F(score_sqdiff),
              [UHN_SCORE_absdiff] = F(score_absdiff),
              [UHN_SCORE_maxdiff] = F(score_maxdiff),
              [UHN_SCORE_differ] = F(score_differ),
              [UHN_SCORE_known_sqdiff] = F(score_known_sqdiff),
              [UHN_SCORE_known_absdiff] = F(score_known_absdiff),
              [UHN_SCORE_known_maxdiff] = F(score_known_maxdiff),
              [UHN_SCORE_known_differ] = F(score_known_differ),
              [UHN_SCORE_kl] = F(score_kl),
              [UHN_SCORE_reverse_kl] = F(score_reverse_kl),
              [UHN_SCORE_jensen_shannon] = F(score_jensen_shannon)},
    .score_few = {[UHN_SCORE_dot] = F(few_dot),
                  [UHN_SCORE_sqdiff] = F(few_sqdiff),
                  [UHN_SCORE_absdiff] = F(few_absdiff),
                  [UHN_SCORE_maxdiff] = F(few_maxdiff),
                  [UHN_SCORE_differ] = F(few_differ),
                  [UHN_SCORE_known_sqdiff] = F(few_known_sqdiff),
                  [UHN_SCORE_known_absdiff] = F(few_known_absdiff),
                  [UHN_SCORE_known_maxdiff] = F(few_known_maxdiff),
                  [UHN_SCORE_known_differ] = F(few_known_differ)},
    .prepare = F(prepare),
    .divide_row = F(divide_row),
    .part_row = F(part_row),
    .part_divergence = F(part_divergence),
    .part_scale = F(part_scale),
    .part_none = F(part_none),
    .part_divide = F(part_divide),
    .finish = F(finish),
    .divide = F(divide),
    .tops = F(tops),
    .exponents = F(exponents),
    .exponentials = F(exponentials),
    .project = F(project),
    .combine = F(combine),
    .conclude = F(conclude),
    .gather = F(gather),
    .narrow = F(narrow),
    .widen = F(widen),
    .row_sum = F(row_sum),
    .row_norm = F(row_norm),
    .find_bad = F(find_bad),
    .distance = F(distance),
};

#undef HORNER
#undef vec
#undef ivec
#undef LINE
#undef PIECE
#undef LOADP
#undef LOW_1
#undef HIGH_1
#undef LOW_2
#undef HIGH_2
#undef SHUFFLE
#undef PAIR
#undef AT
#undef LOAD
#undef STORE
#undef LOADU
#undef AND
#undef ABS
#undef SCORE_KERNEL
#undef DIFFERENCE
#undef STEP_dot
#undef STEP_sqdiff
#undef STEP_absdiff
#undef STEP_maxdiff
#undef STEP_differ
#undef STEP_known_sqdiff
#undef STEP_known_absdiff
#undef STEP_known_maxdiff
#undef STEP_known_differ
#undef KNOWN
#undef FEW
#undef FEW_KERNEL
#undef GROUPS
#undef PROJECT_SLICE
#undef EIGHT_SUMS
#undef T
#undef I
#undef MANTISSA
#undef BIAS
#undef SQRT
#undef V
#undef IS_FLOAT
#undef F
#undef SET1
#undef FMA
#undef MINUS
#undef MAXV
#undef ROUND
#undef QUAD
#undef LOOK_UP
#undef EXPONENT
#undef FRACTION
