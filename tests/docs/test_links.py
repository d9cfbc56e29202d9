"""Every link of the documentation leads somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import ROOT
from tests.docs.pages import NAMES, PAGES, anchors, inline


def targets(path: Path) -> Iterator[str]:
    for kind, name in (("link_open", "href"), ("image", "src")):
        yield from (str(token.attrs[name]) for token in inline(path, kind))


def broken(path: Path) -> Iterator[str]:
    for target in targets(path):
        parts = urlsplit(target)
        if parts.scheme:
            # What is out there is not asked for: a test needs no network.
            if parts.scheme not in ("http", "https") or "." not in parts.netloc:
                yield f"{target} is no address"
            continue
        goal = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not goal.exists() or not goal.is_relative_to(ROOT):
            yield f"{target} leads nowhere"
        elif parts.fragment and parts.fragment not in anchors(goal):
            yield f"{target}: {goal.name} has no such heading"


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_links_and_anchors_resolve(path: Path) -> None:
    assert list(broken(path)) == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    assert list(targets(page))
    (tmp_path / "page.md").write_text("# A title\n[a](none.md) [b](#no-title) ![c](c.svg) [d](ftp:/x)\n")
    assert len(list(broken(tmp_path / "page.md"))) == 4


def test_the_readme_is_short_and_has_its_two_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    section = lines[lines.index("## Two commands") : lines.index("## A first job")]
    assert "    make quickstart" in section and "    make test" in section
