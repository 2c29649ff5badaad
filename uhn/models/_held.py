"""Models that hold what they store in a `uhn.Memory`."""

from __future__ import annotations

from typing import Self

import uhn
from uhn.models._base import Model

__all__ = ["HoldingModel"]


class HoldingModel(Model):
    """A model whose copies hold memories of their own: storing into one leaves the others."""

    def __copy__(self) -> Self:
        clone = object.__new__(type(self))
        for name, value in vars(self).items():
            clone.__dict__[name] = value.copy() if isinstance(value, uhn.Memory) else value
        return clone
