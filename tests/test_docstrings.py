"""Examples in docstrings run, and show what the library returns."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "fl_sv").rglob("*.py")
    if "_app" not in path.parts and ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_in_docstrings_are_true(module: str) -> None:
    result = doctest.testmod(import_module(module.removesuffix(".__init__")))
    assert result.attempted and not result.failed


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("fl_sv.law.fit", "Law"),
        ("fl_sv.law.fit", "fit_law"),
        ("fl_sv.values", "banzhaf"),
        ("fl_sv.values", "estimate_shapley"),
        ("fl_sv.values", "interactions"),
        ("fl_sv.values", "least_core"),
        ("fl_sv.values", "owen"),
        ("fl_sv.values", "prenucleolus"),
        ("fl_sv.values", "semivalue"),
        ("fl_sv.values", "shapley"),
    ],
)
def test_what_the_library_exports_shows_an_example(module: str, name: str) -> None:
    assert ">>> " in getattr(import_module(module), name).__doc__
