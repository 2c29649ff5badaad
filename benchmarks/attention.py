"""Attention with several heads."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from measure import Bench, Contender, Goal, SkipRowError, gaussian, softmax_reference
from softmax import bound_for, torch_build

import uhn


def attention(bench: Bench) -> None:
    """8 heads of 2048 queries, 2048 keys and 64 features; each side makes its own answer."""
    try:
        import torch
    except ImportError:
        raise SkipRowError("PyTorch is not installed") from None
    length = bench.pick(2048, 256)
    shape = (1, 8, length, 64)
    rng = np.random.default_rng(1)
    queries, keys, values = (gaussian(rng, *shape) for _ in range(3))
    q, k, v = map(torch.from_numpy, (queries, keys, values))

    def with_torch() -> torch.Tensor:
        with torch.inference_mode():
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    bench.set_threads()
    bench.notes.append(f"PyTorch {torch.__version__}: {torch_build(torch)}")
    ours = uhn.attention(queries, keys, values)
    # With the keys as values, so that the reference of retrieval is that of attention too.
    beta = 1 / math.sqrt(shape[-1])
    reference = softmax_reference(queries[0, 3, :8], keys[0, 3], beta)
    same = uhn.attention(queries[0, 3, :8], keys[0, 3], keys[0, 3])
    bench.check("uhn and float64", same, reference, bound_for(reference))
    bench.check("uhn and PyTorch", ours, with_torch().numpy(), bound_for(ours))
    contenders = [Contender("PyTorch SDPA", with_torch, Goal(least=1.25))]
    flops = 4.0 * math.prod(shape) * length
    bench.race(partial(uhn.attention, queries, keys, values), contenders, flops=flops)
