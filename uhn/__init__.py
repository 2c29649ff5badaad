"""Universal Hopfield networks: associative memories as one equation.

``z = P . sep(sim(M, q))``: a similarity gives every stored pattern a score, a separation turns
the scores into weights, and the values are added up under those weights (Millidge et al., ICML
2022, arXiv 2202.04557).

Examples
--------
>>> import numpy as np, uhn
>>> memory = uhn.Memory(np.eye(3), similarity="manhattan", separation="max")
>>> memory.retrieve([0.9, 0.2, 0.0])
array([1., 0., 0.])
"""

from ._arrays import explain
from ._core import (
    Memory,
    Partial,
    __version__,
    attention,
    cpu_info,
    get_num_threads,
    merge,
    retrieve,
    separate,
    separations,
    set_num_threads,
    similarities,
    similarity,
)
from .io import load
from .living import LivingMemory
from .models import (
    BidirectionalAssociativeMemory,
    ContinuousHopfieldNetwork,
    ContinuousSDM,
    DenseAssociativeMemory,
    HopfieldNetwork,
    MeanShiftMemory,
    ModernHopfieldNetwork,
    NeuralDynamics,
    SequenceMemory,
    SparseDistributedMemory,
)
from .results import Recall, Trace

__all__ = [
    "BidirectionalAssociativeMemory",
    "ContinuousHopfieldNetwork",
    "ContinuousSDM",
    "DenseAssociativeMemory",
    "HopfieldNetwork",
    "LivingMemory",
    "MeanShiftMemory",
    "Memory",
    "ModernHopfieldNetwork",
    "NeuralDynamics",
    "Partial",
    "Recall",
    "SequenceMemory",
    "SparseDistributedMemory",
    "Trace",
    "__version__",
    "attention",
    "cpu_info",
    "explain",
    "get_num_threads",
    "load",
    "merge",
    "retrieve",
    "separate",
    "separations",
    "set_num_threads",
    "similarities",
    "similarity",
]
