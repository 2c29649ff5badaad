/*
 * network_functions.c - what uhn.models calls.
 */
#include "schedule.h"

PyMethodDef uhnpy_network_functions[] = {
    {NULL, NULL, 0, NULL},
};
