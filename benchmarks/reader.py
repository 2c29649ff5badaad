"""The time of reading an array once, as fast as plain code does it: a bound for one query."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np

Array = np.ndarray
Part = Callable[[Array], int]

#: Adds up 64-byte pieces, from one place after the other or from four places at once; which of
#: the two the processor reads faster depends on its prefetchers.
SOURCE = r"""
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint64_t piece __attribute__((vector_size(64)));

static inline piece load(const char *at) {
    piece x;
    memcpy(&x, at, sizeof x);
    return x;
}

static uint64_t total(piece x) {
    uint64_t sum = 0;
    for (int i = 0; i < 8; i++) {
        sum += x[i];
    }
    return sum;
}

uint64_t read_forward(const char *at, size_t n_pieces) {
    piece a = {0}, b = {0}, c = {0}, d = {0};
    size_t i = 0;
    for (; i + 4 <= n_pieces; i += 4, at += 256) {
        a += load(at);
        b += load(at + 64);
        c += load(at + 128);
        d += load(at + 192);
    }
    for (; i < n_pieces; i++, at += 64) {
        a += load(at);
    }
    return total(a + b + c + d);
}

uint64_t read_quarters(const char *at, size_t n_pieces) {
    size_t quarter = n_pieces / 4;
    const char *p = at, *q = p + 64 * quarter, *r = q + 64 * quarter, *s = r + 64 * quarter;
    piece a = {0}, b = {0}, c = {0}, d = {0};
    for (size_t i = 0; i < quarter; i++) {
        a += load(p + 64 * i);
        b += load(q + 64 * i);
        c += load(r + 64 * i);
        d += load(s + 64 * i);
    }
    for (size_t i = 4 * quarter; i < n_pieces; i++) {
        a += load(at + 64 * i);
    }
    return total(a + b + c + d);
}
"""


def _compiled(folder: Path) -> dict[str, Part]:
    """The two ways of SOURCE, or none where there is no compiler that takes it."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return {}
    (folder / "read.c").write_text(SOURCE, encoding="ascii")
    command = [compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", "read.so", "read.c"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    if done.returncode != 0:
        return {}
    library = ctypes.CDLL(str(folder / "read.so"))
    ways: dict[str, Part] = {}
    for name in ("read_forward", "read_quarters"):
        function = getattr(library, name)
        function.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        function.restype = ctypes.c_uint64
        # ctypes releases the GIL during the call, so that the threads do run at once.
        ways[f"C, {name.removeprefix('read_')}"] = lambda part, function=function: function(
            part.ctypes.data, part.nbytes // 64
        )
    return ways


def _total(part: Array) -> int:
    return int(np.add.reduce(part))


class Reader:
    """Reads an array with some threads; the fastest of a few plain ways.

    Parameters
    ----------
    array : ndarray
        C-contiguous; what is left over after a multiple of 64 bytes is not read.
    n_threads : int
        Each reads a part of its own.

    Attributes
    ----------
    how : str
        The way that was fastest when it was tried.
    """

    def __init__(self, array: Array, n_threads: int) -> None:
        words = array.reshape(-1).view(np.uint8)[: array.nbytes // 64 * 64].view(np.uint64)
        n_pieces = len(words) // 8
        cuts = [8 * (i * n_pieces // n_threads) for i in range(n_threads + 1)]
        self._parts = [words[a:b] for a, b in itertools.pairwise(cuts)]
        self._resources = contextlib.ExitStack()
        self._pool = self._resources.enter_context(ThreadPoolExecutor(n_threads))
        folder = self._resources.enter_context(tempfile.TemporaryDirectory())
        ways = {**_compiled(Path(folder)), "np.add.reduce": _total}

        # The clock that the benchmark goes by.
        now = time.process_time if n_threads == 1 else time.perf_counter
        sums, best = set(), float("inf")
        for name, way in [*ways.items()] * 3:
            self._way = way
            start = now()
            sums.add(self())
            if (seconds := now() - start) < best:
                best, self.how, fastest = seconds, name, way
        self._way = fastest
        if len(sums) != 1:
            raise RuntimeError("the ways of reading do not agree")

    def __call__(self) -> int:
        """Read everything once; the sum of it as 64-bit words, modulo 2^64."""
        if len(self._parts) == 1:
            return self._way(self._parts[0]) % 2**64
        return sum(self._pool.map(self._way, self._parts)) % 2**64

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources.close()
