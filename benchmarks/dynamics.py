"""Classical networks: from damaged patterns to rest, one unit at a time or all at once."""

from __future__ import annotations

import numpy as np
from measure import Array, Bench, Contender, Goal

from uhn.models import HopfieldNetwork


def loop(weights: Array, state: Array, order: Array) -> Array:
    """The textbook's loop, with rows of float32, until a sweep changes nothing."""
    state = state.copy()
    moved = True
    while moved:
        moved = False
        for i in order:
            field = weights[i] @ state
            if field * state[i] < 0:
                state[i] = -state[i]
                moved = True
    return state


def problem(n_states: int, n_units: int, n_patterns: int) -> tuple[Array, Array, Array]:
    """Patterns, some of them with 15 % of their units turned over, and Hebb's counts."""
    rng = np.random.default_rng(1)
    patterns = rng.choice(np.array([-1, 1], dtype=np.int8), (n_patterns, n_units))
    which = rng.integers(0, n_patterns, n_states)
    noise = np.where(rng.random((n_states, n_units)) < 0.15, -1, 1).astype(np.int8)
    real = patterns.astype(np.float32)
    counts = real.T @ real  # whole numbers below 2^24: exact
    np.fill_diagonal(counts, 0)
    return patterns, patterns[which] * noise, counts


def race(
    bench: Bench, network: HopfieldNetwork, states: Array, counts: Array, goal: Goal
) -> None:
    """One unit at a time, to rest, against the loop."""
    n_units = states.shape[1]
    few = min(len(states), 2)
    order = np.random.default_rng(2).permutation(n_units)
    counts /= n_units
    real = states.astype(np.float32)

    def ours() -> Array:
        return network.retrieve(states, order=order)

    def theirs() -> Array:
        return np.array([loop(counts, state, order) for state in real[:few]])

    bench.check("uhn and the loop", ours()[:few], theirs(), 0.0)
    bench.race(ours, [Contender("NumPy loop", theirs, goal, len(states) / few)])


def patterns(bench: Bench) -> None:
    """Hebb's rule as the class keeps it while patterns are few: as their bits."""
    n_units = bench.pick(10_000, 600)
    bench.needs(8 * n_units**2)
    rows, states, counts = problem(1, n_units, n_units // 20)
    race(bench, HopfieldNetwork(n_units).store(rows), states, counts, Goal(least=30, aim=45))


def weights(bench: Bench) -> None:
    """The same weights as a matrix, in which whole numbers take 16 bits."""
    n_units = bench.pick(10_000, 600)
    bench.needs(24 * n_units**2)
    _, states, counts = problem(1, n_units, n_units // 20)
    network = HopfieldNetwork.from_weights(counts)
    race(bench, network, states, counts, Goal(least=7))


def batch(bench: Bench) -> None:
    """Many states, which share the order of the units."""
    n_states = bench.pick(256, 8)
    rows, states, counts = problem(n_states, 1000, 50)
    network = HopfieldNetwork(1000).store(rows)
    race(bench, network, states, counts, Goal(least=100))


def sync(bench: Bench) -> None:
    """Steps of all units of all states at once, beyond the capacity, where nothing rests."""
    n_states, n_units, n_steps = bench.pick(256, 32), bench.pick(5000, 400), 8
    bench.needs(24 * n_units**2)
    _, states, counts = problem(n_states, n_units, n_units)
    network = HopfieldNetwork.from_weights(counts)
    real = states.astype(np.float32)
    out = np.empty_like(real)

    def ours() -> Array:
        return network.retrieve(states, mode="sync", n_steps=n_steps)

    def steps() -> Array:
        now = real
        for _ in range(n_steps):
            fields = now @ counts
            now = np.where(fields == 0, now, np.sign(fields))
        return now

    def products() -> Array:
        for _ in range(n_steps):
            np.matmul(real, counts, out=out)
        return out

    bench.check("uhn and NumPy", ours(), steps(), 0.0)
    moving = network.recall(states, mode="sync", n_steps=n_steps).n_steps
    bench.check("steps", moving, np.full(n_states, n_steps), 0.0)
    bench.race(
        ours,
        [
            Contender("bare products of OpenBLAS", products, Goal(least=1)),
            Contender("NumPy, with signs", steps),
        ],
    )
