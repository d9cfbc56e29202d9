"""Small files of the cache of embeddings are put together, whoever else is at it, or is killed meanwhile."""

from __future__ import annotations

import logging
import random
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipelines.embed import cache_compaction
from pipelines.embed.cache_compaction import GROUP
from tests.conftest import ROOT
from tests.pipelines.embed.test_embedding_cache import cache, keys, vectors

TEXTS = [f"text {number}" for number in range(2 * GROUP + 3)]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with a file a text, and the first one twice; not to be opened."""
    place = tmp_path_factory.mktemp("filled")
    writer = cache(place)
    for text in (*TEXTS, TEXTS[0]):
        writer.add(keys([text]), vectors([text]))
    return place


@pytest.fixture
def place(filled: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(filled, tmp_path / "cache")


def files(place: Path) -> list[str]:
    return sorted(path.name for path in place.rglob("*.parquet"))


def assert_whole(reader: Any) -> None:
    asked = [*reversed(TEXTS), "none"]
    at, found = reader.find(keys(asked))
    assert at.tolist() == list(range(len(TEXTS)))
    assert found.equals(vectors(asked[:-1]))


def test_small_files_are_put_together_and_who_had_read_them_finds_their_rows(
    filled: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "cache"
    before = cache(place)
    shutil.copytree(filled, place, dirs_exist_ok=True)
    before.refresh()
    assert len(files(place)) == len(TEXTS) + 1
    with ThreadPoolExecutor(3) as threads:
        opened = list(threads.map(lambda _: cache(place), range(3)))
    assert len(files(place)) == 2 + 4
    with caplog.at_level(logging.WARNING):
        for reader in (before, *opened, cache(place)):
            assert_whole(reader)
    assert not caplog.messages


def test_files_of_a_level_become_one_of_the_next(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cache_compaction, "MOST_BYTES", 1)
        assert_whole(cache(place))
    assert len(files(place)) == len(TEXTS) + 1
    monkeypatch.setattr(cache_compaction, "GROUP", 4)
    assert_whole(cache(place))
    # Of 68 files 64 become one in three steps, and four another one.
    assert [name.split(".")[1] for name in files(place)] == ["3", "1"]


def test_a_damaged_file_stays(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = next(place.rglob("*.parquet")).parent
    (folder / "00-damaged.parquet").write_bytes(b"something else")
    with caplog.at_level(logging.WARNING):
        assert_whole(cache(place))
    assert "damaged file, which is passed over" in caplog.text
    assert "00-damaged.parquet" in files(place)


def test_who_is_killed_before_the_parts_are_deleted_leaves_them_to_the_next(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = cache_compaction.write_table

    def killed(*arguments: Any) -> None:
        write(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cache_compaction, "write_table", killed)
        cache(place)
    assert len(files(place)) == len(TEXTS) + 2
    assert_whole(cache(place))
    assert len(files(place)) == 2 + 4


def test_sigkill_at_any_moment_of_two_at_once_loses_nothing(
    filled: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    places = [shutil.copytree(filled, tmp_path / str(number)) for number in range(12)]
    opening = (
        "import sys; from pathlib import Path; from tests.pipelines.embed.test_embedding_cache import cache\n"
        "print('ready', flush=True)\n"
        "for place in sys.argv[1:]: cache(Path(place))"
    )
    command = [sys.executable, "-c", opening, *map(str, places)]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        process.stdout.readline()
    for process in both:
        time.sleep(random.uniform(0, 0.2))
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    with caplog.at_level(logging.WARNING):
        for place in places:
            assert_whole(cache(place))
            assert len(files(place)) == 2 + 4
    assert not caplog.messages
