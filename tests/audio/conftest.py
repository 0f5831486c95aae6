"""Where real sounds and weights are, for the tests that use them."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def audio_dir() -> Path:
    """The folder with esc10/, yamnet/ and vggish/."""
    folder = Path(os.environ.get("MLA_AUDIO_DIR", ROOT.parent / "shared/data/audio"))
    if not (folder / "yamnet").is_dir():
        pytest.skip(f"no sounds and weights at {folder}; set MLA_AUDIO_DIR to their folder")
    return folder
