"""Planted rows: those of the validation file whose labels were drawn, and which score nothing."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_sv.config import Config
from fl_sv.config.redact import for_companies
from fl_sv.data import operator_data
from fl_sv.errors import InputError
from fl_sv.runs.audit_table import read_audit
from fl_sv.runs.directory import RunDirectory
from tests.runs import Command

DRAW = np.random.default_rng(0)


def _file(path: Path, x: np.ndarray, y: np.ndarray) -> str:
    np.savez(path, x=x, y=y)
    return str(path)


def _config(folder: Path, listed_x: np.ndarray, listed_y: np.ndarray, **more: Any) -> Config:
    """The operator's file has 40 rows of three classes."""
    x, y = _rows()
    return Config.model_validate(
        {
            "companies": ["Ash", "Beech"],
            "data": {
                "source": "own",
                "classes": 3,
                "files": {"Ash": "a.npz", "Beech": "b.npz"},
                "validation": {
                    "file": _file(folder / "validation.npz", x, y),
                    "planted": _file(folder / "planted.npz", listed_x, listed_y),
                },
            },
            "models": {
                "small": [{"kind": "mlp", "hidden": [4]}],
                "large": {"kind": "mlp", "hidden": [8]},
            },
            "payouts": {"pot": {"kind": "fixed", "cents": 100}},
            **more,
        }
    )


def _rows() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(3)
    return draw.normal(size=(40, 2)), np.arange(40) % 3


def test_planted_rows_score_nothing_and_stand_apart(tmp_path: Path) -> None:
    x, y = _rows()
    operator = operator_data(_config(tmp_path, x[5:12], y[5:12]))
    assert operator.planted is not None
    assert operator.planted.y.tolist() == y[5:12].tolist()
    assert operator.validation.y.tolist() == [*y[:5], *y[12:]]
    assert operator.holding[0] == 40
    others = operator_data(_config(tmp_path, x[6:13], y[6:13]))
    assert operator.holding != others.holding, "a run notices that others are planted"


def test_the_order_of_the_list_does_not_matter_to_who_scores(tmp_path: Path) -> None:
    x, y = _rows()
    (tmp_path / "one").mkdir()
    one = operator_data(_config(tmp_path / "one", x[5:12], y[5:12]))
    other = operator_data(_config(tmp_path, x[5:12][::-1], y[5:12][::-1]))
    assert np.array_equal(one.validation.x, other.validation.x)
    assert one.holding == other.holding


def test_no_planted_row_chooses_learning_rates(tmp_path: Path) -> None:
    x, y = _rows()
    operator = operator_data(_config(tmp_path, x[:10], y[:10], training={"learning_rate": "auto"}))
    assert operator.planted is not None and operator.tuning is not None
    assert len(operator.planted) == 10
    assert len(operator.tuning) + len(operator.validation) == 30
    planted = {row.tobytes() for row in operator.planted.x}
    assert not planted & {row.tobytes() for row in operator.tuning.x}


@pytest.mark.parametrize(
    ("which", "change", "sentence"),
    [
        (slice(0, 4), 0, "4 of 40 validation rows are planted; at least 5"),
        (slice(0, 6), 1, "no row of .*validation.npz has these features"),
        (slice(0, 39), 0, "39 of 40"),
    ],
    ids=["too few", "not in the file", "too few left"],
)
def test_a_list_that_does_not_fit_is_refused(
    tmp_path: Path, which: slice, change: float, sentence: str
) -> None:
    x, y = _rows()
    with pytest.raises(InputError, match=sentence):
        operator_data(_config(tmp_path, x[which] + change, y[which]))


def test_another_label_than_in_the_file_is_refused(tmp_path: Path) -> None:
    x, y = _rows()
    with pytest.raises(InputError, match="has another label"):
        operator_data(_config(tmp_path, x[:6], (y[:6] + 1) % 3))


def test_a_row_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    x, y = _rows()
    with pytest.raises(InputError, match="several rows"):
        operator_data(_config(tmp_path, x[[0, 1, 2, 3, 4, 0]], y[[0, 1, 2, 3, 4, 0]]))


def test_companies_do_not_learn_that_rows_are_planted(tmp_path: Path) -> None:
    x, y = _rows()
    sent = for_companies(_config(tmp_path, x[:6], y[:6]))
    assert sent.data.validation.planted is None and str(tmp_path) not in str(sent)


def test_a_hold_out_has_no_planted_rows(tmp_path: Path) -> None:
    content = _config(tmp_path, *(each[:6] for each in _rows())).model_dump(exclude_unset=True)
    content["data"] = {
        "source": "digits",
        "partition": {"kind": "iid"},
        "validation": {"planted": "planted.npz"},
    }
    with pytest.raises(ValueError, match=r"data\.validation\.planted"):
        Config.model_validate(content)


def test_the_guides_lines_plant_rows_that_a_run_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (Path(__file__).parents[1] / "docs" / "guide.md").read_text(encoding="utf-8")
    (lines,) = [
        each for each in re.findall(r"```python\n(.*?)```", guide, re.S) if "planted" in each
    ]
    cells = [f"{a:.3f},{b:.3f},{'bread' if a > b else 'tea'}" for a, b in DRAW.normal(size=(90, 2))]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,bought", *cells]))
    monkeypatch.chdir(tmp_path)
    exec(lines, {})
    config = _config(tmp_path, *_rows())
    data = {
        "source": "own",
        "target": "bought",
        "columns": {"bought": {"kind": "label", "classes": ["bread", "tea"]}},
        "validation": {"file": "validation.csv", "planted": "planted.csv"},
    }
    content = {**config.model_dump(exclude_unset=True), "data": data}
    operator = operator_data(Config.model_validate(content))
    assert operator.planted is not None
    assert (len(operator.planted), len(operator.validation)) == (40, 50)
    changed = set((tmp_path / "rows.csv").read_text().split()) ^ set(
        (tmp_path / "validation.csv").read_text().split()
    )
    assert 10 < len(changed) < 70, "about half of the drawn labels are other ones, both ways"


def test_a_run_says_what_its_companies_know_of_planted_rows_and_is_verified(
    command: Command, tmp_path: Path
) -> None:
    x, y = _rows()
    more = {"training": {"rounds": 2, "local_steps": 4, "seeds": 1, "batch_size": 8}}
    config = _config(tmp_path, x[:8], y[:8], **more)
    for name in "ab":
        _file(tmp_path / f"{name}.npz", DRAW.normal(size=(30, 2)), np.arange(30) % 3)
    content = config.model_dump(mode="json", exclude_unset=True)
    content["data"]["files"] = {"Ash": str(tmp_path / "a.npz"), "Beech": str(tmp_path / "b.npz")}
    (tmp_path / "config.yaml").write_text(json.dumps(content))
    out = tmp_path / "run"
    done = command("run", tmp_path / "config.yaml", "--out", out, "--backend", "inline")
    assert done.code in (0, 3), done
    lines = [line for line in read_audit(RunDirectory(out)) if line.check == "planted"]
    assert [line.company for line in lines] == ["Ash", "Beech"]
    assert all(line.figure is not None and not line.is_finding for line in lines)
    assert command("verify", out).code in (0, 3)
    text = (out / "audit.csv").read_text()
    assert text.count("planted") == 2
