"""The memories of the family, each with its dynamics, its energy and its theory."""

from uhn.models.bidirectional import BidirectionalAssociativeMemory
from uhn.models.continuous_hopfield import ContinuousHopfieldNetwork
from uhn.models.dense import DenseAssociativeMemory
from uhn.models.hopfield import HopfieldNetwork
from uhn.models.modern import ContinuousSDM, MeanShiftMemory, ModernHopfieldNetwork
from uhn.models.neural import NeuralDynamics
from uhn.models.sdm import SparseDistributedMemory
from uhn.models.sequence import SequenceMemory

__all__ = [
    "BidirectionalAssociativeMemory",
    "ContinuousHopfieldNetwork",
    "ContinuousSDM",
    "DenseAssociativeMemory",
    "HopfieldNetwork",
    "MeanShiftMemory",
    "ModernHopfieldNetwork",
    "NeuralDynamics",
    "SequenceMemory",
    "SparseDistributedMemory",
]
