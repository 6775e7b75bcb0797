"""Who answers: the service or its standby, by command or for want of instances; told as laws over time."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nginx.errors import EdgeError
from nginx.model import Endpoint, Model, Service, Standby
from nginx.standby import Position, Switchboard, Watch, judge

READY = True


def service(instances: int, *, minimum: int = 2, after: float = 10.0) -> Service:
    endpoints = tuple(Endpoint("10.0.0.1", 80 + number) for number in range(instances))
    return Service("web", endpoints=endpoints, standby=Standby("spare", minimum, after))


def model_of(instances: int, spare: int = 1) -> Model:
    spares = tuple(Endpoint("10.0.0.2", 80 + number) for number in range(spare))
    return Model(services={"web": service(instances), "spare": Service("spare", endpoints=spares)})


def test_too_few_instances_for_long_enough_switch_and_enough_of_them_switch_back() -> None:
    watch = judge(service(1), READY, Watch(), "auto", now=0.0)
    assert not watch.switched
    assert not judge(service(1), READY, watch, "auto", now=9.9).switched
    watch = judge(service(1), READY, watch, "auto", now=10.0)
    assert watch.switched
    watch = judge(service(2), READY, watch, "auto", now=11.0)
    assert watch.switched
    assert not judge(service(2), READY, watch, "auto", now=21.0).switched


def test_a_short_dip_starts_the_time_anew() -> None:
    watch = judge(service(1), READY, Watch(), "auto", now=0.0)
    watch = judge(service(2), READY, watch, "auto", now=9.0)
    watch = judge(service(1), READY, watch, "auto", now=9.5)
    assert not judge(service(1), READY, watch, "auto", now=19.0).switched


def test_a_standby_without_an_instance_never_takes_over_by_itself() -> None:
    watch = judge(service(0), False, Watch(), "auto", now=0.0)
    assert not judge(service(0), False, watch, "auto", now=1000.0).switched


@given(st.integers(0, 5), st.booleans(), st.booleans(), st.sampled_from(["standby", "own"]), st.floats(0, 1e6))
def test_a_command_holds_whatever_the_counts(
    count: int, ready: bool, was: bool, position: Position, now: float
) -> None:
    assert judge(service(count), ready, Watch(was), position, now).switched == (position == "standby")


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 4)), max_size=30))
def test_it_never_switches_before_the_time_is_over(steps: list[tuple[float, int]]) -> None:
    watch, now, crossed_at = Watch(), 0.0, None
    for pause, count in steps:
        now += pause
        wants_standby = count < 2
        if wants_standby == watch.switched:
            crossed_at = None
        elif crossed_at is None:
            crossed_at = now
        after = judge(service(count), READY, watch, "auto", now)
        if after.switched != watch.switched:
            assert crossed_at is not None
            assert now - crossed_at >= 10.0
            crossed_at = None
        watch = after


def test_a_command_outlives_the_daemon(tmp_path: Path) -> None:
    board = Switchboard(tmp_path / "switches.json")
    board.load()
    board.command("web", "standby")
    again = Switchboard(tmp_path / "switches.json")
    again.load()
    assert again.judge(model_of(5), 0.0) == {"web"}
    again.command("web", "auto")
    third = Switchboard(tmp_path / "switches.json")
    third.load()
    assert third.judge(model_of(5), 0.0) == frozenset()


def test_a_file_of_switches_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "switches.json").write_text("{")
    with pytest.raises(EdgeError, match=r"switches\.json cannot be read"):
        Switchboard(tmp_path / "switches.json").load()
