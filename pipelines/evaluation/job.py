"""The job that embeds a BEIR corpus: models and settings of the user's job, another source and collection."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

from embedders.errors import ModelFilesError, ModelNotFoundError
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.job import JobConfig
from pipelines.config.source import SourceConfig
from pipelines.embed.average_length import with_stand_ins
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.errors import ConfigError, SourceError
from pipelines.evaluation.engines.collection import evaluation_sink


def make_job(config: JobConfig, name: str, out: Path) -> tuple[JobConfig, list[str]]:
    """Turn a job into one that embeds a corpus, and say which of its parts are left out and why.

    The corpus is ``out/corpus.jsonl``. The collection is a folder ``out/qdrant``, or one beside the job's own on its
    server. An embedding whose model's files cannot be had is left out, with the searches that use it. Raises
    ConfigError for a model that no catalog has, SourceError where no embedding is left.
    """
    if not config.embeddings:
        raise SourceError(
            "the job has no embeddings to evaluate: source.vectors brings vectors; evaluate the job that made them"
        )
    embeddings, notices = _usable(config)
    if not embeddings:
        raise SourceError("no embedding can be evaluated:\n" + indent("\n".join(notices), "  "))
    names = {embedding.name for embedding in embeddings}
    vectors = {vector for embedding in embeddings for vector in embedding.vector_names}
    searches = {
        search: way
        for search, way in config.searches.items()
        if vectors.issuperset([*way.using, *([way.rescore] if way.rescore else [])])
    }
    notices += [
        f"the search {search!r} is left out: it needs a vector that is not there"
        for search in config.searches
        if search not in searches
    ]
    source = SourceConfig(path=str(out / "corpus.jsonl"), format="jsonl", id="id", text="text", payload=["title"])
    changes = {
        "corpus": f"beir-{name}",
        "source": source,
        "embeddings": embeddings,
        "searches": searches,
        "sink": [evaluation_sink(config, name, out)],
        "compute": config.compute.of_embeddings(names),
        "errors": config.errors.model_copy(update={"path": str(out / "dead_letters")}),
        "report": str(out / "run_report.json"),
    }
    return config.model_copy(update=changes), notices


def _usable(config: JobConfig) -> tuple[list[EmbeddingConfig], list[str]]:
    usable, notices = [], []
    settled = with_stand_ins(config).embeddings
    for number, embedding in enumerate(config.embeddings):
        try:
            card = embedding.card
        except ModelFilesError as error:
            notices.append(_left_out(number, embedding, error))
            continue
        except (ModelNotFoundError, TypeError, ValueError) as error:
            raise ConfigError(f"embeddings.{number}.model: {error}") from None
        if embedding.images:
            notices.append(f"{embedding.name} is left out: it embeds images, and the documents are texts")
            continue
        try:
            rows = RowEmbedder(settled[number])
            # The fingerprint needs the files; what is wrong with a user's model shows when it is loaded.
            if card.custom:
                rows.model.load()
            _ = rows.fingerprint
        except (ModelNotFoundError, ModelFilesError) as error:
            notices.append(_left_out(number, embedding, error))
            continue
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"embeddings.{number}: {error}") from None
        usable.append(embedding)
    return usable, notices


def _left_out(number: int, embedding: EmbeddingConfig, error: Exception) -> str:
    """Say why, with every place where files were looked for and what to do, by the names of the job's keys."""
    key = "path" if isinstance(embedding.model, str) else "model.path"
    why = str(error).replace("specific_model_path", f"embeddings.{number}.{key}")
    return f"{embedding.name} is left out: {why}"
