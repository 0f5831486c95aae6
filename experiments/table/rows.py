"""What a row of a table is: a preset, with another architecture or other settings, by one name.

kong2017                                a preset
yu2018:6-A                              a preset with another architecture
6-A                                     the default preset with it
yu2018:6-A+optim.l2=0.001               the same with another value of a setting, and so on: +...+...
"""

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

from mla_jax import presets
from mla_jax.config import Config, require_field
from mla_jax.errors import UserError

_OF_THE_TABLE = (
    "train.seed",
    "train.eval_every",
    "data.train",
    "data.eval",
    "data.class_list",
    "data.validation_fraction",
)
"""What is the same for all rows of a table, so that they can be compared."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """What all rows of a table share: data, length, and how often each is looked at.

    Attributes:
      train, eval: paths of the two splits.
      steps: train until this step at most.
      evaluations: how many, evenly spaced.
      validation_fraction: the share of the training clips held out to choose a step by.
      patience: after how many evaluations without a better one a row has converged; 0: never. A row whose
        learning rate falls over its steps trains through all of them: it is best where it has fallen.
    """

    train: str
    eval: str
    steps: int
    evaluations: int
    validation_fraction: float = 0.0
    patience: int = 0

    def config(self, row: str) -> Config:
        """The settings of a row.

        Raises:
          UserError: there is no such preset or setting, a value is not valid, or it is the table's.
        """
        name, *others = split(row)
        config = presets.preset(name)
        every = math.ceil(self.steps / self.evaluations)
        data = dataclasses.replace(
            config.data,
            train=self.train,
            eval=self.eval,
            validation_fraction=self.validation_fraction,
        )
        train = dataclasses.replace(
            config.train, steps=self.steps, eval_every=every, checkpoint_every=every
        )
        values = dataclasses.replace(config, data=data, train=train).to_dict()
        named = []
        for other in others:
            field, _, text = other.partition("=")
            named.append(field)
            require_field(field)
            if field in _OF_THE_TABLE:
                raise UserError(f"{row}: {field} is the same for all rows of a table; leave it out")
            section, key = field.split(".")
            values[section][key] = _value(row, other, values[section][key], text)
        if values["optim"]["schedule"] == "constant" and "train.patience" not in named:
            values["train"]["patience"] = self.patience
        return Config.from_dict(values)


def split(row: str) -> list[str]:
    """The preset of a row, and each `section.field=value` behind it."""
    return re.split(r"\+(?=\w+\.\w+=)", row)


def full_name(row: str) -> str:
    """A row's name, with the name of the default preset before an architecture alone."""
    preset, *others = split(row)
    return "+".join([presets.full_name(preset), *others])


def folder_of(workdir: Path, row: str) -> Path:
    """Where the runs of a row are."""
    return workdir / re.sub(r"[^\w.+=-]", "_", row)


def _value(row: str, assignment: str, like: Any, text: str) -> Any:
    if isinstance(like, bool):
        if text.lower() not in ("true", "false"):
            raise UserError(f"{row}: {assignment} is not valid: it must be True or False")
        return text.lower() == "true"
    try:
        return type(like)(text)
    except ValueError:
        kind = {int: "a whole number", float: "a number"}[type(like)]
        raise UserError(f"{row}: {assignment} is not valid: it must be {kind}") from None
