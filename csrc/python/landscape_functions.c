/*
 * landscape_functions.c - what uhn.analysis calls.
 */
#include "errors.h"
#include "run.h"
#include "schedule.h"

/* _landscape_fixed_points(weights, bias): the bits of uhn_fixed_points, in words of 64. */
static PyObject *landscape_fixed_points(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *weights_object, *bias_object;
    PyArrayObject *weights, *bias;
    if (!PyArg_ParseTuple(args, "OO", &weights_object, &bias_object) ||
        uhnpy_take_exact(weights_object, "weights", NPY_DOUBLE, 2, false, &weights) < 0 ||
        uhnpy_take_exact(bias_object, "bias", NPY_DOUBLE, 1, true, &bias) < 0) {
        return NULL;
    }
    size_t n_units = (size_t)PyArray_DIM(weights, 0);
    if ((size_t)PyArray_DIM(weights, 1) != n_units ||
        (bias && (size_t)PyArray_DIM(bias, 0) != n_units)) {
        return uhnpy_fail(PyExc_ValueError, "weights and bias do not fit one another");
    }
    if (n_units < 1 || n_units > UHN_LANDSCAPE_UNITS) {
        return uhnpy_fail(PyExc_ValueError, "there are %zu units; from 1 to %d can be listed",
                          n_units, (int)UHN_LANDSCAPE_UNITS);
    }
    npy_intp n_words = n_units < 6 ? 1 : (npy_intp)1 << (n_units - 6);
    PyObject *stable = PyArray_SimpleNew(1, &n_words, NPY_UINT64);
    if (!stable) {
        return NULL;
    }
    uhn_error error = {.status = UHN_OK};
    uhnpy_run run;
    uhnpy_run_begin_plain(&run);
    uhn_status status =
        uhn_fixed_points(PyArray_DATA(weights), bias ? PyArray_DATA(bias) : NULL, n_units,
                         &run.core, PyArray_DATA((PyArrayObject *)stable), &error);
    uhnpy_run_end(&run);
    if (status != UHN_OK) {
        Py_DECREF(stable);
        return uhnpy_raise(status, &error);
    }
    return stable;
}

PyMethodDef uhnpy_landscape_functions[] = {
    {"_landscape_fixed_points", landscape_fixed_points, METH_VARARGS,
     PyDoc_STR("_landscape_fixed_points($module, weights, bias, /)\n--\n\n"
               "Bits of the states that are fixed points, in words of 64.")},
    {NULL, NULL, 0, NULL},
};
