"""Which coalitions train the large model: as the config plans, and the most informative for its
price.
"""

from pathlib import Path

import numpy as np
import pytest
from config_of import config_of

import fl_sv
from fl_sv.config import Config
from fl_sv.config.valuation import Coalitions, Stop
from fl_sv.design import large_runs
from fl_sv.errors import VerificationError
from fl_sv.law import Law, fit_law
from fl_sv.law.prior import PARTS
from fl_sv.law.process import covariance, value_cross_covariance
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.tables import read_evidence
from fl_sv.valuation.appraise import shapley_weighting
from fl_sv.valuation.fit import fit_to_table
from fl_sv.values import shapley
from tests.runs import with_sections
from tests.test_law import smooth_game

EXAMPLES = (10, 20, 30, 40)


def planning(
    anchors: object, companies: tuple[str, ...] = ("Ash", "Beech", "Chestnut", "Damson")
) -> Config:
    return config_of({"source": "iris"}, companies, law={"anchors": anchors})


def law_of(
    runs: list[int], examples: tuple[int, ...] = EXAMPLES, seed_std: float | None = None
) -> Law:
    small_CM, large_C = smooth_game()
    return fit_law(
        small_CM,
        {c: float(large_C[c]) for c in [0, *runs, 15]},
        sizes=[1, 2, 4, 8],
        examples=examples,
        seed_std=seed_std,
    )


@pytest.mark.parametrize(
    ("anchors", "counts"),
    [
        ("none", (0, 0, 0)),
        (3, (3, 0, 0)),
        ("singletons", (4, 0, 0)),
        (6, (4, 2, 0)),
        ("singletons+loo", (4, 4, 0)),
        (14, (4, 4, 6)),
    ],
)
def test_a_number_plans_singletons_then_leave_one_out_coalitions_then_others(
    anchors: object, counts: tuple[int, int, int]
) -> None:
    planned = large_runs.large_run_counts(planning(anchors))
    assert (planned.singletons, planned.leave_one_out, planned.others) == counts
    chosen = large_runs.choose_larger_coalitions(planning(anchors), law_of([1, 2, 4, 8]))
    assert [c.bit_count() for c in chosen] == [3] * counts[1] + [2] * counts[2]
    assert len(set(chosen)) == len(chosen)


def test_of_two_companies_leave_one_out_coalitions_are_the_singletons() -> None:
    planned = large_runs.large_run_counts(planning("singletons+loo", ("Ash", "Beech")))
    assert (planned.singletons, planned.larger) == (2, 0)


def test_few_singletons_are_those_whose_small_losses_lie_farthest_apart() -> None:
    small_loss = {0: 2.0, 1: 1.9, 2: 1.3, 4: 1.25, 8: 0.6, 15: 0.5}
    assert large_runs.choose_singletons(planning(1), small_loss) == [4]
    assert set(large_runs.choose_singletons(planning(3), small_loss)) == {4, 1, 8}
    assert set(large_runs.choose_singletons(planning("singletons"), small_loss)) == {1, 2, 4, 8}


def test_names_and_not_their_order_decide_between_equally_good_coalitions() -> None:
    small_C = 2 - 1.5 * np.array([c.bit_count() for c in range(16)]) / 4
    law = fit_law(small_C, {0: 2.0, 15: 0.5} | {1 << i: 1.6 for i in range(4)})
    names = ("Damson", "Ash", "Chestnut", "Beech")
    config = planning(6, names)
    assert [
        names[coalition.bit_length() - 1]
        for coalition in large_runs.by_size_and_names(config, (1, 2, 4, 8))
    ] == sorted(names)
    first, second = large_runs.choose_larger_coalitions(config, law)
    absent = [names[(15 ^ coalition).bit_length() - 1] for coalition in (first, second)]
    assert absent == ["Damson", "Chestnut"]


@pytest.mark.parametrize("seed_std", [0.0, 0.05, 0.3])
def test_the_next_run_narrows_as_much_as_it_states(seed_std: float) -> None:
    """Also where seeds are noisy, and the earlier runs show a part of the new one's noise."""
    law = law_of([1, 2, 4, 8], seed_std=seed_std)
    (found,) = law.next_runs(range(16))
    members_CN = (np.arange(16)[:, None] >> np.arange(4) & 1).astype(bool)
    sensitivity, scales = law._prior.sensitivity, law._posterior.scales
    prior_CC = sensitivity @ sensitivity.T
    for part, square in zip(PARTS, scales.weights @ scales.parts, strict=True):
        prior_CC = prior_CC + square * covariance(part, members_CN, members_CN)
    weight_NC = np.stack([shapley(unit_C) for unit_C in np.eye(16)], axis=1)
    noise_CC = law._prior.noise.covariance(np.arange(16), np.arange(16))
    seen_CC = prior_CC + float(scales.weights @ scales.noise) * noise_CC

    def spread(runs: list[int]) -> np.ndarray:
        gain_CA = prior_CC[:, runs] @ np.linalg.inv(seen_CC[np.ix_(runs, runs)])
        return np.sqrt(np.diag(weight_NC @ (prior_CC - gain_CA @ prior_CC[runs]) @ weight_NC.T))

    singletons = [1, 2, 4, 8]
    narrower = 1 - spread([*singletons, found.coalition]).sum() / spread(singletons).sum()
    assert found.narrower == pytest.approx(narrower, rel=1e-4)
    assert found.price == sum(EXAMPLES[i] for i in range(4) if found.coalition >> i & 1) / 100
    trace = {
        c: (spread(singletons) ** 2).sum() - (spread([*singletons, c]) ** 2).sum()
        for c in (3, 5, 6, 9, 10, 12, 7)
    }
    price = {c: sum(EXAMPLES[i] for i in range(4) if c >> i & 1) for c in trace}
    assert (
        trace[found.coalition] / price[found.coalition]
        >= max(trace[c] / price[c] for c in trace) * 0.999
    )


def test_runs_that_will_be_made_anyway_are_known_to_the_choice() -> None:
    law = law_of([1, 2, 4, 8])
    first, second = law.next_runs(range(16), 2)
    (found,) = law.next_runs(range(16), 1, given=[first.coalition])
    assert found.coalition == second.coalition
    assert found.narrower == pytest.approx(second.narrower)
    assert law_of(list(range(1, 15))).next_runs(range(16)) == []


def test_values_by_weights_of_a_sample_choose_as_shapley_values_of_the_whole_table_do() -> None:
    law, weight_CN = law_of([1, 2, 4, 8]), np.array([shapley(unit_C) for unit_C in np.eye(16)])
    for found, weighed in zip(
        law.next_runs(range(16), 3), law.next_runs(range(16), 3, weight_CN=weight_CN), strict=True
    ):
        assert (weighed.coalition, weighed.price) == (found.coalition, found.price)
        assert weighed.narrower == pytest.approx(found.narrower)


@pytest.mark.parametrize("anchors_of_config", ["none", 3, "singletons+loo", 5])
def test_large_runs_that_the_config_does_not_plan_are_found(
    run: RunDirectory, anchors_of_config: object
) -> None:
    """The run has measured the singletons."""
    evidence = read_evidence(run)
    large_runs.require_planned_large_runs(
        evidence.config, evidence.table, evidence.sizes, evidence.examples, evidence.averaged
    )
    config = with_sections(evidence.config, law={"anchors": anchors_of_config})
    with pytest.raises(VerificationError, match=r"not those that law\.anchors plans"):
        large_runs.require_planned_large_runs(
            config, evidence.table, evidence.sizes, evidence.examples, evidence.averaged
        )


@pytest.mark.parametrize("design", ["all", "sampled"])
def test_the_number_that_is_named_buys_the_run_that_is_named(
    run: RunDirectory, design: str
) -> None:
    """A sample that has grown to all coalitions names the same one as all coalitions do."""
    evidence = read_evidence(run)
    law = fit_to_table(
        evidence.config, evidence.table, evidence.sizes, evidence.examples, evidence.averaged
    )
    expected = large_runs.next_large_run(
        evidence.config,
        evidence.table,
        law,
        evidence.weighting,
        evidence.sizes,
        evidence.examples,
        evidence.averaged,
    )
    coalitions = Coalitions.model_construct(
        design=design, stop=Stop(max_evaluations=16) if design == "sampled" else None
    )
    config = evidence.config.model_copy(update={"coalitions": coalitions})
    found = large_runs.next_large_run(
        config,
        evidence.table,
        law,
        shapley_weighting(config, evidence.table),
        evidence.sizes,
        evidence.examples,
        evidence.averaged,
    )
    assert found is not None and expected is not None
    assert (found.anchors, found.coalition, found.price) == (5, expected.coalition, expected.price)
    assert found.narrower == pytest.approx(expected.narrower) and 0 < found.narrower < 1
    one_more = config.model_copy(
        update={"law": config.law.model_copy(update={"anchors": found.anchors})}
    )
    planned = large_runs.planned_large_runs(
        one_more, evidence.table, evidence.sizes, evidence.examples, evidence.averaged
    )
    assert set(planned) == {*law.anchors, found.coalition}


def test_covariance_of_values_and_deviations_by_counting_equals_that_through_all_coalitions() -> (
    None
):
    for n_companies in (1, 2, 3, 5):
        members_CN = (np.arange(1 << n_companies)[:, None] >> np.arange(n_companies) & 1).astype(
            bool
        )
        weight_NC = np.stack([shapley(unit_C) for unit_C in np.eye(1 << n_companies)], axis=1)
        for part in PARTS:
            through_all_NC = weight_NC @ covariance(part, members_CN, members_CN)
            assert np.allclose(value_cross_covariance(part, members_CN), through_all_NC, atol=1e-12)


def test_larger_coalitions_train_together_even_when_there_is_a_single_round(
    owner_home: Path, tmp_path: Path
) -> None:
    config = config_of(
        {"source": "iris"},
        ("Ash", "Beech", "Chestnut"),
        training={"rounds": 1, "seeds": 1},
        law={"anchors": "singletons+loo"},
    )
    run = fl_sv.run(config, tmp_path / "run")
    *_, large = run.evidence.table.models
    losses = [score.loss for score in run.utilities if score.model == large]
    assert len(set(losses)) == 8
