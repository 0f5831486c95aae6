"""Sound where clips are expected: a run takes it if it knows its encoder, and says the right times."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.audio.pca import fit_pca, save_pca, with_pca
from mla_jax.audio.statistics import LOG_MEL_STATISTICS
from mla_jax.data.windows import Windowing, batches_of_windows
from mla_jax.explain.maps import map_of_windows
from mla_jax.recordings.embed import embed_recordings
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.recordings.sound_clips import SoundFiles, encoder_of
from mla_jax.runs.use import evaluate
from mla_jax.storage.parts import Share
from mla_jax.tagging.spread import predict_share
from mla_jax.tagging.tag import Tagged, predict_to_file
from mla_jax.tagging.tagger import Tagger, TagOptions
from tests.audio.sounds import cut_in_half, noise, tone, write_sound
from tests.support.helpers import assert_same_clips, raises_user_error
from tests.support.sound_runs import ENCODER, make_sounds, train_on_sounds


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    make_sounds(folder)
    return folder


@pytest.fixture(scope="module")
def run(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_on_sounds(sounds, tmp_path_factory.mktemp("run"))


def test_a_recording_is_tagged_as_its_embeddings_are(
    run: Path, sounds: Path, tmp_path: Path
) -> None:
    options = TagOptions(segments=True)
    embed_recordings([str(sounds)], tmp_path / "packed", ENCODER)
    made = predict_to_file(run, str(tmp_path / "packed"), tmp_path / "packed.jsonl", options)
    for given in (sounds, f"{sounds}/*[0-9].*"):
        done = predict_to_file(run, str(given), tmp_path / "sound.jsonl", options)
        assert done == made == Tagged(clips=4, items=10, skipped=0)
        packed, sound = (
            [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
            for name in ("packed", "sound")
        )
        for ours, other in zip(sound, packed, strict=True):
            assert ours["video_id"] == other["video_id"]
            assert ours["start_time"] == other["start_time"]
            assert ours["segment_starts"] == other["segment_starts"]
            (probs, others) = ([k["probability"] for k in one["labels"]] for one in (ours, other))
            assert probs == pytest.approx(others, abs=1e-4)


def test_what_sounds_when_in_a_long_recording(run: Path, tmp_path: Path) -> None:
    parts = [tone(6.0), noise(4.0, seed=9), tone(3.0), noise(7.0, seed=8)]
    path = write_sound(tmp_path / "-field ä.ogg", np.concatenate(parts))
    predict_to_file(run, str(path), tmp_path / "events.tsv")
    lines = [line.split("\t") for line in (tmp_path / "events.tsv").read_text().splitlines()[1:]]
    assert {line[0] for line in lines} == {"-field ä.ogg"}
    found = [(line[3], float(line[1]), float(line[2])) for line in lines]
    assert [name for name, _, _ in found] == ["Tone", "Noise", "Tone", "Noise"]
    bounds = np.cumsum([0, *(len(part) / 16_000 for part in parts)])
    for (_, onset, offset), begin, end in zip(found, bounds[:-1], bounds[1:], strict=True):
        assert abs(onset - begin) <= 1.0
        assert abs(offset - end) <= 1.0


@pytest.mark.parametrize("seconds", [5.3, 7.6, 0.3])
def test_no_event_ends_after_its_file(run: Path, tmp_path: Path, seconds: float) -> None:
    path = write_sound(tmp_path / "a.wav", tone(seconds))
    options = TagOptions(threshold=0.0, window=3, hop=2)
    predict_to_file(run, str(path), tmp_path / "one.tsv", options)
    lines = [line.split("\t") for line in (tmp_path / "one.tsv").read_text().splitlines()[1:]]
    assert {(float(line[1]), float(line[2])) for line in lines} == {(0.0, seconds)}
    for i in range(2):
        predict_share(Share(i, 2), run, str(path), tmp_path / "many.tsv", options)
    assert (tmp_path / "many.tsv").read_bytes() == (tmp_path / "one.tsv").read_bytes()


@pytest.mark.parametrize(("window", "hop"), [(4, 4), (4, 3), (5, 2), (1, 1)])
@pytest.mark.parametrize("seconds", [11.0, 9.3, 2.0])
def test_spans_of_a_long_recording_have_the_windows_of_the_whole(
    tmp_path: Path, window: int, hop: int, seconds: float
) -> None:
    path = write_sound(tmp_path / "a.wav", noise(seconds))
    windowing = Windowing(window, hop)
    made = []
    for span_seconds in (3600.0, 2.0):
        data = SoundFiles(str(path), ENCODER, window=window, hop=hop, span_seconds=span_seconds)
        options = mla.ReadOptions(num_classes=2, max_segments=None, needs_labels=False)
        chunks = [chunk.clips for chunk in data.chunks(options)]
        assert (len(chunks) > 1) == (span_seconds < 10 and seconds > 5)
        batches = batches_of_windows(chunks, windowing, width=window, batch_size=1000)
        made.append(next(batches))
    np.testing.assert_allclose(made[0].embeddings, made[1].embeddings, atol=1e-5)
    assert_same_clips(
        made[0], dataclasses.replace(made[1], embeddings=np.asarray(made[0].embeddings))
    )


@pytest.mark.parametrize("ending", ["flac", "mp3", "wav", "ogg"])
def test_of_a_long_recording_that_is_cut_what_lies_before_is_used(
    tmp_path: Path, ending: str
) -> None:
    path = cut_in_half(write_sound(tmp_path / f"a.{ending}", noise(20.0)))
    options = mla.ReadOptions(num_classes=2, max_segments=None, needs_labels=False)
    made = []
    for span_seconds in (3600.0, 3.0):
        data = SoundFiles(str(path), ENCODER, span_seconds=span_seconds)
        chunks = list(data.chunks(options))
        assert not any(chunk.skipped for chunk in chunks)
        (note,) = filter(None, data.notes)
        assert note.startswith("1 recording cut or damaged")
        made.append(sum(int(chunk.clips.num_segments.sum()) for chunk in chunks))
    assert 0 <= made[0] - made[1] <= 1  # a damaged block is lost whole, wherever it began
    assert made[1] > 5


def test_parts_are_the_chunks_whichever_are_read(tmp_path: Path) -> None:
    for i, seconds in enumerate((3.0, 2.0, 17.3, 0.4, 2.5)):
        write_sound(tmp_path / f"{i}.flac", noise(seconds, seed=i))
    options = mla.ReadOptions(num_classes=2, max_segments=None, needs_labels=False)

    def opened() -> SoundFiles:
        return SoundFiles(
            str(tmp_path), ENCODER, window=4, hop=3, span_seconds=4.0, part_seconds=5.0
        )

    chunks = [chunk.clips for chunk in opened().chunks(options)]
    parts = [list(read()) for read in opened().parts(options)]
    assert 3 < len(parts) < len(chunks)
    assert sum(map(len, parts)) == len(chunks)
    for expected, found in zip(chunks, (c.clips for part in parts for c in part), strict=True):
        assert_same_clips(found, expected)
    readers = list(opened().parts(options))
    assert_same_clips(next(iter(readers[-1]())).clips, parts[-1][0].clips)


def test_several_processes_tag_sound_as_one_does(run: Path, sounds: Path, tmp_path: Path) -> None:
    options = TagOptions(segments=True)
    one = predict_to_file(run, str(sounds), tmp_path / "one.parquet", options)
    assert predict_share(Share(1, 2), run, str(sounds), tmp_path / "two.parquet", options) is None
    assert predict_share(Share(0, 2), run, str(sounds), tmp_path / "two.parquet", options) == one
    assert (tmp_path / "two.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()


def test_clips_may_be_opened_at_once(run: Path, sounds: Path, tmp_path: Path) -> None:
    trained = mla.TrainedModel.open(run)
    clips = trained.open_clips(str(sounds), needs_labels=False)
    embed_recordings([str(sounds)], tmp_path / "packed", ENCODER)
    packed = mla.open_packed(tmp_path / "packed")
    np.testing.assert_allclose(clips.embeddings, packed.embeddings, atol=1e-5)
    assert_same_clips(
        dataclasses.replace(clips, embeddings=packed.embeddings, num_classes=0), packed
    )


def test_a_short_recording_is_padded_as_in_training_whatever_reads_it(
    run: Path, tmp_path: Path
) -> None:
    """Which counts where padding does, `data.mask=False`."""
    write_sound(tmp_path / "short.wav", tone(0.4))
    (tmp_path / "labels.csv").write_text("filename,labels\nshort.wav,Tone\n")
    trained = mla.TrainedModel.open(run)
    config = dataclasses.replace(
        trained.config, data=dataclasses.replace(trained.config.data, mask=False)
    )
    trained = dataclasses.replace(trained, config=config)
    labelled = trained.open_clips(str(tmp_path))
    assert labelled.max_segments == trained.max_segments > labelled.num_segments[0]
    (row,) = trained.predict(labelled)
    alone = trained.open_clips(str(tmp_path), needs_labels=False)
    _, (probs,) = map_of_windows(trained, alone)
    windows = Windowing(trained.max_segments, trained.max_segments)
    (tags,) = Tagger(trained, TagOptions(top_k=9), windows, np.zeros(len(row))).tag([alone])
    embed_recordings([str(tmp_path / "short.wav")], tmp_path / "packed", ENCODER)
    packed = trained.open_clips(str(tmp_path / "packed"), needs_labels=False)
    assert mla.open_packed(tmp_path / "packed").max_segments < packed.max_segments
    for found in (probs, tags.probs[np.argsort(tags.labels)], trained.predict(packed)[0]):
        np.testing.assert_allclose(found, row, rtol=1e-6)


def test_labelled_recordings_are_evaluated_as_their_embeddings_are(
    run: Path, sounds: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = evaluate(run, str(run.parent / "train"))
    scores = ("mAP", "AUC", "num_clips", "skipped_records")
    for given, labels in ((sounds, ""), (f"{sounds}/*.*[cv]", f"{sounds}/labels.csv")):
        found = evaluate(run, str(given), labels=labels)
        assert [found[k] for k in scores] == pytest.approx([expected[k] for k in scores], abs=1e-6)
    clips = mla.TrainedModel.open(run).open_clips(str(sounds))
    assert clips.max_segments == 2
    packed = mla.open_packed(run.parent / "train")
    np.testing.assert_allclose(clips.embeddings, packed.embeddings, atol=1e-5)
    assert_same_clips(dataclasses.replace(clips, embeddings=packed.embeddings), packed)
    (tmp_path / "in").mkdir()
    for name in ("tone0.wav", "noise0.flac"):
        (tmp_path / "in" / name).symlink_to(sounds / name)
    with raises_user_error("in is sound", "labels=labels.csv", "filename,labels"):
        evaluate(run, str(tmp_path / "in"))
    shutil.copy(sounds / "labels.csv", tmp_path)
    assert evaluate(run, str(tmp_path / "in"))["num_clips"] == 6
    assert f"the labels are those of {tmp_path / 'labels.csv'}" in caplog.text
    (tmp_path / "in/garbage.wav").write_bytes(b"garbage" * 99)
    labels = tmp_path / "some.csv"
    labels.write_text("filename,labels\ntone0,Tone\nnowhere,Noise\n")
    # What no line is of is left out, garbage too, and told.
    assert evaluate(run, str(tmp_path / "in"), labels=str(labels))["num_clips"] == 3
    labels.write_text("filename,labels\ntone0,Tone\ngarbage,Noise\n")
    with raises_user_error("garbage.wav is no sound file", "bad_records=skip"):
        evaluate(run, str(tmp_path / "in"), labels=str(labels))
    done = evaluate(run, str(tmp_path / "in"), labels=str(labels), bad_records="skip")
    assert (done["num_clips"], done["skipped_records"]) == (3, 1)
    with raises_user_error("is not used", "labels of its own"):
        evaluate(run, str(run.parent / "train"), labels=str(labels))


def test_a_file_that_cannot_be_used_is_told_before_the_work_or_left_out(
    run: Path, sounds: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.wav").symlink_to(sounds / "tone0.wav")
    (tmp_path / "in/z.wav").write_bytes(b"garbage" * 99)
    with raises_user_error("z.wav is no sound file", "bad_records=skip"):
        predict_to_file(run, str(tmp_path / "in"), tmp_path / "t.csv")
    done = predict_to_file(run, str(tmp_path / "in"), tmp_path / "t.csv", bad_records="skip")
    assert (done.clips, done.skipped) == (1, 1)
    assert "z.wav" in (tmp_path / "t.skipped_records.jsonl").read_text()


def test_a_run_that_does_not_know_its_encoder_takes_no_sound(tmp_path: Path, sounds: Path) -> None:
    described = ENCODER.describe()
    files = EncoderFiles()
    assert encoder_of(described, files) == ENCODER
    for unknown in (
        None,
        dataclasses.replace(described, encoder="unknown"),
        dataclasses.replace(described, hop_seconds=None),
    ):
        with raises_user_error("does not know which encoder", "mla-embed"):
            encoder_of(unknown, files)
    with raises_user_error("embeddings of 'noise', which is no encoder", "cannot take sound"):
        encoder_of(dataclasses.replace(described, encoder="noise"), files)
    with raises_user_error("there are no weights of yamnet at", "nowhere.npz"):
        encoder_of(
            dataclasses.replace(described, encoder="yamnet"),
            EncoderFiles(str(tmp_path / "nowhere.npz")),
        )
    blocks = [np.random.default_rng(0).normal(size=(300, 128))]
    pca = fit_pca(blocks, LOG_MEL_STATISTICS, 8)
    save_pca(pca, tmp_path / "pca.npz")
    as_bytes = with_pca(ENCODER, pca)
    assert encoder_of(as_bytes.describe(), EncoderFiles(pca=str(tmp_path / "pca.npz"))) == as_bytes
    with raises_user_error("other embeddings", "give the file of its principal components"):
        encoder_of(as_bytes.describe(), files)
