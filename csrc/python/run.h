/*
 * run.h - computing without the interpreter lock, and calling back into Python from there.
 */
#ifndef UHNPY_RUN_H
#define UHNPY_RUN_H

#include "convert.h"

/* What the core hands to the caller's own similarity or separation. It lives as long as the
 * call. */
typedef struct uhnpy_callback {
    struct uhnpy_run *run;
    PyObject *callable; /* borrowed from the Memory or from the caller's arguments */
    int type;           /* NPY_FLOAT or NPY_DOUBLE */
    size_t n_features;
} uhnpy_callback;

/* One call of the core. Between begin and end the calling thread does not hold the interpreter
 * lock and touches no Python object; the core is given &run.core and &run.equation. */
typedef struct uhnpy_run {
    uhn_run core;
    uhn_equation equation;
    uhnpy_callback score, weigh;
    PyThreadState *thread;
    int64_t next_look; /* nanoseconds; 0 until the first poll */
    bool failed;       /* an exception is set: the call is to end */
} uhnpy_run;

/* `type` (of NumPy) and `n_features` are what the callables of the equation get to see. */
void uhnpy_run_begin(uhnpy_run *run, const uhnpy_equation *equation, int type,
                     size_t n_features);
/* The same for a call that has no equation. */
void uhnpy_run_begin_plain(uhnpy_run *run);
void uhnpy_run_end(uhnpy_run *run);

/* The callbacks of an equation whose similarity or separation is a callable. */
int uhnpy_score(void *context, size_t first_row, const void *patterns, size_t n_rows,
                const void *queries, size_t n_queries, void *scores);
int uhnpy_weigh(void *context, size_t first_row, size_t n_rows, size_t n_queries, void *scores);

/* Arrays that a memory borrows. The core returns them through uhnpy_loan_return, from whatever
 * thread; Memory objects that want to know what is lent hold a reference to the loan, not to
 * the arrays. Everything but the return happens under the interpreter lock. */
typedef struct uhnpy_loan {
    Py_ssize_t references;
    PyArrayObject *patterns, *values; /* values may be NULL; both NULL once returned */
} uhnpy_loan;

/* A loan of new references to the arrays, with one reference of its own; NULL on failure. */
uhnpy_loan *uhnpy_loan_new(PyArrayObject *patterns, PyArrayObject *values);
void uhnpy_loan_drop(uhnpy_loan *loan);
void uhnpy_loan_return(void *loan); /* gives the arrays back and drops one reference */

#endif
