"""ESC-10, real sounds, by one command."""

from pathlib import Path

import pytest

from mla_jax.storage.files import read_json
from tests.support.programs import python

ONE_ROW = ("--encoders=yamnet", "--models=2-A-1-A:attention")


@pytest.mark.slow
@pytest.mark.audio_data
def test_published_folds(audio_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tflite = audio_dir / "yamnet/yamnet_wavein.tflite"
    for program, *flags in (
        ("download_encoder", "--encoder=yamnet", f"--tflite={tflite}"),
        ("esc10", f"--data={audio_dir}/esc10", f"--workdir={tmp_path}/esc10", *ONE_ROW),
    ):
        done = python(
            *("-m", f"experiments.{program}", *flags), timeout=1200, MLA_JAX_CACHE=str(tmp_path)
        )
        assert done.returncode == 0, done.stderr
    (row,) = read_json(tmp_path / "esc10/results.json")["rows"]
    assert row["clips"] == 398
    assert row["top_1"] >= 0.97


@pytest.mark.slow
def test_other_folds_do_not_go_on(tmp_path: Path) -> None:
    """Their models would have been trained on what they are scored on."""
    listed = tmp_path / "data/clips.csv"
    listed.parent.mkdir()
    (listed.parent / "a.wav").write_bytes(b"garbage")
    said = []
    for fold in (1, 2):
        listed.write_text(f"path,label,fold\na.wav,Dog,{fold}\n")
        done = python(
            *("-m", "experiments.esc10", f"--data={listed.parent}", f"--workdir={tmp_path}/run"),
            "--encoders=log_mel_statistics",
        )
        assert done.returncode == 2, done.stderr
        said.append(done.stderr)
    assert "none of the 1 recordings" in said[0]
    assert "models of folds" in said[1]
    assert "clips.csv" in said[1]
