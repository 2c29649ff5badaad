"""The memories of the family, each with its dynamics, its energy and its theory."""

from .sdm import SparseDistributedMemory

__all__: list[str] = ["SparseDistributedMemory"]
