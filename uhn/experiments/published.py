"""The published procedure: what the code behind the paper decides, its defects included.

Millidge, Salvatori, Song, Lukasiewicz and Bogacz (Universal Hopfield Networks, ICML 2022) put
their code beside the paper (github.com/BerenMillidge/Theory_Associative_Memory; the formulas
here are those of its functions.py, in our own words). It asks one query at a time. This module
decides every trial as that code does, for all queries at once, so that the published curves can
be drawn again, and `differences` measures what each departure from the stated mathematics does.

One trial, for stored patterns x (rows of X), values v (the patterns themselves unless given), a
query z and a similarity sim:

    s = sim(X, z);  t = s / sum(s);  w = sep(t);  w = w / sum(w);  answer = sum of w_i v_i

and the trial is correct if ``sum (answer - target)^2 <= threshold``. The published code also
multiplies s by a `beta` before it is divided by its sum. That cancels, so there is no such
parameter here; the only temperature is `param`, that of softmax, for scores that sum to 1.

Similarities
------------
euclidean
    ``1 / sum (x - z)^2``. It is the square that is inverted; there is no root.
manhattan
    ``1 / sum |x - z|``
normalized_dot
    With ``p = x / sum(x)`` and ``r = z / sum(z)``: ``p . r``, divided by its sum over the
    patterns. What the figures call the dot product.
kl, reverse_kl
    ``1 / sum p (log(p + 1e-4) - log(r + 1e-4))`` and the same with p and r exchanged. As
    nothing is normalised again after 1e-4 is added, the sum can be negative, and so can its
    reciprocal.
jensen_shannon
    ``1 / (kl / 2 + reverse_kl / 2)`` of the two above, which are reciprocals already: it grows
    with the divergence, and `max` picks the pattern that is least like the query.
cosine
    ``x . z / (F |z|)`` with F the Frobenius norm of the whole matrix, so that it orders
    patterns as the dot product does. In the published code, not in the figures.
dot
    ``x . z``. In the published code, not in the figures.

Separations
-----------
``identity``, ``sqrt`` and ``polynomial:n`` are powers; ``max`` puts all weight on the first of
the largest scores; ``softmax`` is that of ``param * t``; ``log`` is the logarithm of t, which
is negative, so that division by the negative sum gives the least similar pattern the most
weight.

What is not a number
--------------------
A pattern equal to the query has an infinite score under the reciprocals, and ``inf / inf`` is
NaN. `max` takes NaN for the largest score (the first, if there are several), which is the right
pattern; under every other separation the whole answer is NaN, and the trial is incorrect
(PyTorch's sign of NaN is 0, so the answer of a binary network is -1 throughout instead). A
pattern (or query) whose values sum to 0, which is what grey images of Tiny ImageNet are to the
published loader, makes normalized_dot and the divergences NaN, hence their sum, hence every
score: `max` then picks pattern 0, whatever the query.

Arithmetic
----------
float64, where the published code has float32, whose rounding depends on the machine. A trial
can be decided otherwise there only if its margin is within the rounding error of float32. Where
patterns have the same score but for rounding, or as many bipolar patterns vote for a pixel as
against it, rounding decides in either arithmetic. An answer has the same bits whatever other
queries it is asked with, and for any number of threads.

A divergence is a constant less a dot product, ``sum p L(p) - p . L(r)`` with
``L(x) = log(1 + x / 1e-4)``: the published logarithms less log(1e-4), which cancels. Where the
difference is small beside its terms, it is summed as published instead, so that a query equal
to a pattern has a divergence of exactly 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import uhn
from uhn.datasets import Dataset
from uhn.experiments.clean import default_threshold, equation, own
from uhn.experiments.corruptions import Corruption, Gaussian, Mask, row_axis

__all__ = [
    "SEPARATIONS",
    "SIMILARITIES",
    "Difference",
    "Outcome",
    "bipolar",
    "differences",
    "scores",
    "trial",
    "weights",
]

SIMILARITIES = (
    "euclidean",
    "manhattan",
    "normalized_dot",
    "kl",
    "reverse_kl",
    "jensen_shannon",
    "cosine",
    "dot",
)
"""The six of the figures, in their order, and the two that the published code only defines."""

SEPARATIONS = (
    "log",
    "identity",
    "softmax",
    "polynomial:2",
    "polynomial:3",
    "sqrt",
    "polynomial:4",
    "polynomial:10",
    "max",
)
"""The nine of the figures, in their order."""

EPS = 1e-4
"""Added to a probability before its logarithm is taken."""

_CHUNK = 1 << 21  # numbers in an array of intermediate results, at most (about)
# A divergence below this fraction of the terms it is the difference of is summed directly:
# above it, the difference has lost at most 10 of the 53 bits.
_CANCELLATION = 2.0**-10

_Array = npt.NDArray[np.float64]
_Images = npt.NDArray[np.float32]
_Indices = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """What became of every trial.

    Attributes
    ----------
    errors : ndarray of float64, shape (n_queries,)
        Sum of squared differences between answer and target; NaN where the answer is NaN.
    winners : ndarray of int64, shape (n_queries,)
        For `max` the pattern with all the weight. For other separations the stored value
        nearest to the answer (squared Euclidean distance, lowest index), -1 where that is NaN.
    """

    errors: _Array
    winners: _Indices

    def correct(self, threshold: float) -> _Flags:
        """Trials whose error is at most `threshold`; NaN is not."""
        flags: _Flags = self.errors <= threshold
        return flags


def _matrix(array: Any, name: str) -> _Array:
    """Finite real numbers of shape (n, d) as C-contiguous float64; float32 converts exactly."""
    array = np.asarray(array)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} must be real numbers of shape (n, n_features), not {array.dtype} of shape "
            f"{array.shape}"
        )
    matrix = np.ascontiguousarray(array, dtype=np.float64)
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be finite")
    return matrix


def _same_width(patterns: _Array, queries: _Array) -> None:
    if patterns.shape[1] != queries.shape[1]:
        raise ValueError(
            f"queries have {queries.shape[1]} features and patterns {patterns.shape[1]}; they "
            "must have as many"
        )


def _chunks(n: int, width: int) -> Iterator[slice]:
    step = max(1, _CHUNK // width)
    for start in range(0, n, step):
        yield slice(start, start + step)


def bipolar(images: Any) -> npt.NDArray[Any]:
    """``sign(x - 0.5)``, the published way from values in [0, 1] to -1 and 1 (0.5 is 0)."""
    array = np.asarray(images)
    half = array.dtype.type(0.5) if array.dtype.kind == "f" else 0.5
    signs: npt.NDArray[Any] = np.sign(array - half)
    return signs


# ------------------------------------------------------------------------------ similarities --


def _shares(rows: _Array) -> tuple[_Array, _Flags]:
    """Rows divided by their sums, and which of them are numbers. The others are returned as 0.

    A row that sums to 0 is all 0, or has negative values, whose shares have no logarithm.
    """
    totals = rows.sum(axis=1)
    good: _Flags = totals != 0
    return rows / np.where(good, totals, np.inf)[:, None], good


def _logs(shares: _Array, good: _Flags) -> tuple[_Array, _Flags]:
    """L of the module's text, and which rows are numbers: a negative share has no logarithm."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log1p(shares / EPS)
    good = good & np.isfinite(logs).all(axis=1)
    logs[~good] = 0
    return logs, good


def _difference(
    constants: _Array, products: _Array, direct: Callable[[_Indices, _Indices], _Array]
) -> _Array:
    """``constants - products``, and the pairs in which that cancels by ``direct(i, j)``."""
    constants = np.broadcast_to(constants, products.shape)
    result = constants - products
    small = np.abs(result) <= _CANCELLATION * (np.abs(constants) + np.abs(products))
    i, j = np.nonzero(small)
    if len(i):
        result[i, j] = direct(i, j)
    return result


def _weighted_gaps(
    factors: _Array, first: _Array, second: _Array, f: _Indices, i: _Indices, j: _Indices
) -> _Array:
    """``sum factors[f] (first[i] - second[j])`` for lists of rows, term by term."""
    out = np.empty(len(i))
    for part in _chunks(len(i), factors.shape[1]):
        terms = first[i[part]]
        terms -= second[j[part]]
        terms *= factors[f[part]]
        out[part] = terms.sum(axis=1)
    return out


class _Scorer:
    """A similarity to given patterns: what depends on the patterns alone is computed once."""

    def __init__(self, patterns: _Array, similarity: str) -> None:
        if similarity not in SIMILARITIES:
            names = ", ".join(SIMILARITIES)
            raise ValueError(f"unknown similarity {similarity!r}; there are: {names}")
        self.similarity = similarity
        self.good: _Flags = np.ones(len(patterns), dtype=np.bool_)
        if similarity == "euclidean":
            self.memory = uhn.Memory(patterns, similarity="sqeuclidean")
        elif similarity == "manhattan":
            self.memory = uhn.Memory(patterns, similarity="manhattan")
        elif similarity in ("dot", "cosine", "normalized_dot"):
            self.memory = uhn.Memory(patterns, similarity="dot")
            self.norm = np.sqrt((patterns * patterns).sum(axis=1).sum())
            self.totals = patterns.sum(axis=1)
        else:
            self.shares, self.good = _shares(patterns)
            self.logs, self.good = _logs(self.shares, self.good)
            self.shares[~self.good] = 0
            self.entropies = (self.shares * self.logs).sum(axis=1)
            if similarity != "reverse_kl":
                self.memory = uhn.Memory(self.shares, similarity="dot")
            if similarity in ("reverse_kl", "jensen_shannon"):
                self.memory_of_logs = uhn.Memory(self.logs, similarity="dot")

    def __call__(self, queries: _Array) -> _Array:
        """Scores of shape (n_queries, n_patterns)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self.similarity in ("euclidean", "manhattan"):
                reciprocals: _Array = 1 / np.abs(self.memory.scores(queries))
                return reciprocals
            if self.similarity in ("dot", "cosine", "normalized_dot"):
                return self._product(queries)
            return self._divergence(*_shares(queries))

    def _blank(self, scores: _Array, good: _Flags) -> None:
        """NaN wherever a pattern or a query has no distribution."""
        scores[:, ~self.good] = np.nan
        scores[~good] = np.nan

    def _product(self, queries: _Array) -> _Array:
        products: _Array = self.memory.scores(queries)
        if self.similarity == "cosine":
            norms = np.sqrt((queries * queries).sum(axis=1))
            products /= (self.norm * norms)[:, None]
        elif self.similarity == "normalized_dot":
            # Divided afterwards: products and sums of bipolar numbers are exact, so that
            # patterns that are as similar have the same score.
            totals = queries.sum(axis=1)
            products /= self.totals
            products /= totals[:, None]
            # A row that sums to 0 is all 0 or has values of both signs: 0/0, or inf - inf.
            products[:, self.totals == 0] = np.nan
            products[totals == 0] = np.nan
            products /= products.sum(axis=1, keepdims=True)
        return products

    def _divergence(self, shares: _Array, good: _Flags) -> _Array:
        logs, good = _logs(shares, good)
        shares[~good] = 0
        found = []
        if self.similarity != "reverse_kl":
            forward = _difference(
                self.entropies,
                self.memory.scores(logs),
                lambda i, j: _weighted_gaps(self.shares, self.logs, logs, j, j, i),
            )
            self._blank(forward, good)
            found.append(1 / forward)
        if self.similarity != "kl":
            backward = _difference(
                (shares * logs).sum(axis=1)[:, None],
                self.memory_of_logs.scores(shares),
                lambda i, j: _weighted_gaps(shares, logs, self.logs, i, i, j),
            )
            self._blank(backward, good)
            found.append(1 / backward)
        if len(found) == 1:
            return found[0]
        return 1 / (0.5 * found[0] + 0.5 * found[1])


def scores(patterns: Any, queries: Any, similarity: str) -> _Array:
    """Similarity of every query to every pattern, before it is divided by its sum.

    Parameters
    ----------
    patterns : array_like of shape (n_patterns, n_features)
        Images in [0, 1], or bipolar ones.
    queries : array_like of shape (n_queries, n_features)
    similarity : str
        One of `SIMILARITIES`; the formulas are at the top of this module.

    Returns
    -------
    ndarray of float64, shape (n_queries, n_patterns)
        inf where a query equals a pattern and the similarity is a reciprocal; NaN for rows that
        sum to 0 under normalized_dot and the divergences.

    Raises
    ------
    ValueError
        An unknown name, or arrays that are no finite matrices of one width.
    """
    patterns, queries = _matrix(patterns, "patterns"), _matrix(queries, "queries")
    _same_width(patterns, queries)
    scorer = _Scorer(patterns, similarity)
    out = np.empty((len(queries), len(patterns)))
    for part in _chunks(len(queries), max(patterns.shape)):
        out[part] = scorer(queries[part])
    return out


# ------------------------------------------------------------------------------- separations --


def _power(x: _Array, n: int) -> _Array:
    """x^n for n >= 1 by repeated squaring, so that every number has the same few roundings."""
    result: _Array | None = None
    while True:
        if n & 1:
            result = x if result is None else result * x
        n >>= 1
        if not n:
            assert result is not None
            return result
        x = x * x


def _degree(separation: str) -> int:
    """n of ``polynomial:n``, 0 for the other names.

    Raises
    ------
    ValueError
        An unknown name.
    """
    if separation in SEPARATIONS and ":" not in separation:
        return 0
    name, _, degree = separation.partition(":")
    if name == "polynomial" and degree.isascii() and degree.isdigit() and int(degree) > 0:
        return int(degree)
    raise ValueError(
        f"unknown separation {separation!r}; there are: log, identity, sqrt, softmax, max and "
        "polynomial:n for whole n of at least 1"
    )


def _softmax(shares: _Array, param: float) -> _Array:
    # The core takes finite scores only; one that is not makes the whole row NaN, as published.
    finite = np.isfinite(shares).all(axis=1)
    if finite.all():
        everything: _Array = uhn.separate(shares, "softmax", beta=param)
        return everything
    out = np.full(shares.shape, np.nan)
    if finite.any():
        out[finite] = uhn.separate(shares[finite], "softmax", beta=param)
    return out


def _weights(scores: _Array, separation: str, param: float) -> _Array:
    degree = _degree(separation)
    out: _Array
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        shares = scores / scores.sum(axis=1, keepdims=True)
        if separation == "max":
            out = np.zeros(shares.shape)
            out[np.arange(len(out)), np.argmax(shares, axis=1)] = 1
            return out
        if degree:
            out = _power(shares, degree)
        elif separation == "log":
            out = np.log(shares)
        elif separation == "sqrt":
            out = np.sqrt(shares)
        elif separation == "softmax":
            out = _softmax(shares, param)
        else:
            out = shares
        out /= out.sum(axis=1, keepdims=True)
        return out


def weights(scores: Any, separation: str, param: float = 1000.0) -> _Array:
    """Weights of the patterns: scores divided by their sum, separated, divided by their sum.

    Parameters
    ----------
    scores : array_like of shape (n_queries, n_patterns)
        As `scores` gives them; inf and NaN are allowed and do what they do there.
    separation : str
        One of `SEPARATIONS`, or ``polynomial:n`` with another whole n.
    param : float
        What softmax multiplies the scores by, once they sum to 1; finite and at least 0. The
        other separations ignore it.

    Returns
    -------
    ndarray of float64, shape (n_queries, n_patterns)

    Raises
    ------
    ValueError
        An unknown name, scores that are no matrix, a `param` out of range.
    """
    matrix = np.ascontiguousarray(scores, dtype=np.float64)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"scores must have shape (n_queries, n_patterns), not {matrix.shape}")
    _check_param(param)
    return _weights(matrix, separation, param)


def _check_param(param: float) -> None:
    if not 0 <= param < np.inf:
        raise ValueError(f"param must be finite and at least 0, not {param}")


# ------------------------------------------------------------------------------------ trials --


def trial(
    patterns: Any,
    queries: Any,
    similarity: str,
    separation: str = "max",
    *,
    values: Any = None,
    param: float = 1000.0,
    targets: Any = None,
    binary: bool = False,
    scored: Any = None,
) -> Outcome:
    """Every query put to the memory once, by the published procedure.

    Parameters
    ----------
    patterns : array_like of shape (n_patterns, n_features)
    queries : array_like of shape (n_queries, n_features)
    similarity : str
        One of `SIMILARITIES`.
    separation : str
        One of `SEPARATIONS`, or ``polynomial:n`` with another whole n.
    values : array_like of shape (n_patterns, n_values), optional
        What is recalled; the patterns themselves by default.
    param : float
        Of softmax, see `weights`.
    targets : array_like of shape (n_queries, n_values), optional
        What should come back. By default query i is a damaged pattern i, and its target is
        ``values[i]``.
    binary : bool
        The published ``network_type="classical_hopfield"``: patterns, queries, values and
        targets go through `bipolar`, and so does the sign of the answer. (The published code
        damages the bipolar patterns, so `queries` should be damaged ``bipolar(patterns)``.)
    scored : array_like of shape (n_queries, n_patterns), optional
        What `scores` gives for these patterns, queries and similarity, if it is at hand;
        several separations can share it. Not for a binary network.

    Returns
    -------
    Outcome

    Raises
    ------
    ValueError
        Unknown names; arrays that are no finite matrices or do not fit together; more queries
        than patterns and no `targets`.

    Examples
    --------
    >>> from uhn import datasets
    >>> from uhn.experiments import published
    >>> images = datasets.load("glyphs", n_images=20).images
    >>> queries = images.copy()
    >>> queries[:, 128:] = 0  # the lower half
    >>> for similarity in "manhattan", "jensen_shannon":
    ...     outcome = published.trial(images, queries, similarity)
    ...     print(similarity, (outcome.winners == range(20)).sum())
    manhattan 17
    jensen_shannon 0
    """
    patterns, queries = _matrix(patterns, "patterns"), _matrix(queries, "queries")
    _same_width(patterns, queries)
    recalled = patterns if values is None else _matrix(values, "values")
    if len(recalled) != len(patterns):
        raise ValueError(f"{len(recalled)} values for {len(patterns)} patterns; one for each")
    if targets is None:
        if len(queries) > len(patterns):
            raise ValueError(
                f"{len(queries)} queries for {len(patterns)} patterns: without targets, query "
                "i asks for pattern i"
            )
        wanted = recalled[: len(queries)]
    else:
        wanted = _matrix(targets, "targets")
        if wanted.shape != (len(queries), recalled.shape[1]):
            raise ValueError(
                f"targets of shape {wanted.shape} for {len(queries)} queries and values of "
                f"{recalled.shape[1]} features"
            )
    if binary:
        patterns, queries, recalled, wanted = map(
            bipolar, (patterns, queries, recalled, wanted)
        )
    _check_param(param)
    _degree(separation)

    if scored is not None:
        scored = np.asarray(scored, dtype=np.float64)
        if binary or scored.shape != (len(queries), len(patterns)):
            raise ValueError(
                f"scored must have shape {(len(queries), len(patterns))}, not {scored.shape}, "
                "and is not for a binary network"
            )
    scorer = None if scored is not None else _Scorer(patterns, similarity)
    recall = _Recall(recalled, binary, by_index=separation == "max")
    errors = np.empty(len(queries))
    winners = np.empty(len(queries), dtype=np.int64)
    for part in _chunks(len(queries), max(*patterns.shape, recalled.shape[1])):
        some = scored[part] if scorer is None else scorer(queries[part])
        if separation == "max":
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                shares = some / some.sum(axis=1, keepdims=True)
            winners[part] = np.argmax(shares, axis=1)
            answers = recall.rows(winners[part])
        else:
            answers, winners[part] = recall.mixtures(_weights(some, separation, param))
        gaps = answers - wanted[part]
        errors[part] = np.multiply(gaps, gaps, out=gaps).sum(axis=1)
    return Outcome(errors, winners)


class _Recall:
    """From weights to answers."""

    def __init__(self, values: _Array, binary: bool, by_index: bool) -> None:
        self.values = values
        self.binary = binary
        if not by_index:
            # An answer is a row of weights times the values: the dot products of the weights
            # with the columns, each summed in an order that does not depend on the others.
            self.columns = uhn.Memory(np.ascontiguousarray(values.T), similarity="dot")
            # Ranks need no more than float32: ties but for rounding are copies.
            self.nearest = uhn.Memory(values.astype(np.float32), similarity="sqeuclidean")

    def _finish(self, answers: _Array) -> _Array:
        # -1 for an answer that is not above 0, NaN among them.
        return np.where(answers > 0, 1.0, -1.0) if self.binary else answers

    def rows(self, winners: _Indices) -> _Array:
        """The values of patterns that have all the weight."""
        return self._finish(self.values[winners])

    def mixtures(self, weights: _Array) -> tuple[_Array, _Indices]:
        """Answers, and the values nearest to them."""
        finite = np.isfinite(weights).all(axis=1)
        answers = np.full((len(weights), self.values.shape[1]), np.nan)
        if finite.any():
            answers[finite] = self.columns.scores(weights[finite])
        answers = self._finish(answers)
        winners = np.full(len(weights), -1, dtype=np.int64)
        numbers = finite | self.binary
        if numbers.any():
            winners[numbers] = self.nearest.nearest(answers[numbers].astype(np.float32))[0][
                :, 0
            ]
        return answers, winners


# ------------------------------------------------------------------------------- differences --


@dataclass(frozen=True)
class Difference:
    """One departure of the published procedure from the mathematics, and what it does.

    Attributes
    ----------
    name : str
    explanation : str
        What the code does, and what it should do; a sentence or two.
    published, clean : float
        The same quantity by the published procedure and without the defect.
    unit : str
        What the two numbers are.
    """

    name: str
    explanation: str
    published: float
    clean: float
    unit: str


_FOUND = "fraction of images found again"


def _clean(images: _Images, queries: _Images, **keywords: Any) -> _Flags:
    """Which images a memory of the library finds again."""
    memory = uhn.Memory(images, **keywords)
    if keywords.get("separation") != "max":
        queries = memory.retrieve(queries)
        memory = uhn.Memory(images, similarity="sqeuclidean")
    return own(memory.nearest(queries)[0][:, 0], images)


def differences(
    dataset: Dataset, *, n_patterns: int = 100, seed: int = 0
) -> tuple[Difference, ...]:
    """What each defect of the published procedure does to a memory of a data set's images.

    Parameters
    ----------
    dataset : Dataset
        Images whose `shape` is known. Those flagged in `grey` are what the published loader
        leaves black.
    n_patterns : int
        So many of the first images are stored, and asked for one by one; at least 2.
    seed : int
        Of the noise; at least 0.

    Returns
    -------
    tuple of Difference
        A little over a dozen, in the order of the procedure: queries, similarities,
        separations, the criterion.

    Raises
    ------
    ValueError
        Fewer images than asked for, or a shape that is no image's.

    Notes
    -----
    Unless the name says otherwise, queries have noise of standard deviation 0.5, folded as
    published, the separation is `max`, and an image counts as found if the pattern that won (or
    that is nearest to the answer) is it or a copy of it.
    """
    images = np.ascontiguousarray(dataset.images[:n_patterns], dtype=np.float32)
    n = len(images)
    if not 2 <= n_patterns <= n:
        raise ValueError(
            f"n_patterns must be from 2 to the number of images, {len(dataset.images)}, not "
            f"{n_patterns}"
        )
    shape = dataset.shape

    def damaged(rows: npt.NDArray[Any], how: Corruption, layout: tuple[int, ...]) -> _Images:
        return how(rows, layout, np.random.default_rng(seed))

    folded = damaged(images, Gaussian(0.5, fold=True), shape)
    clipped = damaged(images, Gaussian(0.5), shape)
    half = Mask(0.5)
    out: list[Difference] = []

    def add(
        name: str, explanation: str, published: Any, clean: Any, unit: str = _FOUND
    ) -> None:
        out.append(Difference(name, explanation, float(published), float(clean), unit))

    def found(queries: _Images, similarity: str, separation: str = "max") -> _Flags:
        return own(trial(images, queries, similarity, separation).winners, images)

    # The queries.
    dark = images < 0.1
    add(
        "folded noise: background",
        "The absolute value is taken of a noisy image before it is clipped, so that noise "
        "brightens a dark background twice as much as a clip would.",
        folded[dark].mean(dtype=np.float64) if dark.any() else np.nan,
        clipped[dark].mean(dtype=np.float64) if dark.any() else np.nan,
        "mean of a query where the image is below 0.1",
    )
    add(
        "folded noise",
        "The same, for the sum-normalised dot product.",
        found(folded, "normalized_dot").mean(),
        found(clipped, "normalized_dot").mean(),
    )
    add(
        "ignored perturbation",
        "The function behind the similarity figure takes the perturbation as an argument and "
        "uses noise whatever it is; asked for a masked lower half, it gives the left number.",
        found(folded, "manhattan").mean(),
        found(damaged(images, half, shape), "manhattan").mean(),
    )
    ones = np.ones((1, images.shape[1]), dtype=np.float32)
    lower = damaged(ones, half, shape) == 0
    add(
        "mask of pixels stored as rows, columns, channels",
        "Colour images are read as three planes whatever their layout. For planes that is "
        'right; for pixels of three values the lower half of each "plane" is a band of the '
        "image.",
        ((damaged(ones, half, _as_read(shape)) == 0) & lower).sum() / lower.sum(),
        1.0,
        "fraction of the lower half that is zeroed when it is masked",
    )
    signs = bipolar(images)
    noise = np.random.default_rng(seed).standard_normal(images.shape, dtype=np.float32)
    add(
        "bipolar queries",
        "Bipolar patterns are given the noise of images, whose absolute value and clip make "
        "every -1 a 1: all queries are the same.",
        len(np.unique(bipolar(damaged(signs, Gaussian(1e-7, fold=True), shape)), axis=0)),
        len(np.unique(np.sign(signs + np.float32(1e-7) * noise), axis=0)),
        f"distinct queries for {n} bipolar images",
    )

    # The similarities.
    reciprocal, negative = (
        found(folded, "manhattan"),
        _clean(images, folded, **equation("manhattan")),
    )
    add(
        "reciprocal distance, max",
        "A distance is made a similarity by its reciprocal where one would negate it. The "
        f"largest is the same: {np.count_nonzero(reciprocal != negative)} of {n} trials end "
        "differently.",
        reciprocal.mean(),
        negative.mean(),
    )
    reciprocal = found(folded, "manhattan", "softmax")
    negative = _clean(images, folded, similarity="manhattan", separation="softmax", beta=1.0)
    add(
        "reciprocal distance, softmax",
        "Under a softmax it matters: of reciprocals that sum to 1, times 1000, against the "
        "negative distance, times 1, "
        f"{np.count_nonzero(reciprocal != negative)} of {n} trials end differently.",
        reciprocal.mean(),
        negative.mean(),
    )
    scored = scores(images, folded, "manhattan")
    asked = [uhn.separate(-1 / scored, "softmax", beta=beta) for beta in (1.0, 1000.0)]
    add(
        "beta",
        "Scores are multiplied by beta and then divided by their sum, so that beta does "
        "nothing; in softmax(-beta distance) it is the inverse temperature.",
        np.abs(weights(scored, "softmax") - weights(1000 * scored, "softmax")).max(),
        np.abs(asked[0] - asked[1]).max(),
        "largest change of a weight between beta = 1 and beta = 1000",
    )
    add(
        "Jensen-Shannon",
        "The reciprocal is taken of the mean of two reciprocals, which grows with the "
        "divergence, and there is no mixture of the two distributions in it.",
        found(folded, "jensen_shannon").mean(),
        _clean(images, folded, **equation("jensen_shannon")).mean(),
    )
    add(
        "cosine",
        "The dot product is divided by the Frobenius norm of the whole matrix, not by each "
        "pattern's norm, so that it orders patterns as the dot product does (it is not in the "
        "figures).",
        found(folded, "cosine").mean(),
        _clean(images, folded, **equation("cosine")).mean(),
    )
    add(
        "Kullback-Leibler: epsilon",
        "1e-4 is added to every probability, which is not small beside 1/D, and nothing is "
        "normalised again; the clean side adds 1e-6 to both and normalises.",
        found(folded, "kl").mean(),
        _clean(images, folded, **equation("kl")).mean(),
    )
    faint = damaged(images, Gaussian(0.005, fold=True), shape)
    eps = equation("reverse_kl")["eps"]
    proper = uhn.similarity(
        images.astype(np.float64), faint.astype(np.float64), "reverse_kl", eps=eps
    )
    add(
        "reverse Kullback-Leibler: sign",
        "For the same reason a divergence can be negative, and so its reciprocal (noise of "
        "0.005). Such trials are saved where the sum of the scores is negative too.",
        np.count_nonzero(scores(images, faint, "reverse_kl") < 0),
        np.count_nonzero(proper > 0),
        f"pairs of {n * n} with a negative divergence",
    )
    flags = getattr(dataset, "grey", None)
    grey = np.zeros(n, dtype=np.bool_) if flags is None else np.asarray(flags[:n])
    black = np.where(grey[:, None], np.float32(0), images)
    as_loaded = trial(black, damaged(black, Gaussian(0.5, fold=True), shape), "normalized_dot")
    add(
        "grey images",
        f"{grey.sum()} of {n} images have one channel. The published loader leaves such images "
        "black; their sum is 0, and one of them makes every score of every query NaN.",
        own(as_loaded.winners, black).mean(),
        found(folded, "normalized_dot").mean(),
    )

    # The separations and the criterion.
    inverted = weights(scored, "log")
    upright = uhn.separate(scored, "log1p", normalize_scores=True, normalize="sum")
    worst = scored.argmin(axis=1)
    add(
        "log",
        "The logarithm of scores below 1 is negative, and division by the negative sum gives "
        "the least similar pattern the largest weight; log(1 + s) does not.",
        (inverted.argmax(axis=1) == worst).mean(),
        (upright.argmax(axis=1) == worst).mean(),
        "fraction of queries where the worst pattern has the largest weight",
    )
    add(
        "exact match",
        "A query equal to a pattern has an infinite score; divided by the infinite sum that is "
        "NaN, and under all separations but max the answer with it (softmax, no damage).",
        found(images, "manhattan", "softmax").mean(),
        _clean(images, images, similarity="manhattan", separation="softmax", beta=1.0).mean(),
    )
    limit = default_threshold(images.shape[1])
    mean = images.mean(axis=0, dtype=np.float64)
    gaps = ((images - mean) ** 2).sum(axis=1)
    add(
        "threshold",
        "An answer within a squared error of 60 is correct, whatever the number of values (a "
        f"later version of the code scales that; here {limit:.4g}). The mean of all that is "
        "stored is such an answer for many images.",
        (gaps <= 60).mean(),
        (gaps <= limit).mean(),
        "fraction of images for which the mean image is correct",
    )
    return tuple(out)


def _as_read(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape the published code takes images for: rows and columns, or planes of them."""
    if len(shape) == 3 and row_axis(shape) == 0:
        return (shape[2], *shape[:2])
    return shape
