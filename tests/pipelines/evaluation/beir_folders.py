"""BEIR folders for tests, made of a few lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCUMENTS = [
    {"_id": "d1", "title": "Snakes", "text": "Pythons squeeze their prey."},
    {"_id": "d2", "title": "", "text": "Java is an island."},
    {"_id": "d 3", "text": "The third letter."},
]
QUERIES = [{"_id": "q1", "text": "reptiles"}, {"_id": "q2", "text": "islands"}, {"_id": "q3", "text": "unjudged"}]
JUDGEMENTS = ["q1\td1\t2", "q1\td2\t0", "q2\td2\t1"]


def lines(rows: list[Any]) -> bytes:
    return b"".join((row if isinstance(row, str) else json.dumps(row)).encode() + b"\n" for row in rows)


def write_beir(
    folder: Path,
    documents: list[Any] | None = None,
    queries: list[Any] | None = None,
    judgements: list[str] | None = None,
    *,
    header: str = "query-id\tcorpus-id\tscore",
) -> Path:
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    (folder / "corpus.jsonl").write_bytes(lines(DOCUMENTS if documents is None else documents))
    (folder / "queries.jsonl").write_bytes(lines(QUERIES if queries is None else queries))
    (folder / "qrels" / "test.tsv").write_bytes(lines([header, *(JUDGEMENTS if judgements is None else judgements)]))
    return folder
