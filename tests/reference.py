"""A readable NumPy twin of every row of both tables.

    z = P . sep(sim(M, q))

It is written to be read beside the mathematics, not to be fast: one query at a time, one line
per formula, no trick. It never imports uhn, so that agreeing with it means something.

Numbers are float64; np.longdouble inputs stay np.longdouble, which makes the same lines the
oracle of the float64 kernels. Shapes are those of the library: patterns (n_patterns,
n_features), queries (n_queries, n_features), scores and weights (n_queries, n_patterns), values
(n_patterns, n_values).

Every similarity is larger = more similar. `SIMILARITIES`, `SEPARATIONS` and `TRANSFORMS` hold
the oracle of each row by its name in the tables.

Sources: UHN is Millidge, Salvatori, Song, Lukasiewicz, Bogacz, "Universal Hopfield Networks",
ICML 2022; MHN is Ramsauer et al., "Hopfield Networks is All You Need", ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating]


def real(array: ArrayLike) -> Array:
    """`array` as np.longdouble if it is that already, else as float64."""
    array = np.asarray(array)
    return array if array.dtype == np.longdouble else array.astype(np.float64)


# ------------------------------------------------------------------------------ similarities --
# Each takes all patterns and one query, and gives one number per pattern: a similarity, or, for
# the names in DISTANCES, a distance.


def dot(patterns: Array, query: Array, eps: float) -> Array:
    """m . q, the overlap of the classical network (Hopfield 1982; UHN table 1)."""
    return (patterns * query).sum(axis=1)


def cosine(patterns: Array, query: Array, eps: float) -> Array:
    """m . q / (|m| |q|) with the norm of each row, and 0 where either norm is 0."""
    norms = euclidean(patterns, np.zeros_like(query), eps)
    norm = euclidean(query[np.newaxis, :], np.zeros_like(query), eps)[0]
    result = np.zeros_like(norms)
    nonzero = (norms > 0) & (norm > 0)
    # Divided before the product, so that nothing underflows that the formula does not.
    directions = patterns[nonzero] / norms[nonzero, np.newaxis]
    if norm > 0:
        result[nonzero] = dot(directions, query / norm, eps)
    return result


def normalized_dot(patterns: Array, query: Array, eps: float) -> Array:
    """(m / sum m) . (q / sum q) for non-negative data, and 0 where either sum is 0.

    The "dot product" of the figures of UHN, whose code divides each side by its sum.
    """
    return dot(distributions(patterns, 0), distributions(query[np.newaxis, :], 0)[0], eps)


def euclidean(patterns: Array, query: Array, eps: float) -> Array:
    """d = sqrt(sum (m - q)^2)."""
    difference = patterns - query
    largest = np.abs(difference).max(axis=1, initial=0)
    scale = np.where(largest > 0, largest, 1)[:, np.newaxis]
    return largest * np.sqrt(((difference / scale) ** 2).sum(axis=1))


def sqeuclidean(patterns: Array, query: Array, eps: float) -> Array:
    """d = sum (m - q)^2."""
    return ((patterns - query) ** 2).sum(axis=1)


def manhattan(patterns: Array, query: Array, eps: float) -> Array:
    """d = sum |m - q|."""
    return np.abs(patterns - query).sum(axis=1)


def chebyshev(patterns: Array, query: Array, eps: float) -> Array:
    """d = max |m - q|."""
    return np.abs(patterns - query).max(axis=1)


def hamming(patterns: Array, query: Array, eps: float) -> Array:
    """d = the number of features in which m and q differ (Kanerva 1988)."""
    return (patterns != query).sum(axis=1).astype(query.dtype)


def kl(patterns: Array, query: Array, eps: float) -> Array:
    """d = sum p log(p / r), p of the pattern, r of the query; natural logarithm."""
    p = distributions(patterns, eps)
    r = distributions(query[np.newaxis, :], eps)[0]
    return divergence(p, r)


def reverse_kl(patterns: Array, query: Array, eps: float) -> Array:
    """d = sum r log(r / p), p of the pattern, r of the query."""
    p = distributions(patterns, eps)
    r = distributions(query[np.newaxis, :], eps)[0]
    return divergence(r, p)


def jensen_shannon(patterns: Array, query: Array, eps: float) -> Array:
    """d = (KL(p, u) + KL(r, u)) / 2 with u = (p + r) / 2 (Lin 1991); at most log 2."""
    p = distributions(patterns, eps)
    r = distributions(query[np.newaxis, :], eps)[0]
    u = (p + r) / 2
    return (divergence(p, u) + divergence(r, u)) / 2


def distributions(rows: Array, eps: float) -> Array:
    """Each row divided by its sum; `eps` added to each entry; the sum made 1 again.

    A row that sums to 0 has no distribution: it stays 0, or becomes uniform under a
    pseudo-count.
    """
    sums = rows.sum(axis=1, keepdims=True)
    p = rows / np.where(sums > 0, sums, 1)
    if eps > 0:
        p = p + eps
        p = p / p.sum(axis=1, keepdims=True)
    return p


def divergence(a: Array, b: Array) -> Array:
    """sum a log(a / b) over the last axis, 0 log(0 / b) = 0, +inf where a > 0 = b."""
    a, b = np.broadcast_arrays(a, b)
    terms = np.zeros_like(a)
    both = (a > 0) & (b > 0)
    terms[both] = a[both] * np.log(a[both] / b[both])
    terms[(a > 0) & (b == 0)] = np.inf
    return terms.sum(axis=-1)


SIMILARITIES: dict[str, Callable[[Array, Array, float], Array]] = {
    "dot": dot,
    "cosine": cosine,
    "normalized_dot": normalized_dot,
    "euclidean": euclidean,
    "sqeuclidean": sqeuclidean,
    "manhattan": manhattan,
    "chebyshev": chebyshev,
    "hamming": hamming,
    "kl": kl,
    "reverse_kl": reverse_kl,
    "jensen_shannon": jensen_shannon,
}

DIVERGENCES = frozenset(["kl", "reverse_kl", "jensen_shannon"])
DISTANCES = DIVERGENCES | {"euclidean", "sqeuclidean", "manhattan", "chebyshev", "hamming"}
NON_NEGATIVE = DIVERGENCES | {"normalized_dot"}


# -------------------------------------------------------------------------------- transforms --


def negative(d: Array, eps: float, gamma: float, squared: bool) -> Array:
    """-d."""
    return -d


def inverse(d: Array, eps: float, gamma: float, squared: bool) -> Array:
    """1 / (d + eps), +inf for an exact match without eps (the distances of UHN's code)."""
    with np.errstate(divide="ignore"):
        return 1 / (d + eps)


def rbf(d: Array, eps: float, gamma: float, squared: bool) -> Array:
    """exp(-gamma d^2); a distance that is a square already is not squared again."""
    return np.exp(-gamma * d) if squared else np.exp(-gamma * d**2)


TRANSFORMS: dict[str, Callable[[Array, float, float, bool], Array]] = {
    "negative": negative,
    "inverse": inverse,
    "rbf": rbf,
}


def similarity(
    patterns: ArrayLike,
    queries: ArrayLike,
    similarity: str = "dot",
    *,
    transform: str | None = None,
    eps: float | None = None,
    gamma: float | None = None,
) -> Array:
    """sim(M, q): scores (n_queries, n_patterns), larger = more similar."""
    patterns, queries = real(patterns), real(queries)
    eps = 0 if eps is None else eps
    gamma = 1 if gamma is None else gamma
    row = SIMILARITIES[similarity]
    scores = [row(patterns, query, eps) for query in queries]
    result = np.array(scores, dtype=queries.dtype).reshape(len(queries), len(patterns))
    if similarity in DISTANCES:
        squared = similarity == "sqeuclidean"
        result = TRANSFORMS[transform or "negative"](result, eps, gamma, squared)
    return result


# ------------------------------------------------------------------------------- separations --
# Each takes the scores of one query, prior weights, and the parameters of the equation, and
# gives one weight per pattern. A prior multiplies the weight before any normalisation: a prior
# of 2 is the same as storing the pattern twice.


def identity(s: Array, prior: Array, p: Parameters) -> Array:
    """w = s, the classical network (UHN table 1)."""
    return prior * s


def polynomial(s: Array, prior: Array, p: Parameters) -> Array:
    """w = s^degree (Krotov and Hopfield 2016, whose energy has degree + 1)."""
    return prior * s**p.degree


def rectified_polynomial(s: Array, prior: Array, p: Parameters) -> Array:
    """w = max(s, 0)^degree (Krotov and Hopfield 2016)."""
    return prior * np.maximum(s, 0) ** p.degree


def sqrt(s: Array, prior: Array, p: Parameters) -> Array:
    """w = sqrt(s), for s >= 0."""
    return prior * np.sqrt(s)


def log1p(s: Array, prior: Array, p: Parameters) -> Array:
    """w = log(1 + s), for s >= 0."""
    return prior * np.log1p(s)


def exponential(s: Array, prior: Array, p: Parameters) -> Array:
    """w = exp(beta s) (Demircigil et al. 2017)."""
    return prior * np.exp(p.beta * s)


def softmax(s: Array, prior: Array, p: Parameters) -> Array:
    """w = exp(beta s) / sum exp(beta s) (MHN eq. 3)."""
    w = prior * np.exp(p.beta * s - (p.beta * s).max())
    return w / w.sum()


def softmax1(s: Array, prior: Array, p: Parameters) -> Array:
    """w = exp(beta s) / (1 + sum exp(beta s)): softmax beside a score of 0 without a value."""
    top = max((p.beta * s).max(), 0)
    w = prior * np.exp(p.beta * s - top)
    return w / (np.exp(-top) + w.sum())


def max_(s: Array, prior: Array, p: Parameters) -> Array:
    """1 at the largest score, at the lowest index of a tie."""
    return one_hot(best(s, 1), s)


def topk(s: Array, prior: Array, p: Parameters) -> Array:
    """1/k at the k largest scores, lowest indices first on ties; k = n_patterns at most."""
    chosen = best(s, p.k)
    return one_hot(chosen, s) / s.dtype.type(len(chosen))


def topk_softmax(s: Array, prior: Array, p: Parameters) -> Array:
    """softmax over the k largest scores, 0 elsewhere."""
    chosen = best(s, p.k)
    w = np.zeros_like(s)
    w[chosen] = softmax(s[chosen], np.ones_like(s[chosen]), p)
    return w


def threshold(s: Array, prior: Array, p: Parameters) -> Array:
    """w = 1 where s >= theta, inclusive (Kanerva 1988: within the radius, theta = -radius)."""
    return prior * (s >= p.theta)


def sparsemax(s: Array, prior: Array, p: Parameters) -> Array:
    """argmin over the simplex of |w - z|^2, z = beta s (Martins and Astudillo 2016, algorithm
    1).

    w = (z - tau)_+ with sum w = 1. From the largest z down, pattern k is in the support while 1
    + k z_k > z_1 + ... + z_k, and then tau = (z_1 + ... + z_k - 1) / k.
    """
    z = p.beta * s
    z = z - z.max()  # the projection onto the simplex does not see a common shift
    order = np.argsort(-z, kind="stable")
    count = np.cumsum(prior[order])
    total = np.cumsum(prior[order] * z[order])
    last = np.flatnonzero(1 + count * z[order] > total)[-1]
    tau = (total[last] - 1) / count[last]
    return prior * np.maximum(z - tau, 0)


def entmax(s: Array, prior: Array, p: Parameters) -> Array:
    """w = (y - tau)_+^(1/(alpha - 1)), y = (alpha - 1) beta s, with sum w = 1 (Peters et al.
    2019).

    alpha = 1 is its limit softmax; alpha = 2 is sparsemax. tau is found by bisection.
    """
    if p.alpha == 1:
        return softmax(s, prior, p)
    below = s.dtype.type(p.alpha) - 1  # in the precision of the scores
    y = below * (p.beta * s)
    y = y - y.max()

    def weights(tau: Array) -> Array:
        return prior * np.maximum(y - tau, 0) ** (1 / below)

    # At the lower end one pattern alone weighs 1 already; at the upper end none weighs
    # anything.
    low, high = (y - prior ** (-below)).max(), y.max()
    for _ in range(200):
        middle = (low + high) / 2
        if weights(middle).sum() >= 1:
            low = middle
        else:
            high = middle
    w = weights(low)
    return w / w.sum()


# ---------------------------------------------------------------------------------- energies --
# Each takes the scores of one query, prior weights and the parameters, and gives the function
# of the scores whose gradient the separation above is (Krotov and Hopfield 2020).


def lagrangian_identity(s: Array, prior: Array, p: Parameters) -> Array:
    """sum s^2 / 2."""
    return (prior * s**2).sum() / 2


def lagrangian_polynomial(s: Array, prior: Array, p: Parameters) -> Array:
    """sum s^(degree + 1) / (degree + 1)."""
    return (prior * s ** (p.degree + 1)).sum() / (p.degree + 1)


def lagrangian_rectified(s: Array, prior: Array, p: Parameters) -> Array:
    """sum max(s, 0)^(degree + 1) / (degree + 1)."""
    return lagrangian_polynomial(np.maximum(s, 0), prior, p)


def lagrangian_sqrt(s: Array, prior: Array, p: Parameters) -> Array:
    """2/3 sum s^(3/2)."""
    return (prior * s * np.sqrt(s)).sum() * 2 / 3


def lagrangian_log1p(s: Array, prior: Array, p: Parameters) -> Array:
    """sum (1 + s) log(1 + s) - s."""
    return (prior * ((1 + s) * np.log1p(s) - s)).sum()


def lagrangian_exponential(s: Array, prior: Array, p: Parameters) -> Array:
    """sum exp(beta s) / beta."""
    return (prior * np.exp(p.beta * s)).sum() / p.beta


def lagrangian_softmax(s: Array, prior: Array, p: Parameters) -> Array:
    """log sum exp(beta s) / beta (MHN eq. 1)."""
    top = s.max()
    return top + np.log((prior * np.exp(p.beta * (s - top))).sum()) / p.beta


def lagrangian_softmax1(s: Array, prior: Array, p: Parameters) -> Array:
    """log(1 + sum exp(beta s)) / beta."""
    return lagrangian_softmax(np.append(s, s.dtype.type(0)), np.append(prior, 1), p)


def lagrangian_max(s: Array, prior: Array, p: Parameters) -> Array:
    """max s."""
    return s.max()


def lagrangian_topk(s: Array, prior: Array, p: Parameters) -> Array:
    """The mean of the k largest."""
    return s[best(s, p.k)].mean()


def lagrangian_topk_softmax(s: Array, prior: Array, p: Parameters) -> Array:
    """log sum exp(beta s) / beta over the k largest."""
    chosen = s[best(s, p.k)]
    return lagrangian_softmax(chosen, np.ones_like(chosen), p)


def lagrangian_threshold(s: Array, prior: Array, p: Parameters) -> Array:
    """sum max(s - theta, 0)."""
    return (prior * np.maximum(s - p.theta, 0)).sum()


def lagrangian_sparsemax(s: Array, prior: Array, p: Parameters) -> Array:
    """max over the simplex of w . s + (1 - sum w^2) / (2 beta)."""
    return tsallis(s, prior, sparsemax(s, prior, p), 2, p.beta)


def lagrangian_entmax(s: Array, prior: Array, p: Parameters) -> Array:
    """max over the simplex of w . s + (1 - sum w^alpha) / (alpha (alpha - 1) beta)."""
    if p.alpha == 1:
        return lagrangian_softmax(s, prior, p)
    return tsallis(s, prior, entmax(s, prior, p), p.alpha, p.beta)


def tsallis(s: Array, prior: Array, w: Array, alpha: float, beta: float) -> Array:
    """w . s and Tsallis' entropy of w over beta; a prior stands for so many equal patterns."""
    entropy = (1 - (prior * (w / prior) ** alpha).sum()) / (alpha * (alpha - 1))
    return (w * s).sum() + entropy / beta


LAGRANGIANS: dict[str, Callable[[Array, Array, Parameters], Array]] = {
    "identity": lagrangian_identity,
    "polynomial": lagrangian_polynomial,
    "rectified_polynomial": lagrangian_rectified,
    "sqrt": lagrangian_sqrt,
    "log1p": lagrangian_log1p,
    "exponential": lagrangian_exponential,
    "softmax": lagrangian_softmax,
    "softmax1": lagrangian_softmax1,
    "max": lagrangian_max,
    "topk": lagrangian_topk,
    "topk_softmax": lagrangian_topk_softmax,
    "threshold": lagrangian_threshold,
    "sparsemax": lagrangian_sparsemax,
    "entmax": lagrangian_entmax,
}


def energy(
    patterns: ArrayLike,
    states: ArrayLike,
    similarity_: str = "dot",
    separation: str = "softmax",
    prior: ArrayLike | None = None,
    **parameters: float,
) -> Array:
    """|v|^2 / 2 - L(M v) for dot, -L(-d^2) for sqeuclidean: energies (n_states,)."""
    patterns, states = real(patterns), real(states)
    weight = np.ones(len(patterns), states.dtype) if prior is None else real(prior)
    scores = similarity(patterns, states, similarity_)
    half = {"dot": 1, "sqeuclidean": 0}[similarity_]
    row = LAGRANGIANS[separation]
    p = Parameters(**parameters)
    return np.array(
        [
            half * (v**2).sum() / 2 - row(s, weight, p)
            for v, s in zip(states, scores, strict=True)
        ],
        dtype=states.dtype,
    )


def best(s: Array, k: int) -> NDArray[np.intp]:
    """The indices of the k largest scores, best first, ties to the lowest index."""
    return np.argsort(-s, kind="stable")[:k]


def one_hot(chosen: NDArray[np.intp], s: Array) -> Array:
    """1 at the chosen indices, 0 elsewhere."""
    w = np.zeros_like(s)
    w[chosen] = 1
    return w


class Parameters(NamedTuple):
    """The parameters a separation may read, with the defaults of the library."""

    beta: float = 1.0
    degree: float = 2.0
    k: int = 1
    alpha: float = 1.5
    theta: float = 0.0


SEPARATIONS: dict[str, Callable[[Array, Array, Parameters], Array]] = {
    "identity": identity,
    "polynomial": polynomial,
    "rectified_polynomial": rectified_polynomial,
    "sqrt": sqrt,
    "log1p": log1p,
    "exponential": exponential,
    "softmax": softmax,
    "softmax1": softmax1,
    "max": max_,
    "topk": topk,
    "topk_softmax": topk_softmax,
    "threshold": threshold,
    "sparsemax": sparsemax,
    "entmax": entmax,
}

# Where a weight grows with the score without bound, so that an exact match, whose score is
# +inf, takes all the weight of a normalised answer.
_SHARED = frozenset(
    ["identity", "polynomial", "rectified_polynomial", "sqrt", "log1p", "exponential"]
)
_SHARED |= frozenset(["softmax", "softmax1", "sparsemax", "entmax"])


def separate(
    scores: ArrayLike,
    separation: str = "softmax",
    *,
    beta: float | None = None,
    degree: float | None = None,
    k: int | None = None,
    alpha: float | None = None,
    theta: float | None = None,
    normalize: str | None = None,
    normalize_scores: bool = False,
    prior: ArrayLike | None = None,
) -> Array:
    """sep(scores): the weights, of the shape of the scores.

    With `normalize_scores` each query's scores are divided by their sum first (the `norm` of
    UHN's code); with normalize="sum" the weights are divided by the sum of their magnitudes,
    and stay 0 where that sum is 0. Patterns with a score of +inf share all the weight of a
    normalised answer.
    """
    scores = real(scores)
    given = {"beta": beta, "degree": degree, "k": k, "alpha": alpha, "theta": theta}
    parameters = Parameters(**{name: x for name, x in given.items() if x is not None})
    if separation == "exponential" and normalize == "sum":
        separation = "softmax"  # which is what it is then, and does not overflow
    priors = np.ones_like(scores[0]) if prior is None else real(prior).astype(scores.dtype)
    weights = np.zeros_like(scores)
    for i, s in enumerate(scores):
        s = normalized_scores(s, priors) if normalize_scores else s
        matches = np.isposinf(s)
        if matches.any() and separation == "topk_softmax":
            w = one_hot(best(s, parameters.k), s) * matches
            w = w / w.sum()
        elif matches.any() and separation in _SHARED:
            w = priors * matches
            w = w / w.sum()
        else:
            w = SEPARATIONS[separation](s, priors, parameters)
        if normalize == "sum" and np.abs(w).sum() > 0:
            w = w / np.abs(w).sum()
        weights[i] = w
    return weights


def normalized_scores(s: Array, prior: Array) -> Array:
    """Scores divided by their sum (`if norm: s = s / sum(s)` in the code of UHN).

    A pattern with a prior of 2 counts twice. Exact matches, whose scores are +inf, leave
    nothing to the others: that is the limit of the quotients.
    """
    matches = np.isposinf(s)
    s = matches.astype(s.dtype) if matches.any() else s
    return s / (prior * s).sum()


# --------------------------------------------------------------------------------- retrieval --

_SIMILARITY_KEYWORDS = ("similarity", "transform", "eps", "gamma")


def weights(patterns: ArrayLike, queries: ArrayLike, **equation) -> Array:
    """sep(sim(M, q)), (n_queries, n_patterns)."""
    ours = {name: equation.pop(name) for name in _SIMILARITY_KEYWORDS if name in equation}
    return separate(similarity(patterns, queries, **ours), **equation)


def retrieve(
    patterns: ArrayLike,
    queries: ArrayLike,
    values: ArrayLike | None = None,
    *,
    n_steps: int = 1,
    **equation,
) -> Array:
    """z = P . sep(sim(M, q)), `n_steps` times over (UHN eq. 1)."""
    values = patterns if values is None else values
    states = real(queries)
    for _ in range(n_steps):
        states = weights(patterns, states, **equation) @ real(values)
    return states


class Recall(NamedTuple):
    """How one query came to rest: state, steps done, why it stopped, the last change."""

    state: Array
    n_steps: int
    status: str
    change: float


def recall(
    patterns: ArrayLike,
    query: ArrayLike,
    n_steps: int = 100,
    *,
    tol: float = 1e-6,
    values: ArrayLike | None = None,
    **equation,
) -> Recall:
    """Iterates q := retrieve(q) for one query until no component changes by more than `tol`.

    A state equal to the one two steps ago is a 2-cycle. A step in which no pattern has any
    weight answers zeros and ends the iteration.
    """
    before, state, change = None, real(query), np.inf
    for step in range(1, n_steps + 1):
        w = weights(patterns, state[np.newaxis], **equation)
        after = (w @ real(patterns if values is None else values))[0]
        change = float(np.abs(after - state).max())
        if not w.any():
            return Recall(after, step, "no active location", change)
        if change <= tol:
            return Recall(after, step, "fixed point", change)
        if before is not None and np.array_equal(after, before):
            return Recall(after, step, "2-cycle", change)
        before, state = state, after
    return Recall(state, n_steps, "step limit", change)


def nearest(
    patterns: ArrayLike, queries: ArrayLike, k: int = 1, **equation
) -> tuple[NDArray[np.intp], Array]:
    """The k largest scores of each query, best first, ties to the lowest index: (indices,
    scores).
    """
    scores = similarity(patterns, queries, **equation)
    indices = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return indices, np.take_along_axis(scores, indices, axis=1)


def attention(
    queries: ArrayLike,
    keys: ArrayLike,
    values: ArrayLike,
    *,
    beta: float | None = None,
    mask: ArrayLike | None = None,
) -> Array:
    """softmax(beta Q K^T) V (Vaswani et al. 2017, eq. 1), beta = 1/sqrt(E) unless given.

    queries (..., L, E), keys (..., S, E), values (..., S, V); leading axes broadcast. Where the
    mask (broadcast to (..., L, S)) is False a key has no weight; a query with no key left gets
    zeros.
    """
    queries, keys, values = real(queries), real(keys), real(values)
    n_features = queries.shape[-1]
    beta = 1 / np.sqrt(queries.dtype.type(n_features)) if beta is None else beta
    scores = queries @ np.swapaxes(keys, -1, -2)
    allowed = np.broadcast_to(True if mask is None else np.asarray(mask), scores.shape)
    exponents = np.where(allowed, beta * scores, -np.inf)
    top = exponents.max(axis=-1, keepdims=True)
    w = np.where(allowed, np.exp(exponents - np.where(np.isfinite(top), top, 0)), 0)
    total = w.sum(axis=-1, keepdims=True)
    return (w / np.where(total > 0, total, 1)) @ values
