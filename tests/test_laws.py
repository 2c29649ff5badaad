"""Identities of the mathematics, which hold whatever the data: no oracle is needed.

Where an identity is exact in exact arithmetic only, both sides are within their bounds
(bounds.py) of the same number, so they are within the sum of the bounds of each other.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import bounds
import cases
import uhn

LAW = settings(deadline=None, derandomize=True, max_examples=40)
U64 = 2.0**-53

seeds = st.integers(0, 2**32 - 1)
widths = st.sampled_from([1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 127, 129, 257])
counts = st.sampled_from([1, 2, 3, 7, 16, 33, 127, 128, 129, 300, 1023, 1024, 1025, 1500])
dtypes = st.sampled_from(cases.DTYPES)
betas = st.floats(0.01, 20)


def draw(seed: int, similarity: str, n_patterns: int, n_queries: int, n_features: int, dtype):
    rng = np.random.default_rng(seed)
    patterns = cases.data(rng, similarity, (n_patterns, n_features), dtype)
    queries = cases.data(rng, similarity, (n_queries, n_features), dtype)
    return rng, patterns, queries


def near(left, right, *allowed) -> None:
    """Asserts |left - right| <= the sum of the bounds, element by element, and that they are
    bounds.
    """
    total = sum(np.asarray(a, dtype=np.longdouble) for a in allowed)
    assert np.isfinite(total).all()
    difference = np.abs(np.asarray(left, np.longdouble) - np.asarray(right, np.longdouble))
    assert (difference <= total).all(), float((difference - total).max())


def retrieved(patterns, queries, values, separation="softmax", similarity="dot", **keywords):
    """The exact answer and its bound for a whole equation."""
    ours = {k: keywords.pop(k) for k in ("transform", "eps", "gamma") if k in keywords}
    scores = bounds.scores(patterns, queries, similarity, **ours)
    projected = patterns if values is None else values
    return bounds.retrieved(scores, projected, separation, patterns.dtype, **keywords)


# ------------------------------------------------------------ the identities of similarities --


@LAW
@given(seeds, counts, widths, dtypes, betas)
def test_squared_distances_are_dot_products_with_a_bias(
    seed, n_patterns, n_features, dtype, beta
):
    """softmax(-b/2 |m - q|^2) = softmax(b (m.q - |m|^2 / 2)): one more feature carries the
    bias.
    """
    _, patterns, queries = draw(seed, "dot", n_patterns, 3, n_features, dtype)
    squares = (patterns.astype(np.longdouble) ** 2).sum(axis=1)
    biased = np.concatenate([patterns, (-squares[:, np.newaxis] / 2).astype(dtype)], axis=1)
    longer = np.concatenate([queries, np.ones((3, 1), dtype)], axis=1)
    left = uhn.retrieve(patterns, queries, similarity="sqeuclidean", beta=beta / 2)
    right = uhn.retrieve(biased, longer, patterns, beta=beta)
    left_bound = retrieved(
        patterns, queries, None, similarity="sqeuclidean", beta=beta / 2
    ).bound
    # The bias is rounded once: one more u |m|^2 / 2 in each score.
    scores = bounds.scores(biased, longer)
    u = bounds.precision(dtype).u
    scores = scores._replace(bound=scores.bound + u * squares / 2)
    right_bound = bounds.retrieved(scores, patterns, "softmax", dtype, beta=beta).bound
    near(left, right, left_bound, right_bound)


@LAW
@given(seeds, counts, widths, dtypes)
def test_distances_of_bipolar_patterns(seed, n_patterns, n_features, dtype):
    """hamming = (D - m.q) / 2, |m - q|^2 = 4 hamming, |m - q|_1 = 2 hamming: exactly."""
    rng = np.random.default_rng(seed)
    patterns = rng.choice(np.array([-1, 1], dtype), (n_patterns, n_features))
    queries = rng.choice(np.array([-1, 1], dtype), (4, n_features))
    hamming = -uhn.similarity(patterns, queries, "hamming")
    assert np.array_equal(hamming, (n_features - uhn.similarity(patterns, queries, "dot")) / 2)
    assert np.array_equal(-uhn.similarity(patterns, queries, "sqeuclidean"), 4 * hamming)
    assert np.array_equal(-uhn.similarity(patterns, queries, "manhattan"), 2 * hamming)
    assert np.array_equal(-uhn.similarity(patterns, queries, "chebyshev"), 2.0 * (hamming > 0))


def rotation(rng: np.random.Generator, n: int) -> np.ndarray:
    """A random rotation, orthogonal to the last digits of long double: reflections."""
    matrix = np.eye(n, dtype=np.longdouble)
    for _ in range(min(n, 6)):
        v = rng.normal(size=n).astype(np.longdouble)
        matrix = matrix - 2 * np.outer(matrix @ v, v) / (v @ v)
    return matrix


@LAW
@given(
    seeds,
    counts,
    st.sampled_from([2, 3, 8, 17, 33]),
    st.sampled_from(["dot", "cosine", "euclidean"]),
)
def test_rotations_change_no_angle(seed, n_patterns, n_features, similarity):
    rng, patterns, queries = draw(seed, similarity, n_patterns, 3, n_features, np.float64)
    turn = rotation(rng, n_features)
    turned = [(x.astype(np.longdouble) @ turn).astype(np.float64) for x in (patterns, queries)]
    # Rounding the turned data moves each coordinate by u at most: a dot product by 2 u sum |m
    # q| and a distance by 2 u (|m| + |q|); a cosine by 4 u.
    plain = bounds.scores(patterns, queries, similarity)
    other = bounds.scores(*turned, similarity)
    norms = np.linalg.norm(turned[0], axis=1) + np.linalg.norm(turned[1], axis=1)[:, np.newaxis]
    moved = {"dot": 2 * U64 * norms**2, "euclidean": 2 * U64 * norms, "cosine": 8 * U64}[
        similarity
    ]
    left, right = (
        uhn.similarity(patterns, queries, similarity),
        uhn.similarity(*turned, similarity),
    )
    near(left, right, plain.bound, other.bound, moved)


@pytest.mark.parametrize("similarity", ["manhattan", "chebyshev"])
def test_rotations_do_change_other_distances(similarity: str) -> None:
    """A check of the check above: a quarter turn of (1, 0) to (1, 1) / sqrt 2 is seen."""
    half = math.sqrt(0.5)
    before = uhn.similarity([[1.0, 0.0]], [[0.0, 0.0]], similarity)[0, 0]
    after = uhn.similarity([[half, half]], [[0.0, 0.0]], similarity)[0, 0]
    assert abs(before - after) > 0.25


@LAW
@given(
    seeds,
    st.sampled_from([2, 3, 30, 129, 1030]),
    widths,
    dtypes,
    st.sampled_from([*cases.DISTANCES]),
)
def test_increasing_transforms_keep_the_winner(seed, n_patterns, n_features, dtype, similarity):
    """argmax(-d) = argmax(1 / (d + eps)) = argmax(exp(-g d^2)), but for rounded ties."""
    _, patterns, queries = draw(seed, similarity, n_patterns, 4, n_features, dtype)
    scores = uhn.similarity(patterns, queries, similarity)
    winner = uhn.Memory(patterns, similarity=similarity).nearest(queries)[0][:, 0]
    assert np.array_equal(winner, scores.argmax(axis=1))
    ordered = np.sort(scores, axis=1)
    # A transform rounds 4 times at most; far below the gap wherever the two best differ by this
    # much.
    gamma = 1 / (1 + float(np.abs(scores).max()) ** 2)
    clear = ordered[:, -1] - ordered[:, -2] > 1e-3 * np.abs(ordered[:, -2])
    for keywords in (
        {"transform": "inverse", "eps": 0.125},
        {"transform": "rbf", "gamma": gamma},
    ):
        memory = uhn.Memory(patterns, similarity=similarity, **keywords)
        other = memory.nearest(queries)[0][:, 0]
        assert np.array_equal(other[clear], winner[clear]), keywords


@LAW
@given(
    seeds,
    st.sampled_from([1, 3, 40, 130]),
    widths,
    dtypes,
    st.sampled_from(["normalized_dot", "cosine", *cases.DIVERGENCES]),
    st.integers(-8, 8),
    st.floats(0.1, 30),
)
def test_the_scale_of_a_query_does_not_matter(
    seed, n_patterns, n_features, dtype, similarity, exponent, factor
):
    """Not to divergences, normalised dot products and cosines: exactly so for powers of two."""
    _, patterns, queries = draw(seed, similarity, n_patterns, 3, n_features, dtype)
    plain = uhn.similarity(patterns, queries, similarity)
    exact = uhn.similarity(patterns, queries * dtype(2.0**exponent), similarity)
    assert np.array_equal(plain, exact)
    # Any other factor rounds each feature once. As the queries then differ, the bound is of the
    # rounded ones; a relative change u of each feature moves a score by at most what six more
    # roundings of them could, which the bound of the scores counts at least once.
    scaled = (queries * dtype(factor)).astype(dtype)
    bound = bounds.scores(patterns, queries, similarity)
    near(uhn.similarity(patterns, scaled, similarity), plain, 3 * bound.bound)
    if similarity != "cosine":
        near(
            uhn.similarity(patterns * dtype(factor), queries, similarity),
            plain,
            3 * bound.bound,
        )


@LAW
@given(seeds, st.sampled_from([1, 5, 130]), widths, dtypes, st.sampled_from([0.0, 1e-3, 0.5]))
def test_divergences_are_bounded(seed, n_patterns, n_features, dtype, eps):
    """KL >= 0, and 0 from a distribution to itself; 0 <= JS <= log 2, symmetric."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 4, (n_patterns, n_features)).astype(dtype)
    patterns[:, 0] += 1
    queries = rng.integers(0, 4, (3, n_features)).astype(dtype)
    queries[:, -1] += 1
    for name in cases.DIVERGENCES:
        scores = uhn.similarity(patterns, queries, name, eps=eps)
        assert (scores <= 0).all()
        itself = uhn.similarity(patterns, patterns, name, eps=eps)
        assert (np.diag(itself) == 0).all()
    # The largest float below log 2 and the error of a sum.
    exact = bounds.scores(patterns, queries, "jensen_shannon", eps=eps)
    near(np.minimum(scores, -math.log(2)), -math.log(2), exact.bound + 2.0**-52)
    back = uhn.similarity(queries, patterns, "jensen_shannon", eps=eps)
    near(scores, back.T, exact.bound, exact.bound)


@LAW
@given(seeds, st.sampled_from([1, 5, 130]), widths, dtypes)
def test_reverse_divergence_is_divergence_with_the_sides_changed(
    seed, n_patterns, n_features, dtype
):
    _, patterns, queries = draw(seed, "kl", n_patterns, 4, n_features, dtype)
    forward = uhn.similarity(patterns, queries, "kl")
    backward = uhn.similarity(queries, patterns, "reverse_kl")
    bound = bounds.scores(patterns, queries, "kl").bound
    near(forward, backward.T, bound, bounds.scores(queries, patterns, "reverse_kl").bound.T)


@LAW
@given(seeds, counts, widths, dtypes)
def test_cosines_are_at_most_one(seed, n_patterns, n_features, dtype):
    _, patterns, _ = draw(seed, "dot", n_patterns, 1, n_features, dtype)
    queries = patterns[:5]
    scores = uhn.similarity(patterns, queries, "cosine")
    bound = bounds.scores(patterns, queries, "cosine").bound
    assert (np.abs(scores) <= 1 + bound).all()
    own = np.arange(len(queries))
    near(scores[own, own], 1, bound[own, own])


@LAW
@given(seeds, st.sampled_from([2, 30, 129]), widths, dtypes, st.sampled_from(cases.DISTANCES))
def test_distances_are_metrics(seed, n_patterns, n_features, dtype, similarity):
    """0 for the same row, symmetric bit for bit, and (but for squares) never longer by a
    detour.
    """
    _, patterns, _ = draw(seed, similarity, n_patterns, 1, n_features, dtype)
    d = -uhn.similarity(patterns, patterns, similarity)
    assert (np.diag(d) == 0).all()
    assert np.array_equal(d, d.T)
    if similarity != "sqeuclidean":
        bound = bounds.scores(patterns, patterns, similarity).bound
        detour = d[:, 0][:, np.newaxis].astype(np.longdouble) + d[0]
        allowed = bound + bound[:, 0][:, np.newaxis] + bound[0]
        assert (d <= detour + allowed).all()


# ------------------------------------------------------------------ the order and the number --


@LAW
@given(seeds, counts, dtypes, st.sampled_from(cases.SEPARATIONS))
def test_the_order_of_the_patterns_is_rounding(seed, n_patterns, dtype, separation):
    """Any order of storing gives the same answer to rounding; scores and choices do not even
    round.
    """
    rng, patterns, queries = draw(seed, "dot", n_patterns, 3, 11, dtype)
    similarity, keywords = "dot", {}
    if cases.needs_positive(separation):
        similarity, keywords = "manhattan", {"transform": "inverse", "eps": 1.0}
    exact = bounds.scores(patterns, queries, similarity, **keywords)
    chosen = cases.parameters(separation, exact.value)
    order = rng.permutation(n_patterns)
    values = rng.normal(size=(n_patterns, 4)).astype(dtype)
    equation = {"similarity": similarity, "separation": separation} | keywords | chosen
    one = uhn.Memory(patterns, values, **equation)
    two = uhn.Memory(patterns[order], values[order], **equation)
    assert np.array_equal(one.scores(queries)[:, order], two.scores(queries))
    bound = bounds.retrieved(exact, values, separation, dtype, **chosen).bound
    near(one.retrieve(queries), two.retrieve(queries), bound, bound)


@LAW
@given(seeds, counts, dtypes, st.sampled_from(cases.WITH_PRIOR), st.booleans())
def test_a_prior_of_two_is_storing_twice(seed, n_patterns, dtype, separation, shared):
    """In the sum of the scores too, where scores are divided by it."""
    rng, patterns, queries = draw(seed, "dot", n_patterns, 3, 7, dtype)
    similarity, keywords = "dot", {}
    if shared or cases.needs_positive(separation):
        similarity, keywords = "manhattan", {"transform": "inverse", "eps": 1.0}
    values = rng.normal(size=(n_patterns, 3)).astype(dtype)
    prior = rng.integers(1, 3, n_patterns).astype(dtype)
    exact = bounds.scores(patterns, queries, similarity, **keywords)
    equation = {"similarity": similarity, "separation": separation} | keywords
    repeat = np.repeat(np.arange(n_patterns), prior.astype(int))
    seen = exact.value
    if shared:
        seen = seen / seen[:, repeat].sum(axis=1, keepdims=True)
    chosen = cases.parameters(separation, seen)
    if shared:
        chosen["normalize_scores"] = True
        # The scores are rounded once more on the way to a threshold.
        wide = exact._replace(value=seen, bound=np.abs(seen) * 1e-3)
        assume(bounds.decided(wide, separation, theta=chosen.get("theta", 0)).all())
    weighed = uhn.Memory(patterns, values, prior=prior, **equation, **chosen).retrieve(queries)
    repeated = uhn.retrieve(patterns[repeat], queries, values[repeat], **equation, **chosen)
    more = bounds.scores(patterns[repeat], queries, similarity, **keywords)
    near(
        weighed,
        repeated,
        bounds.retrieved(exact, values, separation, dtype, prior=prior, **chosen).bound,
        bounds.retrieved(more, values[repeat], separation, dtype, **chosen).bound,
    )


@LAW
@given(seeds, counts, dtypes, st.sampled_from([0.5, 2.0, 1024.0]))
def test_a_common_prior_does_not_matter(seed, n_patterns, dtype, common):
    """Softmax divides it out; so do normalised weights. A power of two does not even round."""
    _rng, patterns, queries = draw(seed, "dot", n_patterns, 3, 7, dtype)
    prior = np.full(n_patterns, common, dtype)
    equation = {"separation": "identity", "normalize": "sum"}
    z = uhn.Memory(patterns, prior=prior, **equation).retrieve(queries)
    assert np.array_equal(z, uhn.retrieve(patterns, queries, **equation))
    exact = retrieved(patterns, queries, None)
    more = retrieved(patterns, queries, None, prior=prior)
    z = uhn.Memory(patterns, prior=prior).retrieve(queries)
    near(z, uhn.retrieve(patterns, queries), exact.bound, more.bound)


# ------------------------------------------------------------------------------- separations --


@LAW
@given(seeds, counts, dtypes, betas, st.floats(-50, 50))
def test_a_common_shift_does_not_change_softmax(seed, n_patterns, dtype, beta, shift):
    """Nor sparsemax, nor entmax: all see differences of scores alone."""
    rng = np.random.default_rng(seed)
    scores = (rng.integers(-64, 65, (3, n_patterns)) / 16).astype(dtype)
    shift = round(shift)  # scores and shift are multiples of 1/16: the sum is exact
    moved = scores + dtype(shift)
    zero = np.zeros(scores.shape, np.longdouble)
    for separation in ("softmax", "sparsemax", "entmax", "topk_softmax"):
        keywords = {"beta": beta} | ({"k": 5} if separation == "topk_softmax" else {})
        left = uhn.separate(scores, separation, **keywords)
        right = uhn.separate(moved, separation, **keywords)
        a = bounds.weights(bounds.Bounded(scores + zero, zero), separation, dtype, **keywords)
        b = bounds.weights(bounds.Bounded(moved + zero, zero), separation, dtype, **keywords)
        near(left, right, a.bound, b.bound)


SIMPLEX = ["softmax", "topk", "topk_softmax", "max", "sparsemax", "entmax"]


@LAW
@given(seeds, counts, dtypes, betas, st.sampled_from(SIMPLEX))
def test_weights_lie_on_the_simplex(seed, n_patterns, dtype, beta, separation):
    """Not negative, and their sum is 1 to the rounding of the sum and of each quotient."""
    scores = np.random.default_rng(seed).normal(size=(4, n_patterns)).astype(dtype) * 5
    keywords: dict = {} if separation in ("topk", "max") else {"beta": beta}
    if separation.startswith("topk"):
        keywords["k"] = 9
    w = uhn.separate(scores, separation, **keywords)
    assert (w >= 0).all()
    u = bounds.precision(dtype).u
    allowed = 2 * bounds.gamma(bounds.sum_roundings(n_patterns), u) + 4 * u
    near(w.astype(np.longdouble).sum(axis=1), 1, allowed)


@LAW
@given(seeds, counts, dtypes, betas)
def test_softmax1_leaves_room_for_nothing(seed, n_patterns, dtype, beta):
    """Its weights sum to less than 1: what is missing is the weight of one more score of 0."""
    scores = np.random.default_rng(seed).normal(size=(4, n_patterns)).astype(dtype)
    w = uhn.separate(scores, "softmax1", beta=beta)
    more = np.concatenate([scores, np.zeros((4, 1), dtype)], axis=1)
    with_zero = uhn.separate(more, beta=beta)
    zero = np.zeros(more.shape, np.longdouble)
    a = bounds.weights(bounds.Bounded(more + zero, zero), "softmax", dtype, beta=beta)
    b = bounds.weights(
        bounds.Bounded((scores + zero[:, :-1]), zero[:, :-1]), "softmax1", dtype, beta=beta
    )
    near(w, with_zero[:, :-1], a.bound[:, :-1], b.bound)


def test_softmax1_limits() -> None:
    """Far above 0 it is softmax; far below it answers nothing."""
    scores = np.random.default_rng(3).normal(size=(4, 50))
    high = uhn.separate(scores + 100, "softmax1")
    near(high, uhn.separate(scores + 100), 2 * math.exp(-95) + 200 * 16 * U64)
    assert (uhn.separate(scores - 1000, "softmax1") == 0).all()
    low = uhn.separate(scores - 30, "softmax1")
    # 1 + sum exp is 1 to 50 exp(-25); t of up to 35 log2(e) is rounded twice.
    np.testing.assert_allclose(low, np.exp(scores - 30), rtol=50 * math.exp(-25) + 120 * U64)


@LAW
@given(seeds, st.sampled_from([1, 2, 9, 130]), st.sampled_from([1e-5, 1e-7]))
def test_entmax_has_the_right_limits(seed, n_patterns, step):
    """alpha -> 1 is softmax, alpha -> 2 sparsemax; alpha = 1 and 2 are they."""
    scores = np.random.default_rng(seed).normal(size=(3, n_patterns))
    assert np.array_equal(uhn.separate(scores, "entmax", alpha=1), uhn.separate(scores))
    near_one = uhn.separate(scores, "entmax", alpha=1 + step)
    # d w / d alpha is w times half the spread of log(w)^2, which is below 200 for these scores.
    np.testing.assert_allclose(
        near_one, uhn.separate(scores), rtol=0, atol=100 * step + U64 / step * 64
    )
    sparse = uhn.separate(scores, "sparsemax")
    zero = np.zeros(scores.shape, np.longdouble)
    bound = bounds.weights(bounds.Bounded(scores + zero, zero), "sparsemax", np.float64).bound
    near(uhn.separate(scores, "entmax", alpha=2), sparse, bound, bound)
    # Near 2 a weight g^(1/(alpha-1)) moves by step |g log g| and the scores by step |s|.
    np.testing.assert_allclose(
        uhn.separate(scores, "entmax", alpha=2 + step), sparse, rtol=0, atol=20 * step
    )


@LAW
@given(seeds, counts, dtypes)
def test_topk_of_all_is_the_mean(seed, n_patterns, dtype):
    rng, patterns, queries = draw(seed, "dot", n_patterns, 2, 5, dtype)
    values = rng.integers(-100, 101, (n_patterns, 3)).astype(dtype)
    for k in (n_patterns, n_patterns + 7):
        z = uhn.retrieve(patterns, queries, values, separation="topk", k=k)
        # The sum of integers is exact; what is left is one quotient, or a product with 1/k.
        u = bounds.precision(dtype).u
        mean = values.astype(np.longdouble).mean(axis=0)
        magnitude = np.abs(values.astype(np.longdouble)).mean(axis=0)
        near(
            z,
            np.tile(mean, (2, 1)),
            bounds.gamma(bounds.sum_roundings(n_patterns), u) * magnitude + u,
        )


@LAW
@given(seeds, counts, dtypes, betas)
def test_topk_softmax_of_all_is_softmax(seed, n_patterns, dtype, beta):
    _rng, patterns, queries = draw(seed, "dot", n_patterns, 3, 6, dtype)
    left = uhn.retrieve(patterns, queries, separation="topk_softmax", k=n_patterns, beta=beta)
    right = uhn.retrieve(patterns, queries, beta=beta)
    bound = retrieved(patterns, queries, None, beta=beta).bound
    near(left, right, bound, bound)
    # With k = 1 there is nothing to share.
    one = uhn.retrieve(patterns, queries, separation="topk_softmax", k=1, beta=beta)
    assert np.array_equal(one, uhn.retrieve(patterns, queries, separation="max"))


@LAW
@given(seeds, counts, dtypes, betas)
def test_a_normalised_exponential_is_softmax(seed, n_patterns, dtype, beta):
    _, patterns, queries = draw(seed, "dot", n_patterns, 3, 6, dtype)
    left = uhn.retrieve(patterns, queries, separation="exponential", normalize="sum", beta=beta)
    right = uhn.retrieve(patterns, queries, beta=beta)
    bound = retrieved(patterns, queries, None, beta=beta).bound
    near(left, right, bound, bound)


@LAW
@given(seeds, counts, dtypes)
def test_polynomials_of_degree_one_and_two(seed, n_patterns, dtype):
    """Degree 1 is the identity; rectified and plain squares agree on scores that are not
    negative.
    """
    scores = np.random.default_rng(seed).integers(-9, 10, (3, n_patterns)).astype(dtype)
    assert np.array_equal(uhn.separate(scores, "polynomial", degree=1), scores)
    assert np.array_equal(uhn.separate(scores, "polynomial", degree=2), scores**2)
    assert np.array_equal(uhn.separate(scores, "polynomial", degree=3), scores**3)
    rectified = uhn.separate(scores, "rectified_polynomial", degree=3)
    assert np.array_equal(rectified, np.maximum(scores, 0) ** 3)
    even = uhn.separate(np.abs(scores), "rectified_polynomial", degree=2)
    assert np.array_equal(even, scores**2)
    # A degree that is no integer goes through another power: sqrt is degree 1/2.
    half = uhn.separate(np.abs(scores), "rectified_polynomial", degree=0.5)
    u = bounds.precision(dtype).u
    near(half, uhn.separate(np.abs(scores), "sqrt"), 8 * u * np.sqrt(np.abs(scores)))


@LAW
@given(seeds, counts, dtypes)
def test_beta_to_infinity_is_max(seed, n_patterns, dtype):
    """Softmax of integer scores with one best: all weight on it once exp(-beta) is below the
    cut-off.
    """
    rng = np.random.default_rng(seed)
    scores = rng.integers(-5, 6, (3, n_patterns)).astype(dtype)
    scores[:, rng.integers(n_patterns)] = 7
    assert np.array_equal(uhn.separate(scores, beta=200.0), uhn.separate(scores, "max"))


@LAW
@given(seeds, st.integers(2, 40), dtypes)
def test_ties_share_under_softmax_and_not_under_max(seed, n_patterns, dtype):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, (1, n_patterns)).astype(dtype)
    best = np.flatnonzero(scores[0] == scores[0].max())
    assume(len(best) > 1)
    w = uhn.separate(scores, beta=200.0)[0]
    assert np.flatnonzero(w).tolist() == best.tolist()
    assert len(set(w[best].tolist())) == 1
    assert np.flatnonzero(uhn.separate(scores, "max")[0]).tolist() == [best[0]]


@LAW
@given(seeds, counts, dtypes, st.floats(-3, 3))
def test_threshold_counts(seed, n_patterns, dtype, theta):
    """The weights are the indicator itself, inclusive, and their sum divides where it is asked
    to.
    """
    scores = (np.random.default_rng(seed).integers(-12, 13, (3, n_patterns)) / 4).astype(dtype)
    theta = round(theta * 4) / 4
    active = scores >= theta
    assert np.array_equal(uhn.separate(scores, "threshold", theta=theta), active)
    shared = uhn.separate(scores, "threshold", theta=theta, normalize="sum")
    expected = active / np.maximum(active.sum(axis=1, keepdims=True), 1)
    assert np.array_equal(shared, expected.astype(dtype))


@LAW
@given(seeds, st.sampled_from([2, 9, 130, 1100]), dtypes, st.floats(1.0, 1000.0))
def test_beta_cancels_where_scores_are_normalised(seed, n_patterns, dtype, factor):
    """Scores divided by their sum do not know their scale: a common factor of the queries is
    lost.
    """
    _, patterns, queries = draw(seed, "kl", n_patterns, 3, 9, dtype)
    factor = 2.0 ** round(math.log2(factor))
    memory = uhn.Memory(patterns, beta=3.0, normalize_scores=True)
    assert np.array_equal(memory.retrieve(queries), memory.retrieve(queries * dtype(factor)))


# ----------------------------------------------------------------------- several ways to ask --


@LAW
@given(seeds, counts, widths, dtypes, st.sampled_from(cases.SEPARATIONS), st.booleans())
def test_weights_times_values_are_what_is_retrieved(
    seed, n_patterns, n_features, dtype, separation, hetero
):
    rng, patterns, queries = draw(seed, "kl", n_patterns, 3, n_features, dtype)
    values = rng.normal(size=(n_patterns, 6)).astype(dtype) if hetero else None
    exact = bounds.scores(patterns, queries)
    keywords = cases.parameters(separation, exact.value)
    memory = uhn.Memory(patterns, values, separation=separation, **keywords)
    projected = (patterns if values is None else values).astype(np.longdouble)
    w = memory.weights(queries)
    # Both ways start from the same scores: bound them as if given.
    scores = memory.scores(queries).astype(bounds.precision(dtype).wide)
    given_ = bounds.Bounded(scores, np.zeros_like(scores))
    z = bounds.retrieved(given_, projected, separation, dtype, **keywords)
    a = bounds.weights(given_, separation, dtype, **keywords)
    near(
        w.astype(np.longdouble) @ projected,
        memory.retrieve(queries),
        z.bound,
        a.bound @ np.abs(projected),
    )


@LAW
@given(seeds, counts, widths, dtypes, st.sampled_from(cases.SIMILARITIES))
def test_nearest_is_the_sorted_scores(seed, n_patterns, n_features, dtype, similarity):
    """Indices and scores of the stable sort, ties to the lowest index, for every k."""
    _, patterns, queries = draw(seed, similarity, n_patterns, 3, n_features, dtype)
    memory = uhn.Memory(patterns, similarity=similarity)
    scores = memory.scores(queries)
    order = np.argsort(-scores, axis=1, kind="stable")
    for k in {1, min(5, n_patterns), n_patterns}:
        indices, best = memory.nearest(queries, k)
        assert indices.dtype == np.int64
        assert indices.shape == (3, k)
        assert np.array_equal(indices, order[:, :k])
        assert np.array_equal(best, np.take_along_axis(scores, indices, axis=1))
    winner = uhn.retrieve(patterns, queries, similarity=similarity, separation="max")
    assert np.array_equal(winner, patterns[order[:, 0]])


@LAW
@given(seeds, counts, widths, dtypes, st.sampled_from(cases.SIMILARITIES))
def test_functions_are_the_methods(seed, n_patterns, n_features, dtype, similarity):
    """uhn.similarity, uhn.separate and uhn.retrieve are scores, weights and retrieve of a
    Memory.
    """
    _, patterns, queries = draw(seed, similarity, n_patterns, 3, n_features, dtype)
    memory = uhn.Memory(patterns, similarity=similarity, beta=0.5)
    scores = memory.scores(queries)
    assert np.array_equal(scores, uhn.similarity(patterns, queries, similarity))
    z = memory.retrieve(queries)
    assert np.array_equal(z, uhn.retrieve(patterns, queries, similarity=similarity, beta=0.5))
    # Weights of the scores as returned, in float32 too, are those of the scores inside.
    assert np.array_equal(memory.weights(queries), uhn.separate(scores, beta=0.5))
    assert np.array_equal(memory.scores(queries[0]), scores[0])
    assert np.array_equal(memory.retrieve(queries[0]), z[0])


CALLABLES = {
    "dot": lambda m, q: q @ m.T,
    "euclidean": lambda m, q: -np.sqrt(((q[:, None] - m[None]) ** 2).sum(axis=2)),
    "sqeuclidean": lambda m, q: -((q[:, None] - m[None]) ** 2).sum(axis=2),
    "manhattan": lambda m, q: -np.abs(q[:, None] - m[None]).sum(axis=2),
    "chebyshev": lambda m, q: -np.abs(q[:, None] - m[None]).max(axis=2),
    "hamming": lambda m, q: -(q[:, None] != m[None]).sum(axis=2).astype(q.dtype),
}


@settings(LAW, max_examples=15)
@given(
    seeds,
    st.sampled_from([1, 17, 129, 1100]),
    widths,
    dtypes,
    st.sampled_from(sorted(CALLABLES)),
)
def test_a_callable_similarity_is_the_row_it_copies(
    seed, n_patterns, n_features, dtype, similarity
):
    rng, patterns, queries = draw(seed, similarity, n_patterns, 5, n_features, dtype)
    values = rng.normal(size=(n_patterns, 3)).astype(dtype)
    theirs = uhn.Memory(patterns, values, similarity=CALLABLES[similarity], beta=0.5)
    ours = uhn.Memory(patterns, values, similarity=similarity, beta=0.5)
    exact = bounds.scores(patterns, queries, similarity)
    near(theirs.scores(queries), ours.scores(queries), exact.bound, exact.bound)
    z = bounds.retrieved(exact, values, "softmax", dtype, beta=0.5)
    near(theirs.retrieve(queries), ours.retrieve(queries), z.bound, z.bound)


@settings(LAW, max_examples=15)
@given(seeds, st.sampled_from([1, 17, 129, 1100]), dtypes)
def test_a_callable_separation_is_the_row_it_copies(seed, n_patterns, dtype):
    rng, patterns, queries = draw(seed, "kl", n_patterns, 5, 9, dtype)
    values = rng.normal(size=(n_patterns, 3)).astype(dtype)
    exact = bounds.scores(patterns, queries)
    for name, function, keywords in [
        ("identity", lambda s: s, {}),
        ("polynomial", lambda s: s**2, {"degree": 2}),
        ("sqrt", np.sqrt, {}),
        ("log1p", np.log1p, {}),
    ]:
        theirs = uhn.Memory(patterns, values, separation=function)
        ours = uhn.Memory(patterns, values, separation=name, **keywords)
        z = bounds.retrieved(exact, values, name, dtype, **keywords)
        w = bounds.weights(exact, name, dtype, **keywords)
        near(theirs.retrieve(queries), ours.retrieve(queries), z.bound, z.bound)
        near(theirs.weights(queries), ours.weights(queries), w.bound, w.bound)


@LAW
@given(seeds, st.sampled_from([1, 3, 65]), st.sampled_from([1, 9, 130, 1100]), dtypes)
def test_attention_is_retrieval_from_keys(seed, n_queries, n_keys, dtype):
    """One head, beta = 1 / sqrt(E): a heteroassociative memory of keys and values."""
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(n_queries, 16)).astype(dtype)
    k = rng.normal(size=(n_keys, 16)).astype(dtype)
    v = rng.normal(size=(n_keys, 7)).astype(dtype)
    assert np.array_equal(uhn.attention(q, k, v), uhn.retrieve(k, q, v, beta=0.25))
