"""A company joins or leaves: what the others trained is reused, and the result is that of a fresh
run.
"""

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import fl_sv as library
from benchmarks.common.command_line import Answer
from fl_sv.api import carry_out
from fl_sv.game.utilities import read_utilities
from fl_sv.payment.payouts import read_payouts
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.journal import REUSED, Journal
from tests.config_of import config_of
from tests.runs import GENUINE, fl_sv

pytestmark = pytest.mark.slow
OWNERS = ("Ash", "Beech", "Chestnut", "Damson")
CONFIG = """
companies: [{companies}]
data: {{source: digits.csv, target: digit, partition: {{kind: column, column: owner}}}}
models:
  small: [{{kind: mlp, hidden: [4]}}, {{kind: mlp, hidden: [8]}}]
  large: {{kind: mlp, hidden: [32]}}
training: {{rounds: {rounds}, batch_size: 32, learning_rate: 0.3, seeds: 2}}
coalitions: {{waves: 2}}
law: {{anchors: 6}}
payouts: {{pot: {{kind: fixed, cents: 100000}}}}
"""


@pytest.fixture(scope="module")
def folder(owner_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits in a file with an owner column, and finished runs of three and of four companies."""
    folder = tmp_path_factory.mktemp("extension")
    x, y = load_digits(return_X_y=True)
    header = [*(f"p{i}" for i in range(64)), "digit", "owner"]
    rows = [[*map(int, x[i]), int(y[i]), OWNERS[i % 4]] for i in range(600)]
    (folder / "digits.csv").write_text(
        "\n".join(",".join(map(str, row)) for row in [header, *rows])
    )
    for name, companies in (("three", "Ash, Beech, Damson"), ("four", ", ".join(OWNERS))):
        (folder / f"{name}.yaml").write_text(CONFIG.format(companies=companies, rounds=2))
        done = run(folder, name, folder / name)
        assert done.code == 0, done.err
    return folder


def run(folder: Path, config: str, out: Path, *options: object) -> Answer:
    return fl_sv("run", folder / f"{config}.yaml", "--out", out, "--backend", "inline", *options)


def assert_same(extended: Path, fresh: Path) -> None:
    """Equal but for the last digits of a training, which depend on a model's place in its stack."""
    one, other = (
        read_utilities(run / files.UTILITIES, RunDirectory(run).config.companies)
        for run in (extended, fresh)
    )
    assert one.planned == other.planned
    for key, score in one.scores.items():
        assert score.loss == pytest.approx(other.scores[key].loss, rel=1e-7), key
    averages, others = (library.read_run(run).evidence.averaged for run in (extended, fresh))
    assert averages is not None and others is not None
    assert np.allclose(averages.loss_CM, others.loss_CM, rtol=1e-7, equal_nan=True)
    paid, expected = (read_payouts(run / files.PAYOUTS) for run in (extended, fresh))
    assert paid == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(
    "before, after, reused", [("three", "four", 7), ("four", "three", 7)], ids=["joins", "leaves"]
)
def test_run_that_extends_another_equals_a_fresh_one(
    folder: Path, tmp_path: Path, before: str, after: str, reused: int
) -> None:
    done = run(folder, after, tmp_path / "run", "--from", folder / before)
    assert done.code == 0, done.err
    assert_same(tmp_path / "run", folder / after)
    journal = Journal(tmp_path / "run" / files.JOURNAL)
    assert len(journal.wave(REUSED).coalitions) == reused
    journal.close()
    assert fl_sv("verify", tmp_path / "run").code in GENUINE


def test_a_sample_extends_to_all_coalitions_and_trains_only_the_others(
    folder: Path, tmp_path: Path
) -> None:
    design = "coalitions: {design: sampled, stop: {max_evaluations: 12}}"
    text = (folder / "four.yaml").read_text().replace("coalitions: {waves: 2}", design)
    (folder / "sampled.yaml").write_text(text.replace("anchors: 6", "anchors: singletons+loo"))
    assert run(folder, "sampled", tmp_path / "sampled").code == 0
    done = run(folder, "four", tmp_path / "run", "--from", tmp_path / "sampled")
    assert done.code == 0, done.err
    assert_same(tmp_path / "run", folder / "four")
    assert reused(tmp_path / "run") == 11  # all of the sample but the empty coalition


def test_only_what_the_origin_signed_is_reused(folder: Path, tmp_path: Path) -> None:
    """A sample of a run on all coalitions has all of them in its journal, and signed the sample."""
    text = (folder / "four.yaml").read_text()
    design = "coalitions: {design: sampled, stop: {max_evaluations: 12}}"
    (folder / "part.yaml").write_text(
        text.replace("coalitions: {waves: 2}", design).replace("anchors: 6", "anchors: 4")
    )
    assert run(folder, "part", tmp_path / "part", "--from", folder / "four").code == 0
    done = run(folder, "four", tmp_path / "run", "--from", tmp_path / "part")
    assert done.code == 0, done.err
    assert reused(tmp_path / "run") == 11
    assert_same(tmp_path / "run", folder / "four")


def reused(run: Path) -> int:
    journal = Journal(run / files.JOURNAL)
    count = len(journal.wave(REUSED).coalitions)
    journal.close()
    return count


def test_plan_forecasts_the_bytes_of_further_large_runs_too(folder: Path) -> None:
    forecast = json.loads(fl_sv("plan", folder / "four.yaml", "--json").out)
    assert forecast["large_runs_of_other_coalitions"] == 6
    stages = json.loads((folder / "four" / files.COST).read_text())["stages"]
    sent = sum(stage["bytes"] for stage in stages.values())
    assert forecast["bytes"] <= sent <= 1.03 * forecast["bytes"]


def refusal(folder: Path, tmp_path: Path, config_text: str, origin: Path) -> str:
    (folder / "other.yaml").write_text(config_text)
    done = run(folder, "other", tmp_path / "run", "--from", origin)
    assert done.code != 0
    assert "Traceback" not in done.err
    assert not (tmp_path / "run" / files.LEDGER).exists()
    return f"{done.code}: {done.err}"


def test_another_process_is_refused_with_the_key_that_differs(folder: Path, tmp_path: Path) -> None:
    text = CONFIG.format(companies=", ".join(OWNERS), rounds=3)
    assert refusal(folder, tmp_path, text, folder / "three").startswith("2: fl-sv: --from")
    assert "training.rounds was 2 and is 3" in refusal(folder, tmp_path, text, folder / "three")


def test_partition_that_depends_on_who_takes_part_is_refused(folder: Path, tmp_path: Path) -> None:
    text = CONFIG.format(companies=", ".join(OWNERS), rounds=2).replace(
        "kind: column, column: owner", "kind: iid"
    )
    answer = refusal(
        folder, tmp_path, text.replace("digits.csv, target: digit", "digits"), folder / "three"
    )
    assert (
        answer.startswith("2:")
        and "where a partition divides the rows, a company's rows depend on the other" in answer
    )


def test_more_large_runs_of_a_divided_source_are_bought_without_the_sweep(tmp_path: Path) -> None:
    source = {"source": "iris", "partition": {"kind": "dirichlet", "alpha": 1.0}}
    few, more = (
        config_of(source, training={"rounds": 1, "seeds": 1}, law={"anchors": anchors})
        for anchors in (0, 1)
    )
    before = library.run(few, tmp_path / "few").path
    carry_out(more, tmp_path / "more", "inline", source=before)
    library.run(more, tmp_path / "fresh")
    for name in ("utilities.csv", "valuation.json", "payouts.csv"):
        reused, fresh = (tmp_path / folder / name for folder in ("more", "fresh"))
        assert reused.read_bytes() == fresh.read_bytes()
    cost = json.loads((tmp_path / "more" / "cost.json").read_text())
    assert cost["stages"]["sweep"]["flops"] == 0


def test_run_that_is_not_finished_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "unfinished").mkdir()
    text = CONFIG.format(companies=", ".join(OWNERS), rounds=2)
    answer = refusal(folder, tmp_path, text, tmp_path / "unfinished")
    assert answer.startswith("2:") and "holds no finished run" in answer


def test_company_whose_rows_changed_since_is_named(folder: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    lines = (changed / "digits.csv").read_text().splitlines()
    rows = [line for line in lines if not line.endswith("Damson")]
    kept = [line for line in lines if line.endswith("Damson")][5:]
    (changed / "digits.csv").write_text("\n".join([*rows, *kept]))
    answer = refusal(changed, tmp_path, (changed / "four.yaml").read_text(), folder / "three")
    assert (
        answer.startswith("2:")
        and "changed since the run, or the one that it extends, began" in answer
    )


def test_journal_that_was_changed_after_signing_is_not_reused(folder: Path, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    shutil.copytree(folder / "three", origin)
    database = sqlite3.connect(origin / files.JOURNAL)
    database.execute("UPDATE score SET loss = loss - 0.1 WHERE coalition = '2'")
    database.commit()
    database.close()
    answer = refusal(folder, tmp_path, (folder / "four.yaml").read_text(), origin)
    assert answer.startswith("1:") and "does not hold the utilities that were signed" in answer
