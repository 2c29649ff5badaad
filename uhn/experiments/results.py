"""Results of experiments: tidy rows, the curves they pool into, and their tables and files.

A `Row` is one finished cell of an experiment: one equation, one set of stored images, one
damage, one run, judged by one threshold and by the winning index. A `Result` is many rows with
what is needed to read them: which column is the x axis and what the images are.

Intervals are Wilson's for the trials pooled over runs. They treat trials as independent; trials
of one run share a memory, so the spread between runs (`Point.sd`, the population standard
deviation that the published figures shade) can be wider.
"""

from __future__ import annotations

import csv
import html
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from uhn._statistics import wilson

__all__ = [
    "BASELINE",
    "BOTTOM_HALF",
    "COLUMNS",
    "INDEX",
    "PATTERNS",
    "Curve",
    "Point",
    "Result",
    "Row",
]

BASELINE = "mean image"
"""The separation's name in the rows of the baseline, whose similarity is ""."""

INDEX = "index"
"""The criterion beside the thresholds, which are numbers: the right image won."""

PATTERNS = "patterns"
BOTTOM_HALF = "bottom half"
"""What the values may be: the patterns themselves, or the patterns with the top half masked."""

PROCEDURES = ("published", "clean")


@dataclass(frozen=True)
class Row:
    """One cell. The fields are the columns of every file.

    Attributes
    ----------
    experiment, dataset, procedure : str
        `procedure` is "published" or "clean".
    similarity, separation, projection : str
        The three factors of the equation; `projection` says what the values are ("patterns",
        or what is put in their place).
    equation : str
        All parameters in force.
    n_patterns : int
    corruption : str
    level : float
    run : int
        From 0.
    threshold : float
        Largest squared error that counts as correct.
    n_trials, correct_threshold, correct_index : int
    accuracy_threshold, accuracy_index : float
    data : str
        First 16 hexadecimal digits of the SHA-256 of the images.
    seed : int
    seconds : float
        Time of the computation. Rows that were computed together share it.
    version : str
        Of the library.
    """

    experiment: str
    dataset: str
    procedure: str
    similarity: str
    separation: str
    projection: str
    equation: str
    n_patterns: int
    corruption: str
    level: float
    run: int
    threshold: float
    n_trials: int
    correct_threshold: int
    correct_index: int
    accuracy_threshold: float
    accuracy_index: float
    data: str
    seed: int
    seconds: float
    version: str

    @property
    def key(self) -> tuple[Any, ...]:
        """The coordinates of the cell: what must differ between two rows of a file."""
        return tuple(getattr(self, name) for name in KEY)

    @property
    def provenance(self) -> tuple[tuple[str, str], ...]:
        """What must be equal if two rows of the same coordinates are to be the same row."""
        return (("version", self.version),)


COLUMNS = tuple(field.name for field in fields(Row))
# The images are a coordinate too: where a study is asked for again with other sizes, a run
# takes other images of the same set.
KEY = (*COLUMNS[: COLUMNS.index("n_trials")], "data", "seed")
_BOUNDS = ("threshold_low", "threshold_high", "index_low", "index_high")


def _bounds(row: Row) -> tuple[float, ...]:
    return (
        *wilson(row.correct_threshold, row.n_trials),
        *wilson(row.correct_index, row.n_trials),
    )


@dataclass(frozen=True)
class Point:
    """A point of a curve: the trials of all runs together.

    `low` and `high` bound Wilson's 95 % interval; `sd` is the population standard deviation of
    the fractions of the runs.
    """

    x: float
    n_trials: int
    correct: int
    fraction: float
    low: float
    high: float
    sd: float
    n_runs: int


@dataclass(frozen=True)
class Curve:
    """The points of one equation by one criterion, in ascending order of x."""

    procedure: str
    similarity: str
    separation: str
    projection: str
    equation: str
    corruption: str
    points: tuple[Point, ...]

    @property
    def is_baseline(self) -> bool:
        return self.separation == BASELINE


_OF_CURVE = tuple(field.name for field in fields(Curve))[:-1]
_AXES = {"n_patterns": "Patterns stored", "level": "Level", "threshold": "Error threshold"}


@dataclass(frozen=True)
class Result:
    """Rows of one experiment on one data set.

    Attributes
    ----------
    rows : tuple of Row
    x : {"n_patterns", "level", "threshold"}
        The column along which the curves run.
    shape : tuple of int
        Shape of one image, () if unknown.
    damage : str
        What was done to the queries, in words.
    x_label : str
        For the axis of a figure.
    note : str
        What must be said beside the data set's name.
    criteria : tuple of str
        Which of "threshold" and "index" the tables and figures show.

    Examples
    --------
    >>> from uhn.experiments import capacity
    >>> import numpy as np
    >>> images = np.random.default_rng(0).random((40, 16))
    >>> result = capacity(images, similarities=["dot", "manhattan"], sizes=[5, 20], n_runs=2)
    >>> [(curve.similarity, curve.points[-1].n_trials) for curve in result.curves()]
    [('dot', 40), ('manhattan', 40), ('', 40)]
    """

    rows: tuple[Row, ...]
    x: str = "n_patterns"
    shape: tuple[int, ...] = ()
    damage: str = ""
    x_label: str = ""
    note: str = ""
    criteria: tuple[str, ...] = ("threshold", "index")

    def __post_init__(self) -> None:
        if self.x not in _AXES:
            raise ValueError(f"x must be one of {', '.join(_AXES)}, not {self.x!r}")
        if not set(self.criteria) <= {"threshold", "index"} or not self.criteria:
            raise ValueError(f"criteria are 'threshold' and 'index', not {self.criteria}")
        if not self.rows:
            raise ValueError("a result needs at least one row")

    # ---- what is in it ---------------------------------------------------------------------

    @property
    def experiment(self) -> str:
        return self.rows[0].experiment

    @property
    def dataset(self) -> str:
        return self.rows[0].dataset

    @property
    def procedures(self) -> tuple[str, ...]:
        """Those that the rows have: "published" before "clean"."""
        there = {row.procedure for row in self.rows}
        return tuple(name for name in PROCEDURES if name in there)

    @property
    def n_runs(self) -> int:
        return len({row.run for row in self.rows})

    def thresholds(self, procedure: str | None = None) -> tuple[float, ...]:
        """The thresholds that rows (of one procedure) were judged by, in the order given."""
        rows = [row for row in self.rows if procedure in (None, row.procedure)]
        return tuple(dict.fromkeys(row.threshold for row in rows))

    def panels(self, procedure: str) -> tuple[float | str, ...]:
        """The criteria by which one procedure's curves can be drawn: thresholds and "index"."""
        if self.x == "threshold":
            return ("threshold",)
        shown: tuple[float | str, ...] = ()
        if "threshold" in self.criteria:
            shown += self.thresholds(procedure)
        return (*shown, INDEX) if "index" in self.criteria else shown

    def curves(
        self, procedure: str | None = None, criterion: float | str | None = None
    ) -> tuple[Curve, ...]:
        """Rows pooled over runs: one curve an equation, in the order they were asked for.

        Parameters
        ----------
        procedure : str, optional
            All by default.
        criterion : float or "index", optional
            A threshold that rows were judged by, or the winning index. By default the index;
            where the thresholds are the x axis, the thresholds.
        """
        by_threshold = self.x == "threshold"
        if criterion is None:
            criterion = "threshold" if by_threshold else INDEX
        groups: dict[tuple[str, ...], dict[float, list[Row]]] = {}
        for row in self.rows:
            if procedure not in (None, row.procedure):
                continue
            if not by_threshold and criterion != INDEX and row.threshold != criterion:
                continue
            key = tuple(getattr(row, name) for name in _OF_CURVE)
            at = groups.setdefault(key, {}).setdefault(float(getattr(row, self.x)), [])
            # By index the same cell counts once, however many thresholds judge it.
            if criterion != INDEX or all(row.run != other.run for other in at):
                at.append(row)
        field = "correct_index" if criterion == INDEX else "correct_threshold"

        def points(groups: dict[float, list[Row]]) -> Iterator[Point]:
            for x in sorted(groups):
                rows = groups[x]
                n = sum(row.n_trials for row in rows)
                k = sum(getattr(row, field) for row in rows)
                fractions = [getattr(row, field) / row.n_trials for row in rows]
                mean = sum(fractions) / len(rows)
                sd = math.sqrt(sum((f - mean) ** 2 for f in fractions) / len(rows))
                yield Point(x, n, k, k / n, *wilson(k, n), sd, len(rows))

        return tuple(
            Curve(**dict(zip(_OF_CURVE, key, strict=True)), points=tuple(points(at)))
            for key, at in groups.items()
        )

    def labels(self, curves: Sequence[Curve] | None = None) -> tuple[str, ...]:
        """A short name for every curve: the parts of its equation that the others do not
        share."""
        curves = self.curves() if curves is None else curves
        own = [curve for curve in curves if not curve.is_baseline]
        varied = [
            name
            for name in ("similarity", "separation", "projection", "procedure")
            if len({getattr(curve, name) for curve in own}) > 1
        ]
        if not varied:
            varied = ["similarity"]
        names = []
        for curve in curves:
            if curve.is_baseline:
                shown = [name for name in ("projection", "procedure") if name in varied]
                names.append(", ".join([BASELINE, *(getattr(curve, name) for name in shown)]))
            else:
                names.append(", ".join(getattr(curve, name) for name in varied))
        return tuple(names)

    # ---- what is said of it ----------------------------------------------------------------

    def title(self) -> str:
        """What was measured on what, in a line."""
        image = " x ".join(map(str, self.shape)) or "vectors"
        sizes = sorted({row.n_patterns for row in self.rows})
        n = "" if self.x == "n_patterns" or len(sizes) > 1 else f"{sizes[0]} patterns, "
        return f"Retrieval from {self.dataset} ({image}): {n}{self.damage}"

    def subtitle(self) -> str:
        """What the curves have in common and how they were measured, in a line."""
        own = [curve for curve in self.curves() if not curve.is_baseline]
        similarities = {curve.similarity for curve in own}
        separations = {curve.separation for curve in own}
        parts = []
        if len(separations) == 1:
            parts.append(f"separation {next(iter(separations))}")
        if len(self.procedures) == 1:
            parts += self._parameters(own, similarities, separations)
        elif len(separations) > 1 and len(similarities) == 1:
            parts.append(f"similarity {next(iter(similarities))}")
        parts.append(f"{self.n_runs} run{'s' if self.n_runs != 1 else ''}")
        parts.append("one trial per stored image")
        parts.append("bands: Wilson 95 %")
        return "; ".join(parts)

    @staticmethod
    def _parameters(
        own: Sequence[Curve], similarities: set[str], separations: set[str]
    ) -> Iterator[str]:
        """What the equations of one procedure share."""
        equations = [
            dict(part.split("=", 1) for part in curve.equation.split() if "=" in part)
            for curve in own
        ]

        def values(key: str) -> set[str]:
            return {equation[key] for equation in equations if key in equation}

        inverse = "inverse" in values("transform")
        if len(separations) > 1 and len(similarities) == 1:
            name = next(iter(similarities))
            eps = next(iter(values("eps")), "0")
            yield f"similarity {f'1/({name} + {eps})' if inverse else name}"
        # What only some curves read is said once, if they agree on it.
        if values("normalize_scores"):
            yield "scores divided by their sum"
        with_beta = {curve.separation for curve in own if "beta=" in curve.equation}
        if len(with_beta) == 1 and len(values("beta")) == 1:
            beta = float(next(iter(values("beta"))))
            yield f"{next(iter(with_beta))} with beta = {beta:g}"
        if len(values("eps")) == 1 and not inverse:
            yield f"divergences with eps = {next(iter(values('eps')))}"

    def heading(self, criterion: float | str) -> str:
        """What a criterion is, in a line."""
        if criterion == INDEX:
            return "by index (the stored image nearest to the answer is the one)"
        if criterion == "threshold":
            return "by threshold (squared error at most x)"
        return f"by threshold (squared error <= {float(criterion):.4g})"

    def table(self) -> str:
        """Fractions correct as text: one line a curve, one column a value of x, one part a
        criterion (and a procedure)."""
        lines = [self.title(), self.subtitle(), ""]
        for head, xs, body in self._tables():
            lines.append(head)
            name = _AXES[self.x].lower()
            width = max([len(label) for label, _ in body] + [len(name)])
            lines.append(name.ljust(width) + "".join(f"{x:>7g}" for x in xs))
            for label, cells in body:
                text = (" " * 6 + "-" if f is None else f"{f:7.3f}" for f in cells)
                lines.append(label.ljust(width) + "".join(text))
            lines.append("")
        return "\n".join(lines[:-1])

    def _tables(
        self,
    ) -> Iterator[tuple[str, list[float], list[tuple[str, list[float | None]]]]]:
        """Heading, values of x and labelled fractions of every part of the table."""
        both = len(self.procedures) > 1
        for procedure in self.procedures:
            for criterion in self.panels(procedure):
                curves = self.curves(procedure, criterion)
                xs = sorted({point.x for curve in curves for point in curve.points})
                body = []
                for label, curve in zip(self.labels(curves), curves, strict=True):
                    at = {point.x: point.fraction for point in curve.points}
                    body.append((label, [at.get(x) for x in xs]))
                head = f"correct {self.heading(criterion)}"
                yield (f"{procedure}: {head}" if both else head), xs, body

    def _repr_html_(self) -> str:
        """The table of a notebook."""
        out = [
            f"<p><b>{html.escape(self.title())}</b><br>",
            f"<small>{html.escape(self.subtitle())}</small></p>",
        ]
        for head, xs, body in self._tables():
            columns = "".join(f"<th>{x:g}</th>" for x in xs)
            out.append(f"<table><caption>{html.escape(head)}</caption>")
            out.append(f"<tr><th>{_AXES[self.x].lower()}</th>{columns}</tr>")
            for label, cells in body:
                values = "".join(f"<td>{'' if f is None else f'{f:.3f}'}</td>" for f in cells)
                out.append(f"<tr><th>{html.escape(label)}</th>{values}</tr>")
            out.append("</table>")
        return "\n".join(out)

    # ---- where it goes ---------------------------------------------------------------------

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes the rows, with Wilson's bounds, as a CSV file with a header line."""
        with open(path, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow((*COLUMNS, *_BOUNDS))
            for row in self.rows:
                # repr of a float is the shortest text that reads back as the same number.
                writer.writerow((*(getattr(row, name) for name in COLUMNS), *_bounds(row)))

    def to_pandas(self) -> Any:
        """The rows, with Wilson's bounds, as a pandas.DataFrame.

        Raises
        ------
        ImportError
            Without pandas, with the line that installs it.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install pandas") from error
        records = [
            asdict(row) | dict(zip(_BOUNDS, _bounds(row), strict=True)) for row in self.rows
        ]
        return pandas.DataFrame.from_records(records, columns=[*COLUMNS, *_BOUNDS])

    def to_dict(self) -> dict[str, Any]:
        """Settings and pooled curves as plain dicts, lists, numbers and strings, for JSON."""
        parts = [
            {
                "procedure": procedure,
                "criterion": criterion,
                "curves": [asdict(c) for c in self.curves(procedure, criterion)],
            }
            for procedure in self.procedures
            for criterion in self.panels(procedure)
        ]
        return {
            "experiment": self.experiment,
            "dataset": self.dataset,
            "note": self.note,
            "shape": list(self.shape),
            "damage": self.damage,
            "x": self.x,
            "n_runs": self.n_runs,
            "seed": self.rows[0].seed,
            "panels": parts,
        }

    def plot(
        self, path: str | os.PathLike[str] | None = None, *, interval: str = "wilson"
    ) -> Any:
        """Draws the curves, a panel a criterion (and a procedure); needs matplotlib.

        Parameters
        ----------
        path : path, optional
            Where to write the figure; its ending says the format (png, pdf, svg).
        interval : {"wilson", "sd"}
            What the bands are: Wilson's 95 % interval of the pooled trials, or plus and minus
            the standard deviation between runs, as in the published figures.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from uhn.plot import plot_capacity

        return plot_capacity(self, path, interval=interval)
