"""Published experiments on associative memories and the laws of capacity, on any images."""

from uhn._statistics import wilson
from uhn.experiments.capacity import capacity
from uhn.experiments.clean import default_threshold
from uhn.experiments.corruptions import (
    Chain,
    Corruption,
    Flip,
    Gaussian,
    Inpaint,
    Mask,
    PermuteChannels,
    RandomMask,
    corruption,
)
from uhn.experiments.millidge2022 import EXPERIMENTS, Reproduction, reproduce
from uhn.experiments.results import Curve, Point, Result, Row
from uhn.experiments.simulations import STUDIES, Simulations, simulate

__all__ = [
    "EXPERIMENTS",
    "STUDIES",
    "Chain",
    "Corruption",
    "Curve",
    "Flip",
    "Gaussian",
    "Inpaint",
    "Mask",
    "PermuteChannels",
    "Point",
    "RandomMask",
    "Reproduction",
    "Result",
    "Row",
    "Simulations",
    "capacity",
    "corruption",
    "default_threshold",
    "reproduce",
    "simulate",
    "wilson",
]
