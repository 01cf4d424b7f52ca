"""`fl-sv verify`: is the run as its owner signed it, and do its numbers follow from its tables?

First what was signed: every line of the ledger, its signature and its link, and every file against
the hashes of every close. Then what follows: the form of ledger and files, and law, values and
amounts, computed again from the utilities (`fl_sv.runs.form`, `fl_sv.runs.follow`).

What was signed is the same for every version of fl-sv. What follows may not be, so a difference
there is called one of versions where another one made the run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fl_sv.design.sample import require_design
from fl_sv.errors import FlsvError, InputError, VerificationError
from fl_sv.machine import software
from fl_sv.payment.settlement import Evidence, Settlement
from fl_sv.planning.own_law import try_law
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.follow import Signed, recomputed
from fl_sv.runs.form import section_problems, table_problems, writing_problems
from fl_sv.runs.keys import key_fingerprint, raw, read_public_key
from fl_sv.runs.ledger import LedgerLine, file_hash, newest, read_ledger, records_of
from fl_sv.runs.publish import NOT_IN_EVERY_RUN, SEALED
from fl_sv.runs.records import CloseRecord, OpenRecord, PaymentRecord
from fl_sv.runs.tables import read_evidence, read_law, read_valuation

MAX_NAMED = 20


@dataclass(frozen=True)
class Verification:
    """A run that passed every check.

    evidence: what the payouts rest on, from the tables.
    settlement: the values as they were signed; law and payouts, computed again.
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
    changed = [difference for name, difference in _file_differences(run, ledger) if name != but]
    if not changed:
        try_law(run.config)
    others: list[str] = []
    try:
        _import_nothing_unsigned(run, changed)
        evidence = read_evidence(run)
        others += section_problems(ledger, run, evidence.config)
        others += table_problems(evidence)
        amounts = newest(ledger, PaymentRecord).amounts
        written = writing_problems(run, evidence, amounts)
        others += [problem for name, problem in written if name != but]
        require_design(evidence.config, evidence.table.coalitions(evidence.table.largest_small))
        outcome = recomputed(Signed(evidence, read_law(run), read_valuation(run), ledger))
        others += outcome.differences
    except Exception as error:  # a changed number may break the arithmetic anywhere
        reason = str(error) if isinstance(error, FlsvError) else repr(error)
        others.append(f"nothing more can be recomputed: {reason}")
    if changed or others:
        raise VerificationError(_report(run, ledger, changed, others))
    assert outcome.settlement is not None  # there is a difference where it is None
    signers = tuple(key_fingerprint(opened.signer) for opened in records_of(ledger, OpenRecord))
    return Verification(evidence, outcome.settlement, len(ledger), signers)


def _report(
    run: RunDirectory, ledger: Sequence[LedgerLine], changed: list[str], others: list[str]
) -> str:
    """The message about a run with differences.

    changed: in what was signed. others: in what follows from it.
    """
    differences = [*changed, *others]
    versions = _other_version(ledger)
    if changed:
        heading, advice = f"{run.path} is not what was signed:", ""
    elif versions:
        heading = (
            f"{run.path} holds what was signed, every hash and signature is whole, but this version"
            f" of fl-sv does not come to the same. {versions} What differs here:"
        )
        advice = "Verify the run with the version that made it, before you call it wrong."
    else:
        heading = f"{run.path} holds what was signed, but that does not follow from its tables:"
        advice = ""
    named = [f"  {difference}" for difference in differences[:MAX_NAMED]]
    if len(differences) > MAX_NAMED:
        named.append(f"  and {len(differences) - MAX_NAMED} more")
    return "\n".join([heading, *named, *([advice] if advice else [])])


def _other_version(ledger: Sequence[LedgerLine]) -> str:
    """Which other version of fl-sv wrote a section; empty where this one wrote them all."""
    here = _version(software())
    for opened in records_of(ledger, OpenRecord):
        if (there := _version(opened.software)) != here:
            return f"The run was made by fl-sv {there}; this is fl-sv {here}."
    return ""


def _version(versions: dict[str, str]) -> str:
    source = versions.get("fl_sv source", "unknown")
    return f"{versions.get('fl-sv', 'of an unknown version')} (source {source[:12]})"


def _import_nothing_unsigned(run: RunDirectory, changed: Sequence[str]) -> None:
    if changed and ":" in run.config.law.family:
        raise InputError(
            "the law is a user's own, and nothing is imported by name from a directory whose files"
            " were changed"
        )


def _file_differences(run: RunDirectory, ledger: Sequence[LedgerLine]) -> Iterator[tuple[str, str]]:
    """Each file that differs from a hash in the ledger, with the difference.

    A name that no run has is not opened: it may lead out of the directory.
    """
    *earlier, last = [line for line in ledger if line.kind == CloseRecord.KIND]
    signed = last.read(CloseRecord).files
    optional = [name for name in NOT_IN_EVERY_RUN if name in signed]
    for name in (*SEALED, *optional):
        try:
            if file_hash(run, name) != signed.get(name, ""):
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
