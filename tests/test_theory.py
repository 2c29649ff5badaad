"""Theory: printed numbers, outside oracles, limits, and small simulations within their errors.

Numbers without a source are those of the literature named in `uhn.theory`, to the digits in
which they are printed. Special functions and roots are checked against SciPy and mpmath.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import reference_continuous
import reference_dense
import reference_sdm as reference
from uhn import theory

KANERVA = {"n_features": 1000, "n_locations": 10**6, "radius": 451, "n_patterns": 10**4}


def printed(text: str) -> Any:
    """A number equal to within half a unit of the last digit printed."""
    mantissa = text.lower().split("e")[0]
    decimals = len(mantissa.split(".")[1]) if "." in mantissa else 0
    exponent = int(text.lower().split("e")[1]) if "e" in text.lower() else 0
    return pytest.approx(float(text), rel=0, abs=0.5000001 * 10.0 ** (exponent - decimals))


# -------------------------------------------------------------------------------- mean field --


def test_the_critical_load_of_retrieval() -> None:
    """alpha_c, m_c, the fraction of wrong bits, and alpha_1."""
    critical = theory.ags_critical()
    assert critical.load == pytest.approx(0.13790556649493174, rel=1e-15)
    assert critical.y == pytest.approx(1.5112185, abs=1e-7)
    assert critical.overlap == pytest.approx(0.96741711, abs=1e-8)
    assert (1 - critical.overlap) / 2 == printed("0.0162914")
    assert critical.ground_load == printed("0.0518543")


@pytest.mark.oracle
def test_the_critical_load_to_all_digits() -> None:
    """The maximum of the one-variable form, with 40 digits; y and m are exact too."""
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(40):

        def root(y: Any) -> Any:
            return mpmath.erf(y) / y - 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-y * y)

        y = mpmath.findroot(lambda y: mpmath.diff(root, y), 1.5)
        critical = theory.ags_critical()
        assert abs(critical.y - y) < 1e-14
        assert abs(critical.load - root(y) ** 2 / 2) < 1e-16
        assert abs(critical.overlap - mpmath.erf(y)) < 1e-14


@pytest.mark.oracle
def test_the_critical_load_of_two_layers_to_all_digits() -> None:
    """The same for the equations of the bidirectional memory, from m, C and r as they stand."""
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(40):

        def load(y: Any) -> Any:
            m = mpmath.erf(y)
            c = 2 * y / mpmath.sqrt(mpmath.pi) * mpmath.exp(-y * y) / m
            r = (1 + c**2) / (1 - c**2) ** 2
            return m**2 / (2 * y**2 * r)

        y = mpmath.findroot(lambda y: mpmath.diff(load, y), 1.3)
        critical = theory.bam_critical()
        assert abs(critical.y - y) < 1e-14
        assert abs(critical.load - load(y)) < 1e-16
        assert abs(critical.overlap - mpmath.erf(y)) < 1e-14
    assert critical.load == printed("0.19980")
    assert critical.overlap == printed("0.9328")
    assert math.isnan(critical.ground_load)


@pytest.mark.parametrize(
    ("load", "overlap", "bit_error", "susceptibility", "noise"),
    [
        (0.05, ".99999223", "3.886e-6", ".00016", "1.00033"),
        (0.06, ".99995478", "2.261e-5", ".00079", "1.00159"),
        (0.08, ".99955738", "2.213e-4", ".00586", "1.01181"),
        (0.10, ".99799927", "1.000e-3", ".02086", "1.04306"),
        (0.11, ".99626439", "1.868e-3", ".03468", "1.07315"),
        (0.12, ".99322273", "3.389e-3", ".05566", "1.12136"),
        (0.13, ".98721189", "6.394e-3", ".09073", "1.20952"),
        (0.135, ".98079132", "9.604e-3", ".12285", "1.29971"),
    ],
)
def test_the_table_of_the_mean_field(
    load: float, overlap: str, bit_error: str, susceptibility: str, noise: str
) -> None:
    """m, the fraction of wrong bits, C and r over the load."""
    state = theory.ags_solution(load)
    assert state.overlap == printed(overlap)
    assert state.bit_error == printed(bit_error)
    assert state.susceptibility == printed(susceptibility)
    assert state.noise == printed(noise)
    assert theory.ags_overlap(load) == state.overlap
    assert theory.ags_bit_error(load) == state.bit_error


def test_energies_of_the_mean_field() -> None:
    """Per unit, for E without self-energy; at alpha_1 the spin glass is as low."""
    assert theory.ags_energy([0.05, 0.1]) == pytest.approx([-0.5000004, -0.5001542], abs=0.5e-7)
    # Printed for a load of .13786, which has its own last digit.
    low, high = theory.ags_energy([0.137865, 0.137855])
    assert low < -0.5014408 < high
    ground = theory.ags_critical().ground_load
    assert theory.ags_energy(ground) == pytest.approx(
        theory.ags_spin_glass_energy(ground), abs=1e-15
    )
    assert theory.ags_energy(0.9 * ground) < theory.ags_spin_glass_energy(0.9 * ground)
    assert theory.ags_energy(1.1 * ground) > theory.ags_spin_glass_energy(1.1 * ground)


@pytest.mark.parametrize("load", [1e-3, 0.02, 0.07, 0.1, 0.125, 0.137, 0.1379])
def test_the_three_equations_hold(load: float) -> None:
    """m, C and r put back into the equations they solve."""
    m, bit_error, c, r, energy = theory.ags_solution(load)
    assert m == pytest.approx(math.erf(m / math.sqrt(2 * load * r)), abs=1e-12)
    assert c == pytest.approx(
        math.sqrt(2 / (math.pi * load * r)) * math.exp(-(m**2) / (2 * load * r)), abs=1e-12
    )
    assert r == pytest.approx((1 - c) ** -2, rel=1e-12)
    assert bit_error == pytest.approx((1 - m) / 2, abs=1e-16)
    assert energy == pytest.approx(-(m**2) / 2 + load * (1 - r) / 2, abs=1e-15)


@pytest.mark.parametrize("load", [0.02, 0.05, 0.1, 0.15, 0.19, 0.199])
def test_two_layers_by_iterating_their_equations(load: float) -> None:
    """From m = 1 the equations come down to the retrieval state."""
    m, r = 1.0, 1.0
    for _ in range(3000):
        m = math.erf(m / math.sqrt(2 * load * r))
        c = math.sqrt(2 / (math.pi * load * r)) * math.exp(-(m**2) / (2 * load * r))
        r = (1 + c * c) / (1 - c * c) ** 2
    assert theory.bam_overlap(load) == pytest.approx(m, abs=1e-12)


def test_below_and_above_the_critical_load() -> None:
    """No load, a load that is too large, and the point between; nothing is NaN."""
    assert theory.ags_solution(0.0) == (1.0, 0.0, 0.0, 1.0, -0.5)
    alpha_c = theory.ags_critical().load
    assert theory.ags_overlap(alpha_c) == pytest.approx(0.96741711, abs=1e-8)
    assert theory.ags_overlap(np.nextafter(alpha_c, 1)) == 0
    loads = np.array([0.14, 0.3, 2.0, 50.0])
    glass = theory.ags_solution(loads)
    assert (glass.overlap == 0).all() and (glass.bit_error == 0.5).all()
    assert glass.energy == pytest.approx(theory.ags_spin_glass_energy(loads), rel=1e-12)
    assert glass.noise == pytest.approx((1 - glass.susceptibility) ** -2.0, rel=1e-9)
    assert theory.bam_overlap([0.0, 0.1998, 0.1999]) == pytest.approx(
        [1.0, 0.9333, 0], abs=1e-3
    )
    loads = np.linspace(0, alpha_c, 200)
    assert (np.diff(theory.ags_overlap(loads)) <= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.08, 0.10, 0.12, 0.2])
def test_a_network_of_1000_units(load: float) -> None:
    """Hebbian weights, asynchronous sweeps from 40 of the patterns until nothing changes.

    At this size the transition is smeared: of 40 patterns none or one escapes up to a load of
    0.12; the overlap of the others is within four standard errors of the theory. At 0.2 the
    mean is below 0.6 by as many. The first step's errors are within four standard errors over
    the patterns of the Gaussian tail.
    """
    n, rng = 1000, np.random.default_rng(2)
    xi = rng.choice(np.array([-1.0, 1.0]), (round(load * n), n))
    w = xi.T @ xi / n
    np.fill_diagonal(w, 0)
    start = xi[:40]
    wrong = (start * (start @ w) < 0).mean(axis=1)
    error = wrong.std() / math.sqrt(len(wrong))
    assert wrong.mean() == pytest.approx(theory.hopfield_bit_error(load), abs=4 * error)
    s = start.copy()
    for _ in range(100):
        before = s.copy()
        for i in rng.permutation(n):
            h = s @ w[:, i]
            s[:, i] = np.where(h == 0, s[:, i], np.sign(h))
        if (s == before).all():
            break
    m = (s * start).sum(axis=1) / n
    if load <= 0.12:
        assert (m > 0.9).sum() >= 39
        m = m[m > 0.9]
        error = m.std(ddof=1) / math.sqrt(len(m))
        assert 4 * error < 0.01, "the test can tell"
        assert m.mean() == pytest.approx(theory.ags_overlap(load), abs=4 * error)
    else:
        assert m.mean() + 4 * m.std(ddof=1) / math.sqrt(len(m)) < 0.6
        assert theory.ags_overlap(load) == 0


def test_overlap_with_temperature() -> None:
    """The largest root of m = tanh(m / T), printed values and the equation itself."""
    beta = np.array([0.5, 1.0, 1.1, 1.5, 2.0, 3.0, 5.0])
    wanted = [0, 0, 0.5029405749, 0.8585596366, 0.9575040241, 0.9949015285, 0.9999091217]
    assert theory.tanh_overlap(1 / beta) == pytest.approx(wanted, abs=0.5e-10)
    assert theory.tanh_overlap(0.0) == 1
    for t in (0.01, 0.3, 0.9, 0.99, 0.9999, 1 - 1e-9):
        m = theory.tanh_overlap(t)
        assert 0 < m <= 1
        assert math.tanh(m / t) == pytest.approx(m, rel=1e-12)
        assert m * m == pytest.approx(3 * (1 - t), rel=3 * (1 - t) + 1e-6) or t < 0.9


# ---------------------------------------------------------------------------------- counting --


def test_the_table_of_one_step() -> None:
    """The load at which a given fraction of bits is wrong after one step, and the converse."""
    errors = [0.001, 0.0036, 0.005, 0.01, 0.05, 0.1]
    loads = [0.104717, 0.138458, 0.150718, 0.184778, 0.369612, 0.608875]
    assert theory.hopfield_load(errors) == pytest.approx(loads, abs=0.5e-6)
    assert theory.hopfield_bit_error(theory.hopfield_load(errors)) == pytest.approx(
        errors, rel=1e-12
    )
    for load, text in [
        (0.05, "3.872e-6"),
        (0.10, "7.827e-4"),
        (0.138, ".003552"),
        (0.15, ".004912"),
        (0.2, ".012674"),
        (0.25, ".022750"),
        (0.5, ".078650"),
        (1.0, ".158655"),
    ]:
        assert theory.hopfield_bit_error(load) == printed(text)
    assert theory.hopfield_bit_error(0) == 0


def test_capacities_of_the_classical_network() -> None:
    """N / (2 ln N), N / (4 ln N), with basins, Storkey's, and sparse patterns."""
    n = np.array([100, 500, 1000])
    one = theory.hopfield_capacity(n)
    assert one == pytest.approx(n / (2 * np.log(n)), rel=1e-15)
    assert theory.hopfield_capacity(n, "all") == pytest.approx(one / 2, rel=1e-15)
    assert theory.hopfield_capacity(n, noise=0.25) == pytest.approx(one / 4, rel=1e-15)
    rho = np.array([[0.0], [0.1]])
    assert theory.hopfield_capacity(n, noise=rho) == pytest.approx((1 - 2 * rho) ** 2 * one)
    assert np.round(theory.storkey_capacity(n)).tolist() == [33, 142, 269]
    assert theory.sparse_capacity(0.01) == pytest.approx(1 / (0.02 * math.log(100)), rel=1e-14)


def test_units_of_zero_and_one() -> None:
    """Hopfield's own coding: the error of a bit, and of any of 100."""
    errors = theory.binary_bit_error(100, [5, 10, 15])
    assert errors[0] == printed("2.03e-4")
    assert errors[1] == printed("0.00921")
    assert errors[2] == printed("0.0294")
    assert (1 - errors[1]) ** 100 == printed("0.40")
    assert 100 * errors[1] == printed("0.92")
    assert theory.binary_bit_error(100, 1) == 0


def test_mixtures() -> None:
    """Overlaps, energies, and how many there are."""
    n = np.array([1, 3, 5, 7, 9])
    assert theory.mixture_overlap(n).tolist() == [1, 1 / 2, 3 / 8, 5 / 16, 35 / 128]
    energies = [-0.5, -0.375, -0.3515625, -0.341797, -0.336456]
    assert theory.mixture_energy(n) == pytest.approx(energies, abs=0.5e-6)
    assert theory.mixture_count([3, 5], 10).tolist() == [8 * 120, 32 * 252]
    odd = theory.mixture_count(np.arange(1, 10, 2), 9).sum()
    assert odd == (3**9 + 1) / 2, "all with an odd number of signs other than 0"


@pytest.mark.parametrize("n", [1, 3, 5, 7, 9])
def test_the_overlap_of_a_mixture_by_listing_every_column(n: int) -> None:
    """Each of the 2^n columns of n random patterns is as likely as any other."""
    columns = np.array(list(itertools.product((1, -1), repeat=n)))
    mixture = np.sign(columns.sum(axis=1))
    assert (mixture[:, None] * columns).mean(axis=0) == pytest.approx(
        theory.mixture_overlap(n), abs=1e-15
    )


# ------------------------------------------------------------------------------------- dense --


@pytest.mark.parametrize(
    ("bit_error", "values"),
    [
        (0.005, [".150718", ".0502394", ".0100479", ".00143541", "1.5949e-4", "4.374e-9"]),
        (0.0036, [".138458", ".0461528", ".00923056", ".00131865", "1.4652e-4", "4.018e-9"]),
        (0.001, [".104717", ".0349057", ".00698114", "9.973e-4", "1.108e-4", "3.04e-9"]),
    ],
)
def test_the_table_of_alpha_n(bit_error: float, values: list[str]) -> None:
    """alpha_n for n = 2 ... 6 and 10 at three error rates."""
    for degree, text in zip([2, 3, 4, 5, 6, 10], values, strict=True):
        alpha = theory.dam_alpha(degree, bit_error)
        assert alpha == printed(text)
        assert theory.dam_alpha(degree, bit_error, rectified=True) == 2 * alpha
        capacity = theory.dam_capacity(60, degree, bit_error)
        assert capacity == pytest.approx(alpha * 60.0 ** (degree - 1), rel=1e-14)


def test_dense_capacity_and_error_are_inverse() -> None:
    """The capacity at an error has that error; n = 2 is the classical network."""
    for degree, rectified in itertools.product([2, 3, 4, 7], [False, True]):
        # A signal of twice (rectified, four times) the variance of the noise.
        k = 100 ** (degree - 1) // (2 * reference_dense.double_factorial(2 * degree - 3))
        p = theory.dam_bit_error(100, k, degree, rectified=rectified)
        assert 0.02 < p < 0.08
        # Two tails and a quantile, each of a relative error of some ulp; d ln k / d ln p is
        # below 1 here.
        found = theory.dam_capacity(100, degree, p, rectified=rectified)
        assert found == pytest.approx(k, rel=1e-13)
    assert theory.dam_bit_error(200, 30, 2) == pytest.approx(
        theory.hopfield_bit_error(0.15), rel=1e-14
    )
    assert theory.dam_alpha(2, 0.01) == pytest.approx(theory.hopfield_load(0.01), rel=1e-14)
    assert theory.dam_bit_error(100, 5000, 3, rectified=True) == theory.dam_bit_error(
        100, 2500, 3
    )
    for which in ("one", "all"):
        assert theory.dam_error_free_capacity(500, 2, which) == pytest.approx(
            theory.hopfield_capacity(500, which), rel=1e-14
        )
    one = theory.dam_error_free_capacity(100, [3, 4])
    assert one == pytest.approx(
        [100**2 / (6 * math.log(100)), 100**3 / (30 * math.log(100))], rel=1e-14
    )
    assert theory.dam_error_free_capacity(100, [3, 4], "all") == pytest.approx(one / [3, 4])
    assert theory.dam_error_free_capacity(100, 3, rectified=True) == 2 * one[0]
    assert theory.dam_capacity(10**6, 80) == math.inf, "1e474 / 157!! is about 1e334"


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize(("degree", "n_patterns"), [(2, 20), (3, 800)])
def test_one_step_of_a_dense_memory(degree: int, n_patterns: int, rectified: bool) -> None:
    """The error after one step, simulated at N = 100 with p of a few per cent.

    The tolerance is four standard errors of the trials (one a pattern: its units share the
    other patterns), around the exact law at this size. The Gaussian tail is its limit: here
    they are a fifth apart, and ever less as N grows (tests/test_dense.py).
    """
    n, n_runs = 100, 6 if degree == 3 else 60
    rng = np.random.default_rng(5)
    rates = []
    for _ in range(n_runs):
        xi = rng.choice(np.array([-1.0, 1.0]), (n_patterns, n))
        for mu in range(0, n_patterns, max(1, n_patterns // 20)):
            s = xi[mu]
            overlap = xi @ s
            rest = overlap[:, None] - xi * s
            plus, minus = rest + xi, rest - xi
            if rectified:
                plus, minus = np.maximum(plus, 0), np.maximum(minus, 0)
            field = (plus**degree - minus**degree).sum(axis=0)
            rates.append((field * s < 0).mean())
    p = theory.dam_bit_error(n, n_patterns, degree, rectified=rectified)
    error = np.std(rates, ddof=1) / math.sqrt(len(rates))
    exact = reference_dense.exact_one_step_error(n, n_patterns, degree, rectified)
    assert np.mean(rates) == pytest.approx(exact, abs=4 * error)
    assert p == pytest.approx(exact, rel=0.21)
    other = theory.dam_bit_error(n, n_patterns, degree, rectified=not rectified)
    assert abs(np.mean(rates) - other) > 4 * error + abs(p - exact), "the factor of two is seen"


def test_exponential_memory() -> None:
    """ln(2) / 2 for all patterns, 0.674997 for one, and the loss by damaged cues."""
    assert theory.exponential_rate() == pytest.approx(math.log(2) / 2, rel=1e-15)
    assert theory.exponential_rate(which="typical") == printed("0.674997")
    assert theory.exponential_rate(0.5) == 0
    rho = np.array([0.1, 0.3])
    a = 1 - 2 * rho
    entropy = ((1 + a) * np.log(1 + a) + (1 - a) * np.log(1 - a)) / 2
    assert theory.exponential_rate(rho) == pytest.approx(entropy / 2, rel=1e-13)
    assert theory.exponential_capacity([10, 20]) == pytest.approx([2**5, 2**10], rel=1e-12)
    assert theory.exponential_capacity(100, [0.5, 0.0]).tolist()[0] == 1
    assert theory.exponential_capacity(10**5) == math.inf


# --------------------------------------------------------------------------------- sequences --


def test_sequences() -> None:
    """Capacities at N = 100, the base of the exponential, errors, and both terms together."""
    transition = theory.sequence_capacity(100, [1, 2, 3])
    whole = theory.sequence_capacity(100, [1, 2, 3], "whole")
    for value, text in zip(transition, ["10.86", "361.9", "7238"], strict=True):
        assert value == printed(text)
    for value, text in zip(whole, ["5.43", "120.6", "1810"], strict=True):
        assert value == printed(text)
    b = 1.964027580
    assert theory.sequence_capacity(20, None) == pytest.approx(
        b**19 / (2 * math.log(20)), rel=1e-8
    )
    assert theory.sequence_capacity(20, None, "whole") == pytest.approx(
        b**20 / (2 * math.log(b) * 20), rel=1e-8
    )
    assert theory.sequence_bit_error(100, 20, 1) == pytest.approx(
        theory.hopfield_bit_error(0.2), rel=1e-14
    )
    assert theory.sequence_bit_error(100, 500, 2) == pytest.approx(
        0.5 * math.erfc(math.sqrt(100**2 / (2 * 500 * 3))), rel=1e-14
    )
    ln = math.log(100)
    for lam, d_s, d_a, gamma in [
        (2.5, 1, 1, 2.5**2 + 1),
        (2.5, 2, 2, (2.5**2 + 1) * 3 + 2 * 2.5 * 1),
        (2.5, 4, 4, (2.5**2 + 1) * 105 + 2 * 2.5 * 9),
        (2.5, 3, 3, (2.5**2 + 1) * 15),
        (3.0, 1, 2, 1),
        (3.0, 3, 2, 9 * 3),
    ]:
        assert theory.mixed_sequence_capacity(100, lam, d_s, d_a) == pytest.approx(
            (lam - 1) ** 2 / (2 * gamma) * 100.0 ** min(d_s, d_a) / ln, rel=1e-13
        )


@pytest.mark.parametrize(("degree", "length"), [(1, 25), (2, 700)])
def test_one_transition_of_a_sequence(degree: int, length: int) -> None:
    """The error of one transition, simulated at N = 100, as for the dense memory."""
    n = 100
    rng = np.random.default_rng(9)
    rates = []
    for _ in range(40 if degree == 1 else 6):
        xi = rng.choice(np.array([-1.0, 1.0]), (length, n))
        for mu in range(0, length - 1, max(1, length // 20)):
            rest = (xi @ xi[mu])[:, None] - xi * xi[mu]
            field = (np.roll(xi, -1, axis=0) * (rest / (n - 1)) ** degree).sum(axis=0)
            rates.append((field * xi[mu + 1] < 0).mean())
    p = theory.sequence_bit_error(n, length, degree)
    error = np.std(rates, ddof=1) / math.sqrt(len(rates))
    exact = reference_continuous.exact_transition_error(n, length, degree)
    assert np.mean(rates) == pytest.approx(exact, abs=4 * error)
    # The Gaussian tail is the limit (tests/test_sequence.py): here they are a tenth apart.
    assert p == pytest.approx(exact, rel=0.1)


# --------------------------------------------------------------------------------------- sdm --


def test_activations_of_the_standard_case() -> None:
    """p(r) of 1000 bits around Kanerva's radius."""
    for radius, text in [
        (447, "4.4499298e-4"),
        (448, "5.5752459e-4"),
        (449, "6.9587080e-4"),
        (450, "8.6526804e-4"),
        (451, "1.07185005e-3"),
        (452, "1.32276492e-3"),
    ]:
        assert theory.sdm_activation(1000, radius) == printed(text)
        assert theory.sdm_activation(1000, radius) == float(reference.activation(1000, radius))
    assert theory.sdm_activation(1000, 451) == pytest.approx(0.00107185004892366, rel=1e-14)
    # What a simulation of the full size measured: a mean and a spread near that of Poisson.
    assert theory.sdm_weight(0, **_locations()) == printed("1071.85")
    assert math.sqrt(theory.sdm_weight(0, **_locations())) == pytest.approx(32.98, rel=0.02)


def _locations() -> dict[str, int]:
    return {name: KANERVA[name] for name in ("n_features", "n_locations", "radius")}


def test_weights_of_the_standard_case() -> None:
    """phi(d), the number of locations that two addresses share."""
    distances = [0, 50, 100, 150, 180, 200, 209, 220, 250, 300]
    values = [1071.85, 476.87, 285.83, 173.63, 127.72, 103.46, 92.91, 83.31, 59.39, 32.32]
    assert theory.sdm_weight(distances, **_locations()) == pytest.approx(values, abs=0.005)
    half = theory.sdm_weight([100, 100.5, 101], **_locations())
    assert half[1] == pytest.approx((half[0] + half[2]) / 2, rel=1e-15) and half[0] > half[2]


def test_noise_of_the_standard_case() -> None:
    """E[o] = H p^2, E[o^2] and the number it would be without correlation."""
    p, h, t = theory.sdm_activation(1000, 451), 10**6, 10**4
    mean = h * p * p
    assert mean == printed("1.1488625274")
    square = theory.sdm_noise(**KANERVA) ** 2 / (t - 1)
    assert square == printed("2.641861")
    assert mean + mean**2 == printed("2.469")
    chance = [math.comb(1000, d) / 2**1000 for d in range(1001)]
    weights = theory.sdm_weight(np.arange(1001), **_locations())
    assert (chance * weights).sum() == pytest.approx(mean, rel=1e-12)
    assert mean == pytest.approx(1.1488625274, rel=1e-9)
    assert square == pytest.approx(2.641861, rel=1e-6)
    assert (chance * (weights + weights**2)).sum() == pytest.approx(square, rel=1e-12)
    share = 1 - 2 * np.arange(1001) / 1000
    assert theory.sdm_bias(**KANERVA) == pytest.approx(
        (t - 1) * (chance * weights * share).sum(), rel=1e-12
    )


def test_critical_distances_of_the_standard_case() -> None:
    """154 where words are not addresses, 235 where they are: a read leaves as many wrong."""
    assert theory.sdm_critical_distance(**KANERVA, kind="hetero") == printed("154.398")
    assert theory.sdm_critical_distance(**KANERVA) == printed("234.543")
    for kind in ("hetero", "auto"):
        critical = theory.sdm_critical_distance(**KANERVA, kind=kind)
        error = theory.sdm_bit_error(critical, **KANERVA, kind=kind)
        assert 1000 * error == pytest.approx(critical, abs=1e-9)
        inside, outside = math.floor(critical), math.ceil(critical)
        for nearer, farther in ((critical - 5, critical + 5), (inside, outside)):
            assert 1000 * theory.sdm_bit_error(nearer, **KANERVA, kind=kind) < nearer
            assert 1000 * theory.sdm_bit_error(farther, **KANERVA, kind=kind) > farther


def test_critical_distance_of_iterated_reading() -> None:
    """A simulation of full size recovered 79 of 128 cues at 195 and 55 of 128 at 200.

    Half of them, that is, at 198 +- 2: one standard error of 0.043 is 1.2 bits on the slope
    of 0.037 a bit between the two.
    """
    d = theory.sdm_critical_distance(**KANERVA, kind="iterated")
    assert d == pytest.approx(198.71, abs=0.01)
    assert 195 < d < 200


def test_iterated_reading_as_a_map_of_bits() -> None:
    """From just inside the distance the map of frozen noise arrives, from just outside not.

    n = 256, H = 10^5, T = 400. Every bit has its noise, a quantile of the normal distribution;
    wrong bits of the start are spread over all of them alike, as a weight.
    """
    n, t = 256, 400
    hard = {"n_features": n, "n_locations": 10**5, "radius": 103}
    sizes = {**hard, "n_patterns": t}
    critical = theory.sdm_critical_distance(**sizes, kind="iterated")
    z = reference.quantiles(4000) * theory.sdm_noise(**sizes)
    b = theory.sdm_bias(**sizes)
    for start, arrives in ((critical - 1, True), (critical + 1, False)):
        wrong = np.full(len(z), start / n)
        for _ in range(300):
            phi = theory.sdm_weight(n * wrong.mean(), **hard)
            wrong = np.where(z < -(phi + b), 1, np.where(z > b - phi, 0, wrong))
        assert bool(n * wrong.mean() < 2) is arrives, (start, n * wrong.mean())


@pytest.mark.parametrize("kind", ["hetero", "auto", "iterated"])
def test_critical_distances_of_extremes(kind: str) -> None:
    """One item is found from everywhere; far too many from nowhere."""

    def critical(h: int, t: int, n: int = 256, r: int = 103) -> float:
        return theory.sdm_critical_distance(
            n_features=n, n_locations=h, radius=r, n_patterns=t, kind=kind
        )

    assert critical(10**4, 1) == 128
    assert [critical(10, 1, n, n) for n in range(2, 12)] == [n / 2 for n in range(2, 12)]
    if kind != "auto":  # there the bits of the cue itself come back
        assert critical(10**4, 10**5) == 0
    few = [critical(10**5, t) for t in (50, 100, 200, 400)]
    assert few == sorted(few, reverse=True) and few[0] > few[-1] > 0


def test_a_memory_nearly_full_keeps_some_wrong_bits() -> None:
    """A cue 1 bit away goes farther and one 2 away comes nearer: the end is above 2."""
    sizes = {"n_features": 256, "n_locations": 10**5, "radius": 103, "n_patterns": 8000}
    distances = np.array([1, 2, 3])
    nearer = 256 * theory.sdm_bit_error(distances, **sizes) < distances
    assert nearer.tolist() == [False, True, False]
    assert 2 < theory.sdm_critical_distance(**sizes, kind="hetero") < 3


def test_what_comes_nearer_from_far_away_only_finds_nothing() -> None:
    """A read that leaves a quarter of the bits wrong wherever it begins has found no item."""
    sizes = {"n_features": 31, "n_locations": 100, "radius": 12, "n_patterns": 20}
    distances = np.arange(1, 16)
    nearer = 31 * theory.sdm_bit_error(distances, **sizes) < distances
    assert nearer.any() and not nearer[distances < 31 / 4].any()
    assert theory.sdm_critical_distance(**sizes, kind="hetero") == 0


def test_iterated_is_between_nothing_and_one_read() -> None:
    """Noise that stays can only be worse than noise that is new at every read."""
    for t in (50, 200, 1000, 5000):
        sizes = {"n_features": 256, "n_locations": 10**5, "radius": 103, "n_patterns": t}
        iterated = theory.sdm_critical_distance(**sizes, kind="iterated")
        assert 0 <= iterated <= theory.sdm_critical_distance(**sizes, kind="auto")


def test_kanervas_209_is_the_critical_distance_of_independent_words() -> None:
    """Words that share several locations are counted as one there: less noise, 213 bits."""
    n, h, t = KANERVA["n_features"], KANERVA["n_locations"], KANERVA["n_patterns"]
    phi = theory.sdm_weight(np.arange(n + 1), **_locations())
    pooled = reference.kanerva_pooled(phi, n, h, theory.sdm_activation(n, 451), t)
    assert pooled == pytest.approx(212.84, abs=0.01)
    hetero = theory.sdm_critical_distance(**KANERVA, kind="hetero")
    assert abs(pooled - 209) < 0.1 * abs(hetero - 209)


def test_another_radius_for_writing() -> None:
    """Every function with the radius itself, and with another from the double sum."""
    n, h, r, w, t = 64, 10_000, 20, 19, 100
    sizes = {"n_features": n, "n_locations": h, "radius": r, "n_patterns": t}
    both = {"n_features": n, "n_locations": h, "radius": r}
    assert theory.sdm_weight(9, **both, write_radius=r) == theory.sdm_weight(9, **both)
    assert theory.sdm_noise(**sizes, write_radius=r) == theory.sdm_noise(**sizes)
    assert theory.sdm_bias(**sizes, write_radius=r) == theory.sdm_bias(**sizes)
    phi = np.array([h * float(reference.intersection(n, r, w, d)) for d in range(n + 1)])
    chance = np.array([math.comb(n, d) / 2**n for d in range(n + 1)])
    d = np.arange(n + 1)
    sigma = math.sqrt((t - 1) * (chance * (phi + phi**2)).sum())
    b = (t - 1) * (chance * phi * (1 - 2 * d / n)).sum()
    other = {**sizes, "write_radius": w}
    assert theory.sdm_weight(d, **both, write_radius=w) == pytest.approx(phi, rel=1e-14)
    assert theory.sdm_noise(**other) == pytest.approx(sigma, rel=1e-12)
    assert theory.sdm_bias(**other) == pytest.approx(b, rel=1e-12)
    wrong = reference.normal(-phi / sigma)
    assert theory.sdm_bit_error(d, **other) == pytest.approx(wrong, rel=1e-9)
    wrong = (1 - d / n) * reference.normal(-(phi + b) / sigma)
    wrong += d / n * reference.normal(-(phi - b) / sigma)
    assert theory.sdm_bit_error(d, **other, kind="auto") == pytest.approx(wrong, rel=1e-9)
    for kind in ("hetero", "auto", "iterated"):
        found = theory.sdm_critical_distance(**sizes, kind=kind, write_radius=[r, w])
        assert found[0] == theory.sdm_critical_distance(**sizes, kind=kind)
        assert found[1] == theory.sdm_critical_distance(**other, kind=kind) != found[0]


def test_errors_of_a_read_by_their_formula() -> None:
    """Both kinds from phi, sigma and b with SciPy's normal distribution."""
    special = pytest.importorskip("scipy.special")
    d = np.array([0, 10, 100, 209, 300, 500])
    phi, sigma = theory.sdm_weight(d, **_locations()), theory.sdm_noise(**KANERVA)
    b = theory.sdm_bias(**KANERVA)
    assert theory.sdm_bit_error(d, **KANERVA) == pytest.approx(
        special.ndtr(-phi / sigma), rel=1e-9
    )
    auto = (1 - d / 1000) * special.ndtr(-(phi + b) / sigma)
    auto += d / 1000 * special.ndtr(-(phi - b) / sigma)
    assert theory.sdm_bit_error(d, **KANERVA, kind="auto") == pytest.approx(auto, rel=1e-9)
    alone = {**KANERVA, "n_patterns": 1}
    assert theory.sdm_noise(**alone) == 0 and theory.sdm_bias(**alone) == 0
    assert theory.sdm_bit_error([0, 300, 1000], **alone).tolist()[:2] == [0, 0]


def test_the_best_activation_and_the_capacity() -> None:
    """p_opt, the radius it asks for, and tau for three word lengths and probabilities."""
    best = theory.sdm_optimal_activation(10**6, 10**4)
    assert best == printed("3.684e-4")
    assert theory.sdm_radius(1000, best) == 446
    assert theory.sdm_activation(1000, 446) == printed("3.538e-4")
    found = theory.sdm_capacity([[1000], [256], [100]], [0.5, 0.9, 0.99])
    table = [[".0978", ".0728", ".0550"], [".129", ".0894", ".0641"], [".165", ".106", ".0723"]]
    for row, texts in zip(found, table, strict=True):
        for value, text in zip(row, texts, strict=True):
            assert value == printed(text)
    h, t = 10**6, 10**4

    def ratio(p: float) -> float:
        return 1 / (p * h) * (1 + p * t * (1 + p * p * h))

    assert ratio(best) <= min(ratio(best * 0.99), ratio(best * 1.01))


@pytest.mark.parametrize("n", [1, 2, 3, 8, 13])
def test_intersection_is_the_double_sum(n: int) -> None:
    """For all pairs of radii and distances, to the last digit."""
    for r in range(n + 1):
        for w in range(n + 1):
            found = theory.sdm_intersection(n, r, np.arange(n + 1), w)
            for d in range(n + 1):
                assert found[d] == float(reference.intersection(n, r, w, d)), (r, w, d)


def test_intersection_of_long_addresses_is_the_double_sum() -> None:
    """To the last digit, and the same whichever of the radii is which."""
    for d in (0, 1, 2, 97, 98, 256):
        wanted = float(reference.intersection(256, 103, 103, d))
        assert theory.sdm_intersection(256, 103, d) == wanted
    for d in (3, 4, 5, 60):
        wanted = float(reference.intersection(256, 103, 99, d))
        assert theory.sdm_intersection(256, 103, d, 99) == wanted
        assert theory.sdm_intersection(256, 99, d, 103) == wanted


def test_circles_overlap_in_pairs_of_distances() -> None:
    """An odd distance shares as much as the even one after it, which is less than before."""
    shared = theory.sdm_intersection(100, 40, np.arange(101)).tolist()
    assert shared[0] == theory.sdm_activation(100, 40)
    assert all(shared[d] == shared[d + 1] for d in range(1, 100, 2))
    assert all(shared[d] > shared[d + 1] for d in range(0, 80, 2))
    assert shared[81:] == [0.0] * 20, "two circles of radius 40 end at 80"


def test_radius_is_the_nearest() -> None:
    """Of all radii, for probabilities between, at and beyond those there are."""
    for n in (1, 2, 9, 40):
        p = [reference.activation(n, r) for r in range(n + 1)]
        for wanted in [0.0, 1e-30, 1.0, *map(float, p), *np.linspace(0, 1, 101).tolist()]:
            best = min(range(n + 1), key=lambda r: abs(p[r] - reference.Fraction(wanted)))
            assert theory.sdm_radius(n, wanted) == best, (n, wanted)


def test_balls_by_listing_addresses() -> None:
    """I(d) and p(r) are counts over all 2^n addresses for n = 1 ... 9."""
    for n in range(1, 10):
        ones = np.array([bin(a).count("1") for a in range(1 << n)])
        for d in range(n + 1):
            other = ones[np.arange(1 << n) ^ ((1 << d) - 1)]
            for r in range(n + 1):
                both = ((ones <= r) & (other <= r)).mean()
                assert theory.sdm_intersection(n, r, d) == both
                assert theory.sdm_activation(n, r) == (ones <= r).mean()
        radius = np.arange(n + 1)
        again = [theory.sdm_radius(n, p) for p in theory.sdm_activation(n, radius)]
        assert again == radius.tolist()


@pytest.mark.oracle
def test_special_functions_against_scipy() -> None:
    """Activation, quantiles and tails over a grid."""
    stats = pytest.importorskip("scipy.stats")
    n, r = np.array([[64], [256], [1000]]), np.array([20, 26, 32])
    assert theory.sdm_activation(n, r) == pytest.approx(stats.binom.cdf(r, n, 0.5), rel=1e-9)
    for length in (1, 5, 64, 256, 1000, 5000):
        r = np.unique([0, length // 3, length // 2 - length // 20, length // 2, length])
        wanted = stats.binom.cdf(r, length, 0.5)
        assert theory.sdm_activation(length, r) == pytest.approx(wanted, rel=1e-9)
    p = np.array([1e-6, 1e-3, 0.01, 0.2, 0.45])
    assert theory.hopfield_load(p) == pytest.approx(stats.norm.isf(p) ** -2.0, rel=1e-9)
    load = np.linspace(0.01, 3, 50)
    assert theory.hopfield_bit_error(load) == pytest.approx(
        stats.norm.sf(1 / np.sqrt(load)), rel=1e-9
    )
    u, phi = np.array([[100], [1000]]), np.array([0.5, 0.99])
    assert theory.sdm_capacity(u, phi) == pytest.approx(
        stats.norm.ppf(phi ** (1 / u)) ** -2.0, rel=1e-9
    )


@pytest.mark.oracle
def test_one_read_against_scipy() -> None:
    """sigma, b and both kinds of error at n = 256 from SciPy's two distributions."""
    stats = pytest.importorskip("scipy.stats")
    n, h, r, t = 256, 10**4, 103, 500
    sizes = {"n_features": n, "n_locations": h, "radius": r, "n_patterns": t}
    d = np.arange(n + 1)
    phi = h * theory.sdm_intersection(n, r, d)
    weight = stats.binom.pmf(d, n, 0.5)
    sigma = np.sqrt((t - 1) * (weight * (phi + phi**2)).sum())
    bias = (t - 1) * (weight * phi * (1 - 2 * d / n)).sum()
    hetero = stats.norm.sf(phi / sigma)
    assert theory.sdm_bit_error(d, **sizes) == pytest.approx(hetero, rel=1e-9)
    auto = (1 - d / n) * stats.norm.sf((phi + bias) / sigma)
    auto += d / n * stats.norm.sf((phi - bias) / sigma)
    assert theory.sdm_bit_error(d, **sizes, kind="auto") == pytest.approx(auto, rel=1e-9)


@pytest.mark.slow
def test_reads_of_a_small_memory() -> None:
    """Both kinds of error, simulated at n = 256, H = 10,000, T = 300, d = 0 ... 60.

    The tolerance is four standard errors over the items (the bits of one read share a number of
    active locations) and one per cent point: phi varies between addresses, which the theory
    averages before the tail is taken.
    """
    n, h, t, n_asked = 256, 10_000, 300, 40
    radius = theory.sdm_radius(n, 0.01)
    sizes = {"n_features": n, "n_locations": h, "radius": radius, "n_patterns": t}
    rng = np.random.default_rng(12)
    hard = rng.choice(np.array([-1, 1], dtype=np.float32), (h, n))
    addresses = rng.choice(np.array([-1, 1], dtype=np.float32), (t, n))
    words = rng.choice(np.array([-1, 1], dtype=np.float32), (t, n))
    active = (hard @ addresses.T >= n - 2 * radius).astype(np.float32)
    for kind, stored in (("hetero", words), ("auto", addresses)):
        counters = active @ stored
        for d in (0, 20, 40, 60):
            cues = addresses[:n_asked].copy()
            for cue in cues:
                cue[rng.permutation(n)[:d]] *= -1
            read = (hard @ cues.T >= n - 2 * radius).astype(np.float32)
            wrong = ((read.T @ counters) * stored[:n_asked] <= 0).mean(axis=1)
            error = wrong.std() / math.sqrt(n_asked)
            p = theory.sdm_bit_error(d, **sizes, kind=kind)
            assert wrong.mean() == pytest.approx(p, abs=4 * error + 0.01), (kind, d)


# ----------------------------------------------------------------------------------- manners --


def test_arguments_broadcast() -> None:
    """Scalars give floats, arrays arrays of the shape they broadcast to, entry by entry."""
    assert isinstance(theory.ags_overlap(0.1), float)
    assert isinstance(theory.sdm_radius(100, 0.01), int)
    assert isinstance(theory.dam_bit_error(100, 50, 3), float)
    table = theory.dam_bit_error(np.array([[50], [100]]), np.array([10, 20, 30]), 2)
    assert table.shape == (2, 3) and table.dtype == np.float64
    assert table[1, 2] == theory.dam_bit_error(100, 30, 2)
    solution = theory.ags_solution(np.full((2, 3), 0.1))
    assert all(part.shape == (2, 3) for part in solution)
    assert solution.energy[1, 1] == theory.ags_energy(0.1)
    assert theory.ags_overlap([]).shape == (0,)
    assert theory.sequence_capacity(np.array([10, 20]), None).shape == (2,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: theory.ags_overlap(-0.1), "load"),
        (lambda: theory.ags_overlap(math.nan), "load"),
        (lambda: theory.bam_overlap(math.inf), "load"),
        (lambda: theory.hopfield_load(0.5), "bit_error"),
        (lambda: theory.hopfield_load([0.1, 0.0]), "bit_error"),
        (lambda: theory.hopfield_capacity(1), "n_features"),
        (lambda: theory.hopfield_capacity(10, "some"), "'one', 'all'"),
        (lambda: theory.hopfield_capacity(10, noise=0.5), "noise"),
        (lambda: theory.dam_alpha(1), "degree"),
        (lambda: theory.dam_alpha(2.5), "whole number"),
        (lambda: theory.mixture_overlap(4), "odd"),
        (lambda: theory.tanh_overlap(-1), "temperature"),
        (lambda: theory.sparse_capacity(0), "activity"),
        (lambda: theory.exponential_rate(0.1, "typical"), "typical"),
        (lambda: theory.sequence_capacity(10, 0), "degree"),
        (lambda: theory.mixed_sequence_capacity(10, 1.0, 1, 1), "gain"),
        (lambda: theory.sdm_activation(10, 11), "radius"),
        (lambda: theory.sdm_activation(0, 1), "n_features is 0"),
        (lambda: theory.sdm_activation(5, -1), "radius is -1"),
        (lambda: theory.sdm_radius(10, math.nan), "activation is nan"),
        (lambda: theory.sdm_optimal_activation(0, 5), "n_locations is 0"),
        (lambda: theory.sdm_intersection(5, 2, 6), "distance is 6"),
        (lambda: theory.sdm_intersection(5, 2, 1, 6), "write_radius is 6"),
        (lambda: theory.sdm_noise(**KANERVA, write_radius=-1), "write_radius is -1"),
        (lambda: theory.sdm_weight(-0.5, **_locations()), "distance is -0.5"),
        (lambda: theory.sdm_bit_error(1000.5, **KANERVA), "distance is 1000.5"),
        (lambda: theory.sdm_bit_error(1, **KANERVA, kind="iterated"), "kind is 'iterated'"),
        (lambda: theory.sdm_critical_distance(**KANERVA, kind="other"), "kind is 'other'"),
        (lambda: theory.sdm_bit_error(1001, **KANERVA), "distance"),
        (lambda: theory.sdm_bit_error(1, **KANERVA, kind="none"), "kind"),
        (lambda: theory.sdm_radius(10, 1.5), "activation is 1.5"),
        (lambda: theory.sdm_capacity(1, 0.5), "guess"),
    ],
)
def test_impossible_arguments_are_named(call: Any, words: str) -> None:
    """A ValueError that names the argument."""
    with pytest.raises(ValueError, match=words):
        call()


def test_every_public_name_explains_itself() -> None:
    """Each function of the module has a docstring with a source or a formula."""
    for name in theory.__all__:
        assert len(getattr(theory, name).__doc__) > 60, name
