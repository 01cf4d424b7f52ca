"""From the page to HTML.

Names and titles are users' input: everything except our own pictures is escaped.
"""

from dataclasses import fields
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fl_sv.report.page import Page

_TEMPLATE = "page.html.j2"


def render(page: Page) -> str:
    """The text of report.html."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # for any suffix of the template
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(_TEMPLATE).render(
        {field.name: getattr(page, field.name) for field in fields(page)}
    )
