"""Where a model's files are looked for, and what runs its network: the arguments that all models share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedders.catalog import ModelCard
from embedders.device.settings import BatchSettings
from embedders.session_settings import Cuda, ModelPrecision, OnnxProvider, SessionSettings
from embedders.token_cache import TokenCache


@dataclass(frozen=True)
class ModelFiles:
    """Where a model's files are looked for; the arguments of `embedders.files.resolve.resolve_model`."""

    cache_dir: str | Path | None = None
    specific_model_path: str | Path | None = None
    local_files_only: bool = False

    def folder(self, card: ModelCard) -> Path:
        """Find the card's files, downloading them if need be; raises ModelNotFoundError or ModelFilesError."""
        # Imported here, since only the search for files needs an HTTP client.
        from embedders.files.resolve import resolve_model

        return resolve_model(
            card,
            cache_dir=self.cache_dir,
            specific_model_path=self.specific_model_path or card.path,
            local_files_only=self.local_files_only,
        )

    def chosen_by_user(self, card: ModelCard) -> bool:
        """Whether a user chose the files, so that they may differ from those that the catalog describes."""
        return card.custom or self.specific_model_path is not None

    def known_dim(self, card: ModelCard) -> int | None:
        """Numbers in a vector as the card says, if that holds for these files; None where only the files can tell."""
        return None if self.chosen_by_user(card) else card.dim

    def expected_dim(self, card: ModelCard) -> int | None:
        """Numbers in a vector that the files must give; None where nothing says it before they are read."""
        return card.dim if card.custom else self.known_dim(card)


@dataclass(frozen=True)
class Runtime:
    """What runs a model's network. Families without a network ignore all of it.

    ``threads``, ``cuda``, ``providers``, ``allow_spinning``, ``session_options``, ``session_config``,
    ``provider_options``, ``precision``, ``float32_instead`` and ``use_tf32`` are those of SessionSettings. A text model
    works on all ``device_ids`` at once, other models on the first. ``sessions`` of a device run batches at the same
    time, each with its own copy of the weights (None: two on a GPU for models with files below 600 MB, else one).
    ``batches`` switches how batches are run, for measurements and tests.
    ``lazy_load`` postpones loading to the first text. ``token_budget`` is what one model call may hold in tokens,
    padding included (None: a measured default for the device). ``enable_cpu_mem_arena`` is ONNX Runtime's session
    option: False gives memory back after every call, at some cost of speed. Models that are given one ``token_cache``
    and tokenize alike tokenize the same texts once, on a GPU if their token budgets are equal too.
    """

    threads: int | None = None
    providers: Sequence[OnnxProvider] | None = None
    cuda: Cuda = "auto"
    device_ids: Sequence[int] | None = None
    lazy_load: bool = False
    token_budget: int | None = None
    token_cache: TokenCache | None = None
    allow_spinning: bool = True
    enable_cpu_mem_arena: bool | None = None
    session_options: Mapping[str, Any] = field(default_factory=dict)
    session_config: Mapping[str, str] = field(default_factory=dict)
    provider_options: Mapping[str, Any] = field(default_factory=dict)
    precision: ModelPrecision = "float32"
    float32_instead: bool = False
    use_tf32: bool | None = None
    sessions: int | None = None
    batches: BatchSettings = field(default_factory=BatchSettings)

    def __post_init__(self) -> None:
        if self.token_budget is not None and self.token_budget < 1:
            raise ValueError(f"token_budget must be 1 or more, got {self.token_budget}; None chooses for the device")
        if self.sessions is not None and self.sessions < 1:
            raise ValueError(f"sessions must be 1 or more, got {self.sessions}; None chooses for the device")
        # Invalid settings are refused before any file is looked for.
        self.session_settings()

    def session_settings(self) -> SessionSettings:
        """Settings of the model's session; raises ValueError for values that do not fit together."""
        arena = {} if self.enable_cpu_mem_arena is None else {"enable_cpu_mem_arena": self.enable_cpu_mem_arena}
        return SessionSettings(
            threads=self.threads,
            cuda=self.cuda,
            providers=self.providers,
            device_id=self.device_ids[0] if self.device_ids else None,
            allow_spinning=self.allow_spinning,
            provider_options=self.provider_options or {},
            session_options={**arena, **(self.session_options or {})},
            session_config=self.session_config or {},
            precision=self.precision,
            float32_instead=self.float32_instead,
            use_tf32=self.use_tf32,
        )
