"""Readable NumPy twins of the flows: their right-hand sides, their energies, plain integrators.

One state at a time, float64, one line per formula; never imports uhn. Similarities and
separations are those of reference.py. What is new here: Jacobians, Lagrangians, and the flows.

KH is Krotov and Hopfield (2020), arXiv 2008.06996; UHN is Millidge et al. (2022), arXiv
2202.04557; HT is Hopfield and Tank (1985), Biological Cybernetics 52:141; TY is Talavan and
Yanez (2002), Neural Networks 15:363.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import reference

Array = NDArray[np.float64]


# ------------------------------------------------------------------------------ similarities --


def scores(patterns: Array, g: Array, sim: dict[str, Any]) -> Array:
    """S = sim(M, g), (n_patterns,); `half` halves it."""
    named = {key: value for key, value in sim.items() if key != "half"}
    s = reference.similarity(patterns, g[np.newaxis], **named)[0]
    return s / 2 if sim.get("half") else s


def slopes(patterns: Array, g: Array, name: str) -> Array:
    """d(-d_mu)/dg_i, or dS_mu/dg_i for what is no distance, (n_patterns, n_features)."""
    away = patterns - g
    d = np.sqrt((away**2).sum(axis=1, keepdims=True))
    if name == "dot":
        return patterns.copy()
    if name == "cosine":
        m = patterns / np.sqrt((patterns**2).sum(axis=1, keepdims=True))
        size = np.sqrt((g**2).sum())
        return (m - np.outer(m @ (g / size), g / size)) / size
    if name == "sqeuclidean":
        return 2 * away
    if name == "euclidean":
        return away / d
    if name == "manhattan":
        return np.sign(away)
    if name == "chebyshev":
        result = np.zeros_like(away)
        for row, difference in zip(result, away, strict=True):
            i = np.abs(difference).argmax()
            row[i] = np.sign(difference[i])
        return result
    raise KeyError(name)


def jacobian(patterns: Array, g: Array, sim: dict[str, Any]) -> Array:
    """J = dS/dg, (n_patterns, n_features), by the chain rule through the transform."""
    name, transform = sim["similarity"], sim.get("transform", "negative")
    base = slopes(patterns, g, name)
    if name in ("dot", "cosine"):
        return base
    d = -reference.similarity(patterns, g[np.newaxis], name)[0][:, np.newaxis]
    if transform == "inverse":  # 1 / (d + eps)
        base = base / (d + sim["eps"]) ** 2
    elif transform == "rbf" and name == "sqeuclidean":  # exp(-gamma d)
        base = sim["gamma"] * np.exp(-sim["gamma"] * d) * base
    elif transform == "rbf":  # exp(-gamma d^2)
        base = 2 * sim["gamma"] * d * np.exp(-sim["gamma"] * d**2) * base
    return base / 2 if sim.get("half") else base


# ------------------------------------------------------------------------------- separations --


def separate(h: Array, sep: dict[str, Any]) -> Array:
    """f(h), (n_patterns,)."""
    return reference.separate(h[np.newaxis], **sep)[0]


def lagrangian(h: Array, sep: dict[str, Any]) -> float:
    """L(h), whose gradient is f.

    Where f is a point of the simplex, L is the conjugate f.h - Omega(f) of its entropy.
    """
    name = sep["separation"]
    f = separate(h, sep)
    beta, degree = sep.get("beta", 1.0), sep.get("degree", 2.0)
    if name == "identity":
        return float((h**2).sum() / 2)
    if name == "polynomial":
        return float((h ** (degree + 1)).sum() / (degree + 1))
    if name == "rectified_polynomial":
        return float((np.maximum(h, 0) ** (degree + 1)).sum() / (degree + 1))
    if name == "sqrt":
        return float((h**1.5).sum() / 1.5)
    if name == "log1p":
        return float(((1 + h) * np.log1p(h) - h).sum())
    if name == "exponential":
        return float(np.exp(beta * h).sum() / beta)
    if name == "threshold":
        return float(np.maximum(h - sep["theta"], 0).sum())
    if name == "softmax1":
        return float(np.log(1 + np.exp(beta * h).sum()) / beta)
    if name in ("max", "topk"):
        return float(f @ h)
    if name in ("softmax", "topk_softmax"):
        p = f[f > 0]
        return float(f @ h - (p * np.log(p)).sum() / beta)
    alpha = 2.0 if name == "sparsemax" else sep["alpha"]
    tsallis = (1 - (f**alpha).sum()) / (alpha * (alpha - 1))
    return float(f @ h + tsallis / beta)


# --------------------------------------------------------------------------- the two neurons --


class Model(NamedTuple):
    """A network of value and memory neurons."""

    patterns: Array
    sim: dict[str, Any]
    sep: dict[str, Any]
    values: Array | None = None
    flow: str = "gradient"
    form: str = "krotov_hopfield"
    activation: str = "identity"
    gain: float = 1.0
    leak: float = 1.0
    tau_v: float = 1.0
    tau_h: float | None = None
    inputs: Array | float = 0.0


def activity(model: Model, v: Array) -> Array:
    """g(v) = dL_v/dv."""
    if model.activation == "tanh":
        return np.tanh(model.gain * v)
    return v / np.sqrt((v**2).sum()) if model.activation == "sphere" else v


def value_lagrangian(model: Model, v: Array) -> float:
    """L_v: |v|^2 / 2, |v|, or sum log cosh(gain v) / gain (models B, C and A of KH)."""
    if model.activation == "tanh":
        return float(np.log(np.cosh(model.gain * v)).sum() / model.gain)
    return float(np.sqrt((v**2).sum()) if model.activation == "sphere" else (v**2).sum() / 2)


def hessian(h: Array, sep: dict[str, Any]) -> Array:
    """H = df/dh by central differences, (n_patterns, n_patterns)."""
    step = 1e-6 * np.eye(len(h))
    return np.array([(separate(h + e, sep) - separate(h - e, sep)) / 2e-6 for e in step]).T


def rhs(model: Model, v: Array, h: Array | None) -> tuple[Array, Array | None]:
    """v' and h' (KH eq. 1; UHN sec. 4). Without slow memory neurons h = sim(M, g)."""
    g = activity(model, v)
    s = scores(model.patterns, g, model.sim)
    f = separate(s if h is None else h, model.sep)
    if model.flow == "projection":
        values = model.patterns if model.values is None else model.values
        pull = f @ values
    else:
        pull = f @ jacobian(model.patterns, g, model.sim)
    dv = (pull - model.leak * v + model.inputs) / model.tau_v
    if h is None or model.tau_h is None:
        return dv, None
    dh = s - h
    if model.form == "gradient":
        dh = hessian(h, model.sep) @ dh
    return dv, dh / model.tau_h


def energy(model: Model, v: Array, h: Array | None) -> float:
    """E(v, h) (KH eq. 2), or E_red(v) = E(v, sim(M, g))."""
    g = activity(model, v)
    s = scores(model.patterns, g, model.sim)
    h = s if h is None else h
    f = separate(h, model.sep)
    values = model.leak * (g @ v - value_lagrangian(model, v)) - float((model.inputs * g).sum())
    return float(values + f @ h - lagrangian(h, model.sep) - f @ s)


# ------------------------------------------------------------------------------- integrators --


def euler(field: Callable[[Array], Array], x: Array, dt: float, n_steps: int) -> list[Array]:
    """x + dt x', n_steps times."""
    way = [x]
    for _ in range(n_steps):
        way.append(way[-1] + dt * field(way[-1]))
    return way


def rk4(field: Callable[[Array], Array], x: Array, dt: float, n_steps: int) -> list[Array]:
    """The classical method of Runge and Kutta."""
    way = [x]
    for _ in range(n_steps):
        x = way[-1]
        k1 = field(x)
        k2 = field(x + dt / 2 * k1)
        k3 = field(x + dt / 2 * k2)
        k4 = field(x + dt * k3)
        way.append(x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return way


def field_of(model: Model) -> Callable[[Array], Array]:
    """The flow as one function of (v, h) in one vector, or of v."""
    n = model.patterns.shape[1]

    def field(x: Array) -> Array:
        if model.tau_h is None:
            return rhs(model, x, None)[0]
        dv, dh = rhs(model, x[:n], x[n:])
        assert dh is not None
        return np.concatenate([dv, dh])

    return field


# ---------------------------------------------------------------------------- graded neurons --


class Graded(NamedTuple):
    """A continuous Hopfield network (Hopfield 1984)."""

    weights: Array
    bias: Array
    gain: float = 10.0
    resistance: float = 1.0
    capacitance: float = 1.0
    leak: bool = True
    binary: bool = False


def outputs(network: Graded, u: Array) -> Array:
    """V = tanh(gain u), or (1 + tanh(gain u)) / 2."""
    v = np.tanh(network.gain * u)
    return (1 + v) / 2 if network.binary else v


def graded_rhs(network: Graded, u: Array) -> Array:
    """u' of C u' = -u / R + W V + I."""
    leak = u / network.resistance if network.leak else 0
    pull = network.weights @ outputs(network, u) + network.bias
    return (pull - leak) / network.capacitance


def graded_energy(network: Graded, u: Array) -> float:
    """-1/2 V.W V - I.V + (1/R) sum int_0^V g^-1, the integral by the trapezoidal rule over u.

    int g^-1(x) dx = int u dg(u), from the potential 0 on.
    """
    v = outputs(network, u)
    total = -v @ network.weights @ v / 2 - network.bias @ v
    if network.leak:
        for end in u:
            at = np.linspace(0, end, 20001)
            g = outputs(network, at)
            total += ((at[1:] + at[:-1]) / 2 * np.diff(g)).sum() / network.resistance
    return float(total)


# ----------------------------------------------------------------------- travelling salesman --

#: The ten cities of HT.
CITIES = np.array(
    [
        [0.4000, 0.4439],
        [0.2439, 0.1463],
        [0.1707, 0.2293],
        [0.2293, 0.7610],
        [0.5171, 0.9414],
        [0.8732, 0.6536],
        [0.6878, 0.5219],
        [0.8488, 0.3609],
        [0.6683, 0.2536],
        [0.6195, 0.2634],
    ]
)


def distances(cities: Array) -> Array:
    """Between every two of them."""
    return np.sqrt(((cities[:, np.newaxis] - cities) ** 2).sum(axis=2))


def tour_length(d: Array, tour: list[int]) -> float:
    """Of a closed tour."""
    return float(sum(d[a, b] for a, b in zip(tour, [*tour[1:], tour[0]], strict=True)))


def held_karp(d: Array) -> tuple[float, list[int]]:
    """The shortest tour, by dynamic programming over sets of cities (Held and Karp 1962)."""
    n = len(d)
    best = {(1 << k, k): (d[0, k], 0) for k in range(1, n)}
    for size in range(2, n):
        for chosen in combinations(range(1, n), size):
            bits = sum(1 << k for k in chosen)
            for k in chosen:
                rest = bits & ~(1 << k)
                best[bits, k] = min((best[rest, j][0] + d[j, k], j) for j in chosen if j != k)
    bits = (1 << n) - 2
    length, k = min((best[bits, k][0] + d[k, 0], k) for k in range(1, n))
    tour = []
    while k:
        tour.append(k)
        bits, k = bits & ~(1 << k), best[bits, k][1]
    return float(length), [0, *reversed(tour)]


def tsp_energy(
    d: Array, v: Array, a: float, b: float, c: float, weight: float, n: float
) -> float:
    """HT eq. 5 of V (city, position): one city a place, one place a city, n in all, length.

    a/2 sum_x sum_{i != j} V_xi V_xj + b/2 sum_i sum_{x != y} V_xi V_yi + c/2 (sum V - n)^2
    + weight/2 sum_xyi d_xy V_xi (V_y,i+1 + V_y,i-1).
    """
    total = 0.0
    cities, places = v.shape
    for x in range(cities):
        for i in range(places):
            for j in range(places):
                total += a / 2 * v[x, i] * v[x, j] * (i != j)
            for y in range(cities):
                total += b / 2 * v[x, i] * v[y, i] * (x != y)
                near = v[y, (i + 1) % places] + v[y, (i - 1) % places]
                total += weight / 2 * d[x, y] * v[x, i] * near
    return total + c / 2 * (v.sum() - n) ** 2


def tsp_weights(
    d: Array, a: float, b: float, c: float, weight: float, n: float
) -> tuple[Array, Array]:
    """W and I with tsp_energy = -1/2 V.W V - I.V + c n^2 / 2, V flattened city by city."""
    k = len(d)
    same, other = np.eye(k), 1 - np.eye(k)
    following = np.roll(np.eye(k), 1, axis=1)
    near = following + following.T
    w = -a * np.kron(same, other) - b * np.kron(other, same) - c - weight * np.kron(d, near)
    return w, np.full(k * k, c * n)


def tour_of(v: Array) -> list[int] | None:
    """The tour that V (city, position) stands for: a permutation matrix when cut at 1/2."""
    on = v > 0.5
    if not ((on.sum(axis=0) == 1).all() and (on.sum(axis=1) == 1).all()):
        return None
    return [int(x) for x in on.argmax(axis=0)]
