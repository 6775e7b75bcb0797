"""The JSON that the API understands, types only: every field may be absent, null counts as absent, unknown ones are ignored.

Types are strict, as Marathon's are: `"1"` is no number. `type_check` reports every error.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic.alias_generators import to_camel

_INT32, _INT64 = 2**31 - 1, 2**63 - 1


def _whole(value: object) -> object:
    """`3.0` is an integer in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_text(value: object) -> object:
    """Numbers in constraints, which older clients send unquoted."""
    return str(_whole(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _no_nulls(value: object) -> object:
    """`{"a": null}` says nothing of `a`."""
    return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value


Int = Annotated[int, BeforeValidator(_whole), Field(ge=-_INT32 - 1, le=_INT32)]
Long = Annotated[int, BeforeValidator(_whole), Field(ge=-_INT64 - 1, le=_INT64)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Loose = Annotated[str, BeforeValidator(_as_text)]
Texts = Annotated[dict[str, str], BeforeValidator(_no_nulls)]


class Shape(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="ignore", alias_generator=to_camel, populate_by_name=False, frozen=True
    )


class SecretRef(Shape):
    secret: str


# Which member of a union is meant is told by the JSON type, so that an error speaks of that member alone.
_TEXT, _OTHER = "\0text", "\0other"
_text_or_other = Discriminator(lambda value: _TEXT if isinstance(value, str) else _OTHER)

EnvValue = Annotated[
    Annotated[str, Tag(_TEXT)] | Annotated[SecretRef, Tag(_OTHER)],
    Discriminator(lambda value: _OTHER if isinstance(value, dict | SecretRef) else _TEXT),
]
Env = Annotated[dict[str, EnvValue], BeforeValidator(_no_nulls)]


class Secret(Shape):
    source: str


class Fetch(Shape):
    uri: str
    extract: bool | None = None
    executable: bool | None = None
    cache: bool | None = None
    dest_path: str | None = None


class Network(Shape):
    mode: Literal["host", "container", "container/bridge"] | None = None
    name: str | None = None
    labels: Texts | None = None


Protocol = Literal["tcp", "udp", "udp,tcp", "tcp,udp"]


class PortDefinition(Shape):
    port: Int | None = None
    protocol: Protocol | None = None
    name: str | None = None
    labels: Texts | None = None


class PortMapping(Shape):
    container_port: Int | None = None
    host_port: Int | None = None
    service_port: Int | None = None
    protocol: Protocol | None = None
    name: str | None = None
    labels: Texts | None = None
    network_names: list[str] | None = None


class IpDiscoveryPort(Shape):
    number: Int | None = None
    name: str | None = None
    protocol: Protocol | None = None
    labels: Texts | None = None


class IpDiscovery(Shape):
    ports: list[IpDiscoveryPort] | None = None


class IpAddress(Shape):
    discovery: IpDiscovery | None = None
    groups: list[str] | None = None
    labels: Texts | None = None
    network_name: str | None = None


class Parameter(Shape):
    key: str
    value: Loose


class Credential(Shape):
    principal: str
    secret: str | None = None


class PullConfig(Shape):
    secret: str


class Docker(Shape):
    image: str
    force_pull_image: bool | None = None
    privileged: bool | None = None
    parameters: list[Parameter] | None = None
    credential: Credential | None = None
    pull_config: PullConfig | None = None
    network: Literal["BRIDGE", "HOST", "NONE", "USER"] | None = None
    port_mappings: list[PortMapping] | None = None


class PersistentInfo(Shape):
    size: Long
    type: Literal["root", "path", "mount"] | None = None
    max_size: Long | None = None
    profile_name: str | None = None
    constraints: list[list[Loose]] | None = None


class ExternalInfo(Shape):
    provider: str | None = None
    name: str | None = None
    size: Long | None = None
    shared: bool | None = None
    options: dict[str, Any] | None = None


class Volume(Shape):
    container_path: str
    host_path: str | None = None
    mode: Literal["RO", "RW"] | None = None
    persistent: PersistentInfo | None = None
    external: ExternalInfo | None = None
    secret: str | None = None


class Seccomp(Shape):
    profile_name: str | None = None
    unconfined: bool | None = None


class IpcInfo(Shape):
    mode: Literal["PRIVATE", "SHARE_PARENT"] | None = None
    shm_size: Int | None = None


class LinuxInfo(Shape):
    seccomp: Seccomp | None = None
    ipc_info: IpcInfo | None = None


class Container(Shape):
    type: Literal["MESOS", "DOCKER"] | None = None
    docker: Docker | None = None
    volumes: list[Volume] | None = None
    port_mappings: list[PortMapping] | None = None
    linux_info: LinuxInfo | None = None


class CommandLine(Shape):
    value: str


class HealthCheck(Shape):
    protocol: Literal["HTTP", "HTTPS", "TCP", "COMMAND", "MESOS_HTTP", "MESOS_HTTPS", "MESOS_TCP"] | None = None
    path: str | None = None
    port: Int | None = None
    port_index: Int | None = None
    command: CommandLine | None = None
    grace_period_seconds: Int | None = None
    interval_seconds: Int | None = None
    timeout_seconds: Int | None = None
    max_consecutive_failures: Int | None = None
    delay_seconds: Int | None = None
    ignore_http1xx: bool | None = Field(None, alias="ignoreHttp1xx")
    ip_protocol: Literal["IPv4", "IPv6"] | None = Field(None, alias="ipProtocol")


class MesosCommand(Shape):
    shell: str | None = None
    argv: list[str] | None = None


class ExecCheck(Shape):
    command: MesosCommand


class HttpCheck(Shape):
    port_index: Int | None = None
    endpoint: str | None = None
    path: str | None = None
    scheme: Literal["HTTP", "HTTPS"] | None = None


class TcpCheck(Shape):
    port_index: Int | None = None
    endpoint: str | None = None


class Check(Shape):
    http: HttpCheck | None = None
    tcp: TcpCheck | None = None
    exec: ExecCheck | None = None
    interval_seconds: Int | None = None
    timeout_seconds: Int | None = None
    delay_seconds: Int | None = None


class ReadinessCheck(Shape):
    name: str | None = None
    protocol: Literal["HTTP", "HTTPS"] | None = None
    path: str | None = None
    port_name: str | None = None
    interval_seconds: Int | None = None
    timeout_seconds: Int | None = None
    http_status_codes_for_ready: list[Int] | None = None
    preserve_last_response: bool | None = None


class UpgradeStrategy(Shape):
    minimum_health_capacity: Number | None = None
    maximum_over_capacity: Number | None = None


class UnreachableStrategy(Shape):
    inactive_after_seconds: Long | None = None
    expunge_after_seconds: Long | None = None


Limit = Annotated[Annotated[Literal["unlimited"], Tag(_TEXT)] | Annotated[Number, Tag(_OTHER)], _text_or_other]


class ResourceLimits(Shape):
    cpus: Limit | None = None
    mem: Limit | None = None


class ExecutorResources(Shape):
    cpus: Number | None = None
    mem: Number | None = None
    disk: Number | None = None


Unreachable = Annotated[
    Annotated[Literal["disabled"], Tag(_TEXT)] | Annotated[UnreachableStrategy, Tag(_OTHER)], _text_or_other
]
KillSelection = Literal["YOUNGEST_FIRST", "OLDEST_FIRST", "YoungestFirst", "OldestFirst"]


class App(Shape):
    id: str | None = None
    cmd: str | None = None
    args: list[str] | None = None
    user: str | None = None
    env: Env | None = None
    instances: Int | None = None
    cpus: Number | None = None
    mem: Number | None = None
    disk: Number | None = None
    gpus: Int | None = None
    resource_limits: ResourceLimits | None = None
    executor: str | None = None
    executor_resources: ExecutorResources | None = None
    constraints: list[list[Loose]] | None = None
    accepted_resource_roles: list[str] | None = None
    role: str | None = None
    fetch: list[Fetch] | None = None
    secrets: dict[str, Secret] | None = None
    networks: list[Network] | None = None
    port_definitions: list[PortDefinition] | None = None
    require_ports: bool | None = None
    container: Container | None = None
    health_checks: list[HealthCheck] | None = None
    check: Check | None = None
    readiness_checks: list[ReadinessCheck] | None = None
    dependencies: list[str] | None = None
    labels: Texts | None = None
    backoff_seconds: Number | None = None
    backoff_factor: Number | None = None
    max_launch_delay_seconds: Number | None = None
    upgrade_strategy: UpgradeStrategy | None = None
    unreachable_strategy: Unreachable | None = None
    kill_selection: KillSelection | None = None
    task_kill_grace_period_seconds: Int | None = None
    tty: bool | None = None
    version: str | None = None
    # Spellings of Marathon before 1.5, and what it accepts without effect.
    uris: list[str] | None = None
    ports: list[Int] | None = None
    ip_address: IpAddress | None = None


class Resources(Shape):
    cpus: Number | None = None
    mem: Number | None = None
    disk: Number | None = None
    gpus: Int | None = None


class Endpoint(Shape):
    name: str
    container_port: Int | None = None
    host_port: Int | None = None
    protocol: list[str] | None = None
    labels: Texts | None = None
    network_names: list[str] | None = None


class Image(Shape):
    id: str
    kind: Literal["DOCKER"] | None = None
    force_pull: bool | None = None
    pull_config: PullConfig | None = None
    labels: Texts | None = None


class MesosExec(Shape):
    command: MesosCommand
    override_entrypoint: bool | None = None


class VolumeMount(Shape):
    name: str
    mount_path: str
    read_only: bool | None = None


class PodHealthCheck(Check):
    grace_period_seconds: Int | None = None
    max_consecutive_failures: Int | None = None


class Lifecycle(Shape):
    kill_grace_period_seconds: Number | None = None


class PodContainer(Shape):
    name: str
    resources: Resources | None = None
    exec: MesosExec | None = None
    resource_limits: ResourceLimits | None = None
    endpoints: list[Endpoint] | None = None
    image: Image | None = None
    environment: Env | None = None
    user: str | None = None
    health_check: PodHealthCheck | None = None
    check: Check | None = None
    volume_mounts: list[VolumeMount] | None = None
    artifacts: list[Fetch] | None = None
    labels: Texts | None = None
    lifecycle: Lifecycle | None = None
    linux_info: LinuxInfo | None = None
    tty: bool | None = None


class PodVolume(Shape):
    name: str
    host: str | None = None
    persistent: PersistentInfo | None = None
    secret: str | None = None


class Scaling(Shape):
    kind: Literal["fixed"] | None = None
    instances: Int | None = None


class PodBackoff(Shape):
    backoff: Number | None = None
    backoff_factor: Number | None = None
    max_launch_delay: Number | None = None


class PodConstraint(Shape):
    field_name: str
    operator: str
    value: Loose | None = None


class Placement(Shape):
    constraints: list[PodConstraint] | None = None
    accepted_resource_roles: list[str] | None = None


class Scheduling(Shape):
    backoff: PodBackoff | None = None
    upgrade: UpgradeStrategy | None = None
    placement: Placement | None = None
    kill_selection: KillSelection | None = None
    unreachable_strategy: Unreachable | None = None


class Pod(Shape):
    id: str
    containers: list[PodContainer]
    labels: Texts | None = None
    environment: Env | None = None
    user: str | None = None
    secrets: dict[str, Secret] | None = None
    volumes: list[PodVolume] | None = None
    networks: list[Network] | None = None
    scaling: Scaling | None = None
    scheduling: Scheduling | None = None
    executor_resources: ExecutorResources | None = None
    role: str | None = None
    legacy_shared_cgroups: bool | None = None
    version: str | None = None


class Group(Shape):
    id: str | None = None
    apps: list[App] | None = None
    pods: list[Pod] | None = None
    groups: list["Group"] | None = None
    dependencies: list[str] | None = None
    enforce_role: bool | None = None
    scale_by: Number | None = None
    version: str | None = None


class Id(Shape):
    id: str


class TaskIds(Shape):
    ids: list[str]


class LogLevel(Shape):
    logger: str
    level: Literal["trace", "debug", "info", "warn", "warning", "error", "off"]
    duration_seconds: Int | None = None
