"""A plan of real work for tests/test_running.py, as a program to be interrupted and killed.

``python running_workload.py FILE [--workers N] [--cells N] [--patterns N] [--last N]`` says
``row`` and the workers' process ids for every new row, and ``interrupted SECONDS`` (of the
clock) after Ctrl-C. The plan ends with two tasks of ``--last`` patterns.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Collection, Iterator, Sequence
from multiprocessing import active_children
from typing import Any

import numpy as np

import uhn
from uhn.experiments import running


@dataclasses.dataclass(frozen=True)
class Row:
    similarity: str
    n_patterns: int
    level: float
    threshold: float
    n_correct: int
    error: float
    seconds: float
    data: str

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.similarity, self.n_patterns, self.level, self.threshold)

    @property
    def provenance(self) -> running.Provenance:
        return (("data", self.data),)


@dataclasses.dataclass(frozen=True)
class Recall:
    """Recall from noise: a cell for every level, judged by each of the thresholds.

    `mishap` is raised, if it is an exception, before the cell of level `mishap_at`.
    """

    similarity: str
    n_patterns: int
    levels: tuple[float, ...] = (0.1, 0.5, 1.0)
    thresholds: tuple[float, ...] = (0.05, 0.2)
    data: str = "random"
    mishap: BaseException | None = None
    mishap_at: float = 0.5

    @property
    def cost(self) -> float:
        return float(len(self.levels) * self.n_patterns**2)

    @property
    def provenance(self) -> running.Provenance:
        return (("data", self.data),)

    def keys(self) -> Sequence[tuple[Any, ...]]:
        return [
            (self.similarity, self.n_patterns, level, threshold)
            for level in self.levels
            for threshold in self.thresholds
        ]

    def run(self, data: Any, wanted: Collection[tuple[Any, ...]]) -> Iterator[Sequence[Row]]:
        patterns = data[: self.n_patterns]
        memory = uhn.Memory(
            patterns, similarity=self.similarity, separation="softmax", beta=0.1
        )
        for level in self.levels:
            begun = time.perf_counter()
            if self.mishap is not None and level == self.mishap_at:
                raise self.mishap
            rng = np.random.default_rng([self.n_patterns, int(1000 * level)])
            noise = rng.standard_normal(patterns.shape, dtype=np.float32)
            answers = memory.retrieve(patterns + np.float32(level) * noise)
            errors = np.square(answers - patterns).mean(axis=-1)
            rows = [
                Row(
                    similarity=self.similarity,
                    n_patterns=self.n_patterns,
                    level=level,
                    threshold=threshold,
                    n_correct=int((errors <= threshold).sum()),
                    error=float(errors.sum(dtype=np.float64)),
                    seconds=time.perf_counter() - begun,
                    data=self.data,
                )
                for threshold in self.thresholds
            ]
            if cell := [row for row in rows if row.key in wanted]:
                yield cell


def images(n: int = 400) -> np.ndarray:
    return np.random.default_rng(0).random((n, 64), dtype=np.float32)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--patterns", type=int, default=300)
    parser.add_argument("--last", type=int)
    options = parser.parse_args()
    names = ("euclidean", "manhattan")
    n_tasks = options.cells // 3
    tasks = [Recall(names[i % 2], options.patterns + i) for i in range(n_tasks)]
    tasks += [Recall(name, options.last) for name in names if options.last]

    def say(row: Row) -> None:
        print("row", *(child.pid for child in active_children()), flush=True)

    n_threads = uhn.get_num_threads()
    try:
        rows = running.run(
            tasks,
            images(options.last or options.patterns + n_tasks),
            row_type=Row,
            path=options.file,
            n_workers=options.workers,
            on_row=say,
        )
        assert uhn.get_num_threads() == n_threads
        print("all", len(rows))
    except KeyboardInterrupt:
        print("interrupted", time.time(), *active_children(), flush=True)
        raise


if __name__ == "__main__":
    main()
