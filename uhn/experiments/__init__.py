"""Published experiments on associative memories, re-runnable on any images."""

from uhn._statistics import wilson
from uhn.experiments.capacity import CapacityResult, Row, capacity, default_threshold
from uhn.experiments.corruptions import corrupt, gaussian_noise, mask_bottom

__all__ = [
    "CapacityResult",
    "Row",
    "capacity",
    "corrupt",
    "default_threshold",
    "gaussian_noise",
    "mask_bottom",
    "wilson",
]
