"""Reports: the files are there, the page stands alone, says all, and trusts no text."""

from __future__ import annotations

import base64
import csv
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import uhn
from uhn import datasets
from uhn.experiments import Gaussian, capacity
from uhn.experiments.clean import Equation, clean_equation
from uhn.experiments.published import Difference
from uhn.experiments.report import Strip, plot_strip, write_report
from uhn.experiments.results import BASELINE, COLUMNS, Result, Row
from uhn.experiments.running import run
from uhn.experiments.tasks import as_images, plan
from uhn.plot import line_names

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

GLYPHS = datasets.load("glyphs", n_images=60)
EVIL = "<script>alert('&\"')</script>"
VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta"}
SETTINGS = {
    "experiments": "similarity, " + EVIL,
    "seed": 3,
    "seconds": 12.5,
    "command": f"python -m uhn reproduce --dataset '{EVIL}'",
    "date": "2026-01-02",
}


class Page(HTMLParser):
    """The elements of a page; complains of tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.cells: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.stack, self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if any(tag in self.stack for tag in ("td", "th")):
            self.cells[-1] += data
        if "style" not in self.stack:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def both(experiment: str, x: str) -> Result:
    """A small experiment by both procedures."""
    images = as_images(GLYPHS, None)
    rows: list[Row] = []
    levels = [0.5] if x == "n_patterns" else [0.1, 0.5, 1.0]
    for procedure in ("published", "clean"):
        names = ("euclidean", "jensen_shannon")
        equations = [
            Equation(name, "max", "patterns", (), "sep_param=1000")
            if procedure == "published"
            else clean_equation(name)
            for name in names
        ]
        tasks = plan(
            images,
            experiment=experiment,
            dataset="glyphs",
            procedure=procedure,
            equations=[*equations, Equation("", BASELINE)],
            sizes=[2, 5, 20] if x == "n_patterns" else [20],
            damages=[Gaussian(level, fold=procedure == "published") for level in levels],
            n_runs=2,
            thresholds=[60.0, 19.0] if procedure == "published" else [19.0],
            seed=3,
        )
        rows += run(tasks, images, row_type=Row)
    note = "" if x == "level" else "a note of the result " + EVIL
    return Result(tuple(rows), x=x, shape=GLYPHS.shape, damage="Gaussian noise", note=note)


def strip(shape: tuple[int, ...] = (16, 16), n: int = 4, **more: Any) -> Strip:
    rng = np.random.default_rng(0)
    images = rng.random((3, n, int(np.prod(shape))))
    options: dict[str, Any] = {
        "title": "Some glyphs " + EVIL,
        "columns": tuple(f"0.{i}" for i in range(n)),
        "correct": tuple(i % 3 != 1 for i in range(n)),
        "caption": "Of no meaning " + EVIL,
    }
    options |= {"shape": shape, "originals": images[0], "queries": images[1]}
    return Strip(**(options | {"results": images[2]} | more))


@dataclass(frozen=True)
class Written:
    folder: Path
    files: list[Path]
    results: list[Result]
    text: str
    page: Page


DIFFERENCES = (
    Difference("folded noise " + EVIL, "What it does " + EVIL, 0.25, 0.75, "fraction " + EVIL),
    Difference("no number", "An answer that is none.", float("nan"), 1234567.0, "things"),
)


def make(folder: Path) -> tuple[list[Path], list[Result]]:
    results = [
        both("similarity", "n_patterns"),
        both("noise", "level"),
        capacity(GLYPHS, similarities=["dot", "manhattan"], sizes=[5, 20], n_runs=2),
    ]
    files = write_report(
        folder,
        results,
        dataset=replace(GLYPHS, name="glyphs " + EVIL, terms="terms " + EVIL),
        pictures=[strip(), strip(targets=np.zeros((4, 256)))],
        differences=DIFFERENCES,
        settings=SETTINGS,
    )
    return files, results


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    files, results = make(folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    return Written(folder, files, results, text, Page(text))


# -------------------------------------------------------------------------------- the files --


def test_files_are_there(written: Written) -> None:
    assert sorted(written.folder.iterdir()) == sorted(written.files)
    names = [path.name for path in written.files]
    assert names[0] == "results.csv" and names[-1] == "report.html"
    stems = ["01-similarity", "02-noise", "03-capacity", "picture-01", "picture-02"]
    for stem in stems:
        kinds = [Path(name).suffix for name in names if name.startswith(stem)]
        assert kinds == [".png", ".svg"]


def test_pictures_are_of_sensible_size(written: Written) -> None:
    for path in written.files:
        if path.suffix == ".png":
            data = path.read_bytes()
            assert data[:8] == b"\x89PNG\r\n\x1a\n"
            width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
            assert 400 <= width <= 2400 and 200 <= height <= 3600, path
            assert 5_000 < len(data) < 1_000_000, path
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_the_table_of_cells_has_every_row(written: Written) -> None:
    with open(written.folder / "results.csv", newline="", encoding="utf-8") as stream:
        head, *rows = csv.reader(stream)
    assert tuple(head[: len(COLUMNS)]) == COLUMNS
    expected = [row for result in written.results for row in result.rows]
    assert [row[: len(COLUMNS)] for row in rows] == [
        [str(getattr(row, name)) for name in COLUMNS] for row in expected
    ]


def test_the_same_results_make_the_same_bytes(written: Written, tmp_path: Path) -> None:
    """But for the times the cells took, which are data."""
    again, _ = make(tmp_path)
    for one, two in zip(written.files, again, strict=True):
        assert one.name == two.name
        if one.suffix in (".png", ".svg"):
            assert one.read_bytes() == two.read_bytes(), one.name

    def timeless(path: Path) -> str:
        text = path.read_text(encoding="utf-8")
        return re.sub(r"Time of the cells</dt><dd>[^<]*", "", text)

    assert timeless(written.files[-1]) == timeless(again[-1])


# --------------------------------------------------------------------------------- the page --


def test_the_page_is_well_formed(written: Written) -> None:
    page = written.page
    assert written.text.startswith("<!DOCTYPE html>")
    assert page.all("html") == [{"lang": "en"}]
    assert {"charset": "utf-8"} in page.all("meta")
    assert any(m.get("name") == "viewport" for m in page.all("meta"))
    headings = [tag for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert headings[0] == "h1" and headings.count("h1") == 1
    levels = [int(tag[1]) for tag in headings]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_the_contents_lead_to_every_section(written: Written) -> None:
    page = written.page
    sections = [section["id"] for section in page.all("section")]
    links = [str(a["href"]) for a in page.all("a")]
    inner = [link[1:] for link in links if link.startswith("#")]
    assert inner[: len(sections)] == sections
    assert set(inner) == set(sections)
    expected = {"01-similarity", "02-noise", "03-capacity", "pictures", "differences"}
    assert expected <= set(sections)
    # What else is linked is a file beside the page, or a page to be read.
    for link in links:
        if not link.startswith(("#", "https://")):
            assert (written.folder / link).is_file()


def test_the_page_stands_alone(written: Written) -> None:
    for tag, attributes in written.page.elements:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form")
        assert not any(name.startswith("on") for name in attributes)
        if "src" in attributes:
            assert tag == "img"
            assert str(attributes["src"]).startswith("data:image/svg+xml;base64,")
        assert "srcset" not in attributes and "style" not in attributes
        assert tag == "a" or "href" not in attributes
    style = re.search(r"<style>(.*?)</style>", written.text, re.S)
    assert style is not None
    assert "url(" not in style[1] and "@import" not in style[1]
    for image in written.page.all("img"):
        svg = base64.b64decode(str(image["src"]).split(",", 1)[1]).decode("utf-8")
        for element in ElementTree.fromstring(svg).iter():
            for name, value in element.attrib.items():
                if name.endswith("href"):
                    assert value.startswith(("#", "data:")), value
            assert "url(http" not in str(element.attrib)


def test_every_figure_has_words_beside_it(written: Written) -> None:
    images = written.page.all("img")
    n_figures = len(written.results) + 2
    assert len(images) == len(written.page.all("figure")) == n_figures
    assert len(written.page.all("figcaption")) == n_figures
    for image in images:
        assert len(str(image["alt"])) > 40
        assert int(str(image["width"])) > 200 and int(str(image["height"])) > 100
    for image, result in zip(images, written.results, strict=False):
        assert result.title() in str(image["alt"])
    assert "Right: 0.0, 0.2, 0.3. Wrong: 0.1." in str(images[-1]["alt"])
    words = " ".join(written.page.words)
    for part in (
        "logarithmic, 2 to 20",
        "linear, 0.1 to 1",
        "A point is 4 to 40 trials in 2 runs",
        "A point is 40 trials in 2 runs",
        "Left: the published procedure. Right: the clean one.",
        "Thresholds: 60, 19 (published); 19 (clean).",
        "The published figure.",
        "Different here.",
    ):
        assert part in words, part


def _panels(result: Result) -> Iterator[tuple[str, Any]]:
    for procedure in result.procedures:
        for criterion in result.panels(procedure):
            yield procedure, criterion


def test_tables_have_every_number(written: Written) -> None:
    n_panels = sum(len(list(_panels(result))) for result in written.results)
    assert len(written.page.all("details")) == n_panels
    assert len(written.page.all("table")) == len(written.page.all("caption")) == n_panels + 2
    # Table by table, and row by row: names and fractions as they are in the results.
    tables = re.findall(r'<table class="numbers">.*?</table>', written.text, re.S)
    expected = [(r, *panel) for r in written.results for panel in _panels(r)]
    for table, (result, procedure, criterion) in zip(tables, expected, strict=True):
        curves = result.curves(procedure, criterion)
        xs = [f"{point.x:g}" for point in curves[0].points]
        wanted = xs.copy()
        for label, curve in zip(line_names(result, curves), curves, strict=True):
            wanted += [label, *(f"{point.fraction:.3f}" for point in curve.points)]
        wanted += ["trials", *(f"{point.n_trials:,}" for point in curves[0].points)]
        assert Page(table).cells[1:] == wanted
        assert procedure in table.lower()


def test_the_table_of_differences_is_whole(written: Written) -> None:
    cells = written.page.cells
    at = cells.index("Explanation")
    assert cells[at - 1 : at + 4] == ["What", "Explanation", "Published", "Clean", "Unit"]
    assert cells[at + 4 : at + 14] == [
        *(DIFFERENCES[0].name, DIFFERENCES[0].explanation, "0.25", "0.75"),
        *(DIFFERENCES[0].unit, DIFFERENCES[1].name, DIFFERENCES[1].explanation),
        *("not a number", "1.235e+06", "things"),
    ]
    words = " ".join(written.page.words)
    assert "Published code and published formula: what each difference does" in words


def test_the_summary_names_the_highest_and_the_lowest(written: Written) -> None:
    result = written.results[1]
    curves = result.curves("clean", "index")
    means = {
        label: np.mean([point.fraction for point in curve.points])
        for label, curve in zip(line_names(result, curves), curves, strict=True)
        if not curve.is_baseline
    }
    high, low = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    assert means[high] > means[low]
    text = f"{means[high]:.3f} {high}; {means[low]:.3f} {low}"
    assert text in written.page.cells


def test_the_page_says_what_was_run(written: Written) -> None:
    words = " ".join(written.page.words)
    info = uhn.cpu_info()
    parts = ["60 of 16 x 16", "embedded", "2026-01-02", "12.5 s", info["path"], np.__version__]
    parts += [uhn.__version__, sys.version.split()[0], SETTINGS["command"], info["compiler"]]
    for part in map(str, parts):
        assert part in words, part
    rows = [row for result in written.results for row in result.rows]
    once = {replace(row, threshold=0.0).key: row.n_trials for row in rows}
    text = f"{len(once):,} cells, {sum(once.values()):,} trials, {len(rows):,} rows"
    assert text in words
    assert len(once) < len(rows)


def test_no_text_is_trusted(written: Written) -> None:
    assert "<script" not in written.text
    # Every text that was poisoned is there, as text.
    words = " ".join(written.page.words)
    assert words.count(EVIL) >= 12
    for path in written.files:
        assert re.fullmatch(r"[a-z0-9-]+\.(csv|png|svg|html)", path.name)


# --------------------------------------------------------------------- other things to write --


def test_a_report_of_little(tmp_path: Path) -> None:
    """No results, or none by the published procedure; no date and no settings."""
    assert [p.name for p in write_report(tmp_path / "a", [], dataset=GLYPHS)] == ["report.html"]
    page = Page((tmp_path / "a" / "report.html").read_text(encoding="utf-8"))
    assert [s["id"] for s in page.all("section")] == ["run", "files"]
    result = capacity(GLYPHS, similarities=["dot"], sizes=[5], n_runs=1, seed=7)
    own = replace(result, rows=tuple(replace(row, experiment="my own") for row in result.rows))
    write_report(tmp_path / "b", [own], dataset=GLYPHS, interval="sd")
    text = (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    words = " ".join(Page(text).words)
    assert "My own" in words and "Associative memories: glyphs" in words
    assert "plus and minus the standard deviation between runs" in words
    assert "Millidge" not in words and "published figure." not in words
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", words)
    assert re.search(r"<dt>Seed</dt><dd>7</dd>", text)


def test_without_matplotlib_nothing_is_written(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['matplotlib'] = None\n"
        "from uhn import datasets\n"
        "from uhn.experiments.report import write_report\n"
        f"write_report({str(tmp_path / 'out')!r}, [], dataset=datasets.load('glyphs', "
        "n_images=2))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError" in done.stderr and "pip install 'uhn[plot]'" in done.stderr
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------------------- strips --


def said(figure: Any, gid: str) -> list[str]:
    return [text.get_text() for text in figure.texts if text.get_gid() == gid]


@pytest.mark.parametrize("shape", [(4, 6), (3, 4, 5), (5, 6, 3), (1, 4, 5)])
def test_a_strip_shows_its_pictures(shape: tuple[int, ...]) -> None:
    one = strip(shape)
    figure = plot_strip(one)
    shown = [axes.images[0].get_array() for axes in figure.axes]
    expected = []
    for column in range(4):
        for _, images in one.rows():
            image = images[column].reshape(shape)
            if len(shape) == 3 and shape[0] in (1, 3):
                image = np.moveaxis(image, 0, -1).squeeze()
            expected.append(image)
    for got, wanted in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert said(figure, "title") == [one.title]
    assert {*one.columns, "original", "query", "reconstruction"} == set(said(figure, "name"))


def test_wrong_results_are_marked_by_more_than_colour() -> None:
    figure = plot_strip(strip())
    assert said(figure, "verdict") == ["✓ right", "✗ wrong", "✓ right", "✓ right"]
    widths = [axes.spines["left"].get_linewidth() for axes in figure.axes[2::3]]
    assert widths[1] > 3 * widths[0] and widths[0] == widths[2] == widths[3]
    assert said(plot_strip(strip(correct=None)), "verdict") == []


def test_hetero_association_has_four_pictures_a_line() -> None:
    one = strip(targets=np.zeros((4, 256)))
    boxes = [axes.get_position() for axes in plot_strip(one).axes]
    assert len({round(box.y0, 6) for box in boxes}) == 4  # a line an example
    assert len({round(box.x0, 6) for box in boxes}) == 4
    words = ["stored", "query", "target", "retrieved"]
    assert [name for name in said(plot_strip(one), "name") if name in words] == words


def test_long_strips_break_and_no_text_leaves_the_figure() -> None:
    for one in (
        strip(n=23),
        strip(n=1, title="A title that is a good deal longer than its only picture is wide"),
        strip(columns=("short", "and rather long", "x", "y"), targets=np.zeros((4, 256))),
        strip(shape=(3, 8, 8)),
    ):
        figure = plot_strip(one)
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()
        boxes = [text.get_window_extent(renderer) for text in figure.texts]
        boxes += [axes.get_window_extent(renderer) for axes in figure.axes]
        for box in boxes:
            assert 0 <= box.x0 <= box.x1 <= figure.bbox.width
            assert 0 <= box.y0 <= box.y1 <= figure.bbox.height
        for i, first in enumerate(boxes):
            for second in boxes[i + 1 :]:
                assert (
                    min(first.x1, second.x1) - max(first.x0, second.x0) <= 1
                    or min(first.y1, second.y1) - max(first.y0, second.y0) <= 1
                )


def test_odd_values_in_a_strip() -> None:
    """Bipolar images from black to white, and an answer that is not a number."""
    results = np.ones((4, 256))
    results[2] = np.nan
    figure = plot_strip(strip(originals=np.full((4, 256), -1.0), results=results))
    assert figure.axes[0].images[0].get_array().max() == 0
    assert figure.axes[2].images[0].get_array().min() == 1
    nan = figure.axes[8]
    assert not nan.images and nan.texts[0].get_text() == "not a\nnumber"


def test_a_strip_must_fit_together() -> None:
    with pytest.raises(ValueError, match=r"query must have shape \(4, 256\)"):
        strip(queries=np.zeros((3, 256)))
    with pytest.raises(ValueError, match=r"target must have shape"):
        strip(targets=np.zeros((4, 255)))
    with pytest.raises(ValueError, match="5 verdicts for 4 columns"):
        strip(correct=(True,) * 5)
    with pytest.raises(ValueError, match="at least one column"):
        strip(columns=())
    with pytest.raises(ValueError, match="shape"):
        strip(shape=(256,))
