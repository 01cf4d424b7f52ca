"""A table as it leaves a spreadsheet: from the file to payouts, with a config of a dozen lines."""

import random
from pathlib import Path

import fl_sv
from fl_sv.config import load_config
from fl_sv.data import all_company_data, operator_data
from fl_sv.data.infer import proposal
from tests.runs import Command

SHOPS = {
    "Nord": "Nord",
    "Sued": "Süd",
    "Ost": "Ost",
    "West": "West",
    "Mitte": "Mitte",
    "Hafen": "Hafen",
}
CONFIG = """\
companies: [Nord, Sued, Ost, West, Mitte, Hafen]
data:
  source: orders.csv
  target: Urteil
  csv: {separator: ";", decimal: ",", thousands: ".", encoding: cp1252, empty: ["k. A."]}
  columns:
    Bestellt: {kind: date, format: "%d.%m.%Y", parts: [month, weekday]}
    Gewicht (g): {kind: numeric, missing: indicator}
    Farbe: {kind: category, missing: category}
    Geschenk: boolean
    PLZ: ignore
    Urteil: {kind: label, classes: [schlecht, gut]}
  partition: {kind: column, column: Filiale, owners: OWNERS}
models: {small: [{kind: mlp, hidden: [4]}], large: {kind: mlp, hidden: [16]}}
training: {rounds: 1, learning_rate: 0.2, seeds: 1}
payouts: {pot: {kind: fixed, cents: 100000}}
"""


def german(number: float, decimals: int) -> str:
    return f"{number:,.{decimals}f}".translate(str.maketrans(",.", ".,"))


def spreadsheet(path: Path) -> dict[str, int]:
    """Six shops, 240 orders; how many orders each shop has."""
    rng = random.Random(7)
    count = dict.fromkeys(SHOPS.values(), 0)
    lines = ["Filiale;Bestellt;Gewicht (g);Preis;Farbe;Geschenk;PLZ;Urteil"]
    for i in range(240):
        shop = [*count][i % 6] if i < 120 else rng.choice([*count])
        weight, colour, gift = rng.uniform(1, 9000), rng.choice("rgb"), rng.random() < 0.5
        is_good = weight / 9000 + 0.6 * (colour == "r") + 0.4 * gift > 0.9
        cells = (
            f'"{shop}"',
            f"{rng.randint(1, 28):02}.{rng.randint(1, 12):02}.2025",
            german(weight, 0) if rng.random() > 0.1 else rng.choice(["", "k. A."]),
            german(rng.uniform(1, 2000), 2),
            {"r": "rot", "g": "grün", "b": ""}[colour],
            "ja" if gift else "nein",
            f"{rng.randint(1000, 99999):05}",
            "gut" if is_good else "schlecht",
        )
        lines.append(";".join(cells))
        count[shop] += 1
    path.write_bytes("\r\n".join(lines).encode("cp1252"))
    return count


def test_a_spreadsheet_of_six_shops_is_paid_out_with_no_step_in_between(
    tmp_path: Path, command: Command
) -> None:
    orders = spreadsheet(tmp_path / "orders.csv")
    path = tmp_path / "run.yaml"
    owners = ", ".join(f"{name}: {value}" for name, value in SHOPS.items())
    path.write_text(CONFIG.replace("OWNERS", f"{{{owners}}}"))
    run = fl_sv.run(path, tmp_path / "out")
    assert sum(run.payouts.values()) == 100_000
    assert [*run.payouts] == [*SHOPS]
    config = load_config(path)
    operator = operator_data(config)
    assert operator.scaling.features == (
        "Bestellt.month",
        "Bestellt.weekday",
        "Gewicht (g)",
        "Gewicht (g).missing",
        "Preis",
        "Farbe=grün",
        "Farbe=rot",
        "Farbe.missing",
        "Geschenk",
    )
    rows = all_company_data(config, operator.scaling)
    assert len(operator.validation) + sum(map(len, rows.values())) == sum(orders.values()) == 240
    # The model takes raw rows: no target, the columns in another order, and a colour of its own.
    new = tmp_path / "new.csv"
    lines = (tmp_path / "orders.csv").read_bytes().decode("cp1252").splitlines()[:5]
    cells = [line.split(";")[6:0:-1] for line in lines]
    new.write_text("\n".join(map(";".join, cells)), encoding="cp1252")
    answer = command("predict", tmp_path / "out", new)
    assert answer.code == 0
    assert answer.err == "fl-sv: the shares are p_0 of schlecht, p_1 of gut.\n"
    found = [line.split(",") for line in answer.out.splitlines()]
    assert found[0] == ["prediction", "p_0", "p_1"]
    assert all(text == ("gut" if float(p_1) > 0.5 else "schlecht") for text, _, p_1 in found[1:])
    cells[1][2] = "lila"
    new.write_text("\n".join(map(";".join, cells)), encoding="cp1252")
    answer = command("predict", tmp_path / "out", new)
    assert answer.code == 0
    assert f"{new}: 1 cell holds a word that the operator's rows and the config" in answer.err


def test_the_same_spreadsheet_is_asked_about_what_a_person_must_say(tmp_path: Path) -> None:
    spreadsheet(tmp_path / "orders.csv")
    text = proposal(str(tmp_path / "orders.csv"), "Urteil", "Filiale")
    marked = [line.split(":")[0].strip() for line in text.splitlines() if ": <answer>" in line]
    assert marked == ["empty", "Gewicht (g)", "Farbe", "PLZ"]
