"""Contact sheets of datasets and streams: as a page, a picture, and in the terminal."""

import io
from pathlib import Path

import pytest
from flawed import make_flawed, write_manifest
from PIL import Image
from rich.console import Console

from autods.checks.audit import audit_dataset
from autods.checks.audit_scan import Scanner
from autods.checks.preview import preview_dataset, preview_datasets
from autods.cli.preview import preview
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import IndexMissing, UnknownName, UsageError
from autods.index.samples import index_dataset
from autods.pages.contact_sheet import ContactSheet, Row, Shot
from autods.pages.half_blocks import SIDE, show_sheet


@pytest.fixture
def pets(tmp_path):
    root, manifest = make_flawed(tmp_path)
    index_dataset(manifest, root, Silent())
    return root, manifest, write_manifest(manifest, tmp_path / "manifests")


def audited(root, manifest) -> None:
    with Scanner(1, decode=True) as scanner:
        audit_dataset(root, manifest.name, manifest, scanner, Silent())


def test_a_row_a_class_with_counts_and_an_image_of_every_split(pets):
    root, manifest, _ = pets
    sheet = preview_dataset(root, "pets", manifest)
    assert [row.name for row in sheet.rows] == ["cat", "dog", "eel"]
    assert sheet.rows[0].counts == {"train": 11, "dev": 0, "test": 5}
    assert {shot.split for shot in sheet.rows[0].shots} == {"train", "test"}
    assert len(sheet.rows[0].shots) == 8
    assert len(sheet.rows[2].shots) == 1
    assert sheet.facts["images"] == "35"
    assert any("autods audit pets" in note for note in sheet.notes)


def test_what_an_audit_found_is_told(pets):
    root, manifest, _ = pets
    audited(root, manifest)
    sheet = preview_dataset(root, "pets", manifest)
    assert (sheet.facts["copies"], sheet.facts["unreadable"]) == ("4", "2")
    assert sheet.facts["sizes"] == "5 x 8 to 9 x 30"
    assert dict(sheet.problems)["pets.zip/train/dog/905.png"] == "the file is empty"
    assert any("images of train and dev are in test" in note for note in sheet.notes)


def test_the_same_seed_draws_the_same_images(pets):
    root, manifest, _ = pets
    titles = [
        [shot.title for row in preview_dataset(root, "pets", manifest, seed=s).rows
         for shot in row.shots]
        for s in (0, 0, 1)
    ]  # fmt: skip
    assert titles[0] == titles[1] != titles[2]


def test_unreadable_images_leave_a_box_with_the_reason(pets, tmp_path):
    root, manifest, _ = pets
    sheet = preview_dataset(root, "pets", manifest, per_row=50)
    reasons = {s.image for row in sheet.rows for s in row.shots if isinstance(s.image, str)}
    assert reasons == {"image file is truncated", "the file is empty"}
    page = sheet.write(tmp_path / "a.html").read_text("utf-8")
    assert "the file is empty" in page
    assert page.count("data:image/jpeg") == 33
    assert sheet.write(tmp_path / "a.png").stat().st_size > 1000


def test_the_command_writes_a_page_and_a_picture(pets, tmp_path, monkeypatch, capsys):
    root, _, manifests = pets
    monkeypatch.chdir(tmp_path)
    preview("pets", root=root.path, manifests=[manifests])
    told = capsys.readouterr()
    assert told.out == "Page: pets-preview.html\nPicture: pets-preview.png\n"
    assert told.err == f"Next: autods audit pets --root {root.path}\n"
    with Image.open("pets-preview.png") as picture:
        assert picture.size[0] > 800
    page = Path("pets-preview.html").read_text("utf-8")
    assert "<script" not in page
    assert "http" not in page


def test_the_terminal_shows_half_blocks_within_its_width(pets, capsys, monkeypatch):
    root, _, manifests = pets
    monkeypatch.setenv("COLUMNS", "80")
    preview("pets", terminal=True, root=root.path, manifests=[manifests])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "cat  train 11, test 5" in out


@pytest.mark.parametrize("width", [20, 80, 120])
@pytest.mark.parametrize("colour", [None, "truecolor"])
def test_drawn_rows_fit_any_terminal(width, colour):
    image = Image.new("RGB", (100, 50), (250, 10, 10))
    sheet = ContactSheet(
        "a\x1b[31mred", {"images": "3"}, [Row("cat", {"train": 3}, [Shot.of(image)] * 9)]
    )
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=colour, force_terminal=bool(colour))
    show_sheet(sheet, console)
    text = file.getvalue()
    assert "\x1b[31mred" not in text
    drawn = [line for line in text.splitlines() if ("▀" if colour else "---") in line]
    assert drawn
    across = max(1, (width + 1) // (SIDE + 1))
    if colour:
        assert max(line.count("▀") for line in drawn) == across * SIDE
    else:
        assert all(len(line) <= width for line in drawn)


def test_names_are_escaped_on_the_page(tmp_path):
    sheet = ContactSheet("<i>x</i>", {}, [Row("<script>", {}, [Shot("<b>", "train", '"><b>')])])
    page = sheet.write(tmp_path / "a.html").read_text("utf-8")
    assert "<script" not in page
    assert "<i>x" not in page
    assert "><b>" not in page


def test_a_stream_has_a_row_for_each_dataset_that_is_here(pets, tmp_path, capsys):
    root = pets[0]
    sheet = preview_datasets(root, "mine", ["pets", "flowers"])
    assert [row.name for row in sheet.rows] == ["pets"]
    assert sheet.notes == ["Not indexed here: flowers."]
    with pytest.raises(UsageError, match="is indexed under"):
        preview("split-cifar100", root=DataRoot(tmp_path / "none").path)


@pytest.mark.parametrize(
    ("name", "options", "error", "text"),
    [
        ("petz", {}, UnknownName, "unknown dataset or stream 'petz'"),
        ("flowers", {}, IndexMissing, "autods index flowers"),
        ("pets", {"out": [Path("a.pdf")]}, UsageError, "ends in .html or .png"),
        ("pets", {"out": [Path("/")]}, UsageError, "expected a place for a file"),
    ],
)
def test_wrong_requests_are_refused(pets, name, options, error, text):
    root, _, manifests = pets
    with pytest.raises(error, match=text):
        preview(name, root=root.path, manifests=[manifests], **options)


def test_an_index_without_images_is_refused(tmp_path, pets, monkeypatch):
    from autods.index import samples

    root, manifest, _ = pets
    index = samples.load_samples(root, "pets")
    empty = type(index)(**{**index.__dict__, "table": index.table.slice(0, 0)})
    monkeypatch.setattr("autods.checks.preview.load_samples", lambda *_: empty)
    with pytest.raises(UsageError, match="has no image"):
        preview_dataset(root, "pets", manifest)


def test_what_is_fetched_and_not_indexed_yet_is_indexed_first(pets, tmp_path):
    root, _, manifests = pets
    root.samples("pets").unlink()
    preview("pets", out=[tmp_path / "a.html"], root=root.path, manifests=[manifests])
    assert "cat" in (tmp_path / "a.html").read_text("utf-8")
    assert root.samples("pets").is_file()
