"""What errors of stores are taken for, among them those of stores that no test has."""

from __future__ import annotations

import pytest

from pipelines.stores.failures import judge


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("google::cloud::Status(UNAVAILABLE: try again later)", "passing"),
        ("google::cloud::Status(PERMISSION_DENIED: no access to docs/503/UNAVAILABLE.txt)", "file"),
        ("GetProperties failed for 'c/a'. Azure Error: [ServerBusy] 503 The server is busy.", "passing"),
        ("GetProperties failed for 'c/a'. Azure Error: [AuthorizationFailure] 403 not authorized", "file"),
        ("Cannot open: the device is gone", "file"),
    ],
)
def test_only_codes_of_failures_that_pass_are_waited_for(text: str, kind: str) -> None:
    failure = judge(OSError(text))
    assert failure.kind == kind and text in failure.told


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("AWS Error SERVICE_UNAVAILABLE during GetObject operation: ", "passing", "answered 503 to GetObject"),
        ("AWS Error UNKNOWN (HTTP status 429) during GetObject operation: ", "passing", "answered 429 to GetObject"),
        ("AWS Error UNKNOWN during GetObject operation: ", "passing", "answered an error without a code to GetObject"),
        ("AWS Error of a kind that is new", "passing", "failed: AWS Error of a kind that is new"),
        ("AWS Error ACCESS_DENIED during GetObject operation: ", "file", "denies access (403, GetObject)"),
        ("AWS Error RESOURCE_NOT_FOUND during GetObject operation: ", "file", "RESOURCE_NOT_FOUND"),
        ("AWS Error [code 136] during GetObject operation: The object is archived", "file", "The object is archived"),
        ("AWS Error UNKNOWN (HTTP status 301) during GetObject operation: ", "place", "?region=NAME in the URL"),
        (
            "AWS Error INTERNAL_FAILURE during GetObject operation: Failed to flush response stream (eof: 0, bad: 1)",
            "passing",
            "it may be busy, or deny this file",
        ),
    ],
)
def test_answers_of_s3_without_a_body_are_told_apart(text: str, kind: str, words: str) -> None:
    failure = judge(OSError(text))
    assert failure.kind == kind and words in failure.told
