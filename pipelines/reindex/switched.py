"""A job that copies a collection, behind its switch: the alias names what it filled, and writers write there."""

from __future__ import annotations

from pipelines.config.job import JobConfig
from pipelines.errors import SinkError
from pipelines.reindex.aliases import Alias, Before
from pipelines.reindex.origin import reads_server_of_alias
from pipelines.sinks.qdrant.collection import Collection
from pipelines.sinks.qdrant.description import CATCHING_UP


def refuse_switched(config: JobConfig, alias: Alias, filled: Collection) -> None:
    """Raise SinkError where a run would copy the old collection over what writers do in the new one since a switch."""
    if not reads_server_of_alias(config) or alias.target() != filled.name:
        return
    source, info = config.source.qdrant, filled.info()
    assert source is not None
    metadata = (info.config.metadata or {}) if info is not None else {}
    before = Before.of(info) if info is not None else None
    read = alias.targets().get(source.collection, source.collection)
    lines = [f"{alias.title} names {filled.name}: the switch has happened, and writers write there now."]
    if isinstance(left := metadata.get(CATCHING_UP), str):
        lines.append(
            f"It was stopped before it had copied what was written to {left} at the last: give "
            "`fleetembed reindex switch` again, which goes on with that."
        )
    if read == filled.name:
        lines.append(f"source.qdrant reads {source.collection}, which is that collection: there is nothing to copy.")
    else:
        lines.append(
            f"A run would copy {read} again: bring back what was deleted in {filled.name} since, and replace or delete "
            "what was copied and has changed. Nothing was changed."
        )
    previous = before.collection if before is not None else None
    back = "`fleetembed reindex rollback`" if previous else "delete the alias, which named nothing before"
    lines += [
        "What next:",
        "- new and changed documents go in by a job over their files, with the same embeddings and alias;",
        f"- to let {previous or 'the old collection'} be the truth again, {back}, and run after that;",
        "- another model, or a copy beside this one: change the embeddings, or give another alias.",
    ]
    raise SinkError("\n".join(lines))
