"""A readable NumPy twin of memories whose patterns, values and queries lack features.

NaN stands for a feature that is not known. Nothing here is clever: a score is the similarity of
two shortened rows, an answer that of a memory from which whoever has nothing to say was taken
out. It never imports uhn; similarities and separations are those of reference.py, whose numbers
are float64 (np.longdouble stays np.longdouble).

With n features, of which pattern m and query q both know the set K:

    score = sim(m_K, q_K)                      cosine, normalized_dot, chebyshev, divergences
    score = sim over K of the sum x n / |K|    dot, euclidean (of its square), sqeuclidean,
                                               manhattan, hamming
    score = -inf                               |K| = 0; of a divergence without a pseudo-count
                                               also where either side sums to 0 over K

The scaled sums are those of Dixon, "Pattern recognition with partly missing data", IEEE Trans.
Syst. Man Cybern. 9 (1979), 617-621.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

import reference

Array = NDArray[np.floating]

SUMS = frozenset(["dot", "euclidean", "sqeuclidean", "manhattan", "hamming"])


def pair(
    m: Array,
    q: Array,
    name: str,
    *,
    transform: str | None = None,
    eps: float = 0,
    gamma: float = 1,
) -> float:
    """The score of one pattern for one query."""
    shared = ~np.isnan(m) & ~np.isnan(q)
    m_shared, q_shared = m[shared], q[shared]
    if not shared.any():
        return -np.inf
    if name in reference.DIVERGENCES and eps == 0 and 0 in (m_shared.sum(), q_shared.sum()):
        return -np.inf
    raw = reference.SIMILARITIES[name](m_shared[np.newaxis], q_shared, eps)[0]
    if name in SUMS:
        stretch = q.dtype.type(len(q)) / shared.sum()
        raw = raw * (np.sqrt(stretch) if name == "euclidean" else stretch)
    if name not in reference.DISTANCES:
        return raw
    return reference.TRANSFORMS[transform or "negative"](raw, eps, gamma, name == "sqeuclidean")


def similarity(
    patterns: ArrayLike,
    queries: ArrayLike,
    similarity: str = "dot",
    *,
    transform: str | None = None,
    eps: float | None = None,
    gamma: float | None = None,
) -> Array:
    """Scores (n_queries, n_patterns), -inf where a pattern has no say."""
    patterns, queries = reference.real(patterns), reference.real(queries)
    given = {
        "transform": transform,
        "eps": 0 if eps is None else eps,
        "gamma": 1 if gamma is None else gamma,
    }
    scores = [[pair(m, q, similarity, **given) for m in patterns] for q in queries]
    return np.array(scores, dtype=queries.dtype).reshape(len(queries), len(patterns))


def weigh(scores: Array, prior: ArrayLike | None = None, **separation) -> Array:
    """Weights (n_queries, n_patterns): those of a memory of the patterns that have a say, and 0
    for the rest.
    """
    result = np.zeros_like(scores)
    for s, w in zip(scores, result, strict=True):
        heard = s > -np.inf
        if heard.any():
            w[heard] = reference.separate(
                s[np.newaxis, heard],
                prior=None if prior is None else np.asarray(prior)[heard],
                **separation,
            )[0]
    return result


def weights(patterns: ArrayLike, queries: ArrayLike, **equation) -> Array:
    """sep(sim(M, q)), (n_queries, n_patterns)."""
    ours = {name: equation.pop(name) for name in _OURS if name in equation}
    return weigh(similarity(patterns, queries, **ours), **equation)


_OURS = ("similarity", "transform", "eps", "gamma")


def retrieve(
    patterns: ArrayLike,
    queries: ArrayLike,
    values: ArrayLike | None = None,
    *,
    clamp: bool = True,
    prior: ArrayLike | None = None,
    **equation,
) -> Array:
    """Answers (n_queries, n_values): for each value, those of a memory of the rows that know
    it. NaN where no such row has a say.

    With `clamp`, and patterns that are their own values, what a query knows stays.
    """
    patterns, queries = reference.real(patterns), reference.real(queries)
    own = values is None
    values = patterns if own else reference.real(values)
    prior = np.ones(len(patterns)) if prior is None else np.asarray(prior)
    ours = {name: equation.pop(name) for name in _OURS if name in equation}
    scores = similarity(patterns, queries, **ours)
    answers = np.full((len(queries), values.shape[1]), np.nan, queries.dtype)
    for j, column in enumerate(values.T):
        knows = ~np.isnan(column)
        w = weigh(scores[:, knows], prior[knows], **equation)
        heard = (scores[:, knows] > -np.inf).any(axis=1)
        answers[heard, j] = (w @ column[knows])[heard]
    if clamp and own:
        answers = np.where(np.isnan(queries), answers, queries)
    return answers


class Recall(NamedTuple):
    """States step by step, the first of them the query."""

    states: list[Array]

    @property
    def state(self) -> Array:
        """The last one."""
        return self.states[-1]


def recall(
    patterns: ArrayLike,
    query: ArrayLike,
    n_steps: int,
    *,
    clamp: bool = True,
    **equation,
) -> Recall:
    """One query, `n_steps` times: what it knew stays, the rest is answered anew."""
    first = reference.real(query)
    states = [first]
    for _ in range(n_steps):
        answer = retrieve(patterns, states[-1][np.newaxis], clamp=False, **equation)[0]
        states.append(np.where(np.isnan(first), answer, first) if clamp else answer)
    return Recall(states)


def nearest(
    patterns: ArrayLike, queries: ArrayLike, k: int, **equation
) -> tuple[NDArray[np.intp], Array]:
    """The k largest scores of each query, ties to the lowest index: (indices, scores)."""
    scores = similarity(patterns, queries, **equation)
    indices = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return indices, np.take_along_axis(scores, indices, axis=1)
