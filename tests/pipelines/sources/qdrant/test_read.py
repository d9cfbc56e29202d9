"""Collections of all kinds, read from the test server or a folder."""

from __future__ import annotations

import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from pipelines.config.source import SourceConfig
from pipelines.errors import SourceError
from pipelines.sinks.qdrant.client import open_folder
from pipelines.sources import plan_source
from pipelines.sources.formats import format_named
from pipelines.sources.qdrant.plan import source_collection
from tests.pipelines.sources.qdrant.jobs import read
from tests.qdrant_server.faults import Fault
from tests.qdrant_server.fixtures import SECRET_KEY
from tests.qdrant_server.process import QdrantTestServer

IDS: list[int | str] = [*range(0, 90, 3), 2**64 - 1, *(str(uuid.uuid5(uuid.NAMESPACE_URL, str(n))) for n in range(60))]


def fill(client: QdrantClient, name: str = "books", ids: list[Any] = IDS) -> None:
    """Points of others: an unnamed vector, ids of both kinds, the text under a key of theirs."""
    client.create_collection(name, vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    points = [
        models.PointStruct(id=one, vector=[1.0, 0.5], payload={"page_content": f"text of {one}", "kind": at % 2})
        for at, one in enumerate(ids)
    ]
    client.upsert(name, points)


def test_any_collection_is_read_once_in_pages_and_ranges(
    qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    fill(qdrant_client)
    qdrant_client.update_collection_aliases(
        [models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name="books", alias_name="live"))]
    )
    place = {"url": qdrant_server.url, "text": "page_content", "page_points": 5, "collection": "live"}
    config = SourceConfig(qdrant=place)
    plan = plan_source(config)
    assert len(plan.splits) == 8 and plan.collection is not None and source_collection(config) == "books"
    assert (plan.collection.name, plan.collection.points, plan.collection.chunked) == ("books", len(IDS), False)
    assert sum(split.rows or 0 for split in plan.splits) == len(IDS) and "live" in plan.notices[0]

    rows = read(place, block_rows=2)
    assert [row["id"] for row in rows] == sorted(map(str, IDS), key=lambda one: (len(one) > 20, one.zfill(20)))
    assert {row["text"] for row in rows} == {f"text of {one}" for one in IDS}
    assert not any(row["error"] for row in rows)
    assert rows[1]["origin"] == f"collection live at {qdrant_server.url}: point 3"
    assert [row["id"] for row in read(place, limit=7)] == [str(3 * n) for n in range(7)]
    assert len(read({**place, "filter": "kind=1"})) == len(IDS) // 2
    assert len(read({**place, "filter": {"must": [{"key": "kind", "match": {"value": 0}}]}})) == -(-len(IDS) // 2)

    # Of large points, a page has as many as fit.
    qdrant_server.clear()
    assert len(read({**place, "page_points": 512, "page_mb": 0.0005})) == len(IDS)
    assert not qdrant_server.scripted or len(qdrant_server.requests("POST", "/points/scroll")) > len(IDS) / 9


def test_points_that_come_and_go_after_the_plan_disturb_nothing(
    qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    fill(qdrant_client)
    config = SourceConfig(
        qdrant={"url": qdrant_server.url, "text": "page_content", "page_points": 5, "collection": "books"}
    )
    splits = plan_source(config).splits
    qdrant_client.delete("books", [0, 3, *IDS[40:]])
    late = [1, 2**64 - 2, str(uuid.UUID(int=0)), str(uuid.UUID(int=2**128 - 1))]
    qdrant_client.upsert(
        "books", [models.PointStruct(id=one, vector=[0, 1], payload={"page_content": "x"}) for one in late]
    )
    kind = format_named("qdrant")
    rows = [
        name
        for split in splits
        for table in kind.identified(split, config, block_rows=9)
        for name in table["id"].to_pylist()
    ]
    assert sorted(rows) == sorted(map(str, [*IDS[2:40], *late]))


def test_a_folder_is_read(tmp_path: Path) -> None:
    with closing(open_folder(str(tmp_path / "q"))) as client:
        fill(client)
    place = {"path": str(tmp_path / "q"), "text": "page_content", "page_points": 7}
    assert {row["id"] for row in read(place)} == set(map(str, IDS))
    with pytest.raises(SourceError, match="there is no Qdrant folder"):
        read({**place, "path": str(tmp_path / "other")})
    assert not (tmp_path / "other").exists()


def test_what_cannot_be_read_is_said(qdrant_server: QdrantTestServer, qdrant_client: QdrantClient) -> None:
    place = {"url": qdrant_server.url, "page_points": 5}
    with pytest.raises(SourceError, match="no such collection; there is none at all"):
        read(place)
    fill(qdrant_client)
    with pytest.raises(SourceError, match=r"no such collection; there are: books$"):
        read({**place, "collection": "boks"})
    with pytest.raises(
        SourceError, match="cannot be re-embedded: it holds no texts under 'text'; it has the keys kind"
    ):
        read(place)
    unreachable = r"collection books at http://127\.0\.0\.1:9: asking for .* failed .*whether source\.qdrant\.url is"
    with pytest.raises(SourceError, match=unreachable):
        read({**place, "url": "http://127.0.0.1:9", "retry_seconds": 0.1})
    place["text"] = "page_content"
    if qdrant_server.scripted:
        qdrant_server.inject(Fault("503", method="POST", path_suffix="/points/scroll", skip=1, times=2))
        assert len(read(place)) == len(IDS)
        qdrant_server.inject(Fault("503", method="POST", path_suffix="/points/scroll", skip=1, times=None))
        with pytest.raises(SourceError, match=r"reading points from .* failed \(tried for up to 0\.2 s\): 503"):
            read({**place, "retry_seconds": 0.2})
        qdrant_server.clear()

    config = SourceConfig(qdrant={**place, "collection": "books"})
    first = plan_source(config).splits[0]
    pages = format_named("qdrant").identified(first, config, block_rows=5)
    next(pages)
    qdrant_client.delete_collection("books")
    with pytest.raises(SourceError, match="no such collection, or it was deleted meanwhile"):
        list(pages)
    qdrant_client.create_collection("books", vectors_config={})
    plan = plan_source(config)
    assert len(plan.splits) == 1 and plan.notices == (f"collection books at {qdrant_server.url} has no points",)


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_the_key_travels_with_the_plan_and_is_shown_nowhere(
    guarded_qdrant_server: QdrantTestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded_qdrant_server.reset()
    with closing(QdrantClient(url=guarded_qdrant_server.url, api_key=SECRET_KEY, check_compatibility=False)) as client:
        fill(client, ids=IDS[:20])
    config = SourceConfig(
        qdrant={
            "url": guarded_qdrant_server.url,
            "collection": "books",
            "text": "page_content",
            "api_key": "${OURS}",
            "retry_seconds": 1,
        }
    )
    monkeypatch.setenv("OURS", SECRET_KEY)
    plan = plan_source(config)
    monkeypatch.delenv("OURS")
    kind = format_named("qdrant")
    assert sum(t.num_rows for split in plan.splits for t in kind.identified(split, config, block_rows=9)) == 20
    assert SECRET_KEY not in repr(plan)
    monkeypatch.setenv("OURS", "wrong")
    with pytest.raises(SourceError, match="the API key is missing or wrong") as error:
        plan_source(config)
    assert "wrong" not in str(error.value).replace("missing or wrong", "")
