"""Graded neurons: twins, SciPy, laws of the energy, the two-state limit, and a salesman."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest

import reference_neural as twin
import uhn
from uhn.models import ContinuousHopfieldNetwork

TOY = np.array([[1.0] * 5 + [-1.0] * 5, [1.0, -1.0] * 5])


def symmetric(rng: np.random.Generator, n: int) -> np.ndarray:
    w = rng.standard_normal((n, n)) / np.sqrt(n)
    return (w + w.T) / 2


# ---------------------------------------------------------------------------------- the flow --


@pytest.mark.parametrize("coding", ["bipolar", "binary"])
@pytest.mark.parametrize("leak", [True, False])
def test_trajectories_and_energies_are_those_of_the_twin(coding, leak) -> None:
    """Both integrators, with R and C of their own; the energy's integral by quadrature."""
    rng = np.random.default_rng(0)
    w, bias = symmetric(rng, 6), rng.standard_normal(6)
    of = twin.Graded(w, bias, 2.5, 1.4, 0.7, leak, coding == "binary")
    network = ContinuousHopfieldNetwork.from_weights(
        w, bias, gain=2.5, resistance=1.4, capacitance=0.7, leak=leak, coding=coding
    )
    u = rng.standard_normal(6)
    for method, twin_method in (("euler", twin.euler), ("rk4", twin.rk4)):
        way = network.run(u, 1.0, 0.1, method=method)
        expected = twin_method(lambda x: twin.graded_rhs(of, x), u, 0.1, 10)
        np.testing.assert_allclose(way.trace.states, expected, rtol=0, atol=1e-13)
        np.testing.assert_allclose(way.output, twin.outputs(of, expected[-1]), atol=1e-13)
        # 20,000 trapezoids: an error of (u / 2e4)^2 / 12 times the second derivative.
        for at, energy in zip(expected[::5], way.trace.energies[::5], strict=True):
            assert energy == pytest.approx(twin.graded_energy(of, at), abs=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("coding", ["bipolar", "binary"])
def test_energy_and_flow_against_scipy(coding) -> None:
    """The integral of g^-1 by quad, the flow by solve_ivp at a tolerance of 1e-12."""
    scipy_integrate = pytest.importorskip("scipy.integrate")
    rng = np.random.default_rng(1)
    w, bias = symmetric(rng, 5), rng.standard_normal(5)
    network = ContinuousHopfieldNetwork.from_weights(
        w, bias, gain=3.0, resistance=2.0, coding=coding
    )
    of = twin.Graded(w, bias, 3.0, 2.0, binary=coding == "binary")
    u = 0.3 * rng.standard_normal(5)

    def inverse(v: float) -> float:
        return float(np.arctanh(v if coding == "bipolar" else 2 * v - 1)) / 3.0

    zero = 0.0 if coding == "bipolar" else 0.5
    v = twin.outputs(of, u)
    exact = -v @ w @ v / 2 - bias @ v
    exact += sum(scipy_integrate.quad(inverse, zero, x, epsabs=1e-13)[0] for x in v) / 2.0
    assert network.energy(u) == pytest.approx(exact, abs=1e-11)
    solved = scipy_integrate.solve_ivp(
        lambda _, x: twin.graded_rhs(of, x), (0, 2), u, method="DOP853", rtol=1e-12, atol=1e-13
    ).y[:, -1]
    ends = [network.run(u, 2, dt, method="rk4", record_every=None).state for dt in (0.02, 0.01)]
    # Of order 4: the error of the shorter step is a fifteenth of their difference.
    allowed = np.abs(ends[0] - ends[1]).max() + 1e-11
    assert allowed < 1e-5
    np.testing.assert_allclose(ends[1], solved, rtol=0, atol=allowed)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("rk4", 4)])
def test_order_of_convergence(method, order) -> None:
    """Halving dt divides the error by 2^order, to a tenth of the order."""
    rng = np.random.default_rng(2)
    network = ContinuousHopfieldNetwork.from_weights(symmetric(rng, 6), gain=1.5)
    u = rng.standard_normal(6)
    exact = network.run(u, 1, 1 / 1024, method="rk4", record_every=None).state
    errors = [
        np.abs(network.run(u, 1, 1 / n, method=method, record_every=None).state - exact).max()
        for n in (16, 32, 64)
    ]
    found = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.abs(found - order).max() < 0.15, found


@pytest.mark.parametrize("options", [{"gain": 1.0}, {"activation": "clip"}])
def test_inputs_of_each_state_are_a_bias_of_its_own(options) -> None:
    """Potentials, the long trace of energies, what the result says: those of a run alone."""
    rng = np.random.default_rng(13)
    w, bias, inputs = symmetric(rng, 5), rng.standard_normal(5), rng.standard_normal((10, 5))
    make = ContinuousHopfieldNetwork.from_weights
    u = rng.uniform(-1, 1, (10, 5))
    network = make(w, bias, **options)
    way = network.run(u, 6, 0.1, inputs=inputs)
    assert way.trace.energies.size > 512, "more than one piece"
    # (W V + b) + I and W V + (b + I): a few roundings of numbers below 8 in each of 60 steps,
    # which a slope of at most the largest eigenvalue, less the leak, makes larger; in energies
    # times the five slopes.
    grown = np.exp(6 * max(np.linalg.eigvalsh(w).max() - 1, 0))
    off = 60 * 4 * 8 * 2.0**-53 * grown
    for i in range(10):
        biased = make(w, bias + inputs[i], **options).run(u[i], 6, 0.1).trace
        n = len(biased.states)  # what is clipped at all its units rests before the others
        np.testing.assert_allclose(way.trace.states[:n, i], biased.states, rtol=0, atol=off)
        np.testing.assert_allclose(
            way.trace.energies[:n, i], biased.energies, rtol=0, atol=5 * off
        )
        alone = network.run(u[i], 6, 0.1, inputs=inputs[i])
        n = len(alone.trace.states)
        assert np.array_equal(way.trace.states[:n, i], alone.trace.states)
        assert np.array_equal(way.trace.energies[:n, i], alone.trace.energies)
        assert way.energy[i] == alone.energy == way.trace.energies[-1, i]


# ------------------------------------------------------------------------ laws of the energy --


def test_energy_never_rises_for_symmetric_weights() -> None:
    """600 random cases, diagonals of any sign, dt of 0.01 of the time constant."""
    rng = np.random.default_rng(3)
    steps = 0
    for case in range(60):
        n = int(rng.integers(2, 9))
        w, bias = symmetric(rng, n), rng.standard_normal(n)
        network = ContinuousHopfieldNetwork.from_weights(
            w,
            bias,
            gain=float(rng.uniform(0.3, 8)),
            coding=("bipolar", "binary")[case % 2],
            leak=case % 3 > 0,
            resistance=2.0,
            capacitance=0.5,
        )
        assert network.lyapunov() and "symmetric" in network.lyapunov_reason()
        inputs = rng.standard_normal(n) if case % 5 == 0 else None
        way = network.run(rng.standard_normal((10, n)), 1, 0.01, inputs=inputs)
        change = np.diff(way.trace.energies, axis=0)
        assert (change <= 1e-13 * (1 + np.abs(way.trace.energies[1:]))).all()
        steps += change.size
    assert steps == 60 * 10 * 100


def test_energy_falls_as_the_theorem_says() -> None:
    """dE/dt = -C sum g'(u) u'^2, both sides by differences along the flow."""
    rng = np.random.default_rng(4)
    w, bias = symmetric(rng, 6), rng.standard_normal(6)
    for coding in ("bipolar", "binary"):
        network = ContinuousHopfieldNetwork.from_weights(
            w, bias, gain=1.7, capacitance=0.6, coding=coding
        )
        u, e = rng.standard_normal((20, 6)), 1e-5
        du = (network.run(u, e, e).state - u) / e
        one, other = u + e * du, u - e * du
        turn = (network.output(one) - network.output(other)) / (2 * e)
        change = (network.energy(one) - network.energy(other)) / (2 * e)
        # Quotients of step 1e-5: e^2 / 6 times a third derivative below 10^3, and roundings
        # over e.
        np.testing.assert_allclose(change, -0.6 * (du * turn).sum(axis=1), rtol=0, atol=2e-8)


def test_asymmetric_weights_have_no_energy() -> None:
    """Three neurons that excite themselves and chase each other go round for ever."""
    ring = np.eye(3) + 2 * np.roll(np.eye(3), 1, axis=1) - 2 * np.roll(np.eye(3), -1, axis=1)
    network = ContinuousHopfieldNetwork.from_weights(ring, gain=2.0)
    assert not network.lyapunov()
    with pytest.raises(ValueError, match="W is not symmetric"):
        network.energy(np.ones(3))
    end = network.run([1.0, 0.0, -1.0], 40, 0.01, record_every=100)
    assert end.trace.energies is None and end.status == "step limit" and end.rate > 0.1
    with pytest.raises(ValueError, match="W is not symmetric"):
        _ = end.energy


def test_projected_gradient_never_raises_the_energy() -> None:
    """Steps below 2 C over the largest eigenvalue of -W, however near."""
    rng = np.random.default_rng(5)
    for case in range(100):
        n = int(rng.integers(2, 8))
        w, bias = symmetric(rng, n) - np.eye(n), rng.standard_normal(n)
        coding = ("bipolar", "binary")[case % 2]
        network = ContinuousHopfieldNetwork.from_weights(
            w, bias, activation="clip", coding=coding, leak=False, capacitance=3.0
        )
        limit = 2 * 3.0 / np.linalg.eigvalsh(-w).max()
        start = rng.random((5, n))
        way = network.run(start, 40 * limit, 0.99 * limit)
        change = np.diff(way.trace.energies, axis=0)
        assert (change <= 1e-13 * (1 + np.abs(way.trace.energies[1:]))).all()
        low = -1 if coding == "bipolar" else 0
        assert (way.trace.states >= low).all() and (way.trace.states <= 1).all()
        assert np.array_equal(way.output, way.state)
        v = way.state
        exact = -np.einsum("bi,ij,bj->b", v, w, v) / 2 - v @ bias
        np.testing.assert_allclose(way.energy, exact, rtol=0, atol=1e-12)
    leaky = ContinuousHopfieldNetwork.from_weights(w, bias, activation="clip", resistance=2.0)
    v = np.clip(rng.standard_normal(n), -1, 1)
    exact = -v @ w @ v / 2 - v @ bias + v @ v / (2 * 2.0)
    assert leaky.energy(v) == pytest.approx(exact, abs=1e-13)


def test_a_neuron_at_its_bound_rests() -> None:
    """What pushes outwards moves nothing: such a state is at rest from the beginning."""
    network = ContinuousHopfieldNetwork.from_weights(
        np.zeros((2, 2)), [3.0, -2.0], activation="clip", leak=False
    )
    end = network.run([[1.0, -1.0], [0.5, -1.0]], 1, 0.125)
    assert end.status.tolist() == ["fixed point"] * 2
    assert end.n_steps.tolist() == [0, 2] and end.rate.tolist() == [0, 0]
    assert end.state.tolist() == [[1, -1]] * 2
    # 0.5 + 3 / 8, then the bound: the rate before that is what is left to it, not the slope.
    short = network.run([0.5, -1.0], 0.125, 0.125)
    assert (short.status, short.state[0], short.rate) == ("step limit", 0.875, 0.125)


# ---------------------------------------------------------------------------------- memories --


def test_a_last_step_too_short_to_move_is_no_rest() -> None:
    """u' = 1 - u from 1 - 1e-8: a step of 0.1 moves u by 1e-9, one of 1e-10 not by a bit."""
    network = ContinuousHopfieldNetwork.from_weights(np.zeros((1, 1)), [1.0])
    start, dt = [1 - 1e-8], 0.1
    one, more = network.run(start, dt, dt), network.run(start, dt * (1 + 1e-9), dt)
    assert (one.n_steps, more.n_steps) == (1, 2)
    assert one.state[0] == more.state[0] > start[0]
    assert one.status == more.status == "step limit" and more.rate > 8e-9


def test_high_gain_is_the_two_state_network() -> None:
    """Two patterns of ten bits: the flow rests at the fixed points of the two-state network.

    These are the patterns and their negatives, with an energy of -42 / 10.
    """
    network = ContinuousHopfieldNetwork(gain=200.0)
    network.store(TOY)
    corners = np.array(list(itertools.product((-1.0, 1.0), repeat=10)))
    weights = TOY.T @ TOY - 2 * np.eye(10)
    fields = corners @ weights
    fixed = corners[(corners * fields > 0).all(axis=1)]
    assert len(fixed) == 4  # as enumerated: +-p1 and +-p2
    rng = np.random.default_rng(6)
    starts = corners[::3] + 0.2 * rng.standard_normal((len(corners[::3]), 10))
    end = network.recall(starts, tol=1e-9, dt=0.02)
    assert set(end.status) == {"fixed point"}
    rounded = np.sign(end.output)
    np.testing.assert_allclose(end.output, rounded, atol=1e-6)
    assert {tuple(r) for r in rounded} == {tuple(r) for r in fixed}
    # E -> that of the two-state network with the gain: the integral is n log 2 / gain at most.
    assert (np.abs(end.energy + 4.2) <= 10 * np.log(2) / 200 + 1e-6).all()
    assert (end.energy >= -4.2).all()


@pytest.mark.parametrize("n", [4, 8, 12])
def test_high_gain_rests_are_fixed_points_of_random_networks(n) -> None:
    """Every corner that the flow rests at is stable under flips of single two-state units."""
    rng = np.random.default_rng(n)
    for _ in range(5):
        w = symmetric(rng, n)
        np.fill_diagonal(w, 0)
        network = ContinuousHopfieldNetwork.from_weights(w, gain=5000.0)
        end = network.recall(rng.standard_normal((30, n)), dt=0.05, tol=1e-7)
        at_corner = (np.abs(end.output) > 0.999).all(axis=1) & end.converged
        assert at_corner.mean() > 0.8
        s = np.sign(end.output[at_corner])
        assert (s * (s @ w) > 0).all()


def test_gain_below_the_critical_one_forgets() -> None:
    """One pattern: V = tanh(gain m V), m = (n - 1) / n; below gain 1 / m only 0 is left."""
    pattern = np.ones(20)
    for gain in (0.9, 1.2, 2.0):
        network = ContinuousHopfieldNetwork(gain=gain)
        network.store(pattern)
        end = network.retrieve(0.7 * pattern, 2000, tol=1e-12)
        v = 0.9
        for _ in range(100_000):
            v = float(np.tanh(gain * 0.95 * v))
        np.testing.assert_allclose(end, v, atol=1e-8)
        assert (v > 0.1) == (gain * 0.95 > 1)


def test_hebb_rule_and_its_scales() -> None:
    rng = np.random.default_rng(7)
    patterns = rng.choice([-1.0, 1.0], (5, 12))
    sums = patterns.T @ patterns - 5 * np.eye(12)
    for scale, divisor in (("neurons", 12), ("patterns", 5), ("none", 1)):
        network = ContinuousHopfieldNetwork(scale=scale)
        network.store(patterns[:2])
        network.store(patterns[2:])
        np.testing.assert_allclose(network.weights, sums / divisor, rtol=0, atol=1e-15)
        assert np.array_equal(network.patterns, patterns) and len(network) == 5
        assert not network.bias.any()
    once = ContinuousHopfieldNetwork()
    once.store(patterns)
    twice = ContinuousHopfieldNetwork()
    for row in patterns:
        twice.store(row)
    assert np.array_equal(once.weights, twice.weights)


def test_binary_coding_is_bipolar_at_half_the_field() -> None:
    """W V - W 1 / 2 = W (2 V - 1) / 2: with W twice as large the trajectories are the same."""
    rng = np.random.default_rng(8)
    patterns = rng.integers(0, 2, (3, 16)).astype(float)
    binary = ContinuousHopfieldNetwork(coding="binary", gain=3.0, scale="none")
    binary.store(patterns)
    bipolar = ContinuousHopfieldNetwork.from_weights(binary.weights / 2, gain=3.0)
    u = rng.standard_normal((4, 16))
    one, other = binary.run(u, 2, 0.05), bipolar.run(u, 2, 0.05)
    np.testing.assert_allclose(one.state, other.state, rtol=0, atol=1e-12)
    np.testing.assert_allclose(2 * one.output - 1, other.output, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        one.overlaps, other.output @ (2 * patterns - 1).T / 16, atol=1e-12
    )
    clean = binary.retrieve(2 * patterns - 1)
    assert np.array_equal(clean > 0.5, patterns > 0.5)


def test_completes_patterns() -> None:
    """100 neurons, five patterns, 30 unknown features: all come back."""
    rng = np.random.default_rng(9)
    patterns = rng.choice([-1.0, 1.0], (5, 100))
    network = ContinuousHopfieldNetwork()
    network.store(patterns)
    cues = patterns.copy()
    cues[:, :30] = 0
    end = network.recall(cues)
    assert np.array_equal(np.sign(end.output), patterns)
    assert np.array_equal(network.retrieve(cues), end.output)
    assert (np.diag(end.overlaps) > 0.99).all() and (end.margin > 0.3).all()
    with pytest.raises(ValueError, match="no weight to a pattern"):
        _ = end.weights


# ----------------------------------------------------------------------- travelling salesman --


def test_salesman_of_talavan_and_yanez_always_makes_a_tour() -> None:
    """Ten cities of Hopfield and Tank: every run valid, lengths between the best and random."""
    d = twin.distances(twin.CITIES)
    best, tour = twin.held_karp(d)
    assert best == 2.6906706370094136
    assert tour == [0, 3, 4, 5, 6, 7, 8, 9, 1, 2]
    scaled = d / d.max()
    shortest = scaled[~np.eye(10, dtype=bool)].min()
    c = 1e-5
    w, currents = twin.tsp_weights(scaled, 3 + c - shortest, 3 + c, c, 1.0, 10 + 3 / c)
    network = ContinuousHopfieldNetwork.from_weights(
        w, currents, activation="clip", coding="binary", leak=False
    )
    rng = np.random.default_rng(10)
    starts = 0.5 + 1e-7 * rng.uniform(-1, 1, (20, 100))
    end = network.recall(starts, 50, 0.01, trace=True)
    assert set(end.status) == {"fixed point"}
    assert (np.diff(end.trace.energies, axis=0) <= 1e-9).all()
    tours = [twin.tour_of(v.reshape(10, 10)) for v in end.output]
    assert all(tour is not None for tour in tours)
    lengths = np.array([twin.tour_length(d, tour) for tour in tours])
    assert (lengths >= best - 1e-12).all() and (lengths < 4.757).all()
    assert lengths.min() == pytest.approx(best, abs=1e-12)
    constants = c * (10 + 3 / c) ** 2 / 2
    for v, energy in zip(end.output[:2], end.energy[:2], strict=True):
        square = v.reshape(10, 10)
        exact = twin.tsp_energy(scaled, square, 3 + c - shortest, 3 + c, c, 1.0, 10 + 3 / c)
        # Terms of the size of the constants, 4.5e5, cancel.
        assert energy + constants == pytest.approx(exact, abs=1e-8)


def test_salesman_of_hopfield_and_tank_mostly_fails() -> None:
    """The parameters of 1985: as later authors found, most runs end in no tour at all."""
    d = twin.distances(twin.CITIES)
    w, currents = twin.tsp_weights(d, 500, 500, 200, 500, 15)
    network = ContinuousHopfieldNetwork.from_weights(w, currents, gain=50.0, coding="binary")
    rng = np.random.default_rng(11)
    starts = -np.log(9) / 100 + rng.uniform(-0.1, 0.1, (20, 100)) / 50
    end = network.run(starts, 0.03, 1e-5, record_every=None)
    valid = [twin.tour_of(v.reshape(10, 10)) is not None for v in end.output]
    assert sum(valid) <= 10, f"{sum(valid)} of 20 runs valid"
    # What is valid is no tour at random.
    for v in end.output[valid]:
        tour = twin.tour_of(v.reshape(10, 10))
        assert tour is not None and twin.tour_length(d, tour) < 4.757


# ----------------------------------------------------------------------------- the same bits --


@pytest.mark.parametrize("options", [{}, {"coding": "binary"}, {"activation": "clip"}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_the_batch(options, dtype) -> None:
    rng = np.random.default_rng(12)
    w = symmetric(rng, 37).astype(dtype)
    network = ContinuousHopfieldNetwork.from_weights((w + w.T) / 2, **options)
    states = rng.random((21, 37)).astype(dtype)
    before = uhn.get_num_threads()
    try:
        uhn.set_num_threads(1)
        one = network.run(states, 0.5, 0.05)
        uhn.set_num_threads(2)
        two = network.run(states, 0.5, 0.05)
        assert one.state.dtype == dtype
        assert np.array_equal(one.trace.states, two.trace.states)
        for i in (0, 7, 20):
            alone = network.run(states[i], 0.5, 0.05)
            assert np.array_equal(alone.trace.states, one.trace.states[:, i])
            assert np.array_equal(alone.trace.energies, one.trace.energies[:, i])
            assert np.array_equal(alone.output, one.output[i])
        few = network.run(states[2:5], 0.5, 0.05, method="euler")
        assert np.array_equal(few.output, one.output[2:5])
    finally:
        uhn.set_num_threads(before)


# ----------------------------------------------------------------------------- the interface --


def test_pickles_copies_and_configurations() -> None:
    network = ContinuousHopfieldNetwork(gain=4.0, resistance=2.0, coding="binary", scale="none")
    network.store([[1, 0, 1, 1], [0, 0, 1, 0]])
    given = ContinuousHopfieldNetwork.from_weights(np.eye(4), np.ones(4), activation="clip")
    for one in (network, given):
        end = one.run([0.1, 0.2, 0.3, 0.4], 1, 0.1)
        for again in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
            assert again.get_config() == one.get_config()
            assert np.array_equal(again.weights, one.weights)
            assert np.array_equal(again.bias, one.bias)
            assert np.array_equal(again.run([0.1, 0.2, 0.3, 0.4], 1, 0.1).state, end.state)
            with pytest.raises(ValueError, match="read-only"):
                again.weights[0, 0] = 1
        assert np.array_equal(pickle.loads(pickle.dumps(end)).energy, end.energy)
    other = copy.copy(network)
    other.store([1, 1, 1, 1])
    assert len(other) == 3 and len(network) == 2
    empty = ContinuousHopfieldNetwork.from_config(network.get_config())
    assert len(empty) == 0 and "coding='binary'" in repr(empty)


def test_float32_and_shapes() -> None:
    network = ContinuousHopfieldNetwork()
    network.store(TOY.astype(np.float32))
    one = network.retrieve(TOY[0])
    assert one.dtype == np.float32 and one.shape == (10,)
    assert network.retrieve(TOY.astype(int)).shape == (2, 10)
    assert isinstance(network.energy(TOY[0]), float) and network.energy(TOY).dtype == np.float64
    assert network.output(TOY[0]).shape == (10,)
    assert network.retrieve(np.zeros((0, 10))).shape == (0, 10)
    end = network.recall(TOY[0], 300, tol=0)
    assert end.status == "fixed point" and end.hidden is None
    assert end.state.dtype == np.float32
    double = ContinuousHopfieldNetwork()
    double.store(TOY)
    np.testing.assert_allclose(double.recall(TOY[0], 300, tol=0).state, end.state, atol=1e-6)


def test_results_ask_the_network_as_it_was() -> None:
    network = ContinuousHopfieldNetwork()
    network.store(TOY[0])
    end = network.recall(TOY[0])
    energy = end.energy
    network.store(TOY[1])
    assert end.energy == energy and end.overlaps.shape == (1,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gain": 0}, "gain is 0"),
        ({"gain": 2.0, "activation": "clip"}, "takes no gain"),
        ({"resistance": -1}, "resistance is -1"),
        ({"capacitance": np.nan}, "capacitance is nan"),
        ({"activation": "sign"}, "activation is 'sign'"),
        ({"coding": "ternary"}, "coding is 'ternary'"),
        ({"scale": "all"}, "scale is 'all'"),
    ],
)
def test_refused_networks(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        ContinuousHopfieldNetwork(**options)


def test_bad_calls() -> None:
    network = ContinuousHopfieldNetwork(resistance=2.0)

    def refused(message: str, call, *args, **options) -> None:
        with pytest.raises(ValueError, match=message):
            call(*args, **options)

    for call in (network.retrieve, network.energy, network.output, network.recall):
        refused("the network is empty: call store", call, np.ones(3))
    refused("the network is empty", network.lyapunov)
    with pytest.raises(ValueError, match="call store"):
        _ = network.patterns
    with pytest.raises(ValueError, match="empty"):
        _ = network.weights
    refused(r"patterns\[0, 1\] is 0", network.store, [1, 0, -1])
    refused("nothing to store", network.store, np.zeros((0, 3)))
    assert len(network) == network.n_features == 0
    network.store(TOY)
    refused("patterns", network.store, np.ones(9))
    refused("dt is 4.*explode from 4 on.*resistance", network.run, TOY, 10, 4.0)
    slow = ContinuousHopfieldNetwork(resistance=2.0, capacitance=3.0).store(TOY)
    refused(
        r"dt is 12.*explode from 12 on.*resistance \* capacitance: 6", slow.run, TOY, 24, 12
    )
    assert slow.run(TOY, 23.8, 11.9).n_steps.max() == 2, "the limit is 2 R C"
    refused("states", network.run, np.ones(9), 1, 0.1)
    refused("states.*NaN", network.run, np.full(10, np.nan), 1, 0.1)
    refused("inputs has 3 rows for 2 states", network.run, TOY, 1, 0.1, inputs=np.ones((3, 10)))
    refused("mode is 'async'", network.lyapunov, "async")
    given = ContinuousHopfieldNetwork.from_weights(np.eye(3))
    refused("made from weights", given.store, np.ones(3))
    make = ContinuousHopfieldNetwork.from_weights
    refused(r"shape \(2, 3\)", make, np.ones((2, 3)))
    refused(r"shape \(1,\)", make, np.ones(1))
    refused("bias", make, np.eye(3), np.ones(2))
    refused(r"it is \(3,\)", make, np.eye(3), np.ones((1, 3)))
    refused("weights.*infinite", make, [[np.inf]])
    refused("no parameter colour", make, np.eye(3), colour=1)
    clip = make(np.eye(3), activation="clip", coding="binary")
    refused(r"states\[0, 2\] is -0.5, outside of \[0, 1\]", clip.run, [0, 1, -0.5], 1, 0.1)
    refused("'euler' alone", clip.run, np.zeros(3), 1, 0.1, method="rk4")
    wild = make(1e200 * np.eye(3), 1e200 * np.ones(3), leak=False)
    refused("no longer finite at t = .*smaller dt", wild.run, np.ones(3), 1e300, 1e299)
    with pytest.raises(TypeError, match="gain must be a number"):
        ContinuousHopfieldNetwork(gain="high")  # type: ignore[arg-type]
