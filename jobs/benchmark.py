"""Measures against fastembed 0.9.1 and bare ONNX Runtime, side by side: ``python jobs/benchmark.py dense``.

Every table comes from one run: contestants take turns, the median of the repeats counts, and all of them get the
same model files, texts, truncation and threads. The corpus is the standard library's docstrings.
"""

from __future__ import annotations

import own_packages  # noqa: F401
from benchmarks.bm25 import bm25
from benchmarks.cache import cache
from benchmarks.datasinks import datasinks
from benchmarks.dense import budget, dense
from benchmarks.families import families
from benchmarks.folder import folder
from benchmarks.gpu import gpu
from benchmarks.images import images
from benchmarks.load import load
from benchmarks.muvera import muvera
from benchmarks.muvera_recall import muvera_recall
from benchmarks.nightly import nightly
from benchmarks.peers import peers
from benchmarks.pipeline import memory, pipeline
from benchmarks.precision import precision
from benchmarks.read import read_tables
from benchmarks.read_collection import read_collection
from benchmarks.scale import scale
from pipelines.cli.app import App
from pipelines.cli.start import start

app = App()
for command in (
    dense,
    budget,
    bm25,
    families,
    images,
    muvera,
    muvera_recall,
    pipeline,
    memory,
    load,
    read_collection,
    folder,
    nightly,
    peers,
    precision,
    gpu,
    scale,
    cache,
    datasinks,
):
    app.command()(command)
app.command("read")(read_tables)


@app.command("all")
def everything() -> None:
    """All tables that need no further file."""
    dense()
    budget()
    families()
    pipeline()
    bm25()
    muvera()


if __name__ == "__main__":
    start(app)
