import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.options import At, Problems, Source, Unreadable
from bastion.options import kinds as k
from bastion.options.paths import FILE


def reading(kind, value, base="/etc/bastion"):
    problems = Problems()
    try:
        return kind.read(value, At(Source("f", base), problems, ("key",)))
    except Unreadable:
        (error,) = problems.errors
        return f"{error.key}: {error.problem}"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(90, 90.0), (0.5, 0.5), ("90s", 90.0), ("1h30m", 5400.0), ("2d", 172800.0), ("200ms", 0.2), ("0s", 0.0)],
)
def test_durations(value, seconds):
    assert reading(k.duration(), value) == seconds


@pytest.mark.parametrize(
    "value", ["", "5", "5 m", "-5s", "5M", "1h 30m", "1.5h", "9999999d", "٣s", True, None, []]
)
def test_what_is_no_duration_as_text(value):
    assert "is not a duration" in reading(k.duration(), value)


@pytest.mark.parametrize("value", [-1, float("inf"), float("nan"), 10**12])
def test_what_is_no_duration(value):
    assert "is not a duration" in reading(k.duration(), value)


@given(st.integers(0, 400 * 86_400_000))
def test_durations_are_written_as_they_are_read(milliseconds):
    seconds = milliseconds / 1000
    assert k.seconds_of(k.show_seconds(seconds)) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("value", "size"), [(0, 0), (4096, 4096), ("1 GiB", 1 << 30), ("64MiB", 64 << 20), ("1 B", 1)]
)
def test_sizes(value, size):
    assert reading(k.SIZE, value) == size


@pytest.mark.parametrize("value", ["1 GB", "1gib", "-1 B", "", True, 1.5, -1, 1 << 60, "99999 TiB"])
def test_what_is_no_size(value):
    assert "is not a size" in reading(k.SIZE, value)


@given(st.integers(0, k.SIZE_MAX))
def test_sizes_are_written_as_they_are_read(size):
    assert reading(k.SIZE, tomllib.loads(f"x = {k.SIZE.write(size)}")["x"]) == size


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        ("0.0.0.0:2222", "0.0.0.0", 2222),
        ("[::]:22", "::", 22),
        ("[2001:DB8::1]:1", "2001:db8::1", 1),
        ("gw:0", "gw", 0),
    ],
)
def test_addresses(value, host, port):
    assert reading(k.ADDRESS, value) == k.Address(host, port)


@pytest.mark.parametrize(
    "value", ["2222", ":2222", "::1:22", "[::1]", "a:65536", "a b:1", "[x]:1", "a:-1", 22, "a:٢"]
)
def test_what_is_no_address(value):
    assert "is not an address" in reading(k.ADDRESS, value)


def test_paths_are_relative_to_the_file():
    assert reading(k.PATH, "keys/a") == "/etc/bastion/keys/a"
    assert reading(k.PATH, "/run/a") == "/run/a"
    assert str(reading(FILE, "keys/a")) == "/etc/bastion/keys/a"
    for value in ("", "a\0b", 1, "x" * 5000):
        assert "is not a path" in reading(FILE, value)


def test_booleans_and_numbers_are_not_mixed_up():
    assert "not a boolean" in reading(k.BOOLEAN, 1)
    assert "not a whole number" in reading(k.integer(0, 9), True)
    assert "not a whole number" in reading(k.integer(0, 9), 10)
    assert reading(k.integer(0, 9), 9) == 9


def test_choices_name_the_nearest():
    assert reading(k.choice("off", "default", "full"), "defualt").endswith('did you mean "default"?')
    assert reading(k.choice("off"), 1) == "key: 1 is not one of the choices"


def test_off_and_not_set_are_none():
    assert reading(k.or_off(k.duration()), "off") is None
    assert k.or_off(k.duration()).write(None) == '"off"'
    assert k.optional(k.BOOLEAN).write(None) == ""


def test_every_bad_element_of_a_list_is_noted():
    problems = Problems()
    with pytest.raises(Unreadable):
        k.list_of(k.BOOLEAN).read([1, True, 2], At(Source("f"), problems, ("key",)))
    assert [error.key for error in problems.errors] == ["key[1]", "key[3]"]


@given(st.text(max_size=40).filter(lambda text: "\0" not in text))
def test_strings_are_written_as_they_are_read(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return  # no TOML file can hold a lone surrogate
    assert reading(k.text(), tomllib.loads(f"x = {k.quoted(text)}")["x"]) == text


KINDS = [k.text(), k.BOOLEAN, k.duration(), k.SIZE, k.PATH, k.ADDRESS, k.NETWORK, k.integer(0, 5), k.choice("a"),
         k.list_of(k.NETWORK), k.or_off(k.SIZE), FILE]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(KINDS), VALUES)
def test_whatever_is_no_value_is_noted_once_and_nothing_else_is_raised(kind, value):
    problems = Problems()
    try:
        kind.read(value, At(Source("f"), problems, ("key",)))
    except Unreadable:
        assert problems.errors
        assert all(str(error).isprintable() for error in problems.errors)
    else:
        assert problems.errors == []


def test_networks():
    assert str(reading(k.NETWORK, "192.0.2.7")) == "192.0.2.7/32"
    assert "host bits" in reading(k.NETWORK, "192.0.2.7/24")
    assert "write it as IPv4" in reading(k.NETWORK, "::ffff:10.0.0.0/104")
