"""Who holds what: validation set, companies, and what may depend on what."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from config_of import COMPANIES, config_of

import fl_sv
from fl_sv.config import Config
from fl_sv.data import Dataset, Scaling, company_data, fingerprint, operator_data
from fl_sv.errors import InputError
from fl_sv.planning.checks import check
from fl_sv.report.screen import summary
from fl_sv.runs.directory import RunDirectory

SIZES = {"Ash": 8, "Beech": 4, "Chestnut": 2, "Damson": 1}
SKEWED = {"source": "digits", "partition": {"kind": "dirichlet", "alpha": 1.0, "sizes": SIZES}}


def rows_of(config: Config, company: str) -> Dataset:
    return company_data(config, company, operator_data(config).scaling)


def keys(dataset: Dataset) -> set[bytes]:
    return {x.tobytes() + y.tobytes() for x, y in zip(dataset.x, dataset.y, strict=True)}


# --- a shared source ------------------------------------------------------------------------------


def test_every_row_of_the_source_has_one_holder() -> None:
    config = config_of(SKEWED)
    validation, owned = (
        operator_data(config).validation,
        [rows_of(config, name) for name in COMPANIES],
    )
    assert len(validation) == 360  # a fifth of 1,797, rounded up
    assert sum(map(len, owned)) == 1437
    assert [len(rows) for rows in owned] == [
        766,
        383,
        192,
        96,
    ]  # largest remainders of 766.4, 383.2, 191.6, 95.8
    assert len(set.union(keys(validation), *map(keys, owned))) == 1797


def test_the_hold_out_is_stratified_by_label() -> None:
    counts = np.bincount(operator_data(config_of(SKEWED)).validation.y)
    assert counts.min() >= 35
    assert counts.max() <= 37


def test_the_validation_set_knows_neither_seed_nor_companies_nor_partition() -> None:
    first = fingerprint(operator_data(config_of(SKEWED)).validation)
    other_seed = config_of(SKEWED, seed=8)
    other_companies = config_of({"source": "digits"}, companies=("Elm", "Fir"))
    assert fingerprint(operator_data(other_seed).validation) == first
    assert fingerprint(operator_data(other_companies).validation) == first


def test_the_scaling_depends_only_on_the_validation_set() -> None:
    wine = {"source": "wine"}
    noise = {**wine, "corruptions": [{"kind": "feature_noise", "company": "Ash", "std": 9.0}]}
    assert (
        operator_data(config_of(wine)).scaling
        == operator_data(config_of(noise, companies=COMPANIES[:3])).scaling
    )


def test_a_company_prepares_the_same_rows_from_the_scaling_it_is_sent() -> None:
    config = config_of({"source": "wine"})
    scaling = operator_data(config).scaling
    assert fingerprint(
        company_data(config, "Ash", Scaling.from_json(scaling.to_json()))
    ) == fingerprint(company_data(config, "Ash", scaling))


def test_the_order_of_the_companies_changes_no_rows() -> None:
    forward, backward = config_of(SKEWED), config_of(SKEWED, companies=COMPANIES[::-1])
    for name in COMPANIES:
        np.testing.assert_array_equal(rows_of(forward, name).x, rows_of(backward, name).x)


def test_the_seed_of_the_run_deals_other_rows() -> None:
    assert fingerprint(rows_of(config_of(SKEWED), "Ash")) != fingerprint(
        rows_of(config_of(SKEWED, seed=8), "Ash")
    )


def test_changing_a_companys_rows_in_place_does_not_change_the_pool() -> None:
    config = config_of(SKEWED)
    before = fingerprint(rows_of(config, "Ash"))
    rows_of(config, "Ash").x[:] = 0
    assert fingerprint(rows_of(config, "Ash")) == before


def test_a_defect_changes_only_its_own_company() -> None:
    config = config_of(
        {**SKEWED, "corruptions": [{"kind": "wrong_labels", "company": "Beech", "fraction": 0.4}]}
    )
    clean = config_of(SKEWED)
    assert (rows_of(config, "Beech").y != rows_of(clean, "Beech").y).sum() == round(0.4 * 383)
    for name in ("Ash", "Chestnut", "Damson"):
        assert fingerprint(rows_of(config, name)) == fingerprint(rows_of(clean, name))


def test_twins_of_a_careless_company_are_as_careless() -> None:
    wrong = {"kind": "wrong_labels", "company": "Beech", "fraction": 0.4}
    copy = {"kind": "duplicate", "company": "Damson", "of": "Beech"}
    config = config_of({**SKEWED, "corruptions": [wrong, copy]})
    assert fingerprint(rows_of(config, "Damson")) == fingerprint(rows_of(config, "Beech"))
    config = config_of({**SKEWED, "corruptions": [copy, wrong]})
    assert fingerprint(rows_of(config, "Damson")) == fingerprint(
        rows_of(config_of(SKEWED), "Beech")
    )


def test_a_validation_file_leaves_the_whole_source_to_the_companies(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "v.csv", 12)
    source = write_csv(tmp_path / "s.csv", 40)
    config = config_of({"source": source, "validation": {"file": path}})
    assert len(operator_data(config).validation) == 12
    assert sum(len(rows_of(config, name)) for name in COMPANIES) == 40


def test_natural_owners_come_from_a_column_of_the_file(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "s.csv", 60, shop=[COMPANIES[i % 4] for i in range(60)])
    config = config_of({"source": path, "partition": {"kind": "column", "column": "shop"}})
    operator = operator_data(config)
    assert operator.task.input_shape == (2,)
    assert sum(len(rows_of(config, name)) for name in COMPANIES) == 60 - len(operator.validation)


def test_a_dirichlet_partition_of_a_regression_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"data.partition: dirichlet skews class labels.*take iid or sizes"
    ):
        config_of({"source": "diabetes", "partition": {"kind": "dirichlet", "alpha": 1.0}})


@pytest.mark.parametrize(
    ("labels", "fraction", "expected"),
    [
        (
            [0] * 10 + [1],
            0.2,
            r"class 1 has a single row.*Remove the class, or give `data.validation.file`",
        ),
        (
            [0, 1, 2] * 4,
            0.1,
            r"0.1 of 12 rows leaves 2 for validation and 10 .*at least 3 and 3 are needed. Change"
            r" the fraction",
        ),
        ([0, 1, 2] * 4, 0.9, r"0.9 of 12 rows leaves 11 for validation and 1 "),
    ],
)
def test_a_hold_out_that_cannot_be_stratified_is_refused(
    tmp_path: Path, labels: list[int], fraction: float, expected: str
) -> None:
    path = write_csv(tmp_path / "s.csv", len(labels), target=labels)
    with pytest.raises(InputError, match=expected):
        operator_data(config_of({"source": path, "validation": {"fraction": fraction}}))


# --- every company its own source -----------------------------------------------------------------


def write_csv(path: Path, n: int, **columns: list[Any]) -> str:
    rng = np.random.default_rng(n)
    table = {
        "a": rng.normal(5, 2, n).round(3),
        "b": rng.normal(size=n).round(3),
        "target": [i % 3 for i in range(n)],
    }
    table |= columns
    lines = [
        ",".join(table),
        *(",".join(map(str, row)) for row in zip(*table.values(), strict=True)),
    ]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def own(tmp_path: Path) -> Config:
    files = {name: write_csv(tmp_path / f"{name}.csv", 20 + i) for i, name in enumerate(COMPANIES)}
    validation = write_csv(tmp_path / "validation.csv", 30)
    return config_of(
        {"source": "own", "classes": 3, "files": files, "validation": {"file": validation}}
    )


def test_companies_bring_their_own_files(own: Config) -> None:
    assert [len(rows_of(own, name)) for name in COMPANIES] == [20, 21, 22, 23]
    assert operator_data(own).validation.x.mean() == pytest.approx(0, abs=1e-6)


def test_the_nodes_own_path_goes_before_the_config(own: Config, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "other.csv", 5)
    assert len(company_data(own, "Ash", operator_data(own).scaling, path)) == 5


def test_a_company_needs_no_file_but_its_own(own: Config, tmp_path: Path) -> None:
    scaling = operator_data(own).scaling
    for name in (*COMPANIES[1:], "validation"):
        (tmp_path / f"{name}.csv").unlink()
    assert len(company_data(own, "Ash", scaling)) == 20


def test_defects_act_on_own_files_too(own: Config) -> None:
    noisy = own.model_copy(
        update={
            "data": config_of(
                {
                    **own.data.model_dump(),
                    "corruptions": [{"kind": "wrong_labels", "company": "Ash", "fraction": 1.0}],
                }
            ).data
        }
    )
    assert (rows_of(noisy, "Ash").y != rows_of(own, "Ash").y).all()


def test_columns_in_another_order_are_the_same_data(own: Config, tmp_path: Path) -> None:
    lines = (tmp_path / "Ash.csv").read_text().splitlines()
    swapped = [",".join((b, target, a)) for a, b, target in (line.split(",") for line in lines)]
    (tmp_path / "swapped.csv").write_text("\n".join(swapped))
    scaling = operator_data(own).scaling
    assert fingerprint(
        company_data(own, "Ash", scaling, str(tmp_path / "swapped.csv"))
    ) == fingerprint(company_data(own, "Ash", scaling))


def test_a_label_out_of_range_names_company_row_and_value(own: Config, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "other.csv", 4, target=[0, 1, 3, 2])
    with pytest.raises(
        InputError, match=r"^Ash: .*other.csv, line 4, column 'target': the label 3 .*0 to 2"
    ):
        company_data(own, "Ash", operator_data(own).scaling, path)


def test_other_features_than_the_validation_sets_name_the_company(
    own: Config, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "other.csv", 4, c=[1, 2, 3, 4])
    with pytest.raises(InputError, match=r"^Ash: .*missing: none; unknown: c"):
        company_data(own, "Ash", operator_data(own).scaling, path)


def test_an_error_for_a_company_without_a_file_names_the_key(own: Config) -> None:
    bare = own.model_copy(update={"data": own.data.model_copy(update={"files": None})})
    with pytest.raises(InputError, match=r"Ash has no data file.*`data.files`.*node"):
        company_data(bare, "Ash", operator_data(own).scaling)


def test_a_regression_of_own_files_scales_targets_by_the_operators(tmp_path: Path) -> None:
    validation = write_csv(tmp_path / "v.csv", 4, target=[10, 20, 30, 40])
    path = write_csv(tmp_path / "a.csv", 2, target=[25, 25])
    config = config_of({"source": "own", "task": "regression", "validation": {"file": validation}})
    np.testing.assert_array_equal(
        company_data(config, "Ash", operator_data(config).scaling, path).y, [0, 0]
    )


# --- the smallest validation set ------------------------------------------------------------------


def own_files(folder: Path, validation: list[Any], **settings: Any) -> Config:
    """Two companies, one with a single row, and a validation file with these targets."""
    files = {
        "Ash": write_csv(folder / "ash.csv", 12, target=[i % 2 for i in range(12)]),
        "Beech": write_csv(folder / "beech.csv", 1, target=[1]),
    }
    path = write_csv(folder / "validation.csv", len(validation), target=validation)
    sections = {
        "training": {"rounds": 1, "learning_rate": 0.05},
        "models": {
            "small": [{"kind": "mlp", "hidden": [2]}],
            "large": {"kind": "mlp", "hidden": [3]},
        },
    }
    data = {"source": "own", "files": files, "validation": {"file": path}, **settings}
    return config_of(data, ("Ash", "Beech"), **sections)


def test_two_validation_rows_are_enough_and_called_few(tmp_path: Path) -> None:
    run = fl_sv.run(own_files(tmp_path, [0, 1], classes=2), tmp_path / "run")
    assert run.evidence.validation_NV.shape == (2, 2)
    assert run.evidence.examples == {"Ash": 12, "Beech": 1}
    assert all(math.isfinite(end) for c in run.valuation.companies for end in (c.low, c.high))
    assert "The validation set has only 2 rows" in summary(RunDirectory(tmp_path / "run"))


@pytest.mark.parametrize("kind", [{"classes": 2}, {"task": "regression"}])
def test_a_single_validation_row_is_refused_before_anything_trains(
    tmp_path: Path, kind: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=r"validation.csv: .* a single row. At least 2 are needed"):
        fl_sv.run(own_files(tmp_path, [1], **kind), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_validation_set_that_cannot_tell_models_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'target': every label of the validation set is 1. A mo"):
        check(own_files(tmp_path, [1, 1, 1], classes=2))
    with pytest.raises(InputError, match=r"every target of the validation set is 0.3, but for rou"):
        check(own_files(tmp_path, [0.3, 0.1 + 0.2, 0.3], task="regression"))


def test_a_hold_out_of_a_single_row_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "s.csv", 10, target=[*range(10)])
    settings = {"source": path, "task": "regression", "validation": {"fraction": 0.1}}
    with pytest.raises(InputError, match=r"leaves 1 for validation and 9 .*at least 2 and 1 are"):
        operator_data(config_of(settings))


def test_classes_that_the_validation_set_or_every_company_lacks_are_named(tmp_path: Path) -> None:
    def remarks(targets: list[int], classes: int) -> tuple[str, ...]:
        *found, on_steps = check(own_files(tmp_path, targets, classes=classes)).remarks
        assert on_steps.startswith("A company with more rows takes more steps")
        return tuple(found)

    assert remarks([0, 1] * 15, classes=2) == ()
    assert remarks([0, 2] * 15, classes=4) == (
        "The validation set has no row of the classes 1, 3: what companies teach about it earns"
        " nothing.",
        "No company has a row of class 2, which the validation set has.",
    )
    assert remarks([0, 1], classes=2) == (
        "The validation set has only 2 rows: with fewer than 30 the intervals are wide, and"
        " too narrow where single rows decide the loss. Give more of them (data.validation).",
    )


def test_a_column_that_is_constant_but_for_rounding_gives_no_company_an_input_of_its_own(
    tmp_path: Path,
) -> None:
    config = own_files(tmp_path, [0, 1] * 15, classes=2)
    write_csv(tmp_path / "validation.csv", 30, target=[0, 1] * 15, a=[0.3, 0.1 + 0.2, 0.3] * 10)
    write_csv(tmp_path / "ash.csv", 12, target=[0, 1] * 6, a=[0.3, 0.4] * 6)
    rows = rows_of(config, "Ash").x[:, 0]
    np.testing.assert_allclose(rows, [0, 0.1] * 6, atol=1e-7)
    write_csv(tmp_path / "ash.csv", 12, target=[0, 1] * 6, a=[0.3] * 11 + [2e4])
    with pytest.raises(InputError, match=r"^Ash: .*ash.csv, line 13, column 'a': 20000.0 becomes"):
        check(config)
