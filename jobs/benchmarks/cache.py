"""The cache of embeddings: a job without one, with an empty one and with a full one, and how fast one opens."""

from __future__ import annotations

import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console

from benchmarks.measuring import MINILM, Documents, Repeats, minilm_folder, show, stdlib_texts, take_turns
from benchmarks.pipeline import parquet_job, write_jsonl
from embedders.arrow import dense_type
from embedders.base import VectorSpec
from pipelines import EmbeddingPipeline
from pipelines.embed import cache_compaction
from pipelines.embed.embedding_cache import EmbeddingCache, content_keys

VECTORS = {"dense": VectorSpec("dense", dense_type(384, np.float32), dim=384)}
ROWS_A_FILE = 16


def cache(documents: Documents = 512, repeats: Repeats = 3, files: int = 1024) -> None:
    """CPU seconds of a MiniLM job without a cache, with an empty and with a full one; of opening many small files."""
    model, texts = minilm_folder(), stdlib_texts(documents)
    with tempfile.TemporaryDirectory() as folder:
        corpus = write_jsonl(texts, Path(folder) / "corpus.jsonl")
        full = Path(folder) / "full"
        _job(corpus, model, full)
        seconds = take_turns(
            {
                "no cache": partial(_job, corpus, model, None),
                "empty cache": partial(_job, corpus, model, Path(folder) / "empty"),
                "full cache": partial(_job, corpus, model, full),
            },
            repeats,
            time.process_time,
        )
        show(f"cache, {MINILM}, {documents} docstrings, CPU", seconds, documents, "documents/s", "no cache")
        opened = _opening(Path(folder), files, repeats)
    show(f"opening a cache of {files} files of {ROWS_A_FILE} rows, CPU", opened, files, "files/s", "put together")


def _job(corpus: Path, model: Path, place: Path | None) -> None:
    """Run a whole job to Parquet in this process; an ``empty`` cache is emptied first."""
    with tempfile.TemporaryDirectory() as out:
        job = parquet_job(corpus, Path(out), model)
        # One thread, since one that waits in a loop for another takes CPU time for nothing.
        dense = job["embeddings"][0] | {"options": {"threads": 1}}
        job |= {"embeddings": [dense], "compute": {"engine": "local"}}
        if place is not None:
            if place.name == "empty":
                shutil.rmtree(place, ignore_errors=True)
            job["cache"] = {"path": str(place)}
        EmbeddingPipeline.from_config(job).run(console=Console(quiet=True))


def _opening(folder: Path, files: int, repeats: int) -> dict[str, float]:
    small = folder / "small"
    writer = EmbeddingCache(str(small), "benchmark", VECTORS)
    numbers = np.random.default_rng(0).normal(size=ROWS_A_FILE * 384).astype(np.float32)
    vectors = pa.table({"dense": pa.FixedSizeListArray.from_arrays(pa.array(numbers), 384)})
    vectors = vectors.cast(pa.schema([("dense", VECTORS["dense"].arrow_type)]))
    for number in range(files):
        writer.add(content_keys(pa.array([f"{number}-{row}" for row in range(ROWS_A_FILE)])), vectors)
    together = shutil.copytree(small, folder / "together")
    EmbeddingCache(str(together), "benchmark", VECTORS)
    places: dict[str, Any] = {"many small files": small, "put together": together}
    # As they are, so that each turn finds them so.
    group, cache_compaction.GROUP = cache_compaction.GROUP, files + 1
    try:
        openings = {name: partial(EmbeddingCache, str(place), "benchmark", VECTORS) for name, place in places.items()}
        seconds = take_turns(openings, repeats, time.process_time)
    finally:
        cache_compaction.GROUP = group
    once = {"putting together, once": partial(EmbeddingCache, str(small), "benchmark", VECTORS)}
    return {**seconds, **take_turns(once, 1, time.process_time)}
