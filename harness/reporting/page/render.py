"""Writes sections down as one HTML file that asks nothing of any other place."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from harness.reporting.forest import DIRECTIONS
from harness.reporting.page.glossary import glossary
from harness.reporting.page.section import Section

HERE = Path(__file__).parent


def render(sections: Sequence[Section], title: str = "") -> str:
    """The page of one report, or of several below a list of their questions and answers. title: default the question.

    All text of reports is escaped; style and script are this folder's own.
    """
    page = fill_template(
        "page.html.j2",
        sections=sections,
        title=title or sections[0].report.question,
        script=Markup((HERE / "page.js").read_text()),
        directions=DIRECTIONS,
        written=f"Written on {time.strftime('%Y-%m-%d')}.",
    )
    # A number and its per cent sign stay on one line.
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", page)


def fill_template(template: str, **values: Any) -> str:
    """A template of this folder, filled in. In HTML all text is escaped, and the style is page.css."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"ticked": ticked, "glossary": glossary}
    return environment.get_template(template).render(style=Markup((HERE / "page.css").read_text()), **values)


def ticked(text: str) -> Markup:
    """Escaped text whose `words in backticks` are code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(parts)
    )
