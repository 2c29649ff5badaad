"""Memories in files: written safely, opened at once, checked strictly.

A file is a valid `safetensors <https://github.com/huggingface/safetensors>`_ file: eight
bytes that say how long the header is (little-endian), a header of JSON, and the numbers,
little-endian and row after row. Any program that reads safetensors reads it. Format version
1:

- tensors ``patterns`` (n_patterns, n_features), ``values`` (n_patterns, n_values) if the
  memory is heteroassociative, and ``prior`` (n_patterns,) if there are prior weights: all
  ``F32`` or all ``F64``, one behind the other in this order. An empty memory has none of
  them.
- tensor ``records`` (n_bytes,) of ``U8`` behind them, if a `uhn.LivingMemory` was saved; see
  below. Who reads the numbers alone leaves it out.
- ``__metadata__``, text by name: ``format`` ("uhn"), ``format_version`` ("1"),
  ``library_version``, ``keywords`` (the keywords of `uhn.Memory`, as JSON),
  ``sha256.<tensor>`` (of the tensor's bytes, in hexadecimal) and ``sha256.header`` (of
  `fingerprint`, so of everything else in the header). Other names are allowed and ignored.
- The header ends in spaces, so that the numbers begin at a multiple of 64 bytes.

Records
-------
The bytes of ``records`` are UTF-8: one object of JSON with these names and no others. n is the
number of patterns, 0 where there are none.

- ``ids``: n whole numbers and texts, no two the same, oldest first.
- ``labels``: n values of JSON; ``metadata``: n objects of JSON, or null for none.
- ``ages``: null if no prior ever faded; else an object of ``prior``, ``clock`` and ``shift``, n
  numbers each: the prior weight that a row was given, and what ``clock`` and ``shift`` were
  then. With d = ``shift`` - its shift + (``clock`` - its clock) / ``half_life`` (without a
  half-life the second term is left out) its prior is now prior 2^-d, held to the normal
  numbers of the dtype: this is what the tensor ``prior`` has, which must then be there.
- ``clock``: rows stored and ticks since there is a half-life; ``shift``: half-lives that
  `decay` took away.
- ``next_id``: the next whole number that is given as an id, above all that are there.
- ``capacity``, ``half_life``, ``min_margin``, ``max_energy``: as `uhn.LivingMemory` takes them,
  null for None; an infinite threshold is the text "inf" or "-inf".

Numbers have the digits that make the same float64 again; there is no NaN and no Infinity.

What is checked, and when
-------------------------
Always: that the file is a regular one, the header's grammar and checksum, that names, shapes
and offsets account for every byte of the file, and that the keywords make a memory. Never is
more memory taken than the file has bytes (and a few times the header, which is 1 MB at most;
who asks for records takes some thirty times theirs).

By `uhn.LivingMemory.load`: the SHA-256 of the records, and all that is said of them above but
that the priors are those of their ages. `load` does not read them.

By `verify`, or ``load(path, verify=True)``: the SHA-256 of every tensor, that every number is
finite, and the records. This reads the whole file.

By a mapped memory, without `verify`: NaN, infinity and numbers outside the domain of the
similarity are found when their rows are first asked, and raise ValueError. A changed number
that is still one is not found; only a checksum finds it. Checksums find accidents; they keep
nobody from writing a false file that is consistent.

A mapped file must not be changed or cut short in place while a memory has it: that changes
the memory, or ends the process (SIGBUS). `save` never does: it puts a new file in its place,
and who has mapped the old one keeps it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import mmap as _mmap
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from uhn._core import Memory, __version__, _memory_map, _memory_read

__all__ = ["FORMAT_VERSION", "MAX_HEADER", "describe", "fingerprint", "load", "save", "verify"]

FORMAT_VERSION = "1"
"""Of the files that `save` writes, and the only one that `load` knows."""

MAX_HEADER = 1_000_000
"""Longest header that is read, in bytes. Ours have less than 1,500; safetensors allows 10^8."""

_PARTS = ("patterns", "values", "prior")
_RECORDS = "records"
_DTYPES = {"F32": "<f4", "F64": "<f8", "U8": "|u1"}
_KEYWORDS: dict[str, tuple[type, ...]] = {
    "similarity": (str,),
    "separation": (str,),
    "transform": (str,),
    "normalize": (str,),
    "nan": (str,),
    "normalize_scores": (bool,),
    "first_row": (int,),
    "k": (int,),
    **dict.fromkeys(("eps", "gamma", "beta", "degree", "alpha", "theta"), (int, float)),
}
_ALIGN = 64
_PIECE = 1 << 22  # bytes that are read or written at once
_SYNC = 1 << 24  # bytes after which a file that is written is synchronised with the disk
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class _Tensor:
    dtype: str
    shape: tuple[int, ...]
    start: int  # in the file
    n_bytes: int
    sha256: str

    @property
    def native(self) -> np.dtype[Any]:
        return np.dtype(_DTYPES[self.dtype])


@dataclass(frozen=True)
class _Header:
    tensors: dict[str, _Tensor]  # of numbers
    records: _Tensor | None
    keywords: dict[str, Any]
    library_version: str
    sha256: str

    @property
    def n_patterns(self) -> int:
        return self.tensors["patterns"].shape[0] if self.tensors else 0


@dataclass(frozen=True)
class Records:
    """What a living memory knows beside its numbers, in the words of the module's page."""

    ids: list[int | str]
    labels: list[Any]
    metadata: list[Any]
    ages: npt.NDArray[np.float64] | None  # prior, clock and shift: (n, 3)
    clock: float
    shift: float
    next_id: int
    capacity: int | None
    half_life: float | None
    min_margin: float | None
    max_energy: float | None


# ----------------------------------------------------------------------------------- reading --


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a name that comes twice would mean one thing to us, another to others."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {name[:50]!r} comes twice")
        found[name] = value
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:50]} is larger than any number")
    return number


def _parse_json(text: str, what: str) -> dict[str, Any]:
    try:
        parsed = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        # Half a surrogate pair, written as an escape, is no text: it has no UTF-8.
        json.dumps(parsed, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{what} is not valid JSON: {error}") from None
    if type(parsed) is not dict:
        raise ValueError(f"{what} is not an object of JSON")
    return parsed


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST


def _parse_tensor(name: str, entry: object, data_size: int) -> tuple[str, list[int], int, int]:
    """Dtype, shape and offsets of one tensor, which agree with one another."""
    if type(entry) is not dict or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} needs dtype, shape and data_offsets, and no more")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    wanted = ("U8",) if name == _RECORDS else ("F32", "F64")
    if type(dtype) is not str or dtype not in wanted:
        raise ValueError(
            f"tensor {name!r} has dtype {str(dtype)[:50]!r}; {' or '.join(wanted)} is needed"
        )
    n_axes = 1 if name in ("prior", _RECORDS) else 2
    if type(shape) is not list or len(shape) != n_axes or not all(map(_is_size, shape)):
        raise ValueError(f"tensor {name!r} has no shape of {n_axes} whole numbers")
    if type(offsets) is not list or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise ValueError(f"tensor {name!r} has no data_offsets of two whole numbers")
    start, stop = offsets
    if not start <= stop <= data_size:
        raise ValueError(
            f"tensor {name!r} is said to lie at bytes {start} to {stop}, "
            f"but there are {data_size} bytes of data"
        )
    n_bytes = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
    if n_bytes != stop - start:
        raise ValueError(
            f"tensor {name!r} of shape {tuple(shape)} and dtype {dtype} has {n_bytes} bytes, "
            f"but its data_offsets have {stop - start}"
        )
    return dtype, shape, start, n_bytes


def _parse_keywords(text: str) -> dict[str, Any]:
    keywords = _parse_json(text, "the text of the keywords")
    for name, value in keywords.items():
        if name not in _KEYWORDS:
            raise ValueError(f"keyword {name[:50]!r} is not known to version {__version__}")
        if type(value) not in _KEYWORDS[name]:
            kinds = " or ".join(kind.__name__ for kind in _KEYWORDS[name])
            raise ValueError(f"keyword {name!r} is {str(value)[:50]!r}, which is no {kinds}")
    for name in ("similarity", "separation"):
        if name not in keywords:
            raise ValueError(f"keyword {name!r} is missing")
    return keywords


def fingerprint(
    library_version: str, keywords: str, tensors: dict[str, tuple[str, list[int], str]]
) -> str:
    """SHA-256 of what a header says, which the header keeps as ``sha256.header``.

    Parameters
    ----------
    library_version, keywords : str
        The text of these names in ``__metadata__``.
    tensors : dict
        By name: dtype ("F32", "F64" or "U8"), shape, and SHA-256 of the bytes.

    Returns
    -------
    str
        64 hexadecimal digits: of the JSON array ``["uhn", "1", library_version, keywords,
        [[name, dtype, shape, sha256], ...]]``, tensors by name, without blanks and with every
        character outside ASCII escaped. It does not depend on where things lie in the file, so
        that another program may write them in another order.
    """
    rows = [[name, *tensors[name]] for name in sorted(tensors)]
    said = ["uhn", FORMAT_VERSION, library_version, keywords, rows]
    return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()


def _parse_header(raw: bytes, data_start: int, data_size: int) -> _Header:
    """The header, if every byte of the file is what it says."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"the header is not UTF-8: {error}") from None
    if not text.startswith("{"):
        raise ValueError("the header does not begin with '{': this is no safetensors file")
    entries = _parse_json(text, "the header")
    metadata = entries.pop("__metadata__", None)
    if type(metadata) is not dict or not all(type(v) is str for v in metadata.values()):
        raise ValueError("__metadata__ is not an object of texts, so no memory was saved here")
    if metadata.get("format") != "uhn":
        raise ValueError(
            f"its format is {str(metadata.get('format'))[:50]!r}, not 'uhn': "
            "only files of uhn.io.save are memories"
        )
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"its format version is {str(version)[:50]!r}, and this library, version "
            f"{__version__}, reads {FORMAT_VERSION!r} only; a newer one may read it"
        )
    known = (*_PARTS, _RECORDS)
    unknown = sorted(set(entries) - set(known))
    if unknown:
        raise ValueError(f"tensor {unknown[0][:50]!r} is none of {', '.join(known)}")
    numbers = sorted(set(entries) - {_RECORDS})
    if numbers and "patterns" not in numbers:
        raise ValueError(f"there are {' and '.join(numbers)} without patterns")
    tensors = {}
    for name, entry in entries.items():
        dtype, shape, start, n_bytes = _parse_tensor(name, entry, data_size)
        digest = metadata.get(f"sha256.{name}", "")
        tensors[name] = _Tensor(dtype, tuple(shape), data_start + start, n_bytes, digest)
    end = data_start
    placed = sorted(tensors.items(), key=lambda item: (item[1].start, item[1].n_bytes))
    for name, tensor in placed:
        if tensor.start != end:
            kind = "overlaps another" if tensor.start < end else "leaves a gap before it"
            raise ValueError(f"tensor {name!r} {kind}")
        end += tensor.n_bytes
    if end != data_start + data_size:
        raise ValueError(f"{data_start + data_size - end} bytes at its end belong to no tensor")
    for name in ("library_version", "keywords"):
        if name not in metadata:
            raise ValueError(f"{name} is missing")
    for name in (*(f"sha256.{name}" for name in tensors), "sha256.header"):
        if not re.fullmatch("[0-9a-f]{64}", metadata.get(name, "")):
            raise ValueError(f"{name} is missing or no SHA-256")
    said = {name: (t.dtype, list(t.shape), t.sha256) for name, t in tensors.items()}
    digest = fingerprint(metadata["library_version"], metadata["keywords"], said)
    if digest != metadata["sha256.header"]:
        raise ValueError("the header does not have its SHA-256: the file is damaged")
    keywords = _parse_keywords(metadata["keywords"])
    records = tensors.pop(_RECORDS, None)
    _check_shapes(tensors)
    return _Header(tensors, records, keywords, metadata["library_version"], digest)


def _check_shapes(tensors: dict[str, _Tensor]) -> None:
    """The tensors make a memory together."""
    for name, tensor in tensors.items():
        patterns = tensors["patterns"]
        if tensor.dtype != patterns.dtype:
            raise ValueError(f"{name} are {tensor.dtype}, but patterns are {patterns.dtype}")
        if tensor.shape[0] != patterns.shape[0]:
            raise ValueError(
                f"{name} have {tensor.shape[0]} rows, but patterns have {patterns.shape[0]}"
            )
        if 0 in tensor.shape[1:]:
            raise ValueError(f"{name} have shape {tensor.shape}: a row needs a component")


def _number(value: object, what: str, least: float = -math.inf) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise ValueError(f"{what} of the records is {str(value)[:50]!r}, which is no number")
    number = float(value)  # type: ignore[arg-type]
    if number < least:
        raise ValueError(
            f"{what} of the records is {number}, but it is never less than {least}"
        )
    return number


def _threshold(value: object, what: str) -> float | None:
    if value is None:
        return None
    return float(value) if value in ("inf", "-inf") else _number(value, what)


def _parse_ages(
    given: object, n: int, clock: float, shift: float
) -> npt.NDArray[np.float64] | None:
    if given is None:
        return None
    names = ("prior", "clock", "shift")
    if type(given) is not dict or set(given) != set(names):
        raise ValueError(f"ages of the records need {', '.join(names)}, and no more")
    ages = np.empty((n, 3))
    for i, (name, most) in enumerate(zip(names, (math.inf, clock, shift), strict=True)):
        column = given[name]
        if type(column) is not list or len(column) != n or {*map(type, column)} - {int, float}:
            raise ValueError(f"{name} of the ages of the records is no list of {n} numbers")
        ages[:, i] = column
        good = np.isfinite(ages[:, i]) & (ages[:, i] >= 0) & (ages[:, i] <= most)
        if name == "prior":
            good &= ages[:, i] > 0
        if not good.all():
            row = int(np.argmin(good))
            raise ValueError(f"{name}[{row}] of the ages of the records is {ages[row, i]}")
    return ages


def _parse_records(raw: bytes, n: int, has_prior: bool, keywords: dict[str, Any]) -> Records:
    """The records of a memory of n patterns, if they are all that the module's page says."""
    try:
        found = _parse_json(raw.decode("utf-8"), "the text of the records")
    except UnicodeDecodeError as error:
        raise ValueError(f"the text of the records is not UTF-8: {error}") from None
    names = [field.name for field in fields(Records)]
    if set(found) != set(names):
        raise ValueError(f"the records need {', '.join(names)}, and no more")
    for name in ("ids", "labels", "metadata"):
        if type(found[name]) is not list or len(found[name]) != n:
            raise ValueError(f"{name} of the records are no list of {n}, one a pattern")
    ids = found["ids"]
    for one in ids:
        if type(one) not in (int, str):
            raise ValueError(f"the id {str(one)[:50]!r} of the records is no int or str")
    if len(set(ids)) < n:
        raise ValueError("ids of the records are not all different")
    for one in found["metadata"]:
        if one is not None and type(one) is not dict:
            raise ValueError(f"metadata {str(one)[:50]!r} of the records are no object of JSON")
    clock, shift = (_number(found[name], name, 0.0) for name in ("clock", "shift"))
    ages = _parse_ages(found["ages"], n, clock, shift)
    next_id, capacity = found["next_id"], found["capacity"]
    used = max((one for one in ids if type(one) is int), default=-1)
    if type(next_id) is not int or next_id < 0 or next_id <= used:
        raise ValueError(f"next_id of the records is {str(next_id)[:50]!r}, not above all ids")
    if capacity is not None and (type(capacity) is not int or not max(n, 1) <= capacity):
        raise ValueError(f"capacity of the records is {str(capacity)[:50]!r} for {n} patterns")
    half_life = found["half_life"]
    if half_life is not None:
        half_life = _number(half_life, "half_life", math.ulp(0.0))
    if ages is None and (half_life is not None or clock or shift):
        raise ValueError("what fades has ages, and the records have none")
    if ages is not None:
        Memory(**keywords).set_prior([], [])  # fails if the separation knows no priors
        if n and not has_prior:
            raise ValueError("the records have ages, but there is no prior")
    thresholds = (_threshold(found[name], name) for name in ("min_margin", "max_energy"))
    return Records(
        ids, found["labels"], found["metadata"], ages, clock, shift, next_id, capacity,
        half_life, *thresholds,
    )  # fmt: skip


def _read_records(file: int, header: _Header) -> bytes:
    """The bytes of the records, which have their checksum."""
    tensor = header.records
    assert tensor is not None
    raw = bytearray(tensor.n_bytes)
    _read_exactly(file, memoryview(raw), tensor.start)
    digest = hashlib.sha256(raw).hexdigest()
    if digest != tensor.sha256:
        raise ValueError(
            f"records have SHA-256 {digest}, but the header says {tensor.sha256}: "
            "the file is damaged"
        )
    return bytes(raw)


def _take_records(file: int, header: _Header) -> Records:
    if header.records is None:
        raise ValueError(
            "it has no records, so it is no living memory: open it with uhn.load, and make one "
            "of its rows with uhn.LivingMemory"
        )
    return _parse_records(
        _read_records(file, header), header.n_patterns, "prior" in header.tensors,
        header.keywords,
    )  # fmt: skip


def _raw_records(path: str | os.PathLike[str]) -> bytes | None:
    """The records of a file as they are, None if there are none."""
    with _opened(path) as (file, _, header):
        return None if header.records is None else _read_records(file, header)


def _name(path: str | os.PathLike[str]) -> str:
    return os.fsdecode(os.fspath(path))


def _not_regular(mode: int) -> str | None:
    kinds = (
        (stat.S_ISLNK, "a symbolic link; pass os.path.realpath(path)"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
    )
    if stat.S_ISREG(mode):
        return None
    return next((f"it is {text}" for test, text in kinds if test(mode)), "it is a device")


def _read_exactly(file: int, target: memoryview, start: int) -> None:
    while target:
        piece = os.pread(file, min(len(target), _PIECE), start)
        if not piece:
            raise ValueError(f"it ended at byte {start} while it was read")
        target[: len(piece)] = piece
        target = target[len(piece) :]
        start += len(piece)


def _open_regular(name: str) -> int:
    """A descriptor of a regular file; anything else is a ValueError."""
    # Looked at before it is opened, as opening a device may do something; and after it.
    problem = _not_regular(os.lstat(name).st_mode)
    if problem:
        raise ValueError(problem)
    file = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    problem = _not_regular(os.fstat(file).st_mode)
    if problem:
        os.close(file)
        raise ValueError(problem)
    return file


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[int, int, _Header]]:
    """Descriptor, size and header of a file; each ValueError inside gets the file's name."""
    name = _name(path)
    try:
        file = _open_regular(name)
        try:
            size = os.fstat(file).st_size
            yield file, size, _read_header(file, size)
        finally:
            os.close(file)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{name}: {error}") from error


def _read_header(file: int, size: int) -> _Header:
    if size < 8:
        raise ValueError(f"it has {size} bytes, too few for the length of a header")
    length = int.from_bytes(os.pread(file, 8, 0), "little")
    if length > size - 8:
        raise ValueError(f"its header is said to have {length} bytes, but the file has {size}")
    if length > MAX_HEADER:
        raise ValueError(f"its header has {length} bytes; at most {MAX_HEADER} are read")
    raw = bytearray(length)
    _read_exactly(file, memoryview(raw), 8)
    return _parse_header(bytes(raw), 8 + length, size - 8 - length)


def _take_rows(file: int, size: int, header: _Header, mmap: bool) -> list[Any]:
    """The arrays of `_PARTS`, or None for those that are not there."""
    # An empty file cannot be mapped, but every file here has a header.
    mapped = _mmap.mmap(file, size, access=_mmap.ACCESS_READ) if mmap else None
    rows: list[Any] = []
    for name in _PARTS:
        tensor = header.tensors.get(name)
        if tensor is None:
            rows.append(None)
        elif mapped is None or tensor.n_bytes == 0:
            array = np.empty(tensor.shape, tensor.native)
            if tensor.n_bytes:
                _read_exactly(file, array.reshape(-1).data.cast("B"), tensor.start)
            rows.append(array)
        else:
            if tensor.start % tensor.native.itemsize:
                raise ValueError(f"{name} are not aligned: load it with mmap=False")
            n = math.prod(tensor.shape)
            array = np.frombuffer(mapped, tensor.native, n, tensor.start)
            rows.append(array.reshape(tensor.shape))
    return rows


def _check_tensors(
    file: int, header: _Header, on_progress: Callable[[float], object] | None
) -> None:
    """All numbers and the records have their checksum and are what the memory takes."""
    total = sum(t.n_bytes for t in header.tensors.values())
    n_bytes = 0 if header.records is None else header.records.n_bytes
    advance = _counter(total + n_bytes, on_progress)
    for name, tensor in header.tensors.items():
        gaps = header.keywords.get("nan") == "missing" and name != "prior"
        _check_tensor(file, name, tensor, gaps, advance)
    if header.records is not None:
        _take_records(file, header)
        advance(n_bytes)


def _check_tensor(
    file: int, name: str, tensor: _Tensor, gaps: bool, advance: Callable[[int], object]
) -> None:
    """The numbers have their checksum and are finite or, with `gaps`, NaN."""
    digest = hashlib.sha256()
    buffer = bytearray(min(_PIECE, tensor.n_bytes))
    bad = None
    for done in range(0, tensor.n_bytes, _PIECE):
        view = memoryview(buffer)[: min(_PIECE, tensor.n_bytes - done)]
        _read_exactly(file, view, tensor.start + done)
        digest.update(view)
        if bad is None:
            numbers = np.frombuffer(view, tensor.native)
            finite = ~np.isinf(numbers) if gaps else np.isfinite(numbers)
            if not finite.all():
                bad = done // tensor.native.itemsize + int(np.argmin(finite))
        advance(len(view))
    if digest.hexdigest() != tensor.sha256:
        raise ValueError(
            f"{name} have SHA-256 {digest.hexdigest()}, but the header says {tensor.sha256}: "
            "the file is damaged"
        )
    if bad is not None:
        index = [int(i) for i in np.unravel_index(bad, tensor.shape)]
        raise ValueError(f"{name}{index} is not finite")


def load(path: str | os.PathLike[str], mmap: bool = True, *, verify: bool = False) -> Memory:
    """Open a memory that `save` wrote, or the numbers of one of `uhn.LivingMemory.save`.

    Parameters
    ----------
    path : str or path-like
        Of a regular file.
    mmap : bool, default True
        Map the file and borrow its rows: it opens at once, whatever its size, nothing is copied
        but the prior weights, and processes that open the same file share it. The file must not
        be changed in place meanwhile (`save` does not). False reads and checks all of it.
    verify : bool, default False
        Check the checksum of the numbers, too, which reads all of them.

    Returns
    -------
    Memory
        It answers with the same bits as the one that was saved.

    Raises
    ------
    ValueError
        If the file is not a regular one, not a memory, of another format version, damaged, or
        makes no memory; the message names the file and says what is wrong.
    OSError
        If it cannot be opened or read.

    Notes
    -----
    The rows of a mapped memory are looked at when they are first asked; NaN, infinity, and
    numbers outside the domain of the similarity raise ValueError then.

    Examples
    --------
    >>> import os, tempfile, numpy as np, uhn
    >>> path = os.path.join(tempfile.mkdtemp(), "memory.uhn.safetensors")
    >>> uhn.Memory(np.eye(3), similarity="manhattan", separation="max").save(path)
    >>> uhn.load(path).retrieve([0.9, 0.2, 0.0])
    array([1., 0., 0.])
    """
    _check_flags(mmap, verify)
    return _load(path, mmap, verify, None)


def _check_flags(mmap: object, verify: object) -> None:
    if type(mmap) is not bool or type(verify) is not bool:
        raise TypeError("mmap and verify can be True or False only")


def _counter(
    total: int, on_progress: Callable[[float], object] | None
) -> Callable[[int], object]:
    """A function to call with the bytes done since its last call, which tells the fraction."""
    done = 0

    def advance(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        if on_progress is not None:
            on_progress(done / max(total, 1))

    return advance


def _load(
    path: str | os.PathLike[str],
    mmap: bool,
    verify: bool,
    on_progress: Callable[[float], object] | None,
) -> Memory:
    with _opened(path) as (file, size, header):
        return _take_memory(file, size, header, mmap, verify, on_progress)


def _take_memory(
    file: int,
    size: int,
    header: _Header,
    mmap: bool,
    verify: bool,
    on_progress: Callable[[float], object] | None = None,
) -> Memory:
    empty = Memory(**header.keywords)
    if verify:
        _check_tensors(file, header, on_progress)
    if not header.tensors:
        return empty
    patterns, values, prior = _take_rows(file, size, header, mmap)
    if mmap:
        return _memory_map(patterns, values, prior, header.keywords)
    return Memory(patterns, values, prior=prior, **header.keywords)


def _load_living(
    path: str | os.PathLike[str], mmap: bool, verify: bool
) -> tuple[Memory, Records]:
    """For `uhn.LivingMemory.load`, which says what this does."""
    _check_flags(mmap, verify)
    with _opened(path) as (file, size, header):
        records = _take_records(file, header)
        return _take_memory(file, size, header, mmap, verify), records


def verify(
    path: str | os.PathLike[str], *, on_progress: Callable[[float], object] | None = None
) -> None:
    """Check all of a file: what `load` checks, the checksums, and that all numbers are finite.

    Parameters
    ----------
    path : str or path-like
    on_progress : callable, optional
        Called with the fraction that is done, now and then.

    Raises
    ------
    ValueError
        The message names the file and says what is wrong.
    OSError
        If it cannot be opened or read.
    """
    _load(path, True, True, on_progress)


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Say what is in a file; reads the header alone.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    dict
        ``path``, ``n_bytes`` (of the file), ``format_version``, ``library_version`` (that wrote
        it), ``keywords`` (of `uhn.Memory`), ``dtype`` ("float32", "float64", or None if it is
        empty), ``tensors``: by name ``shape``, ``offset`` (in the file), ``n_bytes`` and
        ``sha256`` (as the header says; `verify` checks it), and ``records``: None, or
        ``offset``, ``n_bytes`` and ``sha256`` of those of a living memory.

    Raises
    ------
    ValueError
        As `load`.
    """
    with _opened(path) as (_, size, header):
        dtypes = [tensor.native.name for tensor in header.tensors.values()]
        return {
            "path": _name(path),
            "n_bytes": size,
            "format_version": FORMAT_VERSION,
            "library_version": header.library_version,
            "keywords": dict(header.keywords),
            "dtype": dtypes[0] if dtypes else None,
            "tensors": {
                name: {
                    "shape": tensor.shape,
                    "offset": tensor.start,
                    "n_bytes": tensor.n_bytes,
                    "sha256": tensor.sha256,
                }
                for name, tensor in header.tensors.items()
            },
            "records": header.records
            and {
                "offset": header.records.start,
                "n_bytes": header.records.n_bytes,
                "sha256": header.records.sha256,
            },
        }


# ----------------------------------------------------------------------------------- writing --


def _keywords_of(memory: Memory) -> dict[str, Any]:
    """The keywords that make such a memory again."""
    for name in ("similarity", "separation"):
        if not isinstance(getattr(memory, name), str):
            raise ValueError(
                f"a memory whose {name} is a callable cannot be saved: a file holds no code"
            )
    keywords: dict[str, Any] = {
        "similarity": memory.similarity,
        "separation": memory.separation,
        **memory.parameters,
        "normalize": memory.normalize,
        "normalize_scores": memory.normalize_scores,
        "first_row": memory.first_row,
    }
    if memory.transform is not None:
        keywords["transform"] = memory.transform
    if memory.nan != "raise":
        keywords["nan"] = memory.nan
    return keywords


_DEEPEST = 64
_N_BITS = 2000  # of a whole number that every Python reads, however its limits are set
_PLAIN = "None, bool, int, float, str, list, and dict with keys of str"


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """A value as JSON has it, if it comes back the same; scalars of NumPy as the numbers they
    are."""
    if isinstance(value, (np.bool_, np.integer, np.floating, np.str_)):
        value = value.item()
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError(
                    f"{where} has half a surrogate pair in a str, which no file holds as text: "
                    "decode the bytes it came from with errors='replace'"
                ) from None
        return value
    if kind is int:
        if value.bit_length() > _N_BITS:
            raise ValueError(f"{where} has an int of more than {_N_BITS} bits: make it a str")
        return value
    if kind is float:
        if not math.isfinite(value):
            raise ValueError(f"{where} has {value}, which is no number of JSON: use None")
        return value
    if depth == _DEEPEST:
        raise ValueError(f"{where} is nested more than {_DEEPEST} deep: make it flatter")
    if kind is list:
        return [_plain(one, where, depth + 1) for one in value]
    if kind is dict:
        for name in value:
            if type(name) is not str:
                raise ValueError(f"{where} has the key {name!r}: make it a str")
        names = (_plain(name, where) for name in value)
        return {name: _plain(value[name], where, depth + 1) for name in names}
    hint = {tuple: "make it a list", np.ndarray: "use tolist()"}.get(kind, "use one of these")
    raise ValueError(f"{where} has a {kind.__name__}, and a file holds {_PLAIN}: {hint}")


def _pack_records(records: Records) -> bytes:
    """The bytes of the records; ValueError if something in them is not JSON."""
    ids = [_plain(one, "an id") for one in records.ids]
    found = {field.name: getattr(records, field.name) for field in fields(Records)}
    found["ids"] = ids
    for name, what in (("labels", "the label"), ("metadata", "metadata")):
        rows = zip(ids, found[name], strict=True)
        found[name] = [_plain(one, f"{what} of the memory {i!r}") for i, one in rows]
    if records.ages is not None:
        columns = zip(("prior", "clock", "shift"), records.ages.T.tolist(), strict=True)
        found["ages"] = dict(columns)
    for name in ("min_margin", "max_energy"):
        if found[name] is not None and math.isinf(found[name]):
            found[name] = str(found[name])
    return json.dumps(
        found, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    ).encode()


def _kind(name: str, dtype: str) -> str:
    return "U8" if name == _RECORDS else dtype


def _header_bytes(
    keywords: str, dtype: str, shapes: dict[str, list[int]], digests: dict[str, str]
) -> bytes:
    """The length and the header. Its size does not depend on the digests."""
    said = {name: (_kind(name, dtype), shapes[name], digests[name]) for name in shapes}
    metadata = {
        "format": "uhn",
        "format_version": FORMAT_VERSION,
        "library_version": __version__,
        "keywords": keywords,
        **{f"sha256.{name}": digest for name, digest in digests.items()},
        "sha256.header": fingerprint(__version__, keywords, said),
    }
    header: dict[str, Any] = {"__metadata__": metadata}
    start = 0
    for name, shape in shapes.items():
        kind = _kind(name, dtype)
        stop = start + math.prod(shape) * np.dtype(_DTYPES[kind]).itemsize
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-(8 + len(text)) % _ALIGN)
    return len(text).to_bytes(8, "little") + text


_data_sync = getattr(os, "fdatasync", os.fsync)


def _write_exactly(file: int, data: memoryview | bytes, start: int) -> None:
    """Writes all of it: a disk that fills up may take a part and say nothing."""
    view, begin = memoryview(data), start
    while view:
        n = os.pwrite(file, view, start)
        if n <= 0:
            raise OSError(errno.ENOSPC, "nothing more could be written")
        view, start = view[n:], start + n
    # Now and then, for nobody can interrupt a synchronisation of all at the end.
    if start // _SYNC > begin // _SYNC:
        _data_sync(file)


def _write_part(
    file: int,
    memory: Memory,
    name: str,
    shape: list[int],
    start: int,
    advance: Callable[[int], object],
) -> tuple[int, str]:
    """Writes a part piece by piece, and returns where it ends and its SHA-256."""
    digest = hashlib.sha256()
    width = math.prod(shape[1:]) * (4 if memory.dtype == np.float32 else 8)
    step = max(1, _PIECE // width)
    for row in range(0, shape[0], step):
        rows: npt.NDArray[Any] = _memory_read(memory, name, row, min(step, shape[0] - row))
        if sys.byteorder == "big":
            rows = rows.byteswap()
        data = rows.reshape(-1).data.cast("B")
        digest.update(data)
        _write_exactly(file, data, start)
        start += len(data)
        advance(len(data))
    return start, digest.hexdigest()


def _write_records(
    file: int, records: bytes, start: int, advance: Callable[[int], object]
) -> int:
    for at in range(0, len(records), _PIECE):
        piece = memoryview(records)[at : at + _PIECE]
        _write_exactly(file, piece, start + at)
        advance(len(piece))
    return start + len(records)


def _write(
    file: int,
    memory: Memory,
    on_progress: Callable[[float], object] | None = None,
    records: bytes | None = None,
) -> None:
    """The whole file: first the numbers, then the header, which has their checksums."""
    keywords = json.dumps(_keywords_of(memory), allow_nan=False)
    shapes: dict[str, list[int]] = {}
    if memory.dtype is not None:
        n = memory.n_patterns
        shapes["patterns"] = [n, memory.n_features]
        if not memory.is_autoassociative:
            shapes["values"] = [n, memory.n_values]
        if memory.prior is not None:
            shapes["prior"] = [n]
    dtype = "F32" if memory.dtype == np.float32 else "F64"
    item = 4 if dtype == "F32" else 8
    total = sum(map(math.prod, shapes.values())) * item
    parts = dict(shapes)
    if records is not None:
        shapes[_RECORDS] = [len(records)]
        total += len(records)
    digests = dict.fromkeys(shapes, "0" * 64)
    end = len(_header_bytes(keywords, dtype, shapes, digests))
    advance = _counter(total, on_progress)
    for name, shape in parts.items():
        end, digests[name] = _write_part(file, memory, name, shape, end, advance)
    if records is not None:
        end = _write_records(file, records, end, advance)
        digests[_RECORDS] = hashlib.sha256(records).hexdigest()
    _write_exactly(file, _header_bytes(keywords, dtype, shapes, digests), 0)
    if os.fstat(file).st_size != end:
        raise OSError(
            errno.EIO, f"{os.fstat(file).st_size} bytes arrived in the file instead of {end}"
        )
    os.fsync(file)


def _sync_folder(folder: str) -> None:
    """Makes a new name last. Some file systems cannot and say so."""
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(file)


@contextlib.contextmanager
def _replacing(path: str | os.PathLike[str]) -> Iterator[int]:
    """A new file, open for writing, that takes the path when all has gone well.

    Until then the path keeps what it has, and afterwards nothing is left over. Whoever writes
    synchronises the file with the disk.
    """
    name = _name(path)
    mode = None
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(name).st_mode
        problem = _not_regular(mode)
        if problem:
            raise ValueError(f"{name}: {problem}; only a regular file can be replaced")
    folder = os.path.dirname(name) or os.curdir
    temporary = os.path.join(folder, f".uhn-{secrets.token_hex(8)}.tmp")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    file = os.open(temporary, flags, 0o666)
    try:
        try:
            if mode is not None:
                os.fchmod(file, stat.S_IMODE(mode))
            yield file
        finally:
            os.close(file)
        os.replace(temporary, name)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def save(
    memory: Memory,
    path: str | os.PathLike[str],
    *,
    on_progress: Callable[[float], object] | None = None,
) -> None:
    """Write a memory to a file.

    At any moment the path holds the old file or the new one, whole.

    Parameters
    ----------
    memory : Memory
        Rows stored meanwhile, by another thread, are not written.
    path : str or path-like
        Of a regular file, which is replaced, or of none. By custom it ends in
        ``.uhn.safetensors``.
    on_progress : callable, optional
        Called with the fraction that is written, now and then.

    Raises
    ------
    ValueError
        If the similarity or the separation is a callable, or path is no regular file.
    OSError
        If the file cannot be written. Then the old one is untouched and nothing is left over.

    Notes
    -----
    A temporary file in the same folder (``.uhn-*.tmp``) is written in pieces of 4 MB, its size
    checked, synchronised with the disk and renamed, and then the folder synchronised; numbers
    are synchronised every 16 MB, so that Ctrl-C never has to wait for all of them. A process
    that is killed meanwhile leaves the temporary file, which can be deleted. A replaced file
    keeps its permissions.
    """
    if not isinstance(memory, Memory):
        raise TypeError(f"memory must be a uhn.Memory, not {type(memory).__name__}")
    _save(memory, path, on_progress, None)


def _save(
    memory: Memory,
    path: str | os.PathLike[str],
    on_progress: Callable[[float], object] | None,
    records: bytes | None,
) -> None:
    with _replacing(path) as file:
        _write(file, memory.copy(), on_progress, records)
