/*
 * run.c - computing without the interpreter lock, and calling back into Python from there.
 *
 * Three ways lead from the core back to Python: the stop callback, which looks for Ctrl-C; the
 * caller's own similarity or separation; and the return of borrowed arrays. The first two are
 * called on the thread that made the call, whose thread state waits in `uhnpy_run`; the last
 * may come from any thread.
 */
#include "run.h"

#include "errors.h"

#include <math.h>
#include <string.h>
#include <time.h>

/* How long the core computes between two looks at the signals. Taking the lock means waiting
 * for whoever has it, so it is not done for every block. */
static const int64_t look_every = 50 * 1000 * 1000;

/* A similarity that asks the memory it belongs to would never end; each round takes a good part
 * of the C stack, which Python's own limit does not know. */
enum { MAX_DEPTH = 16 };
static _Thread_local int depth;

static bool finalizing(void) {
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing();
#else
    return _Py_IsFinalizing();
#endif
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* A call may end before the first look is due: the clock starts at the first poll. When the
 * interpreter is on its way out the lock must not be asked for: the thread would be stopped
 * right here while other threads still compute on its behalf. */
static int stop(void *context) {
    uhnpy_run *run = context;
    if (run->failed) {
        return 1;
    }
    int64_t time = now();
    if (run->next_look == 0) {
        run->next_look = time + look_every;
        return 0;
    }
    if (time < run->next_look) {
        return 0;
    }
    if (finalizing()) {
        return 1;
    }
    PyGILState_STATE lock = PyGILState_Ensure();
    run->failed = PyErr_CheckSignals() < 0;
    PyGILState_Release(lock);
    run->next_look = now() + look_every;
    return run->failed;
}

void uhnpy_run_begin(uhnpy_run *run, const uhnpy_equation *equation, int type,
                     size_t n_features) {
    run->core = (uhn_run){.n_threads = 0, .stop = stop, .stop_context = run};
    run->equation = equation->core;
    if (equation->score) {
        run->score = (uhnpy_callback){run, equation->score, type, n_features};
        run->equation.score_context = &run->score;
    }
    if (equation->weigh) {
        run->weigh = (uhnpy_callback){run, equation->weigh, type, n_features};
        run->equation.weigh_context = &run->weigh;
    }
    run->next_look = 0;
    run->failed = false;
    run->thread = PyEval_SaveThread();
}

void uhnpy_run_begin_plain(uhnpy_run *run) {
    const uhnpy_equation none = {.core = uhn_equation_default()};
    uhnpy_run_begin(run, &none, NPY_DOUBLE, 0);
}

void uhnpy_run_end(uhnpy_run *run) { PyEval_RestoreThread(run->thread); }

/* ----------------------------------------------------------------------------- callables -- */

/* A read-only array with its own copy of the core's rows: the callable may keep it, while the
 * rows themselves may be gone after the call. */
static PyObject *lend(const void *rows, size_t n_rows, size_t n_columns, int type) {
    npy_intp dims[2] = {(npy_intp)n_rows, (npy_intp)n_columns};
    PyObject *array = PyArray_SimpleNew(2, dims, type);
    if (array) {
        memcpy(PyArray_DATA((PyArrayObject *)array), rows,
               PyArray_NBYTES((PyArrayObject *)array));
        PyArray_CLEARFLAGS((PyArrayObject *)array, NPY_ARRAY_WRITEABLE);
    }
    return array;
}

/* True if no number is NaN and, with `finite`, none infinite. */
static bool all_right(const void *numbers, size_t n, int type, bool finite) {
    for (size_t i = 0; i < n; i++) {
        double x =
            type == NPY_FLOAT ? ((const float *)numbers)[i] : ((const double *)numbers)[i];
        if (isnan(x) || (finite && isinf(x))) {
            return false;
        }
    }
    return true;
}

/* Writes what the callable returned, (n_queries x n_rows), to `out`. */
static int take_result(PyObject *result, const char *what, size_t n_queries, size_t n_rows,
                       int type, bool finite, void *out) {
    uhnpy_array taken;
    if (uhnpy_take_array(result, what, type, &taken) < 0) {
        return -1;
    }
    PyArrayObject *array = taken.array;
    int done = -1;
    if (PyArray_NDIM(array) != 2 || (size_t)PyArray_DIM(array, 0) != n_queries ||
        (size_t)PyArray_DIM(array, 1) != n_rows) {
        PyObject *shape = uhnpy_shape(array);
        if (shape) {
            PyErr_Format(PyExc_ValueError,
                         "%s has shape %R; the callable must return (n_queries, n_patterns) = "
                         "(%zu, %zu) for this tile",
                         what, shape, n_queries, n_rows);
            Py_DECREF(shape);
        }
    } else if (!all_right(PyArray_DATA(array), n_queries * n_rows, type, finite)) {
        PyErr_Format(PyExc_ValueError, "%s contains NaN%s; return %s", what,
                     finite ? " or an infinity" : "",
                     finite ? "finite weights"
                            : "numbers, -inf for a pattern that cannot answer");
    } else {
        memcpy(out, PyArray_DATA(array), PyArray_NBYTES(array));
        done = 0;
    }
    Py_DECREF(array);
    return done;
}

/* True if Python may be entered; then `leave` must follow. */
static bool enter(uhnpy_run *run) {
    if (run->failed || finalizing()) {
        return false;
    }
    PyEval_RestoreThread(run->thread);
    if (depth >= MAX_DEPTH) {
        PyErr_SetString(
            PyExc_RecursionError,
            "a callable similarity or separation called a memory that calls it again");
        run->failed = true;
        run->thread = PyEval_SaveThread();
        return false;
    }
    depth++;
    return true;
}

static int leave(uhnpy_run *run, int result) {
    depth--;
    run->failed = result < 0;
    run->thread = PyEval_SaveThread();
    return run->failed;
}

int uhnpy_score(void *context, size_t first_row, const void *patterns, size_t n_rows,
                const void *queries, size_t n_queries, void *scores) {
    (void)first_row;
    uhnpy_callback *callback = context;
    if (!enter(callback->run)) {
        return 1;
    }
    int done = -1;
    PyObject *result = NULL;
    PyObject *arguments[2] = {lend(patterns, n_rows, callback->n_features, callback->type),
                              NULL};
    if (arguments[0]) {
        arguments[1] = lend(queries, n_queries, callback->n_features, callback->type);
    }
    if (arguments[1]) {
        result = PyObject_Vectorcall(callback->callable, arguments, 2, NULL);
    }
    if (result) {
        done = take_result(result, "what the similarity returned", n_queries, n_rows,
                           callback->type, false, scores);
        Py_DECREF(result);
    }
    Py_XDECREF(arguments[0]);
    Py_XDECREF(arguments[1]);
    return leave(callback->run, done);
}

int uhnpy_weigh(void *context, size_t first_row, size_t n_rows, size_t n_queries,
                void *scores) {
    (void)first_row;
    uhnpy_callback *callback = context;
    if (!enter(callback->run)) {
        return 1;
    }
    int done = -1;
    PyObject *argument = lend(scores, n_queries, n_rows, callback->type);
    PyObject *result = argument ? PyObject_CallOneArg(callback->callable, argument) : NULL;
    if (result) {
        done = take_result(result, "what the separation returned", n_queries, n_rows,
                           callback->type, true, scores);
        Py_DECREF(result);
    }
    Py_XDECREF(argument);
    return leave(callback->run, done);
}

/* --------------------------------------------------------------------------------- loans -- */

uhnpy_loan *uhnpy_loan_new(PyArrayObject *patterns, PyArrayObject *values) {
    uhnpy_loan *loan = PyMem_RawMalloc(sizeof *loan);
    if (!loan) {
        PyErr_NoMemory();
        return NULL;
    }
    loan->references = 1;
    loan->patterns = (PyArrayObject *)Py_NewRef((PyObject *)patterns);
    loan->values = (PyArrayObject *)Py_XNewRef((PyObject *)values);
    return loan;
}

void uhnpy_loan_drop(uhnpy_loan *loan) {
    if (loan && --loan->references == 0) {
        Py_XDECREF(loan->patterns);
        Py_XDECREF(loan->values);
        PyMem_RawFree(loan);
    }
}

/* A thread that asks for the lock while the interpreter ends never returns; then the arrays are
 * left, and the process ends a moment later. The thread that ends the interpreter has the lock.
 * */
void uhnpy_loan_return(void *owner) {
    uhnpy_loan *loan = owner;
    if (!Py_IsInitialized() || (finalizing() && !PyGILState_Check())) {
        return;
    }
    PyGILState_STATE lock = PyGILState_Ensure();
    Py_CLEAR(loan->patterns);
    Py_CLEAR(loan->values);
    uhnpy_loan_drop(loan);
    PyGILState_Release(lock);
}
