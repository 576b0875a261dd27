"""`autods new --csv`: what a table says of images becomes a manifest that indexes them."""

from pathlib import Path

import pytest
from archives import make_folder, placed

from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import LayoutError, UsageError
from autods.index.samples import SampleIndex, index_dataset, load_samples
from autods.manifest.catalogue import Catalogue
from autods.manifest.new.csv_file import manifest_from_csv

PICTURES = {f"shots/{c}/{i}.png": f"{c}{i}".encode() for c in "ab" for i in range(10)}


def table(tmp_path: Path, text: str | bytes, files: dict[str, bytes] | None = None) -> Path:
    make_folder(tmp_path / "mine", files or PICTURES)
    path = tmp_path / "mine" / "labels.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows(delimiter: str = ",", split: bool = False) -> str:
    """Return rows for all pictures; every fifth is for test, every fifth for validation."""
    lines = [delimiter.join(["image", "label", *(["split"] if split else [])])]
    for number, path in enumerate(PICTURES):
        part = [["Test", "valid", "train", "train", "training"][number % 5]] if split else []
        lines.append(delimiter.join([path, f"kind {path[6]}", *part]))
    return "\n".join(lines) + "\n"


def indexed(tmp_path: Path, path: Path) -> SampleIndex:
    target, _ = manifest_from_csv("mine", path, tmp_path / "manifests")
    manifest = Catalogue([target.parent]).dataset("mine")
    root = DataRoot(tmp_path / "root")
    sources = {entry.name: Path(entry.mirrors[0].url) for entry in manifest.files}
    assert placed(root, manifest, sources).fingerprint() == manifest.fingerprint()
    index_dataset(manifest, root, Silent())
    return load_samples(root, "mine", manifest)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_row_becomes_a_sample_with_its_label_and_split(tmp_path, delimiter, mark):
    index = indexed(tmp_path, table(tmp_path, mark + rows(delimiter, split=True)))
    assert index.classes == {"class": ["kind a", "kind b"]}
    splits = dict(zip(index.table["member"].to_pylist(), index.splits(), strict=True))
    for number, path in enumerate(PICTURES):
        expected = ["test", "dev", "train", "train", "train"][number % 5]
        assert splits[path.removeprefix("shots/")] == expected
    labels = dict(zip(index.table["member"].to_pylist(), index.labels(), strict=True))
    assert labels["a/3.png"] == 0 and labels["b/3.png"] == 1


def test_without_splits_a_stratified_fifth_is_for_test(tmp_path):
    index = indexed(tmp_path, table(tmp_path, rows()))
    assert sorted(index.splits()).count("test") == 4
    assert sorted(index.labels()[index.splits() == "test"]) == [0, 0, 1, 1]


def test_quoted_names_unicode_blanks_and_paths_upwards_are_read(tmp_path):
    files = {f"in/{n}.png": n.encode() for n in ("a, b", "ü", "it's")} | {"c/1.png": b"1"}
    lines = [
        "path,label",
        '"in/a, b.png","x, ""y"""',
        "in/ü.png,größer",
        "in/it's.png,größer",
        "../mine/c/1.png,z",
    ]
    text = "\n".join(lines)
    index = indexed(tmp_path, table(tmp_path, text, files))
    assert index.classes == {"class": ["größer", 'x, "y"', "z"]}
    assert len(index) == 4


def test_the_remarks_count_and_name_what_comes_along(tmp_path):
    text = "path,label\nshots/a/1.png,a\nshots/b/1.png,b\nshots/b/2.png,b\n"
    target, told = manifest_from_csv("mine", table(tmp_path, text), tmp_path / "out")
    assert told == [
        "3 images in 2 classes; 20% of each class is drawn for test; 17 other files below "
        f"{tmp_path / 'mine' / 'shots'} will be fetched with them.",
        "class  images",
        "a           1",
        "b           2",
        "'a': one image only, which is for training; nothing is left to test.",
        "`autods fetch` copies the images into the data root; `autods new --in-place` leaves them "
        "where they are.",
        f"Next: autods fetch mine --manifests {target.parent}",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,label\nshots/a/1.png,a\nnot.png,b\n", r"1 image not found .*: line 3: 'not.png'; n"),
        ("path,label\n" + "".join(f"{i}.png,b\n" for i in range(9)), r"9 images .* and 6 more"),
        ("path,label\nshots/a/1.png,a\nshots/../shots/a/1.png,b\n", r"line 3: .*in line 2 already"),
        ("path,label,split\nshots/a/1.png,a,tset\n", r"line 2: unknown split 'tset'; did you mean"),
        ("path,label,split\nshots/a/1.png,a,test\n", r"expected rows with split 'train'"),
        ("path,label\nshots/a/1.png,\n", r"line 2: 'label' is empty"),
        (
            "path,label\nshots/a/1.png,a,b\n",
            r"line 2: expected 2 cells as in the first line, got 3",
        ),
        ("path,kind\nshots/a/1.png,a\n", r"line 1: expected a column 'label' or 'class'"),
        ("path,label,label\nshots/a/1.png,a,a\n", r"column 'label' once, got it twice"),
        ("path,label\n", r"expected rows below the names of the columns, got none"),
        ("", r"got an empty file"),
        (b"path,label\nshots/a/1.png,caf\xe9\n", r"line 2: expected UTF-8 text, got byte 0xe9"),
        ('path,label\nshots/a/1.png,"open\n', r"line 2: expected delimited text"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_nothing_is_written(tmp_path, text, told):
    with pytest.raises(LayoutError, match=told):
        manifest_from_csv("mine", table(tmp_path, text), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_stands_already_is_kept(tmp_path):
    path = table(tmp_path, rows())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.csv").write_text("theirs")
    with pytest.raises(UsageError, match=r"mine.csv exists already"):
        manifest_from_csv("mine", path, tmp_path / "out")
    assert (tmp_path / "out" / "mine.csv").read_text() == "theirs"
    with pytest.raises(UsageError, match="expected a CSV file"):
        manifest_from_csv("other", tmp_path / "no.csv", tmp_path / "out")


def test_a_call_that_was_cut_short_between_its_two_files_is_run_again(tmp_path):
    path = table(tmp_path, rows())
    target, _ = manifest_from_csv("mine", path, tmp_path / "out")
    before = target.read_bytes()
    target.unlink()  # the table is written first
    manifest_from_csv("mine", path, tmp_path / "out")
    assert target.read_bytes() == before


def told(tmp_path: Path, text: str) -> list[str]:
    return manifest_from_csv("mine", table(tmp_path, text), tmp_path / "out")[1]


@pytest.mark.parametrize(
    "labels", [("0.0", "1.00", "10.0"), ("1.0", "+2.0", "3"), ("1", "2.0", "1.0")]
)
def test_labels_that_pandas_made_fractional_are_whole_numbers_and_that_is_told(tmp_path, labels):
    text = "path,label\n" + "".join(f"shots/a/{i}.png,{k}\n" for i, k in enumerate(labels))
    lines = told(tmp_path, text)
    classes = {label.partition(".")[0] for label in labels}
    assert {line.split()[0] for line in lines[2 : 2 + len(classes)]} == classes
    assert "labels.csv: labels are whole numbers, '1.0' is written as '1'." in lines


@pytest.mark.parametrize("labels", [("1.0", "1.5"), ("1.0", "a"), ("01", "1"), ("v1.0", "v2.0")])
def test_other_labels_stay_as_they_are(tmp_path, labels):
    text = "path,label\n" + "".join(f"shots/a/{i}.png,{k}\n" for i, k in enumerate(labels))
    assert {line.split()[0] for line in told(tmp_path, text)[2:4]} == set(labels)


@pytest.mark.parametrize(("text", "line"), [
    ("path,label,class\nshots/a/1.png,0,cat\n",
     "labels.csv: columns 'path' and 'label' are used, 'class' not."),
    ("path,image,label\nshots/a/1.png,shots/b/1.png,cat\n",
     "labels.csv: columns 'path' and 'label' are used, 'image' not."),
    ("path,label\nshots/a/1.png,Cat\nshots/a/2.png,cat \n",
     "Names that are nearly alike, each a class of its own: 'Cat', 'cat '."),
    ("path,label\nlabels.csv,a\n", "1 file begins like no image: 'labels.csv'."),
])  # fmt: skip
def test_what_is_chosen_or_odd_is_told(tmp_path, text, line):
    assert line in told(tmp_path, text)


@pytest.mark.parametrize("splits", [("train",), ("train", "val")])
def test_without_a_test_split_all_images_are_divided_and_that_is_told(tmp_path, splits):
    rows = [f"shots/a/{i}.png,a,{split}\n" for i, split in enumerate(splits)]
    lines = told(tmp_path, "path,label,split\n" + "".join(rows))
    assert "; there are no images of a test split, so 20% of each class is drawn" in lines[0]
    assert "train" in lines[1]


ODD = {
    "U+0085": "\x85", "U+2028": "\u2028", "U+2029": "\u2029", "form feed": "\x0c", "U+001C": "\x1c",
    "a blank": " ", "two blanks": "  ", "no-break space": "\xa0", "vertical tab": "\x0b",
}  # fmt: skip


@pytest.mark.parametrize("sign", ODD.values(), ids=ODD)
@pytest.mark.parametrize("place", ["{}x", "x{}", "x{}y"])
@pytest.mark.parametrize("quoted", [True, False])
def test_signs_that_look_like_an_end_of_a_line_or_cell_survive(tmp_path, sign, place, quoted):
    odd = place.format(sign)
    files = {f"shots/{i}{odd}": bytes([i]) for i in range(4)} | {
        f"{odd}{i}": b"x" * i for i in (7, 8)
    }
    cells = [(path, f"{odd}{number % 2}{odd}") for number, path in enumerate(files)]
    mark = '"' if quoted else ""
    lines = ["path,label", *(f"{mark}{p}{mark},{mark}{c}{mark}" for p, c in cells)]
    index = indexed(tmp_path, table(tmp_path, "\n".join(lines) + "\n", files))
    assert index.classes["class"] == sorted({label for _, label in cells})
    assert set(index.table["member"].to_pylist()) == set(files)


@pytest.mark.parametrize(
    "header", ["path, label, split", "path , label , split", " path,label,split"]
)
def test_blanks_beside_the_delimiters_of_the_first_line_belong_to_no_cell(tmp_path, header):
    lines = [header, *(f" {path}, kind {path[6]} , train" for path in PICTURES)]
    index = indexed(tmp_path, table(tmp_path, "\n".join(lines)))
    assert index.classes == {"class": ["kind a", "kind b"]}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_end_of_a_line_is_one(tmp_path, end):
    index = indexed(tmp_path, table(tmp_path, rows().replace("\n", end)))
    assert len(index) == len(PICTURES)
