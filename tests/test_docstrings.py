"""Examples in docstrings run, and show what the library returns."""

import doctest
import inspect
import math
import pydoc
import shutil
from importlib import import_module
from pathlib import Path

import pytest
import torch

import fl_sv

ROOT = Path(__file__).resolve().parent.parent

WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "fl_sv").rglob("*.py")
    if "_app" not in path.parts and ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_in_docstrings_are_true(module: str) -> None:
    found = import_module(module.removesuffix(".__init__"))
    result = doctest.testmod(found)
    assert not result.failed
    assert result.attempted or "# doctest: +SKIP" in inspect.getsource(found)


PUBLIC = [name for name in fl_sv.__all__ if callable(getattr(fl_sv, name))]


@pytest.mark.parametrize("name", PUBLIC)
def test_help_fits_a_screen_and_names_types_and_shows_an_example(name: str) -> None:
    public = getattr(fl_sv, name)
    assert public.__doc__ and ">>> " in public.__doc__
    assert len(public.__doc__.splitlines()) <= 45
    signature = str(inspect.signature(public))
    for of_another_library in (
        "numpy.",
        "collections.abc",
        "typing.",
        "ForwardRef",
        " object at 0x",
    ):
        assert of_another_library not in signature
    if inspect.isfunction(public):
        shown = pydoc.plain(pydoc.render_doc(public)).splitlines()
        assert sum(max(1, math.ceil(len(line) / 100)) for line in shown) <= 40


def test_examples_on_a_finished_run_are_true_too(
    finished_run: Path, owner_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that docstrings skip, in their order: a run, and what is read from it. The run itself
    is there.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    shutil.copytree(finished_run, tmp_path / "runs" / "first")
    shutil.copy(owner_home / "owner.pub", tmp_path)
    names = {name: getattr(fl_sv, name) for name in fl_sv.__all__} | {"torch": torch}
    names["run"] = lambda config, out: fl_sv.run(config, out, resume=True)
    for name in ("run", "plan", "read_run", "Run", "verify", "load_model"):
        text = inspect.getdoc(getattr(fl_sv, name)) or ""
        assert "+SKIP" in text
        example = doctest.DocTestParser().get_doctest(
            text.replace("  # doctest: +SKIP", ""), dict(names), name, None, None
        )
        assert doctest.DocTestRunner().run(example).failed == 0 < len(example.examples)
