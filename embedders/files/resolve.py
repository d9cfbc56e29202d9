"""Finds a model's files: the given folder, our cache, fastembed's and Hugging Face's, the hub, a URL archive.

A model in the cache is used without any network call. What is fetched is checked against the hub's hashes, stored
as real files in one flat folder (ONNX Runtime refuses external data behind links) and pinned to its revision.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from embedders.catalog import ModelCard
from embedders.errors import FleetembedError, ModelFilesError, ModelNotFoundError
from embedders.files.cache import Slot, archive_slot, cache_root, hub_slot, old_archive_slot
from embedders.files.download import Timeouts, shown_url
from embedders.files.fastembed_cache import (
    archive_folder,
    describe_search,
    fastembed_caches,
    fill_from_archive_folder,
)
from embedders.files.folder import local_folder, wanted_files
from embedders.files.lookup import Lookup, offline_reason
from embedders.files.remote import is_remote, local_place

# Missing files in a message.
MOST_NAMED = 6
Fill = Callable[[Lookup, Slot, Path], None]


def resolve_model(
    card: ModelCard,
    *,
    cache_dir: str | Path | None = None,
    specific_model_path: str | Path | None = None,
    local_files_only: bool = False,
    timeouts: Timeouts | None = None,
) -> Path:
    """Folder with the card's ``model_file``, ``additional_files`` and, where the source has them, tokenizer files.

    ``specific_model_path`` is a folder, of this machine or at a URL of a store, whose files are then copied into the
    cache (see mirror.py); it ends the search. ``local_files_only``, or HF_HUB_OFFLINE in the
    environment, forbids the network. Files whose size is not the recorded one are fetched again. A download shows how
    far it is: a bar on a terminal, lines in the log elsewhere.

    Raises ModelNotFoundError when no place has the model, naming each with its reason, and ModelFilesError when
    the local folder is incomplete, or the cached files are damaged and the network is forbidden.
    """
    if specific_model_path is not None:
        limits = timeouts or Timeouts.from_env()
        if is_remote(specific_model_path):
            from embedders.files.mirror import mirrored_model

            folder = mirrored_model(card, str(specific_model_path), cache_dir, local_files_only, limits)
        else:
            folder = local_place(specific_model_path)
        return local_folder(card, folder, cache_dir, limits.total)
    return _resolve(_lookup(card, cache_root(cache_dir), local_files_only, timeouts, verify=False))


def verify_model(
    card: ModelCard,
    *,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    timeouts: Timeouts | None = None,
) -> Path:
    """Like ``resolve_model``, but every file's sha256 is compared with the recorded one, and mended if it differs."""
    return _resolve(_lookup(card, cache_root(cache_dir), local_files_only, timeouts, verify=True))


def _lookup(card: ModelCard, root: Path, local_only: bool, timeouts: Timeouts | None, *, verify: bool) -> Lookup:
    return Lookup(card, wanted_files(card), root, offline_reason(local_only), timeouts or Timeouts.from_env(), verify)


def _resolve(lookup: Lookup) -> Path:
    sources = _sources(lookup)
    # FASTEMBED_CACHE_PATH was the folder of our cache too.
    for root in (lookup.root, *fastembed_caches()):
        for slot in (Slot(root, slot.name) for slot, _ in sources):
            # Offline, nobody can be asked about optional files, and a cache that cannot be written will do.
            if not (lookup.faults(slot) if lookup.offline else lookup.gaps(slot)):
                return slot.path
    tried = []
    for slot, fill in sources:
        try:
            with slot.filling(lookup.timeouts.total) as stage:
                if lookup.gaps(slot):
                    fill(lookup, slot, stage)
        except (FleetembedError, OSError) as error:
            tried.append((slot, str(error)))
        else:
            if not lookup.faults(slot):
                return slot.path
    # Raised here, where no exception is being handled: a chained one could show what the message hides.
    raise _failure(lookup, [slot for slot, _ in sources], tried)


def _sources(lookup: Lookup) -> list[tuple[Slot, Fill]]:
    sources: list[tuple[Slot, Fill]] = []
    if lookup.card.hf:
        sources.append((hub_slot(lookup.root, lookup.card.hf), _fill_from_hub))
    if lookup.card.url:
        sources.append((archive_slot(lookup.root, lookup.card.url), _fill_from_archive))
    else:
        # The last resort, as with fastembed, which no longer has these archives.
        slot = old_archive_slot(lookup.root, lookup.card.model)
        if slot.manifest().files or archive_folder(lookup.card, lookup.root):
            sources.append((slot, fill_from_archive_folder))
    return sources


def _fill_from_hub(lookup: Lookup, slot: Slot, stage: Path) -> None:
    # Imported here, as the network's libraries are below: a model in the cache needs none of them.
    from embedders.files.hub_cache import fill_from_hub_cache

    fill_from_hub_cache(lookup, slot, stage)
    if lookup.gaps(slot) and not lookup.offline:
        from embedders.files.hub import fill_from_hub

        fill_from_hub(lookup, slot, stage)


def _fill_from_archive(lookup: Lookup, slot: Slot, stage: Path) -> None:
    fill_from_archive_folder(lookup, slot, stage)
    if lookup.gaps(slot) and not lookup.offline:
        from embedders.files.archive import fill_from_archive

        fill_from_archive(lookup, slot, stage)


def _failure(lookup: Lookup, slots: list[Slot], tried: list[tuple[Slot, str]]) -> FleetembedError:
    lines = []
    for slot in slots:
        revision = slot.manifest().revision
        pinned = f" (from revision {revision}; delete the folder to take the current one)" if revision else ""
        reasons: dict[str, list[str]] = {}
        for name, why in lookup.faults(slot).items():
            reasons.setdefault(why, []).append(name)
        lines += [f"cache {slot.path}: {_listed(names)} {why}{pinned}" for why, names in reasons.items()]
    lines += [f"{_source_name(lookup.card, slot)}: {why}" for slot, why in tried]
    if not slots:
        lines.append("its card names neither a Hugging Face repository nor a URL")
    lines += describe_search(lookup.card)
    if lookup.offline:
        lines.append(f"network: not tried, because {lookup.offline}")
    damaged = any(slot.manifest().files.keys() & lookup.faults(slot).keys() for slot in slots)
    advice = "Allow the network once" if lookup.offline else "Check the network, HF_ENDPOINT and HF_TOKEN"
    places = "\n".join(f"  - {line}" for line in lines)
    state = "damaged" if damaged else "in none of the places tried"
    message = (
        f"model {lookup.card.model}: its files are {state}:\n{places}\n"
        f"{advice}, or give a local folder with specific_model_path. "
        "The cache folder is set by cache_dir or FLEETEMBED_CACHE_DIR."
    )
    return ModelFilesError(message) if damaged and lookup.offline else ModelNotFoundError(message)


def _listed(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"each of {', '.join(names[:MOST_NAMED])}{more}"


def _source_name(card: ModelCard, slot: Slot) -> str:
    return shown_url(card.url or "") if slot.name.startswith("url--") else f"Hugging Face hub, {card.hf}"
