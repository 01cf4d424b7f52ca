"""The command line: what it promises to scripts, and what it says when the input is wrong."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.common.command_line import REPOSITORY, SMOKE, Answer, shell
from benchmarks.federation.deployment import own_files_config
from fl_sv.cli import _parser
from fl_sv.config import load_config
from fl_sv.errors import InputError
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory, start_or_resume
from fl_sv.runs.keys import HOME_VARIABLE
from tests.runs import Command, with_sections

MAX_LINES = 12


def edited(folder: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """configs/smoke.yaml with an edit, in a file of its own."""
    content = yaml.safe_load(SMOKE.read_text(encoding="utf-8"))
    edit(content)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def is_refusal(answer: Answer, message: str) -> bool:
    """Exit code 2 and one short message on standard error, without a traceback."""
    assert answer.code == 2, answer
    assert answer.out == ""
    assert "Traceback" not in answer.err
    assert len(answer.err.splitlines()) <= MAX_LINES, answer.err
    assert message in answer.err, answer.err
    return True


# --- the frozen surface ---------------------------------------------------------------------------


def options_of(parser: argparse.ArgumentParser, name: str = "") -> dict[str, list[str]]:
    """The options of every command, by its verbs."""
    groups = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    if groups:
        inner = [options_of(child, f"{name} {word}") for word, child in groups[0].choices.items()]
        return {command: options for part in inner for command, options in part.items()}
    options = [option for action in parser._actions for option in action.option_strings]
    return {name.strip(): [option for option in options if option not in ("-h", "--help")]}


def test_commands_and_their_options_are_the_contracts() -> None:
    assert options_of(_parser()) == {
        "run": ["--out", "--resume", "--from", "--backend", "--quiet", "--verbose"],
        "plan": ["--json"],
        "value": ["--semivalue", "--json"],
        "pay": ["--pot", "--negative", "--accept"],
        "report": [],
        "verify": ["--key"],
        "export": ["--model", "--config", "--format", "--out"],
        "predict": ["--model", "--config", "--out"],
        "data check": ["--company", "--data-path", "--target"],
        "data infer": ["--target", "--owner"],
        "federation init": ["--address", "--config", "--port", "--superlink-port", "--user"],
        "federation join": ["--company", "--data-path", "--port", "--user", "--dir"],
        "federation register": ["--name", "--dir"],
        "federation check": ["--dir"],
        "federation run": ["--out", "--resume", "--dir"],
        "federation status": ["--dir"],
        "federation try": ["--dir"],
        "init": ["--template"],
    }


def test_plan_as_json_is_one_document_with_the_contracts_keys(command: Command) -> None:
    answer = command("plan", SMOKE, "--json")
    assert (answer.code, answer.err) == (0, "")
    plan = json.loads(answer.out)
    assert {
        "n_companies",
        "coalitions",
        "trainings",
        "messages",
        "bytes",
        "peak_memory_bytes",
        "seconds",
    } <= set(plan)
    training, companies = load_config(SMOKE).training, 4
    assert plan["n_companies"] == companies
    assert plan["coalitions"] == 2**companies
    # Two small sizes on every coalition but the empty one; the large one on the grand coalition and
    # on each company.
    large = 1 + companies
    assert (
        plan["trainings"] == (2**companies - 1) * 2 * training.seeds + large * training.large_seeds
    )
    # Averages are evaluated of the same coalitions: here all singletons train the large model.
    assert plan["averaged_evaluations"] == (2**companies - 1) * (
        2 * training.seeds + training.large_seeds
    )
    assert plan["seconds"] > 0
    # Three seeds of the large runs are two more than one. Seed noise falls with the root of three.
    more = plan["more_seeds"]
    assert (more["large_seeds"], more["trainings"], more["shown"]) == (3, 2 * large, True)
    assert more["less_noise"] == pytest.approx(1 - 3**-0.5)
    assert 0 < more["seconds"] < plan["seconds"]


def test_plan_forecasts_the_bytes_that_the_run_then_sends(
    command: Command, run: RunDirectory
) -> None:
    forecast = json.loads(command("plan", SMOKE, "--json").out)["bytes"]
    stages = json.loads(run.read_text(files.COST))["stages"].values()
    sent = sum(stage["bytes"] for stage in stages)
    assert forecast <= sent <= 1.02 * forecast  # each array has a header of 128 bytes, too


def test_plan_for_people_has_a_line_for_each_figure(command: Command) -> None:
    answer = command("plan", SMOKE)
    assert (answer.code, answer.err) == (0, "")
    assert [line.split("  ")[0] for line in answer.out.splitlines()] == [
        "companies",
        "coalitions",
        "trainings",
        "averages",
        "messages",
        "bytes",
        "peak memory",
        "expected time",
        "across companies",
        "more large seeds",
        "trainings by stage",
        "sweep / teacher FLOPs",
    ]


def test_plan_of_a_federation_forecasts_everything_but_the_time_of_machines_that_are_not_here(
    command: Command, tmp_path: Path
) -> None:
    path = own_files_config(tmp_path)
    here = json.loads(command("plan", path, "--json").out)
    for company in load_config(path).companies:
        (tmp_path / f"{company}.npz").unlink()
    away = json.loads(command("plan", path, "--json").out)
    for stage in here["stages"].values():
        assert stage["flops"] > 0 and stage["message_seconds"] > 0
        stage |= {"flops": None, "message_seconds": None}  # of rows and machines that are not here
    of_this_machine = {"seconds", "peak_memory_bytes", "available_memory_bytes"}
    assert away["more_seeds"] == here.pop("more_seeds") | {"seconds": None}
    assert {name for name in here if here[name] != away[name]} <= of_this_machine
    assert here["seconds"] > 0
    assert away["exchanges"] > 0
    assert away["seconds"] is None
    assert "not known: the companies' files are not here" in command("plan", path).out
    assert "Ash.npz does not exist" in command("run", path, "--out", tmp_path / "run").err


GLOVES = "coalition,utility\n" + "".join(
    f"{c},{int(bool(c & 1) and bool(c & 6))}\n" for c in range(8)
)


@pytest.mark.parametrize(
    ("semivalue", "values"),
    [
        ("shapley", [2 / 3, 1 / 6, 1 / 6]),
        ("banzhaf", [3 / 4, 1 / 4, 1 / 4]),
        ("beta:1,1", [2 / 3, 1 / 6, 1 / 6]),
        ("loo", [1, 0, 0]),
    ],
)
def test_values_of_a_table_as_one_json_document(
    command: Command, tmp_path: Path, semivalue: str, values: list[float]
) -> None:
    table = tmp_path / "gloves.csv"
    table.write_text(GLOVES, encoding="utf-8")
    answer = command("value", table, "--semivalue", semivalue, "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert found.pop("values") == pytest.approx(values, abs=1e-12)
    assert found == {
        "n_companies": 3,
        "semivalue": semivalue,
        "utility_empty": 0.0,
        "utility_grand": 1.0,
    }


def test_values_for_people_name_each_company_and_read_back_exactly(
    command: Command, tmp_path: Path
) -> None:
    table = tmp_path / "game.csv"
    table.write_text("coalition,utility\n0,0\n1,1\n2,2\n3,6\n", encoding="utf-8")
    assert command("value", table) == Answer(0, "company 0: 2.5\ncompany 1: 3.5\n", "")


def test_the_shell_gets_the_exit_codes(run: RunDirectory) -> None:
    assert shell("verify", run.path).code == 0
    assert is_refusal(shell("verify", "nowhere"), "There is no run directory nowhere")
    run.write_text(files.PAYOUTS, "")
    changed = shell("verify", run.path)
    assert (changed.code, changed.out) == (1, "")
    assert "payouts.csv was changed after it was signed" in changed.err


def test_pay_finds_payouts_unchanged_where_companies_do_not_stand_by_name(
    command: Command, tmp_path: Path
) -> None:
    """The ledger's lines are sorted, the table is not."""
    config = tmp_path / "config.yaml"
    order, other = "[Ash, Beech, Chestnut, Damson]", "[Damson, Beech, Chestnut, Ash]"
    config.write_text(SMOKE.read_text(encoding="utf-8").replace(order, other), encoding="utf-8")
    assert command("run", config, "--out", tmp_path / "run", "--backend", "inline").code == 0
    paid = command("pay", tmp_path / "run", "--pot", "500")
    assert paid.code == 0 and "had been changed" not in paid.out
    written = (tmp_path / "run" / files.PAYOUTS).read_text(encoding="utf-8")
    assert [line.split(",")[0] for line in written.splitlines()[1:]] == [
        "Damson",
        "Beech",
        "Chestnut",
        "Ash",
    ]


def test_pay_says_that_it_replaces_payouts_that_were_changed(
    command: Command, run: RunDirectory
) -> None:
    said = "payouts.csv had been changed after it was signed"
    assert said not in command("pay", run.path, "--pot", "500").out
    run.write_text(files.PAYOUTS, "company,amount_cents\nAsh,500\n")
    assert said in command("pay", run.path, "--pot", "600").out
    assert command("verify", run.path).code == 0


# --- wrong arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["divide"], "invalid choice: 'divide'"),
        (["run", "c.yaml"], "--out"),
        (["run", "c.yaml", "--out", "x", "--backend", "slurm"], "invalid choice: 'slurm'"),
        (["run", "c.yaml", "--out", "x", "--quiet", "--verbose"], "not allowed with"),
        (["pay", "x"], "--pot"),
        (["pay", "x", "--pot", "-1"], "'-1' is no pot; give whole cents"),
        (["pay", "x", "--pot", "1.5"], "'1.5' is no pot"),
        (["pay", "x", "--pot", "much"], "'much' is no pot"),
        (["pay", "x", "--pot", str(10**15 + 1)], "is no pot"),
        (
            ["pay", "x", "--pot", "1", "--negative", "forgive"],
            "negative is 'forgive'; allowed are 'clip' and 'charge'",
        ),
        (["pay", "nowhere", "--pot", "1"], "There is no run directory nowhere"),
        (["report", "nowhere"], "There is no run directory nowhere"),
        (["verify", "nowhere"], "There is no run directory nowhere"),
        (["verify", "x" * 300], "There is no run directory"),
        (["pay", str(SMOKE), "--pot", "1"], "There is no run directory"),
        (["value", "nowhere.csv"], "nowhere.csv cannot be read: No such file"),
        (["value", str(REPOSITORY)], "cannot be read: it is a folder. Give a CSV table"),
        (["value", "x" * 300], "cannot be read: File name too long"),
        (["value", str(SMOKE)], "expected coalition,utility"),
    ],
)
def test_wrong_argument_is_refused_in_a_few_lines(
    command: Command, arguments: list[str], message: str
) -> None:
    assert is_refusal(command(*arguments), message)


@pytest.mark.parametrize(
    "semivalue", ["", "Shapley", "beta", "beta:1", "beta:0,1", "beta:nan,1", "beta:1,1,1"]
)
def test_unknown_semivalue_is_refused_with_the_known_ones(
    command: Command, tmp_path: Path, semivalue: str
) -> None:
    table = tmp_path / "gloves.csv"
    table.write_text(GLOVES, encoding="utf-8")
    assert is_refusal(
        command("value", table, "--semivalue", semivalue), "shapley, banzhaf, loo or beta:A,B"
    )


@pytest.mark.parametrize("verb", [["pay", "--pot", "1"], ["report"], ["verify"]])
def test_folder_that_is_no_finished_run_is_refused_and_unchanged(
    command: Command, tmp_path: Path, verb: list[str]
) -> None:
    assert is_refusal(command(*verb, tmp_path), "finished run")
    assert list(tmp_path.iterdir()) == []


# --- wrong configs --------------------------------------------------------------------------------

Edit = Callable[[dict[str, Any]], object]
ROWS = "a,b,target\n" + "1,2,0\n2,1,1\n" * 40
WRONG_TEXTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "a comment": (b"# nothing\n", "is empty"),
    "not YAML": (b"companies: [a, b\n", "not valid YAML"),
    "binary": (b"\x89PNG\r\n\x1a\n\x00", "not a text file"),
    "Latin-1": ("title: M\xfcller".encode("latin-1"), "not UTF-8"),
    "a list": (b"- a\n- b\n", "not a mapping"),
    "a number": (b"42\n", "not a mapping"),
    "a tag": (b"title: !!python/object/apply:os.system [ls]\n", "the tag"),
    "an alias": (b"title: &a [*a]\n", "aliases"),
    "a key twice": (b"seed: 1\nseed: 2\n", "is given twice"),
    "nothing that is needed": (b"seed: 1\n", "the key companies is missing"),
}
WRONG_EDITS: dict[str, tuple[Edit, str]] = {
    "an unknown key": (
        lambda c: c.update(companys=1),
        "unknown key companys. Did you mean companies?",
    ),
    "an unknown key deep down": (
        lambda c: c["training"].update(round=1),
        "unknown key training.round. Did you mean rounds?",
    ),
    "a wrong type": (lambda c: c["training"].update(rounds="four"), "training.rounds"),
    "a fraction for a number": (lambda c: c["training"].update(rounds=4.5), "training.rounds"),
    "a yes for a number": (lambda c: c["training"].update(seeds=True), "training.seeds"),
    "out of range": (lambda c: c["training"].update(seeds=0), "training.seeds"),
    "far out of range": (lambda c: c["training"].update(batch_size=10**30), "training.batch_size"),
    "infinite": (
        lambda c: c["training"].update(learning_rate=float("inf")),
        "training.learning_rate",
    ),
    "not a number": (
        lambda c: c["training"].update(learning_rate=float("nan")),
        "training.learning_rate",
    ),
    "no company": (lambda c: c.update(companies=[]), "companies"),
    "one company": (lambda c: c.update(companies=["Ash"]), "companies"),
    "a name twice": (
        lambda c: c.update(companies=["Ash", "Ash", "Beech", "Damson"]),
        "'Ash' is listed twice",
    ),
    "a name with a line break": (lambda c: c.update(companies=["A\nB", "Beech"]), "companies[0]"),
    "a stranger": (
        lambda c: c["data"]["partition"]["sizes"].update(Elm=1),
        "there is no company 'Elm'",
    ),
    "40 companies": (
        lambda c: (
            c.update(companies=[f"C{i}" for i in range(40)]),
            c["data"].update(partition={"kind": "iid"}),
        ),
        (
            "40 companies mean 2**40 coalitions; with coalitions.design = all the limit is 2**20"
            " (20 companies)."
        ),
    ),
    "1000 companies": (
        lambda c: (
            c.update(companies=[f"C{i}" for i in range(1000)]),
            c["data"].update(partition={"kind": "iid"}),
        ),
        "1000 companies mean 2**1000 coalitions",
    ),
    "an unknown strategy": (
        lambda c: c.update(teacher={"strategy": "fedmagic"}),
        "there is no strategy 'fedmagic'. Built in are fedavg",
    ),
    "an unknown option": (
        lambda c: c.update(teacher={"strategy": "fedprox", "options": {"mu": 1}}),
        "fedprox has no option 'mu'; it takes proximal_mu",
    ),
    "bulyan with too few": (
        lambda c: c.update(teacher={"strategy": "bulyan", "options": {"num_malicious_nodes": 1}}),
        "needs at least 7 companies",
    ),
    "an unknown source": (
        lambda c: c["data"].update(source="numbers"),
        "there is no source 'numbers'",
    ),
    "a missing data file": (lambda c: c["data"].update(source="nowhere.csv"), "nowhere.csv"),
    "a malformed data file": (lambda c: c["data"].update(source="malformed.csv"), "malformed.csv"),
    "a data file without the target": (
        lambda c: c["data"].update(source="rows.csv", target="y"),
        "'y'",
    ),
    "labels out of range": (
        lambda c: c["data"].update(source="labels.csv", classes=2),
        "labels.csv",
    ),
    "a company without data": (
        lambda c: c["data"]["partition"].update(
            sizes={"Ash": 1e9, "Beech": 1e9, "Chestnut": 1e9, "Damson": 1e-6}
        ),
        "Damson",
    ),
}


def wrong_config(folder: Path, name: str) -> tuple[Path, str]:
    """A config that is wrong in a known way, and what the message must say."""
    (folder / "rows.csv").write_text(ROWS, encoding="utf-8")
    (folder / "malformed.csv").write_text(ROWS + "1,x,0\n", encoding="utf-8")
    (folder / "labels.csv").write_text(ROWS + "1,1,7\n", encoding="utf-8")
    if name in WRONG_EDITS:
        edit, message = WRONG_EDITS[name]
        return edited(folder, edit), message
    text, message = WRONG_TEXTS[name]
    path = folder / "config.yaml"
    path.write_bytes(text)
    return path, message


@pytest.mark.parametrize("name", [*WRONG_TEXTS, *WRONG_EDITS])
def test_wrong_config_is_refused_by_plan_and_run_alike_and_nothing_is_written(
    command: Command, tmp_path: Path, name: str
) -> None:
    path, message = wrong_config(tmp_path, name)
    before = sorted(tmp_path.iterdir())
    planned = command("plan", path, "--json")
    assert is_refusal(planned, message)
    assert command("run", path, "--out", tmp_path / "out") == planned
    assert command("run", path, "--out", tmp_path / "out", "--resume") == planned
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere.yaml", "no file nowhere.yaml"), ("configs", "is a folder"), ("x" * 300, "too long")],
)
def test_config_that_is_no_file_is_refused(command: Command, path: str, message: str) -> None:
    assert is_refusal(command("plan", path), message)


NOTHING_HEAVY = """
import sys
from fl_sv.cli import main
for arguments in (line.rstrip("\\n").split("\\t") for line in sys.stdin):
    try:
        code = main(arguments)
    except SystemExit as refusal:
        code = refusal.code
    assert code == 2, (code, arguments)
    heavy = {"torch", "ray", "flwr", "matplotlib"} & set(sys.modules)
    assert not heavy, (heavy, arguments)
"""


def test_wrong_input_is_answered_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    calls = ["divide", "run\tx", "verify\tnowhere", "pay\tnowhere\t--pot\t1", "value\tnowhere.csv"]
    for number, name in enumerate([*WRONG_TEXTS, *WRONG_EDITS]):
        folder = tmp_path / str(number)
        folder.mkdir()
        calls.append(f"run\t{wrong_config(folder, name)[0]}\t--out\t{folder / 'out'}")
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "letter.txt").touch()
    calls.append(f"run\t{SMOKE}\t--out\t{occupied}")
    done = subprocess.run(
        [sys.executable, "-c", NOTHING_HEAVY],
        input="\n".join(calls),
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_model_that_does_not_fit_is_refused_before_anything_allocates_it(
    command: Command, tmp_path: Path
) -> None:
    path = edited(
        tmp_path, lambda c: c["models"].update(large={"kind": "mlp", "hidden": [16384] * 8})
    )
    assert is_refusal(command("plan", path), "GB of memory")
    path = edited(tmp_path, lambda c: c["models"].update(large={"kind": "mlp", "hidden": [4]}))
    assert is_refusal(command("plan", path), "List the small models in ascending size")


def test_run_that_would_take_too_long_is_refused(command: Command, tmp_path: Path) -> None:
    path = edited(tmp_path, lambda c: c.update(compute={"max_hours": 1e-9}))
    assert is_refusal(command("run", path, "--out", tmp_path / "out"), "compute.max_hours is 1e-09")
    assert not (tmp_path / "out").exists()


def test_module_beside_the_config_is_found(command: Command, tmp_path: Path) -> None:
    (tmp_path / "nets_beside_config.py").write_text(
        "import math\nfrom torch import nn\n\ndef wide(input_shape, n_outputs):\n    return"
        " nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), 99), nn.Linear(99,"
        " n_outputs))\n",
        encoding="utf-8",
    )
    model = {"kind": "module", "factory": "nets_beside_config:wide"}
    path = edited(tmp_path, lambda c: c["models"].update(large=model))
    assert command("plan", path).code == 0
    path = edited(
        tmp_path, lambda c: c["models"].update(large=model | {"factory": "no_such_module:wide"})
    )
    assert is_refusal(command("plan", path), "no_such_module:wide cannot be imported")


# --- where a run may write ------------------------------------------------------------------------


def test_folder_that_cannot_be_made_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out, message in {
        tmp_path / "file": "is a file; give a new or empty folder",
        tmp_path / "file" / "below" / "it": "is not a folder that you may write",
        tmp_path / ("x" * 300): "File name too long",
        REPOSITORY / "configs": "is not empty",
    }.items():
        assert is_refusal(command("run", SMOKE, "--out", out), message)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_folder_that_the_system_refuses_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="cannot be made"),
        start_or_resume(Path("/proc/fl-sv"), load_config(SMOKE), resume=False),
    ):
        pass


def test_file_that_is_hidden_is_a_file_too(command: Command, tmp_path: Path) -> None:
    (tmp_path / ".profile").touch()
    assert is_refusal(command("run", SMOKE, "--out", tmp_path), "is not empty")
    assert is_refusal(
        command("run", SMOKE, "--out", tmp_path, "--resume"), "holds no run to resume"
    )


def test_run_without_a_usable_signing_key_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "file"))
    with (
        pytest.raises(InputError, match=f"Set {HOME_VARIABLE}"),
        start_or_resume(tmp_path / "out", load_config(SMOKE), resume=False),
    ):
        pass
    assert not (tmp_path / "out").exists()


def test_second_writer_is_refused_and_the_lock_dies_with_its_holder(
    command: Command, run: RunDirectory
) -> None:
    script = "import sys; from pathlib import Path; from fl_sv.runs.directory import writing\n"
    script += "with writing(Path(sys.argv[1])): print('locked', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script, run.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        for verb in (["report"], ["pay", "--pot", "1"], ["run", SMOKE, "--resume", "--out"]):
            assert is_refusal(
                command(*verb, run.path), "is being written by another process; wait for it to end"
            )
        assert command("verify", run.path).code == 0  # which only reads
        holder.kill()
    assert command("report", run.path).code == 0


# --- resuming -------------------------------------------------------------------------------------


def test_finished_run_is_refused_without_resume_and_left_as_it_is_with_it(
    command: Command, run: RunDirectory
) -> None:
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    assert is_refusal(
        command("run", SMOKE, "--out", run.path), "is not empty. Give a new folder, or continue"
    )
    answer = command("run", SMOKE, "--out", run.path, "--resume")
    assert (answer.code, answer.err) == (0, "")
    assert "payout EUR" in answer.out
    assert command("run", SMOKE, "--out", run.path, "--resume", "--quiet") == Answer(0, "", "")
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


def test_report_that_a_kill_prevented_is_written_by_resume(
    command: Command, run: RunDirectory
) -> None:
    page = run.file(files.REPORT).read_bytes()
    run.file(files.REPORT).unlink()
    assert command("run", SMOKE, "--out", run.path, "--resume", "--quiet") == Answer(0, "", "")
    assert run.file(files.REPORT).read_bytes() == page


def test_report_is_written_again_from_the_tables(command: Command, run: RunDirectory) -> None:
    page = run.file(files.REPORT).read_bytes()
    for name in (files.REPORT, files.JOURNAL):
        run.file(name).unlink()
    assert command("report", run.path) == Answer(0, f"{run.file(files.REPORT)}\n", "")
    assert run.file(files.REPORT).read_bytes() == page


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(seed=8), "seed was 7 and is 8"),
        (lambda c: c["training"].update(learning_rate=0.25), "training.learning_rate was"),
        (lambda c: c["payouts"]["pot"].update(cents=5), "payouts.pot.cents was 1000000 and is 5"),
        (
            lambda c: c.update(compute={"dtype": "float64"}),
            "compute.dtype was 'float32' and is 'float64'",
        ),
    ],
)
def test_resuming_with_another_config_is_refused_with_the_key(
    command: Command, run: RunDirectory, tmp_path: Path, edit: Edit, message: str
) -> None:
    answer = command("run", edited(tmp_path, edit), "--out", run.path, "--resume")
    assert is_refusal(answer, f"was begun with another config: {message}")


def test_resuming_may_change_what_no_result_depends_on(tmp_path: Path) -> None:
    config = load_config(SMOKE)
    fewer = with_sections(config, compute={"workers": 1}, faults={"retries": 9})
    with start_or_resume(tmp_path, config, resume=False):
        pass
    with start_or_resume(tmp_path, fewer, resume=True) as directory:
        assert directory.config == fewer


def test_resuming_where_nothing_is_begins(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "missing" / "folder"):
        with start_or_resume(out, load_config(SMOKE), resume=True) as directory:
            assert directory.config == load_config(SMOKE)
            assert not directory.finished
