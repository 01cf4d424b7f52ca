"""averaged.csv: what the companies' own models answer on average, in a run and in its files."""

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from config_of import config_of

import fl_sv
from fl_sv.data import operator_data
from fl_sv.errors import InputError, RunError, VerificationError
from fl_sv.game.averaged import AveragedLosses, averaged_csv, read_averaged
from fl_sv.game.coalitions import members_of
from fl_sv.payment.settlement import Evidence, settle
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.journal import Journal
from fl_sv.runs.tables import read_evidence
from fl_sv.training.averages import average_losses
from fl_sv.training.models import model_specs, tensors
from fl_sv.training.scoring import ValidationSet
from tests.runs import Command, published

NAMES = ("Ash", "Beech", "Chestnut")
IID = {"kind": "iid"}
QUICK = {
    "data": {"source": "iris", "partition": {"kind": "dirichlet", "alpha": 1}},
    "training": {"rounds": 2, "seeds": 2},
}


def evidence_of(folder: Path, companies: tuple[str, ...] = NAMES, **sections: object) -> Evidence:
    """A run of a small game, verified."""
    config = config_of(companies=companies, **(QUICK | sections))  # type: ignore[arg-type]
    evidence = fl_sv.run(config, folder / "run").evidence
    fl_sv.verify(folder / "run")
    return evidence


def averaged(evidence: Evidence) -> AveragedLosses:
    assert evidence.averaged is not None
    return evidence.averaged


@pytest.fixture
def evidence(run: RunDirectory) -> Evidence:
    return read_evidence(run)


def test_every_coalition_has_a_row_for_every_size_in_the_order_of_the_utilities(
    run: RunDirectory, evidence: Evidence
) -> None:
    rows = [line.split(",") for line in run.read_text(files.AVERAGED).splitlines()]
    expected = [[str(c), model] for model in evidence.table.models for c in range(16)]
    assert rows[0] == ["coalition", "model", "loss"]
    assert [row[:2] for row in rows[1:]] == expected
    assert [float(loss) for _, _, loss in rows[1:]] == averaged(evidence).loss_CM.T.ravel().tolist()


def test_nobody_and_one_company_have_exactly_the_measured_losses(evidence: Evidence) -> None:
    for model, loss_C in zip(evidence.table.models, averaged(evidence).loss_CM.T, strict=True):
        measured = evidence.table.mean_losses(model)
        assert [loss_C[c] for c in (0, 1, 2, 4, 8)] == [measured[c] for c in (0, 1, 2, 4, 8)]


def test_an_average_loses_at_most_what_its_models_lose_on_average(evidence: Evidence) -> None:
    """Jensen's inequality: the loss is convex in the outputs."""
    examples, loss_CM = [*evidence.examples.values()], averaged(evidence).loss_CM
    for coalition in range(1, 16):
        members = members_of(coalition)
        own = np.average(
            loss_CM[[1 << i for i in members]], axis=0, weights=[examples[i] for i in members]
        )
        assert (loss_CM[coalition] <= own + 1e-12).all()


@pytest.mark.parametrize(
    "anchors, coalitions_of_the_large_model", [("none", 0), (1, 2), (2, 4), ("singletons+loo", 8)]
)
def test_the_large_model_has_only_averages_of_models_that_were_trained(
    anchors: object, coalitions_of_the_large_model: int, owner_home: Path, tmp_path: Path
) -> None:
    evidence = evidence_of(tmp_path, law={"anchors": anchors})
    singletons = [c for c in evidence.table.coalitions("mlp-64") if c.bit_count() == 1]
    known = [c for c in range(8) if not c & ~sum(singletons)] if singletons else []
    assert len(known) == coalitions_of_the_large_model
    small_C, large_C = averaged(evidence).loss_CM.T
    assert np.flatnonzero(~np.isnan(large_C)).tolist() == known
    assert not np.isnan(small_C).any()
    text = (tmp_path / "run" / files.AVERAGED).read_text()
    assert text.count(",mlp-64,") == len(known) and "nan" not in text


def test_a_sample_has_the_averages_of_its_coalitions(owner_home: Path, tmp_path: Path) -> None:
    evidence = evidence_of(
        tmp_path,
        tuple(f"C{i}" for i in range(6)),
        coalitions={"design": "sampled", "stop": {"max_evaluations": 30}},
    )
    design = evidence.table.coalitions("mlp-4")
    assert len(design) == 30 and averaged(evidence).coalitions == design
    assert not np.isnan(averaged(evidence).loss_CM).any()


@pytest.mark.slow
def test_the_order_of_the_companies_changes_no_bit(owner_home: Path, tmp_path: Path) -> None:
    by_order = []
    for companies in (NAMES, NAMES[::-1]):
        evidence = evidence_of(
            tmp_path / companies[0],
            companies,
            data={"source": "iris", "partition": IID},
        )
        found = averaged(evidence)
        names = (frozenset(companies[i] for i in members_of(c)) for c in found.coalitions)
        by_order.append(dict(zip(names, found.loss_CM.tolist(), strict=True)))
    assert by_order[0] == by_order[1]


@pytest.mark.parametrize(
    "sections",
    [
        {"data": {"source": "diabetes", "partition": IID}},
        {
            "models": {
                "small": [{"kind": "mlp", "hidden": [4]}],
                "large": {
                    "kind": "module",
                    "factory": "tests.plugins:dropout_mlp",
                    "options": {"width": 50},
                },
            }
        },
    ],
    ids=["regression", "a user's module"],
)
def test_other_tasks_and_models_have_averages_too(
    sections: dict[str, object], owner_home: Path, tmp_path: Path
) -> None:
    evidence = evidence_of(tmp_path, **sections)
    loss_CM = averaged(evidence).loss_CM
    assert loss_CM.shape == (8, 2) and np.isfinite(loss_CM).all()
    assert len(np.unique(loss_CM[1:])) == 14


def test_a_class_that_a_model_rules_out_stays_ruled_out_and_an_average_stays_a_number() -> None:
    """Its output is minus infinity, which no sum could be taken back from."""
    large = {"kind": "module", "factory": "tests.plugins:rules_out", "options": {"width": 50}}
    models = {"small": [{"kind": "mlp", "hidden": [4]}], "large": large}
    config = config_of({"source": "tests.plugins:marked"}, models=models)
    operator = operator_data(config)
    _, model = model_specs(config, operator.task)
    validation = ValidationSet(config, *tensors(operator.validation, config))
    stack = torch.stack([model.initial_params(config.seed, r) for r in range(2)])
    loss_CV, _, own = validation.losses(model, stack, "a module", keep=[0, 1])
    assert all(np.isfinite(outputs).all() for outputs in own.values())
    (found,) = average_losses(model.task, validation.y, own, {0: 2, 1: 3}, [1, 2, 3])
    one, other = loss_CV.numpy().mean(axis=1)
    assert (found[1], found[2]) == pytest.approx((one, other), abs=1e-12)
    assert 0 < found[3] <= (2 * one + 3 * other) / 5


def test_a_resumed_run_reads_the_models_outputs_from_the_journal(run: RunDirectory) -> None:
    before = run.read_bytes(files.AVERAGED)
    for name in (files.LEDGER, files.AVERAGED):
        run.file(name).unlink()
    fl_sv.run(run.config, run.path, resume=True)
    assert run.read_bytes(files.AVERAGED) == before


def test_outputs_in_a_journal_that_were_not_measured_stop_the_run(run: RunDirectory) -> None:
    journal = Journal(run.file(files.JOURNAL))
    (own_VK, *_) = journal.outputs("mlp-64", 0).values()
    wrong = own_VK[::-1].copy()
    journal._database.write([("DELETE FROM outputs WHERE model='mlp-64' AND coalition='1'", ())])
    journal.add_scores([], {("mlp-64", 0, 1): wrong})
    journal.close()
    run.file(files.LEDGER).unlink()
    with pytest.raises(RunError, match="outputs of mlp-64 in the journal are not those"):
        fl_sv.run(run.config, run.path, resume=True)


def test_a_journal_of_an_older_version_is_not_continued(run: RunDirectory) -> None:
    journal = Journal(run.file(files.JOURNAL))
    journal._database.write([("DELETE FROM outputs", ())])
    journal.close()
    for name in (files.LEDGER, files.AVERAGED):
        run.file(name).unlink()
    with pytest.raises(RunError, match="lacks the outputs of mlp-8 trained on one company alone"):
        fl_sv.run(run.config, run.path, resume=True)


def test_a_run_whose_averages_were_left_out_is_not_genuine(
    run: RunDirectory, evidence: Evidence, tmp_path: Path, command: Command
) -> None:
    without = published(tmp_path / "without", run, replace(evidence, averaged=None))
    answer = command("verify", without.path)
    assert answer.code == 1 and "line 8: it does not name averaged.csv" in answer.err
    shutil.copy(run.file(files.AVERAGED), without.path)
    answer = command("verify", without.path)
    assert answer.code == 1 and "line 8: it does not name averaged.csv" in answer.err


def test_averages_that_were_changed_or_removed_are_found(run: RunDirectory) -> None:
    text = run.read_text(files.AVERAGED)
    run.write_text(files.AVERAGED, text.replace("15,mlp-64,0.", "15,mlp-64,0.1"))
    with pytest.raises(VerificationError, match=r"averaged\.csv was changed after it was signed"):
        fl_sv.verify(run.path)
    run.file(files.AVERAGED).unlink()
    with pytest.raises(VerificationError, match=r"averaged\.csv"):
        fl_sv.verify(run.path)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda lines: lines[:-1], "1 of 48 averages are missing: coalition 15 of mlp-64"),
        (lambda lines: lines[:33], "16 of 48 averages are missing: .* 4 of mlp-64 and 11 more"),
        (lambda lines: lines[:1], "48 of 48 averages are missing"),
        (lambda lines: [], "the columns are ''; expected coalition,model,loss"),
        (lambda lines: [*lines, lines[-1]], "line 50: coalition 15 of mlp-64 is listed twice"),
        (lambda lines: [*lines, "16,mlp-64,0.5"], "line 50: no average is known of coalition 16"),
        (lambda lines: [*lines, "3,mlp-5,0.5"], "and the model 'mlp-5'"),
        (lambda lines: [*lines[:-1], "15,mlp-64,nan"], "line 49: the loss is 'nan'; it must be"),
        (lambda lines: [*lines[:-1], "15,mlp-64,inf"], "line 49: the loss is 'inf'; it must be"),
        (lambda lines: [*lines[:-1], "15,mlp-64,"], "line 49: "),
        (lambda lines: [*lines[:-1], "15,mlp-64"], "line 49: the row has more or fewer cells"),
        (lambda lines: [*lines[:-1], "-1,mlp-64,0.5"], "line 49: "),
        (lambda lines: [lines[0], "0,mlp-8,0.5", *lines[2:]], "the loss of nobody is 0.5; mlp-8"),
        (lambda lines: [*lines[:2], "1,mlp-8,0.5", *lines[3:]], "the loss of Ash is 0.5; mlp-8"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_with_a_sentence(
    change: Callable[[list[str]], list[str]], message: str, run: RunDirectory, evidence: Evidence
) -> None:
    run.write_text(files.AVERAGED, "\n".join(change(run.read_text(files.AVERAGED).splitlines())))
    with pytest.raises(InputError, match=message):
        read_averaged(run.file(files.AVERAGED), evidence.table)


def test_what_is_written_is_read_back_exactly(evidence: Evidence, tmp_path: Path) -> None:
    (tmp_path / "averaged.csv").write_text("".join(averaged_csv(averaged(evidence))))
    found = read_averaged(tmp_path / "averaged.csv", evidence.table)
    assert np.array_equal(found.loss_CM, averaged(evidence).loss_CM)


def test_an_unknown_average_is_nan_and_never_another_number() -> None:
    found = AveragedLosses(("small", "large"), [0, 3], np.array([[2.0, math.nan], [1.0, 0.5]]))
    asked_CM = found.of([0, 1, 3])
    assert np.array_equal(asked_CM, [[2, math.nan], [math.nan] * 2, [1, 0.5]], equal_nan=True)


def test_companies_in_another_order_keep_their_averages(evidence: Evidence) -> None:
    """The run's own check of the order (A4) turns the companies round, the averages with them."""
    found = AveragedLosses(("small",), [0, 1, 3], np.array([[0.0], [1.0], [3.0]]))
    turned = found.in_reverse_order(3)
    assert (turned.coalitions, turned.loss_CM.ravel().tolist()) == ((0, 4, 6), [0, 1, 3])
    turned = averaged(evidence).in_reverse_order(4)
    assert np.array_equal(turned.of([8, 12, 7]), averaged(evidence).of([1, 3, 14]))
    assert "A4" not in {alarm.code for alarm in settle(evidence).alarms}
