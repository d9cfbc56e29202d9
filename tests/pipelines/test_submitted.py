"""Where a job writes: below compute.base_path, and nowhere that Ray removes when it was submitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines import EmbeddingPipeline
from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.errors import ConfigError
from pipelines.submitted import SUBMITTED, UPLOADS, is_submitted
from pipelines.urls import join, refuse_url, without_credentials


def job(**changes: Any) -> dict[str, Any]:
    base = {
        "source": {"path": "corpus.jsonl", "id": "id"},
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": [
            {"type": "parquet", "path": "out"},
            {"type": "parquet", "path": "/abs/out"},
            {"type": "qdrant", "url": "http://q:6333", "collection": "c"},
        ],
        "compute": {"engine": "local"},
    }
    return {**base, **changes}


def places(config: JobConfig) -> list[str | None]:
    return [*(sink.folder for sink in config.sink), config.dead_letters, config.report]


@pytest.fixture
def submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a job that was submitted, with a corpus that came along."""
    (tmp_path / "corpus.jsonl").write_text('{"id": "a", "text": "one"}\n{"id": "b", "text": null}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(SUBMITTED, "{}")
    return tmp_path


def test_relative_places_lie_below_the_base_path_and_others_stay() -> None:
    config = load_config(job(compute={"base_path": "/data/x/"}))
    assert places(config) == ["/data/x/out", "/abs/out", None, "/data/x/dead_letters", "/data/x/run_report.json"]
    # What is read stays where it is, and a configuration that is loaded again changes no more.
    assert config.source.paths == ["corpus.jsonl"]
    assert load_config(config, ["compute.block_rows=7"]).sink == config.sink
    moved = load_config(job(errors={"path": "dead"}, report="~/r.json", compute={"base_path": "s3://b/p?region=x"}))
    assert places(moved)[0] == "s3://b/p/out?region=x"
    assert places(moved)[3:] == ["s3://b/p/dead?region=x", str(Path("~/r.json").expanduser())]
    assert JobConfig.model_validate(job(compute={"base_path": "/data"})).report == "/data/run_report.json"


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("/data", "./a/b", "/data/a/b"),
        ("file:///data%20x", "a?b", "/data x/a?b"),
        ("s3://bucket", "a b/50%25?", "s3://bucket/a%20b/50%2525%3F"),
        ("s3://bucket/x y", "./a", "s3://bucket/x%20y/a"),
        ("memory://root", "a b", "memory://root/a b"),
    ],
)
def test_a_path_is_joined_as_it_is_written(base: str, path: str, expected: str) -> None:
    assert join(base, path) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compute": {"base_path": "data"}}, r"compute\.base_path: write an absolute path or a URL"),
        ({"compute": {"base_path": "s3://b/p"}, "report": "../r.json"}, r"\.\./r\.json leads out of s3://b/p"),
        (
            {"compute": {"base_path": "/abs"}},
            "sink: the same place is named twice",
        ),
        ({"errors": {"exit_code_on_dead": 1}}, r"errors\.exit_code_on_dead: input should be 0 or 3"),
    ],
)
def test_a_base_path_that_leads_nowhere_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(job(**changes))


@pytest.mark.parametrize("base", ["s3://AKIA:hunter2@b/p", "s3://AKIA:hunter2@b/p?x=hunter2"])
def test_a_path_that_leads_out_of_a_url_is_told_of_without_its_credentials(base: str) -> None:
    with pytest.raises(ConfigError, match=r"\.\./r leads out of s3://b/p$"):
        join(base, "../r")
    with pytest.raises(ConfigError, match=r"--out s3:/b/p: takes a path of this machine"):
        refuse_url(Path(base), "--out")
    assert without_credentials(f"simplecache::{base}") == "simplecache::s3://b/p"


def test_a_qdrant_folder_is_on_a_disk(tmp_path: Path) -> None:
    sink = {"type": "qdrant", "path": "q", "collection": "c"}
    config = load_config(job(sink=sink, compute={"base_path": "s3://b/p"}))
    with pytest.raises(ConfigError, match=r"'c' at s3://b/p/q: a Qdrant folder is on a disk.*give the url of a server"):
        EmbeddingPipeline(config).run()


def test_a_submitted_job_is_refused_what_it_would_lose(submitted: Path) -> None:
    pipeline = EmbeddingPipeline.from_config(job())
    lost = r"sink\.0\.path out, report run_report\.json; write absolute paths or URLs, or set compute\.base_path"
    for act in (pipeline.plan, pipeline.run):
        with pytest.raises(ConfigError, match=lost):
            act()
    assert {path.name for path in submitted.iterdir()} == {"corpus.jsonl"}
    with pytest.raises(ConfigError, match=r"sink\.0\.path out, errors\.path dead, report"):
        EmbeddingPipeline.from_config(job(errors={"path": "dead"})).run()
    elsewhere = job(compute={"address": "local", "base_path": "/x"})
    with pytest.raises(ConfigError, match="local would start another one"):
        EmbeddingPipeline.from_config(elsewhere).plan()


def test_a_submitted_job_reads_what_came_along_and_writes_below_its_base_path(
    submitted: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("base")
    changes = {"compute": {"engine": "local", "base_path": str(base)}, "sink": {"type": "parquet", "path": "out"}}
    pipeline = EmbeddingPipeline.from_config(job(**changes, errors={"max_rate": 1, "exit_code_on_dead": 0}))
    report = pipeline.run(console=Console(quiet=True))
    assert (report.rows["written"], report.rows["dead"], report.exit_code) == (1, 1, 0)
    assert {path.name for path in base.iterdir()} == {"out", "dead_letters", "run_report.json", "run_report.html"}
    assert {path.name for path in submitted.iterdir()} == {"corpus.jsonl"}


def test_a_folder_that_ray_unpacked_is_one_of_a_submitted_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_submitted()
    unpacked = tmp_path / "runtime_resources" / UPLOADS / "_ray_pkg_0"
    unpacked.mkdir(parents=True)
    monkeypatch.chdir(unpacked)
    assert is_submitted()


def test_the_sign_is_the_one_that_ray_gives() -> None:
    from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR

    assert SUBMITTED == RAY_JOB_CONFIG_JSON_ENV_VAR
