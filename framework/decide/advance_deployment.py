"""How many instances of one spec to start and to end now, so that what is comes to what is wanted.

Level-triggered: each function looks at a census of the instances that there are, whatever happened before. The laws:

- by our own doing no more than n - ceil(n·minimumHealthCapacity) of the healthy ones end,
- there are never more than floor(n·(1 + maximumOverCapacity)) instances, those on their way out counted,

with the two exceptions that Marathon makes where both bounds meet (minHealthy = maxCapacity ≤ healthy): a resident spec ends one
instance more, any other may have one instance more; otherwise nothing could ever move.
"""

from dataclasses import dataclass
from math import ceil, floor

from framework.model.deployment import Progress
from framework.model.strategy import UpgradeStrategy

# 100 * 1.1 must not become 111 because of the last bit.
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Side:
    """Instances of one configuration. `staying`: not terminal, not decided to be killed, not given up as unreachable; of these `ok`
    run, are ready and are healthy. `leaving`: decided to be killed, not gone yet."""

    staying: int = 0
    ok: int = 0
    leaving: int = 0

    @property
    def present(self) -> int:
        return self.staying + self.leaving


@dataclass(frozen=True, slots=True)
class Census:
    new: Side = Side()
    old: Side = Side()

    @property
    def staying(self) -> int:
        return self.new.staying + self.old.staying

    @property
    def ok(self) -> int:
        return self.new.ok + self.old.ok

    @property
    def present(self) -> int:
        return self.new.present + self.old.present


@dataclass(frozen=True, slots=True)
class Orders:
    """`launch`: how many may be started now (of the new configuration). `kill_old`, `kill_new`, `kill_any`: how many are to go, those
    that are not ok before all others; of the old ones at most `healthy_kills` that are. `launch_old`: how many of the old
    configuration, to hold its share (room is there for these or for `launch`, not for both). `done`: the wanted state is reached."""

    launch: int = 0
    launch_old: int = 0
    kill_old: int = 0
    kill_new: int = 0
    kill_any: int = 0
    healthy_kills: int = 0
    done: bool = False


def min_healthy(n: int, strategy: UpgradeStrategy) -> int:
    return ceil(n * strategy.minimum_health_capacity - _EPSILON)


def max_capacity(n: int, strategy: UpgradeStrategy) -> int:
    return floor(n * (1 + strategy.maximum_over_capacity) + _EPSILON)


def hold(n: int, strategy: UpgradeStrategy, census: Census, before: int | None = None) -> Orders:
    """n instances, of whatever configuration: for a spec that is not being deployed, and for a ScaleApplication.

    `before`: how many there were when the step began; None outside deployments. Scaling up is done when n are ok, scaling down
    when the surplus is gone.
    """
    surplus = max(0, census.staying - n)
    room = max(n, max_capacity(n, strategy)) - census.present
    launch = max(0, min(n - census.staying, room))
    settled = census.staying == n and census.present == n
    done = settled and (census.ok == n or (before is not None and before >= n))
    return Orders(launch=launch, kill_any=surplus, done=done)


def begin_restart(n: int, strategy: UpgradeStrategy, resident: bool, census: Census) -> Progress:
    """Settled once, when the step begins."""
    least, most = min_healthy(n, strategy), max_capacity(n, strategy)
    healthy = census.ok
    at_once = max(0, healthy - least)
    extra = False
    if least == most <= healthy:
        if resident:
            at_once = max(at_once, 1)
        extra = True
    at_once = max(at_once, census.staying - n)
    return Progress(old_at_start=census.old.staying, kill_at_once=min(at_once, census.old.staying), extra=extra)


def restart(n: int, strategy: UpgradeStrategy, resident: bool, census: Census, progress: Progress) -> Orders:
    """A rolling restart: each new instance that is ok lets one old one go."""
    new, old = census.new, census.old
    least, most = min_healthy(n, strategy), max_capacity(n, strategy)
    # The bounds may also come to meet on the way, when some were not healthy at first.
    if progress.extra or least == most <= census.ok:
        least, most = (least - 1, most) if resident else (least, most + 1)
    may_go = progress.kill_at_once + new.ok - (progress.old_at_start - old.staying)
    healthy_kills = max(0, census.ok - least)
    unhealthy = old.staying - old.ok
    kill = min(old.staying, max(0, may_go), healthy_kills + unhealthy)
    launch = max(0, min(n - new.staying, most - census.present))
    stuck = not kill and not launch and not census.new.leaving and not old.leaving and new.ok == new.staying
    if stuck and old.staying:
        # Nothing that is under way will let an old one go: ending one that is not ok takes nothing from anyone.
        kill = min(1, unhealthy + healthy_kills)
    done = new.staying == new.ok == n and new.leaving == 0 and old.present == 0
    return Orders(
        launch=launch, kill_old=kill, kill_new=max(0, new.staying - n), healthy_kills=healthy_kills, done=done
    )


def stop(census: Census) -> Orders:
    return Orders(kill_any=census.staying, done=census.present == 0)
