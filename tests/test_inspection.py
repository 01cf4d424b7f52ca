"""What a company sees before it joins, and what the server learns of it: no path, no cell,
no column.
"""

from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from clients.app import app
from fl_sv.config import Config, dump_config, for_companies, load_config
from fl_sv.data import company_data, fingerprint, operator_data
from fl_sv.flower import wire
from fl_sv.flower.contract import contract_of
from fl_sv.runs.keys import owner_key
from server.signatures import Signatures
from tests.config_of import config_of
from tests.kits import make_kit
from tests.runs import Command

SECRET = "SECRET CELL"


def own_config(folder: Path) -> Path:
    """Two companies with files of their own, and the operator's validation file."""
    rng = np.random.default_rng(3)
    for name in ("ash", "beech", "validation"):
        rows = [
            ",".join(map(str, [*rng.normal(size=2).round(3), label])) for label in (0, 1, 2) * 4
        ]
        (folder / f"{name}.csv").write_text("\n".join(["age,income,target", *rows]) + "\n")
    path = folder / "own.yaml"
    path.write_text(
        "companies: [Ash, Beech]\ndata: {source: own, classes: 3, files: {Ash: ash.csv, Beech:"
        " beech.csv}, validation: {file: validation.csv}}\nmodels: {small: [{kind: mlp, hidden:"
        " [4]}], large: {kind: mlp, hidden: [64]}}\ntraining: {rounds: 3, seeds: 2}\npayouts: {pot:"
        " {kind: fixed, cents: 100}}\n"
    )
    return path


def paths_in(config: Config) -> list[str]:
    return [text for text in config.model_dump_json().split('"') if "/" in text]


# --- data check -----------------------------------------------------------------------------------


def test_company_sees_its_counts_and_exactly_what_will_leave(
    command: Command, tmp_path: Path
) -> None:
    path = own_config(tmp_path)
    answer = command("data", "check", path, "--company", "Ash")
    assert (answer.code, answer.err) == (0, "")
    config = load_config(path)
    rows = company_data(config, "Ash", operator_data(config).scaling)
    for expected in (
        "examples  12 in 3 of 3 classes: 0: 4, 1: 4, 2: 4",
        f"registration  a fingerprint (sha256) of the rows, {fingerprint(rows)}",
        "3 rounds      mlp-64 (387 parameters), trained on these rows",
        "3 rounds      mlp-4 of 2 coalitions with Ash, 2 seeds",
        "1 message     mlp-64, trained on only these rows, once a seed",
    ):
        assert expected in answer.out


def test_company_checks_its_own_file_without_the_operators(
    command: Command, tmp_path: Path
) -> None:
    sent = tmp_path / "sent.yaml"
    sent.write_text(dump_config(for_companies(load_config(own_config(tmp_path)))))
    answer = command(
        "data", "check", sent, "--company", "Beech", "--data-path", tmp_path / "beech.csv"
    )
    assert (answer.code, answer.err) == (0, "")
    assert "rows of each in column 'target': 0: 4, 1: 4, 2: 4" in answer.out
    assert "Not checked: that the features are the operator's" in answer.out
    assert command("data", "check", sent, "--company", "Beech").code == 2  # and no file is guessed


def test_a_shared_file_is_checked_at_the_nodes_own_copy(command: Command, tmp_path: Path) -> None:
    own_config(tmp_path)
    pool = tmp_path / "pool.yaml"
    content = (tmp_path / "own.yaml").read_text().splitlines()
    content[1] = "data: {source: ash.csv, classes: 3, partition: {kind: iid}}"
    pool.write_text("\n".join(content))
    sent = tmp_path / "sent.yaml"
    sent.write_text(dump_config(for_companies(load_config(pool))))
    here = command("data", "check", pool, "--company", "Ash")
    there = command("data", "check", sent, "--company", "Ash", "--data-path", tmp_path / "ash.csv")
    assert here == there
    assert "examples  " in here.out
    assert "withheld.csv does not exist" in command("data", "check", sent, "--company", "Ash").err


def test_a_data_file_can_be_looked_at_without_any_config(command: Command, tmp_path: Path) -> None:
    own_config(tmp_path)
    single_file = ("data", "check", tmp_path / "ash.csv")
    assert "12 of shape (2,): age, income" in command(*single_file).out
    assert "12 of shape (2,): income, target" in command(*single_file, "--target", "age").out
    assert (
        "has no column 'wage' to predict (`data.target`, or --target"
        in command(*single_file, "--target", "wage").err
    )
    whole = command("data", "check", tmp_path / "own.yaml")
    assert (
        whole.code,
        "is read as a config, because its name does not end in .npz, .csv, .parquet, .arrow. Give"
        in whole.err,
    ) == (
        2,
        True,
    )


def test_long_names_of_columns_are_cut(command: Command, tmp_path: Path) -> None:
    long = [f"{i} {'very ' * 400}long" for i in range(30)]
    (tmp_path / "a.csv").write_text(
        "\n".join([",".join([*long, "target"]), *[",".join("1" * 31)] * 9])
    )
    shown = command("data", "check", tmp_path / "a.csv").out
    assert "0 very very" in shown and "and 20 more" in shown
    assert max(map(len, shown.splitlines())) < 600


@pytest.mark.parametrize(
    ("cell", "message"),
    [("7", "the label 7 is no class"), ("x", "found 'x'"), ("", "the cell is empty")],
)
def test_company_learns_at_home_which_cell_is_wrong(
    command: Command, tmp_path: Path, cell: str, message: str
) -> None:
    path = own_config(tmp_path)
    with (tmp_path / "ash.csv").open("a") as file:
        file.write(f"1,2,{cell}\n")
    answer = command("data", "check", path, "--company", "Ash")
    assert answer.code == 2
    assert message in answer.err and "ash.csv, line 14" in answer.err
    assert "Did you mean Ash?" in command("data", "check", path, "--company", "Ashe").err


# --- what travels ---------------------------------------------------------------------------------


def test_config_travels_without_a_single_path_of_the_operators(tmp_path: Path) -> None:
    config = load_config(own_config(tmp_path))
    assert len(paths_in(config)) == 3
    assert paths_in(for_companies(config)) == []
    shared = config_of({"source": "/srv/pool.csv", "validation": {"file": "/srv/validation.csv"}})
    assert for_companies(shared).data.source == "withheld.csv"
    assert paths_in(for_companies(shared)) == []
    assert for_companies(config_of({"source": "digits"})) == config_of({"source": "digits"})


def test_a_node_reads_its_own_copy_of_a_shared_file_and_never_the_operators_validation_file(
    tmp_path: Path,
) -> None:
    own_config(tmp_path)
    config = config_of(
        {
            "source": str(tmp_path / "ash.csv"),
            "validation": {"file": str(tmp_path / "validation.csv")},
        }
    )
    scaling = operator_data(config).scaling
    here = company_data(config, "Ash", scaling)
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_bytes((tmp_path / "ash.csv").read_bytes())
    there = company_data(for_companies(config), "Ash", scaling, str(elsewhere))
    assert fingerprint(there) == fingerprint(here)


@pytest.fixture
def registration(tmp_path: Path) -> Message:
    """The server's first message to Ash, whose file holds a cell that is no number."""
    config = load_config(own_config(tmp_path))
    (tmp_path / "ash.csv").write_text(f"age,income,target\n1,{SECRET},0\n")
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
    task = {
        wire.COMPANY: "Ash",
        wire.ROUND: 0,
        wire.RUN_CONFIG: for_companies(config).model_dump_json(),
        wire.SCALING: operator_data(config).scaling.to_json(),
    }
    return Message(RecordDict({wire.CONFIG: ConfigRecord(task)}), 1, wire.REGISTER)


def context(node_config: dict[str, str | int]) -> Context:
    return Context(run_id=1, node_id=1, node_config=node_config, state=RecordDict(), run_config={})  # type: ignore[arg-type]


def test_server_gets_an_error_of_a_company_without_its_data(
    registration: Message, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = load_config(tmp_path / "own.yaml")
    kit = make_kit(tmp_path / "kit", "Ash", config)
    node: dict[str, str | int] = {wire.KIT: str(kit), wire.DATA_PATH: str(tmp_path / "ash.csv")}
    operators = Signatures(owner_key(), contract_of(config), {})
    with caplog.at_level("ERROR", "flwr"):
        reply = app(operators.signed("Ash", registration, 60), context(node))
    text = str(reply.content[wire.FAILURE][wire.REASON])
    assert "were refused (`fl-sv data check` there names the reason)" in text
    for secret in (SECRET, str(tmp_path), "ash.csv", "income", "line"):
        assert secret not in text
    assert SECRET in caplog.text and "ash.csv" in caplog.text  # the company's own log has it all


def test_error_of_a_simulated_company_keeps_its_text(registration: Message, tmp_path: Path) -> None:
    simulated = context({wire.PARTITION: 0, wire.DATA_PATH: str(tmp_path / "ash.csv")})
    with pytest.raises(Exception, match=SECRET):
        app(registration, simulated)
