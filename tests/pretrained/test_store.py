"""A model that is given away: as good as the run's, small, whole, and used wherever a run is used."""

import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.commands import compare
from mla_jax.pretrained.store import store_model
from mla_jax.progress import silent
from mla_jax.report.gather import gather
from mla_jax.runs import names
from mla_jax.runs.folder import RunFolder
from mla_jax.runs.model_file import read_model, write_model
from mla_jax.runs.saved_weights import weights_checksum
from mla_jax.runs.thresholds import thresholds_of
from mla_jax.runs.train import train
from mla_jax.runs.use import evaluate, open_model
from mla_jax.storage import files
from mla_jax.tagging.tag import TagOptions, predict_to_file
from tests.support.helpers import raises_user_error
from tests.support.untrained import make_runs

ABOUT = {"data": "Generated.", "licence": "None.", "limits": ["Noise."], "compared_on": "clips"}
NAME = "small-1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained runs multi and single, and a shelf with a model made of single."""
    folder = make_runs(tmp_path_factory.mktemp("store"))
    run = RunFolder(folder / "single")
    rows = [{"index": k, "mid": "", "name": "", "threshold": k / 10} for k in range(7)]
    kept = {"step": 0, "classes": rows, "chosen_on": "validation", "num_clips": 12}
    files.write_json(run.thresholds_file, kept)
    store_model(run.path, folder / "shelf" / NAME, ABOUT, str(folder / "eval"), most_loss=1)
    return folder


@pytest.fixture
def stored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What names the model, where the package's shelf is that of the tests."""
    monkeypatch.setattr(names, "SHELF", folder / "shelf")
    return f"pretrained:{NAME}"


def test_the_one_in_the_package_is_made_by_the_preset_that_its_card_names() -> None:
    (name,) = mla.pretrained_models()
    config, best = mla.TrainedModel.pretrained(name).config, mla.preset("best")
    for section in ("model", "augment", "optim"):
        assert getattr(config, section) == getattr(best, section)
    assert config.data.sampler == best.data.sampler
    assert config.train.steps == best.train.steps


def test_it_is_the_runs_model_but_for_its_bits(folder: Path) -> None:
    run = mla.TrainedModel.open(folder / "single")
    model = mla.TrainedModel.pretrained(NAME, folder / "shelf")
    assert mla.pretrained_models(folder / "shelf") == [NAME]
    for field in ("classes", "num_features", "max_segments", "embedding", "step", "made_with"):
        assert getattr(model, field) == getattr(run, field), field
    assert model.config.data.train == model.config.data.eval == ""
    assert model.config.model == run.config.model
    clips = mla.open_packed(folder / "eval")
    np.testing.assert_allclose(model.predict(clips), run.predict(clips), atol=0.02)


@pytest.mark.parametrize("shape", [(40, 50), (3, 5), (50,)])
def test_no_weight_is_off_by_more_than_half_a_step(shape: tuple[int, ...], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=shape).astype(np.float32) * 10.0 ** rng.integers(-6, 6, shape[-1])
    kernel = kernel.astype(np.float32)
    kernel[..., 0] = 0
    variables = {"params": {"a": {"kernel": kernel}}}
    write_model(tmp_path / "m.npz", variables, {"step": 3})
    found, meta = read_model(tmp_path / "m.npz")
    assert meta == {"step": 3, "weights_sha256": weights_checksum(found)}
    ours = found["params"]["a"]["kernel"]
    assert ours.dtype == np.float32
    if kernel.size < 1024:
        np.testing.assert_array_equal(ours, kernel)
    else:
        half = np.abs(kernel).max(axis=0) / 127 / 2
        assert (np.abs(ours - kernel) <= half * 1.001).all()
        assert not np.array_equal(ours, kernel)
    first = (tmp_path / "m.npz").read_bytes()
    write_model(tmp_path / "m.npz", variables, {"step": 3})
    assert (tmp_path / "m.npz").read_bytes() == first


def test_it_is_used_wherever_a_run_is(folder: Path, stored: str, tmp_path: Path) -> None:
    data = str(folder / "eval")
    results = evaluate(stored, data)
    card = files.read_json(folder / "shelf" / NAME / "card.json")
    assert results["mAP"] == pytest.approx(card["stored"]["mAP"], rel=1e-6)
    assert results["models"] == [{"workdir": stored, "step": 0}]
    (row,) = compare.gather([Path(stored)])
    assert compare.curves([row]) == "", "a model that was given away has no log"
    assert (row["name"], row["mAP"]) == (stored, pytest.approx(results["mAP"], rel=1e-6))
    predict_to_file(stored, data, tmp_path / "tags.csv", TagOptions(threshold="validation"))
    assert (tmp_path / "tags.csv").read_text().count("\n") > 100
    model = open_model(stored)
    np.testing.assert_allclose(thresholds_of(stored, model), np.arange(7) / 10)
    report = gather([folder / "single", stored], data)
    assert [run.name for run in report.runs] == ["single", stored]
    assert report.runs[1].levels is None
    mean = open_model(f"{stored},{folder}/single").predict(mla.open_packed(data))
    assert np.isfinite(mean).all()
    twice = f"{stored},{stored}"
    with raises_user_error("has no validation split", "give a number"):
        thresholds_of(twice, open_model(twice))


def test_the_card_says_what_the_files_say(folder: Path) -> None:
    made = folder / "shelf" / NAME
    text = (made / "README.md").read_text(encoding="utf-8")
    card = files.read_json(made / "card.json")
    for part in (
        f"# Model card: {NAME}",
        f"pretrained:{NAME}",
        f"| as stored | {card['stored']['mAP']:.4f} |",
        f"8 bits a weight, {card['bytes']:,} bytes",
        "## Licence\n\nNone.",
        "- Noise.",
        *card["made_by"],
    ):
        assert part in text, part
    assert card["bytes"] == (made / "model.npz").stat().st_size
    results, run = (RunFolder(path).results() for path in (made, folder / "single"))
    assert results is not None
    assert run is not None
    assert results["fingerprints"] == run["fingerprints"]
    for row in results["classes"]:
        assert f"| {row['name']} | {row['average_precision']:.3f} |" in text
    assert str(folder) not in text + (made / "card.json").read_text()


def test_it_is_not_trained_on_and_has_one_step(folder: Path, stored: str) -> None:
    before = sorted((folder / "shelf").rglob("*"))
    config = RunFolder(folder / "single").config()
    for workdir in (stored, folder / "shelf" / NAME):
        with raises_user_error("without the state of its training", "another --workdir"):
            train(config, workdir, say=silent)
    with raises_user_error("has the model of step 0 alone, not 5"):
        open_model(stored, 5)
    with raises_user_error("no model pretrained:best", "the package has small-1"):
        open_model("pretrained:best")
    assert sorted((folder / "shelf").rglob("*")) == before


def damaged(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return bytes(b ^ 255 if 100 <= i < 200 else b for i, b in enumerate(data))


def without_a_weight(data: bytes) -> bytes:
    """The file of a model with one array fewer."""
    with np.load(io.BytesIO(data)) as kept:
        arrays: dict[str, Any] = {n: kept[n] for n in kept.files if not n.endswith("classify/bias")}
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def of_before_without_a_weight(data: bytes) -> bytes:
    """The same, in a file that has no checksum of its weights."""
    with np.load(io.BytesIO(without_a_weight(data))) as kept:
        arrays: dict[str, Any] = {name: kept[name] for name in kept.files}
    meta = json.loads(arrays["meta.json"].tobytes())
    del meta["weights_sha256"]
    arrays["meta.json"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damaged, "is damaged"),
        (flipped, "is damaged"),
        (lambda _: b"", "is damaged"),
        (without_a_weight, "it has not the weights that it was written with"),
        (of_before_without_a_weight, "does not fit its settings"),
    ],
)
def test_what_is_not_whole_is_told(
    folder: Path, harm: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    shutil.copytree(folder / "shelf" / NAME, tmp_path / "m")
    file = tmp_path / "m/model.npz"
    file.write_bytes(harm(file.read_bytes()))
    with raises_user_error("m/model.npz", message):
        mla.TrainedModel.open(tmp_path / "m")


def test_a_model_that_loses_too_much_is_not_stored(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "single", tmp_path / "run")
    store: Callable[..., Any] = lambda **more: store_model(  # noqa: E731
        tmp_path / "run", tmp_path / "m", ABOUT, str(folder / "eval"), **more
    )
    with raises_user_error("8 bits cost this model", "it is not stored"):
        store(most_loss=-1.0)
    (tmp_path / "run/results.json").unlink()
    with raises_user_error("is not a finished run"):
        store()
    assert not (tmp_path / "m").exists()


def test_thresholds_may_be_those_of_a_run_that_kept_clips(folder: Path, tmp_path: Path) -> None:
    run, other = RunFolder(folder / "single"), RunFolder(tmp_path / "other")
    config = run.config()

    def begin(**optim: Any) -> None:
        data = dataclasses.replace(config.data, validation_fraction=0.1, train="elsewhere")
        changed = dataclasses.replace(config.optim, **optim)
        train = dataclasses.replace(config.train, seed=9)
        other.write_config(dataclasses.replace(config, data=data, optim=changed, train=train))

    def store() -> dict[str, Any]:
        return store_model(
            run.path,
            tmp_path / "m",
            ABOUT,
            str(folder / "eval"),
            thresholds=other.path,
            most_loss=1,
        )

    other.path.mkdir()
    begin()
    with raises_user_error(str(other), "has no thresholds.json", "with a validation split"):
        store()
    kept = {**files.read_json(run.thresholds_file), "step": 77}
    for k, row in enumerate(kept["classes"]):
        row["threshold"] = 0.9 - k / 10
    files.write_json(other.thresholds_file, kept)
    with raises_user_error(str(other), "no results"):
        store()
    begin(learning_rate=0.123)
    with raises_user_error(str(other), "optim.learning_rate"):
        store()
    assert not (tmp_path / "m").exists()
    begin()
    results = run.results()
    assert results is not None
    total = results["clips"]["train"]
    other.write_results({**results, "clips": {"train": total - 12, "validation": 11}})
    with raises_user_error(str(other), f"{total - 1} clips", f"the model {total}", "same clips"):
        store()
    other.write_results({**results, "clips": {"train": total - 12, "validation": 12}})
    card = store()
    assert card["thresholds"] == "12 clips (validation of a run of the same settings)"
    assert (
        f"| thresholds | chosen on {card['thresholds']} |" in (tmp_path / "m/README.md").read_text()
    )
    first, second, last = card["made_by"][-3:]
    assert "validation_fraction" not in first
    assert "validation_fraction=0.1" in second
    assert "--thresholds=OTHER" in last
    made = tmp_path / "m"
    found = thresholds_of(made, mla.TrainedModel.open(made))
    np.testing.assert_allclose(found, 0.9 - np.arange(7) / 10)


def test_the_models_of_the_package_open_and_state_their_scores() -> None:
    for name in mla.pretrained_models():
        made = names.SHELF / name
        assert (made / "model.npz").stat().st_size <= 6_000_000
        model = mla.TrainedModel.pretrained(name)
        card = json.loads((made / "card.json").read_text())
        assert card["float32"]["mAP"] - card["stored"]["mAP"] <= 0.001
        assert len(jax.tree.leaves(model.variables)) > 4
        assert "CC BY 4.0" in (made / "README.md").read_text()
        assert dataclasses.replace(model.config.data, train="", eval="") == model.config.data


@pytest.mark.parametrize(
    ("about", "line"),
    [
        ({"limits": "Noise."}, "about: limits must be a list of texts"),
        ({"data": ["Generated."]}, "about: data must be a text"),
        ({"license": "None."}, "about: a card says nothing of 'license'; it has data, licence, "),
        (["Generated."], "about is no object; it has data, licence, "),
    ],
    ids=["text for a list", "list for a text", "unknown", "no object"],
)
def test_what_a_card_says_of_data_is_looked_at_first(
    about: Any, line: str, folder: Path, tmp_path: Path
) -> None:
    with raises_user_error(line):
        store_model(folder / "single", tmp_path / NAME, about, str(folder / "eval"))
    assert not (tmp_path / NAME).exists()
