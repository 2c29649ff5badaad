"""The classical network as its papers write it: loops over units, for reading.

Nothing here imports the library. Patterns are rows of +1 and -1 (0 and 1 where it says so),
weights are W[i, j] from unit j to unit i, N is the number of units.

Sources: Hopfield, PNAS 79:2554 (1982); Hopfield, Feinstein and Palmer, Nature 304:158 (1983);
Personnaz, Guyon and Dreyfus, Phys. Rev. A 34:4217 (1986); Krauth and Mezard, J. Phys. A 20:L745
(1987); Tsodyks and Feigelman, Europhys. Lett. 6:101 (1988); Storkey, ICANN (1997); Fachechi,
Agliari and Barra, Neural Networks 112:24 (2019).
"""

from __future__ import annotations

import itertools
import math

import numpy as np

import reference_network

Array = np.ndarray


# ------------------------------------------------------------------------------------- rules --


def hebb(patterns: Array) -> Array:
    """A_ij = sum_mu xi_i xi_j, the diagonal included."""
    n = patterns.shape[1]
    a = np.zeros((n, n))
    for pattern in patterns:
        for i in range(n):
            for j in range(n):
                a[i, j] += float(pattern[i]) * float(pattern[j])
    return a


def storkey(patterns: Array, mask: Array | None = None) -> Array:
    """w_ij += (x_i x_j - x_i h_ji - h_ij x_j) / N with h_ij = sum_{k != i, j} w_ik x_k."""
    n = patterns.shape[1]
    w = np.zeros((n, n))
    for x in patterns.astype(float):
        old = w.copy()
        for i, j in itertools.permutations(range(n), 2):
            if mask is not None and not mask[i, j]:
                continue
            h_ij = sum(old[i, k] * x[k] for k in range(n) if k not in (i, j))
            h_ji = sum(old[j, k] * x[k] for k in range(n) if k not in (i, j))
            w[i, j] = old[i, j] + (x[i] * x[j] - x[i] * h_ji - h_ij * x[j]) / n
    return w


def pseudo_inverse(patterns: Array) -> Array:
    """(1/N) sum xi_mu (C^-1)_mu,nu xi_nu^T, C = overlaps / N, of independent patterns."""
    n = patterns.shape[1]
    xi = patterns.astype(float)
    c = np.array([[float((a * b).sum()) / n for b in xi] for a in xi])
    inverse = np.linalg.inv(c)
    w = np.zeros((n, n))
    for mu, nu in itertools.product(range(len(xi)), repeat=2):
        w += np.outer(xi[mu], xi[nu]) * inverse[mu, nu] / n
    return w


def perceptron(
    patterns: Array, kappa: float, max_raises: int, mask: Array | None = None
) -> tuple[Array, Array]:
    """Unit by unit: the least stable pattern is added until all have a margin of kappa |w|."""
    xi = patterns.astype(np.int64)
    n = xi.shape[1]
    w = np.zeros((n, n), dtype=np.int64)
    least = np.zeros(n)
    for i in range(n):
        inputs = np.array([j != i and (mask is None or bool(mask[i, j])) for j in range(n)])
        for step in range(max_raises + 1):
            held = [int(x[i] * (w[i] * x).sum()) for x in xi]
            lowest = min(held)
            square = int((w[i] ** 2).sum())
            least[i] = lowest / math.sqrt(square) if square else 0.0
            if (lowest > 0 and lowest**2 >= kappa**2 * square) or step == max_raises:
                break
            x = xi[held.index(lowest)]
            w[i] += np.where(inputs, x[i] * x, 0)
    return w, least


def covariance(patterns: Array, f: float) -> Array:
    """A_ij = sum (eta_i - f)(eta_j - f) / (f (1 - f)) of patterns of 0 and 1."""
    n = patterns.shape[1]
    a = np.zeros((n, n))
    for eta in patterns.astype(float):
        for i in range(n):
            for j in range(n):
                a[i, j] += (eta[i] - f) * (eta[j] - f) / (f * (1 - f))
    return a


def dreaming_kernel(patterns: Array, t: float) -> Array:
    """(1/N) Xi^T (1 + t)(I + t C)^-1 Xi."""
    n = patterns.shape[1]
    xi = patterns.astype(float)
    c = np.array([[float((a * b).sum()) / n for b in xi] for a in xi])
    middle = (1 + t) * np.linalg.inv(np.eye(len(xi)) + t * c)
    w = np.zeros((n, n))
    for mu, nu in itertools.product(range(len(xi)), repeat=2):
        w += np.outer(xi[mu], xi[nu]) * middle[mu, nu] / n
    return w


def unlearn(
    a: Array, scale: float, epsilon: float, dreams: range, seed: int, n_steps: int
) -> Array:
    """A less epsilon s s^T off the diagonal for what each dream's random state comes to."""
    n = len(a)
    taken = np.zeros((n, n))
    for dream in dreams:
        begin = reference_network.stream(seed, 2**64 - 1 - dream)
        start = np.array(
            [
                1 if reference_network.random(begin, i // 64) >> (i % 64) & 1 else -1
                for i in range(n)
            ],
            dtype=np.int8,
        )
        schedule = ("permutation", None, seed, dream * n_steps, n_steps, "keep", None, None)
        s = reference_network.settle((a - taken).T.copy(), start, schedule, scale)[0]
        for i, j in itertools.permutations(range(n), 2):
            taken[i, j] += epsilon * float(s[i]) * float(s[j])
    return a - taken


# ------------------------------------------------------------------------------------ states --


def field(w: Array, b: Array, s: Array, i: int) -> float:
    """h_i = sum_j W_ij s_j + b_i, whatever numbers the units are."""
    return float(sum(w[i, j] * s[j] for j in range(len(s))) + b[i])


def energy(w: Array, b: Array, s: Array) -> float:
    """-1/2 sum_ij W_ij s_i s_j - sum_i b_i s_i."""
    n = len(s)
    pairs = sum(w[i, j] * s[i] * s[j] for i in range(n) for j in range(n))
    return float(-0.5 * pairs - sum(b[i] * s[i] for i in range(n)))


def sweep(w: Array, b: Array, s: Array, order: list[int], low: int) -> Array:
    """One asynchronous sweep: a unit is 1 above a field of 0, low below, and else stays."""
    s = np.array(s)
    for i in order:
        h = field(w, b, s, i)
        if h != 0:
            s[i] = 1 if h > 0 else low
    return s


def sync(w: Array, b: Array, s: Array, low: int) -> Array:
    """One synchronous step."""
    h = [field(w, b, s, i) for i in range(len(s))]
    return np.array([s[i] if h[i] == 0 else (1 if h[i] > 0 else low) for i in range(len(s))])


def all_states(n: int, low: int = -1) -> Array:
    """Every state of n units, (2^n, n)."""
    bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    return np.where(bits == 1, 1, low)


# ------------------------------------------------------------------------------------ theory --


def below_zero(n_terms: int, signal: int) -> float:
    """P(sum of n_terms fair signs < -signal)."""
    # A sum with k ones among the signs is 2 k - n_terms.
    most = math.ceil((n_terms - signal) / 2) - 1
    if most < 0:
        return 0.0
    whole = math.lgamma(n_terms + 1) - n_terms * math.log(2)
    k = most
    total = term = math.exp(whole - math.lgamma(k + 1) - math.lgamma(n_terms - k + 1))
    while k > 0 and term > total * 1e-17:
        term *= k / (n_terms - k + 1)  # of k - 1 ones
        k -= 1
        total += term
    return total


def one_step_error(n_units: int, n_patterns: int) -> float:
    """P(a unit of a stored pattern flips), Hebb without self-coupling, exactly.

    The other patterns add (P - 1)(N - 1) fair signs to a signal of N - 1.
    """
    return below_zero((n_patterns - 1) * (n_units - 1), n_units - 1)


def one_step_error_binary(n_units: int, n_patterns: int) -> float:
    """The same for units of 0 and 1: only units that are 1 send signal or noise."""
    total = 0.0
    for ones in range(n_units):
        weight = math.comb(n_units - 1, ones) / 2 ** (n_units - 1)
        total += weight * below_zero((n_patterns - 1) * ones, ones)
    return total


def mixture_overlap(n: int) -> float:
    """Overlap of sign(sum of n patterns), n odd, with each of them."""
    return math.comb(n - 1, (n - 1) // 2) / 2 ** (n - 1)


def gardner_load(kappa: float) -> float:
    """Most random patterns per unit with stability kappa: 1 / int_{-kappa} Dt (t + kappa)^2."""
    phi = math.exp(-(kappa**2) / 2) / math.sqrt(2 * math.pi)
    cumulative = (1 + math.erf(kappa / math.sqrt(2))) / 2
    return 1 / ((1 + kappa**2) * cumulative + kappa * phi)


def retrieval_overlap(alpha: float) -> float:
    """m of Amit, Gutfreund and Sompolinsky at T = 0: the larger root y, m = erf(y)."""

    def miss(y: float) -> float:
        return (
            math.erf(y) / y - 2 / math.sqrt(math.pi) * math.exp(-(y**2)) - math.sqrt(2 * alpha)
        )

    low, high = 1.5112185421730773, 20.0  # from the maximum downhill
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if miss(middle) > 0 else (low, middle)
    return math.erf(low)
