"""Files by path or URL: local, or any store that pyarrow.fs or fsspec knows."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import fsspec
import pyarrow as pa
from pyarrow import fs

from embedders.files.atomic import whole_file
from pipelines.errors import ConfigError
from pipelines.urls import STORES, encode, is_url, local_path, scheme_of

TEMPORARY = "_tmp"


def open_filesystem(path: str) -> tuple[fs.FileSystem, str]:
    """Resolve a path or URL to its file system and the path inside it; a local path becomes absolute, ``~`` expanded.

    What a URL names is told in ``urls.py``. Raises ConfigError for a URL of an unknown kind, or one whose fsspec
    package is not installed.
    """
    local = local_path(path)
    if local is not None:
        return fs.LocalFileSystem(), local
    try:
        filesystem, inside = fs.FileSystem.from_uri(encode(path))
        return filesystem, inside
    except pa.ArrowInvalid as error:
        refusal = error
    try:
        opened, inside = fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        shown = without_credentials(path)
        if scheme_of(path) not in STORES:
            raise ConfigError(f"{shown}: {error}") from None
        reason = str(refusal).replace(path, shown).replace(encode(path), shown)
        hint = " (in a URL a '?' begins the options of its store; write %3F for one in a name)" if "?" in path else ""
        raise ConfigError(f"{shown}: {reason}{hint}") from None
    return fs.PyFileSystem(fs.FSSpecHandler(opened)), inside


def write_file(filesystem: fs.FileSystem, path: str, data: pa.Buffer) -> None:
    """Write a whole file so that a reader sees all of it or nothing; one of that name is replaced.

    On a local disk it is written into the folder ``_tmp`` beside it, synced and renamed. Object stores show a key
    only when its upload is complete.
    """
    parent, _, name = path.rpartition("/")
    if not isinstance(filesystem, fs.LocalFileSystem):
        filesystem.create_dir(parent, recursive=True)
        with filesystem.open_output_stream(path) as stream:
            stream.write(data)
        return
    staging = Path(parent, TEMPORARY)
    staging.mkdir(parents=True, exist_ok=True)
    staged = staging / f"{name}.{uuid.uuid4().hex}"
    with staged.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)
    _sync_folder(parent)


def without_credentials(url: str) -> str:
    """Strip user, password and query from a URL, so that it can be shown."""
    if not is_url(url):
        return url
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"not a URL: {error}") from None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _sync_folder(path: str) -> None:
    """Make a rename in this folder last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write a local JSON file; readers see the old one or the new one, never half of one.

    Half a surrogate pair, as names of files may have that are not UTF-8, is written as its escape.
    """
    with whole_file(path) as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False).encode(errors="backslashreplace") + b"\n")
