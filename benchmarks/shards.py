"""A memory in a file, asked by worker processes of Dask, against one process; and what fails.

As a row of ``run.py`` it compares throughput. By itself, ``python benchmarks/shards.py``, it
also measures what travels, the latency of a round, how long the loss of a worker takes, and
puts these numbers into an estimate for 10^10 memories on 100 machines.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measure import Bench, Contender, Goal, SkipRowError, WrongAnswerError, gaussian

import uhn

BLOCK_ROWS = 1024
N_FEATURES = 784


@contextlib.contextmanager
def workers(n: int) -> Iterator[Any]:
    """A client of n processes on this machine, one thread each."""
    try:
        import dask
        import distributed
    except ImportError:
        raise SkipRowError("distributed is not installed") from None
    with (
        # LocalCluster gives a worker up for good if it happens to be away this long after it
        # was lost: also if it was back in between, and was killed again.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        distributed.LocalCluster(
            n_workers=n,
            processes=True,
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def alone(memory: uhn.Memory, queries: np.ndarray, threads: int) -> np.ndarray:
    """The answer of this process, with some threads."""
    before = uhn.get_num_threads()
    uhn.set_num_threads(threads)
    try:
        return memory.retrieve(queries)
    finally:
        uhn.set_num_threads(before)


def throughput(bench: Bench) -> None:
    """The same file and the same work: worker processes, and one process."""
    import uhn.dask

    n_rows = bench.pick(96 * BLOCK_ROWS, 4 * BLOCK_ROWS)
    n_queries = bench.pick(256, 20)
    bench.needs(3 * n_rows * N_FEATURES * 4)
    rng = np.random.default_rng(1)
    queries = gaussian(rng, n_queries, N_FEATURES)
    with tempfile.TemporaryDirectory() as folder, workers(bench.threads) as client:
        path = Path(folder) / "memory.uhn.safetensors"
        uhn.Memory(gaussian(rng, n_rows, N_FEATURES), beta=1 / math.sqrt(N_FEATURES)).save(path)
        memory, sharded = uhn.load(path), uhn.dask.open(client, path)
        own = sharded.retrieve(queries)
        same = own.tobytes() == alone(memory, queries, 1).tobytes()
        bench.check("bits that differ from one process", float(not same), 0.0, 0.0)
        bench.notes.append(f"{len(sharded.shards)} shards on {bench.threads} workers")
        contenders = [
            Contender("one process, 1 thread", lambda: alone(memory, queries, 1), GOAL),
            Contender(
                f"one process, {bench.threads} threads",
                lambda: alone(memory, queries, bench.threads),
            ),
        ]
        bench.race(
            lambda: sharded.retrieve(queries),
            contenders,
            flops=4.0 * n_queries * n_rows * N_FEATURES,
        )


GOAL = Goal(least=1.5)


# ------------------------------------------------------------------------------ by itself --


def forget(dask_worker: Any = None) -> None:
    """Begin to count what a worker sends."""
    dask_worker.transfer_outgoing_log.clear()


def sent(dask_worker: Any = None) -> list[int]:
    """Bytes of what a worker has sent to others since."""
    return [int(entry["total"]) for entry in dask_worker.transfer_outgoing_log]


def busy(dask_scheduler: Any = None) -> list[str]:
    """Workers that ask a shard while some shard has been asked."""
    tasks = {str(key): task for key, task in dask_scheduler.tasks.items()}
    if not any(
        key.startswith("uhn-partial") and task.state == "memory" for key, task in tasks.items()
    ):
        return []
    return [
        address
        for address, worker in dask_scheduler.workers.items()
        if any(str(task.key).startswith("uhn-partial") for task in worker.processing)
    ]


def kill_one(client: Any) -> threading.Thread:
    """SIGKILL for a worker, as soon as it is in the middle of a query."""
    pids = client.run(os.getpid)

    def wait() -> None:
        while not (found := client.run_on_scheduler(busy)):
            time.sleep(0.005)
        os.kill(pids[found[0]], signal.SIGKILL)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def timed(call: Any, clock: Any = time.perf_counter) -> tuple[float, Any]:
    """Seconds and result."""
    start = clock()
    result = call()
    return clock() - start, result


def recovery(client: Any, folder: Path, n_kills: int) -> dict[str, float]:
    """Queries of two seconds or so, in each of which a worker dies."""
    import uhn.dask

    rng = np.random.default_rng(2)
    path = folder / "slow.uhn.safetensors"
    patterns = (0.05 + rng.random((16 * BLOCK_ROWS, 128))).astype(np.float32)
    memory = uhn.Memory(patterns, similarity="jensen_shannon", beta=50.0)
    memory.save(path)
    queries = (0.05 + rng.random((2000, 128))).astype(np.float32)
    wanted = memory.retrieve(queries).tobytes()
    sharded = uhn.dask.open(client, path, shard_rows=BLOCK_ROWS)
    calm = statistics.median(timed(lambda: sharded.retrieve(queries))[0] for _ in range(5))
    extra, right = [], 0
    for _ in range(n_kills):
        client.wait_for_workers(2, timeout=120)
        thread = kill_one(client)
        seconds, answer = timed(lambda: sharded.retrieve(queries))
        thread.join()
        right += answer.tobytes() == wanted
        extra.append(seconds - calm)
    if right != n_kills:
        raise WrongAnswerError(f"{n_kills - right} of {n_kills} runs with a killed worker")
    client.wait_for_workers(2, timeout=120)
    return {
        "query without a kill, s": calm,
        "kills survived with the same bits": float(right),
        "recovery p50, s": float(np.percentile(extra, 50)),
        "recovery p95, s": float(np.percentile(extra, 95)),
    }


def costs(client: Any, folder: Path, n_rows: int) -> dict[str, float]:
    """What the parts of a round cost: rows read, rows computed, tasks, messages."""
    import uhn.dask

    rng = np.random.default_rng(3)
    path = folder / "rows.uhn.safetensors"
    uhn.Memory(gaussian(rng, n_rows, N_FEATURES), beta=1 / math.sqrt(N_FEATURES)).save(path)
    memory = uhn.load(path)
    one, many = gaussian(rng, 1, N_FEATURES), gaussian(rng, 512, N_FEATURES)
    alone(memory, one, 1)
    # CPU time, as the machine may be shared.
    cpu = time.process_time
    read = min(timed(lambda: alone(memory, one, 1), cpu)[0] for _ in range(9))
    compute = min(timed(lambda: alone(memory, many, 1), cpu)[0] for _ in range(3))

    small = folder / "small.uhn.safetensors"
    uhn.Memory(gaussian(rng, 16 * BLOCK_ROWS, 8)).save(small)
    query = gaussian(rng, 1, 8)
    rounds = {}
    for n_shards in (2, 16):
        sharded = uhn.dask.open(client, small, shard_rows=16 * BLOCK_ROWS // n_shards)
        sharded.retrieve(query)
        rounds[n_shards] = min(timed(lambda s=sharded: s.retrieve(query))[0] for _ in range(15))

    sharded = uhn.dask.open(client, path)
    sharded.retrieve(many)
    client.run(forget)
    before = sum(client.run(time.process_time).values())
    sharded.retrieve(many)
    theirs = sum(client.run(time.process_time).values()) - before
    own = timed(lambda: alone(memory, many, 1), cpu)[0]
    messages = [size for sizes in client.run(sent).values() for size in sizes]
    return {
        "one query: GB/s a core": memory.nbytes / read / 1e9,
        "512 queries: Gflop/s a core": 4 * len(many) * n_rows * N_FEATURES / compute / 1e9,
        "a round of 2 shards, ms": rounds[2] * 1e3,
        "each further shard, ms": (rounds[16] - rounds[2]) / 14 * 1e3,
        "CPU time, workers / one process": theirs / own,
        "largest message, bytes a query": max(messages) / len(many),
        "messages between workers": float(len(messages)),
        "shards": float(len(sharded.shards)),
    }


def estimate(found: dict[str, float], n_features: int = N_FEATURES) -> list[str]:
    """10^10 memories on 100 machines of 32 cores, from what a core and a task cost here.

    A batch takes max(rows / bandwidth, arithmetic) + messages + tasks. Assumed, not measured:
    32 cores read 200 GB/s from RAM, disks 5 GB/s, and the network carries 1.25 GB/s.
    """
    n, machines, cores, network = 1e10, 100, 32, 1.25e9
    rows = n / machines
    held = rows * n_features * 4
    shards = machines * cores
    ram = min(found["one query: GB/s a core"] * 1e9 * cores, 200e9)
    tasks = (found["a round of 2 shards, ms"] + shards * found["each further shard, ms"]) / 1e3
    lines = [
        f"{n:.0e} x {n_features} float32 on {machines} machines of {cores} cores: "
        f"{held / 1e9:.0f} GB a machine, a shard of {n / shards:.2g} rows a core"
    ]
    for batch in (1, 64, 1024):
        compute = 4 * batch * rows * n_features
        compute /= found["512 queries: Gflop/s a core"] * 1e9 * cores
        # The queries to each machine; and up a tree of eights, where a machine that merges
        # receives eight messages at each level.
        message = batch * (n_features * 4 + 24)
        travel = (machines + 8 * (math.ceil(math.log(machines, 8)) + 1)) * message / network
        for name, reading in (("RAM", held / ram), ("disk", held / 5e9)):
            total = max(reading, compute if batch > 1 else 0) + travel + tasks
            lines.append(
                f"{batch:>6} queries, rows in {name:<4}: rows {reading:.1f} s, arithmetic "
                f"{compute:.1f} s, messages {travel:.2f} s, tasks {tasks:.1f} s: "
                f"{total:.0f} s, {batch / total:.2g} queries/s"
            )
    return lines


def main() -> None:
    """Everything, as a few lines of text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="workers to kill (20)")
    parser.add_argument("--quick", action="store_true", help="small shapes, two kills")
    parser.add_argument(
        "--part", choices=("throughput", "costs", "kills"), help="one part alone"
    )
    options = parser.parse_args()
    found: dict[str, float] = {}
    if options.part in (None, "throughput"):
        bench = Bench(threads=2, quick=options.quick)
        bench.set_threads()
        throughput(bench)
        for row in bench.results:
            print(
                f"two workers against {row['contender']}: {row['ratio']:.2f} "
                f"({row['lowest']:.2f} to {row['highest']:.2f}), "
                f"{row['uhn_seconds']:.3g} s / {row['contender_seconds']:.3g} s"
            )
    with tempfile.TemporaryDirectory() as folder, workers(2) as client:
        if options.part in (None, "costs"):
            found |= costs(client, Path(folder), (4 if options.quick else 96) * BLOCK_ROWS)
        if options.part in (None, "kills"):
            n_kills = min(options.kills, 2) if options.quick else options.kills
            found |= recovery(client, Path(folder), n_kills)
    for name, value in found.items():
        print(f"{name}: {value:.4g}")
    if options.part in (None, "costs"):
        print("\n".join(estimate(found)))


if __name__ == "__main__":
    main()
