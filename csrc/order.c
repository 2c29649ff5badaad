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

void uhn_pack_rows(const int8_t *rows, size_t n_rows, size_t n_columns, uint64_t *out) {
    const size_t n_words = (n_columns + 63) / 64;
    memset(out, 0, n_rows * n_words * sizeof *out);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t c = 0; c < n_columns; c++)
            out[r * n_words + c / 64] |= (uint64_t)(rows[r * n_columns + c] > 0) << (c % 64);
}

void uhn_pack_columns(const int8_t *rows, size_t n_rows, size_t n_columns, uint32_t *out) {
    const size_t n_words = (n_rows + 31) / 32;
    memset(out, 0, n_columns * n_words * sizeof *out);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t c = 0; c < n_columns; c++)
            out[c * n_words + r / 32] |= (uint32_t)(rows[r * n_columns + c] > 0) << (r % 32);
}
