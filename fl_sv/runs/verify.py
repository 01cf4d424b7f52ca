"""`fl-sv verify`: is the run as its owner signed it, and do its numbers follow from its tables?

First the chain: every line of the ledger, its signature and its link. Then the files, against the
hashes of every close. Then the arithmetic: law, values and amounts are computed again from the
utilities. Hashes and cents must agree exactly, floats to 1e-9.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fl_sv.design.large_runs import require_planned_large_runs
from fl_sv.design.sample import require_design
from fl_sv.errors import FlsvError, InputError, VerificationError
from fl_sv.payment.payouts import read_payouts
from fl_sv.payment.settlement import Evidence, Settlement, divide_pot, settle
from fl_sv.payment.stopping import require_large_enough
from fl_sv.runs import files
from fl_sv.runs.compare import compare
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.keys import key_fingerprint, raw, read_public_key
from fl_sv.runs.ledger import LedgerLine, file_hash, newest, read_ledger, records_of
from fl_sv.runs.publish import sealed
from fl_sv.runs.records import (
    CloseRecord,
    LawRecord,
    LedgerRecord,
    OpenRecord,
    PaymentRecord,
    run_records,
)
from fl_sv.runs.tables import read_evidence
from fl_sv.valuation.fit import try_law

MAX_NAMED = 20


@dataclass(frozen=True)
class Verification:
    """A run that passed every check.

    evidence: what the payouts rest on, from the tables.
    settlement: law, values and payouts, computed again from the evidence.
    ledger_lines: lines of the ledger.
    signers: for each section of the ledger, the fingerprint of the key that signed it.
    """

    evidence: Evidence
    settlement: Settlement
    ledger_lines: int
    signers: tuple[str, ...]


def verify_run(run: RunDirectory, public_key: Path | None) -> Verification:
    """Checks everything.

    public_key: if given, every section must be signed with this key.

    Raises VerificationError that names every difference (files, lines, digits), InputError for a
    bad key or a folder without a run.
    """
    pinned = read_public_key(public_key) if public_key else None
    if not run.finished and not run.file(files.PAYOUTS).exists():
        raise InputError(
            f"{run.path} holds no finished run. Give the folder that `fl-sv run --out` wrote; one"
            " that was stopped continues with --resume."
        )
    for section, opened in enumerate(records_of(read_ledger(run), OpenRecord), start=1):
        if pinned is not None and opened.signer != raw(pinned):
            raise VerificationError(
                f"{files.LEDGER}: section {section} is not signed by the owner of {public_key}, but"
                f" by the key with the fingerprint {key_fingerprint(opened.signer)}."
            )
    return verified(run)


def verified(run: RunDirectory, *, but: str = "") -> Verification:
    """The run, after every check except those of the file named `but`.

    Raises VerificationError that names every difference, InputError when a law of the user's own
    cannot be imported here.
    """
    ledger = read_ledger(run)
    differences = [difference for name, difference in _file_differences(run, ledger) if name != but]
    if not differences:
        try_law(run.config)
    try:
        _import_nothing_unsigned(run, differences)
        evidence = read_evidence(run)
        require_design(evidence.config, evidence.table.coalitions(evidence.table.largest_small))
        require_planned_large_runs(
            evidence.config, evidence.table, evidence.sizes, evidence.examples, evidence.averaged
        )
        require_large_enough(evidence)
        settlement = settle(evidence)
        differences += _value_differences(run, evidence, settlement)
        differences += _record_differences(ledger, evidence, settlement)
        if but != files.PAYOUTS:
            differences += _amount_differences(run, ledger)
    except Exception as error:  # a changed number may break the arithmetic anywhere
        reason = str(error) if isinstance(error, FlsvError) else repr(error)
        differences.append(f"nothing more can be recomputed: {reason}")
    if differences:
        named = "\n".join(f"  {difference}" for difference in differences[:MAX_NAMED])
        more = (
            f"\n  and {len(differences) - MAX_NAMED} more" if len(differences) > MAX_NAMED else ""
        )
        raise VerificationError(f"{run.path} is not what was signed:\n{named}{more}")
    signers = tuple(key_fingerprint(opened.signer) for opened in records_of(ledger, OpenRecord))
    return Verification(evidence, settlement, len(ledger), signers)


def _import_nothing_unsigned(run: RunDirectory, differences: Sequence[str]) -> None:
    if differences and ":" in run.config.law.family:
        raise InputError(
            "the law is a user's own, and nothing is imported by name from a directory whose files"
            " were changed"
        )


def _file_differences(run: RunDirectory, ledger: Sequence[LedgerLine]) -> Iterator[tuple[str, str]]:
    """Each file that differs from a hash in the ledger, with the difference."""
    *earlier, last = [line for line in ledger if line.kind == CloseRecord.KIND]
    signed = last.read(CloseRecord).files
    for name in dict.fromkeys([*sealed(run), *signed]):
        try:
            if file_hash(run, name) != signed.get(name):
                yield name, f"{name} was changed after it was signed"
        except VerificationError as error:
            yield name, str(error)
        if name == files.PAYOUTS:  # every payment writes it anew
            continue
        for close in earlier:
            if close.read(CloseRecord).files.get(name) != signed.get(name):
                yield (
                    name,
                    f"{name} was changed between lines {close.number} and {last.number} of"
                    f" {files.LEDGER}",
                )


def _value_differences(
    run: RunDirectory, evidence: Evidence, settlement: Settlement
) -> Iterator[str]:
    valuation = json.loads(run.read_text(files.VALUATION))
    yield from compare(files.VALUATION, valuation, json.loads(settlement.valuation.to_json()))
    law = json.loads(run.read_text(files.LAW))
    yield from compare(files.LAW, law, json.loads(LawRecord.of(evidence, settlement).to_json()))
    means = evidence.validation_NV.mean(axis=1).tolist()
    small = [company.small_value for company in settlement.valuation.companies]
    yield from compare(f"{files.VALIDATION}: mean of row ", means, small)


def _record_differences(
    ledger: Sequence[LedgerLine], evidence: Evidence, settlement: Settlement
) -> Iterator[str]:
    """The first section follows from the evidence; a later one is another payment."""
    of_run = {record.KIND: record for record in run_records(evidence, settlement)}
    for line in ledger:
        if line.kind in (OpenRecord.KIND, CloseRecord.KIND):
            continue
        computed: LedgerRecord | None
        if line.section == 1:
            computed = of_run.get(line.kind)
        else:
            computed = _paid_again(evidence, settlement, line.read(PaymentRecord))
        yield from compare(line.where, line.body, computed.body() if computed else None)


def _paid_again(evidence: Evidence, settlement: Settlement, paid: PaymentRecord) -> PaymentRecord:
    """The payment of a later section, computed again by the rules that it names."""
    alarms = settlement.alarms
    again = divide_pot(evidence, settlement.valuation, alarms, paid.rules, paid.accepted)
    return PaymentRecord.of(again)


def _amount_differences(run: RunDirectory, ledger: Sequence[LedgerLine]) -> Iterator[str]:
    amounts = read_payouts(run.file(files.PAYOUTS))
    yield from compare(files.PAYOUTS, amounts, newest(ledger, PaymentRecord).amounts)
