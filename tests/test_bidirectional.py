"""Kosko's two layers: his pairs, descent and rest for any weights, errors and capacity."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

import reference_continuous as twin
import uhn
from uhn.models import BidirectionalAssociativeMemory

Array = np.ndarray

#: Kosko's two pairs, as he writes them.
A = np.array([[1, 0, 1, 0, 1, 0], [1, 1, 1, 0, 0, 0]])
B = np.array([[1, 1, 0, 0], [1, 0, 1, 0]])
M = np.array(
    [[2, 0, 0, -2], [0, -2, 2, 0], [2, 0, 0, -2], [-2, 0, 0, 2], [0, 2, -2, 0], [-2, 0, 0, 2]]
)


def pairs(seed, n=12, p=9, count=4):
    rng = np.random.default_rng(seed)
    return rng.choice([-1, 1], (count, n)), rng.choice([-1, 1], (count, p))


def filled(X, Y, **more):
    memory = BidirectionalAssociativeMemory(X.shape[1], Y.shape[1], **more)
    memory.store(X, Y)
    return memory


# ---------------------------------------------------------------------------- Kosko's pairs --


def test_koskos_pairs() -> None:
    """The matrix, the fields, both energies, and a bit that is put right."""
    memory = filled(A, B, coding="binary")
    assert np.array_equal(memory.weights, M) and memory.weights.dtype == np.float64
    assert (A @ M).tolist() == [[4, 2, -2, -4], [4, -2, 2, -4]]
    assert np.array_equal(memory.retrieve(A), B) and np.array_equal(memory.retrieve_back(B), A)
    assert memory.energy(A, B).tolist() == [-24, -24]
    assert [-(a @ M @ b) for a, b in zip(A, B, strict=True)] == [-6, -6]
    noisy = np.array([0, 1, 1, 0, 0, 0])
    assert (noisy @ M).tolist() == [2, -2, 2, -2]
    found = memory.recall(noisy)
    assert np.array_equal(found.state, A[1]) and np.array_equal(found.partner, B[1])
    assert found.status == "fixed point" and found.energy == -24 and found.change == 0


def test_units_of_0_and_1_are_a_quarter_of_the_weights_and_biases() -> None:
    """-x W y with x = (s + 1) / 2 and y = (t + 1) / 2, less a constant: his energies -6."""
    bias, value_bias = M.sum(axis=1) / 4, M.sum(axis=0) / 4
    memory = BidirectionalAssociativeMemory.from_weights(
        M / 4, bias=bias, value_bias=value_bias, coding="binary"
    )
    assert (memory.energy(A, B) - M.sum() / 4).tolist() == [-6, -6]
    assert np.array_equal(memory.retrieve(A), B)


def test_codings_are_two_ways_to_write() -> None:
    bipolar, binary = filled(2 * A - 1, 2 * B - 1), filled(A, B, coding="binary")
    assert np.array_equal(bipolar.weights, binary.weights)
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2, (30, 6))
    assert np.array_equal(bipolar.retrieve(2 * x - 1), 2 * binary.retrieve(x) - 1)
    assert np.array_equal(bipolar.patterns, 2 * A - 1) and np.array_equal(binary.patterns, A)
    assert np.array_equal(bipolar.values, 2 * B - 1) and np.array_equal(binary.values, B)
    one, two = bipolar.recall(2 * x - 1), binary.recall(x)
    assert np.array_equal(one.overlaps, two.overlaps) and np.array_equal(one.energy, two.energy)
    # A unit that changes goes from -1 to 1, or from 0 to 1.
    one, two = bipolar.recall(2 * x - 1, n_steps=1), binary.recall(x, n_steps=1)
    moved = (one.status == "step limit").astype(float)
    assert moved.any() and not moved.all()
    assert np.array_equal(one.change, 2 * moved) and np.array_equal(two.change, moved)


# ------------------------------------------------------------------------- descent and rest --


def test_every_recall_is_the_twins() -> None:
    """Whole and real weights, with biases and without, from either layer and from both."""
    sides = {"states": 0, "values": 0, "both": 0}
    for seed in range(300):
        rng = np.random.default_rng([2, seed])
        n, p, count = (int(k) for k in rng.integers(1, 10, 3))
        X, Y = pairs([3, seed], n, p, count)
        real = seed % 3 == 1
        W = rng.standard_normal((n, p)) if real else twin.outer_products(X, Y)
        b = rng.integers(-3, 4, n) * float(seed % 2)
        c = rng.integers(-3, 4, p) * float(seed % 2)
        if seed % 3 == 0:
            memory = filled(X, Y, bias=b, value_bias=c)
        else:
            memory = BidirectionalAssociativeMemory.from_weights(W, bias=b, value_bias=c)
        assert np.array_equal(memory.weights, W)
        x, y = rng.choice([-1, 1], n), rng.choice([-1, 1], p)
        side = list(sides)[seed % 3 if real else seed // 3 % 3]
        sides[side] += 1
        given = {"states": {"states": x}, "values": {"values": y}}
        found = memory.recall(**given.get(side, {"states": x, "values": y}), trace=True)
        x0 = x if side != "values" else np.full(n, -1)
        y0 = y if side != "states" else np.full(p, -1)
        xs, ys, energies = twin.pair_recall(W, x0, y0, b, c, side != "values")
        assert np.array_equal(found.state, xs) and np.array_equal(found.partner, ys), seed
        # Real weights: n p roundings of numbers below |W|.
        error = n * p * np.abs(W).sum() * 2**-52 if real else 0
        np.testing.assert_allclose(found.trace.energies, energies[::2], rtol=0, atol=error)
        assert found.energy == pytest.approx(energies[-1], rel=0, abs=error)
        assert memory.energy(xs, ys) == found.energy and isinstance(found.energy, float)
        assert (np.diff(energies) <= error).all(), "no half step raises it"
        assert found.status == "fixed point"
    assert min(sides.values()) > 50


@pytest.mark.parametrize("whole", [True, False])
def test_any_weights_come_to_rest_without_cycles(whole) -> None:
    """Neither symmetry nor patterns are needed: a half step that changes anything descends."""
    rested = 0
    for seed in range(30):
        rng = np.random.default_rng([4, seed])
        n, p = (int(k) for k in rng.integers(2, 40, 2))
        W = rng.integers(-2, 3, (n, p)) if whole else rng.standard_normal((n, p))
        memory = BidirectionalAssociativeMemory.from_weights(
            W, bias=rng.integers(-1, 2, n), value_bias=rng.integers(-1, 2, p)
        )
        x, y = rng.choice([-1, 1], (100, n)), rng.choice([-1, 1], (100, p))
        found = memory.recall(x, y, n_steps=1000, trace=True)
        assert (found.status == "fixed point").all() and found.converged.all()
        fell = -np.diff(found.trace.energies, axis=0)
        moved = (np.diff(found.trace.states, axis=0) != 0).any(axis=2)
        # Two energies, each a sum over one layer of sums over the other.
        rounding = 0 if whole else 2 * (n + p + 8) * 2.0**-53 * np.abs(W).sum()
        assert (fell >= -rounding).all() and (fell[moved] > 0).all()
        again = memory.recall(found.state, found.partner)
        assert np.array_equal(again.state, found.state) and (again.n_steps == 1).all()
        rested += len(x)
    assert rested == 3000
    assert memory.lyapunov() and memory.lyapunov("sync")


def test_a_unit_without_a_field_keeps_its_state() -> None:
    """One pair, and a start at right angles to it: nothing may change."""
    memory = filled(np.array([[1, 1, 1, 1]]), np.array([[1, 1]]))
    x, y = np.array([1, -1, 1, -1]), np.array([1, -1])
    found = memory.recall(x, y)
    assert np.array_equal(found.state, x) and np.array_equal(found.partner, y)
    assert memory.retrieve(x).tolist() == [-1, -1], "a layer that is not given begins low"
    assert memory.retrieve_back(y).tolist() == [-1, -1, -1, -1]


def test_ghosts() -> None:
    """Without biases the negation of a pair rests as well, at the same energy."""
    X, Y = pairs(5, 60, 50, 3)
    memory = filled(X, Y)
    found = memory.recall(-X)
    assert np.array_equal(found.state, -X) and np.array_equal(found.partner, -Y)
    assert np.array_equal(found.energy, memory.energy(X, Y))


# ----------------------------------------------------------------------- errors and capacity --


@pytest.mark.parametrize(("n", "count"), [(60, 8), (100, 15), (101, 25)])
def test_bits_wrong_after_one_pass(n, count) -> None:
    """The exact binomial law, within 4.5 standard errors of the mean over networks."""
    expected = twin.outer_product_error(n, count)
    rates = []
    for seed in range(60):
        X, Y = pairs([6, n, seed], n, 40, count)
        rates.append((filled(X, Y).retrieve(X, n_steps=1) != Y).mean())
    error = np.std(rates, ddof=1) / math.sqrt(len(rates))
    assert abs(np.mean(rates) - expected) <= 4.5 * error
    assert 0 < error < expected / 3, "the test can tell"
    gauss = math.erfc(math.sqrt(n / (2 * (count - 1)))) / 2
    # Berry and Esseen: 0.4748 / sqrt(number of signs), and half the weight of a tie.
    assert abs(expected - gauss) <= 1 / math.sqrt(n * (count - 1))


def test_the_theory_of_the_capacity() -> None:
    """Retrieval ends at 0.1998 n pairs, with an overlap of 0.9328 there."""
    loads = np.arange(0.1996, 0.2, 0.00001)
    overlaps = [twin.pair_overlap(load) for load in loads[::4]]
    last = max(i for i, m in enumerate(overlaps) if m > 0)
    assert loads[::4][last] == pytest.approx(0.1998, abs=0.00005)
    assert overlaps[last] == pytest.approx(0.9328, abs=0.002)


def test_recall_below_and_above_capacity() -> None:
    """Overlaps at rest: the theory's, but for order 1/n, below 0.2 n pairs; lost at 0.3 n."""
    n = 400
    for load in (0.1, 0.15, 0.3):
        found = []
        for seed in range(6):
            X, Y = pairs([7, seed], n, n, int(load * n))
            rest = filled(X, Y).recall(X[:30], Y[:30], n_steps=1000)
            found.append(((rest.state * X[:30]).mean() + (rest.partner * Y[:30]).mean()) / 2)
        error = np.std(found, ddof=1) / math.sqrt(len(found))
        if load < 0.1998:
            assert abs(np.mean(found) - twin.pair_overlap(load)) <= 4.5 * error + 1 / n
        else:
            assert np.mean(found) + 4.5 * error < 0.75 and twin.pair_overlap(load) == 0


def test_names_and_faces_from_spoilt_halves() -> None:
    """Ten pairs of 300 units, a tenth of the bits wrong: either recalls the other, exactly."""
    X, Y = pairs(8, 300, 300, 10)
    memory = filled(X, Y)
    rng = np.random.default_rng(9)
    noise = np.where(rng.random(X.shape) < 0.1, -1, 1)
    assert np.array_equal(memory.retrieve(X * noise), Y)
    assert np.array_equal(memory.retrieve_back(Y * noise), X)


# ------------------------------------------------------------------ the house's own promises --


def test_answers_do_not_depend_on_the_batch_or_the_threads() -> None:
    rng = np.random.default_rng(10)
    X, Y = pairs(11, 130, 70, 1100)
    W, x = rng.standard_normal((130, 70)), rng.choice([-1, 1], (23, 130))
    before = uhn.get_num_threads()
    try:
        answers = []
        for threads in (1, 2):
            uhn.set_num_threads(threads)
            memory = BidirectionalAssociativeMemory.from_weights(W)
            memory.store(X, Y)
            found = memory.recall(x)
            answers.append((found.state, found.partner, found.energy, found.n_steps))
    finally:
        uhn.set_num_threads(before)
    for one, two in zip(*answers, strict=True):
        assert np.array_equal(one, two)
    for i in (0, 9, 22):
        alone = memory.recall(x[i])
        got = alone.state, alone.partner, alone.energy, alone.n_steps
        assert all(
            np.array_equal(one, many[i]) for one, many in zip(got, answers[0], strict=True)
        )
        assert alone.state.ndim == alone.partner.ndim == 1 and isinstance(alone.n_steps, int)


def test_pairs_may_be_stored_one_by_one() -> None:
    X, Y = pairs(12)
    whole, pieces = filled(X, Y), BidirectionalAssociativeMemory(12, 9)
    for x, y in zip(X, Y, strict=True):
        pieces.store(x, y)
    assert np.array_equal(whole.weights, pieces.weights) and len(pieces) == 4
    assert np.array_equal(whole.weights, twin.outer_products(X, Y))
    added = BidirectionalAssociativeMemory.from_weights(whole.weights)
    assert added.n_patterns == 0 and added.patterns.shape == (0, 12)
    added.store(X, Y)
    assert np.array_equal(added.weights, 2 * whole.weights)


def test_a_recall_knows_its_patterns() -> None:
    X, Y = pairs(13, 200, 100, 5)
    memory = filled(X, Y)
    found = memory.recall(X, trace=True)
    assert np.array_equal(found.memories()[0][:, 0], np.arange(5))
    np.testing.assert_allclose(np.diag(found.overlaps), 1)
    assert np.array_equal(found.weights, 200 * found.overlaps)
    # The values begin low, so that the first trip changes them and the second finds rest.
    assert found.trace.states.shape == (3, 5, 200) and found.trace.overlaps.shape == (3, 5, 5)
    assert "fixed point" in repr(found) and "energy" in found._repr_html_()
    from_weights = BidirectionalAssociativeMemory.from_weights(memory.weights).recall(X[0])
    with pytest.raises(ValueError, match="no patterns"):
        _ = from_weights.overlaps
    assert from_weights.energy == found.energy[0]


@pytest.mark.parametrize("coding", ["bipolar", "binary"])
def test_pickles_copies_and_configurations(coding) -> None:
    X, Y = pairs(14)
    if coding == "binary":
        X, Y = (X + 1) // 2, (Y + 1) // 2
    memory = filled(X, Y, bias=np.arange(12.0), coding=coding)
    for other in (pickle.loads(pickle.dumps(memory)), copy.copy(memory), copy.deepcopy(memory)):
        assert np.array_equal(other.weights, memory.weights)
        assert np.array_equal(other.retrieve(X), memory.retrieve(X))
        other.store(X, Y)
        assert len(other) == 8 and len(memory) == 4
    config = memory.get_config()
    empty = BidirectionalAssociativeMemory.from_config(config)
    assert len(empty) == 0 and empty.coding == coding
    assert np.array_equal(empty.bias, np.arange(12.0)) and empty.value_bias is None
    assert "n_values=9" in repr(empty)
    found = pickle.loads(pickle.dumps(memory.recall(X)))
    assert np.array_equal(found.partner, memory.retrieve(X))


def test_types_follow_the_states() -> None:
    X, Y = pairs(15)
    memory = filled(X, Y)
    assert memory.retrieve(X.astype(np.float32)).dtype == np.float32
    assert memory.retrieve(X.astype(np.int8)).dtype == np.float64
    assert memory.recall(X.astype(np.float32), Y.astype(np.float32)).state.dtype == np.float32
    assert memory.retrieve(np.zeros((0, 12))).shape == (0, 9)
    assert memory.recall(X, n_steps=0).status.tolist() == ["step limit"] * 4


def test_bad_input_is_refused_with_a_reason() -> None:
    X, Y = pairs(16)
    memory = BidirectionalAssociativeMemory(12, 9)
    for ask in (lambda: memory.retrieve(X), lambda: memory.energy(X, Y)):
        with pytest.raises(ValueError, match="store pairs first"):
            ask()
    for bad, words in (
        ((X, Y[:2]), "4 patterns but 2 values"),
        ((X[:, :3], Y), "patterns"),
        ((X, Y[:, :3]), "values"),
        (((X + 1) // 2, Y), r"patterns\[\d+, \d+\] is 0.*coding='binary'"),
        ((X, Y * 0.5), r"values\[0, 0\].*threshold"),
        ((X, np.where(Y > 0, np.nan, Y)), "values"),
    ):
        with pytest.raises(ValueError, match=words):
            memory.store(*bad)
    assert len(memory) == 0, "nothing was stored"
    memory.store(X, Y)
    with pytest.raises(ValueError, match="states, values, or both"):
        memory.recall()
    with pytest.raises(ValueError, match="one row of each"):
        memory.recall(X, Y[:2])
    with pytest.raises(ValueError, match="one row of each"):
        memory.recall(X[:1], Y[0])
    with pytest.raises(ValueError, match=r"states.*12"):
        memory.retrieve(Y)
    with pytest.raises(ValueError, match="n_steps"):
        memory.retrieve(X, n_steps=-1)
    with pytest.raises(ValueError, match="mode"):
        memory.lyapunov("async")
    with pytest.raises(ValueError, match="bias"):
        BidirectionalAssociativeMemory(3, 2, bias=[1, 2])
    with pytest.raises(ValueError, match="value_bias"):
        BidirectionalAssociativeMemory(3, 2, value_bias=np.ones((1, 2)))
    with pytest.raises(ValueError, match="coding"):
        BidirectionalAssociativeMemory(3, 2, coding="ternary")
    with pytest.raises(ValueError, match="weights"):
        BidirectionalAssociativeMemory.from_weights(np.ones(3))
    with pytest.raises(TypeError, match="n_values"):
        BidirectionalAssociativeMemory(3, 2.5)
