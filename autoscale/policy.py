"""What one app asks for, as one value with defaults that are good unseen. `policy_file` and `policy_labels` read it."""

from dataclasses import dataclass, field
from typing import Literal

from autoscale.schedule import Schedule

Kind = Literal["requests", "concurrency", "latency", "cpu", "memory", "queue", "query"]

UNITS: dict[Kind, str] = {
    "requests": "requests/s",
    "concurrency": "requests under way",
    "latency": "s a request",
    "cpu": "CPU shares in use",
    "memory": "memory shares in use",
    "queue": "waiting in the queue",
    "query": "of the query",
}


@dataclass(frozen=True)
class Signal:
    """One measure of the demand. `target` is what one instance is to carry of it.

    requests     requests a second             concurrency  requests under way
    latency      seconds a request             cpu, memory  share of the task's limit, 0.7 is 70 %
    queue        messages; `url` answers JSON, `path` leads to the number in it: `messages` or `queues.0.depth`
    query        the value of a Prometheus query, over all instances
    """

    kind: Kind
    target: float
    url: str = ""
    path: str = ""
    query: str = ""

    @property
    def unit(self) -> str:
        return UNITS[self.kind]


@dataclass(frozen=True)
class Rate:
    """At most `value` instances, or percent of the count at the period's begin, in any `period` seconds."""

    kind: Literal["instances", "percent"]
    value: float
    period: float


@dataclass(frozen=True)
class Behaviour:
    """How fast a direction may go. `stabilisation`: the mildest count asked for in that many seconds is taken.

    Of several rates the one that allows most is taken (`select` max), or the one that allows least (min). `off` forbids the direction.
    """

    stabilisation: float = 0.0
    rates: tuple[Rate, ...] = ()
    select: Literal["max", "min", "off"] = "max"


@dataclass(frozen=True)
class Policy:
    """Bounds and behaviour of one app.

    target       what one instance is to carry of the first signal: requests a second where nothing else is said
    min, max     bounds of the instance count; min 0 lets an idle app go to zero
    tolerance    no change while the demand is within this share of what the current instances are to serve
    down_after   seconds for which fewer instances must have been enough before any is taken away
    forecast     off, on, or auto: only while it has been better than none
    signals      what is measured; the one that asks for most instances wins. Empty: requests a second
    up, down     how fast it may go
    flaps        starts and stops of instances in a flap window after which nothing more is taken away; None: 4 for each
                 instance, at least 20; 0: no bound
    schedules    other bounds at certain times
    idle_after   seconds without a request after which an app with min 0 goes to zero
    shadow       decide and tell, but do nothing
    """

    target: float
    min: int = 1
    max: int = 100
    tolerance: float = 0.1
    down_after: float = 300.0
    forecast: Literal["auto", "on", "off"] = "auto"
    signals: tuple[Signal, ...] = ()
    up: Behaviour = field(default_factory=Behaviour)
    down: Behaviour = field(default_factory=Behaviour)
    flaps: int | None = None
    flap_window: float = 3600.0
    schedules: tuple[Schedule, ...] = ()
    idle_after: float = 300.0
    shadow: bool = False

    @property
    def unit(self) -> str:
        """Of the demand, and of `target`."""
        return self.signals[0].unit if self.signals else UNITS["requests"]

    @property
    def measured(self) -> tuple[Signal, ...]:
        return self.signals or (Signal("requests", self.target),)
