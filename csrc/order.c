/*
 * order.c - schedules of asynchronous dynamics, and two-state rows as bits (layer 2).
 */
#include "order.h"

uhn_status uhn_schedule_check(const uhn_schedule *schedule, size_t n_units, uhn_error *error) {
    if ((unsigned)schedule->order >= UHN_N_ORDERS)
        return uhn_fail(error, UHN_BAD_NAME, "order %d is not one of the table",
                        (int)schedule->order);
    if ((unsigned)schedule->tie >= UHN_N_TIES)
        return uhn_fail(error, UHN_BAD_NAME, "tie %d is not one of keep, plus, minus",
                        (int)schedule->tie);
    if (schedule->order == UHN_ORDER_GIVEN) {
        if (schedule->n_given == 0)
            return uhn_fail(error, UHN_BAD_PARAMETER, "order lists no unit");
        for (size_t i = 0; i < schedule->n_given; i++)
            if (schedule->given[i] < 0 || (size_t)schedule->given[i] >= n_units)
                return uhn_fail(error, UHN_BAD_PARAMETER,
                                "order[%zu] is %lld, but units are numbered from 0 to %zu", i,
                                (long long)schedule->given[i], n_units - 1);
    }
    for (size_t i = 0; schedule->temperatures && i < schedule->n_sweeps; i++)
        if (!(schedule->temperatures[i] >= 0 && isfinite(schedule->temperatures[i])))
            return uhn_fail(error, UHN_BAD_PARAMETER,
                            "temperature must be finite and >= 0, got %g",
                            schedule->temperatures[i]);
    return UHN_OK;
}

void uhn_schedule_sweep(const uhn_schedule *schedule, size_t n_units, size_t sweep,
                        int64_t *out) {
    const uint64_t stream = uhn_order_stream(schedule->seed, sweep);
    switch (schedule->order) {
    case UHN_ORDER_GIVEN: memcpy(out, schedule->given, schedule->n_given * sizeof *out); return;
    case UHN_ORDER_REPLACEMENT:
        for (size_t i = 0; i < n_units; i++)
            out[i] = (int64_t)uhn_below(uhn_random(stream, i), n_units);
        return;
    case UHN_ORDER_PERMUTATION:
        /* Fisher and Yates, inside out. */
        for (size_t i = 0; i < n_units; i++) {
            const size_t j = uhn_below(uhn_random(stream, i), i + 1);
            out[i] = out[j];
            out[j] = (int64_t)i;
        }
        return;
    default:
        for (size_t i = 0; i < n_units; i++) out[i] = (int64_t)i;
    }
}

/* Eight states as eight bytes of 1 and 0, the first in the lowest. */
UHN_INLINE uint64_t eight(const int8_t *states) {
    uint64_t bytes;
    memcpy(&bytes, states, sizeof bytes);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    bytes = __builtin_bswap64(bytes);
#endif
    /* -1 has its highest bit set, +1 has not. */
    return ~bytes >> 7 & UINT64_C(0x0101010101010101);
}

void uhn_pack_rows(const int8_t *rows, size_t n_rows, size_t n_columns, uint64_t *out) {
    const size_t n_words = (n_columns + 63) / 64;
    memset(out, 0, n_rows * n_words * sizeof *out);
    for (size_t r = 0; r < n_rows; r++) {
        const int8_t *row = rows + r * n_columns;
        uint64_t *words = out + r * n_words;
        size_t c = 0;
        /* The product moves byte i to bit 56 + i; no two bytes meet. */
        for (; c + 8 <= n_columns; c += 8)
            words[c / 64] |= (eight(row + c) * UINT64_C(0x0102040810204080) >> 56) << (c % 64);
        for (; c < n_columns; c++) words[c / 64] |= (uint64_t)(row[c] > 0) << (c % 64);
    }
}

void uhn_pack_words(const int8_t *rows, size_t n_rows, size_t n_columns, size_t stride,
                    uint32_t *out) {
    for (size_t first = 0; first < n_rows; first += 32, out++) {
        const size_t n = UHN_MIN((size_t)32, n_rows - first);
        const int8_t *block = rows + first * n_columns;
        size_t c = 0;
        for (; c + 8 <= n_columns; c += 8) {
            uint64_t bytes[4] = {
                0}; /* byte i of number k: rows 8 k to 8 k + 7 of column c + i */
            for (size_t r = 0; r < n; r++)
                bytes[r / 8] |= eight(block + r * n_columns + c) << (r % 8);
            for (size_t i = 0; i < 8; i++) {
                uint32_t word = 0;
                for (size_t k = 0; k < 4; k++)
                    word |= (uint32_t)(bytes[k] >> (8 * i) & 255) << (8 * k);
                out[(c + i) * stride] = word;
            }
        }
        for (; c < n_columns; c++) {
            uint32_t word = 0;
            for (size_t r = 0; r < n; r++)
                word |= (uint32_t)(block[r * n_columns + c] > 0) << r;
            out[c * stride] = word;
        }
    }
}

void uhn_pack_columns(const int8_t *rows, size_t n_rows, size_t n_columns, uint32_t *out) {
    uhn_pack_words(rows, n_rows, n_columns, (n_rows + 31) / 32, out);
}
