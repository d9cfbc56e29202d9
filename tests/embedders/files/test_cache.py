from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from embedders.errors import ModelFilesError
from embedders.files.digest import files_digest
from embedders.files.resolve import resolve_model
from tests.embedders.files.hub_models import (
    CARD,
    NEEDED,
    QUICK,
    write,
)
from tests.hub_server import HubServer
from tests.waiting import wait_until

pytest_plugins = ["tests.embedders.files.hub_fixtures"]
pytestmark = pytest.mark.usefixtures("isolated_caches")


def test_the_cache_folder_is_chosen_in_order(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def parent(**options: Path) -> Path:
        return resolve_model(CARD, timeouts=QUICK, **options).parent  # type: ignore[arg-type]

    assert parent() == tmp_path / "xdg" / "fleetembed"
    monkeypatch.setenv("FASTEMBED_CACHE_PATH", str(tmp_path / "theirs"))
    assert parent() == tmp_path / "xdg" / "fleetembed"
    assert not (tmp_path / "theirs").exists()
    monkeypatch.setenv("FLEETEMBED_CACHE_DIR", str(tmp_path / "ours"))
    assert parent() == tmp_path / "ours"
    assert parent(cache_dir=tmp_path / "given") == tmp_path / "given"


def settle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait until no file of the folder counts as changed just now, from when on its hash is remembered."""
    monkeypatch.setattr("embedders.files.digest.RACY_SECONDS", 0.2)
    newest = max(path.stat().st_ctime for path in folder.rglob("*") if path.is_file())
    wait_until(lambda: time.time() > newest + 0.21)


def test_a_digest_depends_on_names_and_contents_only(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", NEEDED), write(tmp_path / "two", dict(reversed(NEEDED.items())))
    assert files_digest(one, list(NEEDED)) == files_digest(two, reversed(list(NEEDED)))
    (two / "tokenizer.json").rename(two / "tokenizer2.json")
    names = [name.replace("tokenizer.json", "tokenizer2.json") for name in NEEDED]
    assert files_digest(one, list(NEEDED)) != files_digest(two, names)
    assert files_digest(one, list(NEEDED)) != files_digest(one, list(NEEDED)[1:])


def test_a_changed_file_changes_the_digest_even_with_its_size_and_time_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "m", {"a": b"one", "b": b"two"})
    settle(folder, monkeypatch)
    before = files_digest(folder, ["a", "b"])
    assert files_digest(folder, ["a", "b"]) == before
    stat = (folder / "a").stat()
    (folder / "a").write_bytes(b"uno")
    os.utime(folder / "a", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert files_digest(folder, ["a", "b"]) != before
    (folder / "a").write_bytes(b"one")
    assert files_digest(folder, ["a", "b"]) == before


def test_the_hash_of_a_file_changed_just_now_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedders.files.digest.RACY_SECONDS", 3600)
    folder = write(tmp_path / "m", {"a": b"one"})
    files_digest(folder, ["a"])
    read = []

    def note(path: Path) -> str:
        read.append(path)
        return "0" * 64

    monkeypatch.setattr("embedders.files.digest.file_sha256", note)
    files_digest(folder, ["a"])
    assert read == [folder / "a"]


def test_a_file_is_not_read_again_for_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "m", {"a": b"one"})
    settle(folder, monkeypatch)
    before = files_digest(folder, ["a"])

    def refuse(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("embedders.files.digest.file_sha256", refuse)
    assert files_digest(folder, ["a"]) == before


def test_a_digest_needs_no_writable_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "m", {"a": b"one"})
    settle(folder, monkeypatch)
    expected = files_digest(folder, ["a"])
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLEETEMBED_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert files_digest(folder, ["a"]) == expected


def test_a_digest_of_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match=r"m/a cannot be read: No such file"):
        files_digest(tmp_path / "m", ["a"])
