"""The comparison: differences only, our own services only, and removal only on evidence."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registrator.diff import DRAINING, HELD, Limits, Memory, Plan, Proof, diff, names_that_drain
from registrator.merge import Judged, Kind, Verdict
from registrator.model import Check, Instance, Registered, Service

CHECK = Check("service:a:tcp", "tcp", {"TCP": "x"})
SERVICE = Service("a", "web", "10.0.0.1", 80, ("t",), {"dromos-owner": "us", "dromos-task": "t1"}, (CHECK,))
FOUND = Registered("a", "web", "10.0.0.1", 80, ("t",), dict(SERVICE.meta), frozenset({"service:a:tcp"}))
TASK = Instance("t1", "task")
PRESENT = Proof(at=100.0, fresh=True, empty=False)
LIMITS = Limits(confirm_after=1.0, empty_hold=5.0, burst=2, rate=1.0)


def judged(verdict: Verdict = Verdict.WANTED, *, drain: bool = False, key: str = "t1") -> dict[str, Judged]:
    return {key: Judged(replace(TASK, key=key), verdict, "because", drain)}


def plan(
    judgements: Mapping[str, Judged] | None = None,
    wanted: tuple[Service, ...] = (SERVICE,),
    actual: tuple[Registered, ...] = (FOUND,),
    **changes: Any,
) -> Plan:
    judgements = judged() if judgements is None else judgements
    given: dict[str, Any] = {
        "judged": judgements,
        "wanted": {"t1": wanted} if "t1" in judgements else {},
        "unsure": frozenset(),
        "ended": frozenset(),
        "proofs": {"task": PRESENT, "container": None},
        "actual": {found.id: found for found in actual},
        "owner": "us",
        "memory": Memory(tokens=LIMITS.burst, at=100.0),
        "now": 100.0,
        "limits": LIMITS,
    }
    return diff(**{**given, **changes})


def test_what_is_equal_is_not_written() -> None:
    assert plan().writes == 0


@pytest.mark.parametrize(
    "change",
    [
        {"address": "10.0.0.2"},
        {"port": 81},
        {"tags": ()},
        {"meta": {**FOUND.meta, "dromos-checks": "0"}},
        {"name": "other"},
        {"check_ids": frozenset()},
    ],
)
def test_any_difference_is_written_once(change: dict[str, Any]) -> None:
    assert plan(actual=(replace(FOUND, **change),)).register == (SERVICE,)


def test_the_order_of_tags_and_checks_that_others_added_are_no_difference() -> None:
    two = replace(SERVICE, tags=("a", "b"))
    found = replace(FOUND, tags=("b", "a"), check_ids=FOUND.check_ids | {"operators-own"})
    assert plan(wanted=(two,), actual=(found,)).writes == 0


def test_checks_that_an_earlier_registration_left_are_dropped() -> None:
    found = replace(FOUND, check_ids=FOUND.check_ids | {"service:a:0", "operators-own"})
    assert plan(actual=(found,)).drop_checks == ("service:a:0",)


@pytest.mark.parametrize("meta", [{}, {"dromos-owner": "them", "dromos-task": "t1"}])
def test_services_that_are_not_ours_are_never_touched(meta: dict[str, str]) -> None:
    foreign = replace(FOUND, meta=meta, port=1)
    assert plan(actual=(foreign,)).writes == 0
    assert "a" in plan(actual=(foreign,)).conflicts
    assert plan({}, actual=(foreign,), ended=frozenset({"t1"})).writes == 0


@pytest.mark.parametrize(
    ("verdict", "there", "changed", "registered"),
    [
        (Verdict.WANTED, False, False, True),
        (Verdict.WANTED, True, True, True),
        (Verdict.NEW_ONLY, False, False, True),
        (Verdict.NEW_ONLY, True, True, False),
        (Verdict.HOLD, False, False, False),
        (Verdict.HOLD, True, True, False),
        (Verdict.WAIT, False, False, False),
        (Verdict.REMOVE, False, False, False),
    ],
)
def test_what_each_verdict_registers(verdict: Verdict, there: bool, changed: bool, registered: bool) -> None:
    found = replace(FOUND, port=1) if changed else FOUND
    assert bool(plan(judged(verdict), actual=(found,) if there else ()).register) is registered


def test_an_ended_instance_s_service_goes_at_once_even_while_its_source_fails() -> None:
    found = plan({}, ended=frozenset({"t1"}), proofs={"task": None, "container": None})
    assert [id for id, _ in found.deregister] == ["a"]


def test_an_unhealthy_instance_s_service_goes() -> None:
    assert [id for id, _ in plan(judged(Verdict.REMOVE)).deregister] == ["a"]


def test_a_service_that_the_instance_no_longer_has_goes_after_the_new_one_has_come() -> None:
    renamed = replace(SERVICE, id="b", name="new")
    found = plan(wanted=(renamed,))
    assert (found.register, [id for id, _ in found.deregister]) == ((renamed,), ["a"])
    assert not plan(wanted=(), unsure=frozenset({"t1"})).deregister, "not while an address is unknown"


def test_absence_has_to_be_seen_twice() -> None:
    first = plan({})
    assert (first.deregister, first.look_again_in) == ((), 1.0)
    early = plan({}, memory=first.memory, proofs={"task": replace(PRESENT, at=100.5), "container": None})
    assert not early.deregister
    stale = plan({}, memory=early.memory, proofs={"task": replace(PRESENT, at=101.5, fresh=False), "container": None})
    assert not stale.deregister, "a copy that was at hand is no second answer"
    second = plan({}, memory=stale.memory, proofs={"task": replace(PRESENT, at=101.5), "container": None})
    assert [id for id, _ in second.deregister] == ["a"]


def test_without_clean_up_what_is_only_absent_stays_and_what_has_ended_goes() -> None:
    limits = replace(LIMITS, cleanup=False)
    first = plan({}, limits=limits)
    second = plan({}, limits=limits, memory=first.memory, proofs={"task": replace(PRESENT, at=900), "container": None})
    assert (second.deregister, second.look_again_in) == ((), None)
    assert second.waiting == {"a": "absent; left as it is, as --no-cleanup asks"}
    assert plan({}, limits=limits, ended=frozenset({"t1"})).deregister


def test_an_absence_that_a_failing_source_interrupts_is_counted_anew() -> None:
    first = plan({})
    failing = plan({}, memory=first.memory, proofs={"task": None, "container": None})
    assert "fails or is incomplete" in failing.waiting["a"]
    again = plan({}, memory=failing.memory, proofs={"task": replace(PRESENT, at=200), "container": None})
    assert not again.deregister


def test_absence_of_everything_has_to_last_longer() -> None:
    first = plan({}, proofs={"task": replace(PRESENT, empty=True), "container": None})
    for at, gone in ((101.5, False), (104.9, False), (105.0, True)):
        proofs = {"task": replace(PRESENT, at=at, empty=True), "container": None}
        assert bool(plan({}, memory=first.memory, proofs=proofs).deregister) is gone


def test_removals_without_an_end_share_a_rate() -> None:
    many = tuple(replace(FOUND, id=id) for id in "abcde")
    first = plan(judged(Verdict.REMOVE), actual=many)
    assert ([id for id, _ in first.deregister], first.look_again_in) == (["a", "b"], 1.0)
    second = plan(judged(Verdict.REMOVE), actual=many[2:], memory=first.memory, now=101.0)
    assert [id for id, _ in second.deregister] == ["c"]
    assert len(plan({}, actual=many, ended=frozenset({"t1"})).deregister) == 5, "what has ended is not counted"


@pytest.mark.parametrize(
    ("drain", "maintenance", "expected"),
    [
        (True, None, (("a", True),)),
        (True, DRAINING, ()),
        (True, "an operator's", ()),
        (False, DRAINING, (("a", False),)),
        (False, "an operator's", ()),
        (False, None, ()),
    ],
)
def test_maintenance(drain: bool, maintenance: str | None, expected: tuple[Any, ...]) -> None:
    verdict = Verdict.HOLD if drain else Verdict.WANTED
    found = plan(judged(verdict, drain=drain), actual=(replace(FOUND, maintenance=maintenance),))
    assert found.maintenance == expected


def draining_pair(*, passing: bool, old_passes: bool = True, new: bool = True) -> Plan:
    """`a` of t1 drains while `b` of t2, of the same name, has come."""
    statuses = {"service:b:tcp": "passing" if passing else "critical"}
    old = replace(FOUND, statuses={"service:a:tcp": "passing" if old_passes else "critical"})
    meta = {**FOUND.meta, "dromos-task": "t2"}
    found = replace(FOUND, id="b", meta=meta, check_ids=frozenset({"service:b:tcp"}), statuses=statuses)
    judgements = judged(Verdict.HOLD, drain=True) | (judged(key="t2") if new else {})
    wanted = replace(SERVICE, id="b", meta=meta, checks=(replace(CHECK, id="service:b:tcp"),))
    return plan(judgements, actual=(old, found) if new else (old,), wanted=(SERVICE,)) if not new else diff(
        judged=judgements, wanted={"t2": (wanted,)}, unsure=frozenset(), ended=frozenset(), proofs={"task": PRESENT, "container": None},
        actual={"a": old, "b": found}, owner="us", memory=Memory(), now=100.0, limits=LIMITS,
    )  # fmt: skip


def test_the_last_instance_that_serves_goes_on_while_its_successor_has_yet_to_pass_its_checks() -> None:
    waiting = draining_pair(passing=False)
    assert (waiting.maintenance, waiting.postponed) == ((), frozenset({"a"}))
    assert "another instance" in waiting.waiting["a"]
    for found in (
        draining_pair(passing=True),
        draining_pair(passing=False, old_passes=False),
        draining_pair(passing=False, new=False),
    ):
        assert (found.maintenance, found.postponed) == ((("a", True),), frozenset())


@pytest.mark.parametrize(
    ("verdict", "there", "held", "lifted"),
    [
        (Verdict.HELD, None, True, False),
        (Verdict.HELD, replace(FOUND, maintenance=HELD, port=1), False, False),
        (Verdict.HELD, FOUND, False, False),  # released before: a stale answer takes nothing out
        (Verdict.WANTED, replace(FOUND, maintenance=HELD), False, True),
        (Verdict.NEW_ONLY, replace(FOUND, maintenance=HELD), False, False),  # the framework is silent
        (Verdict.HOLD, replace(FOUND, maintenance=HELD), False, False),
        (Verdict.WAIT, replace(FOUND, maintenance=HELD), False, False),
        (Verdict.WANTED, replace(FOUND, maintenance="mine"), False, False),
        (Verdict.WANTED, replace(FOUND, maintenance=DRAINING), False, True),
        (Verdict.NEW_ONLY, replace(FOUND, maintenance=DRAINING), False, False),
        (Verdict.WAIT, replace(FOUND, maintenance=DRAINING), False, False),
    ],
)
def test_a_held_instance_is_registered_in_maintenance_and_only_the_framework_s_word_ends_a_maintenance(
    verdict: Verdict, there: Registered | None, held: bool, lifted: bool
) -> None:
    found = plan(judged(verdict), actual=(there,) if there else ())
    assert found.held == ((SERVICE,) if held else ())
    assert found.maintenance == ((("a", False),) if lifted else ())
    assert found.writes == held + lifted


def test_at_the_go_the_new_ones_are_in_rotation_before_the_old_ones_leave_it() -> None:
    meta = {**FOUND.meta, "dromos-task": "t2"}
    old = replace(FOUND, statuses={"service:a:tcp": "passing"})
    new = replace(FOUND, id="b", meta=meta, maintenance=HELD, statuses={"service:b:tcp": "passing"})
    judgements = judged(Verdict.HOLD, drain=True) | judged(key="t2")
    found = plan(judgements, actual=(old, new), unsure=frozenset({"t2"}))
    assert found.maintenance == (("b", False), ("a", True))
    sick = replace(new, statuses={"service:b:tcp": "critical"})
    found = plan(judgements, actual=(old, sick), unsure=frozenset({"t2"}))
    assert (found.maintenance, found.postponed) == ((("b", False),), frozenset({"a"}))


def test_the_checks_of_services_that_are_to_drain_are_looked_at_first() -> None:
    drains, actual = judged(Verdict.HOLD, drain=True), {"a": FOUND, "x": replace(FOUND, id="x", meta={})}
    assert names_that_drain(drains, actual, "us") == {"web"}
    assert names_that_drain(judged(), actual, "us") == frozenset()
    assert names_that_drain(drains, {"a": replace(FOUND, maintenance=DRAINING)}, "us") == frozenset()
    assert names_that_drain(drains, actual, "them") == frozenset()


KEYS = st.sampled_from(["t1", "t2", "t3", "t4"])


def service_of(key: str, port: int) -> Service:
    meta = {"dromos-owner": "us", "dromos-task": key}
    return Service(f"{key}_{port}", "web", "10.0.0.1", port, (), meta, ())


@settings(max_examples=200)
@given(
    st.dictionaries(KEYS, st.tuples(st.sampled_from(Verdict), st.booleans(), st.sets(st.integers(1, 3)))),
    st.dictionaries(KEYS, st.sets(st.integers(1, 4))),
    st.sets(KEYS),
    st.booleans(),
)
def test_it_settles_and_then_writes_no_more(
    instances: dict[str, tuple[Verdict, bool, set[int]]], there: dict[str, set[int]], ended: set[str], proves: bool
) -> None:
    """Carrying plans out leads to a state that needs no write, in which what is wanted is there and what ended is not."""
    judgements = {
        key: judged(verdict, drain=drain, key=key)[key]
        for key, (verdict, drain, _) in instances.items()
        if key not in ended
    }
    wanted = {key: tuple(service_of(key, port) for port in sorted(ports)) for key, (_, _, ports) in instances.items()}
    foreign = Registered("foreign", "db", "10.0.0.9", 1, (), {"dromos-owner": "them"})
    actual = {"foreign": foreign}
    for key, ports in there.items():
        for port in ports:
            actual[f"{key}_{port}"] = _registered(service_of(key, port))
    memory, now = Memory(tokens=2), 0.0
    for _ in range(40):
        proofs: dict[Kind, Proof | None] = {"task": Proof(now, True, False) if proves else None, "container": None}
        found = diff(
            judged=judgements, wanted=wanted, unsure=frozenset(), ended=frozenset(ended), proofs=proofs, actual=actual,
            owner="us", memory=memory, now=now, limits=LIMITS,
        )  # fmt: skip
        memory, now = found.memory, now + 2.0
        for service in found.register:
            actual[service.id] = _registered(service)
        for service in found.held:
            actual[service.id] = replace(_registered(service), maintenance=HELD)
        for id, on in found.maintenance:
            actual[id] = replace(actual[id], maintenance=DRAINING if on else None)
        for id, _ in found.deregister:
            del actual[id]
    assert found.writes == 0
    assert actual.pop("foreign") == foreign
    keys_there = {entry.meta["dromos-task"] for entry in actual.values()}
    assert keys_there.isdisjoint(ended)
    for key, judgement in judgements.items():
        ids = {id for id, entry in actual.items() if entry.meta["dromos-task"] == key}
        if judgement.verdict is Verdict.WANTED:
            assert ids == {service.id for service in wanted[key]}
        elif judgement.verdict is Verdict.REMOVE:
            assert not ids
        elif judgement.verdict is Verdict.HELD:
            before = {f"{key}_{port}" for port in there.get(key, ())}
            assert ids == before | {service.id for service in wanted[key]}
            assert judgement.drain or {id for id in ids if actual[id].maintenance == HELD} == ids - before
        elif judgement.verdict in (Verdict.HOLD, Verdict.WAIT):
            assert ids == {f"{key}_{port}" for port in there.get(key, ())}
    absent = there.keys() - judgements.keys() - ended
    assert proves is keys_there.isdisjoint(absent) or not any(there[key] for key in absent)


def _registered(service: Service) -> Registered:
    return Registered(service.id, service.name, service.address, service.port, service.tags, dict(service.meta))
