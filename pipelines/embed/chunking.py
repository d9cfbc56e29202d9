"""Cuts long documents into chunks by tokens, at the end of a paragraph, sentence or word where one is near.

The splitter is our own because a row keeps each chunk's characters in the document, and because no chunk may have more
tokens than the limit, also when it is tokenized alone.
"""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from more_itertools import constrained_batches
from tokenizers import Encoding, Tokenizer

from embedders.catalog import find_card
from embedders.errors import FleetembedError, ModelNotFoundError
from embedders.files.download import shown_url
from embedders.files.remote import is_remote, local_place
from embedders.files.resolve import resolve_model
from pipelines.config.chunking import ChunkingConfig
from pipelines.errors import ConfigError
from pipelines.rows import CHUNK_SCHEMA, IMAGE_COLUMN, SOURCE_SCHEMA, is_dead

Span = tuple[int, int]

FILE = "tokenizer.json"
# Families whose models have none, and why.
WITHOUT_TOKENIZER = {"bm25": "it takes words as they are", "image": "it embeds images"}

# How good a place is for a cut. Within a token there is none.
NO_PLACE, TOKEN, WORD, SENTENCE, PARAGRAPH = range(5)

_CLOSERS = r"[\"'”’»)\]」』】）]*"
# Scripts that put no space between sentences have marks of their own; any other mark needs a space behind it, and
# a lower-case letter there means that the sentence goes on ("e.g. this").
_SENTENCE_END = re.compile(rf"[。！？]{_CLOSERS}(?![。！？])|[.!?…؟۔।॥]{_CLOSERS}(?=\s+(\S))")
_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n")
_SPACES = np.array([chr(code).isspace() for code in range(0x3002)])

# Tokenizers take longer than in proportion for long texts, and their encodings are large.
SEGMENT_CHARACTERS = 20_000
BATCH_CHARACTERS = 2 << 20
# Tokens differ a little when a chunk is tokenized alone: so often a text is cut again by a smaller measure.
ATTEMPTS = 3


def load_tokenizer(name: str, digest: str | None = None) -> Tokenizer:
    """Load a tokenizer from a folder with a ``tokenizer.json``, from such a file, or of a catalog's model.

    Folder and file may be at a URL. It neither truncates nor pads. ``digest`` is what ``tokenizer_digest`` gave
    where the job was started. Raises ConfigError where there is no such tokenizer, none that can be read, or another.
    """
    path = _tokenizer_place(name)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"chunking.tokenizer: {path} has no {FILE}; choose another model's tokenizer")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    # The library raises nothing more special.
    except Exception as error:
        raise ConfigError(f"chunking.tokenizer: {file} cannot be read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if digest is not None and tokenizer_digest(tokenizer) != digest:
        raise ConfigError(
            f"chunking.tokenizer: machine {socket.gethostname()} has another tokenizer at {file.absolute()} than the "
            "one that the job was planned with: its chunks must not be mixed with others. Put the same file on all "
            "machines"
        )
    return tokenizer


def tokenizer_digest(tokenizer: Tokenizer) -> str:
    """Hex sha256 over all that a tokenizer is, whatever file it was read from."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()


def _tokenizer_place(name: str) -> Path:
    """The folder or file of a tokenizer; one at a URL is copied into the cache."""
    if is_remote(name):
        parts = urlsplit(name)
        above, _, file = parts.path.rpartition("/") if parts.path.endswith(".json") else (parts.path, "", FILE)
        folder = parts._replace(path=above).geturl()
        from embedders.files.mirror import mirrored_file

        try:
            return mirrored_file(folder, file, f"chunking.tokenizer {shown_url(folder)!r}")
        except FleetembedError as error:
            raise ConfigError(str(error)) from None
    path = local_place(name)
    if path.exists():
        return path
    try:
        card = find_card(name)
        if card.family in WITHOUT_TOKENIZER:
            raise ConfigError(
                f"chunking.tokenizer: model {card.model} has no tokenizer ({WITHOUT_TOKENIZER[card.family]}); name a "
                "model that has one, such as that of a dense embedding, or a folder with a tokenizer.json"
            )
        return resolve_model(card)
    except ModelNotFoundError as error:
        where = "" if path.is_absolute() else f" A folder or file of that name would be {str(path.absolute())!r}."
        message = f"chunking.tokenizer: {name!r} is no folder or file here, and {error}{where}"
        raise ConfigError(message) from error


def chunk_table(table: pa.Table, config: ChunkingConfig | None, tokenizer: Tokenizer | None) -> pa.Table:
    """Cut the documents of SOURCE_SCHEMA into rows of CHUNK_SCHEMA; without ``config`` each is one chunk, as it is.

    A chunk's text is the document's from ``chunk_start`` to ``chunk_end``, without spaces around it. Chunks of a
    document hold all of its characters but spaces, and have at most ``max_tokens`` tokens when tokenized alone; only
    a single character that has more by itself stays whole. An empty document, one of spaces or one without text is one
    chunk as it is, and a dead row stays one row. A document's image goes with its first chunk.
    """
    if config is None or tokenizer is None:
        return _whole_documents(table)
    texts: list[str | None] = table["text"].to_pylist()
    spans: list[list[Span]] = [[(0, len(text or ""))] for text in texts]
    live = [row for row, dead in enumerate(is_dead(table)) if not dead]
    cut = chunk_spans([texts[row] or "" for row in live], config, tokenizer)
    for row, found in zip(live, cut, strict=True):
        spans[row] = found
    return _chunk_rows(table, texts, spans)


def _whole_documents(table: pa.Table) -> pa.Table:
    rows = table.num_rows
    ends = pc.fill_null(pc.utf8_length(table["text"]), 0)
    added = [pa.repeat(pa.scalar(0, pa.int32()), rows), pa.repeat(0, rows), ends]
    counts = pa.repeat(pa.scalar(1, pa.int32()), rows)
    return pa.table([*(table[name] for name in SOURCE_SCHEMA.names), *added, counts], schema=CHUNK_SCHEMA)


def _chunk_rows(table: pa.Table, texts: list[str | None], spans: list[list[Span]]) -> pa.Table:
    counts = np.array([len(found) for found in spans], dtype=np.int32)
    rows = np.repeat(np.arange(len(spans)), counts)
    flat = np.array([span for found in spans for span in found], dtype=np.int64).reshape(-1, 2)
    numbers = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    pieces = [
        None if (text := texts[row]) is None else text[start:end] for row, (start, end) in zip(rows, flat, strict=True)
    ]
    # Once for a document: a hundred chunks are not to carry a hundred copies.
    images = pa.array(np.where(numbers == 0, rows, -1), mask=numbers > 0)
    columns = {
        **{
            name: table[name].take(pa.array(rows)) for name in SOURCE_SCHEMA.names if name not in ("text", IMAGE_COLUMN)
        },
        IMAGE_COLUMN: table[IMAGE_COLUMN].take(images),
        "text": pa.array(pieces, pa.large_string()),
        "chunk_no": pa.array(numbers.astype(np.int32)),
        "chunk_start": pa.array(flat[:, 0]),
        "chunk_end": pa.array(flat[:, 1]),
        "chunk_count": pa.array(np.repeat(counts, counts)),
    }
    return pa.table([columns[name] for name in CHUNK_SCHEMA.names], schema=CHUNK_SCHEMA)


def chunk_spans(texts: Sequence[str], config: ChunkingConfig, tokenizer: Tokenizer) -> list[list[Span]]:
    """Character spans [start, end) of each text's chunks, in order."""
    limit = config.max_tokens
    spans = [[_strip(text, 0, len(text)) if text.strip() else (0, len(text))] for text in texts]
    pending: dict[int, _Tokenized] = {}
    for row, (text, offsets) in enumerate(zip(texts, _token_offsets(texts, tokenizer), strict=True)):
        # Tokenized in one piece, and no other than its only chunk: such a text is known to fit.
        known = len(offsets) <= limit and len(text) <= SEGMENT_CHARACTERS and spans[row] == [(0, len(text))]
        if text.strip() and not known:
            pending[row] = _Tokenized(text, offsets, config.boundary)
    measures = dict.fromkeys(pending, limit)
    for _ in range(ATTEMPTS):
        for row, measure in measures.items():
            spans[row] = pending[row].cut(measure, min(config.overlap, measure // 2))
        pieces = [texts[row][start:end] for row in measures for start, end in spans[row]]
        counts = iter(_count_tokens(pieces, tokenizer))
        excess = {row: max(next(counts) for _ in spans[row]) - limit for row in measures}
        measures = {row: max(measures[row] - more, limit * 3 // 4) for row, more in excess.items() if more > 0}
    for row in measures:
        halves = (half for start, end in spans[row] for half in _halves(texts[row], start, end, limit, tokenizer))
        spans[row] = list(_going_on(halves))
    return spans


def _strip(text: str, start: int, end: int) -> Span:
    """Leave out spaces at both ends."""
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return start, start + len(piece.strip())


def _going_on(spans: Iterable[Span]) -> Iterator[Span]:
    """Leave out spans that are empty or go no further than those before them: what is new in them is spaces."""
    reached = 0
    for start, end in spans:
        if start < end and end > reached:
            yield start, end
            reached = end


def _token_offsets(texts: Sequence[str], tokenizer: Tokenizer) -> list[npt.NDArray[np.int64]]:
    """Character offsets (tokens, 2) of each text's tokens."""
    segments = [(row, *segment) for row, text in enumerate(texts) for segment in _segments(text)]
    found: list[list[npt.NDArray[np.int64]]] = [[np.zeros((0, 2), np.int64)] for _ in texts]
    encodings: Iterator[Encoding] = chain.from_iterable(
        tokenizer.encode_batch(batch, add_special_tokens=False)
        for batch in _batches(texts[row][start:end] for row, start, end in segments)
    )
    for (row, start, _), encoding in zip(segments, encodings, strict=True):
        flat = np.fromiter(chain.from_iterable(encoding.offsets), np.int64, count=2 * len(encoding))
        found[row].append(flat.reshape(-1, 2) + start)
    return [np.concatenate(parts) for parts in found]


def _count_tokens(texts: Sequence[str], tokenizer: Tokenizer) -> list[int]:
    batches = (tokenizer.encode_batch_fast(batch, add_special_tokens=False) for batch in _batches(texts))
    return [len(encoding) for batch in batches for encoding in batch]


def _segments(text: str) -> Iterator[Span]:
    """Cut a text before spaces into pieces for the tokenizer."""
    start = 0
    while len(text) - start > SEGMENT_CHARACTERS:
        end = start + SEGMENT_CHARACTERS
        space = max(text.rfind(space, end - SEGMENT_CHARACTERS // 2, end) for space in " \n")
        yield start, (end := space if space > 0 else end)
        start = end
    yield start, len(text)


def _batches(texts: Iterable[str]) -> Iterator[tuple[str, ...]]:
    return constrained_batches(texts, BATCH_CHARACTERS, strict=False)


@dataclass
class _Tokenized:
    """A text and the character offsets of its tokens."""

    text: str
    offsets: npt.NDArray[np.int64]
    boundary: str

    def cut(self, measure: int, overlap: int) -> list[Span]:
        """Spans of chunks that have at most ``measure`` of these tokens, where these can be told apart."""
        if len(self.offsets) <= measure:
            return [_strip(self.text, 0, len(self.text))]
        positions, ranks = self._places
        windows = _windows(ranks, measure, overlap)
        return list(
            _going_on(_strip(self.text, int(positions[first]), int(positions[last])) for first, last in windows)
        )

    @cached_property
    def _places(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
        """Positions of the tokens' starts and of the text's end, and how good each is for a cut."""
        count = len(self.offsets)
        ends = np.maximum.accumulate(self.offsets[:, 1])
        positions = np.append(np.maximum.accumulate(self.offsets[:, 0]), len(self.text))
        positions[0] = 0
        ranks = np.full(count + 1, NO_PLACE, dtype=np.int8)
        # Several tokens may share a character: bytes of an emoji, parts of a ligature.
        ranks[1:count][self.offsets[1:, 0] >= ends[:-1]] = TOKEN
        ranks[count] = PARAGRAPH
        levels = [(WORD, _space_starts(self.text))]
        if self.boundary != "none":
            levels.append((SENTENCE, np.fromiter(_sentence_ends(self.text), np.int64)))
            paragraphs = (match.start() for match in _PARAGRAPH_END.finditer(self.text))
            level = PARAGRAPH if self.boundary == "paragraph" else SENTENCE
            levels.append((level, np.fromiter(paragraphs, np.int64)))
        for level, characters in levels:
            at = np.searchsorted(positions, characters)
            ranks[at[ranks[at] > NO_PLACE]] = level
        return positions, ranks


def _space_starts(text: str) -> npt.NDArray[np.int64]:
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    space = _SPACES[np.minimum(codes, len(_SPACES) - 1)]
    return np.flatnonzero(space & ~np.concatenate([[False], space[:-1]]))


def _sentence_ends(text: str) -> Iterator[int]:
    for match in _SENTENCE_END.finditer(text):
        if not (match[1] and match[1].islower()):
            yield match.end()


def _windows(ranks: npt.NDArray[np.int8], measure: int, overlap: int) -> Iterator[Span]:
    """Cut the tokens [first, last) of chunks: ``ranks[i]`` is the place before token i, or the end."""
    count = len(ranks) - 1
    first = last = 0
    while count - first > measure:
        chosen = _last_place(ranks, first, measure, after=last)
        yield first, chosen
        if chosen == count:
            return
        first, last = _first_place(ranks, max(chosen - overlap, first + 1), chosen), chosen
    yield first, count


def _last_place(ranks: npt.NDArray[np.int8], first: int, measure: int, *, after: int) -> int:
    """Find where a chunk ends: the best place in the last quarter, the last of equals; else the nearest one."""
    end = first + measure
    low = max(end - measure // 4, after + 1)
    window = ranks[low : end + 1][::-1]
    if window.max() > NO_PLACE:
        return int(end - window.argmax())
    earlier = np.flatnonzero(ranks[after + 1 : low])
    if len(earlier):
        return int(after + 1 + earlier[-1])
    return int(end + 1 + (ranks[end + 1 :] > NO_PLACE).argmax())


def _first_place(ranks: npt.NDArray[np.int8], low: int, end: int) -> int:
    """Find where the next chunk starts: the best place in the first quarter of the overlap, else a word in its half."""
    overlap = end - low
    near = ranks[low : low + overlap // 4 + 1]
    if near.max() >= WORD:
        return int(low + near.argmax())
    half = ranks[low : low + overlap // 2 + 1]
    if half.max() >= WORD:
        return int(low + (half >= WORD).argmax())
    return int(low + (ranks[low : end + 1] > NO_PLACE).argmax())


def _halves(text: str, start: int, end: int, limit: int, tokenizer: Tokenizer) -> Iterator[Span]:
    """Halve a span, at a space where one is near, until each part has at most ``limit`` tokens."""
    start, end = _strip(text, start, end)
    if end - start <= 1 or _count_tokens([text[start:end]], tokenizer)[0] <= limit:
        yield start, end
        return
    middle = (start + end) // 2
    space = max(text.rfind(space, start + (end - start) // 4, middle) for space in " \n")
    middle = space if space > start else middle
    yield from _halves(text, start, middle, limit, tokenizer)
    yield from _halves(text, middle, end, limit, tokenizer)
