"""Small models that learn from the finished teacher: objective, sweep, and the whole run."""

import html
import inspect
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from config_of import config_of
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import (
    context_from_proto,
    context_to_proto,
    message_from_proto,
    message_to_proto,
)
from flwr.proto.message_pb2 import Context as ProtoContext
from flwr.proto.message_pb2 import Message as ProtoMessage

from benchmarks.common.command_line import SMOKE
from clients.app import app as client_app
from fl_sv import distillation as kd
from fl_sv.config import Config, dump_config, load_config, parse_config
from fl_sv.config.students import LOSS_OPTIONS, SOFT_LOSSES, TEMPERATURE, Distillation
from fl_sv.config.training import Optimizer
from fl_sv.data import Task, company_data, operator_data
from fl_sv.design.sample import design_steps
from fl_sv.design.workloads import DEPLOYED
from fl_sv.errors import CompanyFailed, InputError
from fl_sv.flower import wire
from fl_sv.game.coalitions import EMPTY, grand, members_of
from fl_sv.payment.settlement import settle
from fl_sv.progress import Progress
from fl_sv.report.screen import summary
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory, start_or_resume
from fl_sv.runs.extend import read_origin
from fl_sv.runs.journal import Journal
from fl_sv.runs.tables import read_evidence
from fl_sv.streams import stream_seed
from fl_sv.training.models import ModelSpec, tensors
from fl_sv.training.sgd import Recipe, make_recipe, train
from fl_sv.training.stack import stack_outputs, train_stack
from fl_sv.training.students import distance, make_soft_targets, student_loss
from server.inline import InlineGrid
from server.job import Job, open_job
from server.large_runs import measure_large_runs
from server.simulation import simulate
from server.sweep import sweep_coalitions
from server.teacher import train_teacher
from strategies.roster import to_record
from tests.runs import GENUINE, Command, with_sections
from tests.test_twins import MODELS, drawn, game_with

LOSSES: dict[str, dict[str, Any]] = {
    "hinton": {"temperature": 2.0},
    "dkd": {"temperature": 2.0, "options": {"alpha": 0.5, "beta": 3.0}},
    "logit_l2": {},
    "smooth_l1": {"options": {"beta": 0.5}},
    "noisy_teacher": {"options": {"sigma": 0.5, "granularity": "per_sample"}},
}
GAME = """
seed: 3
companies: [Ash, Beech, Chestnut]
data: {source: iris, partition: {kind: sizes, sizes: {Ash: 4, Beech: 3, Chestnut: 1}}}
models:
  small: [{kind: mlp, hidden: [3]}, {kind: mlp, hidden: [5, 4]}]
  large: {kind: mlp, hidden: [16]}
training: {rounds: 3, local_epochs: 2, batch_size: 7, seeds: 2, momentum: 0.5}
distillation: {loss: noisy_teacher, weight: 0.7, options: {probability: 1}}
coalitions: {waves: 2}
compute: {dtype: float64, chunk: 3}
payouts: {pot: {kind: fixed, cents: 100}}
"""


# --- the objective --------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_options_of_the_config_are_those_of_the_library(loss: str) -> None:
    handed_over = {"temperature", "noise", "mask", "generator"} | (
        {"alpha"} if loss == "hinton" else set()
    )
    parameters = inspect.signature(kd.LOSSES[loss]).parameters
    defaults = {name: p.default for name, p in parameters.items() if name not in handed_over}
    assert LOSS_OPTIONS[loss]().model_dump() == defaults
    assert ("temperature" in parameters) == (loss in SOFT_LOSSES)
    if loss in SOFT_LOSSES:
        assert parameters["temperature"].default == TEMPERATURE


@pytest.mark.parametrize("loss", sorted(set(LOSSES) - {"noisy_teacher"}))
def test_student_minimises_what_the_library_calls_the_objective(loss: str) -> None:
    students = Distillation(weight=0.3, loss=loss, **LOSSES[loss])
    task = Task(kind="classification", input_shape=(4,), n_outputs=3)
    generator = torch.Generator().manual_seed(0)
    s, t = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    y = torch.tensor([0, 2, 1, 1, 0])
    by_hand = kd.objective(distance(students), 0.3)(s, t, y)
    assert student_loss(students, task)(s, y, t) == pytest.approx(by_hand)


def test_hinton_counts_no_cross_entropy_of_its_own() -> None:
    students = Distillation(weight=1.0, loss="hinton", temperature=2.0)
    s, t = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    kl = 4 * torch.nn.functional.kl_div((s / 2).log_softmax(1), (t / 2).softmax(1), reduction="sum")
    assert distance(students)(s, t).item() == pytest.approx(kl.item())


@pytest.mark.parametrize(
    "kind, task_kind, loss",
    [(kind, "classification", "hinton") for kind in MODELS]
    + [
        (kind, "classification", loss)
        for kind in ("deep mlp", "module")
        for loss in LOSSES
        if loss != "hinton"
    ]
    + [("mlp", "regression", "logit_l2"), ("module", "regression", "smooth_l1")],
)
def test_stack_of_students_equals_one_student_after_the_other(
    kind: str, task_kind: str, loss: str
) -> None:
    config = game_with(MODELS[kind]).model_copy(
        update={"distillation": Distillation(weight=0.6, loss=loss, **LOSSES[loss])}
    )
    model, x, y, stack, logits = drawn(config, task_kind)
    batches = tuple(np.array_split(np.arange(20), 3))
    for optimizer in (
        Optimizer(),
        Optimizer(momentum=0.9, weight_decay=0.009),
        Optimizer("adamw", weight_decay=0.1, clip_norm=0.5),
    ):
        recipe = Recipe(optimizer, (0.1,) * 3, 0.0, batches, torch_seed=5)
        soft_targets = make_soft_targets(config, model.task, logits, recipe, 0, "Ash", 1)
        together = train_stack(model, stack, x, y, recipe, 2, soft_targets)
        for row, params in zip(together, stack, strict=True):
            assert (row - train(model, params, x, y, recipe, soft_targets)).abs().max() <= 1e-9
        assert (together - train_stack(model, stack, x, y, recipe, 2)).abs().max() > 1e-4


def test_all_coalitions_get_the_same_noise_and_no_two_rounds_do() -> None:
    config = parse_config(GAME, "game")
    task, logits = Task(kind="classification", input_shape=(4,), n_outputs=3), torch.ones(9, 3)
    recipe = Recipe(Optimizer(), (0.1,), 0, (np.arange(9),), 0)
    first, again, later = (
        make_soft_targets(config, task, logits, recipe, 0, "Ash", r).logits[0] for r in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    generator = torch.Generator().manual_seed(stream_seed(3, 0, "Ash", 1, "noisy teacher"))
    assert torch.equal(first, kd.perturb(logits, sigma=0.3, probability=1, generator=generator))


# --- the sweep ------------------------------------------------------------------------------------


Companies = Callable[[Message, Context], Message]


def swept_job(journal: Path, companies: Companies = client_app) -> Job:
    grid = InlineGrid(companies, range(3))  # type: ignore[arg-type]
    made = open_job(
        parse_config(GAME, "game"), Journal(journal), grid, Progress("quiet"), threading.Event()
    )
    train_teacher(made)
    sweep_coalitions(made, design_steps(made.config)[0])
    return made


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return swept_job(tmp_path_factory.mktemp("students") / "journal.sqlite")


def one_coalition_of_students(
    job: Job, model: ModelSpec, replicate: int, coalition: int
) -> torch.Tensor:
    """FedAvg of one coalition as a textbook writes it, with new teacher logits in every round."""
    config, scaling = job.config, operator_data(job.config).scaling
    members = sorted(config.companies[i] for i in members_of(coalition))
    data = {name: tensors(company_data(config, name, scaling), config) for name in members}
    total = sum(len(y) for _, y in data.values())
    teacher = torch.tensor(job.journal.teacher_rounds(DEPLOYED)[-1].params)
    params = model.initial_params(config.seed, replicate)
    for server_round in range(1, config.training.rounds + 1):
        mean = torch.zeros_like(params)
        for name, (x, y) in data.items():
            recipe = make_recipe(config, model, name, len(y), replicate, server_round)
            logits = stack_outputs(job.large, teacher[None], x)[0].detach()
            soft_targets = make_soft_targets(
                config, model.task, logits, recipe, replicate, name, server_round
            )
            mean += train(model, params, x, y, recipe, soft_targets) * (len(y) / total)
        params = mean
    return params


def test_sweep_of_students_equals_plain_torch_for_every_coalition(job: Job) -> None:
    scores = job.journal.scores()
    for model in job.small:
        for replicate in range(2):
            for coalition in range(1, 8):
                params = one_coalition_of_students(job, model, replicate, coalition)
                ((loss, _),) = job.validation.means(model, params[None], "twin")
                assert scores[model.name, replicate, coalition].loss == pytest.approx(
                    loss, abs=1e-9
                )


def test_teacher_itself_has_no_soft_targets(job: Job, tmp_path: Path) -> None:
    plain = job.config.model_copy(update={"distillation": None})
    other = open_job(
        plain,
        Journal(tmp_path / "j"),
        InlineGrid(client_app, range(3)),
        Progress("quiet"),
        threading.Event(),
    )
    assert train_teacher(other)[-1].loss == job.journal.teacher_rounds(DEPLOYED)[-1].loss


def test_large_runs_are_those_of_a_run_without_students(tmp_path: Path) -> None:
    """Whatever the weight: singletons, and larger coalitions that train in waves as the small
    models do."""
    large, small = [], []
    for weight in ("0", "0.5"):
        text = GAME.replace("weight: 0.7", f"weight: {weight}") + "law: {anchors: singletons+loo}"
        config = parse_config(text, "game")
        journal, grid = Journal(tmp_path / f"{weight}.sqlite"), InlineGrid(client_app, range(3))
        made = open_job(config, journal, grid, Progress("quiet"), threading.Event())
        train_teacher(made)
        sweep_coalitions(made, design_steps(config)[0])
        assert sorted(measure_large_runs(made)) == [*range(8)]
        scores = journal.scores()
        large.append([scores[made.large.name, 0, c].loss for c in range(8)])
        small.append([scores[made.small[0].name, 0, c].loss for c in range(8)])
    assert large[0] == large[1]
    assert (np.array(small[0][1:]) != small[1][1:]).all()


def test_node_that_was_started_again_reports_it_instead_of_training_without_the_teacher(
    job: Job,
) -> None:
    roster = job.federation.roster
    array = job.small[0].initial_params(3, 0)[None].numpy()
    message = roster.message(
        "Ash", wire.COALITIONS, 1, to_record({wire.stack_key(job.small[0].name, 0): array})
    )
    forgetful = InlineGrid(client_app, range(3))
    (reply,) = forgetful.send_and_receive([message])
    assert "--resume" in reply.error.reason


class SuperNodes:
    """The companies as SuperNodes run them: a process for every message, so that message, reply and
    the node's state are bytes in between. Once, in the sweep, a node is started again and has lost
    its state."""

    def __init__(self, restarted: str = "", at: int = 0) -> None:
        self.restarted, self.left = restarted, at
        self.kept: dict[int, bytes] = {}
        self.requests = 0

    def __call__(self, message: Message, context: Context) -> Message:
        message = message_from_proto(
            ProtoMessage.FromString(message_to_proto(message).SerializeToString())
        )
        if message.metadata.message_type == wire.COALITIONS:
            self.left -= message.content[wire.CONFIG][wire.COMPANY] == self.restarted
            if self.left == 0 and self.restarted:
                self.kept.pop(context.node_id)
                self.restarted = ""
        self.requests += message.metadata.message_type == wire.TEACHER_LOGITS
        if (state := self.kept.get(context.node_id)) is not None:
            context = context_from_proto(ProtoContext.FromString(state))
        else:
            context = replace(context, state=RecordDict())
        reply = client_app(message, context)
        self.kept[context.node_id] = context_to_proto(context).SerializeToString()
        return message_from_proto(
            ProtoMessage.FromString(message_to_proto(reply).SerializeToString())
        )


def test_restarted_node_of_a_real_federation_gets_the_teacher_again_and_no_student_changes(
    job: Job, tmp_path: Path
) -> None:
    # Two waves are in flight, and a node that has forgotten answers neither.
    for nodes, requests in ((SuperNodes(), 3), (SuperNodes("Beech", at=2), 5)):
        other = swept_job(tmp_path / str(requests), nodes)
        assert nodes.requests == requests
        assert other.journal.scores() == job.journal.scores()


# --- a whole run ----------------------------------------------------------------------------------


SECTION = "distillation: {loss: hinton, weight: 0.5, temperature: 2}\n"
TABLES = (files.UTILITIES, files.VALUATION, files.PAYOUTS, files.TEACHER)


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "students.yaml"
    path.write_text(SMOKE.read_text() + SECTION)
    return path


@pytest.fixture(scope="module")
def run_of_students(game: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return simulated(load_config(game), tmp_path_factory.mktemp("students") / "run")


def simulated(config: Config, out: Path, companies: ClientApp = client_app) -> RunDirectory:
    with start_or_resume(out, config, resume=out.exists()) as run:
        simulate(config, run, "inline", Progress("quiet"), threading.Event(), companies)
    return run


def tables(run: RunDirectory) -> list[bytes]:
    return [run.file(name).read_bytes() for name in TABLES]


def test_students_change_the_small_models_and_nothing_else(
    run_of_students: RunDirectory, finished_run: Path
) -> None:
    taught, plain = run_of_students, RunDirectory(finished_run)
    assert taught.read_text(files.TEACHER) == plain.read_text(files.TEACHER)
    rows, plain_rows = (run.read_text(files.UTILITIES).splitlines() for run in (taught, plain))
    same = [row for row, plain_row in zip(rows, plain_rows, strict=True) if row == plain_row]
    assert all(row.startswith("0,") or "mlp-64" in row for row in same[1:])
    assert (
        len(same) == 1 + 4 + 6
    )  # the header, the empty coalition of two sizes and seeds, the large runs


def test_weight_zero_changes_no_byte(finished_run: Path, tmp_path: Path) -> None:
    config = parse_config(SMOKE.read_text() + SECTION.replace("0.5", "0"), "weight 0")
    assert tables(simulated(config, tmp_path / "run")) == tables(RunDirectory(finished_run))


def test_run_of_students_that_stopped_in_the_sweep_ends_in_the_same_bytes(
    game: Path, run_of_students: RunDirectory, tmp_path: Path
) -> None:
    failing, left = ClientApp(), [9]  # the second wave's second round

    @failing.query("register")
    def register(message: Message, context: Context) -> Message:
        return client_app(message, context)

    @failing.query("teacher_logits")
    def compute_teacher_logits(message: Message, context: Context) -> Message:
        return client_app(message, context)

    @failing.train()
    def train_teacher(message: Message, context: Context) -> Message:
        return client_app(message, context)

    @failing.train("singleton")
    def singleton(message: Message, context: Context) -> Message:
        return client_app(message, context)

    @failing.train("coalitions")
    def coalitions(message: Message, context: Context) -> Message:
        left[0] -= int(message.content[wire.CONFIG][wire.COMPANY] == "Ash")
        if left[0] < 0:
            raise RuntimeError("out of paper")
        return client_app(message, context)

    config = load_config(game)
    with pytest.raises(CompanyFailed, match="Ash failed in round 5 of wave 2"):
        simulated(config, tmp_path / "run", failing)
    assert tables(simulated(config, tmp_path / "run")) == tables(run_of_students)


def test_verify_takes_a_run_of_students_as_any_other(
    run_of_students: RunDirectory, command: Command
) -> None:
    assert command("verify", run_of_students.path).code in GENUINE


def test_run_of_students_is_named_so_wherever_its_values_are_read(
    run_of_students: RunDirectory, finished_run: Path
) -> None:
    law = json.loads(run_of_students.read_text(files.LAW))
    study, here = law["remarks"]
    assert "students of the finished teacher (loss hinton, weight 0.5)" in study
    assert f"Checks made on these students: {', '.join(law['tested'])}." in here
    assert f"Not tested: {', '.join(law['untested'])}." in here
    assert f"{law['diagnostics']['D9 error']:.3f} of the large model's gain" in here
    page = html.unescape(run_of_students.read_text(files.REPORT))
    screen = " ".join(summary(run_of_students).split())
    for sentence in (
        study,
        here,
        "The small models are students of the teacher.",
    ):
        assert sentence in page
        assert sentence in screen
    assert json.loads(RunDirectory(finished_run).read_text(files.LAW))["remarks"] == []


def test_plan_counts_that_the_teacher_travels(game: Path, command: Command) -> None:
    plain, students = (json.loads(command("plan", path, "--json").out) for path in (SMOKE, game))
    large = (64 * 64 + 64 + 64 * 10 + 10) * 4
    assert students["messages"] == plain["messages"] + 4
    assert students["bytes"] == plain["bytes"] + 4 * large


def test_resume_refuses_another_weight(game: Path, tmp_path: Path) -> None:
    with start_or_resume(tmp_path / "run", load_config(game), resume=False):
        pass
    other = parse_config(game.read_text().replace("weight: 0.5", "weight: 0.4"), "other")
    with (
        pytest.raises(InputError, match=r"distillation\.weight was 0\.5 and is 0\.4"),
        start_or_resume(tmp_path / "run", other, resume=True),
    ):
        pass


def test_students_that_no_large_run_is_compared_with_are_an_alarm(
    run_of_students: RunDirectory,
) -> None:
    evidence = read_evidence(run_of_students)
    table, grand_coalition = evidence.table, grand(evidence.config.n_companies)
    everything = range(grand_coalition + 1)
    ends_only = dict.fromkeys(table.models, everything) | {table.large: (EMPTY, grand_coalition)}
    unchecked = replace(
        evidence,
        config=with_sections(evidence.config, law={"anchors": "none"}),
        table=table.only(ends_only),
    )
    (alarm,) = settle(unchecked).payment.objections
    assert (
        alarm.startswith("D10: the small models are students")
        and "4 (law.anchors: singletons)" in alarm
    )
    accepted = with_sections(unchecked.config, law={"accept": ("D10",)})
    assert not settle(replace(unchecked, config=accepted)).payment.objections
    plain = unchecked.config.model_copy(update={"distillation": None})
    assert not settle(replace(unchecked, config=plain)).payment.objections


def test_students_cannot_be_taken_over_from_a_run_with_another_teacher(tmp_path: Path) -> None:
    data = {"source": "tests.plugins:owned", "partition": {"kind": "column", "column": "owner"}}
    plain = config_of(data)
    students = plain.model_copy(update={"distillation": Distillation(weight=0.5)})
    for before, now in ((plain, students), (students, plain)):
        folder = tmp_path / str(now is plain)
        folder.mkdir()
        for name, text in (
            (files.CONFIG, dump_config(before)),
            (files.LEDGER, ""),
            (files.JOURNAL, ""),
        ):
            (folder / name).write_text(text)
        with pytest.raises(InputError, match="a teacher that changes with the companies"):
            read_origin(folder, now)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"loss": "hinton"}, r"the key distillation\.weight is missing"),
        ({"weight": 1.5}, r"distillation\.weight: .*less than or equal to 1; given 1\.5"),
        (
            {"weight": 0.5, "temperature": 0},
            r"distillation\.temperature: .*greater than .*; given 0",
        ),
        ({"weight": 0.5, "temperature": -3.0}, r"distillation\.temperature: .*given -3\.0"),
        ({"weight": 0.5, "loss": "hintn"}, r"distillation\.loss: .*'hinton', 'dkd'.*given 'hintn'"),
        (
            {"weight": 0.5, "loss": "logit_l2", "temperature": 4},
            r"distillation\.temperature: logit_l2 has no temperature",
        ),
        (
            {"weight": 0.5, "options": {"alpha": 0.9}},
            r"options\.alpha: hinton has no such option.*hinton: none",
        ),
        ({"weight": 0.5, "options": {"sigma": 1}}, r"options\.sigma: hinton has no such option"),
        (
            {"weight": 0.5, "loss": "dkd", "options": {"beta": -1}},
            r"options\.beta: .*equal to 0; given -1",
        ),
        (
            {"weight": 0.5, "loss": "noisy_teacher", "options": {"mode": "loud"}},
            r"options\.mode: .*given 'loud'",
        ),
        (
            {"weight": 0.5, "transfer_set": "public"},
            r"distillation\.transfer_set: .*'own'; given 'public'",
        ),
    ],
)
def test_wrong_sections_are_refused_with_one_sentence(
    section: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InputError, match=expected) as error:
        parse_config(yaml.safe_dump({**yaml.safe_load(GAME), "distillation": section}), "game")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("loss", ["hinton", "dkd"])
def test_losses_of_probabilities_are_refused_in_a_regression(
    loss: str, tmp_path: Path, command: Command
) -> None:
    path = tmp_path / "game.yaml"
    path.write_text(
        GAME.replace("iris", "diabetes").replace("loss: noisy_teacher", f"loss: {loss}")
    )
    answer = command("plan", path)
    assert answer.code == 2
    assert (
        f"{loss} compares class probabilities, but this is a regression; allowed are logit_l2"
        in answer.err
    )
