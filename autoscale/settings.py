"""Settings of `dromos autoscale`: flags, `DROMOS_AUTOSCALE_…`, and `[autoscale]` in dromos.toml."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from daemonkit.settings import Seconds, Settings


class AutoscaleSettings(Settings):
    section: ClassVar[str] = "autoscale"

    host: str = Field("127.0.0.1", description="the address that the daemon listens on")
    port: int = Field(8082, ge=0, le=65535, description="its port, for the page, /health, /metrics and /journal")
    marathon: str = Field("http://127.0.0.1:8080", description="the API whose apps are scaled")
    credentials: SecretStr = Field(SecretStr(""), description="user:password at the API")
    edge: tuple[str, ...] = Field(
        ("http://127.0.0.1:8001",),
        min_length=1,
        description="the load balancers: an edge's status address, haproxy+http://HOST:9090 or haproxy-metrics+http://HOST:8404",
    )
    quorum: int = Field(0, ge=0, description="how many load balancers have to answer; 0: more than half")
    mesos: str = Field("", description="the Mesos master, for apps that ask for cpu or memory")
    prometheus: str = Field("", description="the Prometheus server, for apps that ask for a query")
    prometheus_lookback: Seconds = Field(90.0, gt=0, description="how old Prometheus' samples may be, in seconds")
    queue_urls: tuple[str, ...] = Field(
        (), description="addresses that labels may name as queues, and what is below them; a policy file may name any"
    )
    policy: Path | None = Field(
        None, description="a file of policies: our own, a HorizontalPodAutoscaler, or marathon-lb-autoscale's flags"
    )
    dry_run: bool = Field(False, description="decide and tell, but change nothing")
    shadow: bool = Field(
        False, description="change nothing, and decide on with the counts that would be there if it had"
    )
    force_up: bool = Field(
        True, description="scale up during a deployment by taking its place; it goes on with the new count"
    )
    consul: str = Field(
        "", description="the Consul whose lock settles which of several autoscalers acts; empty: this one"
    )
    consul_token: SecretStr = Field(SecretStr(""), description="the token for it")
    lock: str = Field("dromos/autoscale/leader", description="the lock's key in Consul")
    lock_ttl: Seconds = Field(
        15.0, ge=10, le=86_400, description="after which time a dead leader is replaced, in seconds"
    )
    interval: Seconds = Field(2.0, gt=0, description="how often it looks, in seconds")
    signal_interval: Seconds = Field(
        10.0, gt=0, description="how often Mesos, Prometheus and queues are asked, in seconds"
    )
    window: Seconds = Field(
        10.0, gt=0, validate_default=True, description="over which time a rate is measured, in seconds"
    )
    timeout: Seconds = Field(5.0, gt=0, description="how long a neighbour may take to answer, in seconds")
    chart_hours: int = Field(24, ge=1, le=168, description="how many hours of demand and supply are kept for charts")
    journal_entries: int = Field(10_000, ge=1, description="how many decisions are kept in memory")
    journal_bytes: int = Field(50_000_000, ge=10_000, description="how large the journal on disk may become")
    state_dir: Path = Field(Path("~/.dromos/autoscale"), description="where its history and its journal are kept")

    @field_validator("queue_urls")
    @classmethod
    def _are_addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [url for url in urls if not url.startswith(("http://", "https://"))]:
            raise ValueError(f"{wrong[0]} is not an address like http://rabbit:15672/api/queues")
        return urls

    @field_validator("window")
    @classmethod
    def _holds_two_looks(cls, window: float, info: ValidationInfo) -> float:
        """A rate needs two looks in its window, or nothing is ever known."""
        interval = info.data.get("interval", 0.0)
        if window < 2 * interval:
            raise ValueError(f"a window is to be at least twice the interval of {interval:g} s")
        return window
