"""What a run of any size needs, by stage, and that its messages stay within the memory."""

import pytest

from benchmarks import scale
from fl_sv.design.waves import plan_waves
from fl_sv.planning.checks import check
from fl_sv.planning.forecast import forecast
from fl_sv.planning.stages import flops_of
from tests.config_of import config_of


def test_stages_of_a_plan_add_up_to_it() -> None:
    config = config_of({"source": "iris"}, training={"rounds": 2})
    plan = forecast(config, check(config), on_ray=False)
    assert list(plan.stages) == ["teacher", "sweep", "anchors"]
    stages = plan.stages.values()
    assert sum(stage.trainings for stage in stages) == plan.trainings == 15 * 3 + 1 + 4
    assert sum(stage.bytes for stage in stages) == plan.bytes
    registration = len(config.companies)
    assert sum(stage.messages for stage in stages) == plan.messages - registration
    teacher, sweep = plan.stages["teacher"], plan.stages["sweep"]
    assert plan.sweep_share_of_teacher_flops == flops_of(sweep) / flops_of(teacher)
    large = 4 * 64 + 64 + 64 * 3 + 3
    assert teacher.bytes == 2 * 4 * large * 4 * 2  # both ways, 4 companies, 4 bytes, 2 rounds


def test_tables_of_the_benchmark_of_scale_are_those_of_the_plan() -> None:
    config = scale.config_of(3, "1e6", None, rounds=1)
    plan = forecast(config, check(config), on_ray=False)
    found = scale.computed(config)
    for key, planned in (
        ("trainings", plan.trainings),
        ("bytes", plan.bytes),
        ("memory", plan.peak_memory_bytes),
        ("disk", plan.disk_bytes),
    ):
        assert found[key] == planned, key


@pytest.mark.parametrize("n_companies", [10, 50, 200, 1000])
def test_messages_of_a_wave_take_no_more_memory_with_more_companies(n_companies: int) -> None:
    names = tuple(f"Company {i:04}" for i in range(n_companies))
    sampled = {"design": "sampled", "stop": {"max_evaluations": 4 * n_companies}}
    config = config_of({"source": "iris"}, names, coalitions={**sampled, "wave_megabytes": 1})
    coalitions = [*range(1, 4 * n_companies)]
    waves = plan_waves(config, [1000], coalitions)
    assert sorted(coalition for wave in waves for coalition in wave) == sorted(coalitions)
    of_all = max(map(len, waves)) * 1000 * 3 * 4 * n_companies  # parameters, seeds, bytes
    assert of_all <= max(50 * 1_000_000, 1000 * 3 * 4 * n_companies)
