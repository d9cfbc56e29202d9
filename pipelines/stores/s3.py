"""Opens S3, and stores that speak its protocol, by URL: ``s3://bucket/key?region=…&endpoint_override=…``."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from pyarrow import fs

from pipelines.errors import ConfigError
from pipelines.urls import decode

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
# Of stores with an endpoint of their own, which have no regions as a rule.
DEFAULT_REGION = "us-east-1"
CONNECT_SECONDS = 5.0
# Attempts that the client makes by itself, within seconds; see ``store.py`` for those after them.
ATTEMPTS = 3
_TEXTS = frozenset(("region", "scheme", "endpoint_override", "tls_ca_file_path"))
_FLAGS = frozenset(
    ("anonymous", "force_virtual_addressing", "allow_bucket_creation", "allow_bucket_deletion", "allow_delayed_open")
)
# pyarrow takes these in a URL alone.
_OF_URLS = frozenset(("tls_verify_certificates", "tls_ca_dir_path", "smart_defaults"))
_RETRY = "retry_seconds"
OPTIONS = _TEXTS | _FLAGS | _OF_URLS | {_RETRY}


@dataclass(frozen=True)
class S3Address:
    """What a URL says of the store that a bucket is in; ``options`` are pairs of name and value."""

    bucket: str
    access_key: str | None = field(repr=False)
    secret_key: str | None = field(repr=False)
    options: tuple[tuple[str, str], ...] = ()


def parse_url(url: str) -> tuple[S3Address, str]:
    """Take a URL apart into the address of its store and the path in it, which begins with the bucket.

    Raises ConfigError, which says what is wrong, for a URL without a bucket or with an unknown option.
    """
    body, _, query = url.partition("?")
    host, _, key = body.partition("://")[2].partition("/")
    user, _, bucket = host.rpartition("@")
    access, _, secret = user.partition(":")
    bucket = bucket.partition(":")[0]
    if not bucket:
        raise ConfigError("a bucket is missing; write s3://bucket/key")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in options.items():
        if name not in OPTIONS:
            raise ConfigError(f"unknown option {name!r}; known are {', '.join(sorted(OPTIONS))}")
        if (name in _FLAGS or name == "tls_verify_certificates") and value.lower() not in ("true", "false"):
            raise ConfigError(f"option {name}: write true or false")
    retry_seconds(options)
    address = S3Address(bucket, unquote(access) or None, unquote(secret) or None, tuple(sorted(options.items())))
    return address, f"{bucket}/{decode(key)}".rstrip("/")


def retry_seconds(options: Mapping[str, str]) -> float | None:
    """Read the option that says how long a request is tried again; raises ConfigError where it is no such number."""
    text = options.get(_RETRY)
    try:
        found = None if text is None else float(text)
    except ValueError:
        found = -1.0
    if found is not None and not 0 <= found < math.inf:
        raise ConfigError(f"option {_RETRY}: write a number of seconds from 0 on")
    return found


def open_s3(address: S3Address) -> fs.S3FileSystem:
    """Open a client; credentials that the address does not name are looked for where AWS's own tools do so.

    The endpoint is the address's, else the environment's (ENDPOINTS), else AWS's own of the bucket's region. Raises
    OSError where AWS cannot be asked for the region, and the environment (REGIONS) names none.
    """
    options = dict(address.options)
    texts: dict[str, Any] = {name: options[name] for name in _TEXTS if options.get(name)}
    flags = {name: options[name].lower() == "true" for name in _FLAGS if name in options}
    endpoint = texts.get("endpoint_override") or next(filter(None, map(os.environ.get, ENDPOINTS)), "")
    if endpoint:
        scheme, found, host = endpoint.rpartition("://")
        texts["endpoint_override"] = host.rstrip("/")
        texts.setdefault("scheme", scheme if found else "https")
        texts.setdefault("region", _environment_region() or DEFAULT_REGION)
    if "region" not in texts:
        texts["region"] = _region(address.bucket)
    if _OF_URLS & options.keys():
        return _open_by_url(address, texts | {name: options[name] for name in (_FLAGS | _OF_URLS) & options.keys()})
    # A small file is one request then, and not the three of an upload in parts.
    flags.setdefault("allow_delayed_open", True)
    return fs.S3FileSystem(
        **texts,
        **flags,
        access_key=address.access_key,
        secret_key=address.secret_key,
        connect_timeout=CONNECT_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )


def _open_by_url(address: S3Address, options: Mapping[str, str]) -> fs.S3FileSystem:
    """Open a client by options that only a URL has; how long it waits for a connection is its own choice."""
    user = (
        f"{quote(address.access_key, safe='')}:{quote(address.secret_key or '', safe='')}@"
        if address.access_key
        else ""
    )
    query = urlencode({"allow_delayed_open": "true", **options}, quote_via=quote)
    return fs.FileSystem.from_uri(f"s3://{user}{address.bucket}?{query}")[0]


@lru_cache(maxsize=256)
def _region(bucket: str) -> str:
    try:
        found: str = fs.resolve_s3_region(bucket)
    except OSError:
        # Where the network leads to one region alone.
        region = _environment_region()
        if region is None:
            raise
        return region
    return found


def _environment_region() -> str | None:
    return next(filter(None, map(os.environ.get, REGIONS)), None)
