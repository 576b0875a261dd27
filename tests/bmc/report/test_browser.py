"""The report page in a real browser: charts, legends, tooltips, phones, both colour schemes."""

import time
from pathlib import Path

import pytest
from chromium import Page
from report_runs import TITLES, ablation, make_results, write, write_all

from autods.pages.palette import PALETTE
from bmc.report import build_report


@pytest.fixture(scope="module")
def full_page(tmp_path_factory) -> Path:
    """Five methods, 71 tasks, two orders."""
    root = tmp_path_factory.mktemp("page")
    return build_report(write_all(root, (1, 2)), root / "report.html")


def test_the_browser_reports_errors_and_sideways_scrolling(browser, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text("<div style='width:2000px'>x</div><script>console.error('no')</script>")
    browser.open(bad, 390)
    assert max(browser.evaluate(WIDTHS)) > 390
    assert len(browser.problems) > 0
    browser.problems.clear()


OPEN_ALL = "document.querySelectorAll('details').forEach(d => d.open = true)"
WIDTHS = "[document.documentElement.scrollWidth, window.innerWidth]"
DRAWN = "document.querySelectorAll('.chart svg').length"
CHARTS = "document.querySelectorAll('.chart').length"


def show(browser: Page, page: Path, width: int, dark: bool = False) -> None:
    """Open a page and all its details, and wait until its charts are drawn."""
    browser.open(page, width, dark=dark)
    browser.evaluate(OPEN_ALL)
    deadline = time.monotonic() + 60
    while browser.evaluate(DRAWN) < browser.evaluate(CHARTS):
        assert time.monotonic() < deadline, "the charts were not drawn in time"
        time.sleep(0.05)


@pytest.mark.parametrize(("width", "dark"), [(320, False), (390, True), (820, False), (1280, True)])
def test_a_browser_shows_the_page_without_errors_or_side_scrolling(browser, full_page, width, dark):
    show(browser, full_page, width, dark)
    assert max(browser.evaluate(WIDTHS)) <= width
    assert browser.problems == []
    assert all(url.startswith(("file:", "data:")) for url in browser.requests)
    assert browser.evaluate(
        "[...document.querySelectorAll('.chart')].every(c => c.firstChild && "
        "c.scrollWidth <= c.clientWidth + 1 && c.querySelector('svg').clientHeight > 50)"
    )


# How many curves are drawn, and where a name in the legend of a chart or a marker is.
CURVES = "document.querySelectorAll('.chart[aria-label^=Class-incremental] .mark-line path').length"
NAME = """(() => { const name = document.querySelector(`.legend [data-method="%s"]`);
  name.scrollIntoView({block: 'center'}); const b = name.getBoundingClientRect();
  return [b.left + b.width / 2, b.top + b.height / 2]; })()"""
MARKER = """(() => { const marks = document.querySelector('.chart[aria-label*="Pareto"]')
  .querySelectorAll('.mark-symbol.role-mark path'); const mark = marks[marks.length - 1];
  mark.scrollIntoView({block: 'center'}); const b = mark.getBoundingClientRect();
  return [b.left + b.width / 2, b.top + b.height / 2]; })()"""
TOOLTIP = "document.querySelector('#vg-tooltip-element.visible')?.innerText || ''"


def point(browser: Page, place: str, click: bool = False) -> None:
    x, y = browser.evaluate(place)
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    for kind in ("mousePressed", "mouseReleased") if click else ():
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    time.sleep(0.3)


def test_names_in_a_legend_show_their_methods_alone_until_clicked_again(browser, full_page):
    show(browser, full_page, 1280)
    assert browser.evaluate(CURVES) == len(TITLES)
    for name, left in (("BMC", 1), ("Deep SLDA", 2), ("BMC", 1), ("Deep SLDA", 5)):
        point(browser, NAME % name, click=True)
        assert browser.evaluate(CURVES) == left, name
    assert browser.problems == []


def test_a_tooltip_tells_method_and_numbers_and_names_stay_text(browser, tmp_path):
    name = '<img src=x onerror="console.error(1)">\r\n,=,"'
    results = make_results("er", tasks=3, title=name)
    for task in results["tasks"]:
        task["name"] += f"</script>{name}"
    page = build_report([write(tmp_path / "run", results)], tmp_path / "report.html")
    show(browser, page, 1280)
    point(browser, MARKER)
    said = browser.evaluate(TOOLTIP)
    assert name.partition("\r")[0] in said
    assert "total cost, MB" in said
    assert browser.evaluate("document.querySelectorAll('img').length") == 0
    assert browser.problems == []


def test_a_chart_follows_the_colour_scheme_while_the_page_is_open(browser, full_page):
    show(browser, full_page, 1280)
    fill = "getComputedStyle(document.querySelector('.chart .mark-symbol path')).fill"
    light = browser.evaluate(fill)
    scheme = {"name": "prefers-color-scheme", "value": "dark"}
    browser.call("Emulation.setEmulatedMedia", features=[scheme])
    assert browser.evaluate(fill) not in (light, "none", "rgb(0, 0, 0)")


NAMES = """(() => { const chart = document.querySelector('.chart[aria-label*="Pareto"] svg');
  const box = e => { const b = e.getBoundingClientRect();
    return [b.left + 1, b.top + 2, b.right - 1, b.bottom - 2]; };
  const names = [...chart.querySelectorAll('.mark-text.role-mark text')].map(box);
  const meet = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
  const edge = box(chart);
  return [names.length, names.filter((a, k) => names.some((b, n) => n > k && meet(a, b))).length,
    names.filter(n => n[0] < edge[0] - 2 || n[2] > edge[2] + 2 || n[1] < edge[1] - 2).length];
})()"""


@pytest.mark.parametrize("width", [320, 390, 820, 1280])
def test_names_of_the_pareto_front_cover_no_other_and_stay_inside(browser, tmp_path, width):
    folders = [write(tmp_path / f"{i}", r) for i, r in enumerate(ablation())]
    show(browser, build_report(folders, tmp_path / "report.html"), width)
    assert max(browser.evaluate(WIDTHS)) <= width
    names, covered, outside = browser.evaluate(NAMES)
    assert names >= 3
    assert (covered, outside) == (0, 0)
    assert browser.problems == []


def test_a_phone_shows_text_in_charts_at_a_readable_size(browser, full_page):
    show(browser, full_page, 390)
    smallest = browser.evaluate(
        "Math.min(...[...document.querySelectorAll('.chart svg text')].filter(t => t.getClientRects"
        "().length).map(t => Math.hypot(t.getScreenCTM().a, t.getScreenCTM().b) * "
        "parseFloat(getComputedStyle(t).fontSize)))"
    )
    assert smallest >= 10


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_methods_stand_out_from_the_background(dark):
    colours = {name: both[dark] for name, both in PALETTE.items()}
    ground = luminance(colours["ground"])
    for name in ("ink", "soft", "link", "ref", *(f"m{k}" for k in range(8))):
        light, low = sorted((ground, luminance(colours[name])), reverse=True)
        needed = 4.5 if name in ("ink", "soft", "link") else 3.0
        assert (light + 0.05) / (low + 0.05) >= needed, name


def luminance(colour: str) -> float:
    """Relative luminance of #rgb or #rrggbb, as the contrast rules of the web define it."""
    digits = colour.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
