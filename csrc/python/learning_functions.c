/*
 * learning_functions.c - the learning rules that uhn.models.hopfield calls.
 */
#include "errors.h"
#include "run.h"
#include "schedule.h"

/* -1 with a ValueError unless a rule may change the matrix in place. */
static int take_writeable(PyArrayObject *array, const char *what) {
    if (PyArray_ISWRITEABLE(array)) {
        return 0;
    }
    PyErr_Format(PyExc_ValueError, "%s is read-only", what);
    return -1;
}

/* -1 with a ValueError unless an array (may be NULL) is n_units x n_units. */
static int check_square(PyArrayObject *array, const char *what, npy_intp n_units) {
    if (!array || (PyArray_DIM(array, 0) == n_units && PyArray_DIM(array, 1) == n_units)) {
        return 0;
    }
    PyErr_Format(PyExc_ValueError, "%s must be %zd x %zd", what, (Py_ssize_t)n_units,
                 (Py_ssize_t)n_units);
    return -1;
}

static const void *data(PyArrayObject *array) { return array ? PyArray_DATA(array) : NULL; }

static PyObject *learn_storkey(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *objects[3];
    PyArrayObject *weights, *patterns, *mask;
    if (!PyArg_ParseTuple(args, "OOO", &objects[0], &objects[1], &objects[2]) ||
        uhnpy_take_exact(objects[0], "weights", NPY_DOUBLE, 2, false, &weights) < 0 ||
        uhnpy_take_exact(objects[1], "patterns", NPY_INT8, 2, false, &patterns) < 0 ||
        uhnpy_take_exact(objects[2], "mask", NPY_UINT8, 2, true, &mask) < 0 ||
        take_writeable(weights, "weights") < 0 ||
        check_square(weights, "weights", PyArray_DIM(patterns, 1)) < 0 ||
        check_square(mask, "mask", PyArray_DIM(patterns, 1)) < 0) {
        return NULL;
    }
    uhn_error error = {.status = UHN_OK};
    uhnpy_run run;
    uhnpy_run_begin_plain(&run);
    uhn_status status =
        uhn_learn_storkey(PyArray_DATA(patterns), (size_t)PyArray_DIM(patterns, 0),
                          (size_t)PyArray_DIM(patterns, 1), data(mask), &run.core,
                          PyArray_DATA(weights), &error);
    uhnpy_run_end(&run);
    if (status != UHN_OK) {
        return uhnpy_raise(status, &error);
    }
    Py_RETURN_NONE;
}

static PyObject *learn_perceptron(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *objects[2];
    PyArrayObject *patterns, *mask;
    double kappa;
    Py_ssize_t max_raises;
    if (!PyArg_ParseTuple(args, "OOdn", &objects[0], &objects[1], &kappa, &max_raises) ||
        uhnpy_take_exact(objects[0], "patterns", NPY_INT8, 2, false, &patterns) < 0 ||
        uhnpy_take_exact(objects[1], "mask", NPY_UINT8, 2, true, &mask) < 0 ||
        check_square(mask, "mask", PyArray_DIM(patterns, 1)) < 0) {
        return NULL;
    }
    if (max_raises < 0) {
        PyErr_SetString(PyExc_ValueError, "max_raises must be at least 0");
        return NULL;
    }
    npy_intp dims[2] = {PyArray_DIM(patterns, 1), PyArray_DIM(patterns, 1)};
    PyObject *weights = PyArray_SimpleNew(2, dims, NPY_INT32);
    PyObject *stabilities = weights ? PyArray_SimpleNew(1, dims, NPY_DOUBLE) : NULL;
    if (!stabilities) {
        Py_XDECREF(weights);
        return NULL;
    }
    uhn_error error = {.status = UHN_OK};
    uhnpy_run run;
    uhnpy_run_begin_plain(&run);
    uhn_status status =
        uhn_learn_perceptron(PyArray_DATA(patterns), (size_t)PyArray_DIM(patterns, 0),
                             (size_t)dims[0], data(mask), kappa, (size_t)max_raises, &run.core,
                             PyArray_DATA((PyArrayObject *)weights),
                             PyArray_DATA((PyArrayObject *)stabilities), &error);
    uhnpy_run_end(&run);
    if (status != UHN_OK) {
        Py_DECREF(weights);
        Py_DECREF(stabilities);
        return uhnpy_raise(status, &error);
    }
    return Py_BuildValue("NN", weights, stabilities);
}

static PyObject *learn_start(PyObject *module, PyObject *args) {
    (void)module;
    unsigned long long seed, dream;
    Py_ssize_t n_units;
    if (!PyArg_ParseTuple(args, "KKn", &seed, &dream, &n_units)) {
        return NULL;
    }
    npy_intp dims[1] = {n_units};
    PyObject *state = PyArray_SimpleNew(1, dims, NPY_INT8);
    if (state) {
        uhn_learn_start(seed, dream, (size_t)n_units, PyArray_DATA((PyArrayObject *)state));
    }
    return state;
}

static PyObject *learn_dream(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *objects[3];
    PyArrayObject *weights, *state, *mask;
    double step;
    if (!PyArg_ParseTuple(args, "OOdO", &objects[0], &objects[1], &step, &objects[2]) ||
        uhnpy_take_exact(objects[0], "weights", NPY_DOUBLE, 2, false, &weights) < 0 ||
        uhnpy_take_exact(objects[1], "state", NPY_INT8, 1, false, &state) < 0 ||
        uhnpy_take_exact(objects[2], "mask", NPY_UINT8, 2, true, &mask) < 0 ||
        take_writeable(weights, "weights") < 0 ||
        check_square(weights, "weights", PyArray_DIM(state, 0)) < 0 ||
        check_square(mask, "mask", PyArray_DIM(state, 0)) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    uhn_learn_dream(PyArray_DATA(state), (size_t)PyArray_DIM(state, 0), step, data(mask),
                    PyArray_DATA(weights));
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

PyMethodDef uhnpy_learning_functions[] = {
    {"_learn_storkey", learn_storkey, METH_VARARGS,
     PyDoc_STR("_learn_storkey($module, weights, patterns, mask, /)\n--\n\n"
               "Learns patterns by Storkey's rule, in place.")},
    {"_learn_perceptron", learn_perceptron, METH_VARARGS,
     PyDoc_STR("_learn_perceptron($module, patterns, mask, kappa, max_raises, /)\n--\n\n"
               "Weights of Krauth and Mezard's rule, and the least stability of each unit.")},
    {"_learn_start", learn_start, METH_VARARGS,
     PyDoc_STR("_learn_start($module, seed, dream, n_units, /)\n--\n\n"
               "The random state with which a dream begins.")},
    {"_learn_dream", learn_dream, METH_VARARGS,
     PyDoc_STR("_learn_dream($module, weights, state, step, mask, /)\n--\n\n"
               "Unlearns a state, in place.")},
    {NULL, NULL, 0, NULL},
};
