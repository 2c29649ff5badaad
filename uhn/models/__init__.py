"""The memories of the family, each with its dynamics, its energy and its theory."""

from uhn.models.bidirectional import BidirectionalAssociativeMemory
from uhn.models.modern import ContinuousSDM, MeanShiftMemory, ModernHopfieldNetwork
from uhn.models.sequence import SequenceMemory

__all__ = [
    "BidirectionalAssociativeMemory",
    "ContinuousSDM",
    "MeanShiftMemory",
    "ModernHopfieldNetwork",
    "SequenceMemory",
]
from uhn.models.continuous_hopfield import ContinuousHopfieldNetwork
from uhn.models.neural import NeuralDynamics

__all__ = ["ContinuousHopfieldNetwork", "NeuralDynamics"]
