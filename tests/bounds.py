"""How far a result may be from the exact one: forward error bounds of every row, derived, not
tried.

Notation (Higham, "Accuracy and Stability of Numerical Algorithms", chapter 3): u is the unit
round-off of the dtype (2^-24 or 2^-53), one operation is exact to a factor 1 + d with |d| <= u,
and n of them to a factor 1 + g with |g| <= gamma_n = n u / (1 - n u).

What the derivation takes from the library is its definition of a result, not its code:

 - a score is one chain of at most 256 fused multiply-adds (or additions) per 256 features, and
   the sums of the chains are added in order: a term meets at most 256 + (number of chains) - 1
   roundings;
 - sums and norms of rows are taken in double, eight sums side by side;
 - exp(x) is 2^t, t = x log2(e) rounded, with at most 2 ulp (4 u) from the exponential itself;
   so are logarithms, and powers are good to 1 ulp before they are rounded to the dtype;
 - weights and weighted values are summed in a chain of at most 1024 patterns, and the sums of
   the blocks by a tree;
 - a weight below 2^-64 (float32) or 2^-96 (float64) of the largest power of two is 0.

`scores`, `weights` and `retrieved` give the exact result (by reference.py, in a wider type) and
its bound, both as arrays. A bound of inf says that the formula promises nothing there (an
ill-conditioned case), and the tests count on its being rare.

Products of two errors are covered by the factor SECOND_ORDER: every first-order relative error
that meets another is below 2^-8 in the cases tested, so their products are below 1 % of the
bound.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

import reference

Array = np.ndarray

SECOND_ORDER = 1.01
CHAIN = 256  # features of one chain
BLOCK = 1024  # patterns of one block
EXPONENTIAL = 4  # in u: 2 ulp
LOGARITHM = 4
U64 = 2.0**-53


class Bounded(NamedTuple):
    """The exact result and how far the library's may be from it."""

    value: Array
    bound: Array


class Precision(NamedTuple):
    """What a dtype can hold."""

    u: float  # unit round-off
    tiny: float  # smallest normal number: where the library may round to 0
    cutoff: float  # relative weight that counts as 0
    wide: type  # the type the oracle computes in
    slack: float  # 1 + (round-off of the oracle) / u: the oracle's own error is as many bounds


def precision(dtype: np.dtype | type) -> Precision:
    """The constants of float32 or float64."""
    info = np.finfo(dtype)
    u = float(info.eps) / 2
    single = np.dtype(dtype) == np.float32
    wide = np.float64 if single else np.longdouble
    slack = 1 + float(np.finfo(wide).eps) / float(info.eps)
    cutoff = 2.0**-64 if single else 2.0**-96
    return Precision(u, float(info.tiny), cutoff, wide, slack)


def gamma(n: float, u: float) -> float:
    """gamma_n, the relative error of n operations in a row."""
    assert n * u < 0.25, "too many operations for the bound to mean anything"
    return n * u / (1 - n * u)


def score_roundings(n_features: int) -> int:
    """Roundings a term meets in a score: those of its chain, then the additions of chains."""
    return min(n_features, CHAIN) + -(-n_features // CHAIN) - 1


def sum_roundings(n_patterns: int) -> int:
    """Roundings a term meets in a sum over patterns: its block, then the tree over blocks.

    Among b blocks a term passes at most ceil(log2 b) nodes of the tree and one more addition
    when the nodes left over are folded; one rounding more for its own product.
    """
    n_blocks = -(-n_patterns // BLOCK)
    return min(n_patterns, BLOCK) + math.ceil(math.log2(n_blocks)) + 2


# ------------------------------------------------------------------------------------ scores --


def scores(
    patterns: Array,
    queries: Array,
    similarity: str = "dot",
    *,
    transform: str | None = None,
    eps: float | None = None,
    gamma: float | None = None,
) -> Bounded:
    """The scores (n_queries, n_patterns) and their absolute error bounds."""
    dtype = patterns.dtype
    p = precision(dtype)
    m, q = patterns.astype(p.wide), queries.astype(p.wide)
    extra = 0 if eps is None else eps
    raw = reference.similarity(m, q, similarity)
    if similarity in reference.DISTANCES:
        raw = -reference.similarity(m, q, similarity, eps=extra)
    bound = np.array([_raw_error(similarity, m, row, extra, p) for row in q])
    bound = bound.reshape(raw.shape) * SECOND_ORDER
    if similarity not in reference.DISTANCES:
        return Bounded(raw, bound * p.slack)
    exact = reference.similarity(m, q, similarity, transform=transform, eps=extra, gamma=gamma)
    return Bounded(
        exact, _transform_error(similarity, transform, raw, bound, extra, gamma, p) * p.slack
    )


def _raw_error(name: str, m: Array, q: Array, eps: float, p: Precision) -> Array:
    """Absolute error of the similarities or distances of all patterns to one query."""
    u, n_features = p.u, len(q)
    n = score_roundings(n_features)
    chain = gamma(n, u)
    # Where products and sums leave the range of normal numbers each operation may be off by
    # tiny u, which is half the smallest subnormal number.
    underflow = (n_features + 1) * p.tiny * u
    magnitude = np.abs(m * q).sum(axis=1)
    # A sum of magnitudes or of squares in double, eight at a time: n / 8 additions, 3 to join
    # them, 1 for a square.
    statistic = gamma(-(-n_features // 8) + 4, U64)

    if name == "dot":
        return chain * magnitude + underflow
    if name == "cosine":
        zero = np.zeros_like(q)
        rows, row = (
            reference.euclidean(m, zero, 0),
            reference.euclidean(q[np.newaxis], zero, 0)[0],
        )
        some = (rows > 0) & (row > 0)
        rows, row = np.where(some, rows, 1), row if row > 0 else 1
        relative = np.where(some, np.abs((m / rows[:, np.newaxis]) * (q / row)).sum(axis=1), 0)
        # Besides the dot product: two norms (half the error of the sum of squares, a root
        # each), and for each side a reciprocal, its rounding to the dtype, and a product. The
        # query is divided first, so what underflows is divided by the norm of the pattern.
        return relative * (chain + statistic + 10 * u) + np.where(some, underflow / rows, 0)
    if name == "normalized_dot":
        sums = m.sum(axis=1) * q.sum()
        safe = np.where(sums > 0, sums, 1)
        # As for cosine, with sums for norms. No term is negative, so this is relative.
        relative = np.where(sums > 0, magnitude / safe, 0) * (chain + 2 * statistic + 8 * u)
        return relative + underflow / np.where(sums > 0, m.sum(axis=1), 1)
    if name == "sqeuclidean":
        # The difference is rounded once, its square has twice that error, then the chain.
        return gamma(n + 2, u) * ((m - q) ** 2).sum(axis=1) + underflow
    if name == "euclidean":
        # The root halves a relative error, and rounds. Squares that underflow: |sqrt(a) -
        # sqrt(b)| is at most sqrt(|a - b|).
        squares = ((m - q) ** 2).sum(axis=1)
        relative = gamma(n + 2, u) / 2 + u
        small = squares < n_features * p.tiny / u
        return relative * np.sqrt(squares) + small * np.sqrt(underflow)
    if name == "manhattan":
        # A difference is rounded once; sums of magnitudes are relatively exact.
        return gamma(n + 1, u) * np.abs(m - q).sum(axis=1)
    if name == "chebyshev":
        return u * np.abs(m - q).max(axis=1)
    if name == "hamming":
        return np.zeros(len(m), dtype=m.dtype)  # counts are exact
    return _divergence_error(name, m, q, eps, chain, statistic, p)


def _divergence_error(
    name: str, m: Array, q: Array, eps: float, chain: float, statistic: float, p: Precision
) -> Array:
    """Absolute error of a divergence between each row of m and q.

    A probability is (x * scale + eps) * factor: six roundings (of the scale, of eps and of the
    factor themselves, and of three operations) and the error of the sum. A logarithm inherits
    that as an absolute error and adds its own relative one.
    """
    u = p.u
    d = gamma(6, u) + statistic
    a = reference.distributions(m, eps)
    r = np.broadcast_to(reference.distributions(q[np.newaxis], eps), a.shape)
    # The logarithm is taken of normal numbers only; a smaller probability counts as 0, which
    # changes the sum by less than tiny log(tiny) per feature.
    flushed = a.shape[1] * p.tiny * 1100

    def log(x: Array) -> Array:
        return np.log(np.where(x > 0, x, 1))

    if name in ("kl", "reverse_kl"):
        a, r = (a, r) if name == "kl" else (r, a)
        difference = np.where(r > 0, log(a) - log(r), 0)  # infinite terms are infinite exactly
        logarithms = 2 * d + LOGARITHM * u * (np.abs(log(a)) + np.abs(log(r)))
        terms = a * (logarithms + (d + u + chain) * np.abs(difference))
        return np.where(a > 0, terms, 0).sum(axis=1) + flushed

    # Jensen-Shannon: half the sum of p log p + r log r - s log(s / 2), s = p + r.
    s = a + r
    entropies = a * log(a) + r * log(r)
    mixed = s * log(s / 2)
    errors = a * (d + (d + (LOGARITHM + 1) * u) * np.abs(log(a)))
    errors += r * (d + (d + (LOGARITHM + 1) * u) * np.abs(log(r)))
    errors += u * np.abs(entropies)
    errors += s * ((d + u) + (d + (LOGARITHM + 2) * u) * np.abs(log(s / 2)))
    errors += (u + chain) * np.abs(entropies - mixed)
    # The chain also sums what the terms are off by; SECOND_ORDER covers that.
    return errors.sum(axis=1) / 2 + flushed


def _transform_error(
    name: str,
    transform: str | None,
    d: Array,
    error: Array,
    eps: float,
    gamma_: float | None,
    p: Precision,
) -> Array:
    """The error of a score made of a distance d that is off by `error`."""
    if transform in (None, "negative"):
        return error
    low, high = np.maximum(d - error, 0), d + error
    if transform == "inverse":
        # eps is rounded to the dtype, then a sum and a quotient: 3 u. An exact match is exact.
        with np.errstate(divide="ignore", invalid="ignore"):
            exact, most, least = 1 / (d + eps), 1 / (low + eps), 1 / (high + eps)
            spread = np.maximum(most - exact, exact - least) + 3 * p.u * exact
        return np.where((d == 0) & (error == 0) & (eps == 0), 0, spread)
    # exp(-x): x is off by the spread of d or d^2 and by 3 roundings (factor, square, product);
    # the result by exp of that and by the exponential itself; below the normal numbers it may
    # be 0.
    factor = 1 if gamma_ is None else gamma_
    power = 1 if name == "sqeuclidean" else 2
    x = factor * d**power
    shift = factor * (high**power - low**power) + 3 * p.u * x
    return np.exp(-x) * (np.expm1(np.minimum(shift, 700)) + EXPONENTIAL * p.u) + 2 * p.tiny


# ----------------------------------------------------------------------------------- weights --


class Raw(NamedTuple):
    """Weights before division: each weight, its error, and what is added to their sum
    (softmax1).
    """

    weight: Array
    error: Array
    added: Array
    divided: bool


def _raw_weights(
    s: Bounded,
    separation: str,
    p: Precision,
    *,
    beta: float = 1.0,
    degree: float = 2.0,
    k: int = 1,
    alpha: float = 1.5,
    theta: float = 0.0,
    normalize: str | None = None,
    normalize_scores: bool = False,
    prior: Array | None = None,
) -> Raw:
    """One query's un-normalised weights, exact, with their errors."""
    u = p.u
    value, error = s
    priors = np.ones_like(value) if prior is None else prior.astype(p.wide)
    if normalize_scores:
        # The sum over all patterns, rounded to the dtype, then a quotient.
        total = (priors * value).sum()
        adding = gamma(sum_roundings(len(value)), u) + u
        off = (priors * error).sum() + adding * (priors * np.abs(value)).sum()
        quotient = value / total
        if off < abs(total):
            error = (error + np.abs(quotient) * off) / (abs(total) - off) + 2 * u * np.abs(
                quotient
            )
        else:
            error = np.full_like(value, np.inf)
        value = quotient
    nothing = value.dtype.type(0)
    divided = normalize == "sum"

    if separation in ("exponential", "softmax", "softmax1", "topk_softmax") or (
        separation == "entmax" and alpha == 1
    ):
        chosen = np.ones(len(value), dtype=bool)
        if separation == "topk_softmax":
            chosen = reference.one_hot(reference.best(value, k), value) > 0
        # t = c s + b with c = beta log2(e) rounded and b = log2(prior) rounded: an error of c e
        # from the score, u |c s| from c, u |b| from b, u |t| from the sum.
        c = beta / math.log(2)
        b = np.log2(priors)
        t_error = abs(c) * error + u * np.abs(c * value) + 2 * u * np.abs(b)
        t_error = t_error + u * np.abs(c * value + b)
        exponent = beta * value + np.log(priors)
        top = exponent[chosen].max()
        if separation == "exponential" and not divided:
            shift = nothing
        elif separation == "softmax1":
            shift = max(top, nothing)
        else:
            shift = top
        w = np.where(chosen, np.exp(np.where(chosen, exponent, top) - shift), 0)
        # A weight is dropped below `cutoff` of a power of two at most sqrt(2) times the largest
        # weight of its block; blocks are dropped likewise when they merge.
        dropped = 4 * p.cutoff * w.max()
        w_error = w * (np.expm1(math.log(2) * np.minimum(t_error, 900)) + EXPONENTIAL * u)
        w_error = np.where(chosen, w_error + dropped, 0)
        added = np.exp(-shift) if separation == "softmax1" else nothing
        return Raw(w, w_error, added, divided or separation != "exponential")

    if separation == "max":
        w = reference.one_hot(reference.best(value, 1), value)
        return Raw(w, np.zeros_like(w), nothing, False)
    if separation == "topk":
        w = reference.one_hot(reference.best(value, k), value)
        return Raw(w, np.zeros_like(w), nothing, True)
    if separation == "threshold":
        w = priors * (value >= theta)
        return Raw(w, np.zeros_like(w), nothing, divided)

    if separation in ("sparsemax", "entmax"):
        below = 1.0 if separation == "sparsemax" else value.dtype.type(alpha) - 1
        power = 1 / below
        y = below * beta * value
        w = reference.separate(
            value[np.newaxis], separation, beta=beta, alpha=alpha, prior=priors
        )[0]
        # y has three roundings besides the score's error. tau(y) grows with each y and moves
        # with a common shift of them, so it is non-expansive in the largest change: it is off
        # by at most the largest error of y among those that reach the support, and by its own
        # solution to 2 ulp of the support's width, which is at most 1 (prior^(below) with
        # priors).
        moved = below * beta * error + 3 * u * np.abs(y)
        near = w > 0
        width = float(np.max(priors[near] ** below))
        reach = float(np.max(moved[near])) * 2
        near = y >= (y[near].min() - 2 * reach - 4 * u * width)
        off = moved + np.max(moved[near]) + 4 * u * width
        height = np.where(w > 0, (w / priors) ** below, 0)
        tau = np.max(np.where(w > 0, y - height, -np.inf))
        exact = np.maximum(y - tau, 0)
        most = (exact + off) ** power
        least = np.maximum(exact - off, 0) ** power
        centre = exact**power
        w_error = priors * (np.maximum(most - centre, centre - least) + 4 * u * centre)
        w_error = np.where((y - tau) < -off, 0, w_error)
        return Raw(w, w_error, nothing, True)

    # The rest look at one score at a time. The spread of f over [s - e, s + e] is at its ends,
    # or at 0 where an even power turns; `ops` roundings for f, the product with the prior, the
    # change of scale.
    f, ops = {
        "identity": (lambda x: x, 0),
        "polynomial": (lambda x: x**degree, 4),
        "rectified_polynomial": (lambda x: np.maximum(x, 0) ** degree, 4),
        "sqrt": (lambda x: np.sqrt(np.maximum(x, 0)), 2),
        "log1p": (lambda x: np.log1p(np.maximum(x, 0)), 4),
    }[separation]
    centre = f(value)
    spread = np.maximum(np.abs(f(value + error) - centre), np.abs(f(value - error) - centre))
    turn = np.where(np.abs(value) <= error, np.abs(centre - f(np.zeros_like(value))), 0)
    w_error = priors * (np.maximum(spread, turn) + (ops + 1) * u * np.abs(centre))
    return Raw(priors * centre, w_error, nothing, divided)


def weights(s: Bounded, separation: str, dtype: np.dtype | type, **parameters) -> Bounded:
    """The weights and their absolute error bounds, given scores and their bounds."""
    p = precision(dtype)
    values, bounds = [], []
    for value, error in zip(s.value, s.bound, strict=True):
        raw = _raw_weights(Bounded(value, error), separation, p, **parameters)
        total, total_error = _sum(raw, p)
        w, bound = raw.weight, raw.error + 2 * p.u * np.abs(raw.weight)
        if raw.divided:
            w, bound = _divide(w, raw.error, total, total_error, p)
        values.append(w)
        bounds.append(bound * SECOND_ORDER * p.slack + p.tiny)
    return Bounded(np.array(values), np.array(bounds))


def retrieved(
    s: Bounded, values: Array, separation: str, dtype: np.dtype | type, **parameters
) -> Bounded:
    """What is retrieved and its absolute error bounds, given scores and their bounds."""
    p = precision(dtype)
    values = values.astype(p.wide)
    magnitudes = np.abs(values)
    results, bounds = [], []
    for value, error in zip(s.value, s.bound, strict=True):
        raw = _raw_weights(Bounded(value, error), separation, p, **parameters)
        total, total_error = _sum(raw, p)
        adding = gamma(sum_roundings(len(value)), p.u)
        z = raw.weight @ values
        # Every weight is off by its error, and every product by the sum it passes through.
        z_error = raw.error @ magnitudes + adding * (
            (np.abs(raw.weight) + raw.error) @ magnitudes
        )
        z_error = z_error + len(value) * p.tiny * p.u
        if separation == "max":
            bound = np.zeros_like(z)  # the row itself
        elif raw.divided:
            z, bound = _divide(z, z_error, total, total_error, p)
        else:
            bound = z_error + 2 * p.u * np.abs(z)
        if separation in ("softmax", "softmax1", "topk", "topk_softmax", "sparsemax", "entmax"):
            # Whatever the weights, both answers are averages of values (softmax1: or shorter).
            bound = np.fmin(bound, 2.1 * magnitudes.max(axis=0))
        results.append(z)
        bounds.append(bound * SECOND_ORDER * p.slack + (p.tiny if separation != "max" else 0))
    return Bounded(np.array(results), np.array(bounds))


def _sum(raw: Raw, p: Precision) -> tuple[float, float]:
    """The sum of the magnitudes of the weights, and its error."""
    total = np.abs(raw.weight).sum() + raw.added
    adding = gamma(sum_roundings(len(raw.weight)), p.u)
    error = raw.error.sum() + adding * (total + raw.error.sum())
    return total, error


def _divide(
    x: Array, x_error: Array, total: float, total_error: float, p: Precision
) -> tuple[Array, Array]:
    """x / total: |x'/t' - x/t| <= (|x' - x| + |x/t| |t' - t|) / t', and two roundings."""
    if total == 0:
        return np.zeros_like(x), np.zeros_like(x)
    quotient = x / total
    if not total_error < total:
        return quotient, np.full_like(x, np.inf)
    bound = (x_error + np.abs(quotient) * total_error) / (total - total_error)
    return quotient, bound + 2 * p.u * np.abs(quotient)


# -------------------------------------------------------------------------------- tie or not --


def decided(
    s: Bounded, separation: str, *, k: int = 1, theta: float = 0.0, u: float = 0.0
) -> Array:
    """Per query: whether no choice between patterns can turn within the bounds of the scores.

    True for every row that is continuous in the scores. For max and the top-k rows the last
    score in and the first one out must be apart by more than their errors; for threshold every
    score must be further from theta than its error and the rounding of theta.
    """
    n_queries, n_patterns = s.value.shape
    if separation == "threshold":
        return (np.abs(s.value - theta) > s.bound + u * abs(theta)).all(axis=1)
    if separation not in ("max", "topk", "topk_softmax"):
        return np.ones(n_queries, dtype=bool)
    k = 1 if separation == "max" else k
    if k >= n_patterns:
        return np.ones(n_queries, dtype=bool)
    low, high = s.value - s.bound, s.value + s.bound
    result = np.zeros(n_queries, dtype=bool)
    for i in range(n_queries):
        chosen = reference.one_hot(reference.best(s.value[i], k), s.value[i]) > 0
        result[i] = low[i, chosen].min() > high[i, ~chosen].max()
    return result


def ratio(result: Array, expected: Bounded) -> float:
    """The largest |error| / bound; an error where the bound is 0 makes it infinite."""
    result = np.asarray(result)
    assert result.shape == expected.value.shape, (result.shape, expected.value.shape)
    same = result == expected.value  # infinities included
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.abs(result.astype(expected.value.dtype) - expected.value)
        r = np.where(same, 0, error / expected.bound)
    assert not np.isnan(r).any(), "a result is not a number"
    return float(r.max(initial=0))
