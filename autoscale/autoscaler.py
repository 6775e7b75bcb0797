"""One round: read the edge, look at the apps, decide for each, act, and keep why."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import Counter, Gauge

from autoscale import memory
from autoscale import policy_keys as policies
from autoscale.api import Api, App
from autoscale.decide import Decision, History, Situation, decide
from autoscale.errors import ApiError, MetricsError, PolicyError
from autoscale.journal import Entry, Journal, Outcome
from autoscale.metrics import edge
from autoscale.sample import Quality, Readings
from autoscale.settings import AutoscaleSettings
from daemonkit.health import Health
from daemonkit.logs import get_logger

log = get_logger(__name__)

DECISIONS = Counter("dromos_autoscale_decisions", "Decisions by what became of them", ["outcome"])
WANTED = Gauge("dromos_autoscale_wanted_instances", "Instances decided on", ["app"])
RATE = Gauge("dromos_autoscale_requests_per_second", "Measured request rate", ["app"])


LONGEST_GAP = 60.0  # seconds without a look that do not yet count as a gap in the data


@dataclass
class Autoscaler:
    settings: AutoscaleSettings
    api: Api
    health: Health
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        directory = self.settings.state_dir.expanduser()
        self.readings = Readings(self.settings.window)
        self.journal = Journal(
            directory, max_bytes=self.settings.journal_bytes, in_memory=self.settings.journal_entries
        )
        self._memory = directory / "history.json"
        self._histories = memory.load(self._memory, now=self.clock(), longest_gap=LONGEST_GAP)

    def round(self) -> None:
        """Blocking; called from a thread. Errors of neighbours are told by /health and the journal, and end nothing."""
        now = self.clock()
        try:
            reading = edge.read(self.settings.edge, now=now, timeout=self.settings.timeout)
            self.readings = self.readings.with_reading(reading)
            self.health.ok("metrics")
        except MetricsError as error:
            self.health.failing("metrics", str(error))
        try:
            apps = self.api.apps()
            self.health.ok("api")
        except ApiError as error:
            self.health.failing("api", str(error))
            return
        self._histories = {app.id: self._histories[app.id] for app in apps if app.id in self._histories}
        for app in apps:
            self._decide_for(app, now)
        try:
            memory.save(self._memory, self._histories)
            self.health.ok("state")
        except OSError as error:
            self.health.failing("state", f"{self._memory} cannot be written: {error.strerror}")

    def _decide_for(self, app: App, now: float) -> None:
        try:
            policy = policies.from_labels(app.labels)
        except PolicyError as error:
            self._note(Entry(now, app.id, app.instances, app.instances, str(error), "ignored"))
            return
        if policy is None or (app.instances == 0 and policy.min > 0):  # suspended by an operator: stays so
            return
        sample = self.readings.sample(app.id, now, fresh_for=2.5 * self.settings.interval)
        history = self._histories.get(app.id, History())
        decision = decide(policy, Situation(app.instances, app.deploying), sample, history, now)
        self._histories[app.id] = decision.history
        RATE.labels(app.id).set(sample.rate)
        WANTED.labels(app.id).set(decision.instances)
        self._act(app, decision, sample.rate if sample.quality in (Quality.FRESH, Quality.TRUE_ZERO) else None, now)

    def _act(self, app: App, decision: Decision, rate: float | None, now: float) -> None:
        outcome: Outcome = "held"
        reason = decision.reason
        if decision.instances != app.instances:
            try:
                self.api.scale(app.id, decision.instances)
                outcome = "scaled"
            except ApiError as error:
                outcome, reason = "refused", f"{reason}; {error}"
        self._note(Entry(now, app.id, app.instances, decision.instances, reason, outcome, rate))

    def _note(self, entry: Entry) -> None:
        DECISIONS.labels(entry.outcome).inc()
        self.journal.note(entry)
        say = log.debug if entry.outcome == "held" else log.info
        say(
            "decided",
            app=entry.app,
            instances=entry.instances,
            decided=entry.decided,
            why=entry.reason,
            outcome=entry.outcome,
        )
