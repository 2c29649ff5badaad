"""Pairs of two-state patterns, each recalled from the other: Kosko's two layers."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from uhn import _core
from uhn.models._base import (
    CODINGS,
    Model,
    decode,
    encode,
    real_rows,
    settle,
    sign,
    take_choice,
    two_state_rows,
)
from uhn.models._schedule import whole
from uhn.results import Recall, Trace

__all__ = ["BidirectionalAssociativeMemory", "PairRecall"]

Array = npt.NDArray[Any]
States = npt.NDArray[np.int8]


class PairRecall(Recall):
    """Where a pair of layers came to rest: `state` is the pattern, `partner` the value.

    Attributes
    ----------
    partner : ndarray, shape (n_queries, n_values)
        The state of the layer of the values, in the coding of the memory.
    """

    partner: Array
    _energies: Array | float

    @property
    def energy(self) -> Any:
        """The energy of each pair, float64, (n_queries,)."""
        return self._energies


class _Layers:
    """The two layers and what joins them, as they were at one moment; states are +1 and -1.

    Fields are sums of float64 products in an order of their own engine: whole numbers, as the
    fields of stored pairs are, come out exactly.
    """

    def __init__(
        self,
        forward: _core.Memory,
        backward: _core.Memory,
        joined: Array | None,
        bias: Array | None,
        value_bias: Array | None,
    ) -> None:
        self._forward = forward
        self._backward = backward
        self._joined = joined
        self._transposed = None if joined is None else np.ascontiguousarray(joined.T)
        self._bias = bias
        self._value_bias = value_bias

    @property
    def n_patterns(self) -> int:
        return len(self._forward)

    def of_values(self, x: Array) -> Array:
        """W^T x, (n, n_values)."""
        return _fields(self._forward, self._transposed, x)

    def of_patterns(self, y: Array) -> Array:
        """W y, (n, n_features)."""
        return _fields(self._backward, self._joined, y)

    def next_values(self, x: States, y: States) -> States:
        """y <- sign(W^T x + c); a unit without a field stays what it is."""
        return sign(_add(self.of_values(x), self._value_bias), y)

    def next_patterns(self, x: States, y: States) -> States:
        """x <- sign(W y + b)."""
        return sign(_add(self.of_patterns(y), self._bias), x)

    def scores(self, x: States) -> Array:
        """The sum of products of each state and each pattern, (n, n_patterns)."""
        if not self.n_patterns:
            raise ValueError("the memory was made from weights alone: it has no patterns")
        return self._forward.scores(np.ascontiguousarray(x, dtype=np.float64))

    def overlaps(self, x: States) -> Array:
        return np.asarray(self.scores(x) / x.shape[1])

    def energy_of(self, x: States, y: States) -> Array:
        """-x^T W y - b . x - c . y, (n,)."""
        joint = (y * self.of_values(x)).sum(axis=1)
        if self._bias is not None:
            joint = joint + (x * self._bias).sum(axis=1)
        if self._value_bias is not None:
            joint = joint + (y * self._value_bias).sum(axis=1)
        return np.asarray(0.0 - joint)


class _Settled(NamedTuple):
    """Both layers where they came to rest, how each pair ended, and the way of both."""

    layers: _Layers
    x: States
    y: States
    steps: Array
    codes: Array
    change: Array
    single: bool
    dtype: npt.DTypeLike
    way: list[Array]


class _Patterns:
    """What a recall asks about the patterns alone, in the coding of the caller."""

    def __init__(self, coding: str, layers: _Layers) -> None:
        self._coding = coding
        self._layers = layers

    def overlaps(self, states: Array) -> Array:
        return self._layers.overlaps(encode(states, self._coding, "states"))

    def weights(self, states: Array) -> Array:
        return self._layers.scores(encode(states, self._coding, "states"))

    def energy(self, states: Array) -> Array:
        raise ValueError("an energy belongs to a pair: ask the recall for `energy`")


class BidirectionalAssociativeMemory(Model):
    """Pairs of patterns and values that call each other up: a name its face, a face its name.

    Two layers of two-state units, every unit of one joined to every unit of the other and to
    none of its own:

        W = sum_mu x_mu y_mu^T
        y <- sign(W^T x + c),    x <- sign(W y + b),    in turns
        E(x, y) = -x^T W y - b . x - c . y

    A unit whose field is 0 stays what it is. A half step that changes anything lowers E,
    whatever real matrix W is, so that the layers come to rest and never cycle (B. Kosko,
    Bidirectional associative memories, IEEE Transactions on Systems, Man, and Cybernetics 18,
    1988). Of random pairs about 0.2 n are recalled with few errors, n units in either layer,
    and about n / (2 ln n) without any; min(n_features, n_values) is a bound, not a law.

    Parameters
    ----------
    n_features, n_values : int
        Units of the two layers.
    bias, value_bias : array_like, shape (n_features,) and (n_values,), optional
        b and c; 0 by default.
    coding : {"bipolar", "binary"}
        How states are written, +1 and -1 or 1 and 0. The units are +1 and -1 inside either way:
        the sum of outer products of 0 and 1 is no memory.

    Attributes
    ----------
    patterns, values : ndarray, shape (n_patterns, n_features) and (n_patterns, n_values)
    weights : ndarray of float64, shape (n_features, n_values)

    Examples
    --------
    >>> import uhn.models
    >>> faces = [[1, -1, 1, -1, 1, -1], [1, 1, 1, -1, -1, -1]]
    >>> names = [[1, 1, -1, -1], [1, -1, 1, -1]]
    >>> memory = uhn.models.BidirectionalAssociativeMemory(6, 4)
    >>> _ = memory.store(faces, names)
    >>> memory.retrieve(faces[0])
    array([ 1.,  1., -1., -1.])
    >>> memory.retrieve_back(names[1])
    array([ 1.,  1.,  1., -1., -1., -1.])
    >>> pair = memory.recall([-1, 1, 1, -1, -1, -1])  # the second face, one bit wrong
    >>> pair.state, pair.partner
    (array([ 1.,  1.,  1., -1., -1., -1.]), array([ 1., -1.,  1., -1.]))
    >>> pair.status, pair.energy
    ('fixed point', -24.0)
    """

    _parameters: ClassVar[tuple[str, ...]] = (
        "n_features", "n_values", "bias", "value_bias", "coding",
    )  # fmt: skip

    def __init__(
        self,
        n_features: int,
        n_values: int,
        *,
        bias: npt.ArrayLike | None = None,
        value_bias: npt.ArrayLike | None = None,
        coding: str = "bipolar",
    ) -> None:
        self.n_features = whole(n_features, "n_features", 1)
        self.n_values = whole(n_values, "n_values", 1)
        self.bias = _vector(bias, "bias", self.n_features)
        self.value_bias = _vector(value_bias, "value_bias", self.n_values)
        self.coding = take_choice(coding, "coding", CODINGS)
        self._joined: Array | None = None
        # From patterns to values, and back. A store puts another two here and changes none, so
        # that whoever read them, a copy of this model too, keeps what it has.
        self._both = (_empty(), _empty())

    @classmethod
    def from_weights(
        cls,
        weights: npt.ArrayLike,
        *,
        bias: npt.ArrayLike | None = None,
        value_bias: npt.ArrayLike | None = None,
        coding: str = "bipolar",
    ) -> Self:
        """A memory with the weights of another; pairs stored into it are added to them.

        Parameters
        ----------
        weights : array_like, shape (n_features, n_values)
            Any real matrix.
        bias, value_bias, coding
            As for the class.

        Returns
        -------
        BidirectionalAssociativeMemory

        Raises
        ------
        ValueError
            If shapes do not fit, or a number is not finite.
        """
        joined, single = real_rows(weights, 0, "weights")
        if single or joined.size == 0:
            raise ValueError(
                f"weights has shape {np.shape(weights)}; pass a matrix (n_features, n_values)"
            )
        memory = cls(*joined.shape, bias=bias, value_bias=value_bias, coding=coding)
        memory._joined = np.array(joined, dtype=np.float64, order="C")
        return memory

    # ---------------------------------------------------------------------------- the pairs --

    @property
    def n_patterns(self) -> int:
        """The number of pairs stored."""
        return len(self._both[0])

    @property
    def patterns(self) -> Array:
        """The patterns stored, float64, (n_patterns, n_features), in the coding."""
        return self._written(self._both[0], self.n_features)

    @property
    def values(self) -> Array:
        """The values stored, float64, (n_patterns, n_values), in the coding."""
        return self._written(self._both[1], self.n_values)

    @property
    def weights(self) -> Array:
        """W = sum x y^T, and the matrix the memory was made from, (n_features, n_values)."""
        total = np.zeros((self.n_features, self.n_values))
        forward, backward = self._both
        if len(forward):
            x = np.ascontiguousarray(np.asarray(forward).T)
            y = np.ascontiguousarray(np.asarray(backward).T)
            total = _core.similarity(y, x, "dot")
        return total if self._joined is None else total + self._joined

    def store(self, patterns: npt.ArrayLike, values: npt.ArrayLike) -> Self:
        """Add pairs.

        Parameters
        ----------
        patterns : array_like, shape (n, n_features) or (n_features,)
        values : array_like, shape (n, n_values) or (n_values,)
            One for each pattern.

        Returns
        -------
        The memory itself, so that calls can be chained.

        Raises
        ------
        ValueError
            If shapes do not fit, or an entry is not of the coding. Nothing is stored then.
        """
        x, _, _ = two_state_rows(patterns, self.n_features, self.coding, "patterns")
        y, _, _ = two_state_rows(values, self.n_values, self.coding, "values")
        if len(x) != len(y):
            raise ValueError(f"{len(x)} patterns but {len(y)} values: a pair needs one of each")
        rows = x.astype(np.float64), y.astype(np.float64)
        forward, backward = (memory.copy() for memory in self._both)
        forward.store(*rows)
        backward.store(*reversed(rows))
        self._both = forward, backward
        return self

    # --------------------------------------------------------------------------- the recall --

    def retrieve(self, states: npt.ArrayLike, n_steps: int = 100) -> Array:
        """The values that patterns call up: the other layer when both have come to rest.

        Parameters
        ----------
        states : array_like, shape (n_queries, n_features) or (n_features,)
        n_steps : int, default 100
            The most round trips; 1 is one pass to the values and back.

        Returns
        -------
        ndarray, shape (n_queries, n_values) or (n_values,)
            In the coding; float32 for float32, else float64.

        Raises
        ------
        ValueError
            If nothing is stored, or at an entry the coding does not have.
        """
        rest = self._settled(states, None, n_steps)
        values = self._decoded(rest.y, rest.dtype)
        return values[0] if rest.single else values

    def retrieve_back(self, values: npt.ArrayLike, n_steps: int = 100) -> Array:
        """The patterns that values call up.

        Parameters
        ----------
        values : array_like, shape (n_queries, n_values) or (n_values,)
        n_steps : int, default 100
            The most round trips.

        Returns
        -------
        ndarray, shape (n_queries, n_features) or (n_features,)

        Raises
        ------
        ValueError
            If nothing is stored, or at an entry the coding does not have.
        """
        rest = self._settled(None, values, n_steps)
        states = self._decoded(rest.x, rest.dtype)
        return states[0] if rest.single else states

    def recall(
        self,
        states: npt.ArrayLike | None = None,
        values: npt.ArrayLike | None = None,
        *,
        n_steps: int = 100,
        trace: bool = False,
    ) -> PairRecall:
        """Let both layers come to rest, from a pattern, a value, or both.

        Parameters
        ----------
        states : array_like, shape (n_queries, n_features) or (n_features,), optional
            Where the layer of the patterns begins. Given, the values are updated first.
        values : array_like, shape (n_queries, n_values) or (n_values,), optional
            Where the layer of the values begins. Given alone, the patterns are updated first.
            A layer that is not given begins with all units low, which shows where the first
            field of a unit is 0.
        n_steps : int, default 100
            The most round trips.
        trace : bool, default False
            Keep the way of `state` and the energies of the pairs.

        Returns
        -------
        PairRecall
            `state` is the pattern, `partner` the value.

        Raises
        ------
        ValueError
            If nothing is given, nothing stored, shapes do not fit, or an entry is not of the
            coding.
        """
        rest = self._settled(states, values, n_steps, trace)
        layers, dtype, n = rest.layers, rest.dtype, self.n_features
        kept = None
        if trace:
            xs, ys = [both[:, :n] for both in rest.way], [both[:, n:] for both in rest.way]
            kept = Trace(
                np.stack([self._decoded(x, dtype) for x in xs]),
                np.stack([layers.energy_of(*pair) for pair in zip(xs, ys, strict=True)]),
                np.stack([layers.overlaps(x) for x in xs]) if layers.n_patterns else None,
            )
        result = PairRecall.of_batch(
            self._decoded(rest.x, dtype),
            rest.steps,
            rest.codes,
            rest.change,
            single=rest.single,
            source=_Patterns(self.coding, layers),
            trace=kept,
        )
        assert isinstance(result, PairRecall)
        partner, energies = self._decoded(rest.y, dtype), layers.energy_of(rest.x, rest.y)
        result.partner = partner[0] if rest.single else partner
        result._energies = float(energies[0]) if rest.single else energies
        return result

    def energy(self, states: npt.ArrayLike, values: npt.ArrayLike) -> Any:
        """-x^T W y - b . x - c . y of pairs of states, x and y being +1 and -1.

        Parameters
        ----------
        states : array_like, shape (n, n_features) or (n_features,)
        values : array_like, shape (n, n_values) or (n_values,)

        Returns
        -------
        ndarray of float64, shape (n,), or float

        Raises
        ------
        ValueError
            If nothing is stored, shapes do not fit, or an entry is not of the coding.
        """
        layers = self._layers()
        x, y, single, _ = self._pair(states, values)
        energies = layers.energy_of(x, y)
        return float(energies[0]) if single else energies

    def lyapunov(self, mode: str = "sync") -> bool:
        """Whether the energy cannot rise: always, as a layer is never updated with the other.

        Parameters
        ----------
        mode : {"sync"}
            All units of a layer at once, the layers in turns.

        Returns
        -------
        bool
        """
        take_choice(mode, "mode", ("sync",))
        return True

    # ----------------------------------------------------------------------------- privately --

    def _layers(self) -> _Layers:
        forward, backward = self._both
        if not len(forward) and self._joined is None:
            raise ValueError("the memory is empty: store pairs first")
        return _Layers(forward, backward, self._joined, self.bias, self.value_bias)

    def _settled(
        self,
        states: npt.ArrayLike | None,
        values: npt.ArrayLike | None,
        n_steps: int,
        trace: bool = False,
    ) -> _Settled:
        if states is None and values is None:
            raise ValueError("give states, values, or both: a recall begins somewhere")
        layers = self._layers()
        x, y, single, dtype = self._pair(states, values)
        n = self.n_features

        def step(now: Array) -> tuple[Array, None]:
            x, y = now[:, :n], now[:, n:]
            if states is not None:
                y = layers.next_values(x, y)
                x = layers.next_patterns(x, y)
            else:
                x = layers.next_patterns(x, y)
                y = layers.next_values(x, y)
            return np.concatenate([x, y], axis=1), None

        both = np.concatenate([x, y], axis=1)
        rest, steps, codes, change, _, way = settle(
            step, both, n_steps=whole(n_steps, "n_steps", 0), trace=trace
        )
        if self.coding == "binary":
            change = change / 2
        return _Settled(
            layers, rest[:, :n], rest[:, n:], steps, codes, change, single, dtype, way
        )

    def _pair(
        self, states: npt.ArrayLike | None, values: npt.ArrayLike | None
    ) -> tuple[States, States, bool, npt.DTypeLike]:
        """Both layers as +1 and -1, whether they came as one row, and the type to answer in."""
        given = []
        for array, width, name in (
            (states, self.n_features, "states"),
            (values, self.n_values, "values"),
        ):
            if array is not None:
                given.append((name, *two_state_rows(array, width, self.coding, name)))
        if len(given) == 2 and (given[0][1].shape[0], given[0][2]) != (
            given[1][1].shape[0], given[1][2],
        ):  # fmt: skip
            raise ValueError(
                f"states has shape {np.shape(given[0][1])} but values {np.shape(given[1][1])} "
                "as rows; a pair needs one row of each, and both 1-D or both 2-D"
            )
        found = {name: rows for name, rows, _, _ in given}
        n = len(given[0][1])
        x = found.get("states", np.full((n, self.n_features), -1, dtype=np.int8))
        y = found.get("values", np.full((n, self.n_values), -1, dtype=np.int8))
        return x, y, given[0][2], np.result_type(*(dtype for *_, dtype in given))

    def _decoded(self, states: Array, dtype: npt.DTypeLike) -> Array:
        return decode(states, self.coding, dtype)

    def _written(self, memory: _core.Memory, width: int) -> Array:
        if not len(memory):
            return np.zeros((0, width))
        return decode(np.asarray(memory).astype(np.int8), self.coding, np.float64)


def _empty() -> _core.Memory:
    return _core.Memory(similarity="dot", separation="identity")


def _fields(memory: _core.Memory, joined: Array | None, states: Array) -> Array:
    rows = np.ascontiguousarray(states, dtype=np.float64)
    fields = None if joined is None else _core.similarity(joined, rows, "dot")
    if len(memory):
        of_pairs = memory.retrieve(rows)
        fields = of_pairs if fields is None else fields + of_pairs
    assert fields is not None
    return fields


def _add(fields: Array, bias: Array | None) -> Array:
    return fields if bias is None else fields + bias


def _vector(array: npt.ArrayLike | None, name: str, size: int) -> Array | None:
    if array is None:
        return None
    rows, single = real_rows(array, size, name)
    if not single:
        raise ValueError(f"{name} has shape {np.shape(array)}; pass shape ({size},)")
    return np.array(rows[0], dtype=np.float64)
