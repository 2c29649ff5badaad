"""The memories of the family, each with its dynamics, its energy and its theory."""

from uhn.models.continuous_hopfield import ContinuousHopfieldNetwork
from uhn.models.neural import NeuralDynamics

__all__ = ["ContinuousHopfieldNetwork", "NeuralDynamics"]
