"""Rules of the house: what includes what, what every row of a table needs, what lies where."""

from __future__ import annotations

import ast
import functools
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import uhn

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"

#: The layer of each part of the core. An include points to a lower layer, or to the same one
#: without a circle. A new file needs a line here.
LAYERS = {
    "uhn": 0,  # the public face: every layer implements some of it
    "platform": 0,
    "threads": 0,
    "pages": 0,
    "elementary": 1,
    "scalar": 1,
    "kernels": 1,
    "cpu": 1,  # names the kernels' tables; the rest sees only what it chose
    "similarity": 2,
    "missing": 2,
    "separation": 2,
    "equation": 2,
    "order": 2,
    "memory": 3,
    "edit": 3,
    "tree": 3,
    "pass": 3,
    "retrieve": 4,
    "partial": 4,
    "dynamics": 4,
    "energy": 4,
    "network": 4,
    "dense": 4,
    "sdm": 4,
    "landscape": 4,
    "learning": 4,
}
TOP_LEVEL = {"uhn", "csrc", "tests", "notebooks", "benchmarks", ".ci", "pyproject.toml"}
TOP_LEVEL |= {"setup.py", "README.md", "LICENSE", "CHANGELOG.md", "MANIFEST.in"}
#: Markup of the words themselves would make this file break its own rule.
WORKPLACE = [r"(^|[^.\w])/w" + "ork/", r"\bhelper " + "session", r"/tmp/" + "plan"]
MAX_BYTES = 512 * 1024

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def core_files() -> list[Path]:
    return sorted(path for path in CSRC.iterdir() if path.suffix in {".c", ".h"})


def includes(path: Path) -> list[tuple[str, str]]:
    return INCLUDE.findall(path.read_text(encoding="utf-8"))


def part(name: str) -> str:
    """The part of the core a file belongs to: ``kernels_avx2.c`` is of ``kernels``."""
    return re.split(r"[._]", name)[0] if name.startswith("kernels") else name.split(".")[0]


def code(path: Path) -> str:
    """The text without comments and strings."""
    return STRING.sub('""', COMMENT.sub(" ", path.read_text(encoding="utf-8")))


@functools.cache
def project_files() -> tuple[Path, ...]:
    """What is or would be committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: there is no list of the project's files")
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others"]
    try:
        done = subprocess.run([*command, "--exclude-standard"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"git does not list this clone's files: {error}")
    names = [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    return tuple(path for path in (ROOT / name for name in sorted(names)) if path.is_file())


# ------------------------------------------------------------------------------------ arrows --


def test_oracles_never_import_what_they_judge() -> None:
    """Nor anything that could: the standard library, NumPy, and each other."""
    paths = sorted((ROOT / "tests").glob("reference*.py"))
    paths += [ROOT / "tests" / name for name in ("bounds.py", "cases.py")]
    assert len(paths) >= 10
    allowed = {*sys.stdlib_module_names, "numpy", *(path.stem for path in paths)}
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add((node.module or "").split(".")[0])
        assert "numpy" in names and names <= allowed, (path.name, names - allowed)


#: The layers of the Python face: a module imports lower ones, or its own. Only the experiments
#: and the command line use the package as its users do, by ``import uhn``.
PYTHON_LAYERS = {
    "_core": 0,
    "_statistics": 0,
    "glyphs": 0,
    "_arrays": 1,
    "_stream": 2,
    "io": 1,
    "results": 1,
    "theory": 1,
    "datasets": 1,
    "convert": 2,
    "models": 2,
    "living": 2,
    "analysis": 3,
    "plot": 3,
    "sklearn": 3,
    "dask": 3,
    "experiments": 4,
    "__main__": 5,
}


def imported(path: Path) -> set[str]:
    """Parts of the package that a module imports when it runs; "" is the package itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    here = list(path.relative_to(ROOT / "uhn").with_suffix("").parts)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {".".join(n[1:2]) for n in names if n[0] == "uhn"}
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".") if node.module else []
            if node.level:
                base = ["uhn", *here[: len(here) - node.level], *base]
            if base[:1] == ["uhn"]:
                found |= {base[1]} if len(base) > 1 else {alias.name for alias in node.names}
    return found


def test_python_arrows_point_down() -> None:
    n_arrows = 0
    for path in sorted((ROOT / "uhn").rglob("*.py")):
        name = path.relative_to(ROOT / "uhn").with_suffix("").parts[0]
        if name == "__init__":
            continue
        layer = PYTHON_LAYERS.get(name)
        assert layer is not None, f"{path.name} has no layer: give it one in PYTHON_LAYERS"
        for other in imported(path):
            n_arrows += 1
            if other in ("", "__version__"):
                assert layer >= 4, f"{path} imports the package itself"
                continue
            assert PYTHON_LAYERS[other] <= layer, f"{path} (layer {layer}) imports uhn.{other}"
    assert n_arrows > 40


@pytest.mark.parametrize("path", core_files(), ids=lambda path: path.name)
def test_arrows_point_down(path: Path) -> None:
    layer = LAYERS.get(part(path.name))
    assert layer is not None, f"{path.name} has no layer: give it one in LAYERS"
    for kind, name in includes(path):
        if kind == "<":
            assert not re.match(r"Python\.h|numpy/", name), f"{path.name} includes {name}"
            continue
        assert "/" not in name, f"{path.name} reaches into {name}"
        if name.endswith(".def"):
            assert path.stem == name.removesuffix(".def") or path.name == "uhn.h", (
                f"{path.name} reads {name}, which is {name.removesuffix('.def')}'s"
            )
            continue
        assert LAYERS[part(name)] <= layer, f"{path.name} (layer {layer}) includes {name}"


def test_includes_make_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in core_files():
        below = {
            part(name)
            for kind, name in includes(path)
            if kind == '"' and not name.endswith(".def")
        }
        graph.setdefault(part(path.name), set()).update(below - {part(path.name)})

    def walk(node: str, seen: tuple[str, ...]) -> None:
        assert node not in seen, f"a circle of includes: {' -> '.join([*seen, node])}"
        for below in graph.get(node, ()):
            walk(below, (*seen, node))

    for node in graph:
        walk(node, ())


def test_binding_sees_the_public_header_alone() -> None:
    files = sorted((CSRC / "python").glob("*.[ch]"))
    assert files
    own = {path.name for path in files}
    for path in files:
        for kind, name in includes(path):
            if kind == '"':
                assert name in own or Path(name).name == "uhn.h", f"{path.name} includes {name}"


def test_kernels_only_compute() -> None:
    banned = r"\b(malloc|calloc|realloc|free|posix_memalign|aligned_alloc|alloca|pthread_\w+"
    banned += r"|atomic_\w+|printf|fprintf|puts|fopen|fwrite|abort|exit|getenv)\s*\("
    files = [path for path in core_files() if path.name.startswith("kernels")]
    assert len(files) >= 5
    for path in files:
        found = re.search(banned, code(path))
        assert not found, f"{path.name} calls {found.group(1) if found else ''}"
    for path in core_files():
        if path.name.startswith("kernels_"):
            assert not re.search(r"\b_mm\w*_|\bv\w+q_f\d\d\(", code(path).split("#include")[0])


def test_nothing_relaxes_arithmetic() -> None:
    flags = "-f" + "fast-math|-O" + "fast|-f" + "associative-math|-f" + "unsafe-math"
    flags += "|#\\s*pragma\\s+.*fp_contract|#\\s*pragma\\s+omp"
    suspects = [ROOT / "setup.py", ROOT / "pyproject.toml", *CSRC.rglob("*.[ch]")]
    suspects += [path for path in (ROOT / ".ci").rglob("*") if path.is_file()]
    suspects += list((ROOT / "tests").rglob("*.py"))
    for path in suspects:
        if path.exists() and path.suffix != ".pyc":
            in_c = path.suffix in {".c", ".h"}
            text = code(path) if in_c else path.read_text(encoding="utf-8")
            found = re.search(flags, text, re.IGNORECASE)
            assert not found, f"{path.relative_to(ROOT)}: {found.group() if found else ''}"
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert "-ffp-contract=off" in setup


# ------------------------------------------------------------------------------------ tables --


def rows(table: str) -> dict[str, str]:
    """Name and doc line of every row of a table, read as text."""
    text = COMMENT.sub(" ", (CSRC / f"{table}.def").read_text(encoding="utf-8"))
    found = re.findall(r'^UHN_[A-Z]+\((\w+),.*,\s*"([^"]*)"\)\s*$', text, re.MULTILINE)
    assert len(found) == text.count("UHN_" + table.upper() + "("), (
        f"{table}.def: one row a line"
    )
    return dict(found)


@pytest.mark.parametrize(
    ("table", "listing"),
    [("similarity", uhn.similarities), ("separation", uhn.separations)],
    ids=["similarity", "separation"],
)
def test_every_row_is_complete(table: str, listing) -> None:  # type: ignore[no-untyped-def]
    import reference

    oracles = {"similarity": reference.SIMILARITIES, "separation": reference.SEPARATIONS}[table]
    in_table = rows(table)
    assert len(in_table) >= 10
    assert listing() == in_table, f"uhn.{listing.__name__}() is not what {table}.def says"
    assert list(listing()) == list(in_table), "in the table's order"
    assert set(oracles) == set(in_table), "rows and oracles of tests/reference.py"
    if table == "separation":
        assert set(reference.LAGRANGIANS) == set(in_table), "Lagrangians of tests/reference.py"
    for name, doc in in_table.items():
        assert len(doc) >= 5 and not doc.endswith("."), f"{name}: doc line {doc!r}"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in in_table:
        assert f"`{name}`" in readme, f"README.md does not mention {table} {name!r}"


def test_energies_say_the_lagrangian_of_every_separation() -> None:
    text = COMMENT.sub(" ", (CSRC / "separation.def").read_text(encoding="utf-8"))
    found = re.findall(
        r'^UHN_SEPARATION\((\w+),.*,\s*"([^"]*)",\s*"[^"]*"\)', text, re.MULTILINE
    )
    assert [name for name, _ in found] == list(uhn.separations())
    page = inspect.getdoc(uhn.Memory.energy)
    assert page is not None
    for name, lagrangian in found:
        assert f"{name}: {lagrangian}\n" in page, f"help(Memory.energy) and the row {name}"


# ------------------------------------------------------------------------------------ Python --


def public(module: ModuleType) -> dict[str, object]:
    """Callables a user sees: functions, classes, and the classes' methods and properties."""
    found: dict[str, object] = {}
    names = getattr(module, "__all__", [name for name in dir(module) if name[0] != "_"])
    for name in names:
        value = getattr(module, name)
        if inspect.ismodule(value) or not callable(value):
            continue
        found[f"{module.__name__}.{name}"] = value
        if isinstance(value, type) and value.__module__.startswith("uhn"):
            for key, member in vars(value).items():
                if key[0] != "_":
                    found[f"{module.__name__}.{name}.{key}"] = member
    return found


@pytest.mark.parametrize(("name", "value"), list(public(uhn).items()), ids=list(public(uhn)))
def test_public_names_explain_themselves(name: str, value: object) -> None:
    doc = inspect.getdoc(value)
    assert doc and len(doc) > 15, f"{name} has no docstring"
    if callable(value):
        signature = inspect.signature(value)
        assert signature is not None


def test_the_module_under_test_is_the_one_meant() -> None:
    """Sanitizer runs set UHN_EXPECT_CORE, so that they cannot pass on another build."""
    expected = os.environ.get("UHN_EXPECT_CORE")
    core = Path(uhn._core.__file__).resolve()
    assert core.suffix == ".so" or core.suffix == ".pyd"
    if expected is None:
        pytest.skip("UHN_EXPECT_CORE is not set: any build will do")
    assert core.is_relative_to(Path(expected).resolve()), f"{core} is loaded, not {expected}"


# ------------------------------------------------------------------------------------- files --


def test_top_level() -> None:
    for path in project_files():
        top = path.relative_to(ROOT).parts[0]
        assert top in TOP_LEVEL or top.startswith("."), (
            f"{top} does not belong at the top level"
        )
        if path.parent == ROOT:
            text = path.read_bytes()
            assert b"\0" not in text, f"{path.name} is binary"


def test_files_are_small() -> None:
    for path in project_files():
        assert path.stat().st_size <= MAX_BYTES, f"{path.relative_to(ROOT)} is too large"


def test_text_speaks_of_the_project_alone() -> None:
    for path in project_files():
        data = path.read_bytes()
        if b"\0" in data[:8192]:
            continue
        text = data.decode("utf-8")
        for pattern in WORKPLACE:
            found = re.search(pattern, text, re.MULTILINE)
            assert not found, f"{path.relative_to(ROOT)}: {found.group() if found else ''!r}"


def test_text_is_tidy() -> None:
    for path in project_files():
        if path.suffix not in {".py", ".pyi", ".c", ".h", ".def", ".md", ".toml"}:
            continue
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT)
        assert text.endswith("\n") or not text, f"{name} has no last newline"
        assert "\t" not in text and "\r" not in text, f"{name} has tabs or carriage returns"
        for number, line in enumerate(text.splitlines(), 1):
            assert line == line.rstrip(), f"{name}:{number} ends in blanks"
