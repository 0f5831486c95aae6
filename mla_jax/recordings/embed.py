"""Embeds collections of recordings into a packed folder, part by part: killed, it goes on where it was."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from mla_jax.audio.embed import embed_files
from mla_jax.audio.encoder import Encoder
from mla_jax.audio.pca import Pca, bytes_of, with_pca
from mla_jax.data.class_list import ClassList
from mla_jax.data.label_file import NONE_HEARD, Heard
from mla_jax.errors import UserError
from mla_jax.progress import silent
from mla_jax.recordings.account import Account
from mla_jax.recordings.clips import Piece, clip_sets, cut_length, pieces_of
from mla_jax.recordings.fitted_pca import fit_and_keep, require_can_fit
from mla_jax.recordings.hours import Hours
from mla_jax.recordings.inputs import Recording, find_recordings
from mla_jax.recordings.labels import Labels, match_labels
from mla_jax.recordings.outputs import RECORDS, require_output
from mla_jax.recordings.parts import Parts, plan_parts
from mla_jax.storage import paths
from mla_jax.storage.locks import one_writer

_NO_CLASSES = ClassList((), ())


_SAME = 1e-3  # seconds


@dataclasses.dataclass(frozen=True)
class EmbedOptions:
    """How recordings become clips.

    Attributes:
      clip_seconds: recordings are cut into clips of so many seconds; 0: each is one clip.
      labels: a CSV of labels (`mla_jax.recordings.labels`); empty: clips have none.
      class_list: the classes of the labels; empty: the names in the CSV, sorted.
      fit_pca: a file to write: principal components are fitted on all embeddings, and the clips are bytes;
        empty: none are.
      pca_features: how many of them are kept, so the features of a clip.
      batch_size: examples at a time. What is written does not depend on it, but for rounding.
      threads: how many files are decoded at once.
      part_seconds: how much sound makes a part, and so what a kill costs; longer recordings are cut.

    Raises:
      UserError: a value is not valid.
    """

    clip_seconds: float = 0.0
    labels: str = ""
    class_list: str = ""
    fit_pca: str = ""
    pca_features: int = 128
    batch_size: int = 32
    threads: int = 2
    part_seconds: float = 1200.0

    def __post_init__(self) -> None:
        if not self.clip_seconds >= 0:
            raise UserError(f"clip_seconds={self.clip_seconds} is not valid: it must be above 0")
        if self.pca_features < 1:
            raise UserError(f"pca_features={self.pca_features} is not valid: it must be above 0")
        if self.class_list and not self.labels:
            raise UserError("a class list says what labels mean; give labels too")


def embed_recordings(
    inputs: Sequence[str],
    output: str | Path,
    encoder: Encoder,
    options: EmbedOptions | None = None,
    *,
    say: Callable[[str], None] = silent,
) -> Account:
    """Embeds recordings and writes them as clips, in bounded memory.

    Parts that are finished are kept beside the output, in a folder of its name with `.unfinished`; the same
    call goes on with them. What is written does not depend on where it was stopped. A recording that cannot
    be used is left out and listed with the output, and so is one that the labels do not name.

    Args:
      inputs: as `find_recordings` takes them.
      output: the packed folder, or a `.tfrecord` file; nothing may be there.
      encoder: what makes an embedding of each example.
      options: how recordings become clips.
      say: takes a line on what goes on.

    Raises:
      UserError: the output is taken, no recording can be used, an input or the labels cannot be used, or
        what was begun there had other settings or files.
    """
    options = options or EmbedOptions()
    place = Path(paths.require_local(paths.expanded(output), "--output"))
    found = find_recordings(inputs)
    labels = _labels(found.recordings, options)
    classes = labels.classes if options.labels else None
    write = require_output(place, classes)
    if place.suffix == RECORDS:
        labels.require_all_known(place)
    used = [
        (r, mine) for r, mine in zip(found.recordings, labels.of, strict=True) if mine is not None
    ]
    if not used:
        raise UserError(
            f"{options.labels} says of none of the {len(found.recordings):,} recordings what is heard in it"
        )
    account = Account(
        files=len(found.recordings),
        unlabelled=_unlabelled(found.recordings, labels, options.labels),
        passed_over=found.passed_over,
        without_file=labels.without_file,
        classes=labels.classes,
    )
    plan = plan_parts([recording for recording, _ in used], encoder, options.part_seconds)
    parts = Parts(place, encoder, plan)
    length = cut_length(encoder, options.clip_seconds)
    if length and abs(length * encoder.hop_seconds - options.clip_seconds) > _SAME:
        logging.warning(
            "clips are of whole segments of %g s: of %g s instead of clip_seconds=%g",
            encoder.hop_seconds,
            length * encoder.hop_seconds,
            options.clip_seconds,
        )
    if options.fit_pca:
        goes_on = parts.folder.exists()
        require_can_fit(options.fit_pca, place, encoder, options.pca_features, goes_on=goes_on)
    with one_writer(parts.folder):
        parts.claim()
        _embed(parts, encoder, options, say)
        _count(parts, account)
        pca = _fit(parts, encoder, options, account) if options.fit_pca else None
        clips = clip_sets(
            _pieces(parts, encoder, pca, [mine for _, mine in used], length),
            (with_pca(encoder, pca) if pca else encoder).describe(),
            time=min(account.most_segments, length or account.most_segments),
            num_classes=len(labels.classes),
        )
        write(
            account.noting(clips),
            place,
            classes=classes,
            source={
                "recordings": account.files,
                "seconds": account.seconds,
                "clip_seconds": options.clip_seconds,
                "flags": account.flagged,
            },
            skipped=[*account.failed, *account.unlabelled],
        )
        parts.remove()
    return account


def _labels(recordings: Sequence[Recording], options: EmbedOptions) -> Labels:
    if not options.labels:
        return Labels(_NO_CLASSES, [NONE_HEARD] * len(recordings), [])
    classes = ClassList.read(options.class_list) if options.class_list else None
    labels = match_labels(options.labels, recordings, classes)
    if odd := labels.classes.told_apart_by_capitals():
        logging.warning("%s: %s", options.labels, odd)
    return labels


def _unlabelled(recordings: Sequence[Recording], labels: Labels, path: str) -> list[Any]:
    return [
        (str(recording.path), 0, recording.name, f"{path} says nothing of it")
        for recording, mine in zip(recordings, labels.of, strict=True)
        if mine is None
    ]


def _embed(
    parts: Parts, encoder: Encoder, options: EmbedOptions, say: Callable[[str], None]
) -> None:
    """Makes the parts that are missing."""
    missing = parts.missing()
    total, left = (sum(part.seconds for part in some) for some in (parts.plan, missing))
    if len(missing) < len(parts.plan):
        say(f"going on: {len(parts.plan) - len(missing)} of {len(parts.plan)} parts are there")
    hours = Hours("embed", total, total - left)
    for part in missing:
        made = embed_files(
            [take.span for take in part.takes],
            encoder,
            batch_size=options.batch_size,
            threads=options.threads,
            on_seconds=hours.add,
        )
        parts.write(part, list(made))
    hours.close()


def _count(parts: Parts, account: Account) -> None:
    """Notes what became of the recordings.

    Raises:
      UserError: none can be used.
    """
    for recording, embedded in parts.all():
        if embedded.error:
            # The list has the path in a column of its own.
            reason = embedded.error.removeprefix(f"{recording.path} ")
            account.failed.append((str(recording.path), 0, recording.name, reason))
        account.segments += len(embedded.embeddings)
        account.most_segments = max(account.most_segments, len(embedded.embeddings))
        account.seconds += embedded.seconds
        for flag in embedded.flags:
            account.flagged.setdefault(flag, []).append(recording.name)
    if not account.most_segments:
        parts.remove()
        path, _, _, reason = account.failed[0]
        raise UserError(
            f"none of the {account.files:,} recordings can be used; the first, {path}: {reason}"
        )


def _fit(parts: Parts, encoder: Encoder, options: EmbedOptions, account: Account) -> Pca:
    """The principal components of all that was embedded; noted."""
    pca = fit_and_keep(
        (embedded.embeddings for _, embedded in parts.all()),
        encoder,
        options.pca_features,
        options.fit_pca,
    )
    account.pca = (
        f"{options.fit_pca}, {len(pca.vectors):,} components of {encoder.num_features:,} features, fitted on "
        f"{account.segments:,} segments"
    )
    return pca


def _pieces(
    parts: Parts, encoder: Encoder, pca: Pca | None, labels: Sequence[Heard], length: int
) -> Iterator[Piece]:
    for (recording, embedded), mine in zip(parts.all(), labels, strict=True):
        rows = bytes_of(embedded.embeddings, pca) if pca else embedded.embeddings
        yield from pieces_of(recording.name, rows, encoder, mine, length)
