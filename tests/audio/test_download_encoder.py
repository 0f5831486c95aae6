"""Published files to weights: fetched or given, compared with what is reported, verified."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mla_jax.audio import published
from mla_jax.audio.published import PUBLISHED, PublishedFile, bring_weights
from mla_jax.audio.weights import Weights, load_weights
from mla_jax.audioset import transfer
from mla_jax.errors import UserError
from tests.audio.encoder_files import random_vggish, write_checkpoint, write_pca
from tests.support.file_server import File, serving
from tests.support.helpers import raises_user_error

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The files of a small encoder `toy`: a checkpoint and a PCA."""
    pytest.importorskip("tensorflow")
    from mla_jax.audio.tensorflow_files import read_checkpoint

    folder = tmp_path / "server"
    folder.mkdir()
    found = {
        "checkpoint": write_checkpoint(
            folder / "toy.ckpt", {"w": np.arange(50_000, dtype=np.float32)}
        ),
        "pca": write_pca(folder / "toy_pca.npz"),
    }

    def convert(checkpoint: Path, pca: Path) -> Weights:
        sources = {"checkpoint": "12" * 32, "pca": "34" * 32}
        return Weights.of("toy", read_checkpoint(str(checkpoint), ["w"]), sources)

    monkeypatch.setitem(
        published.PUBLISHED,
        "toy",
        (
            PublishedFile("checkpoint", "toy.ckpt", "audioset", 5, "12" * 32),
            PublishedFile("pca", "toy_pca.npz", "audioset", 5, "56" * 32),
        ),
    )
    monkeypatch.setitem(published.CONVERT, "toy", convert)
    return found


def copying(files: dict[str, Path], urls: list[str]) -> Callable[..., object]:
    by_name = {path.name: path for path in files.values()}

    def fetch(url: str, path: Path, *, admit: transfer.Admit) -> None:
        urls.append(url)
        admit(100, 50)
        shutil.copy(by_name[url.rsplit("/", 1)[-1]], path)

    return fetch


def test_what_is_not_given_is_fetched_and_removed(files: dict[str, Path], tmp_path: Path) -> None:
    urls: list[str] = []
    said: list[str] = []
    output = tmp_path / "out" / "toy.npz"
    weights = bring_weights("toy", output, files={}, fetch=copying(files, urls), say=said.append)
    base = "https://storage.googleapis.com/audioset"
    assert urls == [f"{base}/toy.ckpt", f"{base}/toy_pca.npz"]
    assert load_weights("toy", output).checksum == weights.checksum
    assert sorted(p.name for p in output.parent.iterdir()) == [".lock", "toy.npz"]
    assert "as reported" in said[0]
    assert said[1].startswith("warning:")
    assert "56" * 32 in said[1]


def test_what_is_there_is_used_and_left(files: dict[str, Path], tmp_path: Path) -> None:
    urls: list[str] = []
    output = tmp_path / "out" / "toy.npz"
    output.parent.mkdir()
    beside = shutil.copy(files["pca"], output.parent / "toy_pca.npz")
    given = {"checkpoint": str(files["checkpoint"])}
    bring_weights("toy", output, files=given, fetch=copying(files, urls), say=lambda _: None)
    assert not urls
    assert output.is_file()
    assert beside.is_file()
    assert files["checkpoint"].is_file()


def test_what_was_fetched_is_kept_if_the_next_step_fails(
    files: dict[str, Path], tmp_path: Path
) -> None:
    urls: list[str] = []
    fetch = copying(files, urls)

    def breaks(url: str, path: Path, *, admit: transfer.Admit) -> None:
        if "pca" in url:
            raise UserError("the connection broke")
        fetch(url, path, admit=admit)

    output = tmp_path / "out" / "toy.npz"
    with raises_user_error("the connection broke"):
        bring_weights("toy", output, files={}, fetch=breaks, say=lambda _: None)
    assert not output.exists()
    bring_weights("toy", output, files={}, fetch=fetch, say=lambda _: None)
    assert [url.rsplit("/", 1)[-1] for url in urls] == ["toy.ckpt", "toy_pca.npz"]


def test_a_transfer_over_http(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        for path in files.values():
            server.files[f"/audioset/{path.name}"] = File(path.read_bytes(), breaks=[60_000])
        output = tmp_path / "toy.npz"

        def fetch(url: str, path: Path, *, admit: transfer.Admit) -> None:
            transfer.fetch(url, path, admit=admit, first_wait=0.0, say=lambda _: None)

        bring_weights("toy", output, files={}, fetch=fetch, base_url=server.url, say=lambda _: None)
    assert output.is_file()
    assert [status for _, _, status in server.log] == [200, 206, 200, 206]


def test_yamnet_must_be_given(tmp_path: Path) -> None:
    with raises_user_error("--tflite=FILE"):
        bring_weights("yamnet", tmp_path / "y.npz", files={}, fetch=copying({}, []))


def test_what_is_reported_of_vggish() -> None:
    """As third parties state it."""
    checkpoint, pca = PUBLISHED["vggish"]
    assert (checkpoint.size, pca.size) == (291_108_469, 73_020)
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in PUBLISHED["vggish"])


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "experiments.download_encoder", *flags]
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_flag_of_another_encoder_is_one_line(tmp_path: Path) -> None:
    done = run("--encoder=yamnet", "--pca=x.npz", f"--output={tmp_path}/y.npz")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: --pca is no file of yamnet; it has tflite"
    assert not list(tmp_path.iterdir())


def test_where_no_server_is_reached_other_ways_are_named(tmp_path: Path) -> None:
    done = run(f"--output={tmp_path}/v.npz", "--base_url=http://nowhere.invalid")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    for part in ("cannot be reached", "--checkpoint and --pca", "yamnet or log_mel_statistics"):
        assert part in line
    guide = (ROOT / "docs/guide_audio.md").read_text(encoding="utf-8")
    assert "docs/guide_audio.md, 'Without the weights'" in line
    assert "### Without the weights" in guide


@pytest.mark.slow
@pytest.mark.audio_data
def test_the_command_makes_yamnet_and_verifies_it(tmp_path: Path, audio_dir: Path) -> None:
    tflite = audio_dir / "yamnet" / "yamnet_wavein.tflite"
    flags = (f"--output={tmp_path}/y.npz", "--encoder=yamnet", f"--tflite={tflite}", "--verify")
    done = run(*flags)
    assert done.returncode == 0, done.stderr
    assert "ok   embeddings against TFLite's, median cosine: 0.999" in done.stdout
    again = run(*flags)
    assert again.stdout == done.stdout
    assert "is here already" in again.stderr


@pytest.mark.slow
def test_the_command_fetches_vggish_and_refuses_what_is_not_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    named = {f"vggish/{name}": array for name, array in random_vggish().items()}
    checkpoint = write_checkpoint(tmp_path / "vggish_model.ckpt", named)
    pca = write_pca(tmp_path / "vggish_pca_params.npz")
    with serving() as server:
        for path in (checkpoint, pca):
            server.files[f"/audioset/{path.name}"] = File(path.read_bytes(), breaks=[50_000])
            path.unlink()
        done = run(f"--output={tmp_path}/v.npz", f"--base_url={server.url}", "--verify")
    assert done.returncode == 2
    assert done.stderr.count("warning:") == 2
    assert "going on from" in done.stderr
    assert done.stdout.count("1 kHz sine") == 4
    assert "these are not the published weights" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "v.npz"]
