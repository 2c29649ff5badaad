/*
 * example.c - the example of uhn.h as a whole program: store a few patterns, spoil one, get it
 * back.
 *
 *     cc -std=c11 example.c <the objects of csrc/> -lm -pthread && ./a.out
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../csrc/uhn.h"

enum { N_PATTERNS = 1000, N_FEATURES = 784 };

int main(void) {
    float *patterns = malloc(sizeof(float) * N_PATTERNS * N_FEATURES);
    float query[N_FEATURES], out[N_FEATURES];
    uhn_error error = {.message = ""};
    uhn_memory *memory = NULL;

    if (!patterns) return 1;
    /* Patterns of -1 and +1 from a small linear congruence. */
    unsigned seed = 1;
    for (size_t i = 0; i < (size_t)N_PATTERNS * N_FEATURES; i++) {
        seed = seed * 1664525u + 1013904223u;
        patterns[i] = seed >> 31 ? 1.0f : -1.0f;
    }
    /* The query is pattern 42 with its second half missing. */
    for (size_t j = 0; j < N_FEATURES; j++)
        query[j] = j < N_FEATURES / 2 ? patterns[42 * N_FEATURES + j] : 0.0f;

    uhn_equation equation = uhn_equation_default(); /* dot product, softmax, beta = 1 */
    uhn_rows rows = {.patterns = patterns, .n_rows = N_PATTERNS};
    uhn_status status = uhn_memory_new(UHN_FLOAT32, N_FEATURES, 0, 0, &memory);
    if (status == UHN_OK) status = uhn_memory_store(memory, &rows, &error);
    if (status == UHN_OK)
        status = uhn_retrieve(memory, &equation, query, 1, NULL, out, NULL, &error);
    if (status != UHN_OK) {
        fprintf(stderr, "%s: %s\n", uhn_status_string(status), error.message);
        uhn_memory_free(memory);
        free(patterns);
        return 1;
    }
    float worst = 0;
    for (size_t j = 0; j < N_FEATURES; j++)
        worst = fmaxf(worst, fabsf(out[j] - patterns[42 * N_FEATURES + j]));
    printf("pattern 42 came back to within %g on the %s path\n", (double)worst, uhn_cpu_path());
    uhn_memory_free(memory);
    free(patterns);
    return worst < 1e-6f ? 0 : 1;
}
