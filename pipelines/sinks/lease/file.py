"""The record of who holds a folder: a file in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from embedders.files.atomic import whole_file
from embedders.retrying import Patience, retry
from pipelines.errors import SinkError
from pipelines.filesystem import TEMPORARY, read_file, write_file
from pipelines.sinks.base import JobFacts, LeaseStore
from pipelines.sinks.lease.record import RecordFile, TextRecord

if sys.platform != "win32":
    import fcntl

LOCK_PATIENCE = Patience(5, first_pause=0.01, longest_pause=0.1)
# A record that was given back; an empty one is the beginning of another in stores whose writes are seen half done.
GIVEN_BACK = '{"given_back": true}'
# Once a place is held: what fails is asked again in a while, and a run that ends waits for no store that is away.
IN_A_HURRY = Patience(3)


def folder_lease(place: str, filesystem: fs.FileSystem, path: str, record: RecordFile) -> LeaseStore:
    """Return where a folder keeps the record: on a disk, or in an object store."""
    if isinstance(filesystem, fs.LocalFileSystem):
        return DiskLease(place, path, record)
    return StoreLease(place, filesystem, path, record)


class DiskLease:
    """The record in a folder on a disk, of this machine or shared by several."""

    exclusive = True

    def __init__(self, place: str, path: str, record: RecordFile | None = None) -> None:
        self.place = place
        self._folder = Path(path)
        self._record = record or TextRecord()
        self._file = self._folder / self._record.name
        self._older = [self._folder / name for name in self._record.older]

    def prepare(self, job: JobFacts) -> None:
        """Make the folder."""
        self._record.prepare(job)
        with self._reporting():
            self._folder.mkdir(parents=True, exist_ok=True)

    def read(self) -> str | None:
        """See LeaseStore."""
        with self._reporting():
            for file in (self._file, *self._older):
                with suppress(FileNotFoundError, NotADirectoryError):
                    data = file.read_bytes()
                    return self._record.decode(data) if file == self._file else data.decode(errors="replace")
        return None

    def create(self, text: str) -> bool:
        """See LeaseStore."""
        with self._reporting():
            try:
                # In one go, so that who lists the folder sees an empty file, which readers pass over, or a whole one.
                file = self._file.open("xb", buffering=0)
            except FileExistsError:
                return False
            try:
                with file:
                    file.write(self._record.encode(text))
            except BaseException:
                # Nobody could tell whose it is.
                self._file.unlink(missing_ok=True)
                raise
        return True

    def write(self, text: str) -> None:
        """See LeaseStore; the record of a run of an older version, which is over, goes."""
        with self._reporting():
            if self._record.is_read_along:
                # What is half written would be read along too, under whatever name beside it.
                write_file(fs.LocalFileSystem(), str(self._file), pa.py_buffer(self._record.encode(text)))
            else:
                with whole_file(self._file) as file:
                    file.write(self._record.encode(text))
            for older in self._older:
                older.unlink(missing_ok=True)

    def remove(self) -> None:
        """See LeaseStore; what a killed run left half written goes too."""
        with self._reporting():
            self._file.unlink(missing_ok=True)
            for half in self._folder.glob(f".{self._file.name}.*"):
                half.unlink(missing_ok=True)
            with suppress(OSError):
                (self._folder / TEMPORARY).rmdir()

    def hurry(self) -> None:
        """Do nothing: a disk is asked once."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes of this machine off; a disk that several machines share may not lock for them."""
        if sys.platform == "win32":
            yield
            return
        with self._reporting():
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

    def _reporting(self) -> AbstractContextManager[None]:
        return _reporting(self.place, self._file.name)


class StoreLease:
    """The record in a folder of an object store, where of two that write at once the last one wins.

    A record that is given back is overwritten: a store's client puts an empty object in a folder's place after a
    deletion, for three requests in all.
    """

    exclusive = False

    def __init__(self, place: str, filesystem: fs.FileSystem, path: str, record: RecordFile) -> None:
        self.place = place
        self._filesystem, self._folder, self._record = filesystem, path, record
        self._patience: Patience | None = None

    def prepare(self, job: JobFacts) -> None:
        """Do nothing for the folder, which is there as soon as a file is."""
        self._record.prepare(job)

    def read(self) -> str | None:
        """See LeaseStore."""
        with _reporting(self.place, self._record.name):
            for name in (self._record.name, *self._record.older):
                with suppress(FileNotFoundError):
                    data = read_file(self._filesystem, f"{self._folder}/{name}", self._patience)
                    text = self._record.decode(data) if name == self._record.name else data.decode(errors="replace")
                    return None if text == GIVEN_BACK else text
        return None

    def create(self, text: str) -> bool:
        """See LeaseStore."""
        self.write(text)
        return True

    def write(self, text: str) -> None:
        """See LeaseStore."""
        with _reporting(self.place, self._record.name):
            data = pa.py_buffer(self._record.encode(text))
            write_file(self._filesystem, f"{self._folder}/{self._record.name}", data, self._patience)

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
def _reporting(place: str, name: str) -> Iterator[None]:
    """Turn errors of the file system into SinkErrors; libraries of object stores have some of their own."""
    try:
        yield
    except Exception as error:
        raise SinkError(
            f"{place} cannot be made ready: {name} in it, which says who writes there, cannot be used: {error}"
        ) from None
