"""An app as clients write it -> an App in canonical form.

Clients of Marathon 0.8 to 1.11 spell networks, ports and artifacts in several ways. Each is translated to the one of 1.11, and
what is missing gets its default, in three steps that a change of an existing app goes through as well:

    check_types       types; raises InvalidJsonError
    _modernised       legacy spellings -> canonical ones, of the fields that were given
    _completed        defaults, and what follows from other fields

`app_rules` then looks at the whole. All of it works on JSON documents; `codec.from_json` makes the App at the end.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from framework.api.errors import InvalidObjectError, Violation
from framework.api.forms import app_rules, shapes
from framework.api.forms.type_check import check_types, missing_field
from framework.decide.secret_source import StoreName
from framework.model import path_id
from framework.model.app import DEFAULT_ROLE, SINGLE_INSTANCE_LABEL, App
from framework.model.codec import from_json, to_json
from framework.model.group import Group

Document = dict[str, Any]

_ARCHIVES = (".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".zip")
_DEFAULT_PORT = {"port": 0, "protocol": "tcp", "name": "default"}
_DEFAULT_MAPPING = {"containerPort": 0, "hostPort": 0, "servicePort": 0, "protocol": "tcp", "name": "default"}
_KILL_SELECTIONS = {"YoungestFirst": "YOUNGEST_FIRST", "OldestFirst": "OLDEST_FIRST"}


@dataclass(frozen=True, slots=True)
class Defaults:
    """What an operator settles for all apps and pods, and the groups as they are declared, which settle the roles."""

    network_name: str | None = None
    bridge_name: str = "mesos-bridge"
    accepted_resource_roles: tuple[str, ...] = ()
    role: str = DEFAULT_ROLE
    groups: Mapping[str, Group] = field(default_factory=dict)
    secrets_default: StoreName | None = None
    secrets_scoped: bool = False

    def role_of(self, spec_id: str) -> str:
        """The role of a definition that names none."""
        return self.roles_for(spec_id)[0]

    def roles_for(self, spec_id: str) -> tuple[str, ...]:
        """The roles that a definition may name: this framework's and the top-level group's, or, enforced, the latter alone."""
        top = path_id.top_level(spec_id)
        if top is None:
            return (self.role,)
        group = self.groups.get("/" + top)
        return (top,) if group and group.enforce_role else (self.role, top)


def new_app(document: object, defaults: Defaults) -> App:
    """The app that `document` declares. Raises InvalidJsonError or InvalidObjectError with every violation."""
    given = check_types(shapes.App, document)
    if "id" not in given:
        raise missing_field("id")
    return made(*completed(given, defaults))


def whole_app(app_id: str, document: object, defaults: Defaults) -> App:
    """As `new_app`, for an id that is known from elsewhere."""
    return made(*completed({**check_types(shapes.App, document), "id": app_id}, defaults))


def changed_app(current: App, document: object, defaults: Defaults) -> App:
    """`current` with the fields that `document` gives (a field is replaced as a whole), and what follows from them."""
    given = check_types(shapes.App, document)
    violations: list[Violation] = []
    if "version" in given and set(given) - {"version", "id"}:
        violations.append(Violation("/", "The 'version' field may only be combined with the 'id' field."))
    changes = _modernised(given, defaults, violations.append)
    before = to_json(current)
    merged = {**before, **changes, "id": current.id}
    _drop_ports_of_the_other_kind(merged, changes)
    if "networks" in changes or "container" in changes:
        _keep_default_upgrade(before, merged, changes)
    return made(*_finished(merged, defaults, violations))


def completed(given: Document, defaults: Defaults, *, base: str = path_id.ROOT) -> tuple[Document, list[Violation]]:
    """The canonical form of a document whose types are right and that has an id, and what is wrong with it."""
    violations: list[Violation] = []
    canonical = _modernised(given, defaults, violations.append)
    canonical["id"] = path_id.canonical(canonical["id"], base)
    return _finished(canonical, defaults, violations)


def made(document: Document, violations: list[Violation]) -> App:
    if violations:
        raise InvalidObjectError(violations)
    return from_json(App, document)


def _finished(document: Document, defaults: Defaults, violations: list[Violation]) -> tuple[Document, list[Violation]]:
    group = path_id.parent(document["id"])
    document["dependencies"] = [path_id.canonical(d, group) for d in document.get("dependencies", [])]
    document.pop("version", None)  # the engine's to say
    document.pop("versionInfo", None)
    whole = _completed(document, defaults)
    return whole, violations + app_rules.violations(whole, defaults.roles_for(whole["id"]))


# --- legacy spellings


def _modernised(given: Document, defaults: Defaults, violate: Callable[[Violation], None]) -> Document:
    document = dict(given)
    _fetch_of_uris(document, violate)
    _networks_of_legacy(document, defaults, violate)
    _mappings_of_docker(document, violate)
    _mappings_of_ip_address(document, violate)
    _definitions_of_ports(document, violate)
    document.pop("ipAddress", None)
    if "killSelection" in document:
        document["killSelection"] = _KILL_SELECTIONS.get(document["killSelection"], document["killSelection"])
    return document


def _fetch_of_uris(document: Document, violate: Callable[[Violation], None]) -> None:
    uris = document.pop("uris", None)
    if uris and document.get("fetch"):
        violate(Violation("/uris", "may not be set in conjunction with fetch"))
    elif uris:
        document["fetch"] = [{"uri": uri, "extract": uri.lower().endswith(_ARCHIVES)} for uri in uris]


def _networks_of_legacy(document: Document, defaults: Defaults, violate: Callable[[Violation], None]) -> None:
    container = document.get("container") or {}
    docker = container.get("docker") or {}
    kind, address = docker.get("network"), document.get("ipAddress")
    if docker:
        document["container"] = {**container, "docker": {k: v for k, v in docker.items() if k != "network"}}
    if document.get("networks"):
        if kind:
            violate(Violation("/", "must not specify both container.docker.network and networks"))
        if address is not None:
            violate(Violation("/", "must not specify both networks and ipAddress"))
        return
    labels = {"labels": address["labels"]} if address and address.get("labels") else {}
    name = address.get("networkName") if address else None
    named = {"name": name} if name else {}
    match kind:
        case "HOST":
            document["networks"] = [{"mode": "host"}]
        case "BRIDGE":
            document["networks"] = [{"mode": "container/bridge", **labels}]
        case "USER":
            document["networks"] = [{"mode": "container", **named, **labels}]
        case "NONE":
            violate(Violation("/container/docker/network", "unsupported docker network type NONE"))
        case _ if address is not None and name == defaults.bridge_name:
            document["networks"] = [{"mode": "container/bridge", **labels}]
        case _ if address is not None:
            document["networks"] = [{"mode": "container", **named, **labels}]


def _mappings_of_docker(document: Document, violate: Callable[[Violation], None]) -> None:
    container = document.get("container") or {}
    docker = container.get("docker") or {}
    if "portMappings" not in docker:
        return
    mappings = docker["portMappings"]
    modern = {**container, "docker": {k: v for k, v in docker.items() if k != "portMappings"}}
    if mappings and container.get("portMappings"):
        violate(Violation("/container", "cannot specify both portMappings and docker.portMappings"))
    elif not container.get("portMappings"):
        modern["portMappings"] = mappings
    document["container"] = modern


def _mappings_of_ip_address(document: Document, violate: Callable[[Violation], None]) -> None:
    address = document.get("ipAddress")
    if address is None:
        return
    ports = (address.get("discovery") or {}).get("ports") or []
    container = document.get("container")
    if container is not None and _type_of(container) == "DOCKER":
        if "discovery" in address:
            violate(Violation("/ipAddress", "ipAddress/discovery is not allowed for Docker containers"))
        return
    if document.get("ports") or document.get("portDefinitions"):
        violate(Violation("/", "cannot specify both an IP address and port"))
    modern = {**(container or {"type": "MESOS"})}
    if ports and modern.get("portMappings"):
        violate(Violation("/", "container.portMappings and ipAddress.discovery.ports must not both be set"))
    elif ports:
        modern["portMappings"] = [
            {("containerPort" if key == "number" else key): value for key, value in port.items()} for port in ports
        ]
    document["container"] = modern


def _definitions_of_ports(document: Document, violate: Callable[[Violation], None]) -> None:
    ports = document.pop("ports", None)
    if ports is None:
        return
    chosen = [port for port in ports if port != 0]
    if len(set(chosen)) < len(chosen):
        violate(Violation("/", "ports must be unique"))
    definitions = document.get("portDefinitions")
    if definitions is None:
        document["portDefinitions"] = [{"port": port} for port in ports]
    elif ports and definitions and [definition.get("port", 0) for definition in definitions] != ports:
        violate(Violation("/", "cannot specify both ports and port definitions"))


# --- defaults


def _completed(given: Document, defaults: Defaults) -> Document:
    """`given` with every default that depends on other fields; plain ones are the model's own."""
    document = dict(given)
    document["networks"] = [_completed_network(n, defaults) for n in document.get("networks") or [{"mode": "host"}]]
    if all(network["mode"] == "host" for network in document["networks"]):
        _complete_host_ports(document)
    else:
        _complete_container_ports(document)
    container = document.get("container")
    if container is not None:
        document["container"] = {**container, "type": _type_of(container)}
        document["container"]["volumes"] = [
            volume if "secret" in volume else {"mode": "RW", **volume} for volume in container.get("volumes", [])
        ]
    volumes = document.get("container", {}).get("volumes", [])
    resident = any("persistent" in volume for volume in volumes)
    external = any("external" in volume for volume in volumes)
    single = document.get("labels", {}).get(SINGLE_INSTANCE_LABEL) == "true"
    document["upgradeStrategy"] = {
        **default_upgrade(resident=resident, external=external, single=single),
        **document.get("upgradeStrategy", {}),
    }
    if document.get("unreachableStrategy") is None:
        document["unreachableStrategy"] = "disabled" if resident else {}
    document["role"] = document.get("role") or defaults.role_of(document["id"])
    if "acceptedResourceRoles" not in document and defaults.accepted_resource_roles:
        document["acceptedResourceRoles"] = list(defaults.accepted_resource_roles)
    document["healthChecks"] = [_completed_check(c, _has_ports(document)) for c in document.get("healthChecks", [])]
    document["readinessChecks"] = [
        {k: v for k, v in check.items() if k != "httpStatusCodesForReady" or v}
        for check in document.get("readinessChecks", [])
    ]
    return document


def default_upgrade(*, resident: bool, external: bool, single: bool) -> Document:
    if single:
        return {"minimumHealthCapacity": 0, "maximumOverCapacity": 0}
    if resident or external:
        return {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0}
    return {"minimumHealthCapacity": 1, "maximumOverCapacity": 1}


def _completed_network(network: Document, defaults: Defaults) -> Document:
    mode = network.get("mode", "container")
    name = network.get("name") or (defaults.network_name if mode == "container" else None)
    return {**network, "mode": mode} | ({"name": name} if name else {})


def _complete_host_ports(document: Document) -> None:
    if document.get("portDefinitions") is None:
        document["portDefinitions"] = [_DEFAULT_PORT]
    document["portDefinitions"] = [_with_protocol(d) for d in document["portDefinitions"]]
    if document.get("container"):
        document["container"] = {k: v for k, v in document["container"].items() if k != "portMappings"}


def _complete_container_ports(document: Document) -> None:
    definitions = document.pop("portDefinitions", None) or []
    document["requirePorts"] = False
    container = dict(document.get("container") or {"type": "MESOS"})
    bridged = any(network["mode"] == "container/bridge" for network in document["networks"])
    mappings = container.get("portMappings")
    if mappings is None:
        mappings = [_DEFAULT_MAPPING if bridged else {k: v for k, v in _DEFAULT_MAPPING.items() if k != "hostPort"}]
    # Old clients sent `ports` next to a bridge network: as many ports as that were meant.
    mappings = mappings + [{}] * (len(definitions) - len(mappings))
    container["portMappings"] = [_with_protocol({**({"hostPort": 0} if bridged else {}), **m}) for m in mappings]
    document["container"] = container


def _with_protocol(port: Document) -> Document:
    return {**port, "protocol": "udp,tcp"} if port.get("protocol") == "tcp,udp" else port


def _completed_check(check: Document, has_ports: bool) -> Document:
    protocol = check.get("protocol", "HTTP")
    if has_ports and protocol != "COMMAND" and "port" not in check and "portIndex" not in check:
        check = {**check, "portIndex": 0}
    if "HTTP" in protocol and not check.get("path"):
        check = {**check, "path": "/"}
    return check


def _has_ports(document: Document) -> bool:
    container = document.get("container") or {}
    return bool(document.get("portDefinitions") or container.get("portMappings"))


def _type_of(container: Document) -> str:
    kind: str = container.get("type") or ("DOCKER" if container.get("docker") else "MESOS")
    return kind


# --- changes


def _drop_ports_of_the_other_kind(merged: Document, changes: Document) -> None:
    """A change of the network mode makes the ports of the former mode meaningless, unless the change gives them."""
    host = all(network.get("mode") == "host" for network in merged.get("networks") or [{"mode": "host"}])
    if not host and "portDefinitions" not in changes:
        merged.pop("portDefinitions", None)


def _keep_default_upgrade(before: Document, merged: Document, changes: Document) -> None:
    """An upgrade strategy that was the default follows the volumes: a stateless app that becomes resident gets resident's."""
    if "upgradeStrategy" not in changes and before["upgradeStrategy"] == default_upgrade(
        resident=False, external=False, single=False
    ):
        merged.pop("upgradeStrategy", None)
