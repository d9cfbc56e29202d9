"""The folder of an evaluation: checked before anything is measured, and filled with results, runs and charts."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from embedders.files.atomic import whole_file
from pipelines.errors import ConfigError, SinkError
from pipelines.evaluation.metrics import Run
from pipelines.evaluation.report.chart import build_chart
from pipelines.evaluation.report.page import build_page
from pipelines.evaluation.report.results import Results
from pipelines.sources.walk import OUTPUT_MARK
from pipelines.urls import refuse_url

RUNS, RESULTS, PICTURE, PAGE = "runs", "results.json", "chart.png", "chart.html"
PIXELS_A_POINT = 2
# Names of files have 255 bytes at most, some encrypted file systems' 143; a number and the suffix come after.
NAME_BYTES = 100


def make_folder(out: Path) -> None:
    """Make the folder, with a mark by which no job reads what is in it as documents.

    Raises ConfigError where it cannot take the results, as far as that can be seen before.
    """
    refuse_url(out, "--out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be made: {error.strerror}") from None
    if not os.access(out, os.W_OK | os.X_OK):
        raise ConfigError(f"--out {out}: nothing can be written into this folder; give another")
    runs = out / RUNS
    if runs.is_symlink() or (runs.exists() and not runs.is_dir()):
        raise ConfigError(f"--out {out}: {RUNS} is in the way, it must be a folder; delete it, or give another --out")
    for path in (out / name for name in (RESULTS, PICTURE, PAGE)):
        if path.exists() and not (path.is_file() and os.access(path, os.W_OK)):
            raise ConfigError(f"--out {out}: {path.name} cannot be overwritten; delete it, or give another --out")
    # A folder that somebody keeps other files in is left alone.
    if not any(out.iterdir()):
        (out / OUTPUT_MARK).touch()


def write_results(out: Path, results: Results) -> None:
    """Write ``results.json`` and the charts; raises SinkError."""
    with _writing(out):
        results.save(out / RESULTS)
        write_charts(results, out)


def write_charts(results: Results, folder: Path) -> None:
    """Write the chart as a picture and as a page that needs no network."""
    chart = build_chart(results)
    with whole_file(folder / PICTURE) as file:
        chart.save(file, format="png", scale_factor=PIXELS_A_POINT)
    with whole_file(folder / PAGE) as file:
        file.write(build_page(results, chart.to_dict()).encode())


def write_runs(out: Path, runs: Iterable[tuple[str, Run]]) -> None:
    """Write each named run as ``runs/NAME.trec``, in the place of an earlier evaluation's runs; raises SinkError."""
    folder = out / RUNS
    with _writing(folder):
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        for name, run in runs:
            with whole_file(free_file(folder, name)) as file:
                file.writelines(line.encode() for line in trec_lines(run, name))


def trec_lines(run: Run, tag: str) -> Iterator[str]:
    """Yield the lines of a TREC run file; white space in ids becomes an underscore, as it separates the fields."""
    for query, documents in run.items():
        for rank, document in enumerate(documents):
            name, query_name, tag_name = ("_".join(text.split()) for text in (document, query, tag))
            yield f"{query_name} Q0 {name} {rank + 1} {len(documents) - rank} {tag_name}\n"


def free_file(folder: Path, name: str) -> Path:
    """Choose a file for a run that does not exist yet: names may differ only in what a file's name cannot have."""
    stem = re.sub(r"[^\w.+@>-]+", "_", name).encode()[:NAME_BYTES].decode(errors="ignore")
    path, number = folder / f"{stem}.trec", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.trec", number + 1
    return path


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a SinkError with the file's name."""
    try:
        yield
    except OSError as error:
        raise SinkError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from None
