"""Parts that are kept beside an output: those of other work are never taken for one's own."""

from pathlib import Path

import numpy as np
import pytest

from mla_jax.storage import paths
from mla_jax.storage.parts import PartFolder
from tests.support.helpers import raises_user_error


def test_the_settings_are_there_as_long_as_a_part_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the process is killed while it removes them."""
    kept = PartFolder(tmp_path / "out.json")
    kept.claim({"settings": {"data": "a"}})
    for number in range(3):
        kept.write(number, {}, {"x": np.full(2, number)})
    removed = []

    def killed(folder: Path) -> None:
        removed.append(sorted(p.name for p in folder.iterdir()))
        raise KeyboardInterrupt

    monkeypatch.setattr(paths, "remove_folder", killed)
    with pytest.raises(KeyboardInterrupt):
        kept.join(3, lambda: "joined")
    assert not [name for names in removed for name in names if name.startswith("part-")]
    other = PartFolder(tmp_path / "out.json")
    with raises_user_error("was begun with other settings or files"):
        other.claim({"settings": {"data": "b"}}, with_first=True)
