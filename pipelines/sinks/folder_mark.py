"""A mark in a local folder, by which a process on any machine proves that it sees the very folder of the driver."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from embedders.retrying import Patience, retry
from pipelines.errors import SinkError

# Readers of data pass over names that begin so.
PREFIX = "_seen-"
# Of a network file system, which may show a new file a moment later elsewhere.
PATIENCE = Patience(4, first_pause=0.2, longest_pause=1.0)


@dataclass(frozen=True)
class FolderMark:
    """An empty file in ``folder`` (absolute local path), whose random name no other run's is."""

    folder: str
    name: str

    @classmethod
    def leave(cls, folder: str) -> FolderMark:
        """Leave a mark in a folder that is there; raises OSError."""
        mark = cls(folder, f"{PREFIX}{secrets.token_hex(8)}")
        Path(folder, mark.name).touch(exist_ok=False)
        return mark

    def refuse_unseen(self) -> None:
        """Raise SinkError where this process sees another folder of that name, or none."""
        try:
            retry(Path(self.folder, self.name).stat, PATIENCE, passing=_is_absent)
        except OSError as error:
            raise SinkError(
                f"this machine ({socket.gethostname()}) does not see the folder {self.folder} of the driver ({error}): "
                "what it wrote there would be lost. Name an object store (s3://...), or a Qdrant server by url, or "
                "mount storage there that all machines share"
            ) from None

    def remove(self) -> None:
        """Delete the mark; nothing happens where it is gone, or the folder does not answer."""
        with suppress(OSError):
            Path(self.folder, self.name).unlink(missing_ok=True)


@contextmanager
def marked(folder: str | None) -> Iterator[FolderMark | None]:
    """Keep a mark in the folder of dead letters, which is made for that; raises SinkError where it cannot be.

    Where nothing else is in the folder at the end, it goes too, unless it was there before. None: no folder, no mark.
    """
    if folder is None:
        yield None
        return
    path = Path(folder)
    there = path.is_dir()

    def leave() -> FolderMark:
        path.mkdir(parents=True, exist_ok=True)
        return FolderMark.leave(folder)

    try:
        # Another job that shares the folder may be over, and remove it, in between.
        mark = retry(leave, PATIENCE, passing=_is_absent)
    except OSError as error:
        raise SinkError(f"dead letters cannot be written to {folder}: {error}") from None
    try:
        yield mark
    finally:
        mark.remove()
        if not there:
            # Letters are in it.
            with suppress(OSError):
                path.rmdir()


def remove_marks(folder: str) -> None:
    """Delete all marks in a folder: that of this run, and of runs that were killed."""
    for mark in Path(folder).glob(f"{PREFIX}*"):
        mark.unlink(missing_ok=True)


def _is_absent(error: BaseException) -> bool:
    return isinstance(error, FileNotFoundError)
