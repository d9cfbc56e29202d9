from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from pipelines.sources.files import filesystem_of
from tests.pipelines.sources.images.images import picture
from tests.pipelines.sources.reading import messages, read, write_lines, write_parquet

THREADS = 16


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """fsspec's store in memory, which hands out one object a file to all who open it."""
    store = fsspec.filesystem("memory")
    yield store
    store.rm("/shared", recursive=True)


def test_threads_that_read_one_file_of_a_store_do_not_move_each_others_position(
    memory: fsspec.AbstractFileSystem,
) -> None:
    content = bytes(range(256)) * 4000
    memory.pipe("/shared/a.bin", content)

    def pieces(number: int) -> bytes:
        store = filesystem_of("memory://shared")
        with (store.open_input_file if number % 2 else store.open_input_stream)("/shared/a.bin") as file:
            return b"".join(iter(lambda: file.read(5000), b""))

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(found == content for found in pool.map(pieces, range(THREADS * 4)))


def test_threads_that_fetch_one_image_of_a_store_get_all_of_it(memory: fsspec.AbstractFileSystem) -> None:
    image = picture(1, size=(300, 200))
    memory.pipe("/shared/a.png", image)
    names = ["a.png", "memory://shared/a.png", *("../shared/" + "./" * number + "a.png" for number in range(14))]
    lines = "".join(f'{{"image": "{name}"}}\n' for name in names * 30)
    memory.pipe("/shared/rows.jsonl", lines.encode())
    rows = read("memory://shared/rows.jsonl", image="image")
    assert messages(rows) == [None] * len(names) * 30
    assert {row["_image"] for row in rows} == {image}


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_row_that_names_the_file_it_is_in_loses_no_other(
    memory: fsspec.AbstractFileSystem, tmp_path: Path, ending: str
) -> None:
    named = [f"rows.{ending}" if number % 100 == 5 else None for number in range(3000)]
    values = [{"image": name, "text": f"{number:07}" * 100} for number, name in enumerate(named)]
    if ending == "jsonl":
        write_lines(tmp_path / "rows.jsonl", values)
    else:
        columns = {name: [value[name] for value in values] for name in ("image", "text")}
        write_parquet(tmp_path / "rows.parquet", columns, row_group_size=500)
    content = (tmp_path / f"rows.{ending}").read_bytes()
    memory.pipe(f"/shared/rows.{ending}", content)
    rows = read(f"memory://shared/rows.{ending}", image="image")
    assert [row["text"] for row in rows] == [value["text"] for value in values]
    assert [row["_image"] for row in rows] == [content if name else None for name in named]


def test_threads_do_not_share_the_position_in_an_archive_that_is_read_as_a_store(tmp_path: Path) -> None:
    images = {f"{number:03}.png": bytes([number]) * 20_000 for number in range(250)}
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        for name, content in images.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    rows = read(f"tar://::file://{tmp_path}/images.tar")
    assert messages(rows) == [None] * 250
    assert [row["_image"] for row in rows] == list(images.values())
