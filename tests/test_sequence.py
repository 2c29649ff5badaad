"""Sequence memories: the rule to the bit, its errors, whole replays, ends, held patterns."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

import reference_continuous as twin
import uhn
from uhn.models import SequenceMemory

Array = np.ndarray


def song(seed, n_patterns, n_features):
    return np.random.default_rng(seed).choice([-1, 1], (n_patterns, n_features))


def filled(patterns, *args, **more):
    memory = SequenceMemory(patterns.shape[1], *args, **more)
    memory.store(patterns)
    return memory


# ---------------------------------------------------------------------------------- the rule --


@pytest.mark.parametrize("kind", ["polynomial", "exponential", "hold"])
def test_a_step_is_the_sign_of_the_fields(kind) -> None:
    """Each unit leaves itself out; a field of 0, which whole numbers have exactly, keeps it."""
    ties = own = compared = 0
    for seed in range(120):
        rng = np.random.default_rng([1, seed])
        n, count, degree = int(rng.integers(2, 14)), int(rng.integers(1, 12)), seed % 5 + 1
        X, s = song([2, seed], count, n), rng.choice([-1, 1], n)
        after = np.roll(X, -1, axis=0)

        def power(x, degree=degree):
            return x**degree

        def exponential(x, n=n):
            return math.exp((n - 1) * x)

        if kind == "polynomial":
            memory, f, more = filled(X, degree), power, {}
        elif kind == "exponential":
            memory, f, more = filled(X, separation="exponential"), exponential, {}
        else:
            hold = seed % 3 + 1
            drive = float(rng.uniform(0.2, 3))
            memory, f = filled(X, degree, hold=hold, drive=drive), power
            more = {"hold": lambda x, hold=hold: x**hold, "drive": drive}
        fields = twin.sequence_fields(X, after, s, f, **more)
        size = count * max(1.0, abs(f(1.0))) * (1 + more.get("drive", 1))
        clear = np.abs(fields) > 1e-12 * size
        got = memory.retrieve(s)
        assert np.array_equal(got[clear], np.sign(fields)[clear]), seed
        compared += int(clear.sum())
        if kind == "polynomial":
            assert np.array_equal(got[~clear], s[~clear]), "a tie keeps the state"
            ties += int((~clear).sum())
            whole = np.sign(((X @ s / n) ** degree) @ after)
            own += int((whole != np.where(fields == 0, s, np.sign(fields))).sum())
    assert compared > 500
    if kind == "polynomial":
        assert ties > 20, "there were ties"
        assert own > 20, "with itself in its sums a unit would do otherwise"


def test_degree_1_is_the_matrix_of_outer_products() -> None:
    """W = sum x^(mu+1) x^mu^T without its diagonal."""
    X = song(3, 7, 31)
    W = np.roll(X, -1, axis=0).T @ X
    np.fill_diagonal(W, 0)
    states = song(4, 50, 31)
    fields = states @ W.T
    want = np.where(fields == 0, states, np.sign(fields))
    assert np.array_equal(filled(X, 1).retrieve(states), want)


def test_whole_numbers_are_exact_where_they_fit() -> None:
    """N = 120 and degree 7: sums of 10^14 that a field must get right to the last unit."""
    X, states = song(5, 12, 120), song(6, 20, 120)
    got = filled(X, 7).retrieve(states)
    after = np.roll(X, -1, axis=0)
    for s, row in zip(states, got, strict=True):
        for i in range(0, 120, 17):
            others = np.arange(120) != i
            overlaps = [int(x[others] @ s[others]) for x in X]
            field = sum(int(v[i]) * o**7 for v, o in zip(after, overlaps, strict=True))
            assert row[i] == (s[i] if field == 0 else math.copysign(1, field))


def test_large_degrees_do_not_overflow() -> None:
    X = song(7, 50, 400)
    for memory in (filled(X, 90), filled(X, separation="exponential")):
        assert np.array_equal(memory.retrieve(X), np.roll(X, -1, axis=0))


# ----------------------------------------------------------------------- errors and capacity --


@pytest.mark.parametrize(
    ("n", "count", "degree"),
    [(60, 10, 1), (100, 20, 1), (50, 150, 2), (80, 400, 2), (30, 400, 3)],
)
def test_bits_wrong_after_one_step(n, count, degree) -> None:
    """The exact law of random patterns, within 4.5 standard errors of the mean over nets."""
    expected = twin.exact_transition_error(n, count, degree)
    rates = []
    for seed in range(40):
        X = song([8, n, count, degree, seed], count, n)
        asked = min(count, 60)
        wrong = filled(X, degree).retrieve(X[:asked]) != np.roll(X, -1, axis=0)[:asked]
        rates.append(wrong.mean())
    error = np.std(rates, ddof=1) / math.sqrt(len(rates))
    assert abs(np.mean(rates) - expected) <= 4.5 * error
    assert 0 < error < expected / 3, "the test can tell"


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_the_gaussian_law_is_the_limit_of_the_exact_one(degree) -> None:
    """At a fixed load N^d / (P (2d - 1)!!) = 4 the paper's formula gets closer as N grows."""
    gaps = []
    for n in {1: (20, 80, 320), 2: (12, 24, 60), 3: (12, 20, 36)}[degree]:
        count = round(n**degree / (4 * twin.double_factorial(2 * degree - 1)))
        exact = twin.exact_transition_error(n, count, degree)
        gaps.append(abs(exact / twin.transition_error(n, count, degree) - 1))
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 0.15, gaps


def test_capacities_of_the_paper() -> None:
    """At N = 100; the exponential memory's base is e^2 / cosh 2."""
    known = {1: (10.86, 5.43), 2: (361.9, 120.6), 3: (7238, 1810)}
    for degree, (transition, whole) in known.items():
        assert twin.transition_capacity(100, degree) == pytest.approx(transition, rel=5e-4)
        assert twin.sequence_capacity(100, degree) == pytest.approx(whole, rel=5e-4)
    assert math.exp(2) / math.cosh(2) == pytest.approx(1.964027580, abs=6e-10)


@pytest.mark.parametrize(("n", "count", "degree"), [(100, 5, 1), (100, 70, 2), (60, 150, 3)])
def test_whole_sequences_are_replayed(n, count, degree) -> None:
    """Until its first error a replay is at patterns: at most P N P_err of replays have one."""
    failing = count * n * twin.exact_transition_error(n, count, degree)
    assert failing < 0.5
    runs, good = 60, 0
    for seed in range(runs):
        X = song([9, n, seed], count, n)
        heard = filled(X, degree).replay(X[0], count)
        good += bool((heard[:-1] == X).all() and (heard[-1] == X[0]).all())
    least = 1 - failing
    assert good / runs >= least - 4.5 * math.sqrt(max(least * failing, 1 / runs) / runs)
    # Far beyond its capacity a sequence is lost.
    many = 12 * math.ceil(twin.transition_capacity(n, 1)) if degree == 1 else 0
    if many:
        X = song(10, many, n)
        lost = (filled(X, 1).replay(X[0], 20)[-1] == X[20]).mean()
        assert abs(lost - 0.5) <= 5 * 0.5 / math.sqrt(n), "n coins"


def test_an_exponential_memory_replays_far_more() -> None:
    """1500 patterns of 40 units, where degree 1 holds two."""
    X = song(11, 1500, 40)
    heard = filled(X, separation="exponential").replay(X[3], 1500)
    assert np.array_equal(heard[:-1], np.roll(X, -3, axis=0)) and np.array_equal(
        heard[-1], X[3]
    )
    assert not np.array_equal(filled(X, 1).retrieve(X), np.roll(X, -1, axis=0))


def test_a_spoilt_start_is_put_right() -> None:
    X = song(12, 40, 100)
    start = X[4] * np.where(np.arange(100) < 20, -1, 1)
    assert np.array_equal(filled(X, 3).replay(start, 6)[2:], X[6:11])


# -------------------------------------------------------------------------- ends and holding --


def test_ends_of_a_sequence() -> None:
    X = song(13, 6, 80)
    cycle, rest, nothing = (filled(X, 3, end=end) for end in ("cycle", "rest", "open"))
    for memory in (cycle, rest, nothing):
        assert np.array_equal(memory.replay(X[0], 5), X)
    assert np.array_equal(cycle.retrieve(X[-1]), X[0])
    found = rest.recall(X[0])
    assert found.status == "fixed point" and found.n_steps == 6
    assert np.array_equal(found.state, X[-1]) and found.memories()[0].tolist() == [5]
    # Nothing follows the last one: what the other patterns say by chance decides.
    after = np.concatenate([X[1:], np.zeros((1, 80))])
    fields = twin.sequence_fields(X, after, X[-1], lambda x: x**3)
    assert np.array_equal(nothing.retrieve(X[-1]), np.sign(fields))
    assert not np.array_equal(nothing.retrieve(X[-1]), X[0])
    assert cycle.recall(X[0], 50).status == "step limit"
    two = filled(X[:2], 3)
    assert two.recall(X[0]).status == "2-cycle"


def test_several_sequences_side_by_side() -> None:
    X = song(14, 30, 120)
    memory = SequenceMemory(120, 3)
    memory.store(X[:10])
    memory.store(X[10:])
    assert len(memory) == memory.n_patterns == 30 and np.array_equal(memory.patterns, X)
    assert np.array_equal(memory.replay(X[9], 1)[1], X[0])
    assert np.array_equal(memory.replay(X[10], 20)[:-1], X[10:])
    heard = memory.replay(X[[0, 10]], 10)
    assert heard.shape == (11, 2, 120) and np.array_equal(heard[10], X[[0, 20]])
    memory.store(np.zeros((0, 120)))
    assert len(memory) == 30


def test_held_patterns_stay_until_the_drive_is_stronger() -> None:
    """Degrees alike: the signal of the successor beats that of the pattern above drive 1."""
    X = song(15, 10, 200)
    weak, strong = filled(X, 3, hold=3, drive=0.5), filled(X, 3, hold=3, drive=2)
    assert np.array_equal(weak.retrieve(X), X)
    assert np.array_equal(strong.retrieve(X), np.roll(X, -1, axis=0))
    spoilt = X * np.where(np.arange(200) < 30, -1, 1)
    assert np.array_equal(weak.retrieve(spoilt, 3), X), "it is a memory of single patterns too"


# ------------------------------------------------------------------ the house's own promises --


@pytest.mark.parametrize(
    "more", [{}, {"separation": "exponential"}, {"hold": 2, "drive": 1.5}], ids=str
)
def test_answers_do_not_depend_on_the_batch_or_the_threads(more) -> None:
    X, states = song(16, 1100, 45), song(17, 21, 45)
    before = uhn.get_num_threads()
    try:
        answers = []
        for threads in (1, 2):
            uhn.set_num_threads(threads)
            memory = filled(X, 4, **more)
            answers.append(memory.replay(states, 4))
    finally:
        uhn.set_num_threads(before)
    assert np.array_equal(*answers)
    for i in (0, 20):
        assert np.array_equal(memory.replay(states[i], 4), answers[0][:, i])
    assert np.array_equal(memory.retrieve(states, 4), answers[0][-1])


def test_codings_types_and_traces() -> None:
    X = song(18, 9, 60)
    bipolar, binary = filled(X, 2), filled((X + 1) // 2, 2, coding="binary")
    states = song(19, 7, 60)
    assert np.array_equal(
        (bipolar.replay(states, 3) + 1) / 2, binary.replay((states + 1) / 2, 3)
    )
    assert np.array_equal(binary.patterns, (X + 1) / 2)
    assert bipolar.retrieve(states.astype(np.float32)).dtype == np.float32
    assert bipolar.retrieve(states).dtype == np.float64
    one = bipolar.recall(states, 5, trace=True)
    two = binary.recall((states + 1) / 2, 5, trace=True)
    assert np.array_equal(one.trace.overlaps, two.trace.overlaps)
    assert np.array_equal(one.trace.states, bipolar.replay(states, 5))
    assert np.array_equal(one.trace.overlaps[0], states @ X.T / 60)
    assert one.trace.energies is None
    assert one.change.max() == 2 and two.change.max() == 1
    asked = bipolar.retrieve(states, 4)
    np.testing.assert_allclose(one.weights, (asked @ X.T / 59) ** 2, rtol=1e-12)
    soft = filled(X, separation="exponential").recall(states, 1).weights
    np.testing.assert_allclose(soft.sum(axis=1), 1)
    assert np.array_equal(soft.argmax(axis=1), (states @ X.T).argmax(axis=1))


@pytest.mark.parametrize("more", [{}, {"separation": "exponential"}, {"hold": 2}], ids=str)
def test_pickles_copies_and_configurations(more) -> None:
    X, states = song(20, 9, 30), song(21, 5, 30)
    memory = filled(X, 3, end="rest", **more)
    for other in (pickle.loads(pickle.dumps(memory)), copy.copy(memory), copy.deepcopy(memory)):
        assert np.array_equal(other.replay(states, 5), memory.replay(states, 5))
        other.store(X)
        assert len(other) == 18 and len(memory) == 9
    config = memory.get_config()
    empty = SequenceMemory.from_config(config)
    assert empty.get_config() == config and len(empty) == 0 and empty.patterns.shape == (0, 30)
    assert repr(empty) == repr(memory) and "end='rest'" in repr(memory)


def test_there_is_no_energy() -> None:
    memory = filled(song(22, 4, 20))
    with pytest.raises(ValueError, match="not symmetric"):
        memory.energy(np.ones(20))
    with pytest.raises(ValueError, match="not symmetric"):
        _ = memory.recall(np.ones(20)).energy
    assert not memory.lyapunov() and not memory.lyapunov("sync")
    with pytest.raises(ValueError, match="mode"):
        memory.lyapunov("async")


def test_bad_input_is_refused_with_a_reason() -> None:
    memory = SequenceMemory(20)
    for ask in (memory.retrieve, memory.recall):
        with pytest.raises(ValueError, match="store a sequence first"):
            ask(np.ones(20))
    with pytest.raises(ValueError, match="patterns"):
        memory.store(np.ones((3, 19)))
    with pytest.raises(ValueError, match=r"patterns\[0, 0\] is 0.*binary"):
        memory.store(np.zeros((3, 20)))
    assert len(memory) == 0
    memory.store(np.ones((3, 20)))
    with pytest.raises(ValueError, match="states"):
        memory.replay(np.ones(19), 2)
    with pytest.raises(ValueError, match="n_steps"):
        memory.replay(np.ones(20), -1)
    with pytest.raises(TypeError, match="n_steps"):
        memory.replay(np.ones(20), 1.5)
    for keywords, words in (
        ({"n_features": 1}, "n_features"),
        ({"degree": 0}, "degree"),
        ({"separation": "softmax"}, "separation"),
        ({"end": "loop"}, "end"),
        ({"hold": 0}, "hold"),
        ({"hold": 2, "separation": "exponential"}, "hold"),
        ({"drive": 2}, "drive"),
        ({"hold": 2, "drive": 0}, "drive"),
        ({"coding": "spin"}, "coding"),
    ):
        with pytest.raises(ValueError, match=words):
            SequenceMemory(**({"n_features": 20} | keywords))
