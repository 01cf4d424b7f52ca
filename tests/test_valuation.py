"""The law as a config asks for it, and how sure it is which of two neighbours in rank was worth
more.
"""

from dataclasses import replace

import numpy as np
import pytest

from fl_sv.errors import InputError
from fl_sv.payment.settlement import settle
from fl_sv.planning.checks import check
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.tables import read_evidence
from fl_sv.valuation.fit import fit_to_table
from fl_sv.valuation.records import Valuation
from tests.config_of import config_of
from tests.runs import with_sections


def valued(run: RunDirectory, semivalue: str = "shapley") -> Valuation:
    evidence = read_evidence(run)
    config = with_sections(evidence.config, values={"semivalue": semivalue})
    return settle(replace(evidence, config=config)).valuation


@pytest.mark.parametrize("semivalue", ["shapley", "banzhaf"])
def test_neighbours_go_from_the_most_valuable_company_to_the_least(
    run: RunDirectory, semivalue: str
) -> None:
    valuation = valued(run, semivalue)
    ranked = [
        company.name for company in sorted(valuation.companies, key=lambda company: -company.value)
    ]
    assert [pair.first for pair in valuation.order] == ranked[:-1]
    assert [pair.second for pair in valuation.order] == ranked[1:]
    assert all(0.5 <= pair.probability <= 1 for pair in valuation.order)


def test_an_order_is_as_probable_as_among_draws_of_law_and_validation_set(
    run: RunDirectory,
) -> None:
    evidence = read_evidence(run)
    settlement = settle(evidence)
    value_N, validation_NV = settlement.valuation.values, evidence.validation_NV
    small_N = np.array([company.small_value for company in settlement.valuation.companies])
    by_validation_NN = (
        np.cov(validation_NV) / validation_NV.shape[1] * (value_N.sum() / small_N.sum()) ** 2
    )
    covariance_NN = settlement.law.value_covariance() + by_validation_NN
    drawn_DN = np.random.default_rng(0).multivariate_normal(value_N, covariance_NN, 100_000)
    place = {name: i for i, name in enumerate(evidence.config.companies)}
    for pair in settlement.valuation.order:
        share = (drawn_DN[:, place[pair.first]] > drawn_DN[:, place[pair.second]]).mean()
        assert pair.probability == pytest.approx(share, abs=0.01)


def test_companies_of_equal_value_are_a_coin_toss(run: RunDirectory) -> None:
    """Both swap places in every coalition and the law cannot tell them apart."""
    evidence = read_evidence(run)
    table, swapped = evidence.table, {0: 0, 1: 2, 2: 1, 3: 3}
    alike = {
        (model, seed, c): replace(
            score, loss=(score.loss + table.scores[model, seed, c & ~3 | swapped[c & 3]].loss) / 2
        )
        for (model, seed, c), score in table.scores.items()
    }
    equal = dict.fromkeys(evidence.examples, 100)
    twins = replace(evidence, table=replace(table, scores=alike), examples=equal, averaged=None)
    (pair,) = [
        p
        for p in settle(twins).valuation.order
        if {p.first, p.second} == set(evidence.config.companies[:2])
    ]
    assert pair.probability == pytest.approx(0.5, abs=1e-6)
    assert pair.first == min(evidence.config.companies[:2])


def test_the_law_of_a_run_gets_the_losses_of_every_seed(run: RunDirectory) -> None:
    evidence = read_evidence(run)
    by_seed = np.stack(
        [evidence.table.loss_by_seed(model) for model in evidence.table.models[:-1]], axis=2
    )
    law = fit_to_table(
        evidence.config, evidence.table, evidence.sizes, evidence.examples, evidence.averaged
    )
    assert len(by_seed) > 1
    assert sum(
        law.parameters[name] for name in law.parameters if "weight" in name
    ) == pytest.approx(1)
    std = np.sqrt(by_seed[:, 1:, -1].var(axis=0, ddof=1).mean())
    small_C = by_seed[:, :, -1].mean(axis=0)
    assert law.diagnostics["D5 range_over_seed_std"] == pytest.approx(
        abs(small_C[0] - small_C[-1]) / std
    )


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("nowhere:law", "law.family: nowhere:law cannot be imported"),
        ("tests.plugins:no_law", "has no 'no_law'"),
        ("tests.plugins:two_moons", "the law two_moons raised"),
        ("tests.plugins:two_sizes", "the law two_sizes raised IndexError for 1 small size"),
        ("tests.plugins:without_the_worse", "the law without_the_worse, at .*not finite"),
    ],
)
def test_a_law_that_is_none_is_refused_before_anything_is_trained(
    family: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check(config_of({"source": "digits"}, law={"family": family}))
