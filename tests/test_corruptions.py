"""Corruptions: what they do to which pixels, with which luck, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from uhn.experiments import (
    Chain,
    Corruption,
    Flip,
    Gaussian,
    Inpaint,
    Mask,
    PermuteChannels,
    RandomMask,
    corruption,
)
from uhn.experiments.corruptions import KINDS, row_axis

ALL = [
    Gaussian(0.3),
    Gaussian(0.3, fold=True),
    Mask(0.4),
    Mask(0.4, side="top"),
    RandomMask(0.4),
    RandomMask(0.4, per="value"),
    Inpaint(0.5),
    Flip(0.4),
    PermuteChannels(),
    PermuteChannels((2, 0, 1)),
    Mask(0.4) + Gaussian(0.2),
]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def layouts(images: np.ndarray) -> list[tuple[np.ndarray, tuple[int, ...]]]:
    """Colour images (n, rows, columns, channels) as rows of both layouts, with their shapes."""
    n, h, w, c = images.shape
    last = np.ascontiguousarray(images).reshape(n, -1)
    first = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(n, -1)
    return [(last, (h, w, c)), (first, (c, h, w))]


def test_masks_know_the_layout() -> None:
    """The same lower half in all three layouts, and nothing else."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0.1, 1, (6, 5, 3)).astype(np.float32)
    expected = image.copy()
    expected[3:] = 0
    hwc = Mask(0.5)(image.reshape(1, -1), (6, 5, 3), generator()).reshape(6, 5, 3)
    np.testing.assert_array_equal(hwc, expected)
    chw = Mask(0.5)(image.transpose(2, 0, 1).reshape(1, -1), (3, 6, 5), generator())
    np.testing.assert_array_equal(chw.reshape(3, 6, 5).transpose(1, 2, 0), expected)
    grey = Mask(0.5)(image[..., 0].reshape(1, -1), (6, 5), generator()).reshape(6, 5)
    np.testing.assert_array_equal(grey, expected[..., 0])


@pytest.mark.parametrize(
    ("rows", "fraction", "first"), [(28, 0.9, 2), (32, 0.8, 6), (28, 0.5, 14)]
)
def test_masks_truncate_as_published(rows: int, fraction: float, first: int) -> None:
    masked = Mask(fraction)(np.ones((2, rows * 2), dtype=np.float32), (rows, 2), generator())
    kept = masked.reshape(2, rows, 2).all(axis=(0, 2))
    assert kept.tolist() == [True] * first + [False] * (rows - first)


def test_mask_of_nothing_and_of_everything() -> None:
    images = np.ones((2, 12), dtype=np.float32)
    np.testing.assert_array_equal(Mask(0.0)(images, (4, 3), generator()), images)
    np.testing.assert_array_equal(Mask(1.0)(images, (4, 3), generator()), 0 * images)
    np.testing.assert_array_equal(images, 1)  # the input is left as it is


@pytest.mark.parametrize("shape", [(5,), (2, 2, 2), (3, 5, 3), (1, 2, 3, 4), ()])
def test_shapes_that_are_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rows, columns"):
        row_axis(shape)


def test_noise_is_clipped_not_folded() -> None:
    """On black half the noise is cut to 0; folding would leave none there."""
    black = np.zeros((4, 5000), dtype=np.float32)
    noisy = Gaussian(0.5)(black, (), generator(1))
    assert noisy.dtype == np.float32
    assert np.mean(noisy == 0) == pytest.approx(0.5, abs=0.02)
    # P(N(0, 0.5) > 1) = P(N(0, 1) > 2) = 0.02275
    assert np.mean(noisy == 1) == pytest.approx(0.02275, abs=0.005)
    grey = Gaussian(0.05)(black + np.float32(0.5), (), generator(1))
    assert grey.std() == pytest.approx(0.05, rel=0.03)
    np.testing.assert_array_equal(black, 0)


def test_folded_noise_is_the_absolute_value_of_the_same_draws() -> None:
    images = generator(2).random((5, 40), dtype=np.float32)
    noise = generator(3).standard_normal((5, 40), dtype=np.float32) * np.float32(0.7)
    folded = Gaussian(0.7, fold=True)(images, (), generator(3))
    np.testing.assert_array_equal(folded, np.clip(np.abs(noise + images), 0, 1))
    clipped = Gaussian(0.7)(images, (), generator(3))
    np.testing.assert_array_equal(clipped, np.clip(noise + images, 0, 1))
    assert (folded > clipped).any()


@pytest.mark.parametrize("rows", [7, 8])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.5, 1.0])
def test_top_and_bottom_mask_as_many_rows(rows: int, fraction: float) -> None:
    images = np.ones((1, rows * 3), dtype=np.float32)
    bottom = Mask(fraction)(images, (rows, 3), generator()).reshape(rows, 3)
    top = Mask(fraction, side="top")(images, (rows, 3), generator()).reshape(rows, 3)
    np.testing.assert_array_equal(top, bottom[::-1])


def test_a_random_mask_takes_whole_pixels() -> None:
    images = generator(4).uniform(0.1, 1, (30, 10, 9, 3)).astype(np.float32)
    draws = generator(5).random((30, 10, 9))
    expected = np.where((draws <= 0.3)[..., None], 0, images)
    (last, shape), (first, other) = layouts(images)
    np.testing.assert_array_equal(
        RandomMask(0.3)(last, shape, generator(5)).reshape(images.shape), expected
    )
    np.testing.assert_array_equal(
        RandomMask(0.3)(first, other, generator(5)).reshape(30, 3, 10, 9),
        expected.transpose(0, 3, 1, 2),
    )
    # Five standard deviations of a binomial of 2700.
    assert abs((draws <= 0.3).mean() - 0.3) < 5 * np.sqrt(0.21 / 2700)
    values = RandomMask(0.3, per="value")(last, shape, generator(5)).reshape(-1, 3)
    zeros = (values == 0).sum(axis=1)
    assert ((zeros > 0) & (zeros < 3)).any()


@pytest.mark.parametrize(("side", "fraction", "width"), [(28, 0.7, 9), (28, 0.1, 1), (8, 1, 4)])
def test_inpainting_masks_a_border(side: int, fraction: float, width: int) -> None:
    """28 * 0.7 // 2 is 9, 28 * 0.1 // 2 is 1."""
    images = np.ones((2, side, side, 3), dtype=np.float32)
    for rows, shape in layouts(images):
        kept = Inpaint(fraction)(rows, shape, generator()).reshape(2, *shape)
        inside = np.zeros((side, side), dtype=np.float32)
        inside[width : side - width, width : side - width] = 1
        for channel in range(3):
            axis = 3 if shape[2] == 3 else 1
            np.testing.assert_array_equal(kept.take(channel, axis=axis), [inside, inside])
    narrow = Inpaint(1.0)(np.ones((1, 30), dtype=np.float32), (10, 3), generator())
    assert not narrow.any()


def test_flips_turn_values_over() -> None:
    images = generator(6).random((40, 100), dtype=np.float32)
    flipped = Flip(0.25)(images, (), generator(7))
    moved = flipped != images
    np.testing.assert_array_equal(flipped[moved], 1 - images[moved])
    assert abs(moved.mean() - 0.25) < 5 * np.sqrt(0.1875 / 4000)
    np.testing.assert_array_equal(Flip(1.0)(images, (), generator()), 1 - images)


def test_channels_change_places() -> None:
    images = generator(8).random((50, 6, 5, 3), dtype=np.float32)
    for rows, shape in layouts(images):
        fixed = PermuteChannels((2, 0, 1))(rows, shape, generator())
        expected = images[..., [2, 0, 1]]
        if shape[0] == 3:
            expected = expected.transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(fixed.reshape(expected.shape), expected)
        drawn = PermuteChannels()(rows, shape, generator(9)).reshape(50, *shape)
        drawn = drawn if shape[2] == 3 else drawn.transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(np.sort(drawn, axis=3), np.sort(images, axis=3))
        assert len({tuple(image[0, 0].argsort()) for image in drawn}) == 6
    with pytest.raises(ValueError, match="permutation"):
        PermuteChannels((0, 0, 1))(np.zeros((1, 12)), (2, 2, 3), generator())


def test_chains_go_in_order() -> None:
    images = generator(10).random((3, 30), dtype=np.float32)
    chain = Mask(0.5) + Gaussian(0.1) + Flip(0.2)
    assert isinstance(chain, Chain) and len(chain.parts) == 3
    assert (chain.level, chain.at(0.3).level) == (0.2, 0.3)
    assert chain.name == "mask 0.5 + gaussian 0.1 + flip"
    rng = generator(11)
    expected = images
    for part in chain.parts:
        expected = part(expected, (10, 3), rng)
    np.testing.assert_array_equal(chain(images, (10, 3), generator(11)), expected)
    assert chain.describe().count(", then ") == 2
    with pytest.raises(TypeError):
        Mask(0.5) + 3  # type: ignore[operator]


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_what_all_have_in_common(one: Corruption) -> None:
    """Copies in [0, 1], the same for the same luck, one image at a time or not drawn at all."""
    images = generator(12).random((6, 6, 5, 3), dtype=np.float32)
    for rows, shape in layouts(images):
        before = rows.copy()
        damaged = one(rows, shape, generator(13))
        np.testing.assert_array_equal(rows, before)
        assert damaged.dtype == np.float32 and damaged.shape == rows.shape
        assert damaged.min() >= 0 and damaged.max() <= 1
        assert (damaged != rows).any()
        np.testing.assert_array_equal(one(rows, shape, generator(13)), damaged)
    with pytest.raises(ValueError, match="does not fit"):
        one(np.zeros((2, 59)), (6, 5, 3), generator())
    with pytest.raises(ValueError, match="shape"):
        one(np.zeros(90), (6, 5, 3), generator())
    if one.needs_shape and not isinstance(one, Chain):
        with pytest.raises(ValueError, match="needs shape="):
            one(np.zeros((2, 90)), (), generator())
    assert one.describe() and one.level_name()


def test_names_tell_corruptions_apart() -> None:
    assert len({one.name for one in ALL}) == len(ALL)
    assert Gaussian(0.1).kind == Gaussian(0.1, fold=True).kind


def test_words() -> None:
    assert corruption("gaussian") == Gaussian(0.5)
    assert corruption("random-mask:0.25") == RandomMask(0.25)
    assert corruption("mask:0.3 + gaussian:0.1") == Mask(0.3) + Gaussian(0.1)
    assert corruption("permute-channels") == PermuteChannels()
    assert corruption(Flip(0.1)) == Flip(0.1)
    for kind in KINDS:
        assert isinstance(corruption(kind), KINDS[kind])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blur", "gaussian, mask, random-mask"),
        ("", "gaussian, mask"),
        ("mask:x", "no number"),
        ("mask:1.5", "from 0 to 1"),
        ("mask:nan", "from 0 to 1"),
        ("gaussian:inf", "finite"),
        ("gaussian:-1", "at least 0"),
        ("permute-channels:0.5", "no level"),
    ],
)
def test_bad_words(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corruption(text)


def test_bad_parameters() -> None:
    with pytest.raises(ValueError, match="bottom"):
        Mask(0.5, side="left")
    with pytest.raises(ValueError, match="pixel"):
        RandomMask(0.5, per="row")
    with pytest.raises(ValueError, match="no level"):
        PermuteChannels().at(0.5)
    with pytest.raises(ValueError, match="at least one"):
        Chain(())
