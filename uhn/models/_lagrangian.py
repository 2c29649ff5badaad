"""Separations as gradients: the Lagrangian L(h) whose gradient is the separation, its Hessian.

    f(h) = sep(h) = dL/dh,     H(h) = df/dh

An energy needs L, and L has to be convex (H positive semidefinite) where memory neurons are
slow. Every separation of the library has one, as long as its weights are not divided by a sum
that is not part of its definition.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from uhn import _core
from uhn.models import _flow

__all__ = ["SIMPLEX", "Lagrangian"]

Array = npt.NDArray[Any]

PARAMETERS = ("beta", "degree", "k", "alpha", "theta")
#: Separations whose weights sum to 1 by definition.
SIMPLEX = ("softmax", "max", "topk", "topk_softmax", "sparsemax", "entmax")


class Lagrangian:
    """The Lagrangian of one separation.

    Parameters
    ----------
    separation : str
    beta, degree, k, alpha, theta
        As of `uhn.separate`; None where the separation does not read it.
    """

    def __init__(self, separation: str, **parameters: Any) -> None:
        self.name = separation
        self._given = {key: value for key, value in parameters.items() if value is not None}
        read = _core.Memory(separation=separation, **self._given).parameters
        self.beta = float(read.get("beta", 1.0))
        self.theta = float(read.get("theta", 0.0))
        self.k = int(read.get("k", 1))
        #: w = s^degree, where it is a power.
        self.degree = float(read.get("degree", {"sqrt": 0.5}.get(separation, 1.0)))
        self.alpha = float(read.get("alpha", 2.0))

    def gradient(self, h: Array) -> Array:
        """f(h): the separation itself, (n, n_patterns)."""
        return _core.separate(h, self.name, **self._given)

    def value(self, h: Array) -> Array:
        """L(h), (n,), for h in float64."""
        return np.asarray(self._value(h), dtype=np.float64)

    def _value(self, h: Array) -> Any:
        name = self.name
        if name == "threshold":
            return np.maximum(h - self.theta, 0).sum(axis=1)
        if name == "max":
            return h.max(axis=1)
        if name in ("topk", "topk_softmax"):
            best = -np.sort(-h, axis=1)[:, : self.k]
            if name == "topk_softmax":
                return self._log_sum_exp(best)
            return best.sum(axis=1) / best.shape[1]
        if name == "softmax1":
            return self._log_sum_exp(np.concatenate([h, np.zeros((len(h), 1))], axis=1))
        if name == "softmax" or (name == "entmax" and self.alpha == 1):
            return self._log_sum_exp(h)
        f = self.gradient(h)
        if name == "exponential":
            return f.sum(axis=1) / self.beta if self.beta else h.sum(axis=1)
        if name == "log1p":
            return ((1 + h) * f - h).sum(axis=1)
        product = (f * h).sum(axis=1)
        if name in ("sparsemax", "entmax"):
            # The conjugate of minus Tsallis' entropy (1 - sum p^alpha) / (alpha (alpha - 1)).
            alpha = self.alpha
            if not self.beta:
                return product
            power = f * f if alpha == 2 else _core.separate(f, "polynomial", degree=alpha)
            return product + (1 - power.sum(axis=1)) / (alpha * (alpha - 1) * self.beta)
        return product / (1 + self.degree)  # h^(n + 1) / (n + 1)

    def _log_sum_exp(self, h: Array) -> Any:
        """log(sum exp(beta h)) / beta; for beta = 0, where it is infinite, the mean."""
        if not self.beta:
            return h.sum(axis=1) / h.shape[1]
        top = h.max(axis=1, keepdims=True)
        total = _core.separate(h - top, "exponential", beta=self.beta).sum(axis=1)
        return top[:, 0] + _flow.log1p(np.maximum(total - 1, 0)) / self.beta

    def curvature(self, h: Array, f: Array, x: Array) -> Array:
        """H(h) x, (n, n_patterns); f = f(h), and H is finite (`is_steep`)."""
        return np.asarray(self._curvature(h, f, x), dtype=x.dtype)

    def _curvature(self, h: Array, f: Array, x: Array) -> Any:
        name, beta = self.name, self.beta
        if name == "identity":
            return x
        if name in ("polynomial", "rectified_polynomial"):
            if self.degree == 1:
                return x if name == "polynomial" else np.where(h > 0, x, 0)
            return self.degree * _core.separate(h, name, degree=self.degree - 1) * x
        if name == "log1p":
            return x / (1 + h)
        if name == "exponential":
            return beta * f * x
        if name in ("softmax", "softmax1", "topk_softmax"):
            return beta * f * (x - (f * x).sum(axis=1, keepdims=True))
        if name in ("max", "topk", "threshold"):
            return np.zeros_like(x)
        # Entmax, alpha <= 2: beta (diag s - s s^T / sum s), s = f^(2 - alpha) on the support.
        if self.alpha == 2:
            s = (f > 0).astype(f.dtype)
        else:
            s = _core.separate(f, "polynomial", degree=2 - self.alpha)
        mean = (s * x).sum(axis=1, keepdims=True) / s.sum(axis=1, keepdims=True)
        return beta * s * (x - mean)

    @property
    def is_convex(self) -> bool:
        """Whether L is convex wherever it is defined."""
        return not (self.name == "polynomial" and self.degree % 2 == 0)

    @property
    def is_steep(self) -> bool:
        """Whether H is infinite where a weight becomes 0."""
        if self.name == "entmax":
            return self.alpha > 2
        return self.name in ("sqrt", "polynomial", "rectified_polynomial") and self.degree < 1

    @property
    def steepest(self) -> float | None:
        """A bound on the eigenvalues of a finite H, where there is one."""
        if self.name in ("softmax", "softmax1", "topk_softmax"):
            return self.beta / 2
        if self.name in ("sparsemax", "entmax"):
            return self.beta
        if self.name in ("max", "topk", "threshold"):
            return 0.0
        return 1.0 if self.name in ("identity", "log1p") else None
