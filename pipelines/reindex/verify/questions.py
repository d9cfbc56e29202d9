"""What both collections are asked: the queries of a file, or titles and first sentences of sampled points."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import ConfigError
from pipelines.reindex.verify.sample import SampledPoint
from pipelines.reindex.verify.subject import Subject

# Of a query that is made: whole words.
MOST_LETTERS = 200
_END = re.compile(r"(?<=[.!?。！？])\s+|\n")


@dataclass(frozen=True)
class KnownItem:
    """A query made of a point, which should find that point's document."""

    query: str
    point: SampledPoint


def known_items(subject: Subject) -> list[KnownItem]:
    """Make queries of the points sampled: the title of each, else the first sentence of its text."""
    found = []
    for point in subject.sampled:
        title, text = point.payload.get("title"), subject.text_of(point)
        query = title if isinstance(title, str) and title.strip() else first_sentence(text or "")
        if query.strip():
            found.append(KnownItem(query.strip(), point))
    return found[: subject.limits.searches]


def first_sentence(text: str) -> str:
    """Take the first sentence of a text, at most so many letters of it."""
    sentence = _END.split(text.strip(), maxsplit=1)[0]
    if len(sentence) <= MOST_LETTERS:
        return sentence
    return sentence[:MOST_LETTERS].rpartition(" ")[0] or sentence[:MOST_LETTERS]


def read_queries(path: str) -> dict[str, str]:
    """Read a file of queries by their ids: JSON lines {_id, text}, or lines of text, whose ids are their numbers.

    Raises ConfigError for a file that cannot be read, a line that is neither, and a file without queries.
    """
    queries = dict(_queries(path))
    if not queries:
        raise ConfigError(f"reindex.verify.queries: {path} has no queries")
    return queries


def _queries(path: str) -> Iterator[tuple[str, str]]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"reindex.verify.queries: {path} cannot be read: {why}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if not path.endswith((".jsonl", ".json", ".ndjson")):
            yield str(number), line.strip()
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        text = row.get("text") if isinstance(row, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f'reindex.verify.queries: {path} line {number}: write {{"_id": ..., "text": ...}}')
        yield str(row.get("_id", row.get("id", number))), text
