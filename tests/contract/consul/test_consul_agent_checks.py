"""/v1/agent/check: checks of all kinds, what their owners report, and what the agent finds out by itself."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tests.contract.consul.conftest import Api, kept
from tests.support.processes import free_port


async def check(api: Api, id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get("agent/checks")).json[id]
    return found


async def status(api: Api, id: str) -> str:
    return str((await check(api, id))["Status"])


async def until_status(api: Api, id: str, wanted: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.until("agent/checks", lambda found: found[id]["Status"] == wanted))[id]
    return found


# ── registering ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_check_is_critical_until_it_is_reported(api: Api) -> None:
    id = api.name("check")
    await api.done("agent/check/register", {"Name": id, "TTL": "1h", "Notes": "why"})
    assert await check(api, id) == {
        "Node": "test-node",
        "CheckID": id,
        "Name": id,
        "Status": "critical",
        "Notes": "why",
        "Output": "",
        "ServiceID": "",
        "ServiceName": "",
        "ServiceTags": [],
        "Type": "ttl",
        "Definition": {},
        "CreateIndex": 0,
        "ModifyIndex": 0,
    }


@pytest.mark.parametrize("initial", ["passing", "warning", "critical"])
async def test_a_check_may_have_an_initial_status(api: Api, initial: str) -> None:
    id = api.name("check")
    await api.done("agent/check/register", {"Name": id, "TTL": "1h", "Status": initial})
    await api.until(
        "health/node/test-node", lambda found: any((it["CheckID"], it["Status"]) == (id, initial) for it in found)
    )


async def test_the_checks_of_a_service_are_numbered_when_there_are_several(api: Api) -> None:
    name = api.name()
    checks = [{"TTL": "1h"}, {"TTL": "1h", "Name": "mine"}, {"TTL": "1h", "CheckID": f"{name}-own"}]
    body = {"Name": name, "ID": f"{name}-1", "Tags": ["t"], "Check": {"TTL": "1h", "Notes": "first"}, "Checks": checks}
    await api.done("agent/service/register", body)
    shown = {id: it for id, it in (await api.get("agent/checks")).json.items() if it["ServiceID"] == f"{name}-1"}
    usual = f"Service '{name}' check"
    assert {id: it["Name"] for id, it in shown.items()} == {
        f"service:{name}-1:1": usual,
        f"service:{name}-1:2": usual,
        f"service:{name}-1:3": "mine",
        f"{name}-own": usual,
    }
    assert shown[f"service:{name}-1:1"]["Notes"] == "first"
    assert {(it["ServiceName"], tuple(it["ServiceTags"])) for it in shown.values()} == {(name, ("t",))}


async def test_an_only_check_has_no_number(api: Api) -> None:
    name = api.name()
    await api.done("agent/service/register", {"Name": name, "Checks": [{"TTL": "1h"}]})
    assert f"service:{name}" in (await api.get("agent/checks")).json


async def test_registering_again_keeps_the_status_and_other_checks(api: Api) -> None:
    name = await api.registered(api.name())
    await api.report(name, "warning", "said")
    await api.done("agent/service/register", {"Name": name, "Checks": [{"TTL": "2h", "CheckID": f"{name}-2"}]})
    again = {"CheckID": f"service:{name}", "TTL": "3h", "Status": "passing", "Notes": "new"}
    await api.done("agent/service/register", {"Name": name, "Check": again})
    shown = await check(api, f"service:{name}")
    assert (shown["Status"], shown["Output"], shown["Notes"]) == ("warning", "said", "new")
    assert await status(api, f"{name}-2") == "critical"


@pytest.mark.parametrize("value", ["", "true"])
async def test_existing_checks_may_be_replaced(api: Api, value: str) -> None:
    name = await api.registered(api.name())
    body = {"Name": name, "Check": {"TTL": "1h", "CheckID": f"{name}-2"}}
    await api.done("agent/service/register", body, **{"replace-existing-checks": value})
    mine = [id for id, it in (await api.get("agent/checks")).json.items() if it["ServiceID"] == name]
    assert mine == [f"{name}-2"]
    await api.until(f"health/checks/{name}", lambda found: [it["CheckID"] for it in found] == [f"{name}-2"])


async def test_a_check_may_be_added_to_a_service(api: Api) -> None:
    name = await api.registered(api.name())
    await api.done("agent/check/register", {"Name": "more", "ID": f"{name}-more", "TTL": "1h", "ServiceID": name})
    found = await api.until(f"health/checks/{name}", lambda found: len(found) == 2)
    assert {it["CheckID"]: it["Status"] for it in found} == {f"{name}-more": "critical", f"service:{name}": "passing"}
    await api.done(f"agent/check/deregister/{name}-more")
    await api.until(f"health/checks/{name}", lambda found: len(found) == 1)


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"TTL": "1h", "Name": ""}, 400, "Missing check name"),
        ({}, 400, "Invalid check: TTL must be > 0 for TTL checks"),
        ({"TTL": "-1s"}, 400, "Invalid check: TTL must be > 0 for TTL checks"),
        ({"TTL": "1s", "Interval": "1s"}, 400, "Invalid check: Interval and TTL cannot both be specified"),
        ({"HTTP": "http://x"}, 400, "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks"),
        ({"TCP": "x:1", "Interval": "-1s"}, 400, "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks"),
        ({"GRPC": "x:1"}, 400, "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks"),
        ({"TTL": "x"}, 400, 'Request decode failed: time: invalid duration "x"'),
        ({"TTL": "5"}, 400, 'Request decode failed: time: missing unit in duration "5"'),
        ({"TTL": "5x"}, 400, 'Request decode failed: time: unknown unit "x" in duration "5x"'),
        ({"TTL": "1h", "Script": "true"}, 400, 'Request decode failed: json: unknown field "Script"'),
        ({"TTL": "1h", "ServiceID": "nobody"}, 500, 'ServiceID "nobody" does not exist'),
        (
            {"Args": ["true"], "Interval": "1s"},
            500,
            "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true",
        ),
        ({"TTL": "1h", "Status": "well"}, 400, "Bad check status"),
    ],
)
async def test_a_check_that_cannot_be_is_refused(api: Api, fields: dict[str, Any], status: int, text: str) -> None:
    reply = await api.put("agent/check/register", {"Name": "refused", **fields})
    assert (reply.status, reply.text) == (status, text)
    assert "refused" not in (await api.get("agent/checks")).json


async def test_the_same_rules_hold_for_the_check_of_a_service(api: Api) -> None:
    name = api.name()
    reply = await api.put("agent/service/register", {"Name": name, "Check": {"HTTP": "http://x"}})
    assert (reply.status, reply.text) == (400, "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks")
    assert name not in (await api.get("agent/services")).json


async def test_a_status_that_is_none_is_refused_for_the_check_of_a_service(api: Api) -> None:
    reply = await api.put("agent/service/register", {"Name": api.name(), "Check": {"TTL": "1h", "Status": "well"}})
    assert (reply.status, reply.text) == (400, "Status for checks must 'passing', 'warning', 'critical'")


# ── reporting ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("verb", "expected"), [("pass", "passing"), ("warn", "warning"), ("fail", "critical")])
async def test_the_owner_of_a_check_reports_it(api: Api, verb: str, expected: str) -> None:
    id = api.name("a check/")
    await api.done("agent/check/register", {"Name": id, "TTL": "1h"})
    await api.done(f"agent/check/{verb}/{id}", note="as seen")
    shown = await check(api, id)
    assert (shown["Status"], shown["Output"]) == (expected, "as seen")


async def test_a_status_and_output_may_come_as_a_body(api: Api) -> None:
    id = api.name("check")
    await api.done("agent/check/register", {"Name": id, "TTL": "1h"})
    await api.done(f"agent/check/update/{id}", {"Status": "warning", "Output": "so so"})
    shown = await check(api, id)
    assert (shown["Status"], shown["Output"]) == ("warning", "so so")


async def test_a_long_output_is_cut(api: Api) -> None:
    id = api.name("check")
    await api.done("agent/check/register", {"Name": id, "TTL": "1h"})
    await api.done(f"agent/check/update/{id}", {"Status": "passing", "Output": "x" * 5000})
    assert (await check(api, id))["Output"] == "x" * 4096 + " ... (captured 4096 of 5000 bytes)"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "Request decode failed: EOF"),
        ({"Status": "well"}, 400, "Invalid check status: 'well'"),
        ({}, 400, "Invalid check status: ''"),
        ({"Status": "passing", "Foo": 1}, 400, 'Request decode failed: json: unknown field "Foo"'),
        ({"Status": "passing"}, 500, 'CheckID "nobody" does not have associated TTL'),
    ],
)
async def test_a_report_that_cannot_be_is_refused(api: Api, body: Any, status: int, text: str) -> None:
    reply = await api.put("agent/check/update/nobody", body)
    assert (reply.status, reply.text) == (status, text)


async def test_only_ttl_checks_are_reported(api: Api) -> None:
    id = api.name("check")
    await api.done("agent/check/register", {"Name": id, "TCP": "127.0.0.1:1", "Interval": "1h"})
    reply = await api.put(f"agent/check/pass/{id}")
    assert (reply.status, reply.text) == (500, f'CheckID "{id}" does not have associated TTL')


async def test_a_check_that_is_not_reported_in_time_turns_critical(api: Api) -> None:
    id = api.name("check")
    await api.done("agent/check/register", {"Name": id, "TTL": "300ms", "Status": "passing"})
    began = time.monotonic()
    await api.done(f"agent/check/pass/{id}", note="was well")
    shown = await until_status(api, id, "critical")
    assert time.monotonic() - began >= 0.3
    assert shown["Output"] == "TTL expired (last output before timeout follows): was well"


async def test_a_check_that_was_never_reported_expires_too(api: Api) -> None:
    id = api.name("check")
    await api.done("agent/check/register", {"Name": id, "TTL": "200ms", "Status": "passing"})
    assert (await until_status(api, id, "critical"))["Output"] == "TTL expired"


async def test_reports_in_time_keep_a_check_well(api: Api) -> None:
    id = api.name("check")

    async def begin() -> None:
        await api.done("agent/check/register", {"Name": id, "TTL": "400ms"})
        await api.done(f"agent/check/pass/{id}")

    async def report() -> bool:
        was_well = await status(api, id) == "passing"
        await api.done(f"agent/check/pass/{id}")
        return was_well

    await kept(begin, report, ttl=0.4)


async def test_a_new_output_alone_does_not_reach_the_catalog_yet(api: Api) -> None:
    name = await api.registered(api.name())
    await api.report(name, "warning", "first")
    before = (await api.get(f"health/service/{name}")).index
    await api.done(f"agent/check/update/service:{name}", {"Status": "warning", "Output": "second"})
    assert (await check(api, f"service:{name}"))["Output"] == "second"
    found = await api.get(f"health/service/{name}")
    assert (found.index, found.json[0]["Checks"][-1]["Output"]) == (before, "first")


async def test_a_new_output_alone_reaches_the_catalog_later(hasty_api: Api) -> None:
    api = hasty_api
    name = await api.registered(api.name())
    await api.report(name, "warning", "first")
    await api.done(f"agent/check/update/service:{name}", {"Status": "warning", "Output": "second"})
    await api.until(f"health/checks/{name}", lambda found: found[0]["Output"] == "second")


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.asynccontextmanager
async def backend(answers: list[int]) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """A server that answers with these codes, the last one for ever; and the requests that it had."""
    had: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        had.append(request)
        return web.Response(status=answers.pop(0) if len(answers) > 1 else answers[0], text="as I am")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", had
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("code", "expected"), [(200, "passing"), (204, "passing"), (429, "warning"), (404, "critical"), (500, "critical")]
)
async def test_an_http_check_goes_by_the_code_of_the_answer(api: Api, code: int, expected: str) -> None:
    id = api.name("check")
    async with backend([code]) as (url, _):
        initial = "warning" if expected == "critical" else "critical"
        body = {"Name": id, "HTTP": f"{url}/health", "Interval": "1s", "Status": initial}
        await api.done("agent/check/register", body)
        answered = f"HTTP GET {url}/health: {code} "
        found = await api.until(
            "agent/checks",
            lambda found: found[id]["Status"] == expected and found[id]["Output"].startswith(answered),
        )
    shown = found[id]
    assert shown["Type"] == "http"
    assert shown["Output"].endswith("Output: " + ("" if code == 204 else "as I am"))


async def test_an_http_check_sends_what_it_was_told_to(api: Api) -> None:
    id = api.name("check")
    async with backend([200]) as (url, had):
        body = {"Name": id, "HTTP": f"{url}/x", "Method": "POST", "Header": {"X-A": ["b", "c"], "User-Agent": ["me"]}}
        await api.done("agent/check/register", {**body, "Body": "ping", "Interval": "1s"})
        await until_status(api, id, "passing")
    assert (had[0].method, had[0].path, had[0].headers.getall("X-A")) == ("POST", "/x", ["b", "c"])
    assert had[0].headers["User-Agent"] == "me"
    assert await had[0].read() == b"ping"


async def test_an_http_check_says_who_it_is(api: Api) -> None:
    id = api.name("check")
    async with backend([200]) as (url, had):
        await api.done("agent/check/register", {"Name": id, "HTTP": url, "Interval": "1s"})
        await until_status(api, id, "passing")
    assert had[0].headers["User-Agent"] == "Consul Health Check"
    assert had[0].headers["Accept"] == "text/plain, text/*, */*"


async def test_nobody_there_is_critical_and_says_so(api: Api) -> None:
    port = free_port()
    http, tcp = api.name("check"), api.name("check")
    body = {"Interval": "1s", "Status": "passing"}
    await api.done("agent/check/register", {"Name": http, "HTTP": f"http://127.0.0.1:{port}/h", **body})
    await api.done("agent/check/register", {"Name": tcp, "TCP": f"127.0.0.1:{port}", **body})
    refused = f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    assert (await until_status(api, http, "critical"))["Output"] == f'Get "http://127.0.0.1:{port}/h": {refused}'
    assert (await until_status(api, tcp, "critical"))["Output"] == refused


async def test_a_tcp_check_passes_when_somebody_accepts(api: Api) -> None:
    id = api.name("check")
    async with backend([200]) as (url, _):
        place = url.removeprefix("http://")
        await api.done("agent/check/register", {"Name": id, "TCP": place, "Interval": "1s"})
        shown = await until_status(api, id, "passing")
    assert (shown["Output"], shown["Type"]) == (f"TCP connect {place}: Success", "tcp")


async def test_a_server_that_hangs_is_critical_when_the_time_is_over(api: Api) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    id = api.name("check")
    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        body = {"Name": id, "HTTP": f"http://127.0.0.1:{port}/", "Interval": "1s", "Timeout": "100ms"}
        await api.done("agent/check/register", {**body, "Status": "passing"})
        shown = await until_status(api, id, "critical")
    assert f'Get "http://127.0.0.1:{port}/": context deadline exceeded' in shown["Output"]


async def test_a_check_of_a_service_can_look_too(api: Api) -> None:
    name = api.name()
    async with backend([200]) as (url, _):
        await api.done("agent/service/register", {"Name": name, "Check": {"HTTP": url, "Interval": "1s"}})
        await api.until(f"health/service/{name}?passing=1", bool)


async def test_grpc_with_nobody_there_is_critical(api: Api) -> None:
    id, port = api.name("check"), free_port()
    body = {"Name": id, "GRPC": f"127.0.0.1:{port}", "Interval": "1s", "Status": "passing", "Timeout": "500ms"}
    await api.done("agent/check/register", body)
    assert "connection refused" in (await until_status(api, id, "critical"))["Output"]


async def test_an_alias_follows_the_service_that_it_stands_for(api: Api) -> None:
    target = await api.registered(api.name())
    name = api.name()
    await api.done("agent/service/register", {"Name": name, "Check": {"AliasService": target}})
    passing = await until_status(api, f"service:{name}", "passing")
    assert (passing["Type"], passing["Output"]) == ("alias", "All checks passing.")
    for reported in ("critical", "warning", "passing"):
        await api.done(f"agent/check/update/service:{target}", {"Status": reported, "Output": "as I am"})
        shown = await until_status(api, f"service:{name}", reported)
    await api.done(f"agent/check/update/service:{target}", {"Status": "critical", "Output": "ill"})
    shown = await until_status(api, f"service:{name}", "critical")
    assert shown["Output"].startswith(f"Aliased check \"Service '{target}' check\" failing: ")
