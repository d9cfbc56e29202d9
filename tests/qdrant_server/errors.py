"""Qdrant's error answers: HTTP status and text (``StorageError`` and ``validation_error_handler`` of Qdrant 1.19)."""

from __future__ import annotations

import re
import traceback


class ApiError(Exception):
    """An answer other than 200. ``plain`` bodies are sent as text, as Qdrant's authentication does."""

    def __init__(
        self, status: int, message: str, *, headers: dict[str, str] | None = None, content_type: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}
        self.content_type = content_type


def wrong_input(message: str) -> ApiError:
    """400 for a request that is well formed but does not fit the collection."""
    return ApiError(400, f"Wrong input: {message}")


def bad_request(message: str) -> ApiError:
    """400 for a request that may not be made, such as one that strict mode forbids."""
    return ApiError(400, f"Bad request: {message}")


def format_error(message: str) -> ApiError:
    """400 for a body that is not what the endpoint takes."""
    return ApiError(400, f"Format error in JSON body: {message}")


def invalid(field: str, message: str) -> ApiError:
    """422 for a body of the right shape with a value out of range."""
    return ApiError(422, f"Validation error in JSON body: [{field}: {message}]")


def no_collection(name: str) -> ApiError:
    """404 for a name that is neither a collection nor an alias."""
    return ApiError(404, f"Not found: Collection `{name}` doesn't exist!")


_NOT_FOUND = re.compile(r"(Collection|Alias) (?P<name>.+) (not found|does not exist)$")
_EXISTS = re.compile(r"(Collection|Alias) .+ already exists$")
_NO_POINT = re.compile(r"Point (?P<id>.+) is not found in the collection$")


def from_engine(error: Exception) -> ApiError:
    """Give an exception of the local engine, which knows no status codes, the status the server would answer."""
    if isinstance(error, NotImplementedError):
        return ApiError(501, f"The test server's engine cannot do this: {error}")
    if isinstance(error, KeyError):
        return ApiError(404, f"Not found: No point with id {error} found")
    if not isinstance(error, (ValueError, TypeError)):
        traceback.print_exception(error)
        return ApiError(500, f"Service internal error: {error!r}")
    text = str(error)
    if found := _NOT_FOUND.match(text):
        return no_collection(found["name"]) if text.startswith("Collection") else ApiError(404, f"Not found: {text}")
    if found := _NO_POINT.match(text):
        return ApiError(404, f"Not found: No point with id {found['id']} found")
    if _EXISTS.match(text):
        return ApiError(409, f"Wrong input: {text}!")
    return wrong_input(text.removeprefix("Wrong input: "))
