"""The package's one way to draw: matplotlib figures that can go into a paper as they are.

Colours are Okabe and Ito's, told apart with any kind of colour vision, and every line has a
marker of its own, so that nothing depends on colour. Lines are named where they end, not in a
legend. matplotlib is imported when something is drawn; figures are made without pyplot, so no
window system is needed and no global state is touched.
"""

from __future__ import annotations

import itertools
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from uhn.experiments.results import Curve, Point, Result
    from uhn.experiments.simulations import Panel

__all__ = [
    "COLOURS",
    "MARKERS",
    "line_names",
    "pairs",
    "plot_capacity",
    "plot_energy",
    "plot_landscape",
    "plot_recall",
    "plot_simulations",
    "save",
    "spread",
    "style",
]

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#7A5C00",
    "#8C8C8C",
    "#5B2A86",
)
"""Okabe and Ito's eight with their yellow, too faint on white, darkened; then two spare
ones."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "svg.fonttype": "none",
    # Parts of an SVG are named by hashes; with a fixed salt the same figure is the same file.
    "svg.hashsalt": "uhn",
    "pdf.fonttype": 42,
}
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
_GREY = "#6E6E6E"
_INK = "#222222"


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights as near as possible to the wanted ones that keep a distance of `gap`.

    Least squares under ``low <= y``, ``y + gap <= next y``, ``y <= high``: with the gaps taken
    out this is isotonic regression, solved by pooling neighbours. If there is no room for all,
    the gap shrinks to fit. Equal wishes keep the order given.
    """
    n = len(wanted)
    if n > 1:
        gap = min(gap, (high - low) / (n - 1))
    order = sorted(range(n), key=lambda i: wanted[i])
    pools: list[list[float]] = []  # sum of shifted wishes, count
    for rank, i in enumerate(order):
        pools.append([wanted[i] - rank * gap, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] >= pools[-1][0] / pools[-1][1]:
            total, count = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += count
    shifted = [total / count for total, count in pools for _ in range(int(count))]
    top = high - (n - 1) * gap
    out = [0.0] * n
    for rank, i in enumerate(order):
        out[i] = min(max(shifted[rank], low), top) + rank * gap
    return out


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


def _require_matplotlib() -> Any:
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'uhn[plot]'") from error
    return matplotlib


def style() -> Any:
    """A context in which matplotlib draws in the package's style: ``with style(): ...``."""
    return _require_matplotlib().rc_context(_STYLE)


def save(
    figure: Any, path: str | os.PathLike[str] | IO[bytes], *, kind: str = "", dpi: int = 200
) -> None:
    """Writes a figure; the same figure makes the same bytes, as no date is put into the file.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : path or binary file
    kind : {"", "png", "svg", "pdf"}
        By default the ending of the path says it.
    dpi : int
        Pixels per inch, where there are pixels.
    """
    matplotlib = _require_matplotlib()
    if not kind and isinstance(path, (str, os.PathLike)):
        kind = os.path.splitext(os.fspath(path))[1].lstrip(".").lower()
    dates: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context(_STYLE):
        figure.savefig(path, format=kind or None, dpi=dpi, metadata=dates.get(kind))


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
    matplotlib = _require_matplotlib()
    with matplotlib.rc_context(_STYLE):
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
        color=_INK,
        gid="title",
        **corner,
    )
    figure.text(
        left / width,
        1 - (0.42 + title_lines) / height,
        subtitle,
        fontsize=9,
        color=_GREY,
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
                color=_INK,
                ha="left",
                va="bottom",
                gid="column heading",
            )
        heading = _heading(panel.criterion, lambda text: inches(text, 10) <= room_above)
        axes.set_title(heading, loc="left", color=_INK, pad=7 + 72 * (above_panel - 0.30))
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
                colour, marker, line = _GREY, "", (0, (4, 2.2))
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
                color=_GREY,
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
            color=_GREY,
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
            color=_GREY,
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
            color=_GREY if not marker else _INK,
            gid="line label",
        )


# ------------------------------------------------ what one memory does: recall and landscape --

_STATUS_MARKS = {
    "fixed point": ("o", "fixed point"),
    "2-cycle": ("s", "2-cycle"),
    "step limit": ("X", "step limit: still moving"),
    "no active location": ("P", "no active location"),
}
_KIND_MARKS = {
    "pattern": ("o", COLOURS[0], "pattern"),
    "ghost": ("v", COLOURS[1], "ghost"),
    "mixture": ("D", COLOURS[2], "mixture"),
    "unknown": ("X", COLOURS[3], "neither"),
}
#: Networks of up to so many units are drawn with all their states.
_DRAWN = 14


def _figure(matplotlib: Any, width: float, height: float, **options: Any) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = matplotlib.figure.Figure(figsize=(width, height), facecolor="white", **options)
    FigureCanvasAgg(figure)
    return figure


def _picture(row: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """A row as matplotlib wants it: (rows, columns) or (rows, columns, channels)."""
    image = row.reshape(shape)
    if image.ndim == 3 and image.shape[0] in (1, 3, 4) and image.shape[2] not in (1, 3, 4):
        image = np.moveaxis(image, 0, 2)
    return image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image


def _rows_of(answer: Any, name: str, like: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    rows = np.atleast_2d(np.asarray(getattr(answer, "state", answer), dtype=np.float64))
    if rows.shape != like.shape:
        raise ValueError(
            f"{name} has shape {rows.shape}, but originals {like.shape}: one row an original"
        )
    return rows


def _came_back(
    rows: npt.NDArray[np.float64],
    originals: npt.NDArray[np.float64],
    tolerance: float | None,
) -> npt.NDArray[np.bool_]:
    """Which results count as right."""
    if tolerance is not None:
        return np.asarray(np.abs(rows - originals).max(axis=1) <= tolerance)
    distances = ((rows[:, None, :] - originals[None]) ** 2).sum(axis=2)
    return np.asarray(
        distances[np.arange(len(rows)), np.arange(len(rows))] <= distances.min(axis=1)
    )


def plot_recall(
    originals: npt.ArrayLike,
    queries: npt.ArrayLike,
    results: Any,
    shape: Sequence[int],
    *,
    tolerance: float | None = None,
    titles: Sequence[str] | None = None,
    title: str = "",
    size: float = 0.62,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """Recall strips: what was stored, what was asked, and what each memory answered.

    A wrong answer has a frame and a cross in its corner, and the name of each row counts the
    right ones.

    Parameters
    ----------
    originals, queries : array_like, shape (n, n_features)
        What was asked for, and the damaged form of it.
    results : array_like or Recall, shape (n, n_features), or mapping of str to these
        Answers, one row of pictures each.
    shape : tuple of int
        Shape of one image: (rows, columns), or with channels first or last.
    tolerance : float, optional
        The largest difference of a value from the original that is right: 0 for two-state
        memories. None: an answer is right if no other of the originals shown is nearer to it.
    titles : sequence of str, optional
        A line above each column.
    title : str
    size : float, default 0.62
        Side of a picture, in inches.
    path : path, optional
        Where to write the figure; its ending says the format.

    Returns
    -------
    matplotlib.figure.Figure
        Rows of axes: "original", "query", and one for each result. Wrong answers have the gid
        "wrong".

    Raises
    ------
    ValueError
        If shapes do not fit.
    ImportError
        Without matplotlib, with the line that installs it.

    Examples
    --------
    >>> import numpy as np
    >>> from uhn.plot import plot_recall
    >>> letters = np.where(np.random.default_rng(0).random((4, 49)) < 0.5, 1, -1)
    >>> figure = plot_recall(letters, -letters, {"nothing": letters}, (7, 7), tolerance=0)
    >>> len(figure.axes)
    12
    """
    matplotlib = _require_matplotlib()
    shape = tuple(int(side) for side in shape)
    stored = np.atleast_2d(np.asarray(originals, dtype=np.float64))
    if len(stored) == 0 or int(np.prod(shape)) != stored.shape[1]:
        raise ValueError(f"shape {shape} does not fit originals of shape {stored.shape}")
    if titles is not None and len(titles) != len(stored):
        raise ValueError(f"there are {len(titles)} titles for {len(stored)} columns")
    named = dict(results) if isinstance(results, Mapping) else {"answer": results}
    strips = [("original", stored), ("query", _rows_of(queries, "queries", stored))]
    strips += [(name, _rows_of(rows, name, stored)) for name, rows in named.items()]
    low, high = float(stored.min()), float(stored.max())
    high = high if high > low else low + 1
    n_rows, n_columns = len(strips), len(stored)
    with matplotlib.rc_context(_STYLE):
        left = 0.2 + 0.072 * max(len(name) for name, _ in strips) + 0.25
        top = 0.08 + (0.2 if titles is not None else 0) + (0.3 if title else 0)
        picture = _picture(stored[0], shape)
        tall = size * picture.shape[0] / picture.shape[1]
        width, height = left + 1.08 * size * n_columns + 0.08, top + 1.1 * tall * n_rows + 0.06
        figure = _figure(matplotlib, width, height)
        for i, (name, rows) in enumerate(strips):
            right = _came_back(rows, stored, tolerance)
            bottom = height - top - 1.1 * tall * (i + 1) + 0.1 * tall
            if i >= 2:
                name = f"{name}\n{int(right.sum())} of {n_columns} right"
            figure.text(
                (left - 0.1) / width,
                (bottom + tall / 2) / height,
                name,
                ha="right",
                va="center",
                color=_INK,
                linespacing=1.3,
                gid="row name",
            )
            for j, row in enumerate(rows):
                box = ((left + 1.08 * size * j) / width, bottom / height)
                axes = figure.add_axes((*box, size / width, tall / height))
                axes.imshow(
                    np.clip(_picture(row, shape), low, high)
                    if len(shape) == 3
                    else _picture(row, shape),
                    cmap="gray_r",
                    vmin=low,
                    vmax=high,
                    interpolation="nearest",
                )
                axes.set_xticks([])
                axes.set_yticks([])
                wrong = i >= 2 and not right[j]
                axes.spines[:].set(
                    visible=True,
                    color=COLOURS[1] if wrong else "#C8C8C8",
                    linewidth=1.8 if wrong else 0.6,
                )
                if wrong:
                    axes.plot(
                        [0.87],
                        [0.87],
                        transform=axes.transAxes,
                        marker="X",
                        markersize=9,
                        color=COLOURS[1],
                        markeredgecolor="white",
                        markeredgewidth=1.0,
                        clip_on=False,
                        gid="wrong",
                    )
                if i == 0 and titles is not None:
                    axes.set_title(titles[j], fontsize=9, color=_INK, pad=3)
        if title:
            figure.text(
                left / width, 1 - 0.06 / height, title, ha="left", va="top", fontsize=10,
                fontweight="bold", color=_INK, gid="title",
            )  # fmt: skip
        if path is not None:
            figure.savefig(path, dpi=200)
    return figure


def plot_energy(
    recall: Any,
    *,
    names: Sequence[str] | None = None,
    levels: Mapping[str, float] | None = None,
    title: str = "",
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """The energy of each query on its way to rest.

    Parameters
    ----------
    recall : Recall
        Made with ``trace=True``. The marker at the end of a line says how its query ended.
    names : sequence of str, optional
        What each query is called, where its line ends. By default "query 0", ... of up to ten
        queries, and nothing of more.
    levels : mapping of str to float, optional
        Energies drawn as dashed lines, such as those of the stored patterns.
    title : str
    path : path, optional
        Where to write the figure; its ending says the format.

    Returns
    -------
    matplotlib.figure.Figure
        One axes; the texts naming the lines have the gid "line label".

    Raises
    ------
    ValueError
        If the recall has no trace, or its memory no energy.
    ImportError
        Without matplotlib, with the line that installs it.

    Examples
    --------
    >>> import numpy as np, uhn
    >>> from uhn.plot import plot_energy
    >>> patterns = np.random.default_rng(0).choice([-1, 1], (5, 100))
    >>> network = uhn.HopfieldNetwork(100).store(patterns)
    >>> figure = plot_energy(network.recall(np.ones((3, 100)), trace=True))
    >>> figure.axes[0].get_ylabel()
    'Energy'
    """
    matplotlib = _require_matplotlib()
    if recall.trace is None:
        raise ValueError("the recall has no trace: call recall(..., trace=True)")
    if recall.trace.energies is None:
        raise ValueError("the memory has no energy that fits: there is nothing to draw")
    energies = recall.trace.energies.reshape(len(recall.trace.energies), -1)
    steps, status = np.atleast_1d(recall.n_steps), np.atleast_1d(recall.status)
    n_queries = energies.shape[1]
    if names is None:
        names = [f"query {i}" for i in range(n_queries)] if n_queries <= 10 else []
    elif len(names) != n_queries:
        raise ValueError(f"there are {len(names)} names for {n_queries} queries")
    with matplotlib.rc_context(_STYLE):
        from matplotlib.lines import Line2D
        from matplotlib.ticker import MaxNLocator

        levels = dict(levels or {})
        room = 0.4 + 0.075 * max((len(name) for name in [*names, *levels]), default=0)
        width, height = 4.9 + room, 3.5
        figure = _figure(matplotlib, width, height)
        box = (0.85 / width, 0.55 / height, 3.95 / width, (height - 0.98) / height)
        axes = figure.add_axes(box)
        ends: list[tuple[float, float, str, str]] = []
        last = int(steps.max(initial=1))
        for i in range(n_queries):
            colour = COLOURS[i % len(COLOURS)] if names else COLOURS[0]
            n = int(steps[i])
            axes.plot(
                range(n + 1),
                energies[: n + 1, i],
                color=colour,
                linewidth=1.4 if names else 0.7,
                alpha=1 if names else 0.5,
                zorder=3,
            )
            axes.plot(
                [n],
                [energies[n, i]],
                marker=_STATUS_MARKS[str(status[i])][0],
                markersize=6,
                color=colour,
                markeredgecolor="white",
                markeredgewidth=0.6,
                clip_on=False,
                zorder=4,
            )
            if names:
                ends.append((n, float(energies[n, i]), names[i], colour))
        for name, level in levels.items():
            axes.axhline(level, color=_GREY, linestyle=(0, (4, 2.2)), linewidth=1, zorder=1)
            ends.append((last, level, name, _GREY))
        axes.set_xlim(0, max(last, 1) * 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.grid(axis="y", color="#E4E4E4", linewidth=0.7)
        axes.set_axisbelow(True)
        unit = recall._unit
        axes.set_xlabel(f"{unit.capitalize()} from the query")
        axes.set_ylabel("Energy")
        if title:
            axes.set_title(title, loc="left", color=_INK, pad=8)
        _name_ends(axes, ends)
        kinds = [kind for kind in _STATUS_MARKS if kind in status]
        axes.legend(
            handles=[
                Line2D([], [], marker=_STATUS_MARKS[kind][0], linestyle="", color=_GREY,
                       label=_STATUS_MARKS[kind][1])
                for kind in kinds
            ],
            loc="upper right",
            frameon=False,
            fontsize=9,
        )  # fmt: skip
        if path is not None:
            figure.savefig(path, dpi=200)
    return figure


def _name_ends(axes: Any, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Writes names to the right of linear axes, joined to the ends of their lines."""
    from matplotlib.lines import Line2D

    bottom, top = axes.get_ylim()
    left, right = axes.get_xlim()
    points = axes.get_position().size * axes.figure.get_size_inches() * 72
    heights = spread([end[1] for end in ends], 12.5 / points[1] * (top - bottom), bottom, top)
    point = 1 / points[0]  # of the width of the axes
    for (x, y, name, colour), at in zip(ends, heights, strict=True):
        start = min((x - left) / (right - left) + 5 * point, 1)
        axes.add_line(
            Line2D(
                [start, 1 + 2 * point, 1 + 14 * point],
                [y, y, at],
                transform=axes.get_yaxis_transform(),
                color=colour,
                linewidth=0.6,
                linestyle=(0, (1, 1.6)),
                clip_on=False,
                zorder=1,
            )
        )
        axes.text(
            1 + 17 * point,
            at,
            name,
            transform=axes.get_yaxis_transform(),
            ha="left",
            va="center_baseline",
            fontsize=9,
            color=_GREY if colour == _GREY else _INK,
            gid="line label",
        )


def _sum_of(members: Sequence[int], signs: Sequence[int]) -> str:
    """``(0, 2)`` and ``(1, -1)`` as "0 − 2"."""
    text = ""
    for member, sign in zip(members, signs, strict=True):
        if text:
            text += " + " if sign > 0 else " \N{MINUS SIGN} "
        elif sign < 0:
            text = "\N{MINUS SIGN}"
        text += str(member)
    return text


def plot_landscape(
    network: Any,
    patterns: npt.ArrayLike | None = None,
    *,
    reference: npt.ArrayLike | None = None,
    n_named: int = 16,
    title: str = "",
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """The energy landscape of a small network: all its states, and where they flow.

    Every state is a dot at its overlap with the reference and its energy; states that would
    fall on each other are spread out sideways. A line leads from each state to the one that the
    best single flip makes of it, in the colour of the fixed point where such flips end. Fixed
    points have a marker for what they are in terms of the patterns, and the patterns' numbers.

    Parameters
    ----------
    network : two-state memory, array_like of shape (n_units, n_units), or FixedPoints
        A memory of up to 14 units with an energy, the symmetric weights of a network, or fixed
        points found by `uhn.analysis`, which are then drawn alone.
    patterns : array_like, shape (n_patterns, n_features), optional
        What the fixed points are named by, written as the network writes states; what it has
        stored, by default.
    reference : array_like, shape (n_features,), optional
        The state that overlaps are taken with; the first pattern by default, else the lowest
        fixed point.
    n_named : int, default 16
        The most fixed points whose numbers are written, the lowest first, where there is room.
    title : str
    path : path, optional
        Where to write the figure; its ending says the format.

    Returns
    -------
    matplotlib.figure.Figure
        One axes; the numbers of the fixed points have the gid "name".

    Raises
    ------
    ValueError
        For a network of more units, or without an energy.
    ImportError
        Without matplotlib, with the line that installs it.

    Examples
    --------
    >>> import uhn
    >>> from uhn.plot import plot_landscape
    >>> network = uhn.HopfieldNetwork(6).store([[1, 1, 1, -1, -1, -1], [1, -1, 1, -1, 1, -1]])
    >>> figure = plot_landscape(network)
    >>> sorted(text.get_text() for text in figure.axes[0].texts)
    ['0', '1', '\N{MINUS SIGN}0', '\N{MINUS SIGN}1']
    """
    from uhn import analysis
    from uhn.models import HopfieldNetwork

    matplotlib = _require_matplotlib()
    found = network if isinstance(network, analysis.FixedPoints) else None
    if found is None and not hasattr(network, "retrieve"):
        network = HopfieldNetwork.from_weights(np.asarray(network))
    binary = getattr(network, "coding", "bipolar") == "binary"
    if found is not None and len(found):
        binary = bool((found.states == 0).any())

    def signs(rows: npt.ArrayLike) -> npt.NDArray[np.int64]:
        array = np.atleast_2d(np.asarray(rows)).astype(np.int64)
        return 2 * array - 1 if binary else array

    if found is None:
        n_units = int(network.n_features)
        if n_units > _DRAWN:
            raise ValueError(
                f"the network has {n_units} units: all states of up to {_DRAWN} can be drawn; "
                "pass the FixedPoints of uhn.analysis to draw these alone"
            )
        found = analysis.fixed_points(network)
        if patterns is None and int(network.n_patterns):
            patterns = network.patterns
        codes = np.arange(1 << n_units)
        states = 2 * ((codes[:, None] >> np.arange(n_units)) & 1) - 1
        written = (states + 1) // 2 if binary else states
        energies = np.asarray(network.energy(written.astype(np.float64)))
    else:
        n_units = found.states.shape[1]
        states, energies = signs(found.states), np.zeros(0)
    if found.energies is None:
        raise ValueError("the network has no energy: there is no landscape")
    if len(found) == 0:
        raise ValueError("the network has no fixed point: there is nothing to name")
    fixed = signs(found.states)
    known = fixed[:0] if patterns is None else signs(patterns)
    if reference is not None:
        towards = signs(reference)[0]
    else:
        towards = known[0] if len(known) else fixed[0]
    if len(known):
        what = analysis.classify(fixed, known)
        kinds = what.kind.tolist()
        names = [
            _sum_of(members, sign)
            for members, sign in zip(what.members, what.signs, strict=True)
        ]
    else:
        kinds, names = ["unknown"] * len(fixed), [""] * len(fixed)
    with matplotlib.rc_context(_STYLE):
        figure = _figure(matplotlib, 6.6, 4.3)
        axes = figure.add_axes((0.115, 0.13, 0.66, 0.775 if title else 0.83))
        if len(energies):
            weights = 1 << np.arange(n_units)
            rows = ((fixed > 0) @ weights).astype(np.int64)
            x = _spread_out(states @ towards, energies, n_units)
            _draw_flows(axes, states, energies, x, rows)
            at = x[rows]
        else:
            at = _spread_out(fixed @ towards, found.energies, n_units)
        for kind, (marker, colour, label) in _KIND_MARKS.items():
            own = [i for i, k in enumerate(kinds) if k == kind]
            if own:
                axes.plot(
                    at[own],
                    found.energies[own],
                    linestyle="",
                    marker=marker,
                    markersize=8,
                    color=colour,
                    markeredgecolor="white",
                    markeredgewidth=0.9,
                    label=f"{label} ({len(own)})"
                    if len(known)
                    else f"fixed point ({len(own)})",
                    zorder=5,
                    clip_on=False,
                )
        axes.set_xlim(-1.1, 1.1)
        low, high = axes.get_ylim()
        axes.set_ylim(low - 0.1 * (high - low), high)
        whose = "the reference" if reference is not None or not len(known) else "pattern 0"
        axes.set_xlabel(f"Overlap with {whose}")
        axes.set_ylabel("Energy")
        if title:
            axes.set_title(title, loc="left", color=_INK, pad=8)
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(1.02, 1),
            frameon=False,
            fontsize=9,
            handletextpad=0.3,
            borderaxespad=0,
        )
        _name_points(axes, at, found.energies, names[:n_named])
        if path is not None:
            figure.savefig(path, dpi=200)
    return figure


def _spread_out(
    products: npt.NDArray[Any], energies: npt.NDArray[Any], n_units: int
) -> npt.NDArray[np.float64]:
    """Overlaps, with states of one overlap and one energy side by side."""
    x = products / n_units
    level = np.round(energies, 9)
    order = np.lexsort((level, products))
    starts = np.flatnonzero(
        np.r_[True, (np.diff(products[order]) != 0) | (np.diff(level[order]) != 0)]
    )
    for start, stop in itertools.pairwise([*starts.tolist(), len(order)]):
        group = order[start:stop]
        step = min(1.5 / (n_units * len(group)), 0.06)
        x[group] += step * (np.arange(len(group)) - (len(group) - 1) / 2)
    return np.asarray(x, dtype=np.float64)


def _draw_flows(
    axes: Any,
    states: npt.NDArray[Any],
    energies: npt.NDArray[Any],
    x: npt.NDArray[np.float64],
    fixed: npt.NDArray[np.int64],
) -> None:
    """Every state, and a line to the lowest of those one flip away that are lower."""
    from matplotlib.collections import LineCollection

    codes = np.arange(len(states))
    neighbours = codes[:, None] ^ (1 << np.arange(states.shape[1]))
    best = neighbours[codes, np.argmin(energies[neighbours], axis=1)]
    scale = 1e-9 * max(float(np.abs(energies).max()), 1e-300)
    following = np.where(energies[best] < energies - scale, best, codes)
    ends = following
    for _ in range(len(states).bit_length()):
        ends = ends[ends]
    palette = {int(code): COLOURS[i % len(COLOURS)] for i, code in enumerate(fixed.tolist())}
    colours = [palette.get(int(end), _GREY) for end in ends]
    moves = np.flatnonzero(following != codes)
    lines = np.stack(
        [
            np.column_stack([x[moves], energies[moves]]),
            np.column_stack([x[following[moves]], energies[following[moves]]]),
        ],
        axis=1,
    )
    crowd = min(1.0, (256 / len(states)) ** 0.5)
    axes.add_collection(
        LineCollection(
            list(lines),
            colors=[colours[i] for i in moves],
            linewidths=0.3 + 0.5 * crowd,
            alpha=0.15 + 0.35 * crowd,
            zorder=2,
        )
    )
    axes.scatter(x, energies, s=3 + 9 * crowd, c=colours, linewidths=0, zorder=3)


def _name_points(
    axes: Any, x: npt.NDArray[Any], y: npt.NDArray[Any], names: Sequence[str]
) -> None:
    """Writes names below points, each lower where another is in the way."""
    from matplotlib.patheffects import withStroke

    renderer = axes.figure.canvas.get_renderer()
    halo = [withStroke(linewidth=2.4, foreground="white")]
    places = axes.transData.transform(np.column_stack([x, y]))
    dot = axes.figure.dpi / 72
    taken = [(px - 4 * dot, py - 4 * dot, px + 4 * dot, py + 4 * dot) for px, py in places]
    for i, name in enumerate(names):
        if not name:
            continue
        px, py = places[i]
        text = axes.annotate(
            name, (x[i], y[i]), xytext=(0, -6), textcoords="offset points", ha="center",
            va="top", fontsize=9, color=_INK, gid="name", zorder=6,
            path_effects=halo,
        )  # fmt: skip
        box = text.get_window_extent(renderer)
        half, tall = box.width / 2 + dot, box.height
        # Below, above, or a line further off; no name where there is no room.
        for away in (6, -6, 17, -17):
            bottom = py - away * dot - tall if away > 0 else py - away * dot
            own = (px - half, bottom, px + half, bottom + tall)
            if all(
                own[0] >= b[2] or own[2] <= b[0] or own[1] >= b[3] or own[3] <= b[1]
                for b in taken
            ):
                text.set_position((0, -away))
                text.set_verticalalignment("top" if away > 0 else "bottom")
                taken.append(own)
                break
        else:
            text.remove()


# ------------------------------------------------------------------------------- simulations --

_PANEL = (4.0, 2.75)  # inches, of the axes alone
_LEFT, _BELOW, _ABOVE, _BESIDE = 0.72, 0.62, 0.62, 1.45


def plot_simulations(
    panels: Sequence[Panel], path: str | os.PathLike[str] | None = None
) -> Any:
    """Simulations and the laws they are laid beside, a panel a study.

    Parameters
    ----------
    panels : sequence of Panel
        As `uhn.experiments.simulations.Simulations.panels` makes them.
    path : path, optional
        Where to write the figure; its ending says the format.

    Returns
    -------
    matplotlib.figure.Figure
        The texts naming lines have the gid "line label", those of laws "mark".

    Raises
    ------
    ImportError
        Without matplotlib, with the line that installs it.
    """
    matplotlib = _require_matplotlib()
    with matplotlib.rc_context(_STYLE):
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        n_columns = min(3, len(panels))
        n_rows = -(-len(panels) // n_columns)
        cell = (_LEFT + _PANEL[0] + _BESIDE, _BELOW + _PANEL[1] + _ABOVE)
        width, height = cell[0] * n_columns, cell[1] * n_rows
        figure = matplotlib.figure.Figure(figsize=(width, height), facecolor="white")
        FigureCanvasAgg(figure)
        for i, panel in enumerate(panels):
            row, column = divmod(i, n_columns)
            left = column * cell[0] + _LEFT
            bottom = height - row * cell[1] - _ABOVE - _PANEL[1]
            box = (left / width, bottom / height, _PANEL[0] / width, _PANEL[1] / height)
            _draw_panel(figure.add_axes(box), panel)
        if path is not None:
            figure.savefig(path, dpi=200)
    return figure


def _draw_panel(axes: Any, panel: Panel) -> None:
    axes.set_title(panel.title, loc="left", color=_INK, pad=19, fontweight="bold")
    axes.annotate(
        panel.note,
        (0, 1),
        xytext=(0, 6),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=8.5,
        color=_GREY,
        gid="note",
    )
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if panel.log_x:
        axes.set_xscale("log")
    if panel.log_y:
        axes.set_yscale("log")
    # A law that all curves have in common is drawn once, in black.
    shared = len(panel.lines) > 1 and len({line.theory for line in panel.lines}) == 1
    for i, line in enumerate(panel.lines):
        colour = COLOURS[i]
        if line.theory is not None and (i == 0 or not shared):
            axes.plot(*line.theory, color=_INK if shared else colour, linewidth=1.3, zorder=2)
        if line.limit is not None:
            axes.plot(
                *line.limit, color=colour, linewidth=1.0, linestyle=(0, (4, 2.5)), zorder=1
            )
        points = [
            (x, y, max(y - low, 0), max(high - y, 0))
            for x, y, low, high in zip(line.x, line.mean, line.low, line.high, strict=True)
            if y > 0 or not panel.log_y
        ]
        x, y, below, above = zip(*points, strict=True)
        axes.errorbar(
            x,
            y,
            (below, above),
            color=colour,
            marker=MARKERS[i],
            markersize=5.4 if MARKERS[i] in "PX" else 4.8,
            markeredgecolor="white",
            markeredgewidth=0.5,
            linestyle=":" if line.theory is None else "none",
            linewidth=1.0,
            elinewidth=1.1,
            capsize=2,
            zorder=4 + 0.01 * i,
        )
    _set_limits(axes, panel)
    for level, text in panel.levels:
        axes.axhline(level, color="#999999", linewidth=0.8, zorder=0)
        axes.annotate(
            text,
            (1, level),
            xytext=(3, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=_GREY,
            gid="level",
        )
    if panel.diagonal:
        axes.axline((0, 0), slope=1, color="#AAAAAA", linewidth=0.9, zorder=0)
    for mark in panel.marks:
        colour = _GREY if mark.line is None else COLOURS[mark.line]
        axes.axvline(mark.x, color=colour, linewidth=0.9, linestyle=(0, (1, 1.6)), zorder=0)
        axes.annotate(
            mark.text,
            (mark.x, mark.at),
            xycoords=("data", "axes fraction"),
            rotation=90,
            va="center",
            ha="center",
            fontsize=8,
            color=_INK if mark.line is None else colour,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
            zorder=6,
            gid="mark",
        )
    _name_curves(axes, panel)


def _set_limits(axes: Any, panel: Panel) -> None:
    lines = panel.lines
    xs = [x for line in lines for x in line.x]
    xs += [x for line in lines if line.theory is not None for x in line.theory[0]]
    ys = [y for line in lines for y in (*line.mean, *line.high)]
    if panel.log_x:
        axes.set_xlim(min(xs) / 1.25, max(xs) * 1.25)
        if max(xs) < 100 * min(xs):
            from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

            low, high = axes.get_xlim()
            ticks = [m * 10.0**e for e in range(-3, 7) for m in (1, 2, 5)]
            axes.xaxis.set_major_locator(FixedLocator([t for t in ticks if low <= t <= high]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        room = 0.03 * (max(xs) - min(xs))
        axes.set_xlim(min(xs) - room, max(xs) + room)
    if panel.log_y:
        lowest = min(y for line in lines for y in line.mean if y > 0)
        # Names at the upper ends of curves need room above them.
        axes.set_ylim(lowest / 3, max(ys) * (2.2 if panel.labels == "top" else 1.5))
        if panel.labels == "left":
            axes.set_ylim(top=max(ys) * 3)
    else:
        top = max(ys)
        axes.set_ylim(-0.03 * top, top * (1.12 if panel.labels == "top" else 1.05))


def _name_curves(axes: Any, panel: Panel) -> None:
    """Writes every curve's name, at its end beside the panel or where its labels go."""
    if len(panel.lines) == 1 and panel.lines[0].theory is not None:
        return
    if panel.labels == "right":
        to_data, to_panel = axes.transData, axes.transAxes.inverted()
        ends = []
        for line in panel.lines:
            x, y = max(zip(line.x, line.mean, strict=True))
            y = max(y, axes.get_ylim()[0])
            ends.append(to_panel.transform(to_data.transform((x, y))))
        # Where several end together, names keep the order of the curves from the top.
        wanted = [end[1] - 1e-6 * i for i, end in enumerate(ends)]
        heights = spread(wanted, 13 / 72 / _PANEL[1], 0.02, 1.0)
        for i, ((x, y), at) in enumerate(zip(ends, heights, strict=True)):
            axes.plot(
                [x + 0.02, 1.0, 1.03],
                [y, y, at],
                transform=axes.transAxes,
                color=COLOURS[i],
                linewidth=0.8,
                clip_on=False,
                zorder=1,
            )
            _name(axes, panel.lines[i].label, i, (1.045, at), "axes fraction", "left", "center")
        return
    for i, line in enumerate(panel.lines):
        points = list(zip(line.x, line.mean, strict=True))
        if panel.labels == "left":
            _name(axes, line.label, i, min(points), "data", "left", "bottom", (0, 5))
        elif panel.log_y:
            _name(axes, line.label, i, max(points), "data", "center", "bottom", (0, 6))
        else:
            # Where the curve falls through 0.62, to the right of it.
            after = next((j for j, (_, y) in enumerate(points) if y < 0.62), 1) or 1
            (x, y), (end, low) = points[after - 1], points[after]
            part = min(max((y - 0.62) / (y - low), 0), 1) if y > low else 0.0
            where = x * (end / x) ** part if panel.log_x else x + part * (end - x)
            _name(axes, line.label, i, (where, 0.62), "data", "left", "center", (7, 0))


def _name(
    axes: Any,
    text: str,
    i: int,
    at: tuple[float, float],
    where: str,
    ha: str,
    va: str,
    offset: tuple[float, float] = (0, 0),
) -> None:
    axes.annotate(
        text,
        at,
        xytext=offset,
        xycoords=where,
        textcoords="offset points",
        ha=ha,
        va=va,
        fontsize=9,
        color=COLOURS[i],
        fontweight="bold",
        annotation_clip=False,
        gid="line label",
        zorder=7,
    )
