"""Import directions, the public surface, and what a process loads."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fl_sv

ROOT = Path(__file__).resolve().parent.parent

FORBIDDEN = {
    "fl_sv": {"flwr", "ray", "clients", "server", "strategies", "benchmarks"},
    "clients": {"server", "strategies", "ray", "benchmarks"},
    "strategies": {"server", "clients", "ray", "benchmarks"},
    "server": {"benchmarks"},
}


def imports(path: Path) -> Iterator[str]:
    """Top-level packages that a module imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_follow_the_direction_of_the_story(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        if "_app" not in path.parts:
            assert not set(imports(path)) & FORBIDDEN[room], path


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")
def test_no_file_of_the_project_is_ignored() -> None:
    """What git ignores, ruff does not check and the wheel does not hold."""
    command = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == ""


def test_only_the_simulation_runs_clients_in_the_servers_process() -> None:
    users = {path.name for path in (ROOT / "server").glob("*.py") if "clients" in imports(path)}
    assert users == {"simulation.py"}


def test_public_names_are_exactly_what_the_library_exports() -> None:
    assert set(dir(fl_sv)) == {*fl_sv.__all__, "distillation"}
    assert all(getattr(fl_sv, name) is not None for name in dir(fl_sv))
    defined = {name for name in vars(fl_sv) if not name.startswith("_")}
    assert all(f"fl_sv.{name}" in sys.modules for name in defined), "a name that is no submodule and not exported"
    with pytest.raises(AttributeError, match="no attribute 'shaply'"):
        _ = fl_sv.shaply


def test_library_alone_loads_neither_torch_nor_flower_nor_ray_nor_scipy() -> None:
    code = "import sys, fl_sv; print([m for m in ('torch', 'flwr', 'ray', 'scipy') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert loaded.stdout.strip() == "[]"


def test_story_is_one_page() -> None:
    assert len((ROOT / "server" / "valuation.py").read_text().splitlines()) <= 110
