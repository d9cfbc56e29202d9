"""Files that are made of a model's ONNX file, such as its quantized copy, and kept in the model cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import onnxruntime

from embedders.errors import ModelFilesError
from embedders.files.cache import Slot, Wanted, cache_root
from embedders.files.digest import file_digests
from embedders.files.download import DownloadError

COPY = "model.onnx"
LOCK_SECONDS = 1800.0

# Takes the source, the target, and whether weights are to be put into a file beside the target.
Make = Callable[[Path, Path, bool], None]


def derived_file(
    kind: str,
    scheme: str,
    folder: Path,
    model_file: str,
    files: Iterable[str],
    make: Make,
    *,
    cache_dir: str | Path | None = None,
) -> Path:
    """Path of the copy of a model's file that ``make`` writes, where the cache does not hold it yet.

    ``files`` are the model's, among them those of weights beside ``model_file``. A copy belongs to the contents of
    these, to the ``scheme`` by which it is made, and to the version of ONNX Runtime; ``kind`` begins its folder's name.
    Several processes may ask at once: one makes it, the others wait. Raises ModelFilesError for a copy that cannot be
    stored.
    """
    parts = [name for name in files if name.startswith(model_file)]
    slot = _slot(cache_root(cache_dir), kind, scheme, model_file, file_digests(folder, parts))
    if not slot.gaps(Wanted((COPY,))):
        return slot.path / COPY
    try:
        with slot.filling(LOCK_SECONDS) as stage:
            if slot.gaps(Wanted((COPY,))):
                make(folder / model_file, stage / COPY, len(parts) > 1)
                slot.publish(stage, sorted(path.name for path in stage.iterdir()), scheme)
    except (OSError, DownloadError) as error:
        raise ModelFilesError(f"the {kind} copy of {folder / model_file} cannot be stored: {error}") from error
    return slot.path / COPY


def _slot(root: Path, kind: str, scheme: str, model_file: str, digests: dict[str, str]) -> Slot:
    facts = [scheme, onnxruntime.__version__, *(f"{name} {digest}" for name, digest in digests.items())]
    return Slot(root, f"{kind}--{Path(model_file).stem}--{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}")
