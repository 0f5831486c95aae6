r"""Lists the models that come with the package, or makes one of a trained run.

    mla-pretrained

    mla-pretrained --workdir=runs/best --name=audioset --data=packed/eval \
        --about=experiments/about_audioset.json

A model is a folder: its weights in 8 bits, settings, scores by class, and a card (README.md), which is
written from card.json. The scores are those of the weights as they are stored; where 8 bits cost more than
0.001 of mAP, or take more than 6 MB, nothing is stored. `--workdir=pretrained:NAME` uses a model wherever a
run is used.
"""

from pathlib import Path
from typing import Any

from absl import flags

from mla_jax.commands import common_flags
from mla_jax.errors import UserError
from mla_jax.pretrained.store import store_model
from mla_jax.runs.names import SHELF, pretrained_models
from mla_jax.storage import files

_STEP = common_flags.define_step()
_WORKDIR = flags.DEFINE_string("workdir", "", "A finished run, to make a model of.")
_NAME = flags.DEFINE_string("name", "", "What the model is to be called.")
_DATA = flags.DEFINE_string(
    "data",
    "",
    f"What the stored model is compared with the run on. {common_flags.CLIPS}. Empty: the run's data.eval.",
)
_ABOUT = flags.DEFINE_string(
    "about", "", "A JSON file with what the card says of the data: data, licence, limits, ..."
)
_THRESHOLDS = flags.DEFINE_string(
    "thresholds",
    "",
    "A run of the same settings that kept clips for validation, to take each class's threshold from, for a "
    "run that trained on all of its clips. Empty: the run's own, if it has some.",
)
_SHELF = flags.DEFINE_string(
    "shelf",
    "",
    "The folder of models to list, or to put the model into; empty: that of the package.",
)


def main() -> None:
    """Lists or makes as the flags say."""
    shelf = Path(_SHELF.value) if _SHELF.value else SHELF
    if not _WORKDIR.value:
        of_one = (_NAME, _STEP, _DATA, _ABOUT, _THRESHOLDS)
        common_flags.refuse(of_one, "this is for a model to make; give --workdir, the run, too")
        for line in listed(shelf) or [f"there are no models in {shelf}"]:
            print(line)
        return
    common_flags.require(_NAME, _ABOUT)
    if not _NAME.value.replace("-", "").replace("_", "").isalnum():
        raise UserError(f"--name={_NAME.value} must be of letters, digits, - and _")
    folder = shelf / _NAME.value
    card = store_model(
        _WORKDIR.value,
        folder,
        files.read_json(_ABOUT.value),
        _DATA.value,
        step=_STEP.value,
        thresholds=_THRESHOLDS.value,
    )
    print(f"{folder}: {_in_one_line(card)}")


def listed(shelf: Path) -> list[str]:
    """A line for each model of a shelf."""
    lines = []
    for name in pretrained_models(shelf):
        card = shelf / name / "card.json"
        facts = files.read_json(card)
        with files.taken_as(card, "the facts of a model; get it again"):
            lines.append(f"pretrained:{name}  {_in_one_line(facts)}")
    return lines


def _in_one_line(card: dict[str, Any]) -> str:
    compared = card["compared_on"]
    return (
        f"{card['architecture']}, {card['parameters']:,} parameters in {card['bytes']:,} bytes; "
        f"{card['embedding']}; mAP {card['stored']['mAP']:.4f} ({card['float32']['mAP']:.4f} in float32) on "
        f"{compared['data']}, {compared['clips']:,} clips"
    )
