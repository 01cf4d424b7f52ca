"""A sample of the coalitions: how it is drawn, its values of a game, and the run that grows it."""

import json
import shutil
import sqlite3
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from fl_sv.config import Config
from fl_sv.config.valuation import Stop
from fl_sv.design.sample import design_steps, require_design
from fl_sv.design.waves import plan_waves
from fl_sv.errors import InputError, VerificationError
from fl_sv.game.coalitions import grand, members_matrix, members_of
from fl_sv.game.utilities import read_utilities
from fl_sv.law import fit_law
from fl_sv.payment.settlement import fitted_law
from fl_sv.payment.stopping import LARGEST, require_large_enough, sample_state
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.tables import read_evidence
from fl_sv.valuation.appraise import uncertainty_of_values
from fl_sv.valuation.uncertainty import Uncertainty
from fl_sv.values import shapley
from fl_sv.values.weighting import Enumerated, sampled
from tests.config_of import config_of
from tests.runs import GENUINE, fl_sv

MANY = tuple(f"Company {letter}{digit}" for letter in "ZYX" for digit in range(10))
SIX = ("Fir", "Elm", "Damson", "Chestnut", "Beech", "Ash")
TABLES = ("utilities.csv", "valuation.json", "payouts.csv", "validation.npz", "law.json")


def sample_of(companies: tuple[str, ...], max_evaluations: int, **stop: int) -> Config:
    coalitions = {"design": "sampled", "stop": {"max_evaluations": max_evaluations, **stop}}
    return config_of({"source": "digits"}, companies, coalitions=coalitions)


# --- the draw -------------------------------------------------------------------------------------


def test_all_coalitions_are_one_step() -> None:
    (step,) = design_steps(config_of({"source": "digits"}))
    assert list(step.added) == list(range(1, 16)) and list(step.coalitions) == list(range(16))


def test_a_sample_grows_by_pairs_from_the_singletons_to_the_maximum() -> None:
    steps = design_steps(sample_of(MANY, 1000))
    grand_coalition = grand(30)
    first = set(steps[0].added)
    assert {1 << i for i in range(30)} | {grand_coalition & ~(1 << i) for i in range(30)} | {
        grand_coalition
    } <= first
    drawn = [coalition for step in steps for coalition in step.added]
    assert len(set(drawn)) == len(drawn) == 999
    assert steps[-1].coalitions == sorted([0, *drawn])
    for step in steps:
        assert sorted(step.added) == step.added
        assert {grand_coalition & ~coalition for coalition in step.added} - {0} <= {*step.added}
    assert len(steps) > 3


def test_a_sample_does_not_depend_on_the_order_of_the_companies() -> None:
    def names(companies: tuple[str, ...]) -> list[set[frozenset[str]]]:
        steps = design_steps(sample_of(companies, 200))
        return [
            {frozenset(companies[i] for i in members_of(c)) for c in step.coalitions}
            for step in steps
        ]

    assert names(MANY) == names(MANY[::-1])


def test_another_seed_draws_another_sample() -> None:
    config = sample_of(MANY, 200)
    assert design_steps(config) != design_steps(config.model_copy(update={"seed": 8}))


def test_a_sample_that_was_not_drawn_by_the_seed_is_refused() -> None:
    config = sample_of(MANY, 200)
    honest = list(design_steps(config)[0].coalitions)
    require_design(config, honest)
    pair = next(c for c in honest if c.bit_count() == 2)
    chosen = sorted({*honest} - {pair, grand(30) & ~pair} | {0b111, grand(30) & ~0b111})
    with pytest.raises(VerificationError, match="not those that the config draws with its seed"):
        require_design(config, chosen)


def test_waves_of_more_companies_than_bits_in_a_word_keep_every_coalition() -> None:
    companies = tuple(f"C{i:02d}" for i in range(70))
    config = sample_of(companies, 400)
    step, *_ = design_steps(config)
    waves = plan_waves(config, [10**5], step.added)
    assert len(waves) > 1
    assert [coalition for wave in waves for coalition in wave] == step.added


@pytest.mark.parametrize(
    "sections, message",
    [
        ({"coalitions": {"design": "sampled"}}, "`design: sampled` needs it"),
        ({"coalitions": {"stop": {"max_evaluations": 40}}}, "`design: all` takes no such key"),
        (
            {"coalitions": {"design": "sampled", "stop": {"max_evaluations": 13}}},
            "too few for 6 companies; at least 14",
        ),
        (
            {"coalitions": {"design": "sampled", "stop": {"max_evaluations": 64}}},
            "only 64 coalitions",
        ),
        (
            {
                "coalitions": {"design": "sampled", "stop": {"max_evaluations": 40}},
                "values": {"semivalue": "banzhaf"},
            },
            "from a sample only shapley can be estimated",
        ),
        (
            {
                "coalitions": {"design": "sampled", "stop": {"max_evaluations": 40}},
                "values": {"unions": {"Wood": ["Ash", "Elm"]}},
            },
            "needs `coalitions.design: all`",
        ),
    ],
)
def test_a_design_that_cannot_be_is_refused(sections: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("*", r"\*")):
        config_of({"source": "digits"}, SIX, **sections)


# --- values of a sample ---------------------------------------------------------------------------


def game(n: int) -> np.ndarray:
    """Diminishing returns with an interaction."""
    members = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    utility_C: np.ndarray = (
        np.log1p(members @ np.arange(1.0, n + 1)) + 0.3 * members[:, 0] * members[:, -1]
    )
    return utility_C


def test_a_sample_of_all_coalitions_gives_the_exact_values_of_any_game() -> None:
    utility_C = game(6)
    weighting = sampled(range(64), utility_C, SIX, seed=3)
    np.testing.assert_allclose(weighting.values(utility_C), shapley(utility_C), atol=1e-12)
    other_C = np.random.default_rng(0).normal(size=64)
    np.testing.assert_allclose(weighting.values(other_C), shapley(other_C), atol=1e-12)
    np.testing.assert_allclose(weighting.sampling_covariance(other_C), 0, atol=1e-20)
    np.testing.assert_allclose(
        weighting.weights(range(64)), Enumerated(6, "shapley").weights(range(64)), atol=1e-12
    )


def test_values_of_a_sample_lie_within_their_intervals() -> None:
    n, inside = 10, []
    utility_C = game(n)
    companies = tuple("JIHGFEDCBA")
    for seed in range(20):
        coalitions = design_steps(sample_of(companies, 120).model_copy(update={"seed": seed}))[
            -1
        ].coalitions
        weighting = sampled(coalitions, utility_C[coalitions], companies, seed)
        value_N = weighting.values(utility_C[coalitions])
        assert value_N.sum() == pytest.approx(utility_C[-1] - utility_C[0], abs=1e-12)
        error_N = value_N - shapley(utility_C)
        assert np.linalg.norm(error_N) < 0.02 * np.linalg.norm(shapley(utility_C))
        inside += (
            np.abs(error_N)
            <= 1.645 * np.sqrt(np.diag(weighting.sampling_covariance(utility_C[coalitions])))
        ).tolist()
    assert np.mean(inside) > 0.8


def test_errors_of_samples_vary_together_as_stated_and_orders_are_as_probable() -> None:
    """What one company gets too much the others get too little: the values sum to the gain."""
    companies, nothing = tuple("GFEDCBA"), np.zeros((7, 7))
    errors, stated, orders = [], [], []
    for seed in range(80):
        utility_C = game(7) + np.random.default_rng(seed).normal(0, 0.1, 128)
        exact_N = shapley(utility_C)
        config = sample_of(companies, 46).model_copy(update={"seed": seed})
        coalitions = design_steps(config)[-1].coalitions
        weighting = sampled(coalitions, utility_C[coalitions], companies, seed)
        value_N = weighting.values(utility_C[coalitions])
        covariance_NN = weighting.sampling_covariance(utility_C[coalitions])
        np.testing.assert_allclose(covariance_NN.sum(axis=0), 0, atol=1e-15)
        np.testing.assert_allclose(covariance_NN, covariance_NN.T, atol=1e-18)
        errors.append(value_N - exact_N)
        stated.append(covariance_NN)
        uncertainty = Uncertainty(covariance_NN, nothing, np.zeros((7, 2)))
        for i, j in combinations(np.argsort(-value_N), 2):
            chance = uncertainty.probability(i, j, value_N[i] - value_N[j])
            orders.append((chance, exact_N[i] > exact_N[j]))
    found_NN, stated_NN = np.transpose(errors) @ errors / len(errors), np.mean(stated, axis=0)
    # Widths are on the safe side by a fifth or so, and all covariances in proportion.
    wider = np.trace(stated_NN) / np.trace(found_NN)
    assert 1 < wider < 2
    for together_N in members_matrix(range(1, 127), 7).astype(float):
        found, said = (together_N @ each @ together_N for each in (found_NN, stated_NN))
        assert said == pytest.approx(wider * found, rel=0.6)
    chances, rights = np.mean([order for order in orders if order[0] < 0.95], axis=0)
    assert rights == pytest.approx(chances, abs=0.1)


def test_a_sample_with_half_a_pair_is_refused() -> None:
    coalitions = [0, 1, 2, 61, 62, 63]
    with pytest.raises(InputError, match=r"coalition 62 = .*, the complement of coalition 1 = "):
        sampled([c for c in coalitions if c != 62], np.zeros(5), SIX, seed=0)


def test_the_laws_covariance_through_the_weights_of_all_coalitions_is_the_exact_one() -> None:
    loss_C = 2.0 - game(6) / game(6).max()
    large = {c: float(0.9 * loss_C[c]) for c in (0, 1, 2, 4, 8, 16, 32, 63)}
    law = fit_law(np.stack([1.1 * loss_C, loss_C], axis=1), large)
    weight_CN = Enumerated(6, "shapley").weights(range(64))
    np.testing.assert_allclose(
        law.value_covariance(weight_CN), law.value_covariance(), rtol=1e-9, atol=1e-15
    )


# --- the run --------------------------------------------------------------------------------------

CONFIG = """
seed: 5
companies: [Fir, Elm, Damson, Chestnut, Beech, Ash]
data: {{source: digits, partition: {{kind: iid}}}}
models:
  small: [{{kind: mlp, hidden: [4]}}, {{kind: mlp, hidden: [8]}}]
  large: {{kind: mlp, hidden: [32]}}
training: {{rounds: 2, local_epochs: 2, batch_size: 32, learning_rate: 0.3, seeds: 2}}
coalitions: {{{design}}}
payouts: {{pot: {{kind: fixed, cents: 1000000}}}}
"""
SAMPLED = "design: sampled, stop: {{max_evaluations: 50{more}}}"


def run(folder: Path, name: str, design: str, *options: object) -> RunDirectory:
    (folder / f"{name}.yaml").write_text(CONFIG.format(design=design))
    done = fl_sv(
        "run", folder / f"{name}.yaml", "--out", folder / name, "--backend", "inline", *options
    )
    assert done.code == 0, done.err
    return RunDirectory(folder / name)


@pytest.fixture(scope="module")
def folder(owner_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs on all coalitions and on 50 of the 64."""
    folder = tmp_path_factory.mktemp("design")
    run(folder, "all", "design: all")
    run(folder, "sampled", SAMPLED.format(more=""))
    return folder


def valuation(run: RunDirectory) -> dict[str, np.ndarray]:
    companies = json.loads(run.read_text(files.VALUATION))["companies"]
    return {
        key: np.array([company[key] for company in companies])
        for key in ("value", "low", "high", "small_value")
    }


@pytest.mark.slow
def test_a_sampled_run_plans_its_sample_and_pays_near_what_all_coalitions_pay(folder: Path) -> None:
    sample, everything = RunDirectory(folder / "sampled"), RunDirectory(folder / "all")
    table = read_utilities(sample.file(files.UTILITIES), SIX)
    assert len(table.coalitions("mlp-8")) == 50 and len(table.coalitions("mlp-32")) == 8
    trained = read_utilities(everything.file(files.UTILITIES), SIX).scores
    for (
        key,
        score,
    ) in (
        table.scores.items()
    ):  # a coalition does not know the design, but for its place in the stack
        assert trained[key].loss == pytest.approx(score.loss, rel=1e-7)
    estimated, exact = valuation(sample), valuation(everything)
    error_N = estimated["value"] - exact["value"]
    assert np.linalg.norm(error_N) < 0.02 * np.linalg.norm(exact["value"])
    assert json.loads(sample.read_text(files.VALUATION))["sampling_share"] > 0


@pytest.mark.slow
def test_a_sampled_run_verifies_and_its_report_names_the_sample(folder: Path) -> None:
    assert fl_sv("verify", folder / "sampled").code in GENUINE
    page = (folder / "sampled" / "report.html").read_text()
    assert "of which 50 were drawn" in page and "Another sample would change the values" in page
    assert "Next best run: all but" in page


@pytest.mark.slow
def test_a_sampled_run_that_was_killed_resumes_to_the_same_bytes(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "sampled", tmp_path / "sampled")
    for file in (tmp_path / "sampled").iterdir():
        if file.name not in (files.JOURNAL, files.CONFIG):
            file.unlink()
    with sqlite3.connect(tmp_path / "sampled" / files.JOURNAL) as journal:
        ((number, coalitions),) = journal.execute(
            "SELECT number, coalitions FROM wave ORDER BY number DESC LIMIT 1"
        )
        for table, key in (("wave", "number"), ("work", "wave"), ("deviation", "wave")):
            journal.execute(f"DELETE FROM {table} WHERE {key}=?", (number,))
        journal.executemany(
            "DELETE FROM score WHERE coalition=?", [(c,) for c in coalitions.split()]
        )
    resumed = run(tmp_path, "sampled", SAMPLED.format(more=""), "--resume")
    for name in TABLES:
        assert resumed.file(name).read_bytes() == (folder / "sampled" / name).read_bytes(), name


@pytest.mark.slow
def test_a_sample_that_ended_without_a_reason_is_found_out(folder: Path) -> None:
    """Somebody sets a stricter rule after the fact: then the sample should have grown."""
    run = RunDirectory(folder / "sampled")
    evidence = read_evidence(run)
    assert sample_state(evidence).reason == LARGEST
    coalitions = evidence.config.coalitions.model_copy(update={"stop": Stop(max_evaluations=60)})
    with pytest.raises(VerificationError, match=r"ended before the rule of coalitions\.stop"):
        require_large_enough(
            replace(evidence, config=evidence.config.model_copy(update={"coalitions": coalitions}))
        )


@pytest.mark.slow
def test_a_sample_that_may_stop_early_pays_for_it_in_its_intervals(folder: Path) -> None:
    """It would stop early where its intervals are too narrow by chance."""
    evidence = read_evidence(RunDirectory(folder / "sampled"))
    law = fitted_law(evidence)
    sampling = []
    for stop in (Stop(max_evaluations=50), Stop(max_evaluations=50, widest_interval_cents=10)):
        coalitions = evidence.config.coalitions.model_copy(update={"stop": stop})
        sampling.append(
            uncertainty_of_values(
                evidence.config.model_copy(update={"coalitions": coalitions}),
                evidence.table,
                law,
                evidence.weighting,
                evidence.validation_NV,
            ).sampling_NN
        )
    assert sampling[0].any()
    np.testing.assert_allclose(sampling[1], 1.1**2 * sampling[0])


@pytest.mark.slow
def test_a_pot_that_cannot_be_divided_yet_is_not_certain(folder: Path) -> None:
    evidence = read_evidence(RunDirectory(folder / "sampled"))
    coalitions = evidence.config.coalitions.model_copy(
        update={"stop": Stop(max_evaluations=60, widest_interval_cents=10**12)}
    )
    worthless = {
        key: replace(score, loss=5.0 + score.coalition.bit_count() if score.coalition else 2.0)
        for key, score in evidence.table.scores.items()
    }
    other = replace(
        evidence,
        config=evidence.config.model_copy(update={"coalitions": coalitions}),
        table=replace(evidence.table, scores=worthless),
    )
    state = sample_state(other)
    assert state.widest_cents is None and state.reason is None


@pytest.mark.slow
def test_a_sample_stops_growing_when_every_payout_is_certain_enough(folder: Path) -> None:
    stopped = run(folder, "stopped", SAMPLED.format(more=", widest_interval_cents: 900000"))
    table = read_utilities(stopped.file(files.UTILITIES), SIX)
    assert len(table.coalitions("mlp-8")) == 24  # the first step
    assert fl_sv("verify", stopped.path).code in GENUINE


@pytest.mark.slow
def test_a_forecast_counts_the_largest_sample(folder: Path) -> None:
    forecast = json.loads(fl_sv("plan", folder / "sampled.yaml", "--json").out)
    assert forecast["coalitions"] == 50 and forecast["sampled"] is True
    assert forecast["trainings"] == 49 * 2 * 2 + 1 + 6
