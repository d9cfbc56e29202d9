"""What float16 does to vectors: cosines to float32, and nDCG@10 on a BEIR data set, on MiniLM's real weights."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.gpu_models import open_embedder
from benchmarks.gpu_settings import Settings, attempt, tell

DEPTH = 10
CPU_TEXTS = 256
# Slow beside a card: few documents, and no judgement.
CPU_ALONE = "float32, CPU"
Floats = npt.NDArray[np.float32]


def measure_quality(settings: Settings) -> None:
    """float32 proper is what TF32, float16 and the CPU are compared with."""
    ways: dict[str, dict[str, Any]] = {"float32": settings.embedder_options()}
    if settings.on_gpu:
        ways["float32"] = {"cuda": True, "use_tf32": False}
        ways |= {"float32, TF32": {"cuda": True}, "float16": settings.embedder_options("float16")}
    _compare(settings, "quality", ways | {CPU_ALONE: {"cuda": False}})


def measure_cpu_precisions(settings: Settings) -> None:
    """What the CPU of the machine gains by each precision, and what it costs, on the same texts."""
    ways = {precision: {"cuda": False, "precision": precision} for precision in ("float32", "bfloat16", "int8")}
    _compare(settings, "quality-cpu", ways, timed=True)


def _compare(settings: Settings, step: str, ways: Mapping[str, dict[str, Any]], *, timed: bool = False) -> None:
    """Tell of each way how near it is to the first that works; ``timed`` with seconds, after copies were made."""
    documents, queries, judgements = read_judged(Path(settings.beir)) if settings.beir else _unjudged(settings)
    if settings.quick:
        documents = dict(list(documents.items())[:48])
    exact: tuple[Floats, Floats] | None = None
    for way, options in ways.items():
        embed = partial(_embed, settings, options, documents, queries)
        few = CPU_TEXTS if way == CPU_ALONE else None
        if timed:
            attempt(partial(embed, CPU_TEXTS), step=step, way=way)
        started = time.perf_counter()
        found = attempt(partial(embed, few), step=step, way=way)
        if found is None:
            continue
        facts = {"seconds": round(time.perf_counter() - started, 2)} if timed else {}
        exact = found if exact is None else exact
        facts |= _cosines(found[0], exact[0])
        if judgements and few is None:
            facts["ndcg_at_10"] = _ndcg_of(found, list(documents), list(queries), judgements)
        tell(step=step, way=way, documents=len(found[0]), **facts)


def _embed(
    settings: Settings,
    options: dict[str, Any],
    documents: Mapping[str, str],
    queries: Mapping[str, str],
    first: int | None,
) -> tuple[Floats, Floats]:
    model = open_embedder("minilm", settings.sizes["minilm"], settings.models, **options)
    texts, asked = list(documents.values())[:first], list(queries.values())
    return model.embed_array(texts).astype(np.float32), model.embed_array(asked).astype(np.float32)


def _cosines(vectors: Floats, exact: Floats) -> dict[str, float]:
    a, b = vectors.astype(np.float64), exact[: len(vectors)].astype(np.float64)
    cosines = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return {
        "cosine_mean": float(cosines.mean()),
        "cosine_least": float(cosines.min()),
        "largest_difference": float(np.abs(a - b).max()),
    }


def _ndcg_of(
    found: tuple[Floats, Floats],
    documents: Sequence[str],
    queries: Sequence[str],
    judgements: Mapping[str, Mapping[str, int]],
) -> float:
    vectors, asked = found
    scores = asked @ vectors.T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
    ranked = {query: [documents[at] for at in line] for query, line in zip(queries, best, strict=True)}
    return ndcg_at_10(judgements, ranked)


def ndcg_at_10(judgements: Mapping[str, Mapping[str, int]], ranked: Mapping[str, Sequence[str]]) -> float:
    """Mean nDCG@10 of the judged queries, gains as they are graded (Järvelin and Kekäläinen, 2002).

    Computed here because a machine with a GPU may lack the package of the evaluations.
    """
    total = 0.0
    for query, grades in judgements.items():
        gains = [max(0, grades.get(document, 0)) for document in ranked.get(query, ())[:DEPTH]]
        ideal = _discounted(sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:DEPTH])
        total += _discounted(gains) / ideal if ideal else 0.0
    return total / len(judgements)


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains))


def read_judged(folder: Path) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]:
    """Documents, queries and judgements of the test split; only judged queries."""
    judgements: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        judgements.setdefault(query, {})[document] = int(grade)
    documents = {row["_id"]: f"{row['title']} {row['text']}".strip() for row in _rows(folder / "corpus.jsonl")}
    queries = {row["_id"]: row["text"] for row in _rows(folder / "queries.jsonl") if row["_id"] in judgements}
    return documents, queries, {query: judgements[query] for query in queries}


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _unjudged(settings: Settings) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]:
    texts = settings.documents()
    return {str(at): text for at, text in enumerate(texts)}, {"0": texts[0]}, {}
