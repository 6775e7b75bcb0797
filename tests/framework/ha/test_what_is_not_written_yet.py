"""Nobody is told anything that comes of a change which is not durable: it may yet be undone, as when its leader loses its store."""

import asyncio
from collections.abc import Sequence

import pytest
import requests

from framework.engine import records
from framework.engine.commands import Declare
from framework.model.change import Change
from framework.model.group import Declared
from framework.store.base import StoreError, StoreFenced, Write
from tests.support.memory_cluster import Framework, running_framework
from tests.support.waiting import eventually_async


def removal() -> Declare:
    def edit(declared: Declared) -> Change:
        if "/web" not in declared.apps:
            raise KeyError("/web")
        return Change(apps={"/web": None})

    return Declare(edit)


class Gate:
    """Where commits that change what is declared wait, and then fail as `then` says."""

    def __init__(self, framework: Framework, patch: pytest.MonkeyPatch) -> None:
        self.open, self.waiting = asyncio.Event(), 0
        self.then: StoreError | None = None
        commit = framework.store.commit

        async def slow(writes: Sequence[Write]) -> None:
            if any(write.table == records.DECLARED for write in writes) and not self.open.is_set():
                self.waiting += 1
                await self.open.wait()
                if self.then is not None:
                    raise self.then
            await commit(writes)

        patch.setattr(framework.store, "commit", slow)


def delete(framework: Framework) -> asyncio.Future[requests.Response]:
    return asyncio.ensure_future(asyncio.to_thread(requests.delete, f"{framework.url}/v2/apps/web", timeout=60))


async def found(framework: Framework) -> int:
    return (await asyncio.to_thread(requests.get, f"{framework.url}/v2/apps/web", timeout=60)).status_code


async def test_an_app_is_there_until_its_removal_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_framework() as framework:
        await framework.app("/web")
        gate = Gate(framework, monkeypatch)
        removal = delete(framework)
        await eventually_async(lambda: gate.waiting == 1)
        assert await found(framework) == 200, "who asks is not told of what may yet be undone"
        again = delete(framework)
        assert not (await asyncio.wait({again}, timeout=0.2))[0], "nor is who wants it removed, too"
        gate.open.set()
        assert (await removal).status_code == 200
        assert await found(framework) == 404
        assert (await again).status_code == 404


async def test_a_deployment_runs_until_its_end_is_durable_where_that_changes_what_is_declared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_framework() as framework:
        await framework.app("/web")
        framework.cluster.stuck.add("/web")
        change = await framework.call("PUT", "/v2/apps/web", {"cmd": "sleep 2"})
        [deployment] = await framework.get("/v2/deployments")
        assert deployment["id"] == change.json["deploymentId"]
        gate = Gate(framework, monkeypatch)
        back = asyncio.ensure_future(framework.call("DELETE", f"/v2/deployments/{deployment['id']}"))
        await eventually_async(lambda: gate.waiting == 1)
        assert [one["id"] for one in await framework.get("/v2/deployments")] == [deployment["id"]]
        assert (await framework.get("/v2/apps/web"))["app"]["cmd"] == "sleep 2"
        gate.open.set()
        assert (await back).status == 200
        assert deployment["id"] not in [one["id"] for one in await framework.get("/v2/deployments")]
        assert (await framework.get("/v2/apps/web"))["app"]["cmd"] == "sleep 1"


@pytest.mark.parametrize("failure", [StoreError("the disk is full"), StoreFenced("epoch 1 is over")])
async def test_who_asks_again_while_the_store_does_not_answer_is_not_told_that_it_is_done(
    failure: StoreError, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_framework() as framework:
        await framework.app("/web")
        gate = Gate(framework, monkeypatch)
        gate.then = failure
        first = delete(framework)
        await eventually_async(lambda: gate.waiting == 1)
        second, third = delete(framework), delete(framework)
        gate.open.set()
        answers = [(await one).status_code for one in (first, second, third)]
        stored = await framework.store.load(records.DECLARED)
        assert answers[0] == 503
        # The others may have come when the store wrote again, or when nobody led any more.
        assert "/web" not in stored or set(answers) == {503}, answers


async def test_refusals_that_come_of_what_is_then_undone_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two removals in one batch: the second finds nothing to remove, as the first has removed it, which then is not kept."""
    async with running_framework() as framework:
        await framework.app("/web")
        await framework.settled()
        framework.store.failure = StoreError("the disk is full")
        declared = framework.engine.view.declared
        answers = await asyncio.gather(*(framework.engine.execute(removal()) for _ in range(2)), return_exceptions=True)
        framework.store.failure = None
        assert [type(answer).__name__ for answer in answers] == ["StoreUnavailable", "StoreUnavailable"]
        assert framework.engine.view.declared is declared
