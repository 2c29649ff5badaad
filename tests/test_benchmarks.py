"""The benchmarks run, check answers before they time anything, and say what they ran on.

Nothing here looks at a time: those depend on the machine.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import uhn

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"

threadpoolctl = pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")
pytestmark = pytest.mark.skipif(
    not (FOLDER / "run.py").exists(), reason="the benchmarks are not part of this copy"
)


@pytest.fixture(scope="module")
def measure() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_measure", FOLDER / "measure.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # The same uhn as here, wherever it comes from.
    path = os.pathsep.join(filter(None, [str(Path(uhn.__file__).parent.parent), *sys.path]))
    return subprocess.run(
        [sys.executable, str(FOLDER / "run.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
        timeout=120,
    )


@pytest.mark.skipif("UHN_SANITIZED" in os.environ, reason="other libraries run under it too")
def test_a_cheap_row_runs(tmp_path: Path) -> None:
    found, table = tmp_path / "found.json", tmp_path / "found.csv"
    command = ["--quick", "--only", "small", "--threads", "1"]
    done = run(*command, "--json", str(found), "--csv", str(table))
    if done.returncode == 2:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    report = json.loads(found.read_text(encoding="utf-8"))

    versions = report["environment"]["versions"]
    assert versions["uhn"] == uhn.__version__
    assert versions["numpy"] == np.__version__
    assert {"python", "scipy", "scikit-learn", "torch", "threadpoolctl"} <= set(versions)
    assert report["environment"]["uhn"]["path"] in uhn.cpu_info()["available"]
    assert report["environment"]["blas"]["internal_api"] == "openblas"
    assert report["environment"]["blas"]["version"] in done.stdout

    (row,) = report["rows"]
    assert (row["name"], row["threads"], row["status"]) == ("small", 1, "done")
    assert row["blas"]["num_threads"] == 1
    assert all(0 <= one["difference"] <= one["bound"] for one in row["checks"])
    assert row["checks"]
    (result,) = row["results"]
    assert 0 < result["lowest"] <= result["ratio"] <= result["highest"]
    assert result["n_pairs"] >= 3
    assert result["goal"] == ">= 2"
    assert result["met"] is None, "a quick run judges no goal"
    with table.open(encoding="utf-8", newline="") as file:
        (line,) = csv.DictReader(file)
    assert (line["row"], float(line["ratio"])) == ("small", result["ratio"])


def test_every_row_is_explained() -> None:
    done = run("--list")
    assert done.returncode == 0, done.stderr
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert len(names) >= 10
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in names:
        assert f"| `{name}` |" in text, f"benchmarks/README.md says nothing about {name}"


def test_an_unknown_row_is_refused() -> None:
    done = run("--only", "smal")
    assert done.returncode == 2
    assert "no row 'smal'; there are: " in done.stderr


def test_no_time_of_a_wrong_answer(measure: ModuleType) -> None:
    bench = measure.Bench()
    bench.check("close", [1.0, 2.0], [1.0, 2.5], 0.5)
    for wrong in ([1.0, 2.6], [1.0, np.nan], [1.0], [[1.0, 2.0]]):
        with pytest.raises(measure.WrongAnswerError, match="wrong"):
            bench.check("wrong", wrong, [1.0, 2.0], 0.5)


def test_ratios_are_the_right_way_round(measure: ModuleType) -> None:
    bench = measure.Bench(threads=2)
    order = []

    def call(name: str, n: int) -> object:
        return lambda: order.extend([name] * n)

    # The times of two rounds, in place of a clock: ours 2 and 4 s, theirs 6 and 16 s.
    bench.rounds = lambda calls, seconds: np.array([[2.0, 6.0], [4.0, 16.0]])
    contenders = [measure.Contender("gain", call("b", 1), measure.Goal(least=3.5, aim=4))]
    bench.race(call("a", 1), contenders, flops=6e9)
    contenders = [measure.Contender("cost", call("b", 1), measure.Goal(most=0.2), 0.5, True)]
    bench.race(call("a", 1), contenders)
    gain, cost = bench.results
    assert (gain["lowest"], gain["ratio"], gain["highest"]) == (3.0, 3.5, 4.0)
    assert (gain["met"], gain["goal"], gain["clock"]) == (True, ">= 3.5, aim 4", "wall")
    assert gain["gflops"] == 2.0
    assert (cost["lowest"], cost["highest"], cost["met"]) == (0.5, 2 / 3, False)
    assert cost["of"] == "uhn / contender"
