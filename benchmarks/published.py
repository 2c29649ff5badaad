"""The similarity experiment of Millidge et al. 2022 as published, and as it was run.

Eleven sizes of memory from 2 to 1000 images of 784 values, five runs, six similarities, the
separation `max`, every stored image asked for with noise of standard deviation 0.5: 86,610
trials. Ours is `uhn.experiments.published.trial`, which decides them as the published code
does, all queries at once. The peer is that code's procedure in PyTorch, one query at a time,
with its loop over the patterns in the divergences (tests/port_published.py; what the published
code computes and never uses, 784 x 784 numbers for every query, is left out in the peer's
favour). Both make their noise within the time.

The peer's time for a size and similarity is proportional to the number of queries, so it is
timed on a few of them and multiplied by the number of trials.

    python benchmarks/published.py [--threads 1,2] [--quick]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import Array, Bench, Goal, SkipRowError

import uhn
from uhn import datasets
from uhn.experiments import published

SIZES = (2, 5, 10, 20, 50, 100, 200, 300, 500, 700, 1000)
SIMILARITIES = published.SIMILARITIES[:6]
N_RUNS = 5
SD = 0.5


def images(bench: Bench, n: int) -> Array:
    """MNIST where it is, else as many random numbers."""
    try:
        found = datasets.load("mnist", n_images=n)
    except datasets.DatasetNotFoundError:
        bench.notes.append("MNIST is not there: images of random numbers instead")
        return np.random.default_rng(1).random((n, 784), dtype=np.float32)
    bench.notes.append(f"images: the first {n} of MNIST")
    return found.images


def noisy(rows: Array, rng: np.random.Generator) -> Array:
    """Noise as published: folded at 0, clipped at 1."""
    return np.minimum(
        np.abs(rows + np.float32(SD) * rng.standard_normal(rows.shape, np.float32)), 1
    )


def experiment(rows: Array, sizes: tuple[int, ...]) -> int:
    """The whole of it, by us; the number of trials whose image was found."""
    rng = np.random.default_rng(2)
    found = 0
    for run in range(N_RUNS):
        for size in sizes:
            stored = rows[run * sizes[-1] :][:size]
            for similarity in SIMILARITIES:
                outcome = published.trial(stored, noisy(stored, rng), similarity)
                found += np.count_nonzero(outcome.correct(60.0))
    return found


def similarity_experiment(bench: Bench) -> None:
    """All trials of the published figure, by us and by the published procedure."""
    sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
    try:
        import torch

        import port_published as peer
    except ImportError as error:
        raise SkipRowError(f"PyTorch and the port in tests/ are needed: {error}") from None
    sizes = SIZES[:5] if bench.quick else SIZES
    few = 2
    rows = images(bench, N_RUNS * sizes[-1])
    tensor = torch.from_numpy(rows)
    bench.set_threads()

    def ask(stored: Any, j: int, similarity: str, query: Any = None) -> tuple[float, int]:
        if query is None:
            query = peer.gaussian(stored[j], SD)
        return peer.trial(stored, query, stored[j], similarity)

    queries = noisy(rows[:20], np.random.default_rng(3))
    for similarity in SIMILARITIES:
        ours = published.trial(rows[:20], queries, similarity)
        theirs = [
            ask(tensor[:20], j, similarity, torch.from_numpy(queries[j])) for j in range(20)
        ]
        winners = [winner for _, winner in theirs]
        bench.check(f"winners of uhn and PyTorch, {similarity}", ours.winners, winners, 0.0)

    now = time.process_time if bench.threads == 1 else time.perf_counter

    def seconds_of_peer() -> float:
        total = 0.0
        for size in sizes:
            stored = tensor[:size]
            for similarity in SIMILARITIES:
                start = now()
                for j in range(few):
                    ask(stored, j, similarity)
                total += (now() - start) / few * size * N_RUNS
        return total

    def seconds_of_ours() -> float:
        start = now()
        experiment(rows, sizes)
        return now() - start

    experiment(rows, sizes[:3])
    seconds_of_peer()
    times = np.array(
        [(seconds_of_ours(), seconds_of_peer()) for _ in range(3 if bench.quick else 5)]
    )
    n_trials = sum(sizes) * N_RUNS * len(SIMILARITIES)
    bench.notes.append(
        f"{n_trials} trials; PyTorch {torch.__version__} timed on {few} queries of every size "
        "and similarity and scaled to all"
    )
    bench.record(
        "PyTorch, one query at a time",
        times[:, 1] / times[:, 0],
        goal=Goal(least=100),
        uhn_seconds=float(np.median(times[:, 0])),
        contender_seconds=float(np.median(times[:, 1])),
        scale=sum(sizes) * N_RUNS / (few * len(sizes)),
    )


def main() -> None:
    """The row by itself, for the numbers of threads asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--threads", default="1,2", help="numbers of threads, 1,2 by default")
    parser.add_argument("--quick", action="store_true", help="sizes up to 50: no result")
    options = parser.parse_args()
    for threads in map(int, options.threads.split(",")):
        bench = Bench(threads=threads, quick=options.quick)
        try:
            similarity_experiment(bench)
        except SkipRowError as reason:
            raise SystemExit(f"left out: {reason}") from None
        for note in bench.notes:
            print(note)
        (result,) = bench.results
        print(
            f"{threads} thread(s), path {uhn.cpu_info()['path']}, {result['clock']} time: uhn "
            f"{result['uhn_seconds']:.2f} s, {result['contender']} "
            f"{result['contender_seconds']:.0f} s: {result['ratio']:.0f} times as long "
            f"({result['lowest']:.0f} to {result['highest']:.0f}; goal {result['goal']})"
        )


if __name__ == "__main__":
    main()
