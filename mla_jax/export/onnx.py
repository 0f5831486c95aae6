"""ONNX, for ONNX Runtime on computers and in browsers."""

from pathlib import Path

from mla_jax.errors import UserError
from mla_jax.export.graph import input_specs, quiet, tagger_function
from mla_jax.export.keras_model import keras_tagger
from mla_jax.export.tagger import DESCRIPTION, Tagger
from mla_jax.storage import files

OPSET = 18
"""The version of ONNX's operators: of 2022, which every runtime of today has."""


def write_onnx(tagger: Tagger, output: str | Path) -> None:
    """Writes the tagger as an ONNX file, with its description among the model's metadata.

    Raises:
      UserError: what converts is not installed, or the file cannot be written.
    """
    try:
        import tf2onnx
    except ImportError as error:
        raise UserError(
            f"{output}: ONNX needs the extra onnx: pip install 'mla_jax[onnx]' ({error})"
        ) from error
    function = tagger_function(keras_tagger(tagger), tagger)
    with quiet():
        model, _ = tf2onnx.convert.from_function(
            function, input_signature=input_specs(tagger), opset=OPSET
        )
    for values in (*model.graph.input, *model.graph.output):
        for axis, name in zip(
            values.type.tensor_type.shape.dim, ("clips", "segments"), strict=False
        ):
            if not axis.HasField("dim_value"):
                axis.dim_param = name
    entry = model.metadata_props.add()
    entry.key, entry.value = DESCRIPTION, files.to_json(tagger.describe(opset=OPSET))
    with files.replacing(output, binary=True) as file:
        file.write(model.SerializeToString())
