"""The clean procedure: an equation for a pair of names, and a trial, as the formulas say.

`uhn.experiments.published` does what the published code of Millidge et al. 2022 does. Where the
two differ, and why:

* Similarities are compared under `max`, as published. There the scale of the scores is
  irrelevant, and a distance enters negated where the published code has its reciprocal: the
  winner is the same.
* Jensen-Shannon is the divergence. The published code combines two reciprocals, and its `max`
  picks the worst memory.
* `normalized_dot` is the published "dot product" (each side divided by its sum); `dot` is the
  dot product itself and `cosine` the one divided by Euclidean norms.
* The divergences add ``eps = 1e-6`` to both distributions and normalise again (published: 1e-4,
  not normalised again, which is not small against 1/D).
* Separations are compared for the reciprocal Manhattan distance ``1 / (d + 1e-6)`` (the default
  of the published code), as powers and roots need non-negative scores. The scores of a query
  are divided by their sum, and the weights again, as published. Scores are never divided by
  their sum where a score could be negative.
* Softmax has ``beta = 1000`` on the scores that sum to 1 (the published `sep_param`); as their
  mean is 1/N, its effective inverse temperature falls as the memory grows. The same holds for
  the other rows with a beta when they are asked for by name alone.
* There is no "log" row. Applied to scores below 1 its weights are negative, and division by
  their negative sum gives the worst memory the most weight; and ``log1p`` of scores that sum to
  1 is the identity to within s**2 / 2.
* Noise is clipped, not folded, and a mask knows where the rows of a colour image lie
  (`corruptions`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import uhn
from uhn.experiments.results import PATTERNS

__all__ = [
    "EPS",
    "SEPARATIONS",
    "SIMILARITIES",
    "Equation",
    "clean_equation",
    "default_threshold",
    "equation",
    "own",
    "parse_separation",
    "squared_errors",
    "stated",
    "trial",
]

SIMILARITIES = (
    "euclidean",
    "manhattan",
    "cosine",
    "dot",
    "normalized_dot",
    "kl",
    "reverse_kl",
    "jensen_shannon",
)
"""The published six, and the dot product and the cosine proper."""

SEPARATIONS = (
    "max",
    "softmax",
    "polynomial:10",
    "polynomial:4",
    "polynomial:3",
    "polynomial:2",
    "identity",
    "sqrt",
)
"""The published nine without the logarithm (see above)."""

EPS = 1e-6
"""Added to both distributions of a divergence, and to a distance before its reciprocal."""

_DIVERGENCES = ("kl", "reverse_kl", "jensen_shannon")
_DISTANCES = (
    "euclidean",
    "sqeuclidean",
    "manhattan",
    "chebyshev",
    "hamming",
    *_DIVERGENCES,
)
_POWERS = ("identity", "polynomial", "rectified_polynomial", "sqrt", "log1p")
_WITH_BETA = ("softmax", "softmax1", "exponential", "topk_softmax", "sparsemax", "entmax")
_BETA = 1000.0
# What the number after the colon of a separation's name means.
_PARAMETER: dict[str, tuple[str, type]] = {
    "polynomial": ("degree", float),
    "rectified_polynomial": ("degree", float),
    "exponential": ("beta", float),
    "softmax": ("beta", float),
    "softmax1": ("beta", float),
    "sparsemax": ("beta", float),
    "topk": ("k", int),
    "topk_softmax": ("k", int),
    "threshold": ("theta", float),
    "entmax": ("alpha", float),
}

_Images = npt.NDArray[np.float32]
_Flags = npt.NDArray[np.bool_]


# --------------------------------------------------------------------------------- equations --


def parse_separation(separation: str) -> dict[str, Any]:
    """``"polynomial:10"`` as ``{"separation": "polynomial", "degree": 10.0}``."""
    name, colon, value = separation.partition(":")
    if name not in uhn.separations():
        names = ", ".join(uhn.separations())
        raise ValueError(f"unknown separation {name!r}; there are: {names}")
    if not colon:
        return {"separation": name}
    if name not in _PARAMETER:
        raise ValueError(f"separation {name!r} takes no value, got {separation!r}")
    parameter, kind = _PARAMETER[name]
    try:
        return {"separation": name, parameter: kind(value)}
    except ValueError:
        raise ValueError(
            f"{separation!r}: {parameter} must be a number, not {value!r}"
        ) from None


def equation(similarity: str, separation: str = "max") -> dict[str, Any]:
    """Keywords of `uhn.Memory` for a pair of names, by the protocol of this module.

    Parameters
    ----------
    similarity : str
        A name of `uhn.similarities()`.
    separation : str
        A name of `uhn.separations()`, with a colon and the value of its parameter if wanted:
        ``polynomial:10`` (degree), ``softmax:8`` (beta), ``topk:5`` (k), ``entmax:1.5``
        (alpha), ``threshold:-20`` (theta).

    Raises
    ------
    ValueError
        An unknown name, with the right ones, or a value that is no number.
    """
    known = uhn.similarities()
    if similarity not in known:
        raise ValueError(f"unknown similarity {similarity!r}; there are: {', '.join(known)}")
    keywords: dict[str, Any] = {"similarity": similarity}
    if similarity in _DIVERGENCES:
        keywords["eps"] = EPS
    stated = parse_separation(separation)
    name = stated["separation"]
    if name in _WITH_BETA:
        keywords["beta"] = _BETA
    keywords |= stated
    if name in _POWERS or name in _WITH_BETA:
        # Division by the sum of the scores is for non-negative scores only.
        keywords["normalize_scores"] = True
        if similarity in _DISTANCES:
            keywords |= {"transform": "inverse", "eps": EPS}
    if name in (*_POWERS, "exponential", "threshold"):
        keywords["normalize"] = "sum"
    return keywords


@dataclass(frozen=True)
class Equation:
    """A similarity, a separation and a projection by name, and what they stand for.

    Attributes
    ----------
    similarity, separation, projection : str
    keywords : tuple of (str, object)
        Of `uhn.Memory`; none in the published procedure, which knows its rows by name.
    text : str
        The keywords in words, for the rows of the results.
    """

    similarity: str
    separation: str
    projection: str = PATTERNS
    keywords: tuple[tuple[str, Any], ...] = ()
    text: str = ""


def clean_equation(
    similarity: str, separation: str = "max", projection: str = PATTERNS
) -> Equation:
    """The equation of two names (see `equation`) by the protocol of this module.

    Raises
    ------
    ValueError
        An unknown name, or a value that is no number.
    """
    return stated(similarity, separation, projection, equation(similarity, separation))


def stated(
    similarity: str, separation: str, projection: str, keywords: Mapping[str, Any]
) -> Equation:
    """The equation of keywords of `uhn.Memory`, under the names that results call it by."""
    text = " ".join(
        f"{key}={value}"
        for key, value in sorted(keywords.items())
        if key not in ("similarity", "separation")
    )
    return Equation(similarity, separation, projection, tuple(keywords.items()), text)


# ------------------------------------------------------------------------------------ trials --


def default_threshold(n_features: int) -> float:
    """The largest squared error that counts as correct, for images of `n_features` values.

    ``60 * 784 / n_features`` as published (60 for MNIST, 15.3 for CIFAR-10, 3.83 for Tiny
    ImageNet). For images of fewer than 784 values that would exceed the distance between any
    two of them, so there it is ``60 * n_features / 784``, the same error per value as MNIST's.
    """
    if n_features >= 784:
        return 60 * 784 / n_features
    return 60 * n_features / 784


def squared_errors(a: _Images, b: _Images) -> npt.NDArray[np.float64]:
    """Squared distances of paired rows, summed in double precision."""
    difference = np.subtract(a, b)
    errors: npt.NDArray[np.float64] = np.einsum(
        "ij,ij->i", difference, difference, dtype=np.float64
    )
    return errors


def own(winners: npt.NDArray[np.int64], values: _Images) -> _Flags:
    """Whether value i, or a copy of it, is the winner of trial i."""
    right: _Flags = winners == np.arange(len(winners))
    for i in np.flatnonzero(~right & (winners >= 0)):
        right[i] = np.array_equal(values[winners[i]], values[i])
    return right


def _memory(patterns: _Images, values: _Images, keywords: Mapping[str, Any]) -> uhn.Memory:
    # Scores that sum to 1 are 1/N on average, and a high power of that leaves float32.
    dtype: np.dtype[Any] = patterns.dtype
    if keywords.get("degree", 1) * math.log10(len(patterns)) > 33:
        dtype = np.dtype(np.float64)
    recalled = None if values is patterns else values.astype(dtype, copy=False)
    return uhn.Memory(patterns.astype(dtype, copy=False), recalled, **keywords)


def trial(
    patterns: _Images,
    queries: _Images,
    keywords: Mapping[str, Any],
    values: _Images,
    binary: bool = False,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Squared error of the answer to every query, and the stored value nearest to it.

    Parameters
    ----------
    patterns, queries : ndarray of float32, shape (n_patterns, n_features)
        Query i is a damaged pattern i.
    keywords : mapping
        Of `uhn.Memory`.
    values : ndarray of float32, shape (n_patterns, n_values)
        What is recalled, and what the answers are compared with; `patterns` itself in
        auto-association.
    binary : bool
        The memory is Hopfield's: everything is +1 or -1, by the sign of ``x - 0.5``, and so is
        the answer (-1 at 0).

    Returns
    -------
    errors : ndarray of float64, shape (n_patterns,)
    winners : ndarray of int64, shape (n_patterns,)
        Lowest index on ties.
    """
    if binary:
        auto = values is patterns
        patterns, queries = _bipolar(patterns - 0.5), _bipolar(queries - 0.5)
        values = patterns if auto else _bipolar(values - 0.5)
    memory = _memory(patterns, values, keywords)
    if keywords["separation"] == "max":
        # The answer is the winner's value: one pass gives both.
        winners = memory.nearest(queries)[0][:, 0]
        answers = values[winners]
    else:
        answers = memory.retrieve(queries).astype(np.float32, copy=False)
        if binary:
            answers = _bipolar(answers)
        winners = uhn.Memory(values, similarity="sqeuclidean").nearest(answers)[0][:, 0]
    return squared_errors(answers, values), winners


def _bipolar(x: _Images) -> _Images:
    return np.where(x > 0, np.float32(1), np.float32(-1))
