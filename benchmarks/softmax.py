"""Softmax retrieval: the memory is the values too, float32, the answer in a given array."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import reader
from measure import (
    MEBIBYTE,
    Array,
    Bench,
    Contender,
    Goal,
    SkipRowError,
    gaussian,
    peak_bytes,
    softmax_reference,
)
from threadpoolctl import threadpool_info

import uhn

#: Largest difference allowed, as a fraction of the largest number of the right answer. A plain
#: float32 average of 100,000 rows is off by about a tenth of it.
BOUND = 1e-4
N_FEATURES = 784


def numpy_as_written(queries: Array, patterns: Array, beta: float) -> Array:
    """The formula as people write it, with a new array at every step."""

    def softmax(scores: Array) -> Array:
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    return softmax(beta * (queries @ patterns.T)) @ patterns


def two_products(queries: Array, patterns: Array) -> tuple[Callable[[], None], Array, Array]:
    """Two bare matrix products of the same shapes into arrays that are there already."""
    scores = np.zeros((len(queries), len(patterns)), np.float32)
    answer = np.zeros((len(queries), patterns.shape[1]), np.float32)
    transposed = patterns.T

    def run() -> None:
        np.matmul(queries, transposed, out=scores)
        np.matmul(scores, patterns, out=answer)

    return run, scores, answer


def torch_attention(bench: Bench, queries: Array, patterns: Array) -> Callable[[], Any] | None:
    """PyTorch's attention with one head (its scale is 1 / sqrt(n_features)), if it is there."""
    try:
        import torch
    except ImportError:
        bench.skip("PyTorch SDPA", "PyTorch is not installed")
        return None
    q = torch.from_numpy(queries)[None, None]
    memory = torch.from_numpy(patterns)[None, None]

    def run() -> Any:
        with torch.inference_mode():
            return torch.nn.functional.scaled_dot_product_attention(q, memory, memory)[0, 0]

    bench.notes.append(f"PyTorch {torch.__version__}: {torch_build(torch)}")
    return run


def torch_build(torch: Any) -> str:
    """What PyTorch's CPU kernels are built on and which instructions they use."""
    parts = [torch.backends.cpu.get_cpu_capability()]
    parts += ["MKL"] if torch.backends.mkl.is_available() else []
    parts += ["oneDNN"] if torch.backends.mkldnn.is_available() else []
    return ", ".join(parts)


def bound_for(answer: Array) -> float:
    """The largest absolute difference allowed from this answer."""
    return BOUND * float(np.max(np.abs(answer)))


def batch(
    bench: Bench,
    n_queries: int,
    n_patterns: int,
    *,
    sgemm: Goal,
    as_written: Goal | None = None,
    sdpa: Goal | None = None,
    with_numpy: bool = True,
    with_torch: bool = True,
) -> None:
    """A batch of queries against two bare products, NumPy as written, and PyTorch.

    Queries and patterns are independent, so that every weight counts: the slowest kind of data
    for `uhn`, which would leave out rows without weight.
    """
    n_arrays = 3 if with_numpy else 1
    bench.needs(4.0 * n_patterns * (N_FEATURES + (1 + n_arrays) * n_queries))
    rng = np.random.default_rng(1)
    patterns = gaussian(rng, n_patterns, N_FEATURES)
    queries = gaussian(rng, n_queries, N_FEATURES)
    beta = 1 / math.sqrt(N_FEATURES)
    memory = uhn.Memory(patterns, separation="softmax", beta=beta)
    out = np.empty((n_queries, N_FEATURES), np.float32)
    memory.retrieve(queries, out=out)

    few = min(8, n_queries)
    reference = softmax_reference(queries[:few], patterns, beta)
    bound = bound_for(reference)
    bench.check(f"uhn and float64, {few} queries", out[:few], reference, bound)

    products, scores, _ = two_products(queries, patterns)
    products()
    some = min(512, n_patterns)
    exact = queries[:few].astype(np.float64) @ patterns[:some].astype(np.float64).T
    bench.check("sgemm and float64, scores", scores[:few, :some], exact, bound_for(exact))
    contenders = [Contender("two OpenBLAS sgemm, no softmax", products, sgemm)]
    if with_numpy:
        written = partial(numpy_as_written, queries, patterns, beta)
        bench.check("uhn and NumPy", out, written(), bound)
        contenders.append(Contender("NumPy as written", written, as_written))
    if with_torch and (attention := torch_attention(bench, queries, patterns)) is not None:
        bench.set_threads()
        bench.check("uhn and PyTorch", out, attention().numpy(), bound)
        contenders.append(Contender("PyTorch SDPA", attention, sdpa))

    ours = partial(memory.retrieve, queries, out=out)
    bench.race(ours, contenders, flops=4.0 * n_queries * n_patterns * N_FEATURES, seconds=60)


def batch1000(bench: Bench) -> None:
    """1000 queries."""
    n_queries, n_patterns = bench.pick(1000, 96), bench.pick(100_000, 2000)
    batch(
        bench, n_queries, n_patterns, sgemm=Goal(least=1.0, aim=1.1), as_written=Goal(least=1.5)
    )


def batch32(bench: Bench) -> None:
    """32 queries: few enough for the products to spend most of their time on packing."""
    n_patterns = bench.pick(100_000, 4000)
    batch(bench, 32, n_patterns, sgemm=Goal(least=2.0), sdpa=Goal(least=1.8), with_numpy=False)


def avx2(bench: Bench) -> None:
    """Both sides kept to AVX2, by environment variables that the row's process starts with."""
    path = uhn.cpu_info()["path"]
    cores = {pool.get("architecture") for pool in threadpool_info()} - {None}
    if path != "avx2" or cores != {"Haswell"}:
        raise SkipRowError(f"not to be had here: uhn took {path}, OpenBLAS {cores}")
    bench.notes.append("uhn on its AVX2 path, OpenBLAS on its Haswell kernels")
    n_queries, n_patterns = bench.pick(1000, 96), bench.pick(10_000, 2000)
    goal = Goal(least=0.9)
    batch(bench, n_queries, n_patterns, sgemm=goal, with_numpy=False, with_torch=False)


# ------------------------------------------------------------------------------------ memory --


def scratch(bench: Bench) -> None:
    """Memory needed beyond inputs and answer: growth of the process's peak during the call."""
    n_queries, n_patterns = bench.pick(1000, 96), bench.pick(100_000, 20_000)
    bench.needs(4.0 * n_patterns * (N_FEATURES + 3 * n_queries))
    rng = np.random.default_rng(1)
    patterns = gaussian(rng, n_patterns, N_FEATURES)
    queries = gaussian(rng, n_queries, N_FEATURES)
    beta = 1 / math.sqrt(N_FEATURES)
    out = np.ones((n_queries, N_FEATURES), np.float32)  # written, so that its pages are there
    memory = uhn.Memory(patterns, beta=beta)
    # Code and thread stacks are not scratch: something tiny on both sides touches them first.
    uhn.retrieve(patterns[:2], queries[:1])
    numpy_as_written(queries[:1], patterns[:2], beta)

    # Ours goes first, because a peak never falls. Up to here it has been the size itself: no
    # array has been freed.
    before = peak_bytes()
    memory.retrieve(queries, out=out)
    between = peak_bytes()
    answer = numpy_as_written(queries, patterns, beta)
    after = peak_bytes()

    bench.check("uhn and NumPy", out, answer, bound_for(answer))
    # The system counts in pages and not always at once; nothing below that can be told apart.
    ours = max(between - before, 65536)
    theirs = after - before - answer.nbytes
    bench.record(
        "NumPy as written",
        theirs / ours,
        goal=Goal(least=300),
        unit="peak scratch",
        uhn_mebibytes=ours / MEBIBYTE,
        contender_mebibytes=theirs / MEBIBYTE,
    )


# -------------------------------------------------------------------------------- one query --


def one(bench: Bench) -> None:
    """One query: bound by reading the memory, once if it is done well."""
    n_patterns = bench.pick(1_000_000, 40_000)
    bench.needs(4.0 * n_patterns * (N_FEATURES + 4))
    rng = np.random.default_rng(1)
    patterns = np.empty((n_patterns, N_FEATURES), np.float32)
    rng.standard_normal(out=patterns, dtype=np.float32)
    query = gaussian(rng, N_FEATURES)
    beta = 1 / math.sqrt(N_FEATURES)
    memory = uhn.Memory(patterns, beta=beta)
    out = np.empty(N_FEATURES, np.float32)

    def with_numpy() -> Array:
        # The careful way: vectors only, and in place.
        weights = patterns @ query
        weights *= beta
        weights -= weights.max()
        np.exp(weights, out=weights)
        answer = weights @ patterns
        answer /= weights.sum()
        return answer

    memory.retrieve(query, out=out)
    reference = softmax_reference(query[None], patterns, beta)[0]
    bound = bound_for(reference)
    bench.check("uhn and float64", out, reference, bound)
    bench.check("NumPy and float64", with_numpy(), reference, bound)

    contenders = [Contender("NumPy: gemv, exp, gemv", with_numpy, Goal(least=1.8))]
    with reader.Reader(patterns, bench.threads) as read:
        bench.notes.append(f"reading: {read.how}")
        contenders.append(Contender("one read of the memory", read, Goal(least=0.85)))
        ours = partial(memory.retrieve, query, out=out)
        bench.race(ours, contenders, flops=4.0 * n_patterns * N_FEATURES, seconds=30)


# -------------------------------------------------------------------------------------- beta --

#: In units of 1 / sqrt(n_features). Between 2 and 4.5 the weights of the patterns that do not
#: match are smaller than the smallest normal float32 and larger than 0.
BETAS = (1e-3, 1e-1, 1.0, 2.0, 3.0, 3.5, 4.0, 4.5, 1e3)


def beta_sweep(bench: Bench) -> None:
    """The slowest beta against beta = 0: weights that are denormal must not cost more."""
    n_queries, n_patterns = bench.pick(1000, 64), bench.pick(10_000, 1000)
    rng = np.random.default_rng(1)
    patterns = gaussian(rng, n_patterns, N_FEATURES)
    # Damaged patterns, so that there is one match; the others' weights are what beta shrinks.
    chosen = rng.integers(0, n_patterns, n_queries)
    queries = patterns[chosen] + np.float32(0.3) * gaussian(rng, n_queries, N_FEATURES)
    out = np.empty((n_queries, N_FEATURES), np.float32)
    unit = 1 / math.sqrt(N_FEATURES)

    calls = []
    for beta in (0.0, *BETAS):
        memory = uhn.Memory(patterns, beta=beta * unit)
        memory.retrieve(queries, out=out)
        reference = softmax_reference(queries[:8], patterns, beta * unit)
        bench.check(f"uhn and float64, beta {beta:g}", out[:8], reference, bound_for(reference))
        calls.append(partial(memory.retrieve, queries, out=out))
    times = bench.rounds(calls, seconds=40)
    ratios = times[:, 1:] / times[:, :1]
    middle = np.median(ratios, axis=0)
    slowest = int(np.argmax(middle))
    bench.record(
        "uhn itself at beta = 0, slowest beta",
        ratios[:, slowest],
        goal=Goal(most=1.1),
        cost=True,
        uhn_seconds=float(np.median(times[:, 1 + slowest])),
        contender_seconds=float(np.median(times[:, 0])),
        slowest=BETAS[slowest],
        by_beta=dict(zip(map(str, BETAS), map(float, middle), strict=True)),
    )
    bench.notes.append(f"slowest at beta = {BETAS[slowest]:g} / sqrt(N)")

    # What the formula does without care. Its factor does not depend on the number of queries,
    # and at its worst it takes too long for all of them.
    few = queries[: bench.pick(100, 16)]
    window = (0.0, 2.0, 3.0, 3.5, 4.0)
    runs = [partial(numpy_as_written, few, patterns, beta * unit) for beta in window]
    times = bench.rounds(runs, seconds=1)
    ratios = times[:, 1:] / times[:, :1]
    slowest = int(np.argmax(np.median(ratios, axis=0)))
    bench.record(
        "(NumPy's own factor, slowest beta)",
        ratios[:, slowest],
        cost=True,
        contender_seconds=float(np.median(times[:, 0])),
        slowest=window[1 + slowest],
    )


# ------------------------------------------------------------------------------ a small call --


def small(bench: Bench) -> None:
    """One query on a memory of 100 patterns of 100 features: what a call costs."""
    rng = np.random.default_rng(1)
    patterns, query = gaussian(rng, 100, 100), gaussian(rng, 100)
    beta = 0.1
    memory = uhn.Memory(patterns, beta=beta)

    def with_numpy() -> Array:
        scores = beta * (patterns @ query)
        weights = np.exp(scores - scores.max())
        return (weights / weights.sum()) @ patterns

    reference = softmax_reference(query[None], patterns, beta)[0]
    bound = bound_for(reference)
    bench.check("uhn and float64", memory.retrieve(query), reference, bound)
    bench.check("NumPy and float64", with_numpy(), reference, bound)
    contenders = [Contender("NumPy, three lines", with_numpy, Goal(least=2.0))]
    bench.race(partial(memory.retrieve, query), contenders, seconds=3)
