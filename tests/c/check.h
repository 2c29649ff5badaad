/*
 * check.h - what the C tests share: a check macro, seeded numbers, hashes, guarded buffers.
 *
 * A failed check prints where and what and the test goes on; `check_done` prints the closing
 * line and gives the exit status. The generator is splitmix64, so that a workload is the same
 * on every machine; its numbers are multiples of 2^-20 and therefore exact in float and double
 * alike.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/uhn.h"

/* -------------------------------------------------------------------------------- checks -- */

static atomic_ulong check_passed;
static atomic_ulong check_failed;

static inline bool check_at(bool ok, const char *file, int line, const char *format, ...) {
    if (ok) {
        atomic_fetch_add(&check_passed, 1);
        return true;
    }
    /* After fifty failures the cause is known; the rest would only bury it. */
    if (atomic_fetch_add(&check_failed, 1) < 50) {
        va_list args;
        va_start(args, format);
        fprintf(stderr, "%s:%d: ", file, line);
        vfprintf(stderr, format, args);
        fprintf(stderr, "\n");
        va_end(args);
    }
    return false;
}

#define CHECK(condition, ...)                                                                  \
    check_at(condition, __FILE__, __LINE__, #condition ": " __VA_ARGS__)
#define CHECK_STATUS(call, wanted)                                                             \
    do {                                                                                       \
        uhn_status check_got = (call);                                                         \
        check_at(check_got == (wanted), __FILE__, __LINE__, "%s: got '%s', wanted '%s'",       \
                 #call, uhn_status_string(check_got), uhn_status_string(wanted));              \
    } while (0)
#define CHECK_OK(call) CHECK_STATUS(call, UHN_OK)

static inline int check_done(void) {
    printf("%lu passed, %lu failed\n", atomic_load(&check_passed), atomic_load(&check_failed));
    return atomic_load(&check_failed) ? 1 : 0;
}

/* A test cannot go on without its own buffers; the library's failures are another matter. */
static inline void *must_alloc(size_t n_bytes) {
    void *buffer = malloc(n_bytes ? n_bytes : 1);
    if (!buffer) {
        fprintf(stderr, "the test itself ran out of memory\n");
        exit(2);
    }
    return buffer;
}

/* ------------------------------------------------------------------------------- numbers -- */

typedef struct rng {
    uint64_t state;
} rng;

static inline uint64_t rng_next(rng *r) {
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* One of 0 .. n - 1; the bias of the remainder does not matter to a test. */
static inline size_t rng_below(rng *r, size_t n) { return n ? (size_t)(rng_next(r) % n) : 0; }

static inline uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++) hash = (hash ^ p[i]) * 0x100000001b3u;
    return hash;
}
#define HASH_START 0xcbf29ce484222325u

static inline size_t item_size(uhn_dtype dtype) {
    return dtype == UHN_FLOAT32 ? sizeof(float) : sizeof(double);
}

static inline double get(uhn_dtype dtype, const void *buffer, size_t i) {
    return dtype == UHN_FLOAT32 ? (double)((const float *)buffer)[i]
                                : ((const double *)buffer)[i];
}

static inline void put(uhn_dtype dtype, void *buffer, size_t i, double value) {
    if (dtype == UHN_FLOAT32) ((float *)buffer)[i] = (float)value;
    else ((double *)buffer)[i] = value;
}

static inline const void *at(uhn_dtype dtype, const void *buffer, size_t i) {
    return (const char *)buffer + i * item_size(dtype);
}

static inline void *at_mut(uhn_dtype dtype, void *buffer, size_t i) {
    return (char *)buffer + i * item_size(dtype);
}

typedef enum fill_kind {
    FILL_SIGNED,   /* -1 .. 1 */
    FILL_POSITIVE, /* 2^-20 .. 1 */
    FILL_LEVELS    /* 0, 1 or 2: features are often equal, scores often tie */
} fill_kind;

static inline void fill(uhn_dtype dtype, void *buffer, size_t n, rng *r, fill_kind kind) {
    for (size_t i = 0; i < n; i++) {
        uint64_t bits = rng_next(r);
        double value;
        if (kind == FILL_SIGNED)
            value = (double)((int64_t)(bits >> 43) - (1 << 20)) / (1 << 20);
        else if (kind == FILL_POSITIVE) value = (double)((bits >> 44) + 1) / (1 << 20);
        else value = (double)((bits >> 32) % 3);
        put(dtype, buffer, i, value);
    }
}

/* ----------------------------------------------------------------------------- workloads -- */

/* An equation of two rows with parameters under which it has something to decide: weights that
 * are neither all equal nor all but one zero, scores where the separation is defined. */
typedef struct workload {
    char name[96];
    uhn_equation equation;
    fill_kind kind;
    bool prior;
} workload;

static inline workload workload_of(uhn_similarity similarity, uhn_separation separation,
                                   size_t n_features) {
    const uhn_row_info *sim = uhn_similarity_info(similarity);
    const uhn_row_info *sep = uhn_separation_info(separation);
    const double d = (double)n_features;
    workload w = {.kind = FILL_SIGNED};
    uhn_equation *e = &w.equation;

    *e = uhn_equation_default();
    e->similarity = similarity;
    e->separation = separation;
    e->k = 7;
    e->degree = 2;
    e->alpha = 1.5;
    w.prior = sep->has_prior;

    const bool wants_positive_scores =
        separation == UHN_SEP_sqrt || separation == UHN_SEP_log1p;
    if (sim->non_negative || wants_positive_scores) w.kind = FILL_POSITIVE;
    if (similarity == UHN_SIM_hamming) w.kind = FILL_LEVELS;
    /* A distance enters negated, so its roots need a transform; eps means something else to kl.
     */
    if (sim->is_distance && wants_positive_scores) {
        e->transform = sim->non_negative ? UHN_RBF : UHN_INVERSE;
        e->gamma = 0.75;
        e->eps = sim->non_negative ? 0 : 0.5;
    }
    switch (similarity) {
    case UHN_SIM_dot: e->beta = 0.5, e->theta = w.kind == FILL_POSITIVE ? d / 4 : 0; break;
    case UHN_SIM_cosine: e->beta = 8, e->theta = w.kind == FILL_POSITIVE ? 0.75 : 0; break;
    case UHN_SIM_normalized_dot: e->beta = 4 * d, e->theta = 1 / d; break;
    case UHN_SIM_euclidean: e->beta = 4, e->theta = -0.8 * (d < 4 ? 1 : d / 8); break;
    case UHN_SIM_sqeuclidean: e->beta = 0.5, e->theta = -d * 2 / 3; break;
    case UHN_SIM_manhattan: e->beta = 0.5, e->theta = -d * 2 / 3; break;
    case UHN_SIM_chebyshev: e->beta = 8, e->theta = -1.75; break;
    case UHN_SIM_hamming: e->beta = 0.5, e->theta = -d * 2 / 3; break;
    case UHN_SIM_kl: e->beta = 8, e->theta = -0.35; break;
    case UHN_SIM_reverse_kl: e->beta = 8, e->theta = -0.35; break;
    case UHN_SIM_jensen_shannon: e->beta = 32, e->theta = -0.08; break;
    default: break;
    }
    snprintf(w.name, sizeof w.name, "%s.%s", sim->name, sep->name);
    return w;
}

/* Every row once against a partner, every transform, every normalisation: about fifty
 * equations. Returns how many there are; fills at most `capacity`. */
static inline size_t workloads(workload *out, size_t capacity, size_t n_features) {
    size_t n = 0;
#define WORKLOAD_ADD(w, suffix)                                                                \
    do {                                                                                       \
        if (n < capacity) {                                                                    \
            out[n] = (w);                                                                      \
            strncat(out[n].name, suffix, sizeof out[n].name - strlen(out[n].name) - 1);        \
        }                                                                                      \
        n++;                                                                                   \
    } while (0)
    for (int i = 0; i < (int)UHN_N_SIMILARITIES; i++) {
        workload w = workload_of((uhn_similarity)i, UHN_SEP_softmax, n_features);
        WORKLOAD_ADD(w, "");
        if (!uhn_similarity_info((uhn_similarity)i)->is_distance) continue;
        w.equation.transform = UHN_INVERSE;
        w.equation.eps = 0.125;
        w.equation.beta *= w.kind == FILL_POSITIVE ? 0.5 : 4;
        WORKLOAD_ADD(w, ".inverse");
        w.equation.transform = UHN_RBF;
        w.equation.gamma = 1 / (double)n_features;
        WORKLOAD_ADD(w, ".rbf");
    }
    for (int i = 0; i < (int)UHN_N_SEPARATIONS; i++) {
        const uhn_row_info *info = uhn_separation_info((uhn_separation)i);
        workload w = workload_of(UHN_SIM_dot, (uhn_separation)i, n_features);
        if (i != UHN_SEP_softmax) WORKLOAD_ADD(w, "");
        if (info->has_normalize) {
            w.equation.normalize = UHN_NORMALIZE_SUM;
            WORKLOAD_ADD(w, ".sum");
            w.equation.normalize = UHN_NORMALIZE_NONE;
        }
        workload far = workload_of(UHN_SIM_manhattan, (uhn_separation)i, n_features);
        WORKLOAD_ADD(far, "");
    }
    workload w = workload_of(UHN_SIM_dot, UHN_SEP_softmax, n_features);
    w.kind = FILL_POSITIVE;
    w.prior = false; /* it would be a question of its own what their sum is */
    w.equation.normalize_scores = true;
    w.equation.beta = 1000;
    WORKLOAD_ADD(w, ".normalize_scores");
    w = workload_of(UHN_SIM_dot, UHN_SEP_max, n_features);
    w.kind = FILL_LEVELS; /* integer scores: ties all over, the lowest index must win */
    WORKLOAD_ADD(w, ".ties");
    w.equation.separation = UHN_SEP_topk;
    WORKLOAD_ADD(w, ".ties.topk");
    w = workload_of(UHN_SIM_dot, UHN_SEP_softmax, n_features);
    w.equation.beta = 64; /* peaked: most tiles have no weight that counts */
    WORKLOAD_ADD(w, ".peaked");
    w = workload_of(UHN_SIM_dot, UHN_SEP_rectified_polynomial, n_features);
    w.equation.degree = 2.5;
    WORKLOAD_ADD(w, ".degree2.5");
    w = workload_of(UHN_SIM_dot, UHN_SEP_entmax, n_features);
    w.equation.alpha = 1.25;
    WORKLOAD_ADD(w, ".alpha1.25");
#undef WORKLOAD_ADD
    return n;
}

static inline size_t all_workloads(workload **out, size_t n_features) {
    size_t n = workloads(NULL, 0, n_features);
    *out = must_alloc(n * sizeof **out);
    return workloads(*out, n, n_features);
}

#endif
