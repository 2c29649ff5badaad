"""Capacity: how many images can be stored before a damaged one no longer brings back the whole.

The protocol is that of Millidge, Salvatori, Song, Lukasiewicz and Bogacz (Universal Hopfield
Networks, ICML 2022). Run r takes its own slice of the images, as long as the largest memory; a
smaller memory holds the first images of the slice. Every stored image is one trial: it is
damaged, the memory is asked once, and the trial counts as correct

by threshold
    if the squared error (summed over the values of the image) is at most `threshold`. This is
    the published criterion. It can be fooled: where images are alike, their mean is near enough
    to many of them. So the answer "the mean of what is stored" is scored too, as a baseline.
by index
    if the stored image nearest to the answer (squared Euclidean distance, lowest index on ties)
    is the image asked for, or a copy of it. Where one pattern takes all the weight (`max`) that
    is the pattern that won, and it is read from ``nearest(query, 1)``.

`uhn.experiments.clean` says what is asked, and in what it differs from the published code.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import uhn
from uhn.datasets import Dataset
from uhn.experiments import corruptions
from uhn.experiments.clean import (
    SIMILARITIES,
    Equation,
    default_threshold,
    equation,
    parse_separation,
    stated,
)
from uhn.experiments.corruptions import Corruption
from uhn.experiments.results import BASELINE, PATTERNS, Result, Row
from uhn.experiments.running import run
from uhn.experiments.tasks import as_images, plan

__all__ = ["SIZES", "capacity"]

SIZES = (2, 5, 10, 20, 50, 100, 200, 300, 500, 700, 1000)
"""Published numbers of stored patterns."""


def _equations(
    similarities: Sequence[str | Mapping[str, Any]],
    separations: Sequence[str | Mapping[str, Any]],
) -> tuple[Equation, ...]:
    """Every pair."""
    if isinstance(similarities, (str, Mapping)):
        similarities = [similarities]
    if isinstance(separations, (str, Mapping)):
        separations = [separations]
    if not similarities or not separations:
        raise ValueError("similarities and separations must name at least one each")
    out = []
    for sim in similarities:
        for sep in separations:
            if isinstance(sim, str) and isinstance(sep, str):
                keywords = equation(sim, sep)
            else:
                # Whoever states keywords states them all; a name beside them is a name alone.
                keywords = {"similarity": sim} if isinstance(sim, str) else dict(sim)
                keywords |= parse_separation(sep) if isinstance(sep, str) else dict(sep)
            names = _name(sim, "similarity"), _name(sep, "separation")
            out.append(stated(*names, PATTERNS, keywords))
    if len({(e.similarity, e.separation) for e in out}) < len(out):
        raise ValueError("the same similarity and separation are asked for twice")
    # An empty memory checks names and parameters before any work is done.
    for one in out:
        uhn.Memory(**dict(one.keywords))
    return tuple(out)


def _name(entry: str | Mapping[str, Any], key: str) -> str:
    if isinstance(entry, str):
        return entry
    if key not in entry:
        raise ValueError(
            f"a mapping for the {key} must have the key {key!r}, not {dict(entry)}"
        )
    rest = " ".join(f"{k}={v}" for k, v in entry.items() if k != key)
    return f"{entry[key]} {rest}".strip()


def capacity(
    patterns: Any,
    *,
    similarities: Sequence[str | Mapping[str, Any]] = SIMILARITIES,
    separations: Sequence[str | Mapping[str, Any]] = ("max",),
    sizes: Sequence[int] = SIZES,
    corruption: str | Corruption | Sequence[str | Corruption] = "gaussian:0.5",
    n_runs: int = 5,
    seed: int = 0,
    criterion: str = "both",
    threshold: float | None = None,
    shape: tuple[int, ...] | None = None,
    name: str | None = None,
    baseline: bool = True,
    out: str | os.PathLike[str] | None = None,
    n_workers: int = 1,
    progress: bool | None = None,
    on_row: Callable[[Row], object] | None = None,
) -> Result:
    """Fraction of damaged images that bring back the whole, for growing memories.

    Parameters
    ----------
    patterns : Dataset or array_like of shape (n, d) or (n, *shape)
        Values in [0, 1]; at least ``n_runs * max(sizes)`` of them. Run r uses patterns
        ``[r * max(sizes), (r + 1) * max(sizes))``, in the order given.
    similarities, separations : sequence of str or mapping
        Every pair is one curve. A string is a name as in `equation`, which also says the
        parameters; a mapping holds keywords of `uhn.Memory` and is used as it is, for instance
        ``{"separation": "softmax", "beta": 8.0}``.
    sizes : sequence of int
        Numbers of stored patterns, each at least 1.
    corruption : str, Corruption, or sequence of them
        What is done to the queries, see `uhn.experiments.corruptions`. Of several, which must
        differ in their levels alone, the level is the x axis, and there must be one size.
    n_runs : int
    seed : int
        At least 0.
    criterion : {"both", "threshold", "index"}
        Which tables and figures show. Rows have both.
    threshold : float, optional
        Largest squared error that counts as correct; `default_threshold` of d by default.
    shape : tuple of int, optional
        Shape of one image; needed for a mask if `patterns` is a matrix.
    name : str, optional
        What the data set is called in the results.
    baseline : bool
        Also score the answer "the mean of the stored patterns".
    out : path, optional
        A file of JSON Lines, one row a line, each on the disk before the next is computed. What
        is there already is not computed again.
    n_workers : int
        Processes; see `uhn.experiments.running.run`.
    progress : bool, optional
        Whether to show a bar (tqdm). By default in a terminal or a notebook.
    on_row : callable, optional
        Called with every new row.

    Returns
    -------
    Result

    Raises
    ------
    ValueError
        Unknown names, too few patterns, values outside [0, 1], sizes, levels or runs that make
        no sense. All of it before the first cell. A file `out` written by another version.

    Notes
    -----
    A cell stores N patterns and asks all N queries in one call.

    Examples
    --------
    >>> from uhn import datasets
    >>> from uhn.experiments import capacity
    >>> images = datasets.load("glyphs", n_images=40)
    >>> result = capacity(images, similarities=["dot", "manhattan"], sizes=[5, 20], n_runs=2)
    >>> [point.n_trials for point in result.curves()[1].points]
    [10, 40]
    >>> print(result.table())  # doctest: +ELLIPSIS
    Retrieval from glyphs (16 x 16): Gaussian noise, s.d. 0.5, clipped
    separation max; 2 runs; one trial per stored image; bands: Wilson 95 %
    ...
    """
    images = as_images(patterns, shape)
    note = ""
    if isinstance(patterns, Dataset):
        name, note = name or patterns.name, patterns.note
    sizes = sorted({int(size) for size in sizes})
    if not sizes or sizes[0] < 1:
        raise ValueError(f"sizes must be positive whole numbers, not {sizes}")
    if n_runs < 1:
        raise ValueError(f"n_runs must be at least 1, not {n_runs}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, not {seed}")
    if criterion not in ("both", "threshold", "index"):
        raise ValueError(f"criterion must be both, threshold or index, not {criterion!r}")
    given = [corruption] if isinstance(corruption, (str, Corruption)) else list(corruption)
    damages = [corruptions.corruption(one) for one in given]
    if not damages or len({damage.name for damage in damages}) != 1:
        raise ValueError("several corruptions must be of one kind, at different levels")
    if len({damage.level for damage in damages}) < len(damages):
        raise ValueError("the same corruption is asked for twice")
    if len(damages) > 1 and len(sizes) > 1:
        raise ValueError(
            f"several levels need one size, not {sizes}: the level is the x axis of the curves"
        )
    n_features = images.images.shape[1]
    for damage in damages:
        damage.check(images.shape, n_features)
    if n_runs * sizes[-1] > len(images.images):
        raise ValueError(
            f"{n_runs} runs of {sizes[-1]} patterns need {n_runs * sizes[-1]} images, there "
            f"are {len(images.images)}: take fewer runs or smaller sizes"
        )
    threshold = default_threshold(n_features) if threshold is None else float(threshold)
    if not (threshold >= 0 and math.isfinite(threshold)):
        raise ValueError(f"threshold must be finite and at least 0, not {threshold}")
    equations = _equations(similarities, separations)
    if baseline:
        equations += (Equation("", BASELINE),)
    tasks = plan(
        images,
        experiment="capacity",
        dataset=name or "patterns",
        procedure="clean",
        equations=equations,
        sizes=sizes,
        damages=damages,
        n_runs=n_runs,
        thresholds=[threshold],
        seed=seed,
    )
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
    rows = run(
        tasks,
        images,
        row_type=Row,
        path=out,
        n_workers=n_workers,
        progress=progress,
        description="capacity",
        on_row=on_row,
    )
    sweep = len(damages) > 1
    return Result(
        rows=tuple(rows),
        x="level" if sweep else "n_patterns",
        shape=images.shape,
        damage=damages[0].name if sweep else damages[0].describe(),
        x_label=damages[0].level_name() if sweep else "Patterns stored",
        note=note,
        criteria=("threshold", "index") if criterion == "both" else (criterion,),
    )
