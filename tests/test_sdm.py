"""Sparse distributed memory: against its twin, the equation, and simulations of the theory."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import reference_sdm as reference
import uhn
from uhn import theory
from uhn.models import SparseDistributedMemory as Sdm
from uhn.models import _base
from uhn.models import sdm as module

Array = np.ndarray


def signs(rng: np.random.Generator, *shape: int) -> Array:
    """Random +1 and -1."""
    return np.where(rng.random(shape) < 0.5, 1, -1)


def flipped(rng: np.random.Generator, rows: Array, d: int) -> Array:
    """The rows with d bits of each turned."""
    rows = rows.copy()
    for row in rows:
        row[rng.permutation(rows.shape[1])[:d]] *= -1
    return rows


@contextlib.contextmanager
def lost_words_allowed():
    """No warning about words that no location takes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ of [0-9]+ words have no location")
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(12)


@pytest.fixture
def threads():
    """Puts the number of threads back."""
    before = uhn.get_num_threads()
    yield
    uhn.set_num_threads(before)


# -------------------------------------------------------------------------------- simulation --


def test_measured_activation_is_binomial(rng) -> None:
    """Each location is active with probability p, independently over random locations.

    300 addresses x 10,000 locations; five standard errors of the mean of all, and of the
    variance between addresses (that of a sample of 300 is known to sqrt(2 / 299) of itself).
    """
    n, h, r = 256, 10_000, 108
    p = theory.sdm_activation(n, r)
    counts = Sdm(n, h, radius=r, seed=3).active(signs(rng, 300, n))
    assert counts.mean() == pytest.approx(h * p, abs=5 * math.sqrt(h * p / 300))
    assert counts.var(ddof=1) == pytest.approx(h * p * (1 - p), rel=5 * math.sqrt(2 / 299))


def test_moments_of_shared_locations_are_measured() -> None:
    """E[o] and E[o^2], o the locations two random addresses share, in 25 random memories.

    o is what a memory answers that was told 1 at the other address: the sum of 1-bit words.
    Five standard errors of the mean over the memories.
    """
    n, h, r, pairs = 64, 2000, 24, 200
    phi = np.array([h * theory.sdm_intersection(n, r, d) for d in range(n + 1)])
    weight = np.array([math.comb(n, d) / 2**n for d in range(n + 1)])
    first, second = [], []
    for seed in range(25):
        rng = np.random.default_rng(100 + seed)
        a, b = signs(rng, pairs, n), signs(rng, pairs, n)
        memory = Sdm(n, h, radius=r, seed=seed)
        at, of = memory.active(a, indices=True), memory.active(b, indices=True)
        o = np.array([len(np.intersect1d(i, j)) for i, j in zip(at, of, strict=True)])
        first.append(o.mean())
        second.append((o.astype(float) ** 2).mean())
    for measured, expected in (
        (first, math.fsum(weight * phi)),
        (second, math.fsum(weight * (phi + phi**2))),
    ):
        error = np.std(measured, ddof=1) / 5
        assert np.mean(measured) == pytest.approx(expected, abs=5 * error)


def test_errors_given_the_shared_locations() -> None:
    """Random words: the wrong bits are a binomial number whose p the shared locations fix.

    H = 10,000, n = 256. Each of the 3000 bits of a word is read wrong with a probability that
    the counts o_t alone determine, independently of the others: five standard deviations.
    """
    n, h, t, bits = 256, 10_000, 150, 3000
    rng = np.random.default_rng(44)
    r = theory.sdm_radius(n, theory.sdm_optimal_activation(h, t))
    memory = Sdm(n, h, radius=r, word_length=bits, seed=9)
    x, y = signs(rng, t, n), signs(rng, t, bits)
    memory.store(x, y)
    at = reference.active(memory.locations, x, r)
    seen = []
    for i in range(24):
        query = flipped(rng, x[i : i + 1], 3 * i)
        here = reference.active(memory.locations, query, r)[0]
        o = (at & here).sum(axis=1)
        p = reference.signs_below_zero(o, i)
        wrong = int((memory.read(query) != y[i]).sum())
        # Ties go to -1, which is wrong for half of the words.
        assert abs(wrong - bits * p) <= 5 * math.sqrt(bits * p * (1 - p)) + 1, (i, wrong, p)
        seen.append(p)
    assert min(seen) < 0.01 and max(seen) > 0.1


@pytest.mark.parametrize("auto", [False, True], ids=["hetero", "auto"])
def test_one_read_makes_the_errors_of_the_theory(auto: bool) -> None:
    """n = 256, H = 10,000, 200 items, radius for the optimal activation: 108.

    The theory takes phi(d) for the number of shared locations, which is a Poisson number.
    Noise grows with it, so that the truth lies between no fluctuation at all and one against
    fixed noise; with five standard errors of the mean over six memories.
    """
    n, h, t = 256, 10_000, 200
    r = theory.sdm_radius(n, theory.sdm_optimal_activation(h, t))
    assert r == 108
    sizes = {"n_features": n, "n_locations": h, "radius": r, "n_patterns": t}
    distances = (20, 40, 60)
    errors = np.empty((6, len(distances)))
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x = signs(rng, t, n)
        y = x if auto else signs(rng, t, n)
        memory = Sdm(n, h, radius=r, seed=seed)
        memory.store(x, y)
        for j, d in enumerate(distances):
            errors[seed, j] = (memory.read(flipped(rng, x, d)) != y).mean()
    mean, margin = errors.mean(axis=0), 5 * errors.std(axis=0, ddof=1) / math.sqrt(6)
    d_all = np.arange(n + 1)
    phi = np.array([h * theory.sdm_intersection(n, r, int(d)) for d in d_all])
    weight = np.array([math.comb(n, int(d)) / 2**n for d in d_all])
    sigma = math.sqrt((t - 1) * float((weight * (phi + phi**2)).sum()))
    bias = (t - 1) * float((weight * phi * (1 - 2 * d_all / n)).sum()) if auto else 0.0
    for j, d in enumerate(distances):
        low = theory.sdm_bit_error(d, **sizes, kind="auto" if auto else "hetero")
        s = np.arange(400)
        log_p = s * math.log(phi[d]) - phi[d] - np.array([math.lgamma(k + 1) for k in s])
        wrong = (1 - d / n) * reference.normal(-(s + bias) / sigma)
        wrong += d / n * reference.normal(-(s - bias) / sigma)
        high = float((np.exp(log_p) * wrong).sum())
        assert low < high < 1.7 * low
        assert low - margin[j] <= mean[j] <= high + margin[j], (d, low, mean[j], high)


def test_critical_distance_is_where_reading_stops_to_help() -> None:
    """Six bits inside of it a read brings queries nearer, six bits outside it does not.

    n = 256, H = 10,000, 200 items; the iterated form: most queries arrive, or most do not.
    Means of 800 queries.
    """
    n, h, t = 256, 10_000, 200
    r = theory.sdm_radius(n, theory.sdm_optimal_activation(h, t))
    sizes = {"n_features": n, "n_locations": h, "radius": r, "n_patterns": t}
    found: dict[tuple[str, int], list[float]] = {}
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x, y = signs(rng, t, n), signs(rng, t, n)
        hetero, auto = Sdm(n, h, radius=r, seed=seed), Sdm(n, h, radius=r, seed=seed)
        hetero.store(x, y)
        auto.store(x)
        for side in (-6, 6):
            d = round(theory.sdm_critical_distance(**sizes, kind="hetero")) + side
            wrong = (hetero.read(flipped(rng, x, d)) != y).sum(axis=1)
            found.setdefault(("hetero", side), []).append(wrong.mean() - d)
            d = round(theory.sdm_critical_distance(**sizes, kind="auto")) + side
            wrong = (auto.read(flipped(rng, x, d)) != x).sum(axis=1)
            found.setdefault(("auto", side), []).append(wrong.mean() - d)
            d = round(theory.sdm_critical_distance(**sizes, kind="iterated")) + side
            state = auto.recall(flipped(rng, x, d)).state
            lost = (state != x).sum(axis=1) > 5
            found.setdefault(("iterated", side), []).append(lost.mean() - 0.5)
    for (kind, side), values in found.items():
        assert np.sign(np.mean(values)) == np.sign(side), (kind, side, values)


# ---------------------------------------------------------------------------------- the twin --


SHAPES = [
    # n_features, n_locations, word_length, radius, write_radius, n_rows
    (1, 1, 1, 0, 1, 5),
    (5, 30, 5, 2, 2, 20),
    (63, 200, 9, 26, 24, 30),
    (64, 300, 64, 27, 27, 70),
    (65, 257, 65, 30, 28, 129),
    (130, 500, 40, 60, 58, 64),
    (257, 400, 257, 120, 123, 65),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("coding", ["bipolar", "binary"])
def test_the_twin_agrees(shape: tuple[int, ...], coding: str) -> None:
    """Counters, sums, words and active locations, written in two parts."""
    n, h, u, r, w, t = shape
    rng = np.random.default_rng(n + h)
    low = -1 if coding == "bipolar" else 0

    def code(rows: Array) -> Array:
        return np.where(rows > 0, 1, low)

    x, y, q = signs(rng, t, n), signs(rng, t, u), signs(rng, t + 7, n)
    for tie in ("keep", "+1", "-1"):
        if tie == "keep" and u != n:
            continue
        memory = Sdm(
            n, h, radius=r, write_radius=w, word_length=u, coding=coding, tie=tie, seed=5
        )
        twin = reference.Memory(np.where(memory.locations > 0, 1, -1), u)
        half = t // 2
        with lost_words_allowed():
            memory.store(code(x[:half]), code(y[:half]))
            memory.store(code(x[half:]), code(y[half:]))
        twin.write(x, y, w)
        assert len(memory) == memory.n_patterns == t
        assert np.array_equal(memory.counters, twin.counters)
        assert np.array_equal(memory.sums(code(q)), twin.sums(q, r))
        assert np.array_equal(memory.read(code(q)), code(twin.read(q, r, tie)))
        found = reference.active(twin.locations, q, r)
        assert np.array_equal(memory.active(code(q)), found.sum(axis=1))
        for row, wanted in zip(memory.active(code(q), indices=True), found, strict=True):
            assert np.array_equal(row, np.flatnonzero(wanted))


def test_many_small_memories(rng) -> None:
    """Thousands of queries of hundreds of memories of any shape."""
    for _ in range(300):
        n, h = int(rng.integers(1, 80)), int(rng.integers(1, 60))
        u, t = int(rng.integers(1, 12)), int(rng.integers(1, 12))
        r, w = int(rng.integers(n // 3, n + 1)), int(rng.integers(n // 3, n + 1))
        locations = signs(rng, h, n)
        memory = Sdm(n, radius=r, write_radius=w, word_length=u, locations=locations, tie="+1")
        x, y, q = signs(rng, t, n), signs(rng, t, u), signs(rng, 10, n)
        twin = reference.Memory(locations, u)
        twin.write(x, y, w)
        with lost_words_allowed():
            memory.store(x, y)
        assert np.array_equal(memory.sums(q), twin.sums(q, r))
        assert np.array_equal(memory.read(q), twin.read(q, r, "+1"))


def test_duplicates_count_as_often_as_they_are(rng) -> None:
    """Of locations, and of writes."""
    base = signs(rng, 40, 50)
    once = Sdm(50, radius=22, locations=base)
    twice = Sdm(50, radius=22, locations=np.vstack([base, base]))
    x, q = signs(rng, 30, 50), signs(rng, 20, 50)
    x[7] = x[3]
    with lost_words_allowed():
        once.store(x)
        twice.store(x)
    assert np.array_equal(2 * once.sums(q), twice.sums(q))
    weights = reference.active(base, x, 22)
    assert np.array_equal(once.counters, weights.T.astype(int) @ x)


def test_what_is_done_in_blocks_is_what_is_done_at_once(rng, monkeypatch) -> None:
    """Addresses, locations, counters, activity and the check of the coding, a few rows at a
    time, as they are for millions.
    """
    given, x, q = signs(rng, 57, 30), signs(rng, 9, 30), signs(rng, 23, 30)
    bad = q.astype(float)
    bad[19, 4] = 0.5

    def everything() -> list[Array]:
        found: list[Array] = []
        for options in ({"n_locations": 57, "seed": 3}, {"locations": given}):
            memory = Sdm(30, radius=14, **options)
            assert not memory.counters.any()
            memory.store(x)
            memory._counters[::8] = module.COUNTER_MAX
            found += [memory.locations, memory.counters, memory.read(q), memory.sums(q)]
            found += [np.array(memory.n_saturated), *memory.active(q, indices=True)]
        with pytest.raises(ValueError, match=r"queries\[19, 4\] is 0.5"):
            memory.read(bad)
        return found

    at_once = everything()
    assert at_once[4] == 8 * 30
    monkeypatch.setattr(module, "BLOCK", 150)
    monkeypatch.setattr(_base, "_PIECE", 90)
    for one, other in zip(at_once, everything(), strict=True):
        assert np.array_equal(one, other)


# -------------------------------------------------------------------------------- edge cases --


def test_the_radius_is_inclusive() -> None:
    """Exactly r bits away is active, r + 1 is not."""
    location = np.ones((1, 10))
    for radius in range(11):
        memory = Sdm(10, radius=radius, locations=location)
        for d in range(11):
            query = np.ones(10)
            query[:d] = -1
            assert memory.active(query) == (d <= radius)


def test_radius_zero_and_radius_n(rng) -> None:
    """An exact match alone, and everything."""
    locations = signs(rng, 20, 30)
    exact = Sdm(30, radius=0, locations=locations)
    exact.store(locations)
    assert np.array_equal(exact.read(locations), locations)
    assert exact.active(signs(rng, 30)) == 0
    everything = Sdm(30, radius=30, locations=locations)
    everything.store(locations[:3])
    assert np.array_equal(everything.active(signs(rng, 5, 30)), [20] * 5)
    majority = np.sign(locations[:3].sum(axis=0))
    assert np.array_equal(everything.read(signs(rng, 5, 30)), np.tile(majority, (5, 1)))


def test_counters_stop_at_their_bounds() -> None:
    """40,000 writes of one word, more than int16 can count; then back by one."""
    memory = Sdm(3, radius=0, word_length=2, locations=[[1, 1, 1], [-1, -1, -1]])
    at, word = np.ones((40_000, 3), np.float32), np.tile(np.float32([1, -1]), (40_000, 1))
    memory.store(at[:32_766], word[:32_766])
    assert memory.counters.tolist() == [[32766, -32766], [0, 0]]
    assert memory.n_saturated == 0
    memory.store(at[:1], word[:1])
    assert memory.counters[0].tolist() == [32767, -32767]
    assert memory.n_saturated == 2
    memory.store(at, word)
    assert memory.counters.tolist() == [[32767, -32767], [0, 0]]
    memory.store([1, 1, 1], [-1, -1])
    assert memory.counters[0].tolist() == [32766, -32767]
    assert memory.n_saturated == 1
    assert memory.read([1, 1, 1]).tolist() == [1, -1]
    assert len(memory) == 32_766 + 1 + 40_000 + 1


def test_rows_that_change_many_counters(rng) -> None:
    """All locations active: 64 rows of 1.2 million counters are not written in one go."""
    words = signs(rng, 66, 400)
    memory = Sdm(10, 3000, radius=10, word_length=400)
    memory.store(signs(rng, 66, 10), words)
    assert np.array_equal(memory.counters, np.tile(words.sum(axis=0), (3000, 1)))


def test_order_matters_to_a_full_counter() -> None:
    """+1 then -1 is one less than -1 then +1, in one call as in two."""
    up, down = [1, 1], [-1, -1]
    for words, end in (([up, down], 32766), ([down, up], 32767)):
        for calls in (1, 2):
            memory = Sdm(2, radius=0, locations=[[1, 1]])
            memory.store(np.ones((32_767, 2)))
            if calls == 1:
                memory.store([[1, 1], [1, 1]], words)
            else:
                memory.store([1, 1], words[0])
                memory.store([1, 1], words[1])
            assert memory.counters.tolist() == [[end, end]]


def test_sums_do_not_overflow() -> None:
    """70,000 full counters add up to more than int32 holds."""
    memory = Sdm(2, radius=2, word_length=1, locations=np.ones((70_000, 2)), tie="+1")
    memory._counters[:] = -32767  # as 32,767 writes would leave them
    memory._n_written = 32_767
    assert memory.sums([1, 1]).tolist() == [-32767 * 70_000]
    assert memory.read([1, 1]).tolist() == [-1]


@pytest.mark.parametrize("coding", ["bipolar", "binary"])
def test_ties(coding: str) -> None:
    """Two opposite words at one place: every sum is 0."""
    low = -1 if coding == "bipolar" else 0
    one = np.ones(4)
    for tie, wanted in (("keep", None), ("+1", 1), ("-1", low)):
        memory = Sdm(4, radius=4, locations=[one], coding=coding, tie=tie)
        memory.store([one, one], [one, np.full(4, low)])
        query = np.array([1, low, low, 1])
        assert memory.sums(query).tolist() == [0, 0, 0, 0]
        answer = query.tolist() if wanted is None else [wanted] * 4
        assert memory.read(query).tolist() == answer


def test_the_default_tie() -> None:
    """The query's bit where it has one, else the low bit."""
    assert Sdm(4, 2, radius=1).tie == "keep"
    assert Sdm(4, 2, radius=1, word_length=5).tie == "-1"


def test_no_active_location(rng) -> None:
    """All bits are ties; recall says so and stops; others go on."""
    memory = Sdm(6, radius=1, locations=[[1] * 6])
    memory.store([1, 1, 1, 1, 1, 1])
    near, far = np.array([1, 1, 1, 1, 1, -1.0]), np.array([1, 1, 1, -1, -1, -1.0])
    assert np.array_equal(memory.read(far), far)
    r = memory.recall(np.array([far, near]))
    assert r.status.tolist() == ["no active location", "fixed point"]
    assert r.n_steps.tolist() == [1, 2]
    assert np.array_equal(r.state, [far, np.ones(6)])
    assert memory.active([far, near]).tolist() == [0, 1]
    plus = Sdm(6, radius=1, locations=[[1] * 6], tie="+1")
    plus.store(np.ones(6))
    assert plus.read(far).tolist() == [1] * 6
    assert plus.recall(far).status == "no active location"
    empty = Sdm(6, radius=0)
    empty.store(near)
    assert empty.recall(far).status == "no active location"


def test_words_that_find_no_location_are_reported() -> None:
    memory = Sdm(6, radius=1, locations=[[1] * 6])
    with pytest.warns(RuntimeWarning, match="2 of 3 words have no location within 1 bits"):
        memory.store([[1] * 6, [-1] * 6, [-1] * 6])
    assert len(memory) == 3
    assert memory.counters.tolist() == [[1] * 6]


# ------------------------------------------------------------------------- reading on and on --


def test_recall_is_reading_again_and_again() -> None:
    """State, steps and status of every query are those of the twin on its own."""
    n, h, t = 128, 3000, 40
    rng = np.random.default_rng(7)
    memory = Sdm(n, h, activation=0.01, seed=2)
    x = signs(rng, t, n)
    memory.store(x)
    queries = np.vstack([flipped(rng, x[:10], d) for d in (0, 15, 30, 45, 60)])
    r = memory.recall(queries, n_steps=12, trace=True)
    twin = reference.Memory(memory.locations, n)
    twin.write(x, x, memory.radius)

    def step(state: Array) -> tuple[Array, int]:
        count = int(reference.active(twin.locations, state[None], memory.radius).sum())
        return twin.read(state[None], memory.radius, "keep")[0], count

    statuses = set()
    for i, query in enumerate(queries):
        state, n_steps, status = reference.recall(step, query, 12)
        assert np.array_equal(r.state[i], state)
        assert (r.n_steps[i], r.status[i]) == (n_steps, status)
        assert np.array_equal(r.trace.states[n_steps, i], state)
        alone = memory.recall(query, n_steps=12)
        assert np.array_equal(alone.state, state) and alone.status == status
        statuses.add(status)
        for k in range(4):
            wanted = query
            for _ in range(k):
                wanted = step(wanted)[0]
            assert np.array_equal(memory.read(query, n_steps=k), wanted)
    assert "fixed point" in statuses and len(statuses) > 1
    assert r.trace.energies is None and r.trace.overlaps is None


def test_a_two_cycle_is_seen() -> None:
    """Each of two opposite addresses answers with the other."""
    a = np.array([1, -1, 1, 1, -1.0])
    memory = Sdm(5, radius=0, locations=[a, -a])
    memory.store([a, -a], [-a, a])
    r = memory.recall(a)
    assert (r.status, r.n_steps, r.change) == ("2-cycle", 2, 2.0)
    assert np.array_equal(r.state, a)
    assert memory.recall(a, n_steps=1).status == "step limit"
    assert np.array_equal(memory.read(a, n_steps=7), -a), "retrieve does exactly so many"
    binary = Sdm(5, radius=0, locations=(np.array([a, -a]) > 0), coding="binary")
    binary.store([a > 0, a < 0], [a < 0, a > 0])
    r = binary.recall(a > 0)
    assert (r.status, r.change) == ("2-cycle", 1.0)


def test_zero_steps(rng) -> None:
    memory = Sdm(20, 50, radius=9)
    memory.store(signs(rng, 3, 20))
    query = signs(rng, 20)
    assert np.array_equal(memory.read(query, n_steps=0), query)
    r = memory.recall(query, n_steps=0)
    assert (r.status, r.n_steps) == ("step limit", 0)


def test_iteration_needs_words_of_the_length_of_addresses(rng) -> None:
    memory = Sdm(20, 50, radius=9, word_length=8)
    memory.store(signs(rng, 3, 20), signs(rng, 3, 8))
    assert memory.read(signs(rng, 4, 20)).shape == (4, 8)
    with pytest.raises(ValueError, match="n_steps other than 1"):
        memory.read(signs(rng, 20), n_steps=2)
    with pytest.raises(ValueError, match="recall reads at the word that was read"):
        memory.recall(signs(rng, 20))


# ------------------------------------------------------------------------------ the equation --


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_a_read_is_the_equation(shape: tuple[int, ...]) -> None:
    """sums = Memory(A, P, hamming, threshold), P the counters, to the last bit."""
    n, h, u, r, _, t = shape
    rng = np.random.default_rng(n)
    memory = Sdm(n, h, radius=r, word_length=u, tie="+1", seed=1)
    x, y, q = signs(rng, t, n), signs(rng, t, u), signs(rng, t, n)
    with lost_words_allowed():
        memory.store(x, y)
    equation = uhn.Memory(
        memory.locations.astype(float),
        memory.counters.astype(float),
        similarity="hamming",
        separation="threshold",
        theta=-r,
    )
    z = equation.retrieve(q)
    assert np.array_equal(memory.sums(q), z)
    assert np.array_equal(memory.equation().retrieve(q), z)
    assert np.array_equal(memory.read(q), np.where(z >= 0, 1, -1))
    # Writing is the same equation the other way around: counters are what the items answer to
    # the locations.
    items = uhn.Memory(
        x.astype(float), y.astype(float), similarity="hamming", separation="threshold", theta=-r
    )
    assert np.array_equal(memory.counters, items.retrieve(memory.locations))


@pytest.mark.parametrize("u", [40, 7])
def test_the_form_without_locations(u: int) -> None:
    """Stored one after the other or at once: Memory(addresses, words, hamming, threshold)."""
    n, r, t = 40, 18, 60
    rng = np.random.default_rng(u)
    x, y, q = signs(rng, t, n), signs(rng, t, u), signs(rng, 50, n)
    x[5] = x[4]
    memory = Sdm(n, radius=r, word_length=u)
    for i, j in ((0, 1), (1, 2), (2, 30), (30, t)):
        memory.store(x[i:j], y[i:j])
    equation = uhn.Memory(
        x.astype(float), y.astype(float), similarity="hamming", separation="threshold", theta=-r
    )
    z = equation.retrieve(q)
    assert np.array_equal(memory.sums(q), z)
    at_zero = q if u == n else -1
    assert np.array_equal(memory.read(q), np.where(z > 0, 1, np.where(z < 0, -1, at_zero)))
    assert np.array_equal(memory.active(q), equation.weights(q).sum(axis=1))
    assert np.array_equal(memory.patterns, x) and np.array_equal(memory.counters, y)
    assert memory.n_locations is None and memory.write_radius is None
    assert np.array_equal(memory.equation().retrieve(q), z)


def test_the_two_forms_meet(rng) -> None:
    """Hard locations at the addresses stored, written with radius 0, are the other form."""
    n, r = 50, 22
    x = signs(rng, 80, n)
    hard = Sdm(n, radius=r, write_radius=0, locations=x)
    soft = Sdm(n, radius=r)
    hard.store(x)
    soft.store(x)
    q = signs(rng, 60, n)
    assert np.array_equal(hard.counters, soft.counters)
    assert np.array_equal(hard.sums(q), soft.sums(q))
    a, b = hard.recall(q), soft.recall(q)
    assert np.array_equal(a.state, b.state) and np.array_equal(a.status, b.status)


def test_a_recall_knows_its_memories(rng) -> None:
    """Overlaps and weights in the form without locations, as they were when it ran."""
    x = signs(rng, 12, 30)
    memory = Sdm(30, radius=9)
    memory.store(x)
    r = memory.recall(x[:4], trace=True)
    overlaps = r.overlaps
    assert np.array_equal(overlaps, r.state @ x.T / 30)
    wanted = reference.active(x, x[:4], 9)
    assert np.array_equal(r.weights, wanted)
    memory.store(signs(rng, 500, 30))
    assert np.array_equal(r.overlaps, overlaps)
    assert r.trace.overlaps.shape == (len(r.trace.states), 4, 12)
    with pytest.raises(ValueError, match="no energy"):
        _ = r.energy
    binary = Sdm(30, radius=9, coding="binary")
    binary.store(x > 0)
    b = binary.recall(x[:4] > 0)
    assert np.array_equal(b.overlaps, overlaps) and np.array_equal(b.weights, wanted)
    hard = Sdm(30, 100, radius=12)
    hard.store(x)
    with pytest.raises(ValueError, match="hard locations keep sums"):
        _ = hard.recall(x[0]).weights
    assert "fixed point" in hard.recall(x[0])._repr_html_()


# -------------------------------------------------------------------------- random addresses --


def test_addresses_come_from_the_seed_and_their_number(rng) -> None:
    few, many = Sdm(100, 10, radius=40, seed=8), Sdm(100, 5000, radius=40, seed=8)
    assert np.array_equal(few.locations, many.locations[:10])
    assert not np.array_equal(few.locations, Sdm(100, 10, radius=40, seed=9).locations)
    assert set(np.unique(many.locations)) == {-1, 1}
    binary = Sdm(100, 10, radius=40, seed=8, coding="binary")
    assert np.array_equal(binary.locations, few.locations > 0)
    # 5000 coins a bit, 5000 bits: means and correlations of bits within five deviations.
    bits = many.locations.astype(float)
    assert np.abs(bits.mean(axis=0)).max() < 5 / math.sqrt(5000)
    products = bits.T @ bits / 5000
    assert np.abs(products - np.eye(100)).max() < 5.5 / math.sqrt(5000)


def test_given_locations_are_taken_as_they_are(rng) -> None:
    given = signs(rng, 30, 70)
    for kind in (np.int8, np.int64, np.float32, np.float64):
        memory = Sdm(70, radius=30, locations=given.astype(kind))
        assert np.array_equal(memory.locations, given)
        assert memory.n_locations == 30
    assert np.array_equal(Sdm(70, 30, radius=30, locations=given.tolist()).locations, given)
    binary = Sdm(70, radius=30, locations=given > 0, coding="binary")
    assert np.array_equal(binary.locations, given > 0)


# --------------------------------------------------------------------------------- same bits --


def workload() -> tuple[Sdm, Array]:
    """Large enough for two threads."""
    rng = np.random.default_rng(3)
    memory = Sdm(200, 20_000, activation=0.004, seed=11)
    memory.store(signs(rng, 150, 200))
    return memory, signs(rng, 130, 200)


def test_batches_and_threads_change_nothing(threads) -> None:
    answers = []
    for n in (1, 2, 3):
        uhn.set_num_threads(n)
        memory, queries = workload()
        answers.append((memory.counters.copy(), memory.sums(queries), memory.read(queries)))
        for size in (1, 2, 5, 64, 65, 100):
            for i in range(0, len(queries), max(size, 13)):
                part = queries[i : i + size]
                assert np.array_equal(memory.sums(part), answers[0][1][i : i + size])
                assert np.array_equal(memory.read(part), answers[0][2][i : i + size])
        one = [memory.recall(row).state for row in queries[:5]]
        assert np.array_equal(one, memory.recall(queries).state[:5])
    for other in answers[1:]:
        for a, b in zip(answers[0], other, strict=True):
            assert np.array_equal(a, b)


def test_one_row_at_a_time_writes_the_same(rng, threads) -> None:
    x = signs(rng, 70, 100)
    at_once, singly = Sdm(100, 3000, radius=42), Sdm(100, 3000, radius=42)
    at_once.store(x)
    for row in x:
        singly.store(row)
    assert np.array_equal(at_once.counters, singly.counters)


PRINT_HASH = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import test_sdm
memory, queries = test_sdm.workload()
digest = hashlib.sha256()
for array in (memory.locations, memory.counters, memory.sums(queries), memory.read(queries)):
    digest.update(array.tobytes())
for n in (1, 2, 3, 9):
    digest.update(memory.sums(queries[:n]).tobytes())
print(digest.hexdigest())
"""


def test_cpu_paths_change_nothing() -> None:
    here = Path(__file__).resolve().parent
    found = {}
    for path in uhn.cpu_info()["available"]:
        library = os.pathsep.join([str(Path(uhn.__file__).resolve().parent.parent), *sys.path])
        done = subprocess.run(
            [sys.executable, "-c", PRINT_HASH, str(here)],
            env={**os.environ, "UHN_CPU": path, "PYTHONPATH": library},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found[path] = done.stdout.strip()
    assert len(found) >= 1 and len(set(found.values())) == 1, found


# --------------------------------------------------------------------------- what a model is --


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.uint8, bool])
def test_types_in_and_out(dtype) -> None:
    rng = np.random.default_rng(0)
    x = (signs(rng, 8, 40) > 0).astype(dtype)
    memory = Sdm(40, 500, radius=15, coding="binary")
    memory.store(x)
    wanted = np.float32 if dtype == np.float32 else np.float64
    answer = memory.read(x)
    assert answer.dtype == memory.recall(x).state.dtype == wanted
    assert answer.shape == (8, 40) and set(np.unique(answer)) <= {0, 1}
    one = memory.read(x[0])
    assert one.shape == (40,) and np.array_equal(one, answer[0])
    assert memory.sums(x[0]).shape == (40,) and memory.sums(x).dtype == np.int64
    assert type(memory.active(x[0])) is int
    assert memory.read(x[:0]).shape == (0, 40)
    assert memory.recall(x[:0]).state.shape == (0, 40)
    assert memory.active(x[:0]).shape == (0,) and memory.active(x[:0], indices=True) == []


def test_the_names_of_the_family_are_the_same_calls() -> None:
    assert Sdm.write is Sdm.store
    assert Sdm.read is Sdm.retrieve


@pytest.mark.parametrize("form", ["random", "given", "none"])
def test_round_trips(form: str) -> None:
    rng = np.random.default_rng(2)
    options = {
        "random": {"n_locations": 200, "write_radius": 14, "seed": 5},
        "given": {"locations": signs(rng, 60, 40)},
        "none": {},
    }[form]
    memory = Sdm(40, radius=16, tie="+1", **options)
    x, q = signs(rng, 30, 40), signs(rng, 20, 40)
    with lost_words_allowed():
        memory.store(x)
        for other in (
            pickle.loads(pickle.dumps(memory)),
            copy.copy(memory),
            copy.deepcopy(memory),
        ):
            assert len(other) == 30
            assert np.array_equal(other.sums(q), memory.sums(q))
            other.store(q)
            assert len(memory) == 30
            assert not np.array_equal(other.sums(q), memory.sums(q))
    config = memory.get_config()
    fresh = Sdm.from_config(config)
    assert len(fresh) == 0
    assert {k: v for k, v in fresh.get_config().items() if k != "locations"} == {
        k: v for k, v in config.items() if k != "locations"
    }
    assert np.array_equal(fresh.locations, memory.locations) or form == "none"
    assert repr(fresh) == repr(memory)
    assert len(repr(memory)) < 300
    with pytest.raises(ValueError, match="no parameter colour"):
        Sdm.from_config({**config, "colour": 1})


def test_views_are_read_only(rng) -> None:
    memory = Sdm(20, 50, radius=9)
    memory.store(signs(rng, 20))
    for view in (memory.counters, memory.locations):
        with pytest.raises(ValueError, match="read-only"):
            view[0, 0] = 1
    assert memory.counters.base is not None, "no copy"
    with pytest.raises(AttributeError, match="hard locations keep sums"):
        _ = memory.patterns
    assert not hasattr(memory, "patterns")


def test_there_is_no_energy(rng) -> None:
    memory = Sdm(20, 50, radius=9)
    memory.store(signs(rng, 20))
    with pytest.raises(ValueError, match="no energy"):
        memory.energy(signs(rng, 20))
    assert memory.lyapunov("sync") is False
    with pytest.raises(ValueError, match="mode is 'other'"):
        memory.lyapunov("other")


def test_an_empty_memory_says_so() -> None:
    for memory in (Sdm(8, 20, radius=3), Sdm(8, radius=3)):
        for call in (memory.read, memory.sums, memory.recall):
            with pytest.raises(ValueError, match="store something first"):
                call(np.ones(8))
        with pytest.raises(ValueError, match="store something first"):
            memory.equation()
    with pytest.raises(ValueError, match="store something first"):
        Sdm(8, radius=3).active(np.ones(8))
    assert Sdm(8, 20, radius=8).active(np.ones(8)) == 20, "locations are there before words"
    memory = Sdm(8, 20, radius=3)
    memory.store(np.ones((0, 8)))
    assert len(memory) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "pass radius="),
        ({"radius": 3, "activation": 0.1}, "pass radius="),
        ({"radius": 11}, "radius is 11, but addresses of 10 bits"),
        ({"radius": -1}, "radius is -1"),
        ({"activation": 2.0}, "activation is 2.0"),
        ({"radius": 3, "n_features": 0}, "n_features is 0"),
        ({"radius": 3, "n_locations": 0}, "n_locations is 0"),
        ({"radius": 3, "n_locations": 2**60}, "n_locations is 1152921504606846976"),
        ({"radius": 3, "word_length": 0}, "word_length is 0"),
        ({"radius": 3, "coding": "ternary"}, "coding is 'ternary'"),
        ({"radius": 3, "tie": "coin"}, "tie is 'coin'"),
        ({"radius": 3, "tie": "keep", "word_length": 4}, "tie='keep' takes the query's bit"),
        ({"radius": 3, "seed": 2**64}, "seed is 18446744073709551616"),
        ({"radius": 3, "write_radius": 2}, "write_radius is for hard locations"),
        ({"radius": 3, "n_locations": 5, "write_radius": 11}, "write_radius is 11"),
        ({"radius": 3, "locations": np.ones((4, 9))}, r"locations have shape \(4, 9\)"),
        ({"radius": 3, "locations": np.ones(10)}, r"locations have shape \(10,\)"),
        ({"radius": 3, "locations": np.ones((0, 10))}, "locations have shape"),
        ({"radius": 3, "locations": np.ones((4, 10)), "n_locations": 5}, "n_locations is 5"),
        ({"radius": 3, "locations": np.zeros((4, 10))}, r"locations\[0:4\]\[0, 0\] is 0"),
    ],
    ids=str,
)
def test_constructor_refuses(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sdm(**{"n_features": 10, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": 3.5}, "radius must be a whole number"),
        ({"radius": True}, "radius must be a whole number"),
        ({"n_features": 10.0, "radius": 3}, "n_features must be a whole number"),
        ({"n_locations": "many", "radius": 3}, "n_locations must be a whole number"),
    ],
    ids=str,
)
def test_constructor_refuses_types(options: dict, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Sdm(**{"n_features": 10, **options})


def test_bad_rows_are_refused_and_change_nothing() -> None:
    memory = Sdm(10, 100, radius=5, word_length=4)
    good, word = np.ones((2, 10)), np.ones((2, 4))
    memory.store(good, word)
    counters = memory.counters.copy()
    bad = good.copy()
    bad[1, 3] = 0
    for arguments, message in (
        ((bad, word), r"addresses\[1, 3\] is 0, but coding='bipolar'"),
        ((good, word * 0.5), r"words\[0, 0\] is 0.5.*threshold them first"),
        ((good * np.nan, word), "addresses"),
        ((good[:, :9], word), "addresses"),
        ((good, good), "words"),
        ((good, word[:1]), "2 addresses and 1 words"),
        ((good,), "words are needed"),
        ((np.ones((2, 2, 10)), word), "addresses"),
    ):
        with pytest.raises(ValueError, match=message):
            memory.store(*arguments)
    with pytest.raises(ValueError, match=r"queries\[1, 3\] is 0.*coding='binary'"):
        memory.read(bad)
    with pytest.raises(TypeError, match="queries"):
        memory.read(np.ones(10, complex))
    with pytest.raises(TypeError):
        memory.read([["a"] * 10])
    with pytest.raises(TypeError, match="n_steps must be a whole number"):
        memory.read(good, n_steps=1.5)
    with pytest.raises(ValueError, match="n_steps is -1"):
        memory.read(good, n_steps=-1)
    binary = Sdm(10, 100, radius=5, coding="binary")
    with pytest.raises(ValueError, match=r"addresses\[0, 2\] is -1.*coding='bipolar'"):
        binary.store([1, 0, -1, 1, 1, 1, 1, 1, 1, 1])
    assert np.array_equal(memory.counters, counters) and len(memory) == 2


def test_the_binding_refuses_what_does_not_fit() -> None:
    """Private functions check sizes and types, as no size is checked behind them."""
    core = uhn._core
    addresses, counters = np.zeros((5, 2), np.uint64), np.zeros((5, 3), np.int16)
    rows, words = np.ones((4, 100), np.int8), np.ones((4, 3), np.int8)
    one = np.zeros(1, np.int64)
    core._sdm_write(addresses, counters, 100, 50, rows, words, one)
    assert one[0] == 4
    locked = counters.copy()
    locked.flags.writeable = False
    for arguments in (
        (addresses, counters, 200, 50, rows, words, one),
        (addresses, counters, 100, 101, rows, words, one),
        (addresses, counters, 100, -1, rows, words, one),
        (addresses, counters[:4], 100, 50, rows, words, one),
        (addresses, counters, 100, 50, rows[:, :99].copy(), words, one),
        (addresses, counters, 100, 50, rows, words[:3], one),
        (addresses, counters, 100, 50, rows, words[:, :2].copy(), one),
        (addresses, locked, 100, 50, rows, words, one),
        (addresses, counters, 100, 50, rows, words, np.zeros(2, np.int64)),
    ):
        with pytest.raises(ValueError):
            core._sdm_write(*arguments)
    with pytest.raises(TypeError):
        core._sdm_write(addresses, counters.astype(np.int32), 100, 50, rows, words, one)
    with pytest.raises(TypeError):
        core._sdm_write(addresses, counters[:, ::2], 100, 50, rows, words, one)
    with pytest.raises(ValueError):
        core._sdm_read(addresses, counters, 100, 50, rows, "keep", "words")
    with pytest.raises(ValueError):
        core._sdm_read(addresses, counters, 100, 50, rows, "coin", "words")
    with pytest.raises(ValueError):
        core._sdm_active(addresses, 129, 50, rows)
    with pytest.raises(ValueError):
        core._sdm_addresses(0, -1, 100, addresses)


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill sends no SIGINT on Windows")
@pytest.mark.parametrize("n_threads", [1, 2])
def test_interrupt_leaves_whole_rows(n_threads: int, threads) -> None:
    """A write that is stopped has written the first `n_patterns` words and nothing else."""
    rng = np.random.default_rng(1)
    x = signs(rng, 40_000, 64).astype(np.float32)
    y = signs(rng, 40_000, 2).astype(np.float32)
    memory = Sdm(64, 400_000, radius=18, word_length=2)
    twin = copy.copy(memory)
    uhn.set_num_threads(n_threads)

    def send() -> None:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    def run() -> None:
        memory.store(x, y)
        memory.read(np.tile(x, (10, 1)))

    sender = threading.Thread(target=send)
    begin = time.monotonic()
    sender.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run()
        assert time.monotonic() - begin < 0.3 + 1.0
    finally:
        sender.join()
    n = len(memory)
    assert 0 < n < len(x)
    twin.store(x[:n], y[:n])
    assert np.array_equal(twin.counters, memory.counters)


# ------------------------------------------------------------------------------- other hands --


@pytest.mark.oracle
def test_torchhd_keeps_the_same_counters(rng) -> None:
    """Its radius is that of a dot product, n - 2 r; what it reads is a sum, or its sign."""
    torchhd_memory = pytest.importorskip("torchhd.memory", reason="torchhd is not installed")
    import torch

    n, h, r = 128, 600, 55
    theirs = torchhd_memory.SparseDistributed(h, n, n, p=0.05)
    theirs.threshold = n - 2 * r
    theirs.values.data.zero_()
    locations = theirs.keys.detach().numpy()
    ours = Sdm(n, radius=r, locations=locations)
    x, q = signs(rng, 25, n), signs(rng, 20, n)
    with lost_words_allowed():
        ours.store(x)
    with torch.no_grad():
        theirs.write(torch.tensor(x, dtype=torch.float32), torch.tensor(x, dtype=torch.float32))
        read = theirs.read(torch.tensor(q, dtype=torch.float32)).numpy()
    assert np.array_equal(ours.counters, theirs.values.detach().numpy())
    assert np.array_equal(np.sign(ours.sums(q)), np.sign(read))


@pytest.mark.oracle
def test_sdmlib_answers_the_same(rng) -> None:
    """Its radius is exclusive, its int8 counters wrap (not after 25 writes), ties are 0."""
    sdmlib = pytest.importorskip("sdmlib", reason="sdmlib is not installed")
    n, h, u, r = 120, 500, 33, 52
    theirs = sdmlib.Memory(N=n, M=h, U=u, d=r + 1, seed=4)
    ours = Sdm(n, radius=r, word_length=u, locations=theirs.A, coding="binary")
    x, y = rng.integers(0, 2, (25, n)), rng.integers(0, 2, (25, u))
    with lost_words_allowed():
        ours.store(x, y)
    for address, word in zip(x, y, strict=True):
        theirs.write(address, word)
    assert np.array_equal(ours.counters, theirs.C)
    for query in np.vstack([x, rng.integers(0, 2, (40, n))]):
        assert np.array_equal(ours.read(query), theirs.read(query))
