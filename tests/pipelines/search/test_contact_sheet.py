from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config.source import SourceConfig
from pipelines.errors import ConfigError
from pipelines.search.contact_sheet import write_sheet
from pipelines.search.hits import Hit
from tests.pipelines.sources.images.images import picture


@pytest.mark.parametrize("name", ["a%20b.png", "a b.png", "a#b.png", "a?b.png", "100%.png"])
def test_a_sheet_shows_the_image_of_exactly_that_name_wherever_the_source_is(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "my photos"
    folder.mkdir()
    (folder / name).write_bytes(picture(1))
    for number, decoy in enumerate({"a%20b.png", "a b.png", "a", "a.png"} - {name}):
        (folder / decoy).write_bytes(picture(100 + number))
    pages = []
    for number, path in enumerate((str(folder), folder.as_uri(), f"{folder}/*.png")):
        target = tmp_path / f"{number}.html"
        write_sheet(target, "asked", [Hit("1", 0.5, {"path": name})], SourceConfig(path=path))
        pages.append(target.read_text())
    assert "data:image" in pages[0]
    assert pages[0] == pages[1] == pages[2]


def test_a_sheet_at_a_url_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"--image-sheet .*takes a path of this machine, no URL"):
        write_sheet(Path("s3://bucket/sheet.html"), "asked", [], SourceConfig(path=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []
