"""The dense associative memory: two-state units, and patterns that count by a steep power."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from uhn import _core
from uhn.models._base import (
    CODINGS,
    dots,
    encode,
    number,
    read_only,
    take_choice,
)
from uhn.models._schedule import Schedule, whole
from uhn.models._two_state import Dynamics, Found, TwoStateMemory, last_copies

__all__ = ["DenseAssociativeMemory"]

Array = npt.NDArray[Any]
Spins = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float64]

INTERACTIONS = ("polynomial", "exponential")
SCALES = ("none", "neurons")
MAX_DEGREE = 1_000_000


class DenseAssociativeMemory(TwoStateMemory):
    r"""Two-state units under an energy in which the nearest pattern outweighs the others.

    .. math:: E(s) = -\sum_\mu F(\xi^\mu \cdot s)

    over the patterns :math:`\xi^\mu` (rows, as +1 and -1), with :math:`F(x) = x^n`, or its
    rectified form, 0 for x < 0 (Krotov and Hopfield 2016), or :math:`F(x) = e^x` (Demircigil et
    al. 2017). Unit by unit (`mode="async"`), a unit turns over if that lowers E. All at once
    (`mode="sync"`), :math:`s_i` becomes the sign of :math:`\sum_\mu \xi_i^\mu F'(\xi^\mu \cdot
    s)`.

    Parameters
    ----------
    n_features : int
        Units, N.
    degree : float, default 3
        The power n in the energy, 2 or more: a whole number, or any if rectified. 2, not
        rectified, is the Hopfield network of Hebb's rule without self-coupling. About
        :math:`N^{n-1} / (2 n (2n - 3)!! \ln N)` random patterns are all fixed points, twice as
        many if rectified. For the polynomial interaction alone.
    rectified : bool, default True
        Whether an overlap below 0 counts as 0. If not, every even n stores the negative of each
        pattern too, its ghost.
    interaction : {"polynomial", "exponential"}
    coding : {"bipolar", "binary"}
        Units of -1 and +1, or of 0 and 1, which are taken as 2 V - 1. What is stored and asked
        must be so written.
    scale : {"none", "neurons"}
        With "neurons" F is taken of the overlap divided by N, so that E fits a float64 however
        large n is. It divides energies, and temperatures that do the same, by :math:`N^n`, and
        changes nothing else.

    Notes
    -----
    *The difference of energies decides*, not its derivative :math:`\sum_\mu \xi_i F'` without
    unit i, which is another rule for n > 2. It is added up in whole numbers on a grid that
    follows the largest share. Ties are ties; only where the shares have more digits than can be
    added exactly, as for a large n, a change under :math:`2^{-50}` of them counts as none.

    *One equation.* A synchronous step is the sign of ``uhn.Memory(patterns, similarity="dot",
    separation="rectified_polynomial", degree=n - 1).retrieve(s)`` (``"polynomial"``,
    ``"exponential"``): the power in the energy is one more than that of the separation.

    *Exponential energies* are :math:`-\log \sum_\mu \exp(\xi^\mu \cdot s)`, whose order is that
    of :math:`-\sum \exp` and which fit; differences and temperatures are of these.

    *Temperature.* Unit by unit, a unit becomes +1 with probability :math:`1 / (1 + e^{d / T})`,
    d being the energy with +1 less that with -1. All at once, d is taken to first order, -2
    times the sum whose sign is taken at T = 0.

    *Weights.* Those of a recall are :math:`F'(\xi^\mu \cdot s)` of the state before the last
    sweep, divided by the largest magnitude among them.

    *Same bits.* What a state comes to depends on the state, the patterns, and the keywords of
    the call, the seed among them; not on the other states, nor on the number of threads.

    References
    ----------
    D. Krotov, J. J. Hopfield: Dense associative memory for pattern recognition. NeurIPS 2016.
    M. Demircigil, J. Heusel, M. Loewe, S. Upgang, F. Vermet: On a model of associative memory
    with huge storage capacity. J. Stat. Phys. 168, 2017.

    Examples
    --------
    Exclusive or: the third unit follows from the first two, for every rectified n.

    >>> from uhn.models import DenseAssociativeMemory
    >>> table = [[-1, -1, -1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]]
    >>> memory = DenseAssociativeMemory(3, degree=2).store(table)
    >>> memory.retrieve([1, -1, -1], clamped=[0, 1])
    array([ 1., -1.,  1.])
    >>> memory.energy([[1, -1, -1], [1, -1, 1]])
    array([-3., -9.])
    """

    _parameters: ClassVar[tuple[str, ...]] = (
        "n_features",
        "degree",
        "rectified",
        "interaction",
        "coding",
        "scale",
    )

    def __init__(
        self,
        n_features: int,
        degree: float = 3,
        rectified: bool = True,
        *,
        interaction: str = "polynomial",
        coding: str = "bipolar",
        scale: str = "none",
    ) -> None:
        self.n_features = whole(n_features, "n_features", 1)
        self.interaction = take_choice(interaction, "interaction", INTERACTIONS)
        self.coding = take_choice(coding, "coding", CODINGS)
        self.scale = take_choice(scale, "scale", SCALES)
        if not isinstance(rectified, (bool, np.bool_)):
            raise TypeError(f"rectified must be a bool, not {type(rectified).__name__}")
        self.rectified = bool(rectified)
        self.degree = _degree(degree)
        if interaction == "exponential" and scale != "none":
            raise ValueError(
                "scale='neurons' would make the exponential another model; its energies are "
                "logarithms and fit without it"
            )
        if interaction == "polynomial" and not self.rectified and self.degree % 1:
            raise ValueError(
                f"degree is {self.degree:g}, but a negative overlap has no such power: take a "
                "whole number, or rectified=True"
            )
        self._stored = self._store(np.empty((0, self.n_features), dtype=np.int8))

    # ----------------------------------------------------------------------------- learning --

    def store(self, patterns: npt.ArrayLike) -> Self:
        """Adds patterns to those stored. A pattern stored twice counts twice.

        Parameters
        ----------
        patterns : array_like, shape (n_patterns, n_features) or (n_features,)
            In the coding of the memory.

        Returns
        -------
        DenseAssociativeMemory
            Itself.

        Raises
        ------
        ValueError
            At an entry the coding does not have, or for a wrong number of features.
        """
        spins, _, _ = self._take(patterns, "patterns")
        if len(spins):
            self._stored = self._store(np.concatenate([self._stored.patterns, spins]))
        return self

    def forget(self, patterns: npt.ArrayLike) -> Self:
        """Makes the memory as if these patterns had never been stored.

        Of a pattern stored more than once the last copy goes.

        Parameters
        ----------
        patterns : array_like, shape (n_patterns, n_features) or (n_features,)

        Returns
        -------
        DenseAssociativeMemory
            Itself.

        Raises
        ------
        ValueError
            If one of them is not stored; nothing is forgotten then.
        """
        spins, _, _ = self._take(patterns, "patterns")
        gone = last_copies(self._stored.patterns, spins)
        if gone:
            self._stored = self._store(np.delete(self._stored.patterns, gone, axis=0))
        return self

    # ------------------------------------------------------------------------------- energy --

    def energy(self, states: npt.ArrayLike) -> Any:
        r"""The energy of each state, :math:`-\sum_\mu F(\xi^\mu \cdot s)`.

        For the exponential interaction it is :math:`-\log \sum_\mu \exp(\xi^\mu \cdot s)`.
        Where F is a whole number and the sum below 2**53 it is exact.

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)

        Returns
        -------
        ndarray of float64, shape (n_states,), or float

        Raises
        ------
        ValueError
            If it exceeds float64; with scale="neurons" it cannot.
        """
        spins, single, _ = self._take(states, "states")
        energies = _core._dense_energies(self._engine().packed(), spins)
        return float(energies[0]) if single else energies

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
            If one exceeds float64; with scale="neurons" it cannot.
        """
        spins, single, _ = self._take(states, "states")
        rises = _core._dense_differences(self._engine().packed(), spins)
        return rises[0] if single else rises

    def lyapunov(self, mode: str = "async") -> bool:
        r"""Whether the energy cannot rise (at temperature 0).

        Unit by unit it cannot, as it is what decides. All at once it cannot if F is convex:
        :math:`F(y) - F(x) \ge F'(x) (y - x)`, summed over the patterns, is what the step makes
        not negative. That is so but for an odd degree that is not rectified.

        Parameters
        ----------
        mode : {"async", "sync"}

        Returns
        -------
        bool

        Raises
        ------
        ValueError
            For another mode.
        """
        take_choice(mode, "mode", ("async", "sync"))
        convex = self.interaction == "exponential" or self.rectified or self.degree % 2 == 0
        return mode == "async" or convex

    # ------------------------------------------------------------------------------- inside --

    def _store(self, patterns: Spins) -> _Stored:
        return _Stored(
            read_only(patterns),
            self.interaction,
            self.degree,
            self.rectified,
            self.coding,
            self.scale,
        )

    def _known(self) -> Spins:
        return self._stored.patterns

    def _engine(self, n_states: int = 1) -> _Stored:
        if len(self._stored.patterns) == 0:
            raise ValueError("the memory is empty: store patterns first")
        return self._stored

    def _answer(
        self, engine: _Stored, dynamics: Dynamics, spins: Spins, found: Found
    ) -> tuple[_Stored, Spins]:
        return engine, found[4]


class _Stored:
    """What a memory has stored. Never changed: a recall may look back at it.

    `overlaps`, `weights` and `energy` take states in the memory's coding.
    """

    #: There always is an energy, and temperatures are in its units.
    symmetric = True
    heat = 1.0

    def __init__(
        self,
        patterns: Spins,
        interaction: str,
        degree: float,
        rectified: bool,
        coding: str,
        scale: str,
    ) -> None:
        self.patterns = patterns
        self.interaction = interaction
        self.degree = degree
        self.rectified = rectified
        self.coding = coding
        self.scale = scale
        self._packed: object = None

    def packed(self) -> object:
        """The patterns as the core has them, made when first asked for."""
        if self._packed is None:
            name = self.interaction
            if name == "polynomial" and self.rectified:
                name = "rectified_polynomial"
            self._packed = _core._dense_new(
                self.patterns, name, float(self.degree), self.scale == "neurons"
            )
        return self._packed

    def settle(self, spins: Spins, schedule: Schedule) -> Found:
        """As `Found` says, then the states before the last sweep."""
        settled, before, sweeps, codes, changed = _core._dense_settle(
            self.packed(), spins, schedule
        )
        return settled, sweeps, codes, changed, before

    def energy(self, states: Array) -> Floats:
        return _core._dense_energies(self.packed(), encode(states, self.coding, "states"))

    def overlaps(self, states: Array) -> Floats:
        return np.asarray(self._dots(states) / self.patterns.shape[1])

    def weights(self, states: Array) -> Floats:
        products = self._dots(states)
        if self.interaction == "exponential":
            nearest = products.max(axis=1, keepdims=True)
            return np.asarray(_core.separate(products - nearest, "exponential", beta=1.0))
        separation = "rectified_polynomial" if self.rectified else "polynomial"
        sizes = np.maximum(products, 0) if self.rectified else np.abs(products)
        largest = sizes.max(axis=1, keepdims=True)
        largest[largest == 0] = 1
        return np.asarray(
            _core.separate(products / largest, separation, degree=self.degree - 1)
        )

    def _dots(self, states: Array) -> Floats:
        return dots(self.patterns, encode(states, self.coding, "states"))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_packed": None}


def _degree(value: Any) -> float:
    """The power of the energy: a whole number stays an int."""
    power = number(value, "degree")
    if not math.isfinite(power):
        raise ValueError(f"degree must be finite, got {power}")
    if power < 2:
        raise ValueError(
            f"degree is {power:g}; it is the power in the energy, one more than that of the "
            "separation, and must be at least 2: use degree=2, the classical network"
        )
    if power > MAX_DEGREE:
        raise ValueError(
            f"degree is {power:g}; it must be at most {MAX_DEGREE}. For the steepest memory "
            "use interaction='exponential'"
        )
    return int(power) if power % 1 == 0 else power
