"""What the steps of the benchmark of GPUs have in common: where things are, on what they run, how they tell results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu_models import SIZES, TINY, Size
from benchmarks.measuring import stdlib_texts

QUICK_TEXTS = 48


@dataclass(frozen=True)
class Settings:
    """One run of the benchmark.

    ``folder`` holds the models; ``texts`` is a JSON list of documents (None: the standard library's docstrings),
    ``beir`` a BEIR data set, ``checkpoint`` MiniLM's (None: the packaged one). ``quick`` takes tiny models and few
    texts, to see that the steps work.
    """

    device: str = "cuda"
    quick: bool = False
    folder: str = "build/gpu"
    texts: str | None = None
    beir: str | None = None
    checkpoint: str | None = None

    @property
    def on_gpu(self) -> bool:
        """Whether it is a GPU that is measured."""
        return self.device == "cuda"

    @property
    def models(self) -> Path:
        """Folder of the models' folders."""
        return Path(self.folder) / ("tiny" if self.quick else "models")

    @property
    def sizes(self) -> dict[str, Size]:
        """The models to measure, by name."""
        return TINY if self.quick else SIZES

    @property
    def seconds(self) -> float:
        """Seconds that one figure is measured for."""
        return 0.05 if self.quick else 0.7

    def documents(self, copies: int = 1) -> list[str]:
        """Texts of mixed lengths; copies after the first differ in their first word, since equal texts count once."""
        texts = stdlib_texts() if self.texts is None else json.loads(Path(self.texts).read_text(encoding="utf-8"))
        if self.quick:
            return list(texts[:QUICK_TEXTS])
        return [*texts, *(f"{copy} {text}" for copy in range(1, copies) for text in texts)]

    def embedder_options(self, precision: str = "float32") -> dict[str, Any]:
        """Options of TextEmbedding for the device; on a CPU everything is float32."""
        if not self.on_gpu:
            return {"cuda": False}
        return {"cuda": True, **({} if precision == "float32" else {"precision": precision})}


def tell(**facts: Any) -> None:
    """Print one result as a line of JSON, at once."""
    print(json.dumps(facts, default=_plain), flush=True)


def note(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"


def attempt(what: Callable[[], Any], /, **facts: Any) -> Any:
    """Do one measurement of a step; where it fails, its error is a line, None is returned, and the step goes on."""
    try:
        return what()
    except Exception as error:
        tell(**facts, error=note(error))
        return None


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def log(*words: Any) -> None:
    """Say something that is no result."""
    print(*words, file=sys.stderr, flush=True)
