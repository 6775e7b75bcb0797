"""Settings of the API. The daemon's settings inherit them: each is a flag, a variable `DROMOS_FRAMEWORK_…`, a key of `[framework]`."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from daemonkit.settings import Seconds, Settings
from framework.api.forms.app_form import Defaults
from framework.decide.secret_source import StoreName


class ApiSettings(Settings):
    section: ClassVar[str] = "framework"

    mesos_role: str = Field("*", min_length=1, description="the role of apps and pods that name none")
    default_network_name: str | None = Field(
        None, description="the network of apps that ask for a container network by no name"
    )
    mesos_bridge_name: str = Field(
        "mesos-bridge", description="the name by which old definitions ask for the bridge network"
    )
    default_accepted_resource_roles: tuple[str, ...] = Field(
        (), description="reservations that apps may use which say nothing of it"
    )
    secrets_default: StoreName | None = Field(
        None, description="file, consul or vault: the store of secrets whose source names none"
    )
    secrets_scoped: bool = Field(
        False, description="an app may only use secrets of its own folder and of those above: /prod/web those of prod/"
    )
    local_port_min: int = Field(10000, ge=1, le=65535, description="the first service port that is given to a port 0")
    local_port_max: int = Field(20000, ge=1, le=65535, description="the last service port that is given to a port 0")
    max_body_bytes: int = Field(
        4 * 1024 * 1024, ge=1024, description="the largest request body; a larger one is answered by 413"
    )
    max_concurrent_requests: int = Field(
        1000, ge=1, description="requests served at once, event streams aside; more are answered by 503"
    )
    max_event_streams: int = Field(256, ge=1, description="event streams served at once; more are answered by 503")
    event_send_timeout: Seconds = Field(
        10.0, gt=0, description="a listener that takes nothing for so long is disconnected"
    )
    event_heartbeat: Seconds = Field(15.0, gt=0, description="an idle event stream gets a comment as often as this")
    cors_origins: tuple[str, ...] = Field((), description="origins that browsers may call the API from; `*` for all")
    accounts_file: Path | None = Field(
        None, description="who may do what (TOML); without it everybody may do everything"
    )
    read_only: bool = Field(False, description="answer requests that would change something with 403")
    requests_per_second: float = Field(
        0.0, ge=0, description="of one caller, twice as many at once; more get 429; 0 for no limit"
    )
    audit_file: Path | None = Field(
        None, description="a file that gets a JSON line for every change; the log has them anyway"
    )
    tls_certificate: Path | None = Field(None, description="serve HTTPS with this certificate (PEM)")
    tls_key: Path | None = Field(None, description="the certificate's key (PEM)")
    leader_proxy_connection_timeout: Seconds = Field(
        5.0, gt=0, description="how long a standby tries to connect to the leader"
    )
    leader_proxy_read_timeout: Seconds = Field(
        30.0, gt=0, description="how long a standby waits for the leader's answer"
    )
    consul: str | None = Field(None, description="http://HOST:PORT of Consul, for the UI's services")
    edge: str | None = Field(None, description="http://HOST:PORT of the edge's daemon, for the UI's services")
    edge_status: str | None = Field(None, description="http://HOST:PORT of the edge's status, for the UI's traffic")
    autoscale: str | None = Field(None, description="http://HOST:PORT of the autoscaler, for the UI's journal")
    registrator: str | None = Field(None, description="http://HOST:PORT of the registrator, for the UI's health")
    neighbour_timeout: Seconds = Field(3.0, gt=0, description="how long a neighbour may take to answer")
    max_neighbour_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, description="the longest answer taken from a neighbour, files of a sandbox included"
    )
    leader_proxy_ca: Path | None = Field(None, description="the CA that the nodes' certificates are signed by (PEM)")

    @property
    def defaults(self) -> Defaults:
        return Defaults(
            network_name=self.default_network_name,
            bridge_name=self.mesos_bridge_name,
            accepted_resource_roles=self.default_accepted_resource_roles,
            role=self.mesos_role,
            secrets_default=self.secrets_default,
            secrets_scoped=self.secrets_scoped,
        )

    @property
    def service_ports(self) -> range:
        return range(self.local_port_min, self.local_port_max + 1)
