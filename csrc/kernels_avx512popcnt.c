/*
 * kernels_avx512popcnt.c - the bit kernels for AVX-512 machines that count bits themselves (VPOPCNTDQ).
 *
 * The path is still avx512: cpu.c takes this table in place of the other where it can.
 */
#include "kernels.h"

#define BITS uhn_bits_avx512popcnt
#define BITS_VECTOR 64
#include "kernels_bits.inc.h"
