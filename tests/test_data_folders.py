"""Rows in folders: several files of one company, images by class, images that a table lists."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_sv.config import dump_config, for_companies, load_config, parse_config
from fl_sv.config.columns import Csv
from fl_sv.data import all_company_data, operator_data
from fl_sv.data.raw import RawRows
from fl_sv.data.sources import read_file
from fl_sv.data.unlabelled import read_unlabelled
from fl_sv.errors import InputError
from tests.config_of import config_of
from tests.runs import fl_sv

Image = pytest.importorskip("PIL.Image")


def rows_of(folder: Path, **data: Any) -> RawRows:
    return read_file(f"{folder}/", config_of({"source": f"{folder}/", **data}).data)


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


def image(path: Path, pixel: Any = 0, size: tuple[int, int] = (4, 3), mode: str = "L") -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.new(mode, size, pixel).save(path)
    return path


# --- several files --------------------------------------------------------------------------------


def test_a_folder_has_the_rows_of_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "ash",
        b="b,a,target\n20,2,1\n30,3,0\n",  # the columns in another order
        a="a,b,target\n1,10,0\n",
    )
    (folder / ".hidden").write_text("no row")
    raw = rows_of(folder)
    assert raw.features == ("a", "b")
    assert raw.x.tolist() == [[1, 10], [2, 20], [3, 30]] and raw.y.tolist() == [0, 1, 0]
    assert raw.place(0) == f"{folder}/a.csv, line 2"
    assert raw.place(2) == f"{folder}/b.csv, line 3"


def test_files_of_several_formats_are_one_table(tmp_path: Path) -> None:
    import polars as pl

    folder = write(tmp_path / "ash", a="a,b,target\n1,10,0\n")
    pl.DataFrame({"a": [2.0], "b": [20.0], "target": [1]}).write_parquet(folder / "b.parquet")
    assert rows_of(folder).x.tolist() == [[1, 10], [2, 20]]
    np.savez(folder / "c.npz", x=np.ones((1, 2)), y=np.zeros(1))
    with pytest.raises(InputError, match=r"c\.npz: its features are others: only there nothing"):
        rows_of(folder)


def test_a_described_table_may_have_several_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "ash", a="c,target\nred,yes\n", b="target,c\nno,blue\nyes,red\n")
    label = {"kind": "label", "classes": ["no", "yes"]}
    raw = rows_of(folder, columns={"c": "category", "target": label})
    assert raw.table is not None and raw.table["c"].to_list() == ["red", "blue", "red"]
    assert raw.y.tolist() == [1, 0, 1]


def test_every_file_that_does_not_fit_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "ash", a="a,target\n1,0\n", b="b,target\n1,0\n", c="c,target\n1,0\n")
    with pytest.raises(InputError) as error:
        rows_of(folder)
    text = str(error.value)
    assert f"{folder}/b.csv: its features are others: only there b, and in {folder}/a.csv" in text
    assert f"{folder}/c.csv" in text
    write(folder, a="a,target\nx,0\n", b="a,target\n1,0\n", c="a,target\n1,y\n")
    with pytest.raises(InputError, match=r"(?s)a\.csv, line 2.*found 'x'.*c\.csv, line 2.*'y'"):
        rows_of(folder)


@pytest.mark.parametrize("name", ["readme.txt", "rows.xlsx"])
def test_what_is_no_data_is_not_passed_over(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "ash", a="a,target\n1,0\n")
    (folder / name).write_text("?")
    with pytest.raises(InputError, match=f"holds {name}. It has to hold data files"):
        rows_of(folder)


def test_an_empty_folder_and_none_are_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds nothing\. It has to hold"):
        rows_of(tmp_path / "empty")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        rows_of(tmp_path / "none")


def test_companies_may_hold_folders_and_paths_stay_with_the_operator(tmp_path: Path) -> None:
    for name in ("ash", "beech", "validation"):
        write(tmp_path / name, **dict.fromkeys("xy", "a,target\n1,0\n2,1\n3,0\n4,1\n"))
    (tmp_path / "config.yaml").write_text(
        dump_config(
            config_of(
                {
                    "source": "own",
                    "classes": 2,
                    "files": {"Ash": "ash", "Beech": "beech/"},
                    "validation": {"file": "validation"},
                },
                companies=("Ash", "Beech"),
            )
        )
    )
    config = load_config(tmp_path / "config.yaml")
    rows = all_company_data(config, operator_data(config).scaling)
    assert {name: len(held) for name, held in rows.items()} == {"Ash": 8, "Beech": 8}
    assert str(tmp_path) not in dump_config(for_companies(config))
    check = ("data", "check", tmp_path / "config.yaml", "--company", "Ash")
    assert "examples  8" in fl_sv(*check).out


def test_a_shared_folder_is_a_source(tmp_path: Path) -> None:
    write(tmp_path / "rows", **dict.fromkeys("xy", "a,target\n" + "1,0\n2,1\n" * 20))
    config = config_of({"source": "rows/"})
    (tmp_path / "config.yaml").write_text(dump_config(config))
    config = load_config(tmp_path / "config.yaml")
    assert config.data.source == f"{tmp_path}/rows/"
    assert len(operator_data(config).validation) == 16
    sent = for_companies(config)
    assert sent.data.source == "withheld/"
    assert parse_config(dump_config(sent), "kit") == sent


# --- Arrow ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stream.arrow", "file.arrow", "table.parquet"])
def test_lists_of_one_length_are_columns(tmp_path: Path, kind: str) -> None:
    import polars as pl

    frame = pl.DataFrame(
        {"p": [[1.0, 2.0], [3.0, 4.0]], "g": [[[5, 6]], [[7, 8]]], "z": [9, 10], "target": [0, 1]}
    ).with_columns(pl.col("p").cast(pl.Array(pl.Float32, 2)))
    write = {"s": frame.write_ipc_stream, "f": frame.write_ipc, "t": frame.write_parquet}[kind[0]]
    write(tmp_path / kind)  # type: ignore[operator]
    raw = read_file(str(tmp_path / kind), config_of({"source": "iris"}).data)
    assert raw.features == ("p.0", "p.1", "g.0.0", "g.0.1", "z")
    assert raw.x.tolist() == [[1, 2, 5, 6, 9], [3, 4, 7, 8, 10]]


@pytest.mark.parametrize("lists", [[[1, 2], [3]], [[1], None]])
def test_lists_of_several_lengths_are_refused(tmp_path: Path, lists: Any) -> None:
    import polars as pl

    pl.DataFrame({"p": lists, "target": [0, 1]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="column 'p': all lists need one length; found"):
        read_file(str(tmp_path / "a.parquet"), config_of({"source": "iris"}).data)


def test_a_saved_dataset_is_a_folder_of_its_files(tmp_path: Path) -> None:
    import polars as pl

    folder = tmp_path / "set" / "train"
    folder.mkdir(parents=True)
    for part in range(2):
        frame = pl.DataFrame({"p": [[part, 1]], "target": [part]})
        frame.write_ipc_stream(folder / f"data-0000{part}-of-00002.arrow")
    for name in ("state.json", "dataset_info.json"):
        (folder / name).write_text("{}")
    (folder.parent / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert rows_of(folder).x.tolist() == [[0, 1], [1, 1]]
    with pytest.raises(InputError, match=r"holds several splits: train\. Give that of one"):
        rows_of(folder.parent)
    (folder / "data-00001-of-00002.arrow").write_bytes(b"no arrow")
    with pytest.raises(InputError, match="is not a readable Arrow file"):
        rows_of(folder)


def test_what_hugging_faces_package_saved_is_read() -> None:
    """tests/data/saved_set: `save_to_disk(..., num_shards=2)` by datasets 4.8.5, six rows of a
    list, an Array2D, a number and a ClassLabel.
    """
    raw = rows_of(Path(__file__).parent / "data" / "saved_set")
    assert raw.features[:3] == ("pixels.0", "pixels.1", "grid.0.0") and raw.x.shape == (6, 7)
    assert raw.x[1].tolist() == [1, 1.5, 1, 1, 2, 3, 1.5]
    assert raw.y.tolist() == [0, 1, 0, 1, 0, 1]


# --- images ---------------------------------------------------------------------------------------


def test_images_by_class_are_rows_of_pixels_from_0_to_1(tmp_path: Path) -> None:
    image(tmp_path / "pets" / "cat" / "1.png", 255)
    image(tmp_path / "pets" / "dog" / "a.jpg", 0)
    image(tmp_path / "pets" / "dog" / "b.bmp", 51)
    label = {"kind": "label", "classes": ["dog", "cat"]}
    raw = rows_of(tmp_path / "pets", columns={"target": label})
    assert raw.x.shape == (3, 1, 3, 4) and raw.x.dtype == np.float32
    assert raw.y.tolist() == [1, 0, 0]
    np.testing.assert_allclose(raw.x[:, 0, 0, 0], [1, 0, 0.2], atol=0.01)
    assert raw.place(0) == str(tmp_path / "pets" / "cat" / "1.png")


def test_one_coloured_image_makes_all_of_them_coloured(tmp_path: Path) -> None:
    image(tmp_path / "i" / "0" / "a.png", 255)
    image(tmp_path / "i" / "1" / "b.png", (255, 0, 51), mode="RGB")
    raw = rows_of(tmp_path / "i")
    assert raw.x.shape == (2, 3, 3, 4) and raw.y.tolist() == [0, 1]
    np.testing.assert_allclose(raw.x[1, :, 0, 0], [1, 0, 0.2], atol=1e-6)


def test_the_order_of_classes_is_stated_and_never_guessed(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        image(tmp_path / "pets" / name / "1.png")
    state = r"columns: \{target: \{kind: label, classes: \[cat, dog\]\}\}"
    with pytest.raises(InputError, match=state):
        rows_of(tmp_path / "pets")
    label = {"kind": "label", "classes": ["cat", "cow"]}
    with pytest.raises(InputError, match="the folders 'dog' are no classes of"):
        rows_of(tmp_path / "pets", columns={"target": label})


def test_every_image_that_is_none_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "i" / "0"
    whole = image(folder / "a.png").read_bytes()
    (folder / "b.png").write_bytes(b"no image")
    (folder / "c.png").write_bytes(whole[: len(whole) // 2])
    image(folder / "d.png", (0, 0, 0, 0), mode="RGBA")
    image(folder / "e.png", size=(5, 5))
    with pytest.raises(InputError) as error:
        rows_of(tmp_path / "i")
    lines = str(error.value).splitlines()
    named = [line.split(": ")[0] for line in lines]
    assert named == [str(folder / f"{name}.png") for name in "bcde"]
    assert "no image" in lines[0] and "transparency" in lines[2]
    assert "it has 5 x 5 pixels, 1 images have 4 x 3" in lines[3]


def test_a_picture_of_nothing_cannot_fill_the_memory(tmp_path: Path) -> None:
    for name in "ab":
        image(tmp_path / "i" / "0" / f"{name}.png", size=(9000, 9000))
    with pytest.raises(InputError, match="times as many"):
        rows_of(tmp_path / "i")


def test_a_table_lists_images_with_any_target_and_owner(tmp_path: Path) -> None:
    for name in "abc":
        image(tmp_path / "i" / "sub" / f"{name}.png", ord(name))
    lines = ["file,price,owner", "sub/b.png,1.5,Ash", "sub/a.png,-2,Beech"]
    (tmp_path / "i" / "images.csv").write_text("\n".join(lines) + "\n")
    raw = rows_of(
        tmp_path / "i",
        task="regression",
        target="price",
        partition={"kind": "column", "column": "owner"},
    )
    assert raw.y.tolist() == [1.5, -2] and raw.columns["owner"].tolist() == ["Ash", "Beech"]
    np.testing.assert_allclose(raw.x[:, 0, 0, 0] * 255, [ord("b"), ord("a")], rtol=1e-5)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("../a.png,0", "lies in the folder of images.csv or below it"),
        ("/etc/passwd,0", "lies in the folder of images.csv or below it"),
        ("none.png,0", "No such file"),
        ("a.png,", "have to be the same|state it"),
        (",0", "lies in the folder of images.csv or below it"),
    ],
)
def test_a_list_leads_only_to_images_beside_it(tmp_path: Path, line: str, fault: str) -> None:
    image(tmp_path / "i" / "a.png")
    (tmp_path / "i" / "images.csv").write_text(f"file,target\na.png,0\n{line}\n")
    with pytest.raises(InputError, match=fault):
        rows_of(tmp_path / "i")


def test_a_run_learns_from_folders_of_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        shade = 60 if number % 2 else 200
        pixels = np.clip(rng.normal(shade, 20, (8, 8)), 0, 255).astype(np.uint8)
        path = tmp_path / "i" / ("dark" if number % 2 else "light") / f"{number}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(pixels).save(path)
    config = config_of(
        {
            "source": f"{tmp_path}/i/",
            "columns": {"target": {"kind": "label", "classes": ["dark", "light"]}},
        },
        companies=("Ash", "Beech"),
        training={"rounds": 2, "seeds": 1},
    )
    import fl_sv as library

    run = library.run(config, tmp_path / "run")
    assert run.valuation.utility_grand > run.valuation.utility_empty
    assert fl_sv("verify", tmp_path / "run").code in (0, 3)


# --- images in lists, and what the other commands say of folders ----------------------------------


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_images_in_lists_keep_their_shape(tmp_path: Path, suffix: str) -> None:
    import polars as pl

    pixels = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    path = tmp_path / f"a.{suffix}"
    for rows, shape in ((pixels, (3, 4, 5)), (pixels[:, 0], (1, 4, 5))):
        frame = pl.DataFrame({"image": rows.tolist(), "target": [0, 1], "shop": ["Ash", "Beech"]})
        frame.write_parquet(path) if suffix == "parquet" else frame.write_ipc(path)
        data = {"source": str(path), "partition": {"kind": "column", "column": "shop"}}
        raw = read_file(str(path), config_of(data).data)
        assert raw.x.shape == (2, *shape) and raw.features == ()
        assert np.array_equal(raw.x, rows.reshape(2, *shape))
        assert raw.columns["shop"].tolist() == ["Ash", "Beech"]


def test_channels_that_come_last_are_refused_and_not_taken_for_lines(tmp_path: Path) -> None:
    import polars as pl

    path = tmp_path / "a.parquet"
    frame = pl.DataFrame({"image": np.zeros((2, 8, 8, 3)).tolist(), "target": [0, 1]})
    frame.write_parquet(path)
    with pytest.raises(InputError, match=r"\(8, 8, 3\), with the channels last as it seems"):
        read_file(str(path), config_of({"source": str(path)}).data)


def test_a_proposal_for_a_folder_of_tables_is_that_of_one_table(tmp_path: Path) -> None:
    lines = ["n;shop;target", *(f"{i},5;{'Ash' if i % 2 else 'Beech'};{i % 2}" for i in range(8))]
    head, below = lines[0], lines[1:]
    whole = write(tmp_path / "whole", a="\n".join(lines))
    parts = write(
        tmp_path / "parts", a="\n".join([head, *below[:3]]), b="\n".join([head, *below[3:]])
    )
    one, two = (fl_sv("data", "infer", f, "--target", "target") for f in (whole / "a.csv", parts))
    assert (one.code, two.code) == (0, 0)
    written = one.out.replace(f"{whole}/a.csv", f"{parts}/")
    assert two.out == written.replace("'n', line 2", "'n', a.csv, line 2")
    write(parts, c="n,shop,target\n1.5,Ash,0\n2.5,Ash,1")
    refused = fl_sv("data", "infer", parts)
    assert refused.code == 2 and "are written in two ways" in refused.err


def test_proposals_for_images_arrays_and_texts_say_what_a_config_needs(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        image(tmp_path / "pets" / name / "1.png")
    found = fl_sv("data", "infer", tmp_path / "pets").out
    assert f"  source: {tmp_path}/pets/" in found
    assert "  columns: {target: {kind: label, classes: [cat, dog]}}" in found
    image(tmp_path / "listed" / "1.png")
    write(tmp_path / "listed", images="file,weight,shop\n1.png,2.5,Ash\n1.png,3.5,Beech")
    found = fl_sv("data", "infer", tmp_path / "listed", "--target", "weight", "--owner", "shop").out
    assert "  task: regression" in found and "  partition: {kind: column, column: shop}" in found
    (tmp_path / "arrays").mkdir()
    np.save(tmp_path / "arrays" / "x.npy", np.ones((3, 2)))
    np.save(tmp_path / "arrays" / "y.npy", np.arange(3))
    found = fl_sv("data", "infer", tmp_path / "arrays").out
    assert "arrays have no columns" in found and "  partition: <answer>" in found
    (tmp_path / "a.txt").write_text("A text.")
    assert "  text: {tokenizer: <answer>}" in fl_sv("data", "infer", tmp_path / "a.txt").out


def test_a_bare_check_takes_folders(tmp_path: Path) -> None:
    write(tmp_path / "tables", a="n,target\n1,0\n", b="n,target\n2,1\n")
    found = fl_sv("data", "check", tmp_path / "tables")
    assert found.code == 0 and "rows      2 of shape (1,): n" in found.out
    for name in ("cat", "dog"):
        image(tmp_path / "pets" / name / "1.png")
    found = fl_sv("data", "check", tmp_path / "pets")
    assert found.code == 0 and "cat: 1, dog: 1" in found.out


def test_rows_to_be_predicted_may_lie_in_folders(tmp_path: Path) -> None:
    tables = write(tmp_path / "tables", a="n,m,target\n1,5,0\n2,6,1\n", b="m,n\n7,3\n")
    training = write(tmp_path / "training", a="n,m,target\n1,5,0\n2,6,1\n5,9,1\n8,1,0\n")
    data = {"source": f"{training}/", "validation": {"fraction": 0.5}}
    scaling = operator_data(config_of(data)).scaling
    rows = read_unlabelled(f"{tables}", scaling, ("target",), Csv(), {})
    assert rows.x.tolist() == [[1, 5], [2, 6], [3, 7]]
    assert rows.place(2) == f"{tables}/b.csv, line 2"
    (tmp_path / "arrays").mkdir()
    np.save(tmp_path / "arrays" / "x.npy", np.array([[1.0, 5.0], [2.0, 6.0]]))
    rows = read_unlabelled(f"{tmp_path}/arrays/", scaling, (), Csv(), {})
    assert isinstance(rows.x, np.memmap) and rows.x.tolist() == [[1, 5], [2, 6]]


def test_images_to_be_predicted_are_all_below_a_folder_in_the_models_colours(
    tmp_path: Path,
) -> None:
    for name, pixel in (("0/a", (255, 0, 0)), ("0/b", (0, 255, 0)), ("1/c", (0, 0, 255))):
        image(tmp_path / "pets" / f"{name}.png", pixel, mode="RGB")
        image(tmp_path / "pets" / f"{name}2.png", pixel, mode="RGB")
    image(tmp_path / "pets" / "1" / "d.png", (9, 9, 9), mode="RGB")
    data = {"source": f"{tmp_path}/pets/", "validation": {"fraction": 0.5}}
    scaling = operator_data(config_of(data)).scaling
    image(tmp_path / "new" / "b.png", 51)
    image(tmp_path / "new" / "below" / "a.png", 255)
    rows = read_unlabelled(f"{tmp_path}/new", scaling, (), Csv(), {})
    assert rows.x.shape == (2, 3, 3, 4) and rows.x[:, 0, 0, 0].tolist() == [
        np.float32(0.2),
        1,
    ]
    assert rows.place(1) == f"{tmp_path}/new/below/a.png"
    image(tmp_path / "new" / "b.png", 51, size=(5, 3))
    with pytest.raises(InputError, match="all need one size"):
        read_unlabelled(f"{tmp_path}/new", scaling, (), Csv(), {})
