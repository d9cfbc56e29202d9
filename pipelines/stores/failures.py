"""What the failure of a request to an object store means, in words that tell what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_AWS = re.compile(
    r"AWS Error (?P<name>\w+|\[code \d+\])(?: \(HTTP status (?P<status>\d+)\))? during (?P<operation>\w+) operation:"
    r"(?P<said>.*)",
    re.DOTALL,
)
_NAMED = re.compile(r"Unable to parse ExceptionName: (\w+) Message: ", re.DOTALL)
_CURL = re.compile(r"curlCode: (\d+), ([^;]*)(?:; Details: (.*))?", re.DOTALL)
# Where fewer bytes are read than the answer's error has: its code is lost.
_UNTOLD = "Failed to flush response stream"
# Of curl: no TLS, or a certificate that is not trusted.
_TLS_CODES = frozenset((35, 51, 58, 60, 77, 83, 90))

_STATUS = {
    "SLOW_DOWN": 503,
    "SERVICE_UNAVAILABLE": 503,
    "THROTTLING": 503,
    "INTERNAL_FAILURE": 500,
    "REQUEST_TIMEOUT": 408,
    "ACCESS_DENIED": 403,
    "INVALID_ACCESS_KEY_ID": 403,
    "SIGNATURE_DOES_NOT_MATCH": 403,
    "NO_SUCH_BUCKET": 404,
}
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), a profile (AWS_PROFILE), or the machine's "
    "role, here and on every node"
)
_WRONG_KEY = f"check the credentials: {_CREDENTIALS}"
_RENEW = "renew the credentials, and run the job again"
# Those that are true of the store as a whole, by the name that the store gives them.
_OF_THE_PLACE = {
    "INVALID_ACCESS_KEY_ID": ("does not know the access key", _WRONG_KEY),
    "SIGNATURE_DOES_NOT_MATCH": ("says that the secret key does not fit the access key", _WRONG_KEY),
    "InvalidAccessKeyId": ("does not know the access key", _WRONG_KEY),
    "ExpiredToken": ("says that the credentials have expired", _RENEW),
    "InvalidToken": ("does not take the session token", _RENEW),
    "NO_SUCH_BUCKET": ("has no such bucket", "check its name, the region and the endpoint (AWS_ENDPOINT_URL)"),
    "PermanentRedirect": ("has this bucket in another region", "name it with ?region=NAME in the URL"),
    "AuthorizationHeaderMalformed": ("has this bucket in another region", "name it with ?region=NAME in the URL"),
    "RequestTimeTooSkewed": ("says that this machine's clock is wrong", "set the clock"),
}
# Of Google Cloud Storage and Azure: what stands where the code does, and not in a file's name.
_OTHERS_CREDENTIALS = re.compile(
    r"Status\(UNAUTHENTICATED\b"
    r"|Azure Error: \[(?:AuthenticationFailed|\w*AuthenticationInfo|ExpiredAuthToken)\]|Azure Error: \[\w*\] 401\b"
)
_OTHERS_DENIED = re.compile(r"Status\(PERMISSION_DENIED\b|Azure Error: \[(?:Authorization|Insufficient)\w*\]|\] 403\b")
_OTHERS_MISSING = re.compile(r"Status\(NOT_FOUND\b|Azure Error: \[\w*NotFound\]|\] 404\b")
# Of pyarrow itself, outside of the names that it quotes.
_NO_FILE = re.compile(r"not a regular file|is a directory|not found|does not exist|no such file", re.IGNORECASE)
_QUOTED = re.compile(r"'[^']*'")


@dataclass(frozen=True)
class Failure:
    """What one failure means.

    ``passing``: the same request may succeed later; with ``unreachable`` nothing answered. ``place``: no request will,
    whatever it is for. ``file``: this one never will, though others may. ``message`` says what happened, in a sentence
    whose subject is the place, and ``advice`` what to do.
    """

    kind: Literal["passing", "place", "file"]
    message: str
    advice: str = ""
    unreachable: bool = False

    @property
    def told(self) -> str:
        """Message and advice."""
        return f"{self.message}; {self.advice}" if self.advice else self.message


def judge(error: OSError) -> Failure:
    """Say what an error of pyarrow's file system of a store means.

    The words of S3's are known, and of other stores' the codes of what is denied or missing. What is not understood is
    better waited for in vain than a row blamed for it.
    """
    text = " ".join(str(error).split())
    found = _AWS.search(text)
    if found is None:
        return Failure("passing", f"failed: {text[:500]}") if "AWS Error" in text else _of_another_store(text)
    name, operation, said = found["name"], found["operation"], found["said"].strip()
    if name == "NETWORK_CONNECTION":
        return _unreachable(operation, said)
    if _UNTOLD in said:
        advice = "it may be busy, or deny this file (archived, or encrypted with a key that must not be used)"
        return Failure("passing", f"answered {operation} with an error that the client does not tell", advice)
    if (named := _NAMED.search(said)) is not None:
        name = named[1]
    if name in _OF_THE_PLACE:
        what, advice = _OF_THE_PLACE[name]
        return Failure("place", f"{what} ({operation})", advice)
    status = int(found["status"] or 0) or _STATUS.get(name, 0)
    if status in (408, 429) or status >= 500 or (name == "UNKNOWN" and not status):
        advice = "run the job again when it is less busy: it goes on from there"
        return Failure("passing", f"answered {_shown(status, name)} to {operation}", advice)
    if status == 403:
        advice = f"the credentials lack the permission, or are wrong or missing ({_CREDENTIALS})"
        return Failure("file", f"denies access ({_shown(403, name)}, {operation})", advice)
    if status in (301, 400):
        # An answer without a body does not tell which.
        advice = "the credentials may have expired, or the bucket be in another region (?region=NAME in the URL)"
        return Failure("place", f"answered {status} to {operation}", advice)
    return Failure("file", f"failed: {text[:500]}")


def _of_another_store(text: str) -> Failure:
    said = _QUOTED.sub("", text)
    if _OTHERS_CREDENTIALS.search(said):
        advice = "check the credentials of this machine and of every node, or renew them"
        return Failure("place", f"does not take the credentials: {text[:500]}", advice)
    if _OTHERS_DENIED.search(said):
        return Failure("file", f"denies access: {text[:500]}")
    gone = _OTHERS_MISSING.search(said)
    if gone is None and "Status(" not in said and "Azure Error" not in said:
        gone = _NO_FILE.search(said)
    return Failure("file" if gone else "passing", f"failed: {text[:500]}")


def _unreachable(operation: str, said: str) -> Failure:
    found = _CURL.search(said)
    code, reason = (int(found[1]), found[3] or found[2]) if found is not None else (0, said)
    reason = reason.rstrip(". ")[:300]
    if code in _TLS_CODES:
        advice = "write ?scheme=http where the server has no TLS, or name the certificate with ?tls_ca_file_path=PATH"
        return Failure("place", f"cannot be reached with TLS ({operation}): {reason}", advice)
    advice = "check the endpoint (AWS_ENDPOINT_URL), the region and the network"
    return Failure("passing", f"cannot be reached ({operation}): {reason}", advice, unreachable=True)


def _shown(status: int, name: str) -> str:
    if not status:
        return "an error without a code"
    words = {"SLOW_DOWN": "SlowDown", "THROTTLING": "Throttling", "INTERNAL_FAILURE": "InternalError"}.get(name)
    return f"{status} {words}" if words else str(status)
