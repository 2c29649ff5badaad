"""The memories of the family, each with its dynamics, its energy and its theory."""

from uhn.models.bidirectional import BidirectionalAssociativeMemory
from uhn.models.continuous_hopfield import ContinuousHopfieldNetwork
from uhn.models.modern import ContinuousSDM, MeanShiftMemory, ModernHopfieldNetwork
from uhn.models.neural import NeuralDynamics
from uhn.models.sequence import SequenceMemory

__all__ = [
    "BidirectionalAssociativeMemory",
    "ContinuousHopfieldNetwork",
    "ContinuousSDM",
    "MeanShiftMemory",
    "ModernHopfieldNetwork",
    "NeuralDynamics",
    "SequenceMemory",
]
from uhn.models.hopfield import HopfieldNetwork

__all__: list[str] = ["HopfieldNetwork"]
from .dense import DenseAssociativeMemory

__all__ = ["DenseAssociativeMemory"]
