"""Weights in one file, and encoders by name."""

from pathlib import Path

import numpy as np
import pytest

from mla_jax.audio.embed import embed_file
from mla_jax.audio.encoders import make_encoder
from mla_jax.audio.pca import fit_pca, save_pca
from mla_jax.audio.statistics import LOG_MEL_STATISTICS
from mla_jax.audio.weights import Weights, default_path, load_weights, save_weights
from mla_jax.audio.yamnet import shapes
from tests.audio.sounds import noise, write_sound
from tests.support.helpers import raises_user_error

WEIGHTS = Weights.of(
    "yamnet",
    {name: np.full(shape, 0.01, np.float32) for name, shape in shapes().items()},
    {"tflite": "ab" * 32},
)


def test_they_come_back(tmp_path: Path) -> None:
    save_weights(WEIGHTS, tmp_path / "new" / "yamnet.npz")
    read = load_weights("yamnet", tmp_path / "new" / "yamnet.npz")
    assert (read.encoder, read.sources, read.checksum) == (
        WEIGHTS.encoder,
        WEIGHTS.sources,
        WEIGHTS.checksum,
    )
    assert read.arrays.keys() == WEIGHTS.arrays.keys()
    for name, array in WEIGHTS.arrays.items():
        np.testing.assert_array_equal(read.arrays[name], array, strict=True)


def test_the_checksum_is_of_the_numbers_alone() -> None:
    again = Weights.of("yamnet", dict(reversed(WEIGHTS.arrays.items())), {})
    assert again.checksum == WEIGHTS.checksum
    changed = {**WEIGHTS.arrays, "layer1/biases": WEIGHTS.arrays["layer1/biases"] + 1}
    assert Weights.of("yamnet", changed, {}).checksum != WEIGHTS.checksum


def test_what_is_not_there_or_damaged_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "yamnet.npz"
    with raises_user_error(str(path), "mla-download-encoder --encoder=yamnet"):
        load_weights("yamnet", path)
    save_weights(WEIGHTS, path)
    with raises_user_error("has the weights of yamnet, not of vggish"):
        load_weights("vggish", path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with raises_user_error(str(path), "is damaged"):
        load_weights("yamnet", path)
    path.write_bytes(data[: len(data) // 2])
    with raises_user_error(str(path), "is damaged"):
        load_weights("yamnet", path)
    np.savez(path, a=np.zeros(3))
    with raises_user_error(str(path), "no .npz of weights"):
        load_weights("yamnet", path)
    published = tmp_path / "yamnet.tflite"
    published.write_bytes(b"TFL3")
    with raises_user_error(f"--encoder=yamnet --tflite={published} makes one"):
        load_weights("yamnet", published)
    with raises_user_error("--encoder=vggish makes one"):
        load_weights("vggish", published)


def test_encoders_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLA_JAX_CACHE", str(tmp_path))
    assert make_encoder("log_mel_statistics") == LOG_MEL_STATISTICS
    with raises_user_error("there are no weights of yamnet", str(tmp_path)):
        make_encoder("yamnet")
    save_weights(WEIGHTS, default_path("yamnet"))
    found = make_encoder("yamnet", hop_seconds=0.96)
    assert (found.name, found.hop_seconds) == ("yamnet", 0.96)
    assert found.details == {"weights": WEIGHTS.checksum}
    elsewhere = tmp_path / "elsewhere.npz"
    default_path("yamnet").rename(elsewhere)
    assert make_encoder("yamnet", weights=elsewhere).hop_seconds == 0.48
    with raises_user_error("hop_seconds=0"):
        make_encoder("log_mel_statistics", hop_seconds=0)


def test_an_encoder_of_ones_own_by_name() -> None:
    found = make_encoder("mla_jax.audio.statistics:LOG_MEL_STATISTICS", hop_seconds=0.5)
    assert found.hop_seconds == 0.5
    with raises_user_error("no encoder 'vgish'", "vggish", "package.module:attribute"):
        make_encoder("vgish")
    with raises_user_error("nowhere_to_be_found:encoder", "cannot be imported"):
        make_encoder("nowhere_to_be_found:encoder")
    with raises_user_error("mla_jax.audio.statistics:nothing", "cannot be imported"):
        make_encoder("mla_jax.audio.statistics:nothing")
    with raises_user_error("not a mla_jax.audio.encoder.Encoder"):
        make_encoder("mla_jax.audio.statistics:band_statistics")


def test_an_encoder_with_a_pca(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", noise(12.0))
    embeddings = embed_file(path, LOG_MEL_STATISTICS).embeddings
    save_pca(fit_pca([embeddings], LOG_MEL_STATISTICS, 4), tmp_path / "pca.npz")
    found = make_encoder("log_mel_statistics", pca=tmp_path / "pca.npz")
    assert (found.dtype, found.num_features) == ("uint8", 4)
