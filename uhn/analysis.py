"""Attractors: what a memory does with its patterns, how far they reach, what else there is.

Functions of patterns (rows of +1 and -1) say what is to be expected; functions of a model ask
it, through `retrieve`, `recall` and `energy` alone, so that any two-state memory of the family
will do. Patterns and states are written in the coding of the model where there is one
(``coding='binary'`` has 0 and 1), as +1 and -1 elsewhere.

Randomness. Every number follows from the seed and its own coordinates (how many units were
flipped, of which pattern, which trial): neither the order of the work nor what else is asked
changes it, and more trials keep those there were.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from uhn import _core
from uhn._statistics import wilson
from uhn.models._base import decode, dots, encode, real_rows
from uhn.models._schedule import whole

__all__ = [
    "Basin",
    "Basins",
    "Classification",
    "CriticalDistance",
    "FixedPoints",
    "Stability",
    "basins",
    "classify",
    "critical_distance",
    "crosstalk",
    "fixed_points",
    "overlaps",
    "sample_fixed_points",
    "stability",
    "stable_fraction",
]

Array = npt.NDArray[Any]
Bits = npt.NDArray[np.int8]

#: Networks given by their weights are listed up to this many units, others up to _ASKED.
_LISTED, _ASKED = 30, 20
#: The most fixed points that are listed.
_MOST = 1 << 20
#: Numbers of a batch that is made at once.
_BATCH = 1 << 22


def _signs(rows: npt.ArrayLike, name: str, n_features: int = 0) -> tuple[Bits, bool]:
    """Rows of +1 and -1 as int8, and whether there was one row only."""
    array, single = real_rows(rows, n_features, name)
    return encode(array, "bipolar", name), single


def _coding(model: Any) -> str:
    return str(getattr(model, "coding", "bipolar"))


def _model_rows(model: Any, rows: npt.ArrayLike, name: str) -> Bits:
    """Rows in the coding of the model as int8 of +1 and -1."""
    array, _ = real_rows(rows, 0, name)
    if len(array) == 0:
        raise ValueError(f"{name} has shape {array.shape}: there is no pattern")
    return encode(array, _coding(model), name)


def _ask(model: Any, states: Bits, options: dict[str, Any]) -> Array:
    """What `retrieve` makes of the states, as float64 in which they are +1 and -1."""
    coding = _coding(model)
    answer = np.asarray(model.retrieve(decode(states, coding, np.float32), **options))
    if answer.shape != states.shape:
        raise ValueError(
            f"{type(model).__name__}.retrieve made {answer.shape} of states {states.shape}; "
            "its answers must be states again"
        )
    answer = answer.astype(np.float64)
    return answer if coding == "bipolar" else 2 * answer - 1


def _with_order(options: dict[str, Any], order_seed: int | None) -> dict[str, Any]:
    """Options of a model, its own seed among them."""
    return options if order_seed is None else {**options, "seed": order_seed}


def _batches(n_rows: int, n_features: int) -> Iterator[slice]:
    step = max(1, _BATCH // max(1, n_features))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


# ---------------------------------------------------------------------------------- patterns --


def overlaps(patterns: npt.ArrayLike, states: npt.ArrayLike) -> Array:
    """How much each state has of each pattern: m = xi . s / n_features.

    Parameters
    ----------
    patterns : array_like, shape (n_patterns, n_features)
        Of +1 and -1.
    states : array_like, shape (n_states, n_features) or (n_features,)
        Of +1 and -1.

    Returns
    -------
    ndarray of float64, shape (n_states, n_patterns) or (n_patterns,)
        A whole number divided once: 1 for the pattern itself, -1 for its negative, whatever the
        size.

    Raises
    ------
    ValueError
        If shapes do not fit, or at an entry that is not +1 or -1.

    Examples
    --------
    >>> from uhn import analysis
    >>> analysis.overlaps([[1, 1, -1, -1], [1, -1, 1, 1]], [1, 1, -1, 1])
    array([0.5, 0. ])
    """
    xi, _ = _signs(patterns, "patterns")
    s, single = _signs(states, "states", xi.shape[1])
    m: Array = dots(xi, s) / xi.shape[1]
    return m[0] if single else m


def crosstalk(patterns: npt.ArrayLike, *, self_coupling: bool = False) -> Array:
    """How much the other patterns pull each unit of each pattern away from it.

    ``C_i^mu = -xi_i^mu sum_(nu != mu) xi_i^nu sum_j xi_j^nu xi_j^mu / c``. Without
    self-coupling j leaves i out and c = n_features - 1, with it c = n_features: either way unit
    i of pattern mu is unstable in the Hebbian network of that kind exactly where C > 1, and
    tied where C = 1. Source: Hertz, Krogh, Palmer, Introduction to the Theory of Neural
    Computation, 1991, chapter 2.

    Parameters
    ----------
    patterns : array_like, shape (n_patterns, n_features)
        Of +1 and -1; n_features at least 2 without self-coupling.
    self_coupling : bool, default False
        Whether the diagonal of the weights is kept.

    Returns
    -------
    ndarray of float64, shape (n_patterns, n_features)
        Whole numbers divided once.

    Raises
    ------
    ValueError
        At an entry that is not +1 or -1, or for 1 feature without self-coupling.
    """
    xi, _ = _signs(patterns, "patterns")
    n_patterns, n_features = xi.shape
    divisor = n_features if self_coupling else n_features - 1
    if divisor == 0:
        raise ValueError("patterns has 1 feature: without self-coupling nothing acts on it")
    # Sum over all nu of xi_i^nu (xi^nu . xi^mu), less the term of mu itself.
    field = dots(xi.T, dots(xi, xi)) - float(n_features) * xi
    pull = -xi * field
    if not self_coupling:
        # Each of the others has had its own xi_i^nu xi_i^nu xi_i^mu in it.
        pull += n_patterns - 1
    # "+ 0.0" makes zeros positive.
    result: Array = pull / divisor + 0.0
    return result


class Stability(NamedTuple):
    """How firmly patterns hold.

    Attributes
    ----------
    fields : ndarray of float64, shape (n_patterns, n_features)
        kappa_i^mu: positive where the unit agrees with its field.
    minimum : ndarray of float64, shape (n_patterns,)
        The least of each pattern: positive for a fixed point, 0 for one with a tie.
    """

    fields: Array
    minimum: Array


def _matrix(weights: npt.ArrayLike, name: str = "weights") -> Array:
    array, single = real_rows(weights, 0, name)
    if single or array.shape[0] != array.shape[1]:
        shape = np.shape(weights)
        raise ValueError(f"{name} has shape {shape}; pass a square matrix, (n_units, n_units)")
    return np.ascontiguousarray(array, dtype=np.float64)


def _vector(bias: npt.ArrayLike | None, n_units: int) -> Array | None:
    if bias is None:
        return None
    array, single = real_rows(bias, n_units, "bias")
    if not single:
        raise ValueError(
            f"bias has shape {np.shape(bias)}; pass one number a unit, ({n_units},)"
        )
    return np.ascontiguousarray(array[0], dtype=np.float64)


def stability(
    patterns: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    bias: npt.ArrayLike | None = None,
) -> Stability:
    """Fields aligned with the patterns, measured by the length of the weights that make them.

    ``kappa_i^mu = xi_i^mu (sum_j w_ij xi_j^mu + b_i) / |w_i|``: by how much the pattern holds
    against noise in the other units. Where all weights of a unit are 0 it is infinite with the
    sign of xi_i b_i, or 0. Source: Gardner, J. Phys. A 21, 257 (1988); Krauth, Mezard, J. Phys.
    A 20, L745 (1987).

    Parameters
    ----------
    patterns : array_like, shape (n_patterns, n_features)
        Of +1 and -1.
    weights : array_like, shape (n_features, n_features), optional
        Hebbian weights of the patterns with a zero diagonal by default.
    bias : array_like, shape (n_features,), optional

    Returns
    -------
    Stability

    Raises
    ------
    ValueError
        If shapes do not fit, at an entry that is not +1 or -1, or a weight that is not finite.
    """
    xi, _ = _signs(patterns, "patterns")
    n_features = xi.shape[1]
    if weights is None:
        w = dots(xi.T, xi.T)
        np.fill_diagonal(w, 0)
    else:
        w = _matrix(weights)
        if len(w) != n_features:
            raise ValueError(
                f"weights has shape {w.shape}, but patterns have {n_features} features; they "
                f"must be ({n_features}, {n_features})"
            )
    b = _vector(bias, n_features)
    fields = dots(w, xi)
    if b is not None:
        fields += b
    fields *= xi
    lengths = np.sqrt(np.sum(w * w, axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        kappa = np.where(fields == 0, 0.0, fields / lengths)
    return Stability(kappa, kappa.min(axis=1))


# ----------------------------------------------------------------------------- single models --


def stable_fraction(model: Any, patterns: npt.ArrayLike, **options: Any) -> float:
    """The fraction of the patterns that one step of the model leaves as they are.

    Parameters
    ----------
    model : a two-state memory
    patterns : array_like, shape (n_patterns, n_features)
        In the coding of the model.
    **options
        For ``model.retrieve``; ``n_steps`` is 1.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For patterns that are not of two states, a model whose answers are of another shape.
    """
    xi = _model_rows(model, patterns, "patterns")
    return float(_stays(model, xi, options).sum()) / len(xi)


def _stays(model: Any, states: Bits, options: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """Which states one step leaves as they are."""
    options = {"n_steps": 1, **options}
    stays = np.empty(len(states), dtype=bool)
    for part in _batches(*states.shape):
        stays[part] = (_ask(model, states[part], options) == states[part]).all(axis=1)
    return stays


# ------------------------------------------------------------------------------------ basins --


@dataclass(frozen=True)
class Basin:
    """What came of cues at one distance.

    Attributes
    ----------
    noise : float
        Fraction of the units that were flipped: n_flips / n_features.
    n_flips : int
    n_trials : int
        Trials of all patterns together.
    n_recovered : int
    fraction : float
        n_recovered / n_trials.
    low, high : float
        Wilson's 95 % interval of the fraction. Trials of one model share its patterns, so that
        between models the spread can be wider.
    overlap : float
        Mean overlap of the final states with the pattern asked for.
    """

    noise: float
    n_flips: int
    n_trials: int
    n_recovered: int
    fraction: float
    low: float
    high: float
    overlap: float


@dataclass(frozen=True)
class Basins:
    """Basins of attraction, one row a noise level.

    Attributes
    ----------
    rows : tuple of Basin
        In the order asked for.
    criterion : float
    seed : int
    """

    rows: tuple[Basin, ...]
    criterion: float
    seed: int

    def column(self, name: str) -> Array:
        """One attribute of all rows, such as 'fraction', as an array."""
        return np.array([getattr(row, name) for row in self.rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        lines = ["  noise  recovered  95 % interval    overlap"]
        lines += [
            f"{row.noise:7.4f}  {row.fraction:9.4f}  {row.low:.4f} - {row.high:.4f}  "
            f"{row.overlap:9.4f}"
            for row in self.rows
        ]
        return "\n".join(lines)


class _Cells:
    """Damaged patterns and what the model made of them, cell by cell."""

    def __init__(
        self,
        model: Any,
        patterns: npt.ArrayLike,
        n_trials: int,
        seed: int,
        criterion: float,
        options: dict[str, Any],
    ) -> None:
        self.model = model
        self.patterns = _model_rows(model, patterns, "patterns")
        self.n_trials = whole(n_trials, "n_trials", 1)
        self.seed = whole(seed, "seed", 0)
        self.criterion = float(criterion)
        if not -1 < self.criterion <= 1:
            raise ValueError(f"criterion is {criterion!r}; it is an overlap, at most 1")
        self.options = options
        self._known: dict[int, Basin] = {}

    @property
    def n_features(self) -> int:
        return int(self.patterns.shape[1])

    def cues(self, n_flips: int, pattern: int) -> Bits:
        """n_trials copies of a pattern, each with so many other units flipped."""
        coordinates = [self.seed, n_flips, pattern]
        rng = np.random.default_rng(np.random.SeedSequence(coordinates))
        cues = np.repeat(self.patterns[pattern : pattern + 1], self.n_trials, axis=0)
        if n_flips:
            lots = rng.random(cues.shape)
            chosen = np.argpartition(lots, n_flips - 1, axis=1)[:, :n_flips]
            rows = np.arange(self.n_trials)[:, None]
            cues[rows, chosen] *= -1
        return cues

    def basin(self, n_flips: int) -> Basin:
        """All patterns at one distance."""
        if n_flips in self._known:
            return self._known[n_flips]
        n_patterns, n_features = self.patterns.shape
        n_recovered, total = 0, 0.0
        together = max(1, _BATCH // (self.n_trials * n_features))
        for start in range(0, n_patterns, together):
            some = range(start, min(start + together, n_patterns))
            cues = np.concatenate([self.cues(n_flips, mu) for mu in some])
            states = _ask(self.model, cues, self.options)
            for mu in some:
                cell = states[(mu - start) * self.n_trials :][: self.n_trials]
                m = (cell * self.patterns[mu]).sum(axis=1) / n_features
                n_recovered += int((m >= self.criterion).sum())
                total += float(m.sum())
        n = n_patterns * self.n_trials
        low, high = wilson(n_recovered, n)
        noise, fraction = n_flips / n_features, n_recovered / n
        found = Basin(noise, n_flips, n, n_recovered, fraction, low, high, total / n)
        self._known[n_flips] = found
        return found


def basins(
    model: Any,
    patterns: npt.ArrayLike,
    noise: npt.ArrayLike = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5),
    n_trials: int = 10,
    seed: int = 0,
    criterion: float = 1.0,
    *,
    order_seed: int | None = None,
    on_progress: Callable[[float], None] | None = None,
    **options: Any,
) -> Basins:
    """How often damaged patterns come back, for growing damage.

    Every trial flips exactly ``round(noise * n_features)`` different units of a pattern, drawn
    at random, and asks the model.

    Parameters
    ----------
    model : a two-state memory
    patterns : array_like, shape (n_patterns, n_features)
        Those asked for, in the coding of the model; not necessarily all that it holds.
    noise : array_like of float
        Fractions of the units flipped, each from 0 to 1.
    n_trials : int, default 10
        Trials of each pattern at each noise level.
    seed : int, default 0
    criterion : float, default 1
        The least overlap with the pattern that counts as recovered; 1 is every bit.
    order_seed : int, optional
        The ``seed`` of ``model.retrieve``, for models that look at units in a random order.
    on_progress : callable, optional
        Called now and then with the fraction that is done, from 0 to 1; what it raises ends the
        call.
    **options
        For ``model.retrieve``, such as ``n_steps`` and ``mode``.

    Returns
    -------
    Basins

    Raises
    ------
    ValueError
        For noise outside [0, 1], patterns that are not of two states, a model whose answers are
        of another shape.
    """
    options = _with_order(options, order_seed)
    cells = _Cells(model, patterns, n_trials, seed, criterion, options)
    levels = np.atleast_1d(np.asarray(noise, dtype=np.float64))
    if levels.ndim != 1 or not ((levels >= 0) & (levels <= 1)).all():
        raise ValueError("noise must be one or a list of fractions from 0 to 1")
    flips = [round(level * cells.n_features) for level in levels.tolist()]
    rows = []
    for done, k in enumerate(flips, 1):
        rows.append(cells.basin(k))
        if on_progress is not None:
            on_progress(done / len(flips))
    return Basins(tuple(rows), cells.criterion, cells.seed)


@dataclass(frozen=True)
class CriticalDistance:
    """The damage that half of the cues survive.

    Attributes
    ----------
    noise : float
        Where the fraction recovered passes one half, interpolated between whole numbers of
        flips: 0 if no cue is safe, 1/2 if all are.
    low, high : float
        The largest noise at which Wilson's interval lies above one half, and the least at which
        it lies below.
    rows : tuple of Basin
        What was looked at on the way, by noise.
    """

    noise: float
    low: float
    high: float
    rows: tuple[Basin, ...]


def critical_distance(
    model: Any,
    patterns: npt.ArrayLike,
    n_trials: int = 10,
    seed: int = 0,
    criterion: float = 1.0,
    *,
    order_seed: int | None = None,
    **options: Any,
) -> CriticalDistance:
    """The noise at which half of the damaged patterns are recovered, with its interval.

    Halves the range of 0 to n_features / 2 flips until two neighbours lie on either side of one
    half, and likewise for the ends of the interval, taking it that more damage is worse. The
    numbers are those of `basins` with the same seed and trials.

    Parameters
    ----------
    model, patterns, n_trials, seed, criterion, order_seed, **options
        As for `basins`.

    Returns
    -------
    CriticalDistance

    Raises
    ------
    ValueError
        As `basins`.
    """
    options = _with_order(options, order_seed)
    cells = _Cells(model, patterns, n_trials, seed, criterion, options)
    most = cells.n_features // 2

    def last(column: str) -> int:
        """The largest number of flips where a column is above one half, or -1."""
        good, bad = -1, most + 1
        while bad - good > 1:
            middle = (good + bad) // 2
            if getattr(cells.basin(middle), column) > 0.5:
                good = middle
            else:
                bad = middle
        return good

    k = last("fraction")
    if k < 0:
        noise = 0.0
    elif k == most:
        noise = 0.5
    else:
        above, below = cells.basin(k).fraction, cells.basin(k + 1).fraction
        noise = (k + (above - 0.5) / (above - below)) / cells.n_features
    low = max(last("low"), 0) / cells.n_features
    high = min(last("high") + 1, most) / cells.n_features
    rows = tuple(cells.basin(n) for n in sorted(cells._known))
    return CriticalDistance(noise, min(low, noise), max(high, noise), rows)


# ------------------------------------------------------------------------------ fixed points --


@dataclass(frozen=True)
class FixedPoints:
    """States that stay as they are, the lowest first.

    Attributes
    ----------
    states : ndarray, shape (n_fixed_points, n_features)
        int8, in the coding of the model; +1 and -1 for a matrix of weights. By energy where
        there is one, then by the bits of the state (unit 0 is the lowest).
    energies : ndarray of float64, shape (n_fixed_points,), or None
        None where there is no energy.
    counts : ndarray of int64, shape (n_fixed_points,), or None
        How many starts came to each; None for an exhaustive search.
    n_samples : int
        Starts, or all 2^n_features states of an exhaustive search.
    """

    states: Bits
    energies: Array | None
    counts: npt.NDArray[np.int64] | None
    n_samples: int

    def __len__(self) -> int:
        return len(self.states)

    def __repr__(self) -> str:
        how = "all states" if self.counts is None else "samples"
        return f"FixedPoints({len(self)} of {self.n_samples} {how})"


def _rank(states: Bits, energies: Array | None) -> npt.NDArray[np.intp]:
    """The order of `FixedPoints`."""
    keys = [states[:, i] for i in range(states.shape[1])]
    return np.lexsort(keys if energies is None else [*keys, energies])


def _energies(weights: Array, bias: Array | None, states: Bits) -> Array | None:
    """-1/2 s^T W s - b . s, row by row; None where W is not symmetric."""
    if not np.array_equal(weights, weights.T):
        return None
    energies = np.empty(len(states))
    for part in _batches(*states.shape):
        half = 0.5 * dots(weights, states[part])
        if bias is not None:
            half += bias
        energies[part] = -(half * states[part]).sum(axis=1)
    return energies + 0.0


def _states_of(codes: npt.NDArray[np.int64], n_features: int) -> Bits:
    """States whose unit i is +1 where bit i of the code is set."""
    bits = (codes[:, None] >> np.arange(n_features)) & 1
    return (2 * bits - 1).astype(np.int8)


def _codes_of(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Where bits are set, in words of 64."""
    used = np.flatnonzero(words)
    found: list[npt.NDArray[np.int64]] = []
    n_found = 0
    for start in range(0, len(used), 4096):
        some = used[start : start + 4096]
        bits = (words[some, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
        rows, columns = np.nonzero(bits)
        found.append(some[rows].astype(np.int64) * 64 + columns)
        n_found += len(rows)
        if n_found > _MOST:
            raise ValueError(
                f"there are more than {_MOST} fixed points: with so many ties (weights that "
                "are 0, or a large diagonal) they are not worth listing"
            )
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def fixed_points(model: Any, bias: npt.ArrayLike | None = None, **options: Any) -> FixedPoints:
    """Every fixed point of a small network or memory, by looking at all of its states.

    For a matrix of weights, which acts on +1 and -1, a state is a fixed point when no unit
    disagrees with its field, s_i (W s + b)_i >= 0: ties keep the state, and the diagonal takes
    part as it stands. For a model it is one when one step of `retrieve` leaves it as it is.

    Parameters
    ----------
    model : array_like of shape (n_units, n_units), or a two-state memory
        A model of up to 20 units, or weights of up to 30: 2^20 states take some hundredths of a
        second, 2^30 about half a minute of one core. Without symmetry there is no energy.
    bias : array_like, shape (n_units,), optional
        For weights alone.
    **options
        For ``model.retrieve``; ``n_steps`` is 1.

    Returns
    -------
    FixedPoints

    Raises
    ------
    ValueError
        For too many units, weights that are not square and finite, or more than 2^20 fixed
        points.

    Notes
    -----
    Whole-numbered weights are exact. For others a field that is 0 but for the rounding of its
    sum is a tie, so that Hebbian weights divided by n_units have the fixed points of those that
    are not.

    Examples
    --------
    >>> import numpy as np
    >>> from uhn import analysis
    >>> pattern = np.array([1, 1, -1, 1])
    >>> found = analysis.fixed_points(np.outer(pattern, pattern) - np.eye(4))
    >>> found.states.tolist(), found.energies.tolist()
    ([[-1, -1, 1, -1], [1, 1, -1, 1]], [-6.0, -6.0])
    """
    if hasattr(model, "retrieve"):
        if bias is not None:
            raise ValueError("bias goes with a matrix of weights; a model has its own")
        return _asked(model, options)
    if options:
        raise ValueError(f"{', '.join(options)}: options are for models, not for weights")
    w = _matrix(model)
    n_units = len(w)
    if not 1 <= n_units <= _LISTED:
        raise ValueError(
            f"weights has shape {w.shape}: of 1 to {_LISTED} units all states can be listed; "
            "see sample_fixed_points"
        )
    b = _vector(bias, n_units)
    states = _states_of(_codes_of(_core._landscape_fixed_points(w, b)), n_units)
    energies = _energies(w, b, states)
    order = _rank(states, energies)
    return FixedPoints(
        states[order], None if energies is None else energies[order], None, 1 << n_units
    )


def _energy(model: Any, states: Bits) -> Array | None:
    """The energy of states, or None where the model has none."""
    if len(states) == 0 or not hasattr(model, "energy"):
        return None
    try:
        energy = model.energy(decode(states, _coding(model), np.float64))
    except ValueError:
        return None
    return np.asarray(energy, dtype=np.float64)


def _in_coding(model: Any, states: Bits) -> Bits:
    return decode(states, _coding(model), np.int8)


def _asked(model: Any, options: dict[str, Any]) -> FixedPoints:
    """`fixed_points` of a model."""
    n_features = int(model.n_features)
    if not 1 <= n_features <= _ASKED:
        raise ValueError(
            f"the model has {n_features} features: of 1 to {_ASKED} all states can be asked "
            "for; see sample_fixed_points"
        )
    n_states = 1 << n_features
    found = []
    for start in range(0, n_states, 1 << 14):
        codes = np.arange(start, min(start + (1 << 14), n_states))
        states = _states_of(codes, n_features)
        found.append(states[_stays(model, states, options)])
    states = np.concatenate(found)
    energies = _energy(model, states)
    order = _rank(states, energies)
    return FixedPoints(
        _in_coding(model, states[order]),
        None if energies is None else energies[order],
        None,
        n_states,
    )


def sample_fixed_points(
    model: Any,
    n_samples: int = 1000,
    seed: int = 0,
    *,
    order_seed: int | None = None,
    on_progress: Callable[[float], None] | None = None,
    **options: Any,
) -> FixedPoints:
    """Fixed points that random starts come to, with how many came to each.

    A start that has not come to rest within the steps allowed is left out of the counts.

    Parameters
    ----------
    model : a two-state memory with `recall`
    n_samples : int, default 1000
        Starts: states of independent random units. The first ones are the same for any number.
    seed : int, default 0
    order_seed : int, optional
        The ``seed`` of ``model.recall``, for models that look at units in a random order.
    on_progress : callable, optional
        Called now and then with the fraction that is done, from 0 to 1; what it raises ends the
        call.
    **options
        For ``model.recall``, such as ``n_steps`` and ``mode``.

    Returns
    -------
    FixedPoints

    Raises
    ------
    ValueError
        If `n_samples` is below 1, or `recall` returns what is not of two states.
    """
    n_samples, seed = whole(n_samples, "n_samples", 1), whole(seed, "seed", 0)
    n_features, coding = int(model.n_features), _coding(model)
    options = _with_order(options, order_seed)
    found, counts = np.empty((0, n_features), dtype=np.int8), np.empty(0, dtype=np.int64)
    for block, start in enumerate(range(0, n_samples, 1024)):
        rng = np.random.default_rng(np.random.SeedSequence([seed, block]))
        starts = 2 * rng.integers(0, 2, (1024, n_features), dtype=np.int8) - 1
        starts = starts[: n_samples - start]
        result = model.recall(decode(starts, coding, np.float32), **options)
        rested = np.asarray(result.status) == "fixed point"
        states = encode(np.asarray(result.state)[rested], coding, "what recall returned")
        found = np.concatenate([found, states])
        counts = np.concatenate([counts, np.ones(len(states), dtype=np.int64)])
        found, where = np.unique(found, axis=0, return_inverse=True)
        sums = np.zeros(len(found), dtype=np.int64)
        np.add.at(sums, where.ravel(), counts)
        counts = sums
        if on_progress is not None:
            on_progress(min(start + 1024, n_samples) / n_samples)
    energies = _energy(model, found)
    order = _rank(found, energies)
    return FixedPoints(
        _in_coding(model, found[order]),
        None if energies is None else energies[order],
        counts[order],
        n_samples,
    )


# ------------------------------------------------------------------------------ what is what --

#: What `classify` finds.
KINDS = ("pattern", "ghost", "mixture", "unknown")


@dataclass(frozen=True)
class Classification:
    """What states are in terms of the patterns.

    Attributes
    ----------
    kind : ndarray of str, shape (n_states,)
        'pattern', 'ghost' (a pattern negated), 'mixture' or 'unknown'.
    index : ndarray of int64, shape (n_states,)
        The pattern whose overlap has the largest magnitude, the lowest of several.
    overlap : ndarray of float64, shape (n_states,)
        That overlap.
    members : tuple of tuple of int
        The patterns of a mixture; of a pattern or ghost its index; () where nothing is known.
    signs : tuple of tuple of int
        +1 or -1 for each member: the state is the sign of the sum of signs times members.
    """

    kind: npt.NDArray[np.str_]
    index: npt.NDArray[np.int64]
    overlap: Array
    members: tuple[tuple[int, ...], ...]
    signs: tuple[tuple[int, ...], ...]

    def counts(self) -> dict[str, int]:
        """How many states of each kind there are."""
        return {kind: int((self.kind == kind).sum()) for kind in KINDS}

    def __len__(self) -> int:
        return len(self.kind)


def classify(
    states: npt.ArrayLike,
    patterns: npt.ArrayLike,
    *,
    max_mixed: int = 9,
    criterion: float = 1.0,
) -> Classification:
    """Says which states are patterns, negated patterns, or mixtures of them.

    A mixture is the sign of a sum of an odd number of patterns, each with a sign of its own;
    the fewest that will do are named, then the first in order. Of up to 9 patterns every
    mixture is known. Of more, those are tried whose members have the state's 9 largest
    overlaps, each with the sign of its overlap: with random patterns these are the members as
    soon as n_features^(-1/2), the overlaps of chance, are small against `mixture_overlap` of
    `uhn.theory`.

    Parameters
    ----------
    states : array_like, shape (n_states, n_features) or (n_features,)
        Of +1 and -1.
    patterns : array_like, shape (n_patterns, n_features)
        Of +1 and -1.
    max_mixed : int, default 9
        The most members of a mixture, from 1 (no mixtures) to 9.
    criterion : float, default 1
        The least overlap with a pattern that counts as the pattern: a retrieval state of a
        loaded network has a few wrong bits. Mixtures are exact.

    Returns
    -------
    Classification

    Raises
    ------
    ValueError
        If shapes do not fit, at an entry that is not +1 or -1, or where `max_mixed` or
        `criterion` is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from uhn import analysis
    >>> patterns = np.random.default_rng(0).choice([-1, 1], (5, 60))
    >>> mixture = np.sign(patterns[0] - patterns[2] + patterns[4])
    >>> found = analysis.classify([patterns[1], -patterns[3], mixture], patterns)
    >>> found.kind.tolist(), found.members[2], found.signs[2]
    (['pattern', 'ghost', 'mixture'], (0, 2, 4), (1, -1, 1))
    """
    xi, _ = _signs(patterns, "patterns")
    s, _ = _signs(states, "states", xi.shape[1])
    max_mixed = whole(max_mixed, "max_mixed", 1)
    if max_mixed > 9:
        raise ValueError(f"max_mixed is {max_mixed}; it must be at most 9")
    if not 0 < criterion <= 1:
        raise ValueError(f"criterion is {criterion!r}; it is an overlap, above 0 and at most 1")
    if len(xi) == 0:
        raise ValueError(f"patterns has shape {xi.shape}: there is no pattern")
    m = dots(xi, s) / xi.shape[1]
    index = np.abs(m).argmax(axis=1).astype(np.int64)
    overlap = m[np.arange(len(s)), index]
    kind = np.full(len(s), "unknown", dtype="<U7")
    kind[overlap >= criterion] = "pattern"
    kind[overlap <= -criterion] = "ghost"
    named = kind != "unknown"
    members: list[tuple[int, ...]] = [
        (int(i),) if ok else () for i, ok in zip(index, named, strict=True)
    ]
    signs: list[tuple[int, ...]] = [
        (1 if x > 0 else -1,) if ok else () for x, ok in zip(overlap, named, strict=True)
    ]
    open_ = np.flatnonzero(~named)
    if open_.size and max_mixed >= 3 and len(xi) >= 3:
        every = _every_mixture(xi, max_mixed) if len(xi) <= 9 else None
        for i in open_.tolist():
            found = (
                every.get(s[i].tobytes())
                if every is not None
                else _match(s[i], xi, m[i], max_mixed)
            )
            if found is not None:
                kind[i] = "mixture"
                members[i], signs[i] = found
    return Classification(kind, index, overlap, tuple(members), tuple(signs))


_Mixture = tuple[tuple[int, ...], tuple[int, ...]]


def _every_mixture(xi: Bits, max_mixed: int) -> dict[bytes, _Mixture]:
    """Every mixture of a few patterns by the bytes of its state."""
    known: dict[bytes, _Mixture] = {}
    for n in range(3, min(max_mixed, len(xi)) + 1, 2):
        choices = np.array(list(itertools.product((1, -1), repeat=n)), dtype=np.int8)
        for members in itertools.combinations(range(len(xi)), n):
            sums = dots(xi[list(members)].T, choices)
            mixtures = np.where(sums > 0, 1, -1).astype(np.int8)
            for signs, mixture in zip(choices.tolist(), mixtures, strict=True):
                known.setdefault(mixture.tobytes(), (members, tuple(signs)))
    return known


@functools.cache
def _subsets(n_pool: int, max_mixed: int) -> npt.NDArray[np.int8]:
    """Odd subsets of a pool, of 3 members and more, small ones first: (n_subsets, n_pool)."""
    rows = []
    for n in range(3, min(max_mixed, n_pool) + 1, 2):
        for members in itertools.combinations(range(n_pool), n):
            rows.append(np.isin(np.arange(n_pool), members))
    return np.array(rows, dtype=np.int8)


def _match(s: Bits, xi: Bits, m: Array, max_mixed: int) -> _Mixture | None:
    """The mixture among the patterns with the largest overlaps, or None."""
    pool = np.sort(np.argsort(-np.abs(m), kind="stable")[:9])
    sign = np.where(m[pool] < 0, -1, 1)
    subsets = _subsets(len(pool), max_mixed)
    # Each pattern's unit as it would agree with the state.
    agree = xi[pool] * (sign[:, None] * s)
    found = np.flatnonzero((dots(agree.T, subsets) > 0).all(axis=1))
    if found.size == 0:
        return None
    chosen = np.flatnonzero(subsets[found[0]])
    return tuple(pool[chosen].tolist()), tuple(sign[chosen].tolist())
