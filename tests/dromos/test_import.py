"""`dromos import` takes a live Marathon over: another framework that speaks its API, and answers of an old Marathon."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from daemonkit.http import bind, serving
from dromos.cli import cli
from dromos.marathon_documents import in_order, portions
from tests.support.memory_cluster import Framework, running_framework

RECORDED = Path(__file__).parent / "recorded"
POD = {
    "id": "/shop/pair",
    "labels": {"team": "shop"},
    "containers": [
        {"name": "one", "exec": {"command": {"shell": "sleep 1"}}, "resources": {"cpus": 0.1, "mem": 32}},
        {"name": "two", "exec": {"command": {"shell": "sleep 2"}}, "resources": {"cpus": 0.1, "mem": 32}},
    ],
    "scaling": {"kind": "fixed", "instances": 2},
}


async def dromos(target: Framework, *words: str, typed: str = "") -> Result:
    arguments = ["--api-url", target.url, *words]
    return await asyncio.to_thread(CliRunner().invoke, cli, arguments, input=typed)


async def definitions(framework: Framework) -> dict[str, Any]:
    """Of all apps and pods, without what differs from one cluster to the next."""
    apps = (await framework.get("/v2/apps"))["apps"]
    pods = await framework.get("/v2/pods")
    own = ("version", "versionInfo", "deployments", "tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy")
    return {item["id"]: {k: v for k, v in item.items() if k not in own} for item in [*apps, *pods]}


async def dependencies(framework: Framework) -> dict[str, list[str]]:
    """Of all groups."""
    found: dict[str, list[str]] = {}

    def walk(group: dict[str, Any]) -> None:
        found[group["id"]] = group["dependencies"]
        for child in group["groups"]:
            walk(child)

    walk(await framework.get("/v2/groups?embed=group.groups"))
    return found


async def test_everything_of_another_framework_is_taken_over_and_then_there_is_nothing_to_change() -> None:
    async with running_framework() as source, running_framework() as target:
        await source.app("/shop/db", instances=1, labels={"tier": "data"})
        await source.app(
            "/shop/web", instances=3, dependencies=["/shop/db"], env={"A": "1"}, portDefinitions=[{"port": 0}]
        )
        assert (await source.call("POST", "/v2/pods", POD)).status == 201
        assert (await source.call("POST", "/v2/groups", {"id": "/empty/inner"})).status == 201
        assert (await source.call("PUT", "/v2/groups/shop?force=true", {"dependencies": ["/empty"]})).status == 200
        await source.settled()
        await target.app("/own", instances=1)

        shown = await dromos(target, "import", "--from", source.url, "--dry-run")
        assert shown.exit_code == 0, shown.output
        assert "/shop/web  created with 3 instances" in shown.output and "3 would change" in shown.output
        assert list(await definitions(target)) == ["/own"]

        done = await dromos(target, "--json", "import", "--from", source.url, "--yes")
        assert done.exit_code == 0, done.output
        await target.settled()
        taken = await definitions(target)
        assert {**await definitions(source), "/own": taken["/own"]} == taken
        assert await dependencies(target) == await dependencies(source)
        assert (await target.get("/v2/apps/shop/web"))["app"]["tasksRunning"] == 3

        again = await dromos(target, "import", "--from", source.url, "--yes")
        assert (again.exit_code, again.output) == (0, "nothing to change\n")


async def test_a_dry_run_shows_each_value_that_would_differ() -> None:
    async with running_framework() as source, running_framework() as target:
        await source.app("/web", instances=3, env={"COLOR": "green"})
        await target.app("/web", instances=2, env={"COLOR": "blue"})
        shown = await dromos(target, "import", "--from", source.url, "--dry-run")
        assert '~ /env/COLOR  "blue" → "green"' in shown.output and "~ /instances  2 → 3" in shown.output
        as_json = await dromos(target, "--json", "import", "--from", source.url, "--dry-run")
        (change,) = json.loads(as_json.stdout)
        assert {d["path"] for d in change["differences"]} == {"/env/COLOR", "/instances"}
        assert (await target.get("/v2/apps/web"))["app"]["env"] == {"COLOR": "blue"}


async def test_it_asks_before_it_changes_anything() -> None:
    async with running_framework() as source, running_framework() as target:
        await source.app("/web")
        assert (await dromos(target, "import", "--from", source.url, typed="n\n")).exit_code == 1
        assert await definitions(target) == {}
        assert (await dromos(target, "import", "--from", source.url, typed="y\n")).exit_code == 0
        assert list(await definitions(target)) == ["/web"]


async def test_suspended_starts_nothing_and_stops_nothing() -> None:
    async with running_framework() as source, running_framework() as target:
        await source.app("/new", instances=3)
        await source.app("/both", instances=5)
        assert (await source.call("POST", "/v2/pods", POD)).status == 201
        await target.app("/both", instances=2)
        done = await dromos(target, "import", "--from", source.url, "--suspended", "--yes")
        assert done.exit_code == 0, done.output
        found = await definitions(target)
        assert (found["/new"]["instances"], found["/both"]["instances"]) == (0, 2)
        assert found["/shop/pair"]["scaling"]["instances"] == 0
        assert len(target.cluster.running) == 2


class OldMarathon:
    """Serves what was recorded, to a user that it knows; remembers every request."""

    def __init__(self, recorded: str) -> None:
        self.answers: dict[str, Any] = orjson.loads((RECORDED / f"{recorded}.json").read_bytes())
        self.asked: list[str] = []
        self.user = "Basic b3BzOnNlY3JldA=="  # ops:secret

    async def answer(self, request: Request) -> Response:
        self.asked.append(request.method)
        if request.headers.get("Authorization") != self.user:
            return JSONResponse({"message": "Unauthorized"}, 401)
        found = self.answers.get(request.path_params["what"])
        return JSONResponse(found) if found else JSONResponse({"message": "not found"}, 404)


@contextlib.asynccontextmanager
async def old_marathon(recorded: str = "marathon-1.4") -> AsyncIterator[tuple[OldMarathon, str]]:
    marathon = OldMarathon(recorded)
    sock = bind("127.0.0.1", 0, what="the old Marathon", mend="")
    app = Starlette(routes=[Route("/v2/{what}", marathon.answer, methods=["GET", "POST", "PUT", "DELETE", "PATCH"])])
    async with serving(app, sock):
        yield marathon, f"127.0.0.1:{sock.getsockname()[1]}"


async def test_an_old_marathon_with_its_old_spellings_is_taken_over_and_only_read() -> None:
    async with old_marathon() as (marathon, address), running_framework() as target:
        done = await dromos(target, "import", "--from", f"http://ops:secret@{address}", "--yes")
        assert done.exit_code == 0, done.output
        found = await definitions(target)
        assert set(found) == {
            *("/shop/web", "/shop/db", "/old/ports", "/old/kept"),
            *("/net/own", "/net/host", "/net/user"),
        }
        web, db = found["/shop/web"], found["/shop/db"]
        (mapping,) = web["container"]["portMappings"]
        assert (mapping["containerPort"], mapping["servicePort"], mapping["name"]) == (80, 10001, "http")
        assert mapping["labels"] == {"VIP_0": "/web:80"}
        assert web["networks"] == [{"mode": "container/bridge"}] and "portDefinitions" not in web
        assert [item["uri"] for item in web["fetch"]] == ["http://files/web.tgz"]
        assert web["labels"] == {"HAPROXY_0_VHOST": "shop.example"} and web["constraints"] == [["hostname", "UNIQUE"]]
        assert web["dependencies"] == ["/shop/db"] and web["upgradeStrategy"]["minimumHealthCapacity"] == 0.5
        assert web["env"]["PASSWORD"] == {"secret": "pw"} and web["secrets"] == {"pw": {"source": "shop/password"}}
        assert web["unreachableStrategy"] == {"inactiveAfterSeconds": 300, "expungeAfterSeconds": 600}
        assert [item["uri"] for item in db["fetch"]] == ["http://files/db.zip", "http://files/db.conf"]
        assert [port["port"] for port in db["portDefinitions"]] == [10002, 10003] and db["requirePorts"]
        assert (db["user"], db["killSelection"], db["taskKillGracePeriodSeconds"]) == ("db", "OLDEST_FIRST", 30)
        assert [port["port"] for port in found["/old/ports"]["portDefinitions"]] == [10010]
        assert found["/net/own"]["networks"] == [{"mode": "container", "name": "overlay"}]
        assert found["/net/own"]["container"]["portMappings"][0]["containerPort"] == 8080
        host, user, kept = found["/net/host"], found["/net/user"], found["/old/kept"]
        assert host["constraints"] == [["hostname", "UNIQUE"], ["rack", "GROUP_BY", "3"]]
        assert host["networks"] == [{"mode": "host"}] and host["portDefinitions"][0]["port"] == 10020
        assert host["container"]["docker"]["privileged"] and host["healthChecks"][0]["command"] == {"value": "true"}
        assert user["networks"] == [{"mode": "container", "name": "overlay"}]
        assert user["container"]["portMappings"][0]["servicePort"] == 10021
        assert kept["container"]["volumes"][0]["persistent"]["size"] == 50 and kept["requirePorts"]
        assert kept["unreachableStrategy"] == "disabled" and kept["upgradeStrategy"]["maximumOverCapacity"] == 0
        groups = await dependencies(target)
        assert groups["/shop"] == ["/old"] and "/empty/inner" in groups
        assert set(marathon.asked) == {"GET"}
        again = await dromos(target, "import", "--from", f"http://ops:secret@{address}", "--dry-run")
        assert "0 would change, 7 are the same" in again.output, again.output


async def test_what_cannot_be_taken_over_is_named_and_stops_all_unless_it_is_to_be_left_out() -> None:
    async with old_marathon() as (marathon, address), running_framework() as target:
        marathon.answers["apps"]["apps"].append(
            {"id": "/bad", "cmd": "x", "instances": -1, "constraints": [["a", "ODD"]]}
        )
        marathon.answers["apps"]["apps"].append({"id": "/stored", "cmd": "x", "storeUrls": ["http://files/x"]})
        url = f"http://ops:secret@{address}"
        refused = await dromos(target, "import", "--from", url, "--yes")
        assert refused.exit_code == 1 and "2 of 9 cannot be taken over" in str(refused.exception)
        assert "/bad: Object is not valid" in refused.output and "/storeUrls" in refused.output
        assert await definitions(target) == {}
        assert (await dromos(target, "import", "--from", url, "--yes", "--skip-invalid")).exit_code == 0
        assert len(await definitions(target)) == 7


async def test_a_wrong_password_is_told_and_not_shown() -> None:
    async with old_marathon() as (_, address), running_framework() as target:
        refused = await dromos(target, "import", "--from", f"http://ops:wrong-one@{address}", "--yes")
        assert refused.exit_code == 1 and "Unauthorized" in str(refused.exception)
        away = await dromos(target, "import", "--from", "http://ops:wrong-one@127.0.0.1:1")
        assert "no API answers at http://127.0.0.1:1" in str(away.exception)
        assert "wrong-one" not in f"{refused.output}{refused.exception}{away.output}{away.exception}"
        odd = await dromos(target, "import", "--from", "marathon:8080")
        assert "flag --from" in str(odd.exception)


def test_apps_that_others_depend_on_come_first_and_a_ring_ends() -> None:
    apps = [{"id": "/c", "dependencies": ["/b"]}, {"id": "/b", "dependencies": ["/a"]}, {"id": "/a"}]
    assert [app["id"] for app in in_order(apps)] == ["/a", "/b", "/c"]
    ring = [{"id": "/a", "dependencies": ["/b"]}, {"id": "/b", "dependencies": ["/a"]}]
    assert {app["id"] for app in in_order(ring)} == {"/a", "/b"}


@pytest.mark.parametrize(
    ("size", "expected"), [(3, [[1, 2], [3], [4]]), (100, [[1, 2, 3, 4]]), (0, [[1], [2], [3], [4]])]
)
def test_requests_stay_below_a_size(size: int, expected: list[list[int]]) -> None:
    assert list(portions([1, 2, 3, 4], size, lambda n: n)) == expected
