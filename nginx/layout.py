"""Where the edge keeps its files, and how it is to listen and run: what a configuration needs besides the model."""

from dataclasses import dataclass
from pathlib import Path

LUA = Path(__file__).parent / "lua"


@dataclass(frozen=True)
class Layout:
    """All below `root`, the edge's own directory. `user` is whom Nginx' workers run as, "" for whoever starts it."""

    root: Path
    user: str = ""
    log_requests: bool = True

    @property
    def config(self) -> Path:
        return self.root / "conf" / "nginx.conf"

    @property
    def haproxy_config(self) -> Path:
        return self.root / "conf" / "haproxy.cfg"

    @property
    def haproxy_pid(self) -> Path:
        return self.root / "run" / "haproxy.pid"

    @property
    def haproxy_socket(self) -> Path:
        return self.root / "run" / "haproxy.sock"

    @property
    def haproxy_stats(self) -> Path:
        """For HAProxy's own Lua, which runs as the worker's user."""
        return self.root / "stats.sock"

    @property
    def haproxy_master(self) -> Path:
        """Of the master, for the same: it alone reaches processes of configurations before."""
        return self.root / "master.sock"

    @property
    def haproxy_mirror(self) -> Path:
        """Where HAProxy's own Lua sends copies of requests."""
        return self.root / "mirror.sock"

    def haproxy_map(self, name: str) -> Path:
        return self.root / "conf" / f"{name}.map"

    @property
    def pid(self) -> Path:
        return self.root / "run" / "nginx.pid"

    @property
    def control(self) -> Path:
        return self.root / "run" / "control.sock"

    @property
    def unavailable(self) -> Path:
        """Where plain Nginx sends requests for a service without an instance: a server of its own that answers 503."""
        return self.root / "run" / "unavailable.sock"

    @property
    def token(self) -> Path:
        return self.root / "run" / "control.token"

    @property
    def endpoints(self) -> Path:
        return self.root / "run" / "endpoints.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def error_log(self) -> Path:
        return self.logs / "error.log"

    @property
    def access_log(self) -> Path | None:
        return self.logs / "access.log" if self.log_requests else None

    @property
    def log_files(self) -> tuple[Path, ...]:
        return (self.error_log, self.logs / "access.log")

    @property
    def switches(self) -> Path:
        """Which services were switched to their standby by command."""
        return self.root / "switches.json"

    @property
    def kept(self) -> Path:
        """Services without an instance whose routes stay for long."""
        return self.root / "kept.json"

    @property
    def reload_due(self) -> Path:
        """There while a reload has begun and not ended."""
        return self.root / "run" / "reload.due"

    @property
    def certificates(self) -> Path:
        """Where the operator puts them: `<host>.pem`."""
        return self.root / "certificates"

    @property
    def placeholder(self) -> Path:
        return self.root / "run" / "placeholder.pem"

    @property
    def certificate_table(self) -> Path:
        """What Nginx with Lua loads when it starts."""
        return self.root / "run" / "certificates.json"

    @property
    def tls(self) -> Path:
        """The certificates as proxies without Lua read them; `0.pem` is for all names without one."""
        return self.root / "run" / "tls"

    @property
    def users(self) -> Path:
        return self.root / "users"

    @property
    def authorities(self) -> Path:
        return self.root / "authorities"

    @property
    def lua(self) -> Path:
        return LUA

    def temp(self, what: str) -> Path:
        return self.root / "tmp" / what


@dataclass(frozen=True)
class Listen:
    """Addresses as Nginx writes them (`127.0.0.1:8000`, `[::]:8000`). `tls` and `grpc` are "" where there is no such port.

    `numbers` is where plain Nginx asks for the numbers of its traffic, "" for nowhere.
    """

    http: str = "127.0.0.1:8000"
    status: str = "127.0.0.1:8001"
    tls: str = ""
    grpc: str = ""
    stream_host: str = "127.0.0.1"
    trusted: tuple[str, ...] = ()
    numbers: str = ""


@dataclass(frozen=True)
class Tuning:
    """Sizes and times of the proxy: connections a worker, memory in MiB, times in seconds."""

    workers: str = "auto"
    connections: int = 8192
    keepalive: int = 75
    upstream_keepalive: int = 512
    shutdown_timeout: int = 600
    table_memory: int = 64
    metrics_memory: int = 64


def listen_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
