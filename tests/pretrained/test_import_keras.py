"""Weights from Keras files: the same probabilities as Keras, whatever the layout; errors name layers."""

import json
import sys
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.pretrained.import_keras import import_keras
from mla_jax.pretrained.keras.graph import read_graph
from mla_jax.pretrained.keras.weights import load_keras
from tests.support.helpers import raises_user_error
from tests.support.keras_files import (
    MODELS,
    Edit,
    authors_model,
    ibm_model,
    keras,
    keras2_config,
    layers,
    pool_attention,
    probabilities,
    randomised,
    write_keras2,
    write_keras3,
)
from tests.support.programs import ok, run

# TensorFlow's arrays do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

K = 21
WRITERS = {
    "Keras 3": ("model.h5", write_keras3),
    "Keras 3, weights": ("model.weights.h5", partial(write_keras3, weights_only=True)),
    "Keras 2": ("model.h5", write_keras2),
    "Keras 2, weights": ("weights.h5", partial(write_keras2, weights_only=True)),
}
NORMS = ("input_norm", "block_norm", "head_norm", "output_norm")
FORMS = {
    "ibm": {
        **dict(zip(NORMS, (False, True, False, False), strict=True)),
        "join": "shallowest_first",
    },
    "authors": {**dict.fromkeys(NORMS, True), "join": "deepest_first"},
}
DROPOUT = {"ibm": 0.5, "authors": 0.4}


@pytest.fixture(scope="module")
def models() -> dict[str, keras.Model]:
    """One of each program; numbers pass from one digit to two: dense_9 is made before dense_10."""
    keras.backend.clear_session()
    for _ in range(6):
        layers.Dense(1)
        layers.BatchNormalization()
    made = {"ibm": ibm_model()}
    assert {"dense_9", "dense_10"} <= {layer.name for layer in made["ibm"].layers}
    keras.backend.clear_session()
    for _ in range(6):
        layers.BatchNormalization()
    return {**made, "authors": authors_model()}


@pytest.fixture(scope="module")
def clips() -> mla.ClipSet:
    """Clips of 1 to 10 segments, zero bytes behind them."""
    made = mla.synthetic_clips(
        mla.SyntheticConfig(num_clips=60, num_classes=K, num_features=128, max_segments=10)
    ).clips
    assert (made.num_segments < 10).any()
    return made


def same(found: Any, model: keras.Model, clips: mla.ClipSet, tolerance: float = 1e-5) -> None:
    """Our probabilities, of variables or of a restored checkpoint, are Keras's."""
    if isinstance(found, mla.TrainedModel):
        ours = found.predict(clips)
    else:
        built = mla.build_model(found.config, found.num_classes)
        ours = mla.Predictor(built, found.variables, use_mask=False).predict(clips)
    theirs = probabilities(model, clips.embeddings)
    assert theirs.std() > 0.05, "probabilities that are all alike show nothing"
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("form", MODELS)
def test_every_layout_gives_keras_probabilities(
    form: str,
    writer: str,
    models: dict[str, keras.Model],
    clips: mla.ClipSet,
    tmp_path: Path,
) -> None:
    model = models[form]
    name, write = WRITERS[writer]
    weights_only = "weights" in writer
    found = load_keras(write(model, tmp_path / name), "2-A-1-A" if weights_only else "")
    assert found.has_graph is not weights_only
    assert (found.num_classes, found.num_features) == (K, 128)
    assert found.max_segments == (0 if weights_only else 10)
    for field, value in FORMS[form].items():
        assert getattr(found.config, field) == value, field
    assert found.config.architecture == "2-A-1-A"
    if not weights_only:
        assert found.config.dropout_rate == DROPOUT[form]
    same(found, model, clips)


@pytest.mark.parametrize("architecture", ["3-A", "1-A-2-A", "1-A-1-A-1-A"])
@pytest.mark.parametrize("form", MODELS)
def test_other_architectures(
    form: str, architecture: str, clips: mla.ClipSet, tmp_path: Path
) -> None:
    model = MODELS[form](architecture)
    found = load_keras(write_keras2(model, tmp_path / "model.h5"))
    assert found.config.architecture == architecture
    assert found.config.join == FORMS[form]["join"]
    same(found, model, clips)
    alone = write_keras2(model, tmp_path / "weights.h5", weights_only=True)
    same(load_keras(alone, architecture), model, clips)


def test_attention_by_a_sigmoid_is_seen(clips: mla.ClipSet, tmp_path: Path) -> None:
    """Of two sigmoids the first that the Lambda takes is the classification."""
    model = ibm_model(attend="sigmoid")
    found = load_keras(write_keras2(model, tmp_path / "model.h5"))
    assert found.config.pooling == "attention_sigmoid"
    same(found, model, clips)


def test_blocks_without_batch_norm_and_bias(clips: mla.ClipSet, tmp_path: Path) -> None:
    """The form of kong2017, no statistics anywhere; wrapped layers; a Lambda of [attention, decisions]."""
    inputs = layers.Input((10, 128))
    x = layers.TimeDistributed(layers.Dense(32, use_bias=False))(inputs)
    x = layers.ReLU()(x)
    maps = [layers.Dense(K, activation="sigmoid")(x), layers.Softmax()(layers.Dense(K)(x))]
    pool = layers.Lambda(lambda maps: pool_attention(maps[::-1]), output_shape=(K,))
    model = randomised(keras.Model(inputs, pool(maps[::-1])))
    found = load_keras(write_keras3(model, tmp_path / "model.h5"))
    assert found.config.architecture == "1-A"
    assert not found.config.hidden_bias
    assert not found.config.block_norm
    assert found.config.dropout_rate == 0
    same(found, model, clips)


def test_old_spellings(models: dict[str, keras.Model], clips: mla.ClipSet, tmp_path: Path) -> None:
    """Layers' names in parts, the graph as str, BatchNormalizationV1, an axis as a list."""
    model = models["ibm"]

    def edit(config: dict[str, Any], arrays: Any) -> None:
        config["class_name"] = "Functional"
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "BatchNormalization":
                layer["class_name"] = "BatchNormalizationV1"
                layer["config"]["axis"] = [2]

    path = write_keras2(model, tmp_path / "model.h5", edit=edit, names_in_parts_of=4)
    with h5py.File(path, "a") as file:
        assert "layer_names1" in file["model_weights"].attrs
        file.attrs["model_config"] = file.attrs["model_config"].decode()
    same(load_keras(path), model, clips)


@pytest.mark.slow
@pytest.mark.audioset
@pytest.mark.parametrize(("form", "hidden"), [("ibm", 1024), ("authors", 600)])
def test_round_trip_at_full_size(
    form: str, hidden: int, audioset_dir: Path, tmp_path: Path
) -> None:
    """A checkpoint of a published program's sizes, on 200 real clips, short ones among them."""
    clips = mla.open_clips(f"{audioset_dir}/eval", mla.ReadOptions(527))[:200]
    assert (clips.num_segments < 10).any()
    model = MODELS[form](hidden=hidden, classes=527)
    write_keras2(model, tmp_path / "model.h5")
    found = import_keras(tmp_path / "model.h5", tmp_path / "run")
    assert found.preset == {"ibm": "kong2019_keras", "authors": "yu2018"}[form]
    assert found.num_parameters == model.count_params() - sum(
        int(np.prod(w.shape)) for w in model.non_trainable_weights
    )
    same(mla.TrainedModel.open(tmp_path / "run"), model, clips)


@pytest.mark.slow
def test_the_command_and_what_comes_after(tmp_path: Path) -> None:
    world = mla.SyntheticConfig(num_clips=40, num_classes=7, num_features=16, max_segments=5)
    made = mla.synthetic_clips(world, "eval")
    mla.pack([made.clips], tmp_path / "eval", classes=made.classes)
    (tmp_path / "list.csv").write_text(made.classes.to_csv())
    model = ibm_model(time=5, features=16, hidden=8, classes=7)
    write_keras3(model, tmp_path / "model.h5")
    done = ok(
        "import_keras",
        f"--weights={tmp_path}/model.h5",
        f"--workdir={tmp_path}/run",
        f"--class_list={tmp_path}/list.csv",
    )
    for part in ("2-A-1-A", "8 units", "7 classes", "shallowest first, read from the graph"):
        assert part in done.stdout
    assert f"evaluate --workdir={tmp_path}/run" in done.stdout
    assert json.loads((tmp_path / "run/config.json").read_text())["data"]["mask"] is False
    opened = mla.TrainedModel.open(tmp_path / "run")
    assert opened.classes == made.classes
    assert opened.step == 0
    assert opened.config.data.max_segments == 5
    same(opened, model, made.clips)
    done = ok("evaluate", f"--workdir={tmp_path}/run", f"--data={tmp_path}/eval")
    mAP = mla.evaluate(probabilities(model, made.clips.embeddings), made.clips.multi_hot()).mAP
    assert f"mAP {mAP:.4f}" in done.stdout
    write_keras2(model, tmp_path / "weights.h5", weights_only=True)
    arguments = ["import_keras", f"--weights={tmp_path}/weights.h5", f"--workdir={tmp_path}/alone"]
    refused = run(*arguments)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: {tmp_path}/weights.h5: it has weights alone")
    assert refused.stderr.count("\n") == 1
    done = ok(*arguments, "--architecture=2-A-1-A")
    for part in ("inferred from weights alone", "ASSUMED", "--class_list names them"):
        assert part in done.stdout
    same(mla.TrainedModel.open(tmp_path / "alone"), model, made.clips)


def change(layer: str, **settings: Any) -> Edit:
    """An edit that changes settings of a layer, or its class (`kind`) or inputs (`inputs`)."""

    def edit(config: dict[str, Any], arrays: Any) -> None:
        found = next(x for x in config["config"]["layers"] if x["name"] == layer)
        if "kind" in settings:
            found["class_name"] = settings.pop("kind")
        if "inputs" in settings:
            found["inbound_nodes"] = [[[i, 0, 0, {}] for i in settings.pop("inputs")]]
        if "calls" in settings:
            found["inbound_nodes"] *= settings.pop("calls")
        found["config"] |= settings

    return edit


def hold(layer: str, variable: str, array: Any) -> Edit:
    """An edit of a layer's array; None takes it away."""

    def edit(config: dict[str, Any], arrays: dict[str, Any]) -> None:
        held = arrays.setdefault(layer, {})
        if array is None:
            del held[variable]
        else:
            held[variable] = array

    return edit


def kind_of_model(config: dict[str, Any], arrays: Any) -> None:
    config["class_name"] = "Sequential"


def no_layers(config: dict[str, Any], arrays: Any) -> None:
    del config["config"]["layers"]


def two_outputs(config: dict[str, Any], arrays: Any) -> None:
    config["config"]["output_layers"] *= 2


def idle_layer(config: dict[str, Any], arrays: Any) -> None:
    config["config"]["layers"].append(
        {
            "name": "dense_99",
            "class_name": "Dense",
            "config": {"name": "dense_99", "units": 3},
            "inbound_nodes": [[["dropout_3", 0, 0, {}]]],
        }
    )


# In this file dense_1 to 3 are blocks, dense_4 to 7 the maps of heads, dense_8 the output.
UNFIT: dict[str, tuple[Edit, str]] = {
    "another kind of model": (kind_of_model, "of the kind Sequential"),
    "another kind of layer": (change("dense_2", kind="LSTM"), "layer dense_2 (LSTM) is not part"),
    "damaged graph": (no_layers, "model_config is not as Keras writes it"),
    "two outputs": (two_outputs, "2 outputs"),
    "idle layer": (idle_layer, "layer dense_99 (Dense) does not lead to the output"),
    "shared layer": (change("dense_4", calls=2), "layer dense_4 is used 2 times"),
    "no such input": (change("dense_3", inputs=["none_1"]), "layer none_1 is taken by another"),
    "a loop": (change("dense_1", inputs=["dropout_1"]), "among its own inputs"),
    "two inputs": (change("dense_3", inputs=["dropout_2"] * 2), "layer dense_3 (Dense) has 2"),
    "no concatenation": (
        change("concatenate_1", kind="Dropout"),
        "layer concatenate_1 (Dropout) stands where what joins the heads",
    ),
    "joined along time": (change("concatenate_1", axis=0), "layer concatenate_1 joins"),
    "output not a sigmoid": (
        change("activation_4", activation="softmax"),
        "layer activation_4 ends the model by softmax",
    ),
    "block not a relu": (change("activation_2", activation="tanh"), "layer activation_2 ends a"),
    "activation before the norm": (
        change("dense_2", activation="relu"),
        "comes behind the relu that dense_2 applies",
    ),
    "head without attention": (change("dense_5", activation="tanh"), "dense_5 (tanh)"),
    "map of another layer": (
        change("dense_5", inputs=["dropout_3"]),
        "layer lambda_1 pools maps of two layers, dropout_2 and dropout_3",
    ),
    "dropout differs": (change("dropout_2", rate=0.1), "layer dropout_2 has rate 0.1"),
    "epsilon differs": (
        change("batch_normalization_3", epsilon=1e-5),
        "layer batch_normalization_3 has epsilon 1e-05",
    ),
    "axis of time": (
        change("batch_normalization_2", axis=1),
        "layer batch_normalization_2 normalises axis 1",
    ),
    "no gamma": (change("batch_normalization_2", scale=False), "layer batch_normalization_2 has"),
    "units differ": (change("dense_3", units=9), "layer dense_3 has units 9"),
    "head of other classes": (change("dense_6", units=9), "layer dense_6 has units 9"),
    "map without bias": (change("dense_6", use_bias=False), "layer dense_6 has no bias"),
    "array missing": (hold("dense_6", "bias", None), "layer dense_6 has no bias in the file"),
    "array too many": (
        hold("dense_6", "scale", np.ones(K)),
        "layer dense_6 has a scale that no part of the model takes",
    ),
    "layer too many": (
        hold("dense_77", "bias", np.ones(K)),
        "layer dense_77 has a bias that no part",
    ),
    "kernel of another shape": (
        hold("dense_6", "kernel", np.ones((K, 32))),
        "layer dense_6 has a kernel of [21, 32]",
    ),
    "not finite": (
        hold("dense_6", "bias", np.full(K, np.nan)),
        "layer dense_6: its bias holds values that are not finite",
    ),
    "not floats": (hold("dense_6", "bias", np.arange(K)), "layer dense_6: its bias is of int64"),
}


def test_files_that_do_not_fit_name_the_layer(tmp_path: Path) -> None:
    model = renumbered(ibm_model)
    for i, (what, (edit, message)) in enumerate(UNFIT.items()):
        path = write_keras2(model, tmp_path / f"{i}.h5", edit=edit)
        try:
            with raises_user_error(str(path), message):
                import_keras(path, tmp_path / "run")
        except BaseException as error:
            raise AssertionError(what) from error
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".h5"] * len(UNFIT)


def renumbered(make: Any, *arguments: Any, **sizes: Any) -> keras.Model:
    """A model whose layers are numbered from the start."""
    keras.backend.clear_session()
    return make(*arguments, **sizes)


# The same files without their graph.
ALONE: dict[str, tuple[str, dict[str, Any], str, Edit | None, str]] = {
    "no architecture": ("ibm", {}, "", None, "give --architecture"),
    "not an architecture": ("ibm", {}, "2A", None, "is not of the form 2-A-1-A"),
    "more blocks": (
        "ibm", {}, "3-A-2-A", None,
        "3 layers that are each a block, the last of them layer dense_3, but 3-A-2-A has 5",
    ),
    "fewer blocks": ("ibm", {}, "1-A-1-A", None, "layer dense_3 is block number 3, but 1-A-1-A"),
    "fewer heads": ("ibm", {}, "3-A", None, "layer dense_8 has a kernel of [42, 21]"),
    "more heads": ("ibm", {}, "1-A-1-A-1-A", None, "layer dense_8 has a kernel of [42, 21]"),
    "an output too many": ("authors", {}, "3-A", None, "layer output has a kernel of [42, 21]"),
    "as many units as classes": ("ibm", {"hidden": K}, "2-A-1-A", None, "is needed"),
    "heads like the output": ("ibm", {"hidden": 2 * K}, "2-A-1-A", None, "is needed"),
    "a norm missing": (
        "ibm", {}, "2-A-1-A",
        lambda _, arrays: arrays.pop("batch_normalization_2"),
        "batch_normalization_1 (32), batch_normalization_3 (32) fit no form",
    ),
    "input and output norm alike": (
        "authors", {"features": K}, "2-A-1-A",
        lambda _, arrays: [arrays.pop(f"batch_normalization_{i}") for i in range(2, 10)],
        "batch_normalization_1 (21) fit more than one form",
    ),
    "another kind of layer": (
        "ibm", {}, "2-A-1-A", hold("conv1d_1", "kernel", np.ones((3, 4, 5))),
        "layer conv1d_1 (kernel [3, 4, 5]) is neither dense nor a batch norm",
    ),
    "a head of another number": (
        "authors",
        {},
        "2-A-1-A",
        lambda _, arrays: arrays.update(att3=arrays.pop("att2")),
        "layer cla_2 stands alone",
    ),
    "two kinds of name": (
        "ibm", {}, "2-A-1-A",
        lambda _, arrays: arrays.update(fc_1=arrays.pop("dense_1")),
        "layers are called dense and fc",
    ),
    "heads of two sizes": (
        "ibm", {}, "2-A-1-A", hold("dense_5", "kernel", np.ones((32, 20))),
        "layer dense_5 has 20 outputs",
    ),
}  # fmt: skip


def test_weights_alone_that_do_not_fit(tmp_path: Path) -> None:
    models = {form: renumbered(make) for form, make in MODELS.items()}
    for i, (what, (form, sizes, architecture, edit, message)) in enumerate(ALONE.items()):
        model = renumbered(MODELS[form], **sizes) if sizes else models[form]
        path = write_keras2(model, tmp_path / f"{i}.h5", weights_only=True, edit=edit)
        try:
            with raises_user_error(message):
                load_keras(path, architecture)
        except BaseException as error:
            raise AssertionError(what) from error


def test_equal_sizes_that_can_be_told_apart(tmp_path: Path) -> None:
    """As many features as units, as units of all heads: numbers and names decide."""
    for form, sizes in (("ibm", {"features": 32}), ("authors", {"hidden": 2 * K, "features": K})):
        model = MODELS[form](**sizes)
        made = mla.synthetic_clips(
            mla.SyntheticConfig(num_clips=20, num_classes=K, num_features=model.input_shape[-1])
        ).clips
        path = write_keras2(model, tmp_path / f"{form}.h5", weights_only=True)
        same(load_keras(path, "2-A-1-A"), model, made)


def test_not_a_file_of_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ibm_model(hidden=8)
    with raises_user_error("/no/where.h5 does not exist"):
        load_keras("/no/where.h5")
    (tmp_path / "text.h5").write_text("weights")
    with raises_user_error("text.h5 is not an HDF5 file"):
        load_keras(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.ones(3)
    with raises_user_error("other.h5: it has no Keras layers"):
        load_keras(tmp_path / "other.h5")
    whole = write_keras2(model, tmp_path / "whole.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with raises_user_error("cut.h5 is damaged"):
        load_keras(tmp_path / "cut.h5")
    with h5py.File(tmp_path / "whole.h5", "a") as file:
        file.attrs["model_config"] = "{"
    with raises_user_error("whole.h5 is damaged"):
        load_keras(tmp_path / "whole.h5")
    path = write_keras3(model, tmp_path / "x.weights.h5", weights_only=True)
    with h5py.File(path, "a") as file:
        del file["layers/dense/vars"].attrs["name"]
    with raises_user_error("layers/dense does not say its name"):
        load_keras(path, "2-A-1-A")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with raises_user_error("pip install 'mla_jax[hdf5]'"):
        load_keras(path)


def test_wrong_uses_leave_nothing(tmp_path: Path) -> None:
    path = write_keras2(ibm_model(hidden=8), tmp_path / "model.h5")
    (tmp_path / "list.csv").write_text(mla.ClassList.numbered(K + 1).to_csv())
    with raises_user_error("list.csv has 22 classes, but the model"):
        import_keras(path, tmp_path / "run", class_list=str(tmp_path / "list.csv"))
    with raises_user_error("its graph is 2-A-1-A, not 1-A-2-A"):
        import_keras(path, tmp_path / "run", architecture="1-A-2-A")
    with raises_user_error("cannot write"):
        import_keras(path, path / "run")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["list.csv", "model.h5"]
    (tmp_path / "run/checkpoints/5").mkdir(parents=True)
    with raises_user_error("run already exists and is not empty"):
        import_keras(path, tmp_path / "run")


def test_the_two_ways_to_write_connections() -> None:
    """Keras 3's graph and the same as Keras 2 writes it are one graph."""
    model = renumbered(ibm_model)
    new, old = read_graph(json.loads(model.to_json())), read_graph(keras2_config(model))
    assert [layer.inputs for layer in old.layers.values() if layer.kind == "Lambda"] == [
        ("dense_4", "dense_5"),
        ("dense_6", "dense_7"),
    ]
    for ours, theirs in zip(new.layers.values(), old.layers.values(), strict=True):
        assert ours.kind == theirs.kind
        assert ours.activation == theirs.activation
        assert len(ours.inputs) == len(theirs.inputs)
    assert list(islice(new.layers, 2)) == ["input_layer", "dense"]


def test_links_to_other_files_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.create_group("model_weights")["dense"] = h5py.ExternalLink("other.h5", "/dense")
    with raises_user_error("model.h5", "is a link to another file, other.h5"):
        load_keras(tmp_path / "model.h5")
