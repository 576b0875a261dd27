"""First bytes of real files, and of what hosts send in their place."""

import bz2
import gzip
import io
import lzma
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from archives import make_tar, make_zip

from autods.fetch.magic import ENOUGH, expected_kind, kind_of, refusal, title_of, told_apart


@pytest.fixture
def samples(tmp_path: Path) -> dict[str, bytes]:
    """Return the first bytes of one real file per kind that we can write, by file name."""
    made = {
        "a.zip": make_zip(tmp_path / "a.zip", {"a.txt": b"a"}),
        "empty.zip": make_zip(tmp_path / "empty.zip", {}),
        "a.tar": make_tar(tmp_path / "a.tar", {"a.txt": b"a"}),
        "a.tgz": make_tar(tmp_path / "a.tgz", {"a.txt": b"a"}, "w:gz"),
        "a.tar.bz2": make_tar(tmp_path / "a.tar.bz2", {"a.txt": b"a"}, "w:bz2"),
        "a.tar.xz": make_tar(tmp_path / "a.tar.xz", {"a.txt": b"a"}, "w:xz"),
    }
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = [1]
    scipy.io.savemat(tmp_path / "a.mat", {"x": [1]})
    np.save(tmp_path / "a.npy", np.zeros(3))
    made |= {name: tmp_path / name for name in ("a.h5", "a.mat", "a.npy")}
    heads = {name: path.read_bytes()[:ENOUGH] for name, path in made.items()}
    return heads | {
        "a.gz": gzip.compress(b"a"),
        "a.bz2": bz2.compress(b"a"),
        "a.xz": lzma.compress(b"a"),
        "a.rar": b"Rar!\x1a\x07\x01\x00",
        "a.7z": b"7z\xbc\xaf\x27\x1c\x00\x04",
        "v73.mat": b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(126) + b"\x00\x02",
    }


def test_every_real_file_is_of_the_kind_that_its_name_says(samples):
    for name, head in samples.items():
        assert kind_of(head) == expected_kind(name), name
        assert refusal(head, name) is None, name
        assert told_apart(head, name) == "", name


def test_a_file_of_another_kind_is_told_but_not_refused(samples):
    assert refusal(samples["a.zip"], "a.tar.gz") is None
    told = told_apart(samples["a.zip"], "a.tar.gz")
    assert told == "it does not begin like a gzip file but like a zip archive"
    assert told_apart(b"\x00\x01\x02", "a.rar") == "it does not begin like a rar archive"
    assert told_apart(b"\x00\x01\x02", "t10k-images-idx3-ubyte") == ""


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (
            b"<!DOCTYPE html><html><head><title>Google Drive - Quota\n exceeded</title>",
            "a web page titled 'Google Drive - Quota exceeded'",
        ),
        (b"\xef\xbb\xbf\r\n <HTML><script>var a = 1;</script>log <b>in</b>", "says 'log in'"),
        (
            b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>No</Message>",
            "an XML answer that says 'AccessDenied No'",
        ),
        (b'{"code":404,"message":"Not found"}', """a JSON answer, not a zip archive: '{"code"""),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a pointer of Git LFS"),
        ("Bitte später noch einmal".encode(), "a text, not a zip archive: 'Bitte später noch"),
        (b"<html>\x1b[31mred\x07", "a web page that says '[31mred'"),
        (b"<html>" + b"word " * 100, "word word\u2026'"),
        (b"<html></html>", "a web page"),
    ],
)
def test_what_comes_instead_of_an_archive_is_named(head, words):
    got = refusal(head, "a.zip")
    assert got is not None
    assert words in got
    assert got.isprintable()


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"a.png 0\nb.png 1\n", "train.txt"),
        (b'{"a": 1}', "labels.json"),
        (b"<?xml version='1.0'?><boxes/>", "boxes.xml"),
        (b"<html>", "index.html"),
        (b"", "a.zip"),
        (b"\n", "a.zip"),
    ],
)
def test_a_text_that_may_be_the_file_is_not_refused(head, name):
    assert refusal(head, name) is None


def test_a_page_in_place_of_a_list_is_refused():
    assert refusal(b"<html><title>Moved</title>", "train.txt") == "a web page titled 'Moved'"


def test_a_text_is_a_text_wherever_its_bytes_are_cut():
    text = io.BytesIO("später".encode() * 200).read()
    assert all(refusal(text[:end], "a.zip") for end in range(1, 40))


@pytest.mark.parametrize("page", [
    b"<html>&#" + b"9" * 5000 + b"; full", b"<html><title>" * 6000, b"<html><title" * 6000,
    b"<html>" + b"<script" * 9000, b"<html><title>&#x110000;&#" + b"1" * 60000 + b"</title>",
])  # fmt: skip
def test_a_page_that_python_cannot_read_is_a_page_at_once(page):
    began = time.monotonic()
    assert refusal(page, "a.zip").startswith("a web page")
    assert time.monotonic() - began < 1


def test_a_title_is_plain_text():
    assert title_of(b"<TITLE lang='en'> A &amp; B\n </title>") == "A & B"
    assert title_of(b"<p>none") == ""
