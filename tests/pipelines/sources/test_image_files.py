from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipelines.config.source import SourceConfig
from pipelines.errors import SourceError
from pipelines.sources import plan_source, scan_split
from pipelines.sources.split import FILES_A_SPLIT
from tests.pipelines.sources.images.images import picture
from tests.pipelines.sources.reading import messages, read, read_once, write_lines


def test_each_file_is_a_document_named_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.JPG").write_bytes(picture(1, "JPEG"))
    (tmp_path / "c.webp").write_bytes(picture(2, "WEBP"))
    (tmp_path / "d.txt").write_text("a text")
    (tmp_path / "e.png.gz").write_bytes(b"packed")
    rows = read(tmp_path)
    assert [(row["document_id"], row["text"], row["_image"]) for row in rows] == [
        ("d.txt", "a text", None),
        ("a/b.JPG", None, picture(1, "JPEG")),
        ("c.webp", None, picture(2, "WEBP")),
    ]
    assert [row["payload"] for row in rows[1:]] == ['{"path": "a/b.JPG"}', '{"path": "c.webp"}']
    assert [row["origin"] for row in rows] == ["d.txt", "a/b.JPG", "c.webp"]
    assert plan_source(SourceConfig(path=str(tmp_path))).skipped_files == 1
    (tmp_path / "e.png.gz").unlink()
    assert [row["document_id"] for row in read(tmp_path, format="image")] == ["a/b.JPG", "c.webp"]
    assert [row["document_id"] for row in read(f"{tmp_path}/*.webp", payload=["path"])] == ["c.webp"]


def test_many_files_are_few_splits_and_the_plan_counts_them(tmp_path: Path) -> None:
    for number in range(FILES_A_SPLIT + 20):
        (tmp_path / f"{number:04}.png").write_bytes(picture(number))
    plan = plan_source(SourceConfig(path=str(tmp_path)))
    assert [len(split.files) for split in plan.splits] == [FILES_A_SPLIT, 20]
    assert plan.files == FILES_A_SPLIT + 20
    rows = read(tmp_path, block_rows=7)
    assert [row["_image"] for row in rows] == [picture(number) for number in range(FILES_A_SPLIT + 20)]
    assert [row["document_id"] for row in read(tmp_path, limit=FILES_A_SPLIT + 1)][-1] == f"{FILES_A_SPLIT:04}.png"
    assert len(read_once(tmp_path, limit=30)) == 30


def test_files_that_cannot_be_read_are_dead_alone(tmp_path: Path) -> None:
    for name, content in {"a.png": picture(), "b.png": b"", "c.png": bytes(3000), "d.png": picture()}.items():
        (tmp_path / name).write_bytes(content)
    source = SourceConfig(path=str(tmp_path), max_image_mb=0.002)
    plan = plan_source(source)
    (tmp_path / "d.png").unlink()
    rows = read(tmp_path, max_image_mb=0.002)
    assert messages(rows) == [
        None,
        "image b.png is empty: it has no byte",
        "c.png has more than 0.002 MB (source.max_image_mb)",
    ]
    from pipelines.sources import read_split

    (table,) = read_split(plan.splits[0], source, block_rows=10)
    gone = table.to_pylist()[3]
    assert (gone["document_id"], gone["origin"], gone["_image"]) == ("d.png", "d.png", None)
    assert gone["error"]["message"] == "image d.png: there is no such file"


def test_a_scan_opens_no_image(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(picture(number))
    source = SourceConfig(path=str(tmp_path))
    (split,) = plan_source(source).splits
    for file in tmp_path.iterdir():
        file.unlink()
    scan = scan_split(split, source)
    assert (scan.rows, scan.positions.tolist()) == (3, [0, 1, 2])


def test_an_id_that_a_row_had_before_is_a_repeat(tmp_path: Path) -> None:
    write_lines(tmp_path / "rows.jsonl", [{"id": "a.png", "text": "first"}])
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(picture())
    rows = read_once(tmp_path, id="id")
    assert messages(rows) == [None, "document id 'a.png' was already read at rows.jsonl:1; the first is kept", None]
    assert [row["_image"] is None for row in rows] == [True, True, False]


def test_files_that_would_share_an_id_are_an_error(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").write_bytes(picture())
    with pytest.raises(SourceError, match=r"1\.png.*folder above both"):
        plan_source(SourceConfig(path=[str(tmp_path / "a"), str(tmp_path / "b")]))


def test_pictures_beside_the_data_are_passed_over_where_rows_name_them_or_none_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.png").write_bytes(picture(1))
    write_lines(tmp_path / "metadata.jsonl", [{"file_name": "pictures/1.png", "text": "a caption"}])
    (row,) = read(tmp_path, image="file_name")
    assert (row["_image"], row["text"]) == (picture(1), "a caption")
    plan = plan_source(SourceConfig(path=str(tmp_path)), images=False)
    assert ([split.name for split in plan.splits], plan.skipped_files) == (["metadata.jsonl"], 1)
    named = SourceConfig(path=str(tmp_path / "pictures" / "1.png"))
    assert plan_source(named, images=False).files == 1
    with pytest.raises(SourceError, match="this job takes"):
        plan_source(SourceConfig(path=str(tmp_path / "pictures")), images=False)


class LateFileSystem(MemoryFileSystem):
    """An object store that answers each request late, and remembers how many it had at once."""

    protocol = "late"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    now, most = 0, 0
    lock = threading.Lock()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        stripped: str = super()._strip_protocol(path.replace("late://", "memory://"))
        return stripped

    def _open(self, *args: Any, **options: Any) -> Any:
        with LateFileSystem.lock:
            LateFileSystem.now += 1
            LateFileSystem.most = max(LateFileSystem.most, LateFileSystem.now)
        time.sleep(0.02)
        with LateFileSystem.lock:
            LateFileSystem.now -= 1
        return super()._open(*args, **options)


def test_files_of_a_store_are_fetched_many_at_once_and_come_in_order() -> None:
    fsspec.register_implementation("late", LateFileSystem, clobber=True)
    store = fsspec.filesystem("late")
    for number in range(64):
        store.pipe(f"/photos/{number:02}.png", picture(number))
    LateFileSystem.most = 0
    rows = read("late://photos")
    assert messages(rows) == [None] * 64
    assert [row["_image"] for row in rows] == [picture(number) for number in range(64)]
    assert 4 <= LateFileSystem.most <= 16


def test_real_odd_images_are_read_whole(shared_data: Path) -> None:
    folder = shared_data / "images-odd"
    rows = read(folder, format="image", exif=True)
    named = {row["document_id"]: row for row in rows}
    assert {"README.md", "MANIFEST.tsv"}.isdisjoint(named)
    dead = {name: row["error"]["message"] for name, row in named.items() if row["error"]}
    assert dead == {"EMPTY_zero_bytes.jpg": "image EMPTY_zero_bytes.jpg is empty: it has no byte"}
    for name, row in named.items():
        assert name in dead or row["_image"] == (folder / name).read_bytes()
        assert json.loads(row["payload"])["path"] == name
    assert json.loads(named["hopper_orientation_6.jpg"]["payload"])["exif"]["Orientation"] == 6
