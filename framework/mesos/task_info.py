"""An app and what was taken of an offer -> the TaskInfo that Mesos launches."""

import base64
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from framework.engine.actions import Launch
from framework.model.app import App, EnvValue, Fetch, SecretRef
from framework.model.container import Container, LinuxInfo
from framework.model.health import Check, HealthCheck, MesosCommand
from framework.model.instance import Instance
from framework.model.network import Network, PortDefinition, PortMapping, port_numbers
from framework.model.offer import SCALE, Take, milli
from framework.model.resources import ResourceLimits, Resources
from framework.model.volume import ExternalVolume, HostVolume, SecretVolume, Volume

Json = dict[str, Any]
Resolve = Callable[[str], bytes]  # a secret's source -> its value

COMMAND_EXECUTOR = "//cmd"  # Marathon's name of Mesos' own
HELD_LABEL = "DROMOS_HELD"  # of a task that is to get no traffic until the framework says that it may
MAX_LABEL_LENGTH = 512  # longer variables of labels are left out of the environment
_LABEL_PREFIX = "MARATHON_APP_LABEL_"


class SecretUnavailableError(Exception):
    """`source` could not be read; the launch cannot be made."""


def no_secrets(source: str) -> bytes:
    raise SecretUnavailableError(f"secret {source!r}: no secret store is configured")


def task_info(launch: Launch, resolve: Resolve = no_secrets) -> Json:
    """Of an app's instance. Raises SecretUnavailableError."""
    app, instance = launch.spec, launch.instance
    assert isinstance(app, App), "pods are task groups"
    task = instance.tasks[0]
    ports = assigned_ports(app, task.host_ports)
    info: Json = {
        "name": _name(app.id),
        "task_id": {"value": task.id},
        "agent_id": {"value": instance.agent.id},
        "resources": resources(launch.takes, instance.role),
        "labels": task_labels(app.labels, instance),
        "discovery": discovery(app, ports),
        "command": _command(app, instance, ports, resolve),
    }
    container = _container(app, ports, resolve)
    if container:
        info["container"] = container
    if app.task_kill_grace_period_seconds is not None:
        nanoseconds = int(app.task_kill_grace_period_seconds * 1_000_000_000)
        info["kill_policy"] = {"grace_period": {"nanoseconds": nanoseconds}}
    for check in app.health_checks:
        if check.by_mesos:
            info["health_check"] = health_check(check, app, ports)
    if app.check is not None:
        numbers = {
            index: port.number if port.container is not None else port.host or 0 for index, port in enumerate(ports)
        }
        info["check"] = check_info(app.check, lambda index, _endpoint: numbers.get(index or 0, 0))
    if app.resource_limits:
        info["limits"] = limits(app.resource_limits)
    if app.executor not in ("", COMMAND_EXECUTOR):
        _hand_to_executor(info, app, launch)
    return info


def _hand_to_executor(info: Json, app: App, launch: Launch) -> None:
    """A custom executor gets the task: what the app runs is its arguments, and the files and variables are its own."""
    command = info.pop("command")
    task_id = info["task_id"]["value"]
    arguments = app.cmd if app.cmd is not None else shlex.join(app.args)
    path = shlex.quote(app.executor)
    command |= {"shell": True, "value": f"chmod ug+rx {path} && exec {path} {arguments}".rstrip()}
    command.pop("arguments", None)
    executor: Json = {"executor_id": {"value": f"marathon-{task_id}"}, "source": task_id, "command": command}
    if app.executor_resources is not None:
        own, rest = split_off(launch.takes, app.executor_resources.total())
        executor["resources"] = resources(own, launch.instance.role)
        info["resources"] = resources(rest, launch.instance.role)
    if "container" in info:
        executor["container"] = info.pop("container")
    info["executor"] = executor
    # What the command executor would do, this one is to do by itself.
    for name in ("health_check", "check"):
        info.pop(name, None)
    info["data"] = base64.b64encode(arguments.encode()).decode()


def split_off(takes: Sequence[Take], need: Resources) -> tuple[list[Take], list[Take]]:
    """A part of what was taken, and the rest."""
    left = {"cpus": milli(need.cpus), "mem": milli(need.mem), "disk": milli(need.disk), "gpus": milli(need.gpus)}
    own, rest = [], []
    for take in takes:
        part = {name: min(amount, getattr(take, name)) for name, amount in left.items()}
        left = {name: amount - part[name] for name, amount in left.items()}
        own.append(Take(take.pool, **part))
        rest.append(replace(take, **{name: getattr(take, name) - part[name] for name in part}))
    return own, rest


def _name(app_id: str) -> str:
    """`/grp/app` -> `app.grp`, as DNS names go."""
    return ".".join(reversed([segment for segment in app_id.split("/") if segment]))


def labels(pairs: Mapping[str, str]) -> Json:
    return {"labels": [{"key": key, "value": value} for key, value in pairs.items()]}


def task_labels(pairs: Mapping[str, str], instance: Instance) -> Json:
    """A task's labels never change. So who reads them alone knows that a task began held, not that it still is."""
    return labels({**pairs, HELD_LABEL: "true"} if instance.held else pairs)


# --- resources


def resources(takes: Iterable[Take], role: str) -> list[Json]:
    found: list[Json] = []
    for take in takes:
        common: Json = {"allocation_info": {"role": role}}
        if take.pool.reservations:
            common["reservations"] = list(take.pool.reservations)
        for name in ("cpus", "mem", "disk", "gpus"):
            amount = getattr(take, name)
            if amount:
                found.append({"name": name, "type": "SCALAR", "scalar": {"value": amount / SCALE}, **common})
        found += [{**volume, "allocation_info": {"role": role}} for volume in take.volumes]
        if take.ports:
            ranges = [{"begin": begin, "end": end} for begin, end in _ranges(take.ports)]
            found.append({"name": "ports", "type": "RANGES", "ranges": {"range": ranges}, **common})
    return found


def _ranges(ports: Iterable[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for port in sorted(ports):
        if found and found[-1][1] == port - 1:
            found[-1] = (found[-1][0], port)
        else:
            found.append((port, port))
    return found


def limits(of: ResourceLimits) -> Json:
    given = {"cpus": of.cpus, "mem": of.mem}
    return {
        name: {"value": "Infinity" if limit == float("inf") else limit}
        for name, limit in given.items()
        if limit is not None
    }


# --- ports


class AssignedPort:
    """A port of an app with its numbers. `host` None: it has none on the host; `container` None: it is none of a container."""

    __slots__ = ("container", "host", "labels", "name", "protocols", "requested")

    def __init__(self, port: PortDefinition | PortMapping, host: int | None, container: int | None) -> None:
        self.host, self.container = host, container
        self.name, self.labels, self.protocols = port.name, port.labels, port.protocols
        self.requested = port.container_port if isinstance(port, PortMapping) else port.port

    @property
    def number(self) -> int:
        """Where the task listens, as it sees it."""
        return self.container if self.container is not None else self.host or 0


def assigned_ports(app: App, host_ports: Sequence[int]) -> list[AssignedPort]:
    """The app's ports, each with the host port that it got."""
    if app.host_networking:
        given = iter(host_ports)
        return [AssignedPort(port, next(given, None), None) for port in app.port_definitions]
    numbers = port_numbers(app.port_mappings, host_ports)
    return [AssignedPort(port, *pair) for port, pair in zip(app.port_mappings, numbers, strict=True)]


def discovery(app: App, ports: Sequence[AssignedPort]) -> Json:
    """For service discovery: the app's id, and its ports by host number where they have one, else by the container's."""
    found = []
    for port in ports:
        scope = "host" if port.host is not None else "container"
        for protocol in port.protocols:
            entry: Json = {
                "number": port.host if port.host is not None else port.number,
                "protocol": protocol,
                "labels": labels(
                    {**port.labels, "network-scope": scope} if port.container is not None else port.labels
                ),
            }
            if port.name:
                entry["name"] = port.name
            found.append(entry)
    return {"visibility": "FRAMEWORK", "name": app.id.removeprefix("/"), "ports": {"ports": found}}


# --- command and environment


def _command(app: App, instance: Instance, ports: Sequence[AssignedPort], resolve: Resolve) -> Json:
    command: Json = {"environment": {"variables": _environment(app, instance, ports, resolve)}}
    if app.cmd is not None:
        command |= {"shell": True, "value": app.cmd}
    elif app.args and not (app.container and app.container.docker):
        command |= {"shell": False, "value": app.args[0], "arguments": list(app.args)}
    else:
        command |= {"shell": False}
        if app.args:
            command["arguments"] = list(app.args)
    if app.user:
        command["user"] = app.user
    if app.fetch:
        command["uris"] = fetch_uris(app.fetch)
    return command


def fetch_uris(fetches: Sequence[Fetch]) -> list[Json]:
    return [_uri(fetch) for fetch in fetches]


def _uri(fetch: Fetch) -> Json:
    uri: Json = {"value": fetch.uri, "extract": fetch.extract, "executable": fetch.executable, "cache": fetch.cache}
    if fetch.dest_path:
        uri["output_file"] = fetch.dest_path
    return uri


def _environment(app: App, instance: Instance, ports: Sequence[AssignedPort], resolve: Resolve) -> list[Json]:
    sources = {name: secret.source for name, secret in app.secrets.items()}
    return variables({**task_environment(app, instance), **port_environment(ports)}, app.env, sources, resolve)


def variables(
    own: Mapping[str, str], given: Mapping[str, EnvValue], sources: Mapping[str, str], resolve: Resolve
) -> list[Json]:
    """Mesos' variables: ours, and over them what the definition gives, secrets resolved by their sources."""
    found = {**own, **{name: _value(value, sources, resolve) for name, value in given.items()}}
    return [{"name": name, "type": "VALUE", "value": value} for name, value in found.items()]


def _value(value: EnvValue, sources: Mapping[str, str], resolve: Resolve) -> str:
    if not isinstance(value, SecretRef):
        return value
    data = secret_value(value.secret, sources, resolve)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise SecretUnavailableError(f"secret '{value.secret}' is no text, as a variable has to be; mount it as a file")
    return text


def secret_value(name: str, sources: Mapping[str, str], resolve: Resolve) -> bytes:
    """Of an entry of the definition's `secrets`. Raises SecretUnavailableError."""
    if name not in sources:
        raise SecretUnavailableError(f"secret '{name}' is not among the definition's secrets")
    return resolve(sources[name])


def secret_json(name: str, sources: Mapping[str, str], resolve: Resolve) -> Json:
    """Mesos' Secret, with the value: no agent needs a way to the store."""
    data = secret_value(name, sources, resolve)
    return {"type": "VALUE", "value": {"data": base64.b64encode(data).decode()}}


def task_environment(app: App, instance: Instance) -> dict[str, str]:
    found = {
        "MESOS_TASK_ID": instance.tasks[0].id,
        "MARATHON_APP_ID": app.id,
        "MARATHON_APP_VERSION": app.version,
        "MARATHON_APP_RESOURCE_CPUS": str(float(app.cpus)),
        "MARATHON_APP_RESOURCE_MEM": str(float(app.mem)),
        "MARATHON_APP_RESOURCE_DISK": str(float(app.disk)),
        "MARATHON_APP_RESOURCE_GPUS": str(app.gpus),
        "HOST": instance.agent.host,
    }
    if app.container and app.container.docker:
        found["MARATHON_APP_DOCKER_IMAGE"] = app.container.docker.image
    return found | label_environment(app.labels)


def label_environment(given: Mapping[str, str]) -> dict[str, str]:
    """MARATHON_APP_LABELS, the names, and MARATHON_APP_LABEL_<NAME> of each. Long ones are left out of both."""
    usable = {
        variable_name(key): value
        for key, value in given.items()
        if len(_LABEL_PREFIX + key) < MAX_LABEL_LENGTH and len(value) < MAX_LABEL_LENGTH
    }
    return {"MARATHON_APP_LABELS": " ".join(usable)} | {_LABEL_PREFIX + key: value for key, value in usable.items()}


def variable_name(text: str) -> str:
    """`my-port.1` -> `MY_PORT_1`; as in Marathon, a run of other characters is one `_`."""
    return re.sub("[^a-zA-Z0-9_]+", "_", text).upper()


def port_environment(ports: Sequence[AssignedPort]) -> dict[str, str]:
    """PORT0…, PORTS, PORT, PORT_<requested>, PORT_<NAME>: host ports where there are some, else the container's."""
    found: dict[str, str] = {}
    numbers = [str(port.host if port.host is not None else port.number) for port in ports]
    for index, (port, number) in enumerate(zip(ports, numbers, strict=True)):
        found[f"PORT{index}"] = number
        if port.requested:
            found[f"PORT_{port.requested}"] = number
        else:
            found[f"PORT_{number}"] = number
        if port.name:
            found[f"PORT_{variable_name(port.name)}"] = number
    if numbers:
        found["PORT"] = numbers[0]
        found["PORTS"] = ",".join(numbers)
    return found


# --- container


def _container(app: App, ports: Sequence[AssignedPort], resolve: Resolve) -> Json | None:
    container = app.container
    sources = {name: secret.source for name, secret in app.secrets.items()}
    joined = [_network_info(network, ports) for network in app.networks if network.mode != "host"]
    if container is None and not joined and not app.tty:
        return None
    kind = container.type if container else "MESOS"
    info: Json = {"type": kind}
    if container and container.volumes:
        info["volumes"] = [volume for v in container.volumes for volume in _volume(v, sources, resolve)]
    if kind == "DOCKER" and container:
        info["docker"] = _docker(container, app.networks, ports)
        if app.networks and app.networks[0].mode == "container":
            info["network_infos"] = [{"name": app.networks[0].name}]
    else:
        if joined:
            info["network_infos"] = joined
        if container and container.docker:
            info["mesos"] = {"image": _image(container, sources, resolve)}
    if app.tty:
        info["tty_info"] = {}
    if container and container.linux_info:
        info["linux_info"] = linux_info(container.linux_info)
    return info


def linux_info(of: LinuxInfo) -> Json:
    info: Json = {}
    if of.seccomp is not None:
        named = {"profile_name": of.seccomp.profile_name} if of.seccomp.profile_name else {}
        info["seccomp"] = {**named, "unconfined": of.seccomp.unconfined}
    if of.ipc_info is not None:
        info["ipc_mode"] = of.ipc_info.mode
        if of.ipc_info.shm_size is not None:
            info["shm_size"] = of.ipc_info.shm_size
    return info


def _docker(container: Container, networks: Sequence[Network], ports: Sequence[AssignedPort]) -> Json:
    docker = container.docker
    assert docker is not None, "a Docker container has an image"
    mode = networks[0].mode if networks else "host"
    info: Json = {
        "image": docker.image,
        "network": {"host": "HOST", "container/bridge": "BRIDGE", "container": "USER"}[mode],
        "privileged": docker.privileged,
        "force_pull_image": docker.force_pull_image,
        "parameters": [{"key": parameter.key, "value": parameter.value} for parameter in docker.parameters],
    }
    if mode != "host":
        info["port_mappings"] = [
            {"host_port": port.host, "container_port": port.number, "protocol": protocol}
            for port in ports
            if port.host is not None
            for protocol in port.protocols
        ]
    return info


def _image(container: Container, sources: Mapping[str, str], resolve: Resolve) -> Json:
    docker = container.docker
    assert docker is not None
    image: Json = {"name": docker.image}
    if docker.pull_config is not None:
        image["config"] = secret_json(docker.pull_config.secret, sources, resolve)
    return {"type": "DOCKER", "docker": image, "cached": not docker.force_pull_image}


def _network_info(network: Network, ports: Sequence[AssignedPort]) -> Json:
    info: Json = {
        "port_mappings": [
            {"host_port": port.host, "container_port": port.number, "protocol": protocol}
            for port in ports
            if port.host is not None
            for protocol in port.protocols
        ]
    }
    if network.name:
        info["name"] = network.name
    elif network.mode == "container/bridge":
        info["name"] = "mesos-bridge"
    if network.labels:
        info["labels"] = labels(network.labels)
    return info


def _volume(volume: Volume, sources: Mapping[str, str], resolve: Resolve) -> list[Json]:
    if isinstance(volume, HostVolume):
        return [{"container_path": volume.container_path, "host_path": volume.host_path, "mode": volume.mode}]
    if isinstance(volume, ExternalVolume):
        options = volume.external.options
        driver = str(options.get("dvdi/driver", "rexray"))
        parameters = [
            {
                "key": key.removeprefix("dvdi/"),
                "value": value if isinstance(value, str) else orjson.dumps(value).decode(),
            }
            for key, value in options.items()
            if key != "dvdi/driver"
        ]
        source: Json = {
            "type": "DOCKER_VOLUME",
            "docker_volume": {
                "driver": driver,
                "name": volume.external.name,
                "driver_options": {"parameter": parameters},
            },
        }
        return [{"container_path": volume.container_path, "mode": volume.mode, "source": source}]
    if isinstance(volume, SecretVolume):
        source = {"type": "SECRET", "secret": secret_json(volume.secret, sources, resolve)}
        return [{"container_path": volume.container_path, "mode": "RO", "source": source}]
    return []  # persistent volumes are part of the disk resource


# --- checks that the agent makes


def check_info(check: Check, port_of: Callable[[int | None, str | None], int]) -> Json:
    """`port_of(port index, endpoint)`: where the task listens."""
    found: Json = {
        "delay_seconds": float(check.delay_seconds),
        "interval_seconds": float(check.interval_seconds),
        "timeout_seconds": float(check.timeout_seconds),
    }
    if check.exec is not None:
        return found | {"type": "COMMAND", "command": {"command": command_of(check.exec.command)}}
    if check.tcp is not None:
        return found | {"type": "TCP", "tcp": {"port": port_of(check.tcp.port_index, check.tcp.endpoint)}}
    assert check.http is not None, "a check has a kind"
    http = {"port": port_of(check.http.port_index, check.http.endpoint), "path": check.http.path or "/"}
    return found | {"type": "HTTP", "http": http}


def command_of(command: MesosCommand) -> Json:
    if command.shell is not None:
        return {"shell": True, "value": command.shell}
    argv = list(command.argv or ())
    return {"shell": False, "value": argv[0] if argv else "", "arguments": argv}


def health_check(check: HealthCheck, app: App, ports: Sequence[AssignedPort]) -> Json:
    found: Json = {
        "delay_seconds": float(check.delay_seconds),
        "interval_seconds": float(check.interval_seconds),
        "timeout_seconds": float(check.timeout_seconds),
        "grace_period_seconds": float(check.grace_period_seconds),
        "consecutive_failures": check.max_consecutive_failures,
    }
    if check.protocol == "COMMAND":
        assert check.command is not None
        return found | {"type": "COMMAND", "command": {"shell": True, "value": check.command.value}}
    port = check.port
    if port is None:
        index = check.port_index or 0
        port = (ports[index].number if app.networks[0].mode != "host" else ports[index].host or 0) if ports else 0
    if check.protocol == "MESOS_TCP":
        return found | {"type": "TCP", "tcp": {"port": port}}
    scheme = "https" if check.protocol == "MESOS_HTTPS" else "http"
    http = {"port": port, "scheme": scheme, "path": check.path or "/", "protocol": check.ip_protocol.upper()}
    return found | {"type": "HTTP", "http": http}
