from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from pipelines.config.source import SourceConfig
from pipelines.errors import SourceError
from pipelines.sources import plan_source, scan_split
from tests.pipelines.sources.images.images import picture, serving
from tests.pipelines.sources.reading import messages, read, read_once, write_lines, write_parquet

HTTP = {"allow": True, "private_addresses": True, "timeout": 5}


def images(rows: list[dict[str, Any]]) -> list[bytes | None]:
    return [row["_image"] for row in rows]


def test_a_column_may_hold_bytes(tmp_path: Path) -> None:
    columns = {"id": ["a", "b", "c"], "picture": [picture(1), None, picture(3)], "text": ["x", "y", None]}
    for kind in (pa.binary(), pa.large_binary()):
        write_parquet(tmp_path / "a.parquet", {**columns, "picture": pa.array(columns["picture"], kind)})
        rows = read(tmp_path, id="id", image="picture")
        assert images(rows) == [picture(1), None, picture(3)]
        assert [row["text"] for row in rows] == ["x", "y", None]
        assert [row["payload"] for row in rows] == ["{}"] * 3
        assert messages(rows) == [None] * 3


def test_a_column_may_hold_structs_as_hugging_face_datasets_do(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.png").write_bytes(picture(2))
    values = [
        {"bytes": picture(1), "path": "1.png"},
        {"bytes": None, "path": "elsewhere.png"},
        {"bytes": None, "path": None},
        None,
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    write_parquet(tmp_path / "a.parquet", {"image": pa.array(values, kind), "label": [0, 1, 2, 3]})
    rows = read(tmp_path / "a.parquet", image="image")
    assert images(rows) == [picture(1), picture(2), None, None]
    assert messages(rows) == [None, None, *["the row has neither text nor image"] * 2]
    assert json.loads(rows[0]["payload"]) == {"image": "1.png", "label": 0}


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_column_may_hold_paths_from_the_folder_of_the_file(tmp_path: Path, ending: str) -> None:
    (tmp_path / "data" / "below ü").mkdir(parents=True)
    for number, name in enumerate(("1.png", "data/2.png", "data/below ü/3 #?%20.png")):
        (tmp_path / name).write_bytes(picture(number))
    paths = ["2.png", "./below ü/3 #?%20.png", "../1.png", str(tmp_path / "1.png"), (tmp_path / "1.png").as_uri()]
    file = tmp_path / "data" / f"rows.{ending}"
    if ending == "csv":
        file.write_text("image,text\n" + "".join(f"{path},\n" for path in paths))
    elif ending == "jsonl":
        write_lines(file, [{"image": path} for path in paths])
    else:
        write_parquet(file, {"image": paths})
    rows = read(file, image="image")
    assert messages(rows) == [None] * 5
    assert images(rows) == [picture(1), picture(2), picture(0), picture(0), picture(0)]
    assert [row["text"] for row in rows] == [None] * 5
    assert [json.loads(row["payload"])["image"] for row in rows] == paths
    assert [json.loads(row["payload"]) for row in read(file, image="image", payload=[])] == [{}] * 5


def test_paths_may_begin_at_a_root(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(picture(7))
    write_lines(tmp_path / "rows.jsonl", [{"image": "a.png"}])
    for root in (str(tmp_path / "pictures"), (tmp_path / "pictures").as_uri()):
        assert images(read(tmp_path / "rows.jsonl", image="image", image_root=root)) == [picture(7)]


def test_paths_lead_into_the_stores_that_the_configuration_names(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/photos/below/a b.png", picture(1))
    memory.pipe(
        "/photos/rows/rows.jsonl", b'{"image": "../below/a b.png"}\n{"image": "memory://photos/below/a b.png"}\n'
    )
    try:
        rows = read("memory://photos/rows/rows.jsonl", image="image")
        assert (messages(rows), images(rows)) == ([None, None], [picture(1)] * 2)
        write_lines(tmp_path / "rows.jsonl", [{"image": "a b.png"}, {"image": "memory://photos/below/a b.png"}])
        path = tmp_path / "rows.jsonl"
        assert images(read(path, image="image", image_root="memory://photos/below")) == [picture(1)] * 2
        # Any other store could lead anywhere.
        rows = read(path, image="image")
        assert messages(rows) == [
            f"image a b.png: there is no such file (looked for {tmp_path}/a b.png)",
            "image memory://photos/below/a b.png: rows may name local files, http and https URLs, and file, gcs, gs, "
            "s3 ones without credentials; others only below the place of source.path or source.image_root",
        ]
    finally:
        memory.rm("/photos", recursive=True)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/a.png",
        "simplecache::http://127.0.0.1/a.png",
        "sftp://me:secret@127.0.0.1/a.png",
        "s3://key:secret@bucket/a.png?secret=1",
        "s3://bu%20cket?endpoint_override=127.0.0.1/a.png",
        "github://org:repo@main/a.png",
        "://",
        "http://[::1",
        "nul\0byte",
        "x" * 5000,
    ],
)
def test_urls_that_could_lead_anywhere_are_one_dead_row_each(tmp_path: Path, url: str) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    rows = read(write_lines(tmp_path / "rows.jsonl", [{"image": url}, {"image": "a.png"}]), image="image")
    assert [row["error"] is None for row in rows] == [False, True]
    assert "secret" not in rows[0]["error"]["message"] and len(rows[0]["error"]["message"]) < 1000
    assert rows[0]["error"]["type"] == "UnreadableImage"


def test_images_of_the_web_are_fetched_if_allowed(tmp_path: Path) -> None:
    pages = {f"/{number}.png": picture(number) for number in range(40)}
    with serving(pages) as web:
        urls = [{"image": web.url(f"/{number}.png?secret=1")} for number in range(41)]
        path = write_lines(tmp_path / "rows.jsonl", urls)
        rows = read(path, image="image", http=HTTP)
        assert images(rows) == [*pages.values(), None]
        assert messages(rows)[-1] == f"image {web.url('/40.png')} answered HTTP 404"
        asked = len(web.seen)
        (message,) = set(messages(read(path, image="image", limit=1)))
        assert message is not None and message.endswith("set it to true to fetch it") and "secret" not in message
        write_lines(path, [{"image": "1.png"}])
        assert images(read(path, image="image", http=HTTP, image_root=web.url("/"))) == [picture(1)]
        assert len(web.seen) == asked + 1


def test_rows_that_name_one_image_fetch_it_once(tmp_path: Path) -> None:
    with serving({"/a.png": picture(1), "/b.png": picture(2)}) as web:
        names = [web.url(f"/{name}.png") for name in "aababa"] + [web.url("/c.png")] * 3
        path = write_lines(tmp_path / "rows.jsonl", [{"image": name} for name in names])
        rows = read(path, image="image", http=HTTP)
        assert images(rows) == [picture(1), picture(1), picture(2), picture(1), picture(2), picture(1), *[None] * 3]
        assert messages(rows)[6:] == [f"image {web.url('/c.png')} answered HTTP 404"] * 3
        assert sorted(path for path, _ in web.seen) == ["/a.png", "/b.png", "/c.png"]


def test_what_is_no_image_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "large.png").write_bytes(bytes(2000))
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    values = [5, [1], {"url": "x"}, "empty.png", "large.png", "folder.png", "pipe.png", "/dev/zero", "\ud800", True]
    rows = read(
        write_lines(tmp_path / "a.jsonl", [{"image": value, "text": "t"} for value in values]),
        image="image",
        max_image_mb=0.001,
    )
    other = "neither bytes nor a path or URL nor a struct of bytes and path"
    assert messages(rows) == [
        f"image is int, {other}",
        f"image is list, {other}",
        "image is a struct without bytes or path",
        "image empty.png is empty: it has no byte",
        "image large.png has more than 0.001 MB (source.max_image_mb)",
        "image folder.png is no file",
        "image pipe.png is no file",
        "image /dev/zero is no file",
        "the image's path cannot be written in UTF-8, at character 0",
        f"image is bool, {other}",
    ]
    assert [row["text"] for row in rows] == ["t"] * len(values)
    columns = {"image": [bytes(2000), b"", picture()]}
    rows = read(write_parquet(tmp_path / "b.parquet", columns), image="image", max_image_mb=0.001)
    assert messages(rows) == [
        "the image has more than 0.001 MB (source.max_image_mb)",
        "the image is empty: it has no byte",
        None,
    ]


def test_a_text_may_be_missing_but_not_wrong_where_images_are(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    rows = [
        {"image": "a.png"},
        {"image": "a.png", "text": None},
        {"image": None, "text": "t"},
        {"image": "", "text": ""},
    ]
    found = read(write_lines(tmp_path / "a.jsonl", [*rows, {"image": "a.png", "text": 5}]), image="image")
    assert [row["text"] for row in found] == [None, None, "t", None, None]
    assert messages(found) == [None, None, None, "the row has neither text nor image", "text is int, not a string"]
    assert found[3]["error"]["type"] == "EmptyRow"
    assert images(found)[4] is None


def test_columns_are_checked_before_a_run(tmp_path: Path) -> None:
    path = str(write_lines(tmp_path / "a.jsonl", [{"picture": "a.png", "n": 1}]))
    plan_source(SourceConfig(path=path, image="picture"))
    with pytest.raises(SourceError, match=r"source\.image: no file has a column 'pictures'\. Did you mean 'picture'\?"):
        plan_source(SourceConfig(path=path, image="pictures"))
    with pytest.raises(SourceError, match=r"source\.text: no file has a column 'caption'"):
        plan_source(SourceConfig(path=path, image="picture", text="caption"))


def test_ids_made_from_content_tell_images_apart(tmp_path: Path) -> None:
    values = [picture(1), picture(2), picture(1)]
    write_parquet(tmp_path / "a.parquet", {"image": values})
    first = "the content was already read at a.parquet:row 1; the first is kept"
    assert messages(read_once(tmp_path, image="image")) == [None, None, first]
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(picture())
    path = write_lines(tmp_path / "b.jsonl", [{"image": name} for name in ("1.png", "2.png", "1.png")])
    first = "the content was already read at b.jsonl:1; the first is kept"
    assert messages(read_once(path, image="image", payload=[])) == [None, None, first]


def test_a_scan_fetches_no_image_and_of_parquet_reads_the_ids_alone(tmp_path: Path) -> None:
    with serving({}) as web:
        rows = [{"id": number, "image": web.url("/a.png")} for number in range(3)]
        source = SourceConfig(path=str(write_lines(tmp_path / "a.jsonl", rows)), id="id", image="image", http=HTTP)
        scan = scan_split(plan_source(source).splits[0], source)
        assert (scan.rows, scan.dead, len(scan.keys)) == (3, 0, 3)
        assert web.seen == []
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for number, (column, alone) in enumerate(
        [
            (pa.array([b"1", b"2"]), True),
            (pa.array(["a.png", "b.png"]), True),
            (pa.array([{"bytes": b"1"}, {"bytes": b"2"}], struct), True),
            (pa.array([b"1", None]), False),
            (pa.array([1, 2]), False),
        ]
    ):
        path = write_parquet(tmp_path / f"{number}.parquet", {"id": ["a", "b"], "image": column, "n": [1, 2]})
        source = SourceConfig(path=str(path), id="id", image="image")
        scan = scan_split(plan_source(source).splits[0], source)
        assert (scan.characters is None) == alone
        assert scan.rows == 2


def test_blocks_end_before_they_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.sources.rows.BLOCK_BYTES", 10_000)
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(bytes([number]) * (3000 if number != 3 else 20_000))
    from pipelines.sources import read_split

    source = SourceConfig(path=str(tmp_path))
    (split,) = plan_source(source).splits
    sizes = [table.num_rows for table in read_split(split, source, block_rows=100)]
    assert sizes == [3, 1, 2]


def test_text_rows_have_no_image_and_the_hashes_they_had(tmp_path: Path) -> None:
    (row,) = read(write_lines(tmp_path / "a.jsonl", [{"text": "a text", "n": 1}]))
    assert row["_image"] is None
    assert row["document_id"] == "b8b621d848913ff4f4999f6dfde88c7a"


def test_a_file_url_that_names_a_host_is_no_path_without_it(tmp_path: Path) -> None:
    (tmp_path / "a b?#.png").write_bytes(picture(1))
    urls = [
        f"file://{tmp_path}/a%20b%3F%23.png",
        f"file://localhost{tmp_path}/a b?#.png",
        f"file://host{tmp_path}/a b?#.png",
    ]
    rows = read(write_lines(tmp_path / "a.jsonl", [{"image": url} for url in urls]), image="image")
    assert [row["_image"] for row in rows] == [picture(1), picture(1), None]
    assert "a file:// URL names no host" in rows[2]["error"]["message"]
