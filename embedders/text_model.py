"""Tokenizer and graph of one ONNX text model, run over token-budget batches; every ONNX text family uses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from embedders.base import EmbedStats, Texts
from embedders.batching import GPU_BUDGET, default_token_budget
from embedders.catalog import ModelCard
from embedders.device.memory import Activations, TokenBudget, free_memory
from embedders.device.reductions import Reduction
from embedders.device.sessions import SessionPool, open_pool
from embedders.device.tensorrt import most_rows, with_tensorrt_options
from embedders.device.text_batches import Inputs
from embedders.device.text_runner import TextRunner
from embedders.errors import ModelFilesError
from embedders.files.digest import files_digest
from embedders.files.folder import model_files
from embedders.fingerprint import facts_digest
from embedders.graph_outputs import declared_inputs, declared_width
from embedders.graph_session import GraphSession
from embedders.length_counts import count_lengths
from embedders.model_options import ModelFiles, Runtime
from embedders.positions import positions_of, warn_of_positions
from embedders.precision import load_graph, precision_facts
from embedders.prompts import add_prompt
from embedders.session_settings import SessionSettings
from embedders.texts import DistinctTexts, text_list
from embedders.tokenization import TextTokenizer, load_tokenizer, refuse_invalid
from embedders.tokenized_texts import TokenizedTexts
from embedders.travel import UnloadedWithFolder

NO_EXTRA_INPUTS: Mapping[str, npt.NDArray[Any]] = {}
NO_DEFAULTS: Mapping[str, Any] = {}
# Of different lengths, so that a graph that takes one text at a time, or mixes texts up, is noticed.
PROBES = ("a", "a a a")
# For tokenizers without a limit.
MOST_TOKENS = 1 << 20
# One lock for all models, since a model that holds a lock cannot be pickled.
COUNTING = Lock()


@dataclass(frozen=True)
class BatchOutput:
    """One output of the graph for one batch.

    ``rows`` (rows,) are positions among the texts given, ``values`` the graph's output, rows first, ``ids`` (int64)
    and ``mask`` (bool, False at padding) are (rows, tokens) as they were fed.
    """

    rows: npt.NDArray[np.intp]
    values: npt.NDArray[Any]
    ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]


class TextModel(UnloadedWithFolder):
    """A card's tokenizer and graph, each loaded when first used. ``stats`` counts what went through it.

    The constructor looks the files up. ``max_length`` replaces the limit in the tokenizer's files, ``reserved`` tokens
    of which stay free for markers; ``fixed_width`` pads every batch to the limit, for graphs that pool the last
    position. ``tokenizer_defaults`` stand for tokenizer_config.json where that is missing. ``token_cache`` is the
    runtime's, and may be set to None. Raises ModelNotFoundError or ModelFilesError.
    """

    def __init__(
        self,
        card: ModelCard,
        files: ModelFiles,
        runtime: Runtime,
        *,
        max_length: int | None = None,
        reserved: int = 0,
        fixed_width: bool = False,
        tokenizer_defaults: Mapping[str, Any] = NO_DEFAULTS,
    ) -> None:
        if max_length is not None and max_length < 1:
            raise ValueError(f"max_length must be 1 or more, got {max_length}; None takes the model's own")
        if fixed_width and card.max_tokens is not None and (max_length or 0) > card.max_tokens:
            raise ValueError(f"{card.model} has {card.max_tokens} positions, and max_length is {max_length}")
        self.card = card
        self._files = files
        _ = self.folder
        self.stats = EmbedStats()
        self.settings, self._cache_dir = runtime.session_settings(), files.cache_dir
        self.known_dim, self.expected_dim = files.known_dim(card), files.expected_dim(card)
        self._budget, self.token_cache = runtime.token_budget, runtime.token_cache
        self._sessions, self._device_ids = runtime.sessions, tuple(dict.fromkeys(runtime.device_ids or ()))
        self._batch_settings = runtime.batches
        self._max_length, self._reserved, self._fixed_width = max_length, reserved, fixed_width
        self._tokenizer_defaults = tokenizer_defaults

    @cached_property
    def folder(self) -> Path:
        """Folder of the model's files."""
        return self._files.folder(self.card)

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer with the limit in force."""
        tokenizer = load_tokenizer(
            self.folder, max_length=self._max_length, reserved=self._reserved, defaults=self._tokenizer_defaults
        )
        warn_of_positions(self.folder, tokenizer.max_length + self._reserved)
        return tokenizer

    @cached_property
    def session(self) -> GraphSession:
        """The loaded graph, in the first of its sessions."""
        return self._load(self.settings)

    def _load(self, settings: SessionSettings) -> GraphSession:
        if settings.providers is not None:
            # Imported here, since only the search for files needs it otherwise.
            from embedders.files.cache import cache_root

            settings = with_tensorrt_options(
                settings,
                declared_inputs(self.folder / self.card.model_file),
                longest=self._longest,
                budget=self._budget or GPU_BUDGET,
                cache=cache_root(self._cache_dir) / "tensorrt",
                model=self.card.model,
            )
        return load_graph(self.card, self.folder, settings, cache_dir=self._cache_dir)

    @cached_property
    def _longest(self) -> int:
        """Tokens of the longest text there can be."""
        longest = min(self.tokenizer.max_length + self._reserved, MOST_TOKENS)
        return min(longest, positions_of(self.folder) or longest)

    @cached_property
    def output(self) -> str:
        """Name of the graph's output in use; raises ModelFilesError where the graph has none of that name."""
        return self.session.output_name(self.card.output)

    @cached_property
    def token_budget(self) -> int:
        """Tokens, padding included, of one model call."""
        if self._budget is not None:
            return self._budget
        return default_token_budget(threads=self.settings.effective_threads, on_gpu=self.session.on_gpu)

    @cached_property
    def runner(self) -> TextRunner:
        """All sessions of the graph, one or several on each device, of which ``session`` is the first."""
        pool = open_pool(self.session, self._load, self.settings, devices=self._device_ids, sessions=self._sessions)
        return TextRunner(
            pool,
            self._memory_budget(pool),
            self._batch_settings.resolved(on_gpu=self.session.on_gpu),
            longest=self._longest,
            width=self.tokenizer.max_length if self._fixed_width else 0,
            max_rows=most_rows(self.settings, self._budget or GPU_BUDGET),
        )

    def _memory_budget(self, pool: SessionPool) -> TokenBudget:
        """Tokens of one model call: ``token_budget``, or less where a GPU has no memory for them."""
        if not self.session.on_gpu:
            return TokenBudget(self.token_budget, model=self.card.model)
        activations = Activations.of_folder(self.folder, self.session.output_width(self.output) or self.dim)
        free = min(filter(None, map(free_memory, pool.devices)), default=None)
        each = len(pool.sessions) // len(pool.devices)
        return TokenBudget(self.token_budget, model=self.card.model, activations=activations, free=free, sessions=each)

    def warm_up(self) -> None:
        """On a GPU, run the largest batch there can be in each session, so that what does not fit is noticed now."""
        if self.session.on_gpu:
            self.runner.warm_up([self.output], self.tokenizer.padding)

    @cached_property
    def dim(self) -> int:
        """Numbers in a vector of the graph: the catalog's, or for files that a user chose what the graph gives.

        Raises ModelFilesError where the graph gives others than a user's card says.
        """
        if self.known_dim is not None:
            return self.known_dim
        # A driver, which embeds nothing, need not load the weights.
        width = declared_width(self.folder / self.card.model_file, self.card.output)
        width = width or self.session.output_width(self.output) or self.probe().values.shape[-1]
        if self.expected_dim not in (None, width):
            raise ModelFilesError(
                f"{self.card.model}: the graph's output {self.output!r} gives {width} numbers, and dim says "
                f"{self.expected_dim}; {self._outputs()}"
            )
        return int(width)

    def check_output(self, ranks: tuple[int, ...], meaning: str) -> None:
        """Load the graph, run it on two texts, and raise ModelFilesError unless its output has one of these ranks.

        ``meaning`` is what the family takes, for the message: "pooling 'mean' needs (texts, tokens, dim)".
        """
        probed = self.probe()
        values, tokens = probed.values, probed.ids.shape[1]
        fits = values.ndim in ranks and len(values) == len(PROBES)
        # The tokens' axis is the second of three, and the third and fourth of four.
        if fits and values.ndim > 2:
            fits = values.shape[values.ndim - 2] == tokens
        if not fits:
            raise ModelFilesError(
                f"{self.card.model}: for {len(PROBES)} texts of {tokens} tokens the output {self.output!r} has shape "
                f"{values.shape}, and {meaning}; {self._outputs()}"
            )
        if self.known_dim not in (None, values.shape[-1]):
            raise ModelFilesError(
                f"{self.card.model}: the graph gives {values.shape[-1]} numbers, the catalog says {self.known_dim}"
            )

    def probe(self) -> BatchOutput:
        """Run the graph on some short texts, uncounted; raises ModelFilesError where it fails."""
        return self.probe_outputs([self.output])[0]

    def probe_outputs(self, outputs: Sequence[str]) -> tuple[BatchOutput, ...]:
        """Give some outputs of the graph, by name, as ``probe`` gives the one in use."""
        tokens = self.tokenizer.encode(PROBES)
        rows = np.arange(len(PROBES))
        padded = tokens.padded(rows, width=self.tokenizer.max_length if self._fixed_width else 0)
        feed = {"input_ids": padded.ids, "attention_mask": padded.real.astype(np.int64)}
        feed |= {name: np.zeros(shape, np.int64) for name, shape in self._other_inputs(padded.ids.shape).items()}
        try:
            results = self.session.run_outputs(outputs, feed)
        except Exception as error:
            raise ModelFilesError(f"{self.card.model}: the graph cannot embed texts: {error}") from error
        return tuple(BatchOutput(rows, values, padded.ids, padded.real) for values in results)

    def tokenize(self, texts: list[str], *, prompt: str = "") -> tuple[TokenizedTexts, DistinctTexts]:
        """Tokenize texts behind a prompt, identical ones once; returns tokens of the distinct texts, and these."""
        texts = add_prompt(prompt, texts)
        try:
            distinct = DistinctTexts.of(texts)
            with self._turn():
                started = perf_counter()
                tokens = self._encode(distinct.texts)
                seconds = perf_counter() - started
        except (TypeError, ValueError):
            # Named by its position among the texts given, not among the distinct ones.
            refuse_invalid(texts)
            raise
        self.count(tokens, distinct.inverse, seconds)
        unknown = int(self.tokenizer.mostly_unknown(tokens, prompt)[distinct.inverse].sum())
        with COUNTING:
            self.stats.unknown += unknown
        # What a model is tried with when it is loaded is nobody's text.
        if unknown and texts != add_prompt(prompt, list(PROBES)):
            self.tokenizer.warn_of_unknown(unknown, len(texts))
        return tokens, distinct

    def _encode(self, texts: list[str]) -> TokenizedTexts:
        cache = self.token_cache
        return self.tokenizer.encode(texts) if cache is None else cache.encode(self.tokenizer, texts)

    def _turn(self) -> AbstractContextManager[Any]:
        """On a GPU, few threads at once: if all tokenize at the same time, the GPU has no work meanwhile."""
        runner: TextRunner | None = self.__dict__.get("runner")
        return nullcontext() if runner is None or not runner.settings.ahead else runner.tokenizing

    def count(self, tokens: TokenizedTexts, inverse: npt.NDArray[np.intp], seconds: float) -> None:
        """Add tokenized texts to the counters; ``inverse`` has each given text's position among the tokenized ones."""
        lengths = count_lengths(tokens.lengths[inverse])
        with COUNTING:
            self.stats.rows += len(inverse)
            self.stats.length_counts = self.stats.length_counts + lengths
            self.stats.truncated += int(tokens.truncated[inverse].sum())
            self.stats.tokenize_seconds += seconds

    def count_model_seconds(self, seconds: float) -> None:
        """Add the time that vectors took to be made of what the graph gave; several threads may count at once."""
        with COUNTING:
            self.stats.model_seconds += seconds

    def run(
        self,
        tokens: TokenizedTexts,
        *,
        max_rows: int | None = None,
        counted: bool = True,
        inputs: Inputs = NO_EXTRA_INPUTS,
        reduction: Reduction | None = None,
    ) -> Iterator[BatchOutput]:
        """Run the graph batch by batch for its output in use, of which ``reduction`` is kept; see ``run_outputs``."""
        limits: dict[str, Any] = {"max_rows": max_rows, "counted": counted, "inputs": inputs}
        for (batch,) in self.run_outputs([self.output], tokens, reductions=[reduction], **limits):
            yield batch

    def run_outputs(
        self,
        outputs: Sequence[str],
        tokens: TokenizedTexts,
        *,
        max_rows: int | None = None,
        counted: bool = True,
        inputs: Inputs = NO_EXTRA_INPUTS,
        reductions: Sequence[Reduction | None] | None = None,
    ) -> Iterator[tuple[BatchOutput, ...]]:
        """Run the graph batch by batch, whenever the caller asks for the next; longest texts first.

        Each batch is one call, which gives ``outputs`` (names) in this order, or what ``reductions`` keep of each.
        On a GPU, some batches are prepared and run before they are asked for. ``inputs`` are fed with every batch
        beside the tokens; a function makes them for the batch's number of texts. Where the tokens have no types, zeros
        are fed, since embedding models see one segment. ``counted`` adds to the counters.
        """
        kept = [None] * len(outputs) if reductions is None else reductions
        for done in self.runner.run(tokens, outputs, kept, max_rows=max_rows, inputs=inputs):
            batch = done.batch
            if counted:
                with COUNTING:
                    self.stats.tokens += int(batch.mask.sum())
                    self.stats.padded_tokens += batch.padded.real.size
                    self.stats.model_seconds += done.seconds
            yield tuple(BatchOutput(batch.rows, values, batch.ids, batch.mask) for values in done.values)

    def token_count(self, texts: Texts) -> int:
        """Count the tokens the model would get, after truncation, special tokens included."""
        return int(self.tokenizer.encode(text_list(texts)).offsets[-1])

    def fingerprint(self, **facts: Any) -> str:
        """Hex sha256 over files, tokenizer, length, output and the family's further ``facts``."""
        shared = {
            "files": files_digest(self.folder, model_files(self.card, self.folder)),
            "max_length": self.tokenizer.max_length,
            "model_file": self.card.model_file,
            "output": self.card.output,
            **precision_facts(self.card, self.settings.precision),
        }
        return facts_digest({**shared, **facts})

    def _other_inputs(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs beside ids and mask: token types are as large as the ids, a task is a scalar."""
        known = {"token_type_ids": shape, "task_id": ()}
        return {name: known[name] for name in known if name in self.session.inputs}

    def _outputs(self) -> str:
        return f"the graph's outputs are {self.session.describe_outputs()}"
