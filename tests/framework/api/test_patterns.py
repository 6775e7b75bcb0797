"""Regular expressions of clients: those that people write pass, those that would never end do not."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.api.forms import patterns


@pytest.mark.parametrize(
    "pattern",
    [
        "rack-[1-3]",
        "rack-(1|2|3)",
        "host[0-9]+",
        r".*\.example\.com",
        "(a|b)*",
        "(ab){2,5}",
        "[(+)*]+",
        r"\(a+\)+",
        "a+b*c{3,}",
        "(a+)b",
        "^(?:x[0-9]+)?$",
        "[]+]*",
    ],
)
def test_what_people_write_is_taken(pattern: str) -> None:
    assert patterns.problem(pattern) is None


@pytest.mark.parametrize(
    "pattern", ["(a+)+", "(.*)*x", "(.+)+x", "((a*)b)*", "(a{2,})*", "(?:[a-z]+)+$", "(a|b+)*", "([)+]+)+"]
)
def test_a_repetition_of_a_repetition_is_refused(pattern: str) -> None:
    assert "repeats a repetition" in (patterns.problem(pattern) or "")


@pytest.mark.parametrize("pattern", ["(", "[a", "a**", "x{2,1}", "(" * 200 + ")" * 200 + "("])
def test_what_does_not_compile_is_refused(pattern: str) -> None:
    assert "is not a valid regular expression" in (patterns.problem(pattern) or "")


def test_a_long_one_is_refused() -> None:
    assert patterns.problem("a" * 2000) == "must not be longer than 1024 characters"


@given(st.text("ab(|)*+?{}[]\\.,2", max_size=14))
def test_what_is_taken_is_quick(pattern: str) -> None:
    if patterns.problem(pattern) is None and pattern.count("|") == 0 and pattern.count("{") == 0:
        started = time.perf_counter()
        re.fullmatch(pattern, "ab" * 10 + "!")
        assert time.perf_counter() - started < 1
