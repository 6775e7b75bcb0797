"""PURE: what `docker inspect` says of a container -> an Instance. The address that clients reach is found here for every network kind."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from registrator.merge import STRATEGY_LABEL
from registrator.model import Health, Instance, Phase, Port
from registrator.naming import asks_for_registration

Json = dict[str, Any]

# The networks whose addresses exist on their own host alone; those of others (macvlan, ipvlan, overlay, plugins) are reached from outside.
_LOCAL_DRIVERS = ("bridge", "host", "null", "")
_HEALTH = {"starting": Health.UNKNOWN, "healthy": Health.HEALTHY, "unhealthy": Health.UNHEALTHY}
_ANY_ADDRESS = ("", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Host:
    """The host of the containers. `drivers` is network id -> driver; `networks` the preferred ones by name, the best first."""

    name: str
    address: str
    drivers: Mapping[str, str]
    networks: Sequence[str] = ()
    ipv6: bool = False


def key_of_container(inspected: Json) -> str:
    """The Mesos task id of a container that a Mesos agent has started, else the container's own id."""
    return env_of(inspected).get("MESOS_TASK_ID") or str(inspected["Id"])


def is_running(inspected: Json) -> bool:
    state = inspected["State"]
    return bool(state.get("Running")) and not state.get("Restarting")


def has_failed(inspected: Json) -> bool:
    """It has ended by itself, and not well: registrator's `-deregister on-success` leaves those registered.

    128 in the code is a signal's: somebody has stopped it.
    """
    state = inspected["State"]
    code = int(state.get("ExitCode") or 0)
    return state.get("Status") == "exited" and code != 0 and not code & 128


def is_of_interest(inspected: Json, *, all_containers: bool) -> bool:
    """A Mesos task, or one that asks for registration by SERVICE_NAME; with `all_containers` any."""
    env = env_of(inspected)
    return all_containers or bool(env.get("MESOS_TASK_ID")) or asks_for_registration(env, _labels(inspected))


def env_of(inspected: Json) -> dict[str, str]:
    pairs = (item.partition("=") for item in inspected["Config"].get("Env") or [])
    return {name: value for name, _, value in pairs}


def instance_of(inspected: Json, host: Host, network_of: Json | None = None, *, stopping: bool = False) -> Instance:
    """`network_of` is the container whose network this one shares (`--network container:…`)."""
    env = env_of(inspected)
    task_id = env.get("MESOS_TASK_ID", "")
    state = inspected["State"]
    runs = is_running(inspected)
    return Instance(
        key=key_of_container(inspected),
        kind="task" if task_id else "container",
        app=env.get("MARATHON_APP_ID", "") if task_id else image_name(str(inspected["Config"].get("Image", ""))),
        version=env.get("MARATHON_APP_VERSION", "") if task_id else "",
        phase=Phase.RUNNING if runs else Phase.FAILED,
        health=_HEALTH.get(str((state.get("Health") or {}).get("Status", "")), Health.UNCHECKED),
        draining=stopping or bool(state.get("Paused")),
        ports=tuple(_ports(inspected, network_of or inspected, host)) if runs else (),
        labels=_labels(inspected) | _strategy(env),
        env={name: value for name, value in env.items() if name.startswith("SERVICE_")},
        host=host.name,
        host_address=host.address,
        container=str(inspected.get("Name", "")).removeprefix("/"),
    )


def image_name(image: str) -> str:
    """`registry:5000/team/web:1.2@sha256:…` -> `web`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def _strategy(env: Mapping[str, str]) -> dict[str, str]:
    """The one label of a Mesos task's app that matters beyond what Docker is told of it; Marathon tells the task's variables all."""
    strategy = env.get(f"MARATHON_APP_LABEL_{STRATEGY_LABEL}")
    return {STRATEGY_LABEL: strategy} if strategy and "MESOS_TASK_ID" in env else {}


def _labels(inspected: Json) -> dict[str, str]:
    return {str(key): str(value) for key, value in (inspected["Config"].get("Labels") or {}).items()}


def _ports(inspected: Json, networked: Json, host: Host) -> Iterator[Port]:
    mode = str(networked["HostConfig"].get("NetworkMode", ""))
    bindings: dict[str, list[Json]] = {name: [] for name in inspected["Config"].get("ExposedPorts") or {}}
    bindings |= {name: [] for name in networked["Config"].get("ExposedPorts") or {} if not bindings}
    published = networked["NetworkSettings"].get("Ports") or {}
    bindings |= {name: found or [] for name, found in published.items() if name in bindings or networked is inspected}
    own_address, own_reachable = _own_address(networked, mode, host)
    indices: dict[int, int] = {}
    for name in sorted(bindings, key=_number_and_protocol):
        number, protocol = _number_and_protocol(name)
        common = Port(
            index=indices.setdefault(number, len(indices)),
            protocol="udp" if protocol == "udp" else "tcp",
            own_port=number,
            own_address=own_address,
            own_reachable=own_reachable,
        )
        if mode == "host":
            yield replace(common, host_port=number, host_address=host.address, own_address=host.address)
        elif binding := _binding(bindings[name], ipv6=host.ipv6):
            address = str(binding.get("HostIp", ""))
            host_address = host.address if address in _ANY_ADDRESS else address
            yield replace(common, host_port=int(binding["HostPort"]), host_address=host_address)
        else:
            yield common


def _number_and_protocol(name: str) -> tuple[int, str]:
    number, _, protocol = name.partition("/")
    return int(number), protocol


def _binding(bindings: Sequence[Json], *, ipv6: bool) -> Json | None:
    """One of the host's bindings, of the preferred IP version where there is a choice."""
    usable = [binding for binding in bindings if str(binding.get("HostPort", "")).isdecimal()]
    preferred = [binding for binding in usable if (":" in str(binding.get("HostIp", ""))) == ipv6]
    return next(iter(preferred or usable), None)


def _own_address(networked: Json, mode: str, host: Host) -> tuple[str, bool]:
    """The container's own address, and whether it is reached from outside its host.

    Among several networks: the preferred by name, then those that are reached from outside, then the one it was started on.
    """
    settings = networked["NetworkSettings"]
    networks: dict[str, Json] = settings.get("Networks") or {}
    started_on = "bridge" if mode in ("default", "") else mode

    def rank(name: str) -> tuple[int, bool, bool, str]:
        preference = host.networks.index(name) if name in host.networks else len(host.networks)
        return preference, not _is_reachable(networks[name], host), name != started_on, name

    for name in sorted(networks, key=rank):
        if address := _of_version(networks[name], ipv6=host.ipv6):
            return address, _is_reachable(networks[name], host)
    return _of_version(settings, ipv6=host.ipv6), False


def _is_reachable(network: Json, host: Host) -> bool:
    return host.drivers.get(str(network.get("NetworkID", "")), "") not in _LOCAL_DRIVERS


def _of_version(addresses: Json, *, ipv6: bool) -> str:
    both = [str(addresses.get("IPAddress") or ""), str(addresses.get("GlobalIPv6Address") or "")]
    return next((address for address in (reversed(both) if ipv6 else both) if address), "")
