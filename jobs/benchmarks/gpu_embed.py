"""Our embedder end to end on texts of mixed lengths, beside bare ONNX Runtime on the same texts tokenized before."""

from __future__ import annotations

import gc
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.gpu_bare import graph_of
from benchmarks.gpu_facts import watch
from benchmarks.gpu_models import open_embedder
from benchmarks.gpu_session import BareSession, Batch, feeds_of, median_seconds
from benchmarks.gpu_settings import Settings, attempt, tell
from embedders import TextEmbedding
from embedders.device.settings import BatchSettings

# Copies of the docstrings, so that a pass takes about a second or more on a fast card.
COPIES = {"minilm": 6, "base": 2, "large": 1}
BLOCK = 1024
TURNS = 3
WATCHED_SECONDS = 5.0
BARE_BUDGETS = (16_384, 65_536)
STEPS_OF_LENGTHS = (8, 16, 4, 32)


def measure_embedder(settings: Settings, name: str) -> None:
    """Our embedder in the device's fastest precision and bare ONNX Runtime in turns; how busy the card is; float32."""
    precision = "float16" if settings.on_gpu else "float32"
    texts = settings.documents(COPIES[name])
    model = open_warm(settings, name, precision)
    rows = token_rows(model, texts)
    tokens = sum(map(len, rows))
    facts = {"step": "embed", "model": name, "precision": precision, "texts": len(texts), "tokens": tokens}
    contestants = _ours(model, texts) | _bare(settings, model, texts, rows)
    seconds = in_turns(contestants, facts)
    ceiling = min((taken for who, taken in seconds.items() if who.startswith("bare")), default=None)
    for who, taken in seconds.items():
        share = {} if ceiling is None or who.startswith("bare") else {"of_bare": ceiling / taken}
        tell(**facts, who=who, tokens_a_second=round(tokens / taken), texts_a_second=round(len(texts) / taken), **share)
    _tell_busy(settings, facts, contestants, ceiling, tokens)
    attempt(lambda: _tell_parts(model, texts, facts), **facts)
    if settings.on_gpu:
        del model, contestants
        gc.collect()
        exact = open_warm(settings, name, "float32")
        facts["precision"] = "float32"
        for who, taken in in_turns(_ours(exact, texts), facts).items():
            tell(**facts, who=who, tokens_a_second=round(tokens / taken), texts_a_second=round(len(texts) / taken))


def _ours(model: TextEmbedding, texts: list[str]) -> dict[str, Callable[[], Any]]:
    return {
        "fleetembed, one call": lambda: model.embed_arrow(texts),
        f"fleetembed, calls of {BLOCK}": lambda: _in_blocks(model, texts),
    }


def _bare(
    settings: Settings, model: TextEmbedding, texts: list[str], rows: Sequence[Any]
) -> dict[str, Callable[[], Any]]:
    """The same graph on texts tokenized before: batches uploaded before, and our own sessions with our own batches."""
    text_model = model.model.text_model
    bare = BareSession(text_model.session.path, settings.device)
    found: dict[str, Callable[[], Any]] = {}
    for budget in (64,) if settings.quick else BARE_BUDGETS:
        batches = [bare.upload(feed) for feed in feeds_of(rows, budget)]
        found[f"bare, budget {budget}"] = partial(_run_all, bare, batches)
        found[f"bare, budget {budget}, no waiting"] = partial(bare.run_without_waiting, batches)
    tokenized, _ = text_model.tokenize(texts)
    found["bare, our batches and sessions"] = lambda: text_model.runner.run_bare(tokenized, [text_model.output], {})
    return found


def _tell_parts(model: TextEmbedding, texts: list[str], facts: dict[str, Any]) -> None:
    """What one pass is made of: seconds of tokenizing and in model calls, padding; sessions and token budget."""
    text_model, before = model.model.text_model, replace(model.stats)
    started = time.perf_counter()
    model.embed_arrow(texts)
    taken = time.perf_counter() - started
    stats = model.stats
    tell(
        **facts,
        seconds=taken,
        tokenize_seconds=stats.tokenize_seconds - before.tokenize_seconds,
        model_seconds=stats.model_seconds - before.model_seconds,
        padding_waste=1 - (stats.tokens - before.tokens) / max(1, stats.padded_tokens - before.padded_tokens),
        sessions=len(text_model.runner.pool.sessions),
        budgets={length: text_model.runner.budget.at(length) for length in (32, 128, 512)},
        graph=text_model.session.path.name,
    )


def compare_budgets(settings: Settings, name: str) -> None:
    """Our embedder by its token budget and sessions."""
    precision = "float16" if settings.on_gpu else "float32"
    texts = settings.documents(COPIES[name])
    for sessions in (1, 2):
        for budget in (64,) if settings.quick else (16_384, 32_768, 65_536, 131_072):
            facts = {"step": "budget", "model": name, "sessions": sessions, "budget": budget}
            attempt(partial(_with_budget, settings, name, precision, texts, facts), **facts)


def _with_budget(settings: Settings, name: str, precision: str, texts: list[str], facts: dict[str, Any]) -> None:
    model = open_warm(settings, name, precision, token_budget=facts["budget"], sessions=facts["sessions"])
    tokens = model.token_count(texts)
    taken = median_seconds(lambda: model.embed_arrow(texts), settings.seconds, warm_up=1, least=2)
    tell(**facts, tokens_a_second=round(tokens / taken), granted=model.model.text_model.runner.budget.at(128))


def compare_buckets(settings: Settings, name: str) -> None:
    """Our embedder by how finely lengths are rounded, in one call and in calls of a block; the padding of each."""
    precision = "float16" if settings.on_gpu else "float32"
    texts = settings.documents(COPIES[name])
    for step in STEPS_OF_LENGTHS:
        facts = {"step": "buckets", "model": name, "multiple": step}
        attempt(partial(_with_step, settings, name, precision, texts, facts), **facts)


def _with_step(settings: Settings, name: str, precision: str, texts: list[str], facts: dict[str, Any]) -> None:
    on: dict[str, Any] = {} if settings.on_gpu else {"reduce_on_device": True, "buckets": True, "ahead": 2}
    model = open_warm(settings, name, precision, batches=BatchSettings(**on, step=facts["multiple"]))
    tokens = model.token_count(texts)
    tokenized, _ = model.model.text_model.tokenize(texts)
    text_model = model.model.text_model
    ways = {
        **_ours(model, texts),
        "bare, our batches and sessions": lambda: text_model.runner.run_bare(tokenized, [text_model.output], {}),
    }
    for who, run in ways.items():
        before = replace(model.stats)
        taken = median_seconds(run, settings.seconds, warm_up=1, least=2)
        fed, stats = model.stats.padded_tokens - before.padded_tokens, model.stats
        padding = {} if not fed else {"padding_waste": 1 - (stats.tokens - before.tokens) / fed}
        tell(**facts, who=who, tokens_a_second=round(tokens / taken), **padding)


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
        attempt(partial(_several_of_ours, settings, name, precision, texts, count, facts), **facts, sessions=count)
    rows = token_rows(open_warm(settings, name, precision, lazy_load=True), texts)
    path = graph_of(settings, name, "float16")
    for count in (1, 2) if settings.quick else (1, 2, 3):
        attempt(partial(_several_bare, settings, path, rows, count, facts), **facts, bare=True, sessions=count)


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
    """Open a model, and let it embed a block, unless it is to be loaded later (``lazy_load``)."""
    model = open_embedder(
        name, settings.sizes[name], settings.models, **settings.embedder_options(precision), **options
    )
    if not options.get("lazy_load"):
        model.embed_arrow(settings.documents()[:BLOCK])
    return model


def token_rows(model: TextEmbedding, texts: list[str]) -> list[Any]:
    """The token ids of each text, as the model takes them."""
    tokens, distinct = model.model.text_model.tokenize(texts)
    rows = [tokens.ids[start:stop] for start, stop in zip(tokens.offsets, tokens.offsets[1:], strict=False)]
    return [rows[at] for at in distinct.inverse]


def _in_blocks(model: TextEmbedding, texts: list[str]) -> None:
    for start in range(0, len(texts), BLOCK):
        model.embed_arrow(texts[start : start + BLOCK])


def _run_all(session: BareSession, batches: Sequence[Batch]) -> None:
    for batch in batches:
        session.run(batch)


def _done(run: Callable[[], Any]) -> bool:
    run()
    return True


def in_turns(contestants: dict[str, Callable[[], Any]], facts: dict[str, Any]) -> dict[str, float]:
    """Median seconds of each; one that fails is told, and left out."""
    taken: dict[str, list[float]] = {}
    failed: set[str] = set()
    for _ in range(TURNS + 1):
        for who, run in contestants.items():
            if who in failed:
                continue
            started = time.perf_counter()
            if not attempt(partial(_done, run), **facts, who=who):
                failed.add(who)
                taken.pop(who, None)
            else:
                taken.setdefault(who, []).append(time.perf_counter() - started)
    # The first turn chooses kernels and takes memory.
    return {who: statistics.median(values[1:]) for who, values in taken.items()}
