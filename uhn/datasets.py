"""Image data sets as rows of a matrix.

``glyphs`` is embedded and ``digits`` comes with scikit-learn; the others are read from their
official files (or the project's samples of them), which are looked for in the directory given,
else in ``$UHN_DATA``, ``./shared/data``, ``../shared/data`` and last in the cache of former
downloads. Nothing is downloaded unless it is asked for.

Files are treated as untrusted: official files are compared with their published checksums,
sizes that a header states are checked against what the file can hold before anything is
allocated, and a file that does not fit is a ValueError that names it.

    from uhn import datasets
    data = datasets.load("mnist", n_images=1000)
    data.images                                  # (1000, 784) float32 in [0, 1]
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib
import importlib.util
import io
import lzma
import math
import operator
import os
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from .glyphs import SIDE, glyphs
from .glyphs import labels as glyph_labels

__all__ = [
    "GREY",
    "NAMES",
    "Dataset",
    "DatasetNotFoundError",
    "DownloadError",
    "TooFewImagesError",
    "describe",
    "fingerprint",
    "load",
]

_Bytes = npt.NDArray[np.uint8]

GREY = ("replicate", "skip", "zero")
"""What `load` can do with single-channel images among those of three colours."""

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


class DownloadError(OSError):
    """A download that was asked for failed, or brought something other than the known file."""


def fingerprint(images: npt.ArrayLike) -> str:
    """Sixteen hexadecimal digits that tell which numbers a result was computed from.

    The first digits of the SHA-256 of shape, data type and bytes (little-endian, row-major).

    Parameters
    ----------
    images : array_like
        Of any shape.

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np
    >>> from uhn import datasets
    >>> datasets.fingerprint(np.zeros((2, 3), dtype=np.float32))
    '757b7be2d92e3c2f'
    """
    array = np.asarray(images)
    array = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    digest = hashlib.sha256(repr((array.shape, array.dtype.str)).encode("ascii"))
    digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:16]


# Two sets are equal if they are the same object: arrays have no single answer to ``==``.
@dataclass(frozen=True, eq=False)
class Dataset:
    """Images as the rows of a matrix, with what is known about them.

    Attributes
    ----------
    name : str
    images : ndarray of float32, shape (n_images, n_features)
        Values in [0, 1] (bytes divided by 255), one image a row, in the order of the files.
        Not to be changed in place, as `fingerprint` is computed once.
    shape : tuple of int
        Shape of one image: (rows, columns), (channels, rows, columns) or (rows, columns,
        channels).
    labels : ndarray of int64, shape (n_images,), or None
        Class of every image, where the files tell.
    split : str
    source : str
        Where the images come from: a path, "embedded", or a package and its version.
    terms : str
        Licence or terms of use, in a sentence.
    note : str
        What else must be known to cite a result, "" if nothing.
    grey : ndarray of bool, shape (n_images,), or None
        Which images were single-channel in the files; None for sets that are all grey or all
        coloured.
    """

    name: str
    images: npt.NDArray[np.float32]
    shape: tuple[int, ...]
    labels: npt.NDArray[np.int64] | None
    split: str
    source: str
    terms: str
    note: str = ""
    grey: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return f"Dataset({self.name!r}, {len(self)} images of {size}, source={self.source!r})"

    @property
    def n_grey(self) -> int:
        """Number of `images` that were single-channel in the files, whatever became of them."""
        return 0 if self.grey is None else int(self.grey.sum())

    @cached_property
    def fingerprint(self) -> str:
        """`fingerprint` of `images`: sixteen hexadecimal digits, computed once."""
        return fingerprint(self.images)

    def shuffled(self, seed: int) -> Dataset:
        """The same images in an order that depends on their number and the seed alone.

        The published code of Millidge et al. (2022) shuffles MNIST and CIFAR-10 once, with no
        seed; files of some sets (Tiny ImageNet) are ordered by class.

        Parameters
        ----------
        seed : int
            Not negative. The order is that of the raw 64-bit outputs of NumPy's PCG64 with this
            seed, which NumPy promises to keep from version to version.

        Returns
        -------
        Dataset
            New arrays; images, labels and `grey` permuted alike, and a note that says so.

        Raises
        ------
        ValueError
            A negative seed.

        Examples
        --------
        >>> from uhn import datasets
        >>> data = datasets.load("glyphs", n_images=8)
        >>> data.labels
        array([ 0, 29, 58, 23, 52, 17, 46, 11])
        >>> data.shuffled(1).labels
        array([58, 52, 11, 17,  0, 46, 23, 29])
        >>> data.shuffled(1).note
        'shuffled (seed 1)'
        """
        seed = operator.index(seed)
        if seed < 0:
            raise ValueError(f"seed must not be negative, not {seed}")
        order = np.argsort(np.random.PCG64(seed).random_raw(len(self)), kind="stable")
        note = f"shuffled (seed {seed})"
        return replace(
            self,
            images=self.images[order],
            labels=None if self.labels is None else self.labels[order],
            grey=None if self.grey is None else self.grey[order],
            note=f"{self.note}; {note}" if self.note else note,
        )


# ------------------------------------------------------------------------------ what is known
# ----

_ABOUT = {
    "glyphs": (
        "64 characters drawn by the package in many ways, 16 x 16 grey, as many as wanted",
        "part of uhn, under its licence",
    ),
    "mnist": (
        "70,000 handwritten digits, 28 x 28 grey",
        "LeCun, Cortes and Burges 1998; the original page states no licence, redistributions "
        "say CC BY-SA 3.0",
    ),
    "fashion-mnist": (
        "70,000 pictures of clothes, 28 x 28 grey",
        "MIT, Copyright 2017 Zalando SE (Xiao, Rasul, Vollgraf 2017)",
    ),
    "cifar10": (
        "60,000 photographs of animals and vehicles, 32 x 32 RGB",
        "Krizhevsky 2009; no licence stated, research use; part of the withdrawn 80 Million "
        "Tiny Images",
    ),
    "tiny-imagenet": (
        "110,000 photographs of 200 classes, 64 x 64 RGB",
        "from ImageNet: non-commercial research and education only, no redistribution",
    ),
    "digits": (
        "1,797 handwritten digits, 8 x 8 grey, from scikit-learn",
        "Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI repository, "
        "CC BY 4.0",
    ),
}

# SHA-256 sums of the files, by data set, as names are not unique.
_SUMS: dict[str, dict[str, str]] = {
    "mnist": {
        # The four archives: published by TensorFlow Datasets and many others. They agree with
        # torchvision's MD5 sums, f68b3c2d..., d53e105e..., 9fb629c4..., ec29112d...
        "train-images-idx3-ubyte.gz": (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
        ),
        "train-labels-idx1-ubyte.gz": (
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
        ),
        # The same unpacked, which have no checksum of their own: computed from the archives.
        # They agree with the MD5 sums in circulation, 6bbc9ace..., a25bea73..., 2646ac64...,
        # 27ae3e4e...
        "train-images-idx3-ubyte": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    },
    "fashion-mnist": {
        # Published by TensorFlow Datasets and others, which state beside them the MD5 sums of
        # the authors' README (8d4fb7e6..., 25c81989..., bef4ecab..., bb300cfd...).
        "train-images-idx3-ubyte.gz": (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
        ),
        "train-labels-idx1-ubyte.gz": (
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
        ),
        # The project's sample: its own sums.
        "sample10k-images-idx3-ubyte.gz": (
            "f0f14d0997d9f35dcfda4185e16c311bb21da46e005ec06feaa62e744abde44a"
        ),
        "sample10k-labels-idx1-ubyte.gz": (
            "e5ea54ee42b5717c2ad714744206d8cd5746a106ccabd01ca5fd8073d6096adc"
        ),
    },
    "cifar10": {
        # Published by TensorFlow Datasets and others, which state beside it the MD5 sum of the
        # official page, c32a1d4ab5d03f1284b67883e8d87530.
        "cifar-10-binary.tar.gz": (
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
        ),
        # The project's samples: their own sums.
        "train_first6000.bin.xz": (
            "a2abdcd6adcfd02995eb50008c6ef3e4a85b4f509386306bb4256ec821d927b4"
        ),
        "test_first1000.bin.xz": (
            "53e25336570968585dfd3c59731ff782ae01b2e069818266a2b631257f08adee"
        ),
    },
    "tiny-imagenet": {
        # The official page states none; several public projects that fetch it from there state
        # this one, as others do the MD5 sum 90528d7ca1a48142e341f4ef8d21d0de.
        "tiny-imagenet-200.zip": (
            "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821"
        ),
        # The project's sample: its own sum.
        "tiny-imagenet-first10.zip": (
            "e8faeae322a8bf4be5366aa12950d7934607774912725b915439516d878022b3"
        ),
    },
}

# Where the official files are fetched from: the folder's address, our folder, files by split.
# The file that is looked for comes last: where it is, the download was finished.
_DOWNLOADS: dict[str, tuple[str, str, dict[str, tuple[str, ...]]]] = {
    "mnist": (
        # PyTorch's mirror, as the original page no longer serves the files.
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "mnist",
        {
            "train": ("train-labels-idx1-ubyte.gz", "train-images-idx3-ubyte.gz"),
            "test": ("t10k-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz"),
        },
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "fashion_mnist",
        {
            "train": ("train-labels-idx1-ubyte.gz", "train-images-idx3-ubyte.gz"),
            "test": ("t10k-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz"),
        },
    ),
    "cifar10": (
        "https://www.cs.toronto.edu/~kriz/",
        "cifar10",
        {"train": ("cifar-10-binary.tar.gz",), "test": ("cifar-10-binary.tar.gz",)},
    ),
    "tiny-imagenet": (
        "http://cs231n.stanford.edu/",
        "tiny_imagenet",
        {"train": ("tiny-imagenet-200.zip",), "test": ("tiny-imagenet-200.zip",)},
    ),
}


def describe() -> dict[str, tuple[str, str]]:
    """What the data sets are: name -> (what is in it, licence or terms of use).

    Examples
    --------
    >>> from uhn import datasets
    >>> datasets.describe()["glyphs"][1]
    'part of uhn, under its licence'
    """
    return dict(_ABOUT)


@dataclass(frozen=True)
class _Request:
    """What `load` was asked for, checked."""

    name: str
    data_dir: str | os.PathLike[str] | None
    n_images: int | None
    split: str
    grey: str
    verify: bool


def _optional(module: str, package: str, why: str) -> Any:
    """A module of a package that is not a dependency."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{why}: pip install {package}") from error


# ------------------------------------------------------------------------------------ finding
# ----


def _roots(data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """Directories to look in. A directory that was asked for is the only one."""
    if data_dir is not None:
        return [Path(data_dir)]
    roots = [Path(os.environ["UHN_DATA"])] if os.environ.get("UHN_DATA") else []
    return [*roots, Path("shared/data"), Path("../shared/data")]


def _cache() -> list[Path]:
    """Where downloads go if no directory is named; nowhere without pooch."""
    try:
        pooch: Any = importlib.import_module("pooch")
    except ImportError:
        return []
    return [Path(pooch.os_cache("uhn"))]


def _find(
    wanted: _Request, folders: tuple[str, ...], files: tuple[str, ...], hint: str
) -> Path:
    """The first of `files` in the first of `folders` of the first root that has one."""

    def search(roots: list[Path]) -> Path | None:
        paths = (root / folder / file for root in roots for folder in folders for file in files)
        return next((path for path in paths if path.exists()), None)

    roots = _roots(wanted.data_dir)
    path = search(roots)
    if path is None and wanted.data_dir is None:
        # Only now, as it takes the import of pooch.
        cache = _cache()
        path = search(cache)
        roots += cache
    if path is not None:
        _verify(wanted, path)
        return path
    if wanted.data_dir is not None and not roots[0].is_dir():
        raise DatasetNotFoundError(
            f"data set {wanted.name!r}: there is no directory {roots[0]}; download=True makes "
            "it and fetches the files"
        )
    named = wanted.data_dir is not None
    where = str(roots[0]) if named else "a directory named by --data or UHN_DATA"
    raise DatasetNotFoundError(
        f"data set {wanted.name!r} not found: put {hint} into {where}, or have it fetched by "
        f"download=True (looked in: {', '.join(map(str, roots))})"
    )


# Files whose sum was right: resolved path, size, time of change.
_verified: set[tuple[str, int, int]] = set()


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _verify(wanted: _Request, path: Path) -> None:
    """Compares a file with the sum known for its name, if there is one, once a process."""
    expected = _SUMS.get(wanted.name, {}).get(path.name)
    if expected is None or not wanted.verify or not path.is_file():
        return
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    if key in _verified:
        return
    found = _sha256(path)
    if found != expected:
        raise ValueError(
            f"{path}: damaged, or not the known file of that name: its SHA-256 is {found}, not "
            f"{expected}; delete it and download it again, or pass verify=False if it is meant "
            "to differ"
        )
    _verified.add(key)


# -------------------------------------------------------------------------------- downloading
# ----


def _download(wanted: _Request) -> Path:
    """Fetches the official files of a split; the directory that has them then.

    A file appears under its name when it is whole and has the known sum. One that is there is
    left alone.
    """
    pooch = _optional("pooch", "pooch", "downloading data sets needs pooch")
    base, folder, files = _DOWNLOADS[wanted.name]
    root = Path(pooch.os_cache("uhn") if wanted.data_dir is None else wanted.data_dir)
    # tqdm draws the progress, where it is installed and somebody looks.
    progress = importlib.util.find_spec("tqdm") is not None and sys.stderr.isatty()
    # Neither pooch nor requests closes the connection of a download that fails.
    answers: list[Any] = []
    downloader = pooch.HTTPDownloader(
        progressbar=progress,
        chunk_size=1 << 16,
        timeout=60,
        hooks={"response": lambda answer, **_: answers.append(answer)},
    )
    missing = []
    for file in files[wanted.split]:
        if (root / folder / file).exists():
            _verify(wanted, root / folder / file)
        else:
            missing.append(file)
    pooch.get_logger().info(f"Terms of {wanted.name}: {_ABOUT[wanted.name][1]}.")
    for file in missing:
        try:
            pooch.retrieve(
                base + file,
                known_hash=f"sha256:{_SUMS[wanted.name][file]}",
                fname=file,
                path=root / folder,
                downloader=downloader,
            )
        except (OSError, ValueError) as error:
            # What requests raises is an OSError; a wrong sum is pooch's ValueError.
            raise DownloadError(
                f"data set {wanted.name!r}: downloading {base + file} failed; try again, or "
                f"get {file} in another way and put it into {root / folder}: {error}"
            ) from error
        finally:
            while answers:
                answers.pop().close()
    return root


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


def _load_idx(wanted: _Request, path: Path, note: str = "") -> Dataset:
    images = _read_idx(path, 3, wanted.n_images)
    if images.shape[1:] != (28, 28):
        raise ValueError(
            f"{path}: images of {images.shape[1]} x {images.shape[2]}, not 28 x 28"
        )
    labels = None
    sibling = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if sibling.exists():
        _verify(wanted, sibling)
        labels = _read_idx(sibling, 1, None).astype(np.int64)
        if len(labels) < len(images):
            raise ValueError(f"{sibling}: {len(labels)} labels for {len(images)} images")
        labels = labels[: len(images)]
    return _dataset(wanted, _scaled(images), (28, 28), labels, str(path), note)


def _dataset(
    wanted: _Request,
    images: npt.NDArray[np.float32],
    shape: tuple[int, ...],
    labels: npt.NDArray[np.int64] | None,
    source: str,
    note: str = "",
    grey: npt.NDArray[np.bool_] | None = None,
) -> Dataset:
    terms = _ABOUT[wanted.name][1]
    return Dataset(wanted.name, images, shape, labels, wanted.split, source, terms, note, grey)


def _scaled(images: _Bytes) -> npt.NDArray[np.float32]:
    """Bytes as rows of float32 in [0, 1]: divided by 255, as torchvision's ToTensor does."""
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows /= np.float32(255)
    return rows


def _load_mnist(wanted: _Request) -> Dataset:
    stem, data_dir = "train" if wanted.split == "train" else "t10k", wanted.data_dir
    files = tuple(f"{stem}-images{dot}idx3-ubyte{end}" for dot in "-." for end in (".gz", ""))
    folders: tuple[str, ...] = ("mnist", "MNIST", "MNIST/raw", "mnist/raw")
    # MNIST and Fashion-MNIST have files of the same names: those that lie in the very directory
    # asked for are MNIST's unless the directory's name says otherwise.
    if data_dir is not None and "fashion" not in Path(data_dir).resolve().name.lower():
        folders += ("", "raw")
    return _load_idx(
        wanted, _find(wanted, folders, files, f"mnist/{files[0]} (and its labels)")
    )


def _load_fashion(wanted: _Request) -> Dataset:
    stem, data_dir = "train" if wanted.split == "train" else "t10k", wanted.data_dir
    files = tuple(f"{stem}-images{dot}idx3-ubyte{end}" for dot in "-." for end in (".gz", ""))
    sample = "sample10k-images-idx3-ubyte.gz"
    if wanted.split == "train":
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
    path = _find(wanted, folders, files, hint)
    note = ""
    if path.name == sample:
        note = "a fixed sample of 10,000 of the 70,000 images, not an official split"
    return _load_idx(wanted, path, note)


def _cifar_records(path: Path | str, stream: IO[bytes], wanted: int) -> bytes:
    """At most `wanted` whole records of the CIFAR-10 binary format."""
    data = _read_up_to(stream, wanted * _CIFAR_RECORD)
    if len(data) % _CIFAR_RECORD:
        raise ValueError(
            f"{path}: truncated: {len(data)} bytes are no whole number of records of "
            f"{_CIFAR_RECORD} bytes"
        )
    return data


def _load_cifar10(wanted: _Request) -> Dataset:
    n_images, train = wanted.n_images, wanted.split == "train"
    batches = [f"data_batch_{i}.bin" for i in range(1, 6)] if train else ["test_batch.bin"]
    sample = "train_first6000.bin.xz" if train else "test_first1000.bin.xz"
    archive = "cifar-10-binary.tar.gz"
    firsts = (batches[0], batches[0] + ".xz", archive, sample)
    folders: tuple[str, ...] = (
        "cifar10",
        "cifar-10-batches-bin",
        "cifar10/cifar-10-batches-bin",
    )
    folders += ("",)
    hint = f"cifar10/{archive} (or {', '.join(batches)} from it)"
    path = _find(wanted, folders, firsts, hint)
    limit = _CIFAR_MAX_RECORDS if n_images is None else min(n_images, _CIFAR_MAX_RECORDS)
    data = bytearray()
    with _readable(path):
        if path.name == archive:
            with tarfile.open(path, "r:gz") as tar:
                for batch in batches:
                    if len(data) // _CIFAR_RECORD >= limit:
                        break
                    try:
                        member = tar.extractfile(f"cifar-10-batches-bin/{batch}")
                    except KeyError:
                        member = None
                    if member is None:
                        raise ValueError(f"{path}: has no file cifar-10-batches-bin/{batch}")
                    with member:
                        left = limit - len(data) // _CIFAR_RECORD
                        data += _cifar_records(f"{path}:{batch}", member, left)
        else:
            end = ".xz" if path.suffix == ".xz" else ""
            paths = (
                [path] if path.name == sample else [path.with_name(b + end) for b in batches]
            )
            for part in paths:
                if len(data) // _CIFAR_RECORD >= limit or not part.exists():
                    break
                _verify(wanted, part)
                with _readable(part), _open(part) as stream:
                    left = limit - len(data) // _CIFAR_RECORD
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
    return _dataset(wanted, _scaled(records[:, 1:]), (3, 32, 32), labels, str(path), note)


class _Tree:
    """The files under ``tiny-imagenet-200/`` in a folder or in a zip archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip = zipfile.ZipFile(path) if path.is_file() else None
        self._infos: dict[str, zipfile.ZipInfo] = {}
        self._folders: dict[str, list[str]] = {}
        if self._zip is not None:
            prefix = "tiny-imagenet-200/"
            self._infos = {
                info.filename.removeprefix(prefix): info
                for info in self._zip.infolist()
                if not info.is_dir()
            }
        for name in self._infos:
            folder, _, file = name.rpartition("/")
            self._folders.setdefault(folder, []).append(file)

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
        return list(self._folders.get(folder, ()))

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


def _load_tiny_imagenet(wanted: _Request) -> Dataset:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "data set 'tiny-imagenet' is made of JPEG files and needs Pillow: "
            "pip install pillow"
        ) from error
    n_images, skip = wanted.n_images, wanted.grey == "skip"
    files = ("tiny-imagenet-200", "tiny-imagenet-200.zip", "tiny-imagenet-first10.zip")
    folders = ("tiny_imagenet", "tiny-imagenet", "TinyImageNet", "")
    hint = "tiny_imagenet/tiny-imagenet-200.zip (or the folder in it)"
    path = _find(wanted, folders, files, hint)
    with _readable(path), _Tree(path) as tree:
        # How many files make up for those left out is known only when they have been read.
        names, classes = _tiny_listing(tree, wanted.split, None if skip else n_images)
        if not names:
            raise ValueError(f"{path}: has no JPEG files of the {wanted.split} split")
        n = _enough(path, n_images, len(names))
        side = _TINY_SIDE
        images = np.empty((n, side * side * 3), dtype=np.float32)
        labels = np.empty(n, dtype=np.int64)
        grey = np.zeros(n, dtype=np.bool_)
        n_read = n_grey = 0
        for name, label in zip(names, classes, strict=True):
            if n_read == n:
                break
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
            if mode == "L":
                n_grey += 1
                if skip:
                    continue
                grey[n_read] = True
            zero = mode == "L" and wanted.grey == "zero"
            images[n_read] = 0 if zero else pixels.reshape(-1)
            labels[n_read] = label
            n_read += 1
    if n_images is not None and n_read < n:
        raise TooFewImagesError(
            f"{path}: {n_images} images asked for, it has {n_read} without the {n_grey} "
            "single-channel ones"
        )
    if n_read == 0:
        raise ValueError(f"{path}: all images of the {wanted.split} split are single-channel")
    images, labels, grey = images[:n_read], labels[:n_read], grey[:n_read]
    images /= np.float32(255)
    notes = []
    if "first10" in path.name:
        notes.append("the first 10 of the 200 classes")
    if n_grey:
        fate = {"replicate": "replicated to RGB", "skip": "left out", "zero": "set to zero"}
        plural = "s" if n_grey > 1 else ""
        notes.append(f"{n_grey} single-channel image{plural} {fate[wanted.grey]}")
    shape = (side, side, 3)
    return _dataset(wanted, images, shape, labels, str(path), "; ".join(notes), grey)


def _load_glyphs(wanted: _Request) -> Dataset:
    n = 5000 if wanted.n_images is None else wanted.n_images
    # The test glyphs begin where nobody gets to by asking for training ones.
    first = 0 if wanted.split == "train" else 2**32
    images, labels = glyphs(n, first), glyph_labels(n, first)
    return _dataset(wanted, _scaled(images), (SIDE, SIDE), labels, "embedded")


def _load_digits(wanted: _Request) -> Dataset:
    sklearn = _optional(
        "sklearn", "scikit-learn", "data set 'digits' is part of scikit-learn and needs it"
    )
    if wanted.split != "train":
        raise ValueError("data set 'digits' has one split only: train")
    bunch = importlib.import_module("sklearn.datasets").load_digits()
    source = f"scikit-learn {sklearn.__version__}"
    n = _enough(source, wanted.n_images, len(bunch.data))
    # Whole numbers from 0 to 16: exact in float32, and so are their sixteenths.
    images = bunch.data[:n].astype(np.float32) / np.float32(16)
    labels = bunch.target[:n].astype(np.int64)
    note = "the test set of the UCI data; values of 0 to 16 divided by 16"
    return _dataset(wanted, images, (8, 8), labels, source, note)


_LOADERS: dict[str, Callable[[_Request], Dataset]] = {
    "glyphs": _load_glyphs,
    "mnist": _load_mnist,
    "fashion-mnist": _load_fashion,
    "cifar10": _load_cifar10,
    "tiny-imagenet": _load_tiny_imagenet,
    "digits": _load_digits,
}

NAMES = tuple(_LOADERS)
"""The data sets `load` knows; `describe` says what they are."""


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    n_images: int | None = None,
    split: str = "train",
    grey: str = "replicate",
    verify: bool = True,
    download: bool = False,
) -> Dataset:
    """Images of a data set, as the rows of a matrix.

    Parameters
    ----------
    name : {"glyphs", "mnist", "fashion-mnist", "cifar10", "tiny-imagenet", "digits"}
    data_dir : path, optional
        The only directory to look in. By default ``$UHN_DATA``, ``./shared/data``,
        ``../shared/data`` and the cache of former downloads are tried in this order.
    n_images : int, optional
        The first so many images; all of them by default (glyphs: 5000). Less is read if less is
        asked for.
    split : {"train", "test"}
        For Tiny ImageNet "test" is the validation split, whose labels are public; digits have
        no "test".
    grey : {"replicate", "skip", "zero"}
        What becomes of the single-channel images of Tiny ImageNet (about one in 60): the grey
        value in all three colours; left out, so that `n_images` counts the others; or an image
        of zeros, which the published code of Millidge et al. (2022) makes of them. The note of
        the result says how many there were. Other sets have none.
    verify : bool
        Compare files whose SHA-256 sums are known (official files, and the project's samples)
        with them before they are read, once a process for a file that does not change. Pass
        False for files of your own under official names.
    download : bool
        Fetch the official files with pooch if they are in none of the places looked at: into
        `data_dir` if given, else into pooch's cache directory for "uhn". The terms of use are
        logged, files that are there are never overwritten, and the sum of a download is
        checked whatever `verify` says. A sample of the project's counts as being there.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetNotFoundError
        The files are not there; the sentence says where to put which file.
    DownloadError
        A download was asked for and failed, or what came has another sum. An OSError.
    TooFewImagesError
        Fewer images than asked for. A ValueError.
    ValueError
        An unknown name, split or policy, or a file that is damaged or has another sum than the
        official one.
    ImportError
        Tiny ImageNet without Pillow, digits without scikit-learn, `download` without pooch;
        with the line that installs it.

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
    if grey not in GREY:
        raise ValueError(f"unknown grey {grey!r}; there are: {', '.join(GREY)}")
    if n_images is not None and n_images < 1:
        raise ValueError(f"n_images must be at least 1, not {n_images}")
    wanted = _Request(name, data_dir, n_images, split, grey, verify)
    try:
        return _LOADERS[name](wanted)
    except DatasetNotFoundError:
        if not download:
            raise
    return _LOADERS[name](replace(wanted, data_dir=_download(wanted)))
