"""Companies and workers that fail, on real Ray: tried again, or the run stops with a sentence.
Never averaged over.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message

from clients.app import app as honest_app
from fl_sv.config import Config, parse_config
from fl_sv.errors import CompanyFailed, Interrupted, RunError
from fl_sv.flower import wire
from fl_sv.progress import Progress
from fl_sv.runs.directory import start_or_resume
from fl_sv.runs.files import UTILITIES
from server.simulation import simulate

GAME = """
companies: [Ash, Beech, Chestnut]
data: {source: iris, partition: {kind: iid}}
models:
  small: [{kind: mlp, hidden: [3]}]
  large: {kind: mlp, hidden: [32]}
training: {rounds: 2, seeds: 2}
coalitions: {waves: 2}
compute: {workers: 2}
faults: {retries: 1, timeout_seconds: 20, restarts: 1}
payouts: {pot: {kind: fixed, cents: 1000}}
"""
CULPRIT = "Beech"


class Company:
    """The honest client app, but for one company and one kind of message, a number of times in a
    row.

    The number is counted by files, since Ray's workers share no memory and may die.
    """

    def __init__(
        self,
        misdeed: Callable[[Message], Message],
        where: str,
        times: int,
        folder: Path,
        otherwise: Callable[[Message, Context], Message] = honest_app,
    ) -> None:
        self.misdeed, self.where, self.times, self.folder, self.otherwise = (
            misdeed,
            where,
            times,
            folder,
            otherwise,
        )

    def __call__(self, message: Message, context: Context) -> Message:
        reply = self.otherwise(message, context)
        task = message.content[wire.CONFIG]
        if (
            task[wire.COMPANY] == CULPRIT
            and message.metadata.message_type == self.where
            and self._once_more()
        ):
            return self.misdeed(reply)
        return reply

    def _once_more(self) -> bool:
        for number in range(self.times):
            try:
                (self.folder / f"misdeed-{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            return True
        return False


def raises(_reply: Message) -> Message:
    raise RuntimeError("the disk of Beech is gone")


def sends_nan(reply: Message) -> Message:
    return with_arrays(reply, lambda array: np.full_like(array, np.nan))


def sends_another_shape(reply: Message) -> Message:
    return with_arrays(reply, lambda array: array[..., :-1])


def says_nothing_in_time(reply: Message) -> Message:
    time.sleep(15)
    return reply


def dies(_reply: Message) -> Message:
    os._exit(1)


def with_arrays(reply: Message, change: Callable[[np.ndarray], np.ndarray]) -> Message:
    arrays = reply.content[wire.ARRAYS]
    reply.content[wire.ARRAYS] = ArrayRecord(
        {key: Array(change(array.numpy())) for key, array in arrays.items()}
    )
    return reply


@pytest.fixture(scope="module")
def config() -> Config:
    return parse_config(GAME, "game")


def run(
    config: Config,
    out: Path,
    companies: object = honest_app,
    backend: str = "ray",
    resume: bool = False,
) -> str:
    """The text of utilities.csv."""
    with start_or_resume(out, config, resume=resume) as directory:
        simulate(config, directory, backend, Progress("quiet"), threading.Event(), companies)  # type: ignore[arg-type]
        return directory.read_text(UTILITIES)


@pytest.fixture(scope="module")
def undisturbed(config: Config, tmp_path_factory: pytest.TempPathFactory) -> str:
    return run(config, tmp_path_factory.mktemp("undisturbed") / "run", backend="inline")


def test_company_that_fails_once_in_every_way_is_asked_again_and_nothing_changes(
    config: Config, undisturbed: str, tmp_path: Path
) -> None:
    folders = [tmp_path / misdeed.__name__ for misdeed in (raises, sends_nan, sends_another_shape)]
    for folder in folders:
        folder.mkdir()
    companies = Company(raises, wire.TEACHER, 1, folders[0])
    companies = Company(sends_nan, wire.SINGLETON, 1, folders[1], companies)
    companies = Company(sends_another_shape, wire.COALITIONS, 1, folders[2], companies)
    assert run(config, tmp_path / "run", companies) == undisturbed
    assert all(list(folder.iterdir()) for folder in folders)


@pytest.mark.parametrize(
    ("misdeed", "where", "sentence"),
    [
        (
            raises,
            wire.COALITIONS,
            r"Beech failed in round 1 of wave 1 of 2 \(coalitions 1 to 3\), 2 times: the disk",
        ),
        (
            sends_nan,
            wire.TEACHER,
            r"Beech failed in round 1 of the teacher's training .*NaN or infinite",
        ),
        (
            sends_another_shape,
            wire.SINGLETON,
            r"Beech failed in training the large model alone, 2 times: .*shape",
        ),
    ],
)
def test_company_that_goes_on_failing_stops_the_run_with_a_sentence_and_the_journal_goes_on(
    misdeed: Callable[[Message], Message],
    where: str,
    sentence: str,
    config: Config,
    undisturbed: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(CompanyFailed, match=sentence):
        run(config, tmp_path / "run", Company(misdeed, where, 99, tmp_path))
    assert not (tmp_path / "run" / UTILITIES).exists()
    assert run(config, tmp_path / "run", backend="inline", resume=True) == undisturbed


def test_company_that_says_nothing_in_time_stops_the_run(config: Config, tmp_path: Path) -> None:
    impatient = config.model_copy(
        update={"faults": config.faults.model_copy(update={"timeout_seconds": 10.0, "retries": 0})}
    )
    with pytest.raises(
        CompanyFailed, match=r"Beech failed in round 1 of the teacher's .*no reply came in time"
    ):
        run(
            impatient,
            tmp_path / "run",
            Company(says_nothing_in_time, wire.TEACHER, 99, tmp_path),
        )


def test_dead_ray_worker_restarts_the_simulation_from_the_journal(
    config: Config, undisturbed: str, tmp_path: Path
) -> None:
    assert run(config, tmp_path / "run", Company(dies, wire.COALITIONS, 1, tmp_path)) == undisturbed


def test_workers_that_go_on_dying_stop_the_run(
    config: Config, undisturbed: str, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="started 2 times and lost a worker each time"):
        run(config, tmp_path / "run", Company(dies, wire.COALITIONS, 99, tmp_path))
    assert run(config, tmp_path / "run", resume=True) == undisturbed


def test_run_that_is_asked_to_stop_does_and_goes_on_later(
    config: Config, undisturbed: str, tmp_path: Path
) -> None:
    stop = threading.Event()

    def stops_in_the_sweep(reply: Message) -> Message:
        stop.set()
        raise RuntimeError("the message that was under way")

    with (
        start_or_resume(tmp_path / "run", config, resume=False) as directory,
        pytest.raises(Interrupted),
    ):
        companies = Company(stops_in_the_sweep, wire.COALITIONS, 99, tmp_path)
        simulate(config, directory, "inline", Progress("quiet"), stop, companies)  # type: ignore[arg-type]
    assert run(config, tmp_path / "run", resume=True, backend="inline") == undisturbed
