/* errors.h - the one place where a status of the core becomes a Python exception. */
#ifndef UHNPY_ERRORS_H
#define UHNPY_ERRORS_H

#include "module.h"

/* Sets the exception that stands for `status` (not UHN_OK) and returns NULL. */
void *uhnpy_raise(uhn_status status, const uhn_error *error);

/* The shape of an array as a tuple, for a message; NULL with an exception set on failure. */
PyObject *uhnpy_shape(PyArrayObject *array);

/* ValueError of `format` (see PyUnicode_FromFormat); at the end the exception is `type`.
 * Returns NULL. If an OverflowError is what stands behind it, it is dropped. */
void *uhnpy_fail(PyObject *type, const char *format, ...);

#endif
