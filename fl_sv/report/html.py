"""From the page to HTML.

Names and titles are users' input: everything except our own pictures is escaped, for HTML and for
the eye. The page loads nothing, and by its own policy a browser runs and shows only the script and
the style that are written here: their hashes are in it.
"""

import hashlib
from base64 import b64encode
from dataclasses import fields
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fl_sv.report.page import Page
from fl_sv.text import isolated, shown

_TEMPLATE, _STYLE, _SCRIPT = "page.html.j2", "page.css", "page.js"
_HERE = Path(__file__).parent


def render(page: Page) -> str:
    """The text of report.html."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,  # for any suffix of the template
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in (_STYLE, _SCRIPT))
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}';"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )
    return environment.get_template(_TEMPLATE).render(
        {field.name: getattr(page, field.name) for field in fields(page)},
        style=Markup(style),
        script=Markup(script),
        policy=policy,
    )


def _hash(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _shown(value: object) -> object:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return isolated(shown(value))
