"""A store in a file: the speed of a question against that of reading the file once.

Wall time throughout, as a disk has no CPU time. Before a cold call the file's pages are given
up (``posix_fadvise``); what the host of a virtual machine keeps of it nobody can tell.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from measure import Bench, Call, Goal, SkipRowError

import uhn
import uhn.convert

N_FEATURES = 784
PIECE = 1 << 22
BLOCK = 8192  # rows


def blocks(n_patterns: int) -> Iterator[np.ndarray]:
    """The rows of the store, some at a time."""
    rows = np.random.default_rng(0).normal(size=(BLOCK, N_FEATURES)).astype(np.float32)
    for first in range(0, n_patterns, BLOCK):
        yield rows[: n_patterns - first]
        rows = np.roll(rows, 1, axis=1)


@contextlib.contextmanager
def store(bench: Bench) -> Iterator[tuple[Path, np.ndarray]]:
    """The file of a memory, and 64 queries whose answers were checked."""
    n_patterns = bench.pick(680_000, 20_000)
    n_bytes = n_patterns * N_FEATURES * 4
    if not hasattr(os, "posix_fadvise"):
        raise SkipRowError("this system does not give up the pages of a file")
    folder = Path(tempfile.mkdtemp(prefix="uhn-benchmark-"))
    try:
        if shutil.disk_usage(folder).free < 3 * n_bytes:
            raise SkipRowError(f"needs {3 * n_bytes / 2**30:.1f} GiB of the disk")
        array = np.lib.format.open_memmap(
            folder / "rows.npy", "w+", np.float32, (n_patterns, N_FEATURES)
        )
        queries = np.random.default_rng(1).normal(size=(64, N_FEATURES)).astype(np.float32)
        parts = []
        for i, rows in enumerate(blocks(n_patterns)):
            array[i * BLOCK : i * BLOCK + len(rows)] = rows
            memory = uhn.Memory(rows, beta=0.05, first_row=i * BLOCK)
            parts.append(memory.partial(queries[:2]))
        del array
        path = folder / "rows.uhn.safetensors"
        uhn.convert.convert(folder / "rows.npy", path, beta=0.05)
        os.unlink(folder / "rows.npy")
        got = uhn.load(path, verify=True).retrieve(queries[:2])
        bench.check("the file and its rows", got, uhn.merge(parts).finish(), 0.0)
        yield path, queries
    finally:
        shutil.rmtree(folder)


def read(path: Path) -> None:
    """All of a file, by plain calls."""
    buffer = bytearray(PIECE)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def give_up(path: Path) -> None:
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def anonymous() -> int:
    """Bytes of memory that no file holds."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if "RssAnon" in line)


def rounds(bench: Bench, calls: list[Call], before: Callable[[], None]) -> np.ndarray:
    """Wall seconds of calls in turns, each after `before`."""
    bench.set_threads()
    times = np.empty((2 if bench.quick else 5, len(calls)))
    for i in range(len(times)):
        order = range(len(calls)) if i % 2 == 0 else reversed(range(len(calls)))
        for j in order:
            before()
            start = time.perf_counter()
            calls[j]()
            times[i, j] = time.perf_counter() - start
    return times


def race(bench: Bench, goals: tuple[Goal | None, Goal | None], *, cold: bool) -> None:
    """One query and 64 against one read: by a memory that is opened for it where the file is
    cold, by one that has answered before where it is warm.
    """
    with store(bench) as (path, queries):
        size = path.stat().st_size
        before = (lambda: give_up(path)) if cold else (lambda: None)
        opened = uhn.load(path)
        if not cold:
            opened.retrieve(queries[0])

        def ask(n: int) -> None:
            (uhn.load(path) if cold else opened).retrieve(queries[:n])

        calls: list[Call] = [lambda: read(path), lambda: ask(1), lambda: ask(64)]
        times = rounds(bench, calls, before)
        for j, (name, goal) in enumerate(zip(("1 query", "64 queries"), goals, strict=True), 1):
            bench.record(
                f"plain reads, {name}",
                times[:, 0] / times[:, j],
                goal=goal,
                clock="wall",
                uhn_seconds=float(np.median(times[:, j])),
                contender_seconds=float(np.median(times[:, 0])),
            )
        rates = ", ".join(f"{size / 1e9 / t:.2f}" for t in np.median(times, axis=0))
        bench.notes.append(f"GB/s of reads, 1 query, 64 queries: {rates}")


def cold(bench: Bench) -> None:
    """A file that is on the disk alone."""
    race(bench, (Goal(least=0.9), None), cold=True)


def warm(bench: Bench) -> None:
    """A file that the system keeps in memory."""
    race(bench, (Goal(least=0.9), None), cold=False)


def scratch(bench: Bench) -> None:
    """The memory that a question takes beside the pages of the file, which the system may have
    back at any time."""
    if not os.path.exists("/proc/self/status"):
        raise SkipRowError("this system does not tell memory from pages of files")
    with store(bench) as (path, queries):
        bench.set_threads()
        memory = uhn.load(path)
        memory.partial(queries, 0, 1)
        peak = start = anonymous()
        asking = threading.Thread(target=memory.retrieve, args=(queries,))
        asking.start()
        while asking.is_alive():
            peak = max(peak, anonymous())
            time.sleep(0.002)
        grown = max(peak - start, 1 << 16)
        bench.record(
            "the size of the file, 64 queries",
            path.stat().st_size / grown,
            goal=Goal(least=100),
            unit="memory",
            uhn_mebibytes=grown / 2**20,
            contender_mebibytes=path.stat().st_size / 2**20,
        )
