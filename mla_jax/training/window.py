"""The steps between two records, whose means the later one states."""

import dataclasses
from typing import Any

import numpy as np

from mla_jax.training.step import StepMetrics

Record = dict[str, Any]


@dataclasses.dataclass
class Window:
    """The losses and gradient norms of the steps since the last record, [steps] or [steps, seeds] each."""

    loss: list[np.ndarray] = dataclasses.field(default_factory=list)
    grad_norm: list[np.ndarray] = dataclasses.field(default_factory=list)

    def add(self, history: StepMetrics) -> None:
        """Adds the steps of a compiled call."""
        self.loss.append(np.asarray(history.loss))
        self.grad_norm.append(np.asarray(history.grad_norm))

    def means(self) -> Record:
        """What a record says of them."""
        return {
            name: np.concatenate(parts).mean(axis=0, dtype=np.float64).tolist()
            for name, parts in dataclasses.asdict(self).items()
        }

    def to_json(self) -> dict[str, list[Any]]:
        """Plain lists, from which `from_json` makes the same bits."""
        return {
            name: np.concatenate(parts).tolist() if parts else []
            for name, parts in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: dict[str, list[Any]]) -> "Window":
        """The window that `to_json` was made of."""
        return cls(**{k: [np.asarray(v, np.float32)] if v else [] for k, v in values.items()})
