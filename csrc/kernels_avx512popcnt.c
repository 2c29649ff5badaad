/*
 * kernels_avx512popcnt.c - the bit kernels for AVX-512 machines that count bits themselves
 * (VPOPCNTDQ).
 *
 * The path is still avx512: cpu.c takes this table in place of the other where it can.
 */
#include "kernels.h"

#include <immintrin.h>

#define COUNTS(x) (bits_ulongs) _mm512_popcnt_epi64((__m512i)(x))
#define SUM_COUNTS(x) (x)
#define SIGN_MASK(x) (uint64_t) _mm512_movepi64_mask((__m512i)(x))
#define BITS uhn_bits_avx512popcnt
#define BITS_VECTOR 64
#include "kernels_avx512.inc.h"
#include "kernels_bits.inc.h"
