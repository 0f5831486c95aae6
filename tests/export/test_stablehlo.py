"""The tagger as StableHLO: opened by JAX alone, it says what the model says."""

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jax import export

from mla_jax.errors import UserError
from mla_jax.export.runtimes import open_export
from mla_jax.export.stablehlo import PROGRAM, write_stablehlo
from mla_jax.export.tagger import Tagger
from mla_jax.export.write import export_run
from tests.support.taggers import (
    FEATURES,
    clips_of,
    expected,
    mask_of,
    padding_is_left_out,
    tagger_of,
)
from tests.support.untrained import K


def opened(path: Path) -> tuple[export.Exported, dict[str, Any]]:
    with zipfile.ZipFile(path) as archive:
        program = export.deserialize(bytearray(archive.read(PROGRAM)))
        return program, json.loads(archive.read("tagger.json"))


def exported(tagger: Tagger, folder: Path) -> export.Exported:
    write_stablehlo(tagger, folder / "tagger.stablehlo")
    return opened(folder / "tagger.stablehlo")[0]


@pytest.mark.parametrize(
    ("form", "dtype", "use_mask"),
    [
        ("yu2018", "uint8", True),
        ("features", "float32", False),
        pytest.param("features_of_levels", "float32", True, marks=pytest.mark.slow),
    ],
)
def test_it_says_what_the_model_says(form: str, dtype: str, use_mask: bool, tmp_path: Path) -> None:
    tagger = tagger_of(form, dtype=dtype, use_mask=use_mask)
    program, clips = exported(tagger, tmp_path), clips_of(tagger)
    assert set(program.platforms) == {"cpu", "cuda", "tpu"}
    found = program.call(clips.embeddings, mask_of(clips))
    for name, values in expected(tagger, clips).items():
        assert found[name].shape == values.shape
        np.testing.assert_allclose(found[name], values, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("use_mask", [True, False])
def test_padding_changes_nothing_whatever_it_holds(use_mask: bool, tmp_path: Path) -> None:
    tagger = tagger_of("max", dtype="float32", use_mask=use_mask)
    write_stablehlo(tagger, tmp_path / "tagger.stablehlo")
    padding_is_left_out(open_export(tmp_path / "tagger.stablehlo"), tagger)


def test_its_description_says_what_goes_in_and_comes_out(tmp_path: Path) -> None:
    tagger = dataclasses.replace(tagger_of("max"), thresholds=np.r_[np.inf, np.full(K - 1, 0.25)])
    write_stablehlo(tagger, tmp_path / "tagger.stablehlo")
    said = opened(tmp_path / "tagger.stablehlo")[1]
    assert said["inputs"]["embeddings"] == {
        "dtype": "uint8",
        "shape": ["clips", "segments", FEATURES],
    }
    assert said["embedding"]["scaling"] == {"offset": 100.0, "scale": 50.0}
    assert said["max_segments"] == tagger.trained.max_segments
    assert [row["index"] for row in said["classes"]] == list(range(K))
    assert [row["threshold"] for row in said["classes"]] == [None, *[0.25] * (K - 1)]
    assert said["classes"][2]["name"] == tagger.trained.classes.names[2]
    assert {"mla_jax", "jax", "jaxlib"} <= said["made_with"].keys()


def test_a_run_is_exported_as_its_name_says(whole_workdir: Path, tmp_path: Path) -> None:
    tagger = export_run(whole_workdir, tmp_path / "tagger.stablehlo")
    program, said = opened(tmp_path / "tagger.stablehlo")
    assert said["step"] == tagger.trained.step
    assert program.in_avals[0].dtype == np.dtype(tagger.dtype)
    with pytest.raises(UserError, match=r"tagger\.h5 does not say .* ends in \.stablehlo"):
        export_run(whole_workdir, tmp_path / "tagger.h5")
    with pytest.raises(UserError, match="nowhere does not exist"):
        export_run(tmp_path / "nowhere", tmp_path / "other.stablehlo")
    assert [path.name for path in tmp_path.iterdir()] == ["tagger.stablehlo"]
