"""A new version that first gets a share of the instances: canary and blue/green, as the labels of an app or pod ask for it.

    DROMOS_DEPLOY_STRATEGY         rolling (default) | canary | blue-green
    DROMOS_DEPLOY_SHARE            canary: `10%` (default), or several shares, `5%,25%`, each of which waits
    DROMOS_DEPLOY_HEALTHY_SECONDS  goes on by itself after so long without a fault; without it, a go is waited for
    DROMOS_DEPLOY_MAX_FAILURES     instances of the new version that may fail while it waits; one more, and it goes back (default 0)

Blue/green starts the whole new version beside the old one, and ends the old one at the go.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil

from framework.decide.advance_deployment import Census, Orders, max_capacity
from framework.model.deployment import Progress, Rollout
from framework.model.strategy import UpgradeStrategy

STRATEGY_LABEL = "DROMOS_DEPLOY_STRATEGY"
SHARE_LABEL = "DROMOS_DEPLOY_SHARE"
HEALTHY_LABEL = "DROMOS_DEPLOY_HEALTHY_SECONDS"
FAILURES_LABEL = "DROMOS_DEPLOY_MAX_FAILURES"
STRATEGIES = ("rolling", "canary", "blue-green")
DEFAULT_SHARE = "10%"
MOST_SHARES = 20
NO_ROOM = "blue-green needs room for all instances twice: maximumOverCapacity 1 and no persistent volumes"

_EPSILON = 1e-9


Fits = Callable[[str], bool]


def problems(labels: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with the labels above, by label: Marathon's way of saying so."""
    found: dict[str, str] = {}
    rules: tuple[tuple[str, str, Fits], ...] = (
        (STRATEGY_LABEL, f"one of: {', '.join(STRATEGIES)}", lambda text: text in STRATEGIES),
        (SHARE_LABEL, "rising shares between 0% and 100%, as 5%,25%", lambda text: bool(_shares(text))),
        (HEALTHY_LABEL, "a number of seconds", lambda text: _number(text) is not None),
        (FAILURES_LABEL, "a whole number", lambda text: text.isascii() and text.isdigit() and len(text) < 7),
    )
    for name, expected, fits in rules:
        if name in labels and not fits(labels[name]):
            found[name] = f"got '{labels[name][:40]}', expected {expected}"
    return found


def rollout_of(labels: Mapping[str, str]) -> Rollout | None:
    """None for a plain rolling update, and for labels that cannot be read."""
    strategy = labels.get(STRATEGY_LABEL, "rolling")
    if strategy == "rolling" or problems(labels):
        return None
    shares = (1.0,) if strategy == "blue-green" else _shares(labels.get(SHARE_LABEL, DEFAULT_SHARE))
    return Rollout(
        blue_green=strategy == "blue-green",
        shares=shares,
        healthy_seconds=_number(labels[HEALTHY_LABEL]) if HEALTHY_LABEL in labels else None,
        max_failures=int(labels.get(FAILURES_LABEL, "0")),
    )


@dataclass(frozen=True, slots=True)
class Pause:
    """How many instances of the new version there are to be, and how many of the old, until the go."""

    new: int
    old: int


def pause(n: int, strategy: UpgradeStrategy, rollout: Rollout, progress: Progress) -> Pause | None:
    """What is to be held now; None after the last go, and where nothing can be held back.

    The old ones are never more than there were. A single instance waits beside the old one, if maximumOverCapacity has room for it.
    """
    if progress.phase >= len(rollout.shares) or n == 0:
        return None
    spare = max_capacity(n, strategy) - n
    if rollout.blue_green:
        new, old = n, spare
    else:
        new = max(1, ceil(n * rollout.shares[progress.phase] - _EPSILON))
        old = n - new or min(1, spare)
    old = min(old, progress.old_at_start)
    return Pause(new, old) if old > 0 else None


def held(orders: Orders, here: Pause, census: Census, room: int) -> Orders:
    """A restart's orders, less what goes beyond the pause. `room`: how many instances more there may be.

    An old instance that ended by itself is replaced by one of the old version: the share stays what it is. Where a share has become
    smaller, those of the new version that are too many go as far as enough are left that do their work.
    """
    new, old = census.new, census.old
    surplus = min(new.staying - here.new, new.staying - new.ok + orders.healthy_kills)
    return replace(
        orders,
        launch=min(orders.launch, max(0, here.new - new.staying)),
        launch_old=max(0, min(here.old - old.staying, room)),
        kill_old=min(orders.kill_old, max(0, old.staying - here.old)),
        kill_new=max(orders.kill_new, surplus),
        done=False,
    )


def reached(here: Pause, census: Census) -> bool:
    """Whether the new version has its share, and all of it is well."""
    new = census.new
    return new.staying == new.ok == here.new and new.leaving == 0 and census.old.staying <= here.old


def _shares(text: str) -> tuple[float, ...]:
    """`5%, 25%` -> (0.05, 0.25); () where it does not say rising shares."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > MOST_SHARES or not all(part.endswith("%") for part in parts):
        return ()
    numbers = [_number(part[:-1]) for part in parts]
    found = [number / 100 for number in numbers if number is not None and 0 < number < 100]
    rising = all(low < high for low, high in pairwise(found))
    return tuple(found) if len(found) == len(parts) and rising else ()


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= 1e9 else None
