"""The Qdrant sink on a server and in a folder of each engine: the same behaviour on all."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from pipelines.errors import SinkError
from pipelines.sinks.factory import make_sink
from pipelines.sinks.provenance import provenance_of
from pipelines.sinks.qdrant.client import open_folder
from pipelines.sinks.qdrant.description import is_complete
from pipelines.sinks.qdrant.vectors import rescoring_vectors, stored_vectors
from tests.pipelines.sinks import qdrant_help as qdrant
from tests.pipelines.sinks import rows


@dataclass
class Place:
    """Where a sink writes: its options, and a way to look at the result."""

    options: dict[str, Any]

    @contextmanager
    def client(self) -> Iterator[QdrantClient]:
        path = self.options.get("path")
        client = QdrantClient(**self.options) if path is None else open_folder(path, self.options["engine"])
        yield client
        client.close()

    def points(self, *, vectors: bool = False) -> dict[Any, Any]:
        with self.client() as client:
            return qdrant.points(client, vectors=vectors)


@pytest.fixture(params=[pytest.param("server", marks=pytest.mark.server), "edge", "local"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param != "server":
        return Place({"path": str(tmp_path / "store"), "engine": request.param})
    return Place({"url": request.getfixturevalue("qdrant_url")})


def test_all_vector_kinds_arrive_with_their_payload(place: Place) -> None:
    facts = rows.job(rows.ALL_KINDS)
    figures = qdrant.run(facts, rows.table(facts, rows.documents(5)), **place.options)
    assert figures["points"] == 5
    assert figures["collection"] == qdrant.NAME
    point = place.points(vectors=True)["d3", 0]
    text = "text number 3"
    assert point.vector["dense"] == pytest.approx(rows.dense_of(text), abs=1e-6)
    assert point.vector["half"] == pytest.approx(rows.dense_of(text), abs=1e-3)
    assert point.vector["tokens"] == [pytest.approx(rows.dense_of(word), abs=1e-6) for word in text.split()]
    assert point.vector["terms"] == models.SparseVector(indices=[0, 1, 2], values=[1.0, 1.0, 1.0])
    own = point.payload.pop("_fleetembed")
    assert point.payload == {"n": 3, "tag": "t0", "document_id": "d3", "text": text}
    assert own["fingerprint"] == "f1"
    assert own["corpus"] == "library"


def test_the_collection_has_the_job_s_vectors(place: Place) -> None:
    qdrant.run(rows.job(rows.ALL_KINDS), **place.options)
    with place.client() as client:
        info = client.get_collection(qdrant.NAME)
    # A sparse vector has no distance of its own: scores are dot products, whatever a job's specification says.
    expected = {**rows.ALL_KINDS, "terms": replace(rows.SPARSE, distance="dot")}
    assert stored_vectors(info) == expected
    assert rescoring_vectors(info) == {"tokens"}
    config = info.config
    assert isinstance(config.params.vectors, dict)
    assert config.params.vectors["dense"].distance == models.Distance.COSINE
    assert config.params.vectors["half"].distance == models.Distance.DOT
    assert config.params.vectors["half"].datatype == models.Datatype.FLOAT16
    assert config.params.vectors["tokens"].multivector_config is not None
    assert config.params.sparse_vectors is not None
    assert config.params.sparse_vectors["terms"].modifier == models.Modifier.IDF
    assert config.metadata is not None
    assert config.metadata["fleetembed"]["models"]["dense"] == "org/dense-model"


def test_unsigned_integers_and_uuids_name_their_points_themselves(place: Place) -> None:
    facts = rows.job()
    name = "0d5a8ec8-7bb1-4f0a-9f0e-0c6b7a7a0001"
    table = rows.table(facts, [("18446744073709551615", "big", None), (name, "uuid", None)])
    qdrant.run(facts, table, **place.options)
    assert {point.id for point in place.points().values()} == {2**64 - 1, name}


@pytest.mark.parametrize("completed", [True, False])
def test_a_run_that_wrote_nothing_leaves_the_collection_as_complete_as_it_was(place: Place, completed: bool) -> None:
    facts = rows.job()
    qdrant.run(facts, rows.table(facts, rows.documents(2)), completed=completed, **place.options)
    qdrant.opened(facts, **place.options).finish(completed=False, untouched=True)
    with place.client() as client:
        assert is_complete(client.get_collection(qdrant.NAME)) is completed


def test_held_knows_id_and_content(place: Place) -> None:
    facts = rows.job()
    table = rows.table(facts, [*rows.documents(3), ("7", "seven", None)])
    qdrant.run(facts, table, **place.options)
    sink = qdrant.opened(facts, **place.options)
    try:
        assert qdrant.held(sink, table) == [True] * 4
        changed = rows.table(facts, [("d0", "other text", None), ("7", "seven", None), ("d9", "new", None)])
        assert qdrant.held(sink, changed) == [False, True, False]
    finally:
        sink.finish(completed=False)


def test_a_second_write_changes_nothing_and_a_changed_row_replaces_its_point(place: Place) -> None:
    facts = rows.job()
    table = rows.table(facts, rows.documents(20))
    qdrant.run(facts, table, table, **place.options)
    changed = rows.table(facts, [("d4", "new words", None)])
    assert qdrant.run(facts, table, changed, **place.options)["points"] == 20
    point = place.points(vectors=True)["d4", 0]
    assert point.payload["text"] == "new words"
    assert "n" not in point.payload
    assert point.vector["dense"] == pytest.approx(rows.dense_of("new words"), abs=1e-6)


def test_a_document_with_fewer_chunks_loses_the_rest_in_its_own_corpus_only(place: Place) -> None:
    facts, archive = rows.job(chunked=True), rows.job(chunked=True, corpus="archive")
    qdrant.run(facts, rows.table(facts, rows.documents(3), chunks=4), **place.options)
    qdrant.run(archive, rows.table(archive, [("d2", "archived", None)], chunks=4), **place.options)
    short = [rows.table(facts, [("d0", "brief", None)], chunks=1), rows.table(facts, [("d2", "brief", None)], chunks=2)]
    figures = qdrant.run(facts, *short, **place.options)
    assert figures["points"] == 1 + 4 + 2 + 4
    with place.client() as client:
        found, _ = client.scroll(qdrant.NAME, limit=100)
    by_document = [(p.payload["_fleetembed"]["corpus"], p.payload["document_id"]) for p in found if p.payload]
    assert by_document.count(("library", "d0")) == 1
    assert by_document.count(("library", "d2")) == 2
    assert by_document.count(("archive", "d2")) == 4


def test_chunks_carry_their_place_in_the_document(place: Place) -> None:
    facts = rows.job(chunked=True)
    qdrant.run(facts, rows.table(facts, rows.documents(1), chunks=2), **place.options)
    payload = place.points()["d0", 1].payload
    assert (payload["chunk_no"], payload["chunk_start"], payload["chunk_end"]) == (1, 100, 190)


def test_payload_keys_that_collide_with_ours_are_kept_inside_payload(place: Place) -> None:
    facts = rows.job()
    own = '{"text": "theirs", "payload": 5, "_fleetembed": 1, "free": 2}'
    qdrant.run(facts, rows.table(facts, [("d", "ours", own)]), **place.options, store_text=True)
    payload = place.points()["d", 0].payload
    assert payload["text"] == "ours"
    assert payload["free"] == 2
    assert payload["payload"] == {"text": "theirs", "payload": 5, "_fleetembed": 1}


def test_the_text_can_be_left_out(place: Place) -> None:
    facts = rows.job()
    qdrant.run(facts, rows.table(facts, rows.documents(1)), **place.options, store_text=False)
    assert "text" not in place.points()["d0", 0].payload


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ({"dense": rows.HALF}, "'dense' has distance cosine, this job's has dot"),
        ({"dense": rows.MULTI}, "'dense' has kind dense, this job's has multivector"),
        ({"other": rows.DENSE}, "lacks the vector 'other'.*has the vector 'dense', which this job does not make"),
        ({"dense": rows.DENSE, "terms": rows.SPARSE}, "lacks the vector 'terms'"),
    ],
)
def test_a_collection_with_other_vectors_is_refused(place: Place, vectors: dict[str, Any], message: str) -> None:
    qdrant.run(rows.job(), **place.options)
    sink = make_sink(qdrant.config(**place.options))
    for attempt in (sink.check, sink.open):
        with pytest.raises(SinkError, match=f"{message}.*another collection"):
            attempt(rows.job(vectors))


def test_a_collection_of_another_fingerprint_is_refused_by_name_of_the_model(place: Place) -> None:
    facts = rows.job()
    qdrant.run(facts, rows.table(facts, rows.documents(2)), **place.options)
    other = rows.job(fingerprint="f2", models={"dense": "org/newer"}, fingerprints={"dense": "x"})
    with pytest.raises(
        SinkError,
        match=r"the model org/dense-model, this job uses org/newer\..*another collection.*may be deleted if nobody",
    ):
        qdrant.opened(other, **place.options)
    assert make_sink(qdrant.config(**place.options)).check(facts) == {"exists": True, "points": 2}


def test_points_of_another_tool_are_refused(place: Place) -> None:
    params = models.VectorParams(size=rows.DIM, distance=models.Distance.COSINE)
    with place.client() as client:
        client.create_collection(qdrant.NAME, vectors_config={"dense": params})
        client.upsert(
            qdrant.NAME, [models.PointStruct(id=77, vector={"dense": [1.0, 0.0, 0.0, 0.0]}, payload={"a": 1})]
        )
    # What is not ours is not to be deleted.
    with pytest.raises(
        SinkError, match=r"point 77 was not made by this tool\. Choose another .* \(sink\.collection\)$"
    ):
        qdrant.opened(rows.job(), **place.options)
    with pytest.raises(SinkError, match=r"does not fit: .*\. Choose another .* \(sink\.collection\)$"):
        qdrant.opened(rows.job({"dense": rows.MULTI}), **place.options)


def test_an_unnamed_vector_is_a_difference(place: Place) -> None:
    with place.client() as client:
        params = models.VectorParams(size=rows.DIM, distance=models.Distance.COSINE)
        client.create_collection(qdrant.NAME, vectors_config=params)
    with pytest.raises(SinkError, match="has an unnamed vector"):
        qdrant.opened(rows.job(), **place.options)


def test_check_and_provenance_change_nothing(place: Place) -> None:
    facts = rows.job()
    sink = make_sink(qdrant.config(**place.options))
    assert sink.check(facts) == {"exists": False, "points": 0}
    assert sink.provenance() is None
    if "path" in place.options:
        assert not Path(place.options["path"]).exists()
    else:
        with place.client() as client:
            assert not client.collection_exists(qdrant.NAME)
    qdrant.run(facts, **place.options)
    assert sink.provenance() is None
    qdrant.run(facts, rows.table(facts, rows.documents(2)), **place.options)
    with place.client() as client:
        before = client.get_collection(qdrant.NAME)
    assert sink.check(facts) == {"exists": True, "points": 2}
    assert sink.provenance() == provenance_of(facts)
    with place.client() as client:
        assert client.get_collection(qdrant.NAME) == before


def test_a_row_that_cannot_be_stored_costs_no_other(place: Place) -> None:
    facts = rows.job({"tokens": rows.MULTI})
    table = rows.table(facts, [(f"d{n}", "" if n in (0, 13) else "some words", None) for n in range(30)])
    sink = qdrant.opened(facts, **place.options)
    result = qdrant.write(sink, table)
    assert sorted(result.rejected) == [0, 13]
    assert result.written == 28
    assert result.rejected[13].stage == "sink"
    assert result.rejected[13].message
    assert sink.finish(completed=True)["points"] == 28
    assert sorted(place.points()) == sorted((f"d{n}", 0) for n in range(30) if n not in (0, 13))


@pytest.mark.server
def test_a_pickled_sink_connects(qdrant_url: str) -> None:
    facts = rows.job()
    sink = qdrant.opened(facts, url=qdrant_url)
    qdrant.write(pickle.loads(pickle.dumps(sink)), rows.table(facts, rows.documents(3)))
    assert sink.finish(completed=True)["points"] == 3
