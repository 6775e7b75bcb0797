"""Regular expressions of clients: those that people write pass, those that would never end do not."""

import re
import time

import pytest
from hypothesis import given, settings
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
        r"([a-z]+-)*rack\d+",
        r"[a-z]+-[a-z]+-[a-z]+-[a-z]+-\d+-\d+",
        r"(\d{1,3}\.){3}\d{1,3}",
        r"\d+\.\d+\.\d+\.\d+",
        r".*\.rack-.*\.dc-.*",
        "(?i)(web|db|cache)-?[0-9]{0,4}",
        "(?!bad)[a-z]*+x",
    ],
)
def test_what_people_write_is_taken(pattern: str) -> None:
    assert patterns.problem(pattern) is None


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+",
        "(.*)*x",
        "(.+)+x",
        "((a*)b)*",
        "(a{2,})*",
        "(?:[a-z]+)+$",
        "(a|b+)*",
        "([)+]+)+",
        "(a|a)*x",
        "(a|ab)*x",
        "(?i:a|A)+x",
        "(.{1,5}){1,30}x",
        "(a?){30}a",
        ".*" * 4 + "x",
        "a?" * 30,
        "[ab]*a*[bc]*b*[bc]*x",
        r"\x61*a" * 5 + "x",
        "(?i:s|\u017f)+x",
        "(?P<a>x)(?:(?P=a)*x){5}y",
    ],
)
def test_what_may_match_in_too_many_ways_is_refused(pattern: str) -> None:
    assert "too many ways" in (patterns.problem(pattern) or "")


@pytest.mark.parametrize("pattern", ["(?x)a* a* a* a*", "(?ix:a* a*)", "a(?#c)*", ""])
def test_comments_which_hide_repetitions_are_refused(pattern: str) -> None:
    assert bool(patterns.problem(pattern)) == bool(pattern)


@pytest.mark.parametrize("pattern", ["(", "[a", "a**", "x{2,1}", "(" * 200 + ")" * 200 + "("])
def test_what_does_not_compile_is_refused(pattern: str) -> None:
    assert "is not a valid regular expression" in (patterns.problem(pattern) or "")


def test_a_long_one_is_refused() -> None:
    assert patterns.problem("a" * 2000) == "must not be longer than 1024 characters"


@given(st.text("ab(|)*+?{}[]\\.,2", max_size=16), st.sampled_from(["ab" * 20, "a" * 40, "b" * 40]))
@settings(deadline=None)
def test_what_is_taken_is_quick(pattern: str, text: str) -> None:
    if patterns.problem(pattern) is None:
        started = time.process_time()
        re.fullmatch(pattern, text + "!")
        assert time.process_time() - started < 1
