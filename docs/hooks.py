"""What mkdocs does beside reading docs/: brings the repository's own pages, and what they link to."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).parent.parent
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md"}
PAGES |= {name: name for name in ("BUILD_NOTES.md", "CHANGELOG.md")}
PAGES["experiments/cloud_tpu/README.md"] = "cloud_tpu.md"
PAGES |= {
    page.relative_to(ROOT).as_posix(): f"card_{page.parent.name}.md"
    for page in (ROOT / "mla_jax/pretrained/models").glob("*/README.md")
}
PAGES |= {f"docs/{page.name}": page.name for page in (ROOT / "docs").glob("guide_*.md")}
_LINK = re.compile(r"(?<=\]\()[^)#:\s]+(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages, the files of the repository that they link to, and the colours of code."""
    linked: set[str] = set()
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if source.startswith("docs/"):  # links are from the root there, as in the others
            files.remove(next(file for file in files if file.src_uri == page))
            text = text.replace("](../", "](")
        targets = set(_LINK.findall(text))
        linked |= {t for t in targets - PAGES.keys() if (ROOT / t).is_file()}
        text = _LINK.sub(lambda link: PAGES.get(link[0], link[0]), text)
        files.append(File.generated(config, page, content=text))
    for name in sorted(linked):
        # As bytes: a page of another kind would be rendered.
        files.append(File.generated(config, name, content=(ROOT / name).read_bytes()))
    colours = HtmlFormatter().get_style_defs(".codehilite")
    files.append(File.generated(config, "colours.css", content=colours))
    return files
