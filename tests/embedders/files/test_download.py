from __future__ import annotations

import pytest

from embedders.errors import FleetembedError
from embedders.files.download import Deadline, DownloadError, Timeouts, TransientDownloadError, shown_url


def test_limits_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETEMBED_DOWNLOAD_READ", "2.5")
    monkeypatch.setenv("FLEETEMBED_DOWNLOAD_ATTEMPTS", "7")
    assert Timeouts.from_env() == Timeouts(read=2.5, attempts=7)


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan"])
def test_a_limit_that_is_no_positive_number_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FLEETEMBED_DOWNLOAD_TOTAL", value)
    with pytest.raises(FleetembedError, match=f"FLEETEMBED_DOWNLOAD_TOTAL is '{value}'"):
        Timeouts.from_env()


def test_secrets_in_a_url_are_not_shown() -> None:
    assert shown_url("https://user:pass@host:8443/a/b?Signature=s#x") == "https://host:8443/a/b"
    assert shown_url("https://user:p@ss@host/a") == "https://host/a"


def test_a_deadline_that_is_over_names_the_place_and_the_limit() -> None:
    deadline = Deadline(Timeouts(total=1e-9))
    with pytest.raises(DownloadError, match=r"hub/a: the download took longer than 1e-09 s"):
        deadline.remaining("hub/a")


@pytest.mark.parametrize(
    ("error", "calls"), [(TransientDownloadError("busy"), 3), (DownloadError("gone"), 1)], ids=["passing", "lasting"]
)
def test_only_what_may_pass_is_tried_again(error: DownloadError, calls: int) -> None:
    asked = []

    def work() -> None:
        asked.append(1)
        raise error

    with pytest.raises(DownloadError, match=str(error)):
        Deadline(Timeouts(attempts=3, backoff=0.001)).retried(work)
    assert len(asked) == calls
