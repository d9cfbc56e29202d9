"""Documents as people have them at hand: texts, dicts, a frame or an Arrow table, files, or a BEIR folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.errors import ConfigError, SourceError
from pipelines.evaluation.beir import read_beir_corpus
from pipelines.sources.memory.plain import is_missing

# Names by which ids are known where the one that was asked for is not there.
ID_NAMES = ("_id", "doc_id", "document_id")
DEFAULT_ID, TITLE = "id", "title"


@dataclass(frozen=True)
class Document:
    """One document; models read the text."""

    id: str
    text: str
    title: str = ""


def read_documents(documents: Any, *, id: str, text: str, limit: int | None) -> tuple[list[Document], list[str]]:
    """Read the first ``limit`` documents, and say what of them is left out.

    Ids are the column or key ``id``, or where none has it, count from 0. Raises ConfigError for what are no documents,
    and where an id comes twice.
    """
    rows = islice(_rows(documents, id=id, text=text), limit)
    found: list[Document] = []
    seen: set[str] = set()
    without = 0
    for number, row in enumerate(rows):
        document = _document(row, number, id=id, text=text)
        if document is None:
            without += 1
            continue
        if document.id in seen:
            raise ConfigError(f"documents: the id {document.id!r} comes twice; give each document an id of its own")
        seen.add(document.id)
        found.append(document)
    if not found:
        raise ConfigError(f"documents: there are none{' with a text that can be read' if without else ''}")
    one = without == 1
    left_out = f"{without:,} {'document has' if one else 'documents have'} no text that can be read: left out"
    notices = [left_out] if without else []
    return found, notices


def read_beir_documents(folder: Path, limit: int | None) -> list[Document]:
    """Read the corpus of a BEIR folder."""
    rows = islice(read_beir_corpus(folder / "corpus.jsonl"), limit)
    found = [Document(name, text, title) for name, title, text in rows]
    if not found:
        raise SourceError(f"{folder / 'corpus.jsonl'} has no documents")
    return found


def _rows(documents: Any, *, id: str, text: str) -> Iterator[Any]:
    if documents is None:
        raise ConfigError(
            "documents: give those to compare on: texts, dicts, a frame, a path, or a setting with a source"
        )
    if isinstance(documents, str | Path):
        yield from _file_rows({"path": str(documents), "text": text, "payload": "all"}, id)
    elif isinstance(documents, Mapping) and "path" in documents:
        yield from _file_rows(dict(documents), None)
    elif isinstance(documents, Mapping):
        yield from ({id: name, text: content} for name, content in documents.items())
    elif hasattr(documents, "to_pylist") and hasattr(documents, "column_names"):
        _refuse_missing(list(documents.column_names), id, text)
        yield from documents.to_pylist()
    elif hasattr(documents, "columns") and hasattr(documents, "to_dict"):
        _refuse_missing(list(documents.columns), id, text)
        # pandas has rows by orient, polars by to_dicts.
        yield from documents.to_dicts() if hasattr(documents, "to_dicts") else documents.to_dict(orient="records")
    elif isinstance(documents, Iterable) and not isinstance(documents, bytes):
        yield from documents
    else:
        raise ConfigError(
            f"documents: give texts, dicts, a frame, an Arrow table, or a path; got {type(documents).__name__}"
        )


def _refuse_missing(names: list[str], id: str, text: str) -> None:
    for name in (id, text):
        if names.count(name) > 1:
            raise ConfigError(f"documents: the column {name!r} stands twice; rename one")
    if text not in names:
        raise ConfigError(f"documents: there is no column {text!r} (text=...); there are {', '.join(map(str, names))}")
    if id != DEFAULT_ID and id not in names:
        raise ConfigError(f"documents: there is no column {id!r} (id=...); there are {', '.join(map(str, names))}")


def _document(row: Any, number: int, *, id: str, text: str) -> Document | None:
    if isinstance(row, Document):
        return row if row.text.strip() else None
    if isinstance(row, str):
        return Document(str(number), row) if row.strip() else None
    if not isinstance(row, Mapping):
        raise ConfigError(f"documents: number {number} must be a text or a dict; got {type(row).__name__}")
    content = row.get(text)
    if text not in row:
        keys = ", ".join(map(str, islice(row, 10))) or "none"
        raise ConfigError(f"documents: number {number} has no {text!r} (text=...); its keys are {keys}")
    if is_missing(content) or (isinstance(content, str) and not content.strip()):
        return None
    if not isinstance(content, str):
        raise ConfigError(f"documents: {text!r} of number {number} must be a text; got {type(content).__name__}")
    named = next((row[key] for key in (id, *ID_NAMES) if not is_missing(row.get(key))), number)
    # As pandas keeps whole numbers where one is missing.
    named = int(named) if isinstance(named, float) and named.is_integer() else named
    title = row.get(TITLE)
    return Document(str(named), content, title if isinstance(title, str) else "")


def _file_rows(source: dict[str, Any], id: str | None) -> Iterator[Document]:
    """Read files as a job does."""
    # Imported late: what is in memory needs none of it.
    import pyarrow.compute as pc

    from pipelines.config.file import load_config
    from pipelines.embed.documents import read_chunks
    from pipelines.written import plan_job_source

    def job(with_id: str | None) -> Any:
        with tempfile.TemporaryDirectory(prefix="fleetembed-") as folder:
            return load_config(
                {
                    "source": source if with_id is None else {**source, "id": with_id},
                    "embeddings": [{"name": "terms", "model": "Qdrant/bm25"}],
                    "sink": {"type": "parquet", "path": f"{folder}/none"},
                    "report": f"{folder}/none.json",
                }
            )

    config = job(id)
    try:
        splits = plan_job_source(config).splits
    except SourceError as error:
        # Nobody asked for that column: ids are made as a job without source.id makes them.
        if id != DEFAULT_ID or not str(error).startswith("source.id: no file has a column"):
            raise
        config = job(None)
        splits = plan_job_source(config).splits
    for _, table in read_chunks([(split, None) for split in splits], config, images=False):
        # What cannot be read has no text that could be embedded.
        texts = pc.if_else(pc.is_null(table["error"]), table["text"], None)
        for name, text in zip(table["document_id"].to_pylist(), texts.to_pylist(), strict=True):
            yield Document(str(name), text or "")
