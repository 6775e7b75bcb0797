"""Declared values <-> their canonical JSON, which is what the store keeps and, apps and pods, what the API answers.

`to_json(value)` gives plain dicts and lists; `from_json(App, document)` takes canonical JSON only (legacy spellings and
validation are the API's). The codec of a class is derived once from its fields: snake case to camel case, None left out,
empty collections and defaults written. What Marathon spells otherwise is in the tables below.
"""

import dataclasses
import re
import types
from collections.abc import Callable, Mapping
from functools import cache
from math import isinf
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from framework.model.app import App, SecretRef
from framework.model.constraint import Constraint
from framework.model.group import Group
from framework.model.network import Network, PortMapping
from framework.model.pod import Pod
from framework.model.resources import UNLIMITED, ResourceLimits
from framework.model.strategy import UnreachableDisabled, UnreachableStrategy
from framework.model.values import FrozenMap
from framework.model.volume import ExternalVolume, HostVolume, PersistentVolume, SecretVolume

T = TypeVar("T")
Json = Any  # what orjson gives and takes
Encode = Callable[[Any], Json]
Decode = Callable[[Json], Any]

# Left out where empty, as Marathon does; clients take their absence to mean something, or for brevity.
_OMIT_EMPTY: dict[type, set[str]] = {
    App: {"args", "accepted_resource_roles", "secrets", "version"},
    Pod: {"accepted_resource_roles", "version"},
    Group: {"version"},
    Network: {"labels"},
    PortMapping: {"network_names"},
}
_NAMES = {"ignore_http1xx": "ignoreHttp1xx"}


def to_json(value: object) -> Json:
    return _encoder(type(value))(value)


def from_json(cls: type[T], document: Json) -> T:
    """Raises KeyError, TypeError or ValueError where `document` is not canonical."""
    value: T = _decoder(cls)(document)
    return value


# --- classes


def _encoder(cls: Any) -> Encode:
    return _ENCODE[cls] if cls in _ENCODE else _encoder_by_rule(cls)


def _decoder(cls: Any) -> Decode:
    return _DECODE[cls] if cls in _DECODE else _decoder_by_rule(cls)


@cache
def _encoder_by_rule(cls: Any) -> Encode:
    hints = get_type_hints(cls)
    plan = [
        (f.name, _json_name(f.name), _encode_type(hints[f.name]), f.name in _OMIT_EMPTY.get(cls, ()))
        for f in dataclasses.fields(cls)
        if f.init
    ]

    def encode(value: Any) -> Json:
        document = {}
        for attribute, name, encode_field, omit_empty in plan:
            content = getattr(value, attribute)
            if content is None or (omit_empty and not content):
                continue
            document[name] = encode_field(content) if encode_field else content
        return document

    return encode


@cache
def _decoder_by_rule(cls: Any) -> Decode:
    hints = get_type_hints(cls)
    plan = [(_json_name(f.name), f.name, _decode_type(hints[f.name])) for f in dataclasses.fields(cls) if f.init]

    def decode(document: Json) -> Any:
        found = {}
        for name, attribute, decode_field in plan:
            content = document.get(name)
            if content is not None:
                found[attribute] = decode_field(content) if decode_field else content
        return cls(**found)

    return decode


# --- types of fields; None for what is the same in JSON


def _encode_type(hint: Any) -> Encode | None:
    kind, inner = _shape(hint)
    if kind == "class":
        return _encoder(inner)
    if kind == "union":
        return _encode_union
    if kind == "float":
        return _encode_number
    if kind in ("tuple", "map"):
        encode = _encode_type(inner)
        if kind == "tuple":
            return list if encode is None else lambda items: [encode(item) for item in items]
        return _thaw if encode is None else lambda items: {key: encode(item) for key, item in items.items()}
    return None


def _decode_type(hint: Any) -> Decode | None:
    kind, inner = _shape(hint)
    if kind == "class":
        return _decoder(inner)
    if kind == "union":
        return _UNIONS[inner]
    if kind in ("tuple", "map"):
        decode = _decode_type(inner)
        if kind == "tuple":
            return tuple if decode is None else lambda items: tuple(decode(item) for item in items)
        return _freeze if decode is None else lambda items: FrozenMap({k: decode(item) for k, item in items.items()})
    return float if kind == "float" else None


def _shape(hint: Any) -> tuple[str, Any]:
    """What a field holds, None aside: ("class", C), ("union", members), ("tuple" | "map", inner hint), ("float" | "plain", None)."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        members = frozenset(member for member in arguments if member is not type(None))
        if len(members) == 1:
            return _shape(next(iter(members)))
        return "union", members
    if origin is tuple:
        return "tuple", arguments[0]
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return "map", arguments[1]
    if dataclasses.is_dataclass(hint):
        return "class", hint
    return ("float", None) if hint is float else ("plain", None)


def _encode_union(value: Any) -> Json:
    return to_json(value) if dataclasses.is_dataclass(value) else value


def _encode_number(value: float) -> Json:
    """Whole numbers without a point, as Marathon writes them: typed clients read some of them as integers."""
    return int(value) if value == int(value) else value


def _freeze(value: Any) -> Any:
    """Free-form JSON, made immutable all through."""
    if isinstance(value, dict):
        return FrozenMap({key: _freeze(item) for key, item in value.items()})
    return tuple(_freeze(item) for item in value) if isinstance(value, list) else value


def _thaw(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _thaw(item) for key, item in value.items()}
    return [_thaw(item) for item in value] if isinstance(value, tuple) else value


def _json_name(attribute: str) -> str:
    return _NAMES.get(attribute) or re.sub(r"_(\w)", lambda match: match[1].upper(), attribute)


# --- what is not spelled by the rule


def _decode_volume(document: Json) -> Any:
    for key, kind in (("persistent", PersistentVolume), ("external", ExternalVolume), ("secret", SecretVolume)):
        if document.get(key) is not None:
            return _decoder(kind)(document)
    return _decoder(HostVolume)(document)


def _decode_env(value: Json) -> Any:
    return value if isinstance(value, str) else SecretRef(value["secret"])


def _decode_unreachable(document: Json) -> Any:
    return UnreachableDisabled() if document == "disabled" else _decoder(UnreachableStrategy)(document)


def _encode_constraint(constraint: Constraint) -> Json:
    return [constraint.field, constraint.operator] + ([] if constraint.value is None else [constraint.value])


def _encode_limits(limits: ResourceLimits) -> Json:
    given = {"cpus": limits.cpus, "mem": limits.mem}
    return {
        name: "unlimited" if isinf(limit) else _encode_number(limit)
        for name, limit in given.items()
        if limit is not None
    }


def _decode_limits(document: Json) -> ResourceLimits:
    return ResourceLimits(
        **{name: UNLIMITED if limit == "unlimited" else float(limit) for name, limit in document.items()}
    )


def _encode_app(app: App) -> Json:
    """Ports are told in one place only: `portDefinitions` with host networking, else the container's `portMappings`."""
    document = _encoder_by_rule(App)(app)
    if not app.host_networking:
        del document["portDefinitions"]
    elif app.container:
        del document["container"]["portMappings"]
    return document


def _encode_pod(pod: Pod) -> Json:
    document = _encoder_by_rule(Pod)(pod)
    scaling = {"kind": "fixed", "instances": document.pop("instances")}
    placement = {
        "constraints": [
            {"fieldName": c.field, "operator": c.operator} | ({} if c.value is None else {"value": c.value})
            for c in pod.constraints
        ],
    } | ({"acceptedResourceRoles": list(pod.accepted_resource_roles)} if pod.accepted_resource_roles else {})
    for name in ("constraints", "acceptedResourceRoles"):
        document.pop(name, None)
    scheduling = {
        "backoff": {
            "backoff": document.pop("backoffSeconds"),
            "backoffFactor": document.pop("backoffFactor"),
            "maxLaunchDelay": document.pop("maxLaunchDelaySeconds"),
        },
        "upgrade": document.pop("upgradeStrategy"),
        "placement": placement,
        "killSelection": document.pop("killSelection"),
        "unreachableStrategy": document.pop("unreachableStrategy"),
    }
    return document | {"scaling": scaling, "scheduling": scheduling}


def _decode_pod(document: Json) -> Pod:
    scheduling = document.get("scheduling", {})
    placement = scheduling.get("placement", {})
    backoff = scheduling.get("backoff", {})
    flat = {
        **document,
        "instances": document.get("scaling", {}).get("instances"),
        "backoffSeconds": backoff.get("backoff"),
        "backoffFactor": backoff.get("backoffFactor"),
        "maxLaunchDelaySeconds": backoff.get("maxLaunchDelay"),
        "upgradeStrategy": scheduling.get("upgrade"),
        "killSelection": scheduling.get("killSelection"),
        "unreachableStrategy": scheduling.get("unreachableStrategy"),
        "constraints": [
            [c["fieldName"], c["operator"], *([c["value"]] if c.get("value") is not None else [])]
            for c in placement.get("constraints", ())
        ],
        "acceptedResourceRoles": placement.get("acceptedResourceRoles"),
    }
    pod: Pod = _decoder_by_rule(Pod)(flat)
    return pod


_ENCODE: dict[Any, Encode] = {
    App: _encode_app,
    Pod: _encode_pod,
    Constraint: _encode_constraint,
    ResourceLimits: _encode_limits,
    UnreachableDisabled: lambda _value: "disabled",
}
_DECODE: dict[Any, Decode] = {
    Pod: _decode_pod,
    Constraint: lambda items: Constraint(*items),
    ResourceLimits: _decode_limits,
}
_UNIONS: dict[frozenset[Any], Decode] = {
    frozenset({HostVolume, PersistentVolume, ExternalVolume, SecretVolume}): _decode_volume,
    frozenset({str, SecretRef}): _decode_env,
    frozenset({UnreachableStrategy, UnreachableDisabled}): _decode_unreachable,
}
