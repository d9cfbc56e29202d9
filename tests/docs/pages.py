"""The pages of the documentation as tests read them: links, anchors, and blocks of code."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

import site_source
from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md")),
    *sorted(DOCS.rglob("*.md")),
]
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A block of code: its language (empty where none is named), and what a comment right before it says."""

    page: str
    line: int
    language: str
    text: str
    mark: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def tokens(path: Path) -> list[Token]:
    """The blocks of a page, in order."""
    return MARKDOWN.parse(path.read_text(encoding="utf-8"))


def blocks(path: Path) -> Iterator[Block]:
    """All blocks of code, fenced and indented."""
    mark = ""
    for token in tokens(path):
        if token.type in ("fence", "code_block"):
            language = token.info.split()[0] if token.info.strip() else ""
            line = token.map[0] + 1 if token.map else 0
            yield Block(path.relative_to(ROOT).as_posix(), line, language, token.content, mark)
        comment = re.fullmatch(r"<!-- (.+) -->\s*", token.content) if token.type == "html_block" else None
        mark = comment[1] if comment else ""


def all_blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in these languages."""
    return [block for path in PAGES for block in blocks(path) if block.language in languages]


def inline(path: Path, kind: str) -> Iterator[Token]:
    """The parts of a page's running text of one kind: links, images, code."""
    for token in tokens(path):
        yield from (child for child in token.children or () if child.type == kind)


def anchors(path: Path) -> set[str]:
    """The names of a page's headings, as GitHub and the site make them; of a page that is made of code, those too."""
    text = path.read_text(encoding="utf-8")
    if "<!-- generated" in text:
        text = site_source.GENERATED.sub(lambda found: site_source.generated(found[1]), text)
    parsed = MARKDOWN.parse(text)
    titles = [after for token, after in pairwise(parsed) if token.type == "heading_open"]
    seen: Counter[str] = Counter()
    found = set()
    for title in titles:
        told = "".join(child.content for child in title.children or ())
        slug = re.sub(r"[^\w\- ]", "", told.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found
