"""Checks that an app or a pod's container asks for. All times in seconds."""

from dataclasses import dataclass
from typing import Literal

HealthProtocol = Literal["HTTP", "HTTPS", "TCP", "COMMAND", "MESOS_HTTP", "MESOS_HTTPS", "MESOS_TCP"]
IpProtocol = Literal["IPv4", "IPv6"]
HttpScheme = Literal["HTTP", "HTTPS"]

MESOS_PROTOCOLS = frozenset({"COMMAND", "MESOS_HTTP", "MESOS_HTTPS", "MESOS_TCP"})  # probed by the agent, not by us


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What `COMMAND` runs, by a shell; exit code 0 is healthy."""

    value: str


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Of an app. The port is `port` or, if that is None, the `port_index`-th port of the task."""

    protocol: HealthProtocol = "HTTP"
    path: str | None = None
    port: int | None = None
    port_index: int | None = None
    command: CommandLine | None = None
    grace_period_seconds: int = 300
    interval_seconds: int = 60
    timeout_seconds: int = 20
    max_consecutive_failures: int = 3
    delay_seconds: int = 15
    ignore_http1xx: bool = False
    ip_protocol: IpProtocol = "IPv4"

    @property
    def by_mesos(self) -> bool:
        return self.protocol in MESOS_PROTOCOLS


@dataclass(frozen=True, slots=True)
class MesosCommand:
    """Exactly one of the two."""

    shell: str | None = None
    argv: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ExecCheck:
    command: MesosCommand


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """`port_index` counts in an app's ports, `endpoint` names one of a pod's container."""

    port_index: int | None = None
    endpoint: str | None = None
    path: str | None = None
    scheme: HttpScheme = "HTTP"


@dataclass(frozen=True, slots=True)
class TcpCheck:
    port_index: int | None = None
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A Mesos check, whose result is shown and never kills. Exactly one of http, tcp, exec."""

    http: HttpCheck | None = None
    tcp: TcpCheck | None = None
    exec: ExecCheck | None = None
    interval_seconds: int = 60
    timeout_seconds: int = 20
    delay_seconds: int = 15


@dataclass(frozen=True, slots=True)
class PodHealthCheck:
    """Of a pod's container, probed by Mesos. Exactly one of http, tcp, exec."""

    http: HttpCheck | None = None
    tcp: TcpCheck | None = None
    exec: ExecCheck | None = None
    grace_period_seconds: int = 300
    interval_seconds: int = 60
    timeout_seconds: int = 20
    max_consecutive_failures: int = 3
    delay_seconds: int = 15


@dataclass(frozen=True, slots=True)
class ReadinessCheck:
    """Asked of a new instance during a deployment, before the next old one goes."""

    name: str = "readinessCheck"
    protocol: HttpScheme = "HTTP"
    path: str = "/"
    port_name: str = "http-api"
    interval_seconds: int = 30
    timeout_seconds: int = 10
    http_status_codes_for_ready: tuple[int, ...] = (200,)
    preserve_last_response: bool = False
