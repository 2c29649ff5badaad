"""The flow of value and memory neurons: against twins, SciPy and autograd, and its laws.

Known numbers are those of small models solved to all digits beforehand; tolerances say how many
digits were written down.
"""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reference_neural as twin
import uhn
from uhn.models import NeuralDynamics, _flow
from uhn.models._lagrangian import Lagrangian

X = np.array([[1, 0, 0.5], [0, 1, -0.5], [-1, 0.2, 0.3]])
V0 = np.array([0.9, 0.1, 0.2])
# Two patterns ten degrees apart, and one opposite to the first.
TEN_DEGREES = np.array(
    [[1, 0], [np.cos(np.pi / 18), np.sin(np.pi / 18)], [-1, 0]], dtype=np.float64
)

#: Similarities with a Jacobian, some behind a transform.
SIMS: dict[str, dict[str, Any]] = {
    "dot": {"similarity": "dot"},
    "cosine": {"similarity": "cosine"},
    "sqeuclidean": {"similarity": "sqeuclidean"},
    "half": {"similarity": "sqeuclidean", "half": True},
    "euclidean": {"similarity": "euclidean"},
    "manhattan": {"similarity": "manhattan"},
    "chebyshev": {"similarity": "chebyshev"},
    "sqeuclidean rbf": {"similarity": "sqeuclidean", "transform": "rbf", "gamma": 0.4},
    "euclidean rbf": {"similarity": "euclidean", "transform": "rbf", "gamma": 0.4},
    "manhattan rbf": {"similarity": "manhattan", "transform": "rbf", "gamma": 0.1},
    "chebyshev rbf": {"similarity": "chebyshev", "transform": "rbf", "gamma": 0.4},
    "sqeuclidean inverse": {"similarity": "sqeuclidean", "transform": "inverse", "eps": 0.5},
    "euclidean inverse": {"similarity": "euclidean", "transform": "inverse", "eps": 0.5},
    "manhattan inverse": {"similarity": "manhattan", "transform": "inverse", "eps": 0.5},
}
SEPS: dict[str, dict[str, Any]] = {
    "identity": {"separation": "identity"},
    "square": {"separation": "polynomial", "degree": 2},
    "cube": {"separation": "polynomial", "degree": 3},
    "rectified": {"separation": "rectified_polynomial", "degree": 2},
    "rectified line": {"separation": "rectified_polynomial", "degree": 1},
    "sqrt": {"separation": "sqrt"},
    "log1p": {"separation": "log1p"},
    "exponential": {"separation": "exponential", "beta": 0.5},
    "softmax": {"separation": "softmax", "beta": 1.5},
    "softmax1": {"separation": "softmax1", "beta": 1.5},
    "max": {"separation": "max"},
    "topk": {"separation": "topk", "k": 2},
    "topk_softmax": {"separation": "topk_softmax", "k": 3, "beta": 1.5},
    "threshold": {"separation": "threshold", "theta": 0.1},
    "sparsemax": {"separation": "sparsemax", "beta": 1.5},
    "entmax": {"separation": "entmax", "alpha": 1.5, "beta": 1.5},
    "entmax 2.5": {"separation": "entmax", "alpha": 2.5, "beta": 1.5},
}
#: f takes few values: steps from one to the next are jumps.
JUMPS = ("max", "topk", "topk_softmax", "threshold")
#: f' is infinite where a weight becomes 0, so that there is no gradient form.
STEEP = ("sqrt", "entmax 2.5")
#: Weights that grow with the score, or need scores >= 0: for distances behind a transform.
UNBOUNDED = ("identity", "square", "cube", "rectified", "rectified line", "sqrt", "log1p")
KINKED = ("euclidean", "manhattan", "chebyshev")


def suits(sim: str, sep: str) -> bool:
    """Whether scores are in the domain of a separation that pulls towards what is similar."""
    return sep not in UNBOUNDED or sim in ("dot", "cosine") or " " in sim


PAIRS = [(sim, sep) for sim in SIMS for sep in SEPS if suits(sim, sep)]
IDS = ["-".join(pair) for pair in PAIRS]


def data(seed: int, sep: str, n_patterns: int = 6, n_features: int = 5) -> tuple:
    """Patterns, states and memory neurons of moderate size, positive where sep needs it."""
    rng = np.random.default_rng(seed)
    patterns = 0.5 * rng.standard_normal((n_patterns, n_features))
    if sep in ("cube", "exponential"):
        patterns = patterns / 2  # or the energy has no minimum within reach
    states = 0.7 * rng.standard_normal((4, n_features))
    hidden = 0.5 * rng.standard_normal((4, n_patterns))
    if sep in ("sqrt", "log1p"):
        patterns, states, hidden = np.abs(patterns), np.abs(states), 0.1 + np.abs(hidden)
    return patterns, states, hidden


def make(sim: str, sep: str, patterns, **options) -> NeuralDynamics:
    network = NeuralDynamics(**SIMS[sim], **SEPS[sep], **options)
    network.store(patterns)
    return network


def model(sim: str, sep: str, patterns, **options) -> twin.Model:
    named = {key: value for key, value in options.items() if key != "leak"}
    return twin.Model(patterns, SIMS[sim], SEPS[sep], leak=options.get("leak", 1.0), **named)


# ----------------------------------------------------------------------------- known numbers --


@pytest.mark.parametrize(
    ("tau_h", "t", "end"),
    [
        (0.1, 60, (0.87012213, 0.08639218, 0.41360782)),
        (1.0, 40, (0.87003285, 0.08645227, 0.41354773)),
        (5.0, 200, (-0.08394881, 0.80487024, -0.30487024)),
    ],
)
def test_slow_memory_neurons_choose_the_basin(tau_h, t, end) -> None:
    """Same start, same energy: five times slower memory neurons end in another memory."""
    network = NeuralDynamics(beta=2.0, tau_h=tau_h)
    network.store(X)
    way = network.run(V0, t, 0.01, record_every=5)
    np.testing.assert_allclose(way.state, end, rtol=0, atol=1.5e-8)
    assert way.trace.energies[0] == pytest.approx(-0.17930614, abs=1e-8)
    assert (np.diff(way.trace.energies) <= 1e-14).all()
    energy = {0.1: -0.6649699636, 5.0: -0.71158176}.get(tau_h)
    if energy is not None:
        assert network.energy(way.state) == pytest.approx(energy, abs=1e-8)
        assert way.energy == pytest.approx(energy, abs=1e-8)
    assert len(way.times) == round(t / 0.05) + 1
    assert way.times[-1] == t


def test_rest_is_the_fixed_point_of_the_memory() -> None:
    """v = M^T sep(M v): where the iteration of the memory ends, the flow rests."""
    memory = uhn.Memory(X, beta=2.0)
    iterated = memory.recall(V0, 10_000, tol=0).state
    network = NeuralDynamics(beta=2.0)
    network.store(X)
    rest = network.recall(V0, 200, tol=1e-13)
    assert rest.status == "fixed point"
    np.testing.assert_allclose(rest.state, iterated, rtol=0, atol=1e-11)
    np.testing.assert_allclose(rest.state, (0.87012214, 0.08639218, 0.41360782), atol=6e-9)
    np.testing.assert_allclose(memory.retrieve(rest.state), rest.state, rtol=0, atol=2e-13)


@pytest.mark.parametrize(
    ("beta", "start", "end", "energy"),
    [
        (0.5, (1, 0), (0.5448253233, 0.0673775363), 0.4062243490),
        (1.0, (1, 0), (0.8146147462, 0.0791306515), 0.3316309173),
        (2.0, (1, 0), (0.9722220328, 0.0859580917), 0.2016444132),
        (2.0, (-1, 0), (-0.8922051684, 0.0047652507), 0.5273150470),
        (10.0, (1, 0), (0.9924038741, 0.0868240887), None),
        (500.0, (1, 0), (0.9999923125, 0.0000878688), None),
    ],
)
def test_modern_hopfield_rests(beta, start, end, energy) -> None:
    """Fixed points and energies of softmax of dot products, the constants added."""
    network = NeuralDynamics(beta=beta)
    network.store(TEN_DEGREES)
    rest = network.recall(start, 300, 0.5, tol=1e-12)
    assert rest.status == "fixed point"
    np.testing.assert_allclose(rest.state, end, rtol=0, atol=1e-10)
    if energy is not None:
        constants = np.log(3) / beta + 0.5
        assert rest.energy + constants == pytest.approx(energy, abs=1e-10)


@pytest.mark.parametrize(
    ("beta", "m"),
    [(1.1, 0.5029405749), (1.5, 0.8585596366), (3, 0.9949015285), (5, 0.9999091217)],
)
def test_two_opposite_patterns(beta, m) -> None:
    """m = tanh(beta m)."""
    network = NeuralDynamics(beta=beta)
    network.store([[0.6, 0.8], [-0.6, -0.8]])
    rest = network.recall([0.5, 0.5], 1000, 0.5, tol=1e-13)
    np.testing.assert_allclose(rest.state, (0.6 * m, 0.8 * m), rtol=0, atol=1e-10)


def test_squared_distances_shrink_by_half_unless_the_leak_is_dropped() -> None:
    """With the leak v rests at half a mean of patterns; without it at the mean (mean shift)."""
    shrunk = NeuralDynamics(similarity="sqeuclidean", half=True, beta=2.0)
    shift = NeuralDynamics(similarity="sqeuclidean", half=True, beta=2.0, leak=False)
    for network in (shrunk, shift):
        network.store(X)
    half = shrunk.recall(V0, 100, tol=1e-12)
    np.testing.assert_allclose(half.state, (-0.07303127, 0.24174935, 0.00825065), atol=6e-9)
    np.testing.assert_allclose(half.state, 0.5 * half.weights @ X, rtol=0, atol=1e-11)
    whole = shift.recall(V0, 100, tol=1e-12)
    np.testing.assert_allclose(whole.state, (0.85985794, 0.08929197, 0.41070803), atol=6e-9)
    np.testing.assert_allclose(whole.state, whole.weights @ X, rtol=0, atol=1e-11)
    # Kernel density: E = -(1 / beta) log sum exp(-(beta / 2) |m - v|^2).
    squares = ((X - whole.state) ** 2).sum(axis=1)
    assert whole.energy == pytest.approx(-np.log(np.exp(-squares).sum()) / 2, abs=1e-12)


def test_manhattan_gradient_leads_to_weighted_medians() -> None:
    """At rest each feature without a leak balances the weights to its left and right."""
    patterns = np.array([[0.0], [1.0], [10.0]])
    network = NeuralDynamics(similarity="manhattan", beta=1e-9, leak=False)
    network.store(patterns)
    end = network.run([7.0], 40, 0.01).state
    assert abs(end[0] - 1.0) <= 0.01  # the median, not the mean 11/3; a step is dt/3 long
    mean = NeuralDynamics(similarity="manhattan", beta=1e-9, flow="projection")
    mean.store(patterns)
    assert mean.run([7.0], 40, 0.01).state[0] == pytest.approx(11 / 3, abs=1e-6)


# ---------------------------------------------------------------------------- one step of it --


@pytest.mark.parametrize("sep", SEPS)
def test_one_euler_step_is_the_one_shot_memory(sep) -> None:
    """A step of dt = tau_v, h at rest, is Memory.retrieve: equal to the last bit."""
    rng = np.random.default_rng(1)
    patterns = np.abs(rng.standard_normal((2500, 9))).astype(np.float32)
    queries = np.abs(rng.standard_normal((5, 9))).astype(np.float32) / 9
    for rows in (patterns, patterns.astype(np.float64)):
        network = NeuralDynamics(**SEPS[sep], tau_v=0.3)
        network.store(rows)
        step = network.run(queries, 0.3, 0.3, record_every=None)
        answer = uhn.Memory(rows, **SEPS[sep]).retrieve(queries.astype(rows.dtype))
        assert step.state.dtype == rows.dtype
        assert np.array_equal(step.state, answer)
        assert list(step.n_steps) == [1] * 5


@pytest.mark.parametrize("name", list(uhn.similarities()))
def test_one_step_of_the_projection_is_the_one_shot_memory(name) -> None:
    """For every similarity, with a Jacobian or without, and values of their own."""
    rng = np.random.default_rng(2)
    patterns = rng.integers(1, 4, (30, 7)).astype(float)
    values = np.abs(rng.standard_normal((30, 7)))
    queries = rng.integers(1, 4, (5, 7)).astype(float)
    network = NeuralDynamics(similarity=name, beta=3.0, flow="projection")
    network.store(patterns, values)
    step = network.run(queries, 1, 1)
    answer = uhn.Memory(patterns, values, similarity=name, beta=3.0).retrieve(queries)
    assert np.array_equal(step.state, answer)
    assert np.isfinite(step.trace.energies).all()


def test_one_step_of_mean_shift_is_the_one_shot_memory() -> None:
    """softmax of -beta |m - q|^2 / 2, to the last bit, for separations of sum 1."""
    rng = np.random.default_rng(3)
    patterns, queries = rng.standard_normal((2000, 6)), rng.standard_normal((5, 6))
    for sep in ("softmax", "max", "topk", "topk_softmax", "sparsemax", "entmax"):
        network = NeuralDynamics(**SIMS["half"], **SEPS[sep], leak=False)
        network.store(patterns)
        halved = dict(SEPS[sep])
        if "beta" in halved:
            halved["beta"] /= 2
        answer = uhn.Memory(patterns, similarity="sqeuclidean", **halved).retrieve(queries)
        assert np.array_equal(network.run(queries, 1, 1).state, answer), sep


def test_projection_of_squared_distances_is_mean_shift() -> None:
    """Weights of sum 1: sum f (m - v) is P f - v, so that the trajectories are the same."""
    patterns, states, _ = data(4, "softmax")
    shift = make("half", "softmax", patterns, leak=False)
    projection = make("half", "softmax", patterns, flow="projection")
    a, b = shift.run(states, 5, 0.05), projection.run(states, 5, 0.05)
    np.testing.assert_allclose(a.state, b.state, rtol=0, atol=1e-13)
    assert shift.lyapunov() and not projection.lyapunov()


# --------------------------------------------------------------------------------- the twins --


@pytest.mark.parametrize(("sim", "sep"), PAIRS, ids=IDS)
def test_trajectories_are_those_of_the_twin(sim, sep) -> None:
    """Three steps and their energies, for every kind of memory neuron.

    Other flows and activations take turns over the pairs.
    """
    patterns, states, hidden = data(5, sep)
    others: list[dict[str, Any]] = [
        {"activation": "sphere", "tau_h": 2.0, "inputs": 0.1 * states[1]},
        {"activation": "tanh", "gain": 1.5, "tau_v": 2.0},
        {"leak": False},
        {"flow": "projection", "tau_h": 0.5},
    ]
    cases = [{}, {"tau_h": 0.7}, {"tau_h": 0.7, "form": "gradient"}]
    cases.append(others[PAIRS.index((sim, sep)) % len(others)])
    n_compared = 0
    for options in cases:
        inputs = options.get("inputs")
        config = {key: value for key, value in options.items() if key != "inputs"}
        if sep in STEEP and config.get("form") == "gradient":
            continue
        network = make(sim, sep, patterns, **config)
        of = model(sim, sep, patterns, **{**options, "leak": float(options.get("leak", 1))})
        slow = config.get("tau_h") is not None
        v, h = states[0], hidden[0] if slow else None
        way = network.run(v, 0.15, 0.05, hidden=h, inputs=inputs)
        start = v if h is None else np.concatenate([v, h])
        expected = np.array(twin.euler(twin.field_of(of), start, 0.05, 3))
        expected = expected[: len(way.times)]  # what nothing moves rests at once
        # f' of the twin is a difference quotient of step 1e-6, good to 2^-53 / 1e-6 = 1.1e-10,
        # of which three steps of dt / tau_h add up 0.3; the rest is some hundred roundings.
        rough = 1e-9 if config.get("form") == "gradient" else 1e-13
        np.testing.assert_allclose(way.trace.states, expected[:, :5], rtol=rough, atol=rough)
        if slow:
            np.testing.assert_allclose(
                way.trace.hidden, expected[:, 5:], rtol=rough, atol=rough
            )
        energies = [twin.energy(of, x[:5], x[5:] if slow else None) for x in expected]
        np.testing.assert_allclose(way.trace.energies, energies, rtol=rough, atol=rough)
        n_compared += 1
    assert n_compared == (3 if sep in STEEP else 4)


@pytest.mark.parametrize("sep", SEPS)
def test_lagrangians(sep) -> None:
    """L against the twin; f is its gradient and H the derivative of f, by differences."""
    rng = np.random.default_rng(6)
    ours = Lagrangian(**SEPS[sep])
    for _ in range(50):
        h = rng.standard_normal((1, 6))
        if sep in ("sqrt", "log1p"):
            h = 0.1 + np.abs(h)
        f = ours.gradient(h)
        assert ours.value(h)[0] == pytest.approx(twin.lagrangian(h[0], SEPS[sep]), abs=1e-12)
        x = rng.standard_normal((1, 6))
        e = 1e-6  # quotients are off by 2^-53 / e = 1e-10 of what is subtracted, and by e^2
        rise = (ours.value(h + e * x) - ours.value(h - e * x))[0] / (2 * e)
        assert rise == pytest.approx(float((f * x).sum()), abs=1e-8)
        if sep == "threshold" or ours.is_steep:
            continue
        turn = (ours.gradient(h + e * x) - ours.gradient(h - e * x)) / (2 * e)
        np.testing.assert_allclose(ours.curvature(h, f, x), turn, rtol=1e-7, atol=1e-8)
        bound = ours.steepest
        if bound is not None:
            assert float((x * turn).sum()) <= bound * float((x * x).sum()) + 1e-8


@pytest.mark.parametrize(
    ("sep", "h", "steepest"),
    [
        ("softmax", 0.0, 0.75),
        ("softmax1", 60.0, 0.75),  # where the 1 of its sum no longer counts
        ("topk_softmax", 0.0, 0.75),
        ("sparsemax", 0.0, 1.5),
        ("identity", 0.0, 1.0),
        ("log1p", 0.0, 1.0),
    ],
)
def test_the_steepest_is_attained(sep, h, steepest) -> None:
    """Between two equal scores f turns over as fast as it ever does."""
    ours = Lagrangian(**SEPS[sep])
    assert ours.steepest == steepest
    at, x = np.full((1, 2), h), np.array([[1.0, -1.0]])
    slope = ours.curvature(at, ours.gradient(at), x)
    np.testing.assert_allclose(slope, steepest * x, rtol=8 * 2.0**-53, atol=0)
    if sep not in ("identity", "log1p"):
        network = NeuralDynamics(**SEPS[sep], tau_h=0.3, form="gradient").store(X)
        shortest = 0.3 / max(steepest, 0.3)
        with pytest.raises(ValueError, match=f"explode from {2 * shortest:g} on"):
            network.run(V0, 1, 2 * shortest)


@pytest.mark.parametrize("alpha", [1.2, 1.8])
def test_curvature_of_entmax(alpha) -> None:
    """beta (diag s - s s^T / sum s), s = f^(2 - alpha), on the support."""
    ours = Lagrangian("entmax", alpha=alpha, beta=1.5)
    rng = np.random.default_rng(18)
    h, x = 0.3 * rng.standard_normal((20, 4)), rng.standard_normal((20, 4))
    f = ours.gradient(h)
    assert (f > 0).sum() > 60
    s = np.where(f > 0, f, 1) ** (2 - alpha) * (f > 0)
    mean = (s * x).sum(axis=1, keepdims=True) / s.sum(axis=1, keepdims=True)
    # Powers to some ulp, and sums of four.
    off = 40 * 2.0**-53 * 1.5 * np.abs(x).max()
    np.testing.assert_allclose(ours.curvature(h, f, x), 1.5 * s * (x - mean), rtol=0, atol=off)


def test_lagrangians_at_the_ends_of_their_parameters() -> None:
    """beta = 0, alpha = 1, k beyond the patterns, huge scores."""
    h = np.array([[1.0, 2.0, 4.0]])
    for name in ("softmax", "sparsemax", "entmax"):
        assert Lagrangian(name, beta=0.0).value(h)[0] == pytest.approx(7 / 3)
    assert Lagrangian("exponential", beta=0.0).value(h)[0] == 7
    assert Lagrangian("softmax1", beta=0.0).value(h)[0] == pytest.approx(7 / 4)
    same = Lagrangian("entmax", alpha=1, beta=2.0).value(h)
    assert same == Lagrangian("softmax", beta=2.0).value(h)
    assert Lagrangian("entmax", alpha=2, beta=2.0).value(h) == pytest.approx(
        Lagrangian("sparsemax", beta=2.0).value(h), abs=1e-12
    )
    assert Lagrangian("topk", k=9).value(h)[0] == pytest.approx(7 / 3)
    assert Lagrangian("softmax", beta=1e300).value(h)[0] == 4
    assert Lagrangian("softmax", beta=2.0).value(1e300 * h)[0] == 4e300


# --------------------------------------------------------------------------- outside oracles --


@pytest.mark.oracle
@pytest.mark.parametrize("tau_h", [None, 0.5, 3.0])
@pytest.mark.parametrize(
    ("sim", "sep"),
    [
        ("dot", "softmax"),
        ("dot", "cube"),
        ("dot", "log1p"),
        ("cosine", "softmax1"),
        ("half", "exponential"),
        ("euclidean rbf", "identity"),
        ("sqeuclidean inverse", "rectified"),
    ],
)
def test_runge_kutta_agrees_with_scipy(sim, sep, tau_h) -> None:
    """solve_ivp with DOP853 at a tolerance of 1e-12, from the twin's right-hand side."""
    integrate = pytest.importorskip("scipy.integrate")
    patterns, states, hidden = data(7, sep)
    of = model(sim, sep, patterns, tau_h=tau_h, tau_v=1.3)
    field = twin.field_of(of)
    v, h = states[0], None if tau_h is None else hidden[0]
    start = v if h is None else np.concatenate([v, h])
    solved = integrate.solve_ivp(
        lambda _, x: field(x), (0, 2), start, method="DOP853", rtol=1e-12, atol=1e-13
    )
    network = make(sim, sep, patterns, tau_h=tau_h, tau_v=1.3)
    ends = []
    for dt in (0.02, 0.01):
        end = network.run(v, 2, dt, hidden=h, method="rk4", record_every=None)
        ends.append(end.state if h is None else np.concatenate([end.state, end.hidden]))
    # Of order 4: the error of the shorter step is a fifteenth of their difference.
    allowed = np.abs(ends[0] - ends[1]).max() + 1e-11
    assert allowed < 1e-5
    np.testing.assert_allclose(ends[1], solved.y[:, -1], rtol=0, atol=allowed)


def torch_energy(torch, patterns, v, h, beta: float, sim: str):
    """E(v, h) of softmax in PyTorch, written on its own."""
    if sim == "dot":
        s = patterns @ v
    elif sim == "cosine":
        s = torch.nn.functional.cosine_similarity(patterns, v[None], dim=1)
    elif sim == "manhattan":
        s = -torch.cdist(v[None], patterns, p=1)[0]
    else:
        s = -(torch.cdist(v[None], patterns)[0] ** (1 if sim == "euclidean" else 2))
    f = torch.softmax(beta * h, dim=0)
    return (v @ v) / 2 + f @ h - torch.logsumexp(beta * h, dim=0) / beta - f @ s


@pytest.mark.oracle
@pytest.mark.parametrize("sim", ["dot", "cosine", "sqeuclidean", "euclidean", "manhattan"])
def test_gradient_flow_is_the_gradient_of_autograd(sim) -> None:
    """tau_v v' = -dE/dv, and in the gradient form tau_h h' = -dE/dh."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    patterns, states, hidden = data(8, "softmax")
    network = NeuralDynamics(similarity=sim, beta=1.5, tau_v=2.0, tau_h=3.0, form="gradient")
    network.store(patterns)
    for v, h in zip(states, hidden, strict=True):
        leaves = [torch.tensor(x, requires_grad=True) for x in (v, h)]
        e = torch_energy(torch, torch.tensor(patterns), *leaves, 1.5, sim)
        e.backward()
        assert network.energy(v, h) == pytest.approx(e.item(), abs=1e-12)
        step = network.run(v, 1e-3, 1e-3, hidden=h)
        dv = 2.0 * (step.state - v) / 1e-3
        dh = 3.0 * (step.hidden - h) / 1e-3
        np.testing.assert_allclose(dv, -leaves[0].grad.numpy(), rtol=0, atol=1e-11)
        np.testing.assert_allclose(dh, -leaves[1].grad.numpy(), rtol=0, atol=1e-11)


# ------------------------------------------------------------------------ laws of the energy --


@pytest.mark.parametrize(("sim", "sep"), PAIRS, ids=IDS)
def test_energy_changes_as_the_theorem_says(sim, sep) -> None:
    """dE/dt = -tau_v v'.H_v v' - tau_h h'.H_h h', both sides by differences along the flow.

    In the gradient form -tau_h |h'|^2 takes the place of the second term.
    """
    patterns, states, hidden = data(9, sep)
    n_compared = 0
    for form in ("krotov_hopfield", "gradient"):
        for activation in ("identity", ("sphere", "tanh")[PAIRS.index((sim, sep)) % 2]):
            for tau_h in (None, 0.5):
                if sep in STEEP and tau_h and form == "gradient":
                    continue
                network = make(
                    sim, sep, patterns, form=form, activation=activation, tau_h=tau_h, tau_v=2.0
                )
                v, h = states, hidden if tau_h else None
                e = 1e-5
                step = network.run(v, e, e, hidden=h)
                dv = (step.state - v) / e
                g1, g0 = network.output(v + e * dv), network.output(v - e * dv)
                falls = -2.0 * (dv * (g1 - g0)).sum(axis=1) / (2 * e)
                sides = [(v + e * dv, None), (v - e * dv, None)]
                if h is not None and tau_h is not None:
                    dh = (step.hidden - h) / e
                    f1 = uhn.separate(h + e * dh, **SEPS[sep])
                    f0 = uhn.separate(h - e * dh, **SEPS[sep])
                    turn = dh if form == "gradient" else (f1 - f0) / (2 * e)
                    falls -= tau_h * (dh * turn).sum(axis=1)
                    sides = [(v + e * dv, h + e * dh), (v - e * dv, h - e * dh)]
                    # Where f jumps within the difference, the quotient is of no derivative.
                    if sep in JUMPS and not np.allclose(f1, f0, atol=1e-3):
                        continue
                one, other = (network.energy(*side) for side in sides)
                change = (one - other) / (2 * e)
                # Quotients of step e are off by e^2 / 6 times a third derivative, here below
                # 10^2, and by some roundings over e: 2e-9 and 1e-10.
                np.testing.assert_allclose(change, falls, rtol=1e-7, atol=1e-8)
                if network.lyapunov():
                    assert (falls <= 1e-8).all()
                n_compared += 1
    assert n_compared == (6 if sep in STEEP else 8)


@pytest.mark.parametrize(("sim", "sep"), PAIRS, ids=IDS)
def test_energy_never_rises_along_the_gradient_flow(sim, sep) -> None:
    """Steps of 0.01 of the shortest time constant, from random starts, fast and slow h.

    Two margins follow from the theory. Where f jumps from f0 to f1, the bound of the step loses
    -(f1 - f0).(S1 - S0). Where the similarity has a kink, a step of length |dv| across it may
    rise by |dv| times the jump of the gradient there, at most twice the pull.
    """
    rises, steps = 0, 0
    for seed in (10, 11)[: 2 if sim == "dot" else 1]:
        patterns, states, hidden = data(seed, sep)
        for tau_h in (None, 0.3, 4.0):
            for form in ("krotov_hopfield", "gradient")[: 1 if tau_h in (None, 4.0) else 2]:
                if sep in STEEP and form == "gradient":
                    continue
                network = make(sim, sep, patterns, tau_h=tau_h, form=form)
                if not network.lyapunov():
                    assert sep == "square" or (sep == "topk_softmax" and form == "gradient")
                    continue
                if sep == "square" and form == "gradient":
                    continue  # h runs to -infinity, and E with it
                dt = 0.01 * min(1.0, tau_h or 1.0)
                way = network.run(states, 50 * dt, dt, hidden=hidden if tau_h else None).trace
                change = np.diff(way.energies, axis=0)
                margin = np.full(change.shape, 1e-13) * (1 + np.abs(way.energies[1:]))
                s = np.stack([similarity(sim, patterns, at) for at in way.states])
                if sep in (*JUMPS, *STEEP) and tau_h is not None:
                    f = np.stack([uhn.separate(at, **SEPS[sep]) for at in way.hidden])
                    lost = -(np.diff(f, axis=0) * np.diff(s, axis=0)).sum(axis=2)
                    margin += np.maximum(lost, 0)
                if sim.split()[0] in KINKED and sim != "euclidean rbf":
                    h = s if tau_h is None else way.hidden
                    f = np.stack([uhn.separate(at, **SEPS[sep]) for at in h])
                    slope = 4.0 if "inverse" in sim else 1.0  # the largest |d phi / d d|
                    pull = slope * np.abs(f).sum(axis=2) * np.sqrt(5)
                    length = np.sqrt((np.diff(way.states, axis=0) ** 2).sum(axis=2))
                    margin += 2 * length * pull[:-1]
                    assert (way.energies[-1] < way.energies[0]).all()
                assert (change <= margin).all(), (tau_h, form, float((change - margin).max()))
                steps += change.size
                rises += int((change > 1e-12).sum())
    assert steps >= 200
    if sim.split()[0] not in KINKED or sim == "euclidean rbf":
        assert rises == 0 or sep in (*JUMPS, *STEEP)


def similarity(sim: str, patterns, states):
    named = {key: value for key, value in SIMS[sim].items() if key != "half"}
    return uhn.similarity(patterns, states, **named) * (0.5 if sim == "half" else 1)


@pytest.mark.parametrize("sep", [s for s in SEPS if s != "square"])
def test_each_euler_step_obeys_its_bound_for_dot_products(sep) -> None:
    """E(v + dv) <= E(v) - (tau / dt - 1/2) |dv|^2, for any convex L and any dt < 2 tau.

    With slow memory neurons E(v1, h1) - E(v, h) <= -(f1 - f).M dv - (tau_v / dt - 1/2) |dv|^2.
    """
    rng = np.random.default_rng(12)
    for case in range(15):
        patterns, states, hidden = data(100 + case, sep)
        if sep in ("cube", "rectified", "exponential"):
            patterns = patterns / 3  # or a long step leaves the basin of the minimum
        dt = rng.uniform(0.05, 1.95)
        network = make("dot", sep, patterns)
        way = network.run(states, 6 * dt, dt).trace
        dv = np.diff(way.states, axis=0)
        bound = -(1 / dt - 0.5) * (dv**2).sum(axis=2)
        scale = 1e-13 * (1 + np.abs(way.energies[1:]))
        assert (np.diff(way.energies, axis=0) <= bound + scale).all()
        dt = rng.uniform(0.05, 1.0)
        network = make("dot", sep, patterns, tau_h=1.0)
        way = network.run(states, 6 * dt, dt, hidden=hidden).trace
        dv = np.diff(way.states, axis=0)
        f = np.stack([uhn.separate(at, **SEPS[sep]) for at in way.hidden])
        bound = -(1 / dt - 0.5) * (dv**2).sum(axis=2)
        bound -= (np.diff(f, axis=0) * np.stack([at @ patterns.T for at in dv])).sum(axis=2)
        scale = 1e-13 * (1 + np.abs(way.energies[1:]))
        assert (np.diff(way.energies, axis=0) <= bound + scale).all()


def test_energy_may_rise_along_a_projection() -> None:
    """Manhattan, P = M: P f is not the gradient, and E rises on the way in a third of cases."""
    rose = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        network = NeuralDynamics(similarity="manhattan", beta=2.0, flow="projection")
        network.store(rng.standard_normal((6, 4)))
        assert not network.lyapunov() and "manhattan" in network.lyapunov_reason()
        way = network.run(rng.standard_normal(4), 5, 0.01)
        rose += bool((np.diff(way.trace.energies) > 1e-6).any())
    assert rose >= 5
    network = NeuralDynamics(beta=2.0, flow="projection")
    network.store(X, X[::-1])  # dot products, but other values
    assert (np.diff(network.run(V0, 5, 0.01).trace.energies) > 1e-6).any()
    assert not network.lyapunov() and "P = M" in network.lyapunov_reason()


def test_even_powers_need_fast_memory_neurons() -> None:
    """h^3 / 3 is not convex: with slow h the energy rises where h < 0, without it cannot."""
    patterns = np.array([[1.0, 0.2], [-0.3, 0.8]])
    slow = NeuralDynamics(separation="polynomial", degree=2, tau_h=1.0)
    slow.store(patterns)
    assert not slow.lyapunov() and "convex" in slow.lyapunov_reason()
    way = slow.run([0.1, 0.1], 1.0, 0.001, hidden=[-1.0, -1.0])
    assert (np.diff(way.trace.energies) > 1e-6).any()
    fast = NeuralDynamics(separation="polynomial", degree=2)
    fast.store(patterns)
    assert fast.lyapunov()
    assert (np.diff(fast.run([-0.4, 0.1], 5, 0.01).trace.energies) <= 1e-15).all()


def test_gradient_form_freezes_where_f_does_not_change() -> None:
    """f' = 0 for max: h stays where it was, and the first memory of h is the answer."""
    query, start = X[0], np.array([0.0, 0.0, 0.1])
    frozen = NeuralDynamics(separation="max", tau_h=0.1, form="gradient")
    moving = NeuralDynamics(separation="max", tau_h=0.1)
    for network in (frozen, moving):
        network.store(X)
    a = frozen.recall(query, hidden=start, tol=1e-9)
    assert np.array_equal(a.hidden, start)
    np.testing.assert_allclose(a.state, X[2], atol=1e-8)
    b = moving.recall(query, hidden=start, tol=1e-9)
    np.testing.assert_allclose(b.state, X[0], atol=1e-8)
    np.testing.assert_allclose(b.hidden, X @ X[0], atol=1e-8)
    # A unit of a rectified line that starts below 0 is dead in the gradient form alone.
    for form, dead in (("gradient", True), ("krotov_hopfield", False)):
        network = NeuralDynamics(
            separation="rectified_polynomial", degree=1, tau_h=1.0, form=form
        )
        network.store(0.5 * X)
        end = network.run(query, 5, 0.01, hidden=[-0.2, 0.1, 0.1], record_every=None)
        assert (end.hidden[0] == -0.2) == dead


# ------------------------------------------------------------------------- time and accuracy --


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("rk4", 4)])
@pytest.mark.parametrize("tau_h", [None, 0.8])
def test_order_of_convergence(method, order, tau_h) -> None:
    """Halving dt divides the error by 2^order, to a tenth of the order."""
    network = NeuralDynamics(beta=2.0, tau_h=tau_h)
    network.store(X)
    exact = network.run(V0, 1, 1 / 2048, method="rk4", record_every=None).state
    errors = [
        np.abs(network.run(V0, 1, 1 / n, method=method, record_every=None).state - exact).max()
        for n in (32, 64, 128)
    ]
    found = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.abs(found - order).max() < 0.1, found


def test_critical_slowing() -> None:
    """Opposite patterns +-1: v' = tanh(beta v) - v.

    Below beta = 1 a small state decays as exp(-(1 - beta) t); at beta = 1 as 1 / sqrt(t):
    1 / v^2 - 1 / v0^2 -> 2 t / 3 where v is small.
    """
    for beta in (0.5, 0.9, 0.99):
        network = NeuralDynamics(beta=beta)
        network.store([[1.0], [-1.0]])
        end = network.run([1e-5], 10, 0.05, method="rk4", record_every=None).state[0]
        assert np.log(end / 1e-5) == pytest.approx(-(1 - beta) * 10, rel=1e-6)
    network = NeuralDynamics(beta=1.0)
    network.store([[1.0], [-1.0]])
    end = network.run([0.01], 2000, 0.5, method="rk4", record_every=None).state[0]
    # tanh v - v = -v^3/3 + 2 v^5/15: the next term is v^2 0.4 of the first.
    assert 1 / end**2 - 1 / 0.01**2 == pytest.approx(2 * 2000 / 3, rel=1e-4)


def test_slowing_beside_a_pair() -> None:
    """Between two patterns 10 degrees apart the split is slow near beta = 1 / sin^2(5 deg)."""
    critical = 1 / np.sin(np.pi / 36) ** 2
    assert critical == pytest.approx(131.65, abs=0.005)
    rates = []
    across = (TEN_DEGREES[1] - TEN_DEGREES[0]) / np.linalg.norm(TEN_DEGREES[1] - TEN_DEGREES[0])
    for beta in (50.0, 100.0, 125.0):
        network = NeuralDynamics(beta=beta)
        network.store(TEN_DEGREES)
        start = TEN_DEGREES[:2].mean(axis=0) + 1e-6 * across
        way = network.run(start, 5, 0.01, method="rk4", record_every=None)
        left = (way.state - TEN_DEGREES[:2].mean(axis=0)) @ across
        rates.append(-np.log(left / 1e-6) / 5)
    np.testing.assert_allclose(rates, 1 - np.array([50, 100, 125]) / critical, rtol=1e-4)


def test_times_and_records() -> None:
    """The last step ends at t; every third step and the last are kept; t = 0 is no step."""
    network = NeuralDynamics(beta=2.0)
    network.store(X)
    way = network.run(V0, 1.05, 0.1, record_every=3)
    np.testing.assert_allclose(way.times, [0, 0.3, 0.6, 0.9, 1.05], rtol=1e-12)
    assert way.n_steps == 11
    np.testing.assert_array_equal(way.trace.states[-1], way.state)
    halves = network.run(network.run(V0, 1, 0.1).state, 0.05, 0.05)
    np.testing.assert_allclose(way.state, halves.state, rtol=0, atol=1e-15)
    still = network.run(V0, 0, 0.1)
    assert still.n_steps == 0 and np.array_equal(still.state, V0) and len(still.times) == 1
    silent = network.run(V0, 1, 0.1, record_every=None)
    assert silent.trace is None and silent.times is None
    assert network.recall(V0, trace=True).trace is not None


def test_a_state_rests_on_its_own() -> None:
    """One of a batch rests early: its steps and its bits are those of a run alone."""
    network = NeuralDynamics(beta=2.0)
    network.store(X)
    rest = network.recall(V0, 300, tol=1e-12).state
    both = network.recall(np.stack([V0, rest]), 100, tol=1e-9, trace=True)
    assert both.n_steps[1] == 0 and both.n_steps[0] > 100
    assert list(both.status) == ["fixed point"] * 2 and both.converged.all()
    assert np.array_equal(both.state[1], rest)
    assert (both.rate <= 1e-9).all() and both.change[1] == 0
    np.testing.assert_allclose(network.run(rest, 1, 0.1).rate, 0, atol=2e-12)
    exact = NeuralDynamics(separation="max")
    exact.store(X)
    still = exact.run(X[1], 1, 0.1)  # v' = 0 to the last bit, without any tolerance
    assert still.status == "fixed point" and still.n_steps == 0 and still.rate == 0
    short = network.recall(V0, 0.5)
    assert short.status == "step limit" and short.rate > 1e-3


def test_float32_comes_to_rest() -> None:
    """Where rounding stops a state before `tol` does, it is at rest nonetheless."""
    network = NeuralDynamics(beta=2.0)
    network.store(X.astype(np.float32))
    end = network.recall(V0, 300, tol=0)
    assert end.status == "fixed point" and end.state.dtype == np.float32
    np.testing.assert_allclose(end.state, (0.87012214, 0.08639218, 0.41360782), atol=1e-5)
    assert isinstance(end.energy, float)
    exact = NeuralDynamics(beta=2.0)
    exact.store(X.astype(np.float32).astype(np.float64))
    assert end.energy == exact.energy(end.state)  # energies are float64's


# --------------------------------------------------------------------------- the activations --


def test_spherical_value_neurons_find_the_principal_axis() -> None:
    """Model C with identity: g ends at the first right singular vector, E at -sigma^2 / 2."""
    rng = np.random.default_rng(13)
    patterns = rng.standard_normal((20, 6))
    network = NeuralDynamics(separation="identity", activation="sphere")
    network.store(patterns)
    end = network.recall(rng.standard_normal(6), 100, tol=1e-12)
    _, s, axes = np.linalg.svd(patterns)
    assert np.linalg.norm(end.output) == pytest.approx(1, abs=1e-14)
    assert abs(end.output @ axes[0]) == pytest.approx(1, abs=1e-10)
    assert end.energy == pytest.approx(-(s[0] ** 2) / 2, rel=1e-12)
    np.testing.assert_allclose(end.state, s[0] ** 2 * end.output, rtol=1e-10)
    assert np.array_equal(network.retrieve(end.state), end.output)
    assert np.array_equal(network.output(np.zeros(6)), np.zeros(6))


def test_tanh_value_neurons_are_the_hopfield_network_of_1984() -> None:
    """Model A, dot products and identity: u' = W tanh(gain u) - u with W = M^T M, and its E."""
    from uhn.models import ContinuousHopfieldNetwork

    rng = np.random.default_rng(14)
    patterns = rng.standard_normal((3, 7)) / 2
    flow = NeuralDynamics(separation="identity", activation="tanh", gain=3.0)
    flow.store(patterns)
    graded = ContinuousHopfieldNetwork.from_weights(patterns.T @ patterns, gain=3.0)
    states = rng.standard_normal((4, 7))
    a, b = flow.run(states, 3, 0.05), graded.run(states, 3, 0.05)
    np.testing.assert_allclose(a.trace.states, b.trace.states, rtol=0, atol=1e-12)
    np.testing.assert_allclose(a.trace.energies, b.trace.energies, rtol=0, atol=1e-12)


def test_inputs() -> None:
    """v rests at M^T f(M v) + I; for a contraction of the identity, at (1 - M^T M)^-1 I."""
    rng = np.random.default_rng(15)
    patterns = rng.standard_normal((4, 6))
    patterns *= 0.8 / np.linalg.norm(patterns, 2)
    network = NeuralDynamics(separation="identity")
    network.store(patterns)
    inputs = rng.standard_normal((3, 6))
    end = network.recall(np.zeros((3, 6)), 200, inputs=inputs, tol=1e-13)
    solved = np.linalg.solve(np.eye(6) - patterns.T @ patterns, inputs.T).T
    np.testing.assert_allclose(end.state, solved, rtol=0, atol=1e-11)
    # The minimum of a quadratic form is -I.v / 2.
    np.testing.assert_allclose(end.energy, -(inputs * solved).sum(axis=1) / 2, atol=1e-11)
    shared = network.recall(np.zeros((3, 6)), 200, inputs=inputs[0], tol=1e-13)
    assert np.array_equal(shared.state[2], end.state[0])
    assert network.energy(end.state[0], inputs=inputs[0]) == end.energy[0]
    way = network.run(np.zeros((3, 6)), 20, 0.1, inputs=inputs).trace
    assert way.energies.size == 603, "more than one piece of 512"
    for i in range(3):
        alone = network.run(np.zeros(6), 20, 0.1, inputs=inputs[i]).trace
        assert np.array_equal(way.states[:, i], alone.states)
        assert np.array_equal(way.energies[:, i], alone.energies)


def test_readout_of_a_third_population() -> None:
    """P f(h), of any width, while the value neurons run down the gradient to the patterns."""
    rng = np.random.default_rng(16)
    values = rng.standard_normal((3, 2))
    network = NeuralDynamics(beta=50.0)
    network.store(X, values)
    assert network.n_values == 2 and np.array_equal(network.values, values)
    end = network.recall([X[1], X[0]], tol=1e-9)
    np.testing.assert_allclose(network.readout(end.hidden), values[[1, 0]], atol=1e-6)
    assert network.readout(end.hidden[0]).shape == (2,)
    plain = NeuralDynamics(beta=50.0)
    plain.store(X)
    np.testing.assert_allclose(plain.readout(X @ X[0]), plain.run(X[0], 1, 1).state, atol=1e-15)


# ----------------------------------------------------------------------------- the same bits --


@pytest.mark.parametrize(
    ("sim", "sep", "options"),
    [
        ("dot", "softmax", {}),
        ("dot", "softmax", {"tau_h": 0.5}),
        ("dot", "softmax", {"tau_h": 0.5, "form": "gradient"}),
        ("dot", "entmax", {"tau_h": 0.5, "form": "gradient"}),
        ("cosine", "softmax1", {"activation": "tanh"}),
        ("sqeuclidean", "exponential", {"activation": "sphere"}),
        ("euclidean", "topk_softmax", {"tau_h": 0.5}),
        ("manhattan", "sparsemax", {}),
        ("chebyshev", "softmax", {}),
        ("manhattan rbf", "log1p", {}),
        ("manhattan", "max", {"flow": "projection"}),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_the_batch(sim, sep, options, dtype) -> None:
    """A row of a batch, a run alone, any number of threads: one answer, energies included."""
    rng = np.random.default_rng(17)
    patterns = (rng.standard_normal((37, 13)) / 4).astype(dtype)
    states = (rng.standard_normal((21, 13)) / 4).astype(dtype)
    network = make(sim, sep, patterns, **options)
    before = uhn.get_num_threads()
    try:
        runs = []
        for threads in (1, 2):
            uhn.set_num_threads(threads)
            for method in ("euler", "rk4"):
                runs.append(network.run(states, 0.5, 0.05, method=method))
        assert np.array_equal(runs[0].trace.states, runs[2].trace.states)
        assert np.array_equal(runs[1].trace.energies, runs[3].trace.energies)
        for i in (0, 5, 20):
            for whole, method in zip(runs, ("euler", "rk4"), strict=False):
                alone = network.run(states[i], 0.5, 0.05, method=method)
                assert alone.state.dtype == dtype
                assert np.array_equal(alone.trace.states, whole.trace.states[:, i])
                assert np.array_equal(alone.trace.energies, whole.trace.energies[:, i])
                assert np.array_equal(alone.hidden, whole.hidden[i])
                assert alone.rate == whole.rate[i] and alone.change == whole.change[i]
                assert alone.energy == whole.energy[i]
        few = network.run(states[3:9], 0.5, 0.05)
        assert np.array_equal(few.state, runs[0].state[3:9])
    finally:
        uhn.set_num_threads(before)


def test_bits_do_not_depend_on_the_cpu_path() -> None:
    """The same hashes of trajectories and energies on every path of this machine."""
    script = """if True:
        import hashlib, numpy as np
        from uhn.models import ContinuousHopfieldNetwork, NeuralDynamics
        rng = np.random.default_rng(0)
        x, v = rng.random((70, 33)), rng.random((5, 33))
        for options in ({}, {"tau_h": 0.5, "form": "gradient"}, {"activation": "tanh"},
                        {"similarity": "cosine"}, {"similarity": "manhattan", "tau_h": 1.0}):
            network = NeuralDynamics(beta=0.3, **options)
            network.store(x)
            way = network.run(v, 0.5, 0.05, method="rk4").trace
            print(hashlib.sha256(way.states.tobytes() + way.energies.tobytes()).hexdigest())
        network = ContinuousHopfieldNetwork(gain=2.0)
        network.store(np.sign(x - 0.5))
        way = network.run(v, 0.5, 0.05).trace
        print(hashlib.sha256(way.states.tobytes() + way.energies.tobytes()).hexdigest())
    """
    library = str(Path(uhn.__file__).parent.parent)
    found = {}
    for path in uhn.cpu_info()["available"]:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "UHN_CPU": path, "PYTHONPATH": library},
            capture_output=True,
            text=True,
            check=True,
        )
        found[path] = done.stdout.split()
        assert len(found[path]) == 6
    assert len(set(map(tuple, found.values()))) == 1, found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_elementary_functions(dtype) -> None:
    """tanh within 4 units in the last place, log cosh to rounding; bits of one element."""
    x = np.concatenate([np.linspace(-4, 4, 4001), [0.0, -0.0, 1e-30, 0.5, 90, -700]])
    x = x.astype(dtype)
    exact = np.tanh(x.astype(np.longdouble))
    ulp = np.spacing(np.abs(exact).astype(dtype))
    assert (np.abs(_flow.tanh(x) - exact) <= 4 * ulp).all()
    assert np.array_equal(np.signbit(_flow.tanh(x)), np.signbit(x))
    logs = np.abs(x) + np.log1p(np.exp(-2 * np.abs(x.astype(np.longdouble)))) - np.log(2)
    eps = np.finfo(dtype).eps
    assert (np.abs(_flow.log_cosh(x) - logs) <= 4 * eps * (1 + np.abs(x))).all()
    for function in (_flow.tanh, _flow.exp, _flow.log_cosh):
        y = x[np.abs(x) < 80].reshape(1, -1)
        whole = function(y)[0]
        for i in range(0, y.size, 97):
            assert function(y[:, i : i + 1])[0, 0] == whole[i]
            assert np.array_equal(function(y[:, i : i + 5])[0], whole[i : i + 5])


# ----------------------------------------------------------------------------- the interface --


def test_store_in_pieces_is_store_at_once() -> None:
    """And results keep asking the network as it was."""
    one, other = NeuralDynamics(beta=2.0), NeuralDynamics(beta=2.0)
    one.store(X)
    other.store(X[0])
    early = other.recall(V0)
    energy = early.energy
    other.store(X[1:])
    assert len(other) == 3 and other.n_features == 3 and np.array_equal(other.patterns, X)
    assert np.array_equal(one.run(V0, 1, 0.1).state, other.run(V0, 1, 0.1).state)
    assert early.energy == energy and early.weights.shape == (1,)
    with pytest.raises(ValueError, match="read-only"):
        other.patterns[0, 0] = 5


def test_stored_rows_are_copies() -> None:
    rows = X.copy()
    network = NeuralDynamics(beta=2.0)
    network.store(rows)
    before = network.retrieve(V0)
    rows[:] = 7
    assert np.array_equal(network.retrieve(V0), before)


def test_shapes_and_what_a_result_knows() -> None:
    network = NeuralDynamics(beta=2.0, tau_h=0.5)
    network.store(X)
    one = network.recall(V0, trace=True)
    many = network.recall(np.stack([V0, -V0]), trace=True)
    assert one.state.shape == (3,) and many.state.shape == (2, 3)
    assert one.hidden.shape == (3,) and many.hidden.shape == (2, 3)
    assert one.trace.states.ndim == 2 and many.trace.states.ndim == 3
    assert one.trace.hidden.shape == one.trace.states.shape
    assert one.trace.energies.shape == one.times.shape
    assert isinstance(one.status, str) and isinstance(one.n_steps, int)
    np.testing.assert_allclose(one.weights, uhn.separate(one.hidden, beta=2.0), atol=1e-15)
    np.testing.assert_allclose(one.overlaps, X @ one.state, atol=1e-15)
    assert one.energy == pytest.approx(network.energy(one.state, one.hidden), abs=1e-15)
    assert network.energy(many.state, many.hidden).shape == (2,)
    assert one.memories(1)[0][0] == 0 and 0 < one.entropy < np.log(3)
    assert "Trajectory(2 queries" in repr(many) and "<table>" in many._repr_html_()
    assert network.retrieve(np.zeros((0, 3))).shape == (0, 3)
    assert network.run(np.zeros((0, 3)), 1, 0.1).trace.energies.shape[1] == 0
    assert np.array_equal(
        network.retrieve([[1, 0, 0]], 1, 0.1), [network.retrieve([1, 0, 0], 1, 0.1)]
    )
    again = pickle.loads(pickle.dumps(many))
    assert np.array_equal(again.energy, many.energy)


def test_pickles_copies_and_configurations() -> None:
    network = NeuralDynamics(
        similarity="euclidean", transform="rbf", gamma=0.3, separation="topk_softmax", k=2,
        beta=3.0, activation="tanh", gain=2.0, tau_v=0.5, tau_h=0.2, form="gradient",
    )  # fmt: skip
    network.store(X, X[::-1])
    end = network.run(V0, 1, 0.01)
    for again in (
        pickle.loads(pickle.dumps(network)),
        copy.copy(network),
        copy.deepcopy(network),
    ):
        assert again.get_config() == network.get_config()
        assert np.array_equal(again.values, network.values)
        assert np.array_equal(again.run(V0, 1, 0.01).trace.states, end.trace.states)
        again.store(X, X)
        assert len(again) == 6 and len(network) == 3
    empty = NeuralDynamics.from_config(network.get_config())
    assert len(empty) == 0 and empty.get_config() == network.get_config()
    assert "similarity='euclidean'" in repr(empty)
    with pytest.raises(ValueError, match="no parameter nonsense"):
        NeuralDynamics.from_config({"nonsense": 1})


def test_lyapunov_and_its_reasons() -> None:
    for sim in SIMS:
        network = NeuralDynamics(**SIMS[sim])
        assert network.lyapunov() and network.lyapunov("gradient")
        assert network.lyapunov("projection") == (sim == "dot")
        assert "dot products alone" in network.lyapunov_reason("projection") or sim == "dot"
        assert network.lyapunov_reason()
    hamming = NeuralDynamics(similarity="hamming", flow="projection")
    assert not hamming.lyapunov("gradient") and "Jacobian" in hamming.lyapunov_reason(
        "gradient"
    )
    free = NeuralDynamics(leak=False)
    assert not free.lyapunov("projection") and "leak" in free.lyapunov_reason("projection")
    assert NeuralDynamics(separation="polynomial", degree=3, tau_h=1).lyapunov()
    assert not NeuralDynamics(separation="polynomial", tau_h=1).lyapunov()
    assert NeuralDynamics(separation="polynomial", tau_h=1, form="gradient").lyapunov()
    with pytest.raises(ValueError, match="mode is 'sync'"):
        free.lyapunov("sync")


# --------------------------------------------------------------------------------- bad input --


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"similarity": "hamming"}, "constant but for jumps.*flow='projection'"),
        ({"similarity": "kl"}, "domain of 'kl'.*flow='projection'"),
        ({"similarity": "normalized_dot"}, "domain of 'normalized_dot'"),
        ({"similarity": "nothing"}, "nothing"),
        ({"separation": "nothing"}, "nothing"),
        ({"separation": "max", "beta": 2.0}, "takes no beta"),
        ({"similarity": "manhattan", "transform": "inverse"}, "eps > 0"),
        ({"half": True}, "half is for similarity='sqeuclidean'"),
        (
            {"similarity": "sqeuclidean", "half": True, "transform": "rbf"},
            "without a transform",
        ),
        ({"flow": "down"}, "flow is 'down'"),
        ({"form": "plain"}, "form is 'plain'"),
        ({"activation": "relu"}, "activation is 'relu'"),
        ({"gain": 2.0}, "takes no gain"),
        ({"activation": "tanh", "gain": 0}, "gain is 0"),
        ({"tau_v": 0}, "tau_v is 0"),
        ({"tau_v": np.inf}, "tau_v is inf"),
        ({"tau_h": -1}, "tau_h is -1"),
        ({"leak": False, "flow": "projection"}, "leak=False is for flow='gradient'"),
        ({"separation": "sqrt", "tau_h": 1, "form": "gradient"}, "infinite"),
    ],
)
def test_refused_networks(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        NeuralDynamics(**options)


def test_refused_types() -> None:
    with pytest.raises(TypeError, match=r"similarity must be a name.*Jacobian"):
        NeuralDynamics(similarity=lambda m, q: q @ m.T)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tau_v must be a number"):
        NeuralDynamics(tau_v="fast")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not a bool"):
        NeuralDynamics(tau_h=True)
    network = NeuralDynamics()
    network.store(X)
    with pytest.raises(TypeError, match="record_every"):
        network.run(V0, 1, 0.1, record_every=0.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        network.run(V0 * 1j, 1, 0.1)


def test_empty_networks_say_so() -> None:
    network = NeuralDynamics()
    for ask in (
        lambda: network.retrieve(V0),
        lambda: network.run(V0, 1, 0.1),
        lambda: network.energy(V0),
        lambda: network.output(V0),
        lambda: network.readout(V0),
        lambda: network.patterns,
        lambda: network.values,
    ):
        with pytest.raises(ValueError, match="nothing is stored yet: call store"):
            ask()
    assert len(network) == network.n_features == network.n_values == 0


def test_bad_calls() -> None:
    network = NeuralDynamics(tau_h=0.2)
    network.store(X)
    fast = NeuralDynamics()
    fast.store(X)

    def refused(message: str, call, *args, **options) -> None:
        with pytest.raises(ValueError, match=message):
            call(*args, **options)

    refused(
        r"dt is 0.4, .*explode from 0.4 on.*tau_h: 0.2.*use dt <= 0.02", network.run, V0, 1, 0.4
    )
    refused(r"dt is 2, .*tau_v: 1", fast.run, V0, 10, 2.0)
    refused(r"dt is 2.8, .*2.785", fast.run, V0, 10, 2.8, method="rk4")
    fast.run(V0, 10, 2.7, method="rk4")
    refused("dt is 0", fast.run, V0, 1, 0)
    refused("dt is nan", fast.run, V0, 1, np.nan)
    refused("t is -1", fast.run, V0, -1, 0.1)
    refused("tol is -1", fast.run, V0, 1, 0.1, tol=-1)
    refused("record_every is 0", fast.run, V0, 1, 0.1, record_every=0)
    refused("method is 'heun'", fast.run, V0, 1, 0.1, method="heun")
    refused("2 .*3|3 .*2", fast.run, V0[:2], 1, 0.1)
    refused("states.*NaN", fast.run, [np.nan, 0, 0], 1, 0.1)
    refused("tau_h=None they are at rest", fast.run, V0, 1, 0.1, hidden=[0, 0, 0])
    refused("hidden", network.run, V0, 1, 0.1, hidden=[0, 0])
    refused("hidden has 2 rows for 3 states", network.run, X, 1, 0.1, hidden=X[:2])
    refused("inputs has 2 rows for 3 states", network.run, X, 1, 0.1, inputs=X[:2])
    refused("patterns", network.store, [[1, 2]])
    refused("nothing to store", network.store, np.zeros((0, 3)))
    refused("do not mix", network.store, X, X)
    refused("one a pattern", NeuralDynamics().store, X, X[:2])
    refused(
        "4 columns.*flow='gradient'", NeuralDynamics(flow="projection").store, X, np.eye(4)[:3]
    )
    refused(
        "defined for values >= 0", NeuralDynamics(similarity="kl", flow="projection").store, -X
    )
    assert len(network) == 3


def test_squared_distances_decay_faster() -> None:
    """The pull of weights of sum 1 is a decay as well: 1 + 2 of it, and the limit is 2/3."""
    network = NeuralDynamics(similarity="sqeuclidean")
    network.store(X)
    with pytest.raises(ValueError, match=r"tau_v / 3: 0.333"):
        network.run(V0, 1, 0.67)
    # A step multiplies what is across by 1 - 3 * 0.66 = -0.98, or nearer to 0.
    end = network.run(V0, 660, 0.66, record_every=None)
    np.testing.assert_allclose(end.state, network.run(end.state, 50, 0.1).state, atol=1e-7)


def test_explosions_are_named() -> None:
    """Identity: v' = (M^T M - 1) v grows where sigma^2 > 1, at the rate sigma^2 - 1."""
    network = NeuralDynamics(separation="identity")
    network.store(2 * np.eye(3))
    grown = network.run([1.0, 0, 0], 1, 0.001, method="rk4", record_every=None).state[0]
    assert np.log(grown) == pytest.approx(3.0, abs=1e-9)
    message = r"state 1 is no longer finite at t = .*dt = 0.5.*eigenvalue of M M\^T is above 1"
    with pytest.raises(ValueError, match=message + ".* is 4"):
        network.run([[0, 0, 0], [1, 0, 0]], 5000, 0.5)
    slow = NeuralDynamics(separation="identity", tau_h=1.0)
    slow.store(2 * np.eye(3))
    with pytest.raises(ValueError, match=message.replace("state 1", "state 0")):
        slow.run([1, 0, 0], 5000, 0.5)
    cubic = NeuralDynamics(separation="polynomial", degree=3)
    cubic.store(2 * np.eye(3))
    with pytest.raises(
        ValueError, match=r"at t = .*dt = 0.1.*'polynomial' the energy may have no"
    ):
        cubic.run([2.0, 0, 0], 100, 0.1)
    negative = NeuralDynamics(separation="sqrt")
    negative.store(X)
    with pytest.raises(ValueError, match=r"state 0 .*beyond t = 0 .*'sqrt' needs scores"):
        negative.run(-V0, 1, 0.1)


@pytest.mark.skipif(os.name == "nt", reason="os.kill sends no SIGINT on Windows")
def test_interrupts_end_a_long_run() -> None:
    network = NeuralDynamics()
    network.store(X)
    sender = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    sender.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        network.run(V0, 1e7, 1e-3, record_every=None)
    assert time.monotonic() - start < 5
    sender.join()
