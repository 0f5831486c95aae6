"""Models of every form to export, clips of every length, and what the model itself says of them."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.export.runtimes import Run
from mla_jax.export.tagger import Tagger
from tests.support.untrained import K, untrained_model

FEATURES = 16
FORMS: dict[str, dict[str, Any]] = {
    "yu2018": {"architecture": "2-A-1-A"},
    "equations": {
        "architecture": "1-A-1-A",
        "head_norm": False,
        "output_norm": False,
        "join": "shallowest_first",
    },
    "shared": {"architecture": "1-A-1-A", "share_heads": True, "hidden_bias": False},
    "averaged": {"architecture": "1-A-1-A", "join": "mean"},
    "whole_clips": {"architecture": "1-A-1-A", "join": "mean", "clip_blocks": 2},
    "whole_clips_mixed": {"architecture": "1-A", "clip_blocks": 1},
    "features": {"architecture": "1-A", "attend_to": "features"},
    "features_of_levels": {"architecture": "1-A-1-A", "attend_to": "features", "share_heads": True},
    "plain": {
        "architecture": "1-A",
        "input_norm": False,
        "block_norm": False,
        "head_norm": False,
        "attend_to": "features",
        "pooling": "mean",
    },
    **{pooling: {"architecture": "1-A-1-A", "pooling": pooling} for pooling in mla.POOLINGS},
}
"""Every pooling, and everything else in which forms differ."""


def tagger_of(
    form: str, *, dtype: str = "uint8", use_mask: bool = True, hidden_units: int = 8
) -> Tagger:
    """A tagger of random weights, batch statistics included: nothing in it is 0 or 1."""
    trained = untrained_model(hidden_units=hidden_units, **FORMS[form])
    rng = np.random.default_rng(0)

    def drawn(path: Any, leaf: Any) -> np.ndarray:
        if path[-1].key in ("var", "scale"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        return np.asarray(leaf + rng.normal(0, 0.4, leaf.shape), np.float32)

    variables = jax.tree_util.tree_map_with_path(drawn, trained.variables)
    scaling = mla.Scaling(100.0, 50.0) if dtype == "uint8" else mla.Scaling(0.5, 2.0)
    config = dataclasses.replace(
        trained.config, data=dataclasses.replace(trained.config.data, mask=use_mask)
    )
    trained = dataclasses.replace(
        trained,
        variables=variables,
        config=config,
        embedding=mla.Embedding(dtype, FEATURES, scaling, hop_seconds=1.0),
    )
    return Tagger.of(trained, np.linspace(0.1, 0.9, K))


def clips_of(tagger: Tagger, time: int = 6) -> mla.ClipSet:
    """Clips of all lengths from 1 to `time`, whose padding is zeros."""
    rng = np.random.default_rng(1)
    lengths = np.arange(time, 0, -1, dtype=np.int32)
    if tagger.dtype == "uint8":
        embeddings = rng.integers(0, 256, (time, time, FEATURES)).astype(np.uint8)
    else:
        embeddings = rng.normal(size=(time, time, FEATURES)).astype(np.float32)
    embeddings[np.arange(time) >= lengths[:, None]] = 0
    return mla.ClipSet.from_arrays(
        embeddings, np.zeros((time, K), np.uint8), num_segments=lengths, embedding=tagger.embedding
    )


def mask_of(clips: mla.ClipSet) -> np.ndarray:
    """[clips, time] bool."""
    return np.arange(clips.embeddings.shape[1]) < np.asarray(clips.num_segments)[:, None]


def expected(tagger: Tagger, clips: mla.ClipSet) -> dict[str, np.ndarray]:
    """What the model itself says of clips."""
    output = tagger.trained.predict_segments(clips)
    return {"clip": output.probs, "segments": np.nan_to_num(output.scores)}


def padding_is_left_out(run: Run, tagger: Tagger, held: float = np.nan) -> None:
    """What padding holds changes nothing; where it is masked, how much of it there is neither."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 3, (1, 3, FEATURES)).astype(tagger.dtype)
    mask = np.arange(5) < np.array([[3], [0]])
    zeros = np.zeros((2, 5, FEATURES), tagger.dtype)
    zeros[0, :3] = x
    garbage = np.where(mask[:, :, None], zeros, 255 if tagger.dtype == "uint8" else held)
    expected, found = run(zeros, mask), run(garbage.astype(tagger.dtype), mask)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6, err_msg=name)
    alone = run(x, np.ones((1, 3), bool))
    if tagger.use_mask:
        np.testing.assert_allclose(found["clip"][0], alone["clip"][0], atol=1e-5)
        np.testing.assert_allclose(found["segments"][0, :3], alone["segments"][0], atol=1e-5)
    assert not found["segments"][~mask].any()
    assert not found["clip"][1].any(), "a clip of no segments"


def require_runtime(path: Path) -> None:
    """Skips a test of a file whose libraries are not installed."""
    if path.suffix == ".onnx":
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
