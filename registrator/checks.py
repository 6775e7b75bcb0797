"""PURE: the health checks of a service, in Consul's words.

Consul's own checks come first, because they go on working while the registrator and the framework are away: what the app asks for
by SERVICE_CHECK_*, else its declared HTTP and TCP health checks, and beside those a plain TCP connect, so that a process that has
died leaves the rotation within a second. A TTL check, which needs a heartbeat, is left for what Consul cannot ask itself: Docker's
HEALTHCHECK, and commands that Mesos runs inside a task.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

import orjson

from registrator.conventions import is_true
from registrator.model import Check, Health, HealthCheck, Instance, Port

Status = Literal["passing", "warning", "critical"]
MODE_LABEL = "DROMOS_CONSUL_CHECK"  # `auto` (default), `tcp` or `none`
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_STATUSES: Mapping[str, Status] = {"passing": "passing", "warning": "warning", "critical": "critical"}


@dataclass(frozen=True, slots=True)
class CheckPolicy:
    """Seconds. `tcp_interval` 0 leaves the plain TCP connect out. `ttl` is that of a check for Docker's HEALTHCHECK.
    `ttl_refresh` is the time between heartbeats; 0, or one that is too long for a TTL: a third of it."""

    tcp_interval: float = 1.0
    tcp_timeout: float = 5.0
    ttl: float = 3600.0
    ttl_refresh: float = 0.0
    default_interval: str = "10s"

    def heartbeat(self, ttl: float) -> float:
        """Seconds from one to the next."""
        return self.ttl_refresh if 0 < self.ttl_refresh < ttl else ttl / 3


def checks_of(
    instance: Instance,
    port: Port,
    address: tuple[str, int],
    service_id: str,
    said: Mapping[str, str],
    policy: CheckPolicy,
) -> Iterator[Check]:
    """`said` is what SERVICE_* says of this port. The ids are made from the service's, so that each is found again."""
    mode = instance.labels.get(MODE_LABEL, "auto").strip().lower()
    healthy: Status = "passing" if instance.health is Health.HEALTHY else "critical"
    if asked := _asked(address, instance, service_id, said, policy):
        yield asked
        return
    if mode == "none":
        return
    if instance.kind == "container" and instance.health is not Health.UNCHECKED:
        definition: dict[str, object] = {
            "TTL": _seconds(policy.ttl),
            "Notes": "Docker's HEALTHCHECK, by the registrator's heartbeat",
        }
        yield Check(
            f"service:{service_id}:docker",
            "Docker HEALTHCHECK",
            definition,
            healthy,
            heartbeat=policy.heartbeat(policy.ttl),
        )
    if mode == "auto" and instance.kind == "task" and any(check.kind == "command" for check in instance.checks):
        yield _told(instance, service_id, policy)
    covered = False
    if mode != "tcp":
        for number, check in enumerate(instance.checks):
            target = _target(check, instance, port, address)
            if target and (declared := _declared(check, target)):
                covered |= check.kind == "tcp" and target == address and check.interval <= policy.tcp_interval
                yield Check(f"service:{service_id}:{number}", f"{check.kind} health check", declared, healthy)
    if port.protocol == "tcp" and policy.tcp_interval > 0 and not covered:
        definition = {
            "TCP": _endpoint(address),
            "Interval": _seconds(policy.tcp_interval),
            "Timeout": _seconds(policy.tcp_timeout),
        }
        yield Check(f"service:{service_id}:tcp", "accepts connections", definition, healthy)


def fingerprint(checks: Iterable[Check]) -> str:
    """Twelve hex digits that change when a check does: Consul does not tell a check's definition."""
    text = orjson.dumps([[check.id, dict(check.definition)] for check in checks], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:12]


def parse_duration(text: str) -> float | None:
    """Consul's durations, `10s`, `1m30s` -> seconds; None for what is none."""
    if not _DURATION.fullmatch(text):
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


def _told(instance: Instance, service_id: str, policy: CheckPolicy) -> Check:
    """Of a command in the task, of which Mesos tells the result. While that is not known, it stays what it was."""
    definition: dict[str, object] = {
        "TTL": _seconds(policy.ttl),
        "Notes": "the task's command health check, by the registrator's heartbeat",
    }
    status: Status = "critical" if instance.health is Health.UNHEALTHY else "passing"
    heartbeat = None if instance.health is Health.UNKNOWN else policy.heartbeat(policy.ttl)
    return Check(f"service:{service_id}:task", "command health check", definition, status, heartbeat=heartbeat)


def _asked(
    address: tuple[str, int], instance: Instance, service_id: str, said: Mapping[str, str], policy: CheckPolicy
) -> Check | None:
    """What SERVICE_CHECK_* asks for, in registrator's order: http, https, cmd and script, ttl, tcp, grpc."""
    definition: dict[str, object]
    heartbeat: float | None = None
    if (path := said.get("check_http")) or (path := said.get("check_https")):
        scheme = "http" if said.get("check_http") else "https"
        definition = {
            "HTTP": f"{scheme}://{_endpoint(address)}{_path(path)}",
            "Method": said.get("check_http_method", "GET"),
        }
        if scheme == "https" and is_true(said.get("check_tls_skip_verify", "")):
            definition["TLSSkipVerify"] = True
    elif script := said.get("check_script"):
        for name, value in (("$SERVICE_IP", address[0]), ("$SERVICE_PORT", str(address[1]))):
            script = script.replace(name, value)
        definition = {"Args": ["sh", "-c", script]}
    elif command := said.get("check_cmd"):
        definition = {"Args": ["check-cmd", instance.key[:12], str(address[1]), command]}
    elif ttl := said.get("check_ttl"):
        seconds = parse_duration(ttl) or policy.ttl
        definition, heartbeat = {"TTL": _seconds(seconds)}, policy.heartbeat(seconds)
    elif is_true(said.get("check_tcp", "")):
        definition = {"TCP": _endpoint(address)}
    elif said.get("check_grpc"):
        definition = {"GRPC": _endpoint(address), "GRPCUseTLS": is_true(said.get("check_grpc_use_tls", ""))}
        if definition["GRPCUseTLS"] and is_true(said.get("check_tls_skip_verify", "")):
            definition["TLSSkipVerify"] = True
    else:
        return None
    if heartbeat is None:
        interval = said.get("check_interval", "")
        definition["Interval"] = interval if parse_duration(interval) else policy.default_interval
        if parse_duration(timeout := said.get("check_timeout", "")):
            definition["Timeout"] = timeout
    if parse_duration(after := said.get("check_deregister_after", "")):
        definition["DeregisterCriticalServiceAfter"] = after
    runs: Status = "passing" if heartbeat or instance.health is Health.HEALTHY else "critical"
    if heartbeat and instance.health in (Health.UNKNOWN, Health.UNHEALTHY):
        runs = "critical"
    status = _STATUSES.get(said.get("check_initial_status", ""), runs) if heartbeat is None else runs
    return Check(f"service:{service_id}:asked", "as SERVICE_CHECK_* asks", definition, status, heartbeat)


def _target(check: HealthCheck, instance: Instance, port: Port, address: tuple[str, int]) -> tuple[str, int] | None:
    """Where Consul can make the check; None where it cannot, as for a port that only exists inside the container."""
    if check.port is not None:
        for other in instance.ports:
            if check.port in (other.host_port, other.own_port):
                return _beside(other, port, address)
        on_host_network = port.host_port is not None and port.host_port == port.own_port
        return (address[0], check.port) if on_host_network else None
    wanted = check.port_index or 0
    return next((_beside(other, port, address) for other in instance.ports if other.index == wanted), None)


def _beside(other: Port, port: Port, address: tuple[str, int]) -> tuple[str, int] | None:
    """Another port of the same instance, addressed the way `port` is at `address`."""
    number = other.host_port if address[1] == port.host_port else other.own_port
    return (address[0], number) if number else None


def _declared(check: HealthCheck, target: tuple[str, int]) -> dict[str, object] | None:
    common: dict[str, object] = {
        "Interval": _seconds(max(1.0, check.interval)),
        "Timeout": _seconds(check.timeout),
        "FailuresBeforeCritical": max(0, check.failures - 1),
    }
    match check.kind:
        case "http":
            return {"HTTP": f"http://{_endpoint(target)}{_path(check.path)}", **common}
        case "https":
            return {"HTTP": f"https://{_endpoint(target)}{_path(check.path)}", "TLSSkipVerify": True, **common}
        case "tcp":
            return {"TCP": _endpoint(target), **common}
        case "grpc":
            return {"GRPC": _endpoint(target), **common}
        case "command":
            return None


def _endpoint(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _path(path: str) -> str:
    return quote("/" + path.removeprefix("/"), safe="/?&=%:@!$'()*+,;~[]-._")


def _seconds(value: float) -> str:
    return f"{round(value * 1000)}ms" if value < 1 else f"{value:g}s"
