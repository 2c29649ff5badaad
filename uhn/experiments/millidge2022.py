"""Every experiment of Millidge et al. 2022, on any images, by two procedures side by side.

Universal Hopfield Networks: A General Framework for Single-Shot Associative Memory Models
(Millidge, Salvatori, Song, Lukasiewicz, Bogacz; ICML 2022, arXiv 2202.04557). The grids (sizes,
levels, similarities, thresholds, five runs) are those of the published plotting code.

published
    Each trial is decided as the published code decides it (`uhn.experiments.published`): its
    similarities, separations, folded noise and thresholds; channels-last images damaged as if
    they were channels-first; single-channel files left as patterns of zeros.
clean
    What the formulas say (`uhn.experiments.clean`), with the same draws of luck on the same
    images, so that the two are compared trial by trial.

Both are judged by the threshold and by the winning index. Data sets are shuffled once, as
published, but with a seed; Tiny ImageNet stays in class order, as published.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uhn import datasets
from uhn.datasets import Dataset
from uhn.experiments import clean, published
from uhn.experiments.capacity import SIZES
from uhn.experiments.clean import Equation, clean_equation, default_threshold
from uhn.experiments.corruptions import Corruption, Gaussian, Inpaint, Mask, RandomMask
from uhn.experiments.pictures import draw
from uhn.experiments.published import Difference
from uhn.experiments.report import Strip, write_report
from uhn.experiments.results import BASELINE, BOTTOM_HALF, PATTERNS, PROCEDURES, Result, Row
from uhn.experiments.running import run
from uhn.experiments.tasks import Images, Task, as_images, plan

__all__ = ["EXPERIMENTS", "Reproduction", "reproduce"]

EXPERIMENTS = {
    "similarity": "similarity functions: retrieval against the number of patterns",
    "separation": "separation functions: retrieval against the number of patterns",
    "noise": "similarity functions against the level of the noise",
    "masking": "similarity functions against the fraction of rows masked",
    "random-mask": "similarity functions against the fraction of pixels masked at random",
    "inpaint": "similarity functions against the width of a masked border",
    "threshold": "similarity functions against the error threshold",
    "hetero": "auto- against hetero-association, and the network called classical",
    "reconstructions": "pictures: originals, queries, reconstructions; hetero-association",
}
"""Names and one line each, in the order of a report."""

N_RUNS = 5
THRESHOLD = 60.0
"""The published default. (The figure of the threshold sweep draws its line at 50.)"""

SIX = published.SIMILARITIES[:6]
THREE = SIX[:3]
SEPARATION_SIZES = (5, 7, *SIZES[2:])
BINARY_SIZES = (2, 5, 10, 20, 30, 50)
SDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5)
FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
THRESHOLDS = (1.0, 10.0, 25.0, 50.0, 100.0, 150.0, 200.0, 300.0, 500.0)
SEP_PARAM = 1000.0


@dataclass(frozen=True)
class _Part:
    """One figure: what varies along its x axis and what its curves are."""

    name: str
    x: str
    similarities: tuple[str, ...]
    sizes: tuple[int, ...]
    damages: tuple[Corruption, ...]
    separations: tuple[str, ...] = ("max",)
    clean_separations: tuple[str, ...] = ("max",)
    projections: tuple[str, ...] = (PATTERNS,)
    thresholds: tuple[float, ...] = (THRESHOLD,)
    binary: bool = False
    baseline: bool = False

    def equations(self, procedure: str) -> list[Equation]:
        out = []
        for similarity in self.similarities:
            for separation in (
                self.separations if procedure == "published" else self.clean_separations
            ):
                for projection in self.projections:
                    if procedure == "published":
                        text = "reciprocal" if similarity not in _PRODUCTS else "product"
                        if separation == "softmax":
                            text += f" beta={SEP_PARAM:g}"
                        text += " normalize_scores=True normalize=sum"
                        if self.binary:
                            text += " binary=True"
                        out.append(Equation(similarity, separation, projection, (), text))
                    elif self.binary:
                        # Hopfield's: the dot product as it is, and a sign.
                        keywords = {"similarity": "dot", "separation": separation}
                        text = "binary=True"
                        items = tuple(keywords.items())
                        out.append(Equation("dot", separation, projection, items, text))
                    else:
                        out.append(clean_equation(similarity, separation, projection))
        if self.baseline:
            out += [Equation("", BASELINE, projection) for projection in self.projections]
        return out


_PRODUCTS = ("normalized_dot", "dot", "cosine")


def _parts(name: str, n_features: int) -> list[_Part]:
    """The figures of an experiment, on images of so many values."""
    # At the head of the published code the threshold of this experiment alone is scaled.
    scaled = THRESHOLD * 784 / n_features
    both = tuple(dict.fromkeys((scaled, THRESHOLD)))
    folded = Gaussian(0.5, fold=True)
    half = Mask(0.5)
    if name == "similarity":
        # Beside the published six its "cosine", which no figure shows: the dot product.
        similarities = (*SIX, "cosine")
        return [
            _Part(
                name,
                "n_patterns",
                similarities,
                SIZES,
                (folded,),
                thresholds=both,
                baseline=True,
            )
        ]
    if name == "separation":
        return [
            _Part(
                name,
                "n_patterns",
                ("manhattan",),
                SEPARATION_SIZES,
                (half,),
                published.SEPARATIONS,
                (*clean.SEPARATIONS, "log1p"),
                baseline=True,
            )
        ]
    if name == "noise":
        damages = tuple(folded.at(sd) for sd in SDS)
        return [_Part(name, "level", SIX, (100,), damages)]
    if name == "masking":
        return [_Part(name, "level", SIX, (50,), tuple(Mask(f) for f in FRACTIONS))]
    if name == "random-mask":
        random = tuple(RandomMask(f) for f in FRACTIONS[:7])
        return [_Part(name, "level", THREE, (300,), random)]
    if name == "inpaint":
        borders = tuple(Inpaint(f) for f in FRACTIONS[:7])
        return [_Part(name, "level", THREE, (300,), borders)]
    if name == "threshold":
        return [_Part(name, "threshold", THREE, (250,), (half,), thresholds=THRESHOLDS)]
    if name == "hetero":
        projections = (PATTERNS, BOTTOM_HALF)
        noise, trace = Gaussian(0.3, fold=True), Gaussian(1e-7, fold=True)
        dot = ("normalized_dot",)
        return [
            _Part(name, "n_patterns", dot, SIZES, (noise,), projections=projections),
            _Part(
                "hetero-binary",
                "n_patterns",
                dot,
                BINARY_SIZES,
                (trace,),
                ("identity",),
                ("identity",),
                projections,
                binary=True,
            ),
        ]
    return []


def _clean_damage(damage: Corruption) -> Corruption:
    return Gaussian(damage.sd) if isinstance(damage, Gaussian) else damage


def _fitting(sizes: tuple[int, ...], n_runs: int, n_images: int) -> tuple[int, ...]:
    return tuple(size for size in sizes if size * n_runs <= n_images)


def _tasks(
    part: _Part, procedure: str, images: Images, dataset: str, n_runs: int, seed: int
) -> list[Task]:
    n_features = images.images.shape[1]
    is_clean = procedure == "clean"
    thresholds = part.thresholds
    if is_clean and part.x != "threshold" and not part.binary:
        thresholds = (default_threshold(n_features),)
    return plan(
        images,
        experiment=part.name,
        dataset=dataset,
        procedure=procedure,
        equations=part.equations(procedure),
        sizes=_fitting(part.sizes, n_runs, len(images.images)),
        damages=[_clean_damage(d) if is_clean else d for d in part.damages],
        n_runs=n_runs,
        thresholds=thresholds,
        seed=seed,
        binary=part.binary,
    )


@dataclass(frozen=True)
class Reproduction:
    """What `reproduce` returns.

    Attributes
    ----------
    dataset : Dataset
        In the order in which it was used.
    results : dict of str to Result
        One a figure: "similarity", "separation", ..., "hetero", "hetero-binary".
    pictures : tuple of Strip
    differences : tuple of Difference
        What each departure of the published code from the formulas does, in numbers.
    settings : dict of str to object
    """

    dataset: Dataset
    results: dict[str, Result]
    pictures: tuple[Strip, ...] = ()
    differences: tuple[Difference, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def write(self, out: str | os.PathLike[str]) -> list[Path]:
        """Writes CSV, PNG, SVG and ``report.html`` into a folder; needs matplotlib."""
        return write_report(
            out,
            tuple(self.results.values()),
            dataset=self.dataset,
            pictures=self.pictures,
            differences=self.differences,
            settings=self.settings,
        )


def reproduce(
    experiments: str | Sequence[str] = "all",
    *,
    dataset: str | Dataset = "glyphs",
    procedure: str = "both",
    out: str | os.PathLike[str] | None = None,
    n_runs: int = N_RUNS,
    seed: int = 0,
    n_workers: int = 1,
    progress: bool | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> Reproduction:
    """Runs experiments of the paper again.

    Parameters
    ----------
    experiments : str or sequence of str
        Names of `EXPERIMENTS`, or "all".
    dataset : str or Dataset
        A name of `uhn.datasets`, or images; at least ``n_runs`` times the sizes asked for. With
        fewer images, the largest memories are left out, and the note says so.
    procedure : {"both", "published", "clean"}
    out : path, optional
        A folder for ``results.jsonl``, in which every finished cell is a line. What is there
        already is not computed again. `Reproduction.write` puts the report beside it.
    n_runs, seed : int
    n_workers : int
        Processes; see `uhn.experiments.running.run`.
    progress : bool, optional
        Whether to show a bar. By default in a terminal or a notebook.
    data_dir : path, optional
        Where the data set's files are, see `uhn.datasets.load`.
    download : bool
        Whether to fetch them if they are not there.

    Returns
    -------
    Reproduction

    Raises
    ------
    ValueError
        Unknown names, too few images, or a file in `out` written by another version.

    Examples
    --------
    >>> from uhn import datasets
    >>> from uhn.experiments import reproduce
    >>> images = datasets.load("glyphs", n_images=100)
    >>> again = reproduce("masking", dataset=images, n_runs=2)
    >>> [curve.points[0].fraction for curve in again.results["masking"].curves("clean")][:2]
    [1.0, 1.0]
    """
    names = [experiments] if isinstance(experiments, str) else list(experiments)
    if "all" in names:
        names = list(EXPERIMENTS)
    for name in names:
        if name not in EXPERIMENTS:
            raise ValueError(
                f"unknown experiment {name!r}; there are: {', '.join(EXPERIMENTS)}, all"
            )
    if procedure not in (*PROCEDURES, "both"):
        raise ValueError(f"procedure must be both, published or clean, not {procedure!r}")
    if n_runs < 1:
        raise ValueError(f"n_runs must be at least 1, not {n_runs}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, not {seed}")
    procedures = PROCEDURES if procedure == "both" else (procedure,)
    start = time.perf_counter()
    data = _prepared(dataset, n_runs, seed, data_dir, download)
    images = as_images(data, None)
    n_features = images.images.shape[1]
    parts = [p for name in EXPERIMENTS if name in names for p in _parts(name, n_features)]
    for part in parts:
        if not _fitting(part.sizes, n_runs, len(images.images)):
            raise ValueError(
                f"{part.name!r} needs {n_runs * min(part.sizes)} images for {n_runs} runs of "
                f"{min(part.sizes)}, there are {len(images.images)}"
            )
    tasks = {
        (part.name, one): _tasks(part, one, images, data.name, n_runs, seed)
        for part in parts
        for one in procedures
    }
    folder = None if out is None else Path(out)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    rows = run(
        [task for some in tasks.values() for task in some],
        images,
        row_type=Row,
        path=None if folder is None else folder / "results.jsonl",
        n_workers=n_workers,
        progress=progress,
        description=f"reproduce {data.name}",
    )
    found = {row.key: row for row in rows}
    results = {}
    for part in parts:
        mine = [
            found[key]
            for one in procedures
            for task in tasks[part.name, one]
            for key in task.keys()  # noqa: SIM118 (a task is no mapping)
        ]
        results[part.name] = _result(part, mine, data, n_runs)
    wants_pictures = "reconstructions" in names
    return Reproduction(
        dataset=data,
        results=results,
        pictures=(draw(images, procedures, seed, SDS, FRACTIONS) if wants_pictures else ()),
        differences=(
            published.differences(data, n_patterns=min(100, len(data)), seed=seed)
            if procedure == "both"
            else ()
        ),
        settings={
            "experiments": ", ".join(names),
            "procedure": procedure,
            "runs": n_runs,
            "seed": seed,
            "seconds": round(time.perf_counter() - start, 1),
        },
    )


def _prepared(
    dataset: str | Dataset,
    n_runs: int,
    seed: int,
    data_dir: str | os.PathLike[str] | None,
    download: bool,
) -> Dataset:
    """As many images as the experiments take, in the order in which they take them."""
    if isinstance(dataset, Dataset):
        return dataset
    data = datasets.load(dataset, data_dir=data_dir, download=download)
    if data.name != "tiny-imagenet":
        data = data.shuffled(seed)
    n = n_runs * max(SIZES)
    return replace(
        data,
        images=data.images[:n],
        labels=None if data.labels is None else data.labels[:n],
        grey=None if data.grey is None else data.grey[:n],
    )


_DAMAGES = {
    "gaussian": "Gaussian noise, folded (published) or clipped (clean)",
    "mask": "rows masked from the bottom",
    "random mask": "pixels masked at random",
    "inpaint": "a border masked",
}


def _result(part: _Part, rows: list[Row], data: Dataset, n_runs: int) -> Result:
    fitting = _fitting(part.sizes, n_runs, len(data))
    notes = [data.note] if data.note else []
    if data.n_grey and any(row.procedure == "published" for row in rows):
        notes.append(
            f"{data.n_grey} single-channel images are black in the published procedure"
        )
    if fitting != part.sizes:
        notes.append(f"memories of more than {max(fitting)} left out: {len(data)} images")
    damage = part.damages[0]
    if part.x == "level":
        text = _DAMAGES[damage.kind]
    else:
        text = damage.describe().replace("folded", "folded (published) or clipped (clean)")
    return Result(
        rows=tuple(rows),
        x=part.x,
        shape=data.shape,
        damage=text,
        x_label=damage.level_name() if part.x == "level" else "",
        note="; ".join(notes),
    )
