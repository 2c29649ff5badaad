"""The notebooks run anywhere, quietly and soon, and are committed as they were written."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
#: Seconds a notebook may take with UHN_QUICK=1.
TIMEOUT = 60


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def text(cell: dict[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def test_all_nine_are_there() -> None:
    assert [path.name[:3] for path in NOTEBOOKS] == [f"{i:02d}_" for i in range(1, 10)]
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} == {
        path.name for path in NOTEBOOKS
    }


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_without_results(path: Path) -> None:
    document = read(path)
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    assert set(document["metadata"]) == {"kernelspec", "language_info"}
    assert document["metadata"]["kernelspec"]["name"] == "python3"
    assert document["metadata"]["language_info"] == {"name": "python"}
    names = [cell["id"] for cell in document["cells"]]
    assert len(set(names)) == len(names)
    for cell in document["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_reads_like_a_lecture(path: Path) -> None:
    """A title and a question, pictures made by few lines each, claims held by asserts, a
    takeaway."""
    cells = read(path)["cells"]
    prose = [text(cell) for cell in cells if cell["cell_type"] == "markdown"]
    code = [text(cell) for cell in cells if cell["cell_type"] == "code"]
    number = int(path.name[:2])
    assert cells[0]["cell_type"] == "markdown" and prose[0].startswith(f"# {number}. ")
    assert re.search(r"\*[^*]*\?\*", prose[0]), "the question it answers"
    assert cells[-1]["cell_type"] == "markdown" and prose[-1].startswith("## Takeaway\n")
    assert sum("plot" in cell for cell in code) >= 3
    assert sum("assert " in cell for cell in code) >= 4
    assert sum("UHN_QUICK" in cell for cell in code) == 1
    for cell in code:
        assert len(cell.splitlines()) <= 45
    house = (r"(^|[^.\w])/w" + r"ork\b", r"/tmp\b", r"/home\b", r"/root\b")
    for part in prose + code:
        for pattern in house:
            assert not re.search(pattern, part, re.MULTILINE), part


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell, without an error or a word on stderr; every figure is a picture."""
    for name in ("nbformat", "nbclient", "ipykernel", "matplotlib", "matplotlib_inline"):
        pytest.importorskip(name, reason=f"{name} is not installed: no notebook is run")
    import nbclient
    import nbformat

    monkeypatch.setenv("UHN_QUICK", "1")
    monkeypatch.setenv("TQDM_DISABLE", "1")  # a bar is drawn on stderr
    monkeypatch.delenv("MPLBACKEND", raising=False)
    # The folder that uhn was imported from, wherever that is.
    import uhn

    home = str(Path(uhn.__file__).resolve().parent.parent)
    here = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([home, *([here] if here else [])]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    document = nbformat.read(path, as_version=4)
    nbformat.validate(document)
    client = nbclient.NotebookClient(
        document,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    start = time.monotonic()
    client.execute()
    assert time.monotonic() - start < TIMEOUT
    pictures = 0
    for cell in document.cells:
        for output in cell.get("outputs", []):
            said = f"{path.name}: {output}"
            assert output["output_type"] != "error", said
            assert output.get("name") != "stderr", said
            shown = output.get("data", {})
            pictures += "image/png" in shown
            assert "<Figure" not in shown.get("text/plain", "") or "image/png" in shown, said
    assert pictures >= 3
