"""What list, info, status and index print, for people and for programs."""

import json
from pathlib import Path

import pytest
import yaml
from archives import checksum
from flawed import make_flawed, write_manifest

from autods.checks.inventory import take_inventory
from autods.cli.catalogue import info, list_datasets, manifest_schema, status
from autods.cli.extract import index
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import AutodsError, ManifestError, UnknownName
from autods.index.samples import index_dataset
from autods.manifest.catalogue import Catalogue
from autods.manifest.schema import Manifest, StreamSpec

EXPECTED = {
    "classes": 3,
    "train": 25,
    "test": 11,
    "published_test": 10,
    "per_class": {"cat": 16, "dog": 17},
    "source": "their page",
}


@pytest.fixture
def pets(tmp_path) -> tuple[Path, Path]:
    """A dataset that is fetched, with wrong expectations; return its root and manifests."""
    licence = "CC [test], a licence of a length that no table of eighty columns can hold"
    root, manifest = make_flawed(tmp_path, expected=EXPECTED, licence=licence)
    return root.path, write_manifest(manifest, tmp_path / "manifests")


def printed(capsys) -> str:
    return capsys.readouterr().out


def rows_of(text: str) -> dict[str, list[str]]:
    """Return the lines of a table by their first word."""
    return {line.split()[0]: line.split() for line in text.splitlines() if line.split()}


def test_every_dataset_has_one_row_of_at_most_the_width(tmp_path, monkeypatch, capsys, pets):
    root, manifests = pets
    for width in (80, 100, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        list_datasets(root=root, manifests=[manifests])
        lines = printed(capsys).splitlines()
        assert max(len(line.rstrip()) for line in lines) <= width
        names = [line.split()[0] for line in lines[2:-1]]
        assert names == Catalogue([manifests]).datasets()
    (row,) = [line for line in lines if line.startswith("pets ")]
    assert "open    " in row
    assert "fetched  CC [test], a licence of a length" in row


def test_the_last_line_counts_what_is_known(monkeypatch, capsys, tmp_path):
    list_datasets(root=tmp_path, json=True)
    rows = json.loads(printed(capsys))
    monkeypatch.setenv("COLUMNS", "100")
    list_datasets(root=tmp_path)
    classes = [row["classes"] for row in rows if row["classes"] is not None]
    images = [row["images"] for row in rows if row["images"] is not None]
    assert printed(capsys).splitlines()[-1] == (
        f"{len(rows)} datasets; {sum(classes):,} classes ({len(classes)} datasets) and "
        f"{sum(images):,} images ({len(images)}) are known."
    )


def test_images_are_the_total_or_else_the_sum_of_the_splits(capsys, tmp_path):
    list_datasets(root=tmp_path, json=True)
    rows = {row["name"]: row for row in json.loads(printed(capsys))}
    assert rows["aircraft"]["images"] == 10_000
    assert rows["flowers"]["images"] == rows["flowers"]["train"] + rows["flowers"]["test"]


def test_a_stream_lists_its_datasets_in_its_order(capsys, tmp_path):
    list_datasets(stream="stream71", root=tmp_path, json=True)
    names = [row["name"] for row in json.loads(printed(capsys))]
    assert names == [item.dataset for item in Catalogue().stream("stream71").datasets]
    with pytest.raises(UnknownName, match="did you mean stream71"):
        list_datasets(stream="stream72", root=tmp_path)


def test_names_alone_are_for_scripts(capsys, tmp_path):
    list_datasets(["cifar*"], exclude=["cifar100"], names_only=True, root=tmp_path)
    shown = capsys.readouterr()
    assert shown.out == "cifar10\n"
    assert shown.err == "Left out by --exclude: cifar100.\n"


def states(root: Path, manifests: Path, capsys) -> set[str]:
    """Return the state of the dataset by its name and by status; it must be one."""
    (holding,) = take_inventory(Catalogue([manifests]), DataRoot(root), ["pets"])
    status(root=root, manifests=[manifests], json=True)
    rows = {row["dataset"]: row["state"] for row in json.loads(printed(capsys))["datasets"]}
    return {holding.state, rows.get("pets", "-")}


def test_the_state_goes_from_nothing_to_features(tmp_path, capsys, pets):
    root, manifests = pets
    data, manifest = DataRoot(root), Catalogue([manifests]).dataset("pets")
    archive = data.archive("pets", "pets.zip")
    assert states(root, manifests, capsys) == {"fetched"}
    index_dataset(manifest, data, Silent())
    assert states(root, manifests, capsys) == {"indexed"}
    record = data.feature_record("tiny.a", "pets")
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    assert states(root, manifests, capsys) == {"features"}
    record.unlink()
    data.samples("pets").unlink()
    archive.rename(archive.with_name("pets.zip.part"))
    assert states(root, manifests, capsys) == {"partial"}
    archive.with_name("pets.zip.part").unlink()
    assert states(root, manifests, capsys) == {"-"}
    data.record("pets").unlink()
    assert states(root, manifests, capsys) == {"-"}


def test_status_tells_what_keeps_a_dataset_from_use_and_the_cure(capsys, pets):
    root, manifests = pets
    data = DataRoot(root)
    headers = []
    for _ in ("indexed", "kept"):
        index(root=root, manifests=[manifests])
        headers.append(printed(capsys).splitlines()[1].split())
    assert headers[0] == headers[1]
    assert headers[1][-4:] == ["train", "dev", "test", "unused"]
    text = (manifests / "pets.yaml").read_text()
    (manifests / "pets.yaml").write_text(text.replace("dev_fraction: 0.0", "dev_fraction: 0.2"))
    printed(capsys)
    status(root=root, manifests=[manifests])
    shown = printed(capsys)
    assert rows_of(shown)["pets"] == ["pets", "fetched", "1", "of", "1", "-", "none"]
    assert "its index is of another manifest or format; run 'autods index pets'." in shown
    data.record("pets").write_text("{")
    status(root=root, manifests=[manifests])
    assert "expected JSON, got" in printed(capsys)


def test_features_that_came_without_their_images_need_no_manifest(tmp_path, capsys):
    record = DataRoot(tmp_path).feature_record("tiny.a", "mine")
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    status(root=tmp_path)
    shown = printed(capsys)
    assert rows_of(shown)["mine"] == ["mine", "features", "-", "-", "tiny.a"]
    assert "manifest" not in shown


def test_features_of_another_manifest_are_named_with_place_and_cure(tmp_path, capsys, pets):
    root, manifests = pets
    data, manifest = DataRoot(root), Catalogue([manifests]).dataset("pets")
    index_dataset(manifest, data, Silent())
    for encoder, fingerprint in (("old.a", "0" * 64), ("good.b", manifest.fingerprint())):
        record = data.feature_record(encoder, "pets")
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({"hashed": "image", "fingerprint": fingerprint}))
    (holding,) = take_inventory(Catalogue([manifests]), data)
    assert (holding.state, holding.features, holding.stale) == (
        "features",
        ("good.b", "old.a"),
        ("old.a",),
    )
    printed(capsys)
    status(root=root, manifests=[manifests])
    assert f"move {data.features('old.a', 'pets')} away and run 'autods extract pets'" in printed(
        capsys
    )
    info("pets", root=root, manifests=[manifests])
    assert "good.b, old.a (of another manifest)" in printed(capsys)
    data.feature_record("good.b", "pets").unlink()
    assert states(root, manifests, capsys) == {"indexed"}


def test_imported_features_are_of_no_manifest_and_never_stale(tmp_path, pets):
    root, manifests = pets
    record = DataRoot(root).feature_record("their.x", "pets")
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"hashed": "features", "fingerprint": "0" * 64}))
    (holding,) = take_inventory(Catalogue([manifests]), DataRoot(root))
    assert (holding.state, holding.stale) == ("features", ())


def test_a_manifest_that_cannot_be_read_does_not_hide_the_other_datasets(capsys, pets):
    root, manifests = pets
    (manifests / "broken.yaml").write_text("name: broken\ntitel: x\n")
    with pytest.raises(ManifestError, match=r"broken\.yaml:2: titel: unknown key"):
        list_datasets(root=root, manifests=[manifests])
    assert {"pets", "flowers"} < rows_of(printed(capsys)).keys()
    DataRoot(root).record("broken").parent.mkdir()
    DataRoot(root).record("broken").write_text("{}")
    status(root=root, manifests=[manifests])
    shown = printed(capsys)
    assert rows_of(shown)["pets"][1] == "fetched"
    assert "broken.yaml:2: titel: unknown key" in shown


def test_what_a_wide_choice_names_and_nobody_fetched_is_told_in_one_line(capsys, pets):
    root, manifests = pets
    with pytest.raises(AutodsError, match=r"nothing is here of: .*rice, .*`autods fetch` brings"):
        index(everything=True, root=root, manifests=[manifests])
    out, err = capsys.readouterr()
    assert "pets" in rows_of(out)
    assert "error" not in err
    with pytest.raises(AutodsError, match="none of the 71 datasets is fetched"):
        index(stream="stream71", root=root)
    assert not DataRoot(root).dataset("rice").exists()


def test_one_broken_manifest_or_record_does_not_stop_the_step_for_the_others(capsys, pets):
    root, manifests = pets
    (manifests / "broken.yaml").write_text("name: broken\n")
    for name in ("broken", "flowers"):
        DataRoot(root).record(name).parent.mkdir()
        DataRoot(root).record(name).write_text("{")
    with pytest.raises(AutodsError, match="2 of 3 datasets failed: broken, flowers"):
        index(root=root, manifests=[manifests])
    out, err = capsys.readouterr()
    assert "pets" in rows_of(out)
    assert "error: broken:" in err
    assert "error: flowers:" in err


def test_tables_have_no_blanks_at_the_ends_of_their_lines(capsys, pets):
    root, manifests = pets
    list_datasets(root=root, manifests=[manifests])
    assert [line for line in printed(capsys).splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize(("stream", "keys"), [(False, Manifest), (True, StreamSpec)])
def test_the_schema_for_editors_has_all_keys_and_refuses_others(capsys, stream, keys):
    manifest_schema(stream=stream)
    schema = json.loads(printed(capsys))
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["properties"].keys() == keys.model_fields.keys()
    assert schema["additionalProperties"] is False


def test_status_of_an_empty_root_says_how_to_start(capsys, tmp_path):
    status(root=tmp_path)
    assert "Start with `autods fetch NAME`" in printed(capsys)


def test_index_ends_with_a_table_of_the_counts_that_differ(monkeypatch, capsys, pets):
    root, manifests = pets
    for width in ("80", "120"):
        monkeypatch.setenv("COLUMNS", width)
        index(root=root, manifests=[manifests])
        _, warning = printed(capsys).split("Warning: counts that are not as expected")
        rows = [line.rstrip() for line in warning.splitlines()[2:]]
        assert rows == [
            "pets     test images                  11     10  their page",
            "pets     images of class 'dog'        17     18  the manifest",
        ]


def test_index_prints_rows_for_programs(capsys, pets):
    root, manifests = pets
    index(root=root, manifests=[manifests], json=True)
    (row,) = json.loads(printed(capsys))
    assert row == {
        "dataset": "pets",
        "action": "indexed",
        "state": "indexed",
        "samples": 35,
        "classes": 3,
        "counts": {
            "clean": {"train": 25, "dev": 0, "test": 10, "unused": 0},
            "paper": {"train": 23, "dev": 2, "test": 10, "unused": 0},
        },
        "members": {
            "pets.zip": {
                "members": 35,
                "used": 35,
                "links followed": 0,
                "tables": [],
                "examples": {},
            }
        },
        "differences": [
            {"what": "test images", "expected": 11, "found": 10, "source": "their page"},
            {"what": "images of class 'dog'", "expected": 17, "found": 18, "source": ""},
        ],
    }


def test_info_is_a_page_that_says_what_is_here(monkeypatch, capsys, pets):
    root, manifests = pets
    index(root=root, manifests=[manifests])
    printed(capsys)
    monkeypatch.setenv("COLUMNS", "80")
    info("pets", root=root, manifests=[manifests])
    page = printed(capsys)
    assert page.startswith("pets: Things\n")
    lines = [" ".join(line.split()) for line in page.splitlines()]
    for line in (
        "homepage unknown",
        "access open",
        "class 3 classes, named by the archive",
        "clean official: train from 'train'; no dev; test from 'test'",
        "clean train 25, test 11",
        "fetched 1 of 1 files",
        "indexed 35 images, 3 classes",
        "paper train 23, dev 2, test 10",
        "differs expected 11 test images (their page), the index has 10",
        "features none",
    ):
        assert line in lines, f"{line}\n{page}"


def test_info_says_who_states_a_size_which_versions_are_known_and_how_classes_read(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.setenv("COLUMNS", "120")
    info("planets", root=tmp_path)
    page = printed(capsys)
    assert "dataset-ai-in-space.zip: estimated 60.0 MB" in page
    assert "size      from 1,639 JPEG images" in page
    assert "versions  known: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11" in page
    info("gtsrb", root=tmp_path)
    page = printed(capsys)
    assert "size      by git-annex keys" in page
    assert "prompts   speed limit of 20 km/h sign, speed limit of 30 km/h sign" in page


@pytest.mark.parametrize("width", [80, 120])
def test_the_page_of_every_shipped_dataset_fits_the_width(monkeypatch, capsys, tmp_path, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for name in Catalogue().datasets():
        info(name, root=tmp_path)
        for line in printed(capsys).splitlines():
            longest = max(line.split(), key=len, default="")  # addresses are not broken
            assert len(line) <= max(width, len(longest) + 20), line


def test_random_and_grouped_splits_are_told_in_words(capsys, tmp_path, pets):
    root, manifests = pets
    path = manifests / "pets.yaml"
    values = yaml.safe_load(path.read_text())
    values["layout"]["group"] = "{class}"
    values["splits"] = {
        "clean": {"rule": "random", "test_fraction": 0.25, "seed": 7, "grouped": True},
        "paper": {"rule": "official", "dev": ["dev"], "grouped": True},
    }
    path.write_text(yaml.safe_dump(values))
    info("pets", root=root, manifests=[manifests])
    words = " ".join(printed(capsys).split())
    assert (
        "random: test 25% of the images, stratified (seed 7); dev 10% of train, stratified "
        "(seed 7); groups kept together"
    ) in words
    assert (
        "official: train from 'train'; dev from 'dev'; test from 'test'; groups kept together, "
        "train images of groups in test left out"
    ) in words


def test_the_manifest_itself_is_printed_as_yaml_or_json(capsys, pets, tmp_path):
    root, manifests = pets
    info("pets", yaml=True, root=root, manifests=[manifests])
    values = yaml.safe_load(printed(capsys))
    info("pets", json=True, root=root, manifests=[manifests])
    assert json.loads(printed(capsys)) == values
    assert values["files"][0]["checksum"] == checksum(tmp_path / "source" / "pets.zip")
