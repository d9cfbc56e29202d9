"""What a path or URL names: exactly one file or folder, whatever characters are in its name."""

from __future__ import annotations

import os
import posixpath
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit, urlunsplit

from pipelines.errors import ConfigError

# One of fsspec may be a chain: ``tar://::file:///a.tar``, ``simplecache::s3://bucket``.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(?:::.*)?://", re.DOTALL)
_LOCAL = re.compile(r"(?:file|local)://", re.IGNORECASE)
# A path that is encoded as RFC 3986 (section 3.3) asks.
_ENCODED = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
_PARTS = re.compile(r"([^:]+://[^/?#]*)([^?]*)(\?.*)?", re.DOTALL)
# Of a URL, whose slashes a Path may have joined.
_USER = re.compile(r"([A-Za-z0-9+.-]:/{1,2})[^/?#]*@")
_CACHED = re.compile(r"^(?:(?:simple|file|block)cache|cached)::")
# Those of pyarrow, which decodes their paths.
STORES = frozenset(("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs"))
_THIS_MACHINE = frozenset(("localhost", "127.0.0.1", "::1", "0.0.0.0"))
_ALIASES = {"gcs": "gs", "s3a": "s3", "s3n": "s3"}

# A store, and a path in it: equal for all spellings of one place.
Place = tuple[str, str]


def is_url(path: str) -> bool:
    """Tell a URL from a path of this machine."""
    return _URL.match(path) is not None


def refuse_url(path: Path, option: str) -> None:
    """Raise ConfigError where what was given for a path of this machine is a URL, whose slashes Path has joined."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        shown = _USER.sub(r"\1", str(path).partition("?")[0])
        raise ConfigError(f"{option} {shown}: takes a path of this machine, no URL; copy what is written there")


def without_credentials(url: str) -> str:
    """Strip user, password and query from a URL, and from those of a chain, so that it can be shown."""
    if not is_url(url):
        return url
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"not a URL: {error}") from None
    shown = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return _USER.sub(r"\1", shown)


def scheme_of(url: str) -> str:
    """Give the scheme of a URL in small letters; of a path, the empty string."""
    found = _URL.match(url)
    return found[1].lower() if found else ""


def local_path(path: str) -> str | None:
    """Give the absolute path that a path, or a ``file://`` URL, stands for; None for a URL of another kind.

    A URL's path is decoded where it is encoded as RFC 3986 asks; one that has characters which would have to be encoded
    stands for itself. Raises ConfigError for a ``file://`` URL that has options or a fragment, which name no file.
    """
    if not is_url(path):
        return _absolute(path)
    if (scheme := _LOCAL.match(path)) is None:
        return None
    body = path[scheme.end() :]
    if scheme[0].lower() == "file://":
        body = _file_path(path, body)
    return _absolute(body)


def is_absolute(path: str) -> bool:
    """Tell a URL, or a path that begins at the root or at a home folder, from one that begins where a process is."""
    return is_url(path) or path.startswith("~") or Path(path).is_absolute()


def join(base: str, path: str) -> str:
    """Name what a relative path leads to from a folder or URL; the options of a URL stay behind it.

    A path is taken as it is written: where the base is decoded, it is encoded. Raises ConfigError for one that leads
    out of a URL.
    """
    local = local_path(base)
    if local is not None:
        return str(Path(local, path))
    path = posixpath.normpath(path)
    if path.partition("/")[0] == "..":
        raise ConfigError(f"{path} leads out of {without_credentials(base)}")
    head, mark, options = base.partition("?")
    if scheme_of(base) in STORES:
        head, path = encode(head), quote(path)
    return f"{head.rstrip('/')}/{path}{mark}{options}"


def page_place(report: str, suffix: str = "") -> str:
    """Name the file of a report's page: beside it, with the ending .html in the place of .json; a URL's options stay.

    ``suffix`` is put at the end of its name.
    """
    body, mark, options = report.partition("?") if is_url(report) else (report, "", "")
    return f"{body.removesuffix('.json')}{suffix}.html{mark}{options}"


def _absolute(path: str) -> str:
    # Where there is no such user, or no home, the tilde is part of a name.
    with suppress(RuntimeError):
        return str(Path(path).expanduser().absolute())
    return str(Path(path).absolute())


def _file_path(url: str, body: str) -> str:
    body = body.removeprefix("localhost") if body.startswith("localhost/") else body
    if not body.startswith("/"):
        if not body:
            raise ConfigError(f"{url} names no file; write file:///path")
        return body
    mark = next((mark for mark in "?#" if mark in body), None)
    if mark is not None:
        raise ConfigError(
            f"{url}: a {mark!r} is no part of a name in a file:// URL; write {quote(mark)} for it, or the path without "
            "file:// (in which ? is a wildcard where no file has exactly that name)"
        )
    decoded = decode(body)
    if "\0" in decoded or not is_utf8(decoded):
        raise ConfigError(f"{url}: its path is not UTF-8 once it is decoded; rename what it names")
    return decoded


def decode(path: str) -> str:
    """Decode a URL's path where it is encoded as RFC 3986 asks; any other stands for itself."""
    return unquote(path, errors="surrogateescape") if _ENCODED.fullmatch(path) else path


def decodes(url: str) -> bool:
    """Tell whether the paths of such URLs are decoded: those of pyarrow are, those of fsspec stand for themselves."""
    return scheme_of(url) == "file" or scheme_of(url) in STORES


def encode(url: str) -> str:
    """Encode the path of a pyarrow store's URL where it has characters that pyarrow refuses, or takes for its end."""
    found = _PARTS.fullmatch(url) if scheme_of(url) in STORES else None
    if found is None or _ENCODED.fullmatch(found[2]):
        return url
    return f"{found[1]}{quote(found[2])}{found[3] or ''}"


def is_utf8(name: str) -> bool:
    """Tell whether a name can be written as UTF-8: one that a disk holds in other bytes has lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def place_of(path: str, inside: str) -> Place:
    """Name the place ``inside`` the file system of a path or URL: equal for all links and spellings of it."""
    if local_path(path) is not None:
        try:
            return "", os.path.realpath(inside)
        # A name that file names cannot hold here (a locale of ASCII alone) is that of no file, and no link.
        except UnicodeEncodeError:
            return "", os.path.abspath(inside)  # noqa: PTH100
    return store_of(path), inside.rstrip("/")


def named_place(path: str) -> Place:
    """Name the place of a path or URL without opening its store: equal for spellings of it that differ little."""
    local = local_path(path)
    if local is not None:
        return "", local
    body = path.partition("?")[0].partition("://")[2]
    host, _, inside = body.partition("/")
    return store_of(path), f"{host.rpartition('@')[2]}/{decode(inside) if decodes(path) else inside}".rstrip("/")


def server_of(url: str, port: int = 6333) -> tuple[str, int, str]:
    """Name a server by host, port and path: equal for spellings of its URL that differ little."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    host = (parts.hostname or "").rstrip(".")
    return "localhost" if host in _THIS_MACHINE else host, parts.port or port, parts.path.rstrip("/")


def store_of(url: str) -> str:
    """Name the store of a URL that is not of this machine: equal for all spellings of one store."""
    url = _CACHED.sub("", url)
    head, chained, inner = url.partition("::")
    if chained:
        return f"{scheme_of(head)}::{inner}"
    scheme = _ALIASES.get(scheme_of(url), scheme_of(url))
    parts = urlsplit(url)
    # The path in a bucket begins with the bucket.
    host = "" if scheme in ("s3", "gs") else parts.netloc
    endpoint = parse_qs(parts.query).get("endpoint_override", [""])[-1]
    return f"{scheme}://{host if scheme.startswith('abfs') else host.rpartition('@')[2]}{endpoint}"
