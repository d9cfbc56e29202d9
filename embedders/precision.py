"""What a network computes with: float32, bfloat16 by OpenVINO, float16 or int8 in files of their own or made here."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from embedders.catalog import ModelCard, is_half, quantized_card
from embedders.errors import DeviceError
from embedders.families import FAMILIES
from embedders.files.folder import model_files
from embedders.graph_session import GraphSession
from embedders.session_settings import CPU_ONLY, ModelPrecision, SessionSettings

logger = logging.getLogger(__name__)

# Part of fingerprints. Another way to quantize needs another name.
INT8 = "int8 per channel"


def card_at(card: ModelCard, precision: ModelPrecision, *, own_files: bool = False) -> ModelCard:
    """Card of the model at a precision: of the catalog's quantized file for int8, where it knows one, else this card.

    ``own_files`` tells that a user chose the files, and so what is quantized. Raises ValueError for bfloat16 or float16
    of a file that is quantized already.
    """
    if precision in ("bfloat16", "float16") and card.varies_with_batch:
        raise ValueError(
            f"model {card.model} is quantized already: {precision} would gain nothing; leave precision out"
        )
    if precision != "int8" or own_files or not FAMILIES[card.family].network:
        return card
    return quantized_card(card) or card


def precision_facts(card: ModelCard, precision: ModelPrecision) -> dict[str, str]:
    """What a precision adds to a model's fingerprint: nothing for what the model's file computes with by itself."""
    if is_the_files(card, precision):
        return {}
    return {"precision": INT8 if precision == "int8" else precision}


def is_the_files(card: ModelCard, precision: ModelPrecision) -> bool:
    """Whether a model's file, as it is, computes with a precision."""
    return (
        precision == "float32"
        or (precision == "int8" and card.varies_with_batch)
        or (precision == "float16" and is_half(card))
    )


def load_graph(
    card: ModelCard, folder: Path, settings: SessionSettings, *, cache_dir: str | Path | None = None, at_once: int = 1
) -> GraphSession:
    """Load the card's graph, at the precision of the settings.

    ``at_once`` calls run at the same time, each with the settings' threads. A file that is quantized or converted here
    is kept in the cache at ``cache_dir``. Raises ModelFilesError, and DeviceError where this machine cannot do what is
    asked for, unless the settings allow float32 in its place.
    """
    path = folder / card.model_file
    if is_the_files(card, settings.precision):
        return _onnx_session(path, settings)
    if settings.precision in CPU_ONLY:
        settings = replace(settings, cuda=False)
    try:
        if settings.precision == "bfloat16":
            # Imported here: OpenVINO is an extra, and takes a second.
            from embedders.openvino_session import OpenVinoSession

            return OpenVinoSession(path, settings, at_once=at_once)
        return _onnx_session(_copy(card, folder, settings, cache_dir), settings)
    except DeviceError as error:
        if not settings.float32_instead:
            raise
        logger.warning("%s; %s runs in float32", error, card.model)
        return _onnx_session(path, settings)


def _copy(card: ModelCard, folder: Path, settings: SessionSettings, cache_dir: str | Path | None) -> Path:
    files = model_files(card, folder)
    if settings.precision == "int8":
        from embedders.quantization import quantized_file

        return quantized_file(folder, card.model_file, files, cache_dir)
    from embedders.float16 import float16_file

    return float16_file(folder, card.model_file, files, card.output, threads=settings.threads, cache_dir=cache_dir)


def _onnx_session(path: Path, settings: SessionSettings) -> GraphSession:
    # Imported here: only who loads a graph needs ONNX Runtime.
    from embedders.session import OnnxSession

    return OnnxSession(path, settings)
