"""The teacher's strategy: any Flower Strategy, strict, exact, resumable; and what is the game when
it is not FedAvg.
"""

import inspect
import threading
from pathlib import Path

import flwr.serverapp.strategy
import numpy as np
import pytest
from flwr.app import Array, Error, Message
from flwr.serverapp.strategy import FedAdam, FedAvg

from clients.app import app as client_app
from fl_sv.config import Config, parse_config
from fl_sv.config.strategies import STRATEGIES
from fl_sv.data import operator_data
from fl_sv.errors import CompanyFailed, InputError, RunError
from fl_sv.flower import wire
from fl_sv.payment.settlement import TeacherLoss
from fl_sv.planning.checks import check
from fl_sv.progress import Progress
from fl_sv.runs.directory import start_or_resume
from fl_sv.runs.files import TEACHER, UTILITIES
from fl_sv.runs.journal import Journal
from fl_sv.training.models import model_specs
from server.exchange import Federation, join
from server.inline import InlineGrid
from server.job import open_job
from server.simulation import simulate
from server.teacher import train_teacher
from strategies.flower import make_strategy
from strategies.roster import to_numpy, to_record
from strategies.spool import SpooledArray
from strategies.teacher import TeacherStrategy

GAME = """
companies: [Ash, Beech, Chestnut]
data: {source: iris, partition: {kind: sizes, sizes: {Ash: 3, Beech: 2, Chestnut: 1}}}
models:
  small: [{kind: mlp, hidden: [3]}]
  large: {kind: mlp, hidden: [32]}
training: {rounds: 3, seeds: 2, batch_size: 8, learning_rate: 0.3}
teacher: {strategy: STRATEGY, options: OPTIONS}
payouts: {pot: {kind: fixed, cents: 1000}}
"""


def game(strategy: str, options: str = "{}") -> Config:
    return parse_config(GAME.replace("STRATEGY", strategy).replace("OPTIONS", options), strategy)


def run(config: Config, out: Path, *, resume: bool = False) -> tuple[str, str]:
    """The texts of teacher.csv and utilities.csv."""
    with start_or_resume(out, config, resume=resume) as directory:
        if not directory.finished:
            simulate(config, directory, "inline", Progress("quiet"), threading.Event())
        return directory.read_text(TEACHER), directory.read_text(UTILITIES)


def federation_of(config: Config) -> Federation:
    return join(InlineGrid(client_app, range(3)), config, operator_data(config), threading.Event())


def teach(config: Config, path: Path) -> tuple[list[TeacherLoss], float]:
    """The deployed teacher's curve, and the large model's loss for the grand coalition."""
    grid, journal = InlineGrid(client_app, range(3)), Journal(path)
    job = open_job(config, journal, grid, Progress("quiet"), threading.Event())
    return train_teacher(job), journal.scores()[job.large.name, 0, 7].loss


@pytest.fixture(scope="module")
def taught_by_fedavg(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[TeacherLoss], float]:
    return teach(game("fedavg"), tmp_path_factory.mktemp("teacher") / "journal")


@pytest.fixture(scope="module")
def by_fedavg(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return run(game("fedavg"), tmp_path_factory.mktemp("fedavg") / "run")


def test_every_strategy_that_plan_knows_is_flowers_and_takes_the_options_it_lists() -> None:
    for name, facts in STRATEGIES.items():
        strategy_class = getattr(flwr.serverapp.strategy, facts.flower_class)
        assert strategy_class.__name__.lower() == name
        assert set(facts.options) <= set(inspect.signature(strategy_class).parameters)


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"fedavg", "fedprox"}))
def test_every_strategy_trains_the_teacher_while_the_game_stays_fedavg(
    name: str, taught_by_fedavg: tuple[list[TeacherLoss], float], tmp_path: Path
) -> None:
    options = (
        "{server_momentum: 0.5}"
        if name == "fedavgm"
        else "{eta: 0.01}"
        if "eta" in STRATEGIES[name].options
        else "{}"
    )
    plain_curve, plain_loss = taught_by_fedavg
    curve, loss = teach(game(name, options), tmp_path / "journal")
    assert plain_loss == plain_curve[-1].loss
    assert loss == plain_loss
    assert len(curve) == 1 + 3  # untrained, three rounds
    assert curve != plain_curve


def test_fedprox_is_part_of_the_game(by_fedavg: tuple[str, str], tmp_path: Path) -> None:
    free = run(game("fedprox", "{proximal_mu: 0.0}"), tmp_path / "free")
    held = run(game("fedprox", "{proximal_mu: 5.0}"), tmp_path / "held")
    assert free == by_fedavg
    small = [
        line for line in held[1].splitlines() if ",mlp-3," in line and line.split(",")[0] in "137"
    ]  # with Ash
    assert not set(small) & set(by_fedavg[1].splitlines())


def test_users_own_strategy_trains_the_teacher(by_fedavg: tuple[str, str], tmp_path: Path) -> None:
    curve, utilities = run(game("'tests.plugins:HalfStep'"), tmp_path / "run")
    assert utilities == by_fedavg[1]
    assert curve != by_fedavg[0]


@pytest.mark.parametrize(
    ("strategy", "options", "sentence"),
    [
        ("fedsgd", "{}", "there is no strategy 'fedsgd'"),
        ("fedadam", "{etta: 1}", "has no option 'etta'; it takes eta"),
        ("fedadam", "{eta: -1}", "takes a number above 0"),
        ("fedtrimmedavg", "{beta: 0.9}", "takes a number of at least 0 and below 0.5"),
        ("krum", "{num_malicious_nodes: 1}", "needs at least 5 companies"),
        ("bulyan", "{num_malicious_nodes: 1}", "needs at least 7 companies"),
    ],
)
def test_strategy_that_cannot_work_is_refused_with_a_sentence(
    strategy: str, options: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        check(game(strategy, options))


@pytest.mark.parametrize(
    ("strategy", "options", "sentence"),
    [
        ("'tests.plugins:nobody'", "{}", "has no 'nobody'"),
        ("'tests.plugins:two_moons'", "{}", "not a subclass of"),
        ("'tests.plugins:HalfStep'", "{speed: 3}", "refuses"),
    ],
)
def test_plug_in_that_is_no_strategy_is_refused_with_a_sentence(
    strategy: str, options: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        make_strategy(game(strategy, options))


def teacher_of(config: Config) -> TeacherStrategy:
    _, large = model_specs(config, operator_data(config).task)
    return TeacherStrategy(
        make_strategy(config), federation_of(config).roster, "mlp-32/0", large.n_params, "float32"
    )


@pytest.fixture
def teacher() -> TeacherStrategy:
    return teacher_of(game("fedavg"))


def replies_of(teacher: TeacherStrategy) -> list[Message]:
    from flwr.app import ConfigRecord

    config = teacher.roster.config
    _, large = model_specs(config, operator_data(config).task)
    grid = InlineGrid(client_app, range(3))
    initial = to_record({"mlp-32/0": large.initial_params(0, 0).numpy()})
    return list(grid.send_and_receive(teacher.configure_train(1, initial, ConfigRecord(), grid)))


def test_order_of_replies_changes_no_bit(teacher: TeacherStrategy) -> None:
    replies = replies_of(teacher)
    forward, _ = teacher.aggregate_train(1, replies)
    backward, _ = teacher.aggregate_train(1, replies[::-1])
    assert np.array_equal(to_numpy(forward)["mlp-32/0"], to_numpy(backward)["mlp-32/0"])


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "fedadam", "fedmedian"])
def test_replies_on_disk_give_the_model_that_they_give_in_memory(
    strategy: str, tmp_path: Path
) -> None:
    options = {"fedprox": "{proximal_mu: 0.1}", "fedadam": "{eta: 0.01}"}.get(strategy, "{}")
    teachers = [teacher_of(game(strategy, options)) for _ in range(2)]
    replies, spooled = map(replies_of, teachers)
    for reply in spooled:
        ((key, array),) = reply.content[wire.ARRAYS].items()
        reply.content[wire.ARRAYS][key] = SpooledArray(array, tmp_path)
    in_memory, on_disk = (
        teacher.aggregate_train(1, each)[0]
        for teacher, each in zip(teachers, (replies, spooled), strict=True)
    )
    assert in_memory is not None
    assert on_disk == in_memory


def test_fedavg_of_a_round_is_flowers_own_of_the_same_replies_in_float64(
    teacher: TeacherStrategy,
) -> None:
    replies = replies_of(teacher)
    ours, metrics = teacher.aggregate_train(1, replies)
    theirs, flowers_metrics = teacher.inner.aggregate_train(1, teacher._exact(replies))
    assert ours is not None and theirs is not None
    assert ours["mlp-32/0"].data == Array(theirs["mlp-32/0"].numpy().astype("float32")).data
    assert metrics == flowers_metrics


def test_fedavg_that_weighs_companies_by_another_metric_does_so() -> None:
    by_loss = "{weighted_by_key: train_loss}"
    teacher = teacher_of(game("'flwr.serverapp.strategy:FedAvg'", by_loss))
    replies = replies_of(teacher)
    for reply, loss in zip(replies, (1.0, 0.5, 0.5), strict=True):
        reply.content[wire.METRICS][wire.TRAIN_LOSS] = loss
    found, _ = teacher.aggregate_train(1, replies)
    first, *others = [to_numpy(reply.content[wire.ARRAYS])["mlp-32/0"] for reply in replies]
    assert found is not None
    mean = 0.5 * first + 0.25 * sum(others)
    assert to_numpy(found)["mlp-32/0"] == pytest.approx(mean, abs=1e-6)


def test_error_among_the_replies_is_never_averaged_over(teacher: TeacherStrategy) -> None:
    first, *rest = replies_of(teacher)
    broken = Message(Error(code=2, reason="disk gone"), reply_to=first)
    broken.metadata.__dict__.update(first.metadata.__dict__)
    with pytest.raises(CompanyFailed, match="disk gone"):
        teacher.aggregate_train(1, [broken, *rest])


def test_weight_of_a_company_is_what_it_registered_not_what_it_claims_later(
    teacher: TeacherStrategy,
) -> None:
    replies = replies_of(teacher)
    honest, _ = teacher.aggregate_train(1, replies)
    replies[0].content[wire.METRICS][wire.NUM_EXAMPLES] = 10**6
    boasting, _ = teacher.aggregate_train(1, replies)
    assert np.array_equal(to_numpy(honest)["mlp-32/0"], to_numpy(boasting)["mlp-32/0"])


def test_strategy_that_makes_no_model_stops_the_run(teacher: TeacherStrategy) -> None:
    class Refusing(FedAvg):
        def aggregate_train(self, server_round, replies):
            return None, None

    teacher.inner = Refusing()
    with pytest.raises(RunError, match="Refusing made no model of 3 replies in round 1"):
        teacher.aggregate_train(1, replies_of_without_training(teacher))


def replies_of_without_training(teacher: TeacherStrategy) -> list[Message]:
    teacher.inner, refusing = FedAvg(min_train_nodes=3, min_available_nodes=3), teacher.inner
    replies = replies_of(teacher)
    teacher.inner = refusing
    return replies


def test_moments_of_a_stateful_strategy_survive_the_journal() -> None:
    config = game("fedadam", "{eta: 0.01}")
    roster = federation_of(config).roster
    _, large = model_specs(config, operator_data(config).task)

    def wrapped() -> TeacherStrategy:
        return TeacherStrategy(make_strategy(config), roster, "mlp-32/0", large.n_params, "float32")

    first, second = wrapped(), wrapped()
    first.aggregate_train(1, replies_of(first))
    second.restore(first.state())
    assert isinstance(second.inner, FedAdam)
    for key, moment in first.inner.m_t.items():
        assert np.array_equal(moment, second.inner.m_t[key])
