"""``info FILE``, ``verify`` and ``convert``: what they say, refuse, and leave behind."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import uhn
import uhn.io
from uhn.__main__ import main
from uhn.convert import FileError, convert

RNG = np.random.default_rng(11)
ROWS = RNG.normal(size=(300, 7))
VALUES = RNG.normal(size=(300, 2))
PRIOR = RNG.uniform(0.5, 2.0, 300)
OUT = "memory.uhn.safetensors"
#: Of children, which run elsewhere; each thread would count as 8 MB of data for its stack.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(uhn.__file__).parent.parent),
    "OPENBLAS_NUM_THREADS": "1",
    "UHN_NUM_THREADS": "1",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # Other tests run notebooks, in which a bar is wanted unasked.
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command."""
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    said = capsys.readouterr()
    return status, said.out, said.err


def rows_of(path: str) -> np.ndarray:
    return np.asarray(uhn.load(path))


def safetensors(path: str, **tensors: tuple[str, np.ndarray]) -> None:
    """A file of another program: no uhn in it."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, (dtype, array) in tensors.items():
        raw = array.tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    Path(path).write_bytes(len(text).to_bytes(8, "little") + text + data)


# ------------------------------------------------------------------------------ info, verify --


def test_info_says_what_is_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    memory = uhn.Memory(ROWS, VALUES, prior=PRIOR, similarity="manhattan", beta=2.5)
    memory.save(OUT)
    status, out, err = run(capsys, "info", OUT)
    assert (status, err) == (0, "")
    for text in (OUT, "300 x 7 float64", "300 x 2", "beta=2.5", "'manhattan'", "16.8 KB"):
        assert text in out, text
    status, out, _ = run(capsys, "info", OUT, "--json")
    said = json.loads(out)
    assert status == 0 and said["keywords"]["beta"] == 2.5
    assert said["tensors"]["values"]["shape"] == [300, 2]
    uhn.Memory().save(OUT)
    assert "an empty memory" in run(capsys, "info", OUT)[1]
    status, out, _ = run(capsys, "info", "--json")
    assert status == 0 and "similarities" in json.loads(out)


def hole(path: str, n_bytes: int) -> None:
    """A memory so large, nearly all of it a hole in the file."""
    uhn.Memory(ROWS[:1]).save(path)
    raw = Path(path).read_bytes()
    length = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:length])
    n = n_bytes // 56
    header["patterns"] |= {"shape": [n, 7], "data_offsets": [0, n * 56]}
    meta = header["__metadata__"]
    meta["sha256.header"] = uhn.io.fingerprint(
        meta["library_version"],
        meta["keywords"],
        {"patterns": ("F64", [n, 7], meta["sha256.patterns"])},
    )
    text = json.dumps(header).encode().ljust(length)
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        try:
            file.truncate(8 + len(text) + n * 56)
        except OSError as error:
            pytest.skip(f"this file system has no such sparse file: {error}")


def test_info_of_a_huge_file_is_instant(capsys: pytest.CaptureFixture[str]) -> None:
    """A file of 1 TB."""
    hole(OUT, 2**40)
    started = time.perf_counter()
    status, out, _ = run(capsys, "info", OUT)
    assert status == 0 and "1.1 TB" in out
    assert time.perf_counter() - started < 0.5


def test_verify_finds_damage(capsys: pytest.CaptureFixture[str]) -> None:
    uhn.Memory(ROWS).save("good.uhn.safetensors")
    raw = bytearray(Path("good.uhn.safetensors").read_bytes())
    raw[-3] ^= 1
    Path("bad.uhn.safetensors").write_bytes(raw)
    Path("short.uhn.safetensors").write_bytes(raw[:-1])
    assert run(capsys, "verify", "good.uhn.safetensors") == (
        0,
        "good.uhn.safetensors: good\n",
        "",
    )
    for name, text in (("bad", "SHA-256"), ("short", "bytes")):
        status, out, _ = run(capsys, "verify", f"{name}.uhn.safetensors")
        assert status == 1 and text in out
    # What cannot be opened is no damage; damage weighs more.
    assert run(capsys, "verify", "good.uhn.safetensors", "nothing")[0] == 2
    names = ["nothing", "bad.uhn.safetensors", "good.uhn.safetensors"]
    status, out, _ = run(capsys, "verify", "--json", *names)
    rows = json.loads(out)
    assert status == 1 and [row["path"] for row in rows] == names
    assert [row["good"] for row in rows] == [False, False, True]
    assert "No such file" in rows[0]["problem"] and rows[2]["problem"] is None
    # A header is all that info reads.
    assert run(capsys, "info", "bad.uhn.safetensors")[0] == 0
    status, out, err = run(capsys, "info", "short.uhn.safetensors")
    assert status == 1 and out == "" and "short.uhn.safetensors: " in err
    assert run(capsys, "info", "nothing")[0] == 2
    assert run(capsys, "verify")[0] == 2


def test_verify_shows_progress(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm", reason="the bar is tqdm's")
    uhn.Memory(ROWS).save(OUT)
    assert "100%" in run(capsys, "verify", "--progress", OUT)[2]
    assert run(capsys, "verify", OUT)[2] == ""
    done: list[float] = []
    uhn.io.verify(OUT, on_progress=done.append)
    uhn.io.save(uhn.load(OUT), OUT, on_progress=done.append)
    assert done == [1.0, 1.0]


# ---------------------------------------------------------------------------------- convert --


LAYOUTS = {
    "float64": ROWS,
    "float32": ROWS.astype("<f4"),
    "big-endian": ROWS.astype(">f8"),
    "Fortran": np.asfortranarray(ROWS),
    "Fortran, float32": np.asfortranarray(ROWS.astype("f4")),
    "half": ROWS.astype("f2"),
    "int": (ROWS * 10).astype("i4"),
    "byte": (ROWS * 10).astype("i1"),
    "bool": ROWS > 0,
    "one row": ROWS[:1],
    "one column": ROWS[:, :1],
    "no rows": ROWS[:0],
}


@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_of_any_layout(layout: str, dtype: str | None) -> None:
    """.npy and both kinds of .npz make the memory that the array in RAM would make."""
    array = LAYOUTS[layout]
    np.save("rows.npy", array)
    np.savez("rows.npz", array)
    np.savez_compressed("small.npz", other=PRIOR, rows=array)
    same = array.dtype == np.float32
    expected = array.astype(dtype or ("float32" if same else "float64"))
    for name, array_name in (("rows.npy", None), ("rows.npz", None), ("small.npz", "rows")):
        convert(name, OUT, array=array_name, dtype=dtype, similarity="euclidean", beta=3)
        memory = uhn.load(OUT, verify=True)
        assert memory.n_patterns == len(array) and memory.similarity == "euclidean"
        if len(array):
            assert np.array_equal(memory, expected) and memory.dtype == expected.dtype
            query = np.ones(array.shape[1], expected.dtype)
            direct = uhn.Memory(expected, similarity="euclidean", beta=3)
            assert np.array_equal(memory.retrieve(query), direct.retrieve(query))
    assert sorted(os.listdir()) == [OUT, "rows.npy", "rows.npz", "small.npz"]


def test_values_and_priors_come_along() -> None:
    np.savez("all.npz", patterns=ROWS, values=VALUES, prior=PRIOR)
    np.savez("named.npz", a=ROWS, b=VALUES, c=PRIOR)
    for name, array in (("rows", ROWS), ("values", VALUES), ("prior", PRIOR)):
        np.save(f"{name}.npy", array)
        np.savetxt(f"{name}.csv", array, fmt="%.17g", delimiter=",")
    direct = uhn.Memory(ROWS, VALUES, prior=PRIOR).retrieve(ROWS[:5])
    convert("all.npz", "1.uhn.safetensors")
    convert("named.npz", "2.uhn.safetensors", array="a", values="b", prior="c")
    convert("rows.npy", "3.uhn.safetensors", values="values.npy", prior="prior.npy")
    convert("rows.csv", "4.uhn.safetensors", values="values.csv", prior="prior.csv")
    for i in range(1, 5):
        assert np.array_equal(uhn.load(f"{i}.uhn.safetensors").retrieve(ROWS[:5]), direct)
    convert("all.npz", OUT, array="patterns", values="values")
    assert uhn.load(OUT).prior is None


def test_tensors_of_other_programs() -> None:
    """Any dtype, at any offset: what is not aligned is copied."""
    single = ROWS.astype("f4")
    brain = (single.view("u4") >> 16).astype("<u2")
    odd = np.zeros(3, "i1")
    safetensors(
        "model.safetensors",
        pad=("I8", odd),
        single=("F32", single),
        double=("F64", ROWS),
        half=("F16", ROWS.astype("f2")),
        brain=("BF16", brain),
        whole=("I64", (ROWS * 9).astype("i8")),
        complex=("C64", single[:2]),
    )
    expected = {
        "single": single,
        "double": ROWS,
        "half": ROWS.astype("f2").astype("f8"),
        "brain": (brain.astype("u4") << 16).view("f4").astype("f8"),
        "whole": (ROWS * 9).astype("i8").astype("f8"),
    }
    for name, rows in expected.items():
        convert("model.safetensors", OUT, array=name)
        assert np.array_equal(rows_of(OUT), rows) and rows_of(OUT).dtype == rows.dtype
        convert("model.safetensors", OUT, array=name, dtype="float32")
        assert np.array_equal(rows_of(OUT), rows.astype("f4"))
    with pytest.raises(ValueError, match="name the array of patterns"):
        convert("model.safetensors", OUT)
    with pytest.raises(ValueError, match="no array 'x'"):
        convert("model.safetensors", OUT, array="x")
    with pytest.raises(FileError, match="C64"):
        convert("model.safetensors", OUT, array="complex")
    with pytest.raises(FileError, match=r"patterns have shape \(3,\); 2-D is needed"):
        convert("model.safetensors", OUT, array="pad")


@pytest.mark.parametrize("mark", [",", ";", "\t", " ", ", "])
def test_text(mark: str) -> None:
    """Separators, blank lines, a byte order mark, line ends of Windows, headers to skip."""
    text = "\n".join(mark.join(map(repr, row)) for row in ROWS.tolist())
    Path("plain.csv").write_text(text, encoding="utf-8")
    odd = "a,b\r\n" + text.replace("\n", "\r\n\r\n") + "\r\n"
    Path("odd.csv").write_bytes(b"\xef\xbb\xbf" + odd.encode())
    for name, skip in (("plain.csv", 0), ("odd.csv", 1)):
        said = convert(name, OUT, skip=skip)
        assert np.array_equal(rows_of(OUT), ROWS) and said["dtype"] == "float64"
        convert(name, OUT, skip=skip, dtype="float32")
        assert np.array_equal(rows_of(OUT), ROWS.astype("f4"))


def test_text_in_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uhn.convert, "_TEXT", 500)
    np.savetxt("rows.csv", ROWS, fmt="%.17g", delimiter=",")
    convert("rows.csv", OUT)
    assert np.array_equal(rows_of(OUT), ROWS)
    lines = Path("rows.csv").read_text(encoding="utf-8").splitlines()
    for line, word in (("1,2", "line 291 has 2 numbers, not 7"), ("1,2,x", "line 291 has 'x'")):
        Path("rows.csv").write_text("\n".join([*lines[:290], line, *lines[290:]]))
        with pytest.raises(FileError, match=word):
            convert("rows.csv", OUT)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_there_and_back(dtype: str) -> None:
    """What a memory becomes, and becomes again, has the same bits; text included."""
    memory = uhn.Memory(
        ROWS.astype(dtype), VALUES.astype(dtype), prior=PRIOR.astype(dtype), beta=0.1
    )
    memory.save(OUT)
    assert convert(OUT, "all.npz")["arrays"] == {
        "patterns": (300, 7),
        "values": (300, 2),
        "prior": (300,),
    }
    with np.load("all.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["patterns"], ROWS.astype(dtype))
        assert np.array_equal(arrays["values"], VALUES.astype(dtype))
        assert np.array_equal(arrays["prior"], PRIOR.astype(dtype))
    for end in (".npy", ".csv"):
        convert(OUT, "rows" + end)
        for part in ("values", "prior"):
            convert(OUT, part + end, array=part)
        both: dict[str, Any] = {"values": "values" + end, "prior": "prior" + end}
        convert("rows" + end, "again.uhn.safetensors", dtype=dtype, beta=0.1, **both)
        again = Path("again.uhn.safetensors").read_bytes()
        assert again == Path(OUT).read_bytes()
    assert np.load("rows.npy").dtype == dtype
    convert("all.npz", "again.uhn.safetensors", beta=0.1)
    assert Path("again.uhn.safetensors").read_bytes() == Path(OUT).read_bytes()


def test_from_memory_to_memory() -> None:
    """Keywords are kept unless others are given; the file may be its own source."""
    uhn.Memory(ROWS, VALUES, prior=PRIOR, similarity="cosine", beta=2.0, first_row=5).save(OUT)
    convert(OUT, OUT, dtype="float32", beta=3.0)
    memory = uhn.load(OUT, verify=True)
    assert (memory.dtype, memory.similarity, memory.first_row) == (np.float32, "cosine", 5)
    assert memory.parameters["beta"] == 3.0
    assert np.array_equal(memory, ROWS.astype("f4"))


def living(**keywords: Any) -> uhn.LivingMemory:
    memory = uhn.LivingMemory(
        ROWS, ids=[f"row {i}" for i in range(300)], labels=list(range(300)), capacity=400,
        **keywords,
    )  # fmt: skip
    memory.remove(["row 7"])
    memory.store(ROWS[:2], metadata=[{"a": 1}, None])
    return memory


def test_living_memories_to_memories_and_arrays(capsys: pytest.CaptureFixture[str]) -> None:
    """Names, ages and settings come along from memory to memory; arrays are numbers alone."""
    memory = living(half_life=50)
    memory.decay(0.5)
    memory.save(OUT)
    original = Path(OUT).read_bytes()
    for end in (".npy", ".npz", ".csv"):
        convert(OUT, "rows" + end)
    with np.load("rows.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["patterns", "prior"]
        assert np.array_equal(arrays["prior"], memory.prior)
    assert np.array_equal(np.load("rows.npy"), memory.memory[:])
    convert(OUT, "same.uhn.safetensors")
    assert Path("same.uhn.safetensors").read_bytes() == original
    said = convert(OUT, "small.uhn.safetensors", dtype="float32", beta=2.0)
    assert said["dtype"] == "float32" and said["records"] is not None
    small = uhn.LivingMemory.load("small.uhn.safetensors", verify=True)
    assert small.ids == memory.ids and small.labels == memory.labels
    assert small.metadata == memory.metadata and small.memory.parameters == {"beta": 2.0}
    assert (small.clock, small.capacity, small.half_life) == (302, 400, 50)
    assert memory.prior is not None
    np.testing.assert_allclose(small.prior, memory.prior, rtol=1e-6)
    for m in (small, memory):
        assert m.store(ROWS[0]) == 2
    np.testing.assert_allclose(small.prior, memory.prior, rtol=1e-6)
    convert("rows.npz", "plain.uhn.safetensors")
    with pytest.raises(ValueError, match="it has no records"):
        uhn.LivingMemory.load("plain.uhn.safetensors")
    status, out, _ = run(capsys, "convert", OUT, "same.uhn.safetensors", "--dtype", "float32")
    assert status == 0 and "records   of a living memory" in out
    assert Path(OUT).read_bytes() == original
    living(half_life=50, separation="identity").save(OUT)
    with pytest.raises(FileError, match="takes no prior"):
        convert(OUT, "other.uhn.safetensors", separation="max")
    assert not Path("other.uhn.safetensors").exists()


def test_what_faded_in_float64_is_not_nothing_in_float32() -> None:
    """Priors below every float32 end at its smallest normal number, as they do in a memory."""
    living(half_life=1).save(OUT)
    convert(OUT, "small.uhn.safetensors", dtype="float32")
    small = uhn.LivingMemory.load("small.uhn.safetensors", verify=True)
    plain = uhn.load("small.uhn.safetensors")
    assert plain.prior is not None and small.prior is not None
    assert plain.prior.min() == small.prior.min() == np.finfo(np.float32).tiny
    assert np.array_equal(plain.prior, small.prior)


def test_an_empty_memory_is_not_converted() -> None:
    for memory in (uhn.Memory(), uhn.LivingMemory()):
        memory.save(OUT)
        with pytest.raises(FileError, match="the memory is empty"):
            convert(OUT, "other.uhn.safetensors")


def test_info_and_verify_of_a_living_memory(capsys: pytest.CaptureFixture[str]) -> None:
    living().save(OUT)
    status, out, err = run(capsys, "info", OUT)
    told = uhn.io.describe(OUT)["records"]
    assert (status, err) == (0, "") and "301 x 7 float64" in out
    size, at = f"{told['n_bytes'] / 1000:.1f} KB", told["offset"]
    line = f"records   of a living memory, {size} at byte {at}, SHA-256 {told['sha256']}\n"
    assert line in out
    status, out, _ = run(capsys, "info", OUT, "--json")
    assert json.loads(out)["records"] == told and list(json.loads(out)["tensors"]) == [
        "patterns"
    ]
    assert run(capsys, "verify", OUT)[0] == 0
    raw = bytearray(Path(OUT).read_bytes())
    raw[told["offset"] + 5] ^= 1
    Path(OUT).write_bytes(raw)
    status, out, _ = run(capsys, "verify", OUT)
    assert status == 1 and f"{OUT}: records have SHA-256" in out
    uhn.LivingMemory(half_life=2).save(OUT)
    out = run(capsys, "info", OUT)[1]
    assert "an empty memory" in out and "records   of a living memory" in out
    uhn.Memory(ROWS).save(OUT)
    assert "records" not in run(capsys, "info", OUT)[1]


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    np.save("rows.npy", ROWS)
    status, out, err = run(
        capsys, "convert", "rows.npy", OUT, "--similarity", "manhattan", "--beta", "2",
        "--first-row", "7", "--normalize-scores", "--transform", "rbf", "--gamma", "0.5",
    )  # fmt: skip
    assert (status, err) == (0, "") and "300 x 7 float64" in out and OUT in out
    memory = uhn.load(OUT)
    assert memory.first_row == 7 and memory.normalize_scores and memory.transform == "rbf"
    status, out, _ = run(capsys, "convert", OUT, "o.npy", "--dtype", "float32", "--json")
    said = json.loads(out)
    assert (
        status == 0 and said["arrays"] == {"patterns": [300, 7]} and said["dtype"] == "float32"
    )
    assert np.array_equal(np.load("o.npy"), ROWS.astype("f4"))
    status, out, _ = run(capsys, "convert", OUT, "o.csv")
    assert status == 0 and "float64, patterns 300 x 7" in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["rows.npy", "o.txt"], "should be"),
        (["rows.npy", "o.npy"], "is a memory"),
        (["rows.npy", OUT, "--similarity", "dott"], "dott"),
        (["rows.npy", OUT, "--separation", "max", "--beta", "2"], "beta"),
        (["rows.npy", OUT, "--k", "x"], "invalid int"),
        (["rows.npy", OUT, "--array", "x"], "one array"),
        (["rows.npy", OUT, "--values", "x.csv"], "should be a .npy"),
        (["rows.npy", OUT, "--skip", "1"], "skip"),
        (["rows.npy", OUT, "--dtype", "float16"], "float16"),
        (["nothing.npy", OUT], "No such file"),
        (["rows.npy", "folder.safetensors"], "directory"),
        (["rows.npy", "nowhere/o.safetensors"], "No such file"),
        (["good.uhn.safetensors", "o.npy", "--beta", "2"], "no meaning"),
        (["good.uhn.safetensors", "o.npy", "--array", "values"], "no array 'values'"),
        (["good.uhn.safetensors", "o.npz", "--array", "patterns"], "all arrays"),
        (["good.uhn.safetensors", OUT, "--array", "patterns"], "no meaning"),
        (["rows.npz", OUT, "--array", "x"], "no array 'x'"),
        (["rows.npz", OUT], "name the array of patterns; there are: 'a', 'b'"),
        ([], "required"),
    ],
)
def test_bad_arguments(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, a sentence, and no file."""
    np.save("rows.npy", ROWS)
    np.savez("rows.npz", a=ROWS, b=ROWS)
    os.mkdir("folder.safetensors")
    uhn.Memory(ROWS).save("good.uhn.safetensors")
    before = sorted(os.listdir())
    status, out, err = run(capsys, "convert", *arguments)
    assert (status, out) == (2, "") and text in err and "Traceback" not in err
    assert sorted(os.listdir()) == before


class Trap:
    """What a pickle could do."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("sprung",))


def member(header: bytes, data: bytes = b"", **options: Any) -> bytes:
    """A .npz whose only member has this header."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", **options) as archive:
        archive.writestr("a.npy", npy(header) + data)
    return raw.getvalue()


def npy(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def head(shape: str, descr: str = "'<f8'") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()


def trap(name: str, array: np.ndarray) -> bytes:
    raw = io.BytesIO()
    if name.endswith("z"):
        np.savez(raw, a=array)
    else:
        np.save(raw, array, allow_pickle=True)
    return raw.getvalue()


GOOD = trap(".npz", ROWS)
TRAP = np.array([[Trap()]], object)
HOSTILE: list[tuple[str, bytes, str]] = [
    ("a.npy", b"", "no .npy"),
    ("a.npy", pickle.dumps(Trap()), "no .npy"),
    ("a.npy", trap(".npy", TRAP), "Python objects"),
    ("a.npz", trap(".npz", TRAP), "Python objects"),
    ("a.npy", GOOD, "no .npy"),
    ("a.npy", trap(".npy", ROWS)[:-1], "promised"),
    ("a.npy", trap(".npy", ROWS) + b"x", "promised"),
    ("a.npy", trap(".npy", ROWS * 1j), "real numbers"),
    ("a.npy", trap(".npy", np.array([["a"]])), "real numbers"),
    ("a.npy", trap(".npy", np.zeros((2, 2), "f4,f4")), "real numbers"),
    ("a.npy", trap(".npy", ROWS.astype("M8[s]")), "real numbers"),
    ("a.npy", trap(".npy", ROWS[0]), "2-D is needed"),
    ("a.npy", trap(".npy", ROWS[None]), "2-D is needed"),
    ("a.npy", trap(".npy", np.array([[1.0, np.nan]])), "NaN"),
    ("a.npy", trap(".npy", np.array([[np.inf, 1.0]])), "infinite"),
    ("a.npy", trap(".npy", np.zeros((3, 0))), ""),
    ("a.npy", npy(head("(9223372036854775807, 9223372036854775807)")), "shape"),
    ("a.npy", npy(head("(4611686018427387904, 4611686018427387904)")), "promised"),
    ("a.npy", npy(head("(-1, 2)")), "shape"),
    ("a.npy", npy(head("(True, 2)")), "shape"),
    ("a.npy", npy(head("(1" + "0" * 3000 + ", 2)")), ""),
    ("a.npy", npy(head("(1, 2)", "'<f8\\'")), "no .npy"),
    ("a.npy", npy(b"(" * 5000), "no .npy"),
    ("a.npy", npy(b"__import__('os').mkdir('sprung')"), "no .npy"),
    ("a.npy", npy(head("(1, 1)") * 500), "no .npy"),
    ("a.npz", b"PK\x03\x04", "no .npz"),
    ("a.npz", GOOD[: len(GOOD) // 2], "no .npz"),
    ("a.npz", GOOD.replace(ROWS[5].tobytes(), ROWS[6].tobytes()), "CRC"),
    ("a.npz", member(head("(1000000, 1000)"), b"x"), "short"),
    ("a.npz", member(head("(1, 1)"), b"x" * 9), "longer"),
    ("a.npz", member(head("(1000000000, 1000000000)"), b"x"), "are free"),
    ("a.npz", member(head("(1, 1)"), b"x" * 8, compression=zipfile.ZIP_BZIP2)[:-1], "no .npz"),
    ("a.csv", b"", "no numbers"),
    ("a.csv", b"\n\n  \n", "no numbers"),
    ("a.csv", b"a,b\n1,2\n", "line 1 has 'a', which is no number; skip"),
    ("a.csv", b"1,2\n1_0,2\n", "line 2 has '1_0'"),
    ("a.csv", b"1,2\n3,\n", "line 2 has ''"),
    ("a.csv", b"1,2\n3,4,5\n", "line 2 has 3 numbers, not 2"),
    ("a.csv", b"1,2\n3,nan\n", "patterns[1, 1] is NaN"),
    ("a.csv", b"1,2\n\xff,4\n", "line 2 is no text"),
    ("a.csv", b"\x00\x01\x02" * 100, "no number"),
    ("a.csv", b"# 1,2\n", "no number"),
    ("a.csv", b'"1","2"\n', "no number"),
    ("a.safetensors", b"", "too short"),
    ("a.safetensors", b"\xff" * 64, "too short"),
    ("a.safetensors", (10**6 + 1).to_bytes(8, "little") + b" " * (10**6 + 1), "at most"),
    ("a.safetensors", (2).to_bytes(8, "little") + b"[]", "JSON"),
    ("a.safetensors", (6).to_bytes(8, "little") + b'{"a":1', "JSON"),
    ("a.safetensors", (7).to_bytes(8, "little") + b'{"a":1}', "not described"),
]


@pytest.mark.parametrize(("name", "data", "text"), HOSTILE)
def test_hostile_files_are_refused(
    name: str, data: bytes, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1, a sentence with the file's name; nothing is run, nothing is left."""
    Path(name).write_bytes(data)
    status, out, err = run(capsys, "convert", name, OUT)
    assert (status, out) == (1, "") and text in err and "Traceback" not in err
    assert len(err) < 500
    assert os.listdir() == [name]


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F64", "shape": [1, 1], "data_offsets": [0, 16]},
        {"dtype": "F64", "shape": [1, 3], "data_offsets": [0, 24]},
        {"dtype": "F64", "shape": [2**62, 2**62], "data_offsets": [0, 16]},
        {"dtype": "F64", "shape": [-1, -2], "data_offsets": [0, 16]},
        {"dtype": "F64", "shape": [1, 2], "data_offsets": [16, 0]},
        {"dtype": "F64", "shape": [1, 2], "data_offsets": [-16, 0]},
        {"dtype": "F64", "shape": [1, 2.0], "data_offsets": [0, 16]},
        {"dtype": 3, "shape": [1, 2], "data_offsets": [0, 16]},
        {"shape": [1, 2], "data_offsets": [0, 16]},
    ],
)
def test_false_tensors_are_refused(entry: dict[str, Any]) -> None:
    text = json.dumps({"a": entry}).encode()
    Path("a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    with pytest.raises(FileError, match=r"a\.safetensors"):
        convert("a.safetensors", OUT)


def test_names_that_come_twice_are_refused() -> None:
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("a.npy", trap(".npy", ROWS))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.npy", trap(".npy", VALUES))
    with pytest.raises(FileError, match="twice"):
        convert("a.npz", OUT)


def test_what_does_not_fit_float32_is_refused() -> None:
    rows = ROWS.copy()
    rows[250, 3] = 1e300
    np.save("rows.npy", rows)
    with pytest.raises(FileError, match=r"patterns\[250, 3\] is 1e\+300, .* float32"):
        convert("rows.npy", OUT, dtype="float32")
    convert("rows.npy", OUT)
    with pytest.raises(FileError, match=r"patterns\[250, 3\] is 1e\+300, .* float32"):
        convert(OUT, "o.npy", dtype="float32")
    assert sorted(os.listdir()) == [OUT, "rows.npy"]


def test_damaged_files_are_never_converted_or_crash(capsys: pytest.CaptureFixture[str]) -> None:
    """A changed byte of a memory is found; in other files it is refused or makes a number."""
    uhn.Memory(ROWS[:6]).save(OUT)
    sources = {OUT: Path(OUT).read_bytes()}
    for name, array in (("a.npy", ROWS[:6]), ("a.npz", ROWS[:6])):
        sources[name] = trap(name, array)
    rng = np.random.default_rng(4)
    for name, good in sources.items():
        ends = set()
        for _ in range(60):
            raw = bytearray(good)
            limit = len(good) if name != "a.npy" else 128
            for place in rng.integers(limit, size=rng.integers(1, 4)):
                raw[place] ^= int(rng.integers(1, 256))
            Path(name).write_bytes(raw)
            status, _, err = run(capsys, "convert", name, "o.uhn.safetensors")
            ends.add(status)
            assert "Traceback" not in err
            if name == OUT and status == 0:  # blanks at the end of the header
                assert np.array_equal(rows_of("o.uhn.safetensors"), ROWS[:6])
        assert 1 in ends
    assert not [name for name in os.listdir() if name.startswith(".uhn")]


def test_a_damaged_memory_is_not_exported(capsys: pytest.CaptureFixture[str]) -> None:
    uhn.Memory(ROWS).save(OUT)
    raw = bytearray(Path(OUT).read_bytes())
    raw[-3] ^= 1
    Path(OUT).write_bytes(raw)
    for target in ("o.npy", "o.npz", "o.csv", "o.uhn.safetensors"):
        status, _, err = run(capsys, "convert", OUT, target)
        assert status == 1 and "SHA-256" in err
    assert os.listdir() == [OUT]


def test_a_full_disk_is_told_before(monkeypatch: pytest.MonkeyPatch) -> None:
    np.save("rows.npy", ROWS)
    monkeypatch.setattr(uhn.convert.shutil, "disk_usage", lambda _: type("", (), {"free": 100}))
    with pytest.raises(OSError, match="16800 bytes are needed, and 100 are free"):
        convert("rows.npy", OUT)
    assert os.listdir() == ["rows.npy"]


def test_a_link_is_followed_to_read() -> None:
    np.save("rows.npy", ROWS)
    os.symlink("rows.npy", "link.npy")
    convert("link.npy", OUT)
    assert np.array_equal(rows_of(OUT), ROWS)
    os.mkfifo("pipe.npy")
    with pytest.raises(FileError, match="named pipe"):
        convert("pipe.npy", OUT)


def child(code: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=check,
        env=ENVIRONMENT,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mappings on Linux only")
@pytest.mark.skipif("UHN_SANITIZED" in os.environ, reason="a sanitizer needs memory of its own")
def test_files_larger_than_the_allowed_memory() -> None:
    """128 MB of float64, 32 MB more than the interpreter has: as they are, cast, and back."""
    with open("rows.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f8", "fortran_order": False, "shape": (2**17, 128)}
        )
        file.write(np.arange(128.0).tobytes())
        file.truncate(file.tell() - 1024 + 2**27)
    said = child(
        """
        import resource, uhn.convert
        text = dict(line.split(":") for line in open("/proc/self/status") if ":" in line)
        now = int(text["VmData"].split()[0]) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (now + 2**25,) * 2)
        try:
            bytearray(2**26)
        except MemoryError:
            print("limited")
        from uhn.convert import convert
        convert("rows.npy", "small.uhn.safetensors", dtype="float32")
        convert("small.uhn.safetensors", "small.npz")
        convert("small.npz", "again.uhn.safetensors")
        """
    )
    assert said.stdout == "limited\n"
    assert (
        Path("again.uhn.safetensors").read_bytes() == Path("small.uhn.safetensors").read_bytes()
    )
    memory = uhn.load("again.uhn.safetensors")
    assert (memory.n_patterns, memory.n_features) == (2**17, 128)
    assert memory.dtype == np.float32
    assert np.array_equal(memory[0], np.arange(128)) and not memory[2**17 - 1].any()


INTERRUPTED = """
import sys, uhn.convert, uhn.experiments, uhn.io
from uhn.__main__ import main

def open_and_say(name, opened=uhn.io._open_regular):
    print("working", flush=True)
    return opened(name)

uhn.io._open_regular = open_and_say
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", ["convert", "verify"])
def test_interrupt_ends_with_130_and_leaves_the_old_file(command: str) -> None:
    """Ctrl-C in the middle: the old file is there, and nothing else."""
    uhn.Memory(ROWS).save(OUT)
    raw = Path(OUT).read_bytes()
    hole("large.uhn.safetensors", 2**33)
    with open("rows.npy", "wb") as file:
        head = {"descr": "<f8", "fortran_order": False, "shape": (2**21, 128)}
        np.lib.format.write_array_header_1_0(file, head)
        file.truncate(file.tell() + 2**31)
    arguments = ["verify", "large.uhn.safetensors"]
    if command == "convert":
        arguments = ["convert", "rows.npy", OUT, "--dtype", "float32"]
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *arguments], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    ) as process:  # fmt: skip
        assert process.stdout and process.stdout.readline() == "working\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        _, err = process.communicate(timeout=30)
        assert time.monotonic() - sent < 1.0  # with the interpreter's own end
    assert process.returncode == 130 and err == "stopped; nothing was finished\n"
    assert sorted(os.listdir()) == ["large.uhn.safetensors", OUT, "rows.npy"]
    assert Path(OUT).read_bytes() == raw
