"""Glyphs: an embedded set of small grey images, so that an experiment needs no download.

Sixty-four characters (capital letters, digits, symbols) are drawn as polylines on a grid of 5 x
7 points, our own design. Image ``i`` is one of them, distorted by its own affine map (shift,
size, slant, tilt), its own wobble of every grid point, its own pen (width, softness, ink) and
rendered at 16 x 16 pixels. Images of one character are alike as handwritten ones are, and no
two are equal.

Everything is integer arithmetic on numbers that come from a counter-based hash, so image ``i``
is the same to the bit on every machine, for every version of NumPy, and however many images are
asked for. The one square root is taken of an integer below 2**53, where IEEE 754 leaves no
choice.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

__all__ = ["CLASSES", "SIDE", "glyphs", "labels"]

SIDE = 16
"""Rows and columns of an image."""

# One entry a character: its name, then strokes separated by blanks. A stroke is a polyline of
# grid points written xy, x = 0..4 from the left, y = 0..6 from the top.
_STROKES = {
    "A": "0602204246 0444",
    "B": "0006 003041423303 3344453606",
    "C": "4130100105163645",
    "D": "0006 003041453606",
    "E": "40000646 0333",
    "F": "400006 0333",
    "G": "41301001051636454323",
    "H": "0006 4046 0343",
    "I": "1030 2026 1636",
    "J": "2040 3035261504",
    "K": "0006 400346",
    "L": "000646",
    "M": "0600234046",
    "N": "06004640",
    "O": "103041453616050110",
    "P": "06003041423303",
    "Q": "103041453616050110 2446",
    "R": "06003041423303 2346",
    "S": "413010010213334445361605",
    "T": "0040 2026",
    "U": "000516364540",
    "V": "002640",
    "W": "0016233640",
    "X": "0046 4006",
    "Y": "002340 2326",
    "Z": "00400646",
    "0": "103041453616050110 0541",
    "1": "112026 1636",
    "2": "01103041420646",
    "3": "01103041423313 334445361605",
    "4": "36300444",
    "5": "400003334445361605",
    "6": "4130100105163645443303",
    "7": "004016 1333",
    "8": "103041423313020110 1304051636454433",
    "9": "0516364541301001021343",
    "plus": "2125 0343",
    "equals": "0242 0444",
    "slash": "0640",
    "question": "01103041422324 2626",
    "hash": "1016 3036 0242 0444",
    "percent": "0640 0001111000 3536464535",
    "ampersand": "460110210405162644",
    "asterisk": "2125 0244 4204",
    "less": "410345",
    "greater": "014305",
    "left bracket": "30101636",
    "right bracket": "10303616",
    "dollar": "413010010213334445361605 2026",
    "up": "2026 022042",
    "down": "2026 042644",
    "left": "0343 210325",
    "right": "0343 214325",
    "triangle": "20460620",
    "box": "0141450501",
    "diamond": "2043260320",
    "house": "060220424606",
    "heart": "260201102130414226",
    "hourglass": "0040064600",
    "phi": "113142443515040211 2026",
    "psi": "000213334240 2026",
    "omega": "06160401103041443646",
    "pi": "0141 1116 3136",
    "sigma": "4000230646",
}

CLASSES = tuple(_STROKES)
"""Names of the 64 characters; the label of an image is an index into it."""

# Lengths are in 64ths of a pixel, slopes in 64ths.
_UNIT = 64
_N_POINTS = 5 * 7

_Ints = npt.NDArray[np.int64]


def _segments(strokes: str) -> _Ints:
    """The segments (n, 2) of a character, as numbers 7 x + y of their two grid points."""
    pairs: list[tuple[int, int]] = []
    for stroke in strokes.split():
        points = [7 * int(stroke[i]) + int(stroke[i + 1]) for i in range(0, len(stroke), 2)]
        pairs += itertools.pairwise(points)
    return np.array(pairs, dtype=np.int64)


def _hash(counter: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea, Flood 2014): 64 mixed bits for a counter."""
    x = counter * np.uint64(0x9E3779B97F4A7C15)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _draw(index: _Ints, field: int, low: int, high: int) -> _Ints:
    """An integer in [low, high] for every image number in `index`, another for every field."""
    counter = index.astype(np.uint64) * np.uint64(256) + np.uint64(field + 1)
    bits = (_hash(counter) >> np.uint64(32)).astype(np.int64)
    return low + bits % (high - low + 1)


def labels(n_images: int, first: int = 0) -> _Ints:
    """The character of images `first` to `first + n_images - 1`, as an index into `CLASSES`.

    Every run of 64 images that starts at a multiple of 64 has each character once, so that a
    prefix of the set is a fair sample.
    """
    index = first + np.arange(n_images, dtype=np.int64)
    return (29 * index + 11 * (index // len(CLASSES))) % len(CLASSES)


def _render(index: _Ints, segments: _Ints) -> npt.NDArray[np.uint8]:
    """Images (n, 256) of one character, distorted as each image number in `index` says."""
    n = len(index)
    # The grid points of every image after wobble and affine map, (n, 35).
    grid_x, grid_y = np.divmod(np.arange(_N_POINTS, dtype=np.int64), 7)
    wobble_x = np.stack([_draw(index, 16 + p, -9, 9) for p in range(_N_POINTS)], axis=1)
    wobble_y = np.stack([_draw(index, 64 + p, -9, 9) for p in range(_N_POINTS)], axis=1)
    from_x = (grid_x - 2) * _UNIT + wobble_x
    from_y = (grid_y - 3) * _UNIT + wobble_y
    scale_x, scale_y = _draw(index, 0, 110, 168), _draw(index, 1, 92, 128)
    slant, tilt = _draw(index, 2, -26, 26), _draw(index, 3, -14, 14)
    centre_x, centre_y = _draw(index, 4, 432, 528), _draw(index, 5, 432, 528)
    x = centre_x[:, None] + (scale_x[:, None] * from_x - slant[:, None] * from_y) // _UNIT
    y = centre_y[:, None] + (scale_y[:, None] * from_y + tilt[:, None] * from_x) // _UNIT

    # Squared distance of every pixel's centre to the nearest segment, (n, 256).
    centres = np.arange(SIDE, dtype=np.int64) * _UNIT + _UNIT // 2
    pixel_y, pixel_x = (
        a.ravel()[None, :] for a in np.meshgrid(centres, centres, indexing="ij")
    )
    nearest = np.full((n, SIDE * SIDE), np.iinfo(np.int64).max)
    for start, stop in segments:
        ax, ay = pixel_x - x[:, start, None], pixel_y - y[:, start, None]
        dx, dy = (x[:, stop] - x[:, start])[:, None], (y[:, stop] - y[:, start])[:, None]
        length = dx * dx + dy * dy
        along, across = ax * dx + ay * dy, ax * dy - ay * dx
        distance = across * across // np.maximum(length, 1)
        # Beside the ends of the segment the nearest point is an end.
        outside = along <= 0
        distance[outside] = (ax * ax + ay * ay)[outside]
        outside = along > length
        distance[outside] = ((ax - dx) * (ax - dx) + (ay - dy) * (ay - dy))[outside]
        np.minimum(nearest, distance, out=nearest)
    distance = np.sqrt(nearest.astype(np.float64)).astype(np.int64)

    # The pen: full ink up to its half width, then a linear edge.
    half = _draw(index, 6, 30, 64)[:, None]
    soft = _draw(index, 7, 50, 120)[:, None]
    ink = _draw(index, 8, 190, 255)[:, None]
    grey = (half + soft // 2 - distance) * ink // soft
    np.clip(grey, 0, ink, out=grey)
    image: npt.NDArray[np.uint8] = grey.astype(np.uint8)
    return image


def glyphs(n_images: int = 5000, first: int = 0) -> npt.NDArray[np.uint8]:
    """Glyphs number `first` to `first + n_images - 1`.

    Parameters
    ----------
    n_images : int
        How many, at least 0. The set has no end; the first 100,000 are known to differ.
    first : int
        Number of the first one, from 0 to 2**40.

    Returns
    -------
    ndarray of uint8, shape (n_images, 16, 16)
        Rows from the top, 0 background, at most 255 ink.

    Examples
    --------
    >>> from uhn.glyphs import CLASSES, glyphs, labels
    >>> glyphs(3).shape
    (3, 16, 16)
    >>> [CLASSES[c] for c in labels(3)]
    ['A', '3', 'hourglass']
    """
    if n_images < 0:
        raise ValueError(f"n_images must be at least 0, not {n_images}")
    if not 0 <= first <= 2**40:
        raise ValueError(f"first must be from 0 to 2**40, not {first}")
    label = labels(n_images, first)
    images = np.zeros((n_images, SIDE * SIDE), dtype=np.uint8)
    for number, name in enumerate(CLASSES):
        members = np.flatnonzero(label == number).astype(np.int64)
        segments = _segments(_STROKES[name])
        # Slices keep the arrays of distances inside the processor's cache.
        for start in range(0, len(members), 64):
            part = members[start : start + 64]
            images[part] = _render(first + part, segments)
    return images.reshape(n_images, SIDE, SIDE)
