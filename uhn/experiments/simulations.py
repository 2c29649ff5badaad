"""Capacity laws beside simulations: random patterns, the models of the library, their theory.

Each study stores random patterns, asks the models, and lays what came out beside what theory
says. A row is one point of one curve: the mean of independent memories, a 95 % interval, and
the law at that point. Two laws may be known. `theory` is the one that holds at the size
simulated, where there is one: an error of one step is a sum of independent terms, so that its
law at N units and K patterns can be had without an approximation, from the characteristic
function of one term. `limit` is then the law of many units of `uhn.theory`. Where the law of
many units is all there is, it is `theory`.

Intervals. One memory is one number, as the patterns of a memory depend on each other. A mean of
such numbers has Student's interval. A fraction has Wilson's, with the number of trials divided
by how much more memories differ among each other than independent trials would.

Randomness. The patterns of a point depend on the seed and the coordinates of the point (study,
sizes, place, run) alone, not on the order of the work; learning rules meet the same patterns.
"""

from __future__ import annotations

import csv
import functools
import html
import importlib
import itertools
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import uhn
from uhn import theory
from uhn._statistics import wilson
from uhn.experiments import running
from uhn.experiments.running import Key, Provenance
from uhn.experiments.tasks import cell_rng
from uhn.models import (
    BidirectionalAssociativeMemory,
    DenseAssociativeMemory,
    HopfieldNetwork,
    ModernHopfieldNetwork,
    SequenceMemory,
    SparseDistributedMemory,
)

__all__ = ["STUDIES", "Line", "Mark", "Panel", "SimulationRow", "Simulations", "simulate"]

Array = npt.NDArray[Any]
Law = Callable[[float], float]

STUDIES = {
    "hopfield": "Hebbian network: overlap at rest against the load, with the mean field",
    "errors": "Hebbian network: wrong bits after one step and at rest against the load",
    "stable": "Hebbian network: part of the patterns that are stable, N / (2 ln N)",
    "stable-all": "Hebbian network: chance that all patterns are stable, N / (4 ln N)",
    "dense": "dense memories, n = 2 to 5: wrong bits after one step, alpha_n N^(n-1)",
    "dense-rectified": "the same with energies that are 0 for negative overlaps",
    "dense-free": "dense memories: patterns without any wrong bit, N^(n-1) / (2 (2n-3)!! ln N)",
    "exponential": "exponential memory: cues recovered in one sweep, with the theorem",
    "rules": "learning rules: patterns that are stable after Hebb, Storkey, pseudo-inverse",
    "unlearning": "unlearning: patterns that are stable, dream after dream",
    "sdm": "sparse distributed memory: distance after a read, and at rest, by that of the cue",
    "bam": "bidirectional memory: overlap at rest against the load, with the mean field",
    "sequence": "sequence memories, d = 1 to 3: wrong bits after one step",
    "sequence-exponential": "exponential sequence memory: wrong bits after one step",
    "modern": "modern Hopfield network: error of one update against beta, with its bound",
    "pair": "modern Hopfield network, a pattern and its negative: m = tanh(beta m)",
    "metastable": "modern Hopfield network: patterns that share a state of rest against beta",
}
"""The studies and what each of them shows."""


# ------------------------------------------------------------------------------------- rows --


@dataclass(frozen=True)
class SimulationRow:
    """One point of one curve.

    Attributes
    ----------
    study, curve : str
    x : float
    mean, low, high : float
        What was simulated, and its 95 % interval.
    theory : float or None
        The law at x, of this size where it is known.
    limit : float or None
        The law of many units, where `theory` is another.
    n_samples : int
        Independent memories.
    quick : int
        1 for small sizes, else 0.
    seed : int
    seconds : float
        Time of the computation.
    version : str
        Of the library.
    """

    study: str
    curve: str
    x: float
    mean: float
    low: float
    high: float
    theory: float | None
    limit: float | None
    n_samples: int
    quick: int
    seed: int
    seconds: float
    version: str

    @property
    def key(self) -> Key:
        """The coordinates of the point."""
        return (self.study, self.curve, self.x, self.quick, self.seed)

    @property
    def provenance(self) -> Provenance:
        """What must be equal if two rows of the same coordinates are to be the same row."""
        return (("version", self.version),)


COLUMNS = tuple(field.name for field in fields(SimulationRow))


class _Sample(NamedTuple):
    """What the memories of a point gave: a number each, or hits of so many trials."""

    values: Sequence[float]
    trials: Sequence[int] | None = None
    bound: float | None = None  # a law that depends on what was drawn
    geometric: bool = False  # of numbers that differ by factors


def _student(degrees: int) -> float:
    """The 97.5 % quantile of Student's t.

    From 3 degrees of freedom on the expansion about the normal quantile (Abramowitz and Stegun
    26.7.5), within 1 % there and better than 0.1 % from 5 on.
    """
    if degrees < 3:
        return (12.706204736, 4.302652730)[degrees - 1]
    z = 1.959963984540054
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return float(sum(term / degrees**i for i, term in enumerate(terms)))


def _interval(sample: _Sample) -> tuple[float, float, float]:
    """Mean, and the bounds of a 95 % interval."""
    values = np.asarray(sample.values, dtype=np.float64)
    count = len(values)
    if sample.geometric:
        mean, low, high = _interval(_Sample(np.log(values).tolist()))
        return math.exp(mean), math.exp(low), math.exp(high)
    if sample.trials is None:
        mean = float(values.mean())
        error = float(values.std(ddof=1)) / math.sqrt(count)
        half = _student(count - 1) * error
        return mean, mean - half, mean + half
    trials = np.asarray(sample.trials, dtype=np.float64)
    total = float(trials.sum())
    p = float(values.sum()) / total
    # The variance of a ratio, memories being independent; at least that of the trials.
    spread = float(((values - p * trials) ** 2).sum()) * count / (count - 1) / total**2
    effective = total
    if 0 < p < 1:
        effective = min(total, max(1.0, p * (1 - p) / spread)) if spread > 0 else total
    low, high = wilson(p * effective, effective) if 0 < p < 1 else wilson(p * total, total)
    return p, low, high


# ------------------------------------------------------------------------------ exact laws --


def _lower_tail(
    characteristic: Callable[[Array], Array],
    a: float,
    spread: float,
    step: float = 0.0,
    longest: float = 96.0,
) -> float:
    """P(S < -a) + P(S = -a) / 2 for a symmetric sum S, from its characteristic function.

    1/2 - 1/pi int sin(a t) / t phi(t) dt from 0 to infinity (Gil-Pelaez, Biometrika 38, 1951).
    For a lattice of so wide a `step` it goes to pi / step, with 2 sin(step t / 2) / step in the
    place of t, and `a` has to lie between two places. The trapezoid rule of an even function
    that is flat at its ends converges as fast as its Fourier transform decays. The integral
    ends where phi has fallen to 1e-13, at the latest at `longest` / spread.
    """
    end, last = 1 / spread, math.pi / step if step else math.inf
    while end < min(longest / spread, last):
        if np.abs(characteristic(np.linspace(end, min(2 * end, last), 65))).max() < 1e-13:
            break
        end *= 2
    end = min(end, last)
    n = 256 + int(16 * end * max(a, spread))
    t = np.linspace(0, end, n + 1)[1:]
    below = 2 * np.sin(0.5 * step * t) / step if step else t
    f = characteristic(t) * np.sin(a * t) / below
    f[-1] *= 0.5
    return 0.5 - float(0.5 * a + f.sum()) * end / n / math.pi


@functools.cache
def _signs_below(n_signs: int, a: int) -> float:
    """P(S < -a) for the sum S of so many random signs."""
    if n_signs <= a:
        return 0.0
    edge = a if (n_signs - a) % 2 else a + 1  # between two places
    return max(
        0.0, _lower_tail(lambda t: np.cos(t) ** n_signs, edge, math.sqrt(n_signs), step=2.0)
    )


def _overlaps(n_others: int) -> tuple[Array, Array]:
    """Sums of so many random signs, and their probabilities."""
    k = range(n_others + 1)
    chances = np.array([math.comb(n_others, i) / 2**n_others for i in k])
    return np.array([2.0 * i - n_others for i in k]), chances


def _terms_below(
    terms: Array, chances: Array, count: int, a: float, step: float = 0.0, longest: float = 96.0
) -> float:
    """P(S < -a) of a sum of so many terms, each a random sign times one of `terms`."""
    spread = math.sqrt(count * float((chances * terms**2).sum()))
    terms, a, step = terms / spread, a / spread, step / spread

    def characteristic(t: Array) -> Array:
        one = sum(p * np.cos(x * t) for p, x in zip(chances, terms, strict=True))
        return np.asarray(one**count)

    return max(0.0, _lower_tail(characteristic, a, 1.0, step, longest))


@functools.cache
def _dense_error(n: int, k: int, degree: int, rectified: bool) -> float:
    """P(turning a bit of one of k random patterns lowers E = -sum F), at this n and k.

    With the bit turned, F of the pattern itself falls by n^d - (n - 2)^d; the others add
    +-(F(O + 1) - F(O - 1)) each, O being a sum of n - 1 random signs.
    """
    if k == 1:
        return 0.0
    if degree == 2 and not rectified:
        return _signs_below((k - 1) * (n - 1), n - 1)
    places, chances = _overlaps(n - 1)

    def f(x: Array) -> Array:
        return np.asarray((np.maximum(x, 0) if rectified else x) ** degree)

    signal = float(n) ** degree - float(n - 2) ** degree
    terms = f(places + 1) - f(places - 1)
    # Sums lie on a lattice; one that is the signal itself turns nothing. The edge is put
    # halfway to the next place below.
    unit = math.gcd(*(int(x) for x in terms), int(signal))
    odd = [int(x) // unit % 2 == 1 for x in terms]
    if all(odd):
        step = 2.0 * unit
        edge = signal if (int(signal) // unit - (k - 1)) % 2 else signal + unit
    else:
        step, edge = float(unit), signal + unit / 2
    return _terms_below(terms, chances, k - 1, edge, step)


@functools.cache
def _sequence_error(n: int, p: int, degree: int | None) -> float:
    """P(a bit of the next pattern is wrong), at this n and length p; None: exponential."""
    if degree == 1:
        # A field of 0 keeps the bit, which is right half of the time.
        count, a = (p - 1) * (n - 1), n - 1
        return 0.5 * (_signs_below(count, a) + _signs_below(count, a - 1))
    places, chances = _overlaps(n - 1)
    if degree is None:
        # A few near patterns make most of the noise: phi falls slowly.
        return _terms_below(np.exp(places - (n - 1)), chances, p - 1, 1.0, 0.0, 8192.0)
    return _terms_below(places**degree, chances, p - 1, float(n - 1) ** degree)


@functools.cache
def _stable_chance(n: int, k: int, degree: int) -> float:
    """P(all n bits of one of k patterns are right after one step).

    The units of a pattern share its overlaps with the others, and with these the strength V of
    the noise: it is E (1 - p(V))^n, and not (1 - p)^n. For degree 2 the overlaps O_mu are
    normal numbers, V = |O|^2 is n times a chi-squared number of k - 1 degrees of freedom, and
    the k - 1 bits y of one unit are at an angle to O of density
    exp(|O| |y| cos / (n - 1)) sin^(k-3), as O = y + (what the other units add); the bit is
    wrong where y . O < k - n. For higher degrees the terms of a unit given the overlaps have a
    mean, the pull, and a variance; V is the sum of these variances, its density from its
    characteristic function, and the pull given V and the noise given both are taken as normal.
    Either is scaled so that the mean of p is the exact one. An approximation: far out, where
    few patterns are stable, it is up to a third too high.
    """
    exact = _dense_error(n, k, degree, False)
    if k == 1:
        return 1.0
    if degree == 2:
        d = k - 1
        v = np.linspace(1e-3, 1 + 12 * math.sqrt(2 / d) + 20 / d, 400)
        weights = np.exp((d / 2 - 1) * np.log(v) - d * (v - 1) / 2)
        angles = np.linspace(math.pi, 0, 2001)[1:-1]
        size = d * np.sqrt(n * v)  # |O| |y|
        log = (size / (n - 1))[:, None] * np.cos(angles) + max(d - 2, 0) * np.log(
            np.sin(angles)
        )
        density = np.exp(log - log.max(axis=1, keepdims=True))
        below = density.cumsum(axis=1)
        edge = np.arccos(np.clip((k - n) / size, -1, 1))
        p = np.array(
            [np.interp(-e, -angles, b) / b[-1] for e, b in zip(edge, below, strict=True)]
        )
        p[(k - n) / size <= -1] = 0
    else:
        places, chances = _overlaps(n)
        up = (1 + places / n) / 2  # that the unit agrees, given the overlap with it
        plus = places**degree - (places - 2) ** degree
        minus = (places + 2) ** degree - places**degree
        pull = up * plus - (1 - up) * minus
        noise = up * plus**2 + (1 - up) * minus**2 - pull**2
        mean = (k - 1) * float((chances * noise).sum())
        longest, m = 16.0, 4096  # in units of the mean
        t = 2 * math.pi * np.arange(m) / longest
        one = sum(c * np.exp(1j * t * x) for c, x in zip(chances, noise / mean, strict=True))
        v = np.arange(2 * m) * longest / (2 * m)
        weights = np.fft.hfft(one ** (k - 1), 2 * m).clip(0)
        # The shared pull given V: its regression, and the rest as a normal number.
        away = noise - mean / (k - 1)
        slope = float((chances * pull * away).sum() / (chances * away**2).sum())
        rest = math.sqrt((k - 1) * float((chances * (pull - slope * away) ** 2).sum()))
        nodes, heights = np.polynomial.hermite_e.hermegauss(15)
        signal = float(n) ** degree - float(n - 2) ** degree
        signals = signal + slope * mean * (v - 1) + rest * nodes[:, None]
        ratio = signals / np.sqrt(2 * mean * np.maximum(v, v[1]))
        p = np.array([0.5 * math.erfc(r) for r in ratio.ravel()])
        weights = (weights * heights[:, None]).ravel()
    weights = weights / weights.sum()
    p = np.minimum(p * exact / max(float((weights * p).sum()), 1e-300), 0.5)
    return float((weights * np.exp(n * np.log1p(-p))).sum())


def _dense_limit(n: int, k: int, degree: int, rectified: bool = False) -> float:
    return float(theory.dam_bit_error(n, k, degree, rectified=rectified))


def _exponential_limit(n: int, p: int) -> float:
    """The Gaussian tail for f(x) = exp((N - 1) x): b^(N-1) / P of signal over noise."""
    snr = (math.exp(2) / math.cosh(2)) ** (n - 1) / p
    return 0.5 * math.erfc(math.sqrt(0.5 * snr))


def _none_wrong(error: float, n: float) -> float:
    """(1 - p)^n."""
    return math.exp(n * math.log1p(-error))


# ------------------------------------------------------------------------- what is a study --


@dataclass(frozen=True)
class Mark:
    """A vertical line at a law, and its name.

    `at` is the height of the name, from 0 to 1; `line` the curve whose colour it has, if any.
    """

    x: float
    text: str
    at: float = 0.3
    line: int | None = None


@dataclass(frozen=True)
class Line:
    """One curve of a panel: points with their intervals, and laws as lines."""

    label: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    theory: tuple[tuple[float, ...], tuple[float, ...]] | None
    limit: tuple[tuple[float, ...], tuple[float, ...]] | None


@dataclass(frozen=True)
class Panel:
    """What the figure of one study shows.

    `note` says what its lines are; `labels` where names of curves go, "right" beside the panel
    or "top" at the upper end of each curve.
    """

    study: str
    title: str
    note: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...]
    log_x: bool
    log_y: bool
    labels: str
    levels: tuple[tuple[float, str], ...]
    diagonal: bool


@dataclass
class _Curve:
    label: str
    law: Law | None = None
    limit: Law | None = None
    grid: Sequence[float] = ()


@dataclass
class _Group:
    """Points that are measured together."""

    points: tuple[tuple[str, float], ...]
    cost: float
    measure: Callable[[int, Collection[tuple[str, float]]], Iterator[_Found]]


_Found = tuple[str, float, _Sample]


@dataclass
class _Study:
    title: str
    note: str
    x_label: str
    y_label: str
    curves: list[_Curve]
    groups: list[_Group]
    marks: tuple[Mark, ...] = ()
    log_x: bool = False
    log_y: bool = False
    labels: str = "right"
    levels: tuple[tuple[float, str], ...] = ()
    diagonal: bool = False


def _point(label: str, x: float, cost: float, sample: Callable[[int], _Sample]) -> _Group:
    """A group of one point."""

    def measure(seed: int, wanted: Collection[tuple[str, float]]) -> Iterator[_Found]:
        yield label, float(x), sample(seed)

    return _Group(((label, float(x)),), cost, measure)


def _bits(rng: np.random.Generator, *shape: int) -> Array:
    """Random +1 and -1."""
    return rng.integers(0, 2, shape, dtype=np.int8).astype(np.float64) * 2 - 1


def _damaged(rng: np.random.Generator, rows: Array, n_flips: int) -> Array:
    """Each row with so many different units flipped."""
    rows = rows.copy()
    for row in rows:
        row[rng.choice(row.size, n_flips, replace=False)] *= -1
    return rows


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 62))


def _around(values: Iterable[float]) -> tuple[int, ...]:
    """Whole numbers, each once."""
    return tuple(sorted({max(2, round(value)) for value in values}))


def _geometric(low: float, high: float, n: int = 36) -> tuple[float, ...]:
    """Whole numbers, evenly spaced on a log axis."""
    return tuple(float(x) for x in np.unique(np.round(np.geomspace(low, high, n))))


# ------------------------------------------------------------------------ classical network --


def _hopfield(quick: bool) -> _Study:
    loads = (0.05, 0.08, 0.10, 0.11, 0.12, 0.13, 0.138, 0.15, 0.16, 0.18, 0.20)
    n_runs = 5 if quick else 20
    curves, groups = [], []

    def sample(seed: int, n: int, load: float) -> _Sample:
        overlaps = []
        for run in range(n_runs):
            rng = cell_rng(seed, "hopfield", n, load, run)
            patterns = _bits(rng, round(load * n), n)
            network = HopfieldNetwork(n).store(patterns)
            some = patterns[:50]
            state = network.retrieve(some, seed=_seed(rng))
            overlaps.append(float((state * some).mean()))
        return _Sample(overlaps)

    top = theory.ags_critical().load
    grid = (*np.linspace(0.001, 0.999 * top, 200).tolist(), top, top * 1.0001, 0.2)
    for n in (200, 400) if quick else (1000, 2000):
        curves.append(_Curve(f"N = {n}", theory.ags_overlap, None, grid))
        groups += [
            _point(f"N = {n}", load, n * n * n_runs * load, partial(sample, n=n, load=load))
            for load in loads
        ]
    return _Study(
        "Hebbian network: overlap at rest",
        "line: mean field, N infinite",
        "load P / N",
        "overlap with the pattern",
        curves,
        groups,
        (Mark(top, f"retrieval ends, {top:.3f}", 0.3),),
    )


def _errors(quick: bool) -> _Study:
    n, n_runs = (400, 8) if quick else (1000, 20)
    top = theory.ags_critical().load

    def sample(seed: int, load: float, at_rest: bool) -> _Sample:
        hits, trials = [], []
        for run in range(n_runs):
            rng = cell_rng(seed, "errors", n, load, at_rest, run)
            patterns = _bits(rng, round(load * n), n)
            network = HopfieldNetwork(n).store(patterns)
            if at_rest:
                patterns = patterns[:50]
                wrong = network.retrieve(patterns, seed=_seed(rng)) != patterns
            else:
                wrong = network.fields(patterns) * patterns < 0
            hits.append(int(wrong.sum()))
            trials.append(wrong.size)
        return _Sample(hits, trials)

    groups = []
    for label, at_rest, loads in (
        ("after one step", False, (0.08, 0.10, 0.12, 0.15, 0.18, 0.22)),
        ("at rest", True, (0.08, 0.10, 0.11, 0.12, 0.13)),
    ):
        groups += [
            _point(label, x, n * n * n_runs * x, partial(sample, load=x, at_rest=at_rest))
            for x in loads
        ]
    grid = np.arange(round(0.06 * n), round(0.23 * n)) / n
    return _Study(
        f"Hebbian network, {n} units: wrong bits",
        "lines: exact law (one step), mean field (at rest)",
        "load P / N",
        "fraction of wrong bits",
        [
            _Curve(
                "after one step",
                lambda x: _dense_error(n, round(x * n), 2, False),
                theory.hopfield_bit_error,
                grid[:: max(1, n // 200)].tolist(),
            ),
            _Curve("at rest", theory.ags_bit_error, None, np.linspace(0.06, top, 80).tolist()),
        ],
        groups,
        (Mark(top, f"retrieval ends, {top:.3f}", 0.25),),
        log_y=True,
        labels="top",
    )


def _stable_part(network: HopfieldNetwork, patterns: Array) -> int:
    """How many of the patterns are fixed points."""
    return int((network.fields(patterns) * patterns >= 0).all(axis=1).sum())


def _stable(quick: bool, every: bool = False) -> _Study:
    which, share = ("all", 4) if every else ("one", 2)
    name = "stable-all" if every else "stable"
    curves, groups, marks = [], [], []

    def sample(seed: int, n: int, k: int, n_runs: int) -> _Sample:
        hits = []
        for run in range(n_runs):
            patterns = _bits(cell_rng(seed, name, n, k, run), k, n)
            right = _stable_part(HopfieldNetwork(n).store(patterns), patterns)
            hits.append(int(right == k) if every else right)
        return _Sample(hits, [1 if every else k] * n_runs)

    for i, n in enumerate((32, 128) if quick else (64, 256, 1024)):
        mark = theory.hopfield_capacity(n, which)
        parts = (0.5, 0.75, 1.0, 1.3, 1.7, 2.3, 3.0) if every else (0.5, 0.7, 1, 1.4, 1.9, 2.8)
        n_runs = max(20, (4000 if quick else 20_000) // n)
        if every:
            n_runs = 100 if quick else 300

        def law(x: float, n: int = n) -> float:
            return float(_stable_chance(n, round(x), 2) ** (round(x) if every else 1))

        def limit(x: float, n: int = n) -> float:
            error = float(theory.hopfield_bit_error(round(x) / n))
            return _none_wrong(error, n * (round(x) if every else 1))

        label = f"N = {n}"
        curves.append(_Curve(label, law, limit, _geometric(0.4 * mark, 3.2 * mark, 60)))
        marks.append(Mark(mark, f"N / ({share} ln N)", 0.12, i))
        for k in _around(part * mark for part in parts):
            cost = n * n * (k + 20) * n_runs / 20
            groups.append(_point(label, k, cost, partial(sample, n=n, k=k, n_runs=n_runs)))
    power = "ᴺᴾ" if every else "ᴺ"
    return _Study(
        "Hebbian network: all patterns stable" if every else "Hebbian network: stable patterns",
        f"solid: units share their noise; dashed: (1 - p){power}, Gaussian p",
        "patterns P",
        "chance that all are stable" if every else "part of the patterns that are stable",
        curves,
        groups,
        tuple(marks),
        log_x=True,
        labels="top",
    )


# --------------------------------------------------------------------------- dense memories --


def _dense_wrong(rng: np.random.Generator, n: int, k: int, degree: int, rectified: bool) -> Any:
    """Wrong bits of some patterns of one memory: (patterns, n), bool."""
    patterns = _bits(rng, k, n)
    memory = DenseAssociativeMemory(n, degree=degree, rectified=rectified).store(patterns)
    return memory.flip_energies(patterns[:50]) < 0


_DENSE_LAWS = {2: "α₂ N", 3: "α₃ N²", 4: "α₄ N³", 5: "α₅ N⁴"}


def _dense(quick: bool, rectified: bool = False) -> _Study:
    name = "dense-rectified" if rectified else "dense"
    n = 30 if quick else 60
    curves, groups, marks = [], [], []

    def sample(seed: int, degree: int, k: int, n_runs: int) -> _Sample:
        hits, trials = [], []
        for run in range(n_runs):
            rng = cell_rng(seed, name, n, degree, k, run)
            wrong = _dense_wrong(rng, n, k, degree, rectified)
            hits.append(int(wrong.sum()))
            trials.append(wrong.size)
        return _Sample(hits, trials)

    for degree in (2, 3, 4, 5):
        label = f"n = {degree}"
        largest = theory.dam_capacity(n, degree, 0.03, rectified=rectified)

        def law(x: float, degree: int = degree) -> float:
            return _dense_error(n, round(x), degree, rectified)

        def limit(x: float, degree: int = degree) -> float:
            return _dense_limit(n, round(x), degree, rectified)

        curves.append(_Curve(label, law, limit, _geometric(0.25 * largest, 1.05 * largest)))
        mark = theory.dam_capacity(n, degree, rectified=rectified)
        text = ("2 " if rectified else "") + _DENSE_LAWS[degree]
        marks.append(Mark(mark, text, 0.12, degree - 2))
        for k in _around(part * largest for part in (0.35, 0.5, 0.7, 1.0)):
            bits = 30_000 if quick else 60_000 if degree == 5 else 150_000
            n_runs = max(10, math.ceil(bits / (min(k, 50) * n)))
            groups.append(
                _point(
                    label,
                    k,
                    1.9e-9 * n_runs * min(k, 50) * n * k * 1e9,
                    partial(sample, degree=degree, k=k, n_runs=n_runs),
                )
            )
    return _Study(
        f"{'Rectified dense' if rectified else 'Dense'} memories, {n} units: one step",
        "solid: exact law; dashed: Gaussian law of many units",
        "patterns K",
        "fraction of wrong bits",
        curves,
        groups,
        tuple(marks),
        log_x=True,
        log_y=True,
        labels="top",
        levels=((0.005, "0.5 %"),),
    )


def _dense_free(quick: bool) -> _Study:
    n, n_runs = (20, 20) if quick else (40, 40)
    curves, groups, marks = [], [], []

    def sample(seed: int, degree: int, k: int) -> _Sample:
        hits, trials = [], []
        for run in range(n_runs):
            rng = cell_rng(seed, "dense-free", n, degree, k, run)
            wrong = _dense_wrong(rng, n, k, degree, False)
            hits.append(int((~wrong.any(axis=1)).sum()))
            trials.append(len(wrong))
        return _Sample(hits, trials)

    for degree in (2, 3, 4, 5):
        label = f"n = {degree}"
        mark = theory.dam_error_free_capacity(n, degree)

        def law(x: float, degree: int = degree) -> float:
            return _stable_chance(n, round(x), degree)

        def limit(x: float, degree: int = degree) -> float:
            return _none_wrong(_dense_limit(n, round(x), degree), n)

        curves.append(_Curve(label, law, limit, _geometric(max(2, 0.3 * mark), 4.2 * mark)))
        marks.append(Mark(mark, f"n = {degree}, law", 0.14, degree - 2))
        for k in _around(part * mark for part in (0.5, 0.8, 1.2, 1.8, 2.7, 4.0)):
            groups.append(
                _point(
                    label,
                    k,
                    1.9 * n_runs * min(k, 50) * n * k,
                    partial(sample, degree=degree, k=k),
                )
            )
    return _Study(
        f"Dense memories, {n} units: no wrong bit",
        "solid: units share their noise; dashed: (1 - p)ᴺ, Gaussian p",
        "patterns K",
        "part of the patterns that are stable",
        curves,
        groups,
        tuple(marks),
        log_x=True,
        labels="top",
    )


def _promised(rate: float) -> float:
    """The largest damage from which the theorem promises so many patterns."""
    low, high = 0.0, 0.5
    for _ in range(60):
        middle = (low + high) / 2
        if theory.exponential_rate(middle) > rate:
            low = middle
        else:
            high = middle
    return low


def _exponential(quick: bool) -> _Study:
    n, n_runs = (24, 10) if quick else (40, 40)
    curves, groups, marks = [], [], []

    def sample(seed: int, k: int, part: float) -> _Sample:
        hits, trials = [], []
        for run in range(n_runs):
            rng = cell_rng(seed, "exponential", n, k, part, run)
            patterns = _bits(rng, k, n)
            memory = DenseAssociativeMemory(n, interaction="exponential").store(patterns)
            some = patterns[:50]
            cues = _damaged(rng, some, round(part * n))
            state = memory.retrieve(cues, n_steps=1, seed=_seed(rng))
            hits.append(int((state == some).all(axis=1).sum()))
            trials.append(len(some))
        return _Sample(hits, trials)

    for i, rate in enumerate((0.10, 0.20)):
        k = round(math.exp(rate * n)) + 1
        label = f"{k:,} patterns"
        curves.append(_Curve(label))
        marks.append(Mark(_promised(rate), f"theorem, exp({rate:g} N)", 0.4, i))
        for part in (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4):
            groups.append(
                _point(
                    label,
                    part,
                    20.0 * n_runs * 50 * n * (k + 100),
                    partial(sample, k=k, part=part),
                )
            )
    return _Study(
        f"Exponential memory, {n} units: one sweep",
        "the theorem promises all of it left of its mark, for N infinite",
        "fraction of units damaged",
        "part recovered exactly",
        curves,
        groups,
        tuple(marks),
    )


# ---------------------------------------------------------------------------------- learning --

_RULES = {"hebb": "Hebb", "storkey": "Storkey", "pseudo_inverse": "pseudo-inverse"}


def _rules(quick: bool) -> _Study:
    n, n_runs = (50, 6) if quick else (100, 20)

    def sample(seed: int, rule: str, load: float) -> _Sample:
        hits, k = [], round(load * n)
        for run in range(n_runs):
            patterns = _bits(cell_rng(seed, "rules", n, load, run), k, n)
            hits.append(_stable_part(HopfieldNetwork(n, rule).store(patterns), patterns))
        return _Sample(hits, [k] * n_runs)

    groups = [
        _point(
            name,
            load,
            n * n * n * load * n_runs * (100 if rule == "storkey" else 20),
            partial(sample, rule=rule, load=load),
        )
        for rule, name in _RULES.items()
        for load in (0.04, 0.1, 0.14, 0.2, 0.26, 0.32, 0.4, 0.5, 0.6, 0.8)
    ]
    grid = (np.arange(2, round(0.82 * n), 2) / n).tolist()
    return _Study(
        f"Learning rules, {n} units",
        "lines: units share their noise (Hebb); 1 (pseudo-inverse)",
        "load P / N",
        "part of the patterns that are stable",
        [
            _Curve(
                "Hebb",
                lambda x: _stable_chance(n, round(x * n), 2),
                None,
                grid,
            ),
            _Curve("Storkey"),
            _Curve("pseudo-inverse", lambda x: 1.0, None, (0.02, 0.82)),
        ],
        groups,
        (
            Mark(theory.hopfield_capacity(n, "one") / n, "Hebb, N / (2 ln N)", 0.4, 0),
            Mark(theory.storkey_capacity(n) / n, "Storkey, N / √(2 ln N)", 0.4, 1),
        ),
    )


def _unlearning(quick: bool) -> _Study:
    n, n_runs = (50, 6) if quick else (100, 20)
    counts = tuple(range(0, 15 * n + 1, 3 * n if quick else n))
    loads = (0.2, 0.3, 0.4)

    def group(load: float) -> _Group:
        label, k = f"P / N = {load:g}", round(load * n)

        def measure(seed: int, wanted: Collection[tuple[str, float]]) -> Iterator[_Found]:
            pairs = []
            for run in range(n_runs):
                patterns = _bits(cell_rng(seed, "unlearning", n, load, run), k, n)
                pairs.append((HopfieldNetwork(n).store(patterns), patterns))
            for count in range(0, counts[-1] + 1, n):
                for run, (network, _) in enumerate(pairs):
                    if count:
                        # Every bout of dreams has luck of its own.
                        rng = cell_rng(seed, "unlearning", n, load, run, count)
                        network.unlearn(n, epsilon=0.01, seed=_seed(rng))
                if (label, float(count)) in wanted:
                    hits = [_stable_part(*pair) for pair in pairs]
                    yield label, float(count), _Sample(hits, [k] * n_runs)

        return _Group(tuple((label, float(c)) for c in counts), 6e5 * n * n_runs, measure)

    return _Study(
        f"Unlearning, {n} units, steps of 0.01 / N",
        "",
        "dreams",
        "part of the patterns that are stable",
        [_Curve(f"P / N = {load:g}") for load in loads],
        [group(load) for load in loads],
    )


# --------------------------------------------------------------------------- other memories --


def _sdm(quick: bool) -> _Study:
    n, h, t, radius, n_asked = (
        (256, 20_000, 300, 108, 100) if quick else (1000, 1_000_000, 10_000, 451, 60)
    )
    sizes: dict[str, Any] = {
        "n_features": n,
        "n_locations": h,
        "radius": radius,
        "n_patterns": t,
    }
    critical = {
        kind: float(theory.sdm_critical_distance(**sizes, kind=kind))
        for kind in ("hetero", "auto", "iterated")
    }
    near = [round(part * n) for part in (0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28, 0.32)]
    about = round(critical["iterated"])
    iterated = sorted(
        {*near[:-1:2], *(about + round(s * n) for s in (-0.03, -0.01, 0.01, 0.03))}
    )
    labels = {"hetero": "other words", "auto": "own words", "iterated": "read to rest"}
    xs = {"hetero": near, "auto": near, "iterated": iterated}
    n_others = 64 if quick else 100

    def measure(seed: int, wanted: Collection[tuple[str, float]]) -> Iterator[_Found]:
        rng = cell_rng(seed, "sdm", n, h, t, radius)
        # A word is the address itself and other bits: one memory serves for both kinds.
        words = rng.integers(0, 2, (t, n + n_others), dtype=np.int8) * 2 - 1
        memory = SparseDistributedMemory(
            n, h, radius=radius, word_length=n + n_others, seed=_seed(rng)
        )
        memory.store(words[:, :n], words)
        items = words[:n_asked]

        def read(cues: Array) -> Array:
            sums = memory.sums(cues)
            tie = np.concatenate([cues, np.zeros((len(cues), n_others))], axis=1)
            return np.where(sums > 0, 1, np.where(sums < 0, -1, tie))

        for kind in ("hetero", "auto", "iterated"):
            for x in xs[kind]:
                if (labels[kind], float(x)) not in wanted:
                    continue
                # Both kinds of one distance are asked with the same cues.
                chance = cell_rng(seed, "sdm", n, "cues", kind == "iterated", x)
                cues = _damaged(chance, items[:, :n], x)
                answer = read(cues)
                if kind == "hetero":
                    # A tie is wrong half of the time.
                    wrong = (1 - answer[:, n:] * items[:, n:]).sum(axis=1) / 2 * n / n_others
                else:
                    for _ in range(40 if kind == "iterated" else 0):
                        after = read(answer[:, :n])
                        if (after == answer).all():
                            break
                        answer = after
                    wrong = (answer[:, :n] != items[:, :n]).sum(axis=1)
                yield labels[kind], float(x), _Sample(wrong.tolist())

    def law(x: float, kind: str) -> float:
        return n * float(theory.sdm_bit_error(round(x), **sizes, kind=kind))

    grid = [float(d) for d in range(0, round(0.33 * n), max(1, n // 100))]
    points = tuple((labels[kind], float(x)) for kind in xs for x in xs[kind])
    return _Study(
        f"SDM, n = {n}, H = {h:,}, T = {t:,}, r = {radius}",
        "lines: law of one read; grey: no nearer than before",
        "distance of the cue (bits)",
        "distance of what is read (bits)",
        [
            _Curve(labels["hetero"], lambda x: law(x, "hetero"), None, grid),
            _Curve(labels["auto"], lambda x: law(x, "auto"), None, grid),
            _Curve(labels["iterated"]),
        ],
        [_Group(points, 4.0 * h * t, measure)],
        (
            Mark(critical["hetero"], "critical, other words", 0.73, 0),
            Mark(critical["iterated"], "critical, to rest", 0.77, 2),
            Mark(critical["auto"], "critical, own words", 0.21, 1),
        ),
        diagonal=True,
    )


def _bam(quick: bool) -> _Study:
    loads = (0.05, 0.1, 0.14, 0.17, 0.19, 0.2, 0.22, 0.25, 0.3)
    n_runs = 5 if quick else 12
    curves, groups = [], []

    def sample(seed: int, n: int, load: float) -> _Sample:
        overlaps = []
        for run in range(n_runs):
            rng = cell_rng(seed, "bam", n, load, run)
            k = round(load * n)
            x, y = _bits(rng, k, n), _bits(rng, k, n)
            memory = BidirectionalAssociativeMemory(n, n).store(x, y)
            state = memory.recall(x[:50]).state
            overlaps.append(float((state * x[:50]).mean()))
        return _Sample(overlaps)

    top = theory.bam_critical().load
    grid = (*np.linspace(0.001, 0.999 * top, 200).tolist(), top, top * 1.0001, 0.3)
    for n in (200,) if quick else (500, 1000):
        label = f"n = {n}"
        curves.append(_Curve(label, theory.bam_overlap, None, grid))
        groups += [
            _point(label, x, 100 * n * n * n_runs * x, partial(sample, n=n, load=x))
            for x in loads
        ]
    return _Study(
        "Bidirectional memory, n units a layer: overlap",
        "line: mean field, n infinite",
        "load P / n",
        "overlap with the pattern",
        curves,
        groups,
        (Mark(top, f"retrieval ends, {top:.4f}", 0.3),),
    )


def _steps(
    name: str, n: int, degree: int | None, length: int, bits: int
) -> Callable[[int], _Sample]:
    """Wrong bits after one step along sequences of so many patterns."""

    def sample(seed: int) -> _Sample:
        hits: list[int] = []
        trials: list[int] = []
        while sum(trials) < bits or len(trials) < 10:
            rng = cell_rng(seed, name, n, degree, length, len(trials))
            song = _bits(rng, length, n)
            memory = (
                SequenceMemory(n, separation="exponential")
                if degree is None
                else SequenceMemory(n, degree)
            ).store(song)
            some = rng.choice(length, min(length, 50), replace=False)
            answer = memory.retrieve(song[some])
            hits.append(int((answer != song[(some + 1) % length]).sum()))
            trials.append(answer.size)
        return _Sample(hits, trials)

    return sample


def _sequence(quick: bool) -> _Study:
    n, bits = (40, 30_000) if quick else (100, 150_000)
    curves, groups, marks = [], [], []
    for degree in (1, 2, 3):
        label = f"d = {degree}"
        # Where the Gaussian law has 3 % of the bits wrong; d = n - 1 of the dense memories.
        largest = theory.dam_capacity(n, degree + 1, 0.03)

        def law(x: float, degree: int = degree) -> float:
            return _sequence_error(n, round(x), degree)

        def limit(x: float, degree: int = degree) -> float:
            return float(theory.sequence_bit_error(n, round(x), degree))

        curves.append(_Curve(label, law, limit, _geometric(0.25 * largest, 1.05 * largest)))
        marks.append(
            Mark(theory.sequence_capacity(n, degree), "no error in a step", 0.4, degree - 1)
        )
        groups += [
            _point(label, k, 12.0 * bits * k / 10, _steps("sequence", n, degree, k, bits))
            for k in _around(part * largest for part in (0.35, 0.5, 0.7, 1.0))
        ]
    return _Study(
        f"Sequence memories, {n} units: one step",
        "solid: exact law; dashed: Gaussian law of many units",
        "length of the sequence P",
        "fraction of wrong bits",
        curves,
        groups,
        tuple(marks),
        log_x=True,
        log_y=True,
        labels="top",
    )


def _sequence_exponential(quick: bool) -> _Study:
    bits = 30_000 if quick else 150_000
    curves, groups, marks = [], [], []
    for i, n in enumerate((9, 12) if quick else (10, 13, 16)):
        label = f"N = {n}"
        mark = theory.sequence_capacity(n, None)

        def law(x: float, n: int = n) -> float:
            return _sequence_error(n, round(x), None)

        def limit(x: float, n: int = n) -> float:
            return _exponential_limit(n, round(x))

        curves.append(_Curve(label, law, limit, _geometric(max(3, 0.25 * mark), 7 * mark)))
        marks.append(Mark(mark, "no error in a step", 0.3, i))
        groups += [
            _point(label, k, 4.0 * bits * k, _steps("sequence-exponential", n, None, k, bits))
            for k in _around(max(3, part * mark) for part in (0.3, 0.6, 1.2, 3, 6))
        ]
    return _Study(
        "Exponential sequence memories: one step",
        "solid: exact law; dashed: Gaussian law of many units",
        "length of the sequence P",
        "fraction of wrong bits",
        curves,
        groups,
        tuple(marks),
        log_x=True,
        log_y=True,
        labels="top",
    )


# ----------------------------------------------------------------------- continuous network --


def _on_sphere(rng: np.random.Generator, n: int, d: int) -> Array:
    rows = rng.standard_normal((n, d))
    return np.asarray(rows / np.sqrt((rows**2).sum(axis=1, keepdims=True)))


def _modern(quick: bool) -> _Study:
    d, n_runs = (32, 10) if quick else (64, 20)
    betas = (2.0, 4.0, 6.0, 8.0, 11.0, 14.0, 18.0, 24.0)
    curves, groups = [], []

    def sample(seed: int, n: int, beta: float) -> _Sample:
        distances, bounds = [], []
        for run in range(n_runs):
            patterns = _on_sphere(cell_rng(seed, "modern", d, n, run), n, d)
            network = ModernHopfieldNetwork(d, beta).store(patterns)
            moved = network.retrieve(patterns) - patterns
            distances.append(float(np.sqrt((moved**2).sum(axis=1)).mean()))
            # Theorem 5 for the pattern itself as the state: r = 0 in its exponent. Nothing is
            # farther away than 2.
            each = 2 * (n - 1) * np.exp(-beta * network.separations())
            bounds.append(float(np.minimum(each, 2).mean()))
        return _Sample(distances, None, float(np.exp(np.log(bounds).mean())), True)

    for n in (10, 100) if quick else (10, 100, 1000):
        curves.append(_Curve(f"{n:,} patterns"))
        groups += [
            _point(
                f"{n:,} patterns",
                b,
                n_runs * n * (n + 50) * d,
                partial(sample, n=n, beta=b),
            )
            for b in betas
        ]
    return _Study(
        f"Modern Hopfield network: one update, d = {d}",
        "lines: bound of Ramsauer et al. for these patterns",
        "β, patterns of length 1",
        "distance from the pattern (geometric mean)",
        curves,
        groups,
        log_x=True,
        log_y=True,
    )


def _pair(quick: bool) -> _Study:
    d, n_runs = 16, 5
    betas = (0.5, 0.8, 0.9, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)

    def sample(seed: int, beta: float) -> _Sample:
        overlaps = []
        for run in range(n_runs):
            x = _on_sphere(cell_rng(seed, "pair", d, beta, run), 1, d)
            network = ModernHopfieldNetwork(d, beta).store(np.concatenate([x, -x]))
            overlaps.append(float((network.recall(x, 10_000, tol=0.0).state * x).sum()))
        return _Sample(overlaps)

    grid = (0.4, 0.99, *np.linspace(1.0, 4.1, 150).tolist())
    return _Study(
        "Modern Hopfield network: a pattern, its negative",
        "line: m = tanh(β m)",
        "β",
        "overlap m at rest",
        [_Curve("x and -x", lambda beta: float(theory.tanh_overlap(1 / beta)), None, grid)],
        [_point("x and -x", b, 1e5, partial(sample, beta=b)) for b in betas],
        (Mark(1.0, "β = 1", 0.6),),
    )


def _metastable(quick: bool) -> _Study:
    d, n_runs = (32, 5) if quick else (64, 10)
    betas = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 14.0, 20.0)
    curves, groups = [], []

    def sample(seed: int, n: int, beta: float) -> _Sample:
        sizes = []
        for run in range(n_runs):
            patterns = _on_sphere(cell_rng(seed, "metastable", d, n, run), n, d)
            network = ModernHopfieldNetwork(d, beta).store(patterns)
            rest = network.recall(patterns[:50], 1000).state
            sizes.append(float(network.metastable(rest)[0].mean()))
        return _Sample(sizes)

    for n in (16, 64) if quick else (16, 128, 1024):
        label = f"{n:,} patterns"
        curves.append(_Curve(label))
        groups += [
            _point(label, b, n_runs * n * d * 500, partial(sample, n=n, beta=b)) for b in betas
        ]
    return _Study(
        f"Modern Hopfield network: states of rest, d = {d}",
        "from a pattern on; how many patterns share 90 % of the weight",
        "β, patterns of length 1",
        "patterns in a state",
        curves,
        groups,
        log_x=True,
        log_y=True,
        labels="left",
    )


_DEFINED: dict[str, Callable[[bool], _Study]] = {
    "hopfield": _hopfield,
    "errors": _errors,
    "stable": _stable,
    "stable-all": partial(_stable, every=True),
    "dense": _dense,
    "dense-rectified": partial(_dense, rectified=True),
    "dense-free": _dense_free,
    "exponential": _exponential,
    "rules": _rules,
    "unlearning": _unlearning,
    "sdm": _sdm,
    "bam": _bam,
    "sequence": _sequence,
    "sequence-exponential": _sequence_exponential,
    "modern": _modern,
    "pair": _pair,
    "metastable": _metastable,
}


@functools.cache
def _study(name: str, quick: bool) -> _Study:
    return _DEFINED[name](quick)


# ----------------------------------------------------------------------------------- the run --


@dataclass(frozen=True)
class _Task:
    """Points of a study that are measured together."""

    study: str
    group: int
    quick: bool
    seed: int

    @property
    def _group(self) -> _Group:
        return _study(self.study, self.quick).groups[self.group]

    @property
    def cost(self) -> float:
        return self._group.cost

    @property
    def provenance(self) -> Provenance:
        return (("version", uhn.__version__),)

    def keys(self) -> list[Key]:
        end = (int(self.quick), self.seed)
        return [(self.study, curve, x, *end) for curve, x in self._group.points]

    def run(self, data: Any, wanted: Collection[Key]) -> Iterator[Sequence[SimulationRow]]:
        curves = {curve.label: curve for curve in _study(self.study, self.quick).curves}
        places = {(key[1], key[2]) for key in wanted}
        start = time.perf_counter()
        for label, x, sample in self._group.measure(self.seed, places):
            if (label, x) not in places:
                continue
            mean, low, high = _interval(sample)
            curve = curves[label]
            law = sample.bound if curve.law is None else float(curve.law(x))
            limit = None if curve.limit is None else float(curve.limit(x))
            now = time.perf_counter()
            yield (
                SimulationRow(
                    self.study,
                    label,
                    x,
                    mean,
                    low,
                    high,
                    law,
                    limit,
                    len(sample.values),
                    int(self.quick),
                    self.seed,
                    now - start,
                    uhn.__version__,
                ),
            )
            start = now


def _take_names(names: str | Iterable[str] | None) -> tuple[str, ...]:
    """Studies in the order of `STUDIES`, all of them for None."""
    if names is None:
        return tuple(STUDIES)
    wanted = [names] if isinstance(names, str) else list(names)
    unknown = [repr(name) for name in wanted if name not in STUDIES]
    if unknown or not wanted:
        what = f"no study {', '.join(unknown)}" if unknown else "no study is named"
        raise ValueError(f"{what}; there are: {', '.join(STUDIES)}")
    return tuple(name for name in STUDIES if name in wanted)


def simulate(
    names: str | Iterable[str] | None = None,
    *,
    quick: bool = False,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    n_workers: int = 1,
    progress: bool | None = None,
) -> Simulations:
    """Simulates capacity laws, each beside its theory.

    Parameters
    ----------
    names : str or iterable of str, optional
        Of `STUDIES`; all of them by default.
    quick : bool, default False
        Small sizes: seconds in place of minutes, wider intervals, laws of many units less
        exact.
    seed : int, default 0
        At least 0.
    out : path, optional
        A file of JSON Lines: finished points are kept there, and taken from there.
    n_workers : int, default 1
        Processes; see `uhn.experiments.running.run`. The full size of "sdm" takes 2.3 GB.
    progress : bool, optional
        Whether to show a bar; by default where there is somebody to see it.

    Returns
    -------
    Simulations

    Raises
    ------
    ValueError
        A study that is not there (the message lists them), or a negative seed.

    Examples
    --------
    >>> from uhn.experiments.simulations import simulate
    >>> found = simulate("pair", quick=True)
    >>> row = found.rows[-1]
    >>> row.curve, row.x, round(row.mean, 6), round(row.theory, 6)
    ('x and -x', 4.0, 0.999326, 0.999326)
    """
    chosen = _take_names(names)
    if seed < 0:
        raise ValueError(f"seed must be at least 0, not {seed}")
    tasks = [
        _Task(name, i, bool(quick), int(seed))
        for name in chosen
        for i in range(len(_study(name, bool(quick)).groups))
    ]
    # What takes long is begun first, so that no process is left alone with it at the end.
    order = list(itertools.chain.from_iterable(task.keys() for task in tasks))
    rows = running.run(
        sorted(tasks, key=lambda task: -task.cost),
        row_type=SimulationRow,
        path=out,
        n_workers=n_workers,
        progress=progress,
        description="simulations",
    )
    found = {row.key: row for row in rows}
    return Simulations(tuple(found[key] for key in order))


# ------------------------------------------------------------------------------- the results --


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


@dataclass(frozen=True)
class Simulations:
    """What `simulate` returns: rows, and what can be made of them.

    Attributes
    ----------
    rows : tuple of SimulationRow
        All of one size (`quick`) and seed.
    """

    rows: tuple[SimulationRow, ...]

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("simulations need at least one row")
        if len({(row.quick, row.seed) for row in self.rows}) > 1:
            raise ValueError("rows of several sizes or seeds: pass those of one")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Simulations:
        """The rows that `simulate` kept in a file."""
        rows = {row.key: row for row in running.read(path, SimulationRow)}
        order = {
            (name, *point): i
            for name in STUDIES
            for quick in (False, True)
            for i, point in enumerate(
                point for group in _study(name, quick).groups for point in group.points
            )
        }
        places = {name: i for i, name in enumerate(STUDIES)}
        return cls(
            tuple(
                sorted(
                    rows.values(),
                    key=lambda r: (places[r.study], order.get((r.study, r.curve, r.x), 0)),
                )
            )
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The studies there are rows of."""
        there = {row.study for row in self.rows}
        return tuple(name for name in STUDIES if name in there)

    def _chosen(self, names: str | Iterable[str] | None) -> tuple[str, ...]:
        chosen = self.names if names is None else _take_names(names)
        missing = [repr(name) for name in chosen if name not in self.names]
        if missing:
            raise ValueError(
                f"no rows of {', '.join(missing)}; there are: {', '.join(self.names)}"
            )
        return chosen

    def _curves(self, name: str) -> Iterator[tuple[_Curve, list[SimulationRow]]]:
        for curve in _study(name, bool(self.rows[0].quick)).curves:
            rows = [row for row in self.rows if (row.study, row.curve) == (name, curve.label)]
            if rows:
                yield curve, sorted(rows, key=lambda row: row.x)

    def table(self, names: str | Iterable[str] | None = None) -> str:
        """The rows as text, a part a study."""
        lines = []
        for name in self._chosen(names):
            study = _study(name, bool(self.rows[0].quick))
            lines += [f"{name}: {study.title}", f"{study.y_label} against {study.x_label}"]
            lines.append(
                f"  {'curve':22}{'x':>10}{'simulated':>12}{'95 % interval':>24}"
                f"{'theory':>12}{'N infinite':>12}"
            )
            for curve, rows in self._curves(name):
                for row in rows:
                    span = f"{row.low:.4g} to {row.high:.4g}"
                    lines.append(
                        f"  {curve.label:22}{row.x:>10.6g}{row.mean:>12.4g}{span:>24}"
                        f"{_number(row.theory):>12}{_number(row.limit):>12}"
                    )
            lines.append("")
        return "\n".join(lines[:-1])

    def _repr_html_(self) -> str:
        """The tables of a notebook."""
        out = []
        heads = ("curve", "x", "simulated", "95 % interval", "theory", "N infinite")
        for name in self.names:
            study = _study(name, bool(self.rows[0].quick))
            caption = f"{study.title}: {study.y_label} against {study.x_label}"
            out.append(f"<table><caption>{html.escape(caption)}</caption>")
            out.append(f"<tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>")
            for curve, rows in self._curves(name):
                for row in rows:
                    cells = (
                        f"{row.x:.6g}",
                        f"{row.mean:.4g}",
                        f"{row.low:.4g} to {row.high:.4g}",
                        _number(row.theory),
                        _number(row.limit),
                    )
                    values = "".join(f"<td>{cell}</td>" for cell in cells)
                    out.append(f"<tr><th>{html.escape(curve.label)}</th>{values}</tr>")
            out.append("</table>")
        return "\n".join(out)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes the rows as a CSV file with a header line; what is not known is left empty."""
        with open(path, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in self.rows:
                writer.writerow(getattr(row, name) for name in COLUMNS)

    def to_pandas(self) -> Any:
        """The rows as a pandas.DataFrame.

        Raises
        ------
        ImportError
            Without pandas, with the line that installs it.
        """
        try:
            pandas: Any = importlib.import_module("pandas")
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install pandas") from error
        frame = pandas.DataFrame.from_records(map(asdict, self.rows), columns=list(COLUMNS))
        return frame.astype({"theory": "float64", "limit": "float64"})

    def panels(self, names: str | Iterable[str] | None = None) -> tuple[Panel, ...]:
        """What the figure of each study shows."""
        panels = []
        for name in self._chosen(names):
            study = _study(name, bool(self.rows[0].quick))
            lines = []
            for curve, rows in self._curves(name):
                law = limit = None
                grid = tuple(map(float, curve.grid))
                if curve.law is not None:
                    law = (grid, tuple(float(curve.law(x)) for x in grid))
                elif any(row.theory is not None for row in rows):
                    known = [(row.x, row.theory) for row in rows if row.theory is not None]
                    law = (tuple(x for x, _ in known), tuple(y for _, y in known))
                if curve.limit is not None:
                    limit = (grid, tuple(float(curve.limit(x)) for x in grid))
                lines.append(
                    Line(
                        curve.label,
                        tuple(row.x for row in rows),
                        tuple(row.mean for row in rows),
                        tuple(row.low for row in rows),
                        tuple(row.high for row in rows),
                        law,
                        limit,
                    )
                )
            panels.append(
                Panel(
                    name,
                    study.title,
                    study.note,
                    study.x_label,
                    study.y_label,
                    tuple(lines),
                    study.marks,
                    study.log_x,
                    study.log_y,
                    study.labels,
                    study.levels,
                    study.diagonal,
                )
            )
        return tuple(panels)

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        names: str | Iterable[str] | None = None,
    ) -> Any:
        """Draws a panel a study; needs matplotlib.

        Points with their 95 % intervals are simulation, solid lines theory, dashed ones the law
        of many units where theory has one of this size; dotted lines join points that no law is
        known for.

        Parameters
        ----------
        path : path, optional
            Where to write the figure; its ending says the format (png, pdf, svg).
        names : str or iterable of str, optional
            All studies there are rows of by default.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from uhn.plot import plot_simulations

        return plot_simulations(self.panels(names), path)
