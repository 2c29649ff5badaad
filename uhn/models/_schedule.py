"""The dynamics of two-state units: which are looked at when, and at what temperature."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["TIES", "Schedule", "cut_schedule", "make_schedule", "take_seed", "whole"]

ORDERS = ("random", "replacement", "sequential")
TIES = ("keep", "+1", "-1")

#: A schedule as the core reads it: order, given order, seed, first sweep, sweeps, tie, clamped
#: units, temperatures.
Schedule = tuple[str, Any, int, int, int, str, Any, Any]


def make_schedule(
    n_units: int,
    *,
    mode: str,
    n_steps: int,
    seed: int,
    order: str | npt.ArrayLike = "random",
    tie: str = "keep",
    clamped: npt.ArrayLike | None = None,
    temperature: float | Sequence[float] | npt.ArrayLike | None = None,
    first_sweep: int = 0,
) -> Schedule:
    """The schedule of one call, checked.

    Parameters
    ----------
    n_units : int
    mode : {"async", "sync"}
    n_steps : int
        The most sweeps (async) or steps (sync).
    seed : int
        From 0 to 2**64 - 1: the order and the luck of every sweep follow from it.
    order : {"random", "replacement", "sequential"} or array_like of int
        A new permutation each sweep; units drawn with replacement, `n_units` of them a sweep;
        0, 1, 2, ...; or the units as listed, again each sweep. For async only.
    tie : {"keep", "+1", "-1"}
        What a unit does whose field is 0.
    clamped : array_like, optional
        Units that keep their state: a mask of bool, (n_units,), or indices.
    temperature : float or array_like of float, shape (n_steps,), optional
        Glauber dynamics: a unit becomes +1 with probability 1 / (1 + exp(-2 h / T)). One
        number, or one a sweep, which anneals. None or 0 is the sign rule.
    """
    if mode not in ("async", "sync"):
        raise ValueError(f"mode is {mode!r}; it is 'async' or 'sync'")
    if tie not in TIES:
        raise ValueError(f"tie is {tie!r}; it is one of {', '.join(map(repr, TIES))}")
    n_steps = whole(n_steps, "n_steps", 0)
    seed = take_seed(seed)
    given = None
    if mode == "sync":
        if not (isinstance(order, str) and order == "random"):
            raise ValueError("order is for mode='async': synchronous units are updated at once")
        name = "sync"
    elif isinstance(order, str):
        if order not in ORDERS:
            raise ValueError(
                f"order is {order!r}; it is one of {', '.join(map(repr, ORDERS))}, "
                "or an array of units"
            )
        name = "permutation" if order == "random" else order
    else:
        name = "given"
        given = np.asarray(order)
        if given.ndim != 1 or given.size == 0 or not np.issubdtype(given.dtype, np.integer):
            raise ValueError(
                f"order has shape {given.shape} and dtype {given.dtype}; pass a 1-D array of "
                "unit numbers"
            )
        if given.min() < 0 or given.max() >= n_units:
            bad = int(given[(given < 0) | (given >= n_units)][0])
            raise ValueError(f"order lists unit {bad}; units are numbered 0 to {n_units - 1}")
        given = np.ascontiguousarray(given, dtype=np.int64)
    return (
        name,
        given,
        seed,
        whole(first_sweep, "first_sweep", 0),
        n_steps,
        tie,
        None if clamped is None else _mask(clamped, n_units),
        None if temperature is None else _temperatures(temperature, n_steps),
    )


def cut_schedule(schedule: Schedule, first: int, n: int | None) -> Schedule:
    """Sweeps [first, first + n) of a schedule that begins at 0."""
    order, given, seed, _, n_all, tie, clamped, temperatures = schedule
    n = n_all if n is None else n
    if temperatures is not None:
        temperatures = np.ascontiguousarray(temperatures[first : first + n])
    return order, given, seed, first, n, tie, clamped, temperatures


def take_seed(seed: Any) -> int:
    """A whole number of 64 bits."""
    number = whole(seed, "seed", 0)
    if number >= 2**64:
        raise ValueError(f"seed is {number}; it must be below 2**64")
    return number


def whole(value: Any, name: str, least: int) -> int:
    """A whole number of at least `least`; bool and float are refused."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a whole number, not a bool")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}") from None
    if number < least:
        raise ValueError(f"{name} is {number}; it must be at least {least}")
    return number


def _mask(clamped: npt.ArrayLike, n_units: int) -> npt.NDArray[np.uint8]:
    array = np.asarray(clamped)
    if array.dtype == np.bool_:
        if array.shape != (n_units,):
            raise ValueError(
                f"clamped has shape {array.shape}; a mask has one bool a unit, ({n_units},)"
            )
        return np.ascontiguousarray(array, dtype=np.uint8)
    mask = np.zeros(n_units, dtype=np.uint8)
    if array.size == 0:
        return mask
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"clamped has shape {array.shape} and dtype {array.dtype}; pass a mask of bool or "
            "a 1-D array of unit numbers"
        )
    if array.min() < 0 or array.max() >= n_units:
        bad = int(array[(array < 0) | (array >= n_units)][0])
        raise ValueError(f"clamped lists unit {bad}; units are numbered 0 to {n_units - 1}")
    mask[array] = 1
    return mask


def _temperatures(temperature: Any, n_steps: int) -> npt.NDArray[np.float64]:
    array = np.asarray(temperature, dtype=np.float64)
    if array.ndim == 0:
        array = np.full(n_steps, float(array))
    elif array.shape != (n_steps,):
        raise ValueError(
            f"temperature has shape {array.shape}; pass one number, or one a sweep, "
            f"({n_steps},)"
        )
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError("temperature must be finite and >= 0")
    return np.ascontiguousarray(array)
