"""Rounds against a real framework: what the autoscaler does there, and what it leaves alone. The edge's numbers are the test's."""

import asyncio
import math
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from autoscale import estimate
from autoscale.api import Api
from autoscale.autoscaler import Autoscaler
from autoscale.decide import History
from autoscale.errors import ApiError
from autoscale.forecast import Season
from autoscale.journal import Entry
from autoscale.leader import Lock
from autoscale.settings import AutoscaleSettings
from autoscale.steer import Past
from daemonkit.errors import SettingsError
from daemonkit.health import Health
from tests.support.answering import Answering, answering
from tests.support.consul import ConsulServer
from tests.support.memory_cluster import Framework, running_framework
from tests.support.waiting import eventually_async

LABELS = {"DROMOS_AUTOSCALE_TARGET": "20", "DROMOS_AUTOSCALE_MAX": "20", "DROMOS_AUTOSCALE_DOWN_AFTER": "30s"}


class World:
    """Time, a framework, an edge whose counters grow by `rates` a second, and an autoscaler that looks every two seconds."""

    def __init__(self, framework: Framework, edge: Answering, state_dir: Path) -> None:
        self.framework, self.edge, self.state_dir = framework, edge, state_dir
        self.now, self.totals, self.rates = 1_000_000.0, dict[str, float](), dict[str, float]()
        self.extra = ""
        self.autoscaler = self.started()

    def started(self, **settings: Any) -> Autoscaler:
        given = {"marathon": self.framework.url, "edge": (self.edge.url,), "state_dir": self.state_dir, "timeout": 60}
        given |= settings
        api = Api(self.framework.url, timeout=60)
        found = AutoscaleSettings.model_validate(given)
        self.autoscaler = Autoscaler(found, api, Health(), clock=lambda: self.now)
        return self.autoscaler

    async def lives(self, seconds: float) -> None:
        for _ in range(round(seconds / 2)):
            self.now += 2
            for app, rate in self.rates.items():
                self.totals[app] = self.totals.get(app, 0.0) + 2 * rate
            lines = [f'dromos_edge_requests_total{{app="{app}",code="2xx"}} {n}\n' for app, n in self.totals.items()]
            self.edge.body = "dromos_edge_start_time_seconds 1\n" + self.extra + "".join(lines)
            await asyncio.to_thread(self.autoscaler.round)

    async def app(self, app_id: str = "/web", **fields: Any) -> None:
        self.rates.setdefault(app_id, 15.0)
        await self.framework.app(app_id, **{"labels": LABELS, **fields})

    async def shown(self, app_id: str = "/web") -> dict[str, Any]:
        found: dict[str, Any] = (await self.framework.get(f"/v2/apps{app_id}"))["app"]
        return found

    async def instances(self, app_id: str = "/web") -> int:
        return int((await self.shown(app_id))["instances"])

    def last(self, app_id: str = "/web") -> Entry:
        return self.autoscaler.journal.of(app_id)[-1]

    def outcomes(self, app_id: str = "/web") -> set[str]:
        return {entry.outcome for entry in self.autoscaler.journal.of(app_id)}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    with answering() as edge:
        edge.content_type = "text/plain"
        async with running_framework() as framework:
            yield World(framework, edge, tmp_path / "state")


async def test_load_raises_the_count_and_calm_lowers_it(world: World) -> None:
    await world.app()
    world.rates["/web"] = 200
    await world.lives(10)
    high = await world.instances()
    assert high >= 9
    assert "scaled" in world.outcomes()
    world.rates["/web"] = 15
    await world.framework.settled()
    for _ in range(30):
        await world.lives(20)
        await world.framework.settled()
    assert await world.instances() < high / 2


async def test_what_is_not_labelled_suspended_or_wrong_is_left_alone(world: World) -> None:
    await world.app("/plain", labels={})
    await world.app("/off", instances=0)
    await world.app("/wrong", labels={"DROMOS_AUTOSCALE_TARGET": "many"})
    world.rates = dict.fromkeys(("/plain", "/off", "/wrong"), 500.0)
    await world.lives(10)
    assert [await world.instances(app) for app in ("/plain", "/off", "/wrong")] == [1, 0, 1]
    assert world.last("/wrong").outcome == "ignored" and "'many' is not a number" in world.last("/wrong").reason


async def test_a_dry_run_and_a_shadow_tell_what_they_would_do_and_do_nothing(world: World) -> None:
    await world.app()
    world.rates["/web"] = 200
    world.started(dry_run=True)
    await world.lives(10)
    assert await world.instances() == 1 and world.last().outcome == "dry run" and world.last().decided >= 9
    world.started(shadow=True, state_dir=world.state_dir / "shadow")
    await world.lives(10)
    assert await world.instances() == 1 and "shadow" in world.outcomes()
    assert world.last().outcome == "held" and world.last().instances >= 9, "it goes on from what would be there"


async def test_an_operators_change_in_between_is_not_overwritten(world: World) -> None:
    await world.app()
    world.rates["/web"] = 200
    await world.lives(2)
    read = world.autoscaler.api.apps

    def overtaken() -> Any:
        apps = read()
        asyncio.run_coroutine_threadsafe(world.framework.call("PUT", "/v2/apps/web", {"instances": 3}), loop).result(60)
        return apps

    loop = asyncio.get_running_loop()
    world.autoscaler.api.apps = overtaken  # type: ignore[method-assign]
    await world.lives(2)
    assert await world.instances() == 3
    assert world.last().outcome == "refused" and "412" in world.last().reason
    assert world.autoscaler.pasts["/web"].changes == () or world.autoscaler.pasts["/web"].changes[-1][1:] != (1, 9)


async def test_a_roll_out_lets_the_count_up_and_goes_on(world: World) -> None:
    world.framework.cluster.stuck.add("/web")  # the new version does not come up
    await world.framework.call("POST", "/v2/apps", {"id": "/web", "cmd": "sleep 1", "labels": LABELS, "instances": 3})
    world.rates["/web"] = 20
    await world.lives(60)
    assert await world.instances() == 3 and (await world.shown())["deployments"], "nothing is taken away meanwhile"
    world.rates["/web"] = 200
    await world.lives(20)
    assert await world.instances() >= 9, world.last().reason


async def test_a_canary_is_not_cut_short(world: World) -> None:
    await world.app()
    started = await world.framework.call("PUT", "/v2/apps/web?strategy=canary", {"cmd": "sleep 2"})
    assert started.status == 200
    world.rates["/web"] = 200
    await world.lives(10)
    assert await world.instances() == 1
    assert world.last().outcome == "refused" and "409" in world.last().reason
    running = await world.framework.get("/v2/deployments")
    assert [one["id"] for one in running] == [started.json["deploymentId"]]


async def test_an_edge_that_is_away_takes_nothing_away_and_is_told(world: World) -> None:
    await world.app()
    world.rates["/web"] = 200
    await world.lives(10)
    await world.framework.settled()
    high = await world.instances()
    world.edge.status = 500
    await world.lives(200)
    assert await world.instances() == high and world.last().quality == "stale"
    assert "answered 500" in str(world.autoscaler.health.report()["parts"])
    world.edge.status = 200
    await world.lives(20)
    assert await world.instances() >= high and world.last().quality == "fresh"


async def test_state_survives_a_restart(world: World) -> None:
    await world.app()
    await world.lives(20)
    world.autoscaler.save(world.now)
    before = world.autoscaler.pasts
    assert before["/web"].history.estimate is not None
    assert world.started().pasts == before
    assert world.autoscaler.journal.of("/web"), "and so does the journal"


async def test_an_idle_app_goes_to_zero_and_is_woken_by_the_edges_503s(world: World) -> None:
    await world.app(labels={**LABELS, "DROMOS_AUTOSCALE_MIN": "0", "DROMOS_AUTOSCALE_IDLE_AFTER": "20s"})
    world.rates["/web"] = 5
    await world.lives(6)
    world.rates["/web"] = 0
    await world.lives(40)
    assert await world.instances() == 0
    await world.framework.settled()
    await world.lives(20)
    assert await world.instances() == 0
    world.extra = 'dromos_edge_requests_total{app="/web",code="5xx"} 1\n'
    await world.lives(4)
    assert await world.instances() == 1 and "woken by a request" in str(
        [entry.reason for entry in world.autoscaler.journal.of("/web")]
    )


async def test_the_start_to_rotation_is_measured(world: World) -> None:
    await world.app()
    world.framework.cluster.offering = False
    world.rates["/web"] = 100
    await world.lives(20)
    assert await world.instances() >= 4 and (await world.shown())["tasksRunning"] == 1
    world.framework.cluster.offering = True
    world.framework.cluster._offer()
    await world.framework.settled()
    await world.lives(4)
    lag = world.autoscaler.pasts["/web"].lag
    assert lag is not None and 10 <= lag <= 22


async def test_a_label_may_not_send_the_autoscaler_anywhere(world: World) -> None:
    url = world.edge.url
    labels = {"DROMOS_AUTOSCALE_QUEUE": "5", "DROMOS_AUTOSCALE_QUEUE_URL": f"{url}/queue"}
    await world.app(labels=labels)
    await world.lives(4)
    assert world.last().outcome == "ignored" and "--queue-urls" in world.last().reason
    world.started(queue_urls=(f"{url}/",))
    await world.lives(4)
    assert world.last().outcome == "held"


async def test_several_signals_are_told_and_the_largest_wins(world: World) -> None:
    with answering() as queue:
        queue.body = '{"messages": 90}'
        labels = {**LABELS, "DROMOS_AUTOSCALE_QUEUE": "10", "DROMOS_AUTOSCALE_QUEUE_URL": queue.url}
        await world.app(labels={**labels, "DROMOS_AUTOSCALE_QUEUE_PATH": "messages"})
        world.started(queue_urls=(queue.url,))

        async def has_followed() -> bool:  # a look does not wait for a queue that is slow
            await world.lives(2)
            return await world.instances() >= 8

        await eventually_async(has_followed)
        scaled = next(entry for entry in world.autoscaler.journal.of("/web") if entry.outcome == "scaled")
        assert scaled.reason.startswith("queue: 90 waiting in the queue of 10 an instance; requests: ")


async def test_an_api_that_lists_nothing_makes_it_forget_nothing(world: World) -> None:
    await world.app()
    await world.lives(10)
    world.autoscaler.api.apps = list  # type: ignore[method-assign, assignment]
    await world.lives(4)
    assert "/web" in world.autoscaler.pasts


async def test_of_two_the_one_with_the_lock_acts_and_the_other_is_ready_to(
    world: World, embedded_consul: ConsulServer, tmp_path: Path
) -> None:
    await world.app()
    leader, standby = world.autoscaler, world.started(state_dir=tmp_path / "standby")
    key = embedded_consul.name("leader")
    for one in (leader, standby):
        one.lock = Lock(embedded_consul.url, key=key, ttl=3600, timeout=30)  # which nobody renews here
        await asyncio.to_thread(one.lock.hold)
    assert leader.leads and not standby.leads

    async def both_live(seconds: float) -> None:
        for _ in range(round(seconds / 2)):
            world.autoscaler = standby
            await world.lives(2)
            await asyncio.to_thread(leader.round)

    world.rates["/web"] = 200
    await both_live(6)
    assert await world.instances() >= 9
    outcomes = {entry.outcome for entry in standby.journal.of("/web")}
    assert "standby" in outcomes and "scaled" not in outcomes
    await both_live(4)
    ours, theirs = (one.pasts["/web"] for one in (standby, leader))
    assert [change[1:] for change in ours.changes] == [change[1:] for change in theirs.changes]
    assert leader.lock is not None and standby.lock is not None
    await asyncio.to_thread(leader.lock.release)
    await eventually_async(lambda: asyncio.to_thread(standby.lock.hold), 30)
    world.rates["/web"] = 350
    await world.framework.settled()
    await both_live(30)
    assert await world.instances() >= 16
    assert "scaled" in {entry.outcome for entry in standby.journal.of("/web")}


async def test_what_no_app_asks_for_any_more_is_no_concern_of_health(world: World) -> None:
    def parts() -> set[str]:
        return set(world.autoscaler.health.report()["parts"])  # type: ignore[call-overload]

    await world.app(labels={**LABELS, "DROMOS_AUTOSCALE_CPU": "0.7"})
    await world.lives(4)
    assert "name the master with --mesos" in str(world.autoscaler.health.report()["parts"])
    assert world.last().quality == "partial", "the requests are known, the CPU is not"
    await world.framework.call("PUT", "/v2/apps/web", {"labels": LABELS})
    await world.framework.settled()
    await world.lives(4)
    assert "mesos" not in parts() and world.last().quality == "fresh"


async def test_labels_that_change_are_read_again(world: World) -> None:
    await world.app(labels={**LABELS, "DROMOS_AUTOSCALE_MIN": "few"})
    await world.lives(4)
    assert world.last().outcome == "ignored"
    await world.framework.call("PUT", "/v2/apps/web", {"labels": {**LABELS, "DROMOS_AUTOSCALE_MIN": "3"}})
    await world.framework.settled()
    await world.lives(2)
    assert await world.instances() == 3


async def test_a_clock_that_is_set_is_no_reason_to_lower_nor_to_go_blind(world: World) -> None:
    await world.app()
    world.rates["/web"] = 200
    await world.lives(20)
    await world.framework.settled()
    high = await world.instances()
    world.rates["/web"] = 15
    await world.lives(4)
    for step in (7200.0, -7200.0, -86_400.0, 300.0):
        world.now += step
        await world.lives(4)
        assert await world.instances() == high, (step, world.last().reason)
    world.now -= 1e6
    world.rates["/web"] = 350
    await world.lives(20)
    assert await world.instances() >= 16 and world.last().quality == "fresh", world.last()


async def test_a_time_without_the_api_proves_nothing_about_the_demand(world: World) -> None:
    await world.app()
    world.rates["/web"] = 200
    await world.lives(20)
    await world.framework.settled()
    high, read = await world.instances(), world.autoscaler.api
    world.autoscaler.api = Api("http://127.0.0.1:1", timeout=5)
    world.rates["/web"] = 15
    await world.lives(120)
    assert "connection failed" in str(world.autoscaler.health.report()["parts"])
    world.autoscaler.api = read
    await world.lives(10)
    assert await world.instances() == high, world.last().reason


async def test_an_app_that_cannot_be_decided_keeps_no_other_from_it(world: World) -> None:
    await world.app("/broken")
    await world.app("/web")
    damaged = Season(levels=())  # as no autoscaler writes it, but a file may hold it
    world.autoscaler.pasts["/broken"] = Past(History(season=damaged, estimate=estimate.first(15, world.now)))
    world.rates.update({"/broken": 200.0, "/web": 200.0})
    await world.lives(6)
    assert await world.instances() >= 9
    await world.lives(10)
    ignored = [entry for entry in world.autoscaler.journal.of("/broken") if entry.outcome == "ignored"]
    assert len(ignored) == 1 and "cannot be decided" in ignored[0].reason
    assert await world.instances("/broken") >= 9 and world.last("/broken").quality == "fresh", "it begins anew"


async def test_a_source_that_never_answers_delays_no_other_app(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        world.started(prometheus=url, mesos=url, interval=0.5, timeout=60)
        for number in range(20):
            query = {"DROMOS_AUTOSCALE_QUERY": f"q{number}", "DROMOS_AUTOSCALE_QUERY_TARGET": "1"}
            await world.app(f"/of-a-query-{number}", labels=query)
        await world.app("/of-cpu", labels={"DROMOS_AUTOSCALE_CPU": "0.7"})
        await world.app()
        world.rates["/web"] = 200
        await asyncio.wait_for(world.lives(10), 50)  # one answer alone is waited for longer
        assert await world.instances() >= 9
        assert world.last("/of-a-query-1").quality == "stale" and world.last("/of-cpu").quality == "stale"
        await asyncio.to_thread(mute.shutdown, socket.SHUT_RDWR)
    world.autoscaler.inputs.close()


async def test_what_is_not_known_is_no_zero_for_prometheus_either(world: World) -> None:
    def shown() -> float | None:
        return REGISTRY.get_sample_value("dromos_autoscale_requests_per_second", {"app": "/web"})

    await world.app()
    await world.lives(10)
    assert shown() == 15
    world.edge.status = 500
    await world.lives(20)
    assert math.isnan(shown() or 0.0)


async def test_what_is_refused_again_and_again_is_logged_once_a_minute(world: World) -> None:
    await world.app()
    assert (await world.framework.call("PUT", "/v2/apps/web?strategy=canary", {"cmd": "sleep 2"})).status == 200
    world.rates["/web"] = 200
    with capture_logs() as logged:
        await world.lives(100)
    refused = [line for line in logged if line.get("outcome") == "refused"]
    assert 1 <= len(refused) <= 3 and "409" in refused[0]["why"]


def test_no_password_of_the_apis_address_is_told() -> None:
    with pytest.raises(ApiError) as caught:
        Api("http://user:hush@127.0.0.1:1", timeout=5).apps()
    assert "127.0.0.1:1" in str(caught.value) and "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"interval": 30}, "a window is to be at least twice the interval of 30 s"),
        ({"queue_urls": ["rabbit:15672"]}, "rabbit:15672 is not an address like http://"),
    ],
)
def test_settings_with_which_nothing_is_ever_known_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        AutoscaleSettings.load(given, environment={})
    assert AutoscaleSettings.load({"interval": 30, "window": "60s"}, environment={}).window == 60
