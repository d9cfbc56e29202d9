"""A job never reads what it writes, wherever its places are and however they are spelled."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines import EmbeddingPipeline
from pipelines.config.file import load_config
from pipelines.config.source import SourceConfig
from pipelines.errors import ConfigError, SourceError
from pipelines.evaluation.report.files import make_folder
from pipelines.run.report.report import RunReport
from pipelines.sources import plan_source
from pipelines.sources.written import Written
from pipelines.written import written_places
from tests.pipelines.sources.reading import write_lines


def job(source: str, sink: dict[str, Any], **more: Any) -> dict[str, Any]:
    embeddings = [{"name": "bm25", "model": "Qdrant/bm25"}]
    return {"corpus": "n", "source": {"path": source}, "embeddings": embeddings, "sink": [sink], **more}


def run(config: dict[str, Any]) -> RunReport:
    return EmbeddingPipeline.from_config(config | {"compute": {"engine": "local"}}).run()


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "docs" / "a.jsonl", [{"text": "a first text"}, {"text": "a second one"}, {"text": None}])
    return tmp_path / "docs"


SPELLINGS: list[Callable[[Path], str]] = [
    lambda docs: "docs",
    str,
    lambda docs: f"./{docs.name}/../docs/",
    Path.as_uri,
    lambda docs: "link",
    lambda docs: "~/docs",
    lambda docs: "docs/**",
    lambda docs: "d*",
]


@pytest.mark.parametrize("spelled", SPELLINGS)
def test_what_a_run_wrote_below_its_source_is_not_read_by_the_next(
    docs: Path, spelled: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(docs.parent))
    Path("link").symlink_to("docs")
    config = job(
        spelled(docs),
        {"type": "parquet", "path": "docs/out"},
        errors={"path": "docs/dead", "max_rate": 0.5},
        report="docs/r.json",
    )
    first, second, third = run(config), run(config), run(config)
    assert [report.rows["read"] for report in (first, second, third)] == [3, 3, 3]
    assert [report.rows["written"] for report in (first, second, third)] == [2, 0, 0]
    assert [report.rows["dead"] for report in (first, second, third)] == [1, 1, 1]
    plan = EmbeddingPipeline.from_config(config).plan()
    assert plan.files == 1
    (notice,) = [notice for notice in plan.notices if "written by this job" in notice]
    assert re.fullmatch(
        r"\d files are below source\.path but written by this job, and not read: "
        r"\d of errors\.path docs/dead, \d of sink\.0\.path docs/out, "
        r"1 of report \(its page, beside it\) docs/r\.html, 1 of report docs/r\.json",
        notice,
    )
    assert any("written by this job, and not read" in notice for notice in third.notices)
    assert "written by this job, and not read" in json.loads((docs / "r.json").read_text())["notices"][0]


@pytest.mark.parametrize(
    "spelled",
    [str, lambda path: path.as_uri(), lambda path: f"link/{path.name}", lambda path: f"docs/x/../{path.name}"],
)
def test_the_places_of_a_job_are_known_however_they_are_spelled(docs: Path, spelled: Callable[[Path], str]) -> None:
    (docs / "x").mkdir()
    Path("link").symlink_to("docs")
    write_lines(docs / "out" / "part.jsonl", [{"text": "written"}])
    plan = plan_source(SourceConfig(path="docs"), written=[Written("sink.0.path", spelled(docs / "out"))])
    assert (plan.files, plan.own_files) == (1, 1)


def test_a_link_in_the_source_to_what_the_job_writes_is_not_followed(docs: Path) -> None:
    write_lines(docs.parent / "out" / "part.jsonl", [{"text": "written"}])
    (docs / "link").symlink_to("../out")
    (docs / "part.jsonl").symlink_to("../out/part.jsonl")
    plan = plan_source(SourceConfig(path="docs"), written=[Written("sink.0.path", "out")])
    assert (plan.files, plan.own_files) == (1, 1)


def test_a_qdrant_folder_below_the_source_is_not_read(docs: Path) -> None:
    config = job("docs", {"type": "qdrant", "path": "docs/q", "collection": "c"}, errors={"max_rate": 0.5})
    assert [run(config).rows["read"] for _ in range(2)] == [3, 3]
    (notice,) = EmbeddingPipeline.from_config(config).plan().notices
    assert re.search(r"not read: \d+ of sink\.0\.path docs/q$", notice)


def test_dead_letters_beside_the_report_are_not_read(docs: Path) -> None:
    config = job("docs", {"type": "parquet", "path": "out"}, errors={"max_rate": 0.5}, report="docs/r.json")
    assert [run(config).rows["read"] for _ in range(2)] == [3, 3]
    assert list((docs / "dead_letters").iterdir())


@pytest.mark.parametrize(
    ("source", "sink", "more", "key"),
    [
        ("docs", "docs", {}, "sink.0.path docs"),
        ("docs/a.jsonl", "docs", {}, "sink.0.path docs"),
        ("docs/*.jsonl", ".", {}, "sink.0.path ."),
        ("link", "docs", {}, "sink.0.path docs"),
        ("docs", "out", {"errors": {"path": "docs/"}}, "errors.path docs/"),
        ("docs", "out", {"report": "docs/a.jsonl"}, None),
        ("docs/a.jsonl", "out", {"report": "docs/../docs/a.jsonl"}, "report docs/../docs/a.jsonl"),
    ],
)
def test_a_source_in_what_the_job_writes_is_refused_with_both_keys(
    docs: Path, source: str, sink: str, more: dict[str, Any], key: str | None
) -> None:
    Path("link").symlink_to("docs")
    config = job(source, {"type": "parquet", "path": sink}, **more)
    pipeline = EmbeddingPipeline.from_config(config)
    if key is None:
        with pytest.raises(SourceError, match=r"there is no file to read\. 1 file is below .*: 1 of report docs/a"):
            pipeline.plan()
        return
    said = re.escape(f"source.path {source} is, or lies in, {key}, which this job writes")
    with pytest.raises(ConfigError, match=f"^{said}"):
        pipeline.plan()
    with pytest.raises(ConfigError, match=f"^{said}"):
        pipeline.preview(1)


def test_a_folder_whose_name_only_begins_like_a_written_one_is_read(docs: Path) -> None:
    write_lines(docs / "output.jsonl", [{"text": "b"}])
    write_lines(docs / "outer" / "c.jsonl", [{"text": "c"}])
    assert plan_source(SourceConfig(path="docs"), written=[Written("sink.0.path", "docs/out")]).files == 3


def test_evaluations_and_downloaded_models_are_not_read(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETEMBED_CACHE_DIR", "models")
    write_lines(Path("output/evaluation/scifact/results.json"), [{"text": "results"}])
    write_lines(Path("models/m/config.json"), [{"text": "a model's"}])
    written = written_places(load_config(job(".", {"type": "parquet", "path": "out"})))
    plan = plan_source(SourceConfig(path="."), written=written)
    assert (plan.files, plan.own_files) == (1, 2)
    # Who asks for them has them.
    asked = plan_source(SourceConfig(path="output/evaluation/scifact/results.json"), written=written)
    assert (asked.files, asked.own_files) == (1, 0)


def test_an_evaluation_in_another_folder_is_known_by_its_mark(docs: Path) -> None:
    make_folder(docs / "results")
    write_lines(docs / "results" / "qdrant" / "meta.json", [{"text": "results"}])
    for path in ("docs", "docs/**", "docs/*", "."):
        plan = plan_source(SourceConfig(path=path))
        assert (plan.files, plan.own_files) == (1, 1)
        assert plan.notices[0].endswith(
            "1 of fleetembed evaluate --out " + ("docs/results" if path == "." else "results")
        )
    assert plan_source(SourceConfig(path="docs/results")).files == 1
    # A folder with other files in it is not taken for an evaluation's.
    write_lines(docs / "mine" / "b.jsonl", [{"text": "b"}])
    make_folder(docs / "mine")
    assert plan_source(SourceConfig(path="docs")).files == 2


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    store = fsspec.filesystem("memory")
    yield store
    store.rm("/lake", recursive=True)


def test_what_a_job_writes_to_a_store_is_not_read(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/lake/a.jsonl", b'{"text": "a"}\n')
    config = job("memory://lake", {"type": "parquet", "path": "memory://lake/out/"}, report=f"{tmp_path}/r.json")
    assert [run(config).rows["read"] for _ in range(2)] == [1, 1]
    source = SourceConfig(path="memory://lake/*")
    (notice,) = plan_source(source, written=[Written("sink.0.path", "memory://lake/out")]).notices
    assert notice.endswith("of sink.0.path memory://lake/out")
    with pytest.raises(ConfigError, match=r"memory://lake/out/x\.parquet is, or lies in, sink\.0\.path"):
        memory.pipe("/lake/out/x.parquet", b"")
        plan_source(SourceConfig(path="memory://lake/out/x.parquet"), written=written_places(load_config(config)))
