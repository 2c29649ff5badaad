"""Readable twins of continuous memories, of two layers, and of sequences, and their theory.

One state at a time, one line per formula, float64. It never imports uhn. Rows are patterns. MHN
is Ramsauer et al., "Hopfield Networks is All You Need", arXiv 2008.02217.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

import reference

Array = np.ndarray

# --------------------------------------------------------------------------- modern Hopfield --


def lse(scores: Array, beta: float) -> float:
    """log(sum exp(beta s)) / beta."""
    top = (beta * scores).max()
    return float((top + np.log(np.exp(beta * scores - top).sum())) / beta)


def map_weights(scores: Array, separation: str, beta: float, alpha: float) -> Array:
    """softmax, sparsemax or entmax of beta times the scores."""
    more = {"alpha": alpha} if separation == "entmax" else {}
    return reference.separate(scores[np.newaxis], separation, beta=beta, **more)[0]


def tsallis(w: Array, alpha: float) -> float:
    """(1 - sum w^alpha) / (alpha (alpha - 1)); Shannon's entropy at alpha = 1."""
    if alpha == 1:
        return float(-(w[w > 0] * np.log(w[w > 0])).sum())
    return float((1 - (w**alpha).sum()) / (alpha * (alpha - 1)))


def modern_update(X: Array, v: Array, beta: float, separation="softmax", alpha=1.5) -> Array:
    """MHN eq. 3."""
    return map_weights(X @ v, separation, beta, alpha) @ X


def modern_energy(
    X: Array, v: Array, beta: float, separation="softmax", alpha=1.5, constants=True
) -> float:
    """MHN eq. 2: |v|^2 / 2 - conj(X v) and constants, conj(s) = max_p p . s + H(p) / beta.

    For softmax conj is log-sum-exp. The constants are H(uniform) / beta and M^2 / 2.
    """
    alpha = {"softmax": 1, "sparsemax": 2}.get(separation, alpha)
    scores = X @ v
    w = map_weights(scores, separation, beta, alpha)
    if separation == "softmax":
        conjugate = lse(scores, beta)
    else:
        conjugate = w @ scores + tsallis(w, alpha) / beta
    energy = v @ v / 2 - conjugate
    if constants:
        n = len(X)
        largest = max(math.sqrt(x @ x) for x in X)
        energy += tsallis(np.full(n, 1 / n), alpha) / beta + largest**2 / 2
    return float(energy)


def separations(X: Array) -> Array:
    """Delta_i = x_i . x_i - max_(j != i) x_i . x_j (MHN definition 1)."""
    n = len(X)
    return np.array(
        [X[i] @ X[i] - max(X[i] @ X[j] for j in range(n) if j != i) for i in range(n)]
    )


def mean_shift_update(X: Array, v: Array, beta: float) -> Array:
    """sum w x with w = softmax(-beta |x - v|^2 / 2)."""
    w = np.exp(-beta / 2 * ((X - v) ** 2).sum(axis=1))
    return w @ X / w.sum()


def mean_shift_energy(X: Array, v: Array, beta: float) -> float:
    """-log(sum exp(-beta |x - v|^2 / 2)) / beta."""
    return -lse(-((X - v) ** 2).sum(axis=1) / 2, beta)


def two_pattern_overlap(beta: float) -> float:
    """The positive root of m = tanh(beta m), for patterns +-x of norm 1; 0 for beta <= 1."""
    low, high = 1e-9, 1.0
    if beta <= 1:
        return 0.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.tanh(beta * middle) > middle else (low, middle)
    return (low + high) / 2


def metastable(w: Array, mass: float) -> tuple[int, str]:
    """The least number of entries that sum to `mass`, and its class (MHN section 3)."""
    n, k, total = len(w), 0, 0.0
    for entry in sorted(w, reverse=True):
        k, total = k + 1, total + entry
        if total >= mass - 1e-9:
            break
    return k, "I" if k > n / 2 else "II" if k > n / 8 else "III" if k > n / 32 else "IV"


# -------------------------------------------------------------------------------- two layers --


def outer_products(X: Array, Y: Array) -> Array:
    """W = sum x y^T."""
    return sum((np.outer(x, y) for x, y in zip(X, Y, strict=True)), np.zeros(()))


def keep_sign(field: float, now: int) -> int:
    return 1 if field > 0 else -1 if field < 0 else now


def pair_energy(W: Array, x: Array, y: Array, b: Array, c: Array) -> float:
    return float(-(x @ W @ y) - b @ x - c @ y)


def pair_recall(
    W: Array, x: Array, y: Array, b: Array, c: Array, values_first: bool
) -> tuple[Array, Array, list[float]]:
    """Kosko's two layers to rest: both, and the energy after every half step."""
    x, y = x.copy(), y.copy()
    energies = [pair_energy(W, x, y, b, c)]
    while True:
        before = x.copy(), y.copy()
        for values in (values_first, not values_first):
            if values:
                y = np.array([keep_sign(h, s) for h, s in zip(W.T @ x + c, y, strict=True)])
            else:
                x = np.array([keep_sign(h, s) for h, s in zip(W @ y + b, x, strict=True)])
            energies.append(pair_energy(W, x, y, b, c))
        if (before[0] == x).all() and (before[1] == y).all():
            return x, y, energies


def pair_overlap(load: float) -> float:
    """Mean overlap of either layer with a pair, n units each and load n pairs, n large.

    m = erf(m / sqrt(2 a r)), C = sqrt(2 / (pi a r)) exp(-m^2 / (2 a r)),
    r = (1 + C^2) / (1 - C^2)^2 by iteration from m = 1; 0 where nothing is retrieved.
    """
    m, r = 1.0, 1.0
    for _ in range(20000):
        width = math.sqrt(2 * load * r)
        C = 2 / math.sqrt(math.pi) / width * math.exp(-((m / width) ** 2))
        if C >= 1:
            return 0.0
        r = (1 + C * C) / (1 - C * C) ** 2
        m = math.erf(m / math.sqrt(2 * load * r))
    return m


def outer_product_error(n_units: int, n_patterns: int) -> float:
    """P(a bit of a stored pattern's partner is wrong after one step), patterns random.

    The field times the right bit is n plus (P - 1) n independent signs: exactly a binomial. A
    field of 0 leaves a bit that is right half of the time.
    """
    count = n_units * (n_patterns - 1)

    def probability(ups: int) -> float:
        log = math.lgamma(count + 1) - math.lgamma(ups + 1) - math.lgamma(count - ups + 1)
        return math.exp(log - count * math.log(2))

    # The signs sum to 2 ups - count.
    wrong = math.fsum(
        probability(ups) for ups in range(count + 1) if 2 * ups - count < -n_units
    )
    even = count >= n_units and (count - n_units) % 2 == 0
    return wrong + (probability((count - n_units) // 2) / 2 if even else 0.0)


# --------------------------------------------------------------------------------- sequences --


def sequence_fields(
    X: Array,
    after: Array,
    s: Array,
    f: Callable[[float], float],
    hold: Callable[[float], float] | None = None,
    drive: float = 1.0,
) -> Array:
    """sum_mu drive after_i f(O_i) + x_i hold(O_i), O_i the overlap without i over N - 1."""
    n = X.shape[1]
    fields = np.zeros(n)
    for i in range(n):
        others = np.arange(n) != i
        for x, successor in zip(X, after, strict=True):
            overlap = float(x[others] @ s[others]) / (n - 1)
            fields[i] += drive * successor[i] * f(overlap)
            if hold is not None:
                fields[i] += x[i] * hold(overlap)
    return fields


def double_factorial(k: int) -> int:
    return math.prod(range(k, 0, -2)) if k > 0 else 1


def transition_error(n_units: int, n_patterns: int, degree: int) -> float:
    """erfc(sqrt(N^d / (2 P (2d - 1)!!))) / 2: Gaussian noise of variance P (2d - 1)!! / N^d."""
    spread = 2 * n_patterns * double_factorial(2 * degree - 1)
    return math.erfc(math.sqrt(n_units**degree / spread)) / 2


def exact_transition_error(n_units: int, n_patterns: int, degree: int) -> float:
    """P(a unit is wrong after one step from a pattern), for random patterns and f = x^degree.

    The field times the right bit is (N - 1)^d, from the pattern itself, plus P - 1 independent
    terms: a random sign times the d-th power of a sum of N - 1 random signs. Their distribution
    is that of one term convolved P - 1 times, by the Fourier transform. A field of 0 keeps the
    bit, which is right half of the time.
    """
    m = n_units - 1
    term: dict[int, float] = {}
    for k in range(m + 1):
        probability = math.comb(m, k) / 2**m
        for sign in (1, -1):
            power = sign * (2 * k - m) ** degree
            term[power] = term.get(power, 0.0) + probability / 2
    # Beyond twelve standard deviations nothing is left that float64 could hold.
    spread = math.sqrt((n_patterns - 1) * sum(p * x * x for x, p in term.items()))
    reach = int(12 * spread) + 2 * max(abs(x) for x in term) + 1
    size = 1 << (2 * reach).bit_length()
    density = np.zeros(size)
    for power, probability in term.items():
        density[power % size] += probability
    noise = np.fft.irfft(np.fft.rfft(density) ** (n_patterns - 1), size)
    noise = np.roll(noise, size // 2)
    values = np.arange(size) - size // 2
    signal = m**degree
    return float(noise[values < -signal].sum() + noise[values == -signal].sum() / 2)


def transition_capacity(n_units: int, degree: int) -> float:
    """Patterns of which one transition passes without an error."""
    noise = 2 * double_factorial(2 * degree - 1) * math.log(n_units)
    return n_units**degree / noise


def sequence_capacity(n_units: int, degree: int) -> float:
    """Patterns of which the whole sequence passes without an error."""
    return transition_capacity(n_units, degree) / (degree + 1)
