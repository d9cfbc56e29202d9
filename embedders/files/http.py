"""Sends requests by huggingface_hub's HTTP session, within the limits of `embedders.files.download`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import httpx
from huggingface_hub import get_session
from huggingface_hub.file_download import http_get

from embedders.files.download import TRANSIENT_STATUSES, Deadline, DownloadError, TransientDownloadError, shown_url
from embedders.files.progress import bar_of

T = TypeVar("T")
STATUS_ADVICE = {
    401: "it does not exist, or it is private and HF_TOKEN is missing or wrong",
    403: "access is denied: accept the model's terms on its page, or set HF_TOKEN to a token that may read it",
    404: "there is no such file or repository",
}
# A server that took an archive's compression for one of the transfer would have it undone on the way.
HEADERS = {"user-agent": "fleetembed", "accept-encoding": "identity"}
# They log whole URLs, which may hold secrets; the errors and the progress shown here say the same.
LOGGERS = ("httpx", "huggingface_hub.file_download", "huggingface_hub.utils._http")


def within_limits(url: str, work: Callable[[], T], deadline: Deadline, attempts: int | None = None) -> T:
    """Call ``work``, which sends requests by the session, again where it fails in a way that may pass.

    Raises DownloadError, which names the ``url`` that is asked. ``attempts`` replaces the limit of the timeouts.
    """
    place = shown_url(url)

    def attempt() -> T:
        with _limited_session(place, deadline):
            try:
                return work()
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # of this machine: the disk is full, for instance
                # The library's own errors say that there is no cached file either; what went wrong is their cause.
                cause = error.__cause__ if isinstance(error.__cause__, httpx.HTTPError) else error
                failure = _as_download_error(place, cause, deadline.timeouts.read)
        # Raised outside the handler: httpx's errors carry the request, and with it the token.
        raise failure

    return deadline.retried(attempt, attempts)


def download_file(url: str, target: Path, label: str, deadline: Deadline) -> None:
    """Download ``url`` to ``target``, showing its progress with this label.

    Raises DownloadError; ``target`` may then hold a part.
    """
    # A hard link there is not written through.
    target.unlink(missing_ok=True)

    def download() -> None:
        with target.open("wb") as file:
            http_get(url, file, headers=HEADERS, tqdm_class=bar_of(label))

    within_limits(url, download, deadline)


@contextmanager
def _limited_session(place: str, deadline: Deadline) -> Iterator[None]:
    """Keep this thread's requests within the limits while the block runs, and the libraries' log lines unsaid."""
    thread, timeouts = threading.get_ident(), deadline.timeouts

    def limit(request: httpx.Request) -> None:
        if threading.get_ident() == thread:
            left = deadline.remaining(place)
            timeout = httpx.Timeout(min(timeouts.read, left), connect=min(timeouts.connect, left))
            request.extensions["timeout"] = timeout.as_dict()

    def check(response: httpx.Response) -> None:
        if threading.get_ident() == thread:
            _raise_for_status(place, response)
            response.stream = _LimitedStream(place, response.stream, deadline)

    def is_of_another_thread(record: logging.LogRecord) -> bool:
        return record.thread != thread

    # The session is the program's, made as it wishes: nothing is replaced, and other threads see nothing of this.
    events = get_session().event_hooks
    with ExitStack() as undo:
        for event, hook in (("request", limit), ("response", check)):
            events[event].append(hook)
            undo.callback(events[event].remove, hook)
        for logger in map(logging.getLogger, LOGGERS):
            logger.addFilter(is_of_another_thread)
            undo.callback(logger.removeFilter, is_of_another_thread)
        yield


class _LimitedStream(httpx.SyncByteStream):
    """A response's bytes as they come in; raises DownloadError once the time is over, however slowly they drip."""

    def __init__(self, place: str, stream: httpx.SyncByteStream | httpx.AsyncByteStream, deadline: Deadline) -> None:
        assert isinstance(stream, httpx.SyncByteStream)
        self._place, self._stream, self._deadline = place, stream, deadline

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            self._deadline.remaining(self._place)
            yield part

    def close(self) -> None:
        self._stream.close()


def _raise_for_status(place: str, response: httpx.Response) -> None:
    status = response.status_code
    message = f"{place} answered HTTP {status}"
    if status in TRANSIENT_STATUSES:
        after = response.headers.get("retry-after", "")
        raise TransientDownloadError(message, retry_after=float(after) if after.isdecimal() else None)
    if status >= 400:
        advised = f"{message}: {STATUS_ADVICE[status]}" if status in STATUS_ADVICE else message
        raise DownloadError(advised, status=status)


def _as_download_error(place: str, error: Exception, read: float) -> DownloadError:
    if isinstance(error, httpx.ConnectTimeout):
        return TransientDownloadError(f"{place}: no connection in time")
    if isinstance(error, httpx.TimeoutException):
        return TransientDownloadError(f"{place}: the server was silent for {read:.3g} s")
    # The libraries' further lines give advice that is none here, such as an argument of theirs.
    message = f"{place}: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    lasting = isinstance(error, httpx.UnsupportedProtocol) or "CERTIFICATE_VERIFY_FAILED" in message
    passing = isinstance(error, httpx.TransportError) and not lasting
    return TransientDownloadError(message) if passing else DownloadError(message)
