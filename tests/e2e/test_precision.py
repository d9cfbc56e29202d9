"""A synthetic model in int8 in whole jobs: what plan and report say, what mixes with it, and how it is searched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from embedders.errors import DeviceError
from embedders.openvino_session import bfloat16_trouble
from pipelines import EmbeddingPipeline
from pipelines.cli.job import show_plan
from pipelines.errors import ConfigError, SinkError
from pipelines.search import Searcher
from tests.e2e.jobs import MINILM, Job, Row


def job(folder: Path, model: Path, precision: str, **settings: Any) -> Job:
    embedding = {"name": "dense", "model": MINILM, "path": str(model), "precision": precision}
    sinks = [{"type": "qdrant", "path": str(folder / "qdrant"), "collection": "int8"}]
    return Job(folder, model, sinks, {"embeddings": [embedding], **settings})


def assert_kept_apart(written: Job, folder: Path, model: Path) -> None:
    """Whoever embeds with a precision again finds all there; float32 is refused."""
    assert written.run().rows["embedded"] == 0
    with pytest.raises(SinkError, match=r"made by the model .* with other files or settings"):
        job(folder, model, "float32").run()


def test_int8_vectors_are_told_of_kept_apart_and_searched(
    tmp_path: Path, synthetic_model: Callable[[str], Path], docstrings: list[Row]
) -> None:
    model = synthetic_model(MINILM)
    quantized = job(tmp_path, model, "int8")
    quantized.write(docstrings[:24])
    console = Console(record=True, width=150)
    show_plan(EmbeddingPipeline.from_config(quantized.config()).plan(), console)
    shown = console.export_text()
    assert "int8" in shown
    assert "all-MiniLM-L6-v2 is quantized as it runs: its vectors vary a little" in shown
    report = quantized.run()
    assert (report.exit_code, report.rows["written"]) == (0, 24)
    assert quantized.report["models"]["dense"]["precision"] == "int8"
    assert_kept_apart(quantized, tmp_path, model)
    with Searcher.from_config(quantized.config()) as searcher:
        assert len(searcher.search("read a file", limit=5)) == 5
    with (
        pytest.raises(ConfigError, match="made with other model files or settings"),
        Searcher.from_config(job(tmp_path, model, "float32").config()) as searcher,
    ):
        searcher.search("read a file", limit=5)


@pytest.mark.skipif(bfloat16_trouble() is not None, reason=str(bfloat16_trouble()))
def test_a_collection_in_bfloat16_is_searched_by_a_machine_without(
    tmp_path: Path, synthetic_model: Callable[[str], Path], docstrings: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounded = job(tmp_path, synthetic_model(MINILM), "bfloat16")
    rounded.write(docstrings[:24])
    assert rounded.run().rows["written"] == 24
    monkeypatch.setattr("embedders.openvino_session.openvino", None)
    with Searcher.from_config(rounded.config()) as searcher:
        assert len(searcher.search("read a file", limit=5)) == 5
    again = job(tmp_path, synthetic_model(MINILM), "bfloat16")
    again.write(docstrings[24:30])
    with pytest.raises(DeviceError, match=r'pip install "fleetembed\[openvino\]"'):
        again.run()


def test_gpus_for_a_precision_of_cpus_are_refused(tmp_path: Path) -> None:
    on_gpu = {"compute": {"stages": {"dense": {"gpus": 1}}}}
    with pytest.raises(ConfigError, match=r"compute\.stages\.dense\.gpus: precision int8 is for CPUs; leave one out"):
        EmbeddingPipeline.from_config(job(tmp_path, tmp_path, "int8", **on_gpu).config())
    EmbeddingPipeline.from_config(job(tmp_path, tmp_path, "float16", **on_gpu).config())


def test_float16_vectors_are_kept_apart(
    tmp_path: Path, synthetic_model: Callable[[str], Path], docstrings: list[Row]
) -> None:
    model = synthetic_model(MINILM)
    half = job(tmp_path, model, "float16")
    half.write(docstrings[:24])
    assert half.run().rows["written"] == 24
    assert half.report["models"]["dense"]["precision"] == "float16"
    assert_kept_apart(half, tmp_path, model)
