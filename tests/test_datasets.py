"""Data sets: the glyphs to the bit, and readers that meet good, cut and lying files."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import lzma
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uhn import datasets, glyphs

ROOT = Path(__file__).resolve().parent.parent
RNG = np.random.default_rng(7)

#: For files made here, which have official names and not the official sums.
load = functools.partial(datasets.load, verify=False)


# ------------------------------------------------------------------------------------ glyphs --


def test_glyphs_are_the_same_everywhere() -> None:
    images = glyphs.glyphs(1000)
    assert images.shape == (1000, 16, 16)
    assert images.dtype == np.uint8
    assert hashlib.sha256(images.tobytes()).hexdigest() == (
        "59fbb33121e40ab77e8d7434514bbabf549d51fc159baf8cb877d489c5e68019"
    )


def test_a_glyph_does_not_depend_on_how_many_are_asked_for() -> None:
    images = glyphs.glyphs(300)
    np.testing.assert_array_equal(glyphs.glyphs(7), images[:7])
    np.testing.assert_array_equal(glyphs.glyphs(100, first=150), images[150:250])
    np.testing.assert_array_equal(glyphs.labels(100, 150), glyphs.labels(300)[150:250])


def test_glyphs_differ_and_are_alike_within_a_character() -> None:
    images = glyphs.glyphs(512).reshape(512, -1)
    assert len(np.unique(images, axis=0)) == 512
    rows = images / 255.0
    squares = (rows**2).sum(axis=1)
    distance = squares[:, None] + squares - 2 * rows @ rows.T
    same = glyphs.labels(512)[:, None] == glyphs.labels(512)
    np.fill_diagonal(same, False)
    other = glyphs.labels(512)[:, None] != glyphs.labels(512)
    assert distance[same].mean() < 0.6 * distance[other].mean()
    # Every image shows something and nothing touches the border so much that it is cut off.
    ink = images.reshape(512, 16, 16)
    assert ink.max(axis=(1, 2)).min() > 100
    assert ink[:, [0, -1], :].mean() < 5


def test_every_64_glyphs_have_each_character_once() -> None:
    labels = glyphs.labels(640).reshape(10, 64)
    for block in labels:
        assert sorted(block) == list(range(64))
    assert len(glyphs.CLASSES) == 64


def test_a_thousand_glyphs_take_well_under_a_second() -> None:
    # Processor time, as the machine may be busy; the best of three.
    best = min(_seconds(lambda: glyphs.glyphs(1000)) for _ in range(3))
    assert best < 0.8


def _seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


@pytest.mark.parametrize("bad", [{"n_images": -1}, {"first": -1}, {"first": 2**41}])
def test_glyphs_refuse_numbers_out_of_range(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        glyphs.glyphs(**bad)


def test_the_embedded_set() -> None:
    data = datasets.load("glyphs")
    assert data.images.shape == (5000, 256)
    assert data.images.dtype == np.float32
    assert data.images.flags.c_contiguous
    assert data.images.min() >= 0
    assert data.images.max() <= 1
    assert (data.shape, data.source, len(data)) == ((16, 16), "embedded", 5000)
    assert repr(data) == "Dataset('glyphs', 5000 images of 16 x 16, source='embedded')"
    test = datasets.load("glyphs", n_images=64, split="test")
    train = {row.tobytes() for row in data.images}
    assert not any(row.tobytes() in train for row in test.images)


# ------------------------------------------------------------------------------------- names --


def test_unknown_names_are_answered_with_the_right_ones() -> None:
    with pytest.raises(
        ValueError, match=r"glyphs, mnist, fashion-mnist, cifar10, tiny-imagenet, digits"
    ):
        datasets.load("imagenet")
    with pytest.raises(ValueError, match="train, test"):
        datasets.load("glyphs", split="validation")
    with pytest.raises(ValueError, match="at least 1"):
        datasets.load("glyphs", n_images=0)
    with pytest.raises(ValueError, match="replicate, skip, zero"):
        datasets.load("glyphs", grey="drop")


def test_every_set_is_described() -> None:
    described = datasets.describe()
    assert tuple(described) == datasets.NAMES
    for name, (line, terms) in described.items():
        assert len(line) > 20 and "\n" not in line + terms, name
    assert datasets.load("glyphs", n_images=1).terms == described["glyphs"][1]
    described.clear()
    assert datasets.describe(), "a copy: the module's own is not changed"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "train-images-idx3-ubyte.gz"),
        ("fashion-mnist", "train-images-idx3-ubyte.gz"),
        ("cifar10", "cifar-10-binary.tar.gz"),
        ("tiny-imagenet", "tiny-imagenet-200.zip"),
    ],
)
def test_missing_files_say_where_to_put_which(tmp_path: Path, name: str, file: str) -> None:
    if name == "tiny-imagenet":
        pytest.importorskip("PIL")
    with pytest.raises(FileNotFoundError, match=file) as caught:
        datasets.load(name, data_dir=tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "download=True" in str(caught.value)
    assert isinstance(caught.value, datasets.DatasetNotFoundError)
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        datasets.load(name, data_dir=tmp_path / "nowhere")


def test_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory given is the only one; else UHN_DATA, ./shared/data, ../shared/data."""
    here = tmp_path / "here"
    roots = {
        "given": tmp_path / "given",
        "environment": tmp_path / "environment",
        "near": here / "shared" / "data",
        "above": tmp_path / "shared" / "data",
    }
    for value, root in enumerate(roots.values()):
        put_idx(root / "mnist", np.full((2, 28, 28), value, dtype=np.uint8))
    monkeypatch.chdir(here)

    def first_byte(**options: Any) -> int:
        return round(255 * float(load("mnist", **options).images[0, 0]))

    monkeypatch.setenv("UHN_DATA", str(roots["environment"]))
    assert first_byte(data_dir=roots["given"]) == 0
    assert first_byte() == 1
    monkeypatch.delenv("UHN_DATA")
    assert first_byte() == 2
    for path in (roots["near"] / "mnist").iterdir():
        path.unlink()
    assert first_byte() == 3
    monkeypatch.setenv("UHN_DATA", str(tmp_path / "empty"))
    assert first_byte() == 3


# --------------------------------------------------------------------------------------- IDX --


def idx(array: np.ndarray) -> bytes:
    return (
        bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    ) + array.astype(np.uint8).tobytes()


def put_idx(folder: Path, images: np.ndarray, labels: np.ndarray | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(images)))
    if labels is not None:
        (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return path


PICTURES = RNG.integers(0, 256, (5, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "train-images.idx3-ubyte"])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_files_are_read(tmp_path: Path, name: str, file: str, end: str) -> None:
    pack = gzip.compress if end else bytes
    (tmp_path / name).mkdir()
    # The folder of the official tools is found, and so is a directory named directly.
    folder = tmp_path / name
    (folder / (file + end)).write_bytes(pack(idx(PICTURES)))
    labels = file.replace("images", "labels").replace("idx3", "idx1")
    (folder / (labels + end)).write_bytes(pack(idx(np.arange(5))))
    for root in (tmp_path, folder):
        data = load(name, data_dir=root)
        np.testing.assert_array_equal(
            data.images, PICTURES.reshape(5, 784).astype(np.float32) / np.float32(255)
        )
        assert data.labels is not None
        np.testing.assert_array_equal(data.labels, np.arange(5))
        assert data.shape == (28, 28)
        assert data.source == str(folder / (file + end))
    part = load(name, data_dir=tmp_path, n_images=2)
    np.testing.assert_array_equal(part.images, data.images[:2])
    assert part.labels is not None
    assert len(part.labels) == 2


def test_labels_are_not_needed(tmp_path: Path) -> None:
    put_idx(tmp_path / "mnist", PICTURES)
    assert load("mnist", data_dir=tmp_path).labels is None


def test_one_set_is_not_taken_for_the_other(tmp_path: Path) -> None:
    """MNIST and Fashion-MNIST have files of the same names; the directory's name decides."""
    plain, fashion = tmp_path / "some", tmp_path / "fashion"
    put_idx(plain, PICTURES)
    put_idx(fashion, PICTURES)
    assert len(load("mnist", data_dir=plain)) == 5
    assert len(load("fashion-mnist", data_dir=fashion)) == 5
    with pytest.raises(FileNotFoundError):
        load("fashion-mnist", data_dir=plain)
    with pytest.raises(FileNotFoundError):
        load("mnist", data_dir=fashion)


def test_more_images_than_there_are(tmp_path: Path) -> None:
    put_idx(tmp_path / "mnist", PICTURES)
    with pytest.raises(datasets.TooFewImagesError, match="6 images asked for, it has 5"):
        load("mnist", data_dir=tmp_path, n_images=6)


def header(*sizes: int) -> bytes:
    return bytes((0, 0, 8, len(sizes))) + struct.pack(f">{len(sizes)}I", *sizes)


GOOD = idx(PICTURES)
BAD_IDX = {
    "empty": (b"", "truncated"),
    "cut header": (GOOD[:9], "truncated"),
    "text": (b"<html>404 not found, try again</html>", "not an IDX file"),
    "floats": (b"\0\0\x0d\x03" + GOOD[4:], "not an IDX file"),
    "labels": (idx(np.arange(40)), "not an IDX file"),
    "one byte short": (GOOD[:-1], "truncated|cannot hold"),
    "one byte more": (GOOD + b"\0", "more data"),
    "other size": (idx(PICTURES[:, :, :27]), "not 28 x 28"),
    "huge": (header(2**32 - 1, 28, 28) + GOOD[16:], "cannot hold"),
    "overflowing": (header(2**32 - 1, 2**32 - 1, 2**32 - 1) + GOOD[16:], "cannot hold"),
    "no pixels": (header(5, 0, 28), "cannot hold"),
    "zero rows": (header(2**32 - 1, 0, 0), "cannot hold"),
}


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("case", BAD_IDX)
def test_bad_idx_files(tmp_path: Path, case: str, compressed: bool) -> None:
    content, message = BAD_IDX[case]
    (tmp_path / "mnist").mkdir()
    path = tmp_path / "mnist" / ("train-images-idx3-ubyte" + (".gz" if compressed else ""))
    path.write_bytes(gzip.compress(content) if compressed else content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as caught:
            load("mnist", data_dir=tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 5, 30, -9, -1])
def test_cut_gzip(tmp_path: Path, keep: int) -> None:
    path = put_idx(tmp_path / "mnist", PICTURES)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="truncated"):
        load("mnist", data_dir=tmp_path)


def test_spoilt_gzip(tmp_path: Path) -> None:
    """A flipped byte anywhere is an error or changes nothing, and never anything else."""
    path = put_idx(tmp_path / "mnist", PICTURES)
    good = path.read_bytes()
    n_refused = 0
    for position in range(0, len(good), 37):
        path.write_bytes(
            good[:position] + bytes((good[position] ^ 0x55,)) + good[position + 1 :]
        )
        try:
            data = load("mnist", data_dir=tmp_path)
        except ValueError:
            n_refused += 1
        else:
            np.testing.assert_array_equal(np.rint(255 * data.images), PICTURES.reshape(5, 784))
    assert n_refused > 80


def test_too_few_labels(tmp_path: Path) -> None:
    put_idx(tmp_path / "mnist", PICTURES, np.arange(4))
    with pytest.raises(ValueError, match="4 labels for 5 images"):
        load("mnist", data_dir=tmp_path)


# ------------------------------------------------------------------------------------- CIFAR --


def cifar(labels: list[int]) -> tuple[bytes, np.ndarray]:
    pixels = RNG.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    records = np.concatenate([np.array(labels, dtype=np.uint8)[:, None], pixels], axis=1)
    return records.tobytes(), pixels


@pytest.mark.parametrize("end", ["", ".xz"])
def test_cifar_batches_are_joined(tmp_path: Path, end: str) -> None:
    pack = lzma.compress if end else bytes
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    parts = [cifar([i, 9 - i]) for i in range(3)]
    for i, (content, _) in enumerate(parts):
        (folder / f"data_batch_{i + 1}.bin{end}").write_bytes(pack(content))
    for root in (tmp_path, folder):
        data = load("cifar10", data_dir=root)
        assert data.labels is not None
        assert data.labels.tolist() == [0, 9, 1, 8, 2, 7]
        expected = np.concatenate([pixels for _, pixels in parts])
        np.testing.assert_array_equal(
            data.images, expected.astype(np.float32) / np.float32(255)
        )
    assert data.shape == (3, 32, 32)
    assert len(load("cifar10", data_dir=tmp_path, n_images=3)) == 3
    with pytest.raises(datasets.TooFewImagesError, match="7 images asked for, it has 6"):
        load("cifar10", data_dir=tmp_path, n_images=7)


def test_cifar_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        for i in range(1, 6):
            content, _ = cifar([i])
            info = tarfile.TarInfo(f"cifar-10-batches-bin/data_batch_{i}.bin")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    data = load("cifar10", data_dir=tmp_path)
    assert data.labels is not None
    assert data.labels.tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match=r"has no file .*test_batch\.bin"):
        load("cifar10", data_dir=tmp_path, split="test")
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"damaged|truncated"):
        load("cifar10", data_dir=tmp_path)


@pytest.mark.parametrize("end", ["", ".xz"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (cifar([1, 2])[0][:-1], "no whole number of records"),
        (cifar([1])[0] + b"\0", "no whole number of records"),
        (cifar([1, 10])[0], "label 10 in record 1"),
    ],
    ids=["empty", "short", "long", "label"],
)
def test_bad_cifar(tmp_path: Path, content: bytes, message: str, end: str) -> None:
    path = tmp_path / f"test_batch.bin{end}"
    path.write_bytes(lzma.compress(content) if end else content)
    with pytest.raises(ValueError, match=message):
        load("cifar10", data_dir=tmp_path, split="test")


@pytest.mark.parametrize("keep", [0, 10, 3000, -1])
def test_cut_xz(tmp_path: Path, keep: int) -> None:
    content = lzma.compress(cifar([1, 2, 3])[0])
    (tmp_path / "train_first6000.bin.xz").write_bytes(content[:keep])
    with pytest.raises(ValueError, match=r"truncated|damaged"):
        load("cifar10", data_dir=tmp_path)


def test_an_endless_xz_stops_at_what_is_asked_for(tmp_path: Path) -> None:
    """Zeros compress 7000 to 1: no more of them is unpacked than was asked for."""
    (tmp_path / "train_first6000.bin.xz").write_bytes(lzma.compress(bytes(3073 * 20_000)))
    tracemalloc.start()
    try:
        assert len(load("cifar10", data_dir=tmp_path, n_images=2)) == 2
        assert tracemalloc.get_traced_memory()[1] < 24 << 20  # xz needs its window of 8 MiB
    finally:
        tracemalloc.stop()


# ----------------------------------------------------------------------------- Tiny ImageNet --


def jpeg(level: int, size: tuple[int, int] = (64, 64), mode: str = "RGB") -> bytes:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    stream = io.BytesIO()
    colour = level if mode == "L" else (level, 128, 255 - level)
    image.new(mode, size, colour).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def tiny_files() -> dict[str, bytes]:
    files = {
        "wnids.txt": b"n2\nn1\n",
        "val/val_annotations.txt": b"val_10.JPEG\tn1\t0\t0\t1\t1\nval_9.JPEG\tn2\t0\t0\t1\t1\n",
        "val/images/val_10.JPEG": jpeg(110),
        "val/images/val_9.JPEG": jpeg(90),
    }
    for level, number in ((20, 2), (100, 10), (0, 0)):
        files[f"train/n2/images/n2_{number}.JPEG"] = jpeg(level)
    files["train/n1/images/n1_0.JPEG"] = jpeg(200, mode="L")
    return files


def put_tiny(root: Path, files: dict[str, bytes], zipped: bool) -> None:
    if not zipped:
        for name, content in files.items():
            path = root / "tiny-imagenet-200" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return
    with zipfile.ZipFile(root / "tiny-imagenet-200.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"tiny-imagenet-200/{name}", content)


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_tiny_imagenet(tmp_path: Path, zipped: bool) -> None:
    put_tiny(tmp_path, tiny_files(), zipped)
    data = load("tiny-imagenet", data_dir=tmp_path)
    assert data.images.shape == (4, 64 * 64 * 3)
    assert data.shape == (64, 64, 3)
    # In the order of wnids.txt, and 2 before 10.
    red = 255 * data.images.reshape(4, 64, 64, 3)[:, 5, 5, 0]
    np.testing.assert_allclose(red, [0, 20, 100, 200], atol=3)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 0, 1]
    # The grey one has three equal colours, is counted and is mentioned.
    grey = data.images[3].reshape(64, 64, 3)
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])
    assert data.n_grey == 1
    assert "1 single-channel" in data.note
    part = load("tiny-imagenet", data_dir=tmp_path, n_images=2)
    np.testing.assert_array_equal(part.images, data.images[:2])
    test = load("tiny-imagenet", data_dir=tmp_path, split="test")
    assert test.labels is not None
    assert test.labels.tolist() == [0, 1]
    np.testing.assert_allclose(
        255 * test.images.reshape(2, 64, 64, 3)[:, 0, 0, 0], [90, 110], atol=3
    )
    with pytest.raises(datasets.TooFewImagesError, match="5 images asked for, it has 4"):
        load("tiny-imagenet", data_dir=tmp_path, n_images=5)


def _without(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {key: value for key, value in files.items() if key != name}


SPOILT: dict[str, tuple[Callable[[dict[str, bytes]], dict[str, bytes]], str]] = {
    "no list of classes": (lambda f: _without(f, "wnids.txt"), "has no file wnids.txt"),
    "no images": (
        lambda f: {k: v for k, v in f.items() if "JPEG" not in k},
        "has no JPEG files",
    ),
    "not a JPEG": (
        lambda f: f | {"train/n2/images/n2_0.JPEG": b"<html></html>"},
        "n2_0.JPEG is not a 64 x 64",
    ),
    "empty": (lambda f: f | {"train/n2/images/n2_2.JPEG": b""}, "n2_2.JPEG is not a 64 x 64"),
    "cut": (
        lambda f: f | {"train/n2/images/n2_2.JPEG": f["train/n2/images/n2_2.JPEG"][:400]},
        "n2_2.JPEG is not a 64 x 64",
    ),
    "other size": (
        lambda f: f | {"train/n2/images/n2_2.JPEG": jpeg(1, (65, 64))},
        "65 x 64 pixels",
    ),
    "other colours": (
        lambda f: f | {"train/n2/images/n2_2.JPEG": jpeg_cmyk()},
        "mode CMYK",
    ),
    "huge": (
        lambda f: f | {"train/n2/images/n2_2.JPEG": bytes(5 << 20)},
        "more than 1048576 bytes",
    ),
}


def jpeg_cmyk() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("CMYK", (64, 64)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("case", SPOILT)
def test_bad_tiny_imagenet(tmp_path: Path, case: str, zipped: bool) -> None:
    spoil, message = SPOILT[case]
    put_tiny(tmp_path, spoil(tiny_files()), zipped)
    with pytest.raises(ValueError, match=message):
        load("tiny-imagenet", data_dir=tmp_path)


def test_bad_annotations(tmp_path: Path) -> None:
    put_tiny(tmp_path, tiny_files() | {"val/val_annotations.txt": b"val_9.JPEG\tn7\n"}, True)
    with pytest.raises(ValueError, match="bad line"):
        load("tiny-imagenet", data_dir=tmp_path, split="test")


@pytest.mark.parametrize("keep", [0, 100, -30])
def test_cut_zip(tmp_path: Path, keep: int) -> None:
    put_tiny(tmp_path, tiny_files(), True)
    path = tmp_path / "tiny-imagenet-200.zip"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="damaged archive"):
        load("tiny-imagenet", data_dir=tmp_path)


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        load("tiny-imagenet", data_dir=tmp_path)


def test_importing_needs_neither_pillow_nor_matplotlib() -> None:
    code = (
        "import sys, uhn.datasets, uhn.experiments, uhn.plot\n"
        "assert not {'PIL', 'matplotlib', 'scipy', 'sklearn', 'pooch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# ------------------------------------------------------------------- grey among the coloured --


def test_what_becomes_of_grey_images(tmp_path: Path) -> None:
    files = tiny_files()
    # Of five training images the second and the last are single-channel.
    files["train/n2/images/n2_2.JPEG"] = jpeg(60, mode="L")
    files["train/n1/images/n1_1.JPEG"] = files["train/n1/images/n1_0.JPEG"]
    files["train/n1/images/n1_0.JPEG"] = jpeg(150)
    put_tiny(tmp_path, files, True)
    read = functools.partial(load, "tiny-imagenet", data_dir=tmp_path)

    plain = read()
    assert plain.grey is not None
    assert plain.grey.tolist() == [False, True, False, False, True]
    assert plain.n_grey == 2
    assert plain.note == "2 single-channel images replicated to RGB"
    colours = plain.images.reshape(5, 64, 64, 3)
    for channel in (1, 2):
        np.testing.assert_array_equal(
            colours[plain.grey, ..., 0], colours[plain.grey, ..., channel]
        )
    assert 255 * colours[1].mean() == pytest.approx(60, abs=2)

    zero = read(grey="zero")
    assert zero.note == "2 single-channel images set to zero"
    np.testing.assert_array_equal(zero.images, plain.images * ~plain.grey[:, None])
    np.testing.assert_array_equal(zero.grey, plain.grey)
    np.testing.assert_array_equal(zero.labels, plain.labels)

    skip = read(grey="skip")
    assert skip.note == "2 single-channel images left out"
    np.testing.assert_array_equal(skip.images, plain.images[~plain.grey])
    assert skip.labels is not None
    assert skip.labels.tolist() == [0, 0, 1]
    assert skip.grey is not None
    assert skip.grey.tolist() == [False] * 3
    assert skip.n_grey == 0

    # The number asked for is the number of images returned, and what is not read is not told.
    two = read(grey="skip", n_images=2)
    np.testing.assert_array_equal(two.images, skip.images[:2])
    assert two.note == "1 single-channel image left out"
    assert read(grey="zero", n_images=1).note == ""
    np.testing.assert_array_equal(read(grey="skip", n_images=3).images, skip.images)
    for n_images in (4, 6):
        with pytest.raises(datasets.TooFewImagesError, match=f"{n_images} images asked for"):
            read(grey="skip", n_images=n_images)


def test_nothing_but_grey_images(tmp_path: Path) -> None:
    files = tiny_files()
    grey = {name: jpeg(9, mode="L") for name in files if name.endswith(".JPEG")}
    put_tiny(tmp_path, files | grey, True)
    with pytest.raises(ValueError, match="all images of the train split are single-channel"):
        load("tiny-imagenet", data_dir=tmp_path, grey="skip")


def test_sets_without_colour_have_no_grey_images_to_tell() -> None:
    data = datasets.load("glyphs", n_images=3, grey="zero")
    assert data.grey is None
    assert data.n_grey == 0
    assert data.images.any()


# ------------------------------------------------------------------------------------ digits --


def test_digits() -> None:
    bunch = pytest.importorskip("sklearn.datasets").load_digits()
    data = datasets.load("digits")
    assert data.images.dtype == np.float32
    assert data.shape == (8, 8)
    np.testing.assert_array_equal(16 * data.images, bunch.data)
    np.testing.assert_array_equal(data.labels, bunch.target)
    assert data.images.min() == 0
    assert data.images.max() == 1
    assert data.source.startswith("scikit-learn 1.")
    assert len(datasets.load("digits", n_images=7)) == 7
    with pytest.raises(datasets.TooFewImagesError, match="1798 images asked for, it has 1797"):
        datasets.load("digits", n_images=1798)
    with pytest.raises(ValueError, match="one split"):
        datasets.load("digits", split="test")


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        datasets.load("digits")


# -------------------------------------------------------------- order and identity of images --


def small(n: int = 50) -> datasets.Dataset:
    images = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    labels = np.arange(n, dtype=np.int64)
    grey = labels % 3 == 0
    return datasets.Dataset(
        "own", images, (1, 2), labels, "train", "memory", "none", "a note", grey
    )


def test_shuffled_moves_rows_labels_and_grey_together() -> None:
    data = small()
    other = data.shuffled(5)
    assert other.labels is not None and other.grey is not None
    assert sorted(other.labels.tolist()) == list(range(50))
    assert other.labels.tolist() != list(range(50))
    np.testing.assert_array_equal(other.images[:, 0], 2 * other.labels)
    np.testing.assert_array_equal(other.grey, other.labels % 3 == 0)
    assert other.note == "a note; shuffled (seed 5)"
    assert (other.name, other.shape, other.source) == (data.name, data.shape, data.source)
    # The original is as it was.
    np.testing.assert_array_equal(data.labels, np.arange(50))
    assert data.note == "a note"
    bare = dataclasses.replace(data, labels=None, grey=None, note="").shuffled(5)
    np.testing.assert_array_equal(bare.images, other.images)
    assert bare.labels is None and bare.grey is None
    assert bare.note == "shuffled (seed 5)"


def test_the_order_is_of_the_seed_alone() -> None:
    np.random.default_rng(0).random()
    first = small().shuffled(3)
    np.testing.assert_array_equal(first.images, small().shuffled(3).images)
    np.testing.assert_array_equal(first.images, small().shuffled(np.int64(3)).images)
    assert (first.images != small().shuffled(4).images).any()
    # For ever: NumPy keeps the raw outputs of PCG64.
    order = small(8).shuffled(0).labels
    assert order is not None
    assert order.tolist() == [3, 2, 1, 6, 0, 7, 4, 5]
    with pytest.raises(ValueError, match="must not be negative"):
        small().shuffled(-1)
    with pytest.raises(TypeError):
        small().shuffled(0.5)  # type: ignore[arg-type]


def test_no_place_is_favoured_by_the_shuffle() -> None:
    """Over 2000 seeds, each of 5 images is at each of 5 places about 400 times."""
    counts = np.zeros((5, 5))
    for seed in range(2000):
        labels = small(5).shuffled(seed).labels
        counts[np.arange(5), labels] += 1
    # Binomial(2000, 1/5): standard deviation 17.9, of which five are 89.
    assert np.abs(counts - 400).max() < 89


def test_fingerprint() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = hashlib.sha256(b"((2, 3), '<f4')" + struct.pack("<6f", *range(6))).hexdigest()
    assert datasets.fingerprint(array) == expected[:16]
    # The numbers count, and not how they lie in memory.
    assert datasets.fingerprint(np.asfortranarray(array)) == expected[:16]
    assert datasets.fingerprint(array.astype(">f4")) == expected[:16]
    assert datasets.fingerprint(np.repeat(array, 2, axis=1)[:, ::2]) == expected[:16]
    others = [array.reshape(3, 2), array.astype(np.float64), array[:1], array[:0], -array]
    prints = {datasets.fingerprint(other) for other in others}
    assert len(prints) == len(others)
    assert expected[:16] not in prints


def test_fingerprint_of_a_set_is_computed_once() -> None:
    data = small()
    value = data.fingerprint
    assert value == datasets.fingerprint(data.images)
    assert value != data.shuffled(1).fingerprint
    assert value == dataclasses.replace(data, note="another").fingerprint
    assert pickle.loads(pickle.dumps(data)).fingerprint == value
    data.images[0, 0] = 9
    assert data.fingerprint == value, "kept: see the docstring of images"
    # The embedded set is what it was when results were published.
    assert datasets.load("glyphs", n_images=1000).fingerprint == "8fa8ac37bd5ce221"


# --------------------------------------------------------------------------------- checksums --


def test_a_known_name_with_another_sum_is_refused(tmp_path: Path) -> None:
    path = put_idx(tmp_path / "mnist", PICTURES)
    with pytest.raises(ValueError) as caught:
        datasets.load("mnist", data_dir=tmp_path)
    message = str(caught.value)
    assert str(path) in message
    assert hashlib.sha256(path.read_bytes()).hexdigest() in message
    assert "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609" in message
    assert "download it again" in message
    assert "verify=False" in message
    assert len(datasets.load("mnist", data_dir=tmp_path, verify=False)) == 5


@pytest.mark.parametrize(
    ("name", "file"),
    [(name, file) for name, files in datasets._SUMS.items() for file in files],
)
def test_every_file_with_a_known_sum_is_checked(tmp_path: Path, name: str, file: str) -> None:
    if name == "tiny-imagenet":
        pytest.importorskip("PIL", reason="Pillow is not installed")
    folder = tmp_path / name
    folder.mkdir()
    if "labels" in file:
        images = idx(PICTURES)
        sibling = file.replace("labels", "images").replace("idx1", "idx3")
        # Its own sum must not get in the way: the test of the labels is what is meant.
        packed = gzip.compress(images) if file.endswith(".gz") else images
        (folder / sibling).write_bytes(packed)
        patched = {name: {file: datasets._SUMS[name][file]}}
    else:
        patched = datasets._SUMS
    (folder / file).write_bytes(b"something else")
    split = "test" if file.startswith(("t10k", "test")) else "train"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "_SUMS", patched)
        with pytest.raises(ValueError, match=r"not the known file") as caught:
            datasets.load(name, data_dir=tmp_path, split=split)
    assert str(folder / file) in str(caught.value)


def test_names_without_a_known_sum_pass(tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images.idx3-ubyte").write_bytes(idx(PICTURES))
    assert len(datasets.load("mnist", data_dir=tmp_path)) == 5


def count_sums(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose sums are computed from now on."""
    computed: list[Path] = []
    original = datasets._sha256

    def counting(path: Path) -> str:
        computed.append(path)
        return original(path)

    monkeypatch.setattr(datasets, "_sha256", counting)
    return computed


def know(monkeypatch: pytest.MonkeyPatch, name: str, *paths: Path) -> None:
    """Makes the sums of these files the known ones."""
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    monkeypatch.setitem(datasets._SUMS, name, sums)


def test_a_file_is_checked_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_idx(tmp_path / "mnist", PICTURES, np.arange(5))
    labels = path.with_name("train-labels-idx1-ubyte.gz")
    know(monkeypatch, "mnist", path, labels)
    computed = count_sums(monkeypatch)
    for _ in range(3):
        datasets.load("mnist", data_dir=tmp_path)
    assert computed == [path, labels]
    # The same content, written again: checked again, and right.
    os.utime(path, ns=(0, 0))
    datasets.load("mnist", data_dir=tmp_path)
    assert computed == [path, labels, path]
    # Same size, other bytes. Refused every time: a wrong sum is not remembered as right.
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    for _ in range(2):
        with pytest.raises(ValueError, match="not the known file"):
            datasets.load("mnist", data_dir=tmp_path)
    # Nothing is computed where nobody wants to know.
    n = len(computed)
    with pytest.raises(ValueError, match="truncated"):
        datasets.load("mnist", data_dir=tmp_path, verify=False)
    assert len(computed) == n


# --------------------------------------------------------------------------------- downloads --


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves a dictionary; some addresses fail in their own ways."""

    files: dict[str, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        content = type(self).files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        cut = self.path.startswith("/cut/")
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Handler]]]:
    """The address of a server that lives as long as the test, and its handler's class."""
    pytest.importorskip("pooch", reason="pooch is not installed").get_logger().setLevel(
        "WARNING"
    )
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1")
    handler = type("Served", (Handler,), {"files": {}, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(
            target=listening.serve_forever, kwargs={"poll_interval": 0.02}
        )
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}/", handler
        finally:
            listening.shutdown()
            thread.join()


def serve(
    monkeypatch: pytest.MonkeyPatch,
    server: tuple[str, type[Handler]],
    name: str,
    files: dict[str, bytes],
    under: str = "",
) -> None:
    """Lets the official files of a set be these, to be fetched from the local server."""
    base, handler = server
    _, folder, splits = datasets._DOWNLOADS[name]
    monkeypatch.setitem(datasets._DOWNLOADS, name, (base + under, folder, splits))
    sums = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    monkeypatch.setitem(datasets._SUMS, name, sums)
    handler.files.update({f"/{under}{file}": content for file, content in files.items()})


def mnist_files() -> dict[str, bytes]:
    return {
        "train-labels-idx1-ubyte.gz": gzip.compress(idx(np.arange(5)), mtime=0),
        "train-images-idx3-ubyte.gz": gzip.compress(idx(PICTURES), mtime=0),
    }


def everything(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, type[Handler]]
) -> None:
    serve(monkeypatch, server, "mnist", mnist_files())
    asked = server[1].asked
    target = tmp_path / "new" / "place"
    with pytest.raises(datasets.DatasetNotFoundError):
        datasets.load("mnist", data_dir=target)
    assert asked == [], "nothing is fetched unless asked for"
    data = datasets.load("mnist", data_dir=target, download=True)
    np.testing.assert_array_equal(np.rint(255 * data.images), PICTURES.reshape(5, 784))
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 2, 3, 4]
    assert asked == [f"/{file}" for file in mnist_files()]
    assert everything(target) == sorted(f"mnist/{file}" for file in mnist_files())
    assert data.source == str(target / "mnist" / "train-images-idx3-ubyte.gz")
    # What is there is not fetched again.
    datasets.load("mnist", data_dir=target, download=True)
    datasets.load("mnist", data_dir=target)
    assert len(asked) == 2


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "tiny-imagenet"])
def test_downloads_of_the_other_sets(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: tuple[str, type[Handler]],
    name: str,
) -> None:
    if name == "fashion-mnist":
        files = mnist_files()
    elif name == "cifar10":
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as tar:
            for batch in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
                info = tarfile.TarInfo(f"cifar-10-batches-bin/{batch}")
                content, _ = cifar([3])
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        files = {"cifar-10-binary.tar.gz": stream.getvalue()}
    else:
        put_tiny(tmp_path, tiny_files(), True)
        path = tmp_path / "tiny-imagenet-200.zip"
        files = {path.name: path.read_bytes()}
        path.unlink()
    serve(monkeypatch, server, name, files)
    data = datasets.load(name, data_dir=tmp_path, download=True)
    assert len(data) == {"fashion-mnist": 5, "cifar10": 5, "tiny-imagenet": 4}[name]
    if name != "fashion-mnist":
        # One archive has both splits.
        assert len(datasets.load(name, data_dir=tmp_path, split="test", download=True)) > 0
        assert len(server[1].asked) == 1


def test_the_cache_is_the_last_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, type[Handler]]
) -> None:
    import pooch

    cache = tmp_path / "cache"
    monkeypatch.setattr(pooch, "os_cache", lambda project: cache / project)
    monkeypatch.delenv("UHN_DATA", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    serve(monkeypatch, server, "mnist", mnist_files())
    with pytest.raises(datasets.DatasetNotFoundError, match=str(cache / "uhn")):
        datasets.load("mnist")
    data = datasets.load("mnist", download=True)
    assert data.source == str(cache / "uhn" / "mnist" / "train-images-idx3-ubyte.gz")
    # From now on it is found without being asked for, but not in place of a directory named.
    assert datasets.load("mnist").source == data.source
    with pytest.raises(datasets.DatasetNotFoundError):
        datasets.load("mnist", data_dir=tmp_path / "here")
    # Local folders come first, also if a download is allowed.
    put_idx(tmp_path / "here" / "shared" / "data" / "mnist", PICTURES[:2])
    assert len(load("mnist", download=True)) == 2
    assert len(server[1].asked) == 2


def test_a_download_with_a_wrong_sum_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, type[Handler]]
) -> None:
    serve(monkeypatch, server, "mnist", mnist_files())
    # As a server does that has put up a page where the file was.
    server[1].files["/train-labels-idx1-ubyte.gz"] = b"<html>moved</html>"
    for verify in (True, False):
        with pytest.raises(datasets.DownloadError) as caught:
            datasets.load("mnist", data_dir=tmp_path, download=True, verify=verify)
        assert "train-labels-idx1-ubyte.gz" in str(caught.value)
        assert str(tmp_path / "mnist") in str(caught.value)
        assert "hash" in str(caught.value).lower()
        assert everything(tmp_path) == []


@pytest.mark.parametrize("fault", ["cut", "missing", "nobody there"])
def test_failed_downloads(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: tuple[str, type[Handler]],
    fault: str,
) -> None:
    """The error says what failed, and nothing half-written or open stays."""
    import requests

    closed: list[requests.Response] = []
    close = requests.Response.close

    def closing(answer: requests.Response) -> None:
        closed.append(answer)
        close(answer)

    monkeypatch.setattr(requests.Response, "close", closing)
    serve(monkeypatch, server, "mnist", mnist_files(), "cut/" if fault == "cut" else "")
    if fault == "missing":
        server[1].files.clear()
    if fault == "nobody there":
        _, folder, splits = datasets._DOWNLOADS["mnist"]
        # Port 9 (discard): no one listens.
        base = "http://127.0.0.1:9/"
        monkeypatch.setitem(datasets._DOWNLOADS, "mnist", (base, folder, splits))
    with pytest.raises(datasets.DownloadError, match="downloading http://127") as caught:
        datasets.load("mnist", data_dir=tmp_path, download=True)
    assert isinstance(caught.value, OSError)
    assert "train-labels-idx1-ubyte.gz" in str(caught.value)
    assert everything(tmp_path) == []
    # Left to the garbage collector, an open connection may be warned of at any time.
    assert len(closed) == len(server[1].asked) == (0 if fault == "nobody there" else 1)


def test_half_a_download_is_finished_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, type[Handler]]
) -> None:
    """Images without the labels that belong to them would be taken for a set without labels."""
    serve(monkeypatch, server, "mnist", mnist_files())
    images = server[1].files.pop("/train-images-idx3-ubyte.gz")
    with pytest.raises(datasets.DownloadError):
        datasets.load("mnist", data_dir=tmp_path, download=True)
    assert everything(tmp_path) == ["mnist/train-labels-idx1-ubyte.gz"]
    with pytest.raises(datasets.DatasetNotFoundError):
        datasets.load("mnist", data_dir=tmp_path)
    server[1].files["/train-images-idx3-ubyte.gz"] = images
    assert datasets.load("mnist", data_dir=tmp_path, download=True).labels is not None
    assert server[1].asked.count("/train-labels-idx1-ubyte.gz") == 1


def test_an_interrupted_download_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, type[Handler]]
) -> None:
    import pooch

    serve(monkeypatch, server, "mnist", mnist_files())

    class Interrupted(pooch.HTTPDownloader):  # type: ignore[misc]
        def __call__(self, url: str, output_file: str, *rest: Any, **options: Any) -> None:
            super().__call__(url, output_file, *rest, **options)
            assert Path(output_file).stat().st_size > 0
            raise KeyboardInterrupt

    monkeypatch.setattr(pooch, "HTTPDownloader", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        datasets.load("mnist", data_dir=tmp_path, download=True)
    assert everything(tmp_path) == []


def test_a_download_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, type[Handler]]
) -> None:
    serve(monkeypatch, server, "mnist", mnist_files())
    labels = tmp_path / "mnist" / "train-labels-idx1-ubyte.gz"
    labels.parent.mkdir()
    labels.write_bytes(b"my own")
    with pytest.raises(ValueError, match="not the known file") as caught:
        datasets.load("mnist", data_dir=tmp_path, download=True)
    assert str(labels) in str(caught.value)
    assert labels.read_bytes() == b"my own"
    assert "/train-labels-idx1-ubyte.gz" not in server[1].asked


def test_the_terms_are_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: tuple[str, type[Handler]],
) -> None:
    import pooch

    said: list[str] = []
    monkeypatch.setattr(pooch.get_logger(), "info", lambda text, *_: said.append(text))
    serve(monkeypatch, server, "mnist", mnist_files())
    datasets.load("mnist", data_dir=tmp_path, download=True)
    assert sum(datasets.describe()["mnist"][1] in text for text in said) == 1


def test_downloads_without_pooch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match="pip install pooch"):
        datasets.load("mnist", data_dir=tmp_path, download=True)
    # Without the wish it is not needed, and the message is about the files.
    monkeypatch.delenv("UHN_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(datasets.DatasetNotFoundError):
        datasets.load("mnist")


def test_every_file_to_be_fetched_has_a_known_sum() -> None:
    for name, (base, folder, splits) in datasets._DOWNLOADS.items():
        assert base.startswith("http") and base.endswith("/"), name
        assert set(splits) == {"train", "test"}
        for file in (file for files in splits.values() for file in files):
            assert len(datasets._SUMS[name][file]) == 64
        assert folder.isidentifier()
    for sums in datasets._SUMS.values():
        assert all(set(value) <= set("0123456789abcdef") for value in sums.values())
        assert len(set(sums.values())) == len(sums)


# -------------------------------------------------------------------------------- real files --


def real(*parts: str) -> Path:
    """The directory of the real data, if the file is in it; the test is skipped otherwise."""
    roots = [Path(os.environ["UHN_DATA"])] if os.environ.get("UHN_DATA") else []
    for root in [*roots, ROOT / "shared" / "data", ROOT.parent / "shared" / "data"]:
        if root.joinpath(*parts).exists():
            return root
    pytest.skip(
        f"real data absent: {'/'.join(parts)} is neither in UHN_DATA nor in shared/data"
    )


def test_real_mnist() -> None:
    root = real("mnist", "train-images-idx3-ubyte.gz")
    data = datasets.load("mnist", data_dir=root)
    assert data.images.shape == (60_000, 784)
    assert data.labels is not None
    assert data.labels[:5].tolist() == [5, 0, 4, 1, 9]
    # The mean and standard deviation that everybody normalises MNIST with.
    assert data.images.mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)
    assert data.images.std(dtype=np.float64) == pytest.approx(0.3081, abs=5e-5)
    test = datasets.load("mnist", data_dir=root, split="test")
    assert test.labels is not None
    assert len(test) == 10_000
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_real_fashion_mnist() -> None:
    root = real("fashion_mnist", "sample10k-images-idx3-ubyte.gz")
    data = datasets.load("fashion-mnist", data_dir=root)
    assert data.images.shape == (10_000, 784)
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [1000] * 10
    # Of all 70,000: 0.2862 and 0.3529.
    assert data.images.mean(dtype=np.float64) == pytest.approx(0.2862, abs=0.002)
    assert data.images.std(dtype=np.float64) == pytest.approx(0.3529, abs=0.002)


def test_real_cifar10() -> None:
    root = real("cifar10", "train_first6000.bin.xz")
    data = datasets.load("cifar10", data_dir=root)
    assert data.images.shape == (6000, 3072)
    assert data.labels is not None
    assert data.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    # The first image is a brown frog: more red than green than blue. A wrong layout mixes them.
    red, green, blue = data.images[0].reshape(3, 32, 32).mean(axis=(1, 2))
    assert red > green > blue
    test = datasets.load("cifar10", data_dir=root, split="test")
    assert test.labels is not None
    assert test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]


def test_real_tiny_imagenet() -> None:
    root = real("tiny_imagenet", "tiny-imagenet-first10.zip")
    pytest.importorskip("PIL", reason="Pillow is not installed")
    data = datasets.load("tiny-imagenet", data_dir=root)
    assert data.images.shape == (5000, 12288)
    assert data.grey is not None
    assert (data.n_grey, len(data.grey)) == (68, 5000)
    assert data.note.endswith("; 68 single-channel images replicated to RGB")
    # Grey in the file means three equal colours here.
    colours = data.images[data.grey].reshape(68, -1, 3)
    assert (colours == colours[..., :1]).all()
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [500] * 10
    pixels = np.rint(255 * data.images).astype(np.uint8)
    known = "a6607157a91d89036315e7ed7e5192a074c3fb0ef23a62e9c7623139dc7a8121"
    if hashlib.sha256(pixels.tobytes()).hexdigest() != known:
        # Another libjpeg may round otherwise by a unit; the mean must not move for it.
        assert pixels.mean() == pytest.approx(112.2447, abs=0.02)


def test_real_tiny_imagenet_without_the_grey_images() -> None:
    root = real("tiny_imagenet", "tiny-imagenet-first10.zip")
    pytest.importorskip("PIL", reason="Pillow is not installed")
    # Of the first 500 in the files as many are grey as are missing here.
    zero = datasets.load("tiny-imagenet", data_dir=root, n_images=500, grey="zero")
    assert zero.grey is not None and zero.labels is not None
    np.testing.assert_array_equal(zero.images.any(axis=1), ~zero.grey)
    n_coloured = 500 - zero.n_grey
    skip = datasets.load("tiny-imagenet", data_dir=root, n_images=n_coloured, grey="skip")
    assert 0 < zero.n_grey < 100
    np.testing.assert_array_equal(skip.images, zero.images[~zero.grey])
    np.testing.assert_array_equal(skip.labels, zero.labels[~zero.grey])


def test_the_real_files_unpacked_have_the_known_sums(tmp_path: Path) -> None:
    root = real("mnist", "train-images-idx3-ubyte.gz")
    (tmp_path / "mnist").mkdir()
    for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3"):
        packed = root / "mnist" / f"{stem}-ubyte.gz"
        (tmp_path / "mnist" / f"{stem}-ubyte").write_bytes(gzip.decompress(packed.read_bytes()))
    packed = root / "mnist" / "t10k-labels-idx1-ubyte.gz"
    (tmp_path / "mnist" / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    for split in ("train", "test"):
        data = datasets.load("mnist", data_dir=tmp_path, split=split, n_images=10)
        assert data.labels is not None
