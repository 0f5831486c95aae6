r"""Downloads AudioSet's released features (about 2.4 GB) and lists from Google's servers.

    mla-download-audioset --output=audioset_v1_embeddings

The output then holds bal_train/, eval/, unbal_train/ and csv/; `mla-prepare-data` packs the splits.
What is there already is left as it is. If the command is stopped or loses its connection, the same command
goes on.
"""

from absl import flags

from mla_jax.audioset import release, transfer
from mla_jax.commands import common_flags, console
from mla_jax.storage import paths

_OUTPUT = flags.DEFINE_string("output", "", "The folder to fill; made if need be.")
_REGION = flags.DEFINE_enum("region", "us", release.REGIONS, "Which of Google's buckets.")
_ONLY = flags.DEFINE_enum("only", None, release.PARTS, "Fetch these alone.")
_KEEP_ARCHIVE = flags.DEFINE_bool(
    "keep_archive", False, "Keep features.tar.gz after it is unpacked."
)
_BASE_URL = flags.DEFINE_string(
    "base_url", release.SERVER, "The server; a mirror must have the same paths."
)
_RETRIES = flags.DEFINE_integer(
    "retries",
    transfer.RETRIES,
    "Give up after so many retries in a row without a new byte.",
    lower_bound=0,
)


def main() -> None:
    """Fetches what is missing, as the flags say."""
    common_flags.require(_OUTPUT)
    paths.require_local(_OUTPUT.value, "--output")
    with console.keeps("what has arrived"):
        lines = release.download_release(
            _OUTPUT.value,
            region=_REGION.value,
            base_url=_BASE_URL.value,
            only=_ONLY.value or "",
            keep_archive=_KEEP_ARCHIVE.value,
            retries=_RETRIES.value,
            say=console.say,
        )
    print("\n".join(lines))
