"""Attractor tools against brute force, theory and hand-made memories."""

from __future__ import annotations

import itertools
import math
import os
import pickle
import signal
import sys
import threading
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import reference_analysis as reference
import uhn
from uhn import analysis, theory

SANITIZED = bool(os.environ.get("UHN_SANITIZED"))


def patterns_of(seed: int, n_patterns: int, n_features: int) -> Any:
    return np.random.default_rng(seed).choice(
        np.array([-1, 1], dtype=np.int8), (n_patterns, n_features)
    )


def sets(states: Any) -> set[tuple[int, ...]]:
    return {tuple(row) for row in np.asarray(states).astype(int).tolist()}


# ---------------------------------------------------------------------------------- patterns --


@pytest.mark.parametrize(("n_patterns", "n"), [(1, 1), (3, 7), (40, 300), (5, 3001)])
def test_overlaps_are_whole_numbers_divided_once(n_patterns: int, n: int) -> None:
    """Equal to the nearest double of the exact fraction, for one state and for many."""
    xi, s = patterns_of(1, n_patterns, n), patterns_of(2, 4, n)
    m = analysis.overlaps(xi, s)
    exact = [[float(Fraction(int(p.astype(int) @ q.astype(int)), n)) for p in xi] for q in s]
    assert m.tolist() == exact
    assert np.array_equal(analysis.overlaps(xi, s[2]), m[2])
    assert (np.diag(analysis.overlaps(xi, xi)) == 1).all()
    assert (np.diag(analysis.overlaps(xi, -xi)) == -1).all()


@pytest.mark.parametrize("self_coupling", [False, True])
def test_crosstalk_by_its_sums(self_coupling: bool) -> None:
    """Against the quadruple loop; no negative zeros."""
    for seed in range(25):
        rng = np.random.default_rng(seed)
        xi = patterns_of(seed, int(rng.integers(1, 6)), int(rng.integers(2, 9)))
        c = analysis.crosstalk(xi, self_coupling=self_coupling)
        assert c.tolist() == reference.crosstalk(xi, self_coupling=self_coupling).tolist()
        assert not np.signbit(c[c == 0]).any()


@pytest.mark.parametrize("self_coupling", [False, True])
def test_crosstalk_above_one_is_instability(self_coupling: bool) -> None:
    """C > 1, = 1, < 1 where the exact field is against, absent, with the pattern."""
    seen = {-1: 0, 0: 0, 1: 0}
    for seed in range(60):
        xi = patterns_of(seed, 2 + seed % 11, 12 + seed % 5)
        w = reference.hebb(xi, diagonal=self_coupling)
        aligned = np.sign((xi.astype(int) @ w) * xi)
        c = analysis.crosstalk(xi, self_coupling=self_coupling)
        assert (np.sign(1 - c) == aligned).all()
        for sign in seen:
            seen[sign] += int((aligned == sign).sum())
    assert seen[-1] > 20 and seen[1] > 20
    assert self_coupling or seen[0] > 20, "ties are among the cases"


def test_stability_is_the_field_over_the_length() -> None:
    """Against exact fields; the minimum is of each pattern; the default is Hebb's rule."""
    rng = np.random.default_rng(3)
    for seed in range(20):
        xi = patterns_of(seed, 4, 9)
        w, b = rng.normal(size=(9, 9)), rng.normal(size=9)
        for bias in (None, b):
            found = analysis.stability(xi, w, bias)
            wanted = reference.stability(xi, w, bias)
            assert found.fields == pytest.approx(wanted, rel=1e-12, abs=1e-13)
            assert np.array_equal(found.minimum, found.fields.min(axis=1))
        default = analysis.stability(xi)
        wanted = reference.stability(xi, reference.hebb(xi).astype(float), None)
        assert default.fields == pytest.approx(wanted, rel=1e-15)
        stable = {
            tuple(s) for s in reference.fixed_points_of_numbers(reference.hebb(xi)).tolist()
        }
        assert [tuple(row) in stable for row in xi.tolist()] == (default.minimum >= 0).tolist()


def test_stability_of_units_without_weights() -> None:
    """Infinite with the sign of the bias, 0 without one."""
    w = np.zeros((3, 3))
    kappa = analysis.stability([[1, 1, -1]], w, [2.0, 0.0, 1.0]).fields
    assert kappa.tolist() == [[math.inf, 0.0, -math.inf]]


def test_stability_does_not_depend_on_the_batch() -> None:
    """The same bits for one pattern and for many."""
    xi = patterns_of(4, 30, 70)
    w = np.random.default_rng(4).normal(size=(70, 70))
    together = analysis.stability(xi, w).fields
    for mu in (0, 13, 29):
        assert np.array_equal(analysis.stability(xi[mu], w).fields[0], together[mu])


# --------------------------------------------------------------------------- stable fraction --


def test_stable_fraction_counts_fixed_points() -> None:
    """Equal to the exact count for random networks of many loads."""
    for seed in range(30):
        xi = patterns_of(seed, 1 + seed % 12, 16)
        w = reference.hebb(xi)
        exact = [all(h * x >= 0 for h, x in zip(w @ s.astype(int), s, strict=True)) for s in xi]
        assert analysis.stable_fraction(reference.Network(w), xi) == sum(exact) / len(xi)


def test_learning_rules_at_a_load_of_three_tenths() -> None:
    """N = 100, 30 patterns: Hebb keeps a few per cent, Storkey nearly all, the projector all.

    Hebb's share is (1 - P)^100 with the one-step error P in the mean: 4.3 % at this load.
    """
    n, k, shares = 100, 30, {"hebb": [], "storkey": [], "projector": []}
    for seed in range(20):
        xi = patterns_of(seed, k, n)
        for rule, w in [
            ("hebb", reference.hebb(xi)),
            ("storkey", reference.storkey(xi)),
            ("projector", reference.pseudo_inverse(xi)),
        ]:
            shares[rule].append(analysis.stable_fraction(reference.Network(w), xi))
    assert np.mean(shares["projector"]) == 1
    # "Nearly all", by more than four standard errors over the networks.
    assert np.mean(shares["storkey"]) - 4 * np.std(shares["storkey"]) / math.sqrt(20) > 0.9
    share, p = np.mean(shares["hebb"]), theory.hopfield_bit_error((k - 1) / n)
    # 600 patterns, of which those of one network share their luck: count the networks.
    error = np.std(shares["hebb"]) / math.sqrt(20)
    assert share == pytest.approx((1 - p) ** n, abs=4 * error) and 0.005 < share < 0.12


# ------------------------------------------------------------------------------------ basins --


class Hopeless:
    """Answers with the first unit turned over, always."""

    n_features = 10

    def retrieve(self, states: Any, **options: Any) -> Any:
        assert options == {}
        answer = np.array(states)
        answer[:, 0] *= -1
        return answer


def test_basins_of_one_pattern_reach_half_way() -> None:
    """A network of one pattern comes back from any damage below one half, and not above."""
    xi = patterns_of(0, 1, 31)
    model = reference.Network(reference.hebb(xi))
    found = analysis.basins(model, xi, [0, 0.2, 0.45, 0.55, 1.0], n_trials=30)
    assert found.column("fraction").tolist() == [1, 1, 1, 0, 0]
    assert found.column("overlap").tolist() == [1, 1, 1, -1, -1]
    assert found.column("n_flips").tolist() == [0, 6, 14, 17, 31]
    assert (found.column("n_trials") == 30).all()
    assert len(found) == 5 and "0.4516" in str(found)


def test_basins_add_up() -> None:
    """Counts, overlaps and intervals from the cues themselves, asked one by one."""
    xi = patterns_of(7, 6, 40)
    model = reference.Network(reference.hebb(xi))
    for criterion in (1.0, 0.9):
        found = analysis.basins(model, xi, [0.1, 0.3], 8, 5, criterion, n_steps=20)
        cells = analysis._Cells(model, xi, 8, 5, criterion, {})
        for row in found.rows:
            overlaps = []
            for mu in range(6):
                for cue in cells.cues(row.n_flips, mu):
                    assert (cue != xi[mu]).sum() == row.n_flips
                    overlaps.append(int(model.retrieve([cue], 20)[0] @ xi[mu]) / 40)
            assert row.n_recovered == sum(m >= criterion for m in overlaps)
            assert row.n_trials == 48 and row.fraction == row.n_recovered / 48
            assert row.overlap == pytest.approx(np.mean(overlaps), abs=1e-12)
            wanted = reference.wilson(row.n_recovered, 48)
            assert (row.low, row.high) == pytest.approx(wanted, abs=1e-9)
    assert 0 < found.rows[1].fraction < 1, "the case decides something"


def test_numbers_depend_on_their_coordinates_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither other noise levels, nor their order, nor the batches change a number."""
    xi = patterns_of(8, 5, 30)
    model = reference.Network(reference.hebb(xi))
    levels = [0.3, 0.1, 0.2, 0.3]
    rows = analysis.basins(model, xi, levels, n_trials=7, seed=3).rows
    assert rows[0] == rows[3]
    for level, row in zip(levels, rows, strict=True):
        assert analysis.basins(model, xi, level, n_trials=7, seed=3).rows == (row,)
    model.batches.clear()
    monkeypatch.setattr(analysis, "_BATCH", 1)
    assert analysis.basins(model, xi, levels, n_trials=7, seed=3).rows == rows
    assert set(model.batches) == {7}, "one pattern at a time"
    assert analysis.basins(model, xi, levels, n_trials=7, seed=4).rows != rows


def test_more_trials_keep_those_there_were() -> None:
    """The first cues of a cell are the same for any number of trials."""
    xi = patterns_of(9, 3, 25)
    few = analysis._Cells(None, xi, 4, 1, 1.0, {})
    many = analysis._Cells(None, xi, 9, 1, 1.0, {})
    for n_flips, mu in itertools.product((0, 1, 12, 25), range(3)):
        assert np.array_equal(few.cues(n_flips, mu), many.cues(n_flips, mu)[:4])


def test_every_cell_has_luck_of_its_own() -> None:
    """Which units are flipped differs between patterns, trials, numbers of flips and seeds."""
    xi = patterns_of(9, 3, 60)
    flips = {
        ((cue != xi[mu]).tobytes(), n_flips)
        for seed in (1, 2)
        for n_flips in (20, 21)
        for mu in range(3)
        for cue in analysis._Cells(None, xi, 5, seed, 1.0, {}).cues(n_flips, mu)
    }
    # Two of C(60, 20) = 4e15 subsets are the same with a chance of 1e-12 among 60.
    assert len(flips) == 2 * 2 * 3 * 5
    # Nor is a cell of 21 flips that of 20 and one more: of 20 some 7 are shared by chance.
    cells = analysis._Cells(None, xi, 5, 1, 1.0, {})
    shared = ((cells.cues(20, 0) != xi[0]) & (cells.cues(21, 0) != xi[0])).sum(axis=1)
    assert (shared < 20).all()


def test_every_unit_is_flipped_as_often() -> None:
    """Flips are uniform: chi-square over the units within 5 standard deviations of its mean."""
    xi = patterns_of(9, 1, 50)
    n = 4000
    cues = analysis._Cells(None, xi, n, 0, 1.0, {}).cues(20, 0)
    counts, p = (cues != xi).sum(axis=0), 20 / 50
    # Without replacement the counts of the units sum to a constant: 49 degrees of freedom.
    square = ((counts - n * p) ** 2 / (n * p * (1 - p))).sum() * 49 / 50
    assert abs(square - 49) < 5 * math.sqrt(2 * 49)


def test_basins_of_other_memories() -> None:
    """A `uhn.Memory` whose separation is max, and a network of 0 and 1, the same way."""
    xi = patterns_of(2, 20, 60)
    memory = uhn.Memory(xi, separation="max")
    found = analysis.basins(memory, xi, [0.0, 0.25], n_trials=3)
    nearest = analysis._Cells(memory, xi, 3, 0, 1.0, {})
    wins = [
        int((xi.astype(int) @ cue).argmax()) == mu
        for mu in range(20)
        for cue in nearest.cues(15, mu).astype(int)
    ]
    assert found.rows[0].fraction == 1 and found.rows[1].n_recovered == sum(wins)
    few = xi[:4]
    bipolar = reference.Network(reference.hebb(few))
    binary = reference.Network(reference.hebb(few), coding="binary")
    one = analysis.basins(bipolar, few, [0.2, 0.4], seed=1)
    other = analysis.basins(binary, (few + 1) // 2, [0.2, 0.4], seed=1)
    assert one.rows == other.rows
    assert analysis.stable_fraction(binary, (few + 1) // 2) == 1


def test_options_reach_the_model() -> None:
    """What is not an argument goes to the model; its own seed by the name of order_seed."""
    asked: list[dict[str, Any]] = []

    class Echo:
        n_features = 6

        def retrieve(self, states: Any, **options: Any) -> Any:
            asked.append(options)
            return np.array(states)

        def recall(self, states: Any, **options: Any) -> Any:
            asked.append(options)
            return uhn.Recall(states, 0, np.full(len(states), "fixed point"), 0)

    xi = patterns_of(0, 2, 6)
    analysis.basins(Echo(), xi, 0.2, order_seed=3, mode="async")
    analysis.critical_distance(Echo(), xi, order_seed=4)
    analysis.sample_fixed_points(Echo(), 5, order_seed=5, n_steps=2)
    analysis.stable_fraction(Echo(), xi, tie="+1")
    analysis.fixed_points(Echo(), n_steps=2)
    assert asked[0] == {"mode": "async", "seed": 3}
    assert asked[1] == {"seed": 4}
    assert asked[-3:] == [
        {"n_steps": 2, "seed": 5},
        {"n_steps": 1, "tie": "+1"},
        {"n_steps": 2},
    ]


def test_denoising_at_a_low_load() -> None:
    """N = 400, 10 patterns, a quarter of the bits flipped: 200 of 200 come back exactly."""
    xi = patterns_of(0, 10, 400)
    model = reference.Network(reference.hebb(xi))
    row = analysis.basins(model, xi, 0.25, n_trials=20).rows[0]
    assert (row.n_recovered, row.n_trials) == (200, 200)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "start", "n_of_16"),
    [(0.05, 0.2, 9), (0.05, 0.3, 16), (0.10, 0.3, 0), (0.10, 0.5, 15), (0.12, 0.5, 12)],
)
def test_basins_of_1000_units(load: float, start: float, n_of_16: int) -> None:
    """The fraction that comes within an overlap of 0.9, by the overlap of the cue.

    Against an earlier simulation of 16 runs: two fractions of 16 and 64 trials within four
    standard errors of their difference.
    """
    xi = patterns_of(6, round(load * 1000), 1000)
    model = reference.Network(reference.hebb(xi) / 1000)
    row = analysis.basins(model, xi[:32], (1 - start) / 2, 2, criterion=0.9, n_steps=30).rows[0]
    pooled = (row.n_recovered + n_of_16 + 1) / (64 + 16 + 2)
    error = math.sqrt(pooled * (1 - pooled) * (1 / 16 + 1 / 64))
    assert row.fraction == pytest.approx(n_of_16 / 16, abs=4 * error)


# ------------------------------------------------------------------------- critical distance --


def test_critical_distance_is_where_half_comes_back() -> None:
    """Between two neighbours of `basins` on either side of one half, on the line between."""
    xi = patterns_of(11, 8, 60)
    model = reference.Network(reference.hebb(xi))
    found = analysis.critical_distance(model, xi, n_trials=6, seed=2)
    all_rows = analysis.basins(model, xi, np.arange(31) / 60, n_trials=6, seed=2).rows
    assert set(found.rows) <= set(all_rows) and len(found.rows) < 20
    k = math.floor(found.noise * 60)
    above, below = all_rows[k].fraction, all_rows[k + 1].fraction
    assert above > 0.5 >= below
    assert found.noise == pytest.approx((k + (above - 0.5) / (above - below)) / 60, abs=1e-12)
    assert 0 < found.low <= found.noise <= found.high < 0.5
    low, high = round(found.low * 60), round(found.high * 60)
    assert all_rows[low].low > 0.5 >= all_rows[low + 1].low
    assert all_rows[high - 1].high > 0.5 >= all_rows[high].high


def test_critical_distance_at_the_ends() -> None:
    """One pattern comes back from all damage below one half; a hopeless memory from none."""
    xi = patterns_of(0, 1, 21)
    found = analysis.critical_distance(reference.Network(reference.hebb(xi)), xi)
    assert (found.noise, found.high) == (0.5, 0.5) and found.low > 0.4
    found = analysis.critical_distance(Hopeless(), patterns_of(0, 3, 10))
    assert (found.noise, found.low) == (0, 0)


# ------------------------------------------------------------------------------ fixed points --


def test_a_landscape_of_two_patterns() -> None:
    """N = 10, +++++----- and +-+-+-+-+-: four fixed points, each of energy -42."""
    first = np.array([1] * 5 + [-1] * 5)
    second = np.array([1, -1] * 5)
    found = analysis.fixed_points(reference.hebb(np.array([first, second])))
    assert sets(found.states) == sets([first, -first, second, -second])
    assert found.energies is not None and found.energies.tolist() == [-42] * 4
    assert found.n_samples == 1024 and found.counts is None and len(found) == 4
    assert found.states.dtype == np.int8 and repr(found) == "FixedPoints(4 of 1024 all states)"


def test_one_pattern_has_two_fixed_points() -> None:
    """Mattis: +-xi and nothing else, E = -(N^2 - N) / 2."""
    for n in range(3, 15):
        xi = patterns_of(n, 1, n)
        found = analysis.fixed_points(reference.hebb(xi))
        assert sets(found.states) == sets([xi[0], -xi[0]])
        assert found.energies.tolist() == [-(n * n - n) / 2] * 2


@pytest.mark.parametrize("n", range(1, 8))
def test_small_landscapes_in_exact_arithmetic(n: int) -> None:
    """Whole numbers and real ones, with and without bias, diagonal and symmetry."""
    rng = np.random.default_rng(n)
    n_found = 0
    for case in range(2 * (9 - n)):
        whole = case % 2 == 0
        w = rng.integers(-3, 4, (n, n)).astype(float) if whole else rng.normal(size=(n, n))
        if case % 3:
            w = w + w.T
        if case % 4 < 2:
            np.fill_diagonal(w, 0)
        for b in (None, rng.integers(-2, 3, n).astype(float) if whole else rng.normal(size=n)):
            found = analysis.fixed_points(w, b)
            assert sets(found.states) == sets(reference.fixed_points(w, b))
            n_found += len(found)
            if not (w == w.T).all():
                assert found.energies is None
                codes = ((found.states.astype(int) + 1) // 2) @ (1 << np.arange(n))
                assert (np.diff(codes) > 0).all()
                continue
            energies = [reference.energy(w, b, s) for s in found.states]
            assert found.energies == pytest.approx(energies, rel=1e-12, abs=1e-12)
            assert (np.diff(found.energies) >= 0).all()
            if whole:
                assert found.energies.tolist() == energies
    assert n_found > 10


def test_many_landscapes_against_one_matrix_product() -> None:
    """Hundreds of networks of 3 to 10 units, whole-numbered (ties abound) and Gaussian."""
    rng = np.random.default_rng(0)
    for case in range(400):
        n = 3 + case % 8
        if case % 2:
            w = rng.integers(-2, 3, (n, n))
            b = rng.integers(-1, 2, n) if case % 3 else None
        else:
            w = rng.normal(size=(n, n))
            b = rng.normal(size=n) if case % 3 else None
        w = w + w.T
        found = analysis.fixed_points(w, b)
        assert sets(found.states) == sets(reference.fixed_points_of_numbers(w, b)), case


@pytest.mark.parametrize("n", [5, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17])
def test_landscapes_where_words_vectors_and_blocks_end(n: int) -> None:
    """Around 2^6 states a word, 8 units a vector, 2^12 states a block."""
    rng = np.random.default_rng(n)
    for w in (rng.integers(-2, 3, (n, n)), rng.normal(size=(n, n))):
        w = w + w.T
        b = rng.integers(-2, 3, n)
        found = analysis.fixed_points(w, b)
        states = 2 * ((np.arange(1 << n)[:, None] >> np.arange(n)) & 1) - 1
        wanted = states[((states @ w + b) * states >= 0).all(axis=1)]
        assert sets(found.states) == sets(wanted) and len(found) == len(wanted)


def test_ties_survive_a_scale() -> None:
    """Hebb's weights over N, which no double holds exactly, have the ties of whole numbers."""
    n_ties = 0
    for seed in range(60):
        n, k = 5 + seed % 7, 2 + seed % 4
        xi = patterns_of(seed, k, n)
        w = reference.hebb(xi)
        exact = reference.fixed_points_of_numbers(w)
        h = exact.astype(int) @ w
        n_ties += int((h == 0).any(axis=1).sum())
        for scaled in (w / n, w / 3, w * (1 / n), w * 0.1):
            assert sets(analysis.fixed_points(scaled).states) == sets(exact)
    assert n_ties > 50


def test_a_field_just_off_zero_is_no_tie() -> None:
    """Two weights that differ in one of the last places decide; equal ones do not."""
    for less in (0.0, 2.0**-40, 2.0**-30):
        w = np.zeros((3, 3))
        w[0, 1], w[0, 2] = 1.0, 1.0 - less
        states = sets(analysis.fixed_points(w).states)
        # With units 1 and 2 apart the field of unit 0 has the sign of unit 1, or is 0.
        assert ((-1, 1, -1) in states) is (less == 0.0)
        assert (1, 1, -1) in states


def test_everything_rests_without_weights() -> None:
    """All states; too many of them are refused."""
    assert len(analysis.fixed_points(np.zeros((9, 9)))) == 512
    assert len(analysis.fixed_points([[0.0]])) == 2
    assert analysis.fixed_points(np.zeros((2, 2)), [1.0, -0.5]).states.tolist() == [[1, -1]]
    with pytest.raises(ValueError, match="more than 1048576 fixed points"):
        analysis.fixed_points(np.zeros((21, 21)))


def test_a_large_diagonal_holds_everything() -> None:
    """With w_ii above the sum of the others every state rests; all are looked at twice."""
    rng = np.random.default_rng(5)
    w = rng.random((13, 13))
    w = w + w.T + 30 * np.eye(13)
    assert len(analysis.fixed_points(w)) == 1 << 13


def test_a_million_states_take_a_moment() -> None:
    """2^20 states of 20 units, and the states that were stored are among the fixed points."""
    xi = patterns_of(3, 2, 20)
    begin = time.perf_counter()
    found = analysis.fixed_points(reference.hebb(xi))
    assert time.perf_counter() - begin < (20 if SANITIZED else 2)
    assert sets(np.concatenate([xi, -xi])) <= sets(found.states)
    w = np.random.default_rng(6).normal(size=(20, 20))
    begin = time.perf_counter()
    found = analysis.fixed_points(w + w.T)
    assert time.perf_counter() - begin < (20 if SANITIZED else 2)
    h = found.states @ (w + w.T)
    assert len(found) > 1 and (h * found.states >= 0).all()


def test_landscapes_do_not_depend_on_threads() -> None:
    """States, their order and the bits of their energies for 1, 2 and 5 threads."""
    before = uhn.get_num_threads()
    rng = np.random.default_rng(8)
    w = rng.normal(size=(17, 17))
    w, b = w + w.T, rng.normal(size=17)
    answers = []
    try:
        for n in (1, 2, 5):
            uhn.set_num_threads(n)
            found = analysis.fixed_points(w, b)
            answers.append((found.states.tobytes(), found.energies.tobytes()))
    finally:
        uhn.set_num_threads(before)
    assert len(set(answers)) == 1 and answers[0][0]


def test_landscapes_from_many_threads_at_once() -> None:
    """Calls share nothing: each finds what it finds alone."""
    cases = [reference.hebb(patterns_of(seed, 3, 13)) for seed in range(4)]
    wanted = [analysis.fixed_points(w).states.tobytes() for w in cases]
    got: list[Any] = [None] * 8

    def ask(i: int) -> None:
        got[i] = analysis.fixed_points(cases[i % 4]).states.tobytes()

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == wanted + wanted


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill sends no SIGINT on Windows")
@pytest.mark.parametrize("n_threads", [1, 2])
def test_interrupt_stops_a_large_landscape(n_threads: int) -> None:
    """Ctrl-C ends the search of 2^30 states at once, and the next call works."""
    before = uhn.get_num_threads()
    uhn.set_num_threads(n_threads)
    w = reference.hebb(patterns_of(1, 3, 30)).astype(float)

    def send() -> None:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    begin = time.monotonic()
    sender.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            analysis.fixed_points(w)
        assert time.monotonic() - begin < 0.2 + 1.0
    finally:
        sender.join()
        uhn.set_num_threads(before)
    assert len(analysis.fixed_points(w[:5, :5])) >= 2


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("degree", [2, 3, 4])
def test_fixed_points_of_a_model_are_asked_for(degree: int, rectified: bool) -> None:
    """A dense memory rests where no flip lowers the energy: XOR and random patterns."""
    xor = np.array([[-1, -1, -1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    for xi in (xor, patterns_of(4, 6, 9)):
        model = reference.Dense(xi, degree, rectified=rectified)
        found = analysis.fixed_points(model)
        assert sets(found.states) == sets(model.fixed_points())
        assert np.array_equal(found.energies, model.energy(found.states))
        assert found.n_samples == 1 << xi.shape[1]
    only = analysis.fixed_points(reference.Dense(xor, degree, rectified=rectified))
    if rectified or degree % 2:
        assert sets(only.states) == sets(xor), "the gate is learnt"
    else:
        assert len(only) == 8, "all states are as low: ties everywhere"


def test_a_model_and_its_weights_agree() -> None:
    """The states a network leaves alone are those of its matrix, in its own coding."""
    rng = np.random.default_rng(3)
    w = rng.integers(-3, 4, (8, 8))
    w = w + w.T
    np.fill_diagonal(w, 0)
    b = rng.integers(-2, 3, 8)
    listed = analysis.fixed_points(w, b)
    asked = analysis.fixed_points(reference.Network(w, b))
    assert np.array_equal(listed.states, asked.states)
    assert np.array_equal(listed.energies, asked.energies)
    binary = analysis.fixed_points(reference.Network(w, b, coding="binary"))
    assert np.array_equal(binary.states, (listed.states + 1) // 2)


def test_a_model_without_energy() -> None:
    """None in place of energies, and the order is that of the bits."""
    found = analysis.fixed_points(
        uhn.Memory([[1, 1, -1], [-1, 1, 1]], similarity="manhattan", separation="max")
    )
    assert found.energies is None
    assert found.states.tolist() == [[1, 1, -1], [-1, 1, 1]]


# ----------------------------------------------------------------------------------- samples --


def test_samples_find_what_there_is() -> None:
    """Every state that starts come to is a fixed point; counts add up; nothing is left over."""
    xi = patterns_of(13, 3, 14)
    w = reference.hebb(xi)
    model = reference.Network(w)
    every = analysis.fixed_points(w)
    found = analysis.sample_fixed_points(model, 3000, seed=5)
    assert sets(found.states) <= sets(every.states)
    assert sets(np.concatenate([xi, -xi])) <= sets(found.states)
    assert found.counts is not None and found.counts.sum() == 3000 == found.n_samples
    assert found.counts.dtype == np.int64 and len(sets(found.states)) == len(found)
    assert np.array_equal(found.energies, model.energy(found.states))
    assert (np.diff(found.energies) >= 0).all()


def test_samples_are_the_same_for_any_number() -> None:
    """The first starts do not depend on how many there are, nor counts on the blocks."""
    model = reference.Network(reference.hebb(patterns_of(13, 3, 12)))

    def counts(n: int, **options: Any) -> dict[tuple[int, ...], int]:
        found = analysis.sample_fixed_points(model, n, **options)
        rows = [tuple(row) for row in found.states.tolist()]
        return dict(zip(rows, found.counts.tolist(), strict=True))

    starts: list[Any] = []

    class Recorder(reference.Network):
        def recall(self, states: Any, n_steps: int = 100) -> Any:
            starts.append(np.array(states))
            return super().recall(states, n_steps)

    for n in (700, 1500, 3000):
        analysis.sample_fixed_points(Recorder(model.weights), n)
    assert [len(block) for block in starts] == [700, 1024, 476, 1024, 1024, 952]
    assert np.array_equal(starts[0], starts[1][:700])
    assert np.array_equal(starts[1], starts[3]) and np.array_equal(starts[2], starts[4][:476])
    assert not np.array_equal(starts[3], starts[4]), "each block has starts of its own"
    assert set(np.unique(starts[0])) == {-1, 1} and abs(starts[3].mean()) < 5 / math.sqrt(12288)
    few, more = counts(700), counts(1500)
    assert all(more[state] >= count for state, count in few.items())
    assert counts(1500) == more and counts(1500, seed=1) != more
    assert counts(1) and sum(counts(1).values()) == 1


def test_starts_that_do_not_rest_are_left_out() -> None:
    """With no step nothing rests; the answer is empty and whole."""
    model = reference.Network(reference.hebb(patterns_of(1, 2, 9)))
    found = analysis.sample_fixed_points(model, 50, n_steps=0)
    assert len(found) == 0 and found.states.shape == (0, 9) and found.n_samples == 50
    assert found.counts.sum() == 0 and found.energies is None


# ---------------------------------------------------------------------------- classification --


@pytest.mark.parametrize("n_patterns", [9, 25])
@pytest.mark.parametrize("n_mixed", [3, 5, 7, 9])
def test_mixtures_are_recognised(n_patterns: int, n_mixed: int) -> None:
    """Members and signs come back; overlaps and energies are those of theory.

    An overlap of N independent units has a standard error of at most N^(-1/2); the energy
    -N/2 sum m^2 over all patterns follows from it.
    """
    n = 4001
    rng = np.random.default_rng(n_mixed)
    xi = patterns_of(n_mixed, n_patterns, n)
    states, made = [], []
    for _ in range(4):
        members = np.sort(rng.permutation(n_patterns)[:n_mixed])
        signs = rng.choice([-1, 1], n_mixed)
        states.append(np.sign(signs @ xi[members].astype(int)))
        made.append((tuple(members.tolist()), tuple(signs.tolist())))
    found = analysis.classify(np.array(states), xi)
    assert found.kind.tolist() == ["mixture"] * 4
    assert list(zip(found.members, found.signs, strict=True)) == made
    m = analysis.overlaps(xi, np.array(states))
    m_n, error = theory.mixture_overlap(n_mixed), 1 / math.sqrt(n)
    for row, (members, signs) in zip(m, made, strict=True):
        assert row[list(members)] * signs == pytest.approx(m_n, abs=5 * error)
        energy = -0.5 * (row**2).sum()
        wanted = theory.mixture_energy(n_mixed)
        off = n_mixed * m_n * 5 * error + n_patterns * (5 * error) ** 2 / 2
        assert energy == pytest.approx(wanted, abs=off)


def test_patterns_ghosts_and_strangers() -> None:
    """Patterns and their negatives by index and sign; a random state is unknown."""
    xi = patterns_of(1, 12, 100)
    states = np.concatenate([xi, -xi, patterns_of(99, 3, 100)])
    found = analysis.classify(states, xi)
    assert found.kind.tolist() == ["pattern"] * 12 + ["ghost"] * 12 + ["unknown"] * 3
    assert found.index[:24].tolist() == list(range(12)) * 2
    assert found.members[:24] == tuple((i,) for i in range(12)) * 2
    assert found.signs[:24] == ((1,),) * 12 + ((-1,),) * 12
    assert found.members[24:] == ((), (), ()) == found.signs[24:]
    m = analysis.overlaps(xi, states)
    assert np.array_equal(found.index, np.abs(m).argmax(axis=1))
    assert np.array_equal(found.overlap, m[np.arange(27), found.index])
    assert found.counts() == {"pattern": 12, "ghost": 12, "mixture": 0, "unknown": 3}
    assert len(found) == 27 and len(analysis.classify(xi[3], xi)) == 1


def test_a_few_wrong_bits_may_count() -> None:
    """With a criterion below 1 a retrieval state is its pattern."""
    xi = patterns_of(1, 5, 100)
    state = xi[2].copy()
    state[:3] *= -1
    assert analysis.classify(state, xi).kind[0] == "unknown"
    assert analysis.classify(state, xi, criterion=0.94).kind[0] == "pattern"
    assert analysis.classify(-state, xi, criterion=0.94).kind[0] == "ghost"


def test_every_mixture_of_few_patterns_is_known() -> None:
    """All sums of 3 and 5 of 5 patterns of few units, where overlaps alone would mislead."""
    for seed in range(6):
        xi = patterns_of(seed, 5, 9)
        three, five = reference.mixtures(xi, 3), reference.mixtures(xi, 5)
        states = np.array([np.frombuffer(key, dtype=np.int8) for key in [*three, *five]])
        found = analysis.classify(states, xi)
        single = sets(np.concatenate([xi, -xi]))
        for i, state in enumerate(states):
            key = state.tobytes()
            if tuple(state.tolist()) in single:
                assert found.kind[i] in ("pattern", "ghost")
                continue
            assert found.kind[i] == "mixture"
            ways = three.get(key) or five[key]
            assert (found.members[i], found.signs[i]) == ways[0], "the fewest, then the first"
        limited = analysis.classify(states, xi, max_mixed=3)
        for i, state in enumerate(states):
            known = state.tobytes() in three or tuple(state.tolist()) in single
            assert (limited.kind[i] != "unknown") is known
        none = analysis.classify(states, xi, max_mixed=1)
        assert none.counts()["mixture"] == 0


def test_patterns_with_a_product_relation() -> None:
    """Four Hadamard rows, the fourth the product of three: a mixture as low as the patterns.

    The majority of three signs is (a + b + c - abc) / 2, so that the mixture of the first three
    has overlaps 1/2, 1/2, 1/2, -1/2, a field along itself, and the energy of a pattern. It is
    an even sum as well: with patterns so related these need not be unstable.
    """
    h = np.array([[1]])
    for _ in range(4):
        h = np.block([[h, h], [h, -h]])
    xi = np.array([h[1], h[2], h[4], h[1] * h[2] * h[4]])
    mixture = np.sign(xi[:3].sum(axis=0))
    assert (2 * mixture == xi[0] + xi[1] + xi[2] - xi[3]).all()
    assert analysis.overlaps(xi, mixture).tolist() == [0.5, 0.5, 0.5, -0.5]
    landscape = analysis.fixed_points(reference.hebb(xi))
    assert sets([mixture, -mixture]) <= sets(landscape.states)
    energy = dict(zip(map(tuple, landscape.states.tolist()), landscape.energies, strict=True))
    assert energy[tuple(mixture)] == energy[tuple(xi[0])] == -(16 * 16 - 16 * 4) / 2
    kinds = analysis.classify(landscape.states, xi)
    assert kinds.counts()["pattern"] == kinds.counts()["ghost"] == 4
    row = [tuple(s) for s in landscape.states.tolist()].index(tuple(mixture))
    assert kinds.kind[row] == "mixture"
    assert (kinds.members[row], kinds.signs[row]) == ((0, 1, 2), (1, 1, 1))


def test_a_whole_landscape_is_told_apart() -> None:
    """Three patterns of 15 units: every fixed point found by brute force gets its name."""
    xi = patterns_of(21, 3, 15)
    landscape = analysis.fixed_points(reference.hebb(xi))
    found = analysis.classify(landscape.states, xi)
    three = reference.mixtures(xi, 3)
    for state, kind in zip(landscape.states, found.kind, strict=True):
        if (state == xi).all(axis=1).any():
            assert kind == "pattern"
        elif (state == -xi).all(axis=1).any():
            assert kind == "ghost"
        else:
            assert (kind == "mixture") == (state.tobytes() in three)


def test_results_survive_a_pickle() -> None:
    """Every kind of result comes back equal from bytes."""
    xi = patterns_of(1, 3, 12)
    model = reference.Network(reference.hebb(xi))
    basins = analysis.basins(model, xi, [0.1, 0.4])
    assert pickle.loads(pickle.dumps(basins)) == basins
    critical = analysis.critical_distance(model, xi)
    assert pickle.loads(pickle.dumps(critical)) == critical
    for result in (
        analysis.fixed_points(model.weights),
        analysis.classify(xi, xi),
        analysis.stability(xi),
    ):
        copy = pickle.loads(pickle.dumps(result))
        for name in getattr(result, "__dict__", None) or result._fields:
            assert np.array_equal(getattr(copy, name), getattr(result, name)), name


# --------------------------------------------------------------------------------- bad input --

XI = [[1, 1, -1, -1], [1, -1, 1, -1]]
NETWORK = reference.Network(reference.hebb(np.array(XI)))


class Wide:
    n_features = 4

    def retrieve(self, states: Any, **options: Any) -> Any:
        return np.ones((len(states), 7))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: analysis.overlaps([[1, 0]], [1, 1]), r"patterns\[0, 1\] is 0"),
        (lambda: analysis.overlaps(XI, [1, 1, 1]), "4"),
        (lambda: analysis.overlaps(XI, [1, 1, 1, math.nan]), "NaN"),
        (lambda: analysis.crosstalk([[1], [1]]), "1 feature"),
        (lambda: analysis.stability(XI, np.eye(3)), r"\(4, 4\)"),
        (lambda: analysis.stability(XI, np.ones((4, 3))), "square"),
        (lambda: analysis.stability(XI, np.eye(4), np.ones((2, 4))), "one number a unit"),
        (lambda: analysis.fixed_points([1.0, 2.0]), "square"),
        (lambda: analysis.fixed_points(np.eye(31)), "1 to 30 units"),
        (lambda: analysis.fixed_points([[math.inf]]), "weights"),
        (lambda: analysis.fixed_points([[1e308, 1e308], [1e308, 1e308]]), "finite"),
        (lambda: analysis.fixed_points(np.eye(2), [1.0, 2.0, 3.0]), "bias"),
        (lambda: analysis.fixed_points(np.eye(2), n_steps=3), "options are for models"),
        (lambda: analysis.fixed_points(NETWORK, [1.0] * 4), "bias goes with"),
        (lambda: analysis.fixed_points(uhn.Memory(np.ones((1, 21)))), "1 to 20"),
        (lambda: analysis.fixed_points(Wide()), "Wide.retrieve"),
        (lambda: analysis.basins(NETWORK, XI, 1.5), "noise"),
        (lambda: analysis.basins(NETWORK, XI, math.nan), "noise"),
        (lambda: analysis.basins(NETWORK, XI, n_trials=0), "n_trials"),
        (lambda: analysis.basins(NETWORK, XI, criterion=2), "criterion"),
        (lambda: analysis.basins(NETWORK, XI, seed=-1), "seed"),
        (lambda: analysis.basins(NETWORK, np.empty((0, 4))), "no pattern"),
        (lambda: analysis.critical_distance(NETWORK, XI, n_trials=-1), "n_trials"),
        (lambda: analysis.stable_fraction(NETWORK, np.empty((0, 4))), "no pattern"),
        (lambda: analysis.sample_fixed_points(NETWORK, 0), "n_samples"),
        (lambda: analysis.classify(XI, XI, max_mixed=11), "max_mixed"),
        (lambda: analysis.classify(XI, XI, criterion=0), "criterion"),
        (lambda: analysis.classify(XI, np.empty((0, 4))), "no pattern"),
    ],
)
def test_bad_input_is_named(call: Any, words: str) -> None:
    """A ValueError that says which argument, and what would do."""
    with pytest.raises(ValueError, match=words):
        call()


def test_the_binding_refuses_what_it_is_not_made_for() -> None:
    """Arrays of another type or shape, and sizes out of range, without a crash."""
    ask = uhn._core._landscape_fixed_points
    good = np.zeros((3, 3))
    for arguments in [(), (good,), (good, None, None), (None, None), (good.tolist(), None)]:
        with pytest.raises(TypeError):
            ask(*arguments)
    for w in (good.astype(np.float32), np.zeros(9), np.zeros((3, 4)).T[:3].T, good[::-1]):
        if w.flags.c_contiguous and w.dtype == np.float64 and w.ndim == 2:
            continue
        with pytest.raises(TypeError):
            ask(w, None)
    for w, b in [
        (np.zeros((0, 0)), None),
        (np.zeros((31, 31)), None),
        (np.zeros((2, 3)), None),
        (good, np.zeros(4)),
        (np.full((3, 3), np.nan), None),
    ]:
        with pytest.raises(ValueError):
            ask(w, b)


def test_every_public_name_explains_itself() -> None:
    """Each function and result of the module has a docstring."""
    for name in analysis.__all__:
        assert len(getattr(analysis, name).__doc__) > 40, name


def test_progress_is_reported() -> None:
    memory = uhn.Memory([[1.0, 1, -1, -1], [1, -1, 1, -1]], separation="max")
    seen: list[float] = []
    analysis.basins(memory, [[1, 1, -1, -1]], [0, 0.25, 0.5, 0.5], on_progress=seen.append)
    assert seen == [0.25, 0.5, 0.75, 1.0]
    seen.clear()
    analysis.sample_fixed_points(memory, 1500, on_progress=seen.append)
    assert seen == [1024 / 1500, 1.0]
