"""The package's one way to draw: matplotlib figures that can go into a paper as they are.

Colours are Okabe and Ito's, told apart with any kind of colour vision, and every line has a
marker of its own, so that nothing depends on colour. Lines are named where they end, not in a
legend. matplotlib is imported when something is drawn; figures are made without pyplot, so no
window system is needed and no global state is touched.
"""

from ._capacity import line_names, pairs, plot_capacity
from ._memory import plot_energy, plot_landscape, plot_recall
from ._simulations import plot_simulations
from ._style import COLOURS, MARKERS, save, spread, style

__all__ = [
    "COLOURS",
    "MARKERS",
    "line_names",
    "pairs",
    "plot_capacity",
    "plot_energy",
    "plot_landscape",
    "plot_recall",
    "plot_simulations",
    "save",
    "spread",
    "style",
]
