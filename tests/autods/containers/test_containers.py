import gzip
import io
import multiprocessing
import os
import pickle
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from archives import folders_layout, make_folder, make_tar, make_zip, manifest_of, open_file, placed
from container_tools import FILES, KEPT, Pipe, build, opened, setting
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autods.containers import MemberReader
from autods.core.root import DataRoot
from autods.errors import ContainerError, UnsafePath

KINDS = [
    "x.zip", "deflated.zip", "x.tar", "x.tgz", "x.tar.gz", "x.tar.bz2", "x.tar.xz", "folder",
    "x.rar", "x.7z", "deflate64.zip",
]  # fmt: skip
CONVERTED = ["x.tgz", "x.rar", "x.7z", "deflate64.zip", "x.csv.gz", "x.csv.bz2", "x.csv.xz"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_lists_the_same_members_and_reads_them_in_place(tmp_path, kind):
    root, manifest, container = opened(tmp_path, build(tmp_path, kind))
    members = container.members()
    assert [member.name for member in members] == KEPT
    reader = MemberReader(root, manifest.name)
    for member in members:
        assert container.read(member.name) == FILES[member.name]
        assert reader.read(kind, member.name, member.offset, member.size) == FILES[member.name]
    container.close()
    reader.close()


def test_offsets_of_stored_members_point_at_their_bytes(tmp_path):
    source = build(tmp_path, "x.zip")
    _, _, container = opened(tmp_path, source)
    data = source.read_bytes()
    for member in container.members():
        assert data[member.offset : member.offset + member.size] == FILES[member.name]


def test_a_plain_file_is_a_container_with_one_member(tmp_path):
    source = make_folder(tmp_path / "s", {"list.txt": b"1\n2\n"}) / "list.txt"
    _, _, container = opened(tmp_path, source)
    assert [(m.name, m.size) for m in container.members()] == [("list.txt", 4)]
    assert container.read("list.txt") == b"1\n2\n"


def test_links_are_members_with_the_content_that_they_lead_to(tmp_path):
    folder = build(tmp_path, "folder")
    (folder / "link.jpg").symlink_to("notes.txt")
    (folder / "linked").symlink_to(folder / "a")
    tar = tmp_path / "l.tar"
    with tarfile.open(tar, "w") as archive:
        archive.add(folder / "notes.txt", "notes.txt")
        archive.add(folder / "link.jpg", "link.jpg")
    linked = ["link.jpg", "linked/empty.jpg", "linked/one.jpg"]
    for source, names in [
        (folder, sorted([*KEPT, *linked])),
        (tar, ["link.jpg", "notes.txt"]),
    ]:
        root = DataRoot(tmp_path / f"root-{source.name}")
        target = root.archive("things", source.name)
        target.parent.mkdir(parents=True)
        target.symlink_to(source)
        manifest = manifest_of({source.name: source}, folders_layout(source.name))
        container = open_file(root, manifest, source.name)
        assert [member.name for member in container.members()] == names
        assert container.read("link.jpg") == FILES["notes.txt"]
        assert container.links <= set(linked)


@pytest.mark.parametrize("name", ["../evil.jpg", "/etc/evil.jpg", "a/../../evil.jpg", "..\\e.jpg"])
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_an_unsafe_name_is_refused_with_archive_and_member(tmp_path, make, name):
    source = make(tmp_path / ("x.zip" if make is make_zip else "x.tar"), {name: b"x"})
    with pytest.raises(UnsafePath) as caught:
        opened(tmp_path, source)
    assert name in str(caught.value)
    assert source.name in str(caught.value)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_an_archive_cut_anywhere_is_a_container_error(tmp_path, kind):
    source = build(tmp_path, kind)
    whole = source.read_bytes()
    end = len(whole.rstrip(b"\0")) if kind == "x.tar" else len(whole)  # a tar's padding is long
    for index, cut in enumerate(range(0, end, max(1, end // 12))):
        source.write_bytes(whole[:cut])
        with pytest.raises(ContainerError, match=r"damaged|fetch"):
            opened(tmp_path / str(index), source)
        leftover = (tmp_path / str(index) / "root").rglob("*.tar")
        assert [path for path in leftover if "converted" in path.parts] == []


def test_a_broken_header_inside_a_tar_is_not_taken_for_its_end(tmp_path):
    source = make_tar(tmp_path / "x.tar", {f"{i}.jpg": b"x" * 600 for i in range(5)})
    data = bytearray(source.read_bytes())
    data[3 * 1536 + 20] ^= 0xFF
    source.write_bytes(data)
    with pytest.raises(ContainerError, match="no end of archive"):
        opened(tmp_path, source)


@pytest.mark.parametrize("padding", [True, False])
def test_a_tar_that_ends_with_its_last_member_is_read(tmp_path, padding):
    files = {f"{i}.jpg": bytes([i]) * 600 for i in range(5)}
    source = make_tar(tmp_path / "x.tar", files)
    size = 5 * 1536 if padding else 4 * 1536 + 512 + 600
    os.truncate(source, size)
    _, _, container = opened(tmp_path, source)
    assert {m.name: container.read(m.name) for m in container.members()} == files
    os.truncate(source, size - 425)
    with pytest.raises(ContainerError, match="damaged or incomplete"):
        opened(tmp_path / "cut", source)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_names_in_a_tar_that_are_not_utf_8_are_taken_as_latin_1(tmp_path, mode):
    source = make_tar(tmp_path / ("x.tar" if mode == "w" else "x.tgz"), {}, mode)
    with tarfile.open(source, mode, encoding="latin-1", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("caf\xe9/1.jpg")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    _, _, container = opened(tmp_path, source)
    assert [member.name for member in container.members()] == ["caf\xe9/1.jpg"]
    assert container.read("caf\xe9/1.jpg") == b"x"


def test_a_name_in_a_folder_that_is_not_utf_8_is_one_message(tmp_path):
    source = make_folder(tmp_path / "things", {"cat/1.jpg": b"1"})
    (source / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    with pytest.raises(ContainerError, match=r"things: .*'caf\\xe9\.jpg'.* UTF-8") as caught:
        opened(tmp_path, source)
    str(caught.value).encode()


def test_a_web_page_saved_as_an_archive_is_a_container_error(tmp_path):
    for kind in ("x.zip", "x.tar", "x.tgz", "x.tar.xz"):
        source = make_folder(tmp_path / "s", {kind: b"<html>quota exceeded</html>"}) / kind
        with pytest.raises(ContainerError, match=kind.replace(".", r"\.")):
            opened(tmp_path / kind, source)


def test_a_damaged_member_of_a_zip_is_named(tmp_path):
    source = make_zip(tmp_path / "x.zip", {"a.jpg": os.urandom(3000)}, zipfile.ZIP_DEFLATED)
    data = bytearray(source.read_bytes())
    data[35:80] = b"\xff" * 45
    source.write_bytes(data)
    _, _, container = opened(tmp_path, source)
    with pytest.raises(ContainerError, match=r"a\.jpg"):
        container.read("a.jpg")


def test_a_member_that_holds_more_than_its_zip_says_is_refused(tmp_path):
    """A deflate bomb does not fill the memory: reading stops one byte too far."""
    source = make_zip(tmp_path / "x.zip", {"a.jpg": b"0" * 10_000_000}, zipfile.ZIP_DEFLATED)
    root, manifest, container = opened(tmp_path, source)
    offset = container.members()[0].offset
    with pytest.raises(ContainerError, match="expected 100 bytes"):
        MemberReader(root, manifest.name).read("x.zip", "a.jpg", offset, 100)


def test_encrypted_and_rarely_compressed_zips_are_refused(tmp_path):
    rare = make_zip(tmp_path / "rare.zip", {"a.jpg": b"x" * 99}, zipfile.ZIP_BZIP2)
    with pytest.raises(ContainerError, match="method 12"):
        opened(tmp_path, rare)
    secret = make_zip(tmp_path / "secret.zip", {"a.jpg": b"x"})
    data = secret.read_bytes()
    at = data.index(b"PK\x01\x02") + 8
    secret.write_bytes(data[:at] + b"\x01" + data[at + 1 :])
    with pytest.raises(ContainerError, match="encrypted"):
        opened(tmp_path, secret)


def test_a_streamed_zip_without_sizes_in_its_headers_is_read(tmp_path):
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in KEPT:
            archive.writestr(name, FILES[name])
    source = tmp_path / "x.zip"
    source.write_bytes(pipe.data)
    _, _, container = opened(tmp_path, source)
    assert {name: container.read(name) for name in KEPT} == {name: FILES[name] for name in KEPT}


def test_the_last_of_two_members_with_one_name_counts(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for data in (b"old", b"newer"):
            info = tarfile.TarInfo("./a.jpg")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    _, _, container = opened(tmp_path, path)
    assert [member.name for member in container.members()] == ["a.jpg"]
    assert container.read("a.jpg") == b"newer"


def test_a_zip_written_on_windows_with_backslashes_holds_folders(tmp_path):
    source = tmp_path / "a.zip"
    with zipfile.ZipFile(source, "w") as archive:
        for system, name in ((0, "a\\b\\"), (0, "a\\b\\1.jpg"), (3, "a\\2.jpg"), (0, "a/3\\4.jpg")):
            info = zipfile.ZipInfo(name)
            info.create_system = system
            archive.writestr(info, name)
    container = opened(tmp_path, source)[-1]
    assert [m.name for m in container.members()] == ["a/3\\4.jpg", "a/b/1.jpg", "a\\2.jpg"]
    assert container.read("a/b/1.jpg") == b"a\\b\\1.jpg"


def test_a_member_is_found_by_another_form_of_its_unicode_name(tmp_path):
    container = opened(tmp_path, make_zip(tmp_path / "a.zip", {"cafe\u0301.jpg": b"x"}))[-1]
    assert container.read("caf\u00e9.jpg") == b"x"
    assert container.find("caf\u00e9.jpg").name == "cafe\u0301.jpg"


def test_missing_files_and_members_and_unknown_kinds_say_what_to_do(tmp_path):
    source = build(tmp_path, "x.zip")
    root, manifest, file = setting(tmp_path, source)
    with pytest.raises(ContainerError, match="was expected"):
        open_file(root, manifest, file).read("nowhere.jpg")
    root.archive(manifest.name, file).unlink()
    with pytest.raises(ContainerError, match="autods fetch things"):
        open_file(root, manifest, file)
    with pytest.raises(ContainerError, match="autods fetch"):
        MemberReader(root, manifest.name).read(file, "a/one.jpg", 40, 5)
    rare = make_folder(tmp_path / "s", {"x.tar.zst": b"zst"}) / "x.tar.zst"
    with pytest.raises(ContainerError, match="Repack"):
        opened(tmp_path / "rare", rare)


def test_a_file_that_became_shorter_is_noticed(tmp_path):
    root, manifest, container = opened(tmp_path, build(tmp_path, "x.tar"))
    last = max(container.members(), key=lambda member: member.offset)
    path = root.archive(manifest.name, "x.tar")
    with path.open("rb+") as handle:
        handle.truncate(last.offset + 1)
    with pytest.raises(ContainerError, match="ends before"):
        container.read(last.name)


@pytest.mark.parametrize("kind", CONVERTED)
def test_conversion_happens_once_and_again_for_another_checksum(tmp_path, kind):
    source = build(tmp_path, kind)
    root, manifest, file = setting(tmp_path, source)
    converted = root.converted(manifest.name, f"{kind}.tar")
    open_file(root, manifest, file)
    first = converted.stat()
    open_file(root, manifest, file)
    assert converted.stat().st_mtime_ns == first.st_mtime_ns
    source.unlink()
    other = placed(root, manifest, {file: build(tmp_path, kind, {"b/two.jpg": b"new"})})
    container = open_file(root, other, file)
    assert [container.read(member.name) for member in container.members()] == [b"new"]


@pytest.mark.parametrize("kind", CONVERTED)
def test_a_copy_that_was_deleted_is_missed_and_nothing_else_is_read_in_its_stead(tmp_path, kind):
    root, manifest, container = opened(tmp_path, build(tmp_path, kind))
    places = [(kind, m.name, m.offset, m.size) for m in container.members()]
    reader = MemberReader(root, manifest.name)
    paths = reader.paths((file, name, offset) for file, name, offset, _ in places)
    assert paths == {root.converted(manifest.name, f"{kind}.tar")}
    paths.pop().unlink()
    with pytest.raises(ContainerError, match="autods index"):
        reader.read(*places[-1])


@pytest.mark.parametrize("kind", ["x.csv.gz", "x.csv.bz2", "x.csv.xz"])
def test_a_single_compressed_file_is_a_container_with_its_content(tmp_path, kind):
    _, _, container = opened(tmp_path, build(tmp_path, kind))
    assert [(m.name, m.size) for m in container.members()] == [("x.csv", 300)]
    assert container.read("x.csv") == container.read(kind) == FILES["b/two.jpg"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_of_any_size_can_be_opened_as_a_file(tmp_path, kind):
    data = bytes(range(256)) * 3000
    files = {"a.bin": data, "a.bin.gz": gzip.compress(data)}
    root, manifest, container = opened(tmp_path, build(tmp_path, kind, files))
    for name in files:
        with container.open(name) as handle:
            assert handle.read() == data
            handle.seek(-300, os.SEEK_END)
            assert handle.read(3) == data[-300:-297]
    left = {path.name for path in root.converted(manifest.name, "x").parent.glob("*")}
    assert left <= {f"{kind}.tar", f"{kind}.tar.source"}


@pytest.mark.parametrize("kind", CONVERTED)
def test_a_copy_that_cannot_be_written_is_one_message(tmp_path, kind):
    root, manifest, file = setting(tmp_path, build(tmp_path, kind))
    root.converted(manifest.name, "x").parent.write_text("a file where the folder should be")
    with pytest.raises(ContainerError, match=r"could not be written: .*archives are untouched"):
        open_file(root, manifest, file)


def test_a_damaged_member_that_is_opened_as_a_file_is_named(tmp_path):
    packed = bytearray(gzip.compress(os.urandom(3000)))
    packed[100:200] = bytes(100)
    _, _, container = opened(tmp_path, build(tmp_path, "x.zip", {"a.gz": bytes(packed)}))
    with pytest.raises(ContainerError, match=r"x\.zip/a\.gz is damaged"):
        container.open("a.gz")


@pytest.mark.parametrize("kind", ["x.zip", "folder"])
def test_a_reader_that_is_forgotten_leaves_no_file_open(tmp_path, kind):
    root, manifest, container = opened(tmp_path, build(tmp_path, kind))
    reader, member = MemberReader(root, manifest.name), container.members()[0]
    reader.read(kind, member.name, member.offset, member.size)
    held = [*(number for number, _ in reader._open.values()), *reader._folders.values()]
    assert held
    del reader
    for number in held:
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(number)


def _digest(job: tuple[MemberReader, str, str, int, int]) -> bytes:
    reader, *place = job
    return b"".join(reader.read(*place) for _ in range(50))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_reader_that_is_open_can_be_given_to_other_processes(tmp_path, method):
    files = {f"{i}.jpg": bytes([i]) * (1000 + i) for i in range(8)}
    root, manifest, container = opened(tmp_path, build(tmp_path, "deflated.zip", files))
    reader = MemberReader(root, manifest.name)
    jobs = [(reader, "deflated.zip", m.name, m.offset, m.size) for m in container.members()]
    expected = [_digest(job) for job in jobs]
    assert pickle.loads(pickle.dumps(reader))._open == {}
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(_digest, jobs) == expected


def test_a_reader_can_be_shared_by_threads(tmp_path):
    files = {f"{i}.jpg": bytes([i]) * (1000 + i) for i in range(8)}
    root, manifest, container = opened(tmp_path, build(tmp_path, "x.tar", files))
    reader = MemberReader(root, manifest.name)
    jobs = [(reader, "x.tar", m.name, m.offset, m.size) for m in container.members()] * 10
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(_digest, jobs)) == [_digest(job) for job in jobs]


names = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="/\\\0"), min_size=1, max_size=12)
    .filter(lambda part: part not in (".", "..", "__MACOSX", ".DS_Store")),
    min_size=1,
    max_size=3,
).map("/".join)  # fmt: skip


@given(files=st.dictionaries(names, st.binary(max_size=2000), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_packed_is_listed_and_read_back(tmp_path_factory, files):
    for kind in ("x.zip", "deflated.zip", "x.tgz", "x.rar"):
        folder = tmp_path_factory.mktemp("p")
        _, _, container = opened(folder, build(folder, kind, files))
        assert {m.name: container.read(m.name) for m in container.members()} == files
        assert [m.name for m in container.members()] == sorted(files)
