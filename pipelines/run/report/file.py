"""The file of a run's report, on a disk or in a store: how often it is written, and how long that is tried."""

from __future__ import annotations

import json
import os
import re
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

import pyarrow as pa
from pyarrow import fs

from embedders.errors import FleetembedError
from embedders.files.atomic import whole_file
from embedders.retrying import Patience
from pipelines.errors import ConfigError, StoreError
from pipelines.filesystem import as_json, open_filesystem, write_file
from pipelines.urls import local_path, without_credentials

# A text in JSON has no line break.
_NUMBERS = re.compile(rb"\[(\n[-+0-9.eE,\s]+)\]")
# No report is larger.
MAX_BYTES = 64 << 20
SECONDS_BETWEEN_SAVES_IN_STORES = 15.0
# The next save writes the same, and more.
WHILE_RUNNING = Patience(attempts=1)
AT_THE_END = Patience(seconds=60)


def save(path: str, value: Any, patience: Patience | None = None) -> None:
    """Write a report as JSON to a path or URL; readers see the old file or the new one, never half of one.

    A store is tried for as long as ``patience`` says, AT_THE_END where it is left out.
    """
    local = local_path(path)
    if local is not None:
        Path(local).parent.mkdir(parents=True, exist_ok=True)
        with whole_file(Path(local)) as file:
            file.write(_as_json(value))
        return
    filesystem, inside = open_filesystem(path)
    write_file(filesystem, inside, pa.py_buffer(_as_json(value)), patience or AT_THE_END)


def _as_json(value: Any) -> bytes:
    """Make the text of a report, with a line for each list of numbers, which may be long."""
    return _NUMBERS.sub(lambda found: b"[" + b" ".join(found[1].split()) + b"]", as_json(value))


def begin(path: str, value: Any) -> None:
    """Write a run's first report, after ``refuse_foreign_file``.

    Raises ConfigError where none can be had at that path, StoreError where its store fails as a whole.
    """
    try:
        save(path, value)
    except StoreError:
        raise
    except Exception as error:
        if (why := _reason(path, error)) is None:
            raise
        raise ConfigError(f"report: cannot write {without_credentials(path)}: {why}") from None


def try_to_save(path: str, value: Any, patience: Patience | None = None) -> str | None:
    """Write a report, and return why it cannot be written, where that is so."""
    try:
        save(path, value, patience)
    except Exception as error:
        if (why := _reason(path, error)) is None:
            raise
        return why
    return None


def _reason(path: str, error: Exception) -> str | None:
    """Say why a report cannot be written; None for an error that is a fault of this program."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, FleetembedError | ValueError):
        return str(error)
    # Libraries of object stores raise errors of their own.
    return None if local_path(path) is not None else f"{type(error).__name__}: {error}"


def make_room(path: str) -> bool:
    """Delete an earlier report from a disk, which may be full; returns whether it is on one."""
    local = local_path(path)
    if local is None:
        return False
    with suppress(OSError):
        Path(local).unlink()
    return True


def refuse_foreign_file(path: str) -> None:
    """Raise ConfigError where a file is there that is no run's report, and would be lost; or where none can be had.

    StoreError where the store fails as a whole.
    """
    if _is_foreign(path):
        shown = without_credentials(path)
        raise ConfigError(
            f"report: {shown} is there and is no run's report, and would be replaced by one; choose another path"
        )


def _is_foreign(path: str) -> bool:
    local = local_path(path)
    if local is not None:
        if not os.path.lexists(local) or Path(local).is_dir():
            return False
        return not Path(local).is_file() or bool(Path(local).stat().st_size and not _is_local_report(Path(local)))
    try:
        filesystem, inside = open_filesystem(path)
        info = filesystem.get_file_info(inside)
        if info.type != fs.FileType.File or not info.size:
            return False
        if info.size > MAX_BYTES:
            return True
        with filesystem.open_input_file(inside) as file:
            return parse_report(file.read()) is None
    except (ConfigError, StoreError):
        raise
    # Each store has errors of its own kind.
    except Exception as error:
        raise ConfigError(f"report: cannot read {without_credentials(path)}: {error}") from None


def _is_local_report(path: Path) -> bool:
    try:
        return path.stat().st_size <= MAX_BYTES and parse_report(path.read_bytes()) is not None
    except OSError:
        return False


def parse_report(data: bytes) -> dict[str, Any] | None:
    """Read what is in a report's file; None for what is no run's report."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and {"run_id", "status", "rows"} <= found.keys() else None


class RunningReport:
    """Writes the report while a run goes on: to a disk whenever it is asked to, to a store now and then.

    A store's answer is waited for by a thread, so that a slow one holds nothing up. A context manager.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock, self._stopped = Lock(), False
        self._in_store = local_path(path) is None
        self._next = time.monotonic() + SECONDS_BETWEEN_SAVES_IN_STORES
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="report")
        self._pending: Future[str | None] | None = None

    def __enter__(self) -> RunningReport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is being written must not come after the last report.
        self._pool.shutdown()

    def save(self, value: Any) -> str | None:
        """Write the report if it is time, and return why it, or the one before it, could not be written."""
        with self._lock:
            if self._stopped:
                return None
            return self._save_in_store(value) if self._in_store else try_to_save(self.path, value)

    def stop(self, seconds: float) -> None:
        """Let nothing more be written; what is being written is waited for, but no longer than so.

        For another thread, whose report shall not be overtaken by one that says that the run goes on.
        """
        self._stopped = True
        if self._lock.acquire(timeout=seconds):
            pending = self._pending
            self._lock.release()
            wait([pending] if pending is not None else [], timeout=seconds)

    def _save_in_store(self, value: Any) -> str | None:
        if self._pending is not None:
            if not self._pending.done():
                return None
            unwritten, self._pending = self._pending.result(), None
            return unwritten
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS_BETWEEN_SAVES_IN_STORES
            self._pending = self._pool.submit(try_to_save, self.path, value, WHILE_RUNNING)
        return None
