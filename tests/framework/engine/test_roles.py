"""Several roles at once: whoever is declared for a role, the framework is subscribed for it, and only its offers are used."""

from framework.engine.actions import Revive, Subscribe, Suppress, UpdateRoles
from framework.engine.events import Elected, Subscribed
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
