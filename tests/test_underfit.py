"""Small models that learned less or more than the large one are remarked."""

from dataclasses import replace

import pytest

from fl_sv.report.underfit import learning_remarks
from fl_sv.report.wording import percent
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.tables import read_evidence
from fl_sv.valuation.records import Valuation

LARGE = "mlp-64-64"
LARGE_RUNS = [0, 1, 2, 4, 8, 15]


@pytest.fixture
def valuation(run: RunDirectory) -> Valuation:
    return Valuation.from_json(run.read_text(files.VALUATION))


def gaining(valuation: Valuation, share: float) -> Valuation:
    """The largest small model has gained this share of the large one's gain."""
    gain = valuation.utility_grand - valuation.utility_empty
    n = len(valuation.companies)
    companies = tuple(
        replace(company, small_value=share * gain / n) for company in valuation.companies
    )
    return replace(valuation, companies=companies)


@pytest.mark.parametrize(
    ("share", "remarks"), [(0.87, 1), (0.94, 1), (0.96, 0), (1.0, 0), (1.04, 0), (1.06, 1)]
)
def test_only_a_small_model_that_learned_clearly_less_or_more_is_remarked(
    valuation: Valuation, share: float, remarks: int
) -> None:
    assert len(learning_remarks(gaining(valuation, share), LARGE, LARGE_RUNS)) == remarks


@pytest.mark.parametrize(("share", "rate"), [(0.87, "higher"), (1.12, "lower")])
def test_the_remark_names_both_models_the_share_and_what_to_do(
    valuation: Valuation, share: float, rate: str
) -> None:
    (remark,) = learning_remarks(gaining(valuation, share), LARGE, LARGE_RUNS)
    assert f"gains {percent(share, 0)} of what {LARGE} gains" in remark
    assert f"The small model {valuation.small_model} " in remark
    assert f"a {rate} learning_rate of their own" in remark


def test_gains_are_those_of_the_losses(valuation: Valuation, run: RunDirectory) -> None:
    table = read_evidence(run).table
    *_, small, large = table.models
    gained, gain = (losses[0] - losses[15] for losses in map(table.mean_losses, (small, large)))
    assert valuation.small_model == small
    assert sum(company.small_value for company in valuation.companies) == pytest.approx(gained)
    assert valuation.utility_grand - valuation.utility_empty == pytest.approx(gain)


def test_where_every_coalition_is_measured_there_is_nothing_to_remark(valuation: Valuation) -> None:
    assert learning_remarks(gaining(valuation, 0.87), LARGE, range(16)) == ()


def test_a_large_model_that_learned_nothing_is_no_measure(valuation: Valuation) -> None:
    assert (
        learning_remarks(
            replace(valuation, utility_grand=valuation.utility_empty), LARGE, LARGE_RUNS
        )
        == ()
    )
