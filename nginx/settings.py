"""Settings of `dromos edge`: flags, `DROMOS_EDGE_…`, and `[edge]` in dromos.toml."""

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, SecretStr

from daemonkit.settings import Seconds, Settings


def _url(value: str) -> str:
    return (value if "://" in value else f"http://{value}").rstrip("/")


def _ports(value: str) -> str:
    found = re.fullmatch(r"(\d{1,5})-(\d{1,5})", value)
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= 65535:
        raise ValueError("is to be a range of ports such as 10000-20000")
    return value


Port = Annotated[int, Field(ge=0, le=65535)]


class EdgeSettings(Settings):
    section: ClassVar[str] = "edge"

    host: str = Field("127.0.0.1", description="the address that users reach; 0.0.0.0 or :: for all of this machine's")
    port: Port = Field(8000, description="its port for HTTP")
    tls_port: Port = Field(0, description="its port for HTTPS and gRPC over TLS; 0 for none")
    grpc_port: Port = Field(0, description="its port for gRPC without TLS; 0 for none")
    status_host: str = Field("", description="the address of Nginx' own metrics and status page; empty: as --host")
    status_port: Port = Field(8001, description="its port")
    daemon_host: str = Field(
        "", description="the address of this daemon's /health, /metrics, /status; empty: as --host"
    )
    daemon_port: Port = Field(8084, description="its port")
    consul: Annotated[str, AfterValidator(_url)] = Field("http://127.0.0.1:8500", description="Consul's HTTP API")
    consul_token: SecretStr | None = Field(None, description="a token that may read services and nodes")
    consul_connections: int = Field(160, ge=2, le=10_000, description="connections to Consul held at most")
    state_dir: Path = Field(Path("~/.dromos/edge"), description="where configuration, endpoints and logs are kept")
    target: Literal["nginx-lua", "nginx", "haproxy"] = Field("nginx-lua", description="nginx-lua, nginx or haproxy")
    nginx_program: str = Field("nginx", description="the program, a name or a path")
    haproxy_program: str = Field("haproxy", description="the program, a name or a path")
    workers: str = Field("auto", pattern=r"auto|[0-9]{1,3}", description="Nginx' worker processes; auto: one a core")
    worker_connections: int = Field(8192, ge=64, le=1_000_000, description="connections a worker may have")
    table_memory: int = Field(64, ge=1, le=4096, description="MiB of shared memory for services and endpoints")
    metrics_memory: int = Field(64, ge=1, le=4096, description="MiB of shared memory for metrics")
    groups: tuple[str, ...] = Field((), description="route only services of these groups (HAPROXY_GROUP); empty: all")
    expose_all: bool = Field(False, description="route services that no label asks for too, at / and their name")
    stream_ports: Annotated[str, AfterValidator(_ports)] = Field(
        "10000-20000", description="ports that labels may open for TCP and UDP"
    )
    trusted_proxies: tuple[str, ...] = Field((), description="networks whose X-Forwarded-… headers are believed")
    access_log: bool = Field(True, description="write each request as a JSON line to logs/access.log")
    forget_after: Seconds = Field(
        10.0, ge=0, description="how long a service that Consul no longer knows keeps its route (and answers 503)"
    )
    reload_interval: Seconds = Field(2.0, gt=0, description="reloads come no faster than one in this time, in seconds")
    reload_burst: int = Field(3, ge=1, le=100, description="how many reloads may come at once after a quiet time")
    soft_close: Seconds = Field(
        0.3, ge=0, le=30, description="how long before a reload connections are ended after their answer, in seconds"
    )
    shutdown_timeout: Seconds = Field(
        600.0, ge=1, description="how long an old worker may finish its requests after a reload, in seconds"
    )
    guard_drop: float = Field(
        50.0, gt=0, le=100, description="if more % of all instances than that vanish at once, it is doubted; 100: never"
    )
    guard_from: int = Field(10, ge=1, description="with fewer instances than that nothing is doubted")
    guard_hold: Seconds = Field(5.0, ge=0, description="how long a doubted drop must last, in seconds")
    log_bytes: int = Field(64 * 1024 * 1024, ge=4096, description="a log file that is larger is rotated, in bytes")
    log_files: int = Field(5, ge=0, le=1000, description="old log files that are kept of each kind")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning or error")
    log_format: Literal["auto", "json", "text"] = Field("auto", description="auto, json or text")

    @property
    def directory(self) -> Path:
        return self.state_dir.expanduser().absolute()

    @property
    def stream_range(self) -> tuple[int, int]:
        least, _, most = self.stream_ports.partition("-")
        return int(least), int(most)
