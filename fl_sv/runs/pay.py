"""`fl-sv pay`: a fixed pot, divided by the values of a finished run."""

from collections.abc import Sequence
from dataclasses import replace

from fl_sv.config.valuation import FixedPot, NegativeRule
from fl_sv.errors import InputError
from fl_sv.law.alarms import codes_of
from fl_sv.machine import software
from fl_sv.payment.payouts import payouts_csv
from fl_sv.payment.settlement import NOT_DIVIDED, Settlement, divide_pot
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.keys import owner_key
from fl_sv.runs.ledger import append_section, newest, read_ledger
from fl_sv.runs.publish import sealed
from fl_sv.runs.records import PaymentRecord
from fl_sv.runs.verify import verified


def pay_run(
    run: RunDirectory, pot_cents: int, negative: NegativeRule, accept: Sequence[str]
) -> Settlement:
    """The run's settlement with the new payment, written to payouts.csv and to the ledger.

    pot_cents: the pot, in whole cents. negative: the rule for negative values. accept: codes of
    alarms that are accepted, besides those in the run's config.

    While an alarm is not accepted, nothing is written. The tables are verified first, so that no
    changed table is signed again; payouts.csv and the report are not, because they are replaced.
    Raises VerificationError when a table was changed, InputError for an accepted alarm that did not
    fire.
    """
    verification = verified(run, but=(files.PAYOUTS, files.REPORT))
    evidence, settlement = verification.evidence, verification.settlement
    pot = FixedPot(kind="fixed", cents=pot_cents)
    rules = evidence.config.payouts.model_copy(update={"pot": pot, "negative": negative})
    accepted = tuple(dict.fromkeys([*evidence.config.law.accept, *accept]))
    payment = divide_pot(evidence, settlement.valuation, settlement.alarms, rules, accepted)
    fired = codes_of(payment.alarms)
    unknown = [code for code in accept if code not in fired]
    if NOT_DIVIDED in accept and NOT_DIVIDED in fired:
        raise InputError(
            f"--accept {NOT_DIVIDED}: the pot could not be divided, so there are no amounts to"
            " accept. Take the other rule (--negative) or another pot."
        )
    if unknown:
        raise InputError(
            f"--accept {unknown[0]}: that alarm did not fire. Alarms of this run:"
            f" {', '.join(fired) or 'none'}."
        )
    if not payment.objections:
        key = owner_key()
        run.write_text(files.PAYOUTS, payouts_csv(payment.amounts))
        append_section(
            run,
            key,
            "pay",
            software(),
            [PaymentRecord.of(payment)],
            sealed(run),
        )
    return replace(settlement, payment=payment)


def payouts_were_changed(run: RunDirectory) -> bool:
    """Whether payouts.csv is not what the last payment in the ledger says: `pay` replaces it."""
    last = newest(read_ledger(run), PaymentRecord)
    try:
        # The ledger's lines are sorted by name, the table has the order of the config.
        place = {name: i for i, name in enumerate(run.config.companies)}
        amounts = sorted(last.amounts.items(), key=lambda each: place.get(each[0], len(place)))
        return run.read_bytes(files.PAYOUTS) != payouts_csv(dict(amounts)).encode()
    except InputError:
        return run.has(files.PAYOUTS)
