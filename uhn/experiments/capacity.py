"""Capacity: how many images can be stored before a damaged one no longer brings back the whole.

The protocol is that of Millidge, Salvatori, Song, Lukasiewicz and Bogacz (Universal Hopfield
Networks, ICML 2022). Run r takes its own slice of the images, as long as the largest memory; a
smaller memory holds the first images of the slice. Every stored image is one trial: it is
damaged, the memory is asked once, and the trial counts as correct

by threshold
    if the squared error (summed over the values of the image) is at most `threshold`. This is
    the published criterion. It can be fooled: where images are alike, their mean is near enough
    to many of them. So the answer "the mean of what is stored" is scored too, as a baseline.
by index
    if the stored image nearest to the answer (squared Euclidean distance, lowest index on ties)
    is the image asked for, or a copy of it. Where one pattern takes all the weight (`max`) that
    is the pattern that won, and it is read from ``nearest(query, 1)``.

What is done otherwise than in the published code, and why
----------------------------------------------------------
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

Randomness. The noise of a cell depends on the seed and the cell's coordinates (corruption,
level, run, number of patterns) alone, not on the order of the work, and every similarity and
separation meets the same damaged images, so that curves are compared pairwise.

Intervals are Wilson's for the trials pooled over runs. They treat trials as independent; trials
of one run share a memory, so the spread between runs (in the rows of the CSV) can be wider.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import IO, Any

import numpy as np
import numpy.typing as npt

import uhn
from uhn._statistics import wilson
from uhn.datasets import Dataset
from uhn.experiments.corruptions import KINDS, corrupt, row_axis

__all__ = [
    "BASELINE",
    "EPS",
    "SEPARATIONS",
    "SIMILARITIES",
    "SIZES",
    "CapacityResult",
    "Curve",
    "Point",
    "Row",
    "capacity",
    "default_threshold",
    "equation",
    "wilson",
]

SIZES = (2, 5, 10, 20, 50, 100, 200, 300, 500, 700, 1000)
"""Published numbers of stored patterns."""

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

BASELINE = "mean image"
"""The separation's name in the rows of the baseline, whose similarity is ""."""

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


# ------------------------------------------------------------------------------------- results
# ---


@dataclass(frozen=True)
class Row:
    """One cell: one equation, one size, one run. The fields are the columns of the CSV file.

    `equation` lists the parameters of the separation and similarity in force; `*_low` and
    `*_high` bound Wilson's 95 % interval.
    """

    dataset: str
    corruption: str
    level: float
    similarity: str
    separation: str
    equation: str
    n_patterns: int
    run: int
    n_trials: int
    threshold: float
    correct_threshold: int
    fraction_threshold: float
    threshold_low: float
    threshold_high: float
    correct_index: int
    fraction_index: float
    index_low: float
    index_high: float
    seed: int
    version: str


COLUMNS = tuple(field.name for field in fields(Row))


@dataclass(frozen=True)
class Point:
    """A point of a curve: the trials of all runs together."""

    n_patterns: int
    n_trials: int
    correct: int
    fraction: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """The points of one equation, by each criterion, in ascending order of size."""

    similarity: str
    separation: str
    equation: str
    threshold: tuple[Point, ...]
    index: tuple[Point, ...]

    @property
    def is_baseline(self) -> bool:
        return self.separation == BASELINE


@dataclass(frozen=True)
class CapacityResult:
    """What `capacity` returns: its settings and one `Row` a cell.

    Attributes
    ----------
    dataset : str
    shape : tuple of int
        Shape of one image, () if unknown.
    corruption, level, n_runs, seed, threshold
        As given or chosen.
    rows : tuple of Row
    note : str
        What must be said beside the data set's name.
    """

    dataset: str
    shape: tuple[int, ...]
    corruption: str
    level: float
    n_runs: int
    seed: int
    threshold: float
    rows: tuple[Row, ...]
    note: str = ""

    def curves(self) -> tuple[Curve, ...]:
        """Rows pooled over runs: one curve an equation, in the order they were asked for."""
        groups: dict[tuple[str, str, str], dict[int, list[Row]]] = {}
        for row in self.rows:
            sizes = groups.setdefault((row.similarity, row.separation, row.equation), {})
            sizes.setdefault(row.n_patterns, []).append(row)

        def points(sizes: dict[int, list[Row]], correct: str) -> Iterator[Point]:
            for size in sorted(sizes):
                n = sum(row.n_trials for row in sizes[size])
                k = sum(getattr(row, correct) for row in sizes[size])
                yield Point(size, n, k, k / n, *wilson(k, n))

        return tuple(
            Curve(
                *key,
                threshold=tuple(points(sizes, "correct_threshold")),
                index=tuple(points(sizes, "correct_index")),
            )
            for key, sizes in groups.items()
        )

    def labels(self) -> tuple[str, ...]:
        """A short name for every curve: the part of its equation that the others do not
        share."""
        curves = self.curves()
        own = [curve for curve in curves if not curve.is_baseline]
        one_similarity = len({curve.similarity for curve in own}) == 1
        one_separation = len({curve.separation for curve in own}) == 1
        names = []
        for curve in curves:
            if curve.is_baseline:
                names.append(BASELINE)
            elif one_separation:
                names.append(curve.similarity)
            elif one_similarity:
                names.append(curve.separation)
            else:
                names.append(f"{curve.similarity}, {curve.separation}")
        return tuple(names)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes the rows as a CSV file with a header line."""
        with open(path, "w", newline="", encoding="utf-8") as stream:
            writer = RowWriter(stream)
            for row in self.rows:
                writer.write(row)

    def to_dict(self) -> dict[str, Any]:
        """Settings and pooled curves as plain dicts, lists, numbers and strings, for JSON."""
        return {
            "dataset": self.dataset,
            "note": self.note,
            "shape": list(self.shape),
            "corruption": self.corruption,
            "level": self.level,
            "n_runs": self.n_runs,
            "seed": self.seed,
            "threshold": self.threshold,
            "curves": [asdict(curve) for curve in self.curves()],
        }

    def table(self) -> str:
        """Fractions correct as text: one line a curve, one column a size, one part a
        criterion."""
        curves, labels = self.curves(), self.labels()
        sizes = sorted({row.n_patterns for row in self.rows})
        width = max([len(label) for label in labels] + [len("patterns stored")])
        lines = [self.title(), self.subtitle(), ""]
        names = {
            "threshold": f"correct by threshold (squared error <= {self.threshold:.4g})",
            "index": "correct by index (the stored image nearest to the answer is the one)",
        }
        for criterion, head in names.items():
            lines.append(head)
            lines.append(
                "patterns stored".ljust(width) + "".join(f"{size:>7}" for size in sizes)
            )
            for curve, label in zip(curves, labels, strict=True):
                points = {point.n_patterns: point for point in getattr(curve, criterion)}
                cells = (
                    f"{points[size].fraction:7.3f}" if size in points else " " * 6 + "-"
                    for size in sizes
                )
                lines.append(label.ljust(width) + "".join(cells))
            lines.append("")
        return "\n".join(lines[:-1])

    def title(self) -> str:
        """What was measured on what, in a line."""
        damage = (
            f"Gaussian noise, s.d. {self.level:g}, clipped"
            if self.corruption == "noise"
            else f"bottom {100 * self.level:g} % masked"
        )
        image = " x ".join(map(str, self.shape)) or "vectors"
        return f"Retrieval from {self.dataset} ({image}): {damage}"

    def subtitle(self) -> str:
        """What the curves have in common and how they were measured, in a line."""
        own = [curve for curve in self.curves() if not curve.is_baseline]
        similarities = {curve.similarity for curve in own}
        separations = {curve.separation for curve in own}
        equations = [dict(p.split("=", 1) for p in c.equation.split()) for c in own]

        def values(key: str) -> set[str]:
            return {equation[key] for equation in equations if key in equation}

        parts = []
        inverse = "inverse" in values("transform")
        if len(separations) == 1:
            parts.append(f"separation {separations.pop()}")
        elif len(similarities) == 1:
            name = similarities.pop()
            parts.append(f"similarity {f'1/({name} + {EPS:g})' if inverse else name}")
        # What only some curves read is said once, if they agree on it.
        if values("normalize_scores"):
            parts.append("scores divided by their sum")
        with_beta = {c.separation for c in own if "beta=" in c.equation}
        if len(with_beta) == 1 and len(values("beta")) == 1:
            parts.append(f"{with_beta.pop()} with beta = {float(values('beta').pop()):g}")
        if len(values("eps")) == 1 and not inverse:
            parts.append(f"divergences with eps = {values('eps').pop()}")
        parts.append(f"{self.n_runs} run{'s' if self.n_runs != 1 else ''}")
        parts.append("one trial per stored image")
        parts.append("bands: Wilson 95 %")
        return "; ".join(parts)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draws both criteria side by side; needs matplotlib.

        Parameters
        ----------
        path : path, optional
            Where to write the figure; its ending says the format (png, pdf, svg).

        Returns
        -------
        matplotlib.figure.Figure
        """
        from uhn.plot import plot_capacity

        return plot_capacity(self, path)


class RowWriter:
    """Writes rows to a CSV stream one by one, each on disk before the next is computed."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._writer = csv.writer(stream, lineterminator="\n")
        self._writer.writerow(COLUMNS)
        stream.flush()

    def write(self, row: Row) -> None:
        # repr of a float is the shortest text that reads back as the same number.
        self._writer.writerow(getattr(row, column) for column in COLUMNS)
        self._stream.flush()


# ------------------------------------------------------------------------------------ equations
# --


def _parse_separation(separation: str) -> dict[str, Any]:
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
    stated = _parse_separation(separation)
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


def _equations(
    similarities: Sequence[str | Mapping[str, Any]],
    separations: Sequence[str | Mapping[str, Any]],
) -> list[tuple[str, str, dict[str, Any]]]:
    """Every pair, as (name of the similarity, name of the separation, keywords of Memory)."""
    if isinstance(similarities, (str, Mapping)):
        similarities = [similarities]
    if isinstance(separations, (str, Mapping)):
        separations = [separations]
    if not similarities or not separations:
        raise ValueError("similarities and separations must name at least one each")
    out = []
    for sim in similarities:
        for sep in separations:
            if isinstance(sim, str) and isinstance(sep, str):
                keywords = equation(sim, sep)
            else:
                # Whoever states keywords states them all; a name beside them is a name alone.
                keywords = {"similarity": sim} if isinstance(sim, str) else dict(sim)
                keywords |= _parse_separation(sep) if isinstance(sep, str) else dict(sep)
            out.append((_name(sim, "similarity"), _name(sep, "separation"), keywords))
    if len({(sim, sep) for sim, sep, _ in out}) < len(out):
        raise ValueError("the same similarity and separation are asked for twice")
    # An empty memory checks names and parameters before any work is done.
    for _, _, keywords in out:
        uhn.Memory(**keywords)
    return out


def _name(entry: str | Mapping[str, Any], key: str) -> str:
    if isinstance(entry, str):
        return entry
    if key not in entry:
        raise ValueError(
            f"a mapping for the {key} must have the key {key!r}, not {dict(entry)}"
        )
    rest = " ".join(f"{k}={v}" for k, v in entry.items() if k != key)
    return f"{entry[key]} {rest}".strip()


def _describe(keywords: Mapping[str, Any]) -> str:
    skip = ("similarity", "separation")
    return " ".join(
        f"{key}={value}" for key, value in sorted(keywords.items()) if key not in skip
    )


# --------------------------------------------------------------------------------- measurement
# ---


def default_threshold(n_features: int) -> float:
    """The largest squared error that counts as correct, for images of `n_features` values.

    ``60 * 784 / n_features`` as published (60 for MNIST, 15.3 for CIFAR-10, 3.83 for Tiny
    ImageNet). For images of fewer than 784 values that would exceed the distance between any
    two of them, so there it is ``60 * n_features / 784``, the same error per value as MNIST's.
    """
    if n_features >= 784:
        return 60 * 784 / n_features
    return 60 * n_features / 784


def cell_rng(seed: int, *coordinates: Any) -> np.random.Generator:
    """A generator for one cell: a function of the seed and the coordinates, and of nothing
    else.

    The coordinates are hashed as text (SHA-256), as Python's own hash differs between
    processes.
    """
    digest = hashlib.sha256(repr(coordinates).encode("utf-8")).digest()
    words = np.frombuffer(digest, dtype="<u4").tolist()
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))


def _images(patterns: Any, shape: tuple[int, ...] | None) -> tuple[_Images, tuple[int, ...]]:
    """Patterns as (n, d) float32 in [0, 1], and the shape of one image (() if unknown)."""
    array = np.asarray(patterns)
    if array.ndim < 2 or array.dtype.kind not in "fiub":
        raise ValueError(
            "patterns must be real numbers of shape (n_patterns, n_features) or (n_patterns, "
            f"*shape), not {array.dtype} of shape {array.shape}"
        )
    if shape is None and array.ndim > 2:
        shape = array.shape[1:]
    array = array.reshape(len(array), -1)
    if shape and math.prod(shape) != array.shape[1]:
        raise ValueError(f"shape {shape} does not fit patterns of {array.shape[1]} features")
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise ValueError("patterns must lie in [0, 1] (bytes: divide by 255)")
    return np.ascontiguousarray(array, dtype=np.float32), tuple(shape or ())


def _squared_errors(a: _Images, b: _Images) -> npt.NDArray[np.float64]:
    """Squared distances of paired rows, summed in double precision."""
    difference = np.subtract(a, b)
    errors: npt.NDArray[np.float64] = np.einsum(
        "ij,ij->i", difference, difference, dtype=np.float64
    )
    return errors


def _own(winners: npt.NDArray[np.int64], patterns: _Images) -> _Flags:
    """Whether pattern i, or a copy of it, is the winner of trial i."""
    own: _Flags = winners == np.arange(len(winners))
    for i in np.flatnonzero(~own):
        own[i] = np.array_equal(patterns[winners[i]], patterns[i])
    return own


def _memory(patterns: _Images, keywords: Mapping[str, Any]) -> uhn.Memory:
    # Scores that sum to 1 are 1/N on average, and a high power of that leaves float32.
    if keywords.get("degree", 1) * math.log10(len(patterns)) > 33:
        return uhn.Memory(patterns.astype(np.float64), **keywords)
    return uhn.Memory(patterns, **keywords)


def _trial(
    patterns: _Images, queries: _Images, keywords: Mapping[str, Any]
) -> tuple[npt.NDArray[np.float64], _Flags]:
    """Squared error of the answer and whether its nearest pattern is the right one, per
    query."""
    memory = _memory(patterns, keywords)
    if keywords["separation"] == "max":
        # The answer is the winner's pattern: one pass gives both.
        winners = memory.nearest(queries)[0][:, 0]
        answers = patterns[winners]
    else:
        answers = memory.retrieve(queries).astype(np.float32, copy=False)
        winners = uhn.Memory(patterns, similarity="sqeuclidean").nearest(answers)[0][:, 0]
    return _squared_errors(answers, patterns), _own(winners, patterns)


def capacity(
    patterns: Any,
    *,
    similarities: Sequence[str | Mapping[str, Any]] = SIMILARITIES,
    separations: Sequence[str | Mapping[str, Any]] = ("max",),
    sizes: Sequence[int] = SIZES,
    corruption: str = "noise",
    level: float = 0.5,
    n_runs: int = 5,
    seed: int = 0,
    threshold: float | None = None,
    shape: tuple[int, ...] | None = None,
    name: str | None = None,
    baseline: bool = True,
    on_row: Callable[[Row, float], None] | None = None,
) -> CapacityResult:
    """Fraction of damaged images that bring back the whole, for growing memories.

    Parameters
    ----------
    patterns : Dataset or array_like of shape (n, d) or (n, *shape)
        Values in [0, 1]; at least ``n_runs * max(sizes)`` of them. Run r uses patterns
        ``[r * max(sizes), (r + 1) * max(sizes))``, in the order given.
    similarities, separations : sequence of str or mapping
        Every pair is one curve. A string is a name as in `equation`, which also says the
        parameters; a mapping holds keywords of `uhn.Memory` and is used as it is, for instance
        ``{"separation": "softmax", "beta": 8.0}``.
    sizes : sequence of int
        Numbers of stored patterns, each at least 1.
    corruption : {"noise", "mask"}
    level : float
        Standard deviation of the noise, or the fraction of rows masked.
    n_runs : int
    seed : int
        At least 0.
    threshold : float, optional
        Largest squared error that counts as correct; `default_threshold` of d by default.
    shape : tuple of int, optional
        Shape of one image; needed for a mask if `patterns` is a matrix.
    name : str, optional
        What the data set is called in the results.
    baseline : bool
        Also score the answer "the mean of the stored patterns".
    on_row : callable, optional
        Called with every finished row and the fraction of the work that is done.

    Returns
    -------
    CapacityResult

    Raises
    ------
    ValueError
        Unknown names, too few patterns, values outside [0, 1], sizes, levels or runs that make
        no sense. All of it before the first cell.

    Notes
    -----
    A cell stores N patterns and asks all N queries in one call.

    Examples
    --------
    >>> from uhn import datasets
    >>> from uhn.experiments import capacity
    >>> images = datasets.load("glyphs", n_images=40)
    >>> result = capacity(images, similarities=["dot", "manhattan"], sizes=[5, 20], n_runs=2)
    >>> [point.n_trials for point in result.curves()[1].index]
    [10, 40]
    >>> print(result.table())  # doctest: +ELLIPSIS
    Retrieval from glyphs (16 x 16): Gaussian noise, s.d. 0.5, clipped
    separation max; 2 runs; one trial per stored image; bands: Wilson 95 %
    ...
    """
    note = ""
    if isinstance(patterns, Dataset):
        name, shape, note = name or patterns.name, shape or patterns.shape, patterns.note
        patterns = patterns.images
    images, shape = _images(patterns, shape)
    name = name or "patterns"
    sizes = sorted({int(size) for size in sizes})
    if not sizes or sizes[0] < 1:
        raise ValueError(f"sizes must be positive whole numbers, not {sizes}")
    if n_runs < 1:
        raise ValueError(f"n_runs must be at least 1, not {n_runs}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, not {seed}")
    if corruption not in KINDS:
        raise ValueError(f"unknown corruption {corruption!r}; there are: {', '.join(KINDS)}")
    top = 1 if corruption == "mask" else math.inf
    if not (0 <= level <= top and math.isfinite(level)):
        bounds = "from 0 to 1" if corruption == "mask" else "finite and at least 0"
        raise ValueError(f"level of {corruption!r} must be {bounds}, not {level}")
    if corruption == "mask":
        if not shape:
            raise ValueError("a mask needs shape=, the shape of one image")
        row_axis(shape)
    if n_runs * sizes[-1] > len(images):
        raise ValueError(
            f"{n_runs} runs of {sizes[-1]} patterns need {n_runs * sizes[-1]} images, there "
            f"are {len(images)}: take fewer runs or smaller sizes"
        )
    threshold = default_threshold(images.shape[1]) if threshold is None else float(threshold)
    if not (threshold >= 0 and math.isfinite(threshold)):
        raise ValueError(f"threshold must be finite and at least 0, not {threshold}")
    equations = _equations(similarities, separations)

    rows: list[Row] = []
    # A cell costs about as many comparisons as it has pairs, and something for being there.
    costs = {size: size * size + 20_000 for size in sizes}
    total = sum(costs.values()) * n_runs * len(equations)
    done = 0

    def finish(
        names: tuple[str, str, str],
        n: int,
        run: int,
        errors: npt.NDArray[np.float64],
        own: _Flags,
    ) -> None:
        by_threshold = int(np.count_nonzero(errors <= threshold))
        by_index = int(np.count_nonzero(own))
        row = Row(
            dataset=name,
            corruption=corruption,
            level=float(level),
            similarity=names[0],
            separation=names[1],
            equation=names[2],
            n_patterns=n,
            run=run,
            n_trials=n,
            threshold=threshold,
            correct_threshold=by_threshold,
            fraction_threshold=by_threshold / n,
            threshold_low=wilson(by_threshold, n)[0],
            threshold_high=wilson(by_threshold, n)[1],
            correct_index=by_index,
            fraction_index=by_index / n,
            index_low=wilson(by_index, n)[0],
            index_high=wilson(by_index, n)[1],
            seed=seed,
            version=uhn.__version__,
        )
        rows.append(row)
        if on_row is not None:
            on_row(row, done / total)

    for n in sizes:
        for run in range(n_runs):
            first = run * sizes[-1]
            stored = images[first : first + n]
            rng = cell_rng(seed, corruption, float(level), run, n)
            queries = corrupt(stored, corruption, float(level), shape, rng)
            for similarity, separation, keywords in equations:
                errors, own = _trial(stored, queries, keywords)
                done += costs[n]
                finish((similarity, separation, _describe(keywords)), n, run, errors, own)
            if baseline:
                mean = stored.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
                errors = _squared_errors(np.broadcast_to(mean, stored.shape), stored)
                own = _own(np.full(n, errors.argmin()), stored)
                finish(("", BASELINE, ""), n, run, errors, own)
    return CapacityResult(
        dataset=name,
        shape=shape,
        corruption=corruption,
        level=float(level),
        n_runs=n_runs,
        seed=seed,
        threshold=threshold,
        rows=tuple(rows),
        note=note,
    )
