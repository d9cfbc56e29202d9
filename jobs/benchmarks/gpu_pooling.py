"""How our embedder runs its batches on GPUs: each of the ways alone, and none of them."""

from __future__ import annotations

from functools import partial

from benchmarks.gpu_embed import COPIES, in_turns, open_warm
from benchmarks.gpu_settings import Settings, attempt, tell
from embedders import TextEmbedding
from embedders.device.settings import BatchSettings


def compare_pooling(settings: Settings, name: str) -> None:
    """Pooling where the model ran, beside a copy of all token vectors and NumPy; what else is switched."""
    texts = settings.documents(COPIES[name])
    precision = "float16" if settings.on_gpu else "float32"
    ways = {
        "all on": BatchSettings(reduce_on_device=True, buckets=True, ahead=2),
        "host copy and NumPy": BatchSettings(reduce_on_device=False, buckets=True, ahead=2),
        "no batch ahead": BatchSettings(reduce_on_device=True, buckets=True, ahead=0),
        "no buckets": BatchSettings(reduce_on_device=True, buckets=False, ahead=2),
        "all off": BatchSettings(reduce_on_device=False, buckets=False, ahead=0),
    }
    models: dict[str, TextEmbedding] = {}
    for way, batches in ways.items():
        made = attempt(
            partial(open_warm, settings, name, precision, batches=batches, sessions=1), step="pooling", model=name
        )
        if made is not None:
            models[way] = made
    tokens = next(iter(models.values())).token_count(texts)
    facts = {"step": "pooling", "model": name, "precision": precision, "tokens": tokens}
    seconds = in_turns({way: partial(model.embed_arrow, texts) for way, model in models.items()}, facts)
    for way, taken in seconds.items():
        tell(**facts, way=way, tokens_a_second=round(tokens / taken))
