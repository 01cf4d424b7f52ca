"""`fl-sv verify`: is the run as its owner signed it, and do its numbers follow from its tables?

A run is genuine when all of these rules hold. Somebody who holds the key can sign anything, so that
the rules from 7 on are for what its owner himself may have changed.

What lies there
 1. Each thing in the directory is a file of `fl_sv.runs.files`; each is a regular file, no link.
 2. No file is larger than the signed config allows.
What was signed
 3. Every line of the ledger is written in the one way in which fl-sv writes it, base64 too.
 4. Every line is signed by the key that its section names; with --key, that is this key.
 5. Every line follows from the one before it: number, section, hash. The last one is a close.
 6. Every file has the hash of every close; payouts.csv has that of the newest, and each close that
    of the payment before it. report.html has the hash of the newest report.
Where one of 2 to 6 is broken, nothing is parsed or computed.

What the sections hold
 7. The first is of `run`, all others of `pay` or `report`. Each has the lines of its command.
 8. Each names the files that the config asks for, and no others.
 9. None is dated before the one that it follows.
10. Each report is about the newest tables.
How the files are written
11. Every file is written exactly as fl-sv writes what it holds.
12. validation.npz holds its three arrays as they are, not compressed, and nothing beside them.
Whether they agree
13. The trainings, the models and the large runs are those that the config plans.
14. teacher.csv has the config's rounds.
15. It ends in the loss and accuracy of utilities.csv, and begins in the untrained model's.
16. The rows held out are the config's share of all rows; accuracies are whole numbers of them, or
    with several targets in a row shares.
    audit.csv has the lines of these companies, its limits and findings follow from its figures.
17. The student is the one of the config, and the share in cost.json that of its stages.
What follows
18. Law, alarms, values and intervals follow from the utilities, to 1e-9 (`fl_sv.runs.follow`).
19. Order, records and cents follow exactly from the values as they were signed.
20. A later payment divides a fixed pot, is by the config's other rules, and accepts what fired.
The models (`fl_sv.runs.model_form`)
21. Each holds finite numbers in the format safetensors, as many as it has parameters.
22. What stands beside them is what config, tables and ledger say.

What was signed is the same for every version of fl-sv. What follows may not be, so a difference
there is called one of versions where another one made the run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fl_sv.config import Config
from fl_sv.design.sample import require_design
from fl_sv.errors import FlsvError, InputError, VerificationError
from fl_sv.machine import software
from fl_sv.payment.settlement import Evidence, Settlement
from fl_sv.planning.own_law import try_law
from fl_sv.runs import files
from fl_sv.runs.agree import accuracy_problems, cost_problems, table_problems
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.follow import Signed, recomputed
from fl_sv.runs.form import (
    Difference,
    hash_differences,
    payment_problems,
    report_problems,
    section_problems,
    writing_problems,
)
from fl_sv.runs.held import HeldRun, hold
from fl_sv.runs.keys import key_fingerprint, raw, read_public_key
from fl_sv.runs.ledger import LedgerLine, newest, records_of, tables_head
from fl_sv.runs.model_form import model_problems, teacher_record
from fl_sv.runs.records import OpenRecord, PaymentRecord
from fl_sv.runs.tables import read_cost, read_evidence, read_law, read_valuation

MAX_NAMED = 20


@dataclass(frozen=True)
class Verification:
    """A run that passed every check.

    evidence: what the payouts rest on, from the tables.
    settlement: the values as they were signed; law and payouts, computed again.
    ledger: its lines.
    signers: for each section of the ledger, the fingerprint of the key that signed it.
    """

    evidence: Evidence
    settlement: Settlement
    ledger: tuple[LedgerLine, ...]
    signers: tuple[str, ...]

    @property
    def ledger_lines(self) -> int:
        """How many lines the ledger has."""
        return len(self.ledger)

    @property
    def head(self) -> str:
        """sha256 of the ledger's last line: whoever keeps it notices every later change."""
        return self.ledger[-1].digest

    @property
    def tables_head(self) -> LedgerLine:
        """The line that closes the newest tables; the report quotes it."""
        return tables_head(self.ledger)

    @property
    def payment(self) -> PaymentRecord:
        """The newest payment, of which payouts.csv is: its amounts, rules and alarms."""
        return newest(self.ledger, PaymentRecord)

    @property
    def payable(self) -> bool:
        """Whether these amounts may be paid."""
        return self.payment.payable


def verify_run(run: RunDirectory, public_key: Path | None) -> Verification:
    """Checks everything.

    public_key: if given, every section must be signed with this key.

    Raises VerificationError that names every difference (files, lines, digits), InputError for a
    bad key or a folder without a run.
    """
    pinned = read_public_key(public_key) if public_key else None
    if not run.finished and not run.has(files.PAYOUTS):
        raise InputError(
            f"{run.path} holds no finished run. Give the folder that `fl-sv run --out` wrote; one"
            " that was stopped continues with --resume."
        )
    held = hold(run)
    if pinned is not None:
        for section, opened in enumerate(records_of(held.ledger(), OpenRecord), start=1):
            if opened.signer != raw(pinned):
                raise VerificationError(
                    f"{files.LEDGER}: section {section} is not signed by the owner of {public_key},"
                    f" but by the key with the fingerprint {key_fingerprint(opened.signer)}."
                )
    return verified_files(held)


def verified(run: RunDirectory, *, but: Sequence[str] = ()) -> Verification:
    """The run, after every check except those of the files named `but`, and of what lies there.

    Raises VerificationError that names every difference, InputError when a law of the user's own
    cannot be imported here.
    """
    held = hold(run)
    return verified_files(replace(held, strangers=()), but=frozenset(but))


def verified_files(run: HeldRun, *, but: frozenset[str] = frozenset()) -> Verification:
    """The same of files that were read: nothing else decides what is found.

    The one exception is a law of the user's own, which is imported by name.
    """
    ledger = run.ledger()  # rules 3 to 5
    changed = [*_but(but, hash_differences(run, ledger))]
    if changed:
        raise VerificationError(_report(run, ledger, [*run.strangers, *changed], []))
    try_law(_config(run, ledger))
    others: list[str] = []
    settlement = evidence = None
    try:
        others += section_problems(ledger, run.config)
        others += payment_problems(ledger, run.config)
        others += _but(but, report_problems(ledger))
        evidence = read_evidence(run)
        others += table_problems(evidence)
        others += cost_problems(read_cost(run))
        others += _but(but, writing_problems(run, evidence, newest(ledger, PaymentRecord).amounts))
        first = records_of(ledger, OpenRecord)[0]
        others += _but(but, model_problems(run, evidence, first.software))
        others += accuracy_problems(evidence, teacher_record(run).output_shape)
        require_design(evidence.config, evidence.table.coalitions(evidence.table.largest_small))
        outcome = recomputed(Signed(evidence, read_law(run), read_valuation(run), ledger))
        settlement = outcome.settlement
        others += outcome.differences
    except Exception as error:  # a changed number may break the arithmetic anywhere
        reason = str(error) if isinstance(error, FlsvError) else repr(error)
        others.append(f"nothing more can be recomputed: {reason}")
    if run.strangers or others:
        raise VerificationError(_report(run, ledger, [*run.strangers], others))
    assert settlement is not None and evidence is not None  # else there are differences
    signers = tuple(key_fingerprint(opened.signer) for opened in records_of(ledger, OpenRecord))
    return Verification(evidence, settlement, tuple(ledger), signers)


def _config(run: HeldRun, ledger: Sequence[LedgerLine]) -> Config:
    """The config as it was signed. Raises VerificationError where that is no config."""
    try:
        return run.config
    except InputError as error:
        problem = f"nothing more can be recomputed: {error}"
        raise VerificationError(_report(run, ledger, [*run.strangers], [problem])) from None


def _but(but: frozenset[str], differences: Iterator[Difference]) -> Iterator[str]:
    return (sentence for name, sentence in differences if name not in but)


def _report(
    run: HeldRun, ledger: Sequence[LedgerLine], changed: list[str], others: list[str]
) -> str:
    """The message about a run with differences.

    changed: in what was signed. others: in what follows from it.
    """
    differences = [*changed, *others]
    versions = _other_version(ledger)
    if changed:
        heading, advice = f"{run.path} is not what was signed:", ""
        if not others:
            advice = "Nothing was computed from it."
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
