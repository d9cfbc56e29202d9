"""Starts a command so that what a terminal cannot show, or a full disk cannot take, ends in no traceback."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

from pipelines.stopping import end_at_once, stoppable

FAILED = 1


class Output(TextIOWrapper):
    """An output stream that remembers why it could not be written to."""

    failure: OSError | None = None

    def write(self, text: str) -> int:
        """See TextIOWrapper."""
        try:
            return super().write(text)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        """See TextIOWrapper."""
        try:
            super().flush()
        except OSError as error:
            self.failure = error
            raise


def start(command: Callable[[], Any]) -> NoReturn:
    """Carry a command out, and end the process with the code that it gives or exits with.

    Characters that the output's encoding lacks are replaced. Output that cannot be written is one message, and 1.
    Ctrl-C stops the command once: more of it, while the command stops, disturbs nothing.
    """
    output = _forgiving_output()
    code: Any = FAILED
    # Registered first, so that it comes last.
    atexit.register(lambda: _leave(_number(code)))
    with stoppable(signal.SIGINT):
        try:
            try:
                code = command()
            except SystemExit as end:
                code = end.code
            except OSError as error:
                if error is not output.failure:
                    raise
            end_at_once(_number(code))
        except KeyboardInterrupt:
            # It came when the command was over, or in what does not answer it: only the first signal raises.
            end_at_once(_number(code))
    with suppress(OSError):
        output.flush()
    if output.failure is not None:
        code = FAILED
        _tell(output.failure)
        # The interpreter's own last attempt to write the rest is to succeed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
    sys.exit(code)


def _leave(code: int) -> None:
    """End the process, when all is done that was to be done at its end.

    The interpreter would free what was imported object by object, which takes a third of a second where Ray Data was,
    and take handlers of signals away, so that a signal in its last moments would be what the process ended by.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _number(code: Any) -> int:
    return code if isinstance(code, int) else FAILED if code else 0


def _forgiving_output() -> Output:
    """Put streams that replace characters in the place of standard output and error."""
    if isinstance(sys.stderr, TextIOWrapper):
        sys.stderr.reconfigure(errors="replace")
    if isinstance(sys.stdout, TextIOWrapper):
        encoding, line_buffering = sys.stdout.encoding, sys.stdout.line_buffering
        output = Output(sys.stdout.detach(), encoding=encoding, errors="replace", line_buffering=line_buffering)
    else:
        # None is what a closed one becomes.
        output = Output(Path(os.devnull).open("wb"), encoding="utf-8")  # noqa: SIM115
    sys.stdout = output
    return output


def _tell(failure: OSError) -> None:
    # Who reads from a pipe and has enough, as head does, wants no message.
    if not isinstance(failure, BrokenPipeError):
        with suppress(OSError):
            print(f"the output cannot be written: {failure.strerror}", file=sys.stderr, flush=True)
