/*
 * memory_type.c - uhn.Memory: patterns, their values, and the equation that reads them.
 *
 * A Memory object is a handle of the core, an equation that never changes, and a list of the
 * arrays it borrows (only to see that `out` touches none of them; the core keeps them alive).
 * The handle comes with the first rows and then stays; the rows behind it are the core's
 * affair, so that any number of threads may read while one stores.
 */
#include "compute.h"
#include "convert.h"
#include "errors.h"
#include "mask.h"
#include "memory_docs.h"
#include "module.h"

#include <string.h>
#include <structmember.h>

typedef struct {
    PyObject_HEAD uhn_memory *handle; /* NULL until the first store decides on type and width */
    uhnpy_equation equation;          /* its callables are references of this object */
    size_t first_row;
    uhnpy_loan **loans;
    size_t n_loans;
    PyObject *feature_names, *value_names; /* of frames: tuples of str, or NULL */
    PyObject *weak_references;
} Memory;

static inline uhnpy_state *state_of(PyObject *self) {
    return PyType_GetModuleState(Py_TYPE(self));
}

static inline uhnpy_target target_of(Memory *self) {
    return (uhnpy_target){self->handle, &self->equation, &self->loans, &self->n_loans,
                          self->feature_names};
}

/* ------------------------------------------------------------------------ life and death -- */

static Memory *new_memory(PyTypeObject *type, const uhnpy_equation *equation,
                          size_t first_row) {
    Memory *self = (Memory *)type->tp_alloc(type, 0);
    if (self) {
        self->equation = *equation;
        Py_XINCREF(self->equation.score);
        Py_XINCREF(self->equation.weigh);
        self->first_row = first_row;
    }
    return self;
}

static int memory_traverse(Memory *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->equation.score);
    Py_VISIT(self->equation.weigh);
    Py_VISIT(self->feature_names);
    Py_VISIT(self->value_names);
    return 0;
}

/* An equation without its callable is none any more; then the handle must not be used either.
 * */
static int memory_clear(Memory *self) {
    uhn_memory *handle = self->handle;
    self->handle = NULL;
    uhn_memory_free(handle);
    Py_CLEAR(self->equation.score);
    Py_CLEAR(self->equation.weigh);
    Py_CLEAR(self->feature_names);
    Py_CLEAR(self->value_names);
    return 0;
}

static void memory_dealloc(Memory *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weak_references) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    memory_clear(self);
    for (size_t i = 0; i < self->n_loans; i++) {
        uhnpy_loan_drop(self->loans[i]);
    }
    PyMem_Free(self->loans);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Forgets the loans that were returned. */
static void forget_loans(Memory *self) {
    size_t kept = 0;
    for (size_t i = 0; i < self->n_loans; i++) {
        if (self->loans[i]->patterns) {
            self->loans[kept++] = self->loans[i];
        } else {
            uhnpy_loan_drop(self->loans[i]);
        }
    }
    self->n_loans = kept;
}

/* Makes room for one loan more. */
static int reserve_loan(Memory *self) {
    forget_loans(self);
    uhnpy_loan **loans = PyMem_Realloc(self->loans, (self->n_loans + 1) * sizeof *loans);
    if (!loans) {
        PyErr_NoMemory();
        return -1;
    }
    self->loans = loans;
    return 0;
}

/* ------------------------------------------------------------------------------- storing -- */

/* What one store brings, converted and checked against one another but not yet against the rows
 * the memory has. */
typedef struct delivery {
    uhnpy_rows patterns, values;
    uhnpy_array prior;
} delivery;

static void drop_delivery(delivery *rows) {
    uhnpy_drop_rows(&rows->patterns);
    uhnpy_drop_rows(&rows->values);
    Py_CLEAR(rows->prior.array);
}

static int take_values(PyObject *values, delivery *out) {
    if (uhnpy_take_rows(values, "values", "n_patterns, n_values", out->patterns.type,
                        &out->values) < 0) {
        return -1;
    }
    if (out->values.n_rows == out->patterns.n_rows && out->values.n_columns > 0) {
        return 0;
    }
    PyObject *has = uhnpy_shape(out->values.array);
    if (has && out->values.single && out->values.n_columns == out->patterns.n_rows) {
        PyErr_Format(
            PyExc_ValueError,
            "values has shape %R, which is one row, but there are %zu patterns; for one "
            "number a pattern pass values[:, None]",
            has, out->patterns.n_rows);
    } else if (has && out->values.n_columns == 0) {
        PyErr_Format(PyExc_ValueError,
                     "values has shape %R: a value needs at least one component", has);
    } else if (has) {
        PyErr_Format(
            PyExc_ValueError,
            "values has shape %R, but there are %zu patterns; pass one row a pattern, shape "
            "(%zu, n_values)",
            has, out->patterns.n_rows, out->patterns.n_rows);
    }
    Py_XDECREF(has);
    return -1;
}

static int take_prior(const uhnpy_state *state, const uhnpy_equation *equation, PyObject *prior,
                      delivery *out) {
    const uhn_row_info *info =
        equation->weigh ? NULL : uhn_separation_info(equation->core.separation);
    if (info && !info->has_prior) {
        PyErr_Format(
            PyExc_ValueError,
            "separation %R takes no prior: its weights depend on the order of the scores "
            "alone",
            state->separation_names[equation->core.separation]);
        return -1;
    }
    if (uhnpy_take_array(prior, "prior", out->patterns.type, &out->prior) < 0) {
        return -1;
    }
    PyArrayObject *array = out->prior.array;
    bool fits = PyArray_NDIM(array) == 1 && (size_t)PyArray_SIZE(array) == out->patterns.n_rows;
    if (fits || (PyArray_NDIM(array) == 0 && out->patterns.single)) {
        return 0;
    }
    PyObject *has = uhnpy_shape(array);
    if (has) {
        PyErr_Format(
            PyExc_ValueError,
            "prior has shape %R, but there are %zu patterns; pass one number a pattern, "
            "shape (%zu,)",
            has, out->patterns.n_rows, out->patterns.n_rows);
        Py_DECREF(has);
    }
    return -1;
}

/* `type` is NPY_NOTYPE where the rows are the first. */
static int take_delivery(const uhnpy_state *state, const uhnpy_equation *equation, int type,
                         PyObject *patterns, PyObject *values, PyObject *prior, PyObject *mask,
                         delivery *out) {
    memset(out, 0, sizeof *out);
    if (uhnpy_take_rows(patterns, "patterns", "n_patterns, n_features", type, &out->patterns) <
        0) {
        goto failed;
    }
    if (out->patterns.n_columns == 0) {
        PyObject *has = uhnpy_shape(out->patterns.array);
        if (has) {
            PyErr_Format(PyExc_ValueError,
                         "patterns has shape %R: a pattern needs at least one feature", has);
            Py_DECREF(has);
        }
        goto failed;
    }
    if (uhnpy_given(mask) && !equation->core.missing) {
        PyErr_SetString(PyExc_ValueError,
                        "mask says which features of the patterns are known, but this memory "
                        "takes rows without gaps only; make it with nan='missing'");
        goto failed;
    }
    if ((uhnpy_given(mask) && uhnpy_mask_rows(&out->patterns, mask, "patterns", false) < 0) ||
        (uhnpy_given(values) && take_values(values, out) < 0) ||
        (uhnpy_given(prior) && take_prior(state, equation, prior, out) < 0)) {
        goto failed;
    }
    return 0;
failed:
    drop_delivery(out);
    return -1;
}

/* -1 with an exception unless the rows have the widths of those there are. */
static int check_delivery(const uhn_memory *memory, const delivery *rows) {
    if (uhnpy_check_width(&rows->patterns, "patterns", uhn_memory_n_features(memory)) < 0) {
        return -1;
    }
    bool alone = uhn_memory_is_autoassociative(memory);
    if (alone && rows->values.array) {
        PyErr_SetString(
            PyExc_ValueError,
            "values were given, but this memory is autoassociative: its patterns are its "
            "values; leave values out or make a new Memory");
        return -1;
    }
    if (!alone && !rows->values.array) {
        PyErr_Format(
            PyExc_ValueError,
            "values are missing: this memory stores a value of %zu components with every "
            "pattern",
            uhn_memory_n_values(memory));
        return -1;
    }
    if (!alone && rows->values.n_columns != uhn_memory_n_values(memory)) {
        PyErr_Format(PyExc_ValueError, "values have %zu components, but those stored have %zu",
                     rows->values.n_columns, uhn_memory_n_values(memory));
        return -1;
    }
    return 0;
}

static uhn_memory *new_handle(const delivery *rows, size_t first_row) {
    uhn_memory *handle = NULL;
    size_t n_values = rows->values.array ? rows->values.n_columns : 0;
    uhn_status status = uhn_memory_new(uhnpy_dtype(rows->patterns.type),
                                       rows->patterns.n_columns, n_values, first_row, &handle);
    if (status == UHN_BAD_SHAPE) {
        return uhnpy_fail(
            PyExc_ValueError,
            "patterns of %zu features with values of %zu components from first_row=%zu "
            "on are more than can be addressed",
            rows->patterns.n_columns, n_values, first_row);
    }
    return status == UHN_OK ? handle : uhnpy_raise(status, NULL);
}

/* UHN_OK if rows are inside the domain of the similarity. */
static uhn_status check_domain(const uhnpy_equation *equation, const delivery *rows,
                               const uhn_run *run, uhn_error *error) {
    const uhn_row_info *info =
        equation->score ? NULL : uhn_similarity_info(equation->core.similarity);
    return info && info->non_negative
               ? uhn_check_rows(uhnpy_dtype(rows->patterns.type), rows->patterns.data,
                                rows->patterns.n_rows, rows->patterns.n_columns,
                                &equation->core, "patterns", run, error)
               : UHN_OK;
}

/* Checks the domain of the similarity and hands the rows to the core, which borrows the arrays
 * or copies them. With `unseen` nobody looks at them before they are asked. `*loan` is what the memory may have borrowed. */
static int store_rows(uhn_memory *handle, const uhnpy_equation *equation, const delivery *rows,
                      bool copy, bool unseen, uhnpy_loan **loan) {
    bool borrow =
        !copy || (rows->patterns.fresh && (!rows->values.array || rows->values.fresh));
    *loan = NULL;
    if (borrow) {
        *loan = uhnpy_loan_new(rows->patterns.array, rows->values.array);
        if (!*loan) {
            return -1;
        }
        (*loan)->references++; /* one for the core, one for the Memory */
    }
    uhn_rows core = {
        .patterns = rows->patterns.data,
        .values = rows->values.array ? rows->values.data : NULL,
        .prior = rows->prior.array ? PyArray_DATA(rows->prior.array) : NULL,
        .n_rows = rows->patterns.n_rows,
        .borrow = borrow,
        .unseen = unseen,
        .missing = equation->core.missing,
        .release = borrow ? uhnpy_loan_return : NULL,
        .owner = *loan,
    };
    uhn_error error = {.status = UHN_OK};
    uhn_status status = UHN_OK;
    uhnpy_run run;
    uhnpy_run_begin(&run, equation, rows->patterns.type, rows->patterns.n_columns);
    core.run = &run.core;
    if (!unseen) {
        status = check_domain(equation, rows, &run.core, &error);
    }
    if (status == UHN_OK) {
        status = uhn_memory_store(handle, &core, &error);
    }
    uhnpy_run_end(&run);
    if (status == UHN_OK) {
        return 0;
    }
    if (*loan) {
        (*loan)->references--; /* the core did not take it */
        uhnpy_loan_drop(*loan);
        *loan = NULL;
    }
    uhnpy_raise(status, &error);
    return -1;
}

static int store(Memory *self, PyObject *patterns, PyObject *values, PyObject *prior,
                 PyObject *mask, bool copy, bool unseen) {
    const uhnpy_state *state = state_of((PyObject *)self);
    delivery rows;
    uhn_memory *handle = self->handle;
    int type = handle ? uhnpy_type(handle) : NPY_NOTYPE;
    if (take_delivery(state, &self->equation, type, patterns, values, prior, mask, &rows) < 0) {
        return -1;
    }
    int done = -1;
    uhnpy_loan *loan = NULL;
    /* Converting may have run Python code that stored into this very memory. */
    if (self->handle != handle) {
        drop_delivery(&rows);
        return store(self, patterns, values, prior, mask, copy, unseen);
    }
    bool first = !handle;
    if (first) {
        handle = new_handle(&rows, self->first_row);
    } else if (check_delivery(handle, &rows) < 0) {
        handle = NULL;
    }
    if (handle) {
        done = store_rows(handle, &self->equation, &rows, copy, unseen, &loan);
    }
    drop_delivery(&rows);
    if (first && handle) {
        if (done == 0 && !self->handle) {
            self->handle = handle;
        } else {
            uhn_memory_free(handle);
            if (done == 0) {
                /* Another thread's first store came in between: these rows go behind its own.
                 * */
                uhnpy_loan_drop(loan);
                return store(self, patterns, values, prior, mask, copy, unseen);
            }
        }
    }
    if (loan && reserve_loan(self) == 0) {
        self->loans[self->n_loans++] = loan;
    } else if (loan) {
        /* The rows are stored; only the check of `out` against them is lost. */
        PyErr_Clear();
        uhnpy_loan_drop(loan);
    }
    return done;
}

/* Stores rows that may come in frames: the first ones name the columns, and later ones must name
 * them alike. */
static int store_named(Memory *self, PyObject *patterns, PyObject *values, PyObject *prior,
                       PyObject *mask, bool copy) {
    PyObject *names = NULL, *value_names = NULL;
    bool first = !self->handle;
    int done = -1;
    if (uhnpy_check_names(patterns, "patterns", self->feature_names, &names) == 0 &&
        uhnpy_check_names(values, "values", self->value_names, &value_names) == 0) {
        done = store(self, patterns, values, prior, mask, copy, false);
    }
    if (done == 0 && first) {
        Py_XSETREF(self->feature_names, Py_XNewRef(names));
        Py_XSETREF(self->value_names, Py_XNewRef(value_names));
    }
    Py_XDECREF(names);
    Py_XDECREF(value_names);
    return done;
}

/* --------------------------------------------------------------------------- constructor -- */

static const uhnpy_signature new_signature = {"Memory",
                                              0,
                                              2,
                                              19,
                                              {UHNPY_patterns, UHNPY_values,
                                               UHNPY_EQUATION_NAMES, UHNPY_prior,
                                               UHNPY_first_row, UHNPY_copy, UHNPY_nan}};

/* What NaN stands for: *missing is true for 'missing'. */
static int take_nan(PyObject *value, bool *missing) {
    static const char *const names[] = {"raise", "missing"};
    for (int i = 0; i < 2 && PyUnicode_Check(value); i++) {
        if (PyUnicode_CompareWithASCIIString(value, names[i]) == 0) {
            *missing = i == 1;
            return 0;
        }
    }
    PyErr_Format(PyUnicode_Check(value) ? PyExc_ValueError : PyExc_TypeError,
                 "nan is %R; it must be 'raise' or 'missing'", value);
    return -1;
}

static PyObject *memory_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    const uhnpy_state *state = PyType_GetModuleState(type);
    PyObject *values[UHNPY_MAX_ARGUMENTS];
    if (uhnpy_parse_tuple(state, &new_signature, args, kwargs, values) < 0) {
        return NULL;
    }
    PyObject *const *rest = values + 2 + UHNPY_N_EQUATION;
    uhnpy_equation equation;
    size_t first_row = 0;
    bool copy = false;
    if (uhnpy_take_equation(state, values + 2, &equation) < 0 ||
        (rest[1] && uhnpy_take_size(rest[1], "first_row", 0, &first_row) < 0) ||
        (rest[2] && uhnpy_take_bool(rest[2], "copy", &copy) < 0)) {
        return NULL;
    }
    if (rest[3] && take_nan(rest[3], &equation.core.missing) < 0) {
        return NULL;
    }
    if (!uhnpy_given(values[0]) && (uhnpy_given(values[1]) || uhnpy_given(rest[0]))) {
        PyErr_Format(PyExc_ValueError, "%s was given without patterns",
                     uhnpy_given(values[1]) ? "values" : "prior");
        return NULL;
    }
    Memory *self = new_memory(type, &equation, first_row);
    if (self && uhnpy_given(values[0]) &&
        store_named(self, values[0], values[1], rest[0], NULL, copy) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static PyObject *memory_store(Memory *self, PyObject *const *args, Py_ssize_t n_args,
                              PyObject *kwnames) {
    static const uhnpy_signature signature = {
        "store", 1, 2, 5, {UHNPY_patterns, UHNPY_values, UHNPY_prior, UHNPY_mask, UHNPY_copy}};
    PyObject *values[5];
    bool copy = false;
    if (uhnpy_parse(state_of((PyObject *)self), &signature, args, n_args, kwnames, values) <
            0 ||
        (values[4] && uhnpy_take_bool(values[4], "copy", &copy) < 0) ||
        store_named(self, values[0], values[1], values[2], values[3], copy) < 0) {
        return NULL;
    }
    return Py_NewRef((PyObject *)self);
}

/* ------------------------------------------------------------------------------- editing -- */

/* Numbers of rows, one (*single) or a 1-D array of them, as a new array of int64. Those below 0 count from the end. */
static PyArrayObject *take_numbers(PyObject *object, size_t n_patterns, bool *single) {
    PyArrayObject *any =
        (PyArrayObject *)PyArray_FromAny(object, NULL, 0, 0, NPY_ARRAY_ENSUREARRAY, NULL);
    if (!any) {
        return NULL;
    }
    bool empty_list = PyArray_SIZE(any) == 0 && !PyArray_Check(object);
    if (PyArray_NDIM(any) > 1 || !(PyArray_ISINTEGER(any) || empty_list)) {
        PyObject *shape = uhnpy_shape(any);
        if (shape) {
            PyErr_Format(PyExc_TypeError,
                         "rows must be an integer or a 1-D array of integers, not %s of dtype "
                         "%S and shape %R%s",
                         Py_TYPE(object)->tp_name, (PyObject *)PyArray_DESCR(any), shape,
                         PyArray_ISBOOL(any) ? "; use np.flatnonzero(mask)" : "");
            Py_DECREF(shape);
        }
        Py_DECREF(any);
        return NULL;
    }
    bool below = PyArray_ISSIGNED(any);
    *single = PyArray_NDIM(any) == 0;
    PyArrayObject *rows =
        (PyArrayObject *)PyArray_FromArray(any, PyArray_DescrFromType(NPY_INT64),
                                           NPY_ARRAY_CARRAY | NPY_ARRAY_FORCECAST |
                                               NPY_ARRAY_ENSURECOPY);
    Py_DECREF(any);
    npy_intp n = rows ? PyArray_SIZE(rows) : 0;
    int64_t *numbers = n ? PyArray_DATA(rows) : NULL;
    for (npy_intp i = 0; i < n; i++) {
        int64_t row = numbers[i] < 0 && below ? numbers[i] + (int64_t)n_patterns : numbers[i];
        if (row < 0 || (uint64_t)row >= n_patterns) {
            PyErr_Format(PyExc_IndexError,
                         below ? "row %lld is out of range for a memory of %zu patterns"
                               : "row %llu is out of range for a memory of %zu patterns",
                         (long long)numbers[i], n_patterns);
            Py_DECREF(rows);
            return NULL;
        }
        numbers[i] = row;
    }
    return rows;
}

_Static_assert(sizeof(size_t) == sizeof(int64_t), "row numbers are handed on as they are");

static PyObject *memory_remove(Memory *self, PyObject *const *args, Py_ssize_t n_args,
                               PyObject *kwnames) {
    static const uhnpy_signature signature = {"remove", 1, 1, 1, {UHNPY_rows}};
    PyObject *given[1];
    bool single;
    if (uhnpy_parse(state_of((PyObject *)self), &signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    PyArrayObject *rows =
        take_numbers(given[0], self->handle ? uhn_memory_n_patterns(self->handle) : 0, &single);
    if (!rows) {
        return NULL;
    }
    uhn_status status = UHN_OK;
    uhn_error error = {.status = UHN_OK};
    if (PyArray_SIZE(rows)) {
        uhnpy_run run;
        uhnpy_run_begin_plain(&run);
        status = uhn_memory_remove(self->handle, PyArray_DATA(rows), (size_t)PyArray_SIZE(rows),
                                   &error);
        uhnpy_run_end(&run);
        forget_loans(self);
    }
    Py_DECREF(rows);
    return status == UHN_OK ? Py_NewRef((PyObject *)self) : uhnpy_raise(status, &error);
}

static PyObject *memory_replace(Memory *self, PyObject *const *args, Py_ssize_t n_args,
                                PyObject *kwnames) {
    static const uhnpy_signature signature = {
        "replace", 2, 3, 4, {UHNPY_rows, UHNPY_patterns, UHNPY_values, UHNPY_prior}};
    const uhnpy_state *state = state_of((PyObject *)self);
    PyObject *given[4];
    if (uhnpy_parse(state, &signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    if (!self->handle) {
        return uhnpy_fail(PyExc_ValueError, "the memory is empty: there is nothing to replace");
    }
    delivery with;
    bool single;
    if (uhnpy_check_names(given[1], "patterns", self->feature_names, NULL) < 0 ||
        uhnpy_check_names(given[2], "values", self->value_names, NULL) < 0 ||
        take_delivery(state, &self->equation, uhnpy_type(self->handle), given[1], given[2],
                      given[3], NULL, &with) < 0) {
        return NULL;
    }
    PyArrayObject *rows = NULL;
    PyObject *result = NULL;
    if (check_delivery(self->handle, &with) < 0 ||
        !(rows = take_numbers(given[0], uhn_memory_n_patterns(self->handle), &single))) {
        goto done;
    }
    if ((size_t)PyArray_SIZE(rows) != with.patterns.n_rows) {
        PyErr_Format(PyExc_ValueError, "%zu patterns were given in the place of %zd rows",
                     with.patterns.n_rows, PyArray_SIZE(rows));
        goto done;
    }
    uhn_rows core = {
        .patterns = with.patterns.data,
        .values = with.values.array ? with.values.data : NULL,
        .prior = with.prior.array ? PyArray_DATA(with.prior.array) : NULL,
        .n_rows = with.patterns.n_rows,
        .missing = self->equation.core.missing,
    };
    uhn_error error = {.status = UHN_OK};
    uhnpy_run run;
    uhnpy_run_begin(&run, &self->equation, with.patterns.type, with.patterns.n_columns);
    core.run = &run.core;
    uhn_status status = check_domain(&self->equation, &with, &run.core, &error);
    if (status == UHN_OK) {
        status = uhn_memory_replace(self->handle, PyArray_DATA(rows), &core, &error);
    }
    uhnpy_run_end(&run);
    forget_loans(self);
    result = status == UHN_OK ? Py_NewRef((PyObject *)self) : uhnpy_raise(status, &error);
done:
    Py_XDECREF(rows);
    drop_delivery(&with);
    return result;
}

static PyObject *memory_set_prior(Memory *self, PyObject *const *args, Py_ssize_t n_args,
                                  PyObject *kwnames) {
    static const uhnpy_signature signature = {"set_prior", 1, 2, 2, {UHNPY_prior, UHNPY_rows}};
    const uhnpy_state *state = state_of((PyObject *)self);
    PyObject *given[2];
    if (uhnpy_parse(state, &signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    size_t n = self->handle ? uhn_memory_n_patterns(self->handle) : 0;
    PyArrayObject *rows = NULL;
    delivery with = {.patterns = {.n_rows = n}};
    with.patterns.type = self->handle ? uhnpy_type(self->handle) : NPY_DOUBLE;
    if (uhnpy_given(given[1])) {
        rows = take_numbers(given[1], n, &with.patterns.single);
        if (!rows) {
            return NULL;
        }
        with.patterns.n_rows = (size_t)PyArray_SIZE(rows);
    }
    uhn_status status = UHN_OK;
    uhn_error error = {.status = UHN_OK};
    PyObject *result = NULL;
    if (take_prior(state, &self->equation, given[0], &with) < 0) {
        goto done;
    }
    if (self->handle) {
        uhnpy_run run;
        uhnpy_run_begin_plain(&run);
        status =
            uhn_memory_set_prior(self->handle, rows ? PyArray_DATA(rows) : NULL,
                                 with.patterns.n_rows, PyArray_DATA(with.prior.array), &error);
        uhnpy_run_end(&run);
    }
    result = status == UHN_OK ? Py_NewRef((PyObject *)self) : uhnpy_raise(status, &error);
done:
    Py_XDECREF(rows);
    drop_delivery(&with);
    return result;
}

/* ----------------------------------------------------------------------------- computing -- */

static int check_like(PyObject *like, PyObject *out) {
    if (!PyUnicode_Check(like) || PyUnicode_CompareWithASCIIString(like, "input") != 0) {
        PyErr_Format(PyUnicode_Check(like) ? PyExc_ValueError : PyExc_TypeError,
                     "like is %R; it can be 'input', to get back what the queries are, or None",
                     like);
        return -1;
    }
    if (uhnpy_given(out)) {
        PyErr_SetString(PyExc_ValueError,
                        "like and out say twice where the result goes: leave one out");
        return -1;
    }
    return 0;
}

/* The answer as what the query was: uhn._arrays.like. */
static PyObject *hand_back(PyObject *answer, PyObject *queries, PyObject *names) {
    PyObject *module = PyImport_ImportModule("uhn._arrays");
    PyObject *result = module ? PyObject_CallMethod(module, "like", "OOO", answer, queries,
                                                    names ? names : Py_None)
                              : NULL;
    Py_XDECREF(module);
    return result;
}

static PyObject *memory_retrieve(Memory *self, PyObject *const *args, Py_ssize_t n_args,
                                 PyObject *kwnames) {
    static const uhnpy_signature signature = {"retrieve",
                                              1,
                                              2,
                                              7,
                                              {UHNPY_queries, UHNPY_n_steps, UHNPY_mask,
                                               UHNPY_clamp, UHNPY_tol, UHNPY_out, UHNPY_like}};
    PyObject *values[7];
    if (uhnpy_parse(state_of((PyObject *)self), &signature, args, n_args, kwnames, values) <
        0) {
        return NULL;
    }
    bool as_given = uhnpy_given(values[6]);
    if (as_given && check_like(values[6], values[5]) < 0) {
        return NULL;
    }
    uhnpy_target target = target_of(self);
    PyObject *answer = uhnpy_retrieve(&target, values[0], values[1], values[2], values[3],
                                      values[4], values[5]);
    if (answer && as_given) {
        /* The frame's own names fit where the patterns are the values. */
        bool alone = uhn_memory_is_autoassociative(self->handle);
        PyObject *names = alone ? self->feature_names : self->value_names;
        Py_SETREF(answer, hand_back(answer, values[0], names));
    }
    return answer;
}

/* A stream is Python: uhn._stream. */
static PyObject *memory_retrieve_batches(PyObject *self, PyObject *args, PyObject *kwargs) {
    PyObject *module = PyImport_ImportModule("uhn._stream");
    PyObject *function = module ? PyObject_GetAttrString(module, "retrieve_batches") : NULL;
    PyObject *own = function ? PyTuple_Pack(1, self) : NULL;
    PyObject *all = own ? PySequence_Concat(own, args) : NULL;
    PyObject *result = all ? PyObject_Call(function, all, kwargs) : NULL;
    Py_XDECREF(module);
    Py_XDECREF(function);
    Py_XDECREF(own);
    Py_XDECREF(all);
    return result;
}

static PyObject *memory_copy(Memory *self, PyObject *unused);

static PyObject *memory_recall(Memory *self, PyObject *const *args, Py_ssize_t n_args,
                               PyObject *kwnames) {
    static const uhnpy_signature signature = {"recall",
                                              1,
                                              2,
                                              6,
                                              {UHNPY_queries, UHNPY_n_steps, UHNPY_mask,
                                               UHNPY_clamp, UHNPY_tol, UHNPY_trace}};
    uhnpy_state *state = state_of((PyObject *)self);
    PyObject *values[6];
    if (uhnpy_parse(state, &signature, args, n_args, kwnames, values) < 0) {
        return NULL;
    }
    /* The result speaks of the rows as they are now: it keeps a copy, which shares them. */
    Memory *still = (Memory *)memory_copy(self, NULL);
    if (!still) {
        return NULL;
    }
    uhnpy_target target = target_of(still);
    PyObject *result = uhnpy_recall(state, &target, (PyObject *)still, values[0], values[1],
                                    values[2], values[3], values[4], values[5]);
    Py_DECREF((PyObject *)still);
    return result;
}

static PyObject *memory_energy(Memory *self, PyObject *const *args, Py_ssize_t n_args,
                               PyObject *kwnames) {
    static const uhnpy_signature signature = {"energy", 1, 1, 1, {UHNPY_states}};
    PyObject *values[1];
    if (uhnpy_parse(state_of((PyObject *)self), &signature, args, n_args, kwnames, values) <
        0) {
        return NULL;
    }
    uhnpy_target target = target_of(self);
    return uhnpy_energy(&target, values[0]);
}

static PyObject *memory_gradient(Memory *self, PyObject *const *args, Py_ssize_t n_args,
                                 PyObject *kwnames) {
    static const uhnpy_signature signature = {"gradient", 1, 1, 2, {UHNPY_states, UHNPY_out}};
    PyObject *values[2];
    if (uhnpy_parse(state_of((PyObject *)self), &signature, args, n_args, kwnames, values) <
        0) {
        return NULL;
    }
    uhnpy_target target = target_of(self);
    return uhnpy_gradient(&target, values[0], values[1]);
}

static PyObject *memory_lyapunov(Memory *self, PyObject *const *args, Py_ssize_t n_args,
                                 PyObject *kwnames) {
    static const uhnpy_signature signature = {"lyapunov", 0, 1, 1, {UHNPY_mode}};
    PyObject *values[1];
    if (uhnpy_parse(state_of((PyObject *)self), &signature, args, n_args, kwnames, values) <
        0) {
        return NULL;
    }
    uhnpy_target target = target_of(self);
    return uhnpy_lyapunov(&target, values[0]);
}

static PyObject *scores_or_weights(Memory *self, const uhnpy_signature *signature,
                                   PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames,
                                   bool weights) {
    PyObject *values[3];
    if (uhnpy_parse(state_of((PyObject *)self), signature, args, n_args, kwnames, values) < 0) {
        return NULL;
    }
    uhnpy_target target = target_of(self);
    return uhnpy_scores(&target, values[0], values[1], values[2], weights);
}

static PyObject *memory_scores(Memory *self, PyObject *const *args, Py_ssize_t n_args,
                               PyObject *kwnames) {
    static const uhnpy_signature signature = {
        "scores", 1, 1, 3, {UHNPY_queries, UHNPY_mask, UHNPY_out}};
    return scores_or_weights(self, &signature, args, n_args, kwnames, false);
}

static PyObject *memory_weights(Memory *self, PyObject *const *args, Py_ssize_t n_args,
                                PyObject *kwnames) {
    static const uhnpy_signature signature = {
        "weights", 1, 1, 3, {UHNPY_queries, UHNPY_mask, UHNPY_out}};
    return scores_or_weights(self, &signature, args, n_args, kwnames, true);
}

static PyObject *memory_nearest(Memory *self, PyObject *const *args, Py_ssize_t n_args,
                                PyObject *kwnames) {
    static const uhnpy_signature signature = {
        "nearest", 1, 2, 3, {UHNPY_queries, UHNPY_k, UHNPY_mask}};
    PyObject *values[3];
    if (uhnpy_parse(state_of((PyObject *)self), &signature, args, n_args, kwnames, values) <
        0) {
        return NULL;
    }
    uhnpy_target target = target_of(self);
    return uhnpy_nearest(&target, values[0], values[1], values[2]);
}

static PyObject *memory_partial(Memory *self, PyObject *const *args, Py_ssize_t n_args,
                                PyObject *kwnames) {
    static const uhnpy_signature signature = {
        "partial", 1, 3, 4, {UHNPY_queries, UHNPY_start, UHNPY_stop, UHNPY_mask}};
    uhnpy_state *state = state_of((PyObject *)self);
    PyObject *values[4];
    if (uhnpy_parse(state, &signature, args, n_args, kwnames, values) < 0) {
        return NULL;
    }
    uhnpy_target target = target_of(self);
    return uhnpy_partial(state, &target, values[0], values[1], values[2], values[3]);
}

/* ------------------------------------------------------------------------------- reading -- */

static size_t n_patterns(const Memory *self) {
    return self->handle ? uhn_memory_n_patterns(self->handle) : 0;
}

static Py_ssize_t memory_length(Memory *self) { return (Py_ssize_t)n_patterns(self); }

typedef enum { PATTERNS, VALUES, PRIOR } part;

/* The rows as they are now, for calls that read more than once while other threads edit; NULL with an
 * exception. */
static uhn_memory *hold(const Memory *self) {
    uhn_memory *still = NULL;
    uhn_status status = uhn_memory_copy(self->handle, &still);
    return status == UHN_OK ? still : uhnpy_raise(status, NULL);
}

/* A new array with rows [start, start + n) of one part. */
static PyObject *read_rows(const uhn_memory *handle, part which, size_t start, size_t n) {
    size_t width =
        which == VALUES ? uhn_memory_n_values(handle) : uhn_memory_n_features(handle);
    npy_intp dims[2] = {(npy_intp)n, (npy_intp)width};
    PyObject *array = PyArray_SimpleNew(which == PRIOR ? 1 : 2, dims, uhnpy_type(handle));
    if (!array || n == 0) {
        return array;
    }
    void *data = PyArray_DATA((PyArrayObject *)array);
    uhn_status status;
    Py_BEGIN_ALLOW_THREADS status =
        uhn_memory_read(handle, start, n, which == PATTERNS ? data : NULL,
                        which == VALUES ? data : NULL, which == PRIOR ? data : NULL);
    Py_END_ALLOW_THREADS if (status != UHN_OK) {
        Py_DECREF(array);
        return uhnpy_raise(status, NULL);
    }
    return array;
}

/* All rows of one part. */
static PyObject *read_part(const Memory *self, part which) {
    uhn_memory *still = hold(self);
    PyObject *array = still ? read_rows(still, which, 0, uhn_memory_n_patterns(still)) : NULL;
    uhn_memory_free(still);
    return array;
}

static void drop_held(PyObject *capsule) {
    uhn_memory_free(PyCapsule_GetPointer(capsule, "uhn.rows"));
}

/* The patterns: a read-only view of them if they lie together, else a copy. *viewed says which. A view
 * keeps the rows it shows, whatever is stored into or taken out of the memory. */
static PyObject *patterns_array(Memory *self, bool *viewed) {
    *viewed = false;
    if (!self->handle) {
        npy_intp none[2] = {0, 0};
        return PyArray_SimpleNew(2, none, NPY_DOUBLE);
    }
    uhn_memory *still = hold(self);
    if (!still) {
        return NULL;
    }
    size_t n = uhn_memory_n_patterns(still);
    const void *data = n ? uhn_memory_view(still, 0, n) : NULL;
    if (!data) {
        PyObject *array = read_rows(still, PATTERNS, 0, n);
        uhn_memory_free(still);
        return array;
    }
    PyObject *capsule = PyCapsule_New(still, "uhn.rows", drop_held);
    if (!capsule) {
        uhn_memory_free(still);
        return NULL;
    }
    npy_intp dims[2] = {(npy_intp)n, (npy_intp)uhn_memory_n_features(still)};
    PyObject *array = PyArray_New(&PyArray_Type, 2, dims, uhnpy_type(still), NULL, (void *)data,
                                  0, NPY_ARRAY_CARRAY_RO, NULL);
    if (!array) {
        Py_DECREF(capsule);
    } else if (PyArray_SetBaseObject((PyArrayObject *)array, capsule) < 0) {
        Py_CLEAR(array);
    }
    *viewed = array != NULL;
    return array;
}

static PyObject *memory_array(Memory *self, PyObject *const *args, Py_ssize_t n_args,
                              PyObject *kwnames) {
    static const uhnpy_signature signature = {"__array__", 0, 2, 2, {UHNPY_dtype, UHNPY_copy}};
    PyObject *values[2];
    if (uhnpy_parse(state_of((PyObject *)self), &signature, args, n_args, kwnames, values) <
        0) {
        return NULL;
    }
    PyArray_Descr *dtype = NULL;
    if (uhnpy_given(values[0]) && !PyArray_DescrConverter(values[0], &dtype)) {
        return NULL;
    }
    bool copy = false, viewed;
    PyObject *array = NULL;
    if (uhnpy_given(values[1]) && uhnpy_take_bool(values[1], "copy", &copy) < 0) {
        Py_XDECREF(dtype);
        return NULL;
    }
    array = patterns_array(self, &viewed);
    bool casts =
        array && dtype && !PyArray_EquivTypes(dtype, PyArray_DESCR((PyArrayObject *)array));
    if (array && values[1] == Py_False && (!viewed || casts)) {
        Py_CLEAR(array);
        PyErr_SetString(
            PyExc_ValueError,
            "copy=False: the patterns are in several pieces, or another dtype was asked "
            "for; use copy=None");
    }
    if (array && casts) {
        Py_INCREF(dtype);
        Py_SETREF(array, PyArray_FromArray((PyArrayObject *)array, dtype,
                                           NPY_ARRAY_CARRAY | NPY_ARRAY_FORCECAST));
    } else if (array && copy && viewed) {
        Py_SETREF(array, PyArray_NewCopy((PyArrayObject *)array, NPY_CORDER));
    }
    Py_XDECREF(dtype);
    return array;
}

/* The patterns as they lie, NULL with a BufferError where they are in several pieces. */
static PyObject *patterns_view(Memory *self) {
    bool viewed;
    PyObject *array = patterns_array(self, &viewed);
    if (array && !viewed && n_patterns(self)) {
        Py_CLEAR(array);
        PyErr_SetString(PyExc_BufferError, "the patterns lie in several pieces; pass "
                                           "np.asarray(memory), which puts them together");
    }
    return array;
}

static int memory_getbuffer(PyObject *self, Py_buffer *view, int flags) {
    PyObject *array = patterns_view((Memory *)self);
    view->obj = NULL;
    int done = array ? PyObject_GetBuffer(array, view, flags) : -1;
    Py_XDECREF(array);
    return done;
}

static PyObject *memory_dlpack(PyObject *self, PyObject *args, PyObject *kwargs) {
    PyObject *array = patterns_view((Memory *)self);
    PyObject *method = array ? PyObject_GetAttrString(array, "__dlpack__") : NULL;
    PyObject *capsule = method ? PyObject_Call(method, args, kwargs) : NULL;
    Py_XDECREF(array);
    Py_XDECREF(method);
    return capsule;
}

static PyObject *memory_dlpack_device(PyObject *self, PyObject *unused) {
    (void)self;
    (void)unused;
    return Py_BuildValue("(ii)", 1, 0);
}

/* One pattern, 1-D. */
static PyObject *read_row(Memory *self, Py_ssize_t i) {
    Py_ssize_t n = memory_length(self);
    if (i < 0 || i >= n) {
        PyErr_Format(PyExc_IndexError, "index %zd is out of range for a memory of %zd patterns",
                     i, n);
        return NULL;
    }
    npy_intp dims[1] = {(npy_intp)uhn_memory_n_features(self->handle)};
    PyObject *array = PyArray_SimpleNew(1, dims, uhnpy_type(self->handle));
    if (array && uhn_memory_read(self->handle, (size_t)i, 1,
                                 PyArray_DATA((PyArrayObject *)array), NULL, NULL) != UHN_OK) {
        Py_CLEAR(array); /* it was removed a moment ago */
        PyErr_Format(PyExc_IndexError, "index %zd is out of range: patterns were removed", i);
    }
    return array;
}

static PyObject *read_slice(Memory *self, PyObject *slice) {
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(slice, &start, &stop, &step) < 0) {
        return NULL;
    }
    if (!self->handle) {
        bool viewed;
        return patterns_array(self, &viewed);
    }
    uhn_memory *still = hold(self);
    if (!still) {
        return NULL;
    }
    Py_ssize_t n =
        PySlice_AdjustIndices((Py_ssize_t)uhn_memory_n_patterns(still), &start, &stop, step);
    PyArrayObject *array;
    if (step == 1 || n == 0) {
        array = (PyArrayObject *)read_rows(still, PATTERNS, n ? (size_t)start : 0, (size_t)n);
    } else {
        npy_intp dims[2] = {n, (npy_intp)uhn_memory_n_features(still)};
        array = (PyArrayObject *)PyArray_SimpleNew(2, dims, uhnpy_type(still));
        for (Py_ssize_t i = 0; array && i < n; i++) {
            uhn_memory_read(still, (size_t)(start + i * step), 1, PyArray_GETPTR2(array, i, 0),
                            NULL, NULL);
        }
    }
    uhn_memory_free(still);
    return (PyObject *)array;
}

/* Rows by an array of integers. */
static PyObject *read_chosen(Memory *self, PyObject *key) {
    if (PyTuple_Check(key)) {
        PyErr_SetString(
            PyExc_TypeError,
            "a memory is indexed by one thing, an integer, a slice, or a 1-D array of "
            "integers; for components use np.asarray(memory)[...]");
        return NULL;
    }
    PyArrayObject *any =
        (PyArrayObject *)PyArray_FromAny(key, NULL, 0, 0, NPY_ARRAY_ENSUREARRAY, NULL);
    if (!any) {
        return NULL;
    }
    bool empty_list = PyArray_SIZE(any) == 0 && !PyArray_Check(key);
    if (PyArray_NDIM(any) != 1 || !(PyArray_ISINTEGER(any) || empty_list)) {
        PyObject *shape = uhnpy_shape(any);
        if (shape) {
            PyErr_Format(
                PyExc_TypeError,
                "a memory is indexed by an integer, a slice, or a 1-D array of integers, "
                "not by %s of dtype %S and shape %R%s",
                Py_TYPE(key)->tp_name, (PyObject *)PyArray_DESCR(any), shape,
                PyArray_ISBOOL(any) ? "; use np.flatnonzero(mask)" : "");
            Py_DECREF(shape);
        }
        Py_DECREF(any);
        return NULL;
    }
    PyArrayObject *rows =
        (PyArrayObject *)PyArray_FromArray(any, PyArray_DescrFromType(NPY_INT64),
                                           NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST);
    Py_DECREF(any);
    if (!rows) {
        return NULL;
    }
    uhn_memory *still = self->handle ? hold(self) : NULL;
    if (self->handle && !still) {
        Py_DECREF(rows);
        return NULL;
    }
    Py_ssize_t n = PyArray_DIM(rows, 0);
    Py_ssize_t length = still ? (Py_ssize_t)uhn_memory_n_patterns(still) : 0;
    npy_intp dims[2] = {n, self->handle ? (npy_intp)uhn_memory_n_features(self->handle) : 0};
    int type = self->handle ? uhnpy_type(self->handle) : NPY_DOUBLE;
    PyArrayObject *array = (PyArrayObject *)PyArray_SimpleNew(2, dims, type);
    for (Py_ssize_t i = 0; array && i < n; i++) {
        int64_t given = ((const int64_t *)PyArray_DATA(rows))[i];
        int64_t row = given < 0 ? given + length : given;
        if (row < 0 || row >= length) {
            PyErr_Format(PyExc_IndexError,
                         "index %lld is out of range for a memory of %zd patterns",
                         (long long)given, length);
            Py_CLEAR(array);
        } else {
            uhn_memory_read(still, (size_t)row, 1, PyArray_GETPTR2(array, i, 0), NULL, NULL);
        }
    }
    uhn_memory_free(still);
    Py_DECREF(rows);
    return (PyObject *)array;
}

static PyObject *memory_subscript(Memory *self, PyObject *key) {
    if (PySlice_Check(key)) {
        return read_slice(self, key);
    }
    bool whole = PyIndex_Check(key) && !PyBool_Check(key) &&
                 !(PyArray_Check(key) && PyArray_NDIM((PyArrayObject *)key) > 0);
    if (!whole || PyArray_IsScalar(key, Bool)) {
        return read_chosen(self, key);
    }
    Py_ssize_t i = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (i == -1 && PyErr_Occurred()) {
        return NULL;
    }
    Py_ssize_t length = memory_length(self);
    if (i < -length || i >= length) {
        return uhnpy_fail(PyExc_IndexError,
                          "index %zd is out of range for a memory of %zd patterns", i, length);
    }
    return read_row(self, i < 0 ? i + length : i);
}

/* ----------------------------------------------------------------------------- what it is made
 * of -- */

static PyObject *get_similarity(Memory *self, void *closure) {
    (void)closure;
    const uhnpy_equation *e = &self->equation;
    if (e->core.similarity == UHN_SIM_custom) {
        return Py_NewRef(e->score ? e->score : Py_None);
    }
    return Py_NewRef(state_of((PyObject *)self)->similarity_names[e->core.similarity]);
}

static PyObject *get_nan(Memory *self, void *closure) {
    (void)closure;
    return PyUnicode_FromString(self->equation.core.missing ? "missing" : "raise");
}

static PyObject *get_separation(Memory *self, void *closure) {
    (void)closure;
    const uhnpy_equation *e = &self->equation;
    if (e->core.separation == UHN_SEP_custom) {
        return Py_NewRef(e->weigh ? e->weigh : Py_None);
    }
    return Py_NewRef(state_of((PyObject *)self)->separation_names[e->core.separation]);
}

static const uhn_row_info *similarity_info(const Memory *self) {
    return self->equation.score ? NULL : uhn_similarity_info(self->equation.core.similarity);
}

static PyObject *get_transform(Memory *self, void *closure) {
    (void)closure;
    const uhn_row_info *info = similarity_info(self);
    if (!info || !info->is_distance) {
        Py_RETURN_NONE;
    }
    return Py_NewRef(
        state_of((PyObject *)self)->transform_names[self->equation.core.transform]);
}

static PyObject *get_normalize(Memory *self, void *closure) {
    (void)closure;
    return Py_NewRef(
        state_of((PyObject *)self)->normalize_names[self->equation.core.normalize]);
}

static PyObject *get_normalize_scores(Memory *self, void *closure) {
    (void)closure;
    return PyBool_FromLong(self->equation.core.normalize_scores);
}

static int set_number(PyObject *dict, PyObject *name, double number) {
    PyObject *value = PyFloat_FromDouble(number);
    int done = value ? PyDict_SetItem(dict, name, value) : -1;
    Py_XDECREF(value);
    return done;
}

/* The parameters that the two rows read, by name. */
static PyObject *get_parameters(Memory *self, void *closure) {
    (void)closure;
    const uhnpy_state *state = state_of((PyObject *)self);
    const uhn_equation *e = &self->equation.core;
    const uhn_row_info *similarity = similarity_info(self);
    const uhn_row_info *separation =
        self->equation.weigh ? NULL : uhn_separation_info(e->separation);
    const char *reads = separation ? separation->parameters : "";
    PyObject *dict = PyDict_New();
    if (!dict) {
        return NULL;
    }
    bool eps = similarity &&
               (e->transform == UHN_INVERSE || uhnpy_reads(similarity->parameters, "eps"));
    bool gamma = similarity && e->transform == UHN_RBF;
    int done = 0;
    if (eps) {
        done |= set_number(dict, state->names[UHNPY_eps], e->eps);
    }
    if (gamma) {
        done |= set_number(dict, state->names[UHNPY_gamma], e->gamma);
    }
    if (uhnpy_reads(reads, "beta")) {
        done |= set_number(dict, state->names[UHNPY_beta], e->beta);
    }
    if (uhnpy_reads(reads, "degree")) {
        done |= set_number(dict, state->names[UHNPY_degree], e->degree);
    }
    if (uhnpy_reads(reads, "k")) {
        PyObject *k = PyLong_FromSize_t(e->k);
        done |= k ? PyDict_SetItem(dict, state->names[UHNPY_k], k) : -1;
        Py_XDECREF(k);
    }
    if (uhnpy_reads(reads, "alpha")) {
        done |= set_number(dict, state->names[UHNPY_alpha], e->alpha);
    }
    if (uhnpy_reads(reads, "theta")) {
        done |= set_number(dict, state->names[UHNPY_theta], e->theta);
    }
    if (done < 0) {
        Py_CLEAR(dict);
    }
    return dict;
}

static PyObject *get_n_patterns(Memory *self, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(n_patterns(self));
}

static PyObject *get_n_features(Memory *self, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(self->handle ? uhn_memory_n_features(self->handle) : 0);
}

static PyObject *get_n_values(Memory *self, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(self->handle ? uhn_memory_n_values(self->handle) : 0);
}

static PyObject *get_feature_names(Memory *self, void *closure) {
    (void)closure;
    return Py_NewRef(self->feature_names ? self->feature_names : Py_None);
}

static PyObject *get_value_names(Memory *self, void *closure) {
    (void)closure;
    bool alone = !self->handle || uhn_memory_is_autoassociative(self->handle);
    PyObject *names = alone ? self->feature_names : self->value_names;
    return Py_NewRef(names ? names : Py_None);
}

static PyObject *get_first_row(Memory *self, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(self->first_row);
}

static PyObject *get_nbytes(Memory *self, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(self->handle ? uhn_memory_bytes(self->handle, NULL) : 0);
}

static PyObject *get_dtype(Memory *self, void *closure) {
    (void)closure;
    if (!self->handle) {
        Py_RETURN_NONE;
    }
    return (PyObject *)PyArray_DescrFromType(uhnpy_type(self->handle));
}

static PyObject *get_is_autoassociative(Memory *self, void *closure) {
    (void)closure;
    return PyBool_FromLong(!self->handle || uhn_memory_is_autoassociative(self->handle));
}

static PyObject *get_values(Memory *self, void *closure) {
    (void)closure;
    if (!self->handle || uhn_memory_is_autoassociative(self->handle)) {
        bool viewed;
        return patterns_array(self, &viewed);
    }
    return read_part(self, VALUES);
}

static PyObject *get_prior(Memory *self, void *closure) {
    (void)closure;
    if (!self->handle || !uhn_memory_has_prior(self->handle)) {
        Py_RETURN_NONE;
    }
    return read_part(self, PRIOR);
}

static PyObject *memory_sizeof(Memory *self, PyObject *unused) {
    (void)unused;
    size_t owned = self->handle ? uhn_memory_held(self->handle) : 0;
    return PyLong_FromSize_t((size_t)Py_TYPE(self)->tp_basicsize +
                             self->n_loans * sizeof *self->loans + owned);
}

/* The keywords that make such an equation again. */
static PyObject *equation_keywords(Memory *self) {
    const uhnpy_state *state = state_of((PyObject *)self);
    PyObject *dict = get_parameters(self, NULL);
    const uhn_row_info *info = similarity_info(self);
    struct {
        uhnpy_name name;
        PyObject *(*get)(Memory *, void *);
    } fields[] = {
        {UHNPY_similarity, get_similarity},
        {UHNPY_separation, get_separation},
        {UHNPY_transform, info && info->is_distance ? get_transform : NULL},
        {UHNPY_normalize, get_normalize},
        {UHNPY_normalize_scores, get_normalize_scores},
        {UHNPY_first_row, get_first_row},
        {UHNPY_nan, self->equation.core.missing ? get_nan : NULL},
    };
    for (size_t i = 0; dict && i < sizeof fields / sizeof fields[0]; i++) {
        if (!fields[i].get) {
            continue;
        }
        PyObject *value = fields[i].get(self, NULL);
        if (!value || PyDict_SetItem(dict, state->names[fields[i].name], value) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(value);
    }
    return dict;
}

static int append_text(PyObject **text, PyObject *more) {
    if (*text && more) {
        PyUnicode_AppendAndDel(text, more);
    } else {
        Py_XDECREF(more);
        Py_CLEAR(*text);
    }
    return *text ? 0 : -1;
}

static PyObject *memory_repr(Memory *self) {
    PyObject *similarity = get_similarity(self, NULL), *separation = get_separation(self, NULL);
    PyObject *parameters = get_parameters(self, NULL);
    PyObject *text = NULL, *name, *value;
    if (!parameters) {
        goto done;
    }
    if (!self->handle) {
        text = PyUnicode_FromString("Memory(empty");
    } else {
        const char *dtype = uhnpy_type(self->handle) == NPY_FLOAT ? "float32" : "float64";
        text = PyUnicode_FromFormat("Memory(%zu x %zu", n_patterns(self),
                                    uhn_memory_n_features(self->handle));
        if (!uhn_memory_is_autoassociative(self->handle)) {
            append_text(&text,
                        PyUnicode_FromFormat(" -> %zu", uhn_memory_n_values(self->handle)));
        }
        append_text(&text, PyUnicode_FromFormat(" %s", dtype));
    }
    append_text(&text,
                PyUnicode_FromFormat(", similarity=%R, separation=%R", similarity, separation));
    const uhn_equation *e = &self->equation.core;
    const uhnpy_state *state = state_of((PyObject *)self);
    if (e->transform != UHN_NEGATIVE) {
        append_text(&text, PyUnicode_FromFormat(", transform=%R",
                                                state->transform_names[e->transform]));
    }
    Py_ssize_t at = 0;
    while (PyDict_Next(parameters, &at, &name, &value)) {
        append_text(&text, PyUnicode_FromFormat(", %U=%R", name, value));
    }
    if (e->normalize != UHN_NORMALIZE_NONE) {
        append_text(&text, PyUnicode_FromFormat(", normalize=%R",
                                                state->normalize_names[e->normalize]));
    }
    if (e->normalize_scores) {
        append_text(&text, PyUnicode_FromString(", normalize_scores=True"));
    }
    if (self->first_row) {
        append_text(&text, PyUnicode_FromFormat(", first_row=%zu", self->first_row));
    }
    if (self->handle) {
        append_text(&text, PyUnicode_FromString(", "));
        append_text(&text, uhnpy_repr_bytes(uhn_memory_bytes(self->handle, NULL)));
    }
    append_text(&text, PyUnicode_FromString(")"));
done:
    Py_XDECREF(similarity);
    Py_XDECREF(separation);
    Py_XDECREF(parameters);
    return text;
}

/* ------------------------------------------------------------------------------ copies,
 * pickles -- */

static PyObject *memory_copy(Memory *self, PyObject *unused) {
    (void)unused;
    Memory *other = new_memory(Py_TYPE(self), &self->equation, self->first_row);
    if (!other) {
        return NULL;
    }
    if (self->handle) {
        uhn_status status = uhn_memory_copy(self->handle, &other->handle);
        if (status != UHN_OK) {
            Py_DECREF(other);
            return uhnpy_raise(status, NULL);
        }
    }
    forget_loans(self);
    if (self->n_loans) {
        other->loans = PyMem_Malloc(self->n_loans * sizeof *other->loans);
        if (!other->loans) {
            Py_DECREF(other);
            return PyErr_NoMemory();
        }
        for (size_t i = 0; i < self->n_loans; i++) {
            other->loans[i] = self->loans[i];
            other->loans[i]->references++;
        }
        other->n_loans = self->n_loans;
    }
    other->feature_names = Py_XNewRef(self->feature_names);
    other->value_names = Py_XNewRef(self->value_names);
    return (PyObject *)other;
}

/* What a pickle or a deep copy needs: patterns, values or None, prior or None, keywords. With
 * `copies` no array shares its numbers with this memory. */
static PyObject *take_apart(Memory *self, bool copies) {
    PyObject *parts[4] = {Py_NewRef(Py_None), Py_NewRef(Py_None), NULL, NULL};
    PyObject *tuple = NULL;
    /* A copy holds the rows still while the parts are read one after another. */
    Memory *still = (Memory *)memory_copy(self, NULL);
    if (!still) {
        goto done;
    }
    if (still->handle) {
        bool viewed;
        Py_SETREF(parts[0],
                  copies ? read_part(still, PATTERNS) : patterns_array(still, &viewed));
        if (!uhn_memory_is_autoassociative(still->handle)) {
            Py_SETREF(parts[1], read_part(still, VALUES));
        }
    }
    parts[2] = get_prior(still, NULL);
    parts[3] = equation_keywords(still);
    if (parts[0] && parts[1] && parts[2] && parts[3]) {
        tuple = PyTuple_Pack(4, parts[0], parts[1], parts[2], parts[3]);
    }
done:
    for (int i = 0; i < 4; i++) {
        Py_XDECREF(parts[i]);
    }
    Py_XDECREF((PyObject *)still);
    return tuple;
}

PyObject *uhnpy_rebuild_memory(PyObject *module, PyObject *args) {
    uhnpy_state *state = PyModule_GetState(module);
    PyObject *patterns, *values, *prior, *keywords;
    if (!PyArg_ParseTuple(args, "OOOO!:_rebuild_memory", &patterns, &values, &prior,
                          &PyDict_Type, &keywords)) {
        return NULL;
    }
    PyObject *all = PyDict_Copy(keywords);
    PyObject *rows = PyTuple_Pack(2, patterns, values), *result = NULL;
    if (all && rows && PyDict_SetItem(all, state->names[UHNPY_prior], prior) == 0) {
        result = PyObject_Call((PyObject *)state->memory_type, rows, all);
    }
    Py_XDECREF(all);
    Py_XDECREF(rows);
    return result;
}

/* ------------------------------------------------------------------------------------ files -- */

/* Rows [start, start + n) of "patterns", "values" or "prior", for uhn.io, which writes a part
 * piece by piece. */
PyObject *uhnpy_memory_read(PyObject *module, PyObject *args) {
    const uhnpy_state *state = PyModule_GetState(module);
    static const char *const names[] = {"patterns", "values", "prior"};
    PyObject *memory;
    const char *name;
    Py_ssize_t start, n;
    if (!PyArg_ParseTuple(args, "O!snn:_memory_read", state->memory_type, &memory, &name,
                          &start, &n)) {
        return NULL;
    }
    const Memory *self = (const Memory *)memory;
    for (int which = PATTERNS; which <= PRIOR; which++) {
        if (self->handle && strcmp(name, names[which]) == 0 && start >= 0 && n >= 0) {
            return read_rows(self->handle, (part)which, (size_t)start, (size_t)n);
        }
    }
    return uhnpy_fail(PyExc_ValueError, "there are no rows [%zd, %zd) of %s", start, start + n,
                      name);
}

/* A memory whose rows are looked at when they are first asked: so that a file opens at once. */
PyObject *uhnpy_memory_map(PyObject *module, PyObject *args) {
    const uhnpy_state *state = PyModule_GetState(module);
    PyObject *patterns, *values, *prior, *keywords;
    if (!PyArg_ParseTuple(args, "OOOO!:_memory_map", &patterns, &values, &prior, &PyDict_Type,
                          &keywords)) {
        return NULL;
    }
    PyObject *none = PyTuple_New(0);
    PyObject *memory =
        none ? PyObject_Call((PyObject *)state->memory_type, none, keywords) : NULL;
    Py_XDECREF(none);
    if (memory && store((Memory *)memory, patterns, values, prior, NULL, false, true) < 0) {
        Py_CLEAR(memory);
    }
    return memory;
}

/* What uhn.dask asks of a shard: uhnpy_partial_for. */
PyObject *uhnpy_memory_partial_for(PyObject *module, PyObject *args) {
    uhnpy_state *state = PyModule_GetState(module);
    PyObject *memory, *queries, *score_sums;
    const char *purpose;
    Py_ssize_t k;
    int n_threads;
    if (!PyArg_ParseTuple(args, "O!sOnOi:_partial_for", state->memory_type, &memory, &purpose,
                          &queries, &k, &score_sums, &n_threads)) {
        return NULL;
    }
    uhnpy_target target = target_of((Memory *)memory);
    return uhnpy_partial_for(state, &target, purpose, queries, k < 1 ? 1 : (size_t)k,
                             score_sums, n_threads);
}

/* The file is written in Python: uhn.io. */
static PyObject *memory_save(PyObject *self, PyObject *path) {
    PyObject *io = PyImport_ImportModule("uhn.io");
    PyObject *result = io ? PyObject_CallMethod(io, "save", "OO", self, path) : NULL;
    Py_XDECREF(io);
    return result;
}

static PyObject *memory_deepcopy(Memory *self, PyObject *memo) {
    (void)memo;
    const uhnpy_state *state = state_of((PyObject *)self);
    PyObject *parts = take_apart(self, true);
    PyObject *result = parts ? PyObject_CallObject(state->rebuild_memory, parts) : NULL;
    Py_XDECREF(parts);
    if (result) {
        ((Memory *)result)->feature_names = Py_XNewRef(self->feature_names);
        ((Memory *)result)->value_names = Py_XNewRef(self->value_names);
    }
    return result;
}

/* The names are all of a pickle that the constructor does not take. */
static PyObject *memory_setstate(Memory *self, PyObject *names) {
    PyObject *given[2];
    if (!PyArg_ParseTuple(names, "OO:__setstate__", &given[0], &given[1])) {
        return NULL;
    }
    PyObject **fields[2] = {&self->feature_names, &self->value_names};
    for (int i = 0; i < 2; i++) {
        if (given[i] != Py_None && !PyTuple_Check(given[i])) {
            return uhnpy_fail(PyExc_TypeError, "names must be tuples of str or None");
        }
        Py_XSETREF(*fields[i], given[i] == Py_None ? NULL : Py_NewRef(given[i]));
    }
    Py_RETURN_NONE;
}

static PyObject *memory_reduce(Memory *self, PyObject *unused) {
    (void)unused;
    const uhnpy_state *state = state_of((PyObject *)self);
    PyObject *parts = take_apart(self, false);
    if (!parts || !(self->feature_names || self->value_names)) {
        PyObject *plain = parts ? PyTuple_Pack(2, state->rebuild_memory, parts) : NULL;
        Py_XDECREF(parts);
        return plain;
    }
    return Py_BuildValue("(ON(OO))", state->rebuild_memory, parts,
                         self->feature_names ? self->feature_names : Py_None,
                         self->value_names ? self->value_names : Py_None);
}

/* -------------------------------------------------------------------------------------- the
 * type -- */

static PyMethodDef memory_methods[] = {
#define METHOD(name, doc)                                                                      \
    { #name, (PyCFunction)(void (*)(void))memory_##name, METH_FASTCALL | METH_KEYWORDS, doc }
    {"retrieve_batches", (PyCFunction)(void (*)(void))memory_retrieve_batches,
     METH_VARARGS | METH_KEYWORDS, retrieve_batches_doc},
    {"__dlpack__", (PyCFunction)(void (*)(void))memory_dlpack, METH_VARARGS | METH_KEYWORDS,
     dlpack_doc},
    {"__dlpack_device__", (PyCFunction)memory_dlpack_device, METH_NOARGS,
     PyDoc_STR("__dlpack_device__($self, /)\n--\n\nThe CPU, as DLPack says it: (1, 0).")},
    {"__setstate__", (PyCFunction)memory_setstate, METH_O,
     PyDoc_STR("__setstate__($self, names, /)\n--\n\nFor pickle: the names of the columns.")},
    METHOD(store, store_doc),
    METHOD(remove, remove_doc),
    METHOD(replace, replace_doc),
    METHOD(set_prior, set_prior_doc),
    METHOD(retrieve, retrieve_doc),
    METHOD(recall, recall_doc),
    METHOD(energy, energy_doc),
    METHOD(gradient, gradient_doc),
    METHOD(lyapunov, lyapunov_doc),
    METHOD(scores, scores_doc),
    METHOD(weights, weights_doc),
    METHOD(nearest, nearest_doc),
    METHOD(partial, partial_doc),
    {"__array__", (PyCFunction)(void (*)(void))memory_array, METH_FASTCALL | METH_KEYWORDS,
     array_doc},
#undef METHOD
    {"copy", (PyCFunction)memory_copy, METH_NOARGS, copy_doc},
    {"save", (PyCFunction)memory_save, METH_O, save_doc},
    {"__copy__", (PyCFunction)memory_copy, METH_NOARGS,
     PyDoc_STR("__copy__($self, /)\n--\n\nThe same as copy().")},
    {"__deepcopy__", (PyCFunction)memory_deepcopy, METH_O, deepcopy_doc},
    {"__reduce__", (PyCFunction)memory_reduce, METH_NOARGS, reduce_doc},
    {"__sizeof__", (PyCFunction)memory_sizeof, METH_NOARGS,
     PyDoc_STR(
         "__sizeof__($self, /)\n--\n\nBytes this memory owns; borrowed arrays not counted.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef memory_getset[] = {
#define GETTER(name, doc)                                                                      \
    { #name, (getter)get_##name, NULL, PyDoc_STR(doc), NULL }
    GETTER(n_patterns, "Number of patterns stored."),
    GETTER(n_features, "Components of a pattern; 0 while nothing was stored."),
    GETTER(n_values, "Components of a value; n_features if autoassociative."),
    GETTER(
        feature_names,
        "Names of the columns of a frame that was stored, a tuple; or None. Files keep none."),
    GETTER(value_names, "The same for the values; feature_names if autoassociative."),
    GETTER(dtype, "float32 or float64; None while nothing was stored."),
    GETTER(similarity, "Name of the similarity, or the callable."),
    GETTER(separation, "Name of the separation, or the callable."),
    GETTER(transform, "How the distance becomes a score; None if it is no distance."),
    GETTER(normalize, "'none' or 'sum'."),
    GETTER(normalize_scores, "True if scores are divided by their sum first."),
    GETTER(parameters, "The parameters in force, by name."),
    GETTER(is_autoassociative, "True if the patterns are the values."),
    GETTER(values,
           "The values, (n_patterns, n_values): a copy; if autoassociative, the patterns."),
    GETTER(prior, "The prior weights, (n_patterns,): a copy; None if none were given."),
    GETTER(nan, "'raise', or 'missing' where NaN stands for a feature that is not known."),
    GETTER(first_row, "Number of the first pattern, where this memory is a shard."),
    GETTER(nbytes, "Bytes of patterns, values and priors, borrowed ones included."),
#undef GETTER
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef memory_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Memory, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot memory_slots[] = {
    {Py_tp_doc, (void *)memory_doc},
    {Py_tp_new, memory_new},
    {Py_tp_dealloc, memory_dealloc},
    {Py_tp_traverse, memory_traverse},
    {Py_tp_clear, memory_clear},
    {Py_tp_repr, memory_repr},
    {Py_tp_methods, memory_methods},
    {Py_tp_getset, memory_getset},
    {Py_tp_members, memory_members},
    {Py_tp_iter, PySeqIter_New},
    {Py_bf_getbuffer, memory_getbuffer},
    {Py_sq_item, read_row},
    {Py_mp_length, memory_length},
    {Py_mp_subscript, memory_subscript},
    {0, NULL},
};

PyType_Spec uhnpy_memory_spec = {
    .name = "uhn.Memory",
    .basicsize = sizeof(Memory),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = memory_slots,
};
