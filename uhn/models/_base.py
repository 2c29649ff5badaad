"""What the memories of the family share: configuration, states in and out, steps until rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import numpy.typing as npt

from uhn import _core
from uhn.results import STATUSES, make_trace

__all__ = [
    "CODINGS",
    "FIXED_POINT",
    "NONE_ACTIVE",
    "STEP_LIMIT",
    "TWO_CYCLE",
    "Model",
    "decode",
    "dots",
    "encode",
    "make_trace",
    "number",
    "read_only",
    "real_rows",
    "settle",
    "sign",
    "take_choice",
    "two_state_rows",
]

Array = npt.NDArray[Any]
_A = TypeVar("_A", bound=npt.NDArray[Any])

#: The two ways to write a two-state unit.
CODINGS = ("bipolar", "binary")

#: Numbers that are looked at at once.
_PIECE = 1 << 20

FIXED_POINT, TWO_CYCLE, STEP_LIMIT, NONE_ACTIVE = range(len(STATUSES))


class Model:
    """A memory of the family: store, retrieve, recall, energy.

    A subclass lists its constructor's parameters in `_parameters` and keeps each under its own
    name; what it has stored is pickled and copied with it.
    """

    _parameters: ClassVar[tuple[str, ...]] = ()

    @property
    def n_patterns(self) -> int:
        """How many patterns are stored."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.n_patterns

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, by name; what was stored is not among them."""
        return {name: getattr(self, name) for name in self._parameters}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """An empty memory made from what `get_config` returned.

        Raises
        ------
        ValueError
            If `config` has a name that the constructor has not.
        """
        unknown = sorted(set(config) - set(cls._parameters))
        if unknown:
            raise ValueError(
                f"{cls.__name__} has no parameter {', '.join(unknown)}; it has "
                f"{', '.join(cls._parameters)}"
            )
        return cls(**config)

    def __repr__(self) -> str:
        config = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({config})"


def take_choice(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """One of a few words."""
    if value not in choices or not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}; it is one of {', '.join(map(repr, choices))}")
    return value


def number(value: Any, name: str) -> float:
    """A real number, be it infinite or NaN.

    Raises
    ------
    TypeError
        For a bool, text, an array, or what else is no number, naming the argument.
    ValueError
        For a whole number beyond float64.
    """
    # What float() would take for a number, or for the real part of one.
    taken = (bool, np.bool_, str, bytes, np.complexfloating)
    if not isinstance(value, taken) and getattr(value, "ndim", 0) == 0:
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{name} is too large for a float64") from None
        except TypeError:
            pass
    raise TypeError(f"{name} must be a number, not {type(value).__name__}")


def real_rows(array: npt.ArrayLike, n_columns: int, name: str) -> tuple[Array, bool]:
    """A finite real matrix (float32 stays, else float64) and whether it came as one row.

    Raises
    ------
    ValueError
        For a wrong width (0 for any), NaN or infinity, naming the argument and the place.
    TypeError
        For what is not real numbers.
    """
    rows, single = _core._take_rows(array, name, n_columns)
    return rows, single


def encode(rows: Array, coding: str, name: str) -> npt.NDArray[np.int8]:
    """Two-state rows as int8 of +1 and -1.

    Raises
    ------
    ValueError
        At the first entry that the coding does not have, with the way out.
    """
    low = -1 if coding == "bipolar" else 0
    spins = np.empty(rows.shape, dtype=np.int8)
    # In pieces, which keeps temporary arrays small and lets Ctrl-C in.
    step = max(1, _PIECE // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        piece = rows[start : start + step]
        up = piece == 1
        if not (up | (piece == low)).all():
            i, j = np.argwhere(~(up | (piece == low)))[0]
            raise ValueError(_not_coded(piece[i, j], f"{name}[{start + i}, {j}]", coding))
        spins[start : start + step] = 2 * up.view(np.int8) - 1
    return spins


def _not_coded(value: Any, place: str, coding: str) -> str:
    """What is wrong with an entry, and the way out."""
    low = -1 if coding == "bipolar" else 0
    if value not in (-1, 0, 1):
        cut = 0 if low else 0.5
        fix = f"threshold them first, for example np.where(x > {cut}, 1, {low})"
    elif coding == "bipolar":
        fix = "for 0 and 1 use coding='binary', or 2 * x - 1"
    else:
        fix = "for +1 and -1 use coding='bipolar', or (x + 1) / 2"
    return f"{place} is {value:g}, but coding='{coding}' has {low} and 1 only; {fix}"


def two_state_rows(
    array: npt.ArrayLike, n_columns: int, coding: str, name: str
) -> tuple[npt.NDArray[np.int8], bool, np.dtype[Any]]:
    """Rows of +1 and -1, whether they came as one row, and the type to answer in.

    Raises
    ------
    ValueError, TypeError
        As `real_rows` and `encode`.
    """
    rows, single = real_rows(array, n_columns, name)
    return encode(rows, coding, name), single, rows.dtype


def decode(states: npt.NDArray[np.int8], coding: str, dtype: npt.DTypeLike) -> Array:
    """int8 of +1 and -1 in the caller's coding and type."""
    if coding == "bipolar":
        return states.astype(dtype)
    return (states > 0).astype(dtype)


def dots(rows: Array, queries: Array) -> npt.NDArray[np.float64]:
    """queries @ rows.T, (n_queries, n_rows), row by row; of whole numbers exact to 2^53."""
    left = np.ascontiguousarray(rows, dtype=np.float64)
    right = np.ascontiguousarray(queries, dtype=np.float64)
    return np.asarray(_core.similarity(left, right, "dot"), dtype=np.float64)


def sign(fields: Array, now: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """The signs of fields; a unit whose field is 0 stays what it is now."""
    return np.where(fields > 0, 1, np.where(fields < 0, -1, now)).astype(np.int8)


def read_only(array: _A) -> _A:
    """The array itself, which cannot be written to any more."""
    array.flags.writeable = False
    return array


def settle(
    step: Callable[[Array], tuple[Array, npt.NDArray[np.bool_] | None]],
    queries: Array,
    *,
    n_steps: int,
    tol: float = 0.0,
    trace: bool = False,
) -> tuple[Array, npt.NDArray[np.int64], npt.NDArray[np.uint8], Array, Array, list[Array]]:
    """Steps a batch of states, each until it rests; no state depends on another.

    Parameters
    ----------
    step : callable
        From states (n, n_features) to the next states, and which of them any memory answered
        (n,), or None for all. Row i of the result may depend on row i alone.
    queries : ndarray, shape (n_queries, n_features)
    n_steps : int
        The most steps.
    tol : float
        A state rests when no component changed by more.
    trace : bool
        Keep every state on the way.

    Returns
    -------
    state, steps, codes, change
        As in `Recall`; codes count in `STATUSES`.
    asked : ndarray
        The states from which the last step of each was made.
    way : list of ndarray
        The states after 0, 1, ... steps; empty without `trace`.
    """
    n = len(queries)
    state = np.array(queries)
    asked = np.array(queries)
    before = np.array(queries)
    steps = np.zeros(n, dtype=np.int64)
    codes = np.full(n, STEP_LIMIT, dtype=np.uint8)
    change = np.zeros(n)
    way = [state.copy()] if trace else []
    moving = np.arange(n)
    for t in range(1, n_steps + 1):
        if moving.size == 0:
            break
        now = state[moving]
        after, answered = step(now)
        moved = np.abs(after - now).max(axis=1, initial=0).astype(np.float64)
        rests = moved <= tol
        cycles = (after == before[moving]).all(axis=1) if t > 1 else np.zeros_like(rests)
        silent = np.zeros_like(rests) if answered is None else ~answered
        before[moving] = now
        asked[moving] = now
        state[moving] = after
        steps[moving] = t
        change[moving] = moved
        codes[moving[cycles]] = TWO_CYCLE
        codes[moving[rests]] = FIXED_POINT
        codes[moving[silent]] = NONE_ACTIVE
        moving = moving[~(rests | cycles | silent)]
        if trace:
            way.append(state.copy())
    return state, steps, codes, change, asked, way
