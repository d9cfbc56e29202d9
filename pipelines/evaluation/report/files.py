"""The folder of an evaluation's results: looked at before anything is measured, and the runs in it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import ConfigError, SinkError
from pipelines.evaluation.measure import Trial
from pipelines.evaluation.metrics import trec_lines

RUNS = "runs"
FILES = ("results.json", "chart.png", "chart.html")
# Names of files have 255 bytes at most, some encrypted file systems' 143; a number and the suffix come after.
NAME_BYTES = 100


def make_folder(out: Path) -> None:
    """Make the folder; raises ConfigError where it cannot take the results, as far as that can be seen before."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be made: {error.strerror}") from None
    if not os.access(out, os.W_OK | os.X_OK):
        raise ConfigError(f"--out {out}: nothing can be written into this folder; give another")
    runs = out / RUNS
    if runs.is_symlink() or (runs.exists() and not runs.is_dir()):
        raise ConfigError(f"--out {out}: {RUNS} is in the way, it must be a folder; delete it, or give another --out")
    for path in (out / name for name in FILES):
        if path.exists() and not (path.is_file() and os.access(path, os.W_OK)):
            raise ConfigError(f"--out {out}: {path.name} cannot be overwritten; delete it, or give another --out")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a SinkError with the file's name."""
    try:
        yield
    except OSError as error:
        raise SinkError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from None


def write_runs(out: Path, trials: Sequence[Trial]) -> None:
    """Write what every way found as ``runs/WAY.trec``, in the place of an earlier evaluation's; raises SinkError."""
    folder = out / RUNS
    with writing(folder):
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        for trial in trials:
            name = trial.way.name if trial.exact else f"{trial.way.name}.HNSW"
            with free_file(folder, name).open("w", encoding="utf-8") as file:
                file.writelines(trec_lines(trial.found, name))


def free_file(folder: Path, name: str) -> Path:
    """A file for a way that is not there yet: names may differ only in what a file's name cannot have."""
    stem = re.sub(r"[^\w.+@>-]+", "_", name).encode()[:NAME_BYTES].decode(errors="ignore")
    path, number = folder / f"{stem}.trec", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.trec", number + 1
    return path
