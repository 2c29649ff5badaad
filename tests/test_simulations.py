"""Simulations of capacity laws: they agree with theory, are resumed, and are drawn legibly."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reference_continuous
import reference_dense
from uhn import theory
from uhn.experiments import running, simulations
from uhn.experiments.simulations import STUDIES, SimulationRow, Simulations, simulate

Z = 1.959963984540054


@pytest.fixture(scope="module")
def quick() -> Simulations:
    return simulate(quick=True)


def points(found: Simulations, study: str, curve: str = "") -> list[SimulationRow]:
    rows = [row for row in found.rows if row.study == study and curve in row.curve]
    assert rows
    return rows


def agree(rows: list[SimulationRow], slack: float = 0.0) -> None:
    """Each law lies in the interval, stretched for that many points and by a relative slack.

    An interval of 1.96 standard errors is stretched to that of a chance of one in a million for
    all of them together; few memories have longer tails, which half as much again allows for.
    """
    stretch = 1.5 * math.sqrt(2 * math.log(1e6 * len(rows))) / Z
    for row in rows:
        assert row.theory is not None
        low = row.mean - stretch * (row.mean - row.low) - slack * row.theory
        high = row.mean + stretch * (row.high - row.mean) + slack * row.theory
        assert low <= row.theory <= high, row


def chi_squared(rows: list[SimulationRow]) -> float:
    """Mean square of the deviations in standard errors, of points that are no extremes."""
    errors = [
        (row.mean - row.theory) / ((row.high - row.low) / 2 / Z)
        for row in rows
        if row.theory is not None and row.high > row.low and row.mean * row.n_samples > 0.2
    ]
    assert len(errors) >= 3
    return float(np.mean(np.square(errors)))


# ------------------------------------------------------------------------------------- laws --


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("degree", [2, 3, 4])
def test_the_exact_law_of_dense_memories(degree: int, rectified: bool) -> None:
    """By inversion of a characteristic function, and by convolving the distribution itself."""
    n = 20
    for part in (0.6, 1.0):
        k = round(part * theory.dam_capacity(n, degree, 0.03, rectified=rectified))
        exact = reference_dense.exact_one_step_error(n, k, degree, rectified)
        assert exact > 1e-4
        found = simulations._dense_error(n, k, degree, rectified)
        assert found == pytest.approx(exact, rel=1e-5), (part, k)


@pytest.mark.parametrize(("degree", "p"), [(1, 12), (1, 13), (2, 60), (3, 400)])
def test_the_exact_law_of_sequences(degree: int, p: int) -> None:
    exact = reference_continuous.exact_transition_error(30, p, degree)
    assert simulations._sequence_error(30, p, degree) == pytest.approx(exact, rel=1e-4)


def test_signs_by_counting() -> None:
    """P(sum of m signs < -a) from binomial coefficients, a on the lattice and off it."""
    for m, a in itertools.product((1, 2, 7, 40, 301), (0, 1, 2, 9, 30)):
        wanted = sum(math.comb(m, i) for i in range(m + 1) if 2 * i - m < -a) / 2**m
        assert simulations._signs_below(m, a) == pytest.approx(wanted, rel=1e-6, abs=1e-13)


def test_shared_noise_keeps_the_mean() -> None:
    """At one unit the chance that none is wrong is 1 - p; at more it is above (1 - p)^n."""
    for n, k, degree in ((64, 10, 2), (256, 44, 2), (40, 130, 3), (40, 1000, 4)):
        p = simulations._dense_error(n, k, degree, False)
        assert simulations._stable_chance(n, k, degree) > (1 - p) ** n - 0.03
    # Vanishing errors do not know of each other.
    p = simulations._dense_error(256, 16, 2, False)
    assert simulations._stable_chance(256, 16, 2) == pytest.approx(1 - 256 * p, abs=1e-3)


def test_intervals() -> None:
    """Student's for means, Wilson's for fractions, wider where memories differ."""
    for degrees, t in ((1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622)):
        assert simulations._student(degrees) == pytest.approx(t, rel=0.01)
    mean, low, high = simulations._interval(simulations._Sample([1.0, 2.0, 3.0]))
    assert (mean, high - mean) == pytest.approx((2.0, 4.302652730 / math.sqrt(3)))
    assert mean - low == pytest.approx(high - mean)
    even = simulations._interval(simulations._Sample([5, 5, 5, 5], [10] * 4))
    uneven = simulations._interval(simulations._Sample([0, 10, 0, 10], [10] * 4))
    assert even[0] == uneven[0] == 0.5
    assert uneven[2] - uneven[1] > 2 * (even[2] - even[1])
    assert simulations._interval(simulations._Sample([0, 0], [10, 10]))[:2] == (0, 0)


# ------------------------------------------------------------------------------- agreement --


@pytest.mark.parametrize("study", ["dense", "dense-rectified", "sequence"])
def test_one_step_is_as_the_exact_law(quick: Simulations, study: str) -> None:
    """Every point, and all of them together: their mean square deviation is that of chance.

    Of m independent standard normal numbers it is 1 -+ sqrt(2 / m); 4.5 of these for three
    studies.
    """
    rows = points(quick, study)
    agree(rows)
    assert chi_squared(rows) < 1 + 4.5 * math.sqrt(2 / len(rows))


def test_exact_laws_are_told_from_those_of_many_units(quick: Simulations) -> None:
    """At these sizes the Gaussian law is off by many standard errors, so agreement means
    something."""
    rows = points(quick, "sequence-exponential")
    agree(rows)
    for row in rows:
        if row.limit is not None and row.limit < 0.003:
            assert row.low > 2 * row.limit, row
    assert sum(row.limit is not None and row.limit < 0.003 for row in rows) >= 2


def test_hebbian_errors(quick: Simulations) -> None:
    """After one step as the exact law; at rest more, as the mean field has it."""
    agree(points(quick, "errors", "after one step"))
    first = {row.x: row for row in points(quick, "errors", "after one step")}
    for row in points(quick, "errors", "at rest"):
        if row.x >= 0.1 and row.x in first:
            assert row.mean > first[row.x].mean
    for row in points(quick, "hopfield"):
        # Below 0.1 the finite size changes less than 0.003 (N = 1000: 0.9994 and 0.9983).
        if row.x <= 0.08:
            assert row.mean == pytest.approx(row.theory, abs=0.003 + (row.high - row.low))
        if row.x == 0.2:
            assert row.theory == 0 and row.mean < 0.75
    larger = [row for row in points(quick, "hopfield", "400") if row.x >= 0.18]
    smaller = [row for row in points(quick, "hopfield", "200") if row.x >= 0.18]
    assert sum(r.mean for r in larger) < sum(r.mean for r in smaller), "sharper as N grows"


def test_stable_patterns(quick: Simulations) -> None:
    """Shared noise explains them where independent units do not.

    The mean square deviation of N = 128 is that of chance; of independent units it is not.
    """
    rows = [row for row in points(quick, "stable", "N = 128") if 0.02 < row.mean < 0.99]
    rows = [row for row in rows if row.study == "stable"]
    agree(rows)
    assert chi_squared(rows) < 1 + 4.5 * math.sqrt(2 / len(rows))
    alone = [
        dataclasses.replace(
            row, theory=(1 - simulations._dense_error(128, round(row.x), 2, False)) ** 128
        )
        for row in rows
    ]
    assert chi_squared(alone) > chi_squared(rows)
    # Marks: of a pattern and of all of them.
    for study, share in (("stable", 2), ("stable-all", 4)):
        panel = quick.panels(study)[0]
        marks = [mark.x for mark in panel.marks]
        assert marks == pytest.approx([n / (share * math.log(n)) for n in (32, 128)])


def test_rules(quick: Simulations) -> None:
    """The pseudo-inverse keeps all patterns; Storkey's rule more than Hebb's."""
    assert all(row.mean == 1 for row in points(quick, "rules", "pseudo-inverse"))
    hebb, storkey = points(quick, "rules", "Hebb"), points(quick, "rules", "Storkey")
    assert all(a.mean <= b.mean for a, b in zip(hebb, storkey, strict=True))
    agree(hebb, slack=0.1)


def test_dreams_help(quick: Simulations) -> None:
    rows = points(quick, "unlearning", "0.2")
    assert rows[-1].low > rows[0].mean


def test_exponential_recovery(quick: Simulations) -> None:
    """Undamaged patterns stay, beyond the theorem's damage they are lost at last."""
    for i in range(2):
        curve = quick.panels("exponential")[0].lines[i]
        assert curve.mean[0] == 1 and curve.mean[-1] < 0.5
    for mark, rate in zip(quick.panels("exponential")[0].marks, (0.1, 0.2), strict=True):
        assert theory.exponential_rate(mark.x) == pytest.approx(rate, rel=1e-12)


def test_reads_of_sdm(quick: Simulations) -> None:
    """As the law, but for the spread of phi between addresses: 3 bits of 256 (a per cent)."""
    for curve in ("other words", "own words"):
        for row in points(quick, "sdm", curve):
            assert row.theory is not None
            assert row.mean == pytest.approx(row.theory, abs=2 * (row.high - row.low) + 2.56)
    rest = points(quick, "sdm", "read to rest")
    critical = next(m.x for m in quick.panels("sdm")[0].marks if "rest" in m.text)
    assert all(row.mean < 1 for row in rest if row.x < 0.5 * critical)
    assert rest[-1].mean > rest[-1].x


def test_bidirectional_overlap(quick: Simulations) -> None:
    for row in points(quick, "bam"):
        if row.x <= 0.14:
            assert row.mean == pytest.approx(row.theory, abs=0.006 + (row.high - row.low))


def test_modern_networks(quick: Simulations) -> None:
    """Never above the bound; m = tanh(beta m) to the last digits; states of rest split."""
    for row in points(quick, "modern"):
        assert row.theory is not None and row.mean <= row.theory
    for row in points(quick, "pair"):
        assert row.mean == pytest.approx(row.theory, abs=1e-9)
    for curve, n in (("16", 16), ("64", 64)):
        rows = points(quick, "metastable", f"{curve} patterns")
        assert rows[0].mean >= 0.85 * n and rows[-1].mean == 1


# ------------------------------------------------------------------------- rows and tasks --


def test_every_study_is_there(quick: Simulations) -> None:
    assert quick.names == tuple(STUDIES) == tuple(simulations._DEFINED)
    for row in quick.rows:
        assert row.low <= row.mean <= row.high, row
        assert row.n_samples >= 1 and row.quick == 1 and row.seconds >= 0
    assert len({row.key for row in quick.rows}) == len(quick.rows)
    for name in STUDIES:
        curves = simulations._study(name, False).curves
        assert len({curve.label for curve in curves}) == len(curves)


def same(a: SimulationRow, b: SimulationRow) -> bool:
    return dataclasses.replace(a, seconds=0.0) == dataclasses.replace(b, seconds=0.0)


def test_a_point_depends_on_its_coordinates_alone(quick: Simulations) -> None:
    """Alone, or after others in another order: the same row. Another seed: another one."""
    wanted = {row.key: row for row in quick.rows}
    for name in ("dense", "hopfield", "unlearning", "sdm", "modern", "sequence"):
        groups = simulations._study(name, True).groups
        task = simulations._Task(name, len(groups) - 1, True, 0)
        (last,) = next(iter(task.run(None, task.keys()[-1:])))
        assert same(last, wanted[last.key])
    task = simulations._Task("dense", 3, True, 1)
    (other,) = next(iter(task.run(None, task.keys())))
    assert other.mean != wanted[(*other.key[:-1], 0)].mean


def test_runs_are_resumed(tmp_path: Path) -> None:
    """Rows of the file are taken as they are, and reading it gives the same table."""
    path = tmp_path / "rows.jsonl"
    first = simulate(["pair", "errors"], quick=True, out=path)
    lines = path.read_text().splitlines()
    assert len(lines) == len(first.rows)
    assert all(SimulationRow(**json.loads(line)) in first.rows for line in lines)
    path.write_text("\n".join(lines[:5]) + "\n")
    again = simulate(["errors", "pair"], quick=True, out=path)
    assert all(map(same, first.rows, again.rows))
    kept = {SimulationRow(**json.loads(line)) for line in lines[:5]}
    assert kept <= set(again.rows), "with their seconds"
    assert Simulations.read(path).table() == first.table()
    assert running.read(path, SimulationRow)


def test_files_and_tables(tmp_path: Path, quick: Simulations) -> None:
    quick.to_csv(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == len(quick.rows)
    for line, row in zip(lines, quick.rows, strict=True):
        assert float(line["mean"]) == row.mean and line["study"] == row.study
        assert line["theory"] == ("" if row.theory is None else repr(row.theory))
    table = quick.table("pair")
    assert "tanh" not in table and "x and -x" in table and "0.8586" in table
    assert len(table.splitlines()) == 3 + 12
    page = quick._repr_html_()
    assert page.count("<table>") == len(STUDIES) and "x and -x" in page


def test_pandas(quick: Simulations) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = quick.to_pandas()
    assert len(frame) == len(quick.rows) and frame["theory"].dtype == np.float64
    assert frame["theory"].isna().any()


def test_bad_arguments_are_named(quick: Simulations) -> None:
    with pytest.raises(ValueError, match="no study 'hopfeld'; there are: hopfield, errors"):
        simulate(["hopfeld"])
    with pytest.raises(ValueError, match="no study is named"):
        simulate([])
    with pytest.raises(ValueError, match="seed must be at least 0, not -1"):
        simulate("pair", seed=-1)
    only = Simulations(tuple(row for row in quick.rows if row.study == "pair"))
    with pytest.raises(ValueError, match="no rows of 'sdm'; there are: pair"):
        only.table("sdm")
    with pytest.raises(ValueError, match="at least one row"):
        Simulations(())


# ----------------------------------------------------------------------------------- figure --


@pytest.fixture(scope="module")
def figure(quick: Simulations) -> Any:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    return quick.plot()


def test_a_panel_a_study_says_what_it_shows(quick: Simulations, figure: Any) -> None:
    assert len(figure.axes) == len(STUDIES)
    for axes, panel in zip(figure.axes, quick.panels(), strict=True):
        assert axes.get_title(loc="left") == panel.title
        assert axes.get_xlabel() and axes.get_ylabel()
        names = [text.get_text() for text in axes.texts if text.get_gid() == "line label"]
        alone = len(panel.lines) == 1 and panel.lines[0].theory is not None
        assert names == ([] if alone else [line.label for line in panel.lines])
        marks = [text.get_text() for text in axes.texts if text.get_gid() == "mark"]
        assert marks == [mark.text for mark in panel.marks]


def test_no_text_covers_another_or_leaves_the_figure(figure: Any) -> None:
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    found = []
    for axes in figure.axes:
        texts = [t for t in axes.texts if t.get_gid() in ("line label", "level", "note")]
        texts += [axes.xaxis.label, axes.yaxis.label, axes._left_title]
        low, high = sorted(axes.get_xlim())
        texts += [
            t
            for t in axes.get_xticklabels()
            if t.get_text() and low <= t.get_position()[0] <= high
        ]
        found += [(t.get_text(), t.get_window_extent(renderer)) for t in texts if t.get_text()]
    for text, box in found:
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.width, text
        assert 0 <= box.y0 <= box.y1 <= figure.bbox.height, text
    for (a, one), (b, other) in itertools.combinations(found, 2):
        width = min(one.x1, other.x1) - max(one.x0, other.x0)
        height = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert width <= 1 or height <= 1, (a, b)


def test_it_is_written(tmp_path: Path, quick: Simulations) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    quick.plot(tmp_path / "figure.svg", names=["pair", "sdm"])
    assert (tmp_path / "figure.svg").read_bytes().startswith(b"<?xml")
