"""What an app asks for: read from its labels, checked, with defaults that are good unseen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autoscale.errors import PolicyError
from daemonkit.settings import parse_seconds

PREFIX = "DROMOS_AUTOSCALE_"


@dataclass(frozen=True)
class Policy:
    """Bounds and behaviour of one app.

    target       requests a second that one instance is to serve
    min, max     bounds of the instance count
    tolerance    no change while the rate is within this share of what the current instances are to serve
    down_after   seconds for which fewer instances must have been enough before any is taken away
    """

    target: float
    min: int = 1
    max: int = 100
    tolerance: float = 0.1
    down_after: float = 300.0


def from_labels(labels: Mapping[str, str]) -> Policy | None:
    """None where the app has no DROMOS_AUTOSCALE_TARGET. Raises PolicyError with all that is wrong, in one line."""
    if PREFIX + "TARGET" not in labels:
        return None
    wrong: list[str] = []

    def read(name: str, default: float, parse: Callable[[str], float], least: float) -> float:
        text = labels.get(PREFIX + name)
        if text is None:
            return default
        try:
            value = parse(text)
        except (TypeError, ValueError):
            wrong.append(f"{PREFIX}{name}={text!r} is not a number")
            return default
        if not least <= value < float("inf"):
            wrong.append(f"{PREFIX}{name}={text!r} is to be at least {least:g}")
        return value

    target = read("TARGET", 0, float, 0)
    lowest = int(read("MIN", Policy.min, int, 0))
    highest = int(read("MAX", max(Policy.max, lowest), int, 1))
    tolerance = read("TOLERANCE", Policy.tolerance, float, 0)
    down_after = read("DOWN_AFTER", Policy.down_after, lambda text: float(str(parse_seconds(text))), 0)
    if target <= 0 and not wrong:
        wrong.append(f"{PREFIX}TARGET={labels[PREFIX + 'TARGET']!r} is to be above 0")
    if lowest > highest:
        wrong.append(f"{PREFIX}MIN={lowest} is above {PREFIX}MAX={highest}")
    if wrong:
        raise PolicyError("; ".join(wrong))
    return Policy(target, lowest, highest, tolerance, down_after)
