"""`fl-sv verify`: is this run what its owner signed, and do its numbers follow from its tables?

First the chain: every line of the ledger, its signature and its link. Then the files, against the hashes of the newest
close. Then the arithmetic: law, values and amounts are computed again from the utilities. Hashes and cents must agree
exactly, floats to 1e-9.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fl_sv import rundir
from fl_sv.config.schema import Payouts
from fl_sv.errors import FlsvError, VerificationError, listed
from fl_sv.keys import fingerprint, raw, read_public_key
from fl_sv.ledger import CLOSE, Record, file_hash, newest, read_records, signers
from fl_sv.payouts import read_payouts
from fl_sv.publish import read_evidence
from fl_sv.rundir import RunDirectory
from fl_sv.settlement import Evidence, Settlement, settle, split
from fl_sv.valuation import law_text

TOLERANCE = 1e-9
MAX_NAMED = 20


def verify_run(run: RunDirectory, public_key: Path | None) -> list[str]:
    """Lines that say what was checked. `public_key` pins the signer.

    Raises VerificationError that names every difference found (files, lines, digits), InputError for a bad key.
    """
    pinned = read_public_key(public_key) if public_key else None
    records = read_records(run.read_text(rundir.LEDGER))
    if not records:
        raise VerificationError("ledger.jsonl is empty.")
    if pinned is not None and any(signer != raw(pinned) for signer in signers(records)):
        raise VerificationError(f"ledger.jsonl: the signer is not the owner of {public_key}.")
    differences = [*_file_differences(run, records), *_recomputed_differences(run, records)]
    if differences:
        named = "\n".join(f"  {difference}" for difference in differences[:MAX_NAMED])
        more = f"\n  and {len(differences) - MAX_NAMED} more" if len(differences) > MAX_NAMED else ""
        raise VerificationError(f"{run.path} is not what was signed:\n{named}{more}")
    marks = ", ".join(dict.fromkeys(fingerprint(signer) for signer in signers(records)))
    lines = [
        f"{len(records)} ledger lines in {records[-1].section} sections: chain and signatures are whole.",
        "Every file has the hash that was signed; law, values and amounts follow from the utilities.",
        f"Signed by the key with the fingerprint {marks}.",
    ]
    if pinned is None:
        lines.append(
            "The signer was not pinned: a directory that somebody signed anew as a whole cannot be noticed. "
            "Compare the fingerprint with the owner's, or give --key."
        )
    return lines


def _file_differences(run: RunDirectory, records: list[Record]) -> Iterator[str]:
    for name, expected in newest(records, CLOSE).body["files"].items():
        try:
            if file_hash(run, name) != expected:
                yield f"{name} was changed after it was signed"
        except VerificationError as error:
            yield str(error)


def _recomputed_differences(run: RunDirectory, records: list[Record]) -> Iterator[str]:
    try:
        evidence = read_evidence(run)
        settlement = settle(evidence)
        yield from _registered_differences(evidence, records)
        yield from _value_differences(run, settlement, evidence)
        yield from _amount_differences(run, evidence, settlement, records)
    except (FlsvError, ValueError, KeyError) as error:
        yield f"nothing can be recomputed: {error}"


def _registered_differences(evidence: Evidence, records: list[Record]) -> Iterator[str]:
    registered = newest(records, "companies").body
    yield from _compare("companies.csv: examples", evidence.examples, registered["examples"])
    yield from _compare("companies.csv: fingerprint", evidence.fingerprints, registered["fingerprints"])
    models = newest(records, "models").body
    yield from _compare("law.json: sizes", evidence.sizes, models["parameters"])
    yield from _compare("teacher.csv: last loss", -evidence.deployed_utility, -models["deployed_utility"])


def _value_differences(run: RunDirectory, settlement: Settlement, evidence: Evidence) -> Iterator[str]:
    recorded = json.loads(run.read_text(rundir.VALUATION))
    yield from _compare("valuation.json", recorded, json.loads(settlement.valuation.to_json()))
    law = json.loads(run.read_text(rundir.LAW))
    yield from _compare("law.json", law, json.loads(law_text(settlement.law, evidence.sizes)))


def _amount_differences(
    run: RunDirectory, evidence: Evidence, settlement: Settlement, records: list[Record]
) -> Iterator[str]:
    signed = newest(records, "payouts").body
    rules = Payouts.model_validate_json(json.dumps(signed["rules"]))
    companies = evidence.config.companies
    amounts, _ = split(settlement.valuation.values, rules, companies, evidence.deployed_utility)
    yield from _compare("payouts.csv", read_payouts(run.file(rundir.PAYOUTS)), amounts)
    yield from _compare("ledger.jsonl: payouts", signed["amounts"], amounts)


def _compare(where: str, recorded: Any, computed: Any) -> Iterator[str]:
    """A sentence for every leaf that differs: floats beyond TOLERANCE, everything else at all."""
    if isinstance(recorded, dict) and isinstance(computed, dict):
        if set(recorded) != set(computed):
            yield f"{where}: the keys are {listed(sorted(recorded))}; computed are {listed(sorted(computed))}"
            return
        for key in recorded:
            yield from _compare(f"{where}, {key}", recorded[key], computed[key])
    elif isinstance(recorded, list) and isinstance(computed, list) and len(recorded) == len(computed):
        for index, pair in enumerate(zip(recorded, computed, strict=True)):
            yield from _compare(f"{where}[{index}]", *pair)
    elif isinstance(recorded, float) and isinstance(computed, float | int):
        if not abs(recorded - computed) <= TOLERANCE * max(1.0, abs(computed)):
            yield f"{where} is {recorded!r}; recomputed it is {computed!r}"
    elif recorded != computed:
        yield f"{where} is {recorded!r}; recomputed it is {computed!r}"
