/*
 * mask.c - rows of which a mask says what is known.
 */
#include "mask.h"

#include "errors.h"

#include <math.h>

static int refuse_shape(const uhnpy_rows *rows, PyArrayObject *mask, const char *what) {
    PyObject *has = uhnpy_shape(mask), *wants = uhnpy_shape(rows->array);
    if (has && wants) {
        PyErr_Format(
            PyExc_ValueError,
            "mask has shape %R, but %s has shape %R; pass one of that shape, or one row "
            "of it for all, (%zu,)",
            has, what, wants, rows->n_columns);
    }
    Py_XDECREF(has);
    Py_XDECREF(wants);
    return -1;
}

static int apply(uhnpy_rows *rows, PyArrayObject *mask, const char *what, bool strict) {
    const npy_bool *known = PyArray_DATA(mask);
    size_t step = PyArray_NDIM(mask) == 2 ? rows->n_columns : 0;
    for (size_t i = 0; i < rows->n_rows; i++) {
        for (size_t j = 0; j < rows->n_columns; j++) {
            size_t at = i * rows->n_columns + j;
            double x = rows->type == NPY_FLOAT ? ((const float *)rows->data)[at]
                                               : ((const double *)rows->data)[at];
            if (known[i * step + j]) {
                if (strict && isnan(x)) {
                    PyErr_Format(PyExc_ValueError,
                                 "%s[%zu, %zu] is NaN, but the mask says that it is known; set "
                                 "mask[%zu, %zu] to False, or pass nan='missing' to the Memory",
                                 what, i, j, i, j);
                    return -1;
                }
            } else if (rows->type == NPY_FLOAT) {
                ((float *)PyArray_DATA(rows->array))[at] = NAN;
            } else {
                ((double *)PyArray_DATA(rows->array))[at] = NAN;
            }
        }
    }
    return 0;
}

int uhnpy_mask_rows(uhnpy_rows *rows, PyObject *object, const char *what, bool strict) {
    PyArrayObject *any =
        (PyArrayObject *)PyArray_FromAny(object, NULL, 0, 0, NPY_ARRAY_ENSUREARRAY, NULL);
    if (!any) {
        return -1;
    }
    if (PyArray_TYPE(any) != NPY_BOOL) {
        PyErr_Format(
            PyExc_TypeError,
            "mask has dtype %S; it must be boolean, True where a feature is known: use "
            "mask.astype(bool)",
            (PyObject *)PyArray_DESCR(any));
        Py_DECREF(any);
        return -1;
    }
    PyArrayObject *mask = (PyArrayObject *)PyArray_FromArray(any, NULL, NPY_ARRAY_CARRAY_RO);
    Py_DECREF(any);
    if (!mask) {
        return -1;
    }
    int n = PyArray_NDIM(mask), result = -1;
    bool fits = n >= 1 && n <= (rows->single ? 1 : 2) &&
                (size_t)PyArray_DIM(mask, n - 1) == rows->n_columns &&
                (n == 1 || (size_t)PyArray_DIM(mask, 0) == rows->n_rows);
    if (!fits) {
        refuse_shape(rows, mask, what);
    } else {
        if (!rows->fresh) {
            PyArrayObject *copy = (PyArrayObject *)PyArray_NewCopy(rows->array, NPY_CORDER);
            if (!copy) {
                goto done;
            }
            Py_SETREF(rows->array, copy);
            rows->data = PyArray_DATA(copy);
            rows->fresh = true;
        }
        result = apply(rows, mask, what, strict);
    }
done:
    Py_DECREF(mask);
    return result;
}
