"""Image data sets as rows of a matrix: readers for files that are already there.

Nothing is downloaded. ``glyphs`` is embedded; the others are read from their official files (or
the project's samples of them), which are looked for in the directory given, else in
``$UHN_DATA``, else in ``./shared/data`` and ``../shared/data``.

Files are treated as untrusted: sizes that a header states are checked against what the file can
hold before anything is allocated, and a file that does not fit is a ValueError that names it.

    from uhn import datasets
    data = datasets.load("mnist", n_images=1000)
    data.images                                  # (1000, 784) float32 in [0, 1]
"""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import math
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from .glyphs import SIDE, glyphs
from .glyphs import labels as glyph_labels

__all__ = ["NAMES", "Dataset", "DatasetNotFoundError", "TooFewImagesError", "load"]

_Bytes = npt.NDArray[np.uint8]

# A deflate stream can grow by a factor of 1032 and no more, so a gzip file whose header
# promises more than that is lying.
_DEFLATE_LIMIT = 1032
_CHUNK = 1 << 20
_CIFAR_RECORD = 1 + 3 * 32 * 32
_CIFAR_MAX_RECORDS = 100_000
_TINY_SIDE = 64
_TINY_MAX_JPEG = 1 << 20


class DatasetNotFoundError(FileNotFoundError):
    """The files of a data set are in none of the places looked at; the message says where to
    put which file."""


class TooFewImagesError(ValueError):
    """More images were asked for than the files hold."""


@dataclass(frozen=True)
class Dataset:
    """Images as the rows of a matrix, with what is known about them.

    Attributes
    ----------
    name : str
    images : ndarray of float32, shape (n_images, n_features)
        Values in [0, 1] (bytes divided by 255), one image a row, in the order of the files.
    shape : tuple of int
        Shape of one image: (rows, columns), (channels, rows, columns) or (rows, columns,
        channels).
    labels : ndarray of int64, shape (n_images,), or None
        Class of every image, where the files tell.
    split : str
    source : str
        Where the images come from: a path, or "embedded".
    terms : str
        Licence or terms of use, in a sentence.
    note : str
        What else must be known to cite a result, "" if nothing.
    n_grey : int
        Single-channel images that were replicated to the three colours.
    """

    name: str
    images: npt.NDArray[np.float32]
    shape: tuple[int, ...]
    labels: npt.NDArray[np.int64] | None
    split: str
    source: str
    terms: str
    note: str = ""
    n_grey: int = 0

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return f"Dataset({self.name!r}, {len(self)} images of {size}, source={self.source!r})"


# ------------------------------------------------------------------------------------ finding
# ----


def _roots(data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """Directories to look in. A directory that was asked for is the only one."""
    if data_dir is not None:
        return [Path(data_dir)]
    roots = [Path(os.environ["UHN_DATA"])] if os.environ.get("UHN_DATA") else []
    return [*roots, Path("shared/data"), Path("../shared/data")]


def _find(
    name: str,
    data_dir: str | os.PathLike[str] | None,
    folders: tuple[str, ...],
    files: tuple[str, ...],
    hint: str,
) -> Path:
    """The first of `files` in the first of `folders` of the first root that has one."""
    roots = _roots(data_dir)
    for root in roots:
        for folder in folders:
            for file in files:
                if (root / folder / file).exists():
                    return root / folder / file
    if data_dir is not None and not roots[0].is_dir():
        raise DatasetNotFoundError(f"data set {name!r}: there is no directory {roots[0]}")
    where = str(roots[0]) if data_dir is not None else "a directory named by --data or UHN_DATA"
    looked = ", ".join(str(root) for root in roots)
    raise DatasetNotFoundError(
        f"data set {name!r} not found: put {hint} into {where} (looked in: {looked})"
    )


# ------------------------------------------------------------------------------------ reading
# ----


def _read_up_to(stream: IO[bytes], n_bytes: int) -> bytes:
    """At most `n_bytes`, a chunk at a time, so that memory follows what is really there."""
    parts = []
    while n_bytes > 0 and (part := stream.read(min(n_bytes, _CHUNK))):
        parts.append(part)
        n_bytes -= len(part)
    return b"".join(parts)


@contextlib.contextmanager
def _readable(path: Path | str) -> Iterator[None]:
    """Turns what the decompressors raise about a damaged file into a ValueError naming it."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path}: damaged or truncated: {error}") from error
    except (zipfile.BadZipFile, tarfile.TarError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: damaged archive: {error}") from error


def _open(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    if path.suffix == ".xz":
        return lzma.open(path, "rb")
    return open(path, "rb")


def _enough(path: Path | str, n_images: int | None, available: int) -> int:
    if n_images is None:
        return available
    if n_images > available:
        raise TooFewImagesError(f"{path}: {n_images} images asked for, it has {available}")
    return n_images


def _read_idx(path: Path, n_dimensions: int, n_items: int | None) -> _Bytes:
    """The first `n_items` items of an IDX file of bytes (None: all), gzipped if named .gz.

    Format: two zero bytes, 0x08 for unsigned bytes, the number of dimensions, each dimension as
    a big-endian uint32, then the bytes in row-major order.
    """
    n_header = 4 + 4 * n_dimensions
    with _readable(path), _open(path) as stream:
        header = _read_up_to(stream, n_header)
        if len(header) < n_header:
            raise ValueError(
                f"{path}: truncated: {len(header)} bytes, an IDX header has {n_header}"
            )
        if header[:4] != bytes((0, 0, 8, n_dimensions)):
            raise ValueError(
                f"{path}: not an IDX file of bytes in {n_dimensions} dimensions "
                f"(magic number {header[:4].hex()}, expected 000008{n_dimensions:02x})"
            )
        sizes = struct.unpack(f">{n_dimensions}I", header[4:])
        item = math.prod(sizes[1:])
        on_disk = path.stat().st_size
        room = on_disk * (_DEFLATE_LIMIT if path.suffix == ".gz" else 1) - n_header
        if item == 0 or sizes[0] * item > room:
            raise ValueError(
                f"{path}: the header says {' x '.join(map(str, sizes))} bytes, "
                f"which a file of {on_disk} bytes cannot hold"
            )
        n = _enough(path, n_items, sizes[0])
        body = _read_up_to(stream, n * item)
        if len(body) < n * item:
            raise ValueError(
                f"{path}: truncated: {len(body)} bytes of data, the header promises {n * item}"
            )
        if n == sizes[0] and stream.read(1):
            raise ValueError(f"{path}: more data than the {n * item} bytes the header promises")
    return np.frombuffer(body, dtype=np.uint8).reshape((n, *sizes[1:]))


def _load_idx(
    name: str,
    path: Path,
    n_images: int | None,
    split: str,
    terms: str,
    note: str = "",
) -> Dataset:
    images = _read_idx(path, 3, n_images)
    if images.shape[1:] != (28, 28):
        raise ValueError(
            f"{path}: images of {images.shape[1]} x {images.shape[2]}, not 28 x 28"
        )
    labels = None
    sibling = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if sibling.exists():
        labels = _read_idx(sibling, 1, None).astype(np.int64)
        if len(labels) < len(images):
            raise ValueError(f"{sibling}: {len(labels)} labels for {len(images)} images")
        labels = labels[: len(images)]
    return Dataset(name, _scaled(images), (28, 28), labels, split, str(path), terms, note)


def _scaled(images: _Bytes) -> npt.NDArray[np.float32]:
    """Bytes as rows of float32 in [0, 1]: divided by 255, as torchvision's ToTensor does."""
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows /= np.float32(255)
    return rows


def _load_mnist(data_dir: Any, n_images: int | None, split: str) -> Dataset:
    stem = "train" if split == "train" else "t10k"
    files = tuple(f"{stem}-images{dot}idx3-ubyte{end}" for dot in "-." for end in (".gz", ""))
    folders: tuple[str, ...] = ("mnist", "MNIST", "MNIST/raw", "mnist/raw")
    # MNIST and Fashion-MNIST have files of the same names: those that lie in the very directory
    # asked for are MNIST's unless the directory's name says otherwise.
    if data_dir is not None and "fashion" not in Path(data_dir).resolve().name.lower():
        folders += ("", "raw")
    path = _find("mnist", data_dir, folders, files, f"mnist/{files[0]} (and its labels)")
    terms = (
        "LeCun, Cortes and Burges 1998; the original page states no licence, redistributions "
        "say CC BY-SA 3.0"
    )
    return _load_idx("mnist", path, n_images, split, terms)


def _load_fashion(data_dir: Any, n_images: int | None, split: str) -> Dataset:
    stem = "train" if split == "train" else "t10k"
    files = tuple(f"{stem}-images{dot}idx3-ubyte{end}" for dot in "-." for end in (".gz", ""))
    sample = "sample10k-images-idx3-ubyte.gz"
    if split == "train":
        files += (sample,)
    folders: tuple[str, ...] = (
        "fashion_mnist",
        "fashion-mnist",
        "FashionMNIST",
        "FashionMNIST/raw",
        "fashion-mnist/raw",
    )
    if data_dir is not None and "fashion" in Path(data_dir).resolve().name.lower():
        folders += ("", "raw")
    hint = f"fashion_mnist/{files[0]} (and its labels)"
    path = _find("fashion-mnist", data_dir, folders, files, hint)
    note = ""
    if path.name == sample:
        note = "a fixed sample of 10,000 of the 70,000 images, not an official split"
    terms = "MIT, Copyright 2017 Zalando SE (Xiao, Rasul, Vollgraf 2017)"
    return _load_idx("fashion-mnist", path, n_images, split, terms, note)


def _cifar_records(path: Path | str, stream: IO[bytes], wanted: int) -> bytes:
    """At most `wanted` whole records of the CIFAR-10 binary format."""
    data = _read_up_to(stream, wanted * _CIFAR_RECORD)
    if len(data) % _CIFAR_RECORD:
        raise ValueError(
            f"{path}: truncated: {len(data)} bytes are no whole number of records of "
            f"{_CIFAR_RECORD} bytes"
        )
    return data


def _load_cifar10(data_dir: Any, n_images: int | None, split: str) -> Dataset:
    batches = (
        [f"data_batch_{i}.bin" for i in range(1, 6)] if split == "train" else ["test_batch.bin"]
    )
    sample = "train_first6000.bin.xz" if split == "train" else "test_first1000.bin.xz"
    archive = "cifar-10-binary.tar.gz"
    firsts = (batches[0], batches[0] + ".xz", archive, sample)
    folders: tuple[str, ...] = (
        "cifar10",
        "cifar-10-batches-bin",
        "cifar10/cifar-10-batches-bin",
    )
    folders += ("",)
    hint = f"cifar10/{archive} (or {', '.join(batches)} from it)"
    path = _find("cifar10", data_dir, folders, firsts, hint)
    wanted = _CIFAR_MAX_RECORDS if n_images is None else min(n_images, _CIFAR_MAX_RECORDS)
    data = bytearray()
    with _readable(path):
        if path.name == archive:
            with tarfile.open(path, "r:gz") as tar:
                for batch in batches:
                    if len(data) // _CIFAR_RECORD >= wanted:
                        break
                    try:
                        member = tar.extractfile(f"cifar-10-batches-bin/{batch}")
                    except KeyError:
                        member = None
                    if member is None:
                        raise ValueError(f"{path}: has no file cifar-10-batches-bin/{batch}")
                    with member:
                        left = wanted - len(data) // _CIFAR_RECORD
                        data += _cifar_records(f"{path}:{batch}", member, left)
        else:
            end = ".xz" if path.suffix == ".xz" else ""
            paths = (
                [path] if path.name == sample else [path.with_name(b + end) for b in batches]
            )
            for part in paths:
                if len(data) // _CIFAR_RECORD >= wanted or not part.exists():
                    break
                with _readable(part), _open(part) as stream:
                    left = wanted - len(data) // _CIFAR_RECORD
                    data += _cifar_records(part, stream, left)
    available = len(data) // _CIFAR_RECORD
    if available == 0:
        raise ValueError(f"{path}: empty")
    n = _enough(path, n_images, available)
    records = np.frombuffer(bytes(data), dtype=np.uint8).reshape(available, _CIFAR_RECORD)[:n]
    labels = records[:, 0].astype(np.int64)
    if n and labels.max() > 9:
        raise ValueError(
            f"{path}: label {labels.max()} in record {labels.argmax()}; not CIFAR-10"
        )
    note = ""
    if path.name == sample:
        note = "the first images that were to be had losslessly, in the official order"
    terms = (
        "Krizhevsky 2009; no licence stated, research use; part of the withdrawn 80 Million "
        "Tiny Images"
    )
    images = _scaled(records[:, 1:])
    return Dataset("cifar10", images, (3, 32, 32), labels, split, str(path), terms, note)


class _Tree:
    """The files under ``tiny-imagenet-200/`` in a folder or in a zip archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip = zipfile.ZipFile(path) if path.is_file() else None
        self._infos: dict[str, zipfile.ZipInfo] = {}
        if self._zip is not None:
            prefix = "tiny-imagenet-200/"
            self._infos = {
                info.filename.removeprefix(prefix): info
                for info in self._zip.infolist()
                if not info.is_dir()
            }

    def __enter__(self) -> _Tree:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._zip is not None:
            self._zip.close()

    def names(self, folder: str) -> list[str]:
        """File names directly in `folder`."""
        if self._zip is None:
            directory = self.path / folder
            return [p.name for p in directory.iterdir()] if directory.is_dir() else []
        prefix = folder + "/"
        return [
            name[len(prefix) :]
            for name in self._infos
            if name.startswith(prefix) and "/" not in name[len(prefix) :]
        ]

    def read(self, name: str, limit: int = _TINY_MAX_JPEG) -> bytes:
        if self._zip is None:
            path = self.path / name
            if not path.is_file():
                raise ValueError(f"{self.path}: has no file {name}")
            stream: IO[bytes] = open(path, "rb")  # noqa: SIM115 (closed by the with below)
        else:
            if name not in self._infos:
                raise ValueError(f"{self.path}: has no file {name}")
            try:
                stream = self._zip.open(self._infos[name])
            except (NotImplementedError, RuntimeError) as error:
                # An unknown compression method, or an encrypted member.
                raise ValueError(f"{self.path}: cannot read {name}: {error}") from error
        with stream:
            data = _read_up_to(stream, limit + 1)
        if len(data) > limit:
            raise ValueError(f"{self.path}: {name} has more than {limit} bytes")
        return data


def _natural(name: str) -> tuple[str, int, str]:
    """A key that sorts ``x_9.JPEG`` before ``x_10.JPEG``."""
    stem = name.partition(".")[0]
    head, _, number = stem.rpartition("_")
    return (head, int(number), name) if number.isdecimal() else (stem, -1, name)


def _tiny_listing(tree: _Tree, split: str, wanted: int | None) -> tuple[list[str], list[int]]:
    """Names of the JPEG files in the published order, and their classes.

    Training images go by class in the order of wnids.txt and then by number, validation images
    by number.
    """
    wnids = tree.read("wnids.txt").decode("ascii").split()
    names: list[str] = []
    labels: list[int] = []
    if split == "train":
        for label, wnid in enumerate(wnids):
            if wanted is not None and len(names) >= wanted:
                break
            folder = f"train/{wnid}/images"
            files = sorted((n for n in tree.names(folder) if n.endswith(".JPEG")), key=_natural)
            names += [f"{folder}/{file}" for file in files]
            labels += [label] * len(files)
        return names, labels
    number = {wnid: label for label, wnid in enumerate(wnids)}
    text = tree.read("val/val_annotations.txt", limit=4 * _TINY_MAX_JPEG).decode("ascii")
    classes = {}
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) < 2 or fields[1] not in number:
            raise ValueError(f"{tree.path}: val/val_annotations.txt: bad line {line!r}")
        classes[fields[0]] = number[fields[1]]
    present = sorted((n for n in tree.names("val/images") if n in classes), key=_natural)
    return [f"val/images/{n}" for n in present], [classes[n] for n in present]


def _load_tiny_imagenet(data_dir: Any, n_images: int | None, split: str) -> Dataset:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "data set 'tiny-imagenet' is made of JPEG files and needs Pillow: "
            "pip install pillow"
        ) from error
    files = ("tiny-imagenet-200", "tiny-imagenet-200.zip", "tiny-imagenet-first10.zip")
    folders = ("tiny_imagenet", "tiny-imagenet", "TinyImageNet", "")
    hint = "tiny_imagenet/tiny-imagenet-200.zip (or the folder in it)"
    path = _find("tiny-imagenet", data_dir, folders, files, hint)
    n_grey = 0
    with _readable(path), _Tree(path) as tree:
        names, classes = _tiny_listing(tree, split, n_images)
        if not names:
            raise ValueError(f"{path}: has no JPEG files of the {split} split")
        n = _enough(path, n_images, len(names))
        side = _TINY_SIDE
        images = np.empty((n, side * side * 3), dtype=np.float32)
        for i, name in enumerate(names[:n]):
            data = tree.read(name)
            try:
                with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
                    # The size comes from the header: checked before a pixel is decoded.
                    size, mode = image.size, image.mode
                    if size == (side, side) and mode in ("RGB", "L"):
                        pixels = np.asarray(image.convert("RGB"))
                    else:
                        raise ValueError(f"{size[0]} x {size[1]} pixels, mode {mode}")
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                raise ValueError(
                    f"{path}: {name} is not a {side} x {side} RGB or grey JPEG: {error}"
                ) from error
            n_grey += mode == "L"
            images[i] = pixels.reshape(-1)
    images /= np.float32(255)
    labels = np.array(classes[:n], dtype=np.int64)
    notes = []
    if "first10" in path.name:
        notes.append("the first 10 of the 200 classes")
    if n_grey:
        notes.append(f"{n_grey} single-channel images replicated to RGB")
    terms = "from ImageNet: non-commercial research and education only, no redistribution"
    shape = (side, side, 3)
    note = "; ".join(notes)
    return Dataset(
        "tiny-imagenet", images, shape, labels, split, str(path), terms, note, n_grey
    )


def _load_glyphs(data_dir: Any, n_images: int | None, split: str) -> Dataset:
    n = 5000 if n_images is None else n_images
    # The test glyphs begin where nobody gets to by asking for training ones.
    first = 0 if split == "train" else 2**32
    images, labels = glyphs(n, first), glyph_labels(n, first)
    terms = "part of uhn, under its licence"
    shape = (SIDE, SIDE)
    return Dataset("glyphs", _scaled(images), shape, labels, split, "embedded", terms)


_LOADERS: dict[str, Callable[[Any, int | None, str], Dataset]] = {
    "glyphs": _load_glyphs,
    "mnist": _load_mnist,
    "fashion-mnist": _load_fashion,
    "cifar10": _load_cifar10,
    "tiny-imagenet": _load_tiny_imagenet,
}

NAMES = tuple(_LOADERS)
"""The data sets `load` knows."""


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    n_images: int | None = None,
    split: str = "train",
) -> Dataset:
    """Images of a data set, as the rows of a matrix.

    Parameters
    ----------
    name : {"glyphs", "mnist", "fashion-mnist", "cifar10", "tiny-imagenet"}
    data_dir : path, optional
        The only directory to look in. By default ``$UHN_DATA``, ``./shared/data`` and
        ``../shared/data`` are tried in this order.
    n_images : int, optional
        The first so many images; all of them by default (glyphs: 5000). Less is read if less is
        asked for.
    split : {"train", "test"}
        For Tiny ImageNet "test" is the validation split, whose labels are public.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetNotFoundError
        The files are not there; the sentence says where to put which file.
    ValueError
        An unknown name or split, fewer images than asked for, or a file that is damaged.
    ImportError
        Tiny ImageNet without Pillow.

    Examples
    --------
    >>> from uhn import datasets
    >>> datasets.load("glyphs", n_images=100)
    Dataset('glyphs', 100 images of 16 x 16, source='embedded')
    """
    if name not in _LOADERS:
        raise ValueError(f"unknown data set {name!r}; there are: {', '.join(NAMES)}")
    if split not in ("train", "test"):
        raise ValueError(f"unknown split {split!r}; there are: train, test")
    if n_images is not None and n_images < 1:
        raise ValueError(f"n_images must be at least 1, not {n_images}")
    return _LOADERS[name](data_dir, n_images, split)
