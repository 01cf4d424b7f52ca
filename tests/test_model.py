"""The model that comes out of a run: its file, its loss, predictions, exports, and bad files."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch.nn import functional

import fl_sv
from benchmarks.common.command_line import SMOKE
from fl_sv.config import load_config
from fl_sv.data import operator_data
from fl_sv.deployment.load import built, stored_model
from fl_sv.deployment.predict import prediction_lines, read_raw_rows
from fl_sv.design.workloads import DEPLOYED
from fl_sv.errors import VerificationError
from fl_sv.files import sha256
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.journal import Journal
from fl_sv.runs.tables import read_evidence
from tests.runs import SMALL_GAME, Command, Process
from tests.runs import fl_sv as command_line

DIGITS = Path(__file__).parent.parent / "docs" / "digits.csv"

# A module of the user's own, beside the config: a frozen layer, a random buffer that is saved, one
# that is not, and a layer that is trained.
NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, inputs, n_outputs, width):
        super().__init__()
        self.base = nn.Linear(inputs, width, bias=False).requires_grad_(False)
        self.register_buffer("shift", torch.randn(width))
        self.register_buffer("two", torch.full((1,), 2.0), persistent=False)
        self.last = nn.Linear(width, n_outputs)

    def forward(self, x):
        return self.last(torch.tanh(self.base(x) * self.two + self.shift))

def net(input_shape, n_outputs, width):
    return Net(input_shape[0], n_outputs, width)
"""
REGRESSION = """
companies: [Ash, Beech]
data: {source: rows.csv, task: regression, target: price, partition: {kind: iid}}
models:
  small: [{kind: mlp, hidden: [2]}]
  large: {kind: module, name: net, factory: "my_net:net", options: {width: 12}}
training: {rounds: 3, learning_rate: 0.1}
teacher: {keep: rounds}
compute: {dtype: float64}
payouts: {pot: {kind: fixed, cents: 1000}}
"""


# The scaling of digits with two billion classes.
HUGE = {
    "task": {
        "kind": "classification",
        "input_shape": [1, 8, 8],
        "n_outputs": 2**31 - 1,
        "places": [],
        "inputs": [],
        "loss": None,
    },
    "features": [],
    "mean": [0.0],
    "scale": [1.0],
    "target_mean": 0.0,
    "target_scale": 1.0,
}


@dataclass(frozen=True)
class Prices:
    """A finished regression with a module of the user's own, and the raw rows of its table."""

    config: Path
    run: Path
    x: np.ndarray  # (rows, 2): area, age
    price: np.ndarray


@pytest.fixture(scope="module")
def prices(owner_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Prices:
    folder = tmp_path_factory.mktemp("prices")
    rng = np.random.default_rng(0)
    x = np.c_[rng.uniform(20, 200, 60).round(1), rng.integers(0, 90, 60)]
    price = 4000 * x[:, 0] - 900 * x[:, 1] + 100_000
    lines = [f"{a!r},{b:g},{p!r}" for (a, b), p in zip(x.tolist(), price.tolist(), strict=True)]
    (folder / "rows.csv").write_text("\n".join(["area,age,price", *lines]) + "\n")
    (folder / "my_net.py").write_text(NET)
    (folder / "run.yaml").write_text(REGRESSION)
    done = Process("run", folder / "run.yaml", "--out", folder / "run", "--backend", "inline").end()
    assert done.code == 0, done.err
    return Prices(folder / "run.yaml", folder / "run", x, price)


def loss_of(model: torch.nn.Module, config: Path) -> float:
    """The loss of a model on the validation rows of a config whose features are not scaled."""
    held = operator_data(load_config(config)).validation
    with torch.no_grad():
        outputs = model(torch.from_numpy(held.x)).double()
    return float(functional.cross_entropy(outputs, torch.from_numpy(held.y)))


def exported(run: Path, folder: Path) -> Path:
    """The model of a run as two files that a test may change."""
    folder.mkdir(exist_ok=True)
    out = folder / "model.safetensors"
    assert command_line("export", run, "--format", "safetensors", "--out", out).code == 0
    return out


def with_tensors(path: Path, change: Callable[[dict[str, np.ndarray]], object]) -> Path:
    """An exported model with other numbers, whose JSON file says so."""
    numbers = load_file(path)
    change(numbers)
    save_file(numbers, path)
    return with_record(path, sha256=sha256(path))


def with_record(path: Path, **changes: Any) -> Path:
    """An exported model whose JSON file says something else."""
    beside = path.with_suffix(".json")
    beside.write_text(json.dumps(json.loads(beside.read_text()) | changes))
    return path


# --- what comes out -------------------------------------------------------------------------------


def test_loaded_model_has_the_loss_that_the_run_signed(finished_run: Path) -> None:
    last = read_evidence(RunDirectory(finished_run)).curve[-1]
    assert loss_of(fl_sv.load_model(finished_run), SMOKE) == pytest.approx(last.loss, rel=1e-9)


def test_file_holds_the_trained_vector_by_torchs_names(finished_run: Path) -> None:
    numbers = load_file(finished_run / files.MODEL)
    assert {name: part.shape for name, part in numbers.items()} == {
        "1.weight": (64, 64),
        "1.bias": (64,),
        "3.weight": (10, 64),
        "3.bias": (10,),
    }
    assert {part.dtype for part in numbers.values()} == {np.dtype(np.float32)}
    with closing(Journal(finished_run / files.JOURNAL)) as journal:
        params = journal.teacher_rounds(DEPLOYED)[-1].params
    names = ["1.weight", "1.bias", "3.weight", "3.bias"]
    assert np.array_equal(np.concatenate([numbers[name].ravel() for name in names]), params)


def test_json_file_says_how_the_model_is_made(finished_run: Path, prices: Prices) -> None:
    record = json.loads((finished_run / files.MODEL_RECORD).read_text())
    assert (record["kind"], record["factory"], record["options"]) == ("mlp", None, {"hidden": [64]})
    assert (record["input_shape"], record["output_shape"], record["classes"]) == (
        [1, 8, 8],
        [10],
        10,
    )
    assert (record["trainable"], record["parameters"]) == (4810, 4810)
    assert record["base_sha256"] is None
    own = json.loads((prices.run / files.MODEL_RECORD).read_text())
    assert (own["factory"], own["options"], own["classes"]) == ("my_net:net", {"width": 12}, None)
    assert (own["target"], own["scaling"]["features"]) == ("price", ["area", "age"])
    # trained: 12 weights and a bias; frozen: 2 x 12 weights
    assert (own["trainable"], own["parameters"], own["dtype"]) == (13, 37, "float64")
    assert len(own["base_sha256"]) == 64


def test_numbers_alone_predict_prices_in_their_own_units(prices: Prices) -> None:
    """With numpy, from the file and what the JSON file says of the scaling."""
    numbers = load_file(prices.run / files.MODEL)
    assert set(numbers) == {"base.weight", "shift", "last.weight", "last.bias"}
    scaling = json.loads((prices.run / files.MODEL_RECORD).read_text())["scaling"]
    x = ((prices.x - scaling["mean"]) / scaling["scale"]).astype(np.float32).astype(np.float64)
    hidden = np.tanh(2 * x @ numbers["base.weight"].T + numbers["shift"])
    y = hidden @ numbers["last.weight"].T + numbers["last.bias"]
    by_hand = y * scaling["target_scale"] + scaling["target_mean"]
    model = fl_sv.load_model(prices.run, config=prices.config)
    with torch.no_grad():
        found = model(torch.from_numpy(prices.x))
    assert not model.training and found.shape == (60, 1) and found.dtype == torch.float64
    assert found.numpy() == pytest.approx(by_hand, rel=1e-12)
    # it learned something: prices spread by some 200,000
    assert (
        np.abs(found.numpy()[:, 0] - prices.price).mean()
        < np.abs(prices.price - prices.price.mean()).mean()
    )


def test_every_kept_round_has_the_loss_of_its_line(prices: Prices) -> None:
    evidence = read_evidence(RunDirectory(prices.run))
    held = operator_data(load_config(prices.config)).validation
    record = json.loads((prices.run / files.MODEL_RECORD).read_text())["scaling"]
    names = ["round-0", "round-1", "round-2", "teacher"]
    for name, point in zip(names, evidence.curve, strict=True):
        model = fl_sv.load_model(prices.run, name, config=prices.config)
        with torch.no_grad():
            outputs = model.module(torch.from_numpy(held.x).double())[:, 0]
        loss = float(((outputs - torch.from_numpy(held.y)) ** 2).mean())
        assert loss == pytest.approx(point.loss, rel=1e-9), name
    assert record["features"] == ["area", "age"]


def test_best_round_lies_beside_the_model_that_is_deployed(tmp_path: Path) -> None:
    """The last round is deployed and pays, however good an earlier one was."""
    config = tmp_path / "run.yaml"
    config.write_text(
        SMALL_GAME.replace("rounds: 3", "rounds: 6, learning_rate: 3.0, momentum: 0.9")
        + "teacher: {keep: best}\n"
    )
    run = tmp_path / "run"
    done = command_line("run", config, "--out", run, "--backend", "inline", "--quiet")
    assert done.code == 0, done.err
    curve = read_evidence(RunDirectory(run)).curve
    best = min(curve, key=lambda point: point.loss)
    assert best.number < curve[-1].number, "the game no longer has a best round before the last"
    held = operator_data(load_config(config)).validation
    for which, point in (("best", best), ("teacher", curve[-1])):
        model = fl_sv.load_model(run, which)
        with torch.no_grad():
            outputs = model.module(torch.from_numpy(held.x)).double()
        loss = float(functional.cross_entropy(outputs, torch.from_numpy(held.y)))
        assert loss == pytest.approx(point.loss, rel=1e-9)
    assert stored_model(run, "best").record.round == best.number
    assert command_line("verify", run).code in (0, 3)


def test_resumed_run_writes_the_same_bytes(prices: Prices, tmp_path: Path) -> None:
    """As if it had been killed before its tables were written."""
    run = shutil.copytree(prices.run, tmp_path / "run")
    due = {name: (run / name).read_bytes() for name in (files.MODEL, files.MODEL_RECORD)}
    for name in (*due, files.LEDGER, files.REPORT):
        (run / name).unlink()
    done = command_line(
        "run", prices.config, "--out", run, "--resume", "--backend", "inline", "--quiet"
    )
    assert done.code == 0, done.err
    assert {name: (run / name).read_bytes() for name in due} == due


# --- predictions ----------------------------------------------------------------------------------


def predicted(run: Path, rows: Path, *options: object) -> list[dict[str, float]]:
    answer = command_line("predict", run, rows, *options)
    assert answer.code == 0, answer.err
    return [
        {name: float(cell) for name, cell in row.items()}
        for row in csv.DictReader(io.StringIO(answer.out))
    ]


def test_predictions_name_the_likeliest_class_and_shares_that_sum_to_one(
    finished_run: Path,
) -> None:
    rows = predicted(finished_run, DIGITS)
    assert [row["prediction"] for row in rows] == [3, 7, 0]
    for row in rows:
        shares = [row[f"p_{k}"] for k in range(10)]
        assert sum(shares) == pytest.approx(1) and len(row) == 11
        assert shares[int(row["prediction"])] == max(shares)


def test_rows_of_every_kind_of_file_get_the_same_answers(prices: Prices, tmp_path: Path) -> None:
    """Columns go by name, in any order, and the target need not be there."""
    import polars as pl

    table = prices.config.parent / "rows.csv"
    frame = pl.read_csv(table)
    frame.select("age", "area").write_csv(tmp_path / "other_order.csv")
    frame.select("price", "age", "area").write_parquet(tmp_path / "rows.parquet")
    np.savez(tmp_path / "rows.npz", x=prices.x)
    model = fl_sv.load_model(prices.run, config=prices.config)
    with torch.no_grad():
        due = model(torch.from_numpy(prices.x))[:, 0].tolist()
    code = ("--config", prices.config)
    for path in (table, *sorted(tmp_path.iterdir())):
        found = predicted(prices.run, path, *code)
        assert [row["prediction"] for row in found] == due, path.name
    out = tmp_path / "answers.csv"
    assert command_line("predict", prices.run, table, "--out", out, *code).code == 0
    assert out.read_text() == command_line("predict", prices.run, table, *code).out


def test_answers_do_not_depend_on_the_size_of_a_block(finished_run: Path) -> None:
    stored = stored_model(finished_run)
    rows, model = read_raw_rows(str(DIGITS), stored), built(stored)
    whole = [*csv.reader(io.StringIO("".join(prediction_lines(model, rows))))]
    single = [*csv.reader(io.StringIO("".join(prediction_lines(model, rows, block=1))))]
    assert whole[0] == single[0] and len(whole) == len(single) == 4
    assert np.array(single[1:], float) == pytest.approx(np.array(whole[1:], float), abs=1e-6)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("area,agee,extra\n1,2,3\n", "missing: age; unknown: agee, extra"),
        ("area,age\n1,\n", "line 2, column 'age': the cell is empty"),
        ("area,age\n1,nan\n", "line 2, column 'age': found 'nan'"),
        ("area,age\nlarge,2\n", "line 2, column 'area': found 'large'"),
        ("area,age\n1e30,2\n", "column 'area': 1e+30 becomes"),
        ("area,age\n", "has no rows"),
        ("", "is empty"),
    ],
)
def test_rows_that_are_not_the_models_are_refused(
    table: str, message: str, prices: Prices, tmp_path: Path, command: Command
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(table)
    answer = command("predict", prices.run, path)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"fl-sv: {path}") and message in answer.err


def test_rows_of_another_width_are_refused(
    finished_run: Path, tmp_path: Path, command: Command
) -> None:
    np.savez(tmp_path / "rows.npz", x=np.zeros((3, 5)))
    answer = command("predict", finished_run, tmp_path / "rows.npz")
    assert answer.code == 2
    assert "a row has 5 numbers; the model takes 1x8x8" in answer.err
    answer = command("predict", finished_run, tmp_path / "nothing.npz")
    assert (answer.code, "does not exist" in answer.err) == (2, True)
    with pytest.raises(ValueError, match=r"rows of shape \(3, 5\)"):
        fl_sv.load_model(finished_run)(torch.zeros(3, 5))


# --- exports --------------------------------------------------------------------------------------


def test_exported_model_answers_as_that_of_the_run(prices: Prices, tmp_path: Path) -> None:
    out = exported(prices.run, tmp_path)
    assert out.read_bytes() == (prices.run / files.MODEL).read_bytes()
    rows = prices.config.parent / "rows.csv"
    code = ("--config", prices.config)
    assert predicted(out, rows, *code) == predicted(prices.run, rows, *code)


def test_exported_round_knows_which_one_it_is(prices: Prices, tmp_path: Path) -> None:
    out = tmp_path / "one.safetensors"
    answer = command_line(
        "export", prices.run, "--model", "round-1", "--format", "safetensors", "--out", out
    )
    assert answer.out.split() == [str(out), str(out.with_suffix(".json"))]
    record = stored_model(out).record
    point = read_evidence(RunDirectory(prices.run)).curve[1]
    assert (record.which, record.round, record.loss) == ("round-1", 1, point.loss)


@pytest.mark.slow
def test_onnx_model_answers_as_torch_on_any_number_of_raw_rows(
    prices: Prices, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="fl-sv[export] is not installed")
    out, code = tmp_path / "model.onnx", ("--config", prices.config)
    answer = command_line("export", prices.run, "--format", "onnx", "--out", out, *code)
    assert answer == (0, f"{out}\n", "")
    session = onnxruntime.InferenceSession(out)
    model = fl_sv.load_model(prices.run, config=prices.config)
    for rows in (prices.x[:1], prices.x):
        (found,) = session.run(["outputs"], {"rows": rows})
        with torch.no_grad():
            assert found == pytest.approx(model(torch.from_numpy(rows)).numpy(), rel=1e-6)


def test_onnx_without_its_packages_names_the_extra(
    finished_run: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fl_sv.deployment.export.find_spec", lambda name: None)
    answer = command("export", finished_run, "--format", "onnx", "--out", tmp_path / "m.onnx")
    assert answer.code == 2
    assert "pip install 'fl-sv[export]'" in answer.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "peft", "--out", "new"], "mlp-64 has none"),
        (["--format", "pickle", "--out", "new"], "choose from"),
        (["--format", "safetensors", "--out", "there"], "is there already"),
        (["--format", "safetensors", "--out", "new.json"], "a JSON file of this name"),
        (["--format", "safetensors", "--out", "none/new"], "there is no folder"),
        (["--format", "safetensors", "--out", "new", "--model", "student"], "it holds teacher"),
        (["--format", "safetensors", "--out", "new", "--model", "round-1"], "it holds teacher"),
        (["--format", "safetensors", "--out", "new", "--model", "../x"], "There is no model"),
    ],
)
def test_exports_that_cannot_be_are_refused(
    options: list[str],
    message: str,
    finished_run: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("something")
    answer = command("export", finished_run, *options)
    assert (answer.code, message in answer.err) == (2, True), answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "something"


# --- bad files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [files.MODEL, files.MODEL_RECORD])
def test_changed_model_is_not_loaded(name: str, run: RunDirectory, command: Command) -> None:
    data = bytearray(run.file(name).read_bytes())
    data[-2] ^= 1
    run.file(name).write_bytes(data)
    with pytest.raises(VerificationError, match="was changed after it was signed"):
        fl_sv.load_model(run.path)
    answer = command("predict", run.path, DIGITS)
    assert (answer.code, answer.out) == (1, "")
    assert f"{run.file(name)} was changed after it was signed" in answer.err


def test_unfinished_run_has_no_model_yet(run: RunDirectory, command: Command) -> None:
    run.file(files.LEDGER).unlink()
    answer = command("predict", run.path, DIGITS)
    assert (answer.code, "is not a finished run" in answer.err) == (2, True)
    answer = command("predict", run.path / "nowhere", DIGITS)
    assert (answer.code, "There is no run directory" in answer.err) == (2, True)


def test_factory_that_cannot_be_imported_is_named(
    prices: Prices, tmp_path: Path, command: Command
) -> None:
    path = with_record(exported(prices.run, tmp_path), factory="not_here:net")
    answer = command("predict", path, prices.config.parent / "rows.csv")
    assert (answer.code, len(answer.err.splitlines())) == (2, 1)
    assert "models.factory: not_here:net cannot be imported" in answer.err


def test_factory_whose_code_has_changed_is_refused(prices: Prices, tmp_path: Path) -> None:
    """The numbers still fit, but they would be another model's."""
    (tmp_path / "my_net.py").write_text(NET.replace("tanh", "sin"))
    rows = prices.config.parent / "rows.csv"
    answer = Process("predict", prices.run, rows, PYTHONPATH=str(tmp_path)).end()
    assert (answer.code, answer.out) == (2, "")
    assert "gives other outputs than it gave in the run" in answer.err
    (tmp_path / "my_net.py").write_text(NET.replace("self.last =", "self.end = self.last ="))
    same = Process("predict", prices.run, rows, PYTHONPATH=str(tmp_path)).end()
    assert same.code == 2 and "it lacks end.weight, end.bias" in same.err


def poisoned(numbers: dict[str, np.ndarray]) -> None:
    numbers["1.bias"][3] = np.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: n.pop("1.bias"), "it lacks 1.bias"),
        (lambda n: n.update(more=np.zeros(2, np.float32)), "the module has no more"),
        (lambda n: n.update({"1.bias": np.zeros(63, np.float32)}), "1.bias is float32 of shape"),
        (lambda n: n.update({"1.bias": np.zeros(64)}), "1.bias is float64 of shape (64,)"),
        (poisoned, "1.bias holds NaN or infinite numbers"),
        (lambda n: n.update({"3.bias": n["3.bias"] + 1}), "gives other outputs"),
    ],
)
def test_file_of_another_module_is_refused(
    change: Callable[[dict[str, np.ndarray]], object],
    message: str,
    finished_run: Path,
    tmp_path: Path,
    command: Command,
) -> None:
    path = with_tensors(exported(finished_run, tmp_path), change)
    answer = command("predict", path, DIGITS)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err and "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, "is not the file that model.json describes"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
        ({"kind": "module"}, "it describes no model"),
        ({"options": {"hidden": [10**9]}}, "it describes no model"),
        ({"options": {"hidden": [16_384] * 8}}, "is not of the module"),
        ({"input_shape": [2**31 - 1, 2**31 - 1]}, "do not fit each other"),
        ({"input_shape": [-1]}, "damaged"),
        ({"output_shape": [2_000_000_000], "classes": 2_000_000_000}, "do not fit each other"),
        ({"scaling": HUGE, "output_shape": [2**31 - 1], "classes": 2**31 - 1}, "of the module"),
        ({"dtype": "float16"}, "dtype"),
        ({"factory": "os:system", "kind": "module", "options": {}}, "models.factory: os:system"),
        ({"scaling": {}}, "do not fit each other"),
    ],
)
def test_damaged_description_of_a_model_is_refused(
    changes: dict[str, Any], message: str, finished_run: Path, tmp_path: Path, command: Command
) -> None:
    path = with_record(exported(finished_run, tmp_path), **changes)
    answer = command("predict", path, DIGITS)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err and len(answer.err.splitlines()) <= 2, answer.err


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x04K\x01.", b"\xff" * 8, (2**40).to_bytes(8, "little") + b"{}"]
)
def test_file_that_is_no_safetensors_is_refused(
    data: bytes, finished_run: Path, tmp_path: Path, command: Command
) -> None:
    path = exported(finished_run, tmp_path)
    path.write_bytes(data)
    with_record(path, sha256=sha256(path))
    answer = command("predict", path, DIGITS)
    assert (answer.code, "cannot be loaded" in answer.err) == (2, True), answer.err
    path.with_suffix(".json").unlink()
    answer = command("predict", path, DIGITS)
    assert (answer.code, "has no model.json beside it" in answer.err) == (2, True)


# --- what the report says -------------------------------------------------------------------------


def test_report_says_how_many_parameters_are_trained(prices: Prices, finished_run: Path) -> None:
    frozen, trained = 2 * 12, 12 + 1
    due = f"with {frozen + trained} parameters, of which {trained} are trained and the others stay"
    assert due in (prices.run / "report.html").read_text()
    assert (
        "of which" not in (finished_run / "report.html").read_text().split("The teacher is")[1][:90]
    )


def test_report_says_where_the_model_is_with_its_hash(finished_run: Path) -> None:
    page = (finished_run / files.REPORT).read_text()
    assert "lies beside this page as model.safetensors" in page
    assert sha256(finished_run / files.MODEL) in page
