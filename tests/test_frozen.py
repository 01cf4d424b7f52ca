"""What is frozen is the base of a model: it never travels and never changes."""

import threading
from contextlib import closing
from pathlib import Path

import torch

from fl_sv.config import Config
from fl_sv.data import operator_data
from fl_sv.design.workloads import DEPLOYED
from fl_sv.progress import Progress
from fl_sv.runs import files
from fl_sv.runs.directory import start_or_resume
from fl_sv.runs.journal import Journal
from fl_sv.training.models import ModelSpec, model_specs
from server.simulation import simulate
from tests.test_modules import config_with


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
