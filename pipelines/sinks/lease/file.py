"""The record of who holds a folder: a file in it, whose name begins with ``_`` so that readers pass it over."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from embedders.files.atomic import whole_file
from embedders.retrying import Patience, retry
from pipelines.errors import SinkError
from pipelines.filesystem import read_file, write_file
from pipelines.sinks.base import JobFacts, LeaseStore

if sys.platform != "win32":
    import fcntl

LEASE = "_lease.json"
LOCK_PATIENCE = Patience(5, first_pause=0.01, longest_pause=0.1)
# A record that was given back; an empty one is the beginning of another in stores whose writes are seen half done.
GIVEN_BACK = '{"given_back": true}'
# Once a place is held: what fails is asked again in a while, and a run that ends waits for no store that is away.
IN_A_HURRY = Patience(3)


def folder_lease(place: str, filesystem: fs.FileSystem, path: str) -> LeaseStore:
    """Return where a folder keeps the record: on a disk, or in an object store."""
    if isinstance(filesystem, fs.LocalFileSystem):
        return DiskLease(place, path)
    return StoreLease(place, filesystem, path)


class DiskLease:
    """The record in a folder on a disk, of this machine or shared by several."""

    exclusive = True

    def __init__(self, place: str, path: str) -> None:
        self.place = place
        self._folder = Path(path)
        self._file = self._folder / LEASE

    def prepare(self, job: JobFacts) -> None:
        """Make the folder."""
        with _reporting(self.place):
            self._folder.mkdir(parents=True, exist_ok=True)

    def read(self) -> str | None:
        """See LeaseStore."""
        with _reporting(self.place):
            try:
                return self._file.read_text(errors="replace")
            except (FileNotFoundError, NotADirectoryError):
                return None

    def create(self, text: str) -> bool:
        """See LeaseStore."""
        with _reporting(self.place):
            try:
                file = self._file.open("x")
            except FileExistsError:
                return False
            try:
                with file:
                    file.write(text)
            except BaseException:
                # Nobody could tell whose it is.
                self._file.unlink(missing_ok=True)
                raise
        return True

    def write(self, text: str) -> None:
        """See LeaseStore."""
        with _reporting(self.place), whole_file(self._file) as file:
            file.write(text.encode())

    def remove(self) -> None:
        """See LeaseStore; what a killed run left half written goes too."""
        with _reporting(self.place):
            self._file.unlink(missing_ok=True)
            for half in self._folder.glob(f".{LEASE}.*"):
                half.unlink(missing_ok=True)

    def hurry(self) -> None:
        """Do nothing: a disk is asked once."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes of this machine off; a disk that several machines share may not lock for them."""
        if sys.platform == "win32":
            yield
            return
        with _reporting(self.place):
            folder = os.open(self._folder, os.O_RDONLY)
        try:
            # Some file systems have no locks, and a process that was stopped in the midst shall not stop all others.
            with suppress(OSError):
                retry(
                    lambda: fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB),
                    LOCK_PATIENCE,
                    passing=lambda error: isinstance(error, BlockingIOError),
                )
            yield
        finally:
            os.close(folder)

    def close(self) -> None:
        """Do nothing: no file is open."""


class StoreLease:
    """The record in a folder of an object store, where of two that write at once the last one wins.

    A record that is given back is overwritten: a store's client puts an empty object in a folder's place after a
    deletion, for three requests in all.
    """

    exclusive = False

    def __init__(self, place: str, filesystem: fs.FileSystem, path: str) -> None:
        self.place = place
        self._filesystem, self._path = filesystem, f"{path}/{LEASE}"
        self._patience: Patience | None = None

    def prepare(self, job: JobFacts) -> None:
        """Do nothing: a folder is there as soon as a file is."""

    def read(self) -> str | None:
        """See LeaseStore."""
        with _reporting(self.place):
            try:
                data = read_file(self._filesystem, self._path, self._patience)
            except FileNotFoundError:
                return None
        text = data.decode(errors="replace")
        return None if text == GIVEN_BACK else text

    def create(self, text: str) -> bool:
        """See LeaseStore."""
        self.write(text)
        return True

    def write(self, text: str) -> None:
        """See LeaseStore."""
        with _reporting(self.place):
            write_file(self._filesystem, self._path, pa.py_buffer(text.encode()), self._patience)

    def remove(self) -> None:
        """See LeaseStore."""
        self.write(GIVEN_BACK)

    def hurry(self) -> None:
        """See LeaseStore."""
        self._patience = IN_A_HURRY

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Do nothing: an object store has no locks."""
        yield

    def close(self) -> None:
        """Do nothing: no file is open."""


@contextmanager
def _reporting(place: str) -> Iterator[None]:
    """Turn errors of the file system into SinkErrors; libraries of object stores have some of their own."""
    try:
        yield
    except Exception as error:
        raise SinkError(
            f"{place} cannot be made ready: {LEASE} in it, which says who writes there, cannot be used: {error}"
        ) from None
