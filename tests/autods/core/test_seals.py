"""Files that carry a hash of their content."""

import json
import random

import numpy as np
import pytest

from autods.core.files import read_json, write_json
from autods.core.seals import BrokenSealError, hash_parts

VALUE = {"text": "grüße", "rows": [[0.1, -0.0, 1e-7, None]], "n": 3, "deep": {"b": 1, "a": [True]}}


def test_json_comes_back_as_it_was_written_and_twice_as_the_same_bytes(tmp_path):
    write_json(tmp_path / "a.json", VALUE)
    assert read_json(tmp_path / "a.json") == VALUE
    write_json(tmp_path / "b.json", read_json(tmp_path / "a.json"))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_json_without_a_seal_is_read_and_so_is_another_layout_of_the_same_content(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(VALUE))
    assert read_json(path) == VALUE
    write_json(path, VALUE)
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert read_json(path) == VALUE


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(tmp_path):
    path, refused = tmp_path / "a.json", 0
    write_json(path, VALUE)
    whole = path.read_bytes()
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << random.Random(position).randrange(8)
        path.write_bytes(flipped)
        try:
            read = read_json(path)
        except ValueError:
            refused += 1
        else:
            assert {key: read[key] for key in VALUE} == VALUE
    assert refused > len(whole) / 2


def test_a_changed_number_is_told_from_text_that_is_no_json(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, VALUE)
    path.write_text(path.read_text().replace("0.1", "0.3"))
    with pytest.raises(BrokenSealError, match="not what was written"):
        read_json(path)


def test_the_hash_of_parts_knows_where_one_ends():
    one = hash_parts(["ab", np.arange(3, dtype=np.int16), np.zeros(0, np.float16)])
    assert one == hash_parts(["ab", np.arange(3, dtype=np.int16).tobytes(), b""])
    assert one != hash_parts(["a", "b", np.arange(3, dtype=np.int16), b""])
