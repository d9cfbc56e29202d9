"""The command ``fleetembed``, each of whose commands is imported when it is called."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from pipelines.cli.app import App, Group
from pipelines.cli.start import start

# By a command's name: the module of pipelines.cli that has its ``app``, and what --help says of it.
COMMANDS = {
    "embed": ("embed", "Embed a corpus into Qdrant collections or Parquet files, or add what is new."),
    "reindex": ("reindex", "Replace a live collection by a new one, without a gap, and go back."),
    "search": ("search", "Search what a job has filled, with the models that filled it."),
    "evaluate": ("evaluate", "Measure how well a job's models find, on a BEIR data set."),
    "report": ("report", "Show a run's report as a page, or compare those of two runs."),
    "doctor": ("doctor", "Look at this machine: GPUs, providers, memory, disk, the hub, Ray."),
    "models": ("models", "Look at the catalog of models and at the cache of their files."),
}


class _Commands(Group):
    """Shows all commands without importing any, and imports the one that is called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: TyperCommand(name, help=told) for name, (_, told) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        module, _ = COMMANDS[name or ""]
        return name, typer.main.get_command(import_module(f"pipelines.cli.{module}").app), rest


app = App(cls=_Commands, no_args_is_help=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        # Imported by need, as the commands are.
        import embedders

        print(f"fleetembed {embedders.__version__}")
        raise typer.Exit


@app.callback()
def fleetembed(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Embed a corpus with Ray into Qdrant or Parquet: complete, exactly once, resumable."""


def main() -> NoReturn:
    """Run the command line, and end the process with the command's exit code."""
    start(lambda: app(sys.argv[1:], prog_name="fleetembed"))


if __name__ == "__main__":
    main()
