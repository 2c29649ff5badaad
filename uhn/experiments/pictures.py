"""The pictures of Millidge et al. 2022: what was stored, what was asked, what came back.

Each is drawn by both procedures. Where the published code does something else than the name of
its picture says, so does the published strip, and its caption says what.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import uhn
from uhn.experiments import clean, published
from uhn.experiments.corruptions import Corruption, Gaussian, Inpaint, Mask, RandomMask
from uhn.experiments.report import Strip
from uhn.experiments.tasks import Images, cell_rng

__all__ = ["draw"]

_Images = npt.NDArray[Any]

# Squared errors between which the published picture of the error threshold takes its examples.
EDGES = (1, 10, 25, 50, 75, 100, 200, 500)


def draw(
    images: Images,
    procedures: Sequence[str],
    seed: int,
    sds: Sequence[float],
    fractions: Sequence[float],
) -> tuple[Strip, ...]:
    """All pictures, those of one procedure after those of the other.

    Parameters
    ----------
    images : Images
    procedures : sequence of {"published", "clean"}
    seed : int
    sds, fractions : sequence of float
        Levels of the noise, and of the masks (random ones and borders: the first seven).
    """
    out = []
    for procedure in procedures:
        out += _reconstructions(images, procedure, seed, sds, fractions)
        out.append(_errors(images, procedure, seed))
        out.append(_hetero(images, procedure, seed))
        out.append(_binary(images, procedure))
    return tuple(out)


def _answers(
    stored: _Images,
    queries: _Images,
    procedure: str,
    separation: str,
    param: float,
    values: _Images,
    similarity: str = "manhattan",
) -> _Images:
    """What a memory answers."""
    if procedure == "published":
        scores = published.scores(stored, queries, similarity)
        weights = published.weights(scores, separation, param)
    else:
        keywords = clean.equation(similarity, separation)
        if separation == "softmax":
            keywords["beta"] = param
        weights = uhn.Memory(stored, **keywords).weights(queries).astype(np.float64)
    finite = np.isfinite(weights).all(axis=1)
    columns = np.ascontiguousarray(values.T, dtype=np.float64)
    answers = np.full((len(queries), values.shape[1]), np.nan)
    if finite.any():
        answers[finite] = uhn.similarity(columns, weights[finite], "dot")
    return answers


def _found(answers: _Images, values: _Images, own: Sequence[int]) -> tuple[bool, ...]:
    """Whether the value nearest to each answer is the right one, or a copy of it."""
    memory = uhn.Memory(values, similarity="sqeuclidean")
    out = []
    for answer, i in zip(answers, own, strict=True):
        # An answer of the published code may be no number.
        winner = int(memory.nearest(answer)[0][0]) if np.isfinite(answer).all() else -1
        out.append(winner >= 0 and bool(np.array_equal(values[winner], values[i])))
    return tuple(out)


def _masked_past_the_end(image: _Images, layout: tuple[int, ...], fraction: float) -> _Images:
    """The published mask of a fraction that may exceed 1, whose first row is then negative:
    counted from the end."""
    damaged = image.reshape(layout).copy()
    rows = np.moveaxis(damaged, 0 if len(layout) == 2 else 1, 0)
    rows[int(rows.shape[0] * (1 - fraction)) :] = 0
    return damaged.reshape(image.shape)


def _reconstructions(
    images: Images,
    procedure: str,
    seed: int,
    sds: Sequence[float],
    fractions: Sequence[float],
) -> list[Strip]:
    """One image at all levels of each damage: Manhattan distance, max."""
    strips: list[tuple[str, int, Sequence[float], Corruption | None, str]] = [
        ("noise", 100, sds, Gaussian(0.5), "Columns are standard deviations."),
        ("rows masked", 50, fractions, Mask(0.5), "Columns are fractions of the rows."),
        ("random mask", 50, fractions[:7], RandomMask(0.5), "Columns are fractions."),
        ("border masked", 50, fractions[:7], Inpaint(0.5), "Columns are fractions of a side."),
    ]
    if procedure == "published":
        strips[0] = (
            "levels of the noise, as fractions of a mask",
            100,
            sds,
            None,
            "The published code gives its list of noise levels to the mask. Beyond 1 the first "
            "masked row is negative, and counts from the end.",
        )
        each = RandomMask(0.5, per="value")
        caption = "Every value is masked by itself, also of coloured pixels."
        strips[2] = ("random mask of values", 50, fractions[:7], each, caption)
    layout = images.layout(procedure)
    out = []
    for title, n, levels, damage, caption in strips:
        n = min(n, len(images.images))
        stored = images.stored(0, n, procedure)
        rng = cell_rng(seed, "reconstructions", title, n)
        chosen = int(rng.integers(n))
        original = np.repeat(stored[chosen : chosen + 1], len(levels), axis=0)
        queries = np.concatenate(
            [
                _masked_past_the_end(row, layout, level)[np.newaxis]
                if damage is None
                else damage.at(level)(row[np.newaxis], layout, rng)
                for row, level in zip(original, levels, strict=True)
            ]
        )
        answers = _answers(stored, queries, procedure, "max", 1.0, stored)
        out.append(
            Strip(
                title=f"{procedure}: {title}, {n} patterns, Manhattan, max",
                shape=images.shape,
                columns=tuple(f"{level:g}" for level in levels),
                originals=original,
                queries=queries,
                results=answers,
                correct=_found(answers, stored, [chosen] * len(levels)),
                caption=caption,
            )
        )
    return out


def _errors(images: Images, procedure: str, seed: int) -> Strip:
    """What answers of growing squared error look like: the first of each range."""
    n = min(1000, len(images.images))
    stored, layout = images.stored(0, n, procedure), images.layout(procedure)
    noise = Gaussian(0.2, fold=procedure == "published")
    queries = noise(stored, layout, cell_rng(seed, "errors", n))
    answers = _answers(stored, queries, procedure, "softmax", 8000.0, stored)
    first, second = stored.astype(np.float64), answers
    if procedure == "published":
        with np.errstate(divide="ignore", invalid="ignore"):
            first = first / first.mean(axis=1, keepdims=True)
            second = second / second.mean(axis=1, keepdims=True)
    errors = ((first - second) ** 2).sum(axis=1)
    names, chosen = [], []
    for low, high in zip(EDGES, (*EDGES[1:], np.inf), strict=True):
        there = np.flatnonzero((errors >= low) & (errors <= high))
        if len(there):
            names.append(f"{low} to {high}" if high < np.inf else f"over {low}")
            chosen.append(int(there[0]))
    if not chosen:
        # Nothing is as far off as that: the answers that are furthest.
        chosen = [int(i) for i in np.argsort(-np.nan_to_num(errors))[:5]]
        names = [f"{errors[i]:.2g}" for i in chosen]
    caption = "Columns are ranges of the squared error"
    if procedure == "published":
        caption += ", here of images divided by their means (which no other experiment does)"
    return Strip(
        title=f"{procedure}: answers by squared error, {n} patterns, Manhattan, softmax",
        shape=images.shape,
        columns=tuple(names),
        originals=stored[chosen],
        queries=queries[chosen],
        results=answers[chosen],
        correct=_found(answers[chosen], stored, chosen),
        caption=caption + ".",
    )


def _hetero(images: Images, procedure: str, seed: int) -> Strip:
    """Six of 15 images asked for by their upper halves, answered with their lower halves."""
    n, shown = min(15, len(images.images)), 6
    stored, layout = images.stored(0, n, procedure), images.layout(procedure)
    rng = cell_rng(seed, "hetero picture")
    values = Mask(0.5, side="top")(stored, layout, rng)
    queries = Mask(0.5)(stored, layout, rng)[:shown]
    answers = _answers(stored, queries, procedure, "softmax", 1e5, values)
    return Strip(
        title=f"{procedure}: hetero-association, {n} patterns, Manhattan, softmax",
        shape=images.shape,
        columns=tuple(str(i + 1) for i in range(len(queries))),
        originals=stored[:shown],
        queries=queries,
        targets=values[:shown],
        results=answers,
        correct=_found(answers, values, range(len(queries))),
        caption="Asked by the upper halves; the values are the lower halves.",
    )


def _binary(images: Images, procedure: str) -> Strip:
    """The same with five bipolar images: what the published code calls a classical network."""
    n = min(5, len(images.images))
    stored, layout = images.stored(0, n, procedure), images.layout(procedure)
    luck = np.random.default_rng(0)  # masks take none
    if procedure == "published":
        signs = np.sign(stored)
        patterns = published.bipolar(signs)
        values = published.bipolar(Mask(0.5, side="top")(signs, layout, luck))
        queries = published.bipolar(Mask(0.5)(patterns, layout, luck))
        answers = _answers(
            patterns, queries, procedure, "softmax", 1e5, values, "normalized_dot"
        )
        answers = np.where(answers > 0, 1.0, -1.0)
        caption = (
            "A pixel is 1 where the image is not 0. The separation is softmax with beta = 1e5, "
            "not the identity, so this is no classical network."
        )
    else:
        patterns = np.where(stored > 0.5, 1.0, -1.0)
        values = np.where(Mask(0.5, side="top")(stored, layout, luck) > 0.5, 1.0, -1.0)
        # What is not known is 0, between the two.
        queries = Mask(0.5)(patterns, layout, luck).astype(np.float64)
        memory = uhn.Memory(patterns, values, similarity="dot", separation="identity")
        answers = np.where(memory.retrieve(queries) > 0, 1.0, -1.0)
        caption = "Dot product, identity, sign; a pixel is 1 where the image is above 1/2."
    return Strip(
        title=f"{procedure}: hetero-association of {n} bipolar images",
        shape=images.shape,
        columns=tuple(str(i + 1) for i in range(n)),
        originals=patterns,
        queries=queries,
        targets=values,
        results=answers,
        correct=_found(answers, values, range(n)),
        caption=caption,
    )
