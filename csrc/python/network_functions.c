/*
 * network_functions.c - networks with couplings between pairs of units, for uhn.models.
 *
 * The functions are private: they take arrays of exactly the right type, which the classes make,
 * and refuse anything else with a short sentence.
 */
#include "errors.h"
#include "run.h"
#include "schedule.h"

/* Reads (couplings, n_patterns, scale, bias, keep_diagonal) of a network of n_units. */
static int take_network(PyObject *couplings, Py_ssize_t n_patterns, double scale,
                        PyObject *bias_object, int keep_diagonal, npy_intp n_units,
                        uhn_network *out) {
    PyArrayObject *bias, *matrix;
    if (uhnpy_take_exact(bias_object, "bias", NPY_DOUBLE, 1, true, &bias) < 0) {
        return -1;
    }
    if (!PyArray_Check(couplings)) {
        PyErr_SetString(PyExc_TypeError, "couplings must be an array");
        return -1;
    }
    int type = PyArray_TYPE((PyArrayObject *)couplings);
    if (type != NPY_INT16 && type != NPY_INT32 && type != NPY_DOUBLE && type != NPY_UINT32) {
        PyErr_SetString(PyExc_TypeError,
                        "couplings must be of int16, int32, float64 or, as patterns, uint32");
        return -1;
    }
    if (uhnpy_take_exact(couplings, "couplings", type, 2, false, &matrix) < 0) {
        return -1;
    }
    npy_intp width = type == NPY_UINT32 ? (n_patterns + 31) / 32 : n_units;
    if (n_patterns < 0 || (type != NPY_UINT32 && n_patterns != 0) || n_units < 1 ||
        PyArray_DIM(matrix, 0) != n_units || PyArray_DIM(matrix, 1) != width ||
        (bias && PyArray_SIZE(bias) != n_units)) {
        PyErr_SetString(PyExc_ValueError,
                        "couplings, n_patterns and bias do not fit the units");
        return -1;
    }
    const void *data = PyArray_DATA(matrix);
    *out = (uhn_network){
        .n_units = (size_t)n_units,
        .counts16 = type == NPY_INT16 ? data : NULL,
        .counts32 = type == NPY_INT32 ? data : NULL,
        .weights = type == NPY_DOUBLE ? data : NULL,
        .columns = type == NPY_UINT32 ? data : NULL,
        .n_patterns = (size_t)n_patterns,
        .keep_diagonal = keep_diagonal,
        .scale = scale,
        .bias = bias ? PyArray_DATA(bias) : NULL,
    };
    return 0;
}

static PyObject *network_settle(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *states_object, *couplings, *bias, *schedule_object, *result = NULL;
    Py_ssize_t n_patterns;
    double scale;
    int keep_diagonal;
    PyArrayObject *states;
    uhn_network network;
    uhn_schedule schedule;
    if (!PyArg_ParseTuple(args, "OOndOpO", &states_object, &couplings, &n_patterns, &scale,
                          &bias, &keep_diagonal, &schedule_object) ||
        uhnpy_take_exact(states_object, "states", NPY_INT8, 2, false, &states) < 0 ||
        take_network(couplings, n_patterns, scale, bias, keep_diagonal, PyArray_DIM(states, 1),
                     &network) < 0 ||
        uhnpy_take_schedule(schedule_object, network.n_units, &schedule) < 0) {
        return NULL;
    }
    npy_intp *dims = PyArray_DIMS(states);
    PyObject *out[4] = {PyArray_SimpleNew(2, dims, NPY_INT8),
                        PyArray_SimpleNew(1, dims, NPY_INT64),
                        PyArray_SimpleNew(1, dims, NPY_UINT8),
                        PyArray_SimpleNew(1, dims, NPY_UINT8)};
    if (out[0] && out[1] && out[2] && out[3]) {
        uhn_error error = {.status = UHN_OK};
        uhnpy_run run;
        uhnpy_run_begin_plain(&run);
        uhn_status status =
            uhn_network_settle(&network, &schedule, PyArray_DATA(states), (size_t)dims[0],
                               &run.core, PyArray_DATA((PyArrayObject *)out[0]),
                               PyArray_DATA((PyArrayObject *)out[1]),
                               PyArray_DATA((PyArrayObject *)out[2]),
                               PyArray_DATA((PyArrayObject *)out[3]), &error);
        uhnpy_run_end(&run);
        result = status == UHN_OK ? PyTuple_Pack(4, out[0], out[1], out[2], out[3])
                                  : uhnpy_raise(status, &error);
    }
    for (int i = 0; i < 4; i++) {
        Py_XDECREF(out[i]);
    }
    return result;
}

/* Fields or energies. */
static PyObject *network_read(PyObject *args, bool energies) {
    PyObject *states_object, *couplings, *bias;
    Py_ssize_t n_patterns;
    double scale;
    int keep_diagonal;
    PyArrayObject *states;
    uhn_network network;
    if (!PyArg_ParseTuple(args, "OOndOp", &states_object, &couplings, &n_patterns, &scale,
                          &bias, &keep_diagonal) ||
        uhnpy_take_exact(states_object, "states", NPY_INT8, 2, false, &states) < 0 ||
        take_network(couplings, n_patterns, scale, bias, keep_diagonal, PyArray_DIM(states, 1),
                     &network) < 0) {
        return NULL;
    }
    npy_intp *dims = PyArray_DIMS(states);
    PyObject *out = PyArray_SimpleNew(energies ? 1 : 2, dims, NPY_DOUBLE);
    if (!out) {
        return NULL;
    }
    uhn_error error = {.status = UHN_OK};
    uhnpy_run run;
    uhnpy_run_begin_plain(&run);
    uhn_status status =
        (energies ? uhn_network_energies
                  : uhn_network_fields)(&network, PyArray_DATA(states), (size_t)dims[0],
                                        &run.core, PyArray_DATA((PyArrayObject *)out), &error);
    uhnpy_run_end(&run);
    if (status != UHN_OK) {
        Py_DECREF(out);
        return uhnpy_raise(status, &error);
    }
    return out;
}

static PyObject *network_fields(PyObject *module, PyObject *args) {
    (void)module;
    return network_read(args, false);
}

static PyObject *network_energies(PyObject *module, PyObject *args) {
    (void)module;
    return network_read(args, true);
}

static PyObject *network_hebb(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *counts_object, *patterns_object;
    PyArrayObject *counts, *patterns;
    int sign;
    if (!PyArg_ParseTuple(args, "OOi", &counts_object, &patterns_object, &sign) ||
        uhnpy_take_exact(counts_object, "counts", NPY_INT32, 2, false, &counts) < 0 ||
        uhnpy_take_exact(patterns_object, "patterns", NPY_INT8, 2, false, &patterns) < 0) {
        return NULL;
    }
    npy_intp n_units = PyArray_DIM(patterns, 1);
    if (PyArray_DIM(counts, 0) != n_units || PyArray_DIM(counts, 1) != n_units ||
        !PyArray_ISWRITEABLE(counts)) {
        PyErr_SetString(PyExc_ValueError, "counts must be writeable and fit the patterns");
        return NULL;
    }
    uhn_error error = {.status = UHN_OK};
    uhnpy_run run;
    uhnpy_run_begin_plain(&run);
    uhn_status status =
        uhn_network_hebb(PyArray_DATA(counts), (size_t)n_units, PyArray_DATA(patterns),
                         (size_t)PyArray_DIM(patterns, 0), sign, &run.core, &error);
    uhnpy_run_end(&run);
    if (status != UHN_OK) {
        return uhnpy_raise(status, &error);
    }
    Py_RETURN_NONE;
}

static PyObject *pack_columns(PyObject *module, PyObject *object) {
    (void)module;
    PyArrayObject *rows;
    if (uhnpy_take_exact(object, "rows", NPY_INT8, 2, false, &rows) < 0) {
        return NULL;
    }
    npy_intp dims[2] = {PyArray_DIM(rows, 1), (PyArray_DIM(rows, 0) + 31) / 32};
    PyObject *out = PyArray_SimpleNew(2, dims, NPY_UINT32);
    if (out) {
        Py_BEGIN_ALLOW_THREADS;
        uhn_pack_columns(PyArray_DATA(rows), (size_t)PyArray_DIM(rows, 0), (size_t)dims[0],
                         PyArray_DATA((PyArrayObject *)out));
        Py_END_ALLOW_THREADS;
    }
    return out;
}

static PyObject *pack_rows(PyObject *module, PyObject *object) {
    (void)module;
    PyArrayObject *rows;
    if (uhnpy_take_exact(object, "rows", NPY_INT8, 2, false, &rows) < 0) {
        return NULL;
    }
    npy_intp dims[2] = {PyArray_DIM(rows, 0), (PyArray_DIM(rows, 1) + 63) / 64};
    PyObject *out = PyArray_SimpleNew(2, dims, NPY_UINT64);
    if (out) {
        Py_BEGIN_ALLOW_THREADS;
        uhn_pack_rows(PyArray_DATA(rows), (size_t)dims[0], (size_t)PyArray_DIM(rows, 1),
                      PyArray_DATA((PyArrayObject *)out));
        Py_END_ALLOW_THREADS;
    }
    return out;
}

PyMethodDef uhnpy_network_functions[] = {
    {"_network_settle", network_settle, METH_VARARGS,
     PyDoc_STR("_network_settle($module, states, couplings, n_patterns, scale, bias, "
               "keep_diagonal, schedule, /)\n--\n\n"
               "States at rest, sweeps done, status codes, and whether the last sweep flipped "
               "a unit.")},
    {"_network_fields", network_fields, METH_VARARGS,
     PyDoc_STR("_network_fields($module, states, couplings, n_patterns, scale, bias, "
               "keep_diagonal, /)\n--\n\n"
               "The field of every unit in every state.")},
    {"_network_energies", network_energies, METH_VARARGS,
     PyDoc_STR("_network_energies($module, states, couplings, n_patterns, scale, bias, "
               "keep_diagonal, /)\n--\n\n"
               "The energy of every state.")},
    {"_network_hebb", network_hebb, METH_VARARGS,
     PyDoc_STR("_network_hebb($module, counts, patterns, sign, /)\n--\n\n"
               "Adds the outer products of +-1 patterns to counts, or takes them away.")},
    {"_pack_columns", pack_columns, METH_O,
     PyDoc_STR("_pack_columns($module, rows, /)\n--\n\n"
               "Bits of +1 for +-1 rows, 32 rows a word, a column after the other.")},
    {"_pack_rows", pack_rows, METH_O,
     PyDoc_STR("_pack_rows($module, rows, /)\n--\n\n"
               "Bits of +1 for +-1 rows, 64 columns a word, a row after the other.")},
    {NULL, NULL, 0, NULL},
};
