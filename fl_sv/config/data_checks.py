"""What the keys of the section `data` must agree on. Checks raise ValueError as all others do."""

import re

from fl_sv.config.base import (
    DATA_FILES,
    FOLDER,
    REFERENCE,
    TEXT_FILES,
    is_data_path,
    spreadsheet_hint,
)
from fl_sv.config.columns import Label, Numeric
from fl_sv.config.data import BUILT_IN_SOURCES, ColumnPartition, Data, Duplicate

SKEWS = ("dirichlet", "pathological", "shards")  # partitions by class labels


def check_data(data: Data) -> None:
    """The source exists, has the keys that it needs, and no others."""
    is_function = re.fullmatch(REFERENCE, data.source) is not None
    is_file = is_data_path(data.source)
    if not (data.source in BUILT_IN_SOURCES or data.source == "own" or is_file or is_function):
        if data.source.endswith(".npy"):
            raise ValueError(
                f"data.source: {data.source} is a single array; lay x.npy and y.npy in a folder and"
                " give the folder, such as rows/"
            )
        raise ValueError(
            f"data.source: there is no source {data.source!r}; allowed are"
            f" {', '.join(BUILT_IN_SOURCES)}, own, a file ({', '.join(DATA_FILES)}; texts:"
            f" {', '.join(TEXT_FILES)}), a folder (its path ends in /) or module:function"
            f"{spreadsheet_hint(data.source)}"
        )
    if data.options and not is_function:
        raise ValueError(
            f"data.options: only a module:function takes options, {data.source} takes none"
        )
    natural = BUILT_IN_SOURCES.get(data.source)
    if natural and data.task not in (None, natural):
        raise ValueError(
            f"data.task: {data.source} is a {natural} data set, not {data.task}; leave the key out"
        )
    if data.classes is not None and data.is_regression:
        raise ValueError("data.classes: a regression has no classes; leave the key out")
    _check_texts(data, is_function=is_function)
    if data.source == "own":
        _check_own_source(data)
    else:
        _check_shared_source(data)
    _check_columns(data)
    _check_corruptions(data)
    if data.validation.planted and (data.validation.file is None or data.task == "next_token"):
        raise ValueError(
            "data.validation.planted: it lists rows of `data.validation.file`, and of no texts;"
            " give that key as well, or leave this one out"
        )


def _check_texts(data: Data, *, is_function: bool) -> None:
    """Texts have a tokenizer and a task, and no keys of tables."""
    is_text = data.source.endswith(TEXT_FILES)
    if data.task != "next_token":
        if data.text is not None:
            raise ValueError("data.text: it is for `data.task: next_token`; leave one of them out")
        if is_text and not data.source.endswith(DATA_FILES):
            raise ValueError(
                f"data.source: {data.source} holds texts; set `data.task: next_token` and"
                " `data.text: {tokenizer: PATH}`"
            )
        return
    if data.text is None:
        raise ValueError(
            "data.text: the key is missing; `task: next_token` needs at least {tokenizer: PATH}"
        )
    if is_function or not (is_text or data.source == "own" or data.source.endswith(FOLDER)):
        raise ValueError(
            f"data.source: {data.source} holds no texts; `task: next_token` takes a file"
            f" ({', '.join(TEXT_FILES)}), a folder of such files (its path ends in /) or own"
        )
    if data.inputs != "ids":
        raise ValueError(
            "data.inputs: with `task: next_token` a model is given the ids of tokens; leave the key"
            " out"
        )
    if data.classes is not None:
        raise ValueError(
            "data.classes: with `task: next_token` the classes are the tokenizer's tokens; leave"
            " the key out"
        )


def _check_own_source(data: Data) -> None:
    if data.validation.file is None:
        raise ValueError(
            "data.validation.file: `source: own` needs a validation file of the operator"
        )
    if data.partition is not None:
        raise ValueError(
            "data.partition: with `source: own` every company brings its own rows; leave the key"
            " out"
        )
    if data.task not in ("regression", "next_token") and data.n_classes is None:
        raise ValueError(
            "data.classes: the key is missing; with `source: own` no machine sees all labels,"
            " so give the number of classes, or the texts of a label in `data.columns`"
        )


def _check_shared_source(data: Data) -> None:
    if data.files is not None:
        raise ValueError("data.files: only `source: own` takes a file for each company")
    if data.partition is None:
        raise ValueError(
            "data.partition: the key is missing; give the way in which the rows are divided,"
            " for example {kind: iid}"
        )

    if data.partition.kind in SKEWS and data.is_regression:
        raise ValueError(
            f"data.partition: {data.partition.kind} skews class labels, and a regression has none;"
            " take iid or sizes"
        )


def _check_corruptions(data: Data) -> None:
    for index, corruption in enumerate(data.corruptions):
        if isinstance(corruption, Duplicate) and (
            corruption.of == corruption.company or data.source == "own"
        ):
            raise ValueError(
                f"data.corruptions[{index}]: a duplicate needs two companies and a shared source;"
                " it copies one company's rows to the other"
            )
        if any(
            (other.kind, other.company) == (corruption.kind, corruption.company)
            for other in data.corruptions[:index]
        ):
            raise ValueError(
                f"data.corruptions[{index}]: {corruption.company!r} has two defects of the kind"
                f" {corruption.kind}; give one for both"
            )


def _check_columns(data: Data) -> None:
    """Labels are the target, a quantity is no label, and the owner is no feature."""
    if data.columns and not (data.source == "own" or is_data_path(data.source)):
        raise ValueError(
            f"data.columns: {data.source} has no columns; only .csv and .parquet files have them"
        )
    if isinstance(data.partition, ColumnPartition) and data.partition.column in data.columns:
        raise ValueError(
            f"data.columns: {data.partition.column!r} names the owner (`data.partition.column`) and"
            " is no feature; leave it out here"
        )
    for name, column in data.columns.items():
        if isinstance(column, Label) and name != data.target:
            raise ValueError(
                f"data.columns: {name!r} is a label, and `data.target` is {data.target!r}; only"
                " the target is one, a feature of words is a category"
            )
    target = data.columns.get(data.target)
    if target is not None and not isinstance(
        target, Numeric if data.is_regression else Numeric | Label
    ):
        raise ValueError(
            f"data.columns: the target {data.target!r} is of the kind {target.kind}; allowed is"
            f" numeric{'' if data.is_regression else ' (0, 1, ...) or label, a list of texts'}"
        )
    if isinstance(target, Numeric) and target.missing != "refuse":
        raise ValueError(
            f"data.columns: the target {data.target!r} has `missing: {target.missing}`; a target"
            " that is not known is none, so remove these rows"
        )
    if data.classes not in (None, data.n_classes):
        raise ValueError(
            f"data.classes: {data.classes} given, and the label has {data.n_classes} classes; leave"
            " the key out"
        )
