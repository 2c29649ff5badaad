/*
 * compute.h - the operations on a core memory and an equation, whoever has them: a Memory, or a
 * function that made a memory for one call.
 */
#ifndef UHNPY_COMPUTE_H
#define UHNPY_COMPUTE_H

#include "convert.h"
#include "run.h"

typedef struct uhnpy_target {
    const uhn_memory *memory; /* NULL: nothing was ever stored */
    const uhnpy_equation *equation;
    /* Arrays that `out` must not touch. Whoever takes an array in may run Python code that stores
     * into this very memory: hence where the list is, not the list. */
    uhnpy_loan ***loans;
    const size_t *n_loans;
    PyObject *feature_names; /* what columns of a frame of queries must be named; or NULL */
} uhnpy_target;

/* Each returns a new reference, or NULL with an exception set. The arguments are those of the
 * public methods, NULL where nothing was given. */
PyObject *uhnpy_retrieve(const uhnpy_target *target, PyObject *queries, PyObject *n_steps,
                         PyObject *mask, PyObject *clamp, PyObject *tol, PyObject *out);
/* `memory` is the Python object that holds the target's memory, still: no other thread stores into
 * it. The result keeps it. */
PyObject *uhnpy_recall(uhnpy_state *state, const uhnpy_target *target, PyObject *memory,
                       PyObject *queries, PyObject *n_steps, PyObject *mask, PyObject *clamp,
                       PyObject *tol, PyObject *trace);
PyObject *uhnpy_energy(const uhnpy_target *target, PyObject *states);
PyObject *uhnpy_gradient(const uhnpy_target *target, PyObject *states, PyObject *out);
PyObject *uhnpy_lyapunov(const uhnpy_target *target, PyObject *mode);
PyObject *uhnpy_scores(const uhnpy_target *target, PyObject *queries, PyObject *mask,
                       PyObject *out, bool weights);
PyObject *uhnpy_nearest(const uhnpy_target *target, PyObject *queries, PyObject *k,
                        PyObject *mask);
PyObject *uhnpy_partial(uhnpy_state *state, const uhnpy_target *target, PyObject *queries,
                        PyObject *start, PyObject *stop, PyObject *mask);
/* The partial of all rows for a purpose of the core ("answers", "energies", "nearest", "score sums");
 * k patterns if nearest, score_sums (float64, one a query) or None, at most n_threads threads. */
PyObject *uhnpy_partial_for(uhnpy_state *state, const uhnpy_target *target, const char *purpose,
                            PyObject *queries, size_t k, PyObject *score_sums, int n_threads);

/* uhn.separate and uhn.attention, which need no memory. */
PyObject *uhnpy_separate(const uhnpy_equation *equation, PyObject *scores);
PyObject *uhnpy_attention(PyObject *queries, PyObject *keys, PyObject *values, PyObject *beta,
                          PyObject *mask, PyObject *out);

static inline uhn_dtype uhnpy_dtype(int type) {
    return type == NPY_FLOAT ? UHN_FLOAT32 : UHN_FLOAT64;
}

static inline int uhnpy_type(const uhn_memory *memory) {
    return uhn_memory_dtype(memory) == UHN_FLOAT32 ? NPY_FLOAT : NPY_DOUBLE;
}

#endif
