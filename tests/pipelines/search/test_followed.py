"""A searcher of an alias, which moves between two questions, and within one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from rich.console import Console

from pipelines import EmbeddingPipeline, Searcher
from pipelines.errors import SinkError
from tests.qdrant_server.process import QdrantTestServer

TEXTS = {"d1": "she was running home", "d2": "ein Haus im Garten"}
pytestmark = pytest.mark.server


@pytest.fixture
def jobs(tmp_path: Path, qdrant_server: QdrantTestServer) -> dict[str, dict[str, Any]]:
    """Two filled collections, english and german, of BM25 that stems words otherwise."""
    corpus = tmp_path / "corpus.csv"
    corpus.write_text("id,text\n" + "".join(f"{name},{text}\n" for name, text in TEXTS.items()))
    found = {}
    for language in ("english", "german"):
        job = {
            "source": {"path": str(corpus), "id": "id"},
            "embeddings": [{"name": "bm25", "model": "Qdrant/bm25", "options": {"language": language}}],
            "sink": {"type": "qdrant", "url": qdrant_server.url, "collection": language},
            "compute": {"engine": "local"},
            "report": str(tmp_path / "report.json"),
        }
        EmbeddingPipeline.from_config(job).run(console=Console(quiet=True))
        found[language] = {**job, "sink": {"type": "qdrant", "url": qdrant_server.url, "alias": "docs"}}
    return found


@pytest.fixture
def name(jobs: dict[str, dict[str, Any]], qdrant_client: QdrantClient) -> Callable[[str], None]:
    """Let the alias name a collection."""

    def point_at(collection: str) -> None:
        create = models.CreateAlias(collection_name=collection, alias_name="docs")
        qdrant_client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])

    point_at("english")
    return point_at


def found(searcher: Searcher) -> set[str]:
    return {hit.document_id for query in ("runs", "Häuser") for hit in searcher.search(query)}


def test_each_question_has_the_models_of_what_the_alias_names(
    jobs: dict[str, dict[str, Any]],
    name: Callable[[str], None],
    qdrant_server: QdrantTestServer,
    qdrant_client: QdrantClient,
) -> None:
    with (
        Searcher.from_config(jobs["german"]) as of_job,
        Searcher.open("docs", url=qdrant_server.url) as opened,
        Searcher.open("english", url=qdrant_server.url) as plain,
    ):
        for _ in range(2):
            name("english")
            assert found(of_job) == found(opened) == found(plain) == {"d1"}
            name("german")
            assert found(of_job) == found(opened) == {"d2"} and found(plain) == {"d1"}
        assert of_job.description.embeddings["bm25"].options == {"language": "german"}
        name("english")
        # The parts of a search stay with one collection until they are told to look.
        assert of_job.description.embeddings["bm25"].options == {"language": "german"}
        of_job.follow()
        assert of_job.description.embeddings["bm25"].options == {"language": "english"}
        qdrant_server.clear()
        opened.search("runs")
        opened.search("runs")
        if qdrant_server.scripted:
            paths = [request.path for request in qdrant_server.requests()]
            assert paths.count("/aliases") == 2 and paths[-2:] == ["/aliases", "/collections/english/points/query"]
            qdrant_server.clear()
        plain.search("runs")
        if qdrant_server.scripted:
            assert [request.path for request in qdrant_server.requests()] == ["/collections/english/points/query"]
        qdrant_client.update_collection_aliases(
            [models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="docs"))]
        )
        with pytest.raises(SinkError, match=r"alias docs at .* does not exist"):
            of_job.search("runs")
        name("german")
        assert found(of_job) == {"d2"}


def test_a_question_whose_collection_is_dropped_meanwhile_is_asked_anew(
    jobs: dict[str, dict[str, Any]],
    name: Callable[[str], None],
    qdrant_client: QdrantClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Searcher.from_config(jobs["english"]) as searcher:
        ask = searcher.client.query_points

        def ask_late(collection: str, **arguments: Any) -> Any:
            if collection == "english":
                name("german")
                qdrant_client.delete_collection("english")
            return ask(collection, **arguments)

        monkeypatch.setattr(searcher.client, "query_points", ask_late)
        assert [hit.document_id for hit in searcher.search("Häuser")] == ["d2"]


def test_threads_that_search_while_the_alias_moves_never_mix_models(
    jobs: dict[str, dict[str, Any]], name: Callable[[str], None]
) -> None:
    wrong: list[object] = []
    with Searcher.from_config(jobs["english"]) as searcher:

        def search() -> None:
            try:
                for _ in range(15):
                    # One of the two stems finds it, whichever collection answers; a mix finds nothing.
                    hits = searcher.search("running runs Häuser Haus")
                    if not hits:
                        wrong.append("nothing found")
                    texts = {hit.document_id for hit in searcher.search("runs")}
                    if texts - {"d1"}:
                        wrong.append(texts)
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for turn in range(10):
            name("german" if turn % 2 else "english")
        for thread in threads:
            thread.join()
    assert wrong == []
