"""The status port: what people see in a browser, and what programs read there besides the traffic's numbers."""

import asyncio

import requests

from tests.support.backends import backends
from tests.support.rig import ALL, LUA, Rig, instance, with_targets
from tests.support.waiting import eventually_async


async def status(edge: Rig, path: str = "/status", accept: str = "text/html") -> requests.Response:
    url = f"http://127.0.0.1:{edge.status_port}{path}"
    return await asyncio.to_thread(requests.get, url, headers={"Accept": accept}, timeout=30)


@with_targets(ALL)
async def test_a_browser_is_shown_how_the_proxy_does(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web))
        assert (await edge.ask()).text == "web"
        page = await status(edge, "/")  # the port's own address leads there
        assert page.status_code == 200
        if edge.target == "nginx":  # which counts nothing by service
            assert "Active connections" in page.text
            return
        assert page.headers["Content-Type"].startswith("text/html")
        assert "<table" in page.text
        assert "web" in page.text
        assert (web.address if edge.target == "nginx-lua" else str(web.port)) in page.text


@with_targets(LUA)
async def test_the_status_page_names_services_that_need_a_look(edge: Rig) -> None:
    async with backends("good", "bad", "spare") as (good, bad, spare):
        bad.hang_up = True
        shown = [*(instance(one, DROMOS_EDGE_FAIL_TIMEOUT="5m") for one in (good, bad)), instance(spare, "spare")]
        shown += [
            instance(spare, "shut", DROMOS_EDGE_MAINTENANCE="true"),
            instance(good, "off", DROMOS_EDGE_STANDBY="spare"),
        ]
        await edge.show(*shown, switched=("off",))
        assert set(await edge.answers(4)) == {"good"}
        page = (await status(edge)).text
        for note in ("skipped: it failed", "maintenance", "switched to its standby"):
            assert page.count(note) == 1, note
        services = {one["name"]: one for one in (await status(edge, accept="application/json")).json()["services"]}
        assert [one["endpoint"] for one in services["web"]["endpoints"] if one["failing"]] == [bad.address]
        assert services["shut"]["maintenance"] is True
        assert services["off"]["switched"] is True


@with_targets(["haproxy"])
async def test_requests_that_wait_for_an_endpoint_are_told(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web))
        assert 'dromos_edge_queued_requests{service="web",app="/web"} 0' in (await status(edge, "/metrics")).text
        assert (await status(edge, "/metrics.json")).json()["services"]["web"]["queued"] == 0


@with_targets(LUA)
async def test_a_service_whose_last_instance_has_gone_is_shown_without_one(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web))
        assert (await edge.ask()).text == "web"
        await edge.show()

        async def is_shown() -> bool:  # once a worker of before has handed its numbers on
            page = await status(edge)
            return page.status_code == 200 and "none: answers 503" in page.text

        await eventually_async(is_shown)
        services = {one["name"]: one for one in (await status(edge, accept="application/json")).json()["services"]}
        assert (services["web"]["known"], services["web"]["endpoints"]) == (False, [])
