"""A row that any step of a job fails at is a dead letter, and costs no other row."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from embedders.muvera.muvera import Muvera
from embedders.sparse.bm25 import Bm25
from pipelines import EmbeddingPipeline
from pipelines.embed import chunking, documents
from pipelines.identity import point_id
from pipelines.run.report.report import RunReport
from pipelines.sinks.parquet.writer import ParquetWriter
from pipelines.sinks.qdrant.client import open_folder
from tests.qdrant_server.process import QdrantTestServer

BM25 = {"name": "bm25", "model": "Qdrant/bm25"}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[RunReport, dict[str, str]]]:
    """Runs a job over lines of JSON in this process; gives its report, and the dead letters' reasons by document."""

    def run(lines: Sequence[str], sink: dict[str, Any], **job: Any) -> tuple[RunReport, dict[str, str]]:
        (tmp_path / "in.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        base = {
            "source": {"path": str(tmp_path / "in.jsonl"), "id": "id"},
            "embeddings": [BM25],
            "sink": sink,
            "errors": {"max_rate": 1},
            "compute": {"engine": "local", "block_rows": 16},
            "report": str(tmp_path / "report.json"),
        }
        report = EmbeddingPipeline.from_config({**base, **job}).run(console=Console(quiet=True))
        letters = [
            row
            for file in (tmp_path / "dead_letters").glob(f"dead-{report.run_id}-*")
            for row in pads.dataset(file).to_table().to_pylist()
        ]
        return report, {row["document_id"] or row["origin"]: row["error"]["type"] for row in letters}

    return run


Run = Callable[..., tuple[RunReport, dict[str, str]]]


def line(name: str, payload: str = "1") -> str:
    return f'{{"id": "{name}", "text": "text of {name}", "p": {payload}}}'


def plain(count: int = 20) -> list[str]:
    return [line(f"d{number}") for number in range(count)]


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.fixture(params=["parquet", "folder", pytest.param("server", marks=pytest.mark.server)])
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "parquet":
        return {"type": "parquet", "path": str(tmp_path / "out")}
    if request.param == "folder":
        return {"type": "qdrant", "path": str(tmp_path / "q"), "collection": "c"}
    server: QdrantTestServer = request.getfixturevalue("qdrant_server")
    return {"type": "qdrant", "url": server.url, "collection": "c", "retry_seconds": 2}


@pytest.mark.parametrize(
    ("engine", "error", "told"),
    [
        ("edge", "Refused", "Wrong payload: it is nested deeper than 100"),
        ("local", "RecursionError", "the row is nested too deeply"),
    ],
)
def test_a_payload_nested_490_deep_is_one_dead_letter_of_a_qdrant_folder(
    run: Run, tmp_path: Path, engine: str, error: str, told: str
) -> None:
    folder = {"type": "qdrant", "path": str(tmp_path / "q"), "collection": "c", "engine": engine}
    for skipped in (0, 20):
        report, dead = run([*plain(), line("deep", nested(490))], folder)
        assert dead == {"deep": error}
        assert (report.exit_code, report.rows["skipped"], report.rows["dead"]) == (3, skipped, 1)
        assert report.rows["written"] == 20 - skipped
    assert f"sink: {error}: {told}" in report.dead_samples[0]
    client = open_folder(str(tmp_path / "q"))
    assert client.count("c").count == 20
    client.close()


@pytest.mark.ray
def test_a_nested_payload_is_one_dead_letter_where_ray_holds_the_folder(
    run: Run, tmp_path: Path, ray_local: None
) -> None:
    folder = {"type": "qdrant", "path": str(tmp_path / "q"), "collection": "c", "engine": "local"}
    job = {"compute": {"engine": "ray", "block_rows": 16}}
    report, dead = run([*plain(), line("deep", nested(490))], folder, **job)
    assert dead == {"deep": "RecursionError"}
    assert (report.rows["written"], report.exit_code) == (20, 3)


def test_rows_nested_at_any_depth_and_other_odd_payloads_cost_themselves_alone(run: Run, sink: dict[str, Any]) -> None:
    depths = [*range(60, 140, 20), *range(200, 1000, 100), 980, 1000, 1500, 2000]
    odd = ["9" * 4000, "9" * 5000, "1e400", "NaN", "Infinity", r'"\ud800"', "-" + "9" * 30, r'"\u0000"', "1.5e308"]
    odd += [f'"{"x" * 3_000_000}"', r'{"\ud800": 1}', '{"": 1}', f"[{'1,' * 50_000}1]"]
    rows = [*(line(f"n{depth}", nested(depth)) for depth in depths), *(line(f"o{n}", p) for n, p in enumerate(odd))]
    first, dead = run([*plain(), *rows], sink)
    assert first.status == "complete"
    assert first.rows["written"] + first.rows["dead"] == 20 + len(rows) and len(dead) == first.rows["dead"]
    assert not [name for name in dead if name.startswith("d")]
    again, dead_again = run([*plain(), *rows], sink)
    assert (again.rows["skipped"], again.rows["written"], dead_again) == (first.rows["written"], 0, dead)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(JSON, min_size=1, max_size=8))
def test_any_payload_is_written_or_a_dead_letter(run: Run, payloads: list[Any]) -> None:
    lines = [line(f"d{number}", json.dumps(payload)) for number, payload in enumerate(payloads)]
    with tempfile.TemporaryDirectory() as folder:
        report, dead = run(lines, {"type": "qdrant", "path": folder, "collection": "c"})
    assert report.status == "complete"
    assert report.rows["written"] + len(dead) == len(payloads)


def fail_at(name: str) -> Callable[[Any], None]:
    """A synthetic fault: raises where it is given the text, or texts, of the document."""

    def check(texts: Any) -> None:
        if any(f"text of {name}" in str(text) for text in ([texts] if isinstance(texts, str) else texts)):
            raise OverflowError(f"synthetic fault at {name}")

    return check


def patch(monkeypatch: pytest.MonkeyPatch, owner: Any, method: str, texts: Callable[..., Any]) -> None:
    real, check = getattr(owner, method), fail_at("d7")

    def faulty(*arguments: Any, **options: Any) -> Any:
        check(texts(*arguments))
        return real(*arguments, **options)

    monkeypatch.setattr(owner, method, faulty)


@pytest.mark.parametrize(
    ("owner", "method", "texts", "stage"),
    [
        (documents, "identify", lambda table, *_: [t for t, e in zip(*live(table), strict=True) if not e], "identify"),
        (chunking, "chunk_spans", lambda texts, *_: texts, "chunk"),
        (Bm25, "embed_arrow", lambda _, texts: texts.to_pylist(), "bm25"),
        (ParquetWriter, "write", lambda _, table: table["text"].to_pylist(), "sink"),
    ],
    ids=["identifying", "chunking", "encoding", "writing"],
)
def test_a_synthetic_fault_at_one_row_costs_that_row_alone(
    run: Run,
    tmp_path: Path,
    minilm: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    method: str,
    texts: Any,
    stage: str,
) -> None:
    patch(monkeypatch, owner, method, texts)
    cuts = {"tokenizer": str(minilm), "max_tokens": 64, "overlap": 0}
    report, dead = run(plain(), {"type": "parquet", "path": str(tmp_path / "out")}, chunking=cuts)
    assert dead == {"d7": "OverflowError"}
    assert (report.rows["written"], report.rows["dead"]) == (19, 1)
    assert f"{stage}: OverflowError: synthetic fault at d7" in report.dead_samples[0]
    assert pads.dataset(tmp_path / "out", format="parquet").count_rows() == 19
    monkeypatch.undo()
    mended, dead = run(plain(), {"type": "parquet", "path": str(tmp_path / "out")}, chunking=cuts)
    assert (mended.rows["skipped"], mended.rows["written"], dead) == (19, 1, {})


def live(table: Any) -> tuple[list[str], list[Any]]:
    return table["text"].to_pylist(), table["error"].to_pylist()


def test_a_sink_that_fails_at_asking_for_a_row_embeds_and_writes_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = {"type": "parquet", "path": str(tmp_path / "out")}
    run(plain(), out)
    real = ParquetWriter.held
    seventh = point_id("default", "d7", 0, chunked=False)

    def faulty(writer: ParquetWriter, rows: pa.Table) -> Any:
        if seventh in rows["id"].to_pylist():
            raise OverflowError("synthetic fault at d7")
        return real(writer, rows)

    monkeypatch.setattr(ParquetWriter, "held", faulty)
    report, dead = run(plain(), out)
    assert not dead
    assert (report.rows["skipped"], report.rows["embedded"], report.rows["written"]) == (19, 1, 1)


def test_a_multivector_that_cannot_be_folded_costs_its_row_alone(
    run: Run, tmp_path: Path, minilm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, size = Muvera.encode_documents, 20

    def faulty(self: Muvera, tokens: Any, offsets: Any = None) -> Any:
        if any(len(row) > 12 for row in tokens.to_pylist()):
            raise OverflowError("synthetic fault")
        encoded = real(self, tokens, offsets)
        return np.where(np.array([len(row) == 9 for row in tokens.to_pylist()])[:, None], np.inf, encoded)

    monkeypatch.setattr(Muvera, "encode_documents", faulty)
    tokens = {"name": "late", "model": {"path": str(minilm), "family": "late_interaction"}, "muvera": {"k_sim": 2}}
    lines = [f'{{"id": "d{n}", "text": "a b c"}}' for n in range(size)]
    lines[3] = '{"id": "d3", "text": "a b c d e f g h i j k l m n"}'
    lines[5] = '{"id": "d5", "text": "a b c d e f g"}'
    report, dead = run(lines, {"type": "parquet", "path": str(tmp_path / "out")}, embeddings=[tokens])
    assert dead == {"d3": "OverflowError", "d5": "NotFinite"}
    assert report.rows["written"] == size - 2
