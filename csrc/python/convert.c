/*
 * convert.c - reading arguments: keywords, numbers, arrays and the equation.
 *
 * The common case is short: keywords are compared by address, and an exact array of the right
 * type is taken as it lies. Everything else goes through the slow half of the function, which
 * knows the names of the things that do not fit and says what to do about them.
 */
#include "convert.h"

#include "errors.h"
#include "run.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------------------- signatures -- */

/* "a, b, c" of everything a function takes. */
static PyObject *list_names(const uhnpy_state *state, const uhnpy_signature *signature) {
    PyObject *list = PyTuple_New(signature->n_names);
    if (!list) {
        return NULL;
    }
    for (int i = 0; i < signature->n_names; i++) {
        PyTuple_SET_ITEM(list, i, Py_NewRef(state->names[signature->names[i]]));
    }
    PyObject *comma = PyUnicode_FromString(", ");
    PyObject *joined = comma ? PyUnicode_Join(comma, list) : NULL;
    Py_XDECREF(comma);
    Py_DECREF(list);
    return joined;
}

static int take_keyword(const uhnpy_state *state, const uhnpy_signature *signature,
                        PyObject *name, PyObject *value, PyObject **values) {
    int found = -1;
    for (int i = 0; i < signature->n_names && found < 0; i++) {
        if (name == state->names[signature->names[i]]) {
            found = i;
        }
    }
    for (int i = 0; i < signature->n_names && found < 0; i++) {
        if (PyUnicode_Compare(name, state->names[signature->names[i]]) == 0) {
            found = i;
        }
    }
    if (found < 0) {
        if (PyErr_Occurred()) {
            return -1;
        }
        PyObject *names = list_names(state, signature);
        if (names) {
            PyErr_Format(PyExc_TypeError, "%s() has no parameter %R; it takes: %U",
                         signature->function, name, names);
            Py_DECREF(names);
        }
        return -1;
    }
    if (values[found]) {
        PyErr_Format(PyExc_TypeError, "%s() got %U twice, by position and by name",
                     signature->function, name);
        return -1;
    }
    values[found] = value;
    return 0;
}

static int take_positional(const uhnpy_state *state, const uhnpy_signature *signature,
                           PyObject *const *args, Py_ssize_t n_args, PyObject **values) {
    memset(values, 0, sizeof *values * (size_t)signature->n_names);
    if (n_args > signature->n_positional) {
        PyObject *names = list_names(state, signature);
        if (names) {
            PyErr_Format(PyExc_TypeError,
                         "%s() takes at most %d arguments by position, not %zd; it takes: %U",
                         signature->function, signature->n_positional, n_args, names);
            Py_DECREF(names);
        }
        return -1;
    }
    for (Py_ssize_t i = 0; i < n_args; i++) {
        values[i] = args[i];
    }
    return 0;
}

static int check_required(const uhnpy_state *state, const uhnpy_signature *signature,
                          PyObject *const *values) {
    for (int i = 0; i < signature->n_required; i++) {
        if (!values[i]) {
            PyErr_Format(PyExc_TypeError, "%s() needs the argument %U", signature->function,
                         state->names[signature->names[i]]);
            return -1;
        }
    }
    return 0;
}

int uhnpy_parse(const uhnpy_state *state, const uhnpy_signature *signature,
                PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames,
                PyObject **values) {
    if (take_positional(state, signature, args, n_args, values) < 0) {
        return -1;
    }
    Py_ssize_t n_keywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; i < n_keywords; i++) {
        if (take_keyword(state, signature, PyTuple_GET_ITEM(kwnames, i), args[n_args + i],
                         values) < 0) {
            return -1;
        }
    }
    return check_required(state, signature, values);
}

int uhnpy_parse_tuple(const uhnpy_state *state, const uhnpy_signature *signature,
                      PyObject *args, PyObject *kwargs, PyObject **values) {
    if (take_positional(state, signature, &PyTuple_GET_ITEM(args, 0), PyTuple_GET_SIZE(args),
                        values) < 0) {
        return -1;
    }
    PyObject *name, *value;
    Py_ssize_t position = 0;
    while (kwargs && PyDict_Next(kwargs, &position, &name, &value)) {
        if (!PyUnicode_Check(name)) {
            PyErr_Format(PyExc_TypeError, "%s() keywords must be strings", signature->function);
            return -1;
        }
        if (take_keyword(state, signature, name, value, values) < 0) {
            return -1;
        }
    }
    return check_required(state, signature, values);
}

/* ------------------------------------------------------------------------------- numbers -- */

/* True for what Python or NumPy would turn into a number but which is none: truth values, text,
 * complex numbers and arrays with axes. */
static bool poses_as_number(PyObject *value) {
    if (PyArray_Check(value)) {
        PyArrayObject *array = (PyArrayObject *)value;
        return PyArray_NDIM(array) > 0 || !(PyArray_ISINTEGER(array) || PyArray_ISFLOAT(array));
    }
    if (PyArray_CheckScalar(value)) {
        return !(PyArray_IsScalar(value, Integer) || PyArray_IsScalar(value, Floating)) ||
               PyArray_IsScalar(value, Timedelta);
    }
    return PyBool_Check(value) || PyComplex_Check(value) || PyUnicode_Check(value) ||
           PyBytes_Check(value) || PyByteArray_Check(value);
}

int uhnpy_take_number(PyObject *value, const char *what, double *out) {
    if (PyFloat_CheckExact(value)) {
        *out = PyFloat_AS_DOUBLE(value);
        return 0;
    }
    PyNumberMethods *methods = Py_TYPE(value)->tp_as_number;
    if (poses_as_number(value) || !methods || !(methods->nb_float || methods->nb_index)) {
        PyErr_Format(PyExc_TypeError, "%s must be a number, not %s", what,
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    double number = PyFloat_AsDouble(value);
    if (number == -1.0 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
            uhnpy_fail(PyExc_ValueError, "%s is too large for a float64", what);
        }
        return -1;
    }
    *out = number;
    return 0;
}

int uhnpy_take_size(PyObject *value, const char *what, size_t low, size_t *out) {
    if (poses_as_number(value) || !PyIndex_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s must be an integer, not %s (%R)%s", what,
                     Py_TYPE(value)->tp_name, value,
                     PyFloat_Check(value) || PyArray_IsScalar(value, Floating)
                         ? "; convert it with int()"
                         : "");
        return -1;
    }
    PyObject *whole = PyNumber_Index(value);
    if (!whole) {
        return -1;
    }
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(whole, &overflow);
    Py_DECREF(whole);
    if (number == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (overflow < 0 || (!overflow && number < 0) || (!overflow && (size_t)number < low)) {
        if (overflow) {
            uhnpy_fail(PyExc_ValueError, "%s must be at least %zu, not a huge negative number",
                       what, low);
        } else {
            uhnpy_fail(PyExc_ValueError, "%s must be at least %zu, not %lld", what, low,
                       number);
        }
        return -1;
    }
    if (overflow > 0 || number > PY_SSIZE_T_MAX) {
        uhnpy_fail(PyExc_ValueError, "%s is too large: at most %zd is possible", what,
                   PY_SSIZE_T_MAX);
        return -1;
    }
    *out = (size_t)number;
    return 0;
}

int uhnpy_take_bool(PyObject *value, const char *what, bool *out) {
    if (value == Py_True || value == Py_False) {
        *out = value == Py_True;
        return 0;
    }
    if (PyArray_IsScalar(value, Bool)) {
        int truth = PyObject_IsTrue(value);
        *out = truth > 0;
        return truth < 0 ? -1 : 0;
    }
    PyErr_Format(PyExc_TypeError, "%s must be True or False, not %s", what,
                 Py_TYPE(value)->tp_name);
    return -1;
}

/* -------------------------------------------------------------------------------- arrays -- */

/* 1 if `object` is an instance of `name` in `module`, where that module is loaded at all. */
static int is_instance_of(PyObject *object, const char *module, const char *name) {
    PyObject *key = PyUnicode_FromString(module);
    if (!key) {
        return -1;
    }
    PyObject *loaded = PyImport_GetModule(key);
    Py_DECREF(key);
    if (!loaded) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int result = 0;
    PyObject *type = PyObject_GetAttrString(loaded, name);
    Py_DECREF(loaded);
    if (type) {
        result = PyObject_IsInstance(object, type);
        Py_DECREF(type);
    } else {
        PyErr_Clear();
    }
    return result;
}

/* Refuses what NumPy would take but where something would be lost: the mask of a masked array. */
static int refuse_special(PyObject *object, const char *what) {
    if (object == Py_None) {
        PyErr_Format(PyExc_TypeError, "%s must be an array, not None", what);
        return -1;
    }
    if (PyArray_Check(object)) {
        int masked = is_instance_of(object, "numpy.ma", "MaskedArray");
        if (masked > 0) {
            PyErr_Format(PyExc_TypeError,
                         "%s is a masked array, and its mask would be ignored: pass "
                         "%s.filled(np.nan) with nan='missing', %s.filled(number), or drop the "
                         "masked rows",
                         what, what, what);
        }
        return masked ? -1 : 0;
    }
    return 0;
}

bool uhnpy_is_foreign(PyObject *object) {
    return !(PyArray_Check(object) || PyList_Check(object) || PyTuple_Check(object) ||
             PyArray_IsAnyScalar(object) || PyObject_CheckBuffer(object) || object == Py_None);
}

PyObject *uhnpy_ask_arrays(const char *function, PyObject *object, const char *what,
                           PyObject *more) {
    PyObject *module = PyImport_ImportModule("uhn._arrays");
    PyObject *result =
        module ? PyObject_CallMethod(module, function, more ? "OsO" : "Os", object, what, more)
               : NULL;
    Py_XDECREF(module);
    return result;
}

int uhnpy_check_names(PyObject *object, const char *what, PyObject *expected,
                      PyObject **names) {
    if (names) {
        *names = NULL;
    }
    if (!object || !(expected || names) || !uhnpy_is_foreign(object)) {
        return 0;
    }
    PyObject *found =
        uhnpy_ask_arrays("check_names", object, what, expected ? expected : Py_None);
    if (!found) {
        return -1;
    }
    if (names && found != Py_None) {
        *names = found;
    } else {
        Py_DECREF(found);
    }
    return 0;
}

/* TypeError for an array whose type is not a real number. */
static int refuse_dtype(PyArrayObject *array, const char *what) {
    const char *advice;
    if (PyArray_ISCOMPLEX(array)) {
        advice =
            "uhn computes with real numbers: pass the real and imaginary parts side by side "
            "as features, or the magnitude";
    } else if (PyArray_ISOBJECT(array)) {
        advice = "convert it with np.asarray(x, dtype=np.float64); rows of different lengths "
                 "cannot be stored";
    } else if (PyArray_ISSTRING(array)) {
        advice = "text must be encoded as numbers first";
    } else if (PyArray_ISDATETIME(array)) {
        advice =
            "subtract a date and divide by a time step, for example np.timedelta64(1, 's')";
    } else if (PyArray_TYPE(array) == NPY_VOID) {
        advice = "use numpy.lib.recfunctions.structured_to_unstructured";
    } else {
        advice = "cast it to float32 or float64";
    }
    PyErr_Format(PyExc_TypeError, "%s has dtype %S; %s", what, (PyObject *)PyArray_DESCR(array),
                 advice);
    return -1;
}

/* ValueError for a number that is finite in the array given and does not fit the type it goes
 * to. */
static int refuse_number(PyArrayObject *array, const char *what, npy_intp i, int type) {
    npy_intp n_columns = PyArray_NDIM(array) ? PyArray_DIM(array, PyArray_NDIM(array) - 1) : 1;
    PyErr_Format(
        PyExc_ValueError,
        "%s: the number at row %zd, column %zd does not fit %s; scale the data or use a "
        "wider memory",
        what, (Py_ssize_t)(i / n_columns), (Py_ssize_t)(i % n_columns),
        type == NPY_FLOAT ? "float32" : "float64");
    return -1;
}

/* From double or long double to a narrower type. NumPy's own cast would warn of an overflow and
 * go on with an infinity. */
static int narrow(PyArrayObject *from, PyArrayObject *to, const char *what) {
    npy_intp n = PyArray_SIZE(from);
    bool wide = PyArray_TYPE(from) == NPY_LONGDOUBLE;
    bool to_float = PyArray_TYPE(to) == NPY_FLOAT;
    for (npy_intp i = 0; i < n; i++) {
        npy_longdouble x = wide ? ((const npy_longdouble *)PyArray_DATA(from))[i]
                                : (npy_longdouble)((const double *)PyArray_DATA(from))[i];
        bool fits;
        if (to_float) {
            float y = wide ? (float)x : (float)((const double *)PyArray_DATA(from))[i];
            ((float *)PyArray_DATA(to))[i] = y;
            fits = !isinf(y) || isinf(x);
        } else {
            double y = (double)x;
            ((double *)PyArray_DATA(to))[i] = y;
            fits = !isinf(y) || isinf(x);
        }
        if (!fits) {
            return refuse_number(from, what, i, PyArray_TYPE(to));
        }
    }
    return 0;
}

/* Makes a contiguous array of `type` from any real array. */
static PyArrayObject *convert(PyArrayObject *array, const char *what, int type) {
    enum { FLAGS = NPY_ARRAY_CARRAY_RO | NPY_ARRAY_NOTSWAPPED | NPY_ARRAY_ENSUREARRAY };
    int from = PyArray_TYPE(array);
    bool narrows = from == NPY_LONGDOUBLE || (from == NPY_DOUBLE && type == NPY_FLOAT);
    if (!narrows) {
        PyArray_Descr *descr = PyArray_DescrFromType(type);
        return (PyArrayObject *)PyArray_FromArray(array, descr, FLAGS | NPY_ARRAY_FORCECAST);
    }
    PyArrayObject *wide =
        (PyArrayObject *)PyArray_FromArray(array, PyArray_DescrFromType(from), FLAGS);
    if (!wide) {
        return NULL;
    }
    PyArrayObject *result =
        (PyArrayObject *)PyArray_SimpleNew(PyArray_NDIM(wide), PyArray_DIMS(wide), type);
    if (result && narrow(wide, result, what) < 0) {
        Py_CLEAR(result);
    }
    Py_DECREF(wide);
    return result;
}

/* What NumPy made of the object, or an exception that names the argument. */
static PyArrayObject *make_array(PyObject *object, const char *what) {
    PyObject *array = PyArray_FromAny(object, NULL, 0, 0, NPY_ARRAY_ENSUREARRAY, NULL);
    if (array) {
        return (PyArrayObject *)array;
    }
    PyObject *kind = PyErr_ExceptionMatches(PyExc_ValueError)      ? PyExc_ValueError
                     : PyErr_ExceptionMatches(PyExc_OverflowError) ? PyExc_ValueError
                     : PyErr_ExceptionMatches(PyExc_TypeError)     ? PyExc_TypeError
                                                                   : NULL;
    if (kind) {
        PyObject *type, *value, *trace;
        PyErr_Fetch(&type, &value, &trace);
        PyErr_NormalizeException(&type, &value, &trace);
        PyErr_Format(kind, "%s cannot be made an array: %S", what, value ? value : Py_None);
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(trace);
    }
    return NULL;
}

int uhnpy_take_array(PyObject *object, const char *what, int type, uhnpy_array *out) {
    out->array = NULL;
    out->fresh = false;
    if (PyArray_CheckExact(object) && PyArray_ISCARRAY_RO((PyArrayObject *)object)) {
        int has = PyArray_TYPE((PyArrayObject *)object);
        if (has == type || (type == NPY_NOTYPE && (has == NPY_FLOAT || has == NPY_DOUBLE))) {
            out->array = (PyArrayObject *)Py_NewRef(object);
            return 0;
        }
    }
    PyObject *given = uhnpy_is_foreign(object) ? uhnpy_ask_arrays("take", object, what, NULL)
                                               : Py_NewRef(object);
    PyArrayObject *array =
        given && refuse_special(given, what) == 0 ? make_array(given, what) : NULL;
    Py_XDECREF(given);
    if (!array) {
        return -1;
    }
    /* The numbers of the built-in types are below NPY_OBJECT or equal to NPY_HALF. */
    if (!(PyArray_ISBOOL(array) || PyArray_ISINTEGER(array) || PyArray_ISFLOAT(array))) {
        refuse_dtype(array, what);
        Py_DECREF(array);
        return -1;
    }
    if (type == NPY_NOTYPE) {
        type = PyArray_TYPE(array) == NPY_FLOAT ? NPY_FLOAT : NPY_DOUBLE;
    }
    if (PyArray_TYPE(array) == type && PyArray_ISCARRAY_RO(array)) {
        out->array = array;
        return 0;
    }
    out->array = convert(array, what, type);
    out->fresh = true;
    Py_DECREF(array);
    return out->array ? 0 : -1;
}

int uhnpy_take_rows(PyObject *object, const char *what, const char *shape, int type,
                    uhnpy_rows *out) {
    uhnpy_array taken;
    out->array = NULL;
    if (uhnpy_take_array(object, what, type, &taken) < 0) {
        return -1;
    }
    PyArrayObject *array = taken.array;
    int n_axes = PyArray_NDIM(array);
    if (n_axes < 1 || n_axes > 2) {
        PyObject *has = uhnpy_shape(array);
        if (has) {
            PyErr_Format(PyExc_ValueError,
                         "%s has shape %R; pass a matrix (%s), or one row of it%s", what, has,
                         shape, n_axes > 2 ? ", for example by x.reshape(len(x), -1)" : "");
            Py_DECREF(has);
        }
        Py_DECREF(array);
        return -1;
    }
    out->array = array;
    out->data = PyArray_DATA(array);
    out->n_rows = n_axes == 2 ? (size_t)PyArray_DIM(array, 0) : 1;
    out->n_columns = (size_t)PyArray_DIM(array, n_axes - 1);
    out->type = PyArray_TYPE(array);
    out->single = n_axes == 1;
    out->fresh = taken.fresh;
    return 0;
}

int uhnpy_check_width(const uhnpy_rows *rows, const char *what, size_t n_features) {
    if (rows->n_columns == n_features) {
        return 0;
    }
    PyObject *has = uhnpy_shape(rows->array);
    if (has) {
        PyErr_Format(
            PyExc_ValueError,
            "%s has shape %R, that is %zu features a row, but the patterns have %zu; pass "
            "shape (%zu,) or (n, %zu)",
            what, has, rows->n_columns, n_features, n_features, n_features);
        Py_DECREF(has);
    }
    return -1;
}

PyArrayObject *uhnpy_take_out(PyObject *out, int type, int n_axes, const npy_intp *dims) {
    if (!uhnpy_given(out)) {
        return (PyArrayObject *)PyArray_SimpleNew(n_axes, dims, type);
    }
    const char *dtype = type == NPY_FLOAT ? "float32" : "float64";
    if (!PyArray_Check(out)) {
        return uhnpy_fail(PyExc_TypeError, "out must be a NumPy array of %s, not %s", dtype,
                          Py_TYPE(out)->tp_name);
    }
    int masked = PyArray_CheckExact(out) ? 0 : is_instance_of(out, "numpy.ma", "MaskedArray");
    if (masked) {
        return masked < 0
                   ? NULL
                   : uhnpy_fail(PyExc_TypeError, "out must be a plain array, not a masked "
                                                 "array; pass out.data");
    }
    PyArrayObject *array = (PyArrayObject *)out;
    if (PyArray_TYPE(array) != type || !PyArray_ISNOTSWAPPED(array)) {
        return uhnpy_fail(PyExc_TypeError, "out has dtype %S, but the result is %s",
                          (PyObject *)PyArray_DESCR(array), dtype);
    }
    if (PyArray_NDIM(array) != n_axes ||
        !PyArray_CompareLists(PyArray_DIMS(array), dims, n_axes)) {
        PyObject *has = uhnpy_shape(array);
        PyObject *wanted = has ? PyArray_IntTupleFromIntp(n_axes, dims) : NULL;
        if (wanted) {
            PyErr_Format(PyExc_ValueError, "out has shape %R, but the result has shape %R", has,
                         wanted);
            Py_DECREF(wanted);
        }
        Py_XDECREF(has);
        return NULL;
    }
    if (!PyArray_ISWRITEABLE(array)) {
        return uhnpy_fail(PyExc_ValueError, "out is read-only");
    }
    if (!PyArray_ISCARRAY(array)) {
        return uhnpy_fail(
            PyExc_ValueError,
            "out must be C-contiguous and aligned: pass a whole array, not a slice");
    }
    return (PyArrayObject *)Py_NewRef(out);
}

/* The bytes between which the elements of an array lie, whatever its strides; false if there
 * are none. */
static bool extent(PyArrayObject *array, const char **low, const char **high) {
    const char *first = PyArray_BYTES(array), *last = first + PyArray_ITEMSIZE(array);
    for (int i = 0; i < PyArray_NDIM(array); i++) {
        if (PyArray_DIM(array, i) == 0) {
            return false;
        }
        npy_intp span = (PyArray_DIM(array, i) - 1) * PyArray_STRIDE(array, i);
        if (span < 0) {
            first += span;
        } else {
            last += span;
        }
    }
    *low = first;
    *high = last;
    return true;
}

int uhnpy_check_apart(PyArrayObject *out, PyArrayObject *array, const char *what) {
    const char *low, *high, *out_low, *out_high;
    if (extent(array, &low, &high) && extent(out, &out_low, &out_high) && low < out_high &&
        out_low < high) {
        PyErr_Format(PyExc_ValueError, "out shares memory with %s; pass an array of its own",
                     what);
        return -1;
    }
    return 0;
}

/* ------------------------------------------------------------------------------ equation -- */

bool uhnpy_reads(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *at = list; *at;) {
        size_t word = strcspn(at, ", ");
        if (word == n && memcmp(at, name, n) == 0) {
            return true;
        }
        at += word;
        at += strspn(at, ", ");
    }
    return false;
}

/* The number of the row of that name, -1 if there is none; then the exception lists them. */
static int find_row(PyObject *value, const char *what, PyObject *const *names, int n_names,
                    const char *also) {
    for (int i = 0; i < n_names; i++) {
        if (value == names[i]) {
            return i;
        }
    }
    bool text = PyUnicode_Check(value);
    for (int i = 0; i < n_names && text; i++) {
        if (PyUnicode_Compare(value, names[i]) == 0) {
            return i;
        }
    }
    if (PyErr_Occurred()) {
        return -1;
    }
    PyObject *list = PyUnicode_FromString("");
    for (int i = 0; i < n_names && list; i++) {
        Py_SETREF(list, PyUnicode_FromFormat("%U%s%R", list, i ? ", " : "", names[i]));
    }
    if (list && text) {
        PyErr_Format(PyExc_ValueError, "%s %R is unknown; it is one of %U", what, value, list);
    } else if (list) {
        PyErr_Format(PyExc_TypeError, "%s must be a name%s, not %s; the names are %U", what,
                     also, Py_TYPE(value)->tp_name, list);
    }
    Py_XDECREF(list);
    return -1;
}

/* Says that a row takes no such parameter; `reads` is what it does read. */
static int refuse_parameter(const char *table, PyObject *row, const char *name,
                            const char *reads) {
    PyErr_Format(PyExc_ValueError, "%s %R takes no %s; it reads: %s", table, row, name,
                 reads[0] ? reads : "none");
    return -1;
}

/* A similarity, how its distance is turned round, and the two parameters of that. */
static int take_similarity(const uhnpy_state *state, PyObject *const *values,
                           uhnpy_equation *out) {
    uhn_equation *core = &out->core;
    PyObject *name = values[UHNPY_similarity];
    const uhn_row_info *info = NULL;
    if (name && !PyUnicode_Check(name) && PyCallable_Check(name)) {
        core->similarity = UHN_SIM_custom;
        core->score = uhnpy_score;
        out->score = name;
    } else if (name) {
        int row = find_row(name, "similarity", state->similarity_names, UHN_N_SIMILARITIES,
                           " or a callable (patterns, queries) -> scores");
        if (row < 0) {
            return -1;
        }
        core->similarity = (uhn_similarity)row;
    }
    PyObject *transform = values[UHNPY_transform], *eps = values[UHNPY_eps];
    PyObject *gamma = values[UHNPY_gamma];
    if (!(uhnpy_given(transform) || uhnpy_given(eps) || uhnpy_given(gamma))) {
        return 0;
    }
    if (!out->score) {
        info = uhn_similarity_info(core->similarity);
        name = state->similarity_names[core->similarity];
    }
    if (uhnpy_given(transform)) {
        int row =
            find_row(transform, "transform", state->transform_names, UHN_N_TRANSFORMS, "");
        if (row < 0) {
            return -1;
        }
        if (!info || !info->is_distance) {
            PyErr_Format(
                PyExc_ValueError,
                "similarity %R takes no transform: it is no distance; transforms are for "
                "'euclidean', 'sqeuclidean', 'manhattan', 'chebyshev', 'hamming', 'kl', "
                "'reverse_kl' and 'jensen_shannon'",
                name);
            return -1;
        }
        core->transform = (uhn_transform)row;
    }
    bool reads_eps =
        info && (core->transform == UHN_INVERSE || uhnpy_reads(info->parameters, "eps"));
    bool reads_gamma = info && core->transform == UHN_RBF;
    const char *reads = reads_eps     ? (reads_gamma ? "eps, gamma" : "eps")
                        : reads_gamma ? "gamma"
                                      : "";
    const char *hint = info && info->is_distance
                           ? " (eps goes with transform='inverse', gamma with transform='rbf')"
                           : "";
    if (uhnpy_given(eps)) {
        if (!reads_eps) {
            PyErr_Format(PyExc_ValueError, "similarity %R takes no eps; it reads: %s%s", name,
                         reads[0] ? reads : "none", hint);
            return -1;
        }
        if (uhnpy_take_number(eps, "eps", &core->eps) < 0) {
            return -1;
        }
    }
    if (uhnpy_given(gamma)) {
        if (!reads_gamma) {
            PyErr_Format(PyExc_ValueError, "similarity %R takes no gamma; it reads: %s%s", name,
                         reads[0] ? reads : "none", hint);
            return -1;
        }
        if (uhnpy_take_number(gamma, "gamma", &core->gamma) < 0) {
            return -1;
        }
    }
    return 0;
}

/* A separation with its parameters. */
static int take_separation(const uhnpy_state *state, PyObject *const *values,
                           uhnpy_equation *out) {
    uhn_equation *core = &out->core;
    PyObject *name = values[UHNPY_separation];
    const uhn_row_info *info = NULL;
    if (name && !PyUnicode_Check(name) && PyCallable_Check(name)) {
        core->separation = UHN_SEP_custom;
        core->weigh = uhnpy_weigh;
        out->weigh = name;
    } else {
        int row = UHN_SEP_softmax;
        if (name) {
            row = find_row(name, "separation", state->separation_names, UHN_N_SEPARATIONS,
                           " or a callable scores -> weights");
            if (row < 0) {
                return -1;
            }
        }
        core->separation = (uhn_separation)row;
        info = uhn_separation_info(core->separation);
        name = state->separation_names[row];
    }
    const char *reads = info ? info->parameters : "";
    static const struct {
        const char *text;
        uhnpy_name name;
        size_t offset;
    } numbers[] = {
        {"beta", UHNPY_beta, offsetof(uhn_equation, beta)},
        {"degree", UHNPY_degree, offsetof(uhn_equation, degree)},
        {"alpha", UHNPY_alpha, offsetof(uhn_equation, alpha)},
        {"theta", UHNPY_theta, offsetof(uhn_equation, theta)},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        PyObject *value = values[numbers[i].name];
        if (!uhnpy_given(value)) {
            continue;
        }
        if (!uhnpy_reads(reads, numbers[i].text)) {
            return refuse_parameter("separation", name, numbers[i].text, reads);
        }
        double *field = (double *)((char *)core + numbers[i].offset);
        if (uhnpy_take_number(value, numbers[i].text, field) < 0) {
            return -1;
        }
    }
    if (uhnpy_given(values[UHNPY_k])) {
        if (!uhnpy_reads(reads, "k")) {
            return refuse_parameter("separation", name, "k", reads);
        }
        if (uhnpy_take_size(values[UHNPY_k], "k", 1, &core->k) < 0) {
            return -1;
        }
    }
    if (uhnpy_given(values[UHNPY_normalize])) {
        int row = find_row(values[UHNPY_normalize], "normalize", state->normalize_names,
                           UHN_N_NORMALIZES, "");
        if (row < 0) {
            return -1;
        }
        if (row != UHN_NORMALIZE_NONE && info && !info->has_normalize) {
            PyErr_Format(PyExc_ValueError,
                         "separation %R takes no normalize=%R: its weights are "
                         "normalised by definition",
                         name, values[UHNPY_normalize]);
            return -1;
        }
        core->normalize = (uhn_normalize)row;
    }
    if (values[UHNPY_normalize_scores]) {
        return uhnpy_take_bool(values[UHNPY_normalize_scores], "normalize_scores",
                               &core->normalize_scores);
    }
    return 0;
}

int uhnpy_take_equation(const uhnpy_state *state, PyObject *const *values,
                        uhnpy_equation *out) {
    out->core = uhn_equation_default();
    out->score = NULL;
    out->weigh = NULL;
    if (take_similarity(state, values, out) < 0 || take_separation(state, values, out) < 0) {
        return -1;
    }
    uhn_error error = {.status = UHN_OK};
    uhn_status status = uhn_equation_check(&out->core, &error);
    if (status != UHN_OK) {
        uhnpy_raise(status, &error);
        return -1;
    }
    return 0;
}
