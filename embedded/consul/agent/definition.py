"""What clients register with the agent: services and checks, read from request bodies and checked by the real one's rules."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from embedded.consul import body
from embedded.consul.errors import BadRequestError, FailedError
from embedded.consul.golang import NANOSECONDS
from embedded.consul.model import CRITICAL, STATUSES, Check, Service

_CHECK_FIELDS: Mapping[str, body.Decoder] = {
    "CheckID": body.text,
    "Name": body.text,
    "Status": body.text,
    "Notes": body.text,
    "ServiceID": body.text,
    "ScriptArgs": body.TEXTS,
    "HTTP": body.text,
    "Header": body.map_of(body.TEXTS, "map[string][]string"),
    "Method": body.text,
    "Body": body.text,
    "TCP": body.text,
    "Interval": body.duration,
    "AliasNode": body.text,
    "AliasService": body.text,
    "DockerContainerID": body.text,
    "Shell": body.text,
    "GRPC": body.text,
    "GRPCUseTLS": body.boolean,
    "TLSSkipVerify": body.boolean,
    "Timeout": body.duration,
    "TTL": body.duration,
    "SuccessBeforePassing": body.integer,
    "FailuresBeforeCritical": body.integer,
    "DeregisterCriticalServiceAfter": body.duration,
    "OutputMaxSize": body.integer,
}
_CHECK_ALIASES = {
    "Args": "ScriptArgs",
    "script_args": "ScriptArgs",
    "docker_container_id": "DockerContainerID",
    "tls_skip_verify": "TLSSkipVerify",
    "deregister_critical_service_after": "DeregisterCriticalServiceAfter",
    "service_id": "ServiceID",
}
_SERVICE_CHECK = body.Struct(
    "", {**_CHECK_FIELDS, "ProxyHTTP": body.text, "ProxyGRPC": body.text}, aliases=_CHECK_ALIASES
)
_NODE_CHECK_FIELDS = {name: decoder for name, decoder in _CHECK_FIELDS.items() if name != "CheckID"}
NODE_CHECK = body.Struct("", {**_NODE_CHECK_FIELDS, "ID": body.text, "Token": body.text}, aliases=_CHECK_ALIASES)
ADDRESSES = body.map_of(body.Struct("ServiceAddress", {"Address": body.text, "Port": body.integer}), "ServiceAddress")
WEIGHTS = body.Struct("Weights", {"Passing": body.integer, "Warning": body.integer})
SERVICE = body.Struct(
    "",
    {
        "Kind": body.text,
        "ID": body.text,
        "Name": body.text,
        "Tags": body.TEXTS,
        "Address": body.text,
        "TaggedAddresses": ADDRESSES,
        "Meta": body.TEXT_MAP,
        "Port": body.integer,
        "Check": _SERVICE_CHECK,
        "Checks": body.list_of(_SERVICE_CHECK, "structs.CheckTypes"),
        "Weights": WEIGHTS,
        "Token": body.text,
        "EnableTagOverride": body.boolean,
        "Proxy": body.anything,
        "Connect": body.anything,
    },
    aliases={"tagged_addresses": "TaggedAddresses", "enable_tag_override": "EnableTagOverride"},
)
STATUS_UPDATE = body.Struct("checkUpdate", {"Status": body.text, "Output": body.text})

_META_KEY = re.compile(r"[a-zA-Z0-9_-]+")
_META_PAIRS, _META_KEY_LENGTH, _META_VALUE_LENGTH = 64, 128, 512
_SMALLEST_INTERVAL = 1.0
_DEFAULT_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class CheckDefinition:
    """A check of the agent. Times are seconds; 0 is "not given"."""

    id: str
    name: str
    service_id: str = ""
    status: str = ""
    notes: str = ""
    http: str = ""
    method: str = ""
    header: dict[str, list[str]] = field(default_factory=dict)
    body: str = ""
    tls_skip_verify: bool = False
    tcp: str = ""
    grpc: str = ""
    grpc_use_tls: bool = False
    alias_node: str = ""
    alias_service: str = ""
    maintenance: bool = False
    interval: float = 0.0
    timeout: float = 0.0
    ttl: float = 0.0
    deregister_after: float = 0.0
    success_before_passing: int = 0
    failures_before_critical: int = 0
    output_max_size: int = 0

    @property
    def type(self) -> str:
        kinds = {
            "grpc": self.grpc,
            "http": self.http,
            "tcp": self.tcp,
            "ttl": self.ttl,
            "maintenance": self.maintenance,
        }
        return next((name for name, given in kinds.items() if given), "alias")

    @property
    def pace(self) -> float:
        """Seconds from one run to the next."""
        return max(self.interval, _SMALLEST_INTERVAL)

    @property
    def patience(self) -> float:
        """Seconds that one run may take."""
        return self.timeout or _DEFAULT_TIMEOUT

    def first(self, node: str) -> Check:
        """The check as it is before it first runs."""
        return Check(
            node=node,
            id=self.id,
            name=self.name,
            status=self.status or CRITICAL,
            notes=self.notes,
            service_id=self.service_id,
            type=self.type,
        )


def read_service(given: Mapping[str, Any], node: str) -> tuple[Service, list[CheckDefinition]]:
    """The service and its checks from a decoded SERVICE. Raises BadRequestError or FailedError."""
    name = given.get("Name", "")
    if not name:
        raise BadRequestError("Missing service name")
    address = given.get("Address", "")
    if _unspecified(address):
        raise BadRequestError("Invalid service address")
    check_meta(given.get("Meta", {}))
    weights = given.get("Weights", {"Passing": 1, "Warning": 1})
    id = given.get("ID") or name
    service = Service(
        node=node,
        id=id,
        name=name,
        tags=tuple(given.get("Tags", ())),
        address=address,
        port=given.get("Port", 0),
        meta=given.get("Meta"),
        tagged_addresses=_tagged_addresses(given),
        passing_weight=weights.get("Passing", 0),
        warning_weight=weights.get("Warning", 0),
        enable_tag_override=given.get("EnableTagOverride", False),
        kind=given.get("Kind", ""),
        proxy=given.get("Proxy") or {},
        connect=given.get("Connect") or {},
    )
    checks = [*([given["Check"]] if given.get("Check") else []), *given.get("Checks", [])]
    for each in checks:
        _refuse_bad_check(each)
    check_weights(service)
    return service, [_service_check(each, service, at, len(checks)) for at, each in enumerate(checks, 1)]


def read_check(given: Mapping[str, Any]) -> CheckDefinition:
    """A check from a decoded NODE_CHECK. Raises BadRequestError or FailedError."""
    name = given.get("Name", "")
    if not name:
        raise BadRequestError("Missing check name")
    if given.get("Status") and given["Status"] not in STATUSES:
        raise BadRequestError("Bad check status")
    _refuse_bad_check(given)
    return _definition(given, id=given.get("ID") or name, name=name, service_id=given.get("ServiceID", ""))


def check_meta(meta: Mapping[str, str]) -> None:
    """Raises BadRequestError if the metadata of a service is not to be had."""
    if len(meta) > _META_PAIRS:
        raise BadRequestError(
            f"Invalid Service Meta: Node metadata cannot contain more than {_META_PAIRS} key/value pairs"
        )
    for key, value in meta.items():
        problem = ""
        if not key:
            problem = "Key cannot be blank"
        elif not _META_KEY.fullmatch(key):
            problem = "Key contains invalid characters"
        elif len(key) > _META_KEY_LENGTH:
            problem = f"Key is too long (limit: {_META_KEY_LENGTH} characters)"
        elif key.startswith("consul-"):
            problem = "Key prefix 'consul-' is reserved for internal use"
        elif len(value) > _META_VALUE_LENGTH:
            problem = f"Value is too long (limit: {_META_VALUE_LENGTH} characters)"
        if problem:
            raise BadRequestError(f"Invalid Service Meta: Couldn't load metadata pair ('{key}', '{value}'): {problem}")


def check_weights(service: Service) -> None:
    if service.passing_weight < 1:
        raise BadRequestError("Invalid Weights: Passing must be greater than 0")
    if service.warning_weight < 0:
        raise BadRequestError("Invalid Weights: Warning must be greater or equal than 0")
    if max(service.passing_weight, service.warning_weight) > 65535:
        raise BadRequestError("Invalid Weights: DNS Weight must be between 0 and 65535")


def _refuse_bad_check(given: Mapping[str, Any]) -> None:
    script = bool(given.get("ScriptArgs"))
    in_intervals = bool(script or given.get("HTTP") or given.get("TCP") or given.get("GRPC"))
    alias = bool(given.get("AliasNode") or given.get("AliasService"))
    interval, ttl = given.get("Interval", 0), given.get("TTL", 0)
    problem = ""
    if interval > 0 and ttl > 0:
        problem = "Interval and TTL cannot both be specified"
    elif in_intervals and interval <= 0:
        problem = "Interval must be > 0 for Script, HTTP, or TCP checks"
    elif in_intervals and alias:
        problem = "Interval cannot be set for Alias checks"
    elif alias and ttl > 0:
        problem = "TTL must be not be set for Alias checks"
    elif not in_intervals and not alias and ttl <= 0:
        problem = "TTL must be > 0 for TTL checks"
    elif given.get("OutputMaxSize", 0) < 0:
        problem = "MaxOutputMaxSize must be positive"
    if problem:
        raise BadRequestError(f"Invalid check: {problem}")
    if script:
        raise FailedError(
            "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true"
        )
    if given.get("Status") and given["Status"] not in STATUSES:
        raise BadRequestError("Status for checks must 'passing', 'warning', 'critical'")


def _service_check(given: Mapping[str, Any], service: Service, at: int, of: int) -> CheckDefinition:
    id = given.get("CheckID") or f"service:{service.id}" + (f":{at}" if of > 1 else "")
    return _definition(given, id=id, name=given.get("Name") or f"Service '{service.name}' check", service_id=service.id)


def _definition(given: Mapping[str, Any], *, id: str, name: str, service_id: str) -> CheckDefinition:
    return CheckDefinition(
        id=id,
        name=name,
        service_id=service_id,
        status=given.get("Status", ""),
        notes=given.get("Notes", ""),
        http=given.get("HTTP", ""),
        method=given.get("Method", ""),
        header=given.get("Header", {}),
        body=given.get("Body", ""),
        tls_skip_verify=given.get("TLSSkipVerify", False),
        tcp=given.get("TCP", ""),
        grpc=given.get("GRPC", ""),
        grpc_use_tls=given.get("GRPCUseTLS", False),
        alias_node=given.get("AliasNode", ""),
        alias_service=given.get("AliasService", ""),
        interval=given.get("Interval", 0) / NANOSECONDS,
        timeout=given.get("Timeout", 0) / NANOSECONDS,
        ttl=given.get("TTL", 0) / NANOSECONDS,
        deregister_after=given.get("DeregisterCriticalServiceAfter", 0) / NANOSECONDS,
        success_before_passing=given.get("SuccessBeforePassing", 0),
        failures_before_critical=given.get("FailuresBeforeCritical", 0),
        output_max_size=given.get("OutputMaxSize", 0),
    )


def _tagged_addresses(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Those that are given; the service's own address, if it is an IP, stands for those of its family that are missing."""
    tagged, address = dict(given.get("TaggedAddresses") or {}), given.get("Address", "")
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return tagged or None
    for scope in ("lan", "wan"):
        tagged.setdefault(f"{scope}_ipv{version}", {"Address": address, "Port": given.get("Port", 0)})
    return tagged


def _unspecified(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.removeprefix("[").removesuffix("]")).is_unspecified
    except ValueError:
        return False
