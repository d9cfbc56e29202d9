"""The catalog and the model cache on the terminal: tables, downloads, checks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from embedders.catalog import ModelCard, describe
from embedders.errors import FleetembedError
from embedders.files.cache import cache_root
from embedders.files.cache_state import cache_state
from embedders.files.resolve import resolve_model, verify_model
from embedders.length_limit import CONFIG
from pipelines.cli.model_list import cached_limit, not_needed, print_list, status_text

OK, FAULTY = 0, 1


def show_models(cards: Sequence[ModelCard], cache_dir: Path | None, console: Console, *, as_json: bool = False) -> None:
    """Print a table of models, a line each, or their facts as JSON."""
    if as_json:
        console.print_json(json.dumps([describe(card) for card in cards]))
        return
    print_list(cards, cache_dir, console)


def show_model(card: ModelCard, cache_dir: Path | None, console: Console, *, as_json: bool = False) -> int:
    """Print all facts of one model, and what the cache holds of it."""
    state = cache_state(card, cache_dir)
    if as_json:
        files = {name: asdict(facts) for name, facts in state.files.items()}
        cached = {
            "status": state.status,
            "cuts_at": cached_limit(state),
            "folder": str(state.folder),
            "revision": state.revision,
            "files": files,
        }
        console.print_json(json.dumps(describe(card) | {"cache": cached}))
        return OK
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in describe(card).items():
        if value not in (None, "", [], {}):
            table.add_row(name, Text(_shown(value)))
    limit, takes_words = cached_limit(state), card.max_tokens is not None
    if limit is not None:
        table.add_row("cuts_at", Text(f"{limit:,} tokens, as {CONFIG} says, unless max_length is given"))
    elif takes_words and not state.files:
        table.add_row("cuts_at", Text(f"where {CONFIG} says, unless max_length is given: not cached yet"))
    table.add_row("cache", status_text(state, card))
    table.add_row("", Text(str(state.folder), style="dim"))
    for name, facts in sorted(state.files.items()):
        table.add_row("", Text(f"{name}  {decimal(facts.size)}  sha256 {facts.sha256[:16]}…", style="dim"))
    console.print(table)
    return OK


def download_models(cards: Sequence[ModelCard], cache_dir: Path | None, console: Console) -> int:
    """Fill the cache; a model that cannot be had is told, and the others go on. Returns 1 if any failed."""
    failed = 0
    for card in cards:
        try:
            folder = resolve_model(card, cache_dir=cache_dir)
        except FleetembedError as error:
            failed += 1
            console.print(Text(str(error), style="red"), soft_wrap=True)
            continue
        state = cache_state(card, cache_dir)
        size = decimal(sum(facts.size for facts in state.files.values()))
        warning = "" if card.commercial_use else f"; licence {card.license}: not for commercial use"
        console.print(Text(f"{card.model}: {size} in {folder}{warning}"), soft_wrap=True)
    if failed:
        console.print(f"{failed} of {len(cards)} models could not be downloaded", style="red")
    return FAULTY if failed else OK


def verify_models(
    cards: Sequence[ModelCard], cache_dir: Path | None, console: Console, *, repair: bool, named: bool
) -> int:
    """Compare cached files with their recorded sha256, and ``repair`` them if wanted.

    Models that are not cached are passed over, unless they were ``named``. Returns 1 if anything is left amiss.
    """
    amiss, checked = 0, 0
    for card in cards:
        state = cache_state(card, cache_dir, verify=True)
        if state.status == "not cached" and not named:
            continue
        checked += 1
        if state.problems and repair:
            verify_model(card, cache_dir=cache_dir)
            state = cache_state(card, cache_dir, verify=True)
        amiss += state.status != "cached" and not not_needed(state, card)
        console.print(
            Text.assemble(f"{card.model}: ", status_text(state, card), f" {len(state.files)} files"), soft_wrap=True
        )
        for name, why in state.problems.items():
            console.print(Text(f"  {name} {why}", style="red"), soft_wrap=True)
    if amiss and not repair:
        console.print("--repair fetches what is damaged or missing", style="dim")
    if not checked:
        console.print(
            Text(f"the cache {cache_root(cache_dir)} holds no model of the catalog", style="dim"), soft_wrap=True
        )
    return FAULTY if amiss else OK


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item!r}" for key, item in value.items() if item is not None)
    if isinstance(value, list):
        shown = [str(item) for item in value]
        return ", ".join(shown) if len(shown) <= 20 else f"{shown[0]} to {shown[-1]}"
    return str(value)
