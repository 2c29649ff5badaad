"""Memories larger than one machine: files that the workers of Dask open, one memory in all.

Needs ``distributed``, the extra ``distributed``; nothing else in the package imports it.

A memory lies in one file, or in several that follow one another. It is cut into shards, ranges
of rows of a file. A query goes to the workers once; each opens the files of its shards itself
(mapped, so that any size opens at once), answers from their rows, and hands up a partial.
Partials are merged in a tree, and the client gets the answer, with the same bits as one process
that has all the rows: the order of every sum follows from the numbers of the rows alone. Rows
never travel, and nothing is scattered, so that whatever is lost with a worker is made again by
another.

Failures
--------
A worker that dies is replaced by the scheduler, which asks its shards again elsewhere. A file
that is missing, another one than when the memory was opened, damaged or unreadable is looked
for on the other workers. What remains ends the call with one `ShardLostError` that names the
shard. No answer is ever made of some of the shards.

Examples
--------
>>> from distributed import Client  # doctest: +SKIP
>>> client = Client("scheduler:8786")  # doctest: +SKIP
>>> memory = uhn.dask.open(client, ["a.uhn.safetensors", "b.uhn.safetensors"])  # doctest: +SKIP
>>> memory.retrieve(queries)  # doctest: +SKIP
"""

# Dask has hardly any types: its objects are Any.
# mypy: disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import contextlib
import math
import operator
import os
import re
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from uhn import io
from uhn._core import (
    Memory,
    Partial,
    _memory_map,
    _partial_answers,
    _partial_energies,
    _partial_for,
    _partial_nearest,
    _partial_score_sums,
    _take_rows,
    merge,
)
from uhn.results import STATUSES, Recall

try:
    import distributed
    from dask.base import compute, is_dask_collection
    from dask.delayed import delayed
    from distributed.scheduler import KilledWorker
except ImportError as error:
    raise ImportError(
        "uhn.dask needs distributed: pip install 'uhn[distributed]', "
        "or pip install 'distributed>=2024.8'"
    ) from error

__all__ = ["ShardLostError", "ShardedMemory", "open", "save"]

Array = npt.NDArray[Any]

#: Rows of a block, the leaf of the tree of merges: shards are cut where blocks end.
BLOCK_ROWS = 1024
#: Partials that one task merges.
SPLIT_EVERY = 8
#: Batches of queries that are under way at once.
DEPTH = 2
#: Shards a thread has, or more, where `open` is not told how to cut: what a lost worker costs.
SHARDS_A_THREAD = 4
#: Rounds a question gets when files are not where they were.
ATTEMPTS = 3
#: Seconds without any worker after which nobody waits any longer.
PATIENCE = 30.0
_POLL = 2.0

_CODES = {name: code for code, name in enumerate(STATUSES)}


class ShardLostError(RuntimeError):
    """A part of the memory cannot answer, so that there is no answer.

    Attributes
    ----------
    path : str
        The file.
    rows : tuple of int
        Its rows ``[start, stop)``, counted in the file.
    cause : str
        What happened, in a sentence.
    """

    def __init__(self, path: str, rows: tuple[int, int], cause: str) -> None:
        super().__init__(path, rows, cause)
        self.path = path
        self.rows = rows
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.path}, rows {self.rows[0]} to {self.rows[1]}: {self.cause}"


@dataclass(frozen=True)
class _File:
    """A file as it was when the memory was opened."""

    path: str
    sha256: str  # of its header, which has the checksums of the numbers
    n_rows: int
    first_row: int  # the number of its first row in the whole memory


@dataclass(frozen=True)
class Shard:
    """A range of rows of one file.

    Attributes
    ----------
    path : str
    start, stop : int
        Rows, counted in the file.
    first_row : int
        The number of row `start` in the whole memory, where blocks are counted.
    sha256 : str
        Fingerprint of the file: `uhn.io.fingerprint`.
    verify : bool
        Whether a process checks the checksums when it opens the file.
    """

    path: str
    start: int
    stop: int
    first_row: int
    sha256: str
    verify: bool = False


@dataclass(frozen=True)
class _Trouble:
    """Why a task has no partial: a value, so that all troubles of a round arrive together."""

    shard: Shard | None  # None: it is about the queries
    cause: str
    worker: str


def _lost(shard: Shard, cause: str) -> ShardLostError:
    return ShardLostError(shard.path, (shard.start, shard.stop), cause)


# ------------------------------------------------------------------------- what workers do --


@dataclass
class _Opened:
    """A mapped file, and what tells whether it was written to since."""

    rows: dict[str, Any]  # the arrays by name; None for those that are not there
    keywords: dict[str, Any]
    place: tuple[int, int]
    state: tuple[int, int]
    verified: bool


_LOCK = threading.RLock()
_FILES: OrderedDict[tuple[str, str], _Opened] = OrderedDict()
_SHARDS: OrderedDict[Shard, Memory] = OrderedDict()
_MOST_FILES, _MOST_SHARDS = 256, 4096


def _place(status: os.stat_result) -> tuple[tuple[int, int], tuple[int, int]]:
    return (status.st_dev, status.st_ino), (status.st_size, status.st_mtime_ns)


def _map_file(path: str, sha256: str, verify: bool) -> _Opened:
    with io._opened(path) as (file, size, header):
        if header.sha256 != sha256:
            raise ValueError("it is another file than when the memory was opened")
        place, state = _place(os.fstat(file))
        if verify:
            io._check_tensors(file, header, None)
        arrays = io._take_rows(file, size, header, True)
        rows = dict(zip(io._PARTS, arrays, strict=True))
        return _Opened(rows, header.keywords, place, state, verify)


def _file_of(path: str, sha256: str, verify: bool) -> _Opened:
    """The mapped file; from the cache unless somebody wrote to it in place.

    A file that was deleted or replaced keeps its bytes for whoever has mapped it.
    """
    key = (path, sha256)
    known = _FILES.get(key)
    if known is not None and verify and not known.verified:
        known = None
    if known is not None:
        with contextlib.suppress(OSError):
            place, state = _place(os.stat(path))
            if place == known.place and state != known.state:
                known = None
                verify = True
    if known is None:
        _FILES.pop(key, None)
        for shard in [s for s in _SHARDS if (s.path, s.sha256) == key]:
            del _SHARDS[shard]
        known = _FILES[key] = _map_file(path, sha256, verify)
        if len(_FILES) > _MOST_FILES:
            _FILES.popitem(last=False)
    _FILES.move_to_end(key)
    return known


def _open_shard(shard: Shard) -> Memory:
    """The rows of a shard as a memory, which this process keeps for the next query."""
    with _LOCK:
        file = _file_of(shard.path, shard.sha256, shard.verify)
        memory = _SHARDS.get(shard)
        if memory is None:
            patterns, values, prior = (
                None if rows is None else rows[shard.start : shard.stop]
                for rows in map(file.rows.get, ("patterns", "values", "prior"))
            )
            keywords = {**file.keywords, "first_row": shard.first_row}
            memory = _memory_map(patterns, values, prior, keywords)
            _SHARDS[shard] = memory
            if len(_SHARDS) > _MOST_SHARDS:
                _SHARDS.popitem(last=False)
        _SHARDS.move_to_end(shard)
        return memory


def _here() -> str:
    try:
        return str(distributed.get_worker().address)
    except ValueError:
        return ""


def _straight(array: Array) -> Array:
    """The array as the core wants it: one that came in a message may lie askew."""
    return np.require(array, requirements=["C", "A"])


def _rows_of_file(shard: Shard, text: str) -> str:
    """The text, its row counted in the file."""
    return re.sub(
        r"^(patterns|values|prior)\[(\d+)",
        lambda m: f"{m[1]}[{int(m[2]) + shard.start}",
        text,
    )


def _ask_shard(
    shard: Shard, question: tuple[Array, Any], purpose: str, k: int
) -> Partial | list[_Trouble]:
    """What a shard has for some queries, or why not; in one thread, as Dask has its own."""
    queries, sums = question
    try:
        sums = None if sums is None else _straight(sums)
        return _partial_for(_open_shard(shard), purpose, queries, k, sums, 1)
    except ValueError as error:
        # The queries were looked at by the client: what the core says of rows is the file's.
        text = _rows_of_file(shard, str(error))
        of_file = text.startswith((f"{shard.path}:", "patterns[", "values[", "prior["))
        return [_Trouble(shard if of_file else None, text, _here())]
    except (OSError, MemoryError) as error:
        return [_Trouble(shard, f"{type(error).__name__}: {error}", _here())]


def _merge_parts(*parts: Partial | list[_Trouble]) -> Partial | list[_Trouble]:
    """One partial of several, or all their troubles."""
    troubles = [trouble for part in parts if isinstance(part, list) for trouble in part]
    if troubles:
        return troubles
    try:
        return merge([part for part in parts if isinstance(part, Partial)])
    except ValueError as error:
        return [_Trouble(None, str(error), _here())]


def _finish(purpose: str, part: Partial, queries: Array) -> tuple[Array, ...]:
    if purpose == "answers":
        return _partial_answers(part)
    if purpose == "nearest":
        return _partial_nearest(part)
    if purpose == "energies":
        return (_partial_energies(part, _straight(queries)),)
    return (_partial_score_sums(part),)


def _finish_parts(
    purpose: str, question: tuple[Array, Any], *parts: Partial | list[_Trouble]
) -> tuple[Array, ...] | list[_Trouble]:
    """The root of the tree: what the client gets."""
    part = _merge_parts(*parts)
    if isinstance(part, list):
        return part
    try:
        return _finish(purpose, part, question[0])
    except ValueError as error:
        return [_Trouble(None, str(error), _here())]


def _hold(queries: Array, sums: Array | None) -> tuple[Array, Array | None]:
    """The queries of a round: sent once, and from worker to worker from here on."""
    return queries, sums


def _look(paths: list[str]) -> list[dict[str, Any] | str]:
    """What the header of each file says, or why it does not."""
    found: list[dict[str, Any] | str] = []
    for path in paths:
        try:
            with io._opened(path) as (_, _, header):
                shapes = {name: tensor.shape for name, tensor in header.tensors.items()}
                dtypes = [tensor.native.name for tensor in header.tensors.values()]
                found.append(
                    {
                        "sha256": header.sha256,
                        "keywords": dict(header.keywords),
                        "dtype": dtypes[0] if dtypes else None,
                        "shapes": shapes,
                    }
                )
        except (OSError, ValueError) as error:
            found.append(f"{type(error).__name__}: {error}")
    return found


# ------------------------------------------------------------------------ the whole memory --

_Ask = Callable[[str, Array, int, "Array | None"], tuple[Array, ...]]


@dataclass(frozen=True)
class _Spec:
    """What is known of a memory in files, wherever it is asked."""

    files: tuple[_File, ...]
    keywords: dict[str, Any]
    dtype: str
    n_features: int
    n_values: int
    is_autoassociative: bool
    has_prior: bool
    verify: bool

    def probe(self) -> Memory:
        """A memory of one row with the same equation: it refuses what the whole one would."""
        dtype = np.dtype(self.dtype)
        return Memory(
            np.ones((1, self.n_features), dtype),
            None if self.is_autoassociative else np.ones((1, self.n_values), dtype),
            prior=np.ones(1, dtype) if self.has_prior else None,
            **self.keywords,
        )

    def take(self, queries: Any, what: str) -> tuple[Array, bool]:
        """Queries that every shard takes, and whether they were given as one row."""
        # Where NaN is a gap the memory below judges, which knows it.
        gaps = self.keywords.get("nan") == "missing"
        rows, single = _take_rows(queries, what, -1 if gaps else self.n_features)
        rows = np.ascontiguousarray(rows, dtype=self.dtype)
        self.probe().scores(rows)
        return rows, single

    def shards(self, shard_rows: int) -> list[Shard]:
        """Cut at multiples of shard_rows in the whole memory, and where files end."""
        found = []
        for file in self.files:
            row, end = file.first_row, file.first_row + file.n_rows
            while row < end:
                stop = min((row // shard_rows + 1) * shard_rows, end)
                start = row - file.first_row
                found.append(
                    Shard(
                        file.path, start, stop - file.first_row, row, file.sha256, self.verify
                    )
                )
                row = stop
        return found

    def answers(self, ask: _Ask, queries: Array) -> tuple[Array, Array]:
        """Answers, and whether any pattern gave them: one round, or two to normalize scores."""
        sums = None
        if self.keywords.get("normalize_scores"):
            (sums,) = ask("score sums", queries, 1, None)
        answer, answered = ask("answers", queries, 1, sums)
        return answer, answered

    def retrieve(self, ask: _Ask, queries: Array, n_steps: Any, tol: Any) -> Array:
        self.probe().retrieve(queries[:0], n_steps, tol=tol)
        if operator.index(n_steps) == 1:
            return self.answers(ask, queries)[0]
        return self.iterate(ask, queries, operator.index(n_steps), tol)[0]

    def iterate(
        self, ask: _Ask, queries: Array, n_steps: int, tol: float | None
    ) -> tuple[Array, Array, Array, Array, Array]:
        """States, queries of the last step, steps, status codes, changes: as `uhn_recall`."""
        n = len(queries)
        states, asked, now = queries.copy(), queries.copy(), queries
        steps, changes = np.zeros(n, np.int64), np.zeros(n)
        codes = np.full(n, _CODES["step limit"], np.uint8)
        movers, before = np.arange(n), now
        for step in range(1, n_steps + 1):
            if len(movers) == 0:
                break
            after, answered = self.answers(ask, now)
            wide = np.abs(after.astype(np.float64) - now.astype(np.float64))
            change = wide.max(axis=1)
            reasons = np.full(len(now), -1)
            if tol is not None:
                cycle = np.zeros(len(now), bool)
                if step > 1:
                    same = after.view(np.uint8) == before.view(np.uint8)
                    cycle = same.all(axis=1)
                reasons[cycle] = _CODES["2-cycle"]
                reasons[change <= tol] = _CODES["fixed point"]
                reasons[answered == 0] = _CODES["no active location"]
            elif step == n_steps:
                reasons[change == 0] = _CODES["fixed point"]
            steps[movers], changes[movers] = step, change
            ended = reasons >= 0
            codes[movers[ended]] = reasons[ended]
            last = ended | (step == n_steps)
            states[movers[last]], asked[movers[last]] = after[last], now[last]
            before, now, movers = now[~ended], after[~ended], movers[~ended]
        return states, asked, steps, codes, changes

    def energy(self, ask: _Ask, states: Array) -> Array:
        (energies,) = ask("energies", states, 1, None)
        return energies

    def nearest(self, ask: _Ask, queries: Array, k: int) -> tuple[Array, Array]:
        rows, scores = ask("nearest", queries, k, None)
        return rows - self.files[0].first_row, scores


def _single(value: Any, single: bool) -> Any:
    return value[0] if single else value


class _Source:
    """A sharded memory as the source of a `uhn.Recall`."""

    def __init__(self, memory: ShardedMemory) -> None:
        self._memory = memory

    def overlaps(self, states: Array) -> Array:
        raise ValueError(
            f"overlaps with {self._memory.n_patterns} patterns of several machines are not "
            "gathered; use nearest(state, k)"
        )

    def weights(self, states: Array) -> Array:
        raise ValueError(
            f"weights of {self._memory.n_patterns} patterns of several machines are not "
            "gathered; use nearest(state, k)"
        )

    def energy(self, states: Array) -> Array:
        return np.asarray(self._memory.energy(states))


class ShardedMemory:
    """A memory whose rows lie in files that the workers of a cluster open: `open` makes one.

    The equation is ``z = P . sep(sim(M, q))``, that of the files, and every answer has the
    bits that one process with all the rows would give (`uhn.Memory`), however many shards and
    workers there are and whichever of them fail on the way.

    `retrieve`, `recall`, `nearest` and `energy` take what those of `uhn.Memory` take. Of files
    saved with ``nan="missing"`` only `nearest` answers: who answers for a feature is known
    when all rows are in one place, and the others say so.
    `retrieve`, `nearest` and `energy` take a dask.array, too, and `retrieve` and `energy` a
    dask.dataframe; then the result is one, made when it is computed: each of its chunks is
    asked whole on one worker, which has to see all of the files.

    Attributes
    ----------
    n_patterns, n_features, n_values : int
    dtype : numpy.dtype
        float32 or float64.
    keywords : dict
        Of `uhn.Memory`: the equation.
    shards : list of Shard
    """

    def __init__(
        self,
        client: Any,
        spec: _Spec,
        shards: list[Shard],
        *,
        timeout: float | None,
        max_message: int,
    ) -> None:
        self._client = client
        self._spec = spec
        self._timeout = timeout
        self._max_message = max_message
        # By worker, what is wrong with each file; changed under the lock alone.
        self._have: dict[str, list[str | None]] = {}
        self._lock = threading.Lock()
        self._index = {file.path: i for i, file in enumerate(spec.files)}
        self.shards = shards

    @property
    def n_patterns(self) -> int:
        """Number of patterns in all files."""
        return sum(file.n_rows for file in self._spec.files)

    @property
    def n_features(self) -> int:
        """Components of a pattern."""
        return self._spec.n_features

    @property
    def n_values(self) -> int:
        """Components of a value; n_features if autoassociative."""
        return self._spec.n_values

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return np.dtype(self._spec.dtype)

    @property
    def keywords(self) -> dict[str, Any]:
        """The keywords of `uhn.Memory` that make the equation."""
        return dict(self._spec.keywords)

    def __len__(self) -> int:
        return self.n_patterns

    def __repr__(self) -> str:
        files = len(self._spec.files)
        return (
            f"ShardedMemory({self.n_patterns} x {self.n_features} {self.dtype}, "
            f"similarity={self.keywords['similarity']!r}, "
            f"separation={self.keywords['separation']!r}, {len(self.shards)} shards of "
            f"{files} file{'s' if files > 1 else ''})"
        )

    # ---------------------------------------------------------------------------- questions --

    def retrieve(self, queries: Any, n_steps: int = 1, *, tol: float | None = None) -> Any:
        """Retrieve values for queries, as `uhn.Memory.retrieve`.

        Parameters
        ----------
        queries : array_like, shape (n_queries, n_features) or (n_features,)
            Or a dask.array (n_queries, n_features), or a dask.dataframe of n_features columns.
        n_steps : int, default 1
            Number of updates, each one round over all shards (two with normalize_scores).
        tol : float, optional
            Stop a query early when no component changed by more than `tol`.

        Returns
        -------
        ndarray, shape (n_queries, n_values), or (n_values,) for a 1-D query
            A dask.array of the same chunks for a dask.array. For a dask.dataframe one of the
            same index and partitions, with the same columns where values are as wide as
            patterns, else with columns 0, 1, ...

        Raises
        ------
        ShardLostError
            If a part of the memory cannot be asked.
        ValueError
            As `uhn.Memory.retrieve`.
        """
        if is_dask_collection(queries):
            return self._lazy("retrieve", queries, n_steps=n_steps, tol=tol)
        rows, single = self._spec.take(queries, "queries")
        return _single(self._spec.retrieve(self._ask, rows, n_steps, tol), single)

    def recall(self, queries: Any, n_steps: int = 100, *, tol: float | None = 1e-6) -> Recall:
        """Iterate every query until it rests, as `uhn.Memory.recall`.

        Parameters
        ----------
        queries : array_like, shape (n_queries, n_features) or (n_features,)
        n_steps : int, default 100
            The most steps a query may take; each is a round over all shards.
        tol : float or None, default 1e-6
            A state rests when no component changed by more than `tol` in a step.

        Returns
        -------
        Recall
            `state`, `n_steps`, `status`, `change`, and `energy` where there is one. Overlaps
            and weights, which have a number a pattern, are not gathered.

        Raises
        ------
        ShardLostError
            If a part of the memory cannot be asked.
        ValueError
            As `uhn.Memory.recall`.
        """
        if is_dask_collection(queries):
            raise TypeError("recall takes arrays; use retrieve(queries, n_steps, tol=tol)")
        spec = self._spec
        rows, single = spec.take(queries, "queries")
        spec.probe().recall(rows[:0], n_steps, tol=tol)
        if spec.n_values != spec.n_features:
            state, answered = spec.answers(self._ask, rows)
            limit, none = _CODES["step limit"], _CODES["no active location"]
            codes = np.where(answered != 0, limit, none).astype(np.uint8)
            steps, changes = np.ones(len(rows), np.int64), np.full(len(rows), np.nan)
            asked = rows
        else:
            state, asked, steps, codes, changes = spec.iterate(
                self._ask, rows, operator.index(n_steps), tol
            )
        return Recall.of_batch(
            state, steps, codes, changes, single=single, source=_Source(self), asked=asked
        )

    def energy(self, states: Any) -> Any:
        """The energy of states, as `uhn.Memory.energy`.

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)
            Or a dask.array (n_states, n_features), or a dask.dataframe of n_features columns.

        Returns
        -------
        ndarray of float64, shape (n_states,), or a float for a 1-D state
            A dask.array or a series for a collection.

        Raises
        ------
        ShardLostError
            If a part of the memory cannot be asked.
        ValueError
            As `uhn.Memory.energy`: if there is no energy, with the reason.
        """
        if is_dask_collection(states):
            return self._lazy("energy", states)
        rows, single = self._spec.take(states, "states")
        self._spec.probe().energy(rows[:0])
        energies = self._spec.energy(self._ask, rows)
        return float(energies[0]) if single else energies

    def nearest(self, queries: Any, k: int = 1) -> tuple[Any, Any]:
        """The k most similar patterns of every query, best first, as `uhn.Memory.nearest`.

        Parameters
        ----------
        queries : array_like, shape (n_queries, n_features) or (n_features,)
            Or a dask.array (n_queries, n_features).
        k : int, default 1

        Returns
        -------
        indices : ndarray of int64, shape (n_queries, k), or (k,) for a 1-D query
            Counted from the first row of the first file; ties go to the lowest index.
        scores : ndarray of the same shape

        Raises
        ------
        ShardLostError
            If a part of the memory cannot be asked.
        ValueError
            As `uhn.Memory.nearest`.
        """
        if isinstance(k, bool) or not hasattr(k, "__index__") or k < 1:
            self._spec.probe().nearest(np.empty((0, self.n_features)), k)
        if k > self.n_patterns:
            raise ValueError(f"k is {k}, but the memory holds {self.n_patterns} patterns")
        k = operator.index(k)
        if is_dask_collection(queries):
            pairs = self._lazy("nearest", queries, k=k)
            return (
                pairs.map_blocks(operator.itemgetter("index"), dtype=np.int64),
                pairs.map_blocks(operator.itemgetter("score"), dtype=self.dtype),
            )
        rows, single = self._spec.take(queries, "queries")
        indices, scores = self._spec.nearest(self._ask, rows, k)
        return _single(indices, single), _single(scores, single)

    # ------------------------------------------------------------------------------ rounds --

    def _ask(
        self, purpose: str, queries: Array, k: int, sums: Array | None
    ) -> tuple[Array, ...]:
        """All queries, batch by batch, of all shards."""
        step = self._batch(purpose, k)
        starts = iter(range(0, len(queries), step))
        under_way: deque[tuple[int, _Round]] = deque()
        found: list[tuple[Array, ...]] = []
        if len(queries) == 0:
            return self._nothing(purpose, k)
        try:
            while True:
                while len(under_way) < DEPTH and (start := next(starts, None)) is not None:
                    batch = np.ascontiguousarray(queries[start : start + step])
                    some = None if sums is None else sums[start : start + step]
                    under_way.append((start, _Round(self, purpose, batch, k, some)))
                if not under_way:
                    break
                start, current = under_way[0]
                try:
                    found.append(current.result())
                except ValueError as error:
                    raise ValueError(_count_from(start, str(error))) from None
                under_way.popleft()
        finally:
            for _, current in under_way:
                current.end()
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))

    def _nothing(self, purpose: str, k: int) -> tuple[Array, ...]:
        """The answer to no queries."""
        if purpose == "answers":
            return np.empty((0, self.n_values), self.dtype), np.empty(0, np.uint8)
        if purpose == "nearest":
            return np.empty((0, k), np.int64), np.empty((0, k), self.dtype)
        return (np.empty(0),)

    def _batch(self, purpose: str, k: int) -> int:
        """How many queries make messages of about max_message bytes."""
        size = self.dtype.itemsize
        value = self.n_values * size
        separation = self.keywords["separation"]
        if purpose == "nearest":
            back = 24 * k
        elif separation in ("max", "topk", "topk_softmax"):
            kept = int(self.keywords.get("k", 1)) if separation != "max" else 1
            back = kept * (24 + (value + 8 if purpose == "answers" else 0))
        elif separation in ("sparsemax", "entmax"):
            back = 64 * (24 + (value + 8 if purpose == "answers" else 0))
        else:
            # Rows of a block that another shard has the rest of travel with their scores.
            ends = (s.first_row % BLOCK_ROWS or s.stop - s.start for s in self.shards)
            torn = max((end % BLOCK_ROWS for end in ends), default=0)
            back = (value if purpose == "answers" else 0) + 32 + torn * size
        return max(1, self._max_message // max(back, self.n_features * size, 1))

    def _look_at(self, addresses: Sequence[str]) -> None:
        """Which files some workers see, as they were when the memory was opened."""
        for address, found in _look_everywhere(
            self._client, [file.path for file in self._spec.files], addresses
        ).items():
            self._have[address] = [
                answer
                if isinstance(answer, str)
                else None
                if answer["sha256"] == file.sha256
                else "it is another file than when the memory was opened"
                for answer, file in zip(found, self._spec.files, strict=True)
            ]

    def _assign(
        self, refused: set[tuple[str, str]], again: bool
    ) -> list[tuple[str, list[int]]]:
        """Shards by worker; `refused` are pairs of worker and path that failed.

        With `again` all workers are asked anew which files they see.

        Raises
        ------
        ShardLostError
            If no worker has a file, which all of them were asked just now.
        """
        with self._lock:
            if again:
                self._have.clear()
            end = time.monotonic() + PATIENCE
            asked = False
            while True:
                threads = _workers(self._client, self.shards[0])
                self._have = {a: have for a, have in self._have.items() if a in threads}
                new = sorted(set(threads) - set(self._have))
                asked |= len(new) == len(threads)
                if new:
                    self._look_at(new)
                plan = self._plan(threads, refused)
                if not isinstance(plan, Shard):
                    return plan
                # Those that did not say a word may be on their way out, or coming back.
                if asked and (set(threads) <= set(self._have) or time.monotonic() > end):
                    at = self._index[plan.path]
                    reasons = {have[at] for have in self._have.values()} - {None}
                    cause = "; ".join(sorted(map(str, reasons))) or "no worker could read it"
                    raise _lost(plan, f"no worker has it: {cause}")
                if asked:
                    time.sleep(0.2)
                else:
                    self._have.clear()

    def _plan(
        self, threads: dict[str, int], refused: set[tuple[str, str]]
    ) -> list[tuple[str, list[int]]] | Shard:
        """Neighbours together, rows in proportion to threads; or the shard that nobody has.

        The same workers get the same shards, whose pages they have in their cache.
        """
        load = dict.fromkeys(sorted(threads), 0.0)
        quota = self.n_patterns / sum(threads.values())
        given: dict[str, list[int]] = {address: [] for address in load}
        current = ""
        for i, shard in enumerate(self.shards):
            at = self._index[shard.path]
            able = [
                address
                for address in load
                if address in self._have
                and self._have[address][at] is None
                and (address, shard.path) not in refused
            ]
            if not able:
                return shard
            if current not in able or load[current] >= quota:
                current = min(able, key=lambda address: (load[address], address))
            load[current] += (shard.stop - shard.start) / threads[current]
            given[current].append(i)
        return [(address, shards) for address, shards in given.items() if shards]

    # -------------------------------------------------------------------- dask collections --

    def _lazy(self, what: str, queries: Any, **options: Any) -> Any:
        """The question as a dask.array or dask.dataframe, chunk by chunk."""
        spec = self._spec
        none = np.empty((0, self.n_features))
        spec.probe().retrieve(none, options.get("n_steps", 1), tol=options.get("tol"))
        if what == "energy":
            spec.probe().energy(none)
        if hasattr(queries, "map_blocks"):
            if queries.ndim != 2 or queries.shape[1] != self.n_features:
                raise ValueError(
                    f"queries has shape {queries.shape}; a dask.array needs the shape "
                    f"(n_queries, {self.n_features})"
                )
            queries = queries.rechunk({1: -1})
            rows = queries.chunks[0]
            dtype: np.dtype[Any] = self.dtype
            more: dict[str, Any] = {"chunks": (rows, (self.n_values,))}
            if what == "energy":
                dtype, more = np.dtype(np.float64), {"chunks": (rows,), "drop_axis": 1}
            elif what == "nearest":
                dtype = np.dtype([("index", np.int64), ("score", self.dtype)])
                more = {"chunks": (rows, (options["k"],))}
            meta = np.empty((0,) * (1 if what == "energy" else 2), dtype)
            return queries.map_blocks(
                _ask_here, spec, what, options, dtype=dtype, meta=meta, **more
            )
        if not hasattr(queries, "map_partitions") or not hasattr(queries, "columns"):
            raise TypeError("queries must be an array, a dask.array or a dask.dataframe")
        if what == "nearest":
            raise TypeError("nearest takes arrays; use queries.to_dask_array()")
        if len(queries.columns) != self.n_features:
            raise ValueError(
                f"queries has {len(queries.columns)} columns, but patterns have "
                f"{self.n_features} features"
            )
        meta = _frame_of(queries._meta, spec, what, np.empty((0, self.n_values), self.dtype))
        return queries.map_partitions(_ask_frame, spec, what, options, meta=meta)


def _count_from(start: int, text: str) -> str:
    """The text, with the numbers of queries and states counted in the whole call."""
    return re.sub(r"\b(query|state) (\d+)", lambda m: f"{m[1]} {int(m[2]) + start}", text)


class _Round:
    """One batch of queries on its way over all shards."""

    def __init__(
        self, memory: ShardedMemory, purpose: str, queries: Array, k: int, sums: Array | None
    ) -> None:
        self._memory = memory
        self._client = memory._client
        self._question = (purpose, queries, k, sums)
        self._refused: set[tuple[str, str]] = set()
        self._attempts = 0
        self._root: Any = None
        self._keys: dict[str, tuple[int, int]] = {}
        self._started = time.monotonic()
        self._start()

    def _start(self) -> None:
        """Hands the whole tree to the scheduler and keeps its root alone."""
        memory, client = self._memory, self._client
        purpose, queries, k, sums = self._question
        self._attempts += 1
        self._keys = {}
        plan = memory._assign(self._refused, self._attempts > 1)
        token = uuid.uuid4().hex
        held: list[Any] = []
        try:
            question = client.submit(
                _hold, queries, sums, key=f"uhn-queries-{token}", pure=False
            )
            held.append(question)
            tops: list[tuple[Any, tuple[int, int]]] = []
            for address, indices in plan:
                keys = [f"uhn-partial-{token}-{i}" for i in indices]
                self._keys.update((key, (i, i)) for key, i in zip(keys, indices, strict=True))
                n = len(indices)
                futures = client.map(
                    _ask_shard,
                    [memory.shards[i] for i in indices],
                    [question] * n,
                    [purpose] * n,
                    [k] * n,
                    key=keys,
                    workers=[address],
                    allow_other_workers=True,
                    pure=False,
                )
                held += futures
                own = [(future, (i, i)) for future, i in zip(futures, indices, strict=True)]
                tops += self._fold(own, token, held, 1)
            tops = self._fold(tops, token, held, SPLIT_EVERY)
            root = f"uhn-answer-{token}"
            self._keys[root] = (0, len(memory.shards) - 1)
            self._root = client.submit(
                _finish_parts, purpose, question, *(t for t, _ in tops), key=root, pure=False
            )
        except BaseException:
            _drop(client, held)
            raise

    def _fold(
        self,
        tops: list[tuple[Any, tuple[int, int]]],
        token: str,
        held: list[Any],
        most: int,
    ) -> list[tuple[Any, tuple[int, int]]]:
        """Merges neighbours until at most `most` are left."""
        while len(tops) > most:
            following = []
            for i in range(0, len(tops), SPLIT_EVERY):
                some = tops[i : i + SPLIT_EVERY]
                if len(some) == 1:
                    following += some
                    continue
                reach = (some[0][1][0], some[-1][1][1])
                key = f"uhn-merge-{token}-{len(held)}"
                self._keys[key] = reach
                future = self._client.submit(
                    _merge_parts, *(future for future, _ in some), key=key, pure=False
                )
                held.append(future)
                following.append((future, reach))
            tops = following
        return tops

    def result(self) -> tuple[Array, ...]:
        """What the root returned, tried again where files are not where they were."""
        while True:
            answer = self._wait()
            self.end()
            if not isinstance(answer, list):
                return tuple(answer)
            files = [trouble for trouble in answer if trouble.shard is not None]
            if not files:
                raise ValueError(answer[0].cause)
            for trouble in files:
                self._refused.add((trouble.worker, trouble.shard.path))
            if self._attempts >= ATTEMPTS:
                raise _lost(files[0].shard, files[0].cause)
            try:
                self._start()
            except ShardLostError as error:
                first = next((t for t in files if t.shard.path == error.path), files[0])
                raise _lost(first.shard, first.cause) from None

    def _wait(self) -> Any:
        timeout = self._memory._timeout
        alone = None
        end = math.inf if timeout is None else self._started + timeout
        while True:
            wait = min(_POLL, max(end - time.monotonic(), 0.01))
            try:
                return self._root.result(timeout=wait)
            except (TimeoutError, distributed.TimeoutError):
                if time.monotonic() >= end:
                    raise self._unfinished(f"no answer within {timeout:g} s") from None
            except KilledWorker as error:
                raise self._named(
                    error.task,
                    "the workers that asked it died, the last at "
                    f"{getattr(error.last_worker, 'address', error.last_worker)}",
                ) from None
            except CancelledError as error:
                raise self._unfinished(f"its task was cancelled: {error}") from None
            now = time.monotonic()
            if self._n_workers() > 0:
                alone = None
            elif alone is None:
                alone = now
            elif now - alone > PATIENCE:
                raise self._unfinished(f"no worker for {PATIENCE:g} s")

    def _n_workers(self) -> int:
        try:
            return len(self._client.nthreads())
        except (OSError, RuntimeError, ValueError):
            return 0

    def _named(self, key: object, cause: str) -> ShardLostError:
        """The error of one task."""
        first, last = self._keys.get(str(key), (0, len(self._memory.shards) - 1))
        more = f" (or one of the {last - first} shards after it)" if last > first else ""
        return _lost(self._memory.shards[first], cause + more)

    def _unfinished(self, cause: str) -> ShardLostError:
        """The error of the first shard, by rows, that has not been asked."""
        left: list[str] = []
        with contextlib.suppress(Exception):
            left = self._client.run_on_scheduler(_unfinished_keys, sorted(self._keys))
        shards = sorted(self._keys[key] for key in left if key.startswith("uhn-partial"))
        first = shards[0][0] if shards else 0
        more = f" ({len(shards)} shards are unanswered)" if len(shards) > 1 else ""
        return _lost(self._memory.shards[first], cause + more)

    def end(self) -> None:
        """Lets everything go: nothing stays on the cluster."""
        root, self._root = self._root, None
        if root is not None:
            _drop(self._client, [root])


def _drop(client: Any, futures: list[Any]) -> None:
    """Releases futures, and cancels those that are not done."""
    with contextlib.suppress(Exception):
        pending = [future for future in futures if not future.done()]
        if pending:
            client.cancel(pending, force=True)
    for future in futures:
        with contextlib.suppress(Exception):
            future.release()


def _unfinished_keys(keys: list[str], dask_scheduler: Any = None) -> list[str]:
    """Those of the keys whose tasks are still to be done."""
    tasks = dask_scheduler.tasks
    waiting = ("waiting", "processing", "no-worker", "queued", "erred")
    return [key for key in keys if key in tasks and tasks[key].state in waiting]


def _workers(client: Any, shard: Shard) -> dict[str, int]:
    """Threads by address; waits a while for the first worker."""
    for _ in range(2):
        threads = {str(address): int(n) for address, n in client.nthreads().items() if n > 0}
        if threads:
            return threads
        with contextlib.suppress(TimeoutError, distributed.TimeoutError):
            client.wait_for_workers(1, timeout=PATIENCE)
    raise _lost(shard, f"no worker for {PATIENCE:g} s")


def _look_everywhere(
    client: Any, paths: list[str], addresses: Sequence[str]
) -> dict[str, list[dict[str, Any] | str]]:
    """What each worker sees of each file; workers that die meanwhile are left out."""
    found = client.run(_look, paths, workers=list(addresses), on_error="return")
    return {address: said for address, said in found.items() if isinstance(said, list)}


# ------------------------------------------------------------------- chunks of collections --


def _ask_local(spec: _Spec) -> _Ask:
    """Asks all files in this process, one after another."""
    shards = [
        Shard(file.path, 0, file.n_rows, file.first_row, file.sha256, spec.verify)
        for file in spec.files
        if file.n_rows
    ]

    def ask(purpose: str, queries: Array, k: int, sums: Array | None) -> tuple[Array, ...]:
        troubles_or_part = _merge_parts(
            *(_ask_shard(shard, (queries, sums), purpose, k) for shard in shards)
        )
        if isinstance(troubles_or_part, list):
            trouble = troubles_or_part[0]
            if trouble.shard is None:
                raise ValueError(trouble.cause)
            raise _lost(trouble.shard, trouble.cause)
        return _finish(purpose, troubles_or_part, queries)

    return ask


def _ask_here(block: Any, spec: _Spec, what: str, options: dict[str, Any]) -> Array:
    """One chunk of queries, asked of all files."""
    rows, _ = spec.take(block, "queries")
    ask = _ask_local(spec)
    if what == "energy":
        return spec.energy(ask, rows)
    if what == "nearest":
        indices, scores = spec.nearest(ask, rows, options["k"])
        pairs = np.empty(indices.shape, [("index", np.int64), ("score", np.dtype(spec.dtype))])
        pairs["index"], pairs["score"] = indices, scores
        return pairs
    return spec.retrieve(ask, rows, options["n_steps"], options["tol"])


def _frame_of(frame: Any, spec: _Spec, what: str, answers: Array) -> Any:
    """Answers as a frame beside the one that asked."""
    import pandas as pd

    if what == "energy":
        return pd.Series(np.zeros(len(answers)), index=frame.index, name="energy")
    same = spec.n_values == spec.n_features
    columns = frame.columns if same else range(spec.n_values)
    return pd.DataFrame(answers, index=frame.index, columns=columns)


def _ask_frame(frame: Any, spec: _Spec, what: str, options: dict[str, Any]) -> Any:
    """One partition of queries, asked of all files."""
    rows = frame.to_numpy()
    if len(rows) == 0:
        rows = np.empty((0, spec.n_features), spec.dtype)
    answers = _ask_here(rows, spec, what, options)
    if what == "energy":
        result = _frame_of(frame, spec, what, np.empty(len(frame)))
        result[:] = answers
        return result
    return _frame_of(frame, spec, what, answers)


# ----------------------------------------------------------------------------- open, save --


def open(
    client: Any,
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    shard_rows: int | None = None,
    verify: bool = False,
    timeout: float | None = None,
    max_message: int = 4_000_000,
) -> ShardedMemory:
    """Open a memory that lies in files which the workers of a cluster can read.

    Parameters
    ----------
    client : distributed.Client
        A synchronous one.
    paths : str, path-like, or a sequence of them
        Files that `uhn.Memory.save` wrote, the parts of one long memory in this order, with the
        same keywords. The workers open them; the client need not see them. A file may lie on
        some of the workers only.
    shard_rows : int, optional
        Rows of a shard, a multiple of 1024: shards end at multiples of it and where files end.
        By default a power of two of blocks, so that each thread of the cluster has four to
        eight shards. A task costs the scheduler about a millisecond, and a shard that is lost
        with its worker is asked again from its first row.
    verify : bool, default False
        Check the checksums of a file when a process opens it first, which reads all of it. In
        any case NaN and infinity are found when their rows are first asked, and a file that was
        written to in place after it was opened is checked again.
    timeout : float, optional
        Seconds that a batch of queries may take, from when it is sent; None: wait. A cluster
        without any worker for 30 s is given up in any case.
    max_message : int, default 4,000,000
        About the most bytes of a message: queries are asked in batches of that size.

    Returns
    -------
    ShardedMemory

    Raises
    ------
    ShardLostError
        If no worker can read a file.
    ValueError
        If files do not belong together, workers see different files, or all are empty.

    Notes
    -----
    The bits of the answers do not depend on `shard_rows`, on `max_message`, on the number of
    workers, or on how the rows are spread over files. Files whose lengths are multiples of
    1024 rows are cheapest: of a block that the end of a file tears, the rows themselves travel
    in place of sums.
    """
    if getattr(client, "asynchronous", False):
        raise TypeError("client is asynchronous; pass a Client made with asynchronous=False")
    if not hasattr(client, "run_on_scheduler"):
        raise TypeError(f"client must be a distributed.Client, not {type(client).__name__}")
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    names = [os.fsdecode(os.fspath(path)) for path in paths]
    if not names:
        raise ValueError("paths is empty: a memory needs a file")
    if len(set(names)) != len(names):
        raise ValueError("a path comes twice: each row belongs to the memory once")
    for name, value, least in (("shard_rows", shard_rows, 1), ("max_message", max_message, 1)):
        if value is not None and (isinstance(value, bool) or operator.index(value) < least):
            raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")
    if shard_rows is not None and shard_rows % BLOCK_ROWS:
        raise ValueError(f"shard_rows must be a multiple of {BLOCK_ROWS}, got {shard_rows}")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout must be > 0 or None, got {timeout!r}")

    nowhere = Shard(names[0], 0, 0, 0, "")
    threads = _workers(client, nowhere)
    seen = _look_everywhere(client, names, sorted(threads))
    spec = _spec_of(names, seen, verify)
    n_rows = sum(file.n_rows for file in spec.files)
    if shard_rows is None:
        blocks = n_rows // (SHARDS_A_THREAD * sum(threads.values()) * BLOCK_ROWS)
        shard_rows = BLOCK_ROWS << max(blocks.bit_length() - 1, 0)
    shards = spec.shards(shard_rows)
    return ShardedMemory(client, spec, shards, timeout=timeout, max_message=max_message)


def _first_seen(
    names: list[str], seen: dict[str, list[dict[str, Any] | str]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each file as the workers that have it see it, if they agree."""
    for i, name in enumerate(names):
        said = [answers[i] for answers in seen.values()]
        headers = [answer for answer in said if not isinstance(answer, str)]
        if not headers:
            reasons = "; ".join(sorted({str(answer) for answer in said})) or "nobody answered"
            raise ShardLostError(name, (0, 0), f"no worker can read it: {reasons}")
        if len({header["sha256"] for header in headers}) > 1:
            raise ValueError(f"{name} is not the same file on all workers")
        yield name, headers[0]


def _spec_of(
    names: list[str], seen: dict[str, list[dict[str, Any] | str]], verify: bool
) -> _Spec:
    files: list[_File] = []
    first: tuple[Any, ...] | None = None
    row: int | None = None
    has_prior = False
    for name, header in _first_seen(names, seen):
        keywords, shapes = header["keywords"], header["shapes"]
        own_row = keywords.pop("first_row", 0)
        if header["dtype"] is None:
            raise ValueError(f"{name} holds no patterns")
        patterns, values = shapes["patterns"], shapes.get("values")
        equation = (keywords, header["dtype"], patterns[1], values and values[1])
        if first is None:
            first, row = equation, own_row
        what = ("the keywords", "the dtype", "the width of patterns", "the width of values")
        for kind, mine, others in zip(what, equation, first, strict=True):
            if mine != others:
                raise ValueError(
                    f"{name} does not belong to {names[0]}: {kind} are {mine} and {others}"
                )
        assert row is not None
        if own_row not in (0, row):
            raise ValueError(
                f"{name} has first_row={own_row}, but {row} rows are before it; save it with "
                f"first_row=0, or pass the paths in their order"
            )
        has_prior |= "prior" in shapes
        files.append(_File(name, header["sha256"], patterns[0], row))
        row += patterns[0]
    assert first is not None
    keywords, dtype, n_features, n_values = first
    if not sum(file.n_rows for file in files):
        raise ValueError(f"{names[0]} holds no patterns")
    return _Spec(
        tuple(files),
        keywords,
        dtype,
        n_features,
        n_features if n_values is None else n_values,
        n_values is None,
        has_prior,
        verify,
    )


def _save_chunk(patterns: Any, values: Any, path: str, keywords: dict[str, Any]) -> str:
    Memory(patterns, values, **keywords).save(path)
    return path


def save(
    patterns: Any, folder: str | os.PathLike[str], values: Any = None, **keywords: Any
) -> list[str]:
    """Write a dask.array of patterns as files, one a chunk of rows, for `open`.

    Each chunk is written by the worker that has it; no more than a chunk is in memory.

    Parameters
    ----------
    patterns : dask.array, shape (n_patterns, n_features)
        Chunks whose lengths are multiples of 1024 rows make the cheapest shards.
    folder : str or path-like
        Of the workers; it has to be there.
    values : dask.array, shape (n_patterns, n_values), optional
        What a pattern retrieves.
    **keywords
        Of `uhn.Memory`: the equation.

    Returns
    -------
    list of str
        The paths in order: ``part-00000.uhn.safetensors`` and so on.
    """
    if not hasattr(patterns, "to_delayed") or getattr(patterns, "ndim", 0) != 2:
        raise TypeError("patterns must be a dask.array of shape (n_patterns, n_features)")
    Memory(**keywords)
    patterns = patterns.rechunk({1: -1})
    blocks = patterns.to_delayed().ravel()
    if values is None:
        others: Sequence[Any] = [None] * len(blocks)
    else:
        others = values.rechunk((patterns.chunks[0], -1)).to_delayed().ravel()
    place = os.fsdecode(os.fspath(folder))
    write = delayed(_save_chunk, pure=False)
    tasks = [
        write(block, other, os.path.join(place, f"part-{i:05d}.uhn.safetensors"), keywords)
        for i, (block, other) in enumerate(zip(blocks, others, strict=True))
    ]
    return list(compute(*tasks))
