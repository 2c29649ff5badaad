"""What all figures share: colours, markers, the style, files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO, Any

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
STYLE = {
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

GREY = "#6E6E6E"
INK = "#222222"


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


def require_matplotlib() -> Any:
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'uhn[plot]'") from error
    return matplotlib


def style() -> Any:
    """A context in which matplotlib draws in the package's style: ``with style(): ...``."""
    return require_matplotlib().rc_context(STYLE)


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
    matplotlib = require_matplotlib()
    if not kind and isinstance(path, (str, os.PathLike)):
        kind = os.path.splitext(os.fspath(path))[1].lstrip(".").lower()
    dates: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, format=kind or None, dpi=dpi, metadata=dates.get(kind))
