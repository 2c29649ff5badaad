"""The cells of an experiment as tasks: what is stored, what is asked, how it is judged.

Randomness. The luck of a cell depends on the seed and the cell's coordinates (kind of damage,
level, run, number of patterns) alone, not on the order of the work, and every similarity and
separation meets the same damaged images, so that curves are compared pairwise.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import uhn
from uhn.datasets import Dataset, fingerprint
from uhn.experiments import clean, corruptions, published
from uhn.experiments.clean import Equation
from uhn.experiments.corruptions import Corruption, Mask
from uhn.experiments.results import BASELINE, BOTTOM_HALF, Row
from uhn.experiments.running import Key, Provenance

__all__ = ["Images", "Task", "as_images", "cell_rng", "plan"]

_Images = npt.NDArray[np.float32]
_Flags = npt.NDArray[np.bool_]


def cell_rng(seed: int, *coordinates: Any) -> np.random.Generator:
    """A generator for one cell: a function of the seed and the coordinates, and of nothing
    else.

    The coordinates are hashed as text (SHA-256), as Python's own hash differs between
    processes.
    """
    digest = hashlib.sha256(repr(coordinates).encode("utf-8")).digest()
    words = np.frombuffer(digest, dtype="<u4").tolist()
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))


@dataclass(frozen=True)
class Images:
    """What tasks work on: images of one data set and their layout.

    Attributes
    ----------
    images : ndarray of float32, shape (n, d)
        Values in [0, 1].
    shape : tuple of int
        Of one image, () if unknown.
    grey : ndarray of bool, shape (n,), or None
        Which were single-channel files of a set in colour.
    """

    images: _Images
    shape: tuple[int, ...] = ()
    grey: _Flags | None = None

    def stored(self, first: int, n: int, procedure: str) -> _Images:
        """Patterns of a memory. The published code leaves single-channel files at zero."""
        rows = self.images[first : first + n]
        if procedure == "published" and self.grey is not None:
            rows = np.where(self.grey[first : first + n, np.newaxis], np.float32(0), rows)
        return rows

    def layout(self, procedure: str) -> tuple[int, ...]:
        """The shape that corruptions are told. The published code takes (rows, columns,
        channels) for (channels, rows, columns)."""
        channels_last = len(self.shape) == 3 and corruptions.row_axis(self.shape) == 0
        if procedure == "published" and channels_last:
            return (self.shape[2], self.shape[0], self.shape[1])
        return self.shape


def as_images(patterns: Any, shape: tuple[int, ...] | None) -> Images:
    """What tasks work on, from a data set or any array of images.

    Parameters
    ----------
    patterns : Dataset or array_like of shape (n, d) or (n, *shape)
        Values in [0, 1].
    shape : tuple of int or None
        Of one image, where `patterns` is a matrix; it may stay unknown.

    Raises
    ------
    ValueError
        No matrix of real numbers in [0, 1], or a shape that does not fit.
    """
    if isinstance(patterns, Dataset):
        return Images(patterns.images, patterns.shape, patterns.grey)
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
    return Images(np.ascontiguousarray(array, dtype=np.float32), tuple(shape or ()))


@dataclass(frozen=True)
class Task:
    """Cells that share what is stored and what is asked: one size, one damage, one run.

    Each equation makes a cell, and a cell a row for each threshold. It is a task of
    `uhn.experiments.running`.

    Attributes
    ----------
    experiment, dataset, procedure : str
        For the rows; `procedure` is "published" or "clean".
    equations : tuple of Equation
    n_patterns, first : int
        Images ``[first, first + n_patterns)`` are stored, and each is asked for once.
    corruption : Corruption
    run_number : int
        From 0.
    thresholds : tuple of float
        Largest squared errors that count as correct.
    seed : int
    data : str
        Fingerprint of the images stored.
    n_features : int
        Of an image, for the cost.
    binary : bool
        Whether images, queries and answers are made bipolar.
    """

    experiment: str
    dataset: str
    procedure: str
    equations: tuple[Equation, ...]
    n_patterns: int
    corruption: Corruption
    run_number: int
    first: int
    thresholds: tuple[float, ...]
    seed: int
    data: str
    n_features: int
    binary: bool = False

    @property
    def cost(self) -> float:
        # About as many comparisons as there are pairs, and something for being there.
        pairs = (self.n_patterns**2 + 20_000) * (self.n_features + 200)
        return float(pairs * len(self.equations))

    @property
    def provenance(self) -> Provenance:
        return (("version", uhn.__version__),)

    def _row(self, equation: Equation, threshold: float, **measured: Any) -> Row:
        empty = {"correct_threshold": 0, "correct_index": 0, "seconds": 0.0}
        counts = empty | measured
        return Row(
            experiment=self.experiment,
            dataset=self.dataset,
            procedure=self.procedure,
            similarity=equation.similarity,
            separation=equation.separation,
            projection=equation.projection,
            equation=equation.text,
            n_patterns=self.n_patterns,
            corruption=self.corruption.name,
            level=self.corruption.level,
            run=self.run_number,
            threshold=threshold,
            n_trials=self.n_patterns,
            accuracy_threshold=counts["correct_threshold"] / self.n_patterns,
            accuracy_index=counts["correct_index"] / self.n_patterns,
            data=self.data,
            seed=self.seed,
            version=uhn.__version__,
            **counts,
        )

    def keys(self) -> Sequence[Key]:
        return [self._row(e, t).key for e in self.equations for t in self.thresholds]

    def run(self, data: Images, wanted: Collection[Key]) -> Iterator[Sequence[Row]]:
        stored: npt.NDArray[Any] = data.stored(self.first, self.n_patterns, self.procedure)
        layout = data.layout(self.procedure)
        coordinates = (self.corruption.kind, self.corruption.level)
        rng = cell_rng(self.seed, *coordinates, self.run_number, self.n_patterns)
        damaged = stored
        if self.binary and self.procedure == "published":
            # The published network is damaged after it is made bipolar, by the noise that is
            # folded and clipped to [0, 1]: of +1 and -1 alike, 1 is left.
            damaged = published.bipolar(stored)
        queries: npt.NDArray[Any] = self.corruption(damaged, layout, rng)
        if self.procedure == "published":
            # It computes in double precision: converted once, for all cells.
            queries, stored = queries.astype(np.float64), stored.astype(np.float64)
        # Scores that several cells of the published procedure read are made once.
        scored: dict[str, npt.NDArray[np.float64]] = {}
        names = [one.similarity for one in self.equations if one.separation != BASELINE]
        for one in self.equations:
            rows = [self._row(one, threshold) for threshold in self.thresholds]
            rows = [row for row in rows if row.key in wanted]
            if not rows:
                continue
            start = time.perf_counter()
            values = stored
            if one.projection == BOTTOM_HALF:
                values = Mask(0.5, side="top")(stored, layout, rng).astype(stored.dtype)
            shared = self.procedure == "published" and not self.binary
            if shared and names.count(one.similarity) > 1 and one.similarity not in scored:
                scored[one.similarity] = published.scores(stored, queries, one.similarity)
            scores = scored.get(one.similarity)
            errors, winners = self._ask(one, stored, queries, values, scores)
            recalled = published.bipolar(values) if self.binary else values
            right = int(np.count_nonzero(clean.own(winners, recalled)))
            seconds = time.perf_counter() - start
            yield [
                self._row(
                    one,
                    row.threshold,
                    correct_threshold=int(np.count_nonzero(errors <= row.threshold)),
                    correct_index=right,
                    seconds=seconds,
                )
                for row in rows
            ]

    def _ask(
        self,
        one: Equation,
        stored: npt.NDArray[Any],
        queries: npt.NDArray[Any],
        values: npt.NDArray[Any],
        scores: npt.NDArray[np.float64] | None,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        if one.separation == BASELINE:
            mean = values.mean(axis=0, dtype=np.float64, keepdims=True).astype(values.dtype)
            errors = clean.squared_errors(np.broadcast_to(mean, values.shape), values)
            return errors, np.full(len(values), errors.argmin())
        if self.procedure == "clean":
            return clean.trial(stored, queries, dict(one.keywords), values, self.binary)
        outcome = published.trial(
            stored,
            queries,
            one.similarity,
            one.separation,
            values=None if values is stored else values,
            binary=self.binary,
            scored=scores,
        )
        return outcome.errors, outcome.winners


def plan(
    images: Images,
    *,
    experiment: str,
    dataset: str,
    procedure: str,
    equations: Sequence[Equation],
    sizes: Sequence[int],
    damages: Sequence[Corruption],
    n_runs: int,
    thresholds: Sequence[float],
    seed: int,
    binary: bool = False,
) -> list[Task]:
    """The tasks of an experiment, by size, damage and run.

    Run r takes images ``[r * max(sizes), (r + 1) * max(sizes))`` and a smaller memory the first
    of them; there must be ``n_runs * max(sizes)``. The other parameters are those of `Task`.
    """
    tasks = []
    prints: dict[tuple[int, int], str] = {}
    for n in sizes:
        for damage in damages:
            for number in range(n_runs):
                first = number * max(sizes)
                if (first, n) not in prints:
                    prints[first, n] = fingerprint(images.stored(first, n, procedure))
                tasks.append(
                    Task(
                        experiment=experiment,
                        dataset=dataset,
                        procedure=procedure,
                        equations=tuple(equations),
                        n_patterns=n,
                        corruption=damage,
                        run_number=number,
                        first=first,
                        thresholds=tuple(thresholds),
                        seed=seed,
                        data=prints[first, n],
                        n_features=images.images.shape[1],
                        binary=binary,
                    )
                )
    return tasks
