"""Readable twins of `uhn.analysis`, and two plain memories for it to ask.

Everything is written down as it is defined, loops included, in whole numbers, fractions or
float64. It never imports uhn, so that agreeing with it means something.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def all_states(n: int) -> Array:
    """Every state of n units, in the order of its bits: unit i is +1 where bit i is set."""
    return np.array([[1 if c >> i & 1 else -1 for i in range(n)] for c in range(1 << n)])


def hebb(patterns: Array, *, diagonal: bool = False) -> Array:
    """Sum of outer products, in whole numbers."""
    xi = np.asarray(patterns, dtype=np.int64)
    w = sum(np.outer(row, row) for row in xi)
    return w if diagonal else w - np.diag(np.diag(w))


def pseudo_inverse(patterns: Array) -> Array:
    """The projector on the span of the patterns, without its diagonal."""
    xi = np.asarray(patterns, dtype=np.float64)
    w = xi.T @ np.linalg.solve(xi @ xi.T, xi)
    return w - np.diag(np.diag(w))


def storkey(patterns: Array) -> Array:
    """w_ij += (x_i x_j - x_i h_ji - h_ij x_j) / N, h_ij = (W x)_i - w_ij x_j - w_ii x_i."""
    n = patterns.shape[1]
    w = np.zeros((n, n))
    for x in np.asarray(patterns, dtype=np.float64):
        h = (w @ x)[:, None] - w * x - np.diag(w)[:, None] * x[:, None]
        w = w + (np.outer(x, x) - x[:, None] * h.T - h * x) / n
        np.fill_diagonal(w, 0)
    return w


def crosstalk(patterns: Array, *, self_coupling: bool) -> Array:
    """-xi_i^mu sum_(nu != mu) sum_(j [!= i]) xi_i^nu xi_j^nu xi_j^mu over N [- 1]."""
    n_patterns, n = patterns.shape
    out = np.empty((n_patterns, n))
    for mu, i in itertools.product(range(n_patterns), range(n)):
        total = 0
        for nu, j in itertools.product(range(n_patterns), range(n)):
            if nu != mu and (self_coupling or j != i):
                total += int(patterns[nu, i] * patterns[nu, j] * patterns[mu, j])
        out[mu, i] = Fraction(-int(patterns[mu, i]) * total, n if self_coupling else n - 1)
    return out


def fields(w: Array, b: ArrayLike | None, s: Array) -> list[Any]:
    """W s + b, exactly: in fractions."""
    bias = [0] * len(w) if b is None else list(np.asarray(b).tolist())
    return [
        sum((Fraction(x) * int(y) for x, y in zip(row, s, strict=True)), Fraction(bias[i]))
        for i, row in enumerate(np.asarray(w).tolist())
    ]


def fixed_points(w: Array, b: ArrayLike | None = None) -> Array:
    """Every state none of whose units disagrees with its exact field."""
    n = len(w)
    found = [
        s
        for s in all_states(n)
        if all(h * int(x) >= 0 for h, x in zip(fields(w, b, s), s, strict=True))
    ]
    return np.array(found, dtype=np.int8).reshape(-1, n)


def fixed_points_of_numbers(w: Array, b: Array | None = None) -> Array:
    """The same by one matrix product: exact for whole numbers that are not too large."""
    states = all_states(len(w))
    h = states @ np.asarray(w).T + (0 if b is None else b)
    return states[(h * states >= 0).all(axis=1)].astype(np.int8)


def energy(w: Array, b: Array | None, s: Array) -> float:
    """-1/2 s^T W s - b . s, exactly, rounded once."""
    exact = (
        -sum((h * int(x) for h, x in zip(fields(w, None, s), s, strict=True)), Fraction(0)) / 2
    )
    if b is not None:
        exact -= sum(
            (Fraction(x) * int(y) for x, y in zip(b.tolist(), s, strict=True)), Fraction(0)
        )
    return float(exact)


def stability(patterns: Array, w: Array, b: Array | None) -> Array:
    """xi_i (W xi + b)_i / |w_i| with exact fields."""
    out = np.empty(patterns.shape)
    for mu, xi in enumerate(patterns):
        for i, h in enumerate(fields(w, b, xi)):
            aligned, length = (
                float(h) * xi[i],
                math.sqrt(math.fsum(x * x for x in w[i].tolist())),
            )
            if aligned == 0:
                out[mu, i] = 0
            else:
                out[mu, i] = aligned / length if length else math.copysign(math.inf, aligned)
    return out


def mixtures(patterns: Array, n_mixed: int) -> dict[bytes, list[tuple[Any, Any]]]:
    """Every mixture of n patterns: the bytes of its state, and all ways to make it."""
    found: dict[bytes, list[tuple[Any, Any]]] = {}
    for members in itertools.combinations(range(len(patterns)), n_mixed):
        for signs in itertools.product((1, -1), repeat=n_mixed):
            total = sum(
                sign * patterns[mu].astype(int) for mu, sign in zip(members, signs, strict=True)
            )
            state = np.sign(total).astype(np.int8)
            found.setdefault(state.tobytes(), []).append((members, signs))
    return found


def wilson(k: int, n: int) -> tuple[float, float]:
    """The two fractions p with (k/n - p)^2 = z^2 p (1 - p) / n, as roots of a polynomial."""
    z2 = 1.959963984540054**2
    f = k / n
    roots = np.roots([1 + z2 / n, -(2 * f + z2 / n), f * f])
    return float(roots.real.min()), float(roots.real.max())


class Network:
    """A weight matrix, units looked at in their order, ties kept."""

    def __init__(
        self, weights: Array, bias: Array | None = None, coding: str = "bipolar"
    ) -> None:
        self.weights = np.asarray(weights)
        self.bias = np.zeros(len(weights)) if bias is None else np.asarray(bias)
        self.coding = coding
        self.n_features = len(weights)
        self.batches: list[int] = []

    def _decode(self, states: ArrayLike) -> Array:
        s = np.asarray(states, dtype=np.float64)
        return s if self.coding == "bipolar" else 2 * s - 1

    def _encode(self, s: Array) -> Array:
        return s if self.coding == "bipolar" else (s + 1) / 2

    def sweep(self, s: Array) -> Array:
        s = s.copy()
        for i in range(self.n_features):
            h = s @ self.weights[i] + self.bias[i]
            s[:, i] = np.where(h == 0, s[:, i], np.sign(h))
        return s

    def retrieve(self, states: ArrayLike, n_steps: int = 100) -> Array:
        return self.recall(states, n_steps).state

    def recall(self, states: ArrayLike, n_steps: int = 100) -> Any:
        s = self._decode(states)
        self.batches.append(len(s))
        rested = np.zeros(len(s), dtype=bool)
        for _ in range(n_steps):
            after = self.sweep(s)
            rested = (after == s).all(axis=1)
            s = after
            if rested.all():
                break
        status = np.where(rested, "fixed point", "step limit")
        return SimpleNamespace(state=self._encode(s), status=status)

    def energy(self, states: ArrayLike) -> Array:
        s = self._decode(states)
        return -0.5 * ((s @ self.weights) * s).sum(axis=1) - s @ self.bias


class Dense:
    """E = -sum F(xi . s), F(x) = x^n or max(x, 0)^n: a unit goes where the energy is lower."""

    def __init__(self, patterns: Array, degree: int, *, rectified: bool) -> None:
        self.patterns = np.asarray(patterns, dtype=np.float64)
        self.degree, self.rectified = degree, rectified
        self.n_features = self.patterns.shape[1]

    def energy(self, states: ArrayLike) -> Array:
        x = np.asarray(states, dtype=np.float64) @ self.patterns.T
        if self.rectified:
            x = np.maximum(x, 0)
        return -(x**self.degree).sum(axis=1)

    def retrieve(self, states: ArrayLike, n_steps: int = 100) -> Array:
        s = np.array(states, dtype=np.float64)
        for _ in range(n_steps):
            for i in range(self.n_features):
                other = s.copy()
                other[:, i] *= -1
                s = np.where((self.energy(other) < self.energy(s))[:, None], other, s)
        return s

    def fixed_points(self) -> Array:
        """States from which no single flip lowers the energy."""
        states = all_states(self.n_features)
        energy = self.energy(states)
        stays = np.ones(len(states), dtype=bool)
        for i in range(self.n_features):
            stays &= energy <= energy[np.arange(len(states)) ^ (1 << i)]
        return states[stays].astype(np.int8)
