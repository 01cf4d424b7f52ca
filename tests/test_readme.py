"""What the documents state is true: the example runs, the commands exist, links lead somewhere, the
tree is the tree.
"""

import contextlib
import io
import re
import shutil
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common.command_line import Answer
from fl_sv.cli import main
from tests.runs import Process
from tests.test_architecture import FLOORS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOMS = ("fl_sv", "clients", "server", "strategies", "configs")
# folders whose files a document names by their path from the root
FOLDERS = (*ROOMS, "benchmarks", "tests", "docs", "deploy")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.md")])
# The log keeps the facts and the names of its day.
PRESENT = [page for page in PAGES if page.name != "log.md"]
SHOWN = [
    *PAGES,
    ROOT / "Makefile",
    ROOT / "constraints.txt",
    *(
        path
        for folder in (".ci", ".github")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
    ),
]
REGISTRIES = (
    r"pypi\.org|pythonhosted\.org|download\.pytorch\.org|conda\.anaconda\.org"
    r"|registry\.npmjs\.org|index-url=?\s*http"
)
THIS_MACHINE = r"(?<![\w.])/(?:work|tmp|root|home|Users)\b"


def blocks(text: str, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for name, block in fenced if name == language]


def commands(text: str, program: str) -> set[str]:
    """The commands of `program` that a document shows as code, those of a group with the group's
    name.
    """
    code = "\n".join(
        [*re.findall(r"^    .*$", text, re.MULTILINE), *re.findall(r"`[^`\n]+`", text)]
    )
    return set(
        re.findall(rf"(?:^\s*|`){program} ((?:(?:data|federation) )?[a-z]+)", code, re.MULTILINE)
    )


def heading_link(heading: str) -> str:
    """The fragment by which GitHub links to a heading."""
    return "".join(c for c in heading.lower() if c.isalnum() or c in " -_").replace(" ", "-")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def printed_by(example: str) -> list[str]:
    """The lines that an example of the README prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(example, "README.md", "exec"), {})
    return out.getvalue().splitlines()


def test_run_of_the_readme_prints_what_every_company_is_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    whole_flow, _ = blocks(README, "python")
    lines = [line.split() for line in printed_by(whole_flow)]
    assert [line[0] for line in lines] == ["Ash", "Beech", "Chestnut", "Damson"]
    assert sum(int(line[-1]) for line in lines) == 1_000_000
    assert (tmp_path / "runs" / "smoke" / "report.html").exists()


def test_mathematics_of_the_readme_divide_the_pot() -> None:
    _, mathematics = blocks(README, "python")
    *companies, law = printed_by(mathematics)
    assert [line.split()[0] for line in companies] == ["Ash", "Beech", "Chestnut"]
    cents = [round(100 * float(line.split()[-2].replace(",", ""))) for line in companies]
    assert sum(cents) == 10_000_000
    assert "not tested:" in law


@pytest.mark.slow
def test_plug_ins_of_the_page_run_together(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    for block in blocks(page, "python"):
        (tmp_path / block.splitlines()[0].removeprefix("# ")).write_text(block, encoding="utf-8")
    (config,) = blocks(page, "yaml")
    (tmp_path / "run.yaml").write_text(config, encoding="utf-8")
    run = tmp_path / "run"

    def answer(*arguments: object, **environment: str) -> Answer:
        """Of a process that has imported no plug-in yet."""
        return Process(*arguments, **environment).end()

    done = answer("run", tmp_path / "run.yaml", "--out", run, "--backend", "inline")
    assert done.code == 0, done.err
    assert "Ash" in (run / "payouts.csv").read_text(encoding="utf-8")
    assert "The config asks for my_law:quadratic." in (run / "report.html").read_text(
        encoding="utf-8"
    )
    blind = answer("verify", run)
    assert blind.code == 2 and "law.family: my_law:quadratic cannot be imported" in blind.err
    found = answer("verify", run, PYTHONPATH=str(tmp_path))
    assert found.code == 0, found.err
    law = tmp_path / "my_law.py"
    law.write_text(
        law.read_text(encoding="utf-8").replace("np.array([0.0])", "np.array([0.2])"),
        encoding="utf-8",
    )
    other = answer("report", run, PYTHONPATH=str(tmp_path))
    assert other.code == 2 and "is not the function that the run used" in other.err
    law.write_text("def quadratic(game): raise ValueError(game)", encoding="utf-8")
    broken = answer("verify", run, PYTHONPATH=str(tmp_path))
    assert broken.code == 2 and "the law quadratic raised ValueError" in broken.err
    (run / "law.json").write_text("{}", encoding="utf-8")
    changed = answer("verify", run, PYTHONPATH=str(tmp_path))
    assert changed.code == 1 and "Nothing was computed from it." in changed.err


def help_of(verb: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as end:
        main([*verb.split(), "--help"])
    assert end.value.code == 0, f"there is no command fl-sv {verb}"
    return printed.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_commands_and_options_that_a_document_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(
        r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert commands(text, "make") <= set(targets)
    for verb in sorted(commands(text, "fl-sv")):
        shown = re.findall(rf"\bfl-sv {verb} ([^\n`#]*)", text)
        options = {option for line in shown for option in re.findall(r"--[a-z]+", line)}
        assert all(option in help_of(verb) for option in options | {"--help"}), (
            f"fl-sv {verb}: {sorted(options)}"
        )


def test_readme_shows_every_verb_and_both_make_commands() -> None:
    shown = {command.split()[0] for command in commands(README, "fl-sv")}
    verbs = {"run", "plan", "value", "pay", "report", "verify", "predict", "export"}
    assert shown == verbs | {"data", "federation", "init"}
    assert commands(README, "make") >= {"demo", "test"}


def test_changelog_begins_with_the_version_of_the_package() -> None:
    versions = re.findall(
        r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert versions[0] == project["version"]


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, section = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{relative(page)}: {link}"
        if section:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert section in map(heading_link, headings), f"{relative(page)}: {link}"


def resolve(name: str) -> Any:
    """The module or the attribute of a module that a dotted name stands for."""
    found: Any = import_module(name.split(".")[0])
    known = found.__name__
    for part in name.split(".")[1:]:
        known = f"{known}.{part}"
        is_module = hasattr(found, "__path__") and find_spec(known) is not None
        found = import_module(known) if is_module else getattr(found, part)
    return found


@pytest.mark.parametrize("page", PRESENT, ids=relative)
def test_files_and_names_of_the_library_that_a_document_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in re.findall(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})(?:/[\w.-]*\w)+", text):
        assert (ROOT / path).exists(), f"{relative(page)}: {path}"
    for name in re.findall(r"(?<![\w/])fl_sv(?:\.[A-Za-z_]\w*)+", text):
        try:
            resolve(name)
        except AttributeError as error:
            pytest.fail(f"{relative(page)}: {name}: {error}")
    for name in re.findall(r"-m (benchmarks\.[a-z]\w*)", text):
        assert find_spec(name), f"{relative(page)}: {name}"


def test_names_in_the_code_that_the_glossary_gives_are_there() -> None:
    rows = re.findall(
        r"^\|.*\|([^|]+)\|$",
        (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").partition("## Shapes")[0],
        re.MULTILINE,
    )
    names = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for room in ("fl_sv", "clients", "server", "strategies")
        for path in (ROOT / room).rglob("*.py")
    )
    assert len(names) > 50
    missing = {name for name in names if not re.search(rf"\b{re.escape(name)}\b", code)}
    assert {name for name in missing if not name.startswith("fl_sv.")} == set()


@pytest.mark.parametrize("path", SHOWN, ids=relative)
def test_no_document_names_a_registry_or_a_folder_of_this_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.findall(REGISTRIES, text)
    assert not re.findall(THIS_MACHINE, text)


def test_rooms_of_the_readme_are_the_folders() -> None:
    (rooms,) = [block for block in blocks(README, "") if "valuation.py" in block]
    named: set[str] = set()
    for line in rooms.splitlines():
        inside = "fl_sv/" if line.startswith("  ") else ""
        named |= {inside + folder for folder in re.findall(r"([\w]+)/(?= )", line)}
    there = {
        path.name
        for path in ROOT.iterdir()
        if (path / "__init__.py").exists() or path.name in ("configs", "docs")
    }
    inner = {f"fl_sv/{path.parent.name}" for path in (ROOT / "fl_sv").glob("*/__init__.py")}
    assert there | inner <= named
    assert all((ROOT / folder).is_dir() for folder in named)


def test_floors_that_contributing_shows_are_the_floors() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", page, re.MULTILINE)
    shown = {int(number): tuple(re.findall(r"`(\w+)`", rooms)) for number, rooms in rows}
    assert shown == dict(enumerate(FLOORS, start=1))


def test_tree_is_the_tree() -> None:
    """Every file of the code stands in its folder with a comment, and nothing else does."""
    (tree,) = blocks((ROOT / "docs" / "tree.md").read_text(encoding="utf-8"), "")
    shown: set[str] = set()
    folder = ""
    for line in tree.splitlines():
        if heading := re.match(r"([\w/]+/) ", line):
            folder = heading[1]
        elif line.startswith("  ") and folder.startswith(ROOMS):
            files = re.findall(r"(?:^|  )([\w.]+\.(?:py|yaml|css|js|j2)) +(?=\S)", line)
            assert files, f"no file with a comment: {line}"
            shown |= {folder + name for name in files}
    there = {
        relative(path)
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and not {"__pycache__", "_app"} & set(path.parts)
    }
    assert shown == {name for name in there if not name.endswith(("__init__.py", "py.typed"))}


def test_readme_is_short() -> None:
    assert len(README.splitlines()) < 200
