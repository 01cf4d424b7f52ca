"""Companies and workers that fail, on real Ray: tried again, or the run stops with a sentence.
Nothing is averaged over those that remain.

Ray takes longer to start than a valuation takes, so one simulation serves all valuations in which
no worker dies: see `outcomes`.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.serverapp import Grid

from clients.app import app as honest_app
from fl_sv.config import Config, parse_config
from fl_sv.errors import CompanyFailed, Interrupted, RunError
from fl_sv.flower import wire
from fl_sv.progress import Progress
from fl_sv.runs.directory import start_or_resume
from fl_sv.runs.files import PAYOUTS, UTILITIES, VALUATION
from server import exchange
from server.simulation import on_ray, simulate
from server.valuation import value_companies

GAME = """
companies: [Ash, Beech, Chestnut, Damson]
data: {source: iris, partition: {kind: iid}}
models:
  small: [{kind: mlp, hidden: [3]}]
  large: {kind: mlp, hidden: [32]}
training: {rounds: 2, seeds: 2}
coalitions: {waves: 2}
compute: {workers: 2}
faults: {retries: 1, restarts: 1}
payouts: {pot: {kind: fixed, cents: 1000}}
"""
CULPRIT = "Beech"


Misdeed = Callable[[Message, Path], Message]  # a reply, and the folder of the orders


def raises(_reply: Message, _folder: Path) -> Message:
    raise RuntimeError("the disk of Beech is gone")


def sends_nan(reply: Message, _folder: Path) -> Message:
    return with_arrays(reply, lambda array: np.full_like(array, np.nan))


def sends_another_shape(reply: Message, _folder: Path) -> Message:
    return with_arrays(reply, lambda array: array[..., :-1])


def is_silent(reply: Message, folder: Path) -> Message:
    """Waits until the server no longer waits for it."""
    while folder.exists():
        time.sleep(0.05)
    return reply


def dies(_reply: Message, _folder: Path) -> Message:
    os._exit(1)


MISDEEDS = {misdeed.__name__: misdeed for misdeed in (raises, sends_nan, sends_another_shape)} | {
    misdeed.__name__: misdeed for misdeed in (is_silent, dies)
}


class Companies:
    """The honest client app, but for Beech, which misbehaves as it is ordered.

    Orders are files, one for each time: Ray's workers share no memory, and may die.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def order(self, misdeed: Misdeed, where: str, times: int) -> None:
        """The next `times` messages of a kind are answered by the misdeed."""
        orders = self.folder / where / misdeed.__name__
        orders.mkdir(parents=True)
        for number in range(times):
            (orders / str(number)).touch()

    def forget(self) -> int:
        """From now on every company behaves. Returns how many orders were left."""
        left = len(self._orders("*"))
        shutil.rmtree(self.folder, ignore_errors=True)
        return left

    def __call__(self, message: Message, context: Context) -> Message:
        reply = honest_app(message, context)
        if message.content[wire.CONFIG][wire.COMPANY] == CULPRIT:
            for order in self._orders(message.metadata.message_type):
                try:
                    order.unlink()  # another worker may have been quicker
                except FileNotFoundError:
                    continue
                return MISDEEDS[order.parent.name](reply, self.folder)
        return reply

    def _orders(self, where: str) -> list[Path]:
        return [path for path in self.folder.glob(f"{where}/*/*") if path.is_file()]


def with_arrays(reply: Message, change: Callable[[np.ndarray], np.ndarray]) -> Message:
    arrays = reply.content[wire.ARRAYS]
    reply.content[wire.ARRAYS] = ArrayRecord(
        {key: Array(change(array.numpy())) for key, array in arrays.items()}
    )
    return reply


@pytest.fixture(scope="module")
def config() -> Config:
    return parse_config(GAME, "game")


TABLES = (UTILITIES, VALUATION, PAYOUTS)


def run(
    config: Config,
    out: Path,
    companies: object = honest_app,
    backend: str = "ray",
    resume: bool = False,
) -> dict[str, bytes]:
    """The tables of a valuation by a simulation of its own."""
    with start_or_resume(out, config, resume=resume) as directory:
        simulate(config, directory, backend, Progress("quiet"), threading.Event(), companies)  # type: ignore[arg-type]
    return tables(out)


def tables(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in TABLES}


@pytest.fixture(scope="module")
def undisturbed(config: Config, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tables of a valuation in one process."""
    return run(config, tmp_path_factory.mktemp("undisturbed") / "run", backend="inline")


# --- one simulation, one valuation after the other ------------------------------------------------

ONCE_IN_EVERY_WAY = "once in every way"
HONEST = "honest"
ORDERS: dict[str, list[tuple[Misdeed, str, int]]] = {
    HONEST: [],
    ONCE_IN_EVERY_WAY: [
        (raises, wire.TEACHER, 1),
        (sends_nan, wire.SINGLETON, 1),
        (sends_another_shape, wire.COALITIONS, 1),
    ],
    raises.__name__: [(raises, wire.COALITIONS, 99)],
    sends_nan.__name__: [(sends_nan, wire.TEACHER, 99)],
    sends_another_shape.__name__: [(sends_another_shape, wire.SINGLETON, 99)],
    is_silent.__name__: [(is_silent, wire.TEACHER, 99)],
}


class Outcome(NamedTuple):
    """What became of a valuation: its folder, the error that ended it, and orders that are left."""

    out: Path
    error: CompanyFailed | None
    orders_left: int


class HurryingGrid:
    """A grid whose clock passes every deadline as soon as only one company has not trained the
    teacher: no test waits for a deadline, and none meets it on a busy machine.
    """

    def __init__(self, grid: Grid, n_companies: int) -> None:
        self._grid, self._missing = grid, n_companies

    def __getattr__(self, name: str) -> object:
        return getattr(self._grid, name)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        replies = list(self._grid.pull_messages(message_ids))
        self._missing -= sum(reply.metadata.message_type == wire.TEACHER for reply in replies)
        return replies

    def monotonic(self) -> float:
        return time.monotonic() + (1e6 if self._missing == 1 else 0.0)


@pytest.fixture(scope="module")
def outcomes(config: Config, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Of every valuation in ORDERS, all in one simulation."""
    folder = tmp_path_factory.mktemp("simulation")
    companies = Companies(folder / "orders")
    impatient = config.model_copy(
        update={"faults": config.faults.model_copy(update={"retries": 0})}
    )

    def work(grid: Grid) -> dict[str, Outcome]:
        found = {}
        for name, orders in ORDERS.items():
            for order in orders:
                companies.order(*order)
            if name == is_silent.__name__:
                hurrying = HurryingGrid(grid, config.n_companies)
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(exchange, "time", SimpleNamespace(monotonic=hurrying.monotonic))
                    error = value(hurrying, impatient, folder / name)  # type: ignore[arg-type]
            else:
                error = value(grid, config, folder / name)
            found[name] = Outcome(folder / name, error, companies.forget())
        return found

    return on_ray(config, work, companies, verbose=False)  # type: ignore[arg-type]


def value(grid: Grid, config: Config, out: Path) -> CompanyFailed | None:
    """A valuation by a simulation that has started. Returns the error that ended it."""
    try:
        with start_or_resume(out, config, resume=False) as directory:
            value_companies(config, directory, grid, Progress("quiet"), threading.Event())
    except CompanyFailed as error:
        return error
    return None


@pytest.mark.ray
def test_ray_and_one_process_give_the_same_bytes(
    outcomes: dict[str, Outcome], undisturbed: dict[str, bytes]
) -> None:
    assert outcomes[HONEST].error is None
    assert tables(outcomes[HONEST].out) == undisturbed


@pytest.mark.ray
def test_company_that_fails_once_in_every_way_is_asked_again_and_nothing_changes(
    outcomes: dict[str, Outcome], undisturbed: dict[str, bytes]
) -> None:
    out, error, orders_left = outcomes[ONCE_IN_EVERY_WAY]
    assert error is None
    assert tables(out) == undisturbed
    assert orders_left == 0


@pytest.mark.ray
@pytest.mark.parametrize(
    ("misdeed", "sentence"),
    [
        (
            raises,
            r"Beech failed in round 1 of wave 1 of 2 \(coalitions 1 to 7\), 2 times: the disk",
        ),
        (
            sends_nan,
            r"Beech failed in round 1 of the teacher's training .*, 2 times: .*NaN or infinite",
        ),
        (
            sends_another_shape,
            r"Beech failed in training the large model on its own rows, 2 times: .*shape",
        ),
    ],
)
def test_company_that_goes_on_failing_stops_the_run_with_a_sentence_and_the_journal_goes_on(
    misdeed: Misdeed,
    sentence: str,
    config: Config,
    undisturbed: dict[str, bytes],
    outcomes: dict[str, Outcome],
) -> None:
    out, error, _ = outcomes[misdeed.__name__]
    with pytest.raises(CompanyFailed, match=sentence):
        raise error or AssertionError("the run did not stop")
    assert not (out / UTILITIES).exists()
    assert run(config, out, backend="inline", resume=True) == undisturbed


@pytest.mark.ray
def test_company_that_says_nothing_in_time_stops_the_run(outcomes: dict[str, Outcome]) -> None:
    with pytest.raises(
        CompanyFailed,
        match=r"Beech failed in round 1 of the teacher's .*1 times: no reply came in time",
    ):
        raise outcomes[is_silent.__name__].error or AssertionError("the run did not stop")


# --- workers --------------------------------------------------------------------------------------


@pytest.mark.ray
def test_workers_that_go_on_dying_stop_the_run_and_a_dead_one_restarts_it_from_the_journal(
    config: Config, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    companies = Companies(tmp_path / "orders")
    companies.order(dies, wire.COALITIONS, 99)
    with pytest.raises(RunError, match="started 2 times and lost a worker each time"):
        run(config, tmp_path / "run", companies)
    companies.forget()
    companies.order(dies, wire.COALITIONS, 1)
    assert run(config, tmp_path / "run", companies, resume=True) == undisturbed
    assert companies.forget() == 0


def test_run_that_is_asked_to_stop_does_and_goes_on_later(
    config: Config, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    stop = threading.Event()

    def stops_in_the_sweep(message: Message, context: Context) -> Message:
        if message.metadata.message_type == wire.COALITIONS:
            stop.set()
            raise RuntimeError("the message that was under way")
        return honest_app(message, context)

    with (
        start_or_resume(tmp_path / "run", config, resume=False) as directory,
        pytest.raises(Interrupted),
    ):
        simulate(config, directory, "inline", Progress("quiet"), stop, stops_in_the_sweep)  # type: ignore[arg-type]
    assert run(config, tmp_path / "run", resume=True, backend="inline") == undisturbed
