"""A job's embeddings: the catalog's or users' models that make them."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from embedders.catalog import ModelCard, custom_card, find_card
from embedders.errors import ModelNotFoundError
from embedders.families import FAMILIES, CustomModels, Family, custom_families
from embedders.files.remote import is_remote, last_name, local_place
from embedders.session_settings import CPU_ONLY, ModelPrecision
from pipelines.config.section import MaybePlace, NonEmpty, Place, Section, WordOr


class PromptsConfig(Section):
    """What is put before queries and passages; a use that is left out has no prompt."""

    query: str = Field("", description="Before what is searched for")
    passage: str = Field("", description="Before what is embedded")


CUSTOM_FAMILIES = custom_families()
# Keys of a user's model that only some families know.
FAMILY_FACTS = frozenset(chain.from_iterable(family.facts for family in CUSTOM_FAMILIES.values()))

if TYPE_CHECKING:
    # Type checkers take no computed Literal.
    CustomFamily: TypeAlias = str
else:
    CustomFamily = Literal[tuple(CUSTOM_FAMILIES)]


class CustomModelConfig(Section):
    """A model that no catalog has: the files in a folder or a Hub repository, and what to do with its output."""

    name: NonEmpty | None = Field(None, description="What to call it; left out: the folder's or repository's")
    family: CustomFamily = Field("dense", description="What the graph gives, and how vectors are made of it")
    path: Place | None = Field(None, description="Folder with the model's files, or the URL of one (s3://, gs://, ...)")
    hf: NonEmpty | None = Field(None, description="Repository on the Hugging Face hub")
    model_file: NonEmpty | None = Field(
        None, description="ONNX file; left out: the folder's only one, or onnx/model.onnx of a repository"
    )
    additional_files: list[NonEmpty] = Field(default_factory=list, description="Further files the model needs")
    output: int | str = Field(0, description="Graph output to use, by position or name")
    pooling: Literal["cls", "mean", "last_token", "none"] | None = Field(
        None, description="Of a dense model, where it is needed, or an image model"
    )
    normalize: bool = Field(True, description="Whether a dense model's vectors are scaled to unit length")
    dim: int | None = Field(None, ge=1, description="Numbers in a vector; checked against the graph")
    prompts: PromptsConfig | None = Field(None, description="What the model's card wants before texts")
    matryoshka: list[int] = Field(default_factory=list, description="Smaller dimensions that vectors may be cut to")
    requires_idf: bool | None = Field(None, description="Whether the store is to weigh a sparse model's terms by idf")
    license: str = Field("", description="The model's licence, for people to read")
    options: dict[str, Any] = Field(default_factory=dict, description="Facts that the model's family wants to know")

    @model_validator(mode="after")
    def _is_whole(self) -> CustomModelConfig:
        if (self.path is None) == (self.hf is None):
            raise ValueError("give exactly one of path (a folder) and hf (a repository)")
        for name in type(self).model_fields:
            if name in self.model_fields_set & FAMILY_FACTS and name not in self._known.facts:
                raise ValueError(f"{name} means nothing for a {self.family} model; leave it out")
        for name, choices in self._known.required.items():
            if getattr(self, name) is None:
                raise ValueError(f"{name} is needed: {choices}")
        return self

    @property
    def _known(self) -> CustomModels:
        return CUSTOM_FAMILIES[self.family]

    def card(self) -> ModelCard:
        """Make the catalog card of this model; raises ModelFilesError for a folder without one ONNX file."""
        source = {"path": self.path} if self.path is not None else {"hf": self.hf}
        default = self.hf if self.path is None else _last_name(self.path)
        return custom_card(
            self.family,
            model=self.name or default or "custom",
            sources=source,
            model_file=self._known.model_file if self.model_file is None else self.model_file,
            additional_files=tuple(self.additional_files),
            output=self.output,
            pooling=self.pooling or "none",
            normalize=self.normalize,
            dim=self.dim,
            prompts={} if self.prompts is None else self.prompts.model_dump(),
            matryoshka=tuple(self.matryoshka),
            requires_idf=self._known.requires_idf if self.requires_idf is None else self.requires_idf,
            license=self.license,
            options=self.options,
        )


def _last_name(path: str) -> str:
    return last_name(path) if is_remote(path) else local_place(path).resolve().name


class MuveraConfig(Section):
    """Folds multivectors into single vectors, whose dot product stands for MaxSim (see `embedders.Muvera`).

    The vector has r_reps * 2^k_sim * dim_proj numbers, 10,240 with the defaults, or ``final_dim``.
    """

    k_sim: int = Field(5, ge=1, le=16, description="Hyperplanes that divide the space, into 2^k_sim clusters")
    dim_proj: int = Field(16, ge=1, description="Numbers that a cluster's vector is projected to")
    r_reps: int = Field(20, ge=1, description="Repetitions with other hyperplanes; more are more exact")
    seed: int = Field(42, ge=0, description="Seed of the hyperplanes and projections")
    final_dim: int | None = Field(None, ge=1, description="Numbers of the vector after a last count sketch")
    keep_multivector: bool = Field(
        False, description="Keep the multivectors too, as the vector NAME_multivector, to order candidates by MaxSim"
    )

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments of `Muvera`."""
        chosen = self.model_dump(exclude={"keep_multivector", "seed"})
        return {**chosen, "random_seed": self.seed}


# In the place of a number for ``options.avg_len``: the job measures it over the corpus.
MEASURE = "measure"


# Options that editors are told of; a family takes further ones, which its class documents.
OPTIONS: dict[str, dict[str, Any]] = {
    "cuda": {
        "enum": [True, False, "auto", "cpu", "cuda"],
        "description": "Where the model runs: false keeps it off GPUs, true insists on one; left out, its pool says",
    },
    "providers": {
        "type": "array",
        "items": {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 2, "maxItems": 2}]},
        "description": "ONNX Runtime's execution providers in the place of cuda, the first choice first: names, or "
        "[name, {option: value}]",
    },
    "session_options": {
        "type": "object",
        "description": "Attributes of onnxruntime.SessionOptions, such as {enable_cpu_mem_arena: false}",
    },
    "session_config": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": "Configuration entries of a session, such as {session.set_denormal_as_zero: '1'}",
    },
    "provider_options": {
        "type": "object",
        "description": "Options of the CUDA provider, such as {gpu_mem_limit: '8589934592'}",
    },
    "as_fastembed": {
        "type": "boolean",
        "description": "Of an image model: turn no image upright and drop transparency, as fastembed does; part of the "
        "fingerprint where it is true",
    },
    "avg_len": {
        "anyOf": [{"type": "number"}, {"const": "measure"}],
        "description": "Average length in words (BM25, miniCOIL); measure takes the corpus's",
    },
    "outputs": {
        "type": "array",
        "items": {"enum": ["dense", "sparse", "multivector"]},
        "description": "Vectors to make, of a model that gives several",
    },
}


class EmbeddingConfig(Section):
    """One embedding of each row: its vector's name and the model that makes it."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", description="Name of the vector or column")
    model: WordOr[str, CustomModelConfig] = Field(description="A catalog model's name, or a model of your own")
    family: str | None = Field(
        None, description="image, where a catalog name means a text and an image model (jinaai/jina-clip-v1, siglip2)"
    )
    path: MaybePlace | None = Field(
        None, description="Folder with the catalog model's files, or the URL of one, instead of a download"
    )
    text_path: MaybePlace | None = Field(
        None, description="Of an image model: folder, or URL, with the files of the text model that searches its space"
    )
    cache_dir: MaybePlace | None = Field(None, description="Where downloaded models are kept")
    local_files_only: bool = Field(False, description="Never ask the network for a model")
    max_length: int | None = Field(None, ge=1, description="Token limit below the model's own")
    dim: int | None = Field(None, ge=1, description="Cut vectors to this dimension, where the model's card allows it")
    dtype: Literal["float32", "float16"] | None = Field(None, description="Numbers of dense and token vectors")
    precision: ModelPrecision = Field(
        "float32",
        description="What the network computes with: float16 (GPUs; extra float16), bfloat16 (CPUs that have it; extra "
        "openvino) and int8 (CPUs; extra int8) are faster and less exact; part of the fingerprint",
    )
    prompts: WordOr[Literal["auto", "none"], PromptsConfig] = Field(
        "auto", description="What is put before each text: auto is what the model's card says"
    )
    muvera: MuveraConfig | None = Field(
        None, description="Of a late interaction or multimodal model: fold its multivectors into single vectors"
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description=(
            "Further arguments of the model's family; avg_len: measure takes the corpus's average length; of a model "
            "that gives several vectors, outputs lists those to make (dense, sparse, multivector); cuda, providers and "
            "session_options choose device and session"
        ),
        json_schema_extra={"properties": OPTIONS},  # type: ignore[dict-item]
    )

    @field_validator("prompts", mode="before")
    @classmethod
    def _off_is_none(cls, prompts: Any) -> Any:
        # YAML reads a bare "no" or "off" as false, and an empty value as null.
        return "none" if prompts is False or prompts is None else prompts

    @model_validator(mode="after")
    def _path_is_the_models(self) -> EmbeddingConfig:
        if isinstance(self.model, CustomModelConfig) and self.path is not None:
            raise ValueError("path stands beside a model of your own: write it inside of model")
        return self

    @model_validator(mode="after")
    def _precision_is_a_networks(self) -> EmbeddingConfig:
        if self.precision != "float32" and self._family is not None and not self._family.network:
            raise ValueError(f"precision: {self.model_name} runs no neural network; leave precision out")
        return self

    @model_validator(mode="after")
    def _outputs_are_the_models(self) -> EmbeddingConfig:
        try:
            _ = self.outputs
        except ValueError as error:
            raise ValueError(f"options.{error}") from None
        return self

    @property
    def model_name(self) -> str:
        """The model's name, for people to read; raises as ``card`` does."""
        return self.model if isinstance(self.model, str) else self.card.model

    @property
    def card(self) -> ModelCard:
        """The model's card; raises ModelNotFoundError for a name that no catalog has."""
        if not isinstance(self.model, str):
            return self.model.card()
        return find_card(self.model, among=None if self.family is None else (self.family,))

    @property
    def stays_on_cpu(self) -> bool:
        """Whether no GPU has a use for it, because of its precision."""
        return self.precision in CPU_ONLY

    @property
    def varies_with_batch(self) -> bool:
        """Whether its vectors vary a little with what is embedded beside; raises as ``card`` does."""
        return self.card.varies_with_batch or self.precision == "int8"

    @property
    def outputs(self) -> tuple[str, ...]:
        """Kinds of the vectors that its model makes in one call, if these are several or were chosen among several.

        Empty for other models, also for one that no catalog has. No file is read. Raises ValueError for an option
        ``outputs`` that is no choice.
        """
        family = self._family
        return family.chosen(self.options.get("outputs")) if family is not None and family.gives_several else ()

    @property
    def _family(self) -> Family | None:
        if not isinstance(self.model, str):
            return FAMILIES[self.model.family]
        with suppress(ModelNotFoundError):
            return FAMILIES[self.card.family]
        return None

    def vector_name(self, kind: str) -> str:
        """Name of the model's vector of this kind: the embedding's, or with a suffix where there are others beside."""
        return self.name if len(self.outputs) < 2 and self.muvera is None else f"{self.name}_{kind}"

    @property
    def multivector_name(self) -> str:
        """Name of the multivector beside the vector that it is folded into."""
        return f"{self.name}_multivector"

    @property
    def keeps_multivector(self) -> bool:
        """Whether the multivectors stay beside what MUVERA makes of them."""
        return self.muvera is not None and self.muvera.keep_multivector

    @property
    def vector_names(self) -> list[str]:
        """Names of the vectors it gives each row; with MUVERA, the one that token vectors are folded into first."""
        if self.muvera is None:
            return [self.vector_name(kind) for kind in self.outputs] or [self.name]
        beside = [self.vector_name(kind) for kind in self.outputs if kind != "multivector"]
        return [self.name, *beside, *([self.multivector_name] if self.keeps_multivector else [])]

    @property
    def measures_length(self) -> bool:
        """Whether its average length, the option ``avg_len``, is to be measured over the corpus."""
        return bool(self.options.get("avg_len") == MEASURE)

    def with_avg_len(self, words: float) -> EmbeddingConfig:
        """Copy it with a number of words as ``avg_len``."""
        return self.model_copy(update={"options": {**self.options, "avg_len": float(words)}})

    @property
    def images(self) -> bool:
        """Whether it embeds the rows' images, not their texts; raises as ``card`` does."""
        return FAMILIES[self.card.family].images

    @field_validator("options")
    @classmethod
    def _avg_len_is_a_number(cls, options: dict[str, Any]) -> dict[str, Any]:
        length = options.get("avg_len", MEASURE)
        if length != MEASURE and (isinstance(length, bool) or not isinstance(length, int | float)):
            raise ValueError(f"avg_len is a number of words, or {MEASURE} to take the corpus's average; got {length!r}")
        return options

    @field_validator("options")
    @classmethod
    def _precision_is_no_option(cls, options: dict[str, Any]) -> dict[str, Any]:
        for name in ("precision", "float32_instead"):
            if name in options:
                raise ValueError(f"{name} is no option: write precision beside model")
        return options

    @field_validator("family")
    @classmethod
    def _family_is_known(cls, family: str | None) -> str | None:
        if family is not None and family not in FAMILIES:
            raise ValueError(f"there is no family {family!r}; there are {', '.join(FAMILIES)}")
        return family

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        # Imported by need: the JSON Schema of a job does without Arrow.
        from pipelines.rows import IDENTIFIED_SCHEMA

        if name in IDENTIFIED_SCHEMA.names:
            raise ValueError(f"{name!r} is the name of a column that every row has; choose another")
        return name
