"""Secrets of a job: its configuration names the environment variables that hold them, and never holds them itself."""

from __future__ import annotations

import os
import re

from pipelines.errors import ConfigError

HIDDEN = "***"
# In the middle of a text: the user of a URL, and settings of a connection.
_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s@]*@")
_SETTING = re.compile(
    r"(?i)\b([\w.-]*(?:password|passwd|pwd|secret|token|api_?key|access_?key|account_?key|signature|sig))\s*=\s*[^&;\s]+"
)
_REFERENCE = re.compile(r"^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$")


def is_reference(text: str) -> bool:
    """Tell whether a text is ``${NAME}``, which stands for an environment variable."""
    return _REFERENCE.match(text) is not None


def without_secrets(text: str) -> str:
    """Hide in a text what may let somebody in: the users of URLs, and what is set as a password, a key or a token."""
    return _SETTING.sub(rf"\1={HIDDEN}", _USER.sub(r"\1", text))


def refuse_plain_key(key: str | None) -> None:
    """Raise ValueError for an API key that stands in a configuration itself."""
    if key is not None and not is_reference(key):
        raise ValueError("a key must not stand in a configuration: write ${QDRANT_API_KEY} and set that variable")


def read_qdrant_key(reference: str | None, key: str) -> str | None:
    """Read the API key that a reference names, or that of QDRANT_API_KEY, if any; raises as ``read_secret`` does."""
    return os.environ.get("QDRANT_API_KEY") if reference is None else read_secret(reference, key)


def read_secret(reference: str, key: str) -> str:
    """Read the variable that a reference names; raises ConfigError, naming the ``key``, when it is not set."""
    name = reference[2:-1]
    if name not in os.environ:
        raise ConfigError(f"{key}: the environment variable {name} is not set")
    return os.environ[name]
