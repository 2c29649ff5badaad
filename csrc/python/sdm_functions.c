/*
 * sdm_functions.c - what uhn.models calls.
 */
#include "schedule.h"

PyMethodDef uhnpy_sdm_functions[] = {
    {NULL, NULL, 0, NULL},
};
