"""Folders of the local Rays that jobs start: each has one of its own, and none is left when its job is over.

A folder belongs to the driver that made it for as long as that one holds the folder's lock, which the system takes back
from a driver that is killed. What such a driver left is cleared when the next local Ray is started.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout
from ray._common.utils import get_default_system_temp_dir

from embedders.errors import FleetembedError
from pipelines.errors import WorkerError

log = logging.getLogger("fleetembed")

PREFIX = "fe-ray-"
MARKER, LOCK = "fleetembed.json", "driver.lock"
# Bytes that the path of a Unix socket may have, and what of it Ray puts below its folder.
LONGEST_SOCKET = 107 if sys.platform == "linux" else 103
BELOW = len("/r/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
# Logs of a Ray whose job failed are kept for a day, those of the last few jobs.
SECONDS_KEPT = 86_400
KEPT = 5
# How long processes that were killed have to end.
SECONDS_TO_END = 5.0
SECONDS_BETWEEN_LOOKS = 0.01


class RayFolder:
    """The folder of one local Ray; ``path`` is absolute, and ``keeps_logs`` lets the logs in it stay."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Ray opens its folder to all users; the one around it is this user's alone.
        self.for_ray = path / "r"
        self.keeps_logs = False
        self._lock = FileLock(path / LOCK)
        self._lock.acquire(timeout=0)
        me = psutil.Process()
        self._mark({"driver": me.pid, "started": me.create_time()})

    def close(self) -> None:
        """End what still runs of a Ray that was shut down, and delete the folder, all but the logs that are kept."""
        _end(_writers(self.path))
        if self.keeps_logs:
            # A full disk changes nothing of how the job ended.
            with suppress(OSError):
                _strip(self.for_ray)
                self._mark({"kept": time.time()})
        self._lock.release()
        if not self.keeps_logs:
            _delete(self.path)

    def _mark(self, facts: dict[str, Any]) -> None:
        (self.path / MARKER).write_text(json.dumps(facts))


@contextmanager
def ray_folder() -> Iterator[Path | None]:
    """Make a folder for a local Ray, after those that dead drivers left were cleared, and clear it at the end.

    Where a worker's end is the job's, or what nobody foresaw, the logs stay, and it is said where. None where the path
    would be too long for Ray's sockets, or cannot be made: Ray then takes its usual folder, and that stays.
    """
    base = Path(get_default_system_temp_dir()).absolute()  # type: ignore[no-untyped-call]
    folder = None
    if os.name == "posix" and len(os.fsencode(base)) + len(f"/{PREFIX}12345678") + BELOW <= LONGEST_SOCKET:
        with suppress(OSError):
            clear(base)
            base.mkdir(parents=True, exist_ok=True)
            folder = RayFolder(Path(tempfile.mkdtemp(prefix=PREFIX, dir=base)))
    if folder is None:
        yield None
        return
    try:
        yield folder.for_ray
    except WorkerError as error:
        folder.keeps_logs = True
        raise WorkerError(f"{error} (Ray's logs are kept for a day, in {folder.path})") from error.__cause__
    except FleetembedError:
        raise
    except Exception:
        folder.keeps_logs = True
        log.error("Ray's logs are kept for a day, in %s", folder.path)
        raise
    finally:
        folder.close()


def clear(base: Path) -> None:
    """Delete the folders below ``base`` whose drivers are dead, and end what these left running.

    Left alone: other Rays' folders, other users', those of drivers that live, and logs that are kept.
    """
    kept = []
    for path in base.glob(f"{PREFIX}*"):
        facts = _read_marker(path)
        if facts is None:
            continue
        if "kept" in facts:
            kept.append((facts["kept"], path))
        elif not _lives(facts):
            _clear_dead(path, facts)
    kept.sort(reverse=True)
    for number, (since, path) in enumerate(kept):
        if number >= KEPT or time.time() - since > SECONDS_KEPT:
            _delete(path)


def _clear_dead(path: Path, facts: dict[str, Any]) -> None:
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    # Its driver lives, where this process cannot see it (another container); or another process is clearing it.
    except (Timeout, OSError):
        return
    try:
        _end([process for process in _writers(path) if process.pid != facts["driver"]])
        log.info("cleared %s, which a run that was killed had left", path)
    finally:
        lock.release()
    _delete(path)


def _read_marker(path: Path) -> dict[str, Any] | None:
    """Read what a driver of this user's wrote into its folder; None where the folder is anybody else's."""
    with suppress(OSError, ValueError):
        if path.is_symlink() or path.stat().st_uid != os.getuid():
            return None
        facts = json.loads((path / MARKER).read_text())
        if isinstance(facts, dict) and (isinstance(facts.get("kept"), float) or {"driver", "started"} <= facts.keys()):
            return facts
    return None


def _lives(facts: dict[str, Any]) -> bool:
    """Whether the driver's process is there, and is not another one that got its number."""
    try:
        return bool(abs(psutil.Process(facts["driver"]).create_time() - facts["started"]) < 2)
    except (psutil.Error, TypeError, ValueError):
        return False


def _writers(path: Path) -> list[psutil.Process]:
    """Find the processes that have files below a folder open for writing: all of a Ray's do, its logs.

    This process, which logs there as the driver, is none of them.
    """
    inside = f"{path}/"
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.uids().real != os.getuid():
                continue
            # Only Linux tells the mode.
            if any(file.path.startswith(inside) and getattr(file, "mode", "r") != "r" for file in process.open_files()):
                found.append(process)
    return found


def _end(processes: list[psutil.Process]) -> None:
    """Kill processes, and wait until they are over; a shutdown has ended in order what was to be."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + SECONDS_TO_END
    while any(map(_runs, processes)) and time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _runs(process: psutil.Process) -> bool:
    """Whether a process is at work; one that is over may have an entry for long, where its new parent does not look."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _strip(path: Path) -> None:
    """Delete all that is in a Ray's folder but the logs."""
    for session in path.glob("session_*"):
        if session.is_symlink():
            session.unlink()
            continue
        for entry in session.iterdir():
            if entry.name != "logs":
                _delete(entry)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
