"""What a sink holds of a row, gives of it and takes for it: the same on a server, in folders, and in Parquet files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from qdrant_client import QdrantClient, models

from pipelines.sinks.base import Held, JobFacts, Sink, SinkSection, SinkWriter
from pipelines.sinks.factory import make_sink
from pipelines.sinks.parquet.config import ParquetSinkConfig
from pipelines.sinks.qdrant.client import open_folder
from pipelines.sinks.qdrant.writer import QdrantWriter
from tests.pipelines.sinks import qdrant_help as qdrant
from tests.pipelines.sinks import rows

LACKS, VECTORS, SAME = Held.LACKS, Held.VECTORS, Held.SAME
BEFORE = [("d0", "one text", '{"n": 0}'), ("d1", "two words here", '{"n": 1}'), ("d2", "three", None)]
# What the source has later: nothing changed, the payload did, the text did, and a document that is new.
LATER = [BEFORE[0], ("d1", "two words here", '{"n": 9}'), ("d2", "another", None), ("d3", "one text", '{"n": 0}')]


@dataclass
class Place:
    """A place to write to, and a way to read it without the sink."""

    section: SinkSection
    qdrant_options: dict[str, Any] | None = None

    @contextmanager
    def opened(self, facts: JobFacts) -> Iterator[SinkWriter]:
        """One complete run."""
        sink: Sink = make_sink(self.section)
        sink.open(facts)
        with closing(sink.connect()) as writer:
            yield writer
        sink.finish(completed=True)

    def payloads(self) -> dict[str, Any]:
        """Payload and text by document, without what no user put there."""
        if self.qdrant_options is None:
            read = ds.dataset(self.section.place).to_table().to_pylist()
            return {row["document_id"]: [json.loads(row["payload"] or "{}"), row["text"]] for row in read}
        with closing(client_of(self.qdrant_options)) as client:
            found = qdrant.points(client)
        return {
            name: [{key: point.payload[key] for key in ("n", "shop") if key in point.payload}, point.payload["text"]]
            for (name, _), point in found.items()
        }

    def forget_hashes(self, names: list[str]) -> None:
        """Make all points those of the version that knew only one hash of the content."""
        assert self.qdrant_options is not None
        with closing(client_of(self.qdrant_options)) as client:
            for point in qdrant.points(client).values():
                own = {name: value for name, value in point.payload["_fleetembed"].items() if name not in names}
                client.overwrite_payload(qdrant.NAME, {**point.payload, "_fleetembed": own}, points=[point.id])

    def delete(self, point: Any) -> None:
        """Take a point away behind the writer's back."""
        assert self.qdrant_options is not None
        with closing(client_of(self.qdrant_options)) as client:
            client.delete(qdrant.NAME, models.PointIdsList(points=[point]))


def client_of(options: dict[str, Any]) -> QdrantClient:
    """Open what a sink with these options fills."""
    return QdrantClient(**options) if "url" in options else open_folder(options["path"], options["engine"])


SERVER = pytest.param("server", marks=pytest.mark.server)


@pytest.fixture(params=[SERVER, "edge", "local", "parquet"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "parquet":
        return Place(ParquetSinkConfig(type="parquet", path=str(tmp_path / "out")))
    options = {"path": str(tmp_path / "store"), "engine": request.param}
    if request.param == "server":
        options = {"url": request.getfixturevalue("qdrant_server").url}
    return Place(qdrant.config(**options), options)


def numbers(column: pa.ChunkedArray) -> list[Any]:
    """Vectors as flat lists of numbers."""
    flat = [value and (value["values"] if isinstance(value, dict) else value) for value in column.to_pylist()]
    return [None if value is None else np.array(value, np.float64).ravel() for value in flat]


def assert_close(found: pa.Table, wanted: pa.Table) -> None:
    for name in rows.ALL_KINDS:
        assert found[name].type == wanted[name].type
        for one, other in zip(numbers(found[name]), numbers(wanted[name]), strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_sink_says_what_it_holds_gives_vectors_of_all_kinds_and_takes_payloads_alone(place: Place) -> None:
    facts = rows.job(rows.ALL_KINDS)
    later = rows.table(facts, LATER)
    with place.opened(facts) as writer:
        assert writer.held(later).tolist() == [LACKS] * 4
        assert {column.null_count for column in writer.vectors(later).columns} == {4}
        writer.write(rows.table(facts, BEFORE))
    with place.opened(facts) as writer:
        assert writer.held(later).tolist() == [SAME, VECTORS, LACKS, LACKS]
        assert writer.held(later.slice(0, 0)).tolist() == []
        found = writer.vectors(later.take([3, 1, 0]))
        assert found.column_names == list(rows.ALL_KINDS) and found["dense"].null_count == 1
        assert_close(found.slice(1), later.take([1, 0]))
        bare = later.drop_columns(list(rows.ALL_KINDS))
        updated = writer.update(bare.slice(1, 2))
        assert updated.written == 1
        assert {row: error.type for row, error in updated.rejected.items()} == {1: "VectorsGone"}
        writer.write(later.slice(2, 2))
    assert place.payloads() == {
        "d0": [{"n": 0}, "one text"],
        "d1": [{"n": 9}, "two words here"],
        "d2": [{}, "another"],
        "d3": [{"n": 0}, "one text"],
    }
    with place.opened(facts) as writer:
        assert writer.held(later).tolist() == [SAME] * 4
        assert_close(writer.vectors(later), later)


def test_a_sink_gives_the_vectors_of_texts_that_it_holds_under_other_ids(place: Place) -> None:
    facts = rows.job(rows.ALL_KINDS)
    place.section = place.section.model_copy(update={"reuse_moved": True})
    moved = rows.table(
        facts, [("x", "three", None), ("y", "two words here", '{"n": 5}'), ("z", "unknown", None), ("w", "three", None)]
    )
    with place.opened(facts) as writer:
        assert {column.null_count for column in writer.vectors_of_texts(moved).columns} == {4}
        writer.write(rows.table(facts, BEFORE))
    with place.opened(facts) as writer:
        assert writer.held(moved).tolist() == [LACKS] * 4
        found = writer.vectors_of_texts(moved)
        assert_close(found.take([0, 1, 3]), moved.take([0, 1, 3]))
        assert {found[name].slice(2, 1).null_count for name in rows.ALL_KINDS} == {1}
        assert writer.vectors_of_texts(moved.slice(0, 0)).num_rows == 0
    if place.qdrant_options is not None:
        place.forget_hashes(["text_hash"])
        with place.opened(facts) as writer:
            assert {column.null_count for column in writer.vectors_of_texts(moved).columns} == {4}


@pytest.mark.server
def test_a_text_of_very_many_points_hides_no_other_and_the_hashes_are_indexed(qdrant_server: Any) -> None:
    place = Place(qdrant.config(url=qdrant_server.url, reuse_moved=True), {"url": qdrant_server.url})
    facts = rows.job()
    with place.opened(facts) as writer:
        writer.write(
            rows.table(facts, [*((str(number), "same", None) for number in range(2300)), ("9999", "rare", None)])
        )
    moved = rows.table(facts, [("a", "rare", None), ("b", "same", None), ("c", "none", None)])
    with place.opened(facts) as writer:
        found = writer.vectors_of_texts(moved)
        assert found["dense"].null_count == 1
        for row in range(2):
            np.testing.assert_allclose(found["dense"][row].as_py(), moved["dense"][row].as_py(), atol=1e-5)
    with closing(QdrantClient(url=qdrant_server.url)) as client:
        assert "_fleetembed.text_hash" in client.get_collection(qdrant.NAME).payload_schema
        # Vectors that another job made are none of this one's.
        other = QdrantWriter(client, qdrant.config(url=qdrant_server.url), rows.job(fingerprint="f2"), was_empty=False)
        assert other.vectors_of_texts(moved)["dense"].null_count == 3


def test_a_payload_alone_that_comes_with_fewer_chunks_takes_the_rest_away(place: Place) -> None:
    facts = rows.job(chunked=True)
    with place.opened(facts) as writer:
        writer.write(rows.table(facts, [("d", "text", None), ("e", "text", None)], chunks=4))
    fewer = rows.table(facts, [("d", "text", '{"n": 1}')], chunks=2)
    with place.opened(facts) as writer:
        assert writer.held(fewer).tolist() == [VECTORS] * 2
        assert writer.update(fewer.drop_columns(["dense"])).written == 2
    if place.qdrant_options is None:
        read = ds.dataset(place.section.place).to_table()
        names = list(zip(read["document_id"].to_pylist(), read["chunk_no"].to_pylist(), strict=True))
    else:
        with closing(client_of(place.qdrant_options)) as client:
            names = list(qdrant.points(client))
    assert sorted(names) == [("d", 0), ("d", 1), *(("e", number) for number in range(4))]


@pytest.mark.server
def test_points_of_an_older_version_are_held_and_give_their_vectors(qdrant_server: Any) -> None:
    place = Place(qdrant.config(url=qdrant_server.url), {"url": qdrant_server.url})
    facts = rows.job(rows.ALL_KINDS)
    later = rows.table(facts, LATER)
    with place.opened(facts) as writer:
        writer.write(rows.table(facts, BEFORE))
    place.forget_hashes(["text_hash", "payload_hash"])
    with place.opened(facts) as writer:
        # Whether it was the text that changed is not known of such a point.
        assert writer.held(later).tolist() == [SAME, LACKS, LACKS, LACKS]
        assert_close(writer.vectors(later.slice(0, 1)), later.slice(0, 1))


@pytest.mark.server
def test_a_point_that_is_gone_when_its_payload_comes_costs_no_other(qdrant_server: Any) -> None:
    place = Place(qdrant.config(url=qdrant_server.url), {"url": qdrant_server.url})
    facts = rows.job()
    documents = [(str(number), f"text {number}", None) for number in range(600)]
    later = rows.table(facts, [(name, text, '{"shop": 1}') for name, text, _ in documents])
    with place.opened(facts) as writer:
        writer.write(rows.table(facts, documents))
    place.delete(7)
    with place.opened(facts) as writer:
        updated = writer.update(later.drop_columns(["dense"]))
        assert (updated.written, list(updated.rejected)) == (599, [7])
        assert writer.held(later).tolist() == [SAME] * 7 + [LACKS] + [SAME] * 592
    assert {tuple(payload) for payload, _ in place.payloads().values()} == {("shop",)}


def test_a_folder_of_files_of_an_older_version_is_added_to_in_their_form_and_read_as_one(tmp_path: Path) -> None:
    facts = rows.job(rows.ALL_KINDS)
    place = Place(ParquetSinkConfig(type="parquet", path=str(tmp_path)))
    with place.opened(facts) as writer:
        writer.write(rows.table(facts, BEFORE))
    for path in tmp_path.glob("*.parquet"):
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["text_hash", "payload_hash"]), path)
    later = rows.table(facts, LATER)
    with place.opened(facts) as writer:
        assert writer.held(later).tolist() == [SAME, LACKS, LACKS, LACKS]
        assert_close(writer.vectors(later.slice(0, 1)), later.slice(0, 1))
        writer.write(later.slice(1))
    assert len({tuple(ds.dataset(path).schema.names) for path in tmp_path.glob("*.parquet")}) == 1
    with place.opened(facts) as writer:
        assert writer.held(later).tolist() == [SAME] * 4
    assert sorted(pd.read_parquet(tmp_path)["document_id"]) == ["d0", "d1", "d2", "d3"]
    relation = duckdb.sql(f"SELECT count(*), count(content_hash) FROM '{tmp_path}/*.parquet'")
    assert relation is not None and relation.fetchall() == [(4, 4)]
