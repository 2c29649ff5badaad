"""Tasks to rows: the file, resuming, workers, and everything that can end a run too early."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import active_children
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

import running_workload
import uhn
from running_workload import Recall, Row, images
from uhn.experiments.running import JsonLines, read, run

PROGRAM = running_workload.__file__
IMAGES = images(100)
PLAN = [Recall("euclidean", 50), Recall("manhattan", 60), Recall("dot", 20)]
N_ROWS = sum(len(task.keys()) for task in PLAN)


def environment(**more: str) -> dict[str, str]:
    """What a program in a process of its own needs to find the package and the workload."""
    roots = [str(Path(uhn.__file__).parent.parent), str(Path(PROGRAM).parent)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(roots), **more}


def plain(rows: list[Row]) -> list[Row]:
    return [dataclasses.replace(row, seconds=0.0) for row in rows]


def sorted_lines(path: Path) -> bytes:
    """The file, sorted and without `seconds`."""
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    return b"".join(
        sorted(json.dumps({**record, "seconds": 0}).encode() + b"\n" for record in records)
    )


def a_row(**changes: Any) -> Row:
    return dataclasses.replace(Row("dot", 3, 0.1, 0.5, 2, 1 / 3, 1e-3, "random"), **changes)


# ---------------------------------------------------------------------------------- the file --


def test_a_row_is_a_line(tmp_path: Path) -> None:
    """Fields as declared, numbers by repr, text in ASCII; what is read is what was written."""
    path = tmp_path / "rows.jsonl"
    odd = a_row(similarity='a "dot"\n\r\u2028é', error=5e-324, level=-0.0, seconds=1e22)
    rows = [a_row(), odd]
    with JsonLines(path, Row) as file:
        assert file.rows == []
        file.append(rows[:1])
        assert path.read_text() == (
            '{"similarity": "dot", "n_patterns": 3, "level": 0.1, "threshold": 0.5, '
            '"n_correct": 2, "error": 0.3333333333333333, "seconds": 0.001, "data": "random"}\n'
        )
        file.append(rows[1:])
        file.append([])
    assert path.read_bytes().isascii()
    assert path.read_text().count("\n") == 2
    with JsonLines(path, Row) as file:
        assert file.rows == rows == read(path, Row)
        assert math.copysign(1, file.rows[1].level) == -1
        assert file.path == path


def test_a_whole_number_is_a_float_where_one_belongs(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with JsonLines(path, Row) as file:
        file.append([a_row(level=1)])
    assert isinstance(read(path, Row)[0].level, float)


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float32(1)])
def test_what_json_lacks_is_not_written(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "rows.jsonl"
    with JsonLines(path, Row) as file:
        with pytest.raises((ValueError, TypeError), match="JSON"):
            file.append([a_row(), a_row(error=value)])
        assert path.read_bytes() == b""


def test_every_cut_of_the_last_line_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with JsonLines(path, Row) as file:
        file.append([a_row(), a_row(n_patterns=4)])
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(first, len(whole) + 1):
        path.write_bytes(whole[:end])
        if end in (first, len(whole)):
            assert len(read(path, Row)) == (1 if end == first else 2)
            continue
        assert read(path, Row) == [a_row()]
        assert path.stat().st_size == end, "reading changes nothing"
        with pytest.warns(UserWarning, match=r"rows\.jsonl: dropped a torn last line"):
            file = JsonLines(path, Row)
        with file:
            assert file.rows == [a_row()]
            assert path.read_bytes() == whole[:first]
            file.append([a_row(n_patterns=4)])
        assert path.read_bytes() == whole


@pytest.mark.parametrize("torn", [b"\0" * 40, b'{"similarity": "d\0\n', b"\0\0\n", b'{"sim'])
def test_other_torn_lines(tmp_path: Path, torn: bytes) -> None:
    """A file system may have made the room and not filled it."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(torn)
    with pytest.warns(UserWarning, match="torn"):
        JsonLines(path, Row).close()
    assert path.read_bytes() == b""


LINE = json.dumps(dataclasses.asdict(a_row())).encode() + b"\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINE + LINE[:20] + b"\n" + LINE, "line 2: not a JSON object"),
        (LINE[:20] + LINE + LINE, "line 1: not a JSON object"),
        (LINE + b"\n" + LINE, "line 2: not a JSON object"),
        (LINE + b"[1]\n", r"line 2: a row is a JSON object, not \[1\]"),
        (LINE + b"{}\n", "line 2: not a row of this experiment: similarity is missing; n_patt"),
        (LINE.replace(b'"level"', b'"leval"'), "line 1: .* level is missing; leval is unknown"),
        (LINE.replace(b": 3", b": 3.0"), "line 1: .* n_patterns is 3.0, which is no int"),
        (LINE.replace(b": 3", b": true"), "line 1: .* n_patterns is True, which is no int"),
        (LINE.replace(b'"dot"', b"7"), "line 1: .* similarity is 7, which is no str"),
        (b"dear diary", "line 1: not a JSON object"),
        (LINE + b"dear diary", "line 2: not a JSON object"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "line 1: not a JSON object"),
    ],
)  # fmt: skip
def test_a_file_of_something_else_is_refused_and_left_alone(
    tmp_path: Path, text: bytes, message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(text)
    for use in (JsonLines, read):
        with pytest.raises(ValueError, match=rf"rows\.jsonl, {message}"):
            use(path, Row)
    assert path.read_bytes() == text


def test_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with JsonLines(path, Row) as file:
        file.append([a_row()])
        with pytest.raises(RuntimeError, match=r"rows\.jsonl is being written by another run"):
            run(PLAN, IMAGES, row_type=Row, path=path)
        done = subprocess.run(
            [sys.executable, PROGRAM, path],
            capture_output=True, text=True, check=False, env=environment(),
        )  # fmt: skip
        assert done.returncode == 1
        assert "is being written by another run" in done.stderr
        assert read(path, Row) == [a_row()]
    with JsonLines(path, Row) as file:
        assert file.rows == [a_row()]


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "rows.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with JsonLines(path, Row) as file:
        file.append([a_row()])
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(LINE) + 20, limits[1]))
        try:
            with pytest.raises(OSError):
                file.append([a_row(n_patterns=4)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        assert path.read_bytes() == LINE
        file.append([a_row(n_patterns=5)])
    assert [row.n_patterns for row in read(path, Row)] == [3, 5]


def test_a_row_is_synced_before_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One write and one sync a cell of two rows; the directory once, when the file is made."""
    path = tmp_path / "rows.jsonl"
    events: list[Any] = []
    fsync = os.fsync

    def spy(file: Any) -> None:
        directory = os.path.isdir(f"/proc/self/fd/{file}") if isinstance(file, int) else False
        events.append("directory" if directory else path.read_bytes().count(b"\n"))
        fsync(file)

    monkeypatch.setattr(os, "fsync", spy)
    run(PLAN[:1], IMAGES, row_type=Row, path=path, on_row=lambda row: events.append(row.key))
    keys = PLAN[0].keys()
    assert events[1:] == [2, *keys[:2], 4, *keys[2:4], 6, *keys[4:]]
    if os.path.isdir("/proc/self/fd"):
        assert events[0] == "directory"
    events.clear()
    run(PLAN[:1], IMAGES, row_type=Row, path=path)
    assert events == []


# ----------------------------------------------------------------------------------- the run --


@pytest.mark.parametrize("n_workers", [1, 2])
def test_rows_come_in_the_order_of_the_plan(tmp_path: Path, n_workers: int) -> None:
    """Without a file, with one, from one; whatever the file's own order; each told once."""
    path = tmp_path / "rows.jsonl"
    keys = list(itertools.chain.from_iterable(task.keys() for task in PLAN))
    told: list[Row] = []
    keywords: dict[str, Any] = {"row_type": Row, "n_workers": n_workers, "on_row": told.append}
    rows = run(PLAN, IMAGES, **keywords)
    assert [row.key for row in rows] == keys
    assert sorted(told, key=repr) == sorted(rows, key=repr)
    assert run(iter(PLAN), IMAGES, path=path, **keywords) is not None
    assert len(told) == 2 * N_ROWS
    kept = run(PLAN, IMAGES, path=path, **keywords)
    assert len(told) == 2 * N_ROWS, "nothing is new"
    assert plain(kept) == plain(rows)
    lines = path.read_bytes().splitlines(keepends=True)
    random.Random(0).shuffle(lines)
    path.write_bytes(b"".join(lines[5:]))
    assert plain(run(PLAN, IMAGES, path=path, **keywords)) == plain(rows)
    assert len(told) == 2 * N_ROWS + 5
    assert {row.key for row in told[-5:]} == {Row(**json.loads(line)).key for line in lines[:5]}
    # Another order of the plan, and a part of it.
    assert plain(run(PLAN[::-1], IMAGES, path=path, **keywords)) == plain(
        [*rows[12:], *rows[6:12], *rows[:6]]
    )
    assert plain(run(PLAN[1:2], IMAGES, path=path, **keywords)) == plain(rows[6:12])
    assert len(path.read_bytes().splitlines()) == N_ROWS
    assert active_children() == []


def test_nothing_to_do(tmp_path: Path) -> None:
    assert run([], row_type=Row, n_workers=2) == []
    assert run([], row_type=Row, path=tmp_path / "rows.jsonl", progress=True) == []


def test_rows_outside_the_plan_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    other = a_row(similarity="another", data="other images")
    with JsonLines(path, Row) as file:
        file.append([other])
    rows = run(PLAN, IMAGES, row_type=Row, path=path)
    assert other not in rows
    assert read(path, Row) == [other, *rows]


def test_a_row_in_two_tasks_is_computed_once(tmp_path: Path) -> None:
    told: list[Row] = []
    plan = [PLAN[0], PLAN[0], dataclasses.replace(PLAN[0], levels=(0.5, 0.25))]
    rows = run(plan, IMAGES, row_type=Row, on_row=told.append)
    assert rows == told
    assert [row.level for row in rows] == [0.1, 0.1, 0.5, 0.5, 1.0, 1.0, 0.25, 0.25]
    plan[1] = dataclasses.replace(PLAN[0], data="other images")
    with pytest.raises(ValueError, match=r"two tasks make .*: data random and other images"):
        run(plan, IMAGES, row_type=Row)


def test_rows_of_other_data_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    run(PLAN[:1], IMAGES, row_type=Row, path=path)
    before = path.read_bytes()
    plan = [dataclasses.replace(task, data="other images") for task in PLAN]
    with pytest.raises(ValueError) as caught:
        run(plan, IMAGES, row_type=Row, path=path)
    message = str(caught.value)
    assert str(path) in message
    assert "('euclidean', 50, 0.1, 0.05)" in message
    assert "data random and other images" in message
    assert "take another path or delete the file" in message
    assert path.read_bytes() == before


@dataclasses.dataclass(frozen=True)
class Liar:
    """Promises one row and makes these."""

    rows: tuple[Row, ...]
    cost: float = 0.0
    provenance: tuple[tuple[str, str], ...] = (("data", "random"),)

    def keys(self) -> list[tuple[Any, ...]]:
        return [a_row().key]

    def run(self, data: Any, wanted: Any) -> Iterator[list[Row]]:
        yield from ([row] for row in self.rows)


@dataclasses.dataclass(frozen=True)
class CountThreads:
    """A row that says how many threads there are where it is made."""

    n: int
    cost: float = 1.0
    provenance: tuple[tuple[str, str], ...] = (("data", "random"),)

    def keys(self) -> list[tuple[Any, ...]]:
        return [a_row(n_patterns=self.n).key]

    def run(self, data: Any, wanted: Any) -> Iterator[list[Row]]:
        yield [a_row(n_patterns=self.n, n_correct=uhn.get_num_threads())]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((), "ended without the row"),
        ((a_row(n_patterns=5),), "not wanted"),
        ((a_row(), a_row()), "not wanted"),
        ((a_row(data="other"),), "not from what it said: data random and other"),
    ],
)
def test_a_task_that_breaks_its_promise(
    tmp_path: Path, rows: tuple[Row, ...], message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(RuntimeError, match=message):
        run([Liar(rows)], row_type=Row, path=path)
    assert len(read(path, Row)) == (len(rows) > 1), "what is wrong is not written"
    assert run([Liar((a_row(),))], row_type=Row) == [a_row()]


def test_bad_number_of_workers() -> None:
    with pytest.raises(ValueError, match="n_workers must be at least 1, not 0"):
        run(PLAN, IMAGES, row_type=Row, n_workers=0)


# ------------------------------------------------------------------------- what ends a run --


class Unpicklable(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_task_that_raises(tmp_path: Path, n_workers: int) -> None:
    """Its exception comes out as it is, a worker's with the traceback there."""
    path = tmp_path / "rows.jsonl"
    plan = [dataclasses.replace(PLAN[0], mishap=KeyError("no such thing")), PLAN[1]]
    with pytest.raises(KeyError, match="no such thing") as caught:
        run(plan, IMAGES, row_type=Row, path=path, n_workers=n_workers)
    if n_workers == 2:
        assert "in run\n" in caught.value.__notes__[0]
        assert "raise self.mishap" in caught.value.__notes__[0]
    kept = read(path, Row)
    assert {row.key for row in kept} >= set(PLAN[0].keys()[:2]), "cells before it are kept"
    assert len(run(PLAN, IMAGES, row_type=Row, path=path, n_workers=n_workers)) == N_ROWS
    assert read(path, Row)[: len(kept)] == kept
    assert active_children() == []


def test_an_exception_that_cannot_travel() -> None:
    plan = [Raises(), *PLAN]
    with pytest.raises(RuntimeError, match="a task raised Unpicklable: 1 and 2") as caught:
        run(plan, IMAGES, row_type=Row, n_workers=2)
    assert "raise Unpicklable(1, 2)" in caught.value.__notes__[0]


class Raises(Liar):
    def __init__(self) -> None:
        super().__init__(())

    def run(self, data: Any, wanted: Any) -> Iterator[list[Row]]:
        raise Unpicklable(1, 2)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_an_error_of_the_caller(tmp_path: Path, n_workers: int) -> None:
    path = tmp_path / "rows.jsonl"

    def fail(row: Row) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        run(PLAN, IMAGES, row_type=Row, path=path, n_workers=n_workers, on_row=fail)
    assert len(read(path, Row)) == 2
    assert active_children() == []


def test_a_worker_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    told: list[Row] = []

    def kill(row: Row) -> None:
        told.append(row)
        if len(told) == 1:
            active_children()[0].kill()

    plan = [dataclasses.replace(task, levels=tuple(np.linspace(0, 1, 300))) for task in PLAN]
    with pytest.raises(RuntimeError, match=r"a worker process died \(killed by SIGKILL"):
        run(plan, IMAGES, row_type=Row, path=path, n_workers=2, on_row=kill)
    assert read(path, Row) == told
    assert active_children() == []
    # No zombie either: the only child is the resource tracker, which lives on.
    assert os.waitpid(-1, os.WNOHANG) == (0, 0)
    assert len(run(PLAN, IMAGES, row_type=Row, path=path, n_workers=2)) == N_ROWS


def test_workers_do_not_hear_ctrl_c() -> None:
    """A terminal sends it to them too."""
    told: list[Row] = []

    def interrupt(row: Row) -> None:
        told.append(row)
        for child in active_children():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGINT)

    assert len(run(PLAN, IMAGES, row_type=Row, n_workers=2, on_row=interrupt)) == N_ROWS
    assert len(told) == N_ROWS


@pytest.mark.parametrize("n_workers", [1, 2])
def test_ctrl_c_is_this_process_s_again(n_workers: int) -> None:
    before = signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    run(PLAN, IMAGES, row_type=Row, n_workers=n_workers)
    after = signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert after == before
    assert signal.SIGINT not in after[1]


def test_threads_are_shared_among_workers() -> None:
    before = uhn.get_num_threads()
    try:
        for n_threads, each in ((1, 1), (5, 2)):
            uhn.set_num_threads(n_threads)
            plan = [CountThreads(i) for i in range(2)]
            rows = run(plan, row_type=Row, n_workers=2)
            assert [row.n_correct for row in rows] == [each, each]
            assert uhn.get_num_threads() == n_threads
    finally:
        uhn.set_num_threads(before)


def test_workers_in_another_thread() -> None:
    """Where Python has no signals."""
    with ThreadPoolExecutor(1) as pool:
        rows = pool.submit(run, PLAN, IMAGES, row_type=Row, n_workers=2).result(60)
    assert plain(rows) == plain(run(PLAN, IMAGES, row_type=Row))


def test_a_script_without_the_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    text = "from running_workload import *\nplan = [Recall('dot', 9), Recall('dot', 8)]\n"
    text += "running.run(plan, images(9), row_type=Row, n_workers=2)\n"
    script.write_text(text)
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 1
    assert "a worker process died (exit code 1; a script must call run() under if __name__" in (
        done.stderr
    )


# -------------------------------------------------------------------- from outside, for real --


class Program:
    """A script as a process group of its own, as a terminal has it."""

    def __init__(self, scratch: Path, *command: str | Path) -> None:
        self.scratch = scratch
        self.process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True, env=environment(TMPDIR=str(scratch)),
        )  # fmt: skip
        self.workers: list[int] = []

    def wait_for_rows(self, n: int) -> bool:
        """Whether so many new rows were told before the end."""
        assert self.process.stdout is not None
        for _ in range(n):
            word, *workers = self.process.stdout.readline().split() or ["end"]
            if word != "row":
                return False
            self.workers = [int(pid) for pid in workers]
        return True

    def end(self) -> tuple[str, str]:
        out, error = self.process.communicate(timeout=60)
        assert list(self.scratch.iterdir()) == []
        return out, error


class Start(Protocol):
    def __call__(self, *command: str | Path, **options: int) -> Program: ...


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    programs: list[Program] = []

    def new(*command: str | Path, **options: int) -> Program:
        words = [f"--{name}={value}" for name, value in options.items()]
        scratch = tmp_path_factory.mktemp("scratch")
        programs.append(Program(scratch, *command, *words))
        return programs[-1]

    yield new
    for program in programs:
        with program.process as process:
            process.kill()


def alive(pid: int) -> bool:
    """A zombie that nobody has asked for yet is not."""
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    state = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_killed_ten_times(start: Start, tmp_path: Path) -> None:
    """The rows are those of a run in one go, and of one with two workers, to the last bit.

    Every kill but the first also tears the last line, or not, at random.
    """
    rng = random.Random(1)
    work = {"cells": 90, "patterns": 700}
    whole, two, killed = (tmp_path / name for name in ("whole", "two", "killed"))
    for path, n in ((whole, 1), (two, 2)):
        program = start(PROGRAM, path, workers=n, **work)
        out, error = program.end()
        assert program.process.returncode == 0, error
        assert out.endswith("all 180\n")
        assert out.count("row") == 180
    for kill in range(10):
        program = start(PROGRAM, killed, workers=1 + kill % 2, **work)
        assert program.wait_for_rows(rng.randrange(1, 9)), "killed too late to mean anything"
        time.sleep(rng.random() * 0.005)
        program.process.kill()
        _, error = program.end()
        assert program.process.returncode == -signal.SIGKILL, error
        assert "Traceback" not in error
        text = killed.read_bytes()
        if kill and rng.random() < 0.5:
            killed.write_bytes(text[: len(text) - rng.randrange(len(LINE))])
    assert len(read(killed, Row)) < 180
    program = start(PROGRAM, killed, workers=1, **work)
    out, error = program.end()
    assert program.process.returncode == 0, error
    assert out.endswith("all 180\n")
    assert sorted_lines(killed) == sorted_lines(whole) == sorted_lines(two)
    assert whole.read_bytes() != two.read_bytes(), "their seconds do differ"


@pytest.mark.parametrize("n_workers", [1, 2])
def test_ctrl_c(start: Start, tmp_path: Path, n_workers: int) -> None:
    """In the middle of cells of many seconds: heard at once, and by the parent alone."""
    path = tmp_path / "rows.jsonl"
    program = start(PROGRAM, path, workers=n_workers, cells=6, last=100_000)
    assert program.wait_for_rows(12)
    time.sleep(0.2)
    assert len(program.workers) == (n_workers if n_workers > 1 else 0)
    begun = time.time()
    os.killpg(program.process.pid, signal.SIGINT)
    out, error = program.end()
    assert time.time() - begun < 1
    assert program.process.returncode == -signal.SIGINT
    word, caught, *children = out.split()
    assert word == "interrupted" and children == []
    assert float(caught) - begun < 0.5  # 0.1 s is promised, on a machine that is not busy.
    assert error.count("Traceback") == 1, error
    assert not any(alive(pid) for pid in program.workers)
    assert len(read(path, Row)) == 12
    # And it goes on from there.
    program = start(PROGRAM, path, workers=n_workers, cells=9)
    assert program.end()[0].endswith("all 18\n")
    assert len(read(path, Row)) == 18


def test_ctrl_c_while_workers_start(start: Start, tmp_path: Path) -> None:
    """From the first moment on: nobody but the parent hears it, and it does."""
    for delay in (0.0, 0.005, 0.02, 0.1):
        begin = "from running_workload import *\n"
        begin += "if __name__ == '__main__':\n"
        begin += "    plan = [Recall('dot', 9), Recall('dot', 8)]\n"
        begin += "    data = images(9)\n"
        begin += "    print('ready', flush=True)\n"
        begin += "    while True: running.run(plan, data, row_type=Row, n_workers=2)\n"
        script = tmp_path / "script.py"
        script.write_text(begin)
        program = start(script)
        assert program.process.stdout is not None
        assert program.process.stdout.readline() == "ready\n"
        time.sleep(delay)
        os.killpg(program.process.pid, signal.SIGINT)
        _, error = program.end()
        assert program.process.returncode == -signal.SIGINT
        assert error.count("Traceback") == 1, error
        assert error.endswith("KeyboardInterrupt\n")


def test_workers_end_with_their_parent(start: Start, tmp_path: Path) -> None:
    """Also where it is killed, and in the middle of a cell of many seconds."""
    program = start(PROGRAM, tmp_path / "rows.jsonl", workers=2, cells=6, last=100_000)
    assert program.wait_for_rows(12)
    assert len(program.workers) == 2
    program.process.kill()
    program.end()
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in program.workers):
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ------------------------------------------------------------------------------- progress --


class Bar:
    """Stands in for tqdm."""

    made: list[Bar]

    def __init__(self, **keywords: Any) -> None:
        self.keywords, self.steps, self.closed, self.n = keywords, [], False, 0.0
        Bar.made.append(self)

    def update(self, step: float) -> None:
        self.steps.append(step)
        self.n += step
        assert self.n <= self.keywords["total"]

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        self.closed = True


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    Bar.made = []
    monkeypatch.setitem(sys.modules, "tqdm.auto", types.SimpleNamespace(tqdm=Bar))
    monkeypatch.setitem(sys.modules, "tqdm", types.SimpleNamespace(auto=None))
    return Bar.made


def test_progress_counts_the_cost_of_what_is_left(tmp_path: Path, bars: list[Bar]) -> None:
    path = tmp_path / "rows.jsonl"
    keywords: dict[str, Any] = {"row_type": Row, "path": path, "description": "recall"}
    run(PLAN, IMAGES, **keywords, progress=False)
    assert bars == []
    lines = path.read_bytes().splitlines(keepends=True)
    # Of the first task two cells of three are left, of the second one row of six.
    path.write_bytes(b"".join(lines[:2] + lines[6:11] + lines[12:]))
    run(PLAN, IMAGES, **keywords, progress=True)
    assert len(bars) == 1
    assert bars[0].keywords["desc"] == "recall"
    assert bars[0].keywords["total"] == 1
    first, second = PLAN[0].cost / 3, PLAN[1].cost / 6
    total = 2 * first + second
    assert bars[0].steps == pytest.approx([first / total, first / total, second / total])
    assert bars[0].closed
    run(PLAN, IMAGES, **keywords, progress=True)
    assert len(bars) == 1, "nothing is left"


def test_progress_ends_at_the_end(bars: list[Bar]) -> None:
    """And not a rounding error beyond it: the stand-in checks that."""
    rng = random.Random(0)
    for _ in range(100):
        plan = [CountThreads(i, cost=rng.random()) for i in range(rng.randrange(1, 30))]
        run(plan, row_type=Row, progress=True)
        assert bars[-1].n == pytest.approx(1, abs=1e-12)
    run([CountThreads(0, cost=0.0)], row_type=Row, progress=True)
    assert bars[-1].closed


@pytest.mark.parametrize("place", ["terminal", "notebook", "pipe"])
def test_progress_by_default(
    bars: list[Bar], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: place == "terminal", raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    if place == "notebook":
        monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    run(PLAN, IMAGES, row_type=Row)
    assert len(bars) == (place != "pipe")


@pytest.mark.parametrize("progress", [True, None])
def test_progress_without_tqdm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], progress: bool | None
) -> None:
    """Said where it was asked for, and no reason to fail."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert len(run(PLAN, IMAGES, row_type=Row, progress=progress)) == N_ROWS
    said = "To see the progress: pip install tqdm\n" if progress else ""
    assert capsys.readouterr().err == said


def test_tqdm_itself(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    costly = dataclasses.replace(PLAN[0], similarity="manhattan", levels=(0.1, 0.2))
    run([costly, *PLAN], IMAGES, row_type=Row, progress=True, description="recall")
    shown = capsys.readouterr().err
    assert shown.lstrip("\r").startswith("recall:   0%|")
    assert "recall: 100%|" in shown
    assert shown.rstrip().endswith("00:00 left")
