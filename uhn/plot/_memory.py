"""Pictures of one memory: recall strips, energies on the way to rest, small landscapes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._style import COLOURS, GREY, INK, STYLE, require_matplotlib, spread

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
    matplotlib = require_matplotlib()
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
    with matplotlib.rc_context(STYLE):
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
                color=INK,
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
                    axes.set_title(titles[j], fontsize=9, color=INK, pad=3)
        if title:
            figure.text(
                left / width, 1 - 0.06 / height, title, ha="left", va="top", fontsize=10,
                fontweight="bold", color=INK, gid="title",
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
    matplotlib = require_matplotlib()
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
    with matplotlib.rc_context(STYLE):
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
            axes.axhline(level, color=GREY, linestyle=(0, (4, 2.2)), linewidth=1, zorder=1)
            ends.append((last, level, name, GREY))
        axes.set_xlim(0, max(last, 1) * 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.grid(axis="y", color="#E4E4E4", linewidth=0.7)
        axes.set_axisbelow(True)
        unit = recall._unit
        axes.set_xlabel(f"{unit.capitalize()} from the query")
        axes.set_ylabel("Energy")
        if title:
            axes.set_title(title, loc="left", color=INK, pad=8)
        _name_ends(axes, ends)
        kinds = [kind for kind in _STATUS_MARKS if kind in status]
        axes.legend(
            handles=[
                Line2D([], [], marker=_STATUS_MARKS[kind][0], linestyle="", color=GREY,
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
            color=GREY if colour == GREY else INK,
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

    matplotlib = require_matplotlib()
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
    with matplotlib.rc_context(STYLE):
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
            axes.set_title(title, loc="left", color=INK, pad=8)
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
    colours = [palette.get(int(end), GREY) for end in ends]
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
            va="top", fontsize=9, color=INK, gid="name", zorder=6,
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
