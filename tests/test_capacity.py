"""The capacity experiment: intervals, seeds, an independent slow loop, and the command line."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import uhn
from uhn import datasets
from uhn.experiments import (
    Gaussian,
    Mask,
    capacity,
    default_threshold,
    wilson,
)
from uhn.experiments.clean import (
    _DISTANCES,
    _POWERS,
    _WITH_BETA,
    EPS,
    SEPARATIONS,
    SIMILARITIES,
    equation,
)
from uhn.experiments.results import BASELINE, COLUMNS, INDEX, Result, Row
from uhn.experiments.tasks import cell_rng

Z = 1.959963984540054
GLYPHS = datasets.load("glyphs", n_images=200)


# --------------------------------------------------------------------------------- intervals --


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
def test_wilson_by_hand(n: int) -> None:
    """Nothing correct: [0, z^2/(n + z^2)]; all: its mirror image; half: see below."""
    assert wilson(0, n) == (0.0, pytest.approx(Z**2 / (n + Z**2), rel=1e-14))
    assert wilson(n, n) == (pytest.approx(n / (n + Z**2), rel=1e-14), 1.0)
    if n % 2 == 0:
        # 1/2 -+ z / (2 sqrt(n + z^2))
        half = Z / (2 * math.sqrt(n + Z**2))
        assert wilson(n // 2, n) == pytest.approx((0.5 - half, 0.5 + half), rel=1e-13)


@pytest.mark.oracle
@pytest.mark.parametrize("n", [1, 3, 17, 400])
def test_wilson_against_scipy(n: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    for k in range(0, n + 1, max(1, n // 20)):
        expected = stats.binomtest(k, n).proportion_ci(method="wilson")
        assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-13)
        low, high = wilson(k, n)
        assert 0 <= low <= k / n <= high <= 1


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_wilson_refuses_what_is_no_fraction(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="trials"):
        wilson(k, n)


# --------------------------------------------------------------------------------- equations --


def test_equations_of_the_defaults() -> None:
    for similarity in SIMILARITIES:
        keywords = equation(similarity)
        assert keywords.get("eps", EPS) == EPS
        assert not {"transform", "normalize_scores"} & set(keywords)
        uhn.Memory(**keywords)
    for separation in SEPARATIONS:
        uhn.Memory(**equation("manhattan", separation))
    assert equation("manhattan", "polynomial:10") == {
        "similarity": "manhattan",
        "separation": "polynomial",
        "degree": 10.0,
        "transform": "inverse",
        "eps": EPS,
        "normalize_scores": True,
        "normalize": "sum",
    }
    assert equation("manhattan", "softmax")["beta"] == 1000
    assert equation("manhattan", "softmax:8")["beta"] == 8


def test_signed_scores_are_never_divided_by_their_sum() -> None:
    """A distance whose scores are to sum to 1 is a reciprocal, for every row of both tables."""
    for similarity in uhn.similarities():
        for separation in uhn.separations():
            keywords = equation(similarity, separation)
            uhn.Memory(**keywords)
            if keywords.get("normalize_scores") and similarity in _DISTANCES:
                assert keywords["transform"] == "inverse"
            if separation in (*_POWERS, *_WITH_BETA):
                assert keywords["normalize_scores"]


def test_distances_are_those_of_the_table() -> None:
    for similarity in uhn.similarities():
        if similarity in _DISTANCES:
            uhn.Memory(similarity=similarity, transform="negative")
        else:
            with pytest.raises(ValueError, match="transform"):
                uhn.Memory(similarity=similarity, transform="inverse")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("manhatten", "max"), "unknown similarity 'manhatten'; there are: .*manhattan"),
        (("dot", "maximum"), "unknown separation 'maximum'; there are: .*max"),
        (("dot", "max:3"), "takes no value"),
        (("dot", "softmax:hot"), "must be a number"),
        (("dot", "topk:2.5"), "must be a number"),
    ],
)
def test_bad_names(names: tuple[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        equation(*names)


def test_thresholds() -> None:
    assert default_threshold(784) == 60
    assert default_threshold(3072) == 15.3125
    assert default_threshold(12288) == 3.828125
    assert default_threshold(256) == pytest.approx(60 * 256 / 784)


# ------------------------------------------------------------------------------- measurement --


@pytest.mark.parametrize("similarity", ["manhattan", "euclidean", "cosine", "kl"])
def test_without_damage_everything_comes_back(similarity: str) -> None:
    result = capacity(
        GLYPHS, similarities=[similarity], sizes=[1, 7, 40], n_runs=3, corruption="gaussian:0"
    )
    for row in result.rows:
        if row.separation != BASELINE:
            assert row.correct_index == row.correct_threshold == row.n_trials == row.n_patterns


def test_the_mean_image_fools_the_threshold_and_not_the_index() -> None:
    images = np.full((20, 16), 0.5, dtype=np.float32)
    images += np.linspace(-0.01, 0.01, 20, dtype=np.float32)[:, None]
    result = capacity(
        images, similarities=["euclidean"], sizes=[20], n_runs=1, corruption="gaussian:0"
    )
    mean = next(row for row in result.rows if row.separation == BASELINE)
    assert mean.accuracy_threshold == 1
    assert mean.correct_index == 1


def test_a_copy_counts_as_the_image() -> None:
    images = np.repeat(GLYPHS.images[:5], 2, axis=0)
    result = capacity(
        images, similarities=["manhattan"], sizes=[10], n_runs=1, corruption="gaussian:0"
    )
    assert result.rows[0].correct_index == 10


def timeless(row: Row) -> Row:
    """A row as it is whenever it is computed."""
    return dataclasses.replace(row, seconds=0.0)


def slow_score(similarity: str, row: np.ndarray, query: np.ndarray) -> float:
    p, r = row / row.sum(), query / query.sum()
    if similarity == "dot":
        return row @ query
    if similarity == "cosine":
        return row @ query / math.sqrt(row @ row) / math.sqrt(query @ query)
    if similarity == "normalized_dot":
        return p @ r
    if similarity == "euclidean":
        return -math.sqrt(((row - query) ** 2).sum())
    if similarity == "manhattan":
        return -np.abs(row - query).sum()
    p, r = (p + 1e-6) / (p + 1e-6).sum(), (r + 1e-6) / (r + 1e-6).sum()
    if similarity == "kl":
        return -(p * np.log(p / r)).sum()
    if similarity == "reverse_kl":
        return -(r * np.log(r / p)).sum()
    assert similarity == "jensen_shannon"
    u = (p + r) / 2
    return -((p * np.log(p / u)).sum() + (r * np.log(r / u)).sum()) / 2


def slow_weights(separation: str, scores: np.ndarray) -> np.ndarray:
    if separation == "max":
        return (np.arange(len(scores)) == scores.argmax()).astype(np.float64)
    if (scores < 0).any():
        scores = 1 / (-scores + 1e-6)
    s = scores / scores.sum()
    name, _, value = separation.partition(":")
    if name == "softmax":
        weights = np.exp(1000 * (s - s.max()))
    else:
        weights = s ** {"identity": 1, "sqrt": 0.5, "polynomial": float(value or 0)}[name]
    return weights / weights.sum()


def slow_cell(
    patterns: np.ndarray,
    queries: np.ndarray,
    similarity: str,
    separation: str,
    threshold: float,
) -> tuple[int, int]:
    """One cell, a query at a time, in float64, from the formulas alone."""
    memory = patterns.astype(np.float64)
    by_threshold = by_index = 0
    for own, query in enumerate(queries.astype(np.float64)):
        scores = np.array([slow_score(similarity, row, query) for row in memory])
        answer = slow_weights(separation, scores) @ memory
        by_threshold += int(((answer - memory[own]) ** 2).sum() <= threshold)
        by_index += int(((memory - answer) ** 2).sum(axis=1).argmin() == own)
    return by_threshold, by_index


@pytest.mark.parametrize(
    ("similarities", "separations", "damage"),
    [
        (SIMILARITIES, ["max"], Gaussian(0.5)),
        (["manhattan"], SEPARATIONS, Mask(0.5)),
        (["cosine", "euclidean"], ["softmax", "polynomial:3"], Gaussian(0.5)),
    ],
)
def test_against_a_slow_loop(
    similarities: list[str], separations: list[str], damage: Any
) -> None:
    threshold, n_runs, sizes = 5.0, 2, (3, 24)
    result = capacity(
        GLYPHS,
        similarities=similarities,
        separations=separations,
        sizes=sizes,
        corruption=damage,
        n_runs=n_runs,
        seed=3,
        threshold=threshold,
    )
    rows = {(r.similarity, r.separation, r.n_patterns, r.run): r for r in result.rows}
    assert len(rows) == len(result.rows)
    assert len(rows) == (len(similarities) * len(separations) + 1) * len(sizes) * n_runs
    for run in range(n_runs):
        for n in sizes:
            stored = GLYPHS.images[run * 24 : run * 24 + n]
            rng = cell_rng(3, damage.kind, 0.5, run, n)
            queries = damage(stored, (16, 16), rng)
            for similarity in similarities:
                for separation in separations:
                    row = rows[similarity, separation, n, run]
                    expected = slow_cell(stored, queries, similarity, separation, threshold)
                    assert (row.correct_threshold, row.correct_index) == expected, row
                    assert row.n_trials == n
                    assert row.accuracy_index == row.correct_index / n
                    assert row.accuracy_threshold == row.correct_threshold / n
                    assert (row.corruption, row.level) == (damage.kind, 0.5)


def test_max_by_nearest_is_max_by_retrieve() -> None:
    """The winner's pattern, which the experiment takes for the answer, is the answer."""
    stored = GLYPHS.images[:100]
    queries = Gaussian(0.5)(stored, (16, 16), cell_rng(0))
    for similarity in SIMILARITIES:
        memory = uhn.Memory(stored, **equation(similarity))
        winners = memory.nearest(queries)[0][:, 0]
        np.testing.assert_array_equal(memory.retrieve(queries), stored[winners])


def test_a_cell_depends_on_its_coordinates_alone() -> None:
    """Other sizes, runs, similarities, and any order: the same rows."""
    options: dict[str, Any] = {"corruption": "gaussian:0.8", "seed": 11}
    whole = capacity(
        GLYPHS, similarities=["dot", "cosine"], sizes=[5, 20, 50], n_runs=3, **options
    )
    part = capacity(
        GLYPHS, similarities=["cosine", "kl", "dot"], sizes=[50, 20], n_runs=2, **options
    )
    common = set(map(timeless, whole.rows)) & set(map(timeless, part.rows))
    assert len(common) == 2 * 2 * 2 + 2 * 2  # two similarities and the baseline
    options["seed"] = 12
    other = capacity(
        GLYPHS, similarities=["dot", "cosine"], sizes=[5, 20, 50], n_runs=3, **options
    )
    assert [r.correct_index for r in other.rows] != [r.correct_index for r in whole.rows]


def test_cell_rng_is_the_same_in_another_process() -> None:
    code = (
        "from uhn.experiments.tasks import cell_rng\nprint(cell_rng(5, 'a', 1).integers(1e9))"
    )
    env = environment() | {"PYTHONHASHSEED": "123"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    assert int(done.stdout) == cell_rng(5, "a", 1).integers(1e9)
    draws = {
        int(cell_rng(*key).integers(2**62)) for key in [(0, "a", 1), (1, "a", 1), (0, "a", 2)]
    }
    assert len(draws) == 3


def test_runs_use_images_of_their_own() -> None:
    images = np.concatenate([np.zeros((4, 9)), np.ones((4, 9))]).astype(np.float32)
    result = capacity(
        images, similarities=["euclidean"], sizes=[4], n_runs=2, corruption="gaussian:0"
    )
    # Both runs hold copies of a single image, so everything counts as right.
    assert [row.accuracy_index for row in result.rows] == [1.0] * 4


def test_mappings_are_used_as_they_are() -> None:
    result = capacity(
        GLYPHS,
        similarities=["manhattan"],
        separations=["max", {"separation": "softmax", "beta": 5.0}],
        sizes=[10],
        n_runs=1,
    )
    rows = result.rows
    assert [row.separation for row in rows] == ["max", "softmax beta=5.0", BASELINE]
    assert rows[1].equation == "beta=5.0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": []}, "sizes"),
        ({"sizes": [0, 5]}, "sizes"),
        ({"n_runs": 0}, "n_runs"),
        ({"seed": -1}, "seed"),
        ({"corruption": "gaussian:-0.1"}, "at least 0"),
        ({"corruption": "gaussian:nan"}, "finite"),
        ({"corruption": "mask:1.5"}, "from 0 to 1"),
        ({"corruption": "blur"}, "gaussian, mask"),
        ({"corruption": []}, "one kind"),
        ({"corruption": ["mask:0.1", "gaussian:0.1"]}, "one kind"),
        ({"corruption": ["mask:0.1", "mask:0.1"]}, "twice"),
        ({"corruption": ["mask:0.1", "mask:0.2"], "sizes": [2, 5]}, "one size"),
        ({"criterion": "eye"}, "criterion"),
        ({"sizes": [101], "n_runs": 2}, "need 202 images, there are 200"),
        ({"threshold": -1.0}, "threshold"),
        ({"similarities": []}, "at least one"),
        ({"similarities": ["dot", "dot"]}, "twice"),
        ({"similarities": ["nope"]}, "there are"),
        ({"separations": [{"beta": 1.0}]}, "must have the key 'separation'"),
        ({"separations": [{"separation": "max", "beta": 1.0}]}, "beta"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    defaults: dict[str, Any] = {"sizes": [5], "n_runs": 1, "similarities": ["dot"]}
    with pytest.raises(ValueError, match=message):
        capacity(GLYPHS, **(defaults | options))


def test_bad_patterns() -> None:
    good = np.zeros((5, 12), dtype=np.float32)
    small: dict[str, Any] = {"sizes": [2], "n_runs": 1, "similarities": ["euclidean"]}
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        capacity(good + 2, **small)
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        capacity(np.full((5, 12), np.nan), **small)
    with pytest.raises(ValueError, match="real numbers"):
        capacity(np.zeros(12), **small)
    with pytest.raises(ValueError, match="real numbers"):
        capacity(np.array([["a", "b"]] * 5), **small)
    with pytest.raises(ValueError, match="needs shape="):
        capacity(good, corruption="mask", **small)
    with pytest.raises(ValueError, match="does not fit"):
        capacity(good, shape=(5, 5), **small)
    capacity(good.reshape(5, 4, 3), corruption="mask", **small)
    capacity(good, shape=(4, 3), corruption="mask", **small)


# ----------------------------------------------------------------------------------- results --


@pytest.fixture(scope="module")
def result() -> Any:
    return capacity(GLYPHS, similarities=["manhattan", "dot"], sizes=[5, 20], n_runs=2, seed=1)


def test_curves_pool_the_runs(result: Any) -> None:
    (threshold,) = result.thresholds()
    n_points = 0
    for criterion, column in ((threshold, "correct_threshold"), (INDEX, "correct_index")):
        for curve in result.curves(criterion=criterion):
            for point in curve.points:
                rows = [
                    row
                    for row in result.rows
                    if (row.similarity, row.separation) == (curve.similarity, curve.separation)
                    and row.n_patterns == point.x
                ]
                assert len(rows) == point.n_runs == 2
                assert point.n_trials == 2 * point.x
                assert point.correct == sum(getattr(row, column) for row in rows)
                assert (point.low, point.high) == wilson(point.correct, point.n_trials)
                assert point.fraction == point.correct / point.n_trials
                fractions = [getattr(row, column) / row.n_trials for row in rows]
                assert point.sd == pytest.approx(
                    abs(fractions[0] - fractions[1]) / 2, abs=1e-15
                )
                n_points += 1
    assert n_points == 2 * 3 * 2


def test_a_cell_judged_by_two_thresholds_counts_once_by_index(result: Any) -> None:
    more = [dataclasses.replace(row, threshold=1e9, correct_threshold=0) for row in result.rows]
    both = Result(rows=(*result.rows, *more), shape=(16, 16))
    assert both.curves() == result.curves()
    assert both.thresholds() == (*result.thresholds(), 1e9)
    assert all(p.correct == 0 for c in both.curves(criterion=1e9) for p in c.points)
    sweep = Result(rows=(*result.rows, *more), x="threshold")
    assert [point.x for point in sweep.curves()[0].points] == [*result.thresholds(), 1e9]


def test_levels_are_an_axis() -> None:
    """More noise, fewer images: and the rows of a level are those of that level alone."""
    levels = ["gaussian:0.2", "gaussian:0.8", "gaussian:2"]
    options: dict[str, Any] = {"similarities": ["dot"], "sizes": [30], "n_runs": 2, "seed": 3}
    sweep = capacity(GLYPHS, corruption=levels, **options)
    assert (sweep.x, sweep.x_label) == ("level", "Standard deviation of the noise")
    points = sweep.curves()[0].points
    assert [point.x for point in points] == [0.2, 0.8, 2.0]
    assert points[0].fraction > points[2].fraction
    alone = capacity(GLYPHS, corruption=levels[1], **options)
    assert set(map(timeless, alone.rows)) <= set(map(timeless, sweep.rows))
    assert "30 patterns" in sweep.title()


def test_pandas_and_html(result: Any) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = result.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert frame["correct_index"].tolist() == [row.correct_index for row in result.rows]
    assert frame["index_low"][0] == wilson(result.rows[0].correct_index, 5)[0]
    page = result._repr_html_()
    assert page.count("<table>") == 2
    assert f"<td>{result.curves()[0].points[0].fraction:.3f}</td>" in page
    nasty = [dataclasses.replace(row, dataset="<script>") for row in result.rows]
    assert "<script>" not in Result(rows=tuple(nasty))._repr_html_()


def test_one_criterion(result: Any) -> None:
    by_index = dataclasses.replace(result, criteria=("index",))
    assert "threshold" not in by_index.table()
    assert by_index.panels("clean") == (INDEX,)
    assert result.panels("clean") == (*result.thresholds(), INDEX)


def test_rows_in_a_file_are_not_computed_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.jsonl"
    options: dict[str, Any] = {"similarities": ["dot", "cosine"], "n_runs": 2, "out": path}
    first = capacity(GLYPHS, sizes=[3, 6], **options)
    made: list[Row] = []
    again = capacity(GLYPHS, sizes=[3, 6], on_row=made.append, **options)
    assert made == [] and again.rows == first.rows  # the seconds too
    capacity(GLYPHS, sizes=[6], seed=1, on_row=made.append, **options)
    assert len(made) == (2 + 1) * 2
    # Other sizes give a run other images, and other images are other rows.
    made.clear()
    capacity(GLYPHS, sizes=[3, 10], on_row=made.append, **options)
    assert {(row.n_patterns, row.run) for row in made} == {(3, 1), (10, 0), (10, 1)}
    other = np.roll(GLYPHS.images, 1, axis=1)
    rolled = capacity(other, sizes=[3, 6], name="glyphs", shape=(16, 16), **options)
    assert [row.key for row in rolled.rows] != [row.key for row in first.rows]
    assert capacity(GLYPHS, sizes=[3, 6], **options).rows == first.rows
    path.write_text(path.read_text().replace(uhn.__version__, "0.0.0"))
    with pytest.raises(ValueError, match="version"):
        capacity(GLYPHS, sizes=[3, 6], **options)


def test_csv_reads_back(result: Any, tmp_path: Path) -> None:
    result.to_csv(tmp_path / "rows.csv")
    with open(tmp_path / "rows.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    bounds = ("threshold_low", "threshold_high", "index_low", "index_high")
    assert tuple(rows[0]) == (*COLUMNS, *bounds)
    assert len(rows) == len(result.rows) == 12
    for text, row in zip(rows, result.rows, strict=True):
        for column in COLUMNS:
            value = getattr(row, column)
            assert type(value)(text[column]) == value
        expected = (
            *wilson(row.correct_threshold, row.n_trials),
            *wilson(row.correct_index, row.n_trials),
        )
        assert tuple(float(text[name]) for name in bounds) == expected


def test_table_and_dict(result: Any) -> None:
    table = result.table()
    assert "squared error <= 19.59" in table
    assert table.count("manhattan") == table.count("mean image") == 2
    assert "Gaussian noise, s.d. 0.5" in table
    document = json.loads(json.dumps(result.to_dict()))
    assert [panel["criterion"] for panel in document["panels"]] == [*result.thresholds(), INDEX]
    assert document["panels"][0]["curves"][0]["similarity"] == "manhattan"


def test_the_divergences_eps_is_in_the_csv() -> None:
    rows = capacity(GLYPHS, similarities=["kl"], sizes=[4], n_runs=1).rows
    assert rows[0].equation == "eps=1e-06"


# ------------------------------------------------------------------------------ command line --


def environment(**extra: str) -> dict[str, str]:
    """The environment of this process, in which `import uhn` finds the same package."""
    package = Path(uhn.__file__).resolve().parent.parent
    path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH", "")]))
    kept = {key: value for key, value in os.environ.items() if key != "UHN_DATA"}
    return kept | {"PYTHONPATH": path} | extra


def run(*arguments: str, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "uhn", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(**extra),
        timeout=120,
    )


SMALL = ("capacity", "--sizes", "2,10", "--runs", "2")


def test_command_writes_table_csv_and_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    done = run(*SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "jensen_shannon" in done.stdout
    assert "capacity-glyphs-similarity.png" in done.stdout
    with open(tmp_path / "capacity-glyphs-similarity.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == (len(SIMILARITIES) + 1) * 2 * 2
    png = (tmp_path / "capacity-glyphs-similarity.png").read_bytes()
    assert png.startswith(b"\x89PNG")


def test_the_lines_are_the_rows(tmp_path: Path) -> None:
    done = run(*SMALL, "--no-plot", "--out", "deep/er/x", "--seed", "4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "deep/er/x.png").exists()
    images = datasets.load("glyphs", n_images=20)
    rows = capacity(images, sizes=[2, 10], n_runs=2, seed=4).rows
    lines = (tmp_path / "deep/er/x.jsonl").read_text().splitlines()
    assert [timeless(Row(**json.loads(line))) for line in lines] == [*map(timeless, rows)]
    table = without_seconds(tmp_path / "deep/er/x.csv")
    assert [line["correct_index"] for line in table] == [str(row.correct_index) for row in rows]


def without_seconds(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return [row | {"seconds": ""} for row in csv.DictReader(stream)]


def test_vary_separation_as_json(tmp_path: Path) -> None:
    done = run(
        *SMALL, "--vary", "separation", "--separations", "max,polynomial:2,entmax:1.5",
        "--json", "--no-plot", "--threads", "1", "--out", f"{tmp_path}/", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [c["separation"] for c in document["panels"][0]["curves"]] == [
        "max", "polynomial:2", "entmax:1.5", BASELINE,
    ]  # fmt: skip
    assert document["damage"] == "bottom 50 % masked"
    prefix = tmp_path / "capacity-glyphs-separation"
    assert document["files"] == {"jsonl": f"{prefix}.jsonl", "csv": f"{prefix}.csv"}


def test_threads_and_workers_do_not_change_the_csv(tmp_path: Path) -> None:
    for threads in ("1", "2", "3"):
        arguments = ("--no-plot", "--threads", threads, "--out", threads)
        assert run(*SMALL, *arguments, cwd=tmp_path).returncode == 0
    assert (
        run(*SMALL, "--no-plot", "--workers", "2", "--out", "w", cwd=tmp_path).returncode == 0
    )
    one, *others = (without_seconds(tmp_path / f"{name}.csv") for name in "123w")
    assert len(one) > 0 and all(other == one for other in others)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "COMMAND"),
        (("capcity",), "capacity"),
        (("capacity", "--dataset", "imagenet"), "glyphs, mnist, fashion-mnist, cifar10"),
        (("capacity", "--similarities", "manhatten"), "manhattan"),
        (("capacity", "--separations", "softmin"), "softmax"),
        (("capacity", "--corruption", "blur"), "mask"),
        (("capacity", "--vary", "level"), "separation"),
        (("capacity", "--sizes", "2,x"), "whole numbers"),
        (("capacity", "--sizes", "0"), "at least 1"),
        (("capacity", "--runs", "0"), "at least 1"),
        (("capacity", "--threads", "0"), "at least 1"),
        (("capacity", "--level", "-1"), "at least 0"),
        (("capacity", "--workers", "0"), "at least 1"),
        (("capacity", "--corruption", "mask:2"), "from 0 to 1"),
        (("reproduce", "similarities"), "similarity, separation, noise"),
        (("reproduce", "--dataset", "imagenet"), "glyphs, mnist"),
        (("reproduce", "--procedure", "dirty"), "published"),
        (("reproduce", "--runs", "0"), "at least 1"),
        (("theory", "hopfeld"), "hopfield"),
        (("theory", "--workers", "0"), "at least 1"),
        (("capacity", "--seed", "-1"), "seed"),
        (("capacity", "--dataset", "mnist", "--data", "nowhere"), "no directory nowhere"),
        (("capacity", "--dataset", "cifar10"), "put cifar10/cifar-10-binary.tar.gz"),
    ],
)
def test_bad_arguments_exit_with_2(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    here = tmp_path / "a" / "b"
    here.mkdir(parents=True)
    done = run(*arguments, cwd=here)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_bad_arguments_leave_no_files(tmp_path: Path) -> None:
    assert run("capacity", "--sizes", "5", "--level", "-1", cwd=tmp_path).returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib(tmp_path: Path) -> None:
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "matplotlib.py").write_text("raise ImportError('not here')\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'blocked')!r})\n"
        "from uhn.__main__ import main\n"
        f"sys.exit(main({[*SMALL, '--out', 'x']!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, cwd=tmp_path, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "pip install 'uhn[plot]'" in done.stderr
    assert "manhattan" in done.stdout
    assert (tmp_path / "x.csv").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
def test_ctrl_c_keeps_the_finished_rows(tmp_path: Path) -> None:
    arguments = ["--sizes", "2,3,4000", "--runs", "3", "--out", "x"]
    process = subprocess.Popen(
        [sys.executable, "-m", "uhn", "capacity", *arguments],
        stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment(),
    )  # fmt: skip
    path = tmp_path / "x.jsonl"
    deadline = time.monotonic() + 60
    # The small sizes are done and the large one is under way.
    small = (len(SIMILARITIES) + 1) * 2 * 3
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_text().count("\n") >= small:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) >= small
    assert f"{len(rows)} finished rows" in stderr
    assert all(row["version"] == uhn.__version__ for row in rows)


def test_progress(tmp_path: Path) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    done = run(*SMALL, "--no-plot", "--progress", cwd=tmp_path)
    assert done.returncode == 0
    assert "100%" in done.stderr
    assert "capacity" in done.stderr


def test_info(tmp_path: Path) -> None:
    done = run("info", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in (*uhn.similarities(), *uhn.separations(), uhn.__version__):
        assert name in done.stdout
    document = json.loads(run("info", "--json", cwd=tmp_path).stdout)
    assert document["version"] == uhn.__version__
    assert set(document["separations"]) == set(uhn.separations())


def test_version(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout.strip() == f"uhn {uhn.__version__}"
