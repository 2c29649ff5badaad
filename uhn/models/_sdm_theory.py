"""What to expect of sparse distributed memory: activation, noise, critical distances.

Numbers of addresses are counted as Python integers and divided at the end, so that they are
exact to the last digit of a float; sums over distances are `math.fsum`. With H hard locations,
radius r, T items and addresses of n bits,

    p       = P(Binomial(n, 1/2) <= r)                  a location is active
    I(d)    = the part of all addresses within r of both of two points d apart
    phi(d)  = H I(d)                                    locations active for both
    sigma^2 = (T - 1) E[phi(D) + phi(D)^2]              noise of the other items
    b       = (T - 1) E[phi(D) (1 - 2 D / n)]           their pull toward the query's own bits

with D ~ Binomial(n, 1/2), the distance to an item one does not ask for (Kanerva 1988, ch. 7;
the term phi(D) of sigma^2, the bias b and the iterated form are derived here).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from fractions import Fraction

from ._base import take_choice
from ._schedule import whole

__all__ = [
    "activation_probability",
    "bit_error",
    "critical_distance",
    "intersection",
    "optimal_activation",
    "radius_for",
]

KINDS = ("hetero", "auto", "iterated")


def activation_probability(n: int, radius: int) -> float:
    """The probability that a random address is within `radius` of a given one.

    ``P(Binomial(n, 1/2) <= radius)``, correctly rounded.

    Parameters
    ----------
    n : int
        Bits of an address.
    radius : int

    Returns
    -------
    float
    """
    n, radius = whole(n, "n", 1), whole(radius, "radius", 0)
    return _ball(n, radius) / (1 << n)


def radius_for(n: int, activation: float) -> int:
    """The radius whose activation probability is nearest to the one wanted.

    Neighbouring radii differ by a factor (1.26 at n = 1000, p = 0.001), so that the nearest may
    well be the smaller one; of two equally near it is.

    Parameters
    ----------
    n : int
        Bits of an address.
    activation : float
        From 0 to 1.

    Returns
    -------
    int
    """
    n = whole(n, "n", 1)
    if not 0 <= activation <= 1:
        raise ValueError(f"activation is {activation}; a probability is from 0 to 1")
    wanted = Fraction(activation) * (1 << n)
    term, below, total = 1, 0, 1  # C(n, r), addresses within r - 1, within r
    for radius in range(n):
        if total >= wanted:
            return radius - 1 if radius > 0 and wanted - below <= total - wanted else radius
        term = term * (n - radius) // (radius + 1)
        below, total = total, total + term
    return n - 1 if wanted - below <= total - wanted else n


def optimal_activation(n_locations: int, n_items: int) -> float:
    """The activation probability with the largest ratio of signal to noise: (2 H T)^(-1/3).

    It minimises ``p H [1 + p T (1 + p^2 H)] / (p H)^2``, the noise over the signal's square at
    the written address (Kanerva 1993).

    Parameters
    ----------
    n_locations, n_items : int

    Returns
    -------
    float
    """
    h, t = whole(n_locations, "n_locations", 1), whole(n_items, "n_items", 1)
    return float((2 * h * t) ** (-1 / 3))


def intersection(n: int, radius: int, distance: int, write_radius: int | None = None) -> float:
    """The part of all addresses within the radius of both of two points `distance` apart.

    Parameters
    ----------
    n : int
        Bits of an address.
    radius : int
    distance : int
        From 0 to n.
    write_radius : int, optional
        The radius about the other point; `radius` if not given.

    Returns
    -------
    float
        ``2^-n sum_jk C(d, j) C(n - d, k)`` over ``j + k <= radius``, ``d - j + k <=
        write_radius``, correctly rounded.
    """
    n, d = whole(n, "n", 1), whole(distance, "distance", 0)
    r = whole(radius, "radius", 0)
    w = r if write_radius is None else whole(write_radius, "write_radius", 0)
    if d > n:
        raise ValueError(f"distance is {d}; addresses of {n} bits are at most {n} apart")
    return _common(n, min(r, n), min(w, n))[d] / (1 << n)


def bit_error(
    n: int,
    n_locations: int,
    radius: int,
    n_items: int,
    distance: float,
    *,
    auto: bool = False,
    write_radius: int | None = None,
) -> float:
    """The probability that a bit is wrong after one read.

    Hetero-associative, ``Phi(-phi(d) / sigma)``. Auto-associative, where an item is its own
    address, items near the query share its bits, so that right ones are helped and wrong ones
    kept: ``(1 - d/n) Phi(-(phi + b) / sigma) + (d/n) Phi(-(phi - b) / sigma)``.

    Parameters
    ----------
    n : int
        Bits of an address.
    n_locations, radius, n_items : int
        All items random and written once, the one asked for among them.
    distance : float
        Of the query from the address asked for, from 0 to n; phi is interpolated.
    auto : bool, default False
        Whether words are their own addresses.
    write_radius : int, optional
        `radius` if not given.

    Returns
    -------
    float
    """
    theory = _theory(n, n_locations, radius, n_items, write_radius)
    if not 0 <= distance <= n:
        raise ValueError(
            f"distance is {distance}; addresses of {n} bits are from 0 to {n} apart"
        )
    return theory.error(distance, auto)


def critical_distance(
    n: int,
    n_locations: int,
    radius: int,
    n_items: int,
    *,
    kind: str = "auto",
    write_radius: int | None = None,
) -> float:
    """The distance up to which reading brings a query nearer to the item asked for.

    Parameters
    ----------
    n : int
        Bits of an address.
    n_locations, radius, n_items : int
        All items random and written once.
    kind : {"auto", "hetero", "iterated"}
        ``"hetero"``: where the part of wrong bits after one read of an unrelated word equals
        that of the query. ``"auto"``: the same for words that are their own addresses, with
        the bias toward the query. ``"iterated"``: from where reading again and again arrives
        at the item. The noise of one read is not independent of the noise of the next, which
        is made by the same items; taken as the same at every read it gives what simulations
        show (but for a memory nearly full, where it is too strict), while a new one each time
        would give "auto" again.
    write_radius : int, optional
        `radius` if not given.

    Returns
    -------
    float
        0 if no query is improved, n / 2 if every one is.

    Notes
    -----
    For n = 1000, H = 10^6, r = 451, T = 10^4 these are 154.4, 234.5 and 198.7. Kanerva's
    figure for the first is 209. Most of the difference comes from the noise: items that are
    written to one of the locations of a query are likely to be in more of them (E[o^2] = 2.64,
    where o is the number of shared locations), so that their words count several times. With
    sigma^2 = p H (1 + p T), every word in the pool independent, the crossing would be at 213.
    """
    take_choice(kind, "kind", KINDS)
    theory = _theory(n, n_locations, radius, n_items, write_radius)
    if kind == "iterated":
        return theory.iterated()
    return theory.crossing(lambda d: theory.n * theory.error(d, kind == "auto") - d)


# ----------------------------------------------------------------------------------- numbers --


def _ball(n: int, radius: int) -> int:
    """Addresses within the radius of one of them."""
    if radius >= n:
        return 1 << n
    total = term = 1
    for k in range(radius):
        term = term * (n - k) // (k + 1)
        total += term
    return total


@functools.lru_cache(maxsize=16)
def _common(n: int, r: int, w: int) -> tuple[int, ...]:
    """Addresses within r of one point and within w of another, for all distances 0 to n.

    Moving the other point by one more bit loses the addresses at exactly r and w from both,
    without that bit: one term of the double sum.
    """
    counts = [_ball(n, min(r, w))]
    for d in range(n):
        twice = d + w - r
        j = twice // 2
        lost = 0
        if twice % 2 == 0 and 0 <= j <= d and 0 <= w - j <= n - 1 - d:
            lost = math.comb(d, j) * math.comb(n - 1 - d, w - j)
        counts.append(counts[-1] - lost)
    return tuple(counts)


def _phi(x: float) -> float:
    """The normal distribution function."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


class _Theory:
    """phi, sigma and b of one memory."""

    def __init__(self, n: int, n_locations: int, r: int, w: int, n_items: int) -> None:
        scale = 1 << n
        self.n = n
        self.phi = [n_locations * count / scale for count in _common(n, r, w)]
        weight = 1
        mean_square, bias = [], []
        for d, phi in enumerate(self.phi):
            p = weight / scale
            mean_square.append(p * (phi + phi * phi))
            bias.append(p * phi * (1 - 2 * d / n))
            weight = weight * (n - d) // (d + 1)
        self.sigma = math.sqrt((n_items - 1) * math.fsum(mean_square))
        self.bias = (n_items - 1) * math.fsum(bias)

    def shared(self, d: float) -> float:
        """phi at any distance."""
        low = min(int(d), self.n - 1)
        return self.phi[low] + (d - low) * (self.phi[low + 1] - self.phi[low])

    def below(self, x: float) -> float:
        """The probability that noise is below x."""
        if self.sigma == 0:
            return 0.5 if x == 0 else float(x > 0)
        return _phi(x / self.sigma)

    def error(self, d: float, auto: bool) -> float:
        phi = self.shared(d)
        if not auto:
            return self.below(-phi)
        wrong = d / self.n
        return (1 - wrong) * self.below(-phi - self.bias) + wrong * self.below(self.bias - phi)

    def crossing(self, excess: Callable[[float], float]) -> float:
        """Where `excess` (of errors after a read over those before) turns positive again."""
        half = self.n // 2
        improved = next((d for d in range(1, half + 1) if excess(d) < 0), None)
        if improved is None:
            return 0.0
        worse = next((d for d in range(improved + 1, half + 1) if excess(d) >= 0), None)
        if worse is None:
            return self.n / 2 if improved < self.n / 4 else 0.0
        return _bisect(excess, worse - 1, worse)

    def iterated(self) -> float:
        """The largest start from which the distance never stops falling.

        With the noise z of every bit fixed, a bit is wrong after a read if z < -(phi + b),
        right if z > b - phi, and stays in between. As phi grows from phi(start), the wrong
        bits are those below the first bound of the start, and those between it and the present
        upper bound that were wrong at the start.
        """

        half = self.n // 2

        def after(start: float, d: float) -> float:
            stuck = self.below(-self.shared(start) - self.bias)
            upper = self.below(self.bias - self.shared(d))
            return self.n * (min(stuck, upper) + start / self.n * max(upper - stuck, 0.0))

        rest = next(
            (d for d in range(1, half) if self.n * self.below(self.bias - self.phi[d]) < d),
            None,
        )
        if rest is None or rest >= self.n / 4:
            return 0.0

        def arrives(start: float) -> float:
            """Negative if it does: the largest excess on the way down."""
            way: list[float] = [*range(rest, int(start) + 1), start]
            return max(after(start, d) - d for d in way)

        bad = next((d for d in range(rest, half + 1) if arrives(d) >= 0), None)
        if bad is None:
            return self.n / 2
        return 0.0 if bad == rest else _bisect(arrives, bad - 1, bad)


def _bisect(f: Callable[[float], float], low: float, high: float) -> float:
    """A zero of f, which is below 0 at `low` and not at `high`."""
    for _ in range(60):
        middle = (low + high) / 2
        if f(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@functools.lru_cache(maxsize=16)
def _theory_of(n: int, n_locations: int, r: int, w: int, n_items: int) -> _Theory:
    return _Theory(n, n_locations, r, w, n_items)


def _theory(
    n: int, n_locations: int, radius: int, n_items: int, write_radius: int | None
) -> _Theory:
    n, r = whole(n, "n", 1), whole(radius, "radius", 0)
    w = r if write_radius is None else whole(write_radius, "write_radius", 0)
    h, t = whole(n_locations, "n_locations", 1), whole(n_items, "n_items", 1)
    return _theory_of(n, h, min(r, n), min(w, n), t)
