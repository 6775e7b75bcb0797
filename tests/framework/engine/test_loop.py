"""The loop goes on, whatever one change holds: nothing of the others is lost, and who asked is told."""

import asyncio

import pytest

from framework.engine.commands import Accepted, Declare
from framework.engine.errors import Unstorable
from framework.model.app import App
from framework.model.change import Change
from framework.model.values import FrozenMap
from framework.store.base import Write
from tests.support.memory_cluster import running_framework


def declare(app_id: str, text: str = "run") -> Declare:
    app = App(app_id, cmd=text, labels=FrozenMap({"text": text}))
    return Declare(lambda _: Change(apps={app_id: app}))


async def test_a_change_that_cannot_be_written_is_refused_and_takes_no_other_with_it() -> None:
    async with running_framework() as framework:
        engine = framework.engine
        commands = (declare("/a"), declare("/bad", "\ud800"), declare("/b"), declare("/worse", "\udfff"), declare("/c"))
        answers = await asyncio.gather(*(engine.execute(c) for c in commands), return_exceptions=True)
        assert [type(answer) for answer in answers] == [Accepted, Unstorable, Accepted, Unstorable, Accepted]
        assert "nothing was changed" in str(answers[1])
        assert set(engine.view.declared.apps) == {"/a", "/b", "/c"}
        await framework.settled()
        assert len(framework.cluster.running) == 3
        await framework.app("/later")
        stored = await framework.store.load("declared")
        assert set(stored) == {"/a", "/b", "/c", "/later"}


async def test_what_cannot_be_written_for_another_reason_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_framework() as framework:
        engine = framework.engine
        pending, broken = engine.state.ledger.pending, True

        def failing() -> list[Write]:
            if broken:
                raise TypeError("not of this world")
            return pending()

        monkeypatch.setattr(engine.state.ledger, "pending", failing)
        with pytest.raises(Unstorable):
            await engine.execute(declare("/a"))
        broken = False
        await framework.app("/b", instances=2)
        assert set(engine.view.declared.apps) == {"/b"}
