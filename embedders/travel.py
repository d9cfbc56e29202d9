"""Models on their way to another process: pickled without what they have loaded, and loaded there when first used."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any


class Unloaded:
    """Pickled, or copied, without what is kept by ``cached_property``, which is made again when it is asked for.

    Sessions, tokenizers and tables stay behind; arguments, such as threads and device, and counters travel.
    """

    def __getstate__(self) -> dict[str, Any]:
        cached = {
            name
            for kind in type(self).__mro__
            for name, part in vars(kind).items()
            if isinstance(part, cached_property)
        }
        return {name: value for name, value in self.__dict__.items() if name not in cached}


class UnloadedWithFolder(Unloaded):
    """One with a ``folder`` of files, a ``cached_property``, which is looked for anew on a machine that lacks it."""

    def __getstate__(self) -> dict[str, Any]:
        # Absolute, since another process may work in another folder.
        found = {"folder": Path(self.__dict__["folder"]).absolute()} if "folder" in self.__dict__ else {}
        return {**super().__getstate__(), **found}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "folder" in state and not state["folder"].is_dir():
            del self.__dict__["folder"]
