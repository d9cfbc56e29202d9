"""A job's configuration as its report shows it: what differs from the defaults, without secrets, and not too long."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from pipelines.config.job import JobConfig
from pipelines.config.secrets import HIDDEN, is_reference, without_secrets
from pipelines.urls import is_url, without_credentials

# Whatever is given under such a key may let somebody in; a reference to an environment variable does not.
_SECRET_KEY = re.compile(
    r"(?i)(passw(or)?d|passphrase|pwd|secret|(api|access|account|private|secret|sas)_?key|auth|authorization|"
    r"credentials?|token|headers?|cookies?|connection_?string|conn_?str|dsn)$"
)
MOST_CHARACTERS, MOST_ENTRIES, MOST_DEPTH = 500, 50, 12


def shown_settings(config: JobConfig) -> dict[str, Any]:
    """Write down what of a configuration differs from the defaults, so that it can be shown to anyone.

    URLs lose users, passwords and options. Values under keys that name secrets are hidden, unless they refer to an
    environment variable. Long texts and lists are cut.
    """
    shown: dict[str, Any] = _shown(config.model_dump(exclude_defaults=True))
    return shown


def _shown(value: Any, depth: int = 0) -> Any:
    if depth > MOST_DEPTH:
        return "…"
    if isinstance(value, dict):
        shown = {str(key): _of_key(str(key), some, depth) for key, some in list(value.items())[:MOST_ENTRIES]}
        return shown if len(value) <= MOST_ENTRIES else {**shown, "…": f"{len(value) - MOST_ENTRIES:,} more"}
    if isinstance(value, list | tuple | set | frozenset):
        value = list(value)
        some = [_shown(one, depth + 1) for one in value[:MOST_ENTRIES]]
        return some if len(value) <= MOST_ENTRIES else [*some, f"… {len(value) - MOST_ENTRIES:,} more"]
    if isinstance(value, str | Path):
        return _text(str(value))
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    # Data in memory that a job reads, for one.
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _of_key(key: str, value: Any, depth: int) -> Any:
    if not _SECRET_KEY.search(key):
        return _shown(value, depth + 1)
    if isinstance(value, bool | None) or (isinstance(value, str) and is_reference(value)):
        return value
    return HIDDEN


def _text(text: str) -> str:
    try:
        shown = without_credentials(text) if is_url(text) else text
    except ValueError:
        return HIDDEN
    shown = without_secrets(shown)
    return shown if len(shown) <= MOST_CHARACTERS else f"{shown[:MOST_CHARACTERS]}… ({len(shown):,} characters)"
