"""The public names are those that README, the guides and the notebooks use, and these use no others."""

import json
import re
from pathlib import Path

import pytest

import mla_jax

ROOT = Path(__file__).parent.parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("guide_*.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
]


def text_of(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return text


TEXTS = {page.name: text_of(page) for page in PAGES}


@pytest.mark.parametrize("name", [n for n in mla_jax.__all__ if n != "__version__"])
def test_every_public_name_is_used(name: str) -> None:
    used = re.compile(rf"\b(mla|mla_jax)\.{name}\b")
    assert any(used.search(text) for text in TEXTS.values())


@pytest.mark.parametrize("page", TEXTS)
def test_only_public_names_are_used(page: str) -> None:
    text = TEXTS[page]
    assert not re.search(r"^\s*from mla_jax\S* import", text, re.M)
    assert not re.search(r"^\s*import mla_jax\.", text, re.M)
    assert set(re.findall(r"\bmla\.(\w+)", text)) <= set(mla_jax.__all__)
