"""The reference tells of all that there is, and the answers are to messages that exist."""

from __future__ import annotations

import re
from dataclasses import fields
from functools import cache
from typing import Any

import pytest

import embedders
import pipelines
import reference_pages
from pipelines.config.job import JobConfig
from pipelines.rows import HASHES
from pipelines.run.report.report import COUNTS, RunReport
from pipelines.run.tally import CACHED
from pipelines.sinks.dead_letters import DEAD_SCHEMA
from tests.conftest import ROOT
from tests.docs.pages import DOCS, all_blocks

SCHEMA = JobConfig.model_json_schema()
FAQ = [block for block in all_blocks("text") if block.page == "docs/faq.md"]


def first_cells(text: str) -> set[str]:
    """What stands as code in the first cells of a page's tables."""
    cells = (re.split(r"(?<!\\)\|", line)[1] for line in text.splitlines() if line.startswith("| "))
    return {code for cell in cells for code in re.findall("`([^`]+)`", cell)}


def sections() -> dict[str, dict[str, Any]]:
    return {**SCHEMA["$defs"], "the job": SCHEMA}


def test_every_key_of_a_job_is_described() -> None:
    for name, section in sections().items():
        assert section.get("description"), name
        told = {key for key, value in section["properties"].items() if not value.get("description")}
        # A key that is a section of its own is told of there.
        assert all("$ref" in str(section["properties"][key]) for key in told), (name, told)


def test_every_key_of_a_job_is_on_the_page() -> None:
    text = reference_pages.job_keys()
    assert {key for section in sections().values() for key in section["properties"]} <= first_cells(text)
    assert text.count("\n## ") + 1 == len(sections())


def test_every_command_is_on_the_page_with_its_options() -> None:
    text = reference_pages.commands()
    for words, command in reference_pages.command_line():
        _, _, section = text.partition(f"## `fleetembed {' '.join(words)}`\n")
        table = first_cells(section.partition("\n## ")[0])
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                assert any(cell.startswith(", ".join(parameter.opts)) for cell in table), (words, parameter.name)


def test_every_public_name_is_on_the_page() -> None:
    text = reference_pages.python_api()
    for package in (embedders, pipelines):
        for name in package.__all__:
            assert re.search(rf"\.\. auto\w+:: (embedders|pipelines)\.{name}$", text, re.MULTILINE), name


def test_every_field_of_a_report_is_on_the_page() -> None:
    told = first_cells((DOCS / "reference" / "report.md").read_text(encoding="utf-8"))
    assert {field.name for field in fields(RunReport)} | {*COUNTS, CACHED} == told


def test_the_columns_of_files_are_on_the_page() -> None:
    told = first_cells((DOCS / "reference" / "files.md").read_text(encoding="utf-8"))
    assert {*DEAD_SCHEMA.names, *HASHES, "id", "document_id", "chunk_count", "_fleetembed"} <= told


@cache
def said() -> str:
    """The packages' code, strings joined that stand one below the other, and a mark for what is put into them."""
    files = (path for package in ("embedders", "fleetembed", "pipelines") for path in (ROOT / package).rglob("*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text(encoding="utf-8") for path in files))
    return re.sub(r"%[ds]|\{[^{}\n]*\}", "\0", code)


def unsaid(message: str) -> list[str]:
    """The parts of a message, between what differs, that no string of the packages has."""
    # A message is put together of clauses, each of which stands in one string.
    parts = (part.strip(" ,()") for part in re.split(r"…|\n|[.:;](?=\s|$)", message))
    # What is shorter may come from anywhere.
    return [part for part in parts if len(part) > 3 and not is_said(part)]


def is_said(clause: str) -> bool:
    """Whether a string of the packages has it, or two of them have its parts."""
    spaces = [found.start() for found in re.finditer(" ", clause)]
    return clause in said() or any(clause[:at] in said() and clause[at + 1 :] in said() for at in spaces)


@pytest.mark.parametrize("block", FAQ, ids=str)
def test_a_message_that_is_answered_exists(block: Any) -> None:
    assert unsaid(block.text) == []


def test_a_message_that_does_not_exist_is_noticed() -> None:
    assert FAQ and unsaid("… rows went to the dogs") == ["rows went to the dogs"]
