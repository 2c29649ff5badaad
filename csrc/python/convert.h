/*
 * convert.h - reading arguments: keywords, numbers, arrays and the equation.
 *
 * Every function returns 0, or -1 with an exception that names the argument.
 */
#ifndef UHNPY_CONVERT_H
#define UHNPY_CONVERT_H

#include "module.h"

/* ---------------------------------------------------------------------------- signatures -- */

enum { UHNPY_MAX_ARGUMENTS = 24 };

/* The parameters of one function: the first n_positional may be given by position, the first
 * n_required must be given. */
typedef struct uhnpy_signature {
    const char *function;
    int n_required;
    int n_positional;
    int n_names;
    uint8_t names[UHNPY_MAX_ARGUMENTS]; /* of uhnpy_name */
} uhnpy_signature;

/* The twelve keywords of the equation, in the order uhnpy_take_equation wants them. */
#define UHNPY_EQUATION_NAMES                                                                   \
    UHNPY_similarity, UHNPY_separation, UHNPY_transform, UHNPY_eps, UHNPY_gamma, UHNPY_beta,   \
        UHNPY_degree, UHNPY_k, UHNPY_alpha, UHNPY_theta, UHNPY_normalize,                      \
        UHNPY_normalize_scores

/* Sorts the arguments of a METH_FASTCALL | METH_KEYWORDS call into `values` (n_names borrowed
 * references, NULL where nothing was given). */
int uhnpy_parse(const uhnpy_state *state, const uhnpy_signature *signature,
                PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames, PyObject **values);

/* The same for a tuple and a dictionary (which may be NULL). */
int uhnpy_parse_tuple(const uhnpy_state *state, const uhnpy_signature *signature,
                      PyObject *args, PyObject *kwargs, PyObject **values);

/* True if the argument is there and not None. */
static inline bool uhnpy_given(PyObject *value) { return value && value != Py_None; }

/* ------------------------------------------------------------------------------- numbers -- */

/* A real number; bool, text, complex and arrays are refused. */
int uhnpy_take_number(PyObject *value, const char *what, double *out);

/* A whole number in [low, PY_SSIZE_T_MAX]; bool and float are refused. */
int uhnpy_take_size(PyObject *value, const char *what, size_t low, size_t *out);

/* True or False and nothing else. */
int uhnpy_take_bool(PyObject *value, const char *what, bool *out);

/* -------------------------------------------------------------------------------- arrays -- */

typedef struct uhnpy_array {
    PyArrayObject *array; /* C-contiguous, aligned, native, of NPY_FLOAT or NPY_DOUBLE */
    bool fresh;           /* made here: nobody else has it */
} uhnpy_array;

/* True for what NumPy's own rules do not cover: no array, list, number, text or buffer. Such
 * objects are the affair of uhn._arrays: tensors, frames, tables. */
bool uhnpy_is_foreign(PyObject *object);

/* What a function of uhn._arrays says of an object; `more` may be NULL, for None. */
PyObject *uhnpy_ask_arrays(const char *function, PyObject *object, const char *what,
                           PyObject *more);

/* -1 with a ValueError if the object is a frame whose columns have other names than `expected`
 * (a tuple, or NULL where none are known). With `names`, those of the object: a new reference to a
 * tuple, or NULL where it has none. */
int uhnpy_check_names(PyObject *object, const char *what, PyObject *expected, PyObject **names);

/* Takes an array of any shape. `type` is NPY_FLOAT or NPY_DOUBLE to convert to, or NPY_NOTYPE:
 * float32 stays and every other real type becomes float64. An array that already fits is taken
 * as it is, without a copy. */
int uhnpy_take_array(PyObject *object, const char *what, int type, uhnpy_array *out);

/* Rows of a matrix; a 1-D array is a matrix of one row. */
typedef struct uhnpy_rows {
    PyArrayObject *array;
    const void *data;
    size_t n_rows, n_columns;
    int type;
    bool single; /* 1-D */
    bool fresh;
} uhnpy_rows;

/* `shape` is what a matrix of this argument looks like, for messages: "n_queries, n_features".
 * */
int uhnpy_take_rows(PyObject *object, const char *what, const char *shape, int type,
                    uhnpy_rows *out);

static inline void uhnpy_drop_rows(uhnpy_rows *rows) { Py_CLEAR(rows->array); }

/* -1 with a ValueError unless `rows` has n_features columns. */
int uhnpy_check_width(const uhnpy_rows *rows, const char *what, size_t n_features);

/* The array a result goes to: `out` if it was given and has this exact type and shape, else a
 * new one. A new reference, NULL on failure. */
PyArrayObject *uhnpy_take_out(PyObject *out, int type, int n_axes, const npy_intp *dims);

/* -1 with a ValueError if the bytes of `out` meet those of `array`. */
int uhnpy_check_apart(PyArrayObject *out, PyArrayObject *array, const char *what);

/* ------------------------------------------------------------------------------ equation -- */

typedef struct uhnpy_equation {
    uhn_equation core;
    PyObject *score; /* the callables, borrowed; NULL for a row of a table */
    PyObject *weigh;
} uhnpy_equation;

/* Reads the twelve keywords of the equation, refuses those its rows do not read, and checks the
 * bounds. */
int uhnpy_take_equation(const uhnpy_state *state, PyObject *const *values, uhnpy_equation *out);

/* True if `name` is in a comma-separated list. */
bool uhnpy_reads(const char *list, const char *name);

#endif
