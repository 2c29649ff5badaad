"""The class Memory and its kin as Python objects: what they hold, show, share and copy."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import pickle
import re
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import uhn

RNG = np.random.default_rng(20220204)
PATTERNS = RNG.normal(size=(300, 12))
VALUES = RNG.normal(size=(300, 5))
QUERIES = RNG.normal(size=(7, 12))
DTYPES = [np.float32, np.float64]


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def close(actual: np.ndarray, expected: np.ndarray) -> bool:
    rtol = 1e-4 if actual.dtype == np.float32 else 1e-10
    return bool(np.allclose(actual, expected, rtol=rtol, atol=rtol))


# --------------------------------------------------------------------------------- results --


@pytest.mark.parametrize("dtype", DTYPES)
def test_retrieve_is_the_equation(dtype: type) -> None:
    memory = uhn.Memory(PATTERNS.astype(dtype), VALUES.astype(dtype), beta=0.5)
    expected = softmax(0.5 * QUERIES @ PATTERNS.T)
    assert memory.retrieve(QUERIES).dtype == dtype
    assert close(memory.retrieve(QUERIES), expected @ VALUES)
    assert close(memory.weights(QUERIES), expected)
    assert close(memory.scores(QUERIES), QUERIES @ PATTERNS.T)


def test_one_query_gives_one_vector() -> None:
    memory = uhn.Memory(PATTERNS, VALUES)
    one, many = QUERIES[0], QUERIES[:1]
    for method in (memory.retrieve, memory.scores, memory.weights):
        assert method(one).ndim == 1
        assert method(many).shape == (1, *method(one).shape)
        assert np.array_equal(method(many)[0], method(one))
    indices, scores = memory.nearest(one, 4)
    assert indices.shape == scores.shape == (4,)
    assert memory.partial(one).finish().shape == (5,)
    assert memory.partial(many).finish().shape == (1, 5)


def test_nearest_sorts_scores() -> None:
    memory = uhn.Memory(PATTERNS, similarity="euclidean")
    indices, scores = memory.nearest(QUERIES, 9)
    distances = np.linalg.norm(QUERIES[:, None] - PATTERNS, axis=2)
    order = np.argsort(distances, axis=1, kind="stable")[:, :9]
    assert indices.dtype == np.int64
    assert np.array_equal(indices, order)
    assert close(scores, -np.take_along_axis(distances, order, axis=1))


def test_steps_repeat_the_equation() -> None:
    memory = uhn.Memory(PATTERNS, beta=0.3)
    state = QUERIES
    for _ in range(4):
        state = memory.retrieve(state)
    assert np.array_equal(memory.retrieve(QUERIES, 4), state)
    assert np.array_equal(memory.retrieve(QUERIES, n_steps=4, tol=0.0), state)


def test_recall_says_how_it_ended() -> None:
    stored = np.sign(RNG.normal(size=(3, 64)))
    memory = uhn.Memory(stored, beta=1.0)
    result = memory.recall(stored, 50)
    state, n_steps, status, change = (
        result.state,
        result.n_steps,
        result.status,
        result.change,
    )
    assert isinstance(result, uhn.Recall)
    assert result.state is state
    assert close(state, stored)
    assert n_steps.dtype == np.int64
    assert n_steps.shape == change.shape == status.shape == (3,)
    assert status.dtype.kind == "U"
    assert set(status.tolist()) == {"fixed point"}
    assert (change <= 1e-6).all()

    single = memory.recall(stored[0])
    assert type(single.n_steps) is int
    assert type(single.status) is str
    assert type(single.change) is float
    assert single.state.shape == (64,)

    assert memory.recall(QUERIES[0, 0] * stored[0], 0).n_steps == 0
    assert "step limit" in memory.recall(RNG.normal(size=64), 1, tol=0.0).status


def test_recall_tells_cycles_and_silence_apart() -> None:
    # Two patterns that name each other: a query between them goes back and forth.
    swap = uhn.Memory(np.eye(2), np.eye(2)[::-1], separation="max")
    assert swap.recall([1.0, 0.0]).status == "2-cycle"
    silent = uhn.Memory(np.eye(2), separation="threshold", theta=5.0)
    result = silent.recall([[1.0, 0.0]])
    assert result.status.tolist() == ["no active location"]
    assert np.array_equal(result.state, np.zeros((1, 2)))


def test_functions_agree_with_the_class() -> None:
    options: dict[str, Any] = {"similarity": "manhattan", "separation": "softmax", "beta": 0.7}
    memory = uhn.Memory(PATTERNS, VALUES, **options)
    assert np.array_equal(
        uhn.retrieve(PATTERNS, QUERIES, VALUES, **options), memory.retrieve(QUERIES)
    )
    scores = uhn.similarity(PATTERNS, QUERIES, "manhattan")
    assert np.array_equal(scores, memory.scores(QUERIES))
    assert np.array_equal(uhn.separate(scores, "softmax", beta=0.7), memory.weights(QUERIES))
    assert np.array_equal(uhn.separate(scores[0], beta=0.7), memory.weights(QUERIES[0]))


def test_callables_are_rows_like_others() -> None:
    def similarity(patterns: np.ndarray, queries: np.ndarray) -> np.ndarray:
        assert patterns.shape[0] <= 128
        assert not patterns.flags.writeable
        return queries @ patterns.T

    memory = uhn.Memory(PATTERNS, VALUES, similarity=similarity, separation=np.square)
    expected = (QUERIES @ PATTERNS.T) ** 2
    assert memory.similarity is similarity
    assert memory.separation is np.square
    assert memory.parameters == {}
    assert close(memory.retrieve(QUERIES), expected @ VALUES)
    assert close(memory.weights(QUERIES), expected)
    parts = [memory.partial(QUERIES, 100), memory.partial(QUERIES, 0, 100)]
    assert np.array_equal(uhn.merge(parts).finish(), memory.retrieve(QUERIES))
    assert np.array_equal(uhn.separate(QUERIES, np.square), QUERIES**2)


@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_softmax_of_scaled_products(
    leading: tuple[int, ...], masked: bool
) -> None:
    queries = RNG.normal(size=(*leading, 4, 8))
    keys, values = RNG.normal(size=(6, 8)), RNG.normal(size=(*leading, 6, 5))
    mask = RNG.random((4, 6)) < 0.6 if masked else np.ones((4, 6), bool)
    mask[:, 0] = True
    scores = np.where(mask, queries @ keys.T / np.sqrt(8), -np.inf)
    actual = uhn.attention(queries, keys, values, mask=mask if masked else None)
    assert actual.shape == (*leading, 4, 5)
    assert close(actual, softmax(scores) @ values)


def test_attention_takes_broadcast_and_strided_views() -> None:
    base = RNG.normal(size=(4, 8)).astype(np.float32)
    repeated = np.broadcast_to(base, (5, 4, 8))
    strided = RNG.normal(size=(12, 16)).astype(np.float32)[::2, ::2]
    mask = np.zeros((5, 4, 6), bool)
    mask[:, :, 2] = True
    actual = uhn.attention(repeated, strided, strided, mask=mask[..., :])
    assert actual.dtype == np.float32
    assert close(actual, np.broadcast_to(strided[2], (5, 4, 8)))
    # One column of a mask stands for all keys; a query without any gets zeros.
    column = np.array([True, False, True, True])[:, None]
    some = uhn.attention(base, strided, strided, mask=column)
    assert np.array_equal(some[1], np.zeros(8))
    assert np.array_equal(some[[0, 2, 3]], uhn.attention(base, strided, strided)[[0, 2, 3]])


# --------------------------------------------------------------------------------- storing --


def test_store_appends() -> None:
    memory = uhn.Memory()
    assert len(memory) == 0
    assert (memory.n_features, memory.n_values, memory.dtype) == (0, 0, None)
    memory.store(PATTERNS[:1].astype(np.float32))
    for start in range(1, 300, 23):
        memory.store(PATTERNS[start : start + 23])
    memory.store(QUERIES[0])
    expected = np.vstack([PATTERNS, QUERIES[:1]]).astype(np.float32)
    assert len(memory) == memory.n_patterns == 301
    assert memory.dtype == np.float32
    assert memory.n_features == memory.n_values == 12
    assert np.array_equal(np.asarray(memory), expected)
    assert np.array_equal(memory.retrieve(QUERIES), uhn.Memory(expected).retrieve(QUERIES))


def test_store_appends_values_and_priors() -> None:
    memory = uhn.Memory(PATTERNS[:100], VALUES[:100])
    assert memory.prior is None
    memory.store(PATTERNS[100:], VALUES[100:], prior=np.full(200, 2.0))
    assert not memory.is_autoassociative
    assert np.array_equal(memory.values, VALUES)
    assert memory.prior is not None
    assert np.array_equal(memory.prior, np.repeat([1.0, 2.0], [100, 200]))
    weights = np.exp(QUERIES @ PATTERNS.T) * memory.prior
    weights /= weights.sum(axis=1, keepdims=True)
    assert close(memory.weights(QUERIES), weights)


def test_failed_store_changes_nothing() -> None:
    memory = uhn.Memory(PATTERNS)
    bad = PATTERNS.copy()
    bad[17, 3] = np.nan
    with pytest.raises(ValueError, match=r"patterns\[17, 3\]"):
        memory.store(bad)
    assert len(memory) == 300
    empty = uhn.Memory(similarity="kl")
    with pytest.raises(ValueError, match="patterns"):
        empty.store(-np.ones((2, 3)))
    empty.store(np.ones((2, 5)))
    assert empty.n_features == 5


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_are_borrowed(dtype: type) -> None:
    patterns = PATTERNS.astype(dtype)
    patterns.flags.writeable = False
    memory = uhn.Memory(patterns)
    view = np.asarray(memory)
    assert view.__array_interface__["data"][0] == patterns.__array_interface__["data"][0]
    assert sys.getsizeof(memory) < 1000
    assert memory.nbytes == patterns.nbytes
    own = uhn.Memory(patterns, copy=True)
    assert not np.shares_memory(np.asarray(own), patterns)
    assert sys.getsizeof(own) > own.nbytes


def test_memmap_is_borrowed(tmp_path: Any) -> None:
    path = tmp_path / "patterns"
    PATTERNS.astype(np.float32).tofile(path)
    mapped = np.memmap(path, np.float32, "r", shape=PATTERNS.shape)
    memory = uhn.Memory(mapped)
    assert np.shares_memory(np.asarray(memory), mapped)


def test_borrowed_arrays_live_as_long_as_needed() -> None:
    patterns = PATTERNS.copy()
    alive = weakref.ref(patterns)
    before = sys.getrefcount(patterns)
    memory = uhn.Memory(patterns)
    assert sys.getrefcount(patterns) > before
    other, view = memory.copy(), np.asarray(memory)
    del patterns, memory
    assert alive() is not None
    assert np.array_equal(other[5], PATTERNS[5])
    del other
    assert alive() is not None
    assert np.array_equal(view, PATTERNS)
    del view
    assert alive() is None


# -------------------------------------------------------------------------------- indexing --


def test_indexing() -> None:
    memory = uhn.Memory(PATTERNS[:150])
    memory.store(PATTERNS[150:])
    for i in (0, 149, 150, 299, -1, -300, np.int64(7), np.uint8(200)):
        assert np.array_equal(memory[i], PATTERNS[i])
        assert memory[i].ndim == 1
    for s in (
        slice(None),
        slice(5, 290, 7),
        slice(None, None, -1),
        slice(9, 3),
        slice(-4, 999),
    ):
        assert np.array_equal(memory[s], PATTERNS[s])
    rows = [3, -1, 150, 3]
    assert np.array_equal(memory[rows], PATTERNS[rows])
    assert np.array_equal(memory[np.array(rows, np.int16)], PATTERNS[rows])
    assert memory[[]].shape == (0, 12)
    assert np.array_equal(np.array(list(memory)), PATTERNS)
    memory[0][:] = 0  # a copy: the memory stays as it is
    assert np.array_equal(memory[0], PATTERNS[0])


@pytest.mark.parametrize("index", [300, -301, 10**30, [0, 300], np.array([-301])])
def test_index_out_of_range(index: Any) -> None:
    with pytest.raises(IndexError):
        uhn.Memory(PATTERNS)[index]


@pytest.mark.parametrize("index", [1.0, True, "a", None, (1, 2), [True, False], [0.5], [[1]]])
def test_index_of_the_wrong_kind(index: Any) -> None:
    with pytest.raises(TypeError, match="integer"):
        uhn.Memory(PATTERNS)[index]


def test_array_protocol() -> None:
    memory = uhn.Memory(PATTERNS)
    view = np.asarray(memory)
    assert not view.flags.writeable
    assert np.shares_memory(view, PATTERNS)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 0
    assert not np.shares_memory(np.array(memory), PATTERNS)
    assert np.asarray(memory, np.float32).dtype == np.float32
    assert memory.__array__(copy=False).base is not None
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        assert np.shares_memory(np.asarray(memory, copy=False), PATTERNS)
        with pytest.raises(ValueError, match="copy=False"):
            np.asarray(memory, np.float32, copy=False)
    memory.store(PATTERNS)
    assert np.array_equal(np.asarray(memory), np.vstack([PATTERNS, PATTERNS]))
    with pytest.raises(ValueError, match="copy=False"):
        memory.__array__(copy=False)
    assert np.array_equal(uhn.Memory(memory)[301], PATTERNS[1])


# ----------------------------------------------------------------------- copies and pickles --


def test_copies_share_rows_and_then_part() -> None:
    memory = uhn.Memory(PATTERNS, beta=3.0)
    for other in (memory.copy(), copy.copy(memory)):
        assert np.shares_memory(np.asarray(other), PATTERNS)
        other.store(QUERIES)
        assert (len(memory), len(other)) == (300, 307)
        assert other.parameters == {"beta": 3.0}
    deep = copy.deepcopy(memory)
    assert not np.shares_memory(np.asarray(deep), PATTERNS)
    assert np.array_equal(deep.retrieve(QUERIES), memory.retrieve(QUERIES))


def products(patterns: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """A similarity of our own, which pickle finds by its name."""
    return queries @ patterns.T


def memories() -> dict[str, uhn.Memory]:
    several = uhn.Memory(PATTERNS[:9].astype(np.float32), VALUES[:9], first_row=40)
    several.store(PATTERNS[9:20], VALUES[9:20], prior=np.arange(1, 12))
    return {
        "plain": uhn.Memory(PATTERNS),
        "several": several,
        "distance": uhn.Memory(
            PATTERNS,
            similarity="euclidean",
            transform="inverse",
            eps=0.5,
            separation="identity",
        ),
        "topk": uhn.Memory(PATTERNS, separation="topk_softmax", k=4, beta=2.5),
        "normalized": uhn.Memory(
            abs(PATTERNS), separation="polynomial", degree=3, normalize="sum"
        ),
        "scores": uhn.Memory(abs(PATTERNS), normalize_scores=True),
        "callable": uhn.Memory(PATTERNS, similarity=products, separation=np.exp),
        "empty": uhn.Memory(separation="max"),
        "width": uhn.Memory(np.empty((0, 4), np.float32), first_row=3),
    }


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", list(memories()))
def test_pickle(name: str, protocol: int) -> None:
    memory = memories()[name]
    other = pickle.loads(pickle.dumps(memory, protocol))
    assert repr(other) == repr(memory)
    for field in ("similarity", "separation", "transform", "normalize", "normalize_scores"):
        assert getattr(other, field) == getattr(memory, field)
    assert other.parameters == memory.parameters
    assert (other.first_row, other.dtype, other.n_features, other.n_values) == (
        memory.first_row,
        memory.dtype,
        memory.n_features,
        memory.n_values,
    )
    assert np.array_equal(np.asarray(other), np.asarray(memory))
    assert np.array_equal(other.values, memory.values)
    assert (other.prior is None) == (memory.prior is None)
    if len(memory):
        queries = abs(QUERIES)
        assert np.array_equal(other.retrieve(queries), memory.retrieve(queries))


def test_pickle_out_of_band_copies_nothing() -> None:
    memory = uhn.Memory(PATTERNS)
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(memory, 5, buffer_callback=buffers.append)
    assert len(data) < 1000
    assert len(buffers) == 1
    assert np.shares_memory(np.frombuffer(buffers[0]), PATTERNS)
    other = pickle.loads(data, buffers=buffers)
    assert np.shares_memory(np.asarray(other), PATTERNS)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("separation", ["softmax", "max", "sparsemax", "identity"])
def test_partials_travel(separation: str, protocol: int) -> None:
    memory = uhn.Memory(PATTERNS, VALUES, separation=separation)
    parts = [memory.partial(QUERIES, *cut) for cut in ((250,), (0, 129), (129, 250))]
    sent = [pickle.loads(pickle.dumps(part, protocol)) for part in parts]
    merged = uhn.merge(sent)
    assert merged.n_patterns == 300
    assert (merged.n_queries, merged.n_values, merged.dtype) == (7, 5, np.float64)
    assert np.array_equal(merged.finish(), memory.retrieve(QUERIES))
    out = np.empty((7, 5))
    assert merged.finish(out=out) is out
    single = pickle.loads(pickle.dumps(memory.partial(QUERIES[0]), protocol))
    assert np.array_equal(single.finish(), memory.retrieve(QUERIES[0]))


def test_partials_travel_out_of_band_and_unaligned() -> None:
    partial = uhn.Memory(PATTERNS).partial(QUERIES)
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(partial, 5, buffer_callback=buffers.append)
    assert len(buffers) == 1
    shifted = memoryview(b"x" + bytes(buffers[0].raw()))[1:]
    other = pickle.loads(data, buffers=[shifted])
    assert np.array_equal(other.finish(), partial.finish())
    assert other.nbytes == len(shifted) == partial.nbytes
    assert re.fullmatch(
        r"Partial\(7 queries, 12 values float64, of 300 patterns, .*B\)", repr(other)
    )


def test_shards_are_told_apart_by_first_row() -> None:
    whole = uhn.Memory(PATTERNS)
    shards = [uhn.Memory(PATTERNS[i : i + 75], first_row=i) for i in range(0, 300, 75)]
    parts = [shard.partial(QUERIES) for shard in reversed(shards)]
    assert np.array_equal(uhn.merge(parts).finish(), whole.retrieve(QUERIES))
    assert [shard.first_row for shard in shards] == [0, 75, 150, 225]
    with pytest.raises(ValueError, match="row"):
        uhn.merge([parts[0], parts[0]])
    with pytest.raises(ValueError, match="another similarity, separation or parameter"):
        uhn.merge([parts[0], uhn.Memory(PATTERNS[:9], beta=2).partial(QUERIES)])


# ---------------------------------------------------------------------------------- looks --


def test_repr() -> None:
    patterns = np.zeros((1000, 784), np.float32)
    memory = uhn.Memory(patterns, similarity="manhattan", beta=8.0)
    assert repr(memory) == (
        "Memory(1000 x 784 float32, similarity='manhattan', separation='softmax', beta=8.0, "
        "3.1 MB)"
    )
    assert repr(uhn.Memory()).startswith("Memory(empty, similarity='dot', separation='softmax'")
    assert "300 x 12 -> 5 float64" in repr(uhn.Memory(PATTERNS, VALUES))


def test_properties() -> None:
    memory = uhn.Memory(
        PATTERNS, similarity="sqeuclidean", transform="rbf", gamma=0.25, separation="topk", k=3
    )
    assert memory.similarity == "sqeuclidean"
    assert memory.separation == "topk"
    assert memory.transform == "rbf"
    assert memory.normalize == "none"
    assert memory.parameters == {"gamma": 0.25, "k": 3}
    assert type(memory.parameters["k"]) is int
    assert memory.is_autoassociative
    assert np.shares_memory(memory.values, PATTERNS)
    assert uhn.Memory(PATTERNS).transform is None
    assert memory.first_row == 0
    assert memory.nbytes == PATTERNS.nbytes
    with pytest.raises(AttributeError):
        memory.beta = 3  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        memory.n_patterns = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        uhn.Memory.extra = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        uhn.Partial()


def test_tables_and_cpu_info() -> None:
    assert "manhattan" in uhn.similarities()
    assert "softmax" in uhn.separations()
    info = uhn.cpu_info()
    assert set(info) == {"path", "available", "n_threads", "compiler", "version"}
    assert info["path"] in info["available"]
    assert info["version"] == uhn.__version__ == "0.1.0"
    n = uhn.get_num_threads()
    try:
        uhn.set_num_threads(3)
        assert uhn.get_num_threads() == uhn.cpu_info()["n_threads"] == 3
    finally:
        uhn.set_num_threads(n)


def public_callables() -> dict[str, Callable[..., Any]]:
    found = {name: getattr(uhn, name) for name in uhn.__all__}
    for kind in (uhn.Memory, uhn.Partial):
        found |= {f"{kind.__name__}.{key}": getattr(kind, key) for key in vars(kind)}
    own = {"__array__", "__copy__", "__deepcopy__", "__reduce__", "__reduce_ex__", "__sizeof__"}
    return {
        name: value
        for name, value in found.items()
        if callable(value) and (name.split(".")[-1] in own or "__" not in name)
    }


@pytest.mark.parametrize("name", list(public_callables()))
def test_every_callable_has_a_signature(name: str) -> None:
    value = public_callables()[name]
    signature = inspect.signature(value)
    assert len(inspect.getdoc(value) or "") > 15
    if name == "Memory":
        parameters = list(signature.parameters)
        assert parameters[:4] == ["patterns", "values", "similarity", "separation"]
        assert signature.parameters["normalize_scores"].default is False
        assert signature.parameters["beta"].kind is inspect.Parameter.KEYWORD_ONLY
    if name == "Memory.retrieve":
        assert str(signature) == (
            "(self, /, queries, n_steps=1, *, mask=None, clamp=True, tol=None, out=None, "
            "like=None)"
        )


# ------------------------------------------------------------------------------------ out= --


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_receives_the_result(dtype: type) -> None:
    memory = uhn.Memory(PATTERNS.astype(dtype), VALUES)
    for method, width in ((memory.retrieve, 5), (memory.scores, 300), (memory.weights, 300)):
        out = np.full((7, width), 77, dtype)
        assert method(QUERIES, out=out) is out
        assert np.array_equal(out, method(QUERIES))
        one = np.empty(width, dtype)
        assert method(QUERIES[0], out=one) is one
        assert np.array_equal(one, out[0])
    out = np.empty((7, 12), dtype)
    assert uhn.retrieve(PATTERNS.astype(dtype), QUERIES, out=out) is out
    stack = np.empty((2, 7, 7, 12), dtype)
    queries = QUERIES.astype(dtype)
    twice = np.stack([queries, queries])[:, None]
    result = uhn.attention(twice, np.stack([queries] * 7), queries, out=stack)
    assert result is stack


def test_out_touches_no_input() -> None:
    patterns, values, queries = PATTERNS[:7].copy(), PATTERNS[7:14].copy(), QUERIES.copy()
    memory = uhn.Memory(patterns, values)
    for out, what in ((queries, "queries"), (patterns, "patterns"), (values, "values")):
        with pytest.raises(ValueError, match=what):
            memory.retrieve(queries, out=out)
        with pytest.raises(ValueError, match=what):
            memory.copy().retrieve(queries, out=out)
        with pytest.raises(ValueError, match=what):
            uhn.retrieve(patterns, queries, values, out=out)
        with pytest.raises(ValueError, match="shares memory"):
            uhn.attention(queries, patterns, values, out=out)
    # Rows that were copied are nobody's concern.
    own = uhn.Memory(patterns, values, copy=True)
    assert own.retrieve(queries, out=patterns) is patterns


# ---------------------------------------------------------------------------------- leaks --


def test_nothing_leaks() -> None:
    patterns, values = PATTERNS.astype(np.float32), VALUES.astype(np.float32)
    memory = uhn.Memory(patterns, values)
    auto = uhn.Memory(patterns)

    def fails() -> np.ndarray:
        raise ZeroDivisionError

    broken = uhn.Memory(patterns, separation=lambda scores: fails())

    def everything() -> None:
        memory.retrieve(QUERIES)
        auto.retrieve(QUERIES[0], 3, tol=1e-3)
        auto.recall(QUERIES)
        auto.recall(QUERIES[0])
        memory.scores(QUERIES.astype(np.float32), out=np.empty((7, 300), np.float32))
        memory.weights(QUERIES)
        memory.nearest(QUERIES, 3)
        parts = [memory.partial(QUERIES, 0, 100), memory.partial(QUERIES, 100)]
        uhn.merge(pickle.loads(pickle.dumps(parts))).finish()
        other = pickle.loads(pickle.dumps(memory))
        other.store(patterns, values, prior=np.ones(300))
        copy.deepcopy(other), copy.copy(other), repr(other), other.parameters, other.prior
        np.asarray(other), other.values, other[1], other[::2], other[[1, 2]], len(other)
        uhn.retrieve(patterns, QUERIES, values, similarity="cosine", separation="topk", k=2)
        uhn.similarity(patterns, QUERIES, products)
        uhn.separate(QUERIES, np.square)
        uhn.attention(QUERIES, QUERIES, QUERIES, mask=np.ones((7, 1), bool))
        uhn.similarities(), uhn.separations(), uhn.cpu_info()
        for call in (
            lambda: memory.retrieve(QUERIES[:, :3]),
            lambda: memory.retrieve(QUERIES * np.nan),
            lambda: memory.store(patterns),
            lambda: uhn.Memory(patterns, similarity="nothing"),
            lambda: uhn.Memory(patterns, separation="max", beta=2),
            lambda: uhn.Memory(patterns, values[:3]),
            lambda: uhn.Memory(patterns, bogus=1),  # type: ignore[call-arg]
            lambda: memory.retrieve(QUERIES, out=np.empty(3)),
            lambda: uhn.merge([parts[0], parts[0]]),
            lambda: broken.retrieve(QUERIES),
            lambda: uhn.attention(QUERIES, QUERIES, values),
        ):
            with pytest.raises((ValueError, TypeError, ZeroDivisionError)):
                call()

    # The interpreter's own caches fill up for a while; what leaks grows in every round.
    rounds = 150
    blocks = []
    references = []
    for _ in range(5):
        for _ in range(rounds):
            everything()
        gc.collect()
        blocks.append(sys.getallocatedblocks())
        references.append((sys.getrefcount(patterns), sys.getrefcount(np.dtype(np.float32))))
    assert min(np.diff(blocks)) < rounds, blocks
    assert references[-1] == references[-2]


def test_cycles_through_callables_are_collected() -> None:
    class Similarity:
        memory: uhn.Memory | None = None

        def __call__(self, patterns: np.ndarray, queries: np.ndarray) -> np.ndarray:
            return queries @ patterns.T

    similarity = Similarity()
    similarity.memory = uhn.Memory(PATTERNS, similarity=similarity)
    alive = weakref.ref(similarity.memory)
    del similarity
    gc.collect()
    assert alive() is None


# --------------------------------------------------------------------------------- threads --


def run_threads(functions: list[Callable[[], None]]) -> None:
    """Runs them all at once and raises the first exception any of them met."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(functions))

    def guard(function: Callable[[], None]) -> None:
        try:
            start.wait()
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guard, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_threads_read_while_one_stores() -> None:
    memory = uhn.Memory(separation="max", similarity="euclidean")
    memory.store(PATTERNS[:1])

    def write() -> None:
        for i in range(1, 300):
            memory.store(PATTERNS[i])

    def read() -> None:
        seen = 0
        while seen < 300:
            scores = memory.scores(QUERIES)
            indices, _ = memory.nearest(PATTERNS[:seen] if seen else PATTERNS[:1])
            assert scores.shape[1] >= seen
            seen = scores.shape[1]
            assert np.array_equal(indices[:, 0], np.arange(len(indices)))
            weights = memory.weights(QUERIES)
            assert np.array_equal(weights.sum(axis=1), np.ones(7))

    run_threads([write, read, read, read])
    assert np.array_equal(np.asarray(memory), PATTERNS)


def test_threads_may_all_store_first() -> None:
    for _ in range(20):
        memory = uhn.Memory()
        run_threads([functools.partial(memory.store, row) for row in PATTERNS[:6]])
        stored = np.asarray(memory)
        order = np.lexsort(stored.T)
        assert np.array_equal(stored[order], PATTERNS[:6][np.lexsort(PATTERNS[:6].T)])


def test_threads_get_the_same_bits() -> None:
    memory = uhn.Memory(PATTERNS, VALUES, beta=0.3)
    expected = memory.retrieve(QUERIES)
    partial = memory.partial(QUERIES, 0, 200)
    rest = memory.partial(QUERIES, 200)

    def work() -> None:
        for _ in range(50):
            assert np.array_equal(memory.retrieve(QUERIES), expected)
            assert np.array_equal(uhn.merge([rest, partial]).finish(), expected)
            assert len(memory.copy()) == 300

    run_threads([work] * 6)


def test_threads_may_run_python_in_callables() -> None:
    memory = uhn.Memory(PATTERNS, similarity=lambda p, q: q @ p.T, separation=np.exp)
    expected = memory.retrieve(QUERIES)

    def work() -> None:
        for _ in range(20):
            assert np.array_equal(memory.retrieve(QUERIES), expected)

    run_threads([work] * 4)


def test_values_that_are_the_patterns_and_values_that_are_not() -> None:
    """One array lent as patterns and values, then rows with others, in one tile."""
    rng = np.random.default_rng(11)
    first, more, values = (rng.random((40, 6)) for _ in range(3))
    memory = uhn.Memory(first, first, separation="identity")
    memory.store(more, values)
    query = rng.random(6)
    expected = (first @ query) @ first + (more @ query) @ values
    # Sums of 80 products of sums of 6 products of numbers in [0, 1).
    np.testing.assert_allclose(memory.retrieve(query), expected, rtol=100 * np.finfo(float).eps)
