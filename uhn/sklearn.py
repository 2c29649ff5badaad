"""scikit-learn estimators over `uhn.Memory`: denoiser, imputer, classifier and regressor.

Needs scikit-learn 1.6 or newer, the extra ``sklearn``; nothing else in the package imports it.

Each estimator stores the rows of `fit` in one memory and answers by ``z = P . sep(sim(M, q))``.
They differ in the values P: the rows themselves, one-hot labels, or targets. The parameters are
those of `uhn.Memory`, with numbers in place of None; its `transform`, a method's name here, is
`distance_transform`. One that the equation does not read is ignored, as in scikit-learn's own
estimators, so that a grid search may vary the separation and the parameters together.

Weights of samples are the prior of the memory: a row of weight 2 counts as the same row stored
twice, a row of weight 0 is not stored. Separation 'max' has the same answer whatever weights
rows have. 'topk' and 'topk_softmax' take weights 0 and 1 alone: they count rows, and another
weight would have to be counted as a fraction of a row.
"""

# scikit-learn has no types: its classes and decorators are Any.
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ._core import Memory

try:
    from sklearn.base import (
        BaseEstimator,
        ClassifierMixin,
        MultiOutputMixin,
        OneToOneFeatureMixin,
        RegressorMixin,
        TransformerMixin,
    )
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import check_classification_targets, unique_labels
    from sklearn.utils.validation import (
        check_array,
        check_is_fitted,
        check_non_negative,
        validate_data,  # new in 1.6
    )
except ImportError as error:
    raise ImportError(
        "uhn.sklearn needs scikit-learn 1.6 or newer: pip install 'uhn[sklearn]', "
        "or pip install 'scikit-learn>=1.6'"
    ) from error

__all__ = [
    "AssociativeClassifier",
    "AssociativeDenoiser",
    "AssociativeImputer",
    "AssociativeRegressor",
]

Array = npt.NDArray[Any]
_Self = TypeVar("_Self", bound="_Estimator")

#: Separations that keep their own order of rows, so that they take no prior.
_ORDERED = ("max", "topk", "topk_softmax")
#: Separations whose weights are never negative, among those that normalize='sum' applies to.
_NOT_NEGATIVE = ("rectified_polynomial", "sqrt", "log1p", "exponential", "threshold")


def _takes(**keywords: Any) -> bool:
    """Whether there is such an equation."""
    try:
        Memory(**keywords)
    except ValueError:
        return False
    return True


def _check_steps(n_steps: Any, tol: Any) -> None:
    """TypeError or ValueError for what no memory takes."""
    Memory([[0.0]]).retrieve(np.empty((0, 1)), n_steps=n_steps, tol=tol)


def _needs_positive(similarity: object) -> bool:
    """Whether a similarity is of distributions, which have no negative entries."""
    if not isinstance(similarity, str):
        return False
    if not _takes(similarity=similarity):
        return False
    try:
        Memory([[-1.0]], similarity=similarity)
    except ValueError:
        return True
    return False


class _Estimator(BaseEstimator):
    """What the estimators share: the equation of their parameters, rows in, weights of rows.

    A subclass has the parameters of `uhn.Memory`, `distance_transform` for `transform`.
    """

    memory_: Memory

    def _equation(self) -> dict[str, Any]:
        """Keywords of `uhn.Memory`; TypeError or ValueError for one that is wrong."""
        equation = {
            "similarity": self.similarity,
            "separation": self.separation,
            "normalize_scores": self.normalize_scores,
        }
        if Memory(**equation).transform is not None:
            # Under another name, as an estimator has a method `transform`.
            equation["transform"] = self.distance_transform
            try:
                Memory(**equation)
            except (TypeError, ValueError) as error:
                raise type(error)(f"distance_{error}") from None
        if _takes(separation=self.separation, normalize="sum"):
            equation["normalize"] = self.normalize
        for name in Memory(**equation).parameters:
            equation[name] = getattr(self, name)
        Memory(**equation)
        return equation

    def _is_distribution(self) -> bool:
        """Whether the weights of any query are >= 0 and sum to 1."""
        try:
            equation = self._equation()
        except (TypeError, ValueError):
            return False
        separation = equation["separation"]
        if callable(separation):
            return False
        if "normalize" not in equation:
            return bool(separation != "softmax1")
        return equation["normalize"] == "sum" and (
            separation in _NOT_NEGATIVE
            or (separation == "polynomial" and equation["degree"] % 2 == 0)
            or equation["similarity"] == "normalized_dot"
            or equation.get("transform") in ("inverse", "rbf")
        )

    def _rows(self, X: Any, *, reset: bool, **checks: Any) -> Any:
        """Checked rows of `fit`, with y if it is there; float32 stays float32."""
        checked = validate_data(
            self, X, reset=reset, dtype=[np.float64, np.float32], order="C", **checks
        )
        rows = checked[0] if isinstance(checked, tuple) else checked
        if _needs_positive(self.similarity):
            check_non_negative(np.nan_to_num(rows), f"X in {type(self).__name__}.fit")
        return checked

    def _queries(self, X: Any, **checks: Any) -> Array:
        """Checked rows of a question."""
        check_is_fitted(self)
        queries: Array = validate_data(
            self, X, reset=False, dtype=[np.float64, np.float32], order="C", **checks
        )
        return queries

    def _store(
        self, rows: Array, values: Array | None, sample_weight: Any, equation: dict[str, Any]
    ) -> None:
        """Append rows that were checked, to a new memory if there is none."""
        prior = None
        if sample_weight is not None:
            memory = getattr(self, "memory_", None) or Memory(**equation)
            kept, prior = self._prior(rows, sample_weight, memory.separation)
            rows, values = rows[kept], None if values is None else values[kept]
        if not hasattr(self, "memory_"):
            if not len(rows):
                raise ValueError("every sample_weight is zero: there is no row to store")
            self.memory_ = Memory(rows, values, prior=prior, copy=True, **equation)
        elif len(rows):
            self.memory_.store(rows, values, prior=prior, copy=True)

    def _prior(
        self, rows: Array, sample_weight: Any, separation: object
    ) -> tuple[Array, Array | None]:
        """Which rows have a weight, and the prior of those."""
        weight = check_array(
            sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
        )
        if weight.shape != (len(rows),):
            raise ValueError(
                f"sample_weight has shape {weight.shape}; X has {len(rows)} rows, so that it "
                f"must have shape ({len(rows)},)"
            )
        if (weight < 0).any():
            raise ValueError("sample_weight has negative entries; a row counts 0 or more times")
        kept = weight > 0
        if separation not in _ORDERED:
            return kept, weight[kept]
        if separation != "max" and (weight[kept] != 1).any():
            raise ValueError(
                f"separation {separation!r} counts rows, so that sample_weight may only be 0 "
                "or 1; give each row as often as it counts, or take separation 'softmax'"
            )
        return kept, None

    def _forget(self) -> dict[str, Any]:
        """Drop what an earlier `fit` stored; the equation for a new memory."""
        equation = self._equation()
        if hasattr(self, "memory_"):
            del self.memory_
        return equation

    def _refuse_silence(self, answers: Array, queries: Array) -> None:
        """ValueError if no row has a weight for some query, where that may be."""
        separation = self.memory_.separation
        if separation not in ("threshold", "rectified_polynomial"):
            return
        for i in np.flatnonzero(~answers.any(axis=1)):
            if self.memory_.weights(queries[i]).any():
                continue
            if separation == "threshold":
                theta = self.memory_.parameters["theta"]
                raise ValueError(
                    f"no stored row has a score of theta={theta:g} or more for X[{i}]; lower "
                    "theta, or take another separation"
                )
            raise ValueError(
                f"no stored row has a score above 0 for X[{i}], and separation {separation!r} "
                "gives weight to no other; take another separation or, with a distance, "
                "distance_transform='inverse' or 'rbf'"
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = _needs_positive(self.similarity)
        return tags


def _has_proba(estimator: _Estimator) -> bool:
    if not estimator._is_distribution():
        raise AttributeError(
            "predict_proba needs weights that are a distribution over the stored rows; those "
            f"of separation {estimator.separation!r} with these parameters are not: use "
            "decision_function, normalize='sum' or separation 'softmax'"
        )
    return True


def _has_energy(estimator: _Estimator) -> bool:
    try:
        Memory([[1.0]], **estimator._equation()).energy([1.0])
    except (TypeError, ValueError) as error:
        raise AttributeError(f"score_samples is minus the energy: {error}") from error
    return True


class AssociativeDenoiser(OneToOneFeatureMixin, TransformerMixin, _Estimator):
    """Replace every row by what a memory of the rows of `fit` recalls for it.

    ``z = P . sep(sim(M, q))`` with the rows of `fit` as patterns M and as values P: the nearest
    of them for the default separation 'max', a mean of near ones for 'softmax'.

    Parameters
    ----------
    similarity : str or callable, default 'manhattan'
        A name of `uhn.similarities`, or a function as for `uhn.Memory`.
    separation : str or callable, default 'max'
        A name of `uhn.separations`, or a function as for `uhn.Memory`.
    distance_transform : {'negative', 'inverse', 'rbf'}, default 'negative'
        How a distance d becomes a score: -d, 1 / (d + eps), or exp(-gamma d^2).
    eps, gamma, beta, degree, k, alpha, theta
        Numbers of the equation, as in `uhn.Memory`; ignored where it does not read them.
    normalize : {'sum', 'none'}, default 'sum'
        'sum' divides by the sum of the magnitudes of the weights, where they are not normalised
        by definition, so that answers are as large as the rows.
    normalize_scores : bool, default False
        Divide the scores of a query by their sum first.
    n_steps : int, default 1
        Number of updates, each answer being the next query.
    tol : float or None, default None
        Stop a row early when no component changed by more than this in a step.

    Attributes
    ----------
    memory_ : uhn.Memory
        The memory that answers.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Names of the columns, where X had some.

    See Also
    --------
    uhn.Memory : The equation and its parameters.

    Notes
    -----
    float32 rows in `fit` make a float32 memory, and answers are float32; all else computes in
    float64. A row's answer has the same bits whatever else is in the call. `partial_fit`
    appends under the equation of the first call. A row that no pattern answers under separation
    'threshold' becomes zeros.

    References
    ----------
    Millidge et al., Universal Hopfield Networks, ICML 2022, arXiv 2202.04557.

    Examples
    --------
    >>> from uhn.sklearn import AssociativeDenoiser
    >>> denoiser = AssociativeDenoiser().fit([[0, 0, 1, 1], [1, 1, 0, 0]])
    >>> denoiser.transform([[0.2, 0.1, 0.7, 1.0], [0.6, 0.9, 0.3, 0.3]])
    array([[0., 0., 1., 1.],
           [1., 1., 0., 0.]])
    """

    def __init__(
        self,
        *,
        similarity: str | Callable[..., Any] = "manhattan",
        separation: str | Callable[..., Any] = "max",
        distance_transform: str = "negative",
        eps: float = 0.0,
        gamma: float = 1.0,
        beta: float = 1.0,
        degree: float = 2.0,
        k: int = 1,
        alpha: float = 1.5,
        theta: float = 0.0,
        normalize: str = "sum",
        normalize_scores: bool = False,
        n_steps: int = 1,
        tol: float | None = None,
    ) -> None:
        self.similarity = similarity
        self.separation = separation
        self.distance_transform = distance_transform
        self.eps = eps
        self.gamma = gamma
        self.beta = beta
        self.degree = degree
        self.k = k
        self.alpha = alpha
        self.theta = theta
        self.normalize = normalize
        self.normalize_scores = normalize_scores
        self.n_steps = n_steps
        self.tol = tol

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> AssociativeDenoiser:
        """Store the rows of X, and forget what was stored before.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
        y : None
            Ignored.
        sample_weight : array_like, shape (n_samples,), optional
            How often each row counts, >= 0; the module's page says where that means something.

        Returns
        -------
        AssociativeDenoiser
            The estimator itself.

        Raises
        ------
        ValueError, TypeError
            If a parameter is wrong, or X holds anything but finite real numbers, or numbers
            outside the domain of the similarity.
        """
        rows = self._rows(X, reset=True)
        self._store(rows, None, sample_weight, self._forget())
        return self

    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None
    ) -> AssociativeDenoiser:
        """Store the rows of X beside those stored before; parameters as for `fit`."""
        new = not hasattr(self, "memory_")
        rows = self._rows(X, reset=new)
        self._store(rows, None, sample_weight, self._forget() if new else {})
        return self

    def _forget(self) -> dict[str, Any]:
        _check_steps(self.n_steps, self.tol)
        return super()._forget()

    def transform(self, X: Any) -> Array:
        """What the memory recalls for every row.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)

        Returns
        -------
        ndarray, shape (n_samples, n_features)

        Raises
        ------
        ValueError
            If the columns are not those of `fit`, a number is not finite, or no stored row can
            answer.
        """
        queries = self._queries(X)
        return self.memory_.retrieve(queries, n_steps=self.n_steps, tol=self.tol)

    @available_if(_has_energy)
    def score_samples(self, X: Any) -> Array:
        """How familiar every row is: minus the energy of the memory.

        There for similarity 'dot' and 'sqeuclidean' where the weights have an energy, see
        `uhn.Memory.energy`. For 'sqeuclidean' and 'softmax' with n stored rows of d features
        the log-density of a Gaussian kernel of variance 1 / (2 beta), as of scikit-learn's
        KernelDensity, is ``beta score_samples(X) - log(n) - d / 2 log(pi / beta)``.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)

        Returns
        -------
        ndarray of float64, shape (n_samples,)
        """
        queries = self._queries(X)
        energies: Array = self.memory_.energy(queries)
        return -energies

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class AssociativeImputer(OneToOneFeatureMixin, TransformerMixin, _Estimator):
    """Fill the gaps of every row with what a memory of the rows of `fit` recalls there.

    NaN is a gap, in `fit` as in `transform`. Rows are compared over the features that both know
    (`uhn.Memory.retrieve` has the rule; for 'euclidean' it is scikit-learn's
    nan_euclidean_distances), and a feature is answered by the rows that know it. The default is
    scikit-learn's KNNImputer: the mean of the 5 nearest rows. Separation 'softmax' takes a mean
    of all of them, near ones counting more.

    Parameters
    ----------
    similarity : str, default 'euclidean'
        A name of `uhn.similarities`.
    separation : str or callable, default 'topk'
        A name of `uhn.separations`, or a function as for `uhn.Memory`.
    distance_transform : {'negative', 'inverse', 'rbf'}, default 'negative'
        How a distance d becomes a score: -d, 1 / (d + eps), or exp(-gamma d^2).
    eps, gamma, beta, degree, k, alpha, theta
        Numbers of the equation, as in `uhn.Memory`; ignored where it does not read them. `k` is
        5 by default.
    normalize : {'sum', 'none'}, default 'sum'
        'sum' divides by the sum of the magnitudes of the weights, where they are not normalised
        by definition.
    normalize_scores : bool, default False
        Divide the scores of a query by their sum first.
    keep_observed : bool, default True
        Keep what a row knows. False: the whole row is what the memory recalls.
    n_steps : int, default 1
        Number of updates, each answer being the next query; what a row knows stays, if it is
        kept.
    tol : float or None, default None
        Stop a row early when no component changed by more than this in a step.

    Attributes
    ----------
    memory_ : uhn.Memory
        The memory that answers.
    statistics_ : ndarray, shape (n_features_in_,)
        Mean of every column in `fit`, 0 for a column without a number. It fills what no stored
        row can answer.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Names of the columns, where X had some.

    See Also
    --------
    uhn.Memory.retrieve : What is done about missing features.

    Notes
    -----
    Scratch is bounded: there is no matrix of distances. float32 rows in `fit` make a float32
    memory, and answers are float32; all else computes in float64. A row's answer has the same
    bits whatever else is in the call. `partial_fit` appends under the equation of the first
    call.

    References
    ----------
    Dixon, Pattern recognition with partly missing data, IEEE Transactions on Systems, Man, and
    Cybernetics 9 (1979); Troyanskaya et al., Missing value estimation methods for DNA
    microarrays, Bioinformatics 17 (2001); Millidge et al., Universal Hopfield Networks, ICML
    2022, arXiv 2202.04557.

    Examples
    --------
    >>> import numpy as np
    >>> from uhn.sklearn import AssociativeImputer
    >>> X = [[1.0, 2.0, np.nan], [3.0, 4.0, 3.0], [np.nan, 6.0, 5.0], [8.0, 8.0, 7.0]]
    >>> AssociativeImputer(k=2).fit_transform(X)
    array([[1. , 2. , 4. ],
           [3. , 4. , 3. ],
           [5.5, 6. , 5. ],
           [8. , 8. , 7. ]])
    """

    def __init__(
        self,
        *,
        similarity: str = "euclidean",
        separation: str | Callable[..., Any] = "topk",
        distance_transform: str = "negative",
        eps: float = 0.0,
        gamma: float = 1.0,
        beta: float = 1.0,
        degree: float = 2.0,
        k: int = 5,
        alpha: float = 1.5,
        theta: float = 0.0,
        normalize: str = "sum",
        normalize_scores: bool = False,
        keep_observed: bool = True,
        n_steps: int = 1,
        tol: float | None = None,
    ) -> None:
        self.similarity = similarity
        self.separation = separation
        self.distance_transform = distance_transform
        self.eps = eps
        self.gamma = gamma
        self.beta = beta
        self.degree = degree
        self.k = k
        self.alpha = alpha
        self.theta = theta
        self.normalize = normalize
        self.normalize_scores = normalize_scores
        self.keep_observed = keep_observed
        self.n_steps = n_steps
        self.tol = tol

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> AssociativeImputer:
        """Store the rows of X, and forget what was stored before.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            NaN where there is no number.
        y : None
            Ignored.
        sample_weight : array_like, shape (n_samples,), optional
            How often each row counts, >= 0; the module's page says where that means something.

        Returns
        -------
        AssociativeImputer
            The estimator itself.

        Raises
        ------
        ValueError, TypeError
            If a parameter is wrong, or X holds anything but real numbers and NaN, or numbers
            outside the domain of the similarity.
        """
        rows = self._rows(X, reset=True, ensure_all_finite="allow-nan")
        equation = self._forget()
        self._sums, self._counts = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
        self._append(rows, sample_weight, equation)
        return self

    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None
    ) -> AssociativeImputer:
        """Store the rows of X beside those stored before; parameters as for `fit`."""
        if not hasattr(self, "memory_"):
            return self.fit(X, sample_weight=sample_weight)
        rows = self._rows(X, reset=False, ensure_all_finite="allow-nan")
        self._append(rows, sample_weight, {})
        return self

    def _append(self, rows: Array, sample_weight: Any, equation: dict[str, Any]) -> None:
        self._store(rows, None, sample_weight, equation)
        weight = np.ones(len(rows))
        if sample_weight is not None:
            weight = np.asarray(sample_weight, dtype=np.float64)
        known = ~np.isnan(rows)
        self._counts = self._counts + (known * weight[:, None]).sum(axis=0)
        self._sums = self._sums + (np.where(known, rows, 0) * weight[:, None]).sum(axis=0)
        self.statistics_ = self._sums / np.where(self._counts, self._counts, 1)

    def _equation(self) -> dict[str, Any]:
        return {**super()._equation(), "nan": "missing"}

    def _forget(self) -> dict[str, Any]:
        if not isinstance(self.keep_observed, (bool, np.bool_)):
            raise TypeError(f"keep_observed must be True or False, not {self.keep_observed!r}")
        if callable(self.similarity):
            raise ValueError(
                "a similarity of your own is not defined where features are missing; use a "
                "name of uhn.similarities()"
            )
        _check_steps(self.n_steps, self.tol)
        return super()._forget()

    def transform(self, X: Any) -> Array:
        """The rows with their gaps filled.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            NaN where there is no number.

        Returns
        -------
        ndarray, shape (n_samples, n_features)
            Without NaN: what nobody can answer is the mean of its column in `fit`.

        Raises
        ------
        ValueError
            If the columns are not those of `fit`, or a number is infinite.
        """
        queries = self._queries(X, ensure_all_finite="allow-nan")
        filled = self.memory_.retrieve(
            queries, n_steps=self.n_steps, tol=self.tol, clamp=bool(self.keep_observed)
        )
        return np.where(np.isnan(filled), self.statistics_.astype(filled.dtype), filled)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.allow_nan = True
        return tags


class AssociativeClassifier(ClassifierMixin, _Estimator):
    """Recall the label of a row from a memory of labelled rows.

    Mode 'hetero' stores the rows of `fit` as patterns M and their one-hot labels as values P,
    so that ``z = P . sep(sim(M, q))`` is the weight of each class. Mode 'completion' stores
    rows ``[x, one-hot]`` that are their own values, asks with the label part hidden (zeros),
    and reads that part of the answer. One update of either gives the same weights where hidden
    labels change no score, or all by the same (dot products; softmax of 'sqeuclidean',
    'manhattan'); more than one lets a label that has been recalled pull the row after it.

    Parameters
    ----------
    similarity : str or callable, default 'sqeuclidean'
        A name of `uhn.similarities`, or a function as for `uhn.Memory`.
    separation : str or callable, default 'softmax'
        A name of `uhn.separations`, or a function as for `uhn.Memory`.
    distance_transform : {'negative', 'inverse', 'rbf'}, default 'negative'
        How a distance d becomes a score: -d, 1 / (d + eps), or exp(-gamma d^2).
    eps, gamma, beta, degree, k, alpha, theta
        Numbers of the equation, as in `uhn.Memory`; ignored where it does not read them. `k` is
        5 by default.
    normalize : {'sum', 'none'}, default 'sum'
        'sum' divides by the sum of the magnitudes of the weights, where they are not normalised
        by definition.
    normalize_scores : bool, default False
        Divide the scores of a query by their sum first.
    mode : {'hetero', 'completion'}, default 'hetero'
        How labels are stored and recalled.
    n_steps : int, default 1
        Number of updates of mode 'completion'; ignored by 'hetero', whose answers are no rows.
    tol : float or None, default None
        Stop a row of mode 'completion' early when no component changed by more than this.

    Attributes
    ----------
    memory_ : uhn.Memory
        The memory that answers.
    classes_ : ndarray, shape (n_classes,)
        The labels, sorted.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Names of the columns, where X had some.

    See Also
    --------
    uhn.Memory : The equation and its parameters.

    Notes
    -----
    Scale the columns (StandardScaler) or choose beta by a grid: softmax of squared distances
    has the width ``1 / sqrt(2 beta)``. 'max' is the nearest neighbour, 'topk' the k nearest,
    'threshold' with ``theta=-r`` all within distance r. float32 rows in `fit` make a float32
    memory; all else computes in float64. A row's answer has the same bits whatever else is in
    the call. `partial_fit` appends under the equation and mode of the first call.

    References
    ----------
    Millidge et al., Universal Hopfield Networks, ICML 2022, arXiv 2202.04557; completion of the
    label as in Krotov and Hopfield, arXiv 1606.01164.

    Examples
    --------
    >>> from uhn.sklearn import AssociativeClassifier
    >>> X, y = [[0.0], [1.0], [4.0], [5.0]], ["low", "low", "high", "high"]
    >>> classifier = AssociativeClassifier(beta=0.5).fit(X, y)
    >>> classifier.predict([[1.5], [3.5]]).tolist()
    ['low', 'high']
    >>> classifier.predict_proba([[2.5], [1.5]]).round(3)
    array([[0.5  , 0.5  ],
           [0.037, 0.963]])
    """

    def __init__(
        self,
        *,
        similarity: str | Callable[..., Any] = "sqeuclidean",
        separation: str | Callable[..., Any] = "softmax",
        distance_transform: str = "negative",
        eps: float = 0.0,
        gamma: float = 1.0,
        beta: float = 1.0,
        degree: float = 2.0,
        k: int = 5,
        alpha: float = 1.5,
        theta: float = 0.0,
        normalize: str = "sum",
        normalize_scores: bool = False,
        mode: str = "hetero",
        n_steps: int = 1,
        tol: float | None = None,
    ) -> None:
        self.similarity = similarity
        self.separation = separation
        self.distance_transform = distance_transform
        self.eps = eps
        self.gamma = gamma
        self.beta = beta
        self.degree = degree
        self.k = k
        self.alpha = alpha
        self.theta = theta
        self.normalize = normalize
        self.normalize_scores = normalize_scores
        self.mode = mode
        self.n_steps = n_steps
        self.tol = tol

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> AssociativeClassifier:
        """Store the rows of X with their labels, and forget what was stored before.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
        y : array_like, shape (n_samples,)
            Labels, of any type that sorts.
        sample_weight : array_like, shape (n_samples,), optional
            How often each row counts, >= 0; the module's page says where that means something.

        Returns
        -------
        AssociativeClassifier
            The estimator itself.

        Raises
        ------
        ValueError, TypeError
            If a parameter is wrong, y is no vector of labels, or X holds anything but finite
            real numbers, or numbers outside the domain of the similarity.
        """
        rows, y = self._rows(X, reset=True, y=y)
        check_classification_targets(y)
        equation = self._forget()
        self.classes_ = unique_labels(y)
        self._append(rows, y, sample_weight, equation)
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> AssociativeClassifier:
        """Store the rows of X beside those stored before.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array_like, shape (n_classes,), optional
            All labels that will ever be stored. Needed in the first call; may be left out
            later.

        Returns
        -------
        AssociativeClassifier
            The estimator itself.

        Raises
        ------
        ValueError, TypeError
            As `fit`; also if y holds a label that is not one of the classes, or `classes` is
            missing in the first call or another in a later one.
        """
        new = not hasattr(self, "memory_")
        rows, y = self._rows(X, reset=new, y=y)
        check_classification_targets(y)
        if new and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit")
        known = self.classes_ if classes is None else unique_labels(classes)
        if not new and not np.array_equal(known, self.classes_):
            raise ValueError(
                f"classes are {known.tolist()}, but those of the first call were "
                f"{self.classes_.tolist()}; leave them out, or call fit"
            )
        strange = np.setdiff1d(y, known)
        if len(strange):
            raise ValueError(
                f"y has the labels {strange.tolist()}, which are not in classes "
                f"{known.tolist()}"
            )
        equation = self._forget() if new else {}
        self.classes_ = known
        self._append(rows, y, sample_weight, equation)
        return self

    def _append(
        self, rows: Array, y: Array, sample_weight: Any, equation: dict[str, Any]
    ) -> None:
        labels = np.zeros((len(rows), len(self.classes_)), dtype=rows.dtype)
        labels[np.arange(len(rows)), np.searchsorted(self.classes_, y)] = 1
        if self._completes():
            self._store(np.hstack([rows, labels]), None, sample_weight, equation)
        else:
            self._store(rows, labels, sample_weight, equation)

    def _completes(self) -> bool:
        """Whether the memory, or the one to come, completes rows."""
        if hasattr(self, "memory_"):
            return self.memory_.is_autoassociative
        return self.mode == "completion"

    def _forget(self) -> dict[str, Any]:
        if not isinstance(self.mode, str) or self.mode not in ("hetero", "completion"):
            raise ValueError(f"mode must be 'hetero' or 'completion', not {self.mode!r}")
        if self.mode == "completion":
            _check_steps(self.n_steps, self.tol)
        return super()._forget()

    def decision_function(self, X: Any) -> Array:
        """What the memory recalls for every class.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)

        Returns
        -------
        ndarray, shape (n_samples, n_classes)
            The values retrieved; for two classes, shape (n_samples,), that of the second less
            that of the first.

        Raises
        ------
        ValueError
            If the columns are not those of `fit`, a number is not finite, or no stored row can
            answer.
        """
        recalled = self._recall(X)
        return recalled[:, 1] - recalled[:, 0] if recalled.shape[1] == 2 else recalled

    def predict(self, X: Any) -> Array:
        """The class of the largest value, the first of them on ties.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)

        Returns
        -------
        ndarray, shape (n_samples,)

        Raises
        ------
        ValueError
            As `decision_function`.
        """
        recalled = self._recall(X)
        labels: Array = self.classes_[np.argmax(recalled, axis=1)]
        return labels

    @available_if(_has_proba)
    def predict_proba(self, X: Any) -> Array:
        """The weight of each class, where the weights of the rows are a distribution.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)

        Returns
        -------
        ndarray, shape (n_samples, n_classes)
            Rows >= 0 that sum to 1.

        Raises
        ------
        ValueError
            As `decision_function`.
        """
        return self._recall(X)

    def _recall(self, X: Any) -> Array:
        queries = self._queries(X)
        n_classes = len(self.classes_)
        if not self._completes():
            recalled = self.memory_.retrieve(queries)
        else:
            hidden = np.zeros((len(queries), n_classes), dtype=queries.dtype)
            queries = np.hstack([queries, hidden])
            rows = self.memory_.retrieve(queries, n_steps=self.n_steps, tol=self.tol)
            recalled = rows[:, -n_classes:]
        self._refuse_silence(recalled, queries)
        return recalled


class AssociativeRegressor(MultiOutputMixin, RegressorMixin, _Estimator):
    """Recall the target of a row from a memory of rows and targets.

    ``z = P . sep(sim(M, q))`` with the rows of `fit` as patterns M and their targets as values
    P: a mean of the targets under the weights of the rows. Softmax of squared distances, the
    default, is Nadaraya and Watson's estimator with a Gaussian kernel of variance 1 / (2 beta);
    'max' is the nearest neighbour, 'topk' the k nearest, 'threshold' with ``theta=-r`` all
    within distance r, 'identity' of a distance with ``distance_transform='inverse'`` Shepard's
    interpolation.

    Parameters
    ----------
    similarity : str or callable, default 'sqeuclidean'
        A name of `uhn.similarities`, or a function as for `uhn.Memory`.
    separation : str or callable, default 'softmax'
        A name of `uhn.separations`, or a function as for `uhn.Memory`.
    distance_transform : {'negative', 'inverse', 'rbf'}, default 'negative'
        How a distance d becomes a score: -d, 1 / (d + eps), or exp(-gamma d^2).
    eps, gamma, beta, degree, k, alpha, theta
        Numbers of the equation, as in `uhn.Memory`; ignored where it does not read them. `k` is
        5 by default.
    normalize : {'sum', 'none'}, default 'sum'
        'sum' divides by the sum of the magnitudes of the weights, where they are not normalised
        by definition.
    normalize_scores : bool, default False
        Divide the scores of a query by their sum first.

    Attributes
    ----------
    memory_ : uhn.Memory
        The memory that answers.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Names of the columns, where X had some.

    See Also
    --------
    uhn.Memory : The equation and its parameters.

    Notes
    -----
    Scale the columns (StandardScaler) or choose beta by a grid. float32 rows in `fit` make a
    float32 memory, and answers are float32; all else computes in float64. A row's answer has
    the same bits whatever else is in the call. `partial_fit` appends under the equation of the
    first call.

    References
    ----------
    Nadaraya, On estimating regression, Theory of Probability and its Applications 9 (1964);
    Watson, Smooth regression analysis, Sankhya A 26 (1964); Shepard, A two-dimensional
    interpolation function for irregularly-spaced data, ACM National Conference (1968); Millidge
    et al., Universal Hopfield Networks, ICML 2022, arXiv 2202.04557.

    Examples
    --------
    >>> from uhn.sklearn import AssociativeRegressor
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
    >>> AssociativeRegressor(beta=2.0).fit(X, y).predict([[1.0], [2.5]]).round(3)
    array([1.215, 6.45 ])
    >>> AssociativeRegressor(separation="topk", k=2).fit(X, y).predict([[1.4]])
    array([2.5])
    """

    def __init__(
        self,
        *,
        similarity: str | Callable[..., Any] = "sqeuclidean",
        separation: str | Callable[..., Any] = "softmax",
        distance_transform: str = "negative",
        eps: float = 0.0,
        gamma: float = 1.0,
        beta: float = 1.0,
        degree: float = 2.0,
        k: int = 5,
        alpha: float = 1.5,
        theta: float = 0.0,
        normalize: str = "sum",
        normalize_scores: bool = False,
    ) -> None:
        self.similarity = similarity
        self.separation = separation
        self.distance_transform = distance_transform
        self.eps = eps
        self.gamma = gamma
        self.beta = beta
        self.degree = degree
        self.k = k
        self.alpha = alpha
        self.theta = theta
        self.normalize = normalize
        self.normalize_scores = normalize_scores

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> AssociativeRegressor:
        """Store the rows of X with their targets, and forget what was stored before.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
        y : array_like, shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array_like, shape (n_samples,), optional
            How often each row counts, >= 0; the module's page says where that means something.

        Returns
        -------
        AssociativeRegressor
            The estimator itself.

        Raises
        ------
        ValueError, TypeError
            If a parameter is wrong, or X or y hold anything but finite real numbers, or X
            numbers outside the domain of the similarity.
        """
        rows, y = self._rows(X, reset=True, y=y, y_numeric=True, multi_output=True)
        equation = self._forget()
        self._append(rows, y, sample_weight, equation)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> AssociativeRegressor:
        """Store the rows of X beside those stored before; parameters as for `fit`.

        Raises
        ------
        ValueError, TypeError
            As `fit`; also if y has not as many outputs as in the first call.
        """
        new = not hasattr(self, "memory_")
        rows, y = self._rows(X, reset=new, y=y, y_numeric=True, multi_output=True)
        if not new and y.shape[1:] != self._output_shape:
            raise ValueError(
                f"y has shape {y.shape}, but one row of the first call's y had shape "
                f"{self._output_shape}; call fit to begin again"
            )
        self._append(rows, y, sample_weight, self._forget() if new else {})
        return self

    def _append(
        self, rows: Array, y: Array, sample_weight: Any, equation: dict[str, Any]
    ) -> None:
        self._store(rows, y.reshape(len(y), -1), sample_weight, equation)
        self._output_shape = y.shape[1:]

    def predict(self, X: Any) -> Array:
        """The targets recalled for every row.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)

        Returns
        -------
        ndarray, shape (n_samples,) or (n_samples, n_outputs)
            Of the shape that y had in `fit`.

        Raises
        ------
        ValueError
            If the columns are not those of `fit`, a number is not finite, or no stored row can
            answer.
        """
        queries = self._queries(X)
        recalled = self.memory_.retrieve(queries)
        self._refuse_silence(recalled, queries)
        return recalled.reshape(len(recalled), *self._output_shape)
