"""YAML of people and of strangers: plain data, or one error with a line."""

import string

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autods.core.yaml_files import YamlFault, compose_yaml, parse_yaml

AGAIN = [
    ("a: 1\nb: 2\na: 3\n", 3), ("a: 1\n'a': 2\n", 2), ("x:\n  k: [1]\n  k: [2]\n", 3),
    ("{a: 1, a: 1}", 1), ("- a: 1\n- b: {c: 1,\n     c: 2}\n", 3), ("1: x\n0x1: y\n", 2),
    ("base: &b {x: 1}\nown: {<<: *b, y: 1, y: 2}\n", 2), ("yes: 1\ntrue: 2\n", 2),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), AGAIN)
def test_a_key_that_occurs_twice_is_refused_with_its_line(text, line):
    with pytest.raises(YamlFault, match="again, after line") as caught:
        parse_yaml(text)
    assert caught.value.line == line


@pytest.mark.parametrize(
    "text",
    ["a: !!int x", "a: !!bool x", "a: !!timestamp x", "a: 2020-13-45", f"a: {'9' * 5000}",
     "a: " + "1" + ":59" * 3000, "[" * 3000, "a: &a [*a]", "? [a]\n: b", "a: !!binary x", "a: @",
     "a: !!python/object/apply:os.system [x]", 'a: "\\ud800"', "<<: 1", "\0", "a: [", "a\n\tb: c",
     "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(40))],
)  # fmt: skip
def test_what_python_cannot_build_is_one_error(text):
    try:
        parse_yaml(text)
    except YamlFault as fault:
        assert str(fault)
    else:
        assert text == "a\n\tb: c"  # libyaml takes it for a text


@pytest.mark.parametrize("value", ["010", "-017", "1:30", "12:30:45", "+190:20:30.15", "0_7"])
@pytest.mark.parametrize("text", ["\na: {}\n", "- x\n- [1, {}]", "\n{}: a\n"])
def test_numbers_in_base_8_and_60_are_refused_with_their_line(text, value):
    with pytest.raises(YamlFault, match="in base 8 or 60 to YAML") as caught:
        parse_yaml(text.format(value))
    assert caught.value.line == 2
    assert parse_yaml(text.format(f"'{value}'"))


@pytest.mark.parametrize(("text", "value"), [
    ("0", 0), ("-1", -1), ("0x1f", 31), ("1_000", 1000), ("08", "08"), ("1e3", "1e3"), ("0.5", 0.5),
    ("1.5e+3", 1500.0), ("-0.0", -0.0), (".inf", float("inf")), ("0b11", 3), ("00.5", 0.5),
])  # fmt: skip
def test_other_numbers_are_those_of_yaml(text, value):
    assert parse_yaml(f"a: {text}") == {"a": value}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
    | st.text(string.printable, max_size=12),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(string.ascii_letters, max_size=4), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(value=values)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_is_read_back(value):
    text = yaml.safe_dump(value)
    assert parse_yaml(text) == value
    assert compose_yaml(text) is not None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(keys=st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=6))
def test_a_mapping_is_read_if_and_only_if_its_keys_differ(keys):
    text = "".join(f"{key}: {number}\n" for number, key in enumerate(keys))
    if len(set(keys)) == len(keys):
        assert parse_yaml(text) == {key: number for number, key in enumerate(keys)}
    else:
        with pytest.raises(YamlFault):
            parse_yaml(text)


def test_references_and_merged_keys_stay_possible():
    text = "base: &b {x: 1, y: 2}\nown: {<<: *b, y: 3}\nlist: [*b, *b]\n"
    base = {"x": 1, "y": 2}
    assert parse_yaml(text) == {"base": base, "own": {"x": 1, "y": 3}, "list": [base, base]}
