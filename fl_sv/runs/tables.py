"""The tables of a run, written and read.

On one machine, equal config and seed give `utilities.csv`, `valuation.json` and `payouts.csv` the
same bytes.

Shapes: N companies, V validation examples.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from fl_sv.config.models import model_name
from fl_sv.config.names import CompanyName
from fl_sv.design.rates import TriedRate, TriedRates, rates_to_try
from fl_sv.errors import InputError, listed
from fl_sv.game.averaged import read_averaged
from fl_sv.game.csv import read_table
from fl_sv.game.utilities import read_utilities
from fl_sv.numbers import decimal_number, whole_number
from fl_sv.payment.settlement import Evidence, StudentLoss, TeacherLoss
from fl_sv.runs import files
from fl_sv.runs.audit_table import read_audit
from fl_sv.runs.cost import CostRecord
from fl_sv.runs.directory import RunFiles
from fl_sv.runs.records import LawRecord
from fl_sv.runs.validation import load_groups, load_validation
from fl_sv.valuation.appraise import shapley_weighting
from fl_sv.valuation.records import Valuation

COMPANY_COLUMNS = ("company", "examples", "fingerprint")
NOBODY = ""  # in companies.csv the owner of rows that belong to no company
TEACHER_COLUMNS = ("round", "loss", "accuracy")
RATE_COLUMNS = (
    "model",
    "learning_rate",
    "status",
    "rounds",
    "company",
    "rows",
    "untrained_loss",
    "loss",
    "chosen",
)
STUDENT_COLUMNS = tuple(field.name for field in fields(StudentLoss))
_COMPANY = TypeAdapter(CompanyName)
Number = TypeVar("Number", int, float)


def read_evidence(run: RunFiles) -> Evidence:
    """The evidence of a finished run, from its tables alone.

    Raises InputError when a table is missing or damaged.
    """
    config = run.config
    examples, fingerprints, rows_left_out = read_companies(run)
    if tuple(examples) != config.companies:
        raise InputError(
            f"{run.file(files.COMPANIES)}: the companies are not those of {files.CONFIG}."
        )
    table = read_utilities(run.file(files.UTILITIES), config.companies)
    models = tuple(map(model_name, (*config.models.small, config.models.large)))
    if table.models != models:
        raise InputError(
            f"{run.file(files.UTILITIES)}: the models are {listed(table.models)}; by"
            f" {files.CONFIG} they are {listed(models)}."
        )
    validation = run.read_bytes(files.VALIDATION)
    validation_NV = load_validation(validation, config.n_companies)
    return Evidence(
        config=config,
        table=table,
        sizes=read_law(run).sizes,
        examples=examples,
        fingerprints=fingerprints,
        weighting=shapley_weighting(config, table),
        validation_NV=validation_NV,
        curve=_read_teacher(run),
        averaged=read_averaged(run.file(files.AVERAGED), table)
        if run.has(files.AVERAGED)
        else None,
        student=None if config.deployed is None else _read_student(run),
        rows_left_out=rows_left_out,
        rates=read_rates(run) if config.tries_rates else None,
        audit=read_audit(run),
        groups=load_groups(validation, validation_NV.shape[1]),
    )


def read_law(run: RunFiles) -> LawRecord:
    """The content of law.json. Raises InputError when it is missing or damaged."""
    return LawRecord.from_json(run.read_text(files.LAW))


def read_cost(run: RunFiles) -> CostRecord:
    """The content of cost.json. Raises InputError when it is missing or damaged."""
    return CostRecord.from_json(run.read_text(files.COST))


def read_valuation(run: RunFiles) -> Valuation:
    """The content of valuation.json. Raises InputError when it is missing or damaged."""
    return Valuation.from_json(run.read_text(files.VALUATION))


def companies_csv(evidence: Evidence) -> str:
    """The text of companies.csv. Rows that were left out stand last, under no company's name."""
    rows = [
        [name, evidence.examples[name], evidence.fingerprints[name]]
        for name in evidence.config.companies
    ]
    if evidence.rows_left_out:
        rows.append([NOBODY, evidence.rows_left_out, ""])
    return _csv(COMPANY_COLUMNS, rows)


def teacher_csv(curve: Iterable[TeacherLoss]) -> str:
    """The text of teacher.csv. curve: the rounds so far."""
    rows = [[p.number, repr(p.loss), "" if p.accuracy is None else repr(p.accuracy)] for p in curve]
    return _csv(TEACHER_COLUMNS, rows)


def rates_csv(rates: TriedRates) -> str:
    """The text of rates.csv: a line for each model and each learning rate that was tried."""
    rows = [
        [
            each.model,
            repr(each.rate),
            each.status,
            each.rounds,
            each.company,
            rates.rows,
            repr(each.untrained_loss),
            "" if each.loss is None else repr(each.loss),
            "yes" if rates.takes(each) else "no",
        ]
        for each in rates.tried
    ]
    return _csv(RATE_COLUMNS, rows)


def student_csv(student: StudentLoss) -> str:
    """The text of student.csv."""
    return _csv(
        STUDENT_COLUMNS, [["" if value is None else value for value in asdict(student).values()]]
    )


def _csv(header: Sequence[str], rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def read_companies(run: RunFiles) -> tuple[dict[str, int], dict[str, str], int]:
    """Examples and fingerprint of each company, as registered, and how many rows were left out."""
    examples: dict[str, int] = {}
    fingerprints: dict[str, str] = {}
    for row, where in read_table(run.file(files.COMPANIES), COMPANY_COLUMNS):
        company = row["company"]
        examples[company], fingerprints[company] = (
            _number(whole_number, row["examples"], where),
            row["fingerprint"],
        )
    fingerprints.pop(NOBODY, None)
    return examples, fingerprints, examples.pop(NOBODY, 0)


def _read_teacher(run: RunFiles) -> tuple[TeacherLoss, ...]:
    path = run.file(files.TEACHER)
    curve = tuple(
        TeacherLoss(
            _number(whole_number, row["round"], where),
            _number(decimal_number, row["loss"], where),
            _number(decimal_number, row["accuracy"], where) if row["accuracy"] else None,
        )
        for row, where in read_table(path, TEACHER_COLUMNS)
    )
    if not curve:
        raise InputError(f"{path} holds no round of the teacher.")
    return curve


def read_rates(run: RunFiles) -> TriedRates:
    """The learning rates that a run tried, and those that it takes.

    Raises InputError when rates.csv is missing or damaged, when its rates are not those that the
    config asks for, or when a choice does not follow from the losses.
    """
    path = run.file(files.RATES)
    lines = [*read_table(path, RATE_COLUMNS)]
    tried = tuple(_read_rate(row, where, run.config.training.rounds) for row, where in lines)
    found = [(each.model, each.rate) for each in tried]
    due = [(model, rate) for model, some in rates_to_try(run.config).items() for rate in some]
    if found != due:
        raise InputError(f"{path}: the rates must be {listed(due, 40)}; found {listed(found, 40)}.")
    counts = {_number(whole_number, row["rows"], where) for row, where in lines}
    (n_rows, *others) = sorted(counts)
    if others or n_rows < 1:
        raise InputError(
            f"{path}: rows must be the same number in every line, at least 1; found"
            f" {listed(sorted(counts))}."
        )
    rates = TriedRates(run.config, n_rows, tried)
    for each, (row, where) in zip(tried, lines, strict=True):
        follows = "yes" if rates.takes(each) else "no"
        if row["chosen"] != follows:
            raise InputError(
                f"{where}: chosen is {row['chosen']!r} for the rate {each.rate!r} of {each.model};"
                f" by the losses it must be {follows!r}."
            )
    return rates


def _read_rate(row: dict[str, str], where: str, rounds: int) -> TriedRate:
    each = TriedRate(
        row["model"],
        _number(decimal_number, row["learning_rate"], where),
        _number(whole_number, row["rounds"], where),
        row["company"],
        _number(decimal_number, row["untrained_loss"], where),
        _number(decimal_number, row["loss"], where) if row["loss"] else None,
    )
    whole = each.loss is not None
    if row["status"] != each.status or not 1 <= each.rounds <= rounds:
        raise InputError(f"{where}: status or rounds do not fit the loss and training.rounds.")
    if whole and (each.rounds < rounds or each.company):
        raise InputError(f"{where}: a training that is done has all {rounds} rounds.")
    if each.company:  # of this run, or of the one that it extends
        _require_name(each.company, where)
    return each


def _require_name(company: str, where: str) -> None:
    try:
        _COMPANY.validate_python(company)
    except ValidationError:
        raise InputError(f"{where}: {company!r:.80} is no company's name.") from None


def _read_student(run: RunFiles) -> StudentLoss:
    path = run.file(files.STUDENT)
    found = [
        StudentLoss(
            row["model"],
            _number(whole_number, row["parameters"], where),
            row["transfer_set"],
            _number(whole_number, row["rows"], where),
            _number(decimal_number, row["loss"], where),
            _number(decimal_number, row["accuracy"], where) if row["accuracy"] else None,
        )
        for row, where in read_table(path, STUDENT_COLUMNS)
    ]
    if len(found) != 1:
        raise InputError(f"{path} holds {len(found)} students; one is deployed.")
    return found[0]


def _number(read: Callable[[str], Number], text: str, where: str) -> Number:
    try:
        number = read(text)
    except ValueError as error:
        raise InputError(f"{where}: {error}.") from None
    if not math.isfinite(number):
        raise InputError(f"{where}: {text!r} is no finite number.")
    return number
