"""Several roles at once: whoever is declared for a role, the framework is subscribed for it, and only its offers are used."""

from dataclasses import replace

import pytest

from framework.engine.actions import Revive, Subscribe, Suppress, UpdateRoles
from framework.engine.events import Elected, Subscribed
from framework.engine.settings import EngineSettings
from framework.engine.state import State
from framework.model.instance import Agent
from framework.model.offer import Offer, Pool
from tests.support.engine import Desk, app, numbers


def offer(role: str, reserved_for: str = "*", number: int = 1) -> Offer:
    pool = Pool(reserved_for, 4_000, 4_000_000, 4_000_000, 0, ((31000, 31999),))
    return Offer(f"{role}-{reserved_for}-{number}", Agent(f"agent-{number}", f"host-{number}"), role, (pool,))


def test_an_app_of_another_role_subscribes_the_framework_for_it() -> None:
    desk = Desk()
    desk.declare(app("/prod/web", role="prod"))
    assert desk.found(UpdateRoles) == [UpdateRoles(("*", "prod"))]
    assert desk.found(Suppress) == [Suppress(("*",))], "nobody waits for offers of that role"
    assert Revive(("prod",)) in desk.found(Revive, desk.all_actions)


def test_each_role_uses_its_own_offers() -> None:
    desk = Desk()
    desk.declare(app("/prod/web", role="prod"), app("/web"))
    launches = desk.offers(offer("dev", number=3), offer("*"), offer("prod", number=2))
    assert {(launch.spec.id, launch.instance.role, launch.instance.agent.id) for launch in launches} == {
        ("/prod/web", "prod", "agent-2"),
        ("/web", "*", "agent-1"),
    }


def test_an_app_uses_what_is_reserved_for_its_role_and_what_is_not_reserved() -> None:
    desk = Desk()
    desk.declare(
        app("/prod/a", role="prod"),
        app("/prod/b", role="prod", accepted_resource_roles=("prod",)),
        app("/prod/c", role="prod", accepted_resource_roles=("*",)),
    )
    launches = desk.offers(offer("prod", "prod"))
    assert {launch.spec.id for launch in launches} == {"/prod/a", "/prod/b"}
    assert {launch.spec.id for launch in desk.offers(offer("prod", "*", 2))} == {"/prod/c"}


def test_a_new_leader_subscribes_for_all_roles_at_once() -> None:
    desk = Desk()
    desk.declare(app("/prod/web", role="prod"))
    desk.state = State(desk.settings, desk.ledger, numbers())
    desk.tell(Elected("me:8080"))
    assert desk.found(Subscribe) == [Subscribe("framework-1", ("*", "prod"))]
    desk.tell(Subscribed("framework-1", "master:5050", again=True))
    assert desk.found(UpdateRoles) == []


@pytest.mark.parametrize(
    ("given", "masters", "launched"),
    [
        (None, "eu", {"agent-1", "agent-3"}),
        ("us", "eu", {"agent-2", "agent-3"}),
        (None, None, {"agent-1", "agent-2", "agent-3"}),
    ],
)
def test_the_master_s_region_is_home_unless_another_one_is_named(
    given: str | None, masters: str | None, launched: set[str]
) -> None:
    desk = Desk(EngineSettings(home_region=given, drain_seconds=0.0), subscribed=False)
    domain = {"domain": {"fault_domain": {"region": {"name": masters}, "zone": {"name": "z"}}}} if masters else {}
    desk.tell(Subscribed("framework-1", "master:5050", domain))
    desk.declare(app(instances=6))
    offers = [
        replace(desk.offer(number), agent=Agent(f"agent-{number}", "h", region=region))
        for number, region in ((1, "eu"), (2, "us"), (3, None))
    ]
    assert {launch.instance.agent.id for launch in desk.offers(*offers)} == launched
