"""What is frozen is the base of a model: it never travels and never changes."""

import threading
from contextlib import closing
from pathlib import Path

import pytest
import torch
import yaml
from flwr.app import Context, Message
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common.command_line import SMOKE
from clients.app import app as client_app
from fl_sv.config import Config, load_config
from fl_sv.data import operator_data
from fl_sv.design.workloads import DEPLOYED
from fl_sv.errors import InputError
from fl_sv.flower import wire
from fl_sv.planning.checks import check
from fl_sv.planning.forecast import forecast, plan_text
from fl_sv.progress import Progress
from fl_sv.runs import files
from fl_sv.runs.directory import start_or_resume
from fl_sv.runs.journal import Journal
from fl_sv.training.base import flat, trainable
from fl_sv.training.models import ModelSpec, law_sizes, model_specs
from server.inline import InlineGrid
from server.job import open_job
from server.simulation import simulate
from server.teacher import train_teacher
from tests.test_modules import GAME, config_with


def large_of(config: Config) -> ModelSpec:
    return model_specs(config, operator_data(config).task)[1]


def test_the_flat_vector_holds_what_is_trained_and_nothing_else() -> None:
    large = large_of(config_with("frozen"))
    assert [*large.shapes] == ["b.weight", "b.bias"]
    assert len(large.initial_params(7, 0)) == large.n_params == 3 * 16 + 3
    assert large.n_params_in_all == large.n_params + 4 * 16 + 16


def test_the_base_is_the_first_seeds_at_every_seed() -> None:
    large = large_of(config_with("frozen"))
    first, second = (large.state(large.initial_params(7, seed)) for seed in range(2))
    assert [*first] == ["a.weight", "a.bias", "b.weight", "b.bias"]
    assert torch.equal(first["a.weight"], second["a.weight"])


def test_all_copies_of_a_module_share_the_base_and_no_trainable_parameter() -> None:
    large = large_of(config_with("frozen"))
    one, other = (large.fresh(torch.device("cpu")) for _ in range(2))
    assert one.a.weight is other.a.weight
    assert one.b.weight is not other.b.weight


@pytest.mark.parametrize("factory", ["frozen", "tied", "lstm", None])
def test_a_loaded_model_holds_the_numbers_it_was_given_and_no_others(factory: str | None) -> None:
    """No second set is made to be thrown away: a large one may have gigabytes."""
    model = large_of(config_with(factory) if factory else load_config(SMOKE))
    params = torch.linspace(-1, 1, model.n_params, dtype=model.dtype)
    own = [*trainable(module := model.loaded(params)).values()]
    assert len({parameter.untyped_storage().data_ptr() for parameter in own}) == 1
    assert torch.equal(flat(module), params)
    assert ("module" in vars(model)) == (factory is not None)  # of a built-in model none is made


def test_a_run_trains_and_keeps_only_what_is_trained(tmp_path: Path) -> None:
    config = config_with("frozen")
    large = large_of(config)
    untrained, base = large.initial_params(7, 0), large.base_sha256
    with start_or_resume(tmp_path / "run", config, resume=False) as run:
        simulate(config, run, "inline", Progress("quiet"), threading.Event())
    with closing(Journal(run.file(files.JOURNAL))) as journal:
        trained = torch.tensor(journal.teacher_rounds(DEPLOYED)[-1].params)
    assert len(trained) == large.n_params
    assert large_of(config).base_sha256 == base
    before, after = large.state(untrained), large.state(trained)
    same = [torch.equal(before[name], after[name]) for name in before]
    assert same == [True, True, False, False]


def test_every_message_holds_only_what_is_trained(tmp_path: Path) -> None:
    shapes = set()

    def noted(message: Message, context: Context) -> Message:
        reply = client_app(message, context)
        for content in (message.content, reply.content):
            if wire.ARRAYS in content:
                shapes.update(tuple(array.shape) for array in content[wire.ARRAYS].values())
        return reply

    journal = Journal(tmp_path / "journal")
    with InlineGrid(noted, range(3)) as grid:  # type: ignore[arg-type]
        job = open_job(config_with("frozen"), journal, grid, Progress("quiet"), threading.Event())
        train_teacher(job)
    assert shapes == {(job.large.n_params,)}


def test_plan_counts_what_is_trained_in_messages_and_everything_in_operations() -> None:
    config = config_with("frozen")
    plan = forecast(config, check(config), on_ray=False)
    assert plan.models["l"] == {"trainable": 51, "parameters": 131}
    assert "51 of 131 parameters of l" in plan_text(plan)
    whole = config_with("flow")  # the same network, all of it trained
    share = 15 / (4 * 4 + 4 + 15)
    assert plan.bytes < forecast(whole, check(whole), on_ray=False).bytes * (share + 0.1)
    large = large_of(config)
    with FlopCounterMode(display=False) as counter:
        large.fresh(torch.device("cpu"))(torch.zeros(1, 4)).sum().backward()
    assert large.training_flops(10) == 10 * counter.get_total_flops()
    assert large.training_flops(1) < 3 * large.forward_flops


# --- the base of every company --------------------------------------------------------------------


def config_of_file(folder: Path, seed: int) -> Config:
    game = yaml.safe_load(GAME.replace("FACTORY", "read"))
    for model in (*game["models"]["small"], game["models"]["large"]):
        width = model["options"]["width"]
        layer = nn.Linear(4, width)
        nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(seed))
        model["options"]["weights"] = str(folder / f"{width} {seed}.pt")
        torch.save(layer.state_dict(), model["options"]["weights"])
    return Config.model_validate(game)


def test_the_hash_is_of_frozen_numbers_and_buffers_and_of_nothing_that_is_trained(
    tmp_path: Path,
) -> None:
    one, again, other = (config_of_file(tmp_path, seed) for seed in (1, 1, 2))
    assert large_of(one).base_sha256 == large_of(again).base_sha256
    assert large_of(one).base_sha256 != large_of(other).base_sha256
    other_start = one.model_copy(update={"seed": 8})
    assert large_of(one).base_sha256 == large_of(other_start).base_sha256


def test_plan_builds_a_module_that_reads_a_file(tmp_path: Path) -> None:
    config = config_of_file(tmp_path, 1)
    assert forecast(config, check(config), on_ray=False).seconds is not None


def test_a_company_with_another_base_is_refused_by_name_before_anything_trains(
    tmp_path: Path,
) -> None:
    config = config_of_file(tmp_path, 1)
    trained = []

    def other_file(message: Message, context: Context) -> Message:
        """Beech's process made its module from another file."""
        reply = client_app(message, context)
        trained.append(message.metadata.message_type)
        facts = reply.content[wire.CONFIG]
        if facts[wire.COMPANY] == "Beech":
            facts[wire.BASES] = "0" * 64
        return reply

    journal = Journal(tmp_path / "journal")
    with (
        InlineGrid(other_file, range(3)) as grid,  # type: ignore[arg-type]
        pytest.raises(InputError, match=r"^Beech: what is frozen in s, l .* is not what the"),
    ):
        open_job(config, journal, grid, Progress("quiet"), threading.Event())
    assert set(trained) == {wire.REGISTER}


# --- the sizes of the law -------------------------------------------------------------------------


def test_the_law_counts_all_parameters_unless_all_sizes_share_one_base() -> None:
    config = config_with("frozen")
    (small,), large = model_specs(config, operator_data(config).task)
    assert law_sizes([small, large]) == {"s": 35, "l": 131}
    assert law_sizes([large, large]) == {"l": 51}
