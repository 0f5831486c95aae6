"""Segments and classes that are alike: what they share, and that nothing else is shared."""

import numpy as np

from mla_jax.inference.likeness import alike_classes, alike_segments


def test_segments_share_by_the_cosine_of_their_embeddings_whatever_their_length() -> None:
    x = np.array([[[1, 0], [3, 0], [0, 2], [-1, 0]]], np.float32)
    shares = np.asarray(alike_segments(x, np.ones((1, 4), bool)))[0]
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(shares[0], shares[1], rtol=1e-6)
    np.testing.assert_allclose(shares[0, 0], shares[0, 1], rtol=1e-6)
    np.testing.assert_allclose(shares[0, 2] / shares[0, 0], np.exp(-1 / 0.25), rtol=1e-5)
    np.testing.assert_allclose(shares[0, 3] / shares[0, 0], np.exp(-2 / 0.25), rtol=1e-5)


def test_segments_take_nothing_from_padding_and_none_of_other_clips() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 5, 4)).astype(np.float32)
    mask = np.arange(5) < np.array([[5], [2], [0]])
    shares = np.asarray(alike_segments(np.where(mask[..., None], x, np.nan), mask))
    assert not shares[~np.broadcast_to(mask[:, None], shares.shape)].any()
    np.testing.assert_allclose(shares[:2].sum(axis=2)[mask[:2]], 1, rtol=1e-6)
    alone = np.asarray(alike_segments(x[1:2, :2], mask[1:2, :2]))
    np.testing.assert_allclose(shares[1, :2, :2], alone[0], rtol=1e-6)


def test_a_segment_of_zeros_takes_as_much_from_any_and_gives_little() -> None:
    x = np.array([[[0, 0], [1, 0]]], np.float32)
    shares = np.asarray(alike_segments(x, np.ones((1, 2), bool)))
    np.testing.assert_allclose(shares[0, 0], 0.5)
    assert shares[0, 1, 0] < shares[0, 1, 1]


def test_classes_are_alike_by_their_weights_less_what_all_have_in_common() -> None:
    rng = np.random.default_rng(0)
    one, other, common = rng.normal(size=(3, 50))
    kernel = np.stack([one, one, other, -one, -one, -other], axis=1) + common[:, None]
    alike = np.asarray(alike_classes([kernel, 2 * kernel]))
    np.testing.assert_allclose(alike, alike.T, atol=1e-6)
    assert not np.diag(alike).any()
    np.testing.assert_allclose([alike[0, 1], alike[3, 4]], 1, rtol=1e-5)
    assert (alike[0, 3:5] == 0).all()
    assert alike[0, 2] < 0.3
    # Levels that contradict each other leave nothing.
    mixed = np.asarray(alike_classes([kernel, kernel[:, [0, 3, 2, 1, 4, 5]]]))
    np.testing.assert_allclose(mixed[0, 1], 0, atol=1e-6)
