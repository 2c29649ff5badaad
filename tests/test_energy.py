"""Energies of retrieval that becomes its own query: values, gradients, descent, refusals.

The oracle is `reference.energy` (float64 for float32, long double for float64). A score is off
by at most its bound e (bounds.py), and the energy then by at most sum w e to first order, as
the weights w are the gradient of the Lagrangian; the additions bring gamma_n times the sum of
the magnitudes that are added.
"""

from __future__ import annotations

import numpy as np
import pytest

import bounds
import cases
import reference
import uhn

Array = np.ndarray

SIMPLEX = ["softmax", "max", "topk", "topk_softmax", "sparsemax", "entmax"]
PAIRS = [("dot", name) for name in cases.SEPARATIONS] + [
    ("sqeuclidean", name) for name in SIMPLEX
]


def case(similarity: str, separation: str, seed: int, n=40, d=9, n_states=12, dtype=np.float64):
    """Patterns and states with parameters that make the separation neither flat nor peaked."""
    rng = np.random.default_rng([seed, len(similarity), cases.SEPARATIONS.index(separation)])
    positive = cases.needs_positive(separation)
    patterns = (cases.data(rng, similarity, (n, d), dtype, positive) / 2).astype(dtype)
    states = (cases.data(rng, similarity, (n_states, d), dtype, positive) / 2).astype(dtype)
    scores = reference.similarity(patterns, states, similarity)
    parameters = cases.parameters(separation, scores)
    return patterns, states, parameters


def allowance(patterns, states, similarity, separation, parameters) -> Array:
    """How far the library's energies may be from the exact ones."""
    p = bounds.precision(patterns.dtype)
    scores = bounds.scores(patterns, states, similarity)
    wide, u = p.wide, p.u
    w = np.abs(reference.separate(scores.value, separation, **parameters))
    n, d = len(patterns), patterns.shape[1]
    # Magnitudes that are added: the terms w s of the Lagrangian (its other terms are at most as
    # large, or one logarithm), and the squares of the state.
    terms = (w * (np.abs(scores.value) + 1)).sum(axis=1) + 1
    if separation in ("exponential", "softmax", "softmax1", "topk_softmax"):
        terms = terms + 1 / parameters["beta"]
    if separation == "exponential":
        terms = terms + w.sum(axis=1) / parameters["beta"]
    if separation in ("sparsemax", "entmax"):
        terms = terms + 2 / parameters["beta"]
    squares = (states.astype(wide) ** 2).sum(axis=1)
    roundings = bounds.sum_roundings(n) + d + 64
    powers = 1 + parameters.get("degree", 1)
    slope = (w * scores.bound).sum(axis=1) * 2  # to second order
    return p.slack * (slope + bounds.gamma(roundings, u) * (powers * terms + squares))


@pytest.mark.parametrize(("similarity", "separation"), PAIRS)
@pytest.mark.parametrize("dtype", cases.DTYPES, ids=["float32", "float64"])
def test_energy_is_that_of_the_reference(similarity, separation, dtype) -> None:
    for seed, n in [(0, 40), (1, 1), (2, 1100)]:
        patterns, states, parameters = case(similarity, separation, seed, n=n, dtype=dtype)
        memory = uhn.Memory(
            patterns, similarity=similarity, separation=separation, **parameters
        )
        wide = bounds.precision(dtype).wide
        expected = reference.energy(
            patterns.astype(wide), states.astype(wide), similarity, separation, **parameters
        )
        allowed = allowance(patterns, states, similarity, separation, parameters)
        result = memory.energy(states)
        assert result.dtype == np.float64 and result.shape == (len(states),)
        error = np.abs(result.astype(np.longdouble) - expected)
        assert (error <= allowed).all(), float((error / allowed).max())
        told = 1e-2 if dtype == np.float32 else 1e-10
        assert (allowed < told * (1 + np.abs(expected))).all(), "the bound must say something"


@pytest.mark.parametrize("separation", cases.WITH_PRIOR)
def test_a_prior_of_two_is_a_pattern_stored_twice(separation) -> None:
    patterns, states, parameters = case("dot", separation, 5)
    prior = np.arange(1, len(patterns) + 1) % 3 + 1.0
    memory = uhn.Memory(patterns, separation=separation, prior=prior, **parameters)
    twice = np.repeat(patterns, prior.astype(int), axis=0)
    expected = reference.energy(twice, states, "dot", separation, **parameters)
    again = reference.energy(patterns, states, "dot", separation, prior, **parameters)
    # The reference is in double, as the library: each is allowed its roundings. Priors add two
    # to every weight, and no more terms than copies would.
    allowed = 2 * allowance(twice, states, "dot", separation, parameters)
    assert (np.abs(memory.energy(states) - expected) <= allowed).all()
    assert (np.abs(again - expected) <= allowed).all()
    assert (allowed < 1e-10 * (1 + np.abs(expected))).all(), "the bound must say something"


def test_energy_against_log_sum_exp_of_others() -> None:
    """SciPy's logsumexp, and scikit-learn's Gaussian kernel density for mean shift."""
    special = pytest.importorskip("scipy.special")
    neighbors = pytest.importorskip("sklearn.neighbors")
    rng = np.random.default_rng(8)
    patterns, states = rng.normal(size=(50, 7)), rng.normal(size=(20, 7))
    beta, width = 1.7, 0.8
    energy = uhn.Memory(patterns, beta=beta).energy(states)
    expected = (states**2).sum(1) / 2 - special.logsumexp(
        beta * states @ patterns.T, axis=1
    ) / beta
    # Ours and SciPy's, which adds up in another order.
    allowed = 2 * allowance(patterns, states, "dot", "softmax", {"beta": beta})
    assert (np.abs(energy - expected) <= allowed).all() and allowed.max() < 1e-11
    density = neighbors.KernelDensity(
        bandwidth=width, kernel="gaussian", rtol=1e-12, atol=0
    ).fit(patterns)
    beta = 1 / (2 * width**2)
    energy = uhn.Memory(patterns, similarity="sqeuclidean", beta=beta).energy(states)
    constant = np.log(50) + 7 / 2 * np.log(2 * np.pi * width**2)
    # scikit-learn's tree is told to add up all but 1e-12 of the density: its logarithm may be
    # off by that, and -beta E by beta times what is allowed to E.
    allowed = 2 * beta * allowance(patterns, states, "sqeuclidean", "softmax", {"beta": beta})
    off = np.abs(-beta * energy - density.score_samples(states) - constant)
    assert (off <= allowed + 1e-12).all() and allowed.max() < 1e-10


@pytest.mark.parametrize(("similarity", "separation"), PAIRS)
def test_energy_never_rises_and_the_gradient_points_up(similarity, separation) -> None:
    """For dot E(v') <= E(v) - |v' - v|^2 / 2; hundreds of steps from random states."""
    fell = steps = 0
    for seed in range(12):
        patterns, states, parameters = case(similarity, separation, seed, n=6 + 5 * seed)
        if separation in ("identity", "polynomial", "rectified_polynomial", "exponential"):
            patterns = patterns / np.sqrt((patterns**2).sum())  # else states blow up
            states = states / np.sqrt((states**2).sum(axis=1, keepdims=True))
        memory = uhn.Memory(
            patterns, similarity=similarity, separation=separation, **parameters
        )
        assert memory.lyapunov() is True and memory.lyapunov("sync") is True
        before = memory.energy(states)
        for _ in range(8):
            after = memory.retrieve(states)
            if not np.isfinite(after).all() or np.abs(after).max() > 50:
                break
            energy = memory.energy(after)
            moved = ((after - states) ** 2).sum(axis=1) / 2 if similarity == "dot" else 0
            size = 1 + np.abs(before) + np.abs(energy) + (states**2).sum(1) + (after**2).sum(1)
            # gamma of the operations of a score and of a sum, on both sides.
            noise = bounds.gamma(2 * (len(patterns) + patterns.shape[1] + 100), 2.0**-53) * size
            assert (energy <= before - moved + noise).all()
            fell += int((energy < before - noise).sum())
            steps += len(states)
            states, before = after, energy
    # All 12 x 12 x 8 but where states blow up; and all states move at least once.
    assert steps > 400 and fell >= 140, (steps, fell)


def test_an_even_power_is_not_promised_and_can_rise() -> None:
    memory = uhn.Memory([[1.0]], separation="polynomial", degree=2)
    assert memory.lyapunov() is False
    # E(v) = v^2/2 - v^3/3, and v -> v^2: from -1.2 to 1.44 to 2.07, the energy falls and rises.
    way = [-0.5]
    for _ in range(2):
        way.append(float(memory.retrieve([way[-1]])[0]))
    energies = memory.energy(np.array(way)[:, None])
    assert np.allclose(energies, [v**2 / 2 - v**3 / 3 for v in way], rtol=1e-14)
    rng = np.random.default_rng(0)
    rises = 0
    for _ in range(200):
        memory = uhn.Memory(rng.normal(size=(3, 2)), separation="polynomial", degree=2)
        v = rng.normal(size=(50, 2))
        rises += int((memory.energy(memory.retrieve(v)) > memory.energy(v) + 1e-9).sum())
    assert rises > 0


@pytest.mark.parametrize(
    ("similarity", "separation"),
    [pair for pair in PAIRS if pair[1] not in ("max", "topk", "topk_softmax", "threshold")],
)
def test_gradient_is_that_of_the_reference(similarity, separation) -> None:
    """Central differences of the long double reference.

    Their error falls as h^2, so that it is a third of what halving the step changes; besides,
    energies are off by their roundings over h. The gradient is v less what is retrieved, times
    2 for squared distances, and as far off as that.
    """
    patterns, states, parameters = case(similarity, separation, 3, n=12, d=5, n_states=4)
    memory = uhn.Memory(patterns, similarity=similarity, separation=separation, **parameters)
    gradient = memory.gradient(states)
    m = patterns.astype(np.longdouble)

    def slope(j: int, h: float) -> Array:
        up, down = states.astype(np.longdouble), states.astype(np.longdouble)
        up[:, j] += np.longdouble(h)
        down[:, j] -= np.longdouble(h)
        rise = reference.energy(m, up, similarity, separation, **parameters)
        rise = rise - reference.energy(m, down, similarity, separation, **parameters)
        return rise / (2 * np.longdouble(h))

    scores = bounds.scores(patterns, states, similarity)
    answer = bounds.retrieved(scores, patterns, separation, np.float64, **parameters)
    own = 2 * (answer.bound + 2.0**-52 * (np.abs(states) + np.abs(answer.value)))
    # What float64 would be off by, in the roundings of the wider type; over h.
    rounding = allowance(patterns, states, similarity, separation, parameters)
    rounding = rounding * float(np.finfo(np.longdouble).eps) / 2.0**-52 / 1e-6
    for j in range(states.shape[1]):
        near, far = slope(j, 1e-6), slope(j, 2e-6)
        allowed = np.abs(far - near) + own[:, j] + rounding
        assert (np.abs(gradient[:, j] - near) <= allowed).all()
        assert (allowed <= 1e-8 * (1 + np.abs(near))).all(), "the bound must say something"
    out = np.empty_like(states)
    assert memory.gradient(states, out=out) is out
    assert np.array_equal(out, gradient)
    assert np.array_equal(memory.gradient(states[1]), gradient[1])


def test_the_gradient_is_zero_at_a_fixed_point() -> None:
    patterns, states, _ = case("dot", "softmax", 9)
    memory = uhn.Memory(patterns, beta=1.0)
    found = memory.recall(states, 1000, tol=0)
    assert found.converged.all()
    assert np.array_equal(memory.gradient(found.state), np.zeros_like(states))


def test_batch_threads_and_history_do_not_change_a_bit() -> None:
    n_threads = uhn.get_num_threads()
    try:
        for similarity, separation in PAIRS:
            patterns, states, parameters = case(similarity, separation, 4, n=3000, d=17)
            keywords = {"similarity": similarity, "separation": separation, **parameters}
            memory = uhn.Memory(patterns, **keywords)
            whole = memory.energy(states)
            uhn.set_num_threads(3)
            assert np.array_equal(memory.energy(states), whole)
            uhn.set_num_threads(n_threads)
            assert [memory.energy(v) for v in states] == whole.tolist()
            pieces = uhn.Memory(**keywords)
            for rows in np.split(patterns, [1, 130, 1500]):
                pieces.store(rows, copy=True)
            assert np.array_equal(pieces.energy(states), whole)
    finally:
        uhn.set_num_threads(n_threads)


@pytest.mark.parametrize(
    ("keywords", "reason"),
    [
        ({"separation": "polynomial", "normalize": "sum"}, "divided by their sum"),
        ({"separation": "softmax", "normalize_scores": True}, "normalize_scores=False"),
        ({"similarity": "manhattan", "separation": "softmax"}, "'manhattan'"),
        ({"similarity": "sqeuclidean", "transform": "rbf"}, "transform"),
        ({"similarity": "sqeuclidean", "separation": "softmax1"}, "must sum to 1"),
        ({"similarity": "sqeuclidean", "separation": "exponential"}, "must sum to 1"),
        ({"similarity": "cosine"}, "'cosine'"),
        ({"similarity": lambda m, q: q @ m.T}, "caller's own"),
        ({"separation": lambda s: np.abs(s)}, "caller's own"),
        ({"separation": "softmax", "beta": 0.0}, "beta"),
    ],
)
def test_where_there_is_no_energy_the_call_says_why(keywords, reason) -> None:
    patterns = np.random.default_rng(0).random((5, 3))
    memory = uhn.Memory(patterns, **keywords)
    assert memory.lyapunov() is False
    for ask in (memory.energy, memory.gradient):
        with pytest.raises(ValueError, match=reason):
            ask(patterns)
    with pytest.raises(ValueError, match=reason):
        _ = memory.recall(patterns, 1).energy


def test_hetero_association_has_no_energy() -> None:
    memory = uhn.Memory(np.eye(3), np.eye(3)[::-1])
    with pytest.raises(ValueError, match="hetero"):
        memory.energy(np.eye(3))
    assert memory.lyapunov() is False


def test_bad_input() -> None:
    memory = uhn.Memory(np.eye(3))
    with pytest.raises(ValueError, match=r"states has shape \(2,\)"):
        memory.energy([1.0, 2.0])
    with pytest.raises(ValueError, match="NaN"):
        memory.energy([1.0, 2.0, np.nan])
    with pytest.raises(ValueError, match="empty"):
        uhn.Memory().energy([1.0])
    with pytest.raises(ValueError, match="'async'"):
        memory.lyapunov("async")
    with pytest.raises(TypeError, match="mode"):
        memory.lyapunov(3)
    with pytest.raises(ValueError, match="not finite"):
        uhn.Memory([[1e10]], separation="exponential").energy([1e10])
    assert memory.energy(np.empty((0, 3))).shape == (0,)


# ----------------------------------------------------------------------- the recall's result --


def test_a_recall_tells_energies_and_who_answered() -> None:
    patterns, states, _ = case("dot", "softmax", 6)
    memory = uhn.Memory(patterns, beta=3.0)
    r = memory.recall(states, 7, trace=True)
    assert np.array_equal(r.energy, memory.energy(r.state))
    assert np.array_equal(r.overlaps, memory.scores(r.state))
    # The weights are those of the last step: they make the state out of the values.
    # Two sums of 40 products of weights that sum to 1: as many roundings of the largest value.
    off = 2 * 40 * 2.0**-53 * np.abs(patterns).max()
    assert np.allclose(r.weights @ patterns, r.state, rtol=0, atol=off)
    w = r.weights
    # Terms of one sign, each with a few roundings of its own, and their sum of 40.
    entropy = -(w * np.log(w)).sum(axis=1)
    assert np.allclose(r.entropy, entropy, rtol=(40 + 10) * 2.0**-53, atol=40 * 2.0**-53)
    assert np.allclose(r.n_effective, np.exp(entropy), rtol=200 * 2.0**-53, atol=0)
    top = np.sort(r.overlaps, axis=1)
    assert np.array_equal(r.margin, top[:, -1] - top[:, -2])
    indices, weights = r.memories(3)
    assert np.array_equal(indices, np.argsort(-w, axis=1, kind="stable")[:, :3])
    assert np.array_equal(weights, np.take_along_axis(w, indices, axis=1))
    with pytest.raises(ValueError, match="k must be"):
        r.memories(41)


def test_weights_of_both_signs_count_by_their_size() -> None:
    """Entropy and rank are of |w|: a negative of a pattern is as strong as the pattern."""
    memory = uhn.Memory(np.eye(3), separation="identity")
    r = memory.recall([[1.0, -2.0, 1.0], [0.0, 0.0, -4.0]], 1)
    assert r.weights.tolist() == [[1, -2, 1], [0, 0, -4]]
    # 1/4, 1/2, 1/4: three halves of log 2; then one weight alone.
    assert np.allclose(r.entropy, [1.5 * np.log(2), 0], rtol=8 * 2.0**-53, atol=0)
    assert np.allclose(r.n_effective, [2**1.5, 1], rtol=16 * 2.0**-53, atol=0)
    indices, weights = r.memories(3)
    assert indices.tolist() == [[1, 0, 2], [2, 0, 1]], "ties in the order of the patterns"
    assert weights.tolist() == [[-2, 1, 1], [-4, 0, 0]]
    one = memory.recall([1.0, -2.0, 1.0], 1)
    assert one.entropy == r.entropy[0] and isinstance(one.n_effective, float)


def test_a_trace_is_the_way_the_states_went() -> None:
    patterns, states, _ = case("dot", "softmax", 7)
    memory = uhn.Memory(patterns, beta=2.0)
    r = memory.recall(states, 50, trace=True)
    longest = int(r.n_steps.max())
    assert r.trace.states.shape == (longest + 1, *states.shape)
    assert np.array_equal(r.trace.states[0], states)
    assert np.array_equal(r.trace.states[-1], r.state)
    for i, steps in enumerate(r.n_steps):
        for t in range(steps):
            after = memory.retrieve(r.trace.states[t, i])
            assert np.array_equal(r.trace.states[t + 1, i], after)
        assert (r.trace.states[steps:, i] == r.state[i]).all()
    assert np.array_equal(r.trace.energies[3], memory.energy(r.trace.states[3]))
    assert np.array_equal(r.trace.overlaps[3], memory.scores(r.trace.states[3]))
    one = memory.recall(states[2], 50, trace=True)
    assert np.array_equal(one.trace.states[-1], r.state[2])
    assert one.trace.energies.ndim == 1 and one.trace.overlaps.shape[1:] == (40,)
    silent = uhn.Memory(patterns, similarity="manhattan").recall(states, 3, trace=True)
    assert silent.trace.energies is None


def test_a_recall_keeps_the_memory_as_it_was() -> None:
    memory = uhn.Memory(np.eye(4), beta=5.0)
    r = memory.recall(np.eye(4)[0])
    before = r.weights
    memory.store(np.ones((3, 4)))
    assert np.array_equal(r.weights, before) and r.weights.shape == (4,)


def test_hetero_recall_of_one_step() -> None:
    rng = np.random.default_rng(1)
    keys, values = rng.normal(size=(6, 4)), rng.normal(size=(6, 2))
    memory = uhn.Memory(keys, values, beta=4.0)
    r = memory.recall(keys[:3], 1)
    assert np.array_equal(r.state, memory.retrieve(keys[:3]))
    assert np.array_equal(r.weights, memory.weights(keys[:3]))
    assert np.isnan(r.change).all() and r.n_steps.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="n_steps"):
        memory.recall(keys[:3], 2)
    with pytest.raises(ValueError, match="hetero"):
        _ = r.energy


def test_a_recall_shows_itself() -> None:
    memory = uhn.Memory(np.eye(3), beta=20.0)
    r = memory.recall(np.eye(3))
    assert repr(r).startswith("Recall(3 queries of 3 features: fixed point 3")
    page = r._repr_html_()
    assert page.count("<tr>") == 4 and "fixed point" in page and "energy" in page
    one = memory.recall([1.0, 0, 0])
    assert "1 query" in repr(one) and one._repr_html_().count("<tr>") == 2
    many = memory.recall(np.eye(3)[np.zeros(25, int)])
    assert "and 15 more" in many._repr_html_()
    none = uhn.Memory(np.eye(3), separation="threshold", theta=9.0).recall(np.eye(3))
    assert set(none.status) == {"no active location"}
    assert np.isnan(none.entropy).all()
    assert "no active location" in repr(none)


def test_powers_of_subnormal_scores_are_zero_and_not_infinite() -> None:
    memory = uhn.Memory([[1.0]], separation="polynomial", degree=3)
    state = np.array([1e-310])
    assert memory.retrieve(state)[0] == 0.0
    assert memory.energy(state) == 0.0
