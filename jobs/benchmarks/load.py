"""Loading Parquet vectors into a Qdrant server: our writer beside orjson over HTTP, qdrant-client and ray-qdrant."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer
from qdrant_client import QdrantClient, models

from benchmarks.at_server import (
    BOTH,
    COLBERT,
    DENSE,
    DIM,
    TOKEN_DIM,
    Address,
    Points,
    Stopwatch,
    Url,
    at_server,
    costs,
    facts,
    show_costs,
    synthetic_points,
)
from benchmarks.measuring import Repeats, console
from embedders.arrow import dense_matrix
from pipelines.sinks.factory import make_sink
from pipelines.sinks.qdrant.config import QdrantSinkConfig

BATCH = 256
ROWS = 2048
# A request of token vectors has as many bytes as so many fewer points make.
COLBERT_BATCH = 16
RAY_QDRANT = "ray-qdrant is not installed and left out: .venv/bin/uv pip install --no-deps ray-qdrant==0.1.1"


def load(
    points: Points = 20_000,
    repeats: Repeats = 3,
    url: Url = None,
    ray: Annotated[bool, typer.Option(help="Measure ray-qdrant as well.")] = True,
    grpc: Annotated[bool, typer.Option(help="Measure gRPC as well; at --url on port 6334.")] = False,
) -> None:
    """Parquet vectors into a server: dense alone (all that ray-qdrant writes), dense and sparse, and token vectors.

    Of the last there are a fiftieth of the points.
    """
    with at_server(url) as server, tempfile.TemporaryDirectory() as folder:
        for vectors, count in ((DENSE, points), (BOTH, points), (COLBERT, max(1, points // 50))):
            path = Path(folder) / f"{'-'.join(vectors)}.parquet"
            pq.write_table(synthetic_points(count, vectors), path, row_group_size=ROWS)
            contestants: dict[str, Callable[[Stopwatch], Any]] = {
                "fleetembed's writer": partial(ours, path, vectors, server),
                "orjson over HTTP/1.1": partial(by_orjson, path, vectors, server),
                "client.upload_points": partial(uploaded, path, vectors, server),
            }
            if grpc:
                contestants["fleetembed's writer, gRPC"] = partial(ours, path, vectors, server, grpc=True)
                contestants["client.upload_points, gRPC"] = partial(uploaded, path, vectors, server, grpc=True)
            if ray and vectors is DENSE:
                if importlib.util.find_spec("ray_qdrant"):
                    start_ray()
                    contestants["ray-qdrant 0.1.1"] = partial(by_ray, path, server)
                else:
                    console.print(RAY_QDRANT)
            found = costs(contestants, repeats)
            show_costs(f"load, {count:,} points, {' + '.join(vectors)}, all acknowledged", found, count)


def start_ray() -> None:
    """Start a local Ray, so that no contestant's turn has to."""
    import ray

    if not ray.is_initialized():
        ray.init(address="local", include_dashboard=False, log_to_driver=False, object_store_memory=200 << 20)


def tables(path: Path) -> Iterator[pa.Table]:
    """The file's row groups."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)


def ours(path: Path, vectors: Any, server: Address, watch: Stopwatch, *, grpc: bool = False) -> None:
    """Write with one of the sink's writers."""
    with fresh(server.url):
        way: dict[str, Any] = {"prefer_grpc": True, "grpc_port": server.grpc_port} if grpc else {}
        sink = make_sink(QdrantSinkConfig(type="qdrant", collection="benchmark", url=server.url, **way))
        sink.open(facts(vectors))
        with closing(sink.connect()) as writer, watch.running():
            written = sum(writer.write(table).written for table in tables(path))
        sink.finish(completed=True)
        check(server.url, written)


def by_orjson(path: Path, vectors: Any, server: Address, watch: Stopwatch) -> None:
    """Write bodies by orjson, with the payload's text as it is stored, over one connection: the least there is to do.

    Errors end it, nothing is tried again, and points have neither hashes nor a fingerprint.
    """
    size = COLBERT_BATCH if vectors is COLBERT else BATCH
    with fresh(server.url) as client:
        create(client, vectors)
        with closing(HTTPConnection(urlsplit(server.url).netloc, timeout=60)) as connection, watch.running():
            for table in tables(path):
                for start in range(0, table.num_rows, size):
                    send_body(connection, body_of(table.slice(start, size), vectors))
        check(server.url, pq.ParquetFile(path).metadata.num_rows)


def send_body(connection: HTTPConnection, body: bytes) -> None:
    """Send one upsert, and wait for its points."""
    connection.request("PUT", "/collections/benchmark/points?wait=true", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if orjson.loads(answer.read())["result"]["status"] != "completed":
        raise SystemExit(f"the server answered {answer.status}")


def body_of(table: pa.Table, vectors: Any) -> bytes:
    """Write one request's body."""
    columns: dict[str, Any] = {}
    for name, spec in vectors.items():
        array = table[name].combine_chunks()
        if spec.kind == "dense":
            columns[name] = dense_matrix(array)
        elif spec.kind == "multivector":
            columns[name] = np.split(dense_matrix(array.flatten()), np.cumsum(array.value_lengths())[:-1])
        else:
            indices, values = (pc.struct_field(array, field) for field in ("indices", "values"))
            ends = np.concatenate([[0], np.cumsum(values.value_lengths())])
            at, by = indices.flatten().to_numpy(), values.flatten().to_numpy()
            columns[name] = [{"indices": at[a:b], "values": by[a:b]} for a, b in pairwise(ends)]
    rows = zip(*(table[name].to_pylist() for name in ("payload", "document_id", "text")), strict=True)
    payloads = [
        orjson.Fragment(payload[:-1].encode() + b"," + orjson.dumps({"document_id": name, "text": text})[1:])
        for payload, name, text in rows
    ]
    batch = {"ids": table["id"].to_pylist(), "vectors": columns, "payloads": payloads}
    return orjson.dumps({"batch": batch}, option=orjson.OPT_SERIALIZE_NUMPY)


def uploaded(path: Path, vectors: Any, server: Address, watch: Stopwatch, *, grpc: bool = False) -> None:
    """Write with the client's own call."""
    with fresh(server.url, server.grpc_port if grpc else None) as client:
        create(client, vectors)
        size = COLBERT_BATCH if vectors is COLBERT else BATCH
        with watch.running():
            client.upload_points("benchmark", structs(path, vectors), batch_size=size, wait=True)
        check(server.url, pq.ParquetFile(path).metadata.num_rows)


def create(client: QdrantClient, vectors: Any) -> None:
    """Make the collection of synthetic points."""
    sparse = {"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)} if "bm25" in vectors else None
    known = {
        "dense": models.VectorParams(size=DIM, distance=models.Distance.COSINE),
        "colbert": models.VectorParams(
            size=TOKEN_DIM,
            distance=models.Distance.COSINE,
            multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
        ),
    }
    dense = {name: params for name, params in known.items() if name in vectors}
    client.create_collection("benchmark", vectors_config=dense, sparse_vectors_config=sparse)


def structs(path: Path, vectors: Any) -> Iterator[models.PointStruct]:
    """The file's rows as the client takes them."""
    for table in tables(path):
        for row in table.to_pylist():
            vector: dict[str, Any] = {name: row[name] for name in vectors if name != "bm25"}
            if "bm25" in vectors:
                vector["bm25"] = models.SparseVector(**row["bm25"])
            payload = {**json.loads(row["payload"]), "document_id": row["document_id"], "text": row["text"]}
            yield models.PointStruct(id=row["id"], vector=vector, payload=payload)


def by_ray(path: Path, server: Address, watch: Stopwatch) -> None:
    """Write with ray-qdrant, two tasks at a time."""
    import ray
    import ray_qdrant

    with fresh(server.url) as client, watch.running():
        create(client, DENSE)
        columns = ["id", "dense", "document_id", "text", "payload"]
        rows = ray.data.read_parquet(str(path), columns=columns, override_num_blocks=4)
        ray_qdrant.write_qdrant(
            rows, url=server.url, collection="benchmark", vector_column="dense", vector_name="dense", concurrency=2
        )
        check(server.url, pq.ParquetFile(path).metadata.num_rows)


@contextmanager
def fresh(url: str, grpc_port: int | None = None) -> Iterator[QdrantClient]:
    """A client of a server on which the benchmark's collection is gone, before and after; over gRPC with a port."""
    way: dict[str, Any] = {} if grpc_port is None else {"prefer_grpc": True, "grpc_port": grpc_port}
    with closing(QdrantClient(url=url, timeout=60, check_compatibility=False, **way)) as client:
        client.delete_collection("benchmark")
        yield client
        client.delete_collection("benchmark")


def check(url: str, expected: int) -> None:
    """Stop where the collection has not as many points as were written."""
    with closing(QdrantClient(url=url, timeout=60, check_compatibility=False)) as client:
        if (found := client.count("benchmark", exact=True).count) != expected:
            raise SystemExit(f"the collection has {found:,} points, not {expected:,}")
