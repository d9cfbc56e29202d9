"""The last stage of a search: a cross encoder reads the query and the texts of the hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from embedders.catalog import find_card
from embedders.errors import ModelNotFoundError
from embedders.factory import make_model
from pipelines.config.search import RerankConfig
from pipelines.errors import ConfigError
from pipelines.search.hits import Hit


class Reranker:
    """A cross encoder for hits; its files are loaded at the first query."""

    def __init__(self, config: RerankConfig) -> None:
        """Raises ConfigError for a model that no catalog has as a reranker."""
        self._config = config
        try:
            card = find_card(config.model, among=("rerank",))
        except ModelNotFoundError as error:
            raise ConfigError(f"rerank.model: {error}") from None
        settings = {"specific_model_path": config.path, "cache_dir": config.cache_dir, "max_length": config.max_length}
        settings |= {"precision": config.precision}
        given = {key: value for key, value in settings.items() if value}
        try:
            self._model: Any = make_model(card, {**given, "lazy_load": True})
        except ValueError as error:
            raise ConfigError(f"rerank: {error}") from None

    def order(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """Order the first ``candidates`` hits by the model's score; those behind them keep their order and scores.

        Raises ConfigError for a hit without a text.
        """
        read, rest = hits[: self._config.candidates], hits[self._config.candidates :]
        scores = self._model.scores([(query, self._text(hit)) for hit in read])
        scored = [replace(hit, score=float(score)) for hit, score in zip(read, scores, strict=True)]
        return [*sorted(scored, key=lambda hit: -hit.score), *rest]

    def _text(self, hit: Hit) -> str:
        text = hit.payload.get(self._config.text_key)
        if not isinstance(text, str):
            raise ConfigError(
                f"rerank: the payload of {hit.title} has no text under {self._config.text_key!r}; set rerank.text_key, "
                "or run the job with the sink's store_text: true"
            )
        return text
