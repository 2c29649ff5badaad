"""Ways to damage images before they are asked for: noise and masks.

Images are rows of values in [0, 1]; `shape` is that of one image. A corruption knows the
layout, so that "the bottom half" is the bottom half of a grey image (rows, columns), of a
colour image stored as (channels, rows, columns) and of one stored as (rows, columns, channels)
alike. (The published code treats every colour image as the second kind, and so masks three
bands of the third.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["KINDS", "corrupt", "gaussian_noise", "mask_bottom", "row_axis"]

KINDS = {
    "noise": "Gaussian noise of standard deviation `level`, clipped to [0, 1]",
    "mask": "the lowest rows set to 0, a fraction `level` of the image",
}
"""What `corrupt` offers, with one line each."""

_Images = npt.NDArray[np.float32]


def row_axis(shape: tuple[int, ...]) -> int:
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


def gaussian_noise(images: _Images, sd: float, rng: np.random.Generator) -> _Images:
    """Adds normal noise of standard deviation `sd` to every value and clips to [0, 1].

    A plain clip, where the published code takes the absolute value before it clips from above:
    that folds half of a dark background's noise upward, where this leaves it dark.

    Parameters
    ----------
    images : ndarray of float32, shape (n, d)
    sd : float
        At least 0. (The published figures call this number a variance.)
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (n, d)
    """
    noisy = rng.standard_normal(images.shape, dtype=np.float32)
    noisy *= np.float32(sd)
    noisy += images
    return np.clip(noisy, 0, 1, out=noisy)


def mask_bottom(images: _Images, fraction: float, shape: tuple[int, ...]) -> _Images:
    """Sets the rows from ``int(rows * (1 - fraction))`` to the last to 0, as published.

    Parameters
    ----------
    images : ndarray of float32, shape (n, d)
    fraction : float
        From 0 (nothing) to 1 (everything).
    shape : tuple of int
        Shape of one image, see `row_axis`; its size must be d.

    Returns
    -------
    ndarray of float32, shape (n, d)
    """
    axis = row_axis(shape)
    masked = images.reshape((len(images), *shape)).copy()
    first = int(shape[axis] * (1 - fraction))
    np.moveaxis(masked, 1 + axis, 1)[:, first:] = 0
    return masked.reshape(images.shape)


def corrupt(
    images: _Images,
    kind: str,
    level: float,
    shape: tuple[int, ...],
    rng: np.random.Generator,
) -> _Images:
    """Images damaged by a row of `KINDS` at a level."""
    if kind == "noise":
        return gaussian_noise(images, level, rng)
    if kind == "mask":
        return mask_bottom(images, level, shape)
    raise ValueError(f"unknown corruption {kind!r}; there are: {', '.join(KINDS)}")
