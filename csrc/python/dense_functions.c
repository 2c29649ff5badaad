/*
 * dense_functions.c - what uhn.models calls for its dense associative memory.
 *
 * The core's memory of patterns is a capsule, which the model makes when it is first asked and
 * drops when it stores; it does not change, so that any number of calls may use it at once.
 */
#include "schedule.h"

#include "errors.h"
#include "run.h"

static const char capsule_name[] = "uhn.dense";

static void drop(PyObject *capsule) {
    uhn_dense_free(PyCapsule_GetPointer(capsule, capsule_name));
}

static const uhn_dense *take_dense(PyObject *capsule) {
    return PyCapsule_GetPointer(capsule, capsule_name);
}

static int take_interaction(const char *name, uhn_interaction *out) {
    static const char *const names[UHN_N_INTERACTIONS] = {"polynomial", "rectified_polynomial",
                                                          "exponential"};
    int found = uhnpy_take_name(name, names, UHN_N_INTERACTIONS, "interaction");
    *out = (uhn_interaction)found;
    return found < 0 ? -1 : 0;
}

static PyObject *dense_new(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *object;
    PyArrayObject *patterns;
    const char *name;
    double degree;
    int scaled;
    uhn_interaction interaction;
    if (!PyArg_ParseTuple(args, "Osdp", &object, &name, &degree, &scaled) ||
        uhnpy_take_exact(object, "patterns", NPY_INT8, 2, false, &patterns) < 0 ||
        take_interaction(name, &interaction) < 0) {
        return NULL;
    }
    const size_t n_patterns = (size_t)PyArray_DIM(patterns, 0);
    const size_t n_units = (size_t)PyArray_DIM(patterns, 1);
    uhn_dense *dense;
    uhn_error error = {.status = UHN_OK};
    uhnpy_run run;
    uhnpy_run_begin_plain(&run);
    uhn_status status = uhn_dense_new(PyArray_DATA(patterns), n_patterns, n_units, interaction,
                                      degree, scaled != 0, &run.core, &dense, &error);
    uhnpy_run_end(&run);
    if (status != UHN_OK) {
        return uhnpy_raise(status, &error);
    }
    PyObject *capsule = PyCapsule_New(dense, capsule_name, drop);
    if (!capsule) {
        uhn_dense_free(dense);
    }
    return capsule;
}

/* The states' array, if its rows are as long as the patterns. */
static PyArrayObject *take_states(PyObject *object, const uhn_dense *dense) {
    PyArrayObject *states;
    if (uhnpy_take_exact(object, "states", NPY_INT8, 2, false, &states) < 0) {
        return NULL;
    }
    if ((size_t)PyArray_DIM(states, 1) != uhn_dense_n_units(dense)) {
        return uhnpy_fail(PyExc_ValueError, "states do not have %zu units",
                          uhn_dense_n_units(dense));
    }
    return states;
}

static PyObject *dense_settle(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *capsule, *object, *tuple;
    uhn_schedule schedule;
    if (!PyArg_ParseTuple(args, "OOO", &capsule, &object, &tuple)) {
        return NULL;
    }
    const uhn_dense *dense = take_dense(capsule);
    PyArrayObject *given = dense ? take_states(object, dense) : NULL;
    if (!given || uhnpy_take_schedule(tuple, uhn_dense_n_units(dense), &schedule) < 0) {
        return NULL;
    }
    npy_intp *dims = PyArray_DIMS(given);
    PyArrayObject *made[5] = {NULL};
    static const int types[5] = {NPY_INT8, NPY_INT8, NPY_INT64, NPY_UINT8, NPY_UINT8};
    PyObject *result = NULL;
    for (int i = 0; i < 5; i++) {
        made[i] = (PyArrayObject *)PyArray_SimpleNew(i < 2 ? 2 : 1, dims, types[i]);
        if (!made[i]) {
            goto done;
        }
    }
    memcpy(PyArray_DATA(made[0]), PyArray_DATA(given), (size_t)PyArray_NBYTES(given));
    uhn_error error = {.status = UHN_OK};
    uhnpy_run run;
    uhnpy_run_begin_plain(&run);
    uhn_status status =
        uhn_dense_settle(dense, &schedule, PyArray_DATA(made[0]), (size_t)dims[0], &run.core,
                         PyArray_DATA(made[1]), PyArray_DATA(made[2]), PyArray_DATA(made[3]),
                         PyArray_DATA(made[4]), &error);
    uhnpy_run_end(&run);
    if (status != UHN_OK) {
        uhnpy_raise(status, &error);
    } else {
        result = PyTuple_Pack(5, made[0], made[1], made[2], made[3], made[4]);
    }
done:
    for (int i = 0; i < 5; i++) {
        Py_XDECREF(made[i]);
    }
    return result;
}

static PyObject *energies(PyObject *args, bool differences) {
    PyObject *capsule, *object;
    if (!PyArg_ParseTuple(args, "OO", &capsule, &object)) {
        return NULL;
    }
    const uhn_dense *dense = take_dense(capsule);
    PyArrayObject *states = dense ? take_states(object, dense) : NULL;
    if (!states) {
        return NULL;
    }
    npy_intp *dims = PyArray_DIMS(states);
    PyArrayObject *out =
        (PyArrayObject *)PyArray_SimpleNew(differences ? 2 : 1, dims, NPY_DOUBLE);
    if (!out) {
        return NULL;
    }
    uhn_error error = {.status = UHN_OK};
    uhnpy_run run;
    uhnpy_run_begin_plain(&run);
    uhn_status status =
        (differences ? uhn_dense_differences : uhn_dense_energies)(dense, PyArray_DATA(states),
                                                                   (size_t)dims[0], &run.core,
                                                                   PyArray_DATA(out), &error);
    uhnpy_run_end(&run);
    if (status != UHN_OK) {
        Py_DECREF(out);
        return uhnpy_raise(status, &error);
    }
    return (PyObject *)out;
}

static PyObject *dense_energies(PyObject *module, PyObject *args) {
    (void)module;
    return energies(args, false);
}

static PyObject *dense_differences(PyObject *module, PyObject *args) {
    (void)module;
    return energies(args, true);
}

PyMethodDef uhnpy_dense_functions[] = {
    {"_dense_new", dense_new, METH_VARARGS,
     PyDoc_STR("_dense_new($module, patterns, interaction, degree, scaled, /)\n--\n\n"
               "The core's memory of +-1 patterns, in a capsule.")},
    {"_dense_settle", dense_settle, METH_VARARGS,
     PyDoc_STR("_dense_settle($module, engine, states, schedule, /)\n--\n\n"
               "States at rest, those before the last sweep, sweeps done, status codes, and "
               "whether the last sweep changed anything.")},
    {"_dense_energies", dense_energies, METH_VARARGS,
     PyDoc_STR("_dense_energies($module, engine, states, /)\n--\n\n"
               "The energy of every state.")},
    {"_dense_differences", dense_differences, METH_VARARGS,
     PyDoc_STR("_dense_differences($module, engine, states, /)\n--\n\n"
               "What turning over each unit alone would add to the energy.")},
    {NULL, NULL, 0, NULL},
};
