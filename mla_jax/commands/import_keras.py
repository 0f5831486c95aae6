"""Turns a Keras HDF5 file into a checkpoint that evaluate and predict open.

    mla-import-keras --weights=classifier_model.h5 --workdir=runs/classifier

Architecture, sizes and form follow from the graph in the file; a file with weights alone needs
--architecture. Nothing in the file is executed.
"""

from absl import flags

from mla_jax.commands import common_flags
from mla_jax.config import ModelConfig, parse_architecture
from mla_jax.pretrained import import_keras

_WEIGHTS = flags.DEFINE_string(
    "weights", "", "The file that Keras's model.save('x.h5') or model.save_weights wrote."
)
_WORKDIR = flags.DEFINE_string("workdir", "", "The folder to write; must not exist yet.")
_ARCHITECTURE = flags.DEFINE_string(
    "architecture", "", "Such as 2-A-1-A; needed for a file with weights alone."
)
_CLASS_LIST = flags.DEFINE_string(
    "class_list", "", "A class_labels_indices.csv; without it classes are shown by their numbers."
)


def describe(found: import_keras.Imported, workdir: str) -> list[str]:
    """What was imported and what was assumed, a line each."""
    model, data = found.config.model, found.config.data
    source = "read from the graph in the file" if found.has_graph else "inferred from weights alone"
    lines = [
        f"model     {model.architecture}, {model.pooling} pooling, {found.num_features} features, "
        f"{model.hidden_units:,} units, {len(found.classes)} classes, {found.num_parameters:,} parameters",
        f"form      {found.preset or 'of no preset'}: {_form(model)}; {source}",
        f"padding   counts as segments of zero bytes (data.mask={data.mask}), as in the original programs",
    ]
    if len(parse_architecture(model.architecture)) > 1:
        join = model.join.replace("_", " ")
        how = "read from the graph"
        if not found.has_graph:
            how = "ASSUMED, as is that the heads were made in this order: weights alone do not tell"
        lines.insert(2, f"levels    joined {join}, {how}")
    if not found.has_graph:
        lines.append(
            "unseen    depths of heads (as --architecture says), activations (attention by softmax), "
            f"dropout ({model.dropout_rate}), batch norm's epsilon ({model.norm_epsilon}) and momentum "
            f"({model.norm_momentum})"
        )
    lines.append(
        "assumed   Lambda layers pool by attention, sum_t a f with a = v / sum_t v: their code is not read; "
        "the input is (byte - 128) / 128"
    )
    if not any(found.classes.mids):
        lines.append("classes   by number; --class_list names them")
    lines.append(f"next      mla-evaluate --workdir={workdir} --data=packed/eval")
    return lines


def _form(model: ModelConfig) -> str:
    places = [p for p in ("input", "block", "head", "output") if getattr(model, f"{p}_norm")]
    return f"batch norm {'at ' + ', '.join(places) if places else 'nowhere'}"


def main() -> None:
    """Imports as the flags say."""
    common_flags.require(_WEIGHTS, _WORKDIR)
    found = import_keras.import_keras(
        _WEIGHTS.value,
        _WORKDIR.value,
        architecture=_ARCHITECTURE.value,
        class_list=_CLASS_LIST.value,
    )
    print("\n".join(describe(found, _WORKDIR.value)))
