"""Requests that the edge turns away or answers by itself, as labels ask for it; with each proxy."""

import asyncio
import subprocess
from collections import Counter
from dataclasses import replace

from tests.support.backends import backends
from tests.support.rig import ALL, LUA, Rig, instance, with_targets
from tests.support.waiting import eventually_async


@with_targets(ALL)
async def test_basic_auth_asks_for_a_password(edge: Rig) -> None:
    done = subprocess.run(
        ["openssl", "passwd", "-5", "-salt", "abcdef", "secret"], capture_output=True, text=True, check=True
    )
    async with backends("web") as (web,):
        await edge.show(
            instance(web, DROMOS_EDGE_AUTH=f"bob:{done.stdout.strip()}", DROMOS_EDGE_AUTH_REALM="staff only")
        )
        denied = await edge.ask()
        assert denied.status_code == 401
        assert 'realm="staff only"' in denied.headers["WWW-Authenticate"]
        assert (await edge.ask(auth=("bob", "wrong"))).status_code == 401
        assert (await edge.ask(auth=("bob", "secret"))).text == "web"


@with_targets(["nginx-lua", "nginx"])
async def test_passwords_are_written_when_they_change_and_for_the_workers_alone(edge: Rig) -> None:
    async with backends("web") as (web,):
        shown = instance(web, DROMOS_EDGE_AUTH="bob:$5$abc$0123456789abcdef")
        await edge.show(shown)
        (path,) = edge.layout.users.glob("web_*")
        first = path.stat()
        assert first.st_mode & 0o077 == 0
        await edge.show(shown, instance(web, "other"))
        assert path.stat().st_ino == first.st_ino
        await edge.show(instance(web, DROMOS_EDGE_AUTH="eve:$5$abc$0123456789abcdef"))
        assert path.read_text() == "eve:$5$abc$0123456789abcdef\n"


@with_targets(ALL)
async def test_networks_are_allowed_and_denied(edge: Rig) -> None:
    async with backends("web", "shut") as (web, shut):
        await edge.show(
            instance(web, DROMOS_EDGE_ALLOW="127.0.0.0/8"),
            instance(shut, "shut", DROMOS_EDGE_ALLOW="10.0.0.0/8"),
            instance(shut, "closed", DROMOS_EDGE_DENY="127.0.0.1"),
        )
        assert (await edge.ask()).status_code == 200
        assert (await edge.ask(host="shut.test")).status_code == 403
        assert (await edge.ask(host="closed.test")).status_code == 403
        assert shut.requests == []


@with_targets(ALL)
async def test_more_than_the_rate_is_refused(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web, DROMOS_EDGE_RATE="1/m", DROMOS_EDGE_RATE_BURST="3"))
        found = Counter(await edge.answers(12))
        assert found["429"] >= 5
        assert found["web"] >= 1


@with_targets(ALL)
async def test_more_connections_than_the_limit_are_refused(edge: Rig) -> None:
    async with backends("web") as (web,):
        web.held = asyncio.Event()
        await edge.show(instance(web, DROMOS_EDGE_CONNECTIONS="2"))
        held = [asyncio.create_task(edge.ask()) for _ in range(2)]
        await eventually_async(lambda: web.active == 2)
        assert (await edge.ask()).status_code == 429
        web.held.set()
        assert {answer.status_code for answer in await asyncio.gather(*held)} == {200}

        async def let_in() -> bool:
            return (await edge.ask()).status_code == 200

        await eventually_async(let_in)


@with_targets(ALL)
async def test_a_body_past_the_limit_is_refused(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web, DROMOS_EDGE_BODY_SIZE="1k"))
        assert (await edge.ask(method="POST", data=b"x" * 500)).text == "web"
        assert (await edge.ask(method="POST", data=b"x" * 2000)).status_code == 413


@with_targets(ALL)
async def test_cross_origin_requests_are_answered_for_the_origins_named(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web, DROMOS_EDGE_CORS="https://app.example.org,https://*.example.com"))
        ask = {"Access-Control-Request-Method": "PUT"}
        for origin in ("https://app.example.org", "https://a.example.com"):
            preflight = await edge.ask(method="OPTIONS", headers={"Origin": origin, **ask})
            assert preflight.status_code == 204
            assert preflight.headers["Access-Control-Allow-Origin"] == origin
            assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
            answer = await edge.ask(headers={"Origin": origin})
            assert (answer.text, answer.headers["Access-Control-Allow-Origin"]) == ("web", origin)
        for origin in ("https://evil.org", "https://app.example.org.evil.org", "https://appXexample.org"):
            answer = await edge.ask(headers={"Origin": origin})
            assert "Access-Control-Allow-Origin" not in answer.headers


@with_targets(ALL)
async def test_a_service_in_maintenance_says_so(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web, DROMOS_EDGE_MAINTENANCE="true"))
        assert (await edge.ask()).status_code == 503
        assert web.requests == []


@with_targets(LUA)
async def test_a_service_without_an_instance_says_so_to_pages_of_other_origins_too(edge: Rig) -> None:
    async with backends("web") as (web,):
        shown = instance(
            web, DROMOS_EDGE_CORS="https://app.example.org", DROMOS_EDGE_AUTH="bob:$5$abc$0123456789abcdef"
        )
        open_to_all = instance(web, "open", DROMOS_EDGE_CORS="https://app.example.org")
        await edge.show(*(replace(one, healthy=False) for one in (shown, open_to_all)))
        answer = await edge.ask(host="open.test", headers={"Origin": "https://app.example.org"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.org"
        assert (await edge.ask()).status_code == 401
