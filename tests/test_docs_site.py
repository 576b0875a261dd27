"""The site of the documentation: it builds strictly, nothing is missing, a browser shows it."""

import html
import os
import re
import subprocess
import sys
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from chromium import EXECUTABLE, Page
from typer.main import get_command

from autods import errors
from autods.cli.app import app as autods_app
from bmc.cli.app import app as bmc_app
from bmc.methods import METHODS
from bmc.runs.metrics import DEFINITIONS

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def text_of(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_the_site_builds_strictly_and_every_link_inside_it_is_good(site):
    assert (site / "index.html").exists()
    assert (site / "reference" / "bmc-stream.html").exists()


def test_the_site_has_every_method_and_every_metric(site):
    methods = METHODS.names()
    page = (site / "methods.html").read_text(encoding="utf-8")
    assert len(methods) >= 31
    for name in methods:
        assert f'<h2 id="{name}"' in page
    assert set(DEFINITIONS) <= set(re.findall(r"\w+", text_of(site / "metrics.html")))


def test_the_pictures_of_the_architecture_have_every_room_and_no_arrow_that_points_up(site):
    for package in ("autods", "bmc"):
        picture = (site / f"rooms-{package}.svg").read_text(encoding="utf-8")
        folders = [path.parent.name for path in (REPOSITORY / package).glob("*/__init__.py")]
        assert len(folders) > 6
        assert all(f">{folder}</text>" in picture for folder in folders)
        assert picture.count("marker-end") >= len(folders)
        assert "stroke-dasharray" not in picture
    assert 'src="rooms-autods.svg"' in (site / "architecture.html").read_text(encoding="utf-8")
    assert "Add a method" in (site / "contributing.html").read_text(encoding="utf-8")


def test_the_site_has_every_command(site):
    for program, app in (("autods", autods_app), ("bmc-stream", bmc_app)):
        page = (site / "reference" / f"{program}.html").read_text(encoding="utf-8")
        for name, command in get_command(app).commands.items():
            for inner in getattr(command, "commands", [None]):
                heading = f"{program}-{name}" + (f"-{inner}" if inner else "")
                assert f'<h2 id="{heading}"' in page


def test_the_site_says_of_every_error_what_happened_and_what_to_do(site):
    page = (site / "errors.html").read_text(encoding="utf-8")
    rows = dict(re.findall(r'<a id="(\w+)".*?<td>([^\n]*)</td>\n</tr>', page, re.DOTALL))
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, errors.AutodsError):
            assert name.lower() in rows
    assert {"runexists", "runsfailed"} <= rows.keys()
    for name, text in rows.items():
        assert len(re.findall(r"[.:](?= |$)", re.sub(r"<[^>]+>", "", text))) >= 2, name


def test_the_site_asks_no_other_host(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"', text)
        loaded += re.findall(r'<link[^>]*rel="(?:stylesheet|preconnect)"[^>]*href="([^"]+)"', text)
        assert [target for target in loaded if re.match(r"(https?:)?//", target)] == []


class Address(str):
    """An address where `Page.open` expects a file."""

    def resolve(self):
        return self

    def as_uri(self):
        return str(self)


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and tells nobody."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def served(site):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.mark.parametrize("width, dark", [(1400, False), (390, True)])
def test_the_site_is_whole_in_a_browser(served, tmp_path, width, dark):
    if EXECUTABLE is None:
        pytest.skip("no Chromium is installed")
    with Page(tmp_path) as page:
        for name in ("index", "methods", "reference/bmc-stream", "datasets"):
            page.open(Address(f"{served}{name}.html"), width, dark=dark)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            scheme = page.evaluate("document.body.dataset.mdColorScheme")
            assert scheme == ("slate" if dark else "default")
        assert page.problems == []
        assert {r for r in page.requests if not r.startswith((served, "data:"))} == set()


def test_the_search_of_pages_that_are_opened_as_files_finds_what_is_there(site, tmp_path):
    if EXECUTABLE is None:
        pytest.skip("no Chromium is installed")
    find = """
        document.querySelector('[data-md-toggle=search]').click()
        const field = document.querySelector('[data-md-component=search-query]')
        field.focus()
        field.value = 'reservoir'
        field.dispatchEvent(new Event('input', {bubbles: true}))
        field.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true}))
    """
    with Page(tmp_path) as page:
        page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        for name in ("index", "reference/bmc-stream"):
            page.open(site / f"{name}.html", 1400)
            page.evaluate(f"(() => {{{find}}})()")
            items = "document.querySelectorAll('.md-search-result__item').length"
            deadline = time.monotonic() + 60
            while not page.evaluate(items):
                assert time.monotonic() < deadline, name
                time.sleep(0.2)
        assert page.problems == []
