"""Estimators of uhn.sklearn: scikit-learn's checks, estimators they equal, bits, refusals."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import reference_estimators as reference
import uhn

sklearn = pytest.importorskip("sklearn", minversion="1.6", reason="needs scikit-learn 1.6")

from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.impute import KNNImputer  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.neighbors import (  # noqa: E402
    KernelDensity,
    KNeighborsClassifier,
    KNeighborsRegressor,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
)
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from uhn.sklearn import (  # noqa: E402
    AssociativeClassifier,
    AssociativeDenoiser,
    AssociativeImputer,
    AssociativeRegressor,
)

Array = np.ndarray

CLASSES = (
    AssociativeDenoiser,
    AssociativeClassifier,
    AssociativeRegressor,
    AssociativeImputer,
)
PREDICTORS = CLASSES[1:3]
EQUATIONS: tuple[dict[str, Any], ...] = (
    {},
    {"separation": "max"},
    {"similarity": "manhattan", "separation": "topk", "k": 3},
    {"similarity": "cosine", "separation": "sparsemax", "beta": 5.0},
    {"similarity": "jensen_shannon", "separation": "entmax", "beta": 20.0, "eps": 1e-3},
    {
        "similarity": "euclidean",
        "separation": "identity",
        "distance_transform": "inverse",
        "eps": 1e-3,
    },
)


def estimators() -> list[Any]:
    found = [cls(**equation) for cls in CLASSES for equation in EQUATIONS]
    found.append(AssociativeDenoiser(similarity="sqeuclidean", separation="softmax", n_steps=5))
    found.append(AssociativeClassifier(mode="completion"))
    found.append(AssociativeClassifier(mode="completion", n_steps=5, tol=1e-3))
    return found


def names(estimator: Any) -> str:
    return " ".join(repr(estimator).split())


def make(cls: type, **parameters: Any) -> Any:
    return cls(**{"similarity": "sqeuclidean", "separation": "softmax", **parameters})


def data(
    seed: int, n: int = 60, d: int = 4, n_classes: int = 3, dtype: Any = np.float64
) -> tuple[Array, Array, Array]:
    """Rows >= 0, labels that are words, and queries."""
    rng = np.random.default_rng(seed)
    rows = rng.random((n, d)).astype(dtype)
    labels = np.array(["b", "c", "a", "d", "e"])[rng.integers(0, n_classes, n)]
    labels[:n_classes] = np.array(["b", "c", "a", "d", "e"])[:n_classes]
    return rows, labels, rng.random((40, d)).astype(dtype)


def targets(estimator: Any, labels: Array, rows: Array) -> Array:
    return labels if isinstance(estimator, AssociativeClassifier) else rows[:, :2].sum(axis=1)


def ask(estimator: Any, queries: Any) -> Array:
    """What an estimator computes, before labels are read off; an imputer fills the largest."""
    real = isinstance(queries, np.ndarray) and queries.dtype.kind in "biuf"
    if isinstance(estimator, AssociativeImputer) and real and queries.ndim == 2:
        numbers = queries if queries.dtype.kind == "f" else queries.astype(np.float64)
        largest = numbers == numbers.max(axis=1, keepdims=True)
        queries = np.where(largest & np.isfinite(numbers), numbers.dtype.type(np.nan), numbers)
    for name in ("transform", "decision_function"):
        if hasattr(estimator, name):
            return getattr(estimator, name)(queries)
    return estimator.predict(queries)


# ----------------------------------------------------------------- scikit-learn's own checks --


def expected_failures(estimator: Any) -> dict[str, str]:
    if estimator.separation == "topk":
        return dict.fromkeys(
            (
                "check_sample_weights_list",
                "check_sample_weights_not_overwritten",
                "check_sample_weight_equivalence_on_dense_data",
            ),
            "topk counts rows: it refuses weights other than 0 and 1",
        )
    failures = {}
    if estimator.separation == "entmax" and isinstance(estimator, AssociativeRegressor):
        failures["check_regressors_train"] = (
            "sets alpha=0.01, which suits linear models; that of entmax is at least 1"
        )
    if estimator.similarity == "jensen_shannon" and isinstance(
        estimator, AssociativeClassifier
    ):
        failures["check_classifiers_train"] = (
            "asks for 0.83 right; divided by its sum, a row of two features is one number"
        )
        failures["check_decision_proba_consistency"] = (
            "gives negative rows to an estimator with the tag positive_only"
        )
    return failures


CHECKS = parametrize_with_checks(estimators(), expected_failed_checks=expected_failures).mark


# A generator in scikit-learn 1.6, which pytest 9 does not take.
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
def test_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


# ----------------------------------------------------------------------- estimators they are --


def problems(n_problems: int = 20) -> Iterator[tuple[Array, Array, Array, Array]]:
    for seed in range(n_problems):
        rng = np.random.default_rng(seed)
        n, d = int(rng.integers(16, 300)), int(rng.integers(1, 9))
        rows, queries = rng.normal(size=(n, d)), rng.normal(size=(50, d))
        yield rows, rng.integers(0, 3, n), rng.normal(size=(n, 2)), queries


METRICS = {
    "euclidean": "euclidean",
    "sqeuclidean": "euclidean",  # the same order
    "manhattan": "manhattan",
    "chebyshev": "chebyshev",
}


@pytest.mark.oracle
@pytest.mark.parametrize("similarity", METRICS)
def test_nearest_neighbours(similarity: str) -> None:
    """'max' is 1-NN and 'topk' k-NN; classes that tie go to the first on both sides."""
    n_ties = 0
    for rows, labels, values, queries in problems(6):
        for k in (1, 2, 6, 9, 15):
            options = {"n_neighbors": k, "metric": METRICS[similarity], "algorithm": "kd_tree"}
            theirs = KNeighborsClassifier(**options).fit(rows, labels)
            both = [{"separation": "topk", "k": k}]
            if k == 1:
                both.append({"separation": "max"})
            for equation in both:
                ours = AssociativeClassifier(similarity=similarity, **equation)
                ours.fit(rows, labels)
                proba = theirs.predict_proba(queries)
                np.testing.assert_allclose(ours.predict_proba(queries), proba, atol=1e-12)
                np.testing.assert_array_equal(ours.predict(queries), theirs.predict(queries))
                ranked = np.sort(proba, axis=1)
                n_ties += int((ranked[:, -1] == ranked[:, -2]).sum())
                regressor = AssociativeRegressor(similarity=similarity, **equation)
                expected = KNeighborsRegressor(**options).fit(rows, values).predict(queries)
                found = regressor.fit(rows, values).predict(queries)
                np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert n_ties > 100


@pytest.mark.oracle
def test_neighbours_within_a_radius() -> None:
    """'threshold' with theta=-r, where every query has a neighbour."""
    n_some = 0
    for rows, labels, values, queries in problems():
        distances = np.sqrt(((rows[None] - queries[:, None]) ** 2).sum(axis=2))
        radius = float(np.nextafter(distances.min(axis=1).max(), np.inf))
        equation = {"similarity": "euclidean", "separation": "threshold", "theta": -radius}
        within = (distances <= radius).sum(axis=1)
        clear = (np.abs(distances - radius) > 1e-9).all(axis=1)
        if not clear.all():
            queries = queries[clear]
        n_some += int(((within[clear] > 1) & (within[clear] < len(rows))).sum())
        ours = AssociativeClassifier(**equation).fit(rows, labels)
        theirs = RadiusNeighborsClassifier(radius).fit(rows, labels)
        expected = theirs.predict_proba(queries)
        np.testing.assert_allclose(ours.predict_proba(queries), expected, atol=1e-12)
        found = AssociativeRegressor(**equation).fit(rows, values).predict(queries)
        expected = RadiusNeighborsRegressor(radius).fit(rows, values).predict(queries)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert n_some > 100


@pytest.mark.parametrize("beta", [0.05, 1.0, 30.0])
def test_nadaraya_watson(beta: float) -> None:
    """By softmax of squared distances, and by a Gaussian kernel divided by its sum."""
    for rows, labels, values, queries in problems():
        expected = reference.nadaraya_watson(rows, values, queries, beta)
        ours = AssociativeRegressor(beta=beta).fit(rows, values)
        np.testing.assert_allclose(ours.predict(queries), expected, rtol=1e-12, atol=1e-12)
        ours = AssociativeRegressor(beta=beta).fit(rows, values[:, 0])
        np.testing.assert_allclose(ours.predict(queries), expected[:, 0], atol=1e-12)
        one_hot = (labels[:, None] == np.arange(3)).astype(float)
        proba = AssociativeClassifier(beta=beta).fit(rows, labels).predict_proba(queries)
        np.testing.assert_allclose(
            proba, reference.nadaraya_watson(rows, one_hot, queries, beta), atol=1e-12
        )
        near = rows + 0.1  # where no kernel underflows
        expected = reference.nadaraya_watson(rows, values, near, beta)
        kernel = {"separation": "identity", "distance_transform": "rbf", "gamma": beta}
        ours = AssociativeRegressor(**kernel).fit(rows, values)
        np.testing.assert_allclose(ours.predict(near), expected, rtol=1e-12, atol=1e-12)
        ours = make(AssociativeDenoiser, beta=beta).fit(rows)
        expected = reference.nadaraya_watson(rows, rows, queries, beta)
        np.testing.assert_allclose(ours.transform(queries), expected, rtol=1e-12, atol=1e-12)


def test_inverse_distances() -> None:
    for rows, _, values, queries in problems():
        ours = AssociativeRegressor(
            similarity="euclidean", separation="identity", distance_transform="inverse"
        ).fit(rows, values)
        expected = reference.shepard(rows, values, queries)
        np.testing.assert_allclose(ours.predict(queries), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_steps", [1, 2, 5])
def test_completion(n_steps: int) -> None:
    """Labels are recalled as a part of the row; one step is hetero-association."""
    for rows, labels, _, queries in problems():
        if len(np.unique(labels)) < 3:
            continue
        ours = AssociativeClassifier(mode="completion", n_steps=n_steps, beta=0.7)
        ours.fit(rows, labels)
        expected = reference.completed_labels(rows, labels, queries, 0.7, n_steps)
        np.testing.assert_allclose(ours.predict_proba(queries), expected, atol=1e-12)
        hetero = AssociativeClassifier(beta=0.7).fit(rows, labels).predict_proba(queries)
        same = np.allclose(hetero, expected, rtol=0, atol=1e-12)
        assert same == (n_steps == 1)


@pytest.mark.oracle
@pytest.mark.parametrize("weighted", [False, True])
def test_kernel_density(weighted: bool) -> None:
    """The energy of softmax under squared distances is a Gaussian kernel's log-density."""
    for seed, (rows, _, _, queries) in enumerate(problems()):
        (n, d), bandwidth = rows.shape, 0.3 + 0.1 * seed
        weight = np.random.default_rng(seed).random(n) + 0.1 if weighted else None
        # All rows in one leaf: with more, its bounds accumulate errors of up to 2e-3 here.
        density = KernelDensity(bandwidth=bandwidth, leaf_size=1000)
        density.fit(rows, sample_weight=weight)
        beta = 1 / (2 * bandwidth**2)
        ours = make(AssociativeDenoiser, beta=beta).fit(rows, sample_weight=weight)
        total = n if weight is None else weight.sum()
        found = beta * ours.score_samples(queries) - np.log(total)
        found -= d / 2 * np.log(np.pi / beta)
        expected = reference.log_density(rows, queries, bandwidth, weight)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        expected = density.score_samples(queries)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


# -------------------------------------------------------------------------------------- bits --


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("estimator", estimators(), ids=names)
def test_an_answer_never_depends_on_its_batch(estimator: Any, dtype: Any) -> None:
    """Nor on its place, the number of threads, or the layout of the batch: bits are equal."""
    n_threads = uhn.get_num_threads()
    for seed in range(4):
        rows, labels, queries = data(seed, n=300, d=5 + 9 * seed, dtype=dtype)
        ours = clone(estimator).fit(rows, targets(estimator, labels, rows))
        whole = ask(ours, queries)
        assert whole.dtype == dtype and len(whole) == len(queries)
        for i in range(len(queries)):
            assert ask(ours, queries[i : i + 1]).tobytes() == whole[i : i + 1].tobytes()
        order = np.random.default_rng(seed).permutation(len(queries))
        assert ask(ours, queries[order]).tobytes() == whole[order].tobytes()
        assert ask(ours, np.asfortranarray(queries)).tobytes() == whole.tobytes()
        try:
            uhn.set_num_threads(1)
            many = np.tile(queries, (5, 1))
            assert ask(ours, many).tobytes() == whole.tobytes() * 5
            uhn.set_num_threads(2)
            assert ask(ours, many).tobytes() == whole.tobytes() * 5
        finally:
            uhn.set_num_threads(n_threads)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("estimator", estimators(), ids=names)
def test_partial_fit_is_fit(estimator: Any, dtype: Any) -> None:
    """In whatever pieces rows come, and a later fit forgets them: bits are equal."""
    rows, labels, queries = data(5, n=200, dtype=dtype)
    y = targets(estimator, labels, rows)
    expected = ask(clone(estimator).fit(rows, y), queries)
    for cuts in ([1], [7, 8, 150], list(range(10, 200, 10))):
        online = clone(estimator)
        for piece in np.split(np.arange(len(rows)), cuts):
            more = {}
            if isinstance(online, AssociativeClassifier) and not hasattr(online, "memory_"):
                more["classes"] = ["c", "a", "b"]
            assert online.partial_fit(rows[piece], y[piece], **more) is online
        assert len(online.memory_) == 200
        assert ask(online, queries).tobytes() == expected.tobytes()
    other = data(6, n=50, d=3, dtype=dtype)
    y = targets(estimator, other[1], other[0])
    again = ask(online.fit(other[0], y), other[2])
    assert len(online.memory_) == 50 and online.n_features_in_ == 3
    assert again.tobytes() == ask(clone(estimator).fit(other[0], y), other[2]).tobytes()


@pytest.mark.parametrize("estimator", estimators(), ids=names)
def test_pickle_and_clone(estimator: Any) -> None:
    rows, labels, queries = data(7)
    y = targets(estimator, labels, rows)
    estimator = clone(estimator).fit(rows, y)
    whole = ask(estimator, queries)
    back = pickle.loads(pickle.dumps(estimator))
    assert ask(back, queries).tobytes() == whole.tobytes()
    fresh = clone(estimator)
    assert fresh.get_params() == estimator.get_params() and not hasattr(fresh, "memory_")
    with pytest.raises(NotFittedError):
        ask(fresh, queries)


@pytest.mark.parametrize("cls", CLASSES)
def test_rows_are_the_estimators_own(cls: type) -> None:
    """Changing the array after fit changes nothing; a memory would borrow this many rows."""
    rows, labels, queries = data(8, n=6000)
    ours = cls()
    y = targets(ours, labels, rows).copy()
    first, then = rows[:30], rows[30:]
    more = {"classes": ["a", "b", "c"]} if cls is AssociativeClassifier else {}
    before = ask(ours.partial_fit(first, y[:30], **more).partial_fit(then, y[30:]), queries)
    rows[:] = 0
    y[:] = y[0]
    assert ask(ours, queries).tobytes() == before.tobytes()


# -------------------------------------------------------------------------------- parameters --


@pytest.mark.parametrize("cls", CLASSES)
def test_defaults_are_those_of_the_memory_where_they_can_be(cls: type) -> None:
    """Parameters of one name have one meaning; those of uhn.Memory are all there but shards."""
    theirs = set(inspect.signature(uhn.Memory).parameters)
    theirs -= {"patterns", "values", "prior", "first_row", "copy", "nan", "transform"}
    ours = inspect.signature(cls).parameters
    assert set(ours) - {"mode", "n_steps", "tol", "keep_observed"} == theirs | {
        "distance_transform"
    }
    fitted = cls(separation="exponential").fit([[0.0, 1.0], [1.0, 0.0]], [0, 1])
    assert fitted.memory_.parameters == {"beta": 1.0}
    assert fitted.memory_.normalize == "sum"


@pytest.mark.parametrize("cls", CLASSES)
def test_parameters_arrive(cls: type) -> None:
    """Each one that the equation reads is that of the memory; the rest change no bit."""
    rows, labels, queries = data(9)
    given = {
        "eps": 0.25,
        "gamma": 0.5,
        "beta": 3.0,
        "degree": 3.0,
        "k": 2,
        "alpha": 1.25,
        "theta": 0.5,
    }
    seen = set()
    for similarity in ("dot", "manhattan", "kl"):
        for separation in uhn.separations():
            for how in ("negative", "inverse", "rbf"):
                if separation in ("sqrt", "log1p") and how == "negative":
                    continue  # their scores are >= 0
                names = {"similarity": similarity, "separation": separation}
                ours = cls(**names, distance_transform=how, **given)
                y = targets(ours, labels, rows)
                memory = ours.fit(rows, y).memory_
                assert memory.similarity == similarity and memory.separation == separation
                assert memory.transform == (None if similarity == "dot" else how)
                expected = {name: given[name] for name in memory.parameters}
                assert memory.parameters == expected
                seen |= set(expected)
                plain = cls(**names, distance_transform=how, **expected)
                if separation in ("threshold", "rectified_polynomial"):
                    continue  # may have no answer
                answers = ask(ours, queries)
                assert ask(plain.fit(rows, y), queries).tobytes() == answers.tobytes()
    assert seen == set(given)


WRONG = [
    ({"similarity": "euclid"}, ValueError, "similarity 'euclid' is unknown; it is one of"),
    ({"similarity": 3}, TypeError, "similarity must be a name or a callable"),
    ({"separation": "argmax"}, ValueError, "separation 'argmax' is unknown; it is one of"),
    (
        {"similarity": "euclidean", "distance_transform": "square"},
        ValueError,
        "^distance_transform 'square' is unknown; it is one of",
    ),
    ({"separation": "softmax", "beta": -1.0}, ValueError, "beta must be finite and >= 0"),
    ({"separation": "softmax", "beta": "1"}, TypeError, "beta must be a number, not str"),
    ({"separation": "topk", "k": 0}, ValueError, "k must be at least 1"),
    ({"separation": "topk", "k": 2.5}, TypeError, "k must be an integer, not float"),
    ({"separation": "entmax", "alpha": 0.5}, ValueError, "alpha must be from 1 to 1000"),
    ({"separation": "identity", "normalize": "all"}, ValueError, "normalize 'all' is unknown"),
    ({"normalize_scores": "yes"}, TypeError, "normalize_scores must be True or False"),
]


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    ("parameters", "error", "message"), WRONG, ids=lambda value: str(value)
)
def test_wrong_parameters(
    cls: type, parameters: dict[str, Any], error: type[Exception], message: str
) -> None:
    """fit says so, the constructor does not, and neither repr nor hasattr trips over it."""
    rows, labels, _ = data(10)
    ours = cls(**parameters)
    assert repr(ours) and ours.get_params()
    assert not hasattr(ours, "score_samples") and not hasattr(ours, "predict_proba")
    with pytest.raises(error, match=message):
        ours.fit(rows, targets(ours, labels, rows))


def test_wrong_steps_and_modes() -> None:
    rows, labels, _ = data(10)
    for ours in (AssociativeDenoiser(), AssociativeClassifier(mode="completion")):
        for steps, error in (({"n_steps": 0}, ValueError), ({"n_steps": 1.5}, TypeError)):
            with pytest.raises(error, match="n_steps"):
                clone(ours).set_params(**steps).fit(rows, labels)
        with pytest.raises(ValueError, match="tol"):
            clone(ours).set_params(tol=-1.0).fit(rows, labels)
    for mode in ("auto", None, ["hetero"]):
        with pytest.raises(ValueError, match="mode must be 'hetero' or 'completion', not"):
            AssociativeClassifier(mode=mode).fit(rows, labels)


def test_functions_of_the_callers_own() -> None:
    rows, labels, queries = data(11)

    def overlap(patterns: Array, asked: Array) -> Array:
        return -((asked[:, None] - patterns[None]) ** 2).sum(axis=2)

    ours = AssociativeClassifier(similarity=overlap).fit(rows, labels)
    plain = AssociativeClassifier().fit(rows, labels)
    np.testing.assert_allclose(
        ours.predict_proba(queries), plain.predict_proba(queries), atol=1e-12
    )
    ours = AssociativeClassifier(separation=np.exp).fit(rows, labels)
    np.testing.assert_allclose(
        ours.decision_function(queries), plain.decision_function(queries), atol=1e-12
    )
    assert not hasattr(ours, "predict_proba")


# -------------------------------------------------------------------- weights, probabilities --


@pytest.mark.parametrize("separation", uhn.separations())
@pytest.mark.parametrize("cls", CLASSES)
def test_a_weight_counts_a_row(cls: type, separation: str) -> None:
    """Weight w is the same row w times, 0 is none; 'topk' and its kind refuse the others."""
    for seed in range(10):
        rows, labels, queries = data(20 + seed)
        weight = np.random.default_rng(seed).integers(0, 4, len(rows))
        ours = cls(similarity="dot", separation=separation, beta=2.0, theta=0.5, k=3)
        y = targets(ours, labels, rows)
        if separation.startswith("topk"):
            with pytest.raises(ValueError, match=f"'{separation}' counts rows, so that"):
                clone(ours).fit(rows, y, sample_weight=weight)
            weight = np.minimum(weight, 1)
        if separation == "threshold":
            queries = queries + 1
        again = np.repeat(np.arange(len(rows)), weight)
        expected = ask(clone(ours).fit(rows[again], y[again]), queries)
        found = ask(clone(ours).fit(rows, y, sample_weight=weight), queries)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        if separation != "max" and not separation.startswith("topk"):
            assert not np.allclose(ask(clone(ours).fit(rows, y), queries), expected, rtol=1e-9)


def test_weights_come_in_pieces() -> None:
    """A row stored without a weight has weight 1, and a piece without weight is no piece."""
    rows, labels, queries = data(30)
    weight = np.repeat([2.0, 1.0, 0.0], 20)
    weight[1:20:2] = 0.5
    expected = AssociativeClassifier().fit(rows, labels, sample_weight=weight)
    for order in ([0, 1, 2], [1, 2, 0]):
        online = AssociativeClassifier()
        for piece in (slice(20 * i, 20 * i + 20) for i in order):
            given = None if piece.start == 20 else weight[piece]
            online.partial_fit(rows[piece], labels[piece], ["a", "b", "c"], given)
        assert len(online.memory_) == len(expected.memory_) == 20 + 20
        np.testing.assert_allclose(
            online.predict_proba(queries), expected.predict_proba(queries), atol=1e-12
        )


@pytest.mark.parametrize("cls", CLASSES)
def test_wrong_weights(cls: type) -> None:
    rows, labels, _ = data(31)
    ours = cls()
    y = targets(ours, labels, rows)
    cases: list[tuple[Any, str]] = [
        (np.ones(59), r"sample_weight has shape \(59,\); X has 60 rows"),
        (np.ones((60, 1)), r"sample_weight has shape \(60, 1\); X has 60 rows"),
        (np.zeros(60), "every sample_weight is zero"),
        (-np.ones(60), "sample_weight has negative entries"),
        (np.full(60, np.nan), "sample_weight contains NaN"),
        (np.full(60, np.inf), "sample_weight contains infinity"),
    ]
    for weight, message in cases:
        with pytest.raises(ValueError, match=message):
            ours.fit(rows, y, sample_weight=weight)


@pytest.mark.parametrize("mode", ["hetero", "completion"])
@pytest.mark.parametrize("normalize", ["sum", "none"])
def test_probabilities_are_there_where_weights_are_a_distribution(
    normalize: str, mode: str
) -> None:
    always = {"softmax", "max", "topk", "topk_softmax", "sparsemax", "entmax"}
    by_sum = {"rectified_polynomial", "sqrt", "log1p", "exponential", "threshold"}
    rows, labels, queries = data(32)
    signed = rows - 0.5, queries - 0.5
    for separation in uhn.separations():
        for degree in (2.0, 3.0):
            ours = AssociativeClassifier(
                similarity="dot",
                separation=separation,
                normalize=normalize,
                degree=degree,
                theta=-0.5,
                mode=mode,
            )
            even = separation == "polynomial" and degree == 2
            there = separation in always
            there |= normalize == "sum" and (separation in by_sum or even)
            assert hasattr(ours, "predict_proba") == there, separation
            where, asked = (rows, queries) if separation in ("sqrt", "log1p") else signed
            ours.fit(where, labels)
            values = ours.decision_function(asked)
            ok = (values >= 0).all() and np.allclose(values.sum(axis=1), 1, rtol=0, atol=1e-12)
            assert ok == there, separation
            if there:
                assert (ours.predict_proba(asked) == values).all()
            else:
                with pytest.raises(AttributeError):
                    ours.predict_proba  # noqa: B018
            best = ours.classes_[values.argmax(axis=1)]
            assert (ours.predict(asked) == best).all()
    shepard = AssociativeClassifier(similarity="manhattan", separation="identity")
    assert not hasattr(shepard, "predict_proba")
    shepard.set_params(distance_transform="inverse")
    assert hasattr(shepard, "predict_proba")
    shepard.set_params(distance_transform="rbf", normalize="none")
    assert not hasattr(shepard, "predict_proba")


def test_two_classes_have_one_decision() -> None:
    rows, labels, queries = data(33, n_classes=2)
    ours = AssociativeClassifier().fit(rows, labels)
    proba, decision = ours.predict_proba(queries), ours.decision_function(queries)
    assert decision.shape == (40,) and (decision == proba[:, 1] - proba[:, 0]).all()
    assert (ours.predict(queries) == np.where(decision > 0, "c", "b")).all()


def test_a_query_without_neighbours_is_refused() -> None:
    rows = np.array([[0.0], [1.0], [5.0]])
    equation = {"similarity": "manhattan", "separation": "threshold", "theta": -1.5}
    message = r"no stored row has a score of theta=-1.5 or more for X\[1\]; lower theta"
    classifiers = [AssociativeClassifier(**equation)]
    classifiers.append(AssociativeClassifier(**{**equation, "theta": -2.5}, mode="completion"))
    for ours in classifiers:
        ours.fit(rows, ["a", "b", "b"])
        assert ours.predict([[0.5], [5.5]]).tolist() == ["a", "b"]
        with pytest.raises(ValueError, match=message.replace("1.5", f"{-ours.theta}")):
            ours.predict([[0.5], [3.0 + 0.1], [9.0]])
    regressor = AssociativeRegressor(**equation).fit(rows, [0.0, 0.0, 2.0])
    assert regressor.predict([[0.5], [5.5]]).tolist() == [0.0, 2.0], "0 is an answer"
    with pytest.raises(ValueError, match=message):
        regressor.predict([[0.5], [3.0], [9.0]])
    denoiser = AssociativeDenoiser(**equation).fit(rows)
    assert denoiser.transform([[0.5], [3.0]]).tolist() == [[0.5], [0.0]]


# ----------------------------------------------------------------------------- in a pipeline --


@pytest.mark.parametrize("cls", PREDICTORS)
def test_grid_search_over_similarity_and_separation(cls: type) -> None:
    """Parameters that a separation does not read are no error, so that one grid holds all."""
    rows, _, _ = data(40, n=90)
    rows[:, 0] *= 1000  # a scale that would hide the other columns
    grid = {
        "similarity": ["euclidean", "sqeuclidean", "manhattan", "cosine"],
        "separation": ["softmax", "max", "topk", "sparsemax"],
        "beta": [0.5, 20.0],
        "k": [2, 5],
    }
    step = cls.__name__.lower()
    pipeline = make_pipeline(StandardScaler(), cls())
    search = GridSearchCV(
        pipeline, {f"{step}__{name}": values for name, values in grid.items()}, cv=3
    )
    y = np.where(rows[:, 1] > rows[:, 2], 1, 0) if cls is CLASSES[1] else rows[:, 1]
    search.fit(rows, y)
    scores = search.cv_results_["mean_test_score"]
    assert len(scores) == 64 and np.isfinite(scores).all()
    assert search.best_score_ > (0.8 if cls is CLASSES[1] else 0.5)
    assert search.predict(rows).shape == (90,)


def test_a_denoiser_undoes_what_is_nearer_than_half_way() -> None:
    """Fewer flips than half the distance to the next pattern are all set right."""
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 2, (10, 40)).astype(float)
    noisy = np.abs(np.repeat(clean, 20, axis=0) - (rng.random((200, 40)) < 0.15))
    denoiser = AssociativeDenoiser().fit(clean)
    back = denoiser.transform(noisy)
    flips = np.abs(noisy - clean[np.repeat(np.arange(10), 20)]).sum(axis=1)
    apart = np.abs(clean[:, None] - clean[None]).sum(axis=2) + 100 * np.eye(10)
    sure = flips < apart.min(axis=1)[np.repeat(np.arange(10), 20)] / 2
    assert sure.sum() > 100
    assert (back == np.repeat(clean, 20, axis=0))[sure].all()


def test_names_of_columns_and_frames() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    rows, labels, queries = data(41)
    columns = ["one", "two", "three", "four"]
    frame = pandas.DataFrame(rows, columns=columns, index=range(100, 160))
    denoiser = AssociativeDenoiser().fit(frame).set_output(transform="pandas")
    assert denoiser.n_features_in_ == 4
    assert denoiser.feature_names_in_.tolist() == columns
    assert denoiser.get_feature_names_out().tolist() == columns
    out = denoiser.transform(frame)
    assert isinstance(out, pandas.DataFrame)
    assert out.columns.tolist() == columns and out.index.tolist() == frame.index.tolist()
    assert (out.to_numpy() == rows).all()
    with pytest.raises(ValueError, match="feature names should match"):
        denoiser.transform(frame[columns[::-1]])
    for cls in PREDICTORS:
        ours = cls()
        y = targets(ours, labels, rows)
        named = cls().fit(frame, pandas.Series(y, index=frame.index))
        found = named.predict(pandas.DataFrame(queries, columns=columns))
        assert (found == ours.fit(rows, y).predict(queries)).all()


def test_score_samples_is_there_where_an_energy_is() -> None:
    rows, _, queries = data(42)
    ours = make(AssociativeDenoiser).fit(rows)
    assert (
        ours.score_samples(queries)
        == -uhn.Memory(rows, similarity="sqeuclidean").energy(queries)
    ).all()
    assert hasattr(AssociativeDenoiser(similarity="dot", separation="softmax"), "score_samples")
    assert not hasattr(AssociativeDenoiser(), "score_samples")
    with pytest.raises(AttributeError):
        AssociativeDenoiser().score_samples  # noqa: B018


# ---------------------------------------------------------------------------------- refusals --


@pytest.mark.parametrize("estimator", estimators(), ids=names)
def test_what_is_refused(estimator: Any) -> None:
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    rows, labels, queries = data(50)
    y = targets(estimator, labels, rows)
    fitted = clone(estimator).fit(rows, y)
    before = ask(fitted, queries)
    bad = rows.copy()
    bad[3, 1] = np.nan
    huge = rows.copy()
    huge[3, 1] = np.inf
    cases: list[tuple[Any, type[Exception], str]] = [
        (bad, ValueError, "contains NaN"),
        (huge, ValueError, "contains infinity"),
        (sparse.csr_matrix(rows), TypeError, "dense data is required"),
        (rows + 1j, ValueError, "Complex data not supported"),
        (rows[0], ValueError, "Expected 2D array, got 1D array"),
    ]
    if isinstance(estimator, AssociativeImputer):
        del cases[0]  # gaps are what it is for
    for X, error, message in cases:
        with pytest.raises(error, match=message):
            clone(estimator).fit(X, y)
        with pytest.raises(error, match=message):
            fitted.partial_fit(X, y)
        with pytest.raises(error, match=message):
            ask(fitted, X)
    with pytest.raises(ValueError, match=r"has 3 features, but .* is expecting 4 features"):
        ask(fitted, queries[:, :3])
    with pytest.raises(ValueError, match=r"has 3 features, but .* is expecting 4 features"):
        fitted.partial_fit(rows[:, :3], y)
    assert len(fitted.memory_) == 60 and ask(fitted, queries).tobytes() == before.tobytes()


def test_distributions_have_no_negative_entries() -> None:
    for cls in CLASSES:
        for similarity in ("normalized_dot", "kl", "reverse_kl", "jensen_shannon"):
            ours = cls(similarity=similarity, eps=1e-3)
            with pytest.raises(ValueError, match=f"Negative values .* X in {cls.__name__}.fit"):
                ours.fit([[1.0, -1.0], [1.0, 2.0]], [0, 1])


def test_wrong_labels_and_targets() -> None:
    rows, labels, _ = data(51)
    ours = AssociativeClassifier()
    with pytest.raises(ValueError, match="Unknown label type"):
        ours.fit(rows, rows[:, 0])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        ours.partial_fit(rows, labels)
    with pytest.raises(ValueError, match=r"y has the labels \['c'\], which are not in classes"):
        ours.partial_fit(rows, labels, classes=["a", "b"])
    ours.partial_fit(rows, labels, classes=["a", "b", "c", "z"])
    assert ours.classes_.tolist() == ["a", "b", "c", "z"]
    assert (
        ours.predict_proba(rows).shape == (60, 4) and not ours.predict_proba(rows)[:, 3].any()
    )
    with pytest.raises(ValueError, match="leave them out, or call fit"):
        ours.partial_fit(rows, labels, classes=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"y has the labels \['q'\]"):
        ours.partial_fit(rows[:1], ["q"])
    regressor = AssociativeRegressor().fit(rows, rows[:, :2])
    with pytest.raises(ValueError, match=r"y has shape \(60,\), but one row of the first call"):
        regressor.partial_fit(rows, rows[:, 0])
    with pytest.raises(ValueError, match="contains NaN"):
        AssociativeRegressor().fit(rows, np.full(60, np.nan))


def test_outputs_have_the_shape_of_targets() -> None:
    rows, _, queries = data(52)
    one = AssociativeRegressor().fit(rows, rows[:, 0]).predict(queries)
    column = AssociativeRegressor().fit(rows, rows[:, :1]).predict(queries)
    both = AssociativeRegressor().fit(rows, rows[:, :2]).predict(queries)
    assert one.shape == (40,) and column.shape == (40, 1) and both.shape == (40, 2)
    assert (column[:, 0] == one).all() and (both[:, 0] == one).all()


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.float16, np.bool_])
def test_other_numbers_compute_in_float64(dtype: Any) -> None:
    rows = np.array([[0, 1], [1, 0], [1, 1]], dtype=dtype)
    for cls in CLASSES:
        ours = cls().fit(rows, [0, 1, 1])
        assert ours.memory_.dtype == np.float64
        assert ask(ours, rows).dtype == np.float64
        assert ask(ours, rows.astype(np.float64)).tobytes() == ask(ours, rows).tobytes()


# -------------------------------------------------------------------------------- the module --


def test_examples() -> None:
    result = doctest.testmod(importlib.import_module("uhn.sklearn"))
    assert result.attempted >= 10 and result.failed == 0


@pytest.mark.parametrize("cls", CLASSES)
def test_pages(cls: type) -> None:
    """Every parameter and attribute is explained, and so is every method."""
    page = inspect.getdoc(cls)
    assert page is not None
    for name in inspect.signature(cls).parameters:
        assert f"{name} :" in page or f"{name}," in page or ", theta\n" in page, name
    for name in ("fit", "partial_fit", "transform", "predict", "predict_proba"):
        if name in vars(cls):
            assert len(inspect.getdoc(getattr(cls, name)) or "") > 40
    for name in vars(cls().fit([[0.0], [1.0]], [0, 1])):
        if name.endswith("_"):
            assert f"\n{name} : " in page, name


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "uhn.sklearn")
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(ImportError, match=r"pip install 'uhn\[sklearn\]'"):
        importlib.import_module("uhn.sklearn")


def test_nothing_else_imports_scikit_learn() -> None:
    code = "import sys, uhn, uhn.analysis, uhn.experiments; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# -------------------------------------------------------------------------------- imputation --


def gaps(rows: Array, seed: int, share: float = 0.2) -> Array:
    """Some entries NaN, though none of a whole row or column."""
    rng = np.random.default_rng(seed)
    out = np.where(rng.random(rows.shape) < share, np.nan, rows).astype(rows.dtype)
    out[:, 0] = np.where(np.isnan(out).all(axis=1), rows[:, 0], out[:, 0])
    return out


@pytest.mark.parametrize("n_neighbors", [1, 2, 5])
def test_imputer_of_the_nearest_is_knn_imputer(n_neighbors: int) -> None:
    """Gaps in the table, in the queries, and a table that fills its own."""
    for seed in range(10):
        rows, _, queries = data(60 + seed, d=6)
        rows, queries = gaps(rows, seed), gaps(queries, seed + 100)
        theirs = KNNImputer(n_neighbors=n_neighbors).fit(rows)
        ours = AssociativeImputer(k=n_neighbors).fit(rows)
        for X in (queries, rows):
            np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=1e-12)
        one = AssociativeImputer(separation="max").fit(rows)
        if n_neighbors == 1:
            np.testing.assert_allclose(one.transform(rows), theirs.transform(rows), rtol=1e-12)


def test_imputer_of_all_rows_is_a_mean_under_a_kernel() -> None:
    """Softmax of squared distances over shared features, against the formula."""
    for seed in range(5):
        rows, _, queries = data(80 + seed, d=6)
        rows, queries = gaps(rows, seed), gaps(queries, seed + 100)
        for beta in (0.5, 20.0, 1e4):
            ours = AssociativeImputer(similarity="sqeuclidean", separation="softmax", beta=beta)
            for X in (queries, rows):
                expected = reference.kernel_imputation(rows, X, beta)
                np.testing.assert_allclose(ours.fit(rows).transform(X), expected, rtol=1e-9)


def test_imputer_keeps_what_it_is_told_to() -> None:
    rows, _, queries = data(90, d=6)
    queries = gaps(queries, 1)
    known = ~np.isnan(queries)
    kept = AssociativeImputer().fit(rows).transform(queries)
    assert (kept[known] == queries[known]).all() and not np.isnan(kept).any()
    recalled = AssociativeImputer(keep_observed=False).fit(rows).transform(queries)
    assert (recalled[~known] == kept[~known]).all()
    assert (recalled[known] != queries[known]).mean() > 0.9
    with pytest.raises(TypeError, match="keep_observed must be True or False, not 'yes'"):
        AssociativeImputer(keep_observed="yes").fit(rows)
    with pytest.raises(
        ValueError, match="similarity of your own is not defined where features"
    ):
        AssociativeImputer(similarity=lambda rows, queries: queries @ rows.T).fit(rows)


def test_imputer_falls_back_on_the_mean_of_a_column() -> None:
    """Where no row shares a feature with the query, or none knows it; 0 for no number."""
    nan = np.nan
    rows = [[1.0, 2.0, nan, 1.0], [3.0, nan, nan, nan], [8.0, 5.0, nan, nan]]
    imputer = AssociativeImputer(k=1).fit(rows)
    assert imputer.statistics_.tolist() == [4.0, 3.5, 0.0, 1.0]
    assert imputer.transform([[nan, nan, nan, nan]]).tolist() == [[4.0, 3.5, 0.0, 1.0]]
    assert imputer.transform([[8.5, nan, nan, nan]]).tolist() == [[8.5, 5.0, 0.0, 1.0]]
    imputer.partial_fit([[9.0, 6.0, 7.0, 3.0]])
    assert imputer.statistics_.tolist() == [21 / 4, 13 / 3, 7.0, 2.0]
    assert imputer.transform([[8.5, nan, nan, nan]]).tolist() == [[8.5, 5.0, 7.0, 3.0]]


def test_nobody_answers_in_silence() -> None:
    """Minus a distance is never above 0, so that a rectified power of it is no weight."""
    rows, labels, queries = data(95)
    for cls in PREDICTORS:
        ours = cls(similarity="sqeuclidean", separation="rectified_polynomial")
        ours.fit(rows, targets(ours, labels, rows))
        with pytest.raises(ValueError, match=r"no stored row has a score above 0 for X\[0\]"):
            ours.predict(queries)
        ours.set_params(distance_transform="rbf").fit(rows, targets(ours, labels, rows))
        assert len(ours.predict(queries)) == len(queries)
