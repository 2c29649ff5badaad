"""Data and parameters for the tests: what suits which row. Imports nothing that is tested."""

from __future__ import annotations

import numpy as np

Array = np.ndarray

DTYPES = [np.float32, np.float64]

DISTANCES = ("euclidean", "sqeuclidean", "manhattan", "chebyshev", "hamming")
DIVERGENCES = ("kl", "reverse_kl", "jensen_shannon")
SIMILARITIES = ("dot", "cosine", "normalized_dot", *DISTANCES, *DIVERGENCES)
POINTWISE = ("identity", "polynomial", "rectified_polynomial", "sqrt", "log1p")
SEPARATIONS = (
    *POINTWISE,
    *("exponential", "softmax", "softmax1", "max", "topk", "topk_softmax"),
    *("threshold", "sparsemax", "entmax"),
)
NORMALIZABLE = (*POINTWISE, "exponential", "threshold")
WITH_PRIOR = tuple(s for s in SEPARATIONS if s not in ("max", "topk", "topk_softmax"))

# Sizes around the widths of vectors, panels, strips, chains of features, tiles and blocks.
WIDTHS = [
    1,
    2,
    3,
    7,
    8,
    15,
    16,
    17,
    31,
    32,
    33,
    47,
    48,
    49,
    63,
    64,
    65,
    127,
    128,
    129,
    255,
    256,
    257,
]
FEATURES = [*WIDTHS, 511, 512, 513, 784, 1023, 1024, 1025]


def data(
    rng: np.random.Generator,
    similarity: str,
    shape: tuple[int, ...],
    dtype,
    positive: bool = False,
) -> Array:
    """Rows inside the domain of a similarity, of moderate size."""
    if similarity == "hamming":
        return rng.integers(0, 3, shape).astype(dtype)
    if positive or similarity in ("normalized_dot", *DIVERGENCES):
        # No zeros and nothing tiny: the divergences stay finite and far from their poles.
        return (0.05 + rng.random(shape)).astype(dtype)
    return rng.normal(size=shape).astype(dtype)


def transforms(similarity: str) -> list[str | None]:
    """The transforms a similarity may have; None is the default."""
    return [None, "inverse", "rbf"] if similarity in (*DISTANCES, *DIVERGENCES) else [None]


def needs_positive(separation: str) -> bool:
    """Whether a separation is defined for scores >= 0 only."""
    return separation in ("sqrt", "log1p")


def parameters(separation: str, scores: Array) -> dict[str, float]:
    """Parameters that make a separation neither flat nor degenerate for such scores."""
    scores = np.asarray(scores, dtype=np.float64)
    largest = float(np.abs(scores).max()) or 1.0
    spread = float((scores.max(axis=1) - scores.min(axis=1)).max()) or 1.0
    if separation == "polynomial":
        return {"degree": 3}
    if separation == "rectified_polynomial":
        return {"degree": 2.5}
    if separation in ("exponential", "softmax1"):
        return {"beta": 4 / largest}
    if separation == "softmax":
        return {"beta": 12 / spread}
    if separation in ("sparsemax", "entmax"):
        return {"beta": 4 / spread} | ({"alpha": 1.25} if separation == "entmax" else {})
    if separation == "topk":
        return {"k": 3}
    if separation == "topk_softmax":
        return {"k": 4, "beta": 4 / spread}
    if separation == "threshold":
        return {"theta": middle(scores[0])}
    return {}


def middle(scores: Array) -> float:
    """A number in the widest gap between scores that lies in the middle half of them."""
    ordered = np.sort(scores)
    n = len(ordered)
    low, high = n // 4, max(n - n // 4, n // 4 + 2)
    part = ordered[low:high]
    if len(part) < 2:
        return float(ordered[0]) - 1.0
    gap = int(np.argmax(np.diff(part)))
    return float((part[gap] + part[gap + 1]) / 2)
