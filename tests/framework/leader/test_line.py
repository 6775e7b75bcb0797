"""Whose turn it is: the oldest candidate's, nobody's while a state is restored, not at once that of a leader whom the store refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.leader.line import LOOK_AGAIN, RESTORE, Verdict, first_of, verdict

marks = st.text("0123456789abcdef", min_size=32, max_size=32)
lines = st.dictionaries(marks, st.integers(0, 2**31 - 1), min_size=1).map(
    lambda found: {f"{mark}-{number:010d}": number for mark, number in found.items()}
)


@pytest.mark.parametrize(
    ("first", "address", "leads", "makes_way", "what"),
    [
        ("me-0000000001", "me:1", False, 0.0, Verdict(True, None)),
        ("me-0000000001", "me:1", True, 0.0, Verdict(True, None)),
        ("me-0000000001", "me:1", False, -7.0, Verdict(True, None)),
        ("me-0000000001", "me:1", False, 0.6, Verdict(False, None, 0.6)),
        ("me-0000000001", "me:1", False, 60.0, Verdict(False, None, LOOK_AGAIN)),
        ("me-0000000001", "me:1", True, 0.6, Verdict(True, None)),
        ("other-0000000000", "other:1", True, 0.0, Verdict(False, "other:1")),
        ("other-0000000000", "other:1", False, 0.6, Verdict(False, "other:1")),
        ("meander-0000000000", "other:1", True, 0.0, Verdict(False, "other:1")),
        (RESTORE, "", True, 0.0, Verdict(False, None)),
        (RESTORE, "", False, 0.6, Verdict(False, None)),
    ],
)
def test_what_a_node_does_follows_from_who_is_first(
    first: str, address: str, leads: bool, makes_way: float, what: Verdict
) -> None:
    assert verdict(first, address, mark="me", leads=leads, makes_way=makes_way) == what


@given(lines)
def test_exactly_one_of_a_line_leads_and_all_others_follow_it(line: dict[str, int]) -> None:
    first = first_of(line)
    assert line[first] == min(line.values())
    found = [
        verdict(first, f"{first}:1", mark=name.rpartition("-")[0], leads=False, makes_way=0.0) for name in sorted(line)
    ]
    assert [one.leads for one in found].count(True) == 1
    assert {one.follows for one in found if not one.leads} <= {f"{first}:1"}


@given(lines)
def test_nobody_leads_before_a_restore_is_over(line: dict[str, int]) -> None:
    assert first_of([*line, RESTORE]) == RESTORE


@given(st.booleans(), st.floats(0.001, 100))
def test_a_look_that_changes_nothing_is_never_followed_by_another_one_at_once(leads: bool, makes_way: float) -> None:
    found = verdict("me-0000000001", "me:1", mark="me", leads=leads, makes_way=makes_way)
    assert found.look_in >= min(makes_way, LOOK_AGAIN) > 0
