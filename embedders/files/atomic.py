"""Writes a file whole: a reader, or whoever comes after a crash of the writer, sees the old content or the new one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write it part by part; it takes the place of the one at ``path`` when the body ends.

    Where the body raises, the old file stays, and nothing else is left. An OSError bears the name ``path``.
    """
    try:
        # Beside the target, since only within one file system is a replacement one step.
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix, delete=False
        ) as file:
            partial = Path(file.name)
            try:
                yield cast("BinaryIO", file)
                file.close()
                # Temporary files are made for one user only.
                partial.chmod(0o644)
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
    except OSError as error:
        if str(error.filename).startswith(str(path.parent / f".{path.name}.")):
            error.filename, error.filename2 = str(path), None
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file at ``path`` by one with this content, or make it, with its folder; others may read it.

    Raises OSError, and leaves what was there before, where that is impossible.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(content)
