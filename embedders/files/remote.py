"""A folder of files at a URL: which files it holds, and their bytes.

S3, Google Cloud, Azure and HDFS are read by pyarrow, HTTP by the client that downloads from the hub, and any other
store by fsspec where its package is installed. Credentials are those of the environment.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import parse_qs, quote, unquote, urlsplit

from embedders.errors import ModelFilesError
from embedders.files.download import Deadline, DownloadError, TransientDownloadError, shown_url

CHUNK_BYTES = 8 << 20
# A drive letter of Windows is no scheme.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?:::.*)?://", re.DOTALL)
_LOCAL = re.compile(r"(?:file|local)://", re.IGNORECASE)
# Under these keys stores tell what changes with a file's content, the surest first.
_STAMPS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "mtime", "modified", "created")
_DENIED = re.compile(
    r"access.?denied|forbidden|unauthori[sz]ed|status 40[13]|(?:error|answered HTTP) 40[13]|InvalidAccessKeyId|"
    r"INVALID_ACCESS_KEY_ID|SignatureDoesNotMatch|SIGNATURE_DOES_NOT_MATCH|ExpiredToken|no credentials|"
    r"could not (?:find|create) .*credentials",
    re.IGNORECASE,
)
_MISSING = re.compile(r"NO_SUCH|NoSuch|status 404|not found|does not exist", re.IGNORECASE)
_NO_CONNECTION = re.compile(r"AWS Error NETWORK_CONNECTION during (\w+) operation: (?:curlCode: \d+, )?(.+)")
# Characters of a URL's path that need not be encoded, and those that are.
_PLAIN = "/%-._~!$&'()*+,;=:@"
# What is known to hold no secret, of pyarrow's stores and of adlfs; whatever else a client takes may hold one.
_HARMLESS_OPTIONS = frozenset(
    (
        *("region", "scheme", "endpoint_override", "anonymous", "force_virtual_addressing", "smart_defaults"),
        *("tls_ca_file_path", "tls_ca_dir_path", "tls_verify_certificates", "retry_limit_seconds"),
        *("allow_bucket_creation", "allow_bucket_deletion", "allow_delayed_open"),
        *("account_name", "blob_storage_authority", "dfs_storage_authority", "enable_tls", "credential_kind"),
        *("replication", "buffer_size", "default_block_size"),
    )
)
_SECRET = re.compile(r"key|secret|token|sig|passw|credential", re.IGNORECASE)
_OF_A_CHAIN = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*://)")


@dataclass(frozen=True)
class RemoteFile:
    """What a store tells of a file: bytes, and a word that changes when its content does; None where it does not."""

    size: int | None
    stamp: str | None

    @property
    def version(self) -> str:
        """One word for both."""
        return f"{self.size} {self.stamp}"


class RemoteFolder(Protocol):
    """A folder of a store. What fails raises DownloadError, or TransientDownloadError where time may mend it."""

    @property
    def lists(self) -> bool:
        """Whether the store can tell which files there are."""

    def files(self, names: Sequence[str], attempts: int | None = None) -> dict[str, RemoteFile]:
        """List all files, by name relative to the folder; a store that cannot list is asked for ``names``.

        It is asked ``attempts`` times at most; None: as often as the timeouts allow.
        """

    def fetch(self, name: str, target: Path, label: str) -> None:
        """Copy a file to ``target``; raises OSError where that cannot be written."""


def is_remote(path: object) -> bool:
    """Tell the URL of a store from a path of this machine, which a ``file://`` URL is too."""
    return isinstance(path, str) and _URL.match(path) is not None and _LOCAL.match(path) is None


def local_place(path: str | Path) -> Path:
    """The path of this machine that a path or a ``file://`` URL names, ``~`` expanded."""
    text = str(path)
    if scheme := _LOCAL.match(text):
        text = unquote(text[scheme.end() :].removeprefix("localhost"))
    return Path(text).expanduser()


def last_name(url: str) -> str:
    """Last part of a URL's path."""
    parts = urlsplit(url)
    return parts.path.rstrip("/").rpartition("/")[2] or parts.netloc.rpartition("@")[2]


def open_remote(url: str, deadline: Deadline) -> RemoteFolder:
    """Open the folder at a URL. Raises ModelFilesError for one that nothing here can open."""
    if urlsplit(url).scheme.lower() in ("http", "https"):
        return _HttpFolder(url, deadline)
    place = shown_url(url)
    with _store_errors(place):
        store, inside = _open_store(url, place)
    return _StoreFolder(store, inside.rstrip("/"), place, deadline)


def refuse_secrets(url: str) -> None:
    """Raise ModelFilesError for a URL with credentials, or with options that may be some.

    Models' places are kept with the vectors, so that a search finds them: they must hold no secret.
    """
    for one in _OF_A_CHAIN.split(url):
        parts = urlsplit(one)
        # Azure's user is the container, which is no secret.
        user = parts.username and (parts.password or not parts.scheme.lower().startswith(("abfs", "az")))
        options = parse_qs(parts.query, keep_blank_values=True)
        web = parts.scheme.lower() in ("http", "https")
        unknown = [name for name in options if web or name not in _HARMLESS_OPTIONS]
        # One without a name and a value is none of these.
        if user or unknown or (parts.query and not options) or (web and parts.fragment):
            # One without a value may be the secret itself.
            sure = user or not unknown or not any(options[unknown[0]]) or _SECRET.search(unknown[0])
            what = "holds credentials" if sure else f"has the option {unknown[0]!r}, which is not known to be no secret"
            raise ModelFilesError(
                f"{_shown_chain(url)}: the URL of a model {what}; leave them to the environment (for S3 "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the machine's role)"
            )


def _shown_chain(url: str) -> str:
    return "::".join(shown_url(one) if "://" in one else one for one in _OF_A_CHAIN.split(url))


class _Store(Protocol):
    def list(self, folder: str) -> dict[str, RemoteFile]:
        """All files below a folder, by whole path."""

    def open(self, path: str) -> BinaryIO:
        """Open a file to read it."""


# A store may be asked over the network as it is opened, for a bucket's region for instance.
@lru_cache(maxsize=16)
def _open_store(url: str, place: str) -> tuple[_Store, str]:
    import pyarrow as pa
    from pyarrow import fs

    parts = urlsplit(url)
    # pyarrow takes no space, and decodes what is encoded.
    encoded = parts._replace(path=quote(parts.path, safe=_PLAIN)).geturl()
    try:
        filesystem, inside = fs.FileSystem.from_uri(encoded)
        return _ArrowStore(filesystem), inside
    except pa.ArrowInvalid as error:
        refusal = str(error).replace(encoded, place)
    import fsspec

    try:
        opened, inside = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ModelFilesError(f"{place} cannot be opened: {refusal}; by fsspec: {error}") from None
    return _FsspecStore(opened), inside


@dataclass(frozen=True)
class _ArrowStore:
    filesystem: Any

    def list(self, folder: str) -> dict[str, RemoteFile]:
        from pyarrow import fs

        found = self.filesystem.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
        files = (one for one in found if one.type == fs.FileType.File)
        return {one.path: RemoteFile(one.size, None if one.mtime_ns is None else str(one.mtime_ns)) for one in files}

    def open(self, path: str) -> BinaryIO:
        return cast(BinaryIO, self.filesystem.open_input_stream(path))


@dataclass(frozen=True)
class _FsspecStore:
    filesystem: Any

    def list(self, folder: str) -> dict[str, RemoteFile]:
        # What it listed earlier in this process says nothing of now.
        self.filesystem.invalidate_cache()
        found = self.filesystem.find(folder, detail=True)
        return {path: RemoteFile(about.get("size"), _stamp(about)) for path, about in found.items()}

    def open(self, path: str) -> BinaryIO:
        return cast(BinaryIO, self.filesystem.open(path, "rb"))


def _stamp(about: dict[str, Any]) -> str | None:
    return next((str(about[key]) for key in _STAMPS if about.get(key) is not None), None)


@dataclass(frozen=True)
class _StoreFolder:
    """A folder of a store that can be listed."""

    store: _Store
    inside: str
    place: str
    deadline: Deadline
    lists: bool = True

    def files(self, names: Sequence[str], attempts: int | None = None) -> dict[str, RemoteFile]:
        """See RemoteFolder."""
        found = self.deadline.retried(self._limited(lambda: self.store.list(self.inside), self.place), attempts)
        start = f"{self.inside}/"
        return {path.removeprefix(start): about for path, about in found.items() if path.startswith(start)}

    def fetch(self, name: str, target: Path, label: str) -> None:
        """See RemoteFolder."""
        self.deadline.retried(self._limited(lambda: self._copy(name, target), f"{self.place.rstrip('/')}/{name}"))

    def _copy(self, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.store.open(f"{self.inside}/{name}") as source, _local(target.open, "wb") as file:
            while chunk := source.read(CHUNK_BYTES):
                self.deadline.remaining(self.place)
                _local(file.write, chunk)
            _local(file.flush)

    def _limited(self, work: Callable[[], Any], place: str) -> Callable[[], Any]:
        def limited() -> Any:
            self.deadline.remaining(place)
            with _store_errors(place):
                return work()

        return limited


class _LocalError(Exception):
    """An OSError of this machine, beside those of the store."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def _local(work: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return work(*arguments)
    except OSError as error:
        raise _LocalError(error) from None


@contextmanager
def _store_errors(place: str) -> Iterator[None]:
    """Raise what a store's client raises as a DownloadError, and an OSError of this machine as it is."""
    try:
        yield
    except (DownloadError, ModelFilesError):
        raise
    except _LocalError as error:
        raise error.error from None
    # Clients of stores raise errors of their own kinds.
    except Exception as error:
        raise _as_download_error(place, error) from None


def _as_download_error(place: str, error: Exception) -> DownloadError:
    text = " ".join(str(error).split())[:500] or type(error).__name__
    if isinstance(error, PermissionError) or _DENIED.search(text):
        return DownloadError(
            f"{place}: access is denied: {text}; whoever reads a model must be allowed to list its folder and to get "
            "its files"
        )
    missing = isinstance(error, FileNotFoundError) or getattr(error, "errno", None) == errno.ENOENT
    if missing or _MISSING.search(text):
        return DownloadError(f"{place}: there is no such folder or file: {text}", status=404)
    return TransientDownloadError(f"{place}: {_unreachable(text) or text}")


def _unreachable(text: str) -> str:
    """What pyarrow says of an S3 server that does not answer, in plain words; empty for anything else."""
    found = _NO_CONNECTION.search(text)
    if found is None:
        return ""
    return (
        f"the store cannot be reached ({found[1]}): {found[2].rstrip('. ')[:300]}; check the endpoint "
        "(AWS_ENDPOINT_URL), the region and the network"
    )


@dataclass(frozen=True)
class _HttpFolder:
    """A folder of a web server, which is asked for each file that may be there."""

    url: str
    deadline: Deadline
    lists: bool = False

    def files(self, names: Sequence[str], attempts: int | None = None) -> dict[str, RemoteFile]:
        """See RemoteFolder."""
        if not names:
            raise DownloadError(f"{shown_url(self.url)}: a web server does not list its files; name them")
        found = {name: self._look(name, attempts) for name in names}
        return {name: about for name, about in found.items() if about is not None}

    def fetch(self, name: str, target: Path, label: str) -> None:
        """See RemoteFolder."""
        from embedders.files.http import download_file

        target.parent.mkdir(parents=True, exist_ok=True)
        download_file(self._url_of(name), target, label, self.deadline)

    def _url_of(self, name: str) -> str:
        parts = urlsplit(self.url)
        return parts._replace(path=f"{parts.path.rstrip('/')}/{name}").geturl()

    def _look(self, name: str, attempts: int | None) -> RemoteFile | None:
        from huggingface_hub import get_session

        from embedders.files.http import HEADERS, within_limits

        url = self._url_of(name)
        try:
            answer = within_limits(
                url, lambda: get_session().head(url, headers=HEADERS, follow_redirects=True), self.deadline, attempts
            )
        except DownloadError as error:
            if error.status in (404, 410):
                return None
            raise
        size, headers = answer.headers.get("content-length", ""), answer.headers
        return RemoteFile(int(size) if size.isdecimal() else None, headers.get("etag") or headers.get("last-modified"))
