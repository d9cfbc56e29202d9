"""A verification as one HTML page, light or dark as the reader's system is, without scripts and without a network."""

from __future__ import annotations

import html

from pipelines.html_document import document
from pipelines.reindex.verify.result import Check, Verification

_STYLE = """
table { width: 100% }
td:first-child { font-weight: 600; white-space: nowrap }
td { overflow-wrap: anywhere }
ul { margin: 4px 0 0; padding-left: 18px; color: var(--soft) }
.passed { color: var(--good) } .failed { color: var(--bad) } .reported { color: var(--note) }
.skipped { color: var(--faint) }
td.outcome { white-space: nowrap; font-weight: 600 }
@media (max-width: 640px) {
  thead { display: none }
  table, tbody, tr, td { display: block }
  tr { border-bottom: 1px solid var(--line); padding: 8px 0 }
  td { border: 0; padding: 2px 0 }
  td.wanted:not(:empty)::before { content: "wanted: "; color: var(--soft) }
}
"""
_MARKS = {"passed": "✓", "failed": "✗", "reported": "·", "skipped": "–"}


def build_page(found: Verification) -> str:
    """Build the page."""
    title = f"Verification of {found.collection}"
    state = "passed" if found.passed else "failed"
    failed = ", ".join(check.name for check in found.failed)
    said = "every check that counts passed" if found.passed else f"failed: {failed}"
    old = f", compared with {found.old}" if found.old else ", with no other collection before it"
    alias = f", for the alias {found.alias}" if found.alias is not None else ""
    facts = [
        f"{found.points:,} points at {found.address}{alias}{old}.",
        f"Verified {found.at.replace('T', ' ').replace('+00:00', ' UTC')} in {found.seconds:,.1f} s. Fingerprint "
        f"{found.fingerprint}.",
        "A check that is reported or skipped stops no switch.",
        *([found.clash] if found.clash is not None else []),
    ]
    rows = "\n".join(map(_row, found.checks))
    body = (
        f"<h1>{html.escape(title)}</h1>\n"
        f'<p class="verdict {state}">{html.escape(said)}</p>\n'
        "<table><thead><tr><th>check</th><th></th><th>found</th><th>wanted</th></tr></thead><tbody>\n"
        f"{rows}\n</tbody></table>\n" + "".join(f"<p>{html.escape(fact)}</p>\n" for fact in facts)
    )
    return document(title, body, style=_STYLE)


def _row(check: Check) -> str:
    samples = "".join(f"<li>{html.escape(sample)}</li>" for sample in check.samples)
    listed = f"<ul>{samples}</ul>" if samples else ""
    listed += f"<p>What next: {html.escape(check.mend)}.</p>" if check.mend else ""
    return (
        f"<tr><td>{html.escape(check.name)}</td>"
        f'<td class="outcome {check.outcome}">{_MARKS[check.outcome]} {check.outcome}</td>'
        f'<td>{html.escape(check.found)}{listed}</td><td class="wanted">{html.escape(check.wanted)}</td></tr>'
    )
