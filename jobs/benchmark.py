"""Measures against fastembed 0.9.1 and bare ONNX Runtime, side by side: ``python jobs/benchmark.py dense``.

Every table comes from one run: contestants take turns, the median of the repeats counts, and all of them get the
same model files, texts, truncation and threads. The corpus is the standard library's docstrings.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from embedders import SparseTextEmbedding, TextEmbedding
from embedders.base import Embedder
from embedders.packaged import export_packaged_minilm
from pipelines import EmbeddingPipeline
from pipelines.stdlib_corpus import collect_stdlib

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
BM25 = "Qdrant/bm25"
BUDGETS = (256, 512, 1024, 2048, 4096, 8192)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(width=110)
Repeats = Annotated[int, typer.Option(min=1, help="Turns each contestant takes.")]
Documents = Annotated[int, typer.Option(min=1, help="Documents, drawn at random but always the same.")]


def take_turns(contestants: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each contestant; they take turns, so that a slow minute of the machine hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            gc.collect()
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def show(title: str, seconds: dict[str, float], units: float, unit: str, ours: str) -> None:
    """Print speeds, and how many times faster ``ours`` is than each of the others."""
    table = Table(title=title, title_justify="left")
    for column, justify in (("", "left"), ("seconds", "right"), (unit, "right"), ("fleetembed is", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for name, value in seconds.items():
        ratio = "" if name == ours else f"{value / seconds[ours]:.2f} x"
        table.add_row(escape(name), f"{value:.2f}", f"{units / value:,.0f}", ratio)
    console.print(table)


def stdlib_texts(count: int | None = None) -> list[str]:
    """Texts of the standard library's corpus, or a random sample that is always the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.jsonl"
        collect_stdlib(path)
        texts = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    return texts if count is None or count >= len(texts) else random.Random(0).sample(texts, count)


def minilm_folder() -> Path:
    """The exported MiniLM, made once and kept in build/."""
    folder = Path("build/all-MiniLM-L6-v2")
    if not (folder / "model.onnx").exists():
        export_packaged_minilm(folder)
    return folder


def reference_dense(folder: Path, threads: int) -> Any:
    """fastembed's own class on the same files."""
    from fastembed import TextEmbedding as Reference

    return Reference(MINILM, specific_model_path=str(folder), threads=threads, cuda=False)


def drain(vectors: Any) -> None:
    """Run a generator to its end."""
    for _ in vectors:
        pass


@app.command()
def dense(documents: Documents = 512, repeats: Repeats = 3, threads: int = 2) -> None:
    """MiniLM: mixed and equal lengths against fastembed, and against a bare ONNX Runtime loop."""
    folder, texts = minilm_folder(), stdlib_texts(documents)
    ours = TextEmbedding(MINILM, specific_model_path=str(folder), threads=threads, cuda=False)
    theirs = reference_dense(folder, threads)
    ours.embed_arrow(texts[:32])
    drain(theirs.embed(texts[:32]))
    tokens = ours.token_count(texts)
    before = (ours.stats.tokens, ours.stats.padded_tokens)
    seconds = take_turns(
        {
            "fleetembed": lambda: ours.embed_arrow(texts),
            "bare ONNX Runtime, sorted batches": bare_loop(ours, folder, texts, threads),
            "fastembed embed(batch_size=32)": lambda: drain(theirs.embed(texts, batch_size=32)),
            "fastembed embed() default, 256": lambda: drain(theirs.embed(texts)),
        },
        repeats,
    )
    waste = 1 - (ours.stats.tokens - before[0]) / (ours.stats.padded_tokens - before[1])
    title = f"dense, {documents} docstrings, {tokens:,} tokens, {threads} threads; padding waste {waste:.1%}"
    show(title, seconds, tokens, "tokens/s", "fleetembed")
    equal = equal_length_texts(texts, ours)
    equal_seconds = take_turns(
        {
            "fleetembed": lambda: ours.embed_arrow(equal),
            "fastembed embed(batch_size=32)": lambda: drain(theirs.embed(equal, batch_size=32)),
            "fastembed embed() default, 256": lambda: drain(theirs.embed(equal)),
        },
        repeats,
    )
    show(f"dense, {len(equal)} texts of equal length", equal_seconds, ours.token_count(equal), "tokens/s", "fleetembed")


def equal_length_texts(texts: Sequence[str], model: TextEmbedding, words: int = 100, count: int = 256) -> list[str]:
    """Texts of real words that all have the same number of tokens."""
    pool = [word for text in texts for word in text.split() if word.isalpha()]
    single = [word for word in dict.fromkeys(pool) if model.token_count([word]) == 3]
    rng = random.Random(0)
    return [" ".join(rng.choices(single, k=words)) for _ in range(count)]


def bare_loop(model: TextEmbedding, folder: Path, texts: Sequence[str], threads: int) -> Callable[[], None]:
    """A loop of session.run over batches tokenized beforehand, sorted by length over the whole corpus: the ceiling."""
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(model.tokenizer.max_length)
    rows = sorted((encoding.ids for encoding in tokenizer.encode_batch(list(texts))), key=len)
    feeds, batch = [], []
    for row, following in itertools.zip_longest(rows, rows[1:]):
        batch.append(row)
        if following is None or (len(batch) + 1) * len(following) > model.token_budget:
            ids = np.zeros((len(batch), len(batch[-1])), np.int64)
            for line, tokens in zip(ids, batch, strict=True):
                line[: len(tokens)] = tokens
            mask = (np.arange(ids.shape[1]) < np.array([[len(tokens)] for tokens in batch])).astype(np.int64)
            feeds.append({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
            batch = []

    def run() -> None:
        for feed in feeds:
            session.run(None, feed)

    return run


@app.command()
def budget(documents: Documents = 512, repeats: Repeats = 3, threads: int = 2) -> None:
    """The token budget's default: MiniLM's speed at several budgets."""
    folder, texts = minilm_folder(), stdlib_texts(documents)
    models = {
        f"budget {cells}": TextEmbedding(
            MINILM, specific_model_path=str(folder), threads=threads, cuda=False, token_budget=cells
        )
        for cells in BUDGETS
    }
    for model in models.values():
        model.embed_arrow(texts[:16])
    seconds = take_turns({name: partial(model.embed_arrow, texts) for name, model in models.items()}, repeats)
    tokens = next(iter(models.values())).token_count(texts)
    default = f"budget {TextEmbedding(MINILM, specific_model_path=str(folder), cuda=False).token_budget}"
    show(f"token budget, {documents} docstrings", seconds, tokens, "tokens/s", default)


@app.command()
def bm25(repeats: Repeats = 5) -> None:
    """BM25 over the whole corpus, on one core."""
    from bm25s.stopwords import STOPWORDS_EN_PLUS
    from fastembed.sparse.bm25 import Bm25 as Reference

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    texts = stdlib_texts()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "english.txt").write_text("\n".join(STOPWORDS_EN_PLUS), encoding="utf-8")
        theirs = Reference(BM25, specific_model_path=folder)
        ours = SparseTextEmbedding(BM25)
        ours.embed_arrow(texts[:32])
        drain(theirs.embed(texts[:32]))
        seconds = take_turns(
            {
                "fleetembed, first pass (no word known)": lambda: SparseTextEmbedding(BM25).embed_arrow(texts),
                "fleetembed": lambda: ours.embed_arrow(texts),
                "fastembed": lambda: drain(theirs.embed(texts)),
            },
            repeats,
        )
    show(f"BM25, {len(texts):,} docstrings, one core", seconds, len(texts), "documents/s", "fleetembed")


@app.command()
def pipeline(documents: Documents = 2048, repeats: Repeats = 3) -> None:
    """The whole Ray job to Parquet against its embedders called directly in one process."""
    folder, texts = minilm_folder(), stdlib_texts(documents)
    threads = os.cpu_count() or 1
    embedders: list[Embedder] = [
        TextEmbedding(MINILM, specific_model_path=str(folder), threads=threads, cuda=False),
        SparseTextEmbedding(BM25),
    ]
    startup: list[float] = []
    job_seconds: list[float] = []
    direct: list[float] = []
    for _ in range(repeats):
        started = time.perf_counter()
        for embedder in embedders:
            embedder.embed_arrow(texts)
        direct.append(time.perf_counter() - started)
        with tempfile.TemporaryDirectory() as place:
            corpus = write_jsonl(texts, Path(place) / "corpus.jsonl")
            report = EmbeddingPipeline.from_config(parquet_job(corpus, Path(place), folder)).run(
                console=Console(quiet=True)
            )
        startup.append(report.startup_seconds)
        job_seconds.append(report.seconds - report.startup_seconds)
    seconds = {
        "embedders called directly": statistics.median(direct),
        "Ray job to Parquet": statistics.median(job_seconds),
    }
    title = f"pipeline, dense + BM25, {documents} docstrings; start-up took {statistics.median(startup):.1f} s more"
    show(title, seconds, documents, "documents/s", "Ray job to Parquet")


def write_jsonl(texts: Sequence[str], path: Path) -> Path:
    """Write texts as JSON lines with an id."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"id": f"doc-{n}", "text": text}) + "\n" for n, text in enumerate(texts))
    return path


def parquet_job(corpus: Path, place: Path, model: Path) -> dict[str, Any]:
    """A job that embeds a corpus, dense and BM25, to Parquet."""
    return {
        "source": {"path": str(corpus), "id": "id"},
        "embeddings": [
            {"name": "dense", "model": MINILM, "path": str(model)},
            {"name": "bm25", "model": BM25},
        ],
        "sink": [{"type": "parquet", "path": str(place / "out")}],
        "report": str(place / "report.json"),
    }


@app.command()
def memory(
    texts: Annotated[Path, typer.Argument(help="JSON lines (.jsonl or .jsonl.gz) with a text column.")],
    sizes: Annotated[list[int] | None, typer.Option("--size", help="Documents of each run.")] = None,
) -> None:
    """Peak memory of the whole Ray job, all processes together, at several corpus sizes."""
    table = Table(title="peak memory of the job, all its processes (proportional set size)", title_justify="left")
    for column in ("documents", "peak MB", "seconds"):
        table.add_column(column, justify="right")
    for size in sizes or [10_000, 100_000]:
        with tempfile.TemporaryDirectory() as place:
            job = parquet_job(texts, Path(place), minilm_folder().resolve())
            job["source"] |= {"path": str(texts.resolve()), "limit": size}
            config = Path(place) / "job.json"
            config.write_text(json.dumps(job), encoding="utf-8")
            started = time.perf_counter()
            command = [sys.executable, "jobs/embed_corpus.py", "--config", str(config), "--log-level", "ERROR"]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
                peak = watch_memory(child)
            if child.returncode:
                raise SystemExit(f"the job of {size:,} documents ended with exit code {child.returncode}")
        table.add_row(f"{size:,}", f"{peak / 1e6:,.0f}", f"{time.perf_counter() - started:,.0f}")
    console.print(table)


def watch_memory(child: subprocess.Popen[bytes]) -> int:
    """Peak of the summed proportional set sizes of a process and all it started, in bytes."""
    peak, parent = 0, psutil.Process(child.pid)
    while child.poll() is None:
        total = 0
        try:
            for process in (parent, *parent.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
        except psutil.NoSuchProcess:
            break
        peak = max(peak, total)
        time.sleep(0.5)
    return peak


@app.command("all")
def everything() -> None:
    """All tables that need no further file."""
    dense()
    budget()
    pipeline()
    bm25()


if __name__ == "__main__":
    app()
