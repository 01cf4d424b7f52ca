"""The form of a finished run: what its ledger holds, and how its files are written.

Whoever has the key can sign anything. So it is checked that each section of the ledger has the
lines that its command writes, that it names every file of the run, and that every file is written
exactly as fl-sv writes its content: no key twice, no line twice, no text where a number belongs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from itertools import groupby, zip_longest
from pathlib import Path

from fl_sv.config import Config, dump_config
from fl_sv.config.models import model_name
from fl_sv.config.strategies import is_the_game
from fl_sv.errors import listed
from fl_sv.game.averaged import averaged_csv
from fl_sv.game.coalitions import grand
from fl_sv.game.utilities import planned_rows, utilities_csv
from fl_sv.payment.payouts import payouts_csv, read_payouts
from fl_sv.payment.settlement import Evidence
from fl_sv.runs import files
from fl_sv.runs.compare import compare
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.ledger import LedgerLine
from fl_sv.runs.publish import SEALED
from fl_sv.runs.records import SECTIONS, CloseRecord, OpenRecord
from fl_sv.runs.tables import (
    companies_csv,
    rates_csv,
    read_cost,
    read_law,
    read_valuation,
    student_csv,
    teacher_csv,
    validation_labels,
)


def section_problems(
    ledger: Sequence[LedgerLine], run: RunDirectory, config: Config
) -> Iterator[str]:
    """What the sections of a ledger lack or have in excess.

    The first is that of `run`, and all others are of `pay`.
    """
    student = [] if config.deployed is None else [files.STUDENT]
    rates = [files.RATES] if config.tries_rates else []
    averaged = [files.AVERAGED] if run.file(files.AVERAGED).exists() else []
    all_files = {*SEALED, *student, *rates, *averaged}
    for number, lines in groupby(ledger, key=lambda line: line.section):
        opening, *_, closing = section = [*lines]
        where = f"{files.LEDGER}, section {number}"
        command = opening.read(OpenRecord).command
        wanted = "run" if number == 1 else "pay"
        if command != wanted:
            yield f"{where} is of the command {command!r}; it must be {wanted!r}"
        kinds, due = [line.kind for line in section], [record.KIND for record in SECTIONS[wanted]]
        if kinds != due:
            yield f"{where} holds the lines {listed(kinds)}; it must hold {listed(due)}"
        named = set(closing.read(CloseRecord).files)
        if missing := sorted(all_files - named):
            yield f"{closing.where}: it does not name {listed(missing)}"
        if others := sorted(named - all_files):
            yield f"{closing.where}: it names {listed(others)}, which is no file of this run"


def table_problems(evidence: Evidence) -> Iterator[str]:
    """Where the tables do not agree with the config, or with each other.

    Of the coalitions, `fl_sv.design` knows which they must be.
    """
    config, table, rounds = evidence.config, evidence.table, evidence.config.training.rounds
    *small, large = models = [*map(model_name, (*config.models.small, config.models.large))]
    seeds = dict.fromkeys(small, config.training.seeds) | {large: config.training.large_seeds}
    coalitions = {model: table.coalitions(table.largest_small) for model in small}
    planned = planned_rows(models, seeds, coalitions | {large: table.coalitions(large)})
    if [*table.planned.items()] != [*planned.items()]:
        found, due = ([*map(_named, rows)] for rows in (table.planned, planned))
        yield (
            f"{files.UTILITIES}: the rows are of {listed(found)}; by the config they must be of"
            f" {listed(due)}, each on the same coalitions"
        )
    sizes = [*evidence.sizes.values()]
    if [*evidence.sizes] != models or sizes != sorted(sizes):
        yield f"{files.LAW}: the sizes {evidence.sizes} are not those of the models, ascending"
    if [point.number for point in evidence.curve] != [*range(rounds + 1)]:
        yield f"{files.TEACHER}: the rounds are not 0 to {rounds}"
    last = grand(config.n_companies)
    if is_the_game(config.teacher.strategy) and (large, 0, last) in table.scores:
        # The teacher is the large model of the grand coalition.
        measured = table.scores[large, 0, last].loss
        yield from compare(f"{files.TEACHER}: the last loss", evidence.curve[-1].loss, measured)


def writing_problems(
    run: RunDirectory, evidence: Evidence, amounts: dict[str, int]
) -> Iterator[tuple[str, str]]:
    """Each file that is not written as fl-sv writes its content, with its first difference.

    evidence: read from the run's tables. amounts: of the newest payment, by company.
    """
    config, student = evidence.config, evidence.student
    texts: dict[str, Callable[[], str | Iterable[str]]] = {
        files.CONFIG: lambda: dump_config(config),
        files.UTILITIES: lambda: utilities_csv(evidence.table),
        files.COMPANIES: lambda: companies_csv(evidence),
        files.TEACHER: lambda: teacher_csv(evidence),
        files.LAW: lambda: read_law(run).to_json(),
        files.VALUATION: lambda: read_valuation(run).to_json(),
        files.PAYOUTS: lambda: payouts_csv({c: amounts[c] for c in config.companies}),
        files.COST: lambda: read_cost(run).to_json(),
    }
    if (averaged := evidence.averaged) is not None:
        texts[files.AVERAGED] = lambda: averaged_csv(averaged)
    paid = read_payouts(run.file(files.PAYOUTS))
    yield from ((files.PAYOUTS, each) for each in compare(files.PAYOUTS, paid, amounts))
    if (rates := evidence.rates) is not None:
        texts[files.RATES] = lambda: rates_csv(rates)
    if student is not None:
        texts[files.STUDENT] = lambda: student_csv(student)
    for name, written in texts.items():
        if (problem := _first_difference(run.file(name), written())) is not None:
            yield name, f"{name}, {problem}"
    labels = validation_labels(run.read_bytes(files.VALIDATION))
    expected = (config.companies, evidence.table.largest_small)
    if labels != expected:
        problem = f"{files.VALIDATION} is of {labels!r}; it must be of {expected!r}"
        yield files.VALIDATION, problem


def _named(row: tuple[str, int]) -> str:
    return f"{row[0]} (seed {row[1]})"


def _first_difference(path: Path, written: str | Iterable[str]) -> str | None:
    """The first line in which a file is not as written, ends of lines included.

    written: the text, or its lines, of which there may be millions.
    """
    lines = (
        BytesIO(written.encode())
        if isinstance(written, str)
        else (line.encode() for line in written)
    )
    with path.open("rb") as file:
        for number, (one, other) in enumerate(zip_longest(file, lines), start=1):
            if one != other:
                return f"line {number} is {_shown(one)}; as fl-sv writes it, it is {_shown(other)}"
    return None


def _shown(line: bytes | None) -> str:
    if line is None:
        return "missing"
    return ascii(line[:80].decode(errors="replace")) + ("..." if len(line) > 80 else "")
