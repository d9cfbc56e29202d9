from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.pipelines.sources.reading import PACKERS, read, read_once, write_lines


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_compressed_files_of_several_members_are_read(tmp_path: Path, name: str, ending: str) -> None:
    parts = [b"text\na\n", b"b\n"] if name == "a.csv" else [b'{"text": "a"}\n', b'{"text": "b"}\n']
    (tmp_path / f"{name}.{ending}").write_bytes(b"".join(PACKERS[ending](part) for part in parts))
    assert [(row["text"], row["error"]) for row in read(tmp_path)] == [("a", None), ("b", None)]


def test_zeros_after_a_gzip_member_are_padding(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n') + bytes(512))
    assert [(row["text"], row["error"]) for row in read(tmp_path)] == [("a", None)]


@pytest.mark.parametrize("ending", PACKERS)
def test_a_truncated_file_gives_its_good_rows_and_says_that_others_are_missing(tmp_path: Path, ending: str) -> None:
    rng = np.random.default_rng(0)
    lines = b"".join(json.dumps({"id": n, "text": rng.bytes(60).hex()}).encode() + b"\n" for n in range(20_000))
    packed = PACKERS[ending](lines)
    (tmp_path / f"a.jsonl.{ending}").write_bytes(packed[: len(packed) * 3 // 4])
    *rows, dead = read(tmp_path, id="id")
    assert [row["document_id"] for row in rows] == [str(n) for n in range(len(rows))]
    assert all(row["error"] is None for row in rows)
    # bzip2 decodes by blocks of 900 KB, zstd by blocks of 128 KB.
    assert len(rows) > {"gz": 14_500, "bz2": 6_000, "zst": 13_000}[ending]
    assert dead["document_id"] is None
    assert dead["error"]["message"].startswith(
        f"file a.jsonl.{ending} cannot be read after a.jsonl.{ending}:{len(rows)}: "
    )


def test_a_truncated_gzip_file_loses_no_whole_line(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"{n} {n * 7919 % 100_003}"}).encode() + b"\n" for n in range(2000)]
    packed = gzip.compress(b"".join(lines))
    (tmp_path / "a.jsonl.gz").write_bytes(packed[:-500])
    whole = zlib.decompressobj(wbits=31).decompress(packed[:-500]).count(b"\n")
    rows = read(tmp_path)
    assert len(rows) == whole + 1
    assert [row["error"] is None for row in rows] == [True] * whole + [False]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_utf16_is_said_to_be_that(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"text": "a"}\n', encoding="utf-16")
    (row,) = read(tmp_path)
    assert row["error"]["type"] == "UnreadableFile"
    assert "is UTF-16; convert it to UTF-8" in row["error"]["message"]


def test_a_scan_of_utf16_in_pieces_does_not_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' * 5, encoding="utf-16")
    write_lines(tmp_path / "b.jsonl", [{"text": "b"}])
    monkeypatch.setattr("pipelines.sources.jsonl.SPLIT_BYTES", 50)
    rows = read_once(tmp_path)
    assert [row["text"] for row in rows if row["error"] is None] == ["b"]
    assert "is UTF-16; convert it to UTF-8" in rows[0]["error"]["message"]


def frame(data: bytes, window_log: int) -> bytes:
    """A frame of zstd as RFC 8878 has it (section 3.1.1): magic, no content size, window, one raw block."""
    block = (len(data) << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd" + bytes([0, (window_log - 10) << 3]) + block + data


@pytest.mark.parametrize("window_log", [10, 27, 28, 30, 31])
@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl.zst", b'{"text": "long"}\n'), ("a.csv.zst", b"text\nlong\n"), ("a.tsv.ZST", b"text\nlong\n")],
)
def test_zstd_of_long_windows_is_read(tmp_path: Path, name: str, content: bytes, window_log: int) -> None:
    (tmp_path / name).write_bytes(frame(content, window_log))
    assert [(row["text"], row["error"]) for row in read(tmp_path)] == [("long", None)]
    # Also behind a frame of another window, one to be skipped, and padding.
    skipped = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"about"
    more = [frame(content[:3], 20), skipped, frame(content[3:], window_log), bytes(200_000), skipped]
    (tmp_path / name).write_bytes(b"".join(more))
    assert [(row["text"], row["error"]) for row in read(tmp_path)] == [("long", None)]


def test_a_text_file_may_be_of_a_long_window(tmp_path: Path) -> None:
    (tmp_path / "a.txt.zst").write_bytes(frame(b"long", 31))
    assert [(row["document_id"], row["text"]) for row in read(tmp_path)] == [("a.txt.zst", "long")]


def test_a_window_past_two_gigabytes_is_said_to_be_too_large(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.zst").write_bytes(frame(b'{"text": "a"}\n', 32))
    (row,) = read(tmp_path)
    assert row["error"]["type"] == "UnreadableFile" and "too much memory" in row["error"]["message"]


def test_zstd_gives_little_at_once_however_much_it_packs(tmp_path: Path) -> None:
    from pipelines.sources.lines import COMPRESSED_CHUNK_BYTES, read_chunks
    from pipelines.sources.split import Split

    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(PACKERS["zst"](bytes(100 << 20)))
    sizes = [len(chunk) for chunk in read_chunks(Split(str(path), str(path), path.name, "jsonl", path.stat().st_size))]
    assert sum(sizes) == 100 << 20 and max(sizes) <= COMPRESSED_CHUNK_BYTES


def test_zeros_after_a_member_may_be_many(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n') + bytes(200_000))
    assert [(row["text"], row["error"]) for row in read(tmp_path)] == [("a", None)]
