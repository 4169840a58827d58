"""What the documentation names exists: files, settings, commands, alerts, and what it links to."""

import re
from pathlib import Path

import pytest

from tests.support.template import OBSERVERS, ROOT, Render

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
# They are about other services, or about what was measured once.
OTHERS = (
    "adopting.md",
    "benchmarks.md",
    "queue.md",
    "sqlalchemy.md",
)
FOLDERS = "src|tests|dev|deploy|migrations|template|scripts|docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to a file of this repository leads to one, and to a heading that it has."""
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"(?m)^#+ (.+)$", file.read_text(encoding="utf-8"))
            assert anchor in [heading.lower().replace(" ", "-") for heading in headings]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in OTHERS], ids=lambda page: page.name
)
def test_pages_name_what_exists(render: Render, tmp_path: Path, page: Path) -> None:
    """Paths, settings and targets in a page are those of a service, or of this repository."""
    orders = render(example="orders", observability=OBSERVERS)
    decisions = render(tmp_path / "decisions")
    text = page.read_text(encoding="utf-8")
    code = re.findall(r"`([^`\n]+)`", re.sub(r"(?s)```.*?```", "", text))
    paths = [path for part in code for path in re.findall(rf"^(?:{FOLDERS})/[\w./-]*", part)]
    folders = (orders, decisions, ROOT)
    assert [path for path in paths if not any((each / path).exists() for each in folders)] == []
    settings = (orders / ".env.example").read_text(encoding="utf-8")
    settings += (decisions / ".env.example").read_text(encoding="utf-8")
    named = [name for part in code for name in re.findall(r"\b[A-Z]+_[A-Z_]+\b", part)]
    assert [name for name in named if name not in settings and name not in NOT_SETTINGS] == []
    makefile = (orders / "Makefile").read_text(encoding="utf-8")
    targets = [target for part in code for target in re.findall(r"^make ([a-z][a-z-]*)", part)]
    assert [target for target in targets if f"\n{target}:" not in makefile] == []


NOT_SETTINGS = {
    "SERVER_DUPLICATES",
    "WORDS",
}
