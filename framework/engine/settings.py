"""The engine's bounds and delays. Times in seconds; names as Marathon's flags where it has them."""

from dataclasses import dataclass
from typing import Literal

from framework.decide.placement import Strategy


@dataclass(frozen=True, slots=True)
class EngineSettings:
    role: str = "*"
    decline_seconds: float = 120.0  # offers that are not used
    revive_interval: float = 1.0  # at least so long between two REVIVEs
    revive_repeat: float = 30.0  # and so long between two while the same ones wait
    placement: Strategy = "spread"
    home_region: str | None = None  # None: the master's, where it tells one
    maintenance_lead: float = 0.0  # how long before a maintenance window its agents take nothing new
    reserve_gpu_agents: bool = True
    launch_grace: float = 5.0  # so long after a launch the master's "I do not know it" is not believed
    confirm_interval: float = 30.0  # a launch without any status is asked for so often
    launch_confirm_timeout: float = 300.0
    launch_timeout: float = 300.0
    launches_in_flight: int = 0  # instances of the whole cluster that are launched and do not run yet; 0: no bound
    launches_in_batch: int = 100  # matched, written and sent at a time, so that nobody waits for a crowd of them
    kills_in_batch: int = 500
    specs_in_batch: int = 250  # compared with what is wanted at a time
    kills_in_flight: int = 1000  # of the whole cluster
    kill_retry: float = 30.0
    drain_seconds: float = 2.0  # between the announcement of a wanted kill and the kill, for specs with ports
    max_drain_seconds: float = 3600.0
    drain_until: Literal["time", "idle"] = "time"  # or as soon as no edge has requests under way there
    reconcile_first: float = 2.0  # an unanswered reconciliation is repeated after this, then twice this, …
    reconcile_repeat: float = 30.0  # … up to this
    reconcile_interval: float = 600.0
    reconcile_chunk: int = 1000
    scale_check_interval: float = 300.0
    max_running_deployments: int = 100
    versions_kept: int = 50
    history_kept: int = 500
    unused_offers_kept: int = 5
    release_patience: float = 600.0  # so long offers are asked for, only to give back what was reserved for an instance
    secret_seconds: float = 60.0  # so long a fetched secret is used for launches before it is fetched again
    secret_retry: float = 10.0  # one that cannot be fetched is tried again so often
    secret_patience: float = 30.0  # so long an answer is waited for
    stories_kept: int = 16
    mass_failure_share: float = 0.75  # of all probed instances failing at once: suspect the probes, kill nothing
    mass_failure_least: int = 4
    health_kill_share: float = (
        0.25  # of one spec's instances that may be replaced for bad health at a time, at least one
    )
