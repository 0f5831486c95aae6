"""A run in every format that it can be exported in, compared with the model itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.rows import compare
from mla_jax.commands.markdown import markdown_table
from mla_jax.data.clips import ClipSet
from mla_jax.evaluation import metrics
from mla_jax.export.formats import FORMATS
from mla_jax.export.runtimes import Run, open_export
from mla_jax.export.tagger import Tagger
from mla_jax.progress import Progress

CLIPS = 1000
"""So many clips are compared number by number; the mAP is of all."""

_BATCH = 500
_REPEATS = 5


def compare_exports(tagger: Tagger, clips: ClipSet, folder: Path) -> dict[str, Any]:
    """What a results file holds: which model and clips, and a row for the model and for each format.

    Args:
      tagger: the run.
      clips: with labels.
      folder: where the files go.
    """
    model, some = tagger.trained, clips[:CLIPS]
    expected = model.predict(clips), np.nan_to_num(model.predict_segments(some).scores)
    rows: list[dict[str, Any]] = [{"form": "the model, by JAX", "mAP": _map(expected[0], clips)}]
    for ending, form in FORMATS.items():
        path = folder / f"tagger{ending}"
        form.write(tagger, path)
        run = open_export(path)
        found = np.concatenate([output["clip"] for output in _outputs(run, clips, ending)])
        segments = np.concatenate([output["segments"] for output in _outputs(run, some)])
        rows.append(
            {
                "form": ending,
                "mAP": _map(found, clips),
                "clip_difference": _largest(found[:CLIPS] - expected[0][:CLIPS]),
                "segment_difference": _largest(segments - expected[1]),
                "bytes": sum(p.stat().st_size for p in [path, *path.rglob("*")] if p.is_file()),
                **_speed(tagger, run, clips[:_BATCH]),
            }
        )
    return {
        "architecture": tagger.trained.config.model.architecture,
        "step": tagger.trained.step,
        "num_clips": len(clips),
        "compared_clips": len(some),
        "short_clips": int((some.num_segments < clips.embeddings.shape[1]).sum()),
        "rows": rows,
    }


def _speed(tagger: Tagger, run: Run, batch: ClipSet) -> dict[str, float]:
    inputs = np.asarray(batch.embeddings), _mask(batch)
    timed = compare(lambda: tagger.trained.predict_segments(batch), lambda: run(*inputs), _REPEATS)
    return {"speed": 1 / timed["ratio"], "clips_per_second": len(batch) / timed["peer_s"]}


def _largest(differences: np.ndarray) -> float:
    return float(np.abs(differences).max())


def _outputs(run: Run, clips: ClipSet, label: str = "") -> Iterator[dict[str, np.ndarray]]:
    with Progress(label, len(clips), "clips", shown=bool(label)) as progress:
        for first in range(0, len(clips), _BATCH):
            part = clips[first : first + _BATCH]
            yield run(np.asarray(part.embeddings), _mask(part))
            progress.update(first + len(part))


def _mask(clips: ClipSet) -> np.ndarray:
    return np.arange(clips.embeddings.shape[1]) < np.asarray(clips.num_segments)[:, None]


def _map(probs: np.ndarray, clips: ClipSet) -> float:
    return float(metrics.evaluate(probs, clips.multi_hot(), clips.label_mask).mAP)


def table(results: dict[str, Any]) -> str:
    """The Markdown table of a results file."""
    first, *rows = results["rows"]
    shown = [{"format": first["form"], "mAP": f"{first['mAP']:.4f}"}]
    shown[0] |= dict.fromkeys(("off by, clips", "segments", "MB", "speed by JAX's"), "-")
    for row in rows:
        shown.append(
            {
                "format": f"`{row['form']}`",
                "mAP": f"{row['mAP']:.4f}",
                "off by, clips": f"{row['clip_difference']:.1e}",
                "segments": f"{row['segment_difference']:.1e}",
                "MB": f"{row['bytes'] / 1e6:.1f}",
                "speed by JAX's": f"{row['speed']:.2f}",
            }
        )
    return markdown_table(shown)
