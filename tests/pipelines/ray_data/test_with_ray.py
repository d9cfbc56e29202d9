"""Datasinks and the source of a collection as Ray drives them, and the examples in their docstrings."""

from __future__ import annotations

import doctest
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import pipelines
from pipelines import ParquetDatasink, QdrantDatasink, read_qdrant
from pipelines.errors import ConfigError, SinkError, SourceError
from tests.qdrant_server import Fault, QdrantTestServer

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]
DIM = 6
COUNT = 1200


@pytest.fixture(autouse=True)
def _no_bars(ray_local: None) -> None:
    from ray.data import DataContext

    DataContext.get_current().enable_progress_bars = False


def vectors(batch: dict[str, Any]) -> dict[str, Any]:
    """What a user's function gives: NumPy arrays, and multivectors of several lengths."""
    numbers = batch["id"].astype(np.float32)
    tokens = np.empty(len(numbers), object)
    tokens[:] = [np.full((1 + int(n) % 3, 2), n, np.float32) for n in numbers]
    return {
        "id": np.array([str(uuid.UUID(int=int(n) * 10**35)) for n in numbers]),
        "dense": np.tile(numbers[:, None], (1, DIM)),
        "tokens": tokens,
        "lang": np.array(["de" if n % 2 else "en" for n in numbers]),
        "n": batch["id"],
    }


def test_a_dataset_comes_back_from_a_collection(qdrant_server: QdrantTestServer, tmp_path: Path) -> None:
    import ray

    dataset = ray.data.range(COUNT, override_num_blocks=3).map_batches(vectors, batch_size=100)
    datasink = QdrantDatasink(
        "numbers", url=qdrant_server.url, vectors={"dense": {"distance": "dot"}, "tokens": {"distance": "dot"}}
    )
    dataset.write_datasink(datasink)
    assert datasink.report is not None and datasink.report.total == COUNT

    read = read_qdrant("numbers", url=qdrant_server.url, override_num_blocks=4, page_points=200)
    assert read.schema().base_schema.field("dense").type == pa.list_(pa.float32(), DIM)
    qdrant_server.clear()
    rows = {row["n"]: row for row in map(flattened, read.take_all())}
    scrolled = qdrant_server.requests("POST", "/points/scroll")
    assert len(scrolled) >= 4
    assert sorted(rows) == list(range(COUNT))
    assert rows[7]["dense"] == [7.0] * DIM and rows[7]["tokens"] == [[7.0, 7.0]] * 2 and rows[7]["lang"] == "de"

    some = read_qdrant(
        "numbers",
        url=qdrant_server.url,
        filter="lang=de",
        with_vectors=["dense"],
        payload_schema={"n": pa.int64(), "gone": pa.string()},
        page_points=50,
    ).to_pandas()
    assert list(some.columns) == ["id", "dense", "n", "gone"]
    assert sorted(some["n"]) == list(range(1, COUNT, 2)) and some["gone"].isna().all()

    copy, files = QdrantDatasink("copy", path=str(tmp_path / "qdrant")), ParquetDatasink(str(tmp_path / "files"))
    read.limit(100).write_datasink(copy)
    read.write_datasink(files)
    assert copy.report is not None and copy.report.total == 100
    assert files.report is not None and files.report.written == COUNT
    back = read_qdrant("copy", path=str(tmp_path / "qdrant"), with_vectors=False).take_all()
    assert len(back) == 100 and back[0].keys() == {"id", "payload"}


def flattened(row: dict[str, Any]) -> dict[str, Any]:
    """A row with lists alone, and the payload's keys beside them."""
    tokens = [list(map(float, token)) for token in row["tokens"]]
    return {**row, "dense": list(map(float, row["dense"])), "tokens": tokens, **json.loads(row["payload"])}


def test_what_goes_wrong_is_said_where_it_can_be_mended(qdrant_server: QdrantTestServer) -> None:
    import ray

    rows = [{"id": n, "v": [1.0, float(n)], "lang": "de"} for n in range(10)]
    ray.data.from_items(rows).write_datasink(QdrantDatasink("few", url=qdrant_server.url))
    here: dict[str, Any] = {"url": qdrant_server.url, "retry_seconds": 1}
    for arguments, kind, message in (
        ({"collection": "fw", **here}, SourceError, "there is no such collection; there are: few"),
        (
            {"collection": "few", "url": "http://127.0.0.1:1", "retry_seconds": 0},
            SourceError,
            "look whether url is right",
        ),
        ({"collection": "few", "path": "nowhere"}, SourceError, "path .*nowhere: there is no Qdrant folder"),
        ({"collection": "few"}, ConfigError, "read_qdrant: give exactly one of url"),
        ({"collection": "few", **here, "with_vectors": ["w"]}, ConfigError, "has no vector 'w'; it has 'v'"),
        (
            {"collection": "few", **here, "payload_schema": {"v": pa.string()}},
            ConfigError,
            "two columns would be called 'v'",
        ),
        ({"collection": "few", **here, "filter": "lang"}, ConfigError, "write key=value"),
    ):
        with pytest.raises(kind, match=message):
            read_qdrant(**arguments)
    with pytest.raises(SourceError, match="the payload's 'lang' is 'de', and payload_schema says int64"):
        read_qdrant("few", **here, payload_schema={"lang": pa.int64()}).take_all()
    qdrant_server.inject(Fault("500", method="POST", path_suffix="/points/scroll", times=2))
    assert read_qdrant("few", url=qdrant_server.url).count() == 10
    with pytest.raises(SinkError, match="does not fit: it lacks the vector 'w'"):
        ray.data.from_items([{"id": 1, "w": [1.0]}]).write_datasink(QdrantDatasink("few", url=qdrant_server.url))


@pytest.mark.parametrize("names", [("ParquetDatasink",), ("QdrantDatasink", "read_qdrant")], ids="-".join)
def test_the_examples_run(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        examples = doctest.DocTestFinder(recurse=False).find(
            getattr(pipelines, name), name, globs={"folder": str(tmp_path / "folder"), "pa": pa}
        )
        runner = doctest.DocTestRunner()
        assert sum(len(example.examples) for example in examples) >= 3
        for example in examples:
            assert runner.run(example).failed == 0
