"""The models of a job as every machine must have them: the same files, and so the same vectors."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embedders.errors import FleetembedError, ModelFilesError
from embedders.files.digest import file_digests
from embedders.files.folder import model_files
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.job import JobConfig
from pipelines.embed.chunking import load_tokenizer, tokenizer_digest
from pipelines.embed.row_embedder import RowEmbedder

TOKENIZER = "chunking.tokenizer"


@dataclass(frozen=True)
class JobModels:
    """What a machine needs to know to look for a job's models, and to compare them: no files, a few kilobytes.

    ``embeddings`` are by their key in the configuration. By the embedding's name, ``fingerprints`` are those of the
    models, and ``files`` the sha256 of their files, of those that have files. Under TOKENIZER, ``fingerprints`` has the
    digest of the tokenizer that cuts chunks, if one does.
    """

    embeddings: Mapping[str, EmbeddingConfig]
    fingerprints: Mapping[str, str]
    files: Mapping[str, Mapping[str, str]]
    tokenizer: str | None = None

    @property
    def count(self) -> int:
        """How many models there are, the tokenizer of chunks among them."""
        return len(self.embeddings) + (self.tokenizer is not None)

    def without(self, embeddings: Collection[str]) -> JobModels:
        """The same without the models of some embeddings."""
        kept = {key: one for key, one in self.embeddings.items() if one.name not in embeddings}
        return replace(self, embeddings=kept)


def job_models(config: JobConfig, embedders: Sequence[RowEmbedder]) -> JobModels:
    """Describe the models of a job, whose embedders are made on this machine."""
    tokenizer = config.chunking.tokenizer if config.chunking else None
    found = {embedder.name: _model_files(embedder) for embedder in embedders}
    return JobModels(
        embeddings={f"embeddings.{number}": embedder.config for number, embedder in enumerate(embedders)},
        fingerprints=job_fingerprints(config, embedders),
        files={name: digests for name, (_, digests) in found.items()},
        tokenizer=tokenizer,
    )


def job_fingerprints(config: JobConfig, embedders: Sequence[RowEmbedder]) -> dict[str, str]:
    """What the models of a job must be wherever they run; see JobModels.fingerprints."""
    found = {embedder.name: embedder.model.fingerprint for embedder in embedders}
    if config.chunking is None:
        return found
    # No embedding has a name with a dot.
    return {**found, TOKENIZER: tokenizer_digest(load_tokenizer(config.chunking.tokenizer))}


def look_for_models(models: JobModels) -> Iterator[tuple[str, str | None]]:
    """Find, or download, a job's models on this machine, one after the other, without loading them.

    Yields each one's name with None before it is looked for, and once more with what is wrong if something is.
    """
    for key, embedding in models.embeddings.items():
        shown = f"{embedding.name} ({embedding.model if isinstance(embedding.model, str) else 'own model'})"
        yield shown, None
        if trouble := _embedding_trouble(key, embedding, models):
            yield shown, trouble
    if models.tokenizer is not None:
        yield TOKENIZER, None
        if trouble := _tokenizer_trouble(models.tokenizer, models.fingerprints[TOKENIZER]):
            yield TOKENIZER, trouble


def refuse_other_model(embedder: RowEmbedder, fingerprint: str) -> None:
    """Raise ModelFilesError where a model on this machine is another one than the job was planned with."""
    if embedder.model.fingerprint != fingerprint:
        folder, _ = _model_files(embedder)
        raise ModelFilesError(
            f"machine {socket.gethostname()} has another model{_at(folder)} than the one that the job was planned "
            f"with, for the embedding {embedder.name}: their vectors must not be mixed. Put the same files, and the "
            "same version of this program, on all machines, and run the job again"
        )


def _embedding_trouble(key: str, embedding: EmbeddingConfig, models: JobModels) -> str | None:
    custom = not isinstance(embedding.model, str)
    try:
        embedder = RowEmbedder(embedding)
        if embedder.model.fingerprint == models.fingerprints[embedding.name]:
            return None
        folder, digests = _model_files(embedder)
    except (FleetembedError, OSError) as error:
        why, place = str(error), f"{key}.model.path" if custom else f"{key}.path"
        return why.replace("specific_model_path", place) if "specific_model_path '" in why else f"{key}: {why}"
    return f"{key}: there is another model{_at(folder)}: {_difference(digests, models.files[embedding.name])}"


def _tokenizer_trouble(name: str, digest: str) -> str | None:
    try:
        load_tokenizer(name, digest)
    except (FleetembedError, OSError) as error:
        return str(error)
    return None


def _model_files(embedder: RowEmbedder) -> tuple[Path | None, dict[str, str]]:
    """A model's folder and the sha256 of its files by name; None and nothing for a model that needs no files."""
    model: Any = embedder.model
    folder = getattr(model, "folder", None) or getattr(getattr(model, "text_model", None), "folder", None)
    if folder is None:
        return None, {}
    # Of the precision int8 the model may have the card of another file than the configuration.
    card = getattr(model, "card", embedder.config.card)
    return folder, file_digests(folder, model_files(card, folder))


def _at(folder: Path | None) -> str:
    return "" if folder is None else f" at {folder.absolute()}"


def _difference(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    """Say which files differ from those that the job was planned with."""
    lines = [
        f"{name} {_digest(here.get(name))} here, {_digest(there.get(name))} where the job was started"
        for name in sorted({*here, *there})
        if here.get(name) != there.get(name)
    ]
    if not lines:
        return "its files are the same, so this program is of another version here"
    return "; ".join(lines)


def _digest(sha256: str | None) -> str:
    return "is missing" if sha256 is None else f"has sha256 {sha256[:12]}..."
