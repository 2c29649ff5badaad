/*
 * cpu.h - which kernels this machine runs (layer 0 by its duty; it names the tables of layer 1).
 *
 * May include: kernels.h.
 */
#ifndef UHN_CPU_H
#define UHN_CPU_H

#include "kernels.h"

/* The table of the chosen path. The first call probes the CPU; UHN_CPU overrides. */
const uhn_kernels *uhn_kernels_for(uhn_dtype dtype);
const uhn_bit_kernels *uhn_bit_kernels_of_cpu(void);

#endif
