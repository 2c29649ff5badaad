/*
 * schedule.c - reading a schedule, and the arrays that the two-state models pass.
 */
#include "schedule.h"

#include "errors.h"

int uhnpy_take_exact(PyObject *object, const char *what, int type, int n_axes, bool optional,
                     PyArrayObject **out) {
    *out = NULL;
    if (optional && object == Py_None) {
        return 0;
    }
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_Check(object) && PyArray_TYPE(array) == type && PyArray_NDIM(array) == n_axes &&
        PyArray_ISCARRAY_RO(array)) {
        *out = array;
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s must be a C-contiguous array of %d axes and type %d",
                 what, n_axes, type);
    return -1;
}

int uhnpy_take_name(const char *name, const char *const *names, int n, const char *what) {
    for (int i = 0; i < n; i++) {
        if (strcmp(name, names[i]) == 0) {
            return i;
        }
    }
    PyErr_Format(PyExc_ValueError, "%s %s is not known", what, name);
    return -1;
}

int uhnpy_take_tie(const char *name, uhn_tie *out) {
    static const char *const ties[UHN_N_TIES] = {"keep", "+1", "-1"};
    int found = uhnpy_take_name(name, ties, UHN_N_TIES, "tie");
    *out = (uhn_tie)found;
    return found < 0 ? -1 : 0;
}

int uhnpy_take_schedule(PyObject *tuple, size_t n_units, uhn_schedule *out) {
    static const char *const orders[UHN_N_ORDERS] = {"sync", "permutation", "replacement",
                                                     "sequential", "given"};
    const char *order, *tie;
    PyObject *given_object, *clamped_object, *temperatures_object;
    PyArrayObject *given, *clamped, *temperatures;
    unsigned long long seed;
    Py_ssize_t first, n;
    if (!PyTuple_Check(tuple)) {
        PyErr_SetString(PyExc_TypeError, "a schedule is a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(tuple, "sOKnnsOO", &order, &given_object, &seed, &first, &n, &tie,
                          &clamped_object, &temperatures_object) ||
        uhnpy_take_exact(given_object, "order", NPY_INT64, 1, true, &given) < 0 ||
        uhnpy_take_exact(clamped_object, "clamped", NPY_UINT8, 1, true, &clamped) < 0 ||
        uhnpy_take_exact(temperatures_object, "temperature", NPY_DOUBLE, 1, true,
                         &temperatures) < 0) {
        return -1;
    }
    uhn_tie rule;
    int which = uhnpy_take_name(order, orders, UHN_N_ORDERS, "order");
    if (which < 0 || uhnpy_take_tie(tie, &rule) < 0) {
        return -1;
    }
    if (first < 0 || n < 0 || (which == UHN_ORDER_GIVEN && !given) ||
        (clamped && (size_t)PyArray_SIZE(clamped) != n_units) ||
        (temperatures && PyArray_SIZE(temperatures) != n)) {
        PyErr_SetString(PyExc_ValueError, "the schedule does not fit the units");
        return -1;
    }
    *out = (uhn_schedule){
        .order = (uhn_order)which,
        .given = given ? PyArray_DATA(given) : NULL,
        .n_given = given ? (size_t)PyArray_SIZE(given) : 0,
        .seed = seed,
        .first_sweep = (size_t)first,
        .n_sweeps = (size_t)n,
        .tie = rule,
        .clamped = clamped ? PyArray_DATA(clamped) : NULL,
        .temperatures = temperatures ? PyArray_DATA(temperatures) : NULL,
    };
    uhn_error error = {.status = UHN_OK};
    uhn_status status = uhn_schedule_check(out, n_units, &error);
    if (status != UHN_OK) {
        uhnpy_raise(status, &error);
        return -1;
    }
    return 0;
}
