"""Opens images that are elsewhere: files of the source, and paths or URLs that rows name."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, unquote

from pyarrow import fs

from pipelines.config.source import SourceConfig
from pipelines.errors import StoreError
from pipelines.sources.files import FoundFile, filesystem_of, opened
from pipelines.sources.image_values import Reference, check_size, shown, too_large
from pipelines.sources.images.web import WebError, WebImages
from pipelines.sources.split import Split

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
_WEB = re.compile("https?://", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9._-]*")
# Stores whose URLs lead nowhere but into that store. Others of fsspec's go to any host, or wrap a further URL: rows may
# name those only below a place that the configuration names too.
STORES = frozenset(("file", "s3", "gs", "gcs"))


class ImageUnreadableError(Exception):
    """An image cannot be had; says which and why."""


class ImageLoader:
    """Reads the images that the rows of one split refer to; threads may share it. A context manager.

    A relative path begins at ``source.image_root``, else at the folder of the split's file.
    """

    def __init__(self, split: Split, config: SourceConfig) -> None:
        self._max_bytes = config.max_image_bytes
        self._web = WebImages(config.http, config.max_image_bytes)
        roots = [*config.paths, *([config.image_root] if config.image_root else [])]
        self._tops = dict(top for root in roots if (top := _top(root)) is not None)
        self._image_root = config.image_root
        self._split = split

    def __enter__(self) -> ImageLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._web.close()

    def load(self, reference: Reference) -> bytes:
        """Read one image; raises ImageUnreadableError, or StoreError where a store as a whole fails."""
        what = f"image {_shown(reference)}"
        try:
            data = self._read(reference, what)
        except (ImageUnreadableError, StoreError):
            raise
        except FileNotFoundError:
            raise ImageUnreadableError(f"{what}: there is no such file{self._looked_for(reference)}") from None
        except WebError as error:
            raise ImageUnreadableError(f"image {error}") from None
        # Each store has errors of its own kind.
        except Exception as error:
            reason = str(error)[:300] or type(error).__name__
            raise ImageUnreadableError(f"{what} cannot be read: {reason}") from None
        checked, _, problem = check_size(data, self._max_bytes, what)
        if checked is None:
            raise ImageUnreadableError(problem.message if problem else what)
        return checked

    def _read(self, reference: Reference, what: str) -> bytes:
        if isinstance(reference, FoundFile):
            return self._read_file(filesystem_of(reference.root), reference.path, what)
        if (url := _URL.match(reference)) is not None:
            return self._read_url(url[1].lower(), url[2], url[3], what)
        if self._image_root is not None and _WEB.match(self._image_root) and not reference.startswith("/"):
            return self._web.fetch(f"{self._image_root.rstrip('/')}/{quote(reference)}")
        return self._read_file(*self._locate(reference), what)

    def _read_url(self, scheme: str, host: str, path: str, what: str) -> bytes:
        if scheme in ("http", "https"):
            return self._web.fetch(f"{scheme}://{host}{path}")
        if scheme == "file":
            if host not in ("", "localhost"):
                raise ImageUnreadableError(
                    f"{what}: a file:// URL names no host; write file:///{host}{path} for a path"
                )
            return self._read_file(fs.LocalFileSystem(), unquote(path), what)
        top = self._tops.get((scheme, host))
        if top is None and (scheme not in STORES or not _BUCKET.fullmatch(host)):
            raise ImageUnreadableError(
                f"{what}: rows may name local files, http and https URLs, and {', '.join(sorted(STORES))} ones without "
                "credentials; others only below the place of source.path or source.image_root"
            )
        filesystem, inside = opened(top or f"{scheme}://{host}")
        return self._read_file(filesystem, f"{inside.rstrip('/')}/{path.lstrip('/')}", what)

    def _locate(self, path: str) -> tuple[fs.FileSystem, str]:
        """Find the file system of a path, and the path inside it."""
        if path.startswith("/"):
            return fs.LocalFileSystem(), path
        filesystem, folder = filesystem_of(self._split.root), posixpath.dirname(self._split.path)
        if self._image_root is not None:
            filesystem, folder = opened(self._image_root)
        return filesystem, posixpath.normpath(posixpath.join(folder, path))

    def _looked_for(self, reference: Reference) -> str:
        if isinstance(reference, FoundFile) or _URL.match(reference) or reference.startswith("/"):
            return ""
        return f" (looked for {shown(self._locate(reference)[1])})"

    def _read_file(self, filesystem: fs.FileSystem, path: str, what: str) -> bytes:
        if isinstance(filesystem, fs.LocalFileSystem):
            return self._read_local(path, what)
        with filesystem.open_input_file(path) as file:
            if file.size() > self._max_bytes:
                raise ImageUnreadableError(too_large(what, self._max_bytes))
            data: bytes = file.read()
            return data

    def _read_local(self, path: str, what: str) -> bytes:
        # A row may name a pipe or a device, whose opening or reading would never end.
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise ImageUnreadableError(f"{what} is no file")
        with Path(path).open("rb") as file:
            if os.fstat(file.fileno()).st_size > self._max_bytes:
                raise ImageUnreadableError(too_large(what, self._max_bytes))
            return file.read(self._max_bytes + 1)


def _shown(reference: Reference) -> str:
    if isinstance(reference, FoundFile):
        return shown(reference.name)
    # Also of a URL that urllib cannot parse: user, password and query are to be seen in no message.
    url = _URL.match(reference)
    return shown(f"{url[1]}://{url[2].rpartition('@')[2]}{re.split('[?#]', url[3])[0]}" if url else reference)


def _top(root: str) -> tuple[tuple[str, str], str] | None:
    """Scheme and host of a URL, and that URL without its path: it has the options of the store."""
    if (url := _URL.match(root)) is None or _WEB.match(root):
        return None
    user, _, host = url[2].rpartition("@")
    options = re.sub("^[^?]*", "", url[3])
    return (url[1].lower(), host if ":" in user else url[2]), f"{url[1]}://{url[2]}{options}"
