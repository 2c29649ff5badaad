"""The package's one way to draw: matplotlib figures that can go into a paper as they are.

Colours are Okabe and Ito's, told apart with any kind of colour vision, and every line has a
marker of its own, so that nothing depends on colour. Lines are named where they end, not in a
legend. matplotlib is imported when something is drawn; figures are made without pyplot, so no
window system is needed and no global state is touched.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from uhn.experiments.capacity import CapacityResult, Point
    from uhn.experiments.simulations import Panel

__all__ = ["COLOURS", "MARKERS", "plot_capacity", "plot_simulations", "spread", "style"]

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


def _wrap(text: str, fits: Callable[[str], bool]) -> str:
    """Breaks a list of parts joined by "; " into lines that fit."""
    lines = [""]
    for part in text.split("; "):
        longer = f"{lines[-1]}; {part}" if lines[-1] else part
        if lines[-1] and not fits(longer):
            lines[-1] += ";"
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


def _plain_ticks(
    sizes: Sequence[int], low: float, high: float, width_points: float
) -> list[int]:
    """The sizes that can be written under a log axis without touching each other.

    Powers of ten times 1, 2 and 5 come first, the others where room is left.
    """
    if high <= low:
        return list(sizes)

    def rank(size: int) -> tuple[int, int]:
        digits = str(size).rstrip("0")
        return ({"1": 0, "2": 1, "5": 1}.get(digits, 2), -size)

    scale = width_points / np.log(high / low)
    half = {size: 2.9 * len(str(size)) + 1.5 for size in sizes}
    chosen: list[int] = []
    ends = [min(sizes), max(sizes)]
    for size in ends + sorted(sizes, key=rank):
        if all(
            abs(np.log(size / other)) * scale >= half[size] + half[other] for other in chosen
        ):
            chosen.append(size)
    return sorted(chosen)


def plot_capacity(result: CapacityResult, path: str | os.PathLike[str] | None = None) -> Any:
    """Capacity by both criteria, side by side.

    Parameters
    ----------
    result : CapacityResult
    path : path, optional
        Where to write the figure; its ending says the format.

    Returns
    -------
    matplotlib.figure.Figure
        Two axes, "by threshold" and "by winning index"; the texts naming the lines have the gid
        "line label".

    Raises
    ------
    ImportError
        Without matplotlib, with the line that installs it.
    """
    matplotlib = _require_matplotlib()
    with matplotlib.rc_context(_STYLE):
        figure = _draw(matplotlib, result)
        if path is not None:
            figure.savefig(path, dpi=200)
    return figure


def _draw(matplotlib: Any, result: CapacityResult) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.font_manager import FontProperties
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    curves = result.curves()
    labels = [", ".join(map(_readable, label.split(", "))) for label in result.labels()]
    sizes = sorted({row.n_patterns for row in result.rows})
    figure = matplotlib.figure.Figure(figsize=(10.4, 4.5), facecolor="white")
    canvas = FigureCanvasAgg(figure)

    # The margins are set by hand, in inches: names need room to the right of each panel that no
    # layout engine knows of.
    renderer: Any = canvas.get_renderer()  # type: ignore[no-untyped-call]

    def inches(text: str, size: float, weight: str = "normal") -> float:
        font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
        pixels: float = renderer.get_text_width_height_descent(text, font, False)[0]
        return pixels / float(figure.dpi)

    width, height = figure.get_size_inches()
    room = min(3.0, 0.42 + max((inches(label, 9) for label in labels), default=0.0))
    left, between, right = 0.62, room + 0.46, room
    panel = (width - left - between - right) / 2
    subtitle = _wrap(result.subtitle(), lambda text: inches(text, 9) <= width - left - 0.1)
    bottom, top = 0.56, 0.84 + 0.15 * (subtitle.count("\n") + 1)
    box = (bottom / height, panel / width, (height - bottom - top) / height)
    first = figure.add_axes((left / width, *box))
    second = figure.add_axes(((left + panel + between) / width, *box), sharey=first)
    corner: Any = {"ha": "left", "va": "top"}
    figure.text(
        left / width,
        1 - 0.16 / height,
        result.title(),
        fontsize=min(12.0, 12 * (width - left - 0.1) / inches(result.title(), 12, "bold")),
        fontweight="bold",
        color=_INK,
        gid="title",
        **corner,
    )
    figure.text(
        left / width,
        1 - 0.42 / height,
        subtitle,
        fontsize=9,
        color=_GREY,
        gid="subtitle",
        **corner,
    )

    own = [curve for curve in curves if not curve.is_baseline]
    colours = {id(curve): COLOURS[i % len(COLOURS)] for i, curve in enumerate(own)}
    markers = {id(curve): MARKERS[i % len(MARKERS)] for i, curve in enumerate(own)}
    panels = (
        (first, "threshold", f"By threshold: squared error ≤ {result.threshold:.3g}"),
        (second, "index", "By winning index: nearest stored image is the right one"),
    )
    for axes, criterion, heading in panels:
        axes.set_title(heading, loc="left", color=_INK, pad=7)
        axes.set_xscale("log")
        low, high = min(sizes) / 1.13, max(sizes) * 1.13
        axes.set_xlim(low, high)
        axes.set_ylim(-0.03, 1.03)
        ticks = _plain_ticks(sizes, low, high, panel * 72)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(FixedLocator([s for s in sizes if s not in ticks]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
        axes.yaxis.set_major_locator(FixedLocator([0, 0.2, 0.4, 0.6, 0.8, 1]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(axis="y", color="#E4E4E4", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.set_xlabel("Patterns stored")
        ends = []
        shaded: set[tuple[Point, Point]] = set()
        for i, (curve, label) in enumerate(zip(curves, labels, strict=True)):
            points = getattr(curve, criterion)
            x = [point.n_patterns for point in points]
            y = [point.fraction for point in points]
            if curve.is_baseline:
                colour, marker, line = _GREY, "", (0, (4, 2.2))
                axes.plot(x, y, color=colour, linestyle=line, linewidth=1.2, zorder=2)
            else:
                colour, marker = colours[id(curve)], markers[id(curve)]
                _band(axes, points, colour, shaded)
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
        _name_lines(axes, ends, high, panel)
    first.set_ylabel("Fraction of images retrieved")
    return figure


def _band(
    axes: Any, points: Sequence[Point], colour: str, shaded: set[tuple[Point, Point]]
) -> None:
    """Shades the interval of a curve, except where another curve's very same one is shaded.

    Curves that coincide, as many do while the memory is small, would else pile up to a block.
    """
    x = [point.n_patterns for point in points]
    low, high = [point.low for point in points], [point.high for point in points]
    if len(points) == 1:
        axes.vlines(x, low, high, color=colour, linewidth=1.2, alpha=0.6, zorder=2)
    segments = list(itertools.pairwise(points))
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
    axes: Any, ends: list[tuple[int, float, str, str, str]], edge: float, panel: float
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
    x_limits = np.log(axes.get_xlim())
    for (x, y, label, colour, marker), at in zip(ends, heights, strict=True):
        start = (np.log(x) - x_limits[0]) / (x_limits[1] - x_limits[0]) + 0.05 * inch
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
