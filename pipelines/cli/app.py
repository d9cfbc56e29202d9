"""Makes the command lines: without completion and tracebacks of their own, with plain words for options."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

F = TypeVar("F", bound=Callable[..., Any])
# What an option takes, by its type; all else is TEXT.
TAKES: dict[Any, str] = {Path: "PATH", int: "N", float: "NUMBER"}


class Command(TyperCommand):
    """A command whose help shows in a word what an option takes, a flag nothing, and what may be repeated."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **_unwrapped(options))

    def get_params(self, ctx: Any) -> list[Any]:
        """See TyperCommand."""
        return _described(super().get_params(ctx))


class Group(TyperGroup):
    """The same for a command that has others below it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**_unwrapped(options))

    def get_params(self, ctx: Any) -> list[Any]:
        """See TyperGroup."""
        return _described(super().get_params(ctx))


class App(typer.Typer):
    """A typer.Typer of such commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"cls": Group, "add_completion": False, "pretty_exceptions_enable": False, **options})

    def command(self, *args: Any, **options: Any) -> Callable[[F], F]:
        """See typer.Typer."""
        return super().command(*args, **{"cls": Command, **options})


def _unwrapped(options: dict[str, Any]) -> dict[str, Any]:
    """Put each paragraph of the help on one line: Typer would break lines where the source does, and the terminal."""
    return {**options, "help": re.sub(r"(?<!\n)\n(?!\s)", " ", options.get("help") or "") or None}


def _described(params: list[Any]) -> list[Any]:
    for param in params:
        if param.param_type_name != "option":
            continue
        if param.metavar is None:
            # Typer would write <bool>, <int range>, <list[str]>.
            kind: Any = getattr(getattr(param, "type_descriptor", None), "annotation", None)
            param.metavar = "" if param.is_flag else TAKES.get(kind, "TEXT")
        if param.multiple:
            param.help += " May be repeated."
    return params
