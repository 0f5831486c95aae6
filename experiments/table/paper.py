"""What the articles state of the rows of the table: figures and claims to set our own beside.

The paper is Yu, Barsim, Kong, Yang: Multi-level Attention Model for Weakly Supervised Audio Classification
(2018, arXiv:1803.02353). All figures are of models trained on AudioSet's balanced and unbalanced train,
some two million clips, and evaluated on its eval split.
"""

from typing import NamedTuple


class Stated(NamedTuple):
    """What is stated of a model.

    Attributes:
      mAP, AUC, d_prime: its scores.
      source: who states them, and of what.
    """

    mAP: float  # noqa: N815
    AUC: float
    d_prime: float
    source: str


_TABLE = "the paper, Table I"
OF_ARCHITECTURES = {
    "3-A": Stated(0.336, 0.9668, 2.596, _TABLE),
    "6-A": Stated(0.311, 0.9571, 2.430, _TABLE),
    "9-A": Stated(0.305, 0.9388, 2.185, _TABLE),
    "1-A-1-A-1-A": Stated(0.357, 0.9693, 2.645, _TABLE),
    "2-A-1-A": Stated(0.360, 0.9700, 2.660, _TABLE),
    "2-A-2-A-2-A": Stated(0.358, 0.9695, 2.650, _TABLE),
    "3-A-3-A": Stated(0.355, 0.9690, 2.639, _TABLE),
    "3-A-3-A-3-A": Stated(0.353, 0.9687, 2.633, _TABLE),
    "5-A-4-A": Stated(0.340, 0.9676, 2.612, _TABLE),
}
FORMS = ("yu2018_equations", "yu2018")
"""The presets that are the paper's model: in the form of its text, and of its authors' program."""

OF_ROWS = {
    "segment_classifier": Stated(0.314, 0.9590, 2.452, f"{_TABLE}, Benchmark (Google)"),
    "kong2017": Stated(0.327, 0.9650, 2.558, f"{_TABLE}, Kong [10]"),
    "kong2019_keras": Stated(0.357, 0.968, 2.621, "README of Kong's programs, multi-attention"),
    "feature_attention": Stated(0.369, 0.969, 2.640, "Kong et al. 2019, arXiv:1903.00765"),
}

FIGURE_CLASSES = {
    "Speech": "5-A-4-A 0.730, 9-A 0.690 (the lowest); favours 2-A-1-A; near 0.7",
    "Whoop": "favours 2-A-1-A; near 0.7",
    "Breathing": "favours 2-A-1-A; below 0.2",
    "Guitar": "favours 2-A-1-A",
    "Train": "favours 2-A-1-A",
    "Emergency vehicle": "favours 2-A-1-A",
    "Groan": "favours 3-A-3-A-3-A",
    "Piano": "6-A above 2-A-2-A-2-A and 3-A-3-A",
}
"""The classes of the paper's Figure 3 that its text names, and what it says of them; a ninth is not named."""

FIGURE_POINTS = {("Speech", "5-A-4-A"): 0.730, ("Speech", "9-A"): 0.690}
"""The average precisions that the paper states, by class and architecture."""


def stated(row: str) -> Stated | None:
    """What is stated of the model of a row; None of nothing."""
    form, _, architecture = row.partition(":")
    if form in FORMS:
        return OF_ARCHITECTURES.get(architecture)
    return OF_ROWS.get(row)


def is_multi_level(architecture: str) -> bool:
    """Whether an architecture has more than one head."""
    return architecture.count("A") > 1
