"""Shows how far a download is: a bar on a terminal, lines in the log elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from huggingface_hub.utils.tqdm import are_progress_bars_disabled, tqdm
from rich.filesize import decimal

SECONDS_BETWEEN_LINES = 10.0
log = logging.getLogger("fleetembed")


@contextmanager
def shown_download(model: str, names: Sequence[str], size: int, source: str) -> Iterator[None]:
    """Say which files of how many bytes are downloaded, before the block, and that they are there, after it."""
    started = time.monotonic()
    bytes_in_all = f" ({decimal(size)})" if size else ""
    _say(f"model {model}: downloading {', '.join(names)}{bytes_in_all} from {source}")
    yield
    _say(f"model {model}: downloaded in {time.monotonic() - started:.0f} s")


def bar_of(label: str) -> type[tqdm]:
    """A class of bars with this label, to be given to huggingface_hub as its ``tqdm_class``."""
    return type("DownloadBar", (_DownloadBar,), {"label": label})


class _DownloadBar(tqdm):
    """The bytes of one file."""

    label: str

    def __init__(self, *args: Any, **options: Any) -> None:
        self._is_bar = sys.stderr.isatty()
        if not self._is_bar:
            # As if a line were a bar that is drawn again once in so many seconds.
            options |= {"mininterval": SECONDS_BETWEEN_LINES, "delay": SECONDS_BETWEEN_LINES, "miniters": 1}
            options["bar_format"] = "model {desc}: {n_fmt}B of {total_fmt}B, {rate_fmt}"
        # The library leaves out what is no terminal, and takes parts of the URL for a label.
        options |= {"desc": self.label, "disable": False, "leave": False}
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]

    def display(self, msg: str | None = None, pos: int | None = None, **options: Any) -> None:
        """Draw the bar, or say the line."""
        if self._is_bar:
            super().display(msg, pos, **options)
        elif msg is None and not options:
            _say(str(self))

    def update_transfer(self, n: float | None = 1) -> None:
        """Take no note of Xet's bytes on the wire: they are fewer than the file's."""

    def set_transfer_postfix_str(self, *_: Any, **__: Any) -> None:
        """Show no speed of them either."""


def _say(line: str) -> None:
    """Log a line; not where a bar shows the same, nor where HF_HUB_DISABLE_PROGRESS_BARS is set."""
    if sys.stderr.isatty() or are_progress_bars_disabled():
        return
    # Where no logging is set up, as in a script or in Ray's workers, a line of this level would not be seen.
    if log.hasHandlers():
        log.info(line)
    else:
        print(line, file=sys.stderr, flush=True)
