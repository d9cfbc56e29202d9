"""What a model's folder must hold, and the use of a folder the user gives."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from embedders.catalog import ModelCard
from embedders.errors import ModelFilesError
from embedders.files.cache import Wanted, cache_root, link_or_copy, local_slot
from embedders.files.digest import identity

OPTIONAL_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
)


def wanted_files(card: ModelCard) -> Wanted:
    """Names of the card's files. Raises ModelFilesError for one that is not a relative path inside the model."""
    required = tuple(dict.fromkeys((card.model_file, *card.additional_files)))
    for name in required:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise ModelFilesError(f"model {card.model}: file name {name!r} must be a relative path inside the model")
    return Wanted(required, tuple(name for name in OPTIONAL_FILES if name not in required))


def model_files(card: ModelCard, folder: Path) -> tuple[str, ...]:
    """Names of the card's files that ``folder`` holds, sorted: what ``files_digest`` is to cover."""
    wanted = wanted_files(card)
    names = {*wanted.required, *wanted.optional, *_external_data(card, folder)}
    return tuple(sorted(name for name in names if (folder / name).is_file()))


def local_folder(card: ModelCard, folder: Path, cache_dir: str | Path | None, lock_timeout: float) -> Path:
    """Check the folder a user gave and return it, or, where links stand in the way, one of real files in the cache.

    Raises ModelFilesError naming what is missing.
    """
    if not folder.is_dir():
        what = "is a file: give its folder" if folder.is_file() else "does not exist"
        if not folder.is_absolute():
            what += f"; it was looked for at {str(folder.absolute())!r}"
        raise ModelFilesError(f"specific_model_path {str(folder)!r} of model {card.model} {what}")
    # Which other files a model cannot do without depends on its family and options; external data always are.
    needed = [card.model_file, *(name for name in card.additional_files if name.startswith(card.model_file))]
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise ModelFilesError(
            f"specific_model_path {str(folder)!r} of model {card.model} lacks {', '.join(missing)}; "
            f"it holds {shown_contents(folder)}"
        )
    data = [name for name in (*card.additional_files, *_external_data(card, folder)) if (folder / name).is_file()]
    linked = any((folder / name).is_symlink() for name in (card.model_file, *data))
    if linked and data and _is_onnx(card):
        return _without_links(card, folder, cache_root(cache_dir), lock_timeout)
    return folder


def shown_contents(folder: Path) -> str:
    """The folder's first ten files, for a message."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") if names else "no file"


def _without_links(card: ModelCard, folder: Path, root: Path, lock_timeout: float) -> Path:
    """A folder of hard links in the cache: ONNX Runtime from 1.24 refuses external data outside the model's folder."""
    names = model_files(card, folder)
    state = identity(folder, names)
    slot, wanted = local_slot(root, folder), Wanted(names)
    if slot.manifest().revision == state and not slot.gaps(wanted):
        return slot.path
    try:
        with slot.filling(lock_timeout) as stage:
            if slot.manifest().revision != state or slot.gaps(wanted):
                for name in names:
                    link_or_copy(folder / name, stage / name)
                slot.publish(stage, names, state)
    except OSError as error:
        raise ModelFilesError(
            f"model {card.model}: {str(folder)!r} is made of symbolic links, which ONNX Runtime refuses for external "
            f"data, and real files cannot be put into the cache: {error}. Set cache_dir or FLEETEMBED_CACHE_DIR"
        ) from None
    return slot.path


def _is_onnx(card: ModelCard) -> bool:
    return card.model_file.endswith(".onnx")


def _external_data(card: ModelCard, folder: Path) -> list[str]:
    """Files beside the model file that are named after it: ``model.onnx_data``, ``model.onnx.data``."""
    model = folder / card.model_file
    if not _is_onnx(card) or not model.parent.is_dir():
        return []
    beside = (path for path in model.parent.iterdir() if path.name.startswith(model.name) and path.name != model.name)
    return [path.relative_to(folder).as_posix() for path in beside if path.is_file()]
