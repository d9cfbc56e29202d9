"""A datasink of Parquet files in a bucket."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedders.arrow import dense_array
from pipelines.filesystem import open_filesystem
from pipelines.ray_data.parquet_datasink import ParquetDatasink
from pipelines.rows import ERROR_TYPE
from tests.object_storage.server import S3TestServer
from tests.pipelines.ray_data.driven import drive


def rows(first: int, count: int, value: float) -> pa.Table:
    numbers = np.arange(first, first + count)
    errors = pa.array([None] * (count - 1) + [{"stage": "embed", "type": "Poison", "message": "no"}], ERROR_TYPE)
    return pa.table({"id": numbers, "dense": dense_array(np.full((count, 4), value, np.float32)), "error": errors})


def test_files_and_dead_letters_in_a_bucket(s3: S3TestServer) -> None:
    folder = f"s3://{s3.bucket}/some/vectors"
    dead = f"s3://{s3.bucket}/dead"
    filesystem, path = open_filesystem(folder)
    drive(ParquetDatasink(folder, dead_letters=dead, max_error_rate=1), [rows(0, 10, 0.0)], [rows(10, 10, 0.0)])
    report = drive(ParquetDatasink(folder, mode="upsert", id="id", max_error_rate=1), [rows(5, 10, 1.0)])
    assert (report.written, report.dead) == (9, 1)
    held = pq.read_table(path, filesystem=filesystem).to_pylist()
    assert {row["id"]: row["dense"][0] for row in held} == {
        **dict.fromkeys((*range(9), *range(10, 19)), 0.0),
        **dict.fromkeys(range(5, 14), 1.0),
    }
    assert len(held) == 19
    with pytest.raises(ValueError, match="lost"):
        drive(ParquetDatasink(folder, mode="overwrite"), [rows(0, 3, 2.0)], _broken())
    assert pq.read_table(path, filesystem=filesystem).num_rows == 19
    letters, inside = open_filesystem(dead)
    assert sorted(pq.read_table(inside, filesystem=letters)["document_id"].to_pylist()) == ["19", "9"]
    assert not [key for key in s3.keys("some/") if "/_tmp" in key]


def _broken() -> list[pa.Table]:
    class Broken(list[pa.Table]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            raise ValueError("lost")

    return Broken()
