"""Hashes of single files, and whether a file is the one that was announced."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 1 << 20


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


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's content."""
    return _file_hash(path, hashlib.sha256())


def _file_hash(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
