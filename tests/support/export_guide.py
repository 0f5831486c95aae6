"""The programs of docs/guide_export.md, which tag without this package."""

import re

from tests.support import programs

PAGE = (programs.ROOT / "docs/guide_export.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"```python\n# (tag_\w+)\.py\n(.*?)```", PAGE, re.DOTALL))
_ALONE = """
import sys
class No:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {forbidden}:
            raise ImportError(name)
sys.meta_path.insert(0, No())
"""


def alone(program: str, *forbidden: str) -> str:
    """The code of a program, for a process in which some packages cannot be imported."""
    return _ALONE.format(forbidden=set(forbidden)) + PROGRAMS[program]
