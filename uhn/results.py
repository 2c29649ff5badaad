"""What a recall comes back with: states, how each came to rest, and which memories answered."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Recall", "Trace"]

Array = npt.NDArray[Any]

#: How a recall may end, in the order of the codes of the core.
STATUSES = ("fixed point", "2-cycle", "step limit", "no active location")


class Source(Protocol):
    """What a recall asks about its memories: a memory as it was when the recall ran."""

    def overlaps(self, states: Array) -> Array:
        """How much each state has of each pattern, (n_states, n_patterns)."""

    def weights(self, states: Array) -> Array:
        """The weights under which the next state is made, (n_states, n_patterns)."""

    def energy(self, states: Array) -> Array:
        """The energy of each state; ValueError with the reason where there is none."""


@dataclass(frozen=True)
class Trace:
    """The way each query went, from the query itself to where it stopped.

    A state that rested stays what it is to the end of the arrays. For a 1-D query the axis of
    the queries is left out.

    Attributes
    ----------
    states : ndarray, shape (n_steps + 1, n_queries, n_features)
    energies : ndarray of float64, shape (n_steps + 1, n_queries), or None
        None where the memory has no energy, or none that fits a float64 all the way.
    overlaps : ndarray, shape (n_steps + 1, n_queries, n_patterns), or None
        None where the memory keeps no patterns.
    """

    states: Array
    energies: Array | None
    overlaps: Array | None

    def __repr__(self) -> str:
        return f"Trace({len(self.states) - 1} steps)"


class Recall:
    """The result of a recall: where every query came to, and why it stopped there.

    Everything about a query depends on that query alone. For a 1-D query the states are 1-D and
    the other attributes have one axis less: `n_steps` is an int, `status` a str.

    Attributes
    ----------
    state : ndarray, shape (n_queries, n_features)
    n_steps : ndarray of int64, shape (n_queries,)
        Steps (synchronous) or sweeps (asynchronous) done.
    status : ndarray of str, shape (n_queries,)
        'fixed point', '2-cycle', 'step limit', or 'no active location' where no memory
        answered.
    change : ndarray of float64, shape (n_queries,)
        The largest change of a component in the last step.
    trace : Trace or None
        The way there, if it was asked for.
    """

    def __init__(
        self,
        state: Array,
        n_steps: Array | int,
        status: Array | str,
        change: Array | float,
        *,
        source: Source | None = None,
        asked: Array | None = None,
        trace: Trace | None = None,
        unit: str = "steps",
    ) -> None:
        self.state = state
        self.n_steps = n_steps
        self.status = status
        self.change = change
        self.trace = trace
        self._source = source
        self._asked = asked
        self._unit = unit

    @classmethod
    def of_batch(
        cls,
        state: Array,
        n_steps: Array,
        codes: Array,
        change: Array,
        *,
        single: bool,
        source: Source | None = None,
        asked: Array | None = None,
        trace: Trace | None = None,
        unit: str = "steps",
    ) -> Recall:
        """The result of a batch (2-D states, status codes), or of its one row if `single`."""
        status = np.array(STATUSES)[codes]
        if not single:
            return cls(
                state, n_steps, status, change, source=source, asked=asked, trace=trace,
                unit=unit,
            )  # fmt: skip
        if trace is not None:
            trace = Trace(
                trace.states[:, 0],
                None if trace.energies is None else trace.energies[:, 0],
                None if trace.overlaps is None else trace.overlaps[:, 0],
            )
        return cls(
            state[0],
            int(n_steps[0]),
            str(status[0]),
            float(change[0]),
            source=source,
            asked=None if asked is None else asked[0],
            trace=trace,
            unit=unit,
        )

    # -------------------------------------------------------------------------- how it ended --

    @property
    def converged(self) -> Any:
        """Whether each query came to a fixed point: bool, shape (n_queries,)."""
        found = np.asarray(self.status) == "fixed point"
        return found if found.ndim else bool(found)

    @property
    def energy(self) -> Any:
        """The energy of each state: float64, shape (n_queries,).

        Raises
        ------
        ValueError
            If the memory has no energy; the message says why.
        """
        return self._of_source("energy", self.state)

    # ------------------------------------------------------------------------- who answered --

    @property
    def overlaps(self) -> Array:
        """How much each state has of each memory: shape (n_queries, n_patterns).

        For two-state networks pattern . state / n_features, which is 1 for the pattern itself;
        for others the similarity.

        Raises
        ------
        ValueError
            If the memory keeps no patterns, or answers of another width.
        """
        return np.asarray(self._of_source("overlaps", self.state))

    @property
    def weights(self) -> Array:
        """The weight of each memory in the last step: shape (n_queries, n_patterns).

        Those under which `state` was made from the state before it.

        Raises
        ------
        ValueError
            If the memory keeps no patterns, or gives them no weights.
        """
        asked = self.state if self._asked is None else self._asked
        return np.asarray(self._of_source("weights", asked))

    @property
    def entropy(self) -> Any:
        """Shannon entropy, in nats, of the weights' magnitudes divided by their sum.

        float64, shape (n_queries,): 0 if one memory answered, log n if n answered alike; NaN
        where none did.
        """
        w = np.abs(np.asarray(self.weights, dtype=np.float64))
        total = w.sum(axis=-1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            p = w / total
            terms = np.where(p > 0, -p * np.log(p), 0.0)
        result = np.where(total[..., 0] > 0, terms.sum(axis=-1), np.nan)
        return result if result.ndim else float(result)

    @property
    def n_effective(self) -> Any:
        """The exponential of the entropy: as it were, how many answered; (n_queries,)."""
        result = np.exp(self.entropy)
        return result if np.ndim(result) else float(result)

    @property
    def margin(self) -> Any:
        """The largest overlap of a state less the second largest: shape (n_queries,).

        Infinite where there is one pattern only.
        """
        m = np.asarray(self.overlaps, dtype=np.float64)
        if m.shape[-1] < 2:
            result = np.full(m.shape[:-1], np.inf)
        else:
            two = np.partition(m, -2, axis=-1)[..., -2:]
            result = two[..., 1] - two[..., 0]
        return result if result.ndim else float(result)

    def memories(self, k: int = 1) -> tuple[Array, Array]:
        """The k memories that had the largest say in the last step, and their weights.

        Parameters
        ----------
        k : int, default 1

        Returns
        -------
        indices : ndarray of int64, shape (n_queries, k)
            Largest magnitude first, ties to the lowest index.
        weights : ndarray, shape (n_queries, k)

        Raises
        ------
        ValueError
            If k is not from 1 to the number of patterns, or there are no weights.
        """
        w = self.weights
        if not 1 <= k <= w.shape[-1]:
            raise ValueError(f"k must be from 1 to the {w.shape[-1]} patterns stored, got {k}")
        order = np.argsort(-np.abs(w), axis=-1, kind="stable")[..., :k]
        return order.astype(np.int64), np.take_along_axis(w, order, axis=-1)

    # ---------------------------------------------------------------------------- to be seen --

    def __repr__(self) -> str:
        n = 1 if self.state.ndim == 1 else len(self.state)
        steps = np.atleast_1d(self.n_steps)
        status = np.atleast_1d(self.status)
        counts = [(name, int((status == name).sum())) for name in STATUSES]
        ended = ", ".join(f"{name} {count}" for name, count in counts if count)
        if n == 1:
            ended = str(status[0])
        most = int(steps.max(initial=0))
        least = int(steps.min(initial=most))
        took = f"{most}" if least == most else f"{least} to {most}"
        what = "1 query" if n == 1 else f"{n} queries"
        name, width = type(self).__name__, self.state.shape[-1]
        unit = self._unit.removesuffix("s") if took == "1" else self._unit
        return f"{name}({what} of {width} features: {ended}; {took} {unit})"

    def _repr_html_(self) -> str:
        steps = np.atleast_1d(self.n_steps)
        status = np.atleast_1d(self.status)
        change = np.atleast_1d(self.change)
        columns: list[tuple[str, list[str]]] = [
            ("query", [str(i) for i in range(len(steps))]),
            ("status", [str(s) for s in status]),
            (self._unit, [str(s) for s in steps]),
            ("last change", [f"{c:.3g}" for c in change]),
        ]
        shown = min(len(steps), 10)
        try:
            energy = np.atleast_1d(self.energy)
            columns.append(("energy", [f"{e:.6g}" for e in energy]))
        except ValueError:
            pass
        try:
            index, weight = self.memories(1)
            index, weight = np.atleast_2d(index), np.atleast_2d(weight)
            columns.append(("largest weight", [f"{w:.3g}" for w in weight[:, 0]]))
            columns.append(("of memory", [str(i) for i in index[:, 0]]))
            columns.append(("entropy", [f"{e:.3g}" for e in np.atleast_1d(self.entropy)]))
        except ValueError:
            pass
        # Numbers line up on the right whatever the page's own style says.
        cell = "style='text-align: right; padding: 0.1em 0.8em'"
        head = "".join(f"<th {cell}>{html.escape(name)}</th>" for name, _ in columns)
        body = "".join(
            "<tr>"
            + "".join(f"<td {cell}>{html.escape(cells[i])}</td>" for _, cells in columns)
            + "</tr>"
            for i in range(shown)
        )
        rest = f"<p>and {len(steps) - shown} more</p>" if len(steps) > shown else ""
        return (
            f"<p>{html.escape(repr(self))}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"
        )

    def _of_source(self, what: str, states: Array) -> Any:
        if self._source is None:
            raise ValueError(f"this recall does not know its memories: there is no {what}")
        result = getattr(self._source, what)(np.atleast_2d(states))
        if states.ndim == 1:
            result = result[0]
            return float(result) if np.ndim(result) == 0 else result
        return result


def make_trace(
    way: list[Array],
    energy: Callable[[Array], Array] | None,
    overlaps: Callable[[Array], Array] | None,
) -> Trace | None:
    """The trace of a batch from the states on its way; None from an empty list."""
    if not way:
        return None
    return Trace(
        np.stack(way),
        None if energy is None else np.stack([energy(states) for states in way]),
        None if overlaps is None else np.stack([overlaps(states) for states in way]),
    )


def _known(states: Array) -> Array | None:
    """Which features are there, if some are missing."""
    gaps = np.isnan(states)
    return ~gaps if gaps.any() else None


class _OfMemory:
    """A `Memory` as the source of a recall."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def overlaps(self, states: Array) -> Array:
        memory = self.memory
        if states.shape[1] != memory.n_features:
            raise ValueError(
                f"the answers have {states.shape[1]} features and the patterns "
                f"{memory.n_features}: they have no overlap with the memories"
            )
        return np.asarray(memory.scores(states, mask=_known(states)))

    def weights(self, states: Array) -> Array:
        return np.asarray(self.memory.weights(states, mask=_known(states)))

    def energy(self, states: Array) -> Array:
        if states.shape[1] != self.memory.n_features:
            # Answers of another width: the memory says why there is no energy, not that they
            # do not fit.
            states = np.empty((0, self.memory.n_features), dtype=states.dtype)
        return np.asarray(self.memory.energy(states))


def recall_of_memory(
    memory: Any,
    queries: Array,
    state: Array,
    asked: Array,
    n_steps: Array,
    codes: Array,
    change: Array,
    single: bool,
    trace: bool,
    clamp: bool,
) -> Recall:
    """The result of `Memory.recall`, for its binding; `memory` is a copy that stays so."""
    source = _OfMemory(memory)
    way: list[Array] = []
    if trace:
        way = [np.atleast_2d(queries)]
        if state.shape != way[0].shape:
            raise ValueError("trace=True needs values as wide as the patterns")
        for t in range(int(n_steps.max(initial=0))):
            moves = n_steps > t
            following = way[-1].copy()
            # The bits of an answer do not depend on its neighbours: this is the way it went.
            known = _known(way[-1][moves])
            following[moves] = memory.retrieve(
                way[-1][moves], mask=known, clamp=t == 0 and clamp
            )
            if clamp:  # what the query knew stays
                following = np.where(np.isnan(way[0]), following, way[0])
            way.append(following)
    try:
        went = make_trace(way, source.energy, source.overlaps)
    except ValueError:  # no energy, or states that leave its range
        went = make_trace(way, None, source.overlaps)
    return Recall.of_batch(
        state, n_steps, codes, change, single=single, source=source, asked=asked, trace=went
    )
