"""Curves of experiments: retrieval against sizes, levels or thresholds."""

from __future__ import annotations

import itertools
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._style import COLOURS, GREY, INK, MARKERS, STYLE, require_matplotlib, save, spread

if TYPE_CHECKING:
    from uhn.experiments.results import Curve, Point, Result

# How a row of the tables is called in a figure, where its own name would look like code.
_NAMES = {
    "euclidean": "Euclidean",
    "sqeuclidean": "squared Euclidean",
    "manhattan": "Manhattan",
    "chebyshev": "Chebyshev",
    "hamming": "Hamming",
    "dot": "dot product",
    "kl": "KL",
    "reverse_kl": "reverse KL",
    "jensen_shannon": "Jensen-Shannon",
    "polynomial:2": "square",
    "polynomial:3": "cube",
    "sqrt": "square root",
    "patterns": "whole pattern",
}


def _readable(name: str) -> str:
    """``polynomial:10`` as "10th power", ``normalized_dot`` as "normalized dot"."""
    head, _, value = name.partition(":")
    if head == "polynomial" and name not in _NAMES and value.isdecimal():
        return f"{value}th power"
    return _NAMES.get(name, name.replace("_", " "))


def _wrap(text: str, fits: Callable[[str], bool], mark: str = ";") -> str:
    """Breaks a text after marks that a space follows (or after words) into lines that fit."""
    lines = [""]
    for part in text.split(f"{mark} "):
        longer = f"{lines[-1]}{mark} {part}" if lines[-1] else part
        if lines[-1] and not fits(longer):
            lines[-1] += mark
            lines.append(part)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def _plain_ticks(
    values: Sequence[float], low: float, high: float, width_points: float, scale: str = "log"
) -> list[float]:
    """The values that can be written under an axis without touching each other.

    The ends come first, then powers of ten times 1, 2 and 5, then the others where room is
    left.
    """
    if high <= low:
        return list(values)
    forward = math.log if scale == "log" else float
    points = width_points / (forward(high) - forward(low))

    def rank(value: float) -> tuple[int, float]:
        digits = f"{value:g}".replace(".", "").strip("0")
        return ({"1": 0, "2": 1, "5": 1}.get(digits, 2), -value)

    half = {value: 2.9 * len(f"{value:g}") + 1.5 for value in values}
    chosen: list[float] = []
    ends = [min(values), max(values)]
    for value in ends + sorted(values, key=rank):
        if all(
            abs(forward(value) - forward(other)) * points >= half[value] + half[other]
            for other in chosen
        ):
            chosen.append(value)
    return sorted(chosen)


def plot_capacity(
    result: Result,
    path: str | os.PathLike[str] | None = None,
    *,
    interval: str = "wilson",
) -> Any:
    """The curves of an experiment, a panel a criterion.

    Of one procedure, panels stand side by side, at most three in a row. Of both, the published
    one is the left column and the clean one the right column, and what stands in one row was
    judged alike where there is such a pair. A curve looks the same in all panels.

    Parameters
    ----------
    result : Result
    path : path, optional
        Where to write the figure; its ending says the format.
    interval : {"wilson", "sd"}
        What the bands are: Wilson's 95 % interval of the pooled trials, or plus and minus the
        population standard deviation between runs, as in the published figures.

    Returns
    -------
    matplotlib.figure.Figure
        One axes a panel, row by row. Texts that name the lines have the gid "line label", those
        that head the columns "column heading". Where the error threshold is the x axis, the two
        published ones have the gid "reference line" and their names "reference label".

    Raises
    ------
    ValueError
        Another interval.
    ImportError
        Without matplotlib, with the line that installs it.
    """
    if interval not in ("wilson", "sd"):
        raise ValueError(f"interval must be 'wilson' or 'sd', not {interval!r}")
    matplotlib = require_matplotlib()
    with matplotlib.rc_context(STYLE):
        figure = _draw(matplotlib, result, interval)
        if path is not None:
            save(figure, path)
    return figure


_PROCEDURE_HEADINGS = {
    "published": "Published procedure: what the code does",
    "clean": "Clean procedure: what the formulas say",
}


# The published threshold is given twice, and not as the same number.
_REFERENCES = ((50.0, "drawn in the\npublished figure"), (60.0, "used in the\npublished code"))


@dataclass(frozen=True)
class _Panel:
    row: int
    column: int
    procedure: str
    criterion: float | str
    curves: tuple[Curve, ...]
    labels: tuple[str, ...]


def pairs(result: Result) -> list[dict[str, float | str]]:
    """The criteria of the panels, by procedure: those that stand side by side are one dict.

    Thresholds that the procedures share come first, then those that differ, which stand beside
    each other all the same, as far as there are two; the index comes last.
    """
    panels = {name: result.panels(name) for name in result.procedures}
    shared = [
        one for one in panels[result.procedures[0]] if all(one in p for p in panels.values())
    ]
    alike: list[dict[str, float | str]] = [dict.fromkeys(panels, one) for one in shared]
    own = ([one for one in p if one not in shared] for p in panels.values())
    rest: list[dict[str, float | str]] = [
        {name: one for name, one in zip(panels, row, strict=True) if one is not None}
        for row in itertools.zip_longest(*own)
    ]
    names_last = any(isinstance(one, str) for one in shared)
    return [*alike[:-1], *rest, *alike[-1:]] if names_last else [*alike, *rest]


def _cells(result: Result) -> Iterator[tuple[int, int, str, float | str]]:
    """Row, column, procedure and criterion of every panel."""
    rows = pairs(result)
    several = len(result.procedures) > 1
    columns = len(rows) if len(rows) <= 3 else 2 if len(rows) == 4 else 3
    for i, row in enumerate(rows):
        for name, criterion in row.items():
            if several:
                yield i, result.procedures.index(name), name, criterion
            else:
                yield i // columns, i % columns, name, criterion


def line_names(result: Result, curves: Sequence[Curve]) -> tuple[str, ...]:
    """Readable labels, no two of them the same."""
    labels = list(result.labels(curves))
    for label, count in Counter(labels).items():
        if count == 1:
            continue
        same = [i for i, other in enumerate(labels) if other == label]
        varied = [
            field
            for field in ("projection", "corruption", "equation")
            if len({getattr(curves[i], field) for i in same}) > 1
        ]
        for i in same:
            labels[i] = ", ".join([label, *(getattr(curves[i], field) for field in varied[:1])])
    return tuple(", ".join(map(_readable, label.split(", "))) for label in labels)


def _heading(criterion: float | str, fits: Callable[[str], bool]) -> str:
    if criterion == "index":
        heads = [
            "By winning index: nearest stored image is the right one",
            "By winning index: the right one is nearest",
            "By winning index",
        ]
    elif criterion == "threshold":
        heads = ["By threshold: squared error ≤ x"]
    else:
        heads = [f"By threshold: squared error ≤ {float(criterion):.4g}"]
    return next((head for head in heads if fits(head)), heads[-1])


def _draw(matplotlib: Any, result: Result, interval: str) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.font_manager import FontProperties
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    panels = []
    for row, column, procedure, criterion in _cells(result):
        curves = result.curves(procedure, criterion)
        labels = line_names(result, curves)
        panels.append(_Panel(row, column, procedure, criterion, curves, labels))
    n_rows = 1 + max(panel.row for panel in panels)
    n_columns = 1 + max(panel.column for panel in panels)
    both = len(result.procedures) > 1
    xs = sorted({p.x for panel in panels for curve in panel.curves for p in curve.points})
    log = result.x != "level" and xs[0] > 0
    references = [
        (value, text)
        for value, text in _REFERENCES
        if result.x == "threshold" and xs[0] <= value <= xs[-1]
    ]
    figure = matplotlib.figure.Figure(figsize=(10.4, 4.5), facecolor="white")
    canvas = FigureCanvasAgg(figure)

    # The margins are set by hand, in inches: names need room to the right of each panel that no
    # layout engine knows of.
    renderer: Any = canvas.get_renderer()  # type: ignore[no-untyped-call]

    def inches(text: str, size: float, weight: str = "normal") -> float:
        font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
        pixels: float = renderer.get_text_width_height_descent(text, font, False)[0]
        return pixels / float(figure.dpi)

    names = [label for panel in panels for label in panel.labels]
    room = 0.42 + max((inches(label, 9) for label in names), default=0.0)
    left, between, right = 0.62, room + 0.46, room
    margins = left + (n_columns - 1) * between + right
    width = max(7.0 if n_columns == 1 else 10.4, margins + 2.2 * n_columns)
    across = (width - margins) / n_columns

    parts = result.subtitle().split("; ")
    if interval == "sd":
        bands = "bands: ± s.d. between runs" if result.n_runs > 1 else "no bands: one run"
        parts = [bands if part.startswith("bands:") else part for part in parts]
    subtitle = _wrap("; ".join(parts), lambda text: inches(text, 9) <= width - left - 0.1)
    above_panel = 0.30 + (0.32 if references else 0.0)
    # With room for what hinting makes of the letters at another resolution.
    title, title_room = result.title(), (width - left - 0.1) / 1.06
    title_size = min(12.0, 12 * title_room / inches(title, 12, "bold"))
    if title_size < 9:
        title_size = 11.0
        title = _wrap(title, lambda text: inches(text, 11, "bold") <= title_room, "")
    title_lines = 0.19 * title.count("\n")
    over_text = 0.54 + title_lines + 0.15 * (subtitle.count("\n") + 1)
    top = over_text + above_panel + (0.30 if both else 0.0)
    bottom, gap = 0.56, 0.36 + above_panel
    # As high as it takes to write all names beside a panel, one under the other.
    longest = max(len(panel.labels) for panel in panels)
    needed = (longest - 1) * 12.7 / 72 * 1.03 + 0.05
    usual = 4.5 - bottom - over_text - 0.30 if n_rows == 1 else 2.3
    down = max(usual, needed)
    height = top + n_rows * down + (n_rows - 1) * gap + bottom
    figure.set_size_inches(width, height)

    corner: Any = {"ha": "left", "va": "top"}
    figure.text(
        left / width,
        1 - 0.16 / height,
        title,
        fontsize=title_size,
        fontweight="bold",
        color=INK,
        gid="title",
        **corner,
    )
    figure.text(
        left / width,
        1 - (0.42 + title_lines) / height,
        subtitle,
        fontsize=9,
        color=GREY,
        gid="subtitle",
        **corner,
    )

    # A line is known by its name: it looks the same in every panel.
    lines = {
        label: curve.is_baseline
        for panel in panels
        for label, curve in zip(panel.labels, panel.curves, strict=True)
    }
    looks = {label: i for i, label in enumerate(n for n, base in lines.items() if not base)}
    room_above = across + between - 0.35
    first: Any = None
    for panel in panels:
        x0 = left + panel.column * (across + between)
        y0 = height - top - (panel.row + 1) * down - panel.row * gap
        box = (x0 / width, y0 / height, across / width, down / height)
        axes = figure.add_axes(box, sharey=first)
        first = first or axes
        if both and panel.row == 0:
            figure.text(
                x0 / width,
                (y0 + down + above_panel + 0.08) / height,
                _PROCEDURE_HEADINGS[panel.procedure],
                fontsize=10,
                fontweight="bold",
                color=INK,
                ha="left",
                va="bottom",
                gid="column heading",
            )
        heading = _heading(panel.criterion, lambda text: inches(text, 10) <= room_above)
        axes.set_title(heading, loc="left", color=INK, pad=7 + 72 * (above_panel - 0.30))
        axes.set_xscale("log" if log else "linear")
        if log:
            low, high = xs[0] / 1.13, xs[-1] * 1.13
        else:
            margin = 0.04 * (xs[-1] - xs[0]) or 0.1
            low, high = xs[0] - margin, xs[-1] + margin
        axes.set_xlim(low, high)
        axes.set_ylim(-0.03, 1.03)
        ticks = _plain_ticks(xs, low, high, across * 72, "log" if log else "linear")
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(FixedLocator([x for x in xs if x not in ticks]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
        axes.yaxis.set_major_locator(FixedLocator([0, 0.2, 0.4, 0.6, 0.8, 1]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(axis="y", color="#E4E4E4", linewidth=0.7)
        axes.set_axisbelow(True)
        if all((panel.row + 1, panel.column) != (p.row, p.column) for p in panels):
            axes.set_xlabel(_x_label(result))
        if panel.column == 0:
            axes.set_ylabel("Fraction of images retrieved")
        _mark_references(axes, references, across, inches)
        ends = []
        shaded: set[tuple[Any, Any]] = set()
        for i, (curve, label) in enumerate(zip(panel.curves, panel.labels, strict=True)):
            x = [point.x for point in curve.points]
            y = [point.fraction for point in curve.points]
            if curve.is_baseline:
                colour, marker, line = GREY, "", (0, (4, 2.2))
                axes.plot(x, y, color=colour, linestyle=line, linewidth=1.2, zorder=2)
            else:
                colour, marker = _look(looks[label])
                _band(axes, curve.points, interval, colour, shaded)
                axes.plot(
                    x,
                    y,
                    color=colour,
                    marker=marker,
                    markersize=5.4 if marker in "PX" else 4.6,
                    linewidth=1.5,
                    markeredgecolor="white",
                    markeredgewidth=0.6,
                    clip_on=False,
                    zorder=4 + 0.01 * i,
                )
            ends.append((x[-1], y[-1], label, colour, marker))
        _name_lines(axes, ends, across)
    filled = {(panel.row, panel.column) for panel in panels}
    for row, column in itertools.product(range(n_rows), range(n_columns if both else 0)):
        if (row, column) not in filled:
            figure.text(
                (left + column * (across + between)) / width,
                (height - top - row * (down + gap) - 0.1) / height,
                f"The {result.procedures[column]} procedure is not judged by this criterion.",
                fontsize=9,
                color=GREY,
                gid="note",
                **corner,
            )
    return figure


def _x_label(result: Result) -> str:
    """What is on the x axis."""
    default = {"n_patterns": "Patterns stored", "level": "Level of the damage"}
    fallback = "Error threshold (largest squared error)"
    return result.x_label or default.get(result.x, fallback)


def _look(i: int) -> tuple[str, str]:
    """Colour and marker of the i-th curve: no pair twice among a hundred."""
    turn, colour = divmod(i, len(COLOURS))
    return COLOURS[colour], MARKERS[(colour + 3 * turn) % len(MARKERS)]


def _mark_references(
    axes: Any,
    references: Sequence[tuple[float, str]],
    across: float,
    inches: Callable[[str, float], float],
) -> None:
    """Thin dashed lines at the published thresholds, named above the panel."""
    past = 0.0  # Where the name before ends, in inches.
    for i, (value, text) in enumerate(references):
        axes.axvline(
            value,
            color=GREY,
            linewidth=0.8,
            linestyle=(0, (2, 2)),
            zorder=1,
            gid="reference line",
        )
        at = axes.transLimits.transform(axes.transScale.transform((value, 0)))[0] * across
        words = f"{value:g}, {text}"
        wide = max(inches(line, 7.5) for line in words.split("\n"))
        # The first name ends at its line and the last begins there, if there is room.
        to_left = len(references) > 1 and i == 0
        start = max(past, at - wide - 0.03 if to_left else at - 0.03)
        past = start + wide + 0.06
        axes.text(
            (start + wide if to_left else start) / across,
            1 + 7 / 72 / (axes.get_position().height * axes.figure.get_size_inches()[1]),
            words,
            transform=axes.transAxes,
            ha="right" if to_left else "left",
            va="bottom",
            fontsize=7.5,
            linespacing=1.1,
            color=GREY,
            gid="reference label",
        )


def _band(
    axes: Any,
    points: Sequence[Point],
    interval: str,
    colour: str,
    shaded: set[tuple[Any, Any]],
) -> None:
    """Shades the interval of a curve, except where another curve's very same one is shaded.

    Curves that coincide, as many do while the memory is small, would else pile up to a block.
    """
    x = [point.x for point in points]
    if interval == "sd":
        low = [point.fraction - point.sd for point in points]
        high = [point.fraction + point.sd for point in points]
    else:
        low, high = [point.low for point in points], [point.high for point in points]
    if len(points) == 1:
        axes.vlines(x, low, high, color=colour, linewidth=1.2, alpha=0.6, zorder=2)
    segments = list(itertools.pairwise(zip(x, low, high, strict=True)))
    start = 0
    for stop, segment in enumerate([*segments, None]):
        if segment is not None and segment not in shaded:
            continue
        if stop > start:
            part = slice(start, stop + 1)
            axes.fill_between(
                x[part], low[part], high[part], color=colour, alpha=0.13, linewidth=0, zorder=2
            )
        start = stop + 1
    shaded.update(segments)


def _name_lines(
    axes: Any, ends: list[tuple[float, float, str, str, str]], panel: float
) -> None:
    """Writes every line's name to the right of the panel, joined to its end by a thin
    leader."""
    from matplotlib.lines import Line2D

    height = axes.get_position().height * axes.figure.get_size_inches()[1] * 72
    bottom, top = axes.get_ylim()
    gap = 12.5 / height * (top - bottom)
    # Where several lines end together, the labels keep the order of the curves from the top.
    wanted = [end[1] - 1e-9 * i for i, end in enumerate(ends)]
    heights = spread(wanted, gap, bottom + 0.02, top)
    inch = 1 / panel
    transform = axes.get_yaxis_transform()  # x in fractions of the panel, y in data
    placed = axes.transScale + axes.transLimits  # data to fractions of the panel
    for (x, y, label, colour, marker), at in zip(ends, heights, strict=True):
        start = placed.transform((x, y))[0] + 0.05 * inch
        bend, stop = 1.0 + 0.02 * inch, 1.0 + 0.20 * inch
        axes.add_line(
            Line2D(
                [start, bend, stop],
                [y, y, at],
                transform=transform,
                color=colour,
                linewidth=0.8,
                clip_on=False,
                solid_joinstyle="round",
                zorder=1,
            )
        )
        if marker:
            axes.add_line(
                Line2D(
                    [stop + 0.05 * inch],
                    [at],
                    transform=transform,
                    color=colour,
                    marker=marker,
                    markersize=5,
                    markeredgecolor="white",
                    markeredgewidth=0.5,
                    clip_on=False,
                )
            )
        axes.text(
            stop + 0.13 * inch if marker else stop + 0.03 * inch,
            at,
            label,
            transform=transform,
            ha="left",
            va="center_baseline",
            fontsize=9,
            color=GREY if not marker else INK,
            gid="line label",
        )
