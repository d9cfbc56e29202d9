"""MUVERA against fastembed: CPU time a document, one BLAS thread, synthetic token vectors."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from benchmarks.measuring import Documents, Repeats, console, take_turns
from embedders import Muvera

DIM = 128
# k_sim, dim_proj, r_reps.
PARAMETERS = ((5, 16, 20), (6, 16, 20), (5, 32, 20))
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def muvera(documents: Documents = 500, repeats: Repeats = 5) -> None:
    """MUVERA of synthetic documents of some 80 tokens, on one thread."""
    if all(os.environ.get(name) == value for name, value in ONE_THREAD.items()):
        _measure(documents, repeats)
        return
    # BLAS reads its threads when NumPy is imported, which has happened here.
    script = Path(__file__).resolve().parents[1] / "benchmark.py"
    command = [sys.executable, str(script), "muvera", "--documents", str(documents), "--repeats", str(repeats)]
    subprocess.run(command, env={**os.environ, **ONE_THREAD}, check=True)


def _measure(documents: int, repeats: int) -> None:
    from fastembed.postprocess import Muvera as Reference

    tokens, offsets = synthetic_documents(documents)
    parts = np.split(tokens, offsets[1:-1])
    title = f"MUVERA, {documents} synthetic documents, {len(tokens) / documents:.0f} tokens of {DIM} numbers"
    table = Table(title=f"{title}; CPU ms a document", title_justify="left")
    for column in ("k_sim", "dim_proj", "r_reps", "size", "fastembed", "fleetembed", "fleetembed is", "differ by"):
        table.add_column(column, justify="right")
    for parameters in PARAMETERS:
        ours, theirs = Muvera(DIM, *parameters), Reference(DIM, *parameters)

        def run_theirs(theirs: Any = theirs) -> list[Any]:
            return [theirs.process_document(part) for part in parts]

        def run_ours(ours: Muvera = ours) -> npt.NDArray[np.float32]:
            return ours.encode_documents(tokens, offsets)

        differ = np.abs(np.stack(run_theirs()) - run_ours()).max()
        seconds = take_turns({"theirs": run_theirs, "ours": run_ours}, repeats, time.process_time)
        speeds = [f"{seconds[who] / documents * 1000:.3f}" for who in ("theirs", "ours")]
        ratio = f"{seconds['theirs'] / seconds['ours']:.1f} x"
        table.add_row(*map(str, parameters), str(ours.embedding_size), *speeds, ratio, f"{differ:.0e}")
    console.print(table)


def synthetic_documents(
    count: int, dim: int = DIM, seed: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Token vectors of unit length, (tokens, dim), and offsets: words by Zipf's law, with noise, leaning to one side.

    12 to some 200 tokens a document, 80 in the mean. Which clusters are full hangs on such leaning.
    """
    rng = np.random.default_rng(seed)
    lengths = np.maximum(12, rng.normal(80, 28, size=count)).astype(np.int64)
    words, lean = rng.normal(size=(4000, dim)), 0.6 * rng.normal(size=dim)
    frequency = 1 / np.arange(1, 4001) ** 0.8
    ids = rng.choice(4000, size=int(lengths.sum()), p=frequency / frequency.sum())
    tokens = (words[ids] + lean + 0.5 * rng.normal(size=(len(ids), dim))).astype(np.float32)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    return tokens, np.concatenate(([0], np.cumsum(lengths)))
