"""Tasks to rows: kept as they are made, resumed where they stopped, in one or more processes.

An experiment is a plan, a list of tasks; a task makes rows, a cell at a time. `run` computes
the rows that are not in its file yet and returns all of them in the plan's order. What a row
holds is a function of its coordinates and of the data (see `Task`), so the rows are the same,
but for their `seconds`, whatever was interrupted, resumed or computed elsewhere.

The file is JSON Lines, one row a line in the order in which cells were finished. A cell's rows
are written and synced to the disk together before anybody hears of them, so that a crash costs
the cells under way and no more. One run writes it at a time, and that run's parent process
alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import importlib
import io
import json
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
import typing
import warnings
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import uhn

__all__ = ["JsonLines", "Key", "Provenance", "Row", "Task", "read", "run"]

Key = tuple[Any, ...]
"""Coordinates of a row."""

Provenance = tuple[tuple[str, str], ...]
"""Names and values of what a row was made from: ``(("data", "9f..."), ("version", "1"))``."""


class Row(Protocol):
    """A frozen dataclass of str, int and float fields, one of them `seconds`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def key(self) -> Key: ...

    @property
    def provenance(self) -> Provenance: ...

    @property
    def seconds(self) -> float: ...


R = TypeVar("R", bound=Row)
R_co = TypeVar("R_co", bound=Row, covariant=True)


class Task(Protocol[R_co]):
    """Work that makes rows. It is pickled where there is more than one process.

    What is random in a cell must depend on the cell's coordinates alone: the task is run for
    any part of its keys, in any process.
    """

    @property
    def cost(self) -> float:
        """In any unit; for the estimate of the time left and nothing else."""

    @property
    def provenance(self) -> Provenance:
        """That of all its rows, known before they are made."""

    def keys(self) -> Sequence[Key]:
        """Keys of its rows, in order."""

    def run(self, data: Any, wanted: Collection[Key]) -> Iterator[Sequence[R_co]]:
        """Rows of one finished cell at a time, the `wanted` ones and no other."""


# ---------------------------------------------------------------------------------- the file --


class JsonLines(Generic[R]):
    """A file of rows, open for more of them.

    Parameters
    ----------
    path : str or path-like
        Made if it is not there; its directory must be.
    row_type : type
        A dataclass, see `Row`. Every line is a JSON object of its fields.

    Attributes
    ----------
    rows : list
        What was there. A torn last line, which a crash can leave, is cut off with a warning.

    Raises
    ------
    ValueError
        A line is no row of that type.
    RuntimeError
        Another run has it open.
    """

    def __init__(self, path: str | os.PathLike[str], row_type: type[R]) -> None:
        self.path = Path(path)
        made = not self.path.exists()
        self._file = io.FileIO(self.path, "a+")
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RuntimeError(
                    f"{self.path} is being written by another run: wait for it to end or take "
                    "another path"
                ) from None
            if made:
                directory = os.open(self.path.parent, os.O_RDONLY)
                try:
                    os.fsync(directory)
                finally:
                    os.close(directory)
            self._file.seek(0)
            text = self._file.readall()
            self.rows, end = _parse(text, self.path, row_type)
            if end < len(text):
                self._file.truncate(end)
                os.fsync(self._file)
                warnings.warn(f"{self.path}: dropped a torn last line", stacklevel=2)
        except BaseException:
            self._file.close()
            raise

    def append(self, rows: Iterable[R]) -> None:
        """Writes rows, all or none; they are on the disk when this returns."""
        text = "".join(
            json.dumps(
                {field.name: getattr(row, field.name) for field in dataclasses.fields(row)},
                allow_nan=False,
            )
            + "\n"
            for row in rows
        ).encode()
        end = self._file.seek(0, os.SEEK_END)
        try:
            while text:
                text = text[self._file.write(text) :]
            os.fsync(self._file)
        except OSError:  # The disk is full, say.
            self._file.truncate(end)
            raise

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> JsonLines[R]:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read(path: str | os.PathLike[str], row_type: type[R]) -> list[R]:
    """Rows of a file, which another run may be writing; a torn last line is passed over."""
    return _parse(Path(path).read_bytes(), Path(path), row_type)[0]


def _parse(text: bytes, path: Path, row_type: type[R]) -> tuple[list[R], int]:
    """Rows, and where the last whole line ends."""
    kinds = typing.get_type_hints(row_type)
    kinds = {field.name: kinds[field.name] for field in dataclasses.fields(row_type)}
    start = f'{{"{next(iter(kinds))}"'.encode()
    rows: list[R] = []
    end = 0
    for number, line in enumerate(io.BytesIO(text), 1):
        try:
            whole = line.endswith(b"\n")
            record = json.loads(line) if whole else None
        except ValueError:
            whole = False
        if not whole:
            # Torn is the beginning of a row, or zeros where it was to be. Anything else was not
            # written here, and cutting it off would harm somebody's file.
            begun = line.strip(b"\0\n")[: len(start)]
            if end + len(line) == len(text) and start.startswith(begun):
                return rows, end
            raise ValueError(f"{path}, line {number}: not a JSON object on a line of its own")
        try:
            rows.append(row_type(**_checked(record, kinds)))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        end += len(line)
    return rows, end


def _checked(record: object, kinds: dict[str, Any]) -> dict[str, Any]:
    """The fields of a row, each of its type."""
    if not isinstance(record, dict):
        raise ValueError(f"a row is a JSON object, not {record!r}")
    wrong = [f"{name} is missing" for name in kinds if name not in record]
    wrong += [f"{name} is unknown" for name in record if name not in kinds]
    for name in record.keys() & kinds.keys():
        if kinds[name] is float and type(record[name]) is int:
            record[name] = float(record[name])
        if kinds[name] in (str, int, float) and type(record[name]) is not kinds[name]:
            wrong.append(f"{name} is {record[name]!r}, which is no {kinds[name].__name__}")
    if wrong:
        raise ValueError(f"not a row of this experiment: {'; '.join(wrong)}")
    return record


# ----------------------------------------------------------------------------------- the run --


def run(
    tasks: Iterable[Task[R]],
    data: Any = None,
    *,
    row_type: type[R],
    path: str | os.PathLike[str] | None = None,
    n_workers: int = 1,
    progress: bool | None = None,
    description: str = "",
    on_row: Callable[[R], object] | None = None,
) -> list[R]:
    """Rows of a plan: those in the file are taken from it, the others computed and written.

    Parameters
    ----------
    tasks : iterable of Task
        Begun in this order. A row that two of them make is computed once.
    data : object
        Given to every task. A worker has a copy of its own.
    row_type : type
        The dataclass of the rows.
    path : str or path-like, optional
        The file, see `JsonLines`. Its rows that are not in the plan are left alone.
    n_workers : int
        1 runs here, with `uhn.get_num_threads` threads; more share these among that many
        processes. They import the program's main module as `multiprocessing` has it, so a
        script must make the call under ``if __name__ == "__main__":``, and the tasks' classes
        must be importable (not defined in a notebook).
    progress : bool, optional
        Whether to show a bar, which is tqdm's. By default: if it is installed, and stderr is a
        terminal or this is a notebook.
    description : str
        What the bar is called.
    on_row : callable, optional
        Called with every new row, once it is on the disk.

    Returns
    -------
    list
        One row a key, in the plan's order.

    Raises
    ------
    ValueError
        The file has a row of the plan that was made from something else, or no rows.
    RuntimeError
        The file is another run's; a worker died; a task did not make what it promised.
    KeyboardInterrupt
        Ctrl-C. It ends workers at once.

    Notes
    -----
    Whatever is raised, by a task too, finished rows stay in the file, and the same call goes on
    from there.
    """
    if n_workers < 1:
        raise ValueError(f"n_workers must be at least 1, not {n_workers}")
    plan = [(task, tuple(dict.fromkeys(task.keys()))) for task in tasks]
    origin: dict[Key, Provenance] = {}
    for task, keys in plan:
        for key in keys:
            if origin.setdefault(key, task.provenance) != task.provenance:
                raise ValueError(
                    f"two tasks make the row {key}, but not from the same: "
                    f"{_differences(origin[key], task.provenance)}"
                )
    rows: dict[Key, R] = {}
    costs: dict[Key, float] = {}  # of the rows to make
    todo: list[tuple[Task[R], tuple[Key, ...]]] = []
    with contextlib.ExitStack() as stack:
        file = None if path is None else stack.enter_context(JsonLines(path, row_type))
        for row in file.rows if file else ():
            if row.provenance != origin.get(row.key, row.provenance):
                raise ValueError(
                    f"{path} has the row {row.key}, but not made from what it would be made "
                    f"from now: {_differences(row.provenance, origin[row.key])}; take another "
                    "path or delete the file"
                )
            if row.key in origin:
                rows[row.key] = row
        for task, keys in plan:
            wanted = tuple(key for key in keys if key not in rows and key not in costs)
            if wanted:
                todo.append((task, wanted))
                costs |= dict.fromkeys(wanted, task.cost / len(keys))
        total = sum(costs.values()) or 1.0
        advance = stack.enter_context(_bar(progress if todo else False, description))
        n_workers = min(n_workers, len(todo))
        cells: Generator[Sequence[R], None, None] = (
            _elsewhere(todo, data, n_workers)
            if n_workers > 1
            else (cell for task, wanted in todo for cell in task.run(data, wanted))
        )
        for cell in stack.enter_context(contextlib.closing(cells)):
            for row in cell:
                if row.key not in costs or row.key in rows:
                    raise RuntimeError(f"a task made the row {row.key}, which is not wanted")
                if row.provenance != origin[row.key]:
                    raise RuntimeError(
                        f"a task made the row {row.key} not from what it said: "
                        f"{_differences(origin[row.key], row.provenance)}"
                    )
            if file:
                file.append(cell)
            rows.update((row.key, row) for row in cell)
            advance(sum(costs[row.key] for row in cell) / total)
            if on_row:
                for row in cell:
                    on_row(row)
    if missing := origin.keys() - rows.keys():
        raise RuntimeError(f"a task ended without the row {min(missing, key=repr)}")
    return [rows[key] for key in origin]


def _differences(old: Provenance, new: Provenance) -> str:
    a, b = dict(old), dict(new)
    return ", ".join(
        f"{name} {a.get(name, '(none)')} and {b.get(name, '(none)')}"
        for name in a | b
        if a.get(name) != b.get(name)
    )


def _elsewhere(
    todo: Iterable[tuple[Task[R], tuple[Key, ...]]], data: Any, n_workers: int
) -> Generator[Sequence[R], None, None]:
    """Cells as `n_workers` processes finish them.

    Each has a pipe of its own: no lock is shared, so any of them can be killed at any moment
    without harm to the others, and that is how all of them end.
    """
    jobs = iter(todo)
    context = multiprocessing.get_context("spawn")
    n_threads = max(1, uhn.get_num_threads() // n_workers)
    workers: dict[Connection, BaseProcess] = {}
    try:
        with _ctrl_c_held():
            for _ in range(n_workers):
                connection, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, n_threads), daemon=True)
                process.start()
                theirs.close()
                workers[connection] = process
        busy = set(workers)

        def give(connection: Connection, what: bytes) -> None:
            # A worker that is dead is found out where its answer is read.
            with contextlib.suppress(ConnectionError):
                connection.send_bytes(what)

        def give_task(connection: Connection) -> None:
            if (job := next(jobs, None)) is None:
                busy.discard(connection)
            else:
                give(connection, pickle.dumps(job))

        pickled = pickle.dumps(data, pickle.HIGHEST_PROTOCOL)  # once for all of them
        for connection in workers:
            give(connection, pickled)
            give_task(connection)
        del pickled
        while busy:
            failures: list[BaseException] = []
            for ready in wait(busy):
                assert isinstance(ready, Connection)
                try:
                    answer = ready.recv()
                except (EOFError, OSError):
                    answer = _death(workers[ready])
                if answer is None:
                    give_task(ready)
                elif isinstance(answer, BaseException):
                    failures.append(answer)
                else:
                    yield answer
            if failures:
                raise failures[0]
    finally:
        for worker in workers.values():
            worker.kill()
        for connection, worker in workers.items():
            worker.join()
            worker.close()
            connection.close()


@contextlib.contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Processes started here never hear Ctrl-C, and it does not tear this one from a start.

    A terminal sends it to all of them, and the parent answers for all. The signal stays blocked
    in what inherits the mask. Here another thread, one of NumPy's, may still take it and have
    Python raise the exception in the main one; so it is noted, and answered afterwards.
    """
    heard: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    if main:
        handler = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # It would be started with the first process, and would unblock the signal then.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if main:
            signal.signal(signal.SIGINT, handler)
            if heard:
                signal.raise_signal(signal.SIGINT)


def _death(process: BaseProcess) -> RuntimeError:
    process.join(1)
    code = process.exitcode
    how = f"exit code {code}"
    if code is not None and code < 0:
        how = f"killed by {signal.Signals(-code).name}; the memory may have run out"
    elif code == 1:
        how += '; a script must call run() under if __name__ == "__main__":'
    return RuntimeError(f"a worker process died ({how}). The finished rows are kept.")


def _work(connection: Connection, n_threads: int) -> None:
    """A worker's life: the data, then task after task, answered by cells and None for done."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    uhn.set_num_threads(n_threads)
    try:
        data = connection.recv()
        while True:
            task, wanted = connection.recv()
            for cell in task.run(data, wanted):
                connection.send(cell)
            connection.send(None)
    except BaseException as error:
        with contextlib.suppress(ConnectionError):
            connection.send(_portable(error))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _portable(error: BaseException) -> BaseException:
    """An exception that survives the way to the parent, with the worker's traceback."""
    note = "In a worker process:\n" + "".join(traceback.format_exception(error))
    error.add_note(note)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"a task raised {type(error).__name__}: {error}")
        error.add_note(note)
    return error


# ------------------------------------------------------------------------------ the progress --


@contextlib.contextmanager
def _bar(progress: bool | None, description: str) -> Iterator[Callable[[float], object]]:
    """A function to call with the fraction that has been done since the last call."""
    if progress is None:
        terminal = sys.stderr is not None and sys.stderr.isatty()
        wanted = terminal or "ipykernel" in sys.modules
    else:
        wanted = progress
    try:
        # In a notebook it draws with ipywidgets; where there are none it complains, and writes.
        with warnings.catch_warnings(action="ignore"):
            tqdm = importlib.import_module("tqdm.auto").tqdm if wanted else None
    except ImportError:
        tqdm = None
        if progress:
            print("To see the progress: pip install tqdm", file=sys.stderr)
    if tqdm is None:
        yield lambda fraction: None
        return
    # Cells differ in cost, so the time left is better told from all of them than from the last.
    with tqdm(
        desc=description or None,
        total=1.0,
        bar_format="{l_bar}{bar}| {elapsed}, {remaining} left",
        smoothing=0,
        miniters=0,
    ) as bar:
        # Rounding must not lead beyond the end, of which tqdm would warn.
        yield lambda fraction: bar.update(min(fraction, 1 - bar.n))
