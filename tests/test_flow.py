"""The whole flow on every kind of model and data, and the story that the demo tells."""

import json
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fl_sv.config import Config, load_config, parse_config
from fl_sv.errors import InputError
from fl_sv.game.utilities import read_utilities
from fl_sv.payment.settlement import Settlement
from fl_sv.progress import Progress
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory, start_or_resume
from fl_sv.runs.tables import read_evidence
from fl_sv.valuation.axioms import twins
from server.simulation import simulate
from tests.runs import with_sections

ROOT = Path(__file__).resolve().parent.parent
TABLES = (files.UTILITIES, files.VALUATION, files.PAYOUTS)


Finished = tuple[RunDirectory, Settlement]


def run(config: Config, out: Path) -> Finished:
    with start_or_resume(out, config, resume=False) as directory:
        quiet, stop = Progress("quiet"), threading.Event()
        return directory, simulate(config, directory, "inline", quiet, stop)


GAME = """
companies: [Ash, Beech]
data: DATA
models: {small: [{kind: mlp, hidden: [3]}], large: {kind: mlp, hidden: [32]}}
training: {rounds: 2, seeds: 2}
payouts: {pot: {kind: fixed, cents: 1000}}
"""

DATA = {
    "regression": "{source: diabetes, partition: {kind: iid}}",
    "npz": "{source: moons.npz, partition: {kind: column, column: owner}}",
    "csv": "{source: moons.csv, partition: {kind: column, column: owner}}",
    "parquet": "{source: moons.parquet, partition: {kind: column, column: owner}}",
    "module": "{source: 'tests.plugins:two_moons', partition: {kind: column, column: owner}}",
    "own files": (
        "{source: own, classes: 2, files: {Ash: ash.csv, Beech: beech.npz}, validation: {file:"
        " held.parquet}}"
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two moons in every file format, and split into files of the companies' own."""
    from tests.plugins import two_moons

    folder = tmp_path_factory.mktemp("files")
    moons = two_moons()
    frame = pl.DataFrame(
        {
            "a": moons["x"][:, 0],
            "b": moons["x"][:, 1],
            "target": moons["y"],
            "owner": moons["owner"],
        }
    )
    np.savez(folder / "moons.npz", **moons)
    frame.write_csv(folder / "moons.csv")
    frame.write_parquet(folder / "moons.parquet")
    frame[:80].drop("owner").write_csv(folder / "ash.csv")
    np.savez(folder / "beech.npz", x=moons["x"][80:150], y=moons["y"][80:150])
    frame[150:].drop("owner").write_parquet(folder / "held.parquet")
    return folder


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Finished]:
    """A source's run, which may not be written into."""

    @cache
    def of(source: str) -> Finished:
        (folder / "game.yaml").write_text(GAME.replace("DATA", DATA[source]))
        return run(load_config(folder / "game.yaml"), tmp_path_factory.mktemp("flow") / "run")

    return of


@pytest.mark.parametrize("source", DATA)
def test_flow_runs_on_every_kind_of_data(source: str, finished: Callable[[str], Finished]) -> None:
    directory, settlement = finished(source)
    values = settlement.valuation
    assert values.values.sum() == pytest.approx(
        values.utility_grand - values.utility_empty, abs=1e-9
    )
    assert all(directory.file(name).exists() for name in (*TABLES, files.REPORT, files.LEDGER))


def test_one_table_in_three_formats_gives_the_same_utilities(
    finished: Callable[[str], Finished],
) -> None:
    tables = {
        finished(source)[0].read_text(files.UTILITIES) for source in ("npz", "csv", "parquet")
    }
    assert len(tables) == 1


@pytest.mark.parametrize(
    "models",
    [
        (
            "{small: [{kind: cnn, channels: [2]}, {kind: cnn, channels: [4, 4]}], large: {kind:"
            " cnn, channels: [16, 16]}}"
        ),
        (
            "{small: [{kind: module, name: tiny, factory: 'tests.plugins:tiny_transformer',"
            " options: {width: 4}}], large: {kind: module, factory:"
            " 'tests.plugins:tiny_transformer', options: {width: 32}}}"
        ),
    ],
)
def test_flow_runs_on_images_and_on_a_users_transformer(models: str, tmp_path: Path) -> None:
    text = GAME.replace("DATA", "{source: digits, partition: {kind: iid}}")
    config = parse_config(
        text.replace(
            "{small: [{kind: mlp, hidden: [3]}], large: {kind: mlp, hidden: [32]}}", models
        ),
        "g",
    )
    _, settlement = run(config, tmp_path / "run")
    assert set(settlement.payment.amounts) == {"Ash", "Beech"}


def test_batchnorm_is_refused_with_a_sentence(tmp_path: Path) -> None:
    text = GAME.replace("DATA", "{source: iris, partition: {kind: iid}}")
    module = "{kind: module, factory: 'tests.plugins:batchnorm_mlp'}"
    with pytest.raises(InputError, match="uses BatchNorm"):
        run(
            parse_config(text.replace("{kind: mlp, hidden: [32]}", module), "game"),
            tmp_path / "run",
        )


def test_threads_of_one_process_change_no_bit_even_of_modules_that_draw(tmp_path: Path) -> None:
    dropout = (
        "{kind: module, name: drops, factory: 'tests.plugins:dropout_mlp', options: {width: 8}}"
    )
    text = GAME.replace("DATA", "{source: digits, partition: {kind: iid}}").replace(
        "[Ash, Beech]", "[A, B, C, D, E]"
    )
    text = text.replace("[{kind: mlp, hidden: [3]}]", f"[{{kind: mlp, hidden: [4]}}, {dropout}]")
    config = parse_config(f"{text}\ncoalitions: {{waves: 3}}\n", "game")
    one, four = (
        run(with_sections(config, compute={"workers": workers}), tmp_path / f"{workers}")[0]
        for workers in (1, 4)
    )
    for name in TABLES:
        assert one.read_text(name) == four.read_text(name)


def test_order_of_the_config_decides_rows_and_bits_and_nothing_else(tmp_path: Path) -> None:
    names = ["Ash", "Beech", "Chestnut"]
    text = GAME.replace("DATA", "{source: iris, partition: {kind: dirichlet, alpha: 1}}")
    (_, one), (_, other) = (
        run(
            parse_config(text.replace("[Ash, Beech]", f"[{', '.join(order)}]"), "game"),
            tmp_path / order[0],
        )
        for order in (names, names[::-1])
    )
    assert one.payment.amounts == other.payment.amounts
    assert np.abs(one.valuation.values - other.valuation.values[::-1]).max() <= 1e-9


# --- the demo -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, Settlement]:
    return run(load_config(ROOT / "configs" / "demo.yaml"), tmp_path_factory.mktemp("demo") / "run")


@pytest.mark.slow
def test_demo_is_payable_and_pays_out_the_pot_to_the_cent(
    demo: tuple[RunDirectory, Settlement],
) -> None:
    _, settlement = demo
    assert settlement.valuation.payable, settlement.payment.objections
    assert sum(settlement.payment.amounts.values()) == 10_000_000


@pytest.mark.slow
def test_values_of_the_demo_sum_to_what_there_is_to_divide(
    demo: tuple[RunDirectory, Settlement],
) -> None:
    valuation = demo[1].valuation
    assert abs(valuation.values.sum() - (valuation.utility_grand - valuation.utility_empty)) <= 1e-9


@pytest.mark.slow
def test_twins_of_the_demo_are_remarked_and_get_the_same_pay_within_their_intervals(
    demo: tuple[RunDirectory, Settlement],
) -> None:
    directory, settlement = demo
    by_name = {company.name: company for company in settlement.valuation.companies}
    elm, hazel = by_name["Elm Archive"], by_name["Hazel Mail"]
    assert elm.low <= hazel.value <= elm.high
    assert hazel.low <= elm.value <= hazel.high
    assert any(
        "Elm Archive and Hazel Mail" in remark
        for remark in twins(read_evidence(directory).fingerprints)
    )


@pytest.mark.slow
def test_company_with_wrong_labels_gets_less_than_an_honest_one_of_its_size(
    demo: tuple[RunDirectory, Settlement],
) -> None:
    directory, settlement = demo
    examples = read_evidence(directory).examples
    assert examples["Fir Logistics"] == examples["Birch Bank"]
    assert settlement.payment.amounts["Fir Logistics"] < settlement.payment.amounts["Birch Bank"]


@pytest.mark.slow
def test_large_model_of_the_demo_is_nine_hundred_times_the_middle_small_one(
    demo: tuple[RunDirectory, Settlement],
) -> None:
    sizes = json.loads(demo[0].read_text(files.LAW))["sizes"]
    _, middle, _, large = sorted(sizes.values())
    assert (middle, large) == (1_210, 1_126_410)
    assert large > 900 * middle


@pytest.mark.slow
def test_sweep_of_the_demo_takes_no_more_arithmetic_than_its_teacher(
    demo: tuple[RunDirectory, Settlement],
) -> None:
    cost = json.loads(demo[0].read_text(files.COST))
    # 256 coalitions have half of the rows on average: 128 times, with two seeds.
    small = sum(64 * width + width * 10 for width in (8, 16, 32))
    large = 64 * 1024 + 1024 * 1024 + 1024 * 10
    assert cost["sweep_share_of_teacher_flops"] == pytest.approx(128 * 2 * small / large)
    assert cost["sweep_share_of_teacher_flops"] < 1


@pytest.mark.slow
def test_empty_coalition_costs_exactly_ln_k_at_every_size_and_seed(
    demo: tuple[RunDirectory, Settlement],
) -> None:
    directory, _ = demo
    table = read_utilities(directory.file(files.UTILITIES), directory.config.companies)
    assert {score.loss for score in table.scores.values() if score.coalition == 0} == {
        float(np.log(10.0))
    }


@pytest.mark.slow
def test_table_has_every_planned_row_sorted_by_size_seed_and_coalition(
    demo: tuple[RunDirectory, Settlement],
) -> None:
    directory, _ = demo
    rows = directory.read_text(files.UTILITIES).splitlines()[1:]
    assert len(rows) == 3 * 2 * 256 + 1 + 1 + 8
    table = read_utilities(directory.file(files.UTILITIES), directory.config.companies)
    rank = {model: place for place, model in enumerate(table.models)}
    keys = [(rank[model], seed, coalition) for model, seed, coalition in table.scores]
    assert keys == sorted(keys)
