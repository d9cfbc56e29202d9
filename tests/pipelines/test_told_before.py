"""What a plan says of a job that would go wrong or lose something, and a refusal of what differs, with both values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines import EmbeddingPipeline
from pipelines.errors import ConfigError, FleetembedError, SinkError, SourceError
from tests.model_fixtures import write_synthetic_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def job(tmp_path: Path, model: Path) -> dict[str, Any]:
    (tmp_path / "docs.csv").write_text("id,text\n1,one two three\n2,four\n")
    return {
        "corpus": "c",
        "source": {"path": str(tmp_path / "docs.csv"), "id": "id"},
        "embeddings": [{"name": "dense", "model": {"path": str(model), "pooling": "mean"}, "max_length": 16}],
        "sink": {"type": "parquet", "path": str(tmp_path / "out")},
        "report": str(tmp_path / "report.json"),
        "compute": {"engine": "local"},
    }


def refused(job: dict[str, Any], kind: type[FleetembedError] = ConfigError, *, runs: bool = True) -> str:
    """Give what a plan raises, and see to it that a run raises the same."""
    with pytest.raises(kind) as planned:
        EmbeddingPipeline.from_config(job).plan()
    if runs:
        with pytest.raises(kind) as ran:
            EmbeddingPipeline.from_config(job).run(console=Console(quiet=True))
        assert str(ran.value) == str(planned.value)
    return str(planned.value)


def test_a_header_with_other_delimiters_names_the_key_to_set_and_no_near_column(
    job: dict[str, Any], tmp_path: Path
) -> None:
    for mark, shown in ((";", '";"'), ("|", '"|"'), ("\t", '"\\t"')):
        (tmp_path / "docs.csv").write_text(f"id{mark}text\n1{mark}a, b\n")
        told = refused(job, SourceError)
        assert f"set source.delimiter: {shown}" in told and "Did you mean" not in told
        assert EmbeddingPipeline.from_config(job, [f"source.delimiter={shown}"]).plan().files == 1


@pytest.mark.parametrize("name", ["Qdrant/bm25", "Qdrant/clip-ViT-B-32-vision"])
def test_a_model_without_a_tokenizer_cannot_cut_documents(job: dict[str, Any], name: str) -> None:
    told = refused({**job, "chunking": {"tokenizer": name}})
    assert told.startswith(f"chunking.tokenizer: model {name} has no tokenizer (it ") and len(told) < 250


def test_chunks_that_are_cut_again_by_a_synthetic_model_are_told_in_plan_and_run(
    job: dict[str, Any], model: Path
) -> None:
    job["chunking"] = {"tokenizer": str(model), "max_tokens": 14, "overlap": 0}
    fits = EmbeddingPipeline.from_config(job).plan()
    assert not [notice for notice in fits.notices if "chunks have" in notice]
    job["chunking"]["max_tokens"] = 1000
    (planned,) = (one for one in EmbeddingPipeline.from_config(job).plan().notices if "chunks have" in one)
    assert planned.startswith(
        "chunks have up to 1,000 tokens, and dense takes 14 of a text (of 16, 2 are special ones)"
    )
    assert "Set chunking.max_tokens to 14 or less, or raise embeddings.0.max_length" in planned
    assert planned in EmbeddingPipeline.from_config(job).run(console=Console(quiet=True)).notices


def test_a_plan_looks_whether_report_and_dead_letters_can_be_written_and_changes_nothing(
    job: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no report")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    cases: list[tuple[dict[str, Any], str]] = [
        (
            {"report": str(tmp_path / "file" / "report.json")},
            r"report: cannot write .*report.json: .*file is no folder",
        ),
        ({"report": str(tmp_path / "folder")}, "report: cannot write .*: it is a folder"),
        ({"errors": {"path": str(tmp_path / "file")}}, r"errors.path: cannot write to .*file: it is no folder"),
        ({"errors": {"path": str(tmp_path / "file" / "x")}}, r"errors.path: cannot write to .*x: .*file is no folder"),
    ]
    for changes, message in cases:
        with pytest.raises(ConfigError, match=message):
            EmbeddingPipeline.from_config({**job, **changes}).plan()
    far = {"report": str(tmp_path / "not" / "yet" / "report.json")}
    assert EmbeddingPipeline.from_config({**job, **far}).plan().report == far["report"]
    assert sorted(tmp_path.rglob("*")) == before


def test_what_differs_from_the_place_is_named_with_both_values(job: dict[str, Any], model: Path) -> None:
    EmbeddingPipeline.from_config(job).run(console=Console(quiet=True))
    (embedding,) = job["embeddings"]
    with_words = "with other files or settings: "
    shorter = {**job, "embeddings": [{**embedding, "max_length": 8}]}
    assert f"{with_words}max_length 16 there, 8 in this job. Choose another path" in refused(shorter, SinkError)
    longest = {**job, "embeddings": [{key: embedding[key] for key in ("name", "model")}]}
    assert f"{with_words}max_length 16 there, left out in this job." in refused(longest, SinkError)
    other = {**job, "embeddings": [{**embedding, "model": {"path": str(model), "pooling": "cls"}}]}
    assert f"{with_words}pooling mean there, cls in this job." in refused(other, SinkError)


def test_chunks_that_differ_from_the_place_are_named_with_both_values(job: dict[str, Any], model: Path) -> None:
    job["chunking"] = {"tokenizer": str(model), "max_tokens": 8, "overlap": 0}
    EmbeddingPipeline.from_config(job).run(console=Console(quiet=True))
    job["chunking"]["max_tokens"] = 12
    assert "the chunking has other settings: max_tokens 8 there, 12 in this job." in refused(job, SinkError)


@pytest.mark.parametrize("sink", [{}, {"layout": "qdrant"}, {"type": "qdrant", "collection": "c"}], ids=str)
def test_a_sink_path_that_is_a_file_is_told_without_comfort(
    job: dict[str, Any], tmp_path: Path, sink: dict[str, Any]
) -> None:
    (tmp_path / "out").write_text("a file")
    assert refused({**job, "sink": {**job["sink"], **sink}}).endswith("out: it is no folder")


def test_a_catalog_name_with_the_folder_of_another_synthetic_model_is_told_how_to_give_it(
    job: dict[str, Any], model: Path
) -> None:
    job["embeddings"] = [{"name": "dense", "model": "BAAI/bge-small-en-v1.5", "path": str(model)}]
    told = refused(job, FleetembedError)
    assert "lacks model_optimized.onnx" in told
    assert told.endswith(f"write model: {{path: {model}, pooling: ...}}")


def test_a_server_that_does_not_answer_is_told_without_comfort(job: dict[str, Any]) -> None:
    job["sink"] = {"type": "qdrant", "url": "http://127.0.0.1:1", "collection": "c", "retry_seconds": 1}
    told = refused(job, SinkError)
    assert "look whether sink.url is right" in told and "acknowledged before" not in told
