"""Whose turn it is: the oldest candidate's, nobody's while a state is restored, not at once that of a leader whom the store refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.leader.line import LOOK_AGAIN, MAKE_WAY, RESTORE, Verdict, first_of, verdict

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


class Nodes:
    """Nodes that stand in one line, each of which looks when it is time to, at what is there then."""

    def __init__(self) -> None:
        self.now, self._number, self.looks = 0.0, 0, 0
        self.line: dict[str, int] = {}
        self.restoring = False
        self.found: dict[str, Verdict] = {}
        self._next: dict[str, float] = {}
        self._makes_way: dict[str, float] = {}

    def stand(self, mark: str) -> None:
        self._number += 1
        self.line[mark] = self._number
        self._next[mark] = self.now

    def end(self, mark: str) -> None:
        for book in (self.line, self.found, self._next, self._makes_way):
            book.pop(mark, None)  # type: ignore[attr-defined]

    def give_up(self, mark: str, *, refused: bool) -> None:
        if refused:
            self._makes_way[mark] = self.now + MAKE_WAY
        self.found.pop(mark, None)
        self.stand(mark)

    def go_on(self, seconds: float) -> None:
        end = self.now + seconds
        while self._next and (when := min(self._next.values())) <= end:
            self.now = max(self.now, when)
            self._look(min(self._next, key=lambda mark: self._next[mark]))
        self.now = end

    def _look(self, mark: str) -> None:
        self.looks += 1
        first = first_of(
            [*(f"{mark}-{number:010d}" for mark, number in self.line.items()), *[RESTORE] * self.restoring]
        )
        address = "" if first == RESTORE else first.partition("-")[0]
        leads = mark in self.found and self.found[mark].leads
        makes_way = self._makes_way.get(mark, 0.0) - self.now
        self.found[mark] = verdict(first, address, mark=mark, leads=leads, makes_way=makes_way)
        self._next[mark] = self.now + self.found[mark].look_in


steps = st.lists(
    st.tuples(
        st.sampled_from(["stand", "end", "give up", "is refused", "restore", "wait"]),
        st.sampled_from("abcd"),
        st.floats(0, 8),
    ),
    max_size=30,
)


@given(steps)
def test_whatever_happened_one_leads_soon_and_all_others_follow_it_unless_a_state_is_restored(
    story: list[tuple[str, str, float]],
) -> None:
    nodes = Nodes()
    nodes.stand("e")
    for what, mark, seconds in story:
        if what == "stand" and mark not in nodes.line:
            nodes.stand(mark)
        elif what == "end":
            nodes.end(mark)
        elif what in ("give up", "is refused") and mark in nodes.found and nodes.found[mark].leads:
            nodes.give_up(mark, refused=what == "is refused")
        elif what == "restore":
            nodes.restoring = not nodes.restoring
        elif what == "wait":
            nodes.go_on(seconds)
    nodes.looks = 0
    nodes.go_on(LOOK_AGAIN + MAKE_WAY)
    leaders = [mark for mark, found in nodes.found.items() if found.leads]
    if nodes.restoring:
        assert leaders == [] and {found.follows for found in nodes.found.values()} == {None}
    else:
        assert leaders == [min(nodes.line, key=lambda mark: nodes.line[mark])]
        assert {found.follows for mark, found in nodes.found.items() if mark not in leaders} <= set(leaders)
    assert nodes.looks <= 4 * len(nodes.line), "nobody asks all the time"
