"""Makes the pages of docs/ ready for the site: the files that read well in a repository, with what only a site has.

- An index (INDEXES) gets a table of contents for the sidebar: the pages that its tables and lists link.
- ``<!-- pages: gpu* -->`` becomes a list of the pages of docs/ itself that no index links and that match.
- ``<!-- page: ../../ARCHITECTURE.md -->`` makes the page that file of the repository.
- ``<!-- generated: job keys -->`` (``commands``, ``python api``) becomes what ``reference_pages`` makes of the code.
- A link to a file of the repository that is a page of the site becomes a link to that page; one to a folder, its text.
"""

from __future__ import annotations

import os
import re
from fnmatch import fnmatch
from functools import cache
from itertools import chain
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
# Whose links decide first to whom a page belongs.
INDEXES = (
    "index.md",
    "tutorials/index.md",
    "reference/index.md",
    "clusters/README.md",
    "how_to/index.md",
    "explanations/index.md",
    "about/index.md",
)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
PAGE = re.compile(r"<!-- page: (\S+) -->")
PAGES = re.compile(r"<!-- pages: (.+?) -->")
GENERATED = re.compile(r"<!-- generated: (.+?) -->")
BLOCK = re.compile(r"^```[\s\S]*?^```$|^(?: {4}.*\n)+", re.MULTILINE)


def prepare(page: str, text: str) -> str:
    """Give a page's Markdown as the site has it. ``page`` is its path below docs/, without the ending."""
    path = DOCS / f"{page}.md"
    if whole := PAGE.search(text):
        origin = (path.parent / whole[1]).resolve()
        return _relink(origin.read_text(encoding="utf-8"), origin, path)
    named = f"{page}.md"
    text = GENERATED.sub(lambda found: generated(found[1]), text)
    text = PAGES.sub(lambda _: _listed(path), text)
    text = _relink(text, path, path)
    inside = contents().get(named, [])
    if inside:
        entries = "\n".join(f"/{one.removesuffix('.md')}" for one in inside)
        text = f"{text}\n\n```{{toctree}}\n:hidden:\n\n{entries}\n```\n"
    return text


def made_of_others() -> list[str]:
    """The pages that change with other files than their own, as Sphinx names them."""
    marked = [path for path in DOCS.rglob("*.md") if "<!-- " in path.read_text(encoding="utf-8")]
    names = {*INDEXES, *(path.relative_to(DOCS).as_posix() for path in marked)}
    return sorted(name.removesuffix(".md") for name in names)


def generated(what: str) -> str:
    """Make a part of the reference of the code."""
    # Imported by need: it loads the packages, which most pages do without.
    import reference_pages

    makers = {
        "job keys": reference_pages.job_keys,
        "commands": reference_pages.commands,
        "python api": reference_pages.python_api,
    }
    return makers[what]()


def contents() -> dict[str, list[str]]:
    """The pages of each index, in its order: those that it links, then those that join it by a pattern."""
    return {index: linked()[index] + joining()[index] for index in INDEXES}


@cache
def linked() -> dict[str, list[str]]:
    """The pages that each index links. A page belongs to the first one that does."""
    taken, found = {"index.md"}, {}
    for index in INDEXES:
        text = (DOCS / index).read_text(encoding="utf-8")
        entries = "\n".join(line for line in text.splitlines() if line.startswith(("| ", "- ")))
        pages = [_place(target, DOCS / index) for _, _, target in LINK.findall(entries)]
        found[index] = list(dict.fromkeys(page for page in pages if page is not None and page not in taken))
        taken.update(found[index])
    return found


@cache
def joining() -> dict[str, list[str]]:
    """The pages of docs/ itself that no index links, by the index whose pattern they match; ``*`` takes the rest."""
    patterns = {index: PAGES.findall((DOCS / index).read_text(encoding="utf-8")) for index in INDEXES}
    left = sorted(
        {path.name for path in DOCS.glob("*.md")} - set(chain.from_iterable(linked().values())) - {"index.md"}
    )
    found = {}
    for index in sorted(INDEXES, key=lambda index: patterns[index] == ["*"]):
        wanted = " ".join(patterns[index]).split()
        found[index] = [page for page in left if any(fnmatch(page, f"{one}.md") for one in wanted)]
        left = [page for page in left if page not in found[index]]
    return found


@cache
def pages_of_files() -> dict[Path, str]:
    """Files of the repository outside of docs/ that are pages of the site, and which."""
    found = {}
    for path in DOCS.rglob("*.md"):
        if whole := PAGE.search(path.read_text(encoding="utf-8")):
            found[(path.parent / whole[1]).resolve()] = path.relative_to(DOCS).as_posix()
    return found | {ROOT / "README.md": "index.md"}


def _place(target: str, path: Path) -> str | None:
    """The page below docs/ that a link leads to; None for another one."""
    if re.match(r"[a-z]+:|#", target):
        return None
    goal = (path.parent / target.partition("#")[0]).resolve()
    goal = DOCS / pages_of_files().get(goal, goal)
    return goal.relative_to(DOCS).as_posix() if goal.suffix == ".md" and goal.is_relative_to(DOCS) else None


def _listed(path: Path) -> str:
    pages = joining()[path.relative_to(DOCS).as_posix()]
    return "\n".join(f"- [{_title(DOCS / page)}]({os.path.relpath(DOCS / page, path.parent)})" for page in pages)


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def _relink(text: str, origin: Path, path: Path) -> str:
    """Let links of a file at ``origin`` lead to the same places from a page at ``path``."""

    def moved(found: re.Match[str]) -> str:
        image, told, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        place, mark, anchor = target.partition("#")
        goal = (origin.parent / place).resolve()
        goal = DOCS / pages_of_files().get(goal, goal)
        if goal.is_dir():
            return told
        there = os.path.relpath(goal, path.parent)
        if image:
            return f"![{told}]({there})"
        if not goal.is_relative_to(DOCS):
            return f"{{download}}`{told.strip('`')} <{there}>`"
        return f"[{told}]({there}{mark}{anchor})"

    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        kept.append(found[0])
        return f"\0{len(kept) - 1}\0"

    # Code is put aside, so that nothing in it is taken for a link.
    text = LINK.sub(moved, BLOCK.sub(keep, text))
    return re.sub("\0(\\d+)\0", lambda found: kept[int(found[1])], text)
