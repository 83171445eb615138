"""README and docs: nothing left to fill in, no link that leads nowhere, no name that does not exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_and_placeholders(path: Path) -> None:
    text = path.read_text()
    assert "@@" not in text
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or (path.parent / target).exists(), target


def test_named_files_exist() -> None:
    text = (ROOT / "README.md").read_text()
    for name in re.findall(r"(?:configs|scripts|bnn_tasks|docs)/[\w/]+(?:\.\w+)?", text):
        assert (ROOT / name).exists(), name
