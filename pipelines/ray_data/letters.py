"""The dead letters of a datasink: a folder that driver and workers see, or none."""

from __future__ import annotations

from contextlib import ExitStack
from os import PathLike, fspath
from typing import Any

from pipelines.config.section import expand_home
from pipelines.errors import ConfigError
from pipelines.filesystem import open_filesystem
from pipelines.sinks.folder_mark import FolderMark, marked
from pipelines.urls import local_path, without_credentials


class Letters:
    """Where the rows go that cannot be written.

    ``open`` and ``close`` are for the driver, ``folder_here`` for workers.
    """

    def __init__(self, folder: str | PathLike[str] | None) -> None:
        self.folder: str | None = None
        if folder is not None:
            folder = fspath(folder)
            if not folder:
                raise ConfigError("dead_letters is empty; name a folder, or leave it out")
            folder = expand_home(folder)
            filesystem_path = open_filesystem(folder)[1]
            self.folder = filesystem_path if local_path(folder) is not None else folder
        self._mark: FolderMark | None = None
        self._opened: ExitStack | None = None

    @property
    def place(self) -> str | None:
        """The folder, for people to read."""
        return None if self.folder is None else without_credentials(self.folder)

    def open(self) -> None:
        """Leave a mark in a local folder, by which workers know that they see the same one."""
        self.close()
        if self.folder is not None and local_path(self.folder) is not None:
            self._opened = ExitStack()
            self._mark = self._opened.enter_context(marked(self.folder))

    def folder_here(self) -> str | None:
        """Return the folder; raises SinkError on a machine that does not see the driver's."""
        if self._mark is not None:
            self._mark.refuse_unseen()
        return self.folder

    def close(self) -> None:
        """Take the mark away."""
        if self._opened is not None:
            self._opened.close()
        self._opened = self._mark = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}
