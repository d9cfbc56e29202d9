"""The folder of results: what is refused before anything is measured, and how runs are named."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.errors import ConfigError, SinkError
from pipelines.evaluation.evaluate import Options, evaluate
from pipelines.evaluation.report.files import free_file, make_folder, trec_lines, write_results, write_runs
from tests.pipelines.evaluation.beir_folders import write_beir
from tests.pipelines.evaluation.report.made_results import results

JOB = {
    "source": {"path": "docs"},
    "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
    "sink": {"type": "parquet", "path": "out"},
}


def run(name: str) -> tuple[str, dict[str, list[str]]]:
    return name, {"q1": ["d1"]}


def test_a_folder_at_a_url_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"--out .*takes a path of this machine, no URL"):
        make_folder(Path("s3://bucket/results"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_has_results_already_is_taken_and_they_stay(tmp_path: Path) -> None:
    make_folder(tmp_path / "new" / "out")
    assert (tmp_path / "new" / "out").is_dir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "results.json").write_text("{}")
    make_folder(tmp_path)
    assert (tmp_path / "runs").is_dir() and (tmp_path / "results.json").read_text() == "{}"


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
    write_runs(tmp_path, [run("old")])
    write_runs(tmp_path, [run("a b"), run("a_b"), run(long), run(long + "x")])
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == ["a_b-2.trec", "a_b.trec", f"{cut}-2.trec", f"{cut}.trec"]
    assert free_file(tmp_path, f"x{long}").name == f"x{cut[1:]}.trec"


def test_run_files_have_six_fields_whatever_the_ids() -> None:
    assert list(trec_lines({"q 1": ["Geneva Durben", "d2"]}, "dense+bm25 rrf")) == [
        "q_1 Q0 Geneva_Durben 1 2 dense+bm25_rrf\n",
        "q_1 Q0 d2 2 1 dense+bm25_rrf\n",
    ]


def test_runs_that_cannot_be_written_are_an_error_with_the_files_name(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(SinkError, match=r"runs cannot be written: "):
        write_runs(tmp_path, [run("a")])


@pytest.mark.slow
def test_results_that_cannot_be_written_are_an_error_with_the_files_name(tmp_path: Path) -> None:
    pytest.importorskip("altair", reason="needs the extra evaluate")
    pytest.importorskip("vl_convert", reason="needs the extra evaluate")
    for name in ("results.json", "chart.png", "chart.html"):
        out = tmp_path / name.replace(".", "-")
        (out / name).mkdir(parents=True)
        with pytest.raises(SinkError, match=rf"{re.escape(str(out / name))} cannot be written: Is a directory"):
            write_results(out, results())
        assert not list(out.glob(".*"))


def test_a_wrong_folder_or_split_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("ir_measures", "altair", "vl_convert"):
        pytest.importorskip(package, reason="needs the extra evaluate")
    monkeypatch.chdir(tmp_path)
    write_beir(tmp_path / "mine")
    for options in (Options(Path("nope"), JOB), Options(Path("mine"), JOB, split="dev")):
        with pytest.raises(ConfigError, match=r"there is no such folder|has no such split"):
            evaluate(options, Console(quiet=True))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
