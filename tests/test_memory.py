"""The forecast of a run's memory, and what a machine has of it."""

from pathlib import Path

import psutil
import pytest

from fl_sv.config import Config
from fl_sv.data.dataset import Task
from fl_sv.data.scaling import Scaling
from fl_sv.design.workloads import PlannedRun, planned_run
from fl_sv.errors import InputError
from fl_sv.machine import free_memory
from fl_sv.planning.forecast import _require_memory, _require_outputs
from fl_sv.planning.memory import disk_space, keep_remarks, peak_memory, strategy_remarks
from fl_sv.training.models import model_specs
from tests.config_of import config_of

PROCESS = 450_000_000
TASK = Task(kind="regression", input_shape=(10,), n_outputs=1)


def game(companies: int, *, seeds: int = 1, **sections: object) -> Config:
    names = tuple(f"Company {i}" for i in range(companies))
    training = {"seeds": seeds, "rounds": 2}
    return config_of({"source": "diabetes"}, companies=names, training=training, **sections)


def memory(config: Config, *, n_validation: int = 1, workers: int = 1) -> int:
    """Bytes beyond those of the process itself."""
    small, large = model_specs(config, TASK)
    run, scaling = planned_run(config, small, large), Scaling(task=TASK)
    peak = peak_memory(config, run, large, scaling, n_validation, workers, on_ray=False)
    return peak - PROCESS


def test_one_more_company_doubles_the_memory_of_table_and_law() -> None:
    waves = {"wave_megabytes": 0.1}  # so that the messages need none
    fourteen, fifteen, sixteen = (memory(game(n, coalitions=waves)) for n in (14, 15, 16))
    assert 1.9 < fifteen / fourteen < 2.3
    assert 1.9 < sixteen / fifteen < 2.3


def test_every_further_seed_and_large_run_takes_as_much_as_the_one_before() -> None:
    waves = {"wave_megabytes": 0.1}
    one, two, three = (memory(game(14, seeds=s, coalitions=waves)) for s in (1, 2, 3))
    assert two - one == pytest.approx(three - two, rel=0.05) and two > one
    few, some, many = (
        memory(game(14, coalitions=waves, law={"anchors": runs})) for runs in (4, 8, 12)
    )
    assert some - few == pytest.approx(many - some, rel=0.05) and some > few


def test_messages_of_two_waves_and_the_losses_of_one_are_in_memory() -> None:
    models = {
        "small": [{"kind": "mlp", "hidden": [256]}],  # 12 KB in a message
        "large": {"kind": "mlp", "hidden": [512]},
    }

    def with_waves(megabytes: int, n_validation: int = 1) -> int:
        config = game(12, models=models, coalitions={"wave_megabytes": megabytes})
        return memory(config, n_validation=n_validation)

    # Half of the companies get each model of two waves (nearly full), and send back those of one.
    copies = 3 * 12 / 2 + 2 + 2 + 3.5
    assert with_waves(8) - with_waves(4) == pytest.approx(4e6 * copies, rel=0.2)
    assert with_waves(8, n_validation=100_000) > 8e6 / (3073 * 4) * 100_000 * 8


LARGE = {
    "small": [{"kind": "mlp", "hidden": [2]}],
    "large": {"kind": "mlp", "hidden": [8192, 8192]},
}
MESSAGE = 4 * (11 * 8192 + 8193 * 8192 + 8193)  # bytes of the large model


def disk(config: Config, n_validation: int = 1) -> int:
    run, (_, large) = planned(config), model_specs(config, TASK)
    return disk_space(config, run, large, Scaling(task=TASK), n_validation)


def planned(config: Config) -> PlannedRun:
    return planned_run(config, *model_specs(config, TASK))


def test_a_large_teacher_is_held_by_those_who_work_at_it_and_not_by_every_company() -> None:
    few, many = (game(n, models=LARGE) for n in (4, 12))
    assert memory(few) == pytest.approx(4 * MESSAGE + 512e6, rel=0.01)  # replies that come at once
    assert memory(many) == pytest.approx(memory(few), rel=0.01)
    assert memory(few, workers=3) == pytest.approx(13 * MESSAGE, rel=0.01)
    assert strategy_remarks(few, planned(few)) == []


def test_replies_and_the_journals_last_two_rounds_of_a_large_model_need_disk() -> None:
    for n in (4, 12):
        config = game(n, models=LARGE)
        assert disk(config) == pytest.approx((n + 2) * MESSAGE, rel=1e-6)
    small = game(4)
    assert disk(small) < 32e6


def test_kept_rounds_are_on_the_disk_and_plan_says_how_much() -> None:
    of = {
        keep: game(4, models=LARGE, teacher={"keep": keep}) for keep in ("last", "best", "rounds")
    }
    last, best, rounds = map(disk, of.values())
    assert best - last == MESSAGE
    assert rounds - last == 2 * MESSAGE  # of two rounds: the untrained model and the first one
    large = model_specs(of["rounds"], TASK)[1]
    assert keep_remarks(of["rounds"], large) == [
        "teacher.keep: rounds takes 0.5 GB of the disk beside the deployed model."
    ]
    assert keep_remarks(of["last"], large) == []


def test_the_journal_keeps_the_outputs_of_each_companys_own_models() -> None:
    config = game(4, seeds=3)
    added = disk(config, n_validation=1001) - disk(config)
    assert added == 4 * (3 * len(config.models.small) + 1) * 1000 * 4  # companies, trainings, bytes


def test_outputs_that_the_journal_cannot_keep_are_refused() -> None:
    _require_outputs(10**9, 20)
    with pytest.raises(InputError, match=r"20 validation rows take 2.0 GB.*at most 1 GB each"):
        _require_outputs(2 * 10**9, 20)


def test_an_optimisers_copies_of_a_wave_are_in_memory_as_far_as_they_train_at_once() -> None:
    models = {
        "small": [{"kind": "mlp", "hidden": [256]}],  # 12 KB
        "large": {"kind": "mlp", "hidden": [512]},
    }

    def by(chunk: int, workers: int = 1, **training: object) -> int:
        config = game(
            12, models=models, coalitions={"wave_megabytes": 16}, compute={"chunk": chunk}
        )
        trained = config.training.model_copy(update=training)
        return memory(config.model_copy(update={"training": trained}), workers=workers)

    model = 4 * (12 * 256 + 1)
    for chunk in (64, 128):
        for workers in (1, 3):
            plain = by(chunk, workers)
            assert by(chunk, workers, optimizer="adamw") - plain == 2 * chunk * workers * model
            assert by(chunk, workers, momentum=0.9) - plain == chunk * workers * model


def test_another_strategy_than_fedavg_holds_all_replies_and_plan_says_so() -> None:
    def by(strategy: str, n: int) -> Config:
        return game(n, models=LARGE, teacher={"strategy": strategy})

    assert memory(by("fedprox", 8)) == memory(by("fedavg", 8))
    assert memory(by("fedadam", 8)) == pytest.approx(2 * MESSAGE * (8 + 12), rel=0.01)
    assert memory(by("fedmedian", 8)) == pytest.approx(2 * MESSAGE * (3 * 8 + 12), rel=0.01)
    (remark,) = strategy_remarks(by("fedadam", 8), planned(by("fedadam", 8)))
    assert remark == (
        "teacher.strategy: fedadam holds the replies of all companies in memory, in float64 and"
        " with what it makes of them about 20 models, 10.8 GB. fedavg holds 3 models as they"
        " travel, 0.8 GB."
    )


def test_a_run_that_needs_more_than_is_free_is_refused_with_both_figures() -> None:
    config = game(20, seeds=16)
    needed = PROCESS + memory(config)
    assert needed > (1 << 20) * 16 * 16  # a loss and an accuracy of every training
    with pytest.raises(InputError, match=f"needs about {needed / 1e9:.1f} GB of memory and 1.0 GB"):
        _require_memory(needed, 10**9)
    _require_memory(needed, needed)


@pytest.mark.parametrize(
    ("limit", "used", "stat"),
    [
        ("memory.max", "memory.current", "anon 5\ninactive_file 100\n"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "cache 5\ntotal_inactive_file 100\n",
        ),
    ],
)
def test_a_container_has_what_its_control_group_leaves(
    tmp_path: Path, limit: str, used: str, stat: str
) -> None:
    (tmp_path / limit).parent.mkdir(exist_ok=True)
    (tmp_path / limit).write_text("5000\n")
    (tmp_path / used).write_text("1100\n")
    (tmp_path / limit).with_name("memory.stat").write_text(stat)
    assert free_memory(tmp_path) == 4000
    (tmp_path / limit).write_text("max\n")
    machine = psutil.virtual_memory()
    assert machine.available / 2 < free_memory(tmp_path) <= machine.total
    assert free_memory(tmp_path / "nowhere") <= machine.total
