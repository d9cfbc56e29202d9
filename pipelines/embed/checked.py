"""What a job's embeddings are, found out before it runs: checked models, vectors, fingerprints, notices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from embedders.errors import FleetembedError, ModelFilesError, ModelNotFoundError
from embedders.factory import is_heavy, refuse_reranker
from embedders.fingerprint import facts_digest
from embedders.model_options import Runtime
from pipelines.config.collection import CollectionConfig
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.job import JobConfig
from pipelines.config.section import expand_home
from pipelines.config.source import SourceConfig
from pipelines.embed.chunking import load_tokenizer
from pipelines.embed.doubled_prompts import doubled_prompts
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.errors import ConfigError
from pipelines.fingerprints import chunking_facts, fingerprint_facts
from pipelines.sinks.base import JobFacts
from pipelines.sinks.qdrant.config import TEXT_KEY, QdrantSinkConfig
from pipelines.sources import Split
from pipelines.sources.vectors.facts import brought_facts
from pipelines.urls import is_url

_RUNTIME = {field.name for field in fields(Runtime)}


def checked_embedder(key: str, embedding: EmbeddingConfig) -> RowEmbedder:
    """Make an embedder; what the configuration has wrong about it is a ConfigError with the key."""
    try:
        card = embedding.card
        refuse_reranker(card)
    except (ModelNotFoundError, ModelFilesError, TypeError, ValueError) as error:
        hint = ""
        if isinstance(embedding.model, str) and _is_folder(embedding.model):
            hint = f" It is a folder: write model: {{path: {embedding.model}, pooling: ...}}."
        raise ConfigError(f"{key}.model: {error}{hint}") from None
    try:
        embedder = RowEmbedder(embedding)
        if card.custom:
            # What is wrong about it shows when the graph is loaded: here, rather than in a worker.
            try:
                embedder.model.load()
            except ModelFilesError as error:
                raise ConfigError(f"{key}.model: {error}") from None
            embedder = RowEmbedder(embedding)
        # Some options are only looked at when the tokenizer is.
        _ = embedder.model.fingerprint
    except FleetembedError as error:
        place = f"{key}.model.path" if card.custom else f"{key}.path"
        hint = "" if card.custom else _other_model_hint(embedding)
        raise type(error)(str(error).replace("specific_model_path", place) + hint) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{key}: {error}") from None
    try:
        _ = embedder.muvera
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}.muvera: {error}") from None
    return embedder


def _other_model_hint(embedding: EmbeddingConfig) -> str:
    """Say how a folder is given that holds another model than the catalog's of that name."""
    if embedding.path is None or is_url(embedding.path):
        return ""
    folder = Path(expand_home(str(embedding.path)))
    if (folder / embedding.card.model_file).is_file() or not any(folder.rglob("*.onnx")):
        return ""
    return f". If it holds another model, or other files of it, write model: {{path: {embedding.path}, pooling: ...}}"


def _is_folder(name: str) -> bool:
    with suppress(ValueError, OSError):
        return Path(expand_home(name)).is_dir()
    return False


class JobEmbedders:
    """A job's embedders, each made and checked once for as long as its configuration stays the same.

    ``fingerprint`` takes the place of the job's own, where these are a part of another job's embedders.
    """

    def __init__(self, fingerprint: str | None = None) -> None:
        self._fingerprint = fingerprint
        self._made: dict[int, RowEmbedder] = {}
        self._brought: tuple[SourceConfig, JobFacts] | None = None
        self._cuts: tuple[CollectionConfig, dict[str, Any] | None] | None = None

    def load(self, config: JobConfig) -> list[RowEmbedder]:
        """Make the embedders of a configuration; raises as ``checked_embedder`` does."""
        for number, embedding in enumerate(config.embeddings):
            if number not in self._made or self._made[number].config != embedding:
                self._made[number] = checked_embedder(f"embeddings.{number}", embedding)
        return [self._made[number] for number in range(len(config.embeddings))]

    def facts(self, config: JobConfig) -> JobFacts:
        """Gather what the sinks must know: of the models (see ``job_facts``), or of what the source brings."""
        if config.source.brings_vectors:
            if self._brought is None or self._brought[0] != config.source:
                self._brought = config.source, brought_facts(config)
            return self._brought[1]
        if self._fingerprint is None:
            return job_facts(config, self.load(config), self._copied_chunking(config))
        return replace(job_facts(config, self.load(config)), fingerprint=self._fingerprint, fingerprinted={})

    def _copied_chunking(self, config: JobConfig) -> dict[str, Any] | None:
        """Read how the documents of the collection that is read were cut, once; raises SourceError."""
        section = config.source.qdrant
        if section is None or config.chunking is not None:
            return None
        if self._cuts is None or self._cuts[0] != section:
            # Imported late: qdrant-client takes a second, and files need none.
            from pipelines.sources.qdrant.provenance import copied_chunking

            prints = {embedder.name: embedder.fingerprint for embedder in self.load(config)}
            self._cuts = section, copied_chunking(section, config.sink, prints)
        return self._cuts[1]


def job_facts(
    config: JobConfig, embedders: Sequence[RowEmbedder], copied_chunking: dict[str, Any] | None = None
) -> JobFacts:
    """Gather what the sinks must know of a job; raises ConfigError for what cannot be together.

    ``copied_chunking`` (see ``chunking_facts``) is how documents were cut that come as chunks, if that is known.
    """
    chunking = config.chunking
    if chunking is not None and config.takes_images:
        raise ConfigError("chunking: images are not cut, and this job embeds images; leave chunking out")
    cuts = chunking_facts(chunking, load_tokenizer(chunking.tokenizer).to_str()) if chunking else copied_chunking
    prints = {embedder.name: embedder.fingerprint for embedder in embedders}
    vectors = {name: spec for embedder in embedders for name, spec in embedder.vectors.items()}
    for sink in config.sink:
        sink.refuse_vectors(vectors)
    made = fingerprint_facts(prints, cuts)
    return replace(
        vector_facts(embedders),
        corpus=config.corpus,
        fingerprint=facts_digest(made),
        chunked=chunking is not None,
        fingerprinted=made,
    )


def vector_facts(embedders: Sequence[RowEmbedder]) -> JobFacts:
    """Gather what of a job's facts its embedders tell; corpus and fingerprint are empty."""
    return JobFacts(
        corpus="",
        fingerprint="",
        vectors={name: spec for embedder in embedders for name, spec in embedder.vectors.items()},
        models={name: embedder.config.model_name for embedder in embedders for name in embedder.vectors},
        fingerprints={
            name: embedder.fingerprint_of(name, spec.kind)
            for embedder in embedders
            for name, spec in embedder.vectors.items()
        },
        embeddings={embedder.name: remembered(embedder.config) for embedder in embedders},
    )


def remembered(embedding: EmbeddingConfig) -> dict[str, Any]:
    """Write an embedding's configuration down so that a search can make its queries, from whatever folder it runs.

    Options of the session belong to the machine that embeds, and are left out.
    """
    options = {name: value for name, value in embedding.options.items() if name not in _RUNTIME}
    return absolute_paths(
        embedding.model_copy(update={"options": options}).model_dump(mode="json", exclude_defaults=True)
    )


def absolute_paths(settings: dict[str, Any]) -> dict[str, Any]:
    """Make the local paths of an embedding's settings absolute, for processes that work in other folders."""
    changed = {
        key: str(Path(value).absolute())
        for key, value in settings.items()
        if key in ("path", "text_path", "cache_dir") and value is not None and not is_url(value)
    }
    model = settings.get("model")
    return {**settings, **changed, **({"model": absolute_paths(model)} if isinstance(model, dict) else {})}


def model_facts(config: JobConfig, facts: JobFacts) -> dict[str, dict[str, Any]]:
    """Describe the model behind each vector, for plans and reports; no fingerprint before its length is measured."""
    if config.source.brings_vectors:
        return {name: _brought_model(name, facts) for name in facts.vectors}
    unknown = {embedding.name for embedding in config.embeddings if embedding.measures_length}
    makers = {name: embedding for embedding in config.embeddings for name in embedding.vector_names}
    return {
        name: {
            "embedding": makers[name].name,
            "model": facts.models[name],
            "kind": spec.kind,
            "dim": spec.dim,
            "precision": makers[name].precision,
            "license": makers[name].card.license,
            "fingerprint": None if name in unknown else facts.fingerprints[name],
        }
        for name, spec in facts.vectors.items()
    }


def _brought_model(name: str, facts: JobFacts) -> dict[str, Any]:
    """Describe what made a vector that the source brings; no embedding of this job has a stage."""
    spec = facts.vectors[name]
    return {
        "embedding": None,
        "model": facts.models.get(name, "unknown"),
        "kind": spec.kind,
        "dim": spec.dim,
        "fingerprint": facts.fingerprints.get(name, facts.fingerprint),
    }


def _gpus_without_use(config: JobConfig) -> list[str]:
    """Tell of GPUs that engine local has no use for: all of a pool without a neural network, and a second one."""
    cards = {embedding.name: embedding.card for embedding in config.embeddings}
    told = []
    for name, stage in config.compute.stages.items():
        key = f"engine local: compute.stages.{name}.gpus"
        if stage.gpus and not any(is_heavy(cards[one]) for one in config.compute.pools.get(name, [name])):
            told.append(f"{key} changes nothing, because {name} runs no neural network")
        elif stage.gpus and stage.gpus > 1:
            told.append(f"{key} is {stage.gpus:g}, and a model of one process uses one GPU")
    return told


def _texts_twice(config: JobConfig) -> list[str]:
    """Tell of sinks in which points of a collection that is embedded anew have their text under two keys."""
    read = config.source.qdrant
    if read is None or read.vectors or config.adds_vectors or read.text == TEXT_KEY:
        return []
    return [
        f"points of {sink.place} will have their text twice, under {read.text!r} as in the source and under "
        f"{TEXT_KEY!r}, and a document_id; store_text: false in that sink leaves {TEXT_KEY!r} out"
        for sink in config.sink
        if isinstance(sink, QdrantSinkConfig) and sink.store_text
    ]


def notices(config: JobConfig, splits: Iterable[Split]) -> list[str]:
    """Tell of keys without effect, licences that forbid commercial use, vectors that vary, and prompts put twice.

    Reads the first rows of the source's splits where a model puts a prompt before texts.
    """
    found = []
    if config.compute.engine == "local" and (keys := config.compute.only_for_ray):
        found.append(f"engine local runs in this process alone: {', '.join(keys)} change nothing")
    if config.compute.engine == "local":
        found += _gpus_without_use(config)
    for embedding in config.embeddings:
        card = embedding.card
        if not card.commercial_use:
            found.append(f"{card.model} is licensed {card.license}: its vectors are not for commercial use")
        if embedding.varies_with_batch:
            found.append(
                f"{card.model} is quantized as it runs: its vectors vary a little with what is embedded beside"
            )
    return found + _texts_twice(config) + doubled_prompts(config, splits)


def cut_chunks(config: JobConfig, embedders: Sequence[RowEmbedder]) -> list[str]:
    """Tell of models that take less of a text than a chunk may have."""
    if config.chunking is None:
        return []
    most, told = config.chunking.max_tokens, []
    for number, embedder in enumerate(embedders):
        tokenizer = getattr(getattr(embedder.model, "text_model", None), "tokenizer", None)
        if tokenizer is not None and most > tokenizer.room:
            limit = tokenizer.max_length
            told.append(
                f"chunks have up to {most:,} tokens, and {embedder.name} takes {tokenizer.room:,} of a text (of "
                f"{limit:,}, {limit - tokenizer.room} are special ones): the rest of a longer chunk is in no vector of "
                f"{embedder.name}. Set chunking.max_tokens to {tokenizer.room} or less, or raise "
                f"embeddings.{number}.max_length if the model can take more"
            )
    return told
