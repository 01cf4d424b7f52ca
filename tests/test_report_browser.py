"""The report in a real browser: what a person would see go wrong, at every width, light and dark.

pytest tests/test_report_browser.py
"""

import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fl_sv.payment.payouts import money, read_payouts
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from tests.report_games import KINDS, game_of_kind

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]

CHECKS = (Path(__file__).parent / "page_checks.js").read_text(encoding="utf-8")
WIDTHS = {"desktop": (1440, 900), "tablet": (820, 1100), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDirectory]:
    folder = tmp_path_factory.mktemp("kinds")
    return {kind: game_of_kind(kind, folder / kind) for kind in KINDS}


class Shown:
    """A page in the browser, and what its console said."""

    def __init__(self, browser: Any, run: RunDirectory, **context: Any) -> None:
        self.context = browser.new_context(viewport=size("desktop"), **context)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.errors.append(request.url))
        self.address = run.file(files.REPORT).resolve().as_uri()
        self.page.goto(self.address)

    def check(self, name: str) -> Any:
        return self.page.evaluate(f"() => {{ const checks = {CHECKS}; return checks.{name}(); }}")

    def open_all(self, *, opened: bool) -> None:
        self.page.evaluate(
            "opened => document.querySelectorAll('details').forEach(each => each.open = opened)",
            opened,
        )


def size(width: str) -> dict[str, int]:
    return dict(zip(("width", "height"), WIDTHS[width], strict=True))


@pytest.fixture
def show(browser: Any, runs: dict[str, RunDirectory]) -> Iterator[Any]:
    shown: list[Shown] = []

    def of(kind: str, **context: Any) -> Shown:
        shown.append(Shown(browser, runs[kind], **context))
        return shown[-1]

    yield of
    for each in shown:
        each.context.close()
        assert each.errors == [each.address]  # the page itself is all that is ever asked for


# --- what is seen ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_overlaps_or_overflows_at_any_width_and_all_text_can_be_read(
    kind: str, show: Any
) -> None:
    shown = show(kind)
    for width in WIDTHS:
        shown.page.set_viewport_size(size(width))
        for opened in (False, True):
            shown.open_all(opened=opened)
            assert shown.check("overflows") == [], (width, opened)
            assert shown.check("overlaps") == [], (width, opened)
    for scheme in ("light", "dark"):
        shown.page.emulate_media(color_scheme=scheme)
        contrast = shown.check("contrasts")
        assert contrast["wrong"] == [] and contrast["least"] >= 4.5, scheme


def test_the_first_screen_of_eight_companies_holds_the_verdict_and_everybodys_why(
    show: Any,
) -> None:
    page = show("eight").page
    assert page.locator(".stamp").bounding_box()["y"] < 200
    last = page.locator(".payouts .why").last.bounding_box()
    assert last["y"] + last["height"] <= 900
    page.set_viewport_size(size("phone"))
    third = page.locator(".payouts .why").nth(2).bounding_box()
    assert third["y"] + third["height"] <= 844


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "worthless"])
def test_amounts_are_those_of_the_table_the_largest_first(
    kind: str, show: Any, runs: dict[str, RunDirectory]
) -> None:
    page, amounts = show(kind).page, read_payouts(runs[kind].file(files.PAYOUTS))
    names = page.locator(".payouts .name").all_inner_texts()
    assert [*amounts] != names or kind == "charge" or len(names) == 2  # not by config
    shown = page.locator(".payouts .amount").all_inner_texts()
    due = {
        name: money(cents, "EUR", 2).replace(" ", "\N{NO-BREAK SPACE}")
        for name, cents in amounts.items()
    }
    assert dict(zip(names, shown, strict=True)) == due
    assert [amounts[name] for name in names] == sorted(amounts.values(), reverse=True)


def test_bars_are_as_long_as_their_amounts(show: Any, runs: dict[str, RunDirectory]) -> None:
    page, amounts = show("eight").page, read_payouts(runs["eight"].file(files.PAYOUTS))
    names = page.locator(".payouts .name").all_inner_texts()
    widths = [bar.bounding_box()["width"] for bar in page.locator(".payouts rect").all()]
    largest = max(amounts.values())
    for name, width in zip(names, widths, strict=True):
        assert width / widths[0] == pytest.approx(amounts[name] / largest, abs=0.005)


def test_a_run_that_cannot_be_paid_says_what_to_do_and_shows_no_shares(show: Any) -> None:
    page = show("worthless").page
    verdict = page.locator(".verdict").inner_text()
    assert verdict.startswith("Nothing can be paid")
    assert "What to do" in verdict and "no better than the untrained model" in verdict
    assert page.locator(".payouts .amount").last.inner_text().endswith("nats")
    heads = page.evaluate("[...document.querySelectorAll('th')].map(each => each.textContent)")
    assert "Share" not in heads
    captions = page.evaluate(
        "[...document.querySelectorAll('caption')].map(each => each.textContent)"
    )
    assert not any("% of the total improvement" in caption for caption in captions)


# --- what can be done -----------------------------------------------------------------------------


def test_tips_come_by_pointer_and_by_arrow_keys(show: Any) -> None:
    page = show("eight").page
    tip, rows = page.locator("#tip"), page.locator(".payouts rect")
    rows.first.hover()
    first = tip.inner_text()
    page.mouse.move(5, 5)
    assert not tip.is_visible()
    page.locator("ol.payouts").focus()
    page.keyboard.press("ArrowDown")
    assert tip.inner_text() == first and "90\N{NO-BREAK SPACE}% interval" in first
    page.keyboard.press("ArrowDown")
    assert tip.inner_text() != first
    page.keyboard.press("Escape")
    assert not tip.is_visible()


def test_the_page_is_used_by_keyboard_alone(show: Any) -> None:
    page = show("eight").page
    reached = []
    for _ in range(80):
        page.keyboard.press("Tab")
        what = page.evaluate(
            "() => { const e = document.activeElement;"
            " return e.id || e.tagName + (e.className ? '.' + e.className : ''); }"
        )
        if what == "BODY":
            break
        reached.append(what)
    assert {"theme", "search", "sort", "OL.payouts", "SUMMARY"} <= set(reached)
    summary = page.locator("summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("details").first.evaluate("each => each.open")


def test_companies_are_found_sorted_and_shown_in_light_or_dark(show: Any) -> None:
    page = show("twenty").page
    names = page.locator(".payouts li:visible .name")
    by_amount = names.all_inner_texts()
    page.locator("#search").fill("beech")
    assert names.all_inner_texts() == ["Beech"]
    page.locator("#search").fill("nobody")
    assert names.count() == 0 and page.locator("#none").is_visible()
    page.locator("#search").fill("")
    page.locator("#sort").select_option("name")
    assert names.all_inner_texts() == sorted(by_amount)
    page.locator("#sort").select_option("rank")
    assert names.all_inner_texts() == by_amount
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.locator("#theme").click()
    assert page.evaluate(paper) != light
    page.locator("#theme").click()
    assert page.evaluate(paper) == light


def test_everything_can_be_read_without_a_script(show: Any) -> None:
    shown, whole = show("eight", java_script_enabled=False), show("eight")
    assert not shown.page.locator(".tools").is_visible()
    plain, with_script = (
        re.sub(r"\s+", " ", each.page.locator(part).inner_text())
        for each in (shown, whole)
        for part in ("main",)
    )
    tools = re.sub(r"\s+", " ", whole.page.locator(".tools").inner_text())
    assert plain == with_script.replace(f"{tools} ", "")


def test_a_screen_reader_gets_every_picture_in_words(show: Any) -> None:
    page = show("eight").page
    missing = page.evaluate(
        "[...document.querySelectorAll('svg.picture')]"
        ".filter(each => each.getAttribute('role') !== 'img' || !each.ariaLabel).length"
    )
    assert missing == 0
    for figure in page.locator("figure").all():
        assert figure.get_attribute("aria-label")
        assert figure.evaluate(
            "each => each.nextElementSibling.matches('details') &&"
            " each.nextElementSibling.querySelector('table caption') !== null"
        )
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].map(each => Number(each.tagName[1]))"
    )
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))


def test_eight_companies_print_on_six_pages_in_colour(show: Any, tmp_path: Path) -> None:
    page = show("eight", color_scheme="dark").page
    pdf = tmp_path / "page.pdf"
    page.pdf(path=pdf, format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())) <= 6
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).printColorAdjust") == "exact"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator(".tools").is_visible()
