"""The published procedure, one query at a time, as plainly as it can be: NumPy, float64.

Facts: functions.py of github.com/BerenMillidge/Theory_Associative_Memory, the code beside
Millidge et al. (ICML 2022), in our own words. Everything that looks like a mistake is one of
theirs and is meant to be here. What they draw at random is an argument here.

Images are rows of values; the layouts are theirs: 784 values are 28 rows, 3072 and 12,288
values are three channels of 32 or 64 rows. (Their Tiny ImageNet is rows of pixels of three
values, and is read as three channels all the same.) Other sizes (theirs refuses them) are
square grey images.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Array = np.ndarray
EPSILON = 1e-4

# ----------------------------------------------------------------------------- perturbations --


def _planes(image: Array) -> Array:
    """A copy as (channels, rows, columns)."""
    channels = 3 if len(image) in (3 * 32 * 32, 3 * 64 * 64) else 1
    side = math.isqrt(len(image) // channels)
    return image.copy().reshape(channels, side, side)


def gaussian(image: Array, sigma: float, normal: Array) -> Array:
    """Noise that is folded, not clipped, at 0. `normal`: one standard normal number a value."""
    return np.minimum(np.abs(image + sigma * normal), 1)


def mask(image: Array, fraction: float, reverse: bool = False) -> Array:
    """The last rows to 0; reversed, those that would have been left."""
    planes = _planes(image)
    border = int(planes.shape[1] * (1 - fraction))
    if reverse:
        planes[:, :border] = 0
    else:
        planes[:, border:] = 0
    return planes.reshape(-1)


def random_mask(image: Array, fraction: float, uniform: Array) -> Array:
    """Every value to 0 whose number in `uniform` is at most `fraction`."""
    damaged = image.copy()
    for i in range(len(damaged)):
        if uniform[i] <= fraction:
            damaged[i] = 0
    return damaged


def random_mask_pixels(image: Array, fraction: float, uniform: Array) -> Array:
    """The same for pixels, in all channels at once; `uniform` has a number a pixel."""
    planes = _planes(image)
    for i in range(planes.shape[1]):
        for j in range(planes.shape[2]):
            if uniform[i, j] <= fraction:
                planes[:, i, j] = 0
    return planes.reshape(-1)


def inpaint(image: Array, fraction: float) -> Array:
    """A border of zeros on all four sides."""
    planes = _planes(image)
    side = planes.shape[1]
    width = int(side * fraction // 2)
    planes[:, :width] = 0
    planes[:, side - width :] = 0
    planes[:, :, :width] = 0
    planes[:, :, side - width :] = 0
    return planes.reshape(-1)


def sign(x: Array) -> Array:
    """As PyTorch has it: 0 for NaN."""
    return np.where(np.isnan(x), 0, np.sign(x))


def bipolar(x: Array) -> Array:
    return sign(x - 0.5)


# ------------------------------------------------------------------------------ similarities --


def euclidean(patterns: Array, query: Array) -> Array:
    return 1 / np.sum((query - patterns) ** 2, axis=1)


def manhattan(patterns: Array, query: Array) -> Array:
    return 1 / np.sum(np.abs(query - patterns), axis=1)


def dot(patterns: Array, query: Array) -> Array:
    return np.sum(patterns * query, axis=1)


def cosine(patterns: Array, query: Array) -> Array:
    whole_matrix = np.sqrt(np.sum(patterns**2))
    return dot(patterns, query) / (whole_matrix * np.sqrt(np.sum(query**2)))


def normalized_dot(patterns: Array, query: Array) -> Array:
    p = patterns / np.sum(patterns, axis=1)[:, None]
    r = query / np.sum(query)
    dots = np.sum(p * r, axis=1)
    return dots / np.sum(dots)


def kl(patterns: Array, query: Array) -> Array:
    p = patterns / np.sum(patterns, axis=1)[:, None]
    r = query / np.sum(query)
    return 1 / np.sum(p * (np.log(p + EPSILON) - np.log(r + EPSILON)), axis=1)


def reverse_kl(patterns: Array, query: Array) -> Array:
    p = patterns / np.sum(patterns, axis=1)[:, None]
    r = query / np.sum(query)
    return 1 / np.sum(r * (np.log(r + EPSILON) - np.log(p + EPSILON)), axis=1)


def jensen_shannon(patterns: Array, query: Array) -> Array:
    return 1 / (0.5 * kl(patterns, query) + 0.5 * reverse_kl(patterns, query))


SIMILARITIES: dict[str, Callable[[Array, Array], Array]] = {
    "euclidean": euclidean,
    "manhattan": manhattan,
    "normalized_dot": normalized_dot,
    "kl": kl,
    "reverse_kl": reverse_kl,
    "jensen_shannon": jensen_shannon,
    "cosine": cosine,
    "dot": dot,
}

# ------------------------------------------------------------------------------- separations --


def softmax(x: Array, param: float) -> Array:
    e = np.exp(param * x - np.max(param * x))
    return e / np.sum(e)


def one_hot_of_max(x: Array, param: float) -> Array:
    w = np.zeros(len(x))
    w[np.argmax(x)] = 1  # the first of the largest; a NaN is larger than any number
    return w


SEPARATIONS: dict[str, Callable[[Array, float], Array]] = {
    "log": lambda x, param: np.log(x),
    "identity": lambda x, param: x,
    "softmax": softmax,
    "polynomial:2": lambda x, param: x**2,
    "polynomial:3": lambda x, param: x**3,
    "sqrt": lambda x, param: x**0.5,
    "polynomial:4": lambda x, param: x**4,
    "polynomial:10": lambda x, param: x**10,
    "max": one_hot_of_max,
}

# ------------------------------------------------------------------------------------ trials --


def weights(
    patterns: Array,
    query: Array,
    similarity: str,
    separation: str,
    param: float = 1000.0,
    beta: float = 1.0,
) -> Array:
    scores = beta * SIMILARITIES[similarity](patterns, query)
    scores = scores / np.sum(scores)
    separated = SEPARATIONS[separation](scores, param)
    return separated / np.sum(separated)


def trial(
    patterns: Array,
    query: Array,
    target: Array,
    similarity: str,
    separation: str,
    *,
    values: Array | None = None,
    param: float = 1000.0,
    beta: float = 1.0,
    binary: bool = False,
) -> tuple[float, int]:
    """Squared error of the answer, and the winner.

    The published code has no winner: here it is the pattern with the weight under "max", else
    the first of the values nearest to the answer, -1 if the answer is not a number.
    """
    with np.errstate(all="ignore"):
        if values is None:
            values = patterns
        w = weights(patterns, query, similarity, separation, param, beta)
        answer = np.sum(values * w[:, None], axis=0)
        if binary:
            answer = bipolar(sign(answer))
        error = float(np.sum((target - answer) ** 2))
        if separation == "max":
            return error, int(np.argmax(w))
        if math.isnan(error):
            return error, -1
        return error, int(np.argmin(np.sum((values - answer) ** 2, axis=1)))
