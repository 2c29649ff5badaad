"""The law: the same bits, whatever the batch, the threads, the history, the cuts and the CPU
path.

Nothing here has a tolerance. Every comparison is of raw bits, and counted: the number of
configurations that were compared is printed at the end of the run.
"""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bits_workload
import uhn

Array = np.ndarray

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LIBRARY = Path(uhn.__file__).resolve().parent.parent  # where this process imports it from
COMPARED: dict[str, int] = {}
SIZES = [1, 127, 128, 129, 1023, 1024, 1025, 2048, 3000, 5000]


@pytest.fixture(scope="module", autouse=True)
def counted(request):
    """Prints how many configurations had the same bits; leaves the threads as they were."""
    n_threads = uhn.get_num_threads()
    yield
    uhn.set_num_threads(n_threads)
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("\nconfigurations compared bit for bit:", sum(COMPARED.values()))
        for what, n in sorted(COMPARED.items()):
            print(f"  {what:<18} {n}")


def same(what: str, a: Array, b: Array, where: object = "") -> None:
    """Asserts that two arrays have the same type, shape and bits."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    COMPARED[what] = COMPARED.get(what, 0) + 1
    assert a.dtype == b.dtype, where
    assert a.shape == b.shape, where
    unsigned = {4: np.uint32, 8: np.uint64}[a.dtype.itemsize]
    left, right = a.view(unsigned), b.view(unsigned)
    if not np.array_equal(left, right):
        at = tuple(int(i) for i in np.argwhere(left != right)[0])
        n = int((left != right).sum())
        raise AssertionError(
            f"{n} of {a.size} differ, first at {at}: {a[at]!r} and {b[at]!r}; {where}"
        )


def equations() -> list[tuple[str, dict]]:
    """Every similarity and transform under softmax, every separation under a fitting
    similarity.
    """
    result = []
    for similarity in bits_workload.SIMILARITIES:
        for ours in bits_workload.transforms(similarity):
            result.append((similarity, {"similarity": similarity, "beta": 0.5} | ours))
    for i, (separation, theirs) in enumerate(bits_workload.SEPARATIONS):
        positive = separation in ("sqrt", "log1p")
        equation = {
            "similarity": ["dot", "manhattan"][i % 2],
            "separation": separation,
        } | theirs
        if positive:
            equation |= {"similarity": "manhattan", "transform": "inverse", "eps": 0.25}
        if equation["similarity"] == "manhattan" and separation == "polynomial":
            equation["similarity"] = "dot"
        result.append((separation, equation))
    for separation in ("softmax", "identity", "max", "topk_softmax"):
        result.append((separation, {"separation": separation, "normalize_scores": True}))
    return result


EQUATIONS = equations()
NAMES = [f"{i}-{name}" for i, (name, _) in enumerate(EQUATIONS)]
BITS = pytest.mark.parametrize("dtype", bits_workload.DTYPES, ids=["float32", "float64"])
ROWS = pytest.mark.parametrize("number", range(len(EQUATIONS)), ids=NAMES)


class Case:
    """A memory's rows, queries and equation, all from one seed."""

    def __init__(
        self, number: int, dtype, n_patterns: int, n_queries: int, *, salt: int = 0
    ) -> None:
        self.rng = np.random.default_rng([number, n_patterns, n_queries, salt])
        _, self.equation = EQUATIONS[number]
        similarity = self.equation.get("similarity", "dot")
        n_features = int(self.rng.choice([1, 3, 7, 16, 17, 33]))
        positive = bool(self.equation.get("normalize_scores"))
        make = bits_workload.domain
        shape = (n_patterns, n_features)
        self.patterns = make(self.rng, similarity, shape, dtype, positive=positive)
        self.queries = make(
            self.rng, similarity, (n_queries, n_features), dtype, positive=positive
        )
        if n_patterns > 20:
            self.patterns[n_patterns // 2] = self.patterns[1]  # a tie
        n_values = int(self.rng.choice([0, 1, 5, 31, 64]))
        numbers = bits_workload.numbers
        self.values = numbers(self.rng, (n_patterns, n_values), dtype) if n_values else None
        separation = self.equation.get("separation", "softmax")
        self.prior = None
        if separation not in bits_workload.WITHOUT_PRIOR and number % 3 == 0:
            self.prior = (self.rng.integers(1, 64, n_patterns) / 16).astype(dtype)
        self.where = (number, self.equation, n_patterns, n_queries, n_features, n_values)

    def memory(self, **keywords) -> uhn.Memory:
        """The memory, stored at once."""
        return uhn.Memory(
            self.patterns, self.values, prior=self.prior, **self.equation, **keywords
        )

    def rows(self, start: int, stop: int) -> dict:
        """Arguments of store for a part of the rows."""
        part = slice(start, stop)
        values = None if self.values is None else self.values[part]
        return {
            "patterns": self.patterns[part],
            "values": values,
            "prior": None if self.prior is None else self.prior[part],
        }


def cuts(rng: np.random.Generator, n: int, pieces: int) -> list[tuple[int, int]]:
    """Random consecutive ranges that cover range(n)."""
    inner = (
        np.sort(rng.choice(np.arange(1, n), min(pieces, n) - 1, replace=False)) if n > 1 else []
    )
    edges = [0, *(int(i) for i in inner), n]
    return list(itertools.pairwise(edges))


# ----------------------------------------------------------------------------------- batches --


@BITS
@ROWS
def test_any_split_of_the_batch(number: int, dtype) -> None:
    """All queries at once, one at a time, in random pieces and orders."""
    for turn in range(2):
        n_patterns = SIZES[(number * 2 + turn * 5 + (dtype == np.float32)) % len(SIZES)]
        n_queries = [37, 5, 64, 13, 49, 90, 17, 200][(number + turn) % 8]
        if n_patterns >= 2048:
            n_queries = min(n_queries, 49)
        case = Case(number, dtype, n_patterns, n_queries)
        memory, q = case.memory(), case.queries
        calls = {
            "retrieve": memory.retrieve,
            "weights": memory.weights,
            "scores": memory.scores,
            "nearest": lambda x, m=memory, n=n_patterns: m.nearest(x, min(n, 7))[1],
            "indices": lambda x, m=memory, n=n_patterns: m.nearest(x, min(n, 7))[0],
        }
        for name, call in calls.items():
            if name != "retrieve" and n_patterns > 1025:
                continue
            whole = call(q)
            ones = range(n_queries) if name == "retrieve" else range(0, n_queries, 7)
            for i in ones:
                same("batch", call(q[i]), whole[i], (name, case.where))
            for pieces in (2, 3, 7):
                parts = [call(q[a:b]) for a, b in cuts(case.rng, n_queries, pieces)]
                same("batch", np.concatenate(parts), whole, (name, pieces, case.where))
            order = case.rng.permutation(n_queries)
            same("batch", call(q[order]), whole[order], (name, "order", case.where))


@BITS
def test_every_batch_size(dtype) -> None:
    """B = 1 to 200: every way to fill the lanes of a panel, and the kernels for few queries."""
    for number, n_patterns in [(0, 129), (1, 1025), (11, 70), (32, 257)]:
        case = Case(number, dtype, n_patterns, 200)
        memory = case.memory()
        whole = memory.retrieve(case.queries)
        for n in range(1, 201):
            start = int(case.rng.integers(0, 201 - n))
            piece = memory.retrieve(case.queries[start : start + n])
            same("batch", piece, whole[start : start + n], (n, case.where))


@BITS
def test_attention_in_pieces(dtype) -> None:
    """Queries, heads and masks one at a time or together."""
    rng = np.random.default_rng(5)
    numbers = bits_workload.numbers
    q, k, v = (numbers(rng, (2, 3, n, 17), dtype) for n in (21, 1100, 1100))
    mask = rng.integers(0, 2, (2, 1, 21, 1100)) > 0
    mask[0, 0, 4] = False
    for m in (None, mask):
        whole = uhn.attention(q, k, v, mask=m)
        full = None if m is None else np.broadcast_to(m, (2, 3, 21, 1100))
        for i in np.ndindex(2, 3):
            one = None if full is None else full[i]
            same("attention", uhn.attention(q[i], k[i], v[i], mask=one), whole[i], i)
            for j in range(0, 21, 4):
                few = None if one is None else one[j : j + 2]
                part = uhn.attention(q[i][j : j + 2], k[i], v[i], mask=few)
                same("attention", part, whole[i][j : j + 2], (i, j))


def test_attention_is_retrieval() -> None:
    rng = np.random.default_rng(6)
    for dtype in bits_workload.DTYPES:
        for n_keys in (1, 128, 1025, 3000):
            q, k = (bits_workload.numbers(rng, (n, 16), dtype) for n in (33, n_keys))
            v = bits_workload.numbers(rng, (n_keys, 9), dtype)
            same("attention", uhn.attention(q, k, v), uhn.retrieve(k, q, v, beta=0.25), n_keys)


# ----------------------------------------------------------------------------------- threads --


@BITS
@ROWS
def test_any_number_of_threads(number: int, dtype) -> None:
    n_patterns = SIZES[5 + (number + (dtype == np.float32)) % 5]
    n_queries = [1, 3, 33, 130][number % 4]
    case = Case(number, dtype, n_patterns, n_queries, salt=1)
    memory = case.memory()
    uhn.set_num_threads(1)
    whole = memory.retrieve(case.queries)
    first = memory.nearest(case.queries, 3)
    w = memory.weights(case.queries[:3])
    for n_threads in range(2, 9):
        uhn.set_num_threads(n_threads)
        assert uhn.get_num_threads() == n_threads
        same("threads", memory.retrieve(case.queries), whole, (n_threads, case.where))
        indices, scores = memory.nearest(case.queries, 3)
        same("threads", indices, first[0], (n_threads, case.where))
        same("threads", scores, first[1], (n_threads, case.where))
        same("threads", memory.weights(case.queries[:3]), w, (n_threads, case.where))


@BITS
def test_threads_that_have_enough_to_do(dtype) -> None:
    """Large enough for a call to go parallel, over queries and over blocks of patterns."""
    rng = np.random.default_rng(7)
    numbers = bits_workload.numbers
    for n_queries, n_patterns, n_features in [
        (1, 60_000, 24),
        (4, 30_000, 20),
        (300, 6_000, 32),
    ]:
        m, q = (
            numbers(rng, (n_patterns, n_features), dtype),
            numbers(rng, (n_queries, n_features), dtype),
        )
        for equation in (
            {"beta": 0.3},
            {"separation": "max"},
            {"separation": "polynomial", "degree": 3, "normalize": "sum"},
            {"separation": "topk", "k": 40},
            {"separation": "entmax", "beta": 0.2},
        ):
            memory = uhn.Memory(m, **equation)
            uhn.set_num_threads(1)
            whole = memory.retrieve(q)
            for n_threads in (2, 3, 5, 8):
                uhn.set_num_threads(n_threads)
                same("threads", memory.retrieve(q), whole, (n_threads, equation, m.shape))


# ----------------------------------------------------------------------------------- history --


@BITS
@ROWS
def test_any_history_of_stores(number: int, dtype) -> None:
    n_patterns = SIZES[(number + (dtype == np.float32)) % len(SIZES)]
    case = Case(number, dtype, n_patterns, 5, salt=2)
    whole = case.memory().retrieve(case.queries)
    histories = [cuts(case.rng, n_patterns, pieces) for pieces in (2, 5, 40)]
    if n_patterns <= 300:
        histories.append([(i, i + 1) for i in range(n_patterns)])
    for history in histories:
        memory = uhn.Memory(**case.equation)
        for start, stop in history:
            copied = bool(case.rng.integers(2))
            memory.store(**case.rows(start, stop), copy=copied)
        same("history", memory.retrieve(case.queries), whole, (len(history), case.where))
        same("history", np.asarray(memory), case.patterns, case.where)


@BITS
@pytest.mark.parametrize("number", [0, 14, 30, 39, 48], ids=lambda n: NAMES[n])
def test_one_row_at_a_time(number: int, dtype) -> None:
    """More than two blocks, stored row by row."""
    case = Case(number, dtype, 2100, 4, salt=3)
    memory = uhn.Memory(**case.equation)
    for i in range(2100):
        memory.store(**case.rows(i, i + 1))
    same(
        "history",
        memory.retrieve(case.queries),
        case.memory().retrieve(case.queries),
        case.where,
    )


@BITS
@ROWS
def test_any_home_of_the_rows(number: int, dtype, tmp_path) -> None:
    """Borrowed, copied, mapped, read-only, misaligned, strided, transposed, pickled."""
    n_patterns = [1, 129, 1025, 2500][number % 4]
    case = Case(number, dtype, n_patterns, 6, salt=4)
    memory = case.memory()
    whole = memory.retrieve(case.queries)
    path = tmp_path / "patterns"
    path.write_bytes(case.patterns.tobytes())
    mapped = np.memmap(path, dtype, "r", shape=case.patterns.shape)
    raw = bytearray(case.patterns.nbytes + 1)
    raw[1:] = case.patterns.tobytes()
    misaligned = np.frombuffer(raw, dtype, offset=1).reshape(case.patterns.shape)
    strided = np.repeat(case.patterns, 2, axis=0)[::2]
    reversed_ = case.patterns[::-1].copy()[::-1]
    swapped = case.patterns.astype(np.dtype(dtype).newbyteorder())
    homes = {
        "mapped": mapped,
        "misaligned": misaligned,
        "strided": strided,
        "reversed": reversed_,
        "swapped": swapped,
        "columns": np.asfortranarray(case.patterns),
    }
    for name, patterns in homes.items():
        assert np.array_equal(patterns, case.patterns)
        other = uhn.Memory(patterns, case.values, prior=case.prior, **case.equation)
        same("home", other.retrieve(case.queries), whole, (name, case.where))
    same("home", case.memory(copy=True).retrieve(case.queries), whole, ("copy", case.where))
    for name, other in {
        "copy": memory.copy(),
        "pickle": pickle.loads(pickle.dumps(memory, 5)),
        "old pickle": pickle.loads(pickle.dumps(memory, 2)),
    }.items():
        same("home", other.retrieve(case.queries), whole, (name, case.where))
    out = np.full(whole.shape, np.nan, dtype)
    memory.retrieve(case.queries, out=out)
    same("home", out, whole, ("out", case.where))
    for queries in (np.asfortranarray(case.queries), np.repeat(case.queries, 3, axis=0)[::3]):
        same("home", memory.retrieve(queries), whole, ("queries", case.where))


# ---------------------------------------------------------------------------------- partials --


def merged(rng: np.random.Generator, parts: list) -> uhn.Partial:
    """All parts merged in a random tree, in random order, some pickled on the way."""
    parts = [parts[i] for i in rng.permutation(len(parts))]
    while len(parts) > 1:
        n = int(rng.integers(2, min(len(parts), 5) + 1))
        chosen = sorted(rng.choice(len(parts), n, replace=False).tolist(), reverse=True)
        group = [parts.pop(i) for i in chosen]
        joined = uhn.merge(group)
        assert joined.n_patterns == sum(p.n_patterns for p in group)
        if rng.integers(2):
            joined = pickle.loads(pickle.dumps(joined, int(rng.integers(2, 6))))
        parts.append(joined)
    return parts[0]


@BITS
@ROWS
def test_partials_cut_and_merged_anyhow(number: int, dtype) -> None:
    if EQUATIONS[number][1].get("normalize_scores"):
        case = Case(number, dtype, 10, 2, salt=5)
        with pytest.raises(ValueError, match=r"normalize.scores"):
            case.memory().partial(case.queries)
        return
    for turn in range(3):
        n_patterns = SIZES[(number + 3 * turn + (dtype == np.float32)) % len(SIZES)]
        n_queries = [1, 4, 33][turn]
        case = Case(number, dtype, n_patterns, n_queries, salt=6)
        memory = case.memory()
        whole = memory.retrieve(case.queries)
        same("partial", memory.partial(case.queries).finish(), whole, ("one", case.where))
        for pieces in (2, 5, 17):
            ranges = cuts(case.rng, n_patterns, pieces)
            parts = [memory.partial(case.queries, a, b) for a, b in ranges]
            result = merged(case.rng, parts)
            assert result.n_patterns == n_patterns
            same("partial", result.finish(), whole, (pieces, case.where))
            # Shards: memories of their own, which know the number of their first row.
            parts = []
            for a, b in ranges:
                shard = uhn.Memory(**case.equation, first_row=a)
                for c, d in cuts(case.rng, b - a, 3):
                    shard.store(**case.rows(a + c, a + d))
                part = shard.partial(case.queries)
                parts.append(pickle.loads(pickle.dumps(part)) if case.rng.integers(2) else part)
            same("shards", merged(case.rng, parts).finish(), whole, (pieces, case.where))


@BITS
def test_many_cuts(dtype) -> None:
    """A row at a time: every leaf of every tree."""
    for number in (1, 31, 39, 43, 49):
        case = Case(number, dtype, 1300, 2, salt=7)
        memory = case.memory()
        parts = [memory.partial(case.queries, i, i + 1) for i in range(1300)]
        whole = memory.retrieve(case.queries)
        same("partial", uhn.merge(parts).finish(), whole, case.where)
        same("partial", merged(case.rng, parts).finish(), whole, case.where)
        # A merge leaves its parts as they are.
        same("partial", uhn.merge(parts).finish(), whole, case.where)


def test_parts_without_rows_change_nothing() -> None:
    case = Case(0, np.float32, 300, 3)
    memory = case.memory()
    whole = memory.retrieve(case.queries)
    empty = memory.partial(case.queries, 100, 100)
    assert empty.n_patterns == 0
    parts = [empty, memory.partial(case.queries, 0, 100), memory.partial(case.queries, 100)]
    same("partial", uhn.merge(parts).finish(), whole)


# ------------------------------------------------------------------------------------ recall --


@BITS
def test_recall_is_the_same_however_it_runs(dtype) -> None:
    rng = np.random.default_rng(8)
    patterns = rng.integers(-3, 4, (1500, 24)).astype(dtype)
    queries = (patterns[:40] + rng.integers(-1, 2, (40, 24))).astype(dtype)
    memory = uhn.Memory(patterns, similarity="sqeuclidean", beta=0.05)
    uhn.set_num_threads(1)
    whole = memory.recall(queries, 50, tol=1e-5)
    for n_threads in (1, 4):
        uhn.set_num_threads(n_threads)
        for a, b in [*cuts(rng, 40, 6), *((i, i + 1) for i in range(0, 40, 3))]:
            r = memory.recall(queries[a:b], 50, tol=1e-5)
            same("recall", r.state, whole.state[a:b], (a, b))
            same("recall", np.asarray(r.n_steps), np.asarray(whole.n_steps)[a:b], (a, b))
            same("recall", np.asarray(r.change), np.asarray(whole.change)[a:b], (a, b))
            assert list(r.status) == list(whole.status[a:b])


# ----------------------------------------------------------------------- paths and compilers --


def python(*arguments: str, library: Path, **environment: str) -> list[str]:
    """The lines another interpreter prints, with the library imported from a folder."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": str(library)} | environment,
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def run_workload(library: Path = LIBRARY, **environment: str) -> list[str]:
    """The lines of bits_workload.py under an environment."""
    lines = python(str(HERE / "bits_workload.py"), library=library, **environment)
    assert len(lines) > 1000
    refused = sum(line.endswith("ValueError") for line in lines)
    assert refused < len(lines) / 50, f"{refused} of {len(lines)} cases were refused"
    return lines


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """The workload as this process would run it, on one thread."""
    return run_workload(UHN_NUM_THREADS="1")


def compare(lines: list[str], other: list[str], what: str) -> None:
    """Asserts that two runs of the workload printed the same, and counts the cases."""
    assert len(lines) == len(other)
    different = [(a, b) for a, b in zip(lines, other, strict=True) if a != b]
    COMPARED[what] = COMPARED.get(what, 0) + len(lines)
    assert not different, (
        f"{len(different)} of {len(lines)} cases differ, first {different[:4]}"
    )


def test_the_workload_covers_every_row() -> None:
    assert set(bits_workload.SIMILARITIES) == set(uhn.similarities())
    assert {name for name, _ in bits_workload.SEPARATIONS} == set(uhn.separations())


def test_run_to_run(lines) -> None:
    compare(lines, run_workload(UHN_NUM_THREADS="3"), "run to run")


@pytest.mark.parametrize("path", ["generic", "avx2", "avx512", "neon"])
def test_every_cpu_path(lines, path: str) -> None:
    if path not in uhn.cpu_info()["available"]:
        pytest.skip(f"this CPU has no path {path}")
    script = "import uhn; print(uhn.cpu_info()['path'])"
    assert python("-c", script, library=LIBRARY, UHN_CPU=path) == [path]
    compare(lines, run_workload(UHN_CPU=path, UHN_NUM_THREADS="2"), f"path {path}")


@pytest.mark.slow
@pytest.mark.skipif("UHN_SANITIZED" in os.environ, reason="its build is not the one on trial")
def test_the_other_compiler(lines, tmp_path) -> None:
    """gcc and clang agree on every bit of the workload."""
    setup = ROOT / "setup.py"
    if not setup.exists():
        pytest.skip("not a source tree: there is nothing to build")
    if not (shutil.which("gcc") and shutil.which("clang")):
        pytest.skip("gcc and clang are not both installed")
    used = str(uhn.cpu_info()["compiler"]).lower()
    other = "gcc" if "clang" in used else "clang"
    library = tmp_path / "lib"
    built = subprocess.run(
        [
            sys.executable,
            str(setup),
            "-q",
            "build",
            "--build-base",
            str(tmp_path / "base"),
            "--build-lib",
            str(library),
        ],
        env=os.environ | {"CC": other, "LDSHARED": f"{other} -shared"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-2000:]
    script = "import uhn; print(uhn._core.__file__); print(uhn.cpu_info()['compiler'])"
    where, compiler = python("-c", script, library=library)
    assert where.startswith(str(library)), "the other build was not the one that ran"
    assert other in compiler.lower(), compiler
    compare(lines, run_workload(library, UHN_NUM_THREADS="2"), f"compiler {other}")
