"""The classical network: rules against loops, dynamics against laws, numbers against theory.

Simulations are compared with closed forms within five standard errors, which follow from the
number of samples; seeds are fixed, so that a pass stays a pass.
"""

from __future__ import annotations

import copy
import doctest
import itertools
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

import reference_hopfield as twin
import reference_network
import uhn
from uhn.models import HopfieldNetwork, hopfield

Array = np.ndarray
SLOWED = 6 if os.environ.get("UHN_SANITIZED") else 1


def signs(seed: int, *shape: int) -> Array:
    """Random patterns of +1 and -1."""
    return np.random.default_rng(seed).choice(np.array([-1, 1], dtype=np.int8), shape)


def flipped(patterns: Array, fraction: float, seed: int) -> Array:
    """The patterns with exactly this fraction of their units turned round."""
    rng = np.random.default_rng(seed)
    out = np.array(patterns)
    for row in out:
        row[rng.permutation(len(row))[: round(fraction * len(row))]] *= -1
    return out


def same_bits(a: Array, b: Array) -> bool:
    """Whether two arrays are equal to the last bit and of one type."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def symmetric_mask(seed: int, n: int, density: float) -> Array:
    """A symmetric matrix of connections."""
    half = np.triu(np.random.default_rng(seed).random((n, n)) < density, 1)
    return half | half.T


def within(value: float, expected: float, error: float) -> bool:
    """Within five standard errors."""
    return abs(value - expected) <= 5 * error


# ------------------------------------------------------------------------------------- rules --


@pytest.mark.parametrize("diagonal", ["zero", "keep"])
@pytest.mark.parametrize("scale", ["none", "neurons", "patterns"])
def test_hebb_is_the_sum_of_outer_products(scale: str, diagonal: str) -> None:
    for seed, (k, n) in enumerate([(1, 1), (1, 5), (3, 20), (9, 12), (4, 33)]):
        patterns = signs(seed, k, n)
        network = HopfieldNetwork(n, scale=scale, diagonal=diagonal).store(patterns)
        a = twin.hebb(patterns)
        if diagonal == "zero":
            np.fill_diagonal(a, 0)
        unit = {"none": 1, "neurons": 1 / n, "patterns": 1 / k}[scale]
        assert np.array_equal(network.weights, unit * a)
        assert not network.weights.flags.writeable


def test_document_form_of_hebb() -> None:
    """(1/P) sum y y^T - I is scale="patterns" with a zero diagonal."""
    patterns = signs(1, 8, 15).astype(float)
    w = (patterns[:, :, None] * patterns[:, None, :]).sum(axis=0) / 8 - np.eye(15)
    network = HopfieldNetwork(15, scale="patterns").store(patterns)
    assert np.array_equal(network.weights, w), "whole numbers over 8"


@pytest.mark.parametrize("rule", ["hebb", "storkey", "pseudo_inverse", "perceptron"])
def test_storing_in_pieces_is_storing_at_once(rule: str) -> None:
    """Online learning ends in the same weights, to the last bit."""
    patterns = signs(2, 9, 40)
    at_once = HopfieldNetwork(40, rule).store(patterns)
    pieces = HopfieldNetwork(40, rule)
    for row in patterns[:4]:
        pieces.store(row)
        assert pieces.weights.shape == (40, 40)  # counts are made on the way, too
    pieces.store(patterns[4:6]).store(patterns[6:6]).store(patterns[6:])
    assert same_bits(at_once.weights, pieces.weights)
    assert same_bits(at_once.patterns, pieces.patterns)
    assert len(pieces) == pieces.n_patterns == 9


def test_covariance_in_pieces_is_covariance_at_once() -> None:
    patterns = (np.random.default_rng(3).random((7, 30)) < 0.2).astype(int)
    at_once = HopfieldNetwork(30, "covariance", coding="binary", activity=0.2).store(patterns)
    pieces = HopfieldNetwork(30, "covariance", coding="binary", activity=0.2)
    for row in patterns:
        assert pieces.store(row).weights.any()
    assert same_bits(at_once.weights, pieces.weights)


@pytest.mark.parametrize("masked", [False, True], ids=["full", "sparse"])
def test_storkey_is_the_textbook_rule(masked: bool) -> None:
    for seed, (k, n) in enumerate([(1, 2), (4, 9), (6, 16), (5, 21)]):
        patterns = signs(10 + seed, k, n)
        mask = symmetric_mask(seed, n, 0.6) if masked else None
        network = HopfieldNetwork(n, "storkey", mask=mask).store(patterns)
        expected = twin.storkey(patterns, mask)
        # k terms of two sums of n products below 1 and four roundings more, to first order.
        assert np.abs(expected).max() < 1
        assert np.abs(network.weights - expected).max() <= k * (2 * n + 4) * 2.0**-53
        assert np.array_equal(network.weights, network.weights.T)
        assert not np.diagonal(network.weights).any()


def test_storkey_scales_the_textbook_matrix() -> None:
    patterns = signs(14, 4, 12)
    weights = HopfieldNetwork(12, "storkey").store(patterns).weights
    for scale, factor in [("none", 12), ("patterns", 3)]:
        network = HopfieldNetwork(12, "storkey", scale=scale).store(patterns)
        assert np.array_equal(network.weights, factor * weights)


def test_storkey_depends_on_the_order() -> None:
    """And Hebb does not; the first pattern alone is Hebb's."""
    patterns = signs(15, 6, 24)
    forth = HopfieldNetwork(24, "storkey").store(patterns)
    back = HopfieldNetwork(24, "storkey").store(patterns[::-1])
    assert np.abs(forth.weights - back.weights).max() > 1e-3
    assert np.array_equal(
        HopfieldNetwork(24).store(patterns).weights,
        HopfieldNetwork(24).store(patterns[::-1]).weights,
    )
    one = HopfieldNetwork(24, "storkey").store(patterns[0])
    assert np.array_equal(one.weights, HopfieldNetwork(24).store(patterns[0]).weights)


def test_pseudo_inverse_is_the_formula() -> None:
    for seed, (k, n) in enumerate([(1, 4), (3, 10), (7, 20)]):
        patterns = signs(20 + seed, k, n)
        kept = HopfieldNetwork(n, "pseudo_inverse", diagonal="keep").store(patterns)
        expected = twin.pseudo_inverse(patterns)
        # An inverse of k x k numbers is off by k roundings times the condition number (Higham,
        # ch. 14), a projector by its root; products of k and n terms besides.
        condition = np.linalg.cond(patterns @ patterns.T)
        error = (4 * k * condition + 2 * n) * 2.0**-53
        assert error < 2e-13
        assert np.abs(kept.weights - expected).max() <= error
        np.fill_diagonal(expected, 0)
        zero = HopfieldNetwork(n, "pseudo_inverse").store(patterns)
        assert np.abs(zero.weights - expected).max() <= error
        assert not np.diagonal(zero.weights).any()


def test_pseudo_inverse_projects_on_the_span() -> None:
    """Dependent patterns, too: a copy, a negative and the product form of a Hadamard matrix."""
    patterns = signs(23, 12, 50)
    patterns[5] = patterns[1]
    patterns[6] = -patterns[2]
    network = HopfieldNetwork(50, "pseudo_inverse", diagonal="keep").store(patterns)
    w = network.weights
    assert np.array_equal(w, w.T)
    # Rows of the basis are orthonormal to some roundings of 50 products each; |w| is at most 1,
    # a row of patterns 50 terms of that.
    rounding = 8 * 50 * 2.0**-53
    assert np.abs(w @ w - w).max() <= rounding
    assert np.abs(patterns @ w - patterns).max() <= 10 * rounding
    assert abs(np.trace(w) - 10) <= 10 * rounding  # the rank
    assert np.array_equal(network.retrieve(patterns), patterns)


def test_pseudo_inverse_of_everything_is_refused() -> None:
    network = HopfieldNetwork(6, "pseudo_inverse").store(signs(24, 3, 6))
    with pytest.raises(ValueError, match=r"span all states of 6 units.*fewer than n_features"):
        network.store(signs(25, 40, 6))
    assert len(network) == 3


@pytest.mark.parametrize("masked", [False, True], ids=["full", "sparse"])
def test_perceptron_raises_the_least_stable(masked: bool) -> None:
    for seed, (k, n, kappa) in enumerate(
        [(1, 4, 0.5), (5, 12, 0.0), (9, 20, 0.6), (8, 15, 0.3)]
    ):
        patterns = signs(30 + seed, k, n)
        mask = np.random.default_rng(seed).random((n, n)) < 0.8 if masked else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            network = HopfieldNetwork(
                n, "perceptron", kappa=kappa, max_epochs=20, scale="none", mask=mask
            ).store(patterns)
        expected, least = twin.perceptron(patterns, kappa, 20 * k, mask)
        assert np.array_equal(network.weights, expected)
        held = network.stabilities()
        # A whole number over the root of one: three roundings here, two there.
        assert np.abs(held.min(axis=0) - least).max() <= 8 * 2.0**-53 * np.abs(least).max()


def test_perceptron_reaches_its_margin() -> None:
    """80 patterns in 100 units, far beyond Hebb's rule: every unit is as stable as asked."""
    patterns = signs(35, 80, 100)
    network = HopfieldNetwork(100, "perceptron", kappa=0.4).store(patterns)
    assert network.stabilities().min() >= 0.4
    assert np.array_equal(network.retrieve(patterns), patterns)
    assert not np.array_equal(network.weights, network.weights.T)


def test_perceptron_says_where_it_failed() -> None:
    """Beyond two patterns a unit no margin exists (Gardner 1988): a warning says so."""
    patterns = signs(36, 75, 30)
    network = HopfieldNetwork(30, "perceptron", kappa=0.0, max_epochs=50)
    with pytest.warns(RuntimeWarning, match=r"of 30 units did not reach.*in 50 epochs"):
        network.store(patterns)
    assert len(network) == 75
    assert network.stabilities().min() <= 0


@pytest.mark.parametrize("kappa", [0.25, 0.75])
def test_perceptron_and_the_bound_of_gardner(kappa: float) -> None:
    """Well below the load of Gardner's bound every unit reaches kappa, well above none."""
    n = 120
    load = twin.gardner_load(kappa)
    below = signs(37, round(0.7 * load * n), n)
    network = HopfieldNetwork(n, "perceptron", kappa=kappa, max_epochs=200).store(below)
    assert network.stabilities().min() >= kappa
    with pytest.warns(RuntimeWarning, match=f"{n} of {n} units"):
        HopfieldNetwork(n, "perceptron", kappa=kappa, max_epochs=30).store(
            signs(38, round(1.6 * load * n), n)
        )


@pytest.mark.parametrize("f", [0.1, 0.3, 0.5])
def test_covariance_is_the_formula(f: float) -> None:
    patterns = (np.random.default_rng(40).random((6, 25)) < f).astype(float)
    expected = twin.covariance(patterns, f)
    for diagonal, scale in itertools.product(["zero", "keep"], ["none", "neurons", "patterns"]):
        network = HopfieldNetwork(
            25, "covariance", coding="binary", activity=f, diagonal=diagonal, scale=scale
        ).store(patterns)
        a = expected.copy()
        if diagonal == "zero":
            np.fill_diagonal(a, 0)
        a = a * {"none": 1, "neurons": 1 / 25, "patterns": 1 / 6}[scale]
        # Six terms of a few roundings each, of both signs.
        terms = (
            6 * max(f, 1 - f) ** 2 / (f * (1 - f)) * np.abs(a).max() / np.abs(expected).max()
        )
        assert np.abs(network.weights - a).max() <= (6 + 10) * 2.0**-53 * terms
        middle = (f - 0.5) * {"none": 25, "neurons": 1, "patterns": 25 / 6}[scale]
        assert np.abs(network.bias - middle).max() <= 2 * 2.0**-53 * abs(middle)


def test_covariance_keeps_what_hebb_loses() -> None:
    """Patterns of 5 % ones: the mean of all patterns drowns Hebb's rule, but not this one."""
    rng = np.random.default_rng(41)
    n, k, f = 500, 60, 0.05
    patterns = np.zeros((k, n))
    for row in patterns:
        row[rng.permutation(n)[: round(f * n)]] = 1
    sparse = HopfieldNetwork(n, "covariance", coding="binary", activity=f).store(patterns)
    hebb = HopfieldNetwork(n, coding="binary").store(patterns)
    assert np.array_equal(sparse.retrieve(patterns), patterns)
    assert (hebb.retrieve(patterns) == patterns).all(axis=1).mean() == 0
    # The field of ones is near 1 - f and that of zeros near -f, above and below the threshold.
    pull = sparse.fields(patterns) - sparse.bias
    # Crosstalk from k - 1 patterns has the standard deviation sqrt(f k / n) of a unit.
    crosstalk = math.sqrt(f * k / n)
    assert within(pull[patterns == 1].mean(), 1 - f, crosstalk / math.sqrt(f * n))
    assert within(pull[patterns == 0].mean(), -f, crosstalk / math.sqrt(f * n))


@pytest.mark.parametrize("rule", ["hebb", "covariance"])
def test_a_mask_leaves_out_connections(rule: str) -> None:
    n = 30
    mask = symmetric_mask(50, n, 0.5)
    keywords = {"coding": "binary", "activity": 0.4} if rule == "covariance" else {}
    patterns = signs(51, 4, n)
    if rule == "covariance":
        patterns = (patterns + 1) // 2
    full = HopfieldNetwork(n, rule, **keywords).store(patterns)
    sparse = HopfieldNetwork(n, rule, mask=mask, **keywords).store(patterns)
    assert np.array_equal(sparse.weights, np.where(mask, full.weights, 0))
    assert sparse.lyapunov("async")
    lopsided = mask.copy()
    lopsided[0, 1:] = ~lopsided[0, 1:]
    crooked = HopfieldNetwork(n, rule, mask=lopsided, **keywords).store(patterns)
    assert np.array_equal(crooked.weights, np.where(lopsided, full.weights, 0))
    assert not crooked.lyapunov("async")
    with pytest.raises(ValueError, match="not symmetric"):
        crooked.energy(patterns)


# --------------------------------------------------------------------------- forget, unlearn --


@pytest.mark.parametrize(
    "rule", ["hebb", "storkey", "pseudo_inverse", "perceptron", "covariance"]
)
def test_forgetting_is_never_having_stored(rule: str) -> None:
    patterns = signs(60, 8, 40)
    keywords = {}
    if rule == "covariance":
        patterns = (patterns + 1) // 2
        keywords = {"coding": "binary", "activity": 0.5}
    for looked in (False, True):
        network = HopfieldNetwork(40, rule, **keywords).store(patterns)
        if looked:
            assert network.weights.any()  # counts exist: they are subtracted
            network.store(patterns[:1])
            network.forget(patterns[:1])
        network.forget(patterns[[6, 2]])
        kept = patterns[[0, 1, 3, 4, 5, 7]]
        expected = HopfieldNetwork(40, rule, **keywords).store(kept)
        assert same_bits(network.weights, expected.weights)
        assert np.array_equal(network.patterns, kept)
        assert same_bits(network.retrieve(patterns), expected.retrieve(patterns))
    network.forget(kept)
    assert len(network) == 0
    with pytest.raises(ValueError, match="store patterns first"):
        network.retrieve(patterns)


def test_only_what_is_stored_can_be_forgotten() -> None:
    patterns = signs(61, 3, 12)
    network = HopfieldNetwork(12).store(patterns).store(patterns[0])
    before = network.weights
    with pytest.raises(ValueError, match=r"patterns\[1\] is not stored"):
        network.forget([patterns[0], -patterns[0]])
    with pytest.raises(ValueError, match=r"patterns\[2\] is not stored"):
        network.forget(patterns[[0, 0, 0]])
    assert same_bits(network.weights, before)
    assert len(network.forget(patterns[0])) == 3


@pytest.mark.parametrize("scale", ["none", "neurons", "patterns"])
@pytest.mark.parametrize("rule", ["hebb", "storkey"])
def test_unlearning_is_the_paper(rule: str, scale: str) -> None:
    """The twin dreams the same dreams: the same random states, order and subtraction."""
    n, k = 24, 8
    patterns = signs(62, k, n)
    network = HopfieldNetwork(n, rule, scale=scale).store(patterns)
    unit = {"none": 1, "neurons": 1 / n, "patterns": 1 / k}[scale]
    a = network.weights / unit
    expected = unit * twin.unlearn(a, unit, 0.25, range(12), 5, 30)
    network.unlearn(12, epsilon=0.25, seed=5, n_steps=30)
    # 12 subtractions of epsilon, and the weights divided and multiplied by their unit.
    rounding = 2 * (12 + 4) * 2.0**-53 * np.abs(expected).max()
    assert np.abs(network.weights - expected).max() <= rounding
    assert np.array_equal(network.weights, network.weights.T)
    assert not np.diagonal(network.weights).any()
    assert len(network) == k
    assert network.recall(patterns).overlaps.shape == (k, k)


def test_dreams_in_two_calls_are_the_dreams_of_one() -> None:
    patterns = signs(63, 20, 60)
    once = HopfieldNetwork(60).store(patterns).unlearn(30, seed=3)
    twice = (
        HopfieldNetwork(60).store(patterns).unlearn(11, seed=3).unlearn(0).unlearn(19, seed=3)
    )
    other = HopfieldNetwork(60).store(patterns).unlearn(30, seed=4)
    assert same_bits(once.weights, twice.weights)
    assert not np.array_equal(once.weights, other.weights)
    # What was unlearned stays so when more is stored, or forgotten again.
    once.store(-patterns[0]).forget(-patterns[0])
    assert same_bits(once.weights, twice.weights)


def test_unlearning_given_weights_and_a_mask() -> None:
    n = 20
    patterns = signs(64, 5, n)
    hebb = HopfieldNetwork(n).store(patterns)
    given = HopfieldNetwork.from_weights(hebb.weights).unlearn(10, epsilon=0.1)
    # Ten subtractions from weights of at most 5/20 + 10 * 0.1/20.
    off = np.abs(given.weights - hebb.unlearn(10, epsilon=0.1).weights).max()
    assert off <= 2 * (10 + 2) * 2.0**-53 * 0.3
    mask = symmetric_mask(65, n, 0.4)
    sparse = HopfieldNetwork(n, mask=mask).store(patterns).unlearn(10, epsilon=0.1)
    assert not sparse.weights[~mask].any()
    assert np.array_equal(sparse.weights, sparse.weights.T)


def test_unlearning_ends_learning_for_rules_that_look_back() -> None:
    network = HopfieldNetwork(20, "storkey").store(signs(66, 3, 20)).unlearn(2)
    for verb in (network.store, network.forget):
        with pytest.raises(ValueError, match="unlearning has changed"):
            verb(signs(66, 1, 20))
    assert len(network) == 3


def test_the_dreaming_kernel_runs_from_hebb_to_the_projector() -> None:
    patterns = signs(67, 9, 30)
    hebb = HopfieldNetwork(30, diagonal="keep").store(patterns)
    # Singular vectors of 9 x 30 signs are orthonormal to some roundings a product; weights are
    # below 1.
    rounding = 8 * 30 * 2.0**-53
    assert np.abs(hebb.dream(0).weights - hebb.weights).max() <= rounding
    overlaps = patterns @ patterns.T / 30
    for t in (0.3, 2.0, 50.0):
        dreamt = hebb.dream(t)
        # The twin's inverse is off by 9 roundings times its condition number, over N sums.
        inverse = 4 * 9 * np.linalg.cond(np.eye(9) + t * overlaps) * 2.0**-53 + rounding
        assert inverse < 1e-12
        assert np.abs(dreamt.weights - twin.dreaming_kernel(patterns, t)).max() <= inverse
        assert np.array_equal(dreamt.weights, dreamt.weights.T)
    projector = HopfieldNetwork(30, "pseudo_inverse", diagonal="keep").store(patterns)
    assert np.abs(hebb.dream(math.inf).weights - projector.weights).max() <= rounding
    # (1 + t) x / (1 + t x) is within |1 - x| / (t x) of 1 for each eigenvalue x of C.
    x = np.linalg.eigvalsh(overlaps)
    left = (np.abs(1 - x) / x).max() / 1e9 + rounding
    assert np.abs(hebb.dream(1e9).weights - projector.weights).max() <= left
    zero = HopfieldNetwork(30, scale="none").store(patterns).dream(2.0)
    expected = 30 * twin.dreaming_kernel(patterns, 2.0)
    np.fill_diagonal(expected, 0)
    assert np.abs(zero.weights - expected).max() <= 30 * inverse
    assert np.array_equal(zero.patterns, patterns)
    assert zero.recall(patterns).overlaps.shape == (9, 9)
    # In binary clothes the threshold is in the middle again, but for Hebb's, who has it at 0.
    states = signs(68, 10, 30)
    bipolar = HopfieldNetwork(30, "storkey").store(patterns).dream(2.0)
    binary = (
        HopfieldNetwork(30, "storkey", coding="binary").store((patterns + 1) // 2).dream(2.0)
    )
    found = (bipolar.retrieve(states) + 1) / 2
    assert np.array_equal(binary.retrieve((states + 1) // 2), found)
    old = HopfieldNetwork(30, coding="binary").store((patterns + 1) // 2).dream(2.0)
    assert not old.bias.any()
    for t in (-1, math.nan):
        with pytest.raises(ValueError, match="t "):
            hebb.dream(t)


# ---------------------------------------------------------------------------- forms, batches --


@pytest.mark.parametrize("coding", ["bipolar", "binary"])
@pytest.mark.parametrize("diagonal", ["zero", "keep"])
@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
def test_all_forms_of_the_couplings_agree(coding: str, diagonal: str, biased: bool) -> None:
    """Patterns, int16, int32 and float64 give the same bits: whole numbers are exact."""
    rng = np.random.default_rng(70)
    for k, n in [(1, 9), (4, 40), (33, 70)]:
        rows = signs(int(rng.integers(1000)), k, n).astype(float)
        asked = signs(int(rng.integers(1000)), 6, n).astype(float)
        if coding == "binary":
            rows, asked = (rows + 1) / 2, (asked + 1) / 2
        bias = rng.normal(size=n) * 0.1 if biased else None
        found = []
        for form in ["patterns", "int16", "int32", "float64", None]:
            network = HopfieldNetwork(n, diagonal=diagonal, bias=bias, coding=coding)
            network._form = form
            network.store(rows)
            found.append(
                [
                    network.retrieve(asked, seed=1),
                    network.retrieve(asked, mode="sync", n_steps=3),
                    network.retrieve(asked, temperature=0.4, n_steps=5),
                    network.fields(asked),
                    network.energy(asked),
                    network.flip_energies(asked),
                ]
            )
        for other in found[1:]:
            for a, b in zip(found[0], other, strict=True):
                assert same_bits(a, b)


def test_the_plan_takes_the_form_that_fits() -> None:
    def form(network: HopfieldNetwork, n_states: int = 1) -> str:
        return str(network._wiring(n_states).couplings.dtype)

    few = HopfieldNetwork(40).store(signs(71, 4, 40))
    assert form(few) == form(few, 10**6) == "uint32"
    some = HopfieldNetwork(40).store(signs(71, 9, 40))
    assert form(some, 4) == "uint32"
    assert form(some, 5) == "int16"
    assert form(HopfieldNetwork(40).store(signs(71, 10, 40))) == "int16"
    assert form(HopfieldNetwork(3).store(np.ones((40000, 3)))) == "int32"
    assert form(HopfieldNetwork(40, "storkey").store(signs(71, 2, 40))) == "float64"
    assert form(HopfieldNetwork(40, "perceptron").store(signs(71, 2, 40))) == "int16"
    assert form(HopfieldNetwork(40).store(signs(71, 2, 40)).unlearn(1)) == "float64"
    mask = ~np.eye(40, dtype=bool)
    assert form(HopfieldNetwork(40, mask=mask).store(signs(71, 2, 40))) == "int16"


def networks_of_every_kind(n: int = 48) -> dict[str, HopfieldNetwork]:
    """One of each, biased where that is another path."""
    rng = np.random.default_rng(72)
    patterns = signs(73, 6, n)
    zeros = (patterns + 1) // 2
    return {
        "hebb": HopfieldNetwork(n).store(patterns),
        "hebb, many": HopfieldNetwork(n).store(signs(74, 30, n)),
        "hebb, biased": HopfieldNetwork(n, bias=rng.normal(size=n)).store(patterns),
        "hebb, binary": HopfieldNetwork(n, coding="binary").store(zeros),
        "storkey": HopfieldNetwork(n, "storkey").store(patterns),
        "pseudo_inverse": HopfieldNetwork(n, "pseudo_inverse", diagonal="keep").store(patterns),
        "perceptron": HopfieldNetwork(n, "perceptron").store(patterns),
        "perceptron, binary": HopfieldNetwork(n, "perceptron", coding="binary").store(zeros),
        "covariance": HopfieldNetwork(n, "covariance", coding="binary", activity=0.5).store(
            zeros
        ),
        "given": HopfieldNetwork.from_weights(rng.normal(size=(n, n)), rng.normal(size=n)),
        "unlearned": HopfieldNetwork(n).store(patterns).unlearn(5),
    }


KINDS = list(networks_of_every_kind())


def states_for(network: HopfieldNetwork, seed: int, n_states: int) -> Array:
    states = signs(seed, n_states, network.n_features).astype(float)
    return states if network.coding == "bipolar" else (states + 1) / 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_alone_is_a_state_in_a_batch(kind: str) -> None:
    network = networks_of_every_kind()[kind]
    states = states_for(network, 75, 37)
    for keywords in [
        {},
        {"mode": "sync", "n_steps": 7},
        {"order": "replacement", "seed": 9, "n_steps": 20},
        {"temperature": 0.7, "n_steps": 6},
        {"order": "sequential", "tie": "+1", "clamped": [0, 3, 5]},
    ]:
        together = network.recall(states, **keywords)
        for i in (0, 1, 18, 36):
            alone = network.recall(states[i], **keywords)
            assert same_bits(alone.state, together.state[i])
            assert alone.n_steps == together.n_steps[i]
            assert alone.status == together.status[i]
            assert alone.change == together.change[i]
    fields = network.fields(states)
    assert same_bits(fields[5], network.fields(states[5]))
    if network._wiring().symmetric:
        assert network.energy(states)[5] == network.energy(states[5])


def test_threads_do_not_change_a_bit() -> None:
    """Nor do they change what is learned."""
    before = uhn.get_num_threads()
    patterns = signs(76, 40, 600)
    states = flipped(patterns, 0.2, 77)
    found = []
    try:
        for n_threads in (1, 2, 3):
            uhn.set_num_threads(n_threads)
            here = []
            for rule in ("hebb", "storkey", "perceptron"):
                network = HopfieldNetwork(600, rule).store(patterns)
                here += [network.weights, network.retrieve(states), network.fields(states)]
            here.append(HopfieldNetwork(600).store(patterns).unlearn(5).weights)
            found.append(here)
    finally:
        uhn.set_num_threads(before)
    for other in found[1:]:
        assert all(same_bits(a, b) for a, b in zip(found[0], other, strict=True))


DIGEST = """
import hashlib, numpy as np, uhn
from uhn.models import HopfieldNetwork
patterns = np.where(np.arange(23 * 150).reshape(23, 150) ** 2 % 11 < 5, 1, -1)
states = np.where(np.arange(9 * 150).reshape(9, 150) ** 2 % 13 < 6, 1, -1)
digest = hashlib.sha256()
for rule in ("hebb", "storkey", "perceptron"):
    network = HopfieldNetwork(150, rule).store(patterns)
    for form in (None, "float64"):
        network._form = form
        for what in (
            network.weights, network.fields(states), network.retrieve(states),
            network.retrieve(states, temperature=0.7, n_steps=9, mode="sync"),
        ):
            digest.update(what.tobytes())
digest.update(HopfieldNetwork(150).store(patterns).unlearn(9).weights.tobytes())
print(uhn.cpu_info()["path"], digest.hexdigest())
"""


def test_every_cpu_path_gives_the_same_bits() -> None:
    found = {}
    for path in uhn.cpu_info()["available"]:
        done = subprocess.run(
            [sys.executable, "-c", DIGEST],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "UHN_CPU": path, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        taken, found[path] = done.stdout.split()
        assert taken == path
    assert len(set(found.values())) == 1, found


def test_seeds_for_each_state() -> None:
    network = HopfieldNetwork(40).store(signs(78, 12, 40))
    states = signs(79, 8, 40)
    seeds = [3, 1, 3, 2**64 - 1, 0, 1, 7, 3]
    batch = network.recall(states, seed=seeds, trace=True)
    for i, seed in enumerate(seeds):
        alone = network.recall(states[i], seed=seed, trace=True)
        assert same_bits(batch.state[i], alone.state)
        assert batch.n_steps[i] == alone.n_steps
        steps = alone.n_steps
        assert same_bits(batch.trace.states[: steps + 1, i], alone.trace.states)
        assert same_bits(batch.weights[i], alone.weights)
    with pytest.raises(ValueError, match=r"seed has shape \(3,\).*each of the 8 states"):
        network.retrieve(states, seed=[1, 2, 3])
    with pytest.raises(ValueError, match="below 2"):
        network.retrieve(states, seed=2**64)
    with pytest.raises(TypeError, match="whole number"):
        network.retrieve(states, seed=0.5)


def test_types_and_shapes_of_states() -> None:
    network = HopfieldNetwork(5).store([1, 1, -1, 1, -1])
    for dtype in (np.int8, np.int64, np.float64, np.float32):
        out = network.retrieve(np.array([1, 1, -1, 1, 1], dtype=dtype))
        assert out.dtype == (np.float32 if dtype == np.float32 else np.float64)
        assert out.tolist() == [1, 1, -1, 1, -1]
    assert network.retrieve(np.empty((0, 5))).shape == (0, 5)
    assert network.recall(np.empty((0, 5)), trace=True).state.shape == (0, 5)
    assert network.energy(np.empty((0, 5))).shape == (0,)
    assert network.retrieve(np.asfortranarray(np.ones((4, 5)))).shape == (4, 5)
    assert isinstance(network.energy(np.ones(5)), float)


# ---------------------------------------------------------------------------------- dynamics --


@pytest.mark.parametrize("kind", KINDS)
def test_dynamics_are_those_of_the_twin(kind: str) -> None:
    """Each rule's weights under every order, compared with loops over 0 and 1 or +1 and -1."""
    network = networks_of_every_kind(16)[kind]
    exact = network._wiring().couplings.dtype != np.float64
    low = -1 if network.coding == "bipolar" else 0
    w, b = network.weights, network.bias
    # Over 16 and by halves whole numbers stay exact in the twin, ties too.
    exact = exact and network.scale == "neurons" and kind != "hebb, biased"
    # Elsewhere both add 16 products and the bias, each in its own order.
    rounding = 2 * 17 * 2.0**-53 * (np.abs(w).sum(axis=1) + np.abs(b)).max()
    given = [3, 1, 2, 1, 15]
    for seed, state in enumerate(states_for(network, 80, 6)):
        fields = network.fields(state)
        expected = [twin.field(w, b, state, i) for i in range(16)]
        assert np.abs(fields - expected).max() <= (0 if exact else rounding)
        assert exact or min(abs(h) for h in expected) > rounding, "no tie of rounding"
        for order in ("random", "replacement", "sequential", given):
            name = (
                {"random": "permutation"}.get(order, order)
                if isinstance(order, str)
                else "given"
            )
            schedule = (name, given, seed)
            units = reference_network.sweep_order(schedule, 16, 0)
            after = twin.sweep(w, b, state, units, low)
            got = network.retrieve(state, seed=seed, order=order, n_steps=1)
            assert np.array_equal(got, after)
        got = network.retrieve(state, mode="sync", n_steps=1)
        assert np.array_equal(got, twin.sync(w, b, state, low))
        if network._wiring().symmetric:
            off = abs(network.energy(state) - twin.energy(w, b, state))
            # Half of the sum of 16 fields, and the constant of units of 0 and 1.
            assert off <= (0 if exact else 2 * 16 * rounding)


@pytest.mark.parametrize("diagonal", ["zero", "keep"])
def test_binary_units_are_exact_in_whole_numbers(diagonal: str) -> None:
    """Fields are sums over ones; a tie is one, and the energy is that of the 1982 paper."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n, k = int(rng.integers(1, 14)), int(rng.integers(1, 6))
        patterns = rng.integers(0, 2, (k, n))
        bias = rng.integers(-3, 4, n) if seed % 2 else None
        network = HopfieldNetwork(
            n, scale="none", coding="binary", diagonal=diagonal, bias=bias
        ).store(patterns)
        t = twin.hebb(2 * patterns - 1)
        if diagonal == "zero":
            np.fill_diagonal(t, 0)
        assert np.array_equal(network.weights, t)
        b = np.zeros(n) if bias is None else bias.astype(float)
        assert np.array_equal(network.bias, b)
        for state in rng.integers(0, 2, (5, n)):
            fields = [twin.field(t, b, state, i) for i in range(n)]
            assert network.fields(state).tolist() == fields
            assert network.energy(state) == twin.energy(t, b, state)
            order = reference_network.sweep_order(("permutation", None, seed), n, 0)
            got = network.retrieve(state, seed=seed, n_steps=1)
            assert np.array_equal(got, twin.sweep(t, b, state, order, 0))
            assert np.array_equal(
                network.retrieve(state, mode="sync", n_steps=1), twin.sync(t, b, state, 0)
            )
            rise = network.flip_energies(state)
            for i in range(n):
                turned = state.copy()
                turned[i] = 1 - turned[i]
                assert rise[i] == twin.energy(t, b, turned) - twin.energy(t, b, state)


@pytest.mark.parametrize("rule", ["storkey", "pseudo_inverse", "perceptron"])
def test_binary_units_of_the_other_rules_are_the_bipolar_network(rule: str) -> None:
    """bias=None puts the threshold in the middle of what the others send."""
    patterns, states = signs(81, 10, 50), signs(82, 20, 50)
    bipolar = HopfieldNetwork(50, rule).store(patterns)
    binary = HopfieldNetwork(50, rule, coding="binary").store((patterns + 1) // 2)
    # Two sums of 50 weights.
    sums = np.abs(binary.weights).sum(axis=1)
    assert (np.abs(binary.bias + binary.weights.sum(axis=1) / 2) <= 50 * 2.0**-53 * sums).all()
    found = bipolar.retrieve(states)
    assert np.array_equal(binary.retrieve((states + 1) // 2), (found + 1) / 2)
    assert same_bits(binary.fields((states + 1) // 2), bipolar.fields(states) / 2)
    overlaps = binary.recall((states + 1) // 2).overlaps
    assert same_bits(overlaps, bipolar.recall(states).overlaps)
    # One from 0 to 1 is a change of 1, from -1 to +1 one of 2.
    one, two = binary.recall((states + 1) // 2, n_steps=1), bipolar.recall(states, n_steps=1)
    assert set(one.change) == {1.0} and set(two.change) == {2.0}
    assert set(binary.recall((patterns + 1) // 2).change) == {0.0}


def test_flip_energies_are_differences_of_energies() -> None:
    for kind, network in networks_of_every_kind(14).items():
        if not network._wiring().symmetric:
            with pytest.raises(ValueError, match="not symmetric"):
                network.flip_energies(np.ones(14))
            continue
        states = states_for(network, 83, 5)
        # A difference of two energies, each the sum of 14 fields of 14 terms and the bias.
        terms = np.abs(network.weights).sum() + 2 * np.abs(network.bias).sum()
        rounding = 4 * (14 + 14 + 8) * 2.0**-53 * terms
        rises = network.flip_energies(states)
        for s, rise in zip(states, rises, strict=True):
            for i in range(14):
                turned = s.copy()
                turned[i] = -s[i] if network.coding == "bipolar" else 1 - s[i]
                difference = network.energy(turned) - network.energy(s)
                assert abs(difference - rise[i]) <= rounding, kind
        assert same_bits(rises[2], network.flip_energies(states[2]))


def test_one_after_the_other_the_energy_never_rises() -> None:
    """250 random networks with bias and non-negative self-coupling, eight starts each."""
    steps = 0
    for seed in range(250):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(2, 24))
        w = rng.normal(size=(n, n))
        w = w + w.T
        np.fill_diagonal(w, rng.random(n) * (seed % 2))
        network = HopfieldNetwork.from_weights(w, rng.normal(size=n))
        assert network.lyapunov("async")
        result = network.recall(signs(seed, 8, n), seed=seed, trace=True)
        assert result.converged.all()
        e = result.trace.energies
        assert (np.diff(e, axis=0) <= 1e-13 * np.abs(e).max()).all()
        # At a fixed point every unit agrees with its field, which holds its own pull.
        assert (network.flip_energies(result.state) >= -2 * np.diagonal(w) - 1e-12).all()
        steps += int(result.n_steps.sum())
    assert steps > 3000


def test_all_at_once_what_falls_is_the_energy_of_two_states() -> None:
    """E2(t) = -s(t) W s(t-1) - b (s(t) + s(t-1)) never rises; E does with a zero diagonal."""
    rises = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(3, 24))
        network = HopfieldNetwork(n, bias=rng.normal(size=n) / 4).store(signs(seed, 4, n))
        assert network.lyapunov("sync") == (not network.weights.any())
        result = network.recall(signs(seed + 1000, 6, n), mode="sync", trace=True)
        assert set(result.status) <= {"fixed point", "2-cycle"}
        s = result.trace.states
        w, b = network.weights, network.bias
        both = -(s[1:] * (s[:-1] @ w)).sum(axis=-1) - ((s[1:] + s[:-1]) * b).sum(axis=-1)
        # A state that rests stays in the trace as it is, which in a cycle is no step.
        for i, n_steps in enumerate(result.n_steps):
            assert (np.diff(both[:n_steps, i]) <= 1e-12 * n).all()
        rises += int((np.diff(result.trace.energies, axis=0) > 1e-9).sum())
    assert rises > 10


def test_self_coupling_decides_about_cycles() -> None:
    """500 networks of 30 units and 8 patterns, all at once: about 75 end in a cycle of two.
    With the diagonal kept none does, and the energy never rises.
    """
    cycles = rises = 0
    for seed in range(500):
        patterns, start = signs(seed, 8, 30), signs(seed + 5000, 30)
        zero = HopfieldNetwork(30).store(patterns)
        keep = HopfieldNetwork(30, diagonal="keep").store(patterns)
        cycles += zero.recall(start, mode="sync").status == "2-cycle"
        kept = keep.recall(start, mode="sync", trace=True)
        assert kept.status == "fixed point"
        rises += int((np.diff(kept.trace.energies) > 1e-12).sum())
    assert rises == 0
    # 75 of 500 were seen elsewhere; both counts are binomial.
    assert within(cycles, 75, math.sqrt(2 * 500 * 0.15 * 0.85))


def test_lyapunov_says_what_is_promised() -> None:
    patterns = signs(84, 5, 20)
    assert HopfieldNetwork(20).store(patterns).lyapunov()
    assert not HopfieldNetwork(20).store(patterns).lyapunov("sync")
    for rule in ("hebb", "pseudo_inverse"):
        kept = HopfieldNetwork(20, rule, diagonal="keep").store(patterns)
        assert kept.lyapunov("async")
        assert kept.lyapunov("sync")
    perceptron = HopfieldNetwork(20, "perceptron").store(signs(84, 10, 20))
    assert not perceptron.lyapunov("async")
    given = HopfieldNetwork.from_weights
    assert not given([[-1.0, 2], [2, 0]]).lyapunov("async")
    assert given([[1.0, 2], [2, 3]]).lyapunov("async")
    assert not given([[1.0, 2], [2, 3]]).lyapunov("sync")
    assert given([[2.0, 1], [1, 2]]).lyapunov("sync")
    assert given(np.zeros((3, 3))).lyapunov("sync")
    assert not given([[0.0, 1], [2, 0]]).lyapunov("sync")
    masked = HopfieldNetwork(20, diagonal="keep", mask=symmetric_mask(85, 20, 0.3)).store(
        patterns
    )
    assert not masked.lyapunov("sync")
    # Sums of outer products have no negative eigenvalue, but for rounding.
    below = 0
    for seed in range(20):
        rows = np.random.default_rng([86, seed]).integers(-3, 4, (3, 12)).astype(np.float64)
        semi = rows.T @ rows
        below += int(np.linalg.eigvalsh(semi)[0] < 0)
        assert given(semi).lyapunov("sync")
        assert not given(semi - 1e-9 * np.eye(12)).lyapunov("sync")
    assert below > 0
    with pytest.raises(ValueError, match="mode is 'both'"):
        given([[1.0]]).lyapunov("both")


def test_the_trace_is_the_way() -> None:
    """It ends where the call without it does, and each sweep is the call of one sweep."""
    network = HopfieldNetwork(60).store(signs(86, 14, 60))
    states = signs(87, 12, 60)
    for keywords in [
        {"seed": 4},
        {"mode": "sync", "n_steps": 9},
        {"order": "replacement"},
        {"temperature": np.linspace(1, 0, 12)},
        {"temperature": 0.5, "n_steps": 7, "seed": list(range(12))},
        {"n_steps": 0},
    ]:
        plain = network.recall(states, **keywords)
        traced = network.recall(states, trace=True, **keywords)
        assert same_bits(plain.state, traced.state)
        assert same_bits(plain.state, network.retrieve(states, **keywords))
        way = traced.trace
        assert len(way.states) == int(plain.n_steps.max(initial=0)) + 1
        assert same_bits(way.states[0], states.astype(float))
        assert same_bits(way.states[-1], plain.state)
        assert same_bits(way.energies[-1], plain.energy)
        assert same_bits(way.overlaps[-1], plain.overlaps)
        for i in range(12):
            assert (way.states[plain.n_steps[i] :, i] == plain.state[i]).all()
            last = way.states[max(int(plain.n_steps[i]) - 1, 0), i]
            expected = last @ network.patterns.T / 60
            assert np.abs(traced.weights[i] - expected).max() < 1e-15
            changed = float(np.abs(plain.state[i] - last).max())
            assert plain.change[i] == changed
    single = network.recall(states[0], trace=True)
    assert single.trace.states.shape == (single.n_steps + 1, 60)
    assert single.trace.energies.shape == (single.n_steps + 1,)


def test_overlaps_and_memories_of_a_recall() -> None:
    patterns = signs(88, 5, 200)
    network = HopfieldNetwork(200).store(patterns)
    result = network.recall(flipped(patterns, 0.1, 89))
    assert np.array_equal(result.state, patterns)
    assert np.array_equal(np.diagonal(result.overlaps), np.ones(5))
    assert result.memories()[0].ravel().tolist() == list(range(5))
    assert (result.margin > 0.5).all()
    assert "1 sweep)" in repr(result)
    assert "1 step)" in repr(network.recall(patterns, mode="sync"))
    assert "of memory" in result._repr_html_()
    # A recall remembers the network as it was.
    energy = result.energy
    network.store(signs(90, 30, 200))
    assert same_bits(result.energy, energy)
    assert result.overlaps.shape == (5, 5)


def test_given_weights_know_no_patterns() -> None:
    network = HopfieldNetwork.from_weights(np.eye(4)[::-1])
    result = network.recall(np.ones(4), trace=True)
    assert result.trace.overlaps is None
    for what in ("overlaps", "weights"):
        with pytest.raises(ValueError, match="knows no patterns"):
            getattr(result, what)
    assert "1 query of 4 features" in repr(result)
    page = result._repr_html_()
    assert "energy" in page and "of memory" not in page and "entropy" not in page
    with pytest.raises(ValueError, match="weights of this network were given"):
        network.store(np.ones(4))
    with pytest.raises(ValueError, match="knows no patterns"):
        network.stabilities()
    known = HopfieldNetwork.from_weights(np.eye(4)[::-1], patterns=np.ones((1, 4)))
    assert known.recall(np.ones(4)).overlaps.tolist() == [1.0]


# ---------------------------------------------------------------------------- small examples --


def test_only_the_unit_that_disagrees_flips() -> None:
    """Five units: potentials of -10 and +4 agree with their units, +1 turns its unit to +1."""
    w = np.zeros((5, 5))
    s = np.array([-1, 1, -1, 1, 1])
    # Unit 0 is pulled by -10, unit 1 by +4, unit 2 by +1, the others by +2.
    w[0, [1, 3]] = -5
    w[1, [3, 4]] = 2
    w[2, [0, 1, 3]] = 1, 1, 1
    w[3, 4] = w[4, 3] = 2
    network = HopfieldNetwork.from_weights(w)
    assert network.fields(s).tolist() == [-10, 4, 1, 2, 2]
    result = network.recall(s)
    assert result.state.tolist() == [-1, 1, 1, 1, 1]
    assert result.status == "fixed point"
    assert network.retrieve(s, mode="sync", n_steps=1).tolist() == [-1, 1, 1, 1, 1]


def test_two_units_oscillate_when_updated_at_once() -> None:
    """W = [[0, 1], [1, 0]]: (1, -1) and (-1, 1) for ever; one after the other they agree."""
    network = HopfieldNetwork.from_weights([[0, 1], [1, 0]])
    result = network.recall([1, -1], mode="sync", trace=True)
    assert result.status == "2-cycle"
    assert result.n_steps == 2
    assert result.trace.states.tolist() == [[1, -1], [-1, 1], [1, -1]]
    ends = {tuple(network.retrieve([1, -1], seed=seed)) for seed in range(20)}
    assert ends == {(1.0, 1.0), (-1.0, -1.0)}
    assert network.retrieve([1, -1], order=[0]).tolist() == [-1, -1]
    assert network.retrieve([1, -1], order=[1]).tolist() == [1, 1]
    assert network.retrieve([1, -1], mode="sync", n_steps=7).tolist() == [1, -1]


def test_an_exhaustive_landscape() -> None:
    """N = 10, two patterns of overlap 2: of 1024 states four are fixed points, +-p1 and +-p2,
    at -42, and every start ends in one of them.
    """
    p1, p2 = np.repeat([1, -1], 5), np.tile([1, -1], 5)
    assert p1 @ p2 == 2
    network = HopfieldNetwork(10, scale="none").store([p1, p2])
    states = twin.all_states(10)
    fixed = states[network.recall(states, n_steps=1).change == 0]
    assert {tuple(s) for s in fixed} == {tuple(s) for s in (p1, -p1, p2, -p2)}
    assert network.energy(fixed).tolist() == [-42] * 4
    assert network.energy(states).min() == -42
    ended = network.recall(states)
    assert ended.converged.all()
    assert (np.abs(ended.overlaps).max(axis=1) == 1).all()
    assert network.flip_energies(fixed).min() > 0


@pytest.mark.parametrize("n", [5, 8, 12])
def test_one_pattern_is_the_model_of_mattis(n: int) -> None:
    """Two fixed points, +-xi, at -(N^2 - N)/2, and every start ends there."""
    xi = signs(91, n)
    network = HopfieldNetwork(n, scale="none").store(xi)
    states = twin.all_states(n)
    fixed = states[network.recall(states, n_steps=1).change == 0]
    assert {tuple(s) for s in fixed} == {tuple(xi), tuple(-xi)}
    assert network.energy(xi) == network.energy(-xi) == -(n * n - n) / 2
    ended = network.retrieve(states)
    assert {tuple(s) for s in ended} == {tuple(xi), tuple(-xi)}


def test_ghosts_are_as_deep_as_what_they_are_ghosts_of() -> None:
    patterns = signs(92, 6, 150)
    network = HopfieldNetwork(150).store(patterns)
    assert np.array_equal(network.retrieve(-patterns), -patterns)
    assert same_bits(network.energy(patterns), network.energy(-patterns))
    states = signs(93, 40, 150)
    assert np.array_equal(network.retrieve(-states), -network.retrieve(states))
    biased = HopfieldNetwork(150, bias=0.01 * patterns[0]).store(patterns)
    assert biased.energy(patterns[0]) < biased.energy(-patterns[0])


def test_a_bias_is_a_weight_from_a_unit_that_is_always_one() -> None:
    rng = np.random.default_rng(94)
    for seed in range(20):
        n = 12
        w = rng.integers(-3, 4, (n, n)).astype(float)
        w = w + w.T
        np.fill_diagonal(w, 0)
        b = rng.integers(-3, 4, n).astype(float)
        larger = np.zeros((n + 1, n + 1))
        larger[:n, :n], larger[:n, n], larger[n, :n] = w, b, b
        biased = HopfieldNetwork.from_weights(w, b)
        clamped = HopfieldNetwork.from_weights(larger)
        for state in signs(seed, 3, n):
            extended = np.append(state, 1)
            order = np.random.default_rng(seed).permutation(n)
            got = clamped.retrieve(extended, order=order, clamped=[n])
            assert np.array_equal(got[:n], biased.retrieve(state, order=order))
            assert clamped.energy(extended) == biased.energy(state)


def test_clamped_units_complete_the_rest() -> None:
    """Half a pattern held, the other half random: the pattern comes, and what is held stays."""
    patterns = signs(95, 8, 200)
    network = HopfieldNetwork(200).store(patterns)
    known = np.arange(200) < 100
    states = signs(96, 8, 200)
    states[:, known] = patterns[:, known]
    for clamped in (known, np.flatnonzero(known)):
        assert np.array_equal(network.retrieve(states, clamped=clamped), patterns)
    wrong = -patterns
    wrong[:, ~known] *= -1
    held = network.retrieve(wrong, clamped=known)
    assert np.array_equal(held[:, known], wrong[:, known])


def test_a_hidden_label_is_retrieved() -> None:
    """Inputs and labels in one pattern: the label's units are asked with the rest clamped."""
    rng = np.random.default_rng(97)
    n_classes, n_inputs, n_labels = 5, 150, 40
    codes = signs(98, n_classes, n_labels)
    inputs = signs(99, n_classes, n_inputs)
    network = HopfieldNetwork(n_inputs + n_labels).store(np.hstack([inputs, codes]))
    label = rng.integers(0, n_classes, 60)
    seen = inputs[label] * np.where(rng.random((60, n_inputs)) < 0.15, -1, 1)
    states = np.hstack([seen, signs(100, 60, n_labels)])
    result = network.recall(states, clamped=np.arange(n_inputs))
    answer = (result.state[:, n_inputs:] @ codes.T).argmax(axis=1)
    assert np.array_equal(answer, label)
    assert np.array_equal(result.memories()[0].ravel(), label)


def test_ties() -> None:
    """A unit whose field is 0 stays, or goes where it is told."""
    network = HopfieldNetwork(4).store([[1, 1, 1, 1], [1, 1, -1, -1]])
    state = np.array([1, -1, 1, -1])
    assert network.fields(state).tolist() == [-0.5, 0.5, -0.5, 0.5]
    one = HopfieldNetwork.from_weights(np.zeros((3, 3)))
    assert one.retrieve([1, -1, 1]).tolist() == [1, -1, 1]
    assert one.retrieve([1, -1, 1], tie="+1").tolist() == [1, 1, 1]
    assert one.retrieve([1, -1, 1], tie="-1").tolist() == [-1, -1, -1]
    zero = HopfieldNetwork.from_weights(np.zeros((3, 3)), coding="binary")
    assert zero.retrieve([1, 0, 1], tie="-1").tolist() == [0, 0, 0]
    assert zero.retrieve([1, 0, 1], tie="+1").tolist() == [1, 1, 1]


def test_one_step_with_self_coupling_is_the_equation() -> None:
    """sign(M^T M q): the classical row of the table, dot product and identity."""
    patterns, queries = signs(101, 7, 45).astype(float), signs(102, 30, 45).astype(float)
    network = HopfieldNetwork(45, scale="none", diagonal="keep").store(patterns)
    z = uhn.Memory(patterns, separation="identity").retrieve(queries)
    assert np.array_equal(network.fields(queries), z)
    expected = np.where(z == 0, queries, np.sign(z))
    assert np.array_equal(network.retrieve(queries, mode="sync", n_steps=1), expected)


def test_pictures_with_a_quarter_of_their_pixels_turned() -> None:
    """N = 400, P = 10: all of 200 come back (load 0.025)."""
    patterns = signs(103, 10, 400)
    network = HopfieldNetwork(400).store(patterns)
    asked = flipped(np.repeat(patterns, 20, axis=0), 0.25, 104)
    assert np.array_equal(network.retrieve(asked), np.repeat(patterns, 20, axis=0))


# ----------------------------------------------------------------------------- known numbers --


@pytest.mark.parametrize(("alpha", "theory"), [(0.05, -0.5000004), (0.1, -0.5001542)])
def test_energy_and_overlap_of_retrieval(alpha: float, theory: float) -> None:
    """Amit, Gutfreund and Sompolinsky at T = 0, N = 1000: energy a unit and mean final overlap.

    E/N = -1/2 sum_mu m_mu^2 + K/(2N) has, averaged over all K patterns of a network, a standard
    deviation of 1/N, and the K - 1 other patterns are one short of alpha N: + 1/(2N).
    """
    n, n_networks = 1000, 4
    energies, wrong = [], []
    for seed in range(n_networks):
        patterns = signs(200 + seed, round(alpha * n), n)
        network = HopfieldNetwork(n).store(patterns)
        result = network.recall(patterns, seed=seed)
        assert result.converged.all()
        energies.append(result.energy.mean() / n)
        wrong.append((1 - np.diagonal(result.overlaps).mean()) / 2)
    assert within(np.mean(energies), theory + 0.5 / n, 1 / n / math.sqrt(n_networks))
    # Wrong bits of one pattern come together, a handful at a time.
    expected = (1 - twin.retrieval_overlap(alpha)) / 2
    error = math.sqrt(6 * expected / (n * round(alpha * n) * n_networks))
    assert within(np.mean(wrong), expected, error)


def test_the_transition_of_the_network() -> None:
    """At N = 1000 nearly all patterns stay up to a load of 0.12, with an overlap within 0.003
    of theory, and at 0.2, far beyond the critical 0.138, the mean overlap is below 0.6.
    """
    for alpha in (0.08, 0.12):
        found = []
        for seed in range(3):
            patterns = signs(210 + seed, round(alpha * 1000), 1000)
            result = HopfieldNetwork(1000).store(patterns).recall(patterns)
            found.append(np.diagonal(result.overlaps))
        overlaps = np.concatenate(found)
        # At 0.12 and this N one or two in a hundred escape, which no infinite network's do.
        assert (overlaps > 0.9).mean() > 0.97
        stayed = overlaps[overlaps > 0.9]
        error = stayed.std(ddof=1) / math.sqrt(len(stayed))
        assert error < 0.003 / 5, "the test can tell"
        assert within(stayed.mean(), twin.retrieval_overlap(alpha), error)
    patterns = signs(214, 200, 1000)
    result = HopfieldNetwork(1000).store(patterns).recall(patterns)
    lost = np.diagonal(result.overlaps)
    assert lost.mean() + 5 * lost.std(ddof=1) / math.sqrt(len(lost)) < 0.6


def test_the_constants_of_the_theory() -> None:
    """The twin's m(alpha) is the published one."""
    for alpha, m in [
        (0.05, 0.99999223),
        (0.08, 0.99955738),
        (0.1, 0.99799927),
        (0.13, 0.98721189),
    ]:
        assert abs(twin.retrieval_overlap(alpha) - m) < 1e-8
    assert abs(twin.retrieval_overlap(0.13790556649) - 0.96741711) < 1e-4


def test_basins_shrink_with_the_load() -> None:
    """N = 1000: the fraction that reaches an overlap of 0.9 from m0."""

    def reached(alpha: float, m0: float, n_networks: int = 1) -> tuple[float, int]:
        total, good = 0, 0
        for seed in range(n_networks):
            patterns = signs(220 + seed, round(alpha * 1000), 1000)
            result = (
                HopfieldNetwork(1000)
                .store(patterns)
                .recall(flipped(patterns, (1 - m0) / 2, seed))
            )
            good += int((np.diagonal(result.overlaps) > 0.9).sum())
            total += len(patterns)
        return good / total, total

    assert reached(0.05, 0.3)[0] >= 0.95
    assert reached(0.1, 0.3)[0] <= 0.2
    assert reached(0.1, 0.5)[0] >= 0.9
    fraction, total = reached(0.1, 0.4, 2)
    assert within(fraction, 0.69, math.sqrt(0.69 * 0.31 * 2 / total))
    assert reached(0.12, 0.4)[0] <= 0.35
    assert reached(0.12, 0.6)[0] >= 0.8


@pytest.mark.parametrize("alpha", [0.138, 0.2, 0.5])
def test_one_step_errors(alpha: float) -> None:
    """1/2 erfc(1/sqrt(2 alpha)) of the bits of stored patterns flip in one step."""
    n = 600
    k = round(alpha * n)
    expected = twin.one_step_error(n, k)
    gaussian = math.erfc(1 / math.sqrt(2 * alpha)) / 2
    assert abs(expected - gaussian) < 0.1 * gaussian
    wrong = []
    for seed in range(3):
        patterns = signs(230 + seed, k, n)
        network = HopfieldNetwork(n).store(patterns)
        wrong.append((network.retrieve(patterns, mode="sync", n_steps=1) != patterns).mean())
    # Two patterns share their crosstalk: allow for twice the variance of coins.
    assert within(np.mean(wrong), expected, math.sqrt(2 * expected / (3 * n * k)))


@pytest.mark.parametrize(("k", "published"), [(5, 2.03e-4), (10, 0.00921), (15, 0.0294)])
def test_errors_of_units_that_are_zero_or_one(k: int, published: float) -> None:
    """Hopfield's network of 100 units of 0 and 1: half the signal to noise of +1 and -1."""
    n = 100
    expected = twin.one_step_error_binary(n, k)
    assert abs(expected - published) < 0.12 * published  # the Gaussian value
    wrong, n_networks = 0, 400
    for seed in range(n_networks):
        patterns = (signs(1000 * k + seed, k, n) + 1) // 2
        network = HopfieldNetwork(n, scale="none", coding="binary").store(patterns)
        wrong += int((network.retrieve(patterns, mode="sync", n_steps=1) != patterns).sum())
    n_bits = n_networks * k * n
    # The units of one pattern see the same number of ones: errors come in bursts.
    assert within(wrong / n_bits, expected, math.sqrt(4 * expected / n_bits))


def test_mixtures_of_an_odd_number_of_patterns() -> None:
    """sign(sum of n patterns) has overlap 2^-(n-1) C(n-1, (n-1)/2) with each and energy
    -n m^2 / 2 a unit; that of three is stable.
    """
    n_units, n_networks = 2000, 8
    for n in (1, 3, 5, 7, 9):
        m = twin.mixture_overlap(n)
        assert m == {1: 1, 3: 1 / 2, 5: 3 / 8, 7: 5 / 16, 9: 35 / 128}[n]
        overlaps, energies, stable = [], [], []
        for seed in range(n_networks):
            patterns = signs(240 + 10 * n + seed, n, n_units)
            network = HopfieldNetwork(n_units).store(patterns)
            mixture = np.where(patterns.sum(axis=0) > 0, 1, -1)
            result = network.recall(mixture, n_steps=0)
            overlaps.append(result.overlaps.mean())
            energies.append(result.energy / n_units)
            stable.append(network.recall(mixture).overlaps.mean())
        # The variance of one unit's mean overlap with n patterns is at most 1.
        assert within(np.mean(overlaps), m, math.sqrt((1 - m * m) / n_units / n_networks))
        expected = -n * m * m / 2 * (1 - 1 / n_units)
        # d(n m^2 / 2) = sum m dm, and the n deviations are correlated at most fully.
        error = n * m * math.sqrt((1 - m * m) / n_units / n_networks)
        assert within(np.mean(energies), expected, error + 1e-12)
        if n == 3:
            assert within(np.mean(stable), m, math.sqrt(0.75 / n_units / n_networks))


def test_learning_rules_at_a_load_that_hebb_cannot_bear() -> None:
    """N = 100, 30 patterns: Hebb keeps a few per cent as fixed points, Storkey nearly all, the
    pseudo-inverse all; 1,500 dreams lift Hebb to nearly all, and 5,000 destroy everything.
    """

    def kept(network: HopfieldNetwork, patterns: Array) -> float:
        return float((network.retrieve(patterns, n_steps=1) == patterns).all(axis=1).mean())

    curves = []
    for seed in range(2):
        patterns = signs(260 + seed, 30, 100)
        network = HopfieldNetwork(100).store(patterns)
        curve = [kept(network, patterns)]
        for n_dreams in (500, 1000, 3500):
            network.unlearn(n_dreams, epsilon=0.01, seed=seed)
            curve.append(kept(network, patterns))
        rules = [
            kept(HopfieldNetwork(100, rule).store(patterns), patterns)
            for rule in ("storkey", "pseudo_inverse", "perceptron")
        ]
        kernel = kept(HopfieldNetwork(100).store(patterns).dream(20), patterns)
        curves.append([*curve, *rules, kernel])
    hebb, some, lifted, destroyed, storkey, projector, margin, kernel = np.mean(curves, axis=0)
    # Hebb keeps a pattern if none of 100 units is wrong; 60 patterns were asked. "Nearly all"
    # and "nothing" leave 6 and 3 of 60 to chance.
    keeps = (1 - twin.one_step_error(100, 30)) ** 100
    assert within(hebb, keeps, math.sqrt(keeps * (1 - keeps) / 60))
    assert hebb < some
    assert lifted > 0.9
    assert destroyed < 0.05
    assert storkey > 0.9
    assert projector == margin == 1
    assert kernel > 0.9


# ------------------------------------------------------------------------------- temperature --


@pytest.mark.parametrize("coding", ["bipolar", "binary"])
@pytest.mark.parametrize("mode", ["random", "sequential"])
def test_units_at_a_temperature_are_in_equilibrium(coding: str, mode: str) -> None:
    """Frequencies of all states of four units are the Boltzmann weights exp(-E/T), whatever the
    coding: the field of a unit of 0 and 1 counts once, that of +1 and -1 twice.
    """
    rng = np.random.default_rng(270)
    w = rng.normal(size=(4, 4)) / 2
    w = w + w.T
    np.fill_diagonal(w, 0)
    temperature, n = 1.3, 12000
    network = HopfieldNetwork.from_weights(w, rng.normal(size=4) / 2, coding=coding)
    low = -1 if coding == "bipolar" else 0
    states = twin.all_states(4, low)
    weight = np.exp([-twin.energy(w, network.bias, s) / temperature for s in states])
    expected = weight / weight.sum()
    start = np.full((n, 4), 1)
    ended = network.retrieve(
        start, seed=np.arange(n), temperature=temperature, n_steps=30, order=mode
    )
    numbers = ((ended == 1) * 2 ** np.arange(4)).sum(axis=1)
    found = np.bincount(numbers, minlength=16) / n
    for f, p in zip(found, expected, strict=True):
        assert within(f, p, math.sqrt(p * (1 - p) / n))


def test_one_pattern_at_a_temperature() -> None:
    """m = tanh(m / T): 0.9575 at T = 1/2, and nothing at T = 2."""
    n = 2000
    xi = signs(271, n)
    network = HopfieldNetwork(n).store(xi)
    for temperature, m in [(0.5, 0.9575040241), (1 / 1.5, 0.8585596366)]:
        ended = network.recall(
            np.tile(xi, (20, 1)), seed=range(20), temperature=temperature, n_steps=20
        )
        # Units are independent but for their mean, whose fluctuations the mean field amplifies.
        slope = 1 - (1 - m * m) / temperature
        error = math.sqrt((1 - m * m) / slope / n / 20)
        assert within(ended.overlaps.mean(), m, error + 1 / n)
        assert set(ended.status) == {"step limit"}
    hot = network.recall(np.tile(xi, (20, 1)), seed=range(20), temperature=2.0, n_steps=30)
    assert within(hot.overlaps.mean(), 0, math.sqrt(2 / n / 20))


def test_temperatures_one_a_sweep() -> None:
    """A list anneals; its length is the number of sweeps, and a 0 is the sign rule."""
    network = HopfieldNetwork(80).store(signs(272, 6, 80))
    states = signs(273, 5, 80)
    constant = network.retrieve(states, temperature=0.6, n_steps=7)
    assert same_bits(network.retrieve(states, temperature=[0.6] * 7), constant)
    assert same_bits(
        network.retrieve(states, temperature=[0.0] * 100), network.retrieve(states)
    )
    cooled = network.recall(states, temperature=np.append(np.linspace(1, 0.1, 10), [0] * 30))
    assert cooled.converged.all()
    for bad in ([0.1, 0.2], -1.0, math.nan):
        with pytest.raises(ValueError, match="temperature"):
            network.retrieve(states, temperature=bad, n_steps=7)


# ------------------------------------------------------------------------------ optimisation --


class Quadratic:
    """const + sum of weight (a . x + k)^2 and linear terms over units of 0 and 1."""

    def __init__(self, n: int) -> None:
        self.pairs = np.zeros((n, n))
        self.linear = np.zeros(n)
        self.constant = 0.0

    def square(self, terms: dict[int, float], k: float, weight: float = 1.0) -> None:
        """Adds weight (sum_i terms[i] x_i + k)^2, in which x_i^2 = x_i."""
        for i, a in terms.items():
            self.linear[i] += weight * a * (a + 2 * k)
            for j, b in terms.items():
                if i != j:
                    self.pairs[i, j] += 2 * weight * a * b
        self.constant += weight * k * k

    def together(self, i: int, j: int, weight: float = 1.0) -> None:
        """Adds weight x_i x_j."""
        self.pairs[i, j] += weight
        self.pairs[j, i] += weight

    def network(self) -> HopfieldNetwork:
        return HopfieldNetwork.from_weights(-self.pairs, -self.linear, coding="binary")

    def values(self, states: Array) -> Array:
        """What the sum is, without the network."""
        pairs = (states[:, :, None] * states[:, None, :] * self.pairs).sum(axis=(1, 2)) / 2
        return pairs + states @ self.linear + self.constant

    def solve(self) -> tuple[float, int]:
        """The least value by the network's energy, and how many states have it."""
        states = twin.all_states(len(self.linear), 0)
        network = self.network()
        energies = network.energy(states) + self.constant
        some = np.random.default_rng(280).integers(0, len(states), 50)
        assert np.abs(energies[some] - self.values(states[some].astype(float))).max() < 1e-9
        least = energies.min()
        # The network finds it, too: many starts, annealed from the largest pull down.
        n_sweeps = 60
        warm = np.append(np.linspace(np.abs(self.pairs).max() + 1, 0.3, n_sweeps), [0] * 20)
        starts = np.random.default_rng(281).integers(0, 2, (64, len(self.linear)))
        ended = network.recall(starts, temperature=warm, seed=range(64))
        assert abs(ended.energy.min() + self.constant - least) < 1e-9
        return float(least), int((energies < least + 1e-9).sum())


def edges_of(name: str) -> tuple[int, list[tuple[int, int]]]:
    """A few graphs with known largest cuts."""
    if name == "C5":
        return 5, [(i, (i + 1) % 5) for i in range(5)]
    if name == "Petersen":
        outer = [(i, (i + 1) % 5) for i in range(5)]
        inner = [(5 + i, 5 + (i + 2) % 5) for i in range(5)]
        return 10, outer + inner + [(i, 5 + i) for i in range(5)]
    if name == "K3,3":
        return 6, [(i, 3 + j) for i in range(3) for j in range(3)]
    if name == "Q3":
        return 8, [(i, i ^ b) for i in range(8) for b in (1, 2, 4) if i < i ^ b]
    return 6, list(itertools.combinations(range(6), 2))


@pytest.mark.parametrize(
    ("name", "largest"), [("C5", 4), ("Petersen", 12), ("K3,3", 9), ("Q3", 12), ("K6", 9)]
)
def test_largest_cuts(name: str, largest: int) -> None:
    """W = -adjacency: the energy is the edges within less the edges across."""
    n, edges = edges_of(name)
    adjacency = np.zeros((n, n))
    for i, j in edges:
        adjacency[i, j] = adjacency[j, i] = 1
    network = HopfieldNetwork.from_weights(-adjacency)
    states = twin.all_states(n)
    cuts = (len(edges) - network.energy(states)) / 2
    across = sum((states[:, i] != states[:, j]).astype(int) for i, j in edges)
    assert np.array_equal(cuts, across)
    assert cuts.max() == largest
    ended = network.recall(
        signs(282, 40, n),
        temperature=np.append(np.linspace(2, 0.2, 40), [0] * 10),
        seed=range(40),
    )
    assert (len(edges) - ended.energy.min()) / 2 == largest


def test_an_assignment() -> None:
    """Costs [[4,1,3],[2,0,5],[3,2,2]]: 5, by columns 1, 0, 2 and no other way."""
    problem = Quadratic(9)
    costs = [[4, 1, 3], [2, 0, 5], [3, 2, 2]]
    for i, j in itertools.product(range(3), repeat=2):
        problem.linear[3 * i + j] += costs[i][j]
    for i in range(3):
        problem.square({3 * i + j: 1.0 for j in range(3)}, -1, 10)
        problem.square({3 * j + i: 1.0 for j in range(3)}, -1, 10)
    assert problem.solve() == (5, 1)


def test_four_queens() -> None:
    """Two ways of 2^16."""
    problem = Quadratic(16)
    for i in range(4):
        problem.square({4 * i + j: 1.0 for j in range(4)}, -1)
        problem.square({4 * j + i: 1.0 for j in range(4)}, -1)
    for (a, b), (c, d) in itertools.combinations(itertools.product(range(4), repeat=2), 2):
        if abs(a - c) == abs(b - d):
            problem.together(4 * a + b, 4 * c + d)
    assert problem.solve() == (0, 2)


@pytest.mark.parametrize(("n_slots", "answer"), [(3, (0, 30)), (2, (1, 20))])
def test_a_timetable_is_a_colouring(n_slots: int, answer: tuple[float, int]) -> None:
    """Five lectures in a ring of conflicts: 30 timetables of three slots, none of two."""
    problem = Quadratic(5 * n_slots)
    for v in range(5):
        problem.square({v * n_slots + c: 1.0 for c in range(n_slots)}, -1)
        for c in range(n_slots):
            problem.together(v * n_slots + c, (v + 1) % 5 * n_slots + c)
    assert problem.solve() == answer


def test_a_route() -> None:
    """s-a 1, s-b 4, a-b 2, a-t 6, b-t 3: from s to t at a cost of 6, by s-a-b-t alone."""
    problem = Quadratic(5)
    problem.linear += [1, 4, 2, 6, 3]
    sa, sb, ab, at, bt = range(5)
    problem.square({sa: 1, sb: 1}, -1, 10)
    problem.square({at: 1, bt: 1}, -1, 10)
    problem.square({sa: 1, ab: -1, at: -1}, 0, 10)
    problem.square({sb: 1, ab: 1, bt: -1}, 0, 10)
    assert problem.solve() == (6, 1)
    states = twin.all_states(5, 0)
    best = states[problem.network().energy(states).argmin()]
    assert np.flatnonzero(best).tolist() == [sa, ab, bt]


def test_a_spin_glass_against_enumeration() -> None:
    """Sherrington and Kirkpatrick, 14 units: annealing finds the ground state and its ghost."""
    for seed in range(5):
        rng = np.random.default_rng(290 + seed)
        j = np.triu(rng.normal(size=(14, 14)) / math.sqrt(14), 1)
        network = HopfieldNetwork.from_weights(j + j.T)
        states = twin.all_states(14)
        energies = network.energy(states)
        by_hand = -((states @ j) * states).sum(axis=1)
        assert np.abs(energies - by_hand).max() < 1e-12
        cooling = np.append(np.linspace(1.5, 0.05, 80), [0] * 10)
        ended = network.recall(signs(seed, 60, 14), temperature=cooling, seed=range(60))
        assert abs(ended.energy.min() - by_hand.min()) < 1e-12
        best = states[by_hand.argmin()]
        deepest = ended.state[ended.energy.argmin()]
        assert np.array_equal(deepest, best) or np.array_equal(deepest, -best)


# -------------------------------------------------------------------------------- the object --


@pytest.mark.parametrize("kind", KINDS)
def test_pickles_and_copies(kind: str) -> None:
    network = networks_of_every_kind()[kind]
    states = states_for(network, 300, 5)
    found = network.retrieve(states)
    for other in (
        pickle.loads(pickle.dumps(network)),
        copy.copy(network),
        copy.deepcopy(network),
    ):
        assert same_bits(other.weights, network.weights)
        assert same_bits(other.bias, network.bias)
        assert same_bits(other.patterns, network.patterns)
        assert same_bits(other.retrieve(states), found)
        assert repr(other) == repr(network)
        # What a copy learns is its own.
        if network.n_patterns and kind not in ("unlearned",) and other._stored.given is None:
            before = network.weights
            other.store(states[:1])
            assert len(other) == len(network) + 1
            assert same_bits(network.weights, before)


@pytest.mark.parametrize("kind", KINDS)
def test_configurations_go_round(kind: str) -> None:
    network = networks_of_every_kind()[kind]
    config = network.get_config()
    empty = HopfieldNetwork.from_config(config)
    assert len(empty) == 0
    again = empty.get_config()
    assert list(again) == list(config)
    for name, value in config.items():
        assert np.array_equal(again[name], value), name
    with pytest.raises(ValueError, match="has no parameter temperature"):
        HopfieldNetwork.from_config(config | {"temperature": 1})
    if network._stored.given is None and network._stored.dreamt is None:
        assert same_bits(empty.store(network.patterns).weights, network.weights)


def test_a_network_stored_from_other_threads() -> None:
    """A reader sees the network before or after a store, never between."""
    patterns = signs(310, 12, 64)
    network = HopfieldNetwork(64).store(patterns[0])
    probe = signs(311, 3, 64)
    expected = []
    for k in range(1, 13):
        expected.append(HopfieldNetwork(64).store(patterns[:k]).fields(probe).tobytes())
    seen: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(network.fields(probe).tobytes())

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for row in patterns[1:]:
        network.store(row)
        time.sleep(0.001)
    done.set()
    for reader in readers:
        reader.join()
    assert set(seen) <= set(expected)
    assert network.fields(probe).tobytes() == expected[-1]


def test_an_empty_network_says_so() -> None:
    network = HopfieldNetwork(5)
    assert len(network) == network.n_patterns == 0
    assert network.patterns.shape == (0, 5)
    assert not network.weights.any()
    assert not network.bias.any()
    for call in (network.retrieve, network.recall, network.energy, network.fields):
        with pytest.raises(ValueError, match="the network is empty: store patterns first"):
            call(np.ones(5))
    for nothing in (network.lyapunov, network.stabilities, lambda: network.unlearn(1)):
        with pytest.raises(ValueError, match=r"store patterns first|knows no patterns"):
            nothing()
    with pytest.raises(ValueError, match="knows no patterns to dream of"):
        network.dream(1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_features": 0}, ValueError, "n_features is 0; it must be at least 1"),
        ({"n_features": 2.0}, TypeError, "n_features must be a whole number, not float"),
        ({"rule": "delta"}, ValueError, "rule is 'delta'; it is one of 'hebb', 'storkey'"),
        ({"scale": "N"}, ValueError, "scale is 'N'"),
        ({"diagonal": 0}, ValueError, "diagonal is 0"),
        ({"coding": "01"}, ValueError, "coding is '01'; it is one of 'bipolar', 'binary'"),
        ({"bias": [1, 2]}, ValueError, r"bias has shape \(2,\)"),
        ({"bias": [1, 2, np.nan]}, ValueError, r"bias\[2\] is not finite"),
        ({"bias": "no"}, TypeError, "bias must be real"),
        ({"bias": 1j}, TypeError, "bias must be real numbers, not complex"),
        ({"mask": np.ones((3, 3))}, TypeError, "mask must be of bool, not float64"),
        ({"mask": np.ones((2, 3), bool)}, ValueError, r"mask has shape \(2, 3\)"),
        ({"kappa": -1}, ValueError, "kappa is -1; it must be at least 0"),
        ({"kappa": "1"}, TypeError, "kappa must be a number, not str"),
        ({"kappa": math.inf}, ValueError, "kappa must be finite"),
        ({"max_epochs": 0}, ValueError, "max_epochs is 0"),
        ({"rule": "covariance"}, ValueError, "pass coding='binary'"),
        ({"rule": "covariance", "coding": "binary"}, ValueError, "needs activity="),
        (
            {"rule": "covariance", "coding": "binary", "activity": 1.0},
            ValueError,
            "activity is 1; it must be between 0 and 1",
        ),
        ({"rule": "storkey", "diagonal": "keep"}, ValueError, "pass diagonal='zero'"),
        ({"rule": "perceptron", "diagonal": "keep"}, ValueError, "pass diagonal='zero'"),
        (
            {"rule": "pseudo_inverse", "mask": np.ones((3, 3), bool)},
            ValueError,
            "use rule='perceptron'",
        ),
        (
            {"rule": "storkey", "mask": np.triu(np.ones((3, 3), bool))},
            ValueError,
            "pass mask & mask.T",
        ),
    ],
)
def test_bad_parameters(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        HopfieldNetwork(**({"n_features": 3} | arguments))


def test_bad_rows() -> None:
    """Patterns and states are looked at entry by entry; the coding is never guessed."""
    network = HopfieldNetwork(3).store([1, 1, -1])
    binary = HopfieldNetwork(3, coding="binary").store([1, 1, 0])
    for call, name in ((network.store, "patterns"), (network.retrieve, "states")):
        with pytest.raises(
            ValueError, match=rf"{name}\[0, 1\] is 0.*coding='binary', or 2 \* x"
        ):
            call([[1, 0, 1]])
        with pytest.raises(ValueError, match=rf"{name}\[0, 2\] is 0.5.*threshold them first"):
            call([1, 1, 0.5])
        with pytest.raises(ValueError, match=rf"{name}.*3"):
            call([1, 1])
        with pytest.raises(ValueError, match=r"NaN|nan"):
            call([1, 1, math.nan])
        with pytest.raises(TypeError):
            call(["a", "b", "c"])
        with pytest.raises(TypeError):
            call([1j, 1, 1])
    with pytest.raises(ValueError, match=r"states\[0, 2\] is -1.*coding='bipolar'"):
        binary.retrieve([1, 0, -1])
    assert len(network) == len(binary) == 1


def test_bad_calls() -> None:
    network = HopfieldNetwork(4).store([1, 1, -1, 1])
    states = np.ones((2, 4))
    for keywords, error, message in [
        ({"mode": "both"}, ValueError, "mode is 'both'"),
        ({"n_steps": -1}, ValueError, "n_steps is -1"),
        ({"n_steps": 1.5}, TypeError, "n_steps must be a whole number"),
        ({"order": "shuffled"}, ValueError, "order is 'shuffled'"),
        ({"order": [4]}, ValueError, "order lists unit 4"),
        ({"order": [0, 1], "mode": "sync"}, ValueError, "order is for mode='async'"),
        ({"tie": 0}, ValueError, "tie is 0"),
        ({"clamped": [-1]}, ValueError, "clamped lists unit -1"),
        ({"clamped": np.zeros(3, bool)}, ValueError, r"clamped has shape \(3,\)"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"seed": True}, TypeError, "seed must be a whole number, not a bool"),
    ]:
        for call in (network.retrieve, network.recall):
            with pytest.raises(error, match=message):
                call(states, **keywords)
    with pytest.raises(ValueError, match="n_dreams is -1"):
        network.unlearn(-1)
    with pytest.raises(ValueError, match="epsilon must be finite"):
        network.unlearn(1, epsilon=math.nan)
    with pytest.raises(ValueError, match="n_steps is 0"):
        network.unlearn(1, n_steps=0)
    with pytest.raises(ValueError, match=r"at most \d+"):
        HopfieldNetwork(4, "perceptron", max_epochs=2**31).store(np.ones(4))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 2.0], r"weights has shape \(2,\); it must be \(n_features, n_features\)"),
        (np.ones((2, 3)), r"weights has shape \(2, 3\)"),
        ([[0, math.inf], [1, 0]], "weights"),
        (np.empty((0, 0)), "weights"),
    ],
)
def test_bad_weights(weights: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HopfieldNetwork.from_weights(weights)


def test_weights_of_patterns_need_patterns() -> None:
    with pytest.raises(ValueError, match="needs patterns="):
        HopfieldNetwork.from_weights(np.eye(2), scale="patterns")
    with pytest.raises(ValueError, match="patterns"):
        HopfieldNetwork.from_weights(np.eye(2), patterns=[[1, 0]])
    given = np.array([[1.0, 2], [3, 4]])
    network = HopfieldNetwork.from_weights(given, diagonal="zero")
    assert network.weights.tolist() == [[0, 2], [3, 0]]
    given[0, 1] = 9
    assert network.weights.tolist() == [[0, 2], [3, 0]]


def test_asymmetric_weights_have_no_energy() -> None:
    """They run, in the direction W[i, j] says; the energy is refused with the way out."""
    network = HopfieldNetwork.from_weights([[0, 1, 0], [0, 0, 1], [-1, 0, 0]])
    assert network.fields([1, -1, 1]).tolist() == [-1, 1, -1]
    assert network.retrieve([1, -1, 1], mode="sync", n_steps=1).tolist() == [-1, 1, -1]
    assert network.recall([1, 1, 1], n_steps=50).status == "step limit"
    for call in (network.energy, network.flip_energies, lambda s: network.recall(s).energy):
        with pytest.raises(ValueError, match=r"not symmetric.*\(W \+ W.T\) / 2"):
            call(np.ones(3))
    assert network.recall(np.ones(3), trace=True).trace.energies is None


@pytest.mark.parametrize("what", ["storkey", "perceptron", "unlearn", "retrieve"])
def test_long_calls_can_be_stopped(what: str) -> None:
    """Ctrl-C comes within a tenth of a second, and leaves the network as it was."""
    patterns = signs(320, 400, 800)
    if what == "perceptron":
        network = HopfieldNetwork(200, "perceptron", kappa=50.0, max_epochs=10**6)
        patterns = patterns[:, :200]
    else:
        network = HopfieldNetwork(800, "storkey" if what == "storkey" else "hebb")
        if what != "storkey":
            network.store(patterns)
    weights = network.weights

    def long_call() -> None:
        if what == "unlearn":
            network.unlearn(10**6)
        elif what == "retrieve":
            network.retrieve(patterns, temperature=1.0, n_steps=10**6)
        else:
            while True:
                copy.copy(network).store(patterns)

    def lateness() -> float:
        sent = []

        def send() -> None:
            time.sleep(0.1 * SLOWED)
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

        sender = threading.Thread(target=send)
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            sender.start()
            long_call()
        late = time.monotonic() - sent[0]
        sender.join()
        return late

    # The machine may be busy with something else once, or twice.
    assert min(lateness() for _ in range(3)) < 0.1 * SLOWED
    assert same_bits(network.weights, weights)


def test_examples_of_the_docstrings() -> None:
    result = doctest.testmod(hopfield)
    assert result.attempted >= 6
    assert result.failed == 0


# ------------------------------------------------------------------------------------- peers --


@pytest.mark.oracle
def test_hopfieldnetwork_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of that name: the same weights, energies and states for the same orders."""
    peer = pytest.importorskip("hopfieldnetwork", reason="hopfieldnetwork is not installed")
    rng = np.random.default_rng(330)
    for _ in range(20):
        n, k = int(rng.integers(4, 60)), int(rng.integers(1, 9))
        patterns = rng.choice([-1, 1], (k, n))
        theirs = peer.HopfieldNetwork(N=n)
        for row in patterns:  # its batch form overflows the int8 it keeps patterns in
            theirs.train_pattern(row.astype(np.float64))
        ours = HopfieldNetwork(n).store(patterns)
        assert np.abs(ours.weights - theirs.w).max() < 1e-14
        for state in rng.choice([-1, 1], (4, n)):
            assert abs(ours.energy(state) - theirs.compute_energy(state)) < 1e-10
            order = rng.permutation(n)
            monkeypatch.setattr(np.random, "permutation", lambda _, order=order: order)
            theirs.set_initial_neurons_state(state.copy())
            theirs.update_neurons(1, "async")
            got = ours.retrieve(state, order=order, n_steps=1, tie="+1")
            assert np.array_equal(got, theirs.S)
            theirs.set_initial_neurons_state(state.copy())
            theirs.update_neurons(1, "sync")
            got = ours.retrieve(state, mode="sync", n_steps=1, tie="+1")
            assert np.array_equal(got, theirs.S)


def test_dreams_report_their_progress_and_can_be_ended_by_it() -> None:
    patterns = np.random.default_rng(5).integers(0, 2, (6, 30)) * 2.0 - 1.0
    seen: list[float] = []
    network = HopfieldNetwork(30).store(patterns)
    network.unlearn(4, on_progress=seen.append)
    assert seen == [0.25, 0.5, 0.75, 1.0]
    before = network.weights

    def enough(fraction: float) -> None:
        if fraction > 0.5:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        network.unlearn(4, on_progress=enough)
    assert np.array_equal(network.weights, before)
