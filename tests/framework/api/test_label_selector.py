"""Label selectors: all parts have to hold, and the label has to be there at all."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.api import label_selector
from framework.api.errors import UnprocessableError

LABELS = {"env": "prod", "tier": "web", "a.b/c": "x y"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("env", True),
        ("nope", False),
        ("env==prod", True),
        ("env == prod", True),
        ("env==dev", False),
        ("env!=dev", True),
        ("env!=prod", False),
        ("nope!=x", False),
        ("env in (dev, prod)", True),
        ("env in (dev)", False),
        ("env notin (dev, test)", True),
        ("env notin (prod)", False),
        ("env, tier==web", True),
        ("env, tier==db", False),
        ("env==prod,tier in (web),nope", False),
        (r"a.b/c==x\ y", True),
    ],
)
def test_a_selector_selects(text: str, holds: bool) -> None:
    assert label_selector.parse(text)(LABELS) is holds


@pytest.mark.parametrize("text", ["", "==", "a==", "a in", "a in (", "a b", "a,,b", "!", "x" * 5000])
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(UnprocessableError, match="Can not parse label selector"):
        label_selector.parse(text)


@given(st.text(max_size=30))
def test_any_text_is_a_selector_or_is_refused(text: str) -> None:
    with contextlib.suppress(UnprocessableError):
        assert label_selector.parse(text)(LABELS) in (True, False)
