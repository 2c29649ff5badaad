"""The memories of the family, each with its dynamics, its energy and its theory."""

from .dense import DenseAssociativeMemory

__all__ = ["DenseAssociativeMemory"]
