"""The published procedure as it runs: PyTorch, float32, one query at a time.

Written from the facts in reference_published.py, with the operations of the published code in
their order, its loop over the patterns in the divergences included. For comparing decisions in
float32, and as the peer in benchmarks/published.py. Needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Tensor = torch.Tensor
EPSILON = 1e-4


def gaussian(image: Tensor, sigma: float, normal: Tensor | None = None) -> Tensor:
    if normal is None:
        normal = torch.randn(len(image))
    return torch.clamp(torch.abs(image + sigma * normal), 0, 1)


def bipolar(x: Tensor) -> Tensor:
    return torch.sign(x - 0.5)


def euclidean(patterns: Tensor, query: Tensor) -> Tensor:
    return 1 / torch.sum(torch.square(query - patterns), dim=1)


def manhattan(patterns: Tensor, query: Tensor) -> Tensor:
    return 1 / torch.sum(torch.abs(query - patterns), dim=1)


def dot(patterns: Tensor, query: Tensor) -> Tensor:
    return patterns @ query.reshape(-1)


def cosine(patterns: Tensor, query: Tensor) -> Tensor:
    return dot(patterns, query) / (torch.norm(patterns) * torch.norm(query))


def normalized_dot(patterns: Tensor, query: Tensor) -> Tensor:
    p = patterns / torch.sum(patterns, dim=1).reshape(-1, 1)
    dots = dot(p, query / torch.sum(query))
    return dots / torch.sum(dots)


def _divergence(patterns: Tensor, query: Tensor, reverse: bool) -> Tensor:
    terms = torch.zeros_like(patterns)
    for i in range(len(patterns)):
        p = patterns[i, :] / torch.sum(patterns[i, :])
        r = query / torch.sum(query)
        if reverse:
            p, r = r, p
        terms[i, :] = p * (torch.log(p + EPSILON) - torch.log(r + EPSILON))
    return 1 / torch.sum(terms, dim=1)


def kl(patterns: Tensor, query: Tensor) -> Tensor:
    return _divergence(patterns, query, reverse=False)


def reverse_kl(patterns: Tensor, query: Tensor) -> Tensor:
    return _divergence(patterns, query, reverse=True)


def jensen_shannon(patterns: Tensor, query: Tensor) -> Tensor:
    return 1 / (0.5 * kl(patterns, query) + 0.5 * reverse_kl(patterns, query))


SIMILARITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "euclidean": euclidean,
    "manhattan": manhattan,
    "normalized_dot": normalized_dot,
    "kl": kl,
    "reverse_kl": reverse_kl,
    "jensen_shannon": jensen_shannon,
    "cosine": cosine,
    "dot": dot,
}


def one_hot_of_max(x: Tensor, param: float) -> Tensor:
    w = torch.zeros(len(x))
    w[int(torch.argmax(x).item())] = 1
    return w


SEPARATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "log": lambda x, param: torch.log(x),
    "identity": lambda x, param: x,
    "softmax": lambda x, param: torch.softmax(param * x, dim=0),
    "polynomial:2": lambda x, param: torch.pow(x, 2),
    "polynomial:3": lambda x, param: torch.pow(x, 3),
    "sqrt": lambda x, param: torch.pow(x, 0.5),
    "polynomial:4": lambda x, param: torch.pow(x, 4),
    "polynomial:10": lambda x, param: torch.pow(x, 10),
    "max": one_hot_of_max,
}


def trial(
    patterns: Any,
    query: Any,
    target: Any,
    similarity: str,
    separation: str = "max",
    *,
    values: Any = None,
    param: float = 1000.0,
    beta: float = 1000.0,
    binary: bool = False,
) -> tuple[float, int]:
    """Squared error of the answer and the pattern with the largest weight."""
    query = query.reshape(1, -1)
    if values is None:
        values = patterns
    scores = beta * SIMILARITIES[similarity](patterns, query)
    scores = scores / torch.sum(scores)
    w = SEPARATIONS[separation](scores, param)
    w = w / torch.sum(w)
    answer = values.T @ w
    if binary:
        answer = bipolar(torch.sign(answer))
    error = torch.abs(torch.sum(torch.square(target - answer)))
    return float(error), int(torch.argmax(w).item())
