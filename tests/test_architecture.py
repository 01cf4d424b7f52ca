"""Import directions, the public surface, and what a process loads."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fl_sv
from tests.runs import loaded_by

ROOT = Path(__file__).resolve().parent.parent

# The rooms of the library on their floors, in the order in which data meet them. A room uses what
# lies on the floors before its own. What lies in no room (errors, streams, ...) serves all of them.
FLOORS = (
    ("config",),
    ("data", "game", "distillation", "flower"),
    ("values", "training", "audit"),
    ("law",),
    ("valuation",),
    ("design",),
    ("payment", "planning"),
    ("runs",),
    ("report", "deployment"),
    ("federation", "projects"),
)
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
SERVING = {
    "csv_text",
    "errors",
    "files",
    "machine",
    "numbers",
    "plugins",
    "progress",
    "streams",
    "terminal",
    "text",
    "version",
}
# they open rooms; `app` and the version are asked for from inside
DOORS = {"__init__", "api", "app", "cli"}

OUTSIDE = {
    "fl_sv": {"flwr", "ray", "clients", "server", "strategies", "benchmarks"},
    "clients": {"server", "strategies", "ray", "benchmarks"},
    "strategies": {"server", "clients", "ray", "benchmarks"},
    "server": {"benchmarks"},
    "benchmarks": {"tests"},
}


def imports(path: Path) -> Iterator[str]:
    """Modules that a module imports anywhere, names from packages included: `fl_sv.game.csv`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages(path: Path) -> set[str]:
    """The top-level packages of what a module imports."""
    return {name.split(".")[0] for name in imports(path)}


def library() -> Iterator[tuple[str, Path]]:
    """Every module of the library with its room, or its own name where it lies in none."""
    folder = ROOT / "fl_sv"
    for path in sorted(folder.rglob("*.py")):
        first = path.relative_to(folder).parts[0].removesuffix(".py")
        if first != "_app":
            yield first, path


@pytest.mark.parametrize("package", OUTSIDE)
def test_imports_follow_the_direction_of_the_story(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        if "_app" not in path.parts:
            assert not packages(path) & OUTSIDE[package], path


def test_every_room_has_a_floor() -> None:
    assert {room for room, _ in library()} == {*FLOOR, *SERVING, *DOORS}


@pytest.mark.parametrize("room", FLOOR)
def test_a_room_uses_only_rooms_on_floors_before_its_own(room: str) -> None:
    for path in (ROOT / "fl_sv" / room).rglob("*.py"):
        used = {name.split(".")[1] for name in imports(path) if name.startswith("fl_sv.")}
        others = (used & {*FLOOR}) - {room}
        assert all(FLOOR[other] < FLOOR[room] for other in others), (path, others)


def test_what_serves_all_rooms_uses_none() -> None:
    for name in SERVING:
        used = {module for module in imports(ROOT / "fl_sv" / f"{name}.py") if "fl_sv." in module}
        assert not {module.split(".")[1] for module in used} & {*FLOOR}, name


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")
def test_no_file_of_the_project_is_ignored() -> None:
    """What git ignores, ruff does not check and the wheel does not hold."""
    command = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert (
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == ""
    )


def test_only_the_simulation_runs_clients_in_the_servers_process() -> None:
    users = {path.name for path in (ROOT / "server").glob("*.py") if "clients" in packages(path)}
    assert users == {"simulation.py"}


def test_public_names_are_exactly_what_the_library_exports() -> None:
    assert set(dir(fl_sv)) == {*fl_sv.__all__, "distillation"}
    assert all(getattr(fl_sv, name) is not None for name in dir(fl_sv))
    defined = {name for name in vars(fl_sv) if not name.startswith("_")}
    assert all(f"fl_sv.{name}" in sys.modules for name in defined), (
        "a name that is no submodule and not exported"
    )
    with pytest.raises(AttributeError, match="no attribute 'shaply'"):
        _ = fl_sv.shaply


def test_library_loads_neither_torch_nor_flower_nor_ray_nor_scipy() -> None:
    assert not loaded_by("import fl_sv", "torch", "flwr", "ray", "scipy")


def test_command_line_loads_nothing_heavy_until_it_knows_the_command() -> None:
    parse = "from fl_sv.cli import _parser; _parser()"
    assert not loaded_by(parse, "pydantic", "numpy", "yaml", "rich")


def test_story_is_one_page() -> None:
    assert len((ROOT / "server" / "valuation.py").read_text().splitlines()) <= 110


# --- the style of the house -----------------------------------------------------------------------

# Axes of arrays: companies, coalitions, small sizes, seeds, validation examples, rows of a batch,
# classes. A suffix of other letters would be a second alphabet; other axes have words.
SHAPE = re.compile(r"[a-z]\w*_([A-Z]+)")
LETTERS = set("NCMRVBK")
OWN_CODE = ("fl_sv", "server", "clients", "strategies", "benchmarks")


def own_code() -> list[Path]:
    paths = (path for package in OWN_CODE for path in (ROOT / package).rglob("*.py"))
    return [path for path in sorted(paths) if "_app" not in path.parts]


def test_shape_letters_mean_one_thing_each() -> None:
    for path in own_code():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "arg", None) or getattr(node, "id", None)
            if isinstance(name, str) and (shape := SHAPE.fullmatch(name)):
                assert set(shape[1]) <= LETTERS, f"{path}: {name}"


def test_a_file_has_at_most_400_lines_and_a_function_60_besides_its_docstring() -> None:
    for path in own_code():
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                first = node.body[0]
                has_docstring = ast.get_docstring(node) is not None
                described = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
                length = node.end_lineno - node.lineno + 1 - described
                assert length <= 60, f"{path}: {node.name}"
