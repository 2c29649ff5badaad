"""Features that are not known: NaN in patterns, values and queries, and masks.

Scores and answers are compared with the twin of reference_missing.py, within bounds derived
from those of bounds.py; where nothing is missing, and between a mask and NaN, batches, threads,
files and shards, the comparison is of bits.
"""

from __future__ import annotations

import itertools
import os
import pickle
from collections import defaultdict

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

import bits_workload
import bounds
import cases
import reference
import reference_missing
import uhn

Array = np.ndarray
NAN = np.nan

DTYPES = pytest.mark.parametrize("dtype", cases.DTYPES, ids=["float32", "float64"])
SIMILARITIES = pytest.mark.parametrize("similarity", cases.SIMILARITIES)
RATIOS: dict[tuple[str, str], float] = defaultdict(float)
DECIDED = {True: 0, False: 0}


@pytest.fixture(scope="module", autouse=True)
def threads():
    """Leaves the number of threads as it was."""
    n_threads = uhn.get_num_threads()
    yield
    uhn.set_num_threads(n_threads)


def seed(*parts: object) -> np.random.Generator:
    """A generator that depends on nothing but the test's own parameters."""
    return np.random.default_rng([ord(c) for c in repr(parts)])


def same(a: Array, b: Array, what: object = "") -> None:
    """Asserts that two arrays have the same type, shape and bits; NaN is NaN."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    assert a.dtype == b.dtype and a.shape == b.shape, what
    assert np.array_equal(np.isnan(a), np.isnan(b)), (what, a, b)
    both = ~np.isnan(a)
    assert a[both].tobytes() == b[both].tobytes(), (what, a, b)


def gaps(rng: np.random.Generator, rows: Array, fraction: float = 0.3) -> Array:
    """The rows with some features gone."""
    return np.where(rng.random(rows.shape) < fraction, rows.dtype.type(NAN), rows)


def without(rows: Array) -> dict[str, Array]:
    """The rows and a mask that say the same as rows with NaN, in other words."""
    mask = ~np.isnan(rows)
    return {"queries": np.where(mask, rows, rows.dtype.type(1e6)), "mask": mask}


# -------------------------------------------------------------------------------- the bounds --
# On top of what bounds.py derives of a score, and of its definition in csrc/missing.h:
#
#  - a missing feature adds an exact 0 to its chain, so that no chain is longer than before;
#  - n / |K| is rounded, and so is the product with it: 2 u;
#  - norms and sums over shared features are chains in the dtype, not sums in double, of squares
#    that were rounded; two roots, two quotients;
#  - a divergence is one chain of |K| products.


def pair_error(m: Array, q: Array, name: str, eps: float, p: bounds.Precision) -> Array:
    """Absolute error of the similarity or distance of one pair that shares something."""
    shared = ~np.isnan(m) & ~np.isnan(q)
    n, n_shared, u = len(q), int(shared.sum()), p.u
    chain = bounds.gamma(bounds.score_roundings(n), u)
    if name in reference.DIVERGENCES:
        return bounds._divergence_error(
            name,
            m[np.newaxis, shared],
            q[shared],
            eps,
            bounds.gamma(n_shared, u) + u,
            chain + 2 * u,
            p,
        )[0]
    m, q = np.where(shared, m, 0)[np.newaxis], np.where(shared, q, 0)
    if name in ("cosine", "normalized_dot"):
        if name == "cosine":
            sides = reference.euclidean(m, np.zeros_like(q), 0)[0] * np.sqrt((q**2).sum())
        else:
            sides = m.sum() * q.sum()
        # Pairs whose shared features are below 2^-50 of their rows are scaled anew, so that
        # underflow is far below u.
        underflow = (n + 1) * p.tiny * u * 2.0**100
        relative = np.abs(m * q).sum() / sides if sides > 0 else 0
        return relative * (3 * chain + 14 * u) + underflow
    error = bounds._raw_error(name, m, q, 0, p)[0]
    if name == "chebyshev" or n_shared == n:
        return error
    stretch = q.dtype.type(n) / n_shared
    raw = np.abs(reference.SIMILARITIES[name](m, q, 0)[0])
    if name == "euclidean":
        return np.sqrt(stretch) * (error + u * (raw + error))  # half of 2 u, as of a square
    return stretch * (error + 2 * u * (raw + error))


def scores(patterns: Array, queries: Array, name: str, **ours) -> bounds.Bounded:
    """The twin's scores and how far those of the library may be from them."""
    p = bounds.precision(patterns.dtype)
    m, q = patterns.astype(p.wide), queries.astype(p.wide)
    exact = reference_missing.similarity(m, q, name, **ours)
    eps = ours.get("eps") or 0
    bound = np.zeros_like(exact)
    for i, j in np.ndindex(exact.shape):
        if exact[i, j] == -np.inf:
            continue
        error = pair_error(m[j], q[i], name, eps, p) * bounds.SECOND_ORDER
        if name in reference.DISTANCES:
            d = -reference_missing.pair(m[j], q[i], name, eps=eps)
            error = bounds._transform_error(
                name,
                ours.get("transform"),
                np.array([d]),
                np.array([error]),
                eps,
                ours.get("gamma"),
                p,
            )[0]
        bound[i, j] = error * p.slack
    return bounds.Bounded(exact, bound)


def is_decided(s: bounds.Bounded, separation: str, dtype, theirs: dict) -> bool:
    """Whether no choice among these rows can turn within the bounds of their scores."""
    u = bounds.precision(dtype).u
    if theirs.get("normalize_scores"):  # one divisor for all: the order stays, up to rounding
        s = bounds.Bounded(s.value, s.bound + 4 * u * np.abs(s.value))
    return bool(
        bounds.decided(
            s, separation, k=theirs.get("k", 1), theta=theirs.get("theta", 0.0), u=u
        )[0]
    )


def answers(
    s: bounds.Bounded, values: Array, separation: str, dtype, prior=None, **theirs
) -> tuple[bounds.Bounded, Array]:
    """For each query and value the answer of a memory of only the rows that know the value and
    have a say; its bound, inf where a choice is too close to call, NaN where nobody answers.
    """
    shape = len(s.value), values.shape[1]
    value, bound = np.full(shape, NAN, s.value.dtype), np.zeros(shape, s.value.dtype)
    chosen = np.ones(shape, bool)
    groups = defaultdict(list)
    for j in range(shape[1]):
        groups[(~np.isnan(values[:, j])).tobytes()].append(j)
    p = bounds.precision(dtype)
    for (knows, columns), i in itertools.product(groups.items(), range(shape[0])):
        rows = np.frombuffer(knows, bool) & (s.value[i] > -np.inf)
        if not rows.any():
            continue
        sub = bounds.Bounded(s.value[i : i + 1, rows], s.bound[i : i + 1, rows])
        if not is_decided(sub, separation, dtype, theirs):
            chosen[i, columns] = False
            continue
        theirs_now = theirs if prior is None else theirs | {"prior": prior[rows]}
        part = values[np.ix_(rows, columns)]
        found = bounds.retrieved(sub, part, separation, dtype, **theirs_now)
        # Weights below the cutoff of all rows are 0, which may be 2^20 times those who know.
        w = np.abs(bounds.weights(sub, separation, dtype, **theirs_now).value).sum()
        lost = rows.sum() * 2.0**23 * p.cutoff * w * np.abs(part.astype(p.wide)).max(axis=0)
        value[i, columns] = found.value[0]
        bound[i, columns] = found.bound[0] + (0 if separation == "max" else lost)
    return bounds.Bounded(value, bound), chosen


def check(kind: str, row: str, result: Array, expected: bounds.Bounded, what: object) -> None:
    """Asserts that what is missing is missing and nothing else is beyond its bound."""
    assert result.shape == expected.value.shape, what
    assert np.array_equal(np.isnan(result), np.isnan(expected.value)), (
        what,
        result,
        expected.value,
    )
    there = ~np.isnan(expected.value)
    found = bounds.ratio(
        result[there], bounds.Bounded(expected.value[there], expected.bound[there])
    )
    RATIOS[kind, row] = max(RATIOS[kind, row], found)
    assert found <= 1, (f"{row}: error is {found:.3g} times its bound", what)


# ----------------------------------------------------------------------- every row with each --

KINDS = ("queries", "patterns", "both", "values")


class Case:
    """A memory with gaps, its queries, and the equation without its separation."""

    def __init__(self, similarity: str, kind: str, positive: bool, dtype) -> None:
        rng = seed(similarity, kind, positive)
        n_queries, n_patterns, n_features = {
            "queries": (4, 21, 7),
            "patterns": (3, 13, 5),
            "both": (3, 17, 4),
            "values": (4, 12, 9),
        }[kind]
        make = cases.data
        positive = positive or kind == "both"
        self.patterns = make(rng, similarity, (n_patterns, n_features), dtype, positive)
        self.queries = make(rng, similarity, (n_queries, n_features), dtype, positive)
        self.values = None
        if kind != "queries":
            self.patterns = gaps(rng, self.patterns)
        if kind != "patterns":
            self.queries = gaps(rng, self.queries, 0.4)
            self.queries[0] = self.queries[1]
            self.queries[0, : n_features // 2] = 1  # one that knows more
        if kind == "values":
            self.values = rng.normal(size=(n_patterns, 5)).astype(dtype)
            self.values[::2, 1] = self.values[:4, 2] = NAN
            self.values[::2, 3] = NAN
        self.dtype = dtype
        self.ours: dict = {}
        distance = similarity in reference.DISTANCES
        if distance and positive:
            if kind in ("queries", "both"):
                self.ours = {"transform": "inverse", "eps": 0.5}
            else:
                self.ours = {"transform": "rbf", "gamma": 0.05}
        elif similarity in reference.DIVERGENCES and kind == "values":
            self.ours = {"eps": 1 / 64}
        self.prior = (0.25 + 2 * rng.random(n_patterns)).astype(dtype)
        self.similarity = similarity
        self.scores = scores(self.patterns, self.queries, similarity, **self.ours)
        self.what = (similarity, kind, np.dtype(dtype).name)

    @property
    def projected(self) -> Array:
        return self.patterns if self.values is None else self.values

    def memory(self, **theirs) -> uhn.Memory:
        return uhn.Memory(
            self.patterns,
            self.values,
            similarity=self.similarity,
            nan="missing",
            **self.ours,
            **theirs,
        )


def keywords(case: Case, kind: str, separation: str) -> dict:
    """A prior, a normalisation, or neither, and parameters that fit the scores."""
    theirs: dict = {}
    if kind in ("patterns", "values") and separation in cases.WITH_PRIOR:
        theirs["prior"] = case.prior
    if kind in ("queries", "values") and separation in cases.NORMALIZABLE:
        theirs["normalize"] = "sum"
    seen = case.scores.value
    seen = np.where(seen == -np.inf, seen[seen > -np.inf].min(), seen)
    if kind == "both" and separation != "threshold" and (seen >= 0).all():
        theirs["normalize_scores"] = True
        seen = seen / seen.sum(axis=1, keepdims=True)
    return theirs | cases.parameters(separation, seen)


@pytest.mark.skipif(
    "UHN_SANITIZED" in os.environ, reason="long, and the laws below do the same"
)
@DTYPES
@pytest.mark.parametrize("kind", KINDS)
@SIMILARITIES
def test_every_row_with_every_row(similarity: str, kind: str, dtype) -> None:
    """Scores, weights, answers and neighbours against the twin, within bounds."""
    made = {
        positive: Case(similarity, kind, positive, dtype)
        for positive in ((False, True) if kind != "both" else (True,))
    }
    for case in made.values():
        memory = case.memory()
        assert memory.nan == "missing"
        check("scores", similarity, memory.scores(case.queries), case.scores, case.what)
        nearest(case, memory)
    turn = cases.SIMILARITIES.index(similarity) + 4 * KINDS.index(kind)
    for number, separation in enumerate(cases.SEPARATIONS):
        case = made[kind == "both" or cases.needs_positive(separation)]
        theirs = keywords(case, kind, separation)
        memory = case.memory(separation=separation, **theirs)
        what = (*case.what, separation, sorted(theirs))
        expected, chosen = answers(case.scores, case.projected, separation, dtype, **theirs)
        found = memory.retrieve(case.queries, clamp=False)
        assert found.dtype == dtype
        DECIDED[True] += int(chosen.sum())
        DECIDED[False] += int((~chosen).sum())
        close = bounds.Bounded(
            np.where(chosen, expected.value, 0), np.where(chosen, expected.bound, np.inf)
        )
        check("retrieve", separation, np.where(chosen, found, 0), close, what)
        check("retrieve", similarity, np.where(chosen, found, 0), close, what)
        clamped = memory.retrieve(case.queries)
        if case.values is None:  # the scale may be set by other rows: the same to rounding
            held = ~np.isnan(case.queries)
            same(clamped[held], case.queries[held], what)
            there = chosen & ~held
            close = bounds.Bounded(np.where(there, close.value, 0), close.bound)
            check("clamped", separation, np.where(there, clamped, 0), close, what)
        else:
            same(clamped, found, what)
            there = chosen
        weights(case, memory, separation, theirs, what)
        if number % 7 != turn % 7:
            continue
        # The twin, from patterns to answers in one call, agrees with the pieces of the bound.
        wide = bounds.precision(dtype).wide
        twin = reference_missing.retrieve(
            case.patterns.astype(wide),
            case.queries.astype(wide),
            None if case.values is None else case.values.astype(wide),
            clamp=False,
            similarity=similarity,
            separation=separation,
            **case.ours,
            **theirs,
        )
        check("twin", separation, np.where(there, twin, 0), close, what)


def weights(case: Case, memory: uhn.Memory, separation: str, theirs: dict, what) -> None:
    """Weights are those among the rows that have a say."""
    found = memory.weights(case.queries)
    prior = theirs.get("prior")
    for i, s in enumerate(case.scores.value):
        rows = s > -np.inf
        assert not found[i, ~rows].any(), what
        if not rows.any():
            continue
        sub = bounds.Bounded(s[np.newaxis, rows], case.scores.bound[i : i + 1, rows])
        if not is_decided(sub, separation, case.dtype, theirs):
            continue
        now = theirs if prior is None else theirs | {"prior": prior[rows]}
        w = bounds.weights(sub, separation, case.dtype, **now)
        check("weights", separation, found[i : i + 1, rows], w, what)


def nearest(case: Case, memory: uhn.Memory) -> None:
    """The order is that of the memory's own scores, which the twin has confirmed."""
    own = memory.scores(case.queries)
    for k in (1, 4, len(case.patterns)):
        indices, best = memory.nearest(case.queries, k)
        order = np.argsort(-own, axis=1, kind="stable")[:, :k]
        assert np.array_equal(indices, order), case.what
        same(best, np.take_along_axis(own, order, axis=1), case.what)


def test_the_comparisons_said_something() -> None:
    """Most choices were decided, and no bound was idle (runs after the comparisons)."""
    if len({row for kind, row in RATIOS if kind == "retrieve"}) < 25:
        pytest.skip("not every comparison ran in this session")
    assert DECIDED[False] < 0.05 * DECIDED[True]
    exact = {"max", "hamming", "topk", "threshold"}
    for (kind, row), found in RATIOS.items():
        if row not in exact and kind != "twin":
            assert found > 1e-4, (kind, row)


@DTYPES
def test_the_bounds_notice_small_faults(dtype) -> None:
    """A check of the checks: what subtle mistakes would give is outside the bounds."""
    rng = seed("faults")
    for name in cases.SIMILARITIES:
        patterns = gaps(rng, cases.data(rng, name, (20, 8), dtype, True))
        queries = gaps(rng, cases.data(rng, name, (3, 8), dtype, True))
        exact = scores(patterns, queries, name)
        heard = exact.value > -np.inf
        zeros = scores(np.nan_to_num(patterns), np.nan_to_num(queries), name)  # 0 for missing
        zeros, near = zeros.value[heard], bounds.Bounded(exact.value[heard], exact.bound[heard])
        assert (np.abs(zeros - near.value) > near.bound).mean() > 0.3, name
        u = bounds.precision(dtype).u
        if name != "hamming":
            assert bounds.ratio(near.value * (1 + 4096 * u), near) > 1, name


# -------------------------------------------------------------------------- pencil and paper --


def test_scores_by_hand() -> None:
    """Two features of four are shared: sums are doubled, the rest is as it is."""
    m, q = [[1.0, NAN, 4.0, 2.0]], [3.0, 5.0, 4.0, NAN]
    wanted = {
        "dot": 2 * (3 + 16),
        "cosine": 19 / np.sqrt(17 * 25),
        "normalized_dot": 1 / 5 * 3 / 7 + 4 / 5 * 4 / 7,
        "euclidean": -np.sqrt(8),
        "sqeuclidean": -8,
        "manhattan": -4,
        "chebyshev": -2,
        "hamming": -2,
        "kl": -(1 / 5 * np.log(7 / 15) + 4 / 5 * np.log(7 / 5)),
        "reverse_kl": -(3 / 7 * np.log(15 / 7) + 4 / 7 * np.log(5 / 7)),
        "jensen_shannon": -sum(
            x * np.log(2 * x / (a + b)) / 2
            for a, b in [(1 / 5, 3 / 7), (4 / 5, 4 / 7)]
            for x in (a, b)
        ),
    }
    assert set(wanted) == set(cases.SIMILARITIES)
    for name, number in wanted.items():
        found = uhn.Memory(m, similarity=name, nan="missing").scores(q)
        # Fewer than sixteen operations, on terms below four times the result.
        np.testing.assert_allclose(found, [number], rtol=64 * 2.0**-53)
        twin = reference_missing.similarity(m, [q], name)[0]
        np.testing.assert_allclose(twin, [number], rtol=64 * 2.0**-53)


RATINGS = np.array([[5, 4, 1, 5], [5, 4, 1, 4], [1, 2, 5, 1], [1, 2, 5, 2]], dtype=float)


@pytest.mark.parametrize("similarity", ["sqeuclidean", "manhattan", "euclidean"])
def test_the_hand_made_recommendation(similarity: str) -> None:
    """Four users, four films; a fifth who rated the first three as users 0 and 1 did."""
    new = np.array([5, 4, 1, NAN])

    def ask(**keywords):
        return uhn.Memory(RATINGS, similarity=similarity, nan="missing", **keywords).retrieve(
            new
        )

    assert ask(separation="topk", k=2).tolist() == [5, 4, 1, 4.5]
    assert ask(separation="max").tolist() == [5, 4, 1, 5]
    least = {"sqeuclidean": 36 * 4 / 3, "manhattan": 10 * 4 / 3, "euclidean": 48**0.5}
    for beta in (0.01, 0.1, 1.0, 10.0):
        other = np.exp(-beta * least[similarity])  # of users 2 and 3, relative to 0 and 1
        wanted = (9 + 3 * other) / (2 + 2 * other)
        assert ask(beta=beta)[3] == pytest.approx(wanted, rel=1e-14)
    assert ask(beta=1e6)[3] == 4.5
    column = uhn.Memory(RATINGS[:, :3], RATINGS[:, 3:], separation="topk", k=2)
    assert column.retrieve(new[:3]).tolist() == [4.5]


def test_twenty_features_of_256_find_the_pattern() -> None:
    """With the mask given, the nearest in squared distance is right whenever 20 survive."""
    rng = seed("survivors")
    patterns = rng.random((50, 256))
    for n_known in (20, 32, 128):
        mask = np.zeros((50, 256), bool)
        for row in mask:
            row[rng.choice(256, n_known, replace=False)] = True
        noisy = np.clip(patterns + 0.1 * rng.normal(size=patterns.shape), 0, 1)
        memory = uhn.Memory(patterns, similarity="sqeuclidean", separation="max")
        indices, _ = memory.nearest(np.where(mask, noisy, 0), mask=mask)
        assert np.array_equal(indices[:, 0], np.arange(50))
        found = memory.retrieve(noisy, mask=mask)
        same(found, np.where(mask, noisy, patterns))
        same(memory.retrieve(noisy, mask=mask, clamp=False), patterns)


# ---------------------------------------------------------------------------- other people's --

U = 2.0**-53


@pytest.mark.oracle
@pytest.mark.parametrize("similarity", ["euclidean", "sqeuclidean"])
def test_distances_of_scikit_learn(similarity: str) -> None:
    """Whole numbers: scikit-learn's sums are exact, and each side rounds three times."""
    metrics = pytest.importorskip("sklearn.metrics.pairwise", reason="scikit-learn")
    rng = seed("nan_euclidean")
    for n_features in (1, 3, 17, 300):
        x, y = (
            gaps(rng, rng.integers(-9, 10, (n, n_features)).astype(float)) for n in (40, 23)
        )
        wanted = metrics.nan_euclidean_distances(y, x, squared=similarity == "sqeuclidean")
        found = -uhn.Memory(x, similarity=similarity, nan="missing").scores(y)
        assert np.array_equal(np.isnan(wanted), found == np.inf)
        there = ~np.isnan(wanted)
        np.testing.assert_allclose(found[there], wanted[there], rtol=6 * U, atol=0)


@pytest.mark.oracle
@pytest.mark.parametrize("n_neighbors", [1, 3, 5, 60])
def test_the_imputer_of_scikit_learn(n_neighbors: int) -> None:
    """topk is KNNImputer, which takes fewer where fewer know the feature."""
    impute = pytest.importorskip("sklearn.impute", reason="scikit-learn")
    rng = seed("imputer")
    rows = gaps(rng, rng.normal(size=(60, 9)), 0.35)
    rows[:, 4] = NAN
    rows[[3, 30, 41], 4] = [1.5, -2.0, 0.25]  # known to three only
    wanted = impute.KNNImputer(n_neighbors=n_neighbors).fit_transform(rows)
    for similarity in ("euclidean", "sqeuclidean"):
        memory = uhn.Memory(
            rows, similarity=similarity, separation="topk", k=n_neighbors, nan="missing"
        )
        found = memory.retrieve(rows)
        known = ~np.isnan(rows)
        assert np.array_equal(found[known], rows[known])
        # The mean of k numbers below 5, here and there.
        limit = 2 * bounds.gamma(n_neighbors + 3, U) * np.nanmax(np.abs(rows))
        assert np.abs(found - wanted).max() <= limit


@pytest.mark.oracle
def test_the_imputer_of_scikit_learn_with_weights() -> None:
    """All donors, weighted by 1 / d: identity over the inverse, divided by its sum. Whole
    numbers, so that distances there are exact but for their root; some are 0.
    """
    impute = pytest.importorskip("sklearn.impute", reason="scikit-learn")
    rng = seed("inverse")
    rows = gaps(rng, rng.integers(-6, 7, (30, 6)).astype(float), 0.3)
    rows[7] = rows[3] = [1, 2, 3, 4, 5, 6]
    rows[7, 5] = NAN  # an exact match for row 3, and the other way round
    wanted = impute.KNNImputer(n_neighbors=30, weights="distance").fit_transform(rows)
    found = uhn.Memory(
        rows,
        similarity="euclidean",
        transform="inverse",
        separation="identity",
        normalize="sum",
        nan="missing",
    ).retrieve(rows)
    assert found[7, 5] == wanted[7, 5] == 6
    # Weights good to 8 u, sums of 30 on both sides and a quotient; numbers up to 6.
    limit = 2 * 6 * (2 * bounds.gamma(30, U) + 2 * 8 * U + 2 * U)
    assert np.abs(found - wanted).max() <= limit


def test_a_masked_softmax_of_scipy() -> None:
    """Whoever lacks the feature asked for has a score of -inf before SciPy's softmax."""
    rng = seed("scipy")
    patterns = gaps(rng, rng.normal(size=(40, 6)))
    queries = gaps(rng, rng.normal(size=(8, 6)))
    beta = 0.7
    found = uhn.Memory(patterns, similarity="sqeuclidean", beta=beta, nan="missing").retrieve(
        queries, clamp=False
    )
    shared = ~np.isnan(patterns) & ~np.isnan(queries)[:, np.newaxis]
    d = np.nansum((patterns - queries[:, np.newaxis]) ** 2, axis=2)
    count = shared.sum(axis=2)
    s = np.where(count > 0, -beta * d * 6 / np.maximum(count, 1), -np.inf)
    for j in range(6):
        knows = ~np.isnan(patterns[:, j])
        w = scipy.special.softmax(np.where(knows, s, -np.inf), axis=1)
        wanted = w @ np.where(knows, patterns[:, j], 0)
        # An exponent off by 16 u of its size on each side, sums of 40 numbers.
        size = np.abs(s[s > -np.inf]).max()
        limit = 2 * (2 * 16 * U * size + 2 * bounds.gamma(50, U)) * np.nanmax(np.abs(patterns))
        assert np.abs(found[:, j] - wanted).max() <= limit


# --------------------------------------------------------------------- where nothing is gone --


@DTYPES
@SIMILARITIES
def test_nothing_missing_has_the_plain_bits(similarity: str, dtype) -> None:
    """nan='missing', and a mask that is True throughout, change no bit of whole rows."""
    rng = seed("plain", similarity)
    for ours in bits_workload.transforms(similarity):
        m = bits_workload.domain(rng, similarity, (70, 19), dtype)
        q = bits_workload.domain(rng, similarity, (3, 19), dtype)
        m[60] = m[3]
        q[1] = 0 if similarity not in reference.DIVERGENCES else q[0]
        v = bits_workload.numbers(rng, (70, 6), dtype)
        prior = (rng.integers(1, 64, 70) / 16).astype(dtype)
        for number, (separation, theirs) in enumerate(bits_workload.SEPARATIONS):
            if separation in ("sqrt", "log1p") and not ours.get("transform"):
                continue
            equation = {"similarity": similarity, "separation": separation} | ours | theirs
            if separation not in bits_workload.WITHOUT_PRIOR and number % 2:
                equation["prior"] = prior
            values = v if number % 3 == 0 else None
            plain = uhn.Memory(m, values, **equation)
            able = uhn.Memory(m, values, **equation, nan="missing")
            for call in ("retrieve", "weights"):
                extra = {"clamp": False} if call == "retrieve" else {}
                try:
                    wanted = getattr(plain, call)(q)
                except ValueError as error:  # an overflow, or no pattern with a weight
                    refused(able, call, q, extra, str(error))
                    continue
                same(getattr(able, call)(q, **extra), wanted, (equation, call))
                masked = getattr(plain, call)(q, mask=np.ones(19, bool), **extra)
                same(masked, wanted, (equation, call))
        plain = uhn.Memory(m, similarity=similarity, **ours)
        able = uhn.Memory(m, similarity=similarity, nan="missing", **ours)
        same(able.scores(q), plain.scores(q), similarity)
        for a, b in zip(able.nearest(q, 9), plain.nearest(q, 9), strict=True):
            same(a.astype(float), b.astype(float), similarity)


def refused(able: uhn.Memory, call: str, q: Array, extra: dict, message: str) -> None:
    """What a plain memory refuses is refused alike, or, where nobody has a say, missing."""
    if "every score is -infinity" in message:
        answer = getattr(able, call)(q, **extra)
        assert np.isnan(answer).all(axis=1).any() if extra else not answer.all(axis=1).all()
        return
    with pytest.raises(ValueError) as caught:
        getattr(able, call)(q, **extra)
    assert str(caught.value) == message


@DTYPES
def test_zero_weights_answer_zero(dtype) -> None:
    """A row of weight 0 has a say: what it answers is 0, and not missing."""
    m = np.array([[1, 0, 0, NAN], [0, 1, 0, NAN]], dtype)
    q = np.array([[NAN, NAN, 2, NAN], [0, 0, 1, NAN], [NAN, NAN, NAN, 3]], dtype)
    wanted = np.array([[0, 0, 0, NAN], [0, 0, 0, NAN], [NAN] * 4], dtype)
    for equation in (
        {"separation": "identity"},
        {"separation": "identity", "normalize": "sum"},
        {"separation": "polynomial", "degree": 3},
        {"separation": "rectified_polynomial"},
        {"separation": "sqrt"},
        {"separation": "threshold", "theta": 0.5},
        {"separation": "identity", "normalize_scores": True},
    ):
        memory = uhn.Memory(m, nan="missing", **equation)
        same(memory.retrieve(q, clamp=False), wanted, equation)
        whole = uhn.Memory(m[:, :3], nan="missing", **equation)
        same(whole.retrieve(q[:, :3], clamp=False), wanted[:, :3], equation)
        if "normalize_scores" not in equation:
            part = uhn.Memory(m[:, :3], **equation).partial(
                np.nan_to_num(q[:, :3]), mask=~np.isnan(q[:, :3])
            )
            same(part.finish(), wanted[:, :3], equation)


@DTYPES
@SIMILARITIES
def test_whole_pairs_among_others_have_the_plain_bits(similarity: str, dtype) -> None:
    """The score of a whole row for a whole query does not see the gaps around it."""
    rng = seed("whole pairs", similarity)
    m = cases.data(rng, similarity, (300, 37), dtype)
    q = cases.data(rng, similarity, (45, 37), dtype)
    plain = uhn.Memory(m, similarity=similarity).scores(q)
    with_gaps, asked = gaps(rng, m, 0.02), gaps(rng, q, 0.02)
    rows, queries = ~np.isnan(with_gaps).any(axis=1), ~np.isnan(asked).any(axis=1)
    assert 0.2 < rows.mean() < 0.8 and 0.2 < queries.mean() < 0.8
    found = uhn.Memory(with_gaps, similarity=similarity, nan="missing").scores(asked)
    same(found[np.ix_(queries, rows)], plain[np.ix_(queries, rows)], similarity)


# -------------------------------------------------------------------------- the laws of bits --


def equations() -> list[dict]:
    """Every similarity under softmax, every separation under a fitting similarity."""
    result: list[dict] = [{"similarity": s, "beta": 0.5} for s in cases.SIMILARITIES]
    for i, (separation, theirs) in enumerate(bits_workload.SEPARATIONS):
        similarity = ["dot", "cosine", "sqeuclidean"][i % 3]
        equation = {"similarity": similarity, "separation": separation} | theirs
        if separation in ("sqrt", "log1p"):
            equation |= {"similarity": "manhattan", "transform": "inverse", "eps": 0.25}
        if equation["similarity"] == "sqeuclidean" and separation == "polynomial":
            equation["similarity"] = "dot"
        result.append(equation)
    result.append({"normalize_scores": True, "similarity": "jensen_shannon", "eps": 0.25})
    result[-1] |= {"transform": "inverse", "separation": "softmax"}
    return result


EQUATIONS = equations()


class Rows:
    """Patterns and values with gaps, and queries, whole ones among them."""

    def __init__(self, number: int, dtype, n_patterns: int, n_queries: int) -> None:
        self.rng = rng = seed("rows", number, n_patterns, n_queries)
        self.equation = EQUATIONS[number]
        similarity = self.equation.get("similarity", "dot")
        n_features = int(rng.choice([1, 3, 7, 16, 17, 33]))
        self.patterns = cases.data(rng, similarity, (n_patterns, n_features), dtype)
        self.patterns[n_patterns // 2] = self.patterns[0]
        self.whole = self.patterns
        self.patterns = gaps(rng, self.patterns, 0.1)
        self.queries = gaps(
            rng, cases.data(rng, similarity, (n_queries, n_features), dtype), 0.2
        )
        self.queries[::3] = self.whole[: len(self.queries[::3])]
        self.values = None
        if number % 2:
            self.values = gaps(rng, rng.normal(size=(n_patterns, 5)).astype(dtype), 0.1)
            self.values[:, 2] = 1  # one that all know
        separation = self.equation.get("separation", "softmax")
        self.prior = None
        if separation not in bits_workload.WITHOUT_PRIOR and number % 3 == 0:
            self.prior = (rng.integers(1, 64, n_patterns) / 16).astype(dtype)

    def memory(self, patterns: Array | None = None, **keywords) -> uhn.Memory:
        keywords = {"nan": "missing"} | self.equation | keywords
        patterns = self.patterns if patterns is None else patterns
        return uhn.Memory(patterns, self.values, prior=self.prior, **keywords)


NUMBERS = pytest.mark.parametrize("number", range(len(EQUATIONS)))


@DTYPES
@NUMBERS
def test_masks_batches_stores_files_and_copies(number: int, dtype, tmp_path) -> None:
    """A mask is NaN in place; no answer depends on its neighbours, on how rows came in, or on
    where they live.
    """
    case = Rows(number, dtype, 140, 11)
    memory, q = case.memory(), case.queries
    calls = {
        "retrieve": lambda m, q, **k: m.retrieve(q, clamp=False, **k),
        "clamped": lambda m, q, **k: m.retrieve(q, **k),
        "weights": lambda m, q, **k: m.weights(q, **k),
        "scores": lambda m, q, **k: m.scores(q, **k),
        "nearest": lambda m, q, **k: m.nearest(q, 5, **k)[1],
        "indices": lambda m, q, **k: m.nearest(q, 5, **k)[0].astype(float),
    }
    whole = {name: call(memory, q) for name, call in calls.items()}
    hidden = without(q)
    shuffle = case.rng.permutation(len(q))
    for name, call in calls.items():
        what = (name, case.equation)
        same(call(memory, hidden["queries"], mask=hidden["mask"]), whole[name], what)
        for i in range(0, len(q), 3 if name == "retrieve" else 6):
            same(call(memory, q[i]), whole[name][i], what)
            row = {"mask": hidden["mask"][i]}
            same(call(memory, hidden["queries"][i], **row), whole[name][i], what)
        same(call(memory, q[shuffle]), whole[name][shuffle], what)
        same(call(memory, np.asfortranarray(q)), whole[name], what)
        same(call(memory, np.repeat(q, 2, axis=0)[::2]), whole[name], what)
        same(call(memory, np.repeat(q, 2, axis=1)[:, ::2]), whole[name], what)
    out = np.zeros_like(whole["retrieve"])
    memory.retrieve(q, clamp=False, out=out)
    same(out, whole["retrieve"], case.equation)

    others = {"copy": memory.copy(), "pickle": pickle.loads(pickle.dumps(memory))}
    memory.save(tmp_path / "memory.uhn")
    others |= {f"mmap={m}": uhn.load(tmp_path / "memory.uhn", m) for m in (True, False)}
    others["strided"] = case.memory(np.repeat(case.patterns, 2, axis=0)[::2])
    others["chunks"], others["masks"] = (
        uhn.Memory(nan="missing", **case.equation) for _ in range(2)
    )
    for a, b in [(0, 1), (1, 50), (50, 129), (129, None)]:
        part = slice(a, b)
        extra = {
            "values": None if case.values is None else case.values[part],
            "prior": None if case.prior is None else case.prior[part],
        }
        others["chunks"].store(case.patterns[part], **extra)
        known = ~np.isnan(case.patterns[part])
        others["masks"].store(case.whole[part], mask=known, **extra)
    for name, other in others.items():
        assert other.nan == "missing"
        same(other.retrieve(q, clamp=False), whole["retrieve"], (name, case.equation))
        same(other.scores(q), whole["scores"], (name, case.equation))
        same(np.asarray(other), case.patterns, name)


@DTYPES
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_gaps_that_come_and_go(order: tuple[int, ...], dtype) -> None:
    """Chunks with gaps before, behind and between chunks without, of patterns and of values."""
    rng = seed("come and go")
    whole = rng.normal(size=(40, 5)).astype(dtype)
    pieces = [(whole, whole), (gaps(rng, whole), whole), (whole, gaps(rng, whole))]
    rows, values = (np.concatenate([pieces[i][j] for i in order]) for j in range(2))
    query = np.array([NAN, 0.5, 1, NAN, 0], dtype)
    for own in (True, False):
        memory = uhn.Memory(similarity="sqeuclidean", nan="missing")
        for i in order:
            memory.store(pieces[i][0], None if own else pieces[i][1])
        once = uhn.Memory(
            rows, None if own else values, similarity="sqeuclidean", nan="missing"
        )
        same(memory.retrieve(query), once.retrieve(query), order)
        expected, _ = answers(
            scores(rows, query[np.newaxis], "sqeuclidean"),
            rows if own else values,
            "softmax",
            dtype,
        )
        found = memory.retrieve(query, clamp=False)
        check("come and go", "softmax", found[np.newaxis], expected, order)
        with pytest.raises(ValueError, match="ask the whole memory"):
            memory.partial(query)
        if own:
            with pytest.raises(ValueError, match="patterns lack features"):
                memory.energy(np.zeros(5, dtype))


@DTYPES
@pytest.mark.parametrize("separation", ["softmax", "topk"])
def test_the_first_gap_may_come_by_replacement(separation: str, dtype) -> None:
    """In patterns, and in the values of patterns without gaps."""
    rng = seed("replaced")
    whole = rng.normal(size=(40, 5)).astype(dtype)
    gappy = whole.copy()
    gappy[[3, 20, 39], [0, 4, 2]] = NAN
    query = np.array([NAN, 0.5, 1, NAN, 0], dtype)
    for patterns, values in ((gappy, None), (whole, gappy)):
        rows = [3, 20, 39]
        memory = uhn.Memory(
            whole,
            None if values is None else whole,
            similarity="sqeuclidean",
            separation=separation,
            nan="missing",
            copy=True,
        )
        memory.replace(rows, patterns[rows], None if values is None else values[rows])
        fresh = uhn.Memory(
            patterns, values, similarity="sqeuclidean", separation=separation, nan="missing"
        )
        answer = memory.retrieve(query)
        assert not np.isnan(answer).any()
        same(answer, fresh.retrieve(query), rows)


@DTYPES
@pytest.mark.parametrize("separation", ["softmax", "identity", "topk", "sparsemax"])
def test_many_queries_and_shards_that_begin_anywhere(separation: str, dtype) -> None:
    """Several blocks of queries, silent ones in each, and rows counted from anywhere."""
    rng = seed("blocks of queries")
    rows = gaps(rng, rng.random((50, 4)).astype(dtype))
    rows[:, 3] = NAN
    queries = gaps(rng, rng.random((450, 4)).astype(dtype), 0.5)
    queries[[3, 201, 449]] = NAN
    theirs = {"k": 3} if separation == "topk" else {}
    memory = uhn.Memory(rows, separation=separation, nan="missing", **theirs)
    whole = memory.retrieve(queries, clamp=False)
    assert np.isnan(whole[:, 3]).all()
    assert np.isnan(whole[[3, 201, 449]]).all()
    for i in range(0, 450, 7):
        same(memory.retrieve(queries[i], clamp=False), whole[i], i)
    exact = scores(rows, queries[:40], "dot")
    expected, chosen = answers(exact, rows, separation, dtype, **theirs)
    close = bounds.Bounded(np.where(chosen, expected.value, 0), expected.bound)
    for first_row in (0, 1000, 2**40 + 1):  # the rows lie across a block
        shard = uhn.Memory(
            rows, separation=separation, nan="missing", first_row=first_row, **theirs
        )
        found = shard.retrieve(queries[:40], clamp=False)
        check("shards", separation, np.where(chosen, found, 0), close, first_row)


@DTYPES
@NUMBERS
def test_partials_of_masked_queries(number: int, dtype) -> None:
    """Whole values, cut anyhow, merge to the bits of retrieve; patterns may have gaps."""
    case = Rows(number, dtype, [300, 1200][number % 2], 4)
    if case.equation.get("normalize_scores"):
        return
    case.values = None if case.values is None else np.nan_to_num(case.values)
    hidden = without(case.queries)
    cut = [0, 1, 129, 256, 290, len(case.whole)]
    made = [case.memory(case.whole), case.memory(case.whole, nan="raise")]
    if case.values is not None:
        made.append(case.memory())
    for memory in made:
        wanted = memory.retrieve(hidden["queries"], mask=hidden["mask"], clamp=False)
        parts = [memory.partial(**hidden, start=a, stop=b) for a, b in itertools.pairwise(cut)]
        parts = [pickle.loads(pickle.dumps(part)) for part in parts]
        merged = uhn.merge([uhn.merge(parts[3:]), *parts[2::-1]])
        same(merged.finish(), wanted, case.equation)


@DTYPES
def test_any_number_of_threads(dtype) -> None:
    """Large enough for a call to go parallel, over queries and over blocks of patterns."""
    rng = seed("threads")
    for n_queries, n_patterns, n_features in [(4, 11_000, 240), (200, 3_000, 16)]:
        assert n_queries * n_patterns * n_features > 0.95e7  # from 1e7 on, values included
        m = rng.random((n_patterns, n_features)).astype(dtype)
        m[::7] = gaps(rng, m[::7], 0.1)
        q = gaps(rng, rng.random((n_queries, n_features)).astype(dtype), 0.3)
        values = gaps(rng, rng.normal(size=(n_patterns, 3)).astype(dtype), 0.1)
        for equation in (
            {"beta": 0.3},
            {"separation": "topk", "k": 40, "similarity": "cosine"},
            {"separation": "polynomial", "degree": 3, "normalize": "sum"},
        ):
            memory = uhn.Memory(m, values, nan="missing", **equation)
            uhn.set_num_threads(1)
            whole = memory.retrieve(q)
            uhn.set_num_threads(2)
            same(memory.retrieve(q), whole, equation)


# --------------------------------------------------------------------------------- iteration --


@DTYPES
@pytest.mark.parametrize("clamp", [True, False])
def test_recall_step_by_step(clamp: bool, dtype) -> None:
    """Every state is the answer to the one before; what the query knew stays in each."""
    rng = seed("recall")
    patterns = rng.normal(size=(40, 8)).astype(dtype)
    queries = gaps(rng, rng.normal(size=(9, 8)).astype(dtype), 0.5)
    queries[4] = patterns[4]
    queries[5] = NAN
    with_gaps = gaps(rng, patterns)
    with_gaps[:, 7] = NAN
    for rows, values in [(patterns, None), (with_gaps, None), (with_gaps, patterns[::-1])]:
        memory = uhn.Memory(rows, values, similarity="sqeuclidean", beta=0.3, nan="missing")
        keep = clamp and values is None
        way = [queries]
        for step in range(4):
            answer = memory.retrieve(way[-1], clamp=clamp and step == 0)
            way.append(np.where(np.isnan(queries) | (not keep), answer, queries))
        for n_steps in (1, 2, 4):
            same(memory.retrieve(queries, n_steps, clamp=clamp), way[n_steps])
            found = memory.recall(queries, n_steps, clamp=clamp, tol=None, trace=True)
            same(found.state, way[n_steps])
            assert len(found.trace.states) == n_steps + 1
            for a, b in zip(found.trace.states, way, strict=False):
                same(a, b)
            one = memory.recall(queries[3], n_steps, clamp=clamp, tol=None)
            same(one.state, way[n_steps][3])
        if values is None:
            twin = reference_missing.recall(
                rows, queries[0], 4, clamp=clamp, similarity="sqeuclidean", beta=0.3
            )
            # Four steps that contract: each adds some tens of roundings of numbers below 4.
            limit = 4 * 4 * bounds.gamma(60 + 8 * 16, bounds.precision(dtype).u)
            np.testing.assert_allclose(way[4][0], twin.state, rtol=0, atol=limit)


@pytest.mark.parametrize("nan", ["raise", "missing"])
def test_recall_says_how_it_ended(nan: str) -> None:
    """Filling a gap is an infinite change; what nobody answers does not move."""
    patterns = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    memory = uhn.Memory(patterns, similarity="sqeuclidean", separation="max", nan=nan)
    query, mask = np.array([4.25, 0, 0]), np.array([True, False, False])
    once = memory.recall(query, 1, mask=mask)
    assert once.status == "step limit" and once.change == np.inf
    rest = memory.recall(query, mask=mask)
    assert rest.status == "fixed point" and rest.n_steps == 2 and rest.change == 0
    assert rest.state.tolist() == [4.25, 5, 6]
    free = memory.recall(query, mask=mask, clamp=False)
    assert free.state.tolist() == [4, 5, 6] and free.status == "fixed point"
    traced = memory.recall(patterns + 0.25, 3, mask=np.ones(3, bool), tol=None, trace=True)
    same(traced.state, patterns + 0.25)  # all is known, all stays
    for state in traced.trace.states:
        same(state, patterns + 0.25)
    nothing = memory.recall(query, mask=~np.ones(3, bool))
    assert nothing.status == "no active location" and np.isnan(nothing.state).all()


def test_recall_of_whole_numbers_is_the_twin() -> None:
    """max and the mean of two: no operation rounds, so every state is exact."""
    rng = seed("integers")
    for k in (1, 2):
        rows = gaps(rng, rng.integers(-4, 5, (20, 6)).astype(float), 0.2)
        queries = gaps(rng, rng.integers(-4, 5, (15, 6)).astype(float), 0.5)
        memory = uhn.Memory(rows, similarity="chebyshev", separation="topk", k=k, nan="missing")
        for clamp in (True, False):
            found = memory.recall(queries, 3, clamp=clamp, tol=None).state
            twin = [
                reference_missing.recall(
                    rows,
                    q,
                    3,
                    clamp=clamp,
                    similarity="chebyshev",
                    separation="topk",
                    k=k,
                ).state
                for q in queries
            ]
            same(found, np.array(twin))


# ---------------------------------------------------------------------------------- extremes --


@DTYPES
def test_a_sharp_softmax_leaves_the_column_to_others(dtype) -> None:
    """The best row lacks the feature, and those that know it have weights far below the cutoff
    of the whole: they answer among themselves all the same.
    """
    patterns = np.array(
        [[0, 0, NAN, 1], [3, 4, 10, 1], [3, 4, 20, 1], [30, 40, 99, NAN]], dtype
    )
    query = np.array([0, 0, NAN, NAN], dtype)
    for separation, scale in [("softmax", 1), ("entmax", 1), ("sparsemax", 1)]:
        for beta in (1e3, 1e6):
            memory = uhn.Memory(
                patterns,
                similarity="sqeuclidean",
                separation=separation,
                beta=beta * scale,
                nan="missing",
            )
            assert memory.weights(query).tolist() == [1, 0, 0, 0]
            assert memory.retrieve(query).tolist() == [0, 0, 15, 1], (separation, beta)
    memory = uhn.Memory(patterns, similarity="sqeuclidean", separation="max", nan="missing")
    assert memory.retrieve(query).tolist() == [0, 0, 10, 1]
    powers = uhn.Memory(
        np.array([[1e6, NAN], [1, 4], [1, 8]], dtype),
        separation="polynomial",
        degree=20,
        normalize="sum",
        nan="missing",
    )
    assert powers.weights(np.array([1, NAN], dtype)).tolist() == [1, 0, 0]
    assert powers.retrieve(np.array([1, NAN], dtype)).tolist() == [1, 6]


@DTYPES
def test_weights_near_the_cutoff(dtype) -> None:
    """Across every ratio of those who know to those who do not, the law holds to rounding."""
    for exponent in range(0, 140, 3):
        patterns = np.array([[0, NAN], [1, 3], [1, 5], [1.01, 7]], dtype)
        beta = exponent * np.log(2) / 2  # the shared feature is stretched by 2
        memory = uhn.Memory(patterns, similarity="sqeuclidean", beta=beta, nan="missing")
        s = scores(patterns, np.array([[0, NAN]], dtype), "sqeuclidean")
        expected, _ = answers(s, patterns, "softmax", dtype, beta=beta)
        found = memory.retrieve(np.array([[0, NAN]], dtype), clamp=False)
        check("cutoff", "softmax", found, expected, exponent)


@DTYPES
@SIMILARITIES
def test_who_knows_nothing_has_no_say(similarity: str, dtype) -> None:
    """Rows of NaN alone, queries of NaN alone, a column nobody knows."""
    rng = seed("nothing")
    rows = cases.data(rng, similarity, (5, 3), dtype)
    rows = np.concatenate([rows, np.full((5, 1), NAN, dtype)], axis=1)
    rows[2] = NAN
    queries = rows[[0, 2, 4]].copy()
    queries[2, 3] = 2  # knows what nobody else does
    for separation in cases.SEPARATIONS:
        ours = {"transform": "rbf"} if similarity in reference.DISTANCES else {}
        if similarity == "dot" and cases.needs_positive(separation):
            rows, queries = np.abs(rows), np.abs(queries)
        if similarity == "cosine" and cases.needs_positive(separation):
            rows, queries = np.abs(rows), np.abs(queries)
        memory = uhn.Memory(
            rows, similarity=similarity, separation=separation, nan="missing", **ours
        )
        s = memory.scores(queries)
        assert (s[1] == -np.inf).all() and (s[:, 2] == -np.inf).all()
        assert np.isfinite(s[[0, 2]][:, [0, 1, 3, 4]]).all()
        w = memory.weights(queries)
        assert not w[1].any() and not w[:, 2].any()
        z = memory.retrieve(queries, clamp=False)
        assert np.isnan(z[1]).all() and np.isnan(z[:, 3]).all()
        assert np.isfinite(z[[0, 2], :3]).all()
        z = memory.retrieve(queries)
        same(z[2], queries[2])
        indices, best = memory.nearest(queries, 5)
        assert indices[1].tolist() == [0, 1, 2, 3, 4] and (best[1] == -np.inf).all()
        assert indices[0, -1] == 2


@DTYPES
def test_divergences_want_mass_in_what_is_shared(dtype) -> None:
    """No mass over the shared features and no pseudo-count: no say. With one: uniform."""
    rows = np.array([[0, 0, 5], [1, 1, 0]], dtype)
    query = np.array([1, 3, NAN], dtype)
    for name in sorted(reference.DIVERGENCES):
        memory = uhn.Memory(rows, similarity=name, nan="missing")
        found = memory.scores(query)
        assert found[0] == -np.inf and np.isfinite(found[1])
        assert memory.retrieve(query)[2] == 0
        smooth = uhn.Memory(rows, similarity=name, eps=0.5, nan="missing").scores(query)
        exact = scores(rows, query[np.newaxis], name, eps=0.5)
        check("mass", name, smooth[np.newaxis], exact, name)
        uniform = uhn.Memory(rows[1:, :2], similarity=name, eps=0.5).scores(query[:2])
        limit = 64 * bounds.precision(dtype).u  # the same sums in another order
        assert smooth[0] == pytest.approx(uniform[0], abs=limit)
        blank = uhn.Memory(rows, similarity=name, nan="missing").scores(query * 0)
        assert (blank == -np.inf).all()
    zero = uhn.Memory(rows, similarity="normalized_dot", nan="missing").scores(query)
    assert zero[0] == 0
    probable = np.array([[0, 1, 3], [2, 2, 0]], dtype)
    for name in sorted(reference.DIVERGENCES):  # 0 log 0 = 0, and infinities where they belong
        found = uhn.Memory(probable, similarity=name, nan="missing").scores(query)
        check("mass", name, found[np.newaxis], scores(probable, query[np.newaxis], name), name)


@DTYPES
def test_sizes_from_the_ends_of_the_range(dtype) -> None:
    """Normalised similarities do not care for the size of a row, nor of the part that is
    shared.
    """
    big, small = (1e30, 1e-30) if dtype == np.float32 else (1e300, 1e-300)
    shape = np.array([[1, 2, 2, 0], [2, 1, 0, 4], [0, 3, 1, 1]], dtype)
    query = np.array([NAN, 4, 3, 1], dtype)
    for name in ("cosine", "normalized_dot"):
        expected = scores(shape, query[np.newaxis], name)
        for row in (shape, shape * dtype(big), shape * dtype(small)):
            for asked in (query, query * dtype(big), query * dtype(small)):
                found = uhn.Memory(row, similarity=name, nan="missing").scores(asked)
                # Scaled numbers are rounded once more on either side.
                wider = expected.bound + 8 * bounds.precision(dtype).u
                check("range", name, found[np.newaxis], expected._replace(bound=wider), name)
        # The feature that is not shared is larger than all others by more than a square root.
        odd = shape.copy()
        odd[:, 0] = big
        found = uhn.Memory(odd, similarity=name, nan="missing").scores(query)
        check("range", name, found[np.newaxis], expected, name)
        asked = np.array([big, 4, 3, 1], dtype)
        lone = np.array([[NAN, 2, 2, 0], [NAN, 1, 0, 4], [NAN, 3, 1, 1]], dtype)
        found = uhn.Memory(lone, similarity=name, nan="missing").scores(asked)
        check("range", name, found[np.newaxis], expected, name)
    zeros = np.array([[5, 0, 0, 0]], dtype)  # zeros are all that is shared
    for name in ("cosine", "normalized_dot"):
        assert uhn.Memory(zeros, similarity=name, nan="missing").scores(query).tolist() == [0]


@DTYPES
@SIMILARITIES
@pytest.mark.parametrize("n_features", [1, 2, 300])
def test_one_feature_and_two_chains(similarity: str, n_features: int, dtype) -> None:
    rng = seed("width", similarity, n_features)
    rows = gaps(rng, cases.data(rng, similarity, (12, n_features), dtype), 0.4)
    queries = gaps(rng, cases.data(rng, similarity, (3, n_features), dtype), 0.2)
    rows[0], queries[0] = np.abs(rows[1]), np.nan_to_num(queries[0], nan=0.5)
    memory = uhn.Memory(rows, similarity=similarity, nan="missing")
    exact = scores(rows, queries, similarity)
    check("width", similarity, memory.scores(queries), exact, n_features)
    expected, _ = answers(exact, rows[:, :7], "softmax", dtype)
    found = memory.retrieve(queries, clamp=False)[:, :7]
    check("width", similarity, found, expected, n_features)


@DTYPES
def test_several_blocks(dtype) -> None:
    """5000 rows: tiles, blocks and the tree over them, whole tiles among those with gaps."""
    rng = seed("blocks")
    rows = rng.normal(size=(5000, 4)).astype(dtype)
    rows[1024:] = gaps(rng, rows[1024:])
    rows[2048:3072] = np.nan_to_num(rows[2048:3072])
    queries = np.array([[0.5, NAN, -1, NAN], [1, 2, 0.5, 1]], dtype)
    exact = scores(rows, queries, "sqeuclidean")
    for theirs in (
        {"separation": "softmax", "beta": 1.5},
        {"separation": "exponential", "beta": 0.5},
        {"separation": "topk_softmax", "k": 700},
        {"separation": "sparsemax", "beta": 0.2},
        {"separation": "softmax", "beta": 800.0},
    ):
        memory = uhn.Memory(rows, similarity="sqeuclidean", nan="missing", **theirs)
        expected, chosen = answers(exact, rows, dtype=dtype, **theirs)
        found = np.where(chosen, memory.retrieve(queries, clamp=False), 0)
        close = bounds.Bounded(np.where(chosen, expected.value, 0), expected.bound)
        assert chosen.any()
        check("blocks", theirs["separation"], found, close, theirs)


def test_signs_of_zero_and_of_nan() -> None:
    """-0.0 is a feature like 0.0; a NaN is missing whatever its sign and its payload."""
    negative = np.copysign(np.array([NAN]), -1)[0]
    payload = np.array([0x7FF0000000000123], np.uint64).view(float)[0]  # signalling
    rows = np.array([[-0.0, 1, 2], [0.0, 3, 4]])
    wanted = uhn.Memory(rows, similarity="hamming", nan="missing").scores([0.0, 1, NAN])
    assert wanted.tolist() == [0, -1.5]
    for missing in (NAN, -NAN, negative, payload):
        query = np.array([-0.0, 1, missing])
        for name in cases.SIMILARITIES:
            memory = uhn.Memory(rows, similarity=name, nan="missing")
            same(memory.scores(query), memory.scores([0.0, 1, NAN]), name)
            again = uhn.Memory([[-0.0, 1, missing], rows[1]], similarity=name, nan="missing")
            same(again.scores([1.0, 1, 1]), _with_nan(rows, name).scores([1.0, 1, 1]), name)
    kept = uhn.Memory(rows, separation="max", nan="missing").retrieve([-0.0, NAN, NAN])
    assert np.signbit(kept[0])


def _with_nan(rows: Array, name: str) -> uhn.Memory:
    rows = rows.copy()
    rows[0, 2] = NAN
    return uhn.Memory(rows, similarity=name, nan="missing")


def test_inputs_are_left_alone_and_borrowed_rows_may_have_gaps() -> None:
    rng = seed("borrowed")
    rows = gaps(rng, rng.normal(size=(2000, 8)))
    mask = rng.random((5, 8)) < 0.5
    queries = rng.normal(size=(5, 8))
    kept = rows.copy(), queries.copy(), mask.copy()
    memory = uhn.Memory(rows, nan="missing")
    memory.retrieve(queries, mask=mask)
    for a, b in zip(kept, (rows, queries, mask), strict=True):
        assert np.array_equal(a, b, equal_nan=True)
    readonly = queries.copy()
    readonly.flags.writeable = False
    same(memory.retrieve(readonly, mask=mask), memory.retrieve(queries, mask=mask))
    same(
        memory.retrieve(queries.tolist(), mask=mask.tolist()),
        memory.retrieve(queries, mask=mask),
    )
    same(memory.retrieve(queries, mask=mask[0]), memory.retrieve(queries, mask=[mask[0]] * 5))
    hidden = np.where(mask, queries, np.inf)  # what stands elsewhere is not looked at
    same(memory.retrieve(hidden, mask=mask), memory.retrieve(queries, mask=mask))


# ---------------------------------------------------------------------------------- refusals --


def test_refusals_name_the_fix() -> None:
    rows = np.array([[1.0, 2, NAN], [3, 4, 5]])
    whole = np.nan_to_num(rows)
    memory = uhn.Memory(rows, nan="missing")
    plain = uhn.Memory(whole)
    query = np.array([1.0, NAN, 2])
    calls = ("retrieve", "recall", "scores", "weights", "nearest", "partial")
    for name in calls:
        for one in (plain, uhn.Memory(whole, nan="missing")):
            call = getattr(one, name)
            with pytest.raises(ValueError, match=r"mask has shape \(2,\).*\(3,\)"):
                call(np.ones(3), mask=[True, False])
            with pytest.raises(ValueError, match=r"mask has shape \(1, 3\), but .* \(2, 3\)"):
                call(np.ones((2, 3)), mask=[[True] * 3])
            with pytest.raises(ValueError, match=r"mask has shape \(1, 3\)"):
                call(np.ones(3), mask=[[True] * 3])
            with pytest.raises(ValueError, match=r"mask has shape \(\)"):
                call(np.ones(3), mask=True)
            for bad in (np.ones(3), [1, 0, 1], np.ones(3, np.uint8), "yes"):
                with pytest.raises(TypeError, match=r"must be boolean.*mask.astype\(bool\)"):
                    call(np.ones(3), mask=bad)
            with pytest.raises(ValueError, match="infinite"):
                call([1, np.inf, 2], mask=[True, True, False])
        with pytest.raises(ValueError, match=r"queries\[0, 1\] is NaN.*nan='missing'"):
            getattr(plain, name)(query, mask=[True, True, False])
        with pytest.raises(ValueError, match="NaN"):
            getattr(plain, name)(query)
    with pytest.raises(ValueError, match=r"make it with nan='missing'"):
        uhn.Memory().store(whole, mask=[True] * 3)
    with pytest.raises(ValueError, match="mask has shape"):
        uhn.Memory(nan="missing").store(whole, mask=[True] * 2)
    with pytest.raises(TypeError, match="must be boolean"):
        uhn.Memory(nan="missing").store(whole, mask=[1, 1, 0])
    with pytest.raises(ValueError, match=r"patterns\[0, 2\] is NaN"):
        uhn.Memory(rows)
    with pytest.raises(ValueError, match=r"values\[0, 2\] is NaN"):
        uhn.Memory(whole, rows)
    for bad in (np.inf, -np.inf):
        with pytest.raises(ValueError, match="infinite"):
            uhn.Memory([[1, bad, NAN]], nan="missing")
        with pytest.raises(ValueError, match="infinite"):
            uhn.Memory([[1, 2]], [[NAN, bad]], nan="missing")
    with pytest.raises(ValueError, match=r"is -1; .* values >= 0"):
        uhn.Memory([[1, NAN, -1]], similarity="kl", nan="missing").scores([1, 1, 1])
    with pytest.raises(ValueError, match=r"is -2; .* values >= 0"):
        uhn.Memory([[1, NAN, 1]], similarity="kl", nan="missing").scores([NAN, 1, -2])
    for bad in ("ignore", "", "Missing"):
        with pytest.raises(ValueError, match="'raise' or 'missing'"):
            uhn.Memory(nan=bad)
    with pytest.raises(TypeError, match="'raise' or 'missing'"):
        uhn.Memory(nan=True)
    for bad in (1, None, "yes"):
        with pytest.raises(TypeError, match="clamp"):
            memory.retrieve(query, clamp=bad)
    with pytest.raises(ValueError, match="ask the whole memory, or fill the entries"):
        memory.partial(query)
    with pytest.raises(ValueError, match="ask the whole memory, or fill the entries"):
        uhn.Memory(whole, rows, nan="missing").partial(query)
    with pytest.raises(TypeError, match="prior"):
        uhn.Memory(whole, prior=[NAN, "a"], nan="missing")
    with pytest.raises(ValueError, match="prior"):
        uhn.Memory(whole, prior=[NAN, 1], nan="missing")


def test_energies_want_whole_states_and_memories() -> None:
    rows = np.array([[1.0, 2, NAN], [3, 4, 5]])
    memory = uhn.Memory(rows, nan="missing")
    able = uhn.Memory(np.nan_to_num(rows), nan="missing")
    for name in ("energy", "gradient"):
        with pytest.raises(ValueError, match="patterns lack features"):
            getattr(memory, name)(np.ones(3))
        with pytest.raises(ValueError, match="NaN"):
            getattr(able, name)([1.0, NAN, 2])
        plain = getattr(uhn.Memory(np.nan_to_num(rows)), name)
        same(np.atleast_1d(getattr(able, name)(np.ones(3))), np.atleast_1d(plain(np.ones(3))))


def test_functions_of_the_callers_own() -> None:
    """A similarity of the caller's own is refused; a separation never weighs who has no say."""
    rows = np.array([[1.0, 2, NAN], [NAN, NAN, 5], [3, 4, 5]])
    own = uhn.Memory(rows, similarity=lambda m, q: q @ m.T, nan="missing")
    whole = uhn.Memory(np.nan_to_num(rows), similarity=lambda m, q: q @ m.T)
    for name in ("retrieve", "scores", "weights", "nearest", "recall"):
        with pytest.raises(ValueError, match="use a built-in one"):
            getattr(own, name)(np.ones(3))
        with pytest.raises(ValueError, match="use a built-in one"):
            getattr(whole, name)(np.ones(3), mask=[True, False, True])
    query = np.array([2.0, NAN, NAN])
    for dtype in cases.DTYPES:
        flat = uhn.Memory(
            rows.astype(dtype), separation=lambda s: np.ones_like(s), nan="missing"
        )
        assert flat.weights(query).tolist() == [1, 0, 1]
        assert flat.retrieve(query, clamp=False).tolist() == [4, 6, 5]
        apart = uhn.Memory(
            np.nan_to_num(rows).astype(dtype),
            separation=lambda s: np.ones_like(s),
            nan="missing",
        )
        part = uhn.merge([apart.partial([NAN] * 3, 0, 1), apart.partial([NAN] * 3, 1, 3)])
        same(part.finish(), np.full(3, NAN, dtype))
        same(apart.retrieve([NAN] * 3), np.full(3, NAN, dtype))


# -------------------------------------------------------------------------------- hypothesis --

NUMBER = st.one_of(st.integers(-3, 3).map(float), st.just(NAN))


@st.composite
def small(draw):
    """A similarity, a separation, a dtype, and a few rows and queries of small numbers."""
    similarity = draw(st.sampled_from(cases.SIMILARITIES))
    separation = draw(st.sampled_from(cases.SEPARATIONS))
    dtype = draw(st.sampled_from(cases.DTYPES))
    n_patterns, n_queries, n_features = (draw(st.integers(1, n)) for n in (6, 3, 5))
    rows, queries = (
        np.array(
            draw(
                st.lists(
                    st.lists(NUMBER, min_size=n_features, max_size=n_features),
                    min_size=n,
                    max_size=n,
                )
            ),
            dtype,
        )
        for n in (n_patterns, n_queries)
    )
    return similarity, separation, dtype, rows, queries


@settings(deadline=None, derandomize=True, max_examples=150)
@given(small())
def test_small_memories_are_the_twin(case) -> None:
    similarity, separation, dtype, rows, queries = case
    ours: dict = {}
    if similarity in reference.NON_NEGATIVE or cases.needs_positive(separation):
        rows, queries = np.abs(rows), np.abs(queries)
    if similarity in reference.DIVERGENCES:
        ours["eps"] = 0.125
    if similarity in reference.DISTANCES and cases.needs_positive(separation):
        ours |= {"transform": "inverse", "eps": 0.5}
    theirs = {"k": 2} if separation in ("topk", "topk_softmax") else {}
    memory = uhn.Memory(
        rows, similarity=similarity, separation=separation, nan="missing", **ours, **theirs
    )
    exact = scores(rows, queries, similarity, **ours)
    check("small", similarity, memory.scores(queries), exact, case)
    expected, chosen = answers(exact, rows, separation, dtype, **theirs)
    found = memory.retrieve(queries, clamp=False)
    close = bounds.Bounded(np.where(chosen, expected.value, 0), expected.bound)
    check("small", separation, np.where(chosen, found, 0), close, case)
    held = ~np.isnan(queries)
    clamped = memory.retrieve(queries)
    same(clamped[held], queries[held])
    there = chosen & ~held
    close = bounds.Bounded(np.where(there, expected.value, 0), expected.bound)
    check("small", separation, np.where(there, clamped, 0), close, case)
