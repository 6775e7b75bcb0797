"""PURE: an Instance -> the services that it is to have in Consul. Names, ids, addresses, tags and meta; all input is hostile."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from registrator.checks import CheckPolicy, checks_of, fingerprint
from registrator.conventions import app_name, attributes, consul_name, is_true, split_tags, tag_labels
from registrator.model import Check, Instance, Port, Service

OWNER, APP, TASK, CONTAINER, PORT_INDEX, VERSION, CHECKS = (
    f"dromos-{name}" for name in ("owner", "app", "task", "container", "port-index", "version", "checks")
)
_FORWARDED_LABELS = ("HAPROXY_", "DROMOS_EDGE_")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_PORT_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,62})")
_META_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MOST_META, _MOST_META_BYTES = 64, 512  # Consul's own limits
_MOST_TAG, _MOST_TAGS = 255, 128


@dataclass(frozen=True, slots=True)
class Naming:
    """How to name and address. `ip` replaces the address of published ports, `internal` prefers the container's own address."""

    owner: str = "dromos"
    separator: str = "."
    explicit: bool = False
    internal: bool = False
    ip: str = ""
    tags: tuple[str, ...] = ()
    checks: CheckPolicy = field(default_factory=CheckPolicy)


@dataclass(frozen=True, slots=True)
class Named:
    """The services of one instance, and what was refused or left out, one line each.

    `unsure`: an address is not known at the moment, so that there may be more services than these.
    """

    services: tuple[Service, ...]
    refused: tuple[str, ...] = ()
    unsure: bool = False


def services_of(instance: Instance, naming: Naming) -> Named:
    services: dict[str, Service] = {}
    refused: list[str] = []
    ports = instance.ports
    if any(consul_name(port.labels) is not None for port in ports):
        ports = tuple(port for port in ports if consul_name(port.labels) is not None)
    reachable = [(port, address_of(port, naming)) for port in ports]
    several = instance.has_siblings or len({port.index for port, address in reachable if address}) > 1
    if not ports:
        refused.append("it has no port")
    for port, address in reachable:
        if address is None:
            refused.append(f"port {port.index}: no address that clients could reach (not published, or not known yet)")
            continue
        service = _service(instance, port, address, several, naming, refused)
        if service and services.setdefault(service.id, service) is not service:
            refused.append(f"port {port.index}: another port has the same service id {service.id}")
    unsure = not ports or any(address is None and _lacks_address(port, naming) for port, address in reachable)
    return Named(tuple(services.values()), tuple(refused), unsure)


def address_of(port: Port, naming: Naming) -> tuple[str, int] | None:
    """Where clients reach it; None where they cannot.

    The host's port where one is published; else the container's own, where its network lets clients reach that. With
    `internal` the container's own comes first.
    """
    own = (port.own_address, port.own_port) if port.own_address and port.own_port else None
    host_address = naming.ip or port.host_address
    published = (host_address, port.host_port) if host_address and port.host_port else None
    choices = (own, published) if naming.internal else (published, own if port.own_reachable else None)
    return next((choice for choice in choices if choice and _is_address(choice[0])), None)


def _lacks_address(port: Port, naming: Naming) -> bool:
    """It has a number that clients would reach, if only its address were known."""
    published = bool(port.host_port) and not (naming.ip or port.host_address)
    own = bool(port.own_port) and not port.own_address and (port.own_reachable or naming.internal)
    return published or own


def _service(
    instance: Instance, port: Port, address: tuple[str, int], several: bool, naming: Naming, refused: list[str]
) -> Service | None:
    said, said_of_port = attributes(instance.env, {**instance.labels, **port.labels}, (port.own_port, port.host_port))
    if said.get("ignore") or instance.labels.get("consul", "").strip().lower() == "false":
        refused.append(f"port {port.index}: it asks not to be registered")
        return None
    base = _base_name(instance, port, said, naming)
    if base is None:
        refused.append(f"port {port.index}: it does not ask to be registered, and only what asks is (--explicit)")
        return None
    named_itself = "name" in said_of_port or bool(consul_name(port.labels))
    name = f"{base}-{_suffix(instance, port)}" if several and not named_itself else base
    if not _NAME.fullmatch(name):
        refused.append(
            f"port {port.index}: {_shown(name)} cannot be a service name (letters, digits, . _ -; at most 128)"
        )
        return None
    id = _id(instance, port, name, address, said)
    if any(_CONTROL.search(text) or len(text.encode()) > _MOST_META_BYTES for text in (id, instance.app, instance.key)):
        refused.append(
            f"port {port.index}: its id {_shown(id)} or app id {_shown(instance.app)} is not one that Consul may hold"
        )
        return None
    tags = _tags(instance, port, {name, base}, said, naming, refused)
    checks = tuple(checks_of(instance, port, address, id, said, naming.checks))
    meta = _meta(instance, port, said, checks, naming, refused)
    return Service(id, name, *address, tags, meta, checks)


def _base_name(instance: Instance, port: Port, said: Mapping[str, str], naming: Naming) -> str | None:
    """None where the instance does not ask for registration although it has to."""
    own_name = app_name(instance.app, naming.separator)
    for asked in (consul_name(port.labels), said.get("name"), consul_name(instance.labels)):
        if asked is not None:
            return asked or own_name
    return None if naming.explicit else own_name


def _suffix(instance: Instance, port: Port) -> str:
    """The port's name or index; a container's exposed port, as registrator has it."""
    if instance.kind == "container":
        return str(port.own_port or port.host_port)
    return port.name if _PORT_NAME.fullmatch(port.name) else str(port.index)


def _id(instance: Instance, port: Port, name: str, address: tuple[str, int], said: Mapping[str, str]) -> str:
    udp = ":udp" if port.protocol == "udp" else ""
    if instance.kind == "task":
        return f"{instance.key}_{name}_{address[1]}{udp}"
    if (asked := said.get("id")) and not _CONTROL.search(asked) and len(asked) <= _MOST_TAG:
        return asked
    return f"{instance.host}:{instance.container}:{port.own_port or port.host_port}{udp}"


def _tags(
    instance: Instance, port: Port, names: set[str], said: Mapping[str, str], naming: Naming, refused: list[str]
) -> tuple[str, ...]:
    asked = {
        *split_tags(said.get("tags", "")),
        *tag_labels(instance.labels, names),
        *tag_labels(port.labels, names),
        *naming.tags,
        *(("udp",) if port.protocol == "udp" else ()),
    }
    good = sorted(tag for tag in asked if len(tag) <= _MOST_TAG and not _CONTROL.search(tag))
    refused += [
        f"port {port.index}: tag {_shown(tag)} is left out: control characters, or too long"
        for tag in asked - set(good)
    ]
    if len(good) > _MOST_TAGS:
        refused.append(f"port {port.index}: {len(good) - _MOST_TAGS} tags beyond {_MOST_TAGS} are left out")
    return tuple(good[:_MOST_TAGS])


def _meta(
    instance: Instance,
    port: Port,
    said: Mapping[str, str],
    checks: tuple[Check, ...],
    naming: Naming,
    refused: list[str],
) -> dict[str, str]:
    """Ours first, so that no label can take their place or their room."""
    whose = {APP: instance.app, TASK: instance.key} if instance.kind == "task" else {CONTAINER: instance.key}
    meta = {OWNER: naming.owner, **whose, PORT_INDEX: str(port.index)}
    if instance.version:
        meta[VERSION] = instance.version
    if checks:
        meta[CHECKS] = fingerprint(checks)
    for key, value in sorted(_asked_meta(instance, port, said)):
        if key in meta:
            continue
        if not _META_KEY.fullmatch(key) or len(value.encode()) > _MOST_META_BYTES or _CONTROL.search(value):
            refused.append(
                f"port {port.index}: meta {_shown(key)} is left out: not a key or a value that Consul may hold"
            )
        elif len(meta) >= _MOST_META:
            refused.append(f"port {port.index}: meta {_shown(key)} is left out: Consul holds at most {_MOST_META}")
        else:
            meta[key] = value
    return meta


def _asked_meta(instance: Instance, port: Port, said: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, value in {**instance.labels, **port.labels}.items():
        if key.startswith(_FORWARDED_LABELS):
            yield key, value
    for key, value in said.items():
        if key not in ("name", "tags", "id", "ignore") and not key.startswith("check_"):
            yield key, value


def _is_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "…")


def key_of(meta: Mapping[str, str]) -> str:
    """The instance that a registered service belongs to; "" if its meta does not say."""
    return meta.get(TASK) or meta.get(CONTAINER) or ""


def asks_for_registration(env: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a container names a service itself, for any of its ports."""
    return any(
        name == "SERVICE_NAME" or (name.startswith("SERVICE_") and name.endswith("_NAME")) for name in {**env, **labels}
    ) or ("consul" in labels and not is_true(env.get("SERVICE_IGNORE", "")))
