"""The journal's tables of what the audit saw of each wave."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from fl_sv.audit.wave import Deviation, Together, WaveWork, Work
from fl_sv.runs.arrays import blob
from fl_sv.runs.database import Database, Statement

WORK_SCHEMA = """
CREATE TABLE IF NOT EXISTS work (
    wave INTEGER, model TEXT, company TEXT, first BLOB, lengths BLOB,
    PRIMARY KEY (wave, model, company)
);
CREATE TABLE IF NOT EXISTS deviation (
    wave INTEGER, company TEXT, figure REAL, coalition TEXT,
    PRIMARY KEY (wave, company)
);
CREATE TABLE IF NOT EXISTS together (
    wave INTEGER, model TEXT, round INTEGER, updates BLOB, directions BLOB,
    PRIMARY KEY (wave, model, round)
);
"""


def work_statements(number: int, work: WaveWork) -> list[Statement]:
    """What enters the work of a wave."""
    insert_work = "INSERT INTO work VALUES (?, ?, ?, ?, ?)"
    insert_together = "INSERT INTO together VALUES (?, ?, ?, ?, ?)"
    insert_deviation = "INSERT INTO deviation VALUES (?, ?, ?, ?)"
    return [
        *(
            (insert_work, (number, *place, blob(each.first), blob(each.lengths)))
            for place, each in work.work.items()
        ),
        *(
            (insert_deviation, (number, company, each.figure, str(each.coalition)))
            for company, each in work.deviations.items()
        ),
        *(
            (insert_together, (number, *place, blob(each.updates), blob(each.directions)))
            for place, each in work.together.items()
        ),
    ]


def read_work(database: Database, number: int, array: Callable[[bytes], NDArray[Any]]) -> WaveWork:
    """The work of a wave; none where the wave was trained by another run.

    array: reads a cell.
    """
    done = database.read("SELECT model, company, first, lengths FROM work WHERE wave=?", number)
    query = "SELECT model, round, updates, directions FROM together WHERE wave=?"
    together = database.read(query, number)
    found = database.read("SELECT company, figure, coalition FROM deviation WHERE wave=?", number)
    return WaveWork(
        {(model, company): Work(array(one), array(other)) for model, company, one, other in done},
        {company: Deviation(figure, int(coalition)) for company, figure, coalition in found},
        {
            (model, server_round): Together(array(updates), array(directions))
            for model, server_round, updates, directions in together
        },
    )
