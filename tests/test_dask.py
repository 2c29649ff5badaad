"""Memories in files that the workers of a cluster open: the bits of one process, or one error.

The cluster is a real one, of two processes on this machine, which are killed where a test says
so.
"""

from __future__ import annotations

import importlib.util
import itertools
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cases
import uhn

distributed = pytest.importorskip("distributed", reason="distributed is not installed")
dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask.array is not installed")

import uhn.dask  # noqa: E402
from uhn.dask import ShardedMemory, ShardLostError  # noqa: E402

pytestmark = pytest.mark.skipif(
    "UHN_SANITIZED" in os.environ, reason="other processes and libraries run under it too"
)

N, D = 7000, 11
#: How a memory of N rows becomes 1, 2, 3 and 7 shards: rows of each file, rows of a shard. The
#: three files end inside blocks.
CUTS = {
    1: ([N], 8192),
    2: ([N], 4096),
    3: ([1000, 3003, 2997], 8192),
    7: ([N], 1024),
}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with (
        # LocalCluster gives a worker up for good if it happens to be away this long after it
        # was lost: also if it was back in between, and was killed again.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        distributed.LocalCluster(
            n_workers=2,
            processes=True,
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def nothing_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test: two workers, and no task of ours on the scheduler."""
    yield
    if "client" in request.fixturenames:
        client = request.getfixturevalue("client")
        client.wait_for_workers(2, timeout=60)
        assert n_tasks(client) == 0, client.run_on_scheduler(task_names)


def task_names(dask_scheduler: Any = None) -> list[str]:
    return sorted(str(key) for key in dask_scheduler.tasks)


def n_tasks(client: Any) -> int:
    """Tasks that the scheduler knows, once those on their way out are gone."""
    for _ in range(200):
        names = client.run_on_scheduler(task_names)
        if not names:
            return 0
        time.sleep(0.02)
    return len(names)


def write(folder: Path, memory: uhn.Memory, lengths: list[int]) -> list[Path]:
    """The rows of a memory as files of these lengths."""
    paths = []
    patterns, prior = np.asarray(memory), memory.prior
    values = None if memory.is_autoassociative else memory.values
    keywords = {
        "similarity": memory.similarity,
        "separation": memory.separation,
        "normalize": memory.normalize,
        "normalize_scores": memory.normalize_scores,
        "nan": memory.nan,
        **memory.parameters,
        **({"transform": memory.transform} if memory.transform else {}),
    }
    for start, stop in itertools.pairwise(np.cumsum([0, *lengths])):
        path = folder / f"{len(paths)}-{len(lengths)}.uhn.safetensors"
        uhn.Memory(
            patterns[start:stop],
            None if values is None else values[start:stop],
            prior=None if prior is None else prior[start:stop],
            **keywords,
        ).save(path)
        paths.append(path)
    return paths


def case(
    separation: str, similarity: str, dtype: Any, prior: bool = False, **keywords: Any
) -> tuple[uhn.Memory, np.ndarray]:
    rng = np.random.default_rng(len(separation) + 7 * len(similarity))
    positive = cases.needs_positive(separation) or keywords.get("normalize_scores", False)
    patterns = cases.data(rng, similarity, (N, D), dtype, positive)
    queries = cases.data(rng, similarity, (9, D), dtype, positive)
    if positive and similarity in (*cases.DISTANCES, *cases.DIVERGENCES):
        keywords["transform"] = "rbf"
    scores = uhn.similarity(patterns, queries, similarity, transform=keywords.get("transform"))
    weights = rng.uniform(0.5, 2.0, N).astype(dtype) if prior else None
    equation = {
        "similarity": similarity,
        "separation": separation,
        **cases.parameters(separation, scores),
    }
    return uhn.Memory(patterns, prior=weights, **equation, **keywords), queries


def same(found: Any, wanted: Any) -> None:
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    assert found.tobytes() == wanted.tobytes()


# ------------------------------------------------------------------------------- same bits --

SIMILARITIES = itertools.cycle(["dot", "sqeuclidean", "manhattan", "cosine", "jensen_shannon"])
PAIRS = [
    (separation, similarity, dtype, prior and separation in cases.WITH_PRIOR)
    for separation, similarity, dtype, prior in zip(
        cases.SEPARATIONS, SIMILARITIES, itertools.cycle([np.float32, np.float64]),
        itertools.cycle([False, False, True]), strict=False,
    )
]  # fmt: skip


@pytest.mark.parametrize(
    ("separation", "similarity", "dtype", "prior"), PAIRS, ids=[pair[0] for pair in PAIRS]
)
def test_any_shards_give_the_bits_of_one_process(
    client: Any, tmp_path: Path, separation: str, similarity: str, dtype: Any, prior: bool
) -> None:
    memory, queries = case(separation, similarity, dtype, prior)
    wanted = memory.retrieve(queries)
    for n_shards, (lengths, shard_rows) in CUTS.items():
        paths = write(tmp_path, memory, lengths)
        sharded = uhn.dask.open(client, paths, shard_rows=shard_rows)
        assert len(sharded.shards) == n_shards
        same(sharded.retrieve(queries), wanted)


@pytest.mark.parametrize("n_shards", [3, 7])
@pytest.mark.parametrize(
    "separation", ["softmax", "polynomial", "topk", "sparsemax", "threshold"]
)
def test_energy_and_recall_too(
    client: Any, tmp_path: Path, separation: str, n_shards: int
) -> None:
    memory, queries = case(separation, "dot", np.float64)
    if separation == "polynomial":  # so that states stay finite on their way
        memory = uhn.Memory(
            np.asarray(memory), separation="polynomial", degree=3, normalize="sum"
        )
    lengths, shard_rows = CUTS[n_shards]
    sharded = uhn.dask.open(client, write(tmp_path, memory, lengths), shard_rows=shard_rows)
    n_steps, tol = (3, None) if separation == "sparsemax" else (4, 1e-3)
    found, wanted = (
        sharded.recall(queries, n_steps, tol=tol),
        memory.recall(queries, n_steps, tol=tol),
    )
    for name in ("state", "n_steps", "status", "change"):
        same(getattr(found, name), getattr(wanted, name))
    if separation != "polynomial":
        same(sharded.energy(queries), memory.energy(queries))
        same(found.energy, wanted.energy)
    one = queries[0]
    same(sharded.retrieve(one, 2), memory.retrieve(one, 2))
    assert sharded.recall(one, 1).status == memory.recall(one, 1).status
    with pytest.raises(ValueError, match="use nearest"):
        _ = found.weights


def test_gaps(client: Any, tmp_path: Path) -> None:
    """Nearest patterns over shared features; answers are refused with the reason."""
    rng = np.random.default_rng(7)
    rows = np.where(rng.random((N, 6)) < 0.2, np.nan, rng.random((N, 6)))
    queries = rows[:9].copy()
    queries[:, 2] = np.nan
    memory = uhn.Memory(rows, similarity="sqeuclidean", nan="missing")
    sharded = uhn.dask.open(client, write(tmp_path, memory, CUTS[3][0]))
    for found, wanted in zip(
        sharded.nearest(queries, 3), memory.nearest(queries, 3), strict=True
    ):
        same(found, wanted)
    for ask in (sharded.retrieve, sharded.recall):
        with pytest.raises(ValueError, match="partial cannot be made of values with missing"):
            ask(queries)
    with pytest.raises(ValueError, match="patterns lack features"):
        sharded.energy(np.ones(6))
    with pytest.raises(ValueError, match="5 features"):
        sharded.nearest(queries[:, :5])


def test_a_state_at_rest_changes_by_nothing(client: Any, tmp_path: Path) -> None:
    """On a pattern, which is its own nearest: a change of 0 is within a tol of 0."""
    memory, queries = case("max", "euclidean", np.float64)
    sharded = uhn.dask.open(client, write(tmp_path, memory, CUTS[3][0]))
    found, wanted = sharded.recall(queries, 4, tol=0.0), memory.recall(queries, 4, tol=0.0)
    assert set(wanted.status) == {"fixed point"}
    for name in ("state", "n_steps", "status", "change"):
        same(getattr(found, name), getattr(wanted, name))


@pytest.mark.parametrize(("dtype", "similarity"), [(np.float32, "euclidean"), (float, "dot")])
def test_nearest_with_ties_across_shards(
    client: Any, tmp_path: Path, dtype: Any, similarity: str
) -> None:
    rng = np.random.default_rng(3)
    patterns = rng.integers(0, 2, (N, 4)).astype(dtype)  # 16 different rows, 7000 times
    memory = uhn.Memory(patterns, similarity=similarity, separation="max", first_row=0)
    queries = np.vstack([patterns[:3], rng.normal(size=(5, 4)).astype(dtype)])
    for n_shards in (3, 7):
        lengths, shard_rows = CUTS[n_shards]
        sharded = uhn.dask.open(client, write(tmp_path, memory, lengths), shard_rows=shard_rows)
        for k in (1, 600):
            for found, wanted in zip(
                sharded.nearest(queries, k), memory.nearest(queries, k), strict=True
            ):
                same(found, wanted)
        same(sharded.nearest(queries[0], 2)[0], memory.nearest(queries[0], 2)[0])


def test_scores_divided_by_their_sum_take_two_rounds(client: Any, tmp_path: Path) -> None:
    memory, queries = case("softmax", "dot", np.float32, normalize_scores=True)
    for n_shards, max_message in ((3, 4_000_000), (7, 300)):
        lengths, shard_rows = CUTS[n_shards]
        sharded = uhn.dask.open(
            client,
            write(tmp_path, memory, lengths),
            shard_rows=shard_rows,
            max_message=max_message,
        )
        same(sharded.retrieve(queries), memory.retrieve(queries))
    with pytest.raises(ValueError) as one:
        memory.retrieve(-queries)
    with pytest.raises(ValueError) as many:
        sharded.retrieve(-queries)
    assert str(many.value) == str(one.value) and "negative" in str(one.value)


def test_values_of_another_width(client: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    memory = uhn.Memory(
        rng.normal(size=(N, D)), rng.normal(size=(N, 3)), separation="softmax", beta=2.0
    )
    paths = write(tmp_path, memory, CUTS[3][0])
    sharded = uhn.dask.open(client, paths)
    queries = rng.normal(size=(4, D))
    same(sharded.retrieve(queries), memory.retrieve(queries))
    found, wanted = sharded.recall(queries, 1), memory.recall(queries, 1)
    for name in ("state", "n_steps", "status", "change"):
        same(getattr(found, name), getattr(wanted, name))
    for ask in (
        lambda m: m.retrieve(queries, 2),
        lambda m: m.recall(queries),
        lambda m: m.energy(queries),
    ):
        with pytest.raises(ValueError) as one:
            ask(memory)
        with pytest.raises(ValueError) as many:
            ask(sharded)
        assert str(many.value) == str(one.value)


def test_a_part_of_something_longer(client: Any, tmp_path: Path) -> None:
    """Files with a first_row of their own: blocks are counted from there."""
    patterns = np.random.default_rng(0).normal(size=(3000, D))
    keywords = {"separation": "softmax", "beta": 0.5}
    memory = uhn.Memory(patterns, first_row=700, **keywords)
    paths = [tmp_path / "a", tmp_path / "b"]
    uhn.Memory(patterns[:1100], first_row=700, **keywords).save(paths[0])
    uhn.Memory(patterns[1100:], first_row=1800, **keywords).save(paths[1])
    sharded = uhn.dask.open(client, paths, shard_rows=1024)
    assert [shard.first_row % 1024 for shard in sharded.shards] == [700, 0, 1800 % 1024, 0, 0]
    same(sharded.retrieve(patterns[:5]), memory.retrieve(patterns[:5]))
    same(sharded.nearest(patterns[:5])[0], memory.nearest(patterns[:5])[0])
    with pytest.raises(ValueError, match="a has first_row=700"):
        uhn.dask.open(client, paths[::-1])


def test_living_memories(client: Any, tmp_path: Path) -> None:
    """Their files are read as those of the memories they are; names stay behind."""
    rng = np.random.default_rng(3)
    patterns = rng.normal(size=(2500, D)).astype(np.float32)
    memory = uhn.LivingMemory(
        patterns, labels=["é" * (i % 5) for i in range(2500)], half_life=300.0, beta=0.5
    )
    memory.save(tmp_path / "a")
    sharded = uhn.dask.open(client, tmp_path / "a", shard_rows=1024, verify=True)
    assert len(sharded) == 2500 and sharded.dtype == np.float32
    same(sharded.retrieve(patterns[:5]), memory.retrieve(patterns[:5]))
    same(sharded.nearest(patterns[:5])[0], memory.memory.nearest(patterns[:5])[0])


def test_batches_of_queries(client: Any, tmp_path: Path) -> None:
    """Small messages, many rounds, and errors that count queries from the first."""
    rng = np.random.default_rng(0)
    memory = uhn.Memory(rng.random((N, D)), separation="softmax", beta=4.0)
    paths = write(tmp_path, memory, CUTS[3][0])
    # A torn block goes as rows, whose scores are a number each: 8 x (D + 1024) a query.
    sharded = uhn.dask.open(client, paths, max_message=20_000)
    queries = rng.random((11, D))
    same(sharded.retrieve(queries), memory.retrieve(queries))
    same(sharded.energy(queries), memory.energy(queries))
    same(sharded.retrieve(queries[:0]), memory.retrieve(queries[:0]))
    same(sharded.nearest(queries[:0], 2)[1], memory.nearest(queries[:0], 2)[1])

    zero = uhn.Memory(rng.random((2048, D)), separation="exponential", beta=1e300)
    sharded = uhn.dask.open(client, write(tmp_path, zero, [2048]), max_message=200)
    queries = np.zeros((5, D))
    queries[3] = 1.0
    with pytest.raises(ValueError) as one:
        zero.retrieve(queries)
    with pytest.raises(ValueError) as many:
        sharded.retrieve(queries)
    assert str(many.value) == str(one.value) and "query 3 " in str(one.value)


def test_many_threads_ask_one_memory(client: Any, tmp_path: Path) -> None:
    memory, queries = case("softmax", "dot", np.float64)
    sharded = uhn.dask.open(client, write(tmp_path, memory, CUTS[3][0]))
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(sharded.retrieve, queries))
    same(np.array(answers), memory.retrieve(queries))


def test_what_travels(client: Any, tmp_path: Path) -> None:
    """A partial of whole blocks is a number a value and three more, whatever it is made of."""
    rng = np.random.default_rng(0)
    d, n_queries = 64, 20
    memory = uhn.Memory(rng.normal(size=(16 * 1024, d)), separation="softmax")
    sharded = uhn.dask.open(client, write(tmp_path, memory, [16 * 1024]), shard_rows=1024)
    queries = rng.normal(size=(n_queries, d))
    sharded.retrieve(queries)
    client.run(forget_transfers)
    same(sharded.retrieve(queries), memory.retrieve(queries))
    sent = [size for sizes in client.run(transfers).values() for size in sizes]
    one = n_queries * (d + 3) * 8
    assert 0 < len(sent) <= 4, sent
    assert max(sent) < 1.2 * one + 1000, (sent, one)
    part = uhn.load(tmp_path / "0-1.uhn.safetensors").partial(queries)
    assert one <= part.nbytes < one + 500


def forget_transfers(dask_worker: Any = None) -> None:
    dask_worker.transfer_outgoing_log.clear()


def transfers(dask_worker: Any = None) -> list[int]:
    return [int(entry["total"]) for entry in dask_worker.transfer_outgoing_log]


# ------------------------------------------------------------------------------- failures --


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> tuple[uhn.Memory, Path, np.ndarray]:
    """A memory of a few megabytes that takes some seconds to ask: logarithms are slow."""
    rng = np.random.default_rng(0)
    patterns = (0.05 + rng.random((16 * 1024, 128))).astype(np.float32)
    memory = uhn.Memory(patterns, similarity="jensen_shannon", separation="softmax", beta=50.0)
    path = tmp_path_factory.mktemp("long") / "long.uhn.safetensors"
    memory.save(path)
    return memory, path, (0.05 + rng.random((1200, 128))).astype(np.float32)


def under_way(dask_scheduler: Any = None) -> list[str]:
    """Workers that have a shard to ask, once some shard was asked."""
    states = {
        str(key): task.state
        for key, task in dask_scheduler.tasks.items()
        if str(key).startswith("uhn-partial")
    }
    if "memory" not in states.values():
        return []
    return [
        address
        for address, worker in dask_scheduler.workers.items()
        if any(str(task.key).startswith("uhn-partial") for task in worker.processing)
    ]


def in_the_middle(client: Any, act: Callable[[str], object]) -> threading.Thread:
    """Calls act(address of a busy worker) in a thread of its own, in the middle of a query."""

    def wait() -> None:
        for _ in range(1000):
            busy = client.run_on_scheduler(under_way)
            if busy:
                act(busy[0])
                return
            time.sleep(0.01)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_worker_killed_in_the_middle_of_a_query(
    client: Any, long: tuple[uhn.Memory, Path, np.ndarray]
) -> None:
    """The same bits; benchmarks/distributed.py does it twenty times."""
    memory, path, queries = long
    wanted = memory.retrieve(queries)
    sharded = uhn.dask.open(client, path, shard_rows=1024)
    for _ in range(int(os.environ.get("UHN_KILLS", "3"))):
        client.wait_for_workers(2, timeout=60)
        pids = client.run(os.getpid)
        killed: list[int] = []

        def kill(address: str, pids: dict[str, int] = pids, to: list[int] = killed) -> None:
            os.kill(pids[address], signal.SIGKILL)
            to.append(pids[address])

        thread = in_the_middle(client, kill)
        found = sharded.retrieve(queries)
        thread.join()
        assert len(killed) == 1
        same(found, wanted)
        assert n_tasks(client) == 0


def test_all_workers_killed_at_once(
    client: Any, long: tuple[uhn.Memory, Path, np.ndarray]
) -> None:
    """Their nannies make new ones."""
    memory, path, queries = long
    sharded = uhn.dask.open(client, path, shard_rows=1024)
    pids = client.run(os.getpid)
    thread = in_the_middle(
        client, lambda _: [os.kill(pid, signal.SIGKILL) for pid in pids.values()]
    )
    found = sharded.recall(queries, 2, tol=None)
    thread.join()
    same(found.state, memory.recall(queries, 2, tol=None).state)
    assert not set(client.run(os.getpid).values()) & set(pids.values())


def allow_failures(n: int, dask_scheduler: Any = None) -> None:
    dask_scheduler.allowed_failures = n


def test_a_shard_that_kills_its_workers_is_named(
    client: Any, long: tuple[uhn.Memory, Path, np.ndarray]
) -> None:
    _, path, queries = long
    sharded = uhn.dask.open(client, path, shard_rows=1024)
    pids = client.run(os.getpid)
    client.run_on_scheduler(allow_failures, 0)
    try:
        thread = in_the_middle(client, lambda address: os.kill(pids[address], signal.SIGKILL))
        with pytest.raises(ShardLostError, match="the workers that asked it died") as caught:
            sharded.retrieve(queries)
        thread.join()
    finally:
        client.run_on_scheduler(allow_failures, 3)
    start, stop = caught.value.rows
    assert caught.value.path == str(path) and stop - start == 1024
    assert f"{path}, rows {start} to {stop}: " in str(caught.value)


def test_a_timeout_names_the_first_shard_that_is_left(
    client: Any, long: tuple[uhn.Memory, Path, np.ndarray]
) -> None:
    _, path, queries = long
    sharded = uhn.dask.open(client, path, shard_rows=1024, timeout=0.3)
    with pytest.raises(ShardLostError, match=r"no answer within 0\.3 s") as caught:
        sharded.retrieve(queries)
    assert caught.value.path == str(path)
    assert caught.value.rows in [(i, i + 1024) for i in range(0, 16 * 1024, 1024)]


def test_a_cancelled_task_is_one_error(
    client: Any, long: tuple[uhn.Memory, Path, np.ndarray]
) -> None:
    _, path, queries = long
    sharded = uhn.dask.open(client, path, shard_rows=1024)

    def cancel(address: str) -> None:
        roots = [key for key in client.futures if str(key).startswith("uhn-answer")]
        client.cancel([distributed.Future(key, client) for key in roots], force=True)

    thread = in_the_middle(client, cancel)
    with pytest.raises(ShardLostError, match="cancelled"):
        sharded.retrieve(queries)
    thread.join()


def test_ctrl_c_leaves_nothing_behind(
    client: Any, long: tuple[uhn.Memory, Path, np.ndarray]
) -> None:
    memory, path, queries = long
    sharded = uhn.dask.open(client, path, shard_rows=1024)
    main = threading.main_thread().ident
    assert main is not None
    thread = in_the_middle(client, lambda _: signal.pthread_kill(main, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        sharded.retrieve(queries)
    thread.join()
    assert n_tasks(client) == 0
    same(sharded.retrieve(queries[:1]), memory.retrieve(queries[:1]))


def small(folder: Path) -> tuple[uhn.Memory, list[Path]]:
    patterns = np.random.default_rng(0).normal(size=(4096, D))
    memory = uhn.Memory(patterns, separation="softmax")
    return memory, write(folder, memory, [2048, 2048])


def test_a_lost_file(client: Any, tmp_path: Path) -> None:
    memory, paths = small(tmp_path)
    queries = np.asarray(memory)[:3]
    sharded = uhn.dask.open(client, paths, shard_rows=1024)
    paths[1].rename(tmp_path / "elsewhere")
    for ask in (sharded.retrieve, sharded.recall, sharded.nearest, sharded.energy):
        with pytest.raises(ShardLostError, match="No such file") as caught:
            ask(queries)
        assert caught.value.path == str(paths[1]) and caught.value.rows[0] in (0, 1024)
        assert n_tasks(client) == 0
    with pytest.raises(ShardLostError, match="no worker can read it: FileNotFoundError"):
        uhn.dask.open(client, paths)
    (tmp_path / "elsewhere").rename(paths[1])
    same(sharded.retrieve(queries), memory.retrieve(queries))
    # Those that have it open answer on: its bytes are there until they let it go.
    paths[1].unlink()
    same(sharded.retrieve(queries), memory.retrieve(queries))


def test_another_file_in_its_place(client: Any, tmp_path: Path) -> None:
    memory, paths = small(tmp_path)
    queries = np.asarray(memory)[:3]
    sharded = uhn.dask.open(client, paths, shard_rows=1024)
    uhn.Memory(np.asarray(memory)[:2048] + 1, separation="softmax").save(paths[0])
    with pytest.raises(ShardLostError, match="another file than when") as caught:
        sharded.retrieve(queries)
    assert (caught.value.path, caught.value.rows) == (str(paths[0]), (0, 1024))

    # The same between two queries, where it is found when a worker opens it.
    write(tmp_path, memory, [2048, 2048])
    same(sharded.retrieve(queries), memory.retrieve(queries))
    uhn.Memory(np.asarray(memory)[:2048] + 1, separation="softmax").save(paths[0])
    same(sharded.retrieve(queries), memory.retrieve(queries))  # it is open
    client.run(forget_files)
    with pytest.raises(ShardLostError, match="another file than when") as caught:
        sharded.retrieve(queries)
    assert caught.value.path == str(paths[0])


def damage(path: Path, row: int, number: bytes) -> None:
    """Another number in a row, in place: at the second of its D components."""
    offset = uhn.io.describe(path)["tensors"]["patterns"]["offset"]
    with path.open("r+b") as file:
        file.seek(offset + (row * D + 1) * 8)
        file.write(number)


def test_a_damaged_file(client: Any, tmp_path: Path) -> None:
    memory, paths = small(tmp_path)
    queries = np.asarray(memory)[:3]
    damage(paths[1], 1500, np.float64(np.nan).tobytes())
    sharded = uhn.dask.open(client, paths, shard_rows=1024)
    with pytest.raises(ShardLostError, match=r"patterns\[1500, 1\] is NaN") as caught:
        sharded.retrieve(queries)
    assert (caught.value.path, caught.value.rows) == (str(paths[1]), (1024, 2048))

    # A number that is one has to be looked for.
    damage(paths[1], 1500, np.float64(7.0).tobytes())
    sharded = uhn.dask.open(client, paths, shard_rows=1024, verify=True)
    with pytest.raises(ShardLostError, match="SHA-256") as caught:
        sharded.retrieve(queries)
    assert caught.value.path == str(paths[1])
    damage(paths[1], 1500, np.asarray(memory)[2048 + 1500, 1].tobytes())
    same(sharded.retrieve(queries), memory.retrieve(queries))

    # One that is written to while it is open is checked again without being asked.
    damage(paths[0], 10, np.float64(7.0).tobytes())
    for _ in range(2):
        with pytest.raises(ShardLostError, match="SHA-256") as caught:
            sharded.retrieve(queries)
        assert (caught.value.path, caught.value.rows) == (str(paths[0]), (0, 1024))
    paths[0].write_bytes(b"x" * 100)
    with pytest.raises(ShardLostError, match="no worker can read it: ValueError"):
        uhn.dask.open(client, paths)


def test_files_that_some_workers_have(client: Any, tmp_path: Path) -> None:
    """Each worker in a folder of its own, with a file of its own; then they change places."""
    memory, paths = small(tmp_path)
    queries = np.asarray(memory)[:3]
    folders = [tmp_path / "a", tmp_path / "b"]
    addresses = sorted(client.nthreads())
    before = client.run(os.getcwd)
    try:
        for folder, path, address in zip(folders, paths, addresses, strict=True):
            folder.mkdir()
            path.rename(folder / path.name)
            client.run(os.chdir, str(folder), workers=[address])
        sharded = uhn.dask.open(client, [path.name for path in paths], shard_rows=1024)
        same(sharded.retrieve(queries), memory.retrieve(queries))
        for path, here, there in zip(paths, folders, folders[::-1], strict=True):
            (here / path.name).rename(there / path.name)
        client.run(forget_files)
        same(sharded.retrieve(queries), memory.retrieve(queries))
        (folders[0] / paths[1].name).unlink()
        client.run(forget_files)
        with pytest.raises(ShardLostError) as caught:
            sharded.retrieve(queries)
        assert caught.value.path == paths[1].name
    finally:
        for address, folder in before.items():
            client.run(os.chdir, folder, workers=[address])


def forget_files() -> None:
    uhn.dask._FILES.clear()
    uhn.dask._SHARDS.clear()


def test_nobody_waits_for_workers_that_do_not_come(
    long: tuple[uhn.Memory, Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster in this process, whose only worker goes in the middle of a query."""
    _, path, queries = long
    monkeypatch.setattr(uhn.dask, "PATIENCE", 0.3)
    monkeypatch.setattr(uhn.dask, "_POLL", 0.1)
    with (
        distributed.LocalCluster(
            n_workers=1,
            processes=False,
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        sharded = uhn.dask.open(client, path, shard_rows=1024)
        thread = in_the_middle(client, lambda _: cluster.scale(0))
        with pytest.raises(ShardLostError, match=r"no worker for 0\.3 s") as caught:
            sharded.recall(queries, 50, tol=None)
        thread.join()
        assert caught.value.path == str(path)
        assert n_tasks(client) == 0
        for ask in (lambda: sharded.retrieve(queries), lambda: uhn.dask.open(client, path)):
            with pytest.raises(ShardLostError, match=r"no worker for 0\.3 s"):
                ask()


# ----------------------------------------------------------------------------- collections --


def test_a_dask_array_in_and_out(client: Any, tmp_path: Path) -> None:
    memory, queries = case("softmax", "dot", np.float32)
    sharded = uhn.dask.open(client, write(tmp_path, memory, CUTS[3][0]))
    lazy = da.from_array(queries, chunks=(4, 5))
    found = sharded.retrieve(lazy, 3, tol=1e-3)
    assert isinstance(found, da.Array)
    assert (found.chunks, found.dtype) == (((4, 4, 1), (D,)), np.float32)
    same(found.compute(), memory.retrieve(queries, 3, tol=1e-3))
    found = sharded.energy(lazy)
    assert found.chunks == ((4, 4, 1),)
    same(found.compute(), memory.energy(queries))
    indices, scores = sharded.nearest(lazy, 3)
    assert (indices.chunks, indices.dtype) == (((4, 4, 1), (3,)), np.int64)
    wanted = memory.nearest(queries, 3)
    same(indices.compute(), wanted[0])
    same(scores.compute(), wanted[1])
    with pytest.raises(TypeError, match="use retrieve"):
        sharded.recall(lazy)
    with pytest.raises(ValueError, match="needs the shape"):
        sharded.retrieve(lazy[0])
    with pytest.raises(ValueError, match="n_steps"):
        sharded.retrieve(lazy, 0)


def test_a_chunk_says_what_was_lost(client: Any, tmp_path: Path) -> None:
    memory, paths = small(tmp_path)
    lazy = da.from_array(np.asarray(memory)[:4], chunks=(2, D))
    sharded = uhn.dask.open(client, paths)
    paths[1].unlink()
    answers = sharded.retrieve(lazy)
    with pytest.raises(ShardLostError, match="No such file") as caught:
        answers.compute()
    assert (caught.value.path, caught.value.rows) == (str(paths[1]), (0, 2048))


def test_a_dask_dataframe_in_and_out(client: Any, tmp_path: Path) -> None:
    dd = pytest.importorskip("dask.dataframe", reason="dask.dataframe is not installed")
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    memory, queries = case("softmax", "sqeuclidean", np.float64)
    sharded = uhn.dask.open(client, write(tmp_path, memory, CUTS[3][0]))
    names = [f"x{i}" for i in range(D)]
    frame = pd.DataFrame(queries, index=list("abcdefghi"), columns=names)
    lazy = dd.from_pandas(frame, npartitions=2, sort=False)
    found = sharded.retrieve(lazy)
    assert list(found.columns) == names and found.npartitions == lazy.npartitions
    answers = found.compute()
    assert list(answers.index) == list(frame.index)
    same(answers.to_numpy(), memory.retrieve(queries))
    same(sharded.energy(lazy).compute().to_numpy(), memory.energy(queries))
    with pytest.raises(ValueError, match="11 features"):
        sharded.retrieve(lazy[names[:3]])
    with pytest.raises(TypeError, match="to_dask_array"):
        sharded.nearest(lazy)

    rng = np.random.default_rng(0)
    other = uhn.Memory(rng.normal(size=(2000, D)), rng.normal(size=(2000, 2)))
    sharded = uhn.dask.open(client, write(tmp_path, other, [1024, 976]))
    answers = sharded.retrieve(lazy).compute()
    assert list(answers.columns) == [0, 1]
    same(answers.to_numpy(), other.retrieve(queries))


def test_save_writes_what_open_opens(client: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    patterns, values = rng.normal(size=(5000, 6)), rng.normal(size=(5000, 2))
    lazy = da.from_array(patterns, chunks=(2048, 4))
    more = da.from_array(values, chunks=(1000, 2))
    keywords = {"similarity": "manhattan", "separation": "softmax", "beta": 2.0}
    paths = uhn.dask.save(lazy, tmp_path, more, **keywords)
    assert [Path(path).name[:10] for path in paths] == [
        "part-00000",
        "part-00001",
        "part-00002",
    ]
    memory = uhn.Memory(patterns, values, **keywords)
    same(uhn.dask.open(client, paths).retrieve(patterns[:4]), memory.retrieve(patterns[:4]))
    with pytest.raises(TypeError, match=r"dask\.array"):
        uhn.dask.save(patterns, tmp_path)


# ---------------------------------------------------------------------------- bad arguments --


def test_the_same_refusals(client: Any, tmp_path: Path) -> None:
    memory, queries = case("softmax", "manhattan", np.float64)
    sharded = uhn.dask.open(client, write(tmp_path, memory, CUTS[3][0]))
    bad = queries.copy()
    bad[7, 3] = np.nan
    asks: list[Callable[[Any], Any]] = [
        lambda m: m.retrieve(bad),
        lambda m: m.nearest(bad),
        lambda m: m.retrieve(queries[:, :3]),
        lambda m: m.retrieve("abc"),
        lambda m: m.retrieve(queries * 1j),
        lambda m: m.retrieve(queries, 0),
        lambda m: m.retrieve(queries, tol=-1),
        lambda m: m.retrieve(queries, 1.5),
        lambda m: m.recall(queries, -1),
        lambda m: m.recall(queries, tol=np.nan),
        lambda m: m.energy(queries),
        lambda m: m.nearest(queries, 0),
        lambda m: m.nearest(queries, N + 1),
        lambda m: m.nearest(queries, True),
        lambda m: m.nearest(queries, 2.0),
    ]
    for ask in asks:
        with pytest.raises((ValueError, TypeError)) as one:
            ask(memory)
        with pytest.raises(type(one.value)) as many:
            ask(sharded)
        assert str(many.value) == str(one.value)


def test_files_that_do_not_belong_together(client: Any, tmp_path: Path) -> None:
    patterns = np.random.default_rng(0).normal(size=(10, 4))
    first = tmp_path / "first"
    uhn.Memory(patterns, separation="softmax", beta=1.0).save(first)
    others = {
        "the keywords": uhn.Memory(patterns, separation="softmax", beta=2.0),
        "the dtype": uhn.Memory(patterns.astype(np.float32)),
        "the width of patterns": uhn.Memory(patterns[:, :3]),
        "the width of values": uhn.Memory(patterns, patterns[:, :3]),
    }
    for what, other in others.items():
        other.save(tmp_path / "second")
        with pytest.raises(ValueError, match=f"second does not belong to .*first: {what}"):
            uhn.dask.open(client, [first, tmp_path / "second"])
    uhn.Memory().save(tmp_path / "second")
    with pytest.raises(ValueError, match="second holds no patterns"):
        uhn.dask.open(client, [first, tmp_path / "second"])


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"paths": []}, "paths is empty"),
        ({"paths": ["a", "a"]}, "comes twice"),
        ({"shard_rows": 1000}, "multiple of 1024"),
        ({"shard_rows": 0}, "shard_rows must be"),
        ({"max_message": 0}, "max_message must be"),
        ({"timeout": 0}, "timeout must be"),
    ],
)
def test_arguments_of_open(client: Any, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        uhn.dask.open(client, **{"paths": ["a"], **keywords})
    with pytest.raises(TypeError, match=r"distributed\.Client"):
        uhn.dask.open(None, ["a"])


def test_shards_are_cut_by_powers_of_two(client: Any, tmp_path: Path) -> None:
    memory = uhn.Memory(np.zeros((40_000, 2), np.float32) + 1)
    sharded = uhn.dask.open(client, write(tmp_path, memory, [40_000]))
    rows = [shard.stop - shard.start for shard in sharded.shards]
    assert rows == [4096] * 9 + [40_000 - 9 * 4096]
    assert len(sharded) == sharded.n_patterns == 40_000
    assert (sharded.n_features, sharded.n_values, sharded.dtype) == (2, 2, np.float32)
    assert sharded.keywords["separation"] == "softmax"
    assert repr(sharded) == (
        "ShardedMemory(40000 x 2 float32, similarity='dot', separation='softmax', "
        "10 shards of 1 file)"
    )


def test_the_error_travels() -> None:
    error = pickle.loads(pickle.dumps(ShardLostError("p", (3, 5), "gone")))
    assert isinstance(error, RuntimeError)
    assert (error.path, error.rows, error.cause) == ("p", (3, 5), "gone")
    assert str(error) == "p, rows 3 to 5: gone"


def test_without_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    spec = importlib.util.spec_from_file_location("uhn_dask_again", uhn.dask.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    with pytest.raises(ImportError, match=r"pip install 'uhn\[distributed\]'"):
        spec.loader.exec_module(module)
    code = "import sys, uhn; assert not {'dask', 'distributed'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_sharded_memories_are_what_the_module_makes(client: Any, tmp_path: Path) -> None:
    path = small(tmp_path)[1][0]
    sharded = uhn.dask.open(client, str(path))
    assert isinstance(sharded, ShardedMemory)
    same(sharded.retrieve(np.ones(D)), uhn.load(path).retrieve(np.ones(D)))
