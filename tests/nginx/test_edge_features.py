"""What labels ask for, seen by a client: each feature with each proxy that has it."""

import asyncio
import contextlib
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from nginx.model import Instance
from tests.support.backends import backends, free_udp_port
from tests.support.processes import free_port
from tests.support.rig import Rig, instance, rig
from tests.support.waiting import eventually_async

ALL = ["nginx-lua", "nginx", "haproxy"]
SMART = ["nginx-lua", "haproxy"]
LUA = ["nginx-lua"]


@pytest.fixture
async def edge(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path / "edge", request.param) as found:
        yield found


def with_targets(targets: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("edge", targets, indirect=True)


@with_targets(ALL)
async def test_a_prefix_is_replaced(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web, DROMOS_EDGE_PATH="/shop", DROMOS_EDGE_REWRITE="/v2"))
        await edge.ask("/shop/cart?a=%20b")
        assert web.requests[-1][1] == "/v2/cart?a=%20b"
        await edge.ask("/shop")
        assert web.requests[-1][1].rstrip("/") == "/v2"
        assert web.requests[-1][2]["x-forwarded-prefix"] == "/shop"


@with_targets(ALL)
async def test_a_path_without_rewrite_arrives_as_it_was_sent(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web, HAPROXY_0_PATH="/shop"))
        await edge.ask("/shop/a%2Fb?x=%3F")
        assert web.requests[-1][1] == "/shop/a%2Fb?x=%3F"


@with_targets(ALL)
async def test_the_longest_prefix_wins_and_any_host_may_have_the_rest(edge: Rig) -> None:
    async with backends("root", "deep", "any", "wild") as (root, deep, any_host, wild):
        await edge.show(
            instance(root, "root", HAPROXY_0_VHOST="web.test"),
            instance(deep, "deep", HAPROXY_0_VHOST="web.test", HAPROXY_0_PATH="/a/b"),
            instance(any_host, "any", plain="yes"),
            instance(wild, "wild", HAPROXY_0_VHOST="*.wild.test"),
        )
        assert (await edge.ask("/a/b/c")).text == "deep"
        assert (await edge.ask("/a/bc")).text == "root"
        assert (await edge.ask("/any/thing", host="else.test")).text == "any"
        assert (await edge.ask("/other", host="else.test")).status_code == 404
        assert (await edge.ask("/x", host="a.wild.test")).text == "wild"
        assert (await edge.ask("/x", host="a.b.wild.test:8000")).text == "wild"


@with_targets(ALL)
async def test_weights_share_the_traffic(edge: Rig) -> None:
    async with backends("big", "small", "none") as (big, small, none):
        await edge.show(
            instance(big, DROMOS_EDGE_WEIGHT="3"),
            instance(small, DROMOS_EDGE_WEIGHT="1"),
            instance(none, DROMOS_EDGE_WEIGHT="0"),
        )
        found = Counter(await edge.answers(40))
        assert 26 <= found["big"] <= 34
        assert found["none"] == 0


@with_targets(ALL)
async def test_round_robin_is_even(edge: Rig) -> None:
    async with backends("a", "b", "c") as servers:
        await edge.show(*map(instance, servers))
        assert Counter(await edge.answers(30)) == {"a": 10, "b": 10, "c": 10}


@with_targets(ALL)
async def test_least_connections_avoids_the_busy(edge: Rig) -> None:
    async with backends("busy", "free") as (busy, free):
        busy.held, free.held = asyncio.Event(), asyncio.Event()
        await edge.show(*(instance(one, DROMOS_EDGE_BALANCE="least_conn") for one in (busy, free)))
        slow = [asyncio.create_task(edge.ask()) for _ in range(4)]
        await eventually_async(lambda: (busy.active, free.active) == (2, 2))
        free.held.set()
        await eventually_async(lambda: free.active == 0)
        # Two are under way at the one; the other has at most the last request, whose end may not be known yet.
        assert set(await edge.answers(5)) == {"free"}
        busy.held.set()
        await asyncio.gather(*slow)


@with_targets(["haproxy"])
async def test_weights_past_the_most_that_haproxy_knows_keep_their_proportion(edge: Rig) -> None:
    async with backends("big", "small") as (big, small):
        await edge.show(instance(big, DROMOS_EDGE_WEIGHT="900"), instance(small, DROMOS_EDGE_WEIGHT="300"))
        assert 26 <= Counter(await edge.answers(40))["big"] <= 34
        await edge.show(instance(big, DROMOS_EDGE_WEIGHT="100"), instance(small, DROMOS_EDGE_WEIGHT="300"))
        assert 6 <= Counter(await edge.answers(40))["big"] <= 14


@with_targets(ALL)
async def test_a_hash_of_the_address_or_the_path_keeps_to_an_endpoint(edge: Rig) -> None:
    async with backends("a", "b", "c") as servers:
        await edge.show(*(instance(one, DROMOS_EDGE_HASH_KEY="ip") for one in servers))
        assert len(set(await edge.answers(8))) == 1
        await edge.show(*(instance(one, DROMOS_EDGE_HASH_KEY="uri") for one in servers))
        found = [set(await edge.answers(3, path=f"/{number}")) for number in range(12)]
        assert all(len(one) == 1 for one in found)
        assert len(set.union(*found)) > 1


@with_targets(ALL)
async def test_ewma_prefers_the_quick(edge: Rig) -> None:
    async with backends("slow", "quick") as (slow, quick):
        await edge.show(*(instance(one, DROMOS_EDGE_BALANCE="ewma") for one in (slow, quick)))
        if edge.target == "nginx-lua":
            slow.delay = 0.2
            assert Counter(await edge.answers(30))["quick"] >= 25
            return
        # What stands in for it counts connections.
        slow.held = asyncio.Event()
        waiting = [asyncio.create_task(edge.ask()) for _ in range(4)]
        await eventually_async(lambda: slow.active > 0)
        assert set(await edge.answers(5)) == {"quick"}
        slow.held.set()
        await asyncio.gather(*waiting)


@with_targets(ALL)
async def test_a_hash_keeps_a_key_at_its_endpoint(edge: Rig) -> None:
    async with backends("a", "b", "c", "d") as servers:
        shown = [instance(one, DROMOS_EDGE_HASH_KEY="header:X-Shard") for one in servers]
        await edge.show(*shown)
        before = {key: set(await edge.answers(3, headers={"X-Shard": key})) for key in map(str, range(12))}
        assert all(len(found) == 1 for found in before.values())
        assert len(set.union(*before.values())) > 1
        await edge.show(*shown[:-1])
        for key, found in before.items():
            if found != {"d"}:
                assert set(await edge.answers(1, headers={"X-Shard": key})) == found


@with_targets(ALL)
async def test_a_sticky_client_stays_until_its_endpoint_goes(edge: Rig) -> None:
    async with backends("a", "b", "c") as servers:
        shown = [instance(one, DROMOS_EDGE_STICKY="session") for one in servers]
        await edge.show(*shown)
        first = await edge.ask()
        cookie = first.headers["Set-Cookie"]
        assert cookie.startswith("session=")
        assert "httponly" in cookie.lower()
        headers = {"Cookie": cookie.split(";")[0]}
        assert set(await edge.answers(9, headers=headers)) == {first.text}
        await edge.show(*(one for one, server in zip(shown, servers, strict=True) if server.name != first.text))
        others = await edge.ask(headers=headers)
        assert others.text != first.text
        if edge.target != "nginx":  # whose cookie is hashed: it stays the same
            headers = {"Cookie": others.headers["Set-Cookie"].split(";")[0]}
        assert set(await edge.answers(5, headers=headers)) == {others.text}


@with_targets(ALL)
async def test_a_canary_gets_those_who_ask_and_its_share(edge: Rig) -> None:
    async with backends("stable", "canary") as (stable, canary):
        await edge.show(
            instance(stable),
            instance(
                canary,
                "next",
                plain="yes",
                DROMOS_EDGE_CANARY_OF="web",
                DROMOS_EDGE_CANARY_HEADER="X-Canary=please",
                DROMOS_EDGE_CANARY_COOKIE="canary",
                DROMOS_EDGE_CANARY_WEIGHT="30",
            ),
        )
        assert set(await edge.answers(5, headers={"X-Canary": "please"})) == {"canary"}
        assert set(await edge.answers(5, headers={"Cookie": "canary=always"})) == {"canary"}
        assert set(await edge.answers(12, headers={"Cookie": "canary=never"})) == {"stable"}
        assert set(await edge.answers(5, headers={"X-Canary": "please", "Cookie": "canary=never"})) == {"canary"}
        share = Counter(await edge.answers(200))["canary"]
        assert 30 <= share <= 95
        assert (await edge.ask(host="next.test")).status_code == 404


@with_targets(ALL)
async def test_canaries_of_one_service_are_told_apart_and_see_rewritten_paths(edge: Rig) -> None:
    async with backends("stable", "one", "two") as (stable, one, two):
        shown = [instance(stable, DROMOS_EDGE_PATH="/shop", DROMOS_EDGE_REWRITE="/v2")]
        for server in (one, two):
            labels = {
                "DROMOS_EDGE_CANARY_OF": "web",
                "DROMOS_EDGE_CANARY_HEADER": f"X-Try-It={server.name}",
                "DROMOS_EDGE_CANARY_COOKIE": f"try-{server.name}",
                "DROMOS_EDGE_CANARY_WEIGHT": "50",
            }
            shown.append(instance(server, server.name, plain="yes", **labels))
        await edge.show(*shown)
        how = {"path": "/shop/a?b=%20c"}
        assert set(await edge.answers(3, headers={"X-Try-It": "two"}, **how)) == {"two"}
        assert two.requests[-1][1] == "/v2/a?b=%20c"
        assert set(await edge.answers(3, headers={"Cookie": "x=y; try-one=always"}, **how)) == {"one"}
        assert "stable" not in await edge.answers(8, **how)
        # Who wants none of the one is with the other, or where all would be without it.
        assert "one" not in await edge.answers(12, headers={"Cookie": "try-one=never; x=y"}, **how)
        # A header comes before a cookie.
        both = {"X-Try-It": "two", "Cookie": "try-one=always"}
        assert set(await edge.answers(3, headers=both, **how)) == {"two"}
        assert set(await edge.answers(4, headers={"Cookie": "try-one=never; try-two=never"}, **how)) == {"stable"}


@with_targets(ALL)
async def test_a_canary_without_an_instance_gets_nothing(edge: Rig) -> None:
    async with backends("stable", "canary") as (stable, canary):
        labels = {"DROMOS_EDGE_CANARY_OF": "web", "DROMOS_EDGE_CANARY_WEIGHT": "100"}
        gone = instance(canary, "next", plain="yes", **labels)
        await edge.show(instance(stable), gone)
        assert set(await edge.answers(3)) == {"canary"}
        unhealthy = Instance(gone.id, gone.service, gone.address, gone.port, meta=gone.meta, healthy=False)
        await edge.show(instance(stable), unhealthy)
        assert set(await edge.answers(5)) == {"stable"}


@with_targets(ALL)
async def test_a_standby_answers_when_switched_and_gives_back(edge: Rig) -> None:
    async with backends("own", "standby") as (own, standby):
        shown = (
            instance(own, DROMOS_EDGE_STANDBY="spare", DROMOS_EDGE_PATH="/a", DROMOS_EDGE_REWRITE="/"),
            instance(standby, "spare"),
        )
        await edge.show(*shown)
        assert set(await edge.answers(4, path="/a/x")) == {"own"}
        reloads = edge.reloads
        await edge.show(*shown, switched=("web",))
        assert set(await edge.answers(4, path="/a/x")) == {"standby"}
        assert standby.requests[-1][1] == "/x"
        await edge.show(*shown)
        assert set(await edge.answers(4, path="/a/x")) == {"own"}
        if edge.target != "nginx":  # plain Nginx knows no other way
            assert edge.reloads == reloads


@with_targets(ALL)
async def test_a_mirror_sees_requests_and_answers_nobody(edge: Rig) -> None:
    async with backends("web", "shadow") as (web, shadow):
        await edge.show(instance(web, DROMOS_EDGE_MIRROR="shadow"), instance(shadow, "shadow"))
        assert (await edge.ask("/order?id=1", method="POST", data=b"body")).text == "web"
        await eventually_async(lambda: bool(shadow.requests))
        assert shadow.requests[-1][1] == "/order?id=1"
        assert shadow.requests[-1][3] == b"body"


@with_targets(ALL)
async def test_a_cookie_keeps_its_endpoint_by_its_hash(edge: Rig) -> None:
    async with backends("a", "b", "c", "d") as servers:
        await edge.show(*(instance(one, DROMOS_EDGE_HASH_KEY="cookie:shop-id") for one in servers))
        found = {}
        for key in "abcdefghijkl":
            # The others of its cookies have no say.
            answers = [await edge.answers(1, headers={"Cookie": f"x={n}; shop-id={key}; z={n}"}) for n in range(3)]
            assert len({answer for (answer,) in answers}) == 1, key
            found[key] = answers[0][0]
        assert len(set(found.values())) > 1


@with_targets(SMART)
async def test_numbers_are_told_of_endpoints_that_came_and_went(edge: Rig) -> None:
    """HAProxy's own objects for servers outlive the servers, and kill the process that asks them."""
    async with backends("a", "b", "c", "late") as (*early, late):
        await edge.show(*map(instance, early))
        for shown in (early[:1], early, early[1:], [early[0], late]):
            await edge.show(*map(instance, shown))
            assert set(await edge.answers(6)) == {server.name for server in shown}

        async def told() -> bool:
            answer = await asyncio.to_thread(requests.get, f"http://127.0.0.1:{edge.status_port}/metrics", timeout=30)
            lines = [line for line in answer.text.splitlines() if f'endpoint="{late.address}",code="2xx"' in line]
            return [float(line.split()[-1]) for line in lines] == [len(late.requests)]

        await eventually_async(told)


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
        await edge.show(instance(web, DROMOS_EDGE_RATE="0.2/s", DROMOS_EDGE_RATE_BURST="3"))
        found = Counter(await edge.answers(10))
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
async def test_an_endpoint_that_is_too_slow_is_given_up(edge: Rig) -> None:
    async with backends("web") as (web,):
        web.held = asyncio.Event()
        await edge.show(instance(web, DROMOS_EDGE_READ_TIMEOUT="300ms", DROMOS_EDGE_TRIES="1"))
        assert (await edge.ask()).status_code == 504
        web.held.set()


@with_targets(ALL)
async def test_a_request_is_tried_as_often_as_a_label_says(edge: Rig) -> None:
    async with backends("good", "bad") as (good, bad):
        bad.hang_up = True
        once, twice = (
            [instance(one, name, DROMOS_EDGE_TRIES=tries, DROMOS_EDGE_MAX_FAILS="0") for one in (good, bad)]
            for name, tries in (("once", "1"), ("twice", "2"))
        )
        await edge.show(*once, *twice)
        assert set(await edge.answers(6, host="twice.test")) == {"good"}
        assert set(await edge.answers(6, host="once.test")) == {"good", "502"}


@with_targets(ALL)
async def test_an_endpoint_that_failed_is_asked_again_after_the_time_that_a_label_says(edge: Rig) -> None:
    async with backends("one", "other") as (one, other):
        await edge.show(*(instance(server, DROMOS_EDGE_FAIL_TIMEOUT="1s") for server in (one, other)))
        other.hang_up = True
        await edge.answers(4)
        skipped = len(other.requests)
        other.hang_up = False

        async def is_asked_again() -> bool:
            assert set(await edge.answers(2)) <= {"one", "other"}
            return len(other.requests) > skipped

        await eventually_async(is_asked_again)


@with_targets(ALL)
async def test_an_answer_that_a_label_names_is_asked_of_another_endpoint(edge: Rig) -> None:
    async with backends("good", "bad") as (good, bad):
        bad.status = 503
        await edge.show(*(instance(one, DROMOS_EDGE_RETRY_ON="http_503") for one in (good, bad)))
        assert set(await edge.answers(6)) == {"good"}
        assert bad.requests


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


@with_targets(ALL)
async def test_a_client_cannot_forge_where_it_comes_from(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web))
        forged = {
            "X-Forwarded-For": "1.2.3.4",
            "X-Forwarded-Proto": "https",
            "X-Real-IP": "1.2.3.4",
            "X-Forwarded-Prefix": "/x",
        }
        await edge.ask(headers=forged)
        seen = web.requests[-1][2]
        assert (seen["x-forwarded-for"], seen["x-forwarded-proto"], seen["x-real-ip"]) == (
            "127.0.0.1",
            "http",
            "127.0.0.1",
        )
        assert "x-forwarded-prefix" not in seen


@with_targets(ALL)
async def test_plain_http_is_sent_to_https(edge: Rig) -> None:
    async with backends("web") as (web,):
        await edge.show(instance(web, HAPROXY_0_REDIRECT_TO_HTTPS="true"))
        answer = await edge.ask("/a?b=c")
        assert (answer.status_code, answer.headers["Location"]) == (308, "https://web.test/a?b=c")


@with_targets(ALL)
async def test_tcp_goes_through_and_follows_its_endpoints(edge: Rig) -> None:
    port = free_port()
    edge.policy = type(edge.policy)(stream_ports=(port, port))
    labels = {"DROMOS_EDGE_PROTOCOL": "tcp", "DROMOS_EDGE_PORT": str(port)}

    async def asked() -> str:
        return (await asyncio.to_thread(requests.get, f"http://127.0.0.1:{port}/", timeout=5)).text

    async with backends("one", "two") as (one, two):
        await edge.show(instance(one, "db", plain="yes", **labels))
        await eventually_async(asked)
        assert await asked() == "one"
        await edge.show(instance(two, "db", plain="yes", **labels))

        async def follows() -> bool:
            return await asked() == "two"

        await eventually_async(follows)


@with_targets(ALL)
async def test_udp_goes_through(edge: Rig) -> None:
    port = free_udp_port()
    edge.policy = type(edge.policy)(stream_ports=(port, port))
    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        server.bind(("127.0.0.1", 0))
        client.settimeout(0.3)
        meta = {"dromos-app": "/dns", "DROMOS_EDGE_PROTOCOL": "udp", "DROMOS_EDGE_PORT": str(port)}
        await edge.show(Instance("dns", "dns", "127.0.0.1", server.getsockname()[1], meta=meta))
        server.settimeout(5)

        def exchange() -> bool:
            client.sendto(b"ping", ("127.0.0.1", port))
            data, sender = server.recvfrom(100)
            server.sendto(data + b"!", sender)
            with contextlib.suppress(TimeoutError):
                return client.recv(100) == b"ping!"
            return False

        await eventually_async(lambda: asyncio.to_thread(exchange))


@with_targets(LUA)
async def test_a_late_or_repeated_change_of_endpoints_is_refused(edge: Rig) -> None:
    async with backends("new") as (new,):
        await edge.show(instance(new))
        control = edge.proxy._control  # type: ignore[attr-defined]
        counter = (await control.state()).counter
        from nginx.errors import ControlError
        from nginx.table import Change

        for stale in (counter, counter - 1, 0):
            with pytest.raises(ControlError, match="late"):
                await control.change(stale, Change({}, ("web",)))
        assert (await edge.ask()).text == "new"


@with_targets(LUA)
async def test_the_control_socket_wants_its_token(edge: Rig) -> None:
    from nginx.errors import ControlError

    edge.layout.token.chmod(0o600)
    edge.layout.token.write_text("another")
    with pytest.raises(ControlError, match="token"):
        await edge.proxy._control.state()  # type: ignore[attr-defined]
