/*
 * partial_type.c - uhn.Partial: what queries have retrieved so far from some of the patterns.
 *
 * A Partial is an immutable handle of the core. It travels in its wire form.
 */
#include "compute.h"
#include "convert.h"
#include "errors.h"
#include "module.h"
#include "partial_docs.h"
#include "schedule.h"

typedef struct {
    PyObject_HEAD uhn_partial *handle;
    bool single; /* of one 1-D query: the answer is 1-D */
} Partial;

static inline uhnpy_state *state_of(PyObject *self) {
    return PyType_GetModuleState(Py_TYPE(self));
}

PyObject *uhnpy_partial_wrap(uhnpy_state *state, uhn_partial *partial, bool single) {
    Partial *self = (Partial *)state->partial_type->tp_alloc(state->partial_type, 0);
    if (!self) {
        uhn_partial_free(partial);
        return NULL;
    }
    self->handle = partial;
    self->single = single;
    return (PyObject *)self;
}

static int partial_traverse(Partial *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void partial_dealloc(Partial *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    uhn_partial_free(self->handle);
    type->tp_free(self);
    Py_DECREF(type);
}

static int type_of(const Partial *self) {
    return uhn_partial_dtype(self->handle) == UHN_FLOAT32 ? NPY_FLOAT : NPY_DOUBLE;
}

static PyObject *partial_finish(Partial *self, PyObject *const *args, Py_ssize_t n_args,
                                PyObject *kwnames) {
    static const uhnpy_signature signature = {"finish", 0, 0, 1, {UHNPY_out}};
    PyObject *values[1];
    if (uhnpy_parse(state_of((PyObject *)self), &signature, args, n_args, kwnames, values) <
        0) {
        return NULL;
    }
    size_t n_queries = uhn_partial_n_queries(self->handle);
    npy_intp dims[2] = {(npy_intp)n_queries, (npy_intp)uhn_partial_n_values(self->handle)};
    PyArrayObject *answer =
        uhnpy_take_out(values[0], type_of(self), 2 - self->single, dims + self->single);
    if (!answer || n_queries == 0) {
        return (PyObject *)answer;
    }
    uhn_error error = {.status = UHN_OK};
    uhn_status status;
    Py_BEGIN_ALLOW_THREADS status =
        uhn_partial_finish(self->handle, PyArray_DATA(answer), NULL, &error);
    Py_END_ALLOW_THREADS if (status != UHN_OK) {
        Py_DECREF(answer);
        return uhnpy_raise(status, &error);
    }
    return (PyObject *)answer;
}

/* --------------------------------------------------------------------------------------
 * merging -- */

PyObject *uhnpy_merge(PyObject *module, PyObject *const *args, Py_ssize_t n_args,
                      PyObject *kwnames) {
    static const uhnpy_signature signature = {"merge", 1, 1, 1, {UHNPY_parts}};
    uhnpy_state *state = PyModule_GetState(module);
    PyObject *values[1];
    if (uhnpy_parse(state, &signature, args, n_args, kwnames, values) < 0) {
        return NULL;
    }
    /* A tuple of our own: nobody can change it while the lock is released. */
    PyObject *parts = NULL, *result = NULL;
    const uhn_partial **handles = NULL;
    if (Py_IS_TYPE(values[0], state->partial_type)) {
        PyErr_SetString(PyExc_TypeError,
                        "parts must be an iterable of Partial, not one Partial");
        return NULL;
    }
    parts = PySequence_Tuple(values[0]);
    if (!parts) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            uhnpy_fail(PyExc_TypeError, "parts must be an iterable of Partial, not %s",
                       Py_TYPE(values[0])->tp_name);
        }
        return NULL;
    }
    Py_ssize_t n = PyTuple_GET_SIZE(parts);
    if (n == 0) {
        PyErr_SetString(PyExc_ValueError, "parts is empty: there is nothing to merge");
        goto done;
    }
    handles = PyMem_RawCalloc((size_t)n, sizeof *handles);
    if (!handles) {
        PyErr_NoMemory();
        goto done;
    }
    bool single = true;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *part = PyTuple_GET_ITEM(parts, i);
        if (!Py_IS_TYPE(part, state->partial_type)) {
            PyErr_Format(PyExc_TypeError, "parts[%zd] is %s, not a Partial", i,
                         Py_TYPE(part)->tp_name);
            goto done;
        }
        handles[i] = ((Partial *)part)->handle;
        single &= ((Partial *)part)->single;
    }
    uhn_partial *merged = NULL;
    uhn_error error = {.status = UHN_OK};
    uhn_status status;
    Py_BEGIN_ALLOW_THREADS status = uhn_partial_merge(handles, (size_t)n, &merged, &error);
    Py_END_ALLOW_THREADS result = status == UHN_OK ? uhnpy_partial_wrap(state, merged, single)
                                                   : uhnpy_raise(status, &error);
done:
    PyMem_RawFree(handles);
    Py_DECREF(parts);
    return result;
}

/* ------------------------------------------------------------- other ways of finishing -- */

static const Partial *take_partial(PyObject *module, PyObject *object) {
    const uhnpy_state *state = PyModule_GetState(module);
    if (!Py_IS_TYPE(object, state->partial_type)) {
        return uhnpy_fail(PyExc_TypeError, "expected a Partial, not %s",
                          Py_TYPE(object)->tp_name);
    }
    return (const Partial *)object;
}

/* Both arrays (the second may be NULL where there is one only) or the exception. */
static PyObject *hand_out(uhn_status status, const uhn_error *error, PyArrayObject *first,
                          PyArrayObject *second) {
    PyObject *result = NULL;
    if (status != UHN_OK) {
        uhnpy_raise(status, error);
    } else {
        result = second ? PyTuple_Pack(2, first, second) : Py_NewRef((PyObject *)first);
    }
    Py_XDECREF(first);
    Py_XDECREF(second);
    return result;
}

PyObject *uhnpy_partial_answers(PyObject *module, PyObject *object) {
    const Partial *self = take_partial(module, object);
    if (!self) {
        return NULL;
    }
    npy_intp dims[2] = {(npy_intp)uhn_partial_n_queries(self->handle),
                        (npy_intp)uhn_partial_n_values(self->handle)};
    PyArrayObject *answer = (PyArrayObject *)PyArray_SimpleNew(2, dims, type_of(self));
    PyArrayObject *answered = (PyArrayObject *)PyArray_SimpleNew(1, dims, NPY_UINT8);
    if (!answer || !answered) {
        Py_XDECREF(answer);
        Py_XDECREF(answered);
        return NULL;
    }
    uhn_error error = {.status = UHN_OK};
    uhn_status status;
    Py_BEGIN_ALLOW_THREADS status =
        uhn_partial_finish(self->handle, PyArray_DATA(answer), PyArray_DATA(answered), &error);
    Py_END_ALLOW_THREADS return hand_out(status, &error, answer, answered);
}

PyObject *uhnpy_partial_energies(PyObject *module, PyObject *args) {
    PyObject *object, *states_object;
    PyArrayObject *states;
    const Partial *self;
    if (!PyArg_ParseTuple(args, "OO:_partial_energies", &object, &states_object) ||
        !(self = take_partial(module, object)) ||
        uhnpy_take_exact(states_object, "states", type_of(self), 2, false, &states) < 0) {
        return NULL;
    }
    npy_intp n = (npy_intp)uhn_partial_n_queries(self->handle);
    if (PyArray_DIM(states, 0) != n) {
        return uhnpy_fail(PyExc_ValueError, "states are not those the partial was asked");
    }
    PyArrayObject *out = (PyArrayObject *)PyArray_SimpleNew(1, &n, NPY_DOUBLE);
    if (!out) {
        return NULL;
    }
    uhn_error error = {.status = UHN_OK};
    uhn_status status;
    Py_BEGIN_ALLOW_THREADS status =
        uhn_partial_energies(self->handle, PyArray_DATA(states), (size_t)PyArray_DIM(states, 1),
                             PyArray_DATA(out), &error);
    Py_END_ALLOW_THREADS return hand_out(status, &error, out, NULL);
}

PyObject *uhnpy_partial_nearest(PyObject *module, PyObject *object) {
    const Partial *self = take_partial(module, object);
    if (!self) {
        return NULL;
    }
    npy_intp dims[2] = {(npy_intp)uhn_partial_n_queries(self->handle),
                        (npy_intp)uhn_partial_k(self->handle)};
    PyArrayObject *indices = (PyArrayObject *)PyArray_SimpleNew(2, dims, NPY_INT64);
    PyArrayObject *scores = (PyArrayObject *)PyArray_SimpleNew(2, dims, type_of(self));
    if (!indices || !scores) {
        Py_XDECREF(indices);
        Py_XDECREF(scores);
        return NULL;
    }
    uhn_error error = {.status = UHN_OK};
    uhn_status status;
    Py_BEGIN_ALLOW_THREADS status =
        uhn_partial_nearest(self->handle, PyArray_DATA(indices), PyArray_DATA(scores), &error);
    Py_END_ALLOW_THREADS return hand_out(status, &error, indices, scores);
}

PyObject *uhnpy_partial_score_sums(PyObject *module, PyObject *object) {
    const Partial *self = take_partial(module, object);
    if (!self) {
        return NULL;
    }
    npy_intp n = (npy_intp)uhn_partial_n_queries(self->handle);
    PyArrayObject *out = (PyArrayObject *)PyArray_SimpleNew(1, &n, NPY_DOUBLE);
    if (!out) {
        return NULL;
    }
    uhn_error error = {.status = UHN_OK};
    uhn_status status;
    Py_BEGIN_ALLOW_THREADS status =
        uhn_partial_score_sums(self->handle, PyArray_DATA(out), &error);
    Py_END_ALLOW_THREADS return hand_out(status, &error, out, NULL);
}

/* --------------------------------------------------------------------------------------
 * pickling -- */

PyObject *uhnpy_rebuild_partial(PyObject *module, PyObject *args) {
    uhnpy_state *state = PyModule_GetState(module);
    Py_buffer wire;
    int single;
    if (!PyArg_ParseTuple(args, "y*p:_rebuild_partial", &wire, &single)) {
        return NULL;
    }
    uhn_partial *partial = NULL;
    uhn_error error = {.status = UHN_OK};
    uhn_status status;
    /* A buffer that came out of band may lie anywhere; the core wants it aligned. */
    void *aligned = NULL;
    const void *bytes = wire.buf;
    if ((uintptr_t)bytes % 64 != 0) {
        aligned = PyMem_RawMalloc((size_t)wire.len + 64);
        if (!aligned) {
            PyBuffer_Release(&wire);
            return PyErr_NoMemory();
        }
        char *start = (char *)(((uintptr_t)aligned + 63) / 64 * 64);
        memcpy(start, wire.buf, (size_t)wire.len);
        bytes = start;
    }
    Py_BEGIN_ALLOW_THREADS status = uhn_partial_read(bytes, (size_t)wire.len, &partial, &error);
    Py_END_ALLOW_THREADS PyMem_RawFree(aligned);
    PyBuffer_Release(&wire);
    if (status != UHN_OK) {
        return uhnpy_raise(status, &error);
    }
    if (single && uhn_partial_n_queries(partial) != 1) {
        uhn_partial_free(partial);
        PyErr_SetString(PyExc_ValueError, "a Partial of one 1-D query holds exactly one query");
        return NULL;
    }
    return uhnpy_partial_wrap(state, partial, single);
}

static PyObject *partial_reduce(Partial *self, PyObject *protocol) {
    const uhnpy_state *state = state_of((PyObject *)self);
    long version = PyLong_AsLong(protocol);
    if (version == -1 && PyErr_Occurred()) {
        return NULL;
    }
    size_t size = uhn_partial_wire_size(self->handle);
    if (size > (size_t)PY_SSIZE_T_MAX) {
        return PyErr_NoMemory();
    }
    PyObject *wire = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!wire) {
        return NULL;
    }
    uhn_partial_write(self->handle, PyBytes_AS_STRING(wire));
    if (version >= 5) {
        Py_SETREF(wire, PyPickleBuffer_FromObject(wire));
        if (!wire) {
            return NULL;
        }
    }
    return Py_BuildValue("O(NO)", state->rebuild_partial, wire,
                         self->single ? Py_True : Py_False);
}

/* ------------------------------------------------------------------------------------- the
 * type -- */

static PyObject *get_n_patterns(Partial *self, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(uhn_partial_n_patterns(self->handle));
}

static PyObject *get_n_queries(Partial *self, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(uhn_partial_n_queries(self->handle));
}

static PyObject *get_n_values(Partial *self, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(uhn_partial_n_values(self->handle));
}

static PyObject *get_dtype(Partial *self, void *closure) {
    (void)closure;
    return (PyObject *)PyArray_DescrFromType(type_of(self));
}

static PyObject *get_nbytes(Partial *self, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(uhn_partial_wire_size(self->handle));
}

static PyObject *partial_sizeof(Partial *self, PyObject *unused) {
    (void)unused;
    return PyLong_FromSize_t((size_t)Py_TYPE(self)->tp_basicsize +
                             uhn_partial_wire_size(self->handle));
}

static PyObject *partial_repr(Partial *self) {
    PyObject *bytes = uhnpy_repr_bytes(uhn_partial_wire_size(self->handle));
    if (!bytes) {
        return NULL;
    }
    PyObject *text =
        PyUnicode_FromFormat("Partial(%zu queries, %zu values %s, of %zu patterns, %U)",
                             uhn_partial_n_queries(self->handle),
                             uhn_partial_n_values(self->handle),
                             type_of(self) == NPY_FLOAT ? "float32" : "float64",
                             uhn_partial_n_patterns(self->handle), bytes);
    Py_DECREF(bytes);
    return text;
}

static PyMethodDef partial_methods[] = {
    {"finish", (PyCFunction)(void (*)(void))partial_finish, METH_FASTCALL | METH_KEYWORDS,
     finish_doc},
    {"__reduce_ex__", (PyCFunction)partial_reduce, METH_O, reduce_doc},
    {"__sizeof__", (PyCFunction)partial_sizeof, METH_NOARGS,
     PyDoc_STR("__sizeof__($self, /)\n--\n\nBytes of the object and its partial sums.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef partial_getset[] = {
#define GETTER(name, doc)                                                                      \
    { #name, (getter)get_##name, NULL, PyDoc_STR(doc), NULL }
    GETTER(n_patterns, "Number of patterns it holds."),
    GETTER(n_queries, "Number of queries."),
    GETTER(n_values, "Components of a value."),
    GETTER(dtype, "float32 or float64."),
    GETTER(nbytes, "Bytes of its wire form."),
#undef GETTER
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot partial_slots[] = {
    {Py_tp_doc, (void *)partial_doc},
    {Py_tp_dealloc, partial_dealloc},
    {Py_tp_traverse, partial_traverse},
    {Py_tp_repr, partial_repr},
    {Py_tp_methods, partial_methods},
    {Py_tp_getset, partial_getset},
    {0, NULL},
};

PyType_Spec uhnpy_partial_spec = {
    .name = "uhn.Partial",
    .basicsize = sizeof(Partial),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = partial_slots,
};
