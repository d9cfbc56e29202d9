"""Which engine a folder is of: its files say it, and the configuration of a new one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from pipelines import EmbeddingPipeline, Searcher
from pipelines.errors import ConfigError, SinkError
from pipelines.sinks.qdrant import folder_engine
from pipelines.sinks.qdrant.client import open_folder
from pipelines.sinks.qdrant.folder_engine import engine_of
from tests.pipelines.sinks import qdrant_help as qdrant
from tests.pipelines.sinks import rows
from tests.pipelines.sources.qdrant.jobs import documents, run

FACTS = rows.job()
TABLE = rows.table(FACTS, rows.documents(3))


@pytest.mark.parametrize(("made", "named"), [("edge", "local"), ("local", "edge")])
def test_a_folder_stays_with_its_engine(tmp_path: Path, made: str, named: str) -> None:
    path = str(tmp_path / "Ordner mit Ümlaut")
    qdrant.run(FACTS, TABLE, path=path, engine=made)
    assert engine_of(path) == made
    with pytest.raises(
        SinkError, match=f"is a Qdrant folder of engine: {made}, and the configuration says engine: {named}"
    ):
        qdrant.opened(FACTS, path=path, engine=named)
    assert qdrant.run(FACTS, rows.table(FACTS, rows.documents(5)), path=path)["points"] == 5
    assert engine_of(path) == made


def test_a_new_folder_is_of_engine_edge_where_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qdrant.run(FACTS, TABLE, path=str(tmp_path / "new"))
    assert engine_of(tmp_path / "new") == "edge"
    monkeypatch.setattr(folder_engine, "edge_is_installed", lambda: False)
    qdrant.run(FACTS, TABLE, path=str(tmp_path / "without"))
    assert engine_of(tmp_path / "without") == "local"
    with pytest.raises(SinkError, match="new: engine: edge needs the package qdrant-edge-py"):
        qdrant.opened(FACTS, path=str(tmp_path / "new"))


def test_an_engine_beside_a_server_is_refused() -> None:
    with pytest.raises(ValueError, match="engine is of a folder"):
        qdrant.config(url="http://localhost:6333", engine="edge")
    with pytest.raises(ConfigError, match="engine"):
        EmbeddingPipeline.from_config(
            {"source": {"path": "x"}, "sink": {"type": "qdrant", "path": "y", "engine": "rust"}}
        )


def test_a_folder_that_qdrant_client_opened_meanwhile_stays_of_engine_edge(tmp_path: Path) -> None:
    qdrant.run(FACTS, TABLE, path=str(tmp_path))
    QdrantClient(path=str(tmp_path)).close()
    assert qdrant.run(FACTS, TABLE, path=str(tmp_path), engine="edge")["points"] == 3


def test_jobs_copy_an_old_folder_into_one_of_engine_edge_without_a_model_and_go_on_there(tmp_path: Path) -> None:
    texts = [{"id": f"d{n}", "text": f"text {n} of snakes" * (n % 3 + 1), "year": 2000 + n} for n in range(40)]
    source = documents(tmp_path, texts)
    old = {"path": str(tmp_path / "old"), "collection": "books", "engine": "local"}
    new = {"path": str(tmp_path / "new"), "collection": "books", "engine": "edge"}
    assert run(tmp_path, "filled", source, old).rows["embedded"] == 40
    copying: dict[str, Any] = {
        "source": {"qdrant": {"path": old["path"], "collection": "books", "vectors": True}},
        "sink": {"type": "qdrant", **new},
        "compute": {"engine": "local"},
        "report": str(tmp_path / "copied.json"),
    }
    copied = EmbeddingPipeline.from_config(copying).run()
    assert (copied.rows["written"], copied.rows["embedded"]) == (40, 0)
    held = []
    for place in (old, new):
        with closing(open_folder(place["path"])) as client:
            points, _ = client.scroll("books", limit=100, with_vectors=True)
            held.append({point.id: (point.payload, point.vector) for point in points})
    assert held[0] == held[1]
    answers = []
    for place in (old, new):
        with Searcher.open("books", path=place["path"]) as searcher:
            hits = searcher.search("text 7 of snakes", limit=40, filter="year>=2005")
            answers.append({hit.id: round(hit.score, 4) for hit in hits})
    assert answers[0] == answers[1]
    # The job that filled the old folder finds all of it in the new one, and keeps it in step.
    texts[3]["year"], texts[4]["text"] = 1999, "another text"
    del texts[30:]
    documents(tmp_path, texts)
    rows_ = run(tmp_path, "again", source, {**new, "deletions": "sweep", "max_delete": 1}).rows
    counted = {name: rows_[name] for name in ("skipped", "embedded", "payload_only", "deleted")}
    assert counted == {"skipped": 28, "embedded": 1, "payload_only": 1, "deleted": 10}
    # And back again: a collection in a folder of engine edge is a source too.
    assert (
        run(
            tmp_path,
            "back",
            {"qdrant": {"path": new["path"], "collection": "books"}},
            {"path": str(tmp_path / "back"), "collection": "books"},
            language="german",
        ).rows["embedded"]
        == 30
    )
