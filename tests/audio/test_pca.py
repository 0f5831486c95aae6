"""Embeddings as bytes."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from mla_jax.audio.embed import embed_file
from mla_jax.audio.encoder import Encoder
from mla_jax.audio.pca import MEANS, VECTORS, fit_pca, load_pca, quantise, save_pca, with_pca
from mla_jax.audio.statistics import LOG_MEL_STATISTICS
from tests.audio.sounds import noise, write_sound
from tests.support.helpers import raises_user_error

FIVE = Encoder(name="five", embed=lambda examples: examples[:, :5], num_features=5)


def embeddings(count: int = 2000) -> np.ndarray:
    random = np.random.default_rng(0)
    scales, turn = np.array([9.0, 4.0, 1.0, 0.5, 0.1]), np.linalg.qr(random.normal(size=(5, 5)))[0]
    return (random.normal(size=(count, 5)) * scales @ turn + 1000).astype(np.float32)


def test_bytes_are_as_published() -> None:
    """The formula of vggish_postprocess.py, in NumPy."""
    random = np.random.default_rng(0)
    e, vectors, means = (random.normal(size=s).astype(np.float32) for s in ((50, 6), (6, 6), 6))
    y = np.clip((vectors @ (e.T - means[:, None])).T, -2, 2)
    expected = ((y + 2) * 255 / 4).astype(np.uint8)
    ours = np.asarray(quantise(jnp.asarray(e), jnp.asarray(vectors), jnp.asarray(means)))
    assert ours.dtype == np.uint8
    assert {0, 255} <= set(ours.ravel().tolist())
    assert np.abs(ours.astype(int) - expected).max() <= 1
    assert (ours != expected).mean() < 0.01


def test_components_are_those_of_scikit_learn() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    data = embeddings()
    pca = fit_pca(np.array_split(data, 7), FIVE, num_features=3)
    theirs = decomposition.PCA(3, whiten=True).fit(data.astype(float))
    expected = theirs.transform(data.astype(float))
    ours = (data - pca.means) @ pca.vectors.T
    assert pca.vectors.shape == (3, 5)
    np.testing.assert_allclose(np.abs(ours), np.abs(expected), rtol=0, atol=5e-3)
    np.testing.assert_allclose(ours.std(axis=0), 1, rtol=1e-3)


def test_how_the_embeddings_are_cut_changes_nothing() -> None:
    data = embeddings()
    whole, pieces = (fit_pca(b, FIVE, 4) for b in ([data], np.array_split(data, 13)))
    np.testing.assert_allclose(pieces.vectors, whole.vectors, rtol=1e-3, atol=1e-5)


def test_too_few_directions() -> None:
    flat = embeddings()
    flat[:, 3:] = 1.0
    with raises_user_error("vary in 3 directions", "num_features=4"):
        fit_pca([flat], FIVE, num_features=4)
    with raises_user_error("0 embeddings of five"):
        fit_pca([], FIVE, num_features=1)


def test_an_encoder_with_it_gives_bytes(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", noise(20.0))
    encoder = dataclasses.replace(LOG_MEL_STATISTICS, hop_seconds=0.5)
    fitted = fit_pca([embed_file(path, encoder).embeddings], encoder, num_features=8)
    save_pca(fitted, tmp_path / "pca.npz")
    pca = load_pca(tmp_path / "pca.npz")
    assert pca.checksum == fitted.checksum
    as_bytes = with_pca(LOG_MEL_STATISTICS, pca)  # another hop is no other encoder
    assert (as_bytes.num_features, as_bytes.dtype) == (8, "uint8")
    described = as_bytes.describe()
    assert described.details["pca"] == pca.checksum
    # Another PCA than the published one is another meaning, even of an encoder of the same name.
    published = dataclasses.replace(pca, encoder=None)
    assert "postprocessing" in with_pca(LOG_MEL_STATISTICS, published).describe().difference(
        described
    )
    found = embed_file(path, as_bytes).embeddings
    assert (found.dtype, found.shape) == (np.uint8, (20, 8))
    assert 100 < found.mean() < 155
    assert 40 < found.std() < 90
    with raises_user_error("the PCA was made of other embeddings than those of five", "128 and 5"):
        with_pca(FIVE, pca)


def test_the_published_file_is_read_and_others_are_not(tmp_path: Path) -> None:
    vectors, means = np.eye(128), np.ones((128, 1))
    np.savez(tmp_path / "published.npz", **{VECTORS: vectors, MEANS: means})
    pca = load_pca(tmp_path / "published.npz")
    assert (pca.vectors.shape, pca.means.shape, pca.encoder) == ((128, 128), (128,), None)
    np.savez(tmp_path / "other.npz", a=vectors)
    np.savez(tmp_path / "wrong.npz", **{VECTORS: vectors, MEANS: means[:5]})
    (tmp_path / "garbage.npz").write_bytes(b"garbage")
    for name in ("other.npz", "wrong.npz", "garbage.npz", "nowhere.npz"):
        with raises_user_error(str(tmp_path / name)):
            load_pca(tmp_path / name)
