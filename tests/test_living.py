"""Memories that change: rows removed, exchanged, given other priors; names, rings and fading.

The law is one: whatever happened to a memory, it answers bit for bit as a new one does that was
given the rows it has, in their order. Names, labels and priors are held to a model in plain
lists, numbers to the oracles in float64.
"""

from __future__ import annotations

import copy
import gc
import math
import pickle
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import cases
import reference
import uhn

Array = np.ndarray


def same(a: Array, b: Array) -> bool:
    """Whether two arrays have the same type, shape and bits."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.fixture
def threads():
    """Sets the number of threads; afterwards it is what it was."""
    before = uhn.get_num_threads()
    yield uhn.set_num_threads
    uhn.set_num_threads(before)


# --------------------------------------------------------------------------------- histories --

#: Every similarity and every separation at least once.
EQUATIONS = [
    ("dot", "softmax"),
    ("cosine", "entmax"),
    ("normalized_dot", "sqrt"),
    ("euclidean", "sparsemax"),
    ("sqeuclidean", "softmax1"),
    ("manhattan", "exponential"),
    ("chebyshev", "topk"),
    ("hamming", "max"),
    ("kl", "topk_softmax"),
    ("reverse_kl", "threshold"),
    ("jensen_shannon", "softmax"),
    ("dot", "polynomial"),
    ("dot", "rectified_polynomial"),
    ("dot", "identity"),
    ("normalized_dot", "log1p"),
]
assert {s for s, _ in EQUATIONS} == set(cases.SIMILARITIES)
assert {s for _, s in EQUATIONS} == set(cases.SEPARATIONS)


class Model:
    """The rows a memory should have."""

    def __init__(self, width: int, n_values: int, dtype) -> None:
        self.patterns = np.empty((0, width), dtype)
        self.values = np.empty((0, n_values), dtype)
        self.prior = np.empty(0, dtype)

    def fresh(self, **equation) -> uhn.Memory:
        values = self.values if self.values.shape[1] else None
        prior = None if (self.prior == 1).all() else self.prior
        return uhn.Memory(self.patterns, values, prior=prior, copy=True, **equation)


@pytest.mark.parametrize("dtype", cases.DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize(("similarity", "separation"), EQUATIONS)
def test_any_history_answers_as_a_new_memory(similarity: str, separation: str, dtype) -> None:
    """After any edits all that is asked has the bits of a memory that never saw another row."""
    seed = EQUATIONS.index((similarity, separation)) * 2 + (dtype == np.float64)
    rng = np.random.default_rng(seed)
    width, n_values, first_row = 7, [0, 4][seed % 2], [0, 1000][seed // 2 % 2]
    positive = cases.needs_positive(separation)

    def rows(n: int) -> Array:
        return cases.data(rng, similarity, (n, width), dtype, positive)

    def prior(n: int) -> Array | None:
        given = separation in cases.WITH_PRIOR and rng.random() < 0.4
        return rng.uniform(0.5, 2, n).astype(dtype) if given else None

    def values(n: int) -> Array | None:
        return rng.normal(size=(n, n_values)).astype(dtype) if n_values else None

    queries = rows(4)
    sample = reference.similarity(rows(40), queries, similarity=similarity)
    equation = {"similarity": similarity, "separation": separation}
    equation |= cases.parameters(separation, sample)
    memory = uhn.Memory(first_row=first_row, **equation)
    model = Model(width, n_values, dtype)
    happened = dict.fromkeys(("store", "remove", "first", "all", "replace", "prior"), 0)
    for turn in range(70):
        n = len(model.patterns)
        what = str(rng.choice(list(happened), p=[0.4, 0.2, 0.1, 0.02, 0.14, 0.14]))
        what = "all" if turn == 35 else what
        chosen = rng.permutation(n)[: rng.integers(0, 25)]
        if what == "store" or n == 0:
            what = "store"
            m = int(rng.choice([1, 5, 40, 200]))
            x, v, p = rows(m), values(m), prior(m)
            memory.store(x, v, prior=p, copy=bool(rng.random() < 0.3))
            model.patterns = np.concatenate([model.patterns, x])
            model.values = np.concatenate(
                [model.values, np.empty((m, 0), dtype) if v is None else v]
            )
            model.prior = np.concatenate([model.prior, np.ones(m, dtype) if p is None else p])
        elif what in ("remove", "first", "all"):
            if what == "first":
                chosen = np.arange(min(n, rng.integers(1, 150)))
            elif what == "all":
                chosen = np.arange(n)
            assert memory.remove(chosen - n if turn % 2 else chosen) is memory
            for part in ("patterns", "values", "prior"):
                setattr(model, part, np.delete(getattr(model, part), chosen, axis=0))
        elif what == "replace":
            x, v, p = rows(len(chosen)), values(len(chosen)), prior(len(chosen))
            assert memory.replace(chosen, x, v, prior=p) is memory
            model.patterns[chosen] = x
            if v is not None:
                model.values[chosen] = v
            if p is not None:
                model.prior[chosen] = p
        elif separation in cases.WITH_PRIOR:
            whole = rng.random() < 0.3
            some = np.arange(n) if whole else chosen
            p = rng.uniform(0.5, 2, len(some)).astype(dtype)
            assert memory.set_prior(p, None if whole else some) is memory
            model.prior[some] = p
        happened[what] += 1
        assert len(memory) == len(model.patterns)
        if turn % 3 or not len(model.patterns):
            continue
        assert same(np.asarray(memory), model.patterns)
        assert same(memory[:], model.patterns)
        assert same(
            np.ones(len(memory), dtype) if memory.prior is None else memory.prior, model.prior
        )
        fresh = model.fresh(first_row=first_row, **equation)
        assert same(memory.values, fresh.values)
        assert same(memory.retrieve(queries), fresh.retrieve(queries))
        assert same(memory.weights(queries), fresh.weights(queries))
        assert all(map(same, memory.nearest(queries, 1), fresh.nearest(queries, 1)))
        cut = int(rng.integers(0, len(memory) + 1))
        parts = [memory.partial(queries, 0, cut), memory.partial(queries, cut)]
        assert same(uhn.merge(parts).finish(), fresh.retrieve(queries))
    assert all(happened.values()), happened


@pytest.mark.parametrize("dtype", cases.DTYPES, ids=["float32", "float64"])
def test_pieces_and_threads_change_no_bit(dtype, threads) -> None:
    """Thousands of rows in many pieces, asked by one thread and by two."""
    rng = np.random.default_rng(8)
    patterns = rng.normal(size=(9000, 64)).astype(dtype)
    queries = rng.normal(size=(30, 64)).astype(dtype)
    memory = uhn.Memory(patterns, beta=0.3, prior=rng.uniform(0.5, 1, 9000))
    kept = np.ones(9000, bool)
    for _ in range(20):
        live = np.flatnonzero(kept)
        gone = rng.permutation(len(live))[: rng.integers(1, 30)]
        memory.remove(gone)
        kept[live[gone]] = False
        fresh = uhn.Memory(patterns[kept], beta=0.3, prior=memory.prior)
        answers = []
        for n in (1, 2):
            threads(n)
            answers += [memory.retrieve(queries), fresh.retrieve(queries)]
        assert all(same(answers[0], other) for other in answers[1:])


def test_a_file_of_an_edited_memory(tmp_path) -> None:
    """What is saved is what is there; a mapped memory is edited without a copy of the file."""
    rng = np.random.default_rng(9)
    patterns = rng.normal(size=(3000, 16))
    memory = uhn.Memory(patterns, prior=rng.uniform(0.5, 1, 3000))
    memory.remove(rng.permutation(3000)[:700]).replace([5, 1], patterns[:2])
    memory.save(tmp_path / "a.uhn.safetensors")
    mapped = uhn.load(tmp_path / "a.uhn.safetensors")
    queries = rng.normal(size=(3, 16))
    assert same(mapped.retrieve(queries), memory.retrieve(queries))
    gone = rng.permutation(2300)[:2000]
    memory.remove(gone)
    mapped.remove(gone)
    assert same(mapped.retrieve(queries), memory.retrieve(queries))
    assert mapped.__sizeof__() < 40 * 300 < mapped.nbytes


def test_an_emptied_memory_keeps_its_width() -> None:
    """Without rows a memory is an empty one, of its width and dtype."""
    memory = uhn.Memory(np.eye(3, dtype=np.float32), prior=[1, 2, 3]).remove([0, 1, 2])
    assert (len(memory), memory.n_features, memory.dtype, memory.prior) == (
        0,
        3,
        np.float32,
        None,
    )
    with pytest.raises(ValueError, match="the memory is empty"):
        memory.retrieve(np.ones(3))
    with pytest.raises(ValueError, match="3"):
        memory.store(np.ones((2, 4)))
    assert memory.store(np.eye(3)).retrieve([1.0, 0, 0]).dtype == np.float32
    assert memory.remove([]).set_prior([], []) is memory and memory.prior is None


# ---------------------------------------------------------------------- readers, room, loans --


def wait_for(what: Callable[[], bool]) -> None:
    """Waits until something is so, at most half a minute."""
    end = time.monotonic() + 30
    while not what() and time.monotonic() < end:
        time.sleep(0.001)


def test_readers_see_all_of_an_edit_or_nothing() -> None:
    """While all rows are exchanged again and again, an answer is of one set or of the other."""
    rng = np.random.default_rng(10)
    sets = [rng.normal(size=(300, 8)) for _ in range(2)]
    query = rng.normal(size=8)
    keywords: dict[str, Any] = {"similarity": "sqeuclidean", "beta": 0.3}
    right = {uhn.Memory(x, **keywords).retrieve(query).tobytes() for x in sets}
    memory = uhn.Memory(sets[0], **keywords)
    assert len(right) == 2
    rows = rng.permutation(300)
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(memory.retrieve(query).tobytes())

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    wait_for(lambda: bool(seen))
    for turn in range(400):
        memory.replace(rows, sets[1 - turn % 2][rows])
    done.set()
    for reader in readers:
        reader.join()
    assert seen <= right and seen


def test_ids_belong_to_the_rows_of_an_answer() -> None:
    """A pattern says which id it has: no answer has rows of one moment and names of another."""

    def code(ids: list[int]) -> Array:
        angle = 0.7 * np.array(ids)[:, np.newaxis]
        return np.hstack([np.cos(angle), np.sin(angle)])

    memory = uhn.LivingMemory(capacity=40, similarity="sqeuclidean", beta=1e6, half_life=100)
    memory.store(code(list(range(40))))
    wrong: list[object] = []
    n_asked = [0]
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            ids = memory.ids
            queries = code(ids[::7])
            answer = memory.recall(queries, 1)
            near, scores = memory.nearest(queries)
            distance = ((code(near[:, 0].tolist()) - queries) ** 2).sum(1)
            n_asked[0] += 1
            if not (
                len(ids) == 40
                and np.allclose(code(answer.ids[:, 0].tolist()), answer.state, atol=1e-6)
                and np.allclose(distance, -scores[:, 0], atol=1e-6)
            ):
                wrong.append((answer.ids, near))

    def guarded() -> None:
        try:
            read()
        except BaseException as error:
            wrong.append(error)

    reader = threading.Thread(target=guarded)
    reader.start()
    wait_for(lambda: n_asked[0] > 0 or bool(wrong))
    rng = np.random.default_rng(1)
    for turn in range(300):
        first = memory.ids[-1] + 1
        memory.store(code(list(range(first, first + 3))))
        if turn % 4 == 0:
            some = rng.permutation(memory.ids)[:3].tolist()
            memory.replace(some, code(some), labels=some)
    done.set()
    reader.join()
    assert not wrong and n_asked[0] > 0


def test_borrowed_arrays_are_given_back() -> None:
    """An array is let go with its last row, but not while a copy, a view or a recall has it."""
    first, second = np.ones((300, 128)), np.full((200, 128), 2.0)
    alive = [weakref.ref(first), weakref.ref(second)]
    memory = uhn.Memory(first).store(second)
    assert memory.__sizeof__() < 4000, "both are borrowed"
    del first, second
    memory.remove(range(100))
    assert alive[0]() is not None
    other = memory.copy()
    memory.remove(range(200))
    gc.collect()
    assert alive[0]() is not None and alive[1]() is not None
    other.remove(range(200))
    gc.collect()
    assert alive[0]() is None and alive[1]() is not None
    recall = memory.recall(np.ones(128), 1)
    view = np.asarray(memory)
    assert view.base is not None and len(view) == 200
    memory.remove(range(200))
    other = uhn.Memory(np.ones((2, 2)))
    gc.collect()
    assert alive[1]() is not None and (view == 2).all()
    assert recall.weights.shape == (200,)
    del recall
    gc.collect()
    assert alive[1]() is not None and (view == 2).all()
    del view
    gc.collect()
    assert alive[1]() is None


def test_what_little_is_left_is_copied() -> None:
    """An array of which less than half is left is copied and let go; a replaced one at once."""
    rows = np.random.default_rng(3).normal(size=(4000, 64))
    alive = weakref.ref(rows)
    wanted = rows[::7].copy()
    memory = uhn.Memory(rows)
    del rows
    memory.remove(np.delete(np.arange(4000), np.arange(0, 4000, 7)))
    gc.collect()
    assert alive() is None and same(np.asarray(memory), wanted)
    assert memory.__sizeof__() < 1.1 * wanted.nbytes + 1000


def test_a_view_outlives_what_happens_to_the_memory() -> None:
    """An array of the patterns shows what it showed, whatever is stored or removed."""
    memory = uhn.Memory().store(np.arange(12.0).reshape(4, 3), copy=True)
    view = np.asarray(memory)
    kept = view.copy()
    memory.store(np.ones((100, 3))).replace([0, 1], np.ones((2, 3))).remove(range(50))
    del memory
    gc.collect()
    np.empty((4, 3))[:] = 7
    assert same(view, kept) and not view.flags.writeable


class Label:
    """Something whose life can be watched."""


def test_a_ring_is_bounded() -> None:
    """After 100,000 evictions a ring has room for its rows and few labels of rows long gone."""
    rng = np.random.default_rng(4)
    capacity, width = 700, 64
    memory = uhn.LivingMemory(capacity=capacity, beta=0.2)
    labels: weakref.WeakSet[Label] = weakref.WeakSet()
    pool = rng.normal(size=(900, width)).astype(np.float32)
    n_stored, most = 0, 0
    while n_stored < 100_000 + capacity:
        n = int(rng.choice([1, 3, 100, 400], p=[0.3, 0.3, 0.2, 0.2]))
        new = [Label() for _ in range(n)]
        labels.update(new)
        at = int(rng.integers(0, 500))
        memory.store(pool[at : at + n], labels=new, copy=bool(rng.random() < 0.5))
        del new
        n_stored += n
        assert len(memory) == min(n_stored, capacity)
        most = max(most, memory.memory.__sizeof__())
    assert memory.ids == list(range(n_stored - capacity, n_stored))
    bytes_of_rows = capacity * width * 4
    assert bytes_of_rows == memory.memory.nbytes
    assert most < 3 * bytes_of_rows + (1 << 17)
    gc.collect()
    assert capacity <= len(labels) < 4 * capacity
    assert len(memory._index) == capacity


def test_sizeof_counts_what_is_kept() -> None:
    """Spare room and rows not yet freed count: a memory cannot hide what it holds."""
    memory = uhn.Memory().store(np.ones((1000, 100)), copy=True)
    whole = memory.__sizeof__()
    assert whole >= 800_000
    memory.remove(range(300))
    assert memory.nbytes == 560_000 and memory.__sizeof__() >= 800_000
    memory.remove(range(400))
    assert memory.nbytes == 240_000 and memory.__sizeof__() < 250_000


# ------------------------------------------------------------------------------------ errors --

BAD_ROWS = [
    ([1, 0, 1], ValueError, r"rows\[0\] and rows\[2\] are both 1; name each row once"),
    ([0, -4], ValueError, r"both 0"),
    ([4], IndexError, "row 4 is out of range for a memory of 4 patterns"),
    (-5, IndexError, "row -5 is out of range"),
    (np.array([2**64 - 1], np.uint64), IndexError, f"row {2**64 - 1} is out of range"),
    ([0.0], TypeError, "integers"),
    (np.ones(4, bool), TypeError, r"use np.flatnonzero\(mask\)"),
    ([[0]], TypeError, r"shape \(1, 1\)"),
    (None, TypeError, "integers"),
]


@pytest.mark.parametrize(("rows", "error", "message"), BAD_ROWS)
def test_rows_that_are_none(rows, error, message) -> None:
    """Wrong numbers of rows are named and change nothing."""
    memory = uhn.Memory(np.eye(4), [[1], [2], [3], [4]], prior=[1, 2, 3, 4])
    before = pickle.dumps(memory)
    n = np.size(rows)
    with pytest.raises(error, match=message):
        memory.remove(rows)
    with pytest.raises(error, match=message):
        memory.replace(rows, np.ones((n, 4)), np.ones((n, 1)))
    if rows is not None:
        with pytest.raises(error, match=message):
            memory.set_prior(np.ones(np.shape(rows)), rows)
    assert pickle.dumps(memory) == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.replace([0, 1], np.ones((3, 4)), np.ones((3, 1))), "3 patterns .* 2 rows"),
        (lambda m: m.replace(0, np.ones(3), [1]), "patterns has shape"),
        (lambda m: m.replace(0, np.ones(4)), "values are missing"),
        (lambda m: m.replace(0, np.ones(4), [1, 2]), "values have 2 components"),
        (lambda m: m.replace(0, np.full(4, np.nan), [1]), r"patterns\[0, 0\] is NaN"),
        (lambda m: m.replace(0, np.ones(4), [np.inf]), r"values\[0, 0\] is infinite"),
        (lambda m: m.replace(0, -np.ones(4), [1]), "defined for values >= 0"),
        (lambda m: m.replace(0, np.ones(4), [1], prior=[0]), r"prior\[0\] is 0"),
        (lambda m: m.set_prior([1, 2]), r"shape \(2,\), but there are 4 patterns"),
        (lambda m: m.set_prior([1, -1], [0, 1]), r"prior\[1\] is -1"),
        (lambda m: m.set_prior([np.inf], [0]), r"prior\[0\] is inf"),
        (lambda m: uhn.Memory(np.eye(2), separation="max").set_prior([1, 2]), "takes no prior"),
        (lambda m: uhn.Memory().replace(0, np.ones(4)), "empty"),
        (lambda m: uhn.Memory(np.eye(4)).replace(0, np.ones(4), [1]), "autoassociative"),
    ],
)
def test_edits_that_do_not_fit(call, message: str) -> None:
    """What does not fit is named and changes nothing."""
    memory = uhn.Memory(np.eye(4), [[1], [2], [3], [4]], similarity="kl", eps=0.1)
    before = pickle.dumps(memory)
    with pytest.raises(ValueError, match=message):
        call(memory)
    assert pickle.dumps(memory) == before


X = np.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.store(X, ids=["a", "q", "r", "s"]), ValueError, "has the id 'a' already"),
        (lambda m: m.store(X[:2], ids=[7, 7]), ValueError, "ids have 7 twice"),
        (lambda m: m.store(X[:2], ids=[7]), ValueError, "1 ids, but 2 patterns"),
        (lambda m: m.store(X[:2], ids=[7, 1.5]), TypeError, "int or a str, not float 1.5"),
        (lambda m: m.store(X[:2], ids=[7, True]), TypeError, "not bool"),
        (lambda m: m.store(X[:2], labels="ab"), TypeError, "labels must be a sequence"),
        (lambda m: m.store(X[:2], labels=["ab"]), ValueError, "1 labels, but 2 patterns"),
        (lambda m: m.store(X[:2], metadata=[{}, 3]), TypeError, "must be a mapping, not int"),
        (lambda m: m.store(X[:2, :2]), ValueError, "patterns has shape"),
        (lambda m: m.store(X[:2], prior=[1, 0]), ValueError, r"prior\[1\] is 0"),
        (lambda m: m.remove("z"), KeyError, "no memory has the id 'z'"),
        (lambda m: m.remove(["a", 5]), KeyError, "no memory has the id 5"),
        (lambda m: m.remove(["a", "a"]), ValueError, "ids have 'a' twice"),
        (lambda m: m.replace("z", X[0]), KeyError, "no memory has the id 'z'"),
        (lambda m: m.replace(["a", "b"], X[:1]), ValueError, "1 patterns .* 2 rows"),
        (lambda m: m.replace("a", X[0], labels="u", metadata=3), TypeError, "mapping"),
        (lambda m: m["z"], KeyError, "no memory has the id 'z'"),
        (lambda m: m[1.0], TypeError, "int or a str"),
        (lambda m: m.set_prior([1, 2], "a"), ValueError, "prior has shape"),
        (lambda m: m.decay(0), ValueError, "factor must be above 0 and at most 1, got 0"),
        (lambda m: m.decay(1.5), ValueError, "at most 1"),
        (lambda m: m.decay(math.nan), ValueError, "got nan"),
        (lambda m: m.tick(), ValueError, "no half_life to tick with"),
        (lambda m: m.recall(X, k=0), ValueError, "k must be from 1 to the 4 memories"),
        (lambda m: m.recall(X, k=5), ValueError, "got 5"),
        (lambda m: m.recall(X[:, :2]), ValueError, "queries has shape"),
    ],
)
def test_living_calls_that_do_not_fit(call, error, message: str) -> None:
    """What does not fit is named and changes nothing, not even the next id."""
    memory = uhn.LivingMemory(X, ids=list("abcd"), labels=[1, 2, 3, 4])
    before = memory.__getstate__() | {"memory": pickle.dumps(memory.memory)}
    with pytest.raises(error, match=message):
        call(memory)
    after = memory.__getstate__() | {"memory": pickle.dumps(memory.memory)}
    assert after == before
    assert memory.store(X[:1]) == [0]


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"capacity": 0}, ValueError, "capacity must be at least 1, got 0"),
        ({"capacity": True}, TypeError, "capacity must be a whole number"),
        ({"capacity": 2.0}, TypeError, "integer"),
        ({"half_life": 0}, ValueError, "half_life must be finite and > 0"),
        ({"half_life": math.inf}, ValueError, "half_life must be finite"),
        ({"half_life": 3, "separation": "topk"}, ValueError, "takes no prior"),
        ({"min_margin": math.nan}, ValueError, "min_margin must be a number, got NaN"),
        ({"labels": [1]}, ValueError, "need patterns"),
        ({"patterns": X, "similarity": "manhattan", "max_energy": 1}, ValueError, "no energy"),
        ({"colour": 1}, TypeError, "colour"),
    ],
)
def test_living_memories_that_cannot_be(keywords, error, message: str) -> None:
    """The constructor names what is wrong."""
    with pytest.raises(error, match=message):
        uhn.LivingMemory(**keywords)


# ------------------------------------------------------------------------------------- names --


def test_names_follow_their_rows() -> None:
    """Ids, labels, metadata and rows stay together through any history, as in a dictionary."""
    rng = np.random.default_rng(12)
    capacity = 60
    memory = uhn.LivingMemory(capacity=capacity, similarity="cosine")
    wanted: dict[int | str, tuple[Any, Any, Array]] = {}  # in the order of the rows
    for turn in range(300):
        what = rng.integers(0, 4)
        some = [list(wanted)[i] for i in rng.permutation(len(wanted))[: rng.integers(0, 6)]]
        if what < 2:
            x = rng.normal(size=(int(rng.integers(1, 20)), 5))
            labels = [f"{turn}.{i}" for i in range(len(x))] if what else None
            meta = [{"turn": turn} if i % 2 else None for i in range(len(x))]
            given = [f"s{turn}.{i}" for i in range(len(x))] if turn % 5 == 0 else None
            ids = memory.store(x, ids=given, labels=labels, metadata=meta)
            assert given is None or ids == given
            for i, name in enumerate(ids):
                assert name not in wanted
                wanted[name] = (labels[i] if labels else None, meta[i], x[i])
            while len(wanted) > capacity:
                del wanted[next(iter(wanted))]
        elif what == 2:
            memory.remove(some)
            for name in some:
                del wanted[name]
                assert name not in memory
        elif some:
            x = rng.normal(size=(len(some), 5))
            new = [f"new {turn}" for _ in some] if turn % 2 else None
            memory.replace(some, x, labels=new)
            for i, name in enumerate(some):
                wanted[name] = (new[i] if new else wanted[name][0], wanted[name][1], x[i])
        assert memory.ids == list(memory) == list(wanted) and len(memory) == len(wanted)
        assert memory.labels == [label for label, _, _ in wanted.values()]
        assert memory.metadata == [meta for _, meta, _ in wanted.values()]
        if wanted:
            assert same(memory.memory[:], np.array([x for *_, x in wanted.values()]))
            name = list(wanted)[int(rng.integers(0, len(wanted)))]
            entry = memory[name]
            assert name in memory and (entry.id, entry.prior) == (name, 1.0)
            assert (entry.label, entry.metadata) == wanted[name][:2]
            assert same(entry.pattern, wanted[name][2]) and same(entry.value, entry.pattern)


def test_ids_are_counted_up_and_never_used_again() -> None:
    """Whole numbers that were given count too; numbers of NumPy are numbers."""
    memory = uhn.LivingMemory()
    assert memory.store(X[:2]) == [0, 1]
    assert memory.store(X[0]) == 2, "one pattern has one id"
    assert memory.store(X[0], ids="x", labels="one", metadata={"a": 1}) == "x"
    assert memory["x"][:3] == ("x", "one", {"a": 1})
    memory.remove([1, 2])
    assert memory.store(X[:1]) == [3]
    assert memory.store(X[:2], ids=np.array([10, -5])) == [10, -5]
    assert memory.store(X[:1]) == [11] and type(memory.ids[-2]) is int
    assert 10 in memory and np.int64(10) in memory and "10" not in memory
    assert 1.5 not in memory and None not in memory and True not in memory
    memory.remove(list(memory))
    assert len(memory) == 0 and memory.store(X[:1]) == [12]
    assert memory.store(np.empty((0, 3))) == []


def test_more_than_a_ring_holds() -> None:
    """Of a store larger than the ring the last ones stay."""
    memory = uhn.LivingMemory(X, capacity=3)
    assert memory.ids == [1, 2, 3] and same(memory.memory[:], X[1:])
    assert memory.store(np.vstack([X, X])) == list(range(4, 12)) and memory.ids == [9, 10, 11]


# -------------------------------------------------------------------------------- provenance --


@pytest.mark.parametrize("n_values", [0, 6, 2])
def test_provenance(n_values: int) -> None:
    """Who answered, with which weights, how many, margin and energy: as NumPy has it."""
    rng = np.random.default_rng(13)
    patterns = rng.normal(size=(50, 6))
    values = rng.normal(size=(50, n_values)) if n_values else None
    prior = rng.uniform(0.5, 2, 50)
    ids = [f"m{i}" for i in rng.permutation(50)]
    memory = uhn.LivingMemory(
        patterns, values, ids=ids, labels=list(range(50)), prior=prior, beta=1.3,
        metadata=[{"row": i} for i in range(50)],
    )  # fmt: skip
    gone = [ids[i] for i in (3, 30, 31)]
    memory.remove(gone)
    keep = np.delete(np.arange(50), [3, 30, 31])
    queries = rng.normal(size=(4, 6))
    answer = memory.recall(queries, 1, k=5)
    queries_then = queries.copy()
    queries[:] = 0  # an answer keeps what it was asked
    w = reference.weights(patterns[keep], queries_then, beta=1.3, prior=prior[keep])
    order = np.argsort(-w, axis=1)[:, :5]
    assert answer.ids.tolist() == [[ids[keep[i]] for i in row] for row in order]
    assert answer.labels.tolist() == keep[order].tolist()
    assert [[m["row"] for m in row] for row in answer.metadata] == keep[order].tolist()
    np.testing.assert_allclose(answer.weights, np.take_along_axis(w, order, 1), rtol=1e-12)
    entropy = -(w * np.log(w)).sum(axis=1)
    np.testing.assert_allclose(answer.n_effective, np.exp(entropy), rtol=1e-12)
    top = np.sort(queries_then @ patterns[keep].T, axis=1)
    np.testing.assert_allclose(answer.margin, top[:, -1] - top[:, -2], rtol=1e-11)
    z = w @ (patterns if values is None else values)[keep]
    np.testing.assert_allclose(answer.state, z, rtol=1e-11, atol=1e-12)
    assert same(answer.state, memory.retrieve(queries_then))
    assert answer.matched.tolist() == [True] * 4
    if n_values:
        with pytest.raises(ValueError, match="there is no energy"):
            answer.energy  # noqa: B018
    else:
        energy = reference.energy(patterns[keep], queries_then, beta=1.3, prior=prior[keep])
        np.testing.assert_allclose(answer.energy, energy, rtol=1e-12)
    one = memory.recall(queries_then[2], 1, k=5)
    assert one.ids.tolist() == answer.ids[2].tolist() and same(one.state, answer.state[2])
    assert one.margin == answer.margin[2] and one.n_effective == answer.n_effective[2]
    assert one.matched is True and one.weights.shape == (5,)
    near, scores = memory.nearest(queries_then, 2)
    rows = np.argsort(-(queries_then @ patterns[keep].T), axis=1)[:, :2]
    assert near.tolist() == [[ids[keep[i]] for i in row] for row in rows]
    assert same(scores, memory.memory.nearest(queries_then, 2)[1])
    assert memory.nearest(queries_then[1])[0].tolist() == [near[1, 0]]


def test_an_answer_stays_what_it_was() -> None:
    """What is asked of an answer later is about the memories of its moment."""
    memory = uhn.LivingMemory(np.eye(3), labels=list("abc"), beta=20.0)
    answer = memory.recall([0, 1.0, 0])
    memory.replace(1, [5.0, 5, 5], labels="other")
    memory.remove([0, 2])
    assert answer.labels.tolist() == ["b"] and answer.ids.tolist() == [1]
    assert answer.weights[0] > 0.99 and answer.margin == 1.0
    assert memory.labels == ["other"] and memory.recall([0, 1.0, 0]).margin == math.inf


def test_thresholds_are_inclusive() -> None:
    """A margin of exactly `min_margin` is a match, and an energy of exactly `max_energy`."""
    patterns = np.array([[4.0, 0], [0, 4]])
    queries = np.array([[1.0, 0.5], [1, 0.75], [0.25, 1], [0.5, 0.5]])  # margins 2, 1, 3, 0
    memory = uhn.LivingMemory(patterns, min_margin=2, separation="max")
    answer = memory.recall(queries, 1)
    assert answer.margin.tolist() == [2, 1, 3, 0]
    assert answer.matched.tolist() == [True, False, True, False]
    assert answer.state.tolist() == [[4, 0], [4, 0], [0, 4], [4, 0]], "the state is there"
    more = uhn.LivingMemory(patterns, min_margin=np.nextafter(2, 3), separation="max")
    assert more.recall(queries).matched.tolist() == [False, False, True, False]
    # E = |v|^2 / 2 - max(M v), as the separation takes the largest.
    energies = (queries**2).sum(1) / 2 - (queries @ patterns.T).max(1)
    assert answer.energy.tolist() == energies.tolist()
    for most, wanted in ((energies[1], energies <= energies[1]), (-4.0, energies <= -4)):
        bounded = uhn.LivingMemory(patterns, max_energy=most, separation="max")
        assert bounded.recall(queries).matched.tolist() == wanted.tolist()
    both = uhn.LivingMemory(patterns, max_energy=energies[2], min_margin=2, separation="max")
    assert both.recall(queries).matched.tolist() == [False, False, True, False]
    assert both.recall(queries[2]).matched is True and both.recall(queries[1]).matched is False
    assert same(both.retrieve(queries), memory.retrieve(queries)), "whatever thresholds say"


def test_nothing_that_answers_is_no_match() -> None:
    """Where no memory has any weight there is no match; two exact matches have no margin."""
    memory = uhn.LivingMemory(np.eye(2), separation="threshold", theta=0.5)
    answer = memory.recall([[1.0, 0], [0.1, 0.1]], 1)
    assert answer.matched.tolist() == [True, False] and not answer.state[1].any()
    exact = uhn.LivingMemory(
        [[1.0, 2], [1, 2], [3, 3]], similarity="euclidean", transform="inverse", eps=0,
        separation="identity", normalize="sum",
    )  # fmt: skip
    assert exact.recall([[1.0, 2], [3, 3]], 1).margin.tolist() == [0, math.inf]


# ------------------------------------------------------------------------------------- decay --


def test_priors_halve() -> None:
    """A prior is p 2^(-t / half_life) times the decays, after t later memories and ticks."""
    rng = np.random.default_rng(14)
    half_life = 7.5
    memory = uhn.LivingMemory(half_life=half_life, beta=0.7)
    given: list[float] = []
    born: list[float] = []
    shrunk: list[float] = []  # by decays since it was stored
    rows: list[Array] = []
    clock = 0.0
    for turn in range(40):
        n = int(rng.integers(1, 6))
        x = rng.normal(size=(n, 4))
        p = rng.uniform(0.5, 2, n) if turn % 3 else np.ones(n)
        memory.store(x, prior=p if turn % 3 else None)
        rows += list(x)
        given += p.tolist()
        born += [clock + i + 1 for i in range(n)]
        shrunk += [1.0] * n
        clock += n
        if turn % 4 == 1:
            memory.tick(2.5)
            clock += 2.5
        if turn % 4 == 2:
            memory.decay(0.75)
            shrunk = [0.75 * s for s in shrunk]
        if turn % 5 == 3:
            i = int(rng.integers(0, len(given)))
            memory.set_prior(1.5, i)
            given[i], born[i], shrunk[i] = 1.5, clock, 1.0
        if turn % 5 == 4:
            i, j = 1, 4
            memory.replace([i, j], x[:1].repeat(2, axis=0))
            rows[i] = rows[j] = x[0]
        wanted = [
            p * 2 ** (-(clock - b) / half_life) * s
            for p, b, s in zip(given, born, shrunk, strict=True)
        ]
        assert memory.prior is not None and memory.clock == clock
        np.testing.assert_allclose(memory.prior, wanted, rtol=1e-13)
        query = rng.normal(size=(2, 4))
        answers = reference.retrieve(np.array(rows), query, beta=0.7, prior=wanted)
        np.testing.assert_allclose(memory.retrieve(query), answers, rtol=1e-11, atol=1e-12)
        assert memory[0].prior == memory.prior[0]


def test_whole_half_lives_are_exact() -> None:
    """After whole half-lives a prior is a power of two; the newest has what it was given."""
    memory = uhn.LivingMemory(np.ones((9, 2)), half_life=2)
    assert memory.prior is not None
    assert memory.prior[::2].tolist() == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]
    plain = uhn.LivingMemory(np.ones((3, 2)), prior=[1, 2, 3])
    plain.decay(0.25)
    plain.store(np.ones(2))
    plain.decay(0.5)
    assert plain.prior is not None and plain.prior.tolist() == [1 / 8, 1 / 4, 3 / 8, 1 / 2]


def test_what_has_no_priors_does_not_fade() -> None:
    """A separation without priors refuses to fade, and then nothing has changed."""
    for memory in (uhn.LivingMemory(separation="max"), uhn.LivingMemory(X, separation="topk")):
        with pytest.raises(ValueError, match="takes no prior"):
            memory.decay(0.5)
        memory.store(X)
        assert memory.prior is None and memory.retrieve(X).shape == X.shape


@pytest.mark.parametrize("dtype", cases.DTYPES, ids=["float32", "float64"])
def test_calls_do_not_matter(dtype) -> None:
    """The same memories in other calls have the same priors and answers, bit for bit."""
    rng = np.random.default_rng(15)
    x = rng.normal(size=(90, 5)).astype(dtype)
    queries = rng.normal(size=(3, 5)).astype(dtype)
    answers = []
    for sizes in ([90], [1] * 90, [13, 30, 47], [80, 10]):
        memory = uhn.LivingMemory(half_life=11.3, capacity=64)
        at = 0
        for n in sizes:
            memory.store(x[at : at + n])
            if at % 2:
                memory.retrieve(queries)  # looking at priors does not change them
            at += n
        answers.append((memory.prior, memory.retrieve(queries), np.array(memory.ids)))
    for other in answers[1:]:
        assert all(map(same, other, answers[0]))
    fresh = uhn.Memory(x[26:], prior=answers[0][0])
    assert same(fresh.retrieve(queries), answers[0][1])


@pytest.mark.parametrize("dtype", cases.DTYPES, ids=["float32", "float64"])
def test_old_memories_still_answer(dtype) -> None:
    """A prior ends at the smallest normal number: alone it answers, beside a new one not."""
    memory = uhn.LivingMemory(np.array([[1, 0]], dtype), half_life=1)
    for n in (100, 1e6, 1e300):
        memory.tick(n)
        assert memory.prior is not None
        assert memory.prior[0] == max(2.0**-100 if n == 100 else 0, np.finfo(dtype).tiny)
        assert memory.retrieve(np.array([0.5, 0.5])).tolist() == [1, 0]
    memory.store(np.array([0, 1], dtype))
    assert np.allclose(memory.retrieve(np.array([0.5, 0.5])), [0, 1], atol=1e-30)
    assert memory.prior is not None and memory.prior[1] == 1
    for _ in range(3000):
        memory.decay(0.5)
    assert (memory.prior == np.finfo(dtype).tiny).all()
    assert memory.retrieve(np.array([0.5, 0.5])).tolist() == [0.5, 0.5]


# ------------------------------------------------------------------------------------- files --


def assert_alike(a: uhn.LivingMemory, b: uhn.LivingMemory, queries: Array) -> None:
    """The same names, settings and numbers, and the same bits to every question."""
    for name in ("ids", "labels", "metadata"):
        assert repr(getattr(a, name)) == repr(getattr(b, name)), name  # types, too
    for name in ("capacity", "half_life", "min_margin", "max_energy", "clock", "_next_id"):
        assert getattr(a, name) == getattr(b, name), name
    assert repr(a) == repr(b) and a.memory.parameters == b.memory.parameters
    assert (a.prior is None) == (b.prior is None)
    if a.prior is not None:
        assert same(a.prior, b.prior)
    if not len(a):
        return
    assert same(a.memory[:], b.memory[:]) and same(a.memory.values, b.memory.values)
    assert same(a.retrieve(queries), b.retrieve(queries))
    one, two = (m.recall(queries, 1, k=min(3, len(a))) for m in (a, b))
    for name in ("ids", "labels", "metadata"):
        assert getattr(one, name).tolist() == getattr(two, name).tolist(), name
    for name in ("state", "weights", "margin", "matched", "n_effective"):
        assert same(np.asarray(getattr(one, name)), np.asarray(getattr(two, name))), name
    near, other = a.nearest(queries, min(2, len(a))), b.nearest(queries, min(2, len(a)))
    assert near[0].tolist() == other[0].tolist() and same(near[1], other[1])


#: Keywords of living memories, and whether they have values and gaps.
FILED: dict[str, tuple[dict[str, Any], bool, bool]] = {
    "fading ring": (
        {"half_life": 6.7, "capacity": 30, "min_margin": 0.1, "max_energy": -0.5}, False, False,
    ),
    "fading": ({"half_life": 1e-3, "similarity": "sqeuclidean", "beta": 0.3}, True, False),
    "ring": ({"capacity": 17, "separation": "topk", "k": 2, "first_row": 50}, True, False),
    "plain": ({"similarity": "manhattan", "min_margin": math.inf}, False, False),
    "gaps": (
        {"half_life": 40, "capacity": 25, "nan": "missing", "similarity": "euclidean"},
        False, True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("mmap", [True, False], ids=["mapped", "read"])
@pytest.mark.parametrize("dtype", cases.DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("case", FILED)
def test_a_file_goes_on_as_the_memory_does(tmp_path, case: str, dtype, mmap: bool) -> None:
    """Saved anywhere in a history, it answers, fades and forgets with the same bits after."""
    keywords, hetero, gaps = FILED[case]
    rng = np.random.default_rng(31 + len(case))
    path = tmp_path / "a"
    fades = keywords.get("separation") != "topk"

    def rows(n: int) -> Array:
        x = rng.normal(size=(n, 5)).astype(dtype)
        if gaps:
            x[:, 1:][rng.random((n, 4)) < 0.2] = np.nan
        return x

    queries = rows(3)
    memories = [uhn.LivingMemory(**keywords)]
    n_saved = 0
    for turn in range(60):
        what = int(rng.integers(0, 6)) if turn else 0
        ids = memories[0].ids
        some = [ids[i] for i in rng.permutation(len(ids))[: rng.integers(0, 4)]]
        n = int(rng.integers(1, 9))
        x, v = rows(n), rng.normal(size=(n, 2)) if hetero else None
        p = rng.uniform(0.1, 3, n) if fades and turn % 3 else None
        meta = [None, {"turn": turn, "list": [turn / 3, None, True, "é€"]}] * 4
        for memory in memories:
            if what < 2:
                given = [f"{turn}/{i}" for i in range(n)] if turn % 4 == 1 else None
                memory.store(
                    x, v, ids=given, labels=[turn] * n, metadata=meta[:n], prior=p, copy=True
                )
            elif what == 2:
                memory.remove(some)
            elif what == 3 and some:
                x = np.resize(x, (len(some), 5))
                v = None if v is None else np.resize(v, (len(some), 2))
                new = [x[0, 0].item()] * len(some) if n % 2 else None
                memory.replace(some, x, v, labels=new, metadata=meta[: len(some)])
            elif what == 4 and fades:
                memory.decay(1 - turn / 100)
                if some:
                    memory.set_prior(1 + np.arange(len(some)) / 7, some)
            elif memory.half_life is not None:
                memory.tick(turn / 7)
        for other in memories[1:]:
            assert_alike(memories[0], other, queries)
        if turn % 7 == 3:
            n_saved += 1
            before = memories[0].copy()
            memories[0].save(path)
            assert_alike(memories[0], before, queries)
            found = uhn.LivingMemory.load(path, mmap, verify=bool(turn % 2))
            assert_alike(memories[0], found, queries)
            # A file of a file is the same file.
            again = path.with_name("again")
            found.save(again)
            assert again.read_bytes() == path.read_bytes()
            plain = uhn.load(path, mmap, verify=True)
            assert type(plain) is uhn.Memory and repr(plain) == repr(memories[0].memory)
            if len(plain):
                assert same(plain.retrieve(queries), memories[0].retrieve(queries))
            memories = [memories[0], *memories[1:][-2:], found]
            path = tmp_path / str(turn)
    assert n_saved == 9 and len(memories) == 4


def test_files_of_few_memories(tmp_path) -> None:
    """None ever, none any more, none but time that passed."""
    path = tmp_path / "a"
    memory = uhn.LivingMemory(half_life=3, capacity=2)
    memory.tick(2.5)
    memory.save(path)
    found = uhn.LivingMemory.load(path)
    assert_alike(memory, found, X)
    for m in (memory, found):
        assert m.store(X[:3]) == [0, 1, 2]
    assert_alike(memory, found, X)
    assert found.clock == 5.5
    memory.remove([1, 2])
    memory.save(path)
    found = uhn.LivingMemory.load(path, mmap=False)
    assert len(found) == 0 and found.memory.n_features == 3
    for m in (memory, found):
        assert m.store(X[:2]) == [3, 4], "a number that was an id is none again"
    assert_alike(memory, found, X)


class Sub(uhn.LivingMemory):
    """Another class of living memories."""


def test_scalars_of_numpy_are_saved_as_numbers(tmp_path) -> None:
    """Labels out of an array come back as what they are worth."""
    path = tmp_path / "a"
    memory = Sub(X[:3], labels=np.array([3, 1, 2]), ids=np.array(["a", "b", "c"]))
    memory.store(
        X[:3],
        labels=[np.float32(0.1), np.bool_(True), np.str_("é")],
        metadata=[{"a": np.int8(3)}, {"b": [np.float64(0.5)]}, {"c": None}],
    )
    memory.save(path)
    found = Sub.load(path)
    assert type(found) is Sub and repr(found.labels) == repr(
        [3, 1, 2, float(np.float32(0.1)), True, "é"]
    )
    assert repr(found.metadata[3:]) == "[{'a': 3}, {'b': [0.5]}, {'c': None}]"
    assert repr(found.ids) == repr(["a", "b", "c", 0, 1, 2])


def deep(n: int) -> Any:
    found: Any = None
    for _ in range(n):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        ((1, 2), "has a tuple, and a file holds .*: make it a list"),
        ({"a": [0, (1, 2)]}, "has a tuple, and a file holds .*: make it a list"),
        ({1: 2}, "has the key 1: make it a str"),
        ({"a": {None: 2}}, "has the key None: make it a str"),
        ({1, 2}, "has a set, and a file holds None, bool, int, float, str, list, and dict"),
        (Label(), "has a Label, and a file holds"),
        (b"x", "has a bytes, and a file holds"),
        (np.arange(3), r"has a ndarray, and a file holds .*: use tolist\(\)"),
        (1j, "has a complex, and a file holds"),
        (np.datetime64("2020-01-01"), "has a datetime64, and a file holds"),
        (math.nan, "has nan, which is no number of JSON: use None"),
        ([1.0, -math.inf], "has -inf, which is no number of JSON: use None"),
        (np.float32("nan"), "has nan, which is no number of JSON: use None"),
        ("\ud800", "has half a surrogate pair"),
        ({"\udfff": 1}, "has half a surrogate pair"),
        (1 << 2000, "has an int of more than 2000 bits: make it a str"),
        (deep(65), "is nested more than 64 deep"),
        (deep(100_000), "is nested more than 64 deep"),
    ],
)
def test_what_is_not_json_is_not_saved(tmp_path, thing, message: str) -> None:
    """The memory is named, what is wrong, and what to do; the old file is untouched."""
    path = tmp_path / "a"
    memory = uhn.LivingMemory(X[:2], ids=["good", "bad"])
    memory.save(path)
    before = path.read_bytes()
    memory.replace("bad", X[3], labels=thing)
    with pytest.raises(ValueError, match="^the label of the memory 'bad' " + message):
        memory.save(path)
    memory.replace(["bad"], X[3:], labels=[None], metadata=[{"it": thing}])
    with pytest.raises(ValueError, match="^metadata of the memory 'bad' " + message):
        memory.save(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_other_things_that_are_not_saved(tmp_path) -> None:
    """Ids that are no text, equations with code, circles; a plain file is no living memory."""
    path = tmp_path / "a"
    with pytest.raises(ValueError, match="an id has half a surrogate pair"):
        uhn.LivingMemory(X[:1], ids=["\udc80"]).save(path)
    with pytest.raises(ValueError, match="a callable cannot be saved"):
        uhn.LivingMemory(X, separation=lambda s: s).save(path)
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="memory 0 is nested more than 64 deep"):
        uhn.LivingMemory(X[0], labels=circle).save(path)
    assert not list(tmp_path.iterdir())
    uhn.LivingMemory(X).memory.save(path)
    with pytest.raises(ValueError, match=r"a: it has no records, .* open it with uhn\.load"):
        uhn.LivingMemory.load(path)
    with pytest.raises(TypeError, match="True or False"):
        uhn.LivingMemory.load(path, 1)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        uhn.LivingMemory.load(tmp_path / "none")
    uhn.LivingMemory(X[:1], labels=[deep(64)]).save(path)
    assert repr(uhn.LivingMemory.load(path).labels) == repr([deep(64)])


def test_a_file_has_the_memories_of_one_moment(tmp_path) -> None:
    """Rows, names and clocks that are saved while another thread stores belong together."""
    memory = uhn.LivingMemory(np.zeros((1, 3)), half_life=5, capacity=50)
    done = threading.Event()

    def grow() -> None:
        while not done.is_set():
            first = memory.ids[-1] + 1
            memory.store(np.full((2, 3), [[first], [first + 1]]), labels=[first, first + 1])

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(30):
            memory.save(tmp_path / "a")
            found = uhn.LivingMemory.load(tmp_path / "a")
            ids = found.ids
            assert ids == list(range(ids[0], ids[0] + len(ids)))
            assert np.asarray(found.memory)[:, 0].tolist() == ids
            assert found.clock == ids[-1] + 1 and found._next_id == ids[-1] + 1
            assert found.prior is not None and found.prior[-1] == 1
    finally:
        done.set()
        writer.join()
    assert found.clock > 3


def test_the_clock_stays_a_number() -> None:
    """Time may not run to infinity; half-lives may be as short as they like."""
    memory = uhn.LivingMemory(X[:1], half_life=1e-308)
    memory.tick(1.7e308)
    assert memory.retrieve(X[0]).tolist() == X[0].tolist()
    with pytest.raises(ValueError, match=r"the clock is at 1\.7e\+308; 1e\+308 more"):
        memory.tick(1e308)
    assert memory.clock == 1.7e308 and memory.store(X[1]) == 1


# -------------------------------------------------------------------------------------- gaps --


@pytest.mark.parametrize("n_values", [0, 5, 2])
@pytest.mark.parametrize("dtype", cases.DTYPES, ids=["float32", "float64"])
def test_what_is_not_known(n_values: int, dtype) -> None:
    """NaN and masks in queries, NaN in patterns: as `uhn.Memory` has it, with names."""
    rng = np.random.default_rng(32)
    patterns = rng.normal(size=(40, 5)).astype(dtype)
    patterns[rng.random((40, 5)) < 0.2] = np.nan
    patterns[:, 0] = 1
    values = rng.normal(size=(40, n_values)).astype(dtype) if n_values else None
    equation: dict[str, Any] = {"similarity": "sqeuclidean", "beta": 0.7, "nan": "missing"}
    ids = [f"m{i}" for i in range(40)]
    memory = uhn.LivingMemory(patterns, values, ids=ids, half_life=9, **equation)
    plain = uhn.Memory(patterns, values, prior=memory.prior, **equation)
    queries = rng.normal(size=(6, 5)).astype(dtype)
    mask = rng.random((6, 5)) < 0.6
    mask[:, 0] = True
    gaps = np.where(mask, queries, np.nan).astype(dtype)
    for clamp in (True, False):
        wanted = plain.retrieve(gaps, clamp=clamp)
        assert same(memory.retrieve(gaps, clamp=clamp), wanted)
        assert same(memory.retrieve(queries, mask=mask, clamp=clamp), wanted)
        answers = [
            memory.recall(gaps, 1, clamp=clamp, k=3),
            memory.recall(queries, 1, mask=mask, clamp=clamp, k=3),
        ]
        for answer in answers:
            assert same(answer.state, wanted)
            w = plain.weights(gaps)
            order = np.argsort(-w, axis=1, kind="stable")[:, :3]
            assert answer.ids.tolist() == [[ids[i] for i in row] for row in order]
            assert same(answer.weights, np.take_along_axis(w, order, 1))
            near = plain.nearest(gaps, 2)[1].astype(np.float64)
            assert same(answer.margin, near[:, 0] - near[:, 1])
            one = memory.recall(queries[4], 1, mask=mask[4], clamp=clamp, k=3)
            assert same(one.state, answer.state[4]) and one.margin == answer.margin[4]
    if not n_values:
        assert same(memory.retrieve(gaps)[mask], gaps[mask]), "what was known stays"
        assert not same(memory.retrieve(gaps, clamp=False)[mask], gaps[mask])
    if n_values != 2:
        more = memory.recall(queries, 4, mask=mask, tol=None)
        assert same(more.state, plain.recall(gaps, 4, tol=None).state)
        assert same(more.state, memory.retrieve(queries, 4, mask=mask))
    rows, scores = memory.nearest(queries, 2, mask=mask)
    wanted_rows, wanted_scores = plain.nearest(gaps, 2)
    assert rows.tolist() == [[ids[i] for i in row] for row in wanted_rows]
    assert same(scores, wanted_scores)
    entry = memory["m3"]
    assert np.array_equal(entry.pattern, patterns[3], equal_nan=True)
    with pytest.raises(ValueError, match="there is no energy"):
        memory.recall(gaps, 1).energy  # noqa: B018


def test_masks_of_memories_without_gaps() -> None:
    """They need no nan='missing'; a query with gaps has no energy and is no match by one."""
    patterns = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    memory = uhn.LivingMemory(patterns, ids=list("abc"), beta=30.0, max_energy=0.0)
    queries = np.array([[0.9, 7, 0], [0.9, 0.1, 0], [0, 0.8, 9]])
    mask = np.array([[True, False, True], [True] * 3, [True, True, False]])
    answer = memory.recall(queries, mask=mask)
    assert answer.ids[:, 0].tolist() == ["a", "a", "b"]
    assert np.isnan(answer.energy).tolist() == [True, False, True]
    assert answer.energy[1] == memory.memory.energy(queries[1])
    assert answer.matched.tolist() == [False, True, False]
    assert answer.state[mask].tolist() == queries[mask].tolist()
    assert memory.recall(queries[1]).energy == answer.energy[1]
    single = memory.recall(queries[0], mask=mask[0])
    assert math.isnan(single.energy) and single.matched is False and single.ids == ["a"]
    free = memory.recall(queries, mask=mask, clamp=False)
    np.testing.assert_allclose(free.state, patterns[[0, 0, 1]], atol=1e-6)
    assert "matched" in answer._repr_html_()
    unbounded = uhn.LivingMemory(patterns, beta=30.0, min_margin=0.5)
    answer = unbounded.recall(queries, mask=mask)
    assert answer.matched.tolist() == [True] * 3
    # A dot product over two of three features counts for three.
    np.testing.assert_allclose(answer.margin, [1.5 * 0.9, 0.9 - 0.1, 1.5 * 0.8], rtol=1e-15)
    with pytest.raises(ValueError, match="is NaN"):
        memory.recall([np.nan, 1, 0])
    with pytest.raises(TypeError, match="boolean"):
        memory.recall(queries, mask=mask.astype(int))


# ------------------------------------------------------------------- copies and what is seen --


@pytest.mark.parametrize("way", ["copy", "copy.copy", "copy.deepcopy", "pickle"])
def test_copies(way: str) -> None:
    """A copy has the same memories, names, priors and settings, and a life of its own."""
    rng = np.random.default_rng(16)
    memory = uhn.LivingMemory(
        rng.normal(size=(30, 4)), rng.normal(size=(30, 2)), ids=[f"n{i}" for i in range(30)],
        labels=list(range(30)), metadata=[{"i": i} for i in range(30)], capacity=40,
        half_life=9, min_margin=0.25, beta=2.0,
    )  # fmt: skip
    memory.remove(["n3", "n20"])
    memory.store(rng.normal(size=(1, 4)), [[1, 2]])
    memory.decay(0.5)
    ways = {
        "copy": lambda m: m.copy(),
        "copy.copy": copy.copy,
        "copy.deepcopy": copy.deepcopy,
        "pickle": lambda m: pickle.loads(pickle.dumps(m)),
    }
    other = ways[way](memory)
    queries = rng.normal(size=(3, 4))
    for name in ("ids", "labels", "metadata", "capacity", "half_life", "min_margin", "clock"):
        assert getattr(other, name) == getattr(memory, name)
    assert repr(other) == repr(memory)
    for _ in range(2):
        assert same(other.prior, memory.prior)
        assert same(other.retrieve(queries), memory.retrieve(queries))
        assert (
            other.recall(queries, k=3).ids.tolist() == memory.recall(queries, k=3).ids.tolist()
        )
        for m in (memory, other):
            assert m.store(queries[:2], [[1, 2], [3, 4]], labels=["u", "v"]) == [
                m.ids[-2],
                m.ids[-1],
            ]
    other.remove("n4")
    other.replace("n5", queries[0], [0, 0], labels="mine")
    assert "n4" in memory and memory["n5"].label == 5
    other.tick(50)
    assert memory.clock != other.clock


def test_what_is_seen() -> None:
    """Reprs say what there is; the HTML shows names and cannot be fooled by them."""
    memory = uhn.LivingMemory(capacity=50, half_life=3.0, beta=20.0)
    assert "empty" in repr(memory) and "<table" in memory._repr_html_()
    memory.store(np.eye(2), labels=["<b>", None], ids=["<i>", 5], metadata=[None, {"a": "&"}])
    assert repr(memory).startswith("LivingMemory(2 x 2 float64, similarity='dot'")
    assert repr(memory).endswith(", capacity=50, half_life=3.0)")
    text = memory._repr_html_()
    assert "&lt;b&gt;" in text and "<b>" not in text and "<i>" not in text and "&amp;" in text
    answer = memory.recall(np.eye(2))
    assert repr(answer).startswith("Answer(2 queries of 2 features: ")
    assert repr(answer).endswith("; 2 matched)")
    text = answer._repr_html_()
    assert "&lt;b&gt;" in text and "<b>" not in text and "matched" in text
    memory.store(np.ones((30, 2)))
    assert "and 22 more" in memory._repr_html_()
    assert "and 22 more" in memory.recall(np.ones((32, 2)))._repr_html_()
    assert memory.recall(np.ones(2))._repr_html_().count("<tr>") == 2


def test_bytes_are_those_of_the_rows() -> None:
    """nbytes counts rows that are there, priors included, whatever was there before."""
    memory = uhn.Memory(np.ones((10, 3), np.float32)).set_prior([2.0], [4])
    assert memory.nbytes == 10 * 16
    memory.remove([0, 9])
    assert memory.nbytes == 8 * 16 and sys.getsizeof(memory) < 10 * 16 + 400
