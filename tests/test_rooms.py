"""What each room of the library may know, read off its imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "mla_jax").rglob("*.py")) + sorted((ROOT / "experiments").rglob("*.py"))


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


def room(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def uses(path: Path, *modules: str) -> set[str]:
    return {i for i in imports(path) if any(i == m or i.startswith(m + ".") for m in modules)}


@pytest.mark.parametrize("path", FILES, ids=room)
def test_each_room_knows_only_what_it_may(path: Path) -> None:
    name = room(path)
    forbidden: list[str] = []
    if name != "mla_jax/data/records.py":
        forbidden += ["tensorflow"]
    if name.startswith("mla_jax/tfds/"):
        # A builder's module is imported by two names, so it may import none of its package.
        forbidden += ["jax", "flax", "mla_jax.models", "mla_jax.training", "mla_jax.evaluation"]
        if name != "mla_jax/tfds/__init__.py":
            forbidden += ["mla_jax.tfds"]
    elif name != "mla_jax/data/data_source.py":
        forbidden += ["tensorflow_datasets"]
    if name != "mla_jax/evaluation/html_report.py":
        forbidden += ["jinja2", "markupsafe"]
    if name not in ("mla_jax/download/transfer.py", "mla_jax/download/http_file.py"):
        forbidden += ["requests"]
    if name not in ("mla_jax/buckets.py", "mla_jax/bucket_access.py"):
        forbidden += ["etils", "fsspec", "gcsfs"]
    if name != "mla_jax/training/checkpoints.py":
        forbidden += ["orbax"]
    if not name.startswith("experiments/"):
        forbidden += ["absl.flags", "absl.app", "ml_collections", "experiments"]
    if name.startswith(("mla_jax/data/", "mla_jax/download/")):
        forbidden += ["mla_jax.models", "mla_jax.training", "mla_jax.evaluation", "flax", "optax"]
        if name != "mla_jax/data/sampler.py":
            forbidden += ["jax"]
    if name.startswith("mla_jax/models/"):
        forbidden += ["mla_jax.data", "mla_jax.training", "mla_jax.evaluation", "optax"]
    if name.startswith("mla_jax/training/"):
        forbidden += ["mla_jax.evaluation"]
    if not name.startswith("mla_jax/evaluation/figures/") and name != "mla_jax/evaluation/plots.py":
        forbidden += ["matplotlib"]
    if name not in ("mla_jax/data/array_columns.py", "mla_jax/models/keras_import/file.py"):
        forbidden += ["h5py"]
    forbidden += ["keras", "pickle"]
    on_device = ("mla_jax/evaluation/predict.py", "mla_jax/evaluation/segments.py")
    if name.startswith("mla_jax/evaluation/") and name not in on_device:
        forbidden += ["jax", "flax", "mla_jax.models", "mla_jax.training"]
    if name == "mla_jax/evaluation/metrics.py":
        forbidden += ["mla_jax.data"]
    assert not uses(path, *forbidden)


def test_nothing_loads_tensorflow_with_packed_data_in_mind() -> None:
    """Training, evaluating and predicting from packed data must run where TensorFlow is not."""
    code = (
        "import sys, mla_jax, mla_jax.runs, mla_jax.trained, mla_jax.data.packed\n"
        "import experiments.benchmark\n"
        "homes = mla_jax._HOME_OF.items()\n"
        "[getattr(mla_jax, n) for n, home in homes if not home.startswith('data.record')]\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_import_is_light_and_touches_no_device() -> None:
    code = (
        "import sys, mla_jax\n"
        "assert not {'jax', 'flax', 'tensorflow', 'numpy'} & set(sys.modules), 'heavy'\n"
        "for name in mla_jax.__all__:\n"
        "    assert getattr(mla_jax, name) is not None\n"
        "assert set(mla_jax.__all__) <= set(dir(mla_jax))\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized(), 'a device was touched'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_an_attribute_error() -> None:
    import mla_jax

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = mla_jax.nonsense
