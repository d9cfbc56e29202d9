"""What differs in two reports: rows of figures with their differences, and facts that are not the same."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from pipelines.run.report.page.fields import text_of
from pipelines.run.report.page.numbers import amount, is_number, number, seconds, share

Better = Literal["more", "less", ""]
# Smaller differences of times and rates are chance; less than such a part of a second nobody waits for.
NOTABLE, NOTABLE_SECONDS, SHORTEST = 0.03, 0.5, 0.05


class Rows:
    """Rows of a table with a column for each run, and one for the difference."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, list[str], str, str]] = []

    def add(
        self,
        name: str,
        values: Sequence[Any],
        shown: Callable[[Any], str],
        better: Better = "",
        *,
        always: bool = False,
    ) -> None:
        """Add a figure, unless neither run has it, or both have none of it."""
        known = [is_number(value) for value in values]
        if not any(known) or not (always or any(number(value) for value in values)):
            return
        told, state = change(*values, better=better, shown=shown) if all(known) else ("", "")
        cells = [shown(value) if there else "not known" for value, there in zip(values, known, strict=True)]
        self._rows.append((name, cells, told, state))

    def add_seconds(self, name: str, values: Sequence[Any], *, alike: bool = True) -> None:
        """Add a time; shorter is better where the runs did ``alike`` work. One that is nothing is left out."""
        known = [number(value) for value in values]
        if max(known) >= SHORTEST:
            self.add(name, values, seconds, "less" if alike and abs(known[0] - known[1]) >= NOTABLE_SECONDS else "")

    def table(self, title: str, heading: str = "figure") -> str:
        """Make the section; empty without rows."""
        if not self._rows:
            return ""
        lines = "\n".join(
            f'<tr><td>{html.escape(name)}</td><td class="number">{html.escape(one)}</td>'
            f'<td class="number">{html.escape(other)}</td><td class="number {state}">{html.escape(told)}</td></tr>'
            for name, (one, other), told, state in self._rows
        )
        head = f'<th>{heading}</th><th class="number">A</th><th class="number">B</th><th class="number">difference</th>'
        return (
            f'<h2>{html.escape(title)}</h2><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n'
            f"{lines}\n</tbody></table></div>"
        )


def change(
    before: float, after: float, *, better: Better = "", shown: Callable[[Any], str] = amount
) -> tuple[str, str]:
    """Tell how a figure changed, and whether that is good, bad, or says nothing."""
    if before == after:
        return "the same", "faint"
    if not before:
        return f"+{shown(after)}", ""
    by = (after - before) / abs(before)
    told = f"{'+' if by > 0 else '−'}{share(abs(by))}" if abs(by) < 10 else f"{amount(after / before)} times"
    # What has come to nothing, as the speed of a run that found all in place, is not worse.
    if not better or (better == "more" and not after) or abs(by) < NOTABLE:
        return told, ""
    return told, "good" if (by > 0) == (better == "more") else "bad"


def flat(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Name every setting with its place, as ``sink.0.path``."""
    if isinstance(value, dict) and value:
        for key, some in value.items():
            yield from flat(some, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        for number_of, some in enumerate(value):
            yield from flat(some, f"{place}.{number_of}")
    else:
        yield place, ", ".join(map(text_of, value)) if isinstance(value, list) else text_of(value)


def facts_table(title: str, heading: str, facts: Sequence[dict[str, str]], missing: str, same: str) -> str:
    """Make a table of what differs in two sets of names and words; ``missing`` stands for what one of them lacks."""
    one, other = facts
    rows = [
        f"<tr><td>{html.escape(key)}</td><td>{html.escape(one.get(key) or missing)}</td>"
        f"<td>{html.escape(other.get(key) or missing)}</td></tr>"
        for key in dict.fromkeys([*one, *other])
        if one.get(key, "") != other.get(key, "")
    ]
    if not rows:
        return f"<h2>{title}</h2><p>{same}</p>"
    body = "\n".join(rows)
    return (
        f'<h2>{title}</h2><div class="scroll"><table class="differing"><thead><tr><th>{heading}</th>'
        f"<th>A</th><th>B</th></tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )
