"""How long a spec whose instances fail waits before the next launch."""

from dataclasses import dataclass

from framework.model.run_spec import RunSpec


@dataclass(frozen=True, slots=True)
class Delay:
    """No launch before `until` (epoch seconds); `seconds` is how long it was."""

    seconds: float
    until: float


def longer(spec: RunSpec, before: Delay | None, now: float) -> Delay:
    """The delay after one more failure: d ← min(d·factor, max). A delay that has been over for the maximum is forgotten."""
    longest = max(spec.max_launch_delay_seconds, 0.0)
    if before is None or forgotten(spec, before, now):
        seconds = min(spec.backoff_seconds, longest)
    else:
        seconds = min(before.seconds * spec.backoff_factor, longest)
    return Delay(seconds, now + seconds)


def forgotten(spec: RunSpec, delay: Delay, now: float) -> bool:
    return now > delay.until + spec.max_launch_delay_seconds
