"""A file system of an object store that tries again what may pass, and tells its failures in a user's words.

A store that throttles, or is away for a while, is no fault of a file, a row or an image: what is asked of it is asked
again with growing pauses, and when the patience is over a StoreError is raised, which ends the job and which no row is
blamed for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import fs

from embedders.retrying import Patience, retry
from pipelines.errors import StoreError
from pipelines.sinks.ray_context import running_ray
from pipelines.stores.failures import Failure, judge

log = logging.getLogger("fleetembed")
T = TypeVar("T")

# Less than the time after which a cluster on which nothing moves is given up: what is wrong is better known here.
RETRY_SECONDS = 240.0
# A store that has not answered yet is more likely to be named wrongly than to be away.
FIRST_SECONDS = 10.0
SECONDS_BETWEEN_WARNINGS = 30.0


class Store(fs.FileSystemHandler):  # type: ignore[misc]
    """Puts patience between pyarrow and one of its file systems, which ``make`` opens by its ``address``.

    The two are what is pickled: another process opens the store anew, with the credentials that it has itself. A
    request is tried again for ``seconds``. Threads may share it.
    """

    def __init__(
        self,
        make: Callable[[Any], fs.FileSystem],
        address: Hashable,
        scheme: str,
        seconds: float = RETRY_SECONDS,
        answered: bool = False,
    ) -> None:
        self._make, self._address, self._scheme = make, address, scheme
        self._seconds, self._answered = seconds, answered
        # How many times something was asked for again.
        self.retries = 0
        self._buckets: set[str] = set()
        self._warned = 0.0
        self._opened: fs.FileSystem | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self._make, self._address, self._scheme, self._seconds, self._answered)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and (self._make, self._address) == (other._make, other._address)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._address)

    def get_type_name(self) -> str:
        """See FileSystemHandler."""
        return self._scheme

    def write_file(self, path: str, data: pa.Buffer, patience: Patience | None = None) -> None:
        """Write a whole file; what a reader sees under its name is the old one until the new one is complete."""

        def write(inner: fs.FileSystem) -> None:
            with inner.open_output_stream(path) as stream:
                stream.write(data)

        self.ask(path, write, patience)

    def read_file(self, path: str, patience: Patience | None = None) -> bytes:
        """Read a whole file; raises FileNotFoundError where there is none."""

        def read(inner: fs.FileSystem) -> bytes:
            with inner.open_input_file(path) as file:
                data: bytes = file.read()
            return data

        return self.ask(path, read, patience)

    def ask(self, path: str, request: Callable[[fs.FileSystem], T], patience: Patience | None = None) -> T:
        """Ask the file system something until it answers, as long as the patience lasts.

        FileNotFoundError passes. Raises StoreError where the store as a whole fails, PermissionError or OSError where
        it refuses this one request.
        """

        def passing(error: BaseException) -> bool:
            return _is_of_the_store(error) and judge(error).kind == "passing"  # type: ignore[arg-type]

        def attempt() -> T:
            try:
                with _as_os_errors():
                    found = request(self._inner())
            except OSError as error:
                if not _is_of_the_store(error):
                    raise
                failure = judge(error)
                self._answered = self._answered or not failure.unreachable
                if failure.kind == "passing":
                    self._warn(path, failure)
                raise
            self._answered = True
            return found

        def is_busy(error: BaseException) -> bool:
            return self._answered and passing(error)

        def attempts(patience: Patience) -> T:
            return retry(attempt, patience, passing=passing, on_retry=self._count_retry)

        started = time.monotonic()
        try:
            if patience is not None or self._answered or _in_worker() or self._seconds <= FIRST_SECONDS:
                return attempts(patience or Patience(self._seconds))
            try:
                return attempts(Patience(FIRST_SECONDS))
            except OSError as error:
                if not is_busy(error):
                    raise
                # It is there, and busy: that is another thing than one which is named wrongly.
                self._count_retry()
                return attempts(Patience(self._seconds - (time.monotonic() - started)))
        except OSError as error:
            if not _is_of_the_store(error):
                raise
            failure = judge(error)
            told = f"{self.shown(path)}: the store {failure.told}"
            if failure.kind == "file":
                raise (PermissionError if "denies" in failure.message else OSError)(told) from None
            if failure.kind == "passing":
                told += f" (tried for {time.monotonic() - started:.0f} s)"
            raise StoreError(told) from None

    def shown(self, path: str) -> str:
        """Give a path in the store as a URL, for people to read."""
        return f"{self._scheme}://{path}"

    def _inner(self) -> fs.FileSystem:
        if self._opened is None:
            self._opened = self._make(self._address)
        return self._opened

    def _count_retry(self) -> None:
        self.retries += 1

    def _warn(self, path: str, failure: Failure) -> None:
        now = time.monotonic()
        if now - self._warned > SECONDS_BETWEEN_WARNINGS:
            self._warned = now
            log.warning("%s: the store %s; trying again", self.shown(path), failure.message)

    def _find_bucket(self, path: str) -> None:
        """Raise StoreError where a bucket in which nothing is found is not there at all: a listing does not tell."""
        bucket = path.partition("/")[0]
        if bucket in self._buckets:
            return
        try:
            there = self.ask(bucket, lambda inner: inner.get_file_info(bucket)).type != fs.FileType.NotFound
        except PermissionError:
            # To look at a bucket as such asks for a permission that none of its files needs.
            there = True
        if not there:
            raise StoreError(
                f"{self.shown(bucket)}: there is no such bucket; make it, or check its name, the region and the "
                "endpoint (AWS_ENDPOINT_URL)"
            )
        self._buckets.add(bucket)

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        """See FileSystemHandler."""
        found: list[fs.FileInfo] = self.ask(paths[0] if paths else "", lambda inner: inner.get_file_info(paths))
        for info in found:
            if info.type == fs.FileType.NotFound:
                self._find_bucket(info.path)
        return found

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        """See FileSystemHandler."""
        found: list[fs.FileInfo] = self.ask(selector.base_dir, lambda inner: inner.get_file_info(selector))
        if found:
            self._buckets.add(selector.base_dir.partition("/")[0])
        else:
            self._find_bucket(selector.base_dir)
        return found

    def create_dir(self, path: str, recursive: bool) -> None:
        """Make sure that there is a bucket: a store needs no folders, and rights to write may begin below them."""
        self._find_bucket(path)

    def delete_dir(self, path: str) -> None:
        """See FileSystemHandler."""
        self.ask(path, lambda inner: inner.delete_dir(path))

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """See FileSystemHandler."""
        self.ask(path, lambda inner: inner.delete_dir_contents(path, missing_dir_ok=missing_dir_ok))

    def delete_root_dir_contents(self) -> None:
        """Refuse: no job empties a whole store."""
        raise OSError("a store is not emptied")

    def delete_file(self, path: str) -> None:
        """See FileSystemHandler."""
        before = self.retries
        try:
            self.ask(path, lambda inner: inner.delete_file(path))
        except FileNotFoundError:
            # A request whose answer was lost has deleted it.
            if self.retries == before:
                raise

    def move(self, src: str, dest: str) -> None:
        """See FileSystemHandler."""
        self.ask(src, lambda inner: inner.move(src, dest))

    def copy_file(self, src: str, dest: str) -> None:
        """See FileSystemHandler."""
        self.ask(src, lambda inner: inner.copy_file(src, dest))

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """See FileSystemHandler."""
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> pa.NativeFile:
        """See FileSystemHandler."""
        return pa.PythonFile(_Reading(self, path), mode="r")

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """Open a stream that nothing tries again: see ``write_file`` for one that is."""
        return self._inner().open_output_stream(path, metadata=metadata)

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """Refuse: a store's files are written as a whole."""
        raise OSError("a file of a store cannot be added to")

    def normalize_path(self, path: str) -> str:
        """See FileSystemHandler."""
        normal: str = self._inner().normalize_path(path)
        return normal


class _Reading:
    """A file that is read, each piece of it with the store's patience."""

    def __init__(self, store: Store, path: str) -> None:
        self._store, self._path = store, path
        self._file: pa.NativeFile = store.ask(path, lambda inner: inner.open_input_file(path))
        self._size: int = self._file.size()
        self._at = 0
        self.closed = False

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        return self._size

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int | None = None) -> bytes:
        data: bytes = self.read_buffer(size).to_pybytes()
        return data

    def read_buffer(self, size: int | None = None) -> pa.Buffer:
        """Read without copying, as pyarrow does where a file can do so."""
        left = max(0, self._size - self._at)
        size = left if size is None or size < 0 else min(size, left)
        if not size:
            return pa.py_buffer(b"")

        def read(_: fs.FileSystem) -> pa.Buffer:
            self._file.seek(self._at)
            return self._file.read_buffer(size)

        data = self._store.ask(self._path, read)
        self._at += data.size
        return data

    def close(self) -> None:
        self.closed = True
        self._file.close()


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Raise as an OSError what pyarrow has other kinds for when Google's client says it, such as a busy store."""
    try:
        yield
    except pa.ArrowInvalid:
        raise
    except pa.ArrowException as error:
        if "google::cloud::Status(" not in str(error):
            raise
        raise OSError(str(error)) from None


def _is_of_the_store(error: BaseException) -> bool:
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)


def _in_worker() -> bool:
    """Tell a worker, whose driver has met the store, and which has time."""
    ray = running_ray()
    return ray is not None and ray.get_runtime_context().worker.mode == ray.WORKER_MODE
