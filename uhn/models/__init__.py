"""The memories of the family, each with its dynamics, its energy and its theory."""

from uhn.models.hopfield import HopfieldNetwork

__all__: list[str] = ["HopfieldNetwork"]
