"""What was rendered into `src/airtight/`, which an update replaces."""

import hashlib
import re
from collections.abc import Iterator

from dev import ROOT

FOLDER = "src/airtight"
# A line for each file: the hash of its path, a line break, and its content.
HASHES = ROOT / "dev" / "rendered.txt"


def changed_files() -> Iterator[str]:
    """Yield the files of the folder that are not as they were rendered: edited or added."""
    rendered = set(re.findall(r"(?m)^[0-9a-f]{64}$", HASHES.read_text(encoding="ascii")))
    if not rendered:
        return
    for file in sorted((ROOT / FOLDER).rglob("*.py")):
        path = file.relative_to(ROOT).as_posix()
        text = f"{path}\n{file.read_text(encoding='utf-8')}"
        if hashlib.sha256(text.encode()).hexdigest() not in rendered:
            yield path
