"""Speed as ratios: ``python benchmarks/run.py``, see README.md beside this file.

Each row runs in a process of its own, with one number of threads, in which `uhn` and its
contenders take turns. What is printed, and written as JSON and CSV, are the ratios.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

try:
    import attention
    import dense
    import distances
    import dynamics
    import imputation
    import measure
    import out_of_core
    import published
    import sdm
    import shards
    import softmax

    import uhn
except ImportError as error:
    raise SystemExit(
        f"{error}; the benchmarks need uhn itself (pip install .), numpy and threadpoolctl"
    ) from None


@dataclass(frozen=True)
class Row:
    """A benchmark as the command line knows it.

    Parameters
    ----------
    run : callable
        The benchmark.
    work : str
        The workload, with the shapes of a full run.
    threads : tuple of int, optional
        The numbers of threads that make sense, all if empty. Contenders that know no threads
        are compared with one thread of ours.
    path : str, optional
        The CPU path the row needs; its process is told so.
    environment : dict
        More variables for the row's process.
    """

    run: Callable[[measure.Bench], None]
    work: str
    threads: tuple[int, ...] = ()
    path: str = ""
    environment: dict[str, str] = field(default_factory=dict)


ROWS = {
    "batch1000": Row(softmax.batch1000, "softmax, 1000 queries, 100,000 x 784"),
    "scratch": Row(softmax.scratch, "softmax, 1000 queries, 100,000 x 784: extra memory"),
    "batch32": Row(softmax.batch32, "softmax, 32 queries, 100,000 x 784"),
    "one": Row(softmax.one, "softmax, 1 query, 1,000,000 x 784"),
    "beta": Row(
        softmax.beta_sweep,
        "softmax, 1000 queries, 10,000 x 784, beta 1e-3 to 1e3 / sqrt N",
        threads=(1,),
    ),
    "avx2": Row(
        softmax.avx2,
        "softmax, 1000 queries, 10,000 x 784, both sides on AVX2",
        path="avx2",
        environment={"OPENBLAS_CORETYPE": "Haswell"},
    ),
    "attention": Row(attention.attention, "attention, 8 heads of 2048 x 2048 x 64"),
    "manhattan": Row(
        distances.manhattan, "Manhattan, max, 96 queries, 12,000 x 784", threads=(1,)
    ),
    "jensen-shannon": Row(
        distances.jensen_shannon, "Jensen-Shannon, max, 96 queries, 2000 x 784", threads=(1,)
    ),
    "kl": Row(distances.kl, "Kullback-Leibler, max, 96 queries, 2000 x 784", threads=(1,)),
    "impute": Row(
        imputation.impute, "gaps of 256 rows of 100,000 x 100, 10 % missing, 5 nearest"
    ),
    "impute-scratch": Row(imputation.scratch, "the same: extra memory"),
    "hopfield": Row(
        dynamics.patterns,
        "Hopfield network as 500 patterns of 10,000 units, 15 % noise to rest",
        threads=(1,),
    ),
    "hopfield-weights": Row(
        dynamics.weights,
        "Hopfield network as a matrix of weights, 10,000 units, 15 % noise to rest",
        threads=(1,),
    ),
    "hopfield-batch": Row(
        dynamics.batch,
        "Hopfield network, 50 patterns of 1000 units, 256 states to rest",
        threads=(1,),
    ),
    "hopfield-sync": Row(
        dynamics.sync,
        "Hopfield network, 5000 units, 8 steps of 256 states at once",
        threads=(1,),
    ),
    "dense": Row(
        dense.cubic,
        "dense associative memory, n = 3, 1000 x 784, 15 % noise to rest",
        threads=(1,),
    ),
    "dense-exp": Row(
        dense.exponential,
        "dense associative memory, exponential, 1000 x 784, 15 % noise to rest",
        threads=(1,),
    ),
    "sdm": Row(
        sdm.one, "sparse distributed memory, 1 query, 1,000,000 x 1024 bits", threads=(1,)
    ),
    "sdm-batch": Row(
        sdm.batch, "sparse distributed memory, 64 queries, 1,000,000 x 1024 bits", threads=(1,)
    ),
    "shards": Row(
        shards.throughput,
        "softmax, 256 queries, 98,304 x 784 in a file, a worker process for each thread",
        threads=(2,),
    ),
    "file-cold": Row(
        out_of_core.cold, "softmax, 680,000 x 784 in a file that is not in memory"
    ),
    "file-warm": Row(out_of_core.warm, "softmax, 680,000 x 784 in a file that is in memory"),
    "file-scratch": Row(
        out_of_core.scratch, "softmax, 64 queries, 680,000 x 784 in a file: extra memory"
    ),
    "published": Row(
        published.similarity_experiment, "published similarity experiment, 86,610 trials"
    ),
    "small": Row(
        softmax.small, "softmax, 1 query, 100 x 100: a call from Python", threads=(1,)
    ),
}

PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "threadpoolctl", "distributed")
COLUMNS = (
    "row",
    "work",
    "quick",
    "threads",
    "contender",
    "unit",
    "clock",
    "of",
    "ratio",
    "lowest",
    "highest",
    "n_pairs",
    "goal",
    "met",
    "uhn_seconds",
    "contender_seconds",
    "scale",
    "gflops",
    "uhn_mebibytes",
    "contender_mebibytes",
)


# ------------------------------------------------------------------------------- environment --


def versions() -> dict[str, str | None]:
    """Versions of the packages that take part, None for those that are not there."""
    found: dict[str, str | None] = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "uhn": uhn.__version__,
    }
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def cpu_model() -> str:
    """The processor's own name, where the system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def environment() -> dict[str, Any]:
    """Everything about this machine and these programs that the ratios may depend on."""
    available = measure.available_bytes()
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "system": platform.platform(),
        "cpu": cpu_model(),
        "n_cpus": measure.n_cpus(),
        "available_gibibytes": None if available is None else round(available / 2**30, 1),
        "load_average": list(os.getloadavg()),
        "uhn": dict(uhn.cpu_info()),
        "blas": measure.blas_of_numpy(),
    }


def print_environment(found: dict[str, Any]) -> None:
    """The environment as a few lines."""
    packages = [f"{key} {value}" for key, value in found["versions"].items() if value]
    absent = [key for key, value in found["versions"].items() if value is None]
    own, blas = found["uhn"], found["blas"]
    print(", ".join(packages) + (f"; not installed: {', '.join(absent)}" if absent else ""))
    print(f"{found['cpu']}, {found['n_cpus']} processors, {found['system']}")
    print(f"uhn: path {own['path']} of {', '.join(own['available'])}; {own['compiler']}")
    print(f"     {uhn._core.__file__}")
    print(
        f"NumPy's BLAS: {blas['internal_api']} {blas['version']}, core {blas['architecture']}, "
        f"{blas['threading_layer']}, {blas['num_threads']} threads by default"
    )
    load = found["load_average"][0]
    print(f"load average at the start: {load:.2f}")
    if load > 0.5:
        print("  (the machine is not idle: results of more than one thread are not to be used)")


# --------------------------------------------------------------------------------- processes --


def child(name: str, threads: int, quick: bool) -> dict[str, Any]:
    """Run one row here and now, and give back all it found."""
    blas = measure.blas_of_numpy()
    bench = measure.Bench(threads=threads, quick=quick)
    outcome = {"status": "done", "reason": ""}
    try:
        bench.set_threads()
        ROWS[name].run(bench)
    except measure.SkipRowError as reason:
        outcome = {"status": "skipped", "reason": str(reason)}
    except measure.WrongAnswerError as reason:
        outcome = {"status": "wrong", "reason": str(reason)}
    if outcome["status"] != "done":
        bench.results.clear()
    return {
        **outcome,
        "results": bench.results,
        "checks": bench.checks,
        "skipped": bench.skipped,
        "notes": bench.notes,
        "blas": {**blas, "num_threads": threads},
        "path": uhn.cpu_info()["path"],
    }


def run_row(name: str, threads: int, quick: bool) -> dict[str, Any]:
    """Run one row in a process of its own, which takes all its arrays with it when it ends."""
    row = ROWS[name]
    if row.threads and threads not in row.threads:
        return {
            "status": "skipped",
            "reason": "a row for one thread",
        }
    if threads > measure.n_cpus():
        reason = f"{threads} threads on {measure.n_cpus()} processors"
        return {"status": "skipped", "reason": reason}
    variables = {**os.environ, **row.environment}
    if row.path:
        if row.path not in uhn.cpu_info()["available"]:
            return {"status": "skipped", "reason": f"no {row.path} on this machine"}
        variables["UHN_CPU"] = row.path
    command = [sys.executable, str(Path(__file__).resolve()), "--child", name]
    command += ["--threads", str(threads), *(["--quick"] if quick else [])]
    done = subprocess.run(
        command, env=variables, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        return {"status": "failed", "reason": f"its process ended with {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


# ------------------------------------------------------------------------------------ output --


def duration(seconds: float | None) -> str:
    """A time with three digits and a unit."""
    if seconds is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def number(ratio: float) -> str:
    """A ratio: two decimals while they mean something."""
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.2f}"


def print_row(name: str, threads: int, outcome: dict[str, Any]) -> None:
    """The lines of one row."""
    row = ROWS[name]
    print(f"\n{name}: {row.work}; {threads} thread{'s' if threads > 1 else ''}")
    if outcome["status"] != "done":
        print(f"  {outcome['status']}: {outcome['reason']}")
    for one in outcome.get("results", ()):
        spread = f"({number(one['lowest'])} - {number(one['highest'])})"
        if one["unit"] == "time":
            details = f"{duration(one.get('uhn_seconds'))} / "
            details += f"{duration(one['contender_seconds'])} {one['clock']}"
            if one.get("scale", 1.0) > 1:
                details += f" (timed on 1/{one['scale']:g} of the queries)"
            if one.get("gflops"):
                details += f", {one['gflops']:.0f} Gflop/s"
        else:
            details = f"{one['uhn_mebibytes']:.2f} / {one['contender_mebibytes']:.0f} MiB"
        verdict = {True: "met", False: "MISSED", None: ""}[one["met"]]
        goal = one["goal"] or "no goal"
        print(
            f"  {one['contender']:<38} {number(one['ratio']):>7} {spread:<18} {goal:<18} "
            f"{verdict:<6}  {details}"
        )
    for one in outcome.get("skipped", ()):
        print(f"  {one['contender']:<38} skipped: {one['reason']}")
    for note in outcome.get("notes", ()):
        print(f"  note: {note}")
    if checks := outcome.get("checks"):
        worst = max(checks, key=lambda one: one["difference"] / (one["bound"] or 1.0))
        print(
            f"  {len(checks)} answers checked; nearest to its bound: {worst['what']}, "
            f"{worst['difference']:.2g} of {worst['bound']:.2g}"
        )
    sys.stdout.flush()


def write(report: dict[str, Any], json_path: str | None, csv_path: str | None) -> None:
    """Write the files that were asked for; the CSV has one line for each ratio."""
    if json_path:
        text = json.dumps(report, indent=2)
        Path(json_path).write_text(text + "\n", encoding="utf-8")
    if not csv_path:
        return
    with open(csv_path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in report["rows"]:
            common = {"row": row["name"], "work": row["work"], "quick": report["quick"]}
            writer.writerows({**common, **one} for one in row.get("results", ()))


# ------------------------------------------------------------------------------ command line --


def names(text: str) -> list[str]:
    """Row names separated by commas."""
    chosen = [part.strip() for part in text.split(",") if part.strip()]
    if unknown := [name for name in chosen if name not in ROWS]:
        raise argparse.ArgumentTypeError(f"no row {unknown[0]!r}; there are: {', '.join(ROWS)}")
    return chosen


def counts(text: str) -> list[int]:
    """Numbers of threads separated by commas."""
    try:
        chosen = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        chosen = []
    if not chosen or min(chosen) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers of threads")
    return chosen


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python benchmarks/run.py", description="Speed of uhn as ratios to its peers."
    )
    add = made.add_argument
    add("--quick", action="store_true", help="small shapes: does it run? no goal is judged")
    add("--threads", type=counts, default=[1, 2], help="numbers of threads (default: 1,2)")
    add("--only", type=names, default=list(ROWS), metavar="NAME,...", help="only these rows")
    add("--json", metavar="FILE", help="write everything that was found")
    add("--csv", metavar="FILE", help="write one line for each ratio")
    add("--list", action="store_true", help="print the names of the rows and end")
    add("--child", choices=tuple(ROWS), help=argparse.SUPPRESS)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0; 1 if an answer was wrong or a row broke down; 2 if the machine cannot give a fair
        comparison. A missed goal is no error.
    """
    options = parser().parse_args(arguments)
    if options.list:
        for name, row in ROWS.items():
            print(f"{name:<18}{row.work}")
        return 0
    if options.child:
        print(json.dumps(child(options.child, options.threads[0], options.quick)))
        return 0

    try:
        found = environment()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    print_environment(found)
    if options.quick:
        print("QUICK: smaller shapes than the rows say; the ratios are not results")
    print("median ratio (lowest - highest), goal, our time / theirs; >= : contender / uhn,")
    print("<= : uhn / contender")
    report: dict[str, Any] = {"quick": options.quick, "environment": found, "rows": []}
    for name in options.only:
        row = ROWS[name]
        # Where none of the numbers suits a row, the first one leads to a line that says so.
        suited = [n for n in options.threads if not row.threads or n in row.threads]
        for threads in suited or options.threads[:1]:
            outcome = run_row(name, threads, options.quick)
            report["rows"].append(
                {"name": name, "work": row.work, "threads": threads, **outcome}
            )
            print_row(name, threads, outcome)
            # After every row, so that an interrupted run leaves what it found.
            write(report, options.json, options.csv)
    broken = [row for row in report["rows"] if row["status"] in ("wrong", "failed")]
    judged = [one["met"] for row in report["rows"] for one in row.get("results", ())]
    print(f"\n{judged.count(True)} goals met, {judged.count(False)} missed", end="")
    print(f", {len(broken)} rows BROKEN" if broken else "", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
