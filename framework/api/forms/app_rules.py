"""What an app in canonical form has to fulfil. Looks at JSON, so that every error is found at once and with its path."""

import re
from collections.abc import Collection

from framework.api.errors import Violation
from framework.api.forms import rules
from framework.api.forms.rules import MOST_INSTANCES, MOST_PORT, Document, Found, every
from framework.api.forms.volume_rules import volumes_rules
from framework.model.app import SINGLE_INSTANCE_LABEL
from framework.model.health import MESOS_PROTOCOLS

_executor = re.compile(r"(//cmd)|(/?[^/]+(/[^/]+)*)|")
_PORT_NAME = r"^[a-zA-Z0-9]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?$"
_port_name = re.compile(_PORT_NAME)
_LONGEST_COMMAND = 128 * 1024  # what the kernel takes as one argument


def violations(app: Document, allowed_roles: Collection[str]) -> list[Violation]:
    """All that is wrong with `app`, a document whose types are right and whose defaults are filled in."""
    found = Found()
    rules.id_rules(found, "/id", app["id"])
    rules.dependency_rules(found, "/dependencies", app["dependencies"])
    _command(found, app)
    _resources(found, app)
    _placement(found, app, allowed_roles)
    rules.network_rules(found, "/networks", app["networks"])
    _ports(found, app)
    _container(found, app)
    _checks(found, app)
    _strategies(found, app)
    secrets = app.get("secrets", {})
    rules.secret_rules(found, "/secrets", secrets)
    rules.env_rules(found, "/env", app.get("env", {}), secrets)
    rules.label_rules(found, "/labels", app.get("labels", {}))
    every("/fetch", app.get("fetch"), rules.fetch_rules, found)
    return found.violations


def _command(found: Found, app: Document) -> None:
    cmd, args, container = app.get("cmd"), app.get("args"), app.get("container") or {}
    if (cmd and args) or not (cmd or args or container.get("docker")):
        found.add("/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.")
    if cmd == "":
        found.add("/", "must not be an empty string")
    found.text("/cmd", cmd or None, most=_LONGEST_COMMAND)
    for index, argument in enumerate(args or ()):
        found.text(f"/args({index})", argument or None, most=_LONGEST_COMMAND)
    found.text("/user", app.get("user"))
    if not _executor.fullmatch(app.get("executor", "")):
        found.add("/executor", rf"must fully match regular expression '^{_executor.pattern}$'")
    found.at_least("/taskKillGracePeriodSeconds", app.get("taskKillGracePeriodSeconds"), 0)


def _resources(found: Found, app: Document) -> None:
    requested = {"cpus": app.get("cpus", 1), "mem": app.get("mem", 128)}
    for name, value in {**requested, "disk": app.get("disk", 0), "gpus": app.get("gpus", 0)}.items():
        found.at_least(f"/{name}", value, 0)
    rules.limits_rules(found, "/resourceLimits", app.get("resourceLimits"), requested)
    for name, value in app.get("executorResources", {}).items():
        found.at_least(f"/executorResources/{name}", value, 0)
    if app.get("gpus", 0) > 0 and (app.get("container") or {}).get("type") == "DOCKER":
        found.add("/", "GPU resources only work with the Mesos containerizer")
    found.between("/instances", app.get("instances", 1), 0, MOST_INSTANCES)


def _placement(found: Found, app: Document, allowed_roles: Collection[str]) -> None:
    for index, constraint in enumerate(app.get("constraints", ())):
        rules.constraint_rules(found, f"/constraints({index})", constraint)
    rules.role_rules(
        found,
        app.get("acceptedResourceRoles"),
        app["role"],
        allowed_roles,
        accepted_path="/acceptedResourceRoles",
        resident=_is_resident(app),
    )


def _ports(found: Found, app: Document) -> None:
    definitions = app.get("portDefinitions") or []
    for index, definition in enumerate(definitions):
        found.between(f"/portDefinitions({index})/port", definition.get("port", 0), 0, MOST_PORT)
        _name_of_port(found, f"/portDefinitions({index})/name", definition.get("name"))
    found.unique("/portDefinitions", [d["name"] for d in definitions if d.get("name")], "Port names must be unique.")
    found.unique("/portDefinitions", [d["port"] for d in definitions if d.get("port")], "Ports must be unique.")

    mappings = (app.get("container") or {}).get("portMappings") or []
    networks = [n for n in app["networks"] if n["mode"] == "container"]
    names = {network.get("name") for network in networks}
    for index, mapping in enumerate(mappings):
        at = f"/container/portMappings({index})"
        for number in ("containerPort", "hostPort", "servicePort"):
            found.between(f"{at}/{number}", mapping.get(number), 0, MOST_PORT)
        _name_of_port(found, f"{at}/name", mapping.get("name"))
        of_port = mapping.get("networkNames", [])
        if any(name not in names for name in of_port):
            found.add(f"{at}/networkNames", f"must be one of the following: {', '.join(sorted(filter(None, names)))}")
        if len(networks) > 1 and mapping.get("hostPort") is not None and len(of_port) != 1:
            found.add(
                at,
                "networkNames must be a single item list when hostPort is specified and more than 1 container network is defined",
            )
    found.unique(
        "/container/portMappings", [m["name"] for m in mappings if m.get("name")], "Port names must be unique."
    )


def _name_of_port(found: Found, path: str, name: str | None) -> None:
    if name is not None and not (len(name) <= 63 and _port_name.fullmatch(name)):
        found.add(path, f"must fully match regular expression '{_PORT_NAME}'")


def _container(found: Found, app: Document) -> None:
    container = app.get("container")
    if container is None:
        return
    docker, secrets = container.get("docker"), app.get("secrets", {})
    is_docker = container["type"] == "DOCKER"
    if is_docker and docker is None:
        found.add("/container/docker", "not defined")
    if docker is not None:
        found.text("/container/docker/image", docker["image"])
        if docker.get("credential"):
            found.add("/container/docker/credential", "must be empty")
        pull = docker.get("pullConfig")
        if pull and is_docker:
            found.add("/container/docker/pullConfig", "pullConfig is not supported with Docker containerizer")
        elif pull and pull["secret"] not in secrets:
            found.add("/container/docker/pullConfig", "pullConfig.secret must refer to an existing secret")
        if docker.get("parameters") and not is_docker:
            found.add("/container/docker/parameters", "must be empty")
        for index, parameter in enumerate(docker.get("parameters", ())):
            found.not_empty(f"/container/docker/parameters({index})/key", parameter["key"])
    if is_docker and sum(network["mode"] == "container" for network in app["networks"]) > 1:
        found.add("/", "may only specify a single container network when using the Docker container engine")
    volumes_rules(found, "/container/volumes", container["volumes"], docker=is_docker, secrets=secrets)
    ipc = (container.get("linuxInfo") or {}).get("ipcInfo") or {}
    if ipc.get("shmSize") is not None and ipc.get("mode") != "PRIVATE":
        found.add("/container/linuxInfo/ipcInfo", "shmSize can only be set with the PRIVATE mode")
    shared = [v["external"].get("shared") for v in container["volumes"] if "external" in v]
    if app.get("instances", 1) > 1 and not all(shared):
        found.add(
            "/instances", "got more than 1, expected 1 or less: an external volume that is not shared has one user"
        )


def _checks(found: Found, app: Document) -> None:
    container = app.get("container") or {}
    ports = app.get("portDefinitions") or container.get("portMappings") or []
    of_mesos = 0
    for index, check in enumerate(app["healthChecks"]):
        at, protocol = f"/healthChecks({index})", check.get("protocol", "HTTP")
        of_mesos += protocol in MESOS_PROTOCOLS
        _health_check(found, at, check, len(ports))
        if check.get("ipProtocol", "IPv4") != "IPv4" and not (
            protocol.startswith("MESOS_") and container.get("type") == "DOCKER"
        ):
            found.add(at, "IPv6 can only be used for container type DOCKER and Mesos http/https/tcp health checks")
    if of_mesos > 1:
        found.add("/", "AppDefinition can contain at most one Mesos health check")
    if app.get("check") is not None:
        check_rules(found, "/check", app["check"], ports=len(ports))
    if len(app["readinessChecks"]) > 1:
        found.add("/readinessChecks", f"got {len(app['readinessChecks'])}, expected 1 or less")
    names = [port.get("name") for port in ports]
    for index, check in enumerate(app["readinessChecks"]):
        at, port_name = f"/readinessChecks({index})", check.get("portName", "http-api")
        if port_name not in names:
            found.add(f"{at}/portName", f"No port definition reference for portName {port_name}")
        timing_rules(found, at, check, interval=30, timeout=10, strict=True)
        for code in check.get("httpStatusCodesForReady", ()):
            found.between(f"{at}/httpStatusCodesForReady", code, 100, 999)
        found.text(f"{at}/path", check.get("path"))


def _health_check(found: Found, at: str, check: Document, ports: int) -> None:
    protocol, index, port = check.get("protocol", "HTTP"), check.get("portIndex"), check.get("port")
    for name in ("gracePeriodSeconds", "intervalSeconds", "timeoutSeconds", "maxConsecutiveFailures", "delaySeconds"):
        found.at_least(f"{at}/{name}", check.get(name), 0)
    found.between(f"{at}/port", port, 0, MOST_PORT)
    found.text(f"{at}/path", check.get("path"))
    if (protocol == "COMMAND") != (check.get("command") is not None) or (protocol == "COMMAND" and index is not None):
        found.add(at, "Health check protocol must match supplied fields.")
    if index is not None and port is not None:
        found.add(at, "Health check must specify either a port or a portIndex.")
    addressed = 0 <= index < ports if index is not None else port is not None or ports == 1
    if protocol != "COMMAND" and not addressed:
        found.add(
            at, "Health check port indices must address an element of the ports array or container port mappings."
        )
    if protocol == "COMMAND" and check.get("command"):
        found.text(f"{at}/command/value", check["command"]["value"], most=_LONGEST_COMMAND)


def check_rules(found: Found, at: str, check: Document, *, ports: int = 0) -> None:
    """Of a Mesos check, by port index."""
    kinds = [kind for kind in ("http", "tcp", "exec") if check.get(kind) is not None]
    if len(kinds) != 1:
        found.add(at, "Only one of http, tcp, or command may be specified")
    for kind in ("http", "tcp"):
        index = (check.get(kind) or {}).get("portIndex")
        if index is not None and not 0 <= index < ports:
            found.add(
                f"{at}/{kind}/portIndex",
                "Health check port indices must address an element of the ports array or container port mappings.",
            )
    if check.get("exec"):
        command_rules(found, f"{at}/exec/command", check["exec"]["command"])
    timing_rules(found, at, check, interval=60, timeout=20, strict=False)
    found.at_least(f"{at}/delaySeconds", check.get("delaySeconds"), 0)


def command_rules(found: Found, at: str, command: Document) -> None:
    if ("shell" in command) == ("argv" in command):
        found.add(at, "must have exactly one of shell and argv")
    found.not_empty(f"{at}/shell", command.get("shell"))
    found.not_empty(f"{at}/argv", command.get("argv"))


def timing_rules(found: Found, at: str, check: Document, *, interval: int, timeout: int, strict: bool) -> None:
    every_s, within = check.get("intervalSeconds", interval), check.get("timeoutSeconds", timeout)
    found.at_least(f"{at}/intervalSeconds", every_s, 0)
    found.at_least(f"{at}/timeoutSeconds", within, 0)
    if strict and within >= every_s:
        found.add(f"{at}/timeoutSeconds", f"got {within}, expected less than {every_s}")


def _strategies(found: Found, app: Document) -> None:
    resident = _is_resident(app)
    single = app.get("labels", {}).get(SINGLE_INSTANCE_LABEL) == "true"
    rules.upgrade_rules(found, "/upgradeStrategy", app["upgradeStrategy"], single=single, resident=resident)
    rules.rollout_rules(found, "/labels", app.get("labels", {}), app["upgradeStrategy"], resident=resident)
    rules.unreachable_rules(found, "/unreachableStrategy", app["unreachableStrategy"], resident=resident)
    rules.backoff_rules(
        found,
        ("/backoffSeconds", "/backoffFactor", "/maxLaunchDelaySeconds"),
        (app.get("backoffSeconds"), app.get("backoffFactor"), app.get("maxLaunchDelaySeconds")),
    )
    if single and app.get("instances", 1) > 1:
        found.add("/", "Single instance app may only have one instance")


def _is_resident(app: Document) -> bool:
    return any("persistent" in volume for volume in (app.get("container") or {}).get("volumes", ()))
