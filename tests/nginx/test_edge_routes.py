"""Consul's services and their labels -> routes: who is reached where, whose labels count, and what is refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nginx.model import Instance, Model
from nginx.routes import Builder, Policy, build


def task(
    service: str, number: int = 1, *, app: str = "", healthy: bool = True, address: str = "10.0.0.1", **meta: str
) -> Instance:
    """An instance as the registrator registers it; `dromos_version` is the meta key `dromos-version`."""
    given = {key.replace("dromos_", "dromos-").replace("_index", "-index"): value for key, value in meta.items()}
    labels = {"dromos-app": app or f"/{service}", **given}
    return Instance(f"{service}-{number}", service, address, 31000 + number, meta=labels, healthy=healthy)


LABELS = (
    {"HAPROXY_0_VHOST": "a.test"},
    {"HAPROXY_0_VHOST": "a.test", "HAPROXY_0_BACKEND_WEIGHT": "3"},
    {"HAPROXY_0_VHOST": "a.test,b.test", "DROMOS_EDGE_BALANCE": "least_conn"},
    {"DROMOS_EDGE_CANARY_OF": "a", "DROMOS_EDGE_CANARY_WEIGHT": "60"},
    {"HAPROXY_0_VHOST": "b.test", "DROMOS_EDGE_STANDBY": "a"},
    {},
)


def model_of(*instances: Instance, policy: Policy | None = None, before: Model | None = None) -> Model:
    services: dict[str, list[Instance]] = {}
    for instance in instances:
        services.setdefault(instance.service, []).append(instance)
    return build(services, policy or Policy(), before)


def routes(model: Model) -> set[tuple[str, str, str]]:
    """(host or *, path, service)"""
    return {(host, route.path, route.service) for route in model.routes for host in route.hosts or ("*",)}


def refused(model: Model) -> set[tuple[str, str]]:
    return {(refusal.service, refusal.what) for refusal in model.refusals}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, {("*", "/web", "web")}),
        ({"HAPROXY_0_VHOST": "a.test"}, {("a.test", "/", "web")}),
        ({"HAPROXY_0_VHOST": "a.test,B.test"}, {("a.test", "/", "web"), ("b.test", "/", "web")}),
        ({"HAPROXY_0_VHOST": "a.test", "HAPROXY_0_PATH": "/shop"}, {("a.test", "/shop", "web")}),
        ({"HAPROXY_0_PATH": "/shop/"}, {("*", "/shop", "web")}),
        ({"HAPROXY_1_VHOST": "other.test"}, {("*", "/web", "web")}),
        ({"HAPROXY_0_VHOST": "a.test", "HAPROXY_0_ENABLED": "false"}, set()),
        ({"DROMOS_EDGE_HOSTS": "*.a.test"}, {("*.a.test", "/", "web")}),
        ({"DROMOS_EDGE_0_HOSTS": "a.test", "DROMOS_EDGE_HOSTS": "b.test"}, {("a.test", "/", "web")}),
        ({"DROMOS_EDGE_HOSTS": "own.test", "HAPROXY_0_VHOST": "other.test"}, {("own.test", "/", "web")}),
        ({"DROMOS_EDGE_PATH": "/a,/b"}, {("*", "/a", "web"), ("*", "/b", "web")}),
    ],
)
def test_labels_say_where_a_service_is_reached(labels: dict[str, str], expected: set[tuple[str, str, str]]) -> None:
    assert routes(model_of(task("web", **labels))) == expected


def test_an_app_without_labels_is_reached_by_its_id_and_sees_its_own_paths() -> None:
    (route,) = model_of(task("shop.web", app="/shop/web")).routes
    assert (route.path, route.options.rewrite) == ("/shop/web", "/")


def test_a_path_that_a_label_names_is_passed_on_as_it_is() -> None:
    (route,) = model_of(task("web", HAPROXY_0_PATH="/shop")).routes
    assert route.options.rewrite is None


def test_each_port_has_labels_of_its_own_and_a_further_port_is_not_exposed_unasked() -> None:
    labels = {"HAPROXY_0_VHOST": "web.test", "HAPROXY_1_VHOST": "admin.test"}
    model = model_of(
        task("web-0", app="/web", dromos_port_index="0", **labels),
        task("web-1", app="/web", dromos_port_index="1", **labels),
        task("web-2", app="/web", dromos_port_index="2", **labels),
    )
    assert routes(model) == {("web.test", "/", "web-0"), ("admin.test", "/", "web-1")}


def test_during_a_rolling_update_the_newest_healthy_version_speaks() -> None:
    old = task("web", 1, dromos_version="2026-01-01T00:00:00Z", HAPROXY_0_VHOST="old.test")
    new = task("web", 2, dromos_version="2026-02-01T00:00:00Z", HAPROXY_0_VHOST="new.test", healthy=False)
    assert routes(model_of(old, new)) == {("old.test", "/", "web")}
    new = task("web", 2, dromos_version="2026-02-01T00:00:00Z", HAPROXY_0_VHOST="new.test")
    model = model_of(old, new)
    assert routes(model) == {("new.test", "/", "web")}
    assert len(model.services["web"].endpoints) == 2


def test_a_service_without_a_healthy_instance_keeps_its_route() -> None:
    model = model_of(task("web", healthy=False, HAPROXY_0_VHOST="a.test"))
    assert routes(model) == {("a.test", "/", "web")}
    assert model.services["web"].endpoints == ()


def test_services_that_nobody_asked_to_route_stay_inside() -> None:
    postgres = Instance("pg", "postgres", "10.0.0.9", 5432)
    assert routes(build({"postgres": [postgres]}, Policy())) == set()
    assert routes(build({"postgres": [postgres]}, Policy(expose_all=True))) == {("*", "/postgres", "postgres")}
    labelled = Instance("pg", "postgres", "10.0.0.9", 5432, meta={"HAPROXY_0_VHOST": "db.test"})
    assert routes(build({"postgres": [labelled]}, Policy())) == {("db.test", "/", "postgres")}


def test_only_the_groups_of_this_edge_are_routed() -> None:
    inside, outside = task("a", HAPROXY_GROUP="internal"), task("b", HAPROXY_0_GROUP="external")
    assert routes(model_of(inside, outside, policy=Policy(groups=frozenset({"external"})))) == {("*", "/b", "b")}


def test_the_first_owner_keeps_a_host_and_the_other_is_reported() -> None:
    web = task("web", HAPROXY_0_VHOST="shop.test")
    model = model_of(web, task("aaa", HAPROXY_0_VHOST="shop.test"), before=model_of(web))
    assert routes(model) == {("shop.test", "/", "web")}
    assert ("aaa", "route") in refused(model)


def test_a_higher_priority_takes_a_host_over() -> None:
    web = task("web", HAPROXY_0_VHOST="shop.test")
    model = model_of(web, task("new", HAPROXY_0_VHOST="shop.test", HAPROXY_0_BACKEND_WEIGHT="5"), before=model_of(web))
    assert routes(model) == {("shop.test", "/", "new")}


@pytest.mark.parametrize(
    "labels",
    [
        {"DROMOS_EDGE_ALLOW": "10.0.0.0/33"},
        {"DROMOS_EDGE_DENY": "everyone"},
        {"DROMOS_EDGE_AUTH": "bob:plain-password"},
        {"HAPROXY_0_AUTH": "realm:bob"},
        {"DROMOS_EDGE_RATE": "many"},
        {"DROMOS_EDGE_CLIENT_CA": "missing.pem"},
        {"DROMOS_EDGE_ENABLED": "maybe"},
    ],
)
def test_a_label_that_limits_access_and_cannot_be_read_closes_the_route(labels: dict[str, str]) -> None:
    model = model_of(task("web", HAPROXY_0_VHOST="a.test", **labels))
    assert routes(model) == set()
    assert ("web", "route") in refused(model)


def test_clients_of_a_host_are_checked_against_one_authority_and_who_names_another_is_closed() -> None:
    policy = Policy(authorities=frozenset({"a.pem", "b.pem"}))
    one = task("one", HAPROXY_0_VHOST="a.test", DROMOS_EDGE_CLIENT_CA="a.pem")
    two = task("two", HAPROXY_0_VHOST="a.test", HAPROXY_0_PATH="/two", DROMOS_EDGE_CLIENT_CA="b.pem")
    elsewhere = task("elsewhere", HAPROXY_0_VHOST="b.test", DROMOS_EDGE_CLIENT_CA="b.pem")
    model = model_of(one, two, elsewhere, policy=policy)
    assert routes(model) == {("a.test", "/", "one"), ("b.test", "/", "elsewhere")}
    assert refused(model) == {("two", "CLIENT_CA")}
    had_it = model_of(one, two, policy=policy, before=model_of(two, policy=policy))
    assert routes(had_it) == {("a.test", "/two", "two")}
    whole_edge = replace(policy, one_authority=True)
    assert routes(model_of(one, two, elsewhere, policy=whole_edge)) == {
        ("a.test", "/two", "two"),
        ("b.test", "/", "elsewhere"),
    }


def test_tags_say_what_meta_does_not() -> None:
    tags = ("DROMOS_EDGE_HOSTS=tagged.test", "DROMOS_EDGE_PATH=/tag", "dromos-app=/other", "HAPROXY_0_VHOST", "v1.2=x")
    instance = Instance("web-1", "web", "10.0.0.1", 80, tags=tags, meta={"DROMOS_EDGE_PATH": "/meta"})
    assert routes(model_of(instance)) == {("tagged.test", "/meta", "web")}
    weighted = Instance("web-1", "web", "10.0.0.1", 80, tags=("DROMOS_EDGE_WEIGHT=7", "DROMOS_EDGE_PATH=/a"))
    assert model_of(weighted).services["web"].endpoints[0].weight == 7


def test_any_other_label_that_cannot_be_read_is_left_out_and_reported() -> None:
    model = model_of(task("web", DROMOS_EDGE_READ_TIMEOUT="soon", DROMOS_EDGE_COLOUR="red", HAPROXY_0_BACKEND_HEAD="x"))
    assert routes(model) == {("*", "/web", "web")}
    assert refused(model) == {("web", "READ_TIMEOUT"), ("web", "COLOUR"), ("web", "HAPROXY_0_BACKEND_HEAD")}


def test_a_password_is_never_reported() -> None:
    model = model_of(task("web", DROMOS_EDGE_AUTH="bob:hunter2"))
    assert "hunter2" not in repr(model)


def test_endpoints_without_a_usable_address_are_left_out_and_reported() -> None:
    model = model_of(task("web", 1), task("web", 2, address="host.internal"), task("web", 3, address="; evil"))
    assert [endpoint.address for endpoint in model.services["web"].endpoints] == ["10.0.0.1"]
    assert len(model.refusals) == 2
    policy = Policy(addresses={"host.internal": "10.0.0.7"})
    resolved = model_of(task("web", 1), task("web", 2, address="host.internal"), policy=policy)
    assert [endpoint.address for endpoint in resolved.services["web"].endpoints] == ["10.0.0.1", "10.0.0.7"]


def test_a_weight_is_its_own_instances_affair() -> None:
    model = model_of(task("web", 1, DROMOS_EDGE_WEIGHT="3"), task("web", 2))
    assert [(one.id, one.weight) for one in model.services["web"].endpoints] == [("web-1", 3), ("web-2", 1)]


def test_a_canary_has_no_route_but_a_share_of_anothers() -> None:
    model = model_of(task("web"), task("web-next", DROMOS_EDGE_CANARY_OF="web", DROMOS_EDGE_CANARY_WEIGHT="10"))
    assert routes(model) == {("*", "/web", "web")}
    ((name, canary),) = model.services["web"].canaries
    assert (name, canary.weight) == ("web-next", 10)


def test_canaries_cannot_ask_for_more_than_all() -> None:
    share = {"DROMOS_EDGE_CANARY_OF": "web", "DROMOS_EDGE_CANARY_WEIGHT": "60"}
    model = model_of(task("web"), task("one", **share), task("two", **share))
    assert [name for name, _ in model.services["web"].canaries] == ["one"]
    assert ("two", "CANARY_WEIGHT") in refused(model)


def test_blue_and_green_of_a_deployment_group_are_one_service() -> None:
    labels = {"HAPROXY_0_VHOST": "a.test", "HAPROXY_DEPLOYMENT_GROUP": "web"}
    model = model_of(task("web-blue", dromos_version="1", **labels), task("web-green", 2, dromos_version="2", **labels))
    assert routes(model) == {("a.test", "/", "web-green")}
    assert len(model.services["web-green"].endpoints) == 2


def test_tcp_needs_a_port_that_the_operator_allows() -> None:
    model = model_of(
        task("db", HAPROXY_0_MODE="tcp", HAPROXY_0_PORT="10101"),
        task("ssh", DROMOS_EDGE_PROTOCOL="tcp", DROMOS_EDGE_PORT="22"),
        task("dns", DROMOS_EDGE_PROTOCOL="udp", DROMOS_EDGE_PORT="10101"),
    )
    assert {(one.protocol, one.port, one.service) for one in model.streams} == {
        ("tcp", 10101, "db"),
        ("udp", 10101, "dns"),
    }
    assert routes(model) == set()
    assert ("ssh", "PORT") in refused(model)


def test_what_stands_in_for_a_wish_is_told_and_the_route_is_there() -> None:
    policy = Policy(stand_ins={"BALANCE=ewma": "the fewest connections"})
    model = build({"web": [task("web", DROMOS_EDGE_BALANCE="ewma")], "api": [task("api")]}, policy)
    assert routes(model) == {("*", "/web", "web"), ("*", "/api", "api")}
    assert [(one.service, one.what, one.why) for one in model.refusals] == [
        ("web", "BALANCE", "has a stand-in: the fewest connections")
    ]


def test_a_stream_has_no_mirror() -> None:
    calls = {"DROMOS_EDGE_PROTOCOL": "grpc", "DROMOS_EDGE_MIRROR": "web"}
    model = model_of(task("web"), task("calls", **calls))
    assert ("calls", "MIRROR") in refused(model)
    assert {route.options.mirror for route in model.routes} == {""}


def test_a_port_that_is_taken_closes_its_own_route_alone() -> None:
    labels = {"HAPROXY_0_MODE": "tcp"}
    services = {"a": [task("a", HAPROXY_0_PORT="10101", **labels)], "b": [task("b", HAPROXY_0_PORT="10102", **labels)]}
    model = build(services, Policy(taken={("tcp", 10101): "is held by another program"}))
    assert [(one.port, one.service) for one in model.streams] == [(10102, "b")]
    assert ("a", "PORT") in refused(model)


def test_names_that_nobody_else_understands_are_refused() -> None:
    hostile = Instance("x", "a; }", "10.0.0.1", 80, meta={"dromos-app": "/a"})
    model = build({"a; }": [hostile], "ok": [task("ok")]}, Policy())
    assert routes(model) == {("*", "/ok", "ok")}
    assert [(one.what, "name" in one.why) for one in model.refusals] == [("name", True)]


def test_the_service_of_consul_itself_is_not_routed() -> None:
    assert build({"consul": [Instance("consul", "consul", "10.0.0.1", 8300)]}, Policy()).routes == ()


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.sampled_from(LABELS), st.booleans()), max_size=12)
)
def test_a_builder_that_remembers_builds_what_one_without_memory_does(
    steps: list[tuple[str, int, dict[str, str], bool]],
) -> None:
    builder, remembered = Builder(), Model()
    services: dict[str, tuple[Instance, ...]] = {}
    for name, count, labels, healthy in steps:
        services = {**services, name: tuple(task(name, number, healthy=healthy, **labels) for number in range(count))}
        expected = build(services, Policy(), remembered)
        remembered = builder.build(services, Policy(), remembered)
        assert remembered == expected
