"""From a fresh clone to a working search: model, corpus, the job of configs/quickstart.yaml, three questions."""

from __future__ import annotations

import logging
from pathlib import Path

from rich.console import Console

import own_packages  # noqa: F401
from embedders.export.packaged import export_packaged_minilm
from pipelines.cli.hits import show_answers
from pipelines.cli.job import JOB_STOPPED, exit_code, run_job
from pipelines.cli.start import start
from pipelines.config.file import load_config
from pipelines.search import Searcher
from stdlib_corpus import collect_stdlib

CONFIG = Path("configs/quickstart.yaml")
QUERIES = ("how do I read a file line by line", "parse a JSON string", "wait for several threads to finish")


def main() -> int:
    """Run the quickstart from the root of the checkout."""
    console = Console()
    return exit_code(lambda: _quickstart(console), Console(stderr=True), stopped=JOB_STOPPED)


def _quickstart(console: Console) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("fleetembed").setLevel(logging.INFO)
    config = load_config(CONFIG)
    model, corpus = Path(config.embeddings[0].path or ""), Path(config.source.paths[0])
    if not (model / "model.onnx").exists():
        console.print(f"exporting all-MiniLM-L6-v2 to {model}")
        export_packaged_minilm(model)
    if not corpus.exists():
        count = collect_stdlib(corpus)
        console.print(f"collected {count:,} docstrings and help topics into {corpus}")
    code = run_job(CONFIG, (), console)
    if code in (0, 3):
        with Searcher.from_config(config) as searcher:
            for query in QUERIES:
                show_answers(query, searcher, console)
        command = f'.venv/bin/python jobs/search.py --config {CONFIG} "your question"'
        console.print(f"\nAsk your own: {command}", markup=False, highlight=False, soft_wrap=True)
    return code


if __name__ == "__main__":
    start(main)
