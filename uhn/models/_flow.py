"""Flows in continuous time: steps until rest, what they leave behind, elementary functions.

A flow is tau x' = A(x) - kappa(x) x for each of its populations. An explicit Euler step with
a = dt / tau is written

    x <- (1 - a kappa) x + a A,

so that a step of dt = tau / kappa is A itself, to the last bit, and not x + (A - x).

exp, log and tanh are made from the core's, as those of NumPy may depend on the machine.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from uhn import _core
from uhn.models._base import FIXED_POINT, STEP_LIMIT, number, real_rows
from uhn.results import STATUSES, Recall, Source, Trace

__all__ = [
    "FlowTrace",
    "Parts",
    "Term",
    "Trajectory",
    "exp",
    "integrate",
    "log1p",
    "log_cosh",
    "make_trajectory",
    "one_or_each",
    "positive",
    "take_step",
    "tanh",
]

Array = npt.NDArray[Any]
METHODS = ("euler", "rk4")

#: Where a step of a decay x' = -x stops damping it: dt below this many time constants.
STABLE = {"euler": 2.0, "rk4": 2.785293563405282}


# ---------------------------------------------------------------------- elementary functions --


def _elementwise(x: Array, separation: str) -> Array:
    """A separation that looks at one score alone, of every element on its own.

    One element a row, as the core leaves out what is negligible beside the rest of a row.
    """
    out: Array = _core.separate(np.ascontiguousarray(x).reshape(-1, 1), separation)
    return out.reshape(x.shape)


def exp(x: Array) -> Array:
    """e^x; every bit depends on the element alone, not on its place in the array."""
    return _elementwise(x, "exponential")


def log1p(x: Array) -> Array:
    """log(1 + x) for x >= 0; every bit depends on the element alone."""
    return _elementwise(x, "log1p")


def tanh(x: Array) -> Array:
    """tanh x; every bit depends on the element alone.

    (1 - e^-2|x|) / (1 + e^-2|x|), which cancels near 0: there it is Lambert's continued
    fraction x / (1 + x^2 / (3 + x^2 / (5 + ...))).
    """
    size = np.abs(x)
    small = size < 0.5
    e = exp(-2 * size)
    square = np.where(small, x * x, 0)
    fraction = np.full_like(square, 19)
    for odd in (17, 15, 13, 11, 9, 7, 5, 3, 1):
        fraction = odd + square / fraction
    return np.where(small, x / fraction, np.copysign((1 - e) / (1 + e), x))


def log_cosh(x: Array) -> Array:
    """log cosh x, without overflow."""
    size = np.abs(x)
    return size + log1p(exp(-2 * size)) - math.log(2)


# ------------------------------------------------------------------------------- the results --


@dataclass(frozen=True)
class FlowTrace(Trace):
    """The way each state went, at the times that were recorded.

    Attributes
    ----------
    states : ndarray, shape (n_times, n_states, n_features)
    energies : ndarray, shape (n_times, n_states), or None
        None where the network has no energy.
    overlaps : None
    times : ndarray, shape (n_times,)
        From 0. It ends where every state had come to rest.
    hidden : ndarray, shape (n_times, n_states, n_patterns), or None
        Slow memory neurons; None where there are none.
    """

    times: Array = field(default_factory=lambda: np.zeros(0))
    hidden: Array | None = None


class Trajectory(Recall):
    """Where a flow brought each state, and how it ended.

    A `Recall` whose status is 'fixed point' where the flow came to rest and 'step limit' where
    it was still moving at the end of the time. For a 1-D state every array has one axis less.

    Attributes
    ----------
    state : ndarray, shape (n_states, n_features)
        The internal state: value neurons v, or potentials u.
    output : ndarray, shape (n_states, n_features)
        What the neurons put out: g(v), or V.
    rate : ndarray of float64, shape (n_states,)
        The largest component of tau v' (and tau_h h') at the end: how far from rest.
    times : ndarray, shape (n_times,), or None
        When the trace was taken; None if it was not.
    trace : FlowTrace or None
    """

    output: Array
    rate: Any
    _slow: Array | None = None

    @property
    def hidden(self) -> Array | None:
        """Memory neurons h at the end, (n_states, n_patterns); None for networks without."""
        if self._slow is not None:
            return self._slow
        at_rest = getattr(self._source, "hidden", None)
        if at_rest is None:
            return None
        result: Array = at_rest(np.atleast_2d(self.state))
        return result[0] if self.state.ndim == 1 else result

    @property
    def times(self) -> Array | None:
        """When the trace was taken, (n_times,)."""
        return self.trace.times if isinstance(self.trace, FlowTrace) else None


# ------------------------------------------------------------------------------- integration --


class Term(NamedTuple):
    """tau x' = drive - decay x of one population."""

    drive: Array
    decay: float | Array  # a number, or one a state, (n_states, 1)
    tau: float

    def slope(self, x: Array) -> Array:
        """tau x'."""
        if isinstance(self.decay, float) and self.decay == 0:
            return self.drive
        return self.drive - self.decay * x

    def rows(self, chosen: Array) -> Term:
        """The same of some of the states."""
        decay = self.decay if isinstance(self.decay, float) else self.decay[chosen]
        return Term(self.drive[chosen], decay, self.tau)


Parts = tuple[Array, ...]

#: From the populations of some states, and which states these are, to a term a population.
Field = Callable[[Parts, Array], tuple[Term, ...]]


class Ended(NamedTuple):
    """What `integrate` comes back with; codes count in `STATUSES`."""

    parts: Parts
    n_steps: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint8]
    change: Array
    rate: Array
    times: Array
    way: list[Parts]


def positive(value: Any, name: str, *, zero: bool = False) -> float:
    """A finite number above 0, or from 0 on."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a number, not a bool")
    real = number(value, name)
    if not math.isfinite(real) or real < 0 or (real == 0 and not zero):
        raise ValueError(f"{name} is {real:g}; it must be finite and {'>=' if zero else '>'} 0")
    return real


def one_or_each(
    array: npt.ArrayLike, n_columns: int, n_states: int, dtype: npt.DTypeLike, name: str
) -> Array:
    """A row for every state, of the array's one row or of as many as there are states."""
    rows, _ = real_rows(array, n_columns, name)
    if len(rows) not in (1, n_states):
        raise ValueError(
            f"{name} has {len(rows)} rows for {n_states} states; pass one, or one a state"
        )
    return np.array(np.broadcast_to(rows, (n_states, n_columns)), dtype, order="C")


def take_step(dt: Any, method: str, shortest: float, what: str) -> float:
    """dt, if a step of the method is stable.

    Parameters
    ----------
    dt : float
    method : {"euler", "rk4"}
    shortest : float
        The shortest time constant of the decays of the flow; infinite without any.
    what : str
        Its name, for the message.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; it is one of 'euler', 'rk4'")
    step = positive(dt, "dt")
    limit = STABLE[method] * shortest
    if step >= limit:
        raise ValueError(
            f"dt is {step:g}, but steps of method={method!r} explode from {limit:g} on, "
            f"{STABLE[method]:.4g} times the shortest time constant ({what}: {shortest:g}); "
            f"use dt <= {shortest / 10:g}"
        )
    return step


def _subset(parts: Parts, rows: Array) -> Parts:
    """Some states; the arrays themselves if they are all."""
    if len(rows) == len(parts[0]):
        return parts
    return tuple(x[rows] for x in parts)


def _residual(parts: Parts, terms: Sequence[Term], bounds: tuple[float, float] | None) -> Array:
    """The largest |tau x'| of each state; of what `bounds` let through, where x is kept in."""
    result = np.zeros(len(parts[0]))
    for x, term in zip(parts, terms, strict=True):
        slope = term.slope(x)
        if bounds is not None:
            slope = np.clip(x + slope, *bounds) - x
        np.maximum(result, np.abs(slope).max(axis=1, initial=0), out=result)
    return result


def _advance(
    rhs: Field, parts: Parts, terms: Sequence[Term], rows: Array, dt: float, method: str
) -> Parts:
    """The populations dt later; `terms` are those of `parts`."""
    if method == "euler":
        result = []
        for x, (drive, decay, tau) in zip(parts, terms, strict=True):
            a = dt / tau
            result.append((1 - a * decay) * x + a * drive)
        return tuple(result)

    def slopes(at: Parts, terms: Sequence[Term]) -> Parts:
        return tuple(term.slope(x) / term.tau for x, term in zip(at, terms, strict=True))

    def later(along: Parts, by: float) -> Parts:
        return tuple(x + by * k for x, k in zip(parts, along, strict=True))

    k1 = slopes(parts, terms)
    middle = later(k1, dt / 2)
    k2 = slopes(middle, rhs(middle, rows))
    middle = later(k2, dt / 2)
    k3 = slopes(middle, rhs(middle, rows))
    end = later(k3, dt)
    k4 = slopes(end, rhs(end, rows))
    return tuple(
        x + dt / 6 * (a + 2 * b + 2 * c + d)
        for x, a, b, c, d in zip(parts, k1, k2, k3, k4, strict=True)
    )


def integrate(
    rhs: Field,
    parts: Parts,
    *,
    t: Any,
    dt: float,
    method: str,
    tol: Any,
    record_every: Any,
    explain: Callable[[], str],
    bounds: tuple[float, float] | None = None,
) -> Ended:
    """Follows a flow from each state for a time t, or until it rests.

    No state's way depends on another's. A state rests when no component of tau x' is larger
    than `tol`, or when a step of full length leaves every bit of it as it is.

    Parameters
    ----------
    rhs : callable
        The flow; row i of its result may depend on row i of the populations alone.
    parts : tuple of ndarray, each (n_states, n)
        The populations at time 0. The change that is reported is that of the first.
    t, dt : float
        The last step is shortened to end at t.
    method : {"euler", "rk4"}
    tol : float
    record_every : int or None
        Keep the populations every so many steps, from 0 on, and at the end.
    explain : callable
        What to do about numbers that are no longer finite, for the message.
    bounds : (float, float), optional
        Where every population is kept: what a step carries beyond is put back.

    Raises
    ------
    ValueError
        If a number becomes infinite or NaN.
    """
    t, tol = positive(t, "t", zero=True), positive(tol, "tol", zero=True)
    every = None if record_every is None else _every(record_every)
    whole = round(t / dt)
    n_steps = whole if math.isclose(whole * dt, t, rel_tol=1e-12) else math.ceil(t / dt)
    parts = tuple(np.array(x) for x in parts)
    n = len(parts[0])
    steps = np.zeros(n, dtype=np.int64)
    codes = np.full(n, STEP_LIMIT, dtype=np.uint8)
    change, rate = np.zeros(n), np.zeros(n)
    times: list[float] = []
    way: list[Parts] = []
    moving = np.arange(n)

    def record(time: float) -> None:
        times.append(time)
        way.append(tuple(x.copy() for x in parts))

    def infinite(row: int, time: float) -> ValueError:
        return ValueError(
            f"state {row} is no longer finite at t = {time:g} (dt = {dt:g}): {explain()}"
        )

    def failure(error: ValueError, at: Parts, rows: Array, time: float) -> ValueError:
        """The error of the first state that the core refuses, and when."""
        for i, row in enumerate(rows):
            try:
                one = tuple(x[i : i + 1] for x in at)
                _advance(rhs, one, rhs(one, rows[i : i + 1]), rows[i : i + 1], dt, method)
            except ValueError as first:
                if "not finite" in str(first) or "infinite" in str(first):
                    return infinite(row, time)
                return ValueError(
                    f"state {row} cannot be followed beyond t = {time:g} (dt = {dt:g}): {first}"
                )
        return error

    if every is not None:
        record(0.0)
    done = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(n_steps + 1):
            now = _subset(parts, moving)
            try:
                terms = rhs(now, moving)
            except ValueError as error:
                why = failure(error, now, moving, step * dt)
                if step == n_steps and "no longer finite" in str(why):
                    rate[moving] = np.inf  # the states are finite still: that will do
                    break
                raise why from error
            residual = _residual(now, terms, bounds)
            rate[moving] = residual
            rests = residual <= tol
            codes[moving[rests]] = FIXED_POINT
            if rests.any():
                go = np.flatnonzero(~rests)
                moving, now = moving[go], tuple(x[go] for x in now)
                terms = tuple(term.rows(go) for term in terms)
            if moving.size == 0 or step == n_steps:
                break
            last = step == n_steps - 1
            length = t - step * dt if last and n_steps != whole else dt
            try:
                after = _advance(rhs, now, terms, moving, length, method)
            except ValueError as error:
                raise failure(error, now, moving, step * dt) from error
            if bounds is not None:
                after = tuple(np.clip(x, *bounds) for x in after)
            for x in after:
                if not np.isfinite(x).all():
                    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))[0]
                    raise infinite(moving[bad], step * dt + length)
            change[moving] = np.abs(after[0] - now[0]).max(axis=1, initial=0)
            steps[moving] = step + 1
            stuck = np.ones(len(moving), dtype=np.bool_)
            for x, y in zip(now, after, strict=True):
                stuck &= (x == y).all(axis=1)
            for x, y in zip(parts, after, strict=True):
                x[moving] = y
            done = step + 1
            if length == dt and stuck.any():
                codes[moving[stuck]] = FIXED_POINT
                moving = moving[~stuck]
            if every is not None and (done % every == 0 or last):
                record(t if last else done * dt)
    if every is not None and len(times) and times[-1] < min(done * dt, t):
        record(min(done * dt, t))
    return Ended(parts, steps, codes, change, rate, np.array(times), way)


def _every(value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"record_every must be a whole number of steps, not {type(value).__name__}"
        ) from None
    if number < 1:
        raise ValueError(f"record_every is {number}; it must be at least 1 step")
    return number


def _along(energies: Callable[[Parts, Array], Array], way: Parts) -> Array:
    """Energies along a way, (n_times, n_states)."""
    n_times, n = way[0].shape[:2]
    rows = np.tile(np.arange(n), n_times)
    flat = tuple(x.reshape(n_times * n, x.shape[2]) for x in way)
    # Some hundred states at a time, so that scores of a long trace do not fill the memory.
    pieces = [
        energies(tuple(x[i : i + 512] for x in flat), rows[i : i + 512])
        for i in range(0, n_times * n, 512)
    ]
    return np.concatenate(pieces or [np.zeros(0)]).reshape(n_times, n)


def make_trajectory(
    ended: Ended,
    *,
    single: bool,
    output: Array,
    source: Source,
    energies: Callable[[Parts, Array], Array] | None,
) -> Trajectory:
    """The result of `integrate`.

    Parameters
    ----------
    ended : Ended
    single : bool
        The states came as one row.
    output : ndarray
        Of the states at the end.
    source : Source
        It may have a method `hidden`, for memory neurons that are not among the populations.
    energies : callable or None
        From populations (n, ...) and the numbers of their states (n,) to energies (n,).
    """
    trace = None
    if ended.way:
        stacked = tuple(np.stack(x) for x in zip(*ended.way, strict=True))
        energy = None if energies is None else _along(energies, stacked)
        at = (slice(None), 0) if single else (slice(None),)
        trace = FlowTrace(
            stacked[0][at],
            None if energy is None else energy[at],
            None,
            times=ended.times,
            hidden=stacked[1][at] if len(stacked) > 1 else None,
        )
    state = ended.parts[0]
    slow = ended.parts[1] if len(ended.parts) > 1 else None
    status = np.array(STATUSES)[ended.codes]
    if single:
        result = Trajectory(
            state[0],
            int(ended.n_steps[0]),
            str(status[0]),
            float(ended.change[0]),
            source=source,
            trace=trace,
        )
        result.rate = float(ended.rate[0])
        result.output = output[0]
        result._slow = None if slow is None else slow[0]
    else:
        result = Trajectory(
            state, ended.n_steps, status, ended.change, source=source, trace=trace
        )
        result.rate, result.output, result._slow = ended.rate, output, slow
    return result
