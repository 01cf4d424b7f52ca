"""Images as rows: a folder for each class, or `images.csv` beside the images that it lists.

Pillow reads them (the extra `images`). All have one size; all are grey, or all become RGB.

Shapes: a row is (channels, height, width), from 0 to 1.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.columns import Label
from fl_sv.config.data import Data
from fl_sv.data.archive import ALWAYS_ALLOWED, MAX_GROWTH
from fl_sv.data.csv_file import read_csv
from fl_sv.data.raw import RawRows
from fl_sv.errors import InputError, listed
from fl_sv.files import require_regular
from fl_sv.numbers import decimal_number, whole_number
from fl_sv.text import one_line

if TYPE_CHECKING:
    from PIL.Image import Image

LIST = "images.csv"
FILE = "file"  # the column of images.csv that names the image
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
GREY, COLOUR = ("1", "L"), ("P", "RGB", "YCbCr", "CMYK")  # Pillow's modes
MOST_FAULTS = 20


def read_images(folder: Path, entries: Sequence[Path], data: Data) -> RawRows:
    """The images of a folder as rows. entries: what it holds.

    Raises InputError that names every image that cannot be a row, twenty at most.
    """
    columns: dict[str, NDArray[Any]] = {}
    if folder / LIST in entries:
        files, y, columns = _listed(folder, data)
        target = f"column {data.target!r} of {LIST}"
    else:
        files, y = _by_class(folder, entries, data)
        target = "the folder's name"
    return RawRows(
        x=_pixels(files, folder),
        y=y,
        origin=str(folder),
        place=lambda row: str(files[row]),
        target=target,
        columns=columns,
    )


def unlabelled_images(folder: Path, channels: int) -> tuple[NDArray[np.float32], list[Path]]:
    """All images in a folder and below it, in the order of their names, and their files.

    channels: of the model; grey images become RGB where it takes 3.

    Raises InputError as `read_images` does.
    """
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.casefold() in SUFFIXES and not file.name.startswith(".")
    )
    if not files:
        raise InputError(
            f"The folder {folder} holds no data file and no image ({', '.join(SUFFIXES)})."
        )
    return _pixels(files, folder, {1: "L", 3: "RGB"}.get(channels)), files


def _by_class(
    folder: Path, entries: Sequence[Path], data: Data
) -> tuple[list[Path], NDArray[np.float64]]:
    """The images in a folder for each class, and their labels."""
    if data.is_regression:
        raise InputError(
            f"{folder}: folders name classes, and `data.task` is regression. Give {LIST} with the"
            f" columns {FILE} and {data.target}."
        )
    strangers = [each.name for each in entries if not each.is_dir()]
    inside = {each: sorted(each.iterdir()) for each in entries if each.is_dir()}
    files = [
        (file, each.name)
        for each, content in inside.items()
        for file in content
        if not file.name.startswith(".")
    ]
    strangers += [
        f"{file.parent.name}/{file.name}"
        for file, _ in files
        if file.suffix.casefold() not in SUFFIXES
    ]
    if strangers or not files:
        raise InputError(
            f"{folder} holds {listed(strangers, 5) or 'no image'}. In a folder for each class only"
            f" images may lie ({', '.join(SUFFIXES)})."
        )
    words = [name for _, name in files]
    return [file for file, _ in files], _labels(words, data, f"{folder}: the folders")


def _listed(
    folder: Path, data: Data
) -> tuple[list[Path], NDArray[np.float64], dict[str, NDArray[Any]]]:
    """The images that images.csv lists, their targets, and its other columns."""
    path = folder / LIST
    try:
        require_regular(path)
        frame, places = read_csv(str(path), data.csv)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    if lacking := [name for name in (FILE, data.target) if name not in frame.columns]:
        raise InputError(
            f"{path} has no column {listed([*map(repr, lacking)])}; it has"
            f" {listed(frame.columns)}. It needs {FILE!r}, and the target (`data.target`)."
        )
    if frame.is_empty():
        raise InputError(f"{path} lists no image below its header. Give at least one.")
    names = [str(name or "") for name in frame[FILE].to_list()]
    outside = [
        f"{places(row)}: {name[:80]!r}"
        for row, name in enumerate(names)
        if not name or Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name
    ]
    if outside:
        raise InputError(
            f"{listed(outside, MOST_FAULTS)}: an image lies in the folder of {LIST} or below it,"
            " and is named from there."
        )
    words = [str(word or "") for word in frame[data.target].to_list()]
    what = f"{path}, column {data.target!r}: the targets"
    y = _quantities(words, what) if data.is_regression else _labels(words, data, what)
    columns = {
        name: np.array([str(cell or "") for cell in frame[name].to_list()])
        for name in frame.columns
        if name not in (FILE, data.target)
    }
    return [folder / name for name in names], y, columns


def _labels(words: Sequence[str], data: Data, what: str) -> NDArray[np.float64]:
    """The class of each word: its place in the label of the config, or the number that it is."""
    known = sorted(set(words))
    label = data.columns.get(data.target)
    if isinstance(label, Label):
        class_of = {text: number for number, text in enumerate(label.classes)}
        if strange := [word for word in known if word not in class_of]:
            raise InputError(
                f"{what} {listed([*map(repr, strange)], MOST_FAULTS)} are no classes of"
                f" `data.columns`, which are {listed(label.classes, MOST_FAULTS)}."
            )
        return np.array([class_of[word] for word in words], dtype=np.float64)
    try:
        return np.array([whole_number(word) for word in words], dtype=np.float64)
    except ValueError:
        raise InputError(
            f"{what} are {listed([*map(repr, known)], MOST_FAULTS)}. The order of the classes has"
            " to be the same at every company, so state it:"
            f" data: {{columns: {{{data.target}: {{kind: label, classes: [{', '.join(known[:20])}]"
            "}}}"
        ) from None


def _quantities(words: Sequence[str], what: str) -> NDArray[np.float64]:
    try:
        return np.array([decimal_number(word) for word in words], dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{what} have to be plain decimal numbers: {error}.") from None


def _pixels(files: Sequence[Path], folder: Path, wanted: str | None = None) -> NDArray[np.float32]:
    """(rows, channels, height, width) the images, once all headers agree.

    wanted: Pillow's mode; without it grey where all are grey.
    """
    headers: dict[Path, tuple[str, tuple[int, int]]] = {}
    faults: list[str] = []
    n_bytes = 0
    for file in files:
        with _fault_of(file, faults), _opened(file) as image:
            n_bytes += file.stat().st_size
            if image.mode not in GREY + COLOUR:
                raise ValueError(
                    f"its mode {image.mode} has transparency or too many bits; save it as grey or"
                    " RGB, 8 bits a channel"
                )
            headers[file] = image.mode, image.size
    if not headers:
        _require_none(faults)
    sizes = Counter(size for _, size in headers.values())
    (width, height), usual = sizes.most_common(1)[0]
    faults += [
        f"{file}: it has {size[0]} x {size[1]} pixels, {usual:,} images have {width} x {height};"
        " all need one size"
        for file, (_, size) in headers.items()
        if size != (width, height)
    ]
    mode = "L" if all(mode in GREY for mode, _ in headers.values()) else "RGB"
    if wanted == "RGB" or (wanted == "L" and mode == "L"):  # colours are not taken away
        mode = wanted
    pixels_bytes = len(files) * len(mode) * width * height * 4
    if pixels_bytes > max(ALWAYS_ALLOWED, MAX_GROWTH * n_bytes):
        raise InputError(
            f"{folder}: its images have {n_bytes:,} bytes and would take {pixels_bytes:,} in"
            f" memory, more than {MAX_GROWTH} times as many. Resize them."
        )
    x = np.empty((len(files), len(mode), height, width), dtype=np.float32)
    whole = [file for file, (_, size) in headers.items() if size == (width, height)]
    for row, file in enumerate(whole):
        with _fault_of(file, faults), _opened(file) as image:
            pixels = np.asarray(image.convert(mode), dtype=np.float32) / 255
            x[row] = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels
    _require_none(faults)
    return x


@contextmanager
def _opened(file: Path) -> "Iterator[Image]":
    try:
        from PIL import Image
    except ImportError:
        raise InputError(
            "Images need the package Pillow: install fl-sv[images] on every machine that reads"
            " them."
        ) from None
    require_regular(file)
    with Image.open(file, formats=FORMATS) as image:
        yield image


@contextmanager
def _fault_of(file: Path, faults: list[str]) -> Iterator[None]:
    """A context whose fault is noted beside the file; Pillow raises many kinds."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of Pillow's decoders
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        why = "it is no image that Pillow reads" if "cannot identify" in why else why
        faults.append(f"{file}: {one_line(why).rstrip('.')}")


def _require_none(faults: Sequence[str]) -> None:
    if faults:
        more = [f"... and {len(faults) - MOST_FAULTS} more images."]
        shown = [*sorted(faults)[:MOST_FAULTS], *more * (len(faults) > MOST_FAULTS)]
        raise InputError("\n".join(shown))
