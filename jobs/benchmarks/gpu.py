"""GPUs: all figures of this project's code on one card, a line of JSON each, within a number of seconds.

Each step is a process of its own, with a time limit of its own: one that fails or hangs is a line with its error, and
the next one begins. ``python -m benchmarks.gpu`` in ``jobs`` needs the packages of `embedders` alone, and what the
steps compare with: PyTorch and sentence-transformers, ``onnx``, Ray.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from benchmarks.gpu_settings import Settings
from benchmarks.gpu_steps import MODEL_OF, NEEDS_GPU, STEPS, Step

JOBS = Path(__file__).resolve().parents[1]
# What is left of the budget at its end is for the last lines.
RESERVE = 5.0
LEAST_SECONDS = 10.0
ERROR_LINES = 12


def gpu(
    steps: Annotated[str, typer.Option(help=f"Of {', '.join(step.name for step in STEPS)}; comma-separated.")] = "",
    seconds: Annotated[float, typer.Option(help="Seconds for all of it.")] = 570,
    device: Annotated[str, typer.Option(help="cuda or cpu.")] = "cuda",
    quick: Annotated[bool, typer.Option(help="Tiny models and few texts: whether the steps work.")] = False,
    folder: Annotated[Path, typer.Option(help="Where models are made.")] = Path("build/gpu"),
    texts: Annotated[Path | None, typer.Option(help="JSON list of texts; else the standard library's.")] = None,
    beir: Annotated[Path | None, typer.Option(help="BEIR data set, such as SciFact, for nDCG@10.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="MiniLM's checkpoint; else the packaged one.")] = None,
    out: Annotated[Path, typer.Option(help="File of the results, added to.")] = Path("build/gpu/results.jsonl"),
) -> None:
    """One GPU: bare ONNX Runtime, our embedder, sentence-transformers, quality, a job; a line of JSON a figure."""
    ended = time.monotonic() + seconds - RESERVE
    places = {"texts": texts, "beir": beir, "checkpoint": checkpoint}
    given = {name: None if path is None else str(path.resolve()) for name, path in places.items()}
    settings = Settings(device=device, quick=quick, folder=str(folder.resolve()), **given)
    chosen = _chosen(steps, settings)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as file:
        models = _Models(settings, {model for step in chosen if (model := _model_of(step))}, file)
        for step in chosen:
            model = _model_of(step)
            if model is None or models.wait(model, ended):
                _carry_out(step.name, min(step.seconds, ended - time.monotonic()), settings, file)
        models.stop()
        _write(file, {"step": "end", "seconds_left": round(ended + RESERVE - time.monotonic(), 1)})


def _chosen(steps: str, settings: Settings) -> list[Step]:
    names = [name.strip() for name in steps.split(",") if name.strip()]
    unknown = [name for name in names if name not in {step.name for step in STEPS}]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: no such step", param_hint="--steps")
    by_default = [step for step in STEPS if settings.on_gpu or step.name not in NEEDS_GPU]
    return [next(step for step in STEPS if step.name == name) for name in names] or by_default


def _model_of(step: Step) -> str | None:
    return MODEL_OF.get(step.name, step.model)


class _Models:
    """Makes the models in processes beside the first steps."""

    def __init__(self, settings: Settings, names: set[str], file: IO[str]) -> None:
        self._file = file
        self._making = {name: _start(f"model:{name}", settings) for name in sorted(names)}
        self._made: dict[str, bool] = {}

    def wait(self, name: str, ended: float) -> bool:
        """Whether a model is there, once it is decided."""
        if name not in self._made:
            started = time.monotonic()
            try:
                _, told = self._making[name].communicate(timeout=max(1.0, ended - started))
                self._made[name] = self._making[name].returncode == 0
            except subprocess.TimeoutExpired:
                told, self._made[name] = "not made in time", False
            facts = {"step": f"model-{name}", "waited_seconds": round(time.monotonic() - started, 1)}
            _write(self._file, facts if self._made[name] else {**facts, "error": _last_lines(told)})
        return self._made[name]

    def stop(self) -> None:
        """End what is still at work."""
        for process in self._making.values():
            if process.poll() is None:
                process.kill()


def _carry_out(name: str, seconds: float, settings: Settings, file: IO[str]) -> None:
    """Carry out one step in a process; what it prints are results, and it ends when its time is over."""
    if seconds < LEAST_SECONDS and not settings.quick:
        _write(file, {"step": name, "error": "left out: no time is left"})
        return
    started = time.monotonic()
    process = _start(name, settings)
    told: list[str] = []
    threading.Thread(target=_collect, args=(process.stderr, told), daemon=True).start()
    late = True
    for line in _lines_until(process.stdout, started + seconds):
        if line is None:
            late = False
            break
        with suppress(ValueError):
            _write(file, json.loads(line))
    if late:
        process.kill()
    code = process.wait()
    facts: dict[str, Any] = {"step": name, "step_seconds": round(time.monotonic() - started, 1)}
    if late:
        facts["error"] = f"stopped after {seconds:.0f} s"
    elif code:
        facts |= {"exit_code": code, "error": _last_lines("".join(told))}
    _write(file, facts)


def _start(name: str, settings: Settings) -> subprocess.Popen[str]:
    paths = [str(JOBS), str(JOBS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu_steps", name, json.dumps(asdict(settings))],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _lines_until(stream: IO[str] | None, ended: float) -> Iterator[str | None]:
    """Lines of a stream as they come, then None; they end without it when the time is over."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in stream or ():
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=max(0.01, ended - time.monotonic()))
        except queue.Empty:
            return
        yield line
        if line is None:
            return


def _collect(stream: IO[str] | None, told: list[str]) -> None:
    for line in stream or ():
        told.append(line)
        del told[:-100]


def _last_lines(told: str) -> str:
    return " | ".join(line.strip() for line in told.strip().splitlines()[-ERROR_LINES:])[-1500:]


def _write(file: IO[str], facts: dict[str, Any]) -> None:
    line = json.dumps(facts)
    print(line, flush=True)
    file.write(line + "\n")
    file.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Start it by itself, without the other benchmarks, which need more packages."""
    app = typer.Typer(add_completion=False)
    app.command()(gpu)
    app(arguments)


if __name__ == "__main__":
    main()
