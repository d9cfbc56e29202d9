"""The tokenizer alone, by its number of threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial

from benchmarks.gpu_settings import Settings, attempt, tell

# In a process of its own: the number of threads is read once, from the environment.
CODE = """
import json, sys, time
from tokenizers import Tokenizer
texts = json.load(sys.stdin)
tokenizer = Tokenizer.from_file(sys.argv[1])
tokenizer.no_padding()
tokenizer.enable_truncation(256)
tokenizer.encode_batch_fast(texts[:64])
started = time.perf_counter()
tokens = sum(len(one.ids) for one in tokenizer.encode_batch_fast(texts))
print(json.dumps([tokens, time.perf_counter() - started]))
"""


def measure_tokenizer(settings: Settings) -> None:
    """The tokenizer alone, by its number of threads."""
    texts = settings.documents(2)
    for threads in (1, 2) if settings.quick else (1, 4, 8, 16):
        facts = {"step": "tokenizer", "threads": threads}
        speed = attempt(partial(tokenizer_speed, settings, texts, threads), **facts)
        if speed is not None:
            tell(**facts, tokens_a_second=round(speed))


def tokenizer_speed(settings: Settings, texts: list[str], threads: int) -> float:
    """Tokens a second of the tokenizer with so many threads, which it takes from the environment of its process."""
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    told = subprocess.run(
        [sys.executable, "-c", CODE, str(settings.models / "minilm" / "tokenizer.json")],
        input=json.dumps(texts),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if told.returncode:
        raise RuntimeError(told.stderr[-300:])
    tokens, taken = json.loads(told.stdout)
    return float(tokens / taken)
