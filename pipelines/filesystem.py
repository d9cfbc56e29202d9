"""Files by path or URL: local, or any store that pyarrow.fs or fsspec knows."""

from __future__ import annotations

import json
import os
import uuid
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
from pyarrow import fs

from embedders.files.atomic import whole_file
from embedders.retrying import Patience
from pipelines.errors import ConfigError
from pipelines.stores.s3 import S3Address, open_s3, parse_url, retry_seconds
from pipelines.stores.store import RETRY_SECONDS, Store
from pipelines.urls import STORES, encode, local_path, scheme_of, without_credentials

TEMPORARY = "_tmp"


def open_filesystem(path: str) -> tuple[fs.FileSystem, str]:
    """Resolve a path or URL to its file system and the path inside it; a local path becomes absolute, ``~`` expanded.

    What a URL names is told in ``urls.py``. A store's file system tries again what may pass, see ``Store``; it pickles
    as its URL, and finds its credentials anew where it is used. Raises ConfigError for a URL of an unknown kind, or one
    whose fsspec package is not installed.
    """
    local = local_path(path)
    if local is not None:
        return fs.LocalFileSystem(), local
    try:
        if scheme_of(path) == "s3":
            address, inside = parse_url(path)
            return _s3(address, _environment()), inside
        filesystem, inside = fs.FileSystem.from_uri(encode(path))
        return _with_patience(path, filesystem), inside
    except (pa.ArrowInvalid, ConfigError) as error:
        refusal = error
    if scheme_of(path) == "s3":
        raise _refused(path, refusal)
    try:
        opened, inside = fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        if scheme_of(path) not in STORES:
            raise ConfigError(f"{without_credentials(path)}: {error}") from None
        raise _refused(path, refusal) from None
    return fs.PyFileSystem(fs.FSSpecHandler(opened)), inside


def _refused(path: str, refusal: Exception) -> ConfigError:
    shown = without_credentials(path)
    reason = str(refusal).replace(path, shown).replace(encode(path), shown)
    hint = " (in a URL a '?' begins the options of its store; write %3F for one in a name)" if "?" in path else ""
    return ConfigError(f"{shown}: {reason}{hint}")


def _environment() -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))


@lru_cache(maxsize=32)
def _s3(address: S3Address, environment: frozenset[tuple[str, str]]) -> fs.FileSystem:
    """Open a store once: its connections are shared, and its credentials looked up once."""
    seconds = retry_seconds(dict(address.options))
    return fs.PyFileSystem(Store(open_s3, address, "s3", RETRY_SECONDS if seconds is None else seconds))


def seconds_of_retries(path: str) -> float:
    """How long a request to the store of a URL is tried again; 0 for a local path."""
    if local_path(path) is not None:
        return 0.0
    seconds = retry_seconds(dict(parse_url(path)[0].options)) if scheme_of(path) == "s3" else None
    return RETRY_SECONDS if seconds is None else seconds


def _with_patience(url: str, filesystem: fs.FileSystem) -> fs.FileSystem:
    if filesystem.type_name not in ("gcs", "abfs"):
        return filesystem
    return fs.PyFileSystem(Store(_from_uri, encode(url), scheme_of(url)))


def _from_uri(url: str) -> fs.FileSystem:
    return fs.FileSystem.from_uri(url)[0]


def write_file(filesystem: fs.FileSystem, path: str, data: pa.Buffer, patience: Patience | None = None) -> None:
    """Write a whole file so that a reader sees all of it or nothing; one of that name is replaced.

    On a local disk it is written into a file that has no name until it is whole and synced, else into the folder
    ``_tmp`` beside it. Object stores show a key only when its upload is complete; they are asked again with
    ``patience``, or their own.
    """
    parent = path.rpartition("/")[0]
    if isinstance(filesystem, fs.PyFileSystem) and isinstance(filesystem.handler, Store):
        filesystem.handler.write_file(path, data, patience)
        return
    if not isinstance(filesystem, fs.LocalFileSystem):
        filesystem.create_dir(parent, recursive=True)
        with filesystem.open_output_stream(path) as stream:
            stream.write(data)
        return
    Path(parent).mkdir(parents=True, exist_ok=True)
    if not _write_unnamed(Path(path), data):
        with (staged := _staged(Path(path))).open("wb") as file:
            _write_through(file, data)
        staged.replace(path)
    _sync_folder(parent)


def _write_unnamed(path: Path, data: pa.Buffer) -> bool:
    """Write into a file without a name, which gets one when it is whole; False where the file system has no such files.

    Some readers of a folder, such as polars, take all files below it, those of ``_tmp`` too.
    """
    if not hasattr(os, "O_TMPFILE"):
        return False
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        try:
            descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
        except OSError:
            # What else is amiss shows when the file is written with a name.
            return False
        with os.fdopen(descriptor, "wb") as file:
            _write_through(file, data)
            # With a folder's descriptor, since the link is to be followed then.
            link = partial(os.link, f"/proc/self/fd/{descriptor}", src_dir_fd=folder)
            try:
                link(path)
            except FileExistsError:
                link(staged := _staged(path))
                staged.replace(path)
            except FileNotFoundError:
                # A system without /proc.
                return False
        return True
    finally:
        os.close(folder)


def _staged(path: Path) -> Path:
    staging = path.parent / TEMPORARY
    staging.mkdir(exist_ok=True)
    return staging / f"{uuid.uuid4().hex}{path.suffix}"


def _write_through(file: BinaryIO, data: pa.Buffer) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def read_file(filesystem: fs.FileSystem, path: str, patience: Patience | None = None) -> bytes:
    """Read a whole file; an object store is asked again with ``patience``, or its own.

    Raises FileNotFoundError where there is none.
    """
    if isinstance(filesystem, fs.PyFileSystem) and isinstance(filesystem.handler, Store):
        return filesystem.handler.read_file(path, patience)
    with filesystem.open_input_stream(path) as stream:
        data: bytes = stream.read()
    return data


def retries_of(filesystem: fs.FileSystem) -> int:
    """Count what was asked for again of a store so far; a disk is asked once."""
    handler = filesystem.handler if isinstance(filesystem, fs.PyFileSystem) else None
    return handler.retries if isinstance(handler, Store) else 0


def _sync_folder(path: str) -> None:
    """Make a rename in this folder last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write a local JSON file, as ``as_json`` has it; readers see the old one or the new one, never half of one."""
    with whole_file(path) as file:
        file.write(as_json(value))


def as_json(value: Any) -> bytes:
    """Make the text of a JSON file.

    Half a surrogate pair, as names of files may have that are not UTF-8, is written as its escape.
    """
    return json.dumps(value, indent=2, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"
