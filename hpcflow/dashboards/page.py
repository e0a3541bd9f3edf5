"""The report's HTML: small pieces, each escaped where it takes text, and the page around them."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hpcflow.dashboards.style import FAINT, FONT, GRID, INK

LONGEST_VALUE = 400
"""Characters of an option's value that are shown."""

_CSS = f"""
:root {{ color-scheme: light; }}
body {{ margin: 0; background: #f5f7f9; color: {INK}; font: 15px/1.5 {FONT}; }}
main {{ max-width: 1160px; margin: 0 auto; padding: 28px 24px 60px; }}
h1 {{ font-size: 26px; margin: 0 0 4px; overflow-wrap: anywhere; }}
h2 {{ font-size: 19px; margin: 0 0 12px; }}
.sub {{ color: {FAINT}; margin: 0 0 20px; }}
section {{ background: white; border: 1px solid {GRID}; border-radius: 10px;
           padding: 20px 22px; margin: 18px 0; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr));
          gap: 12px; }}
.card {{ background: white; border: 1px solid {GRID}; border-radius: 10px; padding: 12px 16px; }}
.card .label {{ color: {FAINT}; font-size: 13px; }}
.card .figure {{ font-size: 20px; font-weight: 600; font-variant-numeric: tabular-nums; }}
.card .note {{ color: {FAINT}; font-size: 13px; }}
.note-bar {{ background: #fff6e0; border: 1px solid #f2dca6; border-radius: 10px;
             padding: 10px 16px; margin: 14px 0; }}
.caption {{ color: {FAINT}; font-size: 13px; margin: 8px 0 0; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; font-size: 14px; }}
th {{ text-align: left; font-weight: 600; border-bottom: 2px solid {GRID}; padding: 6px 10px;
      white-space: nowrap; }}
td {{ border-bottom: 1px solid {GRID}; padding: 6px 10px; vertical-align: top;
      overflow-wrap: anywhere; }}
td:first-child, th:first-child {{ white-space: nowrap; }}
tr:last-child td {{ border-bottom: none; }}
.right {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
.whole {{ white-space: nowrap; }}
.swatch {{ display: inline-block; width: 12px; height: 12px; border-radius: 3px;
           margin-right: 8px; vertical-align: -1px; }}
.columns {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr));
            gap: 24px; align-items: start; }}
details {{ margin-top: 8px; }}
summary {{ cursor: pointer; color: {FAINT}; }}
code, pre {{ font: 13px/1.45 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; margin: 4px 0; }}
"""


def escape(value: object) -> str:
    """Return `value` as text that stands for itself in HTML."""
    return html.escape(str(value), quote=True)


def swatch(colour: str, name: str) -> str:
    """Return a name beside its colour in the figures."""
    return f'<span class="swatch" style="background:{escape(colour)}"></span>{escape(name)}'


def card(label: str, figure: str, note: str = "") -> str:
    """Return one summary figure."""
    return (
        f'<div class="card"><div class="label">{escape(label)}</div>'
        f'<div class="figure">{escape(figure)}</div>'
        f'<div class="note">{escape(note)}</div></div>'
    )


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] = ()
) -> str:
    """Return a table.

    Parameters
    ----------
    heads
        Column names, as text.
    rows
        Cells, as HTML: whoever fills them escapes them.
    right
        Columns of figures.
    """

    def cell(tag: str, index: int, content: str) -> str:
        kind = ' class="right"' if index in right else ""
        return f"<{tag}{kind}>{content}</{tag}>"

    head = "".join(cell("th", index, escape(name)) for index, name in enumerate(heads))
    body = "".join(
        f"<tr>{''.join(cell('td', index, content) for index, content in enumerate(row))}</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def section(title: str, *parts: str) -> str:
    """Return a titled box around pieces of HTML."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def caption(words: str) -> str:
    """Return what stands under a figure."""
    return f'<p class="caption">{escape(words)}</p>'


def mapping_table(mapping: Mapping[str, Any]) -> str:
    """Return a nested mapping as rows of dotted names and values."""
    rows = [
        (f"<code>{escape(name)}</code>", f"<code>{escape(_shown(value))}</code>")
        for name, value in _flat(mapping, "")
    ]
    return table(("option", "value"), rows)


def _shown(value: object) -> str:
    """Return a TOML value as people write it, cut where it is very long."""
    shown = str(value)
    if isinstance(value, bool):
        shown = shown.lower()
    elif isinstance(value, list):
        shown = ", ".join(_shown(one) for one in value[:LONGEST_VALUE])
    return shown if len(shown) <= LONGEST_VALUE else shown[:LONGEST_VALUE] + "…"


def _flat(mapping: Mapping[str, Any], prefix: str) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def document(title: str, *, head: str, body: str) -> str:
    """Return the whole page.

    Parameters
    ----------
    title
        What the browser's tab says, as text.
    head
        Scripts and styles, as HTML.
    body
        Content, as HTML.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n{head}\n</head>\n"
        f"<body><main>\n{body}\n</main></body>\n</html>\n"
    )
