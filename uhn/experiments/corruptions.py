"""Ways to damage images before they are asked for: objects that can follow one another.

    Gaussian(0.5)                       noise of standard deviation 0.5, clipped to [0, 1]
    Mask(0.5)                           the lower half set to 0
    Mask(0.3) + Gaussian(0.1)           first the one, then the other
    corruption(images, shape, rng)      damaged copies

Images are rows of values in [0, 1]; `shape` is that of one image. A corruption knows the
layout, so that "the bottom half" is the bottom half of a grey image (rows, columns), of a
colour image stored as (channels, rows, columns) and of one stored as (rows, columns, channels)
alike. (The published code of Millidge et al. 2022 takes every colour image for the second kind,
and so masks three bands of the third.)

What a corruption draws depends on the generator, its kind and the shape alone: a noise that is
clipped and one that is folded, of any level, take the same draws, and curves made with the same
seed are compared pair by pair.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

__all__ = [
    "KINDS",
    "Chain",
    "Corruption",
    "Flip",
    "Gaussian",
    "Inpaint",
    "Mask",
    "PermuteChannels",
    "RandomMask",
    "corruption",
    "row_axis",
]

_Images = npt.NDArray[np.float32]
_Shape = tuple[int, ...]


def row_axis(shape: _Shape) -> int:
    """The axis of one image's `shape` along which its rows lie.

    (rows, columns): 0. Three axes: the channels are the axis of length 1, 3 or 4 at either end.

    Raises
    ------
    ValueError
        Not an image's shape, or the channels may be at either end.
    """
    if len(shape) == 2:
        return 0
    if len(shape) == 3:
        first, last = shape[0] in (1, 3, 4), shape[2] in (1, 3, 4)
        if first != last:
            return 1 if first else 0
    raise ValueError(
        f"shape {shape} is not (rows, columns), (channels, rows, columns) or (rows, columns, "
        "channels) with 1, 3 or 4 channels at one end"
    )


def _pixels(images: _Images, shape: _Shape) -> _Images:
    """A view of C-contiguous images as (n, rows, columns, channels)."""
    view = images.reshape((len(images), *shape))
    if len(shape) == 2:
        return view[..., np.newaxis]
    return view if row_axis(shape) == 0 else np.moveaxis(view, 1, 3)


class Corruption(ABC):
    """What all corruptions have in common.

    Attributes
    ----------
    kind : str
        One word; cells of an experiment draw their luck by it.
    name : str
        The kind and all parameters but the level, as the rows of results say it.
    level : float
        How much.
    """

    kind: ClassVar[str]
    needs_shape: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return self.kind

    @property
    @abstractmethod
    def level(self) -> float: ...

    @abstractmethod
    def at(self, level: float) -> Corruption:
        """The same corruption at another level."""

    @abstractmethod
    def describe(self) -> str:
        """What is done, in words, for the title of a figure."""

    @abstractmethod
    def level_name(self) -> str:
        """What the level is, for the axis of a figure."""

    @abstractmethod
    def _damage(self, images: _Images, shape: _Shape, rng: np.random.Generator) -> _Images: ...

    def check(self, shape: _Shape, n_features: int) -> None:
        """Raises ValueError if images of this shape cannot be damaged so."""
        if shape and math.prod(shape) != n_features:
            raise ValueError(f"shape {shape} does not fit images of {n_features} values")
        if self.needs_shape:
            if not shape:
                raise ValueError(f"{self.kind} needs shape=, the shape of one image")
            row_axis(shape)

    def __call__(
        self, images: npt.ArrayLike, shape: _Shape, rng: np.random.Generator
    ) -> _Images:
        """Damaged copies of images.

        Parameters
        ----------
        images : array_like, shape (n, d)
            Values in [0, 1].
        shape : tuple of int
            Shape of one image, see `row_axis`; () will do where the layout does not matter.
        rng : numpy.random.Generator

        Returns
        -------
        ndarray of float32, shape (n, d)

        Raises
        ------
        ValueError
            A shape that does not fit, or that is no image's where the layout matters.
        """
        rows = np.array(images, dtype=np.float32, order="C")
        if rows.ndim != 2:
            raise ValueError(f"images must have shape (n, d), not {rows.shape}")
        shape = tuple(shape)
        self.check(shape, rows.shape[1])
        return self._damage(rows, shape, rng)

    def __add__(self, other: Corruption) -> Chain:
        """One after the other."""
        if not isinstance(other, Corruption):
            return NotImplemented
        mine = self.parts if isinstance(self, Chain) else (self,)
        return Chain((*mine, *(other.parts if isinstance(other, Chain) else (other,))))


@dataclass(frozen=True)
class _Fraction(Corruption):
    """Corruptions whose level is the fraction of something, from 0 to 1."""

    fraction: float

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(
                f"the fraction of {self.kind!r} must be from 0 to 1, not {self.fraction}"
            )

    @property
    def level(self) -> float:
        return float(self.fraction)

    def at(self, level: float) -> Corruption:
        return replace(self, fraction=level)

    def level_name(self) -> str:
        return "Fraction masked"


@dataclass(frozen=True)
class Gaussian(Corruption):
    """Normal noise of standard deviation `sd` on every value, clipped to [0, 1].

    With `fold` the absolute value is taken before the clip, as in the published code of
    Millidge et al. 2022: that folds half of the noise on a dark background upward, where a
    clip leaves it dark. (Their figures call the standard deviation a variance.)
    """

    sd: float
    fold: bool = False
    kind: ClassVar[str] = "gaussian"
    needs_shape: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (self.sd >= 0 and math.isfinite(self.sd)):
            raise ValueError(f"the sd of 'gaussian' must be finite, at least 0, not {self.sd}")

    @property
    def name(self) -> str:
        return "gaussian, folded" if self.fold else "gaussian"

    @property
    def level(self) -> float:
        return float(self.sd)

    def at(self, level: float) -> Corruption:
        return replace(self, sd=level)

    def describe(self) -> str:
        return f"Gaussian noise, s.d. {self.sd:g}, {'folded' if self.fold else 'clipped'}"

    def level_name(self) -> str:
        return "Standard deviation of the noise"

    def _damage(self, images: _Images, shape: _Shape, rng: np.random.Generator) -> _Images:
        noise = rng.standard_normal(images.shape, dtype=np.float32)
        noise *= np.float32(self.sd)
        images += noise
        if self.fold:
            np.abs(images, out=images)
        return np.clip(images, 0, 1, out=images)


@dataclass(frozen=True)
class Mask(_Fraction):
    """A fraction of the rows set to 0, from the bottom or from the top.

    From the bottom it is the rows from ``int(rows * (1 - fraction))`` on, truncated as in the
    published code of Millidge et al. 2022; from the top the same number of rows.
    """

    side: str = "bottom"
    kind: ClassVar[str] = "mask"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side not in ("bottom", "top"):
            raise ValueError(f"side must be 'bottom' or 'top', not {self.side!r}")

    @property
    def name(self) -> str:
        return "mask" if self.side == "bottom" else "mask, top"

    def describe(self) -> str:
        return f"{self.side} {100 * self.fraction:g} % masked"

    def _damage(self, images: _Images, shape: _Shape, rng: np.random.Generator) -> _Images:
        pixels = _pixels(images, shape)
        n_rows = pixels.shape[1]
        kept = int(n_rows * (1 - self.fraction))
        rows = slice(kept, None) if self.side == "bottom" else slice(n_rows - kept)
        pixels[:, rows] = 0
        return images


@dataclass(frozen=True)
class RandomMask(_Fraction):
    """Pixels set to 0, each with probability `fraction`; all channels of a pixel together.

    ``per="value"`` asks for every value of every channel by itself.
    """

    per: str = "pixel"
    kind: ClassVar[str] = "random mask"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.per not in ("pixel", "value"):
            raise ValueError(f"per must be 'pixel' or 'value', not {self.per!r}")

    @property
    def name(self) -> str:
        return "random mask" if self.per == "pixel" else "random mask, values"

    def describe(self) -> str:
        return f"{100 * self.fraction:g} % of the {self.per}s masked"

    def _damage(self, images: _Images, shape: _Shape, rng: np.random.Generator) -> _Images:
        if self.per == "value":
            images[rng.random(images.shape) <= self.fraction] = 0
            return images
        pixels = _pixels(images, shape)
        pixels[rng.random(pixels.shape[:3]) <= self.fraction] = 0
        return images


@dataclass(frozen=True)
class Inpaint(_Fraction):
    """A border of ``int(rows * fraction // 2)`` pixels set to 0 on all four sides."""

    kind: ClassVar[str] = "inpaint"

    def describe(self) -> str:
        return f"border masked, {100 * self.fraction:g} % of the side"

    def level_name(self) -> str:
        return "Fraction of the side masked"

    def _damage(self, images: _Images, shape: _Shape, rng: np.random.Generator) -> _Images:
        pixels = _pixels(images, shape)
        n_rows, n_columns = pixels.shape[1:3]
        width = int(n_rows * self.fraction // 2)
        pixels[:, :width] = 0
        pixels[:, n_rows - width :] = 0
        pixels[:, :, :width] = 0
        pixels[:, :, max(n_columns - width, 0) :] = 0
        return images


@dataclass(frozen=True)
class Flip(_Fraction):
    """Values turned over, x to 1 - x, each with probability `fraction`."""

    kind: ClassVar[str] = "flip"
    needs_shape: ClassVar[bool] = False

    def describe(self) -> str:
        return f"{100 * self.fraction:g} % of the values flipped"

    def level_name(self) -> str:
        return "Fraction flipped"

    def _damage(self, images: _Images, shape: _Shape, rng: np.random.Generator) -> _Images:
        flipped = rng.random(images.shape) < self.fraction
        np.subtract(1, images, out=images, where=flipped)
        return images


@dataclass(frozen=True)
class PermuteChannels(Corruption):
    """Channels of colour images in another order.

    A fixed one, in which channel i of the answer is channel ``order[i]`` of the image, or by
    default one drawn for each image.
    """

    order: tuple[int, ...] | None = None
    kind: ClassVar[str] = "permute channels"

    @property
    def name(self) -> str:
        if self.order is None:
            return self.kind
        return f"{self.kind}, {' '.join(map(str, self.order))}"

    @property
    def level(self) -> float:
        return 1.0

    def at(self, level: float) -> Corruption:
        raise ValueError("permute channels has no level")

    def describe(self) -> str:
        if self.order is None:
            return "channels in random order"
        return f"channels in the order {', '.join(map(str, self.order))}"

    def level_name(self) -> str:
        return "Channels permuted"

    def check(self, shape: _Shape, n_features: int) -> None:
        super().check(shape, n_features)
        n_channels = 1 if len(shape) == 2 else shape[-1 if row_axis(shape) == 0 else 0]
        if self.order is not None and sorted(self.order) != list(range(n_channels)):
            raise ValueError(
                f"order must be a permutation of the {n_channels} channels, not {self.order}"
            )

    def _damage(self, images: _Images, shape: _Shape, rng: np.random.Generator) -> _Images:
        pixels = _pixels(images, shape)
        n, n_channels = len(images), pixels.shape[3]
        if self.order is None:
            order = rng.permuted(np.tile(np.arange(n_channels), (n, 1)), axis=1)
        else:
            order = np.tile(np.array(self.order), (n, 1))
        pixels[:] = np.take_along_axis(pixels.copy(), order[:, None, None, :], axis=3)
        return images


@dataclass(frozen=True)
class Chain(Corruption):
    """Corruptions one after another; its level is that of the last one."""

    parts: tuple[Corruption, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("a chain needs at least one corruption")

    @property
    def kind(self) -> str:  # type: ignore[override]
        return " + ".join(part.kind for part in self.parts)

    @property
    def name(self) -> str:
        *early, last = self.parts
        return " + ".join([*(f"{part.name} {part.level:g}" for part in early), last.name])

    @property
    def level(self) -> float:
        return self.parts[-1].level

    def at(self, level: float) -> Corruption:
        return Chain((*self.parts[:-1], self.parts[-1].at(level)))

    def describe(self) -> str:
        return ", then ".join(part.describe() for part in self.parts)

    def level_name(self) -> str:
        return self.parts[-1].level_name()

    def check(self, shape: _Shape, n_features: int) -> None:
        for part in self.parts:
            part.check(shape, n_features)

    def _damage(self, images: _Images, shape: _Shape, rng: np.random.Generator) -> _Images:
        for part in self.parts:
            images = part._damage(images, shape, rng)
        return images


KINDS: dict[str, type[Any]] = {
    "gaussian": Gaussian,
    "mask": Mask,
    "random-mask": RandomMask,
    "inpaint": Inpaint,
    "flip": Flip,
    "permute-channels": PermuteChannels,
}
"""The kinds by the names that `corruption` and the command line know."""


def corruption(text: str | Corruption) -> Corruption:
    """A corruption from words: ``"gaussian:0.5"``, ``"mask:0.3+gaussian:0.1"``.

    The level, after a colon, is 0.5 by default.

    Raises
    ------
    ValueError
        An unknown kind, with the right ones; a level that is no number or out of range.
    """
    if isinstance(text, Corruption):
        return text
    parts: list[Corruption] = []
    for part in text.split("+"):
        kind, colon, level = part.strip().partition(":")
        if kind not in KINDS:
            raise ValueError(f"unknown corruption {kind!r}; there are: {', '.join(KINDS)}")
        if not any(field.name in ("sd", "fraction") for field in fields(KINDS[kind])):
            if colon:
                raise ValueError(f"{kind!r} takes no level, got {part.strip()!r}")
            parts.append(KINDS[kind]())
            continue
        try:
            value = float(level) if colon else 0.5
        except ValueError:
            raise ValueError(f"{part.strip()!r}: {level!r} is no number") from None
        parts.append(KINDS[kind](value))
    return parts[0] if len(parts) == 1 else Chain(tuple(parts))
