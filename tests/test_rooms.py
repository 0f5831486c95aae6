"""What each room of the library may know, read off its imports."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.support.programs import python

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "mla_jax").rglob("*.py")) + sorted((ROOT / "experiments").rglob("*.py"))

# The whole map: what a room may import of the library, besides itself and the modules at the top
# (config, presets, errors, progress). Rooms stand below those that may import them.
ROOMS = {
    "top": "",
    "storage": "",
    "data": "storage",
    "audio": "storage data",
    "recordings": "storage data audio",
    "models": "",
    "evaluation": "",
    "localization": "data evaluation storage",
    "parallel": "",
    "training": "data models parallel",
    "inference": "data models parallel",
    "runs": "storage data recordings models parallel training inference evaluation localization",
    "tagging": "storage data recordings localization inference runs",
    "explain": "data localization runs",
    "report": "storage data audio recordings evaluation localization runs explain",
    "pretrained": "storage data models training evaluation runs",
    "export": "storage data audio recordings models inference runs",
    "audioset": "storage data",
    "commands": "storage data audio recordings models evaluation localization parallel training "
    "inference runs tagging explain report pretrained export audioset",
}

# Libraries that only these files may import.
ONLY_IN = {
    "tensorflow": ["data/tensorflow.py"],
    "tf2onnx": ["export/onnx.py"],
    "soundfile": ["audio/sound_file.py", "experiments/benchmarks/sound.py"],
    "apache_beam": [
        "recordings/beam.py",
        "tagging/beam.py",
        "commands/embed_beam.py",
        "commands/predict_beam.py",
    ],
    "soxr": ["audio/sound_file.py", "audio/decode.py"],
    "tensorflow_datasets": ["data/formats/tfds.py", "audioset/tfds/"],
    "jinja2": ["report/page.py"],
    "markupsafe": ["report/page.py"],
    "requests": ["audioset/transfer.py", "audioset/http_file.py"],
    "etils": ["storage/buckets.py"],
    "fsspec": ["storage/buckets.py"],
    "gcsfs": ["storage/buckets.py"],
    "fcntl": ["storage/locks.py"],
    "tempfile": [
        "storage/files.py",
        "storage/folders.py",
        "recordings/beam.py",
        "export/tflite.py",
        "experiments/exports.py",
    ],
    "orbax": ["runs/checkpoints.py"],
    "tensorstore": ["runs/saved_weights.py"],
    "matplotlib": ["report/figures/", "experiments/table/figure.py"],
    "h5py": ["data/formats/array_columns.py", "pretrained/keras/file.py"],
    "optax": ["training/", "experiments/"],
    "absl.flags": ["commands/", "experiments/"],
    "absl.app": ["commands/"],
    "ml_collections": ["commands/"],
    "keras": ["export/keras.py"],
    "pickle": [],
}
JAX = ("jax", "flax", "optax", "orbax")
WITHOUT_JAX = (
    "top",
    "storage",
    "data",
    "evaluation",
    "localization",
    "tagging",
    "explain",
    "report",
    "audioset",
)


@cache
def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, but for type checkers' eyes only."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix().removeprefix("mla_jax/")


def room_of(module: str) -> str:
    """The room of a module of the library, `mla_jax.` left out."""
    first = module.split(".")[0]
    return first if (ROOT / "mla_jax" / first).is_dir() else "top"


def uses(path: Path, *modules: str) -> set[str]:
    return {i for i in imports(path) if any(i == m or i.startswith(m + ".") for m in modules)}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_each_room_imports_only_what_it_may(path: Path) -> None:
    name = name_of(path)
    for library, places in ONLY_IN.items():
        if not name.startswith(tuple(places)):
            assert not uses(path, library), library
    if name.startswith("experiments/"):
        return
    assert not uses(path, "experiments")
    # The program `mla` is outside its room, since `python -m mla_jax` starts it.
    inside = name.replace("__main__.py", "commands/__main__.py")
    room = room_of(inside.removesuffix(".py").replace("/", "."))
    known = {room, "top", *ROOMS[room].split()}
    rooms = {room_of(i.removeprefix("mla_jax.")) for i in uses(path, "mla_jax") if "." in i}
    if name != "__init__.py":
        assert rooms <= known, rooms - known
    if room in WITHOUT_JAX:
        assert not uses(path, *JAX)


def test_the_map_names_every_room_and_has_no_circle() -> None:
    folders = {p.name for p in (ROOT / "mla_jax").iterdir() if (p / "__init__.py").is_file()}
    assert folders == ROOMS.keys() - {"top"}
    below: set[str] = set()
    for room, known in ROOMS.items():
        assert set(known.split()) <= below, room
        below.add(room)


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p
        for p in FILES
    }
    left = {m: {i for i in imports(p) if i in modules and i != m} for m, p in modules.items()}
    left["mla_jax"] = set()  # loads its names when they are first used
    while free := {m for m, needed in left.items() if not needed & left.keys()}:
        left = {m: needed for m, needed in left.items() if m not in free}
    assert not left


def test_only_the_run_folder_names_its_files() -> None:
    names = {f"{name}.json" for name in ("config", "results", "thresholds", "not_finite")}
    for path in (ROOT / "mla_jax").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = names & {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
        # The demo's own folder has a results.json too.
        assert not named or name_of(path) in ("runs/folder.py", "commands/demo.py"), path


def test_the_formats_do_not_know_the_door() -> None:
    for path in (ROOT / "mla_jax/data/formats").glob("*.py"):
        assert not uses(path, "mla_jax.data.sources", "mla_jax.data.packing"), path


def test_import_is_light_touches_no_device_and_needs_no_tensorflow() -> None:
    """TensorFlow is for records alone: training, evaluating and predicting from packed data run without."""
    code = """
import sys, mla_jax
assert not {"jax", "flax", "tensorflow", "numpy"} & set(sys.modules), "heavy"
import experiments.benchmark, mla_jax.data.formats.packed, mla_jax.runs.train, mla_jax.runs.trained
public = set(mla_jax.__all__)
assert public <= set(dir(mla_jax))
light = [name for name in public if "Read" not in name and "record" not in name]
assert all(getattr(mla_jax, name) is not None for name in light)
assert "tensorflow" not in sys.modules
assert all(getattr(mla_jax, name) is not None for name in public)
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "a device was touched"
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_an_attribute_error() -> None:
    import mla_jax

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = mla_jax.nonsense
