"""Archives inside archives: which are opened, and where their members are read."""

import tarfile
import zipfile

import pytest
from archives import make_folder, make_tar, make_zip, open_file, placed
from container_tools import FILES, KEPT, build, inner_bytes, opened

from autods.containers import MemberReader
from autods.errors import ContainerError, UnsafePath

OUTER = ["x.zip", "deflated.zip", "x.tar", "x.tgz", "folder", "x.rar", "deflate64.zip"]
INNER = [
    "in.zip", "deflated.zip", "in.tar", "in.tgz", "in.tar.xz", "in.rar", "in.7z", "deflate64.zip",
]  # fmt: skip
ALL = ["**/*"]


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("kind", INNER)
def test_members_of_inner_archives_are_listed_and_read(tmp_path, outer, kind):
    content = {f"sub!/{kind}": inner_bytes(tmp_path, kind), "top.jpg": b"top"}
    root, manifest, container = opened(tmp_path, build(tmp_path, outer, content), nested=ALL)
    names = [f"sub!/{kind}!/{name}" for name in KEPT]
    assert [member.name for member in container.members()] == [*names, "top.jpg"]
    reader = MemberReader(root, manifest.name)
    for member in container.members():
        expected = FILES.get(member.name.removeprefix(f"sub!/{kind}!/"), b"top")
        assert reader.read(outer, member.name, member.offset, member.size) == expected
        with reader.open(outer, member.name, member.offset, member.size) as handle:
            assert handle.read() == expected


@pytest.mark.parametrize(("outer", "kind", "copies"), [
    ("x.zip", "in.zip", []),
    ("x.zip", "in.tar", []),
    ("x.tar", "deflated.zip", []),
    ("folder", "in.tar", []),
    ("x.tgz", "in.zip", ["x.tgz.tar"]),
    ("deflated.zip", "in.tar", ["deflated.zip!/in.tar"]),
    ("deflated.zip", "in.tgz", ["deflated.zip!/in.tgz.tar"]),
    ("folder", "in.tgz", ["folder!/in.tgz.tar"]),
    ("x.zip", "in.rar", ["x.zip!/in.rar.tar"]),
])  # fmt: skip
def test_only_what_cannot_be_read_in_place_is_copied(tmp_path, outer, kind, copies):
    source = build(tmp_path, outer, {kind: inner_bytes(tmp_path, kind), "top.jpg": b"top"})
    root, manifest, container = opened(tmp_path, source, nested=ALL)
    folder = root.converted(manifest.name, "x").parent
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert sorted(found) == sorted([*copies, *(f"{copy}.source" for copy in copies)])
    places = [(outer, member.name, member.offset) for member in container.members()]
    paths = MemberReader(root, manifest.name).paths(places)
    inner = {folder / copy for copy in copies if "!/" in copy}
    assert inner <= paths
    assert all(path.exists() for path in paths)


def test_archives_that_match_no_pattern_stay_members(tmp_path):
    content = {
        "train.zip": inner_bytes(tmp_path, "in.zip"),
        "models/net.zip": inner_bytes(tmp_path, "in.zip"),
        "a.jpg": b"a",
    }
    _, _, container = opened(tmp_path, build(tmp_path, "x.tar", content), nested=["*.zip", "*.jpg"])
    names = [member.name for member in container.members()]
    assert names == ["a.jpg", "models/net.zip", *(f"train.zip!/{name}" for name in KEPT)]
    assert container.read("models/net.zip") == content["models/net.zip"]


def test_an_inner_copy_is_made_again_only_for_another_archive(tmp_path):
    source = build(tmp_path, "x.zip", {"in.tgz": inner_bytes(tmp_path, "in.tgz")})
    root, manifest, _ = opened(tmp_path, source, nested=ALL)
    copy = root.converted(manifest.name, "x.zip!/in.tgz.tar")
    first = copy.stat().st_mtime_ns
    open_file(root, manifest, "x.zip", nested=ALL)
    assert copy.stat().st_mtime_ns == first
    source.write_bytes(
        make_zip(
            tmp_path / "y.zip", {"in.tgz": inner_bytes(tmp_path, "in.tgz", {"new.jpg": b"n"})}
        ).read_bytes()
    )
    other = placed(root, manifest, {"x.zip": source})
    container = open_file(root, other, "x.zip", nested=ALL)
    assert [member.name for member in container.members()] == ["in.tgz!/new.jpg"]
    assert container.read("in.tgz!/new.jpg") == b"n"


@pytest.mark.parametrize("kind", ["in.zip", "deflated.zip", "in.tgz"])
@pytest.mark.parametrize("outer", ["x.zip", "deflated.zip", "folder"])
def test_a_damaged_inner_archive_is_named(tmp_path, kind, outer):
    data = inner_bytes(tmp_path, kind)
    source = build(tmp_path, outer, {f"sub/{kind}": data[: len(data) // 2]})
    with pytest.raises(ContainerError, match=rf"{outer}/sub/{kind} is damaged"):
        opened(tmp_path, source, nested=ALL)


def test_a_deleted_inner_copy_is_missed(tmp_path):
    source = build(tmp_path, "deflated.zip", {"in.zip": inner_bytes(tmp_path, "in.zip")})
    root, manifest, container = opened(tmp_path, source, nested=ALL)
    root.converted(manifest.name, "deflated.zip!/in.zip").unlink()
    with pytest.raises(ContainerError, match="autods index"):
        container.read("in.zip!/a/one.jpg")


def test_an_unsafe_name_in_an_inner_archive_is_refused(tmp_path):
    inner = make_tar(tmp_path / "in.tar", {"../evil.jpg": b"x"}).read_bytes()
    with pytest.raises(UnsafePath, match=r"x\.zip/in\.tar.*evil"):
        opened(tmp_path, build(tmp_path, "x.zip", {"in.tar": inner}), nested=ALL)


def test_folders_whose_names_end_like_an_inner_archive_are_not_mistaken_for_one(tmp_path):
    inner = make_zip(tmp_path / "in.zip", {"wow!/x.jpg": b"x"}, zipfile.ZIP_DEFLATED)
    files = {"wow!/a.jpg": b"a", "wow!/in.zip": inner.read_bytes(), "in.zip!/b.jpg": b"b"}
    for outer in ("folder", "deflated.zip"):
        _, _, container = opened(
            tmp_path / f"of {outer}", build(tmp_path, outer, files), nested=ALL
        )
        assert {m.name: container.read(m.name) for m in container.members()} == {
            "wow!/a.jpg": b"a", "wow!/in.zip!/wow!/x.jpg": b"x", "in.zip!/b.jpg": b"b",
        }  # fmt: skip


def test_links_in_inner_tars_are_not_members(tmp_path):
    path = tmp_path / "in.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("link.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
        archive.add(make_folder(tmp_path / "f", {"a.jpg": b"a"}) / "a.jpg", "a.jpg")
    source = build(tmp_path, "x.zip", {"in.tar": path.read_bytes()})
    _, _, container = opened(tmp_path, source, nested=ALL)
    assert [member.name for member in container.members()] == ["in.tar!/a.jpg"]
