"""When a drain may end: once every edge has said twice that nothing is under way at any port that it knew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.decide.idleness import LOOKS, EdgeReport, Idleness

APP, A, B, NAME, OTHER = "/app", "10.0.0.1:31000", "10.0.0.1:31001", "host-1:31000", "10.0.0.2:31000"
ONE_PORT = (frozenset({A, NAME}),)
BUSY, QUIET = EdgeReport({APP: {A}}, {A}), EdgeReport({APP: {A}}, set())
BLIND = EdgeReport({APP: {A}}, set(), {APP})
STRANGER = EdgeReport({APP: {OTHER}, "/beside": {A}}, {OTHER})


@pytest.mark.parametrize(
    ("looks", "idle"),
    [
        ([[BUSY], [QUIET], [QUIET]], True),
        ([[QUIET], [QUIET]], True),  # it has just left the rotation
        ([[BUSY], [QUIET]], False),
        ([[BUSY], [QUIET], [BUSY], [QUIET]], False),
        ([[BUSY], [STRANGER], [STRANGER]], True),  # the edge has forgotten it
        ([[STRANGER]] * 9, False),  # nobody knows who talks to it
        ([[EdgeReport({APP: {NAME}}, {NAME})], [STRANGER], [STRANGER]], True),
        ([[EdgeReport({APP: {B}}, {B})]] * 2, True),
        ([[BUSY], [None], [QUIET], [None], [QUIET]], False),
        ([[BUSY], [None], [QUIET], [QUIET]], True),
        ([[BUSY, QUIET], [QUIET, BUSY], [QUIET, QUIET], [QUIET, QUIET]], True),
        ([[BUSY, QUIET], [QUIET, BUSY], [QUIET, BUSY]], False),
        ([[QUIET, None]] * 9, False),
        ([[]] * 9, False),
        ([[BUSY], [BLIND], [QUIET], [QUIET], [QUIET]], False),
        ([[EdgeReport({APP: {A}}, set(), {"/beside"})]] * 2, True),
    ],
)
def test_it_is_idle_when_all_edges_agree_twice(looks: list[list[EdgeReport | None]], idle: bool) -> None:
    found = Idleness(APP, ONE_PORT)
    for reports in looks:
        found = found.looked(reports)
    assert found.is_idle is idle


def test_a_port_that_no_edge_knows_may_have_another_address_there() -> None:
    found = Idleness(APP, (frozenset({A}), frozenset({"172.17.0.2:80"})))
    for _ in range(9):
        found = found.looked([QUIET])
    assert not found.is_idle
    for _ in range(LOOKS):
        found = found.looked([EdgeReport({APP: {"172.17.0.2:80"}}, set())])
    assert found.is_idle, "now it is known, and quiet"


def test_an_instance_without_ports_is_not_watched() -> None:
    assert not Idleness(APP, ()).looked([QUIET]).looked([QUIET]).is_idle


@given(st.lists(st.lists(st.sampled_from([BUSY, QUIET, STRANGER, None]), min_size=2, max_size=2), max_size=12))
def test_it_is_never_idle_when_an_edge_was_busy_or_silent_at_one_of_the_last_looks(
    looks: list[list[EdgeReport | None]],
) -> None:
    found = Idleness(APP, ONE_PORT)
    for reports in looks:
        found = found.looked(reports)
    if found.is_idle:
        last = [report for reports in looks[-LOOKS:] for report in reports]
        assert BUSY not in last and None not in last
        assert any(report in (BUSY, QUIET) for reports in looks for report in reports)
