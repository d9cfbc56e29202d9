"""Writes a file whole: a reader, or whoever comes after a crash of the writer, sees the old content or the new one."""

from __future__ import annotations

import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file at ``path`` by one with this content, or make it, with its folder; others may read it.

    Raises OSError, and leaves what was there before, where that is impossible.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, since only within one file system is a replacement one step.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.close()
            # Temporary files are made for one user only.
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
