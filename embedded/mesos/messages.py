"""The v1 protocol's messages: which fields they have, and how JSON becomes one of them.

`parse("Call", document)` gives the document as the master understands it: unknown fields and unknown enum values are left
out, numbers are numbers, defaults are filled in. What cannot be read is a CallError with Mesos's own words, so that whoever
writes a client sees here what a real master would have told. Field lists follow mesos/v1/*.proto of Mesos 1.11; fields that
no part of the embedded Mesos looks at are passed over.

A field is `name: type`, in the order of the .proto (required fields that are missing are told in that order). Behind the type,
`!` is required and `*` repeated; `=` gives a default. A type with `|` is an enum; `map` takes any object as it is.
"""

import base64
import binascii
from collections.abc import Callable
from typing import Any

import orjson

from embedded.mesos.errors import CallError

Json = dict[str, Any]
Reader = Callable[[Any], Any]

FRAMEWORK_CAPABILITIES = (
    "REVOCABLE_RESOURCES|TASK_KILLING_STATE|GPU_RESOURCES|SHARED_RESOURCES|PARTITION_AWARE|MULTI_ROLE"
    "|RESERVATION_REFINEMENT|REGION_AWARE"
)
SCHEDULER_CALLS = (
    "SUBSCRIBE|TEARDOWN|ACCEPT|DECLINE|ACCEPT_INVERSE_OFFERS|DECLINE_INVERSE_OFFERS|REVIVE|KILL|SHUTDOWN|ACKNOWLEDGE"
    "|ACKNOWLEDGE_OPERATION_STATUS|RECONCILE|RECONCILE_OPERATIONS|MESSAGE|REQUEST|SUPPRESS|UPDATE_FRAMEWORK"
)
MASTER_CALLS = (
    "GET_HEALTH|GET_FLAGS|GET_VERSION|GET_METRICS|GET_LOGGING_LEVEL|SET_LOGGING_LEVEL|LIST_FILES|READ_FILE|GET_STATE"
    "|GET_AGENTS|GET_FRAMEWORKS|GET_EXECUTORS|GET_OPERATIONS|GET_TASKS|GET_ROLES|GET_WEIGHTS|GET_MASTER|SUBSCRIBE"
    "|RESERVE_RESOURCES|UNRESERVE_RESOURCES|CREATE_VOLUMES|DESTROY_VOLUMES|GET_MAINTENANCE_STATUS"
    "|GET_MAINTENANCE_SCHEDULE|UPDATE_MAINTENANCE_SCHEDULE|START_MAINTENANCE|STOP_MAINTENANCE|GET_QUOTA|TEARDOWN"
    "|MARK_AGENT_GONE|DRAIN_AGENT|DEACTIVATE_AGENT|REACTIVATE_AGENT"
)
OPERATIONS = "LAUNCH|LAUNCH_GROUP|RESERVE|UNRESERVE|CREATE|DESTROY|GROW_VOLUME|SHRINK_VOLUME|CREATE_DISK|DESTROY_DISK"
CHECKS = "COMMAND|HTTP|TCP"

SCHEMA = {
    # Identifiers and values
    "ID": "value: string!",
    "TimeInfo": "nanoseconds: int64!",
    "DurationInfo": "nanoseconds: int64!",
    "Label": "key: string!, value: string",
    "Labels": "labels: Label*",
    "Scalar": "value: double!",
    "Range": "begin: uint64!, end: uint64!",
    "Ranges": "range: Range*",
    "Set": "item: string*",
    "Text": "value: string!",
    "Attribute": "name: string!, type: SCALAR|RANGES|SET|TEXT!, scalar: Scalar, ranges: Ranges, set: Set, text: Text",
    # Resources
    "AllocationInfo": "role: string",
    "ReservationInfo": "type: UNKNOWN|STATIC|DYNAMIC, role: string, principal: string, labels: Labels",
    "Persistence": "id: string!, principal: string",
    "DiskPath": "root: string",
    "DiskSource": "type: UNKNOWN|PATH|MOUNT|BLOCK|RAW!, path: DiskPath, mount: DiskPath, id: string, profile: string",
    "DiskInfo": "persistence: Persistence, volume: Volume, source: DiskSource",
    "RevocableInfo": "",
    "SharedInfo": "",
    "Resource": "provider_id: ID, name: string!, type: SCALAR|RANGES|SET!, scalar: Scalar, ranges: Ranges, set: Set,"
    " role: string, allocation_info: AllocationInfo, reservation: ReservationInfo, reservations: ReservationInfo*,"
    " disk: DiskInfo, revocable: RevocableInfo, shared: SharedInfo",
    # Commands
    "URI": "value: string!, executable: bool, extract: bool = true, cache: bool, output_file: string",
    "SecretReference": "name: string!, key: string",
    "SecretValue": "data: bytes!",
    "Secret": "type: UNKNOWN|REFERENCE|VALUE, reference: SecretReference, value: SecretValue",
    "Variable": "name: string!, type: UNKNOWN|VALUE|SECRET = VALUE, value: string, secret: Secret",
    "Environment": "variables: Variable*",
    "CommandInfo": "uris: URI*, environment: Environment, shell: bool = true, value: string, arguments: string*,"
    " user: string",
    # Containers
    "Parameter": "key: string!, value: string!",
    "Parameters": "parameter: Parameter*",
    "DockerVolume": "driver: string, name: string!, driver_options: Parameters",
    "SandboxPath": "type: UNKNOWN|SELF|PARENT, path: string!",
    "HostPath": "path: string!, mount_propagation: map",
    "VolumeSource": "type: UNKNOWN|DOCKER_VOLUME|HOST_PATH|SANDBOX_PATH|SECRET|CSI_VOLUME!, docker_volume: DockerVolume,"
    " host_path: HostPath, sandbox_path: SandboxPath, secret: Secret",
    "Volume": "mode: RW|RO!, container_path: string!, host_path: string, image: map, source: VolumeSource",
    "IPAddress": "protocol: IPv4|IPv6, ip_address: string",
    "NetworkPortMapping": "host_port: uint32!, container_port: uint32!, protocol: string",
    "NetworkInfo": "ip_addresses: IPAddress*, name: string, groups: string*, labels: Labels,"
    " port_mappings: NetworkPortMapping*",
    "DockerPortMapping": "host_port: uint32!, container_port: uint32!, protocol: string",
    "DockerInfo": "image: string!, network: HOST|BRIDGE|NONE|USER = HOST, port_mappings: DockerPortMapping*,"
    " privileged: bool = false, parameters: Parameter*, force_pull_image: bool, volume_driver: string",
    "DockerImage": "name: string!, credential: map, config: Secret",
    "Image": "type: APPC|DOCKER!, appc: map, docker: DockerImage, cached: bool = true",
    "MesosInfo": "image: Image",
    "RLimit": "type: map, hard: uint64, soft: uint64",
    "TTYInfo": "window_size: map",
    "ContainerInfo": "type: DOCKER|MESOS!, volumes: Volume*, hostname: string, docker: DockerInfo, mesos: MesosInfo,"
    " network_infos: NetworkInfo*, linux_info: map, rlimit_info: map, tty_info: TTYInfo",
    # Checks
    "HTTPHealth": "protocol: IPv4|IPv6 = IPv4, port: uint32!, path: string, scheme: string, statuses: uint32*",
    "TCPCheck": "protocol: IPv4|IPv6 = IPv4, port: uint32!",
    "HealthCheck": "http: HTTPHealth, delay_seconds: double = 15.0, interval_seconds: double = 10.0,"
    " timeout_seconds: double = 20.0, consecutive_failures: uint32 = 3, grace_period_seconds: double = 10.0,"
    f" command: CommandInfo, type: UNKNOWN|{CHECKS}, tcp: TCPCheck",
    "CommandCheck": "command: CommandInfo!",
    "HTTPCheck": "port: uint32!, path: string",
    "CheckInfo": f"type: UNKNOWN|{CHECKS}, command: CommandCheck, http: HTTPCheck, delay_seconds: double = 15.0,"
    " interval_seconds: double = 10.0, timeout_seconds: double = 20.0, tcp: TCPCheck",
    "KillPolicy": "grace_period: DurationInfo",
    # Discovery
    "Port": "number: uint32!, name: string, protocol: string, visibility: FRAMEWORK|CLUSTER|EXTERNAL, labels: Labels",
    "Ports": "ports: Port*",
    "DiscoveryInfo": "visibility: FRAMEWORK|CLUSTER|EXTERNAL!, name: string, environment: string, location: string,"
    " version: string, ports: Ports, labels: Labels",
    # Frameworks, executors, tasks
    "FrameworkCapability": f"type: UNKNOWN|{FRAMEWORK_CAPABILITIES}",
    "FrameworkInfo": "user: string!, name: string!, id: ID, failover_timeout: double = 0.0, checkpoint: bool = false,"
    " role: string, roles: string*, hostname: string, principal: string, webui_url: string,"
    " capabilities: FrameworkCapability*, labels: Labels, offer_filters: map",
    "ExecutorInfo": "type: UNKNOWN|DEFAULT|CUSTOM, executor_id: ID!, framework_id: ID, command: CommandInfo,"
    " container: ContainerInfo, resources: Resource*, name: string, source: string, data: bytes,"
    " discovery: DiscoveryInfo, shutdown_grace_period: DurationInfo, labels: Labels",
    "TaskInfo": "name: string!, task_id: ID!, agent_id: ID!, resources: Resource*, executor: ExecutorInfo,"
    " command: CommandInfo, container: ContainerInfo, health_check: HealthCheck, check: CheckInfo,"
    " kill_policy: KillPolicy, data: bytes, labels: Labels, discovery: DiscoveryInfo,"
    " max_completion_time: DurationInfo, limits: map",
    "TaskGroupInfo": "tasks: TaskInfo*",
    # Operations on offers
    "Launch": "task_infos: TaskInfo*",
    "LaunchGroup": "executor: ExecutorInfo!, task_group: TaskGroupInfo!",
    "Reserve": "source: Resource*, resources: Resource*",
    "Unreserve": "resources: Resource*",
    "Create": "volumes: Resource*",
    "Destroy": "volumes: Resource*",
    "Operation": f"type: UNKNOWN|{OPERATIONS}, id: ID, launch: Launch, launch_group: LaunchGroup, reserve: Reserve,"
    " unreserve: Unreserve, create: Create, destroy: Destroy",
    "Filters": "refuse_seconds: double = 5.0",
    # Scheduler calls
    "Subscribe": "framework_info: FrameworkInfo!, suppressed_roles: string*, offer_constraints: map",
    "Accept": "offer_ids: ID*, operations: Operation*, filters: Filters",
    "Decline": "offer_ids: ID*, filters: Filters",
    "InverseOffers": "inverse_offer_ids: ID*, filters: Filters",
    "Roles": "roles: string*, role: string",
    "Kill": "task_id: ID!, agent_id: ID, kill_policy: KillPolicy",
    "Shutdown": "executor_id: ID!, agent_id: ID!",
    "Acknowledge": "agent_id: ID!, task_id: ID!, uuid: bytes!",
    "AcknowledgeOperationStatus": "agent_id: ID, resource_provider_id: ID, uuid: bytes!, operation_id: ID!",
    "ReconcileTask": "task_id: ID!, agent_id: ID",
    "Reconcile": "tasks: ReconcileTask*",
    "ReconcileOperation": "operation_id: ID!, agent_id: ID, resource_provider_id: ID",
    "ReconcileOperations": "operations: ReconcileOperation*",
    "Message": "agent_id: ID!, executor_id: ID!, data: bytes!",
    "Request": "requests: map*",
    "UpdateFramework": "framework_info: FrameworkInfo!, suppressed_roles: string*, offer_constraints: map",
    "Call": f"framework_id: ID, type: {SCHEDULER_CALLS}, subscribe: Subscribe, accept: Accept, decline: Decline,"
    " accept_inverse_offers: InverseOffers, decline_inverse_offers: InverseOffers, revive: Roles, kill: Kill,"
    " shutdown: Shutdown, acknowledge: Acknowledge, acknowledge_operation_status: AcknowledgeOperationStatus,"
    " reconcile: Reconcile, reconcile_operations: ReconcileOperations, message: Message, request: Request,"
    " suppress: Roles, update_framework: UpdateFramework",
    # Operator calls
    "MachineID": "hostname: string, ip: string",
    "Unavailability": "start: TimeInfo!, duration: DurationInfo",
    "MaintenanceWindow": "machine_ids: MachineID*, unavailability: Unavailability!",
    "MaintenanceSchedule": "windows: MaintenanceWindow*",
    "GetMetrics": "timeout: DurationInfo",
    "SetLoggingLevel": "level: uint32!, duration: DurationInfo!",
    "ListFiles": "path: string!",
    "ReadFile": "path: string!, offset: uint64!, length: uint64",
    "AgentCall": "agent_id: ID!",
    "DrainAgent": "agent_id: ID!, max_grace_period: DurationInfo, mark_gone: bool = false",
    "AgentResources": "agent_id: ID!, resources: Resource*",
    "AgentVolumes": "agent_id: ID!, volumes: Resource*",
    "UpdateMaintenanceSchedule": "schedule: MaintenanceSchedule!",
    "Machines": "machines: MachineID*",
    "OperatorTeardown": "framework_id: ID!",
    "MasterCall": f"type: {MASTER_CALLS}, get_metrics: GetMetrics, set_logging_level: SetLoggingLevel,"
    " list_files: ListFiles, read_file: ReadFile, reserve_resources: AgentResources,"
    " unreserve_resources: AgentResources, create_volumes: AgentVolumes, destroy_volumes: AgentVolumes,"
    " update_maintenance_schedule: UpdateMaintenanceSchedule, start_maintenance: Machines,"
    " stop_maintenance: Machines, teardown: OperatorTeardown, mark_agent_gone: AgentCall, drain_agent: DrainAgent,"
    " deactivate_agent: AgentCall, reactivate_agent: AgentCall",
}


def decode(body: bytes, message: str) -> Json:
    """The message that a request's body holds. Raises CallError (400)."""
    return parse(message, read_json(body))


def read_json(body: bytes) -> object:
    """Raises CallError (400)."""
    try:
        document: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        near = error.doc[error.pos : error.pos + 20]
        raise CallError(f"Failed to parse body into JSON: syntax error at line {error.lineno} near: {near}") from None
    return document


def parse(message: str, document: object) -> Json:
    """Raises CallError (400)."""
    shown = "Call" if message == "MasterCall" else message
    if not isinstance(document, dict):
        raise CallError(f"Failed to convert JSON into {shown} protobuf: Expecting a JSON object")
    missing: list[str] = []
    try:
        parsed = _MESSAGES[message].read(document, "", missing)
    except _UnreadableError as error:
        raise CallError(f"Failed to convert JSON into {shown} protobuf: {error}") from None
    if missing:
        raise CallError(f"Failed to convert JSON into {shown} protobuf: Missing required fields: {', '.join(missing)}")
    return parsed


class _UnreadableError(Exception):
    pass


class _Field:
    """One field of one message; `read` gives None for a value that counts as not given."""

    __slots__ = ("default", "message", "name", "read", "repeated", "required")

    def __init__(self, declaration: str) -> None:
        declaration, _, default = declaration.partition(" = ")
        self.name, _, kind = declaration.partition(": ")
        self.required = kind.endswith("!")
        self.repeated = kind.endswith("*")
        kind = kind.rstrip("!*")
        self.message = kind if kind in SCHEMA else None
        self.read: Reader = _enum(self.name, kind.split("|")) if "|" in kind else _READERS.get(kind, _object)(self.name)
        self.default = self.read(_default(default)) if default else None


class _Message:
    """Reads by what the document has rather than by what it could have: most messages use few of their fields."""

    __slots__ = ("_defaults", "_fields", "_required")

    def __init__(self, declaration: str) -> None:
        fields = [_Field(field.strip()) for field in declaration.split(",") if field.strip()]
        self._fields = {field.name: field for field in fields}
        self._required = [field.name for field in fields if field.required]
        self._defaults = [(field.name, field.default) for field in fields if field.default is not None]

    def read(self, document: Json, path: str, missing: list[str]) -> Json:
        """Adds to `missing` its own fields first, then those of the messages in it."""
        parsed: Json = {}
        missing_inside: list[str] = []
        for name, value in document.items():
            field = self._fields.get(name)
            if field is not None and value is not None:
                read = (self._many if field.repeated else self._one)(field, value, path, missing_inside)
                if read is not None:
                    parsed[name] = read
        missing += [path + name for name in self._required if name not in parsed]
        missing += missing_inside
        for name, default in self._defaults:
            parsed.setdefault(name, default)
        return parsed

    @staticmethod
    def _one(field: _Field, value: object, path: str, missing: list[str]) -> Any:
        read = field.read(value)
        if read is not None and field.message:
            return _MESSAGES[field.message].read(read, f"{path}{field.name}.", missing)
        return read

    @staticmethod
    def _many(field: _Field, value: object, path: str, missing: list[str]) -> Any:
        items = value if isinstance(value, list) else [value]  # one value stands for a list of it
        read = [item for item in map(field.read, items) if item is not None]
        if field.message:
            message = _MESSAGES[field.message]
            return [message.read(item, f"{path}{field.name}[{i}].", missing) for i, item in enumerate(read)]
        return read


def _kind(value: object) -> str:
    names = {bool: "boolean", str: "string", dict: "object", list: "array", int: "number", float: "number"}
    return names.get(type(value), "null")


def _refuse(name: str, value: object) -> _UnreadableError:
    return _UnreadableError(f"Not expecting a JSON {_kind(value)} for field '{name}'")


def _default(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _object(name: str) -> Reader:
    def read(value: object) -> object:
        if value is None or isinstance(value, dict):
            return value
        raise _refuse(name, value)

    return read


def _string(name: str) -> Reader:
    def read(value: object) -> object:
        if value is None or isinstance(value, str):
            return value
        raise _refuse(name, value)

    return read


def _bytes(name: str) -> Reader:
    def read(value: object) -> object:
        if not isinstance(value, str):
            raise _refuse(name, value)
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error as error:
            bad = next((c for c in value if not (c.isascii() and (c.isalnum() or c in "+/=-_"))), None)
            told = f"Invalid character '{bad}'" if bad else str(error)
            raise _UnreadableError(f"Failed to base64 decode bytes field '{name}': {told}") from None
        return value

    return read


def _bool(name: str) -> Reader:
    def read(value: object) -> object:
        if isinstance(value, str):
            if value not in ("true", "false"):
                raise _UnreadableError(
                    f"Failed to parse '{value}' as a JSON boolean for field '{name}': syntax error at line 1 near: {value}"
                )
            return value == "true"
        if value is None or isinstance(value, bool):
            return value
        raise _refuse(name, value)

    return read


def _number(convert: Callable[[float], float], lowest: float | None = None) -> Callable[[str], Reader]:
    def make(name: str) -> Reader:
        def read(value: object) -> object:
            if isinstance(value, str):
                try:
                    value = orjson.loads(value)
                except orjson.JSONDecodeError:
                    raise _UnreadableError(
                        f"Failed to parse '{value}' as a JSON number for field '{name}': syntax error at line 1 near: {value}"
                    ) from None
            if value is None:
                return None
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise _refuse(name, value)
            if lowest is not None and value < lowest:
                raise _UnreadableError(f"The value of field '{name}' is out of range: {value}")
            return convert(value)

        return read

    return make


def _enum(name: str, values: list[str]) -> Reader:
    known = frozenset(values)

    def read(value: object) -> object:
        if value is None or isinstance(value, str):
            return value if value in known else None
        raise _refuse(name, value)

    return read


_READERS: dict[str, Callable[[str], Reader]] = {
    "string": _string,
    "bytes": _bytes,
    "bool": _bool,
    "double": _number(float),
    "int64": _number(int),
    "uint32": _number(int, lowest=0),
    "uint64": _number(int, lowest=0),
}
_MESSAGES = {name: _Message(declaration) for name, declaration in SCHEMA.items()}
