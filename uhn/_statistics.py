"""The statistics that experiments and analyses share."""

from __future__ import annotations

import math

__all__ = ["wilson"]


def wilson(
    n_correct: float, n_trials: float, z: float = 1.959963984540054
) -> tuple[float, float]:
    """Wilson's score interval for a fraction; `z` = 1.96 gives 95 %.

    With p = n_correct / n_trials and n = n_trials it is
    ``(p + z^2/2n -+ z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)`` (Wilson, JASA 22, 1927):
    the fractions that a test of size 5 % does not reject. It stays inside [0, 1] and is not of
    zero width where everything or nothing was correct.

    Raises
    ------
    ValueError
        Unless 0 <= n_correct <= n_trials and n_trials >= 1.
    """
    if not 0 <= n_correct <= n_trials or n_trials < 1:
        raise ValueError(f"{n_correct} correct of {n_trials} trials")
    p, square = n_correct / n_trials, z * z / n_trials
    centre = (p + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(p * (1 - p) / n_trials + square / (4 * n_trials))
    # At the ends one bound is the fraction itself; rounding must not move it.
    low = 0.0 if n_correct == 0 else max(0.0, centre - half)
    high = 1.0 if n_correct == n_trials else min(1.0, centre + half)
    return low, high
