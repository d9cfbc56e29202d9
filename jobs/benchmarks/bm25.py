"""BM25 against fastembed, on one core."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks.measuring import BM25, Repeats, drain, show, stdlib_texts, take_turns
from embedders import SparseTextEmbedding


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
