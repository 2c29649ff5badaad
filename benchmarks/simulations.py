"""Simulations beside their theory, at full size: ``python benchmarks/simulations.py``.

Each study stores random patterns, asks the models of the library, and prints what came out
beside the curve that theory gives, with 95 % intervals. It writes a CSV and one figure of all
studies. Nothing is timed: the numbers follow from the seeds. ``--quick`` shrinks the sizes to
some ten seconds; the full run takes a few minutes on two cores.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import uhn
from uhn import theory
from uhn.experiments import wilson
from uhn.models import (
    BidirectionalAssociativeMemory,
    DenseAssociativeMemory,
    HopfieldNetwork,
    SequenceMemory,
    SparseDistributedMemory,
)

Array = np.ndarray


@dataclass
class Curve:
    """One line of a study: points with intervals, and the theory as a curve."""

    label: str
    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    theory: tuple[Array, Callable[[Array], Any]] | None = None  # where to draw it, and what
    theory_label: str = ""

    def add(self, x: float, y: float, low: float, high: float) -> None:
        """A point with its interval."""
        self.x.append(x)
        self.y.append(y)
        self.low.append(low)
        self.high.append(high)

    def add_mean(self, x: float, values: Array) -> None:
        """The mean of independent numbers, and 1.96 standard errors."""
        values = np.asarray(values, dtype=np.float64)
        mean = float(values.mean())
        half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
        low, high = mean - half, mean + half
        if values.max() <= 1:  # overlaps and fractions
            low, high = max(low, 0.0), min(high, 1.0)
        self.add(x, mean, low, high)

    def add_fraction(self, x: float, hits: int, n: int) -> None:
        """A fraction with Wilson's interval."""
        self.add(x, hits / n, *wilson(hits, n))


@dataclass
class Study:
    """What one panel of the figure shows."""

    name: str
    title: str
    x_label: str
    y_label: str
    curves: list[Curve]
    log_y: bool = False
    marks: list[tuple[float, str]] = field(default_factory=list)
    marks_at: float = 0.3  # the height of their names, 0 to 1


def bits(rng: np.random.Generator, *shape: int) -> Array:
    """Random +1 and -1."""
    return rng.integers(0, 2, shape).astype(np.float64) * 2 - 1


def damaged(rng: np.random.Generator, rows: Array, n_flips: int) -> Array:
    """Each row with so many different units flipped."""
    rows = rows.copy()
    for row in rows:
        row[rng.choice(row.size, n_flips, replace=False)] *= -1
    return rows


def hopfield_overlap(quick: bool) -> Study:
    """Where stored patterns come to rest, against the mean field of Amit et al."""
    curves = []
    loads = [0.05, 0.08, 0.10, 0.11, 0.12, 0.13, 0.138, 0.15, 0.16, 0.18, 0.20]
    for n in (300, 500) if quick else (1000, 2000):
        curve = Curve(f"N = {n}")
        for load in loads:
            overlaps = []
            for run in range(3 if quick else 20):
                rng = np.random.default_rng([1, n, round(1000 * load), run])
                patterns = bits(rng, round(load * n), n)
                network = HopfieldNetwork(n).store(patterns)
                some = patterns[:50]
                state = network.retrieve(some, seed=run)
                # Patterns of one network depend on each other: a network is one number.
                overlaps.append((state * some).sum(axis=1).mean() / n)
            curve.add_mean(load, np.array(overlaps))
        curves.append(curve)
    curves[0].theory = (np.linspace(0.001, 0.2, 800), theory.ags_overlap)
    curves[0].theory_label = "mean field, N = infinity"
    return Study(
        "hopfield",
        "Hebbian network: overlap at rest",
        "load P / N",
        "overlap with the pattern",
        curves,
        marks=[(theory.ags_critical().load, "0.138")],
    )


def dense_error(quick: bool) -> Study:
    """Wrong bits after one step of the power memories, against the Gaussian approximation."""
    curves = []
    n = 60 if quick else 100
    for degree in (2, 3, 4):
        for rectified in (False, True):
            name = f"n = {degree}" + (", rectified" if rectified else "")
            curve = Curve(name)
            largest = theory.dam_capacity(n, degree, 0.03, rectified=rectified)
            for part in (0.3, 0.5, 0.75, 1.0):
                k = max(2, round(part * largest))
                wrong = total = 0
                wanted = 40_000 if quick else 200_000
                run = 0
                while total < wanted:
                    rng = np.random.default_rng([2, degree, rectified, k, run])
                    patterns = bits(rng, k, n)
                    memory = DenseAssociativeMemory(n, degree=degree, rectified=rectified)
                    memory.store(patterns)
                    some = patterns[: max(1, min(k, 400))]
                    # A bit is wrong if flipping it lowers the energy.
                    wrong += int((memory.flip_energies(some) < 0).sum())
                    total += some.size
                    run += 1
                curve.add_fraction(k, wrong, total)
            grid = np.unique(np.geomspace(0.25 * largest, 1.1 * largest, 40).astype(int))

            def expected(ks: Array, degree: int = degree, rectified: bool = rectified) -> Any:
                whole = np.round(ks).astype(int)
                return theory.dam_bit_error(n, whole, degree, rectified=rectified)

            curve.theory = (grid, expected)
            curves.append(curve)
    return Study(
        "dense",
        f"Dense memories, {n} units: one step",
        "patterns K",
        "fraction of wrong bits",
        curves,
        log_y=True,
    )


def exponential_recovery(quick: bool) -> Study:
    """One sweep of the exponential memory from damaged patterns."""
    curves = []
    n = 24 if quick else 40
    for rate in (0.10, 0.20):
        k = round(math.exp(rate * n)) + 1
        curve = Curve(f"{k} patterns = exp({rate:g} N)")
        for part in (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4):
            hits = trials = 0
            for run in range(10 if quick else 40):
                rng = np.random.default_rng([3, round(100 * rate), run])
                patterns = bits(rng, k, n)
                memory = DenseAssociativeMemory(n, interaction="exponential")
                memory.store(patterns)
                some = patterns[:50]
                cues = damaged(rng, some, round(part * n))
                state = memory.retrieve(cues, n_steps=1, seed=run)
                hits += int((state == some).all(axis=1).sum())
                trials += len(some)
            curve.add_fraction(part, hits, trials)
        curves.append(curve)
    # The distance up to which the theorem promises the first rate, by bisection.
    marks = []
    for rate in (0.10, 0.20):
        low, high = 0.0, 0.5
        for _ in range(60):
            middle = (low + high) / 2
            if theory.exponential_rate(middle) > rate:
                low = middle
            else:
                high = middle
        marks.append((low, f"exp({rate:g} N)"))
    return Study(
        "exponential",
        f"Exponential memory, {n} units: one sweep",
        "fraction of units damaged",
        "recovered exactly",
        curves,
        marks=marks,
    )


def stable(network: HopfieldNetwork, patterns: Array) -> float:
    """The fraction of patterns that are fixed points."""
    return float((network.fields(patterns) * patterns > 0).all(axis=1).mean())


def learning_rules(quick: bool) -> Study:
    """Patterns that are fixed points, by rule."""
    curves = []
    n = 60 if quick else 100
    names = {"hebb": "Hebb", "storkey": "Storkey", "pseudo_inverse": "pseudo-inverse"}
    for rule, name in names.items():
        curve = Curve(name)
        for load in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8):
            fractions = []
            for run in range(4 if quick else 20):
                rng = np.random.default_rng([4, round(100 * load), run])
                patterns = bits(rng, round(load * n), n)
                fractions.append(stable(HopfieldNetwork(n, rule).store(patterns), patterns))
            curve.add_mean(load, np.array(fractions))
        curves.append(curve)
    marks = [
        (theory.hopfield_capacity(n, "one") / n, "N / (2 ln N)"),
        (theory.storkey_capacity(n) / n, "N / sqrt(2 ln N)"),
    ]
    return Study(
        "rules",
        f"Learning rules, {n} units",
        "load P / N",
        "patterns that are fixed points",
        curves,
        marks=marks,
    )


def dreams(quick: bool) -> Study:
    """Unlearning: a network beyond its capacity, dream after dream."""
    curves = []
    n = 60 if quick else 100
    for load in (0.2, 0.3, 0.4):
        curve = Curve(f"P / N = {load:g}")
        runs = 4 if quick else 10
        patterns = [
            bits(np.random.default_rng([8, round(100 * load), run]), round(load * n), n)
            for run in range(runs)
        ]
        networks = [HopfieldNetwork(n).store(rows) for rows in patterns]
        for count in range(0, 15 * n + 1, n):
            if count:
                for run, network in enumerate(networks):
                    network.unlearn(n, epsilon=0.01, seed=1000 * run + count)
            fractions = [stable(*pair) for pair in zip(networks, patterns, strict=True)]
            curve.add_mean(count, np.array(fractions))
        curves.append(curve)
    return Study(
        "dreams",
        f"Unlearning, {n} units, steps of 0.01 / N",
        "dreams",
        "patterns that are fixed points",
        curves,
    )


def kanerva(quick: bool) -> Study:
    """Distance after one read against the distance of the cue."""
    n, h, t, radius = (256, 20_000, 400, 112) if quick else (1000, 1_000_000, 10_000, 451)
    sizes = {"n_features": n, "n_locations": h, "radius": radius, "n_patterns": t}
    rng = np.random.default_rng(5)
    items, words = bits(rng, t, n), bits(rng, t, n)
    curves = []
    for kind in ("hetero", "auto"):
        memory = SparseDistributedMemory(n, h, radius=radius, seed=6)
        memory.write(items, words if kind == "hetero" else items)
        curve = Curve(f"{kind}-associative")
        distances = np.linspace(0, 0.32 * n, 9).astype(int)
        some = items[: 100 if quick else 60]
        target = (words if kind == "hetero" else items)[: len(some)]
        for d in distances:
            cues = damaged(rng, some, int(d))
            answer = memory.read(cues)
            curve.add_mean(float(d), (answer != target).sum(axis=1))

        def expected(d: Array, kind: str = kind) -> Any:
            whole = np.round(d).astype(int)
            return n * np.asarray(theory.sdm_bit_error(whole, **sizes, kind=kind))

        curve.theory = (np.arange(0, int(0.33 * n), 2), expected)
        curves.append(curve)
    marks = [
        (theory.sdm_critical_distance(**sizes, kind="hetero"), "critical, hetero"),
        (theory.sdm_critical_distance(**sizes, kind="auto"), "critical, auto"),
    ]
    return Study(
        "sdm",
        f"SDM, n = {n}, H = {h:,}, T = {t:,}, r = {radius}",
        "distance of the cue (bits)",
        "distance after one read (bits)",
        curves,
        marks=marks,
        marks_at=0.86,
    )


def sequences(quick: bool) -> Study:
    """Wrong bits after one step along a sequence, against the Gaussian approximation."""
    curves = []
    n = 60 if quick else 100
    for degree in (1, 2, 3):
        curve = Curve(f"d = {degree}")
        # Where the theory has 3 % of the bits wrong.
        largest = 4.0
        while theory.sequence_bit_error(n, round(largest), degree) < 0.03:
            largest *= 1.05
        for part in (0.3, 0.5, 0.75, 1.0):
            k = max(3, round(part * largest))
            wrong = total = run = 0
            while total < (40_000 if quick else 200_000):
                rng = np.random.default_rng([9, degree, k, run])
                song = bits(rng, k, n)
                memory = SequenceMemory(n, degree).store(song)
                some = rng.choice(k, min(k, 400), replace=False)
                answer = memory.retrieve(song[some])
                wrong += int((answer != song[(some + 1) % k]).sum())
                total += answer.size
                run += 1
            curve.add_fraction(k, wrong, total)

        def expected(ks: Array, degree: int = degree) -> Any:
            return theory.sequence_bit_error(n, np.round(ks).astype(int), degree)

        grid = np.unique(np.geomspace(0.25 * largest, 1.1 * largest, 40).astype(int))
        curve.theory = (grid, expected)
        curves.append(curve)
    return Study(
        "sequence",
        f"Sequence memories, {n} units: one step",
        "length of the sequence P",
        "fraction of wrong bits",
        curves,
        log_y=True,
    )


def bidirectional(quick: bool) -> Study:
    """Overlap at rest of a bidirectional memory, against its mean field."""
    curves = []
    for n in (200,) if quick else (500, 1000):
        curve = Curve(f"{n} units a layer")
        for load in (0.05, 0.1, 0.14, 0.17, 0.19, 0.2, 0.22, 0.25, 0.3):
            overlaps = []
            for run in range(3 if quick else 12):
                rng = np.random.default_rng([7, n, round(1000 * load), run])
                k = round(load * n)
                x, y = bits(rng, k, n), bits(rng, k, n)
                memory = BidirectionalAssociativeMemory(n, n)
                memory.store(x, y)
                state = memory.recall(x[:50]).state
                overlaps.append((state * x[:50]).sum(axis=1).mean() / n)
            curve.add_mean(load, np.array(overlaps))
        curves.append(curve)
    curves[0].theory = (np.linspace(0.001, 0.3, 800), theory.bam_overlap)
    curves[0].theory_label = "mean field, n = infinity"
    return Study(
        "bam",
        "Bidirectional memory: overlap at rest",
        "load P / N",
        "overlap with the pattern",
        curves,
        marks=[(theory.bam_critical().load, "0.1998")],
    )


STUDIES: dict[str, Callable[[bool], Study]] = {
    "hopfield": hopfield_overlap,
    "dense": dense_error,
    "exponential": exponential_recovery,
    "rules": learning_rules,
    "dreams": dreams,
    "sdm": kanerva,
    "bam": bidirectional,
    "sequence": sequences,
}


def rows(study: Study) -> Iterator[tuple[str, str, float, float, float, float, float]]:
    """Study, curve, x, simulation, interval, theory at x (NaN where there is none)."""
    for curve in study.curves:
        beside = (curve if curve.theory else study.curves[0]).theory
        for x, y, low, high in zip(curve.x, curve.y, curve.low, curve.high, strict=True):
            expected = float(beside[1](np.array([x]))[0]) if beside else math.nan
            yield study.name, curve.label, x, y, low, high, expected


def draw(studies: list[Study], path: Path) -> None:
    """One panel a study: points with intervals are simulation, lines are theory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from uhn.plot import COLOURS, MARKERS, style

    with style():
        n_columns = min(4, len(studies))
        n_rows = -(-len(studies) // n_columns)
        figure = Figure(figsize=(4.0 * n_columns, 3.7 * n_rows), layout="constrained")
        FigureCanvasAgg(figure)
        panels: Any = figure.subplots(n_rows, n_columns, squeeze=False)
        for axes, study in zip(panels.flat, studies, strict=False):
            for i, curve in enumerate(study.curves):
                colour = COLOURS[i]
                if curve.theory is not None:
                    axes.plot(
                        curve.theory[0],
                        curve.theory[1](curve.theory[0]),
                        color="#444444" if curve.theory_label else colour,
                        linewidth=1.2,
                        label=curve.theory_label or None,
                        zorder=1,
                    )
                errors = [
                    np.subtract(curve.y, curve.low).clip(0),
                    np.subtract(curve.high, curve.y).clip(0),
                ]
                axes.errorbar(
                    curve.x,
                    curve.y,
                    errors,
                    color=colour,
                    marker=MARKERS[i],
                    markersize=4.5,
                    linestyle="none" if curve.theory is not None else ":",
                    linewidth=0.9,
                    capsize=2,
                    label=curve.label,
                )
            for x, text in study.marks:
                axes.axvline(x, color="#777777", linewidth=0.8, linestyle="--", zorder=0)
                axes.annotate(
                    text,
                    (x, study.marks_at),
                    xycoords=("data", "axes fraction"),
                    rotation=90,
                    va="center",
                    ha="center",
                    fontsize=7.5,
                    color="#444444",
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
                    zorder=5,
                )
            if study.name == "sdm":
                axes.axline((0, 0), slope=1, color="#BBBBBB", linewidth=0.8, zorder=0)
            axes.set_title(study.title)
            axes.set_xlabel(study.x_label)
            axes.set_ylabel(study.y_label)
            if study.log_y:
                axes.set_yscale("log")
                axes.set_xscale("log")
                lowest = min(y for curve in study.curves for y in curve.y if y > 0)
                axes.set_ylim(bottom=lowest / 30)  # room for the names
            else:
                axes.set_ylim(bottom=0)
            axes.legend(frameon=False, fontsize=7.5, ncols=2 if len(study.curves) > 4 else 1)
        for axes in panels.flat[len(studies) :]:
            axes.set_visible(False)
        figure.savefig(path, dpi=160)


def main() -> None:
    """Runs the studies that were named, all of them by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", metavar="study", help=", ".join(STUDIES))
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--output", type=Path, default=Path("simulations"))
    options = parser.parse_args()
    unknown = sorted(set(options.studies) - set(STUDIES))
    if unknown:
        parser.error(f"no study {', '.join(unknown)}; there are {', '.join(STUDIES)}")
    done = []
    for name in options.studies or STUDIES:
        start = time.perf_counter()
        study = STUDIES[name](options.quick)
        done.append(study)
        print(f"\n{study.title}  ({time.perf_counter() - start:.0f} s)")
        head = f"{'curve':28} {study.x_label[:14]:>14} {'simulated':>12}"
        print(f"{head} {'95 % interval':>23}  theory")
        for _, label, x, y, low, high, expected in rows(study):
            beside = "" if math.isnan(expected) else f"{expected:.5g}"
            print(f"{label:28} {x:14.5g} {y:12.5g}  {low:9.4g} to {high:9.4g}  {beside}")
    with options.output.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["study", "curve", "x", "simulated", "low", "high", "theory"])
        for study in done:
            writer.writerows(rows(study))
    draw(done, options.output.with_suffix(".png"))
    print(f"\nwritten: {options.output}.csv, {options.output}.png  (uhn {uhn.__version__})")


if __name__ == "__main__":
    main()
