"""Multi-level attention models for weakly labelled audio, in JAX and Flax.

The public names are loaded when first used: importing this package is fast, imports neither JAX nor
TensorFlow, and touches no device.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mla_jax.config import (
        AugmentConfig,
        Config,
        DataConfig,
        ModelConfig,
        OptimConfig,
        TrainConfig,
    )
    from mla_jax.data.class_list import ClassList
    from mla_jax.data.clips import ClipSet
    from mla_jax.data.embedding import Embedding, Scaling
    from mla_jax.data.formats.format import ReadOptions
    from mla_jax.data.formats.record_writer import write_records
    from mla_jax.data.packing import pack
    from mla_jax.data.sources import open_clips, open_data_source, open_packed, read_data_source
    from mla_jax.data.synthetic import SyntheticConfig, synthetic_clips
    from mla_jax.errors import UserError
    from mla_jax.evaluation.bootstrap import bootstrap_map, clip_counts, interval
    from mla_jax.evaluation.metrics import evaluate
    from mla_jax.explain.examples import choose_examples, classes_to_show, clip_scores
    from mla_jax.explain.levels import level_names, level_shares
    from mla_jax.explain.maps import ClipMap, clip_maps
    from mla_jax.inference.predictor import Predictor
    from mla_jax.localization.events import segment_reference, segments_to_events
    from mla_jax.localization.segment_metrics import evaluate_segments
    from mla_jax.localization.strong_labels import read_strong_labels
    from mla_jax.models.multi_level import build_model
    from mla_jax.models.pooling import POOLINGS, Pooling, pool_by
    from mla_jax.presets import preset
    from mla_jax.report.figures.attention import attention_map
    from mla_jax.report.figures.levels import level_weights
    from mla_jax.runs.names import pretrained_models
    from mla_jax.runs.thresholds import choose_for_run
    from mla_jax.runs.trained import TrainedModel
    from mla_jax.runs.use import open_model
    from mla_jax.tagging.tag import predict_to_file
    from mla_jax.tagging.tagger import TagOptions
    from mla_jax.training.batches import DeviceClips
    from mla_jax.training.loop import fit
    from mla_jax.training.optimizer import make_optimizer
    from mla_jax.training.sampler import make_sampler
    from mla_jax.training.state import fresh_state
    from mla_jax.training.step import train_step

__version__ = "0.1.0"

_HOMES = {
    "config": (
        "AugmentConfig",
        "Config",
        "DataConfig",
        "ModelConfig",
        "OptimConfig",
        "TrainConfig",
    ),
    "data.class_list": ("ClassList",),
    "data.clips": ("ClipSet",),
    "data.embedding": ("Embedding", "Scaling"),
    "data.formats.format": ("ReadOptions",),
    "data.formats.record_writer": ("write_records",),
    "data.packing": ("pack",),
    "data.sources": ("open_clips", "open_data_source", "open_packed", "read_data_source"),
    "data.synthetic": ("SyntheticConfig", "synthetic_clips"),
    "errors": ("UserError",),
    "evaluation.bootstrap": ("bootstrap_map", "clip_counts", "interval"),
    "evaluation.metrics": ("evaluate",),
    "explain.examples": ("choose_examples", "classes_to_show", "clip_scores"),
    "explain.levels": ("level_names", "level_shares"),
    "explain.maps": ("ClipMap", "clip_maps"),
    "inference.predictor": ("Predictor",),
    "localization.events": ("segment_reference", "segments_to_events"),
    "localization.segment_metrics": ("evaluate_segments",),
    "localization.strong_labels": ("read_strong_labels",),
    "models.multi_level": ("build_model",),
    "models.pooling": ("POOLINGS", "Pooling", "pool_by"),
    "presets": ("preset",),
    "report.figures.attention": ("attention_map",),
    "report.figures.levels": ("level_weights",),
    "runs.names": ("pretrained_models",),
    "runs.thresholds": ("choose_for_run",),
    "runs.trained": ("TrainedModel",),
    "runs.use": ("open_model",),
    "tagging.tag": ("predict_to_file",),
    "tagging.tagger": ("TagOptions",),
    "training.batches": ("DeviceClips",),
    "training.loop": ("fit",),
    "training.optimizer": ("make_optimizer",),
    "training.sampler": ("make_sampler",),
    "training.state": ("fresh_state",),
    "training.step": ("train_step",),
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
