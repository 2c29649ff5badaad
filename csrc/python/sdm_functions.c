/*
 * sdm_functions.c - what uhn.models calls for its sparse distributed memory.
 *
 * Addresses are packed (uint64), counters int16, rows of +1 and -1 int8. That they are so is
 * the caller's business; that they fit one another is looked at here, as the core would not
 * know.
 */
#include "schedule.h"

#include "errors.h"
#include "run.h"

/* Checks that the arrays are those of one memory. `counters` may be NULL, if nobody asks. */
static int take_memory(PyArrayObject *addresses, PyArrayObject *counters, Py_ssize_t n_features,
                       Py_ssize_t radius, uhn_sdm *out) {
    const npy_intp n = PyArray_DIM(addresses, 0);
    if (n_features < 1 || radius < 0 || PyArray_DIM(addresses, 1) != (n_features + 63) / 64 ||
        (counters && PyArray_DIM(counters, 0) != n)) {
        PyErr_SetString(PyExc_ValueError, "these arrays are not of one memory");
        return -1;
    }
    *out = (uhn_sdm){
        .n_locations = (size_t)n,
        .n_features = (size_t)n_features,
        .n_values = counters ? (size_t)PyArray_DIM(counters, 1) : 1,
        .addresses = PyArray_DATA(addresses),
        .counters = counters ? PyArray_DATA(counters) : NULL,
    };
    return 0;
}

static int check_columns(PyArrayObject *rows, const char *what, size_t n_columns) {
    if ((size_t)PyArray_DIM(rows, 1) == n_columns) {
        return 0;
    }
    PyErr_Format(PyExc_ValueError, "%s must have %zu columns", what, n_columns);
    return -1;
}

/* _sdm_addresses(seed, first, n_features, out) */
static PyObject *sdm_addresses(PyObject *module, PyObject *args) {
    (void)module;
    unsigned long long seed;
    Py_ssize_t first, n_features;
    PyObject *object;
    PyArrayObject *out;
    if (!PyArg_ParseTuple(args, "KnnO", &seed, &first, &n_features, &object) ||
        uhnpy_take_exact(object, "out", NPY_UINT64, 2, false, &out) < 0) {
        return NULL;
    }
    if (first < 0 || n_features < 1 || PyArray_DIM(out, 1) != (n_features + 63) / 64 ||
        !PyArray_ISWRITEABLE(out)) {
        return uhnpy_fail(PyExc_ValueError, "out must be writeable, of %zd columns",
                          (n_features + 63) / 64);
    }
    Py_BEGIN_ALLOW_THREADS;
    uhn_sdm_addresses(seed, (size_t)first, (size_t)PyArray_DIM(out, 0), (size_t)n_features,
                      PyArray_DATA(out));
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

/* _sdm_write(addresses, counters, n_features, radius, rows, words, n_written): n_active */
static PyObject *sdm_write(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *objects[5];
    PyArrayObject *addresses, *counters, *rows, *words, *written;
    Py_ssize_t n_features, radius;
    uhn_sdm sdm;
    if (!PyArg_ParseTuple(args, "OOnnOOO", &objects[0], &objects[1], &n_features, &radius,
                          &objects[2], &objects[3], &objects[4]) ||
        uhnpy_take_exact(objects[0], "addresses", NPY_UINT64, 2, false, &addresses) < 0 ||
        uhnpy_take_exact(objects[1], "counters", NPY_INT16, 2, false, &counters) < 0 ||
        uhnpy_take_exact(objects[2], "rows", NPY_INT8, 2, false, &rows) < 0 ||
        uhnpy_take_exact(objects[3], "words", NPY_INT8, 2, false, &words) < 0 ||
        uhnpy_take_exact(objects[4], "n_written", NPY_INT64, 1, false, &written) < 0 ||
        take_memory(addresses, counters, n_features, radius, &sdm) < 0 ||
        check_columns(rows, "rows", sdm.n_features) < 0 ||
        check_columns(words, "words", sdm.n_values) < 0) {
        return NULL;
    }
    if (PyArray_DIM(words, 0) != PyArray_DIM(rows, 0) || PyArray_SIZE(written) != 1 ||
        !PyArray_ISWRITEABLE(counters) || !PyArray_ISWRITEABLE(written)) {
        return uhnpy_fail(PyExc_ValueError, "a word for each address, and room for one number");
    }
    npy_intp n = PyArray_DIM(rows, 0);
    PyArrayObject *active = (PyArrayObject *)PyArray_ZEROS(1, &n, NPY_INT64, 0);
    if (!active) {
        return NULL;
    }
    uhn_error error = {.status = UHN_OK};
    size_t n_written;
    uhnpy_run run;
    uhnpy_run_begin_plain(&run);
    uhn_status status =
        uhn_sdm_write(&sdm, (size_t)radius, PyArray_DATA(rows), PyArray_DATA(words), (size_t)n,
                      &run.core, &n_written, PyArray_DATA(active), &error);
    uhnpy_run_end(&run);
    *(int64_t *)PyArray_DATA(written) = (int64_t)n_written;
    if (status != UHN_OK) {
        Py_DECREF(active);
        return uhnpy_raise(status, &error);
    }
    return (PyObject *)active;
}

/* _sdm_read(addresses, counters, n_features, radius, queries, tie, what): (result, n_active).
 * `what` is 'words', 'sums', or 'active' for no result. */
static PyObject *sdm_read(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *objects[3];
    PyArrayObject *addresses, *counters, *queries;
    Py_ssize_t n_features, radius;
    const char *tie_name, *what;
    uhn_sdm sdm;
    uhn_tie tie;
    if (!PyArg_ParseTuple(args, "OOnnOss", &objects[0], &objects[1], &n_features, &radius,
                          &objects[2], &tie_name, &what) ||
        uhnpy_take_exact(objects[0], "addresses", NPY_UINT64, 2, false, &addresses) < 0 ||
        uhnpy_take_exact(objects[1], "counters", NPY_INT16, 2, false, &counters) < 0 ||
        uhnpy_take_exact(objects[2], "queries", NPY_INT8, 2, false, &queries) < 0 ||
        take_memory(addresses, counters, n_features, radius, &sdm) < 0 ||
        check_columns(queries, "queries", sdm.n_features) < 0 ||
        uhnpy_take_tie(tie_name, &tie) < 0) {
        return NULL;
    }
    const bool words = strcmp(what, "words") == 0, sums = strcmp(what, "sums") == 0;
    npy_intp dims[2] = {PyArray_DIM(queries, 0), (npy_intp)sdm.n_values};
    PyArrayObject *result = NULL;
    PyArrayObject *active = (PyArrayObject *)PyArray_SimpleNew(1, dims, NPY_INT64);
    if (active && (words || sums)) {
        result = (PyArrayObject *)PyArray_SimpleNew(2, dims, words ? NPY_INT8 : NPY_INT64);
    }
    if (!active || ((words || sums) && !result)) {
        Py_XDECREF(active);
        return NULL;
    }
    uhn_error error = {.status = UHN_OK};
    uhnpy_run run;
    uhnpy_run_begin_plain(&run);
    uhn_status status =
        uhn_sdm_read(&sdm, (size_t)radius, PyArray_DATA(queries), (size_t)dims[0], tie,
                     &run.core, words ? PyArray_DATA(result) : NULL,
                     sums ? PyArray_DATA(result) : NULL, PyArray_DATA(active), &error);
    uhnpy_run_end(&run);
    if (status != UHN_OK) {
        Py_DECREF(active);
        Py_XDECREF(result);
        return uhnpy_raise(status, &error);
    }
    return Py_BuildValue("NN", result ? (PyObject *)result : Py_NewRef(Py_None), active);
}

/* _sdm_active(addresses, n_features, radius, queries): uint8 (n_queries, n_locations) */
static PyObject *sdm_active(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *objects[2];
    PyArrayObject *addresses, *queries;
    Py_ssize_t n_features, radius;
    uhn_sdm sdm;
    if (!PyArg_ParseTuple(args, "OnnO", &objects[0], &n_features, &radius, &objects[1]) ||
        uhnpy_take_exact(objects[0], "addresses", NPY_UINT64, 2, false, &addresses) < 0 ||
        uhnpy_take_exact(objects[1], "queries", NPY_INT8, 2, false, &queries) < 0 ||
        take_memory(addresses, NULL, n_features, radius, &sdm) < 0 ||
        check_columns(queries, "queries", sdm.n_features) < 0) {
        return NULL;
    }
    npy_intp dims[2] = {PyArray_DIM(queries, 0), (npy_intp)sdm.n_locations};
    PyArrayObject *active = (PyArrayObject *)PyArray_SimpleNew(2, dims, NPY_UINT8);
    if (!active) {
        return NULL;
    }
    uhn_error error = {.status = UHN_OK};
    uhnpy_run run;
    uhnpy_run_begin_plain(&run);
    uhn_status status =
        uhn_sdm_active(&sdm, (size_t)radius, PyArray_DATA(queries), (size_t)dims[0], &run.core,
                       PyArray_DATA(active), &error);
    uhnpy_run_end(&run);
    if (status != UHN_OK) {
        Py_DECREF(active);
        return uhnpy_raise(status, &error);
    }
    return (PyObject *)active;
}

PyMethodDef uhnpy_sdm_functions[] = {
    {"_sdm_addresses", sdm_addresses, METH_VARARGS,
     PyDoc_STR("_sdm_addresses($module, seed, first, n_features, out, /)\n--\n\n"
               "Fill out with the random addresses of locations from `first` on.")},
    {"_sdm_write", sdm_write, METH_VARARGS,
     PyDoc_STR("_sdm_write($module, addresses, counters, n_features, radius, rows, words, "
               "n_written, /)\n--\n\n"
               "Write words; how many locations took each.")},
    {"_sdm_read", sdm_read, METH_VARARGS,
     PyDoc_STR(
         "_sdm_read($module, addresses, counters, n_features, radius, queries, tie, what, "
         "/)\n--\n\n"
         "Words, sums or nothing, and how many locations were active.")},
    {"_sdm_active", sdm_active, METH_VARARGS,
     PyDoc_STR("_sdm_active($module, addresses, n_features, radius, queries, /)\n--\n\n"
               "Which locations are active for each query.")},
    {NULL, NULL, 0, NULL},
};
