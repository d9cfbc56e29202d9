"""What qdrant-edge raises, as errors that say whether the request or the engine is at fault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# How messages begin that tell of the request alone; all others are plain Exceptions too.
_OF_THE_REQUEST = (
    "Vector dimension error",
    "Not existing vector name",
    "No point with id",
    "Validation failed",
    "Wrong ",
    "No range index for",
    "Vector not found",
)
_SHOWN = 500


class EngineError(Exception):
    """The engine failed, and no other request of this process would fare better."""


class FolderInUseError(RuntimeError):
    """Another process has the folder open."""


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turn what the engine raises into ValueError (this request is refused) or EngineError; ``doing`` is for messages.

    The engine is written in Rust: where it panics, what comes is a BaseException, which nobody would catch.
    """
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(_plain(error)) from None
    except (EngineError, OSError):
        raise
    except Exception as error:
        text = _plain(error)
        if type(error) is not Exception:
            raise
        if text.startswith(_OF_THE_REQUEST):
            raise ValueError(text) from None
        raise EngineError(f"Qdrant's engine failed at {doing}: {text}{_advice(text)}") from None
    except BaseException as error:
        if not is_panic(error):
            raise
        raise EngineError(
            f"Qdrant's engine panicked at {doing}: {_plain(error)}; the folder keeps what was acknowledged: run again, "
            "and where it happens again, write to a Qdrant server or a new folder with engine: local"
        ) from None


def is_panic(error: BaseException) -> bool:
    """Tell whether the engine's code panicked; its class is nowhere to be imported from."""
    return type(error).__name__ == "PanicException"


def _plain(error: BaseException) -> str:
    return " ".join(str(error).split())[:_SHOWN]


def _advice(text: str) -> str:
    if "No space left" in text or "available disk space" in text:
        return " (the disk is full: make room, and run again)"
    if "Read-only" in text or "Permission denied" in text:
        return " (the engine writes into the folder also where it is only read: make it writable, or copy it)"
    return ""
