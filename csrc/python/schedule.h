/*
 * schedule.h - what the two-state models hand over: schedules, names, arrays.
 */
#ifndef UHNPY_SCHEDULE_H
#define UHNPY_SCHEDULE_H

#include "module.h"

/* Reads the tuple (order, given, seed, first_sweep, n_sweeps, tie, clamped, temperatures) that
 * uhn.models makes. Arrays are borrowed from the tuple, which must outlive the call. 0, or -1 with
 * an exception. */
int uhnpy_take_schedule(PyObject *tuple, size_t n_units, uhn_schedule *out);

/* An array of exactly this type and number of axes, C-contiguous and aligned: a borrowed
 * reference, NULL with a TypeError. `object` may be None where `optional`; then *out is NULL and
 * the result 0. */
int uhnpy_take_exact(PyObject *object, const char *what, int type, int n_axes, bool optional,
                     PyArrayObject **out);

/* The place of `name` among n names; -1 with a ValueError if it is none of them. */
int uhnpy_take_name(const char *name, const char *const *names, int n, const char *what);

/* "keep", "+1" or "-1". */
int uhnpy_take_tie(const char *name, uhn_tie *out);

/* Functions of the module that serve the two-state models; their callers are in uhn.models and
 * uhn.analysis. */
extern PyMethodDef uhnpy_network_functions[];
extern PyMethodDef uhnpy_dense_functions[];
extern PyMethodDef uhnpy_sdm_functions[];
extern PyMethodDef uhnpy_landscape_functions[];
extern PyMethodDef uhnpy_learning_functions[];

#endif
