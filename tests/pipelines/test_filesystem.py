"""Local files that are written as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.filesystem import whole_file, write_json


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole_file(path) as file:
        file.write(b"ne")
        assert path.read_text() == "old"
        file.write(b"w")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_half_way_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"title": "Zürich"})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"title": object()})
    with pytest.raises(KeyError, match="half way"), whole_file(path) as file:
        file.write(b"{")
        raise KeyError("half way")
    assert path.read_text(encoding="utf-8") == '{\n  "title": "Zürich"\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_names_the_file_that_was_wanted(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "nowhere" / "a.txt"):
        with pytest.raises(OSError, match=f"{path.name}'") as caught, whole_file(path) as file:
            file.write(b"new")
        assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
