"""Pages of the reference that are made of the code: the keys of a job, the commands, the Python classes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from typing import Any, get_origin

from pipelines.cli.main import COMMANDS
from pipelines.config.job import JobConfig

Schema = dict[str, Any]
DEFINITIONS = "#/$defs/"
LIMITS = {
    "minimum": "{} or more",
    "exclusiveMinimum": "more than {}",
    "maximum": "{} or less",
    "exclusiveMaximum": "less than {}",
}
# Of a key that takes one of more names than these, the description tells them.
MOST_NAMES = 12
# Sections whose place is not to be seen in their key alone.
VARIANTS = {"QdrantSinkConfig": "sink of type qdrant", "ParquetSinkConfig": "sink of type parquet"}


def job_keys() -> str:
    """Write a section of Markdown for each section of a job, with a table of its keys, from the job's JSON Schema."""
    schema = JobConfig.model_json_schema()
    places = _places(schema)
    parts = [_section("The job itself", schema, places)]
    parts += [_section(place, schema["$defs"][name], places) for name, place in places.items()]
    return "\n\n".join(parts)


def _places(schema: Schema) -> dict[str, str]:
    """Where each section stands first, as ``source.http``; in the order of the job's keys."""
    places: dict[str, str] = {}

    def walk(part: Schema, place: str) -> None:
        for key, value in part["properties"].items():
            inside = ".".join(filter(None, (place, key)))
            for name in _referred(value):
                if name not in places:
                    places[name] = VARIANTS.get(name, inside)
                    walk(schema["$defs"][name], inside)

    walk(schema, "")
    return places


def _referred(value: Any) -> Iterator[str]:
    """Names of the sections that a key's schema refers to."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"].removeprefix(DEFINITIONS)
        for name, part in value.items():
            # The mapping repeats what stands in oneOf.
            if name != "discriminator":
                yield from _referred(part)
    elif isinstance(value, list):
        for part in value:
            yield from _referred(part)


def _section(title: str, part: Schema, places: dict[str, str]) -> str:
    needed = part.get("required", ())
    rows = []
    for key, value in part["properties"].items():
        default = "needed" if key in needed else _default(value)
        told = _sentence(value.get("description", "")) or _see(value, places)
        # In the column of kinds they would leave no room for what the key is.
        told += "".join(f": `{'`, `'.join(one['enum'])}`" for one in value.get("anyOf", [value]) if not _is_short(one))
        rows.append(f"| `{key}` | {_kind(value, places)} | {default} | {_cell(told)} |")
    heading = title if " " in title else f"`{title}`"
    about = _prose(part.get("description", ""))
    table = "\n".join(["| key | takes | default | what it is |", "| --- | --- | --- | --- |", *rows])
    return "\n\n".join(filter(None, [f"## {heading}", about, table]))


def _kind(value: Schema, places: dict[str, str]) -> str:
    if "$ref" in value:
        place = places[value["$ref"].removeprefix(DEFINITIONS)]
        return f"[{place}](#{_anchor(place)})"
    for several in ("anyOf", "oneOf"):
        if several in value:
            kinds = [_kind(one, places) for one in value[several] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if "enum" in value:
        return ", ".join(f"`{one}`" for one in value["enum"]) if _is_short(value) else "a name"
    if "const" in value:
        return f"`{value['const']}`"
    kind = str(value.get("type", "anything"))
    if kind == "array":
        return f"list of {_kind(value['items'], places)}" if value.get("items") else "list"
    if kind == "object":
        named = [*value.get("patternProperties", {}).values(), value.get("additionalProperties")]
        values = next((one for one in named if isinstance(one, dict) and one), None)
        return "keys and values" if values is None else f"names, each with {_kind(values, places)}"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true`, `false`"}
    limits = [told.format(_number(value[name])) for name, told in LIMITS.items() if name in value]
    return ", ".join([words.get(kind, kind), *limits])


def _is_short(value: Schema) -> bool:
    return len(value.get("enum", ())) <= MOST_NAMES


def _number(limit: float) -> str:
    return f"{limit:,}"


def _default(value: Schema) -> str:
    default = value.get("default")
    if default is None or isinstance(default, dict | list) or default == "":
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _see(value: Schema, places: dict[str, str]) -> str:
    names = dict.fromkeys(places[name] for name in _referred(value))
    return "See " + ", ".join(f"[{name}](#{_anchor(name)})" for name in names) if names else ""


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", "\\|")


def _escaped(text: str) -> str:
    """Keep Markdown from taking ``_``, ``*``, ``<`` and ``$`` of plain text for marks; options and code are code."""
    text = re.sub(r"(?<![\w`-])--[a-z][a-z-]*", r"`\g<0>`", text)
    parts = re.split(r"(`+[^`]+`+)", text)
    return "".join(part if number % 2 else re.sub(r"([_*<$])", r"\\\1", part) for number, part in enumerate(parts))


def _prose(text: str) -> str:
    """Take a docstring for Markdown: its double backticks are code as they are."""
    return _escaped(inspect.cleandoc(text))


def commands() -> str:
    """Write a section of Markdown for each command and subcommand, with a table of its options."""
    return "\n\n".join(
        _command(f"fleetembed {' '.join(path)}", command) for path, command in command_line() if command.callback
    )


def command_line() -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands that ``fleetembed`` has, each with its words, as click knows them."""
    import typer

    for name, (module, _) in COMMANDS.items():
        command = typer.main.get_command(import_module(f"pipelines.cli.{module}").app)
        yield (name,), command
        for inner, one in getattr(command, "commands", {}).items():
            yield (name, inner), one


def _command(words: str, command: Any) -> str:
    rows = [_option(one) for one in command.params if one.name != "help"]
    arguments = " ".join(_argument(one) for one in command.params if one.param_type_name == "argument")
    has_options = any(one.param_type_name == "option" for one in command.params)
    inner = " COMMAND" if getattr(command, "commands", None) else ""
    usage = " ".join(filter(None, [words, arguments, "[OPTIONS]" if has_options else "", inner.strip()]))
    parts = [f"## `{words}`", f"```text\n{usage}\n```", _prose(command.help or "")]
    if rows:
        parts.append("\n".join(["| option | default | what it does |", "| --- | --- | --- |", *rows]))
    return "\n\n".join(parts)


def _argument(parameter: Any) -> str:
    name = parameter.name.upper() + ("..." if parameter.multiple or parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _option(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"| `{_argument(parameter)}` | | {_cell(parameter.help or '')} |"
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    takes = "" if parameter.is_flag else f" {parameter.metavar}"
    default = parameter.default
    told = "" if default is None or default is False or callable(default) or default == () else f"`{default}`"
    if parameter.required:
        told = "needed"
    return f"| `{names}{takes}` | {told} | {_cell(parameter.help or '')} |"


def python_api() -> str:
    """Name all that the two packages offer for Sphinx to document, in their order."""
    parts, told = [], set[Any]()
    for package, about in (
        ("embedders", "Models in one process: texts or images in, vectors or Arrow columns out."),
        ("pipelines", "Jobs: from files to what can be searched."),
    ):
        module = import_module(package)
        values = {name: getattr(module, name) for name in module.__all__}
        # What both packages offer is told of once.
        own = {name: value for name, value in values.items() if value not in told}
        told.update(own.values())
        entries = "\n\n".join(_directive(package, name, value) for name, value in own.items())
        parts.append(f"## `{package}`\n\n{about}\n\n```{{eval-rst}}\n{entries}\n```")
    return "\n\n".join(parts)


def _directive(package: str, name: str, value: Any) -> str:
    if inspect.isfunction(value):
        return f".. autofunction:: {package}.{name}"
    if not inspect.isclass(value) or get_origin(value) is not None:
        return f".. autodata:: {package}.{name}\n   :no-value:"
    if issubclass(value, Exception):
        return f".. autoexception:: {package}.{name}\n   :show-inheritance:"
    # The keys of a configuration have a page of their own.
    members = [] if name.endswith("Config") else list(dict.fromkeys(_members(value)))
    listed = f"\n   :members: {', '.join(members)}\n   :inherited-members:" if members else ""
    return f".. autoclass:: {package}.{name}{listed}"


def _members(kind: type) -> Iterator[str]:
    """Public names that a class has from our packages, and not from a library that it stands on."""
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in ("embedders", "pipelines"):
            yield from (name for name, one in vars(base).items() if name[0] != "_" and _is_told_of(one))


def _is_told_of(member: Any) -> bool:
    return callable(member) or isinstance(member, property | classmethod | staticmethod | cached_property)
