from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.source import SourceConfig
from pipelines.sources import plan_source, read_split
from tests.pipelines.sources.reading import (
    FILES_OF_A_TEST,
    PACKERS,
    read_once,
    write_lines,
)


@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.sampled_from([b'{"text": "a"}', b'"', b",", b"\n", b"\r", b"\xff", b"text", b"\0", b"{", b"]"])
        ).map(b"".join),
    ),
    ending=st.sampled_from(["jsonl", "csv", "txt", "parquet", "arrow", "jsonl.gz", "csv.bz2", "txt.zst"]),
    cut=st.integers(0, 300),
    packed=st.booleans(),
)
@FILES_OF_A_TEST
def test_no_content_of_a_file_stops_the_reading_of_others(
    tmp_path: Path, content: bytes, ending: str, cut: int, packed: bool
) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    pack = PACKERS.get(ending.rpartition(".")[2])
    (tmp_path / f"a.{ending}").write_bytes(pack(content)[:cut] if pack and packed else content)
    write_lines(tmp_path / "b.jsonl", [{"text": "good"}])
    rows = read_once(tmp_path)
    assert rows[-1]["origin"] == "b.jsonl:1"
    assert all(row["error"] or (row["document_id"] and row["text"] is not None) for row in rows)


def test_long_texts_are_read_in_smaller_blocks(tmp_path: Path) -> None:
    source = SourceConfig(path=str(write_lines(tmp_path / "a.jsonl", [{"text": "x" * 6_000_000}] * 4)))
    (split,) = plan_source(source).splits
    assert [table.num_rows for table in read_split(split, source, block_rows=1000)] == [3, 1]
