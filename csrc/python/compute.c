/*
 * compute.c - the operations on a core memory and an equation.
 *
 * Each takes its arguments, makes the arrays of the result, lets the interpreter lock go, calls
 * the core once, and hands the arrays out or turns the status into an exception.
 */
#include "compute.h"

#include "errors.h"
#include "mask.h"
#include "schedule.h"

#include <math.h>
#include <string.h>

/* The queries of a call and what is known of them. */
typedef struct question {
    uhnpy_rows rows;
    int type;
    size_t n_features;
    bool masked;
    bool clamp; /* answers keep what a query knew */
} question;

/* `shape` is what a matrix of them looks like, for messages. */
static int take_rows_of(const uhnpy_target *target, PyObject *object, const char *what,
                        const char *shape, question *out) {
    *out = (question){.clamp = true};
    if (!target->memory || uhn_memory_n_patterns(target->memory) == 0) {
        PyErr_SetString(PyExc_ValueError, "the memory is empty: store patterns first");
        return -1;
    }
    out->type = uhnpy_type(target->memory);
    out->n_features = uhn_memory_n_features(target->memory);
    if ((target->feature_names &&
         uhnpy_check_names(object, what, target->feature_names, NULL) < 0) ||
        uhnpy_take_rows(object, what, shape, out->type, &out->rows) < 0) {
        return -1;
    }
    if (uhnpy_check_width(&out->rows, what, out->n_features) < 0) {
        uhnpy_drop_rows(&out->rows);
        return -1;
    }
    return 0;
}

static int take_question(const uhnpy_target *target, PyObject *object, PyObject *mask,
                         question *out) {
    if (take_rows_of(target, object, "queries", "n_queries, n_features", out) < 0) {
        return -1;
    }
    out->masked = uhnpy_given(mask);
    if (out->masked &&
        uhnpy_mask_rows(&out->rows, mask, "queries", !target->equation->core.missing) < 0) {
        uhnpy_drop_rows(&out->rows);
        return -1;
    }
    return 0;
}

/* Begins a call of the core that reads queries. */
static void begin(uhnpy_run *run, const uhnpy_target *target, const question *asked) {
    uhnpy_run_begin(run, target->equation, asked->type, asked->n_features);
    run->equation.missing |= asked->masked;
    run->equation.clamp = asked->clamp;
}

/* The array for one row of results a query: 1-D for a 1-D query. */
static PyArrayObject *take_answer(const uhnpy_target *target, const question *asked,
                                  size_t n_columns, PyObject *out) {
    if (n_columns > (size_t)PY_SSIZE_T_MAX) {
        PyErr_NoMemory();
        return NULL;
    }
    npy_intp dims[2] = {(npy_intp)asked->rows.n_rows, (npy_intp)n_columns};
    int single = asked->rows.single;
    PyArrayObject *array = uhnpy_take_out(out, asked->type, 2 - single, dims + single);
    if (!array || !uhnpy_given(out)) {
        return array;
    }
    bool apart = uhnpy_check_apart(array, asked->rows.array, "queries") == 0;
    for (size_t i = 0; apart && i < *target->n_loans; i++) {
        const uhnpy_loan *loan = (*target->loans)[i];
        apart =
            !(loan->patterns && uhnpy_check_apart(array, loan->patterns, "the patterns") < 0) &&
            !(loan->values && uhnpy_check_apart(array, loan->values, "the values") < 0);
    }
    if (!apart) {
        Py_CLEAR(array);
    }
    return array;
}

/* An array of one number a query and `n_columns` a row, as take_answer but of any type. */
static PyArrayObject *make_column(const question *asked, int type, npy_intp n_columns) {
    npy_intp dims[2] = {(npy_intp)asked->rows.n_rows, n_columns};
    int single = asked->rows.single;
    return (PyArrayObject *)PyArray_SimpleNew(2 - single, dims + single, type);
}

static int take_tol(PyObject *tol, double *out) {
    if (!uhnpy_given(tol)) {
        *out = -1;
        return 0;
    }
    if (uhnpy_take_number(tol, "tol", out) < 0) {
        return -1;
    }
    if (!(*out >= 0 && isfinite(*out))) {
        PyErr_Format(PyExc_ValueError, "tol must be finite and >= 0, not %R", tol);
        return -1;
    }
    return 0;
}

/* A state can be asked again only if it is as wide as a query. */
static int check_iterable(const uhnpy_target *target, const char *what) {
    size_t n_features = uhn_memory_n_features(target->memory);
    size_t n_values = uhn_memory_n_values(target->memory);
    if (n_features == n_values) {
        return 0;
    }
    PyErr_Format(
        PyExc_ValueError,
        "%s needs values as wide as the patterns, because an answer is the next query; "
        "here patterns have %zu features and values %zu",
        what, n_features, n_values);
    return -1;
}

PyObject *uhnpy_retrieve(const uhnpy_target *target, PyObject *queries, PyObject *n_steps,
                         PyObject *mask, PyObject *clamp, PyObject *tol, PyObject *out) {
    size_t steps = 1;
    double tolerance;
    bool clamped = true;
    question asked;
    if ((n_steps && uhnpy_take_size(n_steps, "n_steps", 1, &steps) < 0) ||
        (clamp && uhnpy_take_bool(clamp, "clamp", &clamped) < 0) ||
        take_tol(tol, &tolerance) < 0 || take_question(target, queries, mask, &asked) < 0) {
        return NULL;
    }
    asked.clamp = clamped;
    PyArrayObject *answer = NULL;
    if (steps == 1 || check_iterable(target, "n_steps > 1") == 0) {
        answer = take_answer(target, &asked, uhn_memory_n_values(target->memory), out);
    }
    if (answer && asked.rows.n_rows) {
        uhn_error error = {.status = UHN_OK};
        uhn_status status;
        uhnpy_run run;
        begin(&run, target, &asked);
        if (steps == 1) {
            status =
                uhn_retrieve(target->memory, &run.equation, asked.rows.data, asked.rows.n_rows,
                             &run.core, PyArray_DATA(answer), NULL, &error);
        } else {
            status = uhn_recall(target->memory, &run.equation, asked.rows.data,
                                asked.rows.n_rows, steps, tolerance, &run.core,
                                PyArray_DATA(answer), NULL, NULL, NULL, NULL, &error);
        }
        uhnpy_run_end(&run);
        if (status != UHN_OK) {
            Py_CLEAR(answer);
            uhnpy_raise(status, &error);
        }
    }
    uhnpy_drop_rows(&asked.rows);
    return (PyObject *)answer;
}

/* -------------------------------------------------------------------------------- recall -- */

/* uhn.results.recall_of_memory, which makes the result: borrowed. */
static PyObject *recall_maker(uhnpy_state *state) {
    if (!state->make_recall) {
        PyObject *module = PyImport_ImportModule("uhn.results");
        if (module) {
            Py_XSETREF(state->make_recall, PyObject_GetAttrString(module, "recall_of_memory"));
            Py_DECREF(module);
        }
    }
    return state->make_recall;
}

/* What a recall fills in: a row a query whether it was given as one row or as several. */
typedef struct outcome {
    PyArrayObject *states, *asked, *steps, *reasons, *changes;
} outcome;

static void drop_outcome(outcome *o) {
    Py_XDECREF(o->states);
    Py_XDECREF(o->asked);
    Py_XDECREF(o->steps);
    Py_XDECREF(o->reasons);
    Py_XDECREF(o->changes);
}

static int make_outcome(const question *asked, size_t n_values, outcome *out) {
    npy_intp n = (npy_intp)asked->rows.n_rows;
    npy_intp wide[2] = {n, (npy_intp)n_values}, narrow[2] = {n, (npy_intp)asked->n_features};
    out->states = (PyArrayObject *)PyArray_SimpleNew(2, wide, asked->type);
    out->asked = (PyArrayObject *)PyArray_SimpleNew(2, narrow, asked->type);
    out->steps = (PyArrayObject *)PyArray_SimpleNew(1, &n, NPY_INT64);
    out->reasons = (PyArrayObject *)PyArray_SimpleNew(1, &n, NPY_UINT8);
    out->changes = (PyArrayObject *)PyArray_SimpleNew(1, &n, NPY_DOUBLE);
    return out->states && out->asked && out->steps && out->reasons && out->changes ? 0 : -1;
}

/* One step into values that are no states: nothing can be said of a change. */
static uhn_status answer_once(const uhnpy_target *target, uhnpy_run *run, const question *asked,
                              outcome *out, uhn_error *error) {
    size_t n = asked->rows.n_rows;
    uint8_t *reasons = PyArray_DATA(out->reasons);
    uhn_status status = uhn_retrieve(target->memory, &run->equation, asked->rows.data, n,
                                     &run->core, PyArray_DATA(out->states), reasons, error);
    memcpy(PyArray_DATA(out->asked), asked->rows.data, PyArray_NBYTES(out->asked));
    for (size_t i = 0; i < n; i++) {
        reasons[i] = reasons[i] ? UHN_STEP_LIMIT : UHN_NONE_ACTIVE;
        ((int64_t *)PyArray_DATA(out->steps))[i] = 1;
        ((double *)PyArray_DATA(out->changes))[i] = NAN;
    }
    return status;
}

PyObject *uhnpy_recall(uhnpy_state *state, const uhnpy_target *target, PyObject *memory,
                       PyObject *queries, PyObject *n_steps, PyObject *mask, PyObject *clamp,
                       PyObject *tol, PyObject *trace) {
    size_t limit = 100;
    double tolerance = 1e-6;
    bool traced = false, clamped = true;
    question asked;
    if ((n_steps && uhnpy_take_size(n_steps, "n_steps", 0, &limit) < 0) ||
        (clamp && uhnpy_take_bool(clamp, "clamp", &clamped) < 0) ||
        (tol && take_tol(tol, &tolerance) < 0) ||
        (trace && uhnpy_take_bool(trace, "trace", &traced) < 0) ||
        take_question(target, queries, mask, &asked) < 0) {
        return NULL;
    }
    asked.clamp = clamped;
    PyObject *result = NULL, *maker = recall_maker(state);
    outcome out = {.states = NULL};
    size_t n_values = uhn_memory_n_values(target->memory);
    bool once = n_values != asked.n_features && limit == 1;
    if (!maker || (!once && check_iterable(target, "recall with n_steps other than 1") < 0) ||
        make_outcome(&asked, n_values, &out) < 0) {
        goto done;
    }
    if (asked.rows.n_rows) {
        uhn_error error = {.status = UHN_OK};
        uhn_status status;
        uhnpy_run run;
        begin(&run, target, &asked);
        if (once) {
            status = answer_once(target, &run, &asked, &out, &error);
        } else {
            status =
                uhn_recall(target->memory, &run.equation, asked.rows.data, asked.rows.n_rows,
                           limit, tolerance, &run.core, PyArray_DATA(out.states),
                           PyArray_DATA(out.asked), PyArray_DATA(out.steps),
                           PyArray_DATA(out.reasons), PyArray_DATA(out.changes), &error);
        }
        uhnpy_run_end(&run);
        if (status != UHN_OK) {
            uhnpy_raise(status, &error);
            goto done;
        }
    }
    /* As in the core: what a query knows stays in its state. */
    bool stays = clamped && (asked.masked || target->equation->core.missing) &&
                 uhn_memory_is_autoassociative(target->memory);
    result = PyObject_CallFunctionObjArgs(maker, memory, (PyObject *)asked.rows.array,
                                          (PyObject *)out.states, (PyObject *)out.asked,
                                          (PyObject *)out.steps, (PyObject *)out.reasons,
                                          (PyObject *)out.changes,
                                          asked.rows.single ? Py_True : Py_False,
                                          traced ? Py_True : Py_False,
                                          stays ? Py_True : Py_False, NULL);
done:
    drop_outcome(&out);
    uhnpy_drop_rows(&asked.rows);
    return result;
}

/* -------------------------------------------------------------------------------- energy -- */

PyObject *uhnpy_energy(const uhnpy_target *target, PyObject *states) {
    question asked;
    if (take_rows_of(target, states, "states", "n_states, n_features", &asked) < 0) {
        return NULL;
    }
    npy_intp n = (npy_intp)asked.rows.n_rows;
    PyArrayObject *energies = (PyArrayObject *)PyArray_SimpleNew(1, &n, NPY_DOUBLE);
    PyObject *result = NULL;
    if (energies) {
        uhn_error error = {.status = UHN_OK};
        uhnpy_run run;
        begin(&run, target, &asked);
        uhn_status status =
            uhn_energy(target->memory, &run.equation, asked.rows.data, asked.rows.n_rows,
                       &run.core, PyArray_DATA(energies), &error);
        uhnpy_run_end(&run);
        if (status != UHN_OK) {
            uhnpy_raise(status, &error);
        } else if (asked.rows.single) {
            result = PyFloat_FromDouble(*(const double *)PyArray_DATA(energies));
        } else {
            result = Py_NewRef((PyObject *)energies);
        }
    }
    Py_XDECREF(energies);
    uhnpy_drop_rows(&asked.rows);
    return result;
}

PyObject *uhnpy_gradient(const uhnpy_target *target, PyObject *states, PyObject *out) {
    question asked;
    if (take_rows_of(target, states, "states", "n_states, n_features", &asked) < 0) {
        return NULL;
    }
    PyArrayObject *answer = take_answer(target, &asked, asked.n_features, out);
    if (answer) {
        uhn_error error = {.status = UHN_OK};
        uhnpy_run run;
        begin(&run, target, &asked);
        uhn_status status =
            uhn_energy_gradient(target->memory, &run.equation, asked.rows.data,
                                asked.rows.n_rows, &run.core, PyArray_DATA(answer), &error);
        uhnpy_run_end(&run);
        if (status != UHN_OK) {
            Py_CLEAR(answer);
            uhnpy_raise(status, &error);
        }
    }
    uhnpy_drop_rows(&asked.rows);
    return (PyObject *)answer;
}

PyObject *uhnpy_lyapunov(const uhnpy_target *target, PyObject *mode) {
    if (mode &&
        !(PyUnicode_Check(mode) && PyUnicode_CompareWithASCIIString(mode, "sync") == 0)) {
        PyErr_Format(PyUnicode_Check(mode) ? PyExc_ValueError : PyExc_TypeError,
                     "mode is %R; a Memory is iterated with mode 'sync' only", mode);
        return NULL;
    }
    if (!target->memory) {
        return uhnpy_fail(PyExc_ValueError, "the memory is empty: store patterns first");
    }
    uhn_error error = {.status = UHN_OK};
    uhn_status status = uhn_lyapunov(target->memory, &target->equation->core, &error);
    if (status != UHN_OK && status != UHN_NO_ENERGY) {
        return uhnpy_raise(status, &error);
    }
    return PyBool_FromLong(status == UHN_OK);
}

/* -------------------------------------------------------------- scores, nearest, partial -- */

PyObject *uhnpy_scores(const uhnpy_target *target, PyObject *queries, PyObject *mask,
                       PyObject *out, bool weights) {
    question asked;
    if (take_question(target, queries, mask, &asked) < 0) {
        return NULL;
    }
    /* The result has a column a pattern. A copy of the memory, which shares the rows, keeps
     * their number as it is while another thread stores. */
    PyArrayObject *answer = NULL;
    uhn_memory *memory = NULL;
    uhn_status status = uhn_memory_copy(target->memory, &memory);
    if (status != UHN_OK) {
        uhnpy_raise(status, NULL);
        goto done;
    }
    answer = take_answer(target, &asked, uhn_memory_n_patterns(memory), out);
    if (answer && asked.rows.n_rows) {
        uhn_error error = {.status = UHN_OK};
        uhnpy_run run;
        begin(&run, target, &asked);
        status = (weights ? uhn_weights : uhn_scores)(memory, &run.equation, asked.rows.data,
                                                      asked.rows.n_rows, &run.core,
                                                      PyArray_DATA(answer), &error);
        uhnpy_run_end(&run);
        if (status != UHN_OK) {
            Py_CLEAR(answer);
            uhnpy_raise(status, &error);
        }
    }
done:
    uhn_memory_free(memory);
    uhnpy_drop_rows(&asked.rows);
    return (PyObject *)answer;
}

PyObject *uhnpy_nearest(const uhnpy_target *target, PyObject *queries, PyObject *k,
                        PyObject *mask) {
    size_t count = 1;
    question asked;
    if ((k && uhnpy_take_size(k, "k", 1, &count) < 0) ||
        take_question(target, queries, mask, &asked) < 0) {
        return NULL;
    }
    PyObject *result = NULL;
    PyArrayObject *indices = NULL, *scores = NULL;
    size_t n_patterns = uhn_memory_n_patterns(target->memory);
    if (count > n_patterns) {
        PyErr_Format(PyExc_ValueError, "k is %zu, but the memory holds %zu patterns", count,
                     n_patterns);
        goto done;
    }
    indices = make_column(&asked, NPY_INT64, (npy_intp)count);
    scores = make_column(&asked, asked.type, (npy_intp)count);
    if (!indices || !scores) {
        goto done;
    }
    if (asked.rows.n_rows) {
        uhn_error error = {.status = UHN_OK};
        uhnpy_run run;
        begin(&run, target, &asked);
        uhn_status status =
            uhn_nearest(target->memory, &run.equation, asked.rows.data, asked.rows.n_rows,
                        count, &run.core, PyArray_DATA(indices), PyArray_DATA(scores), &error);
        uhnpy_run_end(&run);
        if (status != UHN_OK) {
            uhnpy_raise(status, &error);
            goto done;
        }
    }
    result = PyTuple_Pack(2, (PyObject *)indices, (PyObject *)scores);
done:
    Py_XDECREF(indices);
    Py_XDECREF(scores);
    uhnpy_drop_rows(&asked.rows);
    return result;
}

PyObject *uhnpy_partial(uhnpy_state *state, const uhnpy_target *target, PyObject *queries,
                        PyObject *start, PyObject *stop, PyObject *mask) {
    size_t first = 0, last = 0;
    question asked;
    if ((start && uhnpy_take_size(start, "start", 0, &first) < 0) ||
        (uhnpy_given(stop) && uhnpy_take_size(stop, "stop", 0, &last) < 0) ||
        take_question(target, queries, mask, &asked) < 0) {
        return NULL;
    }
    size_t n_patterns = uhn_memory_n_patterns(target->memory);
    if (!uhnpy_given(stop)) {
        last = n_patterns;
    }
    bool single = asked.rows.single;
    uhn_partial *partial = NULL;
    uhn_error error = {.status = UHN_OK};
    uhn_status status;
    if (first > last || last > n_patterns) {
        PyErr_Format(
            PyExc_ValueError,
            "rows start=%zu to stop=%zu are not in a memory of %zu patterns; 0 <= start <= "
            "stop <= %zu",
            first, last, n_patterns, n_patterns);
        uhnpy_drop_rows(&asked.rows);
        return NULL;
    }
    uhnpy_run run;
    begin(&run, target, &asked);
    status = uhn_partial_new(target->memory, &run.equation, asked.rows.data, asked.rows.n_rows,
                             first, last, &run.core, &partial, &error);
    uhnpy_run_end(&run);
    uhnpy_drop_rows(&asked.rows);
    if (status != UHN_OK) {
        return uhnpy_raise(status, &error);
    }
    return uhnpy_partial_wrap(state, partial, single);
}

PyObject *uhnpy_partial_for(uhnpy_state *state, const uhnpy_target *target, const char *purpose,
                            PyObject *queries, size_t k, PyObject *score_sums, int n_threads) {
    static const char *const names[] = {"answers", "energies", "nearest", "score sums"};
    int which = uhnpy_take_name(purpose, names, 4, "purpose");
    PyArrayObject *sums = NULL;
    question asked;
    if (which < 0 ||
        uhnpy_take_exact(score_sums, "score_sums", NPY_DOUBLE, 1, true, &sums) < 0 ||
        take_question(target, queries, NULL, &asked) < 0) {
        return NULL;
    }
    PyObject *result = NULL;
    if (sums && (size_t)PyArray_DIM(sums, 0) != asked.rows.n_rows) {
        uhnpy_fail(PyExc_ValueError, "score_sums are not one a query");
    } else {
        size_t n_patterns = uhn_memory_n_patterns(target->memory);
        uhn_partial *partial = NULL;
        uhn_error error = {.status = UHN_OK};
        uhnpy_run run;
        begin(&run, target, &asked);
        run.core.n_threads = n_threads;
        if (which == UHN_FOR_NEAREST) {
            run.equation.k = k;
        }
        uhn_status status =
            uhn_partial_for((uhn_purpose)which, target->memory, &run.equation, asked.rows.data,
                            asked.rows.n_rows, 0, n_patterns, sums ? PyArray_DATA(sums) : NULL,
                            &run.core, &partial, &error);
        uhnpy_run_end(&run);
        result = status == UHN_OK ? uhnpy_partial_wrap(state, partial, false)
                                  : uhnpy_raise(status, &error);
    }
    uhnpy_drop_rows(&asked.rows);
    return result;
}

/* ------------------------------------------------------------------------------ separate -- */

PyObject *uhnpy_separate(const uhnpy_equation *equation, PyObject *scores) {
    uhnpy_rows rows;
    if (uhnpy_take_rows(scores, "scores", "n_queries, n_patterns", NPY_NOTYPE, &rows) < 0) {
        return NULL;
    }
    PyArrayObject *answer =
        (PyArrayObject *)PyArray_SimpleNew(PyArray_NDIM(rows.array), PyArray_DIMS(rows.array),
                                           rows.type);
    if (answer && rows.n_columns == 0) {
        Py_CLEAR(answer);
        PyObject *has = uhnpy_shape(rows.array);
        if (has) {
            PyErr_Format(PyExc_ValueError, "scores has shape %R: there is no pattern to weigh",
                         has);
            Py_DECREF(has);
        }
    }
    if (answer && rows.n_rows) {
        uhn_error error = {.status = UHN_OK};
        uhnpy_run run;
        uhnpy_run_begin(&run, equation, rows.type, 0);
        uhn_status status =
            uhn_separate(uhnpy_dtype(rows.type), &run.equation, rows.data, rows.n_rows,
                         rows.n_columns, &run.core, PyArray_DATA(answer), &error);
        uhnpy_run_end(&run);
        if (status != UHN_OK) {
            Py_CLEAR(answer);
            uhnpy_raise(status, &error);
        }
    }
    uhnpy_drop_rows(&rows);
    return (PyObject *)answer;
}

/* ----------------------------------------------------------------------------- attention -- */

/* A stack of matrices: any leading axes, and two last ones that lie without gaps. */
typedef struct stack {
    PyArrayObject *array;
    npy_intp n_rows, n_columns;
    npy_intp strides[NPY_MAXDIMS]; /* of the broadcast leading axes, in bytes */
} stack;

static bool matrices_lie_together(PyArrayObject *array) {
    int n = PyArray_NDIM(array);
    npy_intp size = PyArray_ITEMSIZE(array);
    npy_intp n_rows = PyArray_DIM(array, n - 2), n_columns = PyArray_DIM(array, n - 1);
    return (n_columns <= 1 || PyArray_STRIDE(array, n - 1) == size) &&
           (n_rows <= 1 || PyArray_STRIDE(array, n - 2) == size * n_columns);
}

/* The objects as arrays, and the type attention computes in: float32 if all three are float32.
 * -1 on failure. */
static int take_arrays(PyObject *const objects[3], const char *const names[3],
                       PyObject *arrays[3]) {
    int type = NPY_FLOAT;
    for (int i = 0; i < 3; i++) {
        if (PyArray_Check(objects[i])) {
            arrays[i] = Py_NewRef(objects[i]);
        } else {
            uhnpy_array taken;
            if (uhnpy_take_array(objects[i], names[i], NPY_NOTYPE, &taken) < 0) {
                return -1;
            }
            arrays[i] = (PyObject *)taken.array;
        }
        if (PyArray_TYPE((PyArrayObject *)arrays[i]) != NPY_FLOAT) {
            type = NPY_DOUBLE;
        }
    }
    return type;
}

static int take_stack(PyObject *object, const char *what, const char *shape, int type,
                      stack *out) {
    /* A broadcast view repeats matrices that lie without gaps: no copy is needed of it. */
    if (PyArray_CheckExact(object)) {
        PyArrayObject *array = (PyArrayObject *)object;
        if (PyArray_TYPE(array) == type && PyArray_ISALIGNED(array) &&
            PyArray_ISNOTSWAPPED(array) && PyArray_NDIM(array) >= 2 &&
            matrices_lie_together(array)) {
            out->array = (PyArrayObject *)Py_NewRef(object);
        }
    }
    if (!out->array) {
        uhnpy_array taken;
        if (uhnpy_take_array(object, what, type, &taken) < 0) {
            return -1;
        }
        out->array = taken.array;
    }
    int n = PyArray_NDIM(out->array);
    if (n < 2) {
        PyObject *has = uhnpy_shape(out->array);
        if (has) {
            PyErr_Format(PyExc_ValueError, "%s has shape %R; attention takes %s", what, has,
                         shape);
            Py_DECREF(has);
        }
        return -1;
    }
    out->n_rows = PyArray_DIM(out->array, n - 2);
    out->n_columns = PyArray_DIM(out->array, n - 1);
    return 0;
}

/* ValueError that shows the shapes of the three arrays. */
static int refuse_shapes(const stack stacks[3], const char *why) {
    PyObject *shapes[3] = {NULL};
    for (int i = 0; i < 3; i++) {
        shapes[i] = uhnpy_shape(stacks[i].array);
    }
    if (shapes[0] && shapes[1] && shapes[2]) {
        PyErr_Format(PyExc_ValueError,
                     "%s: queries has shape %R, keys %R, values %R; they must be (..., L, E), "
                     "(..., S, E) and (..., S, V)",
                     why, shapes[0], shapes[1], shapes[2]);
    }
    for (int i = 0; i < 3; i++) {
        Py_XDECREF(shapes[i]);
    }
    return -1;
}

/* Joins the leading axes of an array, all but the last `n_own`, to those of the others, which
 * are aligned at the right end. False if a length fits neither the other nor 1. */
static bool join_axes(PyArrayObject *array, int n_own, int n_axes, npy_intp *dims) {
    int n = PyArray_NDIM(array) - n_own;
    for (int i = 0; i < n; i++) {
        npy_intp length = PyArray_DIM(array, i);
        npy_intp *dim = &dims[n_axes - n + i];
        if (length != 1 && *dim != 1 && length != *dim) {
            return false;
        }
        if (length != 1) {
            *dim = length;
        }
    }
    return true;
}

static void join_strides(PyArrayObject *array, int n_own, int n_axes, npy_intp *strides) {
    int n = PyArray_NDIM(array) - n_own;
    for (int i = 0; i < n_axes; i++) {
        int axis = i - (n_axes - n);
        bool repeated = axis < 0 || PyArray_DIM(array, axis) == 1;
        strides[i] = repeated ? 0 : PyArray_STRIDE(array, axis);
    }
}

/* The mask as an array of bytes whose last axis is the keys, each row of it without gaps. */
static PyArrayObject *take_mask(PyObject *object, npy_intp n_queries, npy_intp n_keys) {
    PyArrayObject *array =
        (PyArrayObject *)PyArray_FromAny(object, NULL, 0, 0, NPY_ARRAY_ENSUREARRAY, NULL);
    if (!array) {
        return NULL;
    }
    if (PyArray_TYPE(array) != NPY_BOOL) {
        PyErr_Format(
            PyExc_TypeError,
            "mask has dtype %S; it must be boolean, True where a query may attend: use "
            "mask.astype(bool)",
            (PyObject *)PyArray_DESCR(array));
        Py_DECREF(array);
        return NULL;
    }
    int n = PyArray_NDIM(array);
    npy_intp columns = n >= 1 ? PyArray_DIM(array, n - 1) : 1;
    npy_intp rows = n >= 2 ? PyArray_DIM(array, n - 2) : 1;
    if ((columns != n_keys && columns != 1) || (rows != n_queries && rows != 1)) {
        PyObject *has = uhnpy_shape(array);
        if (has) {
            PyErr_Format(
                PyExc_ValueError,
                "mask has shape %R, which does not broadcast to (..., L, S) = (..., %zd, "
                "%zd)",
                has, (Py_ssize_t)n_queries, (Py_ssize_t)n_keys);
            Py_DECREF(has);
        }
        Py_DECREF(array);
        return NULL;
    }
    bool fits = n >= 1 && columns == n_keys &&
                (columns == 1 || PyArray_STRIDE(array, n - 1) == 1) &&
                (n < 2 || rows == 1 || PyArray_STRIDE(array, n - 2) >= 0);
    if (fits) {
        return array;
    }
    npy_intp dims[NPY_MAXDIMS] = {0};
    for (int i = 0; i < n; i++) {
        dims[i] = PyArray_DIM(array, i);
    }
    n = n ? n : 1;
    dims[n - 1] = n_keys;
    PyArrayObject *whole = (PyArrayObject *)PyArray_SimpleNew(n, dims, NPY_BOOL);
    if (whole && PyArray_CopyInto(whole, array) < 0) {
        Py_CLEAR(whole);
    }
    Py_DECREF(array);
    return whole;
}

PyObject *uhnpy_attention(PyObject *queries, PyObject *keys, PyObject *values, PyObject *beta,
                          PyObject *mask, PyObject *out) {
    PyObject *const objects[3] = {queries, keys, values};
    PyObject *arrays[3] = {NULL};
    static const char *const names[3] = {"queries", "keys", "values"};
    static const char *const shapes[3] = {"(..., L, E)", "(..., S, E)", "(..., S, V)"};
    stack stacks[3] = {{.array = NULL}};
    PyArrayObject *allowed = NULL, *answer = NULL;
    uhn_head *heads = NULL;
    PyObject *result = NULL;
    npy_intp mask_strides[NPY_MAXDIMS] = {0};
    uhnpy_equation equation = {.core = uhn_equation_default()};

    int type = take_arrays(objects, names, arrays);
    if (type < 0) {
        goto done;
    }
    for (int i = 0; i < 3; i++) {
        if (take_stack(arrays[i], names[i], shapes[i], type, &stacks[i]) < 0) {
            goto done;
        }
    }
    npy_intp n_queries = stacks[0].n_rows, n_features = stacks[0].n_columns;
    npy_intp n_keys = stacks[1].n_rows, n_values = stacks[2].n_columns;
    if (stacks[1].n_columns != n_features) {
        refuse_shapes(stacks, "queries and keys differ in features");
        goto done;
    }
    if (stacks[2].n_rows != n_keys) {
        refuse_shapes(stacks, "keys and values differ in number");
        goto done;
    }
    if (n_features == 0 || n_values == 0) {
        refuse_shapes(stacks, "there are no features");
        goto done;
    }
    equation.core.beta = 1 / sqrt((double)n_features);
    if (uhnpy_given(beta)) {
        uhn_error error = {.status = UHN_OK};
        if (uhnpy_take_number(beta, "beta", &equation.core.beta) < 0) {
            goto done;
        }
        uhn_status status = uhn_equation_check(&equation.core, &error);
        if (status != UHN_OK) {
            uhnpy_raise(status, &error);
            goto done;
        }
    }
    if (uhnpy_given(mask)) {
        allowed = take_mask(mask, n_queries, n_keys);
        if (!allowed) {
            goto done;
        }
    }

    /* The leading axes, and how far each array moves along them. */
    int n_axes = 0;
    for (int i = 0; i < 3; i++) {
        n_axes = Py_MAX(n_axes, PyArray_NDIM(stacks[i].array) - 2);
    }
    if (allowed) {
        n_axes = Py_MAX(n_axes, PyArray_NDIM(allowed) - 2);
    }
    npy_intp dims[NPY_MAXDIMS + 2];
    for (int i = 0; i < n_axes; i++) {
        dims[i] = 1;
    }
    for (int i = 0; i < 3; i++) {
        if (!join_axes(stacks[i].array, 2, n_axes, dims)) {
            refuse_shapes(stacks, "the leading axes do not broadcast");
            goto done;
        }
    }
    if (allowed && PyArray_NDIM(allowed) > 2 && !join_axes(allowed, 2, n_axes, dims)) {
        refuse_shapes(stacks, "the leading axes of mask do not broadcast with the arrays'");
        goto done;
    }
    for (int i = 0; i < 3; i++) {
        join_strides(stacks[i].array, 2, n_axes, stacks[i].strides);
    }
    if (allowed && PyArray_NDIM(allowed) > 2) {
        join_strides(allowed, 2, n_axes, mask_strides);
    }
    dims[n_axes] = n_queries;
    dims[n_axes + 1] = n_values;
    answer = uhnpy_take_out(out, type, n_axes + 2, dims);
    if (!answer) {
        goto done;
    }
    if (uhnpy_given(out)) {
        for (int i = 0; i < 3; i++) {
            if (uhnpy_check_apart(answer, stacks[i].array, names[i]) < 0) {
                goto done;
            }
        }
        if (allowed && uhnpy_check_apart(answer, allowed, "mask") < 0) {
            goto done;
        }
    }
    if (n_keys == 0) {
        /* Who may attend to nothing gets zeros. */
        memset(PyArray_DATA(answer), 0, PyArray_NBYTES(answer));
    }
    if (n_keys == 0 || PyArray_SIZE(answer) == 0) {
        result = Py_NewRef((PyObject *)answer);
        goto done;
    }

    npy_intp n_heads = 1;
    for (int i = 0; i < n_axes; i++) {
        n_heads *= dims[i];
    }
    size_t mask_stride = 0;
    if (allowed && PyArray_NDIM(allowed) >= 2 &&
        PyArray_DIM(allowed, PyArray_NDIM(allowed) - 2) > 1) {
        mask_stride = (size_t)PyArray_STRIDE(allowed, PyArray_NDIM(allowed) - 2);
    }
    heads = (size_t)n_heads <= PY_SSIZE_T_MAX / sizeof *heads
                ? PyMem_RawCalloc((size_t)n_heads, sizeof *heads)
                : NULL;
    if (!heads) {
        PyErr_NoMemory();
        goto done;
    }
    npy_intp head_bytes = n_queries * n_values * PyArray_ITEMSIZE(answer);
    npy_intp at[NPY_MAXDIMS] = {0};
    for (npy_intp h = 0; h < n_heads; h++) {
        const char *from[3];
        for (int i = 0; i < 3; i++) {
            from[i] = PyArray_BYTES(stacks[i].array);
            for (int axis = 0; axis < n_axes; axis++) {
                from[i] += at[axis] * stacks[i].strides[axis];
            }
        }
        heads[h].queries = from[0];
        heads[h].keys = from[1];
        heads[h].values = from[2];
        heads[h].out = PyArray_BYTES(answer) + h * head_bytes;
        if (allowed) {
            const char *bytes = PyArray_BYTES(allowed);
            for (int axis = 0; axis < n_axes; axis++) {
                bytes += at[axis] * mask_strides[axis];
            }
            heads[h].mask = (const uint8_t *)bytes;
            heads[h].mask_stride = mask_stride;
        }
        for (int axis = n_axes - 1; axis >= 0 && ++at[axis] == dims[axis]; axis--) {
            at[axis] = 0;
        }
    }
    uhn_error error = {.status = UHN_OK};
    uhnpy_run run;
    uhnpy_run_begin(&run, &equation, type, (size_t)n_features);
    uhn_status status = uhn_attention(uhnpy_dtype(type), &run.equation, heads, (size_t)n_heads,
                                      (size_t)n_queries, (size_t)n_keys, (size_t)n_features,
                                      (size_t)n_values, &run.core, &error);
    uhnpy_run_end(&run);
    if (status != UHN_OK) {
        uhnpy_raise(status, &error);
        goto done;
    }
    result = Py_NewRef((PyObject *)answer);
done:
    for (int i = 0; i < 3; i++) {
        Py_XDECREF(arrays[i]);
        Py_XDECREF(stacks[i].array);
    }
    Py_XDECREF(allowed);
    Py_XDECREF(answer);
    PyMem_RawFree(heads);
    return result;
}
