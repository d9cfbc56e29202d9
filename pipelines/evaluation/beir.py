"""Reads a BEIR data set: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/<split>.tsv`` in one folder.

The format is that of Thakur et al. (2021), "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information
Retrieval Models". A document's text is its title and its text with a space between, as BEIR's own code joins them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedders.files.atomic import whole_file
from embedders.prompts import is_unicode
from pipelines.errors import ConfigError, SourceError

HEADER = ("query-id", "corpus-id", "score")


@dataclass(frozen=True)
class BeirDataset:
    """The judged queries of one split, against which is measured.

    ``queries`` maps an id to its text, in the file's order; ``judgements`` maps it to document id -> grade, 0 for not
    relevant. Of the judgements, ``missing`` name documents that the corpus lacks: those count as not found.
    ``corpus_digest`` and ``queries_digest`` are hex sha256: two results can be compared where both agree.
    """

    folder: str
    name: str
    split: str
    documents: int
    queries: dict[str, str]
    judgements: dict[str, dict[str, int]]
    corpus_digest: str
    queries_digest: str
    missing: int = 0
    notices: tuple[str, ...] = ()

    @property
    def summary(self) -> dict[str, Any]:
        """What results say of the data set, as JSON."""
        return {
            "name": self.name,
            "folder": self.folder,
            "split": self.split,
            "documents": self.documents,
            "queries": len(self.queries),
            "judgements": sum(map(len, self.judgements.values())),
            "judgements_missing_from_corpus": self.missing,
            "corpus_sha256": self.corpus_digest,
            "queries_sha256": self.queries_digest,
        }


def read_dataset(folder: Path, split: str, corpus: Path, limit: int | None = None) -> BeirDataset:
    """Read a data set, and write its documents as JSON lines {id, text, title} to ``corpus`` for a job to embed.

    ``limit`` keeps the first so many judged queries. Raises ConfigError where a file or the split is missing,
    SourceError naming file and line where one is malformed.
    """
    judged_file = judgements_file(folder, split)
    queries = read_beir_queries(folder / "queries.jsonl")
    judged = read_judgements(judged_file)
    documents, digest = _copy_corpus(folder / "corpus.jsonl", corpus)
    chosen = [query for query in queries if query in judged][:limit]
    asked = {query: queries[query] for query in chosen}
    judgements = {query: judged[query] for query in chosen}
    notices = _lost_queries([query for query in judged if query not in queries])
    if not chosen:
        raise SourceError(f"{judged_file}: no query is left to ask; {'; '.join(notices)}")
    if all(documents.isdisjoint(grades) for grades in judged.values()):
        first = next(iter(judgements[chosen[0]]))
        raise SourceError(f"{judged_file}: no judged document is in corpus.jsonl (the first: {first!r})")
    missing = [document for grades in judgements.values() for document in grades if document not in documents]
    return BeirDataset(
        folder=str(folder.resolve()),
        name=folder.resolve().name,
        split=split,
        documents=len(documents),
        queries=asked,
        judgements=judgements,
        corpus_digest=digest,
        queries_digest=_digest([asked, judgements]),
        missing=len(missing),
        notices=(*notices, *_odd_judgements(judgements, missing)),
    )


def judgements_file(folder: Path, split: str) -> Path:
    """Find the split's file; raises ConfigError that says which of the three parts a folder lacks."""
    if not folder.is_dir():
        raise ConfigError(f"--beir {folder}: there is no such folder")
    for name in ("corpus.jsonl", "queries.jsonl", "qrels"):
        if not (folder / name).exists():
            raise ConfigError(
                f"--beir {folder}: {name} is missing; a BEIR folder has corpus.jsonl, queries.jsonl, qrels/"
            )
    splits = sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))
    if split not in splits:
        known = f"qrels has {', '.join(splits)}" if splits else "qrels has no .tsv file"
        raise ConfigError(f"--split {split}: {folder} has no such split; {known}")
    return folder / "qrels" / f"{split}.tsv"


def read_beir_queries(path: Path) -> dict[str, str]:
    """Read queries: id -> text. Raises SourceError naming file and line."""
    queries: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, row in _rows(path):
        name = _id(row, path, number, lines)
        text = _text(row, "text", path, number)
        if not is_unicode(text):
            raise _wrong(path, number, "the text has a lone surrogate, which is not valid Unicode")
        queries[name] = text
    if not queries:
        raise SourceError(f"{path} has no queries")
    return queries


def read_judgements(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements: query id -> document id -> grade. Raises SourceError naming file and line."""
    judged: dict[str, dict[str, int]] = {}
    number = 0
    for number, line in _lines(path):
        cells = [cell.strip() for cell in line.rstrip("\r\n").split("\t")]
        if number == 1:
            if tuple(cells) != HEADER:
                raise _wrong(path, 1, f"the header must be {' '.join(HEADER)}, with tabs between; got {line[:80]!r}")
            continue
        if not line.strip():
            continue
        if len(cells) != 3 or not cells[0] or not cells[1]:
            raise _wrong(path, number, f"needs a query's id, a document's id and a grade, with tabs; got {line[:80]!r}")
        query, document, grade = cells
        if not grade.removeprefix("-").isdecimal() or len(grade) > 9:
            raise _wrong(path, number, f"the grade must be a whole number, got {grade[:80]!r}")
        before = judged.setdefault(query, {}).setdefault(document, int(grade))
        if before != int(grade):
            raise _wrong(path, number, f"query {query!r} and document {document!r} were judged {before} further up")
    if not number:
        raise _wrong(path, 1, f"the file is empty; it needs the header {' '.join(HEADER)} and a judgement a line")
    if not judged:
        raise _wrong(path, number, "the file ends without a judgement: a query's id, a document's id and a grade")
    return judged


def read_beir_corpus(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the documents of ``corpus.jsonl``: id, text with the title before it, and title.

    Raises SourceError naming file and line.
    """
    lines: dict[str, int] = {}
    for number, row in _rows(path):
        name = _id(row, path, number, lines)
        title = _text(row, "title", path, number, optional=True)
        yield name, f"{title} {_text(row, 'text', path, number)}".strip(), title


def _copy_corpus(path: Path, target: Path) -> tuple[set[str], str]:
    """Write the documents for the job; returns their ids, and the written file's digest."""
    names: set[str] = set()
    digest = hashlib.sha256()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as file:
            for name, text, title in read_beir_corpus(path):
                line = json.dumps({"id": name, "text": text, "title": title}).encode() + b"\n"
                digest.update(line)
                file.write(line)
                names.add(name)
    except OSError as error:
        raise SourceError(f"{target}: the corpus cannot be written: {error.strerror}") from None
    if not names:
        raise SourceError(f"{path} has no documents")
    return names, digest.hexdigest()


def _lost_queries(lost: list[str]) -> list[str]:
    return [f"{_count(lost, 'judged query', 'judged queries')} not in queries.jsonl: left out"] if lost else []


def _odd_judgements(judgements: dict[str, dict[str, int]], missing: list[str]) -> list[str]:
    """Say what lowers the means of all ways: documents that cannot be found, and queries for which none is relevant.

    Both count as trec_eval counts them, and pytrec_eval and ir_measures after it.
    """
    fruitless = [query for query, grades in judgements.items() if max(grades.values()) <= 0]
    notices = []
    if missing:
        notices.append(
            f"{_count(missing, 'judgement names a document', 'judgements name documents')} not in corpus.jsonl: "
            "counted as not found, as trec_eval counts them"
        )
    if fruitless:
        notices.append(
            f"{_count(fruitless, 'query has', 'queries have')} no relevant document, only grades of 0 or less: "
            f"{'it scores' if len(fruitless) == 1 else 'each scores'} 0 in every metric, as in trec_eval"
        )
    return notices


def _count(names: list[str], one: str, many: str) -> str:
    return f"{len(names):,} {one if len(names) == 1 else many} (the first: {names[0]!r})"


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _wrong(path, number, f"is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise _wrong(path, number, f"must be an object with _id and text, not a {type(row).__name__}")
        yield number, row


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers, from 1; a byte order mark is passed over."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise _wrong(path, number, f"is not UTF-8: {error.reason}") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None


def _id(row: dict[str, Any], path: Path, number: int, lines: dict[str, int]) -> str:
    name = row.get("_id")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    # qrels separate ids by tabs, TREC's run files by white space; only the first would lose an id.
    if not isinstance(name, str) or not name.strip() or name != name.strip() or "\t" in name or not is_unicode(name):
        raise _wrong(path, number, f"_id must be text without a tab, not at its ends a space; got {name!r}")
    if name in lines:
        raise _wrong(path, number, f"the _id {name!r} is that of line {lines[name]} already")
    lines[name] = number
    return name


def _text(row: dict[str, Any], key: str, path: Path, number: int, *, optional: bool = False) -> str:
    text = row.get(key)
    if text is None and optional:
        return ""
    if not isinstance(text, str):
        raise _wrong(path, number, f"{key} must be text, got {type(text).__name__ if key in row else 'nothing'}")
    return text


def _wrong(path: Path, number: int, what: str) -> SourceError:
    return SourceError(f"{path} line {number}: {what}")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
