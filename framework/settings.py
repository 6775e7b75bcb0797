"""Settings of the framework's daemon. Names are Marathon's where it has the setting, with dashes: `--framework-name`."""

import getpass
import ssl
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from daemonkit.errors import OperatorError
from daemonkit.settings import Seconds
from framework.api.settings import ApiSettings
from framework.decide.placement import Strategy
from framework.engine.loop import LoopSettings
from framework.engine.settings import EngineSettings
from framework.secrets.keeper import Places
from framework.secrets.settings import SecretsSettings
from framework.store.zookeeper_client import ZooKeeperAddress, ZooKeeperTls, parse_address

_ENGINE = EngineSettings()
_LOOP = LoopSettings()


class FrameworkSettings(ApiSettings, SecretsSettings):
    master: str = Field("127.0.0.1:5050", description="the Mesos master: host:port, or zk://host:2181,…/mesos")
    http_address: str = Field("127.0.0.1", description="the address that the API listens on")
    http_port: int = Field(8080, ge=0, le=65535, description="the port of the API; 0 for any")
    hostname: str | None = Field(None, description="the name under which others reach this node")
    state_dir: Path = Field(Path("~/.dromos/framework"), description="where the state is kept")
    store: Literal["sqlite", "memory"] = Field(
        "sqlite", description="how the state of a single node is kept; memory forgets it at the end"
    )
    zk: SecretStr | None = Field(
        None,
        description="several nodes, of which one leads: zk://[user:password@]host:2181,…/path, where the state is kept",
    )
    zk_session_timeout: Seconds = Field(
        5.0, ge=1, le=60, description="a leader that ZooKeeper hears nothing of for so long is replaced"
    )
    zk_timeout: Seconds = Field(
        6.0, ge=0.1, description="a leader that cannot reach ZooKeeper for so long stops leading"
    )
    zk_tls: bool = Field(False, description="speak TLS to ZooKeeper, whose port in --zk is then its secureClientPort")
    zk_ca: Path | None = Field(None, description="a CA of ZooKeeper's certificates (PEM), trusted besides the system's")
    zk_certificate: Path | None = Field(None, description="the certificate to show to ZooKeeper (PEM)")
    zk_key: Path | None = Field(None, description="its key (PEM)")
    zk_verify_hostname: bool = Field(
        True, description="refuse a ZooKeeper whose certificate is not for the name or address in --zk"
    )
    log_level: str = Field("info", description="debug, info, warning or error")

    framework_name: str = Field("marathon", min_length=1, description="the name by which Mesos shows the framework")
    mesos_user: str = Field(default_factory=getpass.getuser, description="the user that tasks run as which name none")
    failover_timeout: Seconds = Field(
        7 * 86400.0, gt=0, description="how long Mesos keeps the tasks while no framework is subscribed"
    )
    checkpoint: bool = Field(True, description="let agents recover tasks after their own restart")
    webui_url: str | None = Field(None, description="the address that Mesos shows for the framework")
    mesos_tls: bool = Field(False, description="speak TLS to the master; also said by https:// in --master")
    mesos_ca: Path | None = Field(
        None, description="the CA of the masters' certificates (PEM); the system's without it"
    )
    mesos_certificate: Path | None = Field(None, description="the certificate to show to the master (PEM)")
    mesos_key: Path | None = Field(None, description="its key (PEM)")
    mesos_verify_hostname: bool = Field(
        True, description="refuse a master whose certificate is not for the name or address that it was found by"
    )
    mesos_authentication_principal: str | None = Field(None, description="the principal that Mesos knows")
    mesos_authentication_secret: SecretStr | None = Field(None, description="its secret")
    gpu_scheduling: bool = Field(True, description="take offers of agents with GPUs")
    new_framework_id: bool = Field(
        False, description="register afresh, though an id is known; for when Mesos has removed the framework"
    )

    decline_offer_duration: Seconds = Field(
        _ENGINE.decline_seconds, gt=0, description="for how long an offer that is not used is refused"
    )
    min_revive_offers_interval: Seconds = Field(
        _ENGINE.revive_interval, ge=0, description="the least time between two requests for offers"
    )
    placement: Strategy = Field(_ENGINE.placement, description="binpack or spread; label DROMOS_PLACEMENT overrides")
    local_region: str | None = Field(
        None,
        description="the home region (default: the master's, by its --domain); apps without an @region constraint run there only",
    )
    draining_seconds: Seconds = Field(
        _ENGINE.maintenance_lead, ge=0, description="how long before a maintenance window its agents take nothing new"
    )
    task_launch_confirm_timeout: Seconds = Field(
        _ENGINE.launch_confirm_timeout, gt=0, description="a launch of which nothing is heard for so long is given up"
    )
    task_launch_timeout: Seconds = Field(
        _ENGINE.launch_timeout, gt=0, description="a task that does not run after so long is killed"
    )
    reconciliation_interval: Seconds = Field(
        _ENGINE.reconcile_interval, gt=0, description="how often all tasks are compared with the master's"
    )
    scale_apps_interval: Seconds = Field(
        _ENGINE.scale_check_interval, gt=0, description="how often all apps are compared with what is wanted"
    )
    max_launching: int = Field(
        _ENGINE.launches_in_flight, ge=0, description="instances that are launched and do not run yet; 0 for no bound"
    )
    launch_batch: int = Field(
        _ENGINE.launches_in_batch, ge=1, description="launches at a time, between which others have their turn"
    )
    kill_batch: int = Field(_ENGINE.kills_in_batch, ge=1, description="kills decided on at a time")
    app_batch: int = Field(
        _ENGINE.specs_in_batch, ge=1, description="apps and pods compared with what is wanted at a time"
    )
    kill_chunk_size: int = Field(_ENGINE.kills_in_flight, ge=1, description="kills under way at a time")
    kill_retry_timeout: Seconds = Field(
        _ENGINE.kill_retry, gt=0, description="a kill that shows no effect for so long is sent again"
    )
    drain_seconds: Seconds = Field(
        _ENGINE.drain_seconds, ge=0, description="between the announcement of a wanted kill and the kill, for apps with ports;"
        " label DROMOS_DRAIN_SECONDS overrides"
    )  # fmt: skip
    max_drain_seconds: Seconds = Field(_ENGINE.max_drain_seconds, ge=0, description="the most that a label may ask for")
    drain_until: Literal["time", "idle"] = Field(
        _ENGINE.drain_until,
        description="idle: a drain ends as soon as no edge has requests under way there; label DROMOS_DRAIN_UNTIL overrides",
    )
    drain_edges: str | None = Field(
        None,
        description="http://HOST:PORT,… of the status of every edge, for drains until idle (default: --edge-status)",
    )
    max_running_deployments: int = Field(
        _ENGINE.max_running_deployments, ge=1, description="deployments at a time; more are answered by 403"
    )
    zk_max_versions: int = Field(_ENGINE.versions_kept, ge=1, description="versions kept of each app")
    group_history: int = Field(_ENGINE.history_kept, ge=1, description="changes kept, for versions of groups")
    mass_failure_share: float = Field(
        _ENGINE.mass_failure_share, gt=0, le=1,
        description="if this share of all probed instances fails at once, none is killed for it",
    )  # fmt: skip
    mass_failure_least: int = Field(
        _ENGINE.mass_failure_least, ge=1, description="… and at least so many instances fail"
    )
    health_kill_share: float = Field(
        _ENGINE.health_kill_share, gt=0, le=1,
        description="the share of an app's instances that may be replaced for bad health at a time, at least one",
    )  # fmt: skip
    health_check_concurrency: int = Field(500, ge=1, description="health probes under way at a time")

    event_history: int = Field(1024, ge=0, description="events kept for listeners that come back")
    event_stream_max_outstanding_messages: int = Field(
        1024, ge=1, description="a listener that lags by more events is disconnected"
    )
    max_queued_commands: int = Field(_LOOP.queue, ge=1, description="changes that may wait; more are answered by 503")
    max_batch: int = Field(_LOOP.batch, ge=1, description="events handled between two writes of the store")

    def engine(self) -> EngineSettings:
        return EngineSettings(
            role=self.mesos_role,
            decline_seconds=self.decline_offer_duration,
            revive_interval=self.min_revive_offers_interval,
            placement=self.placement,
            home_region=self.local_region,
            maintenance_lead=self.draining_seconds,
            launch_confirm_timeout=self.task_launch_confirm_timeout,
            launch_timeout=self.task_launch_timeout,
            launches_in_flight=self.max_launching,
            launches_in_batch=self.launch_batch,
            kills_in_batch=self.kill_batch,
            specs_in_batch=self.app_batch,
            kills_in_flight=self.kill_chunk_size,
            kill_retry=self.kill_retry_timeout,
            drain_seconds=self.drain_seconds,
            max_drain_seconds=self.max_drain_seconds,
            drain_until=self.drain_until,
            reconcile_interval=self.reconciliation_interval,
            scale_check_interval=self.scale_apps_interval,
            max_running_deployments=self.max_running_deployments,
            versions_kept=self.zk_max_versions,
            history_kept=self.group_history,
            mass_failure_share=self.mass_failure_share,
            mass_failure_least=self.mass_failure_least,
            health_kill_share=self.health_kill_share,
            secret_seconds=self.secrets_ttl,
            secret_retry=self.secrets_retry,
        )

    def edges(self) -> list[str]:
        """Addresses of the status of every edge."""
        return [edge for part in (self.drain_edges or self.edge_status or "").split(",") if (edge := part.strip())]

    def secrets(self) -> Places:
        return Places(
            default=self.secrets_default,
            directory=self.secrets_dir,
            consul_address=self.secrets_consul_address,
            consul_prefix=self.secrets_consul_prefix,
            consul_token_file=self.secrets_consul_token_file,
            vault_address=self.secrets_vault_address,
            vault_mount=self.secrets_vault_mount,
            vault_namespace=self.secrets_vault_namespace,
            vault_token_file=self.secrets_vault_token_file,
            ca=self.secrets_ca,
            timeout=self.secrets_timeout,
            most_bytes=self.max_secret_bytes,
            keep_seconds=2 * self.secrets_ttl,  # longer than the engine counts on it
        )

    def loop(self) -> LoopSettings:
        return LoopSettings(queue=self.max_queued_commands, batch=self.max_batch)

    @property
    def zookeeper(self) -> ZooKeeperAddress | None:
        """Raises OperatorError."""
        return parse_address(self.zk.get_secret_value()) if self.zk else None

    @property
    def zookeeper_tls(self) -> ZooKeeperTls | None:
        if not self.zk_tls:
            return None
        return ZooKeeperTls(self.zk_ca, self.zk_certificate, self.zk_key, self.zk_verify_hostname)

    def master_tls(self) -> ssl.SSLContext | None:
        """Raises OperatorError where a file cannot be used."""
        if not (self.mesos_tls or self.master.startswith("https://")):
            return None
        try:
            context = ssl.create_default_context(cafile=str(self.mesos_ca) if self.mesos_ca else None)
            if self.mesos_certificate:
                context.load_cert_chain(self.mesos_certificate, self.mesos_key)
        except OSError as error:
            raise OperatorError(
                f"TLS to the master: {error.strerror or error}; look at --mesos-ca, --mesos-certificate, --mesos-key"
            ) from None
        context.check_hostname = self.mesos_verify_hostname
        return context

    @property
    def credentials(self) -> tuple[str, str] | None:
        if self.mesos_authentication_principal is None or self.mesos_authentication_secret is None:
            return None
        return self.mesos_authentication_principal, self.mesos_authentication_secret.get_secret_value()
