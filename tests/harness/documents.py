"""What the project's documents say, so that tests can hold them to it."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`]+)`")


def documents() -> list[Path]:
    """Return every document a reader may open."""
    top = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "clients/python/README.md"]
    return [*top, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(document: str, language: str) -> list[str]:
    """Return a document's code blocks of one language, in order."""
    text = (ROOT / document).read_text()
    return [body for name, body in _BLOCK.findall(text) if name == language]


def all_blocks(document: str) -> list[tuple[str, str]]:
    """Return a document's code blocks in order, each with its language."""
    text = (ROOT / document).read_text()
    return _BLOCK.findall(text)


def section(document: str, heading: str) -> str:
    """Return what stands under a heading."""
    text = (ROOT / document).read_text()
    _, found, rest = text.partition(f"\n## {heading}\n")
    assert found, f"{document} has no section {heading!r}"
    return rest.partition("\n## ")[0]


def table(document: str, heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading, without its head."""
    lines = [line for line in section(document, heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def codes(cell: str) -> list[str]:
    """Return what stands in backticks."""
    return _CODE.findall(cell)


def relative_links(document: Path) -> list[str]:
    """Return a document's links to other files, without the places inside them."""
    links = _LINK.findall(document.read_text())
    files = [link.partition("#")[0] for link in links if "://" not in link]
    return [file for file in files if file]
