"""Iterating to rest: what recall and n_steps mean.

Most cases are made of integers or of copies, so that states, step counts and reasons are exact;
the others are compared with retrieve itself, bit for bit, or with the twin within an explicit
margin.
"""

from __future__ import annotations

import numpy as np
import pytest

import cases
import reference
import uhn

Array = np.ndarray


def bits(x: Array) -> Array:
    """The bits of an array, to compare -0 and 0 too."""
    x = np.ascontiguousarray(x)
    return x.view(np.uint32 if x.dtype == np.float32 else np.uint64)


def same(a: Array, b: Array) -> bool:
    """Whether two arrays have the same type, shape and bits."""
    return a.dtype == b.dtype and np.array_equal(bits(a), bits(b))


@pytest.fixture(params=cases.DTYPES, ids=["float32", "float64"])
def dtype(request):
    return request.param


def continuous(dtype, n_queries: int = 9, **keywords):
    """A softmax memory and noisy queries that take several steps to settle."""
    rng = np.random.default_rng(31)
    patterns = rng.normal(size=(60, 12)).astype(dtype)
    queries = (patterns[:n_queries] + 0.7 * rng.normal(size=(n_queries, 12))).astype(dtype)
    return uhn.Memory(patterns, similarity="sqeuclidean", beta=0.4, **keywords), queries


# ------------------------------------------------------------------------------- exact steps --


@pytest.mark.parametrize("n_steps", [1, 2, 3, 7, 20])
def test_n_steps_are_exactly_so_many(dtype, n_steps: int) -> None:
    memory, queries = continuous(dtype)
    state = queries
    for _ in range(n_steps):
        state = memory.retrieve(state)
    assert same(memory.retrieve(queries, n_steps=n_steps), state)
    assert same(memory.retrieve(queries[0], n_steps=n_steps), state[0])
    patterns = np.asarray(memory)
    z = uhn.retrieve(patterns, queries, similarity="sqeuclidean", beta=0.4, n_steps=n_steps)
    assert same(z, state)


def test_n_steps_do_not_stop_early(dtype) -> None:
    """Every second state of a 2-cycle differs: stopping early would show."""
    memory = uhn.Memory(np.eye(2, dtype=dtype), np.eye(2, dtype=dtype)[::-1], separation="max")
    for n_steps in range(1, 8):
        z = memory.retrieve(np.array([1, 0], dtype), n_steps=n_steps)
        assert z.tolist() == ([0, 1] if n_steps % 2 else [1, 0])
    growing = uhn.Memory(2 * np.eye(2, dtype=dtype), separation="identity")
    assert growing.retrieve(np.array([1, 0], dtype), n_steps=9).tolist() == [4.0**9, 0]


def test_steps_need_values_of_the_width_of_patterns() -> None:
    memory = uhn.Memory(np.eye(3), np.ones((3, 2)))
    assert memory.retrieve(np.eye(3)).shape == (3, 2)
    with pytest.raises(ValueError, match=r"2.*3|3.*2"):
        memory.retrieve(np.eye(3), n_steps=2)
    with pytest.raises(ValueError, match=r"2.*3|3.*2"):
        memory.recall(np.eye(3))


# ------------------------------------------------------------------------------ fixed points --


def test_a_stored_pattern_is_a_fixed_point_of_max(dtype) -> None:
    patterns = np.random.default_rng(32).integers(-9, 10, (20, 6)).astype(dtype)
    memory = uhn.Memory(patterns, similarity="euclidean", separation="max")
    r = memory.recall(patterns)
    assert same(r.state, patterns)
    assert list(r.status) == ["fixed point"] * 20
    assert np.asarray(r.n_steps).tolist() == [1] * 20
    assert np.asarray(r.change).tolist() == [0] * 20


def test_a_noisy_pattern_takes_one_step_more(dtype) -> None:
    """One step to the pattern, one to see that it stays; the change is that of the last."""
    patterns = 8 * np.eye(5, dtype=dtype)
    query = patterns[3] + dtype(0.5)
    r = uhn.Memory(patterns, separation="max").recall(query)
    assert r.status == "fixed point"
    assert (r.n_steps, r.change) == (2, 0)
    assert same(r.state, patterns[3])
    assert type(r.n_steps) is int
    assert type(r.change) is float
    assert type(r.status) is str


def test_the_change_is_the_largest_of_a_component(dtype) -> None:
    """Identity on (1/2, 1/4, 1/8) scales: after one step each component is a known power of
    two.
    """
    patterns = np.diag(np.sqrt([0.25, 0.0625, 1.0])).astype(
        dtype
    )  # squares of the diagonal act
    memory = uhn.Memory(patterns, separation="identity")
    r = memory.recall(np.array([8, 16, 1], dtype), n_steps=1, tol=0)
    assert r.state.tolist() == [2, 1, 1]
    assert (r.change, r.status, r.n_steps) == (15, "step limit", 1)


@pytest.mark.parametrize(("tol", "steps"), [(0.5, 1), (0.25, 2), (0.249, 3), (2.0**-6, 6)])
def test_tol_is_inclusive(dtype, tol: float, steps: int) -> None:
    """Halving 1: step n changes it by 2^-n exactly, and stops where that is <= tol."""
    memory = uhn.Memory(np.array([[1]], dtype), np.array([[0.5]], dtype), separation="identity")
    r = memory.recall(np.array([1], dtype), tol=tol)
    assert (r.status, r.n_steps, r.change) == ("fixed point", steps, 2.0**-steps)
    assert r.state.tolist() == [2.0**-steps]
    z = memory.retrieve(np.array([1], dtype), n_steps=100, tol=tol)
    assert z.tolist() == [2.0**-steps]


def test_softmax_comes_to_rest(dtype) -> None:
    """The state at rest is one retrieve away from itself by no more than the last change."""
    memory, queries = continuous(dtype)
    tol = 1e-3
    r = memory.recall(queries, n_steps=500, tol=tol)
    assert list(r.status) == ["fixed point"] * len(queries)
    steps = np.asarray(r.n_steps)
    assert steps.min() >= 2
    assert len(set(steps.tolist())) > 1
    for i, n in enumerate(steps):
        before = memory.retrieve(queries[i], n_steps=int(n) - 1) if n > 1 else queries[i]
        after = memory.retrieve(before)
        assert same(r.state[i], after)
        change = np.abs(after.astype(np.float64) - before.astype(np.float64)).max()
        assert r.change[i] == change <= tol
        if n > 1:
            earlier = memory.retrieve(queries[i], n_steps=int(n) - 2) if n > 2 else queries[i]
            assert np.abs(before.astype(np.float64) - earlier.astype(np.float64)).max() > tol


def test_the_twin_takes_the_same_steps() -> None:
    """Where every change is clear of tol by a factor, step counts do not depend on rounding."""
    memory, queries = continuous(np.float64)
    patterns = np.asarray(memory)
    tol = 1e-3
    r = memory.recall(queries, n_steps=500, tol=tol)
    compared = 0
    for i, query in enumerate(queries):
        twin = reference.recall(
            patterns,
            query,
            500,
            tol=tol,
            similarity="sqeuclidean",
            separation="softmax",
            beta=0.4,
        )
        # The map contracts near its fixed point: 500 steps of rounding errors of about 1e-15
        # each stay far below tol / 1000, so only a change within that of tol could turn the
        # count.
        before = reference.recall(
            patterns, query, twin.n_steps - 1, tol=0, similarity="sqeuclidean", beta=0.4
        )
        if abs(twin.change - tol) > 1e-6 and abs(before.change - tol) > 1e-6:
            compared += 1
            assert (r.n_steps[i], r.status[i]) == (twin.n_steps, twin.status)
            np.testing.assert_allclose(r.state[i], twin.state, rtol=0, atol=1e-6)
    assert compared >= len(queries) - 1


# ------------------------------------------------------------------------------------ cycles --


def test_a_two_cycle_is_seen(dtype) -> None:
    """Two patterns with their values swapped: each is the other's answer."""
    patterns = np.eye(2, dtype=dtype)
    memory = uhn.Memory(patterns, patterns[::-1].copy(), separation="max")
    r = memory.recall(patterns[0])
    assert (r.status, r.n_steps, r.change) == ("2-cycle", 2, 1)
    assert same(r.state, patterns[0])
    # A start outside the cycle needs one step to enter it and two to come back.
    r = memory.recall(np.array([5, 3], dtype))
    assert (r.status, r.n_steps) == ("2-cycle", 3)
    assert same(r.state, patterns[1])


def test_negative_weights_make_a_two_cycle(dtype) -> None:
    """Dot, identity, values swapped and negated: x -> -swap(x) comes back after two steps."""
    patterns = np.eye(2, dtype=dtype)
    memory = uhn.Memory(patterns, -patterns, separation="identity")
    r = memory.recall(np.array([3, -2], dtype))
    assert (r.status, r.n_steps, r.change) == ("2-cycle", 2, 6)
    assert r.state.tolist() == [3, -2]
    # (x, y) -> (-y, x) has period 4 and is not mistaken for one of 2.
    quarter = uhn.Memory(patterns, np.array([[0, 1], [-1, 0]], dtype), separation="identity")
    r = quarter.recall(np.array([3, -2], dtype), n_steps=50)
    assert (r.status, r.n_steps, r.change) == ("step limit", 50, 5)
    assert r.state.tolist() == [-3, 2]


def test_a_cycle_of_three_runs_to_the_limit(dtype) -> None:
    patterns = np.eye(3, dtype=dtype)
    memory = uhn.Memory(patterns, np.roll(patterns, 1, axis=0), separation="max")
    r = memory.recall(patterns[0], n_steps=10)
    assert (r.status, r.n_steps, r.change) == ("step limit", 10, 1)
    assert same(r.state, memory.retrieve(patterns[0], n_steps=10))


def test_a_wide_tol_sees_a_fixed_point_first(dtype) -> None:
    """A cycle narrower than tol is rest: the first step already changes little enough."""
    patterns = np.eye(2, dtype=dtype)
    memory = uhn.Memory(patterns, patterns[::-1].copy(), separation="max")
    r = memory.recall(patterns[0], tol=1.0)
    assert (r.status, r.n_steps) == ("fixed point", 1)


# ----------------------------------------------------------------------- limits, and nothing --


def test_the_step_limit(dtype) -> None:
    growing = uhn.Memory(2 * np.eye(3, dtype=dtype), separation="identity")
    query = np.array([1, 0, -1], dtype)
    for n_steps in (1, 2, 5):
        r = growing.recall(query, n_steps=n_steps)
        assert (r.status, r.n_steps) == ("step limit", n_steps)
        assert r.state.tolist() == [4.0**n_steps, 0, -(4.0**n_steps)]
        assert r.change == 4.0**n_steps - 4.0 ** (n_steps - 1)


def test_none_active(dtype) -> None:
    """A threshold no score reaches: zeros, and the iteration ends at once."""
    memory = uhn.Memory(np.eye(3, dtype=dtype), separation="threshold", theta=2)
    r = memory.recall(np.array([1, 0, 1], dtype))
    assert (r.status, r.n_steps, r.change) == ("no active location", 1, 1)
    assert r.state.tolist() == [0, 0, 0]
    # One that is left after a step: (2, 2, 0) -> (1, 1, 0) -> nothing.
    r = memory.recall(np.array([2, 2, 0], dtype))
    assert (r.status, r.n_steps) == ("no active location", 2)
    assert r.state.tolist() == [0, 0, 0]
    assert memory.retrieve(np.array([1, 0, 1], dtype)).tolist() == [0, 0, 0]


def test_exactly_zero_tol(dtype) -> None:
    """tol = 0 stops only where nothing changes at all."""
    memory, queries = continuous(dtype)
    r = memory.recall(queries, n_steps=3000, tol=0.0)
    for i, status in enumerate(r.status):
        again = memory.retrieve(r.state[i])
        if status == "fixed point":
            assert np.array_equal(again, r.state[i])
            assert r.change[i] == 0
        else:
            assert status == "2-cycle"
            assert same(memory.retrieve(again), r.state[i])
            assert r.change[i] > 0


# -------------------------------------------------------------------- every query for itself --


def mixed(dtype):
    """Queries that end in all four ways, at different steps, in one memory.

    The threshold memory swaps its first two patterns, keeps the third, passes the other three
    round in a circle that never closes after two steps, and drops everything weaker.
    """
    patterns = np.eye(6, dtype=dtype) * 4
    values = np.zeros((6, 6), dtype)
    values[0, 1] = values[1, 0] = values[2, 2] = 4
    values[3, 4], values[4, 5], values[5, 3] = 4, 4, 4
    memory = uhn.Memory(patterns, values, separation="threshold", theta=8)
    queries = np.concatenate(
        [patterns[[0, 2, 3]], np.ones((1, 6), dtype), 3 * patterns[[1, 2, 5]]]
    )
    expected = ["2-cycle", "fixed point", "step limit", "no active location"]
    return memory, queries, [*expected, "2-cycle", "fixed point", "step limit"]


def test_all_four_ends_in_one_batch(dtype) -> None:
    memory, queries, expected = mixed(dtype)
    r = memory.recall(queries, n_steps=40)
    assert list(r.status) == expected
    assert np.asarray(r.n_steps).tolist() == [2, 1, 40, 1, 3, 2, 40]
    assert r.state.shape == queries.shape
    assert r.state.dtype == dtype


@pytest.mark.parametrize("make", [mixed, continuous], ids=["mixed", "continuous"])
def test_stopping_does_not_depend_on_the_batch(dtype, make) -> None:
    """Each query alone, in any order, among any others: the same end, the same step, the same
    bits.
    """
    memory, queries, *_ = make(dtype)
    whole = memory.recall(queries, n_steps=60, tol=1e-4)
    rng = np.random.default_rng(33)
    orders = [rng.permutation(len(queries)) for _ in range(5)]
    orders += [rng.integers(0, len(queries), 23), np.arange(len(queries))[::-1]]
    for order in orders:
        r = memory.recall(queries[order], n_steps=60, tol=1e-4)
        assert same(r.state, whole.state[order])
        assert list(r.status) == [whole.status[i] for i in order]
        assert np.array_equal(r.n_steps, np.asarray(whole.n_steps)[order])
        assert np.array_equal(r.change, np.asarray(whole.change)[order])
    for i, query in enumerate(queries):
        r = memory.recall(query, n_steps=60, tol=1e-4)
        assert same(r.state, whole.state[i])
        assert (r.status, r.n_steps, r.change) == (
            whole.status[i],
            whole.n_steps[i],
            whole.change[i],
        )
        assert same(memory.retrieve(query, n_steps=60, tol=1e-4), whole.state[i])


def test_retrieve_with_tol_is_recall(dtype) -> None:
    memory, queries = continuous(dtype)
    for n_steps, tol in [(1, 0.1), (5, 0.1), (200, 1e-4), (200, 0.0)]:
        z = memory.retrieve(queries, n_steps=n_steps, tol=tol)
        assert same(z, memory.recall(queries, n_steps=n_steps, tol=tol).state)


def test_no_queries(dtype) -> None:
    memory, queries = continuous(dtype)
    r = memory.recall(queries[:0])
    assert r.state.shape == (0, 12)
    assert r.state.dtype == dtype
    assert len(r.status) == len(r.n_steps) == len(r.change) == 0


def test_the_query_is_left_alone(dtype) -> None:
    memory, queries = continuous(dtype)
    kept = queries.copy()
    r = memory.recall(queries)
    memory.retrieve(queries, n_steps=3)
    assert same(queries, kept)
    assert not np.shares_memory(r.state, queries)


def test_retrieval_decreases_the_energy_of_the_softmax_memory(dtype) -> None:
    """E(x) = -lse(b X x) / b + |x|^2 / 2 never rises (Ramsauer et al. 2021, theorem 1)."""
    rng = np.random.default_rng(34)
    patterns = rng.normal(size=(40, 9)).astype(dtype)
    memory = uhn.Memory(patterns, beta=1.5)
    wide = patterns.astype(np.longdouble)
    state = rng.normal(size=(8, 9)).astype(dtype)

    def energy(x: Array) -> Array:
        s = x.astype(np.longdouble) @ wide.T * 1.5
        top = s.max(axis=1)
        lse = top + np.log(np.exp(s - top[:, np.newaxis]).sum(axis=1))
        return (x.astype(np.longdouble) ** 2).sum(axis=1) / 2 - lse / 1.5

    before, fell = energy(state), 0.0
    # A step off by at most delta in each component moves the energy by at most |gradient|
    # delta; near rest the gradient is the step itself, and everything is below 100 in magnitude
    # here.
    slack = 100 * 9 * 60 * float(np.finfo(dtype).eps)
    for _ in range(20):
        state = memory.retrieve(state)
        after = energy(state)
        assert (after <= before + slack).all()
        fell = max(fell, float((before - after).max()))
        before = after
    assert fell > 0.1
