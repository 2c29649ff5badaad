"""Memories of real numbers: modern Hopfield networks, continuous SDM, mean shift.

All three are one `uhn.Memory` each, with the energy and the theory that belong to it.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self, SupportsIndex

import numpy as np
import numpy.typing as npt

from uhn import _core
from uhn.models._base import (
    FIXED_POINT,
    STEP_LIMIT,
    Model,
    make_trace,
    number,
    real_rows,
    settle,
    take_choice,
)
from uhn.models._schedule import whole
from uhn.results import Recall

__all__ = ["ContinuousSDM", "ErrorBounds", "MeanShiftMemory", "ModernHopfieldNetwork"]

Array = npt.NDArray[Any]

SEPARATIONS = ("softmax", "entmax", "sparsemax")
#: Rows that a loop over all patterns takes at once.
BLOCK = 1024


class _Continuous(Model):
    """Storing and asking, for real patterns in a `uhn.Memory`."""

    n_features: int
    _memory: _core.Memory

    def __copy__(self) -> Self:
        """A model that shares the rows; what is stored into either afterwards is its own."""
        clone = object.__new__(type(self))
        clone.__dict__.update(self.__dict__)
        clone._memory = self._memory.copy()
        return clone

    @property
    def n_patterns(self) -> int:
        """Patterns stored."""
        return len(self._memory)

    @property
    def patterns(self) -> Array:
        """The patterns stored, (n_patterns, n_features), read-only where they are borrowed."""
        return np.asarray(self._memory) if len(self) else np.zeros((0, self.n_features))

    @property
    def values(self) -> Array:
        """What the patterns retrieve, (n_patterns, n_values): themselves unless given."""
        return self._memory.values if len(self) else np.zeros((0, self.n_features))

    def store(
        self,
        patterns: npt.ArrayLike,
        values: npt.ArrayLike | None = None,
        *,
        copy: bool = False,
    ) -> Self:
        """Add patterns, with the values they are to retrieve or as their own.

        Parameters
        ----------
        patterns : array_like, shape (n, n_features) or (n_features,)
            The first call decides: float32 makes a memory of float32, all else one of float64.
        values : array_like, shape (n, n_values) or (n_values,), optional
            Given in every call or in none.
        copy : bool, default False
            Copy arrays even where they could be borrowed, as `uhn.Memory` does.

        Returns
        -------
        The memory itself, so that calls can be chained.

        Raises
        ------
        ValueError
            If shapes do not fit or a number is not finite. Nothing is stored then.
        TypeError
            If an array is not of real numbers.
        """
        rows, _ = real_rows(patterns, self.n_features, "patterns")
        self._memory.store(rows, values, copy=copy)
        return self

    def retrieve(
        self, states: npt.ArrayLike, n_steps: SupportsIndex = 1, *, tol: float | None = None
    ) -> Array:
        """One update, or several.

        Parameters
        ----------
        states : array_like, shape (n_queries, n_features) or (n_features,)
        n_steps : int, default 1
            Updates, each beginning with the answer of the one before; 1 is attention. More
            need values as wide as the patterns. Exact without `tol`, the cap with it.
        tol : float, optional
            A state rests when no component changed by more.

        Returns
        -------
        ndarray, shape (n_queries, n_values) or (n_values,)

        Raises
        ------
        ValueError
            If nothing is stored, shapes do not fit, or a number is not finite.
        """
        return self._memory.retrieve(self._taken(states), n_steps, tol=tol)

    def recall(
        self,
        states: npt.ArrayLike,
        n_steps: SupportsIndex = 100,
        *,
        tol: float | None = 1e-6,
        trace: bool = False,
    ) -> Recall:
        """Update every state until it rests, and say how it ended and who answered.

        Parameters
        ----------
        states : array_like, shape (n_queries, n_features) or (n_features,)
        n_steps : int, default 100
            The most updates; 1 where values are not as wide as the patterns.
        tol : float or None, default 1e-6
            A state rests when no component changed by more in an update. Near a critical
            beta updates are short and a larger `n_steps` is needed.
        trace : bool, default False
            Keep states, energies and overlaps of every step.

        Returns
        -------
        Recall

        Raises
        ------
        ValueError
            If nothing is stored, shapes do not fit, or a number is not finite.
        """
        now = copy.copy(self)
        result = now._memory.recall(self._taken(states), n_steps, tol=tol, trace=trace)
        result._source = _Reader(now, result._source)
        if result.trace is not None and result.trace.energies is not None:
            energies = now._energies(result.trace.energies)
            result.trace = dataclasses.replace(result.trace, energies=energies)
        return result

    def weights(self, states: npt.ArrayLike) -> Array:
        """The weight of every pattern in the answer to every state, (n_queries, n_patterns)."""
        return self._memory.weights(self._taken(states))

    def energy(self, states: npt.ArrayLike) -> Any:
        """The energy of states that become their own queries.

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)

        Returns
        -------
        ndarray of float64, shape (n_states,), or float

        Raises
        ------
        ValueError
            If nothing is stored, or values other than the patterns are: then there is none.
        """
        energies = self._energies(self._memory.energy(self._taken(states)))
        return float(energies) if np.ndim(energies) == 0 else energies

    def lyapunov(self, mode: str = "sync") -> bool:
        """Whether the energy cannot rise: where the values are the patterns.

        Parameters
        ----------
        mode : {"sync"}
            Every component of a state is replaced at once.

        Returns
        -------
        bool

        Raises
        ------
        ValueError
            For another mode.
        """
        take_choice(mode, "mode", ("sync",))
        return not len(self) or self._memory.is_autoassociative

    def _taken(self, states: npt.ArrayLike) -> Array:
        rows, single = real_rows(states, self.n_features, "states")
        return np.asarray(rows[0]) if single else rows

    def _energies(self, energies: Any) -> Any:
        """The energy of this model from that of its memory."""
        return energies


class _Reader:
    """A model, as it was, as the source of a recall."""

    def __init__(self, model: _Continuous, source: Any) -> None:
        self._model = model
        self._source = source

    def overlaps(self, states: Array) -> Array:
        return np.asarray(self._source.overlaps(states))

    def weights(self, states: Array) -> Array:
        return np.asarray(self._source.weights(states))

    def energy(self, states: Array) -> Array:
        return np.asarray(self._model._energies(self._source.energy(states)))


@dataclass(frozen=True)
class ErrorBounds:
    """How far an update may be from a pattern and its fixed point, one row a state.

    Attributes
    ----------
    pattern : ndarray of int64, shape (n_states,)
        The pattern i the bounds are about.
    fixed_point : ndarray, shape (n_states, n_features)
        x*, where the recall of pattern i came to rest.
    distance : ndarray, shape (n_states,)
        r, the larger of |state - x_i| and |x* - x_i|.
    jacobian : ndarray, shape (n_states,)
        2 beta n M^2 (n - 1) exp(-beta (Delta_i - 2 r M)), no less than the spectral norm of
        the derivative of the update wherever it is no further than r from x_i (Theorem 4).
    to_fixed_point : ndarray, shape (n_states,)
        jacobian |state - x*|, no less than |update - x*| (Theorem 4).
    to_pattern : ndarray, shape (n_states,)
        2 (n - 1) M exp(-beta (Delta_i - 2 r M)), no less than |update - x_i| (Theorem 5).
    at_rest : ndarray, shape (n_states,)
        2 e (n - 1) M exp(-beta Delta_i), no less than |x* - x_i| (Theorem 5), where r is at
        most 1 / (2 beta M); infinite elsewhere.
    """

    pattern: Array
    fixed_point: Array
    distance: Array
    jacobian: Array
    to_fixed_point: Array
    to_pattern: Array
    at_rest: Array


class ModernHopfieldNetwork(_Continuous):
    """The continuous Hopfield network whose update is attention.

    With patterns as the rows of X, n of them, the largest of norm M,

        v <- X^T softmax(beta X v)
        E(v) = -log(sum exp(beta X v)) / beta + |v|^2 / 2 + log(n) / beta + M^2 / 2

    and 0 <= E <= 2 M^2 where |v| <= M. An update lowers E by at least |v' - v|^2 / 2, and every
    limit is a stationary point: one pattern, the mean of some that are near each other, or the
    mean of all (H. Ramsauer et al., Hopfield networks is all you need, ICLR 2021, arXiv
    2008.02217).

    'sparsemax' and 'entmax' put a sparse map of the same kind in the place of softmax, and its
    conjugate in the place of log-sum-exp. Patterns that are far enough apart are then retrieved
    without any error (`exact_radius`; S. Santos et al., arXiv 2411.08590; J. Hu et al., arXiv
    2309.12673).

    Parameters
    ----------
    n_features : int
    beta : float, default 1
        Inverse temperature, above 0. It multiplies the scores and nothing rescales it;
        1 / sqrt(n_features) is that of transformers.
    separation : {"softmax", "entmax", "sparsemax"}
    alpha : float, default 1.5
        Of 'entmax' alone: 1 is softmax, 2 sparsemax.

    Notes
    -----
    `retrieve` makes one update by default, as attention does; `recall` goes on to the fixed
    point. Queries are states here: `network.retrieve(q)` has the bits of
    ``uhn.attention(q, X, X, beta=beta)``. With values of their own patterns are keys, and there
    is no energy as an answer is not the next query.

    Examples
    --------
    >>> import numpy as np, uhn.models
    >>> network = uhn.models.ModernHopfieldNetwork(2, beta=10.0)
    >>> _ = network.store([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> found = network.recall([0.8, 0.3])
    >>> found.status, found.memories()[0]
    ('fixed point', array([0]))
    >>> np.round(found.state, 3)
    array([1., 0.])
    >>> bool(network.energy(found.state) < network.energy([0.8, 0.3]))
    True
    """

    _parameters: ClassVar[tuple[str, ...]] = ("n_features", "beta", "separation", "alpha")

    def __init__(
        self,
        n_features: int,
        beta: float = 1.0,
        separation: str = "softmax",
        alpha: float = 1.5,
    ) -> None:
        self.n_features = whole(n_features, "n_features", 1)
        self.beta = _positive(beta)
        self.separation = take_choice(separation, "separation", SEPARATIONS)
        if separation != "entmax" and alpha != 1.5:
            raise ValueError(f"separation '{separation}' does not read alpha; 'entmax' does")
        self.alpha = alpha
        equation: dict[str, Any] = {"separation": separation, "beta": self.beta}
        if separation == "entmax":
            equation["alpha"] = alpha
        self._memory = _core.Memory(similarity="dot", **equation)
        self._measured = (0, 0.0)  # rows whose norm was taken, and the largest square of it

    # ------------------------------------------------------------------------------- energy --

    def energy(self, states: npt.ArrayLike, *, constants: bool = True) -> Any:
        """The energy of states, in [0, 2 M^2] where |v| <= M.

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)
        constants : bool, default True
            With the terms that do not depend on the state: log(n) / beta and M^2 / 2. For
            'entmax' the first is (1 - n^(1 - alpha)) / (alpha (alpha - 1) beta), the entropy
            of equal weights there; sparsemax is alpha = 2.

        Returns
        -------
        ndarray of float64, shape (n_states,), or float

        Raises
        ------
        ValueError
            If nothing is stored, or values other than the patterns are: then there is none.
        """
        if constants:
            return super().energy(states)
        return self._memory.energy(self._taken(states))

    def _energies(self, energies: Any) -> Any:
        n = self.n_patterns
        below = self._alpha - 1
        uniform = math.log(n) if below == 0 else -math.expm1(-below * math.log(n)) / below
        return energies + (uniform / (self._alpha * self.beta) + self.largest_norm**2 / 2)

    @property
    def largest_norm(self) -> float:
        """M, the norm of the largest pattern; 0 if there is none."""
        measured, square = self._measured
        n = self.n_patterns
        for start in range(measured, n, BLOCK):
            rows = self._memory[start : min(start + BLOCK, n)]
            square = max(square, float(_squares(rows).max()))
        self._measured = (n, square)
        return math.sqrt(square)

    # ---------------------------------------------------------------- how far apart they are --

    def separations(self) -> Array:
        """Delta_i = x_i . x_i - max_(j != i) x_i . x_j of every pattern, in float64.

        Above 0 a pattern is more like itself than like any other; infinite for a pattern alone.

        Returns
        -------
        ndarray of float64, shape (n_patterns,)

        Raises
        ------
        ValueError
            If nothing is stored.

        Notes
        -----
        Products are taken a block of patterns at a time, never all n^2 of them.
        """
        n = self._filled()
        return self._deltas(np.arange(n))

    def well_separated(self) -> npt.NDArray[np.bool_]:
        """Which patterns are sure to have a fixed point close by.

        Those with Delta_i >= 2 / (beta n) + log(2 (n - 1) n beta M^2) / beta: an update then
        keeps the ball of radius 1 / (beta n M) about x_i within itself (Theorem 5's first
        bound, and appendix A of the paper). For 'softmax' alone.

        Returns
        -------
        ndarray of bool, shape (n_patterns,)

        Raises
        ------
        ValueError
            If nothing is stored, or for another separation.
        """
        self._softmax_only("well_separated")
        n = self._filled()
        if n == 1:
            return np.ones(1, dtype=np.bool_)
        M = self.largest_norm
        crowd = 2 * (n - 1) * n * self.beta * M**2
        least = 2 / (self.beta * n) + (math.log(crowd) if crowd > 0 else -math.inf) / self.beta
        return np.asarray(self.separations() >= least)

    def error_bounds(
        self, states: npt.ArrayLike, pattern: npt.ArrayLike | None = None
    ) -> ErrorBounds:
        """How far one update may leave states from a pattern and its fixed point.

        Theorems 4 and 5 of Ramsauer et al., for 'softmax' alone.

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)
        pattern : array_like of int, shape (n_states,), optional
            The pattern each state is compared with; the nearest by default.

        Returns
        -------
        ErrorBounds
            A bound that is larger than 2 M says nothing: an update is never further away.

        Raises
        ------
        ValueError
            If nothing is stored, for another separation, or for patterns there are not.
        """
        self._softmax_only("error_bounds")
        n = self._filled()
        rows, _ = real_rows(states, self.n_features, "states")
        if pattern is None:
            nearest = _core.Memory(self._memory, similarity="sqeuclidean").nearest(rows)
            index = nearest[0][:, 0]
        else:
            index = np.atleast_1d(np.asarray(pattern))
            if index.shape != (len(rows),) or not np.issubdtype(index.dtype, np.integer):
                raise ValueError(
                    f"pattern has shape {index.shape} and dtype {index.dtype}; pass one whole "
                    f"number a state, ({len(rows)},)"
                )
            if len(index) and (index.min() < 0 or index.max() >= n):
                raise ValueError(f"pattern must be from 0 to {n - 1}")
        x = self._memory[index] if len(index) else rows
        rest = self._memory.recall(x, 1000, tol=0.0).state
        deltas = self._deltas(index)
        from_pattern, moved = _norms(rows - x), _norms(rest - x)
        distance = np.maximum(from_pattern, moved)
        M, beta = self.largest_norm, self.beta
        near = [
            _exp(-beta * (delta - 2 * r * M)) for delta, r in zip(deltas, distance, strict=True)
        ]
        away = np.array([2 * (n - 1) * M * w for w in near])
        inside = 2 * beta * M * distance <= 1
        at_rest = np.array([2 * math.e * (n - 1) * M * _exp(-beta * delta) for delta in deltas])
        jacobian = away * (beta * n * M)
        return ErrorBounds(
            index.astype(np.int64),
            rest,
            distance,
            jacobian,
            jacobian * _norms(rows - rest),
            away,
            np.where(inside, at_rest, np.inf),
        )

    @staticmethod
    def capacity_bound(
        n_features: int, beta: float = 1.0, *, radius: float = 1.0, failure: float = 0.001
    ) -> float:
        """Random patterns that can be stored, at least (Theorem 3 of Ramsauer et al.).

        Patterns on the sphere of radius K sqrt(d - 1) are all retrieved with probability
        1 - failure if there are sqrt(failure) c^((d - 1) / 4) of them, with

            c = B / W0(exp(a + log B)),  a = 2 (1 + log(2 beta K^2 failure (d - 1))) / (d - 1),
            B = 2 K^2 beta / 5.

        Parameters
        ----------
        n_features : int
            d, at least 2.
        beta : float
        radius : float
            K.
        failure : float
            In (0, 1).

        Returns
        -------
        float
            0 where that number is below 2, for which the theorem does not hold.

        Raises
        ------
        ValueError
            If a number is out of its range.
        """
        d = whole(n_features, "n_features", 2)
        K = _positive(radius, "radius")
        beta = _positive(beta)
        p = _positive(failure, "failure")
        if p >= 1:
            raise ValueError(f"failure is {failure}; it is a probability, above 0 and below 1")
        a = 2 * (1 + math.log(2 * beta * K**2 * p * (d - 1))) / (d - 1)
        B = 2 * K**2 * beta / 5
        c = B / _lambert_of_exp(a + math.log(B))
        n = math.sqrt(p) * c ** ((d - 1) / 4)
        return n if n >= 2 else 0.0

    @property
    def margin(self) -> float:
        """How far the largest of beta X v must be above the next to have all the weight.

        1 / (alpha - 1) for 'entmax', 1 for 'sparsemax', infinite for 'softmax'.
        """
        return math.inf if self._alpha == 1 else 1 / (self._alpha - 1)

    def exact_radius(self) -> Array:
        """How far a state may be from each pattern and be led to it without any error.

        The update of v is x_i itself if Delta_i >= margin / beta + 2 M |v - x_i|. So the radius
        is (Delta_i - margin / beta) / (2 M): negative where even the pattern itself is not
        sure to stay, -inf throughout for 'softmax', whose weights are never 0.

        Returns
        -------
        ndarray of float64, shape (n_patterns,)

        Raises
        ------
        ValueError
            If nothing is stored.
        """
        slack = self.separations() - self.margin / self.beta
        M = self.largest_norm
        if M > 0:
            return np.asarray(slack / (2 * M))
        return np.where(slack >= 0, np.inf, -np.inf)

    # --------------------------------------------------------------------- metastable states --

    def metastable(
        self, states: npt.ArrayLike, *, mass: float = 0.9
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.str_]]:
        """How many patterns answer each state, and of which class that is.

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)
            Fixed points, as a rule.
        mass : float, default 0.9
            In (0, 1].

        Returns
        -------
        sizes : ndarray of int64, shape (n_states,)
            The least number of weights that sum to `mass`, but for rounding.
        classes : ndarray of str, shape (n_states,)
            'I' for more than n/2, 'II' to n/8, 'III' to n/32, 'IV' for n/32 and less: from the
            mean of nearly all to single patterns (Ramsauer et al., section 3).

        Raises
        ------
        ValueError
            If nothing is stored, or `mass` is out of its range.
        """
        mass = number(mass, "mass")
        if not 0 < mass <= 1:
            raise ValueError(f"mass is {mass}; it must be above 0 and at most 1")
        n = self._filled()
        rows, single = real_rows(states, self.n_features, "states")
        sizes = np.empty(len(rows), dtype=np.int64)
        at_once = max(1, (1 << 20) // n)
        for start in range(0, len(rows), at_once):
            weights = self._memory.weights(rows[start : start + at_once])
            largest = -np.sort(-weights.astype(np.float64), axis=1)
            enough = mass - 4 * np.finfo(weights.dtype).eps * n
            sizes[start : start + at_once] = 1 + (largest.cumsum(axis=1) < enough).sum(axis=1)
        sizes = np.minimum(sizes, n)
        names = np.array(["IV", "III", "II", "I"])
        classes = names[sum(((sizes * k > n).astype(int) for k in (2, 8, 32)), 0 * sizes)]
        return (sizes[0], classes[0]) if single else (sizes, classes)

    # ----------------------------------------------------------------------------- privately --

    @property
    def _alpha(self) -> float:
        return {"softmax": 1.0, "sparsemax": 2.0, "entmax": float(self.alpha)}[self.separation]

    def _filled(self) -> int:
        if not len(self):
            raise ValueError("the memory is empty: store patterns first")
        return self.n_patterns

    def _softmax_only(self, what: str) -> None:
        if self._alpha != 1:
            raise ValueError(
                f"{what} is a theorem about softmax, but separation is '{self.separation}'; "
                "see exact_radius"
            )

    def _deltas(self, index: Array) -> Array:
        """Delta_i of the patterns numbered so."""
        n = self.n_patterns
        deltas = np.full(len(index), np.inf)
        if n == 1:
            return deltas
        for start in range(0, len(index), BLOCK):
            chosen = index[start : start + BLOCK]
            rows = self._memory[chosen]
            best, scores = self._memory.nearest(rows, 2)
            scores = scores.astype(np.float64)
            # The best of the others is the second best, or the best where that is another.
            first = best[:, 0] == chosen
            others = np.where(first, scores[:, 1], scores[:, 0])
            own = np.where(first, scores[:, 0], scores[:, 1])
            for i in np.flatnonzero(~(best == chosen[:, np.newaxis]).any(axis=1)):
                row = rows[i : i + 1]
                own[i] = _core.similarity(row, row, "dot")[0, 0]
            deltas[start : start + BLOCK] = own - others
        return deltas


class MeanShiftMemory(_Continuous):
    """Patterns that states climb to: mean shift with a Gaussian kernel, to a mode of it.

        v <- sum_mu w_mu x_mu,  w = softmax(-beta |x_mu - v|^2 / 2)
        E(v) = -log(sum_mu exp(-beta |x_mu - v|^2 / 2)) / beta

    exp(-beta E) is, up to a constant, the density that a Gaussian of width 1 / sqrt(beta) about
    every pattern makes, and an update lowers E by at least |v' - v|^2 / 2: it is the
    expectation-maximisation step for that mixture (K. Fukunaga, L. Hostetler, 1975; Y. Cheng,
    1995). Patterns of one norm make it the modern Hopfield network; of several, distance finds
    a small pattern where the dot product prefers the large. With values it is the
    Nadaraya-Watson estimator, with no energy.

    Parameters
    ----------
    n_features : int
    beta : float, default 1
        1 / h^2 for kernels of width h; above 0.

    Examples
    --------
    >>> import uhn.models
    >>> memory = uhn.models.MeanShiftMemory(2, beta=20.0)
    >>> _ = memory.store([[0.1, 0.0], [3.0, 0.0]])
    >>> memory.recall([0.5, 0.2]).state
    array([0.1, 0. ])
    """

    _parameters: ClassVar[tuple[str, ...]] = ("n_features", "beta")

    def __init__(self, n_features: int, beta: float = 1.0) -> None:
        self.n_features = whole(n_features, "n_features", 1)
        self.beta = _positive(beta)
        self._memory = _core.Memory(
            similarity="sqeuclidean", separation="softmax", beta=self.beta / 2
        )

    def _energies(self, energies: Any) -> Any:
        return energies / 2  # that of the memory is -log(sum exp(-beta' d^2)) / beta'


class ContinuousSDM(_Continuous):
    """Sparse distributed memory with real addresses: softmax of cosines.

        z = P^T softmax(beta A q / |q|)

    with unit vectors as the rows of A, the addresses, and their contents as those of P. In
    the limit of very many hard locations the share of them that are near both an item's address
    and a query falls nearly exponentially with the distance of the two, which is this softmax:
    a read of Kanerva's memory is attention (T. Bricken, C. Pehlevan, Attention approximates
    sparse distributed memory, NeurIPS 2021, arXiv 2111.05498).

    Addresses are divided by their norms as they are stored, and queries as they are asked, so
    that lengths never matter and every dot product is a cosine. A query of zeros has the cosine
    0 with all addresses, and the mean of the contents is its answer.

    Without contents the addresses are their own. Then the answer is the next query, and
    E(v) = -log(sum_mu exp(beta a_mu . v / |v|)) / beta cannot rise: an update turns v to the
    direction in which the bound that is tangent to E is lowest.

    Parameters
    ----------
    n_features : int
        Of an address.
    beta : float, default 1
        Above 0.

    Examples
    --------
    >>> import numpy as np, uhn.models
    >>> memory = uhn.models.ContinuousSDM(3, beta=30.0)
    >>> _ = memory.store([[2.0, 0.0, 0.0], [0.0, 1.0, 1.0]], values=[[1.0, -1.0], [-1.0, 1.0]])
    >>> np.round(memory.retrieve([5.0, 1.0, 0.0]), 6)
    array([ 1., -1.])
    """

    _parameters: ClassVar[tuple[str, ...]] = ("n_features", "beta")

    def __init__(self, n_features: int, beta: float = 1.0) -> None:
        self.n_features = whole(n_features, "n_features", 1)
        self.beta = _positive(beta)
        self._memory = _core.Memory(similarity="dot", separation="softmax", beta=self.beta)

    def store(
        self,
        patterns: npt.ArrayLike,
        values: npt.ArrayLike | None = None,
        *,
        copy: bool = False,
    ) -> Self:
        """Add addresses, with the contents they are to retrieve or as their own.

        Parameters
        ----------
        patterns : array_like, shape (n, n_features) or (n_features,)
            Addresses of any length but 0; unit vectors of their directions are kept.
        values : array_like, shape (n, n_values) or (n_values,), optional
            Contents, given in every call or in none.
        copy : bool, default False
            Copy the contents even where they could be borrowed.

        Returns
        -------
        The memory itself, so that calls can be chained.

        Raises
        ------
        ValueError
            If an address is 0, shapes do not fit or a number is not finite.
        """
        rows, _ = real_rows(patterns, self.n_features, "patterns")
        zero = ~rows.any(axis=1)
        if zero.any():
            raise ValueError(
                f"patterns[{int(np.argmax(zero))}] is all zeros: it has no direction, and so "
                "is no address"
            )
        self._memory.store(_directions(rows), values, copy=copy)
        return self

    def retrieve(
        self, states: npt.ArrayLike, n_steps: SupportsIndex = 1, *, tol: float | None = None
    ) -> Array:
        """One read, or several, each answer being the next query.

        Parameters
        ----------
        states : array_like, shape (n_queries, n_features) or (n_features,)
            Of any length.
        n_steps : int, default 1
            Reads; more than one need contents as wide as the addresses. Exact without `tol`,
            the cap with it.
        tol : float, optional
            A state rests when no component changed by more.

        Returns
        -------
        ndarray, shape (n_queries, n_values) or (n_values,)

        Raises
        ------
        ValueError
            If nothing is stored, shapes do not fit, or a number is not finite.
        """
        n_steps = whole(n_steps, "n_steps", 0)
        if n_steps == 1:
            return self._memory.retrieve(self._taken(states), tol=tol)
        return np.asarray(self.recall(states, n_steps, tol=tol).state)

    def recall(
        self,
        states: npt.ArrayLike,
        n_steps: SupportsIndex = 100,
        *,
        tol: float | None = 1e-6,
        trace: bool = False,
    ) -> Recall:
        """Read until the answer rests, and say how it ended and who answered.

        Parameters
        ----------
        states : array_like, shape (n_queries, n_features) or (n_features,)
        n_steps : int, default 100
            The most reads; 1 where contents are not as wide as the addresses.
        tol : float or None, default 1e-6
            A state rests when no component changed by more in a read.
        trace : bool, default False
            Keep states, energies and overlaps of every step.

        Returns
        -------
        Recall
            Overlaps are cosines.

        Raises
        ------
        ValueError
            If nothing is stored, shapes do not fit, or a number is not finite.
        """
        n_steps = whole(n_steps, "n_steps", 0)
        tol = None if tol is None else _tolerance(tol)
        now = copy.copy(self)
        rows, single = real_rows(states, self.n_features, "states")
        if not len(self):
            raise ValueError("the memory is empty: store patterns first")
        if self._memory.n_values != self.n_features:
            # One read; the memory refuses more, with the reason.
            return super().recall(states, n_steps, tol=tol, trace=trace)
        rows = rows.astype(self._memory.dtype, copy=False)

        def step(directions: Array) -> tuple[Array, None]:
            return now._memory.retrieve(_directions(directions)), None

        if tol is None:
            asked = rest = rows
            way = [rows]
            for _ in range(n_steps):
                asked, rest = rest, step(rest)[0]
                way.append(rest)
            change = np.abs(rest - asked).max(axis=1, initial=0).astype(np.float64)
            steps = np.full(len(rows), n_steps)
            codes = np.where((change == 0) & (n_steps > 0), FIXED_POINT, STEP_LIMIT)
            way = way if trace else []
        else:
            rest, steps, codes, change, asked, way = settle(
                step, rows, n_steps=n_steps, tol=tol, trace=trace
            )
        source = _Directions(now)
        energy = source.energy if now.lyapunov() else None
        return Recall.of_batch(
            rest,
            steps,
            codes,
            change,
            single=single,
            source=source,
            asked=asked,
            trace=make_trace(way, energy, source.overlaps),
        )

    def energy(self, states: npt.ArrayLike) -> Any:
        """The energy of states, from -1 - log(n) / beta to 1.

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)
            Of any length: it does not count.

        Returns
        -------
        ndarray of float64, shape (n_states,), or float

        Raises
        ------
        ValueError
            If nothing is stored, or contents other than the addresses are.
        """
        directions = self._taken(states)
        energies = self._memory.energy(directions)
        rows = np.atleast_2d(directions).astype(self._memory.dtype or np.float64, copy=False)
        energies = energies - _squares(rows) / 2
        return float(energies[0]) if directions.ndim == 1 else energies

    def _taken(self, states: npt.ArrayLike) -> Array:
        rows, single = real_rows(states, self.n_features, "states")
        rows = _directions(rows.astype(self._memory.dtype or rows.dtype, copy=False))
        return np.asarray(rows[0]) if single else rows


class _Directions:
    """A continuous SDM, as it was, as the source of a recall."""

    def __init__(self, model: ContinuousSDM) -> None:
        self._model = model

    def overlaps(self, states: Array) -> Array:
        return self._model._memory.scores(_directions(states))

    def weights(self, states: Array) -> Array:
        return self._model._memory.weights(_directions(states))

    def energy(self, states: Array) -> Array:
        return np.asarray(self._model.energy(states))


# ----------------------------------------------------------------------------------- numbers --


def _positive(value: Any, name: str = "beta") -> float:
    real = number(value, name)
    if not (math.isfinite(real) and real > 0):
        raise ValueError(f"{name} is {value}; it must be finite and above 0")
    return real


def _tolerance(tol: Any) -> float:
    """`tol` as `uhn.Memory` takes it."""
    real = number(tol, "tol")
    if not (math.isfinite(real) and real >= 0):
        raise ValueError(f"tol must be finite and >= 0, not {real:g}")
    return real


def _squares(rows: Array) -> Array:
    """|row|^2 in float64, each row summed in an order that its length alone decides."""
    return np.asarray(np.square(np.ascontiguousarray(rows, dtype=np.float64)).sum(axis=1))


def _norms(rows: Array) -> Array:
    return np.asarray(np.sqrt(_squares(rows)))


def _directions(rows: Array) -> Array:
    """Rows divided by their norms, of whatever size; zeros stay zeros."""
    scaled = rows.astype(np.float64)
    largest = np.abs(scaled).max(axis=1, initial=0, keepdims=True)
    scaled = scaled / np.where(largest > 0, largest, 1)
    norms = np.where(largest > 0, _norms(scaled)[:, np.newaxis], 1)
    return np.asarray((scaled / norms).astype(rows.dtype))


def _exp(x: float) -> float:
    return math.exp(x) if x < 709 else math.inf


def _lambert_of_exp(y: float) -> float:
    """W0(exp(y)), the w > 0 with w + log w = y, by Newton's method on u = log w.

    e^u + u - y is convex and rising and not negative where we begin, so that every step goes
    down towards the root.
    """
    u = math.log(y) if y > 1 else y
    for _ in range(100):
        w = math.exp(u)
        step = (w + u - y) / (w + 1)
        u -= step
        if abs(step) <= 1e-16 * max(1.0, abs(u)):
            break
    return math.exp(u)
