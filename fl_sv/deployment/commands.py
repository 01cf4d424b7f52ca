"""`fl-sv export` and `fl-sv predict`, without logic. Heavy modules are imported inside."""

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from fl_sv.errors import listed
from fl_sv.terminal import complain, say

FORMATS = ("safetensors", "onnx", "peft")


def add_commands(verbs: Any) -> None:
    """Adds both commands to a parser's subparsers."""
    meaning = "the model of a finished run as a file"
    made = _verb(verbs, "export", meaning)
    made.add_argument("--format", required=True, choices=FORMATS, help="format of the file")
    made.add_argument("--out", type=Path, required=True, metavar="PATH", help="a new file")
    made.set_defaults(command=export)
    meaning = "what the model of a finished run answers to raw rows, as CSV"
    made = _verb(verbs, "predict", meaning)
    rows = "rows in a .npz, .csv or .parquet file; a target in it is ignored"
    made.add_argument("rows", metavar="FILE", help=rows)
    made.add_argument("--out", type=Path, metavar="CSV", help="a new file, else standard output")
    made.set_defaults(command=predict)


def _verb(verbs: Any, name: str, meaning: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = verbs.add_parser(name, help=meaning, description=meaning)
    run = "a run directory, or a file of `export --format safetensors`"
    made.add_argument("run", type=Path, metavar="RUN", help=run)
    which = "teacher (as it is without this), student, best, or round-N"
    made.add_argument("--model", default="teacher", metavar="WHICH", help=which)
    config = "the run's config, where the model's own code lies beside it"
    made.add_argument("--config", type=Path, metavar="CONFIG", help=config)
    return made


def export(options: argparse.Namespace) -> int:
    """Writes the model to new files."""
    from fl_sv.deployment.export import export
    from fl_sv.deployment.load import find_code, stored_model, with_base

    find_code(options.config)
    stored = with_base(stored_model(options.run, options.model), options.config)
    with redirect_stdout(sys.stderr):  # a user's own modules may print
        written = export(stored, options.format, options.out)
    for path in written:
        say(path)
    return 0


def predict(options: argparse.Namespace) -> int:
    """Writes what the model answers to the rows of a file."""
    from fl_sv.data.encoding import unknown_sentence
    from fl_sv.deployment.export import require_new
    from fl_sv.deployment.load import built, find_code, stored_model, with_base
    from fl_sv.deployment.predict import (
        labels_of,
        prediction_lines,
        read_raw_rows,
        write_predictions,
    )

    if options.out is not None:
        require_new(options.out)
    find_code(options.config)
    stored = with_base(stored_model(options.run, options.model), options.config)
    output = sys.stdout
    with redirect_stdout(sys.stderr):
        rows = read_raw_rows(options.rows, stored)
        if remark := unknown_sentence(options.rows, rows.unknown):
            complain(f"fl-sv: {remark} They count as no word.")
        if labels := labels_of(stored):
            names = [f"p_{k} of {label}" for k, label in enumerate(labels)]
            complain(f"fl-sv: the shares are {listed(names)}.")
        lines = prediction_lines(built(stored), rows, labels)
        if options.out is None:
            for block in lines:
                output.write(block)
            return 0
        write_predictions(lines, options.out)
    say(options.out)
    return 0
