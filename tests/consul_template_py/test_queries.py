"""How queries are written, and what their answers are, on a real and on the embedded Consul."""

import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consul_template_py.errors import QuerySyntaxError, SourceError
from consul_template_py.query import (
    At,
    CaRootsQuery,
    DatacentersQuery,
    KeyQuery,
    NodeQuery,
    NodesQuery,
    ServiceQuery,
    ServicesQuery,
    TreeQuery,
)
from consul_template_py.query.services import ServiceName, Summaries, parts_of
from consul_template_py.sources.consul import CannotBlock, ConsulSettings, ConsulSource, Index, next_index
from tests.support.consul import ConsulServer
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", ServiceQuery("web")),
        ("v1.web", ServiceQuery("web", "v1")),
        ("a.b.web", ServiceQuery("web", "a.b")),
        ("web@dc2", ServiceQuery("web", at=At(dc="dc2"))),
        ("web~_agent", ServiceQuery("web", near="_agent")),
        ("web|passing,warning", ServiceQuery("web", filters=("passing", "warning"))),
        ("web|any", ServiceQuery("web", filters=("any",))),
        (
            "v1.web?ns=team&partition=p&peer=c@dc2~near|critical",
            ServiceQuery("web", "v1", ("critical",), "near", At("dc2", "team", "p", "c")),
        ),
        (ServiceName("my.app"), ServiceQuery("my.app")),
    ],
)
def test_services_are_written_as_consul_template_writes_them(text: str, expected: ServiceQuery) -> None:
    assert ServiceQuery.parse(text) == expected


def test_a_query_without_a_filter_asks_for_passing_alone() -> None:
    assert ServiceQuery.parse("web") == ServiceQuery.parse("web|passing") == ServiceQuery.parse("web", "passing")
    assert ServiceQuery.parse("web").params == {"passing": "1"}
    assert "passing" not in ServiceQuery.parse("web|passing,warning").params


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (ServiceQuery.parse, ""),
        (ServiceQuery.parse, "v1."),
        (ServiceQuery.parse, "web|pasing"),
        (ServiceQuery.parse, "web@"),
        (ServiceQuery.parse, "web?colour=red"),
        (ServiceQuery.parse, "web\n"),
        (ServicesQuery.parse, "web"),
        (KeyQuery.parse, ""),
        (KeyQuery.parse, "@dc"),
        (NodeQuery.parse, "n|passing"),
        (NodesQuery.parse, "n"),
        (CaRootsQuery.parse, "x"),
    ],
)
def test_what_is_not_a_query_is_refused(parse: Any, text: str) -> None:
    with pytest.raises(QuerySyntaxError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b", KeyQuery("a/b")),
        ("/a/b", KeyQuery("a/b")),
        ("a~b|c", KeyQuery("a~b|c")),
        ("a@dc2", KeyQuery("a", At(dc="dc2"))),
        ("a?ns=x@dc2", KeyQuery("a", At("dc2", "x"))),
    ],
)
def test_keys(text: str, expected: KeyQuery) -> None:
    assert KeyQuery.parse(text) == expected


@contextlib.asynccontextmanager
async def source(consul: ConsulServer, **more: Any) -> AsyncIterator[ConsulSource]:
    made = ConsulSource(ConsulSettings(address=consul.url, **more))
    try:
        yield made
    finally:
        await made.close()


async def test_instances_have_the_nodes_address_where_they_have_none_and_sorted_tags(any_consul: ConsulServer) -> None:
    web = any_consul.name()
    any_consul.register(web, f"{web}-2", port=2, Tags=["z", "a"], Meta={"k": "v"}, status="passing")
    any_consul.register(web, f"{web}-1", port=1, address="10.9.9.9", status="passing")
    async with source(any_consul) as consul:
        one, two = await consul.read(ServiceQuery(web))
    assert (one.id, one.address, one.port, one.tags, dict(one.meta)) == (f"{web}-1", "10.9.9.9", 1, (), {})
    assert (two.id, two.address, two.port, two.tags, dict(two.meta)) == (
        f"{web}-2", "127.0.0.1", 2, ("a", "z"), {"k": "v"},
    )  # fmt: skip
    assert two.node == "test-node" and two.node_address == "127.0.0.1" and two.datacenter == "dc1"
    assert {check.id for check in two.checks} >= {f"service:{web}-2"}


async def test_filters_choose_by_the_worst_check(any_consul: ConsulServer) -> None:
    web = any_consul.name()
    for status in ("passing", "warning", "critical"):
        any_consul.register(web, f"{web}-{status}", port=1, status=status)
    any_consul.register(web, f"{web}-maintenance", port=1, status="passing")
    any_consul.http.put(f"agent/service/maintenance/{web}-maintenance", enable="true").raise_for_status()
    eventually(lambda: len(any_consul.healthy(web)) == 1)  # the catalog has it, too

    async with source(any_consul) as consul:

        async def found(text: str) -> set[str]:
            return {i.id.removeprefix(f"{web}-") for i in await consul.read(ServiceQuery.parse(web + text))}

        assert await found("") == {"passing"}
        assert await found("|passing,warning") == {"passing", "warning"}
        assert await found("|critical") == {"critical"}
        assert await found("|maintenance") == {"maintenance"}
        assert await found("|any") == {"passing", "warning", "critical", "maintenance"}


async def test_a_tag_chooses(any_consul: ConsulServer) -> None:
    web = any_consul.name()
    any_consul.register(web, f"{web}-1", Tags=["v1"])
    any_consul.register(web, f"{web}-2", Tags=["v2"])
    async with source(any_consul) as consul:
        assert [i.id for i in await consul.read(ServiceQuery.parse(f"v2.{web}"))] == [f"{web}-2"]
        assert await consul.read(ServiceQuery.parse(f"v3.{web}")) == ()


async def test_where_a_query_is_asked(real_consul: ConsulServer) -> None:
    web = real_consul.name()
    for number in (2, 1):
        real_consul.register(web, f"{web}-{number}")
    async with source(real_consul) as consul:
        for text in (f"{web}@dc1", f"{web}~_agent", f"{web}@dc1~test-node"):
            assert {i.id for i in await consul.read(ServiceQuery.parse(text))} == {f"{web}-1", f"{web}-2"}
        assert [i.name for i in await consul.read(NodesQuery.parse("@dc1~_agent"))] == ["test-node"]
        with pytest.raises(SourceError, match="No path to datacenter"):
            await consul.read(ServiceQuery.parse(f"{web}@dc9"))
        with pytest.raises(SourceError, match="Namespaces are a Consul Enterprise feature"):
            await consul.read(ServiceQuery.parse(f"{web}?ns=team"))


async def test_the_catalog(any_consul: ConsulServer) -> None:
    a, b = sorted((any_consul.name("a"), any_consul.name("b")))
    any_consul.register(b, Tags=["y", "x"])
    any_consul.register(a)
    async with source(any_consul) as consul:
        found = {s.name: s.tags for s in await consul.read(ServicesQuery())}
        assert found[b] == ("x", "y") and found[a] == () and list(found) == sorted(found)
        assert [node.name for node in await consul.read(NodesQuery())] == ["test-node"]
        node = await consul.read(NodeQuery("test-node"))
        assert node.node.address == "127.0.0.1" and {a, b} <= {service.name for service in node.services}
        assert await consul.read(NodeQuery("no-such-node")) is None
        assert await consul.read(DatacentersQuery()) == ("dc1",)


async def test_keys_and_trees(any_consul: ConsulServer) -> None:
    for key, value in {"t/a": "1", "t/b/c": "2", "t/b/d": b"\xff\x00", "tt": "x", "t/ü k&?": "3"}.items():
        any_consul.put(requests_path(key), value)
    any_consul.http.put("kv/t/folder/", data=b"")
    async with source(any_consul) as consul:
        assert await consul.read(KeyQuery("t/a")) == "1"
        assert await consul.read(KeyQuery("t/ü k&?")) == "3"
        assert (await consul.read(KeyQuery("t/b/d"))).encode("utf-8", "surrogateescape") == b"\xff\x00"
        assert await consul.read(KeyQuery("t/nothing")) is None
        pairs = {pair.key: pair.path for pair in await consul.read(TreeQuery.parse("t"))}
        assert pairs == {"a": "t/a", "b/c": "t/b/c", "b/d": "t/b/d", "ü k&?": "t/ü k&?"}
        assert await consul.read(TreeQuery.parse("nothing")) == ()


def requests_path(key: str) -> str:
    from urllib.parse import quote

    return quote(key)


async def test_connect_and_its_certificates(real_consul: ConsulServer) -> None:
    async with source(real_consul) as consul:
        (root,) = [root for root in await consul.read(CaRootsQuery()) if root.active]
        shown = subprocess.run(
            ["openssl", "x509", "-noout", "-subject"], input=root.root_cert_pem, text=True, check=True
        )
        assert shown.returncode == 0
        web = real_consul.name()
        real_consul.register(f"{web}-proxy", port=1, Kind="connect-proxy", Proxy={"DestinationServiceName": web})
        assert [i.name for i in await consul.read(ServiceQuery.parse(web, connect=True))] == [f"{web}-proxy"]


@pytest.mark.parametrize(
    ("before", "headers", "expected"),
    [
        (None, {"x-consul-index": "7"}, Index(7)),
        (Index(5), {"x-consul-index": "7"}, Index(7)),
        (Index(9), {"x-consul-index": "7"}, Index(0)),  # it went backwards: from scratch
        (None, {"x-consul-index": "0"}, Index(1)),  # 0 would not block
        (None, {"x-consul-index": "nonsense"}, Index(1)),
        (Index(1), {"x-consul-index": "7", "x-consul-lastcontact": "2001"}, Index(7, ask_leader=True)),
        (Index(1), {"x-consul-index": "7", "x-consul-lastcontact": "2000"}, Index(7)),
    ],
)
def test_what_the_index_says_about_the_next_query(before: Any, headers: dict[str, str], expected: Index) -> None:
    assert next_index(before, headers, max_stale=2.0) == expected


def test_an_answer_without_an_index_cannot_block() -> None:
    assert isinstance(next_index(None, {}, 2.0), CannotBlock)


async def test_a_refusal_says_what_to_do(tmp_path: Any) -> None:
    from tests.support.consul import running_real_consul

    acl = 'acl { enabled = true default_policy = "deny" tokens { master = "root" agent = "root" } }'
    with running_real_consul(tmp_path, hcl=acl, token="root") as server:
        async with source(server) as anonymous:
            with pytest.raises(SourceError, match="give a token that may read this"):
                await anonymous.read(KeyQuery("k"))
        server.put("k", "v")
        async with source(server, token="root") as allowed:
            assert await allowed.read(KeyQuery("k")) == "v"


def test_a_list_of_services_with_its_tags_in_another_order_is_the_very_same_value() -> None:
    query = ServicesQuery()
    first = query.decode(b'{"web": ["b", "a"], "api": []}')
    assert [(summary.name, summary.tags) for summary in first] == [("api", ()), ("web", ("a", "b"))]
    assert query.decode_after(b'{"api": [], "web": ["a", "b"]}', first) is first
    for body in (b'{"web": ["a", "b"]}', b'{"api": [], "web": ["a"]}', b'{"api": ["x"], "web": ["a", "b"]}'):
        other = query.decode_after(body, first)
        assert other == query.decode(body) != first
    assert query.decode_after(b'{"api": [], "web": ["c"]}', first)[0] is first[0]  # what has not changed is shared


TAGS = st.lists(st.sampled_from(["v1", "v2", "],", '],"', '":["', "\\", "ü", ""]), max_size=3, unique=True)
NAMES = st.sampled_from(["api", "web", 'a],"b', "],", 'x":["', "ü"])


# As a Consul agent writes it, and one in dev mode.
LAYOUTS: list[dict[str, Any]] = [{"separators": (",", ":")}, {"indent": 4}]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.dictionaries(NAMES, TAGS, max_size=4), st.randoms(use_true_random=False)), max_size=12),
    st.sampled_from(LAYOUTS),
)
def test_answers_that_say_the_same_in_another_order_are_known_by_their_bytes_and_no_others(
    answers: list[tuple[dict[str, list[str]], Any]], layout: dict[str, Any]
) -> None:
    query, before = ServicesQuery(), ServicesQuery().decode(b"{}")
    for services, chance in answers:
        shuffled = {name: chance.sample(tags, len(tags)) for name, tags in sorted(services.items())}
        body = json.dumps(shuffled, ensure_ascii=False, **layout).encode()
        for _ in range(2):
            now = query.decode_after(body, before)
            assert [(s.name, s.tags) for s in now] == [(name, tuple(sorted(tags))) for name, tags in shuffled.items()]
            assert (now == before) is (now is before)
            before = now


async def test_an_unchanged_list_is_known_by_its_bytes_as_consul_writes_them(any_consul: ConsulServer) -> None:
    for number in range(20):
        # The last by its name has one tag: its part carries the end of the body, and is known in one form alone.
        any_consul.register(f"web-{number:02}", Tags=["v1", "http"] if number < 19 else ["v1"])
    first, *others = (any_consul.http.get("catalog/services").content for _ in range(5))
    summaries = ServicesQuery().decode(first)
    assert isinstance(summaries, Summaries)
    assert all(summaries.says(parts_of(other)) for other in others)
    any_consul.register("web-07", Tags=["v1"])
    assert not summaries.says(parts_of(any_consul.http.get("catalog/services").content))
