"""Our embedder end to end on texts of mixed lengths, beside bare ONNX Runtime on the same texts tokenized before."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.gpu_bare import graph_of
from benchmarks.gpu_facts import watch
from benchmarks.gpu_models import open_embedder
from benchmarks.gpu_session import BareSession, Batch, feeds_of, median_seconds
from benchmarks.gpu_settings import Settings, attempt, tell
from embedders import TextEmbedding

# Copies of the docstrings, so that a pass takes about a second or more on a fast card.
COPIES = {"minilm": 6, "base": 2, "large": 1}
BLOCK = 1024
TURNS = 3
WATCHED_SECONDS = 5.0
BARE_BUDGETS = (16_384, 65_536)


def measure_embedder(settings: Settings, name: str) -> None:
    """Tokens a second of our embedder and of bare ONNX Runtime in turns, one call or a call a block; how busy the card is."""
    precision = "float16" if settings.on_gpu else "float32"
    texts = settings.documents(COPIES[name])
    model = open_warm(settings, name, precision)
    rows = token_rows(model, texts)
    tokens = sum(map(len, rows))
    facts = {"step": "embed", "model": name, "precision": precision, "texts": len(texts), "tokens": tokens}
    contestants: dict[str, Callable[[], Any]] = {
        "fleetembed, one call": lambda: model.embed_arrow(texts),
        f"fleetembed, calls of {BLOCK}": lambda: _in_blocks(model, texts),
    }
    bare = BareSession(model.model.text_model.session.path, settings.device)
    for budget in (64,) if settings.quick else BARE_BUDGETS:
        batches = [bare.upload(feed) for feed in feeds_of(rows, budget)]
        contestants[f"bare, budget {budget}"] = lambda batches=batches: _run_all(bare, batches)
        contestants[f"bare, budget {budget}, no waiting"] = lambda batches=batches: bare.run_without_waiting(batches)
    seconds = in_turns(contestants, facts)
    ceiling = min((taken for who, taken in seconds.items() if who.startswith("bare")), default=None)
    before = (model.stats.tokens, model.stats.padded_tokens)
    for who, taken in seconds.items():
        share = {} if ceiling is None or who.startswith("bare") else {"of_bare": ceiling / taken}
        tell(**facts, who=who, tokens_a_second=round(tokens / taken), texts_a_second=round(len(texts) / taken), **share)
    _tell_busy(settings, facts, contestants, ceiling, tokens)
    waste = 1 - (model.stats.tokens - before[0]) / max(1, model.stats.padded_tokens - before[1])
    tell(**facts, padding_waste=waste, budget=model.model.text_model.token_budget)


def _tell_busy(
    settings: Settings, facts: dict[str, Any], contestants: dict[str, Any], ceiling: float | None, tokens: int
) -> None:
    """Embed for some seconds without a pause, as a job does, and tell how busy the card was."""
    for who in [one for one in contestants if one.startswith("fleetembed")]:
        passes, started = 0, time.perf_counter()
        with watch(settings.device) as seen:
            while not passes or time.perf_counter() - started < (0 if settings.quick else WATCHED_SECONDS):
                contestants[who]()
                passes += 1
        taken = (time.perf_counter() - started) / passes
        share = {} if ceiling is None else {"of_bare": ceiling / taken}
        tell(**{**facts, "step": "busy"}, who=who, tokens_a_second=round(tokens / taken), **share, **seen)


def measure_sessions(settings: Settings, name: str) -> None:
    """One, two and three sessions on one card: of our embedder, and bare, a thread each."""
    texts = settings.documents(COPIES[name])
    precision = "float16" if settings.on_gpu else "float32"
    facts = {"step": "sessions", "model": name, "precision": precision}
    for count in (1, 2) if settings.quick else (1, 2, 3):
        attempt(lambda c=count: _several_of_ours(settings, name, precision, texts, c, facts), **facts, sessions=count)
    rows = token_rows(open_warm(settings, name, precision, lazy_load=True), texts)
    path = graph_of(settings, name, "float16")
    for count in (1, 2) if settings.quick else (1, 2, 3):
        attempt(lambda c=count: _several_bare(settings, path, rows, c, facts), **facts, bare=True, sessions=count)


def _several_of_ours(
    settings: Settings, name: str, precision: str, texts: list[str], count: int, facts: dict[str, Any]
) -> None:
    model = open_warm(settings, name, precision, sessions=count)
    tokens = model.token_count(texts)
    taken = median_seconds(lambda: model.embed_arrow(texts), settings.seconds, warm_up=1, least=2)
    tell(**facts, sessions=count, who="fleetembed", tokens_a_second=round(tokens / taken))


def _several_bare(settings: Settings, path: Any, rows: Sequence[Any], count: int, facts: dict[str, Any]) -> None:
    sessions = [BareSession(path, settings.device) for _ in range(count)]
    feeds = feeds_of(rows, 64 if settings.quick else BARE_BUDGETS[0])
    parts = [[one.upload(feed) for feed in feeds[at::count]] for at, one in enumerate(sessions)]

    def run() -> None:
        threads = [threading.Thread(target=_run_all, args=pair) for pair in zip(sessions, parts, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    taken = median_seconds(run, settings.seconds, warm_up=1, least=2)
    tokens = sum(batch.tokens for part in parts for batch in part)
    tell(**facts, sessions=count, who="bare", tokens_a_second=round(tokens / taken))


def open_warm(settings: Settings, name: str, precision: str, **options: Any) -> TextEmbedding:
    model = open_embedder(
        name, settings.sizes[name], settings.models, **settings.embedder_options(precision), **options
    )
    if not options.get("lazy_load"):
        model.embed_arrow(settings.documents()[:BLOCK])
    return model


def token_rows(model: TextEmbedding, texts: list[str]) -> list[Any]:
    tokens, distinct = model.model.text_model.tokenize(texts)
    rows = [tokens.ids[start:stop] for start, stop in zip(tokens.offsets, tokens.offsets[1:], strict=False)]
    return [rows[at] for at in distinct.inverse]


def _in_blocks(model: TextEmbedding, texts: list[str]) -> None:
    for start in range(0, len(texts), BLOCK):
        model.embed_arrow(texts[start : start + BLOCK])


def _run_all(session: BareSession, batches: Sequence[Batch]) -> None:
    for batch in batches:
        session.run(batch)


def in_turns(contestants: dict[str, Callable[[], Any]], facts: dict[str, Any]) -> dict[str, float]:
    """Median seconds of each; one that fails is told, and left out."""
    taken: dict[str, list[float]] = {}
    failed: set[str] = set()
    for _ in range(TURNS + 1):
        for who, run in contestants.items():
            if who in failed:
                continue
            started = time.perf_counter()
            if attempt(lambda run=run: (run(), True), **facts, who=who) is None:
                failed.add(who)
                taken.pop(who, None)
            else:
                taken.setdefault(who, []).append(time.perf_counter() - started)
    # The first turn chooses kernels and takes memory.
    return {who: statistics.median(values[1:]) for who, values in taken.items()}
