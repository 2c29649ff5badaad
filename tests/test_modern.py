"""Modern Hopfield networks, mean shift, continuous SDM: known numbers, theorems, oracles."""

from __future__ import annotations

import copy
import doctest
import importlib
import math
import pickle

import numpy as np
import pytest

import reference
import reference_continuous as twin
import uhn
from uhn.models import ContinuousSDM, MeanShiftMemory, ModernHopfieldNetwork

Array = np.ndarray

#: Every model of the file with an energy, made for a width and a beta.
MAKERS = {
    "softmax": lambda d, beta: ModernHopfieldNetwork(d, beta),
    "entmax": lambda d, beta: ModernHopfieldNetwork(d, beta, "entmax"),
    "entmax 1.2": lambda d, beta: ModernHopfieldNetwork(d, beta, "entmax", 1.2),
    "sparsemax": lambda d, beta: ModernHopfieldNetwork(d, beta, "sparsemax"),
    "mean shift": lambda d, beta: MeanShiftMemory(d, beta),
    "continuous SDM": lambda d, beta: ContinuousSDM(d, beta),
}
#: Three patterns, two of them near each other.
COS, SIN = math.cos(math.radians(10)), math.sin(math.radians(10))
NEAR = np.array([[1, 0], [COS, SIN], [-1, 0]])
#: Three patterns of which the wrong one is not far.
WIDE = np.array([[1, 0, 0.5], [0, 1, -0.5], [-1, 0.2, 0.3]])
START = np.array([0.9, 0.1, 0.2])
#: Half a unit of the tenth decimal, in which the known numbers are given, and a rounding.
TENTH = 6e-11


def random_case(seed, n=10, d=8, n_states=50, dtype=np.float64):
    rng = np.random.default_rng(seed)
    patterns = rng.standard_normal((n, d)).astype(dtype)
    return patterns, rng.standard_normal((n_states, d)).astype(dtype)


def filled(name, patterns, beta):
    model = MAKERS[name](patterns.shape[1], beta)
    model.store(patterns)
    return model


def ball(rng, n, d, radius):
    """Points drawn from the ball."""
    x = rng.standard_normal((n, d))
    return radius * x / np.linalg.norm(x, axis=1, keepdims=True) * rng.random((n, 1)) ** (1 / d)


# ----------------------------------------------------------------------------- known numbers --


@pytest.mark.parametrize(
    ("beta", "overlap"),
    [
        (0.5, 0.0),
        (0.9, 0.0),
        (1.1, 0.5029405749),
        (1.5, 0.8585596366),
        (2, 0.9575040241),
        (3, 0.9949015285),
        (5, 0.9999091217),
    ],
)
def test_two_opposite_patterns_follow_tanh(beta, overlap) -> None:
    """Patterns +-x: the state is m x with m = tanh(beta m), which is 0 up to beta = 1."""
    x = np.array([0.6, -0.8])
    network = ModernHopfieldNetwork(2, beta)
    network.store([x, -x])
    state = network.recall(0.9 * x, 2000, tol=0).state
    assert state @ x == pytest.approx(overlap, abs=TENTH)
    assert state @ x == pytest.approx(twin.two_pattern_overlap(beta), abs=1e-13)


@pytest.mark.parametrize(
    ("beta", "start", "state", "energy"),
    [
        (0.5, 0, (0.5448253233, 0.0673775363), 0.4062243490),
        (0.5, 2, (0.5448253233, 0.0673775363), 0.4062243490),
        (1, 0, (0.8146147462, 0.0791306515), 0.3316309173),
        (1, 2, (0.8146147462, 0.0791306515), 0.3316309173),
        (2, 0, (0.9722220328, 0.0859580917), 0.2016444132),
        (2, 2, (-0.8922051684, 0.0047652507), 0.5273150470),
        (10, 0, (0.9924038741, 0.0868240887), None),
        (100, 0, (0.9924038765, 0.0868240888), None),
        (500, 0, (0.9999923125, 0.0000878688), None),
        (1000, 0, (0.9999999962, 0.0000000438), None),
    ],
)
def test_three_patterns(beta, start, state, energy) -> None:
    """One fixed point, then two, a mean of two patterns, and at last single patterns."""
    network = ModernHopfieldNetwork(2, beta)
    network.store(NEAR)
    result = network.recall(NEAR[start], 2000, tol=1e-13, trace=True)
    assert result.status == "fixed point"
    np.testing.assert_allclose(result.state, state, rtol=0, atol=TENTH)
    if energy is not None:
        assert result.energy == pytest.approx(energy, abs=TENTH)
    assert (np.diff(result.trace.energies) <= 1e-15).all(), "the energy never rises"


def test_a_pattern_at_rest_has_the_known_weights() -> None:
    network = ModernHopfieldNetwork(2, 500)
    network.store(NEAR)
    weights = network.recall(NEAR[0], tol=1e-13).weights
    np.testing.assert_allclose(weights, (0.9994939839, 0.0005060161, 0), rtol=0, atol=TENTH)


def test_updates_are_slow_near_the_critical_beta() -> None:
    """Two patterns 2 delta apart become two states at beta = 1/delta^2 = 1/sin^2(5 deg)."""
    critical = 1 / math.sin(math.radians(5)) ** 2
    assert critical == pytest.approx(131.65, abs=0.005)
    steps, states = {}, {}
    for share in (0.1, 0.9, 1.1, 2.0):
        network = ModernHopfieldNetwork(2, share * critical)
        network.store(NEAR)
        result = network.recall(NEAR[0], 5000, tol=1e-12)
        steps[share], states[share] = result.n_steps, result.state
    middle = (NEAR[0] + NEAR[1]) / 2
    assert (
        np.abs(states[0.1] - middle).max() < 1e-9 and np.abs(states[0.9] - middle).max() < 1e-9
    )
    along = (NEAR[0] - NEAR[1]) / np.linalg.norm(NEAR[0] - NEAR[1])
    for share in (1.1, 2.0):
        m = (states[share] - middle) @ along / math.sin(math.radians(5))
        assert m == pytest.approx(twin.two_pattern_overlap(share), abs=1e-9)
    assert steps[0.9] > 5 * steps[0.1] and steps[1.1] > 5 * steps[2.0]


def test_known_steps_and_fixed_points() -> None:
    network = ModernHopfieldNetwork(3, 2)
    network.store(WIDE)
    one = network.retrieve(START)
    np.testing.assert_allclose(one, (0.83829031, 0.12102897, 0.37897103), rtol=0, atol=6e-9)
    rest = network.recall(START, 2000, tol=0)
    np.testing.assert_allclose(
        rest.state, (0.87012214, 0.08639218, 0.41360782), rtol=0, atol=6e-9
    )
    energy = network.energy(rest.state, constants=False)
    assert energy == pytest.approx(-0.6649699636, abs=TENTH)
    other = network.recall((-0.08394881, 0.80487024, -0.30487024), 2000, tol=0)
    assert network.energy(other.state, constants=False) == pytest.approx(-0.71158176, abs=6e-9)
    shift = MeanShiftMemory(3, 2)
    shift.store(WIDE)
    np.testing.assert_allclose(
        shift.recall(START, 2000, tol=0).state,
        (0.85985794, 0.08929197, 0.41070803),
        rtol=0,
        atol=6e-9,
    )


@pytest.mark.parametrize(
    ("beta", "radius", "d", "c", "n"),
    [(1, 3, 20, 3.15461077, 7.41), (1, 1, 75, 1.37187777, 10.97)],
)
def test_theorem_3(beta, radius, d, c, n) -> None:
    """The two cases of the paper: c >= 3.1546 and c >= 1.3718."""
    bound = ModernHopfieldNetwork.capacity_bound(d, beta, radius=radius, failure=0.001)
    assert bound == pytest.approx(n, abs=0.005)
    assert (bound / math.sqrt(0.001)) ** (4 / (d - 1)) == pytest.approx(c, abs=6e-9)


def test_theorem_3_says_nothing_below_two_patterns() -> None:
    assert ModernHopfieldNetwork.capacity_bound(5, 1.0, radius=1.0, failure=0.001) == 0


@pytest.mark.oracle
def test_theorem_3_by_scipy() -> None:
    special = pytest.importorskip("scipy.special", reason="SciPy is not installed")
    rng = np.random.default_rng(3)
    told = 0
    for _ in range(300):
        d, beta = int(rng.integers(2, 400)), float(10 ** rng.uniform(-2, 2))
        K, p = float(10 ** rng.uniform(-1, 1)), float(10 ** rng.uniform(-6, -0.1))
        a = 2 / (d - 1) * (1 + math.log(2 * beta * K**2 * p * (d - 1)))
        B = 2 * K**2 * beta / 5
        if a + math.log(B) > 600:
            continue
        c = B / special.lambertw(math.exp(a + math.log(B))).real
        log_n = math.log(p) / 2 + (d - 1) / 4 * math.log(c)
        got = ModernHopfieldNetwork.capacity_bound(d, beta, radius=K, failure=p)
        if abs(log_n - math.log(2)) < 1e-9:
            continue
        told += log_n > math.log(2)
        # An error of a few ulp in c counts (d - 1) / 4 times.
        want = math.exp(log_n) if log_n > math.log(2) else 0
        assert got == pytest.approx(want, rel=1e-14 * (d + 50) + 1e-15 * abs(log_n) * 10)
    assert told > 100


# ---------------------------------------------------------------------------------- the twin --


@pytest.mark.parametrize("name", ["softmax", "entmax", "entmax 1.2", "sparsemax"])
@pytest.mark.parametrize("beta", [0.3, 2.0, 20.0])
def test_updates_and_energies_are_the_twins(name, beta) -> None:
    """n + d + 50 roundings, each at most of the size of all that is added."""
    X, states = random_case([1, int(10 * beta)])
    network = filled(name, X, beta)
    assert name.split()[0] == network.separation
    alpha = network.alpha
    got, energies = network.retrieve(states), network.energy(states)
    bare = network.energy(states, constants=False)
    scores = np.abs(X) @ np.abs(states).T
    e = beta * scores.max() * (8 + 2) * 2**-53
    # Bisection in the twin, and roots of small weights, cost entmax more.
    root = e if name in ("softmax", "sparsemax") else 40 * e + 1e-13
    for v, z, energy, less in zip(states, got, energies, bare, strict=True):
        want = twin.modern_update(X, v, beta, network.separation, alpha)
        size = np.abs(X).max() * len(X)
        np.testing.assert_allclose(z, want, rtol=0, atol=(4 * root + 1e-14) * size)
        scale = (v @ v + scores.max() + (X * X).sum() + 1 / beta) * 2**-53 * (8 + 10 + 50)
        for constants, value in ((True, energy), (False, less)):
            want_e = twin.modern_energy(X, v, beta, network.separation, alpha, constants)
            assert value == pytest.approx(want_e, rel=0, abs=scale * 4)


@pytest.mark.parametrize("beta", [0.3, 2.0, 20.0])
def test_mean_shift_is_the_twin(beta) -> None:
    X, states = random_case([2, int(10 * beta)])
    memory = filled("mean shift", X, beta)
    got, energies = memory.retrieve(states), memory.energy(states)
    for v, z, energy in zip(states, got, energies, strict=True):
        d2 = ((X - v) ** 2).sum(axis=1)
        e = (beta * d2.max() * 12 + 50) * 2**-53
        want = twin.mean_shift_update(X, v, beta)
        np.testing.assert_allclose(z, want, rtol=0, atol=8 * e * np.abs(X).max() * len(X))
        assert energy == pytest.approx(twin.mean_shift_energy(X, v, beta), rel=0, abs=8 * e)


def test_mean_shift_of_one_norm_is_the_modern_network() -> None:
    """-beta |x - v|^2 / 2 is beta x . v less what all share, if all norms are equal."""
    X, states = random_case(3)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    shift, modern = filled("mean shift", X, 4.0), filled("softmax", X, 4.0)
    np.testing.assert_allclose(shift.retrieve(states), modern.retrieve(states), atol=1e-13)
    # |v|^2 / 2 - lse(x . v) + 1/2 is -lse(-|x - v|^2 / 2); the network adds log(n) / beta.
    np.testing.assert_allclose(
        shift.energy(states), modern.energy(states) - math.log(len(X)) / 4.0, atol=1e-13
    )


def test_continuous_sdm_is_softmax_of_cosines() -> None:
    A, queries = random_case(4)
    contents = np.random.default_rng(5).standard_normal((len(A), 3))
    memory = ContinuousSDM(8, 7.0)
    memory.store(A, contents)
    want = reference.retrieve(A, queries, contents, similarity="cosine", beta=7.0)
    np.testing.assert_allclose(memory.retrieve(queries), want, rtol=0, atol=1e-13)
    unit = np.linalg.norm(memory.patterns, axis=1)
    np.testing.assert_allclose(unit, 1, rtol=0, atol=4 * 2**-52)
    # Lengths do not count: powers of two change no bit, whatever their size.
    for scale in (2.0**-500, 2.0**500):
        scaled = ContinuousSDM(8, 7.0)
        scaled.store(A * scale, contents)
        assert np.array_equal(scaled.retrieve(queries / scale), memory.retrieve(queries))
    nothing = memory.retrieve(np.zeros(8))
    np.testing.assert_allclose(nothing, contents.mean(axis=0), rtol=0, atol=1e-15)


def test_a_read_of_many_hard_locations_is_nearly_attention() -> None:
    """Bricken and Pehlevan: the overlap of two Hamming balls falls nearly as exp(-b d).

    With d = n (1 - cos) / 2 that is a softmax of cosines of beta = b n / 2. If logarithms of
    weights are off by at most r, weights are within a factor exp(2 r) after normalisation, and
    contents of +-1 within exp(2 r) - 1.
    """
    n, radius, reach = 64, 24, 10
    shared = np.zeros(reach + 1)
    for d in range(reach + 1):
        for j in range(d + 1):
            for k in range(n - d + 1):
                if j + k <= radius and d - j + k <= radius:
                    shared[d] += math.comb(d, j) * math.comb(n - d, k)
    slope, level = np.polyfit(np.arange(reach + 1), np.log(shared), 1)
    r = np.abs(np.log(shared) - level - slope * np.arange(reach + 1)).max()
    assert r < 0.2, "nearly exponential"
    rng = np.random.default_rng(6)
    centre = rng.choice([-1.0, 1.0], n)
    A = np.repeat(centre[np.newaxis], 12, axis=0)
    for i, row in enumerate(A):
        row[rng.choice(n, i % (reach // 2 + 1), replace=False)] *= -1
    contents = rng.choice([-1.0, 1.0], (12, 5))
    memory = ContinuousSDM(n, -slope * n / 2)
    memory.store(A, contents)
    for query in A:
        w = shared[((n - A @ query) / 2).astype(int)]
        want = w @ contents / w.sum()
        assert np.abs(memory.retrieve(query) - want).max() <= math.exp(2 * r) - 1


# ---------------------------------------------------------------------------------- the laws --


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "continuous SDM"])
def test_an_update_lowers_the_energy_by_its_length(name) -> None:
    """E(v') <= E(v) - |v' - v|^2 / 2, in thousands of cases, and somewhere nearly equal."""
    tightest = np.inf
    for seed in range(30):
        rng = np.random.default_rng([7, seed])
        X, v = random_case([8, seed], n=int(rng.integers(1, 30)), d=int(rng.integers(1, 12)))
        beta = float(10 ** rng.uniform(-2, 2))
        memory = filled(name, X, beta)
        before = memory.energy(v)
        for _ in range(4):
            after = memory.retrieve(v)
            energy = memory.energy(after)
            half = ((after - v) ** 2).sum(axis=1) / 2
            size = 1 + np.abs(before) + np.abs(energy) + half + (X * X).sum() + 1 / beta
            slack = before - half - energy
            # Scores of 12 terms, sums of 30, some 20 roundings of powers and logarithms.
            assert (slack >= -(12 + 30 + 20) * 2.0**-53 * size).all(), (seed, beta)
            tightest = min(tightest, float((slack / np.maximum(half, 1e-12)).min()))
            before, v = energy, after
    assert tightest < 0.1, "the law is idle"
    assert memory.lyapunov() and memory.lyapunov("sync")


def test_directions_only_go_down() -> None:
    """The energy of a continuous SDM that answers with its own addresses never rises."""
    fell = 0
    for seed in range(60):
        rng = np.random.default_rng([9, seed])
        X, v = random_case([10, seed], n=int(rng.integers(1, 30)), d=int(rng.integers(1, 12)))
        v[0] = 0
        memory = filled("continuous SDM", X, float(10 ** rng.uniform(-2, 2)))
        before = memory.energy(v)
        for _ in range(4):
            v = memory.retrieve(v)
            energy = memory.energy(v)
            # Scores up to 1, and roundings as above on both sides.
            noise = 2 * (12 + 30 + 20) * 2.0**-53 * (1 + np.abs(before))
            assert (energy <= before + noise).all()
            fell += int((energy < before - 1e-3).sum())
            before = energy
    assert fell > 1000
    beta = memory.beta
    least = -1 - math.log(len(memory)) / beta
    assert (before >= least - noise).all() and (before <= 1).all()


@pytest.mark.parametrize("name", ["softmax", "entmax", "entmax 1.2", "sparsemax"])
def test_energy_lies_between_zero_and_two_squares(name) -> None:
    """0 <= E <= 2 M^2 in the ball of radius M; both ends are nearly reached."""
    lowest, highest = np.inf, 0.0
    for seed in range(80):
        rng = np.random.default_rng([11, seed])
        n, d = int(rng.integers(1, 20)), int(rng.integers(1, 6))
        X = rng.standard_normal((n, d))
        M = float(np.linalg.norm(X, axis=1).max())
        network = filled(name, X, float(10 ** rng.uniform(-2, 2)))
        assert network.largest_norm == pytest.approx(M, rel=1e-14)
        v = np.concatenate([ball(rng, 30, d, M), X, -X])
        share = network.energy(v) / (2 * M * M)
        # Scores of 6 terms, sums of 20 weights, some 20 roundings more, of numbers up to 2 M^2
        # and 1 / beta.
        rounding = (6 + 20 + 20) * 2.0**-53 * (1 + 1 / network.beta / M**2)
        assert (share >= -rounding).all() and (share <= 1 + rounding).all()
        lowest, highest = min(lowest, float(share.min())), max(highest, float(share.max()))
    assert lowest < 0.01 and highest > 0.99


def test_limits_of_alpha() -> None:
    """alpha = 1 is softmax, bit for bit; alpha = 2 sparsemax."""
    X, v = random_case(12)
    soft, one = filled("softmax", X, 3.0), ModernHopfieldNetwork(8, 3.0, "entmax", 1)
    one.store(X)
    assert np.array_equal(one.retrieve(v), soft.retrieve(v))
    assert np.array_equal(one.energy(v), soft.energy(v))
    sparse, two = filled("sparsemax", X, 3.0), ModernHopfieldNetwork(8, 3.0, "entmax", 2)
    two.store(X)
    np.testing.assert_allclose(two.retrieve(v), sparse.retrieve(v), rtol=0, atol=1e-13)
    np.testing.assert_allclose(two.energy(v), sparse.energy(v), rtol=0, atol=1e-13)


def test_theorems_4_and_5_hold() -> None:
    """Nothing lies beyond its bound in 2000 cases, and bounds do say something."""
    checked = informative = resting = 0
    for seed in range(100):
        rng = np.random.default_rng([13, seed])
        X = rng.standard_normal((10, 20))
        network = filled("softmax", X, 2.0)
        index = rng.integers(0, 10, 20)
        noise = rng.standard_normal((20, 20)) * 10 ** rng.uniform(-4, -0.5, (20, 1))
        states = X[index] + noise
        got = network.error_bounds(states, index)
        M, n, beta = np.linalg.norm(X, axis=1).max(), 10, 2.0
        delta = twin.separations(X)[index]
        update = network.retrieve(states)
        rest = got.fixed_point
        np.testing.assert_allclose(network.retrieve(rest), rest, rtol=0, atol=1e-12)
        r = np.maximum(
            np.linalg.norm(states - X[index], axis=1), np.linalg.norm(rest - X[index], axis=1)
        )
        np.testing.assert_allclose(got.distance, r, rtol=1e-12, atol=1e-15)
        near = np.exp(-beta * (delta - 2 * r * M))
        np.testing.assert_allclose(got.to_pattern, 2 * (n - 1) * M * near, rtol=1e-10)
        np.testing.assert_allclose(
            got.jacobian, 2 * beta * n * M**2 * (n - 1) * near, rtol=1e-10
        )
        away = np.linalg.norm(update - X[index], axis=1)
        to_rest = np.linalg.norm(update - rest, axis=1)
        assert (away <= got.to_pattern + 1e-12).all()
        assert (to_rest <= got.to_fixed_point + 1e-12).all()
        still = np.linalg.norm(rest - X[index], axis=1)
        assert (still <= got.at_rest + 1e-12).all()
        inside = 2 * beta * M * r <= 1
        want = np.where(inside, 2 * math.e * (n - 1) * M * np.exp(-beta * delta), np.inf)
        np.testing.assert_allclose(got.at_rest, want, rtol=1e-10)
        for i in range(0, 20, 5):
            w = reference.separate([X @ states[i]], beta=beta)[0]
            jacobian = beta * X.T @ (np.diag(w) - np.outer(w, w)) @ X
            assert np.linalg.norm(jacobian, 2) <= got.jacobian[i] + 1e-12
        checked += len(states)
        informative += int((got.to_pattern < 2 * M).sum())
        resting += int(np.isfinite(got.at_rest).sum())
    assert checked == 2000 and informative > 500 and resting > 50
    assert np.array_equal(network.error_bounds(X).pattern, np.arange(10)), "the nearest"


def test_well_separated_patterns_have_a_fixed_point_close_by() -> None:
    found = missed = 0
    for seed in range(60):
        rng = np.random.default_rng([14, seed])
        X = rng.standard_normal((8, 12))
        network = filled("softmax", X, float(rng.uniform(0.3, 3)))
        sure = network.well_separated()
        M, beta, n = network.largest_norm, network.beta, len(X)
        least = 2 / (beta * n) + math.log(2 * (n - 1) * n * beta * M * M) / beta
        assert np.array_equal(sure, twin.separations(X) >= least)
        rest = network.recall(X, 2000, tol=0).state
        moved = np.linalg.norm(rest - X, axis=1)
        assert (moved[sure] <= 1 / (beta * n * M)).all()
        found, missed = found + int(sure.sum()), missed + int((~sure).sum())
    assert found > 50 and missed > 50


@pytest.mark.parametrize("name", ["entmax", "entmax 1.2", "sparsemax"])
def test_sparse_maps_retrieve_exactly_within_their_radius(name) -> None:
    """Every bit of the pattern, wherever Delta_i >= margin / beta + 2 M |v - x_i|."""
    exact = 0
    for seed in range(60):
        rng = np.random.default_rng([15, seed])
        X = rng.standard_normal((12, 10))
        network = filled(name, X, float(rng.uniform(0.5, 5)))
        alpha = {"sparsemax": 2}.get(name, network.alpha)
        assert network.margin == pytest.approx(1 / (alpha - 1))
        radius = network.exact_radius()
        M = np.linalg.norm(X, axis=1).max()
        want = (twin.separations(X) - network.margin / network.beta) / (2 * M)
        np.testing.assert_allclose(radius, want, rtol=0, atol=1e-13)
        index = np.flatnonzero(radius > 0)
        if len(index) == 0:
            continue
        way = rng.standard_normal((len(index), 10))
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        states = X[index] + way * radius[index, np.newaxis] * (1 - 1e-9)
        assert np.array_equal(network.retrieve(states), X[index])
        exact += len(index)
    assert exact > 100


def test_the_margin_is_sharp() -> None:
    """Two patterns: below the margin the other one has a say, at it none."""
    for name, alpha in (("entmax", 1.5), ("entmax 1.2", 1.2), ("sparsemax", 2.0)):
        margin = 1 / (alpha - 1)
        for beta, alone in ((margin * 1.0001, True), (margin * 0.999, False)):
            network = filled(name, np.eye(2), beta)  # Delta = 1
            assert (network.retrieve([1.0, 0.0])[1] == 0) is np.bool_(alone)


def test_metastable_states_by_construction() -> None:
    """k equal patterns answer alike: nine tenths of k, rounded up, make nine tenths."""
    n = 64
    by_size = {64: (58, "I"), 40: (36, "I"), 20: (18, "II"), 8: (8, "III"), 3: (3, "III")}
    by_size |= {2: (2, "IV"), 1: (1, "IV")}
    for k, (size, name) in by_size.items():
        X = np.eye(n)
        X[:k] = X[0]
        network = filled("softmax", X, 60.0)
        state = network.recall(X[0]).state
        assert network.metastable(state) == (size, name), k
        w = reference.separate([X @ state], beta=60.0)[0]
        assert twin.metastable(w, 0.9) == (size, name)
        assert network.recall(X[0]).n_effective == pytest.approx(k, rel=1e-9)
    # Half of them, an eighth and a thirty-second are the last of their classes.
    for n in (64, 480):
        for part, name in ((2, "II"), (8, "III"), (32, "IV")):
            for more, wanted in ((0, name), (1, {"II": "I", "III": "II", "IV": "III"}[name])):
                X = np.eye(n)
                X[: n // part + more] = X[0]
                network = filled("softmax", X, 60.0)
                assert network.metastable(X[0], mass=1) == (n // part + more, wanted)
    sizes, classes = network.metastable(X[[30, 31]], mass=0.5)
    assert sizes.tolist() == [1, 1] and classes.tolist() == ["IV", "IV"]
    assert network.metastable(np.zeros((0, 480)))[0].shape == (0,)


def test_metastable_states_are_the_twins() -> None:
    rng = np.random.default_rng(16)
    names = set()
    for beta in (0.05, 0.5, 1, 2, 4, 30):
        X = rng.standard_normal((100, 6))
        network = filled("softmax", X, beta)
        states = rng.standard_normal((30, 6))
        sizes, classes = network.metastable(states)
        for v, size, name in zip(states, sizes, classes, strict=True):
            w = reference.separate([X @ v], beta=beta)[0]
            assert (size, name) == twin.metastable(w, 0.9)
            names.add(str(name))
    assert names == {"I", "II", "III", "IV"}


def test_separations_are_the_twins() -> None:
    rng = np.random.default_rng(17)
    for n in (2, 3, 50):
        # Norms differ, so that some patterns are more like another than like themselves.
        X = rng.standard_normal((n, 4)) * rng.uniform(0.1, 3, (n, 1))
        got = filled("softmax", X, 1.0).separations()
        np.testing.assert_allclose(got, twin.separations(X), rtol=0, atol=1e-13)
    assert (got < 0).any() and (got > 0).any()
    twice = np.concatenate([X, X[:2]])
    assert (filled("softmax", twice, 1.0).separations()[[0, 1, -1]] <= 0).all()
    big = np.eye(1500)[rng.permutation(1500)]
    assert (filled("softmax", big, 1.0).separations() == 1).all(), "more than one block"
    assert filled("softmax", X[:1], 1.0).separations()[0] == np.inf


def test_exact_duplicates_have_no_separation() -> None:
    X = np.random.default_rng(18).standard_normal((7, 33))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    X[5] = X[2]
    deltas = filled("softmax", X, 1.0).separations()
    assert deltas[2] == 0 and deltas[5] == 0 and (np.delete(deltas, [2, 5]) > 0).all()


# -------------------------------------------------------------------------------- attention --


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_update_is_attention_bit_for_bit(dtype) -> None:
    X, q = random_case(19, n=200, d=16, dtype=dtype)
    network = filled("softmax", X, 0.25)
    assert np.array_equal(network.retrieve(q), uhn.attention(q, X, X, beta=0.25))
    values = np.random.default_rng(20).standard_normal((200, 5)).astype(dtype)
    keyed = ModernHopfieldNetwork(16, 0.25)
    keyed.store(X, values)
    assert np.array_equal(keyed.retrieve(q), uhn.attention(q, X, values))  # 1 / sqrt(16)


@pytest.mark.oracle
def test_one_update_is_pytorchs_attention() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    X, q = random_case(21, n=300, d=24)
    network = filled("softmax", X, 24**-0.5)
    want = torch.nn.functional.scaled_dot_product_attention(*map(torch.from_numpy, (q, X, X)))
    np.testing.assert_allclose(network.retrieve(q), want.numpy(), rtol=0, atol=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("alpha", [1.25, 1.5, 2.0])
def test_sparse_updates_are_the_entmax_packages(alpha) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    package = pytest.importorskip("entmax", reason="entmax is not installed")
    X, q = random_case(22, n=30, d=12)
    network = ModernHopfieldNetwork(12, 2.0, "entmax", alpha)
    network.store(X)
    scores = torch.from_numpy(2.0 * q @ X.T)
    w = package.entmax_bisect(scores, alpha=alpha, dim=-1, n_iter=100).numpy()
    np.testing.assert_allclose(network.weights(q), w, rtol=0, atol=1e-9)
    np.testing.assert_allclose(network.retrieve(q), w @ X, rtol=0, atol=1e-8)


@pytest.mark.oracle
def test_energies_are_scipys_log_sum_exp() -> None:
    special = pytest.importorskip("scipy.special", reason="SciPy is not installed")
    X, v = random_case(23, n=40)
    for beta in (0.1, 1.0, 300.0):
        near = {"rtol": 0, "atol": 1e-13 * (1 + 1 / beta)}
        modern = special.logsumexp(beta * v @ X.T, axis=1) / beta
        got = filled("softmax", X, beta).energy(v, constants=False)
        np.testing.assert_allclose(got, (v * v).sum(axis=1) / 2 - modern, **near)
        d2 = ((v[:, np.newaxis] - X) ** 2).sum(axis=2)
        shift = special.logsumexp(-beta * d2 / 2, axis=1) / beta
        np.testing.assert_allclose(filled("mean shift", X, beta).energy(v), -shift, **near)


@pytest.mark.oracle
@pytest.mark.parametrize("width", [0.3, 1.0, 2.5])
def test_mean_shift_energy_is_a_kernel_density(width) -> None:
    """scikit-learn's log density: -beta E - log n - d/2 log(2 pi h^2), beta = 1 / h^2."""
    neighbors = pytest.importorskip("sklearn.neighbors", reason="scikit-learn is not installed")
    X, v = random_case(24, n=60, d=3)
    density = neighbors.KernelDensity(bandwidth=width, kernel="gaussian", rtol=1e-12, atol=0)
    want = density.fit(X).score_samples(v)
    beta = 1 / width**2
    memory = filled("mean shift", X, beta)
    got = -beta * memory.energy(v) - math.log(60) - 1.5 * math.log(2 * math.pi * width**2)
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.oracle
def test_mean_shift_with_values_is_a_kernel_regression() -> None:
    """statsmodels' local constant regression, a column at a time."""
    kernel = pytest.importorskip(
        "statsmodels.nonparametric.kernel_regression", reason="statsmodels is not installed"
    )
    X, v = random_case(25, n=40, d=3, n_states=10)
    values = np.random.default_rng(26).standard_normal((40, 2))
    memory = MeanShiftMemory(3, 1 / 0.8**2)
    memory.store(X, values)
    got = memory.retrieve(v)
    for j in range(2):
        fit = kernel.KernelReg(values[:, j], X, "ccc", reg_type="lc", bw=[0.8] * 3, rng=0)
        fit = fit.fit(v)
        np.testing.assert_allclose(got[:, j], fit[0], rtol=0, atol=1e-12)


# ------------------------------------------------------------------ the house's own promises --


@pytest.mark.parametrize("part", ["modern", "bidirectional", "sequence"])
def test_examples_of_the_docstrings(part) -> None:
    result = doctest.testmod(importlib.import_module(f"uhn.models.{part}"))
    assert result.attempted > 0 and result.failed == 0


@pytest.mark.parametrize("name", list(MAKERS))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_answers_do_not_depend_on_the_batch_or_the_threads(name, dtype) -> None:
    X, v = random_case(27, n=1300, d=37, n_states=19, dtype=dtype)
    before = uhn.get_num_threads()
    try:
        answers = []
        for threads in (1, 2):
            uhn.set_num_threads(threads)
            memory = filled(name, X, 0.3)
            result = memory.recall(v, 4)
            answers.append((memory.retrieve(v), memory.energy(v), result.state, result.energy))
    finally:
        uhn.set_num_threads(before)
    for one, two in zip(*answers, strict=True):
        assert np.array_equal(one, two)
    z, energy, state, last = answers[0]
    assert z.dtype == dtype and state.dtype == dtype and energy.dtype == np.float64
    for i in (0, 7, 18):
        alone = memory.recall(v[i], 4)
        assert np.array_equal(memory.retrieve(v[i]), z[i]) and z[i].ndim == 1
        assert memory.energy(v[i]) == energy[i] and isinstance(memory.energy(v[i]), float)
        assert np.array_equal(alone.state, state[i]) and alone.energy == last[i]
        assert np.array_equal(memory.retrieve(v[i : i + 1])[0], z[i])


@pytest.mark.parametrize("name", list(MAKERS))
def test_storing_piece_by_piece_changes_nothing(name) -> None:
    X, v = random_case(28, n=30)
    whole, pieces = filled(name, X, 2.0), MAKERS[name](8, 2.0)
    assert len(pieces) == 0 and pieces.patterns.shape == (0, 8)
    pieces.store(X[0])
    first = pieces.energy(v)
    pieces.store(X[1:17])
    pieces.store(X[17:])
    assert len(pieces) == pieces.n_patterns == 30
    assert np.array_equal(pieces.retrieve(v), whole.retrieve(v))
    assert np.array_equal(pieces.energy(v), whole.energy(v))
    assert not np.array_equal(first, pieces.energy(v))
    if name != "continuous SDM":
        assert np.array_equal(whole.patterns, X)
    assert np.array_equal(whole.values, whole.patterns)


@pytest.mark.parametrize("name", list(MAKERS))
def test_pickles_copies_and_configurations(name) -> None:
    X, v = random_case(29)
    memory = filled(name, X, 2.0)
    want = memory.retrieve(v), memory.energy(v)
    for other in (pickle.loads(pickle.dumps(memory)), copy.copy(memory), copy.deepcopy(memory)):
        assert np.array_equal(other.retrieve(v), want[0])
        assert np.array_equal(other.energy(v), want[1])
        other.store(3 * X)
        assert len(other) == 20 and len(memory) == 10
        assert not np.array_equal(other.energy(v), want[1])
        assert np.array_equal(memory.energy(v), want[1])
    config = memory.get_config()
    empty = type(memory).from_config(config)
    assert empty.get_config() == config and len(empty) == 0
    assert repr(empty) == repr(memory) and "beta=2.0" in repr(memory)
    with pytest.raises(ValueError, match="no parameter gamma"):
        type(memory).from_config(config | {"gamma": 1})


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_recall_tells_what_happened(name) -> None:
    X, v = random_case(30, n_states=9)
    memory = filled(name, X, 1.0)
    result = memory.recall(v, 500, trace=True)
    assert result.status.tolist() == ["fixed point"] * 9 and result.converged.all()
    assert np.array_equal(result.energy, memory.energy(result.state))
    assert np.array_equal(result.trace.states[0], v)
    assert np.array_equal(result.trace.states[-1], result.state)
    assert np.array_equal(result.trace.energies[0], memory.energy(v))
    assert np.array_equal(result.trace.energies[-1], result.energy)
    np.testing.assert_array_equal(result.trace.overlaps[-1], result.overlaps)
    np.testing.assert_allclose(result.weights.sum(axis=1), 1, rtol=0, atol=1e-14)
    np.testing.assert_allclose(
        result.weights @ memory.patterns, result.state, rtol=0, atol=1e-13
    )
    np.testing.assert_array_equal(memory.retrieve(v, 500, tol=1e-6), result.state)
    # The recall keeps the memory as it was.
    energies = result.energy
    memory.store(5 * X)
    assert np.array_equal(result.energy, energies) and result.overlaps.shape == (9, 10)
    assert np.array_equal(memory.retrieve(v, 2), memory.retrieve(memory.retrieve(v)))
    assert np.array_equal(memory.recall(v, 2, tol=None).state, memory.retrieve(v, 2))


def test_values_take_the_energy_away() -> None:
    X, v = random_case(31)
    values = np.random.default_rng(32).standard_normal((10, 3))
    for make in MAKERS.values():
        memory = make(8, 2.0)
        memory.store(X, values)
        assert memory.retrieve(v).shape == (50, 3) and np.array_equal(memory.values, values)
        assert not memory.lyapunov()
        with pytest.raises(ValueError, match="values are not the patterns"):
            memory.energy(v)
        once = memory.recall(v, 1)
        assert np.array_equal(once.state, memory.retrieve(v))
        with pytest.raises(ValueError, match="values"):
            memory.recall(v)
        with pytest.raises(ValueError, match="values"):
            memory.store(X)
    swap = ContinuousSDM(2, 100.0)
    swap.store(np.eye(2), np.eye(2)[::-1])
    for steps in range(6):
        answer = swap.retrieve([1.0, 0.0], steps)
        np.testing.assert_allclose(answer, np.eye(2)[steps % 2], atol=1e-12)
    assert swap.recall([1.0, 0.0]).status == "2-cycle" and not swap.lyapunov()
    wide = ContinuousSDM(8, 2.0)
    wide.store(X, np.roll(X, 1, axis=0))
    assert wide.recall(v, 5, trace=True).trace.energies is None


@pytest.mark.parametrize("name", list(MAKERS))
def test_bad_input_is_refused_with_a_reason(name) -> None:
    X, v = random_case(33)
    memory = MAKERS[name](8, 2.0)
    for ask in (memory.retrieve, memory.recall, memory.energy, memory.weights):
        with pytest.raises(ValueError, match="empty"):
            ask(v)
    memory.store(X)
    for ask in (memory.retrieve, memory.recall, memory.energy, memory.weights):
        with pytest.raises(ValueError, match=r"states.*\(2, 3\)"):
            ask(np.ones((2, 3)))
        with pytest.raises(ValueError, match=r"states\[1, 2\]"):
            ask(np.where(np.arange(16).reshape(2, 8) == 10, np.nan, 1))
        with pytest.raises(TypeError, match="states"):
            ask(["a"] * 8)
    with pytest.raises(ValueError, match="patterns"):
        memory.store(np.ones((2, 3)))
    with pytest.raises(ValueError, match="patterns"):
        memory.store(np.full((2, 8), np.inf))
    with pytest.raises(ValueError, match="mode"):
        memory.lyapunov("async")
    with pytest.raises(ValueError, match="n_steps"):
        memory.retrieve(v, -1)
    for ask in (memory.retrieve, memory.recall):
        for n_steps in (1, 5):
            for tol in (-1, np.nan, np.inf):
                with pytest.raises(ValueError, match="tol must be finite and >= 0"):
                    ask(v, n_steps, tol=tol)
            for tol in (True, "1"):
                with pytest.raises(TypeError, match="tol must be a number"):
                    ask(v, n_steps, tol=tol)
    assert len(memory) == 10
    for beta in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="beta"):
            MAKERS[name](8, beta)
    with pytest.raises(TypeError, match="beta"):
        MAKERS[name](8, "1")
    with pytest.raises(ValueError, match="n_features"):
        MAKERS[name](0, 1)


def test_what_one_model_refuses() -> None:
    with pytest.raises(ValueError, match=r"softmax.*entmax.*sparsemax"):
        ModernHopfieldNetwork(3, separation="max")
    with pytest.raises(ValueError, match="alpha"):
        ModernHopfieldNetwork(3, separation="softmax", alpha=2)
    with pytest.raises(ValueError, match="alpha"):
        ModernHopfieldNetwork(3, separation="entmax", alpha=0.5)
    empty = ModernHopfieldNetwork(3)
    for ask in (empty.separations, empty.exact_radius, empty.well_separated):
        with pytest.raises(ValueError, match="empty"):
            ask()
    sparse = ModernHopfieldNetwork(3, separation="sparsemax")
    sparse.store(np.eye(3))
    with pytest.raises(TypeError, match="mass must be a number"):
        sparse.metastable(np.eye(3), mass="most")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="softmax"):
        sparse.error_bounds(np.eye(3))
    with pytest.raises(ValueError, match="softmax"):
        sparse.well_separated()
    empty.store(np.eye(3))
    assert (empty.exact_radius() == -np.inf).all() and empty.margin == np.inf
    with pytest.raises(ValueError, match="pattern"):
        empty.error_bounds(np.eye(3), [0, 1, 3])
    with pytest.raises(ValueError, match="pattern"):
        empty.error_bounds(np.eye(3), [0, 1])
    with pytest.raises(ValueError, match="mass"):
        empty.metastable(np.eye(3), mass=0)
    for keywords in ({"failure": 1}, {"failure": 0}, {"radius": -1}):
        with pytest.raises(ValueError, match=next(iter(keywords))):
            ModernHopfieldNetwork.capacity_bound(10, **keywords)
    with pytest.raises(ValueError, match=r"patterns\[1\] is all zeros"):
        ContinuousSDM(3).store([[1, 0, 0], [0, 0, 0]])


def test_one_pattern_alone() -> None:
    network = filled("softmax", np.array([[3.0, 4.0]]), 2.0)
    assert np.array_equal(network.retrieve([0.0, 0.0]), [3, 4])
    assert network.energy([3.0, 4.0]) == pytest.approx(0, abs=1e-14)
    assert network.well_separated().all() and network.metastable([1.0, 1.0]) == (1, "I")
    bounds = network.error_bounds([[3.0, 4.5]])
    assert bounds.to_pattern[0] == 0 and bounds.fixed_point.tolist() == [[3, 4]]
