"""The experiments of the paper: their grids, and their rows against oracles of other hands."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reference_published as port
from test_capacity import environment, timeless
from uhn import datasets
from uhn.experiments import capacity, default_threshold, millidge2022, reproduce
from uhn.experiments.millidge2022 import EXPERIMENTS, _parts
from uhn.experiments.results import BASELINE, BOTTOM_HALF, INDEX, PATTERNS, Row
from uhn.experiments.tasks import Images, as_images, cell_rng

#: The grids of the published plotting code: name, x axis, sizes, levels, thresholds.
SIZES = [2, 5, 10, 20, 50, 100, 200, 300, 500, 700, 1000]
TENTHS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
GRIDS: dict[str, tuple[str, list[int], list[float], list[float]]] = {
    "similarity": ("n_patterns", SIZES, [0.5], [60.0]),
    "separation": ("n_patterns", [5, 7, *SIZES[2:]], [0.5], [60.0]),
    "noise": ("level", [100], [0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5], [60.0]),
    "masking": ("level", [50], TENTHS, [60.0]),
    "random-mask": ("level", [300], TENTHS[:7], [60.0]),
    "inpaint": ("level", [300], TENTHS[:7], [60.0]),
    "threshold": ("threshold", [250], [0.5], [1, 10, 25, 50, 100, 150, 200, 300, 500]),
    "hetero": ("n_patterns", SIZES, [0.3], [60.0]),
    "hetero-binary": ("n_patterns", [2, 5, 10, 20, 30, 50], [1e-7], [60.0]),
}
KINDS = {
    "similarity": "gaussian",
    "separation": "mask",
    "noise": "gaussian",
    "masking": "mask",
    "random-mask": "random mask",
    "inpaint": "inpaint",
    "threshold": "mask",
    "hetero": "gaussian",
    "hetero-binary": "gaussian",
}


@functools.cache
def glyphs() -> datasets.Dataset:
    """Few images, so that the sizes that fit are small."""
    return datasets.load("glyphs", n_images=120)


@functools.cache
def everything() -> millidge2022.Reproduction:
    """All experiments that fit."""
    names = [name for name in EXPERIMENTS if name not in ("random-mask", "inpaint")]
    names.remove("threshold")
    return reproduce(names, dataset=glyphs(), n_runs=1, seed=5, progress=False)


# ------------------------------------------------------------------------------------- plans --


def test_the_grids_are_the_published_ones() -> None:
    parts = [part for name in EXPERIMENTS for part in _parts(name, 784)]
    assert [part.name for part in parts] == list(GRIDS)
    for part in parts:
        x, sizes, levels, thresholds = GRIDS[part.name]
        assert part.x == x
        assert list(part.sizes) == sizes
        assert [damage.level for damage in part.damages] == levels
        assert {damage.kind for damage in part.damages} == {KINDS[part.name]}
        assert list(part.thresholds) == thresholds
    assert millidge2022.N_RUNS == 5
    six = ["euclidean", "manhattan", "normalized_dot", "kl", "reverse_kl", "jensen_shannon"]
    by_name = {part.name: part for part in parts}
    assert list(by_name["similarity"].similarities[:6]) == six
    for name in ("noise", "masking"):
        assert list(by_name[name].similarities) == six
    for name in ("random-mask", "inpaint", "threshold"):
        assert list(by_name[name].similarities) == six[:3]
    separations = {one.separation for one in by_name["separation"].equations("published")}
    assert separations == {
        "log", "identity", "softmax", "polynomial:2", "polynomial:3", "sqrt", "polynomial:4",
        "polynomial:10", "max", BASELINE,
    }  # fmt: skip
    for name in ("hetero", "hetero-binary"):
        assert by_name[name].projections == (PATTERNS, BOTTOM_HALF)
    # Of Tiny ImageNet's images the similarity experiment takes both 60 and 60 * 784 / D.
    assert _parts("similarity", 12288)[0].thresholds == (3.828125, 60.0)


def test_published_images_are_damaged_in_the_wrong_layout_and_grey_ones_are_black() -> None:
    rng = np.random.default_rng(0)
    rows = rng.random((4, 60), dtype=np.float32)
    grey = np.array([False, True, False, False])
    images = Images(rows, (5, 4, 3), grey)
    np.testing.assert_array_equal(images.stored(1, 2, "clean"), rows[1:3])
    black = images.stored(1, 2, "published")
    assert not black[0].any()
    np.testing.assert_array_equal(black[1], rows[2])
    hwc = Images(rows, (6, 10, 1))
    assert hwc.layout("clean") == (6, 10, 1) and hwc.layout("published") == (1, 6, 10)
    assert Images(rows, (3, 4, 5)).layout("published") == (3, 4, 5)
    assert Images(rows, (6, 10)).layout("published") == (6, 10)


# -------------------------------------------------------------------------------------- rows --


def test_every_row_of_every_experiment() -> None:
    """Published rows against an independent port, one query at a time; clean rows against
    `capacity`, which has a slow loop of its own to answer to."""
    data = glyphs()
    n_rows = 0
    for name, result in everything().results.items():
        part = next(p for e in EXPERIMENTS for p in _parts(e, 256) if p.name == name)
        sizes = [n for n in part.sizes if n <= 120]
        rows = {
            (r.similarity, r.separation, r.projection, r.n_patterns, r.level, r.threshold): r
            for r in result.rows
            if r.procedure == "published"
        }
        assert len(rows) == sum(r.procedure == "published" for r in result.rows)
        for n in sizes:
            if n > 20 and name not in ("noise", "masking"):
                continue
            for damage in part.damages:
                stored = data.images[:n]
                if part.binary:
                    queries = port.bipolar(np.ones((n, 256)))
                    stored = port.bipolar(stored.astype(np.float64))
                else:
                    rng = cell_rng(5, damage.kind, damage.level, 0, n)
                    queries = damage(stored, (16, 16), rng).astype(np.float64)
                    stored = stored.astype(np.float64)
                for one in part.equations("published"):
                    if one.separation == BASELINE:
                        continue
                    values = stored
                    if one.projection == BOTTOM_HALF:
                        values = data.images[:n].astype(np.float64).reshape(n, 16, 16)
                        values[:, :8] = 0
                        values = values.reshape(n, 256)
                        if part.binary:
                            values = port.bipolar(values)
                    outcomes = [
                        port.trial(
                            stored,
                            query,
                            value,
                            one.similarity,
                            one.separation,
                            values=values,
                            binary=part.binary,
                        )
                        for query, value in zip(queries, values, strict=True)
                    ]
                    for threshold in part.thresholds:
                        row = rows[
                            one.similarity,
                            one.separation,
                            one.projection,
                            n,
                            damage.level,
                            threshold,
                        ]
                        if part.binary and n % 2 == 0:
                            # Votes that are level are decided by rounding.
                            continue
                        n_rows += 1
                        expected = sum(error <= threshold for error, _ in outcomes)
                        assert row.correct_threshold == expected, row
                        right = [
                            winner >= 0 and np.array_equal(values[winner], values[i])
                            for i, (_, winner) in enumerate(outcomes)
                        ]
                        assert row.correct_index == sum(right), row
                        assert row.n_trials == n
    # 2 x 4 x 7 by size, 4 x 9 separations, 8 and 9 levels x 6, 4 x 2 projections, and 2 of
    # the binary network, whose votes are level only where patterns are even in number.
    assert n_rows == 56 + 36 + 48 + 54 + 8 + 2


def test_clean_rows_are_those_of_ones_own_study() -> None:
    data = glyphs()
    clean = {
        (row.similarity, row.separation, row.n_patterns): row
        for row in everything().results["similarity"].rows
        if row.procedure == "clean"
    }
    own = capacity(
        data,
        similarities=millidge2022.SIX,
        sizes=[5, 20, 100],
        n_runs=1,
        seed=5,
        corruption="gaussian:0.5",
        progress=False,
    )
    assert len(own.rows) == 21
    for row in own.rows:
        other = clean[row.similarity, row.separation, row.n_patterns]
        assert (row.correct_threshold, row.correct_index) == (
            other.correct_threshold,
            other.correct_index,
        )
        assert other.threshold == default_threshold(256)


def test_every_query_of_the_published_binary_network_is_the_same() -> None:
    """So each memory gives one answer, which is the nearest of one pattern and its copies."""
    result = everything().results["hetero-binary"]
    rows = [row for row in result.rows if row.procedure == "published"]
    assert len(rows) == 6 * 2
    assert all(row.correct_index <= 1 for row in rows)
    clean = [row for row in result.rows if row.procedure == "clean" and row.n_patterns == 2]
    assert all(row.correct_index == 2 for row in clean)


def test_doubly_inverted_jensen_shannon_finds_the_worst() -> None:
    curves = everything().results["masking"].curves
    published = {c.similarity: c.points for c in curves("published", INDEX)}
    clean = {c.similarity: c.points for c in curves("clean", INDEX)}
    assert published["jensen_shannon"][0].fraction == 0
    assert clean["jensen_shannon"][0].fraction == 1


def wanted(strip: Any) -> Any:
    return strip.originals if strip.targets is None else strip.targets


def test_pictures_and_differences() -> None:
    again = everything()
    titles = [strip.title for strip in again.pictures]
    assert len(titles) == 14 and len(set(titles)) == 14
    for strip in again.pictures:
        n = len(strip.columns)
        assert n >= 1 and strip.caption
        assert strip.originals.shape == strip.queries.shape == strip.results.shape == (n, 256)
        assert strip.correct is not None and len(strip.correct) == n
        if "squared error" in strip.title:
            continue  # mixtures, which can be nearest to the right one
        for original, result, right in zip(
            strip.originals if strip.targets is None else strip.targets,
            strip.results,
            strip.correct,
            strict=True,
        ):
            if right:
                gaps = ((result - wanted(strip)) ** 2).sum(axis=1)
                assert np.array_equal(wanted(strip)[gaps.argmin()], original), strip.title
            if "Manhattan" in strip.title:
                assert right == np.allclose(original, result, atol=1e-3), strip.title
    # The published strip of noise levels is a mask, whose rows beyond the image wrap around.
    first = again.pictures[0]
    assert first.columns == ("0.05", "0.1", "0.2", "0.3", "0.5", "0.8", "1", "1.5")
    rows = first.queries.reshape(8, 16, 16)
    kept = [15, 14, 12, 11, 8, 3, 0]
    for query, original, n in zip(rows, first.originals.reshape(8, 16, 16), kept, strict=False):
        np.testing.assert_array_equal(query[:n], original[:n])
        assert not query[n:].any()
    np.testing.assert_array_equal(rows[7][:8], first.originals.reshape(8, 16, 16)[7][:8])
    assert len({difference.name for difference in again.differences}) >= 12


# ----------------------------------------------------------------------------------- running --


def small(**options: Any) -> millidge2022.Reproduction:
    defaults: dict[str, Any] = {"dataset": glyphs(), "n_runs": 2, "progress": False}
    return reproduce("masking", **(defaults | options))


def test_nothing_is_computed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = small(out=tmp_path, procedure="clean")
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert len(lines) == len(first.results["masking"].rows) == 9 * 6 * 2
    both = small(out=tmp_path)
    assert [r for r in both.results["masking"].rows if r.procedure == "clean"] == [
        *first.results["masking"].rows
    ]
    more = (tmp_path / "results.jsonl").read_text().splitlines()
    assert more[: len(lines)] == lines and len(more) == 2 * len(lines)
    monkeypatch.setattr(millidge2022.Task, "run", None)
    assert small(out=tmp_path).results["masking"].rows == both.results["masking"].rows


def test_two_workers_make_the_same_rows() -> None:
    one, two = small(), small(n_workers=2)
    assert [*map(timeless, one.results["masking"].rows)] == [
        *map(timeless, two.results["masking"].rows)
    ]


def test_few_images_leave_out_large_memories() -> None:
    note = everything().results["similarity"].note
    assert "memories of more than 100 left out: 120 images" in note
    with pytest.raises(ValueError, match="'random-mask' needs 300 images"):
        reproduce("random-mask", dataset=glyphs(), n_runs=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experiments": "similarities"}, "similarity, separation"),
        ({"procedure": "dirty"}, "both, published or clean"),
        ({"n_runs": 0}, "n_runs"),
        ({"seed": -1}, "seed"),
        ({"dataset": "imagenet"}, "there are"),
    ],
)
def test_bad_arguments(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reproduce(**({"dataset": "glyphs", "out": tmp_path / "x"} | options))
    assert not (tmp_path / "x").exists()


# ------------------------------------------------------------------------------ command line --


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "uhn", "reproduce", *arguments]


def rows_of(path: Path) -> list[Row]:
    return [Row(**json.loads(line)) for line in path.read_text().splitlines()]


def test_command(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    done = subprocess.run(
        command("masking", "--runs", "1", "--out", "deep/er", "--json"),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert set(document["results"]) == {"masking"}
    assert len(document["differences"]) >= 12
    out = tmp_path / "deep" / "er"
    assert len(rows_of(out / "results.jsonl")) == 2 * 9 * 6
    kinds = {Path(name).suffix for name in document["files"]}
    assert kinds == {".jsonl", ".csv", ".png", ".svg", ".html"}
    assert all((tmp_path / name).stat().st_size > 0 for name in document["files"])


@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
def test_ctrl_c_and_again(tmp_path: Path) -> None:
    """Stopped in the middle it exits with 130; called again it ends with the same rows."""
    arguments = ["similarity", "--procedure", "clean", "--runs", "2", "--seed", "3"]
    arguments += ["--out", "x", "--json"]
    path = tmp_path / "x" / "results.jsonl"
    process = subprocess.Popen(
        command(*arguments),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
        env=environment(),
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= 20:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    n = len(rows_of(path))
    assert f"{n} finished rows; the same command goes on from there" in stderr
    again = reproduce(
        "similarity", procedure="clean", n_runs=2, seed=3, out=tmp_path / "x", progress=False
    )
    rows = rows_of(path)
    assert n < len(rows) == 11 * 2 * 8
    assert sorted(map(str, rows)) == sorted(map(str, again.results["similarity"].rows))
    fresh = reproduce("similarity", procedure="clean", n_runs=2, seed=3, progress=False)
    assert [*map(timeless, fresh.results["similarity"].rows)] == [
        *map(timeless, again.results["similarity"].rows)
    ]


# ------------------------------------------------------------------------------- real images --


def test_grey_images_ruin_the_published_dot_product_on_tiny_imagenet() -> None:
    """One black pattern makes every score NaN, and `max` then answers with pattern 0."""
    try:
        data = datasets.load("tiny-imagenet", n_images=100)
    except (datasets.DatasetNotFoundError, ImportError) as error:
        pytest.skip(f"Tiny ImageNet cannot be read: {str(error).splitlines()[0]}")
    assert data.grey is not None and data.grey.any()
    part = dataclasses.replace(_parts("hetero", 12288)[0], sizes=(100,))
    images = as_images(data, None)
    right = {}
    for procedure in ("published", "clean"):
        (task,) = millidge2022._tasks(part, procedure, images, data.name, 1, 0)
        cells = list(task.run(images, set(task.keys())))
        right[procedure] = cells[0][0].correct_index
    assert right["published"] <= 2  # pattern 0, and a black one if it is a copy
    assert right["clean"] > 50
