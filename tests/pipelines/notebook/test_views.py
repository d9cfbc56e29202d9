from __future__ import annotations

import io
import json
import os
import pickle
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from pipelines import EmbeddingPipeline, Hit, Hits, Searcher
from pipelines.config.source import SourceConfig
from pipelines.notebook.html import STYLE
from pipelines.notebook.text import to_text
from pipelines.notebook.view import Grid, View
from tests.pipelines.sources.images.images import picture

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(1)"> & more'


class Tags(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def names(self) -> set[str]:
        return {tag for tag, _ in self.found}


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [{"id": f"d{number}", "text": f"the word{number} of all words"} for number in range(8)]
    rows += [{"id": HOSTILE, "text": 17}, {"id": "hostile", "text": HOSTILE, "kind": {"deep": [HOSTILE] * 500}}]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "corpus": "shown",
        "source": {"path": str(tmp_path / "docs.jsonl"), "id": "id"},
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": {"type": "qdrant", "path": str(tmp_path / "qdrant"), "collection": "shown"},
        "compute": {"engine": "local"},
        "errors": {"max_rate": 0.5},
        "report": str(tmp_path / "report.json"),
    }


def test_a_plan_a_report_and_hits_are_tables_in_a_notebook_and_lines_in_a_terminal(job: dict[str, Any]) -> None:
    pipeline = EmbeddingPipeline.from_config(job)
    plan = pipeline.plan()
    report = pipeline.run()
    with Searcher.from_config(job) as searcher:
        hits = searcher.search("script of an alert", limit=5)
        nothing = searcher.search("of the", limit=5)
    for shown in (plan, report, hits, nothing):
        page = Tags(shown._repr_html_())
        assert page.names <= {"div", "style", "p", "table", "thead", "tbody", "tr", "th", "td", "b"}
        assert "\x1b" not in repr(shown)
        assert max(map(len, repr(shown).splitlines())) < 200
    assert "it will be created" in repr(plan)
    assert "Qdrant/bm25" in Tags(plan._repr_html_()).text
    for text in (repr(report), Tags(report._repr_html_()).text):
        assert "shown: complete in" in text
        assert "text is int, not a string" in text
        assert job["report"].replace(".json", ".html") in text
        assert "<script>alert(1)</script>" in text
    assert hits[0].document_id == "hostile"
    assert "<script>alert(1)</script>" in Tags(hits._repr_html_()).text
    assert repr(nothing) == "nothing found"


def test_a_plan_tells_of_data_in_memory_as_the_command_does(job: dict[str, Any]) -> None:
    table = pa.table({"id": ["a"], "text": ["a word"]})
    plan = EmbeddingPipeline.from_config(job, source=table).plan()
    for text in (repr(plan), Tags(plan._repr_html_()).text):
        assert "1 row of pyarrow.Table, about" in text
        assert "columns: id, text" in text
        assert "0 files" not in text


def test_names_that_are_too_long_keep_their_ends() -> None:
    rows = [[f"a-model-of-a-long-name max_length={length}", *["0.123456"] * 12] for length in (4, 8)]
    lines = to_text(View("", [Grid(["", *map(str, range(12))], rows)])).splitlines()
    assert [len(line.split("  ")[1]) for line in lines[1:]] == [28, 28]
    assert "…" in lines[1] and "max_length=4 " in lines[1] and "max_length=8 " in lines[2]


def test_the_plan_of_data_in_memory_tells_its_rows_and_columns(job: dict[str, Any]) -> None:
    table = pa.table({"id": ["a", "b"], "text": ["one", "two"]})
    given = EmbeddingPipeline.from_config({"embeddings": job["embeddings"]}, source=table)
    for text in (repr(given.plan()), Tags(given.plan()._repr_html_()).text):
        assert "2 rows of pyarrow.Table" in text and "columns: id, text" in text
        assert "none: the rows are for embed(), to_arrow()" in text and "dead letters" not in text
    # Without a corpus of its own.
    unnamed = {key: value for key, value in job.items() if key not in ("source", "corpus")}
    assert repr(EmbeddingPipeline.from_config(unnamed, source=table).run()).startswith("complete in")


def test_a_run_in_a_notebook_shows_its_report_once(job: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda one, **_: shown.append(one))
    written = io.StringIO()
    report = EmbeddingPipeline.from_config(job).run(console=Console(file=written, force_jupyter=True))
    assert [one for one in shown if not isinstance(one, dict)] == [report] and written.getvalue() == ""


def test_a_view_takes_its_colours_from_the_page() -> None:
    colours = re.findall(r"(?:color|background|border[a-z-]*):([^;}]+)", STYLE)
    assert colours
    for colour in colours:
        assert re.fullmatch(r"inherit|0|collapse|\d+px solid rgba\([\d,]+,\.\d+\)", colour.strip()), colour


def test_hits_are_a_list() -> None:
    plain = [Hit(str(number), 1 / (number + 1), {"text": f"text {number}"}) for number in range(4)]
    hits = Hits(plain)
    assert isinstance(hits, list)
    assert hits == plain
    assert [*hits, *hits[1:]] == [*plain, *plain[1:]]
    assert isinstance(hits[:2], Hits)
    assert hits[-1] is plain[-1]
    assert pickle.loads(pickle.dumps(hits)) == hits
    assert sorted(hits, key=lambda hit: hit.score)[0] == plain[-1]
    assert Hits() == []


def test_what_is_shown_has_a_bound() -> None:
    many = Hits(
        [Hit(str(number), 0.5, {"text": "word " * 200_000, "list": list(range(10_000))}) for number in range(9)]
    )
    many += [Hit(str(number), 0.1, {f"key{number}": "\u202eabc\x00\x1b[31m"}) for number in range(20_000)]
    page = many._repr_html_()
    assert len(page) < 60_000
    assert "and 19,959 more" in page
    assert "20,009 hits" in page
    assert not set("\u202e\x00\x1b") & set(page + repr(many))
    assert len(repr(many)) < 20_000
    odd = Hits([Hit("1", 0.5, {"\x1b[31m" + "key" * 100_000: 1})])
    assert "[31mkey" in repr(odd)
    assert "\x1b" not in repr(odd) + odd._repr_html_()
    assert max(len(repr(odd)), len(odd._repr_html_())) < 5_000


def test_images_of_hits_are_thumbnails_where_their_job_read_them(tmp_path: Path) -> None:
    (tmp_path / "a photo.png").write_bytes(picture(1))
    (tmp_path / "no photo.png").write_text("text")
    os.mkfifo(tmp_path / "pipe.png")
    paths = [
        "a photo.png",
        "no photo.png",
        "pipe.png",
        "gone.png",
        "s3://bucket/a photo.png",
        str(tmp_path),
        7,
        "\x00.png",
    ]
    hits = Hits(
        [Hit(str(number), 0.5, {"path": path}) for number, path in enumerate(paths)], SourceConfig(path=str(tmp_path))
    )
    pictures = [values for tag, values in Tags(hits._repr_html_()).found if tag == "img"]
    assert [found["alt"] for found in pictures] == ["0"]
    assert str(pictures[0]["src"]).startswith("data:image/jpeg;base64,")
    assert "image" not in repr(hits[:1])
    assert "<img" not in Hits(list(hits))._repr_html_()
    whole = Hits([Hit("1", 0.5, {"path": str(tmp_path / "a photo.png")})])
    assert "<img" in whole._repr_html_()
