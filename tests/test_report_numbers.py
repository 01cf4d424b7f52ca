"""Every number of the report is a number of a table, written by one rule.

The tables are read here with nothing of the report's own code.

pytest tests/test_report_numbers.py
"""

import csv
import json
import math
import re
from html import unescape
from itertools import pairwise, permutations
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from fl_sv.report.certainty import certain_probability
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from tests.report_games import game_of_kind
from tests.report_runs import PageText, cents

NBSP = "\N{NO-BREAK SPACE}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Five companies, the last of which does harm."""
    return game_of_kind("harm", tmp_path_factory.mktemp("harm") / "run")


@pytest.fixture(scope="module")
def page(run: RunDirectory) -> str:
    return run.read_text(files.REPORT)


@pytest.fixture(scope="module")
def tables(page: str) -> dict[str, list[list[str]]]:
    """Every table of the page by its caption."""
    captions = map(unescape, re.findall(r"<caption>(.*?)</caption>", page))
    return dict(zip(captions, PageText(page).tables, strict=True))


@pytest.fixture(scope="module")
def valuation(run: RunDirectory) -> dict:  # type: ignore[type-arg]
    return json.loads(run.read_text(files.VALUATION))


def rows_of(run: RunDirectory, name: str) -> list[dict[str, str]]:
    with run.file(name).open() as file:
        return [*csv.DictReader(file)]


def table(tables: dict[str, list[list[str]]], part: str) -> list[list[str]]:
    (found,) = [rows for caption, rows in tables.items() if part in caption]
    return found


def percent(share: float) -> str:
    return f"{100 * share:,.1f}{NBSP}%".replace("-0.0", "0.0")


def number(value: float) -> str:
    return f"{value:,.4f}".replace("-0.0000", "0.0000")


def means(run: RunDirectory, model: str, column: str) -> dict[int, float]:
    found: dict[int, list[float]] = {}
    for row in rows_of(run, files.UTILITIES):
        if row["model"] == model:
            found.setdefault(int(row["coalition"]), []).append(float(row[column]))
    return {coalition: fmean(numbers) for coalition, numbers in found.items()}


def test_the_payouts_are_those_of_the_tables(
    run: RunDirectory,
    tables: dict[str, list[list[str]]],
    valuation: dict,  # type: ignore[type-arg]
) -> None:
    rows = table(tables, "EUR for five companies")[1:]
    examples = {row["company"]: int(row["examples"]) for row in rows_of(run, files.COMPANIES)}
    amounts = {row["company"]: int(row["amount_cents"]) for row in rows_of(run, files.PAYOUTS)}
    values = {company["name"]: company for company in valuation["companies"]}
    for name, n_examples, value, interval, share, paid, _, _ in rows[:-1]:
        company = values[name]
        assert n_examples == f"{examples[name]:,}"
        assert value == number(company["value"]) and share == percent(company["share"])
        assert interval == f"{number(company['low'])} to {number(company['high'])}"
        assert cents(paid) == amounts[name]
    assert [cents(row[5]) for row in rows[:-1]] == sorted(amounts.values(), reverse=True)
    assert cents(rows[-1][5]) == sum(amounts.values())


def test_the_waterfall_ends_with_nothing_left(run: RunDirectory, page: str) -> None:
    section = page[page.index('id="waterfall"') : page.index('id="order"')]
    left = [cents(text) for text in re.findall(rf"EUR, ([\d,.]+){NBSP}EUR left</title>", section)]
    paid = sorted((int(row["amount_cents"]) for row in rows_of(run, files.PAYOUTS)), reverse=True)
    whole = sum(paid)
    assert [a - b for a, b in pairwise([whole, *left])] == paid and left[-1] == 0


def test_what_is_reached_is_the_mean_accuracy_of_the_small_model(
    run: RunDirectory, tables: dict[str, list[list[str]]], page: str
) -> None:
    accuracy, large = means(run, "mlp-8", "accuracy"), means(run, "mlp-64", "loss")
    companies = run.config.companies
    *rows, foot = table(tables, "losses of the large model, predicted ones with *")[1:]
    for name, without, alone, loss_without, loss_alone in rows:
        own = 1 << companies.index(name)
        assert without == percent(accuracy[31 - own]) and alone == percent(accuracy[own])
        assert loss_alone == number(large[own]) and loss_without.endswith("*")
        assert f"Without {name}: {without}" in page and f"{name} alone: {alone}" in page
    assert foot[1:] == [percent(accuracy[31])] * 2 + [number(large[31])] * 2


def test_strengths_are_sums_of_the_values_of_single_examples(
    run: RunDirectory, tables: dict[str, list[list[str]]]
) -> None:
    with np.load(run.file(files.VALIDATION)) as arrays:
        values, companies = arrays["values"], arrays["companies"].tolist()
        names, groups = arrays["group_names"].tolist(), arrays["groups"]
    total = values.mean(axis=1).sum()
    head, *rows, foot = table(tables, "Gain by class")
    assert head[1:] == names

    def part(of_companies: np.ndarray, group: int) -> str:  # type: ignore[type-arg]
        of_group = math.fsum(of_companies[groups == group].tolist()) / len(groups)
        return f"{100 * of_group / total:.1f}".replace("-0.0", "0.0")

    for name, *cells in rows:
        mine = values[companies.index(name)]
        assert cells == [part(mine, group) for group in range(10)]
    assert foot[1:] == [part(values.sum(axis=0), group) for group in range(10)]


def test_what_is_added_by_place_has_the_value_as_its_mean(
    tables: dict[str, list[list[str]]],
    valuation: dict,  # type: ignore[type-arg]
) -> None:
    values = {company["name"]: company["value"] for company in valuation["companies"]}
    rows = table(tables, "What a company adds by its place")[1:]
    assert {row[0] for row in rows} == {*values}
    for name, *added in rows:
        mean = fmean(float(text) for text in added)
        assert mean == pytest.approx(values[name], abs=1e-4)


def test_overlaps_are_symmetric_and_those_of_two_companies_follow_from_four_losses(
    tables: dict[str, list[list[str]]], tmp_path: Path
) -> None:
    cells = [row[1:] for row in table(tables, "Interaction of each two companies")[1:]]
    assert cells == [list(column) for column in zip(*cells, strict=True)]
    run = game_of_kind("two", tmp_path / "run")  # the large model is measured everywhere
    loss = means(run, "mlp-64", "loss")
    both = loss[1] + loss[2] - loss[3] - loss[0]
    captions = re.findall(r"<caption>(.*?)</caption>", run.read_text(files.REPORT))
    two = dict(zip(captions, PageText(run.read_text(files.REPORT)).tables, strict=True))
    shown = float(table(two, "Interaction of each two companies")[1][2])
    assert shown == pytest.approx(100 * both / (loss[0] - loss[3]), abs=0.5)  # seed noise


def test_the_curve_is_the_teachers(
    run: RunDirectory, tables: dict[str, list[list[str]]], page: str
) -> None:
    rows = table(tables, "The teacher by round")[1:]
    assert rows == [
        [row["round"], number(float(row["loss"])), percent(float(row["accuracy"]))]
        for row in rows_of(run, files.TEACHER)
    ]
    for rounds, loss, accuracy in rows:
        assert f"Round {rounds}: {loss}<" in page and f"Round {rounds}: {accuracy}<" in page


def test_an_order_is_called_certain_by_the_probability_in_the_table(
    tables: dict[str, list[list[str]]],
    valuation: dict,  # type: ignore[type-arg]
) -> None:
    assert certain_probability(0.9) == pytest.approx(0.95)
    rows = table(tables, "Neighbours in rank")[1:]
    assert rows == [
        [
            pair["first"],
            pair["second"],
            percent(math.floor(1000 * pair["probability"]) / 1000),
            "yes" if pair["probability"] >= 0.95 else "no",
        ]
        for pair in valuation["order"]
    ]


def test_every_percentage_of_a_reason_is_in_a_table(
    run: RunDirectory, tables: dict[str, list[list[str]]], page: str
) -> None:
    """Of what is reached: those of the first screen, and no other number is there."""
    reached = {cell for row in table(tables, "predicted ones with *")[1:] for cell in row}
    why = [unescape(text) for text in re.findall(r'class="why">(.*?)</span>', page)]
    assert len(why) == 5
    for sentence in why:
        if "of its gain" not in sentence:
            assert set(re.findall(rf"[\d.,]+{NBSP}%", sentence)) <= reached


def test_a_value_is_the_mean_over_all_orders(run: RunDirectory, valuation: dict) -> None:  # type: ignore[type-arg]
    """The small model's values, by the definition: the page says that a value is this mean."""
    loss = means(run, "mlp-8", "loss")
    orders = [*permutations(range(5))]
    for i, company in enumerate(valuation["companies"]):
        added = []
        for order in orders:
            before = sum(1 << j for j in order[: order.index(i)])
            added.append(loss[before] - loss[before | 1 << i])
        assert fmean(added) == pytest.approx(company["small_value"])
