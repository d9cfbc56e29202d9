"""The steps of the benchmark of GPUs, of most use first, each in a process: ``python -m benchmarks.gpu_steps``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from benchmarks.gpu_settings import Settings, log, note, tell


@dataclass(frozen=True)
class Step:
    """A step: its name, the seconds it may take, the function's module and name, and the model that it measures."""

    name: str
    seconds: float
    function: str
    model: str | None = None

    def load(self) -> Callable[[Settings], None]:
        """Import the step's module, which others need not have."""
        module, _, name = self.function.partition(":")
        function = getattr(import_module(f"benchmarks.{module}"), name)
        return function if self.model is None else partial(_with_model, function, self.model)


def _with_model(function: Callable[[Settings, str], None], model: str, settings: Settings) -> None:
    function(settings, model)


STEPS = (
    Step("facts", 40, "gpu_facts:show_facts"),
    Step("provider", 40, "gpu_facts:start_provider"),
    Step("embed-minilm", 90, "gpu_embed:measure_embedder", "minilm"),
    Step("embed-base", 100, "gpu_embed:measure_embedder", "base"),
    Step("peers-base", 60, "gpu_peers:measure_sentence_transformers", "base"),
    Step("peers-minilm", 50, "gpu_peers:measure_sentence_transformers", "minilm"),
    Step("quality", 60, "gpu_quality:measure_quality"),
    Step("tokenizer", 40, "gpu_tokenizer:measure_tokenizer"),
    Step("bare-base", 60, "gpu_bare:measure_bare", "base"),
    Step("bare-minilm", 60, "gpu_bare:measure_bare", "minilm"),
    Step("peak", 40, "gpu_facts:measure_peak"),
    Step("fusion-base", 50, "gpu_bare:compare_fusion", "base"),
    Step("pooling-base", 60, "gpu_pooling:compare_pooling", "base"),
    Step("pooling-minilm", 50, "gpu_pooling:compare_pooling", "minilm"),
    Step("sessions-minilm", 50, "gpu_embed:measure_sessions", "minilm"),
    Step("sessions-base", 50, "gpu_embed:measure_sessions", "base"),
    Step("embed-large", 90, "gpu_embed:measure_embedder", "large"),
    Step("peers-large", 60, "gpu_peers:measure_sentence_transformers", "large"),
    Step("budget-base", 50, "gpu_embed:compare_budgets", "base"),
    Step("budget-minilm", 50, "gpu_embed:compare_budgets", "minilm"),
    Step("buckets-base", 60, "gpu_embed:compare_buckets", "base"),
    Step("buckets-minilm", 60, "gpu_embed:compare_buckets", "minilm"),
    Step("job-base", 150, "gpu_job:measure_job", "base"),
    Step("job-minilm", 120, "gpu_job:measure_job", "minilm"),
    Step("bare-large", 60, "gpu_bare:measure_bare", "large"),
    Step("fusion-minilm", 40, "gpu_bare:compare_fusion", "minilm"),
    Step("quality-cpu", 240, "gpu_quality:measure_cpu_precisions"),
    Step("first-run", 30, "gpu_facts:first_run"),
    Step("cuda-graph", 40, "gpu_bare:capture_graph", "minilm"),
    Step("host-base", 90, "gpu_host:measure_host", "base"),
    Step("host-minilm", 90, "gpu_host:measure_host", "minilm"),
)
NEEDS_GPU = frozenset({"cuda-graph"})
# Models that steps need without being of one, or other ones than they are of.
MODEL_OF = dict.fromkeys(
    ("quality", "quality-cpu", "tokenizer", "first-run", "host-base", "host-minilm"),
    "minilm",
)


def main() -> int:
    """Make a model (``model NAME``) or carry out a step, with the settings as JSON; results go to standard output."""
    name, given = sys.argv[1], Settings(**json.loads(sys.argv[2]))
    if name.startswith("model:"):
        from benchmarks.gpu_models import make_model

        model = name.partition(":")[2]
        checkpoint = None if given.checkpoint is None else Path(given.checkpoint)
        log(make_model(model, given.sizes[model], given.models, checkpoint))
        if given.on_gpu:
            from benchmarks.gpu_bare import graph_of

            log(graph_of(given, model, "float16"))
        return 0
    step = next(one for one in STEPS if one.name == name)
    try:
        step.load()(given)
    except Exception as error:
        tell(step=name, error=note(error))
        raise
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Nothing is to be closed: a driver that hangs at the end would cost the other steps their time.
    os._exit(code)
