"""Prints one line per case, "name sha256", of a fixed workload that covers every row of both
tables.

    python tests/bits_workload.py

The lines must not change with UHN_CPU, UHN_NUM_THREADS or the compiler the extension was built
with. The inputs are made of integers and their products with powers of two, so they are the
same numbers wherever NumPy runs. A call that refuses its data prints the name of its error in
place of a hash, which has to be the same everywhere too.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
from collections.abc import Callable, Iterator

import numpy as np

import uhn

Array = np.ndarray

DTYPES = (np.float32, np.float64)
DISTANCES = ("euclidean", "sqeuclidean", "manhattan", "chebyshev", "hamming")
DIVERGENCES = ("kl", "reverse_kl", "jensen_shannon")
SIMILARITIES = ("dot", "cosine", "normalized_dot", *DISTANCES, *DIVERGENCES)
SEPARATIONS: list[tuple[str, dict]] = [
    ("identity", {}),
    ("identity", {"normalize": "sum"}),
    ("polynomial", {"degree": 2}),
    ("polynomial", {"degree": 7, "normalize": "sum"}),
    ("rectified_polynomial", {"degree": 2.5}),
    ("rectified_polynomial", {"degree": 3, "normalize": "sum"}),
    ("sqrt", {}),
    ("sqrt", {"normalize": "sum"}),
    ("log1p", {}),
    ("exponential", {"beta": 0.01}),
    ("exponential", {"beta": 3, "normalize": "sum"}),
    ("softmax", {}),
    ("softmax", {"beta": 0.02}),
    ("softmax", {"beta": 50}),
    ("softmax1", {"beta": 0.1}),
    ("max", {}),
    ("topk", {"k": 1}),
    ("topk", {"k": 37}),
    ("topk_softmax", {"k": 5}),
    ("topk_softmax", {"k": 200, "beta": 0.1}),
    ("threshold", {"theta": 0.25}),
    ("threshold", {"theta": -3, "normalize": "sum"}),
    ("sparsemax", {"beta": 0.3}),
    ("entmax", {}),
    ("entmax", {"alpha": 1.2, "beta": 0.3}),
    ("entmax", {"alpha": 1, "beta": 0.3}),
    ("entmax", {"alpha": 2.5, "beta": 0.3}),
]
WITHOUT_PRIOR = ("max", "topk", "topk_softmax")


def numbers(
    rng: np.random.Generator, shape, dtype, *, positive: bool = False, span: int = 2
) -> Array:
    """Random numbers over 2^-span to 2^span, a few of them +-0 or denormal."""
    x = rng.integers(1, 2**20, shape) * 2.0**-19
    x = x * 2.0 ** rng.integers(-span, span + 1, shape)
    kind = rng.integers(0, 50, shape)
    x[kind == 0] = 0.0
    info = np.finfo(dtype)
    x = x.astype(dtype)
    x[kind == 1] = info.tiny * dtype(0.375)  # denormal
    x[kind == 2] = info.smallest_subnormal
    x[kind == 3] = info.tiny
    return x if positive else x * np.where(rng.integers(0, 2, shape) == 0, -1, 1).astype(dtype)


def domain(
    rng: np.random.Generator, similarity: str, shape, dtype, *, positive: bool = False
) -> Array:
    """Rows that suit a similarity; small integers for hamming, so that some features agree."""
    if similarity == "hamming":
        return rng.integers(0, 3, shape).astype(dtype)
    positive = positive or similarity in ("normalized_dot", *DIVERGENCES)
    return numbers(rng, shape, dtype, positive=positive)


def transforms(similarity: str) -> list[dict]:
    """Keywords of the similarity itself: every transform, and a pseudo-count for the
    divergences.
    """
    if similarity in DISTANCES:
        return [{}, {"transform": "inverse", "eps": 0.5}, {"transform": "rbf", "gamma": 0.001}]
    if similarity in DIVERGENCES:
        return [
            {"eps": 0.015625},
            {"transform": "inverse", "eps": 0.015625},
            {"transform": "rbf", "gamma": 2.0, "eps": 0.015625},
        ]
    return [{}]


def digest(*arrays: Array) -> str:
    """One hash of the bits, types and shapes of all arrays."""
    h = hashlib.sha256()
    for a in arrays:
        h.update(f"{a.dtype.str}{a.shape}".encode())
        h.update(np.ascontiguousarray(a).tobytes())
    return h.hexdigest()


def workload() -> Iterator[tuple[str, Callable[[], tuple[Array, ...]]]]:
    """Names and the calls to make."""
    for dtype in DTYPES:
        kind = np.dtype(dtype).name
        for similarity in SIMILARITIES:
            for number, ours in enumerate(transforms(similarity)):
                rng = np.random.default_rng([len(similarity), number, ord(similarity[0])])
                nonnegative = bool(ours.get("transform"))
                m = domain(rng, similarity, (150, 37), dtype)
                q = domain(rng, similarity, (5, 37), dtype)
                m[140] = m[3]
                name = f"{kind} {similarity} {number}"
                yield (
                    f"{name} scores",
                    lambda m=m, q=q, s=similarity, k=ours: (uhn.similarity(m, q, s, **k),),
                )
                yield (
                    f"{name} nearest",
                    lambda m=m, q=q, s=similarity, k=ours: uhn.Memory(
                        m, similarity=s, **k
                    ).nearest(q, 9),
                )
                for separation, theirs in SEPARATIONS:
                    if separation in ("sqrt", "log1p") and not nonnegative:
                        continue
                    equation = (
                        {"similarity": similarity, "separation": separation} | ours | theirs
                    )
                    yield (
                        f"{name} {separation} {theirs}",
                        lambda m=m, q=q, k=equation: (
                            uhn.Memory(m, **k).retrieve(q),
                            uhn.Memory(m, **k).weights(q[:2]),
                        ),
                    )
        yield from _larger(dtype, kind)
        yield from _missing(dtype, kind)


def _larger(dtype, kind: str) -> Iterator[tuple[str, Callable[[], tuple[Array, ...]]]]:
    """Several blocks and chains of features, priors, values, recall, partials, attention."""
    rng = np.random.default_rng(2)
    for n_queries, n_patterns, n_features, n_values in [
        (1, 3000, 9, 5),
        (65, 1025, 17, 33),
        (3, 129, 784, 10),
        (17, 2500, 5, 1),
    ]:
        m = numbers(rng, (n_patterns, n_features), dtype)
        q = numbers(rng, (n_queries, n_features), dtype)
        v = numbers(rng, (n_patterns, n_values), dtype, span=6)
        prior = (rng.integers(1, 64, n_patterns) / 16).astype(dtype)
        for separation, theirs in SEPARATIONS:
            positive = separation in ("sqrt", "log1p")
            similarity = "manhattan" if positive else "dot"
            ours = {"transform": "inverse", "eps": 0.25} if positive else {}
            equation = {"similarity": similarity, "separation": separation} | ours | theirs
            if separation not in WITHOUT_PRIOR:
                equation["prior"] = prior
            yield (
                f"{kind} {n_patterns} {n_features} {separation} {theirs}",
                lambda m=m, q=q, v=v, k=equation: (
                    uhn.Memory(m, v, **k).retrieve(q),
                    uhn.Memory(m, v, **k).weights(q[:1]),
                ),
            )
    # Numbers from 2^-20 to 2^20, and two features alone.
    m, q = numbers(rng, (1200, 20), dtype, span=20), numbers(rng, (7, 20), dtype, span=20)
    for separation in (
        "identity",
        "softmax",
        "max",
        "topk",
        "sparsemax",
        "entmax",
        "threshold",
    ):
        yield (
            f"{kind} wide {separation}",
            lambda m=m, q=q, s=separation: (uhn.Memory(m, separation=s).retrieve(q),),
        )
    unit = rng.integers(-3, 4, (500, 24)).astype(dtype)
    start = unit[:11] + rng.integers(-1, 2, (11, 24)).astype(dtype)

    def recall() -> tuple[Array, ...]:
        r = uhn.Memory(unit, similarity="sqeuclidean", beta=0.05).recall(start, 30, tol=1e-5)
        return np.asarray(r.state), np.asarray(r.n_steps), np.asarray(r.change)

    def partial() -> tuple[Array, ...]:
        memory = uhn.Memory(m, beta=0.01)
        cuts = [0, 1, 130, 777, 1024, 1100, 1200]
        parts = [memory.partial(q, a, b) for a, b in itertools.pairwise(cuts)]
        return (uhn.merge(parts).finish(), memory.retrieve(q))

    heads = [numbers(rng, (2, 3, n, 16), dtype) for n in (5, 70, 70)]
    mask = rng.integers(0, 3, (5, 70)) > 0
    scores = numbers(rng, (4, 1300), dtype, positive=True, span=4)
    yield f"{kind} recall", recall
    yield f"{kind} partial", partial
    yield f"{kind} attention", lambda: (uhn.attention(*heads),)
    yield f"{kind} masked attention", lambda: (uhn.attention(*heads, mask=mask),)
    for separation, theirs in SEPARATIONS:
        yield (
            f"{kind} separate {separation} {theirs}",
            lambda s=separation, k=theirs: (
                uhn.separate(scores, s, **k),
                uhn.separate(scores, s, normalize_scores=True, **k),
            ),
        )


def _missing(dtype, kind: str) -> Iterator[tuple[str, Callable[[], tuple[Array, ...]]]]:
    """Patterns, values and queries that lack features, over two blocks and two chains."""

    def gaps(rng: np.random.Generator, rows: Array) -> Array:
        return np.where(rng.integers(0, 5, rows.shape) == 0, dtype(np.nan), rows)

    def case(m: Array, q: Array, v: Array | None, equation: dict) -> tuple[Array, ...]:
        memory = uhn.Memory(m, v, nan="missing", **equation)
        mask = ~np.isnan(q)
        return (
            memory.scores(q),
            memory.retrieve(q, clamp=False),
            memory.retrieve(np.where(mask, q, 1), mask=mask),
            memory.weights(q[:2]),
            *memory.nearest(q, 5),
        )

    for i, similarity in enumerate(SIMILARITIES):
        rng = np.random.default_rng([i, 7])
        n, n_features = [(1100, 9), (140, 19), (30, 260)][i % 3]
        m = gaps(rng, domain(rng, similarity, (n, n_features), dtype))
        q = gaps(rng, domain(rng, similarity, (7, n_features), dtype))
        q[3] = domain(rng, similarity, (n_features,), dtype, positive=True)
        for ours in transforms(similarity):
            yield (
                f"{kind} missing {similarity} {ours}",
                lambda m=m, q=q, k={"similarity": similarity} | ours: case(m, q, None, k),
            )
    rng = np.random.default_rng(11)
    m = gaps(rng, numbers(rng, (1100, 9), dtype, positive=True))
    q = gaps(rng, numbers(rng, (7, 9), dtype, positive=True))
    v = gaps(rng, numbers(rng, (1100, 3), dtype))
    for separation, theirs in SEPARATIONS:
        for similarity in ("dot", "cosine"):
            equation = {"similarity": similarity, "separation": separation} | theirs
            yield (
                f"{kind} missing {similarity} {separation} {theirs}",
                lambda k=equation: case(m, q, v, k),
            )


def main() -> None:
    """Prints the lines."""
    for name, call in workload():
        try:
            result = digest(*call())
        except ValueError as error:
            result = type(error).__name__
        sys.stdout.write(f"{name.replace(' ', '_')} {result}\n")


if __name__ == "__main__":
    main()
