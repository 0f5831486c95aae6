"""The reference has every public name, with a docstring that can be shown, and its pages build."""

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import griffe
import pytest

import mla_jax

ROOT = Path(__file__).parent.parent.parent
PAGES = ("data", "models", "training", "evaluation", "running")
PUBLIC = sorted(set(mla_jax.__all__) - {"__version__"})
# As in mkdocs.yml.
PARSING: Any = {
    "returns_multiple_items": False,
    "warn_unknown_params": False,
    "warn_missing_types": False,
}


def shown(page: str) -> list[str]:
    """What a page shows, in order."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"^::: ([\w.]+)$", text, flags=re.MULTILINE)


NAMES = [name for page in PAGES for name in shown(page)]


def test_every_public_name_is_shown_once() -> None:
    public = [name for name in NAMES if name.count(".") == 1]
    assert sorted(public) == [f"mla_jax.{name}" for name in PUBLIC]
    assert len(NAMES) == len(set(NAMES))


@pytest.fixture(scope="module")
def package() -> griffe.Module:
    """The package as its source says, without importing it."""
    loaded = griffe.load("mla_jax", search_paths=[ROOT], docstring_parser="google")
    assert isinstance(loaded, griffe.Module)
    return loaded


def parse(docstring: griffe.Docstring | None, caplog: pytest.LogCaptureFixture) -> set[str]:
    """The kinds of its sections; it must be there, and parse without a warning."""
    assert docstring is not None
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "griffe"):
        sections = docstring.parse("google", **PARSING)
    # It says in passing that it does not follow classes of other packages.
    said = [r.getMessage() for r in caplog.records if "Base class" not in r.getMessage()]
    assert not said
    # A section that is not recognised stays in the text.
    for section in sections:
        if section.kind is griffe.DocstringSectionKind.text:
            left = re.search(
                r"^ *(Args|Arguments|Returns?|Raises|Attributes|Yields):$", section.value, re.M
            )
            assert not left, left
        elif section.kind is not griffe.DocstringSectionKind.admonition:
            assert section.value
        if section.kind is griffe.DocstringSectionKind.parameters:
            parameters = getattr(docstring.parent, "parameters", ())
            named = [n for entry in section.value for n in entry.name.split(", ")]
            assert [n for n in named if n.lstrip("*") not in parameters] == []
    return {section.kind.value for section in sections}


@pytest.mark.parametrize("name", NAMES)
def test_its_docstring_parses(
    name: str, package: griffe.Module, caplog: pytest.LogCaptureFixture
) -> None:
    found = package[name.removeprefix("mla_jax.")]
    target = found.final_target if found.is_alias else found
    kinds = parse(target.docstring, caplog)
    assert "text" in kinds
    source = target.docstring.value
    for header, kind in (
        ("Args", "parameters"),
        ("Returns", "returns"),
        ("Raises", "raises"),
        ("Attributes", "attributes"),
    ):
        assert (f"\n{header}:" in f"\n{source}") == (kind in kinds), header
    if target.is_class:
        for method in target.members.values():
            if (method.is_function or method.is_attribute) and method.docstring is not None:
                parse(method.docstring, caplog)


def test_the_pages_build_without_a_warning_and_without_the_network(tmp_path: Path) -> None:
    # Any attempt to reach another machine ends it.
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n\n\ndef refuse(*_):\n    raise RuntimeError('the network was used')\n\n\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
    )
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    assert "<h1" in (site / "index.html").read_text(encoding="utf-8")
    for page in PAGES:
        html = (site / f"{page}.html").read_text(encoding="utf-8")
        for name in shown(page):
            assert f'id="{name}"' in html, name
        # Sections are lists of their own, not headings left in the text.
        assert not re.search(r"<p>(Args|Returns|Raises|Attributes):", html)
    for html in site.rglob("*.html"):
        text = html.read_text(encoding="utf-8")
        # Names that nobody calls; a search that a page on the disk cannot do.
        assert not re.search(r'id="[\w.]*__post_init__"|role="search"', text), html
        # What a reader's browser would fetch from elsewhere.
        assert not re.search(r'<(script|img)[^>]+src="(https?:)?//|@import', text), html
        assert not re.search(r'<link[^>]+rel="stylesheet"[^>]+href="(https?:)?//', text), html
