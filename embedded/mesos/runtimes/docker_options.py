"""A task's ContainerInfo as Docker's own options: what `docker run` would be given.

`parameters` of a DockerInfo are flags of `docker run` by their long names. Those that make sense for a task that an agent
watches are known here; another is refused, because a task that runs otherwise than its author meant is worse than none.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from embedded.mesos.runtimes.base import Json, Launch, LaunchError, variables
from embedded.mesos.runtimes.volumes import persistent_volumes

SANDBOX = "/mnt/mesos/sandbox"
LEAST_MEMORY = 32 * 1024 * 1024  # as Mesos
LEAST_SHARES = 2
LABEL = "dromos.mesos"  # .agent, .framework, .task, .container

_SIZES = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


@dataclass
class Options:
    """`create` are arguments of APIClient.create_container, `host` of create_host_config, `endpoint` of create_endpoint_config."""

    name: str
    network: str
    create: Json = field(default_factory=dict)
    host: Json = field(default_factory=dict)
    endpoint: Json = field(default_factory=dict)


def container_name(container_id: str) -> str:
    return f"mesos-{container_id}"


def options(launch: Launch, *, log_bytes: int, hard_cpu: bool = False) -> Options:
    """Raises LaunchError with what in the task cannot be done."""
    container = launch.task["container"]
    docker = container.get("docker")
    if not docker or not docker.get("image"):
        raise LaunchError("Failed to launch container: a container of type DOCKER needs docker.image")
    if container.get("tty_info"):
        raise LaunchError("Failed to launch container: tty_info is not supported for containers of type DOCKER")
    made = Options(name=container_name(launch.container_id), network=_network(container, docker))
    made.create = {
        "image": docker["image"],
        "environment": {
            "MESOS_SANDBOX": SANDBOX,
            "MESOS_CONTAINER_NAME": made.name,
            **variables(launch.command.get("environment")),
        },
        "labels": {
            f"{LABEL}.agent": launch.agent_id,
            f"{LABEL}.framework": launch.framework["id"]["value"],
            f"{LABEL}.task": launch.task_id,
            f"{LABEL}.container": launch.container_id,
        },
        **_command(launch.command),
    }
    if container.get("hostname"):
        made.create["hostname"] = container["hostname"]
    if launch.command.get("user"):
        made.create["user"] = launch.command["user"]
    made.host = {
        "network_mode": made.network,
        "binds": [
            f"{launch.sandbox}:{SANDBOX}:rw",
            *(_bind(volume, launch) for volume in (*container.get("volumes", []), *persistent_volumes(launch))),
        ],
        "port_bindings": {},
        "privileged": docker.get("privileged", False),
        "log_config": {"Type": "json-file", "Config": {"max-size": str(log_bytes), "max-file": "2"}},
        **_limits(launch, hard_cpu),
    }
    if docker.get("volume_driver"):
        made.host["volume_driver"] = docker["volume_driver"]
    mappings = [*docker.get("port_mappings", []), *_network_port_mappings(container)]
    if mappings and made.network in ("host", "none"):
        raise LaunchError(
            "Failed to launch container: Port mappings are only supported for bridge and user-defined networks"
        )
    for mapping in mappings:
        _publish(made, mapping["container_port"], mapping.get("protocol") or "tcp", str(mapping["host_port"]))
    for parameter in docker.get("parameters", []):
        apply_parameter(made, parameter["key"].lstrip("-"), parameter["value"])
    if made.network not in ("host", "none", "bridge") and not made.network.startswith("container:"):
        made.endpoint.setdefault("aliases", [])
    return made


def _command(command: Json) -> Json:
    """A shell command takes the place of the image's entry point; an argv is given to it."""
    value, arguments = command.get("value"), command.get("arguments", [])
    if command.get("shell", True):
        if value is None:
            return {}
        return {"entrypoint": ["/bin/sh"], "command": ["-c", value]}
    words = [*([value] if value else []), *arguments]
    return {"command": words} if words else {}


def _network(container: Json, docker: Json) -> str:
    kind = docker.get("network", "HOST")
    if kind != "USER":
        return str(kind).lower()
    names = [info["name"] for info in container.get("network_infos", []) if info.get("name")]
    if len(names) != 1:
        raise LaunchError(
            "Failed to launch container: the network USER needs one network_infos with the network's name"
        )
    return str(names[0])


def _network_port_mappings(container: Json) -> list[Json]:
    return [mapping for info in container.get("network_infos", []) for mapping in info.get("port_mappings", [])]


def _limits(launch: Launch, hard_cpu: bool) -> Json:
    cpus, mem = launch.scalar("cpus"), launch.scalar("mem")
    hard = {name: float(value["value"]) for name, value in launch.task.get("limits", {}).items()}
    found: Json = {}
    if cpus is not None:
        found["cpu_shares"] = max(LEAST_SHARES, int(cpus * 1024))
    quota = hard.get("cpus", cpus if hard_cpu else None)
    if quota is not None and quota != float("inf"):
        found |= {"cpu_period": 100_000, "cpu_quota": max(1_000, int(quota * 100_000))}
    memory = hard.get("mem", mem)
    if memory is not None and memory != float("inf"):
        found["mem_limit"] = max(LEAST_MEMORY, int(memory * 1024 * 1024))
    return found


def _bind(volume: Json, launch: Launch) -> str:
    target = volume["container_path"]
    if not target.startswith("/"):
        if ".." in target.split("/"):
            raise LaunchError(f"Failed to launch container: volume '{target}' leads out of the sandbox")
        target = f"{SANDBOX}/{target}"
    mode = volume["mode"].lower()
    source = _volume_source(volume, launch)
    for what in (source, target):
        if ":" in what:
            raise LaunchError(f"Failed to launch container: volume path '{what}' must not have a colon")
    return f"{source}:{target}:{mode}"


def _volume_source(volume: Json, launch: Launch) -> str:
    source = volume.get("source", {})
    kind = source.get("type")
    if kind == "DOCKER_VOLUME":
        named = source["docker_volume"]
        if named.get("driver", "local") != "local":
            raise LaunchError(
                f"Failed to launch container: volume driver '{named['driver']}' is not supported by this agent"
            )
        return str(named["name"])
    if kind == "HOST_PATH" or (kind is None and "host_path" in volume):
        path = str(source["host_path"]["path"] if source else volume["host_path"])
        return path if path.startswith("/") else _within(str(launch.sandbox), path)
    if kind == "SANDBOX_PATH":
        place = source["sandbox_path"]
        root = launch.sandbox if place.get("type") == "SELF" else launch.group_sandbox
        if root is None:
            raise LaunchError(
                "Failed to launch container: a volume of type SANDBOX_PATH PARENT is for tasks of a group"
            )
        return _within(str(root), place["path"])
    if kind is None:
        return _within(str(launch.sandbox), volume["container_path"].strip("/"))
    raise LaunchError(
        f"Failed to launch container: volume source {kind} is not supported for containers of type DOCKER"
    )


def _within(root: str, path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise LaunchError(f"Failed to launch container: volume path '{path}' leads out of the sandbox")
    return f"{root}/{path}"


def _publish(made: Options, container_port: int, protocol: str, host: str | tuple[str, str]) -> None:
    key = f"{container_port}/{protocol.lower()}"
    made.host["port_bindings"].setdefault(key, []).append(host)
    made.create.setdefault("ports", []).append((container_port, protocol.lower()))


# --- parameters -----------------------------------------------------------------------------------------------------------------------

Setter = Callable[[Options, str], None]


def apply_parameter(made: Options, name: str, value: str) -> None:
    setter = _PARAMETERS.get(name)
    if setter is None:
        raise LaunchError(f"Failed to launch container: Docker parameter '{name}' is not supported by this agent")
    try:
        setter(made, value)
    except (ValueError, IndexError):
        raise LaunchError(f"Failed to launch container: Docker parameter '{name}' has a bad value '{value}'") from None


def _text(group: str, key: str) -> Setter:
    def put(made: Options, value: str) -> None:
        getattr(made, group)[key] = value

    return put


def _converted(group: str, key: str, convert: Callable[[str], Any]) -> Setter:
    def put(made: Options, value: str) -> None:
        getattr(made, group)[key] = convert(value)

    return put


def _list(group: str, key: str, convert: Callable[[str], Any] = str) -> Setter:
    def put(made: Options, value: str) -> None:
        getattr(made, group).setdefault(key, []).append(convert(value))

    return put


def _pairs(group: str, key: str, separator: str = "=") -> Setter:
    def put(made: Options, value: str) -> None:
        name, found, text = value.partition(separator)
        if not name or (not found and separator != "="):
            raise ValueError(value)
        getattr(made, group).setdefault(key, {})[name] = text

    return put


def size(text: str) -> int:
    """`64m`, `1g`, `1024` -> bytes; -1 is no limit."""
    text = text.strip().lower()
    if text == "-1":
        return -1
    number = text.rstrip("bkmg")
    unit = text[len(number) :].removesuffix("b") or "b"
    return int(float(number) * _SIZES[unit]) if unit in _SIZES else int(text)


def flag(text: str) -> bool:
    if text.lower() in ("", "true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise ValueError(text)


def ulimit(text: str) -> Json:
    """`nofile=1024:2048`, `nproc=512`"""
    name, _, values = text.partition("=")
    soft, _, hard = values.partition(":")
    return {"Name": name, "Soft": int(soft), "Hard": int(hard or soft)}


def publish(made: Options, text: str) -> None:
    """`80`, `8080:80`, `127.0.0.1:8080:80/udp`"""
    text, _, protocol = text.partition("/")
    address, _, port = text.rpartition(":")
    ip, _, host_port = address.rpartition(":")
    binding = (ip.strip("[]"), host_port) if ip else host_port
    _publish(made, int(port), protocol or "tcp", binding)


def _expose(made: Options, text: str) -> None:
    port, _, protocol = text.partition("/")
    made.create.setdefault("ports", []).append((int(port), protocol or "tcp"))


def _log_driver(made: Options, value: str) -> None:
    if value != "json-file":
        made.host["log_config"] = {"Type": value, "Config": {}}


def _log_option(made: Options, value: str) -> None:
    name, _, text = value.partition("=")
    made.host["log_config"]["Config"][name] = text


def _network_parameter(made: Options, value: str) -> None:
    made.network = value
    made.host["network_mode"] = value


def _cpus(made: Options, value: str) -> None:
    for key in ("cpu_period", "cpu_quota"):
        made.host.pop(key, None)
    made.host["nano_cpus"] = int(float(value) * 1e9)


def _restart(_made: Options, value: str) -> None:
    if value != "no":
        raise LaunchError(
            "Failed to launch container: Docker parameter 'restart' is not supported: the framework restarts tasks"
        )


def _device(text: str) -> str:
    host, _, rest = text.partition(":")
    return text if rest else f"{host}:{host}:rwm"


_PARAMETERS: dict[str, Setter] = {
    "add-host": _pairs("host", "extra_hosts", ":"),
    "blkio-weight": _converted("host", "blkio_weight", int),
    "cap-add": _list("host", "cap_add"),
    "cap-drop": _list("host", "cap_drop"),
    "cgroup-parent": _text("host", "cgroup_parent"),
    "cpu-period": _converted("host", "cpu_period", int),
    "cpu-quota": _converted("host", "cpu_quota", int),
    "cpu-shares": _converted("host", "cpu_shares", int),
    "cpus": _cpus,
    "cpuset-cpus": _text("host", "cpuset_cpus"),
    "cpuset-mems": _text("host", "cpuset_mems"),
    "device": _list("host", "devices", _device),
    "dns": _list("host", "dns"),
    "dns-opt": _list("host", "dns_opt"),
    "dns-option": _list("host", "dns_opt"),
    "dns-search": _list("host", "dns_search"),
    "domainname": _text("create", "domainname"),
    "entrypoint": _converted("create", "entrypoint", shlex.split),
    "env": _pairs("create", "environment"),
    "expose": _expose,
    "group-add": _list("host", "group_add"),
    "hostname": _text("create", "hostname"),
    "init": _converted("host", "init", flag),
    "ip": _text("endpoint", "ipv4_address"),
    "ip6": _text("endpoint", "ipv6_address"),
    "ipc": _text("host", "ipc_mode"),
    "label": _pairs("create", "labels"),
    "link": _pairs("host", "links", ":"),
    "log-driver": _log_driver,
    "log-opt": _log_option,
    "mac-address": _text("create", "mac_address"),
    "memory": _converted("host", "mem_limit", size),
    "memory-reservation": _converted("host", "mem_reservation", size),
    "memory-swap": _converted("host", "memswap_limit", size),
    "memory-swappiness": _converted("host", "mem_swappiness", int),
    "net": _network_parameter,
    "net-alias": _list("endpoint", "aliases"),
    "network": _network_parameter,
    "network-alias": _list("endpoint", "aliases"),
    "oom-kill-disable": _converted("host", "oom_kill_disable", flag),
    "oom-score-adj": _converted("host", "oom_score_adj", int),
    "pid": _text("host", "pid_mode"),
    "pids-limit": _converted("host", "pids_limit", int),
    "privileged": _converted("host", "privileged", flag),
    "publish": publish,
    "read-only": _converted("host", "read_only", flag),
    "restart": _restart,
    "runtime": _text("host", "runtime"),
    "security-opt": _list("host", "security_opt"),
    "shm-size": _converted("host", "shm_size", size),
    "stop-signal": _text("create", "stop_signal"),
    "storage-opt": _pairs("host", "storage_opt"),
    "sysctl": _pairs("host", "sysctls"),
    "tmpfs": _pairs("host", "tmpfs", ":"),
    "ulimit": _list("host", "ulimits", ulimit),
    "user": _text("create", "user"),
    "userns": _text("host", "userns_mode"),
    "uts": _text("host", "uts_mode"),
    "volume": _list("host", "binds"),
    "volume-driver": _text("host", "volume_driver"),
    "volumes-from": _list("host", "volumes_from"),
    "workdir": _text("create", "working_dir"),
}
# The short forms that `docker run` has.
_PARAMETERS |= {
    short: _PARAMETERS[long]
    for short, long in {
        "c": "cpu-shares", "e": "env", "h": "hostname", "l": "label", "m": "memory", "p": "publish", "u": "user",
        "v": "volume", "w": "workdir",
    }.items()
}  # fmt: skip
