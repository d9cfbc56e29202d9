"""Hits as a table: score, document, picture, the beginning of the text, and what else the payload has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from typing import Any

from pipelines.config.source import SourceConfig
from pipelines.notebook.thumbnails import thumbnail
from pipelines.notebook.view import MOST_LETTERS, MOST_ROWS, Cell, Grid, View
from pipelines.search.hits import Hit, shown_scores

# Hits whose images are looked at, and keys of the payload that have columns of their own.
MOST_PICTURES, MOST_KEYS = 12, 6
OURS = frozenset(("document_id", "text", "chunk_no", "chunk_start", "chunk_end", "_fleetembed"))
PICTURE_KEY = "path"


def hits_view(hits: Sequence[Hit], source: SourceConfig | None = None) -> View:
    """Show hits, best first, with images that are where ``source`` says, or where the payload's path does."""
    if not hits:
        return View("nothing found")
    shown = list(islice(hits, MOST_ROWS))
    pictures = [thumbnail(hit.payload.get(PICTURE_KEY), source) for hit in shown[:MOST_PICTURES]]
    pictures += [None] * (len(shown) - len(pictures))
    # An image that a folder was read for is named by its path.
    twice = all(hit.payload.get(PICTURE_KEY) == hit.document_id for hit in shown)
    hidden = OURS | {PICTURE_KEY} if twice else OURS
    seen = dict.fromkeys(key for hit in shown for key in hit.payload if key not in hidden)
    keys = [str(key) for key in seen][:MOST_KEYS]
    texts = any(isinstance(hit.payload.get("text"), str) for hit in shown)
    columns = ["score", "document", *(["image"] if any(pictures) else []), *(["text"] if texts else []), *keys]
    scores = shown_scores([hit.score for hit in shown])
    rows: list[list[Cell | str]] = []
    for hit, score, picture in zip(shown, scores, pictures, strict=True):
        image = [Cell("" if picture is None else hit.title, picture=picture)] if any(pictures) else []
        text = [_told(hit.payload.get("text"))] if texts else []
        rows.append([score, hit.title, *image, *text, *(_told(hit.payload.get(key)) for key in keys)])
    found = "1 hit" if len(hits) == 1 else f"{len(hits):,} hits"
    left_out = len(seen) - len(keys)
    title = found if left_out <= 0 else f"{found}; {left_out} more keys in the payloads"
    return View(title, [Grid(columns, rows, frozenset(("score",)), total=len(hits))])


def _told(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, dict | list):
        # Written out no further than it is shown.
        return _json(value)[: 2 * MOST_LETTERS]
    return _json(value)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return repr(value)
