"""Values in Go's spelling."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embedded.consul import body
from embedded.consul.errors import BadRequestError
from embedded.consul.golang import format_duration, parse_bool, parse_duration, parse_uint

SECOND = 10**9


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("10s", 10 * SECOND),
        ("1h30m", 5400 * SECOND),
        ("1.5s", 3 * SECOND // 2),
        (".5m", 30 * SECOND),
        ("-2s", -2 * SECOND),
        ("+2s", 2 * SECOND),
        ("250ms", SECOND // 4),
        ("3us", 3000),
        ("3µs", 3000),
        ("7ns", 7),
    ],
)
def test_durations_are_read(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", 'time: invalid duration ""'),
        ("x", 'time: invalid duration "x"'),
        ("5", 'time: missing unit in duration "5"'),
        ("5x", 'time: unknown unit "x" in duration "5x"'),
        ("1h5", 'time: missing unit in duration "1h5"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        (".s", 'time: invalid duration ".s"'),
        ("9999999h", 'time: invalid duration "9999999h"'),
    ],
)
def test_what_is_no_duration_is_told_in_gos_words(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match="time:") as caught:
        parse_duration(text)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (90 * SECOND, "1m30s"),
        (3600 * SECOND, "1h0m0s"),
        (24 * 3600 * SECOND, "24h0m0s"),
        (3 * SECOND // 2, "1.5s"),
        (SECOND // 4, "250ms"),
        (1500, "1.5µs"),
        (-SECOND, "-1s"),
        (1, "1ns"),
    ],
)
def test_durations_are_written(nanoseconds: int, text: str) -> None:
    assert format_duration(nanoseconds) == text


@given(st.integers(-(10**15), 10**15))
def test_a_duration_comes_back_from_its_text(nanoseconds: int) -> None:
    assert parse_duration(format_duration(nanoseconds)) == nanoseconds


@given(st.text())
def test_any_text_is_a_duration_or_is_refused(text: str) -> None:
    try:
        assert isinstance(parse_duration(text), int)
    except ValueError as error:
        assert str(error).startswith("time: ")


@given(st.integers(0, 2**64 - 1))
def test_unsigned_numbers_have_64_bits(number: int) -> None:
    assert parse_uint(str(number)) == number


@pytest.mark.parametrize("text", ["", "-1", "1.0", "0x1", "١", str(2**64), "9" * 10_000])
def test_what_is_no_unsigned_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"strconv\.ParseUint"):
        parse_uint(text)


@pytest.mark.parametrize(("text", "value"), [("1", True), ("t", True), ("True", True), ("0", False), ("FALSE", False)])
def test_booleans_are_read(text: str, value: bool) -> None:
    assert parse_bool(text) is value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["Name", "Port", "Tags"]), inner),
)
SCHEMA = body.Struct(
    "S", {"Name": body.text, "Port": body.integer, "Tags": body.TEXTS, "Meta": body.TEXT_MAP, "TTL": body.duration}
)


@given(st.binary() | st.text().map(str.encode))
@example(b"[" * 100_000)
@example(b'{"Name":' * 50_000)
@example(b'{"Name": 1e999999}')
@example(b'{"Port": 99999999999999999999999999}')
@example(b'{"TTL": 1e999}')
@example(b'{"TTL": -1e30}')
def test_any_body_is_read_or_refused(raw: bytes) -> None:
    try:
        body.decode(raw, SCHEMA)
    except BadRequestError as error:
        assert error.text.startswith("Request decode failed: ")


@given(json_values)
def test_any_json_is_read_or_refused(value: object) -> None:
    import json

    try:
        read = body.decode(json.dumps(value).encode(), SCHEMA)
    except BadRequestError as error:
        assert error.text.startswith("Request decode failed: json: ")
    else:
        assert isinstance(read.get("Name", ""), str)
        assert isinstance(read.get("Port", 0), int)
