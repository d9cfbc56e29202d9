"""What the parts of a job's configuration are made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from pipelines.config.shown import cut
from pipelines.errors import ConfigError


def expand_home(path: str) -> str:
    """Put a home folder in the place of a path's leading ``~`` or ``~user``; raises ValueError where there is none."""
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        who = path.partition("/")[0]
        raise ValueError(
            f"{path!r}: no home folder is known for {who} (HOME may be unset); write the whole path"
        ) from None


# A path that is empty would mean the folder the job is started in.
NonEmpty = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")]
# Paths or URLs, in which ``~`` is a home folder. An empty one says nothing, where that may be.
Place = Annotated[NonEmpty, AfterValidator(expand_home)]
MaybePlace = Annotated[str, AfterValidator(expand_home)]


class Section(BaseModel):
    """Base of every part of a job: immutable, and strict about keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _is_section(value: Any) -> str:
    return "<section>" if isinstance(value, dict | Section) else "<word>"


Word = TypeVar("Word")
Part = TypeVar("Part", bound=Section)
# A word, or a section of keys. Without the discriminator, both would complain of what fits neither; the tags in angle
# brackets are left out of messages.
WordOr = Annotated[
    Annotated[Word, Tag("<word>")] | Annotated[Part, Tag("<section>")],
    Discriminator(_is_section),
]


def make_section(kind: type[Part], values: Mapping[str, Any], where: str) -> Part:
    """Check a section that stands by itself, as a caller in Python gives it.

    Raises ConfigError that begins with ``where`` and names each wrong key.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as wrong:
        reasons = []
        for error in wrong.errors():
            key, reason = ".".join(cut(str(part)) for part in error["loc"]), error["msg"].removeprefix("Value error, ")
            reasons.append(f"{key}: {reason}" if key else reason)
        raise ConfigError(f"{where}: {'; '.join(dict.fromkeys(reasons))}") from None
