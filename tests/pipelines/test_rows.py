from __future__ import annotations

import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.identity import NAMESPACE, content_hash, identify, keys64, payload_hash, point_id, text_hash
from pipelines.rows import (
    CHUNK_SCHEMA,
    IDENTIFIED_SCHEMA,
    IMAGE_COLUMN,
    RowError,
    add_errors,
    document_shares,
    is_dead,
    set_column,
)


def chunks(*rows: dict[str, object]) -> pa.Table:
    blank = {"chunk_no": 0, "chunk_start": 0, "chunk_end": 1, "chunk_count": 1, "origin": "here"}
    return pa.Table.from_pylist([{**blank, **row} for row in rows], schema=CHUNK_SCHEMA)


@pytest.mark.parametrize(
    ("document_id", "expected"),
    [
        ("42", "42"),
        ("0", "0"),
        (str(2**64 - 1), str(2**64 - 1)),
        ("67e55044-10b1-426f-9247-bb680e5fe0c8", "67e55044-10b1-426f-9247-bb680e5fe0c8"),
    ],
)
def test_an_id_that_qdrant_takes_is_the_point_id(document_id: str, expected: str) -> None:
    assert point_id("corpus", document_id, 0, chunked=False) == expected


@pytest.mark.parametrize(
    "document_id",
    [
        "json.dumps",
        "007",
        "-1",
        str(2**64),
        "",
        "1.5",
        "٤٢",
        "4\n",
        "67E55044-10B1-426F-9247-BB680E5FE0C8",
        "67e5504410b1426f9247bb680e5fe0c8",
    ],
)
def test_any_other_id_becomes_a_uuid_of_corpus_document_and_chunk(document_id: str) -> None:
    made = point_id("corpus", document_id, 0, chunked=False)
    assert made == str(uuid.uuid5(NAMESPACE, f"corpus/{document_id}/0"))


def test_chunks_of_a_numbered_document_have_ids_of_their_own() -> None:
    made = {point_id("corpus", "42", number, chunked=True) for number in range(3)}
    assert len(made) == 3 and "42" not in made


SHORT = st.text(alphabet="0:ai", max_size=4)
CONTENTS = st.tuples(SHORT, SHORT, st.none() | st.binary(max_size=2))


@given(CONTENTS, CONTENTS)
def test_content_hashes_tell_text_payload_and_image_apart(
    one: tuple[str, str, bytes | None], other: tuple[str, str, bytes | None]
) -> None:
    assert (content_hash(*one) == content_hash(*other)) == (one == other)


def test_content_hashes_of_texts_stay_those_that_sinks_hold() -> None:
    assert content_hash("a text", '{"n": 1}') == "b8b621d848913ff4f4999f6dfde88c7a"
    assert content_hash("a text", '{"n": 1}', None) == content_hash("a text", '{"n": 1}')


def test_a_row_whose_image_alone_changed_counts_as_changed() -> None:
    row = {"document_id": "a", "text": "x", "payload": "{}"}
    table = chunks({**row, IMAGE_COLUMN: b"one"}, {**row, IMAGE_COLUMN: b"two"}, row, {**row, IMAGE_COLUMN: b"one"})
    one, two, none, again = identify(table, "corpus", chunked=False)["content_hash"].to_pylist()
    assert len({one, two, none}) == 3 and again == one
    sliced = identify(table.slice(1), "corpus", chunked=False)["content_hash"].to_pylist()
    assert sliced == [two, none, one]


def test_identify_names_live_rows_and_leaves_dead_ones_nameless() -> None:
    table = chunks(
        {"document_id": "a", "text": "x", "payload": "{}"},
        {"document_id": "b", "text": None, "error": {"stage": "read", "type": "NullText", "message": "text is null"}},
    )
    rows = identify(table, "corpus", chunked=False)
    assert rows.schema.equals(IDENTIFIED_SCHEMA)
    assert [name is None for name in rows["id"].to_pylist()] == [False, True]
    assert [name is None for name in rows["content_hash"].to_pylist()] == [False, True]


def test_text_and_payload_have_hashes_of_their_own_so_that_a_changed_price_leaves_the_text_alone() -> None:
    row = {"document_id": "a", "text": "x", "payload": '{"price": 1}', "chunk_start": 0, "chunk_end": 1}
    table = chunks(
        row,
        {**row, "payload": '{"price": 2}'},
        {**row, "text": "y"},
        {**row, IMAGE_COLUMN: b"one"},
        {**row, "chunk_start": 1},
    )
    for chunked in (False, True):
        rows = identify(table, "corpus", chunked=chunked)
        first, price, text, image, moved = zip(
            rows["text_hash"].to_pylist(), rows["payload_hash"].to_pylist(), strict=True
        )
        assert price[0] == first[0] and price[1] != first[1]
        assert text[0] != first[0] != image[0] and text[1] == first[1] == image[1]
        assert (moved[0] == first[0], moved[1] == first[1]) == (True, not chunked)


def test_hashes_of_text_and_payload_stay_those_that_sinks_hold() -> None:
    assert text_hash("a text") == "5228d4395b2618bf"
    assert text_hash("a text", b"an image") == "9ccb6e9ea5dba603"
    assert payload_hash('{"n": 1}') == "4fe970906782a4cd"
    assert payload_hash('{"n": 1}', (0, 7)) == "f7432016bb282706"


def test_a_chunk_that_moved_or_lost_a_neighbour_counts_as_changed() -> None:
    row = {"document_id": "a", "text": "x", "payload": "{}", "chunk_start": 5, "chunk_end": 6, "chunk_count": 3}
    table = chunks(row, {**row, "chunk_start": 4}, {**row, "chunk_count": 2})
    assert len(set(identify(table, "corpus", chunked=True)["content_hash"].to_pylist())) == 3
    assert len(set(identify(table, "corpus", chunked=False)["content_hash"].to_pylist())) == 1


def test_a_row_keeps_its_first_error() -> None:
    table = add_errors(chunks({"document_id": "a"}, {"document_id": "b"}), {1: RowError("dense", "A", "first")})
    table = add_errors(table, {0: RowError("bm25", "B", "new"), 1: RowError("bm25", "B", "second")})
    assert [error["message"] for error in table["error"].to_pylist()] == ["new", "first"]
    assert is_dead(table).all()


def test_an_errors_message_is_cut_so_that_a_text_cannot_fill_the_report() -> None:
    assert len(RowError.of("dense", ValueError("x" * 10_000)).message) == 500


def test_set_column_replaces_or_appends() -> None:
    table = pa.table({"a": [1]})
    assert set_column(table, "a", pa.array([2]))["a"].to_pylist() == [2]
    assert set_column(table, "b", pa.array([3])).column_names == ["a", "b"]


def test_keys_differ_when_id_or_content_differ() -> None:
    keys = keys64(pa.array(["a", "a", "b"]), pa.array(["1", "2", "1"]))
    assert keys.dtype == np.uint64 and len(set(keys.tolist())) == 3


def test_a_chunk_counts_as_its_share_of_a_document() -> None:
    table = chunks({"document_id": "a", "chunk_count": 4}, {"document_id": "b", "chunk_count": 1})
    assert document_shares(table).tolist() == [0.25, 1.0]
