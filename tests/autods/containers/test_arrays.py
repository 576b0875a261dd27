import gzip
import io
import pickle
import tracemalloc
from itertools import permutations
from pathlib import Path

import h5py
import numpy as np
import pytest
from archives import folders_layout, make_folder, make_tar, make_zip, manifest_of, open_file, placed
from array_tools import (
    GREY,
    LABELS,
    PIXELS,
    H,
    N,
    W,
    array_file,
    hdf5,
    idx,
    mat,
    npy,
    python2_pickle,
    stored,
)
from PIL import Image
from pydantic import ValidationError

from autods.containers import MemberReader, arrays
from autods.containers.array_files import read_labels, read_names, read_struct
from autods.containers.array_specs import ArrayFile, ArrayImages
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import ContainerError, LayoutError, UnsafePickle
from autods.index.samples import index_dataset, load_samples
from autods.layouts.arrays import Arrays

KINDS = ["mat", "hdf5", "pickle", "npy", "fortran", "idx"]
SUFFIX = {"mat": ".mat", "hdf5": ".h5", "pickle": ".pkl", "npy": ".npy", "fortran": ".npy",
          "idx": "-images-idx3-ubyte"}  # fmt: skip


def opened(tmp_path: Path, source: Path, specs: list[dict], name: str = "root"):
    root = DataRoot(tmp_path / name)
    manifest = manifest_of({source.name: source}, folders_layout(source.name))
    manifest = placed(root, manifest, {source.name: source})
    found = [ArrayImages(file=source.name, **spec) for spec in specs]
    return root, manifest, open_file(root, manifest, source.name, arrays=found)


def images_of(root, manifest, container, file: str) -> list[np.ndarray]:
    reader = MemberReader(root, manifest.name)
    images = []
    for member in container.members():
        if member.name.endswith((".ppm", ".pgm")):
            data = reader.read(file, member.name, member.offset, member.size)
            assert data == container.read(member.name)
            images.append(np.asarray(Image.open(io.BytesIO(data), formats=["PPM"])))
    return images


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", ["one block", "many blocks"])
def test_images_come_out_upright_for_every_order_of_axes(tmp_path, monkeypatch, kind, blocks):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 1 << 25 if blocks == "one block" else 2 * H * W * 3)
    for axes in map("".join, [*permutations("NHWC"), *permutations("NHW")]):
        data, spec = array_file(kind, stored(axes))
        source = make_folder(tmp_path, {f"x{SUFFIX[kind]}": data}) / f"x{SUFFIX[kind]}"
        found = opened(tmp_path, source, [{**spec, "axes": axes}], axes)
        expected = PIXELS if "C" in axes else GREY
        assert np.array_equal(images_of(*found, source.name), expected)
        suffix = "ppm" if "C" in axes else "pgm"
        names = [f"{source.name}/{i:07d}.{suffix}" for i in range(N)]
        assert [member.name for member in found[2].members()] == [source.name, *names]


@pytest.mark.parametrize("pack", ["stored.zip", "deflated.zip", "x.tgz", "folder"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", [False, True])
def test_array_files_are_read_inside_every_container_and_compressed(tmp_path, pack, kind, packed):
    data, spec = array_file(kind, stored("NCHW"))
    member = f"in/x{SUFFIX[kind]}{'.gz' if packed else ''}"
    files = {member: gzip.compress(data) if packed else data, "a.jpg": b"a"}
    if pack.endswith(".zip"):
        source = make_zip(tmp_path / pack, files, 8 if pack == "deflated.zip" else 0)
    else:
        source = make_tar(tmp_path / pack, files, "w:gz") if pack == "x.tgz" else make_folder(
            tmp_path / pack, files
        )  # fmt: skip
    found = opened(tmp_path, source, [{**spec, "member": member, "axes": "NCHW"}])
    assert np.array_equal(images_of(*found, pack), PIXELS)
    assert found[2].read("a.jpg") == b"a"
    names = [f"{member}/{i:07d}.ppm" for i in range(N)]
    assert [m.name for m in found[2].members()] == ["a.jpg", member, *names]


@pytest.mark.parametrize("kind", KINDS)
def test_a_compressed_array_file_by_itself_is_unpacked_only_for_its_images(tmp_path, kind):
    data, spec = array_file(kind, stored("NHWC"))
    name = f"x{SUFFIX[kind]}.gz"
    source = make_folder(tmp_path, {name: gzip.compress(data)}) / name
    root, manifest, container = opened(tmp_path, source, [{**spec, "axes": "NHWC"}])
    assert np.array_equal(images_of(root, manifest, container, name), PIXELS)
    left = [path.name for path in root.converted(manifest.name, "x").parent.iterdir()]
    assert sorted(left) == [f"{name}.arrays.tar", f"{name}.arrays.tar.source"]


def test_rows_of_flat_images_get_their_shape(tmp_path):
    flat = stored("NCHW").reshape(N, -1)
    source = tmp_path / "batch"
    source.write_bytes(python2_pickle({b"data": flat, b"labels": LABELS.tolist()}))
    spec = {"variable": "data", "format": "pickle", "axes": "NCHW", "shape": [3, H, W]}
    assert np.array_equal(images_of(*opened(tmp_path, source, [spec]), "batch"), PIXELS)


def test_a_transposed_glyph_is_upright_in_the_decoded_pixel(tmp_path):
    """As EMNIST stores them: columns before rows. The stroke is the left edge."""
    image = np.zeros((4, 2), np.uint8)  # 4 high, 2 wide
    image[:, 0] = 255
    source = tmp_path / "glyph-images-idx3-ubyte"
    source.write_bytes(idx(image.T[np.newaxis]))
    found = opened(tmp_path, source, [{"axes": "NWH"}])
    data = found[2].read("glyph-images-idx3-ubyte/0000000.pgm")
    assert data == b"P5\n2 4\n255\n" + bytes([255, 0] * 4)


@pytest.mark.parametrize("chunks", [(1, 3, 5, 3), (2, 1, 5, 1), (7, 3, 5, 3), (5, 2, 2, 2)])
def test_hdf5_in_any_chunks_gives_the_same_images(tmp_path, monkeypatch, chunks):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", H * W * 3)
    source = tmp_path / "x.h5"
    source.write_bytes(hdf5(chunks, **{"group/X": PIXELS}))
    found = opened(tmp_path, source, [{"variable": "group/X", "axes": "NHWC"}])
    assert np.array_equal(images_of(*found, "x.h5"), PIXELS)


@pytest.mark.parametrize("kind", ["hdf5", "npy", "fortran", "idx"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_large_array_is_never_in_memory_as_a_whole(tmp_path, monkeypatch, kind, packed):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 1 << 18)
    axes = "HWCN" if kind == "fortran" else "NHWC"
    shape = (64, 64, 3, 1600) if kind == "fortran" else (1600, 64, 64, 3)
    large = np.zeros(shape, np.uint8)
    large[5] = 7
    data, spec = array_file(kind, large)
    name = f"x{SUFFIX[kind]}{'.gz' if packed else ''}"
    source = make_folder(tmp_path, {name: gzip.compress(data, 1) if packed else data}) / name
    tracemalloc.start()
    try:
        _, _, container = opened(tmp_path, source, [{**spec, "axes": axes}])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(container.members()) == 1601
    assert peak < large.nbytes / 2


def test_the_images_are_made_once_and_again_for_other_parameters(tmp_path):
    data, spec = array_file("npy", stored("NHW"))
    source = make_folder(tmp_path, {"x.npy": data}) / "x.npy"
    root, manifest, _ = opened(tmp_path, source, [{**spec, "axes": "NHW"}])
    path = root.converted(manifest.name, "x.npy.arrays.tar")
    first = path.stat().st_mtime_ns
    opened(tmp_path, source, [{**spec, "axes": "NHW"}])
    assert path.stat().st_mtime_ns == first
    found = opened(tmp_path, source, [{**spec, "axes": "NWH"}])
    assert np.array_equal(images_of(*found, "x.npy"), GREY.transpose(0, 2, 1))


def test_deleted_images_are_missed_and_nothing_else_is_read_in_their_stead(tmp_path):
    source = make_folder(tmp_path, {"x.npy": npy(GREY)}) / "x.npy"
    root, manifest, container = opened(tmp_path, source, [{"axes": "NHW"}])
    member = container.members()[1]
    path = root.converted(manifest.name, "x.npy.arrays.tar")
    assert MemberReader(root, manifest.name).paths([("x.npy", member.name, member.offset)]) == {
        path
    }
    path.unlink()
    with pytest.raises(ContainerError, match="autods index"):
        MemberReader(root, manifest.name).read("x.npy", member.name, member.offset, member.size)


def test_tasks_may_share_images_but_two_arrays_may_not_share_paths(tmp_path):
    source = make_folder(tmp_path, {"x.mat": mat(X=GREY, Z=GREY)}) / "x.mat"
    spec = {"variable": "X", "axes": "NHW"}
    assert len(opened(tmp_path, source, [spec, spec])[2].members()) == N + 1
    with pytest.raises(LayoutError, match="one array of images in a file, got 'X' and 'Z'"):
        opened(tmp_path, source, [spec, {**spec, "variable": "Z"}])


@pytest.mark.parametrize(("array", "spec", "message"), [
    (GREY.astype(np.float32), {"axes": "NHW"}, r"type uint8, got float32 of shape \(7, 3, 5\)"),
    (GREY.astype(np.uint16), {"axes": "NHW"}, "type uint8, got uint16"),
    (GREY, {"axes": "NHWC"}, r"axes NHWC, got uint8 of shape \(7, 3, 5\)"),
    (PIXELS, {"axes": "NHW"}, "axes NHW, got"),
    (stored("NCHW"), {"axes": "NHWC"}, "1 or 3 channels"),
    (GREY.reshape(N, -1), {"axes": "NHW", "shape": [3, 4]}, r"rows of \[3, 4\], got"),
])  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_other_arrays_are_refused_with_their_type_and_shape(tmp_path, kind, array, spec, message):
    if kind == "idx" and array.dtype != np.uint8:
        array = array.astype(np.int32)
        message = "type uint8, got >i4"
    data, more = array_file(kind, array)
    name = f"x{SUFFIX[kind]}"
    source = make_folder(tmp_path, {name: data}) / name
    with pytest.raises(LayoutError, match=message):
        opened(tmp_path, source, [{**more, **spec}])
    assert list((tmp_path / "root").rglob("*.arrays.tar*")) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_array_file_cut_anywhere_or_of_another_kind_is_one_message(tmp_path, kind):
    data, spec = array_file(kind, stored("NHWC"))
    if kind == "mat":
        data = mat(X=PIXELS)  # or a cut might hit the labels only
    name = f"x{SUFFIX[kind]}"
    for number, cut in enumerate([0, 3, 10, len(data) // 2, len(data) - 20]):
        source = make_folder(tmp_path / "s", {name: data[:cut] or b"<html>quota</html>"}) / name
        with pytest.raises(LayoutError, match=rf"{name}: expected an? .*(file|label)"):
            opened(tmp_path, source, [{**spec, "axes": "NHWC"}], str(number))
    assert list(tmp_path.rglob("*.arrays.tar*")) == []


@pytest.mark.parametrize("kind", ["mat", "hdf5", "pickle"])
def test_a_missing_variable_is_answered_with_those_that_are_there(tmp_path, kind):
    data, _ = array_file(kind, stored("NHWC"))
    name = f"x{SUFFIX[kind]}"
    source = make_folder(tmp_path, {name: data}) / name
    with pytest.raises(LayoutError, match="expected a variable 'images', got X, y"):
        opened(tmp_path, source, [{"variable": "images", "axes": "NHWC"}])


def container_of(tmp_path: Path, name: str, data: bytes):
    source = make_folder(tmp_path / "labels", {name: data}) / name
    return opened(tmp_path, source, [], f"root of {name}")[2]


KEYS = ["3", "1", "10", "3", "0", "10", "1"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("name", "data", "variable"), [
    ("y.mat", mat(y=LABELS[:, None].astype(np.uint8)), "y"),
    ("y.mat", mat(y=LABELS[None].astype(np.float64)), "y"),
    ("y.h5", hdf5(y=LABELS.reshape(N, 1, 1, 1)), "y"),
    ("y.hdf5", hdf5(**{"g/y": LABELS}), "g/y"),
    ("y.npy", npy(LABELS), None),
    ("y.npy", npy(LABELS.astype(">i2")), None),
    ("y-labels-idx1-ubyte", idx(LABELS.astype(np.uint8)), None),
    ("y-labels-idx1-ubyte", idx(LABELS), None),
    ("y.pickle", python2_pickle({b"y": LABELS.tolist()}), "y"),
    ("y.pkl", pickle.dumps({"y": tuple(LABELS)}), "y"),
    ("y.pkl", pickle.dumps(LABELS.tolist()), None),
    ("y.pkl", python2_pickle(LABELS), None),
])  # fmt: skip
def test_labels_of_every_format_are_flat_lists_of_text(tmp_path, name, data, variable, packed):
    name, data = (f"{name}.gz", gzip.compress(data)) if packed else (name, data)
    source = ArrayFile(file=name, variable=variable)
    assert read_labels(source, container_of(tmp_path, name, data)) == KEYS


NAMES = [
    "airplane",
    "AM General Hummer SUV 2000",
    "Ram C/V Cargo Van Minivan 2012",
    "\u043a\u043e\u0442",
]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("shown", "data", "variable"), [
    ("dev/meta.mat", mat(names=np.array(NAMES, object)), "names"),
    ("meta.mat", mat(names=np.array(NAMES, object)[:, None]), "names"),
    ("meta.mat", mat(names=NAMES), "names"),  # a character array, its rows padded
    ("meta.pkl", python2_pickle({b"names": [name.encode() for name in NAMES]}), "names"),
    ("meta.pkl", pickle.dumps(NAMES), None),
    ("meta.h5", hdf5(names=NAMES), "names"),
    ("meta.npy", npy(np.array(NAMES)), None),
])  # fmt: skip
def test_names_of_every_format_are_read(shown, data, variable, packed):
    shown, data = (f"{shown}.gz", gzip.compress(data)) if packed else (shown, data)
    assert read_names(data, shown, variable) == NAMES


def test_one_name_is_a_list_of_one():
    assert read_names(mat(names=np.array(["only"], object)), "x.mat", "names") == ["only"]


def test_a_format_can_be_given_where_no_suffix_tells_it():
    assert read_names(pickle.dumps(NAMES), "batches.meta", None, "pickle") == NAMES
    with pytest.raises(LayoutError, match=r"batches\.meta: expected a 'format'"):
        read_names(pickle.dumps(NAMES), "batches.meta", None)


FIELDS = [("bbox_x1", "O"), ("class", "O"), ("fname", "O"), ("size", "O")]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_struct_array_gives_rows_by_field_names(rows):
    """As in the annotations of Stanford Cars."""
    records = np.zeros((1, rows), FIELDS)
    for i in range(rows):
        records[0, i] = (np.uint8(39 + i), np.uint8(14), f"{i:05d}.jpg", [30.0, 2.5])
    found = read_struct(mat(annotations=records), "cars.mat", "annotations")
    assert found == [
        {"bbox_x1": str(39 + i), "class": "14", "fname": f"{i:05d}.jpg", "size": "30 2.5"}
        for i in range(rows)
    ]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: read_struct(mat(a=LABELS), "x.mat", "a"), "a struct array, got int64 of shape"),
    (lambda: read_struct(mat(a=LABELS), "x.mat", "b"), "expected a variable 'b', got a;"),
    (lambda: read_struct(b"<html>", "x.mat", "b"), "expected a MATLAB file up to version 7"),
    (lambda: read_names(mat(a=np.array([["x"], [LABELS]], object)), "x.mat", "a"), "element 1"),
    (lambda: read_names(pickle.dumps({"a": {}}), "x.pkl", "a"), "a list or array, got dict"),
    (lambda: read_names(pickle.dumps([None]), "x.pkl", None), r"one text or number.*NoneType"),
    (lambda: read_names(pickle.dumps([float("nan")]), "x.pkl", None), "one text or number"),
    (lambda: read_names(pickle.dumps([1]), "x.pkl", "a"), "pickled dictionary with 'a', got list"),
    (lambda: read_names(b"\x80\x05abc", "x.pkl", None), "expected a pickle file, got"),
    (lambda: read_names(b"no gzip", "x.pkl.gz", None), "expected a gzip file"),
    (lambda: read_names(hdf5(a=LABELS), "x.h5", "b"), "expected a variable 'b', got a;"),
    (lambda: read_names(npy(LABELS)[:-3], "x.npy", None), "expected a npy file"),
    (lambda: read_names(idx(LABELS)[:-3], "x-idx1-ubyte", None), "expected an idx file"),
    (lambda: read_names(idx(LABELS) + b"x", "x-idx1-ubyte", None), "expected an idx file"),
])  # fmt: skip
def test_what_is_not_as_described_is_one_message(call, message):
    with pytest.raises(LayoutError, match=message) as caught:
        call()
    assert "nothing was indexed" in str(caught.value)


def test_matlab_7_3_is_named_with_the_way_to_read_it(tmp_path):
    """Such a file is an HDF5 file with 512 bytes before it; MATLAB stores axes in reverse."""
    head = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    with h5py.File(tmp_path / "x.mat", "w", userblock_size=512) as file:
        file["X"] = stored("NCWH")
    with (tmp_path / "x.mat").open("r+b") as handle:
        handle.write(head)
    data = (tmp_path / "x.mat").read_bytes()
    with pytest.raises(LayoutError, match=r"version 7.*7\.3.*format: hdf5.*reverse"):
        read_names(data, "x.mat", "X")
    found = opened(
        tmp_path, tmp_path / "x.mat", [{"variable": "X", "format": "hdf5", "axes": "NCWH"}]
    )
    assert np.array_equal(images_of(*found, "x.mat"), PIXELS)


def test_a_pickle_that_asks_for_code_is_refused_by_its_file(tmp_path):
    data = b"cos\nsystem\n(S'echo'\ntR."
    with pytest.raises(UnsafePickle, match=r"meta\.pkl: .*os\.system"):
        read_names(data, "meta.pkl", None)
    source = make_folder(tmp_path, {"x.pkl": data}) / "x.pkl"
    with pytest.raises(UnsafePickle, match=r"x\.pkl: .*os\.system"):
        opened(tmp_path, source, [{"axes": "NHW"}])


def test_an_array_too_large_for_labels_is_not_loaded(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("y", shape=(1 << 20, 1 << 10), dtype="u1", chunks=True)
    source = tmp_path / "x.h5"
    container = opened(tmp_path, source, [])[2]
    with pytest.raises(LayoutError, match="expected labels, got 1,073,741,824 bytes"):
        read_labels(ArrayFile(file="x.h5", variable="y"), container)


@pytest.mark.parametrize(("spec", "message"), [
    ({"file": "x.mat", "axes": "NHW"}, "expected a 'variable'"),
    ({"file": "x.h5.gz", "axes": "NHW"}, "expected a 'variable'"),
    ({"file": "x.npy", "variable": "X", "axes": "NHW"}, "remove 'variable'"),
    ({"file": "x.zip", "axes": "NHW"}, "x.zip: expected a 'format'"),
    ({"file": "x.npy", "axes": "HW"}, "letters N, H, W"),
    ({"file": "x.npy", "axes": "NHHW"}, "letters N, H, W"),
    ({"file": "x.npy", "axes": "NHWC", "shape": [2, 2]}, "one image's lengths"),
    ({"file": "x.npy", "axes": "HWN", "shape": [2, 2]}, "begin with N"),
])  # fmt: skip
def test_a_description_that_cannot_be_is_refused(spec, message):
    with pytest.raises(ValidationError, match=message):
        ArrayImages(**spec)


def indexed(tmp_path: Path, files: dict[str, Path], layout: dict, **changes):
    root = DataRoot(tmp_path / "root")
    splits = {"clean": {"rule": "official", "train": ["train"], "test": ["test"]}}
    manifest = manifest_of(files, layout, **{"splits": splits, **changes})
    manifest = placed(root, manifest, files)
    index_dataset(manifest, root, Silent())
    return load_samples(root, manifest.name, manifest), MemberReader(root, manifest.name)


def test_images_and_labels_in_one_matlab_file_become_an_index(tmp_path):
    """As SVHN: the number of the image is the last axis, digit 0 has label 10."""
    labels = np.where(LABELS == 0, 10, LABELS)[:, None].astype(np.uint8)
    files = {}
    for split in ("train", "test"):
        files[f"{split}_32x32.mat"] = tmp_path / f"{split}_32x32.mat"
        files[f"{split}_32x32.mat"].write_bytes(mat(X=stored("HWCN"), y=labels))
    parts = [
        {
            "split": split,
            "images": {"file": f"{split}_32x32.mat", "variable": "X", "axes": "HWCN"},
            "labels": {"class": {"file": f"{split}_32x32.mat", "variable": "y"}},
        }
        for split in ("train", "test")
    ]
    tasks = {"class": {"classes": ["0", "1", "3"], "keys": {"10": "0", "1": "1", "3": "3"}}}
    index, reader = indexed(tmp_path, files, {"family": "arrays", "parts": parts}, tasks=tasks)
    names = [
        f"{s}_32x32.mat/{s}_32x32.mat/{i:07d}.ppm" for s in ("test", "train") for i in range(N)
    ]
    assert index.table["path"].to_pylist() == names
    assert [index.classes["class"][number] for number in index.labels()] == 2 * [
        "3", "1", "0", "3", "0", "0", "1",
    ]  # fmt: skip
    assert list(index.splits()[:N]) == ["test"] * N
    for sample in range(len(index)):
        image = Image.open(io.BytesIO(reader.read(*index.locate(sample))))
        assert np.array_equal(np.asarray(image), PIXELS[sample % N])


def test_idx_files_in_a_zip_become_an_index_with_a_task_for_each_set(tmp_path):
    """As EMNIST: several sets of images, each with labels of its own task, transposed."""
    content, parts = {}, []
    for task in ("letters", "digits"):
        for split in ("train", "test"):
            stem = f"gzip/emnist-{task}-{split}"
            images, labels = f"{stem}-images-idx3-ubyte.gz", f"{stem}-labels-idx1-ubyte.gz"
            content[images] = gzip.compress(idx(stored("NWH")))
            content[labels] = gzip.compress(idx(LABELS.astype(np.uint8)))
            parts.append({
                "split": split,
                "images": {"file": "gzip.zip", "member": images, "axes": "NWH"},
                "labels": {task: {"file": "gzip.zip", "member": labels}},
            })  # fmt: skip
    files = {"gzip.zip": make_zip(tmp_path / "gzip.zip", content)}
    index, reader = indexed(
        tmp_path,
        files,
        {"family": "arrays", "parts": parts},
        tasks={"letters": {}, "digits": {}},
        default_task="letters",
    )
    assert len(index) == 4 * N
    assert index.classes == {"letters": ["0", "1", "3", "10"], "digits": ["0", "1", "3", "10"]}
    first = "gzip.zip/gzip/emnist-digits-test-images-idx3-ubyte.gz/0000000.pgm"
    assert index.table["path"].to_pylist()[0] == first
    assert index.labels("digits").tolist() == [2, 1, 3, 2, 0, 3, 1] * 2 + [-1] * 2 * N
    image = Image.open(io.BytesIO(reader.read(*index.locate(1))))
    assert np.array_equal(np.asarray(image), GREY[1])


def test_another_number_of_labels_than_images_is_refused_with_both(tmp_path):
    files = {"x.npy": tmp_path / "x.npy", "y.npy": tmp_path / "y.npy"}
    files["x.npy"].write_bytes(npy(GREY))
    files["y.npy"].write_bytes(npy(LABELS[:5]))
    part = {
        "images": {"file": "x.npy", "axes": "NHW"},
        "labels": {"class": {"file": "y.npy"}},
        "split": "train",
    }
    with pytest.raises(LayoutError, match=r"the 7 images, got 5 in y\.npy"):
        indexed(tmp_path, files, {"family": "arrays", "parts": [part]})


def test_two_arrays_in_one_file_would_have_the_same_paths_and_are_refused():
    part = {
        "images": {"file": "x.mat", "variable": "X", "axes": "NHW"},
        "labels": {"class": {"file": "x.mat", "variable": "y"}},
    }
    other = {**part, "images": {**part["images"], "variable": "X_test"}}
    with pytest.raises(ValidationError, match=r"once, got 'x\.mat' again"):
        Arrays(family="arrays", parts=[part, other])
