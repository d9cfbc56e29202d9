"""Base of the public classes: each looks a model up by its name and hands everything on to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pyarrow as pa

from embedders.api.devices import check_parallel, copies_wanted, spread
from embedders.api.fastembed_arguments import our_options, warn_of_model
from embedders.base import EmbedStats, Texts, VectorSpec
from embedders.catalog import add_card, custom_card, describe, find_card, list_cards
from embedders.factory import is_heavy, make_model, make_model_of
from embedders.families import FAMILIES, Kind, families_alike
from embedders.session_settings import Cuda, OnnxProvider

Item = TypeVar("Item")
Result = TypeVar("Result")

# Texts that are read, tokenized and sorted together: so many that neighbours by length hardly differ.
READ_AHEAD = 1024
READ_AHEAD_ON_GPU = 4096


class ModelFacade:
    """A model by its name in the catalog, kept in ``model``.

    ``cache_dir`` and ``threads`` are kept as they were given. ``device_ids`` names GPUs: the model runs on the first,
    and methods with ``parallel`` also on as many of the others as that says. On a GPU a method that yields works on two
    lists of texts at once. ``options`` are the fields of `embedders.model_options.ModelFiles` and
    `embedders.model_options.Runtime` (``specific_model_path``, ``local_files_only``, ``token_budget``,
    ``session_options``, ``provider_options``, ...), and the options of the model's family; fastembed's ``device_id``,
    ``extra_session_options`` and ``mmap`` are taken too. Warns, as fastembed does, of a model whose name is misspelt or
    whose files have changed. Raises ModelNotFoundError (a ValueError) for a name that is in no catalog,
    ModelFilesError, DeviceError, and TypeError for an option that the model does not take.
    """

    FAMILIES: ClassVar[tuple[str, ...]]
    # The kind of vectors that the class gives, of those of a model that gives several; None: what the model gives.
    KIND: ClassVar[Kind | None] = None
    DEFAULT_MODEL: ClassVar[str | None] = None

    def __init__(
        self,
        model_name: str | None = None,
        cache_dir: str | Path | None = None,
        threads: int | None = None,
        providers: Sequence[OnnxProvider] | None = None,
        cuda: Cuda = "auto",
        device_ids: Sequence[int] | None = None,
        lazy_load: bool = False,
        **options: Any,
    ) -> None:
        name = model_name or self.DEFAULT_MODEL
        if name is None:
            raise TypeError(f"{type(self).__name__} needs a model_name; list_supported_models() tells which there are")
        warn_of_model(name, stacklevel=2)
        self.card = find_card(name, among=self.FAMILIES)
        self.cache_dir, self.threads = cache_dir, threads
        shared = {"cache_dir": cache_dir, "threads": threads, "providers": providers, "cuda": cuda}
        self._arguments = {**shared, "lazy_load": lazy_load, **our_options(options, device_ids)}
        self.model: Any = self._make_model(self._on(self._devices[0] if self._devices else None))
        # Copies of the model on further devices, by the device.
        self._copies: dict[int, Any] = {}

    def _make_model(self, arguments: dict[str, Any]) -> Any:
        if self.KIND is None:
            return make_model(self.card, arguments)
        return make_model_of(self.KIND, self.card, arguments)

    @property
    def model_name(self) -> str:
        """The model's name in the catalog."""
        return self.card.model

    @classmethod
    def list_supported_models(cls) -> list[dict[str, Any]]:
        """Facts of every model that this class takes, in the catalog's order, users' models last."""
        return [describe(card) for card in list_cards(*cls.FAMILIES)]

    @property
    def stats(self) -> EmbedStats:
        """Counters since the model was made, those of its copies on further devices included."""
        stats: EmbedStats = self.model.stats
        if not self._copies:
            return stats
        total = EmbedStats()
        for model in (self.model, *self._copies.values()):
            total.add(model.stats)
        return total

    @property
    def providers(self) -> list[str]:
        """ONNX Runtime's execution providers in use, first choice first; none for a model without a network."""
        session = self._session
        return [] if session is None else list(session.providers)

    @property
    def _session(self) -> Any:
        """The loaded graph; None for a model without a network."""
        return getattr(getattr(self.model, "text_model", self.model), "session", None)

    def _models(self, parallel: int | None) -> list[Any]:
        """The model, and its copies on as many further devices as ``parallel`` asks for; raises ValueError."""
        several = parallel is not None and len(self._devices) > 1
        if several:
            self.model.load()
        copies = copies_wanted(parallel, len(self._devices) if several and self._session.on_gpu else 1)
        for device in self._devices[1:copies]:
            if device not in self._copies:
                self._copies[device] = self._make_model(self._on(device))
        models = [self.model, *(self._copies[device] for device in self._devices[1:copies])]
        # Texts of one list are tokenized while those of another are in the graph.
        return models * 2 if self._prepares_ahead else models

    @property
    def _prepares_ahead(self) -> bool:
        """Whether the model, of texts alone, is shared by threads that prepare while others run.

        Never on a CPU, nor before the model is loaded, which is not done here: the model does it under a lock.
        """
        text_model = getattr(self.model, "text_model", None)
        if text_model is None or FAMILIES[self.card.family].images or "runner" not in vars(text_model):
            return False
        return bool(text_model.session.on_gpu and text_model.runner.settings.ahead)

    def _most_rows(self, batch_size: int) -> int | None:
        """Texts of one model call at most; on a GPU the token budget alone, since small calls leave it idle."""
        return None if self._prepares_ahead else batch_size

    def _texts_ahead(self, batch_size: int) -> int:
        """Texts of one list."""
        return max(batch_size, READ_AHEAD_ON_GPU if self._prepares_ahead else READ_AHEAD)

    def _on(self, device: int | None) -> dict[str, Any]:
        """Arguments of the model on one device."""
        return self._arguments if device is None else {**self._arguments, "device_ids": [device]}

    @property
    def _devices(self) -> list[int]:
        """GPUs that the model may run on; none where it has no network, or ``providers`` choose."""
        if self._arguments["providers"] is not None or not is_heavy(self.card):
            return []
        return list(dict.fromkeys(self._arguments["device_ids"] or ()))

    def _spread(
        self,
        lists: Callable[[], Iterable[list[Item]]],
        work: Callable[[Any, list[Item]], Iterable[Result]],
        parallel: int | None,
        *,
        runs_graph: bool = True,
    ) -> Iterator[Result]:
        """Put ``work`` to lists of texts or pairs with a model; results in their order. See ``_models``.

        A model with ``lazy_load`` is loaded when the first result is asked for, unless ``runs_graph`` is False, and
        then ``lists`` gives the lists, whose size depends on the device. Raises ValueError for ``parallel`` at once.
        """
        check_parallel(parallel)
        if not self._arguments["lazy_load"]:
            # Copies that cannot be loaded are refused at once.
            self._models(parallel)
        return self._spread_when_asked(lists, work, parallel, runs_graph=runs_graph)

    def _spread_when_asked(
        self,
        lists: Callable[[], Iterable[list[Item]]],
        work: Callable[[Any, list[Item]], Iterable[Result]],
        parallel: int | None,
        *,
        runs_graph: bool,
    ) -> Iterator[Result]:
        if runs_graph:
            self.model.load()
        yield from spread(self._models(parallel), lists(), work)

    def load(self) -> None:
        """Load everything now rather than at the first text."""
        self.model.load()

    @classmethod
    def _add(
        cls,
        family: str,
        model: str,
        sources: Any,
        *,
        size_in_gb: float = 0.0,
        additional_files: Sequence[str] | None = None,
        output_name: str | None = None,
        **facts: Any,
    ) -> None:
        """Add the card of a user's model; ``facts`` are named as by fastembed, or as ModelCard's fields."""
        output = 0 if output_name is None else output_name
        files = tuple(additional_files or ())
        card = custom_card(
            family, model=model, sources=sources, size_gb=size_in_gb, additional_files=files, output=output, **facts
        )
        add_card(card, among=families_alike(family))


class EmbeddingFacade(ModelFacade):
    """A model that embeds."""

    @property
    def spec(self) -> VectorSpec:
        """Kind, type and dimension of the column."""
        spec: VectorSpec = self.model.spec
        return spec

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a vector."""
        return str(self.model.fingerprint)

    def embed_arrow(self, texts: Texts) -> pa.Array:
        """Embed documents as a column of ``spec.arrow_type``, one entry a text, in order.

        Raises an error naming the first text that is not a str of valid Unicode.
        """
        return self.model.embed_arrow(texts)

    def embed_queries_arrow(self, texts: Texts) -> pa.Array:
        """Embed queries as a column of ``spec.arrow_type``, with the query side of the model."""
        return self.model.embed_queries_arrow(texts)


class SizedFacade(EmbeddingFacade):
    """A model whose vectors, or token vectors, all have one size."""

    @property
    def dim(self) -> int:
        """Numbers in a vector: the catalog's, or what the graph gives for files at ``specific_model_path``."""
        return int(self.model.dim)

    @property
    def embedding_size(self) -> int:
        """Same as ``dim``."""
        return self.dim

    @classmethod
    def get_embedding_size(cls, model_name: str) -> int:
        """Numbers in a vector of a catalog model; raises ModelNotFoundError."""
        return int(find_card(model_name, among=cls.FAMILIES).dim or 0)
