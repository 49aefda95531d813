"""A self-contained HTML page of sentences, tables and pictures: it opens from disk and needs no network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2rem }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .3rem .8rem; text-align: left; vertical-align: top }
th { border-bottom: 2px solid #888 } td { border-bottom: 1px solid #ddd } img { max-width: 100% }
.good { color: #176b2c } .bad { color: #a11212; font-weight: 600 } .mild { color: #8a5a00 }
</style></head><body><h1>{{ title }}</h1>
{% for part in parts %}{% if part.heading %}<h2>{{ part.heading }}</h2>{% endif %}
{% if part.text %}<p class="{{ part.mood }}">{{ part.text }}</p>{% endif %}
{% if part.rows %}<table><tr>{% for name in part.columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in part.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>{% endif %}
{% if part.picture %}<img alt="{{ part.heading }}" src="data:image/png;base64,{{ part.encoded() }}">{% endif %}
{% endfor %}</body></html>
"""


@dataclass(frozen=True)
class Part:
    """One part of a page, of which any may be empty; `mood` is good, bad or mild."""

    heading: str = ""
    text: str = ""
    mood: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()
    picture: Path | None = None

    def encoded(self) -> str:
        """The PNG file as base64 text."""
        return base64.b64encode(self.picture.read_bytes()).decode() if self.picture else ""


def page(title: str, parts: Sequence[Part]) -> str:
    """The page as HTML; every text is escaped."""
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(TEMPLATE)
    return template.render(title=title, parts=parts)


def markdown(parts: Sequence[Part]) -> str:
    """The same parts as Markdown, without their pictures."""
    texts = [
        text
        for part in parts
        for text in (
            f"## {part.heading}" if part.heading else "",
            part.text,
            markdown_table(part.columns, part.rows) if part.rows else "",
        )
    ]
    return "\n\n".join(text for text in texts if text)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; pipes in cells are escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
