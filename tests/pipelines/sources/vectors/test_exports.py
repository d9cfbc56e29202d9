"""Exports of collections: points of any collection come back as they were, through sources and sinks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from qdrant_client import QdrantClient

from pipelines.errors import SinkError
from tests.pipelines.sinks import rows
from tests.pipelines.sinks.qdrant_help import NAME
from tests.pipelines.sinks.qdrant_help import run as write_points
from tests.pipelines.sources.vectors.test_jobs import run

LISTS = pa.list_(pa.float32())
SPARSE = pa.struct([("indices", pa.list_(pa.uint32())), ("values", LISTS)])


def export(path: Path, params: dict[str, Any], columns: dict[str, tuple[pa.DataType, list[Any]]]) -> Path:
    """A file as qdrant-to-parquet 0.1.1 lays it out."""
    config = {"params": params, "metadata": None, "hnsw_config": {"m": 16}, "quantization_config": None}
    schema = pa.schema(
        [pa.field(name, kind, nullable=name != "id") for name, (kind, _) in columns.items()],
        metadata={"qdrant.collection": "old", "qdrant.collection_config": json.dumps(config), "qdrant.vectors": "{}"},
    )
    values = [pa.array(rows, kind) for kind, rows in columns.values()]
    pq.write_table(pa.Table.from_arrays(values, schema=schema), path)
    return path


def exported(folder: Path) -> list[dict[str, Any]]:
    return sorted(pads.dataset(folder, format="parquet").to_table().to_pylist(), key=lambda row: row["id"])


def test_a_foreign_export_comes_back_equal_from_files_and_is_what_a_server_gets(
    tmp_path: Path, qdrant_client: QdrantClient, qdrant_address: tuple[str, str | None]
) -> None:
    params = {
        "vectors": {"size": 2, "distance": "Dot", "datatype": None, "multivector_config": None},
        "sparse_vectors": {"words": {"modifier": "idf"}},
    }
    payloads = [{"page": "a", "text": "hello"}, {}, {"text": 5}, {"document_id": "x", "n": {"deep": [1]}}]
    columns = {
        "id": (pa.string(), ["1", "2", "3", "0a0a0a0a-0000-4000-8000-000000000001"]),
        "vector": (LISTS, [[1.0, 2.0], None, [3.0, 4.0], [5.0, 6.0]]),
        "vector_words": (SPARSE, [{"indices": [1], "values": [0.5]}] * 3 + [None]),
        "payload": (pa.string(), [json.dumps(one, separators=(",", ":"), sort_keys=True) for one in payloads]),
    }
    path = export(tmp_path / "old.parquet", params, columns)
    target = {"type": "parquet", "path": str(tmp_path / "copy"), "layout": "qdrant"}
    report = run(tmp_path, {"vectors": str(path)}, target)
    assert (report.rows["written"], report.rows["dead"]) == (4, 0)
    before, after = pq.read_table(path), pads.dataset(tmp_path / "copy", format="parquet").to_table()
    assert after.schema.names == before.schema.names and after.schema.types == before.schema.types
    assert exported(tmp_path / "copy") == sorted(before.to_pylist(), key=lambda row: row["id"])
    with pytest.raises(SinkError, match="holds files already, and layout: qdrant keeps no account"):
        run(tmp_path, {"vectors": str(path)}, target)

    run(tmp_path, {"vectors": str(tmp_path / "copy")}, {"type": "qdrant", "url": qdrant_address[0], "collection": NAME})
    config = qdrant_client.get_collection(NAME).config.params
    assert config.vectors.size == 2 and config.vectors.distance.value == "Dot"
    found = {point.id: point for point in qdrant_client.scroll(NAME, with_vectors=True)[0]}
    assert found[1].vector[""] == [1.0, 2.0] and found[1].vector["words"].indices == [1]
    assert "" not in found[2].vector
    assert found[1].payload["page"] == "a" and found[1].payload["text"] == "hello"


def test_points_of_a_job_keep_what_they_are_known_by_through_an_export(
    tmp_path: Path, qdrant_client: QdrantClient, qdrant_address: tuple[str, str | None]
) -> None:
    facts = rows.job(rows.ALL_KINDS)
    write_points(facts, rows.table(facts, rows.documents(30)), url=qdrant_address[0])
    first = sorted(qdrant_client.scroll(NAME, limit=100, with_vectors=True)[0], key=lambda point: point.id)
    config = qdrant_client.get_collection(NAME).config.model_dump(mode="json")
    params = {key: config["params"][key] for key in ("vectors", "sparse_vectors")}
    kinds = {"dense": LISTS, "half": LISTS, "tokens": pa.list_(LISTS), "terms": SPARSE}
    columns: dict[str, tuple[pa.DataType, list[Any]]] = {"id": (pa.string(), [str(point.id) for point in first])}
    for name, kind in kinds.items():
        values = [point.vector[name] for point in first]
        columns[f"vector_{name}"] = kind, [v.model_dump() if name == "terms" else v for v in values]
    columns["payload"] = pa.string(), [json.dumps(point.payload, sort_keys=True) for point in first]
    path = export(tmp_path / "ours.parquet", params, columns)
    table = pq.read_table(path)
    whole = json.dumps({"params": params, "metadata": config["metadata"]})
    pq.write_table(table.replace_schema_metadata({"qdrant.collection_config": whole}), path)

    sink = {"type": "qdrant", "url": qdrant_address[0], "collection": NAME}
    again = run(tmp_path, {"vectors": str(path)}, sink)
    assert (again.rows["skipped"], again.rows["written"]) == (30, 0)
    qdrant_client.delete_collection(NAME)
    layout = {"type": "parquet", "path": str(tmp_path / "copy"), "layout": "qdrant"}
    run(tmp_path, {"vectors": str(path)}, layout)
    run(tmp_path, {"vectors": str(tmp_path / "copy")}, sink)
    second = sorted(qdrant_client.scroll(NAME, limit=100, with_vectors=True)[0], key=lambda point: point.id)
    assert [(point.id, point.payload) for point in second] == [(point.id, point.payload) for point in first]
    for old, new in zip(first, second, strict=True):
        assert new.vector["terms"] == old.vector["terms"]
        for name in ("dense", "half", "tokens"):
            # Vectors of a cosine collection are scaled once more.
            assert np.allclose(new.vector[name], old.vector[name], atol=1e-6)
    made = qdrant_client.get_collection(NAME).config.metadata
    assert made["fleetembed"] == config["metadata"]["fleetembed"]
