"""Stores larger than the memory: bounded, read once, stopped by Ctrl-C at any time, shared."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import uhn
import uhn.io
from uhn.convert import convert

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="memory is counted as Linux counts it"
)
MB = 1 << 20
unsanitized = pytest.mark.skipif(
    "UHN_SANITIZED" in os.environ, reason="sanitizers need memory and time of their own"
)
#: Threads count as data for their stacks, and libraries make some when they are imported.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(uhn.__file__).parent.parent),
    "OPENBLAS_NUM_THREADS": "1",
    "UHN_NUM_THREADS": "2",
}


def make(path: Path, n_bytes: int, rows: dict[int, np.ndarray], **keywords: Any) -> int:
    """A file of zeros but for some rows, hardly any of it on the disk; its number of rows."""
    n_features = len(next(iter(rows.values())))
    n = n_bytes // (4 * n_features)
    keywords = {"similarity": "dot", "separation": "identity", **keywords}
    text = json.dumps(keywords)
    meta = {"format": "uhn", "format_version": "1", "library_version": "0", "keywords": text}
    shape, digest = [n, n_features], "0" * 64
    meta |= {
        "sha256.patterns": digest,
        "sha256.header": uhn.io.fingerprint("0", text, {"patterns": ("F32", shape, digest)}),
    }
    size = n * n_features * 4
    tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": meta, "patterns": tensor}).encode()
    header += b" " * (-(8 + len(header)) % 64)
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        start = file.tell()
        try:
            file.truncate(start + size)
        except OSError as error:
            pytest.skip(f"this file system has no such sparse file: {error}")
        for row, values in rows.items():
            file.seek(start + row * n_features * 4)
            file.write(values.astype("<f4").tobytes())
    return n


def status(field: str) -> int:
    """A line of /proc/self/status, in bytes."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(lines[field].split()[0]) * 1024


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """A control group that has so much memory, pages of files included."""
    name = f"uhn-test-{os.getpid()}"
    for base, file in (
        (Path("/sys/fs/cgroup"), "memory.max"),
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    ):
        group = base / name
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / file).write_text(str(limit), encoding="utf-8")
            if int((group / file).read_text(encoding="utf-8")) == limit:
                yield group
                return
        except OSError:
            continue
        finally:
            for _ in range(100):  # until the last process has left it
                with contextlib.suppress(OSError):
                    group.rmdir()
                if not group.exists():
                    break
                time.sleep(0.01)
    pytest.skip("no control group for memory can be made here")


#: Answers of a memory, as a program: prints how much of its own memory it took beside them.
ASK = """
import json, os, resource, sys
group, path, data_limit = sys.argv[1:]
if group:
    with open(group + "/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
import numpy as np, uhn

def status(field):
    with open("/proc/self/status") as file:
        lines = [line.split() for line in file]
    return next(int(line[1]) * 1024 for line in lines if line[0] == field + ":")

def io():
    with open("/proc/self/io") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("read_bytes"))

memory = uhn.load(path)
queries = np.random.default_rng(3).normal(size=(5, memory.n_features)).astype(np.float32)
anonymous, data, read = status("RssAnon"), status("VmData"), io()
if int(data_limit):
    resource.setrlimit(resource.RLIMIT_DATA, (data + int(data_limit),) * 2)
    try:
        bytearray(4 * int(data_limit))
    except MemoryError:
        pass
    else:
        raise SystemExit("the limit does not hold")
answers = memory.retrieve(queries)
said = {
    "anonymous": status("RssAnon") - anonymous,
    "read": io() - read,
    "answers": answers.tobytes().hex(),
    "nearest": memory.nearest(queries, k=2)[0].tolist(),
}
again = memory.retrieve(queries)
said["same"] = again.tobytes() == answers.tobytes()
print(json.dumps(said))
"""


def ask(path: Path, group: str = "", data_limit: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", ASK, group, str(path), str(data_limit)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr[-2000:] or done.returncode
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def some_rows(n: int, n_features: int) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(8)
    places = [0, 1, n // 3, n // 2 - 1, n - 1]
    return {place: rng.normal(size=n_features) for place in places}


def check_answers(said: dict[str, Any], rows: dict[int, np.ndarray]) -> None:
    """The closed form: rows of zeros add nothing."""
    patterns = np.stack([row.astype("f4") for row in rows.values()]).astype("f8")
    queries = np.random.default_rng(3).normal(size=(5, patterns.shape[1])).astype("f4")
    expected = queries.astype("f8") @ patterns.T @ patterns
    answers = np.frombuffer(bytes.fromhex(said["answers"]), "f4").reshape(expected.shape)
    assert np.allclose(answers, expected, rtol=1e-4, atol=1e-3)
    best = np.array(list(rows))[np.argsort(-(queries @ patterns.T), axis=1)[:, 0]]
    assert [row[0] for row in said["nearest"]] == best.tolist()
    assert said["same"]


# -------------------------------------------------------------------------------- the memory --


@unsanitized
def test_a_store_larger_than_the_memory_that_is_allowed(tmp_path: Path) -> None:
    """384 MB in a group that has 64 MB for all, interpreter and pages of files included: the
    answers have the bits that they have with memory for everything.
    """
    path = tmp_path / "large"
    rows = some_rows(3 * 2**15, 1024)
    make(path, 384 * MB, rows)
    with memory_group(64 * MB) as group:
        small = ask(path, str(group))
    check_answers(small, rows)
    assert small["answers"] == ask(path)["answers"]


@unsanitized
def test_nothing_of_a_store_is_copied(tmp_path: Path) -> None:
    """256 MB, and no more than 16 MB of data beyond what the process has before it asks: the
    system refuses any more, stacks of threads included; what is really used is less.
    """
    path = tmp_path / "large"
    rows = some_rows(2**16, 1024)
    make(path, 256 * MB, rows)
    said = ask(path, data_limit=16 * MB)
    check_answers(said, rows)
    assert said["anonymous"] < 8 * MB


@unsanitized
def test_the_first_question_reads_a_cold_file_once(tmp_path: Path) -> None:
    """Rows that nobody has seen are looked at as they are read: a file that does not fit into
    memory is not read twice.
    """
    path = tmp_path / "cold"
    rng = np.random.default_rng(1)
    uhn.Memory(rng.normal(size=(32_000, 1024)).astype("f4")).save(path)
    size = path.stat().st_size
    assert size > 120 * MB
    # Twice: pages of the first time may be on the account of whoever wrote the file.
    for _ in range(2):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with memory_group(96 * MB) as group:
            said = ask(path, str(group))
    if said["read"] == 0:
        pytest.skip("reads of this file system are not counted")
    assert 0.5 * size < said["read"] < 1.6 * size, (said["read"], size)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_what_is_wrong_is_the_first_of_all_rows(tmp_path: Path, n_threads: int) -> None:
    """Threads find bad rows in any order; the message names the first, every time. Rows before
    it answer, and so does the part of a file that is good.
    """
    path = tmp_path / "bad"
    bad = np.zeros(64)
    bad[7] = np.nan
    late = np.full(64, np.inf)
    n = make(path, 24 * MB, {41_003: bad, 90_000: late}, separation="sqrt")
    before = uhn.get_num_threads()
    uhn.set_num_threads(n_threads)
    try:
        for _ in range(10):
            memory = uhn.load(path)
            for call in (memory.retrieve, memory.partial, memory.scores, memory.nearest):
                with pytest.raises(ValueError, match=r"patterns\[41003, 7\] is NaN"):
                    call(np.ones((3, 64), "f4"))
            with pytest.raises(ValueError, match=r"patterns\[90000, 0\] is infinite"):
                memory.partial(np.ones(64, "f4"), 50_000, n)
            part = memory.partial(np.ones(64, "f4"), 0, 40_000)
            assert not part.finish().any()
    finally:
        uhn.set_num_threads(before)


def test_reading_ahead_stays_inside(tmp_path: Path) -> None:
    """Partials of any range of a mapped file larger than what is read ahead have the bits of
    the whole, and nothing behind the end of the map is touched.
    """
    path = tmp_path / "rows"
    rng = np.random.default_rng(4)
    n_features = 701  # rows that begin nowhere in particular
    rows = rng.normal(size=(12_000, n_features)).astype("f4")
    uhn.Memory(rows, rows[:, :3].copy(), beta=0.1).save(path)
    memory = uhn.load(path)
    expected = uhn.Memory(rows, rows[:, :3].copy(), beta=0.1).retrieve(rows[:2])
    for cuts in ([0, 12_000], [0, 1, 11_999, 12_000], [0, 5000, 6000, 11_111, 12_000]):
        parts = [memory.partial(rows[:2], a, b) for a, b in itertools.pairwise(cuts)]
        assert np.array_equal(uhn.merge(parts).finish(), expected)
    assert np.array_equal(memory.retrieve(rows[:2]), expected)


@unsanitized
def test_many_queries_over_a_large_file_have_the_same_bits(tmp_path: Path) -> None:
    """All queries go over one range of a large file before the next is read: each has the bits
    that it has alone, for sums and candidates, on one thread and on two.
    """
    path = tmp_path / "rows"
    rng = np.random.default_rng(5)
    n_features = 16_384
    n = 260 * MB // (4 * n_features)
    rows = {int(i): rng.normal(size=n_features) / 64 for i in rng.choice(n, 40, replace=False)}
    queries = rng.normal(size=(20, n_features)).astype("f4") / 8
    before = uhn.get_num_threads()
    try:
        for separation in ("softmax", "topk_softmax"):
            keywords = {"k": 9} if separation == "topk_softmax" else {}
            make(path, 260 * MB, rows, separation=separation, **keywords)
            memory = uhn.load(path)
            answers = []
            for n_threads in (1, 2):
                uhn.set_num_threads(n_threads)
                answers.append(memory.retrieve(queries))
            assert np.array_equal(answers[0], answers[1])
            for i in (0, 19):
                assert np.array_equal(memory.retrieve(queries[i]), answers[0][i])
    finally:
        uhn.set_num_threads(before)


def test_processes_share_the_pages(tmp_path: Path) -> None:
    """Two processes that have asked all of a file have it in memory once: each has half."""
    path = tmp_path / "shared"
    rows = some_rows(2**14, 1024)
    make(path, 64 * MB, rows)
    code = """
    import sys, numpy as np, uhn
    memory = uhn.load(sys.argv[1])
    memory.retrieve(np.ones(1024, "f4"))
    print("ready", flush=True)
    sys.stdin.readline()
    found = {}
    inside = False
    for line in open("/proc/self/smaps"):
        if "-" in line.split()[0] and ":" not in line.split()[0]:
            inside = line.rstrip().endswith(sys.argv[1])
        elif inside and line.split(":")[0] in ("Rss", "Pss", "Private_Dirty"):
            found[line.split(":")[0]] = int(line.split()[1]) * 1024
    print(found["Rss"], found["Pss"], found["Private_Dirty"], flush=True)
    sys.stdin.readline()
    """
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", textwrap.dedent(code), str(path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=ENVIRONMENT,
                )
            )
            for _ in range(2)
        ]
        for word in ("ready", None):
            for child in children:
                assert child.stdin and child.stdout
                line = child.stdout.readline()
                if word:
                    assert line.strip() == word
                else:
                    rss, pss, dirty = map(int, line.split())
                    assert rss > 60 * MB and pss < 0.6 * rss and dirty == 0
            for child in children:
                assert child.stdin
                child.stdin.write("\n")
                child.stdin.flush()


# ---------------------------------------------------------------------------------- Ctrl-C --


def interrupted(call: Callable[[], object], after: float) -> float:
    """Seconds from Ctrl-C to the KeyboardInterrupt of a call that takes longer."""
    sent = 0.0

    def send() -> None:
        nonlocal sent
        time.sleep(after)
        sent = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
        assert sent, "the call ended before Ctrl-C came"
        return time.perf_counter() - sent
    finally:
        thread.join()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 GB of zeros, none of it on the disk."""
    path = tmp_path_factory.mktemp("large") / "rows"
    make(path, 4096 * MB, {0: np.ones(1024)}, separation="softmax")
    return path


CALLS: dict[str, Callable[[Path], object]] = {
    "first question": lambda path: uhn.load(path).retrieve(np.ones((64, 1024), "f4")),
    "cosine": lambda path: uhn.Memory.retrieve(_as(path, "cosine"), np.ones((64, 1024), "f4")),
    "distributions": lambda path: _as(path, "normalized_dot").retrieve(np.ones(1024, "f4")),
    "partial": lambda path: uhn.load(path).partial(np.ones((64, 1024), "f4")),
    "verify": uhn.io.verify,
    "load": lambda path: uhn.load(path, mmap=False),
    "load, verify": lambda path: uhn.load(path, verify=True),
    "save": lambda path: uhn.load(path).save(path.with_name("copy")),
}


def _as(path: Path, similarity: str) -> uhn.Memory:
    from uhn._core import _memory_map

    rows = np.memmap(path, np.float32, "r", path.stat().st_size - 2**32, (2**20, 1024))
    return _memory_map(rows, None, None, {"similarity": similarity})


@unsanitized
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("name", CALLS)
def test_interrupt_at_any_time(large: Path, name: str, n_threads: int) -> None:
    """Ctrl-C ends each call within a tenth of a second, and leaves nothing behind."""
    if n_threads == 2 and name in ("verify", "load", "load, verify", "save"):
        pytest.skip("these have one thread")
    before = uhn.get_num_threads()
    uhn.set_num_threads(n_threads)
    seconds = []
    try:
        for after in (0.15, 0.05):
            seconds.append(interrupted(lambda: CALLS[name](large), after))
            if seconds[-1] < 0.1:
                break
    finally:
        uhn.set_num_threads(before)
    # One try of two: what else runs on the machine may have been in the way.
    assert min(seconds) < 0.1, seconds
    assert os.listdir(large.parent) == ["rows"]
    assert uhn.load(large)[0].all()


@pytest.mark.parametrize("kind", ["memory", "npy", "npz"])
def test_files_are_synchronised_while_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Nobody can interrupt the system while it writes to a disk, so there is never much to be
    written: at most 24 MB since the last time, at the end, too.
    """
    make(tmp_path / "rows", 90 * MB, {3: np.ones(1024)})
    memory = uhn.load(tmp_path / "rows")
    uhn.io.save(memory, tmp_path / "a.uhn.safetensors")
    sizes = [0]
    real = os.fdatasync

    def sync(file: int) -> None:
        sizes.append(os.fstat(file).st_size)
        real(file)

    monkeypatch.setattr(uhn.io, "_data_sync", sync)
    path = tmp_path / f"b.{kind}"
    if kind == "memory":
        memory.save(path)
    else:
        convert(tmp_path / "a.uhn.safetensors", path)
    sizes.append(path.stat().st_size)
    assert len(sizes) > 4 and max(np.diff(sizes)) <= 24 * MB, sizes
