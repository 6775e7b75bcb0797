"""PURE: pods, as /v2/pods::status shows them, as Instances: one for each container of each pod instance, since each is a Mesos task."""

from collections.abc import Iterator, Mapping
from typing import Any

from registrator.model import Health, HealthCheck, Instance, Phase, Port

Json = dict[str, Any]

_PHASES = {
    "TASK_RUNNING": Phase.RUNNING,
    "TASK_KILLING": Phase.RUNNING,
    "TASK_STAGING": Phase.STARTING,
    "TASK_STARTING": Phase.STARTING,
    "TASK_UNREACHABLE": Phase.UNREACHABLE,
}


def instances_of(status: Json, addresses: Mapping[str, str]) -> Iterator[Instance]:
    """`addresses` is host name -> IP address. The definition at hand is the pod's newest; older instances are read by it too."""
    spec = status.get("spec") or {}
    containers = {str(container["name"]): container for container in spec.get("containers") or []}
    several = sum(len(container.get("endpoints") or []) for container in containers.values()) > 1
    for instance in status.get("instances") or []:
        own_network = any(str(network.get("mode", "host")) == "container" for network in spec.get("networks") or [])
        own_address = next(
            (ip for network in instance.get("networks") or [] for ip in network.get("addresses") or []), ""
        )
        version = str(instance.get("specReference", "")).rpartition("::versions/")[2]
        for shown in instance.get("containers") or []:
            container = containers.get(str(shown.get("name")), {})
            phase = _PHASES.get(str(shown.get("status")))
            if phase is None or not shown.get("containerId"):
                continue
            address = addresses.get(str(instance.get("agentHostname", "")), "")
            yield Instance(
                key=str(shown["containerId"]),
                kind="task",
                app=str(status["id"]),
                version=version,
                phase=phase,
                health=_health(container, shown),
                held=instance.get("held") is True,
                draining=instance.get("draining") is True or shown.get("status") == "TASK_KILLING",
                ports=tuple(_ports(container, shown, address, own_address, own_network)),
                labels=_texts(spec.get("labels")) | _texts(container.get("labels")),
                env={
                    name: value
                    for name, value in (_texts(spec.get("environment")) | _texts(container.get("environment"))).items()
                    if name.startswith("SERVICE_")
                },
                checks=tuple(_checks(container)),
                host=str(instance.get("agentHostname", "")),
                host_address=address,
                has_siblings=several,
            )


def hosts_of(status: Json) -> Iterator[str]:
    for instance in status.get("instances") or []:
        yield str(instance.get("agentHostname", ""))


def _texts(found: object) -> dict[str, str]:
    """Only text: an environment variable may also name a secret."""
    return (
        {str(name): value for name, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}
    )


def _health(container: Json, shown: Json) -> Health:
    if not container.get("healthCheck"):
        return Health.UNCHECKED
    said = [
        *(
            str(item.get("value")).lower() == "true"
            for item in shown.get("conditions") or []
            if item.get("name") == "healthy"
        ),
        *(item["healthy"] for item in shown.get("endpoints") or [] if isinstance(item.get("healthy"), bool)),
    ]
    if False in said:
        return Health.UNHEALTHY
    return Health.HEALTHY if said else Health.UNKNOWN


def _ports(container: Json, shown: Json, address: str, own_address: str, own_network: bool) -> Iterator[Port]:
    allocated = {str(item.get("name")): item.get("allocatedHostPort") for item in shown.get("endpoints") or []}
    for index, endpoint in enumerate(container.get("endpoints") or []):
        name = str(endpoint.get("name", ""))
        host_port = allocated.get(name)
        for protocol in endpoint.get("protocol") or ["tcp"]:
            yield Port(
                index=index,
                protocol="udp" if protocol == "udp" else "tcp",
                name=name,
                labels=_texts(endpoint.get("labels")),
                host_port=int(host_port) if host_port else None,
                host_address=address,
                own_port=int(endpoint.get("containerPort") or 0) or (int(host_port) if host_port else None),
                own_address=own_address,
                own_reachable=own_network,
            )


def _checks(container: Json) -> Iterator[HealthCheck]:
    check = container.get("healthCheck") or {}
    endpoints = [str(endpoint.get("name")) for endpoint in container.get("endpoints") or []]
    asked = check.get("http") or check.get("tcp") or {}
    common = {
        "interval": float(check.get("intervalSeconds", 60)),
        "timeout": float(check.get("timeoutSeconds", 20)),
        "failures": int(check.get("maxConsecutiveFailures", 3)),
    }
    if asked.get("endpoint") in endpoints:
        index = endpoints.index(asked["endpoint"])
        if "http" in check:
            secure = str(asked.get("scheme", "HTTP")).upper() == "HTTPS"
            kind = "https" if secure else "http"
            yield HealthCheck(kind, str(asked.get("path") or "/"), index, **common)  # type: ignore[arg-type]
        else:
            yield HealthCheck("tcp", port_index=index, **common)  # type: ignore[arg-type]
