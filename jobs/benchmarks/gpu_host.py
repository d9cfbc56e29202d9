"""What the host costs a GPU: our embedder on a stand-in for the card, which takes a card's time and nothing else.

The stand-in computes nothing. A batch takes as long as an H100 took for its tokens, padding included, one batch at a
time, whichever session it is of; meanwhile the thread that runs it sleeps. All else is real: tokenizing, sorting,
padding, threads. So it can be seen without a card how long one would wait for the host. What the provider does on the
host (starting kernels, copies) is not in it.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.gpu_embed import COPIES
from benchmarks.gpu_models import open_embedder
from benchmarks.gpu_settings import Settings, tell
from benchmarks.gpu_tokenizer import tokenizer_speed
from embedders import TextEmbedding
from embedders.device.reductions import Batch, Reduction
from embedders.graph_session import GraphSession, Port
from embedders.token_cache import TokenCache

# Tokens a second, padding included, of bare ONNX Runtime in float16 on an H100 with our batches and two sessions: 1.75
# and 7.21 million without padding, of which there was 7%.
CARD = {"minilm": 7.75e6, "base": 1.88e6}
# Tokens a second of the tokenizer on one thread of that machine: what this machine's cores are compared by.
TOKENIZER = 366_065
TURNS = 5
BLOCKS = (1024, 4096)


@dataclass
class Card:
    """A clock for a card's time: batches one after the other, each as long as its tokens take at ``rate``."""

    rate: float
    runs: list[tuple[float, float]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def compute(self, tokens: int) -> None:
        """Wait until a batch that is put before the card now would be done."""
        with self.lock:
            started = max(time.perf_counter(), self.runs[-1][1] if self.runs else 0.0)
            ended = started + tokens / self.rate
            self.runs.append((started, ended))
        time.sleep(max(0.0, ended - time.perf_counter()))

    def taken(self) -> list[tuple[float, float]]:
        """When the batches since the last question began and ended."""
        with self.lock:
            runs, self.runs = self.runs, []
        return runs


class Output:
    """An output that nobody computed; its shape alone is asked for."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape

    def shape(self) -> tuple[int, ...]:
        """As an OrtValue tells it."""
        return self._shape


class StandIn(GraphSession):
    """A session of the card, and its own `embedders.device.on_device.OnDevice`: vectors are zeros."""

    device, device_id = "cuda", 0

    def __init__(self, real: GraphSession, card: Card) -> None:
        inputs = [Port(name, real.input_shape(name)) for name in sorted(real.inputs)]
        outputs = [Port(name, ("rows", "tokens", real.output_width(name))) for name in real.output_names]
        super().__init__(real.path, inputs, outputs)
        self._card, self._width = card, real.output_width(real.output_names[0]) or 1

    @property
    def providers(self) -> list[str]:
        """See GraphSession."""
        return ["CUDAExecutionProvider"]

    @property
    def on_gpu(self) -> bool:
        """See GraphSession."""
        return True

    @property
    def on_device(self) -> Any:
        """See GraphSession."""
        return self

    def upload(self, feed: Mapping[str, npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]:
        """Leave it where it is: copies are no work of the card's processors."""
        return feed

    def run(self, outputs: Any, feed: Mapping[str, npt.NDArray[Any]]) -> Any:
        """Take the card's time for a batch."""
        self._card.compute(feed["input_ids"].size)
        return [Output((*feed["input_ids"].shape, self._width)) for _ in outputs]

    def reduce(self, value: Output, reduction: Reduction, batch: Batch) -> npt.NDArray[Any]:
        """Make what the reduction is fed, and give zeros."""
        reduction.graph(value.shape(), "float16")
        reduction.inputs(batch, value.shape())
        return np.zeros((value.shape()[0], self._width), np.float32)

    def run_outputs(self, outputs: Sequence[str], feed: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Give zeros at once: what a model is checked with."""
        return [np.zeros((*feed["input_ids"].shape, self._width), np.float32) for _ in outputs]


def measure_host(settings: Settings, name: str) -> None:
    """Our embedder on the stand-in, with tokenizing and with tokens made before: how much of the card it uses."""
    texts = settings.documents(COPIES[name])
    here = max(tokenizer_speed(settings, settings.documents(), 1) for _ in range(2))
    card = Card(CARD[name] * here / TOKENIZER)
    facts = {"step": "host", "model": name, "texts": len(texts), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    tell(**facts, tokenizer_one_thread=round(here), card_tokens_a_second=round(card.rate))
    for way, cache in {"tokenizing": None, "tokens made before": TokenCache(sys.maxsize)}.items():
        model = _on_stand_in(settings, name, card, cache)
        ways: dict[str, Callable[[], Any]] = {"one call": partial(model.embed_arrow, texts)}
        for block in BLOCKS:
            ways[f"calls of {block}"] = partial(_in_blocks, model, texts, block)
        ways["embed()"] = partial(_lazily, model, texts)
        for who, run in ways.items():
            tell(**facts, way=way, who=who, **_measured(model, card, run))


def _on_stand_in(settings: Settings, name: str, card: Card, cache: TokenCache | None) -> TextEmbedding:
    """MiniLM's tokenizer with the limit of a model, and stand-ins for its sessions."""
    size = replace(settings.sizes["minilm"], max_length=settings.sizes[name].max_length)
    model = open_embedder("minilm", size, settings.models, cuda=False, lazy_load=True, token_cache=cache)
    text_model = model.model.text_model
    real = text_model.session
    text_model.session = StandIn(real, card)
    text_model._load = lambda _settings: StandIn(real, card)
    model.load()
    return model


def _measured(model: TextEmbedding, card: Card, run: Callable[[], Any]) -> dict[str, Any]:
    run()
    turns = []
    for _ in range(TURNS):
        card.taken()
        before, cpu, started = replace(model.stats), time.process_time(), time.perf_counter()
        run()
        taken, cpu = time.perf_counter() - started, time.process_time() - cpu
        tokens, padded = model.stats.tokens - before.tokens, model.stats.padded_tokens - before.padded_tokens
        runs = card.taken()
        computing = sum(ended - began for began, ended in runs)
        first, last = runs[0][0], runs[-1][1]
        turns.append(
            {
                # Bare, the texts were padded as little as in one sorted list.
                "of_bare": tokens / 0.93 / card.rate / taken,
                "busy": computing / taken,
                "busy_from_first_to_last": computing / (last - first),
                "before_first": first - started,
                "after_last": started + taken - last,
                "longest_wait": max((begin - end for (_, end), (begin, _) in pairwise(runs)), default=0.0),
                "padding": 1 - tokens / padded,
                "batches": len(runs),
                "seconds": taken,
                "cpu_seconds": cpu,
                "tokenize_seconds": model.stats.tokenize_seconds - before.tokenize_seconds,
            }
        )
    # The machine may be busy with other things: the best turn is what the host needs.
    best = max(turns, key=lambda turn: turn["of_bare"])
    median = statistics.median(turn["of_bare"] for turn in turns)
    return {**{name: round(value, 4) for name, value in best.items()}, "of_bare_median": round(median, 4)}


def _lazily(model: TextEmbedding, texts: list[str]) -> None:
    for _ in model.embed(texts):
        pass


def _in_blocks(model: TextEmbedding, texts: list[str], block: int) -> None:
    for start in range(0, len(texts), block):
        model.embed_arrow(texts[start : start + block])
