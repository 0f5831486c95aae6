"""Sound in, tags out: the same as embedding the sound first, and tagging then."""

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import mla_jax as mla
from mla_jax.audio.encoder import Encoder, cut
from mla_jax.audio.statistics import LOG_MEL_STATISTICS
from mla_jax.audio.vggish import vggish
from mla_jax.audio.weights import Weights
from mla_jax.audio.yamnet import shapes, yamnet
from mla_jax.errors import UserError
from mla_jax.export.sound_program import num_segments
from mla_jax.export.stablehlo import PROGRAM, write_stablehlo
from mla_jax.export.tagger import Tagger
from mla_jax.export.write import export_run
from mla_jax.models.multi_level import init_variables
from mla_jax.recordings.encoder_files import EncoderFiles
from tests.audio.encoder_files import random_vggish
from tests.support.untrained import K

RATE = 16_000


def loudness(examples: Any) -> Any:
    """Ten values a tenth of each example long, as bytes."""
    parts = examples.reshape(examples.shape[0], 10, -1)
    return jnp.round(255 * jnp.abs(parts).mean(2)).astype(jnp.uint8)


OVERLAPPING = Encoder("loudness", loudness, 10, example_seconds=1.0, hop_seconds=0.5, dtype="uint8")
GAPS = dataclasses.replace(OVERLAPPING, example_seconds=0.5, hop_seconds=0.75)


def name_of(encoder: Encoder) -> str:
    return f"{encoder.name}-{encoder.hop_seconds}"


def random_yamnet() -> Encoder:
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(0, 0.2, shape) for name, shape in shapes().items()}
    return yamnet(Weights.of("yamnet", {n: a.astype(np.float32) for n, a in arrays.items()}, {}))


def random_vggish_encoder() -> Encoder:
    return vggish(Weights.of("vggish", random_vggish(), {}), as_bytes=False)


def tagger_of(encoder: Encoder) -> Tagger:
    config = mla.Config(model=mla.ModelConfig(hidden_units=8, architecture="1-A"))
    model = mla.build_model(config.model, K)
    trained = mla.TrainedModel(
        variables=init_variables(model, 0, encoder.num_features),
        classes=mla.ClassList.numbered(K),
        config=config,
        step=1,
        num_features=encoder.num_features,
        max_segments=10,
        embedding=encoder.describe(),
    )
    return Tagger(trained, encoder.describe(), encoder=encoder)


@pytest.mark.parametrize(
    "encoder",
    [
        OVERLAPPING,
        GAPS,
        pytest.param(LOG_MEL_STATISTICS, marks=pytest.mark.slow),
        pytest.param(random_yamnet, marks=pytest.mark.slow, id="yamnet"),
        pytest.param(random_vggish_encoder, marks=pytest.mark.slow, id="vggish"),
    ],
    ids=name_of,
)
def test_sound_is_tagged_as_its_embeddings_are(encoder: Any, tmp_path: Path) -> None:
    encoder = encoder if isinstance(encoder, Encoder) else encoder()
    tagger = tagger_of(encoder)
    write_stablehlo(tagger, tmp_path / "tagger.stablehlo")
    with zipfile.ZipFile(tmp_path / "tagger.stablehlo") as archive:
        program = export.deserialize(bytearray(archive.read(PROGRAM)))
        said = json.loads(archive.read("tagger.json"))
    assert said["inputs"].keys() == {"waveform", "num_samples"}
    assert said["sample_rate"] == RATE
    assert set(program.platforms) == {"cpu", "cuda", "tpu"}

    lengths = np.array([3 * RATE + 4000, 2 * RATE, 9000], np.int32)
    waveform = np.random.default_rng(0).uniform(-1, 1, (3, lengths[0])).astype(np.float32)
    waveform[2, 9000:] = np.nan  # padding, whatever it holds
    found = {name: np.asarray(v) for name, v in jax.jit(program.call)(waveform, lengths).items()}
    for i, length in enumerate(lengths):
        examples = np.stack(list(cut([waveform[i, :length]], encoder)))
        embeddings = np.asarray(encoder.embed(examples))
        there = found["mask"][i]
        assert there.sum() == len(embeddings)
        clips = mla.ClipSet.from_arrays(
            embeddings[None], np.zeros((1, K), np.uint8), embedding=encoder.describe()
        )
        output = tagger.trained.predict_segments(clips)
        np.testing.assert_allclose(found["clip"][i], output.probs[0], atol=1e-5)
        np.testing.assert_allclose(found["segments"][i][there], output.scores[0], atol=1e-5)


@pytest.mark.parametrize("encoder", [OVERLAPPING, GAPS, LOG_MEL_STATISTICS], ids=name_of)
def test_segments_are_counted_as_the_encoder_counts_them(encoder: Encoder) -> None:
    lengths = np.concatenate([np.arange(4), np.arange(900, 80_000, 97)])
    counted = num_segments(jnp.asarray(lengths), encoder)
    assert counted.tolist() == [encoder.num_segments(int(n)) for n in lengths]


def test_what_cannot_take_sound_says_so(whole_workdir: Path, tmp_path: Path) -> None:
    sound = EncoderFiles()
    with pytest.raises(UserError, match=r"tagger\.onnx cannot take sound; export to \.stablehlo"):
        export_run(whole_workdir, tmp_path / "tagger.onnx", sound=sound)
    with pytest.raises(UserError, match="does not know which encoder"):
        export_run(whole_workdir, tmp_path / "tagger.stablehlo", sound=sound)
    of_numpy = dataclasses.replace(OVERLAPPING, embed=lambda x: loudness(np.array(x)))
    with pytest.raises(UserError, match="encoder loudness cannot be exported"):
        write_stablehlo(tagger_of(of_numpy), tmp_path / "tagger.stablehlo")
    assert not list(tmp_path.iterdir())
