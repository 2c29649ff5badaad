"""Bad input: the right answer, or an error that names the argument, the shapes and the fix."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import uhn

PATTERNS = np.arange(24.0).reshape(6, 4) % 7
VALUES = np.arange(12.0).reshape(6, 2)
QUERIES = np.array([[1.0, 0.0, 2.0, 1.0], [0.5, 3.0, 0.0, 1.0], [2.0, 2.0, 1.0, 0.0]])
MEMORY = uhn.Memory(PATTERNS, VALUES)
AUTO = uhn.Memory(PATTERNS)
#: How many times the fuzz test draws a memory and several calls of it.
FUZZ_EXAMPLES = int(os.environ.get("UHN_FUZZ_EXAMPLES", "400"))
#: What any call may raise, whatever it is given.
DOCUMENTED = (TypeError, ValueError, MemoryError, IndexError)

Call = Callable[[Any], Any]
#: Every way in which an array of patterns or queries enters.
TAKERS: dict[str, tuple[str, Call]] = {
    "Memory": ("patterns", uhn.Memory),
    "Memory values": ("values", lambda x: uhn.Memory(PATTERNS, x)),
    "Memory prior": ("prior", lambda x: uhn.Memory(PATTERNS, prior=x)),
    "store": ("patterns", lambda x: AUTO.copy().store(x)),
    "retrieve": ("queries", AUTO.retrieve),
    "retrieve steps": ("queries", lambda x: AUTO.retrieve(x, 3)),
    "recall": ("queries", AUTO.recall),
    "scores": ("queries", AUTO.scores),
    "weights": ("queries", AUTO.weights),
    "nearest": ("queries", AUTO.nearest),
    "partial": ("queries", AUTO.partial),
    "uhn.retrieve patterns": ("patterns", lambda x: uhn.retrieve(x, QUERIES)),
    "uhn.retrieve queries": ("queries", lambda x: uhn.retrieve(PATTERNS, x)),
    "uhn.retrieve values": ("values", lambda x: uhn.retrieve(PATTERNS, QUERIES, x)),
    "uhn.similarity": ("patterns", lambda x: uhn.similarity(x, QUERIES)),
    "uhn.separate": ("scores", uhn.separate),
    "attention queries": ("queries", lambda x: uhn.attention(x, PATTERNS, PATTERNS)),
    "attention keys": ("keys", lambda x: uhn.attention(QUERIES, x, PATTERNS)),
    "attention values": ("values", lambda x: uhn.attention(QUERIES, PATTERNS, x)),
}


# ------------------------------------------------------------------------------------ types --


@pytest.mark.parametrize(
    ("bad", "advice"),
    [
        (np.ones((6, 4), complex), "real"),
        (np.ones((6, 4), object), r"np\.asarray"),
        (np.full((6, 4), "a"), "text"),
        (np.full((6, 4), b"a"), "text"),
        (np.zeros((6, 4), "datetime64[s]"), "timedelta64"),
        (np.zeros((6, 4), "timedelta64[s]"), "timedelta64"),
        (np.zeros(6, "f8,f8,f8,f8"), "structured_to_unstructured"),
        (np.ma.masked_array(np.ones((6, 4)), mask=np.eye(6, 4)), "masked"),
        ([[1, 2], [3]], "array|object"),
        ("text", "text"),
        (b"bytes", "text"),
        (None, "None"),
        ({"a": 1}, "object"),
        (object(), "object"),
        (lambda: None, "object"),
    ],
    ids=lambda value: re.sub(r"\W+", " ", str(getattr(value, "dtype", value)))[:20],
)
@pytest.mark.parametrize("name", list(TAKERS))
def test_wrong_types(name: str, bad: Any, advice: str) -> None:
    what, call = TAKERS[name]
    optional = name in ("Memory", "Memory values", "Memory prior", "uhn.retrieve values")
    if bad is None and optional:
        call(bad)
        return
    with pytest.raises((TypeError, ValueError), match=advice) as caught:
        call(bad)
    assert what in str(caught.value)


@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array", "coo_matrix", "dok_array"])
@pytest.mark.parametrize("name", list(TAKERS))
def test_sparse_matrices(name: str, kind: str) -> None:
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    what, call = TAKERS[name]
    with pytest.raises(TypeError, match=rf"{what} is a sparse array .*{what}\.toarray\(\)"):
        call(getattr(sparse, kind)(PATTERNS))


def test_every_real_type_computes() -> None:
    kinds = ["?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d", "g"]
    for kind in kinds:
        patterns, queries = (PATTERNS % 2).astype(kind), (QUERIES > 1).astype(kind)
        memory = uhn.Memory(patterns, similarity="hamming")
        expected = -(patterns[None] != queries[:, None]).sum(axis=2)
        assert memory.dtype == (np.float32 if kind == "f" else np.float64)
        assert np.array_equal(memory.scores(queries), expected)


# ----------------------------------------------------------------------------------- shapes --


@pytest.mark.parametrize("name", list(TAKERS))
@pytest.mark.parametrize("shape", [(), (2, 3, 4), (1, 1, 1, 1), (6, 0), (0,), (2, 9), (9,)])
def test_wrong_shapes(name: str, shape: tuple[int, ...]) -> None:
    what, call = TAKERS[name]
    fits = {
        "Memory": shape in [(2, 9), (9,)],
        "Memory prior": False,
        "uhn.retrieve patterns": False,
        "uhn.separate": shape in [(2, 9), (9,)],
        "attention queries": shape == (2, 3, 4),
        "uhn.similarity": False,
    }
    array = np.ones(shape)
    if fits.get(name, False):
        call(array)
        return
    with pytest.raises(ValueError) as caught:
        call(array)
    message = str(caught.value)
    assert what in message
    wrong_width = name in ("uhn.retrieve patterns", "uhn.similarity") and shape in [
        (2, 9),
        (9,),
    ]
    assert str(shape) in message or wrong_width
    if wrong_width:
        assert "queries has shape (3, 4)" in message
        assert "9" in message


def test_shapes_that_contradict_each_other() -> None:
    for call, words in [
        (lambda: uhn.Memory(PATTERNS, VALUES[:5]), ["values", "(5, 2)", "6 patterns"]),
        (lambda: uhn.Memory(PATTERNS, np.ones(6)), ["values", "(6,)", "values[:, None]"]),
        (lambda: uhn.Memory(PATTERNS, prior=np.ones(5)), ["prior", "(5,)", "6 patterns"]),
        (lambda: MEMORY.copy().store(PATTERNS), ["values are missing", "2 components"]),
        (lambda: MEMORY.copy().store(PATTERNS, PATTERNS), ["4 components", "have 2"]),
        (lambda: AUTO.copy().store(PATTERNS, VALUES), ["autoassociative"]),
        (lambda: AUTO.copy().store(PATTERNS[:, :3]), ["patterns", "(6, 3)", "4"]),
        (lambda: AUTO.retrieve(QUERIES[:, :3]), ["queries", "(3, 3)", "(n, 4)"]),
        (lambda: MEMORY.retrieve(QUERIES, 2), ["n_steps > 1", "4 features", "values 2"]),
        (lambda: MEMORY.recall(QUERIES), ["recall", "4 features", "values 2"]),
        (lambda: uhn.attention(QUERIES, VALUES, VALUES), ["(3, 4)", "(6, 2)", "L, E"]),
        (lambda: uhn.attention(QUERIES, PATTERNS, VALUES[:5]), ["(6, 4)", "(5, 2)"]),
        (
            lambda: uhn.attention(np.ones((2, 3, 4)), np.ones((3, 6, 4)), VALUES),
            ["leading axes", "(2, 3, 4)", "(3, 6, 4)"],
        ),
        (
            lambda: uhn.attention(QUERIES, PATTERNS, VALUES, mask=np.ones((2, 6), bool)),
            ["mask", "(2, 6)", "3, 6"],
        ),
        (
            lambda: uhn.attention(
                np.ones((2, 3, 4)), PATTERNS, VALUES, mask=np.ones((3, 1, 1), bool)
            ),
            ["mask", "broadcast"],
        ),
        (lambda: uhn.Memory(values=VALUES), ["values", "without patterns"]),
        (lambda: uhn.Memory(prior=[1.0]), ["prior", "without patterns"]),
    ]:
        with pytest.raises(ValueError) as caught:
            call()
        for word in words:
            assert word in str(caught.value), (word, str(caught.value))


def test_empty_memories_and_empty_batches() -> None:
    for empty in (uhn.Memory(), uhn.Memory(np.empty((0, 4))), uhn.Memory(similarity="cosine")):
        for call in (empty.retrieve, empty.recall, empty.scores, empty.weights, empty.nearest):
            with pytest.raises(ValueError, match="memory is empty"):
                call(QUERIES)
        with pytest.raises(ValueError, match="memory is empty"):
            empty.partial(QUERIES)
    none = QUERIES[:0]
    for dtype in (np.float32, np.float64):
        memory = uhn.Memory(PATTERNS.astype(dtype), VALUES)
        assert memory.retrieve(none).shape == (0, 2)
        assert memory.retrieve(none).dtype == dtype
        assert memory.scores(none).shape == memory.weights(none).shape == (0, 6)
        assert memory.nearest(none, 3)[0].shape == (0, 3)
        assert memory.partial(none).finish().shape == (0, 2)
        assert uhn.merge([memory.partial(none, 0, 2), memory.partial(none, 2)]).n_patterns == 6
    assert AUTO.recall(none).status.shape == (0,)
    assert uhn.attention(none, PATTERNS, VALUES).shape == (0, 2)
    assert uhn.attention(np.empty((0, 3, 4)), PATTERNS, VALUES).shape == (0, 3, 2)
    assert np.array_equal(uhn.attention(QUERIES, PATTERNS[:0], VALUES[:0]), np.zeros((3, 2)))
    assert uhn.separate(np.empty((0, 4))).shape == (0, 4)
    part = AUTO.partial(QUERIES, 3, 3)
    assert part.n_patterns == 0
    assert np.array_equal(
        uhn.merge([AUTO.partial(QUERIES), part]).finish(), AUTO.retrieve(QUERIES)
    )


def test_one_pattern_one_feature() -> None:
    memory = uhn.Memory([3.0])
    assert (len(memory), memory.n_features) == (1, 1)
    assert memory.retrieve([[5.0]]).tolist() == [[3.0]]
    assert memory.retrieve([5.0]).tolist() == [3.0]


# ---------------------------------------------------------------------------------- layouts --


def layouts(array: np.ndarray) -> dict[str, np.ndarray]:
    """The same numbers in every way NumPy can lay them out."""
    n, d = array.shape
    doubled = np.zeros((2 * n, 2 * d), array.dtype)
    doubled[::2, ::2] = array
    raw = np.zeros(array.nbytes + 1, np.uint8)
    misaligned = raw[1:].view(array.dtype).reshape(n, d)
    misaligned[:] = array
    readonly = array.copy()
    readonly.flags.writeable = False
    record = np.zeros((n, d), [("pad", "i1"), ("x", array.dtype)])
    record["x"] = array
    return {
        "c": array.copy(),
        "fortran": np.asfortranarray(array),
        "sliced": doubled[::2, ::2],
        "reversed": array[::-1, ::-1].copy()[::-1, ::-1],
        "transposed": array.T.copy().T,
        "swapped": array.astype(array.dtype.newbyteorder()),
        "misaligned": misaligned,
        "readonly": readonly,
        "field": record["x"],
        "matrix subclass": array.copy().view(type("Own", (np.ndarray,), {})),
        "list": array.tolist(),
        "memoryview": memoryview(array.copy()),
        "longdouble": array.astype(np.longdouble),
    }


@pytest.mark.parametrize("name", list(layouts(PATTERNS)))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts_give_the_same_bits(name: str, dtype: type) -> None:
    patterns, values = PATTERNS.astype(dtype), VALUES.astype(dtype)
    queries = (QUERIES / 3).astype(dtype)
    expected = uhn.Memory(patterns, values).retrieve(queries)
    p, v, q = (layouts(x)[name] for x in (patterns, values, queries))
    widened = dtype is np.float32 and name in ("list", "longdouble")
    if not widened:
        assert np.array_equal(uhn.Memory(p, v).retrieve(q), expected)
    memory = uhn.Memory(patterns, values)
    assert np.array_equal(memory.retrieve(q), expected)
    memory = uhn.Memory(patterns[:2], values[:2])
    memory.store(p[2:], v[2:])
    assert np.array_equal(memory.retrieve(queries), expected)
    if not widened:
        weights = uhn.attention(queries, patterns, values)
        assert np.array_equal(uhn.attention(q, p, v), weights)
        assert np.array_equal(uhn.separate(q), uhn.separate(queries))


def test_broadcast_patterns() -> None:
    patterns = np.broadcast_to(np.array([1.0, 2.0]), (500, 2))
    memory = uhn.Memory(patterns)
    assert np.allclose(memory.weights([1.0, 1.0]), 1 / 500)


# ----------------------------------------------------------------------------------- numbers --


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [name for name in TAKERS if name != "uhn.separate"])
def test_numbers_that_are_not_finite(name: str, bad: float, dtype: type) -> None:
    what, call = TAKERS[name]
    array = np.ones(6, dtype) if what == "prior" else PATTERNS.astype(dtype)
    place = (4,) if what == "prior" else (4, 2)
    array[place] = bad
    if what != "prior":
        array[5, 1] = bad
    with pytest.raises(ValueError, match=re.escape(f"{list(place)}")) as caught:
        call(array)
    assert what in str(caught.value)


def test_scores_may_be_minus_infinity_but_not_all() -> None:
    assert uhn.separate([0.0, -np.inf]).tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="no pattern"):
        uhn.separate([[0.0, 1.0], [-np.inf, -np.inf]])
    with pytest.raises(ValueError, match="scores"):
        uhn.separate([0.0, np.nan])
    with pytest.raises(ValueError, match="no pattern"):
        uhn.Memory(np.eye(2), similarity="reverse_kl").retrieve([0.5, 0.5])


def test_numbers_that_do_not_fit() -> None:
    memory = uhn.Memory(PATTERNS.astype(np.float32))
    queries = QUERIES.copy()
    queries[2, 1] = 1e300
    with pytest.raises(ValueError, match=r"queries.*row 2, column 1.*float32"):
        memory.retrieve(queries)
    with pytest.raises(ValueError, match=r"patterns.*row 2, column 1.*float32"):
        memory.store(queries)
    if np.finfo(np.longdouble).max > np.finfo(np.float64).max:
        wide = QUERIES.astype(np.longdouble)
        wide[1, 3] = np.longdouble(10) ** 400
        with pytest.raises(ValueError, match=r"patterns.*row 1, column 3.*float64"):
            uhn.Memory(wide)
    with pytest.raises(ValueError, match="normalize='sum'"):
        uhn.Memory(np.full((2, 2), 1e30, np.float32), separation="polynomial").retrieve(
            np.full(2, 1e30)
        )


def test_domains() -> None:
    negative = PATTERNS.copy()
    negative[3, 2] = -1
    for similarity in ("kl", "reverse_kl", "jensen_shannon", "normalized_dot"):
        with pytest.raises(ValueError, match=r"patterns\[3, 2\] is -1"):
            uhn.Memory(negative, similarity=similarity)
        memory = uhn.Memory(PATTERNS + 1, similarity=similarity)
        with pytest.raises(ValueError, match=r"queries\[3, 2\] is -1"):
            memory.retrieve(negative)
        with pytest.raises(ValueError, match=r"patterns\[3, 2\] is -1"):
            memory.store(negative)
        assert len(memory) == 6
    zero = np.ones((3, 4))
    zero[1] = 0
    with pytest.raises(ValueError, match=r"patterns\[1\].*eps"):
        uhn.Memory(zero, similarity="kl")
    uhn.Memory(zero, similarity="kl", eps=1e-3)
    assert uhn.Memory(zero, similarity="cosine").scores(zero)[1].tolist() == [0, 0, 0]
    assert uhn.Memory(zero, similarity="normalized_dot").scores(zero)[1].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="sqrt"):
        uhn.separate([-1.0, 1.0], "sqrt")


@pytest.mark.parametrize("prior", [0.0, -1.0])
def test_priors_are_positive(prior: float) -> None:
    with pytest.raises(ValueError, match=r"prior\[2\]"):
        uhn.Memory(PATTERNS, prior=[1, 1, prior, 1, 1, 1])


# -------------------------------------------------------------------------------- parameters --


def test_unknown_names_list_the_right_ones() -> None:
    for name, known in (("similarity", uhn.similarities()), ("separation", uhn.separations())):
        with pytest.raises(ValueError) as caught:
            uhn.Memory(PATTERNS, **{name: "no such row"})
        assert all(repr(row) in str(caught.value) for row in known)
        for wrong in (None, 3, b"dot", ["dot"]):
            with pytest.raises(TypeError, match=f"{name} must be a name or a callable"):
                uhn.Memory(PATTERNS, **{name: wrong})
    with pytest.raises(ValueError, match="'negative', 'inverse', 'rbf'"):
        uhn.Memory(PATTERNS, similarity="kl", transform="exp")
    with pytest.raises(ValueError, match="'none', 'sum'"):
        uhn.Memory(PATTERNS, separation="identity", normalize="l2")
    with pytest.raises(ValueError, match="'raise'"):
        uhn.Memory(PATTERNS, nan="omit")
    with pytest.raises(TypeError, match=r"no parameter 'bta'.*beta"):
        uhn.Memory(PATTERNS, bta=1)
    with pytest.raises(TypeError, match="tol"):
        AUTO.retrieve(QUERIES, toll=1)
    with pytest.raises(TypeError, match="needs the argument queries"):
        AUTO.retrieve()
    with pytest.raises(TypeError, match="at most 2"):
        AUTO.retrieve(QUERIES, 1, 2)
    with pytest.raises(TypeError, match="twice"):
        AUTO.retrieve(QUERIES, queries=QUERIES)


READS = {
    "identity": set(),
    "polynomial": {"degree"},
    "rectified_polynomial": {"degree"},
    "sqrt": set(),
    "log1p": set(),
    "exponential": {"beta"},
    "softmax": {"beta"},
    "softmax1": {"beta"},
    "max": set(),
    "topk": {"k"},
    "topk_softmax": {"k", "beta"},
    "threshold": {"theta"},
    "sparsemax": {"beta"},
    "entmax": {"alpha", "beta"},
}


@pytest.mark.parametrize("separation", list(uhn.separations()))
def test_parameters_that_are_not_read_are_refused(separation: str) -> None:
    reads = READS[separation]
    for name in ("beta", "degree", "k", "alpha", "theta"):
        options: dict[str, Any] = {"separation": separation, name: 1}
        if name in reads:
            assert uhn.Memory(PATTERNS, **options).parameters[name] == 1
            uhn.separate(QUERIES, **options)
            continue
        for call in (
            lambda o=options: uhn.Memory(PATTERNS, **o),
            lambda o=options: uhn.separate(QUERIES, **o),
            lambda o=options: uhn.retrieve(PATTERNS, QUERIES, **o),
        ):
            with pytest.raises(ValueError, match=f"{separation!r} takes no {name}; it reads: "):
                call()
    normalizes = {"identity", "polynomial", "rectified_polynomial", "sqrt", "log1p"}
    normalizes |= {"exponential", "threshold"}
    if separation in normalizes:
        assert uhn.Memory(PATTERNS, separation=separation, normalize="sum").normalize == "sum"
    else:
        with pytest.raises(ValueError, match="normalize"):
            uhn.Memory(PATTERNS, separation=separation, normalize="sum")
    if separation in ("max", "topk", "topk_softmax"):
        with pytest.raises(ValueError, match=f"{separation!r} takes no prior"):
            uhn.Memory(PATTERNS, separation=separation, prior=np.ones(6))


@pytest.mark.parametrize("similarity", list(uhn.similarities()))
def test_transforms_are_for_distances(similarity: str) -> None:
    if similarity in ("dot", "cosine", "normalized_dot"):
        for options in ({"transform": "rbf"}, {"transform": "negative"}, {"eps": 1}):
            with pytest.raises(ValueError, match=f"{similarity!r} takes no"):
                uhn.Memory(PATTERNS, similarity=similarity, **options)
        return
    patterns = PATTERNS + 1
    uhn.Memory(patterns, similarity=similarity, transform="inverse", eps=0.5)
    uhn.Memory(patterns, similarity=similarity, transform="rbf", gamma=0.5)
    with pytest.raises(ValueError, match="takes no gamma"):
        uhn.Memory(patterns, similarity=similarity, gamma=0.5)
    if similarity in ("kl", "reverse_kl", "jensen_shannon"):
        assert uhn.Memory(patterns, similarity=similarity, eps=1).parameters["eps"] == 1
    else:
        with pytest.raises(ValueError, match="takes no eps"):
            uhn.Memory(patterns, similarity=similarity, eps=0.5)


NUMBERS: dict[str, Call] = {
    "beta": lambda x: uhn.Memory(PATTERNS, beta=x),
    "degree": lambda x: uhn.Memory(PATTERNS, separation="polynomial", degree=x),
    "alpha": lambda x: uhn.Memory(PATTERNS, separation="entmax", alpha=x),
    "theta": lambda x: uhn.Memory(PATTERNS, separation="threshold", theta=x),
    "eps": lambda x: uhn.Memory(PATTERNS + 1, similarity="kl", eps=x),
    "gamma": lambda x: uhn.Memory(PATTERNS, similarity="euclidean", transform="rbf", gamma=x),
    "tol": lambda x: AUTO.retrieve(QUERIES, 2, tol=x),
    "recall tol": lambda x: AUTO.recall(QUERIES, tol=x),
    "attention beta": lambda x: uhn.attention(QUERIES, PATTERNS, VALUES, beta=x),
}


@pytest.mark.parametrize("name", list(NUMBERS))
def test_real_parameters(name: str) -> None:
    call, word = NUMBERS[name], name.split()[-1]
    for good in (1, 1.5, np.float32(1.25), np.int64(2), np.array(1.5)):
        call(good)
    for bad in (True, np.True_, "1", 1j, np.complex128(1), [1.0], np.ones(1), object(), b"1"):
        with pytest.raises(TypeError, match=f"{word} must be a number"):
            call(bad)
    with pytest.raises(ValueError, match=word):
        call(np.nan)
    with pytest.raises(ValueError, match=f"{word} is too large"):
        call(10**400)
    if name != "theta":
        for bad in (-1, -1e300, np.inf, -np.inf):
            with pytest.raises(ValueError, match=word):
                call(bad)


INTEGERS: dict[str, tuple[int, Call]] = {
    "k": (1, lambda x: uhn.Memory(PATTERNS, separation="topk", k=x)),
    "nearest k": (1, lambda x: AUTO.nearest(QUERIES, x)),
    "n_steps": (1, lambda x: AUTO.retrieve(QUERIES, x, tol=1.0)),
    "recall n_steps": (0, lambda x: AUTO.recall(QUERIES, x, tol=1.0)),
    "start": (0, lambda x: AUTO.partial(QUERIES, x)),
    "stop": (0, lambda x: AUTO.partial(QUERIES, 0, x)),
    "first_row": (0, lambda x: uhn.Memory(PATTERNS, first_row=x)),
    "set_num_threads n": (1, uhn.set_num_threads),
}


@pytest.mark.parametrize("name", list(INTEGERS))
def test_integer_parameters(name: str) -> None:
    low, call = INTEGERS[name]
    word = name.split()[-1]
    threads = uhn.get_num_threads()
    try:
        for good in (2, np.int8(2), np.uint64(2), np.array(2)):
            call(good)
    finally:
        uhn.set_num_threads(threads)
    for bad in (2.0, np.float32(2), "2", True, np.True_, [2], np.array([2]), 2j, object()):
        with pytest.raises(TypeError, match=f"{word} must be an integer"):
            call(bad)
    for bad in (low - 1, -(10**30), -(2**63), -sys.maxsize):
        with pytest.raises(ValueError, match=f"{word} must be at least {low}"):
            call(bad)
    for bad in (10**30, 2**64, 2**63):
        with pytest.raises(ValueError, match=f"{word} is too large"):
            call(bad)


def test_integers_beyond_what_there_is() -> None:
    huge = uhn.Memory(PATTERNS, separation="topk", k=sys.maxsize)
    assert np.allclose(huge.retrieve(QUERIES), PATTERNS.mean(axis=0))
    with pytest.raises(ValueError, match=r"k is 7.*6 patterns"):
        AUTO.nearest(QUERIES, 7)
    with pytest.raises(ValueError, match=r"stop=7.*6 patterns"):
        AUTO.partial(QUERIES, 0, 7)
    with pytest.raises(ValueError, match=r"start=3 to stop=2"):
        AUTO.partial(QUERIES, 3, 2)
    with pytest.raises(ValueError, match="first_row"):
        uhn.Memory(PATTERNS, first_row=sys.maxsize)
    with pytest.raises(ValueError, match="threads"):
        uhn.set_num_threads(2**40)


def test_switches_are_true_or_false() -> None:
    for bad in (1, 0, "yes", None, [], np.ones(2)):
        with pytest.raises(TypeError, match="normalize_scores must be True or False"):
            uhn.Memory(PATTERNS, normalize_scores=bad)
        with pytest.raises(TypeError, match="copy must be True or False"):
            uhn.Memory(PATTERNS, copy=bad)
    assert uhn.Memory(PATTERNS, normalize_scores=np.True_).normalize_scores is True


def test_sizes_that_overflow() -> None:
    huge = np.broadcast_to(1.0, (2**57, 4))
    for call in (
        lambda: uhn.Memory(np.empty((0, 2**60))),
        lambda: uhn.Memory(huge),
        lambda: AUTO.retrieve(huge),
        lambda: AUTO.scores(huge),
        lambda: uhn.attention(np.broadcast_to(1.0, (2**50, 3, 4)), PATTERNS, VALUES),
        lambda: uhn.separate(huge),
        lambda: AUTO.retrieve(QUERIES, out=np.broadcast_to(1.0, (3, 4))),
    ):
        with pytest.raises((ValueError, MemoryError)):
            call()


# -------------------------------------------------------------------------------------- out= --


@pytest.mark.parametrize(
    ("out", "kind", "word"),
    [
        ([[0.0] * 4] * 3, TypeError, "NumPy array of float64, not list"),
        (np.empty((3, 4), np.float32), TypeError, "float32.*float64"),
        (np.empty((3, 4), ">f8"), TypeError, "float64"),
        (np.ma.zeros((3, 4)), TypeError, "masked"),
        (np.empty((4, 3)), ValueError, r"\(4, 3\).*\(3, 4\)"),
        (np.empty(12), ValueError, r"\(12,\).*\(3, 4\)"),
        (np.empty((3, 4), order="F"), ValueError, "contiguous"),
        (np.empty((6, 4))[::2], ValueError, "contiguous"),
        (np.frombuffer(bytes(96)).reshape(3, 4), ValueError, "read-only"),
    ],
    ids=str,
)
def test_out_that_does_not_fit(out: Any, kind: type[Exception], word: str) -> None:
    for call in (
        lambda: AUTO.retrieve(QUERIES, out=out),
        lambda: AUTO.retrieve(QUERIES, 3, out=out),
        lambda: AUTO.partial(QUERIES).finish(out=out),
        lambda: uhn.retrieve(PATTERNS, QUERIES, out=out),
        lambda: uhn.attention(QUERIES, PATTERNS, PATTERNS, out=out),
    ):
        with pytest.raises(kind, match=word) as caught:
            call()
        assert "out" in str(caught.value)


# ----------------------------------------------------------------------------- masks, parts --


@pytest.mark.parametrize("mask", [np.ones((3, 6)), np.ones((3, 6), int), [[1] * 6] * 3, "x"])
def test_masks_are_boolean(mask: Any) -> None:
    with pytest.raises(TypeError, match=r"mask has dtype .*astype\(bool\)"):
        uhn.attention(QUERIES, PATTERNS, VALUES, mask=mask)


def test_mask_shapes() -> None:
    full = uhn.attention(QUERIES, PATTERNS, VALUES)
    wide = np.ones((3, 12), bool)
    wide[:, 1::2] = False
    for mask in (
        True,
        np.ones(6, bool),
        np.ones((3, 1), bool),
        np.ones((1, 1), bool),
        np.ones((6, 3), bool).T,
        wide[:, ::2],
        np.ones((3, 6), bool)[::-1],
        np.broadcast_to(True, (3, 6)),
    ):
        assert np.array_equal(uhn.attention(QUERIES, PATTERNS, VALUES, mask=mask), full)
    assert uhn.attention(QUERIES, PATTERNS, VALUES, mask=np.ones((5, 1, 6), bool)).shape == (
        5,
        3,
        2,
    )
    assert not uhn.attention(QUERIES, PATTERNS, VALUES, mask=False).any()


def test_parts_that_do_not_fit() -> None:
    part = AUTO.partial(QUERIES, 0, 3)
    for bad in (None, 3, part, "ab", [part, None], [1, 2]):
        with pytest.raises(TypeError, match="parts"):
            uhn.merge(bad)
    with pytest.raises(ValueError, match="parts is empty"):
        uhn.merge([])
    for other in (
        AUTO.partial(QUERIES[:2], 3),
        MEMORY.partial(QUERIES, 3),
        uhn.Memory(PATTERNS.astype(np.float32)).partial(QUERIES, 3),
        uhn.Memory(PATTERNS, separation="max").partial(QUERIES, 3),
        AUTO.partial(QUERIES, 2),
    ):
        with pytest.raises(ValueError, match="part"):
            uhn.merge([part, other])
    with pytest.raises(ValueError, match="normalize"):
        uhn.Memory(PATTERNS, normalize_scores=True).partial(QUERIES)


@pytest.mark.parametrize("separation", ["sqrt", "log1p"])
@pytest.mark.parametrize("n_patterns", [1, 40, 3000])
def test_partials_say_what_retrieve_says(separation: str, n_patterns: int) -> None:
    """Scores outside the domain are told when a partial is made, wherever its rows are cut, and
    when it is finished or merged after somebody has changed its wire form.
    """
    rows = np.random.default_rng(3).uniform(0.5, 1.0, (n_patterns, 4))
    memory = uhn.Memory(rows, similarity="euclidean", separation=separation)
    sentence = f"a score is negative, and separation '{separation}' needs scores >= 0"
    for cut in ((), (0, 1), (n_patterns // 2, n_patterns)):
        with pytest.raises(ValueError, match=sentence):
            memory.partial(QUERIES[:, :1] @ np.ones((1, 4)), *cut)

    memory = uhn.Memory(rows, similarity="dot", separation=separation)
    query = np.ones(4)
    early, late = (memory.partial(query, *cut) for cut in ((0, 1), (1,)))
    assert np.array_equal(uhn.merge([early, late]).finish(), memory.retrieve(query))
    rebuild, (wire, single) = early.__reduce_ex__(4)
    assert isinstance(wire, bytes)
    score = memory.scores(query)[:1]
    assert wire.count(score.tobytes()) == 1
    changed = rebuild(wire.replace(score.tobytes(), (-score).tobytes()), single)
    for call in (changed.finish, lambda: uhn.merge([late, changed]).finish()):
        with pytest.raises(ValueError, match="score is negative"):
            call()


@pytest.mark.parametrize("separation", ["softmax", "topk", "sparsemax"])
def test_broken_wire_forms_are_refused(separation: str) -> None:
    partial = uhn.Memory(PATTERNS, separation=separation).partial(QUERIES, 0, 5)
    rebuild, (wire, single) = partial.__reduce_ex__(4)
    assert isinstance(wire, bytes)
    assert np.array_equal(rebuild(bytearray(wire), single).finish(), partial.finish())
    for n in (0, 1, 7, 8, len(wire) // 2, len(wire) - 1):
        with pytest.raises(ValueError):
            rebuild(wire[:n], single)
    with pytest.raises(ValueError):
        rebuild(wire + b"\0" * 8, single)
    with pytest.raises(ValueError, match="one 1-D query"):
        rebuild(wire, True)
    rng = np.random.default_rng(5)
    for _ in range(2000):
        broken = bytearray(wire)
        for place in rng.integers(len(wire), size=rng.integers(1, 4)):
            broken[place] = rng.integers(256)
        try:
            other = rebuild(broken, single)
            other.finish()
            uhn.merge([other, uhn.Memory(PATTERNS, separation=separation).partial(QUERIES, 5)])
        except (ValueError, MemoryError):
            pass


# --------------------------------------------------------------------------------- callables --


class Oops(Exception):
    """Not one of Python's own."""


def test_exceptions_of_callables_arrive() -> None:
    def oops(*arguments: np.ndarray) -> np.ndarray:
        raise Oops("as it is")

    for options in ({"similarity": oops}, {"separation": oops}):
        memory = uhn.Memory(PATTERNS, **options)
        for call in (memory.retrieve, memory.recall, memory.weights, memory.partial):
            with pytest.raises(Oops, match="as it is"):
                call(QUERIES)
    with pytest.raises(Oops):
        uhn.separate(QUERIES, oops)
    with pytest.raises(Oops):
        uhn.similarity(PATTERNS, QUERIES, oops)
    with pytest.raises(Oops):
        uhn.Memory(PATTERNS, similarity=oops).nearest(QUERIES)


@pytest.mark.parametrize(
    ("result", "kind", "word"),
    [
        (np.ones((3, 5)), ValueError, r"\(3, 5\).*\(3, 6\)"),
        (np.ones((6, 3)), ValueError, r"\(6, 3\).*\(3, 6\)"),
        (np.ones(18), ValueError, r"\(18,\)"),
        (1.0, ValueError, r"\(\)"),
        (None, TypeError, "None"),
        ("abc", TypeError, "text"),
        (np.ones((3, 6), complex), TypeError, "complex"),
        (np.full((3, 6), np.nan), ValueError, "NaN"),
        ([[1.0]], ValueError, r"\(1, 1\)"),
    ],
    ids=str,
)
def test_what_callables_return(result: Any, kind: type[Exception], word: str) -> None:
    with pytest.raises(kind, match=word) as caught:
        uhn.Memory(PATTERNS, similarity=lambda p, q: result).retrieve(QUERIES)
    assert "similarity" in str(caught.value)
    with pytest.raises(kind, match=word) as caught:
        uhn.Memory(PATTERNS, separation=lambda s: result).retrieve(QUERIES)
    assert "separation" in str(caught.value)


def test_callables_may_return_any_real_array() -> None:
    expected = uhn.Memory(PATTERNS).scores(QUERIES)
    for convert in (np.asfortranarray, np.ndarray.tolist, lambda x: x.astype(int)):
        memory = uhn.Memory(PATTERNS, similarity=lambda p, q, c=convert: c(q @ p.T))
        if convert is not np.asfortranarray:
            assert memory.scores(np.round(QUERIES)).dtype == np.float64
        else:
            assert np.array_equal(memory.scores(QUERIES), expected)
    with pytest.raises(TypeError):
        uhn.Memory(PATTERNS, similarity=lambda: 1).retrieve(QUERIES)


def test_callables_may_keep_what_they_get() -> None:
    kept: list[np.ndarray] = []

    def keep(patterns: np.ndarray, queries: np.ndarray) -> np.ndarray:
        kept.extend([patterns, queries])
        return queries @ patterns.T

    expected = uhn.retrieve(PATTERNS.copy(), QUERIES.copy(), similarity=keep)
    assert np.array_equal(kept[0], PATTERNS)
    assert np.array_equal(kept[1], QUERIES)
    assert expected.shape == (3, 4)


def test_recursion_ends() -> None:
    memories: list[uhn.Memory] = []

    def again(patterns: np.ndarray, queries: np.ndarray) -> np.ndarray:
        return memories[0].scores(queries)

    memories.append(uhn.Memory(PATTERNS, similarity=again))
    with pytest.raises(RecursionError):
        memories[0].retrieve(QUERIES)
    # One memory may well ask another.
    other = uhn.Memory(PATTERNS, similarity=lambda p, q: AUTO.scores(q))
    assert np.array_equal(other.retrieve(QUERIES), AUTO.retrieve(QUERIES))


def test_callables_may_store_into_their_memory() -> None:
    memories: list[uhn.Memory] = []

    def grow(patterns: np.ndarray, queries: np.ndarray) -> np.ndarray:
        memories[0].store(patterns)
        return queries @ patterns.T

    memories.append(uhn.Memory(PATTERNS, similarity=grow))
    assert memories[0].scores(QUERIES).shape == (3, 6)
    assert len(memories[0]) == 12


class Hostile:
    """Turns into an array with side effects."""

    def __init__(self, effect: Callable[[], Any]) -> None:
        self.effect = effect

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self.effect()
        return PATTERNS.copy()


def test_arrays_with_side_effects() -> None:
    memory = uhn.Memory()
    memory.store(Hostile(lambda: memory.store(PATTERNS.astype(np.float32))))
    assert len(memory) == 12 or len(memory) == 18
    assert memory.dtype == np.float32

    def oops() -> None:
        raise Oops

    for _what, call in TAKERS.values():
        with pytest.raises(Oops):
            call(Hostile(oops))


def test_unpickling_nonsense() -> None:
    core = uhn._core
    for arguments in ((), (1, 2), (None, None, None, []), (PATTERNS, None, None, {"a": 1})):
        with pytest.raises(TypeError):
            core._rebuild_memory(*arguments)
    for wire in (b"", "text", None, 3):
        with pytest.raises((TypeError, ValueError)):
            core._rebuild_partial(wire, False)
    assert len(pickle.loads(pickle.dumps(uhn.Memory(PATTERNS)))) == 6


# ----------------------------------------------------------------------------------- signals --


def interrupt_after(seconds: float) -> threading.Thread:
    def send() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill sends no SIGINT on Windows")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "options",
    [{}, {"separation": "entmax"}, {"similarity": "manhattan"}, {"normalize_scores": True}],
    ids=str,
)
def test_interrupt_stops_a_long_call(threads: int, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    patterns = rng.random((40_000, 200), np.float32)
    memory = uhn.Memory(patterns, **options)
    before = uhn.get_num_threads()
    uhn.set_num_threads(threads)
    begin = time.monotonic()
    sender = interrupt_after(0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            memory.retrieve(patterns, 1000)
        assert time.monotonic() - begin < 0.2 + 1.0
    finally:
        sender.join()
        uhn.set_num_threads(before)
    assert memory.retrieve(patterns[:2]).shape == (2, 200)


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill sends no SIGINT on Windows")
def test_interrupt_leaves_callables() -> None:
    memory = uhn.Memory(np.ones((20_000, 8)), similarity=lambda p, q: q @ p.T)
    sender = interrupt_after(0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            memory.retrieve(np.ones((2000, 8)), 10_000)
    finally:
        sender.join()


def test_interpreter_ends_while_threads_compute() -> None:
    code = """if True:
        import threading, time
        import numpy as np
        import uhn
        patterns = np.random.default_rng(0).random((20_000, 100))
        memory = uhn.Memory(patterns)
        slow = uhn.Memory(patterns, similarity=lambda p, q: q @ p.T)
        for one in (memory, memory, slow):
            threading.Thread(target=one.retrieve, args=(patterns, 1000), daemon=True).start()
        time.sleep(0.2)
        print("leaving")
    """
    path = os.pathsep.join([entry for entry in sys.path if entry])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "leaving\n", "")


# -------------------------------------------------------------------------------------- fuzz --

numbers = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.sampled_from([2**31, 2**63 - 1, 2**64, -(2**63), 10**40, -(10**40)]),
    st.floats(),
    st.sampled_from([np.float32(2), np.int8(3), np.array(1.5), np.ones(2), 1j, "1", b"", [1]]),
)
dtypes = st.sampled_from(
    ["f4", "f8", "f2", "g", ">f4", "i1", "u8", "?", "c8", "O", "U1", "M8[s]"]
)


@st.composite
def arrays(draw: Any) -> Any:
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(numbers)
    lengths = st.sampled_from([0, 1, 2, 3, 4, 4, 4, 5, 130])
    shape = tuple(draw(st.lists(lengths, max_size=4)))
    if kind < 6:
        shape = (draw(lengths), 4)
    array = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 9, shape).astype(float)
    if array.size and draw(st.integers(0, 5)) == 0:
        array.flat[draw(st.integers(0, array.size - 1))] = draw(
            st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 1e300, 1e-320])
        )
    if draw(st.integers(0, 3)) == 0:
        with np.errstate(all="ignore"):
            array = array.astype(draw(dtypes))
    layout = draw(st.integers(0, 5))
    if layout == 1:
        array = array[::-1] if array.ndim else array
    elif layout == 2:
        array = array.T
    elif layout == 3:
        array.flags.writeable = False
    elif layout == 4:
        return array.tolist()
    elif layout == 5:
        return np.ma.masked_array(array)
    return array


similarity_names = st.one_of(
    st.sampled_from([*uhn.similarities(), "", "nothing"]),
    st.sampled_from([None, 3, np.inner, lambda p, q: q @ p.T, lambda p, q: p]),
)
separation_names = st.one_of(
    st.sampled_from([*uhn.separations(), "", "nothing"]),
    st.sampled_from([None, 3, np.exp, np.square, lambda s: s[:1]]),
)
keywords = st.fixed_dictionaries(
    {},
    optional={
        "similarity": similarity_names,
        "separation": separation_names,
        "transform": st.sampled_from([None, "negative", "inverse", "rbf", "x", 1]),
        "eps": numbers,
        "gamma": numbers,
        "beta": numbers,
        "degree": numbers,
        "k": numbers,
        "alpha": numbers,
        "theta": numbers,
        "normalize": st.sampled_from([None, "none", "sum", "x", 2]),
        "normalize_scores": st.sampled_from([True, False, None, 1]),
    },
)
#: Few at a time, so that many calls get past the first check.
few_keywords = keywords.map(lambda chosen: dict(list(chosen.items())[:3]))


def attempt(call: Callable[[], Any]) -> Any:
    """The result; None if the call raised something it may raise."""
    try:
        with np.errstate(all="ignore"):
            return call()
    except DOCUMENTED:
        return None


@settings(
    max_examples=FUZZ_EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_fuzz(data: Any) -> None:
    options = data.draw(few_keywords)
    rows = data.draw(arrays())
    more = {"prior": data.draw(arrays())} if data.draw(st.integers(0, 4)) == 0 else {}
    values = data.draw(arrays()) if data.draw(st.booleans()) else None
    memory = attempt(lambda: uhn.Memory(rows, values, **options, **more))
    if memory is None:
        memory = attempt(lambda: uhn.Memory(PATTERNS, **options)) or AUTO.copy()
    queries, out = data.draw(arrays()), data.draw(st.one_of(st.none(), arrays()))
    a, b = data.draw(numbers), data.draw(numbers)
    steps = a if not isinstance(a, int) or abs(a) < 100 else 3
    calls: list[Callable[[], Any]] = [
        lambda: memory.store(queries, values),
        lambda: memory.retrieve(queries),
        lambda: memory.retrieve(queries, steps, tol=b, out=out),
        lambda: memory.recall(queries, steps, tol=b),
        lambda: memory.scores(queries, out=out),
        lambda: memory.weights(queries, out=out),
        lambda: memory.nearest(queries, a),
        lambda: memory.partial(queries, a, b).finish(out=out),
        lambda: uhn.merge([memory.partial(queries, 0, 3), memory.partial(queries, a, b)]),
        lambda: memory[a],
        lambda: memory[queries],
        lambda: memory[a:b],
        lambda: uhn.retrieve(rows, queries, values, n_steps=steps, out=out, **options),
        lambda: uhn.similarity(rows, queries, options.get("similarity", "dot"), eps=b),
        lambda: uhn.separate(queries, options.get("separation", "softmax"), beta=b),
        lambda: uhn.attention(queries, rows, values, mask=out, beta=b),
        lambda: (repr(memory), memory.parameters, memory.values, memory.prior, len(memory)),
    ]
    for index in data.draw(st.lists(st.integers(0, len(calls) - 1), min_size=3, max_size=8)):
        attempt(calls[index])
    result = attempt(lambda: memory.retrieve(QUERIES))
    if result is not None:
        assert np.isfinite(result).all()
