"""Memories that live: rows with names that come, change, fade and go.

A `LivingMemory` is a `uhn.Memory` whose rows have ids, labels and metadata. They can be removed
and replaced, the oldest make room for new ones, priors fade with time, and every answer says
which memories it was made of, and whether it is one at all.

What a memory answers depends on the rows it has, in their order, and on their priors, and on
nothing that happened before: bit for bit as a new `uhn.Memory` given the same rows.
"""

from __future__ import annotations

import html
import math
import operator
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from uhn import io as _io
from uhn._core import Memory, _memory_read, separate
from uhn.results import Recall, _known

__all__ = ["Answer", "Entry", "LivingMemory"]

Array = npt.NDArray[Any]
Id = int | str
_N_SHOWN = 10


class Entry(NamedTuple):
    """One memory: what was stored, under which name, and what its prior is now."""

    id: Id
    label: Any
    metadata: Any
    pattern: Array
    value: Array
    prior: float


class _Column:
    """An array that grows behind and shrinks in front; what was in it once never changes.

    Whoever appends must be the only one, and append to the newest column alone: then no column
    that another thread sees is written to.
    """

    def __init__(self, buffer: Array, start: int = 0, stop: int = 0) -> None:
        self._buffer, self._start, self._stop = buffer, start, stop
        self.rows = buffer[start:stop]

    @classmethod
    def of(cls, rows: Array) -> _Column:
        return cls(rows, 0, len(rows))

    def appended(self, rows: Array) -> _Column:
        buffer, start, stop = self._buffer, self._start, self._stop
        if stop + len(rows) > len(buffer):
            n = stop - start
            buffer = np.empty((n + len(rows) + n // 2 + 16, *buffer.shape[1:]), buffer.dtype)
            buffer[:n] = self.rows
            start, stop = 0, n
        buffer[stop : stop + len(rows)] = rows
        return _Column(buffer, start, stop + len(rows))

    def without_first(self, n: int) -> _Column:
        return _Column(self._buffer, self._start + n, self._stop)

    def without(self, rows: Array) -> _Column:
        return _Column.of(np.delete(self.rows, rows, axis=0))

    def with_rows(self, rows: Array, new: Array) -> _Column:
        changed = self.rows.copy()
        changed[rows] = new
        return _Column.of(changed)


_ID, _LABEL, _METADATA = range(3)  # places in a record


def _objects(values: Sequence[Any]) -> Array:
    return np.fromiter(values, dtype=object, count=len(values))


@dataclass(frozen=True)
class _State:
    """Everything at one moment. Never changes, so that readers need no lock."""

    memory: Memory
    serials: _Column  # int64, ascending: every row that was ever stored has its own
    records: _Column  # of (id, label, metadata)
    ages: _Column | None  # what made the priors: given prior, clock and shift when it was given
    clock: float = 0.0
    shift: float = 0.0  # half-lives that `decay` took away from every row
    stale: bool = False  # the priors of `memory` are those of an earlier moment

    def columns(self) -> dict[str, _Column]:
        found = {"serials": self.serials, "records": self.records}
        return found if self.ages is None else {**found, "ages": self.ages}

    def field(self, which: int) -> list[Any]:
        return [record[which] for record in self.records.rows]

    def field_of(self, which: int, rows: Array) -> Array:
        found = [record[which] for record in self.records.rows[rows.reshape(-1)]]
        return _objects(found).reshape(rows.shape)


def _records(ids: Iterable[Any], labels: Iterable[Any], metadata: Iterable[Any]) -> Array:
    return _objects(list(zip(ids, labels, metadata, strict=True)))


def _power_of_half(x: Array) -> Array:
    """2^-x for x >= 0, each on its own, with the same bits everywhere."""
    x = np.minimum(x, 5000.0)  # where it is 0 already
    whole = np.floor(x)
    # exp(-log(2) f) for the fraction f, by the core's own exponential; the rest is exact.
    part = separate(-math.log(2.0) * (x - whole), separation="exponential") if len(x) else x
    return np.asarray(np.ldexp(part, -whole.astype(np.int32)))


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str, np.integer)) and not isinstance(value, bool)


def _take_id(value: object) -> Id:
    if not _is_id(value):
        raise TypeError(f"an id must be an int or a str, not {type(value).__name__} {value!r}")
    return str(value) if isinstance(value, str) else operator.index(value)  # type: ignore[arg-type]


def _take_ids(ids: Any) -> list[Id]:
    """One id or several; ValueError if one comes twice."""
    taken = [_take_id(i) for i in ([ids] if _is_id(ids) else ids)]
    if len(set(taken)) < len(taken):
        twice = next(i for i in taken if taken.count(i) > 1)
        raise ValueError(f"ids have {twice!r} twice; name each memory once")
    return taken


def _take_each(what: str, given: Any, n: int, single: bool) -> list[Any] | None:
    """One thing a pattern; of a 1-D pattern the thing itself."""
    if given is None:
        return None
    if single:
        return [given]
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise TypeError(
            f"{what} must be a sequence of one a pattern, not {type(given).__name__}; for one "
            f"pattern alone pass it 1-D"
        )
    taken = list(given)
    if len(taken) != n:
        raise ValueError(f"there are {len(taken)} {what}, but {n} patterns")
    return taken


def _take_metadata(given: Any, n: int, single: bool) -> list[Any] | None:
    taken = _take_each("metadata", given, n, single)
    for one in taken or ():
        if one is not None and not isinstance(one, Mapping):
            raise TypeError(f"metadata of a memory must be a mapping, not {type(one).__name__}")
    return taken


def _take_threshold(what: str, value: float | None) -> float | None:
    if value is None:
        return None
    number = float(value)
    if math.isnan(number):
        raise ValueError(f"{what} must be a number, got NaN")
    return number


class Answer:
    """What a living memory recalled, and where it comes from.

    For a 1-D query every attribute has one axis less.

    Attributes
    ----------
    state : ndarray, shape (n_queries, n_values)
        What was recalled, also where nothing matched: ask `matched`.
    recall : Recall
        How the states came to rest, with the weights of all memories; its rows are numbers of
        memories in the order of `LivingMemory.ids` at that moment.
    """

    def __init__(
        self,
        recall: Recall,
        queries: Array,
        state: _State,
        k: int,
        min_margin: float | None,
        max_energy: float | None,
    ) -> None:
        self.recall = recall
        self.state = recall.state
        self._queries = queries
        self._of = state
        self._k = k
        self._min_margin = min_margin
        self._max_energy = max_energy

    @cached_property
    def _most(self) -> tuple[Array, Array]:
        return self.recall.memories(self._k)

    @property
    def ids(self) -> Array:
        """Ids of the k memories with the largest weights: object, shape (n_queries, k)."""
        return self._of.field_of(_ID, self._most[0])

    @property
    def labels(self) -> Array:
        """Their labels, None where there is none: object, shape (n_queries, k)."""
        return self._of.field_of(_LABEL, self._most[0])

    @property
    def metadata(self) -> Array:
        """Their metadata, None where there are none: object, shape (n_queries, k)."""
        return self._of.field_of(_METADATA, self._most[0])

    @property
    def weights(self) -> Array:
        """Their weights in the last step, largest magnitude first: shape (n_queries, k)."""
        return self._most[1]

    @cached_property
    def n_effective(self) -> Any:
        """How many memories answered: exp of the entropy of all weights; (n_queries,)."""
        return self.recall.n_effective

    @cached_property
    def margin(self) -> Any:
        """The best score of a query less the second best: float64, shape (n_queries,).

        Of the query as it was asked, not of the state: wherever a state comes to rest, it is
        close to some memory. Infinite where there is one memory only.
        """
        n = len(self._of.memory)
        known = _known(self._queries)
        _, scores = self._of.memory.nearest(self._queries, min(n, 2), mask=known)
        scores = scores.astype(np.float64)
        best, second = scores[..., 0], scores[..., 1] if n > 1 else np.float64(-np.inf)
        # Two exact matches may both have an infinite score.
        result = np.zeros(best.shape)
        np.subtract(best, second, out=result, where=best != second)
        return result if result.ndim else float(result)

    @cached_property
    def energy(self) -> Any:
        """The energy of a query as it was asked: float64, shape (n_queries,).

        NaN where the query lacks a feature, so that it has no energy.

        Raises
        ------
        ValueError
            If the memory has no energy; the message says why.
        """
        queries = np.atleast_2d(self._queries)
        whole = ~np.isnan(queries).any(axis=1)
        energy = np.full(len(queries), np.nan)
        energy[whole] = self._of.memory.energy(queries[whole])
        return energy if self._queries.ndim == 2 else float(energy[0])

    @cached_property
    def matched(self) -> Any:
        """Whether there is a match: bool, shape (n_queries,).

        That is: some memory answered, the margin is at least `min_margin`, and the energy at
        most `max_energy`, where these are given. A query that lacks a feature has no energy.
        """
        matched = np.asarray(self.recall.status) != "no active location"
        if self._min_margin is not None:
            matched = matched & (np.asarray(self.margin) >= self._min_margin)
        if self._max_energy is not None:
            matched = matched & (np.asarray(self.energy) <= self._max_energy)
        return matched if matched.ndim else bool(matched)

    def __repr__(self) -> str:
        matched = np.atleast_1d(self.matched)
        text = repr(self.recall)
        return f"Answer({text[text.index('(') + 1 : -1]}; {int(matched.sum())} matched)"

    def _repr_html_(self) -> str:
        matched = np.atleast_1d(self.matched)
        n = min(len(matched), _N_SHOWN)
        ids, labels, weights = (
            np.atleast_2d(x)[:, 0] for x in (self.ids, self.labels, self.weights)
        )
        columns: list[tuple[str, Iterable[str]]] = [
            ("query", (str(i) for i in range(n))),
            ("matched", ("yes" if m else "no" for m in matched)),
            ("memory", (repr(i) for i in ids)),
            ("label", ("" if x is None else str(x) for x in labels)),
            ("weight", (f"{w:.3g}" for w in weights)),
            ("n_effective", (f"{x:.3g}" for x in np.atleast_1d(self.n_effective))),
            ("margin", (f"{x:.3g}" for x in np.atleast_1d(self.margin))),
        ]
        return f"<p>{html.escape(repr(self))}</p>" + _table(columns, n, len(matched))


def _table(columns: list[tuple[str, Iterable[str]]], n_shown: int, n: int) -> str:
    # Numbers line up on the right whatever the page's own style says.
    cell = "style='text-align: right; padding: 0.1em 0.8em'"
    head = "".join(f"<th {cell}>{html.escape(name)}</th>" for name, _ in columns)
    rows = list(zip(*(cells for _, cells in columns), strict=False))[:n_shown]
    body = "".join(
        "<tr>" + "".join(f"<td {cell}>{html.escape(x)}</td>" for x in row) + "</tr>"
        for row in rows
    )
    rest = f"<p>and {n - n_shown} more</p>" if n > n_shown else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


class LivingMemory:
    """An associative memory whose memories have names and may be changed, fade and go.

    Parameters
    ----------
    patterns, values : array_like, optional
        The first memories, as for `store`.
    ids, labels, metadata, prior : optional
        Of these, as for `store`.
    capacity : int, optional
        At most so many memories; the oldest leave first (a ring).
    half_life : float, optional
        A prior halves each time so many memories were stored after its own. `tick` lets time
        pass without a store.
    min_margin : float, optional
        An answer whose best score exceeds the second best by less is no match.
    max_energy : float, optional
        An answer whose query has more energy is no match. Needs an equation with an energy.
    **equation
        Keywords of `uhn.Memory`: similarity, separation, beta, ...

    Notes
    -----
    The prior of a memory that was stored with prior p is, after t later memories and ticks and
    decays by factors f_1, f_2, ...,

        p 2^(-t / half_life) f_1 f_2 ...

    computed from p and t each time, so that rounding does not build up, and never less than the
    smallest normal number of the dtype: a memory that is alone answers however old it is. That
    depends on how many memories were stored, not on how many calls they came in.

    One thread may edit while others ask: an answer belongs to the memories before an edit or to
    those after it, never to a mixture. Edits wait for one another. A file, too, has the
    memories of one moment.

    Removing and replacing cost a few passes over the ids, but do not copy patterns, except
    where the memory would otherwise keep more than twice the room it needs (see
    `uhn.Memory.remove`); a store into a full ring costs what the new patterns cost.

    Examples
    --------
    >>> import numpy as np
    >>> memory = LivingMemory(np.eye(4), beta=10.0, ids=["a", "b", "c", "d"], min_margin=0.5)
    >>> memory.remove("b")
    >>> answer = memory.recall([0.1, 0.0, 0.9, 0.0])
    >>> answer.ids, answer.matched
    (array(['c'], dtype=object), True)
    >>> memory.recall([0.4, 0.0, 0.5, 0.0]).matched
    False
    """

    def __init__(
        self,
        patterns: npt.ArrayLike | None = None,
        values: npt.ArrayLike | None = None,
        *,
        ids: Any = None,
        labels: Any = None,
        metadata: Any = None,
        prior: npt.ArrayLike | None = None,
        capacity: int | None = None,
        half_life: float | None = None,
        min_margin: float | None = None,
        max_energy: float | None = None,
        **equation: Any,
    ) -> None:
        if capacity is not None:
            if isinstance(capacity, bool):
                raise TypeError("capacity must be a whole number, not bool")
            capacity = operator.index(capacity)
            if capacity < 1:
                raise ValueError(f"capacity must be at least 1, got {capacity}")
        if half_life is not None:
            half_life = float(half_life)
            if not 0 < half_life < math.inf:
                raise ValueError(f"half_life must be finite and > 0, got {half_life}")
        memory = Memory(**equation)
        if half_life is not None:
            memory.set_prior(np.empty(0))  # fails if the separation knows no priors
        self._capacity = capacity
        self._half_life = half_life
        self._min_margin = _take_threshold("min_margin", min_margin)
        self._max_energy = _take_threshold("max_energy", max_energy)
        self._next_id = 0
        self._start(memory, [], None if half_life is None else np.empty((0, 3)))
        if patterns is not None:
            self.store(patterns, values, ids=ids, labels=labels, metadata=metadata, prior=prior)
        elif any(x is not None for x in (values, ids, labels, metadata, prior)):
            raise ValueError("values, ids, labels, metadata and prior need patterns")

    def _start(
        self,
        memory: Memory,
        records: Sequence[tuple[Id, Any, Any]],
        ages: Array | None,
        clock: float = 0.0,
        shift: float = 0.0,
    ) -> None:
        self._lock = threading.Lock()
        self._next_serial = len(records)
        # Serials of ids that were stored; the state says which of them there still are.
        self._index = {name: serial for serial, (name, _, _) in enumerate(records)}
        self._state = _State(
            memory,
            _Column.of(np.arange(len(records), dtype=np.int64)),
            _Column.of(_objects(records)),
            None if ages is None else _Column.of(ages),
            clock,
            shift,
            stale=ages is not None,
        )

    # ------------------------------------------------------------------------------ priors --

    def _priors(self, state: _State) -> Array:
        """The priors of a state whose rows have ages, by their closed form."""
        assert state.ages is not None
        given, born, shift = np.ascontiguousarray(state.ages.rows.T)
        age = state.shift - shift
        if self._half_life is not None:
            with np.errstate(over="ignore"):  # past all half-lives
                age = age + (state.clock - born) / self._half_life
        kind = np.finfo(np.float64 if state.memory.dtype is None else state.memory.dtype)
        prior = given * _power_of_half(age)
        return np.asarray(np.clip(prior, float(kind.tiny), float(kind.max)))

    def _now(self) -> _State:
        """The state, with the priors of this moment."""
        state = self._state
        if not state.stale:
            return state
        with self._lock:
            state = self._state = self._faded(self._state)
        return state

    def _faded(self, state: _State) -> _State:
        """The state with the priors that its clock says."""
        if not state.stale:
            return state
        memory = state.memory.copy()
        if len(memory):
            memory.set_prior(self._priors(state))
        return replace(state, memory=memory, stale=False)

    def _with_ages(self, state: _State) -> _State:
        """The same state with ages, if it has none: priors are what they are."""
        if state.ages is not None:
            return state
        ages = np.zeros((len(state.memory), 3))
        prior = state.memory.prior
        ages[:, 0] = 1.0 if prior is None else prior
        ages[:, 1:] = state.clock, state.shift
        return replace(state, ages=_Column.of(ages))

    def decay(self, factor: float) -> None:
        """Multiply the prior of every memory there is by a factor.

        Parameters
        ----------
        factor : float
            Above 0 and at most 1.

        Raises
        ------
        ValueError
            If the factor is outside, or the separation has no meaning for priors.
        """
        if not 0 < factor <= 1:
            raise ValueError(f"factor must be above 0 and at most 1, got {factor}")
        with self._lock:
            self._state.memory.copy().set_prior([], [])  # fails if there can be no priors
            state = self._with_ages(self._state)
            self._state = replace(state, shift=state.shift - math.log2(factor), stale=True)

    def tick(self, n: float = 1) -> None:
        """Let as much time pass as `n` stored memories take.

        Parameters
        ----------
        n : float, default 1
            At least 0.

        Raises
        ------
        ValueError
            If n is negative or not finite, the clock would be infinite, or there is no
            half-life.
        """
        if self._half_life is None:
            raise ValueError("there is no half_life to tick with; use decay(factor)")
        if not 0 <= n < math.inf:
            raise ValueError(f"n must be finite and >= 0, got {n}")
        with self._lock:
            state = self._state
            clock = state.clock + float(n)
            if math.isinf(clock):
                raise ValueError(f"the clock is at {state.clock}; {n} more would be infinite")
            self._state = replace(state, clock=clock, stale=True)

    # ------------------------------------------------------------------------------- edits --

    def store(
        self,
        patterns: npt.ArrayLike,
        values: npt.ArrayLike | None = None,
        *,
        ids: Any = None,
        labels: Any = None,
        metadata: Any = None,
        prior: npt.ArrayLike | None = None,
        copy: bool = False,
    ) -> Any:
        """Store memories; the oldest leave if there are more than the capacity.

        Parameters
        ----------
        patterns : array_like, shape (n, n_features) or (n_features,)
        values : array_like, shape (n, n_values) or (n_values,), optional
            Needed if and only if the memory has values.
        ids : sequence of int or str, length n, optional
            Their names, which no memory has yet; by default whole numbers that were never used,
            counted up. For a 1-D pattern the id itself, and so for labels and metadata.
        labels : sequence, length n, optional
            Anything; None for none.
        metadata : sequence of mapping, length n, optional
            Kept as they are; None for none.
        prior : array_like, shape (n,), optional
            Prior weights, finite and > 0; without, they are 1.
        copy : bool, default False
            Copy arrays even where they could be borrowed.

        Returns
        -------
        list of (int or str), or the id itself for a 1-D pattern

        Raises
        ------
        ValueError
            If an id is there already (use `replace`) or comes twice, or for the reasons of
            `uhn.Memory.store`. Then nothing was stored.
        """
        with self._lock:
            state = self._state
            first = len(state.memory)
            memory = state.memory.copy()
            memory.store(patterns, values, prior=prior, copy=copy)
            n = len(memory) - first
            single = np.ndim(patterns) == 1
            taken = _take_each("ids", ids, n, single)
            if taken is None:
                names: list[Id] = list(range(self._next_id, self._next_id + n))
            else:
                names = _take_ids(taken)
            for name in names:
                if self._row(state, name) is not None:
                    raise ValueError(
                        f"a memory has the id {name!r} already; replace it or leave ids out"
                    )
            if first == 0 and n and self._max_energy is not None:
                memory.energy(memory[:1])  # fails if there is no energy to compare
            more: dict[str, Any] = {
                "serials": np.arange(self._next_serial, self._next_serial + n),
                "records": _records(
                    names,
                    _take_each("labels", labels, n, single) or [None] * n,
                    _take_metadata(metadata, n, single) or [None] * n,
                ),
            }
            clock = state.clock
            if state.ages is not None:
                ages = np.empty((n, 3))
                ages[:, 0] = 1.0 if prior is None else prior
                ages[:, 1] = clock
                if self._half_life is not None:
                    ages[:, 1] += np.arange(1, n + 1)
                    clock += n
                ages[:, 2] = state.shift
                more["ages"] = ages
            n_old = 0
            if self._capacity is not None and len(memory) > self._capacity:
                n_old = len(memory) - self._capacity
                memory.remove(np.arange(n_old))
            columns: dict[str, Any] = {}
            gone: list[Id] = []
            for name, column in state.columns().items():
                grown = column.appended(more[name])
                if name == "records":
                    gone = [record[_ID] for record in grown.rows[:n_old]]
                columns[name] = grown.without_first(n_old)
            # Nothing fails from here on. An id is in the index before it is in the state.
            for name, serial in zip(names, more["serials"].tolist(), strict=True):
                self._index[name] = serial
                if isinstance(name, int):
                    self._next_id = max(self._next_id, name + 1)
            self._next_serial += n
            self._state = replace(
                state, memory=memory, clock=clock, stale=state.ages is not None, **columns
            )
            for name in gone:
                del self._index[name]
        return names[0] if single else names

    def remove(self, ids: Any) -> None:
        """Take memories out.

        Parameters
        ----------
        ids : int, str, or sequence of them
            In any order, none twice.

        Raises
        ------
        KeyError
            If there is no such memory. Then nothing was removed.
        """
        names = _take_ids(ids)
        with self._lock:
            state = self._state
            rows = self._rows(state, names)
            if not names:
                return
            memory = state.memory.copy().remove(rows)
            columns: dict[str, Any] = {
                name: column.without(rows) for name, column in state.columns().items()
            }
            self._state = replace(state, memory=memory, **columns)
            for name in names:
                del self._index[name]

    def replace(
        self,
        ids: Any,
        patterns: npt.ArrayLike,
        values: npt.ArrayLike | None = None,
        *,
        labels: Any = None,
        metadata: Any = None,
        prior: npt.ArrayLike | None = None,
    ) -> None:
        """Give memories other patterns; they keep their ids and their places in the ring.

        Parameters
        ----------
        ids : int, str, or sequence of them, length n
        patterns : array_like, shape (n, n_features) or (n_features,)
        values : array_like, shape (n, n_values) or (n_values,), optional
            Needed if and only if the memory has values.
        labels, metadata : sequence, length n, optional
            As for `store`; without, they stay what they are.
        prior : array_like, shape (n,), optional
            New priors, of this moment; without, they stay what they are and go on fading.

        Raises
        ------
        KeyError
            If there is no such memory. Then nothing was replaced.
        ValueError
            If shapes do not fit, or for the reasons of `uhn.Memory.replace`.
        """
        names = _take_ids(ids)
        with self._lock:
            state = self._state
            rows = self._rows(state, names)
            single = np.ndim(patterns) == 1
            memory = state.memory.copy().replace(rows, patterns, values, prior=prior)
            new = (
                _take_each("labels", labels, len(names), single),
                _take_metadata(metadata, len(names), single),
            )
            records = state.records
            if new != (None, None):
                old = (state.field_of(_LABEL, rows), state.field_of(_METADATA, rows))
                both = (was if now is None else now for was, now in zip(old, new, strict=True))
                records = records.with_rows(rows, _records(names, *both))
            self._state = replace(
                self._aged(state, rows, prior), memory=memory, records=records
            )

    def set_prior(self, prior: npt.ArrayLike, ids: Any = None) -> None:
        """Give memories other priors, of this moment.

        Parameters
        ----------
        prior : array_like, shape (n,)
            Finite and > 0.
        ids : int, str, or sequence of them, length n, optional
            Without, `prior` has one number for every memory, in the order of `ids`.

        Raises
        ------
        KeyError
            If there is no such memory.
        ValueError
            If shapes do not fit, or for the reasons of `uhn.Memory.set_prior`.
        """
        with self._lock:
            state = self._state
            names = None if ids is None else _take_ids(ids)
            rows = np.arange(len(state.memory)) if names is None else self._rows(state, names)
            if np.ndim(prior) == 0 and len(rows) == 1:
                prior = np.reshape(prior, 1)
            memory = state.memory.copy().set_prior(prior, rows)
            self._state = replace(self._aged(state, rows, prior), memory=memory)

    def _aged(self, state: _State, rows: Array, prior: Any) -> _State:
        """The state with new priors in its ages, if there are any."""
        if state.ages is None or prior is None:
            return state
        new = np.empty((len(rows), 3))
        new[:, 0] = prior
        new[:, 1:] = state.clock, state.shift
        return replace(state, ages=state.ages.with_rows(rows, new), stale=True)

    # ------------------------------------------------------------------------------- names --

    def _row(self, state: _State, name: Id) -> int | None:
        """Where a memory is in a state; None if it is not."""
        serial = self._index.get(name)
        if serial is None:
            return None
        serials = state.serials.rows
        row = int(np.searchsorted(serials, serial))
        return row if row < len(serials) and serials[row] == serial else None

    def _rows(self, state: _State, names: list[Id]) -> Array:
        rows = [self._row(state, name) for name in names]
        for name, row in zip(names, rows, strict=True):
            if row is None:
                raise KeyError(f"no memory has the id {name!r}")
        return np.array(rows, dtype=np.int64)

    @property
    def ids(self) -> list[Id]:
        """The ids of all memories, oldest first."""
        return self._state.field(_ID)

    @property
    def labels(self) -> list[Any]:
        """The labels of all memories, in the order of `ids`."""
        return self._state.field(_LABEL)

    @property
    def metadata(self) -> list[Any]:
        """The metadata of all memories, in the order of `ids`."""
        return self._state.field(_METADATA)

    @property
    def memory(self) -> Memory:
        """The memories of this moment as a `uhn.Memory` of its own, which shares their rows."""
        return self._now().memory.copy()

    @property
    def prior(self) -> Array | None:
        """The priors of this moment, in the order of `ids`; None if there never were any."""
        return self._now().memory.prior

    @property
    def capacity(self) -> int | None:
        """At most so many memories."""
        return self._capacity

    @property
    def half_life(self) -> float | None:
        """Memories stored until a prior has halved."""
        return self._half_life

    @property
    def min_margin(self) -> float | None:
        """Least margin of a match."""
        return self._min_margin

    @property
    def max_energy(self) -> float | None:
        """Largest energy of a match."""
        return self._max_energy

    @property
    def clock(self) -> float:
        """Memories that were stored and ticks since there is a half-life."""
        return self._state.clock

    def __contains__(self, name: object) -> bool:
        return _is_id(name) and self._row(self._state, _take_id(name)) is not None

    def __len__(self) -> int:
        return len(self._state.memory)

    def __iter__(self) -> Iterator[Id]:
        return iter(self.ids)

    def __getitem__(self, name: Id) -> Entry:
        """The memory with an id.

        Parameters
        ----------
        name : int or str

        Returns
        -------
        Entry
            With fields id, label, metadata, pattern, value, prior.

        Raises
        ------
        KeyError
            If there is no such memory.
        """
        name = _take_id(name)
        state = self._now()
        (row,) = self._rows(state, [name])
        pattern, value, prior = (
            _memory_read(state.memory, part, int(row), 1)[0]
            for part in ("patterns", "values", "prior")
        )
        _, label, metadata = state.records.rows[row]
        return Entry(name, label, metadata, pattern, value, float(prior))

    # --------------------------------------------------------------------------- questions --

    def retrieve(
        self,
        queries: npt.ArrayLike,
        n_steps: int = 1,
        *,
        mask: npt.ArrayLike | None = None,
        clamp: bool = True,
        tol: float | None = None,
        out: Array | None = None,
    ) -> Array:
        """What the memories answer: `uhn.Memory.retrieve`, whatever the thresholds say."""
        memory = self._now().memory
        return memory.retrieve(queries, n_steps, mask=mask, clamp=clamp, tol=tol, out=out)

    def recall(
        self,
        queries: npt.ArrayLike,
        n_steps: int | None = None,
        *,
        mask: npt.ArrayLike | None = None,
        clamp: bool = True,
        tol: float | None = 1e-6,
        k: int = 1,
        trace: bool = False,
    ) -> Answer:
        """Recall, and say which memories it came from.

        Parameters
        ----------
        queries : array_like, shape (n_queries, n_features) or (n_features,)
        n_steps : int, optional
            At most so many steps; by default 100, or 1 where answers are not as wide as
            patterns and cannot become questions.
        mask, clamp : optional
            As for `uhn.Memory.retrieve`: which features of a query are known, and whether they
            stay.
        tol : float or None, default 1e-6
            As for `uhn.Memory.recall`.
        k : int, default 1
            How many memories the answer names for each query.
        trace : bool, default False
            Keep the states on the way, in ``answer.recall.trace``.

        Returns
        -------
        Answer

        Raises
        ------
        ValueError
            If k is not from 1 to the number of memories, or for the reasons of
            `uhn.Memory.recall`.
        """
        state = self._now()
        memory = state.memory
        if isinstance(k, bool):
            raise TypeError("k must be a whole number, not bool")
        k = operator.index(k)
        if not 1 <= k <= len(memory):
            raise ValueError(f"k must be from 1 to the {len(memory)} memories stored, got {k}")
        if memory.n_values == memory.n_features:
            # Converted, nobody else's, and with NaN for what is not known.
            asked = memory.recall(queries, 0, mask=mask).state
            recall = memory.recall(
                asked,
                100 if n_steps is None else n_steps,
                mask=_known(asked),
                clamp=clamp,
                tol=tol,
                trace=trace,
            )
        else:
            recall = memory.recall(
                queries,
                1 if n_steps is None else n_steps,
                mask=mask,
                clamp=clamp,
                tol=tol,
                trace=trace,
            )
            asked = np.asarray(recall._asked)
        return Answer(recall, asked, state, k, self._min_margin, self._max_energy)

    def nearest(
        self, queries: npt.ArrayLike, k: int = 1, *, mask: npt.ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """The k most similar memories: ids and scores, best first.

        Parameters
        ----------
        queries : array_like, shape (n_queries, n_features) or (n_features,)
        k : int, default 1
        mask : optional
            As for `uhn.Memory.retrieve`.

        Returns
        -------
        ids : ndarray of object, shape (n_queries, k)
            Ties to the older memory.
        scores : ndarray, shape (n_queries, k)
        """
        state = self._now()
        rows, scores = state.memory.nearest(queries, k, mask=mask)
        return state.field_of(_ID, rows), scores

    # ------------------------------------------------------------------------------- files --

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the memories to a file, with their names, priors and settings.

        At any moment the path holds the old file or the new one, whole. `uhn.load` opens it,
        too, as a plain `uhn.Memory` whose priors are those of the moment it was saved.

        Parameters
        ----------
        path : str or path-like
            Of a regular file, which is replaced, or of none. By custom it ends in
            ``.uhn.safetensors``.

        Raises
        ------
        ValueError
            If a label or metadata are not JSON: None, bool, int, float, str, list, and dict
            with keys of str, no NaN or infinity among them; the message names the memory.
            Scalars of NumPy are saved as the numbers they are. Or if the similarity or the
            separation is a callable, or path is no regular file.
        OSError
            If the file cannot be written. Then the old one is untouched.

        Examples
        --------
        >>> import os, tempfile, numpy as np
        >>> path = os.path.join(tempfile.mkdtemp(), "living.uhn.safetensors")
        >>> memory = LivingMemory(np.eye(2), ids=["a", "b"], capacity=2, half_life=10)
        >>> memory.save(path)
        >>> memory = LivingMemory.load(path)
        >>> memory.store([0.5, 0.5], ids="c")
        'c'
        >>> memory.ids, memory.clock
        (['b', 'c'], 3.0)
        """
        with self._lock:
            state, next_id = self._state, self._next_id
        state = self._faded(state)
        records = _io.Records(
            ids=state.field(_ID),
            labels=state.field(_LABEL),
            metadata=state.field(_METADATA),
            ages=None if state.ages is None else state.ages.rows,
            clock=state.clock,
            shift=state.shift,
            next_id=next_id,
            capacity=self._capacity,
            half_life=self._half_life,
            min_margin=self._min_margin,
            max_energy=self._max_energy,
        )
        _io._save(state.memory, path, None, _io._pack_records(records))

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], mmap: bool = True, *, verify: bool = False
    ) -> LivingMemory:
        """Open a living memory that `save` wrote.

        It answers, fades and forgets with the same bits as the one that was saved.

        Parameters
        ----------
        path : str or path-like
            Of a regular file.
        mmap, verify : bool
            As for `uhn.load`. Names and priors are read and checked in any case.

        Raises
        ------
        ValueError
            As `uhn.load`, and if there is no living memory in the file.
        OSError
            If it cannot be opened or read.
        """
        memory, records = _io._load_living(path, mmap, verify)
        found = cls.__new__(cls)
        found._capacity, found._half_life = records.capacity, records.half_life
        found._min_margin, found._max_energy = records.min_margin, records.max_energy
        found._next_id = records.next_id
        rows = list(zip(records.ids, records.labels, records.metadata, strict=True))
        found._start(memory, rows, records.ages, records.clock, records.shift)
        return found

    # ------------------------------------------------------------------- copies and pickles --

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            state = self._state
            return {
                "memory": state.memory.copy(),
                "records": list(state.records.rows),
                "ages": None if state.ages is None else state.ages.rows.copy(),
                "clock": state.clock,
                "shift": state.shift,
                "settings": {
                    name: getattr(self, name)
                    for name in (
                        "_capacity", "_half_life", "_min_margin", "_max_energy", "_next_id",
                    )
                },
            }  # fmt: skip

    def __setstate__(self, found: dict[str, Any]) -> None:
        self.__dict__.update(found["settings"])
        names = ("memory", "records", "ages", "clock", "shift")
        self._start(*(found[name] for name in names))

    def copy(self) -> LivingMemory:
        """Another living memory with the same memories, sharing their patterns."""
        other = type(self).__new__(type(self))
        other.__setstate__(self.__getstate__())
        return other

    __copy__ = copy

    # ------------------------------------------------------------------------- to be seen --

    def __repr__(self) -> str:
        text = repr(self._state.memory)
        names = ("capacity", "half_life", "min_margin", "max_energy")
        given = [(name, getattr(self, name)) for name in names]
        settings = "".join(f", {name}={value!r}" for name, value in given if value is not None)
        return f"Living{text[:-1]}{settings})"

    def _repr_html_(self) -> str:
        state = self._now()
        n = len(state.memory)
        newest = slice(n - 1, None, -1) if n <= _N_SHOWN else slice(n - 1, n - 1 - _N_SHOWN, -1)
        prior = state.memory.prior
        shown = np.ones(n) if prior is None else prior
        columns: list[tuple[str, Iterable[str]]] = [
            ("id", (repr(i) for i, _, _ in state.records.rows[newest])),
            ("label", ("" if x is None else str(x) for _, x, _ in state.records.rows[newest])),
            ("metadata", ("" if x is None else str(x) for *_, x in state.records.rows[newest])),
            ("prior", (f"{p:.3g}" for p in shown[newest])),
        ]
        return f"<p>{html.escape(repr(self))}</p>" + _table(columns, min(n, _N_SHOWN), n)
