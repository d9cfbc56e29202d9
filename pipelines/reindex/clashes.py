"""A collection that has the name of a job's alias, which no alias can take then: what it is, and the ways out."""

from __future__ import annotations

from pipelines.reindex.aliases import Alias


def is_taken(alias: Alias) -> bool:
    """Tell whether a collection has the alias's name."""
    return alias.name in alias.collections()


def clash(alias: Alias) -> str:
    """Say in a few words what has the alias's name."""
    if others := _aliases_of(alias):
        return f"{alias.name} is the collection behind alias {others[0]}; name that alias"
    return f"a collection is called {alias.name}, and no alias can be"


def taken(alias: Alias, filled: str) -> str:
    """Say in lines that a collection has the alias's name, and the ways out."""
    if others := _aliases_of(alias):
        return (
            f"{alias.title}: a collection has that name, and it is the collection behind alias {others[0]}, which is "
            f"asked now.\nName that alias in the sink: `alias: {others[0]}`"
        )
    return (
        f"{alias.title}: a collection has that name, which no alias can take then. Either\n"
        "- choose another alias, and let searchers ask that one from now on: no gap; or,\n"
        f"- once {filled} is complete, delete the collection {alias.name} (DELETE /collections/{alias.name})\n"
        "  and switch at once: searches fail from the one to the other, and there is no way back to what it held"
    )


def _aliases_of(alias: Alias) -> list[str]:
    """List the aliases that name the collection of the alias's name."""
    return sorted(name for name, collection in alias.targets().items() if collection == alias.name)
