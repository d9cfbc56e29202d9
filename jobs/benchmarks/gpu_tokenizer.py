"""The tokenizer alone, by its number of threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from benchmarks.gpu_settings import Settings, tell

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
    """The tokenizer alone, by its number of threads, which it takes from the environment of the process."""
    texts = json.dumps(settings.documents(2))
    path = str(settings.models / "minilm" / "tokenizer.json")
    for threads in (1, 2) if settings.quick else (1, 4, 8, 16):
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
        told = subprocess.run(
            [sys.executable, "-c", CODE, path], input=texts, env=environment, capture_output=True, text=True, timeout=60
        )
        if told.returncode:
            tell(step="tokenizer", threads=threads, error=told.stderr[-300:])
            continue
        tokens, taken = json.loads(told.stdout)
        tell(step="tokenizer", threads=threads, tokens=tokens, tokens_a_second=round(tokens / taken))
