"""The capacity figure: it is drawn, says what it shows, and no name covers another."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from uhn import datasets
from uhn.experiments import capacity
from uhn.experiments.capacity import SEPARATIONS, SIMILARITIES
from uhn.plot import _plain_ticks, spread

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

GLYPHS = datasets.load("glyphs", n_images=600)


def result_of(vary: str) -> Any:
    options: dict[str, Any] = {"sizes": [2, 5, 10, 20, 50, 100], "n_runs": 2}
    if vary == "similarity":
        return capacity(GLYPHS, similarities=SIMILARITIES, **options)
    if vary == "separation":
        options |= {"similarities": ["manhattan"], "separations": SEPARATIONS}
        return capacity(GLYPHS, corruption="mask", **options)
    if vary == "one size":
        return capacity(GLYPHS, sizes=[7], n_runs=1, similarities=["dot"])
    # The worst case for names: all lines end together, and more of them than colours.
    names = ["euclidean", "sqeuclidean", "manhattan", "cosine"]
    return capacity(
        GLYPHS, similarities=names, separations=["max", "topk", "softmax"], level=0.0, **options
    )


@pytest.fixture(scope="module", params=["similarity", "separation", "one size", "crowd"])
def drawn(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    result = result_of(request.param)
    return result, result.plot()


def boxes(figure: Any, **wanted: Any) -> list[Any]:
    renderer = figure.canvas.get_renderer()
    return [
        text.get_window_extent(renderer)
        for text in figure.findobj(lambda artist: artist.get_gid() in wanted["gids"])
    ]


def test_it_says_what_it_shows(drawn: tuple[Any, Any]) -> None:
    result, figure = drawn
    threshold, index = figure.axes
    assert "threshold" in threshold.get_title(loc="left")
    assert f"{result.threshold:.3g}" in threshold.get_title(loc="left")
    assert "index" in index.get_title(loc="left")
    assert threshold.get_ylabel() == "Fraction of images retrieved"
    for axes in figure.axes:
        assert axes.get_xlabel() == "Patterns stored"
        assert axes.get_xscale() == "log"
        assert axes.get_shared_y_axes().joined(threshold, index)
    words = " ".join(text.get_text() for text in figure.texts)
    for part in ("glyphs", "16 x 16", f"{result.n_runs} run", "Wilson 95 %"):
        assert part in words


def test_every_line_is_named_in_both_panels(drawn: tuple[Any, Any]) -> None:
    result, figure = drawn
    for axes in figure.axes:
        names = [text.get_text() for text in axes.texts if text.get_gid() == "line label"]
        assert len(names) == len(set(names)) == len(result.curves())


def test_no_text_covers_another_or_leaves_the_figure(drawn: tuple[Any, Any]) -> None:
    _, figure = drawn
    figure.canvas.draw()
    found = boxes(figure, gids=("line label", "title", "subtitle"))
    renderer = figure.canvas.get_renderer()
    for axes in figure.axes:
        found.append(axes.xaxis.label.get_window_extent(renderer))
        found += [tick.get_window_extent(renderer) for tick in axes.get_yticklabels()]
        found += [
            tick.get_window_extent(renderer)
            for tick in axes.get_xticklabels()
            if tick.get_text()
        ]
        found.append(axes._left_title.get_window_extent(renderer))
    for box in found:
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.width
        assert 0 <= box.y0 <= box.y1 <= figure.bbox.height
    for one, other in itertools.combinations(found, 2):
        width = min(one.x1, other.x1) - max(one.x0, other.x0)
        height = min(one.y1, other.y1) - max(one.y0, other.y0)
        # A pixel of shared line height is no overlap of letters.
        assert width <= 0 or height <= 1, (one, other)


def test_ticks_are_plain_sizes(drawn: tuple[Any, Any]) -> None:
    result, figure = drawn
    figure.canvas.draw()
    sizes = {str(row.n_patterns) for row in result.rows}
    shown = {tick.get_text() for tick in figure.axes[0].get_xticklabels()}
    assert shown
    assert shown <= sizes


@pytest.mark.parametrize("end", ["png", "pdf", "svg"])
def test_it_is_written(tmp_path: Path, end: str) -> None:
    result_of("one size").plot(tmp_path / f"figure.{end}")
    head = (tmp_path / f"figure.{end}").read_bytes()[:5]
    assert {"png": b"\x89PNG", "pdf": b"%PDF-", "svg": b"<?xml"}[end].startswith(head[:4])


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
