/*
 * order.h - who is looked at next, and with what luck (layer 2).
 *
 * May include: platform.h.
 *
 * Random numbers are counted, not streamed: number c of stream s is a hash of (seed, s, c), that of
 * SplitMix64 (Steele, Lea, Flood 2014), so that any sweep can be made without those before it.
 */
#ifndef UHN_ORDER_H
#define UHN_ORDER_H

#include "platform.h"

/* A permutation of 64-bit numbers without structure that a test finds (the finaliser of SplitMix64). */
UHN_INLINE uint64_t uhn_mix(uint64_t x) {
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Where a stream begins: streams of one seed, and of neighbouring seeds, lie far apart. */
UHN_INLINE uint64_t uhn_stream(uint64_t seed, uint64_t stream) {
    return uhn_mix(uhn_mix(seed + UINT64_C(0x9e3779b97f4a7c15)) ^
                   uhn_mix(stream + UINT64_C(0xd1b54a32d192ed03)));
}

/* Number `count` of a stream. */
UHN_INLINE uint64_t uhn_random(uint64_t stream, uint64_t count) {
    return uhn_mix(stream + (count + 1) * UINT64_C(0x9e3779b97f4a7c15));
}

/* Uniform in [0, 1), a multiple of 2^-53. */
UHN_INLINE double uhn_uniform(uint64_t bits) { return (double)(bits >> 11) * 0x1p-53; }

/* Uniform in [0, n), but for a bias under n / 2^64. */
UHN_INLINE size_t uhn_below(uint64_t bits, size_t n) {
    return (size_t)(((unsigned __int128)bits * n) >> 64);
}

/* Streams of a sweep: the order of its units, and the luck of its looks (look c of a sweep takes
 * number c of the stream). */
UHN_INLINE uint64_t uhn_order_stream(uint64_t seed, size_t sweep) {
    return uhn_stream(seed, 2 * (uint64_t)sweep);
}
UHN_INLINE uint64_t uhn_luck_stream(uint64_t seed, size_t sweep) {
    return uhn_stream(seed, 2 * (uint64_t)sweep + 1);
}

/* Looks of one sweep. */
UHN_INLINE size_t uhn_schedule_looks(const uhn_schedule *schedule, size_t n_units) {
    return schedule->order == UHN_ORDER_GIVEN ? schedule->n_given : n_units;
}

/* Of sweep first_sweep + i. */
UHN_INLINE double uhn_schedule_temperature(const uhn_schedule *schedule, size_t i) {
    return schedule->temperatures ? schedule->temperatures[i] : 0;
}

UHN_INLINE bool uhn_schedule_clamps(const uhn_schedule *schedule, size_t unit) {
    return schedule->clamped && schedule->clamped[unit];
}

/* As uhn_pack_columns, for columns that begin `stride` words apart: rows that come in pieces of a
 * multiple of 32 can be packed piece by piece. */
void uhn_pack_words(const int8_t *rows, size_t n_rows, size_t n_columns, size_t stride,
                    uint32_t *out);

#endif
