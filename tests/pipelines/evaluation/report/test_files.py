"""The folder of results: what is refused before anything is measured, and how runs are named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.config.search import SearchConfig
from pipelines.errors import ConfigError, SinkError
from pipelines.evaluation.evaluate import Options, evaluate
from pipelines.evaluation.measure import Trial
from pipelines.evaluation.report.files import free_file, make_folder, write_runs
from pipelines.evaluation.ways import Way
from tests.pipelines.evaluation.beir_folders import write_beir

JOB = {
    "source": {"path": "docs"},
    "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
    "sink": {"type": "parquet", "path": "out"},
}


def trial(name: str) -> Trial:
    search = SearchConfig(using=["bm25"])
    return Trial(Way(name, search), exact=True, found={"q1": ["d1"]})


def test_a_folder_that_has_results_already_is_taken(tmp_path: Path) -> None:
    make_folder(tmp_path / "new" / "out")
    (tmp_path / "runs").mkdir()
    (tmp_path / "results.json").write_text("{}")
    make_folder(tmp_path)


def test_what_is_in_the_way_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "runs").write_text("")
    with pytest.raises(ConfigError, match="a: runs is in the way"):
        make_folder(tmp_path / "a")
    (tmp_path / "b" / "results.json").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"b: results\.json cannot be overwritten"):
        make_folder(tmp_path / "b")
    with pytest.raises(ConfigError, match="runs: cannot be made"):
        make_folder(tmp_path / "a" / "runs")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="nothing can be written into this folder"):
        make_folder(tmp_path)


def test_runs_take_the_place_of_earlier_ones_and_long_names_are_cut(tmp_path: Path) -> None:
    long, cut = "\u00fc" * 200, "\u00fc" * 50
    write_runs(tmp_path, [trial("old")])
    write_runs(tmp_path, [trial("a b"), trial("a_b"), trial(long), trial(long + "x")])
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == ["a_b-2.trec", "a_b.trec", f"{cut}-2.trec", f"{cut}.trec"]
    assert free_file(tmp_path, f"x{long}").name == f"x{cut[1:]}.trec"


def test_runs_that_cannot_be_written_are_an_error_with_the_files_name(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(SinkError, match=r"runs cannot be written: "):
        write_runs(tmp_path, [trial("a")])


def test_a_wrong_folder_or_split_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("ir_measures", "altair", "vl_convert"):
        pytest.importorskip(package, reason="needs the extra evaluate")
    monkeypatch.chdir(tmp_path)
    write_beir(tmp_path / "mine")
    for options in (Options(Path("nope"), JOB), Options(Path("mine"), JOB, split="dev")):
        with pytest.raises(ConfigError, match=r"there is no such folder|has no such split"):
            evaluate(options, Console(quiet=True))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
