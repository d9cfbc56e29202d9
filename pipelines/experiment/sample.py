"""What settings are compared on: documents, queries, and which documents are relevant to which query."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedders.prompts import is_unicode
from pipelines.errors import ConfigError
from pipelines.evaluation.beir import judgements_file, read_beir_queries, read_judgements
from pipelines.experiment.documents import Document, read_beir_documents, read_documents

Judgements = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Sample:
    """Documents in order, queries by id, and judgements (query id -> document id -> grade), None where there are none.

    ``queries`` are those that are judged, where any are. ``digest`` is that of the documents, hex sha256.
    """

    documents: Sequence[Document]
    queries: Mapping[str, str]
    judgements: Judgements | None
    digest: str
    notices: tuple[str, ...] = ()


def read_sample(
    documents: Any, queries: Any, qrels: Any, *, id: str = "id", text: str = "text", limit: int | None = None
) -> Sample:
    """Read what ``compare`` is given; raises ConfigError and SourceError that say what cannot be used of it.

    ``documents`` that are a BEIR folder bring queries and judgements too, those of its split ``test``.
    """
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise ConfigError(f"limit must be a whole number of 1 or more, got {limit!r}")
    notices: list[str] = []
    folder = beir_folder(documents)
    if folder is not None:
        found = read_beir_documents(folder, limit)
        if queries is None:
            queries = folder / "queries.jsonl"
            qrels = judgements_file(folder, "test") if qrels is None else qrels
    else:
        found, notices = read_documents(documents, id=id, text=text, limit=limit)
    asked = read_queries(queries)
    judged = read_qrels(qrels, list(asked))
    if judged is not None:
        asked, judged, more = _agree(asked, judged, found, cut=limit is not None)
        notices += more
    digest = hashlib.sha256()
    for document in found:
        digest.update(_line(document))
    return Sample(found, asked, judged, digest.hexdigest(), tuple(notices))


def beir_folder(documents: Any) -> Path | None:
    """The path, where it is that of a folder with corpus.jsonl and queries.jsonl."""
    if not isinstance(documents, str | Path):
        return None
    folder = Path(documents).expanduser()
    return folder if all((folder / name).is_file() for name in ("corpus.jsonl", "queries.jsonl")) else None


def read_queries(queries: Any) -> dict[str, str]:
    """Read queries: a dict of id -> text, a list of texts (their ids count from 0), or a BEIR file; None is none."""
    if queries is None:
        return {}
    if isinstance(queries, Path) or (isinstance(queries, str) and queries.endswith(".jsonl")):
        return read_beir_queries(Path(queries).expanduser())
    if isinstance(queries, str):
        raise ConfigError(
            f"queries: give a list of texts, a dict of id -> text, or a .jsonl file; got {_short(queries)}"
        )
    named: Iterable[tuple[Any, Any]]
    # A series of pandas has items too, and a frame has those of its columns, which are no texts.
    if isinstance(queries, Mapping) or hasattr(queries, "items"):
        named = queries.items()
    elif isinstance(queries, Iterable):
        named = enumerate(queries)
    else:
        raise ConfigError(f"queries: give a list of texts or a dict of id -> text; got {type(queries).__name__}")
    read: dict[str, str] = {}
    for name, asked in named:
        if not isinstance(asked, str) or not asked.strip():
            raise ConfigError(f"queries: that of {name!r} must be a text that is not empty; got {_short(asked)}")
        if not is_unicode(asked):
            raise ConfigError(f"queries: that of {name!r} has a lone surrogate, which is not valid Unicode")
        if str(name) in read:
            raise ConfigError(f"queries: the id {str(name)!r} comes twice")
        read[str(name)] = asked
    if not read:
        raise ConfigError("queries: there are none; leave queries out to compare sizes and seconds alone")
    return read


def read_qrels(qrels: Any, queries: Sequence[str]) -> dict[str, dict[str, int]] | None:
    """Read judgements: a BEIR file, or query id -> {document id: grade}, relevant documents, or one; None is none.

    A list has an entry for each query, in their order.
    """
    if qrels is None:
        return None
    if isinstance(qrels, str | Path):
        return read_judgements(Path(qrels).expanduser())
    if isinstance(qrels, Mapping):
        return {str(query): _grades(query, given) for query, given in qrels.items()}
    if isinstance(qrels, Sequence):
        if len(qrels) != len(queries):
            raise ConfigError(
                f"qrels: a list has an entry a query; there are {len(queries)} queries, and {len(qrels)} here"
            )
        return {query: _grades(query, given) for query, given in zip(queries, qrels, strict=True)}
    raise ConfigError(
        "qrels: give a dict of query id -> {document id: grade}, or the path of a BEIR file (.tsv); got a "
        f"{type(qrels).__name__}"
    )


def _grades(query: Any, given: Any) -> dict[str, int]:
    if isinstance(given, str):
        return {given: 1}
    if isinstance(given, Mapping):
        for document, grade in given.items():
            if isinstance(grade, float) and grade.is_integer():
                continue
            if not hasattr(grade, "__index__"):
                raise ConfigError(
                    f"qrels: the grade of document {document!r} for query {query!r} must be a whole number, 0 for not "
                    f"relevant; got {_short(grade)}"
                )
        return {str(document): int(grade) for document, grade in given.items()}
    documents = list(given) if isinstance(given, Iterable) else [given]
    if all(isinstance(document, str) or hasattr(document, "__index__") for document in documents):
        return {str(document): 1 for document in documents}
    raise ConfigError(f"qrels: query {query!r} needs {{document id: grade}} or a list of ids; got {_short(given)}")


def _agree(
    queries: dict[str, str], judged: dict[str, dict[str, int]], documents: Sequence[Document], *, cut: bool
) -> tuple[dict[str, str], dict[str, dict[str, int]], list[str]]:
    """Keep the queries that are judged, with their judgements; says what is left out, and what cannot be found."""
    names = {document.id for document in documents}
    asked = {query: text for query, text in queries.items() if judged.get(query)}
    notices = []
    if not asked:
        raise ConfigError(
            f"qrels: none of the {len(queries)} queries is judged; ids of queries begin with "
            f"{_first(queries)}, those of qrels with {_first(judged)}"
        )
    grades = {query: judged[query] for query in asked}
    if cut:
        # Of a sample that was cut, what cannot be found says nothing.
        asked = {query: text for query, text in asked.items() if _relevant(grades[query]) & names}
        grades = {query: {one: grade for one, grade in grades[query].items() if one in names} for query in asked}
    missing = [one for found in grades.values() for one, grade in found.items() if grade > 0 and one not in names]
    if not asked or not any(_relevant(found) & names for found in grades.values()):
        raise ConfigError(
            "qrels: no relevant document is among the documents; ids of documents begin with "
            f"{_first(names)}, those of qrels with {_first(one for found in judged.values() for one in found)}"
        )
    if len(asked) < len(queries):
        left = len(queries) - len(asked)
        notices.append(f"{left:,} {'query has' if left == 1 else 'queries have'} no judgement here: left out")
    if missing:
        notices.append(
            f"{len(missing):,} relevant {'document is' if len(missing) == 1 else 'documents are'} not among the "
            f"documents (the first: {_short(missing[0])}): counted as not found"
        )
    return asked, grades, notices


def _relevant(grades: Mapping[str, int]) -> set[str]:
    return {document for document, grade in grades.items() if grade > 0}


def _first(names: Iterable[str]) -> str:
    return next((_short(name) for name in names), "nothing")


def _short(value: Any) -> str:
    shown = repr(value[:60] if isinstance(value, str) else value)
    return shown if len(shown) <= 80 else f"{shown[:79]}…"


def _line(document: Document) -> bytes:
    return json.dumps({"id": document.id, "text": document.text, "title": document.title}).encode() + b"\n"
