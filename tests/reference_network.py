"""Networks of two-state units as the formulas stand, for reading: NumPy, one unit at a time.

Nothing here imports the library. Couplings are a matrix with ``matrix[j, i]`` what unit j does
to unit i, a schedule is the tuple (order, given, seed, first_sweep, n_sweeps, tie, clamped,
temperatures) of uhn.models. Whole numbers are added as int64, so that a field of 0 is one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray
WORD = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15

FIXED_POINT, TWO_CYCLE, STEP_LIMIT = range(3)


# --------------------------------------------------------------------------- counted numbers --


def mix(x: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
    return x ^ (x >> 31)


def stream(seed: int, number: int) -> int:
    """Where a stream of random numbers begins."""
    return mix(mix((seed + GOLDEN) & WORD) ^ mix((number + 0xD1B54A32D192ED03) & WORD))


def random(begin: int, count: int) -> int:
    """Number `count` of a stream: 64 bits."""
    return mix((begin + (count + 1) * GOLDEN) & WORD)


def below(bits: int, n: int) -> int:
    """One of 0 to n - 1."""
    return (bits * n) >> 64


def uniform(bits: int) -> float:
    """From [0, 1)."""
    return (bits >> 11) * 2.0**-53


def sweep_order(schedule: tuple[Any, ...], n_units: int, sweep: int) -> list[int]:
    """The units of a sweep, in the order they are looked at."""
    order, given, seed = schedule[:3]
    begin = stream(seed, 2 * sweep)
    if order == "given":
        return [int(i) for i in given]
    if order == "replacement":
        return [below(random(begin, i), n_units) for i in range(n_units)]
    if order == "permutation":
        # Fisher and Yates, inside out: the new unit goes where one of those before it was.
        out: list[int] = []
        for i in range(n_units):
            j = below(random(begin, i), i + 1)
            if j == i:
                out.append(i)
            else:
                out.append(out[j])
                out[j] = i
        return out
    return list(range(n_units))


# ----------------------------------------------------------------------------------- network --


def counts_of(patterns: Array, keep_diagonal: bool = True) -> Array:
    """Hebb's rule in whole numbers: the sum of the outer products, int64."""
    n_units = patterns.shape[1]
    counts = np.zeros((n_units, n_units), dtype=np.int64)
    for pattern in patterns.astype(np.int64):
        counts += np.outer(pattern, pattern)
    if not keep_diagonal:
        np.fill_diagonal(counts, 0)
    return counts


def sums(matrix: Array, state: Array) -> Array:
    """sum_j matrix[j, i] s_j; doubles are added four units at a time, in ascending order."""
    if matrix.dtype == np.float64:
        n = len(state)
        terms = np.zeros((-(-n // 4) * 4, n))
        terms[:n] = matrix * state[:, None]
        total = np.zeros(n)
        for a, b, c, d in terms.reshape(-1, 4, n):
            total = total + ((a + b) + (c + d))
        return total
    return (matrix.astype(np.int64) * state.astype(np.int64)[:, None]).sum(axis=0)


def fields(matrix: Array, state: Array, scale: float = 1.0, bias: Array | None = None) -> Array:
    """h_i = scale sum_j matrix[j, i] s_j + b_i."""
    h = scale * sums(matrix, state).astype(np.float64)
    return h if bias is None else h + bias


def energy(matrix: Array, state: Array, scale: float = 1.0, bias: Array | None = None) -> float:
    """E = -1/2 s^T W s - b . s with W = scale matrix, its diagonal included."""
    quadratic = float((sums(matrix, state) * state).sum())
    pull = 0.0 if bias is None else float((bias * state).sum())
    return -0.5 * scale * quadratic - pull


def wish(h: float, s: int, tie: str) -> int:
    """The sign rule."""
    if h != 0:
        return 1 if h > 0 else -1
    return {"keep": int(s), "+1": 1, "-1": -1}[tie]


def glauber(h: float, temperature: float, luck: float) -> int:
    """+1 with probability 1 / (1 + exp(-2 h / T))."""
    exponent = -2 * h / temperature
    p = 0.0 if exponent > 700 else 1 / (1 + math.exp(exponent))
    return 1 if luck < p else -1


def settle(
    matrix: Array,
    state: Array,
    schedule: tuple[Any, ...],
    scale: float = 1.0,
    bias: Array | None = None,
) -> tuple[Array, int, int, int]:
    """One state until it rests: state, sweeps, code, whether the last sweep flipped a unit."""
    order, given, seed, first, n_sweeps, tie, clamped, temperatures = schedule
    n_units = len(state)
    s = np.array(state, dtype=np.int64)
    free = np.ones(n_units, dtype=bool) if clamped is None else np.asarray(clamped) == 0
    visited = np.zeros(n_units, dtype=bool)
    visited[given if order == "given" else slice(None)] = True
    visited &= free
    exact = matrix.dtype != np.float64
    way = [s.copy()]
    changed = 0
    for t in range(n_sweeps):
        temperature = 0.0 if temperatures is None else float(temperatures[t])
        luck = stream(seed, 2 * (first + t) + 1)
        looks = range(n_units) if order == "sync" else sweep_order(schedule, n_units, first + t)
        a = sums(matrix, s)
        old = s.copy()
        changed = 0
        for c, i in enumerate(looks):
            if not free[i]:
                continue
            h = scale * float(a[i]) + (0.0 if bias is None else float(bias[i]))
            new = (
                glauber(h, temperature, uniform(random(luck, c)))
                if temperature > 0
                else wish(h, int(old[i] if order == "sync" else s[i]), tie)
            )
            if new == s[i]:
                continue
            s[i] = new
            changed = 1
            if order != "sync":
                step = 2 * new * matrix[i]
                a = a + (step.astype(np.int64) if exact else step)
        way.append(s.copy())
        if temperature == 0:
            h = fields(matrix, s, scale, bias)
            if all(wish(h[i], int(s[i]), tie) == s[i] for i in np.flatnonzero(visited)):
                return s.astype(np.int8), t + 1, FIXED_POINT, changed
            cold_before = t > 0 and (temperatures is None or temperatures[t - 1] == 0)
            if order == "sync" and cold_before and (s == way[-3]).all():
                return s.astype(np.int8), t + 1, TWO_CYCLE, changed
    return s.astype(np.int8), n_sweeps, STEP_LIMIT, changed
