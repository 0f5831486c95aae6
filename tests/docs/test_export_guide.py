"""docs/guide_export.md: its programs tag, in a process that has no mla_jax; its request is served."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.export.formats import form_of
from mla_jax.export.tagger import Tagger
from tests.support import programs
from tests.support.export_guide import PAGE, PROGRAMS, alone
from tests.support.taggers import clips_of, expected, require_runtime, tagger_of


@pytest.mark.parametrize(
    ("program", "ending", "forbidden"),
    [
        ("tag_jax", ".stablehlo", ("mla_jax", "flax", "tensorflow")),
        pytest.param(
            "tag_tflite", ".tflite", ("mla_jax", "jax", "tensorflow"), marks=pytest.mark.slow
        ),
        pytest.param("tag_onnx", ".onnx", ("mla_jax", "jax", "tensorflow"), marks=pytest.mark.slow),
    ],
)
def test_its_programs_tag_in_30_lines(
    program: str, ending: str, forbidden: tuple[str, ...], tmp_path: Path
) -> None:
    assert len(PROGRAMS[program].splitlines()) <= 30
    if ending == ".tflite":
        pytest.importorskip("ai_edge_litert")
    require_runtime(Path(ending))
    tagger = tagger_of("equations")
    clips = clips_of(tagger)
    form_of(f"tagger{ending}").write(tagger, tmp_path / f"tagger{ending}")
    np.savez(tmp_path / "clips.npz", x=np.asarray(clips.embeddings))
    (tmp_path / "tag.py").write_text(alone(program, *forbidden))
    done = subprocess.run(
        [sys.executable, "tag.py", f"tagger{ending}", "clips.npz"],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **programs.compiling()},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == printed(tagger, clips)


def printed(tagger: Tagger, clips: mla.ClipSet) -> list[str]:
    names = tagger.trained.classes.names
    return [
        "; ".join(f"{names[k]} {probs[k]:.3f}" for k in np.argsort(-probs)[:3])
        for probs in expected(tagger, clips)["clip"]
    ]


def test_its_request_is_served_by_the_saved_model(tmp_path: Path) -> None:
    """TensorFlow Serving makes a tensor of each name, with the dtype of the signature, of all instances."""
    from mla_jax.data.tensorflow import tf

    tagger = tagger_of("equations", dtype="float32")
    form_of("tagger.savedmodel").write(tagger, tmp_path / "tagger.savedmodel")
    signature = tf.saved_model.load(str(tmp_path / "tagger.savedmodel")).signatures[
        "serving_default"
    ]
    body = re.search(r"curl -d '(.*?)'", PAGE)
    assert body is not None
    (instance,) = json.loads(body[1])["instances"]
    clips = clips_of(tagger)
    two = [
        {"embeddings": x.tolist(), "mask": [True] * n + [False] * (len(x) - n)}
        for x, n in zip(clips.embeddings[1:3], clips.num_segments[1:3].tolist(), strict=True)
    ]
    assert instance.keys() == two[0].keys() == signature.structured_input_signature[1].keys()
    answer = serve(signature, two)
    for name, values in expected(tagger, clips[1:3]).items():
        np.testing.assert_allclose([found[name] for found in answer], values, atol=1e-5)


def serve(signature: Any, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from mla_jax.data.tensorflow import tf

    inputs = {
        name: tf.constant([instance[name] for instance in instances], spec.dtype)
        for name, spec in signature.structured_input_signature[1].items()
    }
    found = signature(**inputs)
    return [
        {name: values[i].numpy() for name, values in found.items()} for i in range(len(instances))
    ]
