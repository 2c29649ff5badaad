"""A report of experiments: figures, tables and pictures, and one HTML file that has them all.

`write_report` writes ``report.html``, which needs no other file and no network (figures are
inside it), and beside it ``results.csv`` with every cell and each figure as PNG and SVG. The
same results make the same bytes, but for the date and what the caller says of the time taken.
"""

from __future__ import annotations

import base64
import html
import io
import math
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import uhn
from uhn import plot
from uhn.experiments.corruptions import row_axis
from uhn.experiments.results import INDEX, Result

if TYPE_CHECKING:
    from uhn.datasets import Dataset
    from uhn.experiments.published import Difference

__all__ = ["Strip", "plot_strip", "write_report"]

DPI = 150
"""Of the PNG files."""

_PER_LINE = 10  # pictures beside each other in a strip
_INK = "#222222"
_WRONG = "#B03A00"
_FRAME = "#9A9A9A"

_TITLES = {
    "capacity": "Capacity",
    "similarity": "Similarity functions",
    "separation": "Separation functions",
    "noise": "Levels of noise",
    "masking": "Fractions masked",
    "random-mask": "Pixels masked at random",
    "inpaint": "Borders masked",
    "threshold": "Error thresholds",
    "hetero": "Hetero-association",
    "hetero-binary": "Hetero-association of binary images",
}

_REPOSITORY = "https://github.com/BerenMillidge/Theory_Associative_Memory"
_PAPER = "https://arxiv.org/abs/2202.04557"

# What the published plotting code draws, and what is not the same here, in this order. The
# criteria, the bands and the clean procedure are spoken of for all figures together.
_PUBLISHED: dict[str, tuple[str, str]] = {
    "similarity": (
        "Six similarities under max, 2 to 1000 stored images, noise of standard deviation 0.5 "
        "whatever perturbation is asked for. The threshold is 60, or 60 x 784 / D for images "
        "of D values, as the published code stands now.",
        "The cosine, which the published code only defines (and divides by the norm of the "
        "whole matrix, so that it ranks as the dot product does), and the answer "
        '"mean of what is stored" are there for comparison. What is called the dot product in '
        "the published figure is the normalized dot here: both sides are divided by their "
        "sums.",
    ),
    "separation": (
        "Nine separations of the reciprocal Manhattan distance, 5 to 1000 stored images, lower "
        "half masked, threshold 60. Softmax has the parameter 1000 on scores that sum to 1.",
        'The answer "mean of what is stored" is there for comparison. The clean procedure has '
        "log(1 + x) in the place of the logarithm, whose weights point to the least similar "
        "image.",
    ),
    "noise": (
        "Six similarities under max, 100 stored images, threshold 60. The published axis says "
        "variance; the code's parameter is the standard deviation.",
        "The axis says standard deviation.",
    ),
    "masking": (
        "Six similarities under max, 50 stored images, 10 % to 90 % of the rows masked from "
        "below, threshold 60.",
        "",
    ),
    "random-mask": (
        "In the appendix: three similarities under max, 300 stored images, 10 % to 70 % of the "
        "pixels masked, in all their channels, threshold 60.",
        "",
    ),
    "inpaint": (
        "In the appendix: three similarities under max, 300 stored images, a border masked on "
        "all four sides, threshold 60.",
        "",
    ),
    "threshold": (
        "Three similarities under max, 250 stored images of CIFAR10, lower half masked, "
        "thresholds from 1 to 500. A line marks 50 as the threshold in use; the code's default "
        "is 60.",
        "Both numbers are marked.",
    ),
    "hetero": (
        "The sum-normalised dot product under max, 2 to 1000 stored images, noise of standard "
        "deviation 0.3; what is retrieved is the image itself or its lower half.",
        "",
    ),
    "hetero-binary": (
        'The same with images of -1 and 1, called "classical Hopfield": identity for a '
        "separation, 2 to 50 stored images. The published perturbation turns every query into "
        "all ones, so that the published curves say nothing about the network.",
        "The clean procedure is the network of the textbooks: dot product, identity, sign.",
    ),
}


# ---------------------------------------------------------------------------------- pictures --


@dataclass(frozen=True, eq=False)
class Strip:
    """Images that were stored, asked for and found, side by side.

    Attributes
    ----------
    title : str
    shape : tuple of int
        Of one image: (rows, columns), (channels, rows, columns) or (rows, columns, channels).
    columns : tuple of str
        What each of the n columns is called.
    originals, queries, results : ndarray of shape (n, d)
        Values in [0, 1], or in [-1, 1] if there are negative ones. A result may be NaN.
    correct : tuple of bool, optional
        Which results are right.
    caption : str
    targets : ndarray of shape (n, d), optional
        What should have been found, where that is not the original: in hetero-association.
        Each of the n is then a line of four pictures.

    Raises
    ------
    ValueError
        Arrays, names and verdicts that are not as many, or a shape that is not theirs.
    """

    title: str
    shape: tuple[int, ...]
    columns: tuple[str, ...]
    originals: npt.NDArray[Any]
    queries: npt.NDArray[Any]
    results: npt.NDArray[Any]
    correct: tuple[bool, ...] | None = None
    caption: str = ""
    targets: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("a strip needs at least one column")
        row_axis(self.shape)
        wanted = (len(self.columns), math.prod(self.shape))
        for name, images in self.rows():
            if np.shape(images) != wanted:
                raise ValueError(
                    f"{name} must have shape {wanted} for {wanted[0]} columns of images of "
                    f"{self.shape}, not {np.shape(images)}"
                )
        if self.correct is not None and len(self.correct) != wanted[0]:
            raise ValueError(f"{len(self.correct)} verdicts for {wanted[0]} columns")

    def rows(self) -> list[tuple[str, npt.NDArray[Any]]]:
        """What is shown, by name."""
        if self.targets is None:
            return [
                ("original", self.originals),
                ("query", self.queries),
                ("reconstruction", self.results),
            ]
        return [
            ("stored", self.originals),
            ("query", self.queries),
            ("target", self.targets),
            ("retrieved", self.results),
        ]


def plot_strip(strip: Strip, path: str | PathLike[str] | None = None) -> Any:
    """Draws a strip: originals, queries and reconstructions as rows, ten columns in a line.

    With `targets`, each example is a row of four pictures instead. A wrong result has a thick
    dashed frame and the word "wrong", a right one a thin frame and the word "right".

    Parameters
    ----------
    strip : Strip
    path : path, optional
        Where to write the figure; its ending says the format.

    Returns
    -------
    matplotlib.figure.Figure
        An axes for each picture. Texts have the gid "title", "name" or "verdict".

    Raises
    ------
    ImportError
        Without matplotlib, with the line that installs it.
    """
    with plot.style():
        figure = _draw_strip(strip)
        if path is not None:
            plot.save(figure, path, dpi=DPI)
    return figure


def _draw_strip(strip: Strip) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = strip.rows()
    n = len(strip.columns)
    across = strip.targets is not None  # an example is a row
    n_lines = 1 if across else -(-n // _PER_LINE)
    n_columns, n_rows = (len(kinds), n) if across else (min(n, _PER_LINE), len(kinds))

    figure = Figure(facecolor="white")
    canvas = FigureCanvasAgg(figure)
    renderer: Any = canvas.get_renderer()  # type: ignore[no-untyped-call]

    def inches(text: str, size: float, weight: str = "normal") -> float:
        from matplotlib.font_manager import FontProperties

        font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
        lines = text.split("\n")
        widths = [renderer.get_text_width_height_descent(x, font, False)[0] for x in lines]
        return float(max(widths)) / float(figure.dpi)

    names = strip.columns if across else [name for name, _ in kinds]
    heads = [name for name, _ in kinds] if across else strip.columns
    tile = max(0.88, max(inches(head, 9) for head in heads) + 0.1)
    gap = 0.08
    left = 0.3 + max(inches(name, 9) for name in names)
    right = 0.85 if across and strip.correct is not None else 0.15
    below = 0.24 if not across and strip.correct is not None else 0.05
    width = max(left + n_columns * (tile + gap) + right, 4.0)
    # With room for what hinting makes of the letters at another resolution.
    title_width = 1.06 * inches(strip.title, 11, "bold")
    title_size = min(11.0, max(8.0, 11 * (width - 0.3) / title_width))
    width = max(width, title_width * title_size / 11 + 0.3)
    top, head = 0.42, 0.22
    line = head + n_rows * (tile + gap) + below
    height = top + n_lines * line + (n_lines - 1) * 0.15 + 0.08
    figure.set_size_inches(width, height)

    def write(x: float, y: float, text: str, gid: str, **more: Any) -> None:
        """Text at inches from the left and from the top."""
        style: dict[str, Any] = {"fontsize": 9, "color": _INK} | more
        figure.text(x / width, 1 - y / height, text, gid=gid, **style)

    write(0.15, 0.12, strip.title, "title", fontsize=title_size, fontweight="bold", va="top")
    low = min(0.0, *(float(np.nanmin(images, initial=0)) for _, images in kinds))
    low = -1.0 if low < 0 else 0.0
    for j, column in enumerate(strip.columns):
        place = j % _PER_LINE
        over = top + (0 if across else j // _PER_LINE) * (line + 0.15)
        for k, (name, images) in enumerate(kinds):
            row, at = (j, k) if across else (k, place)
            x, y = left + at * (tile + gap), over + head + row * (tile + gap)
            box = (x / width, 1 - (y + tile) / height, tile / width, tile / height)
            axes = figure.add_axes(box)
            _picture(axes, np.asarray(images[j]), strip.shape, low)
            if row == 0:
                text = heads[k if across else j]
                write(x + tile / 2, over + head - 0.06, text, "name", ha="center")
            if at == 0:
                text = column if across else name
                write(left - 0.1, y + tile / 2, text, "name", ha="right", va="center")
            if k == len(kinds) - 1 and strip.correct is not None:
                good = strip.correct[j]
                words = "✓ right" if good else "✗ wrong"
                spot = (x + tile + 0.1, y + tile / 2) if across else (x + tile / 2, y + tile)
                write(
                    spot[0],
                    spot[1] + (0 if across else 0.06),
                    words,
                    "verdict",
                    ha="left" if across else "center",
                    va="center" if across else "top",
                    color=_INK if good else _WRONG,
                    fontweight="normal" if good else "bold",
                    fontsize=8.5,
                )
                if not good:
                    for spine in axes.spines.values():
                        spine.set(color=_WRONG, linewidth=2.4, linestyle=(0, (3, 1.2)))
    return figure


def _picture(axes: Any, values: npt.NDArray[Any], shape: tuple[int, ...], low: float) -> None:
    image = values.reshape(shape)
    if len(shape) == 3 and row_axis(shape) == 1:
        image = np.moveaxis(image, 0, -1)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color=_FRAME, linewidth=0.6)
    if not np.isfinite(image).all():
        axes.set_facecolor("#EEEEEE")
        axes.text(0.5, 0.5, "not a\nnumber", ha="center", va="center", fontsize=8, color=_INK)
        return
    scaled = np.clip((image.astype(np.float64) - low) / (1 - low), 0, 1)
    # An SVG then keeps the pixels as they are.
    axes.imshow(scaled, cmap="gray", vmin=0, vmax=1, interpolation="none", aspect="equal")


# ------------------------------------------------------------------------------------ report --


def write_report(
    out_dir: str | PathLike[str],
    results: Iterable[Result],
    *,
    dataset: Dataset,
    pictures: Iterable[Strip] = (),
    differences: Iterable[Difference] = (),
    settings: Mapping[str, object] | None = None,
    interval: str = "wilson",
) -> list[Path]:
    """Writes ``results.csv``, every figure as PNG and SVG, and ``report.html``.

    Parameters
    ----------
    out_dir : path
        Made if it is not there. Files of the same names are replaced.
    results : iterable of Result
        Each makes a section.
    dataset : Dataset
        Of all results, for what is said about the images.
    pictures : iterable of Strip
    differences : iterable of Difference
        Of `uhn.experiments.published.differences`.
    settings : mapping of str to object, optional
        What was asked for, listed as it is. "title" and "date" replace the report's own;
        "command" is shown as code.
    interval : {"wilson", "sd"}
        What the bands of the figures are, see `uhn.plot.plot_capacity`.

    Returns
    -------
    list of Path
        What was written, the report last.

    Raises
    ------
    ImportError
        Without matplotlib, with the line that installs it. Nothing is written then.
    """
    results, pictures, differences = tuple(results), tuple(pictures), tuple(differences)
    with plot.style():  # Fails before anything is written, if it fails.
        folder = Path(out_dir)
        folder.mkdir(parents=True, exist_ok=True)
    settings = dict(settings or {})
    written: list[Path] = []
    if results:
        rows = tuple(row for result in results for row in result.rows)
        Result(rows).to_csv(folder / "results.csv")
        written.append(folder / "results.csv")

    sections: list[_Section] = []
    for number, result in enumerate(results, 1):
        name = _anchor(number, result)
        figure = plot.plot_capacity(result, interval=interval)
        image = _write_figure(figure, folder, name, _alt(result), written)
        body = _experiment(result, image, interval, dataset.note)
        sections.append(_Section(name, _name(result), body))
    if pictures:
        shown = []
        for number, strip in enumerate(pictures, 1):
            name = f"picture-{number:02d}-{_slug(strip.title)}"
            image = _write_figure(plot_strip(strip), folder, name, _alt_strip(strip), written)
            caption = f"<b>{_e(strip.title)}.</b> {_e(strip.caption)}"
            shown.append(_figure(image, caption.strip()))
        sections.append(_Section("pictures", "Pictures", _PICTURES + "\n".join(shown)))
    if differences:
        title = "Published code and published formula: what each difference does"
        sections.append(_Section("differences", title, _differences(differences)))
    first = [_Section("run", "What was run", _what(results, dataset, settings))]
    if results:
        reading = _reading(results, interval)
        first.append(_Section("reading", "How to read the figures", reading))
        first.append(_Section("summary", "In short", _summary(results)))
    files = "".join(f'<li><a href="{_e(p.name)}">{_e(p.name)}</a></li>' for p in written)
    last = _Section("files", "Files beside this report", f'<ul class="files">{files}</ul>')
    page = _page(_title(results, dataset, settings), [*first, *sections, last], settings)
    written.append(folder / "report.html")
    written[-1].write_text(page, encoding="utf-8", newline="\n")
    return written


@dataclass(frozen=True)
class _Section:
    anchor: str
    title: str
    body: str


def _e(text: object) -> str:
    return html.escape(str(text), quote=True)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].rstrip("-") or "figure"


def _anchor(number: int, result: Result) -> str:
    """What a section and its files are called."""
    return f"{number:02d}-{_slug(result.experiment)}"


def _name(result: Result) -> str:
    """Of an experiment, for a heading."""
    name = result.experiment
    return _TITLES.get(name, name.replace("-", " ").capitalize())


def _write_figure(figure: Any, folder: Path, name: str, alt: str, written: list[Path]) -> str:
    """Writes both files and returns the figure as an <img> that holds it."""
    for kind in ("png", "svg"):
        written.append(folder / f"{name}.{kind}")
        plot.save(figure, written[-1], dpi=DPI)
    stream = io.BytesIO()
    plot.save(figure, stream, kind="svg", dpi=DPI)
    # Where DejaVu Sans is not installed: Verdana is as wide.
    text = stream.getvalue().decode("utf-8")
    text = text.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    data = base64.b64encode(text.encode("utf-8")).decode("ascii")
    width, height = (round(96 * float(inches)) for inches in figure.get_size_inches())
    return (
        f'<img src="data:image/svg+xml;base64,{data}" width="{width}" height="{height}" '
        f'alt="{_e(alt)}">'
    )


def _figure(image: str, caption: str) -> str:
    return (
        f'<figure>\n<div class="scroll" tabindex="0" role="group" aria-label="figure">{image}'
        f"</div>\n<figcaption>{caption}</figcaption>\n</figure>"
    )


# ------------------------------------------------------------------------------ what is said --


def _title(results: Sequence[Result], dataset: Dataset, settings: Mapping[str, object]) -> str:
    if "title" in settings:
        return str(settings["title"])
    if any("published" in result.procedures for result in results):
        return f"Universal Hopfield Networks, measured again: {dataset.name}"
    return f"Associative memories: {dataset.name}"


def _what(results: Sequence[Result], dataset: Dataset, settings: Mapping[str, object]) -> str:
    rows = [row for result in results for row in result.rows]
    # A cell judged by several thresholds is as many rows, but was computed once.
    once = {replace(row, threshold=0.0).key: row for row in rows}
    info = uhn.cpu_info()
    about: list[tuple[str, str]] = [
        ("Data set", dataset.name),
        ("Images", f"{len(dataset):,} of {' x '.join(map(str, dataset.shape)) or 'no shape'}"),
        ("Split", dataset.split),
        ("Source", dataset.source),
        ("Terms", dataset.terms),
        ("Note", dataset.note),
    ]
    if dataset.n_grey:
        about.append(("Single-channel images", f"{dataset.n_grey:,}"))
    asked = [
        (str(name).replace("_", " ").capitalize(), str(value))
        for name, value in settings.items()
        if name not in ("title", "date", "command", "seconds")
    ]
    if "seed" not in settings and rows:
        asked.append(("Seed", ", ".join(map(str, sorted({row.seed for row in rows})))))
    if rows:
        trials = sum(row.n_trials for row in once.values())
        asked.append(("Size", f"{len(once):,} cells, {trials:,} trials, {len(rows):,} rows"))
        seconds = sum(row.seconds for row in once.values())
        asked.append(("Time of the cells", f"{seconds:,.1f} s in all"))
    if "seconds" in settings:
        value = settings["seconds"]
        text = f"{value:,.1f} s" if isinstance(value, (int, float)) else str(value)
        asked.append(("Time of this run", f"{text} (what was there already costs none)"))
    versions = sorted({row.version for row in rows} | {uhn.__version__})
    machine = [
        ("uhn", ", ".join(versions)),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("NumPy", np.__version__),
        ("System", f"{platform.system()} {platform.machine()}"),
        ("CPU path", f"{info['path']} of {', '.join(info['available'])}; {info['compiler']}"),
        ("Threads", str(info["n_threads"])),
    ]
    parts = [
        f'<p class="command"><code>{_e(settings["command"])}</code></p>'
        if settings.get("command")
        else "",
        _terms("Images", about),
        _terms("Experiments", asked),
        _terms("Software and machine", machine),
        "<p>The last columns of <code>results.csv</code> say of every cell which images it "
        "used (the first 16 digits of their SHA-256), the seed, the seconds and the "
        "version.</p>"
        if rows
        else "",
    ]
    return "\n".join(part for part in parts if part)


def _terms(head: str, pairs: Sequence[tuple[str, str]]) -> str:
    items = "".join(
        f"<div><dt>{_e(name)}</dt><dd>{_e(value)}</dd></div>" for name, value in pairs if value
    )
    return f"<h3>{_e(head)}</h3>\n<dl>{items}</dl>" if items else ""


def _reading(results: Sequence[Result], interval: str) -> str:
    procedures = {name for result in results for name in result.procedures}
    out = [
        "<p>Every stored image is one trial: it is damaged, the memory is asked once, and the "
        "answer is judged. The fraction judged correct is on the y axis, from 0 to 1.</p>",
        "<dl>",
        "<div><dt>By threshold</dt><dd>The squared error, summed over all values of the image, "
        "is at most the threshold. This is the published criterion. It can be fooled: where "
        "images are alike, their mean is near enough to many of them, which is what the dashed "
        'line "mean image" shows where it is drawn.</dd></div>',
        "<div><dt>By winning index</dt><dd>The stored image nearest to the answer is the one "
        "asked for, or a copy of it.</dd></div>",
        f"<div><dt>Bands</dt><dd>{_e(_BANDS[interval])}</dd></div>",
    ]
    if "published" in procedures:
        out.append(
            "<div><dt>Published procedure</dt><dd>Each trial is decided as the "
            f'<a href="{_REPOSITORY}">code</a> beside '
            f'<a href="{_PAPER}">Millidge, Salvatori, Song, Lukasiewicz and Bogacz, Universal '
            "Hopfield Networks (ICML 2022)</a> decides it, defects included. The paper has the "
            "criterion by threshold only, and bands of the standard deviation of five "
            "runs.</dd></div>"
        )
    if "clean" in procedures:
        out.append(
            "<div><dt>Clean procedure</dt><dd>The formulas as they are stated: distances enter "
            "negated, divergences are divergences, noise is clipped and not folded, a mask "
            "knows where the rows of a colour image lie.</dd></div>"
        )
    if len(procedures) > 1:
        out.append(
            "<div><dt>Side by side</dt><dd>The two procedures meet the same images and the "
            "same draws of noise. A line looks the same in every panel of a figure.</dd></div>"
        )
    return "\n".join([*out, "</dl>"])


_BANDS = {
    "wilson": (
        "Wilson's 95 % interval of the trials of all runs together. It takes trials as "
        "independent; those of one run share a memory, so the spread between runs can be wider."
    ),
    "sd": (
        "Plus and minus the population standard deviation of the fractions of the runs, as in "
        "the published figures."
    ),
}

_PICTURES = (
    "<p>What was stored, what was asked, and what came back. A wrong result has a thick dashed "
    'frame and the word "wrong" beside it.</p>\n'
)


def _span(values: Iterable[float]) -> str:
    low, high = min(values := list(values)), max(values)
    return f"{low:,.10g}" if low == high else f"{low:,.10g} to {high:,.10g}"


def _x_name(result: Result) -> str:
    default = {"n_patterns": "patterns stored", "level": "level", "threshold": "threshold"}
    label = result.x_label or default[result.x]
    return label[:1].lower() + label[1:]


def _caption(result: Result, interval: str) -> str:
    curves = [
        curve
        for name in result.procedures
        for criterion in result.panels(name)
        for curve in result.curves(name, criterion)
    ]
    points = [point for curve in curves for point in curve.points]
    runs = f"{result.n_runs} run{'s' if result.n_runs > 1 else ''}"
    logarithmic = result.x != "level" and min(point.x for point in points) > 0
    words = [
        f"Fraction of images retrieved (y) against {_x_name(result)} (x, "
        f"{'logarithmic' if logarithmic else 'linear'}, {_span(p.x for p in points)}).",
        f"A point is {_span(p.n_trials for p in points)} trials in {runs}, one for each stored "
        "image.",
        "Bands: Wilson's 95 % interval."
        if interval == "wilson"
        else "Bands: plus and minus the standard deviation between runs.",
    ]
    if len(result.procedures) > 1:
        words.append("Left: the published procedure. Right: the clean one.")
    else:
        words.append(f"Procedure: {result.procedures[0]}.")
    if result.x != "threshold":
        found = {
            name: result.thresholds(name) for name in result.procedures if result.panels(name)
        }
        if "threshold" in result.criteria:
            said = {_listed(values) for values in found.values()}
            words.append(
                f"Thresholds: {said.pop()}."
                if len(said) == 1
                else "Thresholds: "
                + "; ".join(f"{_listed(v)} ({name})" for name, v in found.items())
                + "."
            )
    return " ".join(words)


def _listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _ends(result: Result) -> Iterator[tuple[str, float | str, float, list[tuple[float, str]]]]:
    """Of every panel: procedure, criterion, the last x, and who has what there, best first."""
    for name in result.procedures:
        for criterion in result.panels(name):
            curves = result.curves(name, criterion)
            last = max(curve.points[-1].x for curve in curves)
            ends = [
                (curve.points[-1].fraction, label)
                for curve, label in zip(curves, plot.line_names(result, curves), strict=True)
                if curve.points[-1].x == last and not curve.is_baseline
            ]
            yield name, criterion, last, sorted(ends, key=lambda end: -end[0])


def _alt(result: Result) -> str:
    """A figure in words: what is drawn, and who is first and last at the right end."""
    words = [f"Line chart. {result.title()}."]
    for name, criterion, last, ends in _ends(result):
        text = f"{name.capitalize()}, {_judged(criterion)}, at {last:g}"
        if ends:
            text += f": {ends[0][1]} {ends[0][0]:.2f}"
        if len(ends) > 1:
            text += f" down to {ends[-1][1]} {ends[-1][0]:.2f}"
        words.append(f"{text}.")
    return " ".join([*words, "All numbers are in the tables below the figure."])


def _averages(result: Result, procedure: str, criterion: float | str) -> str:
    """Whose curve is the highest and whose the lowest on average, in words."""
    curves = result.curves(procedure, criterion)
    found: dict[str, list[str]] = {}
    for curve, label in zip(curves, plot.line_names(result, curves), strict=True):
        if not curve.is_baseline:
            mean = sum(point.fraction for point in curve.points) / len(curve.points)
            found.setdefault(f"{mean:.3f}", []).append(label)
    ends = sorted(found, reverse=True)
    words = []
    for end in dict.fromkeys((*ends[:1], *ends[-1:])):
        names = found[end]
        words.append(f"{end} {', '.join(names) if len(names) < 4 else f'{len(names)} lines'}")
    return "; ".join(words) or "–"


def _summary(results: Sequence[Result]) -> str:
    """The highest and the lowest curve of every panel, as a table."""
    procedures = sorted({name for result in results for name in result.procedures}, key=_ORDER)
    body = []
    for number, result in enumerate(results, 1):
        link = f'<a href="#{_anchor(number, result)}">{_e(_name(result))}</a>'
        for pair in plot.pairs(result):
            judged = {name: _judged(criterion) for name, criterion in pair.items()}
            said = list(dict.fromkeys(judged.values()))
            if len(said) > 1:
                said = [f"{text} ({name})" for name, text in judged.items()]
            cells = [("Judged", ", ".join(said).replace(", by threshold", ","))]
            for name in procedures:
                there = name in pair
                text = _averages(result, name, pair[name]) if there else "–"
                cells.append((name.capitalize(), text))
            body.append(
                f'<tr><th scope="row">{link}</th>'
                + "".join(f'<td data-label="{h}">{_e(text)}</td>' for h, text in cells)
                + "</tr>"
            )
    heads = ["Experiment", "Judged", *(name.capitalize() for name in procedures)]
    columns = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return (
        "<p>Fraction retrieved, averaged over the points of a curve: the highest and the "
        "lowest curve of every panel. An average over other sizes or levels would be another "
        "number; the curves say more.</p>\n"
        '<table class="stacked">\n<caption>Highest and lowest curve, on average</caption>\n'
        f"<thead><tr>{columns}</tr></thead>\n<tbody>\n{chr(10).join(body)}\n</tbody>\n"
        "</table>"
    )


_ORDER = ("published", "clean").index


def _judged(criterion: float | str) -> str:
    if criterion == INDEX:
        return "by winning index"
    if criterion == "threshold":
        return "by threshold"
    return f"by threshold {float(criterion):.4g}"


def _alt_strip(strip: Strip) -> str:
    kinds = ", ".join(name for name, _ in strip.rows())
    words = [f"Pictures: {strip.title}. For each of {', '.join(strip.columns)}: {kinds}."]
    if strip.correct is not None:
        for verdict, good in (("Right", True), ("Wrong", False)):
            names = [
                name
                for name, correct in zip(strip.columns, strip.correct, strict=True)
                if bool(correct) == good
            ]
            words.append(f"{verdict}: {', '.join(names) or 'none'}.")
    return " ".join(words)


# ---------------------------------------------------------------------------------- sections --


def _experiment(result: Result, image: str, interval: str, said: str) -> str:
    caption = f"<b>{_e(result.title())}.</b> {_e(_caption(result, interval))}"
    out = [_figure(image, caption)]
    if result.experiment in _PUBLISHED and "published" in result.procedures:
        figure, differs = _PUBLISHED[result.experiment]
        out.append(f"<p><b>The published figure.</b> {_e(figure)}</p>")
        if differs:
            out.append(f"<p><b>Different here.</b> {_e(differs)}</p>")
    # What was said of the data set is not said again.
    notes = [part for part in result.note.split("; ") if part and part not in said]
    if notes:
        out.append(f"<p><b>Note.</b> {_e('; '.join(notes))}</p>")
    # What the caption does not say already.
    shared = [
        part
        for part in result.subtitle().split("; ")
        if not re.match(r"\d+ runs?$|bands:|one trial", part)
    ]
    if shared:
        out.append(f'<p class="common">Parameters: {_e("; ".join(shared))}.</p>')
    out += _tables(result)
    return "\n".join(out)


def _tables(result: Result) -> Iterator[str]:
    """The fractions of every panel, and how many trials each is of."""
    for name in result.procedures:
        for criterion in result.panels(name):
            curves = result.curves(name, criterion)
            xs = sorted({point.x for curve in curves for point in curve.points})
            judged = result.heading(criterion).replace("<=", "≤")
            head = f"{name.capitalize()} procedure: correct {judged}"
            trials: dict[float, set[int]] = {x: set() for x in xs}
            body = []
            for label, curve in zip(plot.line_names(result, curves), curves, strict=True):
                at = {point.x: point for point in curve.points}
                for x, point in at.items():
                    trials[x].add(point.n_trials)
                cells = "".join(
                    f"<td>{at[x].fraction:.3f}</td>" if x in at else "<td>–</td>" for x in xs
                )
                body.append(f'<tr><th scope="row">{_e(label)}</th>{cells}</tr>')
            columns = "".join(f'<th scope="col">{x:g}</th>' for x in xs)
            foot = "".join(f"<td>{_span(trials[x])}</td>" for x in xs)
            x_name = _x_name(result)
            yield (
                f"<details>\n<summary>Table. {_e(head)}</summary>\n"
                f'<div class="scroll" tabindex="0" role="group" aria-label="table">\n'
                f'<table class="numbers">\n<caption>{_e(head)}; fractions against '
                f"{_e(x_name)}</caption>\n"
                f'<thead><tr><th scope="col">{_e(x_name)}</th>{columns}</tr></thead>\n'
                f"<tbody>\n{chr(10).join(body)}\n</tbody>\n"
                f'<tfoot><tr><th scope="row">trials</th>{foot}</tr></tfoot>\n'
                "</table>\n</div>\n</details>"
            )


def _number(value: float) -> str:
    return "not a number" if math.isnan(value) else f"{value:.4g}"


def _differences(differences: Sequence[Difference]) -> str:
    heads = ("What", "Explanation", "Published", "Clean", "Unit")
    columns = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = []
    for one in differences:
        cells = (
            ("Explanation", "text", one.explanation),
            ("Published", "number", _number(one.published)),
            ("Clean", "number", _number(one.clean)),
            ("Unit", "text", one.unit),
        )
        body.append(
            f'<tr><th scope="row">{_e(one.name)}</th>'
            + "".join(
                f'<td class="{kind}" data-label="{head}">{_e(text)}</td>'
                for head, kind, text in cells
            )
            + "</tr>"
        )
    return (
        "<p>Each line is one departure of the published code from the mathematics, and the "
        "same quantity by the published procedure and without the departure, on images of this "
        "data set.</p>\n"
        '<table class="stacked differences">\n<caption>Departures and what they do</caption>\n'
        f"<thead><tr>{columns}</tr></thead>\n<tbody>\n{chr(10).join(body)}\n</tbody>\n</table>"
    )


_CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; color: #222; background: #fff; line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", Verdana, sans-serif; }
header, nav, main, footer { max-width: 70rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.35rem; line-height: 1.25; margin: 0 0 .8rem; padding-top: 1.6rem;
  border-top: 2px solid #222; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
nav h2 { font-size: 1rem; border: 0; padding: 0; margin: 0 0 .3rem; }
nav ol { margin: 0; padding-left: 1.4rem; columns: 20rem; }
nav { margin-top: 1.2rem; margin-bottom: 1.6rem; }
section { margin-bottom: 2.4rem; }
section > p, section > dl, figcaption { max-width: 50rem; }
a { color: #00508a; }
.meta, .common { color: #555; }
dl { margin: 0; }
dl div { display: grid; grid-template-columns: 11rem 1fr; gap: 0 1rem; padding: .18rem 0;
  border-bottom: 1px solid #e4e4e4; }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
code { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: .92em; }
.command { background: #f4f4f4; border: 1px solid #ddd; padding: .5rem .75rem;
  overflow-wrap: anywhere; }
figure { margin: 0 0 1.2rem; }
figcaption { margin-top: .4rem; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid #00508a; }
img { display: block; max-width: 100%; height: auto; }
details { margin: .35rem 0; border: 1px solid #ddd; }
summary { cursor: pointer; padding: .4rem .75rem; background: #f4f4f4; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .6rem .6rem .3rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #e4e4e4; text-align: left;
  vertical-align: top; }
thead th { border-bottom: 2px solid #222; vertical-align: bottom; }
.numbers { margin: 0 .4rem .5rem; }
.numbers td, .numbers thead th + th, td.number { text-align: right; white-space: nowrap; }
.numbers tbody th, .numbers tfoot th { font-weight: 400; white-space: nowrap; }
.numbers tfoot td, .numbers tfoot th { color: #555; border-bottom: 0; }
.differences tbody th { width: 12rem; font-weight: 600; }
.files { columns: 18rem; }
footer { color: #555; padding-bottom: 2rem; }
@media (max-width: 44rem) {
  h1 { font-size: 1.5rem; }
  .scroll img { max-width: 46rem; }
  dl div { grid-template-columns: 1fr; }
  .stacked thead { display: none; }
  .stacked tr { display: block; border-bottom: 2px solid #999; padding: .4rem 0; }
  .stacked caption { padding-left: 0; }
  .stacked tbody th, .stacked td, td.number { display: block; width: auto; border: 0;
    text-align: left; padding: .1rem 0; white-space: normal; }
  .stacked td::before { content: attr(data-label) ": "; color: #555; }
}
@media print {
  body { font-size: 10pt; }
  header, nav, main, footer { max-width: none; padding-left: 0; padding-right: 0; }
  figure, tr, dl div { break-inside: avoid; }
  h2, h3, summary, caption { break-after: avoid; }
  img { max-height: 23cm; width: auto; }
  .scroll { overflow: visible; }
  .numbers { font-size: 8pt; }
  .numbers th, .numbers td { padding: .1rem .3rem; }
  details { border: 0; break-inside: avoid; }
  details:not([open])::details-content { content-visibility: visible; block-size: auto; }
  summary { display: none; }
}
"""


def _page(title: str, sections: Sequence[_Section], settings: Mapping[str, object]) -> str:
    date = settings.get("date") or datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    contents = "".join(
        f'<li><a href="#{_e(one.anchor)}">{_e(one.title)}</a></li>\n' for one in sections
    )
    body = "\n".join(
        f'<section id="{_e(one.anchor)}">\n<h2>{_e(one.title)}</h2>\n{one.body}\n</section>'
        for one in sections
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_e(title)}</title>
<style>{_CSS}</style>
</head>
<body>
<header>
<h1>{_e(title)}</h1>
<p class="meta">Written by uhn {_e(uhn.__version__)}, {_e(date)}</p>
</header>
<nav aria-label="Contents">
<h2>Contents</h2>
<ol>
{contents}</ol>
</nav>
<main>
{body}
</main>
</body>
</html>
"""
