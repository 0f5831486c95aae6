"""README.md's commands run as they are printed, in order, in a folder that has what they name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mla_jax.audio.convert import convert_vggish
from mla_jax.audio.weights import save_weights
from mla_jax.commands import names
from mla_jax.data.packing import pack
from tests.audio.encoder_files import random_vggish, write_checkpoint, write_pca
from tests.audio.sounds import noise, tone, write_sound
from tests.support import programs
from tests.support.helpers import random_clips
from tests.support.sound_runs import make_sounds

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# What needs a network, or is the whole check itself; tests of their own run what these start.
ELSEWHERE = ("python3 -m venv", ". .venv", "pip install", "make ", "mla-download-")
MADE = (
    "runs/tags.csv",
    "runs/2-A-1-A/results.json",
    "runs/eval.json",
    "packed/sounds/manifest.json",
    "runs/sounds/results.json",
    "runs/events.tsv",
    "runs/mine/results.json",
    "runs/tags.jsonl",
    "runs/when.png",
    "runs/report.html",
)


def commands() -> list[str]:
    """Each command of the page's shell blocks, and the example that makes .npz files, in order."""
    blocks = re.findall(r"```(sh|python)\n(.*?)```", README, re.DOTALL)
    found = []
    for kind, block in blocks:
        if kind == "sh":
            lines = block.replace("\\\n", " ").splitlines()
            found += [line for line in lines if not line.startswith(ELSEWHERE)]
        elif "savez" in block:
            found.append(f"python - <<'END'\n{block}END")
    return found


def programs_folder(folder: Path) -> Path:
    """The installed programs, of this source."""
    folder.mkdir()
    for name in ("", *names.commands()):
        program = folder / (names.program(name) if name else "mla")
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mla_jax {name} "$@"\n')
        program.chmod(0o755)
    (folder / "python").symlink_to(sys.executable)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sounds, packed clips, and an encoder's weights (random ones) in a cache."""
    pytest.importorskip("soundfile", reason="soundfile is not installed (the extra audio)")
    folder = tmp_path_factory.mktemp("readme")
    (folder / "my_sounds").mkdir()
    make_sounds(folder / "my_sounds")
    for i in range(8):
        write_sound(folder / f"my_sounds/more{i}.wav", tone(10.0, hertz=300.0 + 50 * i))
    labels = (folder / "my_sounds/labels.csv").read_text()
    (folder / "labels.csv").write_text(labels + "".join(f"more{i},Tone\n" for i in range(8)))
    write_sound(folder / "field_recording.mp3", noise(12.0))
    for seed, split in enumerate(("bal_train", "eval")):
        pack([random_clips(num_clips=40, seed=seed)], folder / "packed" / split)
    named = {f"vggish/{name}": array for name, array in random_vggish().items()}
    weights = convert_vggish(
        write_checkpoint(folder / "v.ckpt", named), write_pca(folder / "p.npz")
    )
    save_weights(weights, folder / "cache/encoders/vggish.npz")
    return folder


@pytest.mark.slow
def test_every_command_runs_as_printed(place: Path) -> None:
    # Only the numbers of steps are smaller.
    script = re.sub(r"(steps=)\d+", r"\g<1>2", "\n".join(commands()))
    demo = "mla-demo --workdir=runs/demo --steps=2 > /dev/null\n"
    done = subprocess.run(
        ["bash", "-e", "-x"],
        input=demo + script,
        cwd=place,
        env={
            **programs.one_device(),
            "PATH": f"{programs_folder(place / 'bin')}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "MLA_JAX_CACHE": str(place / "cache"),
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert [path for path in MADE if not (place / path).exists()] == []
    outputs = re.findall(r"--(?:output|workdir)=(runs/\S+|packed/\S+)", script)
    assert [path for path in outputs if not (place / path).exists()] == []
    listed = done.stdout.split("The commands:")[1]
    assert all(names.program(name) in listed for name in names.commands())


def test_every_program_is_in_the_table_of_commands() -> None:
    table = README.split("## The commands")[1].split("\n## ")[0]
    assert set(re.findall(r"`(mla-[a-z-]+)`", table)) == set(map(names.program, names.commands()))


def test_what_they_leave_behind_is_ignored_by_git() -> None:
    left = {re.sub(r"/.*", "", path) for path in MADE} | {
        "train.npz",
        ".venv",
        "site",
        "bench.json",
    }
    ignored = (ROOT / ".gitignore").read_text().split()
    for name in left:
        assert {name, f"/{name}/", f"{name}/", f"*{Path(name).suffix}"} & set(ignored), name


@pytest.mark.slow
@pytest.mark.audioset
def test_the_line_of_output_is_what_the_model_says(audioset_dir: Path, tmp_path: Path) -> None:
    shown = README.split("<!-- one line of output -->")[1].split("```")[1].strip().splitlines()
    output = tmp_path / "tags.csv"
    records = audioset_dir / "eval/-W.tfrecord"
    flags = ("--workdir=pretrained:audioset-balanced", f"--data={records}", f"--output={output}")
    programs.ok("predict", *flags)
    assert set(shown) <= set(output.read_text(encoding="utf-8").splitlines())
