"""The framework about itself, limits, headers, and what happens when the store or the leader is away."""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from framework.api.answers.info import info_json
from framework.api.openapi import OPERATIONS
from framework.api.server import ROUTES
from framework.api.settings import ApiSettings
from framework.settings import FrameworkSettings
from framework.store.base import StoreFull
from tests.support.answering import Answering, answering
from tests.support.memory_cluster import Framework, running_framework
from tests.support.waiting import eventually_async


@pytest.fixture
def consul() -> Iterator[Answering]:
    with answering() as said:
        said.body = "[]"
        yield said


@pytest.mark.parametrize(
    ("headers", "body"), [({}, b"pong"), ({"Accept": "*/*"}, b"pong"), ({"Accept": "application/json"}, b'"pong"')]
)
async def test_ping_is_pong(framework: Framework, headers: dict[str, str], body: bytes) -> None:
    answer = await framework.call("GET", "/ping", headers=headers)
    assert (answer.status, answer.body) == (200, body)


async def test_info_and_leader(framework: Framework) -> None:
    address = framework.url.removeprefix("http://")
    info = await framework.get("/v2/info")
    assert info["name"] == "marathon" and info["version"].startswith("1.11.")
    assert info["frameworkId"] == framework.engine.view.framework.id
    assert info["leader"] == address and info["elected"] is True
    assert info["http_config"]["http_port"] == int(address.rpartition(":")[2])
    master = info["marathon_config"]["master"]
    assert info["marathon_config"]["mesos_leader_ui_url"] == f"http://{master}/"
    assert await framework.get("/v2/leader") == {"leader": address}
    answer = await framework.call("GET", "/v2/apps")
    assert answer.headers["X-Marathon-Leader"] == f"http://{address}"
    assert answer.headers["Content-Type"] == "application/json"
    assert "no-store" in answer.headers["Cache-Control"]
    assert await framework.get("/v2/plugins") == {"plugins": []}


async def test_info_has_the_daemons_settings_by_marathons_names_and_no_credentials(framework: Framework) -> None:
    zk = SecretStr("zk://me:s3cret@one:2181,two:2181/dromos")
    settings = FrameworkSettings(zk=zk, hostname="node", mesos_user="web", decline_offer_duration=7.5)
    info = info_json(framework.engine.view, settings)
    known = info["marathon_config"]
    assert (known["ha"], known["hostname"], known["mesos_user"], known["executor"]) == (True, "node", "web", "//cmd")
    assert known["failover_timeout"] == 604800 and known["decline_offer_duration"] == 7500
    assert known["leader_proxy_connection_timeout_ms"] == 5000 and known["task_launch_timeout"] == 300_000
    assert known["webui_url"] is None and "maintenance_mode" in known["features"]
    zookeeper = info["zookeeper_config"]
    assert zookeeper["zk"] == "zk://xxxxxxxx:xxxxxxxx@one:2181,two:2181/dromos"
    assert zookeeper["zk_session_timeout"] == 5000 and zookeeper["zk_max_versions"] == 50
    assert info_json(framework.engine.view, FrameworkSettings())["zookeeper_config"] == {}


async def test_a_service_may_have_a_slash_in_its_name(consul: Answering) -> None:
    service = {"ID": "w1", "Service": "shop/web", "Address": "10.0.0.1", "Port": 8000}
    consul.at["/v1/health/service/shop%2Fweb"] = json.dumps([{"Service": service, "Checks": []}])
    async with running_framework(ApiSettings(consul=consul.url)) as framework:
        for path in ("/v2/services/shop%2Fweb", "/v2/services/shop/web"):
            found = await framework.get(path)
            assert found["name"] == "shop/web" and [i["port"] for i in found["instances"]] == [8000]


async def test_the_leader_abdicates(framework: Framework) -> None:
    refused = await framework.call("DELETE", "/v2/leader?backup=file:///tmp/x")
    assert refused.status == 422 and "dromos backup" in refused.json["message"]
    assert not framework.engine.resigned.is_set()
    answer = await framework.call("DELETE", "/v2/leader")
    assert (answer.status, answer.json) == (200, {"message": "Leadership abdicated"})
    await asyncio.wait_for(framework.engine.resigned.wait(), 60)


async def test_metrics_are_prometheus_text_or_marathons_json(framework: Framework) -> None:
    await framework.app("/web", instances=2)
    scraped = await framework.call("GET", "/metrics", headers={"Accept": "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"})
    assert scraped.headers["Content-Type"].startswith("text/plain")
    assert b"marathon_apps_active_gauge 1.0" in scraped.body and b"marathon_instances_running_gauge 2.0" in scraped.body
    assert b'dromos_http_requests_total{code="2xx",method="POST"} 1.0' in scraped.body
    assert (await framework.call("GET", "/metrics")).body.startswith(b"# HELP")
    assert b"marathon_apps_active_gauge" in (await framework.call("GET", "/metrics/prometheus")).body
    told = (await framework.call("GET", "/metrics", headers={"Accept": "application/json"})).json
    assert told["version"] == "4.0.0" and set(told) == {
        "version",
        "gauges",
        "counters",
        "histograms",
        "meters",
        "timers",
    }
    assert told["gauges"]["marathon.apps.active.gauge"] == {"value": 1}
    assert told["gauges"]["marathon.instances.running.gauge"] == {"value": 2}
    assert told["gauges"]["marathon.http.requests.active.gauge"] == {"value": 1}, "this very request"
    assert told["meters"]["marathon.http.responses.2xx.rate.meter"]["count"] >= 3
    posts = told["timers"]["marathon.http.requests.post.duration.timer.seconds"]
    assert posts["count"] == 1 and 0 < posts["min"] == posts["p99"] == posts["max"]


async def test_metrics_tell_what_the_leader_did_by_marathons_names(framework: Framework) -> None:
    async def counters() -> dict[str, int]:
        told = await framework.call("GET", "/metrics", headers={"Accept": "application/json"})
        return {name: counter["count"] for name, counter in told.json["counters"].items()}

    before = await counters()
    await framework.app("/web", instances=2)
    after = await counters()
    did = {name.removeprefix("marathon."): after[name] - before[name] for name in after}
    assert did["deployments.counter"] == 1 and did["deployments.dismissed.counter"] == 0
    assert did["tasks.launched.counter"] == did["mesos.offer-operations.launch.counter"] == 2
    assert did["mesos.offer-operations.launch-group.counter"] == did["mesos.offer-operations.reserve.counter"] == 0
    assert did["mesos.offers.incoming.counter"] >= did["mesos.offers.used.counter"] >= 1
    assert did["mesos.calls.revive.counter"] >= 1 and "mesos.calls.suppress.counter" in did
    assert did["http.requests.size.counter.bytes"] > 20 and did["http.responses.size.counter.bytes"] > 200
    text = (await framework.call("GET", "/metrics/prometheus")).body.decode()
    assert f"\nmarathon_tasks_launched_counter {float(after['marathon.tasks.launched.counter'])}\n" in text
    for gauge in ("leadership.duration.gauge.seconds", "instances.inflight-kills.gauge", "uptime.gauge.seconds"):
        assert f"\nmarathon_{gauge.replace('.', '_').replace('-', '_')} " in text


async def test_health_config_and_help(framework: Framework) -> None:
    assert (await framework.get("/health"))["healthy"] is True
    assert (await framework.get("/config"))["mesos_role"] == "*"
    assert b"Dromos" in (await framework.call("GET", "/help")).body
    assert (await framework.call("GET", "/", allow_redirects=False)).status in (302, 307)


async def test_log_levels_are_shown_set_and_come_back(framework: Framework) -> None:
    assert "ROOT" in await framework.get("/logging")
    logger = logging.getLogger("dromos.test.levels")
    answer = await framework.call("POST", "/logging", {"logger": logger.name, "level": "debug"})
    assert answer.json[logger.name] == "DEBUG" and logger.level == logging.DEBUG
    short = {"logger": logger.name, "level": "error", "durationSeconds": 1}
    assert (await framework.call("POST", "/logging", short)).json[logger.name] == "ERROR"
    await eventually_async(lambda: logger.level == logging.DEBUG)
    logger.setLevel(logging.NOTSET)
    assert (await framework.call("POST", "/logging", {"logger": "x", "level": "loud"})).status == 422


async def test_a_level_that_was_changed_twice_for_a_while_is_in_the_end_what_it_was(framework: Framework) -> None:
    async def change(logger: logging.Logger, level: str, **seconds: float) -> None:
        answer = await framework.call("POST", "/logging", {"logger": logger.name, "level": level, **seconds})
        assert answer.json[logger.name] == level.upper()

    twice, for_good = logging.getLogger("dromos.test.twice"), logging.getLogger("dromos.test.for-good")
    await change(twice, "debug")
    await change(twice, "error", durationSeconds=600)
    await change(for_good, "error", durationSeconds=1)
    await change(for_good, "info")
    await change(twice, "info", durationSeconds=1)
    await eventually_async(lambda: twice.level == logging.DEBUG)
    assert for_good.level == logging.INFO, "a later change without a time is for good"
    for logger in (twice, for_good):
        logger.setLevel(logging.NOTSET)


async def test_other_methods_and_paths_are_refused(framework: Framework) -> None:
    assert (await framework.call("PUT", "/ping")).status == 405
    assert (await framework.call("POST", "/v2/deployments")).status == 405
    answer = await framework.call("GET", "/v3/apps")
    assert (answer.status, answer.json["message"]) == (404, "URI not found: /v3/apps")


async def test_a_get_may_carry_a_content_type_and_a_body(framework: Framework) -> None:
    answer = await framework.call("GET", "/v2/apps", headers={"Content-Type": "application/json"}, data=b"{}")
    assert answer.status == 200


async def test_a_body_may_come_without_a_content_type_or_in_chunks(framework: Framework) -> None:
    async def chunks():
        for piece in (b'{"id": "/web", ', b'"cmd": "x"}'):
            yield piece

    assert (await framework.call("POST", "/v2/apps", data=chunks(), headers={"Content-Type": ""})).status == 201


async def test_a_large_body_is_413_and_changes_nothing() -> None:
    async with running_framework(ApiSettings(max_body_bytes=2048)) as framework:
        answer = await framework.call("POST", "/v2/apps", {"id": "/web", "cmd": "x" * 3000})
        assert (answer.status, answer.json["message"]) == (413, "The body is larger than 2048 bytes")
        assert await framework.get("/v2/apps") == {"apps": []}
        assert (await framework.call("POST", "/v2/apps", {"id": "/web", "cmd": "x"})).status == 201


@pytest.mark.parametrize("depth", [101, 200, 400, 2000, 50_000])
async def test_json_that_is_nested_too_deep_is_refused(framework: Framework, depth: int) -> None:
    options = '{"pluginName": "p", "a": ' + "[" * depth + "]" * depth + "}"
    app = '{"cmd": "x", "container": {"volumes": [{"containerPath": "/x", "external": {"provider": "csi", "name": "n", "options": %s}}]}}'
    groups = '{"groups": [{"id": "x", ' * (depth // 2) + '"apps": []' + "}]}" * (depth // 2)
    for path, body in (
        ("/v2/apps/a", app % options),
        ("/v2/apps", "[" * depth + "]" * depth),
        ("/v2/groups/g", groups),
    ):
        answer = await framework.call("PUT", path, data=body.encode())
        assert (answer.status, answer.json["message"]) == (400, "Invalid JSON"), (path, answer)
    assert (await framework.call("POST", "/v2/apps", {"id": "/after", "cmd": "x"})).status == 201
    assert framework.engine.figures.errors == 0


async def test_too_many_requests_at_once_are_503() -> None:
    async with running_framework(ApiSettings(max_concurrent_requests=1)) as framework:
        held = asyncio.Event()

        async def slow():
            yield b'{"id": "/web",'
            held.set()
            await release.wait()
            yield b'"cmd": "x"}'

        release = asyncio.Event()
        first = asyncio.create_task(framework.call("POST", "/v2/apps", data=slow()))
        await held.wait()
        await eventually_async(lambda: _refused(framework))
        release.set()
        assert (await first).status == 201


async def _refused(framework: Framework) -> bool:
    answer = await framework.call("GET", "/v2/apps")
    return answer.status == 503 and answer.headers["Retry-After"] == "1"


async def test_a_store_that_cannot_write_is_503_with_the_mend_and_reads_go_on(framework: Framework) -> None:
    await framework.app("/web")
    framework.store.failure = StoreFull("/state/framework.db: the disk is full; make room")
    answer = await framework.call("PUT", "/v2/apps/web", {"instances": 5})
    assert answer.status == 503 and answer.json["message"] == "/state/framework.db: the disk is full; make room"
    assert "Retry-After" in answer.headers
    assert (await framework.get("/v2/apps/web"))["app"]["instances"] == 1
    framework.store.failure = None

    async def accepted() -> bool:
        return (await framework.call("PUT", "/v2/apps/web", {"instances": 2})).status == 200

    await eventually_async(accepted)


async def test_browsers_of_configured_origins_may_call() -> None:
    async with running_framework(ApiSettings(cors_origins=("https://ui.example",))) as framework:
        answer = await framework.call("GET", "/v2/apps", headers={"Origin": "https://ui.example"})
        assert answer.headers["Access-Control-Allow-Origin"] == "https://ui.example"
        other = await framework.call("GET", "/v2/apps", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in other.headers
        asked = {"Origin": "https://ui.example", "Access-Control-Request-Method": "PUT"}
        assert (await framework.call("OPTIONS", "/v2/apps", headers=asked)).status == 200


def test_every_route_is_described() -> None:
    assert {route.endpoint for route in ROUTES} == set(OPERATIONS)


async def test_the_description_has_every_path_and_its_schemas(framework: Framework) -> None:
    document = await framework.get("/v2/openapi.json")
    assert document["openapi"].startswith("3.")
    assert set(document["paths"]["/v2/apps/{id}"]) == {"get", "put", "patch", "delete"}
    body = document["paths"]["/v2/apps"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["$ref"].removeprefix("#/components/schemas/") in document["components"]["schemas"]


# --- standbys


async def test_a_standby_hands_requests_on_to_the_leader(framework: Framework) -> None:
    leader = framework.url.removeprefix("http://")
    async with running_framework(leads=False, leader=leader) as standby:
        created = await standby.call("POST", "/v2/apps?force=true", {"id": "/web", "cmd": "x"})
        assert created.status == 201 and created.headers["Location"] == "/web"
        assert created.headers["X-Marathon-Via"] == standby.url.removeprefix("http://")
        assert created.headers["X-Marathon-Leader"] == framework.url
        await framework.settled()
        assert (await standby.get("/v2/apps//web/?embed=apps.tasks"))["app"]["tasksRunning"] == 1
        assert (await standby.call("GET", "/v2/apps/nope")).status == 404
        assert (await standby.call("GET", "/ping")).body == b"pong"
        assert (await standby.get("/v2/leader")) == {"leader": leader}
        async with standby.http.get(f"{standby.url}/v2/events?event_type=group_change_success") as stream:
            assert await stream.content.readuntil(b"\n\n") == b":\n\n"
            await framework.app("/streamed")
            assert b"event: group_change_success" in await stream.content.readuntil(b"\n\n")


async def test_the_leaders_audit_says_where_a_request_came_from_that_a_standby_hands_on(tmp_path: Path) -> None:
    audit = tmp_path / "audit.log"
    async with running_framework(ApiSettings(audit_file=audit)) as framework:
        async with running_framework(leads=False, leader=framework.url.removeprefix("http://")) as standby:
            await standby.call("POST", "/v2/apps", {"id": "/a", "cmd": "x"}, headers={"X-Forwarded-For": "203.0.113.9"})
        await framework.call("DELETE", "/v2/apps/a")
        await eventually_async(lambda: audit.exists() and audit.read_text().count("\n") >= 2)
    handed_on, direct = [json.loads(line) for line in audit.read_text().splitlines()]
    assert (handed_on["client"], handed_on["forwardedFor"]) == ("127.0.0.1", "203.0.113.9, 127.0.0.1")
    assert "forwardedFor" not in direct


async def test_a_standby_without_a_leader_says_so() -> None:
    async with running_framework(leads=False, leader=None) as standby:
        answer = await standby.call("GET", "/v2/apps")
        assert (answer.status, answer.json["message"]) == (503, "Could not determine the current leader")
        assert answer.headers["Retry-After"] == "1"


async def test_a_standby_whose_leader_is_gone_says_so() -> None:
    async with running_framework(leads=False, leader="127.0.0.1:1") as standby:
        answer = await standby.call("GET", "/v2/apps")
        assert (answer.status, answer.json["message"]) == (503, "Could not connect to the leader 127.0.0.1:1")
        assert answer.headers["Retry-After"] == "1"


async def test_standbys_that_take_each_other_for_the_leader_end_the_loop(framework: Framework) -> None:
    async with running_framework(leads=False, leader="127.0.0.1:1") as one:
        async with running_framework(leads=False, leader=one.url.removeprefix("http://")) as two:
            one.engine.follow(two.url.removeprefix("http://"))
            await eventually_async(lambda: one.engine.view.leader != "127.0.0.1:1")
            answer = await two.call("GET", "/v2/apps")
            assert (answer.status, answer.json["message"]) == (502, "Detected proxying loop.")
