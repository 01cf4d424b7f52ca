"""`report.html`: one self-contained page about a run that a company's lawyer can follow, from the
run's tables alone.

    tables -> page (what is said) + pictures (what is drawn) -> template

The page is a function of the run directory: the same tables give the same bytes. It quotes the
ledger's head, and is therefore written last and not hashed."""

from fl_sv.report.html import render
from fl_sv.report.page import build_page
from fl_sv.report.source import read_tables
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.files import REPORT

__all__ = ["write_missing_report", "write_report"]


def write_report(run: RunDirectory) -> None:
    """Writes `report.html` of a finished run.

    Raises InputError when a table is missing or damaged, VerificationError when one is not what the
    ledger signed."""
    run.write_text(REPORT, render(build_page(read_tables(run))))


def write_missing_report(run: RunDirectory) -> None:
    """Writes `report.html` of a finished run that has none, because it was killed after its ledger
    was written.
    """
    if not run.file(REPORT).exists():
        write_report(run)
