"""Base of the families that run a graph on texts: a TextModel that is loaded once and checked, and its counters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from threading import Lock, get_ident
from typing import Any, ClassVar

from embedders.base import EmbedStats, Texts
from embedders.catalog import ModelCard
from embedders.errors import FleetembedError, ModelFilesError
from embedders.model_options import ModelFiles, Runtime
from embedders.text_model import TextModel
from embedders.travel import Unloaded

# One lock for all models, since a model that holds a lock cannot be pickled.
_LOADING = Lock()


class NetworkModel(Unloaded, ABC):
    """Tokenizer and graph of a card, kept in ``text_model``; ``limits`` are further arguments of TextModel.

    The constructor looks the files up and, unless ``lazy_load``, loads everything: a subclass sets its attributes
    before it calls the constructor. Raises ModelNotFoundError, ModelFilesError, DeviceError, or ValueError for an
    option of the card that the family does not know.
    """

    # Options of a card that the family knows.
    CARD_OPTIONS: ClassVar[tuple[str, ...]] = ("vocab_size",)

    def __init__(self, card: ModelCard, files: ModelFiles, runtime: Runtime, **limits: Any) -> None:
        card.refuse_unknown_options(self.CARD_OPTIONS)
        self.card = card
        self.text_model = TextModel(card, files, runtime, **limits)
        self._loaded = False
        self._rehearsing: int | None = None
        if not runtime.lazy_load:
            self.load()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_loaded": False, "_rehearsing": None}

    def load(self) -> None:
        """Load everything now rather than at the first text; raises ModelFilesError where files do not fit."""
        if self._loaded or self._rehearsing == get_ident():
            return
        with _LOADING:
            if not self._loaded:
                self._rehearsing = get_ident()
                try:
                    self.check()
                    self._rehearse()
                    self.text_model.warm_up()
                    self._loaded = True
                finally:
                    self._rehearsing = None

    def _rehearse(self) -> None:
        """Embed two texts, uncounted, so that a graph, table or option that fails does so now and not for every row."""
        model = self.text_model
        counted, model.stats = model.stats, EmbedStats()
        # The cache holds a block that this model is loaded for.
        cache, model.token_cache = model.token_cache, None
        try:
            self.rehearse()
        except FleetembedError:
            raise
        except Exception as error:
            raise ModelFilesError(
                f"{self.card.model} cannot embed a text with these files and options: {error}"
            ) from error
        finally:
            model.stats, model.token_cache = counted, cache

    @abstractmethod
    def check(self) -> None:
        """Load what the family needs, and check that the graph's output suits it."""

    @abstractmethod
    def rehearse(self) -> None:
        """Embed or score PROBES, as documents and as queries."""

    @property
    def stats(self) -> EmbedStats:
        """Counters since the model was made."""
        return self.text_model.stats

    def token_count(self, texts: Texts) -> int:
        """Count the tokens the model would get, after truncation, with special tokens and without prompts."""
        return self.text_model.token_count(texts)
