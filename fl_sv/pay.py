"""`fl-sv pay`: a fixed pot, divided by the values of a finished run."""

from collections.abc import Sequence
from typing import Literal

from fl_sv import rundir
from fl_sv.config.schema import FixedPot
from fl_sv.errors import InputError
from fl_sv.keys import owner_key
from fl_sv.ledger import append_section
from fl_sv.machine import software
from fl_sv.payouts import payouts_csv
from fl_sv.publish import SEALED, payouts_record, read_evidence
from fl_sv.report import write_report
from fl_sv.rundir import RunDirectory
from fl_sv.settlement import blocking, code_of, settle, split


def pay_run(
    run: RunDirectory, pot_cents: int, negative: Literal["clip", "charge"], accept: Sequence[str]
) -> tuple[str, ...]:
    """Writes payouts.csv and a ledger section; returns the alarms that forbid it, and then writes nothing.

    Raises InputError when the run is not finished or an alarm is accepted that never fired.
    """
    if not run.finished:
        raise InputError(f"{run.path} is not a finished run; finish it with `fl-sv run CONFIG --out DIR --resume`.")
    evidence = read_evidence(run)
    rules = evidence.config.payouts.model_copy(
        update={"pot": FixedPot(kind="fixed", cents=pot_cents), "negative": negative}
    )
    settlement = settle(evidence)
    values = settlement.valuation.values
    amounts, problem = split(values, rules, evidence.config.companies, evidence.deployed_utility)
    alarms = [*settlement.alarms, *problem]
    unknown = [code for code in accept if code not in map(code_of, alarms)]
    if unknown:
        fired = ", ".join(dict.fromkeys(map(code_of, alarms))) or "none"
        raise InputError(f"--accept {unknown[0]}: that alarm did not fire. Alarms of this run: {fired}.")
    objections = blocking(alarms, [*accept, *evidence.config.law.accept])
    if not objections:
        run.write_text(rundir.PAYOUTS, payouts_csv(amounts))
        records = [payouts_record(amounts, rules, accept, objections)]
        append_section(run, owner_key(), "pay", software(), records, SEALED)
        write_report(run)
    return objections
