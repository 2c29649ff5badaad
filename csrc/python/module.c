/*
 * module.c - the extension module uhn._core: its functions, its state, its initialisation.
 */
#define UHNPY_IMPORTS_ARRAY
#include "module.h"

#include "compute.h"
#include "convert.h"
#include "errors.h"
#include "module_docs.h"
#include "run.h"
#include "schedule.h"

/* -------------------------------------------------------------------- a memory for one call
 * only -- */

/* Rows that a function was given, stored in a memory that lives as long as the call. The arrays
 * are borrowed, and held here. */
typedef struct brief {
    uhnpy_rows patterns, values;
    uhn_memory *memory;
    uhnpy_loan loan;
    uhnpy_loan *lent[1], **loans;
    size_t n_loans;
    PyObject *names; /* of the columns of a frame of patterns */
    uhnpy_target target;
} brief;

static void brief_end(brief *self) {
    uhn_memory_free(self->memory);
    uhnpy_drop_rows(&self->patterns);
    uhnpy_drop_rows(&self->values);
    Py_CLEAR(self->names);
}

static int brief_begin(brief *self, const uhnpy_equation *equation, PyObject *patterns,
                       PyObject *values) {
    *self = (brief){.memory = NULL};
    if (uhnpy_check_names(patterns, "patterns", NULL, &self->names) < 0) {
        return -1;
    }
    if (uhnpy_take_rows(patterns, "patterns", "n_patterns, n_features", NPY_NOTYPE,
                        &self->patterns) < 0) {
        goto failed;
    }
    const char *empty = self->patterns.n_columns == 0 ? "a pattern needs at least one feature"
                        : self->patterns.n_rows == 0  ? "there is no pattern"
                                                      : NULL;
    if (empty) {
        PyObject *has = uhnpy_shape(self->patterns.array);
        if (has) {
            PyErr_Format(PyExc_ValueError, "patterns has shape %R: %s", has, empty);
            Py_DECREF(has);
        }
        goto failed;
    }
    if (uhnpy_given(values)) {
        if (uhnpy_take_rows(values, "values", "n_patterns, n_values", self->patterns.type,
                            &self->values) < 0) {
            goto failed;
        }
        if (self->values.n_rows != self->patterns.n_rows || self->values.n_columns == 0) {
            PyObject *has = uhnpy_shape(self->values.array);
            if (has) {
                PyErr_Format(PyExc_ValueError,
                             "values has shape %R, but there are %zu patterns; pass one row a "
                             "pattern, shape (%zu, n_values)",
                             has, self->patterns.n_rows, self->patterns.n_rows);
                Py_DECREF(has);
            }
            goto failed;
        }
    }
    bool alone = self->values.array == NULL;
    uhn_dtype dtype = uhnpy_dtype(self->patterns.type);
    uhn_error error = {.status = UHN_OK};
    uhn_status status = uhn_memory_new(dtype, self->patterns.n_columns,
                                       alone ? 0 : self->values.n_columns, 0, &self->memory);
    if (status == UHN_OK) {
        const uhn_row_info *info =
            equation->score ? NULL : uhn_similarity_info(equation->core.similarity);
        uhn_rows rows = {
            .patterns = self->patterns.data,
            .values = alone ? NULL : self->values.data,
            .n_rows = self->patterns.n_rows,
            .borrow = true,
        };
        uhnpy_run run;
        uhnpy_run_begin(&run, equation, self->patterns.type, self->patterns.n_columns);
        rows.run = &run.core;
        if (info && info->non_negative) {
            status = uhn_check_rows(dtype, rows.patterns, rows.n_rows, self->patterns.n_columns,
                                    &equation->core, "patterns", &run.core, &error);
        }
        if (status == UHN_OK) {
            status = uhn_memory_store(self->memory, &rows, &error);
        }
        uhnpy_run_end(&run);
    }
    if (status != UHN_OK) {
        uhnpy_raise(status, &error);
        goto failed;
    }
    self->loan.patterns = self->patterns.array;
    self->loan.values = self->values.array;
    self->lent[0] = &self->loan;
    self->loans = self->lent;
    self->n_loans = 1;
    self->target =
        (uhnpy_target){self->memory, equation, &self->loans, &self->n_loans, self->names};
    return 0;
failed:
    brief_end(self);
    return -1;
}

/* -------------------------------------------------------------------------------------
 * functions -- */

static PyObject *module_retrieve(PyObject *module, PyObject *const *args, Py_ssize_t n_args,
                                 PyObject *kwnames) {
    static const uhnpy_signature signature = {"retrieve",
                                              2,
                                              3,
                                              18,
                                              {UHNPY_patterns, UHNPY_queries, UHNPY_values,
                                               UHNPY_n_steps, UHNPY_tol, UHNPY_out,
                                               UHNPY_EQUATION_NAMES}};
    const uhnpy_state *state = PyModule_GetState(module);
    PyObject *values[UHNPY_MAX_ARGUMENTS];
    uhnpy_equation equation;
    brief memory;
    if (uhnpy_parse(state, &signature, args, n_args, kwnames, values) < 0 ||
        uhnpy_take_equation(state, values + 6, &equation) < 0 ||
        brief_begin(&memory, &equation, values[0], values[2]) < 0) {
        return NULL;
    }
    PyObject *result =
        uhnpy_retrieve(&memory.target, values[1], values[3], NULL, NULL, values[4], values[5]);
    brief_end(&memory);
    return result;
}

static PyObject *module_similarity(PyObject *module, PyObject *const *args, Py_ssize_t n_args,
                                   PyObject *kwnames) {
    static const uhnpy_signature signature = {"similarity",
                                              2,
                                              3,
                                              6,
                                              {UHNPY_patterns, UHNPY_queries, UHNPY_similarity,
                                               UHNPY_transform, UHNPY_eps, UHNPY_gamma}};
    const uhnpy_state *state = PyModule_GetState(module);
    PyObject *values[6], *keywords[UHNPY_N_EQUATION] = {NULL};
    uhnpy_equation equation;
    brief memory;
    if (uhnpy_parse(state, &signature, args, n_args, kwnames, values) < 0) {
        return NULL;
    }
    for (int i = 2; i < signature.n_names; i++) {
        keywords[signature.names[i]] = values[i];
    }
    if (uhnpy_take_equation(state, keywords, &equation) < 0 ||
        brief_begin(&memory, &equation, values[0], NULL) < 0) {
        return NULL;
    }
    PyObject *result = uhnpy_scores(&memory.target, values[1], NULL, NULL, false);
    brief_end(&memory);
    return result;
}

static PyObject *module_separate(PyObject *module, PyObject *const *args, Py_ssize_t n_args,
                                 PyObject *kwnames) {
    static const uhnpy_signature signature = {"separate",
                                              1,
                                              2,
                                              9,
                                              {UHNPY_scores, UHNPY_separation, UHNPY_beta,
                                               UHNPY_degree, UHNPY_k, UHNPY_alpha, UHNPY_theta,
                                               UHNPY_normalize, UHNPY_normalize_scores}};
    const uhnpy_state *state = PyModule_GetState(module);
    PyObject *values[9], *keywords[UHNPY_N_EQUATION] = {NULL};
    uhnpy_equation equation;
    if (uhnpy_parse(state, &signature, args, n_args, kwnames, values) < 0) {
        return NULL;
    }
    for (int i = 1; i < signature.n_names; i++) {
        keywords[signature.names[i]] = values[i];
    }
    if (uhnpy_take_equation(state, keywords, &equation) < 0) {
        return NULL;
    }
    return uhnpy_separate(&equation, values[0]);
}

static PyObject *module_attention(PyObject *module, PyObject *const *args, Py_ssize_t n_args,
                                  PyObject *kwnames) {
    static const uhnpy_signature signature = {"attention",
                                              3,
                                              3,
                                              6,
                                              {UHNPY_queries, UHNPY_keys, UHNPY_values,
                                               UHNPY_beta, UHNPY_mask, UHNPY_out}};
    PyObject *values[6];
    if (uhnpy_parse(PyModule_GetState(module), &signature, args, n_args, kwnames, values) < 0) {
        return NULL;
    }
    return uhnpy_attention(values[0], values[1], values[2], values[3], values[4], values[5]);
}

/* The models take states and patterns with this, so that they are refused in the words of every other
 * array; n_columns is 0 where any width will do. uhn.explain, which asks for -1, wants to know of the
 * array alone: the numbers are not looked at. */
static PyObject *module_take_rows(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *object;
    const char *name;
    Py_ssize_t n_columns;
    uhnpy_rows rows;
    if (!PyArg_ParseTuple(args, "Osn", &object, &name, &n_columns) ||
        uhnpy_take_rows(object, name, "n, n_features", NPY_NOTYPE, &rows) < 0) {
        return NULL;
    }
    if (n_columns > 0 && uhnpy_check_width(&rows, name, (size_t)n_columns) < 0) {
        uhnpy_drop_rows(&rows);
        return NULL;
    }
    uhn_error error = {.status = UHN_OK};
    uhn_status status = UHN_OK;
    if (n_columns >= 0) {
        Py_BEGIN_ALLOW_THREADS;
        status = uhn_check_rows(uhnpy_dtype(rows.type), rows.data, rows.n_rows, rows.n_columns,
                                NULL, name, NULL, &error);
        Py_END_ALLOW_THREADS;
    }
    if (status != UHN_OK) {
        uhnpy_drop_rows(&rows);
        return uhnpy_raise(status, &error);
    }
    npy_intp dims[2] = {(npy_intp)rows.n_rows, (npy_intp)rows.n_columns};
    PyArray_Dims shape = {dims, 2};
    PyObject *matrix = PyArray_Newshape(rows.array, &shape, NPY_CORDER);
    uhnpy_drop_rows(&rows);
    return matrix ? Py_BuildValue("NN", matrix, PyBool_FromLong(rows.single)) : NULL;
}

/* A dictionary from the name of every row of a table to its line of documentation. */
static PyObject *table(PyObject *const *names, int n, const uhn_row_info *(*info)(int)) {
    PyObject *dict = PyDict_New();
    for (int i = 0; dict && i < n; i++) {
        PyObject *doc = PyUnicode_FromString(info(i)->doc);
        if (!doc || PyDict_SetItem(dict, names[i], doc) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(doc);
    }
    return dict;
}

static const uhn_row_info *similarity_row(int i) {
    return uhn_similarity_info((uhn_similarity)i);
}

static const uhn_row_info *separation_row(int i) {
    return uhn_separation_info((uhn_separation)i);
}

static PyObject *module_similarities(PyObject *module, PyObject *unused) {
    (void)unused;
    const uhnpy_state *state = PyModule_GetState(module);
    return table(state->similarity_names, UHN_N_SIMILARITIES, similarity_row);
}

static PyObject *module_separations(PyObject *module, PyObject *unused) {
    (void)unused;
    const uhnpy_state *state = PyModule_GetState(module);
    return table(state->separation_names, UHN_N_SEPARATIONS, separation_row);
}

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#if defined(__clang__)
#define COMPILER                                                                               \
    "clang " TEXT(__clang_major__) "." TEXT(__clang_minor__) "." TEXT(__clang_patchlevel__)
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown"
#endif

static PyObject *module_cpu_info(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    PyObject *list = PyUnicode_FromString(uhn_cpu_available());
    PyObject *comma = list ? PyUnicode_FromString(",") : NULL;
    PyObject *names = comma ? PyUnicode_Split(list, comma, -1) : NULL;
    PyObject *stripped = names ? PyTuple_New(PyList_GET_SIZE(names)) : NULL;
    for (Py_ssize_t i = 0; stripped && i < PyList_GET_SIZE(names); i++) {
        PyObject *name = PyObject_CallMethod(PyList_GET_ITEM(names, i), "strip", NULL);
        if (!name) {
            Py_CLEAR(stripped);
        } else {
            PyTuple_SET_ITEM(stripped, i, name);
        }
    }
    Py_XDECREF(list);
    Py_XDECREF(comma);
    Py_XDECREF(names);
    if (!stripped) {
        return NULL;
    }
    return Py_BuildValue("{s:s, s:N, s:i, s:s, s:s}", "path", uhn_cpu_path(), "available",
                         stripped, "n_threads", uhn_num_threads(), "compiler", COMPILER,
                         "version", UHN_VERSION);
}

static PyObject *module_set_num_threads(PyObject *module, PyObject *const *args,
                                        Py_ssize_t n_args, PyObject *kwnames) {
    static const uhnpy_signature signature = {"set_num_threads", 1, 1, 1, {UHNPY_n}};
    PyObject *values[1];
    size_t n;
    if (uhnpy_parse(PyModule_GetState(module), &signature, args, n_args, kwnames, values) < 0 ||
        uhnpy_take_size(values[0], "n", 1, &n) < 0) {
        return NULL;
    }
    if (n > INT_MAX || uhn_set_num_threads((int)n) != UHN_OK) {
        return uhnpy_fail(PyExc_ValueError, "n is %zu: that is more threads than can be used",
                          n);
    }
    Py_RETURN_NONE;
}

static PyObject *module_get_num_threads(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    return PyLong_FromLong(uhn_num_threads());
}

#define WITH_KEYWORDS(name, function, doc)                                                     \
    { name, (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS, doc }

static PyMethodDef module_functions[] = {
    WITH_KEYWORDS("retrieve", module_retrieve, retrieve_doc),
    WITH_KEYWORDS("similarity", module_similarity, similarity_doc),
    WITH_KEYWORDS("separate", module_separate, separate_doc),
    WITH_KEYWORDS("attention", module_attention, attention_doc),
    WITH_KEYWORDS("merge", uhnpy_merge, merge_doc),
    WITH_KEYWORDS("set_num_threads", module_set_num_threads, set_num_threads_doc),
    {"get_num_threads", module_get_num_threads, METH_NOARGS, get_num_threads_doc},
    {"similarities", module_similarities, METH_NOARGS, similarities_doc},
    {"separations", module_separations, METH_NOARGS, separations_doc},
    {"cpu_info", module_cpu_info, METH_NOARGS, cpu_info_doc},
    {"_take_rows", module_take_rows, METH_VARARGS,
     PyDoc_STR("_take_rows($module, array, name, n_columns, /)\n--\n\n"
               "A real matrix as float32 or float64, and whether it was given as one row.")},
    {"_rebuild_memory", uhnpy_rebuild_memory, METH_VARARGS,
     PyDoc_STR("_rebuild_memory($module, patterns, values, prior, keywords, /)\n--\n\n"
               "What a pickled Memory calls.")},
    {"_memory_read", uhnpy_memory_read, METH_VARARGS,
     PyDoc_STR("_memory_read($module, memory, name, start, n, /)\n--\n\n"
               "A copy of some rows of 'patterns', 'values' or 'prior'.")},
    {"_memory_map", uhnpy_memory_map, METH_VARARGS,
     PyDoc_STR("_memory_map($module, patterns, values, prior, keywords, /)\n--\n\n"
               "A Memory whose rows are looked at when they are first asked.")},
    {"_partial_for", uhnpy_memory_partial_for, METH_VARARGS,
     PyDoc_STR("_partial_for($module, memory, purpose, queries, k, score_sums, n_threads, /)\n"
               "--\n\nThe partial of all rows for 'answers', 'energies', 'nearest' or 'score "
               "sums'.")},
    {"_partial_answers", uhnpy_partial_answers, METH_O,
     PyDoc_STR("_partial_answers($module, partial, /)\n--\n\n"
               "The answers, and for each whether any pattern gave it.")},
    {"_partial_energies", uhnpy_partial_energies, METH_VARARGS,
     PyDoc_STR("_partial_energies($module, partial, states, /)\n--\n\n"
               "The energies of the states that the partial was asked.")},
    {"_partial_nearest", uhnpy_partial_nearest, METH_O,
     PyDoc_STR("_partial_nearest($module, partial, /)\n--\n\n"
               "Global rows and scores of the nearest patterns, best first.")},
    {"_partial_score_sums", uhnpy_partial_score_sums, METH_O,
     PyDoc_STR("_partial_score_sums($module, partial, /)\n--\n\n"
               "What the scores of each query are to be divided by.")},
    {"_rebuild_partial", uhnpy_rebuild_partial, METH_VARARGS,
     PyDoc_STR("_rebuild_partial($module, wire, single, /)\n--\n\n"
               "What a pickled Partial calls.")},
    {NULL, NULL, 0, NULL},
};

/* ---------------------------------------------------------------------------- the module -- */

static int intern(PyObject **slot, const char *name) {
    *slot = PyUnicode_InternFromString(name);
    return *slot ? 0 : -1;
}

static int fill_names(uhnpy_state *state) {
    static const char *const names[] = {
#define NAME(name) #name,
        UHNPY_NAMES(NAME)
#undef NAME
    };
    static const char *const transforms[UHN_N_TRANSFORMS] = {"negative", "inverse", "rbf"};
    static const char *const normalizes[UHN_N_NORMALIZES] = {"none", "sum"};
    int done = 0;
    for (int i = 0; i < UHNPY_N_NAMES; i++) {
        done |= intern(&state->names[i], names[i]);
    }
    for (int i = 0; i < UHN_N_SIMILARITIES; i++) {
        done |= intern(&state->similarity_names[i], similarity_row(i)->name);
    }
    for (int i = 0; i < UHN_N_SEPARATIONS; i++) {
        done |= intern(&state->separation_names[i], separation_row(i)->name);
    }
    for (int i = 0; i < UHN_N_TRANSFORMS; i++) {
        done |= intern(&state->transform_names[i], transforms[i]);
    }
    for (int i = 0; i < UHN_N_NORMALIZES; i++) {
        done |= intern(&state->normalize_names[i], normalizes[i]);
    }
    return done;
}

static int module_exec(PyObject *module) {
    if (PyArray_ImportNumPyAPI() < 0) {
        return -1;
    }
    uhnpy_state *state = PyModule_GetState(module);
    if (fill_names(state) < 0) {
        return -1;
    }
    state->memory_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &uhnpy_memory_spec, NULL);
    state->partial_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &uhnpy_partial_spec, NULL);
    state->rebuild_memory = PyObject_GetAttrString(module, "_rebuild_memory");
    state->rebuild_partial = PyObject_GetAttrString(module, "_rebuild_partial");
    if (PyModule_AddFunctions(module, uhnpy_network_functions) < 0 ||
        PyModule_AddFunctions(module, uhnpy_dense_functions) < 0 ||
        PyModule_AddFunctions(module, uhnpy_sdm_functions) < 0 ||
        PyModule_AddFunctions(module, uhnpy_landscape_functions) < 0 ||
        PyModule_AddFunctions(module, uhnpy_learning_functions) < 0) {
        return -1;
    }
    if (!state->memory_type || !state->partial_type || !state->rebuild_memory ||
        !state->rebuild_partial || PyModule_AddType(module, state->memory_type) < 0 ||
        PyModule_AddType(module, state->partial_type) < 0 ||
        PyModule_AddStringConstant(module, "__version__", UHN_VERSION) < 0) {
        return -1;
    }
    return 0;
}

/* Calls `visit` for every object of the state; what it returns ends the walk if not 0. */
static int for_each_object(uhnpy_state *state, int (*visit)(PyObject **, void *),
                           void *context) {
    PyObject **single[] = {(PyObject **)&state->memory_type, (PyObject **)&state->partial_type,
                           &state->rebuild_memory, &state->rebuild_partial,
                           &state->make_recall};
    struct {
        PyObject **objects;
        int n;
    } lists[] = {
        {state->names, UHNPY_N_NAMES},
        {state->similarity_names, UHN_N_SIMILARITIES},
        {state->separation_names, UHN_N_SEPARATIONS},
        {state->transform_names, UHN_N_TRANSFORMS},
        {state->normalize_names, UHN_N_NORMALIZES},
    };
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++) {
        int result = visit(single[i], context);
        if (result) {
            return result;
        }
    }
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        for (int j = 0; j < lists[i].n; j++) {
            int result = visit(&lists[i].objects[j], context);
            if (result) {
                return result;
            }
        }
    }
    return 0;
}

typedef struct {
    visitproc visit;
    void *arg;
} visitor;

static int visit_object(PyObject **object, void *context) {
    const visitor *to = context;
    return *object ? to->visit(*object, to->arg) : 0;
}

static int clear_object(PyObject **object, void *context) {
    (void)context;
    Py_CLEAR(*object);
    return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
    uhnpy_state *state = PyModule_GetState(module);
    visitor to = {visit, arg};
    return state ? for_each_object(state, visit_object, &to) : 0;
}

static int module_clear(PyObject *module) {
    uhnpy_state *state = PyModule_GetState(module);
    return state ? for_each_object(state, clear_object, NULL) : 0;
}

static void module_free(void *module) { module_clear(module); }

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    /* NumPy itself cannot be loaded by a second interpreter. */
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    /* Fields of a Memory are guarded by the interpreter lock, not by locks of their own. */
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

static PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "uhn._core",
    .m_doc = "Universal Hopfield networks: associative memories as one equation, compiled.",
    .m_size = sizeof(uhnpy_state),
    .m_methods = module_functions,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__core(void);
PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&module_def); }
