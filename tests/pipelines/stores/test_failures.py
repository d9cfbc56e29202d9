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
        ("google::cloud::Status(UNAUTHENTICATED: Could not create an OAuth2 access token)", "place"),
        ("google::cloud::Status(NOT_FOUND: Permanent error in GetObjectMetadata)", "file"),
        ("google::cloud::Status(UNKNOWN: Retry policy exhausted: EasyPerform() - CURL error [6]=Couldn't)", "passing"),
        ("GetProperties failed for 'c/a'. Azure Error: [AuthenticationFailed] 403 Server failed", "place"),
        ("GetProperties failed for 'c/a'. Azure Error: [] 401 Unauthorized", "place"),
        (
            "GetProperties failed for 'c/] 403 a'. Azure Error: [] Fail to get a new connection for: https://x",
            "passing",
        ),
        ("GetProperties failed for 'c/a'. Azure Error: [BlobNotFound] 404 The specified blob does not exist.", "file"),
        ("Not a regular file: 'c/a'", "file"),
        ("'not found' cannot be read: the device is gone", "passing"),
    ],
)
def test_what_other_stores_deny_or_lack_is_a_files_fault_and_all_else_is_waited_for(text: str, kind: str) -> None:
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
