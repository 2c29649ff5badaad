"""Nearest pattern by distances that are no matrix product."""

from __future__ import annotations

from functools import partial

import numpy as np
from measure import Array, Bench, Contender, Goal, SkipRowError, gaussian

import uhn

N_FEATURES = 784


def nearest_rows(distances: Array, patterns: Array) -> Array:
    """The pattern at the smallest distance, for each row of distances."""
    return patterns[np.argmin(distances, axis=1)]


def manhattan(bench: Bench) -> None:
    """Retrieval with the largest score, against SciPy, scikit-learn, and a product's time."""
    n_queries, n_patterns = bench.pick(96, 16), bench.pick(12_000, 1000)
    rng = np.random.default_rng(1)
    patterns = gaussian(rng, n_patterns, N_FEATURES)
    chosen = rng.integers(0, n_patterns, n_queries)
    queries = patterns[chosen] + np.float32(0.3) * gaussian(rng, n_queries, N_FEATURES)
    memory = uhn.Memory(patterns, similarity="manhattan", separation="max")
    out = np.empty_like(queries)
    memory.retrieve(queries, out=out)
    bench.check("uhn and the patterns that were damaged", out, patterns[chosen], 0.0)

    exact = -np.abs(patterns.astype(np.float64) - queries[0]).sum(axis=1)
    bound = 1e-5 * float(np.max(-exact))
    bench.check("uhn and float64, scores", memory.scores(queries[0]), exact, bound)

    scores = np.zeros((n_queries, n_patterns), np.float32)
    product = partial(np.matmul, queries, patterns.T, out=scores)
    contenders = [Contender("one sgemm of this shape", product, Goal(most=1.7), cost=True)]
    try:
        from scipy.spatial.distance import cdist
    except ImportError:
        bench.skip("SciPy cdist", "SciPy is not installed")
    else:
        # It computes in float64 whatever it is given; the conversion is not timed.
        wide_queries, wide = queries.astype(np.float64), patterns.astype(np.float64)
        few = min(8, n_queries)
        distances = cdist(wide_queries[:few], wide, "cityblock")
        bench.check("uhn and SciPy, scores", memory.scores(queries[:few]), -distances, bound)

        def with_scipy() -> Array:
            return nearest_rows(cdist(wide_queries, wide, "cityblock"), patterns)

        bench.check("uhn and SciPy", out, with_scipy(), 0.0)
        contenders.append(Contender("SciPy cdist (float64)", with_scipy, Goal(least=14)))
    try:
        from sklearn.metrics import pairwise_distances_argmin
    except ImportError:
        bench.skip("scikit-learn", "scikit-learn is not installed")
    else:

        def with_sklearn() -> Array:
            return patterns[pairwise_distances_argmin(queries, patterns, metric="manhattan")]

        bench.set_threads()
        bench.check("uhn and scikit-learn", out, with_sklearn(), 0.0)
        contenders.append(Contender("scikit-learn argmin", with_sklearn))
    bench.race(partial(memory.retrieve, queries, out=out), contenders)


def distributions(rng: np.random.Generator, *shape: int) -> Array:
    """Positive float32 numbers over three orders of magnitude; rows do not sum to 1."""
    return np.exp(2 * gaussian(rng, *shape))


def divergence_data(bench: Bench) -> tuple[Array, Array, Array]:
    """Patterns, queries that are damaged patterns, and which ones they are."""
    n_queries, n_patterns = bench.pick(96, 16), bench.pick(2000, 300)
    rng = np.random.default_rng(1)
    patterns = distributions(rng, n_patterns, N_FEATURES)
    chosen = rng.integers(0, n_patterns, n_queries)
    queries = patterns[chosen] * np.exp(np.float32(0.3) * gaussian(rng, n_queries, N_FEATURES))
    return patterns, queries, chosen


def jensen_shannon(bench: Bench) -> None:
    """Retrieval with the largest score; SciPy on some of the queries, one after the other."""
    try:
        from scipy.spatial.distance import cdist
    except ImportError:
        raise SkipRowError("SciPy is not installed") from None
    patterns, queries, chosen = divergence_data(bench)
    memory = uhn.Memory(patterns, similarity="jensen_shannon", separation="max")
    out = np.empty_like(queries)
    memory.retrieve(queries, out=out)
    bench.check("uhn and the patterns that were damaged", out, patterns[chosen], 0.0)

    few = bench.pick(8, 4)
    wide_queries, wide = queries[:few].astype(np.float64), patterns.astype(np.float64)

    def with_scipy() -> Array:
        return nearest_rows(cdist(wide_queries, wide, "jensenshannon"), patterns)

    # SciPy's distance is the square root of the divergence.
    divergence = cdist(wide_queries, wide, "jensenshannon") ** 2
    bench.check("uhn and SciPy, scores", memory.scores(queries[:few]), -divergence, 1e-5)
    bench.check("uhn and SciPy", out[:few], with_scipy(), 0.0)
    name, scale = "SciPy cdist (float64)", len(queries) / few
    contenders = [Contender(name, with_scipy, Goal(least=50), scale)]
    bench.race(partial(memory.retrieve, queries, out=out), contenders)


def kl(bench: Bench) -> None:
    """Retrieval with the largest score; SciPy's rel_entr on some of the queries."""
    try:
        from scipy.special import rel_entr
        from scipy.stats import entropy
    except ImportError:
        raise SkipRowError("SciPy is not installed") from None
    patterns, queries, chosen = divergence_data(bench)
    memory = uhn.Memory(patterns, similarity="kl", separation="max")
    out = np.empty_like(queries)
    memory.retrieve(queries, out=out)
    bench.check("uhn and the patterns that were damaged", out, patterns[chosen], 0.0)

    few = bench.pick(8, 4)
    wide_queries, wide = queries[:few].astype(np.float64), patterns.astype(np.float64)
    p = wide / wide.sum(axis=1, keepdims=True)
    r = wide_queries / wide_queries.sum(axis=1, keepdims=True)

    def divergences() -> Array:
        # A query at a time: broadcasting over all pairs fills the memory with a temporary array
        # and is slower. The sums that make distributions of the data are not timed.
        return np.array([rel_entr(p, row).sum(axis=1) for row in r])

    def with_entropy() -> Array:
        return np.array([entropy(wide, row[None], axis=1) for row in wide_queries])

    want = with_entropy()
    bench.check("rel_entr and entropy", divergences(), want, 1e-12 * float(want.max()))
    bound = 1e-5 * float(want.max())
    bench.check("uhn and SciPy, scores", memory.scores(queries[:few]), -want, bound)
    bench.check("uhn and SciPy", out[:few], nearest_rows(want, patterns), 0.0)
    scale = len(queries) / few
    contenders = [
        Contender(
            "SciPy rel_entr (float64)",
            lambda: nearest_rows(divergences(), patterns),
            Goal(least=50),
            scale,
        ),
        Contender(
            "SciPy stats.entropy (float64)",
            lambda: nearest_rows(with_entropy(), patterns),
            Goal(least=50),
            scale,
        ),
    ]
    bench.race(partial(memory.retrieve, queries, out=out), contenders)
