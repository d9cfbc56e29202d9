"""sentence-transformers on the same weights, texts and card: its defaults, and float16 at its best batch size."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from benchmarks.gpu_facts import watch
from benchmarks.gpu_models import checkpoint_of
from benchmarks.gpu_settings import Settings, attempt, tell

DEFAULT_BATCH = 32
BATCHES = (64, 128, 256, 512, 1024)
# Texts of a turn: a slow contestant needs no more to be measured.
MOST_TEXTS = {"minilm": 8192, "base": 8192, "large": 4096}


def measure_sentence_transformers(settings: Settings, name: str) -> None:
    """Tokens a second of ``encode`` on texts of mixed lengths; it sorts them by length itself."""
    texts = settings.documents()[: MOST_TEXTS[name]]
    facts = {"step": "sentence_transformers", "model": name, "texts": len(texts)}
    model = _open(settings, name)
    tokens = _tokens(model, texts, settings.sizes[name].max_length)
    model.encode(texts[:DEFAULT_BATCH])
    _measure(settings, model, texts, tokens, DEFAULT_BATCH, {**facts, "dtype": "float32", "default": True})
    if settings.on_gpu:
        model.half()
    dtype = "float16" if settings.on_gpu else "float32"
    slower, best = 0, 0.0
    for batch in (16,) if settings.quick else BATCHES:
        told = {**facts, "dtype": dtype}
        speed = attempt(partial(_measure, settings, model, texts, tokens, batch, told), **told, batch=batch)
        slower, best = (slower + 1, best) if (speed or 0.0) < best else (0, speed or best)
        if slower == 2:
            break
    tell(**facts, dtype=dtype, best_tokens_a_second=round(best))


def _open(settings: Settings, name: str) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    body = Transformer(str(checkpoint_of(settings.models / name)), max_seq_length=settings.sizes[name].max_length)
    pooling = Pooling(settings.sizes[name].hidden, pooling_mode="mean")
    return SentenceTransformer(modules=[body, pooling, Normalize()], device=settings.device)


def _tokens(model: Any, texts: list[str], max_length: int) -> int:
    fast = model.tokenizer
    return sum(len(ids) for ids in fast(texts, truncation=True, max_length=max_length)["input_ids"])


def _measure(settings: Settings, model: Any, texts: list[str], tokens: int, batch: int, facts: dict[str, Any]) -> float:
    if batch != DEFAULT_BATCH:
        model.encode(texts, batch_size=batch)
    with watch(settings.device) as seen:
        started = time.perf_counter()
        vectors = model.encode(texts, batch_size=batch)
        taken = time.perf_counter() - started
    tell(**facts, batch=batch, tokens_a_second=round(tokens / taken), shape=list(vectors.shape), **seen)
    return tokens / taken
