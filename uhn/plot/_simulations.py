"""Simulations over their theory, a panel a study."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._style import COLOURS, GREY, INK, MARKERS, STYLE, require_matplotlib, spread

if TYPE_CHECKING:
    from uhn.experiments.simulations import Panel

_PANEL = (4.0, 2.75)  # inches, of the axes alone
_LEFT = 0.72
_BELOW = 0.62
_ABOVE = 0.62
_BESIDE = 1.45


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
    matplotlib = require_matplotlib()
    with matplotlib.rc_context(STYLE):
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
    axes.set_title(panel.title, loc="left", color=INK, pad=19, fontweight="bold")
    axes.annotate(
        panel.note,
        (0, 1),
        xytext=(0, 6),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=8.5,
        color=GREY,
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
            axes.plot(*line.theory, color=INK if shared else colour, linewidth=1.3, zorder=2)
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
            color=GREY,
            gid="level",
        )
    if panel.diagonal:
        axes.axline((0, 0), slope=1, color="#AAAAAA", linewidth=0.9, zorder=0)
    for mark in panel.marks:
        colour = GREY if mark.line is None else COLOURS[mark.line]
        axes.axvline(mark.x, color=colour, linewidth=0.9, linestyle=(0, (1, 1.6)), zorder=0)
        axes.annotate(
            mark.text,
            (mark.x, mark.at),
            xycoords=("data", "axes fraction"),
            rotation=90,
            va="center",
            ha="center",
            fontsize=8,
            color=INK if mark.line is None else colour,
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
