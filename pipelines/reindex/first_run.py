"""The run that makes an alias: where it names nothing yet, the new collection has none to be held against.

Nobody's searches change by it, so that it needs neither a verification nor a switch.
"""

from __future__ import annotations

from pipelines.config.job import JobConfig
from pipelines.reindex.aliases import Alias, Before
from pipelines.reindex.clashes import is_taken, taken
from pipelines.reindex.origin import reads_server_of_alias
from pipelines.sinks.qdrant.collection import Collection
from pipelines.sinks.qdrant.description import BEFORE, CATCHING_UP, is_complete, utc_now


def foretell(config: JobConfig, alias: Alias, filled: str) -> str:
    """Say what a run will do with the alias."""
    now = alias.target()
    if now == filled:
        return f"a run adds to {now}, which searchers ask; there is nothing to switch"
    if now is not None:
        return f"a run fills {filled} and leaves the alias; after verify, switch lets it name that one"
    if is_taken(alias):
        return f"a run fills {filled} and makes no alias. {taken(alias, filled)}"
    if (why := _why_not(config)) is not None:
        return f"a run fills {filled} and makes no alias, since {why}"
    return f"a run fills {filled} and, at its end, makes the alias, which names nothing yet; there is nothing to switch"


def make_alias(config: JobConfig, alias: Alias, filled: Collection) -> str:
    """Make the alias after a run that came to its end, where that is the run's to do; says what the alias names."""
    now, name = alias.target(), filled.name
    if now == name:
        return f"{name} is filled; {alias.title} names it"
    if now is not None:
        return f"{name} is filled; {alias.title} names {now}: next is verify, then switch, which lets it name {name}"
    if is_taken(alias):
        return f"{name} is filled. {taken(alias, name)}"
    if (why := _why_not(config) or _why_unfit(filled)) is not None:
        return f"{name} is filled; {alias.title} is not made, since {why}"
    # Before the alias: whoever dies in between has made a collection that another run lets it name.
    filled.remember({BEFORE: Before(None, utc_now()).to_text(), CATCHING_UP: None})
    alias.point_at(name)
    return f"{name} is filled; {alias.title} named nothing and names it now"


def _why_not(config: JobConfig) -> str | None:
    """Say why a job's runs do not make the alias, and what does; None where they do."""
    if config.source.limit is not None:
        return f"source.limit is {config.source.limit:,}, and searchers are to find all: a run without it makes it"
    if reads_server_of_alias(config):
        return (
            "the job copies a collection that lives on, with which the copy is to be compared: next is verify, then "
            "switch, which makes it"
        )
    return None


def _why_unfit(filled: Collection) -> str | None:
    if is_complete(filled.existing()) is False:
        return "another job is filling the collection: a run after it makes it"
    return None if filled.count() else "the collection is empty: look at the job's source"
