"""Arrays of other libraries: taken in without a copy where they let us, and handed back.

The binding takes arrays of NumPy, buffers (``memoryview``, ``array.array``, JAX on the CPU),
lists and numbers by itself. It asks `take` for everything else, in this order: DLPack
(PyTorch), ``to_numpy`` (pandas, polars, and whatever else has it), Arrow, and last what
NumPy's ``__array__`` makes of it. No library is imported here unless the object is its own;
Arrow objects of other libraries (the PyCapsule interface) need pyarrow to be read.

What cannot be taken is a TypeError that says what to write instead. Entries that are missing,
null, become NaN, which the core refuses or reads as unknown, as the caller said.
"""

from __future__ import annotations

import functools
import importlib
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from uhn import _core

__all__ = ["check_names", "explain", "like", "take"]

#: Devices of DLPack whose memory the CPU reads: main memory, and three that are pinned to it.
_HOSTS = (1, 3, 11, 13)
_DEVICES = {2: "CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 14: "oneAPI"}


@functools.lru_cache(maxsize=256)
def _of_class(kind: Any) -> frozenset[str]:
    return frozenset(base.__module__.partition(".")[0] for base in kind.__mro__)


def _libraries(given: object) -> frozenset[str]:
    """The packages that an object's class, and those it is derived from, are of."""
    kind: Any = type(given)
    return _of_class(kind)


def _is_of(given: object, library: str) -> bool:
    return library in _libraries(given)


def take(given: Any, what: str) -> Any:
    """An array of what is neither array, buffer, list nor number.

    Parameters
    ----------
    given : object
    what : str
        The argument's name, for messages.

    Returns
    -------
    ndarray, or the object itself
        The latter where nothing better is known than to let NumPy try.

    Raises
    ------
    TypeError
        If it holds something that is no real number, or that is not in the CPU's memory.
    ImportError
        If it is an Arrow object of another library, and pyarrow is not installed.
    """
    if _is_of(given, "pandas"):
        return _take_pandas(given, what)
    if _is_of(given, "polars"):
        return _take_polars(given, what)
    if _is_of(given, "pyarrow"):
        return _take_arrow(given, what)
    if hasattr(given, "toarray") and _is_of(given, "scipy"):
        raise TypeError(
            f"{what} is a sparse array ({type(given).__name__}): pass {what}.toarray()"
        )
    if hasattr(given, "todense") and _is_of(given, "sparse"):
        raise TypeError(
            f"{what} is a sparse array ({type(given).__name__}): pass {what}.todense()"
        )
    if hasattr(given, "__dlpack__") and hasattr(given, "__dlpack_device__"):
        return _take_dlpack(given, what)
    if hasattr(given, "to_numpy"):
        return given.to_numpy()
    if hasattr(given, "__arrow_c_array__") or hasattr(given, "__arrow_c_stream__"):
        return _take_arrow(given, what)
    return given


# ------------------------------------------------------------------------------------ DLPack --


def _take_dlpack(given: Any, what: str) -> Any:
    # A tensor may say no to several things at once: `fix` is one expression that cures all.
    fix, reasons = what, []
    torch = _is_of(given, "torch")
    if torch:
        if given.device.type == "meta":
            raise TypeError(f"{what} is on the device 'meta', which holds no numbers")
        if given.requires_grad:
            reasons.append("requires grad")
            fix += ".detach()"
        if str(given.layout) != "torch.strided":
            reasons.append(f"is a sparse tensor ({given.layout})")
            fix += ".to_dense()"
        if given.is_quantized:
            reasons.append("is quantized")
            fix += ".dequantize()"
    device = given.__dlpack_device__()[0]
    if device not in _HOSTS:
        reasons.append(f"is on a {_DEVICES.get(device, 'foreign')} device (DLPack {device})")
        fix += ".cpu()" if hasattr(given, "cpu") else ".get()"
        if not (hasattr(given, "cpu") or hasattr(given, "get")):
            fix = "a copy in the CPU's memory"
    if torch and _lacks_dtype(given.dtype):
        reasons.append(f"has dtype {given.dtype}, which NumPy does not know")
        fix += ".float()"
    if reasons:
        raise TypeError(f"{what} {' and '.join(reasons)}: pass {fix}")
    if torch and given.is_neg():
        given = given.resolve_neg()  # its signs are a flag that DLPack does not hand over
    try:
        return np.from_dlpack(given)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        if torch or not hasattr(given, "__array__"):
            raise TypeError(
                f"{what} does not come by DLPack ({error}); pass a NumPy array of it"
            ) from error
    return given


def _lacks_dtype(dtype: Any) -> bool:
    """True for numbers of PyTorch that NumPy has no type for: bfloat16, float8 and kin."""
    return "bfloat16" in str(dtype) or "float8" in str(dtype) or "float4" in str(dtype)


# ------------------------------------------------------------------------------------ frames --


def _refuse_column(what: str, name: object, dtype: object, fix: str) -> TypeError:
    column = "" if name is None else f" in column {name!r}"
    return TypeError(f"{what} has dtype {dtype}{column}, which is no real number; {fix}")


def _join(columns: list[npt.NDArray[Any]], n_rows: int) -> npt.NDArray[Any]:
    """Columns, each (n_rows,) or (n_rows, width), side by side in one C-ordered array.

    float32 if all of them are; a column alone is not copied.
    """
    wide = [column.reshape(n_rows, -1) if n_rows else column for column in columns]
    wide = [column if column.ndim == 2 else column.reshape(0, 1) for column in wide]
    if len(wide) == 1:
        return wide[0]
    single = bool(wide) and all(column.dtype == np.float32 for column in wide)
    whole = np.empty(
        (n_rows, sum(column.shape[1] for column in wide)), np.float32 if single else np.float64
    )
    at = 0
    for column in wide:
        whole[:, at : at + column.shape[1]] = column
        at += column.shape[1]
    return whole


def _take_pandas(given: Any, what: str) -> Any:
    if hasattr(given, "dtypes") and hasattr(given, "columns"):
        columns = list(zip(given.columns, given.dtypes, strict=True))
    elif hasattr(given, "dtype") and hasattr(given, "to_numpy"):
        columns = [(None, given.dtype)]
    else:
        return given
    for name, dtype in columns:
        if getattr(dtype, "kind", "O") not in "biuf":
            fix = f"encode it as numbers, or pass {what}.select_dtypes('number')"
            if name is None:
                fix = "encode it as numbers"
            if str(dtype) == "object":
                fix += f"; if it holds numbers, pass {what}.astype(float)"
            raise _refuse_column(what, name, dtype, fix)
    if not columns:
        return np.empty((len(given), 0))
    dtypes = {dtype for _, dtype in columns}
    if len(dtypes) == 1 and all(isinstance(dtype, np.dtype) for dtype in dtypes):
        return given.to_numpy()
    names = {str(getattr(dtype, "numpy_dtype", dtype)) for dtype in dtypes}
    dtype = np.float32 if names == {"float32"} else np.float64
    return given.to_numpy(dtype=dtype, na_value=np.nan)


def _take_polars(given: Any, what: str) -> Any:
    if hasattr(given, "collect"):
        raise TypeError(
            f"{what} is a {type(given).__name__}, which holds no numbers yet: "
            f"pass {what}.collect()"
        )
    if hasattr(given, "get_columns"):
        columns = [_take_polars_column(c, what, c.name) for c in given.get_columns()]
        return _join(columns, given.height)
    return _take_polars_column(given, what, None) if hasattr(given, "cast") else given


def _take_polars_column(column: Any, what: str, name: str | None) -> npt.NDArray[Any]:
    pl = sys.modules["polars"]
    dtype = column.dtype
    inner = dtype
    while isinstance(inner, pl.Array):
        inner = inner.inner
    if inner == pl.Boolean and isinstance(dtype, pl.Array):
        column = column.cast(pl.Array(pl.Float64, dtype.shape))
    elif inner in (pl.Boolean, pl.Null):
        column = column.cast(pl.UInt8)
    elif isinstance(dtype, pl.List):
        raise TypeError(
            f"{what} holds lists of any length ({dtype}): "
            f"cast it to pl.Array(pl.Float64, width)"
        )
    elif not inner.is_numeric():
        fix = "encode it as numbers, or drop the column"
        raise _refuse_column(what, name, dtype, fix)
    elif inner.is_decimal():
        column = column.cast(pl.Float64)
    elif isinstance(dtype, pl.Array) and inner.is_integer():
        column = column.cast(pl.Array(pl.Float64, dtype.shape))
    return np.asarray(column.to_numpy())


# ------------------------------------------------------------------------------------- Arrow --


def _take_arrow(given: Any, what: str) -> Any:
    try:
        pa = importlib.import_module("pyarrow")
    except ImportError:
        if hasattr(given, "__array__"):
            return given
        raise ImportError(
            f"{what} is an Arrow object ({type(given).__module__}): pip install 'uhn[arrow]' "
            "to have it read, or pass a NumPy array"
        ) from None
    if not _is_of(given, "pyarrow"):
        one = hasattr(given, "__arrow_c_array__")
        given = pa.array(given) if one else pa.chunked_array(given)
    elif isinstance(given, pa.RecordBatchReader):
        given = given.read_all()
    if isinstance(given, (pa.Array, pa.ChunkedArray)) and pa.types.is_struct(given.type):
        if given.null_count:
            raise TypeError(f"{what} has rows that are null: pass its drop_null()")
        fields = [given.type.field(i).name for i in range(given.type.num_fields)]
        parts = given.flatten()
    elif isinstance(given, (pa.Table, pa.RecordBatch)):
        fields, parts = given.schema.names, given.columns
    elif isinstance(given, (pa.Array, pa.ChunkedArray)):
        return _arrow_column(pa, given, what, None)
    else:
        return given
    columns = [
        _arrow_column(pa, part, what, name) for part, name in zip(parts, fields, strict=True)
    ]
    return _join(columns, len(given))


def _arrow_column(pa: Any, column: Any, what: str, name: str | None) -> npt.NDArray[Any]:
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    if not chunks:
        chunks = [pa.array([], column.type)]
    arrays = [_arrow_chunk(pa, chunk, what, name) for chunk in chunks]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _arrow_chunk(pa: Any, chunk: Any, what: str, name: str | None) -> npt.NDArray[Any]:
    """(n,), or (n, width) for lists of one length."""
    kind, is_type = chunk.type, pa.types
    if isinstance(kind, pa.FixedShapeTensorType) and chunk.null_count == 0 and len(chunk):
        tensors: npt.NDArray[Any] = chunk.to_numpy_ndarray()
        return tensors.reshape(len(chunk), -1)
    if isinstance(kind, pa.BaseExtensionType):
        return _arrow_chunk(pa, chunk.storage, what, name)
    if is_type.is_dictionary(kind):
        return _arrow_chunk(pa, chunk.dictionary_decode(), what, name)
    if is_type.is_fixed_size_list(kind):
        width = kind.list_size
        inner = chunk.values.slice(chunk.offset * width, len(chunk) * width)
        rows = _arrow_chunk(pa, inner, what, name)
        rows = rows.reshape(len(chunk), -1) if rows.size else rows.reshape(len(chunk), width)
        if chunk.null_count:
            rows = rows.astype(np.float32 if rows.dtype == np.float32 else np.float64)
            rows[chunk.is_null().to_numpy(zero_copy_only=False)] = np.nan
        return rows
    if is_type.is_list(kind) or is_type.is_large_list(kind):
        raise TypeError(
            f"{what} holds lists of any length ({kind}): "
            f"cast it to pyarrow.list_(pyarrow.float64(), width)"
        )
    if is_type.is_boolean(kind):
        chunk = chunk.cast(pa.uint8())
    elif is_type.is_null(kind) or is_type.is_decimal(kind):
        chunk = chunk.cast(pa.float64())
    elif not (is_type.is_integer(kind) or is_type.is_floating(kind)):
        fix = "encode it as numbers, or drop the column"
        raise _refuse_column(what, name, kind, fix)
    return np.asarray(chunk.to_numpy(zero_copy_only=False))


# ------------------------------------------------------------------------------------- names --


def _names(given: Any) -> tuple[str, ...] | None:
    """The names of a frame's columns, if every column is one number wide and named by text."""
    names: list[Any] = []
    if _is_of(given, "pandas"):
        labels = getattr(given, "columns", getattr(given, "index", None))
        names = [] if labels is None else list(labels)
    elif _is_of(given, "polars") and hasattr(given, "get_columns"):
        pl = sys.modules["polars"]
        narrow = not any(isinstance(dtype, pl.Array) for dtype in given.dtypes)
        names = given.columns if narrow else []
    elif _is_of(given, "pyarrow") and hasattr(given, "column_names"):
        types = sys.modules["pyarrow"].types
        narrow = not any(types.is_fixed_size_list(kind) for kind in given.schema.types)
        names = given.column_names if narrow else []
    return tuple(names) if names and all(type(name) is str for name in names) else None


def check_names(
    given: Any, what: str, expected: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    """The names of a frame's columns, which are the expected ones if both are known.

    Parameters
    ----------
    given : object
    what : str
        The argument's name, for messages.
    expected : tuple of str or None

    Returns
    -------
    tuple of str or None
        None where it is no frame, or its columns are not all named by text.

    Raises
    ------
    ValueError
        If there are names, and others than expected; the message shows the first difference.
    """
    names = _names(given)
    if names is None or expected is None or names == expected:
        return names
    stored = "value_names" if what == "values" else "feature_names"
    if sorted(names) == sorted(expected):
        at = next(i for i, name in enumerate(expected) if names[i] != name)
        order = f"list(memory.{stored})"
        fix = f"[{order}]" if _is_of(given, "pandas") else f".select({order})"
        raise ValueError(
            f"{what} has its columns in another order than those stored: column {at} is "
            f"{names[at]!r}, not {expected[at]!r}; pass {what}{fix}"
        )
    lacking = [name for name in expected if name not in names]
    more = [name for name in names if name not in expected]
    said = [f"it lacks {lacking[0]!r}"] if lacking else []
    said += [f"{more[0]!r} was not stored"] if more else []
    said = said or ["a name comes several times"]
    raise ValueError(
        f"{what} has other columns than those stored: {' and '.join(said)}; "
        f"memory.{stored} are the names to pass"
    )


# ------------------------------------------------------------------------------ handing back --


def like(answer: npt.NDArray[Any], given: Any, names: tuple[str, ...] | None) -> Any:
    """The answer as what the query was.

    Parameters
    ----------
    answer : ndarray, shape (n_queries, n_values) or (n_values,)
    given : object
        The query.
    names : tuple of str or None
        Of the columns of the answer; None: those of the query, if they are as many.

    Returns
    -------
    object
        A tensor of PyTorch, an array of JAX, a frame or series of pandas (with the query's
        index) or polars, a table, batch or array of pyarrow; else `answer`.
    """
    known = _libraries(given) & _MAKERS.keys()
    return _MAKERS[min(known)](answer, given, names) if known else answer


def _like_torch(answer: npt.NDArray[Any], given: Any, names: object) -> Any:
    return sys.modules["torch"].from_dlpack(answer)


def _like_jax(answer: npt.NDArray[Any], given: Any, names: object) -> Any:
    return sys.modules["jax.numpy"].asarray(answer)


def _like_pandas(answer: npt.NDArray[Any], given: Any, names: tuple[str, ...] | None) -> Any:
    pd = sys.modules["pandas"]
    width = answer.shape[-1]
    labels: Any = names
    if labels is None or len(labels) != width:
        labels = getattr(given, "columns", getattr(given, "index", None))
        labels = labels if labels is not None and len(labels) == width else None
    if answer.ndim == 2:
        return pd.DataFrame(answer, index=given.index, columns=labels, copy=False)
    return pd.Series(answer, index=labels, name=getattr(given, "name", None), copy=False)


def _text_names(width: int, names: tuple[str, ...] | None, of_query: Any) -> list[str]:
    """Names for libraries that have no columns without."""
    for known in (names, of_query):
        if known is not None and len(known) == width:
            return list(known)
    return [f"value_{i}" for i in range(width)]


def _like_polars(answer: npt.NDArray[Any], given: Any, names: tuple[str, ...] | None) -> Any:
    pl = sys.modules["polars"]
    if not hasattr(given, "get_columns"):
        return pl.Series(given.name, answer)
    if given.width == 1 and isinstance(given.dtypes[0], pl.Array):
        return pl.DataFrame([pl.Series(given.columns[0], answer)])
    return pl.DataFrame(
        answer, schema=_text_names(answer.shape[1], names, given.columns), orient="row"
    )


def _like_arrow(answer: npt.NDArray[Any], given: Any, names: tuple[str, ...] | None) -> Any:
    pa = sys.modules["pyarrow"]
    chunked = isinstance(given, pa.ChunkedArray)
    if isinstance(given, pa.Tensor):
        return pa.Tensor.from_numpy(answer)
    if isinstance(given, (pa.Array, pa.ChunkedArray)) and not pa.types.is_struct(given.type):
        flat = pa.array(answer.reshape(-1))
        if answer.ndim == 2:
            flat = pa.FixedSizeListArray.from_arrays(flat, answer.shape[1])
        return pa.chunked_array([flat]) if chunked else flat
    if isinstance(given, (pa.Table, pa.RecordBatch)):
        names = tuple(_text_names(answer.shape[1], names, given.schema.names))
        kind = type(given)
        if given.num_columns == 1 and pa.types.is_fixed_size_list(given.schema.types[0]):
            flat = pa.array(answer.reshape(-1))
            rows = pa.FixedSizeListArray.from_arrays(flat, answer.shape[1])
            return kind.from_arrays([rows], names=given.schema.names)
        columns = [pa.array(np.ascontiguousarray(column)) for column in answer.T]
        return kind.from_arrays(columns, names=list(names))
    return answer


_MAKERS = {
    "torch": _like_torch,
    "jax": _like_jax,
    "jaxlib": _like_jax,
    "pandas": _like_pandas,
    "polars": _like_polars,
    "pyarrow": _like_arrow,
}


# ----------------------------------------------------------------------------------- explain --


def explain(x: Any) -> str:
    """Say what a memory would do with an array: borrow it, copy it, or refuse it.

    It is tried. The numbers themselves are not looked at: NaN is found when they are stored.
    What is said is so for the first rows of a memory, for queries, and for a model; what is
    stored later is gathered, copied, where it has less than 64 kB.

    Parameters
    ----------
    x : object
        What could be given as patterns or queries.

    Returns
    -------
    str
        One sentence: "borrowed, not copied" with dtype, shape and address of the numbers;
        "copied" with the reason and what would avoid it; or "refused" with the reason and what
        to pass instead.

    Examples
    --------
    >>> import numpy as np, uhn
    >>> uhn.explain(np.eye(3, dtype=np.int8))
    'x is copied, to float64 of shape (3, 3): its dtype is int8, and floats alone are borrowed'
    >>> uhn.explain(["a", "b"])
    'x is refused: x has dtype <U1; text must be encoded as numbers first'
    """
    try:
        if isinstance(x, np.ndarray):
            # What an array is does not depend on how many rows there are: one is enough.
            _core._take_rows(x[:1] if x.ndim == 2 else x, "x", -1)
            array, borrowed = x, _can_be_borrowed(x)
        else:
            rows, single = _core._take_rows(x, "x", -1)
            again = _core._take_rows(x, "x", -1)[0]
            array = rows[0] if single else rows
            # Whoever owns the numbers gives them out at the same place each time; copies that
            # are both alive cannot lie at the same place.
            borrowed = rows.size > 0 and _address(rows) == _address(again)
    except (TypeError, ValueError, ImportError) as error:
        return f"x is refused: {error}"
    if borrowed:
        where = f"{array.dtype} of shape {array.shape} at address {_address(array):#x}"
        return f"x is borrowed, not copied: {where}"
    dtype = np.float32 if array.dtype.newbyteorder("=") == np.float32 else np.float64
    return f"x is copied, to {np.dtype(dtype)} of shape {array.shape}: {_why_copied(x)}"


def _address(array: npt.NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _can_be_borrowed(array: npt.NDArray[Any]) -> bool:
    right = array.dtype in (np.dtype(np.float32), np.dtype(np.float64))
    return right and array.flags.c_contiguous and array.flags.aligned and array.size > 0


def _why_copied(x: Any) -> str:
    if isinstance(x, (list, tuple, int, float)):
        return "numbers of Python have to be gathered; a NumPy array is borrowed"
    array = x if isinstance(x, np.ndarray) else np.asarray(take(x, "x"))
    if array.size == 0:
        return "there is nothing in it to borrow"
    native = array.dtype.newbyteorder("=")
    if native not in (np.dtype("f4"), np.dtype("f8")):
        return f"its dtype is {array.dtype}, and floats alone are borrowed"
    if native != array.dtype:
        return f"its bytes are in the other order; x.astype(np.{native}) is borrowed"
    if not array.flags.aligned:
        return "its address is no multiple of the size of a number; x.copy() is borrowed"
    if not array.flags.c_contiguous:
        return "its rows do not lie one behind the other; np.ascontiguousarray(x) is borrowed"
    return f"{type(x).__name__} gives no view of its numbers; a NumPy array of it is borrowed"
