"""The package away from its clone: built, installed into an environment of its own, and used there."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mla_jax.commands import names
from tests.support.export_guide import alone
from tests.support.programs import ROOT, one_device

pytestmark = pytest.mark.slow

BUILD_SDIST = "import sys, setuptools.build_meta as b; print(b.build_sdist(sys.argv[1]))"


def run(*command: object, cwd: Path, **environment: str) -> str:
    """What a command prints; it must end well."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=one_device() | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, (command, done.stderr[-5000:])
    return done.stdout


def build_wheel(source: Path, into: Path) -> Path:
    """The wheel of a folder or archive, made with the setuptools that are here."""
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, f"--wheel-dir={into}", source, cwd=into.parent)
    (wheel,) = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the clone, since building leaves files behind."""
    copy = tmp_path_factory.mktemp("source") / "clone"
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", ".*")
    for name in ("mla_jax", "experiments", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=skipped)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel made of the source archive, which must be that of the clone."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-c", BUILD_SDIST, folder, cwd=source)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        assert not [n for n in files.getnames() if "/experiments" in n]
    made = build_wheel(archive, folder / "of_archive")
    of_clone = build_wheel(source, folder / "of_clone")
    with zipfile.ZipFile(made) as ours, zipfile.ZipFile(of_clone) as theirs:
        assert sorted(ours.namelist()) == sorted(theirs.namelist())
    return made


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment: the wheel, with the other packages those of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    programs = folder / "bin"
    pip = (sys.executable, "-m", "pip", "--python", programs / "python", "install", "--quiet")
    run(*pip, "--no-deps", wheel, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A folder of packages named there is searched, but its own .pth files, and so the clone, are not.
    (packages / "others.pth").write_text(sysconfig.get_paths()["purelib"])
    where = "import mla_jax; print(mla_jax.__file__)"
    assert run(programs / "python", "-c", where, cwd=folder).startswith(str(packages))
    return programs


def test_the_wheel_has_the_package_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        found = {n for n in files.namelist() if ".dist-info/" not in n}
    in_clone = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "mla_jax").rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".pyi")
    }
    assert found == in_clone
    assert {"mla_jax/py.typed", "mla_jax/report/template/page.html"} <= found


def test_what_a_user_does_works_away_from_the_clone(bin_folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split, num_clips in (("train", 60), ("eval", 40)):
        labels = rng.random((num_clips, 5)) < 0.3
        labels[np.arange(num_clips), rng.integers(0, 5, num_clips)] = True
        ids = [f"{split}-{i}" for i in range(num_clips)]
        x = rng.normal(size=(num_clips, 6, 16)).astype(np.float32)
        np.savez(tmp_path / f"{split}.npz", x=x, y=labels, video_id_list=ids)

    def mla(name: str, *flags: str) -> str:
        return run(bin_folder / names.program(name), *flags, cwd=tmp_path)

    for split in ("train", "eval"):
        mla("prepare_data", f"--data={split}.npz", f"--output=packed/{split}")
    data = ["--config.data.train=packed/train", "--config.data.eval=packed/eval"]
    small = ["--config.data.batch_size=16", "--config.model.hidden_units=8"]
    train = [*data, *small, "--config.train.steps=3"]
    assert "step 3 (last step) on eval" in mla("train", "--workdir=runs/one", *train)
    assert "step 3" in mla("train", "--workdir=runs/two", "--distributed=local:2", *train)
    short = run(bin_folder / "mla", "train", "--workdir=runs/one", *train, cwd=tmp_path)
    assert "step 3" in short  # the same run, found finished
    of_run = ["--workdir=runs/one", "--data=packed/eval"]
    mla("evaluate", *of_run, "--output=scores.json")
    assert json.loads((tmp_path / "scores.json").read_text())["num_clips"] == 40
    mla("predict", *of_run, "--segments", "--output=tags.jsonl")
    assert len((tmp_path / "tags.jsonl").read_text().splitlines()) == 40
    mla("predict", *of_run, "--segments", "--output=two.jsonl", "--distributed=local:2")
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "tags.jsonl").read_bytes()
    mla("report", "--workdir=runs/one", "--output=report.html")
    assert "</html>" in (tmp_path / "report.html").read_text()
    for ending, program in ((".stablehlo", "tag_jax"), (".tflite", "tag_tflite")):
        mla("export", "--workdir=runs/one", f"--output=tagger{ending}")
        (tmp_path / "tag.py").write_text(alone(program, "mla_jax", "flax", "tensorflow"))
        lines = run(sys.executable, "tag.py", f"tagger{ending}", "eval.npz", cwd=tmp_path)
        assert len(lines.splitlines()) == 40
    assert run(bin_folder / "mla", "--version", cwd=tmp_path).startswith("mla_jax ")
    assert not list(bin_folder.parent.glob("lib/python*/site-packages/experiments*"))


def test_recordings_are_embedded_by_the_installed_beam_program(
    bin_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (the extra beam)")
    from tests.audio.sounds import noise, write_sound

    write_sound(tmp_path / "a.flac", noise(12.0, seed=0))
    flags = (f"--data={tmp_path}/*.flac", "--encoder=log_mel_statistics", "--output=out/part")
    run(bin_folder / "mla-embed-beam", *flags, "--", "--runner=DirectRunner", cwd=tmp_path)
    assert list((tmp_path / "out").glob("part-*.tfrecord"))


def test_type_checkers_find_the_types(bin_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "mine.py").write_text(
        "import mla_jax\n"
        "clips: mla_jax.ClipSet = mla_jax.open_packed('packed/eval')\n"
        "wrong: int = mla_jax.open_packed('packed/eval')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-executable", bin_folder / "python", "mine.py"],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=600,
    )
    (error, _) = done.stdout.splitlines()
    assert error.startswith("mine.py:3: error: Incompatible types")
    assert '"ClipSet"' in error
