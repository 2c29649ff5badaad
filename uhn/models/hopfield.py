"""The network of two-state units with pairwise weights, and the rules by which it learns."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from uhn import _core
from uhn.models._base import (
    CODINGS,
    decode,
    dots,
    encode,
    number,
    read_only,
    real_rows,
    take_choice,
)
from uhn.models._schedule import Schedule, cut_schedule, make_schedule, whole
from uhn.models._two_state import N_STEPS, Dynamics, Found, TwoStateMemory, last_copies

__all__ = ["HopfieldNetwork"]

Array = npt.NDArray[Any]
Spins = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float64]

RULES = ("hebb", "storkey", "pseudo_inverse", "perceptron", "covariance")
SCALES = ("none", "neurons", "patterns")
DIAGONALS = ("zero", "keep")


class HopfieldNetwork(TwoStateMemory):
    r"""Two-state units that pull each other towards what was stored (Hopfield 1982).

    Unit i has the field :math:`h_i = \sum_j W_{ij} s_j + b_i` and becomes the sign of it, one
    unit after the other (`mode="async"`) or all at once (`mode="sync"`). With symmetric weights
    and no self-coupling, one after the other can only lower

    .. math:: E(s) = -\tfrac12 \sum_{ij} W_{ij} s_i s_j - \sum_i b_i s_i,

    so that every state comes to rest. All at once ends in a fixed point or a cycle of two
    states; see `lyapunov`.

    Parameters
    ----------
    n_features : int
        Units, N.
    rule : str
        How :math:`A` is learned from the patterns :math:`\xi^\mu` (rows, as +1 and -1):

        ================== ===============================================================
        ``hebb``           :math:`A_{ij} = \sum_\mu \xi_i^\mu \xi_j^\mu`, in whole numbers.
        ``storkey``        Each pattern in turn, w = A / N: :math:`w_{ij} \mathrel{+}=
                           (\xi_i \xi_j - \xi_i h_{ji} - h_{ij} \xi_j) / N`, :math:`h_{ij} =
                           \sum_{k \ne i,j} w_{ik} \xi_k` (Storkey 1997). Depends on the
                           order of the patterns.
        ``pseudo_inverse`` A / N projects on the span of the patterns (Personnaz et al. 1986):
                           all of them are fixed points while they are fewer than N.
        ``perceptron``     Each unit raises the pattern on which it is least stable until
                           :math:`\xi_i \sum_j A_{ij} \xi_j \ge \kappa |A_i|` on all (Krauth
                           and Mezard 1987). Not symmetric: there is no energy.
        ``covariance``     :math:`A_{ij} = \sum_\mu (\eta_i^\mu - f)(\eta_j^\mu - f) /
                           (f (1 - f))` of sparse 0 and 1 (Tsodyks and Feigelman 1988).
        ================== ===============================================================
    scale : {"neurons", "none", "patterns"}
        W is A / N (the physics of Amit et al.), A (Hopfield 1982) or A over the number of
        patterns. It matters beside a bias, to temperatures and to numbers, not to the sign.
    diagonal : {"zero", "keep"}
        Whether :math:`W_{ii}` is 0 or what the rule gives (for storkey and perceptron: 0).
    bias : array_like, shape (n_features,), or float, optional
        b in the units of W. None is 0 for bipolar units; for binary ones see below.
    coding : {"bipolar", "binary"}
        Units of -1 and +1, or of 0 and 1. What is stored and asked must be so written.
    mask : array_like of bool, shape (n_features, n_features), optional
        Connections there are, [i, j] that from j to i; W is 0 elsewhere. Without symmetry there
        is no energy.
    activity : float, optional
        f, the fraction of ones, for the covariance rule.
    kappa : float, default 0.5
        The margin of the perceptron rule, in (0, 1) for most loads: 0.47 is possible for N
        random patterns, 1.03 for N / 2 (Gardner 1988).
    max_epochs : int, default 1000
        The perceptron rule gives up, with a RuntimeWarning, after so many times n_patterns
        raises of a unit.

    Notes
    -----
    *Binary units.* V is 0 or 1, :math:`h_i = \sum_j W_{ij} V_j + b_i`, V_i becomes 1 where it
    is above 0, and :math:`E = -\tfrac12 \sum W_{ij} V_i V_j - \sum b_i V_i`. Patterns are
    learned as 2 V - 1 (Hopfield 1982). ``bias=None`` is what the rule asks for: 0 for hebb (his
    threshold); for covariance the middle between the fields of ones and of zeros, :math:`f -
    \tfrac12` in the scale of neurons; and :math:`-\tfrac12 \sum_j W_{ij}` for the others, which
    makes them the bipolar network in other clothes. At temperature T a unit becomes 1 with
    probability :math:`1 / (1 + e^{-h / T})`, and a bipolar one with :math:`1 / (1 +
    e^{-2 h / T})`: both are the Boltzmann weights of E.

    *Weights.* Those of a recall are the overlaps of the state before the last sweep.

    *Same bits.* What a state comes to depends on the state, the weights, and the keywords of
    the call, the seed among them; not on the other states, nor on the number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> from uhn.models import HopfieldNetwork
    >>> network = HopfieldNetwork(6).store([[1, 1, 1, -1, -1, -1], [1, -1, 1, -1, 1, -1]])
    >>> network.retrieve([1, 1, 1, -1, -1, 1])
    array([ 1.,  1.,  1., -1., -1., -1.])
    >>> network.recall([1, 1, 1, -1, -1, 1]).status
    'fixed point'
    """

    _parameters: ClassVar[tuple[str, ...]] = (
        "n_features",
        "rule",
        "scale",
        "diagonal",
        "bias",
        "coding",
        "mask",
        "activity",
        "kappa",
        "max_epochs",
    )

    def __init__(
        self,
        n_features: int,
        rule: str = "hebb",
        *,
        scale: str = "neurons",
        diagonal: str = "zero",
        bias: npt.ArrayLike | None = None,
        coding: str = "bipolar",
        mask: npt.ArrayLike | None = None,
        activity: float | None = None,
        kappa: float = 0.5,
        max_epochs: int = 1000,
    ) -> None:
        self.n_features = whole(n_features, "n_features", 1)
        self.rule = take_choice(rule, "rule", RULES)
        self.scale = take_choice(scale, "scale", SCALES)
        self.diagonal = take_choice(diagonal, "diagonal", DIAGONALS)
        self.coding = take_choice(coding, "coding", CODINGS)
        self.mask = None if mask is None else _take_mask(mask, self.n_features)
        self.activity = None if activity is None else _number(activity, "activity")
        self.kappa = _number(kappa, "kappa")
        self.max_epochs = whole(max_epochs, "max_epochs", 1)
        self._bias = None if bias is None else _take_bias(bias, self.n_features)
        self._stored = _Stored(read_only(np.empty((0, self.n_features), dtype=np.int8)))
        self._wired: tuple[_Stored, dict[str, _Wiring]] | None = None
        self._form: str | None = None
        if self.kappa < 0:
            raise ValueError(f"kappa is {self.kappa:g}; it must be at least 0")
        if rule == "covariance":
            if coding != "binary":
                raise ValueError(
                    "rule='covariance' is for sparse patterns of 0 and 1: pass coding='binary'"
                )
            if self.activity is None:
                raise ValueError(
                    "rule='covariance' needs activity=, the fraction of ones in a pattern, "
                    "for example patterns.mean()"
                )
            if not 0 < self.activity < 1:
                raise ValueError(f"activity is {self.activity:g}; it must be between 0 and 1")
        if rule in ("storkey", "perceptron") and diagonal == "keep":
            raise ValueError(
                f"rule={rule!r} gives no unit a weight from itself: pass diagonal='zero'"
            )
        if self.mask is not None:
            if rule == "pseudo_inverse":
                raise ValueError(
                    "a projector that lost some of its weights stores nothing: with mask= use "
                    "rule='perceptron', which learns with the connections there are"
                )
            if rule == "storkey" and not np.array_equal(self.mask, self.mask.T):
                raise ValueError(
                    "rule='storkey' has symmetric weights: pass mask & mask.T, or "
                    "rule='perceptron'"
                )

    @classmethod
    def from_weights(
        cls,
        weights: npt.ArrayLike,
        bias: npt.ArrayLike | None = None,
        *,
        scale: str = "neurons",
        diagonal: str = "keep",
        coding: str = "bipolar",
        patterns: npt.ArrayLike | None = None,
    ) -> Self:
        r"""A network of given weights, for optimisation, spin glasses or another's network.

        Parameters
        ----------
        weights : array_like, shape (n_features, n_features)
            W, [i, j] from unit j to unit i. It need not be symmetric; there is an energy if it
            is. The minimum of :math:`-\tfrac12 s^T W s - b^T s` is what the network looks for.
        bias : array_like, shape (n_features,), or float, optional
            None is 0, for binary units too.
        scale : {"neurons", "none", "patterns"}
            What `unlearn` takes its step in.
        diagonal : {"keep", "zero"}
            Whether the diagonal of `weights` counts.
        coding : {"bipolar", "binary"}
        patterns : array_like, shape (n_patterns, n_features), optional
            What the weights are known to store, for overlaps.

        Returns
        -------
        HopfieldNetwork

        Raises
        ------
        ValueError
            If `weights` is not square, or has NaN or infinity.

        Examples
        --------
        Two units that want to be what the other is, all at once:

        >>> pair = HopfieldNetwork.from_weights([[0, 1], [1, 0]])
        >>> pair.recall([1, -1], mode="sync").status
        '2-cycle'
        """
        matrix, single = real_rows(weights, 0, "weights")
        n = matrix.shape[1]
        if single or matrix.shape[0] != n or n == 0:
            shape = (n,) if single else matrix.shape
            raise ValueError(f"weights has shape {shape}; it must be (n_features, n_features)")
        network = cls(n, scale=scale, diagonal=diagonal, bias=bias, coding=coding)
        given = np.array(matrix, dtype=np.float64)
        if diagonal == "zero":
            np.fill_diagonal(given, 0)
        known = network._stored.patterns
        if patterns is not None:
            known, _, _ = network._take(patterns, "patterns")
        elif scale == "patterns":
            raise ValueError("scale='patterns' needs patterns=: their number is the scale")
        network._stored = _Stored(read_only(known), given=read_only(given))
        return network

    # ----------------------------------------------------------------------------- learning --

    def store(self, patterns: npt.ArrayLike) -> Self:
        """Learns patterns, after those it has learned already.

        Storing in several calls is storing at once, to the last bit. (The pseudo-inverse and
        the perceptron rule learn all patterns anew.)

        Parameters
        ----------
        patterns : array_like, shape (n_patterns, n_features) or (n_features,)
            In the coding of the network.

        Returns
        -------
        HopfieldNetwork
            Itself.

        Raises
        ------
        ValueError
            At an entry the coding does not have; for the pseudo-inverse, if the patterns span
            all states; where a rule cannot go on from weights that were given or unlearned.

        Warns
        -----
        RuntimeWarning
            If the perceptron rule ended with units below the margin.
        """
        spins, _, _ = self._take(patterns, "patterns")
        self._refuse_change("store")
        if len(spins):
            self._stored = self._learn(self._stored, spins)
        return self

    def forget(self, patterns: npt.ArrayLike) -> Self:
        """Makes the network as if these patterns had never been stored.

        Hebbian counts are subtracted, which is exact; the covariance rule follows from them.
        The other rules learn what is left again, in its order. Of a pattern stored more than
        once the last copy goes.

        Parameters
        ----------
        patterns : array_like, shape (n_patterns, n_features) or (n_features,)

        Returns
        -------
        HopfieldNetwork
            Itself.

        Raises
        ------
        ValueError
            If one of them is not stored; nothing is forgotten then.
        """
        spins, _, _ = self._take(patterns, "patterns")
        self._refuse_change("forget")
        stored = self._stored
        gone = last_copies(stored.patterns, spins)
        if not gone:
            return self
        left = read_only(np.delete(stored.patterns, gone, axis=0))
        if self.rule in ("hebb", "covariance"):
            counts, n_counted = stored.counted
            if counts is not None:
                counted = [i for i in gone if i < n_counted]
                counts = counts.copy()
                _core._network_hebb(counts, stored.patterns[counted], -1)
                counts, n_counted = read_only(counts), n_counted - len(counted)
            self._stored = replace(stored, patterns=left, counted=(counts, n_counted))
        else:
            empty = _Stored(read_only(np.empty((0, self.n_features), dtype=np.int8)))
            self._stored = self._learn(empty, left) if len(left) else empty
        return self

    def unlearn(
        self,
        n_dreams: int,
        *,
        epsilon: float = 0.01,
        seed: int = 0,
        n_steps: int = N_STEPS,
        on_progress: Callable[[float], None] | None = None,
    ) -> Self:
        r"""Weakens what random states settle to (Hopfield, Feinstein and Palmer 1983).

        A dream is a random state, relaxed asynchronously to s; then :math:`A_{ij} \mathrel{-}=
        \epsilon s_i s_j` off the diagonal, that is :math:`\epsilon / N` in weights of scale
        "neurons". A moderate number of dreams weakens spurious states more than patterns; too
        many destroy everything.

        Parameters
        ----------
        n_dreams : int
            0 or more.
        epsilon : float, default 0.01
        seed : int, default 0
            Dreams are numbered from the first ever: two calls of one seed are one call with the
            dreams of both.
        n_steps : int, default 100
            The most sweeps of a dream.
        on_progress : callable, optional
            Called after each dream with the fraction that is done, from 0 to 1; what it raises
            ends the call, and the network is as it was before.

        Returns
        -------
        HopfieldNetwork
            Itself.

        Raises
        ------
        ValueError
            If nothing is stored, or `n_dreams`, `n_steps` or `seed` is out of its range.

        Notes
        -----
        Stopped by Ctrl-C, the network is as it was before the call.
        """
        n_dreams = whole(n_dreams, "n_dreams", 0)
        n_steps = whole(n_steps, "n_steps", 1)
        step = _number(epsilon, "epsilon")
        schedule = make_schedule(self.n_features, mode="async", n_steps=n_steps, seed=seed)
        stored = self._stored
        self._wiring()
        raw = self._raw(stored).astype(np.float64)
        matrix = np.empty_like(raw)
        dreamt = np.zeros_like(raw) if stored.dreamt is None else stored.dreamt.copy()
        mask = None if self.mask is None else np.ascontiguousarray(self.mask, dtype=np.uint8)
        if stored.given is not None:
            step *= self._unit(stored)
        elif self.rule in ("storkey", "pseudo_inverse"):
            step /= self.n_features
        first = stored.n_dreams
        for dream in range(first, first + n_dreams):
            # Always the difference of the two, so that dreams in two calls are those of one.
            wiring = self._wire(stored, np.subtract(raw, dreamt, out=matrix))
            start = _core._learn_start(schedule[2], dream, self.n_features)
            settled = wiring.settle(
                start[np.newaxis], cut_schedule(schedule, dream * n_steps, n_steps)
            )
            _core._learn_dream(dreamt, settled[0][0], -step, mask)
            if on_progress is not None:
                on_progress((dream + 1 - first) / n_dreams)
        self._stored = replace(stored, dreamt=read_only(dreamt), n_dreams=first + n_dreams)
        return self

    def dream(self, t: float) -> HopfieldNetwork:
        r"""The network after unlearning in closed form (Fachechi, Agliari and Barra 2019).

        .. math:: J(t) = \frac1N \Xi^T (1 + t) (I + t C)^{-1} \Xi, \qquad C = \Xi \Xi^T / N,

        which is Hebb's matrix at t = 0 and the projector on the span of the patterns for t to
        infinity, whatever rule this network has.

        Parameters
        ----------
        t : float
            At least 0; ``math.inf`` is allowed.

        Returns
        -------
        HopfieldNetwork
            A new network of given weights, with this one's patterns, scale, diagonal, bias and
            coding.

        Raises
        ------
        ValueError
            For t below 0, a network with a mask, or one that knows no patterns.
        """
        t = _number(t, "t", finite=False)
        if not t >= 0:
            raise ValueError(f"t is {t:g}; it must be at least 0")
        patterns = self._stored.patterns
        if len(patterns) == 0:
            raise ValueError("the network knows no patterns to dream of: store patterns first")
        if self.mask is not None:
            raise ValueError(
                "the closed form is of a network with all connections: mask is set"
            )
        basis, squares = _span(patterns)
        of_overlap = squares / self.n_features
        grown = (
            np.ones_like(squares)
            if np.isinf(t)
            else (1 + t) * of_overlap / (1 + t * of_overlap)
        )
        weights = (basis.T * grown) @ basis
        weights = (weights + weights.T) / 2 * self._per_neuron(self._stored)
        if self.diagonal == "zero":
            np.fill_diagonal(weights, 0)
        bias = self._bias
        if bias is None and self.coding == "binary" and self.rule != "hebb":
            bias = -weights.sum(axis=1) / 2
        return type(self).from_weights(
            weights,
            bias,
            scale=self.scale,
            diagonal=self.diagonal,
            coding=self.coding,
            patterns=decode(patterns, self.coding, np.float64),
        )

    # ------------------------------------------------------------------------------- energy --

    def energy(self, states: npt.ArrayLike) -> Any:
        r"""The energy of each state, :math:`-\tfrac12 s^T W s - b^T s`.

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)

        Returns
        -------
        ndarray of float64, shape (n_states,), or float

        Raises
        ------
        ValueError
            If the weights are not symmetric: such a network may run in circles for ever.
        """
        spins, single, _ = self._take(states, "states")
        energies = self._wiring(len(spins)).energies(spins)
        return float(energies[0]) if single else energies

    def fields(self, states: npt.ArrayLike) -> Floats:
        r"""The field of each unit in each state, :math:`h_i = \sum_j W_{ij} s_j + b_i`.

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)

        Returns
        -------
        ndarray of float64, of the shape of `states`

        Raises
        ------
        ValueError
            If nothing is stored, or at an entry the coding does not have.
        """
        spins, single, _ = self._take(states, "states")
        fields = self._wiring(len(spins)).fields(spins)
        return fields[0] if single else fields

    def flip_energies(self, states: npt.ArrayLike) -> Floats:
        """How much the energy rises when one unit alone takes its other state.

        All are positive in a minimum that no single flip leaves.

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)

        Returns
        -------
        ndarray of float64, of the shape of `states`

        Raises
        ------
        ValueError
            If the weights are not symmetric.
        """
        spins, single, _ = self._take(states, "states")
        rises = self._wiring(len(spins)).flip_energies(spins)
        return rises[0] if single else rises

    def stabilities(self, patterns: npt.ArrayLike | None = None) -> Floats:
        r"""The field that holds each unit in each pattern, :math:`s_i h_i / |W_i|`.

        A pattern is a fixed point if all of its are positive; the least of them is a measure of
        how far around it is (Gardner 1988). :math:`s_i` is +1 or -1, and :math:`|W_i|` the
        Euclidean norm of the weights into unit i; where it is 0, so is the result.

        Parameters
        ----------
        patterns : array_like, shape (n_patterns, n_features) or (n_features,), optional
            None is those stored.

        Returns
        -------
        ndarray of float64, shape (n_patterns, n_features) or (n_features,)

        Raises
        ------
        ValueError
            If nothing is stored, or at an entry the coding does not have.
        """
        if patterns is None:
            spins, single = self._stored.patterns, False
            if len(spins) == 0:
                raise ValueError("the network knows no patterns: pass some")
        else:
            spins, single, _ = self._take(patterns, "patterns")
        norms = np.sqrt((self.weights**2).sum(axis=1))
        held = spins * self._wiring(len(spins)).fields(spins)
        result: Floats = np.divide(held, norms, out=np.zeros_like(held), where=norms > 0)
        return result[0] if single else result

    def lyapunov(self, mode: str = "async") -> bool:
        r"""Whether the energy cannot rise (at temperature 0).

        One after the other (Hopfield 1982) it cannot if the weights are symmetric and no unit
        has a negative weight from itself. All at once it cannot if they are symmetric and
        positive semi-definite, as Hebb's are with ``diagonal="keep"``; with a zero diagonal E
        may rise and the state may end in a cycle of two, and what cannot rise instead is
        :math:`E_2(t) = -s(t)^T W s(t - 1) - b^T (s(t) + s(t - 1))` (Goles and Olivos 1981).

        Parameters
        ----------
        mode : {"async", "sync"}

        Returns
        -------
        bool

        Raises
        ------
        ValueError
            If nothing is stored, or for another mode.
        """
        take_choice(mode, "mode", ("async", "sync"))
        wiring = self._wiring()
        if not wiring.symmetric:
            return False
        weights: Floats = self.weights
        if mode == "async":
            return bool((np.diagonal(weights) >= 0).all())
        if not np.diagonal(weights).any():
            # Eigenvalues that add up to nothing are all 0 or of both signs.
            return not weights.any()
        stored = self._stored
        learned = stored.given is None and stored.dreamt is None and self.mask is None
        if learned and self.rule in ("hebb", "covariance", "pseudo_inverse"):
            return True
        values = np.linalg.eigvalsh(weights)
        slack = self.n_features * np.finfo(np.float64).eps * float(np.abs(values).max())
        return bool(values[0] >= -slack)

    # --------------------------------------------------------------------------- attributes --

    @property
    def weights(self) -> Floats:
        """W as it acts, [i, j] from unit j to unit i: a copy, read-only."""
        stored = self._stored
        if len(stored.patterns) == 0 and stored.given is None:
            return read_only(np.zeros((self.n_features, self.n_features)))
        raw = self._raw(stored)
        if stored.dreamt is not None:
            raw = raw - stored.dreamt
        return read_only(self._factor(stored) * raw)

    @property
    def bias(self) -> Floats:
        """b as it acts, (n_features,), in the units of the weights: a copy, read-only."""
        stored = self._stored
        if len(stored.patterns) == 0 and stored.given is None:
            b = np.zeros(self.n_features) if self._bias is None else self._bias.copy()
            return read_only(b)
        return self._wiring().bias

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, by name; what was stored is not among them."""
        return {
            name: self._bias if name == "bias" else getattr(self, name)
            for name in self._parameters
        }

    def __repr__(self) -> str:
        shown = [
            f"{name}=<{' x '.join(map(str, value.shape))} array>"
            if isinstance(value, np.ndarray)
            else f"{name}={value!r}"
            for name, value in self.get_config().items()
            if value is not None
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_wired": None}

    # ------------------------------------------------------------------------------- inside --

    def _known(self) -> Spins:
        return self._stored.patterns

    def _engine(self, n_states: int) -> _Wiring:
        return self._wiring(n_states)

    def _answer(
        self, engine: _Wiring, dynamics: Dynamics, spins: Spins, found: Found
    ) -> tuple[_Answer, None]:
        settled, sweeps, _, changed = found
        return _Answer(engine, dynamics, spins, settled, sweeps, changed), None

    def _refuse_change(self, verb: str) -> None:
        if self._stored.given is not None:
            raise ValueError(
                f"the weights of this network were given: {verb} is for a network that learned "
                "its own, HopfieldNetwork(n_features)"
            )
        if self._stored.dreamt is not None and self.rule not in ("hebb", "covariance"):
            raise ValueError(
                f"rule={self.rule!r} learns from what it has learned before, which unlearning "
                f"has changed: {verb} before unlearn, or use rule='hebb'"
            )

    def _learn(self, stored: _Stored, spins: Spins) -> _Stored:
        """What is stored once `spins` are learned too."""
        patterns = read_only(np.concatenate([stored.patterns, spins]))
        if self.rule in ("hebb", "covariance"):
            return replace(stored, patterns=patterns)
        mask = None if self.mask is None else np.ascontiguousarray(self.mask, dtype=np.uint8)
        n = self.n_features
        learned: Array
        if self.rule == "storkey":
            learned = np.zeros((n, n)) if stored.learned is None else stored.learned.copy()
            _core._learn_storkey(learned, np.ascontiguousarray(spins), mask)
        elif self.rule == "pseudo_inverse":
            basis, _ = _span(patterns)
            if len(basis) == n:
                raise ValueError(
                    f"the {len(patterns)} patterns span all states of {n} units: every state "
                    "would be a fixed point. Store fewer than n_features"
                )
            learned = basis.T @ basis
            learned = (learned + learned.T) / 2
            if self.diagonal == "zero":
                np.fill_diagonal(learned, 0)
        else:
            raises = self.max_epochs * len(patterns)
            if raises >= 2**31:
                raise ValueError(
                    f"max_epochs={self.max_epochs} of {len(patterns)} patterns are {raises} "
                    "raises, which a weight of 32 bits may not hold: at most "
                    f"{(2**31 - 1) // len(patterns)}"
                )
            learned, least = _core._learn_perceptron(patterns, mask, self.kappa, raises)
            short = int(((least < self.kappa) | (least <= 0)).sum())
            if short:
                warnings.warn(
                    f"{short} of {n} units did not reach a stability of kappa={self.kappa:g} "
                    f"in {self.max_epochs} epochs (the least is {least.min():.4g}): take fewer "
                    "patterns, a smaller kappa or a larger max_epochs",
                    RuntimeWarning,
                    stacklevel=3,
                )
        return replace(stored, patterns=patterns, learned=read_only(learned))

    def _unit(self, stored: _Stored) -> float:
        """W / A."""
        if self.scale == "none":
            return 1.0
        return 1 / (self.n_features if self.scale == "neurons" else len(stored.patterns))

    def _per_neuron(self, stored: _Stored) -> float:
        """W / (A / N)."""
        if self.scale == "neurons":
            return 1.0
        n = self.n_features
        return float(n) if self.scale == "none" else n / len(stored.patterns)

    def _factor(self, stored: _Stored) -> float:
        """W / the matrix that is kept."""
        if stored.given is not None:
            return 1.0
        if self.rule in ("storkey", "pseudo_inverse"):
            return self._per_neuron(stored)
        return self._unit(stored)

    def _counts(self, stored: _Stored) -> npt.NDArray[np.int32]:
        """The sum of outer products, diagonal and all; made when first asked for."""
        counts, n_counted = stored.counted
        if counts is None or n_counted < len(stored.patterns):
            n = self.n_features
            counts = np.zeros((n, n), dtype=np.int32) if counts is None else counts.copy()
            _core._network_hebb(counts, np.ascontiguousarray(stored.patterns[n_counted:]), 1)
            stored.counted = read_only(counts), len(stored.patterns)
        return counts

    def _raw(self, stored: _Stored) -> Array:
        """The matrix that is kept, [i, j] from j to i, before anything was unlearned."""
        if stored.given is not None:
            return stored.given
        if stored.learned is not None:
            return stored.learned
        counts: Array = self._counts(stored)
        if self.rule == "covariance":
            f = self._activity()
            # With eta = (xi + 1) / 2: sums of whole numbers, so that the order does not matter.
            a = 2 * f - 1
            once = a * stored.patterns.sum(axis=0, dtype=np.int64)
            counts = counts - (once[:, np.newaxis] + once) + len(stored.patterns) * a * a
            counts /= 4 * f * (1 - f)
        if self.mask is not None:
            counts = counts * self.mask
        if self.diagonal == "zero":
            counts = counts.copy()
            np.fill_diagonal(counts, 0)
        return counts

    def _activity(self) -> float:
        assert self.activity is not None
        return self.activity

    def _wiring(self, n_states: int = 1) -> _Wiring:
        """The network as the core gets it; kept until something is learned.

        Hebb's weights are added up from the patterns where that is cheaper. As long as they are
        few it is; up to N / 4 it is for a few states, which do not repay the matrix. The bits
        are the same.
        """
        stored = self._stored
        n_patterns = len(stored.patterns)
        if n_patterns == 0 and stored.given is None:
            raise ValueError("the network is empty: store patterns first")
        hebbian = stored.given is None and stored.dreamt is None and self.rule == "hebb"
        form = self._form
        if form is None and hebbian and self.mask is None:
            n = self.n_features
            few = 8 * n_patterns < n or (4 * n_patterns < n and 8 * n_states < n)
            form = "patterns" if few else "matrix"
        form = form or "matrix"
        wired = self._wired
        if wired is None or wired[0] is not stored:
            self._wired = wired = stored, {}
        known = wired[1]
        wiring = known.get(form)
        if wiring is None:
            if form == "patterns":
                wiring = self._wire_patterns(stored)
            elif hebbian and self.mask is None and form != "float64":
                wiring = self._wire_counts(stored, form)
            else:
                raw = self._raw(stored)
                if stored.dreamt is not None:
                    raw = raw - stored.dreamt
                kind = _narrowest(raw) if form == "matrix" else form
                wiring = self._wire(stored, raw.astype(kind, copy=False))
            known[form] = wiring
        return wiring

    def _wire_counts(self, stored: _Stored, form: str) -> _Wiring:
        """Hebb's counts as they are: the core leaves out a diagonal that does not count."""
        n_patterns = len(stored.patterns)
        if form == "matrix":
            form = "int16" if n_patterns < 2**15 and self.n_features < 2**16 else "int32"
        couplings: Array = self._counts(stored)
        if couplings.dtype != form:
            counts, couplings = couplings, np.empty(couplings.shape, dtype=form)
            for start in range(0, len(counts), 64):  # in pieces, which lets Ctrl-C in
                couplings[start : start + 64] = counts[start : start + 64]
        own = n_patterns if self.diagonal == "zero" else 0
        return self._wire_up(stored, couplings, 0, lambda: _row_sums(couplings) - own, True)

    def _wire_patterns(self, stored: _Stored) -> _Wiring:
        """W as the patterns of which it is the sum: less to read while they are few."""

        def rows() -> Array:
            sums = stored.patterns.sum(axis=1, dtype=np.int64)
            own = len(stored.patterns) if self.diagonal == "zero" else 0
            return np.asarray((stored.patterns * sums[:, np.newaxis]).sum(axis=0) - own)

        couplings = _core._pack_columns(np.ascontiguousarray(stored.patterns))
        return self._wire_up(stored, couplings, len(stored.patterns), rows, True)

    def _wire(self, stored: _Stored, raw: Array) -> _Wiring:
        """W as a matrix."""
        certain = stored.given is None and self.mask is None and self.rule != "perceptron"
        symmetric = certain or bool(np.array_equal(raw, raw.T))
        couplings = np.ascontiguousarray(raw if symmetric else raw.T)
        return self._wire_up(stored, couplings, 0, lambda: _row_sums(raw), symmetric)

    def _wire_up(
        self,
        stored: _Stored,
        couplings: Array,
        n_patterns: int,
        rows: Callable[[], Array],
        symmetric: bool,
    ) -> _Wiring:
        """Bias and scale for units of +1 and -1; `rows` gives the sums of the rows.

        With V = (s + 1) / 2 a binary unit has the field sum_j W_ij / 2 s_j + (b_i +
        sum_j W_ij / 2), and E = -1/8 s W s - 1/4 s W 1 - 1/2 b s - (1/8 1 W 1 + 1/2 b 1), which
        is half of what the core computes from that, less a constant.
        """
        factor = self._factor(stored)
        n = self.n_features
        b = np.zeros(n) if self._bias is None else self._bias
        if self.coding == "bipolar":
            return _Wiring(
                couplings=couplings,
                n_patterns=n_patterns,
                scale=factor,
                pull=None if self._bias is None else b,
                keep=self.diagonal == "keep",
                symmetric=symmetric,
                coding=self.coding,
                bias=read_only(b.copy()),
                offset=0.0,
                patterns=stored.patterns,
            )
        half = factor / 2 * rows()
        if self._bias is None and stored.given is None and self.rule != "hebb":
            if self.rule == "covariance":
                b = np.full(n, (self._activity() - 0.5) * self._per_neuron(stored))
            else:
                b = -half
        pull = b + half
        return _Wiring(
            couplings=couplings,
            n_patterns=n_patterns,
            scale=factor / 2,
            pull=pull if pull.any() else None,
            keep=self.diagonal == "keep",
            symmetric=symmetric,
            coding=self.coding,
            bias=read_only(b.copy()),
            offset=float(half.sum() / 4 + b.sum() / 2),
            patterns=stored.patterns,
        )


# --------------------------------------------------------------------------------- what runs --


@dataclass
class _Stored:
    """All that a network has learned. Replaced, never changed: a reader sees old or new."""

    patterns: Spins
    learned: Array | None = None  # by storkey, pseudo_inverse, perceptron
    given: Floats | None = None
    dreamt: Floats | None = None  # what unlearning takes away from the matrix
    n_dreams: int = 0
    #: The sum of outer products of so many first patterns: a cache, filled when asked for.
    counted: tuple[npt.NDArray[np.int32] | None, int] = (None, 0)


@dataclass(frozen=True, eq=False)
class _Wiring:
    """A network as the core gets it: couplings [j, i] from j to i, or packed patterns.

    `overlaps` and `energy` take states in the network's coding, the others those of the core.
    """

    couplings: Array
    n_patterns: int  # 0 but in the pattern form
    scale: float
    pull: Floats | None  # the bias of units of +1 and -1
    keep: bool
    symmetric: bool
    coding: str
    bias: Floats
    offset: float
    patterns: Spins

    def settle(
        self, spins: Spins, schedule: Schedule
    ) -> tuple[Spins, npt.NDArray[np.int64], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        return _core._network_settle(
            spins, self.couplings, self.n_patterns, self.scale, self.pull, self.keep, schedule
        )

    @property
    def heat(self) -> float:
        """The core's temperature over the caller's: of binary units its fields count twice."""
        return 2.0 if self.coding == "binary" else 1.0

    def fields(self, spins: Spins) -> Floats:
        return _core._network_fields(
            spins, self.couplings, self.n_patterns, self.scale, self.pull, self.keep
        )

    def energies(self, spins: Spins) -> Floats:
        self._need_symmetry()
        energies = _core._network_energies(
            spins, self.couplings, self.n_patterns, self.scale, self.pull, self.keep
        )
        return energies if self.coding == "bipolar" else energies / 2 - self.offset

    def flip_energies(self, spins: Spins) -> Floats:
        self._need_symmetry()
        own: Array | float = 0.0
        if self.keep:
            own = self.n_patterns if self.n_patterns else np.diagonal(self.couplings)
        # Of s: 2 s h - 2 W_ii; of V, whose field is half of scale and pull: s h - W_ii / 2.
        of_spins = spins * self.fields(spins) - self.scale * own
        return 2 * of_spins if self.coding == "bipolar" else of_spins

    def _need_symmetry(self) -> None:
        if not self.symmetric:
            raise ValueError(
                "the weights are not symmetric, so there is no energy: states may run in "
                "circles. Symmetric ones are HopfieldNetwork.from_weights((W + W.T) / 2)"
            )

    def overlaps(self, states: Array) -> Floats:
        if len(self.patterns) == 0:
            raise ValueError(
                "this network was made from weights and knows no patterns: there are no "
                "overlaps. Pass patterns= to from_weights"
            )
        spins = encode(states, self.coding, "states")
        return np.asarray(dots(self.patterns, spins) / spins.shape[1])

    def energy(self, states: Array) -> Floats:
        return self.energies(encode(states, self.coding, "states"))


@dataclass(frozen=True, eq=False)
class _Answer:
    """What a recall remembers: the network as it was, and how its states were made."""

    wiring: _Wiring
    dynamics: Dynamics
    spins: Spins
    settled: Spins
    sweeps: npt.NDArray[np.int64]
    changed: npt.NDArray[np.uint8]

    def overlaps(self, states: Array) -> Floats:
        return self.wiring.overlaps(states)

    def energy(self, states: Array) -> Floats:
        return self.wiring.energy(states)

    def weights(self, states: Array) -> Floats:
        """Overlaps of the states before the last sweep, which are made again when asked for."""
        asked = self.settled.copy()
        moved = np.flatnonzero(self.changed)
        for last in np.unique(self.sweeps[moved]):
            rows = moved[self.sweeps[moved] == last]
            found = self.dynamics.settle(self.wiring.settle, self.spins, rows, 0, int(last) - 1)
            asked[rows] = found[0]
        return self.wiring.overlaps(decode(asked, self.wiring.coding, np.float64))


# --------------------------------------------------------------------------------- arguments --


def _number(value: Any, name: str, *, finite: bool = True) -> float:
    """A real number; bool and text are refused."""
    real = number(value, name)
    if np.isnan(real) or (finite and np.isinf(real)):
        raise ValueError(f"{name} must be {'finite' if finite else 'a number'}, got {real}")
    return real


def _take_bias(bias: npt.ArrayLike, n_features: int) -> Floats:
    array = np.asarray(bias)
    if array.dtype == np.bool_ or not np.issubdtype(array.dtype, np.number):
        raise TypeError(f"bias must be real numbers, not {array.dtype}")
    if np.iscomplexobj(array):
        raise TypeError("bias must be real numbers, not complex")
    if array.shape not in ((), (n_features,)):
        raise ValueError(
            f"bias has shape {array.shape}; pass one number, or one a unit, ({n_features},)"
        )
    array = np.array(np.broadcast_to(array, (n_features,)), dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"bias[{int(np.argmin(np.isfinite(array)))}] is not finite")
    return read_only(array)


def _take_mask(mask: npt.ArrayLike, n_features: int) -> npt.NDArray[np.bool_]:
    array = np.asarray(mask)
    if array.dtype != np.bool_:
        raise TypeError(f"mask must be of bool, not {array.dtype}: pass W != 0, for example")
    if array.shape != (n_features, n_features):
        raise ValueError(
            f"mask has shape {array.shape}; it must be ({n_features}, {n_features})"
        )
    return read_only(array.copy())


def _narrowest(matrix: Array) -> str:
    """The form of the core's couplings that holds these numbers."""
    most = np.abs(matrix).max()
    if not np.issubdtype(matrix.dtype, np.integer) and not (
        most < 2**31 and all((row == np.rint(row)).all() for row in matrix)
    ):
        return "float64"
    return "int16" if len(matrix) < 2**16 and most < 2**15 else "int32"


def _row_sums(matrix: Array) -> Array:
    whole_numbers = np.issubdtype(matrix.dtype, np.integer)
    return np.asarray(matrix.sum(axis=1, dtype=np.int64 if whole_numbers else np.float64))


def _span(patterns: Spins) -> tuple[Floats, Floats]:
    """An orthonormal basis of the span, as rows, and the squares of the singular values."""
    _, values, basis = np.linalg.svd(patterns.astype(np.float64), full_matrices=False)
    some = values > values[0] * max(patterns.shape) * np.finfo(np.float64).eps
    return basis[some], values[some] ** 2
