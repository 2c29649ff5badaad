"""The dense associative memory as the formulas say it, in exact arithmetic; never imports uhn.

Written for reading. Overlaps are whole numbers, so F is a table of them: Python's integers for
whole degrees, and for the others integers too, F times a power of ten, rounded once. Sums of
table entries are exact in any order, and a tie is 0.
"""

from __future__ import annotations

import decimal
import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

Array = np.ndarray

#: Significant digits of F where it is no whole number.
DIGITS = 80


class Table:
    """F and F' for overlaps of -n to n, as integers in units of 1 / `unit`.

    Parameters
    ----------
    n : int
        Units.
    degree : int or float or None
        The power in the energy; None is the exponential.
    rectified : bool
    """

    def __init__(self, n: int, degree: float | None, rectified: bool) -> None:
        self.n, self.degree, self.rectified = n, degree, rectified
        self.whole = degree is not None and degree == int(degree)
        self.unit = 1 if self.whole else 10**DIGITS
        m = range(-n, n + 1)
        self.f = np.array([self._f(x, degree) for x in m], dtype=object)
        if degree is None:
            self.slope = self.f
        else:
            power = int(degree) if self.whole else decimal.Decimal(degree)
            lower = [self._f(x, degree - 1) for x in m]
            self.slope = np.array([int(power * value) for value in lower], dtype=object)
            if degree - 1 == 0:
                self.slope[:] = 1

    def _f(self, x: int, degree: float | None) -> int:
        with decimal.localcontext() as context:
            context.prec = DIGITS
            if degree is None:
                return int(decimal.Decimal(x).exp().scaleb(DIGITS))
            if x < 0 and self.rectified:
                return 0
            if self.whole:
                return int(x ** int(degree))
            return int((decimal.Decimal(x) ** decimal.Decimal(degree)).scaleb(DIGITS))

    def F(self, m: Array) -> Array:
        """F of overlaps."""
        return self.f[np.asarray(m) + self.n]

    def F_prime(self, m: Array) -> Array:
        """F' of overlaps."""
        return self.slope[np.asarray(m) + self.n]


@functools.cache
def table(n: int, degree: float | None, rectified: bool = True) -> Table:
    """Tables are used again and again."""
    return Table(n, degree, rectified)


def overlaps(patterns: Array, state: Array) -> Array:
    """xi . s for every pattern."""
    return patterns.astype(np.int64) @ state.astype(np.int64)


def energy(patterns: Array, state: Array, of: Table) -> int:
    """-sum F(xi . s), in units of 1 / of.unit."""
    return -int(of.F(overlaps(patterns, state)).sum())


def difference(patterns: Array, state: Array, i: int, of: Table) -> int:
    """The textbook's energy with unit i at -1 less that with unit i at +1.

    sum F(xi_i + O_i) - F(-xi_i + O_i), where O_i is the overlap without unit i.
    """
    x = patterns[:, i].astype(np.int64)
    others = overlaps(patterns, state) - x * int(state[i])
    return int((of.F(others + x) - of.F(others - x)).sum())


def derivative(patterns: Array, state: Array, i: int, of: Table) -> int:
    """The rule that is often given instead: sum xi_i F'(O_i)."""
    x = patterns[:, i].astype(np.int64)
    others = overlaps(patterns, state) - x * int(state[i])
    return int((x * of.F_prime(others)).sum())


def field(patterns: Array, state: Array, of: Table) -> Array:
    """sum xi F'(xi . s) for all units, their own part included."""
    return patterns.astype(object).T @ of.F_prime(overlaps(patterns, state))


def decide(pull: int, now: int, tie: str) -> int:
    """The next state of a unit: the sign of what pulls it."""
    if pull != 0:
        return 1 if pull > 0 else -1
    return now if tie == "keep" else int(tie)


def sweep(
    patterns: Array, state: Array, units: Iterable[int], of: Table, tie: str, clamped: Array
) -> Iterator[tuple[int, Array]]:
    """One unit after the other: after each look, the unit and the state."""
    state = state.copy()
    for i in units:
        if not clamped[i]:
            state[i] = decide(difference(patterns, state, i, of), int(state[i]), tie)
        yield i, state.copy()


def step(patterns: Array, state: Array, of: Table, tie: str, clamped: Array) -> Array:
    """All units at once."""
    pulls = field(patterns, state, of)
    after = [decide(int(g), int(s), tie) for g, s in zip(pulls, state, strict=True)]
    return np.where(clamped, state, np.array(after, dtype=state.dtype))


def settle(
    patterns: Array,
    state: Array,
    orders: list[Array] | None,
    of: Table,
    *,
    n_steps: int,
    tie: str = "keep",
    clamped: Array | None = None,
) -> tuple[Array, int, str]:
    """Sweeps in the orders given, or synchronous steps, until the state rests.

    Returns
    -------
    state, number of sweeps, status
    """
    fixed = np.zeros(len(state), dtype=bool) if clamped is None else clamped
    before: list[Array] = [state.copy()]
    for t in range(n_steps):
        if orders is None:
            state = step(patterns, state, of, tie, fixed)
            rests = np.array_equal(step(patterns, state, of, tie, fixed), state)
        else:
            for _, after in sweep(patterns, state, orders[t], of, tie, fixed):
                state = after
            rests = all(
                fixed[i]
                or decide(difference(patterns, state, i, of), int(state[i]), tie) == state[i]
                for i in set(map(int, orders[t]))
            )
        before.append(state.copy())
        if rests:
            return state, t + 1, "fixed point"
        if orders is None and t > 0 and np.array_equal(state, before[-3]):
            return state, t + 1, "2-cycle"
    return state, n_steps, "step limit"


# ------------------------------------------------------------------------------------ theory --


def double_factorial(k: int) -> int:
    """k (k - 2) (k - 4) ..., 1 for k < 1."""
    return math.prod(range(k, 0, -2))


def one_step_error(n_units: int, n_patterns: int, degree: int, rectified: bool) -> float:
    """A bit of a random pattern is wrong after one look, for large N (Krotov, Hopfield 2016).

    1/2 erfc(sqrt(N^(n-1) / (2 K (2n - 3)!!))); rectified, half of the noise is left.
    """
    share = n_units ** (degree - 1) / (2 * n_patterns * double_factorial(2 * degree - 3))
    return 0.5 * math.erfc(math.sqrt(share * (2 if rectified else 1)))


def exact_one_step_error(n_units: int, n_patterns: int, degree: int, rectified: bool) -> float:
    """The same for this N and K, without an approximation.

    At a pattern, unit i turns over if signal + sum over the others of x_mu D(O_mu) < 0, with
    D(O) = F(O + 1) - F(O - 1), x_mu = +-1 and O_mu the sum of N - 1 signs. All terms are
    independent whole numbers; their distribution is a power of one term's characteristic
    function.
    """

    def f(m: int) -> int:
        return 0 if rectified and m < 0 else m**degree

    n = n_units - 1
    signal = f(n_units) - f(n_units - 2)
    places = [2 * k - n for k in range(n + 1)]
    chances = [math.comb(n, k) / 2**n for k in range(n + 1)]
    shares = [f(o + 1) - f(o - 1) for o in places]
    unit = functools.reduce(math.gcd, shares, signal)
    spread = math.sqrt(
        (n_patterns - 1)
        * sum(p * (d / unit) ** 2 for p, d in zip(chances, shares, strict=True))
    )
    size = 1 << math.ceil(math.log2(2 * (12 * spread + signal / unit) + 2 * max(shares) / unit))
    one = np.zeros(size)
    for p, d in zip(chances, shares, strict=True):
        one[(d // unit) % size] += p / 2
        one[(-d // unit) % size] += p / 2
    all_others = np.fft.irfft(np.fft.rfft(one) ** (n_patterns - 1), size)
    below = size // 2 - 1  # sums of -below to -signal - 1
    return float(all_others[size - below : size - signal // unit].sum())


def boltzmann(patterns: Array, of: Table, temperature: float) -> tuple[Array, Array]:
    """All states, and the probability of each at a temperature, in float64."""
    n = patterns.shape[1]
    states = np.array(list(itertools.product([-1, 1], repeat=n)), dtype=np.int64)
    energies = np.array([float_energy(patterns, s, of) for s in states])
    weights = np.exp(-(energies - energies.min()) / temperature)
    return states, weights / weights.sum()


def float_energy(patterns: Array, state: Array, of: Table) -> Any:
    """What users see: -sum F, or -log sum exp."""
    exact = -energy(patterns, state, of)
    if of.degree is not None:
        return -exact / of.unit
    with decimal.localcontext() as context:
        context.prec = DIGITS
        return -float((decimal.Decimal(exact) / of.unit).ln())
