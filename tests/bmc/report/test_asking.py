"""The page in a real browser: tables sort, filter and save; tasks and matrices are chosen."""

import csv
import io
import time
from pathlib import Path

import pytest
from chromium import Page
from report_runs import answered, make_results, write

from bmc.report import build_report
from bmc.report.finished import read_run
from bmc.report.looks import GLYPHS

NAMES = {"good": 0.9, "poor": 0.4}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    root = tmp_path_factory.mktemp("runs")
    return [
        answered(root / f"{m}-{order}", m, share, order)
        for m, share in NAMES.items()
        for order in (0, 1)
    ]


@pytest.fixture(scope="module")
def page_file(folders, tmp_path_factory) -> Path:
    return build_report(folders, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture
def shown(browser, page_file) -> Page:
    """The page, all of it open and drawn."""
    show(browser, page_file)
    return browser


def show(browser: Page, page: Path) -> None:
    browser.open(page, 1280)
    browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    drawn = "[...document.querySelectorAll('.chart')].every(c => c.querySelector('svg'))"
    deadline = time.monotonic() + 60
    while not browser.evaluate(drawn) or browser.evaluate("document.body.dataset.ready") is None:
        assert time.monotonic() < deadline, "the charts were not drawn in time"
        time.sleep(0.05)


# What the button of a table saves, and the texts of its cells as a reader sees them.
SAVED = """(async () => {
  const blobs = [], make = URL.createObjectURL;
  URL.createObjectURL = (blob) => { blobs.push(blob); return "data:,"; };
  const table = document.querySelector('table[data-name="%s"]');
  table.parentElement.previousElementSibling.querySelector("button:last-child").click();
  URL.createObjectURL = make;
  return blobs[0].text();
})()"""
TABLES = "[...document.querySelectorAll('table')].map(t => t.dataset.name)"
CELLS = """[...document.querySelector('table[data-name="%s"]').tBodies[0].rows].filter(
  r => r.getClientRects().length).map(r => [...r.cells].map(c => c.innerText))"""
COLUMN = """[...document.querySelector('table[data-name="%s"]').tBodies[0].rows].map(
  r => r.cells[%d].innerText)"""
HEADER = """document.querySelector('table[data-name="%s"]').tHead.rows[0].cells[%d]
  .querySelector("button")"""


def saved(browser: Page, name: str) -> list[list[str]]:
    expression = SAVED % name
    answer = browser.call(
        "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
    )
    return list(csv.reader(io.StringIO(answer["result"]["value"])))


def plain(text: str) -> str:
    """What a reader sees, without marks of the best, of differences, and typesetters' signs."""
    for sign in GLYPHS + "≠":
        text = text.replace(sign, "")
    text = " ".join(text.replace("\n", "; ").split()).replace("\N{MINUS SIGN}", "-")
    text = text.removesuffix("*")
    number = text.replace(",", "")
    return number if number.replace(".", "").isdigit() else text


def test_the_csv_of_every_table_is_what_the_table_shows(shown):
    names = shown.evaluate(TABLES)
    assert len(names) >= 11
    for name in names:
        head, *rows = saved(shown, name)
        seen = [[plain(text) for text in row] for row in shown.evaluate(CELLS % name)]
        assert rows == seen, name
        assert all(len(row) == len(head) for row in rows), name
        assert len(set(head)) == len(head), name
    assert shown.problems == []


def test_a_table_sorts_by_numbers_or_words_and_says_so(shown):
    accuracy = HEADER % ("classes", 3)
    shown.evaluate(f"{accuracy}.click()")
    down = [float(text) for text in shown.evaluate(COLUMN % ("classes", 3))]
    assert down == sorted(down, reverse=True)
    assert shown.evaluate(f"{accuracy}.closest('th').getAttribute('aria-sort')") == "descending"
    shown.evaluate(f"{accuracy}.click()")
    assert [float(t) for t in shown.evaluate(COLUMN % ("classes", 3))] == down[::-1]
    shown.evaluate(f"{HEADER % ('classes', 0)}.click()")
    words = shown.evaluate(COLUMN % ("classes", 0))
    assert words == ["<b>tulip", "car", "cat", "dog", 'rose, "red"', "van"]
    assert shown.evaluate(f"{accuracy}.closest('th').getAttribute('aria-sort')") is None


def test_a_filter_keeps_the_rows_with_a_word_and_says_how_many(shown):
    shown.evaluate("""(() => { const box = document.querySelector('table[data-name="classes"]')
      .parentElement.previousElementSibling.querySelector("input");
      box.value = "Ca"; box.dispatchEvent(new Event("input")); })()""")
    assert [row[0] for row in shown.evaluate(CELLS % "classes")] == ["cat", "car"]
    said = "document.querySelector('table[data-name=classes]').parentElement.previousElementSibling"
    assert shown.evaluate(f"{said}.querySelector('output').textContent") == "2 of 6 rows"
    assert [row[0] for row in saved(shown, "classes")[1:]] == ["cat", "car"]


def test_the_matrix_shows_the_method_that_is_chosen(shown):
    choose = """(() => { const select = document.querySelector("[data-matrix]");
      select.value = "%s"; select.dispatchEvent(new Event("change")); })()"""
    first = shown.evaluate(CELLS % "answers")
    shown.evaluate(choose % "POOR")
    poor = shown.evaluate(CELLS % "answers")
    caption = "document.querySelector('table[data-name=answers]').caption.innerText"
    assert shown.evaluate(caption).startswith("Answers of POOR: a row")
    assert poor != first
    right = [int(row[k]) for k, row in enumerate(poor, start=1)]
    assert all(30 < share < 85 for share in right)
    shown.evaluate(choose % "GOOD")
    assert shown.evaluate(CELLS % "answers") == first


def test_any_task_can_be_chosen_and_its_curve_has_the_accuracies_of_the_runs(browser, tmp_path):
    folders = [write(tmp_path / m, make_results(m, tasks=5)) for m in ("er", "slda")]
    show(browser, build_report(folders, tmp_path / "report.html"))
    browser.evaluate("""(() => { const select = document.querySelector("[data-tasks]");
      select.selectedIndex = 2; select.dispatchEvent(new Event("change")); })()""")
    run = read_run(folders[0])
    label = browser.evaluate(
        "document.querySelector('[data-kind=task]').getAttribute('aria-label')"
    )
    last = f"{round(1000 * run.R['class-il'][-1][2]) / 10:g}"
    assert label.startswith(f"Accuracy on {run.tasks[2].name}. ")
    assert f"Experience replay: {last} % at the end" in label
    points = "document.querySelectorAll('[data-kind=task] .layer_1_marks path').length"
    deadline = time.monotonic() + 10
    while browser.evaluate(points) != 2 * 3:
        assert time.monotonic() < deadline, browser.evaluate(points)
        time.sleep(0.05)
    assert browser.problems == []


def test_a_keyboard_reaches_every_legend_table_and_choice_and_names_them(shown):
    unnamed = shown.evaluate("""[...document.querySelectorAll("button, input, select")].filter(
      e => e.tabIndex < 0 || !(e.innerText?.trim() || e.getAttribute("aria-label") ||
        e.labels?.length)).map(e => e.outerHTML)""")
    assert unnamed == []
    shown.evaluate("""document.querySelector('.legend [data-method="POOR"]').focus()""")
    for kind in ("keyDown", "keyUp"):
        shown.call("Input.dispatchKeyEvent", type=kind, key=" ", code="Space", text=" ",
                   windowsVirtualKeyCode=32)  # fmt: skip
    pressed = """[...document.querySelectorAll('.legend button[aria-pressed="true"]')]
      .map(b => b.dataset.method)"""
    assert set(shown.evaluate(pressed)) == {"POOR"}


def test_without_its_script_the_page_still_has_every_table_and_no_dead_control(browser, page_file):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page_file, 390)
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
        controls = """[...document.querySelectorAll("button, select, input:not(.only)")].filter(
          e => e.getClientRects().length).length"""
        assert browser.evaluate(controls) == 0
        assert browser.evaluate("document.querySelectorAll('table').length") >= 11
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
