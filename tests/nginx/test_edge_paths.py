"""Hosts and paths: what reaches which service, as what, and where it seems to come from; with each proxy."""

from tests.support.backends import backends
from tests.support.rig import ALL, Rig, instance, with_targets


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
async def test_an_unknown_host_or_path_gets_a_404_that_says_so(edge: Rig) -> None:
    async with backends("app") as (app,):
        await edge.show(instance(app, "app", plain="yes"))
        assert (await edge.ask("/app", host="any.test")).text == "app"
        # A path is not the prefix of a longer name.
        for path in ("/nothing", "/apple"):
            answer = await edge.ask(path, host="nobody.example.org")
            assert answer.status_code == 404
            assert "no route for this host and path" in answer.text
