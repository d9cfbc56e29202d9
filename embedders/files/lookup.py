"""One search for a model's files: what is wanted, where it goes, and whether the network may be used."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from embedders.catalog import ModelCard
from embedders.files.cache import Slot, Wanted
from embedders.files.download import Timeouts

TRUE_WORDS = frozenset({"1", "ON", "YES", "TRUE"})


@dataclass(frozen=True)
class Lookup:
    """Whose files, where to put them, why the network is off (None: it is on), how patient to be, what to check.

    ``verify`` reads every file and compares its sha256, in place of its size alone.
    """

    card: ModelCard
    wanted: Wanted
    root: Path
    offline: str | None
    timeouts: Timeouts
    verify: bool

    def gaps(self, slot: Slot) -> dict[str, str]:
        """Files that the slot lacks or holds damaged, each with the reason."""
        return slot.gaps(self.wanted, verify=self.verify)

    def faults(self, slot: Slot) -> dict[str, str]:
        """The gaps that matter: required files, and damaged ones. Not optional ones that were never asked for."""
        stored = slot.manifest().files
        return {name: why for name, why in self.gaps(slot).items() if name in self.wanted.required or name in stored}


def offline_reason(local_files_only: bool) -> str | None:
    """Say what forbids the network, or None. The rules for the environment are those of huggingface_hub."""
    if local_files_only:
        return "local_files_only=True was given"
    # Read here, since a model in the cache does without the library, which also keeps what was set at its import.
    variable = "HF_HUB_OFFLINE" if os.environ.get("HF_HUB_OFFLINE") else "TRANSFORMERS_OFFLINE"
    if os.environ.get(variable, "").upper() in TRUE_WORDS:
        return f"{variable} is set"
    library = sys.modules.get("huggingface_hub.constants")
    return "HF_HUB_OFFLINE is set" if library is not None and library.HF_HUB_OFFLINE else None
