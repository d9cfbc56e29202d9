"""HTTP downloads that end: connect, read and total limits, retries of transient failures only, hashes checked.

``huggingface_hub`` reads its timeouts once at import, has no total limit and compares sizes, not hashes; the hub's
HTTP interface is therefore spoken here, with one set of rules for hub files and for URL archives.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential,
    wait_random,
)

from embedders.errors import FleetembedError

T = TypeVar("T")
# Told of a download as it goes: the file's name, bytes there, and bytes in all where they are known.
Progress = Callable[[str, int, int | None], None]

CHUNK_BYTES = 1 << 20
MAX_BACKOFF_SECONDS = 30.0
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
STATUS_ADVICE = {
    401: "it does not exist, or it is private and HF_TOKEN is missing or wrong",
    403: "access is denied: accept the model's terms on its page, or set HF_TOKEN to a token that may read it",
    404: "there is no such file or repository",
}


class DownloadError(FleetembedError):
    """A download failed for good: trying again would fail the same way."""


class TransientDownloadError(DownloadError):
    """A download failed in a way that time may mend; ``retry_after`` is the server's wish in seconds."""

    def __init__(self, message: str, retry_after: float = 0.0):
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Timeouts:
    """Limits of one model's download, in seconds but for ``attempts``.

    ``read`` is the longest silence of a server, ``total`` the time for all files and retries together,
    ``attempts`` how often one request is made, ``backoff`` the first pause between attempts (it doubles).
    """

    connect: float = 10.0
    read: float = 30.0
    total: float = 3600.0
    attempts: int = 4
    backoff: float = 1.0

    @classmethod
    def from_env(cls) -> Timeouts:
        """Defaults, each overridden by ``FLEETEMBED_DOWNLOAD_<FIELD>`` where set. Raises FleetembedError."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            variable = f"FLEETEMBED_DOWNLOAD_{item.name.upper()}"
            if text := os.environ.get(variable):
                values[item.name] = _positive(variable, text, whole=item.name == "attempts")
        return cls(**values)


@dataclass(frozen=True)
class Expected:
    """What is known of a file before it is there: size in bytes, hex sha256, hex sha1 of the git blob."""

    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None

    def mismatch(self, path: Path) -> str | None:
        """Say how the file at ``path`` differs, or None."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"it has {size} bytes instead of {self.size}"
        if self.sha256 and (found := file_sha256(path)) != self.sha256.lower():
            return f"its sha256 is {found} instead of {self.sha256.lower()}"
        if self.git_sha1 and not self.sha256:
            # git names a blob by the sha1 of the header "blob <size>\0" and the content.
            found = _file_hash(path, hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False))
            if found != self.git_sha1.lower():
                return f"its git blob id is {found} instead of {self.git_sha1.lower()}"
        return None


def _positive(variable: str, text: str, *, whole: bool) -> float:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = 0
    if not value > 0:
        raise FleetembedError(f"environment variable {variable} is {text!r}: give a number above 0")
    return value


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's content."""
    return _file_hash(path, hashlib.sha256())


def _file_hash(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def shown_url(url: str | httpx.URL) -> str:
    """The URL without user, password and query, which may hold secrets."""
    parts = urlsplit(str(url))
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


class Fetcher:
    """HTTP GETs of one model's download; the total time limit starts when it is made. A context manager."""

    def __init__(self, timeouts: Timeouts, progress: Progress | None = None):
        self.timeouts = timeouts
        self._progress = progress
        self._deadline = time.monotonic() + timeouts.total
        # Lengths and ranges must count the file's own bytes, so no compression on the way.
        self._client = httpx.Client(
            follow_redirects=True, headers={"user-agent": "fleetembed", "accept-encoding": "identity"}
        )

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def json(self, url: str, headers: Mapping[str, str], *, attempts: int | None = None) -> Any:
        """Parsed JSON body of ``url``; ``attempts`` replaces the limit of the timeouts. Raises DownloadError."""

        def attempt() -> Any:
            with self._stream(url, headers) as response:
                body = b"".join(self._chunks(response))
            try:
                return httpx.Response(200, content=body).json()
            except ValueError:
                raise DownloadError(f"{shown_url(url)} did not answer with JSON") from None

        return self._retried(attempt, attempts or self.timeouts.attempts)

    def file(self, url: str, target: Path, expected: Expected, headers: Mapping[str, str]) -> None:
        """Download ``url`` to ``target``, resuming after a cut where the server allows it.

        Raises DownloadError; ``target`` may then hold a part. The content is checked against ``expected``.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        etag = ""

        def attempt() -> None:
            nonlocal etag
            resume = {"range": f"bytes={target.stat().st_size}-", "if-range": etag} if etag else {}
            with self._stream(url, {**headers, **resume}) as response:
                etag = _strong_etag(response)
                with target.open("ab" if _continues(response, target) else "wb") as file:
                    for chunk in self._chunks(response):
                        file.write(chunk)
                        if self._progress is not None:
                            self._progress(target.name, file.tell(), expected.size)
                        if expected.size is not None and file.tell() > expected.size:
                            raise DownloadError(f"{shown_url(url)} sends more than the expected {expected.size} bytes")
            if expected.size is not None and target.stat().st_size < expected.size:
                raise TransientDownloadError(f"{shown_url(url)} ended before its {expected.size} bytes were sent")

        self._retried(attempt, self.timeouts.attempts)
        if problem := expected.mismatch(target):
            raise DownloadError(f"{shown_url(url)} sent a wrong file: {problem}")

    def _retried(self, attempt: Callable[[], T], attempts: int) -> T:
        retrying = Retrying(
            retry=retry_if_exception_type(TransientDownloadError),
            stop=stop_after_attempt(attempts) | stop_before_delay(max(self._remaining(), 0.0)),
            wait=self._pause,
            reraise=True,
        )
        return retrying(attempt)

    def _pause(self, state: RetryCallState) -> float:
        first = self.timeouts.backoff
        pause = wait_exponential(multiplier=first, max=MAX_BACKOFF_SECONDS)(state) + wait_random(0, first)(state)
        error = state.outcome.exception() if state.outcome else None
        return max(pause, error.retry_after if isinstance(error, TransientDownloadError) else 0.0)

    def _remaining(self) -> float:
        return self._deadline - time.monotonic()

    def _check_deadline(self, url: str | httpx.URL) -> float:
        remaining = self._remaining()
        if remaining <= 0:
            limit = f"{self.timeouts.total:g} s (FLEETEMBED_DOWNLOAD_TOTAL)"
            raise DownloadError(f"{shown_url(url)}: the download took longer than {limit}")
        return remaining

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        # The size httpx gives the chunks is what a slow server has sent, so the deadline is looked at often.
        for chunk in response.iter_bytes():
            self._check_deadline(response.url)
            yield chunk

    @contextmanager
    def _stream(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        remaining = self._check_deadline(url)
        read, connect = min(self.timeouts.read, remaining), min(self.timeouts.connect, remaining)
        limits = httpx.Timeout(read, connect=connect)
        try:
            with self._client.stream("GET", url, headers=dict(headers), timeout=limits) as response:
                _raise_for_status(response)
                yield response
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            failure = _as_download_error(url, error, read)
        else:
            return
        # Raised outside the handler: httpx errors carry the request, and with it the token.
        raise failure


def _raise_for_status(response: httpx.Response) -> None:
    if response.is_success:
        return
    status = response.status_code
    place = f"{shown_url(response.url)} answered HTTP {status}"
    if status in TRANSIENT_STATUSES:
        after = response.headers.get("retry-after", "")
        raise TransientDownloadError(place, retry_after=float(after) if after.isdecimal() else 0.0)
    raise DownloadError(f"{place}: {STATUS_ADVICE[status]}" if status in STATUS_ADVICE else place)


def _as_download_error(url: str, error: httpx.HTTPError | httpx.InvalidURL, read: float) -> DownloadError:
    place = shown_url(url)
    if isinstance(error, httpx.ConnectTimeout):
        return TransientDownloadError(f"{place}: no connection in time")
    if isinstance(error, httpx.TimeoutException):
        return TransientDownloadError(f"{place}: the server was silent for {read:.3g} s")
    if isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol):
        message = f"{place}: {type(error).__name__}: {error}"
        return DownloadError(message) if "CERTIFICATE_VERIFY_FAILED" in message else TransientDownloadError(message)
    return DownloadError(f"{place}: {type(error).__name__}: {error}")


def _strong_etag(response: httpx.Response) -> str:
    etag = str(response.headers.get("etag", ""))
    return etag if etag.startswith('"') else ""


def _continues(response: httpx.Response, target: Path) -> bool:
    if response.status_code != 206:
        return False
    start = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
    if start is None or not target.exists() or int(start[1]) != target.stat().st_size:
        raise TransientDownloadError(f"{shown_url(response.url)} answered with a range that was not asked for")
    return True
