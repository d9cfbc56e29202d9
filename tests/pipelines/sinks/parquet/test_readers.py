"""A folder of Parquet files as other tools read it, also while a run holds it, and where an older version filled it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from pipelines.errors import SinkError
from pipelines.sinks.lease.lease import RunLeases
from pipelines.sinks.parquet.config import ParquetSinkConfig
from pipelines.sinks.parquet.factory import make_sink
from pipelines.sinks.parquet.sink import ParquetSink
from tests.pipelines.sinks import rows

FACTS = rows.job(rows.ALL_KINDS)
Ids = Callable[[Path], list[str]]


def by_duckdb(query: str) -> list[str]:
    return [name for (name,) in duckdb.sql(query).fetchall()]


READERS: dict[str, Ids] = {
    "polars": lambda folder: pl.read_parquet(folder)["document_id"].to_list(),
    "polars, lazily": lambda folder: pl.scan_parquet(folder).select("document_id").collect()["document_id"].to_list(),
    "duckdb": lambda folder: by_duckdb(f"SELECT document_id FROM read_parquet('{folder}/*.parquet')"),
    "duckdb, all below": lambda folder: by_duckdb(f"SELECT document_id FROM read_parquet('{folder}/**/*.parquet')"),
    "pandas": lambda folder: list(pd.read_parquet(folder)["document_id"]),
    "pyarrow": lambda folder: ds.dataset(folder).to_table()["document_id"].to_pylist(),
}


def read_by_all(folder: Path) -> dict[str, list[str]]:
    return {name: sorted(read(folder)) for name, read in READERS.items()}


def alike(*names: str) -> dict[str, list[str]]:
    return dict.fromkeys(READERS, sorted(names))


@pytest.mark.parametrize("layout", ["fleetembed", "qdrant"])
def test_all_readers_take_the_folder_as_it_is_while_a_run_holds_it_and_after_it(tmp_path: Path, layout: str) -> None:
    """Each moment that lasts: the lease taken, opened, written to, killed, settled, given back."""
    folder = tmp_path / "out"
    config = ParquetSinkConfig.model_validate({"type": "parquet", "path": str(folder), "layout": layout})
    key = "document_id" if layout == "fleetembed" else "id"
    count: dict[str, Callable[[], int]] = {
        "polars": lambda: pl.read_parquet(folder)[key].len(),
        "duckdb": lambda: len(by_duckdb(f"SELECT {key} FROM read_parquet('{folder}/**/*.parquet')")),
        "pandas": lambda: len(pd.read_parquet(folder)),
        "pyarrow": lambda: ds.dataset(folder).count_rows(),
    }

    seen: list[set[int]] = []

    def look() -> None:
        seen.append({rows() for rows in count.values()})

    for completed in (False, True):
        sink = make_sink(config)
        with RunLeases([sink], "run-1", "library") as held:
            sink.check(FACTS)
            held.take(FACTS)
            sink.open(FACTS)
            sink.connect().write(rows.table(FACTS, rows.documents(2)))
            look()
            sink.connect().write(rows.table(FACTS, rows.documents(3)))
            look()
            sink.finish(completed=completed)
            look()
    # The run that does not end leaves two rows twice, which the next one settles, or begins anew without.
    assert seen == [{2}, {5}, {5}, *([{5}, {5}, {3}] if layout == "fleetembed" else [{2}, {5}, {5}])]
    left = {path.name for path in folder.iterdir() if path.suffix != ".parquet"}
    assert left == {"_SUCCESS"}
    assert all(path.name.startswith("part-") for path in folder.glob("*.parquet"))


def test_a_folder_of_an_older_version_is_gone_on_with_and_what_is_in_the_way_goes(tmp_path: Path) -> None:
    folder = tmp_path / "out"

    def run(count: int) -> tuple[list[bool], ParquetSink]:
        sink = ParquetSink(ParquetSinkConfig(type="parquet", path=str(folder)))
        some = rows.table(FACTS, rows.documents(count))
        sink.open(FACTS)
        writer = sink.connect()
        held = rows.held(writer, some)
        writer.write(some)
        sink.finish(completed=True)
        return held, sink

    run(3)
    # What that version had beside its files.
    (folder / "_manifest.json").write_text(json.dumps({"points": 3}))
    (folder / "_lease.json").write_text('{"given_back": true}')
    with pytest.raises(pl.exceptions.PolarsError, match="different file extensions"):
        pl.read_parquet(folder)
    assert run(4)[0] == [True] * 3 + [False]
    assert read_by_all(folder) == alike("d0", "d1", "d2", "d3")


@pytest.mark.slow
def test_spark_takes_the_folder_as_it_is(tmp_path: Path) -> None:
    """It passes over names that begin with ``_`` or ``.``: see HadoopFSUtils.shouldFilterOutPathName.

    Spark 4.3 has no type for float16.
    """
    spark = pytest.importorskip("pyspark.sql", reason="Spark is not installed")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    folder, facts = tmp_path / "out", rows.job({"dense": rows.DENSE, "tokens": rows.MULTI, "terms": rows.SPARSE})
    sink = ParquetSink(ParquetSinkConfig(type="parquet", path=str(folder)))
    builder = spark.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    session = builder.config("spark.sql.warehouse.dir", str(tmp_path / "warehouse")).getOrCreate()
    try:
        with RunLeases([sink], "run-1", "library") as held:
            held.take(facts)
            sink.open(facts)
            sink.connect().write(rows.table(facts, rows.documents(3)))
            frame = session.read.parquet(str(folder))
            found = sorted((row["document_id"], len(row["dense"])) for row in frame.collect())
            assert found == [(f"d{number}", rows.DIM) for number in range(3)]
            sink.finish(completed=True)
        assert session.read.parquet(str(folder)).count() == 3
    finally:
        session.stop()


def test_a_file_of_another_name_is_refused_as_before(tmp_path: Path) -> None:
    """By that rule versions before this one refuse a folder that a run of this one holds."""
    sink = ParquetSink(ParquetSinkConfig(type="parquet", path=str(tmp_path)))
    pa.parquet.write_table(pa.table({"id": ["x"]}), tmp_path / "other.parquet")
    with pytest.raises(SinkError, match=r"other.parquet was not written by this tool; choose another path"):
        sink.check(FACTS)
    shutil.move(tmp_path / "other.parquet", tmp_path / "_other.parquet")
    assert sink.check(FACTS)["points"] == 0
