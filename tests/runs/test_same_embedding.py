"""Wherever data meet a model, embeddings that mean something else are refused, or used with a warning."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.data.embedding import AUDIOSET, Embedding, Scaling
from mla_jax.data.same_embedding import UNNAMED, require_same_embedding, warn_of_bytes_as_floats
from mla_jax.explain.maps import clip_maps
from mla_jax.progress import silent
from mla_jax.report.clip_picture import write_clip_picture
from mla_jax.report.gather import gather
from mla_jax.runs.data import RunData
from mla_jax.runs.folder import RunFolder
from mla_jax.runs.train import train
from mla_jax.runs.use import evaluate
from mla_jax.tagging.tag import predict_to_file
from tests.support.helpers import described, raises_user_error, random_clips
from tests.support.untrained import WORLD, make_runs, run_config, untrained_model

Use = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on generated data, and in `half` the eval clips, said to have another hop."""
    folder = make_runs(tmp_path_factory.mktemp("runs"))
    clips = mla.open_packed(folder / "eval")
    mla.pack(
        [described(clips, hop_seconds=0.5)],
        folder / "half",
        classes=mla.ClassList.read(folder / "eval" / "class_labels_indices.csv"),
    )
    return folder


def evaluated(folder: Path, data: str, **options: Any) -> Any:
    return evaluate(folder / "single", data, **options)


def predicted(folder: Path, data: str, **options: Any) -> Any:
    return predict_to_file(folder / "single", data, folder / "tags.jsonl", **options)


def reported(folder: Path, data: str, **options: Any) -> Any:
    return gather([folder / "single"], data, **options)


def drawn(folder: Path, data: str, **options: Any) -> None:
    pytest.importorskip("matplotlib")
    clip = mla.open_packed(data).video_ids[0].decode()
    write_clip_picture([folder / "single"], folder / "clip.png", clip, data, **options)


def trained_with(folder: Path, data: str, **options: Any) -> Any:
    config = run_config(folder, "1-A")
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, eval=data))
    return RunData.open(config, **options)


@pytest.mark.parametrize(
    "use",
    [
        evaluated,
        trained_with,
        *(pytest.param(use, marks=pytest.mark.slow) for use in (predicted, reported, drawn)),
    ],
)
def test_data_of_another_kind_are_refused_and_named(
    folder: Path, use: Use, caplog: pytest.LogCaptureFixture
) -> None:
    other = f"{folder}/half_{use.__name__}"  # what was said is not said again
    shutil.copytree(folder / "half", other)
    with raises_user_error(other, "hop_seconds 0.5 and 1.0", "allow_other_embeddings"):
        use(folder, other)
    use(folder, other, allow_other_embeddings=True)
    assert "hop_seconds 0.5 and 1.0; used all the same" in caplog.text
    caplog.clear()
    use(folder, f"{folder}/eval")
    assert "other embeddings" not in caplog.text


def test_a_run_goes_on_with_the_embeddings_that_it_began_with(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder / "single", tmp_path / "single")
    config = run_config(tmp_path, "1-A")
    (run / "results.json").unlink()
    RunFolder(run).write_config(config)
    for split in ("train", "eval"):
        clips = described(mla.open_packed(folder / split), encoder="another")
        classes = mla.ClassList.read(folder / split / "class_labels_indices.csv")
        mla.pack([clips], tmp_path / split, classes=classes)
    with raises_user_error("the training data has other", "encoder another and synthetic"):
        train(config, run, say=silent)


def test_models_in_a_notebook_refuse_them_too(caplog: pytest.LogCaptureFixture) -> None:
    clips = mla.synthetic_clips(WORLD, "eval").clips
    model = dataclasses.replace(untrained_model(), embedding=clips.embedding)
    floats = mla.ClipSet.from_arrays(
        np.asarray(clips.embeddings, np.float32), clips.multi_hot(), num_segments=clips.num_segments
    )
    uses: list[Callable[[mla.TrainedModel, mla.ClipSet], Any]] = [
        lambda m, c: m.predict(c),
        lambda m, c: m.predict_segments(c).scores,
        clip_maps,
    ]
    for use in uses:
        use(model, clips)
        with raises_user_error("dtype float32 and uint8", "scaling (0, 1) and (128, 128)"):
            use(model, floats)
    allowed = dataclasses.replace(model, allow_other_embeddings=True)
    assert not np.allclose(allowed.predict(floats), model.predict(clips))
    assert "used all the same" in caplog.text
    # Of an older version's model nothing is known.
    assert len(dataclasses.replace(model, embedding=None).predict(floats)) == len(clips)


def test_records_of_another_hop_than_the_release(tmp_path: Path) -> None:
    """Such as VGGish's demo program writes: nothing in them tells, the user does."""
    mla.write_records(dataclasses.replace(random_clips(features=128), embedding=AUDIOSET), tmp_path)
    model = dataclasses.replace(untrained_model(), embedding=AUDIOSET)
    assert model.open_clips(str(tmp_path)).embedding == AUDIOSET
    with raises_user_error(str(tmp_path), "hop_seconds 0.96 and 1.0"):
        model.open_clips(str(tmp_path), segment_seconds=0.96)
    allowed = dataclasses.replace(model, allow_other_embeddings=True)
    clips = allowed.open_clips(str(tmp_path), segment_seconds=0.96)
    assert clips.embedding.hop_seconds == 0.96


def test_what_one_does_not_know_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    unknown = Embedding("uint8", 128, Scaling(128.0, 128.0))
    for found, expected in ((unknown, AUDIOSET), (AUDIOSET, unknown), (unknown, AUDIOSET)):
        require_same_embedding("these", found, "those", expected)
    assert [m.split(" does not say")[0] for m in caplog.messages] == ["these", "those"]
    caplog.clear()
    require_same_embedding("a", unknown, "b", unknown)
    require_same_embedding("a", AUDIOSET, "b", AUDIOSET)
    assert not caplog.messages


def test_of_clips_without_a_name_it_is_said_if_of_no_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = dataclasses.replace(AUDIOSET, hop_seconds=0.123)
    for name in (UNNAMED, UNNAMED, "file.h5", UNNAMED, "file.h5", "other.h5"):
        require_same_embedding(name, found, "the run", AUDIOSET, allow_other=True)
    told = [message.split(" has other embeddings than the run")[0] for message in caplog.messages]
    assert told == [UNNAMED, "file.h5", "other.h5"]


def test_another_size_is_refused_whatever_is_allowed() -> None:
    wide = Embedding("uint8", 200, Scaling(128.0, 128.0))
    with raises_user_error("features 200 and 128"):
        require_same_embedding("these", wide, "those", AUDIOSET, allow_other=True)


@pytest.mark.parametrize(
    ("values", "warns"),
    [
        ([0, 17, 255], True),
        ([0, 17.5, 255], False),
        ([-1, 17, 255], False),
        ([0, 17, 256], False),
        ([0, 1, 2], False),
        ([3, 17, 255], True),
    ],
)
def test_floats_that_look_like_bytes(
    values: list[float], warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    embeddings = np.array([[values]], np.float32)
    name = f"{values}"
    for scaling in (Scaling(0.0, 1.0), Scaling(128.0, 128.0)):
        warn_of_bytes_as_floats(name, embeddings, Embedding("float32", 3, scaling))
    warn_of_bytes_as_floats(name, embeddings.astype(np.uint8), random_clips(features=3).embedding)
    assert [name in message for message in caplog.messages] == [True] * warns
