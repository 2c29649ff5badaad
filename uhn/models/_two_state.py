"""What the memories of two-state units share: one call's schedules, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from uhn.models._schedule import Schedule, cut_schedule, make_schedule, whole

__all__ = ["N_STEPS", "Dynamics", "Settle"]

Array = npt.NDArray[Any]
Spins = npt.NDArray[np.int8]
Rows = npt.NDArray[np.intp]

#: Sweeps after which a call ends that was not told how many.
N_STEPS = 100

#: An engine: from states and a schedule to what came of it, arrays of one row a state, the
#: settled states first. No row depends on another state.
Settle = Callable[[Spins, Schedule], tuple[Array, ...]]


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
    ) -> tuple[Array, ...]:
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
