"""The settings of the embedded Consul: flags of `dromos consul`, `DROMOS_CONSUL_…`, or `[consul]` in dromos.toml."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, SecretStr

from daemonkit.settings import Seconds, Settings


class ConsulSettings(Settings):
    section: ClassVar[str] = "consul"

    host: str = Field("127.0.0.1", description="address that the HTTP API listens on")
    port: int = Field(8500, ge=0, le=65535, description="port of the HTTP API; 0 picks a free one")
    state_dir: Path = Field(Path("~/.dromos/consul"), description="directory that keeps the state")
    datacenter: str = Field("dc1", min_length=1, description="name of the one datacenter")
    node: str = Field("", description="name of this node; the host's name where it is empty")
    advertise: str = Field("127.0.0.1", description="address of this node in the catalog")
    management_token: SecretStr | None = Field(
        None, description="secret of a token that may do everything; with it, every request needs a token"
    )
    acl: bool = Field(
        False, description="ask for tokens without a management token set: PUT /v1/acl/bootstrap gives the first"
    )
    acl_default_policy: Literal["allow", "deny"] = Field(
        "deny", description="what no rule decides, where tokens are in use"
    )
    session_ttl_min: Seconds = Field(10.0, gt=0, description="shortest TTL of a session")
    check_output_max_size: int = Field(4096, ge=1, description="bytes kept of a check's output")
    check_update_interval: Seconds = Field(
        300.0, ge=0, description="how long a check's new output waits for the catalog while its status is the same"
    )
    check_reap_interval: Seconds = Field(
        30.0, gt=0, description="how often critical services are looked at for removal"
    )
    check_deregister_interval_min: Seconds = Field(
        60.0, gt=0, description="shortest time after which a critical service is removed"
    )
    check_concurrency: int = Field(256, ge=1, description="most checks that run at the same time")
    http_max_conns_per_client: int = Field(
        4096,
        ge=0,
        description="most requests of one client address under way at once, waiting ones too; more get a 429; 0 is no limit "
        "(Consul has 200, but on one machine all clients have one address)",
    )
    kv_max_value_size: int = Field(
        512 * 1024, ge=1, description="longest value of a key, and longest transaction, in bytes"
    )
    max_body_size: int = Field(4 * 1024 * 1024, ge=1, description="longest body of any other request, in bytes")
    tombstone_ttl: Seconds = Field(900.0, gt=0, description="how long a deleted key is remembered for its watchers")
    event_history: int = Field(256, ge=1, description="how many user events are kept")
    cached_answers: int = Field(1024, ge=1, description="how many answers that many watchers ask for are kept ready")
    shutdown_grace: Seconds = Field(2.0, ge=0, description="how long requests under way get when the server stops")
    log_level: str = Field("info", description="debug, info, warning or error")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="json, text, or by whether stderr is a terminal"
    )
