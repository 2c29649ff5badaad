"""The twin itself: golden vectors, closed forms, SciPy and the entmax package.

Nothing here touches the compiled library. What the twin says is compared with numbers that
other people's code, or pencil and paper, arrived at.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
import scipy.stats

import reference
from golden import (
    ENTMAX,
    KL_2,
    PATTERNS,
    QUERY,
    RAW,
    SEPARATED,
    SEPARATED_RAW,
    SEPARATED_RAW_Z,
)

TABLES = Path(__file__).resolve().parent.parent / "csrc"
# Three or four terms below 1 in magnitude, a handful of operations each, for results above
# 0.05.
TIGHT = {"rtol": 1e-14, "atol": 0}
# Two computations of a sum of 37 non-negative terms with three operations each: each side is
# off by at most gamma_40 of it.
RTOL = 2 * 40 * 2.0**-53


def rows_of(table: str) -> list[str]:
    """The names of a .def table, in its order."""
    text = (TABLES / table).read_text()
    text = text[text.index("*/") :]
    return re.findall(r"^UHN_[A-Z]+\((\w+),", text, flags=re.MULTILINE)


def test_every_row_of_the_tables_has_an_oracle() -> None:
    assert rows_of("similarity.def") == list(reference.SIMILARITIES)
    assert rows_of("separation.def") == list(reference.SEPARATIONS)
    assert len(reference.SIMILARITIES) == 11
    assert len(reference.SEPARATIONS) == 14


def test_what_the_twin_says_of_a_row_is_what_the_table_says() -> None:
    text = (TABLES / "similarity.def").read_text()
    for name in reference.SIMILARITIES:
        fields = re.search(rf"^UHN_SIMILARITY\({name}, (.*)", text, flags=re.MULTILINE)
        assert fields, name
        _, _, distance, non_negative = [f.strip() for f in fields[1].split(",")][:4]
        assert (distance == "true") == (name in reference.DISTANCES), name
        assert (non_negative == "true") == (name in reference.NON_NEGATIVE), name


def test_every_oracle_says_its_formula() -> None:
    for row in (*reference.SIMILARITIES.values(), *reference.SEPARATIONS.values()):
        assert row.__doc__
        assert len(row.__doc__) > 2
    for row in reference.TRANSFORMS.values():
        assert row.__doc__


# ---------------------------------------------------------------------------- golden vectors --


@pytest.mark.parametrize("name", RAW)
def test_similarity_golden(name: str) -> None:
    """Ten digits of every similarity of the 3 x 4 golden memory."""
    raw = reference.SIMILARITIES[name](PATTERNS, QUERY, 0)
    # The golden numbers are rounded to their last printed digit, the tenth after the point.
    np.testing.assert_allclose(raw, RAW[name], rtol=0, atol=0.5000001e-10)


def test_bipolar_golden() -> None:
    patterns = np.array([[1, -1, -1, 1], [-1, 1, -1, -1]])
    query = np.array([1, -1, -1, 1])
    assert reference.similarity(patterns, [query])[0].tolist() == [4, -2]
    assert reference.similarity(patterns, [query], "hamming")[0].tolist() == [0, -3]


def test_divergence_golden() -> None:
    p, r, forward, backward, js = KL_2
    np.testing.assert_allclose(reference.similarity([p], [r], "kl"), [[-forward]], **TIGHT)
    np.testing.assert_allclose(
        reference.similarity([p], [r], "reverse_kl"), [[-backward]], **TIGHT
    )
    np.testing.assert_allclose(
        reference.similarity([p], [r], "jensen_shannon"), [[-js]], **TIGHT
    )


@pytest.mark.parametrize("case", SEPARATED, ids=lambda case: case[0])
def test_separation_golden(case) -> None:
    """Weights of the sum-normalised scores, sum-normalised again where they are no simplex."""
    _, separation, parameters, expected = case
    scores = reference.similarity(PATTERNS, [QUERY])
    if separation not in ("softmax",):
        parameters = parameters | {"normalize": "sum"}
    w = reference.separate(scores, separation, normalize_scores=True, **parameters)[0]
    np.testing.assert_allclose(w, expected, rtol=0, atol=0.5000001e-10)


@pytest.mark.parametrize("case", SEPARATED_RAW, ids=lambda case: case[0])
def test_softmax_golden(case) -> None:
    similarity, beta, expected = case
    w = reference.weights(PATTERNS, [QUERY], similarity=similarity, beta=beta)[0]
    np.testing.assert_allclose(w, expected, rtol=0, atol=0.5000001e-10)


def test_retrieval_golden() -> None:
    z = reference.retrieve(PATTERNS, [QUERY], beta=10)[0]
    np.testing.assert_allclose(z, SEPARATED_RAW_Z, rtol=0, atol=0.5000001e-10)


@pytest.mark.parametrize(("z", "alpha", "expected"), ENTMAX)
def test_entmax_golden(z, alpha, expected) -> None:
    w = reference.separate([z], "entmax", alpha=alpha)[0]
    np.testing.assert_allclose(w, expected, rtol=0, atol=0.5000001e-10)
    if alpha == 2:
        w = reference.separate([z], "sparsemax")[0]
        np.testing.assert_allclose(w, expected, rtol=0, atol=0.5000001e-10)


# ------------------------------------------------------------------------------------- SciPy --


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    return rng.random((23, 37)), rng.random((5, 37))


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("euclidean", "euclidean"),
        ("sqeuclidean", "sqeuclidean"),
        ("manhattan", "cityblock"),
        ("chebyshev", "chebyshev"),
    ],
)
def test_distances_against_scipy(data, name, metric) -> None:
    patterns, queries = data
    expected = -scipy.spatial.distance.cdist(queries, patterns, metric)
    np.testing.assert_allclose(
        reference.similarity(patterns, queries, name), expected, rtol=RTOL
    )


def test_hamming_against_scipy() -> None:
    rng = np.random.default_rng(2)
    patterns, queries = rng.integers(0, 3, (23, 37)), rng.integers(0, 3, (5, 37))
    expected = -37 * scipy.spatial.distance.cdist(queries, patterns, "hamming")
    assert np.array_equal(reference.similarity(patterns, queries, "hamming"), np.rint(expected))


def test_cosine_against_scipy(data) -> None:
    patterns, queries = data
    expected = 1 - scipy.spatial.distance.cdist(queries, patterns, "cosine")
    # SciPy subtracts the cosine from 1, which adds the rounding of a number below 1.
    np.testing.assert_allclose(
        reference.similarity(patterns, queries, "cosine"), expected, rtol=RTOL, atol=2.0**-53
    )


def test_divergences_against_scipy(data) -> None:
    patterns, queries = data
    kl = [[scipy.stats.entropy(m, q) for m in patterns] for q in queries]
    reverse = [[scipy.stats.entropy(q, m) for m in patterns] for q in queries]
    # SciPy gives the square root of the divergence.
    js = scipy.spatial.distance.cdist(queries, patterns, "jensenshannon") ** 2
    # The terms p log(p / r) have both signs: the error is relative to their magnitudes, which
    # are at most sum p |log p| + sum p |log r|, below 2 log(37) + 5 for these data (r > e^-5 /
    # 37).
    close = {"rtol": 0, "atol": 13 * RTOL}
    np.testing.assert_allclose(
        reference.similarity(patterns, queries, "kl"), -np.array(kl), **close
    )
    np.testing.assert_allclose(
        reference.similarity(patterns, queries, "reverse_kl"), -np.array(reverse), **close
    )
    np.testing.assert_allclose(
        reference.similarity(patterns, queries, "jensen_shannon"), -js, **close
    )


def test_softmax_against_scipy() -> None:
    scores = np.random.default_rng(3).normal(size=(7, 50)) * 10
    # An exponent of up to 100 rounded in both is 100 u on each side; then sums of 50 numbers.
    close = {"rtol": 2 * (100 + 50) * 2.0**-53, "atol": 0}
    np.testing.assert_allclose(
        reference.separate(scores, beta=2.5),
        scipy.special.softmax(2.5 * scores, axis=1),
        **close,
    )
    with_zero = np.concatenate([2.5 * scores, np.zeros((7, 1))], axis=1)
    expected = np.exp(2.5 * scores - scipy.special.logsumexp(with_zero, axis=1, keepdims=True))
    np.testing.assert_allclose(
        reference.separate(scores, "softmax1", beta=2.5), expected, **close
    )


# -------------------------------------------------------------------------------- the entmax --


def entmax_package():
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: its oracle is skipped"
    )
    package = pytest.importorskip(
        "entmax", reason="entmax is not installed: its oracle is skipped"
    )
    return torch, package


def test_sparsemax_against_the_entmax_package() -> None:
    torch, package = entmax_package()
    scores = np.random.default_rng(4).normal(size=(40, 30))
    expected = package.sparsemax(torch.from_numpy(scores), dim=1).numpy()
    np.testing.assert_allclose(reference.separate(scores, "sparsemax"), expected, atol=1e-14)
    assert (expected == 0).any()


def test_entmax15_against_the_entmax_package() -> None:
    torch, package = entmax_package()
    scores = np.random.default_rng(5).normal(size=(40, 30))
    expected = package.entmax15(torch.from_numpy(scores), dim=1).numpy()
    np.testing.assert_allclose(
        reference.separate(scores, "entmax", alpha=1.5), expected, atol=1e-13
    )


@pytest.mark.parametrize("alpha", [1.1, 1.25, 1.75, 2.5, 3.0])
def test_entmax_against_the_entmax_package(alpha: float) -> None:
    torch, package = entmax_package()
    scores = np.random.default_rng(6).normal(size=(40, 30))
    expected = package.entmax_bisect(torch.from_numpy(scores), alpha, dim=1, n_iter=100).numpy()
    # tau is good to 2^-52 or so of its bracket; the power 1 / (alpha - 1) makes more of it, or
    # less: with alpha = 3 a weight is a square root, whose error near 0 is that of tau to the
    # power 1/2.
    power = 1 / (alpha - 1)
    atol = max(power, 1) * 40 * 2.0**-50 if power >= 1 else (4 * 2.0**-50) ** power
    np.testing.assert_allclose(
        reference.separate(scores, "entmax", alpha=alpha), expected, rtol=0, atol=atol
    )


# ------------------------------------------------------------------------------ closed forms --


def test_two_scores_of_softmax_are_a_logistic() -> None:
    for gap in (0.0, 0.3, 5.0, 700.0):
        w = reference.separate([[gap, 0.0]])[0]
        np.testing.assert_allclose(w[0], scipy.special.expit(gap), rtol=1e-15)
        np.testing.assert_allclose(w[1], scipy.special.expit(-gap), rtol=1e-15)


def test_softmax1_of_one_score_is_a_logistic() -> None:
    for score in (-800.0, -3.0, 0.0, 2.0, 800.0):
        w = reference.separate([[score]], "softmax1")[0, 0]
        np.testing.assert_allclose(w, scipy.special.expit(score), rtol=1e-15)


def test_two_scores_of_sparsemax() -> None:
    """With a gap g the weights are (1 + g) / 2 and (1 - g) / 2 up to g = 1, and 1 and 0 from
    there.
    """
    for gap in (0.0, 0.25, 0.999, 1.0, 3.0):
        w = reference.separate([[0.0, gap]], "sparsemax")[0]
        expected = [max(1 - gap, 0) / 2, min(1 + gap, 2) / 2]
        np.testing.assert_allclose(w, expected, rtol=0, atol=2.0**-53)


def test_two_scores_of_entmax15() -> None:
    """alpha = 1.5: roots r_i = z_i / 2 - tau with r_1^2 + r_2^2 = 1 and r_2 - r_1 = g / 2."""
    for gap in (0.0, 0.5, 1.9):
        r = (math.sqrt(2 - gap**2 / 4) - gap / 2) / 2
        w = reference.separate([[0.0, gap]], "entmax")[0]
        np.testing.assert_allclose(w, [r**2, (r + gap / 2) ** 2], rtol=0, atol=1e-15)
    assert reference.separate([[0.0, 2.0]], "entmax")[0].tolist() == [0, 1]


@pytest.mark.parametrize(
    "separation", ["softmax", "sparsemax", "entmax", "topk", "topk_softmax"]
)
def test_equal_scores_share_the_weight(separation: str) -> None:
    parameters = {"k": 8} if separation.startswith("topk") else {}
    w = reference.separate(np.full((1, 8), 3.25), separation, **parameters)
    np.testing.assert_allclose(w, np.full((1, 8), 0.125), rtol=2.0**-52)


def test_entmax_limits() -> None:
    scores = np.random.default_rng(7).normal(size=(5, 12))
    # The derivative with respect to alpha is bounded, so a step of 1e-6 moves a weight by a few
    # 1e-6.
    near = reference.separate(scores, "entmax", alpha=1 + 1e-6)
    np.testing.assert_allclose(near, reference.separate(scores), atol=1e-5)
    near = reference.separate(scores, "entmax", alpha=2 + 1e-6)
    np.testing.assert_allclose(near, reference.separate(scores, "sparsemax"), atol=1e-5)


@pytest.mark.parametrize(
    "separation", [s for s in reference.SEPARATIONS if s not in ("max", "topk", "topk_softmax")]
)
def test_prior_two_is_storing_twice(separation: str) -> None:
    scores = np.random.default_rng(8).random((4, 9))
    twice = np.concatenate([scores, scores[:, 2:3]], axis=1)
    parameters = {"theta": 0.3} if separation == "threshold" else {}
    prior = np.ones(9)
    prior[2] = 2
    w = reference.separate(scores, separation, prior=prior, **parameters)
    expected = reference.separate(twice, separation, **parameters)
    folded = expected[:, :9].copy()
    folded[:, 2] += expected[:, 9]
    np.testing.assert_allclose(w, folded, rtol=0, atol=1e-15)


def test_pick_the_best() -> None:
    scores = [[1.0, 3.0, 2.0, 3.0]]
    assert reference.separate(scores, "max").tolist() == [[0, 1, 0, 0]]
    assert reference.separate(scores, "topk", k=2).tolist() == [[0, 0.5, 0, 0.5]]
    assert reference.separate(scores, "topk", k=9).tolist() == [[0.25] * 4]
    w = reference.separate(scores, "topk_softmax", k=3, beta=math.log(2))
    np.testing.assert_allclose(w, [[0, 0.4, 0.2, 0.4]], rtol=1e-15)
    indices, best = reference.nearest(np.array([[1.0], [3.0], [2.0], [3.0]]), [[1.0]], 3)
    assert indices.tolist() == [[1, 3, 2]]
    assert best.tolist() == [[3, 3, 2]]


def test_pointwise_rows() -> None:
    s = [[-2.0, 0.0, 4.0]]
    assert reference.separate(s, "identity").tolist() == s
    assert reference.separate(s, "polynomial", degree=3).tolist() == [[-8, 0, 64]]
    assert reference.separate(s, "rectified_polynomial", degree=3).tolist() == [[0, 0, 64]]
    assert reference.separate(s, "rectified_polynomial", degree=0.5).tolist() == [[0, 0, 2]]
    assert reference.separate(s, "threshold", theta=0).tolist() == [[0, 1, 1]]
    assert reference.separate([[0.0, 9.0]], "sqrt").tolist() == [[0, 3]]
    np.testing.assert_allclose(
        reference.separate([[0.0, math.e - 1]], "log1p"), [[0, 1]], rtol=1e-15
    )
    np.testing.assert_allclose(
        reference.separate([[0.0, 3.0]], "exponential", beta=math.log(2)), [[1, 8]], rtol=1e-15
    )
    w = reference.separate([[-1.0, 3.0]], "identity", normalize="sum")
    assert w.tolist() == [[-0.25, 0.75]]  # divided by the magnitudes: no sign changes
    assert reference.separate([[0.0, 0.0]], "identity", normalize="sum").tolist() == [[0, 0]]


def test_transforms() -> None:
    patterns, query = [[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0]]
    inverse = reference.similarity(patterns, query, "euclidean", transform="inverse")
    assert inverse.tolist() == [[np.inf, 0.2]]
    inverse = reference.similarity(patterns, query, "euclidean", transform="inverse", eps=3)
    np.testing.assert_allclose(inverse, [[1 / 3, 1 / 8]], rtol=1e-15)
    for name in ("euclidean", "sqeuclidean"):
        rbf = reference.similarity(patterns, query, name, transform="rbf", gamma=0.1)
        np.testing.assert_allclose(rbf, [[1, math.exp(-2.5)]], rtol=1e-15)
    rbf = reference.similarity(patterns, query, "manhattan", transform="rbf", gamma=0.1)
    np.testing.assert_allclose(rbf, [[1, math.exp(-4.9)]], rtol=1e-15)


def test_exact_matches_share_the_weight() -> None:
    scores = [[np.inf, 1.0, np.inf, 2.0]]
    for separation in ("softmax", "softmax1", "sparsemax", "entmax"):
        assert reference.separate(scores, separation).tolist() == [[0.5, 0, 0.5, 0]]
    for separation in ("identity", "polynomial", "sqrt", "log1p", "exponential"):
        w = reference.separate(scores, separation, normalize="sum")
        assert w.tolist() == [[0.5, 0, 0.5, 0]]
    assert reference.separate(scores, "max").tolist() == [[1, 0, 0, 0]]
    assert reference.separate(scores, "topk_softmax", k=1).tolist() == [[1, 0, 0, 0]]
    assert reference.separate(scores, "topk_softmax", k=3).tolist() == [[0.5, 0, 0.5, 0]]


def test_pseudo_count() -> None:
    """p = (3/4, 1/4, 0) with eps 1/4 becomes (4/7, 2/7, 1/7); a zero row becomes uniform."""
    p = reference.distributions(np.array([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0]]), 0.25)
    np.testing.assert_allclose(p, [[4 / 7, 2 / 7, 1 / 7], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-15)


def test_infinite_divergence() -> None:
    assert reference.similarity([[1.0, 1.0]], [[1.0, 0.0]], "kl")[0, 0] == -np.inf
    assert reference.similarity([[1.0, 0.0]], [[1.0, 1.0]], "kl")[0, 0] == -math.log(2)
    js = reference.similarity([[1.0, 0.0]], [[0.0, 1.0]], "jensen_shannon")[0, 0]
    np.testing.assert_allclose(js, -math.log(2), rtol=1e-15)


def test_cosine_of_the_smallest_and_the_largest_numbers() -> None:
    patterns = [[3e-320, 0.0], [1e300, 1e300], [0.0, 0.0]]
    w = reference.similarity(patterns, [[1e-300, 0.0]], "cosine")
    np.testing.assert_allclose(w, [[1, math.sqrt(0.5), 0]], rtol=1e-15)


def test_long_double_stays_long_double() -> None:
    patterns = np.ones((2, 3), np.longdouble) / 3
    for separation in reference.SEPARATIONS:
        w = reference.weights(patterns, patterns, separation=separation)
        assert w.dtype == np.longdouble, separation
    for name in reference.SIMILARITIES:
        assert reference.similarity(patterns, patterns, name).dtype == np.longdouble, name


# ----------------------------------------------------------------------- attention, dynamics --


def test_attention_against_pytorch() -> None:
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: its oracle is skipped"
    )
    rng = np.random.default_rng(9)
    q, k, v = (rng.normal(size=(2, 3, n, 8)) for n in (5, 7, 7))
    mask = rng.random((2, 1, 5, 7)) < 0.6
    mask[..., 0] = True
    tensors = [torch.from_numpy(x) for x in (q, k, v)]
    attend = torch.nn.functional.scaled_dot_product_attention
    np.testing.assert_allclose(
        reference.attention(q, k, v), attend(*tensors).numpy(), atol=1e-14
    )
    np.testing.assert_allclose(
        reference.attention(q, k, v, mask=mask),
        attend(*tensors, attn_mask=torch.from_numpy(mask)).numpy(),
        atol=1e-14,
    )


def test_attention_that_may_attend_to_nothing() -> None:
    mask = [[True, True], [False, False]]
    z = reference.attention(np.ones((2, 3)), np.ones((2, 3)), [[1.0], [3.0]], mask=mask)
    assert z.tolist() == [[2], [0]]


def test_recall_statuses() -> None:
    eye = np.eye(3)
    rested = reference.recall(eye, [1.0, 0.0, 0.0], separation="max")
    assert (rested.status, rested.n_steps, rested.change) == ("fixed point", 1, 0)
    swapped = reference.recall(np.eye(2), [1.0, 0.0], values=[[0, 1], [1, 0]], separation="max")
    assert (swapped.status, swapped.n_steps) == ("2-cycle", 2)
    assert swapped.state.tolist() == [1, 0]
    empty = reference.recall(eye, [1.0, 0.0, 0.0], separation="threshold", theta=5)
    assert (empty.status, empty.n_steps) == ("no active location", 1)
    limited = reference.recall(2 * eye, [1.0, 0.0, 0.0], 3, separation="identity")
    assert (limited.status, limited.n_steps) == ("step limit", 3)
    assert limited.state.tolist() == [64, 0, 0]
