r"""Recognises the sounds of ESC-10 on its published folds, by encoder and pooling.

    python -m experiments.esc10 --data=esc10 --workdir=runs/esc10 --output=experiments/results/esc10.json

The folder has `clips.csv` (columns path, label, fold) and the sound files. Of five models of a row each is
trained on four folds and evaluated on the fifth; nothing is chosen on that one. The same command goes on
where it was stopped. YAMNet's weights are brought by mla-download-encoder.
"""

import hashlib
from pathlib import Path

import numpy as np
from absl import flags

from experiments.table.folds import evaluate_folds, markdown, read_folds
from mla_jax.commands import cli, common_flags, console
from mla_jax.data.class_list import FILE_NAME, ClassList
from mla_jax.data.sources import is_packed, open_packed
from mla_jax.runs.environment import environment
from mla_jax.runs.folder import claim, require_output
from mla_jax.storage import files, paths

_DATA = flags.DEFINE_string("data", "", "The folder with clips.csv and the sound files.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/esc10", "Where packed clips and runs go.")
_OUTPUT = flags.DEFINE_string("output", "", "A JSON file for the results; empty: in the workdir.")
_ENCODERS = flags.DEFINE_list(
    "encoders", ["yamnet", "log_mel_statistics"], "The encoders, as mla-embed takes them."
)
_MODELS = flags.DEFINE_list(
    "models",
    ["2-A-1-A:attention", "3-A:attention", "3-A:mean", "3-A:max"],
    "The models: an architecture and a pooling.",
)
_STEPS = flags.DEFINE_integer("steps", 200, "Train until this step.", lower_bound=1)


def main() -> None:
    """Makes the table as the flags say."""
    common_flags.require(_DATA)
    folder = Path(paths.require_local(_DATA.value, "--data"))
    workdir = Path(paths.require_local(_WORKDIR.value, "--workdir"))
    output = _OUTPUT.value or workdir / "results.json"
    require_output(output)
    folds = read_folds(folder / "clips.csv")
    listed = hashlib.sha256((folder / "clips.csv").read_bytes()).hexdigest()
    settings = {"data": str(folder.resolve()), "steps": _STEPS.value, "clips.csv": listed}
    claim(workdir / "esc10.json", settings, "models of folds")
    rows = []
    for encoder in _ENCODERS.value:
        packed = workdir / encoder / "all"
        if not is_packed(packed):
            _embed(folder, encoder, packed)
        clips, classes = open_packed(packed), ClassList.read(packed / FILE_NAME)
        fold_of = np.array([folds[name.decode()] for name in clips.video_ids])
        for model in _MODELS.value:
            row = evaluate_folds(clips, classes, fold_of, model, _STEPS.value, workdir / encoder)
            rows.append({"encoder": encoder, **row})
            console.say(f"{encoder}, {model}: top-1 {row['top_1']:.4f}")
    results = {"steps": _STEPS.value, "rows": rows, **environment()}
    files.write_json(output, results)
    print(markdown(results))


def _embed(folder: Path, encoder: str, packed: Path) -> None:
    from mla_jax.audio.encoders import make_encoder
    from mla_jax.recordings.embed import EmbedOptions, embed_recordings

    options = EmbedOptions(labels=str(folder / "clips.csv"))
    embed_recordings([str(folder)], packed, make_encoder(encoder), options, say=console.say)


if __name__ == "__main__":
    cli.run(main)
