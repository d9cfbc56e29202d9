"""Files of a report's page: the report that is read, the page that is written, and which file one may replace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from embedders.errors import FleetembedError
from embedders.files.atomic import whole_file
from embedders.retrying import Patience
from pipelines.errors import ConfigError, SinkError
from pipelines.filesystem import open_filesystem, read_file, write_file
from pipelines.html_document import GENERATOR
from pipelines.run.report.file import MAX_BYTES, parse_report
from pipelines.urls import local_path, without_credentials

# A page begins with what it is.
HEAD_BYTES = 1024


def read_report(path: str) -> dict[str, Any]:
    """Read a report's file at a path or URL; raises ConfigError where none is there, or it is something else."""
    shown = without_credentials(path)
    try:
        data = _read(path, MAX_BYTES)
    except FileNotFoundError:
        raise ConfigError(f"{shown}: there is no such file; name a run's report, as run_report.json") from None
    except IsADirectoryError:
        raise ConfigError(f"{shown} is a folder; name the file of a run's report in it") from None
    except FleetembedError:
        raise
    # Each store has errors of its own kind.
    except Exception as error:
        raise ConfigError(f"{shown} cannot be read: {_why(error)}") from None
    found = parse_report(data)
    if found is None:
        raise ConfigError(f"{shown} is no run's report, which is a JSON file with run_id, status and rows")
    return found


def write_page(path: str, page: str, key: str, patience: Patience | None = None) -> None:
    """Write a page to a path or URL; readers see the old file or the new one, never half of one.

    Raises ConfigError that begins with ``key`` where a file is there that is no page of this program, SinkError where
    none can be written.
    """
    shown = without_credentials(path)
    local = local_path(path)
    try:
        if local is not None and Path(local).is_dir():
            raise ConfigError(f"{key}: {shown} is a folder; name a file")
        if _is_foreign(path, patience):
            raise ConfigError(f"{key}: {shown} is there and is no report's page, and would be replaced by one")
        data = page.encode(errors="backslashreplace")
        if local is not None:
            Path(local).parent.mkdir(parents=True, exist_ok=True)
            with whole_file(Path(local)) as file:
                file.write(data)
            return
        filesystem, inside = open_filesystem(path)
        write_file(filesystem, inside, pa.py_buffer(data), patience)
    except FleetembedError:
        raise
    # Each store has errors of its own kind.
    except Exception as error:
        raise SinkError(f"{shown} cannot be written: {_why(error)}") from None


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _is_foreign(path: str, patience: Patience | None) -> bool:
    try:
        head = _read(path, HEAD_BYTES, patience)
    except FileNotFoundError:
        return False
    return bool(head) and GENERATOR.encode() not in head


def _read(path: str, most: int, patience: Patience | None = None) -> bytes:
    local = local_path(path)
    if local is not None:
        with Path(local).open("rb") as file:
            return file.read(most)
    filesystem, inside = open_filesystem(path)
    return read_file(filesystem, inside, patience)[:most]
