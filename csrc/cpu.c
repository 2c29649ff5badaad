/*
 * cpu.c - probes the CPU once and chooses a path.
 *
 * A path never changes a result, only the time it takes, so the choice can be made by environment
 * variable for tests. A name that cannot be honoured ends the process: a test that silently ran
 * another path would prove nothing.
 */
#include "cpu.h"

#include <pthread.h>

typedef struct path {
    const char *name;
    const uhn_kernels *const *kernels;
    const uhn_bit_kernels *bits;
    bool (*runs)(void);
} path;

#if defined(__x86_64__)
static bool runs_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
static bool runs_avx512(void) {
    return runs_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif
static bool runs_always(void) { return true; }

/* Worst first; the last that runs is chosen. */
static const path PATHS[] = {
    {"generic", uhn_kernels_generic, &uhn_bits_generic, runs_always},
#if defined(__x86_64__)
    {"avx2", uhn_kernels_avx2, &uhn_bits_avx2, runs_avx2},
    {"avx512", uhn_kernels_avx512, &uhn_bits_avx512, runs_avx512},
#elif defined(__aarch64__)
    {"neon", uhn_kernels_neon, &uhn_bits_neon, runs_always},
#endif
};
enum { N_PATHS = sizeof PATHS / sizeof *PATHS };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const path *chosen;
static char available[64];

static void choose(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    const char *wanted = getenv("UHN_CPU");
    for (int i = 0; i < N_PATHS; i++) {
        if (!PATHS[i].runs()) continue;
        if (*available) strcat(available, ",");
        strcat(available, PATHS[i].name);
        if (!wanted || !*wanted || strcmp(wanted, PATHS[i].name) == 0) chosen = &PATHS[i];
    }
    if (!chosen) {
        fprintf(stderr, "uhn: UHN_CPU=%s is not a path this machine can run; it can run: %s\n",
                wanted, available);
        abort();
    }
}

const uhn_kernels *uhn_kernels_for(uhn_dtype dtype) {
    pthread_once(&once, choose);
    return chosen->kernels[dtype];
}

const uhn_bit_kernels *uhn_bit_kernels_of_cpu(void) {
    pthread_once(&once, choose);
#if defined(__x86_64__)
    if (chosen->bits == &uhn_bits_avx512 && __builtin_cpu_supports("avx512vpopcntdq"))
        return &uhn_bits_avx512popcnt;
#endif
    return chosen->bits;
}

const char *uhn_cpu_path(void) {
    pthread_once(&once, choose);
    return chosen->name;
}

const char *uhn_cpu_available(void) {
    pthread_once(&once, choose);
    return available;
}
