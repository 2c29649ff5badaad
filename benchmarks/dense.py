"""Dense associative memories: from damaged patterns to rest, one unit at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from measure import Array, Bench, Contender, Goal

from uhn.models import DenseAssociativeMemory

N_UNITS = 784
Energy = Callable[[Array], Array]


def textbook(patterns: Array, state: Array, order: Array, f: Energy) -> Array:
    """The formula as it is printed: the overlaps without unit i, anew for every unit."""
    state = state.copy()
    moved = True
    while moved:
        moved = False
        for i in order:
            x = patterns[:, i]
            others = patterns @ state - x * state[i]
            pull = np.sum(f(others + x) - f(others - x))
            if pull * state[i] < 0:
                state[i] = -state[i]
                moved = True
    return state


def incremental(columns: Array, state: Array, order: Array, f: Energy) -> Array:
    """Overlaps kept, and changed at a flip: the most that NumPy can do."""
    state = state.copy()
    overlaps = state @ columns
    moved = True
    while moved:
        moved = False
        for i in order:
            x = columns[i]
            others = overlaps - x * state[i]
            pull = np.sum(f(others + x) - f(others - x))
            if pull * state[i] < 0:
                state[i] = -state[i]
                overlaps = others + x * state[i]
                moved = True
    return state


def to_rest(bench: Bench, memory: DenseAssociativeMemory, n_patterns: int, f: Energy) -> None:
    """Patterns with 15 % of their units turned over, against the formula in NumPy."""
    n_units = memory.n_features
    n_states, few = bench.pick(32, 4), 1
    rng = np.random.default_rng(1)
    patterns = rng.choice([-1.0, 1.0], (n_patterns, n_units))
    states = patterns[:n_states] * np.where(rng.random((n_states, n_units)) < 0.15, -1, 1)
    order = rng.permutation(n_units)
    columns = np.ascontiguousarray(patterns.T)
    memory.store(patterns)

    def ours() -> Array:
        return memory.retrieve(states, order=order)

    def one_by_one(one: Callable[..., Array], rows: Array, n: int) -> Array:
        return np.array([one(rows, state, order, f) for state in states[:n]])

    bench.check("uhn and the patterns that were damaged", ours(), patterns[:n_states], 0.0)
    bench.check("uhn and the formula", ours()[:few], one_by_one(textbook, patterns, few), 0.0)
    kept = one_by_one(incremental, columns, n_states)
    bench.check("uhn and overlaps kept", ours(), kept, 0.0)
    # Every state needs one sweep, and another to see that it rests, whoever does it.
    bench.check("sweeps", memory.recall(states, order=order).n_steps, np.ones(n_states), 0.0)
    bench.race(
        ours,
        [
            Contender(
                "NumPy, the formula",
                lambda: one_by_one(textbook, patterns, few),
                Goal(least=1000, aim=4500),
                n_states / few,
            ),
            Contender(
                "NumPy, overlaps kept",
                lambda: one_by_one(incremental, columns, few),
                Goal(least=100, aim=440),
                n_states / few,
            ),
        ],
    )


def cubic(bench: Bench) -> None:
    """F(x) = x^3 for x > 0, which NumPy multiplies faster than it takes the power."""
    memory = DenseAssociativeMemory(bench.pick(N_UNITS, 200), 3)

    def f(x: Array) -> Array:
        x = np.maximum(x, 0)
        return x * x * x

    to_rest(bench, memory, bench.pick(1000, 100), f)


def exponential(bench: Bench) -> None:
    """F(x) = e^x; NumPy is told a reference under which nothing overflows."""
    n_units = bench.pick(N_UNITS, 200)
    memory = DenseAssociativeMemory(n_units, interaction="exponential")
    to_rest(bench, memory, bench.pick(1000, 100), lambda x: np.exp(x - n_units))
