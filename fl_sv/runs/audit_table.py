"""audit.csv: every line of the audit, written and read.

Figures are measured once, on what the companies sent, and no file holds that. Limits and findings
follow from them.
"""

import csv
import io
import math
from collections.abc import Iterable

from fl_sv.audit.lines import WORK, AuditLine, due
from fl_sv.config import Config
from fl_sv.errors import InputError
from fl_sv.game.coalitions import NAME_JOINER
from fl_sv.game.csv import read_table
from fl_sv.numbers import decimal_number
from fl_sv.runs import files
from fl_sv.runs.directory import RunFiles

AUDIT_COLUMNS = ("check", "company", "other", "figure", "limit", "finding")


def audit_csv(lines: Iterable[AuditLine]) -> str:
    """The text of audit.csv. A check that could not be made has no figure."""
    text = io.StringIO()
    rows = [
        [
            line.check,
            line.company,
            line.other,
            "" if line.figure is None else repr(line.figure),
            repr(line.limit),
            "yes" if line.is_finding else "no",
        ]
        for line in lines
    ]
    csv.writer(text, lineterminator="\n").writerows([AUDIT_COLUMNS, *rows])
    return text.getvalue()


def read_audit(run: RunFiles) -> tuple[AuditLine, ...]:
    """The lines of audit.csv.

    Raises InputError when the file is missing or damaged, or when its lines are not those that the
    companies of the config ask for.
    """
    path, config = run.file(files.AUDIT), run.config
    lines = tuple(_line(row, where, config) for row, where in read_table(path, AUDIT_COLUMNS))
    found = [(line.check, line.company, "" if line.check == WORK else line.other) for line in lines]
    if found != due(config):
        raise InputError(
            f"{path}: its lines are not those of the companies in {files.CONFIG}, each check of"
            " each company and each two of them, in their order."
        )
    return lines


def _line(row: dict[str, str], where: str, config: Config) -> AuditLine:
    figure = None
    if row["figure"]:
        try:
            figure = decimal_number(row["figure"])
        except ValueError as error:
            raise InputError(f"{where}: {error}.") from None
        if not math.isfinite(figure):
            raise InputError(f"{where}: {row['figure']!r} is no finite number.")
    if row["check"] == WORK and row["other"]:
        members = row["other"].split(NAME_JOINER)
        if not {*members} <= {*config.companies} or row["company"] not in members:
            raise InputError(f"{where}: {row['other']!r:.80} is no coalition of this company.")
    return AuditLine(row["check"], row["company"], row["other"], figure)
