"""Dense text models run by ONNX: one vector a text."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.arrow import Precision, dense_array, dense_type, vector_dtype
from embedders.base import Texts, VectorSpec
from embedders.catalog import ModelCard
from embedders.device.pieces import embed_in_pieces
from embedders.device.reductions import PooledTexts
from embedders.errors import ModelFilesError
from embedders.model_options import ModelFiles, Runtime
from embedders.network_model import NetworkModel
from embedders.prompts import RETRIEVAL_TASKS, Prompts, Use, choose_prompts
from embedders.text_model import PROBES
from embedders.texts import text_list

# Tokens a prompt must leave: special ones, and some text.
PROMPT_MARGIN = 4


class DenseModel(NetworkModel):
    """Tokenizer and graph of a catalog model, its pooling and normalization; meets `embedders.base.Embedder`.

    ``max_length`` replaces the limit in the tokenizer's files. ``dim`` cuts vectors to one of the card's Matryoshka
    sizes and scales them to unit length again. ``prompts`` ("auto", "none", or {query: ..., passage: ...}) are put
    before the texts. ``task_id`` (a number or name) chooses the task of a model that has several. ``dtype`` is the
    vectors' type. Raises ModelNotFoundError, ModelFilesError, DeviceError, or ValueError for options the model lacks.
    """

    CARD_OPTIONS = ("tasks", "fixed_width", "layer_norm_before_cut")

    def __init__(
        self,
        card: ModelCard,
        files: ModelFiles,
        runtime: Runtime,
        *,
        max_length: int | None = None,
        dim: int | None = None,
        prompts: Prompts = None,
        task_id: int | str | None = None,
        dtype: Precision = "float32",
    ) -> None:
        self._dtype = vector_dtype(dtype)
        self.card = card
        self._tasks = _checked_tasks(card)
        self._prompts = choose_prompts(card, prompts)
        self._task = None if task_id is None else self._task_number(task_id)
        fixed_width = bool(card.options.get("fixed_width"))
        self._cut = checked_cut(card, dim)
        super().__init__(card, files, runtime, max_length=max_length, fixed_width=fixed_width)

    def check(self) -> None:
        """Load tokenizer and graph."""
        ranks = {"none": (2,), "cls": (2, 3)}.get(self.card.pooling, (3,))
        takes = " or ".join("(texts, tokens, dim)" if rank == 3 else "(texts, dim)" for rank in ranks)
        self.text_model.check_output(ranks, f"pooling {self.card.pooling!r} takes {takes}")
        if self.dim > self.text_model.dim:
            raise ModelFilesError(
                f"{self.card.model}: dim is {self.dim}, and the graph gives {self.text_model.dim} numbers"
            )
        for use, prompt in self._prompts.items():
            room = self.text_model.tokenizer.max_length - self.text_model.tokenizer.count(prompt)
            if room < PROMPT_MARGIN:
                raise ValueError(
                    f"model {self.card.model}: the prompt for a {use} leaves {max(room, 0)} of "
                    f"{self.text_model.tokenizer.max_length} tokens for the text; shorten it or raise max_length"
                )

    def rehearse(self) -> None:
        """Embed texts as documents and as queries."""
        self.embed_arrow(PROBES)
        self.embed_queries_arrow(PROBES)

    @cached_property
    def dim(self) -> int:
        """Numbers in a vector."""
        return self._cut or self.text_model.dim

    @property
    def spec(self) -> VectorSpec:
        """Dense vectors, compared by cosine."""
        return VectorSpec(kind="dense", arrow_type=dense_type(self.dim, self._dtype), dim=self.dim)

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a document's vector; see Embedder."""
        card = self.card
        return self.text_model.fingerprint(
            normalize=card.normalize,
            pooling=card.pooling,
            **_given(
                dim=self._cut,
                prompt=self._prompts.get("passage"),
                task=None if self._task is None else str(self._task),
                dtype=None if self._dtype == np.float32 else self._dtype.name,
                layer_norm=self._cut and card.options.get("layer_norm_before_cut"),
            ),
        )

    def embed_arrow(self, texts: Texts) -> pa.Array:
        """Embed documents as a column of fixed_size_list<float32 or float16>[dim], one entry a text, in order.

        Raises ValueError naming the first text that is not a str of valid Unicode.
        """
        return dense_array(self.embed_array(text_list(texts)))

    def embed_queries_arrow(self, texts: Texts) -> pa.Array:
        """Embed queries with their prompt, and with the task for queries unless ``task_id`` names one without sides."""
        tasks = self._tasks
        retrieval = self._task in (None, tasks.get(RETRIEVAL_TASKS["passage"]))
        task = tasks.get(RETRIEVAL_TASKS["query"]) if retrieval else self._task
        return dense_array(self.embed_array(text_list(texts), use="query", task_id=task))

    def embed_array(
        self,
        texts: list[str],
        *,
        use: Use = "passage",
        task_id: int | str | None = None,
        max_rows: int | None = None,
    ) -> npt.NDArray[np.floating]:
        """Embed texts as one matrix (texts, dim), in order; one model call gets at most ``max_rows``."""
        self.load()
        task = self._task if task_id is None else self._task_number(task_id)
        vectors: npt.NDArray[np.floating]
        vectors = embed_in_pieces(self.text_model, texts, lambda some: self._embed(some, use, task, max_rows))
        return vectors

    def _embed(self, texts: list[str], use: Use, task: int | None, max_rows: int | None) -> npt.NDArray[np.floating]:
        tokens, distinct = self.text_model.tokenize(texts, prompt=self._prompt(use, task))
        vectors = np.empty((len(tokens), self.dim), dtype=self._dtype)
        inputs = self._task_input(task, use)
        for batch in self.text_model.run(tokens, max_rows=max_rows, inputs=inputs, reduction=self._pooled):
            vectors[batch.rows] = batch.values
        return distinct.for_all(vectors)

    @property
    def _pooled(self) -> PooledTexts:
        card = self.card
        return PooledTexts(
            card.pooling,
            card.normalize,
            cut=self._cut,
            layer_norm=bool(card.options.get("layer_norm_before_cut")),
            dtype=self._dtype.name,
        )

    def _prompt(self, use: Use, task: int | None) -> str:
        if task is not None and task not in map(self._tasks.get, RETRIEVAL_TASKS.values()):
            # Cards give prompts for retrieval only.
            return ""
        return self._prompts.get(use, "")

    def _task_number(self, task: int | str) -> int:
        tasks = self._tasks
        if not tasks:
            raise ValueError(f"model {self.card.model} has no tasks: leave task_id out")
        number = tasks.get(task) if isinstance(task, str) else task
        if number is None or number not in tasks.values():
            known = ", ".join(f"{name} ({number})" for name, number in tasks.items())
            raise ValueError(f"model {self.card.model} has no task {task!r}; it has {known}")
        return int(number)

    def _task_input(self, task: int | None, use: Use) -> dict[str, npt.NDArray[Any]]:
        tasks = self._tasks
        if not tasks:
            return {}
        default = tasks[RETRIEVAL_TASKS[use]]
        return {"task_id": np.array(default if task is None else task, dtype=np.int64)}


def _checked_tasks(card: ModelCard) -> Mapping[str, int]:
    tasks = card.options.get("tasks", {})
    numbered = isinstance(tasks, Mapping) and all(type(number) is int for number in tasks.values())
    query, passage = RETRIEVAL_TASKS["query"], RETRIEVAL_TASKS["passage"]
    if not numbered or (tasks and not {query, passage} <= tasks.keys()):
        raise ValueError(
            f"model {card.model}: the option tasks must give numbers to names, {query!r} and {passage!r} among them, "
            f"got {tasks!r}"
        )
    return dict(tasks)


def _given(**facts: Any) -> dict[str, Any]:
    """Facts that are not empty: an option that a model does not use leaves its fingerprint as it is."""
    return {name: value for name, value in facts.items() if value}


def checked_cut(card: ModelCard, dim: int | None) -> int | None:
    """Dimension that vectors are cut to; None: not at all. Raises ValueError where the card does not allow it."""
    if dim is None or dim == card.dim:
        return None
    if dim in card.matryoshka:
        return dim
    sizes = sorted(card.matryoshka)
    if not sizes:
        raise ValueError(f"the vectors of {card.model} cannot be cut: its card names no smaller dimension than its own")
    known = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 10 else ", ".join(map(str, sizes))
    raise ValueError(f"dim {dim} is not one of the sizes that {card.model} can be cut to: {known}")
