"""What every memory of the family promises alike: the same calls, the same words.

Each class has tests of its own for what it alone does; here they are held to one contract.
"""

from __future__ import annotations

import copy
import doctest
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import uhn
import uhn.models

Array = np.ndarray

N, P = 24, 4
RNG = np.random.default_rng(12)
SIGNS = RNG.integers(0, 2, (P, N)) * 2.0 - 1.0
WORDS = RNG.integers(0, 2, (P, 10)) * 2.0 - 1.0
REAL = RNG.normal(size=(P, N))


class Member(NamedTuple):
    """How a class is made and asked."""

    make: Callable[[], Any]
    store: tuple[Array, ...]
    mode: str  # the dynamics whose energy is looked at; "" where there is none to choose
    options: dict[str, Any]  # of recall


MEMBERS: dict[str, Member] = {
    "HopfieldNetwork": Member(lambda: uhn.HopfieldNetwork(N), (SIGNS,), "async", {"seed": 3}),
    "DenseAssociativeMemory": Member(
        lambda: uhn.DenseAssociativeMemory(N, degree=4), (SIGNS,), "async", {"seed": 3}
    ),
    "SparseDistributedMemory": Member(
        lambda: uhn.SparseDistributedMemory(N, 400, radius=9, seed=1), (SIGNS,), "", {}
    ),
    "BidirectionalAssociativeMemory": Member(
        lambda: uhn.BidirectionalAssociativeMemory(N, 10), (SIGNS, WORDS), "sync", {}
    ),
    "SequenceMemory": Member(lambda: uhn.SequenceMemory(N), (SIGNS,), "", {"n_steps": 6}),
    "ModernHopfieldNetwork": Member(
        lambda: uhn.ModernHopfieldNetwork(N, beta=0.7), (REAL,), "sync", {}
    ),
    "MeanShiftMemory": Member(lambda: uhn.MeanShiftMemory(N, beta=0.2), (REAL,), "sync", {}),
    "ContinuousSDM": Member(lambda: uhn.ContinuousSDM(N, beta=9.0), (REAL,), "sync", {}),
    "ContinuousHopfieldNetwork": Member(
        lambda: uhn.ContinuousHopfieldNetwork(gain=3.0), (SIGNS,), "flow", {}
    ),
    "NeuralDynamics": Member(lambda: uhn.NeuralDynamics(beta=0.5), (REAL,), "gradient", {}),
}
family = pytest.mark.parametrize("name", list(MEMBERS))


def filled(name: str) -> Any:
    member = MEMBERS[name]
    return member.make().store(*member.store)


def cues(name: str, n: int = 9) -> Array:
    """Damaged patterns in whatever the model takes."""
    rng = np.random.default_rng(5)
    rows = MEMBERS[name].store[0][rng.integers(0, P, n)]
    if MEMBERS[name].store[0] is SIGNS:
        return rows * np.where(rng.random(rows.shape) < 0.15, -1.0, 1.0)
    return rows + 0.3 * rng.normal(size=rows.shape)


def same(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


def test_the_whole_family_is_here() -> None:
    assert set(MEMBERS) == set(uhn.models.__all__)
    for name in MEMBERS:
        assert getattr(uhn, name) is getattr(uhn.models, name)
        assert name in uhn.__all__


@pytest.mark.parametrize(
    "module",
    ["uhn", *(f"uhn.{m.name}" for m in pkgutil.walk_packages(uhn.__path__))],
)
def test_examples_of_docstrings(module: str) -> None:
    if module.endswith(("__main__", "_core")):
        pytest.skip("a command, and compiled code")
    result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0


NUMBERS: dict[str, Callable[[Any], Any]] = {
    "beta": lambda x: uhn.ModernHopfieldNetwork(N, beta=x),
    "degree": lambda x: uhn.DenseAssociativeMemory(N, degree=x),
    "drive": lambda x: uhn.SequenceMemory(N, hold=2, drive=x),
    "gain": lambda x: uhn.ContinuousHopfieldNetwork(gain=x),
    "kappa": lambda x: uhn.HopfieldNetwork(N, kappa=x),
    "tau_v": lambda x: uhn.NeuralDynamics(tau_v=x),
}


@pytest.mark.parametrize("name", list(NUMBERS))
def test_real_parameters(name: str) -> None:
    """What `uhn.Memory` takes for a number, and nothing else."""
    call = NUMBERS[name]
    for good in (2, 2.5, np.float32(2.25), np.int64(3), np.array(2.5)):
        call(good)
    for bad in (True, np.True_, "3", b"3", 3j, np.complex128(3), [3.0], np.ones(1), object()):
        with pytest.raises(TypeError, match=f"{name} must be a number"):
            call(bad)
    for bad in (np.nan, np.inf, -1):
        with pytest.raises(ValueError, match=name):
            call(bad)
    with pytest.raises(ValueError, match=f"{name} is too large"):
        call(10**400)


@family
def test_the_docstring_is_a_page(name: str) -> None:
    doc = inspect.getdoc(getattr(uhn, name))
    assert doc is not None
    for part in ("Parameters", "Examples", ">>> "):
        assert part in doc, part
    assert len(doc.splitlines()) >= 25


@family
def test_store_returns_the_memory_and_counts(name: str) -> None:
    member = MEMBERS[name]
    model = member.make()
    assert model.store(*member.store) is model
    assert len(model) == model.n_patterns == P
    if name == "SparseDistributedMemory":
        with pytest.raises(AttributeError, match="sums of words"):
            _ = model.patterns
        return
    assert model.patterns.shape == member.store[0].shape


@family
def test_a_row_is_a_batch_of_one_and_knows_no_neighbours(name: str) -> None:
    model, options = filled(name), MEMBERS[name].options
    batch = cues(name)
    whole = model.recall(batch, **options)
    assert isinstance(whole, uhn.Recall)
    for i in (0, 3, 8):
        one = model.recall(batch[i], **options)
        assert same(one.state, whole.state[i]) and one.state.ndim == 1
        assert one.n_steps == whole.n_steps[i] and one.status == whole.status[i]
        assert isinstance(one.status, str) and isinstance(one.n_steps, int)
    shuffled = model.recall(batch[::-1].copy(), **options)
    assert same(np.ascontiguousarray(shuffled.state[::-1]), whole.state)
    empty = model.recall(np.empty((0, N)), **options)
    assert empty.state.shape[0] == 0 and empty.status.shape == (0,)


@family
def test_float32_stays_and_whole_numbers_become_float64(name: str) -> None:
    member = MEMBERS[name]
    rows = [np.sign(x) for x in member.store]
    model = member.make().store(*(x.astype(np.float32) for x in rows))
    assert model.retrieve(rows[0].astype(np.float32)).dtype == np.float32
    model = member.make().store(*(x.astype(int) for x in rows))
    assert model.retrieve(rows[0].astype(int)).dtype == np.float64


@family
def test_copies_and_pickles_answer_alike(name: str) -> None:
    model, options = filled(name), MEMBERS[name].options
    answer = model.recall(cues(name), **options).state
    for other in (
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        copy.copy(model),
    ):
        assert type(other) is type(model) and len(other) == P
        assert same(other.recall(cues(name), **options).state, answer)
        assert repr(other) == repr(model)


@family
def test_a_config_makes_an_empty_twin(name: str) -> None:
    model = filled(name)
    config = model.get_config()
    twin = type(model).from_config(config)
    assert len(twin) == 0 and repr(twin.get_config()) == repr(config)
    twin.store(*MEMBERS[name].store)
    options = MEMBERS[name].options
    assert same(
        twin.recall(cues(name), **options).state, model.recall(cues(name), **options).state
    )
    with pytest.raises(ValueError, match="nonsense"):
        type(model).from_config({**config, "nonsense": 1})
    signature = inspect.signature(type(model))
    assert set(config) <= set(signature.parameters)


@family
def test_an_empty_memory_says_so(name: str) -> None:
    with pytest.raises(ValueError, match="store"):
        MEMBERS[name].make().retrieve(cues(name))


@family
def test_bad_states_are_refused_in_the_words_of_the_house(name: str) -> None:
    model = filled(name)
    with pytest.raises(ValueError, match=rf"\({N - 1},\)"):
        model.retrieve(np.ones(N - 1))
    bad = cues(name)
    bad[2, 5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.retrieve(bad)
    with pytest.raises(TypeError, match="complex"):
        model.retrieve(cues(name).astype(complex))
    with pytest.raises((TypeError, ValueError)):
        model.retrieve([["a"] * N])
    with pytest.raises(ValueError, match="NaN"):
        MEMBERS[name].make().store(np.full((2, N), np.nan), *MEMBERS[name].store[1:])


@family
def test_the_energy_does_not_rise_where_that_is_promised(name: str) -> None:
    member = MEMBERS[name]
    model = filled(name)
    with pytest.raises(ValueError, match="mode"):
        model.lyapunov("sideways")
    promised = model.lyapunov(member.mode) if member.mode else model.lyapunov()
    assert promised is bool(member.mode)
    found = model.recall(cues(name), trace=True, **member.options)
    if not promised:
        with pytest.raises(ValueError, match="energy"):
            model.energy(cues(name))
        with pytest.raises(ValueError, match="energy"):
            _ = found.energy
        assert found.trace.energies is None
        return
    energies = found.trace.energies
    assert energies.shape == (len(found.trace.states), len(cues(name)))
    assert np.isfinite(energies).all()
    # An energy is at most N^2 products of units and weights, whose magnitudes add up to no more
    # than P N times the largest energy here: gamma of the sums of N and of P terms.
    size = 1 + np.abs(energies).max()
    assert (np.diff(energies, axis=0) <= 2 * (N + P + 16) * 2.0**-53 * P * size).all()
    assert (energies[-1] < energies[0]).any(), "nothing fell: the test says nothing"
    assert np.array_equal(found.energy, energies[-1])


@family
def test_the_way_ends_where_the_state_is(name: str) -> None:
    model, options = filled(name), MEMBERS[name].options
    plain = model.recall(cues(name), **options)
    traced = model.recall(cues(name), trace=True, **options)
    assert same(traced.state, plain.state)
    assert np.array_equal(traced.trace.states[-1], plain.state)
    assert np.array_equal(traced.trace.states[0], cues(name))


@family
def test_a_recall_shows_itself(name: str) -> None:
    found = filled(name).recall(cues(name), **MEMBERS[name].options)
    assert repr(found).startswith(type(found).__name__ + "(9 queries")
    page = found._repr_html_()
    assert page.count("<tr>") == 10 and page.count("<table>") == 1
    if name == "SparseDistributedMemory":
        with pytest.raises(ValueError, match="sums of words"):
            _ = found.overlaps
        return
    assert found.overlaps.shape == (9, P)
    assert found.margin.shape == (9,)
    if name == "ContinuousHopfieldNetwork":
        with pytest.raises(ValueError, match="no weight"):
            _ = found.weights
        return
    assert found.weights.shape == (9, P)
    assert found.entropy.shape == (9,)
    index, weight = found.memories(2)
    assert index.shape == weight.shape == (9, 2)
