/*
 * errors.c - the one place where a status of the core becomes a Python exception.
 *
 * A status that says the caller's numbers, names or shapes do not fit is a ValueError with the
 * core's sentence. Two statuses mean that Python code has failed or a signal has come: then the
 * exception is set already and stays as it is.
 */
#include "errors.h"

#include <stdarg.h>

void *uhnpy_raise(uhn_status status, const uhn_error *error) {
    const char *message = uhn_status_string(status);
    if (error && error->message[0]) {
        message = error->message;
    }
    switch (status) {
    case UHN_OK:
        PyErr_SetString(PyExc_SystemError, "uhn raised an exception for a call that succeeded");
        return NULL;
    case UHN_NO_MEMORY: return PyErr_NoMemory();
    case UHN_BAD_SHAPE:
    case UHN_BAD_PARAMETER:
    case UHN_BAD_NAME:
    case UHN_BAD_DATA:
    case UHN_EMPTY:
    case UHN_MISMATCH:
    case UHN_NO_ENERGY:
    case UHN_OVERFLOW: PyErr_SetString(PyExc_ValueError, message); return NULL;
    case UHN_CALLBACK:
    case UHN_STOPPED:
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_RuntimeError, message);
        }
        return NULL;
    }
    PyErr_Format(PyExc_SystemError, "uhn returned the unknown status %d", (int)status);
    return NULL;
}

PyObject *uhnpy_shape(PyArrayObject *array) {
    return PyArray_IntTupleFromIntp(PyArray_NDIM(array), PyArray_DIMS(array));
}

void *uhnpy_fail(PyObject *type, const char *format, ...) {
    va_list list;
    va_start(list, format);
    PyErr_Clear();
    PyErr_FormatV(type, format, list);
    va_end(list);
    return NULL;
}
