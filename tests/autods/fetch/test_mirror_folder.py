"""A mirror of what was fetched: copied, verified, resumed; half of one works for its half."""

import json
from pathlib import Path

import pytest
from many_tools import autods, content, described, serving, write_manifests

from autods.core.files import hash_tree
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import FetchError, UsageError
from autods.fetch import fetch_dataset
from autods.fetch.mirror_folder import check_mirror_folder, mirror_dataset
from autods.manifest.catalogue import Catalogue

FILES = {"ann": ["a.bin", "b/c.bin"], "bob": ["a.bin"]}


@pytest.fixture
def fetched(tmp_path, root):
    """Two datasets under the root, whose published addresses are gone; return their manifests."""
    values = {}
    for name, files in FILES.items():
        bodies = {file: content(f"{name}/{file}") for file in files}
        gone = {file: (body, "http://127.0.0.1:9/gone") for file, body in bodies.items()}
        values[name] = described(name, gone, licence=f"only | of {name}")
        for entry in values[name]["files"]:
            entry["size"] = len(bodies[entry["name"]])
        for file, body in bodies.items():
            path = tmp_path / "first" / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
    folder = write_manifests(tmp_path / "manifests", values)
    for name in FILES:
        manifest = Catalogue([folder]).dataset(name)
        fetch_dataset(manifest, root, Silent(), [str(tmp_path / "first")])
    return folder


def mirrored(root: DataRoot, folder: Path, manifests: Path, **options) -> list:
    catalogue = Catalogue([manifests])
    return [
        mirror_dataset(catalogue.dataset(name), root, folder, Silent(), **options) for name in FILES
    ]


def test_what_was_fetched_is_fetched_again_from_the_mirror_alone(fetched, root, tmp_path):
    folder = tmp_path / "a mirror"
    done = autods("mirror", folder, "--root", root.path, "--manifests", fetched)
    assert done.returncode == 0, done.stderr
    again = autods("mirror", folder, "--root", root.path, "--manifests", fetched, "--json")
    told = json.loads(again.stdout)["datasets"]
    assert [(one["dataset"], one["copied"], one["kept"]) for one in told] == [
        ("ann", [], ["a.bin", "b/c.bin"]), ("bob", [], ["a.bin"]),
    ]  # fmt: skip
    other = DataRoot(tmp_path / "other")
    for name in FILES:
        fetch_dataset(Catalogue([fetched]).dataset(name), other, Silent(), [str(folder)])
        assert hash_tree(other.dataset(name) / "archives") == hash_tree(
            root.dataset(name) / "archives"
        )
    recipe = (folder / "README.md").read_text()
    assert f"autods fetch ann bob --mirror '{folder}'" in recipe
    assert f"python -m http.server 8080 --directory '{folder}'" in recipe
    assert f'root "{folder}";' in recipe
    assert "| ann | 2 of 2 | 200.0 kB | only \\| of ann |" in recipe


def test_the_mirror_works_over_the_web(fetched, root, tmp_path):
    folder = tmp_path / "mirror"
    mirrored(root, folder, fetched)
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    with serving(files) as host:
        options = ["--root", tmp_path / "far", "--manifests", fetched, "--mirror", host.url("")]
        done = autods("fetch", "ann", "bob", *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "far" / "datasets" / "ann" / "archives" / "b" / "c.bin").is_file()


def test_half_a_mirror_gives_its_half_and_the_command_says_what_it_lacks(fetched, root, tmp_path):
    folder = tmp_path / "mirror"
    mirrored(root, folder, fetched)
    (folder / "ann" / "a.bin").unlink()
    far = tmp_path / "far"
    options = ["--root", far, "--manifests", fetched, "--mirror", folder]
    done = autods("fetch", "ann", "bob", *options)
    assert done.returncode == 1
    assert "Not from the mirror: ann/a.bin (not here)." in done.stderr
    assert (far / "datasets" / "ann" / "archives" / "b" / "c.bin").is_file()
    assert (far / "datasets" / "bob" / "archives" / "a.bin").is_file()
    # what is missing in the mirror comes from the root when the mirror is made again
    done = autods("mirror", folder, "--root", root.path, "--manifests", fetched)
    assert done.returncode == 0
    assert autods("fetch", "ann", "bob", *options).returncode == 0


def test_what_is_not_fetched_is_named_and_fails_only_if_it_was_asked_for(fetched, root, tmp_path):
    root.archive("ann", "a.bin").unlink()
    folder = tmp_path / "mirror"
    options = ["--root", root.path, "--manifests", fetched]
    done = autods("mirror", folder, *options)
    assert done.returncode == 0, done.stderr
    assert "- ann/a.bin" in (folder / "README.md").read_text()
    done = autods("mirror", folder, "ann", *options)
    assert done.returncode == 1
    assert "1 file not fetched" in done.stderr
    assert "| bob | 1 of 1 |" in (folder / "README.md").read_text()


def test_an_archive_that_has_changed_does_not_enter_the_mirror(fetched, root, tmp_path):
    archive = root.archive("ann", "a.bin")
    size = archive.stat().st_size
    archive.write_bytes(b"\0" * size)
    with pytest.raises(FetchError, match=r"no mirror gave it[\s\S]*Move .* away and run"):
        mirrored(root, tmp_path / "mirror", fetched)
    assert not (tmp_path / "mirror" / "ann" / "a.bin").exists()
    assert archive.stat().st_size == size


def test_links_take_no_space_and_are_verified_like_copies(fetched, root, tmp_path):
    folder = tmp_path / "mirror"
    done = mirrored(root, folder, fetched, link=True)
    assert [one.copied for one in done] == [["a.bin", "b/c.bin"], ["a.bin"]]
    assert (folder / "bob" / "a.bin").samefile(root.archive("bob", "a.bin"))
    assert [one.kept for one in mirrored(root, folder, fetched, link=True)] == [
        ["a.bin", "b/c.bin"], ["a.bin"],
    ]  # fmt: skip


def test_a_killed_copy_is_continued_and_has_the_same_bytes(fetched, root, tmp_path):
    folder, body = tmp_path / "mirror", content("bob/a.bin")
    part = folder / "bob" / "a.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(body[:40_000])
    (done,) = [one for one in mirrored(root, folder, fetched) if one.dataset == "bob"]
    assert done.copied == ["a.bin"]
    assert (folder / "bob" / "a.bin").read_bytes() == body
    (folder / "bob" / "a.bin").unlink()
    part.write_bytes(b"\0" * 40_000)  # of something else
    mirrored(root, folder, fetched)
    assert (folder / "bob" / "a.bin").read_bytes() == body
    assert not part.exists()


def test_the_data_root_is_no_place_for_a_mirror(root, tmp_path):
    root.path.mkdir(parents=True)
    for wrong in (root.path, root.path / "datasets", root.path / "datasets" / "ann"):
        with pytest.raises(UsageError, match="holds the data root itself"):
            check_mirror_folder(wrong, root)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        check_mirror_folder(tmp_path / "file", root)
    assert check_mirror_folder(root.path / "mirror", root) == root.path / "mirror"
