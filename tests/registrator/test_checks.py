"""The checks of a service: what it asks for, what its app declares, and the connect that notices death."""

from dataclasses import replace
from typing import Any

import pytest

from registrator.checks import CheckPolicy, checks_of, fingerprint, parse_duration
from registrator.model import Check, Health, HealthCheck, Instance, Port

PORT = Port(0, host_port=31000, host_address="10.0.0.1", own_port=80, own_address="172.17.0.2")
ADMIN = replace(PORT, index=1, host_port=31001, own_port=81)
WEB = Instance(key="t", kind="task", app="/web", ports=(PORT, ADMIN), health=Health.HEALTHY)
HTTP = HealthCheck("http", path="/health", port_index=0, interval=5, timeout=3, failures=3)
AT = ("10.0.0.1", 31000)


def checks(
    instance: Instance, said: dict[str, str] | None = None, at: tuple[str, int] = AT, port: Port = PORT
) -> list[Check]:
    return list(checks_of(instance, port, at, "id", said or {}, CheckPolicy()))


def definitions(*args: Any, **kwargs: Any) -> dict[str, dict[str, object]]:
    return {check.id: dict(check.definition) for check in checks(*args, **kwargs)}


TCP = {"TCP": "10.0.0.1:31000", "Interval": "1s", "Timeout": "5s"}


def test_an_app_without_health_checks_is_connected_to() -> None:
    assert definitions(WEB) == {"service:id:tcp": TCP}


def test_declared_checks_become_consul_s_own_beside_the_connect() -> None:
    assert definitions(replace(WEB, checks=(HTTP,))) == {
        "service:id:0": {
            "HTTP": "http://10.0.0.1:31000/health",
            "Interval": "5s",
            "Timeout": "3s",
            "FailuresBeforeCritical": 2,
        },
        "service:id:tcp": TCP,
    }


def test_the_second_port_s_service_is_checked_where_the_app_says() -> None:
    found = definitions(replace(WEB, checks=(HTTP,)), at=("10.0.0.1", 31001), port=ADMIN)
    assert found["service:id:0"]["HTTP"] == "http://10.0.0.1:31000/health"
    assert found["service:id:tcp"]["TCP"] == "10.0.0.1:31001"


@pytest.mark.parametrize(
    ("check", "at", "target"),
    [
        (replace(HTTP, port_index=1), AT, "http://10.0.0.1:31001/health"),
        (replace(HTTP, port_index=None), AT, "http://10.0.0.1:31000/health"),
        (replace(HTTP, port=31001), AT, "http://10.0.0.1:31001/health"),
        (replace(HTTP, port=81), AT, "http://10.0.0.1:31001/health"),
        (replace(HTTP, port=81), ("172.17.0.2", 80), "http://172.17.0.2:81/health"),
        (replace(HTTP, kind="https"), AT, "https://10.0.0.1:31000/health"),
        (replace(HTTP, path="health?a=b c"), AT, "http://10.0.0.1:31000/health?a=b%20c"),
        (replace(HTTP, path="/a\r\nHost: evil"), AT, "http://10.0.0.1:31000/a%0D%0AHost:%20evil"),
        (HTTP, ("fd00::1", 31000), "http://[fd00::1]:31000/health"),
        # A port that only exists inside the container's network, and one that the app does not have.
        (replace(HTTP, port=9999), AT, None),
        (replace(HTTP, port_index=7), AT, None),
        (replace(HTTP, kind="command"), AT, None),
    ],
)
def test_where_a_declared_check_goes(check: HealthCheck, at: tuple[str, int], target: str | None) -> None:
    assert definitions(replace(WEB, checks=(check,)), at=at).get("service:id:0", {}).get("HTTP") == target


@pytest.mark.parametrize(
    ("said", "definition"),
    [
        ({"check_http": "/h"}, {"HTTP": "http://10.0.0.1:31000/h", "Method": "GET", "Interval": "10s"}),
        (
            {"check_https": "h", "check_http_method": "HEAD"},
            {"HTTP": "https://10.0.0.1:31000/h", "Method": "HEAD", "Interval": "10s"},
        ),
        ({"check_tcp": "true", "check_interval": "3s"}, {"TCP": "10.0.0.1:31000", "Interval": "3s"}),
        (
            {"check_grpc": "true", "check_timeout": "1s"},
            {"GRPC": "10.0.0.1:31000", "GRPCUseTLS": False, "Interval": "10s", "Timeout": "1s"},
        ),
        (
            {"check_https": "/h", "check_tls_skip_verify": "true"},
            {"HTTP": "https://10.0.0.1:31000/h", "Method": "GET", "TLSSkipVerify": True, "Interval": "10s"},
        ),
        (
            {"check_grpc": "1", "check_grpc_use_tls": "1", "check_tls_skip_verify": "1"},
            {"GRPC": "10.0.0.1:31000", "GRPCUseTLS": True, "TLSSkipVerify": True, "Interval": "10s"},
        ),
        ({"check_cmd": "/check.sh"}, {"Args": ["check-cmd", "t", "31000", "/check.sh"], "Interval": "10s"}),
        (
            {"check_grpc": "1", "check_grpc_use_tls": "true"},
            {"GRPC": "10.0.0.1:31000", "GRPCUseTLS": True, "Interval": "10s"},
        ),
        (
            {"check_script": "ping $SERVICE_IP $SERVICE_PORT"},
            {"Args": ["sh", "-c", "ping 10.0.0.1 31000"], "Interval": "10s"},
        ),
        ({"check_ttl": "30s"}, {"TTL": "30s"}),
        ({"check_tcp": "true", "check_interval": "often"}, {"TCP": "10.0.0.1:31000", "Interval": "10s"}),
        (
            {"check_tcp": "true", "check_deregister_after": "10m"},
            {"TCP": "10.0.0.1:31000", "Interval": "10s", "DeregisterCriticalServiceAfter": "10m"},
        ),
    ],
)
def test_a_check_that_is_asked_for_takes_the_place_of_all_others(
    said: dict[str, str], definition: dict[str, Any]
) -> None:
    assert definitions(replace(WEB, checks=(HTTP,)), said) == {"service:id:asked": definition}


@pytest.mark.parametrize(
    ("health", "said", "status"),
    [
        (Health.HEALTHY, {}, "passing"),
        (Health.UNCHECKED, {}, "critical"),
        (Health.UNCHECKED, {"check_tcp": "1"}, "critical"),
        (Health.UNCHECKED, {"check_tcp": "1", "check_initial_status": "passing"}, "passing"),
        (Health.UNCHECKED, {"check_tcp": "1", "check_initial_status": "fine"}, "critical"),
        (Health.UNCHECKED, {"check_ttl": "30s"}, "passing"),
        (Health.UNHEALTHY, {"check_ttl": "30s"}, "critical"),
    ],
)
def test_an_instance_is_in_rotation_at_once_only_where_somebody_has_found_it_healthy(
    health: Health, said: dict[str, str], status: str
) -> None:
    assert {check.status for check in checks(replace(WEB, health=health), said)} == {status}


def test_a_container_s_healthcheck_is_a_ttl_check_with_a_heartbeat() -> None:
    docker, tcp = checks(replace(WEB, kind="container", health=Health.UNHEALTHY))
    assert (docker.id, docker.definition["TTL"], docker.heartbeat, docker.status) == (
        "service:id:docker", "3600s", 1200.0, "critical",
    )  # fmt: skip
    assert tcp.heartbeat is None


@pytest.mark.parametrize(
    ("health", "status", "heartbeat"),
    [
        (Health.HEALTHY, "passing", 1200.0),
        (Health.UNCHECKED, "passing", 1200.0),
        (Health.UNHEALTHY, "critical", 1200.0),
        (Health.UNKNOWN, "passing", None),  # a framework that has just restarted takes no traffic away
    ],
)
def test_a_task_s_command_check_is_a_ttl_check_with_a_heartbeat(
    health: Health, status: str, heartbeat: float | None
) -> None:
    task = replace(WEB, health=health, checks=(HealthCheck("command"),))
    told, tcp = checks(task)
    assert (told.id, told.definition["TTL"], told.status, told.heartbeat) == (
        "service:id:task", "3600s", status, heartbeat,
    )  # fmt: skip
    assert tcp.id == "service:id:tcp"
    for mode in ("tcp", "none"):
        assert "service:id:task" not in {c.id for c in checks(replace(task, labels={"DROMOS_CONSUL_CHECK": mode}))}


@pytest.mark.parametrize(("ttl", "refresh", "heartbeat"), [(60, 0, 20), (60, 30, 30), (60, 59, 59), (10, 30, 10 / 3)])
def test_heartbeats_come_as_often_as_asked_and_always_within_the_ttl(
    ttl: float, refresh: float, heartbeat: float
) -> None:
    assert CheckPolicy(ttl_refresh=refresh).heartbeat(ttl) == heartbeat
    (check,) = checks_of(WEB, PORT, AT, "id", {"check_ttl": f"{ttl}s"}, CheckPolicy(ttl_refresh=refresh))
    assert check.heartbeat == heartbeat


@pytest.mark.parametrize(("mode", "ids"), [("auto", {"0", "tcp"}), ("tcp", {"tcp"}), ("none", set())])
def test_an_app_may_choose_fewer_checks(mode: str, ids: set[str]) -> None:
    labelled = replace(WEB, checks=(HTTP,), labels={"DROMOS_CONSUL_CHECK": mode})
    assert {check.id.rpartition(":")[2] for check in checks(labelled)} == ids


def test_udp_ports_are_not_connected_to() -> None:
    assert checks(WEB, port=replace(PORT, protocol="udp")) == []


def test_a_declared_tcp_check_that_is_as_fast_makes_the_connect_needless() -> None:
    fast = HealthCheck("tcp", port_index=0, interval=1, failures=1)
    assert set(definitions(replace(WEB, checks=(fast,)))) == {"service:id:0"}
    assert set(definitions(replace(WEB, checks=(replace(fast, interval=60),)))) == {"service:id:0", "service:id:tcp"}


def test_the_fingerprint_changes_with_a_definition_and_not_with_a_status() -> None:
    before = checks(replace(WEB, checks=(HTTP,)))
    assert fingerprint(before) == fingerprint(checks(replace(WEB, checks=(HTTP,), health=Health.UNCHECKED)))
    assert fingerprint(before) != fingerprint(checks(replace(WEB, checks=(replace(HTTP, interval=6),))))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10.0),
        ("1m30s", 90.0),
        ("250ms", 0.25),
        ("1.5h", 5400.0),
        ("", None),
        ("10", None),
        ("-1s", None),
        ("s", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds
