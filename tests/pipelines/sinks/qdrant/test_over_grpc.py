"""Jobs that reach a server over gRPC: what they write, read, copy and find is what they do over REST."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from pipelines.config.source import SourceConfig
from pipelines.errors import SinkError, SourceError
from pipelines.search.searcher import Searcher
from pipelines.sinks.qdrant.client import api_key
from pipelines.sources import plan_source
from tests.pipelines.sinks import qdrant_help as qdrant
from tests.pipelines.sinks import rows
from tests.pipelines.sources.qdrant.jobs import read
from tests.pipelines.sources.qdrant.test_read import IDS, fill
from tests.pipelines.sources.vectors.test_jobs import BM25, points, run, timeless
from tests.qdrant_server import Fault, QdrantTestServer
from tests.qdrant_server.fixtures import SECRET_KEY

pytestmark = pytest.mark.server
TEXTS = ["the heron waits by the river", "a fox in the snow", "two herons and a fox", "of the"]


def ways(server: QdrantTestServer) -> dict[str, dict[str, Any]]:
    """The two ways to a server, as keys of a sink and of a source."""
    return {
        "rest": {"url": server.url},
        "grpc": {"url": server.url, "prefer_grpc": True, "grpc_port": server.grpc_port},
    }


def protocols_of(server: QdrantTestServer, path_suffix: str = "") -> set[str]:
    return {one.protocol for one in server.requests(path_suffix=path_suffix)}


def test_a_sink_writes_all_kinds_of_vectors_and_gives_them_back(
    qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    facts = rows.job(rows.ALL_KINDS)
    table = rows.table(facts, [*rows.documents(30), ("nested", "deep text", '{"a": [1, null, {"b": 1.5}]}')])
    found, infos = [], []
    for way in ways(qdrant_server).values():
        qdrant_server.clear()
        options: dict[str, Any] = {**way, "quantization": "scalar", "shards": 2, "batch_points": 8}
        figures = qdrant.run(facts, table, **options)
        assert figures["points"] == 31
        sink = qdrant.opened(facts, **options)
        assert qdrant.held(sink, table) == [True] * 31
        writer = sink.connect()
        found.append((points(qdrant_client, qdrant.NAME), writer.vectors(table).to_pylist()))
        writer.close()
        sink.delete(next(iter(sink.points())).slice(0, 5))
        assert sink.finish(completed=True)["points"] == 26
        infos.append(qdrant_client.get_collection(qdrant.NAME))
        protocols = {"grpc" if "prefer_grpc" in way else "http"}
        assert not qdrant_server.scripted or protocols_of(qdrant_server, "/points") == protocols
        qdrant_client.delete_collection(qdrant.NAME)
    assert found[0] == found[1]
    assert timeless(infos[0].config.metadata) == timeless(infos[1].config.metadata)
    assert infos[0].config.params == infos[1].config.params and infos[0].payload_schema == infos[1].payload_schema


def test_a_collection_of_any_ids_is_read_in_ranges_and_pages(
    qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    fill(qdrant_client)
    rest, over_grpc = ({**way, "text": "page_content", "page_points": 5} for way in ways(qdrant_server).values())
    for more in ({}, {"filter": "kind=1"}, {"page_points": 512, "page_mb": 0.0005}, {"readers": 1}):
        assert read({**over_grpc, **more}, block_rows=2) == read({**rest, **more}, block_rows=2)
    assert len(read(over_grpc, limit=7)) == 7 and len(read(over_grpc)) == len(IDS)
    plans = [plan_source(SourceConfig(qdrant={**way, "collection": "books"})) for way in (rest, over_grpc)]
    assert plans[0].collection == plans[1].collection

    if not qdrant_server.scripted:
        return
    # What passes is asked for again: a server that is away, that has enough for now, that takes too long.
    passing = [Fault("503"), Fault("drop"), Fault("429_wait", retry_after=1), Fault("stall", seconds=2)]
    for fault in passing:
        qdrant_server.clear()
        qdrant_server.inject(Fault(**{**vars(fault), "method": "POST", "path_suffix": "/points/scroll"}))
        assert len(read({**over_grpc, "page_points": 512, "timeout": 1, "readers": 1})) == len(IDS)
        assert [one.fault for one in qdrant_server.requests("POST", "/points/scroll")] == [fault.kind, None]
    qdrant_server.inject(Fault("503", method="POST", path_suffix="/points/scroll", times=None))
    with pytest.raises(
        SourceError, match=r"reading points from .* failed \(tried for up to 0\.2 s\): UNAVAILABLE Shard"
    ):
        read({**over_grpc, "retry_seconds": 0.2})
    with pytest.raises(SourceError, match=r"no such collection; there are: books$"):
        read({**over_grpc, "collection": "boks"})


def test_a_job_is_copied_and_searched(
    tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    only_grpc = ways(qdrant_server)["grpc"]
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(f'{{"id": "d{n}", "text": "{text}", "n": {n}}}\n' for n, text in enumerate(TEXTS)))
    old, new = ({"type": "qdrant", **only_grpc, "collection": name} for name in ("old", "new"))
    first = run(tmp_path, {"path": str(path), "id": "id"}, old, embeddings=[BM25])
    copied = run(tmp_path, {"qdrant": {**only_grpc, "collection": "old", "vectors": True, "page_mb": 0.001}}, new)
    assert (copied.rows["written"], copied.rows["embedded"], copied.rows["dead"]) == (len(TEXTS), 0, 0)
    assert first.rows["written"] == len(TEXTS)
    with Searcher.open("new", **only_grpc) as searcher:
        hits = searcher.search("herons", limit=3)
        assert [hit.payload["text"] for hit in hits] == [TEXTS[0], TEXTS[2]]
        assert [hit.payload["n"] for hit in searcher.search("fox", filter="n>1")] == [2]
        with pytest.raises(SinkError, match=r"searching new at .* failed: "):
            searcher.search("fox", filter={"must": [{"key": "", "match": {"value": 1}}]})
    assert not qdrant_server.scripted or protocols_of(qdrant_server) == {"grpc"}
    assert points(qdrant_client, "new") == points(qdrant_client, "old")
    with Searcher.open("new", url=qdrant_server.url) as searcher:
        again = [(hit.id, pytest.approx(hit.score)) for hit in searcher.search("herons", limit=3)]
    assert [(hit.id, hit.score) for hit in hits] == again


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_a_key_travels_over_grpc_and_a_wrong_one_is_told_of(
    guarded_qdrant_server: QdrantTestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded_qdrant_server.reset()
    way = ways(guarded_qdrant_server)["grpc"]
    facts = rows.job()
    monkeypatch.setenv("QDRANT_API_KEY", "guess")
    with pytest.raises(SinkError, match=r"UNAUTHENTICATED Invalid API key.*the API key is missing or wrong") as refused:
        qdrant.opened(facts, **way)
    assert "guess" not in str(refused.value)
    with pytest.raises(SourceError, match="UNAUTHENTICATED Invalid API key"):
        read(way)
    monkeypatch.setenv("QDRANT_API_KEY", SECRET_KEY)
    assert api_key(qdrant.config(**way)) is not None
    # Its strict mode takes 20 points a request: more are sent in parts.
    assert qdrant.run(facts, rows.table(facts, rows.documents(50)), **way)["points"] == 50
    assert len(read(way)) == 50
