/*
 * module.h - what the files of the binding share.
 *
 * The binding turns Python and NumPy objects into calls of uhn.h and back; it knows nothing of
 * the core but that header. module.c makes the module and its functions, memory_type.c and
 * partial_type.c the two types (docstrings are in *_docs.h), compute.c has the operations they
 * share, convert.c reads arguments, run.c releases the interpreter lock and calls back into it,
 * errors.c turns a status into an exception.
 *
 * All Python objects that outlive a call are in the module state; nothing here is a global.
 * Fields of a Memory object change under the interpreter lock alone; everything the core
 * computes runs without it.
 */
#ifndef UHNPY_MODULE_H
#define UHNPY_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define PY_ARRAY_UNIQUE_SYMBOL uhnpy_array_api
#ifndef UHNPY_IMPORTS_ARRAY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include "../uhn.h"

/* Every keyword of every public function. The twelve of the equation come first, in the order
 * of the public signatures, so that a function that takes them all can hand them on as one
 * array. */
#define UHNPY_NAMES(NAME)                                                                      \
    NAME(similarity)                                                                           \
    NAME(separation)                                                                           \
    NAME(transform)                                                                            \
    NAME(eps)                                                                                  \
    NAME(gamma)                                                                                \
    NAME(beta)                                                                                 \
    NAME(degree)                                                                               \
    NAME(k)                                                                                    \
    NAME(alpha)                                                                                \
    NAME(theta)                                                                                \
    NAME(normalize)                                                                            \
    NAME(normalize_scores)                                                                     \
    NAME(patterns)                                                                             \
    NAME(values)                                                                               \
    NAME(queries)                                                                              \
    NAME(keys)                                                                                 \
    NAME(scores)                                                                               \
    NAME(prior)                                                                                \
    NAME(first_row)                                                                            \
    NAME(copy)                                                                                 \
    NAME(nan)                                                                                  \
    NAME(n_steps)                                                                              \
    NAME(tol)                                                                                  \
    NAME(out)                                                                                  \
    NAME(start)                                                                                \
    NAME(stop)                                                                                 \
    NAME(mask)                                                                                 \
    NAME(clamp)                                                                                \
    NAME(dtype)                                                                                \
    NAME(states)                                                                               \
    NAME(trace)                                                                                \
    NAME(mode)                                                                                 \
    NAME(parts)                                                                                \
    NAME(n)                                                                                    \
    NAME(like)                                                                                 \
    NAME(rows)

typedef enum uhnpy_name {
#define NAME(name) UHNPY_##name,
    UHNPY_NAMES(NAME)
#undef NAME
        UHNPY_N_NAMES
} uhnpy_name;

enum { UHNPY_N_EQUATION = UHNPY_normalize_scores + 1 };

typedef struct uhnpy_state {
    PyTypeObject *memory_type;
    PyTypeObject *partial_type;
    PyObject *rebuild_memory; /* what a pickle calls to make the object again */
    PyObject *rebuild_partial;
    PyObject *make_recall; /* uhn.results.recall_of_memory, imported when first needed */
    PyObject *names[UHNPY_N_NAMES]; /* interned, so that a keyword is found by address */
    PyObject *similarity_names[UHN_N_SIMILARITIES];
    PyObject *separation_names[UHN_N_SEPARATIONS];
    PyObject *transform_names[UHN_N_TRANSFORMS];
    PyObject *normalize_names[UHN_N_NORMALIZES];
} uhnpy_state;

extern PyType_Spec uhnpy_memory_spec;
extern PyType_Spec uhnpy_partial_spec;

/* Defined in partial_type.c: a Partial that owns `partial` (freed on failure). `single` means
 * that it came of one 1-D query, so that its answer is 1-D too. */
PyObject *uhnpy_partial_wrap(uhnpy_state *state, uhn_partial *partial, bool single);

/* uhn.merge(parts), and what unpickling calls. */
PyObject *uhnpy_merge(PyObject *module, PyObject *const *args, Py_ssize_t n_args,
                      PyObject *kwnames);
PyObject *uhnpy_rebuild_partial(PyObject *module, PyObject *args);
PyObject *uhnpy_rebuild_memory(PyObject *module, PyObject *args);

/* What uhn.io needs of a Memory: pieces to write, and rows that nobody looks at yet. */
PyObject *uhnpy_memory_read(PyObject *module, PyObject *args);
PyObject *uhnpy_memory_map(PyObject *module, PyObject *args);

/* What uhn.dask needs: partials for any purpose, and the ways of finishing them. */
PyObject *uhnpy_memory_partial_for(PyObject *module, PyObject *args);
PyObject *uhnpy_partial_answers(PyObject *module, PyObject *partial);
PyObject *uhnpy_partial_energies(PyObject *module, PyObject *args);
PyObject *uhnpy_partial_nearest(PyObject *module, PyObject *partial);
PyObject *uhnpy_partial_score_sums(PyObject *module, PyObject *partial);

static inline PyObject *uhnpy_repr_bytes(size_t n_bytes) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double amount = (double)n_bytes;
    int unit = 0;
    while (amount >= 999.5 && unit < 6) {
        amount /= 1000;
        unit++;
    }
    char text[40];
    PyOS_snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", amount, units[unit]);
    return PyUnicode_FromString(text);
}

#endif
