"""Which of Consul's instances are believed: what was said at once, what vanished in numbers only after a second look and a wait."""

from hypothesis import given
from hypothesis import strategies as st

from consul_template_py.guard import Guard, confirmed
from nginx.belief import believe, healthy_count
from nginx.model import Instance

GUARD = Guard(max_drop_percent=50.0, hold_down=5.0)
Services = dict[str, tuple[Instance, ...]]


def services(*counts: int, healthy: bool = True, leaving: bool = False) -> Services:
    return {
        f"s{number}": tuple(
            Instance(f"{number}-{i}", f"s{number}", "10.0.0.1", 80 + i, healthy=healthy, leaving=leaving)
            for i in range(count)
        )
        for number, count in enumerate(counts)
    }


def test_the_first_answer_and_any_growth_are_believed() -> None:
    assert believe(GUARD, 10, None, services(3), None, 0.0).services == services(3)
    assert believe(GUARD, 10, services(20), services(30), None, 0.0).services == services(30)


def test_a_small_drop_is_believed_at_once() -> None:
    assert believe(GUARD, 10, services(20), services(12), None, 0.0).held == ""


def test_a_great_drop_is_held_until_it_is_confirmed_and_old() -> None:
    before, after = services(10, 10), services(0, 10 - 2)
    held = believe(GUARD, 10, before, after, None, 100.0)
    assert held.held
    assert held.confirm
    assert held.lost == ("s0", "s1")
    assert healthy_count(held.services) == 20
    assert held.doubt
    agreed = confirmed(held.doubt)
    assert believe(GUARD, 10, held.services, after, agreed, 104.0).held
    assert believe(GUARD, 10, held.services, after, agreed, 105.0).services == after


def test_any_drop_is_held_where_a_server_that_may_know_less_has_answered() -> None:
    before, after = services(20), services(19)
    held = believe(GUARD, 10, before, after, None, 100.0, behind=True)
    assert held.held and held.confirm and healthy_count(held.services) == 20
    assert believe(GUARD, 10, held.services, after, held.doubt, 101.0).services == after, "it has caught up"
    assert held.doubt
    assert believe(GUARD, 10, held.services, after, confirmed(held.doubt), 105.0, behind=True).services == after


def test_a_drop_that_ends_was_never_seen() -> None:
    before = services(20)
    held = believe(GUARD, 10, before, services(1), None, 0.0)
    back = believe(GUARD, 10, held.services, before, held.doubt, 1.0)
    assert (back.held, back.services) == ("", before)


def test_instances_in_maintenance_leave_at_once_however_many() -> None:
    after = services(20, healthy=False, leaving=True)
    assert believe(GUARD, 10, services(20), after, None, 0.0).services == after


def test_one_of_two_is_no_multitude() -> None:
    assert believe(GUARD, 10, services(2), services(0), None, 0.0).services == services(0)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), st.lists(st.integers(0, 12), min_size=1, max_size=4))
def test_what_is_held_contains_all_that_is_offered_and_all_that_was_healthy(
    before: list[int], after: list[int]
) -> None:
    found = believe(GUARD, 1, services(*before), services(*after), None, 0.0)
    shown = {one.id for instances in found.services.values() for one in instances if one.healthy}
    offered = {one.id for instances in services(*after).values() for one in instances}
    assert offered <= shown
    if found.held:
        assert shown == offered | {one.id for instances in services(*before).values() for one in instances}
    else:
        assert shown == offered
