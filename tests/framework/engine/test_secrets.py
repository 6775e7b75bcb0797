"""Launches that need secrets: they wait until the values are at hand, and the queue says why."""

from typing import Any

import pytest

from framework.engine.actions import FetchSecrets, Revive, Warn
from framework.engine.events import SecretsResolved
from framework.model.app import Secret
from framework.model.values import FrozenMap
from tests.support.engine import Desk, app

SECRETS = FrozenMap({"db": Secret("vault:prod/db"), "key": Secret("file:key")})
DENIED = "Vault's secret secret/prod/db: access is denied (403)"


@pytest.fixture
def desk() -> Desk:
    return Desk()


def declared(desk: Desk, **fields: Any) -> None:
    desk.declare(app(secrets=SECRETS, **fields))


def asked(desk: Desk) -> list[str]:
    return [source for fetch in desk.found(FetchSecrets, desk.all_actions) for source in fetch.sources]


def test_nothing_is_launched_before_all_its_secrets_are_at_hand(desk: Desk) -> None:
    declared(desk)
    assert sorted(asked(desk)) == ["file:key", "vault:prod/db"]
    assert desk.offers() == []
    desk.tell(SecretsResolved({"file:key": None}))
    assert desk.offers() == []
    desk.tell(SecretsResolved({"vault:prod/db": None}))
    assert len(desk.offers()) == 1


def test_offers_are_asked_for_once_the_secrets_are_there(desk: Desk) -> None:
    declared(desk)
    desk.wait(2)
    desk.tell(SecretsResolved(dict.fromkeys(("file:key", "vault:prod/db"))))
    assert desk.found(Revive)


def test_the_queue_says_which_secret_is_missing_and_why(desk: Desk) -> None:
    declared(desk)
    desk.tell(SecretsResolved({"vault:prod/db": DENIED, "file:key": None}))
    [item] = desk.state.launcher.queue()
    assert item.problem == f"secret 'db': {DENIED}"
    assert len(desk.found(Warn)) == 1
    desk.wait(600)
    assert desk.found(Warn) == [], "the log says it once, not at every try"


def test_a_secret_that_is_missing_is_tried_again_until_it_is_there(desk: Desk) -> None:
    declared(desk)
    desk.tell(SecretsResolved({"vault:prod/db": DENIED, "file:key": None}))
    before = len(asked(desk))
    desk.wait(desk.settings.secret_retry + 1)
    assert asked(desk)[before:] == ["vault:prod/db"]
    desk.tell(SecretsResolved({"vault:prod/db": None}))
    assert len(desk.offers()) == 1
    assert desk.state.launcher.queue() == ()


def test_an_answer_that_never_comes_is_asked_for_again(desk: Desk) -> None:
    declared(desk)
    before = len(asked(desk))
    desk.wait(desk.settings.secret_patience + 1)
    assert sorted(asked(desk)[before:]) == ["file:key", "vault:prod/db"]


def test_a_launch_after_a_while_fetches_anew_so_that_a_changed_value_is_used(desk: Desk) -> None:
    declared(desk)
    desk.tell(SecretsResolved(dict.fromkeys(("file:key", "vault:prod/db"))))
    [launch] = desk.offers()
    desk.status(launch.instance, "TASK_RUNNING")
    desk.wait(desk.settings.secret_seconds + 1)
    before = len(asked(desk))
    desk.update("/app", instances=2)
    assert sorted(asked(desk)[before:]) == ["file:key", "vault:prod/db"]


def test_others_are_launched_meanwhile(desk: Desk) -> None:
    declared(desk)
    desk.declare(app("/other"))
    assert [launch.spec.id for launch in desk.offers()] == ["/other"]


def test_what_nobody_waits_for_is_asked_for_no_more(desk: Desk) -> None:
    declared(desk)
    desk.tell(SecretsResolved({"vault:prod/db": DENIED, "file:key": None}))
    desk.remove("/app")
    desk.settle()
    before = len(asked(desk))
    desk.wait(3600)
    assert len(asked(desk)) == before
