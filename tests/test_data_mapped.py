"""Rows that stay on disk: a folder of x.npy and y.npy trains as the same rows in memory do."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from fl_sv.config import Config
from fl_sv.data import all_company_data, fingerprint, operator_data
from fl_sv.data.archive import require_room
from fl_sv.data.dataset import Dataset
from fl_sv.data.mapped import empty_like_rows
from fl_sv.data.parquet_footer import n_values
from fl_sv.data.raw import RawRows
from fl_sv.data.sources import read_file
from fl_sv.errors import InputError
from fl_sv.training.mlp import mlp_targets
from fl_sv.training.models import model_specs, tensors
from fl_sv.training.sgd import GatheredAnew, make_recipe
from fl_sv.training.stack import MOST_ROWS, rows_at_once, train_stack
from tests.config_of import config_of
from tests.runs import REPOSITORY


def arrays(rows: int = 240, columns: int = 3) -> dict[str, NDArray[Any]]:
    generator = np.random.default_rng(0)
    x = generator.normal(5, 3, size=(rows, columns)).astype(np.float32)
    owner = np.array(["Ash", "Beech", "Chestnut", "Damson"])[generator.integers(0, 4, rows)]
    return {"x": x, "y": (x[:, 0] > 5).astype(np.int64), "company": owner}


def folder_of(path: Path, **named: NDArray[Any]) -> str:
    path.mkdir(exist_ok=True)
    for name, array in named.items():
        np.save(path / f"{name}.npy", array)
    return f"{path}/"


def both(tmp_path: Path, **sections: Any) -> tuple[Config, Config]:
    """The same rows as a folder of arrays, and as an archive that is read into memory."""
    named = arrays()
    np.savez(tmp_path / "rows.npz", **named)
    data = {"partition": {"kind": "column", "column": "company"}, "standardise": True}
    folder = folder_of(tmp_path / "rows", **named)
    mapped, in_memory = (
        config_of({"source": source, **data}, **sections)
        for source in (folder, str(tmp_path / "rows.npz"))
    )
    return mapped, in_memory


def rows_of(folder: str) -> RawRows:
    return read_file(folder, config_of({"source": folder}).data)


def trained(config: Config, data: Dataset) -> torch.Tensor:
    small, large = model_specs(config, operator_data(config).task)
    x, y = tensors(data, config)
    results = []
    for model in (*small, large):
        recipe = make_recipe(config, model, "Ash", len(x), 0, 1)
        stack = torch.stack([model.initial_params(seed, 0) for seed in (1, 2)])
        results.append(train_stack(model, stack, x, y, recipe, chunk=2).flatten())
    return torch.cat(results)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_on_mapped_rows_equals_training_from_memory_to_every_bit(
    tmp_path: Path, dtype: str
) -> None:
    mapped, in_memory = both(tmp_path, compute={"dtype": dtype})
    scaling, known = operator_data(mapped).scaling, operator_data(in_memory).scaling
    assert (scaling.mean, scaling.scale) == (known.mean, known.scale)
    rows, others = all_company_data(mapped, scaling), all_company_data(in_memory, known)
    for company, data in rows.items():
        assert isinstance(data.x, np.memmap) and not isinstance(others[company].x, np.memmap)
        assert data.x.tobytes() == others[company].x.tobytes()
        assert fingerprint(data) == fingerprint(others[company])
    assert torch.equal(trained(mapped, rows["Ash"]), trained(in_memory, others["Ash"]))


def test_batches_that_are_gathered_anew_are_those_that_are_gathered_once(tmp_path: Path) -> None:
    _, config = both(tmp_path)
    data = operator_data(config)
    x, y = tensors(data.validation, config)
    model = model_specs(config, data.task)[1]
    recipe = make_recipe(config, model, "Ash", len(x), 0, 1)

    def one_hot(y: torch.Tensor) -> torch.Tensor:
        return mlp_targets(y, data.task.kind, data.task.n_outputs, x.dtype)

    batches = GatheredAnew(x, y, recipe, None, one_hot)
    for _ in range(2):  # every chunk of a stack goes through them again
        for (rows, targets), step in zip(batches, recipe.batches, strict=True):
            assert torch.equal(rows, x[step]) and torch.equal(targets, one_hot(y)[step])


def test_a_model_scores_a_bounded_number_of_rows_at_a_time(tmp_path: Path) -> None:
    task = operator_data(both(tmp_path)[1]).task
    assert rows_at_once(task, 5_000) == 5_000
    assert rows_at_once(task, 10_000_000) == MOST_ROWS


def test_a_fault_is_found_in_whatever_block_it_is(tmp_path: Path) -> None:
    named = arrays(600_000, 10)  # two blocks
    named["x"][599_999, 7] = np.nan
    folder = folder_of(tmp_path / "rows", **named)
    with pytest.raises(InputError, match=r"x\[599999, 7\] is nan \(1 such cells\)"):
        rows_of(folder)
    named["x"][599_999, 7] = named["x"][3, 2] = 1e30
    np.save(tmp_path / "rows" / "x.npy", named["x"])
    config = config_of({"source": folder, "standardise": False, "validation": {"fraction": 0.01}})
    with pytest.raises(InputError, match=r"row 4 .*\(so many such numbers: 2\)"):
        all_company_data(config, operator_data(config).scaling)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'", "x.npy: "),
        ("x.npy", b"", "x.npy: "),
        ("note.txt", b"hello", "note.txt: no .npy file"),
        ("y.npy", b"PK\x03\x04", "y.npy: "),
    ],
)
def test_a_folder_of_arrays_holds_nothing_else_and_names_what_is_none(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    folder = folder_of(tmp_path / "rows", **arrays(10))
    (tmp_path / "rows" / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        rows_of(folder)
    assert said in str(caught.value) and "Beside x.npy lie y.npy" in str(caught.value)


def test_an_array_shorter_than_its_header_says_or_of_objects_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "rows", **arrays(10))
    whole = (tmp_path / "rows" / "x.npy").read_bytes()
    (tmp_path / "rows" / "x.npy").write_bytes(whole[:-8])
    with pytest.raises(InputError, match=r"x\.npy: .*size"):
        rows_of(folder)
    np.save(tmp_path / "rows" / "x.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"x\.npy: .*[Oo]bject"):
        rows_of(folder)


def test_x_without_y_and_a_single_array_say_what_to_give(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "rows", x=arrays(10)["x"])
    with pytest.raises(InputError, match="has no array 'y'; it has x"):
        rows_of(folder)
    with pytest.raises(ValueError, match=r"lay x\.npy and y\.npy in a folder"):
        config_of({"source": f"{folder}x.npy"})
    np.save(tmp_path / "rows" / "y.npy", arrays(10)["y"])
    with pytest.raises(InputError, match=r"`data\.columns` describes columns by name"):
        read_file(folder, config_of({"source": folder, "columns": {"a": "numeric"}}).data)


def test_what_does_not_fit_into_memory_says_what_to_do_instead() -> None:
    with pytest.raises(InputError, match=r"are free\. Unpack it, `unzip a/b\.npz -d a/b`"):
        require_room("a/b.npz", 10**16)
    with pytest.raises(InputError, match=r"Write its rows to x\.npy and y\.npy in a folder"):
        require_room("b.parquet", 10**16)


def test_no_room_for_prepared_rows_is_said_before_they_are_written(tmp_path: Path) -> None:
    mapped = rows_of(folder_of(tmp_path / "rows", **arrays(10))).x
    with pytest.raises(InputError, match="name another folder in the environment variable TMPDIR"):
        empty_like_rows(mapped, (10**15, 2), np.float32)


def test_an_arrow_file_is_not_unpacked_beyond_reason(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    frame = pl.DataFrame({"a": np.zeros(70_000_000), "target": np.zeros(70_000_000, np.int8)})
    frame.write_ipc(path, compression="zstd")
    del frame
    with pytest.raises(InputError, match="more than 200 times as many"):
        read_file(str(path), config_of({"source": str(path)}).data)
    pl.DataFrame({"a": pl.repeat(None, 10**9, dtype=pl.Null, eager=True)}).write_ipc_stream(path)
    with pytest.raises(InputError, match=r"would take 8,000,000,000 in memory"):
        read_file(str(path), config_of({"source": str(path)}).data)
    pl.DataFrame({"a": [1.5, 2.5], "target": [0, 1]}).write_ipc(path, compression="lz4")
    assert read_file(str(path), config_of({"source": str(path)}).data).x.tolist() == [[1.5], [2.5]]


def test_a_list_in_a_parquet_file_is_not_unpacked_beyond_reason(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    zeros = pl.Series([pl.Series(np.zeros(70_000_000, np.int8))])
    pl.DataFrame({"a": zeros, "target": [0]}).write_parquet(path)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(InputError, match=r"would take 560,000,008 in memory"):
        read_file(str(path), config_of({"source": str(path)}).data)


@pytest.mark.parametrize("compression", ["zstd", "uncompressed"])
def test_the_footer_of_a_parquet_file_counts_what_lists_hold(
    tmp_path: Path, compression: Any
) -> None:
    path = tmp_path / "rows.parquet"
    lists = [[float(i), i + 0.5, 7.0] for i in range(1000)]
    frame = pl.DataFrame({"a": lists, "b": ["x"] * 1000, "c": [True, False] * 500})
    frame.write_parquet(path, compression=compression, row_group_size=300)
    assert n_values(str(path)) == 5000
    whole = path.read_bytes()
    for size in (0, 3, 8, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="footer"):
            n_values(str(path))
    generator = np.random.default_rng(0)
    for place in generator.integers(len(whole) - 400, len(whole), 200):  # damage is no crash
        path.write_bytes(whole[:place] + bytes([generator.integers(256)]) + whole[place + 1 :])
        with suppress(ValueError):
            assert n_values(str(path)) is not None


def test_the_guides_lines_write_the_arrays_of_a_parquet_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (REPOSITORY / "docs" / "guide.md").read_text(encoding="utf-8")
    section = page[page.index("### Data larger than memory") :]
    lines = section[section.index("```python\n") + 10 :]
    monkeypatch.chdir(tmp_path)
    frame = pl.DataFrame({"a": [1.5, 2.0, 3.0], "target": [0, 1, 0], "b": [4.0, 5.0, 6.5]})
    frame.write_parquet("orders.parquet")
    exec(lines[: lines.index("```")], {})
    raw = rows_of("orders/")
    assert raw.x.tolist() == [[1.5, 4], [2, 5], [3, 6.5]] and raw.y.tolist() == [0, 1, 0]
