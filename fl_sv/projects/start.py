"""`fl-sv init`: writes a first project."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fl_sv.errors import InputError
from fl_sv.terminal import say
from fl_sv.training.extra import require_extra

TEMPLATES = ("tabular", "images", "finetune", "federation")
README = """# A first project: {template}

`fl-sv plan {config}` forecasts the cost.
`fl-sv run {config} --out {run} --backend inline` trains and pays; `{run}/report.html` shows why.
`fl-sv verify {run}` computes all of it again.
{next}
"""
NEXT = {
    "tabular": "For a table of yours, `fl-sv data infer FILE.csv --target COLUMN --owner COLUMN`"
    " proposes `columns`.",
    "images": "Images of yours go into an `.npz`: x (rows, channels, height, width), y, owners.",
    "finetune": "Texts of yours: a folder with `.txt` files for each company in `{texts}`, and the"
    " names in {config}. Bases from other texts: `python -m fl_sv.projects.bases FILE {bases}`.",
    "federation": "Across machines: `fl-sv federation try` shows all of it on this one; then"
    " `fl-sv federation init federation --address HOST --config {config}`.",
}


def init(options: argparse.Namespace) -> int:
    """Writes a small project that runs at once."""
    start(options.dir, options.template)
    config, run = options.dir / "config.yaml", options.dir / "run"
    say(f"{options.dir}: a config, data and a README. Now run")
    say(f"  fl-sv run {config} --out {run} --backend inline")
    return 0


def start(folder: Path, template: str) -> None:
    """Writes config.yaml, README.md and the data of a template into a new or empty folder.

    Raises InputError when the folder cannot be used, or packages that the template needs are
    missing.
    """
    from fl_sv.projects.rows import write_images, write_own_tables, write_shared_table

    write: dict[str, Callable[[Path], None]] = {
        "tabular": write_shared_table,
        "images": write_images,
        "finetune": _write_texts_and_bases,
        "federation": write_own_tables,
    }
    if template == "finetune":
        require_extra()
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} is not empty. Give a new folder.")
        folder.mkdir(parents=True, exist_ok=True)
        text = Path(__file__).with_name(f"{template}.yaml").read_text(encoding="utf-8")
        (folder / "config.yaml").write_text(text, encoding="utf-8")
        paths = {name: folder / name for name in ("run", "texts", "bases")}
        paths["config"] = folder / "config.yaml"
        page = README.format(template=template, next=NEXT[template].format(**paths), **paths)
        (folder / "README.md").write_text(page, encoding="utf-8")
        write[template](folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}.") from None


def _write_texts_and_bases(folder: Path) -> None:
    from fl_sv.projects.bases import make_bases
    from fl_sv.projects.texts import write_texts

    write_texts(folder)
    make_bases(folder / "general.txt", folder / "bases")


def add_commands(verbs: Any) -> None:
    """Adds `init` to the verbs of the command line."""
    meaning = "a first project of your own: config, tiny data, README"
    made = verbs.add_parser("init", help=meaning, description=meaning)
    made.add_argument("dir", type=Path, metavar="DIR", help="new or empty")
    kinds = "one table; images; a pretrained model; a file for each company"
    made.add_argument("--template", choices=TEMPLATES, default="tabular", help=kinds)
    made.set_defaults(command=init)
