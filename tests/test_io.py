"""Files of memories: same bits, mapped without a copy, whole after a kill, strictly read.

Hostile files are made by `build`, a writer of this test alone, so that the reader is not judged
by the writer it came with; the official package is the other judge.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import uhn
import uhn.io

PARTS = ("patterns", "values", "prior")
FILES = Path(__file__).resolve().parent / "files"
RNG = np.random.default_rng(5)


# ----------------------------------------------------------------------- a writer of our own --


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def good_parts() -> tuple[dict[str, Any], bytes]:
    """Header and data of a good file: three patterns of two features with values and priors."""
    patterns = np.array([[1, 2], [3, 4], [5, 6]], "<f8")
    values, prior = np.array([[1], [0], [2]], "<f8"), np.array([1, 2, 3], "<f8")
    header: dict[str, Any] = {
        "__metadata__": {
            "format": "uhn",
            "format_version": "1",
            "library_version": "0.0.test",
            "keywords": '{"similarity": "dot", "separation": "softmax", "beta": 2}',
        }
    }
    data = b""
    for name, array in (("patterns", patterns), ("values", values), ("prior", prior)):
        raw = array.tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "F64", "shape": list(array.shape), "data_offsets": offsets}
        header["__metadata__"][f"sha256.{name}"] = digest(raw)
        data += raw
    return header, data


def sign(header: dict[str, Any]) -> None:
    """Puts the checksum of the header, as the module's page defines it."""
    meta = header["__metadata__"]
    rows = [
        [name, header[name]["dtype"], header[name]["shape"], meta[f"sha256.{name}"]]
        for name in sorted(header)
        if name != "__metadata__"
    ]
    said = ["uhn", "1", meta["library_version"], meta["keywords"], rows]
    meta["sha256.header"] = digest(json.dumps(said, separators=(",", ":")).encode())


def frame(text: bytes, data: bytes) -> bytes:
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def good_records() -> dict[str, Any]:
    """Records of the three patterns of `good_parts`, as the module's page defines them."""
    return {
        "ids": ["a", 4, "b"],
        "labels": ["é", None, [1, {"x": 0.5}]],
        "metadata": [None, {"n": 1}, {}],
        "ages": {"prior": [1.0, 2, 0.5], "clock": [0.0, 1.0, 4.5], "shift": [0.0, 0.5, 2.0]},
        "clock": 5.0,
        "shift": 2.0,
        "next_id": 5,
        "capacity": 3,
        "half_life": 8.0,
        "min_margin": 0.125,
        "max_energy": "-inf",
    }


def build_living(records: Any, change: Any = None, order: tuple[str, ...] = ()) -> bytes:
    """A signed file with these records, as text, as bytes, or to become JSON."""
    if not isinstance(records, (str, bytes)):
        records = json.dumps(records, ensure_ascii=False)
    raw = records if isinstance(records, bytes) else records.encode()
    header, data = good_parts()
    pieces = {
        name: data[slice(*header[name]["data_offsets"])] for name in PARTS if name in header
    }
    pieces["records"] = raw
    header["records"] = {"dtype": "U8", "shape": [len(raw)]}
    header[META]["sha256.records"] = digest(raw)
    data = b""
    for name in order or pieces:
        header[name]["data_offsets"] = [len(data), len(data) + len(pieces[name])]
        data += pieces[name]
    if change:
        change(header)
    with contextlib.suppress(KeyError, TypeError):
        sign(header)
    return frame(json.dumps(header).encode(), data)


def build(change: Any = None, data: bytes | None = None) -> bytes:
    """A file whose header was changed and then signed, so that only the change is wrong."""
    header, good = good_parts()
    if change:
        change(header)
    with contextlib.suppress(KeyError, TypeError):  # what is needed to sign may be gone
        sign(header)
    return frame(json.dumps(header).encode(), good if data is None else data)


def refuse(path: Path, text: str) -> None:
    """Loading is a ValueError that names the file and says `text`."""
    for mmap in (True, False):
        with pytest.raises(ValueError) as caught:
            uhn.load(path, mmap)
        assert str(caught.value).startswith(f"{path}: ") and text in str(caught.value)


# ------------------------------------------------------------------------------- round trips --


def questions(memory: uhn.Memory, n: int = 7) -> np.ndarray:
    return np.random.default_rng(9).random((n, memory.n_features)) + 0.01


KEYWORDS: list[dict[str, Any]] = [
    {},
    {"separation": "max", "similarity": "manhattan"},
    {
        "separation": "topk",
        "k": 3,
        "similarity": "euclidean",
        "transform": "inverse",
        "eps": 0.1,
    },
    {"separation": "exponential", "beta": 0.1, "normalize": "sum", "first_row": 12345},
    {"separation": "polynomial", "degree": 3, "normalize_scores": True, "similarity": "cosine"},
    {"separation": "entmax", "alpha": 1.25, "beta": 1 / 3},
    {"similarity": "kl", "separation": "softmax", "beta": 5},
    {"similarity": "sqeuclidean", "transform": "rbf", "gamma": 0.7, "separation": "identity"},
    {"separation": "threshold", "theta": -1.5, "similarity": "euclidean"},
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hetero", [False, True])
@pytest.mark.parametrize("keywords", KEYWORDS, ids=lambda k: k.get("separation", "default"))
def test_answers_have_the_same_bits(
    tmp_path: Path, dtype: str, hetero: bool, keywords: dict[str, Any]
) -> None:
    """From the memory in RAM, the mapped one and the one read, in every way to ask."""
    patterns = (RNG.random((1500, 9)) + 0.01).astype(dtype)
    values = RNG.normal(size=(1500, 4)).astype(dtype) if hetero else None
    memory = uhn.Memory(patterns, values, **keywords)
    path = tmp_path / "a"
    memory.save(path)
    asked = questions(memory)
    for mmap in (True, False):
        other = uhn.load(path, mmap)
        assert repr(other) == repr(memory) and other.parameters == memory.parameters
        assert other.first_row == memory.first_row
        assert other.normalize_scores == memory.normalize_scores
        assert other.retrieve(asked).tobytes() == memory.retrieve(asked).tobytes()
        assert other.retrieve(asked[2]).tobytes() == memory.retrieve(asked)[2].tobytes()
        assert other.scores(asked).tobytes() == memory.scores(asked).tobytes()
        assert np.asarray(other).tobytes() == patterns.tobytes()
        assert np.asarray(other.values).tobytes() == np.asarray(memory.values).tobytes()
        if not memory.normalize_scores:
            parts = [other.partial(asked, 0, 700), other.partial(asked, 700, 1500)]
            assert uhn.merge(parts).finish().tobytes() == memory.retrieve(asked).tobytes()


def test_priors_and_several_pieces_come_back(tmp_path: Path) -> None:
    """A memory in pieces, some with priors, is one piece in its file, with the same bits."""
    memory = uhn.Memory(beta=2.0)
    for n in (3, 20_000, 1, 700):
        prior = RNG.random(n) + 0.5 if n != 700 else None
        memory.store(RNG.normal(size=(n, 5)), prior=prior)
    path = tmp_path / "a"
    memory.save(path)
    other = uhn.load(path, verify=True)
    asked = RNG.normal(size=(5, 5))
    assert other.retrieve(asked).tobytes() == memory.retrieve(asked).tobytes()
    assert memory.prior is not None and other.prior is not None
    assert other.prior.tobytes() == memory.prior.tobytes()
    assert np.asarray(other).tobytes() == np.asarray(memory).tobytes()
    # What is stored afterwards is the memory's own, and the file stays.
    before = path.read_bytes()
    other.store(RNG.normal(size=(4, 5)))
    assert len(other) == len(memory) + 4 and path.read_bytes() == before


def test_empty_memories_come_back(tmp_path: Path) -> None:
    path = tmp_path / "a"
    uhn.Memory(similarity="cosine", beta=3).save(path)
    for mmap in (True, False):
        other = uhn.load(path, mmap, verify=True)
        assert len(other) == 0 and other.dtype is None and other.parameters == {"beta": 3.0}
        assert other.store([[1.0, 2.0]]).retrieve([1.0, 2.0]).tolist() == [1.0, 2.0]
    assert uhn.io.describe(path)["tensors"] == {} and uhn.io.describe(path)["dtype"] is None
    uhn.Memory(np.empty((0, 3), np.float32), np.empty((0, 2), np.float32)).save(path)
    for mmap in (True, False):
        other = uhn.load(path, mmap, verify=True)
        assert (len(other), other.n_features, other.n_values) == (0, 3, 2)
        assert other.dtype == np.float32


def test_the_layout_is_that_of_the_page(tmp_path: Path) -> None:
    """Numbers at a multiple of 64, offsets in order, checksums of SHA-256, text by name."""
    for d in range(1, 40):
        patterns = RNG.normal(size=(5, d)).astype(np.float32)
        memory = uhn.Memory(patterns, np.ones((5, 3)), prior=np.arange(1, 6), beta=1 / d)
        path = tmp_path / "a"
        uhn.io.save(memory, path)
        raw = path.read_bytes()
        start = 8 + int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8:start])
        assert start % 64 == 0 and header["patterns"]["data_offsets"] == [0, 20 * d]
        assert header["values"]["data_offsets"] == [20 * d, 20 * d + 60]
        assert header["prior"] == {
            "dtype": "F32",
            "shape": [5],
            "data_offsets": [20 * d + 60, 20 * d + 80],
        }
        assert raw[start : start + 20 * d] == patterns.astype("<f4").tobytes()
        meta = header["__metadata__"]
        assert all(type(value) is str for value in meta.values())
        assert (meta["format"], meta["format_version"]) == ("uhn", "1")
        assert meta["library_version"] == uhn.__version__
        assert json.loads(meta["keywords"])["beta"] == 1 / d
        assert meta["sha256.values"] == digest(np.ones((5, 3), "<f4").tobytes())
        said = meta.pop("sha256.header")
        sign(header)
        assert meta["sha256.header"] == said
        told = uhn.io.describe(path)
        assert told["n_bytes"] == len(raw) and told["format_version"] == "1"
        assert told["tensors"]["patterns"]["offset"] == start and told["dtype"] == "float32"
        assert told["tensors"]["values"]["sha256"] == meta["sha256.values"]
        assert told["keywords"] == json.loads(meta["keywords"]) and told["records"] is None
    assert told["path"] == str(path) and told["library_version"] == uhn.__version__


def test_version_1_is_read_for_ever() -> None:
    """The committed file, written by version 0.1.0, and what it retrieved then."""
    path = FILES / "version1.uhn.safetensors"
    assert path.stat().st_size < 2048
    uhn.io.verify(path)
    patterns = np.arange(24).reshape(6, 4) / 8 - 1
    values = np.arange(12).reshape(6, 2) / 4
    prior = np.arange(1, 7) / 2
    for mmap in (True, False):
        memory = uhn.load(path, mmap)
        assert memory.dtype == np.float32 and memory.parameters == {"beta": 0.75}
        assert (memory.similarity, memory.separation) == ("sqeuclidean", "softmax")
        assert memory.first_row == 7 and memory.transform == "negative"
        assert np.array_equal(np.asarray(memory), patterns)
        assert np.array_equal(memory.values, values)
        assert np.array_equal(memory.prior, prior)
        # The formula, in float64, and a float32's worth of error: weights sum to 1.
        query = np.array([0.1, -0.2, 0.3, 0.4])
        weights = prior * np.exp(-0.75 * ((patterns - query) ** 2).sum(1))
        assert np.allclose(memory.retrieve(query), weights @ values / weights.sum(), rtol=1e-5)
    assert uhn.io.describe(path)["library_version"] == "0.1.0"


def test_records_of_version_1_are_read_for_ever() -> None:
    """The committed living memory, written by version 0.1.0: its names, ages and settings."""
    path = FILES / "living1.uhn.safetensors"
    assert path.stat().st_size < 2048
    uhn.io.verify(path)
    patterns = np.array([[0.5, 0.75], [1, 1.25], [1.5, 1.75], [0.5, 0.25]])
    # Given 2, 1/2, 1 before a decay by 1/4, and 1 after it; half-life 4; the clock is at 8.
    prior = np.array([2 * 2**-3.5, 0.5 * 2**-3.25, 2**-3.0, 2**-0.75])
    for mmap in (True, False):
        memory = uhn.LivingMemory.load(path, mmap)
        assert memory.ids == [7, "β", -3, 8]
        assert memory.labels == [None, 1.5, [1, {"x": "é"}], "fifth"]
        assert memory.metadata == [{"n": 1}, {}, None, None]
        assert (memory.clock, memory.capacity, memory.half_life) == (8, 4, 4)
        assert (memory.min_margin, memory.max_energy) == (0.125, math.inf)
        assert memory.memory.dtype == np.float32 and np.array_equal(memory.memory, patterns)
        np.testing.assert_allclose(memory.prior, prior, rtol=1e-6)
        plain = uhn.load(path, mmap)
        assert plain.prior is not None and memory.prior is not None
        assert plain.prior.tobytes() == memory.prior.tobytes()
        query = np.array([0.4, 0.5])
        weights = prior * np.exp(-0.5 * ((patterns - query) ** 2).sum(1))
        assert np.allclose(
            memory.retrieve(query), weights @ patterns / weights.sum(), rtol=1e-5
        )
        assert memory.store([0.0, 1.0]) == 9 and memory.ids == ["β", -3, 8, 9]
    told = uhn.io.describe(path)
    assert told["library_version"] == "0.1.0" and list(told["tensors"]) == ["patterns", "prior"]


# ------------------------------------------------------------------------------------ mapped --


def mapping_of(address: int) -> tuple[str, int, str]:
    """Permissions, offset in the file, and path of what lies at an address of this process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        low, high = (int(part, 16) for part in fields[0].split("-"))
        if low <= address < high:
            return fields[1], int(fields[2], 16) + address - low, (*fields, "")[5]
    raise AssertionError("nothing lies there")


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="no /proc/self/maps")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mapped_memory_borrows_the_file(tmp_path: Path, dtype: str) -> None:
    """Its patterns lie where the system mapped the file, read-only; it owns no row."""
    path = tmp_path / "a"
    patterns = RNG.normal(size=(4000, 30)).astype(dtype)
    uhn.Memory(patterns, patterns[:, :7]).save(path)
    memory, read = uhn.load(path), uhn.load(path, mmap=False)
    view = np.asarray(memory)
    permissions, offset, name = mapping_of(view.ctypes.data)
    assert permissions.startswith("r-") and name == str(path)
    assert offset == uhn.io.describe(path)["tensors"]["patterns"]["offset"]
    assert not view.flags.writeable and view.ctypes.data % 64 == 0
    assert np.shares_memory(view, np.asarray(memory.copy()))
    # Values, too: __sizeof__ counts what a memory owns.
    assert memory.__sizeof__() < 4000 < 37 * 4000 * view.itemsize == memory.nbytes
    assert mapping_of(np.asarray(read).ctypes.data)[2] != str(path)


def test_what_is_mapped_lives_on(tmp_path: Path) -> None:
    """After its name is gone, after a new file came in its place, and saved over itself."""
    path = tmp_path / "a"
    patterns = RNG.normal(size=(50, 8))
    uhn.Memory(patterns).save(path)
    old = uhn.load(path)
    old.copy().store(patterns).save(path)
    assert len(uhn.load(path)) == 100 and np.array_equal(np.asarray(old), patterns)
    again = uhn.load(path)
    again.save(path)
    assert np.array_equal(np.asarray(uhn.load(path)), np.asarray(again))
    path.unlink()
    assert np.array_equal(np.asarray(old), patterns)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "a"
    bad = tmp_path / "bad"
    uhn.Memory(np.eye(3)).save(path)
    bad.write_bytes(path.read_bytes()[:-1])
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc/self/fd")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        uhn.load(path)
        uhn.load(path, mmap=False)
        uhn.io.verify(path)
        uhn.Memory(np.eye(3)).save(path)
        with pytest.raises(ValueError):
            uhn.load(bad)
    assert len(os.listdir("/proc/self/fd")) == before


def sparse(path: Path, n_patterns: int, n_features: int, **keywords: Any) -> None:
    """A file of zeros that take no room on the disk; its tensor has no checksum to speak of."""
    n_bytes = n_patterns * n_features * 8
    header: dict[str, Any] = {
        "__metadata__": {
            "format": "uhn",
            "format_version": "1",
            "library_version": "0",
            "keywords": json.dumps({"similarity": "dot", "separation": "softmax", **keywords}),
            "sha256.patterns": "0" * 64,
        },
        "patterns": {
            "dtype": "F64",
            "shape": [n_patterns, n_features],
            "data_offsets": [0, n_bytes],
        },
    }
    sign(header)
    raw = frame(json.dumps(header).encode(), b"")
    path.write_bytes(raw)
    try:
        os.truncate(path, len(raw) + n_bytes)
    except OSError as error:
        pytest.skip(f"this file system has no such sparse file: {error}")


def test_a_store_larger_than_ram_opens_at_once(tmp_path: Path) -> None:
    """Opened, described and asked for a few rows in less than a second: nothing is read."""
    path = tmp_path / "large"
    n = 2 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1000 * 8)
    sparse(path, n, 1000)
    uhn.load(path)
    start = time.perf_counter()
    memory = uhn.load(path)
    rows = memory[n - 2 :]
    part = memory.partial(np.ones(1000), n - 1000, n)
    seconds = time.perf_counter() - start
    assert len(memory) == n and memory.nbytes == n * 8000 and not rows.any()
    assert not part.finish().any() and memory.__sizeof__() < 1 << 20
    assert seconds < 1, f"{seconds:.3f} s"


def test_numbers_of_a_mapped_file_are_looked_at_when_asked(tmp_path: Path) -> None:
    """Each once, in the rows that are asked; and at once where the file is read."""
    n = 3000
    clean = RNG.random((n, 4))
    path = tmp_path / "a"
    for name in ("patterns", "values"):
        for bad, word in ((np.nan, "NaN"), (-np.inf, "infinite")):
            uhn.Memory(clean, clean[:, :2]).save(path)
            told = uhn.io.describe(path)["tensors"][name]
            raw = bytearray(path.read_bytes())
            at = told["offset"] + (told["n_bytes"] // n) * 2000
            raw[at : at + 8] = np.array(bad, "<f8").tobytes()
            path.write_bytes(raw)
            with pytest.raises(ValueError, match=rf"a: {name}\[2000, 0\] is {word}"):
                uhn.load(path, mmap=False)
            with pytest.raises(ValueError, match=f"a: {name} have SHA-256 .* damaged"):
                uhn.io.verify(path)
            memory = uhn.load(path)
            assert np.isfinite(memory.partial(clean[0], 0, 1500).finish()).all()
            for ask in (memory.retrieve, memory.scores, memory.weights, memory.nearest):
                with pytest.raises(ValueError, match=rf"{name}\[2000, 0\] is {word}"):
                    ask(clean[:2])
            with pytest.raises(ValueError, match=rf"{name}\[2000, 0\]"):
                memory.partial(clean[0], 1990, 2010)
            with pytest.raises(ValueError, match=rf"{name}\[2000, 0\]"):
                memory.copy().retrieve(clean[0])


def test_verify_finds_numbers_that_are_none(tmp_path: Path) -> None:
    """Even where their checksum is right."""
    path = tmp_path / "a"
    patterns = np.array([[1, 2], [3, np.inf], [5, 6]], "<f8").tobytes()
    _, data = good_parts()

    def change(header: dict[str, Any]) -> None:
        header["__metadata__"]["sha256.patterns"] = digest(patterns)

    path.write_bytes(build(change, patterns + data[len(patterns) :]))
    with pytest.raises(ValueError, match=r"a: patterns\[1, 1\] is not finite"):
        uhn.io.verify(path)


def test_the_domain_of_a_similarity_is_looked_at_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a"
    data = np.array([[1, 2], [3, -4], [5, 6]], "<f8").tobytes()

    def change(header: dict[str, Any]) -> None:
        header["__metadata__"]["keywords"] = '{"similarity": "kl", "separation": "softmax"}'
        del header["values"], header["prior"]
        header["__metadata__"]["sha256.patterns"] = digest(data)

    path.write_bytes(build(change, data))
    memory = uhn.load(path, verify=True)
    with pytest.raises(ValueError, match=r"patterns\[1, 1\] is -4; similarity 'kl'"):
        memory.retrieve([1.0, 2.0])
    with pytest.raises(ValueError, match=r"a: patterns\[1, 1\] is -4; similarity 'kl'"):
        uhn.load(path, mmap=False)


def test_threads_ask_a_mapped_memory_together(tmp_path: Path) -> None:
    """The first to come look at the rows; all answers have the same bits."""
    path = tmp_path / "a"
    memory = uhn.Memory(RNG.normal(size=(20_000, 16)))
    memory.save(path)
    asked = RNG.normal(size=(3, 16))
    right = memory.retrieve(asked).tobytes()
    for _ in range(5):
        other = uhn.load(path)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(other.retrieve, [asked] * 4))
        assert [answer.tobytes() for answer in answers] == [right] * 4


# ----------------------------------------------------------------------------------- refused --


def set_(*path: str, to: Any) -> Any:
    """A change that puts `to` at a place of the header; `...` takes the place away."""

    def change(header: dict[str, Any]) -> None:
        place = header
        for name in path[:-1]:
            place = place[name]
        if to is ...:
            del place[path[-1]]
        else:
            place[path[-1]] = to

    return change


META = "__metadata__"
BIG = 10**30
HEADERS: list[tuple[Any, str]] = [
    (set_(META, to=...), "__metadata__ is not"),
    (set_(META, to=[]), "__metadata__ is not"),
    (set_(META, "more", to=1), "__metadata__ is not"),
    (set_(META, "format", to=...), "its format is 'None', not 'uhn'"),
    (set_(META, "format", to="pt"), "its format is 'pt', not 'uhn'"),
    (set_(META, "format_version", to="2"), "format version is '2'"),
    (set_(META, "format_version", to="2"), "reads '1' only; a newer one may read it"),
    (set_(META, "keywords", to=...), "keywords is missing"),
    (set_(META, "library_version", to=...), "library_version is missing"),
    (set_(META, "sha256.values", to=...), "sha256.values is missing"),
    (set_(META, "sha256.values", to="0" * 63 + "G"), "no SHA-256"),
    (set_(META, "keywords", to="[]"), "not an object"),
    (set_(META, "keywords", to="{"), "not valid JSON"),
    (set_(META, "keywords", to='{"separation": "max"}'), "'similarity' is missing"),
    (set_(META, "keywords", to="[" * 100_000), "nested too deeply"),
    (set_("weights", to={}), "tensor 'weights' is none of"),
    (set_("patterns", to=...), "without patterns"),
    (set_("patterns", to=[]), "needs dtype, shape and data_offsets"),
    (set_("patterns", "shape", to=...), "needs dtype, shape and data_offsets"),
    (set_("patterns", "more", to=1), "needs dtype, shape and data_offsets"),
    (set_("patterns", "dtype", to="F16"), "dtype 'F16'"),
    (set_("patterns", "dtype", to=["F64"]), "F32 or F64 is needed"),
    (set_("patterns", "dtype", to="F32"), "has 24 bytes, but its data_offsets have 48"),
    (set_("patterns", "shape", to=[3, 3]), "has 72 bytes, but its data_offsets have 48"),
    (set_("patterns", "shape", to=[6]), "no shape of 2 whole numbers"),
    (set_("patterns", "shape", to=[3, 2, 1]), "no shape of 2 whole numbers"),
    (set_("patterns", "shape", to=[-3, -2]), "no shape of 2 whole numbers"),
    (set_("patterns", "shape", to=[3.0, 2]), "no shape of 2 whole numbers"),
    (set_("patterns", "shape", to=[True, 6]), "no shape of 2 whole numbers"),
    (set_("patterns", "shape", to=[BIG, 2]), "no shape of 2 whole numbers"),
    (set_("patterns", "shape", to=[2**62, 2**62]), "bytes, but its data_offsets have 48"),
    (set_("patterns", "shape", to=[2**32, 2**32 + 6]), "bytes, but its data_offsets have 48"),
    (set_("patterns", "shape", to="32"), "no shape of 2 whole numbers"),
    (set_("patterns", "data_offsets", to=[0]), "no data_offsets of two"),
    (set_("patterns", "data_offsets", to=[-48, 0]), "no data_offsets of two"),
    (set_("patterns", "data_offsets", to=[0, BIG]), "no data_offsets of two"),
    (set_("patterns", "data_offsets", to=[48, 0]), "said to lie at bytes 48 to 0"),
    (set_("patterns", "data_offsets", to=[80, 128]), "but there are 96 bytes of data"),
    (set_("patterns", "data_offsets", to=[2**62, 2**62 + 48]), "but there are 96 bytes"),
    (set_("patterns", "data_offsets", to=[24, 72]), "leaves a gap before it"),
    (set_("values", "data_offsets", to=[0, 24]), "overlaps another"),
    (set_("values", to=...), "leaves a gap before it"),
    (set_("prior", to=...), "24 bytes at its end belong to no tensor"),
    (set_("prior", "shape", to=[3, 1]), "no shape of 1 whole numbers"),
    (set_("values", "shape", to=[1, 3]), "values have 1 rows, but patterns have 3"),
]


@pytest.mark.parametrize(("change", "text"), HEADERS, ids=[text for _, text in HEADERS])
def test_false_headers_are_refused(tmp_path: Path, change: Any, text: str) -> None:
    path = tmp_path / "a file"
    path.write_bytes(build())
    uhn.io.verify(path)  # without the change all is well
    path.write_bytes(build(change))
    refuse(path, text)
    with pytest.raises(ValueError, match="a file: "):
        uhn.io.verify(path)
    if "keyword" not in text:
        with pytest.raises(ValueError, match="a file: "):
            uhn.io.describe(path)


def but(*path: str | int, to: Any) -> Any:
    """The good records with `to` at a place; `...` takes the place away."""
    records = good_records()
    set_(*path, to=to)(records)  # type: ignore[arg-type]
    return records


AGES = "ages"
RECORDS: list[tuple[Any, str]] = [
    (b"\xff\xfe{}", "is not UTF-8"),
    (b"", "is not valid JSON"),
    ("[]", "is not an object of JSON"),
    ("[" * 100_000, "nested too deeply"),
    ('{"labels": ' + '{"a":' * 100_000, "nested too deeply"),
    (json.dumps(good_records())[:-1], "is not valid JSON"),
    (json.dumps(good_records()) + "{}", "is not valid JSON"),
    (json.dumps(good_records())[:-1] + ', "clock": 5.0}', "the name 'clock' comes twice"),
    (json.dumps(but("clock", to=math.nan)), "NaN is no number"),
    (json.dumps(but("labels", 0, to=math.inf)), "Infinity is no number"),
    (json.dumps(good_records()).replace("0.125", "1e999"), "larger than any number"),
    (json.dumps(good_records()).replace("0.125", "9" * 5000), ""),
    (json.dumps(but("labels", 0, to="\ud800")), "is not valid JSON"),
    *((but(name, to=...), f"need ids, labels, {''}metadata, ages") for name in good_records()),
    (but("colour", to=1), "and no more"),
    *((but(name, to={}), f"{name} of the records are no list of 3")
      for name in ("ids", "labels", "metadata")),
    *((but(name, to=[None, None]), f"{name} of the records are no list of 3")
      for name in ("ids", "labels", "metadata")),
    *((but("ids", 1, to=bad), "is no int or str") for bad in (None, True, 4.0, [], {"a": 1})),
    (but("ids", 1, to="a"), "not all different"),
    *((but("metadata", 1, to=bad), "no object of JSON") for bad in (0, "x", [], False)),
    (but(AGES, to=[]), "ages of the records need prior, clock, shift"),
    (but(AGES, "clock", to=...), "ages of the records need prior, clock, shift"),
    (but(AGES, "more", to=[]), "ages of the records need prior, clock, shift"),
    *((but(AGES, name, to=[1.0, 1.0]), f"{name} of the ages of the records is no list of 3")
      for name in ("prior", "clock", "shift")),
    *((but(AGES, name, 1, to=bad), f"{name} of the ages of the records is no list of 3")
      for name in ("prior", "clock", "shift") for bad in ("1", None, True, [1.0])),
    *((but(AGES, name, 1, to=-1), f"{name}[1] of the ages of the records is -1")
      for name in ("prior", "clock", "shift")),
    (but(AGES, "prior", 2, to=0), "prior[2] of the ages of the records is 0"),
    (but(AGES, "prior", 2, to=10**400), "too large"),
    (but(AGES, "clock", 2, to=5.5), "clock[2] of the ages of the records is 5.5"),
    (but(AGES, "shift", 0, to=2.5), "shift[0] of the ages of the records is 2.5"),
    (but(AGES, to=None), "what fades has ages"),
    *((but(name, to=bad), f"{name} of the records is")
      for name in ("clock", "shift") for bad in (None, "5", True, [])),
    (but("clock", to=-1), "clock of the records is -1"),
    (but("shift", to=-0.5), "shift of the records is -0.5"),
    (but("clock", to=10**400), "too large"),
    *((but("next_id", to=bad), "next_id of the records is")
      for bad in (4, -1, None, 5.0, True, "5")),
    *((but("capacity", to=bad), "capacity of the records is")
      for bad in (2, 0, -1, 3.0, True, "3")),
    *((but("half_life", to=bad), "half_life of the records is") for bad in (0, -1, "8", True)),
    *((but(name, to=bad), f"{name} of the records is")
      for name in ("min_margin", "max_energy") for bad in ("nan", "1", True, [], {})),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(RECORDS)))
def test_false_records_are_refused(tmp_path: Path, case: int) -> None:
    """Though their checksum is right, by who asks for them; the numbers are for everybody."""
    records, text = RECORDS[case]
    path = tmp_path / "a file"
    path.write_bytes(build_living(records))
    for mmap in (True, False):
        with pytest.raises(ValueError) as caught:
            uhn.LivingMemory.load(path, mmap)
        assert str(caught.value).startswith(f"{path}: ") and text in str(caught.value)
    with pytest.raises(ValueError, match="a file: "):
        uhn.io.verify(path)
    assert len(uhn.load(path)) == 3
    assert uhn.io.describe(path)["records"]["n_bytes"] > 0 or records == b""


def test_good_records_are_taken(tmp_path: Path) -> None:
    """The file of which the false ones differ in one place; where ages are none, too."""
    path = tmp_path / "a"
    path.write_bytes(build_living(good_records()))
    for mmap in (True, False):
        memory = uhn.LivingMemory.load(path, mmap, verify=True)
        assert memory.ids == ["a", 4, "b"] and memory.labels == good_records()["labels"]
        assert memory.metadata == [None, {"n": 1}, {}] and memory.max_energy == -math.inf
        wanted = [2.0 ** -(2 + 5 / 8), 2 * 2.0 ** -(1.5 + 4 / 8), 0.5 * 2.0 ** -(0.5 / 8)]
        np.testing.assert_allclose(memory.prior, wanted, rtol=1e-15)
        assert memory.memory.parameters == {"beta": 2.0}
    still = good_records() | {"ages": None, "clock": 0, "shift": 0, "half_life": None}
    path.write_bytes(build_living(still | {"capacity": None, "next_id": 10**30}))
    memory = uhn.LivingMemory.load(path)
    assert memory.prior is not None and memory.prior.tolist() == [1, 2, 3]
    assert memory.store([1.0, 2.0], [1.0]) == 10**30


HEADERS_OF_RECORDS: list[tuple[Any, str]] = [
    (set_("records", "dtype", to="F32"), "U8 is needed"),
    (set_("patterns", "dtype", to="U8"), "F32 or F64 is needed"),
    (set_("records", "shape", to=[1, 2]), "no shape of 1 whole numbers"),
    (set_("records", "shape", to=[2**62]), "bytes, but its data_offsets have"),
    (set_("records", "data_offsets", to=[96, 2**62]), "bytes of data"),
    (set_("records", "data_offsets", to=[0, 48]), "bytes, but its data_offsets have 48"),
    (set_("records", to=...), "bytes at its end belong to no tensor"),
    (set_("records", to=7), "needs dtype, shape and data_offsets"),
    (set_("patterns", to=...), "without patterns"),
    (set_(META, "sha256.records", to=...), "sha256.records is missing"),
]


@pytest.mark.parametrize(("change", "text"), HEADERS_OF_RECORDS)
def test_false_headers_of_records_are_refused(tmp_path: Path, change: Any, text: str) -> None:
    """By everybody, also by who would not read the records."""
    path = tmp_path / "a"
    path.write_bytes(build_living(good_records(), change))
    refuse(path, text)
    for ask in (uhn.LivingMemory.load, uhn.io.verify, uhn.io.describe):
        with pytest.raises(ValueError, match="a: "):
            ask(path)


def test_records_that_do_not_fit_the_memory(tmp_path: Path) -> None:
    """Ages of a memory that knows no priors, or has none; a plain memory; one without rows."""
    path = tmp_path / "a"

    def living(text: str) -> None:
        with pytest.raises(ValueError) as caught:
            uhn.LivingMemory.load(path)
        assert str(caught.value).startswith(f"{path}: ") and text in str(caught.value)

    topk = '{"similarity": "dot", "separation": "topk"}'
    path.write_bytes(build_living(good_records(), set_(META, "keywords", to=topk)))
    living("takes no prior")

    def without(header: dict[str, Any]) -> None:
        stop = header["records"]["data_offsets"][1]
        del header["prior"], header["values"]
        header["patterns"] |= {"shape": [6, 2], "data_offsets": [0, 96]}
        header["records"]["data_offsets"] = [96, stop]

    six = good_records() | {"ids": [0, 1, 2, 3, 4, "b"], "capacity": None}
    six |= {"labels": [None] * 6, "metadata": [None] * 6}
    six["ages"] = {"prior": [1] * 6, "clock": [0] * 6, "shift": [0] * 6}
    path.write_bytes(build_living(six, without))
    living("the records have ages, but there is no prior")
    path.write_bytes(build())
    living("it has no records")
    header = good_parts()[0]
    for name in PARTS:
        del header[name]
    none = b'{"ids":[],"labels":[],"metadata":[],"ages":null,"clock":0,"shift":0,"next_id":0,'
    none += b'"capacity":null,"half_life":null,"min_margin":null,"max_energy":null}'
    header["records"] = {"dtype": "U8", "shape": [len(none)], "data_offsets": [0, len(none)]}
    header[META]["sha256.records"] = digest(none)
    sign(header)
    path.write_bytes(frame(json.dumps(header).encode(), none))
    assert len(uhn.LivingMemory.load(path, verify=True)) == len(uhn.load(path)) == 0


def test_records_take_memory_for_their_bytes_alone(tmp_path: Path) -> None:
    """What takes the most for its bytes, empty objects; and records said to be huge."""
    path = tmp_path / "a"
    n_bytes = 900_000
    text = json.dumps(good_records() | {"labels": "@"}).replace('"@"', "[" + "{}," * 299_999)
    text += "{}]"
    path.write_bytes(build_living(text))
    tracemalloc.start()
    with pytest.raises(ValueError):
        uhn.LivingMemory.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    uhn.load(path)
    peak_of_load = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_bytes < peak < 40 * n_bytes and peak_of_load < n_bytes / 10, (peak, peak_of_load)


BAD_KEYWORDS: list[tuple[str, Any, str]] = [
    ("beta", "1", "which is no int or float"),
    ("beta", True, "which is no int or float"),
    ("beta", -1, "beta"),
    ("similarity", "sine", "sine"),
    ("similarity", 1, "which is no str"),
    ("separation", "__import__('os')", "__import__"),
    ("k", 2, "k"),
    ("first_row", -1, "first_row"),
    ("first_row", BIG, "first_row"),
    ("first_row", 1.0, "which is no int"),
    ("normalize_scores", 0, "which is no bool"),
    ("copy", True, "keyword 'copy' is not known"),
    ("patterns", [[1.0]], "keyword 'patterns' is not known"),
]


@pytest.mark.parametrize(("name", "value", "text"), BAD_KEYWORDS)
def test_false_keywords_are_refused(tmp_path: Path, name: str, value: Any, text: str) -> None:
    path = tmp_path / "a"
    keywords = {"similarity": "dot", "separation": "softmax", name: value}
    path.write_bytes(build(set_(META, "keywords", to=json.dumps(keywords))))
    refuse(path, text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_numbers_that_are_none_are_refused(tmp_path: Path, number: str) -> None:
    path = tmp_path / "a"
    keywords = f'{{"similarity": "dot", "separation": "softmax", "beta": {number}}}'
    path.write_bytes(build(set_(META, "keywords", to=keywords)))
    refuse(path, "")
    header, data = good_parts()
    sign(header)
    text = json.dumps(header).replace("[3, 2]", f"[{number}, 2]")
    path.write_bytes(frame(text.encode(), data))
    refuse(path, "")


def test_false_bytes_are_refused(tmp_path: Path) -> None:
    """What no header of JSON can say."""
    path = tmp_path / "a"
    good = build()
    text = good[8 : 8 + int.from_bytes(good[:8], "little")]
    data, text = good[8 + len(text) :], text.rstrip()
    twice = text.replace(b'{"__m', b'{"prior": {}, "__m', 1)
    inner = text.replace(b'"shape": [3, 2]', b'"shape": [3, 2], "shape": [3, 2]')
    half = text.replace(b'"0.0.test"', b'"\\ud800"')
    for raw, message in [
        (b"", "it has 0 bytes"),
        (good[:7], "it has 7 bytes"),
        (good[:8], "but the file has 8"),
        (good[:50], "but the file has 50"),
        (b"\xff" * 8 + good[8:], "is said to have 18446744073709551615 bytes"),
        (bytes(8) + good[8:], "does not begin with '{'"),
        (frame(b" " + text, data), "does not begin with '{'"),
        (frame(b"\xef\xbb\xbf" + text, data), "does not begin with '{'"),
        (frame(text.replace(b"0.0.test", b"0.0.t\xff\xfet"), data), "not UTF-8"),
        (frame(text.decode().encode("utf-16-le"), data), "not valid JSON"),
        (frame(text[:-3], data), "not valid JSON"),
        (frame(text.rstrip() + b" {}", data), "not valid JSON"),
        (frame(b"{" * 50, data), "not valid JSON"),
        (frame(b'{"a":' * 100_000, data), "nested too deeply"),
        (frame(b'{"a":' + b"[" * 100_000, data), "nested too deeply"),
        (frame(twice, data), "the name 'prior' comes twice"),
        (frame(inner, data), "the name 'shape' comes twice"),
        (frame(half, data), "not valid JSON"),
        (good + b"\0", "1 bytes at its end belong to no tensor"),
        (good[:-1], "there are 95 bytes of data"),
        (good.replace(b"0.0.test", b"0.0.tesT"), "does not have its SHA-256"),
        (good.replace(b'beta\\": 2', b'beta\\": 3'), "does not have its SHA-256"),
    ]:
        assert raw != good
        path.write_bytes(raw)
        refuse(path, message)


def test_a_long_header_is_not_read(tmp_path: Path) -> None:
    """Neither by its word nor by its bytes: 2 GB of holes are refused without memory."""
    path = tmp_path / "a"
    path.write_bytes((2 * 10**9 - 8).to_bytes(8, "little") + b"{")
    os.truncate(path, 2 * 10**9)
    tracemalloc.start()
    refuse(path, "its header has 1999999992 bytes; at most 1000000 are read")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    path.write_bytes(build(set_(META, "note", to="x" * 900_000)))
    assert len(uhn.load(path)) == 3, "other texts are allowed"
    path.write_bytes(build(set_(META, "note", to="x" * 1_000_000)))
    refuse(path, "at most 1000000 are read")


def test_values_of_no_component_and_huge_empty_shapes(tmp_path: Path) -> None:
    path = tmp_path / "a"

    def empty(shape: list[int]) -> Any:
        def change(header: dict[str, Any]) -> None:
            for name in ("values", "prior"):
                del header[name]
            header["patterns"]["shape"] = shape
            header["patterns"]["data_offsets"] = [0, 0]

        return change

    for shape in ([3, 0], [2**63 - 1, 0]):
        path.write_bytes(build(empty(shape), b""))
        refuse(path, "a row needs a component")
    path.write_bytes(build(empty([0, 2**62]), b""))
    refuse(path, "")
    path.write_bytes(build(empty([0, 5]), b""))
    assert uhn.load(path).n_features == 5


@pytest.mark.parametrize("prior", [0.0, -1.0, np.nan, np.inf])
def test_false_priors_are_refused_at_once(tmp_path: Path, prior: float) -> None:
    """They are copied, so that they are looked at even where the file is mapped."""
    path = tmp_path / "a"
    _, data = good_parts()
    path.write_bytes(build(data=data[:-8] + np.array(prior, "<f8").tobytes()))
    refuse(path, "prior[2] is ")


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    """At once: a named pipe does not hang, and saving there is refused, too."""
    (tmp_path / "file").write_bytes(build())
    os.symlink("file", tmp_path / "link")
    os.symlink("nowhere", tmp_path / "dangling")
    os.mkfifo(tmp_path / "pipe")
    os.mkdir(tmp_path / "folder")
    memory = uhn.Memory(np.eye(2))
    for path, text in [
        (tmp_path / "link", "it is a symbolic link; pass os.path.realpath(path)"),
        (tmp_path / "dangling", "it is a symbolic link"),
        (tmp_path / "pipe", "it is a named pipe"),
        (tmp_path / "folder", "it is a directory"),
        (Path("/dev/null"), "it is a device"),
    ]:
        refuse(path, text)
        with pytest.raises(ValueError, match="regular file"):
            memory.save(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["file", "link", "dangling", "pipe", "folder"]
    )
    with pytest.raises(FileNotFoundError):
        uhn.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        memory.save(tmp_path / "none" / "a")
    with pytest.raises(ValueError):
        uhn.load("a\0b")
    uhn.load(tmp_path / "file", verify=True)


def test_a_pipe_that_takes_a_file_s_place_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the path and its opening; a link that does is not followed."""
    file, pipe, link = (tmp_path / name for name in ("file", "pipe", "link"))
    file.write_bytes(build())
    os.mkfifo(pipe)
    os.symlink("file", link)
    regular = os.lstat(file)
    monkeypatch.setattr(os, "lstat", lambda path: regular)

    def late(number: int, frame: object) -> None:
        raise TimeoutError("it hung")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(5)
    try:
        with pytest.raises(ValueError, match="pipe: it is a named pipe"):
            uhn.load(pipe)
        with pytest.raises(OSError, match="link"):
            uhn.load(link)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_bad_arguments(tmp_path: Path) -> None:
    path = tmp_path / "a"
    uhn.Memory(np.eye(2)).save(str(path))
    assert len(uhn.load(str(path))) == len(uhn.load(os.fsencode(path))) == 2  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"must be a uhn\.Memory, not ndarray"):
        uhn.io.save(np.eye(2), path)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        uhn.Memory(np.eye(2)).save(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="True or False"):
        uhn.load(path, mmap="r")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="True or False"):
        uhn.load(path, verify=1)  # type: ignore[arg-type]
    for keywords in ({"similarity": lambda m, q: q @ m.T}, {"separation": lambda s: s}):
        with pytest.raises(ValueError, match="is a callable cannot be saved"):
            uhn.Memory(np.eye(2), **keywords).save(path)
    assert len(uhn.load(path, verify=True)) == 2 and os.listdir(tmp_path) == ["a"]


# -------------------------------------------------------------------------------------- fuzz --


def flips(good: bytes, n: int, rng: np.random.Generator, where: int) -> Any:
    """Files with one to four bytes below `where` changed, some of them cut or lengthened."""
    for _ in range(n):
        raw = bytearray(good)
        for _ in range(int(rng.integers(1, 5))):
            raw[int(rng.integers(where))] = int(rng.integers(256))
        if rng.random() < 0.1:
            raw = raw[: int(rng.integers(len(raw)))]
        elif rng.random() < 0.1:
            raw += bytes(int(rng.integers(1, 100)))
        yield bytes(raw)


def test_damaged_files_never_crash_hang_or_take_memory(tmp_path: Path) -> None:
    """Three thousand of them: a memory that answers or says no, or a ValueError at once.

    With `verify` no change but to what is ignored passes: what is loaded is what was saved.
    """
    path = tmp_path / "a"
    rng = np.random.default_rng(11)
    patterns = rng.random((10, 3))
    memory = uhn.Memory(patterns, patterns[:, :2], prior=rng.random(10) + 1, beta=2)
    memory.save(path)
    good = path.read_bytes()
    start = uhn.io.describe(path)["tensors"]["patterns"]["offset"]
    refusals: list[str] = []
    complaints: list[str] = []
    n_loaded = n_damaged = 0
    longest = 0.0
    uhn.load(path)
    tracemalloc.start()
    base = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for where, n in ((8, 300), (start, 1500), (len(good), 1200)):
        for raw in flips(good, n, rng, where):
            path.unlink()  # a mapped file is not changed in place
            path.write_bytes(raw)
            began = time.perf_counter()
            try:
                found = uhn.load(path, mmap=bool(rng.integers(2)))
                n_loaded += 1
            except ValueError as error:
                refusals.append(str(error))
                continue
            finally:
                longest = max(longest, time.perf_counter() - began)
            try:
                found.retrieve(patterns[:2])
            except ValueError as error:
                complaints.append(str(error))
            try:
                uhn.io.verify(path)
            except ValueError:
                n_damaged += 1
                continue
            assert found.__reduce__()[1][0].tobytes() == patterns.tobytes()
            assert repr(found) == repr(memory)
            assert found.values.tobytes() == memory.values.tobytes()
    peak = tracemalloc.get_traced_memory()[1] - base
    tracemalloc.stop()
    assert all(text.startswith(f"{path}: ") for text in refusals)
    known = ("is NaN", "is infinite", "not finite", "too large", "too small")
    assert all(any(word in text for word in known) for text in complaints), complaints
    assert len(refusals) > 1500 and n_damaged > 100, (len(refusals), n_loaded, n_damaged)
    assert peak < 1 << 20, f"{peak} bytes for files of {len(good)}"
    assert longest < 1


def test_every_single_damaged_byte_of_the_numbers_is_found_by_verify(tmp_path: Path) -> None:
    """And every one of the header by every load, but for blanks at its end."""
    path = tmp_path / "a"
    uhn.Memory(np.eye(2, dtype=np.float32), np.ones((2, 1)), prior=[1, 2]).save(path)
    good = path.read_bytes()
    start = uhn.io.describe(path)["tensors"]["patterns"]["offset"]
    n_text = len(good[8:start].rstrip())
    for i in range(len(good)):
        raw = bytearray(good)
        raw[i] ^= 1 << (i % 8)
        path.unlink()
        path.write_bytes(raw)
        with pytest.raises(ValueError):
            uhn.load(path, verify=True)
        if i < 8 + n_text:
            with pytest.raises(ValueError):
                uhn.load(path)


def test_damaged_living_memories_never_crash_hang_or_take_memory(tmp_path: Path) -> None:
    """Records changed anywhere and signed again: a memory that is one, or a ValueError."""
    path = tmp_path / "a"
    rng = np.random.default_rng(21)
    text = json.dumps(good_records(), ensure_ascii=False).encode()
    words = [b"null", b"true", b"-1", b"1e308", b"5e-324", b'"inf"', b"[]", b"{}", b"0", b"999"]
    refusals: list[str] = []
    n_loaded, longest = 0, 0.0
    for _ in range(700):
        raw = bytearray(text)
        if rng.random() < 0.5:
            for _ in range(int(rng.integers(1, 4))):
                raw[int(rng.integers(len(raw)))] = int(rng.integers(32, 127))
        else:
            numbers = [m.span() for m in re.finditer(rb"[\d.]+|null", raw)]
            start, stop = numbers[int(rng.integers(len(numbers)))]
            raw[start:stop] = words[int(rng.integers(len(words)))]
        path.unlink(missing_ok=True)
        path.write_bytes(build_living(bytes(raw)))
        began = time.perf_counter()
        try:
            memory = uhn.LivingMemory.load(path, verify=bool(rng.integers(2)))
        except ValueError as error:
            refusals.append(str(error))
            continue
        finally:
            longest = max(longest, time.perf_counter() - began)
        n_loaded += 1
        assert len(memory.ids) == len(memory.labels) == len(memory.metadata) == 3
        assert memory.prior is not None and (memory.prior > 0).all()
        assert np.isfinite(memory.retrieve([0.5, 0.5])).all()
        memory.store([1.0, 1.0], [1.0])
        again = tmp_path / "b"
        memory.save(again)
        assert uhn.LivingMemory.load(again).ids == memory.ids
    assert all(text.startswith(f"{path}: ") for text in refusals)
    assert n_loaded > 100 and len(refusals) > 200, (n_loaded, len(refusals))
    assert longest < 1


def test_every_single_damaged_byte_of_records_is_found(tmp_path: Path) -> None:
    """By whoever reads them, mapped or not; those of the header by every load."""
    path = tmp_path / "a"
    uhn.LivingMemory(np.eye(2), ids=["a", 1], labels=[{}, "b"], half_life=2).save(path)
    good = path.read_bytes()
    told = uhn.io.describe(path)["records"]
    assert told.keys() == {"offset", "n_bytes", "sha256"}
    assert told["offset"] + told["n_bytes"] == len(good)
    assert told["sha256"] == digest(good[told["offset"] :])
    for i in range(told["offset"], len(good)):
        raw = bytearray(good)
        raw[i] ^= 1 << (i % 8)
        path.unlink()
        path.write_bytes(raw)
        for ask in (uhn.LivingMemory.load, uhn.io.verify):
            with pytest.raises(ValueError, match=r"a: records have SHA-256 .* is damaged"):
                ask(path)
        assert len(uhn.load(path)) == 2
    start = uhn.io.describe(path)["tensors"]["patterns"]["offset"]
    for i in range(8, len(good[:start].rstrip()), 3):
        raw = bytearray(good)
        raw[i] ^= 1 << (i % 8)
        path.unlink()
        path.write_bytes(raw)
        with pytest.raises(ValueError):
            uhn.LivingMemory.load(path)


# -------------------------------------------------------------------------------- crash-safe --


def fail_at(
    monkeypatch: pytest.MonkeyPatch, name: str, call: int, error: BaseException
) -> None:
    real, calls = getattr(os, name), [0]

    def function(*arguments: Any, **keywords: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            raise error
        return real(*arguments, **keywords)

    monkeypatch.setattr(os, name, function)


@pytest.mark.parametrize("before", [True, False], ids=["over a file", "new"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
@pytest.mark.parametrize(
    ("name", "call"),
    [("pwrite", 1), ("pwrite", 2), ("pwrite", 3), ("fsync", 1), ("replace", 1), ("fstat", 1)],
)
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    call: int,
    error: BaseException,
    before: bool,
) -> None:
    path = tmp_path / "a"
    memory = uhn.Memory(RNG.normal(size=(700_000, 1)).astype(np.float32), np.ones((700_000, 1)))
    if before:
        uhn.Memory(np.eye(3)).save(path)
    old = path.read_bytes() if before else None
    with monkeypatch.context() as patch:
        fail_at(patch, name, call, error)
        with pytest.raises(type(error)):
            memory.save(path)
    assert (path.read_bytes() if before else None) == old
    assert os.listdir(tmp_path) == (["a"] if before else [])


@pytest.mark.parametrize(
    ("name", "call"),
    [("pwrite", 1), ("pwrite", 2), ("pwrite", 3), ("pwrite", 4), ("fsync", 1), ("replace", 1)],
)
def test_a_failure_leaves_the_old_living_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    """Patterns, priors, records, header: whichever write fails."""
    path = tmp_path / "a"
    memory = uhn.LivingMemory(np.eye(3), half_life=2)
    memory.save(path)
    old = path.read_bytes()
    memory.store([1.0, 1.0, 1.0])
    with monkeypatch.context() as patch:
        fail_at(patch, name, call, OSError(errno.ENOSPC, "full"))
        with pytest.raises(OSError, match="full"):
            memory.save(path)
    assert path.read_bytes() == old and os.listdir(tmp_path) == ["a"]
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda f, data, at: real(f, data[:7], at))
    memory.save(path)
    assert uhn.LivingMemory.load(path, verify=True).ids == [0, 1, 2, 3]


def test_writes_that_take_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write may take less than it was given: the rest follows. Nothing taken is an error."""
    path, real = tmp_path / "a", os.pwrite
    memory = uhn.Memory(RNG.normal(size=(40, 3)))
    monkeypatch.setattr(os, "pwrite", lambda f, data, at: real(f, data[:7], at))
    memory.save(path)
    uhn.io.verify(path)
    old = path.read_bytes()
    monkeypatch.setattr(os, "pwrite", lambda f, data, at: 0)
    with pytest.raises(OSError, match="nothing more"):
        memory.save(path)
    # A disk that says it wrote and did not: the size gives it away.
    monkeypatch.setattr(os, "pwrite", lambda f, data, at: len(data))
    with pytest.raises(OSError, match="bytes arrived in the file instead of"):
        memory.save(path)
    assert path.read_bytes() == old and os.listdir(tmp_path) == ["a"]


def test_a_file_is_synchronised_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers, size, fsync of the file, rename, fsync of the folder: in this order."""
    said: list[str] = []
    for name in ("pwrite", "fsync", "replace"):
        real = getattr(os, name)

        def function(*arguments: Any, _real: Any = real, _name: str = name) -> Any:
            kind = ""
            if _name == "fsync":
                kind = " folder" if os.path.isdir(f"/proc/self/fd/{arguments[0]}") else " file"
            if said[-1:] != [_name + kind]:
                said.append(_name + kind)
            return _real(*arguments)

        monkeypatch.setattr(os, name, function)
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc/self/fd")
    uhn.Memory(np.eye(3)).save(tmp_path / "a")
    assert said == ["pwrite", "fsync file", "replace", "fsync folder"]


def test_a_limit_of_the_system_leaves_the_old_file(tmp_path: Path) -> None:
    """A real failure, not a played one: files may have 1 MB, the memory has 4."""
    path = tmp_path / "a"
    uhn.Memory(np.eye(3)).save(path)
    old = path.read_bytes()
    code = (
        "import resource, sys, numpy as np, uhn\n"
        "memory = uhn.Memory(np.ones((1000, 500)))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))\n"
        "try: memory.save(sys.argv[1])\n"
        "except OSError as error: print('errno', error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(uhn.__file__).parent.parent,
    )
    assert done.stdout.strip() == f"errno {errno.EFBIG}", done.stderr
    assert path.read_bytes() == old and os.listdir(tmp_path) == ["a"]


WRITER = """
import sys, numpy as np, uhn
memories = [uhn.Memory(np.full((n, 300), float(n))) for n in (2000, 3000)]
print("ready", flush=True)
while True:
    for memory in memories:
        memory.save(sys.argv[1])
"""


def test_a_killed_writer_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    """SIGKILL at random moments: the path holds one memory or the other, with its checksums."""
    path = tmp_path / "a"
    rng = np.random.default_rng(3)
    uhn.Memory(np.full((2000, 300), 2000.0)).save(path)
    cut_short = 0
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdout=subprocess.PIPE,
            cwd=Path(uhn.__file__).parent.parent,
        )
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        time.sleep(float(rng.uniform(0.002, 0.15)))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        memory = uhn.load(path, verify=True)
        assert len(memory) in (2000, 3000)
        assert memory[len(memory) - 1].tolist() == [float(len(memory))] * 300
        left = [name for name in os.listdir(tmp_path) if name != "a"]
        assert all(name.startswith(".uhn-") and name.endswith(".tmp") for name in left)
        cut_short += bool(left)
        for name in left:
            os.unlink(tmp_path / name)
    assert cut_short >= 1, "no kill came while a file was written: the test saw nothing"


def test_permissions(tmp_path: Path) -> None:
    """A new file has those of any new file; one that is replaced keeps its own."""
    path = tmp_path / "a"
    old = os.umask(0o027)
    try:
        uhn.Memory(np.eye(2)).save(path)
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o604)
        uhn.Memory(np.eye(2)).save(path)
        assert path.stat().st_mode & 0o777 == 0o604
    finally:
        os.umask(old)


def test_saving_makes_no_second_copy(tmp_path: Path) -> None:
    """Patterns and values of 48 MB are written with less than 12 MB at a time."""
    path = tmp_path / "a"
    patterns = np.ones((60_000, 50))
    memory = uhn.Memory(patterns, patterns)
    tracemalloc.start()
    memory.save(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    uhn.io.verify(path)
    peak_of_verify = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak > 1 << 21, "NumPy's allocations are not seen"
    assert peak < 12e6 and peak_of_verify < 12e6, (peak, peak_of_verify)
    assert memory.nbytes == 48_000_000


def test_saving_while_another_thread_stores(tmp_path: Path) -> None:
    """What is written is the memory of one moment, whole."""
    path = tmp_path / "a"
    memory = uhn.Memory(np.zeros((1, 4)), prior=[1.0])
    stop = threading.Event()

    def grow() -> None:
        while not stop.is_set():
            memory.store(np.full((3, 4), len(memory)), prior=[1, 2, 3])

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        for _ in range(20):
            memory.save(path)
            found = uhn.load(path, verify=True)
            rows, prior = np.asarray(found), found.prior
            assert len(rows) % 3 == 1 and prior is not None
            assert np.array_equal(rows[1::3, 0], np.arange(1, len(rows), 3))
            assert np.array_equal(prior[1:], np.tile([1.0, 2.0, 3.0], len(rows) // 3))
    finally:
        stop.set()
        thread.join()


def test_children_that_open_the_same_file_share_it(tmp_path: Path) -> None:
    """Opening 80 MB in another process adds less than 20 MB to what it holds of its own."""
    path = tmp_path / "a"
    uhn.Memory(np.ones((10_000, 1000))).save(path)
    code = (
        "import re, sys, numpy as np, uhn\n"
        "def own(): return int(re.search(r'RssAnon:\\s+(\\d+)', "
        "open('/proc/self/status').read())[1])\n"
        "before = own()\n"
        "memory = uhn.load(sys.argv[1], mmap=sys.argv[2] == 'True')\n"
        "memory.retrieve(np.ones(1000))\n"
        "print(own() - before)\n"
    )
    if not os.path.exists("/proc/self/status"):
        pytest.skip("no /proc/self/status")
    grown = {}
    for mmap in (True, False):
        done = subprocess.run(
            [sys.executable, "-c", code, str(path), str(mmap)],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(uhn.__file__).parent.parent,
        )
        grown[mmap] = int(done.stdout)
    assert grown[True] < 20_000 and grown[False] > 70_000, grown


# ---------------------------------------------------------------------- the official package --


@pytest.mark.oracle
def test_the_official_package_reads_ours(tmp_path: Path) -> None:
    package = pytest.importorskip("safetensors", reason="safetensors is not installed")
    from safetensors.numpy import load_file

    path = tmp_path / "a"
    for dtype in (np.float32, np.float64):
        patterns, values = RNG.normal(size=(20, 7)).astype(dtype), RNG.normal(size=(20, 3))
        prior = RNG.random(20) + 0.5
        memory = uhn.Memory(patterns, values, prior=prior, beta=0.3)
        memory.save(path)
        found = load_file(path)
        assert found["patterns"].dtype == dtype and set(found) == {
            "patterns",
            "values",
            "prior",
        }
        assert found["patterns"].tobytes() == patterns.tobytes()
        assert found["values"].tobytes() == values.astype(dtype).tobytes()
        assert found["prior"].tobytes() == prior.astype(dtype).tobytes()
        with package.safe_open(path, "np") as file:
            assert file.metadata()["format"] == "uhn"
            assert json.loads(file.metadata()["keywords"])["beta"] == 0.3
    uhn.Memory().save(path)
    assert load_file(path) == {}


@pytest.mark.oracle
def test_we_read_what_the_official_package_writes(tmp_path: Path) -> None:
    """The tensors of a memory and the texts of its header, in the package's own order."""
    package = pytest.importorskip("safetensors", reason="safetensors is not installed")
    from safetensors.numpy import load_file, save_file

    path, other = tmp_path / "a", tmp_path / "b"
    for dtype in (np.float32, np.float64):
        patterns = RNG.normal(size=(20, 7)).astype(dtype)
        memory = uhn.Memory(patterns, patterns[:, :3], prior=RNG.random(20) + 1, beta=0.3)
        memory.save(path)
        with package.safe_open(path, "np") as file:
            save_file(load_file(path), other, file.metadata())
        for mmap in (True, False):
            found = uhn.load(other, mmap, verify=True)
            assert found.retrieve(patterns).tobytes() == memory.retrieve(patterns).tobytes()
        save_file({"patterns": patterns}, other)
        refuse(other, "no memory was saved here")


@pytest.mark.oracle
def test_the_official_package_and_records(tmp_path: Path) -> None:
    """It reads them as bytes, whose text any reader of JSON reads, and writes what we read."""
    package = pytest.importorskip("safetensors", reason="safetensors is not installed")
    from safetensors.numpy import load_file, save_file

    path, other = tmp_path / "a", tmp_path / "b"
    memory = uhn.LivingMemory(
        RNG.normal(size=(5, 3)).astype(np.float32), labels=list("abcdé"), half_life=3
    )
    memory.store([1.0, 2.0, 3.0], ids="last")
    memory.save(path)
    found = load_file(path)
    assert set(found) == {"patterns", "prior", "records"}
    assert found["records"].dtype == np.uint8
    said = json.loads(found["records"].tobytes().decode("utf-8"))
    assert said["ids"] == [0, 1, 2, 3, 4, "last"] and said["labels"] == [*"abcdé", None]
    assert said["ages"]["clock"] == [1, 2, 3, 4, 5, 6] and said["half_life"] == 3
    with package.safe_open(path, "np") as file:
        save_file(found, other, file.metadata())
    for mmap in (True, False):
        again = uhn.LivingMemory.load(other, mmap, verify=True)
        assert again.ids == memory.ids and again.labels == memory.labels
        assert again.retrieve(np.eye(3)).tobytes() == memory.retrieve(np.eye(3)).tobytes()


def test_records_may_lie_anywhere(tmp_path: Path) -> None:
    """Before the numbers, too; there numbers may be off their place, which mapping says."""
    path = tmp_path / "a"
    text = json.dumps(good_records())
    for pad in range(8):
        path.write_bytes(build_living(text + " " * pad, order=("records", *PARTS)))
        memory = uhn.LivingMemory.load(path, mmap=False, verify=True)
        assert memory.ids == ["a", 4, "b"] and memory.memory[2].tolist() == [5, 6]
        if (len(text) + pad) % 8 == 0:
            assert uhn.LivingMemory.load(path).ids == ["a", 4, "b"]
            assert uhn.io.describe(path)["dtype"] == "float64"
        else:
            with pytest.raises(ValueError, match=r"a: .* not aligned: load it with"):
                uhn.LivingMemory.load(path)


@pytest.mark.oracle
def test_what_the_official_package_refuses_we_refuse(tmp_path: Path) -> None:
    """The same verdict on damaged files, where ours may be the stricter."""
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    from safetensors import SafetensorError, deserialize

    path = tmp_path / "a"
    memory = uhn.Memory(np.eye(3), np.ones((3, 1)))
    memory.save(path)
    good = path.read_bytes()
    start = uhn.io.describe(path)["tensors"]["patterns"]["offset"]
    raws = list(flips(good, 1500, np.random.default_rng(12), start))
    # Its texts changed so that our checksums are right, these are judged by structure alone.
    raws += [build(change) for change, _ in HEADERS]
    verdicts = {(True, True): 0, (True, False): 0, (False, False): 0}
    for raw in raws:
        path.unlink()
        path.write_bytes(raw)
        try:
            deserialize(raw)
            theirs = True
        except (SafetensorError, ValueError):
            theirs = False
        try:
            uhn.load(path)
            ours = True
        except ValueError:
            ours = False
        assert theirs or not ours, raw
        verdicts[theirs, ours] += 1
    assert verdicts[False, False] > 200 and verdicts[True, False] > 10, verdicts


def test_gaps_are_verified_where_they_are_meant(tmp_path: Path) -> None:
    """NaN is a number of a memory with gaps; infinity of none, and NaN of no other."""
    rows = np.array([[1.0, np.nan], [2.0, 3.0]])
    path = tmp_path / "gaps.uhn.safetensors"
    memory = uhn.Memory(rows, nan="missing", similarity="euclidean", separation="max")
    memory.save(path)
    uhn.io.verify(path)
    query = [np.nan, 2.5]
    for mapped in (True, False):
        again = uhn.load(path, mapped, verify=True)
        assert again.nan == "missing"
        assert again.retrieve(query).tobytes() == memory.retrieve(query).tobytes()
    raw = path.read_bytes()
    at = raw.index(np.float64(3).tobytes())
    path.write_bytes(raw[:at] + np.float64(np.inf).tobytes() + raw[at + 8 :])
    with pytest.raises(ValueError, match="is damaged"):
        uhn.io.verify(path)
