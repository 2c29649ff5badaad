"""Filling the gaps of a table from its own rows, against scikit-learn."""

from __future__ import annotations

import numpy as np
from measure import Array, Bench, Contender, Goal, SkipRowError, peak_bytes

import uhn

N_FEATURES = 100
MEBIBYTE = 1 << 20


def table(n: int) -> Array:
    """Uniform numbers, a tenth of them missing."""
    rng = np.random.default_rng(1)
    rows = rng.random((n, N_FEATURES))
    rows[rng.random(rows.shape) < 0.1] = np.nan
    return rows


def prepare(bench: Bench) -> tuple[Array, Array, uhn.Memory, object]:
    """A table, some rows of it, a memory of the table, and scikit-learn's imputer of it."""
    try:
        from sklearn.impute import KNNImputer
    except ImportError:
        raise SkipRowError("scikit-learn is not installed") from None
    rows = table(bench.pick(100_000, 5000))
    queries = rows[: bench.pick(256, 64)]
    memory = uhn.Memory(rows, similarity="euclidean", separation="topk", k=5, nan="missing")
    return rows, queries, memory, KNNImputer(n_neighbors=5).fit(rows)


def impute(bench: Bench) -> None:
    """The mean of the five nearest rows that know the feature."""
    _, queries, memory, theirs = prepare(bench)
    bench.set_threads()
    ours = memory.retrieve(queries)
    bench.check("uhn and KNNImputer", ours, theirs.transform(queries), 1e-12)
    bench.race(
        lambda: memory.retrieve(queries),
        [
            Contender(
                "scikit-learn KNNImputer", lambda: theirs.transform(queries), Goal(least=2)
            )
        ],
    )


def scratch(bench: Bench) -> None:
    """Memory needed beyond inputs and answer: growth of the process's peak during the call."""
    _, queries, memory, theirs = prepare(bench)
    memory.retrieve(queries[:1])
    theirs.transform(queries[:1])
    # Ours goes first, because a peak never falls.
    before = peak_bytes()
    ours = memory.retrieve(queries)
    between = peak_bytes()
    answer = theirs.transform(queries)
    after = peak_bytes()
    bench.check("uhn and KNNImputer", ours, answer, 1e-12)
    mine = max(between - before - ours.nbytes, 65536)
    bench.record(
        "scikit-learn KNNImputer",
        (after - between - answer.nbytes) / mine,
        goal=Goal(least=50),
        unit="peak scratch",
        uhn_mebibytes=mine / MEBIBYTE,
        contender_mebibytes=(after - between - answer.nbytes) / MEBIBYTE,
    )
