"""Files of a verification: the report of the run before it, and its own JSON and page beside that."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.errors import SinkError
from pipelines.filesystem import as_json, open_filesystem, write_file
from pipelines.reindex.verify.page import build_page
from pipelines.reindex.verify.result import Verification
from pipelines.run.report.file import MAX_BYTES
from pipelines.urls import is_url, local_path, without_credentials

JSON, PAGE = "reindex-verify.json", "reindex-verify.html"


def load_report(path: str) -> dict[str, Any] | None:
    """Read a run's report at a path or URL; None where there is none that can be read."""
    # Each store has errors of its own kind; without a report the checks that need it say so.
    with suppress(Exception):
        filesystem, inside = open_filesystem(path)
        with filesystem.open_input_file(inside) as file:
            found = json.loads(file.read(MAX_BYTES))
        return found if isinstance(found, dict) else None
    return None


def write_verification(report: str, found: Verification) -> list[str]:
    """Write both files beside a run's report; returns their places. Raises SinkError where one cannot be written."""
    contents = {JSON: as_json(found.to_json()), PAGE: build_page(found).encode()}
    places = [beside(report, name) for name in contents]
    for place, content in zip(places, contents.values(), strict=True):
        try:
            local = local_path(place)
            if local is not None:
                Path(local).parent.mkdir(parents=True, exist_ok=True)
            filesystem, inside = open_filesystem(place)
            write_file(filesystem, inside, pa.py_buffer(content))
        except OSError as error:
            why = error.strerror or error
            raise SinkError(f"{without_credentials(place)} cannot be written: {why}") from None
    return places


def beside(report: str, name: str) -> str:
    """Name a file in the folder of a report; options of a URL stay."""
    body, mark, options = report.partition("?") if is_url(report) else (report, "", "")
    parent, slash, _ = body.rpartition("/")
    return f"{parent}{slash}{name}{mark}{options}"
