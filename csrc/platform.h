/*
 * platform.h - the compiler and the allocator (layer 0).
 *
 * May include: the C library. Everything above includes this first.
 *
 * Sizes that come from a caller are multiplied through uhn_mul(), so that a request too large for
 * size_t is refused before anything is allocated.
 */
#ifndef UHN_PLATFORM_H
#define UHN_PLATFORM_H

#include "uhn.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__clang__)
#define UHN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define UHN_UNROLL _Pragma("GCC unroll 32")
#endif
#define UHN_INLINE static inline __attribute__((always_inline))
#define UHN_UNUSED __attribute__((unused))
#define UHN_PRINTF(at, first) __attribute__((format(printf, at, first)))

/* Vector loads are fastest, and never split a cache line, at this alignment. */
#define UHN_ALIGNMENT 64

#define UHN_MIN(a, b) ((a) < (b) ? (a) : (b))
#define UHN_MAX(a, b) ((a) > (b) ? (a) : (b))

UHN_INLINE size_t uhn_round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

/* *out = a * b * size; false if that does not fit half of the address space. */
UHN_INLINE bool uhn_mul(size_t a, size_t b, size_t size, size_t *out) {
    size_t ab;
    return !__builtin_mul_overflow(a, b, &ab) && !__builtin_mul_overflow(ab, size, out) &&
           *out <= PTRDIFF_MAX / 2;
}

/* Aligned memory for a * b elements, rounded up to whole cache lines; NULL if there is none. */
UHN_INLINE void *uhn_alloc(size_t a, size_t b, size_t size) {
    size_t n;
    if (!uhn_mul(a, b, size, &n)) return NULL;
    return aligned_alloc(UHN_ALIGNMENT, uhn_round_up(n ? n : 1, UHN_ALIGNMENT));
}

UHN_INLINE size_t uhn_dtype_size(uhn_dtype dtype) {
    return dtype == UHN_FLOAT32 ? sizeof(float) : sizeof(double);
}

/* Elements as double, whatever the dtype, for loops too short to deserve a kernel. */
UHN_INLINE double uhn_get(uhn_dtype dtype, const void *p, size_t i) {
    return dtype == UHN_FLOAT32 ? (double)((const float *)p)[i] : ((const double *)p)[i];
}

UHN_INLINE void uhn_put(uhn_dtype dtype, void *p, size_t i, double x) {
    if (dtype == UHN_FLOAT32) ((float *)p)[i] = (float)x;
    else ((double *)p)[i] = x;
}

/* Records a status and its sentence in `error` (may be NULL), and returns the status. */
UHN_PRINTF(3, 4)
static UHN_UNUSED uhn_status uhn_fail(uhn_error *error, uhn_status status, const char *format,
                                      ...) {
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        error->status = status;
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

UHN_INLINE bool uhn_run_stopped(const uhn_run *run) {
    return run && run->stop && run->stop(run->stop_context);
}

UHN_INLINE uhn_status uhn_no_memory(uhn_error *error) {
    return uhn_fail(error, UHN_NO_MEMORY, "out of memory");
}

#endif
