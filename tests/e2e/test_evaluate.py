"""Evaluating real MiniLM and BM25 on a real data set, twice, and beside a baseline."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipelines.errors import ConfigError, SinkError
from pipelines.evaluation.evaluate import Options, evaluate
from pipelines.evaluation.report.comparison import compare
from pipelines.evaluation.report.results import load_results
from pipelines.evaluation.report.table import show_results
from tests.conftest import ROOT
from tests.e2e.jobs import MINILM

pytestmark = pytest.mark.slow

for package in ("ir_measures", "altair", "vl_convert"):
    pytest.importorskip(package, reason="needs the extra evaluate")

# BM25's nDCG@10 on these 500 documents and 60 queries, as bm25s and fastembed's terms in Qdrant give it too.
BM25_QUALITY = 0.8394


class Evaluated:
    """One evaluation, and how to repeat it."""

    def __init__(self, folder: Path, minilm: Path, data: Path) -> None:
        self.out = folder / "out"
        config: dict[str, Any] = {
            "source": {"path": "unused"},
            "embeddings": [
                # Only the beginnings, which is quick.
                {"name": "dense", "model": MINILM, "path": str(minilm), "max_length": 64},
                {"name": "bm25", "model": "Qdrant/bm25"},
                {"name": "absent", "model": "BAAI/bge-small-en-v1.5", "path": str(folder / "absent")},
            ],
            "sink": {"type": "qdrant", "path": "unused", "collection": "unused"},
            "compute": {"engine": "local"},
            "searches": {"heavy-terms": {"using": ["dense", "bm25"], "weights": [1, 3]}},
        }
        self.config = config
        self.options = Options(data / "scifact-mini", config, out=self.out, rrf_ks=[60])
        self.first, _ = evaluate(self.options, Console(quiet=True))

    def quality(self, way: str, index: str = "exact") -> dict[str, float]:
        return next(one.metrics for one in self.first.measurements if (one.way, one.index) == (way, index))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, minilm: Path, shared_data: Path) -> Evaluated:
    return Evaluated(tmp_path_factory.mktemp("evaluate"), minilm, shared_data)


def test_every_way_is_measured(evaluated: Evaluated) -> None:
    ways = ["dense", "bm25", "dense+bm25 rrf", "dense+bm25 rrf k=60", "dense+bm25 dbsf", "heavy-terms"]
    assert [one.way for one in evaluated.first.measurements] == ways
    assert evaluated.quality("bm25")["nDCG@10"] == pytest.approx(BM25_QUALITY, abs=0.005)
    assert evaluated.quality("dense+bm25 dbsf")["nDCG@10"] > evaluated.quality("dense")["nDCG@10"] > 0.7
    for one in evaluated.first.measurements:
        assert one.search_ms > 0 and one.encode_ms > 0 and one.embed_seconds and one.queries_per_second > 0
    sizes = {one.way: one.bytes_per_document for one in evaluated.first.measurements}
    assert sizes["dense"] == 384 * 4
    assert sizes["dense+bm25 rrf"] == sizes["dense"] + sizes["bm25"] and 400 < sizes["bm25"] < 1200


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_a_ray_fills_the_collection_with_what_is_found_as_well(evaluated: Evaluated, tmp_path: Path) -> None:
    config = {**evaluated.config, "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}], "searches": {}}
    options = replace(evaluated.options, config={**config, "compute": {"engine": "ray"}}, out=tmp_path, exact_only=True)
    results, _ = evaluate(options, Console(quiet=True))
    assert [(one.way, one.metrics) for one in results.measurements] == [("bm25", evaluated.quality("bm25"))]
    assert results.embedding["bm25"].rows == 500


def test_what_is_left_out_is_said(evaluated: Evaluated) -> None:
    told = "\n".join(evaluated.first.notices)
    assert "absent is left out: " in told and "HNSW is not measured: " in told
    text = io.StringIO()
    show_results(evaluated.first, Console(file=text, width=120))
    assert "absent is left out" in text.getvalue() and "0.8394" in text.getvalue()


def test_files_are_written(evaluated: Evaluated) -> None:
    out = evaluated.out
    assert load_results(out / "results.json") == evaluated.first
    assert (out / "chart.png").stat().st_size > 10_000 and "scifact-mini" in (out / "chart.html").read_text()
    runs = {path.name: path.read_text().splitlines() for path in (out / "runs").iterdir()}
    assert set(runs) == {
        "dense.trec",
        "bm25.trec",
        "dense+bm25_rrf.trec",
        "dense+bm25_rrf_k_60.trec",
        "dense+bm25_dbsf.trec",
        "heavy-terms.trec",
    }
    assert len(runs["dense.trec"]) == 60 * 500 and len(runs["dense.trec"][0].split()) == 6


def test_a_second_evaluation_embeds_nothing_and_fails_beside_a_better_baseline(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    raw = json.loads((evaluated.out / "results.json").read_text())
    raw["measurements"][0]["metrics"]["nDCG@10"] += 0.02
    better = tmp_path / "better.json"
    better.write_text(json.dumps(raw))
    job = tmp_path / "job.yaml"
    job.write_text(json.dumps(evaluated.config))
    command = [
        "--beir",
        str(evaluated.options.beir),
        "--config",
        str(job),
        "--out",
        str(evaluated.out),
        "--rrf-k",
        "60",
    ]
    done = CliRunner().invoke(load_command(), [*command, "--baseline", str(better)])
    assert done.exit_code == 1, done.output
    assert "worse than the baseline: 1 metric is more than 0.01 lower" in done.output

    report = json.loads((evaluated.out / "run_report.json").read_text())
    assert report["rows"]["embedded"] == 0 and report["rows"]["skipped"] == 500
    again = load_results(evaluated.out / "results.json")
    assert again.embedding == evaluated.first.embedding
    comparison = compare(evaluated.first, again, margin=0)
    assert comparison.passed and all(change.difference == 0 for change in comparison.changes)


def test_a_baseline_of_other_queries_is_refused_before_anything_is_done(evaluated: Evaluated, tmp_path: Path) -> None:
    evaluated.first.save(tmp_path / "old.json")
    options = replace(evaluated.options, queries=5, baseline=tmp_path / "old.json")
    with pytest.raises(ConfigError, match="it differs in the queries or their judgements"):
        evaluate(options, Console(quiet=True))


@pytest.mark.parametrize(
    ("ks", "message"),
    [("2,x", r"--rrf-k '2,x': write whole numbers"), ("0", r"each k must be from 1 to 1,000,000, got")],
)
def test_a_k_that_cannot_be_is_refused_before_anything_is_done(ks: str, message: str, tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("{}")
    command = ["--beir", str(tmp_path), "--config", str(job), "--rrf-k", ks]
    done = CliRunner().invoke(load_command(), command, env={"COLUMNS": "300"})
    assert done.exit_code == 2 and re.search(message, done.output)


def test_judged_documents_that_the_corpus_lacks_lower_every_metric_and_are_said(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    beir = tmp_path / "scifact-mini"
    shutil.copytree(evaluated.options.beir, beir, copy_function=shutil.copyfile)
    qrels = (beir / "qrels" / "test.tsv").read_text().splitlines()
    lacking = [f"{line.split(chr(9))[0]}\tno-such-document\t1" for line in qrels[1:]]
    (beir / "qrels" / "test.tsv").write_text("\n".join([*qrels, *lacking]) + "\n")
    out = shutil.copytree(evaluated.out, tmp_path / "out")
    results, _ = evaluate(replace(evaluated.options, beir=beir, out=out), Console(quiet=True))
    assert results.dataset["judgements_missing_from_corpus"] == len(lacking) == 60
    assert "60 judgements name documents (the first: 'no-such-document') not in corpus.jsonl" in results.notices[0]
    halved = {one.way: one.metrics["recall@100"] for one in results.measurements}
    assert halved["bm25"] == pytest.approx(evaluated.quality("bm25")["recall@100"] / 2)
    assert results.measurements[1].metrics["nDCG@10"] < 0.62


def test_documents_that_the_corpus_no_longer_has_are_not_searched(evaluated: Evaluated, tmp_path: Path) -> None:
    beir = tmp_path / "scifact-mini"
    shutil.copytree(evaluated.options.beir, beir, copy_function=shutil.copyfile)
    (beir / "corpus.jsonl").write_text("".join((beir / "corpus.jsonl").read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(SinkError, match="holds 500 points, and this corpus makes 499"):
        evaluate(replace(evaluated.options, beir=beir), Console(quiet=True))


def load_command() -> Any:
    """The script of jobs/, as an application that can be called in this process."""
    spec = spec_from_file_location("evaluate_job", ROOT / "jobs" / "evaluate.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app
