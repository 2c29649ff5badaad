/*
 * mask.h - rows of which a mask says what is known.
 */
#ifndef UHNPY_MASK_H
#define UHNPY_MASK_H

#include "convert.h"

/* Replaces the array of `rows` by a copy that is NaN where the mask is False. `object` is boolean, of
 * the shape of the rows or of one of them. With `strict` a NaN where the mask is True is refused. -1
 * with an exception that names `what`. */
int uhnpy_mask_rows(uhnpy_rows *rows, PyObject *object, const char *what, bool strict);

#endif
