"""What the memories of two-state units share: one call's schedules, how they are run, and the
face of a memory that runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from uhn.models._base import Model, decode, make_trace, read_only, two_state_rows
from uhn.models._schedule import Schedule, cut_schedule, make_schedule, whole
from uhn.results import Recall, Source

__all__ = ["N_STEPS", "Dynamics", "Engine", "Found", "TwoStateMemory", "last_copies"]

Array = npt.NDArray[Any]
Spins = npt.NDArray[np.int8]
Rows = npt.NDArray[np.intp]

#: Sweeps after which a call ends that was not told how many.
N_STEPS = 100

#: What came of states under a schedule, arrays of one row a state: the settled states, sweeps,
#: codes, whether the last sweep changed any unit, and what else an engine has to tell.
Found = tuple[Array, ...]

#: From states and a schedule to what came of it. No row depends on another state.
Settle = Callable[[Spins, Schedule], Found]


class Dynamics:
    """The dynamics of one call: a schedule for all states, or one for the states of each seed.

    Parameters
    ----------
    n_units, n_states : int
    mode, order, tie, clamped
        As of `make_schedule`.
    n_steps : int or None
        None is the number of temperatures if there is one each, else `N_STEPS`.
    seed : int or array_like of int, shape (n_states,)
    temperature : float or array_like of float, shape (n_steps,), or None
    heat : float
        The core's temperature over the caller's.
    """

    def __init__(
        self,
        n_units: int,
        n_states: int,
        mode: str,
        n_steps: int | None,
        seed: int | npt.ArrayLike,
        order: str | npt.ArrayLike,
        tie: str,
        clamped: npt.ArrayLike | None,
        temperature: float | Sequence[float] | npt.ArrayLike | None,
        heat: float = 1.0,
    ) -> None:
        if temperature is not None:
            temperature = np.asarray(temperature, dtype=np.float64)
            if n_steps is None and temperature.ndim == 1:
                n_steps = len(temperature)
            temperature = heat * temperature

        def schedule(one: int) -> Schedule:
            return make_schedule(
                n_units,
                mode=mode,
                n_steps=N_STEPS if n_steps is None else n_steps,
                seed=one,
                order=order,
                tie=tie,
                clamped=clamped,
                temperature=temperature,
            )

        seeds = np.asarray(seed, dtype=object)
        places: dict[int, list[int]] = {}
        if seeds.ndim == 0:
            places[whole(seeds[()], "seed", 0)] = []
        elif seeds.shape != (n_states,):
            raise ValueError(
                f"seed has shape {seeds.shape}; pass one number, or one for each of the "
                f"{n_states} states"
            )
        else:
            for i, one in enumerate(seeds):
                places.setdefault(whole(one, "seed", 0), []).append(i)
        # A single run is of all states, whatever rows it lists. Without any seed there is one
        # too, so that the other keywords are checked.
        self._runs: list[tuple[Rows, Schedule]] = [
            (np.array(rows, dtype=np.intp), schedule(one))
            for one, rows in (places or {0: []}).items()
        ]

    def settle(
        self,
        engine: Settle,
        spins: Spins,
        rows: Rows | None = None,
        first: int = 0,
        n: int | None = None,
    ) -> Found:
        """`n` sweeps from number `first` of the states at `rows`; None is all."""
        chosen = spins if rows is None else spins[rows]
        if len(self._runs) == 1 or len(chosen) == 0:
            return engine(chosen, cut_schedule(self._runs[0][1], first, n))
        # Where each state is among the chosen ones.
        place = np.full(len(spins), -1, dtype=np.intp)
        place[slice(None) if rows is None else rows] = np.arange(len(chosen))
        all_found: list[Array] = []
        for own, schedule in self._runs:
            at = place[own]
            at = at[at >= 0]
            if len(at) == 0:
                continue
            found = engine(chosen[at], cut_schedule(schedule, first, n))
            if not all_found:
                all_found = [np.empty((len(chosen), *x.shape[1:]), x.dtype) for x in found]
            for into, part in zip(all_found, found, strict=True):
                into[at] = part
        return tuple(all_found)

    def way(self, engine: Settle, spins: Spins, sweeps: npt.NDArray[np.int64]) -> list[Spins]:
        """The states after 0, 1, ... sweeps of a run that took so many of each."""
        states = [spins]
        for t in range(int(sweeps.max(initial=0))):
            at = states[-1].copy()
            rows = np.flatnonzero(sweeps > t)
            at[rows] = self.settle(engine, states[-1], rows, t, 1)[0]
            states.append(at)
        return states


class Engine(Protocol):
    """What a memory has stored, as it settles; it is never changed.

    `overlaps` and `energy` take states in the memory's coding.
    """

    @property
    def patterns(self) -> Spins:
        """What is known to be stored, as +1 and -1."""

    @property
    def symmetric(self) -> bool:
        """Whether there is an energy."""

    @property
    def heat(self) -> float:
        """The core's temperature over the caller's."""

    def settle(self, spins: Spins, schedule: Schedule, /) -> Found: ...

    def overlaps(self, states: Array) -> Array: ...

    def energy(self, states: Array) -> Array: ...


class TwoStateMemory(Model):
    """A memory whose units settle under a schedule: its ways in and out.

    A subclass gives what it has stored (`_known`), how that settles (`_engine`), and what a
    recall is to remember of it (`_answer`).
    """

    n_features: int
    coding: str

    def retrieve(
        self,
        states: npt.ArrayLike,
        *,
        mode: str = "async",
        n_steps: int | None = None,
        seed: int | npt.ArrayLike = 0,
        order: str | npt.ArrayLike = "random",
        tie: str = "keep",
        clamped: npt.ArrayLike | None = None,
        temperature: float | Sequence[float] | npt.ArrayLike | None = None,
    ) -> Array:
        """What each state comes to.

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)
            In the coding of the memory.
        mode : {"async", "sync"}
            Unit by unit, or all units at once.
        n_steps : int, optional
            The most sweeps or steps; a state that rests is done. None is the number of
            temperatures if there is one each, else 100.
        seed : int or array_like of int, shape (n_states,)
            Of the order and the luck. One for all states, which then share their order, or one
            for each.
        order : {"random", "replacement", "sequential"} or array_like of int
            A new permutation each sweep, draws with replacement, 0, 1, 2, ..., or as listed.
        tie : {"keep", "+1", "-1"}
            What a unit does that nothing pulls either way: nothing, or it takes the high or the
            low state.
        clamped : array_like, optional
            Units that keep their state: a mask of bool, (n_features,), or indices.
        temperature : float or array_like of float, shape (n_steps,), optional
            Glauber dynamics, at one temperature or at one for each sweep, which anneals.

        Returns
        -------
        ndarray, of the shape of `states`
            In the coding of the memory: float32 for float32, else float64.

        Raises
        ------
        ValueError
            If nothing is stored, or at an entry the coding does not have.
        """
        spins, single, dtype = self._take(states, "states")
        engine = self._engine(len(spins))
        n, heat = self.n_features, engine.heat
        dynamics = Dynamics(
            n, len(spins), mode, n_steps, seed, order, tie, clamped, temperature, heat
        )
        found = decode(dynamics.settle(engine.settle, spins)[0], self.coding, dtype)
        return found[0] if single else found

    def recall(
        self,
        states: npt.ArrayLike,
        *,
        mode: str = "async",
        n_steps: int | None = None,
        seed: int | npt.ArrayLike = 0,
        order: str | npt.ArrayLike = "random",
        tie: str = "keep",
        clamped: npt.ArrayLike | None = None,
        temperature: float | Sequence[float] | npt.ArrayLike | None = None,
        trace: bool = False,
    ) -> Recall:
        """What each state comes to, how it came to rest, and which patterns answered.

        Parameters
        ----------
        states, mode, n_steps, seed, order, tie, clamped, temperature
            As for `retrieve`.
        trace : bool, default False
            Keep the state after every sweep, with energies and overlaps where there are any.

        Returns
        -------
        Recall
            Its `overlaps` are pattern . state / n_features with units of +1 and -1; its
            `weights` are of the state before the last sweep, as the page of the class says.

        Raises
        ------
        ValueError
            As `retrieve`.
        """
        spins, single, dtype = self._take(states, "states")
        engine = self._engine(len(spins))
        n, heat = self.n_features, engine.heat
        dynamics = Dynamics(
            n, len(spins), mode, n_steps, seed, order, tie, clamped, temperature, heat
        )
        found = dynamics.settle(engine.settle, spins)
        settled, sweeps, codes, changed = found[:4]
        source, asked = self._answer(engine, dynamics, spins, found)
        way = dynamics.way(engine.settle, spins, sweeps) if trace else []
        return Recall.of_batch(
            decode(settled, self.coding, dtype),
            sweeps,
            codes,
            changed * (2.0 if self.coding == "bipolar" else 1.0),
            single=single,
            source=source,
            asked=None if asked is None else decode(asked, self.coding, dtype),
            trace=make_trace(
                [decode(at, self.coding, dtype) for at in way],
                engine.energy if engine.symmetric else None,
                engine.overlaps if len(engine.patterns) else None,
            ),
            unit="sweeps" if mode == "async" else "steps",
        )

    # --------------------------------------------------------------------------- attributes --

    @property
    def patterns(self) -> Spins:
        """What is stored, in the coding of the memory, (n_patterns, n_features): read-only."""
        return read_only(decode(self._known(), self.coding, np.int8))

    @property
    def n_patterns(self) -> int:
        """How many patterns are stored."""
        return len(self._known())

    # ------------------------------------------------------------------------------- inside --

    def _take(self, rows: npt.ArrayLike, name: str) -> tuple[Spins, bool, np.dtype[Any]]:
        return two_state_rows(rows, self.n_features, self.coding, name)

    def _known(self) -> Spins:
        """The patterns stored, as +1 and -1."""
        raise NotImplementedError

    def _engine(self, n_states: int) -> Engine:
        """What is stored, for so many states; a ValueError where nothing is."""
        raise NotImplementedError

    def _answer(
        self, engine: Any, dynamics: Dynamics, spins: Spins, found: Found
    ) -> tuple[Source, Spins | None]:
        """What a recall asks, and the states before the last sweep where they are at hand."""
        raise NotImplementedError


def last_copies(patterns: Spins, spins: Spins) -> list[int]:
    """The places of some rows among the patterns: of equal patterns the last ones.

    Raises
    ------
    ValueError
        At the first row that is not stored, or not as often.
    """
    places: dict[bytes, list[int]] = {}
    for i, row in enumerate(patterns):
        places.setdefault(row.tobytes(), []).append(i)
    gone = []
    for i, row in enumerate(spins):
        found = places.get(row.tobytes())
        if not found:
            raise ValueError(
                f"patterns[{i}] is not stored (any more): only what was stored can be forgotten"
            )
        gone.append(found.pop())
    return gone
