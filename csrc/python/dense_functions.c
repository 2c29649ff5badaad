/*
 * dense_functions.c - what uhn.models calls.
 */
#include "schedule.h"

PyMethodDef uhnpy_dense_functions[] = {
    {NULL, NULL, 0, NULL},
};
