"""A stream of queries, answered batch by batch: `Memory.retrieve_batches`.

A batch is let go before its answer is handed out, so that memory is bounded by a few batches
whatever the length of the stream. Reading ahead is one thread with a queue of futures: batches
stay in order, and closing the generator waits for the one that is being read and ends the
thread.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import operator
import sys
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from uhn._core import Memory

__all__ = ["cut", "retrieve_batches"]

_END = object()


def retrieve_batches(
    memory: Memory,
    batches: Any,
    *,
    n_steps: int = 1,
    clamp: bool = True,
    tol: float | None = None,
    like: str | None = None,
    batch_size: int | None = None,
    prefetch: int = 0,
    progress: bool | None = False,
) -> Generator[Any, None, None]:
    """Answer a stream of queries: see `Memory.retrieve_batches`.

    What can be told from the arguments alone is told here, before the first batch is asked.

    Parameters
    ----------
    memory : Memory
    batches, n_steps, clamp, tol, like, batch_size, prefetch, progress
        As for the method.

    Returns
    -------
    generator of ndarray

    Raises
    ------
    ValueError, TypeError
        As the method.
    """
    ahead = _whole(prefetch, "prefetch", 0)
    if progress not in (None, True, False):
        raise TypeError(f"progress must be True, False or None, not {progress!r}")
    n_rows = None
    if batch_size is not None:
        size = _whole(batch_size, "batch_size", 1)
        n_rows = _length(batches)
        batches = cut(batches, size)
    elif hasattr(batches, "shape") and len(batches.shape) == 2:
        raise ValueError(
            f"batches is one array of shape {tuple(batches.shape)}: pass batch_size= to have "
            "it cut, or an iterable of arrays"
        )
    elif hasattr(batches, "column_names") and hasattr(batches, "num_rows"):
        raise ValueError("batches is one table: pass batch_size= to have it cut")
    elif not isinstance(batches, Iterable):
        raise TypeError(f"batches must be an iterable of arrays, not {type(batches).__name__}")
    keywords: dict[str, Any] = {"clamp": clamp, "tol": tol, "like": like}
    return _answers(memory.copy(), iter(batches), n_steps, keywords, ahead, n_rows, progress)


def _whole(value: Any, name: str, low: int) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        whole = operator.index(value)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"{name} must be an integer, not {kind} ({value!r})") from None
    if whole < low:
        raise ValueError(f"{name} must be at least {low}, not {whole}")
    return whole


def _length(queries: Any) -> int:
    shape = getattr(queries, "shape", None)
    n_axes = len(shape) if shape is not None else 2
    if n_axes != 2 or not hasattr(queries, "__len__"):
        raise ValueError(
            "batch_size cuts one matrix of queries, shape (n_queries, n_features); "
            + (f"this has shape {tuple(shape)}" if shape else f"not {type(queries).__name__}")
        )
    return len(queries)


def cut(queries: Any, size: int) -> Iterator[Any]:
    """Cut an array, frame or table into batches of rows, each a view where it gives views.

    Parameters
    ----------
    queries : array_like of `n` rows
    size : int

    Yields
    ------
    object
        Rows ``[0, size)``, ``[size, 2 size)`` and so on, the last ones maybe fewer.
    """
    rows = getattr(queries, "iloc", queries)
    slices = hasattr(queries, "slice") and hasattr(queries, "schema")  # tables of Arrow
    for start in range(0, len(queries), size):
        if slices:
            yield queries.slice(start, size)
        else:
            yield rows[start : min(start + size, len(queries))]


def _read_ahead(batches: Iterator[Any], ahead: int) -> Generator[Any, None, None]:
    """The batches in order; while one is worked on, a thread reads up to `ahead` more."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="uhn-stream")
    waiting: deque[Future[Any]] = deque()
    try:
        while True:
            while len(waiting) <= ahead:
                waiting.append(pool.submit(next, batches, _END))
            # Nothing here may keep a batch while this generator rests.
            batch = [waiting.popleft().result()]
            if batch[0] is _END:
                return
            yield batch.pop()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _answers(
    memory: Memory,
    batches: Iterator[Any],
    n_steps: int,
    keywords: dict[str, Any],
    ahead: int,
    n_rows: int | None,
    progress: bool | None,
) -> Generator[Any, None, None]:
    reader = _read_ahead(batches, ahead) if ahead else None
    source = reader or batches
    with contextlib.ExitStack() as stack:
        if reader is not None:
            stack.callback(reader.close)
        bar = _bar(n_rows, progress)
        if bar is not None:
            stack.callback(bar.close)
        for number in itertools.count():
            try:
                batch: Any = next(source, _END)
            except Exception as error:
                error.add_note(f"raised by the iterable of batches, at batch {number}")
                raise
            if batch is _END:
                return
            try:
                answer = [memory.retrieve(batch, n_steps, **keywords)]
            except (TypeError, ValueError) as error:
                if type(error) not in (TypeError, ValueError):
                    raise
                raise type(error)(f"batch {number}: {error}") from error
            del batch
            if bar is not None:
                shape = getattr(answer[0], "shape", (0, 0))
                bar.update(len(answer[0]) if len(shape) == 2 else 1)
            yield answer.pop()


def _bar(n_rows: int | None, progress: bool | None) -> Any:
    """A bar that counts rows, or None."""
    if progress is False or (progress is None and not (sys.stderr and sys.stderr.isatty())):
        return None
    try:
        # In a notebook it draws with ipywidgets; where there are none it complains, and writes.
        with warnings.catch_warnings(action="ignore"):
            tqdm = importlib.import_module("tqdm.auto").tqdm
    except ImportError:
        if progress:
            raise ImportError("progress=True needs tqdm: pip install 'uhn[progress]'") from None
        return None
    return tqdm(total=n_rows, unit=" rows", unit_scale=True, leave=True)
