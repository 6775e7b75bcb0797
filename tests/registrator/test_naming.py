"""From an instance to its services: names, ids, addresses, tags and meta, and what hostile values come to."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrator.checks import CheckPolicy
from registrator.model import Instance, Port, Service
from registrator.naming import Naming, key_of, services_of

TASK = "shop_web.instance-1._app.1"
PORT = Port(0, host_port=31000, host_address="10.0.0.1", own_port=80, own_address="172.17.0.2")
WEB = Instance(key=TASK, kind="task", app="/shop/web", ports=(PORT,))
PLAIN = Naming(checks=CheckPolicy(tcp_interval=0))


def named(instance: Instance, **naming: Any) -> list[Service]:
    return list(services_of(instance, replace(PLAIN, **naming)).services)


def names(instance: Instance, **naming: Any) -> list[str]:
    return [service.name for service in named(instance, **naming)]


def ports(*more: dict[str, Any]) -> tuple[Port, ...]:
    return tuple(
        replace(PORT, index=i, host_port=31000 + i, own_port=80 + i, **fields) for i, fields in enumerate(more)
    )


@pytest.mark.parametrize(
    ("labels", "env", "name"),
    [
        ({}, {}, "shop.web"),
        ({"consul": ""}, {}, "shop.web"),
        ({"consul": "true"}, {}, "shop.web"),
        ({"consul": "buy"}, {}, "buy"),
        ({}, {"SERVICE_NAME": "buy"}, "buy"),
        ({"SERVICE_NAME": "sell"}, {"SERVICE_NAME": "buy"}, "sell"),
        ({"SERVICE_80_NAME": "own"}, {}, "own"),
        ({"SERVICE_31000_NAME": "own"}, {}, "own"),
        ({"consul": "marathon", "SERVICE_NAME": "registrator"}, {}, "registrator"),
    ],
)
def test_names(labels: dict[str, str], env: dict[str, str], name: str) -> None:
    assert names(replace(WEB, labels=labels, env=env)) == [name]


@pytest.mark.parametrize(
    ("of_ports", "expected"),
    [
        (({}, {}), ["shop.web-0", "shop.web-1"]),
        (({"name": "http"}, {"name": "admin"}), ["shop.web-http", "shop.web-admin"]),
        (({"name": "http"}, {"name": "not a name;"}), ["shop.web-http", "shop.web-1"]),
        (({"labels": {"consul": "front"}}, {}), ["front"]),
        (({"labels": {"consul": ""}}, {"labels": {"consul": "back"}}), ["shop.web-0", "back"]),
        (({}, {"labels": {"SERVICE_NAME": "x"}}), ["shop.web-0", "x-1"]),
    ],
)
def test_names_of_several_ports(of_ports: tuple[dict[str, Any], ...], expected: list[str]) -> None:
    assert names(replace(WEB, ports=ports(*of_ports))) == expected


def test_one_port_under_two_protocols_is_one_port_of_two_services() -> None:
    both = (PORT, replace(PORT, protocol="udp"))
    tcp, udp = named(replace(WEB, ports=both))
    assert (tcp.name, udp.name) == ("shop.web", "shop.web")
    assert (tcp.id, udp.id) == (f"{TASK}_shop.web_31000", f"{TASK}_shop.web_31000:udp")
    assert (tcp.tags, udp.tags) == ((), ("udp",))


def test_containers_are_named_and_identified_as_registrator_does() -> None:
    container = Instance(key="abc", kind="container", app="nginx", host="box", container="front", ports=ports({}, {}))
    assert [(s.name, s.id) for s in named(container)] == [("nginx-80", "box:front:80"), ("nginx-81", "box:front:81")]
    single = replace(container, ports=(PORT,), env={"SERVICE_ID": "mine"})
    assert [(s.name, s.id) for s in named(single)] == [("nginx", "mine")]
    assert dict(named(single)[0].meta) == {
        "dromos-owner": "dromos",
        "dromos-container": "abc",
        "dromos-port-index": "0",
    }


def test_explicit_registers_only_what_asks() -> None:
    assert names(WEB, explicit=True) == []
    assert names(replace(WEB, labels={"consul": ""}), explicit=True) == ["shop.web"]
    assert names(replace(WEB, env={"SERVICE_NAME": "x"}), explicit=True) == ["x"]


@pytest.mark.parametrize("labels", [{"consul": "false"}, {"SERVICE_IGNORE": "1"}, {"SERVICE_80_IGNORE": "x"}])
def test_what_asks_to_be_ignored_is(labels: dict[str, str]) -> None:
    assert names(replace(WEB, labels=labels)) == []


BRIDGED = PORT
UNPUBLISHED = replace(PORT, host_port=None)
OVERLAY = replace(UNPUBLISHED, own_address="10.0.9.3", own_reachable=True)
MACVLAN_6 = replace(OVERLAY, own_address="fd00::7")


@pytest.mark.parametrize(
    ("port", "naming", "address"),
    [
        (BRIDGED, {}, ("10.0.0.1", 31000)),
        (BRIDGED, {"internal": True}, ("172.17.0.2", 80)),
        (BRIDGED, {"ip": "192.0.2.1"}, ("192.0.2.1", 31000)),
        (UNPUBLISHED, {}, None),
        (UNPUBLISHED, {"internal": True}, ("172.17.0.2", 80)),
        (OVERLAY, {}, ("10.0.9.3", 80)),
        (OVERLAY, {"ip": "192.0.2.1"}, ("10.0.9.3", 80)),
        (MACVLAN_6, {}, ("fd00::7", 80)),
        (replace(BRIDGED, own_address=""), {"internal": True}, ("10.0.0.1", 31000)),
        (replace(BRIDGED, host_address=""), {}, None),
        (replace(BRIDGED, host_address="evil.example; }"), {}, None),
        (replace(BRIDGED, host_address="0.0.0.0"), {}, None),
    ],
)
def test_the_address_is_where_clients_reach_it(
    port: Port, naming: dict[str, Any], address: tuple[str, int] | None
) -> None:
    found = [(service.address, service.port) for service in named(replace(WEB, ports=(port,)), **naming)]
    assert found == ([address] if address else [])


def test_an_address_that_is_not_known_yet_is_not_taken_for_a_port_that_is_gone() -> None:
    assert services_of(replace(WEB, ports=(replace(PORT, host_address=""),)), PLAIN).unsure
    assert services_of(replace(WEB, ports=(replace(OVERLAY, own_address=""),)), PLAIN).unsure
    assert not services_of(replace(WEB, ports=(UNPUBLISHED,)), PLAIN).unsure
    assert not services_of(WEB, PLAIN).unsure


def test_tags_come_from_labels_variables_and_settings() -> None:
    labels = {"blue": "tag", "green": "tag:shop.web", "red": "tag:other", "SERVICE_TAGS": "b,a"}
    assert named(replace(WEB, labels=labels), tags=("all",))[0].tags == ("a", "all", "b", "blue", "green")


def test_meta_says_whose_it_is_and_carries_what_the_edge_needs() -> None:
    labels = {"HAPROXY_0_VHOST": "a.example", "DROMOS_EDGE_RATE": "5", "other": "x", "SERVICE_REGION": "eu"}
    meta = dict(named(replace(WEB, labels=labels, version="v7"))[0].meta)
    assert meta == {
        "dromos-owner": "dromos",
        "dromos-app": "/shop/web",
        "dromos-task": TASK,
        "dromos-port-index": "0",
        "dromos-version": "v7",
        "HAPROXY_0_VHOST": "a.example",
        "DROMOS_EDGE_RATE": "5",
        "region": "eu",
    }


def test_no_label_can_take_the_place_of_our_own_meta() -> None:
    forged = {"SERVICE_DROMOS-OWNER": "thief", "SERVICE_DROMOS-TASK": "other", "dromos-owner": "thief"}
    meta = named(replace(WEB, labels=forged))[0].meta
    assert (meta["dromos-owner"], key_of(meta)) == ("dromos", TASK)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"HAPROXY_0_BACKEND": "x" * 513}, "meta 'HAPROXY_0_BACKEND'"),
        ({"HAPROXY_0_VHOST": "a\nserver evil"}, "meta 'HAPROXY_0_VHOST'"),
        ({"HAPROXY_{": "x"}, "meta 'HAPROXY_{'"),
        ({"a\nb": "tag"}, "tag 'a\\nb'"),
        ({"SERVICE_NAME": "web; evil"}, "cannot be a service name"),
        ({"consul": "../etc"}, "cannot be a service name"),
        ({f"HAPROXY_{i}_VHOST": "x" for i in range(70)}, "Consul holds at most 64"),
    ],
)
def test_what_consul_or_a_proxy_would_choke_on_is_left_out_and_reported(labels: dict[str, str], said: str) -> None:
    found = services_of(replace(WEB, labels=labels), PLAIN)
    assert any(said in line for line in found.refused)


TEXT = st.text(max_size=20) | st.sampled_from(["tag", "true", "80", "/x", "a\nb", "web", "", "10s", "tag:web"])
LABELS = st.dictionaries(
    st.sampled_from(["consul", "SERVICE_NAME", "SERVICE_TAGS", "SERVICE_80_NAME", "SERVICE_ID", "HAPROXY_0_VHOST", "x"])
    | TEXT,
    TEXT,
    max_size=6,
)
PORTS = st.lists(
    st.builds(
        Port,
        index=st.integers(0, 3),
        protocol=st.sampled_from(["tcp", "udp"]),
        name=TEXT,
        labels=LABELS,
        host_port=st.none() | st.integers(1, 65535),
        host_address=st.sampled_from(["", "10.0.0.1", "fd00::1", "x y"]),
        own_port=st.none() | st.integers(1, 65535),
        own_address=st.sampled_from(["", "172.17.0.2", "0.0.0.0", "\n"]),
        own_reachable=st.booleans(),
    ),
    max_size=4,
).map(tuple)
INSTANCES = st.builds(
    Instance,
    key=st.text(min_size=1, max_size=20),
    kind=st.sampled_from(["task", "container"]),
    app=TEXT,
    ports=PORTS,
    labels=LABELS,
    env=LABELS,
    host=st.just("box"),
    container=TEXT,
)


@given(INSTANCES, st.booleans(), st.booleans())
def test_whatever_comes_in_only_what_consul_can_hold_comes_out(
    instance: Instance, internal: bool, explicit: bool
) -> None:
    found = services_of(instance, replace(PLAIN, internal=internal, explicit=explicit))
    assert len({service.id for service in found.services}) == len(found.services)
    for service in found.services:
        texts = [service.id, service.name, service.address, *service.tags, *service.meta.values()]
        assert not any(ord(character) < 32 or ord(character) == 127 for text in texts for character in text)
        assert 0 < service.port < 65536
        assert len(service.meta) <= 64
        assert all(len(value.encode()) <= 512 for value in service.meta.values())
        assert all(key.replace("-", "").replace("_", "").isalnum() and key.isascii() for key in service.meta)
        assert service.meta["dromos-owner"] == "dromos"
        assert key_of(service.meta) == instance.key
    assert services_of(instance, replace(PLAIN, internal=internal, explicit=explicit)) == found
