"""Reads the model of a checkpoint without Orbax, whose import takes longer than most models take to be used.

What is read is whole, or nothing is: the settings beside a state have a checksum of their own, and hold that
of the model's weights. Where anything is not as expected (an older checkpoint, a damaged one, one in a
bucket) there is no answer here, and `Checkpoints`, which reads all of the state, gives it or says what is
wrong.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.data.embedding import Embedding
from mla_jax.models.variables import Variables, flat, nested
from mla_jax.storage import paths

META_SHA256, WEIGHTS_SHA256, SCORE = "meta_sha256", "weights_sha256", "validation_mAP"
"""Among the settings beside a state: their own checksum, the weights', and the validation mAP."""

_COLLECTIONS = ("params/", "batch_stats/")


class SavedWeights:
    """The models in a folder of checkpoints, each by the step that it was saved at."""

    def __init__(self, folder: Path) -> None:
        self.folder = paths.absolute(folder)
        local = not paths.is_remote(self.folder) and self.folder.is_dir()
        names = [path.name for path in self.folder.iterdir()] if local else []
        metas = {int(name): self._meta(int(name)) for name in names if name.isdigit()}
        # Where one is older or damaged, its score is not known here, and another would be the best.
        whole = {step: meta for step, meta in metas.items() if meta is not None}
        self._metas = whole if len(whole) == len(metas) else {}

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending; none if one of them is not as expected."""
        return sorted(self._metas)

    def best_step(self) -> int | None:
        """As `Checkpoints.best_step`."""
        return best_of({step: meta.get(SCORE) for step, meta in self._metas.items()})

    def read(self, step: int) -> tuple[dict[str, Any], Variables] | None:
        """The settings beside the state of a step and the model's variables, if both are whole."""
        meta = self._metas.get(step)
        if meta is None or WEIGHTS_SHA256 not in meta:
            return None
        # Of many kinds, and `Checkpoints` meets whatever it is.
        with contextlib.suppress(Exception):
            variables = _read_variables(self.folder / str(step) / "state", meta["arrays"])
            if weights_checksum(variables) == meta[WEIGHTS_SHA256]:
                return meta, variables
        return None

    def _meta(self, step: int) -> dict[str, Any] | None:
        """The settings beside the state of a step, if they are known to be whole."""
        with contextlib.suppress(OSError, ValueError):
            text = (self.folder / str(step) / "meta" / "metadata").read_text(encoding="utf-8")
            meta = json.loads(text)
            if isinstance(meta, dict) and meta.get(META_SHA256) == meta_checksum(meta):
                return meta
        return None


def embedding_of(meta: Mapping[str, Any]) -> Embedding | None:
    """What the training data's embeddings mean, of what a checkpoint keeps; older ones do not say."""
    return Embedding.from_json(meta["embedding"]) if "embedding" in meta else None


def best_of(scores: Mapping[int, float | None]) -> int | None:
    """The step with the highest score, of equal ones the latest; None if none has one."""
    scored = [(score, step) for step, score in scores.items() if score is not None]
    return max(scored)[1] if scored else None


def meta_checksum(meta: Mapping[str, Any]) -> str:
    """The sha256 of the settings beside a state, but for what they say of it."""
    kept = {name: value for name, value in meta.items() if name != META_SHA256}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def weights_checksum(variables: Variables) -> str:
    """The sha256 of the names, dtypes, shapes and bytes of a model's variables, arrays in nested dicts."""
    digest = hashlib.sha256()
    for name, leaf in sorted(flat(variables).items()):
        array = np.asarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _read_variables(state: Path, names: Iterable[str]) -> Variables:
    """The variables of the model among a state's arrays, of names such as params/block_0/dense/kernel."""
    import tensorstore

    # A state that averages its weights has those of its steps, too.
    prefix = "average/" if any(name.startswith("average/") for name in names) else ""
    ours = tuple(prefix + collection for collection in _COLLECTIONS)
    places = [name for name in names if name.startswith(ours)]
    kept = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{state}/"}}
    context = tensorstore.Context()  # one cache of the folder's index for all
    opened = [
        tensorstore.open(
            {"driver": "zarr", "kvstore": kept | {"path": place.replace("/", ".") + "/"}},
            open=True,
            read=True,
            context=context,
        )
        for place in places
    ]
    reads = [one.result().read() for one in opened]
    found = (read.result() for read in reads)
    return nested({place.removeprefix(prefix): a for place, a in zip(places, found, strict=True)})
