"""Networks of pairwise weights: from damaged patterns to rest, unit by unit and all at once."""

from __future__ import annotations

import numpy as np
from measure import Array, Bench, Contender, Goal

import uhn
from uhn import _core
from uhn.models._schedule import make_schedule


def damaged(rng: np.random.Generator, patterns: Array, n: int) -> Array:
    """Patterns with 15 % of their units turned over."""
    signs = np.where(rng.random((n, patterns.shape[1])) < 0.15, -1, 1)
    return patterns[:n] * signs


def loop(weights: Array, state: Array, order: Array) -> Array:
    """The dynamics as written in NumPy: a row of the weights for every unit looked at."""
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


def hebb(patterns: Array) -> Array:
    """Hebb's counts without their diagonal, float32: whole numbers, exact."""
    weights = patterns.T @ patterns
    np.fill_diagonal(weights, 0)
    return weights


def to_rest(bench: Bench, form: str, goal: Goal) -> None:
    """One state of many units, in one of the two forms between which the class chooses."""
    n_units, n_patterns = bench.pick(10_000, 500), bench.pick(500, 25)
    rng = np.random.default_rng(1)
    patterns = rng.choice(np.float32([-1, 1]), (n_patterns, n_units))
    state = damaged(rng, patterns, 1)
    order = rng.permutation(n_units)
    weights = hebb(patterns)
    spins, rows = state.astype(np.int8), patterns.astype(np.int8)
    schedule = make_schedule(n_units, mode="async", n_steps=100, seed=0, order=order)
    if form == "patterns":
        couplings, count = _core._pack_columns(rows), n_patterns
    else:
        couplings, count = weights.astype(np.int16), 0

    def ours() -> Array:
        return _core._network_settle(spins, couplings, count, 1.0, None, False, schedule)[0]

    bench.check("uhn and the loop", ours()[0], loop(weights, state[0], order), 0.0)
    network = uhn.HopfieldNetwork(n_units).store(patterns)
    bench.check("the class", network.retrieve(state, order=order), ours(), 0.0)
    bench.race(
        ours, [Contender("NumPy, the loop", lambda: loop(weights, state[0], order), goal)]
    )


def weights(bench: Bench) -> None:
    """The matrix of weights, whole numbers of 16 bits."""
    to_rest(bench, "weights", Goal(least=7))


def patterns(bench: Bench) -> None:
    """The patterns themselves, as bits: no matrix is made."""
    to_rest(bench, "patterns", Goal(least=30, aim=45))


def batch(bench: Bench) -> None:
    """Many states of a smaller network."""
    n_units, n_patterns, n_states = bench.pick(1000, 200), bench.pick(50, 10), 256
    rng = np.random.default_rng(2)
    stored = rng.choice(np.float32([-1, 1]), (n_patterns, n_units))
    states = damaged(rng, np.tile(stored, (n_states // n_patterns + 1, 1)), n_states)
    order = rng.permutation(n_units)
    matrix, few = hebb(stored), bench.pick(4, 2)
    network = uhn.HopfieldNetwork(n_units).store(stored)

    def ours() -> Array:
        return network.retrieve(states, order=order)

    def theirs() -> Array:
        return np.array([loop(matrix, state, order) for state in states[:few]])

    bench.check("uhn and the loop", ours()[:few], theirs(), 0.0)
    bench.race(ours, [Contender("NumPy, the loop", theirs, Goal(least=100), n_states / few)])


def together(bench: Bench) -> None:
    """One step of all units of many states at once, against the bare product of matrices."""
    n_units, n_patterns, n_states = bench.pick(10_000, 500), bench.pick(500, 25), 256
    rng = np.random.default_rng(3)
    stored = rng.choice(np.float32([-1, 1]), (n_patterns, n_units))
    states = damaged(rng, np.tile(stored, (n_states // n_patterns + 1, 1)), n_states)
    matrix = hebb(stored)
    network = uhn.HopfieldNetwork(n_units).store(stored)

    def ours() -> Array:
        return network.retrieve(states, mode="sync", n_steps=1)

    def theirs() -> Array:
        return states @ matrix

    def thin() -> Array:
        return (states @ stored.T) @ stored - n_patterns * states

    fields = theirs()
    signs = np.where(fields == 0, states, np.sign(fields))
    bench.check("uhn and the sign of the product", ours(), signs, 0.0)
    bench.race(
        ours,
        [
            Contender("NumPy, states @ weights, no sign", theirs, Goal(least=1)),
            Contender("NumPy, two thin products, no sign", thin),
        ],
    )
