"""`report.html`: one self-contained page about a finished run that a company's lawyer can follow.

    run directory -> FinishedRun -> Page (tables, sentences, pictures) -> template

The page is a function of the run directory: the same tables give the same bytes. It quotes the line
of the ledger that closes the tables. Its own hash follows in a section after that line.
"""

from fl_sv.law import Law
from fl_sv.machine import software
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.publish import publish_report, report_is_signed

__all__ = ["write_missing_report", "write_report"]


def write_report(directory: RunDirectory, law: Law | None = None) -> None:
    """Writes `report.html` of a finished run, and signs it where the ledger lacks its hash.

    law: fitted to the run's tables, from a caller that has it already; None fits it again. The
    bytes are the same.

    Raises InputError when a table is missing or damaged, VerificationError when a table is not what
    the ledger signed.
    """
    # Loaded here, so that no command pays for the page before it has a finished run.
    from fl_sv.report.finished_run import read_finished_run
    from fl_sv.report.html import render
    from fl_sv.report.page import build_page

    page = render(build_page(read_finished_run(directory, law)))
    publish_report(directory, page, software())


def write_missing_report(directory: RunDirectory) -> None:
    """Writes `report.html` of a finished run that was killed before it had one, and signed it."""
    if not report_is_signed(directory):
        write_report(directory)
