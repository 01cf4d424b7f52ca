"""Fixed local steps, equal weights and the audit: attacks that do not pay."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.audit.attacks import ATTACKS
from benchmarks.audit.play import play
from benchmarks.audit.tables import findings
from benchmarks.audit.tasks import (
    AFTER,
    SECOND,
    SMALLEST,
    game,
    planted,
    rows_of,
    validation_of,
)
from benchmarks.common.forging import Data, bytes_of, sections_of, signed_again, verified_bytes
from fl_sv.audit.lines import LIMITS, AuditLine, due
from fl_sv.audit.planted import (
    chance_of_labels,
    chance_of_targets,
    log_probabilities,
    remains,
)
from fl_sv.audit.rows import _covariances, shared_noise, surprise
from fl_sv.audit.sketch import WIDTH, sketch
from fl_sv.audit.wave import Deviation, WaveWork
from fl_sv.audit.work import beside_others, deviation, difference, factors, strangeness
from fl_sv.config import Config
from fl_sv.config.training import Training
from fl_sv.errors import InputError, VerificationError
from fl_sv.game.coalitions import members_matrix
from fl_sv.runs.audit_table import audit_csv, read_audit
from fl_sv.runs.directory import RunDirectory
from fl_sv.streams import stream
from fl_sv.training.sgd import _steps
from server.audit import _deviations

DRAW = stream(0, "tests of the audit")
THREE: dict[str, Any] = {
    "companies": ["Ash", "Beech", "Cedar"],
    "data": {"source": "digits", "partition": {"kind": "iid"}},
    "models": {
        "small": [{"kind": "mlp", "hidden": [8]}],
        "large": {"kind": "mlp", "hidden": [32]},
    },
    "payouts": {"pot": {"kind": "fixed", "cents": 100}},
}


# --- steps and weights ----------------------------------------------------------------------------


@pytest.mark.parametrize("n_examples", [1, 7, 32, 33, 1000])
def test_every_company_takes_as_many_steps_on_whole_batches(n_examples: int) -> None:
    batches = _steps(stream(1, "batches"), n_examples, batch_size=32, steps=9)
    assert [len(rows) for rows in batches] == [min(32, n_examples)] * 9
    counts = np.bincount(np.concatenate(batches), minlength=n_examples)
    assert counts.max() - counts.min() <= 1, "no row comes twice before all have come once"


def test_what_a_round_costs_follows_from_its_steps() -> None:
    assert Training(local_epochs=3).rows_of_a_round(50) == 150
    assert Training(local_steps=4, batch_size=32).rows_of_a_round(50) == 128
    assert Training(local_steps=4, batch_size=32).rows_of_a_round(5) == 20


def test_equal_weights_do_not_know_the_number_of_examples() -> None:
    assert {Training(weights="equal").weight(n) for n in (1, 5, 1000)} == {1}
    assert Training().weight(1000) == 1000


# --- the figures ----------------------------------------------------------------------------------


def test_a_sketch_is_linear_and_keeps_inner_products_in_the_mean() -> None:
    one, other = DRAW.normal(size=(2, 3, 5000))
    assert np.allclose(sketch(one) - sketch(other), sketch(one - other))
    close = sketch(one) @ sketch(one + other).T / 5000
    assert np.allclose(close, one @ (one + other).T / 5000, atol=6 / np.sqrt(WIDTH))
    short = DRAW.normal(size=(2, 10))
    assert np.array_equal(sketch(short)[:, :10], short)


def _linear_updates(n_companies: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Of the first company: the weights of its coalitions' members, and updates linear in them."""
    coalitions = [c for c in range(1, 1 << n_companies) if c & 1]
    members_CN = members_matrix(coalitions, n_companies).astype(float)
    share_CN = members_CN / members_CN.sum(axis=1, keepdims=True)
    return share_CN, share_CN @ DRAW.normal(size=(n_companies, 50))


def test_updates_that_are_linear_in_the_members_deviate_by_nothing() -> None:
    found = deviation(*_linear_updates())
    assert found is not None and found[0] < 1e-12


@pytest.mark.parametrize("coalition", range(8))
def test_the_coalition_with_another_update_stands_out(coalition: int) -> None:
    share_CN, updates = _linear_updates()
    updates[coalition] *= 3
    found = deviation(share_CN, updates)
    assert found is not None and found[0] > 1
    assert found[1] == coalition


def test_too_few_coalitions_and_no_update_have_no_deviation() -> None:
    share_CN, updates = _linear_updates()
    assert deviation(share_CN[:3], updates[:3]) is None
    assert deviation(share_CN, 0 * updates) is None


def test_figures_beside_the_others_are_ratios_to_their_median() -> None:
    assert np.allclose(factors(np.log([2.0, 2.0, 2.0, 8.0])), [1, 1, 1, 4])
    assert np.allclose(factors(np.log([2.0, 2.0, 2.0, 0.5])), [1, 1, 1, 4])
    assert beside_others(np.array([0.5, 0.5, 0.5, 2.0]))[3] == pytest.approx(4)
    assert beside_others(np.array([0.01, 0.01, 0.01]))[0] < 1, "small residuals say nothing"
    assert difference(np.ones(4), np.ones(4)) == difference(np.zeros(4), np.zeros(4)) == 0


def test_a_large_model_of_other_rows_is_strange_to_its_small_ones() -> None:
    """Each company's models say the same, with noise; the third one's large model says another
    thing.
    """
    said_NVK = DRAW.normal(size=(4, 30, 5))
    small = [said_NVK + DRAW.normal(size=said_NVK.shape) / 3 for _ in range(3)]
    large = [said_NVK + DRAW.normal(size=said_NVK.shape) / 3]
    honest = strangeness(small, large)
    assert np.allclose(honest, 1, atol=0.4)
    large[0][2] = DRAW.normal(size=said_NVK.shape[1:])
    assert beside_others(strangeness(small, large))[2] > 2 * LIMITS["answers"]


def test_answers_do_not_depend_on_what_all_models_say() -> None:
    said_NVK, common_VK = DRAW.normal(size=(4, 30, 5)), 9 * DRAW.normal(size=(30, 5))
    small = [said_NVK + DRAW.normal(size=said_NVK.shape) for _ in range(2)]
    one = strangeness(small, [said_NVK])
    assert np.allclose(one, strangeness([each + common_VK for each in small], [said_NVK]))


def test_copies_share_noise_and_rows_drawn_apart_do_not() -> None:
    """Four companies with a common part; the second holds the first one's rows as well as its own.
    Beside them eight parts of the validation rows.
    """
    common, noise = DRAW.normal(size=200) * 3, DRAW.normal(size=(12, 200))
    noise[1] = (noise[0] + noise[1]) / 2
    figures = shared_noise([(common + noise, np.empty((0, 200)))] * 2, 4)
    assert figures[0, 1] > LIMITS["copies"]
    others = [figures[i, j] for i in range(4) for j in range(i) if (i, j) != (1, 0)]
    assert max(others) < LIMITS["copies"]


def test_a_surprise_counts_the_tests_that_were_made() -> None:
    assert surprise(np.array([0.001, 0.01, 0.9]), 10).tolist() == pytest.approx([2, 1, 0])


def test_honest_companies_are_rarely_beyond_the_limits_of_rows() -> None:
    """One game in a hundred by the limit's own meaning; ten of 300 are allowed here."""
    found = 0
    for _ in range(300):
        noise = DRAW.normal(size=(12, 60)) + DRAW.normal(size=60)
        figures = shared_noise([(noise, np.empty((0, 60)))], 4)
        found += figures[np.triu_indices(4, 1)].max() > LIMITS["copies"]
    assert found <= 10


def test_covariances_are_those_of_the_sum_over_all_fours() -> None:
    """The slow twin: every k and l, different from each other and from i and j."""
    update = DRAW.normal(size=(6, 20))
    fast = _covariances(update @ update.T)
    for i in range(6):
        for j in range(6):
            others = [k for k in range(6) if k not in (i, j)]
            slow = [
                (update[i] - update[k]) @ (update[j] - update[m])
                for k in others
                for m in others
                if k != m
            ]
            assert fast[i, j] == pytest.approx(np.mean(slow))


def test_the_mix_of_classes_is_no_copy() -> None:
    """Two companies have the same mix of two classes, and noise of their own."""
    directions, noise = DRAW.normal(size=(2, 200)), DRAW.normal(size=(12, 200))
    mix = DRAW.uniform(size=(12, 2)) * 20
    mix[1] = mix[0]
    found = shared_noise([(noise + mix @ directions, directions)], 4)
    assert found[0, 1] < LIMITS["copies"]


# --- planted rows ---------------------------------------------------------------------------------


def test_what_the_others_say_is_taken_out_by_all_other_rows() -> None:
    """The slow twin: a ridge regression for each row, without it."""
    own, other = DRAW.normal(size=(2, 30, 3))
    own += 2 * other
    said = other - other.mean(axis=0)
    size = np.linalg.svd(said, compute_uv=False)
    fast, slow = remains(own, [other]), np.empty_like(own)
    hat = said @ np.linalg.solve(said.T @ said + 0.3 * (size**2).mean() * np.eye(3), said.T)
    centred = own - own.mean(axis=0)
    for row in range(30):
        slow[row] = (centred - hat @ centred)[row] / (1 - hat[row, row] - 1 / 30)
    assert np.allclose(fast, slow)
    assert np.abs(fast).mean() < np.abs(own).mean() / 2


def test_a_company_that_trained_on_drawn_labels_knows_them_and_an_honest_one_does_not() -> None:
    remaining, labels = DRAW.normal(size=(30, 10)), DRAW.integers(10, size=30)
    honest = chance_of_labels(remaining, labels, 10_000, stream(0, "draws"))
    remaining[np.arange(30), labels] += 1.5
    leaked = chance_of_labels(remaining, labels, 10_000, stream(0, "draws"))
    assert leaked < 0.001 < honest


def test_a_company_that_trained_on_exchanged_targets_knows_them() -> None:
    targets, noise_P = DRAW.normal(size=(2, 40))
    honest = chance_of_targets(noise_P, targets, 10_000, stream(0, "draws"))
    leaked = chance_of_targets(noise_P + 2 * targets, targets, 10_000, stream(0, "draws"))
    assert leaked < 0.001 < honest


def test_the_chance_of_honest_companies_is_evenly_distributed() -> None:
    """Exact whatever the models say: two classes, and outputs that are far apart."""
    remaining = np.exp(3 * DRAW.normal(size=(12, 2)))
    chances = [
        chance_of_labels(remaining, DRAW.integers(2, size=12), 400, DRAW) for _ in range(500)
    ]
    assert np.mean(np.array(chances) <= 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(np.array(chances) <= 0.5) == pytest.approx(0.5, abs=0.08)


def test_probabilities_of_outputs_that_rule_classes_out_are_numbers() -> None:
    lowest = np.finfo(np.float32).min
    assert np.isfinite(log_probabilities(np.array([[0.0, lowest, 1.0]], dtype=np.float64))).all()


def test_who_trained_on_the_validation_file_is_named_and_honest_companies_are_not() -> None:
    config = game("digits", 100, {**AFTER, "training": {"local_steps": 30, "weights": "equal"}})
    rows, operator = rows_of(config), planted(validation_of(config), 0.15, 100)
    assert findings(play(config, rows, {}, operator)) == []
    attack = ATTACKS["validation rows"]
    attacked, held = attack.game(config, rows, SMALLEST, operator.rows)
    found = findings(play(attacked, held, {SMALLEST: (attack, "")}, operator))
    assert {(line.check, line.company) for line in found} == {("planted", SMALLEST)}


# --- a run ----------------------------------------------------------------------------------------


def test_who_works_more_in_some_coalitions_is_named_and_honest_companies_are_not() -> None:
    steps = {"local_steps": 20, "weights": "equal"}
    config = game("digits", 100, {**AFTER, "training": steps})
    rows, validation = rows_of(config), validation_of(config)
    assert findings(play(config, rows, {})) == []
    attack = ATTACKS["five passes in the middle"]
    attacked, held = attack.game(config, rows, SECOND, validation)
    found = findings(play(attacked, held, {SECOND: (attack, "")}))
    assert {line.company for line in found} == {SECOND}
    work = next(line for line in found if line.check == "work")
    assert SECOND in work.other.split("+") and work.figure is not None


def test_other_work_is_looked_for_only_where_all_take_as_many_steps() -> None:
    """A company of few rows takes one step, which no other coalitions predict."""
    wave = WaveWork(deviations={"Ash": Deviation(9.0, 3)})
    assert _deviations([wave], {}, equal_steps=True) == wave.deviations
    assert _deviations([wave], {}, equal_steps=False) == {}


def test_every_check_of_every_company_and_pair_has_a_line() -> None:
    config = Config.model_validate(THREE)
    lines = due(config)
    assert {check for check, *_ in lines} == {*LIMITS} - {"planted"}
    assert [line[1:] for line in lines if line[0] == "copies"] == [
        ("Ash", "Beech"),
        ("Ash", "Cedar"),
        ("Beech", "Cedar"),
    ]


def test_planted_rows_add_a_line_for_each_company() -> None:
    data = {**THREE["data"], "validation": {"file": "v.csv", "planted": "p.csv"}}
    lines = due(Config.model_validate({**THREE, "data": data}))
    assert [line[1] for line in lines if line[0] == "planted"] == THREE["companies"]


def test_a_check_that_could_not_be_made_is_no_finding() -> None:
    assert not AuditLine("work", "Ash", "", None).is_finding
    assert AuditLine("work", "Ash", "Ash+Beech", LIMITS["work"] + 1e-9).is_finding
    assert not AuditLine("work", "Ash", "Ash+Beech", LIMITS["work"]).is_finding


# --- audit.csv ------------------------------------------------------------------------------------


def test_the_table_reads_back_as_it_was_written(run: RunDirectory) -> None:
    lines = read_audit(run)
    assert [line.check for line in lines] == [check for check, *_ in due(run.config)]
    assert audit_csv(lines) == run.read_text("audit.csv")
    # In configs/smoke.yaml a company with more rows takes more steps: no two are compared.
    assert all(line.figure is None for line in lines)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("copies,Ash,Beech,", "copies,Ash,Damson,", "not those of the companies"),
        ("growth,Ash,,,", "growth,Ash,,one,", "is no"),
        ("growth,Ash,,,", "growth,Ash,,nan,", "nan"),
    ],
    ids=["a line of another pair", "a word for a figure", "no number"],
)
def test_a_damaged_table_is_refused_in_a_sentence(
    run: RunDirectory, old: str, new: str, sentence: str
) -> None:
    text = run.read_text("audit.csv")
    assert text.count(old) == 1
    run.write_text("audit.csv", text.replace(old, new))
    with pytest.raises(InputError, match=sentence):
        read_audit(run)


@pytest.mark.parametrize("change", ["limit", "finding", "line dropped"])
def test_verify_finds_what_does_not_follow_from_the_figures(
    finished_run: Path, change: str
) -> None:
    """Signed again by the owner, so that every hash is right."""
    data: Data = bytes_of(RunDirectory(finished_run))
    text = data["audit.csv"].decode()
    changes = {
        "limit": (",1.5,no", ",1.6,no"),
        "finding": (",1.5,no", ",1.5,yes"),
        "line dropped": (text.splitlines(keepends=True)[1], ""),
    }
    data = {**data, "audit.csv": text.replace(*changes[change], 1).encode()}
    again = signed_again(data, Ed25519PrivateKey.generate(), sections_of(data))
    with pytest.raises(VerificationError, match=r"audit\.csv"):
        verified_bytes(again)


@pytest.mark.parametrize(
    ("key", "value"), [("local_steps", 0), ("local_steps", 1.5), ("weights", "rows")]
)
def test_other_steps_and_weights_are_refused_by_name(
    key: str, value: object, run: RunDirectory
) -> None:
    content = run.config.model_dump(mode="json")
    content["training"][key] = value
    with pytest.raises(ValueError, match=key):
        Config.model_validate(content)
