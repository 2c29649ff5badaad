"""Figures of experiments: they are drawn, say what they show, and no name covers another."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uhn import datasets
from uhn.experiments import capacity
from uhn.experiments.clean import SEPARATIONS, SIMILARITIES
from uhn.experiments.results import BASELINE, INDEX, Result, Row
from uhn.plot import (
    COLOURS,
    line_names,
    pairs,
    plot_capacity,
    spread,
)
from uhn.plot._capacity import _look, _plain_ticks

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

GLYPHS = datasets.load("glyphs", n_images=600)
SIZES = [2, 5, 10, 20, 50, 100]
LEVELS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5)
THRESHOLDS = (1.0, 10.0, 25.0, 50.0, 100.0, 150.0, 200.0, 300.0, 500.0)
SIX = ("euclidean", "manhattan", "normalized_dot", "kl", "reverse_kl", "jensen_shannon")


def measured(vary: str) -> Result:
    options: dict[str, Any] = {"sizes": SIZES, "n_runs": 2}
    if vary == "similarity":
        return capacity(GLYPHS, similarities=SIMILARITIES, **options)
    if vary == "separation":
        options |= {"similarities": ["manhattan"], "separations": SEPARATIONS}
        return capacity(GLYPHS, corruption="mask:0.5", **options)
    if vary == "one size":
        return capacity(GLYPHS, sizes=[7], n_runs=1, similarities=["dot"])
    if vary == "level":
        levels = [f"gaussian:{level}" for level in LEVELS]
        return capacity(GLYPHS, sizes=[30], n_runs=2, corruption=levels, similarities=SIX)
    # The worst case for names: all lines end together, and more of them than colours.
    names = ["euclidean", "sqeuclidean", "manhattan", "cosine"]
    separations = ["max", "topk", "softmax"]
    options |= {"similarities": names, "separations": separations}
    return capacity(GLYPHS, corruption="gaussian:0", **options)


def made_up(
    x: str,
    *,
    procedures: tuple[str, ...] = ("published", "clean"),
    similarities: tuple[str, ...] = SIX,
    thresholds: dict[str, tuple[float, ...]] | tuple[float, ...] = (60.0,),
    projections: tuple[str, ...] = ("patterns",),
    baseline: bool = False,
    **more: Any,
) -> Result:
    """Rows of numbers that only look like results: figures do not care where they are from."""
    rng = np.random.default_rng(5)
    rows = []
    lines = [(name, "max", p) for name in similarities for p in projections]
    lines += [("", BASELINE, p) for p in projections if baseline]
    for procedure in procedures:
        judged = thresholds[procedure] if isinstance(thresholds, dict) else thresholds
        cells = itertools.product(
            lines,
            [250] if x != "n_patterns" else SIZES,
            [0.5] if x != "level" else LEVELS,
            range(3),
        )
        for (similarity, separation, projection), n, level, run in cells:
            right = int(rng.integers(n + 1))
            for threshold in judged:
                k = int(rng.integers(n + 1))
                rows.append(
                    Row(
                        experiment="made up",
                        dataset="numbers",
                        procedure=procedure,
                        similarity=similarity,
                        separation=separation,
                        projection=projection,
                        equation="sep_param=1000" if procedure == "published" else "",
                        n_patterns=n,
                        corruption="gaussian fold" if procedure == "published" else "gaussian",
                        level=level,
                        run=run,
                        threshold=threshold,
                        n_trials=n,
                        correct_threshold=k,
                        correct_index=right,
                        accuracy_threshold=k / n,
                        accuracy_index=right / n,
                        data="0" * 16,
                        seed=0,
                        seconds=0.5,
                        version="0",
                    )
                )
    damage = "Gaussian noise, s.d. 0.5, folded (published) or clipped (clean)"
    return Result(tuple(rows), x=x, shape=(3, 32, 32), damage=damage, **more)


CASES: dict[str, Callable[[], Result]] = {
    "similarity": lambda: measured("similarity"),
    "separation": lambda: measured("separation"),
    "one size": lambda: measured("one size"),
    "crowd": lambda: measured("crowd"),
    "level": lambda: measured("level"),
    "one criterion": lambda: made_up("n_patterns", procedures=("clean",), criteria=("index",)),
    "three panels": lambda: made_up(
        "level", procedures=("published",), thresholds=(15.0, 60.0)
    ),
    "thresholds": lambda: made_up("threshold", procedures=("clean",), thresholds=THRESHOLDS),
    "few thresholds": lambda: made_up("threshold", thresholds=(49.0, 50.0, 60.0)),
    "both": lambda: made_up("n_patterns", baseline=True),
    "both, levels": lambda: made_up("level", x_label="Standard deviation of the noise"),
    "both, thresholds": lambda: made_up("threshold", thresholds=THRESHOLDS),
    "other thresholds": lambda: made_up(
        "n_patterns", thresholds={"published": (15.3125, 60.0), "clean": (235.0,)}
    ),
    "a threshold of one": lambda: made_up(
        "n_patterns", thresholds={"published": (15.3125, 60.0), "clean": (60.0,)}
    ),
    "projections": lambda: made_up(
        "n_patterns", similarities=("dot",), projections=("patterns", "lower"), baseline=True
    ),
    "many curves": lambda: made_up(
        "n_patterns", similarities=tuple(f"similarity {i}" for i in range(25)), baseline=True
    ),
    "long names": lambda: made_up(
        "n_patterns", similarities=tuple(f"a similarity with a long name {i}" for i in range(4))
    ),
    "fifteen panels": lambda: made_up(
        "n_patterns", procedures=("clean",), thresholds=tuple(float(t) for t in range(10, 24))
    ),
}


@pytest.fixture(scope="module", params=CASES)
def drawn(request: pytest.FixtureRequest) -> tuple[Result, Any]:
    result = CASES[request.param]()
    return result, result.plot()


def texts(figure: Any, *gids: str) -> list[Any]:
    return list(figure.findobj(lambda artist: artist.get_gid() in gids))


def of_axes(axes: Any, gid: str) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_gid() == gid]


def places(figure: Any) -> list[tuple[float, float]]:
    """Columns and rows of the panels, as left and upper edges."""
    boxes = [axes.get_position() for axes in figure.axes]
    return [(round(box.x0, 6), round(box.y1, 6)) for box in boxes]


def test_it_says_what_it_shows(drawn: tuple[Result, Any]) -> None:
    result, figure = drawn
    expected = [(name, criterion) for pair in pairs(result) for name, criterion in pair.items()]
    assert len(figure.axes) == sum(len(result.panels(name)) for name in result.procedures)
    for axes, (_, criterion) in zip(figure.axes, expected, strict=True):
        title = axes.get_title(loc="left")
        if criterion == INDEX:
            assert "index" in title
        else:
            assert "threshold" in title
            assert ("x" if criterion == "threshold" else f"{criterion:.4g}") in title
        assert axes.get_xscale() == ("linear" if result.x == "level" else "log")
        first = figure.axes[0]
        assert axes is first or axes.get_shared_y_axes().joined(first, axes)
    words = " ".join(text.get_text() for text in figure.texts)
    size = " x ".join(map(str, result.shape))
    for part in (result.dataset, size, f"{result.n_runs} run", "Wilson 95 %"):
        assert part in words


def test_axes_have_names_where_a_row_or_a_column_ends(drawn: tuple[Result, Any]) -> None:
    result, figure = drawn
    default = {"n_patterns": "Patterns stored", "level": "Level of the damage"}
    x_name = result.x_label or default.get(result.x, "Error threshold (largest squared error)")
    where = places(figure)
    for axes, (left, upper) in zip(figure.axes, where, strict=True):
        in_first_column = left == min(place[0] for place in where)
        assert axes.get_ylabel() == ("Fraction of images retrieved" if in_first_column else "")
        below = [other for at, other in where if at == left and other < upper]
        rows = sorted({other for _, other in where}, reverse=True)
        has_next = any(other == rows[rows.index(upper) + 1] for other in below) if below else 0
        assert axes.get_xlabel() == ("" if has_next else x_name)


def test_every_line_is_named_in_every_panel(drawn: tuple[Result, Any]) -> None:
    result, figure = drawn
    expected = [(name, criterion) for pair in pairs(result) for name, criterion in pair.items()]
    for axes, (name, criterion) in zip(figure.axes, expected, strict=True):
        curves = result.curves(name, criterion)
        names = of_axes(axes, "line label")
        assert names == list(line_names(result, curves))
        assert len(names) == len(set(names)) == len(curves)


def test_no_text_covers_another_or_leaves_the_figure(drawn: tuple[Result, Any]) -> None:
    _, figure = drawn
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    gids = ("line label", "title", "subtitle", "column heading", "reference label", "note")
    found = [text.get_window_extent(renderer) for text in texts(figure, *gids)]
    for axes in figure.axes:
        labels = [axes.xaxis.label, axes.yaxis.label, *axes.get_yticklabels()]
        labels += [axes._left_title, *axes.get_xticklabels()]
        found += [text.get_window_extent(renderer) for text in labels if text.get_text()]
    for box in found:
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.width
        assert 0 <= box.y0 <= box.y1 <= figure.bbox.height
    for one, other in itertools.combinations(found, 2):
        width = min(one.x1, other.x1) - max(one.x0, other.x0)
        height = min(one.y1, other.y1) - max(one.y0, other.y0)
        # A pixel of shared line height is no overlap of letters.
        assert width <= 0 or height <= 1, (one, other)


def test_panels_are_large_enough_to_read(drawn: tuple[Result, Any]) -> None:
    """At least 2.2 by 2.3 inches, on at most 13 inches of paper unless names are long."""
    _, figure = drawn
    width, height = figure.get_size_inches()
    for axes in figure.axes:
        box = axes.get_position()
        assert box.width * width >= 2.2 - 1e-9
        assert box.height * height >= 2.3 - 1e-9
    longest = max(len(text.get_text()) for text in texts(figure, "line label"))
    assert longest > 25 or width <= 13
    gids = ("line label", "title", "subtitle", "column heading", "reference label", "note")
    assert min(text.get_fontsize() for text in texts(figure, *gids)) >= 7.5


def test_ticks_are_plain_values(drawn: tuple[Result, Any]) -> None:
    result, figure = drawn
    figure.canvas.draw()
    values = {f"{getattr(row, result.x):g}" for row in result.rows}
    for axes in figure.axes:
        shown = {tick.get_text() for tick in axes.get_xticklabels()}
        assert shown
        assert shown <= values


def test_bands_are_what_they_are_said_to_be() -> None:
    result = made_up("n_patterns", procedures=("clean",), similarities=("dot",))
    curve = result.curves("clean", INDEX)[0]
    wanted = {
        "wilson": ([p.low for p in curve.points], [p.high for p in curve.points], "Wilson"),
        "sd": (
            [p.fraction - p.sd for p in curve.points],
            [p.fraction + p.sd for p in curve.points],
            "± s.d. between runs",
        ),
    }
    for interval, (low, high, words) in wanted.items():
        figure = plot_capacity(result, interval=interval)
        corners = figure.axes[1].collections[0].get_paths()[0].vertices
        for point, down, up in zip(curve.points, low, high, strict=True):
            at = corners[corners[:, 0] == point.x, 1]
            assert at.min() == pytest.approx(down) and at.max() == pytest.approx(up)
        subtitle = texts(figure, "subtitle")[0].get_text()
        assert words in subtitle
        assert ("Wilson" in subtitle) == (interval == "wilson")
    one = replace(result, rows=tuple(row for row in result.rows if row.run == 0))
    assert "no bands" in texts(plot_capacity(one, interval="sd"), "subtitle")[0].get_text()
    with pytest.raises(ValueError, match="interval must be"):
        plot_capacity(result, interval="range")


def test_published_is_left_and_clean_is_right() -> None:
    figure = CASES["both"]().plot()
    heads = sorted(texts(figure, "column heading"), key=lambda text: text.get_position()[0])
    assert [head.get_text().split()[0] for head in heads] == ["Published", "Clean"]
    assert len({x for x, _ in places(figure)}) == len({y for _, y in places(figure)}) == 2


def test_a_line_looks_the_same_in_every_panel() -> None:
    """Also where one procedure has lines that the other has not."""
    full = CASES["both"]()
    kept = [r for r in full.rows if r.procedure != "clean" or r.similarity != "euclidean"]
    fewer = replace(full, rows=tuple(kept))
    for result in (full, fewer, CASES["other thresholds"](), CASES["projections"]()):
        seen: dict[str, tuple[str, str]] = {}
        for axes in result.plot().axes:
            # The names' own markers are the lines without a segment.
            marks = [line for line in axes.lines if len(line.get_xdata()) == 1]
            for line in marks:
                height = line.get_ydata()[0]
                names = [t.get_text() for t in axes.texts if t.get_position()[1] == height]
                look = (line.get_color(), line.get_marker())
                assert seen.setdefault(names[0], look) == look
        assert len(set(seen.values())) == len(seen) > 0


def test_criteria_stand_beside_their_like() -> None:
    assert pairs(CASES["both"]()) == [
        {"published": 60.0, "clean": 60.0},
        {"published": INDEX, "clean": INDEX},
    ]
    assert pairs(CASES["other thresholds"]()) == [
        {"published": 15.3125, "clean": 235.0},
        {"published": 60.0},
        {"published": INDEX, "clean": INDEX},
    ]
    result = CASES["a threshold of one"]()
    assert pairs(result) == [
        {"published": 60.0, "clean": 60.0},
        {"published": 15.3125},
        {"published": INDEX, "clean": INDEX},
    ]
    note = texts(result.plot(), "note")
    assert [text.get_text() for text in note] == [
        "The clean procedure is not judged by this criterion."
    ]
    assert pairs(CASES["thresholds"]()) == [{"clean": "threshold"}]


def test_published_thresholds_are_marked() -> None:
    for case in ("thresholds", "both, thresholds"):
        for axes in CASES[case]().plot().axes:
            lines = [line for line in axes.lines if line.get_gid() == "reference line"]
            assert [line.get_xdata()[0] for line in lines] == [50, 60]
            words = [text.replace("\n", " ") for text in of_axes(axes, "reference label")]
            assert words == [
                "50, drawn in the published figure",
                "60, used in the published code",
            ]
    # Only where they are in the figure, and only where thresholds are the axis.
    few = made_up("threshold", thresholds=(1.0, 55.0)).plot()
    assert [t.get_text()[:2] for t in texts(few, "reference label")] == ["50", "50"]
    assert not texts(CASES["both"]().plot(), "reference line")


def test_a_hundred_lines_look_different() -> None:
    assert len({_look(i) for i in range(100)}) == 100
    assert [_look(i)[0] for i in range(10)] == list(COLOURS)


@pytest.mark.parametrize("end", ["png", "pdf", "svg"])
def test_it_is_written_and_twice_the_same(tmp_path: Path, end: str) -> None:
    result = made_up("n_patterns", similarities=("dot",))
    for name in ("one", "two"):
        result.plot(tmp_path / f"{name}.{end}")
    one = (tmp_path / f"one.{end}").read_bytes()
    assert {"png": b"\x89PNG", "pdf": b"%PDF-", "svg": b"<?xml"}[end].startswith(one[:4])
    assert one == (tmp_path / f"two.{end}").read_bytes()


def test_spread() -> None:
    assert spread([0.5], 0.1, 0, 1) == [0.5]
    assert spread([0.2, 0.8], 0.1, 0, 1) == [0.2, 0.8]
    assert spread([0.5, 0.5], 0.1, 0, 1) == pytest.approx([0.45, 0.55])
    assert spread([1.0, 1.0, 1.0], 0.1, 0, 1) == pytest.approx([0.8, 0.9, 1.0])
    assert spread([0.0, 0.0], 0.1, 0, 1) == pytest.approx([0.0, 0.1])
    assert spread([0.3, 0.1], 0.1, 0, 1) == pytest.approx([0.3, 0.1])
    # No room for all: as far apart as can be.
    assert spread([0.5] * 5, 1.0, 0, 1) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert spread([], 0.1, 0, 1) == []


def test_ticks_leave_room() -> None:
    assert _plain_ticks([7], 6, 8, 300) == [7]
    sizes = [2, 5, 10, 20, 50, 100, 200, 300, 500, 700, 1000]
    chosen = _plain_ticks(sizes, 1.8, 1130, 280)
    assert {2, 10, 100, 1000} <= set(chosen) <= set(sizes)
    assert not {500, 700} <= set(chosen)
    levels = _plain_ticks(LEVELS, -0.01, 1.56, 180, "linear")
    assert {0.05, 0.5, 1.0, 1.5} <= set(levels) <= set(LEVELS)
    assert 0.1 not in levels
    fractions = [round(0.1 * i, 1) for i in range(1, 10)]
    assert _plain_ticks(fractions, 0.07, 0.93, 180, "linear") == fractions
