"""Patterns in an order: each calls up the one after it."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
import numpy.typing as npt

from uhn import _core
from uhn.models._base import (
    CODINGS,
    Model,
    decode,
    encode,
    make_trace,
    number,
    settle,
    sign,
    take_choice,
    two_state_rows,
)
from uhn.models._schedule import whole
from uhn.results import Recall

__all__ = ["SequenceMemory"]

Array = npt.NDArray[Any]
States = npt.NDArray[np.int8]

SEPARATIONS = ("polynomial", "exponential")
ENDS = ("cycle", "rest", "open")


class SequenceMemory(Model):
    """Sequences of two-state patterns, replayed from any of their patterns.

    All units are updated at once, and a pattern near the state drives it to its successor:

        s_i(t+1) = sign[ sum_mu x_i^(mu+1) f( 1/(N-1) sum_(j != i) x_j^mu s_j(t) ) ]

    with N units and f(x) = x^degree or f(x) = exp((N-1) x); a unit whose field is 0 stays what
    it is. No unit sees itself, and that exactly: each of the N overlaps of a pattern leaves out
    another unit. From pattern to pattern a unit errs with probability about
    erfc(sqrt(N^d / (2 P (2d-1)!!))) / 2 with P patterns in all, so that about
    N^d / (2 (2d-1)!! ln N) of them pass a transition without an error (H. T. Chaudhry, J. A.
    Zavatone-Veth, D. Krotov, C. Pehlevan, Long sequence Hopfield memory, NeurIPS 2023,
    arXiv 2306.04532). With degree 1 it is the network of asymmetric outer products.

    With `hold` a state is pulled to the pattern it is near, too, and the larger `drive` the
    less (the MixedNet of the paper):

        s_i <- sign[ sum_mu x_i^mu f_hold(...) + drive sum_mu x_i^(mu+1) f(...) ]

    Parameters
    ----------
    n_features : int
        Units, at least 2.
    degree : int, default 2
        Of the polynomial.
    separation : {"polynomial", "exponential"}
    end : {"cycle", "rest", "open"}
        What comes after the last pattern of a sequence: the first, as in the paper; the last
        again, so that the replay comes to rest; or nothing.
    hold : int, optional
        The degree that holds a pattern, for a polynomial memory.
    drive : float, default 1
        Weight of the successors, with `hold` alone; above 0.
    coding : {"bipolar", "binary"}
        How states are written, +1 and -1 or 1 and 0. The units are +1 and -1 inside.

    Attributes
    ----------
    patterns : ndarray, shape (n_patterns, n_features)
        All sequences, one after another.

    Examples
    --------
    >>> import numpy as np, uhn.models
    >>> song = np.random.default_rng(0).choice([-1, 1], size=(40, 60))
    >>> memory = uhn.models.SequenceMemory(60, degree=3)
    >>> _ = memory.store(song)
    >>> heard = memory.replay(song[7], n_steps=45)
    >>> heard.shape
    (46, 60)
    >>> bool((heard[-1] == song[(7 + 45) % 40]).all())
    True
    """

    _parameters: ClassVar[tuple[str, ...]] = (
        "n_features", "degree", "separation", "end", "hold", "drive", "coding",
    )  # fmt: skip

    def __init__(
        self,
        n_features: int,
        degree: int = 2,
        *,
        separation: str = "polynomial",
        end: str = "cycle",
        hold: int | None = None,
        drive: float = 1.0,
        coding: str = "bipolar",
    ) -> None:
        self.n_features = whole(n_features, "n_features", 2)
        self.degree = whole(degree, "degree", 1)
        self.separation = take_choice(separation, "separation", SEPARATIONS)
        self.end = take_choice(end, "end", ENDS)
        self.hold = None if hold is None else whole(hold, "hold", 1)
        self.drive = number(drive, "drive")
        self.coding = take_choice(coding, "coding", CODINGS)
        if self.hold is not None and separation != "polynomial":
            raise ValueError("hold is a degree: it is for separation='polynomial' alone")
        if not (math.isfinite(self.drive) and self.drive > 0):
            raise ValueError(f"drive is {drive}; it must be finite and above 0")
        if self.hold is None and self.drive != 1:
            raise ValueError("drive is for a memory with `hold`: alone it changes no sign")
        # A store puts other memories in the place of these and changes none, so that whoever
        # read them, a copy of this model too, keeps what it has.
        self._next = self._memory(self.degree)
        self._same = None if self.hold is None else self._memory(self.hold)

    # ------------------------------------------------------------------------- the sequences --

    @property
    def n_patterns(self) -> int:
        """Patterns of all sequences."""
        return len(self._next)

    @property
    def patterns(self) -> Array:
        """All patterns stored, float64, (n_patterns, n_features), in the coding."""
        if not len(self):
            return np.zeros((0, self.n_features))
        rows = np.asarray(self._next)[:, : self.n_features]
        return decode(rows.astype(np.int8), self.coding, np.float64)

    def store(self, patterns: npt.ArrayLike) -> Self:
        """Add one sequence; those stored before stay.

        Parameters
        ----------
        patterns : array_like, shape (n, n_features)
            In their order.

        Returns
        -------
        The memory itself, so that calls can be chained.

        Raises
        ------
        ValueError
            If the shape does not fit, or an entry is not of the coding. Nothing is stored then.
        """
        spins, _, _ = two_state_rows(patterns, self.n_features, self.coding, "patterns")
        x = spins.astype(np.float64)
        if not len(x):
            return self
        after = np.roll(x, -1, axis=0)
        if self.end == "rest":
            after[-1] = x[-1]
        elif self.end == "open":
            after[-1] = 0
        one = np.ones((len(x), 1))
        # A last feature of 1 carries what is added to every overlap.
        seen = np.concatenate([x, one], axis=1)
        following = self._next.copy()
        following.store(seen, np.concatenate([after, after * x], axis=1))
        if self._same is not None:
            held = self._same.copy()
            held.store(seen, np.concatenate([x, one], axis=1))
            self._same = held
        self._next = following
        return self

    # ---------------------------------------------------------------------------- the replay --

    def retrieve(self, states: npt.ArrayLike, n_steps: int = 1) -> Array:
        """The states `n_steps` later.

        Parameters
        ----------
        states : array_like, shape (n_queries, n_features) or (n_features,)
        n_steps : int, default 1

        Returns
        -------
        ndarray of the shape of `states`
            In the coding; float32 for float32, else float64.

        Raises
        ------
        ValueError
            If nothing is stored, or at an entry the coding does not have.
        """
        memory, now, single, dtype = self._begun(states)
        for _ in range(whole(n_steps, "n_steps", 0)):
            now = memory._step(now)
        result = decode(now, self.coding, dtype)
        return result[0] if single else result

    def replay(self, start: npt.ArrayLike, n_steps: int) -> Array:
        """Every state from the start on.

        Parameters
        ----------
        start : array_like, shape (n_queries, n_features) or (n_features,)
        n_steps : int

        Returns
        -------
        ndarray, shape (n_steps + 1, n_queries, n_features) or (n_steps + 1, n_features)
            The start first.

        Raises
        ------
        ValueError
            If nothing is stored, or at an entry the coding does not have.
        """
        memory, now, single, dtype = self._begun(start)
        n_steps = whole(n_steps, "n_steps", 0)
        way = np.empty((n_steps + 1, *now.shape), dtype=dtype)
        way[0] = decode(now, self.coding, dtype)
        for t in range(1, n_steps + 1):
            now = memory._step(now)
            way[t] = decode(now, self.coding, dtype)
        return way[:, 0] if single else way

    def recall(
        self, states: npt.ArrayLike, n_steps: int = 100, *, trace: bool = False
    ) -> Recall:
        """Replay until the state rests, repeats the one two steps ago, or for `n_steps`.

        Parameters
        ----------
        states : array_like, shape (n_queries, n_features) or (n_features,)
        n_steps : int, default 100
        trace : bool, default False
            Keep states and overlaps of every step.

        Returns
        -------
        Recall
            `weights` are f(overlaps) with every unit left in.

        Raises
        ------
        ValueError
            If nothing is stored, or at an entry the coding does not have.
        """
        memory, now, single, dtype = self._begun(states)

        def step(now: Array) -> tuple[Array, None]:
            return memory._step(now), None

        rest, steps, codes, change, asked, way = settle(
            step, now, n_steps=whole(n_steps, "n_steps", 0), trace=trace
        )
        source = _Overlaps(memory)
        way = [decode(states, self.coding, dtype) for states in way]
        return Recall.of_batch(
            decode(rest, self.coding, dtype),
            steps,
            codes,
            change if self.coding == "bipolar" else change / 2,
            single=single,
            source=source,
            asked=decode(asked, self.coding, dtype),
            trace=make_trace(way, None, source.overlaps),
        )

    def energy(self, states: npt.ArrayLike) -> NoReturn:
        """A sequence memory has no energy.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            "a sequence memory has no energy: a pattern drives the state to another one, so "
            "that its weights are not symmetric and its states need not come to rest"
        )

    def lyapunov(self, mode: str = "sync") -> bool:
        """Whether an energy cannot rise: there is none.

        Parameters
        ----------
        mode : {"sync"}

        Returns
        -------
        bool
        """
        take_choice(mode, "mode", ("sync",))
        return False

    # ----------------------------------------------------------------------------- privately --

    def _memory(self, degree: int) -> _core.Memory:
        if self.separation == "exponential":
            return _core.Memory(similarity="dot", separation="softmax", beta=1.0)
        return _core.Memory(similarity="dot", separation="polynomial", degree=degree)

    def _begun(
        self, states: npt.ArrayLike
    ) -> tuple[SequenceMemory, States, bool, npt.DTypeLike]:
        """The memory as it is now, and the states to begin with."""
        now, single, dtype = two_state_rows(states, self.n_features, self.coding, "states")
        if not len(self):
            raise ValueError("the memory is empty: store a sequence first")
        return copy.copy(self), now, single, dtype

    @property
    def _scale(self) -> float:
        """A power of two that brings overlaps into [-1, 1] without a rounding."""
        return math.ldexp(1.0, -(self.n_features + 1).bit_length())

    def _step(self, now: States) -> States:
        """All units at once.

        O = x^mu . s is O_i + x_i^mu s_i with O_i that leaves unit i out, which therefore is
        O - 1 or O + 1; picking one by (1 +- x_i^mu s_i) / 2 gives

            sum_mu v_i f(O_i) = sum_mu v_i (f(O-1) + f(O+1)) / 2
                              + s_i sum_mu v_i x_i^mu (f(O-1) - f(O+1)) / 2.
        """
        n = self.n_features
        if self.separation == "exponential":
            # exp(O - 1) and exp(O + 1), both divided by sum exp(O): signs stay.
            query = np.concatenate([now, np.zeros((len(now), 1))], axis=1)
            sums = self._next.retrieve(query)
            fields = math.cosh(1) * sums[:, :n] - math.sinh(1) * now * sums[:, n:]
        else:
            above, below = self._shifted(self._next, now)
            fields = above[:, :n] + below[:, :n] + now * (below[:, n:] - above[:, n:])
            if self._same is not None:
                above, below = self._shifted(self._same, now)
                fields = fields * self._ratio
                fields += above[:, :n] + below[:, :n] + now * (below[:, n:] - above[:, n:])
        return sign(fields, now)

    def _shifted(self, memory: _core.Memory, now: States) -> tuple[Array, Array]:
        """The sums over patterns with f(O + 1) and with f(O - 1)."""
        one = np.ones((len(now), 1))
        query = np.concatenate(
            [np.concatenate([now, one], axis=1), np.concatenate([now, -one], axis=1)]
        )
        sums = memory.retrieve(query * self._scale)
        return sums[: len(now)], sums[len(now) :]

    @property
    def _ratio(self) -> float:
        """Weight of the successors beside the held ones, where overlaps are scaled ours."""
        assert self.hold is not None
        unit = 1 / (self._scale * (self.n_features - 1))
        return self.drive * unit ** (self.degree - self.hold)


class _Overlaps:
    """What a recall asks about its patterns, states being in the coding of the caller."""

    def __init__(self, memory: SequenceMemory) -> None:
        self._memory = memory

    def _query(self, states: Array) -> Array:
        memory = self._memory
        rows = encode(states, memory.coding, "states").astype(np.float64)
        return np.concatenate([rows, np.zeros((len(rows), 1))], axis=1)

    def overlaps(self, states: Array) -> Array:
        scores = self._memory._next.scores(self._query(states))
        return np.asarray(scores / self._memory.n_features)

    def weights(self, states: Array) -> Array:
        memory, query = self._memory, self._query(states)
        if memory.separation == "exponential":
            return memory._next.weights(query)
        unit = 1 / (memory._scale * (memory.n_features - 1))
        return np.asarray(memory._next.weights(query * memory._scale) * unit**memory.degree)

    def energy(self, states: Array) -> Array:
        self._memory.energy(states)
