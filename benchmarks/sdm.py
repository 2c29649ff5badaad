"""Sparse distributed memory against NumPy on packed bits, as well as it can be used."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from measure import Array, Bench, Contender, Goal

import uhn
from uhn.models import SparseDistributedMemory

N_FEATURES = 1024
RADIUS = 462


class Numpy:
    """The same locations and counters: XOR and bitwise_count on words, then a sum of rows.

    `memory` is asked for what it keeps, so that neither side has a copy of its own.
    """

    def __init__(self, memory: SparseDistributedMemory) -> None:
        self.addresses, self.counters = memory._addresses, memory._counters
        self.differ = np.empty_like(self.addresses)
        self.counts = np.empty(self.addresses.shape, np.uint8)

    def as_written(self, query: Array) -> Array:
        """Which locations a packed query activates: a new array at every step."""
        return np.bitwise_count(self.addresses ^ query).sum(axis=1) <= RADIUS

    def in_place(self, query: Array) -> Array:
        """The same in arrays that are there already, and with a sum of small numbers."""
        np.bitwise_xor(self.addresses, query, out=self.differ)
        np.bitwise_count(self.differ, out=self.counts)
        return np.flatnonzero(self.counts.sum(axis=1, dtype=np.uint16) <= RADIUS)

    def read(self, active: Callable[[Array], Array], queries: Array) -> Array:
        """Words of +1 and -1; ties keep the query's bit."""
        packed = np.packbits(queries > 0, axis=1, bitorder="little").view(np.uint64)
        answers = np.empty_like(queries)
        for query, row, answer in zip(queries, packed, answers, strict=True):
            sums = self.counters[active(row)].sum(axis=0, dtype=np.int64)
            answer[:] = np.where(sums == 0, query, np.sign(sums))
        return answers


def bipolar(rng: np.random.Generator, *shape: int) -> Array:
    """Random float32 of +1 and -1."""
    return np.where(rng.random(shape, np.float32) < 0.5, np.float32(1), np.float32(-1))


def prepare(bench: Bench, n_queries: int) -> tuple[SparseDistributedMemory, Numpy, Array]:
    """A memory with a thousand words in it, and damaged words to read at."""
    n_locations = bench.pick(1_000_000, 20_000)
    # Addresses, counters, and NumPy's two arrays of the addresses' size.
    bench.needs(n_locations * N_FEATURES * (1 / 8 + 2 + 1 / 8 + 1 / 64))
    rng = np.random.default_rng(1)
    memory = SparseDistributedMemory(N_FEATURES, n_locations, radius=RADIUS)
    words = bipolar(rng, bench.pick(1000, 100), N_FEATURES)
    uhn.set_num_threads(bench.threads)
    memory.store(words)
    queries = words[:n_queries].copy()
    queries[rng.random(queries.shape) < 0.1] *= -1
    numpy = Numpy(memory)
    few, own = queries[: min(n_queries, 4)], memory.retrieve(queries)
    for active in (numpy.as_written, numpy.in_place):
        bench.check("uhn and NumPy", own[: len(few)], numpy.read(active, few), 0.0)
    if not bench.quick:  # so few locations remember less
        bench.check("uhn and the words stored", own, words[:n_queries], 0.0)
    bench.notes.append(f"{memory.active(few).mean():.0f} of {n_locations} locations active")
    return memory, numpy, queries


def race(bench: Bench, n_queries: int, goal: Goal) -> None:
    """Ours against NumPy, which takes one query after the other: a few are timed."""
    memory, numpy, queries = prepare(bench, n_queries)
    few = queries[:2]
    contenders = [
        Contender(name, partial(numpy.read, active, few), to_reach, len(queries) / len(few))
        for name, active, to_reach in (
            ("NumPy as written", numpy.as_written, goal),
            ("NumPy in place", numpy.in_place, None),
        )
    ]
    bench.race(partial(memory.retrieve, queries), contenders)


def one(bench: Bench) -> None:
    """One query: as fast as the addresses can be read."""
    race(bench, 1, Goal(least=8, aim=10))


def batch(bench: Bench) -> None:
    """64 queries that share the reading of the addresses."""
    race(bench, 64, Goal(least=20, aim=50))
