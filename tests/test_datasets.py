"""Data sets: the glyphs to the bit, and readers that meet good, cut and lying files."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import struct
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uhn import datasets, glyphs

ROOT = Path(__file__).resolve().parent.parent
RNG = np.random.default_rng(7)


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
    distance = ((rows[:, None, :] - rows[None, :, :]) ** 2).sum(axis=2)
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
        ValueError, match=r"glyphs, mnist, fashion-mnist, cifar10, tiny-imagenet"
    ):
        datasets.load("imagenet")
    with pytest.raises(ValueError, match="train, test"):
        datasets.load("glyphs", split="validation")
    with pytest.raises(ValueError, match="at least 1"):
        datasets.load("glyphs", n_images=0)


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
        return round(255 * float(datasets.load("mnist", **options).images[0, 0]))

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
        data = datasets.load(name, data_dir=root)
        np.testing.assert_array_equal(
            data.images, PICTURES.reshape(5, 784).astype(np.float32) / np.float32(255)
        )
        assert data.labels is not None
        np.testing.assert_array_equal(data.labels, np.arange(5))
        assert data.shape == (28, 28)
        assert data.source == str(folder / (file + end))
    part = datasets.load(name, data_dir=tmp_path, n_images=2)
    np.testing.assert_array_equal(part.images, data.images[:2])
    assert part.labels is not None
    assert len(part.labels) == 2


def test_labels_are_not_needed(tmp_path: Path) -> None:
    put_idx(tmp_path / "mnist", PICTURES)
    assert datasets.load("mnist", data_dir=tmp_path).labels is None


def test_one_set_is_not_taken_for_the_other(tmp_path: Path) -> None:
    """MNIST and Fashion-MNIST have files of the same names; the directory's name decides."""
    plain, fashion = tmp_path / "some", tmp_path / "fashion"
    put_idx(plain, PICTURES)
    put_idx(fashion, PICTURES)
    assert len(datasets.load("mnist", data_dir=plain)) == 5
    assert len(datasets.load("fashion-mnist", data_dir=fashion)) == 5
    with pytest.raises(FileNotFoundError):
        datasets.load("fashion-mnist", data_dir=plain)
    with pytest.raises(FileNotFoundError):
        datasets.load("mnist", data_dir=fashion)


def test_more_images_than_there_are(tmp_path: Path) -> None:
    put_idx(tmp_path / "mnist", PICTURES)
    with pytest.raises(datasets.TooFewImagesError, match="6 images asked for, it has 5"):
        datasets.load("mnist", data_dir=tmp_path, n_images=6)


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
            datasets.load("mnist", data_dir=tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 5, 30, -9, -1])
def test_cut_gzip(tmp_path: Path, keep: int) -> None:
    path = put_idx(tmp_path / "mnist", PICTURES)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="truncated"):
        datasets.load("mnist", data_dir=tmp_path)


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
            data = datasets.load("mnist", data_dir=tmp_path)
        except ValueError:
            n_refused += 1
        else:
            np.testing.assert_array_equal(np.rint(255 * data.images), PICTURES.reshape(5, 784))
    assert n_refused > 80


def test_too_few_labels(tmp_path: Path) -> None:
    put_idx(tmp_path / "mnist", PICTURES, np.arange(4))
    with pytest.raises(ValueError, match="4 labels for 5 images"):
        datasets.load("mnist", data_dir=tmp_path)


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
        data = datasets.load("cifar10", data_dir=root)
        assert data.labels is not None
        assert data.labels.tolist() == [0, 9, 1, 8, 2, 7]
        expected = np.concatenate([pixels for _, pixels in parts])
        np.testing.assert_array_equal(
            data.images, expected.astype(np.float32) / np.float32(255)
        )
    assert data.shape == (3, 32, 32)
    assert len(datasets.load("cifar10", data_dir=tmp_path, n_images=3)) == 3
    with pytest.raises(datasets.TooFewImagesError, match="7 images asked for, it has 6"):
        datasets.load("cifar10", data_dir=tmp_path, n_images=7)


def test_cifar_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        for i in range(1, 6):
            content, _ = cifar([i])
            info = tarfile.TarInfo(f"cifar-10-batches-bin/data_batch_{i}.bin")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    data = datasets.load("cifar10", data_dir=tmp_path)
    assert data.labels is not None
    assert data.labels.tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match=r"has no file .*test_batch\.bin"):
        datasets.load("cifar10", data_dir=tmp_path, split="test")
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"damaged|truncated"):
        datasets.load("cifar10", data_dir=tmp_path)


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
        datasets.load("cifar10", data_dir=tmp_path, split="test")


@pytest.mark.parametrize("keep", [0, 10, 3000, -1])
def test_cut_xz(tmp_path: Path, keep: int) -> None:
    content = lzma.compress(cifar([1, 2, 3])[0])
    (tmp_path / "train_first6000.bin.xz").write_bytes(content[:keep])
    with pytest.raises(ValueError, match=r"truncated|damaged"):
        datasets.load("cifar10", data_dir=tmp_path)


def test_an_endless_xz_stops_at_what_is_asked_for(tmp_path: Path) -> None:
    """Zeros compress 7000 to 1: no more of them is unpacked than was asked for."""
    (tmp_path / "train_first6000.bin.xz").write_bytes(lzma.compress(bytes(3073 * 20_000)))
    tracemalloc.start()
    try:
        assert len(datasets.load("cifar10", data_dir=tmp_path, n_images=2)) == 2
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
    data = datasets.load("tiny-imagenet", data_dir=tmp_path)
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
    part = datasets.load("tiny-imagenet", data_dir=tmp_path, n_images=2)
    np.testing.assert_array_equal(part.images, data.images[:2])
    test = datasets.load("tiny-imagenet", data_dir=tmp_path, split="test")
    assert test.labels is not None
    assert test.labels.tolist() == [0, 1]
    np.testing.assert_allclose(
        255 * test.images.reshape(2, 64, 64, 3)[:, 0, 0, 0], [90, 110], atol=3
    )
    with pytest.raises(datasets.TooFewImagesError, match="5 images asked for, it has 4"):
        datasets.load("tiny-imagenet", data_dir=tmp_path, n_images=5)


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
        datasets.load("tiny-imagenet", data_dir=tmp_path)


def test_bad_annotations(tmp_path: Path) -> None:
    put_tiny(tmp_path, tiny_files() | {"val/val_annotations.txt": b"val_9.JPEG\tn7\n"}, True)
    with pytest.raises(ValueError, match="bad line"):
        datasets.load("tiny-imagenet", data_dir=tmp_path, split="test")


@pytest.mark.parametrize("keep", [0, 100, -30])
def test_cut_zip(tmp_path: Path, keep: int) -> None:
    put_tiny(tmp_path, tiny_files(), True)
    path = tmp_path / "tiny-imagenet-200.zip"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="damaged archive"):
        datasets.load("tiny-imagenet", data_dir=tmp_path)


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        datasets.load("tiny-imagenet", data_dir=tmp_path)


def test_importing_needs_neither_pillow_nor_matplotlib() -> None:
    code = (
        "import sys, uhn.datasets, uhn.experiments, uhn.plot\n"
        "assert not {'PIL', 'matplotlib', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


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
    assert data.n_grey == 68
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [500] * 10
    pixels = np.rint(255 * data.images).astype(np.uint8)
    known = "a6607157a91d89036315e7ed7e5192a074c3fb0ef23a62e9c7623139dc7a8121"
    if hashlib.sha256(pixels.tobytes()).hexdigest() != known:
        # Another libjpeg may round otherwise by a unit; the mean must not move for it.
        assert pixels.mean() == pytest.approx(112.2447, abs=0.02)
