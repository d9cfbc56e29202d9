from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pipelines.sources.images.images import picture
from tests.pipelines.sources.reading import FILES_OF_A_TEST, PACKERS, messages, read, read_once
from tests.pipelines.sources.test_tar import pack


def write(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    path.write_bytes(pack(files))
    return path


def test_a_sample_is_image_text_and_json_of_one_name(tmp_path: Path) -> None:
    files = [
        ("./0001.jpg", b"first"),
        ("./0001.txt", "ein Ü".encode()),
        ("./0001.json", b'{"width": 4, "url": "https://x.test/1"}'),
        ("./0001.cls", b"7"),
        ("0002.Caption", b"no image"),
        ("a.b/0003.seg.PNG", b"third"),
        ("a.b/0003.png", b"not taken"),
        ("._0004.webp", b"resource fork"),
        ("0004.webp", b"fourth"),
        ("._0004.txt", b"resource fork"),
        ("0004.txt", b"together"),
    ]
    rows = read(write(tmp_path / "a.tar", files))
    assert [(row["text"], row["_image"]) for row in rows] == [
        ("ein Ü", b"first"),
        ("no image", None),
        (None, b"third"),
        ("together", b"fourth"),
    ]
    payloads = [json.loads(row["payload"]) for row in rows]
    assert payloads[0] == {"__key__": "0001", "width": 4, "url": "https://x.test/1"}
    assert [payload["__key__"] for payload in payloads] == ["0001", "0002", "a.b/0003", "0004"]
    assert [row["origin"] for row in rows] == [f"a.tar:sample {number}" for number in (1, 2, 3, 4)]
    assert messages(rows) == [None] * 4


def test_ids_and_text_may_come_from_the_json_or_the_name(tmp_path: Path) -> None:
    files = [("x.jpg", b"1"), ("x.json", b'{"caption": "from json", "uid": 5}'), ("y.jpg", b"2"), ("y.json", b"{}")]
    write(tmp_path / "a.tar", files)
    rows = read(tmp_path, id="uid", text="caption")
    assert (rows[0]["document_id"], rows[0]["text"]) == ("5", "from json")
    assert rows[1]["document_id"] is not None
    assert [row["document_id"] for row in read(tmp_path, id="__key__", payload=[])] == ["x", "y"]


def test_the_same_samples_in_two_archives_are_read_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.tar", [("1.jpg", b"one"), (f"{name}.jpg", b"other")])
    assert messages(read_once(tmp_path)) == [
        None,
        None,
        "the content was already read at a.tar:sample 1; the first is kept",
        None,
    ]


def test_samples_that_cannot_be_used_are_dead_alone(tmp_path: Path) -> None:
    files = [
        ("1.json", b"{}"),
        ("2.heic", b"unknown"),
        ("3.jpg", b"x" * 2000),
        ("4.jpg", b"fine"),
        ("4.json", b"[1]"),
        ("5.jpg", b"fine"),
        ("5.json", b"{"),
        ("6.jpg", b"fine"),
        ("6.txt", b"caf\xe9"),
        ("7.jpg", b""),
        ("8.txt", b"t" * 2000),
        ("9.jpg", b"fine"),
    ]
    rows = read(write(tmp_path / "a.tar", files), max_image_mb=0.001)
    assert messages(rows) == [
        "the row has neither text nor image",
        "sample '2' has neither text nor image, but 2.heic",
        "member 3.jpg has more than 0.001 MB (source.max_image_mb)",
        "the JSON of sample '4' is a list, not an object",
        "the JSON of sample '5' cannot be read: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)",
        "byte 3 of the text, 0xe9, is not UTF-8",
        "the image is empty: it has no byte",
        "member 8.txt has more than 0.001 MB (source.max_image_mb)",
        None,
    ]
    assert [row["_image"] for row in rows] == [None] * 8 + [b"fine"]


@pytest.mark.parametrize("ending", PACKERS)
def test_compressed_archives_are_read(tmp_path: Path, ending: str) -> None:
    archive = pack([(f"{number}.png", picture(number)) for number in range(50)])
    (tmp_path / f"a.tar.{ending}").write_bytes(PACKERS[ending](archive))
    rows = read(tmp_path)
    assert [row["_image"] for row in rows] == [picture(number) for number in range(50)]


def test_a_damaged_archive_gives_its_samples_and_one_dead_row(tmp_path: Path) -> None:
    archive = pack([(f"{number}.png", picture(number)) for number in range(50)])
    (tmp_path / "a.tar").write_bytes(archive[: 1024 * 20 + 700])
    (tmp_path / "b.tar").write_bytes(archive[: 1024 * 20])
    (tmp_path / "c.tar").write_bytes(archive[: 1024 * 20] + b"\1" * 512 + archive[1024 * 20 :])
    (tmp_path / "d.tar").touch()
    (tmp_path / "e.tar").write_bytes(pack([]))
    write(tmp_path / "f.tar", [("1.png", b"good")])
    rows = read(tmp_path, id="__key__")
    dead = [row["error"]["message"] for row in rows if row["error"]]
    assert [message.split(": ")[0] for message in dead] == [
        "file a.tar cannot be read after a.tar:sample 20",
        "file b.tar cannot be read after b.tar:sample 19",
        "file c.tar cannot be read after c.tar:sample 19",
        "file d.tar cannot be read",
    ]
    assert rows[-1]["_image"] == b"good"
    assert len(rows) == 20 + 1 + 19 + 1 + 19 + 1 + 1 + 1


def test_nothing_outside_of_the_archive_is_touched(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            info = tarfile.TarInfo("1.jpg")
            info.type, info.linkname = kind, str(tmp_path / "secret.jpg")
            tar.addfile(info)
        info = tarfile.TarInfo("../../2.jpg")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"2"))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.tar").write_bytes(file.getvalue())
    assert [row["_image"] for row in read(folder)] == [b"2"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar", "in", "secret.jpg"]


SAMPLES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "x/a", "x.y/a"]), st.sets(st.sampled_from(["jpg", "txt", "json"]))), max_size=8
)


@given(SAMPLES)
@FILES_OF_A_TEST
def test_any_members_are_grouped_by_name_and_none_is_lost(tmp_path: Path, samples: list[tuple[str, set[str]]]) -> None:
    content = {"jpg": b"image", "txt": b"text", "json": b'{"n": 1}'}
    kept = [(name, kinds) for name, kinds in samples if kinds]
    expected: list[tuple[str, set[str]]] = []
    for name, kinds in kept:
        if expected and expected[-1][0] == name:
            expected[-1] = (name, expected[-1][1] | kinds)
        else:
            expected.append((name, kinds))
    members = [(f"{name}.{kind}", content[kind]) for name, kinds in kept for kind in sorted(kinds)]
    rows = read(write(tmp_path / "a.tar", members))
    assert len(rows) == len(expected)
    for row, (name, kinds) in zip(rows, expected, strict=True):
        assert (row["_image"] is not None, row["text"] is not None) == ("jpg" in kinds, "txt" in kinds)
        assert (row["error"] is None) == bool(kinds & {"jpg", "txt"})
        assert json.loads(row["payload"]) == {"__key__": name, **({"n": 1} if "json" in kinds else {})}
