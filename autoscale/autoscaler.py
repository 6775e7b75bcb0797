"""One round: look at the apps and at what is measured, decide for each, act, and keep why."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from prometheus_client import Counter, Gauge, Histogram

from autoscale import demand, memory, policy_file, series_file
from autoscale.api import Api, App
from autoscale.decide import Situation
from autoscale.demand import Measured
from autoscale.errors import ApiError, BusyError, PolicyError
from autoscale.inputs import Inputs, saturation
from autoscale.journal import Entry, Journal, Outcome
from autoscale.leader import Lock
from autoscale.metrics import queue
from autoscale.policy import Policy
from autoscale.policy_keys import PREFIX
from autoscale.sample import Quality, Sample
from autoscale.series import Series
from autoscale.settings import AutoscaleSettings
from autoscale.steer import Past, Steered, steer
from daemonkit.health import Health
from daemonkit.logs import get_logger

log = get_logger(__name__)

DECISIONS = Counter("dromos_autoscale_decisions", "Decisions by what became of them", ["outcome"])
WANTED = Gauge("dromos_autoscale_wanted_instances", "Instances decided on", ["app"])
NEEDED = Gauge("dromos_autoscale_needed_instances", "Instances that the demand asks for, before any policy", ["app"])
RATE = Gauge("dromos_autoscale_requests_per_second", "Measured request rate", ["app"])
SAMPLES = Counter("dromos_autoscale_samples", "Samples by their quality", ["quality"])
SAMPLED = {quality: SAMPLES.labels(quality.value) for quality in Quality}
LAG = Gauge("dromos_autoscale_start_seconds", "From an accepted start to rotation, as measured", ["app"])
LEADER = Gauge("dromos_autoscale_leader", "1 while this autoscaler is the one that acts")
ROUND = Histogram(
    "dromos_autoscale_round_seconds", "Time of one round, looking included", buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5)
)

LONGEST_GAP = 60.0  # seconds without a look that do not yet count as a gap in the data
LONGEST_START = 1800.0  # seconds after which a start that never came into rotation is measured no longer
LAG_WEIGHT = 0.3  # of the newest start in the measured lag
SAVE_CHARTS_EVERY = 600.0  # seconds
SAVE_EVERY = 10.0  # seconds; what was accepted is saved at once


@dataclass
class Autoscaler:
    settings: AutoscaleSettings
    api: Api
    health: Health
    clock: Callable[[], float] = time.time
    lock: Lock | None = None

    def __post_init__(self) -> None:
        directory = self.settings.state_dir.expanduser()
        self.policies = policy_file.load(self.settings.policy) if self.settings.policy else policy_file.Policies()
        self.inputs = Inputs(self.settings, self.api, self.health)
        self.journal = Journal(
            directory, max_bytes=self.settings.journal_bytes, in_memory=self.settings.journal_entries
        )
        self._charts = directory / "charts.bin"
        self._charted_at = self.clock()
        self.series = series_file.load(self._charts, self.settings.chart_hours * 60)
        self._memory = directory / "history.json"
        self._saved_at = float("-inf")
        self.pasts = memory.load(self._memory, now=self.clock(), longest_gap=LONGEST_GAP)
        self._counts: dict[str, int] = {}  # as seen in the round before, or as they would be, in shadow
        self._policies: dict[str, tuple[dict[str, str], Policy | PolicyError | None]] = {}
        self._shown: dict[str, dict[str, object]] = {}
        self._gauges: dict[str, tuple[Gauge, Gauge, Gauge]] = {}  # looking them up costs more than setting them
        self._starts: dict[str, tuple[float, int]] = {}  # accepted starts whose instances are not in rotation yet

    @property
    def leads(self) -> bool:
        return self.lock is None or self.lock.held

    def round(self) -> None:
        """Blocking; called from a thread. Errors of neighbours are told by /health and the journal, and end nothing."""
        began, now = time.perf_counter(), self.clock()
        LEADER.set(self.leads)
        self.inputs.look_at_edge(now)
        try:
            apps = self.api.apps()
            self.health.ok("api")
        except ApiError as error:
            self.health.failing("api", str(error))
            return
        scaled = self._policies_of(apps, now)
        self.inputs.look([policy for _, policy in scaled], now)
        self._forget_all_but({app.id for app, _ in scaled}, {app.id for app in apps})
        acted = False
        for app, policy in scaled:
            try:
                acted |= self._decide_for(app, policy, now)
            except Exception as error:  # of one app: the others are not to wait for its mending
                self.pasts.pop(
                    app.id, None
                )  # what is remembered may be the reason; without it nothing is lowered for a while
                if self._note(
                    Entry(now, app.id, app.instances, app.instances, f"cannot be decided: {error!r}", "ignored")
                ):
                    log.error("an app cannot be decided", app=app.id, exc_info=True)
        if acted or not 0 <= now - self._saved_at < SAVE_EVERY:
            self.save(now)
        if not 0 <= now - self._charted_at < SAVE_CHARTS_EVERY:
            self.save_charts(now)
        ROUND.observe(time.perf_counter() - began)

    def overview(self) -> list[dict[str, object]]:
        """Each scaled app as the page lists it."""
        shown = dict(self._shown)  # a round may change it meanwhile
        return [shown[app_id] for app_id in sorted(shown)]

    def save(self, now: float) -> None:
        try:
            memory.save(self._memory, self.pasts)
            self._saved_at = now
            self.health.ok("state")
        except OSError as error:
            self.health.failing("state", f"{self._memory} cannot be written: {error.strerror}")

    def save_charts(self, now: float) -> None:
        self._charted_at = now
        try:
            series_file.save(self._charts, self.series)
        except OSError as error:
            log.warning("charts cannot be saved", path=str(self._charts), error=error.strerror)

    def _policies_of(self, apps: list[App], now: float) -> list[tuple[App, Policy]]:
        found = []
        for app in apps:
            policy = self._policy_of(app)
            if isinstance(policy, PolicyError):
                self._note(Entry(now, app.id, app.instances, app.instances, str(policy), "ignored"))
            # Suspended by an operator: stays so.
            elif policy and not (app.instances == 0 and policy.min > 0):
                found.append((app, policy))
        self._policies = {app.id: self._policies[app.id] for app in apps}
        return found

    def _policy_of(self, app: App) -> Policy | PolicyError | None:
        """Read once while the labels stay as they are."""
        known = self._policies.get(app.id)
        if known is not None and known[0] == app.labels:
            return known[1]
        policy: Policy | PolicyError | None
        try:
            policy = self.policies.of(app.id, app.labels)
            if policy and PREFIX + "QUEUE_URL" in app.labels:
                self._check_queue(policy)
        except PolicyError as error:
            policy = error
        self._policies[app.id] = (app.labels, policy)
        return policy

    def _check_queue(self, policy: Policy) -> None:
        """An app's owner must not send the autoscaler to any address that it can reach."""
        for signal in policy.signals:
            if signal.kind == "queue" and not queue.is_below(signal.url, self.settings.queue_urls):
                raise PolicyError(f"{PREFIX}QUEUE_URL is not below an address that --queue-urls allows")

    def _forget_all_but(self, scaled: set[str], known: set[str]) -> None:
        """What is not scaled is not shown; what is gone is forgotten. An API that lists no app at all is not believed."""
        for app_id in self.series.keys() - scaled if known else ():
            for gauge in (WANTED, NEEDED, RATE, LAG):
                with contextlib.suppress(KeyError):
                    gauge.remove(app_id)
            for kept in (self.series, self._counts, self._shown, self._gauges, self._starts):
                kept.pop(app_id, None)
        for app_id in self.pasts.keys() - known if known else ():
            del self.pasts[app_id]

    def _decide_for(self, app: App, policy: Policy, now: float) -> bool:
        """Whether something was done."""
        longest_gap = max(LONGEST_GAP, 3 * self.settings.interval)
        past = self._seen(app, memory.continued(self.pasts.get(app.id, Past()), now, longest_gap), now)
        shadow = self.settings.shadow or policy.shadow
        current = self._counts.get(app.id, app.instances) if shadow else app.instances
        rotation = app.instances if app.in_rotation is None else app.in_rotation
        traffic = self.inputs.traffic(app.id, now)
        measured = self.inputs.measured(policy, app.id, traffic, now)
        sample = demand.combined(policy, measured, rotation, now)
        settled = rotation >= current and not app.deploying
        steered = steer(
            policy,
            Situation(current, app.deploying),
            sample,
            past,
            now,
            saturation=saturation(traffic, settled=settled),
        )
        needed = self._measure(app, policy, traffic.sample, sample, steered.instances, now)
        self._shown[app.id] = {
            "app": app.id,
            "needed": needed,
            "in_rotation": app.in_rotation,
            "instances": app.instances,
            "decided": steered.instances,
            "min": policy.min,
            "max": policy.max,
            "reason": steered.reason,
        }
        reason = steered.reason if len(measured) == 1 else f"{demand.told(measured)}; {steered.reason}"
        if steered.instances == current:
            self.pasts[app.id] = steered.past
            self._counts[app.id] = current
            self._note(self._entry(app, current, steered, reason, "held", sample, now))
            return False
        outcome, why = self._act(app, current, steered, measured, shadow=shadow)
        if outcome in ("scaled", "shadow"):
            self.pasts[app.id] = steered.past.accepted(now, current, steered.instances)
            self._counts[app.id] = steered.instances
        else:
            self.pasts[app.id] = steered.refused
            self._counts[app.id] = current
        if outcome == "scaled" and steered.instances > current:
            self._starts[app.id] = (now, steered.instances)
        self._note(self._entry(app, current, steered, f"{reason}; {why}" if why else reason, outcome, sample, now))
        return outcome == "scaled"

    def _act(
        self, app: App, current: int, steered: Steered, measured: list[Measured], *, shadow: bool
    ) -> tuple[Outcome, str]:
        """What became of it, and why where it was not done."""
        if shadow:
            return "shadow", ""
        if self.settings.dry_run:
            return "dry run", ""
        if not self.leads:
            return "standby", "another autoscaler leads"
        try:
            try:
                self.api.scale(app, steered.instances)
            except BusyError:
                # Demand does not wait for a roll-out: the deployment that takes its place carries it on.
                if not (self.settings.force_up and steered.instances > current and self.api.is_replaceable(app.id)):
                    raise
                self.api.scale(app, steered.instances, force=True)
        except ApiError as error:
            return "refused", str(error)
        return "scaled", ""

    def _seen(self, app: App, past: Past, now: float) -> Past:
        """What others did meanwhile, and how long a start took."""
        before = self._counts.get(app.id)
        if self.lock is not None and not self.lock.held and before is not None and before != app.instances:
            # What the leader does is remembered, so that a standby takes over where it left off.
            history = past.history.after(app.instances - before, now)
            past = replace(past.accepted(now, before, app.instances), history=history)
        start = self._starts.get(app.id)
        if start is None:
            return past
        began, wanted = start
        lag = now - began
        if not 0 <= lag <= LONGEST_START or app.instances < wanted:  # or the clock was set
            del self._starts[app.id]
            return past
        if app.in_rotation is not None and app.in_rotation >= wanted and now > began:
            del self._starts[app.id]
            lag = lag if past.lag is None else past.lag + LAG_WEIGHT * (lag - past.lag)
            LAG.labels(app.id).set(lag)
            return replace(past, lag=lag)
        return past

    def _measure(self, app: App, policy: Policy, edge: Sample, sample: Sample, wanted: int, now: float) -> float | None:
        """Notes it for charts and Prometheus; how many instances the demand asks for, where it is known."""
        known = sample.quality is not Quality.STALE
        needed = sample.rate / policy.target if known else None
        SAMPLED[sample.quality].inc()
        gauges = self._gauges.get(app.id)
        if gauges is None:
            gauges = self._gauges[app.id] = (RATE.labels(app.id), WANTED.labels(app.id), NEEDED.labels(app.id))
        # What is not known is NaN: a zero, or the value of an hour ago, would be taken for a measurement.
        gauges[0].set(math.nan if edge.quality is Quality.STALE else edge.rate)
        gauges[1].set(wanted)
        gauges[2].set(math.nan if needed is None else needed)
        series = self.series.get(app.id)
        if series is None:
            series = self.series[app.id] = Series(self.settings.chart_hours * 60)
        series.note(now, sample.rate if known else None, needed, app.instances, app.in_rotation)
        return needed

    def _entry(
        self, app: App, current: int, steered: Steered, reason: str, outcome: Outcome, sample: Sample, now: float
    ) -> Entry:
        rate = sample.rate if sample.quality.may_lower else None
        return Entry(now, app.id, current, steered.instances, reason, outcome, rate, sample.quality.value)

    def _note(self, entry: Entry) -> bool:
        """Whether it says something new."""
        DECISIONS.labels(entry.outcome).inc()
        kept = self.journal.note(entry)
        if kept and entry.outcome in ("scaled", "refused"):
            log.info(
                "decided",
                app=entry.app,
                instances=entry.instances,
                decided=entry.decided,
                why=entry.reason,
                outcome=entry.outcome,
            )
        return kept
