"""Another service that answers, or sees, a part of the requests or all of them: canaries, standbys, mirrors; with each proxy."""

from collections import Counter

from nginx.model import Instance
from tests.support.backends import backends
from tests.support.rig import ALL, Rig, instance, with_targets
from tests.support.waiting import eventually_async


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
