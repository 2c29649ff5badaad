"""Partials for energies, nearest patterns and normalized scores: the bits of one memory.

They are what shards on other machines send (`uhn.dask`), here without any.
"""

from __future__ import annotations

import contextlib
import itertools
import pickle
from typing import Any

import numpy as np
import pytest

import cases
import uhn
from uhn import _core

CUTS = (0, 100, 1024, 2500, 3000)
N, D, B = CUTS[-1], 7, 5


def make(
    similarity: str, separation: str, dtype: Any, prior: bool, normalize_scores: bool
) -> tuple[uhn.Memory, list[uhn.Memory], np.ndarray]:
    """A memory, its shards, and queries."""
    rng = np.random.default_rng(len(similarity) + 20 * len(separation))
    positive = normalize_scores or cases.needs_positive(separation)
    patterns = cases.data(rng, similarity, (N, D), dtype, positive)
    queries = cases.data(rng, similarity, (B, D), dtype, positive)
    keywords: dict[str, Any] = {"similarity": similarity, "separation": separation}
    if positive and similarity in (*cases.DISTANCES, *cases.DIVERGENCES):
        keywords["transform"] = "rbf"
    transform = keywords.get("transform")
    scores = uhn.similarity(patterns, queries, similarity, transform=transform)
    keywords |= {**cases.parameters(separation, scores), "normalize_scores": normalize_scores}
    weights = rng.uniform(0.5, 2.0, N).astype(dtype) if prior else None
    shards = [
        uhn.Memory(
            patterns[start:stop],
            prior=None if weights is None else weights[start:stop],
            first_row=start,
            **keywords,
        )
        for start, stop in itertools.pairwise(CUTS)
    ]
    return uhn.Memory(patterns, prior=weights, **keywords), shards, queries


def ask(
    shards: list[uhn.Memory], purpose: str, queries: np.ndarray, k: int = 1, sums: Any = None
) -> uhn.Partial:
    """What shards send, merged in two steps, each part in its wire form."""
    parts = [
        pickle.loads(pickle.dumps(_core._partial_for(shard, purpose, queries, k, sums, 1)))
        for shard in shards
    ]
    early = pickle.loads(pickle.dumps(uhn.merge(parts[:2])))
    return uhn.merge([parts[3], early, parts[2]])


@pytest.mark.parametrize("similarity", cases.SIMILARITIES)
def test_every_purpose_has_the_bits_of_one_memory(similarity: str) -> None:
    n_energies = 0
    variants = itertools.cycle(
        itertools.product((np.float32, np.float64), (False, True), (False, True))
    )
    for _ in range(cases.SIMILARITIES.index(similarity)):
        next(variants)
    for separation, (dtype, prior, normalize_scores) in zip(
        cases.SEPARATIONS, variants, strict=False
    ):
        prior = prior and separation in cases.WITH_PRIOR
        one, shards, queries = make(similarity, separation, dtype, prior, normalize_scores)
        sums = None
        if normalize_scores:
            sums = _core._partial_score_sums(ask(shards, "score sums", queries))
            assert sums.shape == (B,) and (sums > 0).all()
        answer, answered = _core._partial_answers(ask(shards, "answers", queries, 1, sums))
        assert answer.tobytes() == one.retrieve(queries).tobytes()
        assert answered.dtype == np.uint8 and answered.shape == (B,)
        indices, scores = _core._partial_nearest(ask(shards, "nearest", queries, 17))
        wanted = one.nearest(queries, 17)
        assert indices.tobytes() == wanted[0].tobytes()
        assert scores.tobytes() == wanted[1].tobytes()
        refusal = None
        try:
            energies = one.energy(queries)
        except ValueError as error:
            refusal = str(error)
        if refusal is None:
            found = _core._partial_energies(ask(shards, "energies", queries), queries)
            assert found.tobytes() == energies.tobytes()
            n_energies += 1
        else:
            with pytest.raises(ValueError) as caught:
                ask(shards, "energies", queries)
            assert str(caught.value) == refusal
    assert n_energies >= {"dot": 5, "sqeuclidean": 1}.get(similarity, 0)


def test_they_are_small_whatever_the_width() -> None:
    """No values: four numbers a query and node, or a candidate of 24 bytes for each of k."""
    patterns = np.random.default_rng(0).normal(size=(4096, 500))
    memory = uhn.Memory(patterns, separation="softmax")
    queries = patterns[:100]
    part = _core._partial_for(memory, "energies", queries, 1, None, 1)
    assert (part.n_values, part.n_queries, part.n_patterns) == (0, 100, 4096)
    assert 100 * 32 <= part.nbytes <= 100 * 32 + 500
    part = _core._partial_for(memory, "nearest", queries, 5, None, 1)
    assert 100 * (5 * 24 + 8) <= part.nbytes <= 100 * (5 * 24 + 8) + 500


def test_a_partial_answers_what_it_was_made_for() -> None:
    memory, shards, queries = make("dot", "softmax", np.float64, False, False)
    answers = memory.partial(queries)
    bare = {purpose: ask(shards, purpose, queries) for purpose in ("energies", "nearest")}
    bare["score sums"] = ask(
        [uhn.Memory(np.abs(s), first_row=s.first_row) for s in shards], "score sums",
        np.abs(queries),
    )  # fmt: skip
    finishes = {
        "answers": _core._partial_answers,
        "energies": lambda part: _core._partial_energies(part, queries),
        "nearest": _core._partial_nearest,
        "score sums": _core._partial_score_sums,
    }
    for purpose, part in bare.items():
        with pytest.raises(ValueError, match="made for a question that needs no values"):
            part.finish()
        with pytest.raises(ValueError):
            uhn.merge([part, answers])
        for other, finish in finishes.items():
            if other == purpose:
                finish(part)
            elif other != "energies":  # its Lagrangian is a number of any separation
                with pytest.raises(ValueError):
                    finish(part)
    for purpose, finish in finishes.items():
        if purpose != "answers":
            with pytest.raises(ValueError, match="made for answers"):
                finish(answers)
        with pytest.raises(TypeError):
            finish(None)
    with pytest.raises(ValueError, match="not those"):
        _core._partial_energies(bare["energies"], queries[:2])
    with pytest.raises(TypeError):
        _core._partial_energies(bare["energies"], queries.astype(np.float32))
    with pytest.raises(ValueError, match="purpose"):
        _core._partial_for(memory, "nothing", queries, 1, None, 1)
    with pytest.raises(ValueError, match="one a query"):
        _core._partial_for(memory, "answers", queries, 1, np.ones(2), 1)
    with pytest.raises(ValueError, match="empty"):
        _core._partial_for(uhn.Memory(), "energies", queries, 1, None, 1)


def test_scores_that_may_not_be_divided_are_refused_in_every_shard() -> None:
    """In whole blocks, and in the rows of a block that is torn."""
    for start, stop in ((0, 1024), (10, 200)):
        patterns = np.ones((stop - start, 3))
        patterns[-1] = -1
        memory = uhn.Memory(patterns, first_row=start, normalize_scores=True)
        with pytest.raises(ValueError, match="normalize_scores needs scores >= 0"):
            _core._partial_for(memory, "score sums", np.ones((1, 3)), 1, None, 1)


def test_damaged_wire_forms_never_crash() -> None:
    rng = np.random.default_rng(0)
    _, shards, queries = make("dot", "sparsemax", np.float64, True, False)
    parts = [ask(shards, "energies", queries, 3)]
    _, shards, queries = make("dot", "polynomial", np.float32, True, False)
    parts += [ask(shards, purpose, queries, 3) for purpose in ("energies", "nearest")]
    parts.append(_core._partial_for(shards[0], "energies", queries, 1, None, 1))
    n_read = n_refused = 0
    for part in parts:
        rebuild, (wire, single) = part.__reduce_ex__(2)
        for _ in range(400):
            damaged = bytearray(wire)
            if rng.random() < 0.2:
                damaged = damaged[: rng.integers(len(damaged))]
            else:
                limit = 240 if rng.random() < 0.6 else len(damaged)
                damaged[rng.integers(limit)] ^= 1 << rng.integers(8)
            try:
                read = rebuild(bytes(damaged), single)
            except (ValueError, OverflowError, MemoryError):
                n_refused += 1
                continue
            n_read += 1
            for finish in (
                _core._partial_nearest,
                _core._partial_score_sums,
                lambda one: _core._partial_energies(
                    one, np.ones((one.n_queries, D), one.dtype)
                ),
            ):
                # A k, or a number of queries, of another size: an answer as large as that.
                with contextlib.suppress(ValueError, OverflowError, MemoryError):
                    finish(read)
    assert n_read > 100 and n_refused > 100
