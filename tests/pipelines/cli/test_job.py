from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
from rich.console import Console

from pipelines.cli.job import exit_code, show_plan, show_preview
from pipelines.errors import ConfigError, SinkError
from pipelines.job_plan import JobPlan


def shown_by(action: object, *arguments: object, width: int = 100) -> str:
    text = io.StringIO()
    action(*arguments, Console(file=text, width=width))  # type: ignore[operator]
    return text.getvalue()


def test_errors_become_one_message_and_a_code() -> None:
    def raising(error: BaseException) -> tuple[int, str]:
        def act() -> None:
            raise error

        text = io.StringIO()
        return exit_code(act, Console(file=text)), text.getvalue()

    assert raising(ConfigError("source.path: [wrong]")) == (2, "source.path: [wrong]\n")
    assert raising(SinkError("gone")) == (1, "gone\n")
    assert raising(KeyboardInterrupt())[0] == 1
    assert exit_code(lambda: 3, Console(file=io.StringIO())) == 3


def test_a_preview_shows_text_that_looks_like_markup_as_it_is() -> None:
    frame = pd.DataFrame({"document_id": ["m[/red]"], "text": ["see [/usr/bin] and [bold]"]})
    shown = shown_by(show_preview, frame)
    assert "m[/red]" in shown and "see [/usr/bin] and [bold]" in shown


def test_a_preview_shows_vectors_by_their_first_numbers_and_their_size() -> None:
    dense = np.linspace(-1, 1, 384, dtype=np.float32)
    error = {"stage": "dense", "type": "NoText", "message": "the row has no text" + "; " * 60 + "mend it"}
    frame = pd.DataFrame(
        {
            "text": ["a " * 300, "b \x1b[31m\r"],
            "dense": [dense, None],
            "terms": [{"indices": np.arange(14), "values": np.full(14, 1.5, np.float32)}, None],
            "tokens": [np.array([dense[:128]] * 9), None],
            "error": [None, error],
        }
    )
    first, second = shown_by(show_preview, frame).split("\n\n")[:2]
    assert "[-1.000, -0.995, -0.990, -0.984, … 384]" in first
    assert "{0: 1.500, 1: 1.500, 2: 1.500, 3: 1.500, …} 14 terms" in first
    assert "[[-1.000, -0.995, -0.990, -0.984, … 128], …] 9 vectors" in first
    assert "… 600 characters" in first and "error" not in first
    assert "dense: NoText: the row has no text" in second and "None" not in second
    assert "mend it" in second
    assert "b  [31m" in second and "\x1b" not in second


def test_a_preview_of_an_image_has_no_text() -> None:
    frame = pd.DataFrame({"document_id": ["a.png"], "text": [float("nan")], "payload": ['{"path": "a.png"}']})
    shown = shown_by(show_preview, frame)
    assert "a.png" in shown and "text" not in shown and "nan" not in shown


def test_a_plan_on_a_narrow_terminal_has_the_whole_name_of_a_model() -> None:
    name = "sentence-transformers/all-MiniLM-L6-v2"
    models = {"dense": {"model": name, "kind": "dense", "dim": 384, "precision": "float32", "fingerprint": "f" * 64}}
    plan = JobPlan(*(1, 0, 1536, "0" * 64, models, []), report="r.json", dead_letters="dead_letters")
    shown = shown_by(show_plan, plan, width=80)
    assert "…" not in shown and "ffffffffffff" in shown
    assert name in re.sub(r"\s+", "", re.sub(r"\b(dense|384|float32|f{12})\b", "", shown))


def test_a_plan_names_files_models_and_places() -> None:
    models = {"dense": {"model": "a/b", "kind": "dense", "dim": 384, "fingerprint": "f" * 64}}
    sinks = [
        {"type": "parquet", "place": "out[1]", "exists": False},
        {"type": "qdrant", "place": "docs at http://q", "exists": True, "points": 1200},
    ]
    placement = ["would run on 2 nodes of 4 CPUs:", "  dense[gpu]: 2 actors of 1 CPU"]
    shown = shown_by(
        show_plan,
        JobPlan(
            *(1, 2, 1536, "0" * 64, models, sinks),
            report="s3://b/[x]/report.json",
            dead_letters="s3://b/[x]/dead_letters",
            placement=placement,
        ),
    )
    assert "1 file, 1.5 kB; 2 files of unknown kind" in shown
    copied = JobPlan(
        *(0, 0, 1536, None, {}, []), report="r", dead_letters="d", collection="collection docs at http://q", points=1200
    )
    assert "would read 1,200 points of collection docs at http://q, about 1.5 kB\n" in shown_by(show_plan, copied)
    assert "parquet out[1]; it will be created" in shown
    assert "qdrant docs at http://q; it holds 1,200 points" in shown
    assert "report: s3://b/[x]/report.json\ndead letters: s3://b/[x]/dead_letters\n" in shown
    assert "would run on 2 nodes of 4 CPUs:\n  dense[gpu]: 2 actors of 1 CPU\n" in shown
