"""Makes the command lines: without completion and tracebacks of their own, and with flags shown as flags."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

F = TypeVar("F", bound=Callable[..., Any])


class Command(TyperCommand):
    """A command whose flags are shown in its help without a type, which they do not take."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **_unwrapped(options))

    def get_params(self, ctx: Any) -> list[Any]:
        """See TyperCommand."""
        return _without_types_of_flags(super().get_params(ctx))


class Group(TyperGroup):
    """The same for a command that has others below it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**_unwrapped(options))

    def get_params(self, ctx: Any) -> list[Any]:
        """See TyperGroup."""
        return _without_types_of_flags(super().get_params(ctx))


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


def _without_types_of_flags(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_bool_flag", False):
            # Typer would write <bool>.
            param.metavar = ""
    return params
