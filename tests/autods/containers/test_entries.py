"""Links, sparse members, joined archives: what unpacking would give, without unpacking."""

import io
import os
import struct
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from archives import make_folder, make_tar, make_zip
from container_tools import opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from system_tools import tool

from autods.containers.base import Why
from autods.core.trees import list_tree
from autods.errors import ContainerError

STREAMS = ["", "gz", "bz2", "xz"]


def contents(container) -> dict[str, bytes]:
    return {member.name: container.read(member.name) for member in container.members()}


def unpacked(folder: Path) -> dict[str, bytes]:
    return {file.name: (folder / file.name).read_bytes() for file in list_tree(folder).files}


names = st.sampled_from(["a", "b", "c"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
targets = st.one_of(paths, paths.map("../{}".format), paths.map("../../{}".format), st.just("."))
entries = st.lists(
    st.one_of(
        st.tuples(paths, st.just("file"), st.binary(min_size=1, max_size=9).map(repr)),
        st.tuples(paths, st.just("symlink"), targets),
        st.tuples(paths, st.just("hard"), paths),
    ),
    min_size=1,
    max_size=7,
    unique_by=lambda entry: entry[0],
)


@given(entries=entries, packed=st.sampled_from(STREAMS))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_tar_with_links_has_the_files_that_unpacking_gives(tmp_path_factory, entries, packed):
    folder = tmp_path_factory.mktemp("links")
    tree = folder / "tree"
    tree.mkdir()
    written = []
    for name, kind, content in entries:  # only what a file system can hold is packed
        place = tree / name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.resolve().parent != tree.joinpath(name).parent.absolute():
                continue  # below a link
            if kind == "file":
                place.write_bytes(content.encode())
            elif kind == "symlink":
                place.symlink_to(content)
            else:
                os.link(tree / content, place, follow_symlinks=False)
            written.append(name)
        except (OSError, RuntimeError):  # 3.11 raises the latter for a link to itself
            continue
    source = folder / f"x.tar.{packed}".rstrip(".")
    with tarfile.open(source, f"w:{packed}") as archive:
        for name in written:
            archive.add(tree / name, name, recursive=False)
    _, _, container = opened(folder, source)
    inside = os.path.realpath(tree) + "/"
    expected = {
        name: data
        for name, data in unpacked(tree).items()
        if os.path.realpath(tree / name).startswith(inside)
    }
    assert contents(container) == expected


@pytest.mark.parametrize("kind", ["x.zip", "x.7z", "x.tar", "x.tgz"])
def test_links_are_followed_in_every_kind_of_archive(tmp_path, kind):
    tree = make_folder(tmp_path / "tree", {"cat/1.jpg": b"one", "cat/2.jpg": b"two"})
    (tree / "cat" / "link.jpg").symlink_to("1.jpg")
    (tree / "dog").symlink_to("cat")
    (tree / "eel").symlink_to("dog/../cat")
    (tree / "out.jpg").symlink_to("/etc/passwd")
    (tree / "up.jpg").symlink_to("../tree/cat/1.jpg")
    (tree / "gone.jpg").symlink_to("nowhere.jpg")
    (tree / "loop.jpg").symlink_to("loop.jpg")
    (tree / "cat" / "all").symlink_to("..")
    source = tmp_path / kind
    if kind == "x.zip":
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(tree.rglob("*")):
                info = zipfile.ZipInfo(path.relative_to(tree).as_posix())
                if path.is_symlink():
                    info.external_attr = 0o120777 << 16
                    archive.writestr(info, str(path.readlink()))
                elif path.is_file():
                    archive.write(path, info.filename)
    elif kind == "x.7z":
        command = [tool("7zz", "7z", "7za"), "a", "-snl", str(source), "."]
        subprocess.run(command, cwd=tree, check=True, capture_output=True)
    else:
        with tarfile.open(source, "w:gz" if kind == "x.tgz" else "w") as archive:
            archive.add(tree, ".")
    _, _, container = opened(tmp_path, source)
    of_cat = {"1.jpg": b"one", "2.jpg": b"two", "link.jpg": b"one"}
    assert contents(container) == {
        f"{c}/{n}": of_cat[n] for c in ("cat", "dog", "eel") for n in of_cat
    }
    lost = {name for name, why in container.left if why == Why.LINK}
    assert {"out.jpg", "up.jpg", "gone.jpg", "loop.jpg", "cat/all"} <= lost
    assert container.links == {"cat/link.jpg", *(n for n in contents(container) if n[0] in "de")}


def test_a_link_to_the_whole_archive_can_be_a_part_of_another_links_way(tmp_path):
    source = tmp_path / "x.tar"
    with tarfile.open(source, "w") as archive:
        for name, target in [("a", "."), ("x/up", ".."), ("c", "a/b"), ("d", "x/up/x/up/b")]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
        info = tarfile.TarInfo("b")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"bee"))
    _, _, container = opened(tmp_path, source)
    assert contents(container) == {"b": b"bee", "c": b"bee", "d": b"bee"}
    assert sorted(container.left) == [("a", Why.LINK), ("x/up", Why.LINK)]


def test_links_that_multiply_without_end_are_refused_or_end(tmp_path):
    source = tmp_path / "x.tar"
    with tarfile.open(source, "w") as archive:
        for level in range(40):
            for side in "ab":
                info = tarfile.TarInfo(f"{level}/{side}")
                info.type, info.linkname = tarfile.SYMTYPE, f"../{level + 1}"
                archive.addfile(info)
        info = tarfile.TarInfo("40/x.jpg")
        archive.addfile(info)
    with pytest.raises(ContainerError, match="without end"):
        opened(tmp_path, source)


@pytest.mark.parametrize("format", ["gnu", "oldgnu", "posix", "pax0.0", "pax0.1"])
@pytest.mark.parametrize("packed", ["", "z"])
def test_sparse_members_are_read_with_their_holes(tmp_path, format, packed):
    tree = make_folder(tmp_path / "tree", {"plain.jpg": b"plain" * 99})
    rng, expected = np.random.default_rng(0), {"plain.jpg": b"plain" * 99}
    for number, (size, blocks) in enumerate(
        [(50_000, [0]), (90_000, [1, 3, 5, 7, 9, 11, 13, 15]), (40_000, [])]
    ):
        with (tree / f"{number}.bmp").open("wb") as handle:
            for block in blocks:
                handle.seek(block * 4096)
                handle.write(rng.bytes(4096))
            handle.truncate(size)
        expected[f"{number}.bmp"] = (tree / f"{number}.bmp").read_bytes()
    source = tmp_path / f"x.{'tgz' if packed else 'tar'}"
    version = format.removeprefix("pax") if format.startswith("pax") else "1.0"
    command = ["tar", f"c{packed}Sf", str(source), f"--sparse-version={version}"]
    command.append(f"--format={'posix' if format.startswith('pax') else format}")
    subprocess.run([*command, *sorted(expected)], cwd=tree, check=True)
    _, _, container = opened(tmp_path, source)
    assert contents(container) == expected
    assert [name for name, _ in container.left] == []


def test_a_sparse_member_that_claims_terabytes_is_refused(tmp_path):
    with (tmp_path / "big.bmp").open("wb") as handle:
        handle.truncate(1 << 40)
    subprocess.run(["tar", "cSf", "x.tar", "big.bmp"], cwd=tmp_path, check=True)
    with pytest.raises(ContainerError, match=r"big\.bmp' claims 1,099,511,627,776 bytes"):
        opened(tmp_path, tmp_path / "x.tar")
    assert list((tmp_path / "root").rglob("*.tar")) == [
        tmp_path / "root/datasets/things/archives/x.tar"
    ]


@pytest.mark.parametrize("gap", [0, 1, 17])
@pytest.mark.parametrize("packed", STREAMS)
def test_tars_one_after_the_other_are_one(tmp_path, packed, gap):
    whole = b""
    for number in range(3):
        part = make_tar(
            tmp_path / f"{number}.tar", {f"{number}/{i}.jpg": bytes([i, number]) for i in range(4)}
        )
        whole += part.read_bytes() + bytes(512 * gap)
    source = tmp_path / "x.tar"
    source.write_bytes(whole)
    if packed:
        command = {"gz": "gzip", "bz2": "bzip2", "xz": "xz"}[packed]
        subprocess.run([command, source], check=True)
    _, _, container = opened(tmp_path, source.with_name(f"x.tar.{packed}".rstrip(".")))
    assert contents(container) == {
        f"{n}/{i}.jpg": bytes([i, n]) for n in range(3) for i in range(4)
    }


def test_zips_one_after_the_other_are_one_and_other_bytes_are_told(tmp_path):
    parts = [
        make_zip(tmp_path / f"{n}.zip", {f"{n}.jpg": bytes([n])}).read_bytes() for n in range(4)
    ]
    source = tmp_path / "x.zip"
    source.write_bytes(b"".join(parts))
    _, _, container = opened(tmp_path / "whole", source)
    assert contents(container) == {f"{n}.jpg": bytes([n]) for n in range(4)}
    source.write_bytes(b"MZ a program that unpacks itself" + parts[0])
    _, _, container = opened(tmp_path / "program", source)
    assert contents(container) == {"0.jpg": b"\0"}
    assert container.left == [("(32 bytes before the archive)", Why.UNSUPPORTED)]


def test_what_the_directory_of_a_zip_does_not_name_is_told(tmp_path):
    source = tmp_path / "x.zip"
    whole = bytearray(make_zip(source, {f"{n}.jpg": bytes([n]) for n in range(4)}).read_bytes())
    directory, last = whole.find(b"PK\1\2"), whole.rfind(b"PK\5\6")
    entries = [b"PK\1\2" + part for part in whole[directory:last].split(b"PK\1\2")[1:]]
    for gone in (0, 1, 3):
        kept = b"".join(entry for n, entry in enumerate(entries) if n != gone)
        end = struct.pack("<4s4xHHIIH", b"PK\5\6", 3, 3, len(kept), directory, 0)
        source.write_bytes(whole[:directory] + kept + end)
        _, _, container = opened(tmp_path / f"{gone}", source)
        assert f"{gone}.jpg" not in contents(container) and len(contents(container)) == 3
        (told,) = container.left
        where = "before the archive" if gone == 0 else "which the archive does not name"
        assert where in told[0] and told[1] == Why.UNSUPPORTED


def test_bytes_after_a_zip_and_content_of_its_folders_are_told(tmp_path):
    source = tmp_path / "x.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("a/", b"")
        archive.writestr("a/1.jpg", b"1")
        archive.writestr("a/2.jpg/", b"an image of a folder's name")
        archive.comment = b"a comment PK"
    source.write_bytes(source.read_bytes() + b"garbage")
    _, _, container = opened(tmp_path, source)
    assert contents(container) == {"a/1.jpg": b"1"}
    assert container.left == [
        ("a/2.jpg/", Why.UNSUPPORTED), ("(7 bytes after the end of the archive)", Why.UNSUPPORTED),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["x.zip", "x.tar", "x.tgz"])
def test_one_path_written_in_several_ways_is_one_member(tmp_path, kind):
    names = ["./a/1.jpg", "a//1.jpg", "a/./1.jpg", ".//a/././/1.jpg"]
    files = {name: name.encode() for name in names}
    source = (make_zip if kind == "x.zip" else make_tar)(tmp_path / kind, files)
    _, _, container = opened(tmp_path, source)
    assert contents(container) == {"a/1.jpg": names[-1].encode()}
    assert container.left == [("a/1.jpg", Why.REPLACED)] * 3


@pytest.mark.parametrize("rest", [b"garbage", b"\1" * 600, b"x" * 5000])
@pytest.mark.parametrize("kind", ["x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz"])
def test_bytes_after_the_end_do_no_harm_and_are_told(tmp_path, kind, rest):
    files = {f"{i}.jpg": bytes([i]) * 700 for i in range(4)}
    source = make_tar(tmp_path / kind, files, f"w:{kind[6:]}")
    source.write_bytes(source.read_bytes() + rest)
    _, _, container = opened(tmp_path, source)
    assert contents(container) == files
    told = [(f"({len(rest):,} bytes after the end of the archive)", Why.UNSUPPORTED)]
    assert container.left == (told if kind == "x.tar" else [])  # compressed: a note, once


def test_special_files_replaced_and_hidden_ones_are_accounted_for(tmp_path):
    source = tmp_path / "x.tar"
    with tarfile.open(source, "w") as archive:
        for name, kind in [("pipe", tarfile.FIFOTYPE), ("disk", tarfile.BLKTYPE), ("new", b"Q")]:
            info = tarfile.TarInfo(name)
            info.type = kind
            archive.addfile(info)
        for name, data in [("a.jpg", b"1"), ("a.jpg", b"22"), ("__MACOSX/a.jpg", b"3"), ("b", b"")]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    _, _, container = opened(tmp_path, source)
    assert contents(container) == {"a.jpg": b"22", "b": b""}
    assert sorted(container.left) == [
        ("__MACOSX/a.jpg", Why.HIDDEN), ("a.jpg", Why.REPLACED), ("disk", Why.UNSUPPORTED),
        ("new", Why.UNSUPPORTED), ("pipe", Why.UNSUPPORTED),
    ]  # fmt: skip
