"""A verification as one HTML page, light or dark as the reader's system is, without scripts and without a network."""

from __future__ import annotations

import html

from pipelines.reindex.verify.result import Check, Verification

_STYLE = """
:root { color-scheme: light dark; --text: #222; --soft: #555; --line: #ddd; --page: #fff; --card: #f6f6f4;
  --passed: #08660b; --failed: #b3160b; --reported: #1f5f99; --skipped: #666 }
@media (prefers-color-scheme: dark) { :root { --text: #e4e4e0; --soft: #a9a9a4; --line: #3c3c3a; --page: #191918;
  --card: #242422; --passed: #6fd074; --failed: #ff8a7d; --reported: #7cb8ee; --skipped: #9a9a95 } }
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1040px; padding: 0 1em;
  color: var(--text); background: var(--page) }
h1 { font-size: 20px; overflow-wrap: anywhere }
p { color: var(--soft); margin: 6px 0; overflow-wrap: anywhere }
p.verdict { font-size: 16px; font-weight: 600; padding: 10px 14px; border-radius: 6px; background: var(--card);
  border-left: 4px solid; margin: 1em 0 }
table { border-collapse: collapse; margin: 1em 0; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: 6px 9px; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
th { border-bottom: 2px solid var(--soft); color: var(--soft); font-weight: 600 }
td:first-child { font-weight: 600; white-space: nowrap }
td { overflow-wrap: anywhere }
ul { margin: 4px 0 0; padding-left: 18px; color: var(--soft) }
.passed { color: var(--passed) } .failed { color: var(--failed) } .reported { color: var(--reported) }
.skipped { color: var(--skipped) }
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
    title = html.escape(f"Verification of {found.collection}")
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
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
        f'<p class="verdict {state}">{html.escape(said)}</p>\n'
        "<table><thead><tr><th>check</th><th></th><th>found</th><th>wanted</th></tr></thead><tbody>\n"
        f"{rows}\n</tbody></table>\n" + "".join(f"<p>{html.escape(fact)}</p>\n" for fact in facts) + "</body></html>\n"
    )


def _row(check: Check) -> str:
    samples = "".join(f"<li>{html.escape(sample)}</li>" for sample in check.samples)
    listed = f"<ul>{samples}</ul>" if samples else ""
    listed += f"<p>What next: {html.escape(check.mend)}.</p>" if check.mend else ""
    return (
        f"<tr><td>{html.escape(check.name)}</td>"
        f'<td class="outcome {check.outcome}">{_MARKS[check.outcome]} {check.outcome}</td>'
        f'<td>{html.escape(check.found)}{listed}</td><td class="wanted">{html.escape(check.wanted)}</td></tr>'
    )
