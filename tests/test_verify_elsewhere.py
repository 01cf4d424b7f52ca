"""`verify` on another processor, which rounds otherwise: an honest run has no difference there.

What another processor signs is made by the product's own code from losses that differ by 1e-12, and
written beside the tables of the run itself.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from fl_sv.config import dump_config
from fl_sv.game.scores import Column, Scores
from fl_sv.law import fit_law
from fl_sv.machine import software
from fl_sv.payment.payouts import allocate, read_payouts
from fl_sv.payment.settlement import Evidence, Settlement, settle
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.models import TEACHER, ModelRecord, deployed_facts
from fl_sv.runs.publish import publish
from fl_sv.runs.tables import read_evidence, read_valuation
from fl_sv.values import shapley
from tests.runs import Command, averages_with, with_sections

NOISE = 1e-12
PATTERN = "D4 p_value, number of members"


def with_losses(evidence: Evidence, losses: Callable[[str, Column], np.ndarray]) -> Evidence:
    """The evidence with other losses; the teacher is the large model of all companies.

    The values of single validation examples keep the spread that they have.
    """
    columns = {
        key: replace(column, loss_C=losses(key[0], column))
        for key, column in evidence.table.scores.columns.items()
    }
    table = replace(evidence.table, scores=Scores(columns))
    *others, last = evidence.curve
    end = float(columns[table.large, 0].loss_C[-1])
    curve = (*others, replace(last, loss=end))
    small = shapley([-loss for loss in table.mean_losses(table.largest_small).values()])
    shift_N = small - evidence.validation_NV.mean(axis=1)
    return replace(
        evidence,
        table=table,
        averaged=averages_with(evidence, table),
        curve=curve,
        validation_NV=evidence.validation_NV + shift_N[:, None],
    )


def trembling(evidence: Evidence, seed: int) -> Evidence:
    generator = np.random.default_rng(seed)
    elsewhere = with_losses(
        evidence,
        lambda _, column: (
            column.loss_C * (1 + NOISE * generator.standard_normal(len(column.loss_C)))
        ),
    )
    return replace(elsewhere, averaged=evidence.averaged)


def signed_elsewhere(
    folder: Path, source: RunDirectory, evidence: Evidence, settlement: Settlement
) -> RunDirectory:
    """The run of this evidence as a processor signed it that came to this settlement."""
    folder.mkdir()
    run = RunDirectory(folder)
    run.write_text(files.CONFIG, dump_config(evidence.config))
    for name in (files.COST, files.MODEL):
        shutil.copy(source.file(name), run.file(name))
    model = ModelRecord.from_json(source.read_text(files.MODEL_RECORD))
    of_this_run = deployed_facts(evidence, TEACHER)
    run.write_text(files.MODEL_RECORD, model.model_copy(update=of_this_run).to_json())
    publish(run, evidence, settlement, software())
    return run


def assert_no_difference(command: Command, run: RunDirectory) -> None:
    answer = command("verify", run.path)
    payable = read_valuation(run).payable
    assert (answer.code, answer.err) == (0 if payable else 3, "")


def test_values_law_and_intervals_of_another_processor_are_no_difference(
    command: Command, run: RunDirectory, tmp_path: Path
) -> None:
    evidence = read_evidence(run)
    here = settle(evidence)
    for seed in range(5):
        there = settle(trembling(evidence, seed))
        assert there.valuation.companies != here.valuation.companies
        elsewhere = signed_elsewhere(tmp_path / f"{seed}", run, evidence, there)
        assert_no_difference(command, elsewhere)


def test_cents_follow_from_the_signed_values_even_where_a_last_digit_moves_one(
    command: Command, run: RunDirectory, tmp_path: Path
) -> None:
    """A pot of 10^15 cents divides last digits."""
    evidence = read_evidence(run)
    pot = {"kind": "fixed", "cents": 10**15}
    evidence = replace(evidence, config=with_sections(evidence.config, payouts={"pot": pot}))
    here, there = settle(evidence), settle(trembling(evidence, 1))
    assert here.payment.amounts != there.payment.amounts
    elsewhere = signed_elsewhere(tmp_path / "elsewhere", run, evidence, there)
    assert command("verify", elsewhere.path).code == 0
    # Here a further pot is divided by the values that were signed there.
    codes = [alarm.code for alarm in there.payment.alarms]
    accepting = [word for code in codes for word in ("--accept", code)]
    assert command("pay", elsewhere.path, "--pot", 10**15 - 1, *accepting).code == 0
    values = read_valuation(elsewhere).values
    assert values.tolist() == there.valuation.values.tolist()
    paid = read_payouts(elsewhere.file(files.PAYOUTS))
    assert [*paid.values()] == allocate(values, 10**15 - 1, names=[*paid]).tolist()
    assert command("verify", elsewhere.path).code == 0


# --- decisions on their threshold -----------------------------------------------------------------


def on_threshold(
    evidence_at: Callable[[float], Evidence], decided: Callable[[Settlement], object]
) -> tuple[Evidence, Evidence]:
    """Two neighbours, equal to 1e-15, of which this processor decides otherwise."""
    low, high = 0.0, 1.0
    at_low = decided(settle(evidence_at(low)))
    assert decided(settle(evidence_at(high))) != at_low
    while high - low > 1e-15:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if decided(settle(evidence_at(middle))) == at_low:
            low = middle
        else:
            high = middle
    return evidence_at(low), evidence_at(high)


def mixed(
    evidence: Evidence, other: Callable[[str, Column], np.ndarray]
) -> Callable[[float], Evidence]:
    def at(share: float) -> Evidence:
        return with_losses(evidence, lambda m, c: (1 - share) * c.loss_C + share * other(m, c))

    return at


def alarm_codes(settlement: Settlement) -> tuple[str, ...]:
    return tuple(alarm.code for alarm in settlement.payment.alarms)


def test_alarm_on_its_threshold_may_fire_there_and_not_here(
    command: Command, run: RunDirectory, tmp_path: Path
) -> None:
    evidence = read_evidence(run)
    large = evidence.table.large

    def hardly_learning(model: str, column: Column) -> np.ndarray:
        """The small models learn a twentieth: are their losses to be stretched, or not?"""
        if model == large:
            return column.loss_C
        return column.loss_C[0] + 0.05 * (column.loss_C - column.loss_C[0])

    quiet, fired = on_threshold(mixed(evidence, hardly_learning), alarm_codes)
    assert settle(quiet).valuation.payable is True
    assert settle(fired).valuation.payable is False
    for number, (tables, signer) in enumerate([(quiet, fired), (fired, quiet)]):
        elsewhere = signed_elsewhere(tmp_path / f"{number}", run, tables, settle(signer))
        assert_no_difference(command, elsewhere)


def test_choice_of_the_laws_may_fall_otherwise_there(
    command: Command, run: RunDirectory, tmp_path: Path
) -> None:
    evidence = read_evidence(run)
    large = evidence.table.large

    def higher(model: str, column: Column) -> np.ndarray:
        """Losses of which it is not clear whether they compare with the large model's."""
        return column.loss_C if model == large else column.loss_C + 0.8

    one, other = on_threshold(mixed(evidence, higher), lambda s: set(s.law.parameters))
    assert set(settle(one).law.parameters) != set(settle(other).law.parameters)
    values = [settle(each).valuation.values for each in (one, other)]
    assert np.abs(values[0] - values[1]).max() > 1e-6  # no rounding: another law
    elsewhere = signed_elsewhere(tmp_path / "elsewhere", run, one, settle(other))
    assert_no_difference(command, elsewhere)


def test_equal_values_may_be_in_either_order_as_their_last_digits_say(
    command: Command, run: RunDirectory, tmp_path: Path
) -> None:
    evidence = symmetric(run)
    here = settle(evidence)
    for seed in range(5):
        there = settle(trembling(evidence, seed))
        assert np.ptp(there.valuation.values[1:]) < 1e-9
        elsewhere = signed_elsewhere(tmp_path / f"{seed}", run, evidence, there)
        assert_no_difference(command, elsewhere)
    assert [pair.first for pair in here.valuation.order] != [
        pair.first for pair in there.valuation.order
    ]


def symmetric(run: RunDirectory) -> Evidence:
    """The run with three companies that are interchangeable in every model."""

    def means(coalitions: Sequence[int], loss_C: np.ndarray) -> np.ndarray:
        kinds: dict[tuple[int, int], list[float]] = {}
        for c, loss in zip(coalitions, loss_C.tolist(), strict=True):
            kinds.setdefault((c & 1, c.bit_count()), []).append(loss)
        return np.array([np.mean(kinds[c & 1, c.bit_count()]) for c in coalitions])

    evidence = with_losses(read_evidence(run), lambda _, col: means(col.coalitions, col.loss_C))
    averaged = averages_with(evidence, evidence.table)
    columns = [means(averaged.coalitions, loss_C) for loss_C in averaged.loss_CM.T]
    return replace(evidence, averaged=replace(averaged, loss_CM=np.stack(columns, axis=1)))


def test_p_values_hang_on_no_last_digit() -> None:
    """With singletons and leave-one-out coalitions many orders of the runs give equal sums."""
    members_CN = (np.arange(16)[:, None] >> np.arange(4)) & 1
    generator = np.random.default_rng(0)
    gain_C = np.tanh(1.5 * members_CN @ [0.5, 0.4, 0.3, 0.2])
    small_CM = 2.3 - gain_C[:, None] * [1.0, 1.2] + 0.01 * generator.standard_normal((16, 2))
    large_C = 2.3 - 1.6 * gain_C + 0.01 * generator.standard_normal(16)
    small_CM[0] = large_C[0] = 2.3
    runs = [0, 15, 1, 2, 4, 8, 14, 13, 11, 7]

    def p_values(noise: float) -> list[float]:
        factor_CM, factor_C = (
            1 + noise * generator.standard_normal(shape) for shape in ((16, 2), 16)
        )
        large = {c: float((large_C * factor_C)[c]) for c in runs}
        law = fit_law(small_CM * factor_CM, large, sizes=[100, 200, 1000])
        return [law.diagnostics[name] for name in ("D2 p_value", PATTERN)]

    here = p_values(0.0)
    assert all(p_values(1e-13) == here for _ in range(10))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_of_the_processor_make_no_difference(
    command: Command, run: RunDirectory, threads: int
) -> None:
    with threadpool_limits(threads):
        assert_no_difference(command, run)
