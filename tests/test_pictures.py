"""Pictures of one memory: recall strips, energies on the way to rest, small landscapes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import uhn
from uhn import analysis
from uhn.plot import plot_energy, plot_landscape, plot_recall

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


def boxes(figure: Any, gids: tuple[str, ...]) -> list[Any]:
    renderer = figure.canvas.get_renderer()
    found = figure.findobj(lambda artist: artist.get_gid() in gids)
    return [text.get_window_extent(renderer) for text in found]


def texts(figure: Any, gid: str) -> list[str]:
    return [text.get_text() for text in figure.findobj(lambda a: a.get_gid() == gid)]


def inside(figure: Any) -> None:
    """Every text lies in the figure, and names do not cover each other."""
    figure.canvas.draw()
    found = boxes(figure, gids=("row name", "title", "line label", "name"))
    for box in found:
        assert -1 <= box.x0 <= box.x1 <= figure.bbox.width + 1
        assert -1 <= box.y0 <= box.y1 <= figure.bbox.height + 1
    for one, other in itertools.combinations(found, 2):
        width = min(one.x1, other.x1) - max(one.x0, other.x0)
        height = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert width <= 0 or height <= 1, (one, other)


def signs(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).choice([-1.0, 1.0], shape)


def test_recall_strips_mark_what_is_wrong() -> None:
    patterns = signs(0, 5, 20)
    wrong = patterns.copy()
    wrong[2, 7] *= -1
    answers = {"all right": patterns, "one bit off": wrong}
    figure = plot_recall(patterns, -patterns, answers, (4, 5), tolerance=0, title="Strips")
    assert len(figure.axes) == 4 * 5
    names = ["original", "query", "all right\n5 of 5 right", "one bit off\n4 of 5 right"]
    assert texts(figure, "row name") == names
    marked = [i for i, axes in enumerate(figure.axes) if axes.lines]
    assert marked == [3 * 5 + 2]
    assert [line.get_gid() for line in figure.axes[marked[0]].lines] == ["wrong"]
    pictures = [axes.images[0].get_array() for axes in figure.axes]
    for i, rows in enumerate((patterns, -patterns, patterns, wrong)):
        for j, row in enumerate(rows):
            assert (np.asarray(pictures[5 * i + j]) == row.reshape(4, 5)).all()
    inside(figure)
    # One wrong bit of twenty is still nearest to its own pattern.
    figure = plot_recall(patterns, -patterns, answers, (4, 5))
    assert texts(figure, "row name")[-1] == "one bit off\n5 of 5 right"
    figure = plot_recall(patterns, -patterns, patterns[::-1], (4, 5), titles=list("abcde"))
    assert texts(figure, "row name")[-1] == "answer\n1 of 5 right"
    assert [axes.get_title() for axes in figure.axes[:6]] == [*"abcde", ""]


@pytest.mark.parametrize("shape", [(2, 3, 3), (3, 2, 3), (3, 4, 2), (1, 9, 2)])
def test_recall_strips_of_colour_images(shape: tuple[int, ...], tmp_path: Path) -> None:
    images = np.random.default_rng(1).random((2, int(np.prod(shape))))
    figure = plot_recall(images, images + 2, images, shape, path=tmp_path / "strip.png")
    shown = np.asarray(figure.axes[0].images[0].get_array())
    image = images[0].reshape(shape)
    if shape[0] in (1, 3) and shape[2] != 3:
        image = np.moveaxis(image, 0, 2)
    assert (shown == (image[..., 0] if image.shape[2] == 1 else image)).all()
    assert (tmp_path / "strip.png").read_bytes()[:4] == b"\x89PNG"


def test_recall_strips_refuse_what_does_not_fit() -> None:
    patterns = signs(0, 3, 20)
    with pytest.raises(ValueError, match=r"shape \(4, 4\)"):
        plot_recall(patterns, patterns, patterns, (4, 4))
    with pytest.raises(ValueError, match="queries has shape"):
        plot_recall(patterns, patterns[:2], patterns, (4, 5))
    with pytest.raises(ValueError, match="short has shape"):
        plot_recall(patterns, patterns, {"short": patterns[:2]}, (4, 5))
    with pytest.raises(ValueError, match="2 titles for 3"):
        plot_recall(patterns, patterns, patterns, (4, 5), titles=["a", "b"])


def test_energy_lines_are_the_traces() -> None:
    patterns = signs(2, 12, 100)
    network = uhn.HopfieldNetwork(100).store(patterns)
    recall = network.recall(signs(3, 4, 100), trace=True)
    levels = {"pattern 0": float(network.energy(patterns[0]))}
    figure = plot_energy(recall, levels=levels, title="Descent")
    (axes,) = figure.axes
    assert axes.get_ylabel() == "Energy" and axes.get_xlabel() == "Sweeps from the query"
    assert sorted(texts(figure, "line label")) == [
        "pattern 0",
        *(f"query {i}" for i in range(4)),
    ]
    drawn = [line.get_ydata() for line in axes.lines if line.get_zorder() == 3]
    for i, line in enumerate(drawn):
        assert (line == recall.trace.energies[: recall.n_steps[i] + 1, i]).all()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["fixed point"]
    inside(figure)
    # Many queries are not named one by one.
    assert texts(plot_energy(network.recall(signs(4, 30, 100), trace=True)), "line label") == []
    one = plot_energy(network.recall(signs(5, 100), trace=True), names=["alone"])
    assert texts(one, "line label") == ["alone"]


def test_energy_says_how_each_query_ended() -> None:
    pair = uhn.HopfieldNetwork.from_weights([[0.0, 1.0], [1.0, 0.0]])
    starts = [[1.0, -1.0], [1.0, 1.0]]
    figure = plot_energy(pair.recall(starts, mode="sync", trace=True))
    words = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert words == ["fixed point", "2-cycle"]
    assert figure.axes[0].get_xlabel() == "Steps from the query"


def test_energy_needs_a_trace_with_energies() -> None:
    network = uhn.HopfieldNetwork(30).store(signs(0, 2, 30))
    with pytest.raises(ValueError, match="trace=True"):
        plot_energy(network.recall(signs(1, 30)))
    sdm = uhn.SparseDistributedMemory(30, 500, activation=0.1).store(signs(0, 2, 30))
    with pytest.raises(ValueError, match="no energy"):
        plot_energy(sdm.recall(signs(1, 30), trace=True))
    with pytest.raises(ValueError, match="1 names for 2"):
        plot_energy(network.recall(signs(1, 2, 30), trace=True), names=["one"])


@pytest.mark.parametrize("coding", ["bipolar", "binary"])
def test_landscape_has_every_state_and_names_what_is_fixed(coding: str) -> None:
    patterns = np.random.default_rng(1).choice([-1.0, 1.0], (3, 11))
    network = uhn.HopfieldNetwork(11, scale="none").store(patterns)
    if coding == "binary":
        # The same network in the other coding: E(2 v - 1), but for a constant.
        w = 4 * network.weights
        bias = -0.5 * w.sum(axis=1)
        network = uhn.HopfieldNetwork.from_weights(
            w, bias, coding="binary", patterns=(patterns + 1) / 2
        )
    figure = plot_landscape(network, title="Landscape")
    (axes,) = figure.axes
    points = [c for c in axes.collections if hasattr(c, "get_offsets") and len(c.get_offsets())]
    offsets = np.asarray(max(points, key=lambda c: len(c.get_offsets())).get_offsets())
    assert len(offsets) == 2**11
    states = 2.0 * ((np.arange(2**11)[:, None] >> np.arange(11)) & 1) - 1
    written = states if coding == "bipolar" else (states + 1) / 2
    assert offsets[:, 1] == pytest.approx(network.energy(written), abs=1e-12)
    # States move sideways by less than half of what is between two overlaps.
    assert np.abs(offsets[:, 0] - states @ patterns[0] / 11).max() < 1 / 11
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words == ["pattern (3)", "ghost (3)", "mixture (4)"]
    names = texts(figure, "name")
    assert {"0", "1", "2", "\N{MINUS SIGN}0", "\N{MINUS SIGN}1", "\N{MINUS SIGN}2"} < set(names)
    assert axes.get_xlabel() == "Overlap with pattern 0" and axes.get_ylabel() == "Energy"
    inside(figure)


def test_landscape_lines_lead_down() -> None:
    network = uhn.HopfieldNetwork(7).store(signs(4, 2, 7))
    figure = plot_landscape(network)
    from matplotlib.collections import LineCollection

    (flows,) = (c for c in figure.axes[0].collections if isinstance(c, LineCollection))
    segments = np.array(flows.get_segments())
    assert (segments[:, 0, 1] > segments[:, 1, 1]).all()
    # All but the minima move; ties aside these are the fixed points.
    minima = {tuple(state) for state in analysis.fixed_points(network).states.tolist()}
    assert len(segments) == 2**7 - len(minima)


def test_landscape_of_weights_and_of_fixed_points() -> None:
    w = np.array([[0, 1, -1], [1, 0, 1], [-1, 1, 0]], dtype=float)
    figure = plot_landscape(w)
    assert texts(figure, "name") == []
    assert figure.axes[0].get_xlabel() == "Overlap with the reference"
    patterns = signs(6, 3, 60)
    network = uhn.HopfieldNetwork(60).store(patterns)
    found = analysis.sample_fixed_points(network, 200)
    figure = plot_landscape(found, patterns, reference=patterns[1])
    words = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    counts = analysis.classify(found.states, patterns).counts()
    assert words[0] == f"pattern ({counts['pattern']})" and len(found) == sum(counts.values())
    inside(figure)


def test_landscape_refuses_what_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="15 units"):
        plot_landscape(uhn.HopfieldNetwork(15).store(signs(0, 2, 15)))
    one_way = uhn.HopfieldNetwork.from_weights([[0.0, 1.0], [0.5, 0.0]])
    with pytest.raises(ValueError, match="symmetric"):
        plot_landscape(one_way)
