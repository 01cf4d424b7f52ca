"""From the page to HTML.

Names and titles are users' input: everything except our own pictures is escaped, for HTML and for
the eye.
"""

from dataclasses import fields
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fl_sv.report.page import Page
from fl_sv.text import shown

_TEMPLATE = "page.html.j2"


def render(page: Page) -> str:
    """The text of report.html."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # for any suffix of the template
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(_TEMPLATE).render(
        {field.name: getattr(page, field.name) for field in fields(page)}
    )


def _shown(value: object) -> object:
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value
