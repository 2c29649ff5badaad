"""The dense associative memory against the textbook's formulas in exact arithmetic.

What a unit does is compared bit for bit: the reference knows every tie. Probabilities are
compared within four standard errors, which follow from the number of samples.
"""

from __future__ import annotations

import copy
import doctest
import hashlib
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

import reference_dense as reference
import uhn
from uhn.models import DenseAssociativeMemory

Array = np.ndarray

DEGREES = (2, 3, 4, 5, 7, 10, 33, 106, 512)
XOR = np.array([[-1, -1, -1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]])


def signs(rng: np.random.Generator, *shape: int) -> Array:
    return rng.choice([-1, 1], shape)


def flipped(rng: np.random.Generator, states: Array, share: float) -> Array:
    return np.where(rng.random(states.shape) < share, -states, states)


def make(
    patterns: Array, degree: float | None, rectified: bool = True, **keywords: Any
) -> DenseAssociativeMemory:
    """A memory of these patterns; degree None is the exponential."""
    if degree is None:
        keywords["interaction"] = "exponential"
    memory = DenseAssociativeMemory(patterns.shape[1], degree or 3, rectified, **keywords)
    return memory.store(patterns)


def interaction(rng: np.random.Generator) -> tuple[float | None, bool]:
    """A degree (None: exponential) and whether it is rectified."""
    kind = rng.integers(8)
    if kind == 0:
        return None, True
    if kind == 1:
        return float(rng.choice([2.5, 3.25, 7.75])), True
    return int(rng.choice(DEGREES)), bool(rng.integers(2))


def case(rng: np.random.Generator) -> tuple[Array, Array]:
    """Patterns with every kind of relation to one another, and states near and far."""
    n, k = int(rng.integers(1, 26)), int(rng.integers(1, 12))
    if rng.random() < 0.15:
        k = int(rng.choice([31, 32, 33, 64, 65, 97]))
    patterns = signs(rng, k, n)
    if k > 2 and rng.random() < 0.5:
        patterns[1] = flipped(rng, patterns[0], 1.5 / n)
        patterns[2] = -patterns[0] if rng.random() < 0.5 else patterns[0]
    near = flipped(rng, patterns[rng.integers(k)], 0.2)
    return patterns, np.stack([near, signs(rng, n), -patterns[0]])


# ------------------------------------------------------------------------------ the dynamics --


@pytest.mark.parametrize("seed", range(4))
def test_asynchronous_is_the_textbook_rule(seed: int) -> None:
    """Thousands of states, bit for bit: where they end, after how many sweeps, and why."""
    rng = np.random.default_rng([1, seed])
    ended = dict.fromkeys(["fixed point", "step limit"], 0)
    for _ in range(500):
        patterns, states = case(rng)
        n = patterns.shape[1]
        degree, rectified = interaction(rng)
        tie = str(rng.choice(["keep", "keep", "+1", "-1"]))
        clamped = rng.random(n) < rng.choice([0, 0.2])
        order = rng.permutation(n) if rng.random() < 0.7 else rng.integers(0, n, 2 * n)
        n_steps = int(rng.integers(1, 5))
        memory = make(patterns, degree, rectified)
        found = memory.recall(
            states, order=order, n_steps=n_steps, tie=tie, clamped=np.flatnonzero(clamped)
        )
        of = reference.table(n, degree, rectified)
        for i, state in enumerate(states):
            end, sweeps, status = reference.settle(
                patterns,
                state,
                [order] * n_steps,
                of,
                n_steps=n_steps,
                tie=tie,
                clamped=clamped,
            )
            where = (degree, rectified, tie, patterns, state)
            assert np.array_equal(found.state[i], end), where
            assert (found.n_steps[i], found.status[i]) == (sweeps, status), where
            ended[status] += 1
    assert min(ended.values()) > 3, ended


def test_synchronous_is_the_sign_of_the_slopes() -> None:
    """All units at once, own parts included; fixed points, cycles and ties."""
    rng = np.random.default_rng(2)
    ended = dict.fromkeys(["fixed point", "2-cycle", "step limit"], 0)
    for _ in range(1500):
        patterns, states = case(rng)
        n = patterns.shape[1]
        degree, rectified = interaction(rng)
        tie = str(rng.choice(["keep", "keep", "+1", "-1"]))
        clamped = rng.random(n) < rng.choice([0, 0.2])
        n_steps = int(rng.integers(1, 6))
        found = make(patterns, degree, rectified).recall(
            states, mode="sync", n_steps=n_steps, tie=tie, clamped=clamped
        )
        of = reference.table(n, degree, rectified)
        for i, state in enumerate(states):
            end, steps, status = reference.settle(
                patterns, state, None, of, n_steps=n_steps, tie=tie, clamped=clamped
            )
            where = (degree, rectified, tie, patterns, state)
            assert np.array_equal(found.state[i], end), where
            assert (found.n_steps[i], found.status[i]) == (steps, status), where
            ended[status] += 1
    assert min(ended.values()) > 3, ended


@pytest.mark.parametrize("degree", [None, *DEGREES], ids=str)
@pytest.mark.parametrize("rectified", [True, False])
def test_steep_energies_rank_from_afar(degree: int | None, rectified: bool) -> None:
    """784 units, from a random start and from far away: one sweep, look for look as it must be.

    Overlaps go from some tens to 784 within the sweep, F over thousands of binary digits.
    """
    rng = np.random.default_rng([3, degree or 0])
    n = 784
    patterns = signs(rng, 21, n)
    states = np.stack([signs(rng, n), flipped(rng, patterns[3], 0.4)])
    order = rng.permutation(n)
    found = make(patterns, degree, rectified).retrieve(states, order=order, n_steps=1)
    of = reference.table(n, degree, rectified)
    for state, got in zip(states, found, strict=True):
        *_, (_, end) = reference.sweep(patterns, state, order, of, "keep", np.zeros(n, bool))
        assert np.array_equal(got, end)
    if degree is None or degree > 4:
        assert np.array_equal(found[1], patterns[3])


def test_a_leader_may_be_overtaken() -> None:
    """One pattern outweighs 300 copies of another for hundreds of flips, but not to the end.

    Both gain at every flip; the copies, farther from the state, gain more of their share.
    """
    rng = np.random.default_rng(31)
    n, n_far, n_apart, degree = 784, 300, 50, 41
    one = signs(rng, n)
    order = rng.permutation(n)
    state, copies = one.copy(), one.copy()
    state[order[:n_far]] *= -1
    copies[order[n_far : n_far + n_apart]] *= -1
    patterns = np.concatenate([[one], np.tile(copies, (300, 1))])
    memory = make(patterns, degree)
    early = memory.retrieve(state, order=order[n_far : n_far + n_apart], n_steps=1)
    assert np.array_equal(early, state), "the leader decides while the state is far"
    assert np.array_equal(memory.retrieve(state, order=order, n_steps=1), copies)
    *_, (_, wanted) = reference.sweep(
        patterns, state, order, reference.table(n, degree), "keep", np.zeros(n, bool)
    )
    assert np.array_equal(wanted, copies)


def with_shares(n: int, i: int, shares: dict[int, int]) -> Array:
    """Patterns whose shares in turning over unit i of the state of ones are given.

    `shares` has the number of patterns of share d(k) = F(k + 2) - F(k) for some k, negative for
    -d(k), that is, those that gain.
    """
    rows = []
    for k, count in shares.items():
        for _ in range(abs(count)):
            overlap = k + 2 if count > 0 else k  # it agrees at i, or does not
            row = np.ones(n, dtype=int)
            others = np.delete(np.arange(n), i)
            wrong = (n - overlap) // 2 - (count < 0)
            row[others[:wrong]] = -1
            row[i] = np.sign(count)
            assert row.sum() == overlap
            rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("degree", [5, 7, 9, 10])
@pytest.mark.parametrize("tie", ["keep", "+1", "-1"])
def test_ties_of_large_numbers(degree: int, tie: str) -> None:
    """Ties that no two shares make alone: n-th differences of d, which has degree n - 1, are 0.

    In doubles the shares are rounded, and their sum is anything but 0.
    """
    n, i, nearest = 901, 17, 800
    shares = {nearest - 2 * j + 1: (-1) ** j * math.comb(degree, j) for j in range(degree + 1)}
    of = reference.table(n, degree, True)
    ones = np.ones(n, dtype=int)
    for turn in (1, -1):
        patterns = turn * with_shares(n, i, shares)
        state = turn * ones
        assert reference.difference(patterns, state, i, of) == 0
        assert max(of.F(np.array([nearest]))) > 2**24
        after = make(patterns, degree).retrieve(state, order=[i], n_steps=1, tie=tie)
        state[i] = turn if tie == "keep" else int(tie)
        assert np.array_equal(after, state)


@pytest.mark.parametrize("last", [1, -1])
def test_the_last_digit_decides(last: int) -> None:
    """A change of 1 among shares of 13 digits, which is seen as long as doubles are exact."""
    n, i, degree = 601, 3, 5
    shares = {499 - 2 * j: (-1) ** j * math.comb(degree, j) for j in range(degree + 1)}
    patterns = with_shares(n, i, shares | {-1: last})
    state = np.ones(n, dtype=int)
    of = reference.table(n, degree, True)
    assert reference.difference(patterns, state, i, of) == last
    after = make(patterns, degree).retrieve(state, order=[i], n_steps=1)
    assert after[i] == last
    assert make(patterns, degree).flip_energies(state)[i] == last


def test_energy_falls_at_every_flip() -> None:
    """Look by look, in exact arithmetic: a flip lowers the energy, nothing raises it."""
    rng = np.random.default_rng(4)
    n_flips = 0
    for degree, rectified, n, k in [
        (2, False, 60, 40),
        (3, True, 60, 40),
        (3, False, 60, 40),
        (4, False, 60, 40),
        (17, True, 60, 40),
        (64, True, 60, 40),
        (512, True, 60, 40),
        (511, False, 60, 40),
        (None, True, 60, 40),
        (None, True, 2000, 9),
    ]:
        patterns = signs(rng, k, n)
        state = signs(rng, n)
        of = reference.table(n, degree, rectified)
        memory = make(patterns, degree, rectified)
        energy = reference.energy(patterns, state, of)
        for i in rng.permutation(n)[:60]:
            after = memory.retrieve(state, order=[i], n_steps=1).astype(int)
            now = reference.energy(patterns, after, of)
            flips = int((after != state).sum())
            assert np.array_equal(after != state, (np.arange(n) == i) & (after != state))
            assert now < energy if flips else now == energy
            n_flips += flips
            state, energy = after, now
    assert n_flips > 100


def test_random_states_end_at_minima() -> None:
    """Every state comes to rest where no flip lowers the energy, for every order of looks."""
    rng = np.random.default_rng(5)
    for _ in range(150):
        patterns, states = case(rng)
        degree, rectified = interaction(rng)
        memory = make(patterns, degree, rectified, scale="none")
        for order in ("random", "replacement", "sequential"):
            found = memory.recall(states, order=order, seed=int(rng.integers(99)))
            assert found.converged.all()
            of = reference.table(patterns.shape[1], degree, rectified)
            for state in found.state.astype(int):
                pulls = [
                    reference.difference(patterns, state, i, of) * int(s)
                    for i, s in enumerate(state)
                ]
                assert min(pulls) >= 0


def test_the_derivative_is_another_rule() -> None:
    """sum xi F'(O) agrees for n = 2 and the exponential, and not for n = 3 and 5."""
    rng = np.random.default_rng(6)
    n_other = {2: 0, 3: 0, 5: 0, None: 0}
    for _ in range(800):
        n, k = int(rng.integers(3, 8)), int(rng.integers(2, 12))
        patterns, state = signs(rng, k, n), signs(rng, n)
        i = int(rng.integers(n))
        for degree in n_other:
            of = reference.table(n, degree, False)
            pull = reference.difference(patterns, state, i, of)
            other = reference.derivative(patterns, state, i, of)
            ours = make(patterns, degree, False).retrieve(state, order=[i], n_steps=1)[i]
            assert ours == reference.decide(pull, int(state[i]), "keep")
            if degree is None:
                # Rounded once, 80 digits: the same sign but for ties of rounding.
                other = 0 if abs(other) < 10**40 else other
                pull = 0 if abs(pull) < 10**40 else pull
            n_other[degree] += np.sign(float(pull)) != np.sign(float(other))
    assert n_other[2] == n_other[None] == 0
    assert n_other[3] > 20
    assert n_other[5] > 20


def test_degree_two_is_the_classical_network() -> None:
    """Hebb's weights without a diagonal, fields kept, one unit after the other, and sync."""
    rng = np.random.default_rng(7)
    for _ in range(100):
        n, k = int(rng.integers(2, 40)), int(rng.integers(1, 9))
        patterns, state = signs(rng, k, n), signs(rng, n)
        memory = make(patterns, 2, False)
        weights = patterns.T @ patterns
        classical = weights - k * np.eye(n, dtype=int)
        order = rng.permutation(n)
        wanted = state.copy()
        for _ in range(2):
            for i in order:
                h = int(classical[i] @ wanted)
                wanted[i] = np.sign(h) if h else wanted[i]
        assert np.array_equal(memory.retrieve(state, order=order, n_steps=2), wanted)
        assert memory.energy(state) == -(state @ classical @ state) - n * k
        assert np.array_equal(memory.flip_energies(state), 4 * state * (classical @ state))
        h = weights @ state
        assert np.array_equal(
            memory.retrieve(state, mode="sync", n_steps=1), np.where(h, np.sign(h), state)
        )


def test_synchronous_step_is_one_equation() -> None:
    """sign of uhn.Memory(dot, power n - 1).retrieve, where floating point can tell."""
    rng = np.random.default_rng(8)
    rows: list[tuple[float | None, bool, dict[str, Any]]] = [
        (2, False, {"separation": "identity"}),
        (3, False, {"separation": "polynomial", "degree": 2}),
        (4, True, {"separation": "rectified_polynomial", "degree": 3}),
        (3.5, True, {"separation": "rectified_polynomial", "degree": 2.5}),
        (None, True, {"separation": "exponential", "beta": 1.0}),
    ]
    for degree, rectified, equation in rows:
        for _ in range(20):
            patterns = signs(rng, int(rng.integers(1, 60)), 50)
            states = flipped(rng, patterns[[0, -1]], 0.2)
            pulls = uhn.Memory(patterns.astype(float), similarity="dot", **equation).retrieve(
                states
            )
            found = make(patterns, degree, rectified).retrieve(states, mode="sync", n_steps=1)
            clear = np.abs(pulls) > 1e-9 * np.abs(pulls).max()
            assert clear.mean() > 0.5
            assert np.array_equal(found[clear], np.sign(pulls)[clear])


def test_lyapunov() -> None:
    """Where F is convex synchronous energies fall too; of odd n without rectification they
    need not, and cycles appear.
    """
    rng = np.random.default_rng(9)
    ghost = make(signs(rng, 2, 5), 3, False)
    assert ghost.lyapunov() and not ghost.lyapunov("sync")
    with pytest.raises(ValueError, match="mode is 'both'"):
        ghost.lyapunov("both")
    n_rises = n_cycles = 0
    for _ in range(200):
        n, k = int(rng.integers(2, 12)), int(rng.integers(1, 9))
        patterns, states = signs(rng, k, n), signs(rng, 5, n)
        for degree, rectified in [(3, False), (3, True), (4, False), (2.5, True), (None, True)]:
            memory = make(patterns, degree, rectified)
            found = memory.recall(states, mode="sync", trace=True)
            assert found.trace is not None
            slack = 1e-12 * np.abs(found.trace.energies).max()
            rises = int((np.diff(found.trace.energies, axis=0) > slack).sum())
            if memory.lyapunov("sync"):
                assert rises == 0 and found.converged.all()
            else:
                n_rises += rises
                n_cycles += int((found.status == "2-cycle").sum())
            falling = memory.recall(states, trace=True)
            assert (np.diff(falling.trace.energies, axis=0) <= slack).all()
    assert n_rises > 0 and n_cycles > 0


# ---------------------------------------------------------------------------------- energies --


@pytest.mark.parametrize(
    ("degree", "rectified", "wrong", "right"),
    [
        (2, False, -12, -12),
        (4, False, -84, -84),
        (6, False, -732, -732),
        (3, False, 24, -24),
        (2, True, -3, -9),
        (3, True, -3, -27),
        (4, True, -3, -81),
    ],
)
def test_exclusive_or(degree: int, rectified: bool, wrong: int, right: int) -> None:
    """Krotov and Hopfield's table: without rectification an even n cannot tell."""
    memory = make(XOR, degree, rectified)
    for row in XOR:
        flip = row * [1, 1, -1]
        assert memory.energy([row, flip]).tolist() == [right, wrong]
        assert memory.flip_energies(row)[2] == wrong - right
        answer = memory.retrieve(flip, clamped=[0, 1])
        assert np.array_equal(answer, row if right < wrong else flip)


@pytest.mark.parametrize("degree", range(2, 40))
def test_exclusive_or_for_every_rectified_degree(degree: int) -> None:
    memory = make(XOR, degree, True)
    assert np.array_equal(memory.retrieve(XOR * [1, 1, -1], clamped=[0, 1]), XOR)


def test_energies_and_differences() -> None:
    """Exact where they are whole and below 2**53, else good to a few last places."""
    rng = np.random.default_rng(10)
    n_exact = 0
    for _ in range(600):
        patterns, states = case(rng)
        degree, rectified = interaction(rng)
        if degree is not None and degree > 106:
            continue
        n, k = patterns.shape[1], len(patterns)
        of = reference.table(n, degree, rectified)
        memory = make(patterns, degree, rectified)
        energies, flips = memory.energy(states), memory.flip_energies(states)
        for state, energy, row in zip(states, energies, flips, strict=True):
            wanted = reference.float_energy(patterns, state, of)
            largest = float(of.F(np.abs(reference.overlaps(patterns, state))).sum()) / of.unit
            if of.whole and largest * k < 2**52:
                assert energy == wanted
                n_exact += 1
            elif degree is None:
                assert abs(energy - wanted) <= 8 * 2**-53 * max(1, abs(wanted))
            else:
                assert abs(energy - wanted) <= 8 * 2**-53 * largest
            for i in range(n):
                turned = state.copy()
                turned[i] *= -1
                if degree is None:
                    rise = float(
                        reference.float_energy(patterns, turned, of)
                        - reference.float_energy(patterns, state, of)
                    )
                    assert abs(row[i] - rise) <= 1e-13 * max(1, abs(wanted))
                    continue
                rise = reference.energy(patterns, turned, of) - reference.energy(
                    patterns, state, of
                )
                reach = largest + float(
                    of.F(np.abs(reference.overlaps(patterns, turned))).sum() / of.unit
                )
                assert abs(row[i] - rise / of.unit) <= 8 * 2**-53 * reach
                assert np.sign(row[i]) == np.sign(rise)
    assert n_exact > 300


def test_energies_too_large() -> None:
    """784 ** 107 is beyond float64: the message says what fits, and that does."""
    rng = np.random.default_rng(11)
    patterns = signs(rng, 5, 784)
    for degree in (107, 512):
        memory = make(patterns, degree)
        for call in (memory.energy, memory.flip_energies):
            with pytest.raises(ValueError, match=r"exceeds float64; with scale='neurons'"):
                call(patterns[0])
        assert np.array_equal(memory.retrieve(patterns), patterns)
        scaled = make(patterns, degree, scale="neurons")
        assert abs(scaled.energy(patterns[0]) + 1) < 1e-12
        one_less = 1 - (782 / 784) ** degree
        assert np.allclose(scaled.flip_energies(patterns[0]), one_less, rtol=1e-12)
    assert np.isfinite(make(patterns, 106).energy(patterns[0]))
    small = make(patterns, 3), make(patterns, 3, scale="neurons")
    states = signs(rng, 9, 784)
    assert np.allclose(small[0].energy(states), small[1].energy(states) * 784.0**3, rtol=1e-14)
    assert np.array_equal(small[0].retrieve(states), small[1].retrieve(states))
    steep = make(patterns, None)
    assert steep.energy(patterns[0]) == -784.0
    assert np.allclose(steep.flip_energies(patterns[0]), 2, rtol=1e-12)


@pytest.mark.parametrize("degree", [2, 4, 6])
def test_ghosts(degree: int) -> None:
    """Even n without rectification stores the negatives; rectified they are no minima."""
    rng = np.random.default_rng(12)
    patterns = signs(rng, 3, 60)
    starts = flipped(rng, -patterns, 0.1)
    plain = make(patterns, degree, False)
    assert np.array_equal(plain.energy(-patterns), plain.energy(patterns))
    assert np.array_equal(plain.retrieve(-patterns), -patterns)
    rectified = make(patterns, degree, True)
    assert (rectified.energy(-patterns) > rectified.energy(patterns)).all()
    ends = rectified.retrieve(starts, seed=3)
    assert not any(np.array_equal(end, -row) for end, row in zip(ends, patterns, strict=True))
    ghosts = plain.retrieve(starts, seed=3)
    if degree > 2:
        assert np.array_equal(ghosts, -patterns)


# ------------------------------------------------------------------------------------ theory --


@pytest.mark.parametrize(
    ("degree", "n", "k"), [(2, 100, 20), (2, 60, 12), (3, 60, 300), (4, 40, 2000)]
)
@pytest.mark.parametrize("rectified", [False, True])
def test_one_step_error(degree: int, n: int, k: int, rectified: bool) -> None:
    """A bit of a stored pattern is wrong after one look as often as enumeration says.

    Memories are independent; the bits of a pattern are not, so that the standard error is taken
    from the memories' counts (and from the binomial, should those agree by luck).
    """
    rng = np.random.default_rng([13, degree, n])
    wanted = reference.exact_one_step_error(n, k, degree, rectified)
    n_memories = 150 if k <= 300 else 60
    rates = []
    for _ in range(n_memories):
        patterns = signs(rng, k, n)
        memory = make(patterns, degree, rectified)
        rates.append((memory.flip_energies(patterns[:5]) < 0).mean())
    error = max(np.std(rates, ddof=1), math.sqrt(wanted / (5 * n))) / math.sqrt(n_memories)
    assert abs(np.mean(rates) - wanted) < 4 * error
    assert wanted > 4 * error or wanted < 1e-3, "a test that can fail"


@pytest.mark.parametrize(("degree", "load"), [(2, 0.15), (2, 0.25), (3, 0.08), (3, 0.15)])
@pytest.mark.parametrize("rectified", [False, True])
def test_the_capacity_law_is_the_limit(degree: int, load: float, rectified: bool) -> None:
    """Enumeration approaches 1/2 erfc(...) as N grows, K = load N^(n-1)."""
    off = []
    for n in (80, 160, 320):
        k = round(load * n ** (degree - 1))
        law = reference.one_step_error(n, k, degree, rectified)
        off.append(abs(reference.exact_one_step_error(n, k, degree, rectified) / law - 1))
    assert off[1] < 0.7 * off[0] and off[2] < 0.7 * off[1], "it falls as 1 / N"
    assert off[2] < 0.25
    doubled = reference.one_step_error(100, 2 * k, degree, True)
    assert doubled == pytest.approx(reference.one_step_error(100, k, degree, False), rel=1e-12)


def test_exponential_recovers_in_one_sweep() -> None:
    """Demircigil et al. 2017: exp(a N) patterns, a < I(1 - 2 r) / 2, start at distance r N."""
    rng = np.random.default_rng(14)
    n, share, a = 120, 0.15, 0.06
    x = 1 - 2 * share
    rate = 0.5 * ((1 + x) * math.log(1 + x) + (1 - x) * math.log(1 - x))
    assert a < rate / 2 < math.log(2) / 2
    patterns = signs(rng, round(math.exp(a * n)) + 1, n)
    memory = make(patterns, None)
    states = patterns[:400].copy()
    for row in states:
        row[rng.choice(n, round(share * n), replace=False)] *= -1
    found = memory.recall(states, n_steps=1)
    assert np.array_equal(found.state, patterns[:400])
    assert (found.status == "fixed point").all() and (found.n_steps == 1).all()
    assert np.array_equal(memory.retrieve(patterns, mode="sync", n_steps=1), patterns)


# ------------------------------------------------------------------------------- temperature --


@pytest.mark.parametrize(("degree", "temperature"), [(2, 9.0), (3, 30.0), (None, 2.5)])
def test_glauber_samples_boltzmann(degree: int | None, temperature: float) -> None:
    """After many sweeps states are as frequent as exp(-E / T) says: chi square."""
    rng = np.random.default_rng(15)
    patterns = signs(rng, 3, 5)
    memory = make(patterns, degree)
    states, wanted = reference.boltzmann(
        patterns, reference.table(5, degree, True), temperature
    )
    n = 6000
    ends = memory.retrieve(
        np.ones((n, 5)), seed=np.arange(n), n_steps=25, temperature=temperature
    )
    codes = ((ends > 0) @ (1 << np.arange(5)[::-1])).astype(int)
    counts = np.bincount(codes, minlength=32)
    assert (states > 0)[7].tolist() == [False, False, True, True, True]  # the codes' order
    chi = ((counts - n * wanted) ** 2 / (n * wanted)).sum()
    assert (n * wanted).min() > 1
    assert abs(chi - 31) < 4 * math.sqrt(2 * 31)
    uniform = ((counts - n / 32) ** 2 / (n / 32)).sum()
    assert uniform > 31 + 10 * math.sqrt(2 * 31), "a test that can fail"


@pytest.mark.parametrize("degree", [3, None])
@pytest.mark.parametrize("mode", ["async", "sync"])
def test_probability_of_one_look(degree: int | None, mode: str) -> None:
    """+1 with probability 1 / (1 + exp(d / T)); all at once, d is -2 sum xi F'."""
    rng = np.random.default_rng(16)
    patterns, state = signs(rng, 4, 6), signs(rng, 6)
    temperature = 40.0 if degree else 0.8
    memory = make(patterns, degree)
    n = 4000
    of = reference.table(6, degree, True)
    if mode == "async":
        rise = -state * memory.flip_energies(state)  # with +1 less with -1
    else:
        pulls = reference.field(patterns, state, of).astype(float) / of.unit
        if degree is None:
            pulls /= -reference.energy(patterns, state, of) / of.unit
        rise = -2 * pulls
    for i in range(6):
        keywords: dict[str, Any] = {"order": [i]} if mode == "async" else {}
        ends = memory.retrieve(
            np.tile(state, (n, 1)),
            mode=mode,
            seed=np.arange(n),
            n_steps=1,
            temperature=temperature,
            **keywords,
        )
        p = 1 / (1 + math.exp(rise[i] / temperature))
        assert abs((ends[:, i] > 0).mean() - p) < 4 * math.sqrt(p * (1 - p) / n)
        assert 0.001 < p < 0.999


def test_probability_far_below_the_largest_share() -> None:
    """Two shares of 2^980 cancel; the third, of 2^690, is what the temperature is about."""
    n, i, degree = 200, 5, 130
    parts = [{190: 1}, {190: -1}, {38: 1}]
    patterns = np.concatenate([with_shares(n, i, part) for part in parts])
    share = 40**degree - 38**degree
    n_seeds = 3000
    for turn in (1, -1):
        memory = make(turn * patterns, degree)
        assert memory.flip_energies(turn * np.ones(n))[i] == pytest.approx(share, rel=1e-15)
        ends = memory.retrieve(
            np.full((n_seeds, n), turn),
            seed=np.arange(n_seeds),
            order=[i],
            n_steps=1,
            temperature=float(share),
        )
        p = 1 / (1 + math.e)
        rate = (ends[:, i] != turn).mean()
        assert abs(rate - p) < 4 * math.sqrt(p * (1 - p) / n_seeds)


def test_cooling_and_cutting() -> None:
    """A run with temperatures is its sweeps one by one; at temperature 0 it comes to rest."""
    rng = np.random.default_rng(17)
    patterns, states = signs(rng, 7, 40), signs(rng, 6, 40)
    temperatures = [300.0, 100.0, 30.0, 0.0, 0.0, 0.0, 0.0]
    for degree in (3, None):
        for mode in ("async", "sync"):
            memory = make(patterns, degree)
            t = temperatures if degree else np.array(temperatures) / 100
            found = memory.recall(states, mode=mode, temperature=t, seed=5, trace=True)
            assert found.trace is not None
            assert np.array_equal(found.trace.states[-1], found.state)
            assert (found.n_steps > 3).all()
            assert found.converged.all()
            hot = memory.recall(states, mode=mode, temperature=t[:3], seed=5)
            assert np.array_equal(hot.state, found.trace.states[3])
            assert (hot.status == "step limit").all() and (hot.n_steps == 3).all()
    memory = make(patterns, 3)
    assert np.array_equal(
        memory.retrieve(states, temperature=0.0, seed=1), memory.retrieve(states, seed=1)
    )
    mixed = memory.recall(states, mode="sync", temperature=[0.0, 1e9, 0.0], trace=True)
    assert np.array_equal(mixed.trace.states[-1], mixed.state)
    assert (mixed.n_steps > 1).any(), "a step whose next one was hot"


def test_a_cycle_is_of_cold_steps() -> None:
    """A state that comes back by a step with luck in it is in no cycle."""
    rng = np.random.default_rng(30)
    while True:
        memory = make(signs(rng, 4, 7), 3, False)
        states = signs(rng, 50, 7)
        cycles = memory.recall(states, mode="sync", n_steps=2).status == "2-cycle"
        if cycles.any():
            break
    state = states[cycles][0]
    keywords: dict[str, Any] = {"mode": "sync", "n_steps": 2}
    cold = memory.recall(state, temperature=[0.0, 0.0], **keywords)
    warm = memory.recall(state, temperature=[1e-9, 0.0], **keywords)
    assert np.array_equal(warm.state, state) and np.array_equal(cold.state, state)
    assert (cold.status, warm.status) == ("2-cycle", "step limit")


# --------------------------------------------------------------------------------- same bits --


def workload() -> list[Array]:
    """Results that every CPU path and number of threads must share."""
    rng = np.random.default_rng(18)
    results: list[Array] = []
    for degree, rectified, n, k in [
        (2, False, 100, 30),
        (3, True, 200, 333),
        (4, False, 150, 1000),
        (7.5, True, 64, 64),
        (40, True, 300, 70),
        (512, True, 784, 33),
        (None, True, 250, 2100),
    ]:
        patterns = signs(rng, k, n)
        states = np.concatenate([signs(rng, 6, n), flipped(rng, patterns[:6], 0.25)])
        memory = make(patterns, degree, rectified)
        scaled = make(patterns, degree, rectified, scale="neurons" if degree else "none")
        for keywords in (
            {},
            {"order": "replacement", "tie": "+1", "seed": 3},
            {"mode": "sync"},
            {"temperature": [1e4, 10.0, 0, 0], "seed": 9},
            {"mode": "sync", "temperature": [1e3, 5.0, 0], "seed": 9},
        ):
            found = memory.recall(states, n_steps=keywords.pop("n_steps", None), **keywords)
            results += [found.state, found.n_steps, found.change, found.weights]
            results.append((found.status == "fixed point").astype(float))
        results += [scaled.energy(states), scaled.flip_energies(states)]
    return results


def digest(results: list[Array]) -> str:
    return hashlib.sha256(
        b"".join(np.ascontiguousarray(r).tobytes() for r in results)
    ).hexdigest()


def test_any_cpu_path() -> None:
    """The same bits from every path this machine can run, each in a process of its own."""
    here = digest(workload())
    code = "import test_dense as t; print(t.digest(t.workload()))"
    path = os.pathsep.join([os.path.dirname(__file__), *(p for p in sys.path if p)])
    for name in uhn.cpu_info()["available"]:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "UHN_CPU": name, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == here, name


def test_any_batch_and_any_number_of_threads() -> None:
    """One state at a time, in another order, on one thread or three."""
    rng = np.random.default_rng(19)
    before = uhn.get_num_threads()
    try:
        for degree in (3, 20, None):
            patterns = signs(rng, 400, 400)
            states = np.concatenate([flipped(rng, patterns[:40], 0.2), signs(rng, 20, 400)])
            memory = make(patterns, degree, scale="neurons" if degree else "none")
            for keywords in (
                {},
                {"mode": "sync"},
                {"temperature": 0.02, "n_steps": 3},
                {"seed": np.arange(60) % 3},
            ):
                uhn.set_num_threads(1)
                whole = memory.recall(states, **keywords)
                energies, flips = memory.energy(states), memory.flip_energies(states)
                uhn.set_num_threads(3)
                again = memory.recall(states, **keywords)
                for name in ("state", "n_steps", "status", "change", "weights", "overlaps"):
                    assert np.array_equal(getattr(whole, name), getattr(again, name)), name
                assert np.array_equal(memory.energy(states), energies)
                assert np.array_equal(memory.flip_energies(states), flips)
                shuffled = rng.permutation(60)
                mixed = dict(keywords)
                if "seed" in mixed:
                    mixed["seed"] = mixed["seed"][shuffled]
                part = memory.recall(states[shuffled], **mixed)
                assert np.array_equal(part.state, whole.state[shuffled])
                for i in range(0, 60, 9):
                    if "seed" in keywords:
                        mixed["seed"] = int(keywords["seed"][i])
                    one = memory.recall(states[i], **mixed)
                    assert np.array_equal(one.state, whole.state[i])
                    assert (one.n_steps, one.status) == (whole.n_steps[i], whole.status[i])
                    assert np.array_equal(one.weights, whole.weights[i])
                    assert one.energy == whole.energy[i]
                    assert memory.energy(states[i]) == energies[i]
                    assert np.array_equal(memory.flip_energies(states[i]), flips[i])
    finally:
        uhn.set_num_threads(before)


def test_the_order_of_patterns_does_not_matter() -> None:
    """Sums are exact, or added up by size: storing in another order changes no bit."""
    rng = np.random.default_rng(20)
    patterns, states = signs(rng, 50, 90), signs(rng, 9, 90)
    for degree in (3, 31, None):
        one, other = make(patterns, degree), make(patterns[::-1], degree)
        assert np.array_equal(one.retrieve(states), other.retrieve(states))
        assert np.array_equal(one.energy(states), other.energy(states))
        assert np.array_equal(one.flip_energies(states), other.flip_energies(states))


# --------------------------------------------------------------------------- as an object is --


def test_types_and_shapes() -> None:
    rng = np.random.default_rng(21)
    patterns = signs(rng, 4, 30)
    memory = make(patterns, 3)
    assert isinstance(memory.energy(patterns[0]), float)
    for dtype, out in [(np.float32, np.float32), (np.float64, np.float64), (np.int8, float)]:
        for mode in ("async", "sync"):
            found = memory.retrieve(patterns.astype(dtype), mode=mode)
            assert found.dtype == out and found.shape == (4, 30)
            one = memory.retrieve(patterns[0].astype(dtype), mode=mode)
            assert one.dtype == out and one.shape == (30,)
            assert memory.recall(patterns.astype(dtype), mode=mode).state.dtype == out
    assert memory.energy(patterns).shape == (4,)
    assert memory.flip_energies(patterns).shape == (4, 30)
    assert memory.flip_energies(patterns[0]).shape == (30,)
    nobody = np.empty((0, 30))
    assert memory.retrieve(nobody).shape == (0, 30)
    assert memory.energy(nobody).shape == (0,)
    assert memory.flip_energies(nobody).shape == (0, 30)
    assert memory.recall(nobody, trace=True).n_steps.shape == (0,)
    still = memory.recall(flipped(rng, patterns, 0.4), n_steps=0)
    assert (still.status == "step limit").all() and (still.n_steps == 0).all()


def test_binary_coding() -> None:
    """0 and 1 are -1 and +1 by other names."""
    rng = np.random.default_rng(22)
    patterns, states = signs(rng, 6, 25), signs(rng, 8, 25)
    plain = make(patterns, 3)
    binary = make((patterns + 1) // 2, 3, coding="binary")
    zeros = (states + 1) // 2
    assert np.array_equal(2 * binary.retrieve(zeros) - 1, plain.retrieve(states))
    assert np.array_equal(binary.energy(zeros), plain.energy(states))
    assert np.array_equal(binary.patterns, (patterns + 1) // 2)
    found, other = binary.recall(zeros, n_steps=1), plain.recall(states, n_steps=1)
    assert np.array_equal(found.overlaps, other.overlaps)
    assert np.array_equal(found.weights, other.weights)
    assert np.array_equal(2 * found.change, other.change)
    assert np.array_equal(found.energy, other.energy)


def test_recall_says_who_answered() -> None:
    rng = np.random.default_rng(23)
    patterns = signs(rng, 5, 60)
    for degree, rectified in [(3, True), (3, False), (200, True), (2.5, True), (None, True)]:
        memory = make(patterns, degree, rectified, scale="neurons" if degree else "none")
        states = flipped(rng, patterns, 0.1)
        for mode in ("async", "sync"):
            found = memory.recall(states, mode=mode, trace=True)
            assert found.converged.all()
            assert found.trace is not None
            n_steps, trace = found.n_steps, found.trace
            assert len(trace.states) == n_steps.max() + 1
            assert np.array_equal(trace.states[0], states)
            assert np.array_equal(trace.states[-1], found.state)
            assert np.array_equal(trace.energies[-1], found.energy)
            assert np.array_equal(trace.overlaps[-1], found.overlaps)
            assert np.array_equal(found.overlaps, found.state @ patterns.T / 60)
            asked = np.stack([trace.states[t - 1, i] for i, t in enumerate(n_steps)])
            of = reference.table(60, degree, rectified)
            for row, state in zip(found.weights, asked, strict=True):
                slopes = of.F_prime(reference.overlaps(patterns, state.astype(int)))
                wanted = np.array([float(v) for v in slopes / max(abs(slopes))])
                assert np.allclose(row, wanted, rtol=1e-12, atol=2.0**-95)
            assert np.array_equal(found.memories()[0][:, 0], np.arange(5))
            assert found.change.tolist() == [2.0 if t else 0.0 for t in n_steps]
    memory.store(signs(rng, 3, 60))
    assert found.overlaps.shape == (5, 5), "a recall looks back at the memory as it was"
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(again.energy, found.energy)
    assert np.array_equal(again.weights, found.weights)


def test_store_and_forget() -> None:
    """Storing in pieces is storing at once; forgetting leaves no trace."""
    rng = np.random.default_rng(24)
    patterns, states = signs(rng, 40, 35), signs(rng, 20, 35)
    whole = make(patterns, 3)
    pieces = DenseAssociativeMemory(35)
    assert len(pieces) == 0
    for row in patterns:
        pieces.store(row)
        pieces.retrieve(states[:1])
    assert len(pieces) == pieces.n_patterns == 40
    assert np.array_equal(pieces.patterns, patterns)
    assert np.array_equal(pieces.retrieve(states), whole.retrieve(states))
    rest = whole.forget(patterns[10:30])
    assert rest is whole and len(rest) == 20
    left = np.delete(patterns, range(10, 30), axis=0)
    assert np.array_equal(rest.patterns, left)
    assert np.array_equal(rest.energy(states), make(left, 3).energy(states))
    with pytest.raises(ValueError, match=r"patterns\[1\] is not stored \(any more\)"):
        whole.forget(patterns[[0, 11]])
    assert len(whole) == 20, "nothing is forgotten then"
    twice = make(patterns[[1, 0, 1]], 3).forget(patterns[1])
    assert np.array_equal(twice.patterns, patterns[[1, 0]]), "the last copy goes"
    assert not twice.patterns.flags.writeable
    twice.store(np.empty((0, 35)))
    assert len(twice.forget(patterns[:2])) == 0
    with pytest.raises(ValueError, match="the memory is empty: store patterns first"):
        twice.retrieve(states)


def test_copies_and_configuration() -> None:
    rng = np.random.default_rng(25)
    patterns, states = signs(rng, 9, 20), signs(rng, 5, 20)
    for degree, rectified, keywords in [
        (4, False, {}),
        (2.5, True, {"scale": "neurons"}),
        (None, True, {"coding": "binary"}),
    ]:
        rows = (patterns + 1) // 2 if "coding" in keywords else patterns
        asked = (states + 1) // 2 if "coding" in keywords else states
        memory = make(rows, degree, rectified, **keywords)
        wanted = memory.retrieve(asked)
        for other in (
            pickle.loads(pickle.dumps(memory)),
            copy.copy(memory),
            copy.deepcopy(memory),
            type(memory).from_config(memory.get_config()).store(rows),
        ):
            assert other.get_config() == memory.get_config()
            assert np.array_equal(other.retrieve(asked), wanted)
            other.store(rows[:1])
            assert len(memory) == 9
    assert repr(make(patterns, 4, False)) == (
        "DenseAssociativeMemory(n_features=20, degree=4, rectified=False, "
        "interaction='polynomial', coding='bipolar', scale='none')"
    )
    with pytest.raises(ValueError, match="has no parameter power"):
        DenseAssociativeMemory.from_config({"n_features": 3, "power": 2})


def test_the_examples_are_right() -> None:
    result = doctest.testmod(sys.modules[DenseAssociativeMemory.__module__])
    assert result.attempted > 3 and result.failed == 0


def test_many_threads_may_ask() -> None:
    rng = np.random.default_rng(26)
    patterns, states = signs(rng, 100, 80), signs(rng, 50, 80)
    memory = make(patterns, 3)
    wanted = memory.retrieve(states)
    fresh = pickle.loads(pickle.dumps(memory))
    answers: list[Array] = []
    threads = [
        threading.Thread(target=lambda: answers.append(fresh.retrieve(states)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8 and all(np.array_equal(a, wanted) for a in answers)


# --------------------------------------------------------------------------------- bad input --


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"degree": 1}, ValueError, "degree is 1; .* must be at least 2: use degree=2"),
        ({"degree": 1.5}, ValueError, "must be at least 2"),
        ({"degree": math.nan}, ValueError, "degree must be finite"),
        ({"degree": 2e6}, ValueError, "at most 1000000.*interaction='exponential'"),
        ({"degree": True}, TypeError, "degree must be a number, not bool"),
        ({"degree": "3"}, TypeError, "degree must be a number, not str"),
        ({"degree": None}, TypeError, "degree must be a number, not NoneType"),
        ({"degree": 2.5, "rectified": False}, ValueError, "whole number, or rectified=True"),
        ({"rectified": 1}, TypeError, "rectified must be a bool, not int"),
        ({"interaction": "cubic"}, ValueError, "interaction is 'cubic'; it is one of"),
        ({"coding": "spin"}, ValueError, "coding is 'spin'"),
        ({"scale": "patterns"}, ValueError, "scale is 'patterns'"),
        (
            {"interaction": "exponential", "scale": "neurons"},
            ValueError,
            "another model.*fit without it",
        ),
        ({"n_features": 0}, ValueError, "n_features is 0; it must be at least 1"),
        ({"n_features": 2.0}, TypeError, "n_features must be a whole number"),
    ],
)
def test_bad_parameters(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        DenseAssociativeMemory(**{"n_features": 3, **arguments})


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([[1, 0, 1]], ValueError, r"\[0, 1\] is 0, but coding='bipolar'.*coding='binary'"),
        ([[1, 0.3, 1]], ValueError, r"is 0.3.*threshold them first"),
        ([[1, 1]], ValueError, "3"),
        ([[1, math.nan, 1]], ValueError, "NaN"),
        ([[[1, 1, 1]]], ValueError, "shape"),
        (["abc"], TypeError, "patterns|states"),
        ([[1j, 1, 1]], TypeError, "complex"),
    ],
)
def test_bad_rows(rows: Any, error: type[Exception], message: str) -> None:
    memory = DenseAssociativeMemory(3)
    with pytest.raises(error, match=message):
        memory.store(rows)
    memory.store(XOR)
    for call in (
        memory.store,
        memory.forget,
        memory.retrieve,
        memory.recall,
        memory.energy,
        memory.flip_energies,
    ):
        with pytest.raises(error, match=message):
            call(rows)
    assert len(memory) == 4


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"mode": "both"}, ValueError, "mode is 'both'"),
        ({"order": "any"}, ValueError, "order is 'any'"),
        ({"order": [0, 3]}, ValueError, "order lists unit 3"),
        ({"mode": "sync", "order": [0]}, ValueError, "order is for mode='async'"),
        ({"tie": "0"}, ValueError, "tie is '0'"),
        ({"n_steps": -1}, ValueError, "n_steps is -1"),
        ({"n_steps": 1.5}, TypeError, "n_steps must be a whole number"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"seed": [1, 2, 3]}, ValueError, r"seed has shape \(3,\).*each of the 4 states"),
        ({"seed": 0.5}, TypeError, "seed must be a whole number"),
        ({"clamped": [True]}, ValueError, "clamped has shape"),
        ({"temperature": -1.0}, ValueError, "temperature must be finite and >= 0"),
        ({"temperature": [1.0], "n_steps": 2}, ValueError, r"temperature has shape \(1,\)"),
    ],
)
def test_bad_keywords(keywords: dict[str, Any], error: type[Exception], message: str) -> None:
    memory = make(XOR, 3)
    for call in (memory.retrieve, memory.recall):
        with pytest.raises(error, match=message):
            call(XOR, **keywords)


def test_nothing_stored() -> None:
    memory = DenseAssociativeMemory(3)
    for call in (memory.retrieve, memory.recall, memory.energy, memory.flip_energies):
        with pytest.raises(ValueError, match="the memory is empty: store patterns first"):
            call([1, 1, 1])
    assert memory.patterns.shape == (0, 3)


def test_the_engine_trusts_nobody() -> None:
    """What reaches the core by another way than the model is refused, too."""
    core = uhn._core
    good = np.ascontiguousarray(XOR, dtype=np.int8)
    engine = core._dense_new(good, "polynomial", 3.0, False)
    schedule = ("permutation", None, 0, 0, 1, "keep", None, None)
    assert core._dense_settle(engine, good, schedule)[0].shape == (4, 3)
    for arguments in [
        (XOR.astype(float), "polynomial", 3.0, False),
        (good[0], "polynomial", 3.0, False),
        (good[:, ::-1], "polynomial", 3.0, False),
        (good, 3, 3.0, False),
    ]:
        with pytest.raises(TypeError):
            core._dense_new(*arguments)
    for arguments, message in [
        ((good[:0], "polynomial", 3.0, False), "no rows"),
        ((np.empty((2, 0), np.int8), "polynomial", 3.0, False), "no columns"),
        ((good, "cubic", 3.0, False), "not known"),
        ((good, "polynomial", 1.0, False), "from 2 to"),
        ((good, "polynomial", math.nan, False), "from 2 to"),
        ((good, "polynomial", 2.5, False), "no such power"),
        ((good, "exponential", 2.0, True), "another model"),
    ]:
        with pytest.raises(ValueError, match=message):
            core._dense_new(*arguments)
    wide = np.ones((1, 4), np.int8)
    for call in (core._dense_energies, core._dense_differences):
        with pytest.raises(ValueError, match="do not have 3 units"):
            call(engine, wide)
        with pytest.raises(ValueError, match="invalid PyCapsule"):
            call(object(), good)
    with pytest.raises(ValueError, match="do not have 3 units"):
        core._dense_settle(engine, wide, schedule)
    with pytest.raises(TypeError):
        core._dense_settle(engine, good, None)


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill sends no SIGINT on Windows")
@pytest.mark.parametrize("threads", [1, 2])
def test_interrupt_stops_a_long_call(threads: int) -> None:
    rng = np.random.default_rng(27)
    memory = make(signs(rng, 2000, 300), 3)
    states = signs(rng, 200, 300)
    memory.retrieve(states[:1])
    before = uhn.get_num_threads()
    uhn.set_num_threads(threads)

    def send() -> None:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    begin = time.monotonic()
    sender.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            memory.retrieve(states, n_steps=100_000, temperature=1e9)
        assert time.monotonic() - begin < 0.2 + 1.0
    finally:
        sender.join()
        uhn.set_num_threads(before)
    assert memory.retrieve(states[:2]).shape == (2, 300)


# --------------------------------------------------------------------------- other libraries --


@pytest.mark.oracle
def test_exponential_energies_against_scipy() -> None:
    special = pytest.importorskip("scipy.special", reason="SciPy is not installed")
    rng = np.random.default_rng(28)
    patterns, states = signs(rng, 200, 500), signs(rng, 30, 500)
    memory = make(patterns, None)
    dots = (states @ patterns.T).astype(float)
    wanted = -special.logsumexp(dots, axis=1)
    assert np.allclose(memory.energy(states), wanted, rtol=1e-14)
    for i in (0, 99, 499):
        turned = dots - 2 * states[:, [i]] * patterns[:, i]
        rises = -special.logsumexp(turned, axis=1) - wanted
        assert np.allclose(memory.flip_energies(states)[:, i], rises, atol=1e-11)


@pytest.mark.oracle
def test_exponential_differences_against_torchhd() -> None:
    """torchhd's modern_hopfield is log sum exp with a unit at +1 less that with it at -1."""
    torchhd = pytest.importorskip("torchhd", reason="torchhd is not installed")
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(29)
    patterns, states = signs(rng, 20, 64), signs(rng, 10, 64)
    theirs = torchhd.memory.modern_hopfield(
        torch.tensor(states, dtype=torch.float64), torch.tensor(patterns, dtype=torch.float64)
    )
    ours = make(patterns, None).flip_energies(states)
    assert np.allclose(ours, states * np.asarray(theirs), atol=1e-11)
