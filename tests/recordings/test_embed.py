"""Collections of recordings as packed folders: what is in them, and that a kill loses nothing."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.audio.embed import embed_file
from mla_jax.audio.encoder import Encoder
from mla_jax.audio.encoders import make_encoder
from mla_jax.audio.pca import load_pca, with_pca
from mla_jax.audio.statistics import LOG_MEL_STATISTICS
from mla_jax.data.class_list import ClassList
from mla_jax.recordings.embed import EmbedOptions, embed_recordings
from mla_jax.storage.files import read_json
from tests.audio.sounds import cut_in_half, noise, tone, write_sound
from tests.recordings.slow_encoder import SLOW
from tests.support.helpers import assert_same_clips, raises_user_error, wait_for
from tests.support.programs import ROOT, one_device

LENGTHS = {"short.wav": 0.3, "a.ogg": 5.0, "b/c.flac": 3.45, "b/tone.mp3": 2.0}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    (folder / "b").mkdir()
    for seed, (name, seconds) in enumerate(LENGTHS.items()):
        write_sound(folder / name, noise(seconds, 22_050, seed), 22_050)
    write_sound(folder / "silent.wav", np.zeros(48_000, np.float32))
    half = cut_in_half(write_sound(folder / "z.flac", tone(4.0)))
    half.rename(folder / "z.flac")
    (folder / "garbage.wav").write_bytes(b"garbage" * 100)
    (folder / "notes.md").touch()
    return folder


def labels_file(folder: Path, *lines: str) -> str:
    path = folder / "labels.csv"
    path.write_text("\n".join(["filename,labels", *lines]) + "\n")
    return str(path)


def ids(clips: mla.ClipSet) -> list[str]:
    return [os.fsdecode(v) for v in clips.video_ids]


def test_a_recording_is_a_clip(sounds: Path, tmp_path: Path) -> None:
    account = embed_recordings([str(sounds)], tmp_path / "packed", LOG_MEL_STATISTICS)
    clips = mla.open_packed(tmp_path / "packed", verify=True)
    assert sorted(ids(clips)) == sorted([*LENGTHS, "silent.wav", "z.flac"])
    for i, name in enumerate(ids(clips)):
        alone = embed_file(sounds / name, LOG_MEL_STATISTICS).embeddings
        count = int(clips.num_segments[i])
        np.testing.assert_allclose(clips.embeddings[i, :count], alone, atol=1e-5)
        assert not clips.embeddings[i, count:].any()
    assert clips.max_segments == 5
    assert account.flagged == {"short": ["short.wav"], "silent": ["silent.wav"], "cut": ["z.flac"]}
    assert [name for _, _, name, _ in account.failed] == ["garbage.wav"]
    assert account.passed_over == [sounds / "notes.md"]
    listed = (tmp_path / "packed/skipped_records.jsonl").read_text()
    assert f'"file": "{sounds}/garbage.wav"' in listed
    assert "is no sound file" in listed
    assert read_json(tmp_path / "packed/manifest.json")["source"]["flags"] == account.flagged
    assert os.listdir(tmp_path) == ["packed"]
    told = "\n".join(account.lines())
    for said in (
        "recordings   7",
        "clips        6, of 1 to 5 segments x 128",
        "garbage.wav",
        "notes.md",
    ):
        assert said in told


def test_labels_and_cuts_make_a_training_set(sounds: Path, tmp_path: Path) -> None:
    lines = ["a.ogg,Rain;Dog", "c,Dog", "nowhere.wav,Cat", "silent.wav,", "garbage.wav,Dog"]
    encoder = dataclasses.replace(LOG_MEL_STATISTICS, hop_seconds=0.5)
    options = EmbedOptions(clip_seconds=2.0, labels=labels_file(tmp_path, *lines))
    account = embed_recordings([str(sounds)], tmp_path / "packed", encoder, options)
    clips = mla.open_packed(tmp_path / "packed")
    assert ClassList.read(tmp_path / "packed/class_labels_indices.csv").names == (
        *("Cat", "Dog", "Rain"),
    )
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(ids(clips)):
        rows.setdefault(name, []).append(i)
    assert {n: clips.start_times[r].tolist() for n, r in rows.items()} == {
        "a.ogg": [0, 2, 4],
        "b/c.flac": [0, 2],
        "silent.wav": [0, 2],
    }
    assert [clips.labels_of(r[-1]) for r in rows.values()] == [[1, 2], [1], []]
    assert clips.max_segments == 4
    whole = embed_file(sounds / "a.ogg", encoder).embeddings
    parts = [clips.embeddings[i, : clips.num_segments[i]] for i in rows["a.ogg"]]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
    assert account.without_file == ["nowhere.wav"]
    assert sorted(name for _, _, name, _ in account.unlabelled) == [
        *("b/tone.mp3", "short.wav", "z.flac"),
    ]
    told = "\n".join(account.lines("labels.csv"))
    assert "3 left out, without a line in labels.csv" in told
    assert "1 named in labels.csv, but not there: nowhere.wav" in told


def test_classes_that_may_be_misspelt_are_named(
    sounds: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = labels_file(tmp_path, "a.ogg,Dog", "b/c.flac,dog", "silent.wav,Rain", "short.wav,Rain")
    options = EmbedOptions(labels=labels)
    account = embed_recordings([str(sounds)], tmp_path / "packed", LOG_MEL_STATISTICS, options)
    assert "2 classes of one clip alone: Dog, dog" in account.lines("labels.csv")
    assert (
        f"{labels}: 'Dog' and 'dog' are two classes; if they are one, write both alike"
        in caplog.messages
    )


def test_labels_that_are_not_known_are_kept_as_such(sounds: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("filename,labels,absent\na.ogg,Dog,Rain\nc,,Rain\nshort,,Dog;Rain\ntone,,\n")
    options = EmbedOptions(clip_seconds=4.0, labels=str(path))
    account = embed_recordings([str(sounds)], tmp_path / "out", LOG_MEL_STATISTICS, options)
    clips = mla.open_packed(tmp_path / "out", verify=True)
    assert ids(clips) == ["a.ogg", "a.ogg", "b/c.flac", "short.wav"]
    assert clips.label_mask is not None
    assert clips.label_mask.tolist() == [[True] * 2, [True] * 2, [False, True], [True] * 2]
    assert "b/tone.mp3" in [name for _, _, name, _ in account.unlabelled]
    with raises_user_error("records have no place"):
        embed_recordings([str(sounds)], tmp_path / "o.tfrecord", LOG_MEL_STATISTICS, options)


def test_a_file_of_records_holds_the_same(sounds: Path, tmp_path: Path) -> None:
    options = EmbedOptions(labels=labels_file(tmp_path, "a.ogg,Rain;Dog", "c,Dog"))
    for output in ("packed", "records/some.tfrecord"):
        embed_recordings([str(sounds)], tmp_path / output, LOG_MEL_STATISTICS, options)
    clips = mla.open_packed(tmp_path / "packed")
    options_to_read = mla.ReadOptions(num_classes=2, max_segments=clips.max_segments)
    records = mla.open_clips(str(tmp_path / "records/some.tfrecord"), options_to_read)
    np.testing.assert_array_equal(records.embeddings, clips.embeddings)
    assert [records.labels_of(i) for i in range(2)] == [clips.labels_of(i) for i in range(2)]
    assert sorted(os.listdir(tmp_path / "records")) == [
        *("class_labels_indices.csv", "some.skipped_records.jsonl", "some.tfrecord"),
    ]
    other = dataclasses.replace(options, labels=labels_file(tmp_path, "c,Cat"))
    with raises_user_error(
        "class_labels_indices.csv", "the class list beside the output, has 2 classes"
    ):
        embed_recordings(
            [str(sounds)], tmp_path / "records/more.tfrecord", LOG_MEL_STATISTICS, other
        )


def counting(calls: list[int], stop_at: int) -> Encoder:
    """An encoder that is stopped when it is called for the `stop_at`-th time."""

    def embed(examples: np.ndarray) -> np.ndarray:
        calls.append(len(examples))
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return np.stack([examples.max(axis=1), examples.std(axis=1)], axis=1)

    return Encoder(name="counting", embed=embed, num_features=2)


def test_stopped_at_any_moment_it_goes_on(sounds: Path, tmp_path: Path) -> None:
    options = EmbedOptions(part_seconds=4.0, batch_size=2)
    calls: list[int] = []
    embed_recordings([str(sounds)], tmp_path / "whole", counting(calls, 0), options)
    needed = len(calls)
    assert needed > 6
    for stop_at in range(1, needed + 1):
        output = tmp_path / f"stopped{stop_at}"
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            embed_recordings([str(sounds)], output, counting(calls, stop_at), options)
        assert not output.exists()
        calls.clear()
        embed_recordings([str(sounds)], output, counting(calls, 0), options)
        assert len(calls) <= needed - stop_at + 4  # what was finished is not made again
        assert (output / "embeddings.npy").read_bytes() == (
            tmp_path / "whole/embeddings.npy"
        ).read_bytes()
        assert_same_clips(mla.open_packed(output), mla.open_packed(tmp_path / "whole"))


def test_other_settings_or_files_do_not_go_on(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", noise(2.0))
    with pytest.raises(KeyboardInterrupt):
        embed_recordings([str(path)], tmp_path / "out", counting([], 1))
    other = dataclasses.replace(counting([], 0), hop_seconds=0.5)
    with raises_user_error("out.unfinished", "encoder hop_seconds (was 1.0, now 0.5)"):
        embed_recordings([str(path)], tmp_path / "out", other)
    write_sound(path, noise(3.0))
    with raises_user_error("out.unfinished", "files a.wav (was"):
        embed_recordings([str(path)], tmp_path / "out", counting([], 0))


def test_files_in_another_order_do_not_go_on(tmp_path: Path) -> None:
    """Or a recording would get what was made of another."""
    paths = [str(write_sound(tmp_path / f"{n}.wav", noise(2.0, seed=ord(n)))) for n in "abcd"]
    options = EmbedOptions(part_seconds=4.0)
    with pytest.raises(KeyboardInterrupt):
        embed_recordings(paths, tmp_path / "out", counting([], 2), options)
    with raises_user_error("out.unfinished", "files in another order"):
        embed_recordings(paths[::-1], tmp_path / "out", counting([], 0), options)


def test_a_pca_is_fitted_on_what_was_embedded(sounds: Path, tmp_path: Path) -> None:
    fitting = EmbedOptions(fit_pca=str(tmp_path / "pca.npz"), pca_features=4, clip_seconds=2.0)
    account = embed_recordings([str(sounds)], tmp_path / "fitted", LOG_MEL_STATISTICS, fitting)
    told = "4 components of 128 features, fitted on 16 segments"
    assert f"PCA          {tmp_path}/pca.npz, {told}" in account.lines()
    clips = mla.open_packed(tmp_path / "fitted", verify=True)
    assert (clips.embeddings.dtype, clips.num_features) == (np.uint8, 4)
    floats = EmbedOptions(clip_seconds=2.0)
    embed_recordings([str(sounds)], tmp_path / "floats", LOG_MEL_STATISTICS, floats)
    made_of = mla.open_packed(tmp_path / "floats")
    rows = made_of.embeddings[np.arange(2) < made_of.num_segments[:, None]]
    assert load_pca(tmp_path / "pca.npz").means == pytest.approx(rows.mean(axis=0), abs=1e-5)
    # Other recordings are embedded alike with --pca, and these too.
    encoder = make_encoder("log_mel_statistics", pca=tmp_path / "pca.npz")
    embed_recordings([str(sounds)], tmp_path / "again", encoder, floats)
    again = mla.open_packed(tmp_path / "again")
    apart = clips.embeddings.astype(int) - again.embeddings
    assert np.abs(apart).max() <= 1
    assert np.mean(apart != 0) < 0.02
    assert_same_clips(clips, dataclasses.replace(again, embeddings=clips.embeddings))


def test_a_pca_that_is_there_is_used_again_or_refused(sounds: Path, tmp_path: Path) -> None:
    there = tmp_path / "pca.npz"
    options = EmbedOptions(fit_pca=str(there), pca_features=2, part_seconds=4.0)
    embed_recordings([str(sounds)], tmp_path / "whole", counting([], 0), options)
    kept = there.read_bytes()
    with raises_user_error("pca.npz already exists", "take this one with pca="):
        embed_recordings([str(sounds)], tmp_path / "out", counting([], 0), options)
    # As if it had been killed behind the PCA.
    there.rename(tmp_path / "kept.npz")
    with pytest.raises(KeyboardInterrupt):
        embed_recordings([str(sounds)], tmp_path / "out", counting([], 2), options)
    (tmp_path / "kept.npz").rename(there)
    embed_recordings([str(sounds)], tmp_path / "out", counting([], 0), options)
    assert there.read_bytes() == kept
    assert_same_clips(mla.open_packed(tmp_path / "out"), mla.open_packed(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        embed_recordings([str(sounds / "b")], tmp_path / "b", counting([], 1), EmbedOptions())
    with raises_user_error("pca.npz is another PCA", "give another name"):
        embed_recordings([str(sounds / "b")], tmp_path / "b", counting([], 0), options)
    for changes, message in (
        ({"pca_features": 3}, "counting has 2 features, fewer than pca_features=3"),
        ({"fit_pca": str(tmp_path / "new/pca.npz")}, "is in the output"),
        ({"pca_features": 0}, "pca_features=0 is not valid"),
    ):
        with raises_user_error(message):
            other = dataclasses.replace(options, **{"fit_pca": f"{there}.new", **changes})
            embed_recordings([str(sounds)], tmp_path / "new", counting([], 1), other)
    bytes_already = with_pca(counting([], 1), load_pca(there))
    with raises_user_error("counting makes bytes already"):
        other = dataclasses.replace(options, fit_pca=f"{there}.new")
        embed_recordings([str(sounds)], tmp_path / "new", bytes_already, other)


def test_a_damaged_part_is_made_again(sounds: Path, tmp_path: Path) -> None:
    options = EmbedOptions(part_seconds=1.0)
    with pytest.raises(KeyboardInterrupt):
        embed_recordings([str(sounds)], tmp_path / "out", counting([], 4), options)
    for part in (tmp_path / "out.unfinished").glob("part*"):
        part.write_bytes(part.read_bytes()[:100])
    embed_recordings([str(sounds)], tmp_path / "out", counting([], 0), options)
    embed_recordings([str(sounds)], tmp_path / "other", counting([], 0), options)
    assert_same_clips(mla.open_packed(tmp_path / "out"), mla.open_packed(tmp_path / "other"))


def test_a_recording_in_several_parts_is_the_whole(sounds: Path, tmp_path: Path) -> None:
    said = []
    for name, options in (("parts", EmbedOptions(part_seconds=1.0)), ("whole", EmbedOptions())):
        embed_recordings([str(sounds)], tmp_path / name, counting([], 0), options)
        said.append(read_json(tmp_path / name / "manifest.json")["source"])
    assert said[0].pop("seconds") == pytest.approx(said[1].pop("seconds"), abs=0.1)
    assert said[0] == said[1]
    parts, whole = (mla.open_packed(tmp_path / name) for name in ("parts", "whole"))
    np.testing.assert_allclose(parts.embeddings, whole.embeddings, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_neither_batches_nor_threads_change_what_comes_out(
    sounds: Path, tmp_path: Path, batch_size: int
) -> None:
    for name, options in (
        ("one", EmbedOptions()),
        ("other", EmbedOptions(batch_size=batch_size, threads=1, part_seconds=3.0)),
    ):
        embed_recordings([str(sounds)], tmp_path / name, LOG_MEL_STATISTICS, options)
    one, other = (mla.open_packed(tmp_path / name) for name in ("one", "other"))
    np.testing.assert_allclose(one.embeddings, other.embeddings, rtol=0, atol=1e-5)
    assert ids(one) == ids(other)


def test_what_cannot_be_done_is_said_first(sounds: Path, tmp_path: Path) -> None:
    calls: list[int] = []

    def embed(inputs: str, **options: Any) -> None:
        embed_recordings([inputs], tmp_path / "out", counting(calls, 0), EmbedOptions(**options))

    with raises_user_error("none of the 1 recordings", "garbage.wav", "is no sound file"):
        embed(str(sounds / "garbage.wav"))
    with raises_user_error("cannot read the labels"):
        embed(str(sounds), labels=str(tmp_path / "none.csv"))
    (tmp_path / "labels.csv").write_text(
        "filename,labels,absent\n"
        + "".join(f"{path.name},,\n" for path in sounds.iterdir())
        + "elsewhere.wav,Dog,\n"
    )
    with raises_user_error("labels.csv says of none of the", "what is heard in it"):
        embed(str(sounds), labels=str(tmp_path / "labels.csv"))
    (tmp_path / "labels.csv").unlink()
    with raises_user_error("clip_seconds=-1"):
        embed(str(sounds), clip_seconds=-1)
    assert not os.listdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    with raises_user_error("already exists"):
        embed(str(sounds))
    assert not calls


def test_a_command_that_is_killed_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(1100):  # three parts
        write_sound(folder / f"{i:04d}.wav", np.full(8, i / 2000, np.float32))
    encoder = "tests.recordings.slow_encoder:SLOW"
    command = [sys.executable, "-m", "experiments.embed", f"--data={folder}"]
    command += [f"--encoder={encoder}", f"--output={tmp_path / 'packed'}"]
    parts = tmp_path / "packed.unfinished"
    with subprocess.Popen(command, cwd=ROOT, env=one_device(), stderr=subprocess.PIPE) as process:
        wait_for(lambda: (parts / "part-000000.npz").exists())
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "packed").exists()
    said: list[str] = []
    slow = dataclasses.replace(SLOW, name=encoder)
    embed_recordings([str(folder)], tmp_path / "packed", slow, say=said.append)
    assert said[0].startswith("going on: ")
    embed_recordings([str(folder)], tmp_path / "whole", slow)
    clips, whole = (mla.open_packed(tmp_path / name) for name in ("packed", "whole"))
    assert_same_clips(clips, whole)
    assert not parts.exists()
