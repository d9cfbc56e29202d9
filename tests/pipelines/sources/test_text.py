from __future__ import annotations

import gzip
from pathlib import Path

from tests.pipelines.sources.reading import (
    messages,
    read,
)


def test_a_text_file_is_one_document_named_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.md").write_bytes(b"\xef\xbb\xbf# Title\r\n\0")
    (tmp_path / "c.txt").touch()
    (tmp_path / "d.txt").write_bytes(b"caf\xe9")
    (tmp_path / "e.txt.gz").write_bytes(gzip.compress(b"packed"))
    rows = read(tmp_path)
    assert [(row["document_id"], row["text"]) for row in rows] == [
        ("a/b.md", "# Title\r\n\0"),
        ("c.txt", ""),
        ("d.txt", "caf\ufffd"),
        ("e.txt.gz", "packed"),
    ]
    assert rows[0]["payload"] == '{"path": "a/b.md"}'
    assert [row["origin"] for row in rows] == ["a/b.md", "c.txt", "d.txt", "e.txt.gz"]
    assert messages(rows) == [None, None, "byte 3 of the text, 0xe9, is not UTF-8", None]
