"""Self-contained HTML pages of text, tables and images that open from disk without a network; also Markdown."""

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
{% for section in sections %}{% if section.heading %}<h2>{{ section.heading }}</h2>{% endif %}
{% if section.text %}<p class="{{ section.status }}">{{ section.text }}</p>{% endif %}
{% if section.rows %}<table><tr>{% for name in section.columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in section.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>{% endif %}
{% if section.picture %}<img alt="{{ section.heading }}" src="{{ data_url(section.picture) }}">{% endif %}
{% endfor %}</body></html>
"""


@dataclass(frozen=True)
class PageSection:
    """A section with a heading, text, a table and an image, each optional. `status` is good, bad or mild."""

    heading: str = ""
    text: str = ""
    status: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()
    picture: Path | None = None


def data_url(picture: Path) -> str:
    """Returns a PNG file as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def page(title: str, sections: Sequence[PageSection]) -> str:
    """Renders the sections as an HTML page; all text is escaped."""
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(TEMPLATE)
    return template.render(title=title, sections=sections, data_url=data_url)


def markdown(sections: Sequence[PageSection]) -> str:
    """Renders the sections as Markdown, without their images."""
    texts = [
        text
        for section in sections
        for text in (
            f"## {section.heading}" if section.heading else "",
            section.text,
            markdown_table(section.columns, section.rows) if section.rows else "",
        )
    ]
    return "\n\n".join(text for text in texts if text)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Renders a Markdown table; pipes in cells are escaped, and line breaks are written as blanks."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(_markdown_cell, line)) + " |" for line in lines)


def _markdown_cell(cell: object) -> str:
    return " ".join(str(cell).replace("|", "\\|").splitlines())
