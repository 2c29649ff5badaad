"""The engine of networks with couplings between pairs, against a readable twin and its laws.

The functions are private; the class on top of them has tests of its own. Whole numbers are
exact, so that nothing here has a tolerance but the statistics of temperature, which are judged
by the number of samples.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import reference_network as reference
import uhn
from uhn import _core

Array = np.ndarray
Schedule = tuple[Any, ...]

ORDERS = ("sync", "permutation", "replacement", "sequential", "given")
TIES = ("keep", "+1", "-1")
FORMS = ("int16", "int32", "float64", "patterns")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Leaves the number of threads as it was."""
    before = uhn.get_num_threads()
    yield
    uhn.set_num_threads(before)


def schedule(order: str = "permutation", n_sweeps: int = 50, **changes: Any) -> Schedule:
    """The tuple that the engine takes, with everything but a few fields by default."""
    fields = {
        "order": order,
        "given": None,
        "seed": 7,
        "first_sweep": 0,
        "n_sweeps": n_sweeps,
        "tie": "keep",
        "clamped": None,
        "temperatures": None,
    }
    assert set(changes) <= set(fields)
    return tuple((fields | changes).values())


def signs(rng: np.random.Generator, *shape: int) -> Array:
    return rng.choice(np.array([-1, 1], dtype=np.int8), shape)


class Network:
    """Couplings in one form, and the matrix that a twin reads."""

    def __init__(
        self,
        matrix: Array,
        form: str,
        patterns: Array | None = None,
        *,
        keep_diagonal: bool = True,
        scale: float = 1.0,
        bias: Array | None = None,
    ) -> None:
        self.scale, self.bias = scale, bias
        self.matrix = matrix.copy()
        if not keep_diagonal and form != "float64":
            np.fill_diagonal(self.matrix, 0)
        if form == "float64":
            self.matrix = self.matrix.astype(np.float64)
        couplings = matrix.astype(form) if form != "patterns" else _core._pack_columns(patterns)
        n_patterns = 0 if form != "patterns" else len(patterns)  # type: ignore[arg-type]
        self.arguments = (couplings, n_patterns, scale, bias, keep_diagonal)

    def settle(self, states: Array, plan: Schedule) -> tuple[Array, Array, Array, Array]:
        return _core._network_settle(states, *self.arguments, plan)

    def fields(self, states: Array) -> Array:
        return _core._network_fields(states, *self.arguments)

    def energies(self, states: Array) -> Array:
        return _core._network_energies(states, *self.arguments)

    def twin(self, state: Array, plan: Schedule) -> tuple[Array, int, int, int]:
        return reference.settle(self.matrix, state, plan, self.scale, self.bias)


def any_network(
    rng: np.random.Generator, n_units: int, form: str, n_patterns: int, *, hebbian: bool
) -> Network:
    """Hebbian counts, or couplings of any sign and no symmetry; doubles that are not dyadic."""
    patterns = signs(rng, n_patterns, n_units)
    if hebbian or form == "patterns":
        matrix = reference.counts_of(patterns) if n_patterns else np.zeros((n_units, n_units))
    else:
        matrix = rng.integers(-3, 4, (n_units, n_units))
    if form == "float64":
        matrix = matrix / 7 if hebbian else rng.normal(size=(n_units, n_units))
    scale = float(rng.choice([1.0, 1 / n_units, 0.3]))
    bias = rng.integers(-3, 4, n_units) * scale if rng.integers(2) else None
    keep = bool(rng.integers(2))
    return Network(matrix, form, patterns, keep_diagonal=keep, scale=scale, bias=bias)


def any_schedule(rng: np.random.Generator, n_units: int, order: str) -> Schedule:
    n_sweeps = int(rng.integers(0, 9))
    given = rng.integers(0, n_units, rng.integers(1, 2 * n_units + 1))
    return schedule(
        order,
        n_sweeps,
        given=given if order == "given" else None,
        seed=int(rng.integers(0, 2**63)) * 2 + int(rng.integers(2)),
        first_sweep=int(rng.integers(0, 4)),
        tie=str(rng.choice(TIES)),
        clamped=(rng.random(n_units) < 0.3).astype(np.uint8) if rng.integers(2) else None,
        temperatures=rng.choice([0.0, 0.5, 2.0], n_sweeps) if rng.integers(3) == 0 else None,
    )


def agree(got: tuple[Array, ...], k: int, wanted: tuple[Array, int, int, int]) -> bool:
    """Whether answer k of a batch is what the twin says."""
    states, *rest = got
    return bool((states[k] == wanted[0]).all()) and [int(a[k]) for a in rest] == [*wanted[1:]]


def same(a: tuple[Array, ...], b: tuple[Array, ...]) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


# -------------------------------------------------------------------------------------- twin --


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("order", ORDERS)
def test_dynamics_are_those_of_the_twin(form: str, order: str) -> None:
    """Every form and order, with all ties, clamped units, biases and temperatures."""
    rng = np.random.default_rng([ORDERS.index(order), FORMS.index(form)])
    codes: set[int] = set()
    for trial in range(45):
        n_units = int(rng.integers(1, 30))
        network = any_network(
            rng, n_units, form, int(rng.integers(0, 45)), hebbian=trial % 2 == 0
        )
        plan = any_schedule(rng, n_units, order)
        # Some batches are large enough for the sums that are made for many at once.
        states = signs(rng, int(rng.choice([1, 3, 13])), n_units)
        got = network.settle(states, plan)
        fields, energies = network.fields(states), network.energies(states)
        for k, state in enumerate(states):
            assert agree(got, k, network.twin(state, plan)), (trial, k, plan)
            wanted = reference.fields(network.matrix, state, network.scale, network.bias)
            assert (fields[k] == wanted).all()
            # Products of the state, the fields' sums and the bias, added up in some order.
            energy = reference.energy(network.matrix, state, network.scale, network.bias)
            terms = np.abs(network.matrix).sum() * network.scale
            terms += 0.0 if network.bias is None else np.abs(network.bias).sum()
            assert abs(energies[k] - energy) <= terms * (2 * n_units + 4) * 2.0**-53
        codes |= set(got[2].tolist())
    assert codes >= ({0, 1, 2} if order == "sync" else {0, 2})


def test_a_larger_network_is_the_twins() -> None:
    """Several words of patterns, panels of columns and blocks of rows."""
    rng = np.random.default_rng(1)
    for n_units, n_patterns in [(131, 33), (260, 70), (517, 129)]:
        patterns = signs(rng, n_patterns, n_units)
        counts = reference.counts_of(patterns)
        states = signs(rng, 9, n_units)
        states[3:] = patterns[:6]
        states[3:, : n_units // 6] *= -1
        plan = schedule(n_sweeps=4)
        for form in FORMS:
            matrix = counts / n_units if form == "float64" else counts
            network = Network(matrix, form, patterns, keep_diagonal=False)
            got = network.settle(states, plan)
            for k in (0, 4, 8):
                assert agree(got, k, network.twin(states[k], plan)), (form, n_units, k)


def test_two_units_oscillate_when_updated_at_once() -> None:
    """W = [[0, 1], [1, 0]] from (1, -1): a cycle of two, or one of two fixed points."""
    for form in ("int16", "int32", "float64"):
        network = Network(np.array([[0, 1], [1, 0]]), form)
        start = np.array([[1, -1]], dtype=np.int8)
        states, sweeps, codes, changed = network.settle(start, schedule("sync"))
        assert (states == start).all()
        assert (sweeps[0], codes[0], changed[0]) == (2, reference.TWO_CYCLE, 1)
        ends = set()
        for seed in range(20):
            states, _, codes, _ = network.settle(start, schedule(seed=seed))
            assert codes[0] == reference.FIXED_POINT
            assert states[0, 0] == states[0, 1]
            ends.add(int(states[0, 0]))
        assert ends == {-1, 1}


# -------------------------------------------------------------------------------------- laws --


def test_counts_and_patterns_give_the_same_answers() -> None:
    """Ties are real in every form: states, sweeps, codes and fields are equal."""
    rng = np.random.default_rng(2)
    n_ties = 0
    for trial in range(60):
        n_units, n_patterns = int(rng.integers(2, 220)), int(rng.integers(0, 130))
        patterns = signs(rng, n_patterns, n_units)
        counts = reference.counts_of(patterns) if n_patterns else np.zeros((n_units, n_units))
        states = signs(rng, int(rng.integers(1, 40)), n_units)
        keep = bool(trial % 2)
        plan = schedule(ORDERS[trial % 4], 9, tie=TIES[trial % 3])
        networks = [
            Network(counts, form, patterns, keep_diagonal=keep, scale=1 / n_units)
            for form in ("int16", "int32", "patterns")
        ]
        fields = [network.fields(states) for network in networks]
        answers = [network.settle(states, plan) for network in networks]
        energies = [network.energies(states) for network in networks]
        n_ties += int((fields[0] == 0).sum())
        for k in (1, 2):
            assert (fields[k] == fields[0]).all()
            assert (energies[k] == energies[0]).all()
            assert same(answers[k], answers[0]), (trial, plan)
    assert n_ties > 1000


@pytest.mark.parametrize("form", FORMS)
def test_a_state_depends_on_itself_alone(form: str) -> None:
    """Alone, in any batch, on any number of threads: the same bits."""
    rng = np.random.default_rng(3)
    for order in ORDERS[:4]:
        for n_units, n_patterns in [(37, 9), (300, 60), (700, 40)]:
            network = any_network(rng, n_units, form, n_patterns, hebbian=True)
            states = signs(rng, 300, n_units)
            plan = schedule(order, 5, temperatures=np.array([0, 1.0, 0, 0, 0]))
            uhn.set_num_threads(1)
            whole = network.settle(states, plan)
            fields, energies = network.fields(states), network.energies(states)
            for n_threads, a, b in [
                (1, 5, 6),
                (2, 0, 300),
                (3, 0, 300),
                (2, 17, 18),
                (1, 9, 40),
            ]:
                uhn.set_num_threads(n_threads)
                part = network.settle(states[a:b], plan)
                assert same(part, tuple(x[a:b] for x in whole)), (order, n_units, a, b)
                assert network.fields(states[a:b]).tobytes() == fields[a:b].tobytes()
                assert network.energies(states[a:b]).tobytes() == energies[a:b].tobytes()


def test_one_state_on_two_threads() -> None:
    """A state that is worth it shares out its columns, and has the same bits."""
    rng = np.random.default_rng(4)
    n_units = 2500
    weights = rng.normal(size=(n_units, n_units))
    states = signs(rng, 1, n_units)
    for form, matrix in [("float64", weights), ("int16", (9 * weights).astype(np.int64))]:
        network = Network(matrix, form)
        uhn.set_num_threads(1)
        alone = network.settle(states, schedule(n_sweeps=1)), network.fields(states)
        uhn.set_num_threads(2)
        assert same(network.settle(states, schedule(n_sweeps=1)), alone[0])
        assert network.fields(states).tobytes() == alone[1].tobytes()


@pytest.mark.parametrize("order", ORDERS)
def test_a_run_in_two_parts_is_the_run(order: str) -> None:
    """Cut anywhere, also where doubles have drifted and at a temperature."""
    rng = np.random.default_rng(5)
    n_compared = 0
    for trial in range(40):
        form = FORMS[trial % 4]
        n_units = int(rng.integers(2, 60))
        network = any_network(rng, n_units, form, 20, hebbian=form == "patterns")
        plan = any_schedule(rng, n_units, order)
        fields = list(plan)
        fields[4] = n_sweeps = 8
        fields[7] = rng.choice([0.0, 1.0], n_sweeps) if trial % 3 == 0 else None
        state = signs(rng, 1, n_units)
        whole = network.settle(state, tuple(fields))
        cut = int(rng.integers(0, n_sweeps + 1))
        first, second = fields.copy(), fields.copy()
        first[4], second[4] = cut, n_sweeps - cut
        second[3] += cut
        if fields[7] is not None:
            first[7], second[7] = fields[7][:cut], fields[7][cut:].copy()
        middle = network.settle(state, tuple(first))
        if middle[2][0] != reference.STEP_LIMIT or whole[2][0] == reference.TWO_CYCLE:
            continue  # at rest, or in a circle, which the second part sees later
        end = network.settle(middle[0], tuple(second))
        assert (end[0] == whole[0]).all() and end[2][0] == whole[2][0]
        assert middle[1][0] + end[1][0] == whole[1][0]
        n_compared += 1
    assert n_compared >= 8, n_compared


def test_every_flip_lowers_the_energy() -> None:
    """One unit at a time, symmetric couplings, no unit that pushes itself away: w_ii >= 0."""
    rng = np.random.default_rng(6)
    n_flips = n_stays = 0
    for trial in range(12):
        n_units = int(rng.integers(5, 40))
        patterns = signs(rng, int(rng.integers(1, n_units)), n_units)
        matrix = reference.counts_of(patterns)
        form = FORMS[trial % 4]
        if form != "patterns":
            half = rng.integers(-4, 5, (n_units, n_units))
            matrix = (
                np.triu(half, 1) + np.triu(half, 1).T + np.diag(rng.integers(0, 3, n_units))
            )
        bias = rng.integers(-2, 3, n_units).astype(np.float64)
        network = Network(matrix, form, patterns, bias=bias if trial % 2 else None)
        states = signs(rng, 200, n_units)
        energies = network.energies(states)
        for unit in rng.permutation(np.repeat(np.arange(n_units), 2)):
            plan = schedule("given", 1, given=np.array([unit]))
            states, _, codes, changed = network.settle(states, plan)
            after = network.energies(states)
            flipped = changed == 1
            assert (after[flipped] < energies[flipped]).all()
            assert (after[~flipped] == energies[~flipped]).all()
            assert (codes == reference.FIXED_POINT).all(), (
                "the one unit that can be visited rests"
            )
            n_flips += int(flipped.sum())
            n_stays += int((~flipped).sum())
            energies = after
    assert n_flips > 5000 and n_stays > 5000


def test_the_energy_never_rises_over_whole_runs() -> None:
    """Thousands of runs, each of which ends at a fixed point."""
    rng = np.random.default_rng(7)
    for order in ("permutation", "replacement", "sequential"):
        patterns = signs(rng, 12, 60)
        network = Network(
            reference.counts_of(patterns), "patterns", patterns, keep_diagonal=False
        )
        states = signs(rng, 2000, 60)
        energies = network.energies(states)
        for sweep in range(40):
            states, _, codes, _ = network.settle(states, schedule(order, 1, first_sweep=sweep))
            after = network.energies(states)
            assert (after <= energies).all()
            energies = after
        assert (codes == reference.FIXED_POINT).all()


def test_all_at_once_ends_in_two_ways() -> None:
    """Hebb with self-coupling: fixed points of lower energy; without: cycles of two as well."""
    rng = np.random.default_rng(8)
    ends = {True: np.zeros(3, int), False: np.zeros(3, int)}
    for _ in range(60):
        patterns = signs(rng, 8, 30)
        states = signs(rng, 30, 30)
        for keep in (True, False):
            network = Network(
                reference.counts_of(patterns), "int16", patterns, keep_diagonal=keep
            )
            before = network.energies(states)
            after, _, codes, _ = network.settle(states, schedule("sync", 200))
            ends[keep] += np.bincount(codes, minlength=3)
            if keep:
                assert (network.energies(after) <= before).all()
    fixed, cycles, unfinished = ends[True]
    assert (cycles, unfinished) == (0, 0)
    fixed, cycles, unfinished = ends[False]
    assert unfinished == 0 and fixed > 100 and cycles > 100


@pytest.mark.parametrize("form", FORMS)
def test_clamped_units_never_move(form: str) -> None:
    rng = np.random.default_rng(9)
    for order in ORDERS[:4]:
        for temperature in (0.0, 3.0):
            network = any_network(rng, 50, form, 30, hebbian=False)
            clamped = (rng.random(50) < 0.4).astype(np.uint8)
            plan = schedule(
                order, 6, clamped=clamped, temperatures=np.full(6, temperature), tie="+1"
            )
            states = signs(rng, 20, 50)
            after, *_ = network.settle(states, plan)
            assert (after[:, clamped == 1] == states[:, clamped == 1]).all()
            assert (after != states).any()
            everything = schedule(order, 6, clamped=np.ones(50, dtype=np.uint8), tie="-1")
            after, sweeps, codes, changed = network.settle(states, everything)
            assert (after == states).all() and not changed.any()
            assert (sweeps == 1).all() and (codes == reference.FIXED_POINT).all()


# ------------------------------------------------------------------------------- temperature --


@pytest.mark.parametrize("order", ["sync", "permutation", "replacement", "sequential"])
def test_a_unit_alone_at_a_temperature(order: str) -> None:
    """P(+1) = 1 / (1 + exp(-2 h / T)), over many units that feel a bias and nothing else."""
    n_units = 60_000
    empty = np.zeros((n_units, 0), dtype=np.uint32)
    states = np.ones((1, n_units), dtype=np.int8)
    for seed, (h, t) in enumerate([(0.0, 1.0), (0.4, 1.0), (-0.9, 1.5), (0.02, 0.05)]):
        bias = np.full(n_units, h)
        plan = schedule(order, 1, seed=seed, temperatures=np.array([t]))
        after, _, codes, _ = _core._network_settle(states, empty, 0, 1.0, bias, False, plan)
        assert codes[0] == reference.STEP_LIMIT
        visited = np.arange(n_units)
        if order == "replacement":
            visited = np.unique(reference.sweep_order(plan, n_units, 0))
        p = 1 / (1 + np.exp(-2 * h / t))
        n = len(visited)
        error = np.sqrt(p * (1 - p) / n)
        assert abs((after[0, visited] == 1).mean() - p) < 4.5 * error, (h, t)


def test_pairs_at_a_temperature_are_in_equilibrium() -> None:
    """Many pairs apart from one another: Boltzmann's distribution of their four states."""
    n_pairs, coupling, bias, temperature = 400, 3, 1.0, 4.0
    counts = np.zeros((2 * n_pairs, 2 * n_pairs), dtype=np.int16)
    counts[np.arange(0, 2 * n_pairs, 2), np.arange(1, 2 * n_pairs, 2)] = coupling
    counts += counts.T
    # 30 sweeps: what the start has to say has fallen by tanh(J / T)^60 < 1e-11.
    temperatures = np.full(30, temperature)
    found = np.zeros(4)
    for seed in range(25):
        start = np.ones((1, 2 * n_pairs), dtype=np.int8)
        plan = schedule(
            "permutation" if seed % 2 else "sequential",
            30,
            seed=seed,
            temperatures=temperatures,
        )
        biases = np.full(2 * n_pairs, bias)
        after, *_ = _core._network_settle(start, counts, 0, 1.0, biases, False, plan)
        pairs = after.reshape(n_pairs, 2) > 0
        found += np.bincount(pairs @ np.array([2, 1]), minlength=4)
    pull = np.array([[a, b] for a in (-1, 1) for b in (-1, 1)])
    weights = np.exp(
        (coupling * pull[:, 0] * pull[:, 1] + bias * pull.sum(axis=1)) / temperature
    )
    p = weights / weights.sum()
    n = found.sum()
    assert (np.abs(found / n - p) < 4.5 * np.sqrt(p * (1 - p) / n)).all(), (found / n, p)


def test_cold_is_the_sign_rule() -> None:
    """Where no field is 0, a temperature that goes to 0 decides as the sign does."""
    rng = np.random.default_rng(10)
    matrix = rng.normal(size=(40, 40))
    network = Network(matrix, "float64")
    states = signs(rng, 30, 40)
    cold = network.settle(states, schedule(n_sweeps=3))
    almost = network.settle(states, schedule(n_sweeps=3, temperatures=np.full(3, 1e-9)))
    moving = cold[1] == 3
    assert moving.any() and (almost[0][moving] == cold[0][moving]).all()


# ------------------------------------------------------------------------- Hebb and packing --


def test_hebb_counts_outer_products() -> None:
    rng = np.random.default_rng(11)
    for n_patterns, n_units in [
        (0, 5),
        (1, 1),
        (3, 70),
        (7, 300),
        (8, 64),
        (130, 131),
        (500, 70),
    ]:
        patterns = signs(rng, n_patterns, n_units)
        counts = rng.integers(-99, 99, (n_units, n_units)).astype(np.int32)
        before = counts.copy()
        for n_threads in (1, 2):
            uhn.set_num_threads(n_threads)
            assert _core._network_hebb(counts, patterns, 1) is None
            wanted = patterns.T.astype(np.int64) @ patterns.astype(np.int64)
            assert (counts == before + wanted).all()
            _core._network_hebb(counts, patterns, -1)
            assert (counts == before).all()


def test_counts_that_would_overflow_stay_as_they_are() -> None:
    rng = np.random.default_rng(12)
    n_units = 600
    for n_patterns in (1, 3, 40):
        patterns = signs(rng, n_patterns, n_units)
        for place in (0, 333, n_units - 1):
            counts = np.zeros((n_units, n_units), dtype=np.int32)
            counts[place, place] = 2**31 - n_patterns
            before = counts.copy()
            with pytest.raises(ValueError, match="leaves int32"):
                _core._network_hebb(counts, patterns, 1)
            assert (counts == before).all()
            counts[place, place] -= 1
            _core._network_hebb(counts, patterns, 1)
            assert counts[place, place] == 2**31 - 1


def test_packing() -> None:
    rng = np.random.default_rng(13)
    for shape in [(0, 3), (1, 1), (5, 64), (32, 65), (33, 7), (100, 130)]:
        rows = signs(rng, *shape)
        by_rows = np.zeros((shape[0], -(-shape[1] // 64) * 8), dtype=np.uint8)
        packed = np.packbits(rows > 0, axis=1, bitorder="little")
        by_rows[:, : packed.shape[1]] = packed
        assert (_core._pack_rows(rows).view(np.uint8) == by_rows).all()
        by_columns = np.zeros((shape[1], -(-shape[0] // 32) * 4), dtype=np.uint8)
        packed = np.packbits(rows.T > 0, axis=1, bitorder="little")
        by_columns[:, : packed.shape[1]] = packed
        assert (_core._pack_columns(rows).view(np.uint8) == by_columns).all()


# --------------------------------------------------------------------------------- bad input --


def test_what_does_not_fit_is_refused() -> None:
    states = np.ones((2, 4), dtype=np.int8)
    counts = np.zeros((4, 4), dtype=np.int16)
    plan = schedule()
    good = (states, counts, 0, 1.0, None, False, plan)
    _core._network_settle(*good)

    def settle(place: int, value: Any) -> None:
        _core._network_settle(*good[:place], value, *good[place + 1 :])

    for place, value in [
        (0, states.astype(np.int16)),
        (0, states[:, ::2]),
        (0, states[0]),
        (0, "states"),
        (1, counts.astype(np.float32)),
        (1, counts.T[::-1]),
        (1, None),
        (4, np.zeros(4, dtype=np.float32)),
        (6, list(plan)),
        (6, plan[:5]),
        (3, "1"),
    ]:
        with pytest.raises(TypeError):
            settle(place, value)
    for place, value, message in [
        (0, np.zeros((2, 4), dtype=np.int8), r"states\[0, 0\] is 0"),
        (0, np.ones((2, 5), dtype=np.int8), "do not fit"),
        (0, np.ones((2, 0), dtype=np.int8), "do not fit"),
        (1, np.zeros((4, 5), dtype=np.int16), "do not fit"),
        (1, np.zeros((4, 1), dtype=np.uint32), "do not fit"),
        (2, 3, "do not fit"),
        (2, -1, "do not fit"),
        (3, 0.0, "scale"),
        (3, float("nan"), "scale"),
        (4, np.zeros(5), "do not fit"),
        (4, np.array([0, np.inf, 0, 0]), r"bias\[1\]"),
        (6, schedule("circular"), "circular"),
        (6, schedule(tie="0"), "tie 0"),
        (6, schedule("given"), "does not fit"),
        (6, schedule("given", given=np.array([4])), r"order\[0\] is 4"),
        (6, schedule("given", given=np.array([], dtype=np.int64)), "no unit"),
        (6, schedule(clamped=np.zeros(5, dtype=np.uint8)), "does not fit"),
        (6, schedule(temperatures=np.zeros(3)), "does not fit"),
        (6, schedule(n_sweeps=1, temperatures=np.array([-1.0])), "temperature"),
    ]:
        with pytest.raises(ValueError, match=message):
            settle(place, value)
    for function in (_core._network_fields, _core._network_energies):
        assert len(function(*good[:6])) == 2
        with pytest.raises(ValueError, match=r"states\[0, 0\] is 0"):
            function(np.zeros((2, 4), dtype=np.int8), *good[1:6])
        with pytest.raises(TypeError):
            function(*good[:5])
    sums = np.zeros((4, 4), dtype=np.int32)
    with pytest.raises(ValueError, match="sign"):
        _core._network_hebb(sums, states, 0)
    with pytest.raises(ValueError, match="fit"):
        _core._network_hebb(sums[:3, :3].copy(), states, 1)
    with pytest.raises(ValueError, match=r"patterns\[0, 0\]"):
        _core._network_hebb(sums, 2 * states, 1)
    with pytest.raises(TypeError):
        _core._network_hebb(counts, states, 1)
    sums.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        _core._network_hebb(sums, states, 1)
    for pack in (_core._pack_rows, _core._pack_columns):
        with pytest.raises(TypeError):
            pack(states.astype(np.float64))


def test_no_states_and_no_sweeps() -> None:
    network = Network(np.ones((3, 3), dtype=np.int64), "int16")
    none = np.ones((0, 3), dtype=np.int8)
    assert [len(x) for x in network.settle(none, schedule())] == [0, 0, 0, 0]
    assert network.fields(none).shape == (0, 3) and network.energies(none).shape == (0,)
    states = np.array([[1, -1, 1]], dtype=np.int8)
    after, sweeps, codes, changed = network.settle(states, schedule(n_sweeps=0))
    assert (after == states).all()
    assert (sweeps[0], codes[0], changed[0]) == (0, reference.STEP_LIMIT, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill sends no SIGINT on Windows")
@pytest.mark.parametrize("what", ["long sweeps", "many sweeps", "counts"])
def test_long_calls_can_be_stopped(what: str) -> None:
    """Within sweeps that are long, between sweeps that are short, while counts are added up."""
    sizes = {"long sweeps": (30_000, 1000), "many sweeps": (8, 3), "counts": (6000, 6000)}
    rng = np.random.default_rng(14)
    n_units, n_patterns = sizes[what]
    patterns = signs(rng, n_patterns, n_units)
    counts = np.zeros((n_units, n_units) if what == "counts" else (1, 1), dtype=np.int32)
    n_sweeps = 10**7
    plan = schedule(n_sweeps=n_sweeps, temperatures=np.full(n_sweeps, 1e6))
    states, columns = signs(rng, 20, n_units), _core._pack_columns(patterns)

    def call() -> None:
        if what == "counts":
            # Long on any machine: again and again until the signal comes.
            for _ in range(1000):
                _core._network_hebb(counts, patterns, 1)
                _core._network_hebb(counts, patterns, -1)
        else:
            _core._network_settle(states, columns, n_patterns, 1.0, None, False, plan)

    sender = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    begin = time.monotonic()
    sender.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
        # What had been counted when the signal came is taken back first.
        limit = 2.0 if what == "counts" or "UHN_SANITIZED" in os.environ else 1.0
        assert time.monotonic() - begin < 0.3 + limit
    finally:
        sender.join()
    # All patterns or none.
    assert counts[0, 0] in (0, n_patterns)
    assert (counts.diagonal() == counts[0, 0]).all()
    if what == "counts" and counts[0, 0] == 0:
        assert not counts.any()
