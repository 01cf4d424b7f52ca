"""What a run cost stays known when it fails: over all resumptions and failed attempts."""

import json
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from flwr.app import Context, Message

from clients.app import app as client_app
from fl_sv.config import parse_config
from fl_sv.errors import CompanyFailed, RunError
from fl_sv.progress import Progress
from fl_sv.runs import files
from fl_sv.runs.directory import start_or_resume
from fl_sv.runs.journal import Journal
from server.meter import ENTER_SECONDS, Meter
from server.simulation import simulate
from tests.runs import SMALL_GAME

GAME = SMALL_GAME + "faults: {retries: 0}\n"


def attempt(folder: Path, fails_at: int | None = None) -> dict[str, dict[str, float]]:
    """A run, or its continuation, that fails at a company's message of that number; its costs."""
    config = parse_config(GAME, "game")
    numbers = iter(range(10_000))

    def company(message: Message, context: Context) -> Message:
        if next(numbers) == fails_at:
            raise ValueError("out of order")
        return client_app(message, context)

    with start_or_resume(folder, config, resume=True) as run:
        simulate(config, run, "inline", Progress("quiet"), threading.Event(), company)  # type: ignore[arg-type]
    stages: dict[str, dict[str, float]] = json.loads(run.read_text(files.COST))["stages"]
    return stages


def journalled(folder: Path) -> dict[str, dict[str, float]]:
    with closing(Journal(folder / files.JOURNAL)) as journal:
        return journal.costs()


def test_costs_of_failed_attempts_stay_and_rest_grows(tmp_path: Path) -> None:
    undisturbed = attempt(tmp_path / "undisturbed")
    assert [*undisturbed][:3] == ["teacher", "sweep", "anchors"]
    assert [*undisturbed][-1] == "rest"
    known: dict[str, dict[str, float]] = {}
    # Messages 0 and 1 register; 2 to 7 train the teacher, 8 to 19 the two waves.
    for fails_at in (5, 13):
        with pytest.raises(CompanyFailed):
            attempt(tmp_path / "run", fails_at)
        after = journalled(tmp_path / "run")
        assert after["rest"]["seconds"] > known.get("rest", {}).get("seconds", 0.0)
        for stage, costs in known.items():
            assert all(after[stage][key] >= costs[key] for key in costs)
        known = after
    assert 0 < known["teacher"]["flops"] <= undisturbed["teacher"]["flops"]
    assert known["sweep"]["seconds"] > 0 and known["sweep"]["bytes"] > 0
    costs = attempt(tmp_path / "run")
    for stage, before in known.items():
        for key, number in before.items():
            assert costs[stage][key] >= number, (stage, key)
    assert costs["rest"]["seconds"] > known["rest"]["seconds"]
    # What was trained again costs again; a round that is in the journal is not trained again.
    assert costs["teacher"]["flops"] == undisturbed["teacher"]["flops"]
    assert costs["teacher"]["bytes"] > undisturbed["teacher"]["bytes"]
    assert costs["sweep"]["bytes"] > undisturbed["sweep"]["bytes"]
    assert costs["sweep"]["flops"] > undisturbed["sweep"]["flops"]
    assert costs["anchors"]["flops"] == undisturbed["anchors"]["flops"]


def test_every_second_belongs_to_one_stage(tmp_path: Path) -> None:
    started = time.perf_counter()
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        with Meter(journal) as meter:
            time.sleep(0.02)
            with meter.stage("teacher"):
                time.sleep(0.03)
                meter.add(7.0)
            with pytest.raises(ValueError, match="stopped"), meter.stage("sweep"):
                meter.traffic.n_bytes += 5
                raise ValueError("stopped")
        took = time.perf_counter() - started
        costs = journal.costs()
    assert costs["teacher"]["seconds"] >= 0.03 and costs["teacher"]["flops"] == 7.0
    assert costs["sweep"]["bytes"] == 5 and costs["rest"]["bytes"] == 0
    assert costs["rest"]["seconds"] >= 0.02
    total = sum(stage["seconds"] for stage in costs.values())
    assert 0.05 <= total <= took


def test_long_stage_is_entered_while_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        meter = Meter(journal)
        with meter.stage("sweep"):
            meter.add(1.0)
            assert "sweep" not in journal.costs()  # not at every round: the disk takes its time
            monkeypatch.setattr("server.meter.ENTER_SECONDS", 0.0)
            meter.add(2.0)
            assert journal.costs()["sweep"]["flops"] == 3.0  # a kill from here on keeps this
    assert ENTER_SECONDS <= 1.0


def test_journal_that_fails_does_not_hide_why_the_run_failed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    with (
        pytest.raises(ValueError, match="the reason"),
        Meter(journal) as meter,
        meter.stage("sweep"),
    ):
        journal.close()
        raise ValueError("the reason")
    with pytest.raises(RunError):
        meter.enter()
