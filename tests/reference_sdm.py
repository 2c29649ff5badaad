"""Readable twins of sparse distributed memory and of its theory: bits as +1 and -1, no packing.

Written for reading, from the definitions; nothing here imports `uhn`.
"""

from __future__ import annotations

import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np

Array = np.ndarray


# -------------------------------------------------------------------------------- the memory --


def hamming(a: Array, b: Array) -> Array:
    """Bits in which rows differ, (n_a, n_b)."""
    return (a[:, None, :] != b[None, :, :]).sum(axis=2)


def active(locations: Array, x: Array, radius: int) -> Array:
    """Which locations are within the radius of each row, (n_rows, n_locations)."""
    return np.array([(locations != row).sum(axis=1) <= radius for row in x])


class Memory:
    """Hard locations and counters that stop at `bound`, one write after the other."""

    def __init__(self, locations: Array, word_length: int, bound: int = 32767) -> None:
        self.locations = locations
        self.counters = np.zeros((len(locations), word_length), dtype=np.int64)
        self.bound = bound

    def write(self, addresses: Array, words: Array, radius: int) -> None:
        for row, word in zip(active(self.locations, addresses, radius), words, strict=True):
            self.counters[row] = np.clip(
                self.counters[row] + word.astype(np.int64), -self.bound, self.bound
            )

    def sums(self, queries: Array, radius: int) -> Array:
        return np.array(
            [self.counters[row].sum(axis=0) for row in active(self.locations, queries, radius)]
        )

    def read(self, queries: Array, radius: int, tie: str) -> Array:
        sums = self.sums(queries, radius)
        at_zero = {"keep": queries, "+1": 1, "-1": -1}[tie]
        return np.where(sums > 0, 1, np.where(sums < 0, -1, at_zero))


def recall(step, query: Array, n_steps: int) -> tuple[Array, int, str]:
    """One query, read until it rests; `step` gives the next state and how many were active."""
    states = [query]
    for n in range(1, n_steps + 1):
        after, n_active = step(states[-1])
        states.append(after)
        if n_active == 0:
            return after, n, "no active location"
        if (after == states[-2]).all():
            return after, n, "fixed point"
        if n > 1 and (after == states[-3]).all():
            return after, n, "2-cycle"
    return states[-1], n_steps, "step limit"


# -------------------------------------------------------------------------------- the theory --


def activation(n: int, radius: int) -> Fraction:
    """P(Binomial(n, 1/2) <= radius)."""
    return Fraction(sum(math.comb(n, k) for k in range(radius + 1)), 2**n)


def intersection(n: int, radius: int, write_radius: int, d: int) -> Fraction:
    """The double sum over bits flipped inside and outside the d bits that differ."""
    inside = range(d + 1)
    outside = range(n - d + 1)
    count = sum(
        math.comb(d, j) * math.comb(n - d, k)
        for j in inside
        for k in outside
        if j + k <= radius and d - j + k <= write_radius
    )
    return Fraction(count, 2**n)


def normal(x: Array) -> Array:
    """The normal distribution function."""
    return np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in np.atleast_1d(x)])


def quantiles(count: int) -> Array:
    """The middles of `count` equally likely parts of a standard normal variable."""
    place = NormalDist().inv_cdf
    return np.array([place((i + 0.5) / count) for i in range(count)])


def kanerva_pooled(phi: Array, n: int, n_locations: int, p: float, n_items: int) -> float:
    """The critical distance if every word in the pool were another coin.

    p H locations are active, with p T words each: sigma^2 = p H (1 + p T).
    """
    sigma = math.sqrt(p * n_locations * (1 + p * n_items))
    excess = n * normal(-phi / sigma) - np.arange(n + 1)
    d = next(d for d in range(1, n) if excess[d] < 0 <= excess[d + 1])
    return d + excess[d] / (excess[d] - excess[d + 1])


def signs_below_zero(o: Array, target: int) -> float:
    """P(o[target] + sum of +-o[t] < 0) + P(= 0) / 2, signs being coins: one bit read wrong."""
    total = int(o.sum())
    p = np.zeros(2 * total + 1)  # of every sum from -total
    p[total] = 1.0
    for t, step in enumerate(o):
        if t == target:
            p = np.roll(p, step)
        elif step:
            p = 0.5 * (np.roll(p, step) + np.roll(p, -step))
    return float(p[:total].sum() + 0.5 * p[total])
