"""The skeleton and the style of all HTML pages that are written: light or dark as the reader's system is, on any width.

A page is one file: it asks for nothing from a network.
"""

from __future__ import annotations

import html

# By this a page is known as one that may be replaced.
GENERATOR = '<meta name="generator" content="fleetembed">'
STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --soft: #57606a; --line: #d9dde1; --page: #fff; --card: #f5f6f7;
  --good: #08660b; --bad: #b3160b; --note: #1f5f99; --faint: #5d646c; --warn: #8a5300;
  --read: #6e7781; --work: #2563b0; --sink: #1a7f5a; --other: #c2570c; --shade: #eceef0 }
@media (prefers-color-scheme: dark) { :root { --text: #e6e6e3; --soft: #a9afb6; --line: #3a3d41; --page: #17181a;
  --card: #222427; --good: #6fd074; --bad: #ff8a7d; --note: #7cb8ee; --faint: #9aa0a6; --warn: #e3b341;
  --read: #9aa3ad; --work: #6cabf5; --sink: #57c597; --other: #f0a04b; --shade: #26282c } }
* { box-sizing: border-box }
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 16px;
  color: var(--text); background: var(--page) }
h1 { font-size: 20px; overflow-wrap: anywhere; margin: 0 0 8px }
h2 { font-size: 16px; margin: 28px 0 8px }
h3 { font-size: 14px; margin: 14px 0 4px }
p { color: var(--soft); margin: 6px 0; overflow-wrap: anywhere }
p.verdict { font-size: 16px; font-weight: 600; padding: 10px 14px; border-radius: 6px; background: var(--card);
  border-left: 4px solid; margin: 12px 0 }
table { border-collapse: collapse; margin: 10px 0; font-variant-numeric: tabular-nums }
th, td { padding: 5px 9px; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
th { border-bottom: 2px solid var(--faint); color: var(--soft); font-weight: 600 }
.good { color: var(--good) } .bad { color: var(--bad) } .note { color: var(--note) } .faint { color: var(--faint) }
.warn { color: var(--warn) }
"""


def document(title: str, body: str, *, style: str = "") -> str:
    """Build a page of a title, which is escaped here, and a body, which is HTML; ``style`` is CSS beside STYLE."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n{GENERATOR}\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}{style}</style></head>\n<body>\n{body}\n</body></html>\n"
    )
