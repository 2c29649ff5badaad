"""Arrays in and out: every library's, without a copy where that is promised; and streams.

What is promised of an array is checked where it can be seen: the numbers of a memory that
borrows lie at the lender's address, which is asked of the lender's own library.
"""

from __future__ import annotations

import array
import contextlib
import copy
import datetime
import decimal
import gc
import itertools
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import uhn

RNG = np.random.default_rng(20260)
PATTERNS = RNG.normal(size=(7, 3))
QUERIES = RNG.normal(size=(4, 3))
DTYPES = ["float32", "float64", "float16", "int32", "uint8", "bool"]


def library(name: str) -> ModuleType:
    return pytest.importorskip(name, reason=f"{name} is not installed: pip install {name}")


def possible(*makers: Callable[[], Any]) -> list[Any]:
    """What they make, without those whose library is not installed."""
    made = []
    for make in makers:
        with contextlib.suppress(pytest.skip.Exception):
            made.append(make())
    return made


def address(x: Any) -> int:
    return x.__array_interface__["data"][0]


def held(memory: uhn.Memory) -> np.ndarray:
    """The patterns as they lie in the memory; an error if that needs a copy."""
    return np.asarray(memory, copy=False)


def real(x: np.ndarray) -> np.ndarray:
    """The casting rule: float32 stays, every other real type computes in float64."""
    return np.array(
        x, np.float32 if x.dtype.newbyteorder("=") == np.float32 else np.float64, order="C"
    )


# ----------------------------------------------------------------- lenders with one protocol --


class OfDLPack:
    """Has DLPack and nothing else, and keeps what it was asked."""

    def __init__(self, x: np.ndarray, device: tuple[int, int] = (1, 0)) -> None:
        self.x, self.device, self.asked = x, device, {}

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **keywords: Any) -> Any:
        self.asked = keywords
        return self.x.__dlpack__(**keywords)


class OnDevice(OfDLPack):
    def cpu(self) -> None: ...


class OfCupy(OfDLPack):
    def get(self) -> None: ...


class OfArray:
    def __init__(self, x: np.ndarray) -> None:
        self.x = x

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.x if dtype is None else self.x.astype(dtype)


class OfInterface:
    def __init__(self, x: np.ndarray) -> None:
        self.x, self.__array_interface__ = x, x.__array_interface__


class OfToNumpy:
    def __init__(self, x: np.ndarray) -> None:
        self.x = x

    def to_numpy(self) -> np.ndarray:
        return self.x


class OfArrowStream:
    def __init__(self, table: Any) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


class OfArrowArray:
    def __init__(self, table: Any) -> None:
        self.table = table

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_array__(requested_schema)


def make_torch(x: np.ndarray) -> Any:
    return library("torch").from_numpy(x.copy())


def make_jax(x: np.ndarray) -> Any:
    jax = library("jax")
    with jax.enable_x64(True):
        return jax.numpy.asarray(x)


def make_pandas(x: np.ndarray) -> Any:
    return library("pandas").DataFrame(x, columns=[f"f{i}" for i in range(x.shape[1])])


def make_pandas_columns(x: np.ndarray) -> Any:
    """A frame that grew column by column: nothing lies together in it."""
    pandas = library("pandas")
    return pandas.DataFrame({f"f{i}": x[:, i].copy() for i in range(x.shape[1])})


def make_polars(x: np.ndarray) -> Any:
    pl = library("polars")
    return pl.DataFrame({f"f{i}": x[:, i].copy() for i in range(x.shape[1])})


def make_polars_array(x: np.ndarray) -> Any:
    pl = library("polars")
    return pl.Series("x", x)


def make_table(x: np.ndarray) -> Any:
    pa = library("pyarrow")
    return pa.table({f"f{i}": np.ascontiguousarray(x[:, i]) for i in range(x.shape[1])})


def make_chunked_table(x: np.ndarray) -> Any:
    pa = library("pyarrow")
    return pa.concat_tables([make_table(x[:2]), make_table(x[2:])])


def make_batch(x: np.ndarray) -> Any:
    return make_table(x).to_batches()[0]


def make_list_array(x: np.ndarray) -> Any:
    pa = library("pyarrow")
    return pa.FixedSizeListArray.from_arrays(pa.array(np.array(x).reshape(-1)), x.shape[1])


def make_sliced_list_array(x: np.ndarray) -> Any:
    return make_list_array(np.concatenate([x[:1], x]))[1:]


def make_chunked_list_array(x: np.ndarray) -> Any:
    pa = library("pyarrow")
    return pa.chunked_array([make_list_array(x[:2]), make_list_array(x[2:])])


def make_list_column(x: np.ndarray) -> Any:
    return library("pyarrow").table({"x": make_list_array(x)})


def make_tensor_array(x: np.ndarray) -> Any:
    pa = library("pyarrow")
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.array(x))


def make_tensor(x: np.ndarray) -> Any:
    return library("pyarrow").Tensor.from_numpy(np.array(x))


def make_struct(x: np.ndarray) -> Any:
    return make_batch(x).to_struct_array()


KINDS = {
    "ndarray": np.array,
    "fortran": np.asfortranarray,
    "memoryview": lambda x: memoryview(np.array(x)),
    "list": lambda x: x.tolist(),
    "rows": list,
    "__array__": OfArray,
    "__array_interface__": OfInterface,
    "to_numpy": OfToNumpy,
    "__dlpack__": lambda x: OfDLPack(np.array(x)),
    "torch": make_torch,
    "jax": make_jax,
    "pandas": make_pandas,
    "pandas columns": make_pandas_columns,
    "polars": make_polars,
    "polars array": make_polars_array,
    "arrow table": make_table,
    "arrow table in chunks": make_chunked_table,
    "arrow batch": make_batch,
    "arrow lists": make_list_array,
    "arrow lists sliced": make_sliced_list_array,
    "arrow lists in chunks": make_chunked_list_array,
    "arrow column of lists": make_list_column,
    "arrow tensors": make_tensor_array,
    "arrow tensor": make_tensor,
    "arrow structs": make_struct,
    "arrow stream": lambda x: OfArrowStream(make_table(x)),
    "arrow stream of lists": lambda x: OfArrowStream(make_chunked_list_array(x)),
    "arrow array": lambda x: OfArrowArray(make_batch(x)),
    "arrow array of lists": lambda x: OfArrowArray(make_list_array(x)),
}
#: What a library has no such type for.
LACKS = {
    ("arrow tensor", "bool"),
    ("arrow tensors", "bool"),
}


def numbers(dtype: str, shape: tuple[int, int] = (5, 3)) -> np.ndarray:
    return np.random.default_rng(7).uniform(0, 5, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_taken(kind: str, dtype: str) -> None:
    """As patterns and as queries, with the bits that a plain array would have."""
    if (kind, dtype) in LACKS:
        pytest.skip(f"{kind} has no {dtype}")
    x = numbers(dtype)
    expected = real(x)
    if kind == "list":
        expected = expected.astype(np.float64)
    if kind == "rows" and dtype == "float32":
        expected = real(np.asarray(list(x)))
    memory = uhn.Memory(KINDS[kind](x))
    assert memory.dtype == expected.dtype
    assert np.array_equal(held(memory), expected)
    for other in (uhn.Memory(PATTERNS), uhn.Memory(PATTERNS.astype(np.float32))):
        plain = other.retrieve(x)
        assert other.retrieve(KINDS[kind](x)).tobytes() == plain.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_takes_every_kind(kind: str) -> None:
    x = numbers("float64", (4, 3))
    memory = uhn.Memory(PATTERNS)
    values = RNG.normal(size=(7, 3))
    calls = [
        memory.scores,
        memory.weights,
        memory.energy,
        memory.gradient,
        lambda q: memory.nearest(q, 2)[1],
        lambda q: memory.recall(q).state,
        lambda q: uhn.merge([memory.partial(q)]).finish(),
        lambda q: uhn.retrieve(PATTERNS, q, values),
        lambda q: uhn.retrieve(q, PATTERNS),
        lambda q: uhn.retrieve(q, PATTERNS, q),
        lambda q: uhn.similarity(q, q),
        lambda q: uhn.separate(q, "sparsemax"),
        lambda q: uhn.attention(q, q, q),
        lambda q: uhn.Memory(values[:4], q).retrieve(values),
        lambda q: uhn.Memory(values).store(q).retrieve(values),
        lambda q: uhn.ModernHopfieldNetwork(3).store(PATTERNS).retrieve(q),
        lambda q: uhn.ModernHopfieldNetwork(3).store(q).retrieve(PATTERNS),
    ]
    for number, call in enumerate(calls):
        assert call(KINDS[kind](x)).tobytes() == call(x).tobytes(), number


def in_two(make: Callable[[list[np.ndarray]], Any], x: np.ndarray) -> Any:
    return make([x[:1], x[1:]])


def test_vectors_of_every_library() -> None:
    """One row in, one row out; and priors, which are a column."""
    x = numbers("float64", (1, 3))[0]
    memory = uhn.Memory(PATTERNS)
    plain = memory.retrieve(x)
    makers = possible(
        lambda: lambda x: array.array("d", x),
        lambda: library("torch").tensor,
        lambda: library("pandas").Series,
        lambda: library("pandas").Index,
        lambda: library("polars").Series,
        lambda: library("pyarrow").array,
        lambda: partial(library("pyarrow").chunked_array, type="double"),
        lambda: library("jax") and make_jax,
    )
    weights = np.array([1.0, 2, 3, 4, 5, 6, 7])
    weighted = uhn.Memory(PATTERNS, prior=weights).retrieve(x)
    assert not np.array_equal(weighted, plain)
    for make in makers:
        if isinstance(make, partial):
            make = partial(in_two, make)
        assert memory.retrieve(make(x)).shape == (3,)
        assert memory.retrieve(make(x)).tobytes() == plain.tobytes()
        prior = make(weights)
        assert uhn.Memory(PATTERNS, prior=prior).retrieve(x).tobytes() == weighted.tobytes()


# ---------------------------------------------------------------------- borrowed, by address --


def lend_ndarray(x: np.ndarray) -> tuple[Any, int, Any]:
    mine = np.array(x)
    return mine, address(mine), mine


def lend_read_only(x: np.ndarray) -> tuple[Any, int, Any]:
    mine = np.array(x)
    mine.flags.writeable = False
    return mine, address(mine), mine


def lend_memoryview(x: np.ndarray) -> tuple[Any, int, Any]:
    mine = np.array(x)
    return memoryview(mine), address(mine), mine


def lend_buffer(x: np.ndarray) -> tuple[Any, int, Any]:
    mine = array.array(x.dtype.char, x.reshape(-1))
    at = mine.buffer_info()[0]
    return memoryview(mine).cast("B").cast(x.dtype.char, list(x.shape)), at, mine


def lend_dlpack(x: np.ndarray) -> tuple[Any, int, Any]:
    mine = np.array(x)
    return OfDLPack(mine), address(mine), mine


def lend_read_only_dlpack(x: np.ndarray) -> tuple[Any, int, Any]:
    mine, at, _ = lend_read_only(x)
    return OfDLPack(mine), at, mine


def lend_torch(x: np.ndarray) -> tuple[Any, int, Any]:
    mine = np.array(x)
    tensor = library("torch").from_numpy(mine)
    return tensor, tensor.data_ptr(), mine


def lend_torch_offset(x: np.ndarray) -> tuple[Any, int, Any]:
    mine = np.concatenate([x[:2], x])
    tensor = library("torch").from_numpy(mine)[2:]
    return tensor, tensor.data_ptr(), mine


def lend_jax(x: np.ndarray) -> tuple[Any, int, Any]:
    mine = make_jax(x)
    return mine, mine.unsafe_buffer_pointer(), mine


def lend_pandas(x: np.ndarray) -> tuple[Any, int, Any]:
    mine = np.array(x)
    return library("pandas").DataFrame(mine, copy=False), address(mine), mine


def arrow_lists(x: np.ndarray) -> tuple[Any, np.ndarray]:
    pa = library("pyarrow")
    mine = np.array(x)
    flat = pa.Array.from_buffers(
        pa.from_numpy_dtype(mine.dtype), mine.size, [None, pa.py_buffer(mine)]
    )
    return pa.FixedSizeListArray.from_arrays(flat, mine.shape[1]), mine


def lend_arrow_lists(x: np.ndarray) -> tuple[Any, int, Any]:
    lists, mine = arrow_lists(x)
    return lists, address(mine), mine


def lend_arrow_slice(x: np.ndarray) -> tuple[Any, int, Any]:
    lists, mine = arrow_lists(np.concatenate([x[:2], x]))
    return lists[2:], address(mine) + 2 * mine.strides[0], mine


def lend_arrow_stream(x: np.ndarray) -> tuple[Any, int, Any]:
    lists, mine = arrow_lists(x)
    return OfArrowArray(lists), address(mine), mine


def lend_arrow_table(x: np.ndarray) -> tuple[Any, int, Any]:
    lists, mine = arrow_lists(x)
    return library("pyarrow").table({"rows": lists}), address(mine), mine


def lend_arrow_tensor(x: np.ndarray) -> tuple[Any, int, Any]:
    mine = np.array(x)
    return library("pyarrow").Tensor.from_numpy(mine), address(mine), mine


def lend_memory(x: np.ndarray) -> tuple[Any, int, Any]:
    mine = np.array(x)
    return uhn.Memory(mine), address(mine), mine


LENDERS = [value for name, value in globals().items() if name.startswith("lend_")]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lend", LENDERS, ids=lambda lend: lend.__name__)
def test_borrowed_and_kept_alive(lend: Any, dtype: str) -> None:
    """The numbers are the lender's, who lives as long as the memory and not longer."""
    x = numbers(dtype)
    given, at, lender = lend(x)
    alive = weakref.ref(lender)
    memory = uhn.Memory(given)
    assert memory.dtype == dtype
    assert address(held(memory)) == at
    assert f"borrowed, not copied: {dtype} of shape (5, 3) at address {at:#x}" in uhn.explain(
        given
    )
    own = uhn.Memory(given, copy=True)
    assert address(held(own)) != at and sys.getsizeof(memory) < sys.getsizeof(own)
    del given, lender
    assert alive() is not None
    assert np.array_equal(held(memory), x)
    del memory
    assert alive() is None


def test_polars_lends_columns_that_lie_together() -> None:
    pl = library("polars")
    x = numbers("float64")
    series = pl.Series("x", x)
    lists = library("pyarrow").array(series.to_arrow())
    at = lists.flatten().buffers()[1].address
    assert address(held(uhn.Memory(series))) == at
    assert address(held(uhn.Memory(series.to_frame()))) == at
    column = pl.DataFrame({"a": x[:, 0].copy()})
    at = column["a"].to_arrow().buffers()[1].address
    memory = uhn.Memory(column)
    assert held(memory).shape == (5, 1) and address(held(memory)) == at
    del column
    gc.collect()
    assert np.array_equal(held(memory)[:, 0], x[:, 0])


def test_a_column_of_arrow_is_borrowed() -> None:
    pa = library("pyarrow")
    table = pa.table({"a": numbers("float32")[:, 0].copy()})
    memory = uhn.Memory(table)
    assert address(held(memory)) == table["a"].chunk(0).buffers()[1].address


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_memory_maps_are_borrowed(tmp_path: Any, dtype: str) -> None:
    path = tmp_path / "rows.bin"
    numbers(dtype, (50, 3)).tofile(path)
    for mode in ("r", "r+", "c"):
        mapped = np.memmap(path, dtype, mode, shape=(50, 3))
        for rows in (mapped, mapped[7:]):
            memory = uhn.Memory(rows)
            assert address(held(memory)) == address(rows)
        del memory, rows, mapped
    with open(path, "rb") as file:
        import mmap

        raw = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    rows = np.frombuffer(raw, dtype).reshape(50, 3)
    memory = uhn.Memory(rows)
    with pytest.raises(BufferError):
        raw.close()
    del memory, rows
    raw.close()


# ----------------------------------------------------------------------------------- layouts --


def misaligned(x: np.ndarray) -> np.ndarray:
    raw = np.zeros(x.nbytes + 1, np.uint8)[1:]
    shifted = raw.view(x.dtype).reshape(x.shape)
    shifted[...] = x
    return shifted


class Derived(np.ndarray):
    """A subclass that changes nothing."""


def spread(x: np.ndarray) -> np.ndarray:
    wide = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
    wide[::2, ::3] = x
    return wide[::2, ::3]


#: Of every layout: how it is made, and whether it can be borrowed as it lies.
LAYOUTS = {
    "C": (lambda x: x.copy(), True),
    "F": (np.asfortranarray, False),
    "steps": (spread, False),
    "upside down": (lambda x: x[::-1].copy()[::-1], False),
    "mirrored": (lambda x: x[:, ::-1].copy()[:, ::-1], False),
    "transposed": (lambda x: x.T.copy().T, False),
    "broadcast": (lambda x: np.broadcast_to(x[0], x.shape), False),
    "swapped": (lambda x: x.astype(x.dtype.newbyteorder()), False),
    "misaligned": (misaligned, False),
    "derived": (lambda x: x.copy().view(Derived), True),
    "rows of more": (lambda x: np.concatenate([x, x, x])[len(x) : 2 * len(x)], True),
    "columns of more": (lambda x: np.concatenate([x, x], axis=1)[:, : x.shape[1]], False),
}
CARRIERS = {
    "array": lambda x: x,
    "buffer": memoryview,
    "to_numpy": OfToNumpy,
    "__array__": OfArray,
    "__dlpack__": OfDLPack,
    "__array_interface__": OfInterface,
    "torch": lambda x: library("torch").from_numpy(x),
    "pandas": lambda x: library("pandas").DataFrame(x, copy=False),
}


def carries(carrier: str, x: np.ndarray) -> bool:
    """Whether the protocol can say such a layout at all."""
    if carrier in ("torch", "__dlpack__") and not (x.dtype.isnative and x.flags.aligned):
        return False
    return not (carrier == "torch" and (min(x.strides) < 0 or not x.flags.writeable))


@hypothesis.settings(max_examples=150, deadline=None, database=None, derandomize=True)
@hypothesis.given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    carrier=st.sampled_from(sorted(CARRIERS)),
    dtype=st.sampled_from(["float32", "float64", "int16", "float16"]),
    n_rows=st.integers(2, 9),
    n_features=st.integers(2, 9),
    read_only=st.booleans(),
)
def test_layouts(
    layout: str, carrier: str, dtype: str, n_rows: int, n_features: int, read_only: bool
) -> None:
    """Borrowed exactly where that is possible, and the same numbers either way."""
    make, lies = LAYOUTS[layout]
    x = make(numbers(dtype, (n_rows, n_features)))
    if read_only and carrier != "torch":
        x.flags.writeable = False
    given = possible(lambda: carries(carrier, x) and CARRIERS[carrier](x))
    if not given or given[0] is False:
        return
    given = given[0]
    expected = real(x)
    memory = uhn.Memory(given)
    assert held(memory).dtype == expected.dtype and np.array_equal(held(memory), expected)
    borrowed = lies and dtype in ("float32", "float64")
    assert (address(held(memory)) == address(x)) == borrowed
    assert ("borrowed" in uhn.explain(given).split(":")[0]) == borrowed
    queries = uhn.Memory(expected[:1])
    assert queries.retrieve(given).tobytes() == queries.retrieve(expected).tobytes()


@pytest.mark.parametrize("carrier", CARRIERS)
def test_empty_arrays(carrier: str) -> None:
    """No queries: an empty answer. No features, or no axis: a ValueError."""
    memory = uhn.Memory(PATTERNS)
    assert memory.retrieve(CARRIERS[carrier](np.zeros((0, 3)))).shape == (0, 3)
    with pytest.raises(ValueError, match="features"):
        memory.retrieve(CARRIERS[carrier](np.zeros((2, 0))))
    if carrier not in ("pandas", "buffer"):
        with pytest.raises(ValueError, match=r"shape \(\)"):
            memory.retrieve(CARRIERS[carrier](np.array(1.0)))
    if carrier != "pandas":
        with pytest.raises(ValueError, match=r"shape \(2, 2, 3\); pass a matrix"):
            memory.retrieve(CARRIERS[carrier](np.ones((2, 2, 3))))


# ------------------------------------------------------------------------------ missing ones --


NULL_COLUMNS = {"a": [1.0, None, 3.0], "b": [4, 5, None], "c": [True, False, None]}
NULL_ROWS = [[1.0, 4, 1], [None, 5, 0], [3, None, None]]


def nulls_of_pyarrow() -> dict[str, Any]:
    pa = library("pyarrow")
    table = pa.table(NULL_COLUMNS)
    decimals = [[x if x is None else decimal.Decimal(x) for x in row] for row in NULL_ROWS]
    return {
        "table": table,
        "table in chunks": pa.concat_tables([table[:1], table[1:]]),
        "lists": pa.array(NULL_ROWS, pa.list_(pa.float64(), 3)),
        "decimals": pa.array(decimals, pa.list_(pa.decimal128(9, 2), 3)),
        "dictionary": table.set_column(0, "a", table["a"].dictionary_encode()),
    }


def nulls_of_polars() -> dict[str, Any]:
    pl = library("polars")
    return {
        "frame": pl.DataFrame(NULL_COLUMNS),
        "arrays": pl.Series(NULL_ROWS, dtype=pl.Array(pl.Float64, 3)),
        "integers": pl.Series(NULL_ROWS, dtype=pl.Array(pl.Int64, 3), strict=False),
    }


def nulls_of_pandas() -> dict[str, Any]:
    frame = library("pandas").DataFrame(NULL_COLUMNS)
    return {"nullable": frame.astype({"a": "Float64", "b": "Int64", "c": "boolean"})}


def nulls_of_pandas_on_pyarrow() -> dict[str, Any]:
    frame, _ = library("pandas").DataFrame(NULL_COLUMNS), library("pyarrow")
    types = {"a": "double[pyarrow]", "b": "int64[pyarrow]", "c": "bool[pyarrow]"}
    return {"arrow": frame.astype(types)}


@pytest.mark.parametrize(
    "make", [nulls_of_pyarrow, nulls_of_polars, nulls_of_pandas, nulls_of_pandas_on_pyarrow]
)
def test_null_becomes_nan(make: Callable[[], dict[str, Any]]) -> None:
    """Which the memory refuses, naming the place."""
    expected = np.array([[1, 4, 1], [np.nan, 5, 0], [3, np.nan, np.nan]])
    from uhn import _arrays

    for name, frame in make().items():
        taken = np.asarray(_arrays.take(frame, "x"))
        assert np.array_equal(taken.astype(float), expected, equal_nan=True), name
        with pytest.raises(ValueError, match=r"queries\[1, 0\] is NaN"):
            uhn.Memory(PATTERNS).retrieve(frame)


def test_null_is_what_a_memory_with_gaps_recalls() -> None:
    """In every library, with the bits that NaN in an array has; and frames come back filled."""
    rng = np.random.default_rng(3)
    patterns = {name: rng.normal(size=9) for name in "abc"}
    for name in "abc":
        patterns[name][rng.integers(9)] = np.nan
    plain = np.column_stack(list(patterns.values()))
    queries = plain[:4].copy()
    queries[1, 2] = np.nan
    memory = uhn.Memory(plain, similarity="sqeuclidean", nan="missing")
    expected = memory.retrieve(queries)
    assert np.isfinite(expected).all() and np.isnan(queries).any()
    for name, frame in frames(queries, ["a", "b", "c"]).items():
        if name != "pandas":  # whose own NaN it is
            nulls = {
                c: [None if x != x else x for x in queries[:, i]] for i, c in enumerate("abc")
            }
            frame = (
                type(frame).from_pydict(nulls)
                if name in ("table", "batch")
                else type(frame)(nulls)
            )
        named = uhn.Memory(
            frames(plain, ["a", "b", "c"])[name], similarity="sqeuclidean", nan="missing"
        )
        answer = named.retrieve(frame, like="input")
        assert type(answer) is type(frame)
        found = np.column_stack([np.asarray(answer[column]) for column in "abc"])
        assert found.tobytes() == expected.tobytes(), name
        parts = list(named.retrieve_batches(frame, batch_size=3, clamp=False))
        assert (
            np.concatenate(parts).tobytes() == memory.retrieve(queries, clamp=False).tobytes()
        )


def polars_array(rows: list[Any]) -> Any:
    pl = library("polars")
    return pl.Series(rows, dtype=pl.Array(pl.Float32, 2))


def test_whole_rows_that_are_null() -> None:
    pa = library("pyarrow")
    from uhn import _arrays

    expected = np.array([[1, 2], [np.nan, np.nan], [3, 4.0]])
    for given in (
        pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)),
        pa.array([[1, 2], None, [3, 4]], pa.list_(pa.float32(), 2)),
        pa.array([[9, 9], [1, 2], None, [3, 4]], pa.list_(pa.float64(), 2))[1:],
        *possible(lambda: polars_array([[1, 2], None, [3, 4]])),
    ):
        assert np.array_equal(_arrays.take(given, "x"), expected, equal_nan=True)
    # What lies below a null list need not be null itself.
    bits = pa.py_buffer(bytes([0b101]))
    flat = pa.array([1.0, 2, 9, 9, 3, 4])
    hidden = pa.Array.from_buffers(pa.list_(pa.float64(), 2), 3, [bits], children=[flat])
    assert np.array_equal(_arrays.take(hidden, "x"), expected, equal_nan=True)
    assert flat.to_pylist() == [1.0, 2, 9, 9, 3, 4]
    structs = pa.array([{"a": 1.0}, None])
    with pytest.raises(TypeError, match=r"rows that are null: pass its drop_null\(\)"):
        uhn.Memory(structs)


def test_float32_is_kept_only_where_every_column_has_it() -> None:
    pd = library("pandas")
    frames = possible(
        lambda: library("pyarrow").table,
        lambda: library("polars").DataFrame,
        lambda: pd.DataFrame,
    )
    single = {"a": np.ones(3, np.float32), "b": np.ones(3, np.float32)}
    mixed = {**single, "c": np.ones(3, np.int16)}
    for make in frames:
        assert uhn.Memory(make(single)).dtype == np.float32
        assert uhn.Memory(make(mixed)).dtype == np.float64
    assert uhn.Memory(pd.DataFrame(single).astype("Float32")).dtype == np.float32
    pa = library("pyarrow")
    assert uhn.Memory(pd.DataFrame(single).astype("float[pyarrow]")).dtype == np.float32
    nulls = pa.table({"a": pa.array([1.0, 2], pa.float32()), "b": pa.array([True, False])})
    assert uhn.Memory(nulls).dtype == np.float64


# ---------------------------------------------------------------------------------- refusals --


DAY = datetime.date(2026, 1, 1)
TEXT = {"a": [1.0, 2.0], "b": ["x", "y"], "c": [1.0, 2.0]}
DAYS = {"a": [1.0, 2.0], "b": [DAY, DAY], "c": [1.0, 2.0]}
Refusals = dict[str, tuple[Any, type[Exception], str]]
T, V = TypeError, ValueError


def refused_of_numpy() -> Refusals:
    ones = np.ones((2, 3))
    return {
        "cuda": (
            OnDevice(ones, (2, 0)),
            T,
            r"is on a CUDA device \(DLPack 2\): pass queries\.cpu",
        ),
        "metal": (OnDevice(ones, (8, 0)), T, r"is on a Metal device"),
        "cupy": (OfCupy(ones, (2, 0)), T, r"CUDA device .*: pass queries\.get\(\)$"),
        "unknown": (
            OfDLPack(ones, (99, 0)),
            T,
            r"foreign device \(DLPack 99\): pass a copy in",
        ),
        "masked": (
            np.ma.masked_array(ones, mask=ones > 2),
            T,
            r"masked array.* pass queries\.filled\(np\.nan\) with nan='missing'",
        ),
        "masked inside": (OfToNumpy(np.ma.masked_array(ones)), T, "masked array"),
        "text": (["a", "b", "c"], T, "text must be encoded"),
        "dictionary": ({"a": 1.0}, T, "dtype object"),
        "generator": ((x for x in ones), T, "dtype object"),
        "ragged": ([[1.0], [1.0, 2.0]], V, "inhomogeneous"),
        "none": (None, T, "queries must be an array, not None"),
    }


def refused_of_torch() -> Refusals:
    torch = library("torch")
    grown = torch.ones(2, 3, requires_grad=True)
    return {
        "grad": (grown, T, r"queries requires grad: pass queries\.detach\(\)$"),
        "parameter": (
            torch.nn.Parameter(torch.ones(2, 3)),
            T,
            r"pass queries\.detach\(\)$",
        ),
        "bfloat16": (
            torch.ones(2, 3, dtype=torch.bfloat16),
            T,
            r"has dtype torch.bfloat16, which NumPy does not know: pass queries\.float\(\)$",
        ),
        "float8": (
            torch.ones(2, 3).to(torch.float8_e5m2),
            T,
            r"pass queries\.float\(\)$",
        ),
        "both": (
            torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True),
            T,
            r"pass queries\.detach\(\)\.float\(\)$",
        ),
        "sparse tensor": (
            torch.ones(2, 3).to_sparse(),
            T,
            r"pass queries\.to_dense\(\)$",
        ),
        "meta": (torch.ones(2, 3, device="meta"), T, "'meta', which holds no numbers"),
        "complex tensor": (
            torch.ones(2, 3, dtype=torch.complex64),
            T,
            "real and imaginary",
        ),
        "conjugate": (torch.ones(2, 3, dtype=torch.complex64).conj(), T, "conjugate"),
    }


def refused_of_jax() -> Refusals:
    jax = library("jax")
    return {
        "jax bfloat16": (
            jax.numpy.ones((2, 3), "bfloat16"),
            T,
            "bfloat16; cast it to float32",
        ),
    }


def refused_of_scipy() -> Refusals:
    sparse, ones = library("scipy.sparse"), np.ones((2, 3))
    return {
        "csr": (
            sparse.csr_matrix(ones),
            T,
            r"queries is a sparse array \(csr_matrix\): pass queries\.toarray\(\)$",
        ),
        "coo": (
            sparse.coo_array(ones),
            T,
            r"\(coo_array\): pass queries\.toarray\(\)$",
        ),
    }


def refused_of_polars() -> Refusals:
    pl = library("polars")
    return {
        "lazy": (
            pl.LazyFrame({"a": [1.0]}),
            T,
            r"holds no numbers yet: pass queries\.collect",
        ),
        "polars text": (
            pl.DataFrame(TEXT),
            T,
            "dtype String in column 'b'.*drop the column",
        ),
        "polars days": (pl.DataFrame(DAYS), T, "dtype Date in column 'b'"),
        "polars lists": (
            pl.Series([[1.0], [1.0, 2]]),
            T,
            r"pl\.Array\(pl\.Float64, width\)$",
        ),
        "width": (pl.DataFrame({"a": [1.0]}), V, "the patterns have 3"),
    }


def refused_of_pandas() -> Refusals:
    pd = library("pandas")
    return {
        "pandas text": (
            pd.DataFrame(TEXT),
            T,
            r"column 'b'.*select_dtypes\('number'\)",
        ),
        "pandas days": (
            pd.DataFrame({"d": pd.to_datetime([DAY, DAY])}),
            T,
            r"dtype datetime64.* in column 'd'",
        ),
        "pandas object": (
            pd.DataFrame({"a": [1.0, 2.0]}, dtype=object),
            T,
            r"dtype object in column 'a'.*pass queries\.astype\(float\)$",
        ),
        "pandas category": (pd.DataFrame({"a": pd.Categorical([1, 2])}), T, "category"),
        "pandas complex": (pd.DataFrame({"a": [1j, 2]}), T, "complex128 in column 'a'"),
        "series of text": (pd.Series(["a", "b", "c"]), T, "encode it as numbers$"),
    }


def refused_of_pyarrow() -> Refusals:
    pa = library("pyarrow")
    return {
        "arrow text": (pa.table(TEXT), T, "dtype string in column 'b'"),
        "arrow days": (pa.table(DAYS), T, "dtype date32.* in column 'b'"),
        "arrow lists": (pa.array([[1.0], [1.0, 2]]), T, r"cast it to pyarrow\.list_\("),
        "arrow text alone": (
            pa.array(["a", "b", "c"]),
            T,
            "dtype string, which is no real",
        ),
    }


@pytest.mark.parametrize(
    "make", [value for name, value in globals().items() if name.startswith("refused_of_")]
)
def test_refusals_name_the_fix(make: Callable[[], Refusals]) -> None:
    memory = uhn.Memory(PATTERNS)
    for name, (given, kind, words) in make().items():
        with pytest.raises(kind, match=words) as caught:
            memory.retrieve(given)
        assert str(caught.value).startswith("queries"), name
        assert type(caught.value) is kind, name
        if name != "width":
            said = uhn.explain(given)
            assert said.startswith("x is refused: x "), (name, said)


def test_fixes_that_are_named_work() -> None:
    memory = uhn.Memory(PATTERNS.astype(np.float32))
    expected = memory.retrieve(np.ones((2, 3), np.float32))
    lazy = {"a": [1.0, 1], "b": [1, 1], "c": [True, True]}
    fixed = possible(
        lambda: library("torch").ones(2, 3, requires_grad=True).detach(),
        lambda: library("torch").ones(2, 3).bfloat16().requires_grad_().detach().float(),
        lambda: library("torch").ones(2, 3).to_sparse().to_dense(),
        lambda: library("polars").LazyFrame(lazy).collect(),
        lambda: library("pandas").DataFrame(np.ones((2, 3)), dtype=object).astype(float),
        lambda: library("scipy.sparse").csr_matrix(np.ones((2, 3))).toarray(),
        lambda: (
            library("pyarrow")
            .array([[1.0] * 3] * 2)
            .cast(library("pyarrow").list_(library("pyarrow").float64(), 3))
        ),
    )
    for given in fixed:
        assert np.array_equal(memory.retrieve(given), expected)


# ------------------------------------------------------------------------------------ DLPack --


def test_signs_that_a_tensor_keeps_as_a_flag() -> None:
    """The imaginary part of a conjugate is stored with the other sign, which DLPack loses."""
    torch = library("torch")
    x = torch.tensor([[1 + 2j, 3 - 4j, 5 + 6j]], dtype=torch.complex128).conj().imag
    assert x.is_neg()
    assert np.array_equal(held(uhn.Memory(x)), [[-2, 4, -6]])


def test_dlpack_of_strides_and_offsets() -> None:
    torch = library("torch")
    x = torch.arange(60, dtype=torch.float64).reshape(6, 10)
    for view in (x[:, 2:5], x.T[1:4].T, x[::2, ::3], x[3:], x[0].expand(4, 10), x[:, 3:4]):
        plain = np.array(view.tolist())
        memory = uhn.Memory(view)
        assert np.array_equal(held(memory), plain)
        borrowed = view.is_contiguous()
        assert (address(held(memory)) == view.data_ptr()) == borrowed
    assert sum(view.is_contiguous() for view in (x[3:], x[:, 2:5])) == 1


def test_dlpack_is_asked_for_a_version_that_knows_read_only() -> None:
    x = numbers("float64")
    x.flags.writeable = False
    given = OfDLPack(x)
    memory = uhn.Memory(given)
    assert given.asked.get("max_version", (0, 0)) >= (1, 0)
    assert address(held(memory)) == address(x)
    assert not held(memory).flags.writeable


def test_a_capsule_that_was_used_is_refused() -> None:
    class Once(OfDLPack):
        def __init__(self, x: np.ndarray) -> None:
            super().__init__(x)
            self.capsule = x.__dlpack__(max_version=(1, 0))

        def __dlpack__(self, **keywords: Any) -> Any:
            return self.capsule

    once = Once(np.eye(3))
    memory = uhn.Memory(once)
    assert np.array_equal(held(memory), np.eye(3))
    with pytest.raises(TypeError, match="queries does not come by DLPack"):
        memory.retrieve(once)
    with pytest.raises(TypeError, match="dtype object"):
        memory.retrieve(np.eye(3).__dlpack__())


def test_dlpack_that_fails_gives_way_to_an_array() -> None:
    class Both(OfArray):
        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

        def __dlpack__(self, **keywords: Any) -> Any:
            raise BufferError("not today")

    assert np.array_equal(held(uhn.Memory(Both(np.eye(3)))), np.eye(3))


def test_a_lender_that_stores_into_the_memory_it_is_asked_by() -> None:
    """What it lends meanwhile is known: the answer may not go there."""
    out = np.ones((20_000, 3))
    memory = uhn.Memory(PATTERNS)

    class Busy(OfToNumpy):
        def to_numpy(self) -> np.ndarray:
            memory.store(out)
            return self.x

    with pytest.raises(ValueError, match="out shares memory with the patterns"):
        memory.retrieve(Busy(np.zeros((20_000, 3))), out=out)
    assert len(memory) == 20_007 and (out == 1).all()


def test_errors_of_the_lender_come_through() -> None:
    class Broken:
        def to_numpy(self) -> np.ndarray:
            raise OSError("the file went away")

    with pytest.raises(OSError, match="the file went away"):
        uhn.Memory(Broken())
    with pytest.raises(OSError, match="the file went away"):
        uhn.Memory(PATTERNS).retrieve(Broken())


# ------------------------------------------------------------------------ memories, lent out --


def to_torch(memory: uhn.Memory) -> Any:
    return library("torch").from_dlpack(memory)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_memory_lends_its_rows(dtype: str) -> None:
    x = numbers(dtype)
    memory = uhn.Memory(x)
    view = memoryview(memory)
    assert view.readonly and view.shape == (5, 3) and view.format == np.dtype(dtype).char
    assert view.c_contiguous and view.tolist() == x.tolist()
    with pytest.raises(TypeError):
        view[0, 0] = 1
    assert address(np.asarray(view)) == address(np.asarray(memory)) == address(x)
    assert memory.__dlpack_device__() == (1, 0)
    lent = [np.from_dlpack(memory), np.frombuffer(memory, dtype).reshape(5, 3)]
    assert all(address(a) == address(x) and not a.flags.writeable for a in lent)
    tensors = possible(partial(to_torch, memory))
    assert all(tensor.data_ptr() == address(x) for tensor in tensors)
    lent += tensors
    alive = weakref.ref(x)
    expected = x.copy()
    del memory, x
    assert alive() is not None and view.tolist() == expected.tolist()
    del view
    assert alive() is not None and all(np.array_equal(x, expected) for x in lent)
    del lent, tensors
    gc.collect()
    assert alive() is None


def test_a_memory_in_pieces_is_copied_or_says_so() -> None:
    memory = uhn.Memory(numbers("float64"))
    memory.store(numbers("float64", (4, 3)))
    with pytest.raises(BufferError, match=r"several pieces; pass np\.asarray"):
        memoryview(memory)
    with pytest.raises(BufferError, match="several pieces"):
        np.from_dlpack(memory)
    with pytest.raises(ValueError, match="several pieces"):
        np.asarray(memory, copy=False)
    assert np.asarray(memory).shape == (9, 3)
    assert np.array_equal(np.array(memory, np.float32), np.asarray(memory).astype(np.float32))
    assert uhn.Memory(memory).retrieve(QUERIES).shape == (4, 3)
    assert np.asarray(uhn.Memory()).shape == (0, 0)
    assert memoryview(uhn.Memory()).shape == (0, 0)


# ------------------------------------------------------------------------------------ frames --


def frames(x: np.ndarray, names: list[str]) -> dict[str, Any]:
    columns = {name: x[:, i].copy() for i, name in enumerate(names)}
    index = [f"row {i}" for i in range(len(x))]
    return dict(
        possible(
            lambda: ("pandas", library("pandas").DataFrame(columns, index=index)),
            lambda: ("polars", library("polars").DataFrame(columns)),
            lambda: ("table", library("pyarrow").table(columns)),
            lambda: ("batch", library("pyarrow").record_batch(columns)),
        )
    )


def test_frames_come_back_as_frames() -> None:
    pd = library("pandas")
    memory = uhn.Memory(frames(PATTERNS, ["a", "b", "c"])["pandas"])
    plain = memory.retrieve(QUERIES)
    for name, frame in frames(QUERIES, ["a", "b", "c"]).items():
        assert type(memory.retrieve(frame)) is np.ndarray
        answer = memory.retrieve(frame, like="input")
        assert type(answer) is type(frame), name
        names = answer.schema.names if name in ("table", "batch") else list(answer.columns)
        assert names == ["a", "b", "c"]
        found = np.column_stack([np.asarray(answer[column]) for column in names])
        assert found.tobytes() == plain.tobytes()
        if name == "pandas":
            assert list(answer.index) == [f"row {i}" for i in range(4)]
    row = frames(QUERIES, ["a", "b", "c"])["pandas"].iloc[1]
    answer = memory.retrieve(row, like="input")
    assert isinstance(answer, pd.Series) and answer.name == "row 1"
    assert list(answer.index) == ["a", "b", "c"] and np.array_equal(answer, plain[1])


def single_memory() -> tuple[uhn.Memory, np.ndarray, np.ndarray]:
    """A memory of float32, queries, and what they retrieve."""
    memory = uhn.Memory(PATTERNS.astype(np.float32))
    queries = QUERIES.astype(np.float32)
    return memory, queries, memory.retrieve(queries)


def test_arrays_come_back_as_they_were() -> None:
    memory, queries, plain = single_memory()
    for given in (queries, queries.tolist(), memoryview(queries), OfArray(queries)):
        answer = memory.retrieve(given, like="input")
        assert type(answer) is np.ndarray and np.array_equal(answer, plain)
    assert np.array_equal(memory.retrieve(queries, like=None), plain)


def test_tensors_come_back_as_tensors() -> None:
    torch = library("torch")
    memory, queries, plain = single_memory()
    tensor = memory.retrieve(torch.tensor(queries), like="input")
    assert isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float32
    assert np.array_equal(tensor, plain)
    assert memory.retrieve(torch.tensor(queries[0]), like="input").shape == (3,)
    wide = uhn.Memory(PATTERNS).retrieve(torch.tensor(queries), like="input")
    assert wide.dtype == torch.float64


def test_arrays_of_jax_come_back_as_such() -> None:
    jax = library("jax")
    memory, queries, plain = single_memory()
    answer = memory.retrieve(jax.numpy.asarray(queries), like="input")
    assert isinstance(answer, jax.Array) and np.array_equal(answer, plain)


@pytest.mark.parametrize(
    "make", [make_list_array, make_chunked_list_array, make_list_column, make_tensor]
)
def test_arrow_comes_back_as_arrow(make: Callable[[np.ndarray], Any]) -> None:
    from uhn import _arrays

    memory, queries, plain = single_memory()
    given = make(queries)
    answer = memory.retrieve(given, like="input")
    assert type(answer) is type(given)
    assert np.array_equal(np.asarray(_arrays.take(answer, "x")), plain)
    pa = library("pyarrow")
    one = memory.retrieve(pa.array(queries[0]), like="input")
    assert isinstance(one, pa.FloatArray) and np.array_equal(one, plain[0])


def test_series_of_polars_come_back_as_such() -> None:
    pl = library("polars")
    memory, queries, plain = single_memory()
    series = memory.retrieve(pl.Series("s", queries), like="input")
    assert series.name == "s" and series.dtype == pl.Array(pl.Float32, 3)
    assert np.array_equal(series.to_numpy(), plain)
    wide = memory.retrieve(pl.Series("s", queries).to_frame(), like="input")
    assert wide.columns == ["s"] and np.array_equal(wide["s"].to_numpy(), plain)
    assert np.array_equal(memory.retrieve(pl.Series("s", queries[0]), like="input"), plain[0])


def test_answers_of_other_widths_are_named() -> None:
    values = RNG.normal(size=(7, 2))
    keys, named = frames(PATTERNS, ["a", "b", "c"]), frames(values, ["u", "v"])
    for name, frame in frames(QUERIES, ["a", "b", "c"]).items():
        memory = uhn.Memory(keys[name], named[name])
        assert memory.feature_names == ("a", "b", "c") and memory.value_names == ("u", "v")
        answer = memory.retrieve(frame, like="input")
        names = answer.schema.names if name in ("table", "batch") else list(answer.columns)
        assert names == ["u", "v"]
        unnamed = uhn.Memory(PATTERNS, values).retrieve(frame, like="input")
        names = unnamed.schema.names if name in ("table", "batch") else list(unnamed.columns)
        assert names == ([0, 1] if name == "pandas" else ["value_0", "value_1"])
        with pytest.raises(
            ValueError, match=r"values has .* pass values.*list\(memory\.value_"
        ):
            memory.store(keys[name], frames(values, ["v", "u"])[name])
        assert len(memory) == 7


def test_like_is_checked() -> None:
    memory = uhn.Memory(PATTERNS)
    with pytest.raises(ValueError, match="like is 'torch'; it can be 'input'"):
        memory.retrieve(QUERIES, like="torch")
    with pytest.raises(TypeError, match="like is 3"):
        memory.retrieve(QUERIES, like=3)
    with pytest.raises(ValueError, match="like and out"):
        memory.retrieve(QUERIES, like="input", out=np.zeros((4, 3)))


def test_columns_must_be_those_stored() -> None:
    for name, stored in frames(PATTERNS, ["a", "b", "c"]).items():
        memory = uhn.Memory(stored)
        assert memory.feature_names == memory.value_names == ("a", "b", "c")
        fix = r"\[list\(memory" if name == "pandas" else r"\.select\(list\(memory"
        swapped = frames(QUERIES, ["a", "c", "b"])[name]
        others = frames(QUERIES, ["a", "b", "d"])[name]
        calls = [
            (memory.retrieve, "queries"),
            (memory.recall, "queries"),
            (memory.scores, "queries"),
            (memory.nearest, "queries"),
            (memory.partial, "queries"),
            (memory.energy, "states"),
            (memory.store, "patterns"),
            (partial(memory.replace, range(4)), "patterns"),
        ]
        for call, what in calls:
            with pytest.raises(
                ValueError,
                match=rf"{what} has its columns in another order than those stored: column 1 "
                rf"is 'c', not 'b'; pass {what}{fix}\.feature_names\)",
            ):
                call(swapped)
            with pytest.raises(ValueError, match="it lacks 'c' and 'd' was not stored"):
                call(others)
        assert len(memory) == 7
        # What has no names is taken by position; another library's names are names.
        memory.retrieve(QUERIES)
        for frame in frames(QUERIES, ["a", "b", "c"]).values():
            memory.retrieve(frame)
        memory.store(stored).store(PATTERNS)
        assert memory.feature_names == ("a", "b", "c") and len(memory) == 21
    wide = frames(RNG.normal(size=(4, 4)), ["a", "b", "c", "d"])["pandas"]
    with pytest.raises(ValueError, match="'d' was not stored"):
        memory.retrieve(wide)
    with pytest.raises(ValueError, match=r"lacks 'c'; memory\.feature_names are the names"):
        memory.retrieve(wide[["a", "b"]])


def test_the_named_fix_puts_columns_in_order() -> None:
    memory = uhn.Memory(frames(PATTERNS, ["a", "b", "c"])["pandas"])
    plain = memory.retrieve(QUERIES)
    order = list(memory.feature_names or ())
    swapped = frames(QUERIES[:, [2, 0, 1]], ["c", "a", "b"])
    assert np.array_equal(memory.retrieve(swapped["pandas"][order]), plain)
    for name in swapped.keys() - {"pandas"}:
        assert np.array_equal(memory.retrieve(swapped[name].select(order)), plain)


def test_functions_compare_the_frames_they_are_given() -> None:
    patterns = frames(PATTERNS, ["a", "b", "c"])["pandas"]
    queries = frames(QUERIES, ["a", "b", "c"])["pandas"]
    swapped = frames(QUERIES, ["b", "a", "c"])["pandas"]
    for function in (uhn.retrieve, uhn.similarity):
        assert np.array_equal(function(patterns, queries), function(PATTERNS, QUERIES))
        assert np.array_equal(function(PATTERNS, swapped), function(PATTERNS, QUERIES))
        with pytest.raises(ValueError, match="column 0 is 'b', not 'a'"):
            function(patterns, swapped)


def test_names_that_are_no_text_are_none() -> None:
    pd = library("pandas")
    assert uhn.Memory(pd.DataFrame(PATTERNS)).feature_names is None
    assert uhn.Memory(pd.DataFrame(PATTERNS, columns=["a", "b", 3])).feature_names is None
    assert uhn.Memory(PATTERNS).feature_names is None and uhn.Memory().value_names is None
    assert uhn.Memory(make_polars_array(PATTERNS).to_frame()).feature_names is None
    assert uhn.Memory(make_list_column(PATTERNS)).feature_names is None
    memory = uhn.Memory(PATTERNS)
    memory.retrieve(frames(QUERIES, ["x", "y", "z"])["pandas"])
    memory.store(frames(QUERIES, ["x", "y", "z"])["pandas"])
    assert memory.feature_names is None


def test_names_go_with_copies() -> None:
    pd = library("pandas")
    values = pd.DataFrame(PATTERNS[:, :2], columns=["u", "v"])
    memory = uhn.Memory(frames(PATTERNS, ["a", "b", "c"])["pandas"], values)
    copies = [memory.copy(), copy.copy(memory), copy.deepcopy(memory)]
    copies += [pickle.loads(pickle.dumps(memory, protocol)) for protocol in (2, 4, 5)]
    for other in copies:
        assert other.feature_names == ("a", "b", "c") and other.value_names == ("u", "v")
        assert np.array_equal(other.retrieve(QUERIES), memory.retrieve(QUERIES))
    empty = uhn.Memory()
    empty.store(frames(PATTERNS, ["a", "b", "c"])["pandas"])
    assert empty.feature_names == ("a", "b", "c")
    plain = uhn.Memory(PATTERNS)
    assert len(plain.__reduce__()) == 2
    with pytest.raises(TypeError):
        plain.__setstate__(("a", "b"))


def test_nothing_is_left_over() -> None:
    """No reference to frames, names or arrays, after calls that succeed and that fail."""
    good = frames(QUERIES, ["a", "b", "c"])
    memory = uhn.Memory(frames(PATTERNS, ["a", "b", "c"])["pandas"])
    given = [*good.values(), OfDLPack(QUERIES), OfToNumpy(QUERIES)]
    given += possible(lambda: library("torch").tensor(QUERIES))
    bad = [frames(QUERIES, ["a", "c", "b"])["pandas"], OnDevice(QUERIES, (2, 0))]
    bad += possible(
        lambda: library("polars").DataFrame({"a": ["x"]}),
        lambda: library("torch").tensor(QUERIES).to_sparse(),
    )

    def calls() -> None:
        for x in given:
            memory.retrieve(x)
            memory.retrieve(x, like="input")
            uhn.retrieve(x, x)
            uhn.explain(x)
            uhn.Memory(x).copy()
        for x in bad:
            for call in (
                memory.retrieve,
                memory.store,
                lambda x: uhn.similarity(good["pandas"], x),
            ):
                with pytest.raises((TypeError, ValueError)):
                    call(x)
            uhn.explain(x)

    calls()
    watched = [*given, *bad, memory, memory.feature_names, QUERIES]
    gc.collect()
    before = [sys.getrefcount(x) for x in watched]
    for _ in range(5):
        calls()
    gc.collect()
    assert [sys.getrefcount(x) for x in watched] == before


def test_a_store_that_fails_names_nothing() -> None:
    memory = uhn.Memory()
    bad = frames(PATTERNS, ["a", "b", "c"])["pandas"]
    bad.iloc[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"patterns\[2, 1\]"):
        memory.store(bad)
    assert memory.feature_names is None
    memory.store(frames(PATTERNS, ["x", "y", "z"])["pandas"])
    assert memory.feature_names == ("x", "y", "z")


# ----------------------------------------------------------------------------------- explain --


def test_explanations_give_the_reason() -> None:
    x = numbers("float64")
    said = {
        "borrowed": (x, "x is borrowed, not copied: float64 of shape (5, 3) at address 0x"),
        "row": (x[0], "float64 of shape (3,) at address"),
        "integers": (x.astype(int), "to float64 of shape (5, 3): its dtype is int64"),
        "bytes": (x.astype(">f8"), "its bytes are in the other order; x.astype(np.float64)"),
        "misaligned": (misaligned(x), "no multiple of the size of a number; x.copy()"),
        "F": (np.asfortranarray(x), "np.ascontiguousarray(x) is borrowed"),
        "list": (x.tolist(), "numbers of Python have to be gathered"),
        "empty": (x[:0], "there is nothing in it to borrow"),
        "NaN": (x * np.nan, "x is borrowed"),
        "objects": (x.astype(object), "x is refused: x has dtype object"),
        "frame": (make_pandas_columns(x), "rows do not lie one behind the other"),
        "table": (make_table(x), "Table gives no view of its numbers"),
        "tensor": (make_torch(x).T, "rows do not lie one behind the other"),
        "jax": (make_jax(x.astype(int)), "its dtype is int64"),
        "cube": (np.ones((2, 2, 2)), "x is refused: x has shape (2, 2, 2)"),
    }
    for name, (given, words) in said.items():
        assert words in uhn.explain(given), (name, uhn.explain(given))

    class Odd:
        def to_numpy(self) -> np.ndarray:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        uhn.explain(Odd())


def test_fixes_that_explain_names_are_borrowed() -> None:
    x = numbers("float64")
    for fixed in (
        x.astype(">f8").astype(np.float64),
        misaligned(x).copy(),
        np.ascontiguousarray(x.T),
    ):
        assert "x is borrowed" in uhn.explain(fixed)
        assert address(held(uhn.Memory(fixed))) == address(fixed)


# ----------------------------------------------------------------------------------- imports --


def test_nothing_is_imported_unasked() -> None:
    """Nor by arrays with a protocol of their own; Arrow of others alone needs pyarrow."""
    code = """
import sys, numpy as np, uhn
class Frame:
    def to_numpy(self): return np.eye(3)
class Tensor:
    def __dlpack_device__(self): return (1, 0)
    def __dlpack__(self, **keywords): return np.eye(3).__dlpack__(**keywords)
memory = uhn.Memory(Frame())
memory.retrieve(Tensor(), like="input")
list(memory.retrieve_batches([np.eye(3)]))
names = ("pandas", "polars", "pyarrow", "torch", "jax", "scipy", "tqdm")
print([name for name in names if name in sys.modules])
sys.modules["pyarrow"] = None
class Arrow:
    def __arrow_c_stream__(self, requested_schema=None): raise AssertionError
try:
    memory.retrieve(Arrow())
except ImportError as error:
    print(error)
print(uhn.explain(Arrow()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "[]"
    assert lines[1].startswith("queries is an Arrow object") and "uhn[arrow]" in lines[1]
    assert lines[2].startswith("x is refused: x is an Arrow object")


# ----------------------------------------------------------------------------------- streams --


def test_a_stream_has_the_bits_of_one_call() -> None:
    queries = RNG.normal(size=(103, 3))
    for memory in (
        uhn.Memory(PATTERNS, beta=3),
        uhn.Memory(PATTERNS.astype(np.float32), similarity="manhattan", separation="sparsemax"),
    ):
        whole = memory.retrieve(queries)
        twice = memory.retrieve(queries, 2, tol=0.1)
        for size, prefetch in itertools.product((1, 7, 50, 103, 1000), (0, 1, 3)):
            parts = list(memory.retrieve_batches(queries, batch_size=size, prefetch=prefetch))
            assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
            assert np.concatenate(parts).tobytes() == whole.tobytes()
        cuts = [queries[:5], queries[5:5], queries[5], queries[6:90].tolist(), queries[90:]]
        parts = list(memory.retrieve_batches(iter(cuts)))
        assert [part.shape for part in parts] == [(5, 3), (0, 3), (3,), (84, 3), (13, 3)]
        assert np.vstack(parts).tobytes() == whole.tobytes()
        parts = list(memory.retrieve_batches(cuts, n_steps=2, tol=0.1, prefetch=2))
        assert np.vstack(parts).tobytes() == twice.tobytes()
        assert list(memory.retrieve_batches([])) == []


@pytest.mark.parametrize(
    "kind",
    ["ndarray", "list", "torch", "jax", "pandas", "polars", "arrow table", "arrow lists"],
)
def test_everything_can_be_cut(kind: str) -> None:
    """A frame into frames, whose columns are checked, and which come back as frames."""
    queries = numbers("float64", (10, 3))
    memory = uhn.Memory(KINDS[kind](PATTERNS))
    given = KINDS[kind](queries)
    plain = memory.retrieve(given)
    parts = list(memory.retrieve_batches(given, batch_size=4))
    assert [len(part) for part in parts] == [4, 4, 2]
    assert np.concatenate(parts).tobytes() == plain.tobytes()
    parts = list(memory.retrieve_batches(given, batch_size=4, like="input"))
    whole = type(memory.retrieve(given, like="input"))
    assert {type(part) for part in parts} == {whole}
    if kind == "pandas":
        assert [i for part in parts for i in part.index] == list(range(10))


def test_a_memory_map_is_cut_into_views(tmp_path: Any) -> None:
    path = tmp_path / "queries.bin"
    numbers("float32", (1000, 3)).tofile(path)
    mapped = np.memmap(path, "float32", "r", shape=(1000, 3))
    memory = uhn.Memory(PATTERNS.astype(np.float32))
    parts = list(memory.retrieve_batches(mapped, batch_size=64))
    assert np.concatenate(parts).tobytes() == memory.retrieve(mapped).tobytes()
    from uhn import _stream

    first = next(_stream.cut(mapped, 64))
    assert first.shape == (64, 3) and address(first) == address(mapped)


class Source:
    """Counts the batches it made that are still alive."""

    def __init__(self, n: int) -> None:
        self.made, self.most, self.n = 0, 0, n
        self.living: list[weakref.ref[np.ndarray]] = []
        self.threads: set[int] = set()

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> np.ndarray:
        self.threads.add(threading.get_ident())
        if self.made == self.n:
            raise StopIteration
        self.made += 1
        batch = np.full((4, 3), float(self.made))
        self.living = [ref for ref in self.living if ref() is not None]
        self.living.append(weakref.ref(batch))
        self.most = max(self.most, len(self.living))
        return batch


@pytest.mark.parametrize("prefetch", [0, 1, 2, 5])
def test_few_batches_are_alive_at_a_time(prefetch: int) -> None:
    """Of queries at most one and those read ahead; of answers none but the caller's."""
    source = Source(60)
    memory = uhn.Memory(PATTERNS)
    count = 0
    for answer in memory.retrieve_batches(source, prefetch=prefetch):
        count += 1
        answered = weakref.ref(answer)
        # Neither what was asked nor its answer is kept while the caller works on that.
        if prefetch == 0:
            assert all(ref() is None for ref in source.living)
        del answer
        assert answered() is None
    assert count == source.made == 60
    assert source.most <= prefetch + 1
    assert all(ref() is None for ref in source.living)
    assert (threading.get_ident() in source.threads) == (prefetch == 0)


def test_reading_ahead_overlaps() -> None:
    """While the caller works on an answer, as many batches as said are read, and no more."""
    source = Source(60)
    stream = uhn.Memory(PATTERNS).retrieve_batches(source, prefetch=3)
    assert source.made == 0
    next(stream)
    limit = time.monotonic() + 10
    while source.made < 4 and time.monotonic() < limit:
        time.sleep(0.001)
    time.sleep(0.02)
    assert source.made == 4
    stream.close()


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_closed_stream_leaves_nothing(prefetch: int) -> None:
    before = threading.active_count()
    source = Source(60)
    memory = uhn.Memory(PATTERNS.copy())
    alive = weakref.ref(memory)
    stream = memory.retrieve_batches(source, prefetch=prefetch)
    del memory
    next(stream), next(stream)
    stream.close()
    del stream
    gc.collect()
    assert threading.active_count() == before
    assert alive() is None and all(ref() is None for ref in source.living)
    made = source.made
    assert 2 <= made <= 3 + prefetch
    assert next(source).shape == (4, 3) and source.made == made + 1, "the iterable is left open"
    # One that is dropped, and one that was never started.
    stream = uhn.Memory(PATTERNS).retrieve_batches(source, prefetch=prefetch)
    next(stream)
    del stream
    uhn.Memory(PATTERNS).retrieve_batches(source, prefetch=prefetch)
    gc.collect()
    assert threading.active_count() == before


def test_closing_waits_for_the_batch_that_is_read() -> None:
    """So that afterwards nobody but the caller touches the iterable."""
    before = threading.active_count()
    started, done = threading.Event(), []

    def slow() -> Any:
        yield QUERIES
        started.set()
        time.sleep(0.1)
        done.append(True)
        yield QUERIES

    stream = uhn.Memory(PATTERNS).retrieve_batches(slow(), prefetch=1)
    next(stream)
    assert started.wait(10) and not done
    stream.close()
    assert done and threading.active_count() == before


def test_a_generator_that_is_read_is_not_closed() -> None:
    closed = []

    def batches() -> Any:
        try:
            while True:
                yield QUERIES
        finally:
            closed.append(True)

    for prefetch in (0, 2):
        source = batches()
        stream = uhn.Memory(PATTERNS).retrieve_batches(source, prefetch=prefetch)
        next(stream)
        stream.close()
        assert not closed
        next(source)
        source.close()
        assert closed.pop()


@pytest.mark.parametrize("prefetch", [0, 2])
def test_errors_name_the_batch(prefetch: int) -> None:
    before = threading.active_count()
    memory = uhn.Memory(PATTERNS)
    bad = QUERIES.copy()
    bad[1, 2] = np.inf
    good = memory.retrieve(QUERIES)
    cases = [
        (np.ones((2, 5)), ValueError, r"batch 2: queries has shape \(2, 5\)"),
        (bad, ValueError, r"batch 2: queries\[1, 2\] is inf"),
        (["a", "b", "c"], TypeError, "batch 2: queries has dtype"),
        (None, TypeError, "batch 2: queries must be an array, not None"),
    ]
    for wrong, kind, words in cases:
        stream = memory.retrieve_batches([QUERIES, QUERIES, wrong, QUERIES], prefetch=prefetch)
        assert np.array_equal(next(stream), good) and np.array_equal(next(stream), good)
        with pytest.raises(kind, match=words) as caught:
            next(stream)
        assert threading.active_count() == before, "though the error, and its frame, is kept"
        assert next(stream, None) is None

    def broken() -> Any:
        yield QUERIES
        raise OSError("disk")

    stream = memory.retrieve_batches(broken(), prefetch=prefetch)
    next(stream)
    with pytest.raises(OSError, match="disk") as caught:
        next(stream)
    assert caught.value.__notes__ == ["raised by the iterable of batches, at batch 1"]
    assert threading.active_count() == before


def test_arguments_of_a_stream_are_checked_at_once() -> None:
    memory = uhn.Memory(PATTERNS)
    frame = make_pandas(QUERIES)
    table = make_table(QUERIES)
    for keywords, given, kind, words in [
        ({}, QUERIES, ValueError, r"shape \(4, 3\): pass batch_size="),
        ({}, frame, ValueError, r"shape \(4, 3\): pass batch_size="),
        ({}, table, ValueError, "pass batch_size="),
        ({}, 5, TypeError, "iterable of arrays, not int"),
        ({"batch_size": 0}, QUERIES, ValueError, "batch_size must be at least 1, not 0"),
        ({"batch_size": 2.0}, QUERIES, TypeError, "batch_size must be an integer, not float"),
        ({"batch_size": 2}, QUERIES[0], ValueError, r"one matrix of queries.*shape \(3,\)"),
        ({"batch_size": 2}, iter([]), ValueError, "one matrix of queries"),
        ({"prefetch": -1}, [], ValueError, "prefetch must be at least 0"),
        ({"prefetch": True}, [], TypeError, "prefetch must be an integer, not bool"),
        ({"progress": "yes"}, [], TypeError, "progress must be True, False or None"),
        ({"steps": 2}, [], TypeError, "steps"),
    ]:
        with pytest.raises(kind, match=words):
            memory.retrieve_batches(given, **keywords)
    with pytest.raises(ValueError, match="batch 0: the memory is empty"):
        next(uhn.Memory().retrieve_batches([QUERIES]))
    with pytest.raises(ValueError, match="batch 0: n_steps"):
        next(memory.retrieve_batches([QUERIES], n_steps=0))
    cube = RNG.normal(size=(6, 4, 3))
    answers = list(memory.retrieve_batches(cube))
    assert np.array_equal(
        np.stack(answers), memory.retrieve(cube.reshape(24, 3)).reshape(6, 4, 3)
    )


def test_a_stream_asks_the_rows_that_were_there() -> None:
    memory = uhn.Memory(PATTERNS)
    before = memory.retrieve(QUERIES)
    stream = memory.retrieve_batches([QUERIES, QUERIES])
    memory.store(-PATTERNS)
    assert np.array_equal(next(stream), before)
    assert not np.array_equal(memory.retrieve(QUERIES), before)
    assert np.array_equal(next(stream), before)


def test_progress(capsys: Any, monkeypatch: Any) -> None:
    library("tqdm")
    memory = uhn.Memory(PATTERNS)
    queries = numbers("float64", (10, 3))
    for quiet in (False, None):
        list(memory.retrieve_batches(queries, batch_size=4, progress=quiet))
        assert capsys.readouterr().err == ""
    list(memory.retrieve_batches(queries, batch_size=4, progress=True))
    shown = capsys.readouterr().err
    assert "100%" in shown and "10.0/10.0" in shown and "rows" in shown
    list(memory.retrieve_batches([queries, queries[0]], progress=True))
    assert "11.0 rows" in capsys.readouterr().err
    stream = memory.retrieve_batches([queries] * 9, progress=True)
    next(stream)
    stream.close()
    assert "10.0 rows" in capsys.readouterr().err
    with pytest.raises(TypeError, match="batch 1") as caught:
        list(memory.retrieve_batches([queries, None], progress=True))
    assert capsys.readouterr().err.endswith("\n"), "the bar is closed, though the error is kept"
    del caught
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    list(memory.retrieve_batches([queries], progress=None))
    assert "10.0 rows" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"pip install 'uhn\[progress\]'"):
        list(memory.retrieve_batches([queries], progress=True))
    assert len(list(memory.retrieve_batches([queries], progress=None))) == 1


def test_ctrl_c_ends_a_stream() -> None:
    """While a batch is computed, and while one is waited for; no thread is left to wait for."""
    code = """
import signal, sys, threading, time
import numpy as np, uhn
memory = uhn.Memory(np.random.default_rng(0).normal(size=(2000, 64)))
def slow():
    while True:
        time.sleep(0.02)
        yield np.ones((2, 64))
for prefetch, batches in [(0, slow()), (2, slow()), (2, [np.ones((200_000, 64))])]:
    stream = memory.retrieve_batches(batches, prefetch=prefetch)
    threading.Timer(0.1, signal.raise_signal, [signal.SIGINT]).start()
    started = time.monotonic()
    try:
        for answer in stream:
            pass
        print("not stopped")
    except KeyboardInterrupt:
        print("stopped" if time.monotonic() - started < 5 else "late")
    time.sleep(0.05)
    print(threading.active_count())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["stopped", "1"] * 3
