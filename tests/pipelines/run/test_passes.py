"""How often a job reads the bytes of its source, by what the system counts of this process: docs/reading.md."""

from __future__ import annotations

import functools
import random
import string
import tarfile
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.embed.average_length import Lengths, measure_splits, total
from pipelines.embed.documents import read_rows
from pipelines.run.scan import ScannedSource, measure, scan
from pipelines.sources import Split, plan_source
from pipelines.sources.id_comparison import compare_ids_here
from tests.model_fixtures import write_tokenizer
from tests.pipelines.sources.reading import write_ipc, write_lines

COUNTER = Path("/proc/self/io")
ROWS = 5000
# Random letters, which no format makes shorter than three quarters.
TEXT, NOTE = 800, 400


@functools.cache
def documents(rows: int) -> list[dict[str, Any]]:
    letters = random.Random(0)

    def words(characters: int) -> str:
        return "".join(letters.choices(string.ascii_letters + "  ", k=characters))

    return [{"id": f"doc-{number}", "text": words(TEXT), "note": words(NOTE)} for number in range(rows)]


def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def as_parquet(folder: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.table(columns(rows)), folder / "a.parquet", row_group_size=2000)


def as_jsonl(folder: Path, rows: list[dict[str, Any]]) -> None:
    write_lines(folder / "a.jsonl", rows)


def as_csv(folder: Path, rows: list[dict[str, Any]]) -> None:
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (folder / "a.csv").write_text("\n".join(lines) + "\n")


def as_arrow(folder: Path, rows: list[dict[str, Any]]) -> None:
    write_ipc(folder / "a.arrow", columns(rows), max_chunksize=500)


def as_text_files(folder: Path, rows: list[dict[str, Any]]) -> None:
    for start in range(0, len(rows), 1000):
        (folder / f"{start}.txt").write_text("\n".join(row["text"] for row in rows[start : start + 1000]))


def as_webdataset(folder: Path, rows: list[dict[str, Any]]) -> None:
    with tarfile.open(folder / "a.tar", "w") as archive:
        for row in rows:
            entry = tarfile.TarInfo(f"{row['id']}.txt")
            entry.size = len(row["text"])
            archive.addfile(entry, BytesIO(row["text"].encode()))


class Passes(NamedTuple):
    """How many times as many bytes as the source has are read to look at the ids, and to embed.

    ``measuring`` takes the place of ``looking`` where the job measures an average length; ``alone`` measures without
    the look.
    """

    looking: float
    measuring: float
    alone: float
    embedding: float


# Two thirds of the bytes in Parquet are texts.
FORMATS: dict[str, tuple[Callable[[Path, list[dict[str, Any]]], None], Passes]] = {
    "parquet": (as_parquet, Passes(0, 0.67, 0.67, 1)),
    "jsonl": (as_jsonl, Passes(1, 1, 1, 1)),
    "csv": (as_csv, Passes(1, 1, 1, 1)),
    "arrow": (as_arrow, Passes(1, 1, 1, 1)),
    "text": (as_text_files, Passes(0, 1, 1, 1)),
    "webdataset": (as_webdataset, Passes(1, 1, 1, 1)),
}


def job(folder: Path, **extra: Any) -> JobConfig:
    embedding = {"name": "bm25", "model": "Qdrant/bm25", "options": {"avg_len": "measure"}}
    source = {"path": str(folder), "id": "id", **extra.pop("source", {})}
    sink = {"type": "parquet", "path": str(folder / "out")}
    return load_config({"source": source, "embeddings": [embedding], "sink": sink, **extra})


def scanned(config: JobConfig, *, lengths: bool) -> ScannedSource:
    splits = plan_source(config.source).splits
    return scan(splits, config.source, compare_ids_here, job=config if lengths else None)


def times_read(folder: Path, work: Callable[[], Any]) -> float:
    """How many times as many bytes as the folder's files have this process reads for some work."""
    size = sum(path.stat().st_size for path in folder.iterdir())
    before = _bytes_read()
    work()
    return (_bytes_read() - before) / size


def _bytes_read() -> int:
    return int(COUNTER.read_text().split()[1])


@pytest.mark.skipif(not COUNTER.exists(), reason="this system does not count what a process reads")
@pytest.mark.parametrize("name", FORMATS)
def test_a_source_is_read_as_often_as_the_docs_say(name: str, tmp_path: Path) -> None:
    write, expected = FORMATS[name]
    # The first time, modules are read too.
    for folder, count in ((tmp_path / "few", 10), (tmp_path / "many", ROWS)):
        folder.mkdir()
        write(folder, documents(count))
        found = {step: times_read(folder, work) for step, work in steps_of(folder, name).items()}
    # To plan, the first rows of a file are read, or its footer.
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size > 3 << 20 and size * found.pop("planning") < 2.2 * 2**20
    assert found == pytest.approx(expected._asdict(), abs=0.06)


def steps_of(folder: Path, name: str) -> dict[str, Callable[[], Any]]:
    config = job(folder, source={"id": {"webdataset": "__key__", "text": None}.get(name, "id")})
    splits = plan_source(config.source).splits
    source = scan(splits, config.source, compare_ids_here)
    return {
        "planning": lambda: plan_source(config.source),
        "looking": lambda: scan(splits, config.source, compare_ids_here),
        "measuring": lambda: scan(splits, config.source, compare_ids_here, job=config),
        "alone": lambda: measure(config, source, map),
        "embedding": lambda: _read([(split, None) for split in splits], config),
    }


@pytest.mark.skipif(not COUNTER.exists(), reason="this system does not count what a process reads")
def test_of_parquet_a_look_reads_all_where_ids_alone_do_not_decide(tmp_path: Path) -> None:
    rows = documents(ROWS)
    as_parquet(tmp_path, rows)
    # What a job reads before it embeds, and while it embeds: ids, texts and notes are 1 : 80 : 40.
    cases: list[tuple[dict[str, Any], float, float]] = [
        ({}, 0, 1),
        ({"payload": []}, 0, 0.67),
        ({"ids_are_unique": True}, 0, 1),
        ({"id": None}, 1, 1),
        ({"deleted": "note", "payload": []}, 1, 1),
    ]
    for source, looked, embedded in cases:
        config = job(tmp_path, source=source)
        splits = plan_source(config.source).splits
        parts = [(split, None) for split in splits]
        steps = partial(scan, splits, config.source, compare_ids_here), partial(_read, parts, config)
        found = [times_read(tmp_path, step) for step in steps]
        assert found == pytest.approx([looked, embedded], abs=0.06), source


def _read(parts: list[tuple[Split, None]], config: JobConfig) -> None:
    for _ in read_rows(parts, config):
        pass


@pytest.mark.skipif(not COUNTER.exists(), reason="this system does not count what a process reads")
def test_a_jsonl_file_in_pieces_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.sources.jsonl.SPLIT_BYTES", 5 << 20)
    as_jsonl(tmp_path, documents(10_000))
    config = job(tmp_path)
    splits = plan_source(config.source).splits
    assert len(splits) == 3 and splits[2].first_row is None
    # To find where the first line of a piece begins and its last ends, chunks on both sides are read.
    assert times_read(tmp_path, lambda: scan(splits, config.source, compare_ids_here)) < 1.7
    firsts = [split.first_row for split in scan(splits, config.source, compare_ids_here).splits]
    lines = (tmp_path / "a.jsonl").read_bytes()
    assert firsts == [1, *(1 + lines[: split.start].count(b"\n") + 1 for split in splits[1:])]


ODD: list[dict[str, Any]] = [
    {"id": "a", "text": "The pythons are squeezing their prey.", "n": 1},
    {"id": "b", "text": "Alphabet! " * 30, "n": 2},
    {"id": "c", "text": "the of and", "n": 3},
    {"id": "a", "text": "words words words words", "n": 4},
    {"id": "e", "text": "one more python", "n": 5},
]


@pytest.mark.parametrize("chunking", [False, True])
@pytest.mark.parametrize("deleted", [None, "gone"])
@pytest.mark.parametrize("repeats", [False, True])
def test_what_is_measured_on_the_way_is_what_a_pass_of_its_own_measures(
    tmp_path: Path, chunking: bool, deleted: str | None, repeats: bool
) -> None:
    rows = ODD if repeats else [row for row in ODD if row["text"] != ODD[3]["text"]]
    odd = [{"id": "d", "text": None}, {"id": "g", "text": "gone today", "gone": True}, {"id": [1], "text": "bad id"}]
    write_lines(tmp_path / "in" / "a.jsonl", [*rows, *odd])
    write_lines(tmp_path / "in" / "b.jsonl", [{"id": f"b{n}", "text": f"book {n} " * n} for n in range(40)])
    pq.write_table(
        pa.Table.from_pylist([{**row, "id": f"p-{row['id']}"} for row in rows]), tmp_path / "in" / "c.parquet"
    )
    extra: dict[str, Any] = {}
    if chunking:
        write_tokenizer(tmp_path / "tokenizer")
        extra = {"chunking": {"tokenizer": str(tmp_path / "tokenizer"), "max_tokens": 9, "overlap": 0}}
    config = job(tmp_path / "in", source={"deleted": deleted}, compute={"block_rows": 7}, **extra)
    joined, apart = scanned(config, lengths=True), scanned(config, lengths=False)
    assert (joined.documents, joined.presence.deleted) == (apart.documents, apart.presence.deleted)
    assert {number: its.tolist() for number, its in joined.duplicates.rows.items()} == {
        number: its.tolist() for number, its in apart.duplicates.rows.items()
    }
    # In b alone, or in a and c too.
    assert len(joined.lengths) == (1 if repeats else 3) and not apart.lengths
    whole = total(measure_splits([part], config) for group in apart.groups for part in group)
    assert measure(config, joined, map) == measure(config, apart, map) == whole
    assert whole["bm25"].texts > 40 and whole["bm25"] != Lengths()
