"""Beside the script that a Ray user would write by hand: whole processes, start-up included."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from benchmarks.dense import equal_length_texts
from benchmarks.measuring import (
    MINILM,
    Documents,
    Repeats,
    console,
    drain,
    job_command,
    minilm_folder,
    show,
    stdlib_texts,
    take_turns,
)
from embedders import TextEmbedding
from embedders.export.packaged import packaged_minilm

# All cores are the model's: two processes of one thread each are slower on texts of one length, and hold it twice.
BY_HAND = """
import os
import sys

import numpy as np
import ray
from fastembed import TextEmbedding

corpus, out, model, folder, batch = sys.argv[1:]


class Embed:
    def __init__(self):
        self.model = TextEmbedding(model, specific_model_path=folder, threads=os.cpu_count(), cuda=False)

    def __call__(self, rows):
        rows["dense"] = np.stack(list(self.model.embed(list(rows["text"]), batch_size=int(batch))))
        return rows


ray.init(include_dashboard=False, num_cpus=4)
ray.data.read_parquet(corpus).map_batches(Embed, batch_size=1024, concurrency=1).write_parquet(out)
"""

# Its provider on one's own machine is sentence-transformers on torch.
BY_DAFT = """
import sys

import daft
from daft.functions import embed_text

corpus, out, model = sys.argv[1:]
dense = embed_text(daft.col("text"), provider="transformers", model=model)
daft.read_parquet(corpus).with_column("dense", dense).write_parquet(out)
"""
# Tokens that all contestants cut a text at.
MAX_LENGTH = 512
FASTEMBED_DEFAULT = 256

# Texts that show which of fastembed's batch sizes is its best: a whole run with each would take an hour.
SAMPLE = 96


def peers(
    documents: Documents = 1500,
    repeats: Repeats = 1,
    batches: Annotated[list[int] | None, typer.Option("--batch", help="fastembed's batch sizes to try.")] = None,
    default: Annotated[
        bool, typer.Option("--default-batch", help="Run the script also with fastembed's own batch size, 256.")
    ] = False,
    daft: Annotated[
        Path | None, typer.Option(help="A Python that has daft and sentence-transformers: run Daft's embed_text too.")
    ] = None,
) -> None:
    """A job against read_parquet().map_batches(fastembed).write_parquet(), dense, on docstrings and on equal lengths.

    The script gets the batch size that is fastembed's best on a sample of the same texts. Daft's embed_text runs the
    same weights by torch.
    """
    folder = minilm_folder().resolve()
    texts = stdlib_texts(documents)
    model = TextEmbedding(MINILM, specific_model_path=str(folder), cuda=False)
    corpora = {
        f"{documents} docstrings": texts,
        f"{documents} texts of 102 tokens": equal_length_texts(texts, model, count=documents),
    }
    for title, corpus in corpora.items():
        best = _best_batch(corpus[:SAMPLE], folder, batches or [1, 4, 16, 64])
        tried = [best, FASTEMBED_DEFAULT] if default else [best]
        with tempfile.TemporaryDirectory() as place:
            contestants = {
                **_contestants(corpus, Path(place), folder, tried),
                **({} if daft is None else _daft(Path(place), daft)),
            }
            seconds = take_turns(contestants, repeats)
        show(f"peers, {title}, whole processes", seconds, len(corpus), "documents/s", "fleetembed")


def _best_batch(sample: Sequence[str], folder: Path, batches: Sequence[int]) -> int:
    """Find the batch size by which fastembed embeds a sample in the least time."""
    from fastembed import TextEmbedding as Reference

    theirs = Reference(MINILM, specific_model_path=str(folder), threads=os.cpu_count(), cuda=False)

    def embed(batch: int) -> Callable[[], None]:
        return lambda: drain(theirs.embed(list(sample), batch_size=batch))

    seconds = take_turns({str(batch): embed(batch) for batch in batches}, 1, time.process_time)
    console.print("CPU seconds of fastembed by batch size:", {batch: round(took, 1) for batch, took in seconds.items()})
    return int(min(seconds, key=seconds.__getitem__))


def _contestants(
    texts: Sequence[str], place: Path, folder: Path, batches: Sequence[int]
) -> Mapping[str, Callable[[], None]]:
    corpus = place / "corpus.parquet"
    pq.write_table(pa.table({"id": [f"doc-{number}" for number in range(len(texts))], "text": texts}), corpus)
    script = place / "by_hand.py"
    script.write_text(BY_HAND, encoding="utf-8")

    def job(engine: str) -> Callable[[], None]:
        return lambda: _run(len(texts), lambda out: _command(corpus, out, folder, engine))

    def by_hand(batch: int) -> Callable[[], None]:
        called = [sys.executable, str(script), str(corpus)]
        return lambda: _run(len(texts), lambda out: [*called, str(out), MINILM, str(folder), str(batch)])

    jobs = {"fleetembed": job("auto"), "fleetembed, engine: ray": job("ray")}
    return {**jobs, **{f"Ray Data by hand, fastembed batch {batch}": by_hand(batch) for batch in batches}}


def _daft(place: Path, python: Path) -> Mapping[str, Callable[[], None]]:
    """Daft's embed_text over the corpus of a place, in an environment of its own."""
    model, script = place / "all-MiniLM-L6-v2", place / "by_daft.py"
    shutil.copytree(packaged_minilm(), model)
    (model / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": MAX_LENGTH}), encoding="utf-8")
    script.write_text(BY_DAFT, encoding="utf-8")
    corpus = place / "corpus.parquet"
    rows = pq.read_metadata(corpus).num_rows
    called = [str(python), str(script), str(corpus)]
    return {"Daft's embed_text": lambda: _run(rows, lambda out: [*called, str(out), str(model)])}


def _command(corpus: Path, out: Path, folder: Path, engine: str) -> list[str]:
    """The command of a job that embeds a corpus to Parquet."""
    job = {
        "source": {"path": str(corpus), "id": "id"},
        "embeddings": [{"name": "dense", "model": MINILM, "path": str(folder)}],
        "sink": {"type": "parquet", "path": str(out)},
        "compute": {"engine": engine},
        "report": str(out.with_name("report.json")),
    }
    config = out.with_name("job.json")
    config.write_text(json.dumps(job), encoding="utf-8")
    return job_command(config)


def _run(rows: int, command: Callable[[Path], list[str]]) -> None:
    """Run a process that writes Parquet to a new folder, and see that all rows are there."""
    alone = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "out"
        done = subprocess.run(command(out), env=alone, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{command(out)} ended with {done.returncode}: {done.stderr[-2000:]}")
        written = sum(pq.read_metadata(file).num_rows for file in out.rglob("*.parquet"))
        if written != rows:
            raise SystemExit(f"{command(out)} wrote {written:,} of {rows:,} rows")
