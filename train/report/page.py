"""The report's look: one HTML file that needs nothing else, readable on a desk, on a phone and on paper."""

from __future__ import annotations

import html
from collections.abc import Sequence

STYLE = """
:root { --ink: #1d2329; --soft: #5b6570; --line: #d8dde2; --wash: #f5f7f9; --good: #2f6db3; --bad: #c8560b }
* { box-sizing: border-box }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; color: var(--ink); margin: 0 auto;
  max-width: 72rem; padding: 2rem 1.25rem 4rem }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem }
p { max-width: 46rem; margin: .5rem 0 } .lead { font-size: 1.1rem; margin: 1rem 0 }
.soft, figcaption { color: var(--soft) }
.cards, .charts { display: grid; gap: 1rem; margin: 1rem 0 }
.cards { grid-template-columns: repeat(auto-fit, minmax(min(100%, 13rem), 1fr)) }
.card { background: var(--wash); border-radius: .5rem; padding: .8rem 1rem }
.card b { display: block; font-size: 1.7rem; line-height: 1.25; font-weight: 600 }
.card span { display: block; font-size: .875rem } .card .soft { font-size: .8125rem }
.charts { grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)) }
figure { margin: 0; min-width: 0 } figcaption { font-size: .8125rem; line-height: 1.4; overflow-wrap: anywhere }
svg { width: 100%; height: auto; display: block } svg text { font-family: inherit !important }
.wide { overflow-x: auto } table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .35rem .9rem .35rem 0; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line) }
th { font-weight: 600; font-size: .875rem; color: var(--soft) } th, td { white-space: nowrap }
th:first-child, td:first-child, .facts td { text-align: left }
.facts td { white-space: normal; overflow-wrap: anywhere }
.facts td:first-child { color: var(--soft); min-width: 8.5rem }
@media (min-width: 64rem) { .pair { display: grid; grid-template-columns: auto minmax(20rem, 1fr); gap: 0 2rem } }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1.25rem }
.trio { display: grid; grid-template-columns: repeat(3, 1fr); gap: .25rem; margin-bottom: .25rem }
.trio img { width: 100%; max-height: 17rem; object-fit: contain; display: block; background: var(--wash) }
.scale { max-width: 22rem; margin: .75rem 0; font-size: .8125rem }
.scale i { display: block; height: .7rem; border-radius: .2rem; background:
  linear-gradient(90deg, rgb(34 60 255), rgb(120 50 255), rgb(206 70 255), rgb(255 130 245)) }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); gap: .75rem }
.sheet img { width: 100%; display: block } summary h3 { display: inline }
.scale div { display: flex; justify-content: space-between; color: var(--soft) }
dt { font-weight: 600 } dd { margin: 0 0 .6rem; max-width: 46rem }
@media print {
  body { max-width: none; padding: 0; font-size: 11px } h2 { break-after: avoid }
  figure, .card, tr { break-inside: avoid } .charts, .cards { grid-template-columns: repeat(3, 1fr) }
  .panels { grid-template-columns: 1fr 1fr }
}
"""


def document(title: str, sections: Sequence[str]) -> str:
    """A whole page; the title is text, the sections are HTML."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
    body = "\n".join(section for section in sections if section)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<title>{html.escape(title)}</title></head>\n'
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Text cells; a wide table scrolls by itself."""

    def cells(values: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(value)}</{tag}>" for value in values) + "</tr>"

    top = f"<thead>{cells(head, 'th')}</thead>" if any(head) else ""
    body = "".join(cells(row, "td") for row in rows)
    return f'<div class="wide"><table class="{kind}">{top}<tbody>{body}</tbody></table></div>'


def card(value: str, words: str, more: str) -> str:
    """One figure to take away, what it is, and how sure it is."""
    value, words, more = map(html.escape, (value, words, more))
    return f'<div class="card"><b>{value}</b><span>{words}</span><span class="soft">{more}</span></div>'


def chart(svg: str, words: str) -> str:
    """A chart with its caption, which is what a screen reader says too."""
    words = html.escape(words)
    return f'<figure role="img" aria-label="{words}">{svg}<figcaption>{words}</figcaption></figure>'


def definitions(words: Sequence[tuple[str, str]]) -> str:
    """A list of terms and what they mean."""
    return "<dl>" + "".join(f"<dt>{html.escape(a)}</dt><dd>{html.escape(b)}</dd>" for a, b in words) + "</dl>"
