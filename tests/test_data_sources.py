"""Sources of a shared pool: scikit-learn's sets and a user's function."""

from pathlib import Path

import numpy as np
import pytest
from config_of import config_of

from fl_sv.config.data import BUILT_IN_SOURCES
from fl_sv.data import operator_data
from fl_sv.errors import InputError
from tests.runs import loaded_by

SHAPES = {
    "digits": ((1, 8, 8), 10),
    "wine": ((13,), 3),
    "breast_cancer": ((30,), 2),
    "iris": ((4,), 3),
    "diabetes": ((10,), 1),
}
USERS_MODULE = """
import numpy as np

def rows(n=40, shop="North"):
    x = np.arange(2.0 * n).reshape(n, 2) * 100
    return {"x": x, "y": np.arange(n) % 2, "shop": [shop, "South"] * (n // 2)}

def lists():
    return {"x": [[1, 2], [3]], "y": [0, 1]}

def nothing():
    return None

def fails():
    raise KeyError("no such table")

class Holder:
    rows = staticmethod(rows)

constant = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of the user's, beside the product."""
    name = f"users_rows_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(USERS_MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_every_built_in_source_is_tested() -> None:
    assert set(SHAPES) == set(BUILT_IN_SOURCES)


@pytest.mark.parametrize("source", SHAPES)
def test_a_built_in_source_has_its_task_and_is_scaled_by_its_kind(source: str) -> None:
    operator = operator_data(config_of({"source": source}))
    x, y = operator.validation.x, operator.validation.y
    assert (operator.task.input_shape, operator.task.n_outputs) == SHAPES[source]
    assert operator.task.kind == BUILT_IN_SOURCES[source]
    assert (x.dtype, y.dtype) == (
        np.float32,
        np.int64 if operator.task.kind == "classification" else np.float64,
    )
    if source == "digits":
        assert (x.min(), x.max()) == (0, 1)
    else:
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-5)
    if source == "diabetes":
        assert (y.mean(), y.std()) == pytest.approx((0, 1))


def test_the_config_decides_whether_features_are_standardised() -> None:
    plain = operator_data(config_of({"source": "wine", "standardise": False})).validation.x
    scaled = operator_data(config_of({"source": "digits", "standardise": True})).validation.x
    assert plain.max() > 1000  # proline, in mg/l
    assert scaled.mean() == pytest.approx(0, abs=1e-5)
    assert scaled.shape[1:] == (1, 8, 8)


def test_a_built_in_source_cannot_be_another_task() -> None:
    with pytest.raises(
        ValueError, match=r"data.task: digits is a classification data set, not regression"
    ):
        config_of({"source": "digits", "task": "regression"})


def test_a_users_function_gets_its_options_and_its_rows_stay_unscaled(module: str) -> None:
    operator = operator_data(config_of({"source": f"{module}:rows", "options": {"n": 20}}))
    assert operator.task.n_outputs == 2
    assert len(operator.validation) == 4
    assert set(np.unique(operator.validation.x % 100)) == {0}
    assert len(operator_data(config_of({"source": f"{module}:Holder.rows"})).validation) == 8


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "no_such_module_here:rows",
            (
                r"no_such_module_here:rows cannot be imported: .*`fl-sv run` and `plan` also look"
                r" beside the config"
            ),
        ),
        ("MODULE:row", r"the module users_rows_\S+ has no 'row'"),
        ("MODULE:nothing", r"returned a NoneType; it must return a mapping with x and y"),
        ("MODULE:fails", r"raised KeyError: 'no such table'"),
        ("MODULE:constant", r"raised TypeError: 'int' object is not callable"),
        ("MODULE:lists", r"x has rows of different lengths"),
    ],
)
def test_a_faulty_function_is_named_with_its_fault(module: str, source: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        operator_data(config_of({"source": source.replace("MODULE", module)}))


@pytest.mark.parametrize("content", ["def rows(:", "1 / 0", "import sys; sys.no_such_thing"])
def test_a_module_that_cannot_be_imported_is_no_traceback(
    module: str, tmp_path: Path, content: str
) -> None:
    (tmp_path / f"{module}_broken.py").write_text(content)
    with pytest.raises(
        InputError, match=r"cannot be imported: (SyntaxError|ZeroDivisionError|AttributeError): "
    ):
        operator_data(config_of({"source": f"{module}_broken:rows"}))


def test_a_wrong_option_is_the_functions_own_error(module: str) -> None:
    with pytest.raises(InputError, match=r"raised TypeError: .*unexpected keyword argument 'm'"):
        operator_data(config_of({"source": f"{module}:rows", "options": {"m": 3}}))


def test_heavy_libraries_stay_out_until_data_are_read() -> None:
    assert not loaded_by("import fl_sv.data", "torch", "flwr", "ray", "polars", "sklearn")
