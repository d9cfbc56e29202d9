"""Local files that are written as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedders.files.atomic import whole_file
from pipelines.filesystem import write_json


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
