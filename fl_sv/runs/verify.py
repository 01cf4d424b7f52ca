"""`fl-sv verify`: is this run what its owner signed, and do its numbers follow from its tables?

First the chain: every line of the ledger, its signature and its link. Then the files, against the
hashes of every close. Then the arithmetic: law, values and amounts are computed again from the
utilities. Hashes and cents must agree exactly, floats to 1e-9.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_sv.design.large_runs import require_planned_large_runs
from fl_sv.design.sample import require_design
from fl_sv.errors import FlsvError, InputError, VerificationError, listed
from fl_sv.payment.intervals import require_stop
from fl_sv.payment.payouts import read_payouts
from fl_sv.payment.settlement import Evidence, Settlement, divide, settle
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.files import LEDGER
from fl_sv.runs.keys import fingerprint, raw, read_public_key
from fl_sv.runs.ledger import CLOSE, OPEN, Record, file_hash, read_ledger, signers
from fl_sv.runs.publish import PAYOUTS, SEALED, law_record, payment_record, run_records
from fl_sv.runs.records import PaymentRecord
from fl_sv.runs.tables import read_evidence
from fl_sv.valuation.fit import try_law

TOLERANCE = 1e-9
MAX_NAMED = 20


@dataclass(frozen=True)
class Verification:
    """What a run rests on, and what follows from it, when both are what its ledger says."""

    evidence: Evidence
    settlement: Settlement


def verify_run(run: RunDirectory, public_key: Path | None) -> list[str]:
    """Lines that say what was checked. `public_key` pins the signer.

    Raises VerificationError that names every difference found (files, lines, digits), InputError
    for a bad key or a folder without a run.
    """
    pinned = read_public_key(public_key) if public_key else None
    if not run.finished and not run.file(files.PAYOUTS).exists():
        raise InputError(
            f"{run.path} holds no finished run. Give the folder that `fl-sv run --out` wrote; one"
            " that was stopped goes on with --resume."
        )
    records = read_ledger(run)
    keys = signers(records)
    for section, key in enumerate(keys, start=1):
        if pinned is not None and key != raw(pinned):
            raise VerificationError(
                f"{LEDGER}: section {section} is not signed by the owner of {public_key}, but by"
                f" the key with the fingerprint {fingerprint(key)}."
            )
    verified(run)
    lines = [
        f"{len(records)} ledger lines in {len(keys)} sections: chain and signatures are whole.",
        (
            "Every file has the hash that was signed; law, values and amounts follow from the"
            " utilities."
        ),
        (
            "Signed by the key with the fingerprint"
            f" {', '.join(dict.fromkeys(map(fingerprint, keys)))}."
        ),
    ]
    if pinned is None:
        lines.append(
            "The signer was not pinned: a directory that somebody signed anew as a whole cannot be"
            " noticed. Compare the fingerprint with the owner's, or give --key."
        )
    return lines


def verified(run: RunDirectory, *, but: str = "") -> Verification:
    """The run, after every check; a file named `but` is left out.

    Raises VerificationError that names every difference found, InputError when a law of the user's
    cannot be had here.
    """
    records = read_ledger(run)
    differences = [
        difference for name, difference in _file_differences(run, records) if name != but
    ]
    if not differences:
        try_law(run.config)
    try:
        _import_nothing_unsigned(run, differences)
        evidence = read_evidence(run)
        require_design(evidence.config, evidence.table.coalitions(evidence.table.models[-2]))
        require_planned_large_runs(
            evidence.config, evidence.table, evidence.sizes, evidence.examples
        )
        require_stop(evidence)
        settlement = settle(evidence)
        differences += _value_differences(run, evidence, settlement)
        differences += _record_differences(records, evidence, settlement)
        if but != files.PAYOUTS:
            differences += _amount_differences(run, records)
    except Exception as error:  # numbers that somebody changed may break the arithmetic anywhere
        reason = str(error) if isinstance(error, FlsvError) else repr(error)
        differences.append(f"nothing more can be recomputed: {reason}")
    if differences:
        named = "\n".join(f"  {difference}" for difference in differences[:MAX_NAMED])
        more = (
            f"\n  and {len(differences) - MAX_NAMED} more" if len(differences) > MAX_NAMED else ""
        )
        raise VerificationError(f"{run.path} is not what was signed:\n{named}{more}")
    return Verification(evidence, settlement)


def _import_nothing_unsigned(run: RunDirectory, differences: Sequence[str]) -> None:
    if differences and ":" in run.config.law.family:
        raise InputError(
            "the law is a user's own, and where files were changed nothing that they name is"
            " imported"
        )


def _file_differences(run: RunDirectory, records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Each file that is not what the newest close hashed, or that an earlier close hashed
    otherwise.
    """
    *earlier, newest = [record for record in records if record.kind == CLOSE]
    for name in dict.fromkeys([*SEALED, *newest.body["files"]]):
        signed = newest.body["files"].get(name)
        try:
            if file_hash(run, name) != signed:
                yield name, f"{name} was changed after it was signed"
        except VerificationError as error:
            yield name, str(error)
        for close in earlier:
            if name != files.PAYOUTS and close.body["files"].get(name) != signed:
                yield (
                    name,
                    (
                        f"{name} was changed between lines {close.number} and {newest.number} of"
                        f" {LEDGER}"
                    ),
                )


def _value_differences(
    run: RunDirectory, evidence: Evidence, settlement: Settlement
) -> Iterator[str]:
    recorded = json.loads(run.read_text(files.VALUATION))
    yield from _compare("valuation.json", recorded, json.loads(settlement.valuation.to_json()))
    law = json.loads(run.read_text(files.LAW))
    yield from _compare("law.json", law, json.loads(law_record(evidence, settlement).to_json()))
    means = evidence.validation_NV.mean(axis=1).tolist()
    small = [company.small_value for company in settlement.valuation.companies]
    yield from _compare("validation.npz: mean of row ", means, small)


def _record_differences(
    records: Sequence[Record], evidence: Evidence, settlement: Settlement
) -> Iterator[str]:
    """Every line of the first section is a function of the evidence; later ones divide another pot."""
    of_run = dict(run_records(evidence, settlement))
    for record in records:
        if record.kind not in (OPEN, CLOSE):
            body = (
                of_run.get(record.kind)
                if record.section == 1
                else _paid_again(evidence, settlement, record)
            )
            yield from _compare(f"{LEDGER}, line {record.number}", record.body, body)


def _paid_again(evidence: Evidence, settlement: Settlement, record: Record) -> dict[str, Any]:
    """The payment of a later section, computed again by the rules that it names."""
    paid = PaymentRecord.read(record.body, f"{LEDGER}, line {record.number}")
    alarms = settlement.alarms
    again = divide(evidence, settlement.valuation, alarms, paid.rules, paid.accepted)
    return payment_record(again).body()


def _amount_differences(run: RunDirectory, records: Sequence[Record]) -> Iterator[str]:
    amounts = [record.body["amounts"] for record in records if record.kind == PAYOUTS]
    yield from _compare("payouts.csv", read_payouts(run.file(files.PAYOUTS)), amounts[-1])


def _compare(where: str, recorded: Any, computed: Any) -> Iterator[str]:
    """A sentence for every leaf that differs: floats beyond TOLERANCE, everything else at all."""
    if isinstance(recorded, dict) and isinstance(computed, dict):
        if set(recorded) != set(computed):
            yield (
                f"{where}: the keys are {listed(sorted(recorded))}; computed are"
                f" {listed(sorted(computed))}"
            )
            return
        for key in recorded:
            yield from _compare(f"{where}, {key}", recorded[key], computed[key])
    elif (
        isinstance(recorded, list) and isinstance(computed, list) and len(recorded) == len(computed)
    ):
        for index, pair in enumerate(zip(recorded, computed, strict=True)):
            yield from _compare(f"{where}[{index}]", *pair)
    elif isinstance(recorded, float) and isinstance(computed, float | int):
        if not abs(recorded - computed) <= TOLERANCE * max(1.0, abs(computed)):
            yield f"{where} is {recorded!r}; recomputed it is {computed!r}"
    elif recorded != computed:
        yield f"{where} is {recorded!r}; recomputed it is {computed!r}"
