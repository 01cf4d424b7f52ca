"""How a .csv file seems to be written: its encoding, its separator, and whether it has a header."""

import codecs
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from fl_sv.config.columns import ANSWER, Csv
from fl_sv.config.dialect import yaml_line
from fl_sv.csv_text import CHUNK
from fl_sv.data.cells import LIKE_A_NUMBER
from fl_sv.data.csv_file import has_old_line_ends, records
from fl_sv.errors import InputError
from fl_sv.files import require_regular

SEPARATORS = (",", ";", "tab", "|")
MOST_RECORDS = 1000  # that are looked at for the separator
OF_MACS = ("mac-roman", "cp1252")
MOST_ABOVE = 20  # lines above a header
UNDEFINED = b"\x81\x8d\x8f\x90\x9d"  # bytes that no letter has in cp1252


@dataclass(frozen=True)
class Remark:
    """A line of a proposal, with what is said of it.

    key, value: as in a config. said: the sentence above it; empty where nothing need be said.
    A value that is or holds ANSWER is a question.
    row: of the cell that the sentence names with `{at}`; None where it names none.
    meant: what the rest of the proposal takes for an answer, where that is a number of lines.
    """

    key: str
    value: Any
    said: str = ""
    row: int | None = None
    meant: int = 0


def sniffed(path: str) -> tuple[Csv, list[Remark]]:
    """How the file seems to be written, with the keys of `data.csv` that are not the default.

    Raises InputError or OSError when it is no table.
    """
    require_regular(Path(path))
    remarks = []
    encoding, said = _encoding(path)
    if said:
        remarks.append(Remark("encoding", encoding, said))
    known = Csv.model_validate({"encoding": encoding.replace(ANSWER, "latin-1")})
    note = _note_of_excel(path, known)
    known = known.model_copy(update={"skip": int(note)})
    found = {sign: _layout(path, _parted(known, sign)) for sign in SEPARATORS}
    above = min((each.above for each in found.values() if each.width > 1), default=0)
    fitting = sorted(
        (sign for sign in SEPARATORS if found[sign].width > 1 and found[sign].above == above),
        key=lambda sign: found[sign].width,
    )
    if not fitting:
        raise InputError(_unparted(path, known))
    if len(fitting) > 1:
        said = f"what parts the cells of a line? {' and '.join(fitting)} both would"
        remarks.append(Remark("separator", ANSWER, said))
    elif fitting != [","]:
        remarks.append(Remark("separator", fitting[0], "every line has as many of them"))
    csv = _parted(known, fitting[-1])
    if above:
        said = f"line {above + 1} is the first one with a cell for each column"
        remarks.append(Remark("skip", above, said))
        csv = csv.model_copy(update={"skip": above})
    elif note:
        remarks.append(Remark("skip", 1, "the first line is a note of Excel"))
    remarks += (doubt := _header_in_doubt(path, csv))
    if doubt:
        update = {"header": False} if doubt[0].key == "header" else {"skip": doubt[0].meant}
        csv = csv.model_copy(update=update)
    return csv, remarks


@dataclass(frozen=True)
class _Layout:
    """How a separator parts the lines of a file.

    width: cells of every line; 0 where they differ. above: lines that come before, a title or a
    note of Excel.
    """

    width: int
    above: int = 0


def _layout(path: str, csv: Csv) -> _Layout:
    try:
        found = [each for each in islice(records(path, csv), MOST_RECORDS) if each[1]]
    except OSError:
        return _Layout(0)
    first = 0  # of the lines that have as many cells as the last one
    while first < min(len(found), MOST_ABOVE) and len(found[first][1]) == 1 < len(found[-1][1]):
        first += 1
    widths = {len(record) for _, record in found[first:]}
    if len(widths) != 1:
        return _Layout(0)
    return _Layout(widths.pop(), found[first][0] - 1 if first else 0)


def _note_of_excel(path: str, csv: Csv) -> bool:
    try:
        first = next((record for _, record in records(path, csv) if record), [""])
    except OSError:
        return False
    return first[0].casefold().startswith("sep=")


def _unparted(path: str, csv: Csv) -> str:
    """The message where no separator parts every line alike."""
    faults = []
    for sign in SEPARATORS:
        try:
            found = [each for each in islice(records(path, _parted(csv, sign)), 2) if each[1]]
        except OSError as error:
            faults.append(str(error.strerror))
            continue
        if not found:
            return f"{path} is empty. Give a header line with the columns' names and a row."
        if len(found) == 2 and 1 < len(found[0][1]) == len(found[1][1]) - 1:
            return (
                f"{path}, line {found[1][0]}: {len(found[1][1])} cells, and the header one less."
                " R's write.table leaves out the name of the rows' names: write it with"
                " `col.names=NA`, or with `row.names=FALSE`."
            )
    if len(faults) == len(SEPARATORS):
        return f"{path} cannot be read: {faults[0].rstrip('.')}."
    return (
        f"{path}: no separator ({', '.join(SEPARATORS)}) parts every line into as many cells"
        " as its first line, at least two. Give a header line and one cell a column, not parted by"
        " blanks."
    )


def _header_in_doubt(path: str, csv: Csv) -> list[Remark]:
    """The question which line names the columns, or whether one does."""
    found = [each for each in islice(records(path, csv), MOST_ABOVE) if each[1]]
    line, first = found[0]
    filled = [cell for cell in first if cell.strip()]
    certain = any(_is_value(cell) and not cell.strip().isdecimal() for cell in filled)
    if filled and (certain or all(map(_is_value, filled))):
        said = f"does the first line name the columns, true or false? It is {_shown(first)}"
        return [Remark("header", ANSWER, said)]
    empty = [sum(not cell.strip() for cell in record) for _, record in found]
    fuller = next(
        (
            (other, record)
            for (other, record), n_empty in zip(found, empty, strict=True)
            if n_empty < empty[0] and not any(map(_is_value, record))
        ),
        None,
    )
    if fuller is None or len(found) < 2:
        return []
    other, record = fuller
    said = (
        f"which line names the columns? {line} is {_shown(first)}, {other} is {_shown(record)}."
        f" Give the number of lines above it: {line - 1} or {other - 1}"
    )
    return [Remark("skip", ANSWER, said, meant=other - 1)]


def _is_value(cell: str) -> bool:
    """Whether a cell holds a number or a date, as names of columns seldom do."""
    text = cell.strip()
    return bool(LIKE_A_NUMBER.fullmatch(text) or re.fullmatch(r"[0-9]+([-./])[0-9]+\1[0-9]+", text))


def _shown(record: list[str]) -> str:
    return yaml_line([cell[:30] for cell in record[:10]])


def _parted(csv: Csv, sign: str) -> Csv:
    return csv.model_copy(update={"separator": sign})


def _encoding(path: str) -> tuple[str, str]:
    """The encoding, and what must be said of it; nothing of UTF-8."""
    with Path(path).open("rb") as file:
        start = file.read(CHUNK)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", "its first bytes say so"
    if b"\0" in start:
        raise InputError(
            f"{path} holds NUL bytes, as no text in UTF-8 or cp1252 does, and UTF-16 begins with a"
            " mark. Save it as UTF-8."
        )
    if _is_utf_8(path):
        return "utf-8", ""
    place = next(i for i, byte in enumerate(start) if byte > 127) if not start.isascii() else 0
    around = start[max(0, place - 10) : place + 10].splitlines()
    sample = next((line for line in around if not line.isascii()), b"")
    if has_old_line_ends(path):
        both = " and ".join(f"with {name} {sample.decode(name)!r}" for name in OF_MACS)
        return ANSWER, f"no UTF-8, and line ends as old Macs had them: it reads {both}"
    if any(byte in start for byte in UNDEFINED):
        return ANSWER, "no bytes of UTF-8, and some that cp1252 has not: cp850, mac-roman, cp1251?"
    return "cp1252", f"no UTF-8; with cp1252 (Windows) it reads {sample.decode('cp1252')!r}"


def _is_utf_8(path: str) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(CHUNK):
                decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
