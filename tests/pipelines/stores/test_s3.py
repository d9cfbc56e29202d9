"""URLs of S3, and what of them travels to other processes."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from pyarrow import fs

from pipelines.config.file import load_config
from pipelines.errors import ConfigError
from pipelines.filesystem import open_filesystem
from pipelines.stores.s3 import open_s3, parse_url

ELSEWHERE = "endpoint_override=localhost:1"
BM25: dict[str, Any] = {"source": {"path": "in"}, "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}]}


def options(filesystem: fs.S3FileSystem) -> dict[str, Any]:
    found: dict[str, Any] = filesystem.__reduce__()[1][0]
    return found


@pytest.mark.parametrize(
    "url",
    [
        f"s3://b/x/?{ELSEWHERE}",
        f"s3://b?{ELSEWHERE}",
        f"s3://b/a//b/?{ELSEWHERE}",
        f"s3://b/a%20b+c?region=eu-west-1&{ELSEWHERE}&scheme=http",
        f"s3://key:s%2Fcret@B_x.y/a?{ELSEWHERE}&tls_ca_file_path=/ca.pem",
    ],
)
def test_a_url_means_what_it_means_to_pyarrow(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    theirs, inside = fs.FileSystem.from_uri(url)
    address, path = parse_url(url)
    assert path == inside and open_filesystem(url)[1] == inside
    ours, asked = options(open_s3(address)), options(theirs)
    same = ("access_key", "secret_key", "endpoint_override", "tls_ca_file_path", "anonymous")
    assert {name: ours[name] for name in same} == {name: asked[name] for name in same}
    assert ours["scheme"] == asked["scheme"] or "scheme" not in url
    assert ours["region"] == (asked["region"] or "us-east-1")


@pytest.mark.parametrize(
    ("option", "changed"),
    [
        ("allow_bucket_creation=true", {"allow_bucket_creation": True}),
        ("allow_bucket_deletion=true", {"allow_bucket_deletion": True}),
        ("allow_delayed_open=false", {"allow_delayed_open": False}),
        ("tls_verify_certificates=false", {}),
        ("tls_ca_dir_path=/etc/ssl/certs", {}),
        ("smart_defaults=standard", {}),
    ],
)
def test_all_options_that_pyarrow_knows_are_passed_on(option: str, changed: dict[str, Any]) -> None:
    url = f"s3://key:s%2Fcret@b/x?{ELSEWHERE}&region=r&scheme=http&{option}"
    found = options(open_s3(parse_url(url)[0]))
    expected = {"access_key": "key", "secret_key": "s/cret", "endpoint_override": "localhost:1", "region": "r"}
    expected |= {"scheme": "http", "allow_delayed_open": True, **changed}
    assert {name: found[name] for name in expected} == expected
    assert open_filesystem(url)[1] == "b/x"


@pytest.mark.parametrize(
    ("name", "value", "endpoint", "scheme"),
    [
        ("AWS_ENDPOINT_URL", "http://minio:9000", "minio:9000", "http"),
        ("AWS_ENDPOINT_URL", "https://minio/", "minio", "https"),
        ("AWS_ENDPOINT_URL_S3", "http://s3.lan", "s3.lan", "http"),
    ],
)
def test_the_endpoint_of_the_environment_is_used_where_the_url_has_none(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, endpoint: str, scheme: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://less.important")
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_REGION", "eu-south-2")
    found = options(open_s3(parse_url("s3://b/x")[0]))
    assert (found["endpoint_override"], found["scheme"], found["region"]) == (endpoint, scheme, "eu-south-2")
    found = options(open_s3(parse_url("s3://b/x?endpoint_override=http://other:1&region=r")[0]))
    assert (found["endpoint_override"], found["scheme"], found["region"]) == ("other:1", "http", "r")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3:///x", "a bucket is missing"),
        ("s3://b/x?retry_seconds=soon", "option retry_seconds: write a number of seconds"),
        ("s3://b/x?retry_seconds=-1", "option retry_seconds: write a number of seconds"),
        ("s3://b/x?anonymous=perhaps", "option anonymous: write true or false"),
        ("s3://key:hunter2@b/x?regoin=a", r"s3://b/x: unknown option 'regoin'; known are allow_bucket_creation, "),
    ],
)
def test_a_url_that_is_wrong_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        open_filesystem(url)
    assert "hunter2" not in str(caught.value)


def test_what_travels_to_workers_has_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "hunter1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    filesystem, _ = open_filesystem(f"s3://b/x?{ELSEWHERE}")
    data = pickle.dumps(filesystem)
    assert b"hunter" not in data
    again = pickle.loads(data)
    assert again == filesystem and again.type_name == "py::s3"
    assert "hunter2" not in repr(parse_url("s3://hunter1:hunter2@b/x"))


def test_dead_letters_are_beside_a_report_at_a_url_with_its_options() -> None:
    report = f"s3://b/runs/run.json?{ELSEWHERE}&tls_ca_file_path=/etc/ca.pem"
    config = load_config({**BM25, "sink": {"type": "parquet", "path": "out"}, "report": report})
    assert config.dead_letters == f"s3://b/runs/dead_letters?{ELSEWHERE}&tls_ca_file_path=/etc/ca.pem"


@pytest.mark.parametrize("spelling", ["s3://b/out", "s3://b/out/", "s3://key:hunter2@b/out?region=x", "s3://b/%6Fut"])
def test_dead_letters_in_a_sinks_folder_are_refused_however_it_is_spelled(spelling: str) -> None:
    job = {**BM25, "sink": {"type": "parquet", "path": "s3://b/out"}, "errors": {"path": spelling}}
    with pytest.raises(ConfigError, match=r"errors\.path: s3://b/\S+ is the folder of sink\.0") as caught:
        load_config(job)
    assert "hunter2" not in str(caught.value)
    # Another store's bucket of that name is another place.
    load_config({**job, "errors": {"path": f"s3://b/out?{ELSEWHERE}"}})


def test_one_place_for_two_sinks_is_refused_however_it_is_spelled() -> None:
    sinks = [{"type": "parquet", "path": path} for path in ("s3://b/out", "s3://b/out/?region=x")]
    with pytest.raises(ConfigError, match="the same place is named twice"):
        load_config({**BM25, "sink": sinks})


@pytest.mark.parametrize("url", ["s3://key:hunter2@b/q", "file:///tmp/q"])
def test_a_qdrant_folder_is_on_a_disk(url: str) -> None:
    with pytest.raises(ConfigError, match=r"is a URL, and a collection's folder is on a disk") as caught:
        load_config({**BM25, "sink": {"type": "qdrant", "collection": "c", "path": url}})
    assert "hunter2" not in str(caught.value)
