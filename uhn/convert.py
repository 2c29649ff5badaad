"""Memories from the files of others, and back: .npy, .npz, .csv and .safetensors.

`convert` never holds more of a file than a few megabytes: a file larger than RAM is read and
written in pieces. What it writes is at any moment the old file or the new one, whole.
"""

from __future__ import annotations

import errno
import math
import mmap as _mmap
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from uhn import io as _io
from uhn._core import Memory, _memory_read

__all__ = ["FileError", "convert"]

_Rows: TypeAlias = npt.NDArray[Any]
_Progress: TypeAlias = Callable[[float], object]

_KINDS = (".npy", ".npz", ".csv", ".safetensors")
_FOREIGN = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # the upper half of a float32
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
_PIECE = 1 << 22  # bytes that are read or written at once
_TEXT = 1 << 20  # bytes of text that are parsed at once
_LONGEST_LINE = 1 << 26


class FileError(ValueError):
    """What is in a file cannot be used; the arguments of the call were good."""


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    array: str | None = None,
    values: str | None = None,
    prior: str | None = None,
    dtype: str | None = None,
    skip: int = 0,
    on_progress: _Progress | None = None,
    **keywords: Any,
) -> dict[str, Any]:
    """Make a file of a memory from numbers, or a file of numbers from a memory.

    The endings of the names say what they are: ``.npy``, ``.npz``, ``.csv`` (rows of numbers
    with commas, semicolons, tabs or blanks between them) and ``.safetensors``, which is a
    memory of `uhn.io.save` or tensors of another program. One of the two is a memory, or both.

    Parameters
    ----------
    source : str or path-like
        Of a regular file, which must not be changed meanwhile.
    destination : str or path-like
        Of a regular file, which is replaced when all has gone well, or of none.
    array : str, optional
        From ``.npz`` and ``.safetensors``: the name of the patterns, by default "patterns" or
        the only array there is. From a memory to ``.npy`` or ``.csv``: "patterns" (default),
        "values" or "prior".
    values, prior : str, optional
        Where the values and the prior weights are: names in the source, by default "values" and
        "prior" if they are there beside "patterns"; or, where the source has no names, other
        files of its kind.
    dtype : {"float32", "float64"}, optional
        By default that of the patterns if they are one of the two, else float64.
    skip : int, default 0
        Lines of a ``.csv`` to leave out at its beginning.
    on_progress : callable, optional
        Called with the fraction that is done, now and then.
    **keywords
        Of `uhn.Memory`: similarity, separation, beta and the like. A memory that is made from
        another has the other's where none are given.

    Returns
    -------
    dict
        Of a memory, what `uhn.io.describe` says; of others ``path``, ``n_bytes``, ``dtype`` and
        ``arrays`` (shape by name).

    Raises
    ------
    FileError
        A ValueError: if the source is damaged, hostile or not what its name says, or its
        numbers make no memory. The message names the file.
    ValueError, TypeError
        If the arguments are wrong.
    OSError
        If a file cannot be read or written, or the disk is too small.

    Notes
    -----
    Rows that lie in the source as they will in the memory are mapped. Others go through a
    temporary file beside the destination, which has no name and so is gone whatever happens.
    The checksums of a memory are verified before it is converted.

    A living memory is still one in another ``.uhn.safetensors``, with its names, ages and
    settings, whatever the dtype; ``.npy``, ``.npz`` and ``.csv`` get its numbers alone.

    Examples
    --------
    >>> import os, tempfile, numpy as np, uhn, uhn.convert
    >>> folder = tempfile.mkdtemp()
    >>> np.save(os.path.join(folder, "rows.npy"), np.eye(3))
    >>> path = os.path.join(folder, "rows.uhn.safetensors")
    >>> said = uhn.convert.convert(os.path.join(folder, "rows.npy"), path, similarity="cosine")
    >>> said["tensors"]["patterns"]["shape"], uhn.load(path).similarity
    ((3, 3), 'cosine')
    """
    name, target = _io._name(source), _io._name(destination)
    if dtype not in (None, "float32", "float64"):
        raise ValueError(f"dtype must be 'float32' or 'float64', not {dtype!r}")
    if skip < 0 or (skip and _kind(name) != ".csv"):
        raise ValueError(f"skip is a number of lines of a .csv to leave out, not {skip}")
    if os.path.isdir(target):
        raise ValueError(f"{target}: it is a directory; a name of a file is needed")
    is_memory = _kind(name) == ".safetensors" and _is_memory(name)
    if _kind(target) != ".safetensors":
        if not is_memory:
            raise ValueError(f"neither {name} nor {target} is a memory (*.uhn.safetensors)")
        if values is not None or prior is not None or keywords:
            given = [*keywords, *(["values"] if values else []), *(["prior"] if prior else [])]
            raise ValueError(f"{given[0]} has no meaning where no memory is made")
        return _export(name, target, array, dtype, on_progress)
    if is_memory:
        if array is not None or values is not None or prior is not None:
            raise ValueError("array, values and prior have no meaning from memory to memory")
        keywords = {**_said(name)["keywords"], **keywords}
    Memory(**keywords)  # is there such a memory?
    with ExitStack() as stack:
        folder = os.path.dirname(target) or os.curdir
        advance = _halves(on_progress)
        tables = _tables(stack, name, is_memory, array, values, prior, skip, folder, advance)
        patterns = tables["patterns"]
        native = {"<f4": "float32", "<f8": "float64"}.get(patterns.dtype.newbyteorder("<").str)
        wanted = np.dtype(dtype or native or "float64").newbyteorder("<")
        rows = {
            part: _staged(stack, part, table, wanted, folder, advance)
            for part, table in tables.items()
        }
        _room(folder, sum(table.nbytes for table in rows.values()))
        try:
            records = _records_of(name, rows, keywords) if is_memory else None
            memory = Memory(
                rows["patterns"], rows.get("values"), prior=rows.get("prior"), **keywords
            )
        except (ValueError, TypeError) as error:
            raise FileError(f"{name}: {error}") from error
        _io._save(memory, target, lambda done: advance(0.5 + done / 2), records)
    return _io.describe(target)


def _records_of(name: str, rows: dict[str, _Rows], keywords: dict[str, Any]) -> bytes | None:
    """The records of a living memory, which say the same of the rows in another dtype."""
    raw = _io._raw_records(name)
    if raw is None:
        return None
    n, has_prior = len(rows["patterns"]), "prior" in rows
    if _io._parse_records(raw, n, has_prior, keywords).ages is not None and has_prior:
        # What faded is held to the normal numbers of the dtype.
        rows["prior"] = np.maximum(rows["prior"], np.finfo(rows["prior"].dtype).tiny)
    return raw


def _halves(on_progress: _Progress | None) -> _Progress:
    """Progress that never goes back, so that steps of unknown length may tell their own."""
    most = 0.0

    def advance(done: float) -> None:
        nonlocal most
        most = max(most, min(done, 1.0))
        if on_progress is not None:
            on_progress(most)

    return advance


def _kind(name: str) -> str:
    kind = next((kind for kind in _KINDS if name.lower().endswith(kind)), None)
    if kind is None:
        known = "*.uhn.safetensors, *.safetensors, *.npy, *.npz or *.csv"
        raise ValueError(f"{name}: what it is cannot be told; its name should be {known}")
    return kind


def _room(folder: str, n_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise OSError(errno.ENOSPC, f"{n_bytes} bytes are needed, and {free} are free", folder)


def _said(name: str) -> dict[str, Any]:
    try:
        return _io.describe(name)
    except ValueError as error:
        raise FileError(str(error)) from error


# -------------------------------------------------------------------------------- from files --


def _tables(
    stack: ExitStack,
    name: str,
    is_memory: bool,
    array: str | None,
    values: str | None,
    prior: str | None,
    skip: int,
    folder: str,
    advance: _Progress,
) -> dict[str, _Rows]:
    """The parts of the memory to be, each a mapped array of any real type and layout."""
    kind = _kind(name)
    if is_memory:
        try:
            _io.verify(name, on_progress=lambda done: advance(done / 2))
        except ValueError as error:
            raise FileError(str(error)) from error
        parts = _tensors(name)
        if "patterns" not in parts:
            raise FileError(f"{name}: the memory is empty")
        return {part: parts[part]() for part in _io._PARTS if part in parts}
    if kind in (".npy", ".csv"):
        if array is not None:
            raise ValueError(f"a {kind} file has one array, without a name")
        found: dict[str, _Rows] = {}
        for part, path in (("patterns", name), ("values", values), ("prior", prior)):
            if path is None:
                continue
            if _kind(path) != kind:
                raise ValueError(f"{part}: {path} should be a {kind} file, as {name} is")
            if kind == ".npy":
                found[part] = _npy(path)
            else:
                found[part] = _csv(stack, path, skip, folder, advance)
            if part == "prior" and found[part].ndim == 2 and found[part].shape[1] == 1:
                found[part] = found[part][:, 0]
    else:
        there = _tensors(name) if kind == ".safetensors" else _npz(stack, name, folder)
        names = {"patterns": array, "values": values, "prior": prior}
        if array is None and "patterns" in there:
            names = {p: n or (p if p in there else None) for p, n in names.items()}
        elif array is None:
            left = [one for one in there if one not in (values, prior)]
            if len(left) != 1:
                listed = ", ".join(sorted(map(repr, left))[:10]) or "none"
                raise ValueError(f"{name}: name the array of patterns; there are: {listed}")
            names["patterns"] = left[0]
        for one in names.values():
            if one is not None and one not in there:
                listed = ", ".join(sorted(map(repr, there))[:10]) or "none"
                raise ValueError(f"{name}: there is no array {one!r}; there are: {listed}")
        found = {p: there[n]() for p, n in names.items() if n is not None}
    for part, rows in found.items():
        axes = 1 if part == "prior" else 2
        if rows.ndim != axes:
            raise FileError(f"{name}: {part} have shape {rows.shape}; {axes}-D is needed")
    return found


def _mapped(file: int, dtype: np.dtype[Any], shape: tuple[int, ...], at: int) -> _Rows:
    """An array that lies in a file, row after row; aligned or not."""
    count = math.prod(shape)
    if count == 0:
        return np.empty(shape, dtype)
    mapped = _mmap.mmap(file, at + count * dtype.itemsize, access=_mmap.ACCESS_READ)
    return np.frombuffer(mapped, dtype, count, at).reshape(shape)


def _array_header(name: str, file: IO[bytes]) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """Type, order and shape that the header of a .npy promises; nothing in it is run."""
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"version {version} is not read")
    except Exception as error:  # of a parser of Python's, which raises many kinds
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileError(f"{name}: this is no .npy file: {text}") from error
    if dtype.hasobject:
        raise FileError(
            f"{name}: it holds Python objects, which are not read: they could run code"
        )
    if dtype.kind not in "fiub" or dtype.itemsize > 8 or dtype.subdtype or not dtype.itemsize:
        raise FileError(f"{name}: its dtype is {dtype}; real numbers are needed")
    if not all(type(n) is int and 0 <= n <= 2**62 for n in shape) or len(shape) > 32:
        raise FileError(f"{name}: its shape {str(shape)[:60]} is none")
    return dtype, fortran, shape


def _oriented(flat: Callable[[tuple[int, ...]], _Rows], fortran: bool, shape: Any) -> _Rows:
    return flat(tuple(reversed(shape))).T if fortran else flat(shape)


def _npy(name: str) -> _Rows:
    with _file(name) as (file, size):
        with open(file, "rb", closefd=False) as reader:
            dtype, fortran, shape = _array_header(name, reader)
            at = reader.tell()
        n_bytes = math.prod(shape) * dtype.itemsize
        if at + n_bytes != size:
            raise FileError(
                f"{name}: {n_bytes} bytes of numbers are promised, but there are {size - at}"
            )
        return _oriented(lambda s: _mapped(file, dtype, s, at), fortran, shape)


@contextmanager
def _file(name: str) -> Iterator[tuple[int, int]]:
    """Descriptor and size of a regular file to read; links are followed."""
    try:
        file = _io._open_regular(os.path.realpath(name, strict=True))
    except ValueError as error:
        raise FileError(f"{name}: {error}") from error
    try:
        yield file, os.fstat(file).st_size
    finally:
        os.close(file)


def _temporary(stack: ExitStack, folder: str) -> IO[bytes]:
    return stack.enter_context(tempfile.TemporaryFile(dir=folder))


def _npz(stack: ExitStack, name: str, folder: str) -> dict[str, Callable[[], _Rows]]:
    file, _ = stack.enter_context(_file(name))
    reader = stack.enter_context(os.fdopen(file, "rb", closefd=False))
    try:
        archive = stack.enter_context(zipfile.ZipFile(reader))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise FileError(f"{name}: this is no .npz file: {error}") from error
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.filename.endswith(".npy"):
            if info.filename[:-4] in members:
                raise FileError(f"{name}: {info.filename[:-4]!r} is in it twice")
            members[info.filename[:-4]] = info

    def take(key: str) -> _Rows:
        whole = f"{name}[{key}]"
        try:
            with archive.open(members[key]) as member:
                dtype, fortran, shape = _array_header(whole, member)
                n_bytes = math.prod(shape) * dtype.itemsize
                _room(folder, n_bytes)
                temporary = _temporary(stack, folder)
                left = n_bytes
                while left and (piece := member.read(min(left, _PIECE))):
                    temporary.write(piece)
                    left -= len(piece)
                if left or member.read(1):
                    word = f"{left} bytes short" if left else "longer"
                    raise FileError(f"{whole}: it is {word} than its header promises")
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise FileError(f"{whole}: it is damaged: {error}") from error
        temporary.flush()
        number = temporary.fileno()
        return _oriented(lambda s: _mapped(number, dtype, s, 0), fortran, shape)

    return {key: lambda key=key: take(key) for key in members}  # type: ignore[misc]


def _tensors(name: str) -> dict[str, Callable[[], _Rows]]:
    """By name, how to get each tensor of a safetensors file."""
    header, at, size = _foreign_header(name)
    header.pop("__metadata__", None)

    def take(key: str) -> _Rows:
        entry = header[key]
        problem = FileError(f"{name}: tensor {key[:50]!r} is not described as safetensors do")
        if type(entry) is not dict:
            raise problem
        dtype, shape, offsets = (entry.get(k) for k in ("dtype", "shape", "data_offsets"))
        if type(dtype) is not str or type(shape) is not list or type(offsets) is not list:
            raise problem
        if len(offsets) != 2 or not all(map(_io._is_size, [*shape, *offsets])):
            raise problem
        if dtype not in _FOREIGN:
            raise FileError(f"{name}: tensor {key[:50]!r} has dtype {dtype[:20]!r}")
        native = np.dtype(_FOREIGN[dtype])
        start, stop = offsets
        if math.prod(shape) * native.itemsize != stop - start or not stop <= size - at:
            raise problem
        with _file(name) as (file, _):
            rows = _mapped(file, native, tuple(shape), at + start)
        return rows.view(_BrainFloat) if dtype == "BF16" else rows

    return {key: lambda key=key: take(key) for key in header}  # type: ignore[misc]


class _BrainFloat(np.ndarray[Any, Any]):
    """Marks 16-bit numbers that are the upper halves of float32."""


def _foreign_header(name: str) -> tuple[dict[str, Any], int, int]:
    """The header of any safetensors file, where its numbers begin, and its size."""
    with _file(name) as (file, size):
        try:
            length = int.from_bytes(os.pread(file, 8, 0), "little")
            if size < 8 or length > size - 8:
                raise ValueError("it is too short to be a safetensors file")
            if length > _io.MAX_HEADER:
                raise ValueError(
                    f"its header has {length} bytes; at most {_io.MAX_HEADER} are read"
                )
            raw = bytearray(length)
            _io._read_exactly(file, memoryview(raw), 8)
            return _io._parse_json(raw.decode("utf-8"), "the header"), 8 + length, size
        except ValueError as error:
            raise FileError(f"{name}: {error}") from error


def _is_memory(name: str) -> bool:
    """Whether it is one, or says so: a damaged one is damaged, not another program's."""
    if name.endswith(".uhn.safetensors"):
        return True
    metadata = _foreign_header(name)[0].get("__metadata__")
    return type(metadata) is dict and metadata.get("format") == "uhn"


# -------------------------------------------------------------------------------------- text --


def _lines(name: str, file: IO[bytes], skip: int) -> Iterator[tuple[int, list[str]]]:
    """Pieces of text: the number of the first line, and lines, blank ones as they are."""
    number = 0
    while True:
        piece: list[str] = []
        n_bytes = 0
        first = number + 1
        while n_bytes < _TEXT:
            line = file.readline(_LONGEST_LINE + 1)
            if not line:
                break
            if len(line) > _LONGEST_LINE:
                raise FileError(
                    f"{name}: line {number + 1} is longer than {_LONGEST_LINE} bytes"
                )
            number += 1
            n_bytes += len(line)
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            try:
                piece.append("" if number <= skip else line.decode("utf-8").strip())
            except UnicodeDecodeError as error:
                raise FileError(f"{name}: line {number} is no text: {error.reason}") from error
        if not piece:
            return
        yield first, piece


def _delimiter(line: str) -> str | None:
    return next((mark for mark in ",;\t" if mark in line), None)


def _parse(
    name: str, first: int, lines: list[str], mark: str | None, width: int | None
) -> npt.NDArray[np.float64]:
    full = [line for line in lines if line]
    try:
        rows = np.loadtxt(full, np.float64, comments=None, delimiter=mark, ndmin=2)
        if width in (None, rows.shape[1]):
            return rows
    except ValueError:
        pass
    # Which line was it?
    for number, line in enumerate(lines, first):
        if not line:
            continue
        words = line.split(mark)
        for word in words:
            try:
                np.float64(word if "_" not in word else "none")
            except ValueError:
                hint = "; skip leaves lines out" if width is None else ""
                raise FileError(
                    f"{name}: line {number} has {word.strip()[:30]!r}, which is no number{hint}"
                ) from None
        if width is None:
            width = len(words)
        if len(words) != width:
            raise FileError(f"{name}: line {number} has {len(words)} numbers, not {width}")
    raise FileError(f"{name}: lines {first} to {first + len(lines) - 1} are no rows of numbers")


def _csv(
    stack: ExitStack, name: str, skip: int, folder: str, advance: _Progress
) -> npt.NDArray[np.float64]:
    """Rows of numbers, as a temporary file of float64."""
    temporary = _temporary(stack, folder)
    width: int | None = None
    mark: str | None = None
    n_rows = 0
    with _file(name) as (file, size), open(file, "rb", closefd=False) as reader:
        for first, lines in _lines(name, reader, skip):
            begin = next((line for line in lines if line), None)
            if begin is None:
                continue
            if width is None:
                mark = _delimiter(begin)
            rows = _parse(name, first, lines, mark, width)
            n_rows, width = n_rows + len(rows), rows.shape[1]
            temporary.write(np.ascontiguousarray(rows, "<f8").data)
            advance(reader.tell() / size / 2)
    if width is None:
        raise FileError(f"{name}: there are no numbers in it")
    temporary.flush()
    return _mapped(temporary.fileno(), np.dtype("<f8"), (n_rows, width), 0)


# ----------------------------------------------------------------------------------- staging --


def _cast(name: str, block: _Rows, dtype: np.dtype[Any], first: int) -> _Rows:
    if isinstance(block, _BrainFloat):
        bits = block.view(np.ndarray).astype("<u4") << 16
        block = bits.view("<f4")
    with np.errstate(over="ignore", invalid="ignore"):
        cast = np.ascontiguousarray(block, dtype)
    if cast.dtype.itemsize < block.dtype.itemsize:
        bad = np.isinf(cast) & np.isfinite(block)
        if bad.any():
            at = [int(i) for i in np.unravel_index(np.argmax(bad), bad.shape)]
            number = block[tuple(at)]
            at[0] += first
            raise FileError(f"{name}{at} is {number}, which is too large for {cast.dtype.name}")
    return cast


def _step(shape: tuple[int, ...], item: int) -> int:
    return max(1, _PIECE // max(1, math.prod(shape[1:]) * item))


def _staged(
    stack: ExitStack,
    part: str,
    table: _Rows,
    dtype: np.dtype[Any],
    folder: str,
    advance: _Progress,
) -> _Rows:
    """The table as it will lie in the memory: itself, or a copy in a temporary file."""
    same = table.dtype == dtype and not isinstance(table, _BrainFloat)
    if same and table.flags.c_contiguous and table.flags.aligned:
        return table
    if table.size == 0:
        return np.empty(table.shape, dtype)
    _room(folder, table.size * dtype.itemsize)
    temporary = _temporary(stack, folder)
    step = _step(table.shape, max(dtype.itemsize, table.dtype.itemsize))
    for row in range(0, len(table), step):
        block = _cast(part, table[row : row + step], dtype, row)
        temporary.write(block.reshape(-1).data.cast("B"))
        advance(min(row + step, len(table)) / len(table) / 2)
    temporary.flush()
    return _mapped(temporary.fileno(), dtype, table.shape, 0)


# --------------------------------------------------------------------------------- to files --


def _export(
    name: str,
    target: str,
    array: str | None,
    dtype: str | None,
    on_progress: _Progress | None,
) -> dict[str, Any]:
    kind = _kind(target)
    advance = _halves(on_progress)
    said = _said(name)
    shapes = {part: tensor["shape"] for part, tensor in said["tensors"].items()}
    if not shapes:
        raise FileError(f"{name}: the memory is empty")
    if kind == ".npz":
        if array is not None:
            raise ValueError("a .npz file gets all arrays of a memory; array has no meaning")
    elif (array or "patterns") not in shapes:
        raise ValueError(f"{name}: there is no array {array!r}; there are: {', '.join(shapes)}")
    else:
        shapes = {array or "patterns": shapes[array or "patterns"]}
    wanted = np.dtype(dtype or said["dtype"]).newbyteorder("<")
    total = sum(map(math.prod, shapes.values()))
    folder = os.path.dirname(target) or os.curdir
    _room(folder, total * (wanted.itemsize if kind != ".csv" else 2))
    try:
        memory = _io._load(name, True, True, lambda done: advance(done / 2))
    except ValueError as error:
        raise FileError(str(error)) from error
    done = 0

    def blocks(part: str) -> Iterator[_Rows]:
        nonlocal done
        shape = shapes[part]
        step = _step(shape, 8)
        for row in range(0, shape[0], step):
            block = _memory_read(memory, part, row, min(step, shape[0] - row))
            yield _cast(part, block, wanted, row)
            if done * 8 // _io._SYNC != (done + block.size) * 8 // _io._SYNC:
                _io._data_sync(file)
            done += block.size
            advance(0.5 + done / total / 2)

    with _io._replacing(target) as file, open(file, "wb", closefd=False) as writer:
        if kind == ".csv":
            for block in blocks(next(iter(shapes))):
                _write_text(writer, block)
        elif kind == ".npy":
            part = next(iter(shapes))
            _write_array(writer, shapes[part], wanted, blocks(part))
        else:
            with zipfile.ZipFile(writer, "w") as archive:
                for part, shape in shapes.items():
                    with archive.open(f"{part}.npy", "w", force_zip64=True) as member:
                        _write_array(member, shape, wanted, blocks(part))
        writer.flush()
        os.fsync(file)
    return {
        "path": target,
        "n_bytes": os.stat(target).st_size,
        "dtype": wanted.name,
        "arrays": shapes,
    }


def _write_array(
    writer: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], blocks: Iterator[_Rows]
) -> None:
    head = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(writer, head)
    for block in blocks:
        writer.write(block.reshape(-1).data.cast("B"))


def _write_text(writer: IO[bytes], block: _Rows) -> None:
    """The fewest digits that make the number again."""
    rows = block.reshape(len(block), -1)
    step = max(1, (1 << 16) // rows.shape[1])
    for row in range(0, len(rows), step):
        lines = map(",".join, rows[row : row + step].astype("U32").tolist())
        writer.write(("\n".join(lines) + "\n").encode())
