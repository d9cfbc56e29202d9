"""The whole job with Ray on one card, with one, two and three actors, beside bare ONNX Runtime."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu_embed import COPIES
from benchmarks.gpu_facts import watch
from benchmarks.gpu_models import Size
from benchmarks.gpu_settings import Settings, attempt, tell

# So that start-up, which is counted apart, is not most of a run.
JOB_COPIES = 6


def measure_job(settings: Settings, name: str) -> None:
    """Texts a second from JSON lines to Parquet after the start, by actors on the card; Ray is to be installed."""
    texts = settings.documents(JOB_COPIES * COPIES[name])
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.jsonl"
        with corpus.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"id": f"doc-{n}", "text": text}) + "\n" for n, text in enumerate(texts))
        for actors in (1,) if settings.quick else (1, 2, 3):
            facts = {"step": "job", "model": name, "actors": actors, "texts": len(texts)}
            out = Path(folder) / f"out-{actors}"
            attempt(partial(_run, settings, name, corpus, out, actors, facts), **facts)


def _run(settings: Settings, name: str, corpus: Path, out: Path, actors: int, facts: dict[str, Any]) -> None:
    from rich.console import Console

    from pipelines import EmbeddingPipeline

    job = job_of(settings, name, settings.sizes[name], corpus, out, actors)
    with watch(settings.device) as seen:
        report = EmbeddingPipeline.from_config(job).run(console=Console(quiet=True))
    taken = report.seconds - report.startup_seconds
    tokens = int(report.stages.get("dense", {}).get("tokens", 0))
    tell(
        **facts,
        status=report.status,
        startup_seconds=report.startup_seconds,
        seconds_after=taken,
        texts_a_second=round(facts["texts"] / taken),
        tokens_a_second=round(tokens / taken),
        stages=report.stages,
        **seen,
    )


def job_of(settings: Settings, name: str, size: Size, corpus: Path, out: Path, actors: int) -> dict[str, Any]:
    """The job's configuration."""
    model = {
        "name": f"benchmark/{name}",
        "path": str((settings.models / name).resolve()),
        "model_file": "model.onnx",
        "pooling": "mean",
        "dim": size.hidden,
    }
    dense: dict[str, Any] = {"name": "dense", "model": model, "max_length": size.max_length}
    stage: dict[str, Any] = {"workers": actors}
    if settings.on_gpu:
        dense["precision"] = "float16"
        # Ray counts a card in ten-thousandths.
        stage["gpus"] = int(1e4 / actors) / 1e4
    return {
        "source": {"path": str(corpus), "id": "id"},
        "embeddings": [dense],
        "sink": [{"type": "parquet", "path": str(out)}],
        "compute": {"engine": "ray", "stages": {"dense": stage}},
        "report": str(out.with_suffix(".json")),
    }
