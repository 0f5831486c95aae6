"""Multi-level attention models for weakly labelled audio, in JAX and Flax.

The public names are loaded when first used: importing this package is fast, imports neither JAX nor
TensorFlow, and touches no device.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mla_jax.config import (
        ARCHITECTURES,
        Config,
        DataConfig,
        ModelConfig,
        OptimConfig,
        TrainConfig,
    )
    from mla_jax.data.array_files import read_array_file
    from mla_jax.data.clips import ClipSet, Scaling, concatenate
    from mla_jax.data.data_source import data_source_classes, open_data_source, read_data_source
    from mla_jax.data.labels import ClassList
    from mla_jax.data.packed import open_packed, pack
    from mla_jax.data.record_writer import write_records
    from mla_jax.data.records import ReadReport, find_record_files, read_records
    from mla_jax.data.sampler import make_sampler
    from mla_jax.data.synthetic import SyntheticConfig, synthetic_clips
    from mla_jax.errors import UserError
    from mla_jax.evaluation.event_segments import segments_to_events
    from mla_jax.evaluation.localization import evaluate_events
    from mla_jax.evaluation.metrics import Metrics, average_precision, d_prime, evaluate, roc_auc
    from mla_jax.evaluation.predict import average_predictions, predict
    from mla_jax.evaluation.segment_metrics import evaluate_segments
    from mla_jax.evaluation.segments import predict_segments
    from mla_jax.evaluation.strong_labels import Event, read_strong_labels, write_strong_labels
    from mla_jax.evaluation.thresholds import choose_thresholds
    from mla_jax.imported import import_keras
    from mla_jax.models.multi_level import MultiLevelModel, build_model, init_variables
    from mla_jax.models.pooling import POOLINGS
    from mla_jax.presets import PRESETS, preset
    from mla_jax.run_thresholds import choose_for_run
    from mla_jax.tagging import predict_to_file
    from mla_jax.trained import TrainedModel
    from mla_jax.training.loop import fit
    from mla_jax.training.state import TrainState, fresh_state, init_state

__version__ = "0.1.0"

_HOMES = {
    "config": (
        "ARCHITECTURES",
        "Config",
        "DataConfig",
        "ModelConfig",
        "OptimConfig",
        "TrainConfig",
    ),
    "data.array_files": ("read_array_file",),
    "data.clips": ("ClipSet", "Scaling", "concatenate"),
    "data.data_source": ("data_source_classes", "open_data_source", "read_data_source"),
    "data.labels": ("ClassList",),
    "data.packed": ("open_packed", "pack"),
    "data.record_writer": ("write_records",),
    "data.records": ("ReadReport", "find_record_files", "read_records"),
    "data.sampler": ("make_sampler",),
    "data.synthetic": ("SyntheticConfig", "synthetic_clips"),
    "errors": ("UserError",),
    "evaluation.event_segments": ("segments_to_events",),
    "evaluation.localization": ("evaluate_events",),
    "evaluation.metrics": ("Metrics", "average_precision", "d_prime", "evaluate", "roc_auc"),
    "evaluation.predict": ("average_predictions", "predict"),
    "evaluation.segment_metrics": ("evaluate_segments",),
    "evaluation.segments": ("predict_segments",),
    "evaluation.strong_labels": ("Event", "read_strong_labels", "write_strong_labels"),
    "evaluation.thresholds": ("choose_thresholds",),
    "imported": ("import_keras",),
    "models.multi_level": ("MultiLevelModel", "build_model", "init_variables"),
    "models.pooling": ("POOLINGS",),
    "presets": ("PRESETS", "preset"),
    "run_thresholds": ("choose_for_run",),
    "tagging": ("predict_to_file",),
    "trained": ("TrainedModel",),
    "training.loop": ("fit",),
    "training.state": ("TrainState", "fresh_state", "init_state"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "__version__",
    *sorted(_HOME_OF),
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
