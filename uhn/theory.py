"""What theory says about the memories of the family: capacities, errors, overlaps, energies.

Closed forms and mean-field curves for random patterns, each with its source, to be laid beside
a simulation. Nothing is simulated here, and no memory is needed: NumPy and `math` are enough.

Every function takes numbers or arrays, which broadcast, and gives a float, or an array of
float64 of the shape they broadcast to. Impossible arguments (a load below 0, a probability
above 1) are a ValueError, NaN among them.

Two conventions run through all of it. `n_features` is the number of units N of the literature,
`n_patterns` the number of stored patterns (P, K or T), and `load` is alpha = n_patterns /
n_features. An error of one step is the Gaussian tail ``1/2 erfc(sqrt(snr / 2))`` of a signal
over a noise made of many independent terms: exact as n_features grows, a few tenths of a per
cent off at 100 units.

Sources by short name
---------------------
AGS
    Amit, Gutfreund, Sompolinsky, Phys. Rev. Lett. 55, 1530 (1985); Ann. Phys. 173, 30 (1987).
McEliece
    McEliece, Posner, Rodemich, Venkatesh, IEEE Trans. Inf. Theory 33, 461 (1987).
Krotov
    Krotov, Hopfield, Dense associative memory for pattern recognition, NIPS 2016.
Demircigil
    Demircigil, Heusel, Lowe, Upgang, Vermet, J. Stat. Phys. 168, 288 (2017), arXiv 1702.01929.
Kanerva
    Sparse Distributed Memory, MIT Press 1988; Associative Neural Memories, Oxford 1993, ch. 3.
Chaudhry
    Chaudhry, Zavatone-Veth, Krotov, Pehlevan, Long sequence Hopfield memory, NeurIPS 2023.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator
from fractions import Fraction
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "CriticalLoad",
    "MeanField",
    "ags_bit_error",
    "ags_critical",
    "ags_energy",
    "ags_overlap",
    "ags_solution",
    "ags_spin_glass_energy",
    "bam_critical",
    "bam_overlap",
    "binary_bit_error",
    "dam_alpha",
    "dam_bit_error",
    "dam_capacity",
    "dam_error_free_capacity",
    "exponential_capacity",
    "exponential_rate",
    "hopfield_bit_error",
    "hopfield_capacity",
    "hopfield_load",
    "mixed_sequence_capacity",
    "mixture_count",
    "mixture_energy",
    "mixture_overlap",
    "sdm_activation",
    "sdm_bias",
    "sdm_bit_error",
    "sdm_capacity",
    "sdm_critical_distance",
    "sdm_intersection",
    "sdm_noise",
    "sdm_optimal_activation",
    "sdm_radius",
    "sdm_weight",
    "sequence_bit_error",
    "sequence_capacity",
    "sparse_capacity",
    "storkey_capacity",
    "tanh_overlap",
]

_NORMAL = NormalDist()
_ROOT_PI = math.sqrt(math.pi)


# --------------------------------------------------------------------------------- machinery --


def _each(function: Callable[..., float], *arguments: npt.ArrayLike | None) -> Any:
    """`function` of every combination the arguments broadcast to."""
    arrays = np.broadcast_arrays(*(np.asarray(argument) for argument in arguments))
    if arrays[0].ndim == 0:
        return float(function(*(array.item() for array in arrays)))
    values = [function(*row) for row in zip(*(a.ravel().tolist() for a in arrays), strict=True)]
    return np.array(values, dtype=np.float64).reshape(arrays[0].shape)


def _real(
    value: Any, name: str, low: float, high: float = math.inf, *, open_: str = ""
) -> float:
    """A real number from `low` to `high`; `open_` has "l" or "h" where the end is left out."""
    x = float(value)
    outside = (
        not low <= x <= high or ("l" in open_ and x == low) or ("h" in open_ and x == high)
    )
    if outside or math.isinf(x):
        left = "above" if "l" in open_ else "at least"
        right = "below" if "h" in open_ else "at most"
        bounds = f"{left} {low:g}"
        if high != math.inf:
            bounds += f" and {right} {high:g}"
        raise ValueError(f"{name} is {value!r}; it must be finite, {bounds}")
    return x


def _whole(value: Any, name: str, low: int, high: int | None = None) -> int:
    """A whole number from `low` to `high`; 3.0 is one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    bounds = f"at least {low}" + ("" if high is None else f" and at most {high}")
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if number < low or (high is not None and number > high):
        raise ValueError(f"{name} is {value!r}; it must be a whole number, {bounds}")
    return number


def _choice(value: str, name: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it is one of {', '.join(map(repr, choices))}")
    return value


def _tail(snr: float) -> float:
    """P(Normal(sqrt(snr), 1) < 0): a bit is wrong whose signal squared over noise is `snr`."""
    return 0.5 * math.erfc(math.sqrt(0.5 * snr))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where `function`, above 0 at `low` and not above 0 at `high`, passes 0; by halving."""
    while True:
        middle = 0.5 * (low + high)
        if not low < middle < high:
            return middle
        if function(middle) > 0:
            low = middle
        else:
            high = middle


def _odd_factorial(n: int) -> int:
    """(2n - 1)!! = 1 . 3 . 5 ... (2n - 1), the moment E x^(2n) of a standard normal x."""
    return math.prod(range(1, 2 * n, 2))


def _ratio(a: int, b: int) -> float:
    """a / b of whole numbers of any size, infinite where a double cannot hold it."""
    try:
        return a / b
    except OverflowError:
        return math.inf


# ------------------------------------------------------------- classical network, mean field --


class MeanField(NamedTuple):
    """A retrieval state of a classical network at temperature 0.

    Attributes
    ----------
    overlap : float or ndarray
        m, the overlap with the pattern.
    bit_error : float or ndarray
        (1 - m) / 2, without the loss of digits of that difference.
    susceptibility : float or ndarray
        C of the equations.
    noise : float or ndarray
        r: the mean square of the overlaps with the other patterns, times n_features.
    energy : float or ndarray
        Energy per unit of E = -1/2 sum_(i != j) J_ij s_i s_j, J = 1/N sum xi xi^T.
    """

    overlap: Any
    bit_error: Any
    susceptibility: Any
    noise: Any
    energy: Any


class CriticalLoad(NamedTuple):
    """Where retrieval ends.

    Attributes
    ----------
    load : float
        The largest load alpha_c with a retrieval state.
    y : float
        m / sqrt(2 alpha r) there.
    overlap : float
        m there.
    ground_load : float
        alpha_1: below it the patterns are the lowest states of all. NaN where it is not known.
    """

    load: float
    y: float
    overlap: float
    ground_load: float


def _susceptibility(y: float) -> float:
    """C(y) = 2 y exp(-y^2) / (sqrt(pi) erf(y))."""
    return 2 * y * math.exp(-y * y) / (_ROOT_PI * math.erf(y))


def _hopfield_quiet(c: float) -> float:
    """1 / sqrt(r) of one layer, r = (1 - C)^-2."""
    return 1 - c


def _bam_quiet(c: float) -> float:
    """1 / sqrt(r) of two layers, r = (1 + C^2) / (1 - C^2)^2."""
    return (1 - c * c) / math.sqrt(1 + c * c)


def _root_load(y: float, quiet: Callable[[float], float]) -> float:
    """sqrt(2 alpha) at which y solves the equations: erf(y) / y / sqrt(r)."""
    return math.erf(y) / y * quiet(_susceptibility(y))


def _slope(y: float, log_derivative: Callable[[float], float]) -> float:
    """y d/dy of the logarithm of `_root_load`; `log_derivative` is that of `quiet`."""
    c = _susceptibility(y)
    return c - 1 + log_derivative(c) * c * (1 - 2 * y * y - c)


@functools.cache
def _hopfield_top() -> tuple[float, float]:
    y = _root(lambda y: _slope(y, lambda c: -1 / (1 - c)), 0.5, 3.0)
    return y, 0.5 * _root_load(y, _hopfield_quiet) ** 2


@functools.cache
def _bam_top() -> tuple[float, float]:
    def derivative(c: float) -> float:
        return -2 * c / (1 - c * c) - c / (1 + c * c)

    y = _root(lambda y: _slope(y, derivative), 0.5, 3.0)
    return y, 0.5 * _root_load(y, _bam_quiet) ** 2


def _branch(load: Any, top: tuple[float, float], quiet: Callable[[float], float]) -> float:
    """y of the retrieval state, the larger solution: infinite at load 0, NaN beyond the top."""
    alpha = _real(load, "load", 0)
    y_c, alpha_c = top
    if alpha == 0:
        return math.inf
    if alpha >= alpha_c:
        return y_c if alpha == alpha_c else math.nan
    wanted = math.sqrt(2 * alpha)
    # erf(y) / y and 1 / sqrt(r) are at most 1 / y and 1: y is not larger than 1 / wanted.
    return _root(lambda y: _root_load(y, quiet) - wanted, y_c, max(y_c, 1 / wanted))


def _solution(load: float) -> MeanField:
    y = _branch(load, _hopfield_top(), _hopfield_quiet)
    if y == math.inf:
        return MeanField(1.0, 0.0, 0.0, 1.0, -0.5)
    if math.isnan(y):
        # What is left is the spin glass: m = 0, and the same equations for r.
        r = (1 + math.sqrt(2 / (math.pi * load))) ** 2
        return MeanField(0.0, 0.5, 1 - 1 / math.sqrt(r), r, 0.5 * load * (1 - r))
    m, c = math.erf(y), _susceptibility(y)
    r = (1 - c) ** -2
    # 1 - r without the difference of nearly equal numbers.
    excess = c * (2 - c) * r
    return MeanField(m, 0.5 * math.erfc(y), c, r, -0.5 * m * m - 0.5 * load * excess)


def ags_solution(load: npt.ArrayLike) -> MeanField:
    """The retrieval state of the Hebbian network at temperature 0 in the limit of many units.

    Solves m = erf(m / sqrt(2 alpha r)), C = sqrt(2 / (pi alpha r)) exp(-m^2 / (2 alpha r)),
    r = (1 - C)^-2 through y = m / sqrt(2 alpha r), which leaves one equation,
    ``sqrt(2 alpha) = erf(y) / y - 2 / sqrt(pi) exp(-y^2)``; its larger root is the retrieval
    state. The energy per unit is -m^2 / 2 + alpha (1 - r) / 2. Above `ags_critical().load`
    there is no retrieval state: the overlap is 0 and the numbers are those of the spin glass,
    so that a curve falls where the network does. Source: AGS, replica-symmetric.

    Parameters
    ----------
    load : float or array_like
        n_patterns / n_features, at least 0.

    Returns
    -------
    MeanField

    Examples
    --------
    >>> from uhn import theory
    >>> state = theory.ags_solution(0.1)
    >>> round(state.overlap, 6), round(state.energy, 6)
    (0.997999, -0.500154)
    """
    array = np.asarray(load)
    if array.ndim == 0:
        return _solution(array.item())
    columns = np.array([_solution(x) for x in array.ravel().tolist()], dtype=np.float64)
    columns = columns.reshape(array.size, len(MeanField._fields))
    return MeanField(*(column.reshape(array.shape).copy() for column in columns.T))


def ags_overlap(load: npt.ArrayLike) -> Any:
    """Overlap m of the retrieval state at temperature 0; 0 above the critical load.

    See `ags_solution`.
    """
    return ags_solution(load).overlap


def ags_bit_error(load: npt.ArrayLike) -> Any:
    """Fraction (1 - m) / 2 of wrong bits of the retrieval state; 1/2 above the critical load.

    See `ags_solution`.
    """
    return ags_solution(load).bit_error


def ags_energy(load: npt.ArrayLike) -> Any:
    """Energy per unit of the retrieval state; of the spin glass above the critical load.

    For E = -1/2 sum_(i != j) J_ij s_i s_j with J = 1/N sum xi xi^T. See `ags_solution`.
    """
    return ags_solution(load).energy


def ags_spin_glass_energy(load: npt.ArrayLike) -> Any:
    """Energy per unit of the spin glass, the state that resembles no pattern.

    -1/pi - sqrt(2 alpha / pi): the solution of AGS with m = 0 at temperature 0.
    """
    return _each(lambda a: -1 / math.pi - math.sqrt(2 * _real(a, "load", 0) / math.pi), load)


@functools.cache
def ags_critical() -> CriticalLoad:
    """Where the retrieval states of the Hebbian network end, and where they are lowest.

    alpha_c = 0.137906 is the largest load of `ags_solution`; there m = 0.96742, and 1.6 % of
    the bits are wrong. Below alpha_1 = 0.051854 the retrieval states are lower than the spin
    glass. Source: AGS (0.138 and 0.051).
    """
    y, load = _hopfield_top()
    ground = _root(lambda a: ags_spin_glass_energy(a) - _solution(a).energy, 0.01, 0.1)
    return CriticalLoad(load, y, math.erf(y), ground)


# ------------------------------------------------------------ classical network, by counting --


def hopfield_bit_error(load: npt.ArrayLike) -> Any:
    """Probability that a bit of a stored pattern is wrong after one step from the pattern.

    1/2 erfc(1 / sqrt(2 alpha)): Hebbian weights, random patterns, many units. What happens
    after that step is the business of `ags_bit_error`.

    Parameters
    ----------
    load : float or array_like
        n_patterns / n_features, at least 0.
    """

    def one(value: float) -> float:
        alpha = _real(value, "load", 0)
        return 0.0 if alpha == 0 else 0.5 * math.erfc(1 / math.sqrt(2 * alpha))

    return _each(one, load)


def hopfield_load(bit_error: npt.ArrayLike) -> Any:
    """The load at which one step makes a fraction `bit_error` of the bits wrong.

    1 / z^2 with z = Phi^-1(1 - bit_error); the inverse of `hopfield_bit_error`.

    Parameters
    ----------
    bit_error : float or array_like
        Above 0 and below 1/2.
    """
    return _each(lambda p: _quantile(p) ** -2, bit_error)


def _quantile(bit_error: Any) -> float:
    """z = Phi^-1(1 - p)."""
    return -_NORMAL.inv_cdf(_real(bit_error, "bit_error", 0, 0.5, open_="lh"))


def hopfield_capacity(
    n_features: npt.ArrayLike, which: str = "one", *, noise: npt.ArrayLike = 0.0
) -> Any:
    """Number of patterns recalled without any error.

    (1 - 2 rho)^2 N / (2 ln N) for a given pattern, half of that for all of them, if a fraction
    `rho` of the bits of the cue is wrong and one step is to put them right. Source: McEliece.

    Parameters
    ----------
    n_features : int or array_like
        At least 2.
    which : {"one", "all"}
        A given pattern, or all patterns at once, with probability near 1.
    noise : float or array_like, default 0
        rho, from 0 to below 1/2.
    """
    share = {"one": 2, "all": 4}[_choice(which, "which", ("one", "all"))]

    def one(n: float, rho: float) -> float:
        number = _real(n, "n_features", 2)
        return (
            (1 - 2 * _real(rho, "noise", 0, 0.5, open_="h")) ** 2
            * number
            / (share * math.log(number))
        )

    return _each(one, n_features, noise)


def storkey_capacity(n_features: npt.ArrayLike) -> Any:
    """Number of patterns recalled without error after Storkey's rule: N / sqrt(2 ln N).

    Source: Storkey, ICANN 1997.
    """

    def one(n: float) -> float:
        number = _real(n, "n_features", 2)
        return number / math.sqrt(2 * math.log(number))

    return _each(one, n_features)


def binary_bit_error(n_features: npt.ArrayLike, n_patterns: npt.ArrayLike) -> Any:
    """Probability that a bit is wrong after one step, for units that are 0 or 1.

    Phi(-sqrt(N / (2 (P - 1)))): with T_ij = sum (2 V_i - 1)(2 V_j - 1) and threshold 0 half of
    the units are silent, so that signal squared over noise is half of that of +-1 units.
    Source: Hopfield, PNAS 79, 2554 (1982).

    Parameters
    ----------
    n_features, n_patterns : int or array_like
        At least 1.
    """

    def one(n: int, k: int) -> float:
        number, others = _whole(n, "n_features", 1), _whole(k, "n_patterns", 1) - 1
        return 0.0 if others == 0 else _tail(number / (2 * others))

    return _each(one, n_features, n_patterns)


def sparse_capacity(activity: npt.ArrayLike) -> Any:
    """Patterns per unit that a network of sparse 0/1 patterns holds: 1 / (2 f |ln f|).

    The leading term for a small fraction f of active units. Source: Tsodyks, Feigelman,
    Europhys. Lett. 6, 101 (1988).

    Parameters
    ----------
    activity : float or array_like
        f, above 0 and below 1.
    """

    def one(value: float) -> float:
        f = _real(value, "activity", 0, 1, open_="lh")
        return 1 / (2 * f * abs(math.log(f)))

    return _each(one, activity)


def tanh_overlap(temperature: npt.ArrayLike) -> Any:
    """Overlap m with one pattern at few patterns: the largest root of m = tanh(m / T).

    0 from temperature 1 on (Hebbian weights over n_features). The same equation with
    T = 1 / beta holds for softmax over a pattern of length 1 and its negative. Source: AGS.

    Parameters
    ----------
    temperature : float or array_like
        T, at least 0.
    """

    def one(value: float) -> float:
        t = _real(value, "temperature", 0)
        if t == 0:
            return 1.0
        if t >= 1:
            return 0.0
        # As tanh x > x - x^3 / 3, the difference is above 0 as far as m = T sqrt(3 (1 - T)).
        return _root(lambda m: math.tanh(m / t) - m, t * math.sqrt(1 - t), 1.0)

    return _each(one, temperature)


# ---------------------------------------------------------------------------------- mixtures --


def _mixed(n: Any) -> int:
    number = _whole(n, "n_mixed", 1)
    if number % 2 == 0:
        raise ValueError(
            f"n_mixed is {n!r}; it must be odd: an even sum of patterns is 0 in places"
        )
    return number


def mixture_overlap(n_mixed: npt.ArrayLike) -> Any:
    """Overlap of the sign of a sum of an odd number of random patterns with each of them.

    m_n = 2^-(n-1) C(n - 1, (n - 1) / 2): 1, 1/2, 3/8, 5/16, 35/128. Source: AGS, Phys. Rev. A
    32, 1007 (1985).

    Parameters
    ----------
    n_mixed : int or array_like
        Odd.
    """

    def one(value: int) -> float:
        n = _mixed(value)
        return _ratio(math.comb(n - 1, (n - 1) // 2), 1 << (n - 1))

    return _each(one, n_mixed)


def mixture_energy(n_mixed: npt.ArrayLike) -> Any:
    """Energy per unit of a mixture of an odd number of patterns at few patterns: -n m_n^2 / 2.

    See `mixture_overlap`.
    """

    def one(value: int) -> float:
        n = _mixed(value)
        return -0.5 * n * float(mixture_overlap(n)) ** 2

    return _each(one, n_mixed)


def mixture_count(n_mixed: npt.ArrayLike, n_patterns: npt.ArrayLike) -> Any:
    """How many mixtures of `n_mixed` of `n_patterns` patterns there are: 2^n C(P, n).

    Every sign of every pattern counts, so that negated states are among them.
    """

    def one(value: int, total: int) -> float:
        n = _mixed(value)
        return _ratio(math.comb(_whole(total, "n_patterns", 1), n) << n, 1)

    return _each(one, n_mixed, n_patterns)


# ------------------------------------------------------------------ dense associative memory --


def dam_bit_error(
    n_features: npt.ArrayLike,
    n_patterns: npt.ArrayLike,
    degree: npt.ArrayLike,
    *,
    rectified: bool = False,
) -> Any:
    """Probability that a bit is wrong after one step of E = -sum_mu F(xi^mu . s), F(x) = x^n.

    1/2 erfc(sqrt(N^(n-1) / (2 K (2n-3)!!))). A rectified F, 0 below 0, has half the noise:
    K / 2 in place of K. Source: Krotov (un-rectified); the factor is by the same argument, as
    half of the patterns are on the side where F is 0.

    Parameters
    ----------
    n_features, n_patterns : int or array_like
        N and K, at least 1.
    degree : int or array_like
        n of the energy, at least 2; 2 is the classical network.
    rectified : bool
    """

    def one(n: int, k: int, power: int) -> float:
        number, patterns = _whole(n, "n_features", 1), _whole(k, "n_patterns", 1)
        order = _whole(power, "degree", 2)
        noise = patterns * _odd_factorial(order - 1)
        return _tail(_ratio((2 if rectified else 1) * number ** (order - 1), noise))

    return _each(one, n_features, n_patterns, degree)


def dam_alpha(
    degree: npt.ArrayLike, bit_error: npt.ArrayLike = 0.005, *, rectified: bool = False
) -> Any:
    """alpha_n of the capacity alpha_n N^(n-1) at a given fraction of wrong bits.

    1 / (z^2 (2n-3)!!) with z = Phi^-1(1 - bit_error); twice that if rectified. At 0.5 % it is
    0.1507 for n = 2; 0.36 % gives the 0.138 of the classical network, and the 0.14 often quoted
    lies between. Source: Krotov.

    Parameters
    ----------
    degree : int or array_like
        n of the energy, at least 2.
    bit_error : float or array_like, default 0.005
        Above 0 and below 1/2.
    rectified : bool
    """

    def one(power: int, p: float) -> float:
        factor = _odd_factorial(_whole(power, "degree", 2) - 1)
        return _ratio(2 if rectified else 1, factor) / _quantile(p) ** 2

    return _each(one, degree, bit_error)


def dam_capacity(
    n_features: npt.ArrayLike,
    degree: npt.ArrayLike,
    bit_error: npt.ArrayLike = 0.005,
    *,
    rectified: bool = False,
) -> Any:
    """Number of patterns at which a fraction `bit_error` of the bits is wrong after one step.

    alpha_n N^(n-1); see `dam_alpha`. The inverse of `dam_bit_error`.
    """

    def one(n: int, power: int, p: float) -> float:
        order = _whole(power, "degree", 2)
        top = (2 if rectified else 1) * _whole(n, "n_features", 1) ** (order - 1)
        return _ratio(top, _odd_factorial(order - 1)) / _quantile(p) ** 2

    return _each(one, n_features, degree, bit_error)


def dam_error_free_capacity(
    n_features: npt.ArrayLike,
    degree: npt.ArrayLike,
    which: str = "one",
    *,
    rectified: bool = False,
) -> Any:
    """Number of patterns recalled without any error.

    N^(n-1) / (2 (2n-3)!! ln N) for a given pattern, divided by n for all of them; at n = 2
    these are N / (2 ln N) and N / (4 ln N). Twice that if rectified. Source: Krotov; Demircigil
    prove the statements with constants a little larger in the denominator.

    Parameters
    ----------
    n_features : int or array_like
        At least 2.
    degree : int or array_like
        n of the energy, at least 2.
    which : {"one", "all"}
    rectified : bool
    """
    every = _choice(which, "which", ("one", "all")) == "all"

    def one(n: int, power: int) -> float:
        number, order = _whole(n, "n_features", 2), _whole(power, "degree", 2)
        top = (2 if rectified else 1) * number ** (order - 1)
        bottom = 2 * (order if every else 1) * _odd_factorial(order - 1)
        return _ratio(top, bottom) / math.log(number)

    return _each(one, n_features, degree)


def exponential_rate(noise: npt.ArrayLike = 0.0, which: str = "all") -> Any:
    """Growth rate alpha of the exp(alpha N) patterns that E = -sum exp(xi . s) holds.

    For all patterns I(1 - 2 rho) / 2, I(a) = ((1 + a) ln(1 + a) + (1 - a) ln(1 - a)) / 2: below
    it one update of each unit recovers every pattern from a cue of which a fraction rho is
    wrong; at rho = 0 that is ln(2) / 2, where the closest pair of patterns merges. A typical
    pattern is stable up to ln(e^2 / cosh 2) = 0.674997. Source: Demircigil; the typical rate is
    where the square of the signal e^N meets the variance exp(alpha N) cosh(2)^N.

    Parameters
    ----------
    noise : float or array_like, default 0
        rho, from 0 to 1/2. For ``which="typical"`` 0 alone.
    which : {"all", "typical"}
    """
    if _choice(which, "which", ("all", "typical")) == "typical":

        def typical(rho: float) -> float:
            if rho != 0:
                raise ValueError(
                    f"noise is {rho!r}; the rate of a typical pattern is known at 0"
                )
            return 2 - math.log(math.cosh(2))

        return _each(typical, noise)

    def one(rho: float) -> float:
        a = 1 - 2 * _real(rho, "noise", 0, 0.5)
        rest = (1 - a) * math.log1p(-a) if a < 1 else 0.0
        return 0.25 * ((1 + a) * math.log1p(a) + rest)

    return _each(one, noise)


def exponential_capacity(
    n_features: npt.ArrayLike, noise: npt.ArrayLike = 0.0, which: str = "all"
) -> Any:
    """Number of patterns exp(alpha N) up to which an exponential memory recalls them.

    See `exponential_rate` for alpha, `noise` and `which`. A law of large n_features.
    """
    rate = exponential_rate(noise, which)

    def one(n: float, alpha: float) -> float:
        exponent = alpha * _real(n, "n_features", 1)
        return math.exp(exponent) if exponent < 709 else math.inf

    return _each(one, n_features, rate)


# ---------------------------------------------------------- bidirectional associative memory --


def bam_overlap(load: npt.ArrayLike) -> Any:
    """Overlap of both layers of a bidirectional memory of equal layers at temperature 0.

    Solves m = erf(m / sqrt(2 alpha r)), C = sqrt(2 / (pi alpha r)) exp(-m^2 / (2 alpha r)),
    r = (1 + C^2) / (1 - C^2)^2; 0 above `bam_critical().load`. Source: Tanaka, Kakiya,
    Kabashima (0.1998); Shouno, Kido, Okada, cond-mat/0402126.

    Parameters
    ----------
    load : float or array_like
        Pairs per unit of one layer, at least 0.
    """

    def one(value: float) -> float:
        y = _branch(value, _bam_top(), _bam_quiet)
        return 0.0 if math.isnan(y) else math.erf(y)

    return _each(one, load)


@functools.cache
def bam_critical() -> CriticalLoad:
    """Where the retrieval states of a bidirectional memory end: load 0.1998, overlap 0.9328.

    See `bam_overlap`.
    """
    y, load = _bam_top()
    return CriticalLoad(load, y, math.erf(y), math.nan)


# ------------------------------------------------------------------------- sequence memories --

#: e^2 / cosh 2 = 1.96403, the base of the exponential laws.
_BASE = math.exp(2) / math.cosh(2)


def sequence_bit_error(
    n_features: npt.ArrayLike, n_patterns: npt.ArrayLike, degree: npt.ArrayLike
) -> Any:
    """Probability that a bit of the next pattern is wrong, for separation f(x) = x^d.

    1/2 erfc(sqrt(N^d / (2 P (2d-1)!!))) for s_i <- sign(sum_mu xi_i^(mu+1) f(m_i^mu)), where
    m_i is the overlap without unit i. Source: Chaudhry.

    Parameters
    ----------
    n_features, n_patterns : int or array_like
        N and P, at least 1.
    degree : int or array_like
        d, at least 1; 1 is the classical sequence network.
    """

    def one(n: int, k: int, power: int) -> float:
        number, patterns = _whole(n, "n_features", 1), _whole(k, "n_patterns", 1)
        d = _whole(power, "degree", 1)
        return _tail(_ratio(number**d, patterns * _odd_factorial(d)))

    return _each(one, n_features, n_patterns, degree)


def sequence_capacity(
    n_features: npt.ArrayLike, degree: npt.ArrayLike | None, which: str = "transition"
) -> Any:
    """Length of the sequence of random patterns that is replayed without error.

    f(x) = x^d: N^d / (2 (2d-1)!! ln N) for one transition, divided by d + 1 for the whole
    sequence. f(x) = exp((N - 1) x): b^(N-1) / (2 ln N) and b^N / (2 ln(b) N), with b =
    e^2 / cosh 2 = 1.964028. Source: Chaudhry.

    Parameters
    ----------
    n_features : int or array_like
        At least 2.
    degree : int or array_like, or None
        d, at least 1; None for the exponential.
    which : {"transition", "whole"}
    """
    whole = _choice(which, "which", ("transition", "whole")) == "whole"

    def exponential(n: int) -> float:
        number = _whole(n, "n_features", 2)
        log_base = math.log(_BASE)
        if whole:
            exponent, divisor = number * log_base, 2 * log_base * number
        else:
            exponent, divisor = (number - 1) * log_base, 2 * math.log(number)
        return math.exp(exponent) / divisor if exponent < 709 else math.inf

    def one(n: int, power: int) -> float:
        number, d = _whole(n, "n_features", 2), _whole(power, "degree", 1)
        bottom = 2 * (d + 1 if whole else 1) * _odd_factorial(d)
        return _ratio(number**d, bottom) / math.log(number)

    if degree is None:
        return _each(exponential, n_features)
    return _each(one, n_features, degree)


def mixed_sequence_capacity(
    n_features: npt.ArrayLike,
    gain: npt.ArrayLike,
    degree_stay: npt.ArrayLike,
    degree_step: npt.ArrayLike,
) -> Any:
    """Length up to which a network of two terms makes one transition without error.

    (lambda - 1)^2 / (2 gamma) N^min(dS, dA) / ln N for fields sum_mu (xi^mu f_S + lambda
    xi^(mu+1) f_A), with gamma = (2 dS - 1)!! if dS < dA, lambda^2 (2 dA - 1)!! if dS > dA, and
    for dS = dA = d (lambda^2 + 1) (2d-1)!!, plus 2 lambda ((d-1)!!)^2 for even d. Source:
    Chaudhry (MixedNet).

    Parameters
    ----------
    n_features : int or array_like
        At least 2.
    gain : float or array_like
        lambda, the strength of the step against that of staying; above 1.
    degree_stay, degree_step : int or array_like
        dS and dA, at least 1.
    """

    def one(n: int, strength: float, stay: int, step: int) -> float:
        number = _whole(n, "n_features", 2)
        lam = _real(strength, "gain", 1, open_="l")
        d_s, d_a = _whole(stay, "degree_stay", 1), _whole(step, "degree_step", 1)
        if d_s < d_a:
            gamma = float(_odd_factorial(d_s))
        elif d_s > d_a:
            gamma = lam**2 * _odd_factorial(d_a)
        else:
            gamma = (lam**2 + 1) * _odd_factorial(d_s)
            if d_s % 2 == 0:
                gamma += 2 * lam * _odd_factorial(d_s // 2) ** 2
        return (lam - 1) ** 2 / (2 * gamma) * float(number) ** min(d_s, d_a) / math.log(number)

    return _each(one, n_features, gain, degree_stay, degree_step)


# ----------------------------------------------------------------- sparse distributed memory --
# Everything about balls is counted in whole numbers and divided once, so that it is right to
# the last place; sums over distances are `math.fsum`.


def _choices(n: int) -> Iterator[int]:
    """C(n, k) for k = 0 ... n: addresses at distance k of an address."""
    term = 1
    for k in range(n + 1):
        yield term
        term = term * (n - k) // (k + 1)


def _balls(n: int) -> Iterator[int]:
    """Addresses within distance 0, 1, ... n of an address."""
    return itertools.accumulate(_choices(n))


def _ball(n: int, radius: int) -> int:
    """Addresses within the radius of an address."""
    return next(itertools.islice(_balls(n), radius, None))


@functools.lru_cache(maxsize=64)
def _intersections(n: int, r: int, w: int) -> tuple[float, ...]:
    """I(d) for d = 0 ... n.

    Turning one more bit of one of the two loses what lies at exactly r and w from them and
    agrees with both in that bit: with m the smaller radius and d = |r - w| + 2 i that is
    C(d, i) C(n - 1 - d, m - i), and nothing where d is not of that form. Each such product is
    that before it times a quotient.
    """
    m, apart, scale = min(r, w), abs(r - w), 1 << n
    count = _ball(n, m)
    lost = math.comb(n - 1 - apart, m) if apart < n else 0
    found = [count / scale]
    for d in range(n):
        i, odd = divmod(d - apart, 2)
        if i >= 0 and not odd:
            count -= lost
            lost *= (d + 1) * (d + 2) * (m - i) * (n - 1 - d - m + i)
            lost //= (i + 1) * (d + 1 - i) * max(1, (n - 1 - d) * (n - 2 - d))
        found.append(count / scale)
    return tuple(found)


def _between(values: tuple[float, ...], d: float) -> float:
    """`values` at a place between two whole numbers."""
    low = min(int(d), len(values) - 2)
    return values[low] + (d - low) * (values[low + 1] - values[low])


class _Reads:
    """phi, sigma and b of one memory, and what follows for its reads."""

    def __init__(self, n: int, h: int, r: int, w: int, t: int) -> None:
        self.n = n
        self.phi = tuple(h * part for part in _intersections(n, r, w))
        chance = (count / (1 << n) for count in _choices(n))
        each = list(zip(chance, self.phi, strict=True))
        square = math.fsum(p * (phi + phi * phi) for p, phi in each)
        toward = math.fsum(p * phi * (1 - 2 * d / n) for d, (p, phi) in enumerate(each))
        self.noise = math.sqrt((t - 1) * square)
        self.bias = (t - 1) * toward

    def below(self, x: float) -> float:
        """The probability that noise is below x."""
        if self.noise == 0:
            return 0.5 if x == 0 else float(x > 0)
        return 0.5 * math.erfc(-x / (self.noise * math.sqrt(2)))

    def error(self, d: float, kind: str) -> float:
        """P_wrong(d) after one read."""
        phi = _between(self.phi, d)
        if kind == "hetero":
            return self.below(-phi)
        wrong = d / self.n
        return (1 - wrong) * self.below(-phi - self.bias) + wrong * self.below(self.bias - phi)

    def critical(self, kind: str) -> float:
        """Up to where a read brings cues nearer."""

        def gain(d: float) -> float:
            return d - self.n * self.error(d, kind)

        # A memory nearly full does not come nearer than a few bits. Far away every cue comes
        # nearer to half of the bits: that is no item found.
        half = self.n // 2
        rest = next((d for d in range(1, half + 1) if gain(d) > 0), None)
        if rest is None or self._far(rest):
            return 0.0
        worse = next((d for d in range(rest + 1, half + 1) if gain(d) <= 0), None)
        return self.n / 2 if worse is None else _root(gain, worse - 1, worse)

    def iterated(self) -> float:
        """Up to where reads bring cues nearer all the way; see `sdm_critical_distance`."""
        half = self.n // 2
        # The largest part of bits that can be wrong after a read at 0, 1, ...
        upper = [self.below(self.bias - phi) for phi in self.phi[: half + 1]]

        def gain(start: float) -> float:
            """The least gain of a read on the way from `start`, which ends at `rest`."""
            phi = _between(self.phi, start)
            stuck, top = self.below(-phi - self.bias), self.below(self.bias - phi)

            def at(d: float, up: float) -> float:
                return d - self.n * (min(stuck, up) + start / self.n * max(up - stuck, 0.0))

            whole = range(rest, int(start) + 1)
            return min(at(start, top), *(at(d, upper[d]) for d in whole))

        rest = next((d for d in range(1, half + 1) if self.n * upper[d] < d), half + 1)
        if rest > half or self._far(rest):
            return 0.0
        bad = next((d for d in range(rest, half + 1) if gain(d) <= 0), None)
        if bad is None:
            return self.n / 2
        return 0.0 if bad == rest else _root(gain, bad - 1, bad)

    def _far(self, d: int) -> bool:
        return d > 1 and 4 * d >= self.n


_reads_of = functools.lru_cache(maxsize=16)(_Reads)


def _radii(n: int, r: Any, w: Any) -> tuple[int, int]:
    """The radii for reading and for writing, the same where only one is given."""
    radius = _whole(r, "radius", 0, n)
    return radius, radius if w is None else _whole(w, "write_radius", 0, n)


def _reads(n: Any, h: Any, r: Any, t: Any, w: Any) -> _Reads:
    number = _whole(n, "n_features", 1)
    locations, (radius, other) = _whole(h, "n_locations", 1), _radii(number, r, w)
    return _reads_of(number, locations, radius, other, _whole(t, "n_patterns", 1))


def sdm_activation(n_features: npt.ArrayLike, radius: npt.ArrayLike) -> Any:
    """Fraction p of the hard locations that an address activates: P(Bin(n, 1/2) <= r).

    The radius is inclusive. Source: Kanerva.

    Parameters
    ----------
    n_features : int or array_like
        n, bits of an address, at least 1.
    radius : int or array_like
        r, from 0 to n.

    Examples
    --------
    >>> from uhn import theory
    >>> round(theory.sdm_activation(1000, 451), 9)
    0.00107185
    """

    def one(n: int, r: int) -> float:
        number = _whole(n, "n_features", 1)
        return _ball(number, _whole(r, "radius", 0, number)) / (1 << number)

    return _each(one, n_features, radius)


def sdm_radius(n_features: npt.ArrayLike, activation: npt.ArrayLike) -> Any:
    """The radius whose activation is nearest to a wanted one; the smaller of two as near.

    Activations of neighbouring radii differ by a factor (1.26 at n = 1000, p = 0.001). Whole
    numbers, as float64 for arrays. See `sdm_activation`.

    Parameters
    ----------
    n_features : int or array_like
        At least 1.
    activation : float or array_like
        From 0 to 1.
    """

    def one(n: int, p: float) -> float:
        number = _whole(n, "n_features", 1)
        wanted = Fraction(_real(p, "activation", 0, 1)) * (1 << number)
        radius, size = next((r, b) for r, b in enumerate(_balls(number)) if b >= wanted)
        if radius > 0 and wanted - _ball(number, radius - 1) <= size - wanted:
            radius -= 1
        return radius

    found = _each(one, n_features, activation)
    return int(found) if isinstance(found, float) else found


def sdm_optimal_activation(n_locations: npt.ArrayLike, n_patterns: npt.ArrayLike) -> Any:
    """The activation that leaves the least noise: (2 H T)^(-1/3).

    Minimises 1 / (p H) + (T / H) (1 / (p H) + p^2), noise over signal squared of the simplified
    theory in which items do not meet by chance more often than balls do. Source: Kanerva, 1993.

    Parameters
    ----------
    n_locations, n_patterns : int or array_like
        H and T, at least 1.
    """

    def one(h: int, t: int) -> float:
        return float((2 * _whole(h, "n_locations", 1) * _whole(t, "n_patterns", 1)) ** (-1 / 3))

    return _each(one, n_locations, n_patterns)


def sdm_intersection(
    n_features: npt.ArrayLike,
    radius: npt.ArrayLike,
    distance: npt.ArrayLike,
    write_radius: npt.ArrayLike | None = None,
) -> Any:
    """Fraction I(d) of all addresses that lie within the radius of both of two addresses.

    2^-n sum_(j, k) C(d, j) C(n - d, k) [j + k <= r] [d - j + k <= w], where j of the d bits in
    which the two differ and k of the others are not those of the first. Source: Kanerva.

    Parameters
    ----------
    n_features : int or array_like
        n, at least 1.
    radius, distance : int or array_like
        r and the distance d of the two, from 0 to n.
    write_radius : int or array_like, optional
        w, the radius about the other address; `radius` if not given.
    """

    def one(n: int, r: int, d: int, w: int | None) -> float:
        number = _whole(n, "n_features", 1)
        first, second = _radii(number, r, w)
        apart = _whole(d, "distance", 0, number)
        return _intersections(number, first, second)[apart]

    return _each(one, n_features, radius, distance, write_radius)


def sdm_weight(
    distance: npt.ArrayLike,
    *,
    n_features: npt.ArrayLike,
    n_locations: npt.ArrayLike,
    radius: npt.ArrayLike,
    write_radius: npt.ArrayLike | None = None,
) -> Any:
    """Mean number phi(d) = H I(d) of hard locations that two addresses both activate.

    It is the weight with which an item at distance d is read, linear between whole distances.
    See `sdm_intersection`.

    Parameters
    ----------
    distance : float or array_like
        d, from 0 to n_features.
    n_features, n_locations, radius, write_radius
        As of `sdm_bit_error`.
    """

    def one(d: float, n: int, h: int, r: int, w: int | None) -> float:
        number = _whole(n, "n_features", 1)
        part = _between(
            _intersections(number, *_radii(number, r, w)), _real(d, "distance", 0, number)
        )
        return _whole(h, "n_locations", 1) * part

    return _each(one, distance, n_features, n_locations, radius, write_radius)


def sdm_noise(
    *,
    n_features: npt.ArrayLike,
    n_locations: npt.ArrayLike,
    radius: npt.ArrayLike,
    n_patterns: npt.ArrayLike,
    write_radius: npt.ArrayLike | None = None,
) -> Any:
    """Standard deviation sigma of one bit's sum, from the items other than the one wanted.

    sigma^2 = (T - 1) E[phi(D) + phi(D)^2], D ~ Bin(n, 1/2): the items are at chance distances,
    and phi(D) of them varies as a Poisson number does, as locations are random.

    Parameters
    ----------
    n_features, n_locations, radius, n_patterns, write_radius
        As of `sdm_bit_error`.
    """
    return _each(
        lambda *sizes: _reads(*sizes).noise,
        n_features, n_locations, radius, n_patterns, write_radius,
    )  # fmt: skip


def sdm_bias(
    *,
    n_features: npt.ArrayLike,
    n_locations: npt.ArrayLike,
    radius: npt.ArrayLike,
    n_patterns: npt.ArrayLike,
    write_radius: npt.ArrayLike | None = None,
) -> Any:
    """Pull b of an autoassociative read toward the cue, whatever the cue is.

    b = (T - 1) E[phi(D) (1 - 2 D / n)]: items near the cue weigh most and share its bits.

    Parameters
    ----------
    n_features, n_locations, radius, n_patterns, write_radius
        As of `sdm_bit_error`.
    """
    return _each(
        lambda *sizes: _reads(*sizes).bias,
        n_features, n_locations, radius, n_patterns, write_radius,
    )  # fmt: skip


def sdm_bit_error(
    distance: npt.ArrayLike,
    *,
    n_features: npt.ArrayLike,
    n_locations: npt.ArrayLike,
    radius: npt.ArrayLike,
    n_patterns: npt.ArrayLike,
    kind: str = "hetero",
    write_radius: npt.ArrayLike | None = None,
) -> Any:
    """Probability that a bit is wrong after one read with a cue at a distance from its item.

    With phi = `sdm_weight`, sigma = `sdm_noise` and b = `sdm_bias` it is Phi(-phi / sigma)
    where the words are not the addresses, and where they are
    (1 - d/n) Phi(-(phi + b) / sigma) + (d/n) Phi(-(phi - b) / sigma). Source: Kanerva for the
    first; the pull toward the cue is by the same argument.

    Parameters
    ----------
    distance : float or array_like
        d, bits of the cue that are wrong, from 0 to n_features.
    n_features, n_locations, radius, n_patterns : int or array_like
        n, H, r and T: random items, each written once, the one asked for among them.
    kind : {"hetero", "auto"}
    write_radius : int or array_like, optional
        For writing, where it is not `radius`.

    Examples
    --------
    >>> from uhn import theory
    >>> kanerva = dict(n_features=1000, n_locations=10**6, radius=451, n_patterns=10**4)
    >>> round(1000 * theory.sdm_bit_error(209, **kanerva), 1)
    283.8
    """
    _choice(kind, "kind", ("hetero", "auto"))

    def one(d: float, *sizes: Any) -> float:
        reads = _reads(*sizes)
        return reads.error(_real(d, "distance", 0, reads.n), kind)

    return _each(one, distance, n_features, n_locations, radius, n_patterns, write_radius)


def sdm_critical_distance(
    *,
    n_features: npt.ArrayLike,
    n_locations: npt.ArrayLike,
    radius: npt.ArrayLike,
    n_patterns: npt.ArrayLike,
    kind: str = "auto",
    write_radius: npt.ArrayLike | None = None,
) -> Any:
    """The distance up to which reading brings a cue nearer to its item.

    For one read it is where n P_wrong(d) = d; see `sdm_bit_error`. 0 if no cue comes nearer,
    n_features / 2 if all of them do.

    Parameters
    ----------
    n_features, n_locations, radius, n_patterns : int or array_like
        n, H, r and T.
    kind : {"auto", "hetero", "iterated"}
        "auto" and "hetero" are about one read, as in `sdm_bit_error`. "iterated": up to where
        an autoassociative memory that is read again and again arrives at the item.
    write_radius : int or array_like, optional
        For writing, where it is not `radius`.

    Notes
    -----
    An autoassociative memory that is read again and again recovers fewer cues than one read
    brings nearer: the items that made the first read wrong are nearer to its result than by
    chance, and pull again. "iterated" takes the noise z of every bit, against the sign of the
    item, as the same at every read, and the pull b as that of the present state. After a read
    at phi = phi(d) a bit is wrong if z < -(phi + b), right if z > b - phi, and between the two
    stays what it was. From `start` on phi grows, and the interval moves down, so that at d the
    wrong bits are those below the lower bound of the first read, which stay where the upper
    one has not passed them, and of the others below the present upper bound those that were
    wrong at the start:

        stuck = Phi(-(phi(start) + b) / sigma),    up = Phi((b - phi(d)) / sigma)
        P_wrong = min(stuck, up) + (start / n) max(up - stuck, 0)

    and n P_wrong < d has to hold all the way from `start` down to where it comes to rest. Noise
    that is new at every read would give "auto" again. For a memory nearly full it is too
    strict: there the noise does change from read to read.

    For n = 1000, H = 10^6, r = 451, T = 10^4 the distances are 154.4 (hetero), 234.5 (auto)
    and 198.7 (iterated); a simulation of the full size recovers half of the cues at 197 to 198.
    Kanerva's 209 is for hetero and from a simpler theory, sigma^2 = p H (1 + p T), where the
    crossing is at 213: it takes every word in the pool as independent, but items that share a
    location with a cue are likely to share more of them (E[o^2] = 2.64 for o shared ones), so
    that their words count several times.
    """
    _choice(kind, "kind", ("hetero", "auto", "iterated"))

    def one(*sizes: Any) -> float:
        reads = _reads(*sizes)
        return reads.iterated() if kind == "iterated" else reads.critical(kind)

    return _each(one, n_features, n_locations, radius, n_patterns, write_radius)


def sdm_capacity(word_length: npt.ArrayLike, probability: npt.ArrayLike = 0.5) -> Any:
    """Items per hard location that are read at their own address without any wrong bit.

    tau = 1 / (Phi^-1(probability^(1 / U)))^2 in the limit of many locations. The often quoted
    0.1 is U = 1000 at probability 1/2. Source: Kanerva, 1993.

    Parameters
    ----------
    word_length : int or array_like
        U, bits of a word, at least 1.
    probability : float or array_like, default 0.5
        That all U bits are right; above 2^-U and below 1.
    """

    def one(u: int, phi: float) -> float:
        length = _whole(u, "word_length", 1)
        right = math.log(_real(phi, "probability", 0, 1, open_="lh")) / length
        wrong = -math.expm1(right)
        if not wrong < 0.5:
            raise ValueError(
                f"probability is {phi!r}; that of a guess is 2^-{length} already: ask for more"
            )
        return _NORMAL.inv_cdf(wrong) ** -2

    return _each(one, word_length, probability)
