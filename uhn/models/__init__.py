"""The memories of the family, each with its dynamics, its energy and its theory."""

from uhn.models.bidirectional import BidirectionalAssociativeMemory

__all__ = ["BidirectionalAssociativeMemory"]
