"""Evaluating in several processes: each predicts some of the clips, and the last to finish scores them all.

As in `mla_jax.tagging.spread`, the processes say nothing to each other: their probabilities are kept beside
the output until all are there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.progress import Progress
from mla_jax.recordings.encoder_files import DEFAULT as DEFAULT_FILES
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.runs.fingerprint import fingerprint
from mla_jax.runs.folder import require_output
from mla_jax.runs.use import evaluation_of, open_to_score, weights_of, write_results
from mla_jax.runs.when import WhenOptions, judge_when
from mla_jax.storage.parts import Share, beside


def evaluate_share(
    share: Share,
    workdir: str | Path,
    data: str,
    output: str | Path,
    *,
    step: int = 0,
    average_from: int = 0,
    bad_records: str = "",
    allow_other_embeddings: bool = False,
    labels: str = "",
    when: WhenOptions | None = None,
    encoder_files: EncoderFiles = DEFAULT_FILES,
    part_clips: int = 1000,
    show: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any] | None:
    """As `mla_jax.runs.use.evaluate`, in one of several processes that are given the same.

    Parts that are finished are kept beside the output, in a folder of its name with `.unfinished`; the same
    call, in as many processes or others, goes on with them. Every process opens all of the data.

    Args:
      share: which process this is.
      workdir, data, output, step, average_from, bad_records, allow_other_embeddings, labels, when,
        encoder_files, show: as for `evaluate`; segment scores are made by the last process.
      part_clips: clips of a part, in whole batches, so that they are those that one process makes.

    Returns:
      The results, in the process that wrote them; in the others None.

    Raises:
      UserError: as `evaluate`; or what was begun there had other data or weights.
    """
    require_output(output, [data, labels, *(when.files if when else ())])
    parts = beside(output)
    model, clips, skipped = open_to_score(
        workdir,
        data,
        bad_records=bad_records,
        labels=labels,
        step=step,
        average_from=average_from,
        allow_other_embeddings=allow_other_embeddings,
        encoder_files=encoder_files,
    )
    batch = model.predictor.batch_size
    size = max(1, part_clips // batch) * batch
    parts.claim(
        {
            "weights": weights_of(model),
            "clips": {data: fingerprint(clips)},
            "parts": {"clips": size},
        },
        with_first=True,
    )
    count = -(-len(clips) // size)
    progress = Progress(f"predict, process {share.number} of {share.count}", 0, "clips")
    done = 0
    for i in range(count):
        if share.has(i) and parts.read(i) is None:
            probs = model.predict(clips[i * size : (i + 1) * size])
            parts.write(i, None, {"probs": probs})
            done += len(probs)
            progress.update(done)
    progress.close()

    def finish() -> dict[str, Any]:
        probs = np.concatenate([parts.require(i).arrays["probs"] for i in range(count)])
        results = evaluation_of(model, workdir, data, clips, probs, skipped)
        if when:
            results["when"] = judge_when(model, clips, when)
        show(results)
        write_results(output, results, skipped)
        return results

    return parts.join(count, finish)
