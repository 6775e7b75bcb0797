"""PURE: apps and tasks of Marathon's REST API as Instances. Shapes as Marathon 1.11 gives them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from registrator.model import Health, HealthCheck, Instance, Phase, Port

Json = dict[str, Any]

_PHASES = {
    "TASK_RUNNING": Phase.RUNNING,
    "TASK_KILLING": Phase.RUNNING,
    "TASK_STAGING": Phase.STARTING,
    "TASK_STARTING": Phase.STARTING,
    "TASK_CREATED": Phase.STARTING,
    "TASK_UNREACHABLE": Phase.UNREACHABLE,
}
_KINDS = {
    "HTTP": "http",
    "HTTPS": "https",
    "TCP": "tcp",
    "COMMAND": "command",
    "MESOS_HTTP": "http",
    "MESOS_HTTPS": "https",
    "MESOS_TCP": "tcp",
}


def is_of_this_version(app: Json, task: Json) -> bool:
    """Whether the app definition at hand is the one that the task was started with (scaling makes a new version, but no new tasks).

    Versions are ISO 8601 in UTC, so text order is time order.
    """
    started_with = str(task.get("version", ""))
    changed = str((app.get("versionInfo") or {}).get("lastConfigChangeAt") or app.get("version", ""))
    return not started_with or started_with >= changed


def readable_instance(app: Json, task: Json, address: str) -> Instance | None:
    """As `instance_of`; a task that cannot be read is one without ports, so that it neither comes nor goes because of that."""
    try:
        return instance_of(app, task, address)
    except (KeyError, TypeError, AttributeError, ValueError):
        return Instance(key=str(task["id"]), kind="task", app=str(task.get("appId", "")))


def instance_of(app: Json, task: Json, address: str) -> Instance | None:
    """`app` as the task was started with; `address` is the IP address of the task's host. None where it does not run."""
    phase = _PHASES.get(str(task.get("state", "TASK_RUNNING")))  # Marathon before 1.0 gives no state
    if phase is None:
        return None
    checks = [check for check in app.get("healthChecks") or [] if isinstance(check, dict)]
    return Instance(
        key=str(task["id"]),
        kind="task",
        app=str(task.get("appId") or app["id"]),
        version=str(task.get("version", "")),
        phase=phase if task.get("startedAt") or phase is not Phase.RUNNING else Phase.STARTING,
        health=_health(checks, task.get("healthCheckResults") or []),
        draining=task.get("draining") is True or task.get("state") == "TASK_KILLING",
        ports=tuple(_ports(app, task, address)),
        labels=_labels(app),
        env={
            str(name): value
            for name, value in (app.get("env") or {}).items()
            if str(name).startswith("SERVICE_") and isinstance(value, str)
        },
        checks=tuple(_health_checks(checks)),
        host=str(task.get("host", "")),
        host_address=address,
    )


def _labels(holder: Json) -> Mapping[str, str]:
    return {str(key): str(value) for key, value in (holder.get("labels") or {}).items()}


def _health(checks: list[Json], results: list[Json]) -> Health:
    if not checks:
        return Health.UNCHECKED
    alive = [result.get("alive") for result in results if isinstance(result, dict)]
    if False in alive:
        return Health.UNHEALTHY
    return Health.HEALTHY if len(alive) >= len(checks) and all(alive) else Health.UNKNOWN


def _health_checks(checks: list[Json]) -> Iterator[HealthCheck]:
    for check in checks:
        yield HealthCheck(
            kind=_KINDS.get(str(check.get("protocol", "HTTP")), "command"),  # type: ignore[arg-type]
            path=str(check.get("path") or "/"),
            port_index=check.get("portIndex"),
            port=check.get("port"),
            interval=float(check.get("intervalSeconds", 60)),
            timeout=float(check.get("timeoutSeconds", 20)),
            failures=int(check.get("maxConsecutiveFailures", 3)),
        )


def _ports(app: Json, task: Json, address: str) -> Iterator[Port]:
    mode = next((str(network.get("mode", "host")) for network in app.get("networks") or []), "host")
    own_address = next(
        (str(item["ipAddress"]) for item in task.get("ipAddresses") or [] if item.get("ipAddress")),
        "",
    )
    host_ports = iter([int(port) for port in task.get("ports") or []])
    if mode == "host":
        declared = app.get("portDefinitions") or []
        for index, number in enumerate(host_ports):
            definition = declared[index] if index < len(declared) else {}
            for port in _by_protocol(index, definition):
                yield replace(port, host_port=number, host_address=address, own_port=number, own_address=own_address)
        return
    for index, mapping in enumerate((app.get("container") or {}).get("portMappings") or []):
        own_port = int(mapping.get("containerPort") or 0) or None
        # On a network of its own a container has a host port only where the app asks for one.
        asks_host_port = mode == "container/bridge" or mapping.get("hostPort") is not None
        host_port = next(host_ports, None) if asks_host_port else None
        for port in _by_protocol(index, mapping):
            yield replace(
                port,
                host_port=host_port,
                host_address=address,
                own_port=own_port or host_port,
                own_address=own_address,
                own_reachable=mode == "container",
            )


def _by_protocol(index: int, definition: Json) -> Iterator[Port]:
    for protocol in str(definition.get("protocol") or "tcp").split(","):
        yield Port(
            index=index,
            protocol="udp" if protocol.strip() == "udp" else "tcp",
            name=str(definition.get("name") or ""),
            labels=_labels(definition),
        )
