from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.feather as feather
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.source import SourceConfig
from pipelines.sources import plan_source, read_split, scan_split
from pipelines.sources.duplicates import number_lines
from tests.pipelines.sources.images.images import picture
from tests.pipelines.sources.reading import FILES_OF_A_TEST, messages, read, read_once, write_ipc, write_parquet

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def write_feather(path: Path, columns: dict[str, Any], *, compression: str | None) -> Path:
    feather.write_feather(pa.table(columns), str(path), compression=compression or "uncompressed", chunksize=2)
    return path


WRITERS: dict[str, Callable[[Path, dict[str, Any], str | None], Path]] = {
    "file.arrow": lambda path, columns, packed: write_ipc(path, columns, compression=packed, max_chunksize=2),
    "stream.arrows": lambda path, columns, packed: write_ipc(
        path, columns, stream=True, compression=packed, max_chunksize=2
    ),
    "file.feather": lambda path, columns, packed: write_feather(path, columns, compression=packed),
}
DAY = datetime(2024, 2, 29, 12, 30, tzinfo=timezone.utc)
COLUMNS: dict[str, Any] = {
    "id": ["a", "b", None, "d", "e"],
    "text": pa.array(["1", "é", "3", None, ""]).dictionary_encode(),
    "large": pa.array(["x"] * 5, pa.large_string()),
    "whole": pa.array([1, None, 3, 4, 2**64 - 1], pa.uint64()),
    "number": [1.5, float("nan"), 0.0, float("inf"), -1.0],
    "bytes": [b"utf-8", b"\xff", None, b"", b"x"],
    "nested": [{"a": [1, None], "b": "x"}, {"a": [], "b": None}, None, {"a": None, "b": ""}, {"a": [2], "b": "y"}],
    "map": pa.array([[("k", 1)], [], None, [("k", 1), ("k", 2)], [("l", None)]], pa.map_(pa.string(), pa.int64())),
    "day": [date(2024, 2, 29), None, date(1, 1, 1), date(9999, 12, 31), date(2024, 1, 1)],
    "time": [DAY, None, DAY, DAY, DAY],
    "late": pa.array([0, 10**15, 1, 2, 3], pa.timestamp("ms")),
    "decimal": [Decimal("1.10"), None, Decimal("0.12"), Decimal("-3.00"), Decimal("4.00")],
    "image": [{"bytes": picture(1), "path": "1.png"}, {"bytes": None, "path": "no.png"}, None, None, None],
}


@pytest.mark.parametrize("packed", [None, "lz4", "zstd"])
@pytest.mark.parametrize("name", WRITERS)
def test_rows_are_those_of_parquet(tmp_path: Path, name: str, packed: str | None) -> None:
    options = {"id": "id", "image": "image"}
    expected = read(write_parquet(tmp_path / name, COLUMNS), format="parquet", **options)
    assert [row["error"] is None for row in expected] == [True, False, True, False, False]
    assert read(WRITERS[name](tmp_path / name, COLUMNS, packed), **options) == expected
    some = {"id": "id", "payload": ["whole", "nested"]}
    found = read(tmp_path / name, **some)
    assert found == read(write_parquet(tmp_path / name, COLUMNS), format="parquet", **some)
    assert messages(found)[:3] == [None] * 3


@pytest.mark.parametrize("ending", ["arrow", "arrows", "ipc", "feather", "ARROW"])
@pytest.mark.parametrize("stream", [True, False])
def test_files_and_streams_are_told_apart_by_what_is_in_them(tmp_path: Path, ending: str, stream: bool) -> None:
    write_ipc(tmp_path / f"a.{ending}", {"text": ["1", "2"]}, stream=stream)
    assert [(row["text"], row["origin"]) for row in read(tmp_path)] == [
        ("1", f"a.{ending}:row 1"),
        ("2", f"a.{ending}:row 2"),
    ]


@pytest.mark.parametrize("batch_rows", [1, 7, 100])
def test_a_file_in_pieces_has_the_rows_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_rows: int
) -> None:
    columns = {"text": [f"text {n}" for n in range(100)], "n": list(range(100))}
    path = write_ipc(tmp_path / "a.arrow", columns, max_chunksize=batch_rows)
    whole = read(path)
    monkeypatch.setattr("pipelines.sources.arrow_ipc.SPLIT_BYTES", path.stat().st_size // 5)
    source = SourceConfig(path=str(path))
    splits = plan_source(source).splits
    assert len(splits) == (1 if batch_rows == 100 else 6)
    assert sum(split.bytes for split in splits) == path.stat().st_size
    numbered = number_lines([scan_split(split, source) for split in splits])
    rows = [row for split in numbered for table in read_split(split, source, block_rows=8) for row in table.to_pylist()]
    assert rows == whole == read_once(path)
    assert [row["origin"] for row in whole] == [f"a.arrow:row {n}" for n in range(1, 101)]


def test_rows_of_a_part_that_nobody_numbered_are_counted_from_its_first_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_ipc(tmp_path / "a.arrow", {"text": list("abcd")}, max_chunksize=1)
    monkeypatch.setattr("pipelines.sources.arrow_ipc.SPLIT_BYTES", path.stat().st_size // 2 + 1)
    assert [row["origin"] for row in read(path)] == [
        "a.arrow:row 1",
        "a.arrow:row 2",
        "a.arrow@2:row 1",
        "a.arrow@2:row 2",
    ]


def test_feather_of_version_1_is_refused(tmp_path: Path) -> None:
    # Written by hand, since pyarrow gives up writing it.
    (tmp_path / "a.feather").write_bytes(b"FEA1\0\0\0\0" + bytes(200) + b"FEA1")
    write_feather(tmp_path / "b.feather", {"text": ["b"]}, compression="lz4")
    old, new = read(tmp_path)
    assert new["text"] == "b"
    assert (old["origin"], old["error"]["message"]) == (
        "a.feather",
        "file a.feather cannot be read: it is Feather of version 1; write it with version 2, pyarrow.feather's "
        "default; rows in it are missing",
    )


def test_a_damaged_batch_of_a_file_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"text": [f"text {n}" * 50 for n in range(300)]}
    path = write_ipc(tmp_path / "a.arrow", columns, max_chunksize=100, compression="zstd")
    data = path.read_bytes()
    # Each batch has a buffer of offsets and one of characters.
    starts = [at for at in range(len(data)) if data.startswith(ZSTD_MAGIC, at)]
    assert len(starts) == 6
    path.write_bytes(data[: starts[2]] + bytes(4) + data[starts[2] + 4 :])
    for _ in range(2):
        rows = read_once(path)
        assert [row["text"] for row in rows if row["error"] is None] == columns["text"][:100] + columns["text"][200:]
        (message,) = filter(None, messages(rows))
        assert message.startswith("record batch 1 of file a.arrow cannot be read: ")
        # Also where a worker reads each batch.
        monkeypatch.setattr("pipelines.sources.arrow_ipc.SPLIT_BYTES", 1)


def test_a_column_that_nobody_wants_is_not_read_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"junk": ["junk" * 100] * 200, "text": [f"text {n}" * 50 for n in range(200)], "n": list(range(200))}
    path = write_ipc(tmp_path / "a.arrow", columns, max_chunksize=100, compression="zstd")
    data = path.read_bytes()
    first = data.index(ZSTD_MAGIC)
    path.write_bytes(data[:first] + bytes(4) + data[first + 4 :])
    assert [row["error"] is None for row in read(path)] == [False] + [True] * 100
    assert messages(read(path))[0].endswith("100 rows in it are missing")  # type: ignore[union-attr]
    assert read(path)[1]["origin"] == "a.arrow:row 101"
    assert messages(read(path, payload=["n"])) == [None] * 200
    monkeypatch.setattr("pipelines.sources.arrow_ipc.SPLIT_BYTES", 1)
    assert read_once(path)[1]["origin"] == "a.arrow:row 101"


def test_a_stream_that_is_cut_anywhere_gives_its_whole_batches_and_says_so(tmp_path: Path) -> None:
    whole = write_ipc(tmp_path / "a.arrows", {"text": list("abcdef")}, stream=True, max_chunksize=2).read_bytes()
    boundaries = set()
    for size in range(0, len(whole)):
        if size % 8 and size < len(whole) - 16:
            continue
        (tmp_path / "a.arrows").write_bytes(whole[:size])
        *rows, dead = read(tmp_path)
        assert [row["text"] for row in rows] == list("abcdef")[: len(rows)]
        assert dead["error"]["type"] == "UnreadableFile"
        boundaries.add(len(rows) if "has no end mark" in dead["error"]["message"] else None)
    assert boundaries == {None, 0, 2, 4, 6}


def test_streams_one_behind_another_are_read_as_one(tmp_path: Path) -> None:
    parts = [
        write_ipc(tmp_path / "part", columns, stream=True).read_bytes()
        for columns in ({"text": ["a", "b"]}, {"text": pa.array([], pa.string())}, {"n": [3], "text": ["c"]})
    ]
    (tmp_path / "a.arrows").write_bytes(b"".join(parts))
    assert [(row["text"], row["payload"], row["origin"]) for row in read(tmp_path)] == [
        ("a", "{}", "a.arrows:row 1"),
        ("b", "{}", "a.arrows:row 2"),
        ("c", '{"n": 3}', "a.arrows:row 3"),
    ]


@pytest.mark.parametrize("stream", [True, False])
def test_values_of_unsound_bytes_cost_their_rows_only(tmp_path: Path, stream: bool) -> None:
    def offsets(*places: int) -> bytes:
        return b"".join(place.to_bytes(4, "little") for place in places)

    wrong_utf8 = [None, pa.py_buffer(offsets(0, 1, 3, 4)), pa.py_buffer(b"a\xc3\x28b")]
    columns = {"id": ["x", "y", "z"], "text": pa.Array.from_buffers(pa.string(), 3, wrong_utf8)}
    path = write_ipc(tmp_path / "a.arrow", columns, stream=stream)
    data = path.read_bytes()
    assert data.count(offsets(0, 1, 2, 3)) == 1
    path.write_bytes(data.replace(offsets(0, 1, 2, 3), offsets(0, 1, 2, 900_000_000)))
    rows = read(tmp_path, id="id")
    assert [(row["document_id"], row["text"]) for row in rows] == [("x", "a"), ("y", None), (None, "b")]
    assert messages(rows)[0] is None
    assert messages(rows)[1].startswith("text cannot be decoded (Invalid UTF8 sequence")  # type: ignore[union-attr]
    assert messages(rows)[2].startswith("the id cannot be decoded (")  # type: ignore[union-attr]


def test_dictionaries_may_change_from_batch_to_batch(tmp_path: Path) -> None:
    kind = pa.dictionary(pa.int8(), pa.string())
    with pa.ipc.new_stream(str(tmp_path / "a.arrows"), pa.schema([("text", kind)])) as writer:
        for texts in (["a", "b", "a"], ["c", None], ["a", "b", "d"]):
            writer.write_batch(pa.record_batch({"text": pa.array(texts, pa.string()).dictionary_encode().cast(kind)}))
    assert [row["text"] for row in read(tmp_path)] == ["a", "b", "a", "c", None, "a", "b", "d"]


def test_files_without_rows_or_columns_are_read(tmp_path: Path) -> None:
    for stream in (True, False):
        write_ipc(tmp_path / f"{stream}.arrow", {"text": pa.array([], pa.string())}, stream=stream)
    assert read(tmp_path) == []
    (tmp_path / "empty.arrow").touch()
    assert [row["error"]["type"] for row in read(tmp_path)] == ["UnreadableFile"]


def test_a_column_that_stands_twice_makes_the_file_unreadable(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    for stream in (True, False):
        write_ipc(tmp_path / f"{stream}.arrow", twice, stream=stream)
    assert ["'text' stands twice" in (message or "") for message in messages(read(tmp_path))] == [True, True]


def test_a_store_is_read_as_files_are(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for stream in (True, False):
        content = write_ipc(tmp_path / "a", {"text": ["a", "b"]}, stream=stream, max_chunksize=1).read_bytes()
        memory.pipe(f"/arrow/{stream}.arrow", content)
    try:
        assert [row["text"] for row in read("memory://arrow")] == ["a", "b"] * 2
    finally:
        memory.rm("/arrow", recursive=True)


@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=5),
    cut=st.one_of(st.none(), st.integers(0, 10**6)),
    name=st.sampled_from(sorted(WRITERS)),
    packed=st.sampled_from([None, "lz4", "zstd"]),
)
@FILES_OF_A_TEST
def test_no_damage_stops_the_reading_of_others(
    tmp_path: Path, changes: list[tuple[int, int]], cut: int | None, name: str, packed: str | None
) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    data = bytearray(WRITERS[name](tmp_path / name, COLUMNS, packed).read_bytes())
    for at, value in changes:
        data[at % len(data)] = value
    (tmp_path / name).write_bytes(data if cut is None else data[: cut % len(data)])
    write_parquet(tmp_path / "z.parquet", {"text": ["good"]})
    rows = read_once(tmp_path)
    assert rows[-1]["text"] == "good"
    assert len(rows) > 1
