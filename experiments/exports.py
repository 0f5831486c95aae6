"""Compares a run in every format that it can be exported in with the model itself, on real clips.

    python -m experiments.exports --workdir=runs/2-A-1-A --data=packed/eval --output=exports.json

Each file is run by its own library, on processors alone. The data need labels, for mAP.

    python -m experiments.exports --results=exports.json --update=BUILD_NOTES.md

shows what was measured.
"""

import tempfile
from pathlib import Path

from absl import flags

from experiments.benchmarks.rows import machine
from experiments.table.exports import compare_exports, table
from mla_jax.commands import cli, common_flags
from mla_jax.commands.markdown import update_markdown
from mla_jax.export.tagger import Tagger
from mla_jax.runs.folder import require_output
from mla_jax.storage import files

_WORKDIR = flags.DEFINE_string("workdir", "", "The run's folder.")
_DATA = flags.DEFINE_string("data", "", f"{common_flags.CLIPS}, with labels.")
_OUTPUT = flags.DEFINE_string("output", "", "The JSON file to write.")
_RESULTS = flags.DEFINE_string("results", "", "A file written before, instead of comparing.")
_UPDATE = flags.DEFINE_string(
    "update", "", "A Markdown file to put the table into, between the markers of the results' name."
)

_LIBRARIES = ("tensorflow-cpu", "keras", "ai-edge-litert", "tf2onnx", "onnx", "onnxruntime")


def main() -> None:
    """Compares, or shows what was compared."""
    if _RESULTS.value:
        results = files.read_json(_RESULTS.value)
    else:
        common_flags.require(_WORKDIR, _DATA, _OUTPUT)
        require_output(_OUTPUT.value, [_DATA.value])
        tagger = Tagger.open(_WORKDIR.value)
        clips = tagger.trained.open_clips(_DATA.value)
        with tempfile.TemporaryDirectory() as folder:
            compared = compare_exports(tagger, clips, Path(folder))
        results = {**machine(_LIBRARIES), **compared}
        files.write_json(_OUTPUT.value, results)
    print(table(results))
    if _UPDATE.value:
        name = Path(_RESULTS.value or _OUTPUT.value).stem
        update_markdown(_UPDATE.value, name, table(results))


if __name__ == "__main__":
    cli.run(main)
